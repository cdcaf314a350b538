/* conv.h - 2-d cross-correlation and its two adjoints, over contiguous row-major
 * images (batch, channel, height, width) and weights (out, in, kh, kw). float64 and float32.
 * The three convolutions are one trilinear form seen from its three sides, so every derivative
 * of any order is again one of them. Results do not depend on the number of threads. Where 3 x 3 kernels of stride 1
 * or 2 meet an infinity or a NaN, a pixel beside those that read it may be NaN (winograd.h). */
#ifndef TENSOR_CONV_H
#define TENSOR_CONV_H

#include "../base/ctx.h"

typedef struct conv_shape {
    int64_t batch, in, height, width; /* x (batch, in, height, width) */
    int64_t out, kh, kw;              /* w (out, in, kh, kw) */
    int64_t stride, pad;              /* both directions */
    int64_t out_height, out_width;    /* y (batch, out, out_height, out_width) = (height + 2 pad - kh)/stride + 1 */
} conv_shape;

/* Bytes of scratch the three calls need (the same block for any of them) on so many threads, or on fewer. */
size_t conv_scratch(const conv_shape *s, bk_dtype dtype, int threads);

/* y[b,o,i,j] = sum_{c,u,v} x[b,c,i*stride+u-pad, j*stride+v-pad] w[o,c,u,v] */
bk_status conv_forward(ctx *c, bk_dtype dtype, const conv_shape *s, const void *x, const void *w, void *y,
                       void *scratch);
/* x[b,c,p,q] = sum over the same index set of y w: the adjoint in x */
bk_status conv_input(ctx *c, bk_dtype dtype, const conv_shape *s, const void *y, const void *w, void *x, void *scratch);
/* w[o,c,u,v] = sum over the same index set of x y: the adjoint in w */
bk_status conv_weight(ctx *c, bk_dtype dtype, const conv_shape *s, const void *x, const void *y, void *w,
                      void *scratch);

#endif
