/* matmul.c - matrix products over leading axes, either operand transposed; and sums of products, which only the
 * simplifier and the lowering make. */
#include "ops.h"
#include "../tensor/gemm.h"

#include <string.h>

static bool swaps_last_two(const node *n) {
    if (n->op != &op_permute || n->ndim < 2) return false;
    for (int i = 0; i < n->ndim - 2; i++)
        if (n->ints[i] != i) return false;
    return n->ints[n->ndim - 2] == n->ndim - 1;
}

static bool matmul_shape(graph *g, node *n) {
    const node *a = n->in[0], *b = n->in[1];
    bool ta = n->ints[0], tb = n->ints[1];
    shape_buf sa, sb;
    if (a->ndim < 2 || a->ndim != b->ndim || a->dtype != b->dtype || a->dtype == BK_INT64)
        return graph_fail(g, BK_EINVAL, "bk.matmul: expected two float matrices of one dtype, got %s %s and %s %s",
                          dtype_name(a->dtype), shape_text(a->ndim, a->shape, &sa), dtype_name(b->dtype),
                          shape_text(b->ndim, b->shape, &sb));
    int d = a->ndim;
    int64_t inner_a = a->shape[ta ? d - 2 : d - 1], inner_b = b->shape[tb ? d - 1 : d - 2];
    if (inner_a != inner_b || !shape_equal(d - 2, a->shape, d - 2, b->shape))
        return graph_fail(g, BK_EINVAL, "bk.matmul: inner sizes differ: %s%s x %s%s", shape_text(d, a->shape, &sa),
                          ta ? "ᵀ" : "", shape_text(d, b->shape, &sb), tb ? "ᵀ" : "");
    n->ndim = d;
    n->shape[d - 2] = a->shape[ta ? d - 1 : d - 2];
    n->shape[d - 1] = b->shape[tb ? d - 2 : d - 1];
    return true;
}

typedef struct extents {
    int64_t batch, m, n, k;
} extents;

static extents matmul_extents(const node *n, const node *a, bool ta) {
    int d = n->ndim;
    return (extents){ .batch = shape_count(d - 2, n->shape),
                      .m = n->shape[d - 2],
                      .n = n->shape[d - 1],
                      .k = a->shape[ta ? d - 2 : d - 1] };
}

static double matmul_cost(const node *n) {
    extents x = matmul_extents(n, n->in[0], n->ints[0]);
    return 2.0 * (double)x.batch * (double)x.m * (double)x.n * (double)x.k;
}

static gemm_term term_of(const extents *x, bool ta, bool tb, double alpha, const void *a, const void *b) {
    return (gemm_term){ ta, tb, x->k, alpha, a, ta ? x->m : x->k, b, tb ? x->k : x->n };
}

static bk_status matmul_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    (void)scratch;
    const bool ta = n->ints[0], tb = n->ints[1];
    const extents x = matmul_extents(n, n->in[0], ta);
    const gemm_product p = { .m = x.m, .n = x.n, .term = term_of(&x, ta, tb, 1, in[0], in[1]), .out = out, .ldc = x.n,
                             .step_a = { x.m * x.k }, .step_b = { x.k * x.n }, .step_c = { x.m * x.n } };
    return gemm_batch(c, n->dtype, (int64_t[GEMM_AXES]){ x.batch, 1, 1 }, 1, &p);
}

static bool matmul_run_rows(const node *n, void *out, const void *const *in, int64_t row, int64_t rows) {
    const bool ta = n->ints[0], tb = n->ints[1];
    const extents x = matmul_extents(n, n->in[0], ta);
    const gemm_term t = term_of(&x, ta, tb, 1, in[0], in[1]);
    return x.batch == 1 && gemm_sum_rows(n->dtype, x.m, x.n, 1, &t, row, rows, out);
}

static bool matmul_row_by_row(const node *n, int k) {
    return k == 0 && !n->ints[0];
}

/* Transposes go into the flags, scales outward (products that differ by a factor are then shared). */
static node *matmul_simplify(graph *g, node *n) {
    node *a = n->in[0], *b = n->in[1];
    if ((a->op == &op_full && a->x == 0) || (b->op == &op_full && b->x == 0))
        return g_full(g, n->dtype, n->ndim, n->shape, 0);
    if (swaps_last_two(a)) return g_matmul_t(g, a->in[0], b, !n->ints[0], n->ints[1]);
    if (swaps_last_two(b)) return g_matmul_t(g, a, b->in[0], n->ints[0], !n->ints[1]);
    if (a->op == &op_scale) return g_scale(g, a->x, g_matmul_t(g, a->in[0], b, n->ints[0], n->ints[1]));
    if (b->op == &op_scale) return g_scale(g, b->x, g_matmul_t(g, a, b->in[0], n->ints[0], n->ints[1]));
    return NULL;
}

static node *matmul_jvp(graph *g, node *n, int k, node *t) {
    return k == 0 ? g_matmul_t(g, t, n->in[1], n->ints[0], n->ints[1])
                  : g_matmul_t(g, n->in[0], t, n->ints[0], n->ints[1]);
}

/* C = op(A) op(B): dA = dC op(B)ᵀ, transposed when A is; dB = op(A)ᵀ dC likewise. */
static node *matmul_transpose(graph *g, node *n, int k, node *ct) {
    bool ta = n->ints[0], tb = n->ints[1];
    if (k == 0) return ta ? g_matmul_t(g, n->in[1], ct, tb, true) : g_matmul_t(g, ct, n->in[1], false, !tb);
    return tb ? g_matmul_t(g, ct, n->in[0], true, ta) : g_matmul_t(g, n->in[0], ct, !ta, false);
}

static node *with_axis(graph *g, node *a, int64_t size) {
    int64_t shape[BK_MAX_DIMS] = { size };
    if (a->ndim + 1 > BK_MAX_DIMS) return graph_fail(g, BK_EINVAL, "bk.vmap: matmul: too many dimensions");
    memcpy(shape + 1, a->shape, sizeof *shape * (size_t)a->ndim);
    return g_broadcast(g, a, a->ndim + 1, shape);
}

static node *matmul_vmap(graph *g, node *n, node *const *in, const bool *batched, int64_t size) {
    bool ta = n->ints[0], tb = n->ints[1];
    if (n->ndim == 2 && batched[0] && !batched[1] && !ta) { /* the batch joins the rows: one large product */
        int64_t rows[2] = { size * n->shape[0], in[0]->shape[2] }, back[3] = { size, n->shape[0], n->shape[1] };
        return g_reshape(g, g_matmul_t(g, g_reshape(g, in[0], 2, rows), in[1], false, tb), 3, back);
    }
    node *a = batched[0] ? in[0] : with_axis(g, in[0], size);
    node *b = batched[1] ? in[1] : with_axis(g, in[1], size);
    return g_matmul_t(g, a, b, ta, tb);
}

OP_BUILD(matmul, g_matmul(g, v[0].t, v[1].t))
const op_row op_matmul = {
    .name = "matmul",
    .arity = 2,
    .kind = OP_KERNEL,
    .formula = "C = op(A) op(B) over leading axes, op = transpose by flag",
    .shape = matmul_shape,
    .run = matmul_run,
    .run_rows = matmul_run_rows,
    .row_by_row = matmul_row_by_row,
    .cost = matmul_cost,
    .shared = true,
    .simplify = matmul_simplify,
    .jvp = matmul_jvp,
    .transpose = matmul_transpose,
    .vmap = matmul_vmap,
    .args = (const op_arg[]){ { ARG_TENSOR, "t" }, { ARG_TENSOR, "u" }, { ARG_END } },
    .build = matmul_build,
    .sample = &(op_sample){ 2, { { 3, { 2, SAMPLE_SIZE, 4 }, 0 }, { 3, { 2, 4, 5 }, 0 } }, 2, { 0, 0 } },
    .doc = "Matrix product (..., m, k) (..., k, n) -> (..., m, n); leading dimensions broadcast; 1-d operands "
           "as in NumPy. int64 is taken as float64, so whole numbers are exact to 2^53; t:dot(u) and (t * u):sum() of "
           "int64 are int64.",
};

/* ---- sums of products ---- */

/* in: A1, B1, A2, B2, ...; ints: ta, tb, bits of alpha for each: C = sum alpha_i op(A_i) op(B_i) */
static double alpha_of(const node *n, int i) {
    double x;
    memcpy(&x, &n->ints[3 * i + 2], sizeof x);
    return x;
}

static bool matmul_sum_shape(graph *g, node *n) {
    (void)g;
    int d = n->in[0]->ndim;
    n->ndim = d;
    n->shape[d - 2] = n->in[0]->shape[n->ints[0] ? d - 1 : d - 2];
    n->shape[d - 1] = n->in[1]->shape[n->ints[1] ? d - 2 : d - 1];
    return true;
}

static bk_status matmul_sum_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    (void)scratch;
    gemm_term terms[GEMM_TERMS];
    bk_status s = BK_OK;
    for (int i = 0, count = 0; 2 * i < n->n_in && !s; i++) {
        const bool ta = n->ints[3 * i], tb = n->ints[3 * i + 1];
        const extents x = matmul_extents(n, n->in[2 * i], ta);
        terms[count++] = term_of(&x, ta, tb, alpha_of(n, i), in[2 * i], in[2 * i + 1]);
        if (count < GEMM_TERMS && 2 * (i + 1) < n->n_in) continue;
        s = gemm_sum(c, n->dtype, x.m, x.n, count, terms, i < GEMM_TERMS ? 0 : 1, out, x.n);
        count = 0;
    }
    return s;
}

static bool matmul_sum_run_rows(const node *n, void *out, const void *const *in, int64_t row, int64_t rows) {
    gemm_term terms[GEMM_TERMS];
    const int count = n->n_in / 2;
    if (count > GEMM_TERMS || n->ndim != 2) return false;
    for (int i = 0; i < count; i++) {
        const bool ta = n->ints[3 * i], tb = n->ints[3 * i + 1];
        const extents x = matmul_extents(n, n->in[2 * i], ta);
        terms[i] = term_of(&x, ta, tb, alpha_of(n, i), in[2 * i], in[2 * i + 1]);
    }
    return gemm_sum_rows(n->dtype, n->shape[0], n->shape[1], count, terms, row, rows, out);
}

static bool matmul_sum_row_by_row(const node *n, int k) {
    return k % 2 == 0 && !n->ints[3 * (k / 2)];
}

static double matmul_sum_cost(const node *n) {
    double sum = 0;
    for (int i = 0; 2 * i < n->n_in; i++) {
        extents x = matmul_extents(n, n->in[2 * i], n->ints[3 * i]);
        sum += 2.0 * (double)x.batch * (double)x.m * (double)x.n * (double)x.k;
    }
    return sum;
}

const op_row op_matmul_sum = {
    .name = "matmul_sum",
    .arity = -1,
    .kind = OP_KERNEL,
    .formula = "C = sum_i alpha_i op(A_i) op(B_i)",
    .shape = matmul_sum_shape,
    .run = matmul_sum_run,
    .run_rows = matmul_sum_run_rows,
    .row_by_row = matmul_sum_row_by_row,
    .cost = matmul_sum_cost,
    .shared = true,
    .jvp = op_no_jvp,
    .transpose = op_no_transpose,
    .vmap = op_vmap_none,
    .serves = "matmul",
    /* 2 AB - BᵀAᵀ/2 */
    .sample =
        &(op_sample){
            4,
            { { 2, { SAMPLE_SIZE, 4 }, 0 }, { 2, { 4, 5 }, 0 }, { 2, { 2, SAMPLE_SIZE }, 0 }, { 2, { 5, 2 }, 0 } },
            6,
            { 0, 0, 0x4000000000000000, 1, 1, (int64_t)0xBFE0000000000000 },
            .no_vmap = true,
        },
};

/* ---- builders ---- */

node *g_matmul_t(graph *g, node *a, node *b, bool ta, bool tb) {
    node *in[2] = { a, b };
    int64_t ints[2] = { ta, tb };
    return a && b ? graph_op(g, &op_matmul, 2, in, 2, ints, 0) : NULL;
}

static node *promote(graph *g, node *a, const node *b) {
    bk_dtype to = a->dtype == BK_FLOAT64 || b->dtype == BK_FLOAT64   ? BK_FLOAT64
                  : a->dtype == BK_FLOAT32 || b->dtype == BK_FLOAT32 ? BK_FLOAT32
                                                                     : BK_FLOAT64;
    return g_cast(g, a, to);
}

/* (..., m, k) (..., k, n); leading axes broadcast; 1-d operands as in NumPy. */
node *g_matmul(graph *g, node *a, node *b) {
    if (!a || !b) return NULL;
    shape_buf sa, sb;
    if (a->ndim == 0 || b->ndim == 0)
        return graph_fail(g, BK_EINVAL, "bk.matmul: expected at least one dimension, got %s and %s",
                          shape_text(a->ndim, a->shape, &sa), shape_text(b->ndim, b->shape, &sb));
    const node *a0 = a, *b0 = b;
    node *pa = promote(g, a, b), *pb = promote(g, b, a);
    if (!pa || !pb) return NULL;
    bool vector_a = pa->ndim == 1, vector_b = pb->ndim == 1;
    if (vector_a) pa = g_reshape(g, pa, 2, (int64_t[]){ 1, pa->shape[0] });
    if (vector_b) pb = g_reshape(g, pb, 2, (int64_t[]){ pb->shape[0], 1 });
    if (!pa || !pb) return NULL;
    if (pa->shape[pa->ndim - 1] != pb->shape[pb->ndim - 2])
        return graph_fail(g, BK_EINVAL, "bk.matmul: inner sizes differ: %s x %s", shape_text(a0->ndim, a0->shape, &sa),
                          shape_text(b0->ndim, b0->shape, &sb));
    node *out;
    int64_t shape[BK_MAX_DIMS];
    if (pb->ndim == 2 && pa->ndim > 2) { /* leading axes of a join the rows */
        int64_t rows[2] = { shape_count(pa->ndim - 1, pa->shape), pa->shape[pa->ndim - 1] };
        memcpy(shape, pa->shape, sizeof *shape * (size_t)pa->ndim);
        shape[pa->ndim - 1] = pb->shape[1];
        out = g_reshape(g, g_matmul_t(g, g_reshape(g, pa, 2, rows), pb, false, false), pa->ndim, shape);
    } else {
        int nd = pa->ndim > pb->ndim ? pa->ndim : pb->ndim;
        int64_t full_a[BK_MAX_DIMS], full_b[BK_MAX_DIMS];
        for (int i = 0; i < nd - 2; i++) {
            int ia = i - (nd - pa->ndim), ib = i - (nd - pb->ndim);
            int64_t x = ia < 0 ? 1 : pa->shape[ia], y = ib < 0 ? 1 : pb->shape[ib];
            if (x != y && x != 1 && y != 1)
                return graph_fail(g, BK_EINVAL, "bk.matmul: leading sizes do not broadcast: %s x %s",
                                  shape_text(a0->ndim, a0->shape, &sa), shape_text(b0->ndim, b0->shape, &sb));
            full_a[i] = full_b[i] = x == 1 ? y : x;
        }
        for (int i = 0; i < 2; i++) {
            full_a[nd - 2 + i] = pa->shape[pa->ndim - 2 + i];
            full_b[nd - 2 + i] = pb->shape[pb->ndim - 2 + i];
        }
        out = g_matmul_t(g, g_broadcast(g, pa, nd, full_a), g_broadcast(g, pb, nd, full_b), false, false);
    }
    if (!out || (!vector_a && !vector_b)) return out;
    int n = 0;
    for (int i = 0; i < out->ndim; i++)
        if (!(vector_a && i == out->ndim - 2) && !(vector_b && i == out->ndim - 1)) shape[n++] = out->shape[i];
    return g_reshape(g, out, n, shape);
}

/* Sum of the products of all elements, 0-d; same shapes. */
node *g_dot(graph *g, node *a, node *b) {
    if (!a || !b) return NULL;
    shape_buf sa, sb;
    if (!shape_equal(a->ndim, a->shape, b->ndim, b->shape))
        return graph_fail(g, BK_EINVAL, "bk.dot: shapes differ: %s and %s", shape_text(a->ndim, a->shape, &sa),
                          shape_text(b->ndim, b->shape, &sb));
    return g_sum_all(g, g_mul(g, a, b));
}
OP_BUILD(dot, g_dot(g, v[0].t, v[1].t))
const op_row op_dot = {
    .name = "dot",
    .arity = 2,
    .kind = OP_COMPOSITE,
    .formula = "sum t u",
    .args = (const op_arg[]){ { ARG_TENSOR, "t" }, { ARG_TENSOR, "u" }, { ARG_END } },
    .build = dot_build,
    .sample = &(op_sample){ 2, { { 2, { SAMPLE_SIZE, 4 }, 0 }, { 2, { SAMPLE_SIZE, 4 }, 0 } } },
    .doc = "Sum of the products of all elements, 0-d; the shapes agree.",
};

static node *outer_build(graph *g, const op_value *v, node **second) {
    node *a = v[0].t, *b = v[1].t;
    shape_buf sa, sb;
    (void)second;
    if (!a || !b) return NULL;
    if (a->ndim != 1 || b->ndim != 1)
        return graph_fail(g, BK_EINVAL, "bk.outer: expected two 1-d tensors, got %s and %s",
                          shape_text(a->ndim, a->shape, &sa), shape_text(b->ndim, b->shape, &sb));
    int64_t column[2] = { a->shape[0], 1 };
    return g_mul(g, g_reshape(g, a, 2, column), b);
}
const op_row op_outer = {
    .name = "outer",
    .arity = 2,
    .kind = OP_COMPOSITE,
    .formula = "y[i, j] = t[i] u[j]",
    .args = (const op_arg[]){ { ARG_TENSOR, "t" }, { ARG_TENSOR, "u" }, { ARG_END } },
    .build = outer_build,
    .sample = &(op_sample){ 2, { { 1, { SAMPLE_SIZE }, 0 }, { 1, { 4 }, 0 } } },
    .doc = "(m), (n) -> (m, n): products of all pairs.",
};
