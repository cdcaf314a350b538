/* tensor.h - refcounted storage and the strided views on it. A tensor is a small
 * value: copy the struct, and retain its storage for every copy that is kept.
 * Values are never changed after they are made, except by who just allocated them. */
#ifndef TENSOR_TENSOR_H
#define TENSOR_TENSOR_H

#include "../base/ctx.h"
#include "vec.h"

typedef struct storage {
    atomic_int refs;
    ctx *c;
    size_t bytes;
    void *data;
    bool borrowed; /* the host's memory: never freed here */
} storage;

typedef struct tensor {
    storage *store; /* NULL: no tensor */
    bk_dtype dtype;
    int ndim; /* 0..BK_MAX_DIMS */
    int64_t shape[BK_MAX_DIMS];
    int64_t strides[BK_MAX_DIMS]; /* in elements */
    int64_t offset;               /* of the first element, in elements */
} tensor;

size_t dtype_size(bk_dtype dtype);
/* Number i of an array, as a double. */
static inline double dtype_get(bk_dtype dtype, const void *data, int64_t i) {
    switch (dtype) {
    case BK_FLOAT64: return ((const double *)data)[i];
    case BK_FLOAT32: return (double)((const float *)data)[i];
    case BK_INT64: return (double)((const int64_t *)data)[i];
    }
    return 0;
}
static inline void dtype_set(bk_dtype dtype, void *data, int64_t i, double x) {
    switch (dtype) {
    case BK_FLOAT64: ((double *)data)[i] = x; break;
    case BK_FLOAT32: ((float *)data)[i] = (float)x; break;
    case BK_INT64: ((int64_t *)data)[i] = vec_int64(x); break;
    }
}
const char *dtype_name(bk_dtype dtype);                /* "float64" ... */
bool dtype_from_name(const char *name, bk_dtype *out); /* false: unknown */

/* The number of elements; -1 when it overflows or a size is negative. */
int64_t shape_count(int ndim, const int64_t *shape);
bool shape_equal(int na, const int64_t *a, int nb, const int64_t *b);
void shape_strides(int ndim, const int64_t *shape, int64_t *strides); /* row-major */
/* Merges the axes of a view where its strides allow; returns how many are left, at least 1. */
int shape_collapse(int ndim, int64_t *shape, int64_t *strides);
typedef struct shape_buf { char text[200]; } shape_buf;
const char *shape_text(int ndim, const int64_t *shape, shape_buf *buf); /* "(32,10)", "()" */

/* New row-major tensors, one reference each; tensor_new does not clear. */
bk_status tensor_new(ctx *c, bk_dtype dtype, int ndim, const int64_t *shape, tensor *out, err *e);
bk_status tensor_zeros(ctx *c, bk_dtype dtype, int ndim, const int64_t *shape, tensor *out, err *e);
bk_status tensor_borrow(ctx *c, bk_dtype dtype, int ndim, const int64_t *shape, void *data, tensor *out, err *e);
void tensor_retain(const tensor *t);
void tensor_release(tensor *t); /* clears t; a cleared t is allowed */

void *tensor_data(const tensor *t); /* address of the first element */
int64_t tensor_count(const tensor *t);
bool tensor_contiguous(const tensor *t); /* row-major without gaps */

/* Element i in row-major order, any strides. */
double tensor_get(const tensor *t, int64_t i);
int64_t tensor_get_int64(const tensor *t, int64_t i); /* of an int64 tensor: a double has 53 bits */
void tensor_set(const tensor *t, int64_t i, double x); /* of a new tensor, row-major */
/* Row-major copy of t as dtype into out (a caller's buffer of tensor_count elements). */
void tensor_copy_to(const tensor *t, bk_dtype dtype, void *out);
/* The same in pieces: BK_EINTERRUPTED, and out unfinished, when an interrupt comes. */
bk_status tensor_copy(const tensor *t, bk_dtype dtype, void *out, err *e);
/* A row-major tensor with t's values in dtype: t itself (retained) when it already is one. */
bk_status tensor_contiguous_as(const tensor *t, bk_dtype dtype, tensor *out, err *e);

#endif
