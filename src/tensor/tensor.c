/* tensor.c - types, shapes and strides; tensors made, kept, let go, read, set and copied. No arithmetic. */
#include "tensor.h"
#include "vec.h"

#include <stdio.h>
#include <string.h>

size_t dtype_size(bk_dtype dtype) {
    return dtype == BK_FLOAT32 ? 4 : 8;
}

static const char *const dtype_names[] = { "float64", "float32", "int64" };

const char *dtype_name(bk_dtype dtype) {
    return dtype_names[dtype];
}

bool dtype_from_name(const char *name, bk_dtype *out) {
    for (int i = 0; i < 3; i++)
        if (strcmp(name, dtype_names[i]) == 0) {
            *out = (bk_dtype)i;
            return true;
        }
    return false;
}

int64_t shape_count(int ndim, const int64_t *shape) {
    int64_t n = 1;
    bool empty = false;
    for (int i = 0; i < ndim; i++) {
        if (shape[i] < 0) return -1;
        if (shape[i] == 0) empty = true;
        else if (__builtin_mul_overflow(n, shape[i], &n) || n > INT64_MAX / 16) return -1;
    }
    return empty ? 0 : n;
}

bool shape_equal(int na, const int64_t *a, int nb, const int64_t *b) {
    return na == nb && (na == 0 || memcmp(a, b, sizeof *a * (size_t)na) == 0);
}

void shape_strides(int ndim, const int64_t *shape, int64_t *strides) {
    int64_t step = 1;
    for (int i = ndim - 1; i >= 0; i--) {
        strides[i] = step;
        step *= shape[i] > 0 ? shape[i] : 1;
    }
}

int shape_collapse(int ndim, int64_t *shape, int64_t *strides) {
    int n = 0;
    for (int i = 0; i < ndim; i++) {
        if (shape[i] == 1) continue;
        if (n && strides[n - 1] == strides[i] * shape[i]) {
            shape[n - 1] *= shape[i];
            strides[n - 1] = strides[i];
        } else {
            shape[n] = shape[i];
            strides[n] = strides[i];
            n++;
        }
    }
    if (n == 0) {
        shape[0] = 1;
        strides[0] = 0;
        n = 1;
    }
    return n;
}

const char *shape_text(int ndim, const int64_t *shape, shape_buf *buf) {
    size_t used = 0, room = sizeof buf->text;
    used += (size_t)snprintf(buf->text, room, "(");
    for (int i = 0; i < ndim && used < room; i++)
        used += (size_t)snprintf(buf->text + used, room - used, "%s%lld", i ? "," : "", (long long)shape[i]);
    if (used < room) snprintf(buf->text + used, room - used, ")");
    return buf->text;
}

static bk_status tensor_wrap(ctx *c, bk_dtype dtype, int ndim, const int64_t *shape, void *data, tensor *out, err *e) {
    *out = (tensor){ 0 };
    shape_buf text;
    if (ndim < 0 || ndim > BK_MAX_DIMS)
        return err_set(e, BK_EINVAL, "a tensor has at most %d dimensions, got %d", BK_MAX_DIMS, ndim);
    int64_t count = shape_count(ndim, shape);
    if (count < 0)
        return err_set(e, BK_EINVAL, "not a shape: %s (a size is negative, or the total overflows)",
                       shape_text(ndim, shape, &text));
    storage *s = mem_alloc(c, sizeof *s);
    if (!s) return err_nomem(e, sizeof *s);
    size_t bytes = (size_t)count * dtype_size(dtype);
    void *memory = data ? data : mem_block_alloc(c, bytes);
    if (!memory) {
        mem_free(c, s, sizeof *s);
        return err_nomem(e, bytes);
    }
    *s = (storage){ .refs = 1, .c = c, .bytes = bytes, .data = memory, .borrowed = data != NULL };
    ctx_retain(c);
    out->store = s;
    out->dtype = dtype;
    out->ndim = ndim;
    if (ndim) memcpy(out->shape, shape, sizeof *shape * (size_t)ndim);
    shape_strides(ndim, shape, out->strides);
    return BK_OK;
}

bk_status tensor_new(ctx *c, bk_dtype dtype, int ndim, const int64_t *shape, tensor *out, err *e) {
    return tensor_wrap(c, dtype, ndim, shape, NULL, out, e);
}

bk_status tensor_zeros(ctx *c, bk_dtype dtype, int ndim, const int64_t *shape, tensor *out, err *e) {
    enum { PIECE = 8 * POLL_WORK };
    bk_status s = tensor_new(c, dtype, ndim, shape, out, e);
    if (s) return s;
    const size_t bytes = out->store->bytes;
    for (size_t at = 0; at < bytes && !s; at += PIECE) {
        memset((char *)out->store->data + at, 0, bytes - at < PIECE ? bytes - at : PIECE);
        if (bytes > PIECE) s = ctx_poll(c, e);
    }
    if (s) tensor_release(out);
    return s;
}

bk_status tensor_borrow(ctx *c, bk_dtype dtype, int ndim, const int64_t *shape, void *data, tensor *out, err *e) {
    static char nothing[64];
    return tensor_wrap(c, dtype, ndim, shape, data ? data : nothing, out, e);
}

void tensor_retain(const tensor *t) {
    if (t->store) atomic_fetch_add(&t->store->refs, 1);
}

void tensor_release(tensor *t) {
    storage *s = t->store;
    t->store = NULL;
    if (!s || atomic_fetch_sub(&s->refs, 1) > 1) return;
    ctx *c = s->c;
    if (!s->borrowed) mem_block_free(c, s->data, s->bytes);
    mem_free(c, s, sizeof *s);
    ctx_release(c);
}

void *tensor_data(const tensor *t) {
    return (char *)t->store->data + (size_t)t->offset * dtype_size(t->dtype);
}

int64_t tensor_count(const tensor *t) {
    return shape_count(t->ndim, t->shape);
}

bool tensor_contiguous(const tensor *t) {
    int64_t step = 1;
    for (int i = t->ndim - 1; i >= 0; i--) {
        if (t->shape[i] == 0) return true;
        if (t->shape[i] != 1 && t->strides[i] != step) return false;
        step *= t->shape[i];
    }
    return true;
}

/* Where element i lies, in elements from the first. */
static int64_t place_of(const tensor *t, int64_t i) {
    int64_t at = 0;
    for (int d = t->ndim - 1; d >= 0; d--) {
        at += i % t->shape[d] * t->strides[d];
        i /= t->shape[d];
    }
    return at;
}

double tensor_get(const tensor *t, int64_t i) {
    return dtype_get(t->dtype, tensor_data(t), place_of(t, i));
}

int64_t tensor_get_int64(const tensor *t, int64_t i) {
    return ((const int64_t *)tensor_data(t))[place_of(t, i)];
}

void tensor_set(const tensor *t, int64_t i, double x) {
    dtype_set(t->dtype, tensor_data(t), i, x);
}

static void copy_run(bk_dtype to, void *out, int64_t at, bk_dtype from, const void *in, int64_t start, int64_t step,
                     int64_t n) {
    if (to == from && step == 1) {
        size_t size = dtype_size(to);
        memcpy((char *)out + (size_t)at * size, (const char *)in + (size_t)start * size, (size_t)n * size);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t s = start + i * step;
        if (to == BK_INT64)
            ((int64_t *)out)[at + i] =
                from == BK_INT64 ? ((const int64_t *)in)[s] : vec_int64(dtype_get(from, in, s));
        else if (to == BK_FLOAT64) ((double *)out)[at + i] = dtype_get(from, in, s);
        else ((float *)out)[at + i] = (float)dtype_get(from, in, s);
    }
}

void tensor_copy_to(const tensor *t, bk_dtype dtype, void *out) {
    int64_t count = tensor_count(t);
    const void *in = tensor_data(t);
    if (count == 0) return;
    if (tensor_contiguous(t)) {
        copy_run(dtype, out, 0, t->dtype, in, 0, 1, count);
        return;
    }
    int last = t->ndim - 1;
    int64_t index[BK_MAX_DIMS] = { 0 }, start = 0;
    for (int64_t at = 0; at < count; at += t->shape[last]) {
        copy_run(dtype, out, at, t->dtype, in, start, t->strides[last], t->shape[last]);
        for (int d = last - 1; d >= 0; d--) {
            start += t->strides[d];
            if (++index[d] < t->shape[d]) break;
            start -= index[d] * t->strides[d];
            index[d] = 0;
        }
    }
}

bk_status tensor_copy(const tensor *t, bk_dtype dtype, void *out, err *e) {
    enum { PIECE = 1 << 20 };
    int64_t count = tensor_count(t);
    if (count <= PIECE) {
        tensor_copy_to(t, dtype, out);
        return ctx_poll(t->store->c, e);
    }
    int64_t n = t->shape[0], row = count / n, rows = row < PIECE ? PIECE / row : 1;
    bk_status s = BK_OK;
    for (int64_t i = 0; i < n && !s; i += rows) {
        tensor piece = *t;
        piece.offset += i * t->strides[0];
        piece.shape[0] = n - i < rows ? n - i : rows;
        if (rows == 1) { /* a row alone may be large: its own rows */
            piece.ndim--;
            memmove(piece.shape, t->shape + 1, sizeof *t->shape * (size_t)piece.ndim);
            memmove(piece.strides, t->strides + 1, sizeof *t->strides * (size_t)piece.ndim);
        }
        s = tensor_copy(&piece, dtype, (char *)out + (size_t)(i * row) * dtype_size(dtype), e);
    }
    return s;
}

bk_status tensor_contiguous_as(const tensor *t, bk_dtype dtype, tensor *out, err *e) {
    if (t->dtype == dtype && tensor_contiguous(t)) {
        *out = *t;
        shape_strides(out->ndim, out->shape, out->strides);
        tensor_retain(out);
        return BK_OK;
    }
    bk_status s = tensor_new(t->store->c, dtype, t->ndim, t->shape, out, e);
    if (!s && (s = tensor_copy(t, dtype, out->store->data, e))) tensor_release(out);
    return s;
}
