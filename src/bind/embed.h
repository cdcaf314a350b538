/* embed.h - lua/bracket as bytes inside the library, made by the Makefile (build/gen/embed.c). */
#ifndef BIND_EMBED_H
#define BIND_EMBED_H

#include <stddef.h>

typedef struct embed_file {
    const char *path; /* "bracket/room/name.lua", "bracket/guide/name.md" */
    const unsigned char *bytes;
    size_t size;
} embed_file;

extern const embed_file embed_files[]; /* sorted by path, ended by a NULL path */

#endif
