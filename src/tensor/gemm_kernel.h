/* gemm_kernel.h - the own kernels of gemm.c. */
#ifndef TENSOR_GEMM_KERNEL_H
#define TENSOR_GEMM_KERNEL_H

#include "../bracket.h"

#include <stdbool.h>

/* C (m,n) = alpha op(A) op(B) + beta C, as in gemm.h; m, n and k above 0. */
typedef struct gemm_part {
    bool ta, tb;
    int64_t m, n, k, lda, ldb, ldc;
    double alpha, beta;
    const void *a, *b;
    void *out;
} gemm_part;

/* float64 and float32, where vec_bytes() is at least 32 (AVX2, AVX-512); else does nothing. The bits of an element of C
 * depend on its row of A, its column of B and k alone. */
void gemm_own(bk_dtype dtype, const gemm_part *p);

#endif
