/* layer_linear.c - affine maps: y = x W + b. */
#include "model.h"
#include <stdio.h>

enum { IN, OUT, BIAS };

static int linear_blocks(const layer *l, model_block *out) {
    int64_t in = layer_size(l, IN), n = layer_size(l, OUT);
    layer_block(&out[0], "weight", INIT_WEIGHT, in, n, 0, 0);
    out[0].fan_in = in, out[0].fan_out = n;
    out[0].turned = true;
    return layer_bias(out, 1, l->option[BIAS], n);
}

static bool linear_accepts(const layer *l, const layer_shape *x) {
    return shape_may(x, -1, layer_size(l, IN));
}

static bool linear_result(const layer *l, const layer_shape *x, layer_shape *y) {
    *y = *x;
    y->last = layer_size(l, OUT);
    if (y->ndim > 0) y->size[y->ndim - 1] = y->last;
    return true;
}

static void linear_expects(const layer *l, char *buf, size_t bytes) {
    snprintf(buf, bytes, "(batch, %lld)", (long long)layer_size(l, IN));
}

static node *linear_build(const layer *l, graph *g, node *const *p, node *x) {
    node *y = g_matmul(g, x, p[0]);
    return l->option[BIAS] == 0 ? y : g_add(g, y, p[1]);
}

const layer_row layer_linear = {
    .name = "linear",
    .doc = "bk.nn.linear{in, out} -> layer\n"
           "y = x W + b for x (batch, in), W (in, out), b (out).",
    .options = { { "in", "features of x", OPTION_COUNT, .required = true, .by_place = true, .low = 1, .high = 1 << 30 },
                 { "out", "features of y", OPTION_COUNT, .required = true, .by_place = true, .low = 1,
                   .high = 1 << 30 },
                 { "bias", "whether there is b", OPTION_FLAG, .otherwise = 1 } },
    .blocks = linear_blocks,
    .accepts = linear_accepts,
    .expects = linear_expects,
    .result = linear_result,
    .build = linear_build,
};
