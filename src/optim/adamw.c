/* adamw.c - Adam with the decay apart from the gradient. */
#include "../ops/ops.h"
#include "optim.h"

enum { BETA1, BETA2, EPS, DECAY }; /* the first three as optim_adam_step has them */

static node *adamw_step(graph *g, const optim_in *in, node **state) {
    node *step = optim_adam_step(g, in, in->g, state);
    return g_add(g, step, g_scale(g, in->option[DECAY], in->theta));
}

const optim_row optim_adamw = {
    .name = "adamw",
    .doc = "bk.optim.adamw{} -> optimizer\n"
           "Adam's step with the plain gradient, and theta decayed by itself.\n\n"
           "Formula: theta <- theta - lr (adam + weight_decay theta).\n\n"
           "Source: Loshchilov & Hutter 2019.",
    .options = { { "beta1", "weight of the past gradients", OPTION_NUMBER, .otherwise = 0.9, .low = 0, .high = 1,
                   .below = true },
                 { "beta2", "weight of the past squares", OPTION_NUMBER, .otherwise = 0.999, .low = 0, .high = 1,
                   .below = true },
                 { "eps", "added to the root", OPTION_NUMBER, .otherwise = 1e-8, .high = 1e300 },
                 { "weight_decay", "times theta, added to the step", OPTION_NUMBER, .otherwise = 0.01,
                   .high = 1e300 } },
    .buffers = { "first", "second" },
    .step = adamw_step,
};
