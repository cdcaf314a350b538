/* heavy_ball.c - Polyak's momentum; at a constant rate theta_{k+1} = theta_k - lr g + beta (theta_k - theta_{k-1}). */
#include "optim.h"

#define SETUP(T) const T beta = OPT(T, 0), decay = OPT(T, 1);
#define BODY                                                                                                           \
    b0[i] = beta * b0[i] + (g[i] + decay * th[i]);                                                                     \
    th[i] -= lr * b0[i];
OPTIM_KERNEL(step_f64, double, sqrt, SETUP(double), BODY)
OPTIM_KERNEL(step_f32, float, sqrtf, SETUP(float), BODY)

const optim_row optim_heavy_ball = {
    .name = "heavy_ball",
    .doc = "bk.optim.heavy_ball{ [momentum = 0.9, weight_decay = 0] } -> optimizer\n"
           "m <- momentum m + g; theta <- theta - lr m. PyTorch's SGD with momentum.\n"
           "Source: Polyak 1964.",
    .options = { { "momentum", 0.9, 0, 1 }, { "weight_decay", 0, 0, 1e300 } },
    .buffers = { "momentum" },
    .f64 = step_f64,
    .f32 = step_f32,
};
