/* vec.h - elementwise kernels over contiguous blocks, chosen once per process for the
 * machine (AVX-512, AVX2 + FMA, NEON, portable). Lua's and the graph's elementwise work
 * all ends here.
 *
 * Every kernel: out[i] = f(a[i], b[i], c[i]; x, y), i < n. Unused operands are NULL. out may be
 * exactly a, b or c, and may not overlap them otherwise. No alignment is required. A
 * value's result does not depend on its place in the block: tails take the same path.
 * NaN and infinities follow IEEE 754 and C's <math.h>. Measured error bounds, in ulp, stand
 * beside each function in vec.c and are held by tests/c/vec_test.c. */
#ifndef TENSOR_VEC_H
#define TENSOR_VEC_H

#include "../bracket.h"

typedef enum vec_op {
    /* arithmetic: float64, float32, int64 (div and pow: floats only) */
    VEC_COPY,
    VEC_FILL /* x */,
    VEC_ADD,
    VEC_SUB,
    VEC_MUL,
    VEC_DIV,
    VEC_POW,
    VEC_MAX,
    VEC_MIN, /* max, min: NaN if either is */
    VEC_SCALE /* x*a */,
    VEC_OFFSET /* a+x */,
    VEC_AXPY /* x*a + b */,
    VEC_MULADD /* a*b + c */,
    VEC_MULSCALE /* x*(a*b) */,
    VEC_SQUARE,
    VEC_SQUARE_RSUB /* x - a*a */,
    VEC_ABS,
    VEC_SIGN /* sign(0)=0 */,
    VEC_GT,
    VEC_GE,
    VEC_EQ,    /* 1 or 0 in the operands' dtype */
    VEC_WHERE, /* a != 0 ? b : c */
    VEC_RELU /* max(a,0), NaN stays */,
    VEC_RELU_MASK /* a > 0 ? b : 0 */,
    VEC_STEP /* a > 0 ? 1 : 0 */,
    /* floats only */
    VEC_EXP,
    VEC_LOG,
    VEC_EXPM1,
    VEC_LOG1P,
    VEC_SQRT,
    VEC_RECIP,
    VEC_SIN,
    VEC_COS,
    VEC_TANH,
    VEC_SIGMOID,
    VEC_SOFTPLUS /* log(1+e^a), no overflow */,
    VEC_ERF,
    VEC_FLOOR,
    VEC_POWX /* a^x; whole x by multiplication for |x| <= 8 */,
    /* recurring patterns, one pass */
    VEC_MUL3 /* x * (a*(b*c)) */,
    VEC_TANH_SUM /* tanh(a+b) */,
    VEC_RELU_SUM /* max(a+b,0), NaN stays */,
    VEC_TANH_GRAD /* b * (1 - a*a): a = tanh(z) */,
    VEC_TANH_GRAD_SUM /* (b+c) * (1 - a*a) */,
    VEC_TANH_GRAD_ADD /* x * (b * (1 - a*a)) + c */,
    VEC_SIGMOID_GRAD /* b * (a * (1 - a)) */,
    VEC_OPS
} vec_op;

typedef void (*vec_fn)(int64_t n, void *out, const void *a, const void *b, const void *c, double x);

/* The kernel, or NULL where the op does not exist for the dtype. Thread-safe. */
vec_fn vec_get(vec_op op, bk_dtype dtype);

/* Sums in a fixed order that depends on n alone (pairwise over blocks, float32 accumulated in
 * float64); dot likewise. */
double vec_sum(bk_dtype dtype, int64_t n, const void *a);
double vec_dot(bk_dtype dtype, int64_t n, const void *a, const void *b);

/* The largest, NaN if there is one, -infinity for n = 0. Floats only. */
double vec_max(bk_dtype dtype, int64_t n, const void *a);

/* acc[j] += sum_i a[stride i + j], j < n, i < rows in rising order, in float64. Floats only. */
void vec_add_rows(bk_dtype dtype, int64_t rows, int64_t stride, int64_t n, const void *a, double *acc);

/* out[i] = a[i] converted; n elements, no overlap. */
void vec_cast(int64_t n, bk_dtype to, void *out, bk_dtype from, const void *a);

/* "avx512", "avx2", "neon" or "portable". BRACKET_VEC=portable|avx2 in the environment lowers the choice. */
const char *vec_level(void);
int vec_bytes(void); /* of its vectors: 64, 32, 16, 16 */

#endif
