/* arena.h - places for buffers that live from one turn to another, so that those alive together do not overlap. */
#ifndef COMPILE_ARENA_H
#define COMPILE_ARENA_H

#include "../graph/graph.h"

typedef struct arena_item {
    size_t bytes;
    int first, last; /* turns, both included, below `turns` */
    int tag;         /* the caller's; breaks ties. Below 0: it lies at its offset, to the end */
    size_t offset;   /* the result: a multiple of 64 */
    size_t crowd;    /* for the search: the most bytes that are there while it is */
} arena_item;

/* Sets the offsets, reorders the items, and sets *bytes to the end of the last. false after failing g. */
bool arena_place(graph *g, int n, arena_item *items, int turns, size_t *bytes);

#endif
