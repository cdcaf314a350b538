/* source.h - bytes being read: a regular file, plain or gzip by its content, `x` for a missing `x.gz` and the other way
 * round; or a part of one that lies in memory. Memory follows the bytes that are really there, never a header's claim,
 * and every failure names the file. */
#ifndef DATA_SOURCE_H
#define DATA_SOURCE_H

#include "../base/ctx.h"

typedef struct source {
    ctx *c;
    int fd;                  /* -1: none, the bytes lie in memory */
    unsigned char *buffer;   /* of what fd gives */
    const unsigned char *at; /* bytes not used yet ... */
    size_t left;             /* ... and how many */
    void *inflater;          /* zlib's z_stream of packed bytes, else NULL */
    bool ended;              /* the packed stream is through */
    int64_t bytes;           /* how many there are in all; -1: not known, packed */
    bool cut;                /* the last read ended because the packed stream breaks off */
    bool checked;            /* a part has a checksum: crc when all is read */
    uint32_t sum, crc;
    char path[4000]; /* the name that was opened */
} source;

typedef struct bytes { /* caller frees with bytes_free */
    unsigned char *data;
    size_t count, capacity;
} bytes;

bk_status source_open(ctx *c, const char *path, source *s, err *e);
/* n bytes inside another source's data, which must outlive it; deflated: packed without gzip's header. */
bk_status source_open_part(const source *whole, const char *name, const unsigned char *data, size_t n, bool deflated,
                           uint32_t crc, source *s, err *e);
/* Reads until `out` holds `want` bytes or the source ends: out->count < want says so. out starts as { 0 } and
 * may be handed in again to go on. On failure out still holds what was read. */
bk_status source_read(source *s, size_t want, bytes *out, err *e);
bk_status source_read_all(source *s, bytes *out, err *e);
/* BK_OK when nothing follows; also where a checksum is verified. */
bk_status source_expect_end(source *s, err *e);
void source_close(source *s); /* s may be cleared */
void bytes_free(ctx *c, bytes *b);

/* " (the packed stream breaks off)" or "", for messages about short files */
const char *source_cut_text(const source *s);

#endif
