/* gemm.c - matrix products. Three ways, chosen by the shape alone, so that a product has the same bits at any number of
 * threads: own kernels (gemm_kernel.c), gemv for one row or column, and OpenBLAS for the rest. Large products are cut
 * into pieces that the workers share: OpenBLAS's at sizes that depend on the shape alone, the own kernels', whose bits
 * no cut changes, by the number of threads. The interrupt flag is read between calls of at most CALL_WORK. c may be
 * NULL, as inside a worker: then the pieces run here one after the other, unpolled. */
#include "gemm.h"
#include "gemm_kernel.h"
#include "vec.h"

#include <cblas.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>

typedef enum way { OWN, VECTOR, BLAS } way;

typedef struct product {
    ctx *c;
    bk_dtype dtype;
    size_t size; /* of an element */
    way way;
    gemm_part all;
    int64_t rows, columns; /* of a piece */
    int64_t across;        /* pieces along n */
    int64_t depth;         /* of a call */
    atomic_bool stopped;
} product;

/* Sizes of pieces. Measured on Zen 3 at one thread, cutting a side in pieces of s costs about 12/s of the
 * time, since the other operand is packed again for every piece. So pieces of about 448 along the longer side
 * and 1024 along the other keep the loss near 4 %; a longer side below 672 stays whole. */
enum { PIECE_LONG = 448, PIECE_SHORT = 1024 };
/* In multiply-adds: */
static const int64_t PIECE_WORK = 8 << 20;        /* no piece is smaller: 0.4 ms at 40 GFlop/s */
static const int64_t OWN_PIECE_WORK = 1 << 20;    /* of the own kernels: 20 us */
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

/* ---- one call ---- */

/* Own kernels where they are faster. Measured on Zen 4, AVX-512 against AVX-512: by 2 to 10 % from a million
 * multiply-adds up and by 10 to 50 % where B is transposed; below, OpenBLAS has kernels for small products. On Zen 3,
 * AVX2 against AVX2: by 2 to 9 % for sides of 128 to 784, by up to 140 % for thin ones, equal at 512 x 512 x 256,
 * behind above. */
static way way_of(const product *p) {
    const gemm_part *x = &p->all;
    const double work = (double)x->m * (double)x->n * (double)x->k, small = 1e6;
    const bool wide = vec_bytes() == 64;
    if (wide && work <= small && !x->tb) return BLAS;
    if (x->m == 1 || x->n == 1) return VECTOR;
    if (vec_bytes() < 32) return BLAS;
    return wide || work <= (double)(64 << 20) ? OWN : BLAS;
}

static void blas_call(bk_dtype dtype, const gemm_part *p) {
    const int ta = p->ta ? CblasTrans : CblasNoTrans, tb = p->tb ? CblasTrans : CblasNoTrans;
    const int m = (int)p->m, n = (int)p->n, k = (int)p->k, lda = (int)p->lda, ldb = (int)p->ldb, ldc = (int)p->ldc;
    if (dtype == BK_FLOAT64)
        cblas_dgemm(CblasRowMajor, ta, tb, m, n, k, p->alpha, p->a, lda, p->b, ldb, p->beta, p->out, ldc);
    else
        cblas_sgemm(CblasRowMajor, ta, tb, m, n, k, (float)p->alpha, p->a, lda, p->b, ldb, (float)p->beta, p->out, ldc);
}

/* m = 1 or n = 1: the matrix (A or B) times the other operand as a vector with a stride. The result is
 * scaled here first: not every gemv overwrites NaN when beta is 0. */
static void vector_call(bk_dtype dtype, const gemm_part *p) {
    const bool column = p->n == 1; /* C is a column: A times b; else B transposed times a */
    const void *matrix = column ? p->a : p->b, *vector = column ? p->b : p->a;
    const int ld = (int)(column ? p->lda : p->ldb), step = (int)(column ? p->ldc : 1);
    const int inc = (int)(column ? (p->tb ? 1 : p->ldb) : (p->ta ? p->lda : 1));
    const int64_t len = column ? p->m : p->n;
    const bool across = column ? p->ta : !p->tb; /* the matrix is stored with depth as its rows */
    const int rows = (int)(across ? p->k : len), columns = (int)(across ? len : p->k);
    const int order = across ? CblasTrans : CblasNoTrans;
    if (dtype == BK_FLOAT64) {
        double *c = p->out;
        for (int64_t e = 0; p->beta != 1 && e < len; e++) c[e * step] = p->beta == 0 ? 0 : p->beta * c[e * step];
        cblas_dgemv(CblasRowMajor, order, rows, columns, p->alpha, matrix, ld, vector, inc, 1, c, step);
    } else {
        float *c = p->out;
        for (int64_t e = 0; p->beta != 1 && e < len; e++) c[e * step] = p->beta == 0 ? 0 : (float)p->beta * c[e * step];
        cblas_sgemv(CblasRowMajor, order, rows, columns, (float)p->alpha, matrix, ld, vector, inc, 1, c, step);
    }
}

/* ---- cutting ---- */

/* Rows i.., columns j.. and depths q.. of the whole. */
static gemm_part part_of(const product *p, int64_t i, int64_t j, int64_t q) {
    gemm_part x = p->all;
    x.a = (const char *)x.a + (size_t)(x.ta ? q * x.lda + i : i * x.lda + q) * p->size;
    x.b = (const char *)x.b + (size_t)(x.tb ? j * x.ldb + q : q * x.ldb + j) * p->size;
    x.out = (char *)x.out + (size_t)(i * x.ldc + j) * p->size;
    x.m = x.m - i < p->rows ? x.m - i : p->rows;
    x.n = x.n - j < p->columns ? x.n - j : p->columns;
    x.k = x.k - q < p->depth ? x.k - q : p->depth;
    if (q) x.beta = 1;
    return x;
}

static void piece(void *arg, int64_t item) {
    product *p = arg;
    const int64_t i = item / p->across * p->rows, j = item % p->across * p->columns;
    for (int64_t q = 0; q < p->all.k; q += p->depth) {
        if (p->c && atomic_load_explicit(&p->c->interrupted, memory_order_relaxed)) {
            atomic_store_explicit(&p->stopped, true, memory_order_relaxed);
            return;
        }
        const gemm_part x = part_of(p, i, j, q);
        if (p->way == OWN) gemm_own(p->dtype, &x);
        else if (p->way == VECTOR) vector_call(p->dtype, &x);
        else blas_call(p->dtype, &x);
    }
}

/* The size of each of `count` pieces of a side, a whole number of the BLAS's tiles. */
static int64_t piece_size(int64_t side, double count) {
    int64_t n = count < 1 ? 1 : count > (double)side ? side : (int64_t)count;
    int64_t s = (side + n - 1) / n;
    s = (s + 15) / 16 * 16;
    return s < side ? s : side;
}

/* The own kernels' pieces: columns first, for what is packed of A is packed for every block of B anyway. Their depth is
 * whole: only that could change a bit. */
static void cut_own(product *p) {
    const gemm_part *x = &p->all;
    const double work = (double)x->m * (double)x->n * (double)x->k;
    const int threads = p->c ? ctx_threads(p->c) : 1;
    const double shares = work / (double)OWN_PIECE_WORK;
    double count = threads == 1 ? 1 : shares > 8 * threads ? 2 * threads : shares < threads ? shares : threads;
    if (count < work / (double)CALL_WORK) count = work / (double)CALL_WORK;
    const double most = x->n < 256 ? 1 : (double)(x->n / 128), across = count < most ? count : most;
    p->columns = piece_size(x->n, across);
    p->rows = piece_size(x->m, count / (across < 1 ? 1 : across));
    p->depth = x->k;
}

static void cut_blas(product *p) {
    const gemm_part *x = &p->all;
    const double work = (double)x->m * (double)x->n * (double)x->k;
    p->rows = x->m;
    p->columns = x->n;
    if (p->way == VECTOR) {
        *(x->n == 1 ? &p->rows : &p->columns) = piece_size(x->n == 1 ? x->m : x->n, work / (double)VECTOR_PIECE_WORK);
    } else if (work >= 2 * (double)PIECE_WORK) {
        const bool tall = x->m >= x->n;
        const int64_t longer = tall ? x->m : x->n, shorter = tall ? x->n : x->m;
        double many = (double)((longer + PIECE_LONG / 2) / PIECE_LONG), most = work / (double)PIECE_WORK;
        double few = (double)((shorter + PIECE_SHORT / 2) / PIECE_SHORT);
        if (many < 1) many = 1;
        if (many > most) many = most;
        if (few * many > most) few = most / many;
        *(tall ? &p->rows : &p->columns) = piece_size(longer, many);
        *(tall ? &p->columns : &p->rows) = piece_size(shorter, few);
    }
    int64_t depth = (p->way == VECTOR ? VECTOR_CALL_WORK : CALL_WORK) / p->rows / p->columns / 256 * 256;
    p->depth = depth < 256 ? 256 : depth;
}

/* C = beta C, for an empty sum. */
static void scale(const product *p) {
    for (int64_t i = 0; i < p->all.m && p->all.beta != 1; i++) {
        char *row = (char *)p->all.out + (size_t)(i * p->all.ldc) * p->size;
        if (p->all.beta == 0)
            memset(row, 0, (size_t)p->all.n * p->size);
        else
            vec_get(VEC_SCALE, p->dtype)(p->all.n, row, row, NULL, NULL, p->all.beta);
    }
}

bk_status gemm(ctx *c, bk_dtype dtype, bool ta, bool tb, int64_t m, int64_t n, int64_t k, double alpha, const void *a,
               int64_t lda, const void *b, int64_t ldb, double beta, void *out, int64_t ldc) {
    if (dtype != BK_FLOAT64 && dtype != BK_FLOAT32) return BK_EINVAL;
    if (m < 0 || n < 0 || k < 0) return BK_EINVAL;
    if (m == 0 || n == 0) return BK_OK;
    if (ldc < n || (k && (lda < (ta ? m : k) || ldb < (tb ? k : n)))) return BK_EINVAL;
    product p = { .c = c, .dtype = dtype, .size = dtype == BK_FLOAT64 ? 8 : 4,
                  .all = { ta, tb, m, n, k, lda, ldb, ldc, alpha, beta, a, b, out } };
    if (k == 0 || alpha == 0) {
        scale(&p);
        return BK_OK;
    }
    if (lda > INT_MAX || ldb > INT_MAX || ldc > INT_MAX) return BK_EUNSUPPORTED; /* OpenBLAS's integers here */
    if (n == 1 && tb) { /* a row as a column */
        p.all.tb = false;
        p.all.ldb = 1;
    }
    p.way = way_of(&p);
    (p.way == OWN ? cut_own : cut_blas)(&p);
    p.across = (n + p.columns - 1) / p.columns;
    const int64_t pieces = (m + p.rows - 1) / p.rows * p.across;
    if (p.rows > INT_MAX || p.columns > INT_MAX || p.depth > INT_MAX) return BK_EUNSUPPORTED;
    if (c && pieces > 1)
        ctx_parallel(c, pieces, piece, &p);
    else
        for (int64_t i = 0; i < pieces; i++) piece(&p, i);
    return atomic_load(&p.stopped) ? BK_EINTERRUPTED : BK_OK;
}
