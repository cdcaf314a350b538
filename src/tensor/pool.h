/* pool.h - means and maxima over the windows of planes, contiguous and row-major. float64 and float32. */
#ifndef TENSOR_POOL_H
#define TENSOR_POOL_H

#include "../base/ctx.h"

typedef struct pool_shape {
    int64_t planes, height, width; /* x (planes, height, width), planes = batch * channels */
    int64_t kh, kw, stride, pad;
    int64_t out_height, out_width;
} pool_shape;

/* y = mean over each window of kh*kw places (padding counts as zeros), and its adjoint. */
void pool_average(bk_dtype dtype, const pool_shape *s, const void *x, void *y);
void pool_average_adjoint(bk_dtype dtype, const pool_shape *s, const void *y, void *x);
/* index[plane, i, j] = place within the plane (row * width + column) of each window's first maximum (NaN wins);
 * padding never wins. */
void pool_argmax(bk_dtype dtype, const pool_shape *s, const void *x, int64_t *index);

#endif
