/* sgd.c - plain gradient descent. */
#include "optim.h"

#define SETUP(T) const T decay = OPT(T, 0);
#define BODY th[i] -= lr * (g[i] + decay * th[i]);
OPTIM_KERNEL(step_f64, double, sqrt, SETUP(double), BODY)
OPTIM_KERNEL(step_f32, float, sqrtf, SETUP(float), BODY)

const optim_row optim_sgd = {
    .name = "sgd",
    .doc = "bk.optim.sgd{ [weight_decay = 0] } -> optimizer\n"
           "theta <- theta - lr (g + weight_decay theta).",
    .options = { { "weight_decay", 0, 0, 1e300 } },
    .f64 = step_f64,
    .f32 = step_f32,
};
