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

#include <stdbool.h>

/* VEC_NAME of every kernel in src/tensor/kernels, where each says what it computes; and VEC_OF_name, the same for
 * macros of the operation's name. */
typedef enum vec_op {
    VEC_NONE,
#define VEC_ROW(name, NAME, operands) VEC_##NAME,
#define VEC_ROW_REAL VEC_ROW /* floats only */
#include "gen/vec_rows.h"
#undef VEC_ROW
    VEC_OPS,
#define VEC_ROW(name, NAME, operands) VEC_OF_##name = VEC_##NAME,
#include "gen/vec_rows.h"
#undef VEC_ROW
#undef VEC_ROW_REAL
} vec_op;

typedef void (*vec_fn)(int64_t n, void *out, const void *a, const void *b, const void *c, double x);

/* Saturates, and NaN is 0: a plain conversion out of range is undefined, and differs by machine. */
int64_t vec_int64(double x);

/* The kernel, or NULL where the op does not exist for the dtype. Thread-safe. */
vec_fn vec_get(vec_op op, bk_dtype dtype);
int vec_operands(vec_op op); /* how many tensors it reads; -1: its line does not say */

/* Sums in a fixed order that depends on n alone (pairwise over blocks, float32 accumulated in
 * float64); dot likewise. */
double vec_sum(bk_dtype dtype, int64_t n, const void *a);
double vec_dot(bk_dtype dtype, int64_t n, const void *a, const void *b);

/* The largest, NaN if there is one, -infinity for n = 0. Floats only. */
double vec_max(bk_dtype dtype, int64_t n, const void *a);
int64_t vec_argmax(bk_dtype dtype, int64_t n, const void *a); /* its first place; n >= 1 */

/* Rows of n elements, of which the first sees `seen` and each one more than the one before it, n at most: out =
 * e^(a - top), top its largest, 0 where that is infinite; tops and sums of each, and with `scaled` the row times 1/sum.
 * What a row does not see is 0 in out. The same bits as vec_max, vec_sum and the kernels offset, exp and scale give. n
 * is at most VEC_SHORT, seen at least 1 where n is. Floats only; out may not overlap a. */
enum { VEC_SHORT = 1024 };
void vec_softmax(bk_dtype dtype, int64_t rows, int64_t n, int64_t seen, void *out, const void *a, bool scaled,
                 double *tops, double *sums);

/* Of such rows, which see all of themselves, out = (a - top) - ln(1 + sum e^(a - top)), the sum over all but the first
 * largest. Floats only; out may not overlap a. */
void vec_log_softmax(bk_dtype dtype, int64_t rows, int64_t n, void *out, const void *a);

/* Of such rows, where s and t are 0 past what they see, out = s (t - sum s t), with the bits of vec_dot, rounded, and
 * of the kernels sub and mul. Floats only; out may be s or t. */
void vec_softmax_slope(bk_dtype dtype, int64_t rows, int64_t n, int64_t seen, void *out, const void *s, const void *t);

/* Of rows of n elements, 1 to VEC_SHORT: scale = (var a + eps)^(-1/2) of each, out = (a - mean a) scale; either may be
 * NULL. Sums are float64. Floats only; out may be a. */
void vec_normalize(bk_dtype dtype, int64_t rows, int64_t n, double eps, void *out, void *scale, const void *a);

/* Of such rows out = scale (t - mean t - y mean(y t)). Floats only; out may be y or t. */
void vec_normalize_slope(bk_dtype dtype, int64_t rows, int64_t n, void *out, const void *y, const void *scale,
                         const void *t);

/* acc[j] += sum_i a[stride i + j], j < n, i < rows in rising order, in float64; of their squares. Floats only. */
void vec_add_rows(bk_dtype dtype, int64_t rows, int64_t stride, int64_t n, const void *a, double *acc);
void vec_add_squares(bk_dtype dtype, int64_t rows, int64_t stride, int64_t n, const void *a, double *acc);

/* Of rows of n elements, `stride` apart: out = sums[row] and all up to there, in rising order and in float64; sums[row]
 * becomes the last of them. Floats only; out may be a. */
void vec_running(bk_dtype dtype, int64_t rows, int64_t stride, int64_t n, void *out, const void *a, double *sums);

/* Rows of so many bytes, the i-th from a + i stride_a to out + i stride_out; no overlap. */
void vec_copy_rows(int64_t rows, size_t bytes, void *out, size_t stride_out, const void *a, size_t stride_a);

/* Adam's step: first' = keep[0] first + take[0] g, second' = keep[1] second + take[1] g^2,
 * q = first' by_first / (sqrt(second') by_second + eps), plus decay theta if it decays, theta' = q rate + theta: the
 * bits that the kernels average, average_square, sqrt_affine, muldiv, axpy and muladd give one after the other. All are
 * n numbers; a result may be exactly an operand. far: the first four operands are in no near cache;
 * stumbles: an operation that meets a denormal number takes long. Floats only. */
typedef struct vec_adam_step {
    const void *theta, *g, *first, *second, *by_first, *by_second, *rate;
    void *new_theta, *new_first, *new_second;
    double keep[2], take[2], eps, decay;
    bool decays, far, stumbles;
} vec_adam_step;
void vec_adam(bk_dtype dtype, int64_t n, const vec_adam_step *s);

/* out[i] = a[i] converted; n elements, no overlap. */
void vec_cast(int64_t n, bk_dtype to, void *out, bk_dtype from, const void *a);

/* For digests: h = (h ^ word) * FACTOR, h ^= h >> 32 in every lane, of every block of as many words; the same bits at
 * every level. The step is one to one in h and in the word. */
enum { VEC_MIX_LANES = 8 };
#define VEC_MIX_FACTOR UINT64_C(0x9e3779b97f4a7c15)
void vec_mix(int64_t blocks, const void *a, uint64_t *lane);

/* "avx512", "avx2", "neon" or "portable". BRACKET_VEC=portable|avx2 in the environment lowers the choice. */
const char *vec_level(void);
int vec_bytes(void); /* of its vectors: 64, 32, 16, 16 */

/* Whether the processor is one of Intel's: these take a hundred cycles for an operation that meets a denormal number,
 * see more arrays coming than others, and have two units for vectors. Only times may depend on it, no bits. */
bool vec_intel(void);

/* Whether it is one of AMD's from Zen 5 on, whose L2 gives a vector of 64 bytes a cycle, twice what Zen 4's does. Only
 * times may depend on it. */
bool vec_zen5(void);

#endif
