/* compare.c - comparisons, choices, and extremes. */
#include "op.h"

/* clang-format off */
OP_BINARY(gt)
const op_row op_gt = {
    ELEMENTWISE(gt, 2, VEC_GT), PUBLIC(gt), FLAT, .kink_between = true,
    .doc = "1 where a > b, else 0",
    .help = "t:gt(u) -> tensor\nElementwise t > u as 1 or 0 of the operands' dtype; broadcasts as t:add.",
};
OP_BINARY(ge)
const op_row op_ge = {
    ELEMENTWISE(ge, 2, VEC_GE), PUBLIC(ge), FLAT, .kink_between = true,
    .doc = "1 where a >= b, else 0",
    .help = "t:ge(u) -> tensor\nElementwise t >= u as 1 or 0 of the operands' dtype; broadcasts as t:add.",
};
OP_BINARY(eq)
const op_row op_eq = {
    ELEMENTWISE(eq, 2, VEC_EQ), PUBLIC(eq), FLAT, .kink_between = true,
    .doc = "1 where a = b, else 0",
    .help = "t:eq(u) -> tensor\n"
            "Elementwise t = u as 1 or 0 of the operands' dtype; broadcasts as t:add. `t == u` asks whether all are equal.",
};
static node *lt_build(graph *g, node *const *in) { return g_gt(g, in[1], in[0]); }
const op_row op_lt = {
    COMPOSITE(lt, 2), .kink_between = true,
    .doc = "1 where a < b, else 0",
    .help = "t:lt(u) -> tensor\nElementwise t < u as 1 or 0 of the operands' dtype; broadcasts as t:add.",
};
static node *le_build(graph *g, node *const *in) { return g_ge(g, in[1], in[0]); }
const op_row op_le = {
    COMPOSITE(le, 2), .kink_between = true,
    .doc = "1 where a <= b, else 0",
    .help = "t:le(u) -> tensor\nElementwise t <= u as 1 or 0 of the operands' dtype; broadcasts as t:add.",
};
/* clang-format on */

static node *where_jvp(graph *g, node *n, int k, node *t) {
    node *zero = g_zeros_like(g, n);
    if (k == 0) return NULL;
    return k == 1 ? g_where(g, n->in[0], t, zero) : g_where(g, n->in[0], zero, t);
}
static node *where_simplify(graph *g, node *n) {
    if (n->in[1] == n->in[2]) return n->in[1];
    if (n->in[0]->op == &op_full) return n->in[n->in[0]->x != 0 ? 1 : 2];
    return op_fold(g, n);
}
node *g_where(graph *g, node *cond, node *a, node *b) {
    if (!cond || !a || !b) return NULL;
    node *sum = g_add(g, a, b), *all = g_add(g, sum, cond); /* for the shape and dtype they share */
    if (!all) return NULL;
    bk_dtype to = sum->dtype;
    node *in[3] = { g_broadcast(g, g_cast(g, cond, to), all->ndim, all->shape),
                    g_broadcast(g, g_cast(g, a, to), all->ndim, all->shape),
                    g_broadcast(g, g_cast(g, b, to), all->ndim, all->shape) };
    return in[0] && in[1] && in[2] ? graph_op(g, &op_where, 3, in, 0, NULL, 0) : NULL;
}
static node *where_build(graph *g, node *const *in) {
    return g_where(g, in[0], in[1], in[2]);
}
const op_row op_where = {
    ELEMENTWISE(where, 3, VEC_WHERE),
    PUBLIC(where),
    .condition = true,
    .doc = "a where c is not 0, else b",
    .help = "bk.where(condition, a, b), condition:where(a, b) -> tensor\n"
            "Elementwise a where condition is not 0, else b; a and b are tensors or numbers, and all three broadcast.",
    .simplify = where_simplify,
    .jvp = where_jvp,
    .transpose = where_jvp,
};

/* Ties share the derivative in halves, so that both operands are treated alike. */
static node *extreme_jvp(graph *g, node *n, int k, node *t) {
    node *mine = g_eq(g, n->in[k], n), *other = g_eq(g, n->in[1 - k], n);
    return g_mul(g, t, g_mul(g, mine, g_offset(g, 1, g_scale(g, -0.5, other))));
}
OP_BINARY(maximum)
const op_row op_maximum = {
    ELEMENTWISE(maximum, 2, VEC_MAXIMUM),
    PUBLIC(maximum),
    .doc = "max(a, b); the derivative goes to the larger, to both in halves at a tie",
    .help = "bk.maximum(t, u) -> tensor\n"
            "Elementwise larger of two, NaN if either is; broadcasts as t:add.\n\n"
            "The derivative goes to the larger, to both in halves at a tie.",
    .simplify = op_fold,
    .jvp = extreme_jvp,
    .transpose = op_no_transpose,
    .kink_between = true,
};
OP_BINARY(minimum)
const op_row op_minimum = {
    ELEMENTWISE(minimum, 2, VEC_MINIMUM),
    PUBLIC(minimum),
    .doc = "min(a, b); the derivative goes to the smaller, to both in halves at a tie",
    .help = "bk.minimum(t, u) -> tensor\n"
            "Elementwise smaller of two, NaN if either is; broadcasts as t:add.\n\n"
            "The derivative goes to the smaller, to both in halves at a tie.",
    .simplify = op_fold,
    .jvp = extreme_jvp,
    .transpose = op_no_transpose,
    .kink_between = true,
};

JVP(relu, g_mul(g, t, g_step(g, a)))
OP_UNARY(relu)
const op_row op_relu = {
    ELEMENTWISE(relu, 1, VEC_RELU),
    PUBLIC(relu),
    NONLINEAR(relu),
    .doc = "max(a, 0); derivative 0 at 0",
    .help = "t:relu() -> tensor\nElementwise max(a, 0); the derivative at 0 is 0, second derivatives are 0.",
    .n_kinks = 1,
};

OP_UNARY(step)
const op_row op_step = {
    ELEMENTWISE(step, 1, VEC_STEP),
    FLAT,
    .build = step_build,
    .doc = "1 where a > 0, else 0",
    .n_kinks = 1,
};
