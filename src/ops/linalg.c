/* linalg.c - factorisations, linear systems and determinants of the last two axes: bk.linalg. What has several results
 * is one node that holds them one below the other, and its rule gives the tangent of all. The rules are written with
 * operations, so derivatives exist to any order where the factors are smooth; each doc says where they are not. */
#include "../tensor/lapack.h"
#include "ops.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- one node over many matrices ---- */

/* Of a solve, ints: what A is, whether it stands transposed, and whose it is, for messages. */
enum { KIND, TRANSPOSED, SOLVER };
enum { BY_SOLVE, BY_INV, BY_DET, BY_QR, BY_CHOLESKY };
static const char *const solvers[] = { "solve", "inv", "det: derivative", "qr: derivative", "cholesky: derivative" };

static int64_t rows(const node *a) {
    return a->shape[a->ndim - 2];
}
static int64_t columns(const node *a) {
    return a->shape[a->ndim - 1];
}

static node *fail_shape(graph *g, const op_row *op, const node *a, const char *expected) {
    shape_buf s;
    return graph_fail(g, BK_EINVAL, "bk.linalg.%s: t: expected %s, got %s %s", op->name, expected,
                      dtype_name(a->dtype), shape_text(a->ndim, a->shape, &s));
}

/* The operand of a public operation: float, matrices. */
static node *matrices(graph *g, const op_row *op, node *a, bool square) {
    if (!a) return NULL;
    if (a->ndim < 2 || (square && rows(a) != columns(a)))
        return fail_shape(g, op, a, square ? "square matrices (..., n, n)" : "matrices (..., m, n)");
    if (rows(a) > LAPACK_MOST || columns(a) > LAPACK_MOST)
        return graph_fail(g, BK_EUNSUPPORTED, "bk.linalg.%s: t: sides up to %d are possible, got (%lld,%lld)", op->name,
                          LAPACK_MOST, (long long)rows(a), (long long)columns(a));
    return a->dtype == BK_INT64 ? g_cast(g, a, BK_FLOAT64) : a;
}

static bool all_finite(bk_dtype dtype, int64_t n, const void *a, int64_t *where) {
    if (n >= 64 && isfinite(vec_dot(dtype, n, a, a))) return true; /* soon, for nearly all */
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(dtype_get(dtype, a, i))) {
            *where = i;
            return false;
        }
    return true;
}

static bk_status one(const node *n, void *out, const void *a, const void *b, void *room, err *e) {
    const node *t = n->in[0];
    const int64_t m = rows(t), k = columns(t);
    int64_t at;
    if (!all_finite(t->dtype, m * k, a, &at))
        return err_set(e, BK_ERUNTIME, "t: expected finite numbers, got one that is not in row %lld, column %lld",
                       (long long)(at / k + 1), (long long)(at % k + 1));
    if (n->op == &op_eigh) return lapack_eigh(n->dtype, k, a, out, room, e);
    if (n->op == &op_svd) return lapack_svd(n->dtype, m, k, a, out, room, e);
    if (n->op == &op_qr) return lapack_qr(n->dtype, m, k, a, out, room, e);
    if (n->op == &op_cholesky) return lapack_cholesky(n->dtype, k, a, out, e);
    if (n->op == &op_det) return lapack_det(n->dtype, k, a, out, room, e);
    return lapack_solve(n->dtype, (lapack_kind)n->ints[KIND], n->ints[TRANSPOSED], k, columns(n), a, b, out, room, e);
}

static bk_status each(ctx *c, const node *n, void *out, const void *const *in, void *scratch, err *e) {
    const node *a = n->in[0];
    const int64_t batch = shape_count(a->ndim - 2, a->shape);
    const size_t size = dtype_size(n->dtype), step = size * (size_t)(rows(a) * columns(a));
    const size_t out_step = batch ? size * (size_t)(n->count / batch) : 0;
    for (int64_t i = 0; i < batch; i++) {
        if (ctx_poll(c, NULL)) return BK_EINTERRUPTED;
        const char *b = n->n_in > 1 ? (const char *)in[1] + (size_t)i * out_step : NULL; /* as large as what it gives */
        bk_status s = one(n, (char *)out + (size_t)i * out_step, (const char *)in[0] + (size_t)i * step, b, scratch, e);
        if (!s) continue;
        char prefix[120], which[60] = "";
        if (batch > 1) snprintf(which, sizeof which, ": matrix %lld of %lld", (long long)i + 1, (long long)batch);
        const char *who = n->op == &op_solve ? solvers[n->ints[SOLVER]] : n->op->name;
        snprintf(prefix, sizeof prefix, "bk.linalg.%s%s", who, which);
        return e ? err_prefix(e, prefix) : s;
    }
    return BK_OK;
}
static bk_status run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    return each(c, n, out, in, scratch, NULL);
}

static size_t scratch(const node *n, int threads) {
    (void)threads;
    const node *a = n->in[0];
    const int64_t m = rows(a), k = columns(a);
    if (n->op == &op_eigh) return lapack_eigh_room(n->dtype, k);
    if (n->op == &op_svd) return lapack_svd_room(n->dtype, m, k);
    if (n->op == &op_qr) return lapack_qr_room(n->dtype, m, k);
    if (n->op == &op_det) return lapack_det_room(n->dtype, k);
    return n->op == &op_solve ? lapack_solve_room(n->dtype, k, columns(n)) : 0;
}
static double cost(const node *n) { /* to within a small factor */
    const node *a = n->in[0];
    const double m = (double)rows(a), k = (double)columns(a), batch = (double)shape_count(a->ndim - 2, a->shape);
    const double each_one = n->op == &op_eigh ? 9 * k * k * k
                            : n->op == &op_svd ? 20 * m * k * (m < k ? m : k)
                            : n->op == &op_qr ? 4 * m * k * k
                            : n->op == &op_solve ? 2 * k * k * (k / 3 + (double)columns(n)) : 2 * k * k * k / 3;
    return batch * each_one;
}

/* Leading axes only make more matrices. */
static node *lead_vmap(graph *g, node *n, node *const *in, const bool *batched, int64_t size) {
    (void)batched, (void)size;
    return graph_again(g, n, in);
}

/* ---- what the rules are written with ---- */

static node *product(graph *g, node *a, node *b, bool ta, bool tb) {
    return g_matmul_t(g, a, b, ta, tb);
}
static node *symmetric(graph *g, node *a) {
    return g_scale(g, 0.5, g_add(g, a, g_transpose(g, a)));
}

/* A constant (n, n): 1 below the diagonal, `on` on it, 0 above; `below` 0: the identity's multiple. */
static node *lower_mask(graph *g, const node *like, double below, double on) {
    const int64_t n = columns(like), shape[2] = { n, n };
    tensor t;
    err e = { 0 };
    if (tensor_zeros(graph_ctx(g), like->dtype, 2, shape, &t, &e)) return graph_fail(g, e.status, "%s", e.text);
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; below != 0 && j < i; j++) tensor_set(&t, i * n + j, below);
        tensor_set(&t, i * n + i, on);
    }
    node *mask = graph_const(g, &t);
    tensor_release(&t);
    return mask;
}

/* The diagonal of square matrices, as rows (..., 1, n). */
static node *diagonal(graph *g, node *a) {
    return a ? g_sum(g, g_mul(g, a, lower_mask(g, a, 0, 1)), 1u << (a->ndim - 2), true) : NULL;
}

/* 1/a, and 0 where a is 0: what is between equal values, or along a value of 0, is taken not to move. */
static node *inverse_or_0(graph *g, node *a) {
    if (!a) return NULL;
    node *zero = g_zeros_like(g, a), *none = g_eq(g, a, zero);
    return g_where(g, none, zero, g_reciprocal(g, g_where(g, none, g_full(g, a->dtype, a->ndim, a->shape, 1), a)));
}

/* Rows first..first + count of what a node holds, as matrices. */
static node *held(graph *g, node *n, int64_t first, int64_t count) {
    return n ? g_narrow(g, n, n->ndim - 2, first, count) : NULL;
}
static node *below(graph *g, int count, node *const *parts) {
    for (int i = 0; i < count; i++)
        if (!parts[i]) return NULL;
    return g_concat(g, parts[0]->ndim - 2, count, parts);
}
static node *row_vector(graph *g, node *a) { /* (..., 1, n) -> (..., n) */
    if (!a) return NULL;
    int64_t shape[BK_MAX_DIMS];
    memcpy(shape, a->shape, sizeof *shape * (size_t)a->ndim);
    shape[a->ndim - 2] = columns(a);
    return g_reshape(g, a, a->ndim - 1, shape);
}

/* What the kernels share. */
#define KERNEL(SHAPE, TRANSPOSE, VMAP)                                                                                 \
    .kind = OP_KERNEL, .room = "linalg", .shape = SHAPE, .run = run, .explain = each, .scratch = scratch,              \
    .cost = cost, .transpose = TRANSPOSE, .vmap = VMAP
static const op_arg matrix_args[] = { { ARG_TENSOR, "t" }, { ARG_END } };
#define SAMPLE_SQUARE &(op_sample){ 1, { { 3, { SAMPLE_SIZE, 3, 3 }, 0 } }, .where = SAMPLE_DIAGONAL }
#define BATCHES "\n\nLeading dimensions (..., n, n) are matrices one by one, and so is bk.vmap's."
#define FINITE "Errors: numbers that are not finite; "

/* ---- eigh: w, V ---- */

static bool eigh_shape(graph *g, node *n) {
    (void)g;
    n->shape[n->ndim - 2]++;
    return true;
}
/* A' symmetric: with M = V^T A' V, w' = diag M and V' = V (F o M), F[i, j] = 1/(w_j - w_i) off the diagonal. */
static node *eigh_jvp(graph *g, node *n, int k, node *t) {
    (void)k;
    const int64_t size = columns(n);
    node *w = held(g, n, 0, 1), *v = held(g, n, 1, size);
    node *m = product(g, v, product(g, symmetric(g, t), v, false, false), true, false);
    node *f = inverse_or_0(g, g_sub(g, w, g_transpose(g, w)));
    node *parts[2] = { diagonal(g, m), product(g, v, g_mul(g, f, m), false, false) };
    return below(g, 2, parts);
}
static node *eigh_build(graph *g, const op_value *v, node **more) {
    node *a = matrices(g, &op_eigh, v[0].t, true), *both = a ? graph_op(g, &op_eigh, 1, &a, 0, NULL, 0) : NULL;
    if (more) *more = both ? held(g, both, 1, columns(both)) : NULL;
    return row_vector(g, held(g, both, 0, 1));
}
const op_row op_eigh = {
    .name = "eigh",
    .arity = 1,
    KERNEL(eigh_shape, op_no_transpose, lead_vmap),
    .formula = "(A + A^T)/2 = V diag(w) V^T",
    .jvp = eigh_jvp,
    .args = matrix_args,
    .results = 2,
    .returns = "w, V",
    .build = eigh_build,
    .sample = SAMPLE_SQUARE,
    .doc = "Eigenvalues w (n), ascending, and orthonormal eigenvectors, the columns of V (n, n), of a symmetric "
           "matrix; of t (n, n) its symmetric part is taken.\n\nThe sign of every column is such that its largest "
           "component, the first of equals, is positive." BATCHES "\n\nWhere eigenvalues are equal V has no "
           "derivative, and what moves between their vectors is taken as 0: there the first derivatives of symmetric "
           "functions of w alone are right, others are not.\n\n" FINITE "a matrix that is not square.\n\n"
           "Source: LAPACK's syevd.",
};

/* ---- svd: U, s, V^T; the node holds V ---- */

static bool svd_shape(graph *g, node *n) {
    (void)g;
    const int64_t m = rows(n), k = columns(n);
    n->shape[n->ndim - 2] = m + k + 1;
    n->shape[n->ndim - 1] = m < k ? m : k;
    return true;
}
/* With P = U^T A' V: s' = diag P; U' = U (F o (P S + S P^T)) + (1 - U U^T) A' V S^-1, V' = V (F o (S P + P^T S)) +
 * (1 - V V^T) A'^T U S^-1, F[i, j] = 1/(s_j^2 - s_i^2) off the diagonal. */
static node *svd_jvp(graph *g, node *n, int index, node *t) {
    (void)index;
    const node *a = n->in[0];
    const int64_t m = rows(a), l = columns(a), k = columns(n);
    node *u = held(g, n, 0, m), *s = held(g, n, m, 1), *v = held(g, n, m + 1, l), *st = g_transpose(g, s);
    node *tv = product(g, t, v, false, false), *tu = product(g, t, u, true, false);
    node *p = product(g, u, tv, true, false), *pt = g_transpose(g, p);
    node *f = inverse_or_0(g, g_mul(g, g_sub(g, s, st), g_add(g, s, st)));
    node *du = product(g, u, g_mul(g, f, g_add(g, g_mul(g, p, s), g_mul(g, st, pt))), false, false);
    node *dv = product(g, v, g_mul(g, f, g_add(g, g_mul(g, st, p), g_mul(g, pt, s))), false, false);
    node *inverse = inverse_or_0(g, s);
    if (m > k) du = g_add(g, du, g_mul(g, g_sub(g, tv, product(g, u, p, false, false)), inverse));
    if (l > k) dv = g_add(g, dv, g_mul(g, g_sub(g, tu, product(g, v, pt, false, false)), inverse));
    node *parts[3] = { du, diagonal(g, p), dv };
    return below(g, 3, parts);
}
static node *svd_build(graph *g, const op_value *v, node **more) {
    node *a = matrices(g, &op_svd, v[0].t, false), *all = a ? graph_op(g, &op_svd, 1, &a, 0, NULL, 0) : NULL;
    if (!all) return NULL;
    if (more) more[0] = row_vector(g, held(g, all, rows(a), 1));
    if (more) more[1] = g_transpose(g, held(g, all, rows(a) + 1, columns(a)));
    return held(g, all, 0, rows(a));
}
const op_row op_svd = {
    .name = "svd",
    .arity = 1,
    KERNEL(svd_shape, op_no_transpose, lead_vmap),
    .formula = "A = U diag(s) V^T",
    .jvp = svd_jvp,
    .args = matrix_args,
    .results = 3,
    .returns = "U, s, Vt",
    .build = svd_build,
    .sample = &(op_sample){ 1, { { 3, { SAMPLE_SIZE, 4, 3 }, 0 } }, .where = SAMPLE_DIAGONAL },
    .doc = "Singular values s (k), descending, k = min(m, n), with orthonormal columns U (m, k) and rows Vt (k, n), "
           "of t (m, n).\n\nThe sign of every column of U is such that its largest component, the first of equals, "
           "is positive." BATCHES "\n\nWhere singular values are equal, or 0 beside a side longer than k, U and Vt "
           "have no derivative, and what moves there is taken as 0, as in bk.linalg.eigh; a singular value has none at "
           "0.\n\nErrors: numbers that are not finite.\n\nSource: LAPACK's gesdd.",
};

/* ---- qr: Q, R, of matrices with no more columns than rows ---- */

static bool qr_shape(graph *g, node *n) {
    if (rows(n) < columns(n)) return fail_shape(g, n->op, n, "no more columns than rows");
    n->shape[n->ndim - 2] += columns(n);
    return true;
}
/* With X = A' R^-1, M = Q^T X and W antisymmetric, equal to M below the diagonal: R' = (M - W) R and
 * Q' = X - Q (M - W). */
static node *qr_jvp(graph *g, node *n, int index, node *t) {
    (void)index;
    const int64_t k = columns(n), m = rows(n) - k;
    node *q = held(g, n, 0, m), *r = held(g, n, m, k);
    node *x = g_transpose(g, g_solve_of(g, r, g_transpose(g, t), LAPACK_UPPER, true, BY_QR));
    node *mat = product(g, q, x, true, false), *low = mat ? g_mul(g, mat, lower_mask(g, mat, 1, 0)) : NULL;
    node *upper = g_sub(g, mat, g_sub(g, low, g_transpose(g, low)));
    node *parts[2] = { g_sub(g, x, product(g, q, upper, false, false)), product(g, upper, r, false, false) };
    return below(g, 2, parts);
}
static node *qr_build(graph *g, const op_value *v, node **more) {
    node *a = matrices(g, &op_qr, v[0].t, false);
    if (!a) return NULL;
    const int last = a->ndim - 1;
    const int64_t m = rows(a), n = columns(a), k = m < n ? m : n;
    node *square = k < n ? g_narrow(g, a, last, 0, k) : a;
    node *both = square ? graph_op(g, &op_qr, 1, &square, 0, NULL, 0) : NULL;
    node *q = held(g, both, 0, m), *r = held(g, both, m, k);
    if (more && k < n) { /* the columns beyond are Q R too */
        node *parts[2] = { r, product(g, q, g_narrow(g, a, last, k, n - k), true, false) };
        r = parts[0] && parts[1] ? g_concat(g, last, 2, parts) : NULL;
    }
    if (more) *more = r;
    return q;
}
const op_row op_qr = {
    .name = "qr",
    .arity = 1,
    KERNEL(qr_shape, op_no_transpose, lead_vmap),
    .formula = "A = Q R",
    .jvp = qr_jvp,
    .args = matrix_args,
    .results = 2,
    .returns = "Q, R",
    .build = qr_build,
    .sample = &(op_sample){ 1, { { 3, { SAMPLE_SIZE, 4, 3 }, 0 } }, .where = SAMPLE_DIAGONAL },
    .sample_low = 0.1,
    .sample_high = 1,
    .doc = "Orthonormal columns Q (m, k) and upper triangular R (k, n), k = min(m, n), of t (m, n).\n\nThe diagonal "
           "of R is not negative." BATCHES "\n\nDerivatives exist where the first k columns of t are independent; "
           "elsewhere they are an error (singular matrix).\n\nErrors: numbers that are not finite.\n\n"
           "Source: LAPACK's geqrf and orgqr.",
};

/* ---- cholesky ---- */

static bool square_shape(graph *g, node *n) {
    (void)g, (void)n;
    return true;
}
/* L' = L (H o (L^-1 A' L^-T)), H: 1 below the diagonal, 1/2 on it. */
static node *cholesky_jvp(graph *g, node *n, int index, node *t) {
    (void)index;
    node *half = g_solve_of(g, n, symmetric(g, t), LAPACK_LOWER, false, BY_CHOLESKY);
    node *x = g_solve_of(g, n, g_transpose(g, half), LAPACK_LOWER, false, BY_CHOLESKY);
    return x ? product(g, n, g_mul(g, x, lower_mask(g, x, 1, 0.5)), false, false) : NULL;
}
static node *cholesky_build(graph *g, const op_value *v, node **more) {
    (void)more;
    node *a = matrices(g, &op_cholesky, v[0].t, true);
    return a ? graph_op(g, &op_cholesky, 1, &a, 0, NULL, 0) : NULL;
}
const op_row op_cholesky = {
    .name = "cholesky",
    .arity = 1,
    KERNEL(square_shape, op_no_transpose, lead_vmap),
    .formula = "(A + A^T)/2 = L L^T",
    .jvp = cholesky_jvp,
    .args = matrix_args,
    .returns = "L",
    .build = cholesky_build,
    .sample = SAMPLE_SQUARE,
    .sample_low = 0.1,
    .sample_high = 1,
    .doc = "Lower triangular L (n, n) with positive diagonal of a symmetric positive definite matrix; of t (n, n) its "
           "symmetric part is taken." BATCHES "\n\n" FINITE "a matrix that is not positive definite, with the pivot "
           "where that shows.\n\nSource: LAPACK's potrf.",
};

/* ---- solve ---- */

static bool solve_shape(graph *g, node *n) {
    const node *a = n->in[0], *b = n->in[1];
    shape_buf sa, sb;
    const int d = a->ndim;
    if (b->ndim != d || !shape_equal(d - 1, a->shape, d - 1, b->shape) || a->dtype != b->dtype || columns(b) > INT_MAX)
        return graph_fail(g, BK_EINVAL, "bk.linalg.solve: u: expected (..., n, k) for t (..., n, n), got %s for %s",
                          shape_text(b->ndim, b->shape, &sb), shape_text(a->ndim, a->shape, &sa));
    memcpy(n->shape, b->shape, sizeof *n->shape * (size_t)d);
    return true;
}
/* A^-1 B; with `transposed` A^-T B. */
node *g_solve_of(graph *g, node *a, node *b, int kind, bool transposed, int solver) {
    node *in[2] = { a, b };
    int64_t ints[] = { kind, transposed, solver };
    return a && b ? graph_op(g, &op_solve, 2, in, 3, ints, 0) : NULL;
}
/* The same solve of others. */
static node *solve_again(graph *g, const node *n, node *a, node *b, bool transposed) {
    return g_solve_of(g, a, b, (int)n->ints[KIND], transposed, (int)n->ints[SOLVER]);
}
static node *solve_jvp(graph *g, node *n, int k, node *t) {
    const bool transposed = n->ints[TRANSPOSED];
    if (k == 0) t = g_neg(g, product(g, t, n, transposed, false));
    return solve_again(g, n, n->in[0], t, transposed);
}
static node *solve_transpose(graph *g, node *n, int k, node *ct) {
    (void)k; /* B: it is linear in no other */
    return solve_again(g, n, n->in[0], ct, !n->ints[TRANSPOSED]);
}
/* One A for many B: their columns side by side, so that A is factored once. */
static node *solve_columns(graph *g, node *n, node *a, node *b, int64_t size) {
    const int d = b->ndim; /* of (size, ..., n, k) */
    int64_t axes[BK_MAX_DIMS], back[BK_MAX_DIMS], wide[BK_MAX_DIMS], apart[BK_MAX_DIMS];
    for (int i = 0; i < d - 2; i++) axes[i] = i + 1; /* (..., n, size, k) */
    axes[d - 2] = 0;
    axes[d - 1] = d - 1;
    for (int i = 0; i < d; i++) back[axes[i]] = i, apart[i] = b->shape[axes[i]];
    memcpy(wide, apart, sizeof *wide * (size_t)(d - 2));
    wide[d - 2] = size * columns(b);
    node *x = solve_again(g, n, a, g_reshape(g, g_permute(g, b, axes), d - 1, wide), n->ints[TRANSPOSED]);
    return x ? g_permute(g, g_reshape(g, x, d, apart), back) : NULL;
}
static node *solve_vmap(graph *g, node *n, node *const *in, const bool *batched, int64_t size) {
    if (!batched[0]) return solve_columns(g, n, in[0], in[1], size);
    node *b = in[1];
    int64_t shape[BK_MAX_DIMS + 1] = { size };
    memcpy(shape + 1, n->shape, sizeof *shape * (size_t)n->ndim);
    if (!batched[1]) b = g_broadcast(g, b, n->ndim + 1, shape);
    return solve_again(g, n, in[0], b, n->ints[TRANSPOSED]);
}
node *g_solve(graph *g, node *a, node *b) {
    a = matrices(g, &op_solve, a, true);
    if (!a || !b) return NULL;
    const bool vector = b->ndim == a->ndim - 1; /* as many as there are matrices */
    shape_buf sa, sb;
    if (b->dtype == BK_INT64) b = g_cast(g, b, a->dtype);
    if (b && b->dtype != a->dtype) a = g_cast(g, a, BK_FLOAT64), b = g_cast(g, b, BK_FLOAT64);
    if (!a || !b) return NULL;
    if ((!vector && b->ndim != a->ndim) || !shape_equal(a->ndim - 1, a->shape, a->ndim - 1, b->shape))
        return graph_fail(g, BK_EINVAL, "bk.linalg.solve: u: expected (..., n) or (..., n, k) for t (..., n, n), got "
                          "%s for %s", shape_text(b->ndim, b->shape, &sb), shape_text(a->ndim, a->shape, &sa));
    int64_t shape[BK_MAX_DIMS];
    memcpy(shape, b->shape, sizeof *shape * (size_t)b->ndim);
    shape[b->ndim] = 1;
    node *x = g_solve_of(g, a, vector ? g_reshape(g, b, b->ndim + 1, shape) : b, LAPACK_GENERAL, false,
                         BY_SOLVE);
    return x && vector ? g_reshape(g, x, b->ndim, shape) : x;
}
OP_BUILD(solve, g_solve(g, v[0].t, v[1].t))
const op_row op_solve = {
    .name = "solve",
    .arity = 2,
    KERNEL(solve_shape, solve_transpose, solve_vmap),
    .formula = "X = A^-1 B",
    .jvp = solve_jvp,
    .args = (const op_arg[]){ { ARG_TENSOR, "t" }, { ARG_TENSOR, "u" }, { ARG_END } },
    .returns = "X",
    .build = solve_build,
    .sample = &(op_sample){ 2,
                            { { 3, { SAMPLE_SIZE, 3, 3 }, 0 }, { 3, { SAMPLE_SIZE, 3, 2 }, 0 } },
                            3,
                            { LAPACK_GENERAL, false, BY_SOLVE },
                            .where = SAMPLE_DIAGONAL },
    .sample_low = 0.1,
    .sample_high = 1,
    .doc = "The solution of t X = u: t (n, n), u (n) or (n, k), X of u's shape." BATCHES " With bk.vmap, one t for "
           "many u is factored once.\n\n" FINITE "a matrix that is not square; a singular one, with the pivot that is "
           "0. One that is singular but for rounding is none: the result is as large as 1/rounding.\n\n"
           "Source: LAPACK's getrf and getrs.",
};

static node *inverse(graph *g, node *a, int solver) {
    node *eye = a ? g_broadcast(g, lower_mask(g, a, 0, 1), a->ndim, a->shape) : NULL;
    return g_solve_of(g, a, eye, LAPACK_GENERAL, false, solver);
}
node *g_inv(graph *g, node *a) {
    return inverse(g, matrices(g, &op_inv, a, true), BY_INV);
}
OP_BUILD(inv, g_inv(g, v[0].t))
const op_row op_inv = {
    .name = "inv",
    .arity = 1,
    .kind = OP_COMPOSITE,
    .room = "linalg",
    .formula = "A^-1",
    .args = matrix_args,
    .returns = "X",
    .build = inv_build,
    .sample = SAMPLE_SQUARE,
    .sample_low = 0.1,
    .sample_high = 1,
    .doc = "The inverse of t (n, n): bk.linalg.solve with the identity, whose errors it has. To apply an inverse, "
           "bk.linalg.solve is faster and more accurate." BATCHES,
};

/* ---- det ---- */

static bool det_shape(graph *g, node *n) {
    (void)g;
    n->ndim -= 2;
    return true;
}
static node *det_jvp(graph *g, node *n, int index, node *t) { /* det(A)' = det(A) tr(A^-1 A') */
    (void)index;
    node *turned = g_transpose(g, inverse(g, n->in[0], BY_DET));
    return t ? g_mul(g, n, g_sum(g, g_mul(g, turned, t), 3u << (t->ndim - 2), false)) : NULL;
}
static node *det_build(graph *g, const op_value *v, node **more) {
    (void)more;
    node *a = matrices(g, &op_det, v[0].t, true);
    return a ? graph_op(g, &op_det, 1, &a, 0, NULL, 0) : NULL;
}
const op_row op_det = {
    .name = "det",
    .arity = 1,
    KERNEL(det_shape, op_no_transpose, lead_vmap),
    .formula = "product of the pivots",
    .jvp = det_jvp,
    .args = matrix_args,
    .returns = "0-d",
    .build = det_build,
    .sample = SAMPLE_SQUARE,
    .sample_low = 0.1,
    .sample_high = 1,
    .doc = "Determinant of t (n, n)." BATCHES "\n\nDerivatives are formed with the inverse: at a singular matrix they "
           "are an error.\n\n" FINITE "a matrix that is not square.\n\nSource: LAPACK's getrf.",
};
