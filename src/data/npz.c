/* npz.c - NumPy's archives: ZIP files of .npy files, stored or deflated, found through the directory at the end. Sizes
 * are checked against the bytes that are there; encrypted, split and otherwise packed archives are refused. */
#include "format.h"
#include "npy.h"

#include <string.h>

enum { NAME };
enum { END = 22, END64 = 56, LOCATOR = 20, CENTRAL = 46, LOCAL = 30 }; /* bytes of the records' fixed parts */

typedef struct archive {
    source s;
    const unsigned char *data;
    uint64_t n;
    const value *wanted; /* NULL: every array */
} archive;

static uint64_t number(const unsigned char *p, int size) { /* least significant byte first */
    uint64_t v = 0;
    while (size > 0) v = v << 8 | p[--size];
    return v;
}

static bk_status damaged(const archive *a, const char *what, err *e) {
    return err_set(e, BK_EIO, "%s: not a .npz archive: %s", a->s.path, what);
}

static bool record(const archive *a, uint64_t at, uint64_t size, const char *mark) {
    return at <= a->n && size <= a->n - at && memcmp(a->data + at, mark, 4) == 0;
}

/* Where the directory lies: the end record stands last, but for a comment of as many bytes as it says. */
static bk_status find_directory(const archive *a, uint64_t *at, uint64_t *count, err *e) {
    for (uint64_t back = END; back <= a->n && back <= END + 65535; back++) {
        const uint64_t end = a->n - back;
        const unsigned char *p = a->data + end;
        if (memcmp(p, "PK\5\6", 4) != 0 || number(p + 20, 2) != back - END) continue;
        if (number(p + 4, 2) || number(p + 6, 2)) return damaged(a, "it is split over several files", e);
        *count = number(p + 10, 2);
        *at = number(p + 16, 4);
        if (*count != 0xffff && *at != 0xffffffff) return BK_OK;
        if (end < LOCATOR || !record(a, end - LOCATOR, LOCATOR, "PK\6\7")) return BK_OK; /* just that large */
        const uint64_t large = number(p - LOCATOR + 8, 8);
        if (!record(a, large, END64, "PK\6\6")) return damaged(a, "its 64-bit directory is not where it says", e);
        *count = number(a->data + large + 32, 8);
        *at = number(a->data + large + 48, 8);
        return BK_OK;
    }
    return damaged(a, "no directory at its end; is it cut off?", e);
}

typedef struct entry {
    char name[200];
    uint64_t packed, at;
    unsigned method;
    uint32_t crc;
} entry;

/* The directory's record at *at; *at moves behind it. */
static bk_status read_entry(const archive *a, uint64_t *at, entry *x, err *e) {
    if (!record(a, *at, CENTRAL, "PK\1\2")) return damaged(a, "its directory breaks off", e);
    const unsigned char *p = a->data + *at;
    const uint64_t name = number(p + 28, 2), extra = number(p + 30, 2), comment = number(p + 32, 2);
    if (CENTRAL + name + extra + comment > a->n - *at) return damaged(a, "its directory breaks off", e);
    if (name < 5 || name >= sizeof x->name || memchr(p + CENTRAL, 0, name) ||
        memcmp(p + CENTRAL + name - 4, ".npy", 4) != 0)
        return damaged(a, "it holds something else than .npy files", e);
    memcpy(x->name, p + CENTRAL, name - 4);
    x->name[name - 4] = 0;
    x->method = (unsigned)number(p + 10, 2);
    x->crc = (uint32_t)number(p + 16, 4);
    x->packed = number(p + 20, 4);
    x->at = number(p + 42, 4);
    const uint64_t size = number(p + 24, 4);
    if (number(p + 8, 2) & 1) return damaged(a, "an entry is encrypted", e);
    const unsigned char *q = p + CENTRAL + name, *stop = q + extra;
    for (; stop - q >= 4; q += 4 + number(q + 2, 2)) { /* what does not fit 32 bits stands in record 1, in this order */
        const uint64_t held = number(q + 2, 2);
        if (held > (uint64_t)(stop - q) - 4) return damaged(a, "its directory breaks off", e);
        if (number(q, 2) != 1) continue;
        uint64_t from = size == 0xffffffff ? 8 : 0;
        if (x->packed == 0xffffffff && from + 8 <= held) x->packed = number(q + 4 + from, 8), from += 8;
        if (x->at == 0xffffffff && from + 8 <= held) x->at = number(q + 4 + from, 8);
    }
    *at += CENTRAL + name + extra + comment;
    return BK_OK;
}

static bk_status read_array(const archive *a, const entry *x, value *to, err *e) {
    if (!record(a, x->at, LOCAL, "PK\3\4")) return damaged(a, "an entry is not where the directory says", e);
    const unsigned char *p = a->data + x->at;
    const uint64_t front = LOCAL + number(p + 26, 2) + number(p + 28, 2);
    if (front > a->n - x->at || x->packed > a->n - x->at - front) return damaged(a, "an entry breaks off", e);
    if (x->method != 0 && x->method != 8) return damaged(a, "an entry is neither stored nor deflated", e);
    source part;
    tensor t = { 0 };
    bk_status status = source_open_part(&a->s, x->name, p + front, x->packed, x->method == 8, x->crc, &part, e);
    if (!status) status = npy_from(&part, &t, e);
    source_close(&part);
    return status ? status : value_add_tensor(to, a->wanted ? NULL : x->name, &t, e);
}

static bk_status read_arrays(const archive *a, value *out, err *e) {
    uint64_t at = 0, count = 0, used = 0;
    bk_status status = find_directory(a, &at, &count, e);
    value *all = status || a->wanted ? out : value_add(out, NULL, VALUE_TABLE, e);
    if (!all) return BK_ENOMEM;
    bool found = false;
    for (uint64_t i = 0; i < count && !status; i++) {
        entry x;
        if ((status = read_entry(a, &at, &x, e))) break;
        if (x.packed > a->n || (used += x.packed) > a->n) return damaged(a, "its entries overlap", e);
        if (!a->wanted && value_at(all, x.name))
            return err_set(e, BK_EIO, "%s: two arrays are named %s", a->s.path, x.name);
        if (found || (a->wanted && strcmp(a->wanted->text, x.name) != 0)) continue;
        found = a->wanted != NULL;
        status = read_array(a, &x, all, e);
    }
    if (!status && a->wanted && !found)
        return err_set(e, BK_EIO, "%s: no array is named \"%.100s\"", a->s.path, a->wanted->text);
    return status;
}

static bk_status npz_read(const format_call *call, value *out, err *e) {
    archive a = { .wanted = call->given[NAME] };
    bytes all = { 0 };
    bk_status status = source_open(call->c, call->path, &a.s, e);
    if (!status) status = source_read_all(&a.s, &all, e);
    a.data = all.data, a.n = all.count;
    if (!status) status = read_arrays(&a, out, e);
    source_close(&a.s);
    bytes_free(call->c, &all);
    return status;
}

const format_row format_npz = {
    .name = "npz",
    .saved = true,
    .doc =
        "bk.load_npz(path [, { name = \"x\" }]) -> { name = tensor, ... }, or with a name that tensor\n"
        "The arrays in a NumPy archive, as np.savez and np.savez_compressed write it; each as by bk.load_npy.\n\n"
        "A file that is cut off or damaged (checksums are verified), encrypted, or holds other things than arrays is "
        "an error that names it.",
    .options = { { "name", "the one array to read", OPTION_TEXT } },
    .read = npz_read,
};
