/* nesterov.c - momentum that looks ahead. */
#include "../ops/ops.h"
#include "optim.h"

enum { MOMENTUM, DECAY };

static node *nesterov_step(graph *g, const optim_in *in, node **state) {
    const double momentum = in->option[MOMENTUM];
    node *d = optim_decayed(g, in, in->option[DECAY]);
    state[0] = g_add(g, d, g_scale(g, momentum, state[0]));
    return g_add(g, d, g_scale(g, momentum, state[0]));
}

const optim_row optim_nesterov = {
    .name = "nesterov",
    .doc = "bk.optim.nesterov{} -> optimizer\n"
           "Nesterov's momentum: PyTorch's SGD with nesterov.\n\n"
           "Formula: m <- momentum m + g; theta <- theta - lr (g + momentum m).\n\n"
           "Source: Nesterov 1983; Sutskever et al. 2013.",
    .options = { { "momentum", "weight of the past", OPTION_NUMBER, .otherwise = 0.9, .low = 0, .high = 1,
                   .below = true },
                 { "weight_decay", "times theta, added to the gradient", OPTION_NUMBER, .high = 1e300 } },
    .buffers = { "momentum" },
    .step = nesterov_step,
};
