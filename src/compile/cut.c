/* cut.c - the cheapest cut, by the largest flow (Dinic 1970): all shortest ways are filled, until no way has room. */
#include "cut.h"

#include <string.h>

bool network_new(graph *g, int n, network *w) {
    const size_t bytes = sizeof(int) * (size_t)n;
    *w = (network){ .g = g, .n = n };
    w->first = graph_alloc(g, bytes);
    w->far = graph_alloc(g, bytes);
    w->at = graph_alloc(g, bytes);
    w->way = graph_alloc(g, bytes);
    if (graph_failed(g)) return false;
    network_clear(w);
    return true;
}

void network_clear(network *w) {
    w->n_arcs = 0;
    for (int i = 0; i < w->n; i++) w->first[i] = -1;
}

bool network_add(network *w, int from, int to, int64_t room) {
    if (w->n_arcs == w->arcs_room) {
        const int more = w->arcs_room ? 2 * w->arcs_room : 256;
        arc *arcs = graph_alloc(w->g, sizeof *arcs * (size_t)more);
        if (!arcs) return false;
        if (w->n_arcs) memcpy(arcs, w->arcs, sizeof *arcs * (size_t)w->n_arcs);
        w->arcs = arcs;
        w->arcs_room = more;
    }
    w->arcs[w->n_arcs] = (arc){ to, w->first[from], room };
    w->first[from] = w->n_arcs++;
    w->arcs[w->n_arcs] = (arc){ from, w->first[to], 0 };
    w->first[to] = w->n_arcs++;
    return true;
}

/* How far every node is from the sink, -1 where there is no way; whether there is one from the source. */
static bool distances(network *w) {
    int *const queue = w->way, n = 0;
    for (int i = 0; i < w->n; i++) w->far[i] = -1;
    w->far[CUT_SINK] = 0;
    queue[n++] = CUT_SINK;
    for (int i = 0; i < n; i++)
        for (int a = w->first[queue[i]]; a >= 0; a = w->arcs[a].next) {
            const int from = w->arcs[a].to;
            if (w->far[from] >= 0 || !w->arcs[a ^ 1].room) continue;
            w->far[from] = w->far[queue[i]] + 1;
            queue[n++] = from;
        }
    return w->far[CUT_SOURCE] >= 0;
}

/* As much as there is room for on a way of n arcs; how many of them come before the first that is then full. */
static int fill(network *w, int n) {
    int64_t least = INT64_MAX;
    int full = n;
    for (int i = 0; i < n; i++)
        if (w->arcs[w->way[i]].room < least) least = w->arcs[w->way[i]].room;
    for (int i = n - 1; i >= 0; i--) {
        w->arcs[w->way[i]].room -= least;
        w->arcs[w->way[i] ^ 1].room += least;
        if (!w->arcs[w->way[i]].room) full = i;
    }
    return full;
}

/* Fills all shortest ways. An arc that led nowhere is not tried again. */
static void fill_shortest(network *w) {
    int n = 0, v = CUT_SOURCE;
    memcpy(w->at, w->first, sizeof *w->at * (size_t)w->n);
    for (;;) {
        int *a = &w->at[v];
        while (v != CUT_SINK && *a >= 0 && !(w->arcs[*a].room && w->far[w->arcs[*a].to] == w->far[v] - 1))
            *a = w->arcs[*a].next;
        if (v == CUT_SINK) {
            n = fill(w, n);
            v = w->arcs[w->way[n] ^ 1].to;
        } else if (*a >= 0) {
            w->way[n++] = *a;
            v = w->arcs[*a].to;
        } else if (v == CUT_SOURCE) {
            return;
        } else {
            w->far[v] = w->n; /* a dead end */
            v = w->arcs[w->way[--n] ^ 1].to;
        }
    }
}

void network_cut(network *w, bool *after) {
    while (distances(w)) fill_shortest(w);
    for (int i = 0; i < w->n; i++) after[i] = w->far[i] >= 0;
}
