/* safetensors.c - the format of named tensors; Jansson reads and writes the header. */
#include "safetensors.h"

#include "sink.h"
#include "source.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_LIMIT = 100 << 20, LENGTH = 8 };
static const char METADATA[] = "__metadata__";
static const char *const types[] = { [BK_FLOAT64] = "F64", [BK_FLOAT32] = "F32", [BK_INT64] = "I64" };

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
static const bool little = true;
#else
static const bool little = false; /* elements would need turning: refused */
#endif

/* ---- reading ---- */

static char *keep_text(ctx *c, const char *text) {
    size_t n = strlen(text) + 1;
    char *copy = mem_alloc(c, n);
    if (copy) memcpy(copy, text, n);
    return copy;
}

void safetensors_free(safetensors *s) {
    for (int i = 0; i < s->n && s->tensors; i++) {
        if (s->tensors[i].name) mem_free(s->c, s->tensors[i].name, strlen(s->tensors[i].name) + 1);
        tensor_release(&s->tensors[i].value);
    }
    for (int i = 0; i < s->n_texts && s->texts; i++) {
        if (s->texts[i].name) mem_free(s->c, s->texts[i].name, strlen(s->texts[i].name) + 1);
        if (s->texts[i].value) mem_free(s->c, s->texts[i].value, strlen(s->texts[i].value) + 1);
    }
    mem_free(s->c, s->tensors, sizeof *s->tensors * (size_t)(s->n > 0 ? s->n : 1));
    mem_free(s->c, s->texts, sizeof *s->texts * (size_t)(s->n_texts > 0 ? s->n_texts : 1));
    *s = (safetensors){ 0 };
}

typedef struct entry { /* a tensor of the header */
    const char *name;
    json_int_t begin, end;
    bk_dtype dtype;
    int ndim;
    int64_t shape[BK_MAX_DIMS];
} entry;

static bk_status wrong(const char *path, const char *name, const char *what, err *e) {
    return err_set(e, BK_EIO, "%s: header, \"%.100s\": %s", path, name, what);
}

static bk_status read_entry(const char *path, const char *name, const json_t *value, entry *out, err *e) {
    const char *type = json_string_value(json_object_get(value, "dtype"));
    const json_t *shape = json_object_get(value, "shape"), *offsets = json_object_get(value, "data_offsets");
    if (!type || !json_is_array(shape) || json_array_size(offsets) != 2)
        return wrong(path, name, "expected dtype, shape and two data_offsets", e);
    int dtype = 0;
    while (dtype < (int)(sizeof types / sizeof *types) && strcmp(types[dtype], type) != 0) dtype++;
    if (dtype == (int)(sizeof types / sizeof *types))
        return err_set(e, BK_EUNSUPPORTED, "%s: header, \"%.100s\": dtype: expected F64, F32 or I64, got %.20s", path,
                       name, type);
    if (json_array_size(shape) > BK_MAX_DIMS) return wrong(path, name, "shape: more than 8 dimensions", e);
    *out = (entry){ .name = name, .dtype = (bk_dtype)dtype, .ndim = (int)json_array_size(shape) };
    out->begin = json_integer_value(json_array_get(offsets, 0));
    out->end = json_integer_value(json_array_get(offsets, 1));
    int64_t total = (int64_t)dtype_size(out->dtype);
    for (int d = 0; d < out->ndim; d++) {
        const json_t *size = json_array_get(shape, (size_t)d);
        out->shape[d] = json_integer_value(size);
        if (!json_is_integer(size) || out->shape[d] < 0) return wrong(path, name, "shape: expected sizes", e);
        if (__builtin_mul_overflow(total, out->shape[d], &total)) return wrong(path, name, "shape: overflows", e);
    }
    if (out->begin < 0 || out->end < out->begin || out->end - out->begin != total)
        return wrong(path, name, "data_offsets do not fit dtype and shape", e);
    return BK_OK;
}

static int by_place(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end; /* an empty one lies before what begins where it does */
}

static bk_status read_tensor(source *s, const entry *x, named_tensor *to, err *e) {
    bytes raw = { 0 };
    const size_t want = (size_t)(x->end - x->begin);
    if (!(to->name = keep_text(s->c, x->name))) return err_nomem(e, strlen(x->name));
    bk_status status = want ? source_read(s, want, &raw, e) : BK_OK;
    if (!status && raw.count < want)
        status = err_set(e, BK_EIO, "%s: \"%.100s\": the header says %zu bytes, the file holds %zu%s", s->path, x->name,
                         want, raw.count, source_cut_text(s));
    if (!status) status = tensor_new(s->c, x->dtype, x->ndim, x->shape, &to->value, e);
    if (status == BK_EINVAL) {
        err_clear(e);
        status = wrong(s->path, x->name, "shape: overflows", e);
    }
    if (!status && want) memcpy(tensor_data(&to->value), raw.data, want);
    bytes_free(s->c, &raw);
    return status;
}

static bk_status read_texts(source *s, json_t *metadata, safetensors *out, err *e) {
    const char *key;
    json_t *value;
    if (metadata && !json_is_object(metadata)) return wrong(s->path, METADATA, "expected texts by name", e);
    const size_t n = json_object_size(metadata);
    out->texts = mem_zalloc(s->c, sizeof *out->texts * (n > 0 ? n : 1));
    if (!out->texts) return err_nomem(e, 0);
    out->n_texts = (int)n;
    int i = 0;
    json_object_foreach(metadata, key, value) {
        const char *text = json_string_value(value);
        if (!text) return wrong(s->path, METADATA, "expected texts by name", e);
        out->texts[i].name = keep_text(s->c, key);
        out->texts[i].value = keep_text(s->c, text);
        if (!out->texts[i].name || !out->texts[i].value) return err_nomem(e, 0);
        i++;
    }
    return BK_OK;
}

static bk_status read_parts(source *s, json_t *header, safetensors *out, entry *entries, err *e) {
    const char *key;
    json_t *value;
    int n = 0;
    json_object_foreach(header, key, value) {
        if (strcmp(key, METADATA) == 0) continue;
        bk_status status = read_entry(s->path, key, value, &entries[n++], e);
        if (status) return status;
    }
    qsort(entries, (size_t)n, sizeof *entries, by_place);
    out->tensors = mem_zalloc(s->c, sizeof *out->tensors * (size_t)(n > 0 ? n : 1));
    if (!out->tensors) return err_nomem(e, 0);
    out->n = n;
    json_int_t place = 0;
    for (int i = 0; i < n; i++) {
        if (entries[i].begin != place) return wrong(s->path, entries[i].name, "data_offsets leave a gap or overlap", e);
        place = entries[i].end;
        bk_status status = read_tensor(s, &entries[i], &out->tensors[i], e);
        if (status) return status;
    }
    bk_status status = source_expect_end(s, e);
    return status ? status : read_texts(s, json_object_get(header, METADATA), out, e);
}

static bk_status read_open(source *s, bytes *head, safetensors *out, err *e) {
    bk_status status = source_read(s, LENGTH, head, e);
    if (status) return status;
    uint64_t length = 0;
    for (int i = 0; i < LENGTH && head->count == LENGTH; i++) length |= (uint64_t)head->data[i] << 8 * i;
    if (head->count < LENGTH || length > HEADER_LIMIT)
        return err_set(e, BK_EIO, "%s: header length: not a safetensors file", s->path);
    if ((status = source_read(s, LENGTH + (size_t)length, head, e))) return status;
    if (head->count < LENGTH + length)
        return err_set(e, BK_EIO, "%s: header length: the file says %llu bytes and holds %zu%s", s->path,
                       (unsigned long long)length, head->count - LENGTH, source_cut_text(s));
    json_error_t problem;
    json_t *header = json_loadb((const char *)head->data + LENGTH, (size_t)length, JSON_REJECT_DUPLICATES, &problem);
    if (!header || !json_is_object(header)) {
        json_decref(header);
        return err_set(e, BK_EIO, "%s: header: %s", s->path, header ? "expected an object" : problem.text);
    }
    const size_t count = json_object_size(header);
    entry *entries = mem_alloc(s->c, sizeof *entries * count);
    status = entries ? read_parts(s, header, out, entries, e) : err_nomem(e, sizeof *entries * count);
    mem_free(s->c, entries, sizeof *entries * count);
    json_decref(header);
    return status;
}

bk_status safetensors_read(ctx *c, const char *path, safetensors *out, err *e) {
    source s;
    bytes head = { 0 };
    *out = (safetensors){ .c = c };
    if (!little) return err_set(e, BK_EUNSUPPORTED, "%s: safetensors need a little-endian machine", path);
    bk_status status = source_open(c, path, &s, e);
    if (!status) status = read_open(&s, &head, out, e);
    source_close(&s);
    bytes_free(c, &head);
    return status;
}

/* ---- writing ---- */

/* The header as *n bytes of *text, to be freed with mem_free. */
static bk_status header_text(const safetensors *s, char **text, size_t *n, err *e) {
    json_t *header = json_object(), *metadata = s->n_texts ? json_object() : NULL;
    bk_status status = BK_OK;
    json_int_t place = 0;
    bool fits = true;
    for (int i = 0; i < s->n && fits; i++) {
        const tensor *t = &s->tensors[i].value;
        const char *name = s->tensors[i].name;
        if (!*name || strcmp(name, METADATA) == 0 || json_object_get(header, name)) {
            status = err_set(e, BK_EINVAL, "safetensors: \"%.100s\" cannot name a tensor%s", name,
                             *name && strcmp(name, METADATA) ? ": another has the name" : "");
            goto end;
        }
        const json_int_t count = tensor_count(t) * (json_int_t)dtype_size(t->dtype);
        json_t *shape = json_array();
        for (int d = 0; d < t->ndim; d++) json_array_append_new(shape, json_integer(t->shape[d]));
        json_t *value = json_pack("{s:s, s:o, s:[I, I]}", "dtype", types[t->dtype], "shape", shape, "data_offsets",
                                  place, place + count);
        fits = json_object_set_new(header, name, value) == 0;
        place += count;
    }
    for (int i = 0; i < s->n_texts && fits; i++)
        fits = json_object_set_new(metadata, s->texts[i].name, json_string(s->texts[i].value)) == 0;
    if (fits && metadata) fits = json_object_set(header, METADATA, metadata) == 0;
    *n = fits ? json_dumpb(header, NULL, 0, JSON_COMPACT) : 0;
    if (*n > HEADER_LIMIT)
        status = err_set(e, BK_EINVAL, "safetensors: names and texts take %zu bytes, expected at most %d", *n,
                         HEADER_LIMIT);
    else if (*n == 0)
        status = err_set(e, BK_EINVAL, "safetensors: a name or a text is not UTF-8, or memory is short");
    else if (!(*text = mem_alloc(s->c, *n))) status = err_nomem(e, *n);
    else json_dumpb(header, *text, *n, JSON_COMPACT);
end:
    json_decref(metadata);
    json_decref(header);
    return status;
}

bk_status safetensors_write(ctx *c, const char *path, const safetensors *s, err *e) {
    static const char blanks[LENGTH] = "        ";
    if (!little) return err_set(e, BK_EUNSUPPORTED, "%s: safetensors need a little-endian machine", path);
    size_t n = 0;
    char *text = NULL;
    bk_status status = header_text(s, &text, &n, e);
    if (status) return status;
    const size_t padding = (LENGTH - n % LENGTH) % LENGTH; /* the elements start at a multiple of 8 */
    unsigned char length[LENGTH];
    for (int i = 0; i < LENGTH; i++) length[i] = (unsigned char)((uint64_t)(n + padding) >> 8 * i);
    sink to;
    status = sink_open(c, path, &to, e);
    if (!status) status = sink_write(&to, length, LENGTH, e);
    if (!status) status = sink_write(&to, text, n, e);
    if (!status) status = sink_write(&to, blanks, padding, e);
    mem_free(c, text, n);
    for (int i = 0; i < s->n && !status; i++) {
        const tensor *t = &s->tensors[i].value;
        tensor whole = { 0 };
        status = tensor_contiguous_as(t, t->dtype, &whole, e);
        if (!status) status = sink_write(&to, tensor_data(&whole), (size_t)tensor_count(t) * dtype_size(t->dtype), e);
        tensor_release(&whole);
    }
    return sink_close(&to, status, e);
}
