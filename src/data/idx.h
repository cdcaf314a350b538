/* idx.h - the IDX format (of the MNIST files), plain or gzip: 2 zero bytes, an element type, the number
 * of dimensions, the sizes as big-endian uint32, then the elements, big-endian, row-major. */
#ifndef DATA_IDX_H
#define DATA_IDX_H

#include "../tensor/tensor.h"

/* A new tensor of the file's shape (1..8 dimensions): ubyte, byte, short and int become int64, float
 * float32, double float64. When path is missing, path.gz (or path without .gz) is read. Any byte
 * too few or too many is BK_EIO; *out is cleared on failure. */
bk_status idx_read(ctx *c, const char *path, tensor *out, err *e);

#endif
