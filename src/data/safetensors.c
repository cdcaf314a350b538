/* safetensors.c - the format of named tensors; Jansson reads and writes the header. */
#include "safetensors.h"

#include "element.h"
#include "format.h"
#include "json_text.h"
#include "sink.h"
#include "source.h"

#include <stdlib.h>
#include <string.h>

enum { HEADER_LIMIT = 100 << 20, LENGTH = 8 };
static const char METADATA[] = "__metadata__";

static const struct {
    const char *name;
    element element;
} types[] = {
    { "F64", { ELEMENT_FLOAT, 8 } },    { "F32", { ELEMENT_FLOAT, 4 } },    { "F16", { ELEMENT_FLOAT, 2 } },
    { "BF16", { ELEMENT_BFLOAT, 2 } },  { "I64", { ELEMENT_SIGNED, 8 } },   { "I32", { ELEMENT_SIGNED, 4 } },
    { "I16", { ELEMENT_SIGNED, 2 } },   { "I8", { ELEMENT_SIGNED, 1 } },    { "U64", { ELEMENT_UNSIGNED, 8 } },
    { "U32", { ELEMENT_UNSIGNED, 4 } }, { "U16", { ELEMENT_UNSIGNED, 2 } }, { "U8", { ELEMENT_UNSIGNED, 1 } },
    { "BOOL", { ELEMENT_BOOL, 1 } },
};

/* ---- reading ---- */

typedef struct entry { /* a tensor of the header */
    const char *name;
    json_int_t begin, end;
    element element;
    int ndim;
    int64_t shape[BK_MAX_DIMS];
} entry;

static bk_status wrong(const char *path, const char *name, const char *what, err *e) {
    return err_set(e, BK_EIO, "%s: header, \"%.100s\": %s", path, name, what);
}

static bk_status read_entry(const char *path, const char *name, const json_t *described, entry *out, err *e) {
    const char *type = json_string_value(json_object_get(described, "dtype"));
    const json_t *shape = json_object_get(described, "shape"), *offsets = json_object_get(described, "data_offsets");
    if (!type || !json_is_array(shape) || json_array_size(offsets) != 2 || json_object_size(described) != 3)
        return wrong(path, name, "expected dtype, shape and two data_offsets", e);
    size_t k = 0;
    while (k < sizeof types / sizeof *types && strcmp(types[k].name, type) != 0) k++;
    if (k == sizeof types / sizeof *types)
        return err_set(e, BK_EUNSUPPORTED,
                       "%s: header, \"%.100s\": dtype: expected F64, F32, F16, BF16, I8 to I64, U8 to "
                       "U64 or BOOL, got %.20s",
                       path, name, type);
    if (json_array_size(shape) > BK_MAX_DIMS) return wrong(path, name, "shape: more than 8 dimensions", e);
    *out = (entry){ .name = name, .element = types[k].element, .ndim = (int)json_array_size(shape) };
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (!json_is_integer(begin) || !json_is_integer(end))
        return wrong(path, name, "data_offsets: expected whole numbers", e);
    out->begin = json_integer_value(begin);
    out->end = json_integer_value(end);
    int64_t total = out->element.size;
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

static bk_status read_tensor(source *s, const entry *x, value *to, err *e) {
    bytes raw = { 0 };
    tensor t = { 0 };
    const size_t want = (size_t)(x->end - x->begin);
    bk_status status = want ? source_read(s, want, &raw, e) : BK_OK;
    if (!status && raw.count < want)
        status = err_set(e, BK_EIO, "%s: \"%.100s\": the header says %zu bytes, the file holds %zu", s->path, x->name,
                         want, raw.count);
    if (!status) status = tensor_new(s->c, element_dtype(x->element), x->ndim, x->shape, &t, e);
    if (status == BK_EINVAL) {
        err_clear(e);
        status = wrong(s->path, x->name, "shape: overflows", e);
    }
    if (!status) {
        char where[sizeof s->path + 110];
        snprintf(where, sizeof where, "%s: \"%.100s\"", s->path, x->name);
        status = element_decode(s->c, where, x->element, tensor_count(&t), raw.data, tensor_data(&t), e);
    }
    bytes_free(s->c, &raw);
    if (!status) return value_add_tensor(to, x->name, &t, e);
    tensor_release(&t);
    return status;
}

static bk_status read_texts(source *s, json_t *metadata, value *out, err *e) {
    const char *key;
    json_t *member;
    value *texts = value_add(out, NULL, VALUE_TABLE, e);
    if (!texts) return BK_ENOMEM;
    if (metadata && !json_is_object(metadata)) return wrong(s->path, METADATA, "expected texts by name", e);
    json_object_foreach(metadata, key, member) {
        const char *text = json_string_value(member);
        if (!text) return wrong(s->path, METADATA, "expected texts by name", e);
        bk_status status = value_add_text(texts, key, text, json_string_length(member), e);
        if (status) return status;
    }
    return BK_OK;
}

static bk_status read_parts(source *s, json_t *header, value *out, entry *entries, err *e) {
    const char *key;
    json_t *member;
    int n = 0;
    json_object_foreach(header, key, member) {
        if (strcmp(key, METADATA) == 0) continue;
        bk_status status = read_entry(s->path, key, member, &entries[n++], e);
        if (status) return status;
    }
    qsort(entries, (size_t)n, sizeof *entries, by_place);
    value *tensors = value_add(out, NULL, VALUE_TABLE, e);
    if (!tensors) return BK_ENOMEM;
    json_int_t place = 0;
    for (int i = 0; i < n; i++) {
        if (entries[i].begin != place) return wrong(s->path, entries[i].name, "data_offsets leave a gap or overlap", e);
        place = entries[i].end;
        bk_status status = read_tensor(s, &entries[i], tensors, e);
        if (status) return status;
    }
    bk_status status = source_expect_end(s, e);
    return status ? status : read_texts(s, json_object_get(header, METADATA), out, e);
}

static bk_status read_header(source *s, const char *text, size_t n, value *out, err *e) {
    json_tree tree;
    if (n == 0 || *text != '{') return err_set(e, BK_EIO, "%s: header: expected an object", s->path);
    err problem = { 0 };
    bk_status status = json_text_read(s->c, text, n, JSON_REJECT_DUPLICATES, &tree, &problem);
    if (status) {
        json_tree_free(&tree);
        return err_set(e, status, "%s: header: %s", s->path, problem.text);
    }
    const size_t count = json_object_size(tree.root);
    entry *entries = mem_alloc(s->c, sizeof *entries * (count + 1));
    status = entries ? read_parts(s, tree.root, out, entries, e) : err_nomem(e, sizeof *entries * count);
    mem_free(s->c, entries, sizeof *entries * (count + 1));
    json_tree_free(&tree);
    return status;
}

static bk_status read_open(source *s, bytes *head, value *out, err *e) {
    if (s->inflater) return err_set(e, BK_EIO, "%s: is packed by gzip, expected a safetensors file", s->path);
    bk_status status = source_read(s, LENGTH, head, e);
    if (status) return status;
    uint64_t length = 0;
    for (int i = 0; i < LENGTH && head->count == LENGTH; i++) length |= (uint64_t)head->data[i] << 8 * i;
    if (head->count < LENGTH || length > HEADER_LIMIT)
        return err_set(e, BK_EIO, "%s: header length: not a safetensors file", s->path);
    if ((status = source_read(s, LENGTH + (size_t)length, head, e))) return status;
    if (head->count < LENGTH + length)
        return err_set(e, BK_EIO, "%s: header length: the file says %llu bytes and holds %zu", s->path,
                       (unsigned long long)length, head->count - LENGTH);
    return read_header(s, (const char *)head->data + LENGTH, (size_t)length, out, e);
}

static bk_status safetensors_read(const format_call *call, value *out, err *e) {
    source s;
    bytes head = { 0 };
    bk_status status = source_open(call->c, call->path, &s, e);
    if (!status) status = read_open(&s, &head, out, e);
    source_close(&s);
    bytes_free(call->c, &head);
    return status;
}

const format_row format_safetensors = {
    .name = "safetensors",
    .saved = true,
    .doc =
        "bk.load_safetensors(path) -> tensors, metadata\n"
        "What a safetensors file holds, both by name: checkpoints of runs, and files of other programs.\n\n"
        "F64 becomes float64; F32, F16 and BF16 float32; I8 to I64, U8 to U64 and BOOL int64. A malformed header, "
        "offsets that leave gaps, a value past 2^63-1, a truth value other than 0 and 1, and any byte too few or too "
        "many are errors that name the file and what is wrong.",
    .read = safetensors_read,
};

/* ---- writing ---- */

static const char *const written[] = { [BK_FLOAT64] = "F64", [BK_FLOAT32] = "F32", [BK_INT64] = "I64" };

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
static const bool little = true;
#else
static const bool little = false; /* elements would need turning: refused */
#endif

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
        for (int d = 0; d < t->ndim && fits; d++) fits = json_array_append_new(shape, json_integer(t->shape[d])) == 0;
        json_t *described = json_pack("{s:s, s:o, s:[I, I]}", "dtype", written[t->dtype], "shape", shape,
                                      "data_offsets", place, place + count);
        fits = json_object_set_new(header, name, described) == 0 && fits;
        place += count;
    }
    for (int i = 0; i < s->n_texts && fits; i++)
        fits = json_object_set_new(metadata, s->texts[i].name, json_string(s->texts[i].value)) == 0;
    if (fits && metadata) fits = json_object_set(header, METADATA, metadata) == 0;
    *n = fits ? json_dumpb(header, NULL, 0, JSON_COMPACT) : 0;
    if (*n > HEADER_LIMIT)
        status =
            err_set(e, BK_EINVAL, "safetensors: names and texts take %zu bytes, expected at most %d", *n, HEADER_LIMIT);
    else if (*n == 0)
        status = err_set(e, BK_EINVAL, "safetensors: a name or a text is not UTF-8, or memory is short");
    else if (!(*text = mem_alloc(s->c, *n)))
        status = err_nomem(e, *n);
    else if (json_dumpb(header, *text, *n, JSON_COMPACT) != *n) {
        mem_free(s->c, *text, *n);
        status = err_nomem(e, *n);
    }
end:
    json_decref(metadata);
    json_decref(header);
    return status;
}

bk_status safetensors_write(ctx *c, const char *path, const safetensors *s, err *e) {
    static const char blanks[LENGTH] = "        ";
    if (!little) return err_set(e, BK_EUNSUPPORTED, "%s: safetensors are written on little-endian machines", path);
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
