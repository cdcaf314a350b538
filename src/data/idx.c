/* idx.c - the IDX format (of the MNIST files): 2 zero bytes, an element type, the number of dimensions, the sizes as
 * big-endian uint32, then the elements, big-endian, row-major. The header is believed only after as many bytes have
 * been read. */
#include "element.h"
#include "format.h"
#include "source.h"

#include <stdio.h>

/* by their code in the file */
static const element elements[16] = {
    [0x08] = { ELEMENT_UNSIGNED, 1, true }, [0x09] = { ELEMENT_SIGNED, 1, true }, [0x0b] = { ELEMENT_SIGNED, 2, true },
    [0x0c] = { ELEMENT_SIGNED, 4, true },   [0x0d] = { ELEMENT_FLOAT, 4, true },  [0x0e] = { ELEMENT_FLOAT, 8, true },
};

/* "dimension 1: header says 10000x28x28 = 7840000 bytes, file holds 1200": the dimension is the first
 * at which the running product passes what is there. */
static bk_status size_error(const source *s, int ndim, const int64_t *shape, const element *t, int64_t held, err *e) {
    char sizes[8 * 12] = "", total[40], there[60];
    size_t used = 0;
    int64_t product = t->size;
    int guilty = 0;
    bool overflow = false;
    for (int d = 0; d < ndim; d++) {
        used += (size_t)snprintf(sizes + used, sizeof sizes - used, d ? "x%lld" : "%lld", (long long)shape[d]);
        if (!overflow) overflow = __builtin_mul_overflow(product, shape[d], &product);
        if (!guilty && (overflow || product > held)) guilty = d + 1;
    }
    if (overflow)
        snprintf(total, sizeof total, "more than 2^63");
    else
        snprintf(total, sizeof total, "%lld", (long long)product);
    if (held < 0)
        snprintf(there, sizeof there, "more than any file holds"); /* packed, and not worth unpacking */
    else
        snprintf(there, sizeof there, "file holds %lld", (long long)held);
    return err_set(e, BK_EIO, "%s: dimension %d: header says %s%s = %s bytes, %s%s", s->path, guilty, sizes,
                   t->size == 1   ? ""
                   : t->size == 2 ? " x 2"
                   : t->size == 4 ? " x 4"
                                  : " x 8",
                   total, there, source_cut_text(s));
}

static bk_status idx_parse(ctx *c, source *s, bytes *head, bytes *body, tensor *out, err *e) {
    bk_status status = source_read(s, 4, head, e);
    if (status) return status;
    if (head->count < 4)
        return err_set(e, BK_EIO, "%s: magic number: expected 4 bytes, file holds %zu%s", s->path, head->count,
                       source_cut_text(s));
    const unsigned char *m = head->data;
    const element *t = m[2] < 16 && elements[m[2]].size ? &elements[m[2]] : NULL;
    if (m[0] || m[1])
        return err_set(e, BK_EIO,
                       "%s: magic number: expected 00 00 TYPE DIMENSIONS, got %02x %02x %02x %02x: not an "
                       "IDX file",
                       s->path, m[0], m[1], m[2], m[3]);
    if (!t)
        return err_set(e, BK_EIO, "%s: element type: expected 08, 09, 0b, 0c, 0d or 0e (hexadecimal), got %02x",
                       s->path, m[2]);
    int ndim = m[3];
    if (ndim < 1 || ndim > BK_MAX_DIMS)
        return err_set(e, BK_EIO, "%s: number of dimensions: expected 1..%d, got %d", s->path, BK_MAX_DIMS, ndim);
    size_t head_bytes = 4 + 4 * (size_t)ndim;
    if ((status = source_read(s, head_bytes, head, e))) return status;
    if (head->count < head_bytes)
        return err_set(e, BK_EIO, "%s: dimension %d: the file ends in the header, after %zu of %zu bytes%s", s->path,
                       (int)(head->count / 4), head->count, head_bytes, source_cut_text(s));
    int64_t shape[BK_MAX_DIMS];
    const element size = { ELEMENT_UNSIGNED, 4, true };
    if ((status = element_decode(c, s->path, size, ndim, head->data + 4, shape, e))) return status;
    int64_t count = shape_count(ndim, shape), held = s->bytes - (int64_t)head_bytes;
    if (count < 0) return size_error(s, ndim, shape, t, s->bytes < 0 ? -1 : held, e);
    int64_t need = count * t->size;
    if (s->bytes >= 0 && held < need) return size_error(s, ndim, shape, t, held, e);
    if ((status = source_read(s, (size_t)need, body, e))) return status;
    if ((int64_t)body->count < need) return size_error(s, ndim, shape, t, (int64_t)body->count, e);
    if ((status = source_expect_end(s, e))) return status;
    if ((status = tensor_new(c, element_dtype(*t), ndim, shape, out, e))) return status;
    return element_decode(c, s->path, *t, count, body->data, tensor_data(out), e);
}

static bk_status idx_read(const format_call *call, value *out, err *e) {
    source s;
    bytes head = { 0 }, body = { 0 };
    tensor t = { 0 };
    bk_status status = source_open(call->c, call->path, &s, e);
    if (!status) status = idx_parse(call->c, &s, &head, &body, &t, e);
    source_close(&s);
    bytes_free(call->c, &head);
    bytes_free(call->c, &body);
    if (!status) return value_add_tensor(out, NULL, &t, e);
    tensor_release(&t);
    return status;
}

const format_row format_idx = {
    .name = "idx",
    .doc = "bk.data.idx(path) -> tensor\n"
           "The tensor in an IDX file (MNIST's format), plain or gzip; path.gz is read where path is missing.\n\n"
           "Bytes and integers become int64, float float32, double float64. Errors name the file and the part of it.",
    .read = idx_read,
};
