/* err.c - sets and prefixes the texts of errors; what does not fit is cut. */
#include "err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bk_status err_set(err *e, bk_status status, const char *format, ...) {
    if (!e || e->status) return status;
    va_list args;
    va_start(args, format);
    vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    e->status = status;
    return status;
}

bk_status err_nomem(err *e, size_t bytes) {
    return err_set(e, BK_ENOMEM, "out of memory: %zu bytes asked for", bytes);
}

void err_clear(err *e) {
    e->status = BK_OK;
    e->text[0] = 0;
}

bk_status err_prefix(err *e, const char *prefix) {
    size_t used = strlen(prefix), room = sizeof e->text - 1;
    if (used + 2 > room) return e->status;
    size_t tail = strlen(e->text);
    if (tail > room - used - 2) tail = room - used - 2;
    memmove(e->text + used + 2, e->text, tail);
    e->text[used + 2 + tail] = 0;
    memcpy(e->text, prefix, used);
    memcpy(e->text + used, ": ", 2);
    return e->status;
}
