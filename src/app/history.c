/* history.c - what was typed, in one file for all sessions: each appends its own inputs under a lock and takes over
 * what the others have added, so none is lost and a killed session has lost nothing. The file is libedit's: a cookie,
 * then an entry a line, in the encoding of vis(3). */
#include "repl.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HISTORY_SIZE = 5000, HISTORY_MOST = 2 * HISTORY_SIZE }; /* entries kept; those that make the file be cut */

static const char cookie[] = "_HiStOrY_V2_\n";
static off_t seen;       /* the bytes of the file that this session has read or written, */
static ino_t seen_inode; /* of which file */

bool history_user_path(char *out, size_t size, const char *variable, const char *below_home, const char *leaf) {
    const char *base = getenv(variable), *home = getenv("HOME");
    int n = -1;
    if (base && base[0] == '/')
        n = snprintf(out, size, "%s/bracket/%s", base, leaf);
    else if (home && *home)
        n = snprintf(out, size, "%s/%s/bracket/%s", home, below_home, leaf);
    if (n > 0 && (size_t)n < size) return true;
    out[0] = 0;
    return false;
}

static void make_folders(const char *path) {
    char part[4096];
    for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
        mkdir(part, 0700); /* one that exists already is what is wanted */
    }
}

/* ---- an entry as a line of the file ---- */

static char *encode(const char *text) { /* with its newline; NULL: out of memory */
    char *line = malloc(4 * strlen(text) + 2), *out = line;
    if (!line) return NULL;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '\\')
            *out++ = '\\', *out++ = '\\';
        else if (*c <= ' ' || *c == 127)
            out += snprintf(out, 5, "\\%03o", *c);
        else
            *out++ = (char)*c;
    }
    *out++ = '\n';
    *out = 0;
    return line;
}

static bool octal(const char *c) {
    return c[0] >= '0' && c[0] <= '3' && c[1] >= '0' && c[1] <= '7' && c[2] >= '0' && c[2] <= '7';
}

static void decode(char *line) { /* in place */
    char *out = line;
    for (const char *c = line; *c; c++) {
        if (c[0] == '\\' && octal(c + 1)) {
            *out++ = (char)((c[1] - '0') << 6 | (c[2] - '0') << 3 | (c[3] - '0'));
            c += 3;
        } else {
            if (c[0] == '\\' && c[1] == '\\') c++;
            *out++ = *c;
        }
    }
    *out = 0;
}

/* ---- the file ---- */

static FILE *open_locked(const char *path) {
    for (int tries = 0; tries < 10; tries++) {
        struct stat here, there;
        int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (fd < 0) return NULL;
        fchmod(fd, 0600);
        const bool known = flock(fd, LOCK_EX) == 0 && fstat(fd, &here) == 0 && stat(path, &there) == 0;
        if (known && here.st_ino == there.st_ino) {
            FILE *f = fdopen(fd, "a+");
            if (!f) close(fd);
            return f;
        }
        close(fd); /* another session has put a shorter file in its place */
    }
    return NULL;
}

static void take(session *s, const char *text) {
    HistEvent event;
    if (*text) history(s->history, &event, H_ENTER, text);
}

/* Takes over what the file holds from `seen` on; the number of entries. */
static int read_new(session *s, FILE *f) {
    struct stat st;
    char *line = NULL;
    size_t size = 0;
    int n = 0;
    if (fstat(fileno(f), &st) != 0) return 0;
    if (st.st_ino != seen_inode || st.st_size < seen) { /* a new file: what it begins with is known */
        const bool first = seen_inode == 0;
        seen_inode = st.st_ino;
        seen = first ? 0 : st.st_size;
    }
    if (fseeko(f, seen, SEEK_SET) != 0) return 0;
    for (ssize_t length; (length = getline(&line, &size, f)) > 0; seen += length) {
        if (line[length - 1] != '\n') break; /* half a line: its session died */
        if (seen == 0 && strcmp(line, cookie) == 0) continue;
        line[length - 1] = 0;
        decode(line);
        take(s, line);
        n++;
    }
    free(line);
    return n;
}

static void append(FILE *f, const char *text) {
    char *line = encode(text);
    if (!line) return;
    fseeko(f, 0, SEEK_END);
    if (ftello(f) == 0)
        fputs(cookie, f);
    else if (seen < ftello(f))
        fputc('\n', f); /* ends the half line */
    fputs(line, f);
    fflush(f);
    seen = ftello(f);
    free(line);
}

/* The newest entries in a file that takes the other one's place at once. */
static void cut(session *s) {
    char path[4110];
    HistEvent event;
    snprintf(path, sizeof path, "%s.%ld", s->history_path, (long)getpid());
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!f) {
        if (fd >= 0) close(fd);
        return;
    }
    fputs(cookie, f);
    for (int rc = history(s->history, &event, H_LAST); rc >= 0; rc = history(s->history, &event, H_PREV)) {
        char *line = encode(event.str);
        if (line) fputs(line, f);
        free(line);
    }
    struct stat st;
    bool whole = fflush(f) == 0 && !ferror(f) && fstat(fd, &st) == 0;
    if (fclose(f) == 0 && whole && rename(path, s->history_path) == 0) {
        seen = st.st_size;
        seen_inode = st.st_ino;
    } else
        unlink(path);
}

void history_open(session *s) {
    HistEvent event;
    history(s->history, &event, H_SETSIZE, HISTORY_SIZE);
    history(s->history, &event, H_SETUNIQUE, 1);
    if (!s->terminal ||
        !history_user_path(s->history_path, sizeof s->history_path, "XDG_STATE_HOME", ".local/state", "history"))
        return;
    make_folders(s->history_path);
    FILE *f = open_locked(s->history_path);
    if (!f) {
        s->history_path[0] = 0;
        return;
    }
    if (read_new(s, f) > HISTORY_MOST) cut(s);
    fclose(f);
}

void history_add(session *s, const char *text) {
    HistEvent event;
    char *copy = strdup(text);
    if (!copy) return;
    size_t n = strlen(copy);
    while (n && copy[n - 1] == '\n') copy[--n] = 0;
    FILE *f = n && s->history_path[0] ? open_locked(s->history_path) : NULL;
    if (f) read_new(s, f);
    const bool again = n && history(s->history, &event, H_FIRST) >= 0 && strcmp(event.str, copy) == 0;
    if (n && !again) take(s, copy);
    if (f && !again) append(f, copy);
    if (f) fclose(f);
    free(copy);
}
