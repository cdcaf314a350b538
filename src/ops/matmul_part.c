/* matmul_part.c - products that read their operands and write their results where these lie in larger tensors: with a
 * factor, without what a triangle makes 0, one added to another. Only the lowering makes them (compile/products.c). */
#include "ops.h"

#include <string.h>

/* ints: how many products, then each as a matmul_part, then the result's shape; in: their operands in order. */
enum { WORDS = sizeof(matmul_part) / sizeof(int64_t) };

static int part_count(const node *n) {
    return (int)n->ints[0];
}

matmul_part matmul_part_at(const node *n, int i) {
    matmul_part p;
    memcpy(&p, n->ints + 1 + i * WORDS, sizeof p);
    return p;
}

static bool matmul_part_shape(graph *g, node *n) {
    const int before = 1 + part_count(n) * WORDS;
    (void)g;
    n->ndim = n->n_ints - before;
    memcpy(n->shape, n->ints + before, sizeof *n->shape * (size_t)n->ndim);
    return true;
}

static gemm_product product_of(const matmul_part *p, size_t size, void *out, const void *a, const void *b) {
    gemm_product x = { .m = p->m, .n = p->n, .triangle = (gemm_triangle)p->triangle, .beta = p->adds ? 1 : 0,
                       .ldc = p->c.row };
    x.term = (gemm_term){ p->ta, p->tb, p->k, p->factor, a, p->a.row, b, p->b.row };
    x.term.a = (const char *)a + (size_t)p->a.first * size;
    x.term.b = (const char *)b + (size_t)p->b.first * size;
    x.out = (char *)out + (size_t)p->c.first * size;
    memcpy(x.step_a, p->a.step, sizeof x.step_a);
    memcpy(x.step_b, p->b.step, sizeof x.step_b);
    memcpy(x.step_c, p->c.step, sizeof x.step_c);
    return x;
}

/* Whether it adds, matrix by matrix, to what one of those products writes. */
static bool adds_to(const gemm_product *x, const gemm_product *products, int count) {
    for (int i = 0; i < count; i++) {
        const gemm_product *y = &products[i];
        if (x->out == y->out && x->m == y->m && x->n == y->n && x->ldc == y->ldc &&
            !memcmp(x->step_c, y->step_c, sizeof x->step_c))
            return true;
    }
    return false;
}

/* Products of batches of the same sizes go hand in hand: what several of them read is then near. One that adds across
 * their matrices waits for them all. */
static bk_status matmul_part_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    gemm_product products[MATMUL_PARTS];
    const int count = part_count(n);
    bk_status s = BK_OK;
    (void)scratch;
    for (int i = 0, end; i < count && !s; i = end) {
        const matmul_part first = matmul_part_at(n, i);
        for (end = i; end < count; end++) {
            const matmul_part p = matmul_part_at(n, end);
            gemm_product *x = &products[end - i];
            *x = product_of(&p, dtype_size(n->dtype), out, in[2 * end], in[2 * end + 1]);
            if (memcmp(p.size, first.size, sizeof p.size) != 0) break;
            if (end > i && p.adds && !adds_to(x, products, end - i)) break;
        }
        s = gemm_batch(c, n->dtype, first.size, end - i, products);
    }
    return s;
}

static bool matmul_part_run_rows(const node *n, void *out, const void *const *in, int64_t row, int64_t rows) {
    const matmul_part p = matmul_part_at(n, 0);
    const bool one = part_count(n) == 1 && shape_count(GEMM_AXES, p.size) == 1;
    if (!one || p.triangle != GEMM_WHOLE || p.m != n->shape[0] || p.m * p.n != n->count) return false;
    const gemm_product x = product_of(&p, dtype_size(n->dtype), out, in[0], in[1]);
    return gemm_sum_rows(n->dtype, p.m, p.n, 1, &x.term, row, rows, out);
}

/* Elements on and below the diagonal of a matrix. */
static double below(int64_t rows, int64_t columns) {
    const double square = (double)(rows < columns ? rows : columns);
    return square * (square + 1) / 2 + (rows > columns ? (double)(rows - columns) * (double)columns : 0);
}

static double matmul_part_cost(const node *n) {
    double sum = 0;
    for (int i = 0; i < part_count(n); i++) {
        const matmul_part p = matmul_part_at(n, i);
        double pairs = (double)p.m * (double)p.n * (double)p.k;
        if (p.triangle == GEMM_LOWER_C) pairs = below(p.m, p.n) * (double)p.k;
        if (p.triangle == GEMM_LOWER_A) pairs = (p.ta ? below(p.k, p.m) : below(p.m, p.k)) * (double)p.n;
        sum += 2.0 * (double)shape_count(GEMM_AXES, p.size) * pairs;
    }
    return sum;
}

matmul_part matmul_part_of(const node *n) {
    const node *a = n->in[0];
    const int d = n->ndim;
    const bool ta = n->ints[0], tb = n->ints[1];
    matmul_part p = { .ta = ta, .tb = tb, .triangle = GEMM_WHOLE, .m = n->shape[d - 2], .n = n->shape[d - 1],
                      .k = a->shape[ta ? d - 2 : d - 1], .factor = 1 };
    for (int k = 0; k < GEMM_AXES - 1; k++) p.size[k] = 1;
    p.size[GEMM_AXES - 1] = shape_count(d - 2, n->shape);
    p.a.row = ta ? p.m : p.k;
    p.b.row = tb ? p.k : p.n;
    p.c.row = p.n;
    p.a.step[GEMM_AXES - 1] = p.m * p.k;
    p.b.step[GEMM_AXES - 1] = p.k * p.n;
    p.c.step[GEMM_AXES - 1] = p.m * p.n;
    return p;
}

node *g_matmul_part(graph *g, int ndim, const int64_t *shape, int count, const matmul_part *parts, node *const *in) {
    const int n_ints = 1 + count * WORDS + ndim;
    int64_t *ints = graph_alloc(g, sizeof *ints * (size_t)n_ints);
    if (!ints) return NULL;
    ints[0] = count;
    memcpy(ints + 1, parts, sizeof *parts * (size_t)count);
    memcpy(ints + 1 + count * WORDS, shape, sizeof *shape * (size_t)ndim);
    return graph_op(g, &op_matmul_part, 2 * count, in, n_ints, ints, 0);
}

const op_row op_matmul_part = {
    .name = "matmul_part",
    .arity = -1,
    .kind = OP_KERNEL,
    .formula = "a view C = x op(A) op(B), or C + that, of views A, B; of A or C perhaps the lower triangle alone",
    .shape = matmul_part_shape,
    .run = matmul_part_run,
    .run_rows = matmul_part_run_rows,
    .cost = matmul_part_cost,
    .shared = true,
    .jvp = op_no_jvp,
    .transpose = op_no_transpose,
    .vmap = op_vmap_none,
    .serves = "matmul",
    /* -A Bᵀ/2, 2 x 3 x 4 and 2 x 5 x 4, in the order (3, 2, 5) */
    .sample = &(op_sample){ 2, { { 3, { 2, 3, 4 }, 0 }, { 3, { 2, 5, 4 }, 0 } },
                            1 + WORDS + 3,
                            { 1, 0, 1, GEMM_WHOLE, 0, 3, 5, 4, 1, 1, 2, (int64_t)0xBFE0000000000000,
                              0, 4, 0, 0, 12, 0, 4, 0, 0, 20, 0, 10, 0, 0, 5, 3, 2, 5 },
                            .no_vmap = true },
};
