/* momentum_ema.c - momentum as an exponential moving average from m = 0: the form whose memory is first order in lr
 * and can hide the bracket (theta_AB - theta_BA = -lr beta (1 - beta)(g_A - g_B) + ...). */
#include "optim.h"

#define SETUP(T) const T beta = OPT(T, 0), rest = (T)(1 - u->option[0]), decay = OPT(T, 1);
#define BODY                                                                                                           \
    b0[i] = beta * b0[i] + rest * (g[i] + decay * th[i]);                                                              \
    th[i] -= lr * b0[i];
OPTIM_KERNEL(step_f64, double, sqrt, SETUP(double), BODY)
OPTIM_KERNEL(step_f32, float, sqrtf, SETUP(float), BODY)

const optim_row optim_momentum_ema = {
    .name = "momentum_ema",
    .doc = "bk.optim.momentum_ema{ [beta = 0.9, weight_decay = 0] } -> optimizer\n"
           "m <- beta m + (1 - beta) g; theta <- theta - lr m, from m = 0, without bias correction.",
    .options = { { "beta", 0.9, 0, 1 }, { "weight_decay", 0, 0, 1e300 } },
    .buffers = { "momentum" },
    .f64 = step_f64,
    .f32 = step_f32,
};
