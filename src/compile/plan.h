/* plan.h - from nodes to a program: simplify globally, order, fuse, lay all buffers out in one
 * arena, and replay with no allocation or look-up. */
#ifndef COMPILE_PLAN_H
#define COMPILE_PLAN_H

#include "simplify.h"

typedef struct plan plan;

typedef struct plan_options {
    size_t memory; /* bytes of the arena at most: what else would be kept is computed again; 0: as many as it takes */
    bool over;     /* outputs may lie over inputs; else it works in their memory before they are written */
} plan_options;

/* A program computing outs from inputs (graph_input nodes), to the same bits with any options (NULL: none). BK_EINVAL,
 * saying how few bytes are possible, where memory is not enough. The graph may be freed after. */
bk_status plan_new(graph *g, int n_in, node *const *inputs, int n_out, node *const *outs, const plan_options *options,
                   plan **out, err *e);
void plan_free(plan *p);

/* in[i]: row-major data of input i; out[k]: room for output k. Not reentrant. An output overlaps no input, but, of a
 * program made for it (over), may lie exactly over one that it overwrites: */
bk_status plan_run(plan *p, const void *const *in, void *const *out, err *e);
/* Every element of the input is read for the last time before, or as, that of the output is written, and a run that
 * fails has written none. */
bool plan_overwrites(const plan *p, int input, int output);

/* A result that is poured: given away piece by piece, each once, as soon as it is made and the elements of input 0 in
 * its place are read no more; take, which any thread may call, may write over those. Before the first, begin says by
 * result 0, a number, whether any is wanted: if so the run neither fails nor is interrupted from then on. */
typedef struct plan_taker {
    bool (*begin)(void *arg, double first);
    void (*take)(void *arg, int64_t first, int64_t count, const void *at);
    void *arg;
} plan_taker;

/* Finds the pieces of result 1 of a program made with over; outs: like its results. false: no memory for that. */
bool plan_pour(plan *p, const node *outs);
/* After plan_pour, plan_run with result 1 poured: if any is wanted, its memory is of no use in the end. */
bk_status plan_run_poured(plan *p, const void *const *in, void *const *out, const plan_taker *taker, err *e);

/* The other side. Whether the last step can be done for any elements by themselves, those of one input given as a
 * piece, when the steps before are done: these write no result, and read no inputs but the early, a set of bits. */
bool plan_takes(plan *p, int input, unsigned early);
/* All steps but the last, after plan_takes; then, from any thread, the last for a piece of that input. */
bk_status plan_run_early(plan *p, const void *const *in, void *const *out, err *e);
void plan_take(const plan *p, int64_t first, int64_t count, const void *at);

enum { PLAN_PASSES = REWRITES + 1 }; /* of graph_simplify, then graph_lower */

typedef struct plan_stats {
    int nodes_built;             /* by tracing and transforming, needed or not */
    rewrite passes[PLAN_PASSES]; /* what every rewrite of the graph left */
    int steps;                   /* of the program */
    size_t arena_bytes; /* with what its steps work in on as many threads as there are, ... */
    size_t alone_bytes; /* ... and on one: what chooses between programs of other bits looks at this */
} plan_stats;
plan_stats plan_info(const plan *p);

void plan_tells(plan *p, const char *what); /* of each run: how many of its steps are done; what stays with its owner */
void plan_profile(plan *p, bool on); /* time each step, of the runs from now on */

typedef struct plan_step {
    const char *kernel; /* an operation's name, "fused" or "copy" */
    int operations;     /* that a fused pass does at once */
    int ndim;           /* of the result; fused: its elements, copy: its bytes */
    int64_t shape[BK_MAX_DIMS];
    double flops, seconds; /* seconds of all profiled runs */
    int64_t runs;
} plan_step;
plan_step plan_step_at(const plan *p, int i); /* 0 <= i < plan_info(p).steps */

/* describe.c: tables of the passes, of the kernels (with times after profiled runs) and of the steps, line by line. */
void plan_describe(const plan *p, void (*emit)(void *arg, const char *line), void *arg);

#endif
