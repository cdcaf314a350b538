/* sink.h - a file being written: it appears whole or not at all. It is written beside its path under another name, then
 * renamed; an older file of that name stays until then. */
#ifndef DATA_SINK_H
#define DATA_SINK_H

#include "../base/path.h"

typedef struct sink {
    ctx *c;
    int fd;
    bool quick; /* the disk gets it in its own time: set after sink_open, for what is soon written again */
    path_place at; /* where the path leads */
    char path[4001], temporary[4200]; /* the latter beside at.name */
} sink;

bk_status sink_open(ctx *c, const char *path, sink *s, err *e);
bk_status sink_write(sink *s, const void *p, size_t n, err *e);
/* Ends what sink_open began: puts the file in place if `status`, of the work so far, is BK_OK and the bytes reach the
 * disk, else removes it. Returns what came of it. */
bk_status sink_close(sink *s, bk_status status, err *e);

#endif
