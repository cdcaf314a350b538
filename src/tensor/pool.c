/* pool.c - the loops of pool.inc, for both types. */
#include "pool.h"

#include "tensor.h"
#include "vec.h"

#include <string.h>

enum { POOL_WINDOWS = 256 }; /* worked on at once */

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static bool is_pairs(const pool_shape *s) { /* the 2 x 2 windows of most networks */
    return s->kh == 2 && s->kw == 2 && s->stride == 2 && s->pad == 0;
}

static bool is_whole(const pool_shape *s) { /* one window, which is the plane */
    return s->kh == s->height && s->kw == s->width && s->pad == 0;
}

#define T float
#define BITS uint32_t
#define K(name) name##_f32
#define DTYPE BK_FLOAT32
#include "pool.inc"
#define T double
#define BITS uint64_t
#define K(name) name##_f64
#define DTYPE BK_FLOAT64
#include "pool.inc"

void pool_average(bk_dtype dtype, const pool_shape *s, const void *x, void *y) {
    (dtype == BK_FLOAT32 ? average_f32 : average_f64)(s, x, y);
}

void pool_average_adjoint(bk_dtype dtype, const pool_shape *s, const void *y, void *x) {
    (dtype == BK_FLOAT32 ? average_adjoint_f32 : average_adjoint_f64)(s, y, x);
}

void pool_argmax(bk_dtype dtype, const pool_shape *s, const void *x, int64_t *index) {
    (dtype == BK_FLOAT32 ? argmax_f32 : argmax_f64)(s, x, index);
}
