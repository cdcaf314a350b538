/* simplify.h - rewrites of a whole graph that keep its values: re-association of matrix chains by cost,
 * and sums of products as one accumulated product. */
#ifndef COMPILE_SIMPLIFY_H
#define COMPILE_SIMPLIFY_H

#include "../graph/graph.h"

/* What a rewrite left: the nodes outs depend on, and their node_flops. */
typedef struct rewrite {
    const char *name;
    int nodes;
    double flops;
} rewrite;
enum { REWRITES = 3 }; /* as built, re-associated, accumulated */

/* Rewrites outs in place. */
bool graph_simplify(graph *g, int n_out, node **outs, rewrite passes[REWRITES]);

double node_flops(const node *n); /* of products and convolutions: 2 m n k a product; 0: not counted */

#endif
