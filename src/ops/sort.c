/* sort.c - order along an axis: positions by a stable merge of keys, and the values gathered at them, through which
 * derivatives flow; isnan and one_hot. */
#include "ops.h"

#include <string.h>

/* ---- argsort: int64 positions, from 0, of the first ints[1] of each row of the last axis in order ---- */

enum { DESCENDING, FIRST };

typedef struct keyed {
    uint64_t key;
    int64_t at;
} keyed;

/* Keys in the order of the numbers: the sign turned, of negative floats all bits. -0 is 0, NaN comes last. */
static uint64_t key_of(bk_dtype dtype, const void *a, int64_t i) {
    const uint64_t top = (uint64_t)1 << 63;
    if (dtype == BK_INT64) return (uint64_t)((const int64_t *)a)[i] ^ top;
    const double x = dtype == BK_FLOAT64 ? ((const double *)a)[i] : (double)((const float *)a)[i], y = x + 0.0;
    uint64_t bits;
    if (x != x) return UINT64_MAX;
    memcpy(&bits, &y, sizeof bits);
    return bits & top ? ~bits : bits ^ top;
}

/* Stable: runs of some by insertion, then merged pairwise between the two halves of the room. */
static keyed *sorted(keyed *v, keyed *room, int64_t n) {
    enum { RUN = 16 };
    for (int64_t from = 0; from < n; from += RUN)
        for (int64_t i = from + 1; i < n && i < from + RUN; i++) {
            const keyed x = v[i];
            int64_t j = i;
            for (; j > from && v[j - 1].key > x.key; j--) v[j] = v[j - 1];
            v[j] = x;
        }
    for (int64_t run = RUN; run < n; run *= 2) {
        for (int64_t from = 0; from < n; from += 2 * run) {
            const int64_t middle = from + run < n ? from + run : n, end = middle + run < n ? middle + run : n;
            int64_t a = from, b = middle;
            for (int64_t i = from; i < end; i++)
                room[i] = b >= end || (a < middle && v[a].key <= v[b].key) ? v[a++] : v[b++];
        }
        keyed *other = v;
        v = room;
        room = other;
    }
    return v;
}

static bool argsort_shape(graph *g, node *n) {
    (void)g;
    n->dtype = BK_INT64;
    n->shape[n->ndim - 1] = n->ints[FIRST];
    return true;
}
static size_t argsort_scratch(const node *n, bool shared) {
    (void)shared;
    return 2 * sizeof(keyed) * (size_t)n->in[0]->shape[n->ndim - 1];
}
static bk_status argsort_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    const node *a = n->in[0];
    const int64_t size = a->shape[a->ndim - 1], first = n->ints[FIRST], rows = shape_count(a->ndim - 1, a->shape);
    const uint64_t turn = n->ints[DESCENDING] ? UINT64_MAX : 0;
    keyed *v = scratch;
    for (int64_t r = 0; r < rows; r++) {
        if (atomic_load_explicit(&c->interrupted, memory_order_relaxed)) return BK_EINTERRUPTED;
        for (int64_t i = 0; i < size; i++) v[i] = (keyed){ key_of(a->dtype, in[0], r * size + i) ^ turn, i };
        const keyed *order = sorted(v, v + size, size);
        for (int64_t i = 0; i < first; i++) ((int64_t *)out)[r * first + i] = order[i].at;
    }
    return BK_OK;
}
static node *argsort_vmap(graph *g, node *n, node *const *in, const bool *batched, int64_t size) {
    (void)batched, (void)size;
    return graph_again(g, n, in);
}
const op_row op_argsort = {
    .name = "argsort",
    .arity = 1,
    .kind = OP_KERNEL,
    .formula = "the positions of a row's elements in order",
    .shape = argsort_shape,
    .run = argsort_run,
    .scratch = argsort_scratch,
    .jvp = op_zero_jvp,
    .transpose = op_no_transpose,
    .vmap = argsort_vmap,
    .serves = "sort",
    .sample = &(op_sample){ 1, { { 3, { SAMPLE_SIZE, 2, 5 }, 0 } }, 2, { 0, 4 } },
};

/* The first k along an axis (below 0: the last; k below 0: all), and their positions from 1 in *more. */
static node *in_order(graph *g, const char *name, node *a, int axis, bool descending, int64_t k, node **more) {
    if (!a) return NULL;
    if (a->ndim == 0) return graph_fail(g, BK_EINVAL, "bk.%s: expected at least 1 dimension, got ()", name);
    const int last = a->ndim - 1;
    if (axis < 0) axis = last;
    if (k > a->shape[axis])
        return graph_fail(g, BK_EINVAL, "bk.%s: k: expected at most the size %lld of dim %d, got %lld", name,
                          (long long)a->shape[axis], axis + 1, (long long)k);
    int64_t axes[BK_MAX_DIMS], ints[2] = { descending, k < 0 ? a->shape[axis] : k };
    for (int i = 0; i <= last; i++) axes[i] = i == axis ? last : i == last ? axis : i; /* its own inverse */
    node *rows = g_permute(g, a, axes), *at = rows ? graph_op(g, &op_argsort, 1, &rows, 2, ints, 0) : NULL;
    if (more) *more = g_offset(g, 1, g_permute(g, at, axes));
    return g_permute(g, g_gather_along(g, rows, at), axes);
}

static node *sort_build(graph *g, const op_value *v, node **more) {
    return in_order(g, "sort", v[0].t, (int)v[1].i, v[2].i, -1, more);
}
const op_row op_sort = {
    .name = "sort",
    .arity = 1,
    .kind = OP_COMPOSITE,
    .formula = "y[i] = t[position[i]], y in order",
    .args = (const op_arg[]){ { ARG_TENSOR, "t" },
                              { ARG_DIM, "dim", "" },
                              { ARG_BOOLEAN, "descending", "false", "is the largest first", .option = true },
                              { ARG_END } },
    .results = 2,
    .returns = "values, positions",
    .build = sort_build,
    .sample = &(op_sample){ 1, { { 3, { SAMPLE_SIZE, 5, 2 }, 0 } }, 2, { 1, 1 } },
    .sample_low = 0.1,
    .sample_high = 5, /* equal numbers are a kink */
    .doc = "In order along dim, the last by default, with the positions, int64, counted from 1, that the values "
           "had.\n\nEqual numbers keep their order; NaN stands above all numbers. Derivatives are those of the values, "
           "each at its position; where numbers are equal they are of the order that is given.",
};

static node *topk_build(graph *g, const op_value *v, node **more) {
    return in_order(g, "topk", v[0].t, (int)v[2].i, !v[3].i, v[1].i, more);
}
const op_row op_topk = {
    .name = "topk",
    .arity = 1,
    .kind = OP_COMPOSITE,
    .formula = "the first k of t in order",
    .args = (const op_arg[]){ { ARG_TENSOR, "t" },
                              { ARG_INTEGER, "k" },
                              { ARG_DIM, "dim", "" },
                              { ARG_BOOLEAN, "smallest", "false", "takes the k smallest, the least first",
                                .option = true },
                              { ARG_END } },
    .results = 2,
    .returns = "values, positions",
    .build = topk_build,
    .sample = &(op_sample){ 1, { { 3, { SAMPLE_SIZE, 5, 2 }, 0 } }, 3, { 3, 1, 0 } },
    .sample_low = 0.1,
    .sample_high = 5,
    .doc = "The k largest along dim, the last by default, the largest first, with their positions, int64, counted from "
           "1.\n\nTies, NaN and derivatives as in bk.sort.",
};

/* clang-format off */
OP_COMPOSED(isnan, g_offset(g, 1, g_neg(g, g_eq(g, a, a))),
    .dtypes = OP_ANY,
    .formula = "1 where t is NaN, else 0",
    .doc = "Elementwise, whether t is not a number, as 1 or 0 of t's dtype.")
/* clang-format on */

static node *one_hot_build(graph *g, const op_value *v, node **more) {
    (void)more;
    node *ids = v[0].t;
    if (!ids) return NULL;
    if (ids->dtype != BK_INT64)
        return graph_fail(g, BK_EINVAL, "bk.one_hot: ids: expected int64, got %s", dtype_name(ids->dtype));
    return g_put(g, g_full(g, BK_FLOAT64, ids->ndim, ids->shape, 1), ids, v[1].i);
}
const op_row op_one_hot = {
    .name = "one_hot",
    .arity = 1,
    .kind = OP_COMPOSITE,
    .formula = "y[r, c] = 1 where ids[r] = c, else 0",
    .args = (const op_arg[]){ { ARG_TENSOR, "ids" }, { ARG_INTEGER, "n", .low = 1 }, { ARG_END } },
    .build = one_hot_build,
    .sample = &(op_sample){ 1, { { 2, { SAMPLE_SIZE, 4 }, 5 } }, 1, { 5 } },
    .doc = "ids (rows...), int64 ids counted from 0 and below n, -> (rows..., n) float64: 1 in column id (the column's "
           "position is id + 1), else 0.",
};
