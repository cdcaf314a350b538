/* lower.h - the last rewrite of a graph, after every transform and simplification: combinations of elementwise
 * operations become the single kernels of ops/pattern.c, and keep their bits; products take on factors and triangles; a
 * matrix that many small products would turn for themselves is turned once; products of a batch read their operands and
 * write their results where these lie. */
#ifndef COMPILE_LOWER_H
#define COMPILE_LOWER_H

#include "../graph/graph.h"

/* Rewrites outs; false after graph_fail. */
bool graph_lower(graph *g, int n_out, node **outs);

/* n on what stands for its operands, by their places; NULL after failing g. */
node *on_images(graph *g, node *n, node *const *image);

/* products.c: its last part. */
bool place_products(graph *g, int n_out, node **outs);

#endif
