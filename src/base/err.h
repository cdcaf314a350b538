/* err.h - statuses with a text. Functions below bind/ return a bk_status and, on
 * failure, fill the caller's err; the first failure of a call wins. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "../bracket.h"
#include <stdbool.h>

typedef struct err {
    bk_status status;
    char text[1000];
} err;

/* Fills e (unless it already holds a failure) and returns status. e may be NULL. */
bk_status err_set(err *e, bk_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));
bk_status err_nomem(err *e, size_t bytes);
void err_clear(err *e);

/* Puts "prefix: " before the text: which function the failure came through. */
bk_status err_prefix(err *e, const char *prefix);

#endif
