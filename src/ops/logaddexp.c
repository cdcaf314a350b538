/* logaddexp.c - ln(e^a + e^b), with a kernel, logaddexp.inc. Operands broadcast. */
#include "ops.h"

/* e^a / (e^a + e^b) = sigmoid(a - b) along the first operand. */
static node *logaddexp_jvp(graph *g, node *n, int k, node *t) {
    return g_mul(g, t, g_sigmoid(g, g_sub(g, n->in[k], n->in[1 - k])));
}
node *g_logaddexp(graph *g, node *a, node *b) {
    return op_binary(g, &op_logaddexp, a, b);
}
const op_row op_logaddexp = {
    .name = "logaddexp",
    .arity = 2,
    .kind = OP_ELEMENTWISE,
    .vec = VEC_OF_logaddexp,
    .formula = "ln(e^t + e^u)",
    .simplify = op_fold,
    .jvp = logaddexp_jvp,
    .transpose = op_no_transpose,
    .vmap = op_vmap_elementwise,
    .args = op_args_binary,
    .doc = "Elementwise logarithm of e^t + e^u, without overflow. Shapes broadcast as in bk.add.",
};
