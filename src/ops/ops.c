/* ops.c - graphs of these operations: what differentiation asks of them. */
#include "ops.h"

graph *ops_graph(ctx *c) {
    static const graph_basis basis = { .add = g_add, .full = g_full, .broadcast = g_broadcast };
    return graph_new(c, &basis);
}
