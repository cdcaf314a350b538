/* sort.c - order along an axis: positions by keys, and the values gathered at them, through which
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
    const double x = dtype_get(dtype, a, i), y = x + 0.0;
    uint64_t bits;
    if (x != x) return UINT64_MAX;
    memcpy(&bits, &y, sizeof bits);
    return bits & top ? ~bits : bits ^ top;
}

typedef struct row {
    bk_dtype dtype;
    const void *a;
    int64_t from, n;
    uint64_t turn; /* all bits, where the largest comes first */
} row;

static keyed keyed_at(const row *of, int64_t i) {
    return (keyed){ key_of(of->dtype, of->a, of->from + i) ^ of->turn, i };
}

/* By key, equal ones in their order: few by insertion, else byte by byte from the lowest, between v and room. */
static keyed *sorted(ctx *c, keyed *v, keyed *room, int64_t n) {
    enum { FEW = 64, BYTES = 8 };
    if (n <= FEW) {
        for (int64_t i = 1; i < n; i++) {
            const keyed x = v[i];
            int64_t j = i;
            for (; j > 0 && v[j - 1].key > x.key; j--) v[j] = v[j - 1];
            v[j] = x;
        }
        return v;
    }
    int64_t since = 0, count[BYTES][256] = { { 0 } };
    for (int64_t i = 0; i < n; i++) {
        for (int b = 0; b < BYTES; b++) count[b][v[i].key >> 8 * b & 255]++;
        if (ctx_stops(c, &since, 4)) return NULL;
    }
    for (int b = 0; b < BYTES; b++) {
        if (count[b][v[0].key >> 8 * b & 255] == n) continue; /* all have this byte */
        for (int64_t k = 0, at = 0; k < 256; k++) {
            const int64_t of_k = count[b][k];
            count[b][k] = at;
            at += of_k;
        }
        for (int64_t i = 0; i < n; i++) {
            room[count[b][v[i].key >> 8 * b & 255]++] = v[i];
            if (ctx_stops(c, &since, 4)) return NULL;
        }
        keyed *other = v;
        v = room;
        room = other;
    }
    return v;
}

/* The first k in order, of many: a heap whose root is the last of them. */
static bool later(keyed a, keyed b) {
    return a.key > b.key || (a.key == b.key && a.at > b.at);
}
static void sink(keyed *heap, int64_t n, int64_t i) {
    const keyed x = heap[i];
    for (int64_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && later(heap[child + 1], heap[child])) child++;
        if (!later(heap[child], x)) break;
        heap[i] = heap[child];
    }
    heap[i] = x;
}
static keyed *first_of(ctx *c, const row *of, keyed *v, int64_t k) {
    int64_t since = 0;
    for (int64_t i = 0; i < k; i++) {
        v[i] = keyed_at(of, i);
        if (ctx_stops(c, &since, 8)) return NULL;
    }
    for (int64_t i = k / 2; i-- > 0;) {
        sink(v, k, i);
        if (ctx_stops(c, &since, 16)) return NULL;
    }
    for (int64_t i = k; k > 0 && i < of->n; i++) {
        const keyed x = keyed_at(of, i);
        const bool among = x.key < v[0].key; /* of equals the earlier stays */
        if (among) {
            v[0] = x;
            sink(v, k, 0);
        }
        if (ctx_stops(c, &since, among ? 64 : 1)) return NULL;
    }
    for (int64_t left = k; left-- > 1;) {
        if (ctx_stops(c, &since, 64)) return NULL;
        const keyed last = v[0];
        v[0] = v[left];
        v[left] = last;
        sink(v, left, 0);
    }
    return v;
}

static bool argsort_shape(graph *g, node *n) {
    (void)g;
    n->dtype = BK_INT64;
    n->shape[n->ndim - 1] = n->ints[FIRST];
    return true;
}
static bool few(const node *n) { /* of a long row */
    return n->ints[FIRST] < n->in[0]->shape[n->ndim - 1] / 16;
}
static size_t argsort_scratch(const node *n, int threads) {
    (void)threads;
    return sizeof(keyed) * (size_t)(few(n) ? n->ints[FIRST] : 2 * n->in[0]->shape[n->ndim - 1]);
}
static bk_status argsort_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    const node *a = n->in[0];
    const int64_t size = a->shape[a->ndim - 1], first = n->ints[FIRST], rows = shape_count(a->ndim - 1, a->shape);
    row of = { a->dtype, in[0], 0, size, n->ints[DESCENDING] ? UINT64_MAX : 0 };
    keyed *v = scratch;
    int64_t since = 0;
    for (int64_t r = 0; r < rows; r++, of.from += size) {
        for (int64_t i = 0; i < size && !few(n); i++) {
            v[i] = keyed_at(&of, i);
            if (ctx_stops(c, &since, 8)) return BK_EINTERRUPTED;
        }
        const keyed *order = few(n) ? first_of(c, &of, v, first) : sorted(c, v, v + size, size);
        if (!order && first > 0) return BK_EINTERRUPTED;
        for (int64_t i = 0; i < first; i++) {
            ((int64_t *)out)[r * first + i] = order[i].at;
            if (ctx_stops(c, &since, 2)) return BK_EINTERRUPTED;
        }
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
