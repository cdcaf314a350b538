/* gemm.c - matrix products. Three ways, chosen by the shape alone, so that a product has the same
 * bits at any number of threads: an own kernel for the small ones (OpenBLAS spends more on packing
 * than on arithmetic there), gemv for one row or column, and OpenBLAS for the rest, cut into pieces
 * that the workers share. The interrupt flag is read between calls of at most CALL_WORK.
 * c may be NULL, as inside a worker: then the pieces run here one after the other, unpolled. */
#include "gemm.h"
#include "vec.h"

#include <cblas.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>

typedef struct product {
    ctx *c;
    bk_dtype dtype;
    bool ta, tb;
    int64_t m, n, k, lda, ldb, ldc;
    double alpha, beta;
    const char *a, *b;
    char *out;
    int64_t rows, columns; /* of a piece */
    int64_t across;        /* pieces along n */
    int64_t depth;         /* of a call */
    size_t size;           /* of an element */
    atomic_bool stopped;
} product;

/* Sizes of pieces. Measured on Zen 3 at one thread, cutting a side in pieces of s costs about 12/s of the
 * time, since the other operand is packed again for every piece. So pieces of 512 along the longer side
 * and 1024 along the other keep the loss near 2 %; sides below 768 stay whole. */
enum { PIECE_LONG = 448, PIECE_SHORT = 1024 };
/* In multiply-adds: */
static const int64_t PIECE_WORK = 8 << 20;        /* no piece is smaller: 0.4 ms at 40 GFlop/s */
static const int64_t CALL_WORK = 512 << 20;       /* no call is larger: 25 ms at 40 GFlop/s */
static const int64_t VECTOR_PIECE_WORK = 1 << 20; /* the same for matrix times vector, bound by memory */
static const int64_t VECTOR_CALL_WORK = 16 << 20;

/* ---- OpenBLAS's threads ---- */

/* The thread count of OpenBLAS is the process's, not an environment's, so who changes it must count
 * its users per process as well: the one piece of global state in the library. It holds nothing
 * of any environment, and is back at its first value when nobody computes. */
static pthread_mutex_t users_lock = PTHREAD_MUTEX_INITIALIZER;
static int users, threads_before;

void gemm_enter(void) {
    pthread_mutex_lock(&users_lock);
    if (users++ == 0) {
        threads_before = openblas_get_num_threads();
        if (threads_before != 1) openblas_set_num_threads(1);
    }
    pthread_mutex_unlock(&users_lock);
}

void gemm_leave(void) {
    pthread_mutex_lock(&users_lock);
    if (users > 0 && --users == 0 && threads_before != 1) openblas_set_num_threads(threads_before);
    pthread_mutex_unlock(&users_lock);
}

const char *gemm_core(void) {
    return openblas_get_corename();
}

const char *gemm_config(void) {
    return openblas_get_config();
}

/* ---- small products ---- */

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET __attribute__((target("avx2,fma")))
#if defined(__clang__)
#define UNROLL
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum { SMALL_DEPTH = 256 }; /* a panel of B, two vectors wide, is then 16 KiB: half of L1 */

/* panel (k,width) = the transpose of `columns` rows of b, in 4 x 4 or 8 x 8 squares: element by element the
 * copy would take as long as the product. */
static inline TARGET void pack_f64(int64_t k, int64_t columns, int64_t width, const double *b, int64_t ldb,
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

static inline TARGET void pack_f32(int64_t k, int64_t columns, int64_t width, const float *b, int64_t ldb,
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

/* One tile: R rows by NV vectors of C, k steps; columns past the last are computed on the panel's padding and not
 * stored. name_rows runs it down a panel: 6 x 2 sums fill the sixteen registers, and the last rows are shared
 * out so that no tile has fewer than three of them, where each would wait for its own sums. */
#define SMALL(T, V, L, name, PACK, LOAD, STORE, SPLAT, FMADD, MULV)                                                    \
    static inline TARGET __attribute__((always_inline)) void name##_tile(                                              \
        const int R, const int NV, const product *p, const T *a, int64_t rs, int64_t cs, const T *b, int64_t ldb,      \
        T *c, int64_t columns) {                                                                                       \
        V acc[12];                                                                                                     \
        const int64_t ldc = p->ldc;                                                                                    \
        UNROLL for (int j = 0; j < R * NV; j++) acc[j] = SPLAT(0);                                                     \
        for (int64_t k = p->k; k; k--, a += cs, b += ldb) {                                                            \
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
                for (int64_t j = 0; j < columns; j++) to[j] = p->beta == 0 ? part[j] : part[j] + (T)p->beta * to[j];   \
            }                                                                                                          \
            return;                                                                                                    \
        }                                                                                                              \
        if (p->beta != 0) {                                                                                            \
            const V keep = SPLAT((T)p->beta);                                                                          \
            UNROLL for (int j = 0; j < R * NV; j++) acc[j] = FMADD(keep, LOAD(c + j / NV * ldc + j % NV * L), acc[j]); \
        }                                                                                                              \
        UNROLL for (int j = 0; j < R * NV; j++) STORE(c + j / NV * ldc + j % NV * L, acc[j]);                          \
    }                                                                                                                  \
    static inline TARGET __attribute__((always_inline)) void name##_rows(const int NV, const product *p, const T *b,   \
                                                                         int64_t ldb, T *c, int64_t columns) {         \
        const T *a = (const T *)(const void *)p->a;                                                                    \
        const int64_t rs = p->ta ? 1 : p->lda, cs = p->ta ? p->lda : 1, ldc = p->ldc;                                  \
        int64_t m = p->m;                                                                                              \
        for (; m >= 9 || m == 6; m -= 6, a += 6 * rs, c += 6 * ldc)                                                    \
            name##_tile(6, NV, p, a, rs, cs, b, ldb, c, columns);                                                      \
        for (; m >= 7 || m == 4; m -= 4, a += 4 * rs, c += 4 * ldc)                                                    \
            name##_tile(4, NV, p, a, rs, cs, b, ldb, c, columns);                                                      \
        if (m == 5) name##_tile(5, NV, p, a, rs, cs, b, ldb, c, columns);                                              \
        if (m == 3) name##_tile(3, NV, p, a, rs, cs, b, ldb, c, columns);                                              \
        if (m == 2) name##_tile(2, NV, p, a, rs, cs, b, ldb, c, columns);                                              \
        if (m == 1) name##_tile(1, NV, p, a, rs, cs, b, ldb, c, columns);                                              \
    }                                                                                                                  \
    static TARGET void name(const product *p) {                                                                        \
        T panel[SMALL_DEPTH * 2 * L];                                                                                  \
        const T *b = (const T *)(const void *)p->b;                                                                    \
        const int64_t k = p->k, ldb = p->ldb;                                                                          \
        for (int64_t j0 = 0; j0 < p->n; j0 += 2 * L) {                                                                 \
            const int64_t columns = p->n - j0 < 2 * L ? p->n - j0 : 2 * L, width = columns > L ? 2 * L : L;            \
            const T *from = b + j0;                                                                                    \
            int64_t step = ldb;                                                                                        \
            if (p->tb || columns < width) {                                                                            \
                if (p->tb)                                                                                             \
                    PACK(k, columns, width, b + j0 * ldb, ldb, panel);                                                 \
                else                                                                                                   \
                    for (int64_t q = 0; q < k; q++)                                                                    \
                        for (int64_t j = 0; j < columns; j++) panel[q * width + j] = from[q * ldb + j];                \
                for (int64_t j = columns; j < width; j++)                                                              \
                    for (int64_t q = 0; q < k; q++) panel[q * width + j] = 0;                                          \
                from = panel;                                                                                          \
                step = width;                                                                                          \
            }                                                                                                          \
            T *c = (T *)(void *)p->out + j0;                                                                           \
            if (width > L)                                                                                             \
                name##_rows(2, p, from, step, c, columns);                                                             \
            else                                                                                                       \
                name##_rows(1, p, from, step, c, columns);                                                             \
        }                                                                                                              \
    }

SMALL(double, __m256d, 4, small_f64, pack_f64, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_set1_pd, _mm256_fmadd_pd,
      _mm256_mul_pd)
SMALL(float, __m256, 8, small_f32, pack_f32, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_set1_ps, _mm256_fmadd_ps,
      _mm256_mul_ps)

/* Up to 64^3 multiply-adds in float64, twice that in float32: measured, OpenBLAS is ahead again above. */
static bool small(const product *p) {
    const int64_t most = p->dtype == BK_FLOAT64 ? 64 * 64 * 64 : 2 * 64 * 64 * 64;
    if (p->k > SMALL_DEPTH || p->m > most || p->n > most || p->m * p->n * p->k > most) return false;
    if (vec_level()[0] == 'p') return false; /* portable: no AVX2, or not wanted */
    if (p->dtype == BK_FLOAT64)
        small_f64(p);
    else
        small_f32(p);
    return true;
}
#else
static bool small(const product *p) {
    (void)p;
    return false;
}
#endif

/* ---- one call of OpenBLAS: rows i.., columns j.., depths q.. ---- */

static void blas_matrix(const product *p, int64_t i, int64_t j, int64_t q, int64_t m, int64_t n, int64_t k) {
    const char *a = p->a + (size_t)(p->ta ? q * p->lda + i : i * p->lda + q) * p->size;
    const char *b = p->b + (size_t)(p->tb ? j * p->ldb + q : q * p->ldb + j) * p->size;
    char *out = p->out + (size_t)(i * p->ldc + j) * p->size;
    const double beta = q ? 1 : p->beta;
    const int ta = p->ta ? CblasTrans : CblasNoTrans, tb = p->tb ? CblasTrans : CblasNoTrans;
    if (p->dtype == BK_FLOAT64)
        cblas_dgemm(CblasRowMajor, ta, tb, (int)m, (int)n, (int)k, p->alpha, (const double *)(const void *)a,
                    (int)p->lda, (const double *)(const void *)b, (int)p->ldb, beta, (double *)(void *)out,
                    (int)p->ldc);
    else
        cblas_sgemm(CblasRowMajor, ta, tb, (int)m, (int)n, (int)k, (float)p->alpha, (const float *)(const void *)a,
                    (int)p->lda, (const float *)(const void *)b, (int)p->ldb, (float)beta, (float *)(void *)out,
                    (int)p->ldc);
}

/* m = 1 or n = 1: the matrix (A or B) times the other operand as a vector with a stride. The result is
 * scaled here first: not every gemv overwrites NaN when beta is 0. */
static void blas_vector(const product *p, int64_t i, int64_t j, int64_t q, int64_t m, int64_t n, int64_t k) {
    const char *a = p->a + (size_t)(p->ta ? q * p->lda + i : i * p->lda + q) * p->size;
    const char *b = p->b + (size_t)(p->tb ? j * p->ldb + q : q * p->ldb + j) * p->size;
    char *out = p->out + (size_t)(i * p->ldc + j) * p->size;
    const bool column = p->n == 1; /* C is a column: A times b; else B transposed times a */
    const char *matrix = column ? a : b, *vector = column ? b : a;
    const int ld = (int)(column ? p->lda : p->ldb), step = (int)(column ? p->ldc : 1);
    const int inc = (int)(column ? (p->tb ? 1 : p->ldb) : (p->ta ? p->lda : 1));
    const int64_t len = column ? m : n;
    const bool across = column ? p->ta : !p->tb; /* the matrix is stored with depth as its rows */
    const int rows = (int)(across ? k : len), columns = (int)(across ? len : k);
    const int order = across ? CblasTrans : CblasNoTrans;
    if (p->dtype == BK_FLOAT64) {
        double *c = (double *)(void *)out;
        for (int64_t e = 0; q == 0 && e < len; e++) c[e * step] = p->beta == 0 ? 0 : p->beta * c[e * step];
        cblas_dgemv(CblasRowMajor, order, rows, columns, p->alpha, (const double *)(const void *)matrix, ld,
                    (const double *)(const void *)vector, inc, 1, c, step);
    } else {
        float *c = (float *)(void *)out;
        for (int64_t e = 0; q == 0 && e < len; e++) c[e * step] = p->beta == 0 ? 0 : (float)p->beta * c[e * step];
        cblas_sgemv(CblasRowMajor, order, rows, columns, (float)p->alpha, (const float *)(const void *)matrix, ld,
                    (const float *)(const void *)vector, inc, 1, c, step);
    }
}

/* ---- cutting ---- */

static void piece(void *arg, int64_t item) {
    product *p = arg;
    const int64_t i = item / p->across * p->rows, j = item % p->across * p->columns;
    const int64_t m = p->m - i < p->rows ? p->m - i : p->rows, n = p->n - j < p->columns ? p->n - j : p->columns;
    for (int64_t q = 0; q < p->k; q += p->depth) {
        const int64_t k = p->k - q < p->depth ? p->k - q : p->depth;
        if (p->c && atomic_load_explicit(&p->c->interrupted, memory_order_relaxed)) {
            atomic_store_explicit(&p->stopped, true, memory_order_relaxed);
            return;
        }
        if (p->m == 1 || p->n == 1)
            blas_vector(p, i, j, q, m, n, k);
        else
            blas_matrix(p, i, j, q, m, n, k);
    }
}

/* The size of each of `count` pieces of a side, a whole number of the BLAS's tiles. */
static int64_t piece_size(int64_t side, double count) {
    int64_t n = count < 1 ? 1 : count > (double)side ? side : (int64_t)count;
    int64_t s = (side + n - 1) / n;
    s = (s + 15) / 16 * 16;
    return s < side ? s : side;
}

/* Sets rows, columns, across and depth from the shape; returns the number of pieces. */
static int64_t cut(product *p) {
    const double work = (double)p->m * (double)p->n * (double)p->k;
    int64_t call = CALL_WORK;
    p->rows = p->m;
    p->columns = p->n;
    if (p->m == 1 || p->n == 1) {
        call = VECTOR_CALL_WORK;
        if (p->n == 1)
            p->rows = piece_size(p->m, work / (double)VECTOR_PIECE_WORK);
        else
            p->columns = piece_size(p->n, work / (double)VECTOR_PIECE_WORK);
    } else if (work >= 2 * (double)PIECE_WORK) {
        const bool tall = p->m >= p->n;
        const int64_t longer = tall ? p->m : p->n, shorter = tall ? p->n : p->m;
        double many = (double)((longer + PIECE_LONG / 2) / PIECE_LONG), most = work / (double)PIECE_WORK;
        double few = (double)((shorter + PIECE_SHORT / 2) / PIECE_SHORT);
        if (many < 1) many = 1;
        if (many > most) many = most;
        if (few * many > most) few = most / many;
        *(tall ? &p->rows : &p->columns) = piece_size(longer, many);
        *(tall ? &p->columns : &p->rows) = piece_size(shorter, few);
    }
    p->across = (p->n + p->columns - 1) / p->columns;
    int64_t depth = call / p->rows / p->columns / 256 * 256;
    p->depth = depth < 256 ? 256 : depth;
    return (p->m + p->rows - 1) / p->rows * p->across;
}

/* C = beta C, for an empty sum. */
static void scale(const product *p) {
    for (int64_t i = 0; i < p->m && p->beta != 1; i++) {
        char *row = p->out + (size_t)(i * p->ldc) * p->size;
        if (p->beta == 0)
            memset(row, 0, (size_t)p->n * p->size);
        else
            vec_get(VEC_SCALE, p->dtype)(p->n, row, row, NULL, NULL, p->beta);
    }
}

bk_status gemm(ctx *c, bk_dtype dtype, bool ta, bool tb, int64_t m, int64_t n, int64_t k, double alpha, const void *a,
               int64_t lda, const void *b, int64_t ldb, double beta, void *out, int64_t ldc) {
    if (dtype != BK_FLOAT64 && dtype != BK_FLOAT32) return BK_EINVAL;
    if (m < 0 || n < 0 || k < 0) return BK_EINVAL;
    if (m == 0 || n == 0) return BK_OK;
    if (ldc < n || (k && (lda < (ta ? m : k) || ldb < (tb ? k : n)))) return BK_EINVAL;
    product p = { .c = c,
                  .dtype = dtype,
                  .ta = ta,
                  .tb = tb,
                  .m = m,
                  .n = n,
                  .k = k,
                  .lda = lda,
                  .ldb = ldb,
                  .ldc = ldc,
                  .alpha = alpha,
                  .beta = beta,
                  .a = a,
                  .b = b,
                  .out = out,
                  .size = dtype == BK_FLOAT64 ? 8 : 4 };
    if (k == 0 || alpha == 0) {
        scale(&p);
        return BK_OK;
    }
    if (m > 1 && n > 1 && small(&p)) return BK_OK;
    if (lda > INT_MAX || ldb > INT_MAX || ldc > INT_MAX) return BK_EUNSUPPORTED; /* OpenBLAS's integers here */
    const int64_t pieces = cut(&p);
    if (p.rows > INT_MAX || p.columns > INT_MAX || p.depth > INT_MAX) return BK_EUNSUPPORTED;
    if (c && pieces > 1)
        ctx_parallel(c, pieces, piece, &p);
    else
        for (int64_t i = 0; i < pieces; i++) piece(&p, i);
    return atomic_load(&p.stopped) ? BK_EINTERRUPTED : BK_OK;
}
