/* adam.c - Adam, and its step for adamw.c. */
#include "../ops/ops.h"
#include "optim.h"

enum { BETA1, BETA2, EPS, DECAY };

/* option: beta1, beta2, eps. The corrections are numbers: one product and one quotient an element. */
node *optim_adam_step(graph *g, const optim_in *in, node *d, node **state) {
    const double beta1 = in->option[BETA1], beta2 = in->option[BETA2];
    state[0] = g_add(g, g_scale(g, beta1, state[0]), g_scale(g, 1 - beta1, d));
    state[1] = g_add(g, g_scale(g, beta2, state[1]), g_scale(g, 1 - beta2, g_square(g, d)));
    node *first = g_reciprocal(g, optim_correction(g, in, beta1));
    node *second = g_reciprocal(g, g_sqrt(g, optim_correction(g, in, beta2)));
    node *root = g_mul(g, g_sqrt(g, state[1]), second);
    return g_div(g, g_mul(g, state[0], first), g_offset(g, in->option[EPS], root));
}

static node *adam_step(graph *g, const optim_in *in, node **state) {
    return optim_adam_step(g, in, optim_decayed(g, in, in->option[DECAY]), state);
}

const optim_row optim_adam = {
    .name = "adam",
    .doc = "bk.optim.adam{} -> optimizer\n"
           "Moments of the gradient, corrected for their start from 0; weight decay is part of the gradient.\n\n"
           "Formula: m <- beta1 m + (1 - beta1) g; v <- beta2 v + (1 - beta2) g^2; with m^ = m/(1 - beta1^t), "
           "v^ = v/(1 - beta2^t): theta <- theta - lr m^/(sqrt(v^) + eps).\n\n"
           "Source: Kingma & Ba 2015.",
    .options = { { "beta1", "weight of the past gradients", OPTION_NUMBER, .otherwise = 0.9, .low = 0, .high = 1,
                   .below = true },
                 { "beta2", "weight of the past squares", OPTION_NUMBER, .otherwise = 0.999, .low = 0, .high = 1,
                   .below = true },
                 { "eps", "added to the root", OPTION_NUMBER, .otherwise = 1e-8, .high = 1e300 },
                 { "weight_decay", "times theta, added to the gradient", OPTION_NUMBER, .high = 1e300 } },
    .buffers = { "first", "second" },
    .step = adam_step,
};
