/* vmap.c - vectorisation as a graph transform: every op's vmap rule gives the operation over a new
 * first axis. */
#include "graph.h"

#include <string.h>

node *op_vmap_none(graph *g, node *n, node *const *in, const bool *batched, int64_t size) {
    (void)in, (void)batched, (void)size;
    return graph_fail(g, BK_EUNSUPPORTED, "bk.%s: cannot be vectorised by vmap", op_title(n->op));
}

bool graph_vmap(graph *g, int n_out, node **outs, int n, node *const *from, node *const *to, const bool *batched,
                int64_t size) {
    if (graph_failed(g)) return false;
    int count;
    node **sorted = graph_sorted(g, n_out, outs, &count);
    if (!sorted) return false;
    node **image = graph_alloc(g, sizeof *image * (size_t)(count ? count : 1));
    bool *carries = graph_alloc(g, (size_t)count + 1);
    if (!image || !carries) return false;
    memset(image, 0, sizeof *image * (size_t)count);
    memset(carries, 0, (size_t)count);
    for (int i = 0; i < n; i++) {
        int at = graph_place(sorted, count, from[i]);
        if (at < 0) continue;
        image[at] = to[i];
        carries[at] = batched[i];
    }
    for (int i = 0; i < count; i++) {
        node *m = sorted[i];
        if (image[i]) continue;
        node **in = graph_alloc(g, sizeof *in * (size_t)m->n_in);
        bool *flags = graph_alloc(g, (size_t)m->n_in);
        if (!in || !flags) return false;
        bool any = false, moved = false;
        for (int k = 0; k < m->n_in; k++) {
            int at = m->in[k]->place;
            in[k] = image[at];
            flags[k] = carries[at];
            any = any || flags[k];
            moved = moved || in[k] != m->in[k];
        }
        if (any)
            image[i] = m->op->vmap(g, m, in, flags, size);
        else
            image[i] = moved ? graph_again(g, m, in) : m;
        if (!image[i]) return false;
        carries[i] = any;
    }
    for (int i = 0; i < n_out; i++) {
        node *m = image[outs[i]->place];
        if (!carries[outs[i]->place]) {
            int64_t shape[BK_MAX_DIMS] = { size };
            if (m->ndim >= BK_MAX_DIMS)
                return graph_fail(g, BK_EINVAL, "bk.vmap: the result would have %d dimensions", m->ndim + 1);
            memcpy(shape + 1, m->shape, sizeof *shape * (size_t)m->ndim);
            m = graph_basis_of(g)->broadcast(g, m, m->ndim + 1, shape);
        }
        outs[i] = m;
    }
    return !graph_failed(g);
}
