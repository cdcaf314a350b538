/* path.c - looks paths up beneath the folders of an environment, or as they are where it has none. */
#include "path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef O_PATH
#define O_PATH O_RDONLY
#endif

typedef struct folder {
    int fd; /* -1: not there */
    char *real;
} folder;

typedef struct folders {
    int n;
    folder list[];
} folders;

static size_t folders_bytes(int n) {
    return sizeof(folders) + sizeof(folder) * (size_t)n;
}

bk_status path_confine(ctx *c, const char *const *names, err *e) {
    int n = 0;
    while (names && names[n]) n++;
    c->folders = mem_zalloc(c, folders_bytes(n));
    if (!c->folders) return err_nomem(e, folders_bytes(n));
    for (int i = 0; i < n; i++) {
        char real[PATH_MAX];
        folder *f = &c->folders->list[c->folders->n++];
        f->fd = realpath(names[i], real) ? open(real, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
        if (f->fd < 0) continue;
        if (!(f->real = mem_alloc(c, strlen(real) + 1))) return err_nomem(e, strlen(real) + 1);
        strcpy(f->real, real);
    }
    return BK_OK;
}

void path_release(ctx *c) {
    if (!c->folders) return;
    for (int i = 0; i < c->folders->n; i++) {
        folder *f = &c->folders->list[i];
        if (f->fd >= 0) close(f->fd);
        if (f->real) mem_free(c, f->real, strlen(f->real) + 1);
    }
    mem_free(c, c->folders, folders_bytes(c->folders->n));
    c->folders = NULL;
}

/* The path without links and dots, of a file to be made too: its folder decides. */
static bool resolve(const char *path, char *real) {
    char parent[PATH_MAX];
    struct stat st;
    if (realpath(path, real)) return true;
    if (strlen(path) >= sizeof parent || lstat(path, &st) == 0) return false; /* a link to what is not there */
    strcpy(parent, path);
    char *slash = strrchr(parent, '/');
    const char *leaf = slash ? path + (slash - parent) + 1 : path;
    if (slash) parent[slash == parent ? 1 : slash - parent] = 0;
    if (!*leaf || strcmp(leaf, ".") == 0 || strcmp(leaf, "..") == 0 || !realpath(slash ? parent : ".", real))
        return false;
    const size_t n = strlen(real);
    if (n + 1 + strlen(leaf) >= PATH_MAX) return false;
    if (real[n - 1] != '/') strcat(real, "/");
    strcat(real, leaf);
    return true;
}

/* What of the path lies beneath the folder, or NULL. */
static const char *beneath(const char *real, const folder *f) {
    const size_t n = f->fd >= 0 ? strlen(f->real) : 0;
    if (n == 0 || strncmp(real, f->real, n) != 0) return NULL;
    if (f->real[n - 1] == '/') return real + n;
    return real[n] == 0 ? real + n : real[n] == '/' ? real + n + 1 : NULL;
}

/* Goes down to the last name; the descriptor of the folder that holds it, or -1. */
static int descend(int from, char **rest) {
    int fd = openat(from, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (char *slash; fd >= 0 && (slash = strchr(*rest, '/')); *rest = slash + 1) {
        *slash = 0;
        const int next = openat(fd, *rest, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        close(fd);
        fd = next;
    }
    return fd;
}

bk_status path_find(ctx *c, const char *path, path_place *p, err *e) {
    *p = (path_place){ .dir = AT_FDCWD, .name = path };
    if (!c->folders) return BK_OK;
    const bool known = resolve(path, p->real);
    for (int i = 0; known && i < c->folders->n; i++) {
        const folder *f = &c->folders->list[i];
        const char *rest = beneath(p->real, f);
        if (!rest) continue;
        char *name = p->real + (rest - p->real);
        p->dir = descend(f->fd, &name);
        p->name = *name ? name : ".";
        p->flags = O_NOFOLLOW;
        if (p->dir >= 0) return BK_OK;
        return err_set(e, BK_EIO, "%s: %s", path, strerror(errno));
    }
    errno = EACCES;
    return err_set(e, BK_ERUNTIME, "restricted: %s is outside the folders this environment may use", path);
}

void path_leave(path_place *p) {
    const int why = errno;
    if (p->dir >= 0) close(p->dir);
    p->dir = AT_FDCWD;
    errno = why;
}

int path_open(ctx *c, const char *path, int flags, err *e) {
    path_place p;
    struct stat st;
    int fd;
    if (path_find(c, path, &p, e)) return -1;
    do fd = openat(p.dir, p.name, flags | p.flags | O_CLOEXEC | O_NONBLOCK, 0666);
    while (fd < 0 && errno == EINTR);
    path_leave(&p);
    if (fd < 0 || fstat(fd, &st) != 0)
        err_set(e, BK_EIO, "%s: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        err_set(e, BK_EIO, "%s: is %s, expected a file", path,
                S_ISDIR(st.st_mode) ? "a directory" : "a pipe or a device");
    else
        return fd;
    const int why = fd < 0 ? errno : EINVAL;
    if (fd >= 0) close(fd);
    errno = why;
    return -1;
}

DIR *path_open_folder(ctx *c, const char *path) {
    path_place p;
    if (path_find(c, path, &p, NULL)) return NULL;
    const int fd = openat(p.dir, p.name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | p.flags);
    path_leave(&p);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (fd >= 0 && !dir) close(fd);
    return dir;
}

int path_links(const ctx *c) {
    return c->folders ? AT_SYMLINK_NOFOLLOW : 0;
}
