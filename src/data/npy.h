/* npy.h - NumPy's array files, format 1.0 to 3.0. */
#ifndef DATA_NPY_H
#define DATA_NPY_H

#include "../tensor/tensor.h"

/* f8 becomes float64, f4 float32, signed and unsigned integers and b1 int64 (a u8 value past 2^63-1 is an
 * error); either byte order; fortran_order is put into row-major order. A missing file, a malformed header
 * and any byte too few or too many are BK_EIO; *out is cleared on failure. */
bk_status npy_read(ctx *c, const char *path, tensor *out, err *e);

/* Writes t, any strides, as format 1.0 in row-major order. The file appears whole or not at all. */
bk_status npy_write(ctx *c, const char *path, const tensor *t, err *e);

#endif
