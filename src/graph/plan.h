/* plan.h - from nodes to a program: simplify globally, order, fuse, lay all buffers out in one
 * arena, and replay with no allocation or look-up. */
#ifndef GRAPH_PLAN_H
#define GRAPH_PLAN_H

#include "graph.h"
#include <stdio.h>

typedef struct plan plan;

/* A program computing outs from inputs (graph_input nodes). The graph may be freed after. */
bk_status plan_new(graph *g, int n_in, node *const *inputs, int n_out, node *const *outs, plan **out, err *e);
void plan_free(plan *p);

/* in[i]: row-major data of input i; out[k]: room for output k, overlapping no input. Not reentrant. */
bk_status plan_run(plan *p, const void *const *in, void *const *out, err *e);

typedef struct plan_stats {
    int nodes_built, nodes, steps; /* before and after simplification; steps of the program */
    double flops_built, flops;     /* of the matrix products and convolutions, before and after re-association */
    size_t arena_bytes;
} plan_stats;
plan_stats plan_info(const plan *p);

/* A table of the steps with shapes, flops and, after timed runs, time; malloc-free: written by emit. */
void plan_describe(const plan *p, void (*emit)(void *arg, const char *line), void *arg);
void plan_profile(plan *p, bool on); /* time each step from now on */

#endif
