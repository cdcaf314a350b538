/* source.h - a data file being read: plain or gzip by its content, `x` for a missing `x.gz` and the
 * other way round. Memory follows the bytes that are really there, never a header's claim, and
 * every failure names the file. */
#ifndef DATA_SOURCE_H
#define DATA_SOURCE_H

#include "../base/ctx.h"

typedef struct source {
    ctx *c;
    void *file;       /* zlib's gzFile */
    int64_t bytes;    /* the size of a plain regular file; -1: not known */
    bool cut;         /* the last read ended because the gzip stream breaks off */
    char path[4000];  /* the name that was opened */
} source;

typedef struct bytes { /* caller frees with bytes_free */
    unsigned char *data;
    size_t count, capacity;
} bytes;

bk_status source_open(ctx *c, const char *path, source *s, err *e);
/* Reads until `out` holds `want` bytes or the file ends: out->count < want says so. out starts as { 0 } and
 * may be handed in again to go on. On failure out still holds what was read. */
bk_status source_read(source *s, size_t want, bytes *out, err *e);
/* BK_OK when nothing follows; also where gzip's checksum is verified. */
bk_status source_expect_end(source *s, err *e);
void source_close(source *s); /* s may be cleared */
void bytes_free(ctx *c, bytes *b);

/* " (the gzip stream breaks off)" or "", for messages about short files */
const char *source_cut_text(const source *s);

#endif
