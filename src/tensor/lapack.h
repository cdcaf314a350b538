/* lapack.h - factorisations of one matrix by OpenBLAS's LAPACK, row-major in and out, float64 and float32: the only
 * file that knows a LAPACK. It runs on the calling thread, so the bits depend on no number of threads; a call is not
 * interrupted. `room` is scratch of as many bytes as the function's _room says. A failure is BK_ERUNTIME, and e (NULL:
 * nobody asks) tells why, without a name before it. Inputs hold finite numbers. */
#ifndef TENSOR_LAPACK_H
#define TENSOR_LAPACK_H

#include "../base/ctx.h"

enum { LAPACK_MOST = 30000 }; /* the largest side: LAPACK's integers are of 32 bits */

typedef enum lapack_kind { LAPACK_GENERAL, LAPACK_LOWER, LAPACK_UPPER } lapack_kind;

/* out (n + 1, n): the eigenvalues of (A + A^T)/2, ascending; then a matrix with the eigenvectors as columns, each with
 * its largest component positive (the first of equals). */
size_t lapack_eigh_room(bk_dtype dtype, int64_t n);
bk_status lapack_eigh(bk_dtype dtype, int64_t n, const void *a, void *out, void *room, err *e);

/* out (m + n + 1, k), k = min(m, n): U, the singular values, descending, V, with A = U diag(s) V^T. The largest
 * component of every column of U is positive (the first of equals). */
size_t lapack_svd_room(bk_dtype dtype, int64_t m, int64_t n);
bk_status lapack_svd(bk_dtype dtype, int64_t m, int64_t n, const void *a, void *out, void *room, err *e);

/* m >= n; out (m + n, n): Q, then R, whose diagonal is not negative. */
size_t lapack_qr_room(bk_dtype dtype, int64_t m, int64_t n);
bk_status lapack_qr(bk_dtype dtype, int64_t m, int64_t n, const void *a, void *out, void *room, err *e);

/* out: lower triangular, out out^T = (A + A^T)/2. */
bk_status lapack_cholesky(bk_dtype dtype, int64_t n, const void *a, void *out, err *e);

/* out (n, k): A^-1 B, or A^-T B. Of a triangular kind only that triangle is read. */
size_t lapack_solve_room(bk_dtype dtype, int64_t n, int64_t k);
bk_status lapack_solve(bk_dtype dtype, lapack_kind kind, bool transposed, int64_t n, int64_t k, const void *a,
                       const void *b, void *out, void *room, err *e);

/* out: one number. */
size_t lapack_det_room(bk_dtype dtype, int64_t n);
bk_status lapack_det(bk_dtype dtype, int64_t n, const void *a, void *out, void *room, err *e);

#endif
