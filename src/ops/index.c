/* index.c - reading and summing by index. Indices are int64, from 0, and are checked when they are used. */
#include "../graph/build.h"

#include <string.h>

extern const op_row op_full, op_gather, op_scatter, op_take, op_put, op_scale;

/* gather: a (n, rest...), index (I...) -> (I..., rest...); scatter, its adjoint: (I..., rest...) -> (n, rest...) */
static bool gather_shape(graph *g, node *n) {
    const node *a = n->in[0], *index = n->in[1];
    shape_buf sa, sb;
    if (index->dtype != BK_INT64 || a->ndim < 1 || index->ndim + a->ndim - 1 > BK_MAX_DIMS)
        return graph_fail(g, BK_EINVAL, "gather: expected a tensor of rows and int64 indices, got %s %s and %s %s", dtype_name(a->dtype),
                          shape_text(a->ndim, a->shape, &sa), dtype_name(index->dtype), shape_text(index->ndim, index->shape, &sb));
    n->ndim = index->ndim + a->ndim - 1;
    memcpy(n->shape, index->shape, sizeof *n->shape * (size_t)index->ndim);
    memcpy(n->shape + index->ndim, a->shape + 1, sizeof *n->shape * (size_t)(a->ndim - 1));
    return true;
}
static bool scatter_shape(graph *g, node *n) {
    const node *a = n->in[0], *index = n->in[1];
    if (index->dtype != BK_INT64 || !shape_equal(index->ndim, index->shape, index->ndim <= a->ndim ? index->ndim : -1, a->shape))
        return graph_fail(g, BK_EINVAL, "scatter: the leading sizes of the rows must be those of the int64 indices");
    n->ndim = a->ndim - index->ndim + 1;
    n->shape[0] = n->ints[0];
    memcpy(n->shape + 1, a->shape + index->ndim, sizeof *n->shape * (size_t)(a->ndim - index->ndim));
    return true;
}
static void add_to(bk_dtype dtype, void *out, const void *in, int64_t n) {
    vec_get(VEC_ADD, dtype)(n, out, out, in, NULL, 0);
}
static bk_status gather_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    (void)c, (void)scratch;
    bool gather = n->op == &op_gather;
    const node *table = gather ? n->in[0] : n;
    const int64_t *index = in[1];
    int64_t size = table->shape[0], row = size ? table->count / size : 0;
    size_t bytes = (size_t)row * dtype_size(n->dtype);
    if (!gather) memset(out, 0, (size_t)n->count * dtype_size(n->dtype));
    for (int64_t i = 0; i < n->in[1]->count; i++) {
        if (index[i] < 0 || index[i] >= size) return BK_EINVAL;
        if (gather) memcpy((char *)out + (size_t)i * bytes, (const char *)in[0] + (size_t)index[i] * bytes, bytes);
        else add_to(n->dtype, (char *)out + (size_t)index[i] * bytes, (const char *)in[0] + (size_t)i * bytes, row);
    }
    return BK_OK;
}
static node *linear_jvp(graph *g, node *n, int k, node *t) {
    node *in[2] = { t, n->in[1] };
    return k == 0 ? graph_again(g, n, in) : NULL;
}
static node *gather_transpose(graph *g, node *n, int k, node *ct) {
    (void)k;
    return g_scatter(g, ct, n->in[1], n->in[0]->shape[0]);
}
static node *scatter_transpose(graph *g, node *n, int k, node *ct) {
    (void)k;
    return g_gather(g, ct, n->in[1]);
}
static node *pull_scale(graph *g, node *n) {
    node *a = n->in[0];
    if (a->op == &op_scale) {
        node *in[2] = { a->in[0], n->in[1] };
        return g_scale(g, a->x, graph_again(g, n, in));
    }
    if (a->op == &op_full && (a->x == 0 || n->op == &op_gather || n->op == &op_take)) return g_full(g, n->dtype, n->ndim, n->shape, a->x);
    return NULL;
}

/* index + b * step for place b of a new first axis */
static node *shift_index(graph *g, node *index, bool batched, int64_t size, int64_t step) {
    int64_t shape[BK_MAX_DIMS + 1] = { size }, ones[BK_MAX_DIMS + 1] = { size };
    int d = index->ndim - batched;
    memcpy(shape + 1, index->shape + batched, sizeof *shape * (size_t)d);
    for (int i = 1; i <= d; i++) ones[i] = 1;
    tensor t;
    err e = { 0 };
    if (tensor_new(graph_ctx(g), BK_INT64, d + 1, ones, &t, &e)) return graph_fail(g, e.status, "vmap: %s", e.text);
    for (int64_t i = 0; i < size; i++) ((int64_t *)tensor_data(&t))[i] = i * step;
    node *offsets = graph_const(g, &t);
    tensor_release(&t);
    return g_add(g, batched ? index : g_broadcast(g, index, d + 1, shape), offsets);
}
static node *gather_vmap(graph *g, node *n, node *const *in, const bool *batched, int64_t size) {
    const node *a = n->in[0];
    if (!batched[0]) { /* only gather: scatter's rows always move with its indices */
        if (n->op == &op_gather) return g_gather(g, in[0], in[1]);
        int64_t full[BK_MAX_DIMS + 1] = { size };
        memcpy(full + 1, a->shape, sizeof *full * (size_t)a->ndim);
        node *rows[2] = { g_broadcast(g, in[0], a->ndim + 1, full), in[1] };
        bool both[2] = { true, true };
        return gather_vmap(g, n, rows, both, size);
    }
    int64_t shape[BK_MAX_DIMS + 1] = { 0 };
    if (n->op == &op_gather) { /* the tables under each other */
        shape[0] = size * a->shape[0];
        memcpy(shape + 1, a->shape + 1, sizeof *shape * (size_t)(a->ndim - 1));
        return g_gather(g, g_reshape(g, in[0], a->ndim, shape), shift_index(g, in[1], batched[1], size, a->shape[0]));
    }
    node *all = g_scatter(g, in[0], shift_index(g, in[1], batched[1], size, n->shape[0]), size * n->shape[0]);
    shape[0] = size;
    memcpy(shape + 1, n->shape, sizeof *shape * (size_t)n->ndim);
    return g_reshape(g, all, n->ndim + 1, shape);
}
const op_row op_gather = {
    .name = "gather", .arity = 2, .kind = OP_KERNEL, .doc = "y[i] = a[index[i]], rows of a", .shape = gather_shape, .run = gather_run,
    .simplify = pull_scale, .jvp = linear_jvp, .transpose = gather_transpose, .vmap = gather_vmap,
};
const op_row op_scatter = {
    .name = "scatter", .arity = 2, .kind = OP_KERNEL, .doc = "y[r] = sum of the rows a[i] with index[i] = r: the adjoint of gather",
    .shape = scatter_shape, .run = gather_run, .simplify = pull_scale, .jvp = linear_jvp, .transpose = scatter_transpose, .vmap = gather_vmap,
};

/* take: a (rows..., n), index (rows...) -> (rows...); put, its adjoint: a (rows...), index (rows...) -> (rows..., n) */
static bool take_shape(graph *g, node *n) {
    const node *a = n->in[0], *index = n->in[1];
    bool take = n->op == &op_take;
    shape_buf sa, sb;
    if (index->dtype != BK_INT64 || a->ndim < take || !shape_equal(index->ndim, index->shape, a->ndim - take, a->shape))
        return graph_fail(g, BK_EINVAL, "%s: expected int64 indices of shape (rows...), got %s %s for a of %s", n->op->name,
                          dtype_name(index->dtype), shape_text(index->ndim, index->shape, &sb), shape_text(a->ndim, a->shape, &sa));
    if (take) n->ndim--;
    else {
        if (n->ndim >= BK_MAX_DIMS) return graph_fail(g, BK_EINVAL, "put: too many dimensions");
        n->shape[n->ndim++] = n->ints[0];
    }
    return true;
}
static bk_status take_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    (void)c, (void)scratch;
    bool take = n->op == &op_take;
    const node *table = take ? n->in[0] : n;
    const int64_t *index = in[1];
    int64_t size = table->shape[table->ndim - 1];
    size_t bytes = dtype_size(n->dtype);
    if (!take) memset(out, 0, (size_t)n->count * bytes);
    for (int64_t i = 0; i < n->in[1]->count; i++) {
        if (index[i] < 0 || index[i] >= size) return BK_EINVAL;
        size_t place = (size_t)(i * size + index[i]) * bytes;
        if (take) memcpy((char *)out + (size_t)i * bytes, (const char *)in[0] + place, bytes);
        else memcpy((char *)out + place, (const char *)in[0] + (size_t)i * bytes, bytes);
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
    for (int k = 0; k < 2; k++) {
        int64_t shape[BK_MAX_DIMS + 1] = { size };
        memcpy(shape + 1, n->in[k]->shape, sizeof *shape * (size_t)n->in[k]->ndim);
        full[k] = batched[k] ? in[k] : g_broadcast(g, in[k], n->in[k]->ndim + 1, shape);
    }
    return graph_again(g, n, full);
}
const op_row op_take = {
    .name = "take", .arity = 2, .kind = OP_KERNEL, .doc = "y[r] = a[r, index[r]]", .shape = take_shape, .run = take_run,
    .simplify = pull_scale, .jvp = linear_jvp, .transpose = take_transpose, .vmap = take_vmap,
};
const op_row op_put = {
    .name = "put", .arity = 2, .kind = OP_KERNEL, .doc = "y[r, index[r]] = a[r], else 0: the adjoint of take", .shape = take_shape,
    .run = take_run, .simplify = pull_scale, .jvp = linear_jvp, .transpose = put_transpose, .vmap = take_vmap,
};

node *g_gather(graph *g, node *a, node *index) {
    node *in[2] = { a, index };
    return a && index ? graph_op(g, &op_gather, 2, in, 0, NULL, 0) : NULL;
}
node *g_scatter(graph *g, node *a, node *index, int64_t n) {
    node *in[2] = { a, index };
    return a && index ? graph_op(g, &op_scatter, 2, in, 1, &n, 0) : NULL;
}
node *g_take(graph *g, node *a, node *index) {
    node *in[2] = { a, index };
    return a && index ? graph_op(g, &op_take, 2, in, 0, NULL, 0) : NULL;
}
node *g_put(graph *g, node *a, node *index, int64_t n) {
    node *in[2] = { a, index };
    return a && index ? graph_op(g, &op_put, 2, in, 1, &n, 0) : NULL;
}
