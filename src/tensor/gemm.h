/* gemm.h - matrix products: the only room that knows a BLAS. Row-major.
 * Results are the same bits at any number of threads: how products are cut depends on the shapes alone, or changes no
 * bit. The host's OpenBLAS thread count is left as it was. */
#ifndef TENSOR_GEMM_H
#define TENSOR_GEMM_H

#include "../base/ctx.h"

enum { GEMM_TERMS = 32 };

/* alpha * op(A) (m,k) * op(B) (k,n), op = transpose when ta / tb. lda, ldb: the row lengths in elements of A, B as
 * stored. k may be 0; with alpha = 0, A and B are not read. */
typedef struct gemm_term {
    bool ta, tb;
    int64_t k;
    double alpha;
    const void *a;
    int64_t lda;
    const void *b;
    int64_t ldb;
} gemm_term;

/* C (m,n) = the sum of `count` products, at most GEMM_TERMS, + beta * C; ldc its row length. Any of m, n, count may be
 * 0. beta = 0 does not read C. C overlaps no operand. What is summed so far is scaled from term to term by the ratio of
 * their alphas: exact for equal ones and for +-1. Polls the interrupt flag and returns BK_EINTERRUPTED. */
bk_status gemm_sum(ctx *c, bk_dtype dtype, int64_t m, int64_t n, int count, const gemm_term *terms, double beta,
                   void *out, int64_t ldc);

/* Rows row .. row + rows - 1 of such a sum with beta = 0, to the same bits: into out (rows, n), by the calling thread
 * alone and unpolled. false, and nothing is done, where an element's bits depend on more than its row and column, as in
 * OpenBLAS; rows = 0 asks. */
bool gemm_sum_rows(bk_dtype dtype, int64_t m, int64_t n, int count, const gemm_term *terms, int64_t row, int64_t rows,
                   void *out);

/* What of a product counts: all; of A, as it is stored, or of C what lies on its diagonal and below. What lies above is
 * 0 in C, and counts as 0 in A whatever it is. */
typedef enum gemm_triangle { GEMM_WHOLE, GEMM_LOWER_A, GEMM_LOWER_C } gemm_triangle;

/* Whether this machine's kernels know the others. */
bool gemm_triangles(void);

/* C_i (m,n) = term_i + beta C_i for every i of a batch's axes: term and out are those of the first; from each to the
 * next are so many elements of A, B and C along every axis. GEMM_LOWER_C clears what is above, whatever beta. */
enum { GEMM_AXES = 3 };
typedef struct gemm_product {
    int64_t m, n;
    gemm_term term;
    gemm_triangle triangle;
    double beta;
    void *out;
    int64_t ldc, step_a[GEMM_AXES], step_b[GEMM_AXES], step_c[GEMM_AXES];
} gemm_product;

/* For every i, the last axis moving fastest, `count` products one after the other. Small ones are spread over the
 * threads; what one i reads or writes, no other writes. */
bk_status gemm_batch(ctx *c, bk_dtype dtype, const int64_t size[GEMM_AXES], int count, const gemm_product *products);

/* One product: C = alpha op(A) op(B) + beta C. */
bk_status gemm(ctx *c, bk_dtype dtype, bool ta, bool tb, int64_t m, int64_t n, int64_t k, double alpha, const void *a,
               int64_t lda, const void *b, int64_t ldb, double beta, void *out, int64_t ldc);

/* Around a run of gemm calls: OpenBLAS to one thread, and back (nested and concurrent use is counted). */
void gemm_enter(void);
void gemm_leave(void);

/* BK_ENOMEM where the process's limit on its address space keeps OpenBLAS from the buffers of so many threads. */
bk_status gemm_room(int threads, err *e);

const char *gemm_core(void);   /* OpenBLAS's name of the machine's core: "Zen", "SkylakeX" ... */
const char *gemm_config(void); /* its version and build options */

#endif
