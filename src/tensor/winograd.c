/* winograd.c - Y = A'[(G g G') . (B' d B)]A for every 2 x 2 tile of outputs, 4 x 4 window d and 3 x 3 kernel g, summed
 * over channels before A: 16 matrix products of (out, in) by (in, tiles). A vector holds a place of as many tiles as it
 * has lanes, from 1, 2 or 4 rows of tiles by the image's width, so images are read and written where they lie, with no
 * padded copy. The adjoint in x is the same with the kernels turned; that in w sums (A Y A') . (B' d B) over tiles.
 * Those of stride 2 differ in the transforms and have 25 places. AVX-512 only. Here is how tiles lie in vectors and how
 * the work is cut; winograd.inc, once for each element type, has the transforms and products. Threads share chunks of
 * tiles, cut by the shape alone: the bits are the same at any number of them. */
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

enum { VECTOR_BYTES = 64, COLUMNS = 6, OUT_BLOCK = 8, PARTS = 8 };
enum { WEIGHT_IN = 512, WEIGHT_VECTORS = 8192, WEIGHT_OUT = 4 }; /* channels times places, vectors, channels: a block */
enum { STRIP = 8 }; /* vectors one below the other that are read at a time, at most */
static const double SHARE_WORK = 1 << 18; /* multiply-adds that a thread is worth waking for */

static int64_t up(int64_t n, int64_t step) {
    return (n + step - 1) / step * step;
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Planes, and the places of a tile in them: `count` rows and columns, those of the first tile from `pad` before the
 * plane on, those of the next `step` further. */
typedef struct field {
    int64_t height, width, pad;
    int count, step;
} field;

/* How tiles lie in vectors. Those of an image are one below the other, in each of their rows of tiles, then beside each
 * other. */
typedef struct tiling {
    field window, result;
    int64_t lanes, rows;   /* tiles in a vector; its rows of tiles: 1, 2, 4 */
    int64_t down, vectors; /* vectors below each other in an image; of an image */
    double full;           /* the part of the lanes that has tiles */
} tiling;

/* Of the outputs that are computed: y, for INPUT x. A tile is 2 x 2 of them, where that is x of stride 2, 4 x 4. */
static tiling tiles_of(const conv_shape *s, conv_side what, bk_dtype dtype) {
    const bool strided = s->stride == 2;
    const field y = { s->out_height, s->out_width, 0, 2, 2 }, by_y = { s->out_height, s->out_width, 0, 3, 2 };
    tiling t = { .lanes = dtype == BK_FLOAT32 ? 16 : 8, .rows = 1 };
    if (what != INPUT) {
        t.window = (field){ s->height, s->width, s->pad, strided ? 5 : 4, strided ? 4 : 2 };
        t.result = y;
    } else {
        t.window = strided ? by_y : (field){ s->out_height, s->out_width, 2 - s->pad, 4, 2 };
        t.result = (field){ s->height, s->width, 0, strided ? 4 : 2, strided ? 4 : 2 };
    }
    const int64_t step = t.result.step;
    const int64_t wide = (t.result.width + step - 1) / step, high = (t.result.height + step - 1) / step;
    while (t.rows < t.lanes / 4 && wide * t.rows * 2 <= t.lanes) t.rows *= 2;
    t.down = up(high, t.rows) / t.rows;
    t.vectors = t.down * (up(wide * t.rows, t.lanes) / t.lanes);
    t.full = t.vectors ? (double)(wide * high) / (double)(t.vectors * t.lanes) : 0;
    return t;
}

/* As many places side by side as a vector has lanes; half as many where it has 4 rows of tiles 2 apart. Bits: which of
 * them, and of those 2 columns on, are in the plane. */
typedef struct span {
    int64_t at; /* in the plane */
    uint16_t near, far;
} span;

/* What a vector of tiles reads, or writes, of one row of its places. */
typedef struct line {
    span spans[4];
    bool before, after; /* the plane has a column before the first, after the last */
} line;

/* What becomes of places: windows of stride 1 by their padding, of stride 2, those by which x is found from y; what
 * windows are weighed by. */
typedef enum transform { WINDOW, WINDOW_EVEN, WINDOW_STRIDED, WINDOW_SMALL, TILE, TILE_STRIDED } transform;

static transform window_of(const tiling *t) {
    const field *f = &t->window;
    return f->count == 5 ? WINDOW_STRIDED : f->count == 3 ? WINDOW_SMALL : f->pad % 2 ? WINDOW : WINDOW_EVEN;
}

static uint16_t columns_of(int64_t first, int64_t width, int64_t most) {
    const int64_t low = first < 0 ? -first : 0, high = least(width - first, most);
    return (uint16_t)(low < high ? (1u << high) - (1u << low) : 0);
}

/* The lines of n vectors from vector i of an image on, one below the other. Where the padding is odd they begin a
 * column later: spans are then whole cache lines, or nearly. Of a row outside the plane nothing is in it. */
static void lines_of(const tiling *t, const field *f, int64_t i, int64_t n, line *to) {
    const int64_t count = n * f->step + f->count - f->step;
    const int64_t spans = f->step == 4 ? 4 : t->rows == 1 ? 2 : t->rows, beside = spans / t->rows;
    const int64_t length = f->step == 2 && t->rows == 4 ? t->lanes / 2 : t->lanes;
    const int64_t column = i / t->down * (t->lanes / t->rows) * f->step - (f->pad % 2 ? 0 : f->pad);
    for (int64_t k = 0; k < spans; k++) {
        const int64_t x = column + k % beside * t->lanes;
        const int64_t y = (k / beside * t->down + i % t->down) * f->step - f->pad;
        const uint16_t near = columns_of(x, f->width, length), far = columns_of(x + 2, f->width, length);
        for (int64_t r = 0; r < count; r++) {
            const bool inside = y + r >= 0 && y + r < f->height;
            to[r].spans[k] = inside ? (span){ (y + r) * f->width + x, near, far } : (span){ 0 };
            to[r].before = inside && t->rows == 1 && column > 0;
            to[r].after = inside && t->rows == 1 && column + beside * t->lanes < f->width;
        }
    }
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
#include "winograd.inc"
#undef REAL
#undef NAME
#undef IS_F32
#define REAL double
#define NAME(x) x##_f64
#define IS_F32 0
#include "winograd.inc"
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
