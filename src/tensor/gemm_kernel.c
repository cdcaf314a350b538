/* gemm_kernel.c - own matrix products for x86-64, by gemm_kernel.inc: AVX2 with tiles of 6 rows, AVX-512 with 14.
 *
 * What is packed: a block of B (to stay in L2) where its rows lie apart or it is stored transposed; a few strips of
 * A where its rows lie whole pages apart. Rows of B are packed by the first strip of tiles as it reads them, by
 * stores while sums keep the units busy: packed before, 512 KiB took 19 us, 6 % of a product of 128 rows. Of an A
 * stored transposed a tile touches a cache line for every step. On Zen 4 L2 gives that in time, and packing A cost 2 to
 * 30 %. On Intel's cores, of twice the speed, it does not where rows lie 2 KiB apart, or so far that the strip's lines
 * do not fit L1: packed, products of 512 to 1024 rows have 155 to 167 of 179 GFLOP/s, as it lies 128 to 157. All
 * packing is on the stack, 560 KiB. The order of every sum depends on the depths and transposes of its terms alone. */
#include "gemm_kernel.h"
#include "vec.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

/* TWO_STEPS: of depth in one turn, so that counting takes less of the ports that sums need: 5 % of products whose A is
 * stored transposed, 2 % of others, on an Intel core. Four gain no more. */
#if defined(__clang__)
#define UNROLL
#define TWO_STEPS _Pragma("clang loop unroll_count(2)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#define TWO_STEPS _Pragma("GCC unroll 2")
#endif

/* Pointers that the compiler is to step one by one: made from one another, they take more registers than there are. */
#define KEEP(x, y, z) __asm__("" : "+r"(x), "+r"(y), "+r"(z))
#define STEP(x) __asm__("" : "+r"(x))

enum {
    FEW = 4,                 /* rows of A for which B is read as it lies, */
    NEAR_L2 = 3 << 20,       /* bytes: on Intel, whose L2 has most of such a B, up to GEMM_FEW: by 8 to 20 %; */
    FEW_ZEN5 = 64,           /* on Zen 5: by a third to 2.5 times up to 24, by some percent from 28 on */
    SHALLOW = 64,            /* depth for each row of A, below which a transposed B is not packed for few rows */
    CROWDED = 4096,          /* bytes between rows of A: all of them in the same few places of L1 */
    SPREAD = 512 << 10,      /* bytes between the first and last row of an A stored transposed that fills L1 */
    BROAD = 4,               /* panels of B for which an A stored transposed is worth packing */
    AHEAD = 4,               /* rows asked for before they are packed */
    BEFORE = 8,              /* rows of B asked for before the first strip reads them */
    FORESIGHT = 4,           /* strips of A asked for early */
    PARTS = 8,               /* of a slab: more short terms make more slabs */
    NEXT = 2,                /* L2: where what is asked for early comes */
    LATE = 64,               /* of depth: C is asked for so many steps before a tile is done */
};

#define TARGET __attribute__((target("avx2,fma")))
#define BLOCK_BYTES (256 << 10) /* of B, for L2: it has 512 KiB or more */

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

/* Rows of the next strip of m, a height any_strip has: no strip is left with so few that its tiles wait for their own
 * sums, where the rows can be shared out. */
static inline int strip_rows(int64_t m, int most) {
    if (m >= 2 * most || m == most) return most;
    if (m > most) return (int)(m + 3) / 4 * 2; /* half, even */
    return m <= 3 || m % 2 == 0 ? (int)m : m == 5 ? 2 : (int)m - 3;
}

/* Rows of A for which a B of so many bytes is read as it lies: packing it would take longer than it saves. */
static int rows_as_it_lies(int64_t bytes) {
    if (vec_zen5()) return FEW_ZEN5;
    return vec_intel() && bytes <= NEAR_L2 ? GEMM_FEW : FEW;
}

/* A part of at most `most`, the same for all parts but the last. */
static inline int64_t even_part(int64_t whole, int64_t most) {
    int64_t parts = (whole + most - 1) / most;
    return (whole + parts - 1) / parts;
}

/* A slab of depth: terms, or parts of them, stored alike, in their order. */
typedef struct slab {
    int64_t k; /* of all parts */
    int count;
    struct {
        const gemm_term *t;
        int64_t from, k;
    } part[PARTS + 1];
    int term; /* where the next one begins: at this depth of this term, and how much it and those like it still have */
    int64_t from, left, depth;
} slab;

/* The next slab, at most `most` deep; false after the last. The slabs depend on the terms alone. */
static bool next_slab(const gemm_part *p, int64_t most, slab *s) {
    if (!s->left) {
        const gemm_term *t = &p->terms[s->term];
        for (int i = s->term; i < p->count && p->terms[i].ta == t->ta && p->terms[i].tb == t->tb; i++)
            s->left += p->terms[i].k;
        if (!s->left) return false;
        s->depth = (even_part(s->left, most) + 7) / 8 * 8;
    }
    s->k = 0;
    s->count = 0;
    while (s->left && s->k < s->depth && s->count < PARTS) {
        const gemm_term *t = &p->terms[s->term];
        const int64_t rest = t->k - s->from, k = rest < s->depth - s->k ? rest : s->depth - s->k;
        s->part[s->count].t = t;
        s->part[s->count].from = s->from;
        s->part[s->count++].k = k;
        s->k += k;
        s->left -= k;
        s->from = k < rest ? s->from + k : 0;
        s->term += k == rest;
    }
    if (s->part[s->count - 1].k >= 2 * LATE) {
        s->part[s->count] = s->part[s->count - 1];
        s->part[s->count].from += s->part[s->count].k - LATE;
        s->part[s->count].k = LATE;
        s->part[s->count++ - 1].k -= LATE;
    }
    return true;
}

#define ROWS 6
#define T double
#define V __m256d
#define L 4
#define K(name) avx2_f64_##name
#define LOAD _mm256_loadu_pd
#define STORE _mm256_storeu_pd
#define SPLAT _mm256_set1_pd
#define FMADD _mm256_fmadd_pd
#define MULV _mm256_mul_pd
#define FIRST(n) _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3))
#define LOAD_PART(p, n) _mm256_maskload_pd(p, FIRST(n))
#define STORE_PART(p, v, n) _mm256_maskstore_pd(p, FIRST(n), v)
#define TRANSPOSE transpose_f64
#include "gemm_kernel.inc"
#define T float
#define V __m256
#define L 8
#define K(name) avx2_f32_##name
#define LOAD _mm256_loadu_ps
#define STORE _mm256_storeu_ps
#define SPLAT _mm256_set1_ps
#define FMADD _mm256_fmadd_ps
#define MULV _mm256_mul_ps
#define FIRST(n) _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
#define LOAD_PART(p, n) _mm256_maskload_ps(p, FIRST(n))
#define STORE_PART(p, v, n) _mm256_maskstore_ps(p, FIRST(n), v)
#define TRANSPOSE transpose_f32
#include "gemm_kernel.inc"
#undef TARGET
#undef BLOCK_BYTES
#undef ROWS

#define TARGET __attribute__((target("avx512f,avx2,fma")))
#define BLOCK_BYTES (512 << 10) /* L2 has 1 MiB or more where there is AVX-512 */
#define ROWS 14
#define T double
#define V __m512d
#define L 8
#define K(name) avx512_f64_##name
#define LOAD _mm512_loadu_pd
#define STORE _mm512_storeu_pd
#define SPLAT _mm512_set1_pd
#define FMADD _mm512_fmadd_pd
#define MULV _mm512_mul_pd
#define FIRST(n) (__mmask8)((1 << (n)) - 1)
#define LOAD_PART(p, n) _mm512_maskz_loadu_pd(FIRST(n), p)
#define STORE_PART(p, v, n) _mm512_mask_storeu_pd(p, FIRST(n), v)
#define TRANSPOSE transpose_f64
#include "gemm_kernel.inc"
#define T float
#define V __m512
#define L 16
#define K(name) avx512_f32_##name
#define LOAD _mm512_loadu_ps
#define STORE _mm512_storeu_ps
#define SPLAT _mm512_set1_ps
#define FMADD _mm512_fmadd_ps
#define MULV _mm512_mul_ps
#define FIRST(n) (__mmask16)((1 << (n)) - 1)
#define LOAD_PART(p, n) _mm512_maskz_loadu_ps(FIRST(n), p)
#define STORE_PART(p, v, n) _mm512_mask_storeu_ps(p, FIRST(n), v)
#define TRANSPOSE transpose_f32
#include "gemm_kernel.inc"

void gemm_own(bk_dtype dtype, const gemm_part *p) {
    const bool wide = vec_bytes() == 64;
    if (vec_bytes() < 32) return;
    if (dtype == BK_FLOAT64) (wide ? avx512_f64_sum : avx2_f64_sum)(p);
    else (wide ? avx512_f32_sum : avx2_f32_sum)(p);
}
#else
void gemm_own(bk_dtype dtype, const gemm_part *p) {
    (void)dtype, (void)p;
}
#endif
