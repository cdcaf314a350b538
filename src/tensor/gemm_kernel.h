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

/* false, with nothing done: no kernel for this machine. float64 and float32. */
bool gemm_own(bk_dtype dtype, const gemm_part *p);

#endif
