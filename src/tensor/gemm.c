/* gemm.c - sums of matrix products. Three ways, chosen by the shape alone, so that a sum has the same bits at any
 * number of threads: own kernels (gemm_kernel.c), gemv for one row or column, and OpenBLAS for the rest. Large sums are
 * cut into pieces that the workers share: OpenBLAS's at sizes that depend on the shape alone, the own kernels', whose
 * bits no cut of rows and columns changes, by the number of threads; their depth is cut where the shape says. The
 * interrupt flag is read inside the own kernels and between OpenBLAS's calls of at most CALL_WORK. c may be NULL: one
 * thread, unpolled. */
#include "gemm.h"
#include "gemm_kernel.h"
#include "vec.h"

#include <cblas.h>
#include <dlfcn.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

typedef enum way { OWN, VECTOR, BLAS } way;

typedef struct product {
    ctx *c;
    bk_dtype dtype;
    size_t size; /* of an element */
    way way;
    gemm_part all;
    double work;           /* multiply-adds */
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
static const int64_t OWN_PIECE_WORK = 1 << 18;    /* of the own kernels: 20 us */
static const int64_t ROWS_PER_THREAD = 128;       /* at least, of products cut by rows alone */
static const int64_t CALL_WORK = 512 << 20;       /* no call is larger: 25 ms at 40 GFlop/s */
static const int64_t VECTOR_PIECE_WORK = 1 << 20; /* the same for matrix times vector, bound by memory */
static const int64_t VECTOR_CALL_WORK = 16 << 20;

/* ---- OpenBLAS's threads ---- */

/* The thread count of OpenBLAS is the process's, not an environment's, so who changes it must count
 * its users per process as well. The count holds nothing of any environment, and is back at its first value when nobody
 * computes. */
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

/* OpenBLAS maps a buffer for each thread that is inside it at once, keeps it for the next, and where it can have none
 * asks again without end: a product would hang, and so would exit(), which waits for OpenBLAS's own threads. */
static const size_t BLAS_BUFFER = (size_t)132 << 20; /* with what is around it */
enum { BLAS_BUFFERS = 256 };

static bool can_map(size_t bytes) {
    void *p = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p != MAP_FAILED) munmap(p, bytes);
    return p != MAP_FAILED;
}

/* So many buffers that a script's memory can no longer take the room of. */
static void take_buffers(int count) {
    void *(*take)(int) = NULL, (*give)(void *) = NULL, *taken[BLAS_BUFFERS];
    *(void **)&take = dlsym(RTLD_DEFAULT, "blas_memory_alloc"); /* of every OpenBLAS, in none of its headers */
    *(void **)&give = dlsym(RTLD_DEFAULT, "blas_memory_free");
    if (!take || !give) return;
    for (int i = 0; i < count; i++) taken[i] = take(1);
    for (int i = 0; i < count; i++) give(taken[i]);
}

bk_status gemm_room(int threads, err *e) {
    static int granted; /* to so many threads */
    struct rlimit most;
    bk_status status = BK_OK;
    if (getrlimit(RLIMIT_AS, &most) || most.rlim_cur == RLIM_INFINITY) return BK_OK;
    pthread_mutex_lock(&users_lock);
    if (threads > granted) {
        const int own = openblas_get_num_threads() - 1; /* its threads may have theirs, or be about to */
        int count = threads + own;
        if (own && !can_map((size_t)count * BLAS_BUFFER)) {
            nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
            count = threads;
        }
        if (can_map((size_t)count * BLAS_BUFFER)) {
            take_buffers(count < BLAS_BUFFERS ? count : BLAS_BUFFERS);
            granted = threads;
        } else
            status = err_set(e, BK_ENOMEM,
                             "the limit on the address space (ulimit -v), %zu MB, has no room for OpenBLAS's buffers, "
                             "%zu MB a thread: a higher one is needed, or OPENBLAS_NUM_THREADS=1 in the environment",
                             (size_t)most.rlim_cur >> 20, BLAS_BUFFER >> 20);
    }
    pthread_mutex_unlock(&users_lock);
    return status;
}

const char *gemm_core(void) {
    return openblas_get_corename();
}

const char *gemm_config(void) {
    return openblas_get_config();
}

/* ---- one call ---- */

/* Whether OpenBLAS runs kernels of AVX-512. A version older than the processor may not know it and take SSE's, at a
 * quarter of the speed. Asked once, of a name that never changes. */
static bool blas_is_wide(void) {
    static atomic_int kept; /* 1: no, 2: yes; threads that race here store the same */
    int answer = atomic_load_explicit(&kept, memory_order_relaxed);
    if (!answer) {
        static const char *const wide[] = { "SkylakeX", "Cooperlake", "SapphireRapids" };
        const char *core = openblas_get_corename();
        answer = 1;
        for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
            if (core && !strcmp(core, wide[i])) answer = 2;
        atomic_store_explicit(&kept, answer, memory_order_relaxed);
    }
    return answer == 2;
}

/* Few rows in whole strips and vectors: on Intel's cores the own kernels, which ask for B early, take a sixth to a
 * third less than OpenBLAS's small ones where B comes from L3, as weights do after a step has moved them. On Zen 5 a
 * sixth less where B takes 64 KiB or more, in L2 too. */
static bool is_strip(bk_dtype dtype, const gemm_part *x) {
    const int64_t size = dtype == BK_FLOAT64 ? 8 : 4;
    bool large = false;
    for (int i = 0; i < x->count; i++) large = large || x->terms[i].k * x->n * size > GEMM_NEAR;
    return large && x->m >= 6 && x->m <= GEMM_FEW && x->m % 2 == 0 && x->n * size % 64 == 0 &&
           (vec_intel() || vec_zen5());
}

/* Own kernels where they are faster. Measured on Zen 4, AVX-512 against AVX-512: by 2 to 10 % from a million
 * multiply-adds up and by 10 to 50 % where B is transposed; below, OpenBLAS has kernels for small
 * products where it knows the processor. On Zen 3, AVX2 against AVX2: by 2 to 9 % for sides of 128 to 784, by up to
 * 140 % for thin ones, equal at 512 x 512 x 256, behind above. */
static way way_of(const product *p) {
    const gemm_part *x = &p->all;
    const double small = 1e6;
    const bool wide = vec_bytes() == 64;
    bool tb = false;
    if (x->triangle != GEMM_WHOLE) return OWN;
    for (int i = 0; i < x->count && x->n > 1; i++) tb = tb || x->terms[i].tb;
    const bool special = tb || gemm_is_thin(x) || is_strip(p->dtype, x);
    if (wide && p->work <= small && !special && blas_is_wide()) return BLAS;
    if (x->m == 1 || x->n == 1) return VECTOR;
    if (vec_bytes() < 32) return BLAS;
    return wide || p->work <= (double)(64 << 20) ? OWN : BLAS;
}

static void blas_call(bk_dtype dtype, int64_t m, int64_t n, const gemm_term *t, double beta, void *out, int64_t ldc) {
    const int ta = t->ta ? CblasTrans : CblasNoTrans, tb = t->tb ? CblasTrans : CblasNoTrans;
    const int im = (int)m, in = (int)n, k = (int)t->k, lda = (int)t->lda, ldb = (int)t->ldb;
    if (dtype == BK_FLOAT64)
        cblas_dgemm(CblasRowMajor, ta, tb, im, in, k, t->alpha, t->a, lda, t->b, ldb, beta, out, (int)ldc);
    else
        cblas_sgemm(CblasRowMajor, ta, tb, im, in, k, (float)t->alpha, t->a, lda, t->b, ldb, (float)beta, out,
                    (int)ldc);
}

/* m = 1 or n = 1: the matrix (A or B) times the other operand as a vector with a stride. The result is
 * scaled here first: not every gemv overwrites NaN when beta is 0. */
static void vector_call(bk_dtype dtype, int64_t m, int64_t n, const gemm_term *t, double beta, void *out, int64_t ldc) {
    const bool column = n == 1; /* C is a column: A times b; else B transposed times a */
    const void *matrix = column ? t->a : t->b, *vector = column ? t->b : t->a;
    const int ld = (int)(column ? t->lda : t->ldb), step = (int)(column ? ldc : 1);
    const int inc = (int)(column ? t->ldb : t->ta ? t->lda : 1);
    const int64_t len = column ? m : n;
    const bool across = column ? t->ta : !t->tb; /* the matrix is stored with depth as its rows */
    const int rows = (int)(across ? t->k : len), columns = (int)(across ? len : t->k);
    const int order = across ? CblasTrans : CblasNoTrans;
    if (dtype == BK_FLOAT64) {
        double *c = out;
        for (int64_t e = 0; beta != 1 && e < len; e++) c[e * step] = beta == 0 ? 0 : beta * c[e * step];
        cblas_dgemv(CblasRowMajor, order, rows, columns, t->alpha, matrix, ld, vector, inc, 1, c, step);
    } else {
        float *c = out;
        for (int64_t e = 0; beta != 1 && e < len; e++) c[e * step] = beta == 0 ? 0 : (float)beta * c[e * step];
        cblas_sgemv(CblasRowMajor, order, rows, columns, (float)t->alpha, matrix, ld, vector, inc, 1, c, step);
    }
}

/* ---- cutting ---- */

/* Reads the interrupt flag. */
static bool stop_asked(product *p) {
    if (!p->c || !ctx_poll(p->c, NULL)) return false;
    atomic_store_explicit(&p->stopped, true, memory_order_relaxed);
    return true;
}

/* A part of C by calls of OpenBLAS: term by term, in depths. */
static void blas_part(product *p, const gemm_part *x) {
    double beta = x->beta;
    for (int i = 0; i < x->count; i++)
        for (int64_t q = 0; q < x->terms[i].k; q += p->depth, beta = 1) {
            gemm_term t = x->terms[i];
            if (stop_asked(p)) return;
            if (x->n == 1 && t.tb) { /* a row as a column */
                t.tb = false;
                t.ldb = 1;
            }
            t.a = (const char *)t.a + (size_t)(t.ta ? q * t.lda + x->row : x->row * t.lda + q) * p->size;
            t.b = (const char *)t.b + (size_t)(t.tb ? x->column * t.ldb + q : q * t.ldb + x->column) * p->size;
            if (t.k - q < p->depth) t.k -= q;
            else t.k = p->depth;
            (p->way == VECTOR ? vector_call : blas_call)(p->dtype, x->m, x->n, &t, beta, x->out, x->ldc);
        }
}

/* The size of each of `count` pieces of a side, a whole number of the BLAS's tiles. */
static int64_t piece_size(int64_t side, double count) {
    int64_t n = count < 1 ? 1 : count > (double)side ? side : (int64_t)count;
    int64_t s = (side + n - 1) / n;
    s = (s + 15) / 16 * 16;
    return s < side ? s : side;
}

/* Few rows times a large B as stored, a batch times a layer's weights: the cores share its depth, each the rows of B
 * that it also moves in a step and multiplies on the way back. Cut by columns, a step at batch 10 on two cores took
 * longer than on one, for half of the weights went from one to the other and back. */
enum { DEEP_ROWS = 64, DEEP_PARTS = 4, DEEP_LEAST = 128 };
static const int64_t DEEP_B = 128 << 10; /* bytes */
enum { DEEP_ROOM = 256 << 10 };          /* bytes that the parts are summed in */

/* The depth of a part, one slab of the kernels; 0: it is not cut so. By the shape alone, for it changes bits. */
static int64_t depth_of_part(bk_dtype dtype, const gemm_part *x) {
    const int64_t size = dtype == BK_FLOAT64 ? 8 : 4, k = x->terms->k, result = x->m * x->n * size;
    const int64_t least = (k * size + GEMM_SLAB - 1) / GEMM_SLAB, fit = k / DEEP_LEAST;
    int64_t parts = fit < DEEP_PARTS ? fit : DEEP_PARTS;
    if (x->count > 1 || x->terms->tb || x->triangle != GEMM_WHOLE) return 0;
    if (x->m > DEEP_ROWS || k * x->n * size < DEEP_B) return 0;
    if (parts < least) parts = least;
    parts += parts % 2;
    while (parts > 2 && (parts - 1) * result > DEEP_ROOM) parts -= 2;
    if (parts < 2 || parts < least || (parts - 1) * result > DEEP_ROOM) return 0;
    return ((k + parts - 1) / parts + 7) / 8 * 8;
}

typedef struct deep {
    product *p;
    char *room;     /* (parts - 1, m, n): what all parts but the first make */
    int64_t across; /* pieces along n */
} deep;

static void deep_range(void *arg, int share, int64_t first, int64_t end) {
    const deep *d = arg;
    const product *p = d->p;
    (void)share;
    for (int64_t item = first; item < end; item++) {
        gemm_part x = p->all;
        gemm_term t = x.terms[0];
        const int64_t part = item / d->across, from = part * x.depth;
        x.terms = &t;
        x.c = p->c;
        t.k = t.k - from < x.depth ? t.k - from : x.depth;
        t.a = (const char *)t.a + (size_t)(t.ta ? from * t.lda : from) * p->size;
        t.b = (const char *)t.b + (size_t)(from * t.ldb) * p->size;
        if (part) {
            x.out = d->room + (size_t)((part - 1) * x.m * x.n) * p->size;
            x.ldc = x.n;
            x.beta = 0;
        }
        x.column = item % d->across * p->columns;
        x.out = (char *)x.out + (size_t)x.column * p->size;
        x.n = x.n - x.column < p->columns ? x.n - x.column : p->columns;
        gemm_own(p->dtype, &x);
    }
}

/* By several threads; the bits are those of one, which adds slab after slab. */
static void deep_sum(product *p) {
    _Alignas(64) char room[DEEP_ROOM];
    const gemm_part *x = &p->all;
    const int64_t parts = (x->terms->k + x->depth - 1) / x->depth, most = x->n < 256 ? 1 : x->n / 128;
    const int threads = ctx_threads(p->c);
    p->columns = piece_size(x->n, (double)(threads / parts < most ? threads / parts : most));
    deep d = { p, room, (x->n + p->columns - 1) / p->columns };
    if (ctx_ranges(p->c, parts * d.across, threads, 0, deep_range, &d) || stop_asked(p)) {
        atomic_store(&p->stopped, true);
        return;
    }
    const vec_fn add = vec_get(VEC_ADD, p->dtype);
    for (int64_t i = 0; i < x->m; i++) {
        char *c = (char *)x->out + (size_t)(i * x->ldc) * p->size;
        for (int64_t q = 0; q < parts - 1; q++)
            add(x->n, c, c, room + (size_t)((q * x->m + i) * x->n) * p->size, NULL, 0);
    }
}

static void piece(void *arg, int64_t item) {
    product *p = arg;
    gemm_part x = p->all;
    x.row = item / p->across * p->rows;
    x.column = item % p->across * p->columns;
    x.m = x.m - x.row < p->rows ? x.m - x.row : p->rows;
    x.n = x.n - x.column < p->columns ? x.n - x.column : p->columns;
    x.out = (char *)x.out + (size_t)(x.row * x.ldc + x.column) * p->size;
    if (p->way != OWN) {
        blas_part(p, &x);
        return;
    }
    x.c = p->c;
    gemm_own(p->dtype, &x);
    stop_asked(p);
}

/* The own kernels' pieces. Many rows of an A as stored: as many parts as there are threads, so that the rows a core has
 * made of one layer are in its L2 for the next. Else columns first, for what is packed of A is packed for every block
 * of B anyway. Their depth is whole: only that could change a bit. */
static void cut_own(product *p) {
    const gemm_part *x = &p->all;
    const int threads = p->c ? ctx_threads(p->c) : 1;
    const double shares = p->work / (double)OWN_PIECE_WORK;
    double count = threads == 1 ? 1 : shares > 8 * threads ? 2 * threads : shares < threads ? shares : threads;
    bool rows = x->m >= ROWS_PER_THREAD * threads;
    if (x->triangle != GEMM_WHOLE) { /* where B is not finite it shows which zeros a strip multiplies: none is moved */
        enum { STRIPS = 84 };
        p->columns = x->n;
        p->rows = (piece_size(x->m, count) + STRIPS - 1) / STRIPS * STRIPS;
        return;
    }
    for (int i = 0; i < x->count; i++) rows = rows && !x->terms[i].ta;
    if (rows && shares >= threads) {
        p->columns = x->n;
        p->rows = piece_size(x->m, threads);
        return;
    }
    const double most = x->n < 256 ? 1 : (double)(x->n / 128), across = count < most ? count : most;
    p->columns = piece_size(x->n, across);
    p->rows = piece_size(x->m, count / (across < 1 ? 1 : across));
}

static void cut_blas(product *p) {
    const gemm_part *x = &p->all;
    p->rows = x->m;
    p->columns = x->n;
    if (p->way == VECTOR) {
        const double pieces = p->work / (double)VECTOR_PIECE_WORK;
        *(x->n == 1 ? &p->rows : &p->columns) = piece_size(x->n == 1 ? x->m : x->n, pieces);
    } else if (p->work >= 2 * (double)PIECE_WORK) {
        const bool tall = x->m >= x->n;
        const int64_t longer = tall ? x->m : x->n, shorter = tall ? x->n : x->m;
        double many = (double)((longer + PIECE_LONG / 2) / PIECE_LONG), most = p->work / (double)PIECE_WORK;
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
static void scale(bk_dtype dtype, int64_t m, int64_t n, double beta, void *out, int64_t ldc) {
    const size_t size = dtype == BK_FLOAT64 ? 8 : 4;
    for (int64_t i = 0; i < m && beta != 1; i++) {
        char *row = (char *)out + (size_t)(i * ldc) * size;
        if (beta == 0) memset(row, 0, (size_t)n * size);
        else vec_get(VEC_SCALE, dtype)(n, row, row, NULL, NULL, beta);
    }
}

/* A sum in which nothing is empty. */
static bk_status live_sum(ctx *c, bk_dtype dtype, const gemm_part *all) {
    product p = { .c = c, .dtype = dtype, .size = dtype == BK_FLOAT64 ? 8 : 4, .all = *all };
    for (int i = 0; i < all->count; i++) p.work += (double)all->m * (double)all->n * (double)all->terms[i].k;
    p.way = way_of(&p);
    if (p.way == OWN) p.all.depth = depth_of_part(dtype, all);
    if (p.all.depth && c && ctx_threads(c) > 1 && p.work >= 2 * (double)OWN_PIECE_WORK) {
        deep_sum(&p);
        return atomic_load(&p.stopped) ? BK_EINTERRUPTED : BK_OK;
    }
    (p.way == OWN ? cut_own : cut_blas)(&p);
    p.across = (all->n + p.columns - 1) / p.columns;
    const int64_t pieces = (all->m + p.rows - 1) / p.rows * p.across;
    if (p.rows > INT_MAX || p.columns > INT_MAX || p.depth > INT_MAX) return BK_EUNSUPPORTED;
    if (c && pieces > 1)
        ctx_parallel(c, pieces, piece, &p);
    else
        for (int64_t i = 0; i < pieces; i++) piece(&p, i);
    return atomic_load(&p.stopped) ? BK_EINTERRUPTED : BK_OK;
}

/* Whether a sum may be scaled from one factor to the other on its way. */
static bool comparable(double from, double to) {
    const double ratio = fabs(from / to);
    return ratio > 0x1p-40 && ratio < 0x1p40;
}

/* Of all's terms some may be empty, its sides too. */
static bk_status sum(ctx *c, bk_dtype dtype, const gemm_part *all) {
    const int64_t m = all->m, n = all->n;
    const int count = all->count;
    const gemm_term *terms = all->terms;
    if (dtype != BK_FLOAT64 && dtype != BK_FLOAT32) return BK_EINVAL;
    if (m < 0 || n < 0 || count < 0 || count > GEMM_TERMS) return BK_EINVAL;
    if (m == 0 || n == 0) return BK_OK;
    if (all->ldc < n) return BK_EINVAL;
    if (all->ldc > INT_MAX) return BK_EUNSUPPORTED; /* OpenBLAS's integers here */
    for (int i = 0; i < count; i++) {
        const gemm_term *t = &terms[i];
        if (t->k < 0 || (t->k && (t->lda < (t->ta ? m : t->k) || t->ldb < (t->tb ? t->k : n)))) return BK_EINVAL;
        if (t->k && (t->lda > INT_MAX || t->ldb > INT_MAX)) return BK_EUNSUPPORTED;
    }
    bool written = false;
    for (int from = 0, to; from < count; from = to) { /* runs of terms that are not empty */
        to = from + 1;
        if (terms[from].k == 0 || terms[from].alpha == 0) continue;
        while (to < count && terms[to].k && comparable(terms[to - 1].alpha, terms[to].alpha)) to++;
        gemm_part run = *all;
        run.count = to - from;
        run.terms = terms + from;
        if (written) run.beta = 1;
        const bk_status s = live_sum(c, dtype, &run);
        if (s) return s;
        written = true;
    }
    if (!written) scale(dtype, m, n, all->beta, all->out, all->ldc);
    return BK_OK;
}

bk_status gemm_sum(ctx *c, bk_dtype dtype, int64_t m, int64_t n, int count, const gemm_term *terms, double beta,
                   void *out, int64_t ldc) {
    const gemm_part all = { .m = m, .n = n, .ldc = ldc, .count = count, .terms = terms, .beta = beta, .out = out };
    return sum(c, dtype, &all);
}

bool gemm_sum_rows(bk_dtype dtype, int64_t m, int64_t n, int count, const gemm_term *terms, int64_t row, int64_t rows,
                   void *out) {
    product p = { .dtype = dtype,
                  .all = { .m = m, .n = n, .row = row, .ldc = n, .count = count, .terms = terms, .out = out } };
    if (m == 0 || n == 0 || count == 0 || n > INT_MAX) return false;
    for (int i = 0; i < count; i++) {
        const gemm_term *t = &terms[i];
        if (t->k == 0 || t->alpha == 0 || t->lda > INT_MAX || t->ldb > INT_MAX) return false;
        if (i > 0 && !comparable(terms[i - 1].alpha, t->alpha)) return false;
        p.work += (double)m * (double)n * (double)t->k;
    }
    if (way_of(&p) != OWN) return false;
    p.all.depth = depth_of_part(dtype, &p.all);
    p.all.m = rows;
    if (rows > 0) gemm_own(dtype, &p.all);
    return true;
}

bool gemm_triangles(void) {
    return vec_bytes() >= 32;
}

typedef struct batch {
    ctx *c;
    bk_dtype dtype;
    const int64_t *axes; /* their sizes */
    int count;
    const gemm_product *products;
    atomic_int status; /* the worst of all */
} batch;

/* A matrix whose rows are asked for: without gaps it is one row of many lines. */
static gemm_ask ask_for(const void *at, int64_t rows, int64_t row, int64_t ld, int64_t size) {
    enum { SMALL = 64 << 10 }; /* bytes that L2 takes beside what is in work */
    gemm_ask x = { at, rows, row * size, ld * size };
    if (rows * row * size > SMALL) x.rows = 0;
    else if (row == ld) x.rows = (rows * x.bytes + GEMM_LINES - 1) / GEMM_LINES, x.bytes = x.step = GEMM_LINES;
    return x;
}

/* Product q of the i-th of the batch. */
static gemm_part part_of(const batch *b, int64_t i, int q, gemm_term *t) {
    const gemm_product *p = &b->products[q];
    const int64_t size = b->dtype == BK_FLOAT64 ? 8 : 4;
    gemm_part x = { .m = p->m, .n = p->n, .ldc = p->ldc, .count = 1, .terms = t, .triangle = p->triangle,
                    .beta = p->beta, .out = p->out };
    *t = p->term;
    for (int k = GEMM_AXES - 1; k >= 0 && i; k--) {
        const int64_t along = i % b->axes[k];
        i /= b->axes[k];
        t->a = (const char *)t->a + along * p->step_a[k] * size;
        t->b = (const char *)t->b + along * p->step_b[k] * size;
        x.out = (char *)x.out + along * p->step_c[k] * size;
    }
    return x;
}

static void batch_range(void *arg, int share, int64_t first, int64_t end) {
    (void)share;
    batch *b = arg;
    const int64_t size = b->dtype == BK_FLOAT64 ? 8 : 4, last = end * b->count;
    gemm_term t, u;
    gemm_part x, y = part_of(b, first, 0, &u);
    for (int64_t at = first * b->count; at < last && !atomic_load_explicit(&b->status, memory_order_relaxed); at++) {
        x = y;
        t = u;
        x.terms = &t;
        if (at + 1 < last) {
            y = part_of(b, (at + 1) / b->count, (int)((at + 1) % b->count), &u);
            if (u.b != t.b) x.next[0] = ask_for(u.b, u.tb ? y.n : u.k, u.tb ? u.k : y.n, u.ldb, size);
            x.next[1] = ask_for(y.out, y.m, y.n, y.ldc, size);
            if (u.a != t.a) x.next[2] = ask_for(u.a, u.ta ? u.k : y.m, u.ta ? y.m : u.k, u.lda, size);
        }
        const bk_status s = sum(b->c, b->dtype, &x);
        if (s) atomic_store_explicit(&b->status, (int)s, memory_order_relaxed);
    }
}

bk_status gemm_batch(ctx *c, bk_dtype dtype, const int64_t size[GEMM_AXES], int count, const gemm_product *products) {
    batch b = { .c = c, .dtype = dtype, .axes = size, .count = count, .products = products };
    double work = 0, most = 0; /* of one of the batch; of its largest product */
    int64_t all = 1;
    for (int k = 0; k < GEMM_AXES; k++) all *= size[k];
    for (int q = 0; q < count; q++) {
        const double own = (double)products[q].m * (double)products[q].n * (double)products[q].term.k;
        if (products[q].triangle != GEMM_WHOLE && !gemm_triangles()) return BK_EUNSUPPORTED;
        work += own;
        if (own > most) most = own;
    }
    const bool whole = most < (double)(8 * OWN_PIECE_WORK); /* small ones: as many a thread as there are */
    const bool worth = whole && work * (double)all >= 2 * (double)OWN_PIECE_WORK;
    if (all == 0 || count == 0) return BK_OK;
    if (c && worth) ctx_ranges(c, all, INT_MAX, 0, batch_range, &b);
    else batch_range(&b, 0, 0, all);
    return (bk_status)atomic_load(&b.status);
}

bk_status gemm(ctx *c, bk_dtype dtype, bool ta, bool tb, int64_t m, int64_t n, int64_t k, double alpha, const void *a,
               int64_t lda, const void *b, int64_t ldb, double beta, void *out, int64_t ldc) {
    const gemm_term t = { ta, tb, k, alpha, a, lda, b, ldb };
    return gemm_sum(c, dtype, m, n, 1, &t, beta, out, ldc);
}
