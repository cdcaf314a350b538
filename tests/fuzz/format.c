/* format.c - a reader of src/data (-DFORMAT=format_NAME): any bytes are a file to it. They are read, or refused with a
 * message that names the file; nothing stays allocated, and memory stays below its limit. The last byte of the input is
 * no part of the file: it chooses options. */
#include "../../src/data/format.h"
#include "fuzz.h"

static ctx *c;
static char path[300];
static int file;

static value text_value(const char *text) {
    return (value){ .c = c, .kind = VALUE_TEXT, .text = (char *)(uintptr_t)text };
}

/* A column by name and one by number, or the second alone. */
static void add_columns(value *list, unsigned which) {
    err e = { 0 };
    list->c = c, list->kind = VALUE_TABLE;
    if (which == 1 && value_add_text(list, NULL, "a", 1, &e)) return;
    if (value_add_count(list, NULL, 2, &e)) return;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static const char *const separators[] = { NULL, ";", " ", "\t" }, *const missing[] = { NULL, "nan", "drop", "error" };
    if (!c) {
        if (!(c = ctx_new(1))) abort();
        c->limit = 64 << 20;
        snprintf(path, sizeof path, "%s/file", fuzz_root());
        if ((file = open(path, O_RDWR | O_CREAT, 0600)) < 0) abort();
    }
    const unsigned tail = n ? data[--n] : 0, more = n && tail >= 128 ? data[n - 1] : 0;
    if (ftruncate(file, 0) || pwrite(file, data, n, 0) != (ssize_t)n) abort();
    const size_t before = c->used;
    format_call call = { .c = c, .path = path };
    value texts[OPTIONS_MAX] = { { 0 } };
    for (int i = 0; i < option_count(FORMAT.options); i++) {
        const option *o = &FORMAT.options[i];
        call.option[i] = o->otherwise;
        if (!strcmp(o->name, "channels")) call.option[i] = (double[]){ 0, 1, 3, 0 }[tail & 3];
        else if (!strcmp(o->name, "classes")) call.option[i] = tail & 1 ? 100 : 10;
        else if (!strcmp(o->name, "skip")) call.option[i] = tail & 1;
        else if (!strcmp(o->name, "header")) call.option[i] = tail >> 1 & 1;
        else if (!strcmp(o->name, "separator") && separators[tail >> 2 & 3]) texts[i] = text_value(separators[tail >> 2 & 3]);
        else if (!strcmp(o->name, "missing") && missing[tail >> 4 & 3]) texts[i] = text_value(missing[tail >> 4 & 3]);
        else if (!strcmp(o->name, "columns") && more & 3) add_columns(&texts[i], more & 3);
        else if (!strcmp(o->name, "categories") && more >> 2 & 3) add_columns(&texts[i], more >> 2 & 3);
        else if (!strcmp(o->name, "target") && more >> 4 & 3) texts[i] = text_value((more >> 4 & 3) == 1 ? "" : "b");
        else if (!strcmp(o->name, "name") && tail & 1) texts[i] = text_value("a");
        if (texts[i].c) call.given[i] = &texts[i];
    }
    value out = { .c = c };
    err e = { 0 };
    const bk_status status = FORMAT.read(&call, &out, &e);
    PROMISE(status == BK_OK || status == BK_EIO || status == BK_EUNSUPPORTED || status == BK_ENOMEM || (status == BK_EINVAL && (tail || more)),
            "status %d: %s", (int)status, e.text);
    PROMISE(!status || strstr(e.text, path) || status == BK_ENOMEM || status == BK_EINVAL, "no file is named: %s", e.text);
    PROMISE(status || out.first, "nothing was read");
    value_free(&out);
    for (int i = 0; i < OPTIONS_MAX; i++)
        if (texts[i].c && texts[i].kind == VALUE_TABLE) value_free(&texts[i]);
    PROMISE(c->used == before, "%zu bytes stay allocated", c->used - before);
    return 0;
}
