/* csv.h - tables of numbers in text files, plain or gzip. */
#ifndef DATA_CSV_H
#define DATA_CSV_H

#include "../tensor/tensor.h"

typedef struct csv_options {
    char separator; /* 0: ','. A blank separates by any run of blanks and tabs. */
    int64_t skip;   /* lines before the first row, such as a header */
} csv_options;

/* A new float64 tensor (rows, columns). Every line but blank ones is a row of as many numbers (decimal, hex, inf, nan;
 * quotes and blanks around them allowed, whatever the host's locale). A missing, extra or malformed number is
 * BK_EIO and names line and column, both from 1; so is a file without rows. options may be NULL. */
bk_status csv_read(ctx *c, const char *path, const csv_options *options, tensor *out, err *e);

#endif
