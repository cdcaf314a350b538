/* sink.c - files that appear whole or not at all. */
#include "sink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 1 << 22 };

static bk_status failed(const sink *s, err *e) {
    return err_set(e, BK_EIO, "%s: cannot be written: %s", s->path, strerror(errno));
}

bk_status sink_open(ctx *c, const char *path, sink *s, err *e) {
    struct stat st;
    s->c = c;
    s->fd = -1;
    s->quick = false;
    if (!*path) return err_set(e, BK_EINVAL, "path: expected the name of a file, got an empty one");
    if (strlen(path) >= sizeof s->path)
        return err_set(e, BK_EINVAL, "%.100s...: the path is longer than %zu bytes", path, sizeof s->path - 1);
    strcpy(s->path, path);
    bk_status status = path_find(c, s->path, &s->at, e);
    if (status) return status;
    if (fstatat(s->at.dir, s->at.name, &st, s->at.flags ? AT_SYMLINK_NOFOLLOW : 0) == 0 && !S_ISREG(st.st_mode)) {
        path_leave(&s->at);
        return err_set(e, BK_EIO, "%s: exists and is not a regular file", path);
    }
    /* a new name, not mkstemp: that would make the file private */
    for (int attempt = 0; s->fd < 0 && attempt < 100; attempt++) {
        snprintf(s->temporary, sizeof s->temporary, "%s.tmp-%ld-%d", s->at.name, (long)getpid(), attempt);
        s->fd = openat(s->at.dir, s->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (s->fd < 0 && errno != EEXIST && errno != EINTR) break;
    }
    if (s->fd >= 0) return BK_OK;
    path_leave(&s->at);
    return failed(s, e);
}

bk_status sink_write(sink *s, const void *p, size_t n, err *e) {
    for (const char *from = p; n > 0;) {
        if (ctx_poll(s->c, e)) return BK_EINTERRUPTED;
        ssize_t done = write(s->fd, from, n < CHUNK ? n : CHUNK);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return failed(s, e);
        from += done;
        n -= (size_t)done;
    }
    return BK_OK;
}

/* The new name reaches the disk with its folder. Where that cannot be asked for, the file is in place all the same. */
static void sync_folder(const path_place *at) {
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", at->name);
    char *slash = strrchr(folder, '/');
    if (slash) slash[slash == folder] = 0;
    const int fd = openat(at->dir, slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    fsync(fd);
    close(fd);
}

bk_status sink_close(sink *s, bk_status status, err *e) {
    if (s->fd < 0) return status;
    if (!status && !s->quick && fsync(s->fd) != 0 && errno != EINVAL && errno != ENOTSUP) status = failed(s, e);
    if (close(s->fd) != 0 && !status) status = failed(s, e);
    if (!status && renameat(s->at.dir, s->temporary, s->at.dir, s->at.name) != 0) status = failed(s, e);
    if (status)
        unlinkat(s->at.dir, s->temporary, 0);
    else if (!s->quick)
        sync_folder(&s->at);
    path_leave(&s->at);
    return status;
}
