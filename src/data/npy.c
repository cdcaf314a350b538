/* npy.c - the header is a Python dictionary literal; the parser takes exactly the three keys NumPy writes. */
#include "npy.h"

#include "element.h"
#include "format.h"
#include "sink.h"

#include <stdio.h>
#include <string.h>

enum { HEADER_LIMIT = 1 << 16 };
static const char magic[6] = "\x93NUMPY";

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define NATIVE '<'
#else
#define NATIVE '>'
#endif

/* ---- the header ---- */

typedef struct header {
    const source *s;
    const char *at, *end;
    char descr[16];
    bool has_descr, has_order, has_shape, fortran;
    int ndim;
    int64_t shape[BK_MAX_DIMS];
} header;

static bk_status malformed(const header *h, const char *field, const char *expected, err *e) {
    char got[24];
    size_t n = 0;
    for (const char *p = h->at; p < h->end && n < sizeof got - 1; p++) got[n++] = *p >= 32 && *p < 127 ? *p : '?';
    got[n] = 0;
    return err_set(e, BK_EIO, "%s: header, %s: expected %s, got \"%s\"", h->s->path, field, expected, got);
}

static void skip_blanks(header *h) {
    while (h->at < h->end && (*h->at == ' ' || *h->at == '\n' || *h->at == '\t')) h->at++;
}

static bool take(header *h, char mark) {
    skip_blanks(h);
    if (h->at == h->end || *h->at != mark) return false;
    h->at++;
    return true;
}

static bool take_word(header *h, const char *word) {
    size_t n = strlen(word);
    skip_blanks(h);
    if ((size_t)(h->end - h->at) < n || memcmp(h->at, word, n) != 0) return false;
    h->at += n;
    return true;
}

static bool take_string(header *h, char *to, size_t room) {
    skip_blanks(h);
    if (h->at == h->end || (*h->at != '\'' && *h->at != '"')) return false;
    const char *close = memchr(h->at + 1, *h->at, (size_t)(h->end - h->at - 1));
    if (!close || (size_t)(close - h->at) > room) return false;
    size_t n = (size_t)(close - h->at) - 1;
    memcpy(to, h->at + 1, n);
    to[n] = 0;
    h->at = close + 1;
    return true;
}

static bk_status parse_shape(header *h, err *e) {
    if (!take(h, '(')) return malformed(h, "shape", "a tuple of sizes", e);
    while (!take(h, ')')) {
        if (h->ndim == BK_MAX_DIMS)
            return err_set(e, BK_EIO, "%s: header, shape: expected at most %d dimensions", h->s->path, BK_MAX_DIMS);
        if (h->at == h->end || *h->at < '0' || *h->at > '9') return malformed(h, "shape", "a size", e);
        int64_t n = 0;
        while (h->at < h->end && *h->at >= '0' && *h->at <= '9')
            if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *h->at++ - '0', &n))
                return err_set(e, BK_EIO, "%s: header, shape: dimension %d overflows", h->s->path, h->ndim + 1);
        if (h->at < h->end && *h->at == 'L') h->at++; /* Python 2 wrote long integers so */
        h->shape[h->ndim++] = n;
        if (!take(h, ',')) {
            if (h->ndim == 1 || !take(h, ')')) return malformed(h, "shape", "\",\" or the end of a tuple", e);
            break;
        }
    }
    h->has_shape = true;
    return BK_OK;
}

static bk_status parse_header(header *h, err *e) {
    if (!take(h, '{')) return malformed(h, "start", "a dictionary", e);
    while (!take(h, '}')) {
        char key[16];
        if (!take_string(h, key, sizeof key) || !take(h, ':')) return malformed(h, "key", "a known key", e);
        if ((h->has_descr && strcmp(key, "descr") == 0) || (h->has_order && strcmp(key, "fortran_order") == 0) ||
            (h->has_shape && strcmp(key, "shape") == 0))
            return err_set(e, BK_EIO, "%s: header: the key '%s' is given twice", h->s->path, key);
        if (strcmp(key, "descr") == 0) {
            if (!take_string(h, h->descr, sizeof h->descr)) return malformed(h, "descr", "one plain type", e);
            h->has_descr = true;
        } else if (strcmp(key, "fortran_order") == 0) {
            h->fortran = take_word(h, "True");
            if (!h->fortran && !take_word(h, "False")) return malformed(h, "fortran_order", "True or False", e);
            h->has_order = true;
        } else if (strcmp(key, "shape") == 0) {
            bk_status status = parse_shape(h, e);
            if (status) return status;
        } else
            return err_set(e, BK_EIO, "%s: header: unknown key '%s'", h->s->path, key);
        if (!take(h, ',')) {
            if (!take(h, '}')) return malformed(h, "entry", "\",\" or \"}\"", e);
            break;
        }
    }
    skip_blanks(h);
    if (h->at < h->end) return malformed(h, "end", "blanks", e);
    const char *missing = !h->has_descr ? "descr" : !h->has_order ? "fortran_order" : !h->has_shape ? "shape" : NULL;
    if (missing) return err_set(e, BK_EIO, "%s: header: the key %s is missing", h->s->path, missing);
    return BK_OK;
}

/* "<f4": order, kind, size */
static bool element_of(const char *descr, element *t) {
    static const struct {
        char letter;
        element_kind kind;
        const char *sizes;
    } kinds[] = { { 'f', ELEMENT_FLOAT, "248" },
                  { 'i', ELEMENT_SIGNED, "1248" },
                  { 'u', ELEMENT_UNSIGNED, "1248" },
                  { 'b', ELEMENT_BOOL, "1" } };
    if (strlen(descr) != 3 || !strchr("<>|=", descr[0])) return false;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        if (kinds[k].letter != descr[1] || !strchr(kinds[k].sizes, descr[2])) continue;
        *t = (element){ kinds[k].kind, descr[2] - '0', (descr[0] == '=' ? NATIVE : descr[0]) == '>' };
        return descr[0] != '|' || t->size == 1;
    }
    return false;
}

static bk_status npy_body(ctx *c, source *s, const header *h, bytes *body, int64_t head_bytes, tensor *out, err *e) {
    element t;
    shape_buf text;
    bk_status status;
    if (!element_of(h->descr, &t))
        return err_set(e, BK_EIO, "%s: header, descr: expected f2, f4, f8, an integer type or b1, got '%s'", s->path,
                       h->descr);
    int64_t count = shape_count(h->ndim, h->shape);
    if (count < 0)
        return err_set(e, BK_EIO, "%s: header, shape: %s overflows", s->path, shape_text(h->ndim, h->shape, &text));
    int64_t need = count * t.size, held = s->bytes - head_bytes;
    if (s->bytes < 0 || held >= need) {
        if ((status = source_read(s, (size_t)need, body, e))) return status;
        held = (int64_t)body->count;
    }
    if (held < need)
        return err_set(e, BK_EIO, "%s: shape: header says %s of '%s' = %lld bytes, file holds %lld%s", s->path,
                       shape_text(h->ndim, h->shape, &text), h->descr, (long long)need, (long long)held,
                       source_cut_text(s));
    if ((status = source_expect_end(s, e))) return status;
    int64_t shape[BK_MAX_DIMS]; /* as stored: fortran order is row-major of the reversed shape */
    for (int d = 0; d < h->ndim; d++) shape[d] = h->shape[h->fortran ? h->ndim - 1 - d : d];
    tensor stored;
    if ((status = tensor_new(c, element_dtype(t), h->ndim, shape, &stored, e))) return status;
    if ((status = element_decode(c, s->path, t, count, body->data, tensor_data(&stored), e))) {
        tensor_release(&stored);
        return status;
    }
    if (!h->fortran) {
        *out = stored;
        return BK_OK;
    }
    tensor view = stored;
    for (int d = 0; d < h->ndim; d++) {
        view.shape[d] = h->shape[d];
        view.strides[d] = stored.strides[h->ndim - 1 - d];
    }
    status = tensor_contiguous_as(&view, element_dtype(t), out, e);
    tensor_release(&stored);
    return status;
}

static bk_status npy_parse(ctx *c, source *s, bytes *head, bytes *body, tensor *out, err *e) {
    bk_status status = source_read(s, 10, head, e);
    if (status) return status;
    const unsigned char *m = head->data;
    if (head->count < 6 || memcmp(m, magic, 6) != 0)
        return err_set(e, BK_EIO, "%s: magic string: expected \\x93NUMPY: not an npy file", s->path);
    if (head->count < 10) return err_set(e, BK_EIO, "%s: header: the file ends in it", s->path);
    if (m[6] < 1 || m[6] > 3 || m[7])
        return err_set(e, BK_EIO, "%s: version: expected 1.0, 2.0 or 3.0, got %d.%d", s->path, m[6], m[7]);
    size_t start = m[6] == 1 ? 10 : 12, length = m[8] | (size_t)m[9] << 8;
    if (m[6] > 1) {
        if ((status = source_read(s, 12, head, e))) return status;
        if (head->count < 12) return err_set(e, BK_EIO, "%s: header: the file ends in it", s->path);
        length |= (size_t)head->data[10] << 16 | (size_t)head->data[11] << 24;
    }
    if (length > HEADER_LIMIT)
        return err_set(e, BK_EIO, "%s: header length: expected at most %d, got %zu", s->path, HEADER_LIMIT, length);
    if ((status = source_read(s, start + length, head, e))) return status;
    if (head->count < start + length)
        return err_set(e, BK_EIO, "%s: header length: the file says %zu bytes and holds %zu%s", s->path, length,
                       head->count - start, source_cut_text(s));
    const char *text = (const char *)head->data + start;
    header h = { .s = s, .at = text, .end = text + length };
    if ((status = parse_header(&h, e))) return status;
    return npy_body(c, s, &h, body, (int64_t)(start + length), out, e);
}

bk_status npy_from(source *s, tensor *out, err *e) {
    bytes head = { 0 }, body = { 0 };
    *out = (tensor){ 0 };
    bk_status status = npy_parse(s->c, s, &head, &body, out, e);
    bytes_free(s->c, &head);
    bytes_free(s->c, &body);
    return status;
}

static bk_status npy_read(const format_call *call, value *out, err *e) {
    source s;
    tensor t = { 0 };
    bk_status status = source_open(call->c, call->path, &s, e);
    if (!status) status = npy_from(&s, &t, e);
    source_close(&s);
    return status ? status : value_add_tensor(out, NULL, &t, e);
}

const format_row format_npy = {
    .name = "npy",
    .saved = true,
    .doc =
        "bk.load_npy(path) -> tensor\n"
        "The array in a NumPy .npy file, plain or gzip; t:save(path) writes one.\n\n"
        "f8 becomes float64, f4 and f2 float32, signed and unsigned integers of 1 to 8 bytes and truth values int64, "
        "in either byte order; Fortran order is put into row-major order. A value past 2^63-1, a truth value other "
        "than 0 and 1, a header NumPy does not write, and any byte too few or too many are errors that name the file.",
    .read = npy_read,
};

/* ---- writing ---- */

static size_t make_header(const tensor *t, char *to, size_t room) {
    static const char *const types[] = { "f8", "f4", "i8" };
    char shape[BK_MAX_DIMS * 22 + 2] = "";
    size_t n = 0;
    for (int d = 0; d < t->ndim; d++)
        n += (size_t)snprintf(shape + n, sizeof shape - n, d ? " %lld," : "%lld,", (long long)t->shape[d]);
    if (t->ndim > 1) shape[n - 1] = 0; /* only (n,) keeps its comma */
    n = 10 + (size_t)snprintf(to + 10, room - 10, "{'descr': '%c%s', 'fortran_order': False, 'shape': (%s), }", NATIVE,
                              types[t->dtype], shape);
    size_t total = (n + 1 + 63) / 64 * 64; /* the data start at a multiple of 64 */
    memset(to + n, ' ', total - n - 1);
    to[total - 1] = '\n';
    memcpy(to, magic, 6);
    to[6] = 1;
    to[7] = 0;
    to[8] = (char)((total - 10) & 255);
    to[9] = (char)((total - 10) >> 8);
    return total;
}

bk_status npy_write(ctx *c, const char *path, const tensor *t, err *e) {
    char head[512];
    tensor whole = { 0 };
    sink s;
    bk_status status = sink_open(c, path, &s, e);
    if (status) return status;
    status = tensor_contiguous_as(t, t->dtype, &whole, e);
    if (!status) status = sink_write(&s, head, make_header(t, head, sizeof head), e);
    if (!status) status = sink_write(&s, tensor_data(&whole), (size_t)tensor_count(t) * dtype_size(t->dtype), e);
    tensor_release(&whole);
    return sink_close(&s, status, e);
}
