/* winograd.c - Y = A'[(G g G') . (B' d B)]A for every 2 x 2 tile of outputs, 4 x 4 window d and 3 x 3 kernel g, summed
 * over channels before A: 16 matrix products of (out, in) by (in, tiles). A vector holds a place of as many tiles as it
 * has lanes, from 1, 2 or 4 rows of tiles by the image's width, so images are read and written where they lie, with no
 * padded copy. The adjoint in x is the same with the kernels turned; that in w sums (A Y A') . (B' d B) over tiles.
 * Those of stride 2 differ in the transforms, which are winograd_stride.inc, and have 25 places. AVX-512 only. The file
 * includes itself once per element type for the typed part at its end (REAL defined). Threads share chunks of tiles,
 * cut by the shape alone: the bits are the same at any number of them. */
#ifndef REAL

#include "winograd.h"

#include "tensor.h"
#include "vec.h"

#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define WIDE __attribute__((target("avx512f,avx512dq,avx2,fma")))
#define ALWAYS __attribute__((always_inline)) inline
#if defined(__clang__)
#define UNROLL
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

enum { VECTOR_BYTES = 64, COLUMNS = 6, OUT_BLOCK = 16, PARTS = 8 };
enum { WEIGHT_IN = 512, WEIGHT_VECTORS = 8192, WEIGHT_OUT = 8 }; /* channels times places, vectors, channels: a block */
static const double SHARE_WORK = 1 << 18; /* multiply-adds that a thread is worth waking for */

static int64_t up(int64_t n, int64_t step) {
    return (n + step - 1) / step * step;
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Places of a tile in an image: the rows of it, and how far on those of the next tile begin. */
typedef struct patch {
    int count, step;
} patch;

/* How the tiles of planes (out_height, out_width) lie in vectors, and what their windows read. */
typedef struct tiling {
    int64_t height, width, pad; /* of what windows are read from */
    int64_t out_height, out_width;
    patch window, result;
    int64_t lanes, rows;    /* tiles in a vector; its rows of tiles: 1, 2, 4 */
    int64_t across, vectors; /* vectors beside each other in an image; of an image */
    double full;            /* the part of the lanes that has tiles */
} tiling;

/* Of the outputs that are computed: y, for INPUT x. A tile is 2 x 2 of them, where that is x of stride 2, 4 x 4. */
static tiling tiles_of(const conv_shape *s, conv_side what, bk_dtype dtype) {
    static const patch patches[2][2] = { { { 4, 2 }, { 2, 2 } }, { { 5, 4 }, { 2, 2 } } }, back = { 3, 2 };
    const bool strided = s->stride == 2;
    tiling t = { s->height, s->width, s->pad, s->out_height, s->out_width, patches[strided][0], patches[strided][1],
                 .lanes = dtype == BK_FLOAT32 ? 16 : 8, .rows = 1 };
    if (what == INPUT) {
        t = (tiling){ s->out_height, s->out_width, strided ? 0 : 2 - s->pad, s->height, s->width, t.window, t.result,
                      .lanes = t.lanes, .rows = 1 };
        if (strided) t.window = back, t.result = (patch){ 4, 4 };
    }
    const int64_t step = t.result.step, wide = (t.out_width + step - 1) / step, high = (t.out_height + step - 1) / step;
    while (t.rows < t.lanes / 4 && wide * t.rows * 2 <= t.lanes) t.rows *= 2;
    t.across = up(wide * t.rows, t.lanes) / t.lanes;
    t.vectors = t.across * (up(high, t.rows) / t.rows);
    t.full = t.vectors ? (double)(wide * high) / (double)(t.vectors * t.lanes) : 0;
    return t;
}

bool winograd_serves(const conv_shape *s, bk_dtype dtype) {
    if (s->kh != 3 || s->kw != 3 || vec_bytes() != VECTOR_BYTES) return false;
    if (s->stride == 1 ? s->pad > 2 : s->stride != 2 || s->pad != 1) return false;
    if (s->batch < 1 || s->in < 1 || s->out < 1 || s->out_height < 1 || s->out_width < 1) return false;
    const double most = s->stride == 1 ? 0.7 : 0.8; /* of the lanes have to be full: there is less to win at stride 2 */
    return s->in * s->out >= 48 && tiles_of(s, FORWARD, dtype).full > most && tiles_of(s, INPUT, dtype).full > most;
}

typedef struct sizes {
    int64_t in, out; /* channels that are summed over and computed; WEIGHT: as the shape's */
    int64_t places;  /* of a tile */
    const int8_t *window_at, *result_at; /* where those of a window lie, and of what it is weighed by: some are equal */
    int64_t items, parts, blocks; /* work to share; WEIGHT: parts of the tiles by blocks of channels */
    int64_t block; /* channels of one */
    int64_t chunk, chunks; /* vectors of tiles at a time */
    int64_t v_pitch, m_pitch; /* in vectors, from one of the places to the next */
    size_t u_bytes, share_bytes;
} sizes;

/* An odd number of cache lines apart, or all would fall in few cache sets. */
static int64_t odd(int64_t vectors) {
    return vectors | 1;
}

static sizes sizes_of(const conv_shape *s, conv_side what, bk_dtype dtype) {
    static const int8_t every[25] = { 0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12,
                                      13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24 };
    static const int8_t small[25] = { 0, 1,  2,  3,  1,  4,  5,  6, 7, 5, 8, 9, 10,
                                      11, 9, 12, 13, 14, 15, 13, 4, 5, 6, 7, 5 };
    static const int8_t spread[25] = { 0, 1, 2, 0, 2, 3, 4, 5, 3, 5, 6, 7, 8, 6, 8, 0, 1, 2, 0, 2, 6, 7, 8, 6, 8 };
    const bool strided = s->stride == 2;
    const tiling t = tiles_of(s, what, dtype);
    const int64_t total = s->batch * t.vectors;
    sizes z = { what == INPUT ? s->out : s->in, what == INPUT ? s->in : s->out, strided ? 25 : 16 };
    z.window_at = strided && what == INPUT ? small : every;
    z.result_at = strided ? spread : every;
    z.u_bytes = (size_t)(z.places * up(z.in, 4) * up(z.out, 4)) * dtype_size(dtype);
    if (what == WEIGHT) {
        z.block = WEIGHT_IN / z.places / 4 * 4; /* 32, of stride 2 20 */
        const int64_t channels = up(least(z.in, z.block), 4);
        z.chunk = least(WEIGHT_VECTORS / z.places / channels, least(total, 32));
        z.chunks = (total + z.chunk - 1) / z.chunk;
        z.blocks = (z.in + z.block - 1) / z.block;
        z.parts = least(z.chunks, z.blocks < PARTS ? (PARTS + z.blocks - 1) / z.blocks : 1);
        z.items = z.parts * z.blocks;
        z.v_pitch = odd(channels * z.chunk);
        z.m_pitch = odd(WEIGHT_OUT * z.chunk);
        z.u_bytes *= (size_t)z.parts;
    } else {
        z.chunk = COLUMNS;
        z.items = z.chunks = (total + COLUMNS - 1) / COLUMNS;
        z.v_pitch = odd(z.in * COLUMNS);
        z.m_pitch = odd(OUT_BLOCK * COLUMNS);
    }
    z.share_bytes = (size_t)(z.places * (z.v_pitch + z.m_pitch)) * VECTOR_BYTES;
    z.u_bytes = (size_t)up((int64_t)z.u_bytes, VECTOR_BYTES);
    return z;
}

size_t winograd_scratch(const conv_shape *s, bk_dtype dtype, int threads) {
    size_t most = 0;
    for (conv_side what = FORWARD; what <= WEIGHT; what++) {
        const sizes z = sizes_of(s, what, dtype);
        const size_t bytes = z.u_bytes + (size_t)least(z.items, least(threads, PARTS)) * z.share_bytes;
        if (bytes > most) most = bytes;
    }
    return most;
}

typedef struct job {
    ctx *c;
    const conv_shape *s;
    sizes z;
    tiling t;
    const void *from; /* images that windows are read from */
    void *to;         /* images that are written; WEIGHT: what the sums are weighed by */
    char *u, *shares;
} job;

#define REAL float
#define NAME(x) x##_f32
#define IS_F32 1
#include "winograd.c"
#undef REAL
#undef NAME
#undef IS_F32
#define REAL double
#define NAME(x) x##_f64
#define IS_F32 0
#include "winograd.c"
#undef REAL
#undef NAME
#undef IS_F32

bk_status winograd_run(ctx *c, conv_side what, bk_dtype dtype, const conv_shape *s, void *x, void *w, void *y,
                       void *scratch) {
    const bool single = dtype == BK_FLOAT32;
    job j = { c, s, sizes_of(s, what, dtype), tiles_of(s, what, dtype), what == INPUT ? y : x,
              what == INPUT ? x : y, scratch };
    j.shares = j.u + j.z.u_bytes;
    if (what != WEIGHT) (single ? kernels_f32 : kernels_f64)(&j, w, what == INPUT);
    const double shares = (double)(s->batch * s->out * s->out_height * s->out_width) * (double)s->in * 9 / SHARE_WORK;
    const range_fn fn = what == WEIGHT ? (single ? weigh_f32 : weigh_f64) : single ? convolve_f32 : convolve_f64;
    if (ctx_ranges(c, j.z.items, shares < 1 ? 1 : shares < PARTS ? (int)shares : PARTS, 0, fn, &j))
        return BK_EINTERRUPTED;
    if (what == WEIGHT) (single ? kernels_back_f32 : kernels_back_f64)(&j, w);
    return BK_OK;
}

#else

bool winograd_serves(const conv_shape *s, bk_dtype dtype) {
    return (void)s, (void)dtype, false;
}
size_t winograd_scratch(const conv_shape *s, bk_dtype dtype, int threads) {
    return (void)s, (void)dtype, (void)threads, (size_t)0;
}
bk_status winograd_run(ctx *c, conv_side what, bk_dtype dtype, const conv_shape *s, void *x, void *w, void *y,
                       void *scratch) {
    return (void)c, (void)what, (void)dtype, (void)s, (void)x, (void)w, (void)y, (void)scratch, BK_EUNSUPPORTED;
}

#endif
#else /* REAL: the typed part */

#if IS_F32
#define VECTOR __m512
#define LANES 16
#define MASK __mmask16
#define ZERO() _mm512_setzero_ps()
#define LOAD(p) _mm512_loadu_ps(p)
#define STORE(p, v) _mm512_storeu_ps(p, v)
#define SPREAD(p) _mm512_set1_ps(*(p))
#define ADD(a, b) _mm512_add_ps(a, b)
#define SUB(a, b) _mm512_sub_ps(a, b)
#define HALF(a) _mm512_mul_ps(a, _mm512_set1_ps(0.5f))
#define FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define SOME(m, p) _mm512_maskz_loadu_ps(m, p)
#define PUT(p, m, v) _mm512_mask_storeu_ps(p, m, v)
#define PICK(a, i, b) _mm512_permutex2var_ps(a, i, b)
#define QUARTERS(a, b) ADD(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd)) /* 0 + 1, 2 + 3 */
#define EVEN _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
#define ODD _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31)
#define BEFORE _mm512_setr_epi32(0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14)
#define SHIFT(m, v) _mm512_maskz_permutexvar_ps(m, BEFORE, v)
#define FIRST(v, p) _mm512_mask_mov_ps(v, 1, SPREAD(p))
#define LOW _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#else
#define VECTOR __m512d
#define LANES 8
#define MASK __mmask8
#define ZERO() _mm512_setzero_pd()
#define LOAD(p) _mm512_loadu_pd(p)
#define STORE(p, v) _mm512_storeu_pd(p, v)
#define SPREAD(p) _mm512_set1_pd(*(p))
#define ADD(a, b) _mm512_add_pd(a, b)
#define SUB(a, b) _mm512_sub_pd(a, b)
#define HALF(a) _mm512_mul_pd(a, _mm512_set1_pd(0.5))
#define FMA(a, b, c) _mm512_fmadd_pd(a, b, c)
#define SOME(m, p) _mm512_maskz_loadu_pd(m, p)
#define PUT(p, m, v) _mm512_mask_storeu_pd(p, m, v)
#define PICK(a, i, b) _mm512_permutex2var_pd(a, i, b)
#define QUARTERS(a, b) ADD(_mm512_shuffle_f64x2(a, b, 0x88), _mm512_shuffle_f64x2(a, b, 0xdd))
#define EVEN _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14)
#define ODD _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15)
#define BEFORE _mm512_setr_epi64(0, 0, 1, 2, 3, 4, 5, 6)
#define SHIFT(m, v) _mm512_maskz_permutexvar_pd(m, BEFORE, v)
#define FIRST(v, p) _mm512_mask_mov_pd(v, 1, SPREAD(p))
#define LOW _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15)
#endif

/* What a vector of tiles reads, or writes. Tiles 2 apart: LANES places of two runs side by side in a row (1 row of
 * tiles), of two rows (2), of which each is in halves of two rows (4). Tiles 4 apart: four runs of LANES places, all in
 * a row, two in each of two, or one in each. A row outside the image is one of zeros for every channel. */
typedef struct NAME(place) {
    /* (Aligned, or GCC 12 may fill them as if they were, on a stack that is not: it does under ThreadSanitizer.) */
    _Alignas(VECTOR_BYTES) const REAL *row[5][4]; /* [row of the window][row of tiles], at the window's first column */
    int64_t step[5][4];                           /* to the next channel */
    MASK near[4], far[2]; /* columns of the image: of the runs, and of those 2 further on */
    int64_t rows;
    bool left; /* 4 apart: the image has a column before the first */
} NAME(place);

static MASK NAME(columns)(int64_t first, int64_t width, int64_t most) {
    const int64_t low = first < 0 ? -first : 0, high = least(width - first, most);
    return (MASK)(low < high ? (1u << high) - (1u << low) : 0);
}

/* Vector i of an image: `of.count` rows of what begins `of.step` rows and columns apart, less pad. Those 4 apart find
 * the columns before the first themselves. */
static NAME(place) NAME(place_of)(const tiling *t, int64_t i, const REAL *image, int64_t height, int64_t width,
                                  int64_t pad, patch of) {
    static const REAL zeros[1 + 4 * LANES];
    NAME(place) p = { .rows = t->rows };
    const int64_t run = of.step == 2 && t->rows == 4 ? LANES / 2 : LANES;
    const int64_t column = i % t->across * of.step * LANES / t->rows - (of.step == 2 ? pad : 0);
    for (int r = 0; r < of.count; r++)
        for (int k = 0; k < t->rows; k++) {
            const int64_t at = (i / t->across * t->rows + k) * of.step + r - pad;
            const bool inside = at >= 0 && at < height;
            p.row[r][k] = inside ? image + at * width + column : zeros + 1;
            p.step[r][k] = inside ? height * width : 0;
        }
    for (int k = 0; k < 4; k++) {
        const int64_t shift = k % (of.step / least(t->rows, of.step));
        p.near[k] = NAME(columns)(column + shift * LANES, width, run);
        if (k < 2) p.far[k] = NAME(columns)(column + shift * LANES + 2, width, run);
    }
    p.left = t->rows == 1 && column > 0;
    return p;
}

/* The two runs of row r of channel c, `shift` columns on. */
WIDE static ALWAYS void NAME(runs)(const NAME(place) *p, int rows, int r, int64_t c, int64_t shift, const MASK *m,
                                   VECTOR out[2]) {
#define ROW(k) (p->row[r][k] + c * p->step[r][k] + shift)
    if (rows == 1) out[0] = SOME(m[0], ROW(0)), out[1] = SOME(m[1], ROW(0) + LANES);
    else if (rows == 2) out[0] = SOME(m[0], ROW(0)), out[1] = SOME(m[0], ROW(1));
#if IS_F32
    else
        for (int h = 0; h < 2; h++)
            out[h] = _mm512_insertf32x8(
                _mm512_castps256_ps512(_mm256_castsi256_ps(_mm512_castsi512_si256(
                    _mm512_castps_si512(SOME(m[0], ROW(2 * h)))))),
                _mm512_castps512_ps256(SOME(m[0], ROW(2 * h + 1))), 1);
#endif
#undef ROW
}

/* Row r of the outputs of channel c: those in the left and in the right columns of tiles. */
WIDE static ALWAYS void NAME(put_row)(const NAME(place) *p, int64_t c, int r, VECTOR left, VECTOR right) {
    const VECTOR run[2] = { PICK(left, LOW, right), PICK(left, HIGH, right) };
    for (int k = 0; k < (p->rows == 4 ? 4 : 2); k++) {
        const int row = p->rows == 1 ? 0 : k;
        if (!p->step[r][row]) continue; /* past the last row */
        REAL *to = (REAL *)p->row[r][row] + c * p->step[r][row] + (p->rows == 1 ? k * LANES : 0);
#if IS_F32
        if (p->rows == 4) {
            PUT(to, p->near[0], k % 2 ? _mm512_shuffle_f32x4(run[k / 2], run[k / 2], 0xee) : run[k / 2]);
            continue;
        }
#endif
        PUT(to, p->near[k], run[k]);
    }
}

/* B' d B of channel c into 16 places `pitch` elements apart. */
WIDE static ALWAYS void NAME(window)(const NAME(place) *p, int rows, int64_t c, REAL *to, int64_t pitch) {
    VECTOR d[4][4], run[2];
    UNROLL for (int r = 0; r < 4; r++) {
        NAME(runs)(p, rows, r, c, 0, p->near, run);
        d[r][0] = PICK(run[0], EVEN, run[1]), d[r][1] = PICK(run[0], ODD, run[1]);
        NAME(runs)(p, rows, r, c, 2, p->far, run);
        d[r][2] = PICK(run[0], EVEN, run[1]), d[r][3] = PICK(run[0], ODD, run[1]);
    }
    UNROLL for (int q = 0; q < 4; q++) {
        const VECTOR a = d[0][q], b = d[1][q], e = d[2][q], f = d[3][q];
        d[0][q] = SUB(a, e), d[1][q] = ADD(b, e), d[2][q] = SUB(e, b), d[3][q] = SUB(b, f);
    }
    UNROLL for (int r = 0; r < 4; r++) {
        STORE(to + (4 * r + 0) * pitch, SUB(d[r][0], d[r][2]));
        STORE(to + (4 * r + 1) * pitch, ADD(d[r][1], d[r][2]));
        STORE(to + (4 * r + 2) * pitch, SUB(d[r][2], d[r][1]));
        STORE(to + (4 * r + 3) * pitch, SUB(d[r][1], d[r][3]));
    }
}

/* A Y A' of channel c, whose last row and column are left with the other sign. */
WIDE static ALWAYS void NAME(spread)(const NAME(place) *p, int rows, int64_t c, REAL *to, int64_t pitch) {
    VECTOR y[4][2], run[2];
    UNROLL for (int r = 0; r < 2; r++) {
        NAME(runs)(p, rows, r, c, 0, p->near, run);
        y[3 * r][0] = PICK(run[0], EVEN, run[1]), y[3 * r][1] = PICK(run[0], ODD, run[1]);
    }
    UNROLL for (int q = 0; q < 2; q++) y[1][q] = ADD(y[0][q], y[3][q]), y[2][q] = SUB(y[0][q], y[3][q]);
    UNROLL for (int r = 0; r < 4; r++) {
        STORE(to + (4 * r + 0) * pitch, y[r][0]);
        STORE(to + (4 * r + 1) * pitch, ADD(y[r][0], y[r][1]));
        STORE(to + (4 * r + 2) * pitch, SUB(y[r][0], y[r][1]));
        STORE(to + (4 * r + 3) * pitch, y[r][1]);
    }
}

/* Where the rows of vector `i` of all images begin that the one before does not read. */
static const REAL *NAME(next_rows)(const tiling *t, int64_t i, const void *images, int64_t channels, int64_t height,
                                   int64_t width, int64_t pad, int64_t step) {
    const int64_t image = i / t->vectors, at = i % t->vectors, row = at / t->across * t->rows * step;
    return (const REAL *)images + (image * channels * height + (at ? row + 2 * pad : 0)) * width +
           at % t->across * step * LANES / t->rows;
}

#include "winograd_stride.inc"

/* Windows, or (`back`) what they are weighed by, of channels first .. first + n - 1, as those of the vector after are
 * asked for: a plane is too far from the next for the processor to see it coming. */
WIDE static void NAME(gather)(const NAME(place) *p, patch of, bool back, bool strided, int64_t first, int64_t n,
                              const REAL *next, int64_t plane, REAL *to, int64_t step, int64_t pitch) {
#define EACH(WHAT, LINES, ROWS)                                                                                        \
    for (int64_t c = 0; c < n; c++) {                                                                                  \
        UNROLL for (int i = 0; i < LINES; i++) __builtin_prefetch(next + (first + c) * plane + i * LANES, 0, 2);       \
        WHAT(p, ROWS, first + c, to + c * step, pitch);                                                                \
    }
#define EITHER(WHAT, LINES)                                                                                            \
    do {                                                                                                               \
        if (p->rows == 1) EACH(WHAT, LINES, 1)                                                                         \
        else if (!IS_F32 || p->rows == 2) EACH(WHAT, LINES, 2)                                                         \
        else EACH(WHAT, LINES, 4)                                                                                      \
    } while (0)
    if (back && strided) EITHER(NAME(spread_strided), 4);
    else if (back) EITHER(NAME(spread), 4);
    else if (of.count == 5) EITHER(NAME(window_strided), 16);
    else if (of.count == 3) EITHER(NAME(window_small), 4);
    else EITHER(NAME(window), 4);
#undef EACH
#undef EITHER
}

/* ---- kernels: U = G g G' ---- */

/* U (places, out/4, in rounded up to 4, 4) of w (out, in, 3, 3), or `turned` of the kernels (in, out, 3, 3) that the
 * adjoint in x correlates with. */
WIDE static void NAME(kernels)(const job *j, const void *weights, bool turned) {
    const REAL *w = weights;
    const int64_t in = j->z.in, out = j->z.out, row = up(in, 4) * 4, pitch = row * (up(out, 4) / 4);
    const int64_t out_step = turned ? 9 : 9 * in, in_step = turned ? 9 * out : 9;
    for (int64_t o = 0; o < out; o += 4)
        for (int64_t c = 0; c < in; c += 4) {
            REAL g[9][16] = { { 0 } }; /* [place][c][o] */
            for (int64_t q = 0; q < least(4, in - c); q++)
                for (int64_t r = 0; r < least(4, out - o); r++) {
                    const REAL *k = w + (o + r) * out_step + (c + q) * in_step;
                    for (int i = 0; i < 9; i++) g[i][4 * q + r] = k[turned ? 8 - i : i];
                }
            for (int v = 0; v < 16; v += LANES) {
                REAL *to = (REAL *)(void *)j->u + o / 4 * row + c * 4 + v;
                if (j->s->stride == 2) {
                    NAME(kernel_strided)(&g[0][v], to, pitch);
                    continue;
                }
                VECTOR a[4][3];
                UNROLL for (int q = 0; q < 3; q++) {
                    const VECTOR top = LOAD(&g[q][v]), middle = HALF(LOAD(&g[3 + q][v])), low = LOAD(&g[6 + q][v]);
                    const VECTOR both = HALF(ADD(top, low));
                    a[0][q] = top, a[1][q] = ADD(both, middle), a[2][q] = SUB(both, middle), a[3][q] = low;
                }
                UNROLL for (int r = 0; r < 4; r++) {
                    const VECTOR both = HALF(ADD(a[r][0], a[r][2])), middle = HALF(a[r][1]);
                    STORE(to + (4 * r + 0) * pitch, a[r][0]);
                    STORE(to + (4 * r + 1) * pitch, ADD(both, middle));
                    STORE(to + (4 * r + 2) * pitch, SUB(both, middle));
                    STORE(to + (4 * r + 3) * pitch, a[r][2]);
                }
            }
        }
}

/* w = G' U G of U (parts, places, out/4, in/4, 4, 4), summed over the parts; G' knows the signs that spread left. */
WIDE static void NAME(kernels_back)(const job *j, void *weights) {
    REAL *w = weights;
    const int64_t in = j->z.in, out = j->z.out, row = up(in, 4) * 4, pitch = row * (up(out, 4) / 4);
    for (int64_t o = 0; o < out; o += 4)
        for (int64_t c = 0; c < in; c += 4) {
            REAL g[9][16]; /* [place][o][c] */
            for (int v = 0; v < 16; v += LANES) {
                const REAL *from = (const REAL *)(const void *)j->u + o / 4 * row + c * 4 + v;
                VECTOR a[25], b[3][4];
                for (int i = 0; i < j->z.places; i++) a[i] = LOAD(from + i * pitch);
                for (int64_t part = 1; part < j->z.parts; part++) {
                    const REAL *more = from + part * j->z.places * pitch;
                    for (int i = 0; i < j->z.places; i++) a[i] = ADD(a[i], LOAD(more + i * pitch));
                }
                if (j->s->stride == 2) {
                    NAME(kernel_back_strided)(a, &g[0][v]);
                    continue;
                }
                UNROLL for (int q = 0; q < 4; q++) {
                    const VECTOR sum = HALF(ADD(a[4 + q], a[8 + q]));
                    b[0][q] = ADD(a[q], sum), b[1][q] = HALF(SUB(a[4 + q], a[8 + q])), b[2][q] = SUB(sum, a[12 + q]);
                }
                UNROLL for (int r = 0; r < 3; r++) {
                    const VECTOR sum = HALF(ADD(b[r][1], b[r][2]));
                    STORE(&g[3 * r][v], ADD(b[r][0], sum));
                    STORE(&g[3 * r + 1][v], HALF(SUB(b[r][1], b[r][2])));
                    STORE(&g[3 * r + 2][v], SUB(sum, b[r][3]));
                }
            }
            for (int64_t r = 0; r < least(4, out - o); r++)
                for (int64_t q = 0; q < least(4, in - c); q++)
                    for (int i = 0; i < 9; i++) w[((o + r) * in + c + q) * 9 + i] = g[i][4 * r + q];
        }
}

/* ---- forward, and the adjoint in x ---- */

/* m[r, j] = sum_c u[c, r] v[c, j], r < 4, j < columns */
WIDE static ALWAYS void NAME(product)(const int columns, int64_t n, const REAL *u, const REAL *v, REAL *m) {
    VECTOR acc[4 * COLUMNS], x[COLUMNS];
    UNROLL for (int i = 0; i < 4 * columns; i++) acc[i] = ZERO();
    for (int64_t c = 0; c < n; c++, u += 4, v += columns * LANES) {
        UNROLL for (int q = 0; q < columns; q++) x[q] = LOAD(v + q * LANES);
        UNROLL for (int r = 0; r < 4; r++) {
            const VECTOR a = SPREAD(u + r);
            UNROLL for (int q = 0; q < columns; q++) acc[r * columns + q] = FMA(a, x[q], acc[r * columns + q]);
        }
    }
    UNROLL for (int i = 0; i < 4 * columns; i++) STORE(m + i * LANES, acc[i]);
}

WIDE static ALWAYS void NAME(products)(const int columns, const sizes *z, int64_t first, int64_t n, const REAL *u,
                                       const REAL *v, REAL *m) {
    const int64_t row = up(z->in, 4) * 4, pitch = row * (up(z->out, 4) / 4);
    for (int i = 0; i < z->places; i++)
        for (int64_t o = 0; o < n; o += 4)
            NAME(product)(columns, z->in, u + i * pitch + (first + o) / 4 * row,
                          v + z->window_at[i] * z->v_pitch * LANES, m + (i * z->m_pitch + o * columns) * LANES);
}

/* The outputs A' M A of channel c. */
WIDE static ALWAYS void NAME(tile)(const NAME(place) *p, int64_t c, const REAL *m, int64_t pitch) {
    VECTOR a[2][4];
    UNROLL for (int q = 0; q < 4; q++) {
        const VECTOR m0 = LOAD(m + q * pitch), m1 = LOAD(m + (4 + q) * pitch), m2 = LOAD(m + (8 + q) * pitch);
        a[0][q] = ADD(ADD(m1, m2), m0);
        a[1][q] = SUB(SUB(m1, m2), LOAD(m + (12 + q) * pitch));
    }
    for (int r = 0; r < 2; r++)
        NAME(put_row)(p, c, r, ADD(ADD(a[r][1], a[r][2]), a[r][0]), SUB(SUB(a[r][1], a[r][2]), a[r][3]));
}

WIDE static void NAME(convolve)(void *arg, int share, int64_t first, int64_t end) {
    const job *j = arg;
    const sizes *z = &j->z;
    const tiling *t = &j->t;
    const int64_t total = j->s->batch * t->vectors;
    const bool strided = j->s->stride == 2;
    REAL *v = (REAL *)(void *)(j->shares + (size_t)share * z->share_bytes), *m = v + z->places * z->v_pitch * LANES;
    const REAL *u = (const REAL *)(const void *)j->u;
    for (int64_t item = first; item < end; item++) {
        NAME(place) to[COLUMNS];
        const int columns = (int)least(COLUMNS, total - item * COLUMNS);
        if (ctx_poll(j->c, NULL)) return;
        for (int q = 0; q < columns; q++) {
            const int64_t image = (item * COLUMNS + q) / t->vectors, i = (item * COLUMNS + q) % t->vectors;
            const REAL *from = (const REAL *)j->from + image * z->in * t->height * t->width;
            const NAME(place) p = NAME(place_of)(t, i, from, t->height, t->width, t->pad, t->window);
            const REAL *next = NAME(next_rows)(t, item * COLUMNS + q + 1, j->from, z->in, t->height, t->width,
                                               strided ? 0 : t->pad, t->window.step);
            NAME(gather)(&p, t->window, false, strided, 0, z->in, next, t->height * t->width, v + q * LANES,
                         columns * LANES, z->v_pitch * LANES);
            to[q] = NAME(place_of)(t, i, (const REAL *)j->to + image * z->out * t->out_height * t->out_width,
                                   t->out_height, t->out_width, 0, t->result);
        }
        for (int64_t o = 0; o < z->out; o += OUT_BLOCK) {
            const int64_t n = least(OUT_BLOCK, z->out - o);
            switch (columns) {
            case 1: NAME(products)(1, z, o, n, u, v, m); break;
            case 2: NAME(products)(2, z, o, n, u, v, m); break;
            case 3: NAME(products)(3, z, o, n, u, v, m); break;
            case 4: NAME(products)(4, z, o, n, u, v, m); break;
            case 5: NAME(products)(5, z, o, n, u, v, m); break;
            default: NAME(products)(6, z, o, n, u, v, m); break;
            }
            for (int64_t r = 0; r < n; r++)
                for (int q = 0; q < columns; q++) {
                    const REAL *from = m + (r * columns + q) * LANES;
                    if (!strided) NAME(tile)(&to[q], o + r, from, z->m_pitch * LANES);
                    else if (t->result.step == 2) NAME(tile_strided)(&to[q], o + r, from, z->m_pitch * LANES);
                    else NAME(tile_large)(&to[q], o + r, from, z->m_pitch * LANES);
                }
        }
    }
}

/* ---- the adjoint in w ---- */

/* to[4 r + q] += the sum over the lanes of acc[4 r + q] */
WIDE static ALWAYS void NAME(fold)(REAL *to, const VECTOR *acc) {
    VECTOR a[8], b[4];
#if IS_F32
    UNROLL for (int i = 0; i < 8; i++)
        a[i] = ADD(_mm512_unpacklo_ps(acc[2 * i], acc[2 * i + 1]), _mm512_unpackhi_ps(acc[2 * i], acc[2 * i + 1]));
    UNROLL for (int i = 0; i < 4; i++) {
        const __m512d x = _mm512_castps_pd(a[2 * i]), y = _mm512_castps_pd(a[2 * i + 1]);
        b[i] = ADD(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)), _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
    }
    UNROLL for (int i = 0; i < 2; i++) a[i] = QUARTERS(b[2 * i], b[2 * i + 1]);
    const VECTOR sum = QUARTERS(a[0], a[1]);
    STORE(to, ADD(LOAD(to), sum));
#else
    UNROLL for (int i = 0; i < 8; i++)
        a[i] = ADD(_mm512_unpacklo_pd(acc[2 * i], acc[2 * i + 1]), _mm512_unpackhi_pd(acc[2 * i], acc[2 * i + 1]));
    UNROLL for (int i = 0; i < 4; i++) b[i] = QUARTERS(a[2 * i], a[2 * i + 1]);
    UNROLL for (int i = 0; i < 2; i++)
        STORE(to + i * LANES, ADD(LOAD(to + i * LANES), QUARTERS(b[2 * i], b[2 * i + 1])));
#endif
}

/* u[r, q] += sum over n vectors and their lanes of y[r] x[q], r, q < 4, rows `step` vectors apart */
WIDE static ALWAYS void NAME(sums)(int64_t n, int64_t step, const REAL *y, const REAL *x, REAL *u) {
    VECTOR acc[16], v[4];
    UNROLL for (int i = 0; i < 16; i++) acc[i] = ZERO();
    for (int64_t t = 0; t < n * LANES; t += LANES) {
        UNROLL for (int q = 0; q < 4; q++) v[q] = LOAD(x + q * step * LANES + t);
        UNROLL for (int r = 0; r < 4; r++) {
            const VECTOR a = LOAD(y + r * step * LANES + t);
            UNROLL for (int q = 0; q < 4; q++) acc[4 * r + q] = FMA(a, v[q], acc[4 * r + q]);
        }
    }
    NAME(fold)(u, acc);
}

/* Vectors first .. first + n - 1 of the batch, `count` channels from `channel` on, into v; zeros up to a multiple of
 * 4 channels. */
WIDE static void NAME(read_chunk)(const job *j, bool back, int64_t first, int64_t n, int64_t channel, int64_t count,
                                  REAL *v, int64_t pitch) {
    const tiling *t = &j->t;
    const patch of = back ? t->result : t->window;
    const bool strided = j->s->stride == 2;
    const int64_t height = back ? t->out_height : t->height, width = back ? t->out_width : t->width;
    const int64_t channels = back ? j->z.out : j->z.in, chunk = j->z.chunk;
    for (int64_t i = 0; i < n; i++) {
        const int64_t image = (first + i) / t->vectors;
        const REAL *from = (const REAL *)(back ? j->to : j->from) + image * channels * height * width;
        const NAME(place) p = NAME(place_of)(t, (first + i) % t->vectors, from, height, width, back ? 0 : t->pad, of);
        const REAL *next = NAME(next_rows)(t, first + i + 1, back ? j->to : j->from, channels, height, width,
                                           back || strided ? 0 : t->pad, of.step);
        NAME(gather)(&p, of, back, strided, channel, count, next, height * width, v + i * LANES,
                     chunk * LANES, pitch * LANES);
    }
    for (int i = 0; i < j->z.places && count % 4; i++)
        memset(v + (i * pitch + count * chunk) * LANES, 0, (size_t)((up(count, 4) - count) * chunk) * VECTOR_BYTES);
}

WIDE static void NAME(weigh)(void *arg, int share, int64_t first, int64_t end) {
    const job *j = arg;
    const sizes *z = &j->z;
    const int64_t total = j->s->batch * j->t.vectors, row = up(z->in, 4) * 4, place = row * (up(z->out, 4) / 4);
    REAL *v = (REAL *)(void *)(j->shares + (size_t)share * z->share_bytes), *d = v + z->places * z->v_pitch * LANES;
    for (int64_t item = first; item < end; item++) {
        const int64_t part = item / z->blocks, c = item % z->blocks * z->block, channels = least(z->block, z->in - c);
        REAL *u = (REAL *)(void *)j->u + part * z->places * place + c * 4;
        for (int64_t i = 0; i < z->places * (up(z->out, 4) / 4); i++)
            memset(u + i * row, 0, (size_t)(up(channels, 4) * 4) * sizeof *u);
        for (int64_t k = part * z->chunks / z->parts; k < (part + 1) * z->chunks / z->parts; k++) {
            const int64_t at = k * z->chunk, n = least(z->chunk, total - at);
            NAME(read_chunk)(j, false, at, n, c, channels, v, z->v_pitch);
            for (int64_t o = 0; o < z->out; o += WEIGHT_OUT) {
                const int64_t outs = least(WEIGHT_OUT, z->out - o);
                if (ctx_poll(j->c, NULL)) return;
                NAME(read_chunk)(j, true, at, n, o, outs, d, z->m_pitch);
                for (int i = 0; i < z->places; i++)
                    for (int64_t q = 0; q < channels; q += 4)
                        for (int64_t r = 0; r < outs; r += 4)
                            NAME(sums)(n, z->chunk, d + (z->result_at[i] * z->m_pitch + r * z->chunk) * LANES,
                                       v + (z->window_at[i] * z->v_pitch + q * z->chunk) * LANES,
                                       u + i * place + (o + r) / 4 * row + q * 4);
            }
        }
    }
}

#undef VECTOR
#undef LANES
#undef MASK
#undef ZERO
#undef LOAD
#undef STORE
#undef SPREAD
#undef ADD
#undef SUB
#undef HALF
#undef FMA
#undef SOME
#undef PUT
#undef PICK
#undef QUARTERS
#undef EVEN
#undef ODD
#undef BEFORE
#undef SHIFT
#undef FIRST
#undef LOW
#undef HIGH
#endif
