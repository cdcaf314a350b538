/* simplify.h - rewrites of a whole graph that keep its values: re-association of matrix chains by cost,
 * and sums of products as one accumulated product. */
#ifndef GRAPH_SIMPLIFY_H
#define GRAPH_SIMPLIFY_H

#include "graph.h"

/* Rewrites outs in place. */
bool graph_simplify(graph *g, int n_out, node **outs);

/* Floating-point operations of the products and convolutions outs need (2 m n k a product). */
double graph_flops(graph *g, int n_out, node *const *outs);
double node_flops(const node *n);

#endif
