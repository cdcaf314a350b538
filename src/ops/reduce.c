/* reduce.c - sums, extremes, cumulative sums, softmax and logsumexp. */
#include "ops.h"

#include <math.h>
#include <string.h>

/* ---- sum: ints[0] is the mask of axes; they stay with size 1 ---- */

static bool sum_shape(graph *g, node *n) {
    (void)g;
    for (int i = 0; i < n->ndim; i++)
        if (n->ints[0] >> i & 1) n->shape[i] = 1;
    return true;
}

static void store(bk_dtype dtype, void *out, int64_t i, double x) {
    if (dtype == BK_FLOAT32)
        ((float *)out)[i] = (float)x;
    else
        ((double *)out)[i] = x;
}

static int64_t int_sum(int64_t n, const int64_t *a) {
    uint64_t s = 0; /* wraps */
    for (int64_t i = 0; i < n; i++) s += (uint64_t)a[i];
    return (int64_t)s;
}

static void int_add_rows(int64_t rows, int64_t stride, int64_t n, const int64_t *a, uint64_t *acc) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < n; j++) acc[j] += (uint64_t)a[i * stride + j];
}

/* Neighbouring axes of one kind, summed or kept, taken together, with their strides. */
typedef struct runs {
    int n;
    int64_t count, shape[BK_MAX_DIMS], strides[BK_MAX_DIMS];
} runs;

static void runs_add(runs *r, bool joins, int64_t size, int64_t stride) {
    r->count *= size;
    if (joins && r->n) {
        r->shape[r->n - 1] *= size;
        r->strides[r->n - 1] = stride;
    } else {
        r->shape[r->n] = size;
        r->strides[r->n++] = stride;
    }
}

static int64_t runs_at(const runs *r, int64_t i) {
    int64_t at = 0;
    for (int d = r->n - 1; d >= 0; d--) {
        at += i % r->shape[d] * r->strides[d];
        i /= r->shape[d];
    }
    return at;
}

typedef struct sums {
    const node *n;
    char *out;
    const char *in;
    runs kept, summed;
    bool along;      /* the innermost run, which is contiguous, is summed */
    int64_t inner;   /* its length */
    int64_t blocks;  /* of it, when it is kept */
} sums;

enum { SUM_BLOCK = 512 };

/* The sums of one place of what is kept, the innermost run being summed. */
static void sum_along(const sums *t, int64_t place) {
    const node *n = t->n;
    const size_t size = dtype_size(n->dtype);
    double sum = 0;
    uint64_t whole = 0;
    for (int64_t s = 0; s < t->summed.count; s++) {
        const char *run = t->in + size * (size_t)(runs_at(&t->kept, place) + runs_at(&t->summed, s));
        if (n->dtype == BK_INT64) whole += (uint64_t)int_sum(t->inner, (const void *)run);
        else sum += vec_sum(n->dtype, t->inner, run);
    }
    if (n->dtype == BK_INT64) ((int64_t *)(void *)t->out)[place] = (int64_t)whole;
    else store(n->dtype, t->out, place, sum);
}

/* The sums of one block of the innermost run, which is kept: rows are added to a row of float64 (int64) sums. */
static void sum_across(const sums *t, int64_t place) {
    const node *n = t->n;
    const size_t size = dtype_size(n->dtype);
    const int64_t k = place / t->blocks, first = place % t->blocks * SUM_BLOCK;
    const int64_t len = t->inner - first < SUM_BLOCK ? t->inner - first : SUM_BLOCK;
    const int64_t rows = t->summed.n ? t->summed.shape[t->summed.n - 1] : 1;
    const int64_t stride = t->summed.n ? t->summed.strides[t->summed.n - 1] : 0;
    double acc[SUM_BLOCK];
    memset(acc, 0, sizeof *acc * (size_t)len); /* all bits zero is int64's 0 too */
    for (int64_t s = 0; s < t->summed.count; s += rows) {
        const void *top = t->in + size * (size_t)(runs_at(&t->kept, k) + runs_at(&t->summed, s) + first);
        if (n->dtype == BK_INT64) int_add_rows(rows, stride, len, top, (void *)acc);
        else vec_add_rows(n->dtype, rows, stride, len, top, acc);
    }
    vec_cast(len, n->dtype, t->out + size * (size_t)(k * t->inner + first),
             n->dtype == BK_INT64 ? BK_INT64 : BK_FLOAT64, acc);
}

static void sum_places(void *arg, int share, int64_t first, int64_t end) {
    (void)share;
    const sums *t = arg;
    for (int64_t i = first; i < end; i++) (t->along ? sum_along : sum_across)(t, i);
}

static bk_status sum_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    (void)scratch;
    const node *a = n->in[0];
    if (a->count == 0) {
        memset(out, 0, dtype_size(n->dtype) * (size_t)n->count);
        return BK_OK;
    }
    int64_t strides[BK_MAX_DIMS];
    shape_strides(a->ndim, a->shape, strides);
    sums t = { .n = n, .out = out, .in = in[0], .kept.count = 1, .summed.count = 1, .inner = 1 };
    int kind = -1; /* of the last axis seen: summed or kept */
    for (int i = 0; i < a->ndim; i++) {
        bool s = n->ints[0] >> i & 1;
        if (a->shape[i] == 1) continue;
        runs_add(s ? &t.summed : &t.kept, kind == s, a->shape[i], strides[i]);
        kind = s;
    }
    t.along = kind == 1;
    runs *own = t.along ? &t.summed : &t.kept; /* whose last run is innermost */
    if (own->n) {
        t.inner = own->shape[--own->n];
        own->count /= t.inner;
    }
    t.blocks = (t.inner + SUM_BLOCK - 1) / SUM_BLOCK;
    ctx_ranges(c, t.kept.count * (t.along ? 1 : t.blocks), op_shares(a->count), sum_places, &t);
    return BK_OK;
}

static node *sum_node(graph *g, node *a, int64_t mask) {
    return a ? graph_op(g, &op_sum, 1, &a, 1, &mask, 0) : NULL;
}

static node *sum_simplify(graph *g, node *n) {
    node *a = n->in[0];
    if (shape_equal(a->ndim, a->shape, n->ndim, n->shape)) return a;
    if (a->op == &op_full)
        return g_full(g, n->dtype, n->ndim, n->shape, n->count ? a->x * (double)(a->count / n->count) : 0);
    if (a->op == &op_scale && isfinite(a->x)) return g_scale(g, a->x, sum_node(g, a->in[0], n->ints[0]));
    if (a->op == &op_sum) return sum_node(g, a->in[0], n->ints[0] | a->ints[0]);
    if (n->count == 1 && (a->op == &op_reshape || a->op == &op_permute)) { /* all elements, however they lie */
        node *s = sum_node(g, a->in[0], (1 << a->in[0]->ndim) - 1);
        return s ? g_reshape(g, s, n->ndim, n->shape) : NULL;
    }
    if (a->op == &op_broadcast) { /* repeated and then summed: a factor */
        const node *from = a->in[0];
        int64_t shape[BK_MAX_DIMS], times = 1;
        for (int i = 0; i < a->ndim; i++) {
            int j = i - (a->ndim - from->ndim);
            shape[i] = j < 0 ? 1 : from->shape[j];
            if ((n->ints[0] >> i & 1) && shape[i] == 1) times *= a->shape[i];
        }
        if (times == 1) return NULL;
        node *s = sum_node(g, g_reshape(g, a->in[0], a->ndim, shape), n->ints[0]);
        return g_scale(g, (double)times, g_broadcast(g, s, n->ndim, n->shape));
    }
    return NULL;
}
static node *sum_jvp(graph *g, node *n, int k, node *t) {
    (void)k;
    return sum_node(g, t, n->ints[0]);
}
static node *sum_transpose(graph *g, node *n, int k, node *ct) {
    (void)k;
    return g_broadcast(g, ct, n->in[0]->ndim, n->in[0]->shape);
}
static node *sum_vmap(graph *g, node *n, node *const *in, const bool *batched, int64_t size) {
    (void)batched, (void)size;
    return sum_node(g, in[0], n->ints[0] << 1);
}
const op_row op_sum = {
    .name = "sum",
    .arity = 1,
    .kind = OP_KERNEL,
    .doc = "the sum over axes, which stay with size 1",
    .shape = sum_shape,
    .run = sum_run,
    .shared = true,
    .simplify = sum_simplify,
    .jvp = sum_jvp,
    .transpose = sum_transpose,
    .vmap = sum_vmap,
};

/* keep: the reduced axes stay, with size 1. */
node *g_sum(graph *g, node *a, unsigned axes, bool keep) {
    node *s = sum_node(g, a, axes);
    if (!s || keep) return s;
    int64_t shape[BK_MAX_DIMS];
    int n = 0;
    for (int i = 0; i < a->ndim; i++)
        if (!(axes >> i & 1)) shape[n++] = a->shape[i];
    return g_reshape(g, s, n, shape);
}
node *g_sum_all(graph *g, node *a) {
    return a ? g_sum(g, a, (1u << a->ndim) - 1, false) : NULL;
}

/* ---- along one axis: ints[0]; rows are (outer, size, inner) ---- */

typedef struct rows {
    int64_t outer, size, inner;
} rows;
static rows rows_of(const node *a, int axis) {
    return (rows){ shape_count(axis, a->shape), a->shape[axis], shape_count(a->ndim - axis - 1, a->shape + axis + 1) };
}
static double at(const node *a, const void *data, int64_t i) {
    return a->dtype == BK_FLOAT32   ? (double)((const float *)data)[i]
           : a->dtype == BK_FLOAT64 ? ((const double *)data)[i]
                                    : (double)((const int64_t *)data)[i];
}
static bool axis_ok(graph *g, const char *name, const node *a, int64_t axis) {
    if (axis >= 0 && axis < a->ndim) return true;
    graph_fail(g, BK_EINVAL, "%s: dim: expected 1..%d, got %lld", name, a->ndim, (long long)axis + 1);
    return false;
}

static bool argmax_shape(graph *g, node *n) {
    const node *a = n->in[0];
    int axis = (int)n->ints[0];
    if (!axis_ok(g, "argmax", a, axis)) return false;
    if (a->shape[axis] == 0) return graph_fail(g, BK_EINVAL, "max: dim %d is empty", axis + 1);
    n->dtype = BK_INT64;
    n->ndim = a->ndim - 1;
    for (int i = axis; i < n->ndim; i++) n->shape[i] = a->shape[i + 1];
    return true;
}
static bk_status argmax_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    (void)c, (void)scratch;
    const node *a = n->in[0];
    rows r = rows_of(a, (int)n->ints[0]);
    for (int64_t o = 0; o < r.outer; o++)
        for (int64_t i = 0; i < r.inner; i++) {
            int64_t base = o * r.size * r.inner + i, best = 0;
            double top = at(a, in[0], base);
            for (int64_t k = 1; k < r.size && !isnan(top); k++) {
                double x = at(a, in[0], base + k * r.inner);
                if (x > top || isnan(x)) top = x, best = k;
            }
            ((int64_t *)out)[o * r.inner + i] = best;
        }
    return BK_OK;
}
static node *axis_vmap(graph *g, node *n, node *const *in, const bool *batched, int64_t size) {
    (void)batched, (void)size;
    int64_t axis = n->ints[0] + 1;
    return graph_op(g, n->op, 1, in, 1, &axis, 0);
}
const op_row op_argmax = {
    .name = "argmax",
    .arity = 1,
    .kind = OP_KERNEL,
    .doc = "the first place of the maximum along an axis, from 0",
    .shape = argmax_shape,
    .run = argmax_run,
    .jvp = op_zero_jvp,
    .transpose = op_no_transpose,
    .vmap = axis_vmap,
};
/* int64, the first maximum, from 0. */
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

/* The axis is dropped; the derivative goes to the first maximum. */
node *g_reduce_max(graph *g, node *a, int axis) {
    node *index = g_argmax(g, a, axis);
    return index ? g_take(g, axis_last(g, a, axis), index) : NULL;
}

static bool cumsum_shape(graph *g, node *n) {
    return axis_ok(g, "cumsum", n->in[0], n->ints[0]);
}
static bk_status cumsum_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    (void)c, (void)scratch;
    rows r = rows_of(n, (int)n->ints[0]);
    for (int64_t o = 0; o < r.outer; o++)
        for (int64_t i = 0; i < r.inner; i++) {
            double sum = 0;
            int64_t total = 0;
            for (int64_t k = 0; k < r.size; k++) {
                int64_t p = (o * r.size + k) * r.inner + i;
                if (n->dtype == BK_INT64)
                    ((int64_t *)out)[p] = total += ((const int64_t *)in[0])[p];
                else
                    store(n->dtype, out, p, sum += at(n, in[0], p));
            }
        }
    return BK_OK;
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
const op_row op_cumsum = {
    .name = "cumsum",
    .arity = 1,
    .kind = OP_KERNEL,
    .doc = "y_k = sum_{j<=k} a_j along an axis",
    .shape = cumsum_shape,
    .run = cumsum_run,
    .jvp = cumsum_jvp,
    .transpose = cumsum_transpose,
    .vmap = axis_vmap,
};
node *g_cumsum(graph *g, node *a, int axis) {
    int64_t ints = axis;
    return a ? graph_op(g, &op_cumsum, 1, &a, 1, &ints, 0) : NULL;
}

/* ---- softmax and logsumexp along the last axis ---- */

static bool last_axis(graph *g, node *n) {
    if (n->ndim >= 1 && n->dtype != BK_INT64) return true;
    return graph_fail(g, BK_EINVAL, "%s: expected a float tensor of at least one dimension", n->op->name);
}
static bool logsumexp_shape(graph *g, node *n) {
    if (!last_axis(g, n)) return false;
    n->ndim--;
    return true;
}
/* logsumexp's exponentials, which softmax leaves in its result. */
static size_t softmax_scratch(const node *n, bool shared) {
    (void)shared;
    const node *a = n->in[0];
    return n->op == &op_logsumexp ? (size_t)a->count * dtype_size(a->dtype) : 0;
}

typedef struct softmax_job {
    const node *n;
    const char *in;
    char *exponentials, *out;
    int64_t size; /* of a row */
} softmax_job;

enum { FEW = 16, ROWS_BLOCK = 2048 /* elements: in L1 from one pass to the next */ };

/* out = a + x, or x a: a call of a vector kernel costs a short row more than its elements do. */
static void row_apply(bk_dtype dtype, vec_op op, int64_t n, void *out, const void *a, double x) {
    if (n >= FEW) vec_get(op, dtype)(n, out, a, NULL, NULL, x);
    else if (dtype == BK_FLOAT32)
        for (int64_t i = 0; i < n; i++) {
            const float v = ((const float *)a)[i];
            ((float *)out)[i] = op == VEC_OFFSET ? v + (float)x : v * (float)x;
        }
    else
        for (int64_t i = 0; i < n; i++) {
            const double v = ((const double *)a)[i];
            ((double *)out)[i] = op == VEC_OFFSET ? v + x : v * x;
        }
}

/* A block of rows: exp(a - max), where the exponential sees all of it at once, and the sums. */
static void softmax_block(const softmax_job *j, int64_t first, int64_t end) {
    const bk_dtype dtype = j->n->in[0]->dtype;
    const size_t step = dtype_size(dtype) * (size_t)j->size;
    char *e = j->exponentials + step * (size_t)first;
    double tops[ROWS_BLOCK];
    for (int64_t i = first; i < end; i++) {
        const char *row = j->in + step * (size_t)i;
        const double top = vec_max(dtype, j->size, row);
        tops[i - first] = top;
        row_apply(dtype, VEC_OFFSET, j->size, e + step * (size_t)(i - first), row, isinf(top) ? 0 : -top);
    }
    vec_get(VEC_EXP, dtype)((end - first) * j->size, e, e, NULL, NULL, 0);
    for (int64_t i = first; i < end; i++) {
        char *row = e + step * (size_t)(i - first);
        const double sum = vec_sum(dtype, j->size, row), top = tops[i - first];
        if (j->n->op == &op_softmax) row_apply(dtype, VEC_SCALE, j->size, row, row, 1 / sum);
        else store(dtype, j->out, i, (isinf(top) ? (top > 0 ? top : 0) : top) + log(sum));
    }
}

static void softmax_rows(void *arg, int share, int64_t first, int64_t end) {
    (void)share;
    const softmax_job *j = arg;
    const int64_t some = j->size < ROWS_BLOCK ? ROWS_BLOCK / (j->size > 0 ? j->size : 1) : 1;
    for (int64_t i = first; i < end; i += some) softmax_block(j, i, end - i < some ? end : i + some);
}

static bk_status softmax_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    const node *a = n->in[0];
    softmax_job j = { n, in[0], n->op == &op_softmax ? out : scratch, out, a->shape[a->ndim - 1] };
    ctx_ranges(c, shape_count(a->ndim - 1, a->shape), op_shares(a->count), softmax_rows, &j);
    return BK_OK;
}
static node *softmax_jvp(graph *g, node *n, int k, node *t) {
    (void)k;
    node *st = g_mul(g, n, t);
    return st ? g_sub(g, st, g_mul(g, n, g_sum(g, st, 1u << (n->ndim - 1), true))) : NULL;
}
static node *logsumexp_jvp(graph *g, node *n, int k, node *t) {
    (void)k;
    node *a = n->in[0];
    return g_sum(g, g_mul(g, g_softmax(g, a), t), 1u << (a->ndim - 1), false);
}
static node *rows_vmap(graph *g, node *n, node *const *in, const bool *batched, int64_t size) {
    (void)batched, (void)size;
    return graph_again(g, n, in);
}
const op_row op_softmax = {
    .name = "softmax",
    .arity = 1,
    .kind = OP_KERNEL,
    .doc = "s = e^a / sum e^a along the last axis; ds = s (da - sum s da)",
    .shape = last_axis,
    .run = softmax_run,
    .shared = true,
    .scratch = softmax_scratch,
    .jvp = softmax_jvp,
    .transpose = op_no_transpose,
    .vmap = rows_vmap,
};
const op_row op_logsumexp = {
    .name = "logsumexp",
    .arity = 1,
    .kind = OP_KERNEL,
    .doc = "ln sum e^a along the last axis, which is dropped",
    .shape = logsumexp_shape,
    .run = softmax_run,
    .shared = true,
    .scratch = softmax_scratch,
    .jvp = logsumexp_jvp,
    .transpose = op_no_transpose,
    .vmap = rows_vmap,
};
/* Along the last axis. */
node *g_softmax(graph *g, node *a) {
    return a ? graph_op(g, &op_softmax, 1, &a, 0, NULL, 0) : NULL;
}
/* Along the last axis, which is dropped. */
node *g_logsumexp(graph *g, node *a) {
    return a ? graph_op(g, &op_logsumexp, 1, &a, 0, NULL, 0) : NULL;
}
