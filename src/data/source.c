/* source.c - files read through zlib, which passes plain files on unchanged. */
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { CHUNK = 1 << 20 };

static int source_try(source *s) {
    int fd;
    do fd = open(s->path, O_RDONLY | O_CLOEXEC);
    while (fd < 0 && errno == EINTR);
    return fd;
}

bk_status source_open(ctx *c, const char *path, source *s, err *e) {
    size_t n = strlen(path);
    memset(s, 0, sizeof *s);
    s->c = c;
    if (n + 4 > sizeof s->path)
        return err_set(e, BK_EINVAL, "%.100s...: the path has %zu bytes, expected at most %zu", path, n,
                       sizeof s->path - 4);
    memcpy(s->path, path, n + 1);
    int fd = source_try(s);
    if (fd < 0 && errno == ENOENT && n > 0) { /* the same data, packed or unpacked */
        bool packed = n > 3 && strcmp(path + n - 3, ".gz") == 0;
        if (packed) s->path[n - 3] = 0;
        else memcpy(s->path + n, ".gz", 4);
        fd = source_try(s);
        if (fd < 0 && errno == ENOENT)
            return err_set(e, BK_EIO, "%s: no such file, nor %s", path, s->path);
    }
    if (fd < 0) return err_set(e, BK_EIO, "%s: %s", s->path, strerror(errno));
    struct stat st;
    if (fstat(fd, &st) != 0 || S_ISDIR(st.st_mode)) {
        close(fd);
        return err_set(e, BK_EIO, "%s: is a directory, expected a file", s->path);
    }
    gzFile f = gzdopen(fd, "rb");
    if (!f) {
        close(fd);
        return err_nomem(e, CHUNK);
    }
    gzbuffer(f, 1 << 17);
    s->file = f;
    s->bytes = gzdirect(f) && S_ISREG(st.st_mode) ? (int64_t)st.st_size : -1;
    return BK_OK;
}

/* Up to n bytes; *got < n at the end of the file. */
static bk_status source_some(source *s, void *to, unsigned n, unsigned *got, err *e) {
    *got = 0;
    while (*got < n) {
        errno = 0;
        int r = gzread(s->file, (char *)to + *got, n - *got);
        int code = Z_OK, why = errno;
        const char *text = r > 0 ? "" : gzerror(s->file, &code);
        if (r > 0) {
            *got += (unsigned)r;
            continue;
        }
        if (code == Z_BUF_ERROR) s->cut = true;
        if (r == 0 && (code == Z_OK || code == Z_BUF_ERROR || code == Z_STREAM_END)) return BK_OK;
        if (code == Z_ERRNO) text = strerror(why);
        return err_set(e, BK_EIO, "%s: cannot be read: %s", s->path, text);
    }
    return BK_OK;
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

bk_status source_expect_end(source *s, err *e) {
    char next;
    unsigned got;
    bk_status status = source_some(s, &next, 1, &got, e);
    if (status) return status;
    if (got) return err_set(e, BK_EIO, "%s: bytes follow after the end of the data", s->path);
    if (s->cut) return err_set(e, BK_EIO, "%s: the gzip stream breaks off before its checksum", s->path);
    return BK_OK;
}

const char *source_cut_text(const source *s) {
    return s->cut ? " (the gzip stream breaks off)" : "";
}

void source_close(source *s) {
    if (s->file) gzclose(s->file);
    s->file = NULL;
}

void bytes_free(ctx *c, bytes *b) {
    mem_free(c, b->data, b->capacity);
    *b = (bytes){ 0 };
}
