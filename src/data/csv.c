/* csv.c - tables in text files: the cells of RFC 4180, in one pass over the text, then the columns asked for. Numbers
 * by strtod in the "C" locale, since a host may set a decimal comma. Without a header and a choice of columns it is one
 * matrix of numbers. */
#include "format.h"
#include "source.h"
#include "../base/nearest.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEPARATOR, SKIP, HEADER, COLUMNS, CATEGORIES, TARGET, MISSING };
enum missing { MISSING_ERROR, MISSING_NAN, MISSING_DROP };
static const char *const missing_names[] = { "error", "nan", "drop", NULL };
static const char *const missing_cells[] = { "", "NA", "N/A", "nan", "NaN", "null", "NULL", "None", "?", NULL };

typedef struct word { /* a class, by its text in the file */
    const char *text;
    double number; /* its value, nan where it is none */
    int64_t id;
} word;

typedef struct column { /* one that was asked for */
    int64_t at;         /* in the file, from 0 */
    bool category, fixed;
    word *words;
    int64_t n, capacity;
    int64_t *slots, n_slots; /* a hash table of places in words, from 1 */
} column;

typedef struct cell {
    char *text; /* ends with a zero byte, and may contain some */
    size_t n;
    int64_t line, column; /* from 1 */
    bool last;            /* of its row */
} cell;

typedef struct reader {
    ctx *c;
    const char *path;
    char *p, *end; /* what is left of the text */
    char separator;
    bool by_blanks; /* any run of blanks and tabs separates */
    int64_t line;
    locale_t plain;

    double *values; /* of the columns asked for, row by row */
    int64_t capacity, rows;
    cell *first; /* the first row, which is read before it is known what to make of it ... */
    int64_t wide, room_first;
    bool header; /* ... and holds the names of the columns */
    column *columns;
    int64_t n_columns, room_columns;
    int64_t *place; /* where in columns each column of the file stands, -1: it was not asked for */
    int64_t target; /* place in columns, -1: none */
    enum missing missing;
    bool table; /* columns with names, else a matrix */
} reader;

/* ---- memory ---- */

/* Twice the room for elements of `size` bytes, for `first` where there is none. */
static bk_status grow(ctx *c, void *array, int64_t *capacity, size_t size, int64_t first, err *e) {
    void *old, *p;
    memcpy(&old, array, sizeof old);
    const int64_t grown = *capacity ? *capacity * 2 : first;
    p = mem_realloc(c, old, (size_t)*capacity * size, (size_t)grown * size);
    if (!p) return err_nomem(e, (size_t)grown * size);
    memcpy(array, &p, sizeof p);
    *capacity = grown;
    return BK_OK;
}

static void free_words(const reader *r, column *col) {
    mem_free(r->c, col->words, (size_t)col->capacity * sizeof(word));
    mem_free(r->c, col->slots, (size_t)col->n_slots * sizeof(int64_t));
}

static void free_reader(reader *r) {
    for (int64_t k = 0; k < r->n_columns; k++) free_words(r, &r->columns[k]);
    mem_free(r->c, r->columns, (size_t)r->room_columns * sizeof *r->columns);
    if (r->place) mem_free(r->c, r->place, (size_t)r->wide * sizeof *r->place);
    mem_free(r->c, r->first, (size_t)r->room_first * sizeof *r->first);
    mem_free(r->c, r->values, (size_t)r->capacity * sizeof *r->values);
    if (r->plain) freelocale(r->plain);
}

/* ---- cells ---- */

typedef struct shown {
    char text[48];
} shown;

static const char *show(const char *text, size_t n, shown *to) {
    size_t k = 0;
    for (; k < n && k < sizeof to->text - 8; k++) {
        const unsigned char ch = (unsigned char)text[k];
        to->text[k] = ch >= 32 && ch != 127 ? text[k] : '?';
    }
    to->text[k] = 0;
    return to->text;
}

/* "file: line 3, column 2 ("width"): " in front of what */
static bk_status at_cell(const reader *r, const cell *x, const char *what, err *e) {
    shown name;
    if (!r->header || x->column > r->wide)
        return err_set(e, BK_EIO, "%s: line %lld, column %lld: %s", r->path, (long long)x->line, (long long)x->column,
                       what);
    const cell *head = &r->first[x->column - 1];
    return err_set(e, BK_EIO, "%s: line %lld, column %lld (\"%s\"): %s", r->path, (long long)x->line,
                   (long long)x->column, show(head->text, head->n, &name), what);
}

static bk_status not_as_expected(const reader *r, const cell *x, const char *expected, err *e) {
    char what[160];
    shown got;
    const char *mark = x->n ? "\"" : "", *hint = !r->rows && !r->table ? " (skip leaves lines of a header out)" : "";
    snprintf(what, sizeof what, "expected %s, got %s%s%s%s", expected, mark,
             x->n ? show(x->text, x->n, &got) : "nothing", mark, hint);
    return at_cell(r, x, what, e);
}

static bool blank(const reader *r, char ch) {
    return (ch == ' ' || ch == '\t' || ch == '\r') && (ch != r->separator || r->by_blanks);
}

static void skip_blanks(reader *r) {
    while (r->p < r->end && blank(r, *r->p)) r->p++;
}

static bool at_separator(const reader *r) {
    return r->by_blanks ? blank(r, *r->p) : *r->p == r->separator;
}

/* In long cells too: looked at whenever a megabyte of the text is through. */
static bk_status poll_text(const reader *r, err *e) {
    return ((uintptr_t)r->p & 0xfffff) == 0 ? ctx_poll(r->c, e) : BK_OK;
}

/* What stands in quotes: "" is a quote, and newlines are part of it. */
static bk_status quoted_cell(reader *r, cell *x, err *e) {
    char *to = x->text = ++r->p;
    for (;; r->p++) {
        if (r->p == r->end) return at_cell(r, x, "a quote is opened and not closed", e);
        if (*r->p == '"') {
            if (r->p + 1 == r->end || r->p[1] != '"') break;
            r->p++;
        }
        if (*r->p == '\n') r->line++;
        *to++ = *r->p;
        if (poll_text(r, e)) return BK_EINTERRUPTED;
    }
    x->n = (size_t)(to - x->text);
    r->p++;
    if (!r->by_blanks) skip_blanks(r);
    if (r->p < r->end && *r->p != '\n' && !at_separator(r))
        return at_cell(r, x, "expected a separator after the closing quote", e);
    return BK_OK;
}

static bk_status next_cell(reader *r, int64_t column_, cell *x, err *e) {
    skip_blanks(r);
    *x = (cell){ .text = r->p, .line = r->line, .column = column_ };
    if (r->p < r->end && *r->p == '"') {
        bk_status status = quoted_cell(r, x, e);
        if (status) return status;
    } else {
        for (; r->p < r->end && *r->p != '\n' && !at_separator(r); r->p++)
            if (poll_text(r, e)) return BK_EINTERRUPTED;
        char *stop = r->p;
        while (stop > x->text && blank(r, stop[-1])) stop--;
        x->n = (size_t)(stop - x->text);
    }
    char *stop = x->text + x->n;
    if (r->by_blanks) skip_blanks(r);
    x->last = r->p == r->end || *r->p == '\n';
    if (x->last && r->p < r->end) r->line++;
    if (r->p < r->end && (x->last || !r->by_blanks)) r->p++;
    *stop = 0; /* all that stood there has been read */
    return BK_OK;
}

/* Passes over blank lines; false at the end of the text. */
static bool next_row(reader *r) {
    for (;;) {
        skip_blanks(r);
        if (r->p == r->end) return false;
        if (*r->p != '\n') return true;
        r->p++;
        r->line++;
    }
}

/* ---- what cells hold ---- */

static bool is_missing(const cell *x) {
    for (const char *const *m = missing_cells; *m; m++)
        if (strlen(*m) == x->n && memcmp(*m, x->text, x->n) == 0) return true;
    return false;
}

/* false: not a number; *large: one that no float64 holds */
static bool number_of(const reader *r, const char *text, size_t n, double *v, bool *large) {
    const char first = *text;
    char *read;
    if (n == 0 || first == ' ' || (first >= '\t' && first <= '\r')) return false; /* strtod would pass over these */
    errno = 0;
    *v = strtod_l(text, &read, r->plain);
    *large = errno == ERANGE && isinf(*v);
    return read == text + n;
}

static bk_status read_number(const reader *r, const cell *x, double *v, err *e) {
    bool large = false;
    if (!number_of(r, x->text, x->n, v, &large)) return not_as_expected(r, x, "a number", e);
    return large ? not_as_expected(r, x, "a number that a float64 can hold", e) : BK_OK;
}

static uint64_t hash(const char *text) {
    uint64_t h = 0xcbf29ce484222325u;
    for (; *text; text++) h = (h ^ (unsigned char)*text) * 0x100000001b3u;
    return h ^ h >> 29;
}

/* The slot of text: where it stands, or the free one it would take. */
static int64_t *find_slot(const column *col, const char *text) {
    uint64_t i = hash(text);
    for (;; i++) {
        int64_t *slot = &col->slots[i & (uint64_t)(col->n_slots - 1)];
        if (!*slot || strcmp(col->words[*slot - 1].text, text) == 0) return slot;
    }
}

static bk_status add_word(const reader *r, column *col, const char *text, err *e) {
    bk_status status = BK_OK;
    bool large;
    if (col->n == col->capacity) status = grow(r->c, &col->words, &col->capacity, sizeof(word), 16, e);
    if (!status && 2 * col->n >= col->n_slots) {
        status = grow(r->c, &col->slots, &col->n_slots, sizeof(int64_t), 64, e);
        if (!status) memset(col->slots, 0, (size_t)col->n_slots * sizeof(int64_t));
        for (int64_t k = 0; k < col->n && !status; k++) *find_slot(col, col->words[k].text) = k + 1;
    }
    if (status) return status;
    word *w = &col->words[col->n];
    *w = (word){ .text = text, .id = col->n };
    if (!number_of(r, text, strlen(text), &w->number, &large)) w->number = NAN;
    *find_slot(col, text) = ++col->n;
    return BK_OK;
}

static bk_status read_word(const reader *r, column *col, const cell *x, double *v, err *e) {
    int64_t at = col->n ? *find_slot(col, x->text) : 0;
    if (strlen(x->text) != x->n) return at_cell(r, x, "a zero byte in a category", e);
    if (!at && col->fixed) return not_as_expected(r, x, "one of the classes given", e);
    if (!at) {
        bk_status status = add_word(r, col, x->text, e);
        if (status) return status;
        at = col->n;
    }
    *v = (double)(at - 1);
    return BK_OK;
}

static int by_value(const void *a, const void *b) { /* numbers by their value, in front of words by their bytes */
    const word *x = a, *y = b;
    if (isnan(x->number) != isnan(y->number)) return isnan(x->number) ? 1 : -1;
    if (x->number != y->number && !isnan(x->number)) return x->number < y->number ? -1 : 1;
    return strcmp(x->text, y->text);
}

/* Class ids in the order of the classes, whatever the order in the file. */
static bk_status sort_classes(reader *r, int64_t k, err *e) {
    column *col = &r->columns[k];
    if (!col->category || col->fixed || col->n == 0) return BK_OK;
    const size_t size = (size_t)col->n * sizeof(int64_t);
    int64_t *rank = mem_alloc(r->c, size);
    if (!rank) return err_nomem(e, size);
    memset(rank, 0, size);
    for (int64_t row = 0; row < r->rows; row++) { /* a class may stand in rows alone that are left out */
        const double v = r->values[row * r->n_columns + k];
        if (!isnan(v)) rank[(int64_t)v] = 1;
    }
    qsort(col->words, (size_t)col->n, sizeof(word), by_value);
    int64_t kept = 0;
    for (int64_t i = 0; i < col->n; i++)
        if (rank[col->words[i].id]) {
            rank[col->words[i].id] = kept;
            col->words[kept++] = col->words[i];
        }
    col->n = kept;
    for (int64_t row = 0; row < r->rows; row++) {
        double *v = &r->values[row * r->n_columns + k];
        if (!isnan(*v)) *v = (double)rank[(int64_t)*v];
    }
    mem_free(r->c, rank, size);
    return BK_OK;
}

/* ---- which columns ---- */

static const char *column_name(const reader *r, int64_t at, char *buf, size_t room) {
    if (r->header) return r->first[at].text;
    snprintf(buf, room, "%lld", (long long)at + 1);
    return buf;
}

/* The place in the file of a column given by name, or by number from 1. */
static bk_status find_column(const reader *r, const char *which, const value *v, int64_t *at, err *e) {
    char list[500] = "", number[24];
    size_t used = 0;
    *at = -1;
    if (v->kind == VALUE_COUNT) {
        *at = v->count - 1;
        if (*at >= 0 && *at < r->wide) return BK_OK;
        return err_set(e, BK_EIO, "%s: %s: expected a column from 1 to %lld, got %lld", r->path, which,
                       (long long)r->wide, (long long)v->count);
    }
    if (v->kind != VALUE_TEXT) return err_set(e, BK_EINVAL, "%s: expected names or numbers", which);
    for (int64_t i = 0; i < r->wide; i++) {
        const char *name = column_name(r, i, number, sizeof number);
        if (used < sizeof list - 1)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s\"%.40s\"", i ? ", " : "", name);
        if (strcmp(name, v->text) != 0) continue;
        if (*at >= 0)
            return err_set(e, BK_EIO, "%s: %s: two columns are named \"%.60s\"; numbers tell them apart", r->path,
                           which, v->text);
        *at = i;
    }
    if (*at >= 0) return BK_OK;
    enum { MOST = 256 };
    const char *known[MOST + 1] = { NULL };
    for (int64_t i = 0; r->header && i < r->wide && i < MOST; i++) known[i] = r->first[i].text;
    return err_set(e, BK_EIO, "%s: %s: no column is named \"%.60s\"%s; there are %s", r->path, which, v->text,
                   name_meant(v->text, known).text, list);
}

/* The place of the file's column `at` among those asked for, which it joins if need be. */
static bk_status ask_for(reader *r, int64_t at, int64_t *place, err *e) {
    *place = r->place[at];
    if (*place >= 0) return BK_OK;
    bk_status status =
        r->n_columns < r->room_columns ? BK_OK : grow(r->c, &r->columns, &r->room_columns, sizeof(column), 16, e);
    if (status) return status;
    r->columns[r->n_columns] = (column){ .at = at };
    *place = r->place[at] = r->n_columns++;
    return BK_OK;
}

static bk_status make_category(reader *r, const value *v, err *e) {
    int64_t at, place;
    const value named = { .kind = VALUE_TEXT, .text = v->key };
    bk_status status = find_column(r, "categories", v->key ? &named : v, &at, e);
    if (!status) status = ask_for(r, at, &place, e);
    if (status) return status;
    column *col = &r->columns[place];
    if (col->category) return err_set(e, BK_EINVAL, "categories: column %lld stands twice", (long long)at + 1);
    col->category = true;
    if (!v->key) return BK_OK;
    if (v->kind != VALUE_TABLE || !v->first)
        return err_set(e, BK_EINVAL, "categories: %.60s: expected a list of its classes", v->key);
    col->fixed = true;
    for (const value *w = v->first; w && !status; w = w->next) {
        if (w->kind != VALUE_TEXT || w->key)
            return err_set(e, BK_EINVAL, "categories: %.60s: expected a list of texts", v->key);
        if (col->n && *find_slot(col, w->text))
            return err_set(e, BK_EINVAL, "categories: %.60s: \"%.60s\" stands twice", v->key, w->text);
        status = add_word(r, col, w->text, e);
    }
    return status;
}

/* Where all columns are read, in silence one would stand twice under its name. */
static bk_status check_names(const reader *r, err *e) {
    column names = { 0 };
    bk_status status = BK_OK;
    for (int64_t i = 0; i < r->wide && !status; i++) {
        const char *name = r->first[i].text;
        const int64_t first = i ? *find_slot(&names, name) : 0;
        status = first ? err_set(e, BK_EIO, "%s: columns %lld and %lld are both named \"%.60s\"; numbers in columns "
                                            "tell them apart", r->path, (long long)first, (long long)i + 1, name)
                       : add_word(r, &names, name, e);
    }
    free_words(r, &names);
    return status;
}

static bk_status choose_columns(reader *r, const format_call *call, err *e) {
    const value *columns = call->given[COLUMNS], *categories = call->given[CATEGORIES], *target = call->given[TARGET];
    bk_status status = columns || !r->header ? BK_OK : check_names(r, e);
    int64_t at, place;
    const size_t size = (size_t)r->wide * sizeof *r->place;
    if (status) return status;
    if (!(r->place = mem_alloc(r->c, size))) return err_nomem(e, size);
    for (int64_t i = 0; i < r->wide; i++) r->place[i] = -1;
    for (int64_t i = 0; !columns && i < r->wide && !status; i++) status = ask_for(r, i, &place, e);
    for (const value *v = columns ? columns->first : NULL; v && !status; v = v->next) {
        if (v->key) return err_set(e, BK_EINVAL, "columns: expected a list, got a field \"%.60s\" as well", v->key);
        status = find_column(r, "columns", v, &at, e);
        if (!status && r->place[at] >= 0)
            status = err_set(e, BK_EINVAL, "columns: column %lld stands twice", (long long)at + 1);
        if (!status) status = ask_for(r, at, &place, e);
    }
    for (const value *v = categories ? categories->first : NULL; v && !status; v = v->next)
        status = make_category(r, v, e);
    if (status) return status;
    if (target && *target->text) {
        status = find_column(r, "target", target, &at, e);
        return status ? status : ask_for(r, at, &r->target, e);
    }
    for (int64_t k = 0; !target && k < r->n_columns; k++)
        if (r->columns[k].category && (r->target < 0 || r->columns[k].at > r->columns[r->target].at)) r->target = k;
    return BK_OK;
}

/* ---- rows ---- */

static bk_status too_many(const reader *r, cell *x, err *e) {
    char what[80];
    snprintf(what, sizeof what, "line %lld has only %lld column%s", (long long)r->first->line, (long long)r->wide,
             r->wide == 1 ? "" : "s");
    return at_cell(r, x, what, e);
}

static bk_status too_few(const reader *r, cell *x, err *e) {
    char what[80];
    snprintf(what, sizeof what, "missing, line %lld has %lld columns", (long long)r->first->line, (long long)r->wide);
    x->column++;
    return at_cell(r, x, what, e);
}

static bk_status read_first_row(reader *r, bool header, err *e) {
    if (!next_row(r))
        return err_set(e, BK_EIO, "%s: no rows%s", r->path, r->line > 1 ? " after the skipped lines" : "");
    cell x = { 0 };
    for (int64_t k = 0; !x.last; k++) {
        bk_status status = next_cell(r, k + 1, &x, e);
        if (!status && header && strlen(x.text) != x.n) status = at_cell(r, &x, "a zero byte in a name", e);
        if (!status && k == r->room_first) status = grow(r->c, &r->first, &r->room_first, sizeof x, 64, e);
        if (status) return status;
        r->first[r->wide++] = x;
    }
    r->header = header;
    return BK_OK;
}

static bk_status read_cell(const reader *r, column *col, const cell *x, double *v, bool *drop, err *e) {
    if (!r->table || !is_missing(x)) return col->category ? read_word(r, col, x, v, e) : read_number(r, x, v, e);
    if (r->missing == MISSING_ERROR)
        return not_as_expected(r, x, "a value (missing = \"nan\" or \"drop\" reads on)", e);
    if (r->missing == MISSING_NAN && col->category && col - r->columns == r->target)
        return not_as_expected(r, x, "a class, since ids have no nan (missing = \"drop\" leaves the row out)", e);
    *v = NAN;
    *drop = *drop || r->missing == MISSING_DROP;
    return BK_OK;
}

static bk_status read_rows(reader *r, err *e) {
    const int64_t *place = r->place;
    for (int64_t n = 0; (n == 0 && !r->header) || next_row(r); n++) {
        const bool again = n == 0 && !r->header;
        cell x = { 0 };
        bool drop = false;
        if (n % 1024 == 0 && ctx_poll(r->c, e)) return BK_EINTERRUPTED;
        bk_status status = BK_OK;
        while (!status && r->capacity < (r->rows + 1) * r->n_columns)
            status = grow(r->c, &r->values, &r->capacity, sizeof(double), 4096, e);
        for (int64_t k = 0; !x.last && !status; k++) {
            if (again)
                x = r->first[k];
            else
                status = next_cell(r, k + 1, &x, e);
            if (!status && k >= r->wide) status = too_many(r, &x, e);
            if (!status && place[k] >= 0)
                status =
                    read_cell(r, &r->columns[place[k]], &x, &r->values[r->rows * r->n_columns + place[k]], &drop, e);
            if (!status && x.last && k + 1 < r->wide) status = too_few(r, &x, e);
        }
        if (status) return status;
        r->rows += !drop;
    }
    if (r->rows) return BK_OK;
    return err_set(e, BK_EIO, "%s: no rows%s", r->path,
                   r->missing == MISSING_DROP ? " without a missing value" : " below the header");
}

/* ---- results ---- */

static bk_status add_values(const reader *r, value *to, const char *key, int64_t only, err *e) {
    tensor t;
    const int64_t wide = r->n_columns - (only < 0 && r->target >= 0);
    const bool ids = only >= 0 && r->columns[only].category;
    bk_status status =
        tensor_new(r->c, ids ? BK_INT64 : BK_FLOAT64, only < 0 ? 2 : 1, (int64_t[]){ r->rows, wide }, &t, e);
    if (status) return status;
    int64_t i = 0;
    for (int64_t k = 0; k < r->rows * r->n_columns; k++) {
        const int64_t place = k % r->n_columns;
        if (only < 0 ? place == r->target : place != only) continue;
        if (ids)
            ((int64_t *)tensor_data(&t))[i++] = (int64_t)r->values[k];
        else
            ((double *)tensor_data(&t))[i++] = r->values[k];
    }
    return value_add_tensor(to, key, &t, e);
}

static bk_status add_names(const reader *r, value *to, err *e) {
    char number[24];
    bk_status status = BK_OK;
    value *names = value_add(to, "names", VALUE_TABLE, e),
          *classes = names ? value_add(to, "classes", VALUE_TABLE, e) : NULL;
    if (!classes) return BK_ENOMEM;
    for (int64_t k = 0; k < r->n_columns && !status; k++) {
        const column *col = &r->columns[k];
        const char *name = column_name(r, col->at, number, sizeof number);
        status = value_add_text(k == r->target ? to : names, k == r->target ? "target" : NULL, name, strlen(name), e);
        char other[24];
        for (int64_t j = 0; j < k && col->category && !status; j++)
            if (r->columns[j].category && !strcmp(column_name(r, r->columns[j].at, other, sizeof other), name))
                status = err_set(e, BK_EIO, "%s: categories: two columns are named \"%.60s\", and the classes of one "
                                            "would be lost: expected names of their own", r->path, name);
        value *list = status || !col->category ? NULL : value_add(classes, name, VALUE_TABLE, e);
        if (status) return status;
        if (col->category && !list) return BK_ENOMEM;
        for (int64_t i = 0; list && i < col->n && !status; i++)
            status = value_add_text(list, NULL, col->words[i].text, strlen(col->words[i].text), e);
    }
    return status;
}

static bk_status add_table(const reader *r, value *out, err *e) {
    if (r->n_columns == (r->target >= 0)) return err_set(e, BK_EINVAL, "columns: none is left for x");
    value *to = value_add(out, NULL, VALUE_TABLE, e);
    bk_status status = to ? add_values(r, to, "x", -1, e) : BK_ENOMEM;
    if (!status && r->target >= 0) status = add_values(r, to, "y", r->target, e);
    return status ? status : add_names(r, to, e);
}

static bk_status read_table(reader *r, const format_call *call, value *out, err *e) {
    bk_status status = read_first_row(r, call->option[HEADER] != 0, e);
    if (!status) status = choose_columns(r, call, e);
    if (!status) status = read_rows(r, e);
    for (int64_t k = 0; k < r->n_columns && !status; k++) status = sort_classes(r, k, e);
    if (status) return status;
    return r->table ? add_table(r, out, e) : add_values(r, out, NULL, -1, e);
}

/* Passes over the byte order mark and the lines to skip. */
static bk_status start(reader *r, bytes *text, int64_t skip, err *e) {
    r->p = (char *)text->data, r->end = r->p + text->count, r->line = 1;
    if (text->count >= 2 && (memcmp(r->p, "\xff\xfe", 2) == 0 || memcmp(r->p, "\xfe\xff", 2) == 0))
        return err_set(e, BK_EIO, "%s: is UTF-16, expected UTF-8", r->path);
    if (text->count >= 3 && memcmp(r->p, "\xef\xbb\xbf", 3) == 0) r->p += 3;
    for (; r->line <= skip && r->p < r->end; r->line++) {
        char *stop = memchr(r->p, '\n', (size_t)(r->end - r->p));
        r->p = stop ? stop + 1 : r->end;
    }
    return BK_OK;
}

static bk_status csv_read(const format_call *call, value *out, err *e) {
    const value *separator = call->given[SEPARATOR], *missing = call->given[MISSING];
    reader r = { .c = call->c, .target = -1, .separator = separator ? *separator->text : ',' };
    if (separator && strlen(separator->text) != 1)
        return err_set(e, BK_EINVAL, "separator: expected one character, got \"%.40s\"", separator->text);
    if (strchr("0123456789.+-\"\n\r", r.separator) || (r.separator >= 'a' && r.separator <= 'z') ||
        (r.separator >= 'A' && r.separator <= 'Z'))
        return err_set(e, BK_EINVAL, "separator: expected a character no number contains, got \"%c\"",
                       r.separator);
    while (missing && missing_names[r.missing] && strcmp(missing_names[r.missing], missing->text) != 0) r.missing++;
    if (!missing_names[r.missing]) {
        return err_set(e, BK_EINVAL, "missing: expected \"error\", \"nan\" or \"drop\", got \"%.40s\"%s",
                       missing->text, name_meant(missing->text, missing_names).text);
    }
    r.by_blanks = r.separator == ' ';
    r.table =
        call->option[HEADER] != 0 || call->given[COLUMNS] || call->given[CATEGORIES] || call->given[TARGET] || missing;
    source s;
    bytes text = { 0 };
    bk_status status = source_open(call->c, call->path, &s, e);
    if (!status) status = source_read_all(&s, &text, e);
    if (!status && text.count == text.capacity) { /* the last cell needs a place for the byte that ends it */
        void *p = mem_realloc(call->c, text.data, text.capacity, text.capacity + 1);
        if (!p)
            status = err_nomem(e, text.capacity + 1);
        else
            text.data = p, text.capacity++;
    }
    r.path = s.path;
    r.plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!status && !r.plain) status = err_nomem(e, 0);
    if (!status) status = start(&r, &text, (int64_t)call->option[SKIP], e);
    if (!status) status = read_table(&r, call, out, e);
    free_reader(&r);
    source_close(&s);
    bytes_free(call->c, &text);
    return status;
}

const format_row format_csv = {
    .name = "csv",
    .doc =
        "bk.data.csv(path [, { header = true, columns = {...}, categories = {...}, ... }]) -> tensor, or { x, y, "
        "names, "
        "classes, target }\n"
        "A table in a text file, plain or gzip: the float64 matrix (rows, columns) of a file of numbers; with header, "
        "columns, categories, target or missing a data set for bk.tasks.\n\n"
        "x (rows, columns) is float64 and names lists its columns. A category is a column of texts: classes[name] "
        "lists its texts in order (numbers by value, else by bytes), and text k stands as id k - 1; one that is no "
        "target stands in x so. y (rows) is the target column, and target its name: int64 ids of a category, else "
        "float64. Categories as { name = {text, ...} } fix the list, so that a second file gets the ids of the first: "
        "categories = d.classes; another text is an error then. A column may be named by its number.\n\n"
        "Cells may stand in quotes, where separators and newlines are text and \"\" is a quote; blanks around cells, "
        "blank lines, CRLF and a byte order mark are passed over. Numbers are decimal or hexadecimal, or inf; without "
        "names also nan. Missing is a cell that is empty or NA, N/A, nan, NaN, null, NULL, None or ?.\n\n"
        "Errors name file, line and column: a row that is longer or shorter than the first, a cell that is no number "
        "or too large for one, a missing value, a quote that is not closed; two columns of one name, where columns "
        "does not choose.",
    .options = { { "separator", "between cells; \" \" is any run of blanks", OPTION_TEXT, .wanted = "one character",
                   .says = "\",\"" },
                 { "skip", "lines before the first row, or the header", OPTION_COUNT, .high = 1 << 30 },
                 { "header", "whether the first row names the columns", OPTION_FLAG },
                 { "columns", "what to read, in this order; categories and target join at the end", OPTION_TABLE,
                   .wanted = "a list of names or numbers", .says = "all" },
                 { "categories", "columns of texts", OPTION_TABLE,
                   .wanted = "a list of names or numbers, or { name = {text, ...} }", .says = "none" },
                 { "target", "the column that is y; \"\" for none", OPTION_TEXT, .wanted = "a name",
                   .says = "the last category" },
                 { "missing", "what a missing value is: an error, nan, or a reason to leave its row out", OPTION_TEXT,
                   .wanted = "\"error\", \"nan\" or \"drop\"", .says = "\"error\"" } },
    .read = csv_read,
};
