/* vmap.c - vectorisation as a graph transform: every op's vmap rule gives the operation over a new
 * first axis. */
#include "build.h"

#include <string.h>

node *op_vmap_none(graph *g, node *n, node *const *in, const bool *batched, int64_t size) {
    (void)in, (void)batched, (void)size;
    return graph_fail(g, BK_EUNSUPPORTED, "%s cannot be vectorised by vmap", n->op->name);
}

bool graph_vmap(graph *g, int n_out, node **outs, int n, node *const *from, node *const *to, const bool *batched,
                int64_t size) {
    if (graph_failed(g)) return false;
    int count = graph_count(g), live_count;
    node **sorted = graph_sorted(g, n_out, outs, &live_count);
    node **image = graph_alloc(g, sizeof *image * (size_t)(count ? count : 1));
    bool *carries = graph_alloc(g, (size_t)count);
    if (!sorted || !image || !carries) return false;
    memset(image, 0, sizeof *image * (size_t)count);
    memset(carries, 0, (size_t)count);
    for (int i = 0; i < n; i++) {
        image[from[i]->id] = to[i];
        carries[from[i]->id] = batched[i];
    }
    for (int i = 0; i < live_count; i++) {
        node *m = sorted[i];
        if (image[m->id]) continue;
        node **in = graph_alloc(g, sizeof *in * (size_t)m->n_in);
        bool *flags = graph_alloc(g, (size_t)m->n_in);
        if (!in || !flags) return false;
        bool any = false, moved = false;
        for (int k = 0; k < m->n_in; k++) {
            in[k] = image[m->in[k]->id];
            flags[k] = carries[m->in[k]->id];
            any = any || flags[k];
            moved = moved || in[k] != m->in[k];
        }
        if (any) image[m->id] = m->op->vmap(g, m, in, flags, size);
        else image[m->id] = moved ? graph_again(g, m, in) : m;
        if (!image[m->id]) return false;
        carries[m->id] = any;
    }
    for (int i = 0; i < n_out; i++) {
        node *m = image[outs[i]->id];
        if (!carries[outs[i]->id]) {
            int64_t shape[BK_MAX_DIMS] = { size };
            if (m->ndim >= BK_MAX_DIMS)
                return graph_fail(g, BK_EINVAL, "vmap: the result would have %d dimensions", m->ndim + 1);
            memcpy(shape + 1, m->shape, sizeof *shape * (size_t)m->ndim);
            m = g_broadcast(g, m, m->ndim + 1, shape);
        }
        outs[i] = m;
    }
    return !graph_failed(g);
}
