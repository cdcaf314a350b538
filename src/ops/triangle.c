/* triangle.c - what lies on and below the diagonal of matrices, the rest 0. Beside a product it is done by the product,
 * which leaves out what is 0: compile/lower.c. */
#include "ops.h"

#include <string.h>

typedef struct job {
    const char *in;
    char *out;
    int64_t rows, size; /* of a matrix; of a row */
    size_t element;
} job;

static void tril_rows(void *arg, int share, int64_t first, int64_t end) {
    (void)share;
    const job *j = arg;
    for (int64_t i = first; i < end; i++) {
        const int64_t row = i % j->rows, kept = row < j->size ? row + 1 : j->size;
        const size_t at = (size_t)(i * j->size) * j->element, some = (size_t)kept * j->element;
        memcpy(j->out + at, j->in + at, some);
        memset(j->out + at + some, 0, (size_t)j->size * j->element - some);
    }
}

static bk_status tril_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    (void)scratch;
    job j = { in[0], out, n->shape[n->ndim - 2], n->shape[n->ndim - 1], dtype_size(n->dtype) };
    return ctx_ranges(c, shape_count(n->ndim - 1, n->shape), op_shares(n->count), (double)n->count, tril_rows, &j);
}

static bool tril_shape(graph *g, node *n) {
    if (n->ndim >= 2) return true;
    graph_fail(g, BK_EINVAL, "bk.tril: expected at least 2 dimensions, got %d", n->ndim);
    return false;
}

/* A product, or a sum of some. */
static bool is_products(const node *n, int depth) {
    if (n->op == &op_scale) return is_products(n->in[0], depth);
    if (n->op == &op_add) return depth && is_products(n->in[0], depth - 1) && is_products(n->in[1], depth - 1);
    return n->op == &op_matmul;
}

/* Scales go outward; it goes into sums of products, each of which then does it by itself. */
static node *tril_simplify(graph *g, node *n) {
    enum { DEPTH = 6 };
    node *a = n->in[0];
    if (a->op == &op_tril || (a->op == &op_full && a->x == 0)) return a;
    if (a->op == &op_scale) return g_scale(g, a->x, g_tril(g, a->in[0]));
    return a->op == &op_add && is_products(a, DEPTH) ? g_add(g, g_tril(g, a->in[0]), g_tril(g, a->in[1])) : NULL;
}

static node *tril_jvp(graph *g, node *n, int k, node *t) {
    (void)n, (void)k;
    return g_tril(g, t);
}
static node *tril_transpose(graph *g, node *n, int k, node *ct) {
    (void)n, (void)k;
    return g_tril(g, ct);
}

node *g_tril(graph *g, node *a) {
    return a ? graph_op(g, &op_tril, 1, &a, 0, NULL, 0) : NULL;
}
const op_row op_tril = {
    .name = "tril",
    .arity = 1,
    .kind = OP_KERNEL,
    .formula = "t[i, j] where j <= i, else 0",
    .serves = "softmax",
    .shape = tril_shape,
    .run = tril_run,
    .shared = true,
    .simplify = tril_simplify,
    .jvp = tril_jvp,
    .transpose = tril_transpose,
    .vmap = op_vmap_elementwise,
    .sample = &(op_sample){ 1, { { 3, { SAMPLE_SIZE, 4, 3 }, 0 } } },
};
