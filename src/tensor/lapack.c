/* lapack.c - LAPACK by its Fortran names, which every OpenBLAS has (LAPACKE and its header are packages of their own).
 * lapack.inc holds the functions, once for each float type; here are their declarations and the choice by dtype.
 * Fortran's matrices are column-major: a symmetric one is the same either way, others are turned as they are copied. */
#include "lapack.h"

#include <math.h>
#include <string.h>

/* Arguments are addresses; the length of every string follows at the end. */
#define DECLARE(T, P)                                                                                                  \
    void P##syevd_(const char *job, const char *uplo, const int *n, T *a, const int *lda, T *w, T *work,              \
                   const int *lwork, int *iwork, const int *liwork, int *info, size_t, size_t);                        \
    void P##gesdd_(const char *job, const int *m, const int *n, T *a, const int *lda, T *s, T *u, const int *ldu,     \
                   T *vt, const int *ldvt, T *work, const int *lwork, int *iwork, int *info, size_t);                  \
    void P##geqrf_(const int *m, const int *n, T *a, const int *lda, T *tau, T *work, const int *lwork, int *info);   \
    void P##orgqr_(const int *m, const int *n, const int *k, T *a, const int *lda, const T *tau, T *work,             \
                   const int *lwork, int *info);                                                                       \
    void P##potrf_(const char *uplo, const int *n, T *a, const int *lda, int *info, size_t);                          \
    void P##getrf_(const int *m, const int *n, T *a, const int *lda, int *pivots, int *info);                         \
    void P##getrs_(const char *trans, const int *n, const int *k, const T *a, const int *lda, const int *pivots,      \
                   T *b, const int *ldb, int *info, size_t);                                                           \
    void P##trtrs_(const char *uplo, const char *trans, const char *diag, const int *n, const int *k, const T *a,     \
                   const int *lda, T *b, const int *ldb, int *info, size_t, size_t, size_t);
DECLARE(double, d)
DECLARE(float, s)

static bk_status failed(err *e, const char *what, int64_t place, int64_t of, double x) {
    return err_set(e, BK_ERUNTIME, "%s: pivot %lld of %lld is %g", what, (long long)place, (long long)of, x);
}

static bk_status lost(err *e) { /* not seen with finite numbers */
    return err_set(e, BK_ERUNTIME, "LAPACK's iteration did not converge");
}

enum { SMALL = 16 }; /* a side */

#define T double
#define P(name) d##name##_
#define K(name) name##_f64
#include "lapack.inc"
#undef T
#undef P
#undef K
#define T float
#define P(name) s##name##_
#define K(name) name##_f32
#include "lapack.inc"

#define CHOOSE(name, ...) (dtype == BK_FLOAT32 ? name##_f32(__VA_ARGS__) : name##_f64(__VA_ARGS__))

size_t lapack_eigh_room(bk_dtype dtype, int64_t n) {
    return CHOOSE(eigh_room, (int)n);
}
bk_status lapack_eigh(bk_dtype dtype, int64_t n, const void *a, void *out, void *room, err *e) {
    return CHOOSE(eigh, (int)n, a, out, room, e);
}
size_t lapack_svd_room(bk_dtype dtype, int64_t m, int64_t n) {
    return CHOOSE(svd_room, (int)m, (int)n);
}
bk_status lapack_svd(bk_dtype dtype, int64_t m, int64_t n, const void *a, void *out, void *room, err *e) {
    return CHOOSE(svd, (int)m, (int)n, a, out, room, e);
}
size_t lapack_qr_room(bk_dtype dtype, int64_t m, int64_t n) {
    return CHOOSE(qr_room, (int)m, (int)n);
}
bk_status lapack_qr(bk_dtype dtype, int64_t m, int64_t n, const void *a, void *out, void *room, err *e) {
    return CHOOSE(qr, (int)m, (int)n, a, out, room, e);
}
bk_status lapack_cholesky(bk_dtype dtype, int64_t n, const void *a, void *out, err *e) {
    return CHOOSE(cholesky, (int)n, a, out, e);
}
size_t lapack_solve_room(bk_dtype dtype, int64_t n, int64_t k) {
    return CHOOSE(solve_room, (int)n, k);
}
bk_status lapack_solve(bk_dtype dtype, lapack_kind kind, bool transposed, int64_t n, int64_t k, const void *a,
                       const void *b, void *out, void *room, err *e) {
    return CHOOSE(solve, kind, transposed, (int)n, k, a, b, out, room, e);
}
size_t lapack_det_room(bk_dtype dtype, int64_t n) {
    return CHOOSE(det_room, (int)n);
}
bk_status lapack_det(bk_dtype dtype, int64_t n, const void *a, void *out, void *room, err *e) {
    return CHOOSE(det, (int)n, a, out, room, e);
}
