/* cut.h - the cheapest cut of a network: which arcs to part so that nothing flows from its source to its sink. */
#ifndef COMPILE_CUT_H
#define COMPILE_CUT_H

#include "../graph/graph.h"

typedef struct arc {
    int to, next; /* next: of those that begin where it does, -1 none. The arc back is at its place ^ 1 */
    int64_t room;
} arc;

typedef struct network {
    graph *g;
    int n, n_arcs, arcs_room;
    int *first; /* by node: its first arc */
    arc *arcs;
    int *far, *at, *way; /* of the search */
} network;

enum { CUT_SOURCE, CUT_SINK };         /* the first two nodes */
#define CUT_NEVER ((int64_t)1 << 50) /* the room of an arc that is in no cut */

/* A network of n nodes in the graph's memory, without arcs; back to none. false after failing g. */
bool network_new(graph *g, int n, network *w);
void network_clear(network *w);
bool network_add(network *w, int from, int to, int64_t room);

/* Sets after[i] for the nodes beyond the cheapest cut, of several the one nearest to the sink. Uses up the room. */
void network_cut(network *w, bool *after);

#endif
