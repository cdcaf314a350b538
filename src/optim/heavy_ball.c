/* heavy_ball.c - momentum that adds up gradients. */
#include "../ops/ops.h"
#include "optim.h"

enum { MOMENTUM, DECAY };

static node *heavy_ball_step(graph *g, const optim_in *in, node **state) {
    node *d = optim_decayed(g, in, in->option[DECAY]);
    return state[0] = g_add(g, d, g_scale(g, in->option[MOMENTUM], state[0]));
}

const optim_row optim_heavy_ball = {
    .name = "heavy_ball",
    .doc = "bk.optim.heavy_ball{} -> optimizer\n"
           "Heavy-ball momentum: PyTorch's SGD with momentum.\n\n"
           "Formula: m <- momentum m + g; theta <- theta - lr m.\n\n"
           "Source: Polyak 1964.",
    .options = { { "momentum", "weight of the past", OPTION_NUMBER, .otherwise = 0.9, .low = 0, .high = 1,
                   .below = true },
                 { "weight_decay", "times theta, added to the gradient", OPTION_NUMBER, .high = 1e300 } },
    .buffers = { "momentum" },
    .step = heavy_ball_step,
};
