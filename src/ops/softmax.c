/* softmax.c - softmax, logsumexp and log_softmax along an axis. Their nodes work along the last one. A causal softmax
 * is of a matrix, whose row i sees its first i elements, counted from 1; what it does not see is 0. */
#include "ops.h"

#include <math.h>
#include <string.h>

static bool last_axis(graph *g, node *n) {
    if (n->ndim >= 1 && n->dtype != BK_INT64) return true;
    return graph_fail(g, BK_EINVAL, "bk.%s: expected a float tensor of at least 1 dimension, got %s", op_title(n->op),
                      n->ndim ? "int64" : "()");
}
static bool logsumexp_shape(graph *g, node *n) {
    if (!last_axis(g, n)) return false;
    n->ndim--;
    return true;
}
/* logsumexp's exponentials, which softmax leaves in its result. */
static size_t softmax_scratch(const node *n, int threads) {
    (void)threads;
    const node *a = n->in[0];
    return n->op == &op_logsumexp ? (size_t)a->count * dtype_size(a->dtype) : 0;
}

static bool is_causal(const node *n) {
    return n->n_ints && n->ints[0];
}

typedef struct softmax_job {
    ctx *c;
    const node *n;
    const char *in, *other; /* other: softmax_slope's second operand */
    char *exponentials, *out;
    int64_t size, rows; /* of a row; of a causal matrix, 0: all of them see everything */
} softmax_job;

enum { ROWS_BLOCK = 2048 /* elements: in L1 from one pass to the next */ };

/* A vector kernel over a row, which may be long: up to an interrupt. */
static void apply(ctx *c, bk_dtype dtype, vec_op op, int64_t n, void *out, const void *a, const void *b, double x) {
    const size_t size = dtype_size(dtype);
    for (int64_t i = 0; i < n; i += POLL_WORK) {
        const int64_t some = n - i < POLL_WORK ? n - i : POLL_WORK;
        const size_t at = (size_t)i * size;
        vec_get(op, dtype)(some, (char *)out + at, (const char *)a + at, b ? (const char *)b + at : NULL, NULL, x);
        if (n > POLL_WORK && ctx_poll(c, NULL)) return;
    }
}

/* vec_softmax of one row that may be long. */
static void long_row(ctx *c, bk_dtype dtype, int64_t n, void *out, const void *a, bool scaled, double *top,
                     double *sum) {
    *top = vec_max(dtype, n, a);
    apply(c, dtype, VEC_OFFSET, n, out, a, NULL, isinf(*top) ? 0 : -*top);
    apply(c, dtype, VEC_EXP, n, out, out, NULL, 0);
    *sum = vec_sum(dtype, n, out);
    if (scaled) apply(c, dtype, VEC_SCALE, n, out, out, NULL, 1 / *sum);
}

/* vec_log_softmax of one row that may be long. */
static void long_log(ctx *c, bk_dtype dtype, int64_t n, void *out, const void *a) {
    const double top = vec_max(dtype, n, a);
    apply(c, dtype, VEC_OFFSET, n, out, a, NULL, -top);
    apply(c, dtype, VEC_EXP, n, out, out, NULL, 0);
    dtype_set(dtype, out, vec_argmax(dtype, n, a), 0);
    const double others = vec_sum(dtype, n, out);
    apply(c, dtype, VEC_OFFSET, n, out, a, NULL, -top);
    apply(c, dtype, VEC_OFFSET, n, out, out, NULL, -log1p(others));
}

/* vec_softmax_slope of one row that may be long. */
static void long_slope(ctx *c, bk_dtype dtype, int64_t n, void *out, const void *s, const void *t) {
    apply(c, dtype, VEC_OFFSET, n, out, t, NULL, -vec_dot(dtype, n, s, t));
    apply(c, dtype, VEC_MUL, n, out, out, s, 0);
}

/* A block of rows, which see `seen` and so on: exp(a - max) and the sums; or the slopes. */
static void softmax_block(const softmax_job *j, int64_t first, int64_t end, int64_t seen) {
    const bk_dtype dtype = j->n->in[0]->dtype;
    const size_t element = dtype_size(dtype), step = element * (size_t)j->size, at = step * (size_t)first;
    const bool slope = j->n->op == &op_softmax_slope, scaled = j->n->op == &op_softmax, short_ = j->size <= VEC_SHORT;
    const bool logs = j->n->op == &op_log_softmax;
    char *e = j->exponentials + at;
    double tops[ROWS_BLOCK], sums[ROWS_BLOCK];
    if (slope && short_) vec_softmax_slope(dtype, end - first, j->size, seen, e, j->in + at, j->other + at);
    else if (slope) long_slope(j->c, dtype, seen, e, j->in + at, j->other + at);
    else if (logs && short_) vec_log_softmax(dtype, end - first, j->size, e, j->in + at);
    else if (logs) long_log(j->c, dtype, j->size, e, j->in + at);
    else if (short_) vec_softmax(dtype, end - first, j->size, seen, e, j->in + at, scaled, tops, sums);
    else long_row(j->c, dtype, seen, e, j->in + at, scaled, tops, sums);
    if (!short_) memset(e + element * (size_t)seen, 0, element * (size_t)(j->size - seen));
    for (int64_t i = first; i < end && j->n->op == &op_logsumexp; i++) {
        const double top = tops[i - first];
        dtype_set(dtype, j->out, i, (isinf(top) ? (top > 0 ? top : 0) : top) + log(sums[i - first]));
    }
}

static void softmax_rows(void *arg, int share, int64_t first, int64_t end) {
    (void)share;
    const softmax_job *j = arg;
    const int64_t some = j->size <= VEC_SHORT ? ROWS_BLOCK / (j->size > 0 ? j->size : 1) : 1;
    for (int64_t i = first, to; i < end; i = to) {
        const int64_t row = j->rows ? i % j->rows : 0, seen = j->rows && row < j->size ? row + 1 : j->size;
        to = end - i < some ? end : i + some;
        if (j->rows && to > i - row + j->rows) to = i - row + j->rows; /* the matrix ends */
        softmax_block(j, i, to, seen);
    }
}

static bk_status softmax_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    const node *a = n->in[0];
    softmax_job j = { c, n, in[0], n->n_in > 1 ? in[1] : NULL, n->op == &op_logsumexp ? scratch : out, out,
                      a->shape[a->ndim - 1], is_causal(n) ? a->shape[a->ndim - 2] : 0 };
    const int64_t rows = shape_count(a->ndim - 1, a->shape);
    return ctx_ranges(c, rows, op_shares(a->count), 4 * (double)a->count, softmax_rows, &j);
}
/* f, which works along the last axis, along the given one (below 0: the last): moved to the end and back. f may drop
 * it. */
static node *along(graph *g, node *a, int axis, node *(*f)(graph *, node *)) {
    if (!a) return NULL;
    const int last = a->ndim - 1;
    if (axis < 0) axis = last;
    if (a->dtype == BK_INT64) a = g_cast(g, a, BK_FLOAT64);
    if (last < 0 || axis == last) return f(g, a);
    int64_t axes[BK_MAX_DIMS];
    for (int i = 0; i <= last; i++) axes[i] = i == axis ? last : i == last ? axis : i;
    node *y = f(g, g_permute(g, a, axes));
    if (!y) return NULL;
    if (y->ndim == last) /* what was last stands at axis: back to the end of what is left */
        for (int i = 0, n = 0; i < last; i++) {
            if (i != axis) axes[n++] = i;
            axes[last - 1] = axis;
        }
    return g_permute(g, y, axes);
}

static node *softmax_jvp(graph *g, node *n, int k, node *t) {
    (void)k;
    return g_softmax_slope(g, n, t, is_causal(n));
}
static node *logsumexp_jvp(graph *g, node *n, int k, node *t) {
    (void)k;
    node *a = n->in[0];
    return g_sum(g, g_mul(g, g_softmax(g, a), t), 1u << (a->ndim - 1), false);
}
static node *softmax_build(graph *g, const op_value *v, node **second) {
    node *a = v[0].t;
    (void)second;
    if (!a || !v[2].i) return along(g, a, (int)v[1].i, g_softmax);
    if (a->ndim < 2 || (v[1].i >= 0 && v[1].i < a->ndim - 1))
        return graph_fail(g, BK_EINVAL,
                          "bk.softmax: causal: expected the last of at least 2 dimensions, got dim %lld of %d",
                          (long long)(v[1].i < 0 ? a->ndim : v[1].i + 1), a->ndim);
    return g_causal_softmax(g, a->dtype == BK_INT64 ? g_cast(g, a, BK_FLOAT64) : a);
}
const op_row op_softmax = {
    .name = "softmax",
    .arity = 1,
    .kind = OP_KERNEL,
    .formula = "s = e^a / sum e^a along the last axis; ds = s (da - sum s da)",
    .shape = last_axis,
    .run = softmax_run,
    .shared = true,
    .scratch = softmax_scratch,
    .jvp = softmax_jvp,
    .transpose = op_no_transpose,
    .vmap = op_vmap_elementwise,
    .args = (const op_arg[]){ { ARG_TENSOR, "t" },
                              { ARG_DIM, "dim", .absent = "" },
                              { ARG_BOOLEAN, "causal", "false", "is 0 where a column of the last two dimensions comes "
                                "after the row: row i sees columns 1..i", .option = true },
                              { ARG_END } },
    .build = softmax_build,
    .sample = &(op_sample){ 1, { { 3, { SAMPLE_SIZE, 2, 5 }, 0 } } },
    .doc = "e^x / sum e^x along dim, the last by default; without overflow.",
};

/* Linear in t, and its own adjoint there: diag(s) - s sᵀ is symmetric. */
static node *softmax_slope_jvp(graph *g, node *n, int k, node *t) {
    node *s = n->in[0], *of = n->in[1];
    if (k == 1) return g_softmax_slope(g, s, t, is_causal(n));
    const unsigned last = 1u << (n->ndim - 1);
    node *both = g_mul(g, t, of), *mean = g_sum(g, g_mul(g, s, of), last, true);
    return g_sub(g, g_sub(g, both, g_mul(g, t, mean)), g_mul(g, s, g_sum(g, both, last, true)));
}
static node *softmax_slope_transpose(graph *g, node *n, int k, node *ct) {
    return k == 1 ? g_softmax_slope(g, n->in[0], ct, is_causal(n)) : op_no_transpose(g, n, k, ct);
}
static node *softmax_slope_simplify(graph *g, node *n) {
    node *s = n->in[0], *t = n->in[1];
    if (t->op == &op_scale) return g_scale(g, t->x, g_softmax_slope(g, s, t->in[0], is_causal(n)));
    return t->op == &op_full ? g_zeros_like(g, t) : NULL; /* s sums to 1 */
}
const op_row op_softmax_slope = {
    .name = "softmax_slope",
    .arity = 2,
    .kind = OP_KERNEL,
    .formula = "s (t - sum s t) along the last axis, s a softmax",
    .serves = "softmax",
    .shape = last_axis,
    .run = softmax_run,
    .shared = true,
    .simplify = softmax_slope_simplify,
    .jvp = softmax_slope_jvp,
    .transpose = softmax_slope_transpose,
    .vmap = op_vmap_elementwise,
    .sample = &(op_sample){ 2, { { 3, { SAMPLE_SIZE, 2, 5 }, 0 }, { 3, { SAMPLE_SIZE, 2, 5 }, 0 } } },
};
OP_BUILD(logsumexp, along(g, v[0].t, (int)v[1].i, g_logsumexp))
const op_row op_logsumexp = {
    .name = "logsumexp",
    .arity = 1,
    .kind = OP_KERNEL,
    .formula = "ln sum e^a along the last axis, which is dropped",
    .shape = logsumexp_shape,
    .run = softmax_run,
    .shared = true,
    .scratch = softmax_scratch,
    .jvp = logsumexp_jvp,
    .transpose = op_no_transpose,
    .vmap = op_vmap_elementwise,
    .args = op_args_along,
    .build = logsumexp_build,
    .sample = &(op_sample){ 1, { { 3, { SAMPLE_SIZE, 2, 5 }, 0 } } },
    .doc = "log sum e^x along dim, the last by default, which is dropped; without overflow.",
};
node *g_softmax(graph *g, node *a) { /* along the last axis */
    return a ? graph_op(g, &op_softmax, 1, &a, 0, NULL, 0) : NULL;
}
/* The triangles say what the node does not: that nothing else of a is read, and that nothing else of it need be. */
node *g_causal_softmax(graph *g, node *a) {
    a = g_tril(g, a);
    return a ? g_tril(g, graph_op(g, &op_softmax, 1, &a, 1, (int64_t[]){ true }, 0)) : NULL;
}
/* s (t - sum s t): the tangent of s = softmax(a) when that of a is t. causal: both are 0 above their diagonals. */
node *g_softmax_slope(graph *g, node *s, node *t, bool causal) {
    node *in[2] = { s, t };
    return s && t ? graph_op(g, &op_softmax_slope, 2, in, 1, (int64_t[]){ causal }, 0) : NULL;
}
node *g_logsumexp(graph *g, node *a) { /* along the last axis, dropped */
    return a ? graph_op(g, &op_logsumexp, 1, &a, 0, NULL, 0) : NULL;
}

static node *log_softmax_jvp(graph *g, node *n, int k, node *t) {
    (void)k;
    return g_sub(g, t, g_sum(g, g_mul(g, g_exp(g, n), t), 1u << (n->ndim - 1), true));
}
static node *log_softmax(graph *g, node *a) { /* along the last axis */
    return a ? graph_op(g, &op_log_softmax, 1, &a, 0, NULL, 0) : NULL;
}
node *g_log_softmax(graph *g, node *a, int axis) {
    return along(g, a, axis, log_softmax);
}
OP_BUILD(log_softmax, g_log_softmax(g, v[0].t, (int)v[1].i))
const op_row op_log_softmax = {
    .name = "log_softmax",
    .arity = 1,
    .kind = OP_KERNEL,
    .formula = "t - ln sum e^t",
    .shape = last_axis,
    .run = softmax_run,
    .shared = true,
    .jvp = log_softmax_jvp,
    .transpose = op_no_transpose,
    .vmap = op_vmap_elementwise,
    .args = op_args_along,
    .build = log_softmax_build,
    .sample = &(op_sample){ 1, { { 3, { SAMPLE_SIZE, 2, 5 }, 0 } } },
    .doc = "x - log sum e^x along dim, the last by default.",
};
