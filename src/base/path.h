/* path.h - the one way to files: every path that a call names is looked up here. An environment may be confined to
 * folders: then a path leads to a place beneath one of them, from whose descriptor the way is gone name by name without
 * following a link, so that nothing leads outside, whatever is put there meanwhile. */
#ifndef BASE_PATH_H
#define BASE_PATH_H

#include "ctx.h"
#include <dirent.h>
#include <limits.h>

/* For openat and its kin: name beneath dir, with flags. */
typedef struct path_place {
    int dir;   /* AT_FDCWD: the name is the path */
    int flags; /* O_NOFOLLOW where the environment is confined: the links have been followed */
    const char *name;
    char real[PATH_MAX];
} path_place;

/* Confines c to the folders of a NULL-ended list; NULL: to none. Such as are not there are left out. */
bk_status path_confine(ctx *c, const char *const *folders, err *e);
void path_release(ctx *c);

/* BK_ERUNTIME for a path that leads outside; path must outlive p. path_leave after BK_OK. */
bk_status path_find(ctx *c, const char *path, path_place *p, err *e);
void path_leave(path_place *p);

/* A descriptor of a regular file, which is not waited for, or -1 with errno and a text in e. */
int path_open(ctx *c, const char *path, int flags, err *e);

/* A folder to be read, or NULL. What its entries are, fstatat tells with path_links(c): a confined environment is not
 * told where links lead. */
DIR *path_open_folder(ctx *c, const char *path);
int path_links(const ctx *c);

#endif
