/* reduce.c - sums and what is made of them, extremes, cumulative sums. axes is a bit mask; keep keeps the reduced axes
 * with size 1. */
#include "ops.h"
#include "../tensor/pool.h"

#include <math.h>
#include <string.h>

/* ---- sum: ints[0] is the mask of axes; they stay with size 1 ---- */

static bool sum_shape(graph *g, node *n) {
    (void)g;
    for (int i = 0; i < n->ndim; i++)
        if (n->ints[0] >> i & 1) n->shape[i] = 1;
    return true;
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
    ctx *c;
    const node *n;
    char *out;
    const char *in;
    runs kept, summed;
    bool along;      /* the innermost run, which is contiguous, is summed */
    int64_t inner;   /* its length */
    int64_t blocks;  /* of it, when it is kept */
} sums;

enum { SUM_BLOCK = 512 };

/* vec_sum, polled: the sums of whole pieces are nodes of its own tree, and are added as it adds them. */
static double long_sum(ctx *c, bk_dtype dtype, int64_t n, const char *a) {
    if (n <= POLL_WORK) return vec_sum(dtype, n, a);
    double partial[64];
    int top = 0;
    for (int64_t i = 0; i < n; i += POLL_WORK) {
        double s = vec_sum(dtype, n - i < POLL_WORK ? n - i : POLL_WORK, a + (size_t)i * dtype_size(dtype));
        for (int64_t carry = i / POLL_WORK; carry & 1; carry >>= 1) s = partial[--top] + s;
        partial[top++] = s;
        if (ctx_poll(c, NULL)) return 0;
    }
    double s = partial[--top];
    while (top) s = partial[--top] + s;
    return s;
}

/* The sums of one place of what is kept, the innermost run being summed. */
static void sum_along(const sums *t, int64_t place) {
    const node *n = t->n;
    const size_t size = dtype_size(n->dtype);
    double sum = 0;
    uint64_t whole = 0;
    int64_t since = 0;
    for (int64_t s = 0; s < t->summed.count; s++) {
        const char *run = t->in + size * (size_t)(runs_at(&t->kept, place) + runs_at(&t->summed, s));
        if (n->dtype == BK_INT64) whole += (uint64_t)int_sum(t->inner, (const void *)run);
        else sum += long_sum(t->c, n->dtype, t->inner, run);
        if (ctx_stops(t->c, &since, t->inner)) return;
    }
    if (n->dtype == BK_INT64) ((int64_t *)(void *)t->out)[place] = (int64_t)whole;
    else dtype_set(n->dtype, t->out, place, sum);
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
    const int64_t most = POLL_WORK / len; /* rows at a time */
    int64_t since = 0;
    for (int64_t s = 0; s < t->summed.count; s += rows) {
        const char *top = t->in + size * (size_t)(runs_at(&t->kept, k) + runs_at(&t->summed, s) + first);
        for (int64_t r = 0; r < rows; r += most) {
            const int64_t some = rows - r < most ? rows - r : most;
            const void *from = top + (int64_t)size * r * stride;
            if (n->dtype == BK_INT64) int_add_rows(some, stride, len, from, (void *)acc);
            else vec_add_rows(n->dtype, some, stride, len, from, acc);
            if (ctx_stops(t->c, &since, some * len)) return;
        }
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
    sums t = { .c = c, .n = n, .out = out, .in = in[0], .kept.count = 1, .summed.count = 1, .inner = 1 };
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
    const int64_t places = t.kept.count * (t.along ? 1 : t.blocks);
    return ctx_ranges(c, places, op_shares(a->count), (double)a->count, sum_places, &t);
}

static node *sum_node(graph *g, node *a, int64_t mask) {
    return a ? graph_op(g, &op_sum, 1, &a, 1, &mask, 0) : NULL;
}

/* The sum of a product with what is repeated along some of the axes: over those first, without the factor. */
static node *factor_out(graph *g, const node *n, const node *a, node *factor, node *rest) {
    if (factor->op != &op_broadcast_to) return NULL;
    const node *from = factor->in[0];
    int64_t shape[BK_MAX_DIMS], along = 0, times = 1;
    for (int i = 0; i < a->ndim; i++) {
        const int j = i - (a->ndim - from->ndim);
        shape[i] = j < 0 ? 1 : from->shape[j];
        if (shape[i] > 1 || !(n->ints[0] >> i & 1)) continue;
        along |= (int64_t)1 << i;
        times *= a->shape[i];
    }
    if (times <= 1) return NULL;
    node *sum = sum_node(g, rest, along);
    return sum_node(g, g_mul(g, sum, g_reshape(g, factor->in[0], a->ndim, shape)), n->ints[0] & ~along);
}

/* The same for factors of a factor. */
static node *factors_out(graph *g, const node *n, const node *a) {
    for (int k = 0; k < 2; k++) {
        node *factor = a->in[k], *rest = a->in[1 - k], *sum = factor_out(g, n, a, factor, rest);
        for (int j = 0; j < 2 && !sum && factor->op == &op_mul; j++)
            if (factor->in[j]->op == &op_broadcast_to)
                sum = factor_out(g, n, a, factor->in[j], g_mul(g, rest, factor->in[1 - j]));
        if (sum) return sum;
    }
    return NULL;
}

/* Of axes that lie apart the last ones, where they are long runs: they are summed over first, and who needs no more
 * shares that. Or 0. */
static int64_t runs_within(const node *a, int64_t axes) {
    enum { RUN = 16 };
    int64_t run = 1, own = 0;
    int i = a->ndim - 1;
    for (; i >= 0 && (axes >> i & 1 || a->shape[i] == 1); i--) run *= a->shape[i], own |= axes & (int64_t)1 << i;
    for (; i >= 0 && !(axes >> i & 1 && a->shape[i] > 1); i--) continue;
    return i >= 0 && run >= RUN ? own : 0;
}

/* A broadcast that is the same number all along those axes. */
static bool repeats(const node *a, int64_t axes) {
    const node *from = a->in[0];
    for (int i = 0; i < a->ndim; i++) {
        const int j = i - (a->ndim - from->ndim);
        if ((axes >> i & 1) && j >= 0 && from->shape[j] > 1) return false;
    }
    return true;
}

/* The axes along which a is x less its mean, perhaps times what is the same all along them: it sums to 0. Or 0. */
static int64_t centred(const node *a) {
    if (a->op == &op_scale) return centred(a->in[0]);
    for (int k = 0; k < 2 && a->op == &op_mul; k++) {
        const int64_t axes = a->in[1 - k]->op == &op_broadcast_to ? centred(a->in[k]) : 0;
        if (axes && repeats(a->in[1 - k], axes)) return axes;
    }
    for (int k = 0; k < 2 && a->op == &op_add; k++) {
        const node *x = a->in[k], *mean = a->in[1 - k];
        const double times = x->op == &op_scale ? x->x : 1;
        if (x->op == &op_scale) x = x->in[0];
        if (mean->op != &op_scale || mean->in[0]->op != &op_broadcast_to) continue;
        const node *sum = mean->in[0]->in[0], *of = sum;
        int64_t axes = 0;
        for (; of->op == &op_sum && of != x; of = of->in[0]) axes |= of->ints[0];
        if (!axes || of != x || !x->count) continue;
        if (fabs(mean->x * (double)(x->count / sum->count) + times) <= 0x1p-50 * fabs(times)) return axes;
    }
    return 0;
}

static bool vanishes(const node *a, int64_t axes) {
    const int64_t own = centred(a);
    return own && !(own & ~axes);
}

static node *sum_simplify(graph *g, node *n) {
    node *a = n->in[0];
    if (shape_equal(a->ndim, a->shape, n->ndim, n->shape)) return a;
    if (vanishes(a, n->ints[0])) return g_full(g, n->dtype, n->ndim, n->shape, 0);
    for (int k = 0; k < 2 && a->op == &op_add; k++)
        if (vanishes(a->in[k], n->ints[0])) return sum_node(g, a->in[1 - k], n->ints[0]);
    if (a->op == &op_full)
        return g_full(g, n->dtype, n->ndim, n->shape, n->count ? a->x * (double)(a->count / n->count) : 0);
    if (a->op == &op_scale && isfinite(a->x)) return g_scale(g, a->x, sum_node(g, a->in[0], n->ints[0]));
    if (a->op == &op_sum) {
        const int64_t both = n->ints[0] | a->ints[0];
        return runs_within(a->in[0], both) == a->ints[0] ? NULL : sum_node(g, a->in[0], both);
    }
    const int64_t within = runs_within(a, n->ints[0]);
    if (within) return sum_node(g, sum_node(g, a, within), n->ints[0] & ~within);
    if (n->count == 1 && (a->op == &op_reshape || a->op == &op_permute)) { /* all elements, however they lie */
        node *s = sum_node(g, a->in[0], (1 << a->in[0]->ndim) - 1);
        return s ? g_reshape(g, s, n->ndim, n->shape) : NULL;
    }
    if (a->op == &op_mul) return factors_out(g, n, a);
    if (a->op == &op_broadcast_to) { /* repeated and then summed: a factor */
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
#define KEEP { ARG_BOOLEAN, "keep", "false", "leaves a reduced dimension with size 1", .option = true }
static const op_arg reduce_args[] = { { ARG_TENSOR, "t" }, { ARG_DIMS, "dim", "" }, KEEP, { ARG_END } };
OP_BUILD(sum, g_sum(g, v[0].t, (unsigned)v[1].i, v[2].i))
const op_row op_sum = {
    .name = "sum",
    .arity = 1,
    .kind = OP_KERNEL,
    .formula = "the sum over axes",
    .shape = sum_shape,
    .run = sum_run,
    .shared = true,
    .simplify = sum_simplify,
    .jvp = sum_jvp,
    .transpose = sum_transpose,
    .vmap = sum_vmap,
    .args = reduce_args,
    .build = sum_build,
    .sample = &(op_sample){ 1, { { 4, { 4, SAMPLE_SIZE, 5, 2 }, 0 } }, 1, { 5 } },
    .doc = "Sum of all elements (0-d), along dim, or along a table of dims.\n\n"
           "The order of summation is fixed: the bits do not depend on the number of threads.",
};

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

/* ---- made of sums; integers are taken as float64 ---- */

static int64_t reduced(const node *a, unsigned axes) {
    int64_t n = 1;
    for (int i = 0; i < a->ndim; i++)
        if (axes >> i & 1u) n *= a->shape[i];
    return n;
}

node *g_mean(graph *g, node *a, unsigned axes, bool keep) {
    a = op_operand(g, &op_mean, a);
    if (!a) return NULL;
    int64_t n = reduced(a, axes);
    if (n == 0) return graph_fail(g, BK_EINVAL, "bk.mean: no elements to average");
    return g_scale(g, 1.0 / (double)n, g_sum(g, a, axes, keep));
}
node *g_mean_all(graph *g, node *a) {
    return a ? g_mean(g, a, (1u << a->ndim) - 1, false) : NULL;
}
OP_BUILD(mean, g_mean(g, v[0].t, (unsigned)v[1].i, v[2].i))
const op_row op_mean = {
    .name = "mean",
    .arity = 1,
    .kind = OP_COMPOSITE,
    .formula = "1/n sum t",
    .args = reduce_args,
    .build = mean_build,
    .sample = &(op_sample){ 1, { { 3, { 4, 2, 5 }, 0 } }, 1, { 5 } },
    .doc = "Arithmetic mean of all elements (0-d), along dim, or along a table of dims.",
};

/* The squared deviations from the mean, divided by n - correction. */
static node *variance(graph *g, const op_row *op, const op_value *v) {
    node *a = op_operand(g, op, v[0].t);
    if (!a) return NULL;
    const unsigned axes = (unsigned)v[1].i;
    const int64_t n = reduced(a, axes), correction = v[3].i;
    if (n <= correction)
        return graph_fail(g, BK_EINVAL, "bk.%s: expected more than %lld elements to reduce, got %lld", op->name,
                          (long long)correction, (long long)n);
    node *mean = g_scale(g, 1.0 / (double)n, g_sum(g, a, axes, true));
    return g_scale(g, 1.0 / (double)(n - correction), g_sum(g, g_square(g, g_sub(g, a, mean)), axes, v[2].i));
}
static const op_arg variance_args[] = {
    { ARG_TENSOR, "t" },
    { ARG_DIMS, "dim", "" },
    KEEP,
    { ARG_INTEGER, "correction", "0", "is taken from the n that divides", .option = true, .high = 1 << 20 },
    { ARG_END },
};
OP_BUILD(var, variance(g, &op_var, v))
const op_row op_var = {
    .name = "var",
    .arity = 1,
    .kind = OP_COMPOSITE,
    .formula = "sum (t - mean)^2 / (n - correction)",
    .args = variance_args,
    .build = var_build,
    .sample = &(op_sample){ 1, { { 3, { 4, 2, 5 }, 0 } }, 3, { 5, 0, 1 } },
    .doc = "Mean squared deviation from the mean, divided by n - correction; of all elements (0-d), along dim, or "
           "along a table of dims.",
};
/* The root of a sum of squares: where that is 0, so are all of them, and the derivative taken is 0. */
static node *root(graph *g, node *q) {
    if (!q) return NULL;
    node *zero = g_zeros_like(g, q), *none = g_eq(g, q, zero);
    return g_where(g, none, zero, g_sqrt(g, g_where(g, none, g_full(g, q->dtype, q->ndim, q->shape, 1), q)));
}
OP_BUILD(std, root(g, variance(g, &op_std, v)))
const op_row op_std = {
    .name = "std",
    .arity = 1,
    .kind = OP_COMPOSITE,
    .formula = "var^(1/2)",
    .args = variance_args,
    .build = std_build,
    .sample = &(op_sample){ 1, { { 3, { 4, 2, 5 }, 0 } }, 3, { 5, 0, 1 } },
    .sample_low = 0.5,
    .sample_high = 3, /* equal numbers are a kink */
    .doc = "Square root of bk.var; of all elements (0-d), along dim, or along a table of dims.",
};

/* a without these axes, all of size 1. */
static node *without(graph *g, node *a, unsigned axes) {
    int64_t shape[BK_MAX_DIMS];
    int n = 0;
    for (int i = 0; a && i < a->ndim; i++)
        if (!(axes >> i & 1)) shape[n++] = a->shape[i];
    return a ? g_reshape(g, a, n, shape) : NULL;
}

static node *norm_build(graph *g, const op_value *v, node **second) {
    (void)second;
    node *a = op_operand(g, &op_norm, v[0].t);
    unsigned axes = (unsigned)v[1].i;
    node *q = g_sum(g, g_square(g, a), axes, true);
    if (!q || a->count == 0) return q && !v[2].i ? without(g, q, axes) : q;
    /* squares that over- or underflow are taken of scaled elements; by a power of ten, as numbers people write are
     * scaled: 3e200 and 4e200 give 5e200 */
    bool narrow = q->dtype == BK_FLOAT32;
    node *tiny = g_full(g, q->dtype, q->ndim, q->shape, narrow ? 0x1p-100 : 0x1p-900);
    node *huge = g_full(g, q->dtype, q->ndim, q->shape, INFINITY), *one = g_full(g, q->dtype, q->ndim, q->shape, 1);
    node *down = g_full(g, q->dtype, q->ndim, q->shape, narrow ? 1e24 : 1e180);
    node *up = g_full(g, q->dtype, q->ndim, q->shape, narrow ? 1e-30 : 1e-180);
    node *c = g_where(g, g_gt(g, tiny, q), up, g_where(g, g_eq(g, q, huge), down, one));
    node *r = g_mul(g, root(g, g_sum(g, g_square(g, g_div(g, a, c)), axes, true)), c);
    return v[2].i ? r : without(g, r, axes);
}
const op_row op_norm = {
    .name = "norm",
    .arity = 1,
    .kind = OP_COMPOSITE,
    .formula = "(sum t^2)^(1/2)",
    .args = reduce_args,
    .build = norm_build,
    .sample = &(op_sample){ 1, { { 3, { 4, 2, 5 }, 0 } }, 1, { 5 } },
    .sample_low = 0.2,
    .sample_high = 1.5,
    .doc = "Euclidean norm, the root of the sum of squares; of all elements (0-d), along dim, or along a table of "
           "dims.\n\nIts derivative at 0 is taken as 0.",
};

/* ---- along one axis: ints[0]; rows are (outer, size, inner) ---- */

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
static bk_status cumsum_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    (void)scratch;
    rows r = rows_of(n, (int)n->ints[0]);
    int64_t since = 0;
    for (int64_t o = 0; o < r.outer; o++)
        for (int64_t i = 0; i < r.inner; i++) {
            double sum = 0;
            int64_t total = 0;
            for (int64_t k = 0; k < r.size; k++) {
                int64_t p = (o * r.size + k) * r.inner + i;
                if (ctx_stops(c, &since, r.inner > 1 ? 16 : 1)) return BK_EINTERRUPTED; /* a page an element */
                if (n->dtype == BK_INT64)
                    ((int64_t *)out)[p] = total += ((const int64_t *)in[0])[p];
                else
                    dtype_set(n->dtype, out, p, sum += dtype_get(n->dtype, in[0], p));
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
