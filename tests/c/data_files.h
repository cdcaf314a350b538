/* data_files.h - for tests of file formats: a folder of files, what a reader makes of one, and checks of it. */
#ifndef TESTS_DATA_FILES_H
#define TESTS_DATA_FILES_H

#include "../../src/data/format.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static int passed, failed;
static char folder[] = "/tmp/bracket-data-XXXXXX"; /* filled by mkdtemp */
static ctx *c;

static void check(bool ok, const char *what, const char *detail) {
    if (ok) passed++;
    else {
        failed++;
        printf("FAILED %s: %s\n", what, detail);
    }
}

typedef struct name_in_folder { char text[200]; } name_in_folder;

static name_in_folder in_folder(const char *file) {
    name_in_folder n;
    snprintf(n.text, sizeof n.text, "%s/%s", folder, file);
    return n;
}

static void put(const char *file, const void *data, size_t n) {
    FILE *f = fopen(in_folder(file).text, "wb");
    if (!f || fwrite(data, 1, n, f) != n) printf("cannot write %s\n", file), exit(2);
    fclose(f);
}

static void put_gz(const char *file, const void *data, size_t n) {
    gzFile f = gzopen(in_folder(file).text, "wb");
    if (!f || (n && gzwrite(f, data, (unsigned)n) != (int)n)) printf("cannot write %s\n", file), exit(2);
    gzclose(f);
}

static size_t get(const char *file, char *to, size_t room) { /* how many bytes there were */
    FILE *f = fopen(in_folder(file).text, "rb");
    size_t n = f ? fread(to, 1, room, f) : 0;
    if (f) fclose(f);
    return n;
}

typedef bk_status (*reader)(const char *path, tensor *out, err *e);

/* What the row makes of a file: its first tensor, in a table of tensors too. */
static bk_status read_as(const format_row *row, const char *path, const format_call *told, tensor *out, err *e) {
    format_call call = told ? *told : (format_call){ 0 };
    value v = { .c = c };
    *out = (tensor){ 0 };
    call.c = c, call.path = path;
    for (int i = 0; !told && i < option_count(row->options); i++) call.option[i] = row->options[i].otherwise;
    bk_status status = row->read(&call, &v, e);
    const value *first = v.first;
    while (first && first->kind == VALUE_TABLE) first = first->first;
    if (!status && first && first->kind == VALUE_TENSOR) *out = first->tensor, tensor_retain(out);
    value_free(&v);
    return status;
}

#define READER(name) \
    static bk_status as_##name(const char *path, tensor *out, err *e) { \
        return read_as(&format_##name, path, NULL, out, e); \
    }
READER(idx)
READER(npy)
READER(npz)
READER(safetensors)
READER(csv)
READER(image)
static bk_status as_cifar(const char *path, tensor *out, err *e) {
    return read_as(&format_cifar_batch, path, &(format_call){ .option = { 100 } }, out, e);
}

/* The file must be refused, the message naming it and `field`, with nothing left allocated. */
static void refused(reader read, const char *file, const char *field) {
    tensor t;
    err e = { 0 };
    size_t before = c->used;
    bk_status status = read(in_folder(file).text, &t, &e);
    char what[1300];
    snprintf(what, sizeof what, "%s (%s): status %d, \"%s\"", file, field, (int)status, e.text);
    check(status == BK_EIO && !t.store, "refused", what);
    check(strstr(e.text, file) && strstr(e.text, field), "message", what);
    check(c->used == before, "leak", what);
    tensor_release(&t);
}

static void equals(const char *what, const tensor *t, bk_dtype dtype, int ndim, const int64_t *shape, const double *v) {
    shape_buf text;
    check(t->store && t->dtype == dtype && shape_equal(t->ndim, t->shape, ndim, shape), what, "dtype or shape");
    if (!t->store || !shape_equal(t->ndim, t->shape, ndim, shape)) return;
    int64_t wrong = 0;
    for (int64_t i = 0; i < tensor_count(t); i++) {
        double a = tensor_get(t, i);
        wrong += !(a == v[i] || (isnan(a) && isnan(v[i])));
    }
    check(wrong == 0, what, shape_text(t->ndim, t->shape, &text));
}

static void accepted(reader read, const char *file, bk_dtype dtype, int ndim, const int64_t *shape, const double *v) {
    tensor t;
    err e = { 0 };
    check(read(in_folder(file).text, &t, &e) == BK_OK, file, e.text);
    equals(file, &t, dtype, ndim, shape, v);
    tensor_release(&t);
}

#endif
