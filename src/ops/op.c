/* op.c - the rules that many operations share, and graphs of them. */
#include "op.h"

#include <math.h>
#include <string.h>

graph *ops_graph(ctx *c) {
    static const graph_basis basis = { .add = g_add, .full = g_full, .broadcast = g_broadcast };
    return graph_new(c, &basis);
}

bool op_is_whole(double x) {
    return fabs(x) <= 0x1p53 && x == floor(x);
}

bool op_is_scale(const node *n) {
    return n->op == &op_scale && isfinite(n->x);
}

node *op_fold(graph *g, node *n) {
    if (n->dtype == BK_INT64) return NULL;
    double v[3] = { 0 }, out;
    for (int k = 0; k < n->n_in; k++) {
        if (n->in[k]->op != &op_full) return NULL;
        v[k] = n->in[k]->x;
    }
    vec_fn f = vec_get(n->op->vec, BK_FLOAT64);
    if (!f || !n->n_in) return NULL;
    f(1, &out, &v[0], &v[1], &v[2], n->x);
    return g_full(g, n->dtype, n->ndim, n->shape, out);
}

node *op_vmap_elementwise(graph *g, node *n, node *const *in, const bool *batched, int64_t size) {
    node *full[3];
    int64_t shape[BK_MAX_DIMS] = { size };
    for (int k = 0; k < n->n_in; k++) {
        full[k] = in[k];
        if (batched[k]) continue;
        if (in[k]->ndim >= BK_MAX_DIMS) return graph_fail(g, BK_EINVAL, "vmap: %s: too many dimensions", n->op->name);
        memcpy(shape + 1, in[k]->shape, sizeof *shape * (size_t)in[k]->ndim);
        full[k] = g_broadcast(g, in[k], in[k]->ndim + 1, shape);
    }
    return graph_again(g, n, full);
}

node *op_unary(graph *g, const op_row *op, node *a, double x) {
    if (a && op->real && a->dtype == BK_INT64) a = g_cast(g, a, BK_FLOAT64);
    return a ? graph_op(g, op, 1, &a, 0, NULL, x) : NULL;
}

node *op_binary(graph *g, const op_row *op, node *a, node *b) {
    if (!a || !b) return NULL;
    int nd = a->ndim > b->ndim ? a->ndim : b->ndim;
    int64_t shape[BK_MAX_DIMS];
    for (int i = 0; i < nd; i++) {
        int ia = i - (nd - a->ndim), ib = i - (nd - b->ndim);
        int64_t x = ia < 0 ? 1 : a->shape[ia], y = ib < 0 ? 1 : b->shape[ib];
        if (x != y && x != 1 && y != 1) {
            shape_buf sa, sb;
            return graph_fail(g, BK_EINVAL, "%s: shapes do not broadcast: %s and %s", op->name,
                              shape_text(a->ndim, a->shape, &sa), shape_text(b->ndim, b->shape, &sb));
        }
        shape[i] = x == 1 ? y : x;
    }
    bk_dtype to = a->dtype == b->dtype                               ? a->dtype
                  : a->dtype == BK_FLOAT64 || b->dtype == BK_FLOAT64 ? BK_FLOAT64
                                                                     : BK_FLOAT32;
    if (to == BK_INT64 && op->real) to = BK_FLOAT64;
    node *in[2] = { g_broadcast(g, g_cast(g, a, to), nd, shape), g_broadcast(g, g_cast(g, b, to), nd, shape) };
    return in[0] && in[1] ? graph_op(g, op, 2, in, 0, NULL, 0) : NULL;
}
