/* op.h - what the files of src/ops share: how rows are declared, and the rules many of them have in common. An operation
 * of one operand is one declaration: OP_UNARY(NAME), which makes its builder g_NAME, and `const op_row op_NAME = {`. */
#ifndef OPS_OP_H
#define OPS_OP_H

#include "ops.h"

/* clang-format off */
/* At the start of a line: there the Makefile finds them, and declares g_NAME. */
#define OP_UNARY(NAME) \
    node *g_##NAME(graph *g, node *a) { return op_unary(g, &op_##NAME, a, 0); } \
    static node *NAME##_build(graph *g, node *const *in) { return g_##NAME(g, in[0]); }
#define OP_BINARY(NAME) \
    node *g_##NAME(graph *g, node *a, node *b) { return op_binary(g, &op_##NAME, a, b); } \
    static node *NAME##_build(graph *g, node *const *in) { return g_##NAME(g, in[0], in[1]); }

/* The derivative of y = n in its operand a, along t: any expression of g, n, a, y, t. */
#define JVP(NAME, FORMULA) \
    static node *NAME##_jvp(graph *g, node *n, int k, node *t) { \
        node *a = n->in[0], *y = n; \
        (void)g, (void)a, (void)y, (void)k, (void)t; \
        return FORMULA; \
    }

/* Rows: of one kernel, its operands of the result's shape. */
#define ELEMENTWISE(NAME, N, VEC) .name = #NAME, .arity = N, .kind = OP_ELEMENTWISE, .vec = VEC, .vmap = op_vmap_elementwise
/* ... that is public as bk.NAME and t:NAME, of tensors and numbers */
#define PUBLIC(NAME) .lua = #NAME, .build = NAME##_build
#define NONLINEAR(NAME) .jvp = NAME##_jvp, .transpose = op_no_transpose, .simplify = op_fold
#define FLAT .jvp = op_zero_jvp, .transpose = op_no_transpose, .simplify = op_fold
/* A public operation that others make up: its nodes are theirs, so it has no rule of its own, and no kernel. */
#define COMPOSITE(NAME, N) .name = #NAME, .arity = N, .kind = OP_COMPOSITE, .jvp = op_no_jvp, \
    .transpose = op_no_transpose, .vmap = op_vmap_none, PUBLIC(NAME)
/* clang-format on */

/* Of one operand, int64 taken as float64 where the row is of the reals. Of two: broadcast (NumPy's rules) and promoted,
 * int64 -> float32 -> float64. NULL for NULL. */
node *op_unary(graph *g, const op_row *op, node *a, double x);
node *op_binary(graph *g, const op_row *op, node *a, node *b);

/* The result when all operands are constant, else NULL. */
node *op_fold(graph *g, node *n);
/* The constant x, everywhere. */
static inline bool op_is_value(const node *n, double x) {
    return n->op == &op_full && n->x == x;
}
/* A factor that may change places with anything linear: an infinite one would meet zeros. */
bool op_is_scale(const node *n);

#endif
