/* activation.c - elementwise layers: each a row of its name, its doc and the operation. mlp, transformers and help find
 * them by the row. */
#include "model.h"

const layer_row layer_tanh = {
    .name = "tanh",
    .doc = "bk.nn.tanh() -> layer\ntanh(x), elementwise.",
    .activation = g_tanh,
};

const layer_row layer_relu = {
    .name = "relu",
    .doc = "bk.nn.relu() -> layer\nmax(x, 0), elementwise; derivative 0 at 0.",
    .activation = g_relu,
};

const layer_row layer_gelu = {
    .name = "gelu",
    .doc = "bk.nn.gelu() -> layer\nx Phi(x), Phi the normal distribution function (exact, no tanh approximation).\n\n"
           "Source: Hendrycks & Gimpel 2016.",
    .activation = g_gelu,
};

const layer_row layer_softplus = {
    .name = "softplus",
    .doc = "bk.nn.softplus() -> layer\nlog(1 + exp(x)), elementwise.",
    .activation = g_softplus,
};

const layer_row layer_sigmoid = {
    .name = "sigmoid",
    .doc = "bk.nn.sigmoid() -> layer\n1/(1 + exp(-x)), elementwise.",
    .activation = g_sigmoid,
};

static node *same(graph *g, node *x) {
    (void)g;
    return x;
}

const layer_row layer_identity = {
    .name = "identity",
    .doc = "bk.nn.identity() -> layer\nx itself.",
    .activation = same,
};
