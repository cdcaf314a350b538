/* gemm.h - matrix products: the only room that knows a BLAS. Row-major.
 * Results are the same bits at any number of threads: how products are cut depends on the shapes alone, or changes no
 * bit. The host's OpenBLAS thread count is left as it was. */
#ifndef TENSOR_GEMM_H
#define TENSOR_GEMM_H

#include "../base/ctx.h"

/* C (m,n) = alpha * op(A) (m,k) * op(B) (k,n) + beta * C, op = transpose when ta / tb. lda, ldb, ldc are
 * the row lengths in elements of A, B, C as stored. Any of m, n, k may be 0. beta = 0 does not read C.
 * C overlaps neither A nor B. Polls the interrupt flag between blocks and returns BK_EINTERRUPTED. */
bk_status gemm(ctx *c, bk_dtype dtype, bool ta, bool tb, int64_t m, int64_t n, int64_t k, double alpha, const void *a,
               int64_t lda, const void *b, int64_t ldb, double beta, void *out, int64_t ldc);

/* Around a run of gemm calls: OpenBLAS to one thread, and back (nested and concurrent use is counted). */
void gemm_enter(void);
void gemm_leave(void);

const char *gemm_core(void);   /* OpenBLAS's name of the machine's core: "Zen", "SkylakeX" ... */
const char *gemm_config(void); /* its version and build options */

#endif
