/* cast.c - dtypes, and what carries no derivative. */
#include "op.h"

static bk_status cast_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    (void)c, (void)scratch;
    vec_cast(n->count, n->dtype, out, n->in[0]->dtype, in[0]);
    return BK_OK;
}
static bool cast_shape(graph *g, node *n) {
    (void)g;
    n->dtype = (bk_dtype)n->ints[0];
    return true;
}
static node *cast_simplify(graph *g, node *n) {
    if (n->in[0]->op == &op_full && n->dtype != BK_INT64) return g_full(g, n->dtype, n->ndim, n->shape, n->in[0]->x);
    return NULL;
}
JVP(cast, g_cast(g, t, n->dtype))
static node *cast_transpose(graph *g, node *n, int k, node *ct) {
    return g_cast(g, ct, n->in[k]->dtype);
}
node *g_cast(graph *g, node *a, bk_dtype dtype) {
    if (!a || a->dtype == dtype) return a;
    int64_t to = dtype;
    return graph_op(g, &op_cast, 1, &a, 1, &to, 0);
}
const op_row op_cast = {
    .name = "cast",
    .arity = 1,
    .kind = OP_KERNEL,
    .doc = "a in another dtype",
    .shape = cast_shape,
    .run = cast_run,
    .simplify = cast_simplify,
    .jvp = cast_jvp,
    .transpose = cast_transpose,
    .vmap = op_vmap_elementwise,
};

OP_UNARY(stop_gradient)
const op_row op_stop_gradient = {
    ELEMENTWISE(stop_gradient, 1, VEC_COPY),
    PUBLIC(stop_gradient),
    .doc = "a, with no derivative",
    .help = "bk.stop_gradient(t), t:stop_gradient() -> tensor\nt itself, through which no derivative flows.",
    .jvp = op_zero_jvp,
    .transpose = op_no_transpose,
};
