/* gemm_test.c - matrix products against a plain triple loop over all transposes, strides, alpha and
 * beta, both dtypes; sums of products; the same bits at 1 to 9 threads and inside larger calls; interruption within
 * 100 ms; OpenBLAS's thread count restored; bad arguments. */
#include "../../src/tensor/gemm.h"

#include <cblas.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int passed, failed;

static void check(bool ok, const char *what, int64_t m, int64_t n, int64_t k) {
    if (ok) {
        passed++;
        return;
    }
    failed++;
    printf("FAIL %s (%lld,%lld,%lld)\n", what, (long long)m, (long long)n, (long long)k);
}

static uint64_t seed = 7;
static double uniform(void) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 11) * 0x1p-53 - 0.5;
}

static double get(const void *p, int64_t i, bk_dtype d) {
    return d == BK_FLOAT64 ? ((const double *)p)[i] : (double)((const float *)p)[i];
}

static void put(void *p, int64_t i, double v, bk_dtype d) {
    if (d == BK_FLOAT64) ((double *)p)[i] = v;
    else ((float *)p)[i] = (float)v;
}

static void *block(int64_t n, bk_dtype d, double fill) {
    void *p = malloc((size_t)(n + 1) * 8);
    for (int64_t i = 0; i <= n; i++) put(p, i, fill != fill ? uniform() : fill, d);
    return p;
}

/* One product with gaps between rows (pad) and a frame of guards around C. */
static void compare(ctx *c, bk_dtype d, bool ta, bool tb, int64_t m, int64_t n, int64_t k, double alpha, double beta,
                    int64_t pad) {
    const int64_t lda = (ta ? m : k) + pad, ldb = (tb ? k : n) + 2 * pad, ldc = n + pad;
    void *a = block((ta ? k : m) * lda, d, NAN), *b = block((tb ? n : k) * ldb, d, NAN);
    void *out = block((m + 2) * ldc, d, 77), *before = malloc((size_t)((m + 2) * ldc + 1) * 8);
    const size_t size = d == BK_FLOAT64 ? 8 : 4;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) put(out, (i + 1) * ldc + j, beta == 0 ? NAN : uniform(), d);
    memcpy(before, out, (size_t)((m + 2) * ldc) * size);
    bk_status s = gemm(c, d, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, (char *)out + (size_t)ldc * size, ldc);
    check(s == BK_OK, "status", m, n, k);
    int bad = 0;
    const double eps = d == BK_FLOAT64 ? 0x1p-52 : 0x1p-23;
    for (int64_t i = 0; i < (m + 2) * ldc; i++) {
        int64_t row = i / ldc - 1, col = i % ldc;
        double got = get(out, i, d), was = get(before, i, d);
        if (row < 0 || row >= m || col >= n) {
            bad += got != was;
            continue;
        }
        double sum = 0, mag = 0;
        for (int64_t q = 0; q < k; q++) {
            double t = get(a, ta ? q * lda + row : row * lda + q, d) * get(b, tb ? col * ldb + q : q * ldb + col, d);
            sum += t;
            mag += fabs(t);
        }
        double ref = alpha * sum + (beta == 0 ? 0 : beta * was);
        double growth = (double)(k < 64 ? k + 4 : 64), old = beta == 0 ? 0 : fabs(was * beta);
        double tolerance = eps * (growth * fabs(alpha) * mag + 4 * old);
        bad += !(fabs(got - ref) <= tolerance);
    }
    check(bad == 0, d == BK_FLOAT64 ? "float64 values" : "float32 values", m, n, k);
    free(a), free(b), free(out), free(before);
}

static void test_values(ctx *c) {
    const int64_t sides[] = { 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33 };
    const int count = (int)(sizeof sides / sizeof *sides);
    for (int t = 0; t < 8; t++)
        for (int x = 0; x < count; x++)
            for (int y = 0; y < count; y++) {
                int64_t k = sides[(x * 5 + y * 3 + t) % count];
                double alpha = (x + y) % 3 ? 1 : -0.5, beta = (x + 2 * y) % 4 ? 0 : y % 2 ? 1 : 0.75;
                compare(c, t & 4 ? BK_FLOAT32 : BK_FLOAT64, t & 1, t & 2, sides[x], sides[y], k, alpha, beta,
                        (x + y) % 2);
            }
    const int64_t shapes[][3] = { { 64, 32, 32 }, { 64, 32, 2 }, { 64, 1, 32 }, { 1, 300, 257 }, { 300, 1, 257 },
        { 70, 70, 70 }, { 40, 40, 400 }, { 12, 20, 256 }, { 12, 20, 257 }, { 1, 1, 5000 }, { 1, 3000, 700 },
        { 3000, 1, 700 }, { 800, 40, 600 }, { 40, 800, 600 }, { 1100, 300, 60 }, { 2, 20000, 500 }, { 20000, 2, 500 } };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int t = 0; t < 8; t++) {
            double beta = i % 2 ? 0 : 0.5;
            if ((double)shapes[i][0] * (double)shapes[i][1] * (double)shapes[i][2] > 1e7 && t % 3) continue;
            compare(c, t & 4 ? BK_FLOAT32 : BK_FLOAT64, t & 1, t & 2, shapes[i][0], shapes[i][1], shapes[i][2], 1, beta,
                    t % 2);
        }
}

/* Rows far apart, so that both operands are packed: every height of the last tile, every width of the last panel, one
 * and several slabs of depth. */
static void test_packed(ctx *c) {
    for (int t = 0; t < 8; t++)
        for (int64_t m = 13; m <= 26; m++)
            for (int64_t n = 15; n <= 50; n += t & 4 ? 7 : 5)
                compare(c, t & 4 ? BK_FLOAT32 : BK_FLOAT64, t & 1, t & 2, m, n, m % 2 ? 50 : 300, m % 3 ? 1 : -0.5,
                        n % 2, 90);
}

/* A stored transposed, its rows 2 KiB apart, under a B of many panels: packed on some processors, in strips of every
 * height. */
static void test_spread(ctx *c) {
    for (int t = 0; t < 4; t++)
        for (int64_t m = 13; m <= 57; m += m == 30 ? 27 : 1)
            compare(c, t & 2 ? BK_FLOAT32 : BK_FLOAT64, true, t & 1, m, m % 3 ? 150 : 133, m % 2 ? 40 : 340,
                    m % 3 ? 1 : -0.5, m % 2, (t & 2 ? 512 : 256) - m);
}

/* Sums of many terms: mixed transposes, factors that differ, are 0 or far apart, empty depths, few columns, more terms
 * than a slab of depth takes, depths of several slabs, and small ones; the same bits with no context and at 3 threads. */
static void test_sums(ctx *c) {
    enum { MOST = 20 };
    const double alphas[] = { 1, 1, -1, 0.3, 0, 1e-20, -2 };
    ctx *three = ctx_new(3);
    for (int round = 0; round < 240; round++) {
        const bk_dtype d = round % 2 ? BK_FLOAT32 : BK_FLOAT64;
        const size_t size = d == BK_FLOAT64 ? 8 : 4;
        const bool large = round >= 140 && round < 160, thin = round >= 160; /* a depth of 4 in all, at most */
        const int64_t m = round >= 236 ? 900 : large ? 300 : 1 + (int64_t)(45 * (uniform() + 0.5));
        const int64_t n = round >= 236 ? 700 : large ? 200 : 1 + (int64_t)(45 * (uniform() + 0.5)), ldc = n + round % 3;
        const int count = thin ? 1 + round % 4 : (int)((uniform() + 0.5) * (large ? 5 : MOST));
        const double beta = round % 3 ? 0 : 0.5;
        gemm_term terms[MOST];
        void *a[MOST], *b[MOST];
        for (int i = 0; i < count; i++) {
            const bool ta = round % 4 == 0 || uniform() > 0, tb = uniform() > 0;
            const int64_t k = thin ? 1 + (round % 4 < 2 && i == 0) * (round % 8 / 4 + 1)
                                   : (int64_t)((uniform() + 0.5) * (large ? 500 : i % 3 ? 5 : 90));
            const int64_t lda = (ta ? m : k) + i % 2, ldb = (tb ? k : n) + i % 3;
            a[i] = block((ta ? k : m) * lda, d, NAN), b[i] = block((tb ? n : k) * ldb, d, NAN);
            terms[i] = (gemm_term){ ta, tb, k, alphas[(int)(7 * (uniform() + 0.5))], a[i], lda, b[i], ldb };
        }
        void *out = block(m * ldc, d, beta == 0 ? 5 : NAN), *before = block(m * ldc, d, 0), *again = block(m * ldc, d, 0);
        memcpy(before, out, (size_t)(m * ldc) * size);
        memcpy(again, out, (size_t)(m * ldc) * size);
        int bad = gemm_sum(c, d, m, n, count, terms, beta, out, ldc) != BK_OK;
        bad += gemm_sum(round % 5 ? three : NULL, d, m, n, count, terms, beta, again, ldc) != BK_OK;
        check(!bad && !memcmp(out, again, (size_t)(m * ldc) * size), "a sum's bits", m, n, count);
        for (int64_t e = 0; e < m * ldc; e++) {
            const int64_t i = e / ldc, j = e % ldc;
            const double was = get(before, e, d), eps = d == BK_FLOAT64 ? 0x1p-52 : 0x1p-23;
            double sum = beta == 0 ? 0 : beta * was, mag = fabs(sum);
            for (int t = 0; t < count && j < n; t++)
                for (int64_t q = 0; q < terms[t].k; q++) {
                    const gemm_term *x = &terms[t];
                    const double v = x->alpha * get(x->a, x->ta ? q * x->lda + i : i * x->lda + q, d) *
                                     get(x->b, x->tb ? j * x->ldb + q : q * x->ldb + j, d);
                    sum += v;
                    mag += fabs(v);
                }
            const double got = get(out, e, d);
            bad += j >= n ? got != was : !(fabs(got - sum) <= 80 * eps * mag);
        }
        check(!bad, "a sum's values", m, n, count);
        for (int i = 0; i < count; i++) free(a[i]), free(b[i]);
        free(out), free(before), free(again);
    }
    ctx_release(three);
}

static void test_edges(ctx *c) {
    const bk_dtype d = BK_FLOAT64;
    double a[4] = { NAN, 1, 2, 3 }, b[4] = { 1, 2, 3, INFINITY }, out[4] = { 5, 6, 7, NAN };
    bk_status ok = gemm(c, d, false, false, 0, 2, 2, 1, a, 2, b, 2, 0, out, 2);
    check(ok == BK_OK && out[0] == 5, "m = 0", 0, 2, 2);
    ok = gemm(c, d, false, false, 2, 0, 2, 1, a, 2, b, 2, 0, out, 2);
    check(ok == BK_OK && out[0] == 5, "n = 0", 2, 0, 2);
    ok = gemm(c, d, false, false, 2, 2, 0, 1, a, 2, b, 2, 2, out, 2);
    check(ok == BK_OK && out[0] == 10 && isnan(out[3]), "k = 0 scales", 2, 2, 0);
    ok = gemm(c, d, false, false, 2, 2, 0, 1, NULL, 0, NULL, 2, 0, out, 2);
    check(ok == BK_OK && out[3] == 0 && out[0] == 0, "k = 0 clears", 2, 2, 0);
    ok = gemm(c, d, false, false, 2, 2, 2, 1, a, 2, b, 2, 0, out, 2);
    check(ok == BK_OK && isnan(out[0]) && isinf(out[3]) && out[2] == 11, "NaN and infinity pass", 2, 2, 2);
    check(gemm(c, BK_INT64, false, false, 1, 1, 1, 1, a, 1, b, 1, 0, out, 1) == BK_EINVAL, "int64 refused", 1, 1, 1);
    check(gemm(c, d, false, false, -1, 1, 1, 1, a, 1, b, 1, 0, out, 1) == BK_EINVAL, "negative size", -1, 1, 1);
    check(gemm(c, d, false, false, 2, 2, 2, 1, a, 1, b, 2, 0, out, 2) == BK_EINVAL, "short lda", 2, 2, 2);
    check(gemm(c, d, false, true, 2, 1, 2, 1, a, 2, b, 1, 0, out, 1) == BK_EINVAL, "short ldb", 2, 1, 2);
    check(gemm(c, d, false, false, 2, 2, 2, 1, a, 2, b, 2, 0, out, 1) == BK_EINVAL, "short ldc", 2, 2, 2);
}

/* Products of every kind at 1, 2 and 3 threads, and with no context. */
static void test_threads(void) {
    const int64_t shapes[][3] = { { 64, 32, 32 }, { 128, 784, 256 }, { 784, 256, 128 }, { 1024, 512, 300 },
        { 700, 1700, 64 }, { 1, 5000, 900 }, { 5000, 1, 900 }, { 30000, 12, 50 } };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int t = 0; t < 8; t++) {
            const int64_t m = shapes[i][0], n = shapes[i][1], k = shapes[i][2];
            const bool ta = t & 1, tb = t & 2;
            const bk_dtype d = t & 4 ? BK_FLOAT32 : BK_FLOAT64;
            void *a = block(m * k, d, NAN), *b = block(k * n, d, NAN);
            void *first = block(m * n, d, 1), *out = block(m * n, d, 2);
            gemm(NULL, d, ta, tb, m, n, k, 1, a, ta ? m : k, b, tb ? k : n, 0, first, n);
            int bad = 0;
            for (int threads = 1; threads <= 3; threads++) {
                ctx *c = ctx_new(threads);
                bad += gemm(c, d, ta, tb, m, n, k, 1, a, ta ? m : k, b, tb ? k : n, 0, out, n) != BK_OK;
                bad += memcmp(first, out, (size_t)(m * n) * (d == BK_FLOAT64 ? 8 : 4)) != 0;
                ctx_release(c);
            }
            check(bad == 0, "same bits at any number of threads", m, n, k);
            free(a), free(b), free(first), free(out);
        }
}

/* Few rows times a large B, whose depth the threads share: depths of one part, of several and of too many, rows with
 * gaps, columns that threads share too; right values, and the same bits with no context and at 2, 3, 5 and 9 threads. */
static void test_deep(void) {
    const int64_t shapes[][3] = { { 2, 256, 784 }, { 3, 300, 256 }, { 10, 256, 784 }, { 10, 520, 1000 }, { 16, 40, 1300 },
        { 33, 257, 333 }, { 64, 256, 512 }, { 64, 600, 300 }, { 12, 30, 5000 }, { 40, 20, 2600 } };
    const int counts[] = { 2, 3, 5, 9 };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int t = 0; t < 8; t++) {
            const int64_t m = shapes[i][0], n = shapes[i][1], k = shapes[i][2];
            const bool ta = t & 1;
            const bk_dtype d = t & 2 ? BK_FLOAT32 : BK_FLOAT64;
            const double beta = t & 4 ? 0.75 : 0;
            const int64_t lda = (ta ? m : k) + 1, ldb = n + 2, ldc = n + 3;
            void *a = block((ta ? k : m) * lda, d, NAN), *b = block(k * ldb, d, NAN), *c = block(m * ldc, d, NAN);
            void *first = malloc((size_t)(m * ldc) * 8), *out = malloc((size_t)(m * ldc) * 8);
            const size_t bytes = (size_t)(m * ldc) * (d == BK_FLOAT64 ? 8 : 4);
            memcpy(first, c, bytes);
            gemm(NULL, d, ta, false, m, n, k, -0.5, a, lda, b, ldb, beta, first, ldc);
            int bad = 0;
            for (size_t q = 0; q < sizeof counts / sizeof *counts; q++) {
                ctx *x = ctx_new(counts[q]);
                memcpy(out, c, bytes);
                bad += gemm(x, d, ta, false, m, n, k, -0.5, a, lda, b, ldb, beta, out, ldc) != BK_OK;
                bad += memcmp(first, out, bytes) != 0;
                if (q == 0) compare(x, d, ta, false, m, n, k, -0.5, beta, 1);
                ctx_release(x);
            }
            check(bad == 0, "the same bits however the depth is shared", m, n, k);
            free(a), free(b), free(c), free(first), free(out);
        }
}

/* Products of matrices that lie one after the other. */
static bk_status in_a_row(ctx *c, bk_dtype d, int64_t count, int64_t m, int64_t n, const gemm_term *term,
                          gemm_triangle triangle, void *out) {
    const gemm_product p = { .m = m, .n = n, .term = *term, .triangle = triangle, .out = out, .ldc = n,
                             .step_a = { m * term->k }, .step_b = { term->k * n }, .step_c = { m * n } };
    return gemm_batch(c, d, (int64_t[GEMM_AXES]){ count, 1, 1 }, 1, &p);
}

/* A batch is its products one by one, to the bit, at 1, 2 and 3 threads. */
static void test_batch(void) {
    const int64_t shapes[][4] = { { 64, 64, 64, 32 }, { 50, 7, 33, 19 }, { 3, 300, 200, 100 }, { 200, 1, 40, 9 },
        { 9, 40, 1, 90 }, { 33, 5, 6, 2 }, { 1, 64, 64, 64 }, { 0, 4, 4, 4 }, { 5, 4, 4, 0 } };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int t = 0; t < 8; t++) {
            const int64_t count = shapes[i][0], m = shapes[i][1], n = shapes[i][2], k = shapes[i][3];
            const bool ta = t & 1, tb = t & 2;
            const bk_dtype d = t & 4 ? BK_FLOAT32 : BK_FLOAT64;
            const size_t size = d == BK_FLOAT64 ? 8 : 4;
            char *a = block(count * m * k, d, NAN), *b = block(count * k * n, d, NAN);
            char *first = block(count * m * n, d, 1), *out = block(count * m * n, d, 2);
            for (int64_t q = 0; q < count; q++)
                gemm(NULL, d, ta, tb, m, n, k, 1, a + size * (size_t)(q * m * k), ta ? m : k,
                     b + size * (size_t)(q * k * n), tb ? k : n, 0, first + size * (size_t)(q * m * n), n);
            const gemm_term term = { ta, tb, k, 1, a, ta ? m : k, b, tb ? k : n };
            int bad = 0;
            for (int threads = 1; threads <= 3; threads++) {
                ctx *c = ctx_new(threads);
                bad += in_a_row(c, d, count, m, n, &term, GEMM_WHOLE, out) != BK_OK;
                bad += memcmp(first, out, (size_t)(count * m * n) * size) != 0;
                ctx_release(c);
            }
            check(bad == 0, "a batch is its products", m, n, k);
            free(a), free(b), free(first), free(out);
        }
}

/* Some rows of a sum by themselves have the bits of the whole, or are refused. */
static void test_rows(void) {
    enum { M = 96, N = 130, K = 120 };
    static const int64_t cuts[] = { 0, 1, 7, 55, 84, M };
    int done = 0;
    for (int v = 0; v < 8; v++) {
        const bk_dtype d = v & 1 ? BK_FLOAT64 : BK_FLOAT32;
        const bool ta = v & 2, tb = v & 4;
        const size_t size = d == BK_FLOAT64 ? 8 : 4;
        void *a = block(M * K, d, NAN), *b = block(N * K, d, NAN);
        void *whole = block(M * N, d, 0), *rows = block(M * N, d, 0);
        const gemm_term one = { ta, tb, K, 1, a, ta ? M : K, b, tb ? K : N };
        gemm_term terms[2] = { one, one };
        terms[1].alpha = -0.5;
        for (int count = 1; count <= 2; count++) {
            gemm_sum(NULL, d, M, N, count, terms, 0, whole, N);
            if (!gemm_sum_rows(d, M, N, count, terms, 0, 0, rows)) continue;
            bool all = true;
            for (int i = 0; cuts[i] < M; i++) {
                void *at = (char *)rows + (size_t)(cuts[i] * N) * size;
                all = all && gemm_sum_rows(d, M, N, count, terms, cuts[i], cuts[i + 1] - cuts[i], at);
            }
            check(all && !memcmp(whole, rows, (size_t)(M * N) * size), "rows by themselves", M, N, K);
            done++;
        }
        terms[0].alpha = 0;
        check(!gemm_sum_rows(d, M, N, 2, terms, 0, 0, rows), "rows of an empty term", M, N, K);
        free(a), free(b), free(whole), free(rows);
    }
    check(done == 16 || !gemm_triangles(), "rows that can be had", M, N, K); /* own kernels: from AVX2 on */
}

/* Batches of columns and rows of larger matrices, two products of which the second adds to the first's, against a plain
 * loop; what lies between the results stays as it was, and 3 threads give the same bits. */
static void test_strided(void) {
    enum { B = 5, H = 3, M = 37, N = 21, K = 18, WIDE = 3 * (K + N) + 7 };
    ctx *one = ctx_new(1), *three = ctx_new(3);
    for (int t = 0; t < 8; t++) {
        const bool ta = t & 1, tb = t & 2;
        const bk_dtype d = t & 4 ? BK_FLOAT32 : BK_FLOAT64;
        const size_t size = d == BK_FLOAT64 ? 8 : 4;
        const int64_t rows = 64, all = B * rows * WIDE;
        void *a = block(all, d, NAN), *b = block(all, d, NAN), *out = block(all, d, 3), *again = block(all, d, 3);
        void *before = block(all, d, 3);
        memcpy(again, out, (size_t)all * size);
        memcpy(before, out, (size_t)all * size);
        gemm_product p[2];
        for (int q = 0; q < 2; q++) {
            p[q] = (gemm_product){ .m = M, .n = N, .beta = q, .ldc = WIDE,
                                   .step_a = { 0, rows * WIDE, q ? 0 : K }, .step_b = { 0, rows * WIDE, N },
                                   .step_c = { 0, rows * WIDE, N } };
            p[q].term = (gemm_term){ ta, tb, K, q ? -0.5 : 2, (char *)a + 2 * size, WIDE, (char *)b + size, WIDE };
        }
        const int64_t axes[GEMM_AXES] = { 1, B, H };
        int bad = 0;
        p[0].out = p[1].out = (char *)out + 4 * size;
        bad += gemm_batch(one, d, axes, 2, p) != BK_OK;
        p[0].out = p[1].out = (char *)again + 4 * size;
        bad += gemm_batch(three, d, axes, 2, p) != BK_OK;
        bad += memcmp(out, again, (size_t)all * size) != 0;
        for (int64_t e = 0; e < all; e++) {
            const int64_t i = e / (rows * WIDE), row = e / WIDE % rows, column = e % WIDE - 4, h = column / N;
            double want = get(before, e, d), sum = 0;
            if (row < M && column >= 0 && h < H) {
                for (int q = 0; q < 2; q++)
                    for (int64_t k = 0; k < K; k++) {
                        const int64_t x = i * rows * WIDE + (q ? 0 : h * K) + 2, y = i * rows * WIDE + h * N + 1;
                        sum += (q ? -0.5 : 2) * get(a, x + (ta ? k * WIDE + row : row * WIDE + k), d) *
                               get(b, y + (tb ? column % N * WIDE + k : k * WIDE + column % N), d);
                    }
                want = sum;
            }
            bad += !(fabs(get(out, e, d) - want) <= (d == BK_FLOAT64 ? 1e-13 : 1e-4));
        }
        check(bad == 0, "batches where they lie", M, N, t);
        free(a), free(b), free(out), free(again), free(before);
    }
    ctx_release(one);
    ctx_release(three);
}

/* Triangles against a plain loop, whatever lies above the diagonal of A and lay in C; at 1 and 3 threads to the bit. The
 * last ones are cut, take several slabs of depth, and have rows of A whole pages apart. */
static void test_triangles(void) {
    const int64_t shapes[][4] = { { 3, 64, 64, 32 }, { 3, 64, 32, 64 }, { 2, 1, 5, 7 },     { 2, 9, 1, 4 },
                                  { 4, 13, 47, 2 },  { 4, 50, 33, 19 }, { 5, 19, 50, 33 },  { 2, 30, 3, 90 },
                                  { 0, 4, 4, 4 },    { 3, 4, 4, 0 },    { 2, 210, 150, 700 }, { 1, 700, 90, 300 },
                                  { 1, 300, 700, 64 }, { 1, 60, 40, 2048 } };
    const int n_shapes = gemm_triangles() ? (int)(sizeof shapes / sizeof *shapes) : 0;
    ctx *one = ctx_new(1), *three = ctx_new(3);
    for (int i = 0; i < n_shapes; i++)
        for (int t = 0; t < 16; t++) {
            const int64_t count = shapes[i][0], m = shapes[i][1], n = shapes[i][2], k = shapes[i][3], size = m * n;
            const bool ta = t & 1, tb = t & 2;
            const bk_dtype d = t & 4 ? BK_FLOAT32 : BK_FLOAT64;
            const gemm_triangle triangle = t & 8 ? GEMM_LOWER_A : GEMM_LOWER_C;
            const double alpha = t % 3 ? 1 : -0.5, eps = d == BK_FLOAT64 ? 0x1p-52 : 0x1p-23;
            const int64_t lda = ta ? m : k, rows = ta ? k : m;
            void *a = block(count * m * k, d, NAN), *b = block(count * k * n, d, NAN);
            void *out = block(count * size, d, 3), *again = block(count * size, d, 4);
            for (int64_t e = 0; e < count * rows * lda && triangle == GEMM_LOWER_A; e++)
                if (e % lda > e / lda % rows) put(a, e, (double)NAN, d);
            const gemm_term term = { ta, tb, k, alpha, a, lda, b, tb ? k : n };
            int bad = in_a_row(one, d, count, m, n, &term, triangle, out) != BK_OK;
            bad += in_a_row(three, d, count, m, n, &term, triangle, again) != BK_OK;
            bad += memcmp(out, again, (size_t)(count * size) * (d == BK_FLOAT64 ? 8 : 4)) != 0;
            for (int64_t e = 0; e < count * size; e++) {
                const int64_t row = e / n % m, column = e % n, from_a = e / size * m * k, from_b = e / size * k * n;
                double sum = 0, mag = 0;
                for (int64_t q = 0; q < k; q++) {
                    if (triangle == GEMM_LOWER_A ? (ta ? q < row : q > row) : column > row) continue;
                    const double x = get(a, from_a + (ta ? q * m + row : row * k + q), d);
                    const double y = x * get(b, from_b + (tb ? column * k + q : q * n + column), d);
                    sum += y;
                    mag += fabs(y);
                }
                bad += !(fabs(get(out, e, d) - alpha * sum) <= eps * (double)(k < 64 ? k + 4 : 64) * fabs(alpha) * mag);
            }
            check(bad == 0, triangle == GEMM_LOWER_A ? "a triangle of A" : "a triangle of C", m, n, k);
            for (int64_t e = 0; e < count * k * n; e += 97) put(b, e, INFINITY, d);
            in_a_row(one, d, count, m, n, &term, triangle, out);
            in_a_row(three, d, count, m, n, &term, triangle, again);
            bad = memcmp(out, again, (size_t)(count * size) * (d == BK_FLOAT64 ? 8 : 4)) != 0;
            check(bad == 0, "infinities leave the same bits at 3 threads", m, n, k);
            free(a), free(b), free(out), free(again);
        }
    ctx_release(one);
    ctx_release(three);
}

static double used(void) { /* seconds of all cores: a busy machine's other programs do not count */
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static _Atomic double asked;
static void *interrupter(void *arg) {
    ctx *c = arg;
    nanosleep(&(struct timespec){ 0, 150000000 }, NULL);
    asked = used();
    atomic_store(&c->interrupted, 1);
    return NULL;
}

/* How late a thread may be, in seconds. Emulated: three times the largest call of OpenBLAS, 2^29 multiply-adds. */
static double lateness(const double *a, const double *b, double *out) {
    if (!getenv("BRACKET_EMULATED")) return 0.1;
    const double start = used();
    gemm(NULL, BK_FLOAT64, false, false, 1024, 1024, 512, 1, a, 4096, b, 4096, 0, out, 4096);
    return 3 * (used() - start);
}

static void test_interrupt(void) {
    const int64_t n = 4096;
    double *a = block(n * n, BK_FLOAT64, 0.5), *b = block(n * n, BK_FLOAT64, 0.25), *out = block(n * n, BK_FLOAT64, 0);
    const double most = lateness(a, b, out);
    for (int threads = 1; threads <= 2; threads++) {
        ctx *c = ctx_new(threads);
        pthread_t thread;
        pthread_create(&thread, NULL, interrupter, c);
        bk_status s = gemm(c, BK_FLOAT64, false, false, n, n, n, 1, a, n, b, n, 0, out, n);
        double late = used() - asked;
        pthread_join(thread, NULL);
        printf("4096^3 float64, %d threads: stopped after %.0f ms of CPU time\n", threads, late * 1e3);
        check(s == BK_EINTERRUPTED, "interrupted", n, n, n);
        check(late < most * threads, "within 100 ms a thread", n, n, n);
        check(gemm(c, BK_FLOAT64, false, false, 300, 300, 300, 1, a, n, b, n, 0, out, n) == BK_EINTERRUPTED,
              "a pending interrupt", 300, 300, 300);
        atomic_store(&c->interrupted, 0);
        check(gemm(c, BK_FLOAT64, false, false, 300, 300, 300, 1, a, n, b, n, 0, out, n) == BK_OK && out[5] == 37.5,
              "and afterwards", 300, 300, 300);
        ctx_release(c);
    }
    free(a), free(b), free(out);
}

static void *enter_often(void *arg) {
    int *wrong = arg;
    for (int i = 0; i < 200; i++) {
        gemm_enter();
        *wrong += openblas_get_num_threads() != 1;
        gemm_leave();
    }
    return NULL;
}

static void test_enter(void) {
    const int before = openblas_get_num_threads();
    openblas_set_num_threads(2);
    const int two = openblas_get_num_threads(); /* 1 in a build without threads */
    gemm_enter();
    gemm_enter();
    check(openblas_get_num_threads() == 1, "one thread inside", 0, 0, 0);
    gemm_leave();
    check(openblas_get_num_threads() == 1, "still one after the inner leave", 0, 0, 0);
    gemm_leave();
    check(openblas_get_num_threads() == two, "restored", 0, 0, 0);
    int wrong[3] = { 0 };
    pthread_t t[3];
    for (int i = 0; i < 3; i++) pthread_create(&t[i], NULL, enter_often, &wrong[i]);
    for (int i = 0; i < 3; i++) pthread_join(t[i], NULL);
    check(wrong[0] + wrong[1] + wrong[2] == 0, "one thread inside, from three", 0, 0, 0);
    check(openblas_get_num_threads() == two, "restored after three", 0, 0, 0);
    openblas_set_num_threads(before);
    check(strlen(gemm_core()) > 0 && strstr(gemm_config(), "OpenBLAS"), "names", 0, 0, 0);
}

int main(void) {
    printf("core %s, %s\n", gemm_core(), gemm_config());
    test_enter();
    gemm_enter();
    ctx *c = ctx_new(2);
    test_values(c);
    test_packed(c);
    test_spread(c);
    test_sums(c);
    test_edges(c);
    ctx_release(c);
    test_threads();
    test_deep();
    test_batch();
    test_rows();
    test_strided();
    test_triangles();
    test_interrupt();
    gemm_leave();
    printf("%d passed, %d failed\n", passed, failed);
    return failed ? 1 : 0;
}
