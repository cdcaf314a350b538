/* sgd.c - plain gradient steps. */
#include "../ops/ops.h"
#include "optim.h"

enum { DECAY };

static node *sgd_step(graph *g, const optim_in *in, node **state) {
    (void)state;
    return optim_decayed(g, in, in->option[DECAY]);
}

const optim_row optim_sgd = {
    .name = "sgd",
    .doc = "bk.optim.sgd{} -> optimizer\n"
           "Gradient steps. With momentum they are bk.optim.heavy_ball, PyTorch's, or bk.optim.nesterov.\n\n"
           "Formula: theta <- theta - lr (g + weight_decay theta).",
    .options = { { "weight_decay", "times theta, added to the gradient", OPTION_NUMBER, .high = 1e300 } },
    .step = sgd_step,
};
