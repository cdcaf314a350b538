/* vec.c - the kernels of vec_kernels.inc at every level this compiler can make, and the choice
 * among them. Levels may differ in the last bit of exp and its kin (one rounding in a fused
 * multiply-add, two without) and of sin, cos and pow, which are partly the C library's; the rest, sums included, is the
 * same everywhere. No -ffast-math: NaN, infinities and denormals are handled lane by lane. */
#include "vec.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#if defined(__clang__)
#define TURN(v, mask, ...) __builtin_shufflevector(v, v, __VA_ARGS__)
#define TURN2(v, w, mask, ...) __builtin_shufflevector(v, w, __VA_ARGS__)
#pragma STDC FP_CONTRACT OFF /* as gcc -std=c11: the same bits from both compilers */
#define UNROLL
#else
#define TURN(v, mask, ...) __builtin_shuffle(v, (mask){ __VA_ARGS__ })
#define TURN2(v, w, mask, ...) __builtin_shuffle(v, w, (mask){ __VA_ARGS__ })
#define UNROLL _Pragma("GCC unroll 8") /* -O2 alone would keep the running sums in memory */
#endif
#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

int64_t vec_int64(double x) {
    if (x >= 0x1p63) return INT64_MAX;
    if (x <= -0x1p63) return INT64_MIN;
    return x == x ? (int64_t)x : 0;
}

/* ---- the levels ---- */

#if defined(__x86_64__)

#define LEVEL avx512
#define BYTES 64
#define TARGET __attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")))
#define FMA64(a, b, c) _mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c))
#define FMA32(a, b, c) _mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c))
#define SQRT64(a) _mm512_sqrt_pd((__m512d)(a))
#define MAX64(a, b) _mm512_max_pd((__m512d)(a), (__m512d)(b)) /* b where either is NaN */
#define MAX32(a, b) _mm512_max_ps((__m512)(a), (__m512)(b))
#define MIN64(a, b) _mm512_min_pd((__m512d)(a), (__m512d)(b))
#define MIN32(a, b) _mm512_min_ps((__m512)(a), (__m512)(b))
#define SQRT32(a) _mm512_sqrt_ps((__m512)(a))
#define SCALE64(a, n) _mm512_scalef_pd((__m512d)(a), (__m512d)(n)) /* a 2^n, rounded once */
#define SCALE32(a, n) _mm512_scalef_ps((__m512)(a), (__m512)(n))
#define WIDEN(p) _mm512_cvtps_pd(_mm256_loadu_ps(p)) /* GCC 12 by itself converts halves, and puts them together */
#define HALF(a) _mm512_cvtpd_ps((__m512d)(a))
#define NARROW(a, b) _mm512_insertf32x8(_mm512_castps256_ps512(HALF(a)), HALF(b), 1) /* float64 to float32 */
#define SOME32(mask) (_mm512_movepi32_mask((__m512i)(mask)) != 0)
#define TYPE 64
#include "vec_kernels.inc"
#define TYPE 32
#include "vec_kernels.inc"
#define TYPE 1
#include "vec_kernels.inc"
#undef LEVEL
#undef BYTES
#undef TARGET
#undef FMA64
#undef FMA32
#undef SQRT64
#undef MAX64
#undef MAX32
#undef MIN64
#undef MIN32
#undef SQRT32
#undef SCALE64
#undef SCALE32
#undef WIDEN
#undef HALF
#undef NARROW
#undef SOME32

#define LEVEL avx2
#define BYTES 32
#define TARGET __attribute__((target("avx2,fma")))
#define FMA64(a, b, c) _mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c))
#define FMA32(a, b, c) _mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c))
#define SQRT64(a) _mm256_sqrt_pd((__m256d)(a))
#define MAX64(a, b) _mm256_max_pd((__m256d)(a), (__m256d)(b)) /* b where either is NaN */
#define MAX32(a, b) _mm256_max_ps((__m256)(a), (__m256)(b))
#define MIN64(a, b) _mm256_min_pd((__m256d)(a), (__m256d)(b))
#define MIN32(a, b) _mm256_min_ps((__m256)(a), (__m256)(b))
#define SQRT32(a) _mm256_sqrt_ps((__m256)(a))
#define WIDEN(p) _mm256_cvtps_pd(_mm_loadu_ps(p))
#define HALF(a) _mm256_cvtpd_ps((__m256d)(a))
#define NARROW(a, b) _mm256_set_m128(HALF(b), HALF(a))
#define SOME32(mask) (_mm256_movemask_ps((__m256)(mask)) != 0)
#define SELECT64(m, a, b) _mm256_blendv_pd((__m256d)(b), (__m256d)(a), (__m256d)(m))
#define SELECT32(m, a, b) _mm256_blendv_ps((__m256)(b), (__m256)(a), (__m256)(m))
#define TYPE 64
#include "vec_kernels.inc"
#define TYPE 32
#include "vec_kernels.inc"
#define TYPE 1
#include "vec_kernels.inc"
#undef LEVEL
#undef BYTES
#undef TARGET
#undef FMA64
#undef FMA32
#undef SQRT64
#undef MAX64
#undef MAX32
#undef MIN64
#undef MIN32
#undef SQRT32
#undef SELECT64
#undef SELECT32
#undef WIDEN
#undef HALF
#undef NARROW
#undef SOME32

#endif

/* "neon" on AArch64, where every machine has it; elsewhere what the compiler makes of 16-byte
 * vectors: SSE2 on x86-64, plain scalars where there is nothing. */
#define BYTES 16
#define TARGET
#define LEVEL portable
#if defined(__x86_64__)
#define SQRT64(a) _mm_sqrt_pd((__m128d)(a))
#define SQRT32(a) _mm_sqrt_ps((__m128)(a))
#elif defined(__aarch64__)
#undef LEVEL
#define LEVEL neon
#define FMA64(a, b, c) vfmaq_f64((float64x2_t)(c), (float64x2_t)(a), (float64x2_t)(b))
#define FMA32(a, b, c) vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b))
#define SQRT64(a) vsqrtq_f64((float64x2_t)(a))
#define SQRT32(a) vsqrtq_f32((float32x4_t)(a))
#endif
#define TYPE 64
#include "vec_kernels.inc"
#define TYPE 32
#include "vec_kernels.inc"
#define TYPE 1
#include "vec_kernels.inc"

/* ---- the choice ---- */

typedef struct level {
    const char *name;
    int bytes;
    const vec_fn *table[3]; /* by bk_dtype */
    double (*top[2])(int64_t n, const void *a);
    int64_t (*place[2])(int64_t n, const void *a, double largest);
    double (*sum[2])(int64_t n, const void *a, const void *b);
    double (*dot[2])(int64_t n, const void *a, const void *b);
    void (*softmax[2])(int64_t rows, int64_t n, int64_t seen, void *out, const void *a, bool scaled, double *tops,
                       double *sums);
    void (*log_softmax[2])(int64_t rows, int64_t n, void *out, const void *a);
    void (*softmax_slope[2])(int64_t rows, int64_t n, int64_t seen, void *out, const void *s, const void *t);
    void (*normalize[2])(int64_t rows, int64_t n, double eps, void *out, void *scale, const void *a);
    void (*normalize_slope[2])(int64_t rows, int64_t n, void *out, const void *y, const void *scale, const void *t);
    void (*adam[2])(int64_t n, const vec_adam_step *s);
    void (*add_rows[2])(int64_t rows, int64_t stride, int64_t n, const void *a, double *acc);
    void (*add_squares[2])(int64_t rows, int64_t stride, int64_t n, const void *a, double *acc);
    void (*running[2])(int64_t rows, int64_t stride, int64_t n, void *out, const void *a, double *sums);
    void (*widen)(int64_t n, void *out, const void *a);   /* float32 to float64 */
    void (*shorten)(int64_t n, void *out, const void *a); /* float64 to float32 */
    void (*mix)(int64_t blocks, const void *a, uint64_t *lane);
    void (*copy_rows)(int64_t rows, size_t bytes, char *out, size_t stride_out, const char *a, size_t stride_a);
} level;

#define ROW(id, bytes)                                                                                                 \
    { #id, bytes, { table_##id##_f64, table_##id##_f32, table_##id##_i64 }, { top_##id##_f64, top_##id##_f32 },        \
      { place_##id##_f64, place_##id##_f32 }, { sum_##id##_f64, sum_##id##_f32 },                                      \
      { dot_##id##_f64, dot_##id##_f32 }, { softmax_##id##_f64, softmax_##id##_f32 },                                  \
      { log_softmax_##id##_f64, log_softmax_##id##_f32 },                                                              \
      { softmax_slope_##id##_f64, softmax_slope_##id##_f32 }, { normalize_##id##_f64, normalize_##id##_f32 },          \
      { normalize_slope_##id##_f64, normalize_slope_##id##_f32 }, { adam_##id##_f64, adam_##id##_f32 },                \
      { add_rows_##id##_f64, add_rows_##id##_f32 }, { add_squares_##id##_f64, add_squares_##id##_f32 },                \
      { running_##id##_f64, running_##id##_f32 }, widen_##id##_f64, shorten_##id##_f64, mix_##id##_i64,                \
      copy_rows_##id##_i64 }

static const level levels[] = {
#if defined(__x86_64__)
    ROW(avx512, 64),
    ROW(avx2, 32),
    ROW(portable, 16),
#elif defined(__aarch64__)
    ROW(neon, 16),
#else
    ROW(portable, 16),
#endif
};

static int choose(void) {
#if defined(__x86_64__)
    const char *wish = getenv("BRACKET_VEC");
    bool avx2, avx512;
    __builtin_cpu_init();
    avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
    if (wish && strcmp(wish, "portable") == 0) return 2;
    if (wish && strcmp(wish, "avx2") == 0) avx512 = false;
    return avx512 ? 0 : avx2 ? 1 : 2;
#else
    return 0;
#endif
}

/* Asking the processor takes microseconds, so the answer is kept. Threads that race here all store
 * the same value: nothing an environment does can be seen by another. */
static const level *chosen(void) {
    static atomic_int kept; /* 1 + the row; 0: not asked yet */
    int row = atomic_load_explicit(&kept, memory_order_relaxed);
    if (!row) {
        row = 1 + choose();
        atomic_store_explicit(&kept, row, memory_order_relaxed);
    }
    return &levels[row - 1];
}

const char *vec_level(void) {
    return chosen()->name;
}

int vec_bytes(void) {
    return chosen()->bytes;
}

bool vec_intel(void) {
#if defined(__x86_64__)
    return __builtin_cpu_is("intel");
#else
    return false;
#endif
}

bool vec_zen5(void) {
#if defined(__x86_64__)
    static atomic_int kept; /* 1: no, 2: yes; as in chosen() */
    int answer = atomic_load_explicit(&kept, memory_order_relaxed);
    if (!answer) {
        unsigned model = 0, b, c, d;
        __get_cpuid(1, &model, &b, &c, &d);
        const unsigned family = (model >> 8 & 15) + (model >> 20 & 255);
        answer = __builtin_cpu_is("amd") && family >= 0x1a ? 2 : 1;
        atomic_store_explicit(&kept, answer, memory_order_relaxed);
    }
    return answer == 2;
#else
    return false;
#endif
}

vec_fn vec_get(vec_op op, bk_dtype dtype) {
    if ((unsigned)op >= VEC_OPS || (unsigned)dtype > BK_INT64) return NULL;
    return chosen()->table[dtype][op];
}

int vec_operands(vec_op op) {
    static const signed char operands[VEC_OPS] = {
#define VEC_ROW(name, NAME, used) [VEC_##NAME] = used,
#define VEC_ROW_REAL VEC_ROW
#include "gen/vec_rows.h"
#undef VEC_ROW
#undef VEC_ROW_REAL
    };
    return operands[op];
}

/* ---- sums ---- */

enum { SUM_BLOCK = 1024 };

/* Blocks are added as a binary counter carries: the same tree for the same n, depth log2(blocks). */
static double pairwise(double (*block)(int64_t, const void *, const void *), size_t size, int64_t n, const char *a,
                       const char *b) {
    double partial[64];
    int top = 0;
    uint64_t count = 0;
    for (int64_t i = 0; i < n; i += SUM_BLOCK, count++) {
        int64_t len = n - i < SUM_BLOCK ? n - i : SUM_BLOCK;
        double s = block(len, a + (size_t)i * size, b ? b + (size_t)i * size : NULL);
        for (uint64_t carry = count; carry & 1; carry >>= 1) s = partial[--top] + s;
        partial[top++] = s;
    }
    if (!top) return 0;
    double s = partial[--top];
    while (top) s = partial[--top] + s;
    return s;
}

/* Exact in int64 (wrapping), rounded once. */
static double int_sum(int64_t n, const int64_t *a, const int64_t *b) {
    uint64_t s = 0;
    for (int64_t i = 0; i < n; i++) s += (uint64_t)a[i] * (b ? (uint64_t)b[i] : 1u);
    return (double)(int64_t)s;
}

double vec_max(bk_dtype dtype, int64_t n, const void *a) {
    return chosen()->top[dtype](n, a);
}

int64_t vec_argmax(bk_dtype dtype, int64_t n, const void *a) {
    return chosen()->place[dtype](n, a, vec_max(dtype, n, a));
}

double vec_sum(bk_dtype dtype, int64_t n, const void *a) {
    if (dtype == BK_INT64) return int_sum(n, a, NULL);
    return pairwise(chosen()->sum[dtype], dtype == BK_FLOAT32 ? 4 : 8, n, a, NULL);
}

double vec_dot(bk_dtype dtype, int64_t n, const void *a, const void *b) {
    if (dtype == BK_INT64) return int_sum(n, a, b);
    return pairwise(chosen()->dot[dtype], dtype == BK_FLOAT32 ? 4 : 8, n, a, b);
}

void vec_softmax(bk_dtype dtype, int64_t rows, int64_t n, int64_t seen, void *out, const void *a, bool scaled,
                 double *tops, double *sums) {
    chosen()->softmax[dtype](rows, n, seen, out, a, scaled, tops, sums);
}

void vec_log_softmax(bk_dtype dtype, int64_t rows, int64_t n, void *out, const void *a) {
    chosen()->log_softmax[dtype](rows, n, out, a);
}

void vec_softmax_slope(bk_dtype dtype, int64_t rows, int64_t n, int64_t seen, void *out, const void *s, const void *t) {
    chosen()->softmax_slope[dtype](rows, n, seen, out, s, t);
}

void vec_normalize(bk_dtype dtype, int64_t rows, int64_t n, double eps, void *out, void *scale, const void *a) {
    chosen()->normalize[dtype](rows, n, eps, out, scale, a);
}

void vec_normalize_slope(bk_dtype dtype, int64_t rows, int64_t n, void *out, const void *y, const void *scale,
                         const void *t) {
    chosen()->normalize_slope[dtype](rows, n, out, y, scale, t);
}

void vec_adam(bk_dtype dtype, int64_t n, const vec_adam_step *s) {
    chosen()->adam[dtype](n, s);
}

void vec_add_rows(bk_dtype dtype, int64_t rows, int64_t stride, int64_t n, const void *a, double *acc) {
    chosen()->add_rows[dtype](rows, stride, n, a, acc);
}

void vec_add_squares(bk_dtype dtype, int64_t rows, int64_t stride, int64_t n, const void *a, double *acc) {
    chosen()->add_squares[dtype](rows, stride, n, a, acc);
}

void vec_running(bk_dtype dtype, int64_t rows, int64_t stride, int64_t n, void *out, const void *a, double *sums) {
    chosen()->running[dtype](rows, stride, n, out, a, sums);
}

void vec_copy_rows(int64_t rows, size_t bytes, void *out, size_t stride_out, const void *a, size_t stride_a) {
    enum { LONG = 1024, SHORT = 64 };
    char *to = out;
    const char *from = a;
    if (bytes > LONG || bytes < SHORT)
        for (int64_t i = 0; i < rows; i++, to += stride_out, from += stride_a) memcpy(to, from, bytes);
    else
        chosen()->copy_rows(rows, bytes, to, stride_out, from, stride_a);
}

void vec_mix(int64_t blocks, const void *a, uint64_t *lane) {
    chosen()->mix(blocks, a, lane);
}

/* ---- conversion ---- */

void vec_cast(int64_t n, bk_dtype to, void *out, bk_dtype from, const void *a) {
    if (n <= 0) return;
    if (to == from) {
        memcpy(out, a, (size_t)n * (to == BK_FLOAT32 ? 4u : 8u));
    } else if (from == BK_INT64) {
        const int64_t *p = a;
        if (to == BK_FLOAT64)
            for (int64_t i = 0; i < n; i++) ((double *)out)[i] = (double)p[i];
        else
            for (int64_t i = 0; i < n; i++) ((float *)out)[i] = (float)p[i];
    } else if (to == BK_INT64) {
        int64_t *o = out;
        if (from == BK_FLOAT64)
            for (int64_t i = 0; i < n; i++) o[i] = vec_int64(((const double *)a)[i]);
        else
            for (int64_t i = 0; i < n; i++) o[i] = vec_int64((double)((const float *)a)[i]);
    } else if (to == BK_FLOAT64) {
        chosen()->widen(n, out, a);
    } else {
        chosen()->shorten(n, out, a);
    }
}
