/* adam.c - Adam, weight decay as part of the gradient. */
#include "optim.h"
#include <math.h>

#define SETUP(T)                                                                                                       \
    const T beta1 = OPT(T, 0), beta2 = OPT(T, 1), rest1 = (T)(1 - u->option[0]), rest2 = (T)(1 - u->option[1]);        \
    const T eps = OPT(T, 2), decay = OPT(T, 3), rate = (T)(u->lr / (1 - pow(u->option[0], (double)u->t)));             \
    const T unbias = (T)(1 / sqrt(1 - pow(u->option[1], (double)u->t)));                                               \
    (void)lr;
#define BODY(T, SQRT)                                                                                                  \
    const T d = g[i] + decay * th[i];                                                                                  \
    b0[i] = beta1 * b0[i] + rest1 * d;                                                                                 \
    b1[i] = beta2 * b1[i] + rest2 * d * d;                                                                             \
    th[i] -= rate * b0[i] / (SQRT(b1[i]) * unbias + eps);
OPTIM_KERNEL(step_f64, double, sqrt, SETUP(double), BODY(double, sqrt))
OPTIM_KERNEL(step_f32, float, sqrtf, SETUP(float), BODY(float, sqrtf))

const optim_row optim_adam = {
    .name = "adam",
    .doc = "bk.optim.adam{ [beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0] } -> optimizer\n"
           "m <- beta1 m + (1 - beta1) g; v <- beta2 v + (1 - beta2) g^2; with m^ = m/(1 - beta1^t), v^ = v/(1 - "
           "beta2^t):\n"
           "theta <- theta - lr m^/(sqrt(v^) + eps).\n"
           "Source: Kingma & Ba 2015.",
    .options = { { "beta1", 0.9, 0, 1 },
                 { "beta2", 0.999, 0, 1 },
                 { "eps", 1e-8, 0, 1e300 },
                 { "weight_decay", 0, 0, 1e300 } },
    .buffers = { "first", "second" },
    .f64 = step_f64,
    .f32 = step_f32,
};
