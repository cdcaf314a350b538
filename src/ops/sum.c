/* sum.c - sums, and what is made of them: means, variances, norms. axes is a bit mask; keep keeps the reduced axes with
 * size 1. */
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
    bool squares;    /* the root of the sum of squares is taken */
    bool along;      /* the innermost run, which is contiguous, is summed */
    int64_t inner;   /* its length */
    int64_t blocks;  /* of it, when it is kept */
    double *pieces;  /* of a sum of everything */
} sums;

static double run_sum(const sums *t, int64_t n, const char *a) {
    return t->squares ? vec_dot(t->n->in[0]->dtype, n, a, a) : vec_sum(t->n->in[0]->dtype, n, a);
}

/* The sums of pieces of POLL_WORK are nodes of vec_sum's own tree, and are added as it adds them. */
typedef struct tree {
    double partial[64];
    int top;
    int64_t pieces;
} tree;
static void tree_add(tree *t, double s) {
    for (int64_t carry = t->pieces++; carry & 1; carry >>= 1) s = t->partial[--t->top] + s;
    t->partial[t->top++] = s;
}
static double tree_sum(tree *t) {
    double s = t->partial[--t->top];
    while (t->top) s = t->partial[--t->top] + s;
    return s;
}

static void sum_pieces(void *arg, int share, int64_t first, int64_t end) {
    (void)share;
    const sums *t = arg;
    for (int64_t i = first; i < end; i++) {
        const int64_t at = i * POLL_WORK, left = t->inner - at;
        t->pieces[i] = run_sum(t, left < POLL_WORK ? left : POLL_WORK,
                               t->in + dtype_size(t->n->dtype) * (size_t)at);
    }
}

/* vec_sum, or vec_dot with itself, polled; the pieces of all that there is are spread over the threads. */
static double long_sum(const sums *t, const char *a) {
    tree all = { .top = 0 };
    if (t->inner <= POLL_WORK) return run_sum(t, t->inner, a);
    const int64_t pieces = (t->inner + POLL_WORK - 1) / POLL_WORK;
    if (t->n->count == 1 && t->summed.count == 1) {
        sums own = *t;
        if (ctx_ranges(t->c, pieces, op_shares(t->inner), (double)t->inner, sum_pieces, &own)) return 0;
        for (int64_t i = 0; i < pieces; i++) tree_add(&all, t->pieces[i]);
        return tree_sum(&all);
    }
    for (int64_t i = 0; i < t->inner; i += POLL_WORK) {
        const int64_t left = t->inner - i;
        tree_add(&all, run_sum(t, left < POLL_WORK ? left : POLL_WORK, a + dtype_size(t->n->dtype) * (size_t)i));
        if (ctx_poll(t->c, NULL)) return 0;
    }
    return tree_sum(&all);
}

/* Squares that over- or underflow are taken of scaled elements; by a power of ten, as numbers people write are scaled:
 * 3e200 and 4e200 give 5e200. Those of float32 are in float64's range. */
static double scale_of(const sums *t, double sum) {
    if (t->n->dtype != BK_FLOAT64) return 1;
    return sum < 0x1p-900 ? 1e-180 : sum == INFINITY ? 1e180 : 1;
}

enum { SUM_BLOCK = 512 };

/* out = a / c, up to SUM_BLOCK numbers */
static void divided(int64_t n, double *out, const char *a, const double *c) {
    vec_get(VEC_DIV, BK_FLOAT64)(n, out, a, c, NULL, 0);
}

/* The norm of a place whose innermost runs are summed, of the sum of its squares. */
static double norm_along(const sums *t, double sum, int64_t first) {
    const double scale = scale_of(t, sum);
    if (scale == 1) return sqrt(sum);
    double c[SUM_BLOCK], part[SUM_BLOCK], all = 0;
    int64_t since = 0;
    for (int i = 0; i < SUM_BLOCK; i++) c[i] = scale;
    for (int64_t s = 0; s < t->summed.count; s++) {
        const char *run = t->in + sizeof(double) * (size_t)(first + runs_at(&t->summed, s));
        for (int64_t i = 0; i < t->inner; i += SUM_BLOCK) {
            const int64_t some = t->inner - i < SUM_BLOCK ? t->inner - i : SUM_BLOCK;
            divided(some, part, run + sizeof(double) * (size_t)i, c);
            all += vec_dot(BK_FLOAT64, some, part, part);
            if (ctx_stops(t->c, &since, some)) return 0;
        }
    }
    return sqrt(all) * scale;
}

/* The same of `len` places beside one another, from `at` on. */
static void norms_across(const sums *t, int64_t at, int64_t len, double *acc) {
    enum { ROWS = 64 }; /* then their sums: unlike people's numbers, those divided by c are rounded at every step */
    double c[SUM_BLOCK], part[SUM_BLOCK], again[SUM_BLOCK] = { 0 }, some[SUM_BLOCK] = { 0 };
    bool any = false;
    int64_t since = 0;
    for (int64_t i = 0; i < len; i++) any = (c[i] = scale_of(t, acc[i])) != 1 || any;
    for (int64_t s = 0; any && s < t->summed.count; s++) {
        divided(len, part, t->in + sizeof(double) * (size_t)(at + runs_at(&t->summed, s)), c);
        vec_add_squares(BK_FLOAT64, 1, len, len, part, some);
        if (ctx_stops(t->c, &since, len)) return;
        if ((s + 1) % ROWS && s + 1 < t->summed.count) continue;
        vec_add_rows(BK_FLOAT64, 1, len, len, some, again);
        memset(some, 0, sizeof some);
    }
    for (int64_t i = 0; i < len; i++) acc[i] = c[i] == 1 ? sqrt(acc[i]) : sqrt(again[i]) * c[i];
}

/* The sums of one place of what is kept, the innermost run being summed. */
static void sum_along(const sums *t, int64_t place) {
    const node *n = t->n;
    const size_t size = dtype_size(n->dtype);
    const int64_t first = runs_at(&t->kept, place);
    double sum = 0;
    uint64_t whole = 0;
    int64_t since = 0;
    for (int64_t s = 0; s < t->summed.count; s++) {
        const char *run = t->in + size * (size_t)(first + runs_at(&t->summed, s));
        if (n->dtype == BK_INT64) whole += (uint64_t)int_sum(t->inner, (const void *)run);
        else sum += long_sum(t, run);
        if (ctx_stops(t->c, &since, t->inner)) return;
    }
    if (n->dtype == BK_INT64) ((int64_t *)(void *)t->out)[place] = (int64_t)whole;
    else dtype_set(n->dtype, t->out, place, t->squares ? norm_along(t, sum, first) : sum);
}

/* The sums of one block of the innermost run, which is kept: rows are added to a row of float64 (int64) sums. */
static void sum_across(const sums *t, int64_t place) {
    const node *n = t->n;
    const size_t size = dtype_size(n->dtype);
    const int64_t k = place / t->blocks, first = place % t->blocks * SUM_BLOCK, at = runs_at(&t->kept, k) + first;
    const int64_t len = t->inner - first < SUM_BLOCK ? t->inner - first : SUM_BLOCK;
    const int64_t rows = t->summed.n ? t->summed.shape[t->summed.n - 1] : 1;
    const int64_t stride = t->summed.n ? t->summed.strides[t->summed.n - 1] : 0;
    double acc[SUM_BLOCK];
    memset(acc, 0, sizeof *acc * (size_t)len); /* all bits zero is int64's 0 too */
    const int64_t most = POLL_WORK / len; /* rows at a time */
    int64_t since = 0;
    for (int64_t s = 0; s < t->summed.count; s += rows) {
        const char *top = t->in + size * (size_t)(at + runs_at(&t->summed, s));
        for (int64_t r = 0; r < rows; r += most) {
            const int64_t some = rows - r < most ? rows - r : most;
            const void *from = top + (int64_t)size * r * stride;
            if (n->dtype == BK_INT64) int_add_rows(some, stride, len, from, (void *)acc);
            else (t->squares ? vec_add_squares : vec_add_rows)(n->dtype, some, stride, len, from, acc);
            if (ctx_stops(t->c, &since, some * len)) return;
        }
    }
    if (t->squares) norms_across(t, at, len, acc);
    vec_cast(len, n->dtype, t->out + size * (size_t)(k * t->inner + first),
             n->dtype == BK_INT64 ? BK_INT64 : BK_FLOAT64, acc);
}

static void sum_places(void *arg, int share, int64_t first, int64_t end) {
    (void)share;
    const sums *t = arg;
    for (int64_t i = first; i < end; i++) (t->along ? sum_along : sum_across)(t, i);
}

static size_t sum_scratch(const node *n, int threads) {
    (void)threads;
    return n->count == 1 ? sizeof(double) * (size_t)(n->in[0]->count / POLL_WORK + 1) : 0;
}

static bk_status sum_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    const node *a = n->in[0];
    if (a->count == 0) {
        memset(out, 0, dtype_size(n->dtype) * (size_t)n->count);
        return BK_OK;
    }
    int64_t strides[BK_MAX_DIMS];
    shape_strides(a->ndim, a->shape, strides);
    sums t = { .c = c, .n = n, .out = out, .in = in[0], .kept.count = 1, .summed.count = 1, .inner = 1,
               .squares = n->op == &op_norm, .pieces = scratch };
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
    const int64_t mask = n->ints[0] << 1;
    (void)batched, (void)size;
    return graph_op(g, n->op, 1, in, 1, &mask, 0);
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
    .scratch = sum_scratch,
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
    const int64_t mask = axes;
    node *r = a ? graph_op(g, &op_norm, 1, &a, 1, &mask, 0) : NULL;
    return v[2].i ? r : without(g, r, axes);
}
/* The sum of (a/r) t; where r is 0, so is all of a, and the derivative taken is 0. */
static node *norm_jvp(graph *g, node *n, int k, node *t) {
    (void)k;
    node *none = g_eq(g, n, g_zeros_like(g, n)), *never = g_full(g, n->dtype, n->ndim, n->shape, INFINITY);
    return sum_node(g, g_mul(g, g_div(g, n->in[0], g_where(g, none, never, n)), t), n->ints[0]);
}
const op_row op_norm = {
    .name = "norm",
    .arity = 1,
    .kind = OP_KERNEL,
    .formula = "(sum t^2)^(1/2)",
    .shape = sum_shape,
    .run = sum_run,
    .shared = true,
    .scratch = sum_scratch,
    .jvp = norm_jvp,
    .transpose = op_no_transpose,
    .vmap = sum_vmap,
    .args = reduce_args,
    .build = norm_build,
    .sample = &(op_sample){ 1, { { 3, { 4, 2, 5 }, 0 } }, 1, { 5 } },
    .sample_low = 0.2,
    .sample_high = 1.5,
    .doc = "Euclidean norm, the root of the sum of squares; of all elements (0-d), along dim, or along a table of "
           "dims.\n\nIts derivative is t / norm: at 0, and where the norm overflows, 0.",
};
