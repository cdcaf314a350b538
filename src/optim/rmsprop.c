/* rmsprop.c - steps scaled by a running root mean square of the gradient. */
#include "optim.h"
#include <math.h>

#define SETUP(T)                                                                                                       \
    const T alpha = OPT(T, 0), rest = (T)(1 - u->option[0]), eps = OPT(T, 1), decay = OPT(T, 2), beta = OPT(T, 3);
#define BODY(T, SQRT)                                                                                                  \
    const T d = g[i] + decay * th[i];                                                                                  \
    b0[i] = alpha * b0[i] + rest * d * d;                                                                              \
    b1[i] = beta * b1[i] + d / (SQRT(b0[i]) + eps);                                                                    \
    th[i] -= lr * b1[i];
OPTIM_KERNEL(step_f64, double, sqrt, SETUP(double), BODY(double, sqrt))
OPTIM_KERNEL(step_f32, float, sqrtf, SETUP(float), BODY(float, sqrtf))

const optim_row optim_rmsprop = {
    .name = "rmsprop",
    .doc = "bk.optim.rmsprop{ [alpha = 0.99, eps = 1e-8, weight_decay = 0, momentum = 0] } -> optimizer\n"
           "v <- alpha v + (1 - alpha) g^2; m <- momentum m + g/(sqrt(v) + eps); theta <- theta - lr m.\n"
           "Source: Tieleman & Hinton 2012.",
    .options = { { "alpha", 0.99, 0, 1 },
                 { "eps", 1e-8, 0, 1e300 },
                 { "weight_decay", 0, 0, 1e300 },
                 { "momentum", 0, 0, 1 } },
    .buffers = { "square", "momentum" },
    .f64 = step_f64,
    .f32 = step_f32,
};
