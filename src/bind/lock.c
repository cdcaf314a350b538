/* lock.c - locks on files, and whether a process lives: what lua/bracket/_claim.lua makes claims of.
 * A lock is flock's: it is the open file's, ends with the process however that ends, and a child that inherits the
 * descriptor holds it too. Its holder may write into the file, and removes it when it lets go. */
#include "lock.h"
#include "../base/path.h"
#include "args.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char KIND[] = "bracket.lock";
enum { TEXT_MOST = 1000 };

typedef struct lock {
    ctx *c;
    int fd;
    char path[];
} lock;

static lock *check_lock(lua_State *L) {
    lock *l = luaL_checkudata(L, 1, KIND);
    if (l->fd < 0) luaL_error(L, "%s: the lock was let go of", l->path);
    return l;
}

int bind_lock_descriptor(lua_State *L, int index) {
    const lock *l = luaL_testudata(L, index, KIND);
    return l ? l->fd : -1;
}

static bool look(ctx *c, const char *path, struct stat *st) {
    path_place p;
    if (path_find(c, path, &p, NULL)) return false;
    const bool there = fstatat(p.dir, p.name, st, p.flags ? AT_SYMLINK_NOFOLLOW : 0) == 0;
    path_leave(&p);
    return there;
}

static bool is_file(const lock *l) { /* whether the path still leads to the open file */
    struct stat open_one, there;
    return fstat(l->fd, &open_one) == 0 && look(l->c, l->path, &there) && open_one.st_dev == there.st_dev &&
           open_one.st_ino == there.st_ino;
}

static bool unsupported(int why) {
    return why == ENOLCK || why == ENOSYS || why == EINVAL || why == ENOTSUP || why == EOPNOTSUPP;
}

/* lock(path [, what errors begin with]): a lock, and whether the file system has locks; or nil when another holds it.
 * The file is made where it is missing. */
static int take(lua_State *L) {
    const char *path = args_path(L, 1, "lock");
    const char *shown = lua_pushfstring(L, "%s%s", luaL_optstring(L, 2, ""), path);
    lock *l = lua_newuserdatauv(L, sizeof *l + strlen(path) + 1, 0);
    l->c = bind_ctx(L);
    l->fd = -1;
    strcpy(l->path, path);
    luaL_setmetatable(L, KIND);
    for (;;) {
        l->fd = path_open(l->c, path, O_RDWR | O_CREAT, NULL);
        if (l->fd < 0) return bind_raise_file(L, shown, "cannot be written", errno);
        const int why = flock(l->fd, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
        const bool locks = !unsupported(why);
        if ((!why || !locks) && is_file(l)) {
            lua_pushboolean(L, locks);
            return 2;
        }
        close(l->fd); /* held; or the holder removed it between open and flock: another file may have its name */
        l->fd = -1;
        if (why == EWOULDBLOCK) return 0;
        if (why && why != EINTR && locks) return bind_raise_file(L, shown, "cannot be locked", why);
    }
}

/* lock_held(path): whether one holds it; nil where the file system has no locks. It is looked at, not taken: a shared
 * lock for an instant. */
static int held(lua_State *L) {
    const char *path = args_path(L, 1, "lock_held");
    const int fd = path_open(bind_ctx(L), path, O_RDONLY, NULL);
    if (fd < 0) {
        lua_pushboolean(L, 0);
        return 1;
    }
    const int why = flock(fd, LOCK_SH | LOCK_NB) == 0 ? 0 : errno;
    close(fd);
    if (unsupported(why))
        lua_pushnil(L);
    else
        lua_pushboolean(L, why != 0);
    return 1;
}

static int lock_read(lua_State *L) { /* lock:read(): what stands in the file */
    const lock *l = check_lock(L);
    char text[TEXT_MOST];
    const ssize_t n = pread(l->fd, text, sizeof text, 0);
    lua_pushlstring(L, text, n > 0 ? (size_t)n : 0);
    return 1;
}

static int lock_write(lua_State *L) { /* lock:write(text): in place, since the lock is the open file's */
    const lock *l = check_lock(L);
    size_t n;
    const char *text = luaL_checklstring(L, 2, &n);
    if (n > TEXT_MOST) return luaL_error(L, "%s: text: more than %d bytes", l->path, (int)TEXT_MOST);
    if (ftruncate(l->fd, 0) != 0 || pwrite(l->fd, text, n, 0) != (ssize_t)n)
        return bind_raise_file(L, l->path, "cannot be written", errno);
    return 0;
}

static int lock_touch(lua_State *L) { /* lock:touch(): the file's time is now */
    futimens(check_lock(L)->fd, NULL);
    return 0;
}

static int lock_release(lua_State *L) { /* removed while it is held: nobody else's can have its name by then */
    lock *l = luaL_checkudata(L, 1, KIND);
    path_place p;
    if (l->fd >= 0 && is_file(l) && !path_find(l->c, l->path, &p, NULL)) {
        unlinkat(p.dir, p.name, 0);
        path_leave(&p);
    }
    if (l->fd >= 0) close(l->fd);
    l->fd = -1;
    return 0;
}

static int lock_leave(lua_State *L) { /* lock:leave(): the file stays, as its holder before left it */
    lock *l = luaL_checkudata(L, 1, KIND);
    if (l->fd >= 0) close(l->fd);
    l->fd = -1;
    return 0;
}

static int file_age(lua_State *L) { /* file_age(path): seconds since it was written or touched, or nil */
    struct stat st;
    struct timespec t;
    if (!look(bind_ctx(L), args_path(L, 1, "file_age"), &st)) return 0;
    clock_gettime(CLOCK_REALTIME, &t);
    lua_pushnumber(L, (double)(t.tv_sec - st.st_mtim.tv_sec) + 1e-9 * (double)(t.tv_nsec - st.st_mtim.tv_nsec));
    return 1;
}

/* Whether a process has ended though its id is still taken, until its parent asks how it ended. While one of its
 * threads is left it may still hold a lock. False where the system has no /proc to tell. */
static bool has_ended(pid_t id) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)id);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    const ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    const char *at = strrchr(text, ')'); /* "ID (NAME) STATE ...": words 3 and 20 are it and the threads */
    if (!at || (strncmp(at, ") Z", 3) != 0 && strncmp(at, ") X", 3) != 0)) return false;
    enum { STATE = 3, THREADS = 20 };
    at += 2;
    for (int k = STATE; k < THREADS && at; k++) at = strchr(at + 1, ' ');
    return at && atol(at) <= 1;
}

/* process(): this one's id; process("parent"): its starter's; process(id): whether that one lives, on this machine */
static int process(lua_State *L) {
    if (lua_isnoneornil(L, 1) || lua_type(L, 1) == LUA_TSTRING) {
        lua_pushinteger(L, lua_isnoneornil(L, 1) ? getpid() : getppid());
    } else {
        const pid_t id = (pid_t)luaL_checkinteger(L, 1);
        lua_pushboolean(L, (kill(id, 0) == 0 || errno == EPERM) && !has_ended(id));
    }
    return 1;
}

static int sleep_for(lua_State *L) { /* sleep(seconds), or until a signal or an interrupt comes */
    enum { PIECE = 20 }; /* ms; an interrupt from another thread wakes nobody */
    double left = luaL_checknumber(L, 1);
    for (int rc = 0; left > 0 && rc == 0; left -= 1e-3 * PIECE) {
        struct timespec t = { .tv_nsec = (long)(1e9 * fmin(left, 1e-3 * PIECE)) };
        bind_poll_now(L);
        rc = nanosleep(&t, NULL);
    }
    bind_poll_now(L);
    return 0;
}

void bind_lock_internal(lua_State *L) {
    static const luaL_Reg methods[] = { { "read", lock_read },       { "write", lock_write }, { "touch", lock_touch },
                                        { "release", lock_release }, { "leave", lock_leave }, { "__gc", lock_leave },
                                        { NULL, NULL } };
    static const bind_row rows[] = { { "lock", take, NULL },          { "lock_held", held, NULL },
                                     { "file_age", file_age, NULL },  { "process", process, NULL },
                                     { "sleep", sleep_for, NULL },    { NULL, NULL, NULL } };
    if (luaL_newmetatable(L, KIND)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    lua_pop(L, 1);
    bind_rows(L, rows);
}
