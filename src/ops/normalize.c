/* normalize.c - rows less their mean, divided by their spread, and layer_norm. Where a moves by t, y = normalize(a)
 * moves by normalize_slope(y, scale, t), scale = normalize_scale(a). */
#include "ops.h"

#include <math.h>

typedef struct normalize_job {
    const node *n;
    const char *in[3];
    char *out;
    int64_t size; /* of a row */
} normalize_job;

static void normalize_rows(void *arg, int share, int64_t first, int64_t end) {
    (void)share;
    const normalize_job *j = arg;
    const bk_dtype dtype = j->n->dtype;
    const size_t element = dtype_size(dtype), row = element * (size_t)first, at = row * (size_t)j->size;
    const int64_t rows = end - first;
    if (j->n->op == &op_normalize_slope)
        vec_normalize_slope(dtype, rows, j->size, j->out + at, j->in[0] + at, j->in[1] + row, j->in[2] + at);
    else if (j->n->op == &op_normalize_scale)
        vec_normalize(dtype, rows, j->size, j->n->x, NULL, j->out + row, j->in[0] + at);
    else vec_normalize(dtype, rows, j->size, j->n->x, j->out + at, NULL, j->in[0] + at);
}

static bk_status normalize_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    (void)scratch;
    const node *a = n->in[0];
    normalize_job j = { .n = n, .out = out, .size = a->shape[a->ndim - 1] };
    for (int k = 0; k < n->n_in; k++) j.in[k] = in[k];
    const int64_t rows = shape_count(a->ndim - 1, a->shape);
    return ctx_ranges(c, rows, op_shares(a->count), 4 * (double)a->count, normalize_rows, &j);
}

static bool normalize_shape(graph *g, node *n) {
    if (n->ndim >= 1 && n->dtype != BK_INT64) return true;
    graph_fail(g, BK_EINVAL, "bk.%s: expected a float tensor of at least 1 dimension", op_title(n->op));
    return false;
}
static bool scale_shape(graph *g, node *n) {
    if (!normalize_shape(g, n)) return false;
    n->shape[n->ndim - 1] = 1;
    return true;
}

static node *scale_of(graph *g, node *a, double eps) {
    return a ? graph_op(g, &op_normalize_scale, 1, &a, 0, NULL, eps) : NULL;
}
static node *slope(graph *g, node *y, node *scale, node *t) {
    node *in[3] = { y, scale, t };
    return y && scale && t ? graph_op(g, &op_normalize_slope, 3, in, 0, NULL, 0) : NULL;
}
/* The mean of a b over each row. */
static node *row_mean(graph *g, node *a, node *b) {
    return a && b ? g_mean(g, g_mul(g, a, b), 1u << (a->ndim - 1), true) : NULL;
}

static node *normalize_jvp(graph *g, node *n, int k, node *t) {
    (void)k;
    return slope(g, n, scale_of(g, n->in[0], n->x), t);
}
/* scale = (var + eps)^(-1/2), d var = 2/n sum (a - mean) t = 2/scale mean(y t): d scale = -scale^2 mean(y t) */
static node *normalize_scale_jvp(graph *g, node *n, int k, node *t) {
    node *a = n->in[0], *y = graph_op(g, &op_normalize, 1, &a, 0, NULL, n->x);
    (void)k;
    return g_neg(g, g_mul(g, g_square(g, n), row_mean(g, y, t)));
}
static node *normalize_slope_jvp(graph *g, node *n, int k, node *t) {
    node *y = n->in[0], *scale = n->in[1], *of = n->in[2];
    if (k == 1) return g_mul(g, n, g_div(g, t, scale));
    if (k == 2) return slope(g, y, scale, t);
    node *moved = g_add(g, g_mul(g, t, row_mean(g, y, of)), g_mul(g, y, row_mean(g, t, of)));
    return g_neg(g, g_mul(g, scale, moved));
}
static node *normalize_slope_transpose(graph *g, node *n, int k, node *ct) { /* it is symmetric */
    return k == 2 ? slope(g, n->in[0], n->in[1], ct) : op_no_transpose(g, n, k, ct);
}
static node *normalize_slope_simplify(graph *g, node *n) {
    node *t = n->in[2];
    return t->op == &op_scale ? g_scale(g, t->x, slope(g, n->in[0], n->in[1], t->in[0])) : NULL;
}

#define NORMALIZE                                                                                                      \
    .kind = OP_KERNEL, .run = normalize_run, .shared = true, .vmap = op_vmap_elementwise, .serves = "layer_norm"

const op_row op_normalize = {
    NORMALIZE,
    .name = "normalize",
    .arity = 1,
    .formula = "y = (a - mean a) (var a + x)^(-1/2) along the last axis",
    .shape = normalize_shape,
    .jvp = normalize_jvp,
    .transpose = op_no_transpose,
    .sample = &(op_sample){ 1, { { 3, { SAMPLE_SIZE, 2, 5 }, 0 } }, .x = 0.1 },
};
const op_row op_normalize_scale = {
    NORMALIZE,
    .name = "normalize_scale",
    .arity = 1,
    .formula = "(var a + x)^(-1/2) along the last axis",
    .shape = scale_shape,
    .jvp = normalize_scale_jvp,
    .transpose = op_no_transpose,
    .sample = &(op_sample){ 1, { { 3, { SAMPLE_SIZE, 2, 5 }, 0 } }, .x = 0.1 },
};
const op_row op_normalize_slope = {
    NORMALIZE,
    .name = "normalize_slope",
    .arity = 3,
    .formula = "scale (t - mean t - y mean(y t)) along the last axis, of y, scale, t",
    .shape = normalize_shape,
    .simplify = normalize_slope_simplify,
    .jvp = normalize_slope_jvp,
    .transpose = normalize_slope_transpose,
    .sample = &(op_sample){ 3, { { 3, { SAMPLE_SIZE, 2, 5 }, 0 }, { 3, { SAMPLE_SIZE, 2, 1 }, 0 },
                                 { 3, { SAMPLE_SIZE, 2, 5 }, 0 } } },
};

/* Along that many last axes, 1 or more, made of other operations: passes sum what they make, and read long rows less
 * often than kernels that begin with what these leave. */
node *g_normalized(graph *g, node *a, int last, double eps) {
    if (!a) return NULL;
    const unsigned axes = ((1u << last) - 1) << (a->ndim - last);
    const int64_t n = shape_count(last, a->shape + a->ndim - last);
    if (n == 0) return graph_fail(g, BK_EINVAL, "bk.layer_norm: no elements");
    node *centred = g_sub(g, a, g_mean(g, a, axes, true)), *var = g_mean(g, g_square(g, centred), axes, true);
    return g_mul(g, centred, g_powx(g, g_offset(g, eps, var), -0.5));
}

node *g_layer_norm(graph *g, node *a, double eps) {
    if (!(eps >= 0 && isfinite(eps)))
        return graph_fail(g, BK_EINVAL, "bk.layer_norm: eps: expected a finite number >= 0, got %g", eps);
    a = op_operand(g, &op_layer_norm, a);
    if (!a) return NULL;
    if (a->ndim == 0) return graph_fail(g, BK_EINVAL, "bk.layer_norm: expected at least 1 dimension, got ()");
    const int64_t n = a->shape[a->ndim - 1];
    return n && n <= VEC_SHORT ? graph_op(g, &op_normalize, 1, &a, 0, NULL, eps) : g_normalized(g, a, 1, eps);
}
OP_BUILD(layer_norm, g_layer_norm(g, v[0].t, v[1].x))
const op_row op_layer_norm = {
    .name = "layer_norm",
    .arity = 1,
    .kind = OP_COMPOSITE,
    .formula = "(t - mean) (var + eps)^(-1/2) along the last axis",
    .args = (const op_arg[]){ { ARG_TENSOR, "t" },
                              { ARG_NUMBER, "eps", "1e-5", "is added to the variance", .option = true },
                              { ARG_END } },
    .build = layer_norm_build,
    .sample = &(op_sample){ 1, { { 3, { 2, 3, 5 }, 0 } }, 1, { 0 }, .x = 0.1 },
    .doc = "(x - mean) / sqrt(var + eps) along the last dimension.\n\nSource: Ba, Kiros & Hinton 2016.",
};
