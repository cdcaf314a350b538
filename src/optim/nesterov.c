/* nesterov.c - momentum with a look ahead. */
#include "optim.h"

#define SETUP(T) const T beta = OPT(T, 0), decay = OPT(T, 1);
#define BODY                                                                                                           \
    const real d = g[i] + decay * th[i];                                                                               \
    b0[i] = beta * b0[i] + d;                                                                                          \
    th[i] -= lr * (d + beta * b0[i]);
#define real double
OPTIM_KERNEL(step_f64, double, sqrt, SETUP(double), BODY)
#undef real
#define real float
OPTIM_KERNEL(step_f32, float, sqrtf, SETUP(float), BODY)

const optim_row optim_nesterov = {
    .name = "nesterov",
    .doc = "bk.optim.nesterov{ [momentum = 0.9, weight_decay = 0] } -> optimizer\n"
           "m <- momentum m + g; theta <- theta - lr (g + momentum m). PyTorch's SGD with nesterov.\n"
           "Source: Nesterov 1983; Sutskever et al. 2013.",
    .options = { { "momentum", 0.9, 0, 1 }, { "weight_decay", 0, 0, 1e300 } },
    .buffers = { "momentum" },
    .f64 = step_f64,
    .f32 = step_f32,
};
