/* ops.c - graphs of these operations: what differentiation asks of them; and building a row from what a caller gave. */
#include "ops.h"

graph *ops_graph(ctx *c) {
    static const graph_basis basis = { .add = g_add, .full = g_full, .broadcast = g_broadcast };
    return graph_new(c, &basis);
}

const op_arg op_args_unary[] = { { ARG_OPERAND, "t" }, { ARG_END } };
const op_arg op_args_binary[] = {
    { ARG_OPERAND, "t", .called = "left operand" },
    { ARG_OPERAND, "u", .called = "right operand" },
    { ARG_END },
};
const op_arg op_args_along[] = { { ARG_TENSOR, "t" }, { ARG_DIM, "dim", .absent = "" }, { ARG_END } };

node *op_build(graph *g, const op_row *op, const op_value *v, node **second) {
    if (op->build) return op->build(g, v, second);
    if (op->arity == 2) return op_binary(g, op, v[0].t, v[1].t);
    return op_unary(g, op, v[0].t, 0);
}
