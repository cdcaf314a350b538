/* reduce.c - extremes and cumulative sums along one axis, ints[0]; rows are (outer, size, inner). */
#include "ops.h"
#include "../tensor/pool.h"

#include <math.h>

typedef struct rows {
    int64_t outer, size, inner;
} rows;
static rows rows_of(const node *a, int axis) {
    return (rows){ shape_count(axis, a->shape), a->shape[axis], shape_count(a->ndim - axis - 1, a->shape + axis + 1) };
}
static bool axis_ok(graph *g, const char *name, const node *a, int64_t axis) {
    if (axis >= 0 && axis < a->ndim) return true;
    graph_fail(g, BK_EINVAL, "bk.%s: dim: expected 1..%d, got %lld", name, a->ndim, (long long)axis + 1);
    return false;
}

static bool argmax_shape(graph *g, node *n) {
    const node *a = n->in[0];
    int axis = (int)n->ints[0];
    if (!axis_ok(g, "argmax", a, axis)) return false;
    if (a->shape[axis] == 0) return graph_fail(g, BK_EINVAL, "bk.max: dim %d is empty", axis + 1);
    n->dtype = BK_INT64;
    n->ndim = a->ndim - 1;
    for (int i = axis; i < n->ndim; i++) n->shape[i] = a->shape[i + 1];
    return true;
}

typedef struct argmax_job {
    ctx *c;
    bk_dtype dtype;
    const char *in;
    int64_t *out;
    rows r;
    int64_t columns, blocks; /* of the inner axes, worked on together; so many a matrix (size, inner) */
} argmax_job;

static void argmax_rows(void *arg, int share, int64_t first, int64_t end) {
    (void)share;
    const argmax_job *j = arg;
    const size_t row = (size_t)j->r.size * dtype_size(j->dtype);
    for (int64_t i = first; i < end; i++) j->out[i] = vec_argmax(j->dtype, j->r.size, j->in + (size_t)i * row);
}

/* Blocks first to end: every column is a window of a pool of its own. */
static void argmax_columns(void *arg, int share, int64_t first, int64_t end) {
    (void)share;
    const argmax_job *j = arg;
    const int64_t size = j->r.size, inner = j->r.inner;
    for (int64_t i = first; i < end; i++) {
        const int64_t outer = i / j->blocks, from = i % j->blocks * j->columns;
        const int64_t count = inner - from < j->columns ? inner - from : j->columns;
        const pool_shape s = { .planes = 1, .height = size, .width = inner, .kh = size, .kw = 1, .stride = 1,
                               .out_height = 1, .out_width = count };
        int64_t *out = j->out + outer * inner + from;
        pool_argmax(j->dtype, &s, j->in + (size_t)(outer * size * inner + from) * dtype_size(j->dtype), out);
        for (int64_t k = 0; k < count; k++) out[k] = (out[k] - k) / inner;
    }
}

/* One after the other: integers, exactly past 2^53, and columns so long that each has to look for interrupts. */
static void argmax_each(void *arg, int share, int64_t first, int64_t end) {
    (void)share;
    const argmax_job *j = arg;
    const int64_t size = j->r.size, inner = j->r.inner;
    int64_t since = 0;
    for (int64_t i = first; i < end; i++) {
        const int64_t from = i / inner * size * inner + i % inner;
        const int64_t *x = (const int64_t *)(const void *)j->in + from;
        int64_t best = 0;
        double top = j->dtype == BK_INT64 ? 0 : dtype_get(j->dtype, j->in, from);
        for (int64_t k = 1; k < size && !isnan(top) && !ctx_stops(j->c, &since, 1); k++) {
            const double a = j->dtype == BK_INT64 ? 0 : dtype_get(j->dtype, j->in, from + k * inner);
            if (j->dtype == BK_INT64 ? x[k * inner] > x[best * inner] : a > top || isnan(a)) best = k, top = a;
        }
        j->out[i] = best;
    }
}

static bk_status argmax_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    (void)scratch;
    enum { FEWEST = 16, MOST = 256 };
    const node *a = n->in[0];
    const rows r = rows_of(a, (int)n->ints[0]);
    argmax_job j = { c, a->dtype, in[0], out, r, POLL_WORK / r.size, 1 };
    const int shares = op_shares(a->count);
    const bool each = a->dtype == BK_INT64 || (r.inner > 1 && r.size > POLL_WORK);
    if (each) return ctx_ranges(c, n->count, shares, (double)a->count, argmax_each, &j);
    if (r.inner == 1) return ctx_ranges(c, r.outer, shares, (double)a->count, argmax_rows, &j);
    if (j.columns < FEWEST) j.columns = FEWEST;
    if (j.columns > MOST) j.columns = MOST;
    j.blocks = (r.inner + j.columns - 1) / j.columns;
    return ctx_ranges(c, r.outer * j.blocks, shares, (double)a->count, argmax_columns, &j);
}
static node *axis_vmap(graph *g, node *n, node *const *in, const bool *batched, int64_t size) {
    (void)batched, (void)size;
    int64_t axis = n->ints[0] + 1;
    return graph_op(g, n->op, 1, in, 1, &axis, 0);
}
/* In the opposite order; -x of int64's least is itself. */
static node *opposite(graph *g, node *a) {
    return a && a->dtype == BK_INT64 ? g_offset(g, -1, g_neg(g, a)) : g_neg(g, a);
}
/* What is looked for its largest element: t, or its opposite for the smallest, as a row when no dim is given. */
static node *searched(graph *g, const char *name, const op_value *v, bool low, int *axis) {
    node *a = v[0].t;
    *axis = v[1].i < 0 ? 0 : (int)v[1].i;
    if (a && v[1].i < 0) a = g_reshape(g, a, 1, &a->count);
    if (!a) return NULL;
    if (a->shape[*axis] == 0) return graph_fail(g, BK_EINVAL, "bk.%s: no elements", name);
    return low ? opposite(g, a) : a;
}
static node *places(graph *g, const char *name, const op_value *v, bool low) {
    int axis;
    node *a = searched(g, name, v, low, &axis);
    return a ? g_argmax(g, a, axis) : NULL;
}
static node *extremes(graph *g, const char *name, const op_value *v, bool low, node **second) {
    int axis;
    node *a = searched(g, name, v, low, &axis);
    if (!a) return NULL;
    node *top = g_reduce_max(g, a, axis);
    if (low) top = opposite(g, top);
    if (second) *second = g_argmax(g, a, axis);
    return top;
}
OP_BUILD(argmax, places(g, "argmax", v, false))
const op_row op_argmax = {
    .name = "argmax",
    .arity = 1,
    .kind = OP_KERNEL,
    .formula = "the first place of the maximum along an axis, from 0",
    .shape = argmax_shape,
    .run = argmax_run,
    .shared = true,
    .jvp = op_zero_jvp,
    .transpose = op_no_transpose,
    .vmap = axis_vmap,
    .args = op_args_along,
    .build = argmax_build,
    .sample = &(op_sample){ 1, { { 3, { SAMPLE_SIZE, 5, 2 }, 0 } }, 1, { 1 } },
    .doc = "The place of the first maximum along dim, or among all elements in row-major order: int64, from 0, as "
           "class ids are.",
};
node *g_argmax(graph *g, node *a, int axis) {
    int64_t ints = axis;
    return a ? graph_op(g, &op_argmax, 1, &a, 1, &ints, 0) : NULL;
}

static node *axis_last(graph *g, node *a, int axis) {
    int64_t axes[BK_MAX_DIMS];
    int n = 0;
    for (int i = 0; i < a->ndim; i++)
        if (i != axis) axes[n++] = i;
    axes[n] = axis;
    return g_permute(g, a, axes);
}

node *g_reduce_max(graph *g, node *a, int axis) {
    node *index = g_argmax(g, a, axis);
    return index ? g_take(g, axis_last(g, a, axis), index) : NULL;
}

OP_BUILD(argmin, places(g, "argmin", v, true))
const op_row op_argmin = {
    .name = "argmin",
    .arity = 1,
    .kind = OP_COMPOSITE,
    .formula = "the first place of the minimum, from 0",
    .args = op_args_along,
    .build = argmin_build,
    .sample = &(op_sample){ 1, { { 3, { SAMPLE_SIZE, 5, 2 }, 0 } }, 1, { 1 } },
    .doc = "The place of the first minimum along dim, or among all elements in row-major order: int64, from 0.",
};

static node *max_build(graph *g, const op_value *v, node **second) {
    return extremes(g, "max", v, false, second);
}
const op_row op_max = {
    .name = "max",
    .arity = 1,
    .kind = OP_COMPOSITE,
    .formula = "the largest element",
    .args = op_args_along,
    .second = "places",
    .build = max_build,
    .sample = &(op_sample){ 1, { { 3, { SAMPLE_SIZE, 4, 2 }, 0 } }, 1, { 1 } },
    .doc = "The largest element, or those along dim with their places (int64, from 0, the first). NaN wins.\n\n"
           "The derivative goes to the first maximum.",
};
static node *min_build(graph *g, const op_value *v, node **second) {
    return extremes(g, "min", v, true, second);
}
const op_row op_min = {
    .name = "min",
    .arity = 1,
    .kind = OP_COMPOSITE,
    .formula = "the smallest element",
    .args = op_args_along,
    .second = "places",
    .build = min_build,
    .sample = &(op_sample){ 1, { { 3, { SAMPLE_SIZE, 4, 2 }, 0 } }, 1, { 1 } },
    .doc = "The smallest element, or those along dim with their places (int64, from 0, the first). NaN wins.\n\n"
           "The derivative goes to the first minimum.",
};

static bool cumsum_shape(graph *g, node *n) {
    return axis_ok(g, "cumsum", n->in[0], n->ints[0]);
}
typedef struct running {
    ctx *c;
    const node *n;
    char *out;
    const char *in;
    rows rows;
} running;

/* Along the innermost axis: a few rows at a time, in pieces. */
static void running_rows(void *arg, int share, int64_t first, int64_t end) {
    enum { SOME = 4 };
    (void)share;
    const running *r = arg;
    const int64_t n = r->rows.size;
    for (int64_t i = first, some; i < end; i += some) {
        double carried[SOME] = { 0 };
        uint64_t whole = 0;
        some = r->n->dtype == BK_INT64 ? 1 : end - i < SOME ? end - i : SOME;
        for (int64_t k = 0; k < n; k += POLL_WORK) {
            const int64_t piece = n - k < POLL_WORK ? n - k : POLL_WORK, at = i * n + k;
            const size_t bytes = dtype_size(r->n->dtype) * (size_t)at;
            if (r->n->dtype != BK_INT64)
                vec_running(r->n->dtype, some, n, piece, r->out + bytes, r->in + bytes, carried);
            else
                for (int64_t p = at; p < at + piece; p++)
                    ((int64_t *)(void *)r->out)[p] = (int64_t)(whole += ((const uint64_t *)(const void *)r->in)[p]);
            if (n > POLL_WORK && ctx_poll(r->c, NULL)) return;
        }
    }
}

enum { COLUMNS = 512 };

/* Along another: what follows it in blocks, row by row. */
static void running_blocks(void *arg, int share, int64_t first, int64_t end) {
    (void)share;
    const running *r = arg;
    const bk_dtype dtype = r->n->dtype, wide = dtype == BK_INT64 ? BK_INT64 : BK_FLOAT64;
    const int64_t inner = r->rows.inner, blocks = (inner + COLUMNS - 1) / COLUMNS;
    int64_t since = 0;
    for (int64_t i = first; i < end; i++) {
        const int64_t from = i % blocks * COLUMNS, len = inner - from < COLUMNS ? inner - from : COLUMNS;
        double acc[COLUMNS] = { 0 }; /* int64's 0 too */
        for (int64_t k = 0; k < r->rows.size; k++) {
            const size_t at = dtype_size(dtype) * (size_t)((i / blocks * r->rows.size + k) * inner + from);
            for (int64_t j = 0; dtype == BK_INT64 && j < len; j++)
                ((uint64_t *)(void *)acc)[j] += ((const uint64_t *)(const void *)(r->in + at))[j];
            if (dtype != BK_INT64) vec_add_rows(dtype, 1, len, len, r->in + at, acc);
            vec_cast(len, dtype, r->out + at, wide, acc);
            if (ctx_stops(r->c, &since, len)) return;
        }
    }
}

static bk_status cumsum_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    (void)scratch;
    running r = { c, n, out, in[0], rows_of(n, (int)n->ints[0]) };
    const int64_t blocks = (r.rows.inner + COLUMNS - 1) / COLUMNS;
    return ctx_ranges(c, r.rows.outer * blocks, op_shares(n->count), (double)n->count,
                      r.rows.inner == 1 ? running_rows : running_blocks, &r);
}
static node *cumsum_jvp(graph *g, node *n, int k, node *t) {
    (void)k;
    return g_cumsum(g, t, (int)n->ints[0]);
}
static node *cumsum_transpose(graph *g, node *n, int k, node *ct) {
    (void)k;
    int axis = (int)n->ints[0];
    return g_flip(g, g_cumsum(g, g_flip(g, ct, axis), axis), axis);
}
static node *cumsum_build(graph *g, const op_value *v, node **second) {
    node *a = v[0].t;
    (void)second;
    if (!a) return NULL;
    if (a->ndim == 0) return graph_fail(g, BK_EINVAL, "bk.cumsum: expected at least 1 dimension, got ()");
    if (v[1].i < 0 && a->ndim > 1)
        return graph_fail(g, BK_EINVAL, "bk.cumsum: dim: expected 1..%d, got nothing", a->ndim);
    return g_cumsum(g, a, v[1].i < 0 ? 0 : (int)v[1].i);
}
const op_row op_cumsum = {
    .name = "cumsum",
    .arity = 1,
    .kind = OP_KERNEL,
    .formula = "y_k = sum_{j<=k} a_j along an axis",
    .shape = cumsum_shape,
    .run = cumsum_run,
    .shared = true,
    .jvp = cumsum_jvp,
    .transpose = cumsum_transpose,
    .vmap = axis_vmap,
    .args = op_args_along,
    .build = cumsum_build,
    .sample = &(op_sample){ 1, { { 3, { SAMPLE_SIZE, 5, 2 }, 0 } }, 1, { 1 } },
    .doc = "Running sums along dim; of a 1-d tensor dim may be left out.",
};
node *g_cumsum(graph *g, node *a, int axis) {
    int64_t ints = axis;
    return a ? graph_op(g, &op_cumsum, 1, &a, 1, &ints, 0) : NULL;
}
