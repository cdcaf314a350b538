/* source.c - reading bytes. zlib inflates; its own reading of files is not used, since it passes over what follows a
 * gzip stream. */
#include "source.h"

#include "../base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { CHUNK = 1 << 20, BUFFER = 1 << 17, GZIP = 15 + 16, RAW = -15 };

static void *z_alloc(void *c, unsigned n, unsigned size) {
    return mem_sized_alloc(c, (size_t)n * size);
}

static void z_free(void *c, void *block) {
    mem_sized_free(c, block);
}

static bk_status start_inflating(source *s, int window, err *e) {
    z_stream *z = mem_zalloc(s->c, sizeof *z);
    if (!z) return err_nomem(e, sizeof *z);
    z->zalloc = z_alloc, z->zfree = z_free, z->opaque = s->c;
    if (inflateInit2(z, window) != Z_OK) {
        mem_free(s->c, z, sizeof *z);
        return err_nomem(e, CHUNK);
    }
    s->inflater = z;
    s->bytes = -1;
    return BK_OK;
}

/* ---- opening ---- */

static bk_status refill(source *s, err *e) {
    while (s->fd >= 0 && !s->left) {
        ssize_t n = read(s->fd, s->buffer, BUFFER);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return err_set(e, BK_EIO, "%s: cannot be read: %s", s->path, strerror(errno));
        s->at = s->buffer;
        s->left = (size_t)n;
        break;
    }
    return BK_OK;
}

bk_status source_open(ctx *c, const char *path, source *s, err *e) {
    size_t n = strlen(path);
    *s = (source){ .c = c, .fd = -1 };
    if (!n) return err_set(e, BK_EINVAL, "path: expected the name of a file, got an empty one");
    if (n + 4 > sizeof s->path)
        return err_set(e, BK_EINVAL, "%.100s...: the path has %zu bytes, expected at most %zu", path, n,
                       sizeof s->path - 4);
    memcpy(s->path, path, n + 1);
    err none = { 0 };
    s->fd = path_open(c, s->path, O_RDONLY, &none);
    if (s->fd < 0 && errno == ENOENT) { /* the same data, packed or unpacked */
        bool packed = n > 3 && strcmp(path + n - 3, ".gz") == 0;
        if (packed)
            s->path[n - 3] = 0;
        else
            memcpy(s->path + n, ".gz", 4);
        err_clear(&none);
        s->fd = path_open(c, s->path, O_RDONLY, &none);
        if (s->fd < 0 && errno == ENOENT) return err_set(e, BK_EIO, "%s: no such file, nor %s", path, s->path);
    }
    if (s->fd < 0) return err_set(e, none.status, "%s", none.text);
    struct stat st;
    if (fstat(s->fd, &st) != 0) return err_set(e, BK_EIO, "%s: %s", s->path, strerror(errno));
    if (!(s->buffer = mem_alloc(c, BUFFER))) return err_nomem(e, BUFFER);
    s->bytes = (int64_t)st.st_size;
    bk_status status = refill(s, e);
    if (status) return status;
    return s->left > 1 && s->at[0] == 0x1f && s->at[1] == 0x8b ? start_inflating(s, GZIP, e) : BK_OK;
}

bk_status source_open_part(const source *whole, const char *name, const unsigned char *data, size_t n, bool deflated,
                           uint32_t crc, source *s, err *e) {
    *s = (source){ .c = whole->c, .fd = -1, .at = data, .left = n, .bytes = (int64_t)n, .checked = true, .crc = crc };
    snprintf(s->path, sizeof s->path, "%.3800s: %.100s", whole->path, name);
    return deflated ? start_inflating(s, RAW, e) : BK_OK;
}

void source_close(source *s) {
    if (s->inflater) {
        inflateEnd(s->inflater);
        mem_free(s->c, s->inflater, sizeof(z_stream));
    }
    if (s->buffer) mem_free(s->c, s->buffer, BUFFER);
    if (s->c && s->fd >= 0) close(s->fd);
    *s = (source){ .fd = -1 };
}

/* ---- reading ---- */

/* Inflates up to n bytes; *got may be 0 though there is more to come. */
static bk_status inflate_some(source *s, unsigned char *to, unsigned n, unsigned *got, err *e) {
    z_stream *z = s->inflater;
    if (s->ended) { /* what follows: another stream of the same file, as `cat a.gz b.gz` makes it */
        if (s->fd < 0 || *s->at != 0x1f) return err_set(e, BK_EIO, "%s: bytes follow after the packed stream", s->path);
        inflateReset(z);
        s->ended = false;
    }
    const unsigned taken = s->left < BUFFER ? (unsigned)s->left : BUFFER;
    z->next_in = (unsigned char *)(uintptr_t)s->at, z->avail_in = taken;
    z->next_out = to, z->avail_out = n;
    const int r = inflate(z, Z_NO_FLUSH);
    s->at += taken - z->avail_in;
    s->left -= taken - z->avail_in;
    *got = n - z->avail_out;
    s->ended = r == Z_STREAM_END;
    if (r == Z_MEM_ERROR) return err_nomem(e, n);
    if (r == Z_OK || r == Z_STREAM_END || r == Z_BUF_ERROR) return BK_OK;
    return err_set(e, BK_EIO, "%s: cannot be read: %s", s->path, z->msg ? z->msg : "the packed stream is damaged");
}

/* Up to n bytes; *got < n at the end. */
static bk_status source_some(source *s, unsigned char *to, unsigned n, unsigned *got, err *e) {
    bk_status status = BK_OK;
    for (*got = 0; *got < n && !status;) {
        unsigned more = 0;
        if ((status = refill(s, e))) break;
        if (!s->left && (!s->inflater || s->ended)) break;
        if (!s->inflater) {
            more = s->left < n - *got ? (unsigned)s->left : n - *got;
            memcpy(to + *got, s->at, more);
            s->at += more;
            s->left -= more;
        } else {
            const bool dry = !s->left;
            status = inflate_some(s, to + *got, n - *got, &more, e);
            if (!status && dry && !more && !s->ended) {
                s->cut = true;
                break;
            }
        }
        if (s->checked) s->sum = (uint32_t)crc32(s->sum, to + *got, more);
        *got += more;
    }
    return status;
}

bk_status source_read(source *s, size_t want, bytes *out, err *e) {
    while (out->count < want) {
        if (ctx_poll(s->c, e)) return BK_EINTERRUPTED;
        if (out->count == out->capacity) {
            size_t grown = out->capacity < CHUNK ? CHUNK : out->capacity * 2;
            if (s->bytes >= 0 && (size_t)s->bytes + 1 < grown && (size_t)s->bytes + 1 > out->capacity)
                grown = (size_t)s->bytes + 1; /* + 1: sees the end without growing once more */
            if (grown > want) grown = want;
            void *p = mem_realloc(s->c, out->data, out->capacity, grown);
            if (!p) return err_set(e, BK_ENOMEM, "%s: out of memory for %zu bytes", s->path, grown);
            out->data = p;
            out->capacity = grown;
        }
        size_t room = out->capacity - out->count;
        unsigned n = room < CHUNK ? (unsigned)room : CHUNK, got;
        bk_status status = source_some(s, out->data + out->count, n, &got, e);
        out->count += got;
        if (status) return status;
        if (got < n) break;
    }
    return BK_OK;
}

bk_status source_read_all(source *s, bytes *out, err *e) {
    bk_status status = source_read(s, SIZE_MAX / 4, out, e);
    return status ? status : source_expect_end(s, e);
}

bk_status source_expect_end(source *s, err *e) {
    unsigned char next;
    unsigned got;
    bk_status status = source_some(s, &next, 1, &got, e);
    if (status) return status;
    if (got) return err_set(e, BK_EIO, "%s: bytes follow after the end of the data", s->path);
    if (s->cut) return err_set(e, BK_EIO, "%s: the packed stream breaks off before its checksum", s->path);
    if (s->checked && s->sum != s->crc) return err_set(e, BK_EIO, "%s: cannot be read: wrong checksum", s->path);
    return BK_OK;
}

const char *source_cut_text(const source *s) {
    return s->cut ? " (the packed stream breaks off)" : "";
}

void bytes_free(ctx *c, bytes *b) {
    mem_free(c, b->data, b->capacity);
    *b = (bytes){ 0 };
}
