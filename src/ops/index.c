/* index.c - reading and summing by index. Indices are int64, from 0, and are checked when they are used. */
#include "ops.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

/* gather: a (n, rest...), index (I...) -> (I..., rest...); scatter, its adjoint: (I..., rest...) -> (n, rest...).
 * The last attribute counts leading axes of both operands and of the result: one table for each place of them,
 * so that an index is checked against its own table under vmap too. */
static int lead(const node *n) {
    return (int)n->ints[n->n_ints - 1];
}

static bool lead_fits(const node *n) {
    const node *a = n->in[0], *index = n->in[1];
    int b = lead(n);
    return index->dtype == BK_INT64 && b >= 0 && b <= index->ndim && b <= a->ndim &&
           shape_equal(b, a->shape, b, index->shape);
}
static bool gather_shape(graph *g, node *n) {
    const node *a = n->in[0], *index = n->in[1];
    int b = lead(n);
    shape_buf sa, sb;
    if (!lead_fits(n) || a->ndim < b + 1 || index->ndim + a->ndim - b - 1 > BK_MAX_DIMS)
        return graph_fail(g, BK_EINVAL, "bk.gather: expected a tensor of rows and int64 indices, got %s %s and %s %s",
                          dtype_name(a->dtype), shape_text(a->ndim, a->shape, &sa), dtype_name(index->dtype),
                          shape_text(index->ndim, index->shape, &sb));
    n->ndim = index->ndim + a->ndim - b - 1;
    memcpy(n->shape, index->shape, sizeof *n->shape * (size_t)index->ndim);
    memcpy(n->shape + index->ndim, a->shape + b + 1, sizeof *n->shape * (size_t)(a->ndim - b - 1));
    return true;
}
static bool scatter_shape(graph *g, node *n) {
    const node *a = n->in[0], *index = n->in[1];
    int b = lead(n), rest = a->ndim - index->ndim;
    shape_buf sa, sb;
    if (!lead_fits(n) || rest < 0 || !shape_equal(index->ndim, index->shape, index->ndim, a->shape) || n->ints[0] < 0)
        return graph_fail(g, BK_EINVAL,
                          "bk.gather: the leading sizes of the rows must be those of the int64 indices, got "
                          "%s and %s %s",
                          shape_text(a->ndim, a->shape, &sa), dtype_name(index->dtype),
                          shape_text(index->ndim, index->shape, &sb));
    if (b + 1 + rest > BK_MAX_DIMS) return graph_fail(g, BK_EINVAL, "bk.gather: too many dimensions");
    n->ndim = b + 1 + rest;
    memcpy(n->shape, a->shape, sizeof *n->shape * (size_t)b);
    n->shape[b] = n->ints[0];
    memcpy(n->shape + b + 1, a->shape + index->ndim, sizeof *n->shape * (size_t)rest);
    return true;
}

/* What gather and scatter do, table by table. */
typedef struct moving {
    ctx *c;
    bk_dtype dtype;
    bool gather;
    const int64_t *index;
    char *tables, *many; /* `size` rows a table; a row an index, `each` of them a table */
    int64_t size, each;
    size_t row, bytes; /* of a row: elements, bytes */
    atomic_bool outside; /* an index is that of no row */
} moving;

/* Of tables of single numbers, without a call each; false: an index is outside. */
#define NUMBERS(T)                                                                                                     \
    static bool T##_numbers(const moving *x, int64_t n, const int64_t *index, T *table, T *many) {                     \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            if ((uint64_t)index[i] >= (uint64_t)x->size) return false;                                                 \
            if (x->gather) many[i] = table[index[i]];                                                                  \
            else table[index[i]] += many[i];                                                                           \
        }                                                                                                              \
        return true;                                                                                                   \
    }
NUMBERS(float)
NUMBERS(double)
NUMBERS(uint64_t)

static bool move_rows(const moving *x, int64_t n, const int64_t *index, char *table, char *many) {
    if (x->row == 1 && x->dtype == BK_FLOAT32) return float_numbers(x, n, index, (void *)table, (void *)many);
    if (x->row == 1 && x->dtype == BK_FLOAT64) return double_numbers(x, n, index, (void *)table, (void *)many);
    if (x->row == 1) return uint64_t_numbers(x, n, index, (void *)table, (void *)many);
    const vec_fn add = vec_get(VEC_ADD, x->dtype);
    for (int64_t i = 0; i < n; i++, many += x->bytes) {
        if ((uint64_t)index[i] >= (uint64_t)x->size) return false;
        char *at = table + (size_t)index[i] * x->bytes;
        if (!x->gather) add((int64_t)x->row, at, at, many, NULL, 0);
        else if (ctx_copy(x->c, many, at, x->bytes)) return true;
    }
    return true;
}

/* Indices first to end, which may be of several tables. */
static void move_range(void *arg, int share, int64_t first, int64_t end) {
    (void)share;
    moving *x = arg;
    const int64_t piece = 1 + POLL_WORK / (8 + (int64_t)x->row); /* each may miss the caches */
    for (int64_t to; first < end && !ctx_poll(x->c, NULL); first = to) {
        const int64_t table = first / x->each;
        to = (table + 1) * x->each;
        if (to > first + piece) to = first + piece;
        if (to > end) to = end;
        char *at = x->tables + (size_t)(table * x->size) * x->bytes;
        if (!move_rows(x, to - first, x->index + first, at, x->many + (size_t)first * x->bytes)) x->outside = true;
    }
}

/* Tables first to end: a thread's own, for indices may be the same. */
static void scatter_range(void *arg, int share, int64_t first, int64_t end) {
    const moving *x = arg;
    const size_t table = (size_t)x->size * x->bytes;
    for (; first < end; first++) {
        memset(x->tables + (size_t)first * table, 0, table);
        move_range(arg, share, first * x->each, (first + 1) * x->each);
    }
}

static bk_status gather_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    (void)scratch;
    const bool gather = n->op == &op_gather;
    const node *table = gather ? n->in[0] : n, *many = n->in[1];
    const int b = lead(n);
    const int64_t tables = shape_count(b, many->shape), row = shape_count(table->ndim - b - 1, table->shape + b + 1);
    moving x = { .c = c, .dtype = n->dtype, .gather = gather, .index = in[1], .size = table->shape[b],
               .each = many->count / (tables ? tables : 1), .row = (size_t)row,
               .bytes = (size_t)row * dtype_size(n->dtype) };
    x.tables = gather ? (char *)in[0] : out;
    x.many = gather ? out : (char *)in[0];
    const double work = 8 * (double)many->count + (double)(gather ? many->count : tables * x.size) * (double)row;
    bk_status s;
    if (gather)
        s = ctx_ranges(c, many->count, op_shares(n->count), work, move_range, &x);
    else if (tables > 1)
        s = ctx_ranges(c, tables, op_shares(n->count), work, scatter_range, &x);
    else if (!(s = op_fill(c, n->dtype, n->count, out, 0)))
        s = ctx_ranges(c, many->count, 1, work, move_range, &x);
    return s ? s : atomic_load(&x.outside) ? BK_ERUNTIME : BK_OK;
}
/* Which index it was, of gather, take and their adjoints. */
static bk_status index_explain(ctx *c, const node *n, void *out, const void *const *in, void *scratch, err *e) {
    const node *table = n->op == &op_gather || n->op == &op_take ? n->in[0] : n;
    const bool rows = n->op == &op_gather || n->op == &op_scatter; /* of ids, or of positions: both come here */
    const int64_t size = table->shape[rows ? lead(n) : table->ndim - 1], *index = in[1];
    int64_t i = 0;
    (void)c, (void)out, (void)scratch;
    while (i < n->in[1]->count - 1 && index[i] >= 0 && index[i] < size) i++;
    if (rows)
        return err_set(e, BK_EINVAL,
                       "bk.%s: an index is out of range: expected one of %lld rows, got position %lld, counted from 1 "
                       "(id %lld, counted from 0)",
                       op_title(n->op), (long long)size, (long long)index[i] + 1, (long long)index[i]);
    return err_set(e, BK_EINVAL, "bk.%s: an index is out of range: counted from 0, expected one below %lld, got %lld",
                   op_title(n->op), (long long)size, (long long)index[i]);
}
static node *gather_node(graph *g, node *a, node *index, int64_t b) {
    node *in[2] = { a, index };
    return a && index ? graph_op(g, &op_gather, 2, in, 1, &b, 0) : NULL;
}
static node *scatter_node(graph *g, node *a, node *index, int64_t n, int64_t b) {
    node *in[2] = { a, index };
    int64_t ints[2] = { n, b };
    return a && index ? graph_op(g, &op_scatter, 2, in, 2, ints, 0) : NULL;
}
static node *linear_jvp(graph *g, node *n, int k, node *t) {
    node *in[2] = { t, n->in[1] };
    return k == 0 ? graph_again(g, n, in) : NULL;
}
static node *gather_transpose(graph *g, node *n, int k, node *ct) {
    (void)k;
    return scatter_node(g, ct, n->in[1], n->in[0]->shape[lead(n)], lead(n));
}
static node *scatter_transpose(graph *g, node *n, int k, node *ct) {
    (void)k;
    return gather_node(g, ct, n->in[1], lead(n));
}
static node *pull_scale(graph *g, node *n) {
    node *a = n->in[0];
    if (a->op == &op_scale && isfinite(a->x)) {
        node *in[2] = { a->in[0], n->in[1] };
        return g_scale(g, a->x, graph_again(g, n, in));
    }
    if (a->op == &op_full && (a->x == 0 || n->op == &op_gather || n->op == &op_take))
        return g_full(g, n->dtype, n->ndim, n->shape, a->x);
    return NULL;
}

static bool both_batched(graph *g, node *n, node *const *in, const bool *batched, int64_t size, node **full) {
    for (int k = 0; k < 2; k++) {
        int64_t shape[BK_MAX_DIMS + 1] = { size };
        memcpy(shape + 1, n->in[k]->shape, sizeof *shape * (size_t)n->in[k]->ndim);
        full[k] = batched[k] ? in[k] : g_broadcast(g, in[k], n->in[k]->ndim + 1, shape);
        if (!full[k]) return false;
    }
    return true;
}
static node *gather_vmap(graph *g, node *n, node *const *in, const bool *batched, int64_t size) {
    if (n->op == &op_gather && !batched[0] && lead(n) == 0) return graph_again(g, n, in); /* more indices, one table */
    node *full[2];
    if (!both_batched(g, n, in, batched, size, full)) return NULL;
    return n->op == &op_gather ? gather_node(g, full[0], full[1], lead(n) + 1)
                               : scatter_node(g, full[0], full[1], n->ints[0], lead(n) + 1);
}
OP_BUILD(gather, g_gather(g, v[0].t, g_offset(g, -1, v[1].t))) /* callers count positions from 1 */
const op_row op_gather = {
    .name = "gather",
    .arity = 2,
    .kind = OP_KERNEL,
    .formula = "y[i] = a[index[i]], rows of a",
    .shape = gather_shape,
    .run = gather_run,
    .shared = true,
    .explain = index_explain,
    .simplify = pull_scale,
    .jvp = linear_jvp,
    .transpose = gather_transpose,
    .vmap = gather_vmap,
    .args = (const op_arg[]){ { ARG_TENSOR, "t" }, { ARG_TENSOR, "index", .low = 1 }, { ARG_END } },
    .build = gather_build,
    .sample = &(op_sample){ 2, { { 3, { 5, 2, SAMPLE_SIZE }, 0 }, { 2, { SAMPLE_SIZE, 4 }, 5 } }, 1, { 0 } },
    .doc = "Rows of t (n, rest...) at the positions index (I...), int64, counted from 1: the result is (I..., "
           "rest...).\n\n"
           "Ids, which count from 0, are for bk.take and bk.embedding.",
};
const op_row op_scatter = {
    .name = "scatter",
    .arity = 2,
    .kind = OP_KERNEL,
    .formula = "y[r] = sum of the rows a[i] with index[i] = r: the adjoint of gather",
    .shape = scatter_shape,
    .run = gather_run,
    .shared = true,
    .explain = index_explain,
    .simplify = pull_scale,
    .jvp = linear_jvp,
    .transpose = scatter_transpose,
    .vmap = gather_vmap,
    .serves = "gather",
    .sample = &(op_sample){ 2, { { 3, { SAMPLE_SIZE, 2, 4 }, 0 }, { 2, { SAMPLE_SIZE, 2 }, 5 } }, 2, { 5, 0 } },
};

/* take: a (rows..., n), index (rows...) -> (rows...); put, its adjoint: a (rows...), index (rows...) -> (rows..., n) */
static bool take_shape(graph *g, node *n) {
    const node *a = n->in[0], *index = n->in[1];
    bool take = n->op == &op_take;
    shape_buf sa, sb;
    if (index->dtype != BK_INT64 || a->ndim < take || !shape_equal(index->ndim, index->shape, a->ndim - take, a->shape))
        return graph_fail(g, BK_EINVAL, "bk.%s: expected int64 indices of shape (rows...), got %s %s for a of %s",
                          op_title(n->op), dtype_name(index->dtype), shape_text(index->ndim, index->shape, &sb),
                          shape_text(a->ndim, a->shape, &sa));
    if (take)
        n->ndim--;
    else {
        if (n->ndim >= BK_MAX_DIMS) return graph_fail(g, BK_EINVAL, "bk.take: too many dimensions");
        n->shape[n->ndim++] = n->ints[0];
    }
    return true;
}
static bk_status take_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    (void)scratch;
    bool take = n->op == &op_take;
    const node *table = take ? n->in[0] : n;
    const int64_t *index = in[1];
    int64_t size = table->shape[table->ndim - 1], since = 0;
    size_t bytes = dtype_size(n->dtype);
    if (!take && op_fill(c, n->dtype, n->count, out, 0)) return BK_EINTERRUPTED;
    for (int64_t i = 0; i < n->in[1]->count; i++) {
        if (index[i] < 0 || index[i] >= size) return BK_ERUNTIME;
        if (ctx_stops(c, &since, 8)) return BK_EINTERRUPTED;
        size_t place = (size_t)(i * size + index[i]) * bytes;
        if (take)
            memcpy((char *)out + (size_t)i * bytes, (const char *)in[0] + place, bytes);
        else
            memcpy((char *)out + place, (const char *)in[0] + (size_t)i * bytes, bytes);
    }
    return BK_OK;
}
static node *take_transpose(graph *g, node *n, int k, node *ct) {
    (void)k;
    return g_put(g, ct, n->in[1], n->in[0]->shape[n->in[0]->ndim - 1]);
}
static node *put_transpose(graph *g, node *n, int k, node *ct) {
    (void)k;
    return g_take(g, ct, n->in[1]);
}
static node *take_vmap(graph *g, node *n, node *const *in, const bool *batched, int64_t size) {
    node *full[2];
    return both_batched(g, n, in, batched, size, full) ? graph_again(g, n, full) : NULL;
}
OP_BUILD(take, g_take(g, v[0].t, v[1].t))
const op_row op_take = {
    .name = "take",
    .arity = 2,
    .kind = OP_KERNEL,
    .formula = "y[r] = a[r, index[r]]",
    .shape = take_shape,
    .run = take_run,
    .explain = index_explain,
    .simplify = pull_scale,
    .jvp = linear_jvp,
    .transpose = take_transpose,
    .vmap = take_vmap,
    .args = (const op_arg[]){ { ARG_TENSOR, "t" }, { ARG_TENSOR, "index" }, { ARG_END } },
    .build = take_build,
    .sample = &(op_sample){ 2, { { 3, { SAMPLE_SIZE, 2, 5 }, 0 }, { 2, { SAMPLE_SIZE, 2 }, 5 } } },
    .doc = "Of t (rows..., n) the element t[r, index[r]] of each row: index (rows...) holds int64 ids, counted from "
           "0; the result is (rows...).\n\nPositions, which count from 1, are for bk.gather.",
};
const op_row op_put = {
    .name = "put",
    .arity = 2,
    .kind = OP_KERNEL,
    .formula = "y[r, index[r]] = a[r], else 0: the adjoint of take",
    .shape = take_shape,
    .run = take_run,
    .explain = index_explain,
    .simplify = pull_scale,
    .jvp = linear_jvp,
    .transpose = put_transpose,
    .vmap = take_vmap,
    .serves = "take",
    .sample = &(op_sample){ 2, { { 2, { SAMPLE_SIZE, 2 }, 0 }, { 2, { SAMPLE_SIZE, 2 }, 5 } }, 1, { 5 } },
};

/* rows: a (n, rest...), index (I...) -> (I..., rest...); from 0 */
node *g_gather(graph *g, node *a, node *index) {
    return gather_node(g, a, index, 0);
}
/* its adjoint: sums rows into (n, rest...) */
node *g_scatter(graph *g, node *a, node *index, int64_t n) {
    return scatter_node(g, a, index, n, 0);
}
/* a (rows..., n), index (rows..., k) -> (rows..., k): a[r, index[r, i]] */
node *g_gather_along(graph *g, node *a, node *index) {
    return a ? gather_node(g, a, index, a->ndim - 1) : NULL;
}
/* a (rows..., n), index (rows...) -> (rows...): a[r, index[r]] */
node *g_take(graph *g, node *a, node *index) {
    node *in[2] = { a, index };
    return a && index ? graph_op(g, &op_take, 2, in, 0, NULL, 0) : NULL;
}
/* its adjoint */
node *g_put(graph *g, node *a, node *index, int64_t n) {
    node *in[2] = { a, index };
    return a && index ? graph_op(g, &op_put, 2, in, 1, &n, 0) : NULL;
}

OP_BUILD(embedding, g_gather(g, v[0].t, v[1].t))
const op_row op_embedding = {
    .name = "embedding",
    .arity = 2,
    .kind = OP_COMPOSITE,
    .formula = "y[i] = weights[index[i]]",
    .args = (const op_arg[]){ { ARG_TENSOR, "weights" }, { ARG_TENSOR, "index" }, { ARG_END } },
    .build = embedding_build,
    .sample = &(op_sample){ 2, { { 2, { 5, 3 }, 0 }, { 2, { SAMPLE_SIZE, 4 }, 5 } } },
    .doc = "Rows of weights (n, width) at index, int64 ids counted from 0: (index shape..., width).",
};
