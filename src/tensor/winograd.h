/* winograd.h - 3 x 3 convolutions by minimal filtering (Winograd 1980), as Lavin & Gray 2016 apply it to images: of
 * stride 1 by F(2 x 2, 3 x 3), 16 products where the sum itself has 36, of stride 2 (and padding 1) by F(2, 2) for the
 * outer places of the kernel, 25. For conv.c, which chooses. Rounding errors are 0.7 to 2.5 times those of the sum (3
 * to 256 channels). Where an image holds an infinity or a NaN, the other pixels of the tile that read it may be NaN
 * too. */
#ifndef TENSOR_WINOGRAD_H
#define TENSOR_WINOGRAD_H

#include "conv.h"

typedef enum conv_side { FORWARD, INPUT, WEIGHT } conv_side; /* which of the three is computed from the other two */

/* Whether it is there for this processor, applies to the shape and is the faster way. */
bool winograd_serves(const conv_shape *s, bk_dtype dtype);
size_t winograd_scratch(const conv_shape *s, bk_dtype dtype, int threads); /* as conv_scratch; 64-byte aligned */
bk_status winograd_run(ctx *c, conv_side what, bk_dtype dtype, const conv_shape *s, void *x, void *w, void *y,
                       void *scratch);

#endif
