/* gemm_kernel.h - the own kernels of gemm.c. */
#ifndef TENSOR_GEMM_KERNEL_H
#define TENSOR_GEMM_KERNEL_H

#include "gemm.h"

enum { GEMM_THIN = 4 };

/* Memory asked for early: rows of so many bytes, each `step` bytes behind the one before. Two lines are asked for at a
 * time. */
enum { GEMM_LINES = 128 };
typedef struct gemm_ask {
    const char *at;
    int64_t rows, bytes, step;
} gemm_ask;

/* Rows and columns of C = sum_i alpha_i op(A_i) op(B_i) + beta C: m rows from `row`, n columns from `column`. Nothing
 * is empty: m, n, count and every k are above 0, and no alpha is 0 or far from the one before. */
typedef struct gemm_part {
    int64_t m, n, row, column, ldc;
    int count;
    const gemm_term *terms;
    gemm_triangle triangle; /* if any: one term */
    double beta;
    void *out;        /* the first element of the part */
    gemm_ask next[3]; /* what the next product of a batch reads and writes: asked for while this one is computed */
    ctx *c;           /* once an interrupt is to stop its work, the rest is left undone; may be NULL */
} gemm_part;

/* float64 and float32, where vec_bytes() is at least 32 (AVX2, AVX-512); else does nothing. The bits of an element of C
 * depend on its rows and columns of the operands and the terms' ta, tb, k and alpha alone. */
void gemm_own(bk_dtype dtype, const gemm_part *p);

/* The depth of all terms is so small that C is made row by row, faster than by any tiles. */
static inline bool gemm_is_thin(const gemm_part *p) {
    int64_t depth = 0;
    for (int i = 0; i < p->count && depth <= GEMM_THIN; i++) depth += p->terms[i].k;
    return depth <= GEMM_THIN;
}

#endif
