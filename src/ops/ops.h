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

/* elementwise.c: binary ones broadcast (NumPy's rules) and promote int64 -> float32 -> float64 */
node *g_add(graph *g, node *a, node *b);
node *g_sub(graph *g, node *a, node *b);
node *g_mul(graph *g, node *a, node *b);
node *g_div(graph *g, node *a, node *b);
node *g_pow(graph *g, node *a, node *b);
node *g_max(graph *g, node *a, node *b);
node *g_min(graph *g, node *a, node *b);
node *g_gt(graph *g, node *a, node *b);
node *g_ge(graph *g, node *a, node *b);
node *g_eq(graph *g, node *a, node *b);
node *g_where(graph *g, node *cond, node *a, node *b);
node *g_scale(graph *g, double x, node *a);  /* x a */
node *g_offset(graph *g, double x, node *a); /* x + a */
node *g_powx(graph *g, node *a, double x);   /* a^x */
node *g_neg(graph *g, node *a);
node *g_exp(graph *g, node *a);
node *g_expm1(graph *g, node *a);
node *g_log(graph *g, node *a);
node *g_log1p(graph *g, node *a);
node *g_sqrt(graph *g, node *a);
node *g_recip(graph *g, node *a);
node *g_sin(graph *g, node *a);
node *g_cos(graph *g, node *a);
node *g_tanh(graph *g, node *a);
node *g_sigmoid(graph *g, node *a);
node *g_softplus(graph *g, node *a);
node *g_erf(graph *g, node *a);
node *g_gelu(graph *g, node *a); /* a Phi(a), exact */
node *g_relu(graph *g, node *a);
node *g_step(graph *g, node *a); /* a > 0 */
node *g_abs(graph *g, node *a);
node *g_sign(graph *g, node *a);
node *g_floor(graph *g, node *a);
node *g_square(graph *g, node *a);
node *g_cast(graph *g, node *a, bk_dtype dtype);
node *g_stop(graph *g, node *a); /* a, with no derivative */

/* shape.c */
node *g_full(graph *g, bk_dtype dtype, int ndim, const int64_t *shape, double x);
node *g_zeros_like(graph *g, node *a);
node *g_reshape(graph *g, node *a, int ndim, const int64_t *shape); /* one size may be -1 */
node *g_permute(graph *g, node *a, const int64_t *axes);            /* out axis i is a's axes[i], from 0 */
node *g_transpose(graph *g, node *a);                               /* the last two axes */
node *g_broadcast(graph *g, node *a, int ndim, const int64_t *shape);
node *g_slice(graph *g, node *a, const int64_t *start, const int64_t *size);
node *g_narrow(graph *g, node *a, int axis, int64_t start, int64_t size);
node *g_pad(graph *g, node *a, const int64_t *before, const int64_t *after); /* with zeros */
node *g_concat(graph *g, int axis, int n, node *const *parts);
node *g_stack(graph *g, int n, node *const *parts); /* along a new first axis */
node *g_flip(graph *g, node *a, int axis);
/* a + b as one concatenation, where both lay disjoint or equally cut parts into a vector; else NULL. */
node *g_join_parts(graph *g, node *a, node *b);

/* reduce.c: axes is a bit mask; keep keeps the reduced axes with size 1 */
node *g_sum(graph *g, node *a, unsigned axes, bool keep);
node *g_sum_all(graph *g, node *a);
node *g_mean_all(graph *g, node *a);
node *g_reduce_max(graph *g, node *a, int axis); /* the axis is dropped; the derivative goes to the first maximum */
node *g_argmax(graph *g, node *a, int axis);     /* int64, first maximum */
node *g_cumsum(graph *g, node *a, int axis);
node *g_softmax(graph *g, node *a);   /* along the last axis */
node *g_logsumexp(graph *g, node *a); /* along the last axis, dropped */

/* index.c: index is int64 */
node *g_gather(graph *g, node *a, node *index);             /* rows: a (n, rest...), index (I...) -> (I..., rest...) */
node *g_scatter(graph *g, node *a, node *index, int64_t n); /* its adjoint: sums rows into (n, rest...) */
node *g_take(graph *g, node *a, node *index); /* a (rows..., n), index (rows...) -> (rows...): a[r, index[r]] */
node *g_put(graph *g, node *a, node *index, int64_t n); /* its adjoint */

/* matmul.c */
node *g_matmul(graph *g, node *a,
               node *b); /* (..., m, k) (..., k, n); leading axes broadcast; 1-d operands as in NumPy */
node *g_matmul_t(graph *g, node *a, node *b, bool ta, bool tb);
node *g_dot(graph *g, node *a, node *b); /* sum of products of all elements, 0-d; same shapes */

/* conv.c */
node *g_conv2d(graph *g, node *x, node *w, int64_t stride, int64_t pad);
node *g_avgpool2d(graph *g, node *x, int64_t kernel, int64_t stride, int64_t pad);
node *g_maxpool2d(graph *g, node *x, int64_t kernel, int64_t stride, int64_t pad);

#endif
