/* csv.c - one pass over the text; numbers by strtod in the "C" locale, since a host may set a decimal comma. */
#include "csv.h"

#include "source.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>

typedef struct table {
    ctx *c;
    double *values;
    int64_t count, capacity, columns, rows, first_line;
} table;

static bk_status push(table *t, double value, err *e) {
    if (t->count == t->capacity) {
        int64_t grown = t->capacity ? t->capacity * 2 : 4096;
        void *p = mem_realloc(t->c, t->values, (size_t)t->capacity * sizeof value, (size_t)grown * sizeof value);
        if (!p) return err_nomem(e, (size_t)grown * sizeof value);
        t->values = p;
        t->capacity = grown;
    }
    t->values[t->count++] = value;
    return BK_OK;
}

static bool blank(char ch) {
    return ch == ' ' || ch == '\t' || ch == '\r';
}

static bk_status not_a_number(const char *path, int64_t line, int64_t column, const char *field, size_t n, bool first,
                              err *e) {
    char shown[41];
    size_t k = 0;
    for (; k < n && k < sizeof shown - 1; k++) shown[k] = field[k] >= 32 && field[k] < 127 ? field[k] : '?';
    shown[k] = 0;
    return err_set(e, BK_EIO, "%s: line %lld, column %lld: expected a number, got %s%s%s%s", path, (long long)line,
                   (long long)column, n ? "\"" : "nothing", shown, n ? "\"" : "",
                   first ? " (skip leaves lines of a header out)" : "");
}

/* One row, p..end without its newline; *end is writable. */
static bk_status parse_row(table *t, const char *path, int64_t line, char *p, char *end, char separator, locale_t plain,
                           err *e) {
    int64_t column = 0;
    bool by_blanks = blank(separator) && separator != '\t';
    for (bool more = true; more;) {
        column++;
        while (p < end && blank(*p) && *p != separator) p++;
        while (by_blanks && p < end && blank(*p)) p++;
        char *stop = p;
        while (stop < end && (by_blanks ? !blank(*stop) : *stop != separator)) stop++;
        char *next = stop, *from = p;
        if (by_blanks)
            while (next < end && blank(*next)) next++;
        more = next < end;
        while (stop > from && blank(stop[-1])) stop--;
        if (stop - from >= 2 && *from == '"' && stop[-1] == '"') from++, stop--;
        if (t->rows && column > t->columns)
            return err_set(e, BK_EIO, "%s: line %lld, column %lld: line %lld has only %lld columns", path,
                           (long long)line, (long long)column, (long long)t->first_line, (long long)t->columns);
        char saved = *stop, *read = from;
        *stop = 0;
        bool starts = from < stop && !blank(*from) && *from != '\v' && *from != '\f'; /* strtod would skip these */
        double value = starts ? strtod_l(from, &read, plain) : 0;
        *stop = saved;
        if (read != stop || from == stop)
            return not_a_number(path, line, column, from, (size_t)(stop - from), !t->rows, e);
        bk_status status = push(t, value, e);
        if (status) return status;
        p = by_blanks ? next : next + 1;
    }
    if (t->rows && column < t->columns)
        return err_set(e, BK_EIO, "%s: line %lld, column %lld: missing, line %lld has %lld columns", path,
                       (long long)line, (long long)column + 1, (long long)t->first_line, (long long)t->columns);
    if (!t->rows) t->columns = column, t->first_line = line;
    t->rows++;
    return BK_OK;
}

static bk_status parse_text(table *t, const char *path, char *p, char *end, char separator, int64_t skip,
                            locale_t plain, err *e) {
    if (end - p >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) p += 3; /* a byte order mark */
    for (int64_t line = 1; p < end; line++) {
        char *stop = memchr(p, '\n', (size_t)(end - p)), *q = p;
        if (!stop) stop = end;
        char *row_end = stop > p && stop[-1] == '\r' ? stop - 1 : stop;
        while (q < row_end && blank(*q)) q++;
        if (line % 4096 == 0 && ctx_poll(t->c, e)) return BK_EINTERRUPTED;
        if (line > skip && q < row_end) {
            bk_status status = parse_row(t, path, line, p, row_end, separator, plain, e);
            if (status) return status;
        }
        p = stop + 1;
    }
    if (!t->rows) return err_set(e, BK_EIO, "%s: no rows%s", path, skip > 0 ? " after the skipped lines" : "");
    return BK_OK;
}

bk_status csv_read(ctx *c, const char *path, const csv_options *options, tensor *out, err *e) {
    char separator = options && options->separator ? options->separator : ',';
    int64_t skip = options ? options->skip : 0;
    *out = (tensor){ 0 };
    if (strchr("0123456789.+-\"\n\r", separator) || (separator >= 'a' && separator <= 'z') ||
        (separator >= 'A' && separator <= 'Z'))
        return err_set(e, BK_EINVAL, "csv: separator: expected a character no number contains, got code %d", separator);
    if (skip < 0) return err_set(e, BK_EINVAL, "csv: skip: expected 0 or more, got %lld", (long long)skip);
    source s;
    bytes text = { 0 };
    table t = { .c = c };
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    bk_status status = plain ? source_open(c, path, &s, e) : err_nomem(e, 0);
    if (status) goto done;
    status = source_read(&s, SIZE_MAX / 4, &text, e);
    if (!status && s.cut) status = source_expect_end(&s, e);
    if (!status && text.count == text.capacity) { /* the last number needs a place for its terminator */
        void *p = mem_realloc(c, text.data, text.capacity, text.capacity + 1);
        if (!p) status = err_nomem(e, text.capacity + 1);
        else text.data = p, text.capacity++;
    }
    if (!status)
        status = parse_text(&t, s.path, (char *)text.data, (char *)text.data + text.count, separator, skip, plain, e);
    source_close(&s);
    if (!status) status = tensor_new(c, BK_FLOAT64, 2, (int64_t[]){ t.rows, t.columns }, out, e);
    if (!status) memcpy(tensor_data(out), t.values, (size_t)t.count * sizeof *t.values);
done:
    mem_free(c, t.values, (size_t)t.capacity * sizeof *t.values);
    bytes_free(c, &text);
    if (plain) freelocale(plain);
    return status;
}
