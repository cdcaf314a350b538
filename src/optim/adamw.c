/* adamw.c - Adam with weight decay applied to theta itself. */
#include "optim.h"
#include <math.h>

#define SETUP(T)                                                                                                       \
    const T beta1 = OPT(T, 0), beta2 = OPT(T, 1), rest1 = (T)(1 - u->option[0]), rest2 = (T)(1 - u->option[1]);        \
    const T eps = OPT(T, 2), keep = (T)(1 - u->lr * u->option[3]);                                                     \
    const T rate = (T)(u->lr / (1 - pow(u->option[0], (double)u->t)));                                                 \
    const T unbias = (T)(1 / sqrt(1 - pow(u->option[1], (double)u->t)));                                               \
    (void)lr;
#define BODY(SQRT)                                                                                                     \
    b0[i] = beta1 * b0[i] + rest1 * g[i];                                                                              \
    b1[i] = beta2 * b1[i] + rest2 * g[i] * g[i];                                                                       \
    th[i] = keep * th[i] - rate * b0[i] / (SQRT(b1[i]) * unbias + eps);
OPTIM_KERNEL(step_f64, double, sqrt, SETUP(double), BODY(sqrt))
OPTIM_KERNEL(step_f32, float, sqrtf, SETUP(float), BODY(sqrtf))

const optim_row optim_adamw = {
    .name = "adamw",
    .doc = "bk.optim.adamw{ [beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0.01] } -> optimizer\n"
           "theta <- (1 - lr weight_decay) theta, then Adam's step with the plain gradient.\n"
           "Source: Loshchilov & Hutter 2019.",
    .options = { { "beta1", 0.9, 0, 1 },
                 { "beta2", 0.999, 0, 1 },
                 { "eps", 1e-8, 0, 1e300 },
                 { "weight_decay", 0.01, 0, 1e300 } },
    .buffers = { "first", "second" },
    .f64 = step_f64,
    .f32 = step_f32,
};
