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
    if (strlen(path) >= sizeof s->path)
        return err_set(e, BK_EINVAL, "%.100s...: the path is longer than %zu bytes", path, sizeof s->path - 1);
    strcpy(s->path, path);
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return err_set(e, BK_EIO, "%s: exists and is not a regular file", path);
    /* a new name, not mkstemp: that would make the file private */
    for (int attempt = 0; s->fd < 0 && attempt < 100; attempt++) {
        snprintf(s->temporary, sizeof s->temporary, "%s.tmp-%ld-%d", path, (long)getpid(), attempt);
        s->fd = open(s->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (s->fd < 0 && errno != EEXIST && errno != EINTR) break;
    }
    return s->fd < 0 ? failed(s, e) : BK_OK;
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
static void sync_folder(const char *path) {
    char folder[sizeof((sink *)0)->path];
    strcpy(folder, path);
    char *slash = strrchr(folder, '/');
    if (slash) slash[slash == folder] = 0;
    const int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    fsync(fd);
    close(fd);
}

bk_status sink_close(sink *s, bk_status status, err *e) {
    if (s->fd < 0) return status;
    if (!status && !s->quick && fsync(s->fd) != 0 && errno != EINVAL && errno != ENOTSUP) status = failed(s, e);
    if (close(s->fd) != 0 && !status) status = failed(s, e);
    if (!status && rename(s->temporary, s->path) != 0) status = failed(s, e);
    if (status)
        unlink(s->temporary);
    else if (!s->quick)
        sync_folder(s->path);
    return status;
}
