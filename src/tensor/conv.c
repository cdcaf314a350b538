/* conv.c - convolution four ways. 3 x 3 kernels of stride 1 and 2 are winograd.c's where there is AVX-512. 1 x 1
 * kernels are matrix products over the pixels that they read. Else, where there are AVX2 units, groups of images lie in
 * the vector lanes: an element of xl or yl is the same pixel of `lanes` images, so any kernel, stride and width runs
 * full vectors without im2col, and register tiles of 4 x 3 vectors (AVX-512: 4 x 6) keep the FMA units busy even with 8
 * channels; those kernels are conv_lanes.inc. Left-over images, and other machines, go through im2col blocks and gemm.
 * The file includes itself once per element type for the typed part at its end (REAL defined). Threads share parts of
 * the batch, cut by the shape alone: the bits are the same at any number of them. */
#ifndef REAL

#include "conv.h"

#include "gemm.h"
#include "tensor.h"
#include "vec.h"
#include "winograd.h"

#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define CONV_LANES 1
#include <immintrin.h>
#define TURN_TARGET __attribute__((target("avx2,fma")))
#if defined(__clang__)
#define UNROLL
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif
#endif

enum { LINE = 64, COL_BYTES = 1 << 18 /* half an L2 */, TAP_BYTES = 8192, PIXEL_BYTES = 4096, COLUMNS_MOST = 6 };
enum { PARTS = 8, PARTS_BYTES = 16 << 20 }; /* of the batch, and their scratch, at most */
static const double SHARE_WORK = 1 << 18;   /* multiply-adds that a thread is worth waking for */

typedef struct lanes { /* one group of images; a tap is one (c,u,v), a pixel one (i,j); offsets in elements */
    int64_t out, taps, pixels, x_pitch, y_pitch;
    const int64_t *tap, *pixel; /* place of x read by pixel p through tap k: pixel[p] + tap[k] */
    void *x;                    /* (in, x_pitch): the padded image */
    void *y;                    /* (out rounded up to 4, y_pitch) */
    void *w;                    /* packed: see each kernel */
} lanes;

typedef struct kernels {
    int64_t lanes, columns;
    void (*load)(int64_t n, void *to, const void *from, int64_t image_step, int64_t images);
    void (*store)(int64_t n, void *to, const void *from, int64_t image_step, int64_t images);
    void (*pack)(const lanes *g, const void *w, bool by_tap);
    void (*unpack)(const lanes *g, void *w);
    void (*forward)(const lanes *g);
    void (*input)(const lanes *g);
    void (*weight)(const lanes *g);
} kernels;

static int64_t up(int64_t n, int64_t step) {
    return (n + step - 1) / step * step;
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* The output places j of [0, n) whose source j*stride + shift lies in [0, size). */
static void valid_range(int64_t n, int64_t size, int64_t stride, int64_t shift, int64_t *first, int64_t *last) {
    int64_t lo = shift < 0 ? (-shift + stride - 1) / stride : 0;
    int64_t hi = size > shift ? (size - shift + stride - 1) / stride : 0;
    *first = least(lo, n);
    *last = hi < *first ? *first : least(hi, n);
}

#define REAL float
#define NAME(x) x##_f32
#define IS_F32 1
#include "conv.c"
#undef REAL
#undef NAME
#undef IS_F32
#define REAL double
#define NAME(x) x##_f64
#define IS_F32 0
#include "conv.c"
#undef REAL
#undef NAME
#undef IS_F32

/* Wide vectors where few of their lanes stay empty. */
static const kernels *lanes_kernels(bk_dtype dtype, const conv_shape *s) {
#ifdef CONV_LANES
    const kernels *wide = dtype == BK_FLOAT32 ? &kernels_wide_f32 : &kernels_wide_f64;
    const bool full = s->batch % wide->lanes == 0 || s->batch >= 4 * wide->lanes;
    if (vec_bytes() == 64 && full) return wide;
    if (vec_bytes() >= 32) return dtype == BK_FLOAT32 ? &kernels_narrow_f32 : &kernels_narrow_f64;
#endif
    (void)dtype, (void)s;
    return NULL;
}

/* Groups of images that go in lanes: a last group of at least half full lanes is still the faster way. */
static int64_t lane_groups(const kernels *v, int64_t batch) {
    if (!v || batch <= 0) return 0;
    return batch / v->lanes + (batch % v->lanes * 2 >= v->lanes);
}

/* ---- sizes ---- */

typedef struct sizes {
    int64_t taps, pixels, x_row, x_pitch, y_pitch;
    int64_t col_rows; /* output rows in one im2col block */
    int64_t groups, parts; /* of images in lanes; of the batch, whole groups each */
    size_t w_bytes, x_bytes, y_bytes; /* weights packed for a part; a thread's images */
    size_t tap_at, pixel_at, images_at, bytes; /* the parts' weights come first */
} sizes;

/* Rows an odd number of cache lines apart: power-of-two steps would fall into few cache sets. */
static int64_t pitch(int64_t pixels, size_t pixel_bytes, size_t size) {
    int64_t lines = up(pixels * (int64_t)pixel_bytes, LINE) / LINE;
    return (lines | 1) * LINE / (int64_t)size;
}

static sizes conv_sizes(const conv_shape *s, bk_dtype dtype, int threads) {
    const kernels *v = lanes_kernels(dtype, s);
    const int64_t columns = v ? v->columns : 1;
    size_t size = dtype_size(dtype), pixel_bytes = (size_t)(v ? v->lanes : 1) * size;
    bool empty = s->out_height <= 0 || s->out_width <= 0;
    sizes z = { .taps = s->in * s->kh * s->kw, .pixels = empty ? 0 : s->out_height * s->out_width };
    z.x_row = s->width + 2 * s->pad;
    z.x_pitch = pitch((s->height + 2 * s->pad) * z.x_row, pixel_bytes, size);
    z.y_pitch = pitch(z.pixels + columns - 1, pixel_bytes, size); /* the last tile writes past the end */
    z.w_bytes = (size_t)up((s->out + 3) * (z.taps + COLUMNS_MOST) * (int64_t)size, LINE);
    z.x_bytes = (size_t)(s->in * z.x_pitch) * size;
    z.y_bytes = (size_t)(up(s->out, 4) * z.y_pitch) * size;
    z.groups = lane_groups(v, s->batch);
    z.parts = least(PARTS, z.groups);
    while (z.parts > 1 && (size_t)z.parts * (z.w_bytes + z.x_bytes + z.y_bytes) > PARTS_BYTES) z.parts--;
    z.tap_at = (size_t)z.parts * z.w_bytes;
    z.pixel_at = z.tap_at + (size_t)(z.taps + COLUMNS_MOST) * sizeof(int64_t);
    z.images_at = (size_t)up((int64_t)(z.pixel_at + (size_t)(z.pixels + COLUMNS_MOST) * sizeof(int64_t)), LINE);
    z.bytes = z.images_at + (size_t)least(z.parts, threads) * (z.x_bytes + z.y_bytes);
    int64_t row_bytes = z.taps * s->out_width * (int64_t)size;
    z.col_rows = row_bytes > 0 ? least(s->out_height, COL_BYTES / row_bytes > 1 ? COL_BYTES / row_bytes : 1) : 1;
    size_t col_bytes = row_bytes > 0 ? (size_t)(z.col_rows * row_bytes) : 0;
    if (col_bytes > z.bytes) z.bytes = col_bytes;
    z.bytes = (z.bytes + LINE - 1) / LINE * LINE;
    return z;
}

/* 1 x 1 kernels are matrix products over the pixels that they read. */
static bool is_pointwise(const conv_shape *s) {
    return s->kh == 1 && s->kw == 1 && s->pad == 0;
}

static size_t pointwise_scratch(const conv_shape *s, bk_dtype dtype) { /* the pixels that are read */
    return s->stride == 1 ? 0 : (size_t)(s->batch * s->in * s->out_height * s->out_width) * dtype_size(dtype);
}

size_t conv_scratch(const conv_shape *s, bk_dtype dtype, int threads) {
    const size_t bytes = winograd_serves(s, dtype) ? winograd_scratch(s, dtype, threads)
                         : is_pointwise(s)         ? pointwise_scratch(s, dtype)
                                                   : conv_sizes(s, dtype, threads).bytes;
    return bytes + LINE; /* + LINE: the caller's block may be unaligned */
}

/* ---- groups of images in vector lanes ---- */

static void x_move(const kernels *v, const lanes *g, const conv_shape *s, size_t size, char *x, int64_t images,
                   bool in) {
    int64_t plane = s->height * s->width, step = s->in * plane, row = s->width + 2 * s->pad;
    int64_t runs = s->pad ? s->height : 1, run = s->pad ? s->width : plane;
    for (int64_t c = 0; c < s->in; c++)
        for (int64_t r = 0; r < runs; r++) {
            char *image = x + (size_t)(c * plane + r * run) * size;
            int64_t at = c * g->x_pitch + ((r + s->pad) * row + s->pad) * v->lanes;
            char *lane = (char *)g->x + (size_t)at * size;
            if (in) v->load(run, lane, image, step, images);
            else v->store(run, image, lane, step, images);
        }
}

static void y_move(const kernels *v, const lanes *g, const conv_shape *s, size_t size, char *y, int64_t images,
                   bool in) {
    for (int64_t o = 0; o < s->out; o++) {
        char *image = y + (size_t)(o * g->pixels) * size, *lane = (char *)g->y + (size_t)(o * g->y_pitch) * size;
        if (in) v->load(g->pixels, lane, image, s->out * g->pixels, images);
        else v->store(g->pixels, image, lane, s->out * g->pixels, images);
    }
}

typedef struct job {
    ctx *c;
    conv_side what;
    bk_dtype dtype;
    size_t size; /* of an element */
    const conv_shape *s;
    const sizes *z;
    char *x, *w, *y, *scratch;
    const kernels *v; /* of lanes */
    lanes g;
} job;

/* Some parts of the batch, group by group; for WEIGHT every part has a sum of its own. */
static void run_parts(void *arg, int share, int64_t first, int64_t end) {
    const job *j = arg;
    const kernels *v = j->v;
    const conv_shape *s = j->s;
    const sizes *z = j->z;
    const size_t x_image = (size_t)(s->in * s->height * s->width) * j->size;
    const size_t y_image = (size_t)(s->out * z->pixels) * j->size;
    lanes g = j->g;
    g.x = j->scratch + z->images_at + (size_t)share * (z->x_bytes + z->y_bytes);
    g.y = (char *)g.x + z->x_bytes;
    memset(g.x, 0, z->x_bytes); /* the padding stays zero */
    if (j->what == WEIGHT) {
        const int64_t rounding = (up(s->out, 4) - s->out) * z->y_pitch;
        memset((char *)g.y + (size_t)(s->out * z->y_pitch) * j->size, 0, (size_t)rounding * j->size);
    }
    for (int64_t part = first; part < end; part++) {
        if (j->what == WEIGHT) {
            g.w = j->scratch + (size_t)part * z->w_bytes;
            memset(g.w, 0, z->w_bytes);
        }
        for (int64_t i = part * z->groups / z->parts; i < (part + 1) * z->groups / z->parts; i++) {
            const int64_t b = i * v->lanes, images = least(v->lanes, s->batch - b);
            char *x = j->x + (size_t)b * x_image, *y = j->y + (size_t)b * y_image;
            if (ctx_poll(j->c, NULL)) return;
            if (j->what == INPUT) memset(g.x, 0, z->x_bytes);
            else x_move(v, &g, s, j->size, x, images, true);
            if (j->what != FORWARD) y_move(v, &g, s, j->size, y, images, true);
            (j->what == FORWARD ? v->forward : j->what == INPUT ? v->input : v->weight)(&g);
            if (j->what == FORWARD) y_move(v, &g, s, j->size, y, images, false);
            if (j->what == INPUT) x_move(v, &g, s, j->size, x, images, false);
        }
    }
}

/* Does the images that go in lanes; for WEIGHT, w is set to their sum. */
static bk_status lanes_run(job *j) {
    const kernels *v = j->v;
    const conv_shape *s = j->s;
    const sizes *z = j->z;
    char *scratch = j->scratch;
    int64_t *tap = (int64_t *)(scratch + z->tap_at), *pixel = (int64_t *)(scratch + z->pixel_at);
    for (int64_t k = 0; k < z->taps + COLUMNS_MOST; k++) {
        int64_t at = least(k, z->taps - 1), u = at / s->kw % s->kh;
        tap[k] = at / (s->kh * s->kw) * z->x_pitch + (u * z->x_row + at % s->kw) * v->lanes;
    }
    for (int64_t p = 0; p < z->pixels + COLUMNS_MOST; p++) {
        int64_t at = least(p, z->pixels - 1);
        pixel[p] = (at / s->out_width * z->x_row + at % s->out_width) * s->stride * v->lanes;
    }
    j->g = (lanes){ s->out, z->taps, z->pixels, z->x_pitch, z->y_pitch, tap, pixel, NULL, NULL, scratch };
    if (j->what != WEIGHT) v->pack(&j->g, j->w, j->what == INPUT);
    const double shares = (double)(s->batch * s->out * z->pixels) * (double)z->taps / SHARE_WORK;
    if (ctx_ranges(j->c, z->parts, shares < 1 ? 1 : shares < PARTS ? (int)shares : PARTS, 0, run_parts, j))
        return BK_EINTERRUPTED;
    for (int64_t part = 1; part < z->parts && j->what == WEIGHT; part++)
        vec_get(VEC_ADD, j->dtype)((int64_t)(z->w_bytes / j->size), scratch, scratch,
                                   scratch + (size_t)part * z->w_bytes, NULL, 0);
    if (j->what == WEIGHT) v->unpack(&j->g, j->w);
    return BK_OK;
}

/* ---- single images through gemm ---- */

/* Image b. */
static bk_status columns_run(const job *j, int64_t b) {
    ctx *c = j->c;
    const conv_side what = j->what;
    const bk_dtype dtype = j->dtype;
    const conv_shape *s = j->s;
    const sizes *z = j->z;
    const size_t size = j->size;
    char *x = j->x + (size_t)(b * s->in * s->height * s->width) * size, *w = j->w;
    char *y = j->y + (size_t)(b * s->out * z->pixels) * size, *col = j->scratch;
    char *result = what == FORWARD ? y : what == INPUT ? x : w;
    void (*gather)(const conv_shape *, int64_t, int64_t, const void *, void *) =
        dtype == BK_FLOAT32 ? columns_gather_f32 : columns_gather_f64;
    void (*scatter)(const conv_shape *, int64_t, int64_t, const void *, void *) =
        dtype == BK_FLOAT32 ? columns_scatter_f32 : columns_scatter_f64;
    if (what == INPUT) memset(result, 0, (size_t)(s->in * s->height * s->width) * size);
    for (int64_t i = 0; i < s->out_height; i += z->col_rows) {
        int64_t rows = least(z->col_rows, s->out_height - i), n = rows * s->out_width;
        size_t at = (size_t)(i * s->out_width) * size;
        bk_status status;
        if (what != INPUT) gather(s, i, rows, x, col);
        if (what == FORWARD)
            status = gemm(c, dtype, false, false, s->out, n, z->taps, 1, w, z->taps, col, n, 0, result + at, z->pixels);
        else if (what == WEIGHT)
            status = gemm(c, dtype, false, true, s->out, z->taps, n, 1, y + at, z->pixels, col, n, 1, result, z->taps);
        else status = gemm(c, dtype, true, false, z->taps, n, s->out, 1, w, z->taps, y + at, z->pixels, 0, col, n);
        if (status) return status;
        if (what == INPUT) scatter(s, i, rows, col, result);
    }
    return BK_OK;
}

/* ---- 1 x 1 kernels ---- */

typedef struct thinning {
    const conv_shape *s;
    void (*run)(const conv_shape *s, void *plane, void *pixels);
    size_t plane_bytes, pixel_bytes;
    char *planes, *pixels;
} thinning;

static void thin_planes(void *arg, int share, int64_t first, int64_t end) {
    const thinning *t = arg;
    (void)share;
    for (int64_t i = first; i < end; i++)
        t->run(t->s, t->planes + (size_t)i * t->plane_bytes, t->pixels + (size_t)i * t->pixel_bytes);
}

static bk_status pointwise_run(ctx *c, conv_side what, const conv_shape *s, bk_dtype dtype, char *x, char *w, char *y,
                               char *scratch) {
    const int64_t n = s->out_height * s->out_width, size = (int64_t)dtype_size(dtype);
    const bool single = dtype == BK_FLOAT32;
    thinning t = { s, what == INPUT ? (single ? scatter_f32 : scatter_f64) : single ? gather_f32 : gather_f64,
                   (size_t)(s->height * s->width * size), (size_t)(n * size), x, s->stride == 1 ? x : scratch };
    const double work = (double)(s->batch * s->in) * (double)(s->height * s->width);
    bk_status status = BK_OK;
    if (what != INPUT && s->stride > 1) status = ctx_ranges(c, s->batch * s->in, PARTS, work, thin_planes, &t);
    if (status) return status;
    if (what == WEIGHT) {
        gemm_term terms[GEMM_TERMS];
        for (int64_t b = 0, count = 0; b < s->batch && !status; b++) {
            terms[count++] = (gemm_term){ false, true, n, 1, y + b * s->out * n * size, n,
                                          t.pixels + b * s->in * n * size, n };
            if (count < GEMM_TERMS && b + 1 < s->batch) continue;
            status = gemm_sum(c, dtype, s->out, s->in, (int)count, terms, b < GEMM_TERMS ? 0 : 1, w, s->in);
            count = 0;
        }
        return status;
    }
    const bool back = what == INPUT;
    const int64_t from = back ? s->out : s->in, to = back ? s->in : s->out;
    const gemm_term term = { back, false, from, 1, w, s->in, back ? y : t.pixels, n };
    const gemm_product product = { .m = to, .n = n, .term = term, .out = back ? t.pixels : y, .ldc = n,
                                   .step_b = { from * n }, .step_c = { to * n } };
    status = gemm_batch(c, dtype, (int64_t[GEMM_AXES]){ s->batch, 1, 1 }, 1, &product);
    if (back && !status && s->stride > 1) status = ctx_ranges(c, s->batch * s->in, PARTS, work, thin_planes, &t);
    return status;
}

static bk_status conv_run(ctx *c, conv_side what, bk_dtype dtype, const conv_shape *s, char *x, char *w, char *y,
                          void *scratch) {
    if (dtype != BK_FLOAT32 && dtype != BK_FLOAT64) return BK_EINVAL;
    size_t size = dtype_size(dtype);
    char *aligned = (char *)(((uintptr_t)scratch + LINE - 1) / LINE * LINE);
    if (winograd_serves(s, dtype)) return winograd_run(c, what, dtype, s, x, w, y, aligned);
    const sizes z = conv_sizes(s, dtype, PARTS);
    int64_t x_image = s->in * s->height * s->width, y_image = s->out * z.pixels, weights = s->out * z.taps;
    if (what == WEIGHT) memset(w, 0, (size_t)weights * size);
    if (s->batch <= 0) return BK_OK;
    if (y_image == 0 || z.taps == 0) {
        if (what == FORWARD) memset(y, 0, (size_t)(s->batch * y_image) * size);
        if (what == INPUT) memset(x, 0, (size_t)(s->batch * x_image) * size);
        return BK_OK;
    }
    if (is_pointwise(s)) return pointwise_run(c, what, s, dtype, x, w, y, aligned);
    job j = { c, what, dtype, size, s, &z, x, w, y, aligned, lanes_kernels(dtype, s), { 0 } };
    const int64_t done = j.v ? least(z.groups * j.v->lanes, s->batch) : 0;
    bk_status status = done ? lanes_run(&j) : BK_OK;
    for (int64_t b = done; b < s->batch && !status; b++) status = columns_run(&j, b);
    return status;
}

bk_status conv_forward(ctx *c, bk_dtype dtype, const conv_shape *s, const void *x, const void *w, void *y,
                       void *scratch) {
    return conv_run(c, FORWARD, dtype, s, (char *)x, (char *)w, y, scratch);
}

bk_status conv_input(ctx *c, bk_dtype dtype, const conv_shape *s, const void *y, const void *w, void *x,
                     void *scratch) {
    return conv_run(c, INPUT, dtype, s, x, (char *)w, (char *)y, scratch);
}

bk_status conv_weight(ctx *c, bk_dtype dtype, const conv_shape *s, const void *x, const void *y, void *w,
                      void *scratch) {
    return conv_run(c, WEIGHT, dtype, s, (char *)x, w, (char *)y, scratch);
}

#else /* REAL: the typed part */

/* ---- im2col: col[k, (i-first)*out_width + j] = x at pixel (i,j) through tap k ---- */

static void NAME(columns_gather)(const conv_shape *s, int64_t first, int64_t rows, const void *image, void *columns) {
    const REAL *x = image;
    REAL *col = columns;
    for (int64_t c = 0; c < s->in; c++, x += s->height * s->width)
        for (int64_t u = 0; u < s->kh; u++)
            for (int64_t v = 0; v < s->kw; v++) {
                int64_t lo, hi;
                valid_range(s->out_width, s->width, s->stride, v - s->pad, &lo, &hi);
                for (int64_t i = first; i < first + rows; i++, col += s->out_width) {
                    int64_t r = i * s->stride + u - s->pad;
                    bool inside = r >= 0 && r < s->height;
                    int64_t a = inside ? lo : 0, b = inside ? hi : 0;
                    const REAL *from = x + (inside ? r : 0) * s->width + v - s->pad;
                    for (int64_t j = 0; j < a; j++) col[j] = 0;
                    if (s->stride == 1 && b > a) memcpy(col + a, from + a, (size_t)(b - a) * sizeof *col);
                    else
                        for (int64_t j = a; j < b; j++) col[j] = from[j * s->stride];
                    for (int64_t j = b; j < s->out_width; j++) col[j] = 0;
                }
            }
}

static void NAME(columns_scatter)(const conv_shape *s, int64_t first, int64_t rows, const void *columns, void *image) {
    const REAL *col = columns;
    REAL *x = image;
    for (int64_t c = 0; c < s->in; c++, x += s->height * s->width)
        for (int64_t u = 0; u < s->kh; u++)
            for (int64_t v = 0; v < s->kw; v++) {
                int64_t lo, hi;
                valid_range(s->out_width, s->width, s->stride, v - s->pad, &lo, &hi);
                for (int64_t i = first; i < first + rows; i++, col += s->out_width) {
                    int64_t r = i * s->stride + u - s->pad;
                    if (r < 0 || r >= s->height) continue;
                    REAL *to = x + r * s->width + v - s->pad;
                    for (int64_t j = lo; j < hi; j++) to[j * s->stride] += col[j];
                }
            }
}

/* ---- the pixels of a plane that 1 x 1 kernels read ---- */

static void NAME(gather)(const conv_shape *s, void *plane, void *pixels) {
    REAL *to = pixels;
    for (int64_t i = 0; i < s->out_height; i++, to += s->out_width) {
        const REAL *from = (const REAL *)plane + i * s->stride * s->width;
        if (s->stride == 2)
            for (int64_t j = 0; j < s->out_width; j++) to[j] = from[2 * j];
        else
            for (int64_t j = 0; j < s->out_width; j++) to[j] = from[j * s->stride];
    }
}

static void NAME(scatter)(const conv_shape *s, void *plane, void *pixels) {
    const REAL *from = pixels;
    REAL *to = plane;
    for (int64_t i = 0; i < s->out_height; i++, from += s->out_width) {
        const int64_t rows = least(s->stride, s->height - i * s->stride), pairs = s->stride == 2 ? s->width / 2 : 0;
        for (int64_t j = 0; j < pairs; j++) to[2 * j] = from[j], to[2 * j + 1] = 0;
        memset(to + 2 * pairs, 0, (size_t)(rows * s->width - 2 * pairs) * sizeof *to);
        for (int64_t j = pairs; j < s->out_width; j++) to[j * s->stride] = from[j];
        to += rows * s->width;
    }
}

#ifdef CONV_LANES
#if IS_F32
#define SQUARE 8
#define PUT(p, v) _mm256_storeu_ps(p, v)
#else
#define SQUARE 4
#define GET(p) _mm256_loadu_pd(p)
#define PUT(p, v) _mm256_storeu_pd(p, v)
#endif
#define TURN NAME(turn)

/* to[i*to_step + j] = from[j*from_step + i], i, j < SQUARE */
TURN_TARGET static inline void NAME(turn)(REAL *to, int64_t to_step, const REAL *from, int64_t from_step) {
#if IS_F32
    __m256 r[8], t[8];
    for (int h = 0; h < 2; h++)
        for (int j = 0; j < 4; j++) {
            const REAL *p = from + j * from_step + 4 * h; /* halves: image j below, image j+4 above */
            r[4 * h + j] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)),
                                                _mm_loadu_ps(p + 4 * from_step), 1);
        }
    for (int h = 0; h < 8; h += 4) {
        t[0] = _mm256_unpacklo_ps(r[h], r[h + 1]);
        t[1] = _mm256_unpackhi_ps(r[h], r[h + 1]);
        t[2] = _mm256_unpacklo_ps(r[h + 2], r[h + 3]);
        t[3] = _mm256_unpackhi_ps(r[h + 2], r[h + 3]);
        PUT(to + (h + 0) * to_step, _mm256_shuffle_ps(t[0], t[2], 0x44));
        PUT(to + (h + 1) * to_step, _mm256_shuffle_ps(t[0], t[2], 0xee));
        PUT(to + (h + 2) * to_step, _mm256_shuffle_ps(t[1], t[3], 0x44));
        PUT(to + (h + 3) * to_step, _mm256_shuffle_ps(t[1], t[3], 0xee));
    }
#else
    __m256d a = GET(from), b = GET(from + from_step), c = GET(from + 2 * from_step), d = GET(from + 3 * from_step);
    __m256d ab = _mm256_unpacklo_pd(a, b), cd = _mm256_unpacklo_pd(c, d);
    PUT(to, _mm256_permute2f128_pd(ab, cd, 0x20));
    PUT(to + 2 * to_step, _mm256_permute2f128_pd(ab, cd, 0x31));
    ab = _mm256_unpackhi_pd(a, b), cd = _mm256_unpackhi_pd(c, d);
    PUT(to + to_step, _mm256_permute2f128_pd(ab, cd, 0x20));
    PUT(to + 3 * to_step, _mm256_permute2f128_pd(ab, cd, 0x31));
#endif
}

/* to[0..3] += the sums over the lanes of a, b, c, d */
#if IS_F32
TURN_TARGET static inline void NAME(add_sums)(REAL *to, __m256 a, __m256 b, __m256 c, __m256 d) {
    __m256 s = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    _mm_storeu_ps(to, _mm_add_ps(_mm_loadu_ps(to), sum));
}
#else
TURN_TARGET static inline void NAME(add_sums)(REAL *to, __m256d a, __m256d b, __m256d c, __m256d d) {
    __m256d ab = _mm256_hadd_pd(a, b), cd = _mm256_hadd_pd(c, d);
    __m256d sum = _mm256_add_pd(_mm256_permute2f128_pd(ab, cd, 0x20), _mm256_permute2f128_pd(ab, cd, 0x31));
    PUT(to, _mm256_add_pd(GET(to), sum));
}
#endif

#define LANES_TARGET __attribute__((target("avx2,fma")))
#define KIND(x) NAME(x##_narrow)
#define COLUMNS 3
#define FOLD NAME(add_sums)
#if IS_F32
#define VECTOR __m256
#define LANES 8
#define ZERO() _mm256_setzero_ps()
#define LOAD(p) _mm256_loadu_ps(p)
#define STORE(p, v) _mm256_storeu_ps(p, v)
#define SPREAD(p) _mm256_broadcast_ss(p)
#define ADD(a, b) _mm256_add_ps(a, b)
#define FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#else
#define VECTOR __m256d
#define LANES 4
#define ZERO() _mm256_setzero_pd()
#define LOAD(p) _mm256_loadu_pd(p)
#define STORE(p, v) _mm256_storeu_pd(p, v)
#define SPREAD(p) _mm256_broadcast_sd(p)
#define ADD(a, b) _mm256_add_pd(a, b)
#define FMA(a, b, c) _mm256_fmadd_pd(a, b, c)
#endif
#include "conv_lanes.inc"

#define LANES_TARGET __attribute__((target("avx512f,avx512dq,avx2,fma")))
#define KIND(x) NAME(x##_wide)
#define COLUMNS 6
#if IS_F32
#define VECTOR __m512
#define LANES 16
#define ZERO() _mm512_setzero_ps()
#define LOAD(p) _mm512_loadu_ps(p)
#define STORE(p, v) _mm512_storeu_ps(p, v)
#define SPREAD(p) _mm512_set1_ps(*(p))
#define ADD(a, b) _mm512_add_ps(a, b)
#define FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define HALVES(v) _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1))
#else
#define VECTOR __m512d
#define LANES 8
#define ZERO() _mm512_setzero_pd()
#define LOAD(p) _mm512_loadu_pd(p)
#define STORE(p, v) _mm512_storeu_pd(p, v)
#define SPREAD(p) _mm512_set1_pd(*(p))
#define ADD(a, b) _mm512_add_pd(a, b)
#define FMA(a, b, c) _mm512_fmadd_pd(a, b, c)
#define HALVES(v) _mm256_add_pd(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd(v, 1))
#endif
#define FOLD(to, a, b, c, d) NAME(add_sums)(to, HALVES(a), HALVES(b), HALVES(c), HALVES(d))
#include "conv_lanes.inc"
#undef HALVES
#undef SQUARE
#undef TURN
#undef GET
#undef PUT
#endif
#endif
