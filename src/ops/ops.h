/* ops.h - the operations by name: what builds them (g_NAME), and their rows (op_NAME). Both are found where they are
 * defined, at the start of a line in src/ops: gen/op_rows.h declares them all. Builders take and return nodes of g,
 * pass NULL on (a failed graph), check shapes, and name themselves in messages. Of two operands shapes broadcast
 * (NumPy's rules) and dtypes promote int64 -> float32 -> float64. */
#ifndef OPS_OPS_H
#define OPS_OPS_H

#include "../graph/graph.h"
#include "../tensor/gemm.h"

/* Which draws of a seed: sizes, a place that tells them from others of the same seed, and how many are left out before
 * the first. */
typedef struct op_draw_at {
    bk_dtype dtype;
    int ndim;
    const int64_t *shape;
    int64_t place, before;
} op_draw_at;

/* One of the products of op_matmul_part, at most MATMUL_PARTS: C = factor op(A) op(B), or C + that, for every matrix
 * of a batch along some axes. A, B and C lie in the operands' and the result's memory so: the first's first element,
 * from row to row of a matrix as it is stored, and along each axis. */
enum { MATMUL_PARTS = 16 };
typedef struct matmul_lies {
    int64_t first, row, step[GEMM_AXES];
} matmul_lies;
typedef struct matmul_part {
    int64_t ta, tb, triangle, adds, m, n, k, size[GEMM_AXES];
    double factor;
    matmul_lies a, b, c;
} matmul_part;

#include "gen/op_rows.h"

extern const op_row *const op_rows[]; /* NULL-terminated */
extern const char *const op_row_names[]; /* NAME of each op_NAME */

/* What a row lacks, or says that cannot be, as its field and why; NULL: nothing. */
const char *op_row_fault(const op_row *row, const char *name);

/* A graph of these operations; NULL when memory is short. */
graph *ops_graph(ctx *c);

/* Sums over ranks depend on one another in the order in which they were built, which is the same on every rank: what a
 * rank's own numbers then make of the graph (products in another order, parts that are shared) leaves it as it is.
 * Rewrites outs; false after failing g. */
bool op_rank_order(graph *g, int n_out, node **outs);

/* ---- products (matmul_part.c) ---- */
matmul_part matmul_part_of(const node *n); /* a matmul as a part that is all */
matmul_part matmul_part_at(const node *n, int i); /* of an op_matmul_part */

/* ---- what rows of elementwise operations share (elementwise.c) ---- */
node *op_vmap_elementwise(graph *g, node *n, node *const *in, const bool *batched, int64_t size);
node *op_fold(graph *g, node *n);                    /* simplify: all operands constant, so the result is */
node *op_operand(graph *g, const op_row *op, node *a); /* a in a dtype that op is defined for */
node *op_unary(graph *g, const op_row *op, node *a, double x);
node *op_binary(graph *g, const op_row *op, node *a, node *b);
/* The number x as a 0-d operand beside a: of a's dtype, unless a is int64 and x is not whole. */
node *op_number_beside(graph *g, node *a, double x);
/* Fails where y is no class id below `classes`, or (0) not from 0 to 1: as g_labels does, of number i from 0. */
bk_status op_check_label(const char *who, int64_t classes, int64_t i, double y, err *e);
/* The node of a public row from the values of its arguments; numbers among operands are nodes already. */
node *op_build(graph *g, const op_row *op, const op_value *v, node **second);

extern const op_arg op_args_unary[];  /* (t) */
extern const op_arg op_args_binary[]; /* (t, u), either a number */
extern const op_arg op_args_along[];  /* (t [, dim]) */

/* clang-format off */

/* A function of one variable with a kernel of its name in tensor/kernels: defines op_NAME and g_NAME. TANGENT is
 * t f'(a) of a, t and y = f(a); the row's other fields follow (formula, doc, ...). */
#define OP_UNARY(NAME, TANGENT, ...)                                                                                   \
    static node *NAME##_jvp(graph *g, node *n, int k, node *t) {                                                       \
        node *a = n->in[0], *y = n;                                                                                    \
        (void)g, (void)a, (void)y, (void)k, (void)t;                                                                   \
        return TANGENT;                                                                                                \
    }                                                                                                                  \
    node *g_##NAME(graph *g, node *a) {                                                                                \
        return op_unary(g, &op_##NAME, a, 0);                                                                          \
    }                                                                                                                  \
    const op_row op_##NAME = { .name = #NAME, .arity = 1, .kind = OP_ELEMENTWISE, .vec = VEC_OF_##NAME,                \
                               .args = op_args_unary, .simplify = op_fold, .jvp = NAME##_jvp,                          \
                               .transpose = op_no_transpose, .vmap = op_vmap_elementwise, __VA_ARGS__ };

/* A function of one variable made of other operations: defines op_NAME and g_NAME. VALUE is f(a). Elementwise
 * operations on one another run as one pass: a kernel is rarely worth its lines. */
#define OP_COMPOSED(NAME, VALUE, ...)                                                                                  \
    static node *NAME##_build(graph *g, const op_value *v, node **second) {                                            \
        (void)second;                                                                                                  \
        return g_##NAME(g, v[0].t);                                                                                    \
    }                                                                                                                  \
    node *g_##NAME(graph *g, node *a) {                                                                                \
        a = op_operand(g, &op_##NAME, a);                                                                              \
        return a ? VALUE : NULL;                                                                                       \
    }                                                                                                                  \
    const op_row op_##NAME = { .name = #NAME, .arity = 1, .kind = OP_COMPOSITE, .args = op_args_unary,                 \
                               .build = NAME##_build, __VA_ARGS__ };

/* The build of a public row: VALUE of g and v. */
#define OP_BUILD(NAME, VALUE)                                                                                          \
    static node *NAME##_build(graph *g, const op_value *v, node **second) {                                            \
        (void)second;                                                                                                  \
        return VALUE;                                                                                                  \
    }

/* clang-format on */

#endif
