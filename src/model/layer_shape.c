/* layer_shape.c - layers that normalise, look up and reshape. */
#include "model.h"
#include <stdio.h>

/* ---- flatten ---- */

static bool flatten_accepts(const layer *l, const layer_shape *x) {
    (void)l;
    return shape_ranks(x, 1, BK_MAX_DIMS);
}

static bool flatten_result(const layer *l, const layer_shape *x, layer_shape *y) {
    (void)l;
    *y = (layer_shape){ .ndim = 2, .size = { -1, -1 }, .last = -1, .dtype = x->dtype };
    if (x->ndim < 1) return true;
    y->size[0] = x->size[0];
    y->size[1] = 1;
    for (int i = 1; i < x->ndim; i++) y->size[1] = x->size[i] < 0 || y->size[1] < 0 ? -1 : y->size[1] * x->size[i];
    return true;
}

static void flatten_expects(const layer *l, char *buf, size_t bytes) {
    (void)l;
    snprintf(buf, bytes, "(batch, ...)");
}

static node *flatten_build(const layer *l, graph *g, node *const *p, node *x) {
    (void)l, (void)p;
    const int64_t shape[2] = { x->shape[0], shape_count(x->ndim - 1, x->shape + 1) };
    return g_reshape(g, x, 2, shape);
}

const layer_row layer_flatten = {
    .name = "flatten",
    .doc = "bk.nn.flatten() -> layer\n(batch, ...) to (batch, features), row-major.",
    .accepts = flatten_accepts,
    .expects = flatten_expects,
    .result = flatten_result,
    .build = flatten_build,
};

/* ---- layer_norm: over the last axis ---- */

enum { FEATURES, EPS };

static int norm_blocks(const layer *l, model_block *out) {
    layer_block(&out[0], "weight", INIT_ONE, layer_size(l, FEATURES), 0, 0, 0);
    return layer_bias(out, 1, 1, layer_size(l, FEATURES));
}

static bool norm_accepts(const layer *l, const layer_shape *x) {
    return shape_may(x, -1, layer_size(l, FEATURES));
}

static void norm_expects(const layer *l, char *buf, size_t bytes) {
    snprintf(buf, bytes, "(batch, %lld)", (long long)layer_size(l, FEATURES));
}

static node *norm_build(const layer *l, graph *g, node *const *p, node *x) {
    return g_add(g, g_mul(g, g_layer_norm(g, x, l->option[EPS]), p[0]), p[1]);
}

const layer_row layer_layer_norm = {
    .name = "layer_norm",
    .doc = "bk.nn.layer_norm{features} -> layer\n"
           "(x - mean)/sqrt(var + eps) * weight + bias along the last axis (var: divided by features).\n\n"
           "Source: Ba, Kiros & Hinton 2016.",
    .options = { { "features", "size of x's last axis", OPTION_COUNT, .required = true, .by_place = true, .low = 1,
                   .high = 1 << 30 },
                 { "eps", "added to the variance", OPTION_NUMBER, .otherwise = 1e-5, .high = 1e300, .open = true } },
    .blocks = norm_blocks,
    .accepts = norm_accepts,
    .expects = norm_expects,
    .result = layer_same,
    .build = norm_build,
};

/* ---- embedding: rows of a table ---- */

enum { ROWS, WIDTH };

static int embedding_blocks(const layer *l, model_block *out) {
    layer_block(&out[0], "weight", INIT_TABLE, layer_size(l, ROWS), layer_size(l, WIDTH), 0, 0);
    out[0].fan_in = layer_size(l, ROWS), out[0].fan_out = layer_size(l, WIDTH);
    return 1;
}

static bool embedding_accepts(const layer *l, const layer_shape *x) {
    (void)l;
    return x->dtype == BK_INT64;
}

static bool embedding_result(const layer *l, const layer_shape *x, layer_shape *y) {
    *y = *x;
    y->dtype = BK_FLOAT64;
    y->last = layer_size(l, WIDTH);
    if (x->ndim >= 0 && x->ndim < BK_MAX_DIMS) y->size[y->ndim++] = y->last;
    return x->ndim < BK_MAX_DIMS;
}

static void embedding_expects(const layer *l, char *buf, size_t bytes) {
    snprintf(buf, bytes, "int64 indices 0..%lld", (long long)layer_size(l, ROWS) - 1);
}

static node *embedding_build(const layer *l, graph *g, node *const *p, node *x) {
    (void)l;
    return g_gather(g, p[0], x);
}

const layer_row layer_embedding = {
    .name = "embedding",
    .doc = "bk.nn.embedding{rows, width} -> layer\n"
           "int64 ids (batch, ...), from 0, to the rows of a table: (batch, ..., width).",
    .options = { { "rows", "how many ids there are", OPTION_COUNT, .required = true, .by_place = true, .low = 1,
                   .high = 1 << 30 },
                 { "width", "features of a row", OPTION_COUNT, .required = true, .by_place = true, .low = 1,
                   .high = 1 << 30 } },
    .blocks = embedding_blocks,
    .accepts = embedding_accepts,
    .expects = embedding_expects,
    .result = embedding_result,
    .build = embedding_build,
    .takes_ids = true,
};
