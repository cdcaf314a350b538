/* gemm_kernel.h - the own kernels of gemm.c. */
#ifndef TENSOR_GEMM_KERNEL_H
#define TENSOR_GEMM_KERNEL_H

#include "gemm.h"

enum {
    GEMM_THIN = 4,        /* of depth */
    GEMM_FEW = 16,        /* rows of A */
    GEMM_SLAB = 1280,     /* bytes of a row of A in one slab of depth, at most: a strip fills about half of L1 */
    GEMM_NEAR = 16 << 10, /* bytes of an operand: what lies within is not packed, it stays in L1 by itself */
};

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
    int64_t depth;          /* of a slab, GEMM_SLAB bytes at most; 0: as near to that as even ones are */
    double beta;
    void *out;        /* the first element of the part */
    gemm_ask next[3]; /* what the next product of a batch reads and writes: asked for while this one is computed */
    ctx *c;           /* once an interrupt is to stop its work, the rest is left undone; may be NULL */
} gemm_part;

/* float64 and float32, where vec_bytes() is at least 32 (AVX2, AVX-512); else does nothing. The bits of an element of C
 * depend on its rows and columns of the operands, the terms' ta, tb, k and alpha and the slabs' depth alone: each slab
 * is summed by itself, and its sum added to what those before it have left in C. */
void gemm_own(bk_dtype dtype, const gemm_part *p);

/* The depth of all terms is so small that C is made row by row, faster than by any tiles. */
static inline bool gemm_is_thin(const gemm_part *p) {
    int64_t depth = 0;
    for (int i = 0; i < p->count && depth <= GEMM_THIN; i++) depth += p->terms[i].k;
    return depth <= GEMM_THIN;
}

#endif
