/* conv_test.c - convolutions and pooling against naive loops, over strides, padding, group sizes and both
 * dtypes; the adjoint identities; bit-equal results at two thread counts; interrupts. With the
 * argument `bench` it measures the two convolutions of a small CNN instead. */
#include "../../src/base/rng.h"
#include "../../src/tensor/conv.h"
#include "../../src/tensor/pool.h"
#include "../../src/tensor/tensor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int passed, failed;

static void check(bool ok, const char *what, const char *detail) {
    if (ok) passed++;
    else {
        failed++;
        printf("FAILED %s: %s\n", what, detail);
    }
}

typedef struct array { /* the same values in double and in the dtype under test */
    int64_t n;
    double *d;
    void *t;
} array;

static array array_new(int64_t n, bk_dtype dtype, rng *r) {
    array a = { n, malloc(sizeof(double) * (size_t)(n + 1)), malloc(dtype_size(dtype) * (size_t)(n + 1)) };
    for (int64_t i = 0; i < n; i++) {
        a.d[i] = r ? (double)(float)rng_normal(r) : 777; /* 777: what a result must overwrite */
        if (dtype == BK_FLOAT32) ((float *)a.t)[i] = (float)a.d[i];
        else ((double *)a.t)[i] = a.d[i];
    }
    ((char *)a.t)[(size_t)n * dtype_size(dtype)] = 42; /* a guard behind the last element */
    return a;
}

static void array_free(array *a) {
    free(a->d);
    free(a->t);
}

static double at(const array *a, bk_dtype dtype, int64_t i) {
    return dtype == BK_FLOAT32 ? (double)((float *)a->t)[i] : ((double *)a->t)[i];
}

static double distance(const array *a, bk_dtype dtype) { /* largest error over the largest value */
    double worst = 0, size = 1e-30;
    for (int64_t i = 0; i < a->n; i++) {
        double d = fabs(at(a, dtype, i) - a->d[i]);
        if (!(d <= worst)) worst = d;
        if (fabs(a->d[i]) > size) size = fabs(a->d[i]);
    }
    if (((char *)a->t)[(size_t)a->n * dtype_size(dtype)] != 42) return INFINITY;
    return worst / size;
}

static conv_shape shape_of(const int64_t *v) { /* batch in height width out kh kw stride pad */
    conv_shape s = { v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8], 0, 0 };
    s.out_height = (s.height + 2 * s.pad - s.kh) / s.stride + 1;
    s.out_width = (s.width + 2 * s.pad - s.kw) / s.stride + 1;
    return s;
}

/* The trilinear form's index set, once: which = 0 sums into y, 1 into x, 2 into w. */
static void naive(const conv_shape *s, int which, double *x, double *w, double *y) {
    for (int64_t b = 0; b < s->batch; b++)
        for (int64_t o = 0; o < s->out; o++)
            for (int64_t i = 0; i < s->out_height; i++)
                for (int64_t j = 0; j < s->out_width; j++)
                    for (int64_t c = 0; c < s->in; c++)
                        for (int64_t u = 0; u < s->kh; u++)
                            for (int64_t v = 0; v < s->kw; v++) {
                                int64_t p = i * s->stride + u - s->pad, q = j * s->stride + v - s->pad;
                                if (p < 0 || p >= s->height || q < 0 || q >= s->width) continue;
                                double *xp = &x[((b * s->in + c) * s->height + p) * s->width + q];
                                double *wp = &w[((o * s->in + c) * s->kh + u) * s->kw + v];
                                double *yp = &y[((b * s->out + o) * s->out_height + i) * s->out_width + j];
                                if (which == 0) *yp += *xp * *wp;
                                else if (which == 1) *xp += *wp * *yp;
                                else *wp += *xp * *yp;
                            }
}

static double inner(const array *a, const array *b, bk_dtype dtype) {
    double sum = 0;
    for (int64_t i = 0; i < a->n; i++) sum += at(a, dtype, i) * at(b, dtype, i);
    return sum;
}

static void test_shape(ctx *c, const int64_t *spec, bk_dtype dtype) {
    conv_shape s = shape_of(spec);
    char what[200];
    snprintf(what, sizeof what, "%s batch %d in %d %dx%d out %d kernel %dx%d stride %d pad %d", dtype_name(dtype),
             (int)s.batch, (int)s.in, (int)s.height, (int)s.width, (int)s.out, (int)s.kh, (int)s.kw, (int)s.stride,
             (int)s.pad);
    rng r = rng_seed(7);
    int64_t nx = s.batch * s.in * s.height * s.width, nw = s.out * s.in * s.kh * s.kw;
    int64_t ny = s.batch * s.out * s.out_height * s.out_width;
    array x = array_new(nx, dtype, &r), w = array_new(nw, dtype, &r), y = array_new(ny, dtype, &r);
    array cx = array_new(nx, dtype, NULL), cw = array_new(nw, dtype, NULL), cy = array_new(ny, dtype, NULL);
    memset(cx.d, 0, sizeof(double) * (size_t)nx);
    memset(cw.d, 0, sizeof(double) * (size_t)nw);
    memset(cy.d, 0, sizeof(double) * (size_t)ny);
    size_t bytes = conv_scratch(&s, dtype, 1);
    char *scratch = malloc(bytes + 1);
    memset(scratch, 0xff, bytes); /* NaNs: scratch must not be read before it is written */
    scratch[bytes] = 42;
    double tol = dtype == BK_FLOAT32 ? 2e-5 : 1e-13;
    naive(&s, 0, x.d, w.d, cy.d);
    naive(&s, 1, cx.d, w.d, y.d);
    naive(&s, 2, x.d, cw.d, y.d);
    check(conv_forward(c, dtype, &s, x.t, w.t, cy.t, scratch) == BK_OK, what, "forward status");
    check(distance(&cy, dtype) < tol, what, "forward");
    memset(scratch, 0xff, bytes);
    check(conv_input(c, dtype, &s, y.t, w.t, cx.t, scratch) == BK_OK, what, "input status");
    check(distance(&cx, dtype) < tol, what, "input");
    memset(scratch, 0xff, bytes);
    check(conv_weight(c, dtype, &s, x.t, y.t, cw.t, scratch) == BK_OK, what, "weight status");
    check(distance(&cw, dtype) < tol, what, "weight");
    check(scratch[bytes] == 42, what, "scratch overrun");
    if (ny) { /* <conv(x, w), y> = <x, input(y, w)> = <w, weight(x, y)> */
        double a = inner(&cy, &y, dtype), b = inner(&cx, &x, dtype), d = inner(&cw, &w, dtype);
        double scale = sqrt(inner(&cy, &cy, dtype) * inner(&y, &y, dtype)) + 1e-30;
        check(fabs(a - b) < tol * scale && fabs(a - d) < tol * scale, what, "adjoint identities");
    }
    array_free(&x), array_free(&w), array_free(&y), array_free(&cx), array_free(&cw), array_free(&cy);
    free(scratch);
}

/* The same bits at any number of threads: in few groups of images, in more than there are parts, and in parts
 * that are fewer for their size. */
static void test_threads(bk_dtype dtype) {
    static const int64_t specs[][9] = {
        { 13, 8, 25, 24, 12, 5, 5, 2, 1 },
        { 93, 6, 9, 8, 10, 3, 3, 1, 1 },
        { 40, 24, 40, 40, 24, 5, 5, 1, 2 },
        { 64, 5, 12, 9, 7, 3, 3, 2, 1 },
        { 9, 40, 16, 16, 24, 3, 3, 1, 1 },
        { 9, 40, 16, 16, 24, 3, 3, 2, 1 },
        { 40, 24, 20, 20, 40, 1, 1, 2, 0 },
    };
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        conv_shape s = shape_of(specs[i]);
        rng r = rng_seed(3);
        int64_t nx = s.batch * s.in * s.height * s.width, nw = s.out * s.in * s.kh * s.kw;
        int64_t ny = s.batch * s.out * s.out_height * s.out_width;
        size_t size = dtype == BK_FLOAT32 ? 4 : 8, bytes = size * (size_t)(nx + nw + ny);
        array x = array_new(nx, dtype, &r), w = array_new(nw, dtype, &r), y = array_new(ny, dtype, &r);
        char *first = malloc(bytes), *again = malloc(bytes);
        for (int threads = 1; threads <= 5; threads += threads) {
            ctx *c = ctx_new(threads);
            const size_t room = conv_scratch(&s, dtype, threads);
            char *scratch = malloc(room + 1);
            scratch[room] = 42;
            char *out = threads == 1 ? first : again;
            conv_forward(c, dtype, &s, x.t, w.t, out, scratch);
            conv_input(c, dtype, &s, y.t, w.t, out + (size_t)ny * size, scratch);
            conv_weight(c, dtype, &s, x.t, y.t, out + (size_t)(ny + nx) * size, scratch);
            check(threads == 1 || memcmp(first, again, bytes) == 0, "threads", "other bits");
            check(scratch[room] == 42, "threads", "scratch overrun");
            free(scratch);
            ctx_release(c);
        }
        array_free(&x), array_free(&w), array_free(&y);
        free(first), free(again);
    }
}

static void test_refusals(void) {
    conv_shape s = shape_of((int64_t[]){ 13, 3, 17, 15, 6, 3, 3, 2, 1 });
    rng r = rng_seed(3);
    array x = array_new(13 * 3 * 17 * 15, BK_FLOAT32, &r), w = array_new(6 * 27, BK_FLOAT32, &r);
    array y = array_new(s.batch * s.out * s.out_height * s.out_width, BK_FLOAT32, &r);
    void *scratch = malloc(conv_scratch(&s, BK_FLOAT32, 1));
    ctx *c = ctx_new(1);
    atomic_store(&c->interrupted, 1);
    check(conv_forward(c, BK_FLOAT32, &s, x.t, w.t, y.t, scratch) == BK_EINTERRUPTED, "interrupt", "not seen");
    atomic_store(&c->interrupted, 0);
    check(conv_forward(c, BK_INT64, &s, x.t, w.t, y.t, scratch) == BK_EINVAL, "int64", "accepted");
    ctx_release(c);
    array_free(&x), array_free(&w), array_free(&y);
    free(scratch);
}

static void test_pool(const int64_t *v, bk_dtype dtype) { /* planes height width kh kw stride pad */
    pool_shape s = { v[0], v[1], v[2], v[3], v[4], v[5], v[6], 0, 0 };
    s.out_height = (s.height + 2 * s.pad - s.kh) / s.stride + 1;
    s.out_width = (s.width + 2 * s.pad - s.kw) / s.stride + 1;
    char what[120];
    snprintf(what, sizeof what, "pool %s %dx%d window %dx%d stride %d pad %d", dtype_name(dtype), (int)s.height,
             (int)s.width, (int)s.kh, (int)s.kw, (int)s.stride, (int)s.pad);
    rng r = rng_seed(11);
    int64_t plane = s.height * s.width, ny = s.planes * s.out_height * s.out_width;
    array x = array_new(s.planes * plane, dtype, &r), y = array_new(ny, dtype, &r);
    array mean = array_new(ny, dtype, NULL), back = array_new(x.n, dtype, NULL);
    int64_t *index = malloc(sizeof *index * (size_t)(ny + 1)), wrong = 0;
    memset(back.d, 0, sizeof(double) * (size_t)back.n);
    pool_average(dtype, &s, x.t, mean.t);
    pool_average_adjoint(dtype, &s, y.t, back.t);
    pool_argmax(dtype, &s, x.t, index);
    for (int64_t n = 0, k = 0; n < s.planes; n++)
        for (int64_t i = 0; i < s.out_height; i++)
            for (int64_t j = 0; j < s.out_width; j++, k++) {
                double sum = 0, best = -INFINITY;
                int64_t place = -1;
                for (int64_t u = 0; u < s.kh; u++)
                    for (int64_t q = 0; q < s.kw; q++) {
                        int64_t a = i * s.stride + u - s.pad, b = j * s.stride + q - s.pad;
                        if (a < 0 || a >= s.height || b < 0 || b >= s.width) continue;
                        double value = x.d[n * plane + a * s.width + b];
                        sum += value;
                        if (value > best) best = value, place = a * s.width + b;
                        back.d[n * plane + a * s.width + b] += y.d[k] / (double)(s.kh * s.kw);
                    }
                mean.d[k] = sum / (double)(s.kh * s.kw);
                wrong += place != index[k];
            }
    double tol = dtype == BK_FLOAT32 ? 1e-6 : 1e-14;
    check(distance(&mean, dtype) < tol, what, "average");
    check(distance(&back, dtype) < tol, what, "adjoint");
    check(wrong == 0, what, "argmax");
    double a = inner(&mean, &y, dtype), b = inner(&x, &back, dtype);
    check(fabs(a - b) < 1e-4 * (1 + fabs(a)), what, "adjoint identity");
    array_free(&x), array_free(&y), array_free(&mean), array_free(&back);
    free(index);
}

static void test_argmax_special(void) {
    double x[9] = { 1, 2, 2, -1, NAN, NAN, -3, -2, -2 };
    pool_shape s = { 1, 3, 3, 3, 3, 1, 0, 1, 1 };
    int64_t index[16];
    pool_argmax(BK_FLOAT64, &s, x, index);
    check(index[0] == 4, "argmax", "the first NaN wins");
    s.height = 1;
    pool_shape row = { 1, 1, 3, 1, 3, 1, 0, 1, 1 };
    pool_argmax(BK_FLOAT64, &row, x, index);
    check(index[0] == 1, "argmax", "the first of equals wins");
    pool_shape padded = { 1, 1, 1, 3, 3, 1, 1, 1, 1 };
    double negative = -5;
    pool_argmax(BK_FLOAT64, &padded, &negative, index);
    check(index[0] == 0, "argmax", "padding never wins");
    pool_shape outside = { 1, 1, 2, 1, 1, 1, 2, 5, 6 };
    int64_t wrong = 0, many[30];
    pool_argmax(BK_FLOAT64, &outside, x, many);
    for (int i = 0; i < 30; i++) wrong += many[i] < 0 || many[i] > 1;
    check(wrong == 0, "argmax", "an index outside the plane");
}

/* Of equals, infinities and NaN, as a loop over each window finds it. */
static void test_argmax_ties(const int64_t *v) {
    static const float values[] = { 0, -0.0f, 1, 1, -INFINITY, -INFINITY, INFINITY, NAN };
    const pool_shape s = { v[0], v[1], v[2], v[3], v[4], v[5], v[6], (v[1] + 2 * v[6] - v[3]) / v[5] + 1,
                           (v[2] + 2 * v[6] - v[4]) / v[5] + 1 };
    const int64_t plane = s.height * s.width, ny = s.planes * s.out_height * s.out_width;
    float *x = malloc(sizeof *x * (size_t)(s.planes * plane + 1));
    int64_t *index = malloc(sizeof *index * (size_t)(ny + 1)), wrong = 0;
    rng r = rng_seed(12);
    for (int64_t i = 0; i < s.planes * plane; i++)
        x[i] = values[rng_below(&r, i % 3 ? 6 : 8)];
    pool_argmax(BK_FLOAT32, &s, x, index);
    for (int64_t k = 0; k < ny; k++) {
        const int64_t n = k / (s.out_height * s.out_width), i = k / s.out_width % s.out_height, j = k % s.out_width;
        int64_t place = -1;
        for (int64_t u = 0; u < s.kh; u++)
            for (int64_t q = 0; q < s.kw; q++) {
                const int64_t a = i * s.stride + u - s.pad, b = j * s.stride + q - s.pad;
                if (a < 0 || a >= s.height || b < 0 || b >= s.width) continue;
                const float *best = &x[n * plane + place], *at = &x[n * plane + a * s.width + b];
                if (place < 0 || *at > *best || (isnan(*at) && !isnan(*best))) place = a * s.width + b;
            }
        wrong += place != index[k];
    }
    check(wrong == 0, "argmax", "of equals, infinities and NaN");
    free(x), free(index);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void bench(bk_dtype dtype, const int64_t *spec) {
    conv_shape s = shape_of(spec);
    ctx *c = ctx_new(1);
    rng r = rng_seed(5);
    array x = array_new(s.batch * s.in * s.height * s.width, dtype, &r);
    array w = array_new(s.out * s.in * s.kh * s.kw, dtype, &r);
    array y = array_new(s.batch * s.out * s.out_height * s.out_width, dtype, &r);
    void *scratch = malloc(conv_scratch(&s, dtype, 1));
    double best[3] = { 1e9, 1e9, 1e9 };
    for (int rep = 0; rep < 200; rep++)
        for (int k = 0; k < 3; k++) {
            double t = now();
            if (k == 0) conv_forward(c, dtype, &s, x.t, w.t, y.t, scratch);
            else if (k == 1) conv_input(c, dtype, &s, y.t, w.t, x.t, scratch);
            else conv_weight(c, dtype, &s, x.t, y.t, w.t, scratch);
            t = now() - t;
            if (t < best[k]) best[k] = t;
            for (int64_t i = 0; i < w.n; i++) /* keep the values away from overflow */
                if (dtype == BK_FLOAT32) ((float *)w.t)[i] = (float)w.d[i];
                else ((double *)w.t)[i] = w.d[i];
            if (k == 1) memcpy(x.t, y.t, dtype_size(dtype) * (size_t)(x.n < y.n ? x.n : y.n));
        }
    double flops = 2.0 * (double)(y.n * s.in * s.kh * s.kw);
    printf("%s batch %d %dx%dx%d kernel %d stride %d out %d:", dtype_name(dtype), (int)s.batch, (int)s.in,
           (int)s.height, (int)s.width, (int)s.kh, (int)s.stride, (int)s.out);
    for (int k = 0; k < 3; k++)
        printf("  %s %.3f ms %.1f GFlop/s", k == 0 ? "forward" : k == 1 ? "input" : "weight", best[k] * 1e3,
               flops / best[k] * 1e-9);
    printf("\n");
    array_free(&x), array_free(&w), array_free(&y);
    free(scratch);
    ctx_release(c);
}

int main(int argc, char **argv) {
    static const int64_t specs[][9] = {
        /* batch in height width out kh kw stride pad */
        { 8, 1, 28, 28, 8, 5, 5, 1, 0 }, { 9, 8, 12, 12, 16, 5, 5, 1, 0 }, { 1, 2, 7, 9, 3, 3, 3, 1, 1 },
        { 3, 3, 8, 8, 5, 3, 3, 2, 1 },   { 6, 3, 9, 7, 10, 2, 3, 2, 2 },   { 13, 1, 5, 5, 1, 5, 5, 1, 0 },
        { 16, 2, 6, 11, 4, 1, 1, 3, 0 }, { 4, 2, 3, 3, 2, 3, 3, 1, 4 },    { 0, 2, 6, 6, 3, 3, 3, 1, 0 },
        { 8, 40, 5, 5, 7, 3, 3, 1, 1 },  { 2, 40, 30, 30, 9, 3, 3, 1, 1 }, { 5, 2, 10, 10, 3, 3, 3, 4, 3 },
        { 8, 0, 6, 6, 3, 3, 3, 1, 0 },   { 8, 2, 20, 20, 4, 7, 2, 3, 0 },  { 10, 2, 6, 6, 0, 3, 3, 1, 0 },
        /* full groups of the widest lanes, a last one with few images, tiles with places left over, several blocks of
         * taps and pixels */
        { 16, 3, 9, 7, 5, 3, 3, 1, 1 },  { 32, 2, 8, 8, 6, 3, 2, 2, 1 },   { 69, 1, 6, 5, 3, 2, 2, 1, 0 },
        { 16, 40, 5, 6, 9, 3, 3, 1, 1 }, { 16, 2, 21, 20, 4, 3, 3, 2, 0 }, { 64, 1, 4, 4, 1, 4, 4, 1, 0 },
        /* Winograd's: vectors of 1, 2 and 4 rows of tiles, full and with places left over, odd sizes, every padding,
         * channels that are no multiple of 4, several blocks of channels and of vectors */
        { 3, 16, 32, 32, 16, 3, 3, 1, 1 }, { 5, 7, 28, 27, 9, 3, 3, 1, 1 },  { 3, 33, 16, 16, 10, 3, 3, 1, 1 },
        { 4, 9, 15, 16, 21, 3, 3, 1, 0 },  { 7, 11, 8, 8, 13, 3, 3, 1, 1 },  { 3, 8, 8, 7, 8, 3, 3, 1, 2 },
        { 2, 70, 7, 7, 18, 3, 3, 1, 1 },   { 1, 8, 64, 62, 6, 3, 3, 1, 2 },  { 40, 4, 30, 31, 14, 3, 3, 1, 1 },
        { 1, 1, 13, 14, 60, 3, 3, 1, 1 },  { 9, 64, 16, 12, 1, 3, 3, 1, 0 }, { 37, 12, 14, 8, 12, 3, 3, 1, 1 },
        { 2, 8, 9, 70, 6, 3, 3, 1, 1 },    { 3, 5, 31, 64, 12, 3, 3, 1, 1 },
        /* 1 x 1 kernels, more images than one sum of products has terms, pixels that none reads */
        { 5, 16, 32, 32, 32, 1, 1, 2, 0 }, { 3, 7, 9, 8, 5, 1, 1, 1, 0 },    { 40, 4, 6, 7, 8, 1, 1, 2, 0 },
        { 2, 33, 8, 8, 17, 1, 1, 3, 0 },   { 67, 3, 5, 5, 9, 1, 1, 1, 0 },   { 4, 3, 5, 6, 2, 1, 1, 1, 1 },
        /* Winograd's with stride 2 */
        { 3, 16, 32, 32, 32, 3, 3, 2, 1 }, { 5, 7, 31, 30, 9, 3, 3, 2, 1 },  { 3, 33, 16, 16, 10, 3, 3, 2, 1 },
        { 7, 11, 15, 13, 13, 3, 3, 2, 1 }, { 1, 8, 30, 124, 7, 3, 3, 2, 1 }, { 2, 70, 7, 8, 18, 3, 3, 2, 1 },
        { 2, 5, 9, 255, 14, 3, 3, 2, 1 },
    };
    static const int64_t pools[][7] = {
        /* planes height width kh kw stride pad */
        { 6, 8, 10, 2, 2, 2, 0 }, { 3, 7, 9, 2, 2, 2, 0 }, { 2, 9, 9, 3, 3, 2, 1 }, { 2, 5, 8, 2, 3, 1, 1 },
        { 4, 4, 4, 4, 4, 1, 0 },  { 0, 4, 4, 2, 2, 2, 0 }, { 5, 7, 9, 7, 9, 3, 0 }, { 4, 1, 1, 1, 1, 1, 0 },
        { 2, 5, 600, 3, 3, 1, 1 }, { 1, 3, 1300, 2, 5, 2, 1 }, { 2, 6, 515, 2, 2, 2, 0 },
    };
    if (argc > 1 && strcmp(argv[1], "bench") == 0) {
        static const int64_t runs[][9] = { { 64, 1, 28, 28, 8, 5, 5, 1, 0 }, { 64, 8, 12, 12, 16, 5, 5, 1, 0 },
                                           { 64, 32, 16, 16, 64, 3, 3, 1, 1 }, { 2, 32, 16, 16, 64, 3, 3, 1, 1 },
                                           /* of a residual network */
                                           { 32, 3, 32, 32, 16, 3, 3, 1, 1 },  { 32, 16, 32, 32, 16, 3, 3, 1, 1 },
                                           { 32, 32, 16, 16, 32, 3, 3, 1, 1 }, { 32, 64, 8, 8, 64, 3, 3, 1, 1 },
                                           { 32, 16, 32, 32, 32, 3, 3, 2, 1 }, { 32, 32, 16, 16, 64, 3, 3, 2, 1 },
                                           { 32, 16, 32, 32, 32, 1, 1, 2, 0 }, { 32, 32, 16, 16, 64, 1, 1, 2, 0 } };
        for (size_t k = 0; k < sizeof runs / sizeof *runs; k++) bench(BK_FLOAT32, runs[k]);
        for (size_t k = 0; k < sizeof runs / sizeof *runs; k++) bench(BK_FLOAT64, runs[k]);
        return 0;
    }
    ctx *c = ctx_new(1);
    for (int d = 0; d < 2; d++) {
        bk_dtype dtype = d ? BK_FLOAT32 : BK_FLOAT64;
        for (size_t k = 0; k < sizeof specs / sizeof *specs; k++) test_shape(c, specs[k], dtype);
        for (size_t k = 0; k < sizeof pools / sizeof *pools; k++) test_pool(pools[k], dtype);
        test_threads(dtype);
    }
    test_refusals();
    for (size_t k = 0; k < sizeof pools / sizeof *pools; k++) test_argmax_ties(pools[k]);
    test_argmax_special();
    ctx_release(c);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
