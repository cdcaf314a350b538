/* rmsprop.c - steps divided by the root of a moving average of squares. */
#include "../ops/ops.h"
#include "optim.h"

enum { ALPHA, EPS, DECAY, MOMENTUM };

static node *rmsprop_step(graph *g, const optim_in *in, node **state) {
    const double alpha = in->option[ALPHA];
    node *d = optim_decayed(g, in, in->option[DECAY]);
    state[0] = g_add(g, g_scale(g, alpha, state[0]), g_scale(g, 1 - alpha, g_square(g, d)));
    node *now = g_div(g, d, g_offset(g, in->option[EPS], g_sqrt(g, state[0])));
    return state[1] = g_add(g, now, g_scale(g, in->option[MOMENTUM], state[1]));
}

const optim_row optim_rmsprop = {
    .name = "rmsprop",
    .doc = "bk.optim.rmsprop{} -> optimizer\n"
           "Steps divided by the root of a moving average of squared gradients.\n\n"
           "Formula: v <- alpha v + (1 - alpha) g^2; m <- momentum m + g/(sqrt(v) + eps); theta <- theta - lr m.\n\n"
           "Source: Tieleman & Hinton 2012.",
    .options = { { "alpha", "weight of the past squares", OPTION_NUMBER, .otherwise = 0.99, .low = 0, .high = 1,
                   .below = true },
                 { "eps", "added to the root", OPTION_NUMBER, .otherwise = 1e-8, .high = 1e300 },
                 { "weight_decay", "times theta, added to the gradient", OPTION_NUMBER, .high = 1e300 },
                 { "momentum", "weight of the past steps", OPTION_NUMBER, .otherwise = 0, .low = 0, .high = 1,
                   .below = true } },
    .buffers = { "square", "momentum" },
    .step = rmsprop_step,
};
