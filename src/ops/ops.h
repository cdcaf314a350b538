/* ops.h - the operations by name, as the field names them: what builds them, and their rows. Builders take and return nodes of g, pass NULL on
 * (a failed graph), check shapes, and name themselves in messages. Implemented by the families in src/ops/. */
#ifndef OPS_OPS_H
#define OPS_OPS_H

#include "../graph/graph.h"
#include "gen/op_rows.h" /* extern const op_row op_NAME; of every row in src/ops, and the list of them: */

extern const op_row *const op_rows[]; /* NULL-terminated */

/* A graph of these operations; NULL when memory is short. */
graph *ops_graph(ctx *c);

/* The vmap rule of elementwise rows. */
node *op_vmap_elementwise(graph *g, node *n, node *const *in, const bool *batched, int64_t size);

/* What builds them. Binary ones broadcast (NumPy's rules) and promote int64 -> float32 -> float64; each stands beside its
 * operation, with what is to be known of it. Axes count from 0; sets of axes are bit masks. */
#include "gen/op_builders.h"

/* The largest or (low) smallest of all elements (axis below 0) or along an axis, and its first index, from 0. Either may
 * be NULL. */
bool op_extreme(graph *g, node *a, int axis, bool low, node **value, node **index);

/* A number that int64 holds as exactly as float64 does: whole, at most 2^53. */
bool op_is_whole(double x);

#endif
