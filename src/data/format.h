/* format.h - kinds of files that are read: one row each. A reader never believes a header before as many bytes are
 * there, polls the interrupt on long work, and returns BK_EIO with the file's name in front for what is wrong in it. */
#ifndef DATA_FORMAT_H
#define DATA_FORMAT_H

#include "../base/option.h"
#include "value.h"

typedef struct format_row format_row;

/* What a reader is told: the options by their place in the row. */
typedef struct format_call {
    ctx *c;
    const char *path;
    double option[OPTIONS_MAX];
    const value *given[OPTIONS_MAX]; /* OPTION_TEXT and OPTION_TABLE: NULL where not given */
} format_call;

/* A kind of file: `const format_row format_NAME = {`. */
struct format_row {
    const char *name; /* bk.data.NAME(path, options) */
    bool saved;       /* tensors as a program saved them: bk.load_NAME instead */
    const char *doc;  /* signature, what is returned, what is refused */
    option options[OPTIONS_MAX];
    /* Adds to `out`, a table, what the call returns, in order. On failure out may hold a part. */
    bk_status (*read)(const format_call *call, value *out, err *e);
};

#include "gen/format_rows.h"                  /* extern const format_row format_NAME; of every row in src/data */
extern const format_row *const format_rows[]; /* NULL-terminated, generated */
extern const char *const format_row_names[]; /* NAME of each format_NAME */

#endif
