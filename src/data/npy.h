/* npy.h - NumPy's array files, format 1.0 to 3.0: beside the row that reads a file, what archives and t:save need. */
#ifndef DATA_NPY_H
#define DATA_NPY_H

#include "../tensor/tensor.h"
#include "source.h"

/* The array that a source holds, to its end; *out is cleared on failure. */
bk_status npy_from(source *s, tensor *out, err *e);

/* Writes t, any strides, as format 1.0 in row-major order. The file appears whole or not at all. */
bk_status npy_write(ctx *c, const char *path, const tensor *t, err *e);

#endif
