/* gemm_kernel.c - own matrix products for x86-64: a tile of 6 rows by two vectors of C in registers, B in panels two
 * vectors wide that stay in L1, A in blocks that stay in L2. Written once, for AVX2 and for AVX-512.
 *
 * What is packed: a panel of B where its rows lie apart or it is stored transposed; a block of A where it is stored
 * transposed, since a tile would touch a cache line for every step. Else A is read as it lies. All packing is on the
 * stack, 144 KiB. The order of every sum depends on the shape alone. */
#include "gemm_kernel.h"
#include "vec.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#if defined(__clang__)
#define UNROLL
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum {
    PANEL_BYTES = 16 << 10,  /* of B: half of L1 */
    BLOCK_BYTES = 256 << 10, /* of A: half of L2 */
    PACKED_BYTES = 128 << 10, /* of A, stored transposed */
    PACKED_DEPTH = 128,
    NEAR = 16 << 10, /* bytes: what lies within is not packed, it stays in L1 by itself */
};

#define TARGET __attribute__((target("avx2,fma")))

/* panel (k,width) = the transpose of `columns` rows of b, in 4 x 4 or 8 x 8 squares: element by element the
 * copy would take as long as the product. */
static inline TARGET void transpose_f64(int64_t k, int64_t columns, int64_t width, const double *b, int64_t ldb,
                                        double *panel) {
    int64_t j = 0;
    for (; j + 4 <= columns; j += 4, b += 4 * ldb) {
        int64_t q = 0;
        for (; q + 4 <= k; q += 4) {
            double *to = panel + q * width + j;
            __m256d r0 = _mm256_loadu_pd(b + q), r1 = _mm256_loadu_pd(b + ldb + q);
            __m256d r2 = _mm256_loadu_pd(b + 2 * ldb + q), r3 = _mm256_loadu_pd(b + 3 * ldb + q);
            __m256d t0 = _mm256_unpacklo_pd(r0, r1), t1 = _mm256_unpackhi_pd(r0, r1);
            __m256d t2 = _mm256_unpacklo_pd(r2, r3), t3 = _mm256_unpackhi_pd(r2, r3);
            _mm256_storeu_pd(to, _mm256_permute2f128_pd(t0, t2, 0x20));
            _mm256_storeu_pd(to + width, _mm256_permute2f128_pd(t1, t3, 0x20));
            _mm256_storeu_pd(to + 2 * width, _mm256_permute2f128_pd(t0, t2, 0x31));
            _mm256_storeu_pd(to + 3 * width, _mm256_permute2f128_pd(t1, t3, 0x31));
        }
        for (; q < k; q++)
            for (int i = 0; i < 4; i++) panel[q * width + j + i] = b[i * ldb + q];
    }
    for (; j < columns; j++, b += ldb)
        for (int64_t q = 0; q < k; q++) panel[q * width + j] = b[q];
}

static inline TARGET void transpose_f32(int64_t k, int64_t columns, int64_t width, const float *b, int64_t ldb,
                                        float *panel) {
    int64_t j = 0;
    for (; j + 8 <= columns; j += 8, b += 8 * ldb) {
        int64_t q = 0;
        for (; q + 8 <= k; q += 8) {
            __m256 r[8], t[8];
            UNROLL for (int i = 0; i < 8; i++) r[i] = _mm256_loadu_ps(b + i * ldb + q);
            UNROLL for (int i = 0; i < 4; i++) {
                t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            UNROLL for (int i = 0; i < 2; i++) { /* r[4i+c]: column c (and c+4) of rows 4i..4i+3 */
                r[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
                r[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xEE);
                r[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
                r[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xEE);
            }
            UNROLL for (int i = 0; i < 4; i++) {
                _mm256_storeu_ps(panel + (q + i) * width + j, _mm256_permute2f128_ps(r[i], r[4 + i], 0x20));
                _mm256_storeu_ps(panel + (q + 4 + i) * width + j, _mm256_permute2f128_ps(r[i], r[4 + i], 0x31));
            }
        }
        for (; q < k; q++)
            for (int i = 0; i < 8; i++) panel[q * width + j + i] = b[i * ldb + q];
    }
    for (; j < columns; j++, b += ldb)
        for (int64_t q = 0; q < k; q++) panel[q * width + j] = b[q];
}

/* Rows of the next tile of m: sixes, but no tile with fewer than three rows where it can be shared out: a tile waits
 * for its own sums unless it has enough of them. */
static inline int tile_rows(int64_t m) {
    return m >= 9 || m == 6 ? 6 : m >= 7 || m == 4 ? 4 : (int)m;
}

/* A depth or a height of at most `most`, the same for all blocks but the last. */
static inline int64_t even_part(int64_t whole, int64_t most) {
    int64_t parts = (whole + most - 1) / most;
    return (whole + parts - 1) / parts;
}

#define KERNEL(TARGET, T, V, L, name, TRANSPOSE, LOAD, STORE, SPLAT, FMADD, MULV)                                      \
    /* C tile: R rows by NV vectors, k steps; columns past the last are computed on padding and not stored */          \
    static inline TARGET __attribute__((always_inline)) void name##_tile(                                              \
        const int R, const int NV, const gemm_part *p, int64_t k, double beta, const T *a, int64_t rs, int64_t cs,     \
        const T *b, int64_t ldb, T *c, int64_t columns) {                                                              \
        V acc[12];                                                                                                     \
        const int64_t ldc = p->ldc;                                                                                    \
        UNROLL for (int j = 0; j < R * NV; j++) acc[j] = SPLAT(0);                                                     \
        for (; k; k--, a += cs, b += ldb) {                                                                            \
            V b0 = LOAD(b), b1 = NV > 1 ? LOAD(b + L) : b0;                                                            \
            UNROLL for (int r = 0; r < R; r++) {                                                                       \
                V x = SPLAT(a[r * rs]);                                                                                \
                acc[r * NV] = FMADD(x, b0, acc[r * NV]);                                                               \
                if (NV > 1) acc[r * NV + 1] = FMADD(x, b1, acc[r * NV + 1]);                                           \
            }                                                                                                          \
        }                                                                                                              \
        if (p->alpha != 1) {                                                                                           \
            const V scale = SPLAT((T)p->alpha);                                                                        \
            UNROLL for (int j = 0; j < R * NV; j++) acc[j] = MULV(acc[j], scale);                                      \
        }                                                                                                              \
        if (columns < NV * L) {                                                                                        \
            UNROLL for (int r = 0; r < R; r++) {                                                                       \
                T *to = c + r * ldc, part[2 * L];                                                                      \
                UNROLL for (int j = 0; j < NV; j++) STORE(part + j * L, acc[r * NV + j]);                              \
                for (int64_t j = 0; j < columns; j++) to[j] = beta == 0 ? part[j] : part[j] + (T)beta * to[j];         \
            }                                                                                                          \
            return;                                                                                                    \
        }                                                                                                              \
        if (beta != 0) {                                                                                               \
            const V keep = SPLAT((T)beta);                                                                             \
            UNROLL for (int j = 0; j < R * NV; j++)                                                                    \
                acc[j] = FMADD(keep, LOAD(c + j / NV * ldc + j % NV * L), acc[j]);                                     \
        }                                                                                                              \
        UNROLL for (int j = 0; j < R * NV; j++) STORE(c + j / NV * ldc + j % NV * L, acc[j]);                          \
    }                                                                                                                  \
    /* one panel of B against m rows of A; packed: the rows of a tile lie side by side, tile after tile */             \
    static inline TARGET __attribute__((always_inline)) void name##_rows(                                              \
        const int NV, const gemm_part *p, int64_t m, int64_t k, double beta, const T *a, int64_t rs, int64_t cs,       \
        bool packed, const T *b, int64_t ldb, T *c, int64_t columns) {                                                 \
        int R;                                                                                                         \
        for (; m; m -= R, c += R * p->ldc) {                                                                           \
            R = tile_rows(m);                                                                                          \
            if (packed) cs = R;                                                                                        \
            if (R == 6) name##_tile(6, NV, p, k, beta, a, rs, cs, b, ldb, c, columns);                                 \
            else if (R == 4) name##_tile(4, NV, p, k, beta, a, rs, cs, b, ldb, c, columns);                            \
            else if (R == 5) name##_tile(5, NV, p, k, beta, a, rs, cs, b, ldb, c, columns);                            \
            else if (R == 3) name##_tile(3, NV, p, k, beta, a, rs, cs, b, ldb, c, columns);                            \
            else if (R == 2) name##_tile(2, NV, p, k, beta, a, rs, cs, b, ldb, c, columns);                            \
            else name##_tile(1, NV, p, k, beta, a, rs, cs, b, ldb, c, columns);                                        \
            a += packed ? R * k : R * rs;                                                                              \
        }                                                                                                              \
    }                                                                                                                  \
    static TARGET void name(const gemm_part *p) {                                                                      \
        enum { WIDE = 2 * L, DEPTH = PANEL_BYTES / (WIDE * (int)sizeof(T)), SPAN = L < 6 ? 2 * L : L };                \
        _Alignas(64) T panel[DEPTH * WIDE], block[PACKED_BYTES / sizeof(T) + SPAN];                                    \
        const bool pack_a = p->ta && p->n > WIDE && p->k * p->lda * (int64_t)sizeof(T) > NEAR;                         \
        const bool pack_b = p->m > 12 && p->k * p->ldb * (int64_t)sizeof(T) > NEAR;                                    \
        const int64_t depth = even_part(p->k, pack_a ? PACKED_DEPTH : (int)DEPTH);                                     \
        const int64_t most = (pack_a ? PACKED_BYTES : BLOCK_BYTES) / (int64_t)sizeof(T) / depth;                       \
        const int64_t height = even_part(p->m, most / 6 * 6);                                                          \
        for (int64_t q = 0; q < p->k; q += depth) {                                                                    \
            const int64_t k = p->k - q < depth ? p->k - q : depth;                                                     \
            const double beta = q ? 1 : p->beta;                                                                       \
            for (int64_t i = 0; i < p->m; i += height) {                                                               \
                const int64_t m = p->m - i < height ? p->m - i : height;                                               \
                const T *a = (const T *)p->a + (p->ta ? q * p->lda + i : i * p->lda + q);                              \
                if (pack_a) {                                                                                          \
                    T *to = block;                                                                                     \
                    for (int64_t r = 0, R; r < m; r += R) {                                                            \
                        R = tile_rows(m - r);                                                                          \
                        if (i + r + SPAN <= p->m) /* whole vectors; the next overwrites what is too much */           \
                            for (int64_t s = 0; s < k; s++, to += R) {                                                 \
                                V x = LOAD(a + s * p->lda + r), y = LOAD(a + s * p->lda + r + SPAN - L);               \
                                STORE(to, x);                                                                          \
                                if (SPAN > L) STORE(to + SPAN - L, y);                                                 \
                            }                                                                                          \
                        else                                                                                           \
                            for (int64_t s = 0; s < k; s++, to += R)                                                   \
                                for (int64_t t = 0; t < R; t++) to[t] = a[s * p->lda + r + t];                         \
                    }                                                                                                  \
                    a = block;                                                                                         \
                }                                                                                                      \
                for (int64_t j = 0; j < p->n; j += WIDE) {                                                             \
                    const int64_t columns = p->n - j < WIDE ? p->n - j : WIDE, width = columns > L ? WIDE : L;         \
                    const T *b = (const T *)p->b + (p->tb ? j * p->ldb + q : q * p->ldb + j);                          \
                    int64_t step = p->ldb;                                                                             \
                    if (p->tb || pack_b || columns < width) {                                                          \
                        if (p->tb) TRANSPOSE(k, columns, width, b, p->ldb, panel);                                     \
                        else if (columns == WIDE)                                                                      \
                            for (int64_t s = 0; s < k; s++) {                                                          \
                                STORE(panel + s * WIDE, LOAD(b + s * step));                                           \
                                STORE(panel + s * WIDE + L, LOAD(b + s * step + L));                                   \
                            }                                                                                          \
                        else                                                                                           \
                            for (int64_t s = 0; s < k; s++)                                                            \
                                memcpy(panel + s * width, b + s * step, (size_t)columns * sizeof(T));                  \
                        for (int64_t t = columns; t < width; t++)                                                      \
                            for (int64_t s = 0; s < k; s++) panel[s * width + t] = 0;                                  \
                        b = panel;                                                                                     \
                        step = width;                                                                                  \
                    }                                                                                                  \
                    T *c = (T *)p->out + i * p->ldc + j;                                                               \
                    const int64_t rs = pack_a || p->ta ? 1 : p->lda, cs = p->ta ? p->lda : 1;                          \
                    if (width == WIDE) name##_rows(2, p, m, k, beta, a, rs, cs, pack_a, b, step, c, columns);          \
                    else name##_rows(1, p, m, k, beta, a, rs, cs, pack_a, b, step, c, columns);                        \
                }                                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
    }

KERNEL(TARGET, double, __m256d, 4, avx2_f64, transpose_f64, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_set1_pd,
       _mm256_fmadd_pd, _mm256_mul_pd)
KERNEL(TARGET, float, __m256, 8, avx2_f32, transpose_f32, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_set1_ps,
       _mm256_fmadd_ps, _mm256_mul_ps)
#define WIDER __attribute__((target("avx512f,avx2,fma")))
KERNEL(WIDER, double, __m512d, 8, avx512_f64, transpose_f64, _mm512_loadu_pd, _mm512_storeu_pd, _mm512_set1_pd,
       _mm512_fmadd_pd, _mm512_mul_pd)
KERNEL(WIDER, float, __m512, 16, avx512_f32, transpose_f32, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_set1_ps,
       _mm512_fmadd_ps, _mm512_mul_ps)

bool gemm_own(bk_dtype dtype, const gemm_part *p) {
    const bool wide = vec_bytes() == 64;
    if (vec_bytes() < 32) return false;
    if (dtype == BK_FLOAT64) (wide ? avx512_f64 : avx2_f64)(p);
    else (wide ? avx512_f32 : avx2_f32)(p);
    return true;
}
#else
bool gemm_own(bk_dtype dtype, const gemm_part *p) {
    (void)dtype, (void)p;
    return false;
}
#endif
