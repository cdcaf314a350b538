/* diff.c - derivatives as graph transforms: forward by each op's jvp rule; reverse by
 * linearising forward and transposing the linear part. Both give graphs again, so they nest. */
#include "graph.h"

#include <string.h>

node *op_zero_jvp(graph *g, node *n, int k, node *t) {
    (void)g, (void)n, (void)k, (void)t;
    return NULL;
}

node *op_no_jvp(graph *g, node *n, int k, node *t) {
    (void)k, (void)t;
    return graph_fail(g, BK_EUNSUPPORTED, "bk.%s: has no derivative", op_title(n->op));
}

node *op_no_transpose(graph *g, node *n, int k, node *ct) {
    (void)ct;
    return graph_fail(g, BK_ERUNTIME, "bk.%s: not linear in operand %d", op_title(n->op), k + 1);
}

static node *plus(graph *g, node *a, node *b) {
    return a ? graph_basis_of(g)->add(g, a, b) : b;
}

static node **table_new(graph *g, int count) {
    node **t = graph_alloc(g, sizeof *t * (size_t)(count ? count : 1));
    if (t) memset(t, 0, sizeof *t * (size_t)count);
    return t;
}

bool graph_jvp(graph *g, int n_out, node *const *outs, int n_wrt, node *const *wrt, node *const *tangents, node **dy) {
    if (graph_failed(g)) return false;
    int count;
    node **sorted = graph_sorted(g, n_out, outs, &count);
    node **tangent = sorted ? table_new(g, count) : NULL;
    bool *moved = tangent ? graph_alloc(g, (size_t)count + 1) : NULL;
    if (!moved) return false;
    memset(moved, 0, (size_t)count);
    for (int i = 0; i < n_wrt; i++) {
        int at = graph_place(sorted, count, wrt[i]);
        if (at < 0) continue;
        tangent[at] = tangents[i];
        moved[at] = true; /* by itself: its own inputs do not move it */
    }
    for (int i = 0; i < count; i++) {
        node *n = sorted[i], *sum = NULL;
        if (moved[i] || n->dtype == BK_INT64) continue;
        for (int k = 0; k < n->n_in; k++) {
            node *t = tangent[n->in[k]->place];
            if (!t || n->op->jvp == op_zero_jvp) continue;
            node *part = n->op->jvp(g, n, k, t);
            if (graph_failed(g)) return false;
            if (part) sum = plus(g, sum, part);
        }
        if (graph_failed(g)) return false;
        tangent[i] = sum;
    }
    for (int i = 0; i < n_out; i++) dy[i] = tangent[outs[i]->place];
    return true;
}

/* Cotangents of the leaves seeds[] of a graph that is linear in them. */
static bool transpose(graph *g, int n_out, node *const *outs, node *const *cts, int n_seed, node *const *seeds,
                      node **grads) {
    int count;
    node **sorted = graph_sorted(g, n_out, outs, &count);
    node **ct = sorted ? table_new(g, count) : NULL;
    bool *linear = ct ? graph_alloc(g, (size_t)count + 1) : NULL;
    if (!linear) return false;
    memset(linear, 0, (size_t)count);
    for (int i = 0; i < n_seed; i++) {
        int at = graph_place(sorted, count, seeds[i]);
        if (at >= 0) linear[at] = true;
    }
    for (int i = 0; i < count; i++)
        for (int k = 0; k < sorted[i]->n_in; k++)
            if (linear[sorted[i]->in[k]->place]) linear[i] = true;
    for (int i = 0; i < n_out; i++)
        if (outs[i] && cts[i]) {
            node **at = &ct[outs[i]->place];
            *at = plus(g, *at, cts[i]);
        }
    for (int i = count - 1; i >= 0; i--) {
        node *n = sorted[i];
        if (!linear[i] || !ct[i] || n->op->kind == OP_LEAF) continue;
        for (int k = 0; k < n->n_in; k++) {
            if (!linear[n->in[k]->place]) continue;
            node *part = n->op->transpose(g, n, k, ct[i]);
            if (graph_failed(g)) return false;
            if (!part) continue;
            node **at = &ct[n->in[k]->place];
            *at = plus(g, *at, part);
        }
        if (graph_failed(g)) return false;
    }
    for (int i = 0; i < n_seed; i++) {
        int at = graph_place(sorted, count, seeds[i]);
        grads[i] = at >= 0 ? ct[at] : NULL;
    }
    return !graph_failed(g);
}

bool graph_vjp(graph *g, int n_out, node *const *outs, node *const *cts, int n_wrt, node *const *wrt, node **grads) {
    if (graph_failed(g)) return false;
    node **seeds = table_new(g, n_wrt), **dy = table_new(g, n_out);
    if (!seeds || !dy) return false;
    for (int i = 0; i < n_wrt; i++) seeds[i] = graph_input(g, wrt[i]->dtype, wrt[i]->ndim, wrt[i]->shape);
    return graph_jvp(g, n_out, outs, n_wrt, wrt, seeds, dy) && transpose(g, n_out, dy, cts, n_wrt, seeds, grads);
}

node *graph_grad(graph *g, node *y, node *wrt, const char *who) {
    if (!y || !wrt || graph_failed(g)) return NULL;
    if (y->ndim != 0 || y->dtype == BK_INT64) {
        shape_buf text;
        return graph_fail(g, BK_EINVAL, "%s: the function must return a 0-d float tensor, got %s %s", who,
                          dtype_name(y->dtype), shape_text(y->ndim, y->shape, &text));
    }
    const graph_basis *b = graph_basis_of(g);
    node *one = b->full(g, y->dtype, 0, NULL, 1.0), *grad = NULL;
    if (!graph_vjp(g, 1, &y, &one, 1, &wrt, &grad)) return NULL;
    return grad ? grad : b->full(g, wrt->dtype, wrt->ndim, wrt->shape, 0);
}
