/* momentum_ema.c - momentum as an exponential moving average, no bias correction: its order effect is first order in h
 * and can hide the bracket (theta_AB - theta_BA = -lr beta (1 - beta)(g_A - g_B) + ...). */
#include "../ops/ops.h"
#include "optim.h"

enum { BETA, DECAY };

static node *momentum_ema_step(graph *g, const optim_in *in, node **state) {
    const double beta = in->option[BETA];
    node *d = optim_decayed(g, in, in->option[DECAY]);
    return state[0] = g_add(g, g_scale(g, beta, state[0]), g_scale(g, 1 - beta, d));
}

const optim_row optim_momentum_ema = {
    .name = "momentum_ema",
    .doc = "bk.optim.momentum_ema{} -> optimizer\n"
           "Momentum as a moving average of the gradients, from m = 0, without bias correction.\n\n"
           "Formula: m <- beta m + (1 - beta) g; theta <- theta - lr m.",
    .options = { { "beta", "weight of the past", OPTION_NUMBER, .otherwise = 0.9, .low = 0, .high = 1, .below = true },
                 { "weight_decay", "times theta, added to the gradient", OPTION_NUMBER, .high = 1e300 } },
    .buffers = { "momentum" },
    .step = momentum_ema_step,
};
