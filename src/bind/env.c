/* env.c - open, close, run, interrupt: the public header's functions.
 * Every Lua call is protected, so nothing a script does reaches the host but a status.
 * An interrupt is a flag (polled by kernels) and a hook on the running coroutine; without
 * one, no hook is set and Lua runs at full speed (a permanent one costs a factor of 2). */
#include "env.h"

#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { STEP_CHUNK = 1000, GRACE_MS = 60, GRACE_COUNT = 10 };

struct bk_env {
    ctx *c;
    lua_State *L;
    _Atomic(lua_State *) running; /* the coroutine in control; NULL: no script runs */
    atomic_int hooking;           /* bk_interrupt calls now between reading `running` and setting its hook */
    int depth;                    /* nested env_call */
    bool delivered;               /* this run's interrupt became an error */
    int64_t deadline;             /* end of the grace after it, ms */
    uint64_t step_limit, steps;
    int step_chunk;
    bool exceeded;
    size_t record_bytes; /* of Lua's call records; 0: not known yet */
    bool probing;
    bool restricted;
    int folders_n;
    char **folders; /* real paths; "" for one that was not there */
    err last;       /* the last failure raised by a binding */
    char *error;    /* bk_error's text, or NULL: error_short */
    size_t error_bytes;
    char error_short[256];
};

/* Lua calls a finalizer once, and the call itself needs a call record: were it refused for want of memory, what the
 * userdata owns would be lost for good. So records may overdraw; the Lua stack, which may not, bounds how many there
 * are. */
static void *alloc_call_record(ctx *c, size_t bytes) {
    size_t limit = c->limit;
    int64_t fail_at = atomic_exchange(&c->fail_at, -1);
    c->limit = 0;
    void *p = mem_realloc(c, NULL, 0, bytes);
    c->limit = limit;
    atomic_store(&c->fail_at, fail_at);
    return p;
}

/* Returns when no other thread is setting a hook. lua_sethook walks the call records of the coroutine and marks those
 * of Lua functions, so meanwhile the owner must not free a record, nor give its place a use that a mark would spoil:
 * the one such use is lua_pcallk's with a continuation. A read-modify-write, so that either the interrupter's own
 * comes first and is waited for, or it sees all that was done before this. */
static void await_interrupter(bk_env *env) {
    while (atomic_fetch_add(&env->hooking, 0)) sched_yield();
}

static void *env_alloc(void *self, void *p, size_t old_bytes, size_t new_bytes) {
    bk_env *env = self;
    if (p && new_bytes == 0 && old_bytes == env->record_bytes) await_interrupter(env);
    void *q = mem_realloc(env->c, p, p ? old_bytes : 0, new_bytes);
    if (p || new_bytes == 0) return q;
    if (env->probing) env->record_bytes = new_bytes;
    if (!q && old_bytes == 0 && new_bytes == env->record_bytes) q = alloc_call_record(env->c, new_bytes);
    return q;
}

static int probe(lua_State *L) {
    (void)L;
    return 0;
}

/* The first call in a fresh state allocates one call record and nothing else: its size is learnt from that. */
static bool learn_record_size(bk_env *env) {
    lua_pushcfunction(env->L, probe);
    env->probing = true;
    int rc = lua_pcall(env->L, 0, 0, 0);
    env->probing = false;
    return rc == LUA_OK;
}

bk_env *env_of(lua_State *L) {
    void *self;
    return lua_getallocf(L, &self) == env_alloc ? self : NULL;
}

ctx *env_ctx(bk_env *env) {
    return env->c;
}

bool env_restricted(lua_State *L) {
    bk_env *env = env_of(L);
    return env && env->restricted;
}

/* ---- errors ---- */

bk_status env_fail(bk_env *env, bk_status status, const char *text) {
    size_t bytes = strlen(text) + 1;
    if (bytes > env->error_bytes) {
        char *larger = mem_realloc(env->c, env->error, env->error_bytes, bytes);
        if (!larger) { /* the head of the text must do */
            mem_free(env->c, env->error, env->error_bytes);
            env->error_bytes = 0;
            bytes = bytes < sizeof env->error_short ? bytes : sizeof env->error_short;
            memcpy(env->error_short, text, bytes - 1);
            env->error_short[bytes - 1] = 0;
        } else
            env->error_bytes = bytes;
        env->error = larger;
    }
    if (env->error) memmove(env->error, text, bytes);
    return status;
}

BK_API const char *bk_error(bk_env *env) {
    if (!env) return "";
    return env->error ? env->error : env->error_short;
}

void env_raised(bk_env *env, const err *e) {
    env->last = *e;
}

static int message_handler(lua_State *L) {
    const char *text = lua_tostring(L, 1);
    if (!text) {
        if (luaL_callmeta(L, 1, "__tostring") && lua_type(L, -1) == LUA_TSTRING) return 1;
        text = lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
    }
    luaL_traceback(L, L, text, 1);
    return 1;
}

/* ---- interrupts and the step limit ---- */

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void run_hook(lua_State *L, lua_Debug *ar);

/* The hook a coroutine needs now, given what happened in this run. */
static void arm(lua_State *L, bk_env *env) {
    bool interrupted;
    do {
        interrupted = atomic_load(&env->c->interrupted);
        int count = interrupted || env->exceeded ? 1
                    : env->delivered             ? GRACE_COUNT
                    : env->step_limit            ? env->step_chunk
                                                 : 0;
        if (count)
            lua_sethook(L, run_hook, LUA_MASKCOUNT, count);
        else if (lua_gethook(L) == run_hook)
            lua_sethook(L, NULL, 0, 0);
    } while (!interrupted && atomic_load(&env->c->interrupted)); /* it came meanwhile */
}

void env_delivered(lua_State *L, bk_env *env) {
    atomic_store(&env->c->interrupted, 0);
    if (!env->delivered) env->deadline = now_ms() + GRACE_MS;
    env->delivered = true;
    arm(L, env);
}

static void run_hook(lua_State *L, lua_Debug *ar) {
    bk_env *env = env_of(L);
    if (atomic_load(&env->c->interrupted)) {
        env_delivered(L, env);
        luaL_error(L, "interrupted");
    }
    if (env->delivered) {
        if (now_ms() < env->deadline) return;
        lua_sethook(L, run_hook, LUA_MASKCOUNT, 1);
        luaL_error(L, "interrupted");
    }
    if (env->step_limit && (env->exceeded || ar->event == LUA_HOOKCOUNT)) {
        env->steps += (uint64_t)lua_gethookcount(L);
        if (env->steps < env->step_limit) return;
        env->exceeded = true;
        lua_sethook(L, run_hook, LUA_MASKCOUNT, 1);
        luaL_error(L, "step limit of %I instructions reached", (LUAI_UACINT)env->step_limit);
    }
    arm(L, env);
}

/* Async-signal-safe: atomics, and lua_sethook, which Lua allows in a signal handler of the same thread. From another
 * thread it is a race that Lua's manual does not allow; what makes it sound is `hooking`, which keeps the owner from
 * letting go of the coroutine (set_running) and of its call records (await_interrupter) meanwhile. The fields that
 * both may write, the hook and the marks, are words that either may set last: arm() looks again. */
BK_API void bk_interrupt(bk_env *env) {
    if (!env) return;
    atomic_fetch_add(&env->hooking, 1);
    lua_State *L = atomic_load(&env->running);
    if (L) {
        atomic_store(&env->c->interrupted, 1);
        lua_sethook(L, run_hook, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
    }
    atomic_fetch_sub(&env->hooking, 1);
}

static void set_running(bk_env *env, lua_State *L) {
    atomic_store(&env->running, L);
    await_interrupter(env);
}

bk_status env_call(bk_env *env, int nargs, int nresults) {
    lua_State *L = env->L, *previous = atomic_load(&env->running);
    int base = lua_gettop(L) - nargs; /* the function's place */
    if (!lua_checkstack(L, 10)) {
        lua_settop(L, base - 1);
        return env_fail(env, BK_ENOMEM, "out of memory: the Lua stack is full");
    }
    lua_pushcfunction(L, message_handler);
    lua_insert(L, base);
    if (env->depth++ == 0) {
        atomic_store(&env->c->interrupted, 0);
        env->delivered = env->exceeded = false;
        env->steps = 0;
        err_clear(&env->last);
        if (env->step_limit) arm(L, env);
    }
    set_running(env, L);
    int rc = lua_pcall(L, nargs, nresults, base);
    set_running(env, previous);
    bool interrupted = env->delivered, exceeded = env->exceeded;
    if (--env->depth == 0) {
        atomic_store(&env->c->interrupted, 0);
        env->delivered = env->exceeded = false;
        if (lua_gethook(L) == run_hook) lua_sethook(L, NULL, 0, 0);
    }
    lua_remove(L, base);
    if (rc == LUA_OK) return BK_OK;
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "(error without a text)";
    bk_status status = BK_ERUNTIME;
    if (interrupted)
        status = BK_EINTERRUPTED;
    else if (exceeded)
        status = BK_ELIMIT;
    else if (rc == LUA_ERRMEM || strstr(text, "not enough memory"))
        status = BK_ENOMEM;
    else if (env->last.status && strstr(text, env->last.text))
        status = env->last.status;
    env_fail(env, status, text);
    lua_pop(L, 1);
    return status;
}

/* ---- coroutine.resume and wrap that tell who runs ---- */

/* Resumes co with the nargs values on top of L; the number of results pushed on L, or -1 and an error. */
static int resume(lua_State *L, lua_State *co, int nargs) {
    bk_env *env = env_of(L);
    bool watched = atomic_load(&env->running) != NULL; /* not in the host's own calls */
    int n = 0;
    if (!lua_checkstack(co, nargs)) {
        lua_pushliteral(L, "too many arguments to resume");
        return -1;
    }
    lua_xmove(L, co, nargs);
    if (watched) {
        arm(co, env);
        set_running(env, co);
        if (atomic_load(&env->c->interrupted)) arm(co, env); /* it came before the line above, for L */
    }
    int rc = lua_resume(co, L, nargs, &n);
    if (watched) set_running(env, L);
    if (env->delivered || atomic_load(&env->c->interrupted)) arm(L, env);
    if (rc == LUA_OK || rc == LUA_YIELD) {
        if (lua_checkstack(L, n + 1)) {
            lua_xmove(co, L, n);
            return n;
        }
        lua_pop(co, n);
        lua_pushliteral(L, "too many results to resume");
        return -1;
    }
    lua_xmove(co, L, 1);
    return -1;
}

static int co_resume(lua_State *L) {
    lua_State *co = lua_tothread(L, 1);
    luaL_argexpected(L, co, 1, "coroutine");
    int n = resume(L, co, lua_gettop(L) - 1);
    lua_pushboolean(L, n >= 0);
    lua_insert(L, n >= 0 ? -(n + 1) : -2);
    return n >= 0 ? n + 1 : 2;
}

static int co_wrapped(lua_State *L) {
    lua_State *co = lua_tothread(L, lua_upvalueindex(1));
    int n = resume(L, co, lua_gettop(L));
    if (n >= 0) return n;
    int rc = lua_status(co);
    if (rc != LUA_OK && rc != LUA_YIELD) { /* died: run its pending to-be-closed variables */
        rc = lua_resetthread(co);
        if (lua_gettop(co) > 0) lua_xmove(co, L, 1);
    }
    if (rc != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
        luaL_where(L, 1);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    return lua_error(L);
}

static int co_wrap(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_State *co = lua_newthread(L);
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    lua_pushcclosure(L, co_wrapped, 1);
    return 1;
}

/* ---- pcall and xpcall, as in lua(1), but never while a hook is being set ---- */

static int protected_end(lua_State *L, int rc, lua_KContext extra) {
    if (rc == LUA_OK || rc == LUA_YIELD) return lua_gettop(L) - (int)extra;
    lua_pushboolean(L, 0);
    lua_pushvalue(L, -2);
    return 2;
}

static int safe_pcall(lua_State *L) { /* function, arguments */
    luaL_checkany(L, 1);
    lua_pushboolean(L, 1);
    lua_insert(L, 1);
    await_interrupter(env_of(L));
    return protected_end(L, lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, protected_end), 0);
}

static int safe_xpcall(lua_State *L) { /* function, handler, arguments */
    int n = lua_gettop(L);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_pushboolean(L, 1);
    lua_pushvalue(L, 1);
    lua_rotate(L, 3, 2); /* function, handler, true, function, arguments */
    await_interrupter(env_of(L));
    return protected_end(L, lua_pcallk(L, n - 2, LUA_MULTRET, 2, 2, protected_end), 2);
}

/* ---- restricted mode ---- */

static bool path_inside(const char *path, const char *folder) {
    size_t n = strlen(folder);
    if (n == 0) return false;
    return strncmp(path, folder, n) == 0 && (path[n] == 0 || path[n] == '/' || folder[n - 1] == '/');
}

void env_check_path(lua_State *L, const char *path) {
    bk_env *env = env_of(L);
    if (!env || !env->restricted) return;
    char real[PATH_MAX], parent[PATH_MAX];
    struct stat st;
    bool known = realpath(path, real) != NULL;
    if (!known && strlen(path) < sizeof parent && lstat(path, &st) != 0) { /* a file to be made: its folder decides */
        strcpy(parent, path);
        char *slash = strrchr(parent, '/');
        const char *leaf = slash ? path + (slash - parent) + 1 : path;
        if (slash) parent[slash == parent ? 1 : slash - parent] = 0;
        known = strcmp(leaf, "..") != 0 && realpath(slash ? parent : ".", real) != NULL;
    }
    for (int i = 0; known && i < env->folders_n; i++)
        if (path_inside(real, env->folders[i])) return;
    luaL_error(L, "restricted: %s is outside the folders this environment may use", path);
}

static int safe_load(lua_State *L) { /* load(chunk, name, mode, env): upvalue 1, text only */
    bool with_env = lua_gettop(L) >= 4;
    lua_settop(L, 4);
    lua_pushliteral(L, "t");
    lua_replace(L, 3);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    if (!with_env) lua_settop(L, 4);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

static int safe_loadfile(lua_State *L) {
    const char *path = luaL_checkstring(L, 1);
    bool with_env = !lua_isnone(L, 3);
    env_check_path(L, path);
    if (luaL_loadfilex(L, path, "t") != LUA_OK) {
        luaL_pushfail(L);
        lua_insert(L, -2);
        return 2;
    }
    if (with_env) {
        lua_pushvalue(L, 3);
        if (!lua_setupvalue(L, -2, 1)) lua_pop(L, 1);
    }
    return 1;
}

static int safe_dofile(lua_State *L) {
    const char *path = luaL_checkstring(L, 1);
    env_check_path(L, path);
    lua_settop(L, 1);
    if (luaL_loadfilex(L, path, "t") != LUA_OK) return lua_error(L);
    lua_call(L, 0, LUA_MULTRET);
    return lua_gettop(L) - 1;
}

static int safe_require(lua_State *L) { /* without `package`: what is loaded, nothing else */
    const char *name = luaL_checkstring(L, 1);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    if (lua_getfield(L, -1, name) == LUA_TNIL) return luaL_error(L, "restricted: module '%s' is not available", name);
    return 1;
}

static void open_restricted(lua_State *L) {
    static const luaL_Reg libs[] = { { LUA_GNAME, luaopen_base },       { LUA_COLIBNAME, luaopen_coroutine },
                                     { LUA_TABLIBNAME, luaopen_table }, { LUA_STRLIBNAME, luaopen_string },
                                     { LUA_MATHLIBNAME, luaopen_math }, { LUA_UTF8LIBNAME, luaopen_utf8 } };
    for (size_t i = 0; i < sizeof libs / sizeof *libs; i++) {
        luaL_requiref(L, libs[i].name, libs[i].func, 1);
        lua_pop(L, 1);
    }
    lua_getglobal(L, "load");
    lua_pushcclosure(L, safe_load, 1);
    lua_setglobal(L, "load");
    lua_register(L, "loadfile", safe_loadfile);
    lua_register(L, "dofile", safe_dofile);
    lua_register(L, "require", safe_require);
    lua_getglobal(L, LUA_STRLIBNAME);
    lua_pushnil(L);
    lua_setfield(L, -2, "dump");
    lua_pop(L, 1);
}

/* ---- open and close ---- */

typedef struct open_args {
    bk_env *env;
    bool no_environment;
} open_args;

static int open_libraries(lua_State *L) {
    const open_args *a = lua_touserdata(L, 1);
    if (a->no_environment) {
        lua_pushboolean(L, 1);
        lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
    }
    if (a->env->restricted)
        open_restricted(L);
    else
        luaL_openlibs(L);
    lua_register(L, "pcall", safe_pcall);
    lua_register(L, "xpcall", safe_xpcall);
    lua_getglobal(L, LUA_COLIBNAME);
    lua_pushcfunction(L, co_resume);
    lua_setfield(L, -2, "resume");
    lua_pushcfunction(L, co_wrap);
    lua_setfield(L, -2, "wrap");
    luaL_requiref(L, "bracket", luaopen_bracket, 0);
    lua_setglobal(L, "bk");
    return 0;
}

static bool copy_folders(bk_env *env, const char *const *folders) {
    int n = 0;
    while (folders && folders[n]) n++;
    if (n == 0) return true;
    env->folders = mem_zalloc(env->c, sizeof *env->folders * (size_t)n);
    if (!env->folders) return false;
    env->folders_n = n;
    for (int i = 0; i < n; i++) {
        char real[PATH_MAX];
        if (!realpath(folders[i], real)) real[0] = 0;
        env->folders[i] = mem_alloc(env->c, strlen(real) + 1);
        if (!env->folders[i]) return false;
        strcpy(env->folders[i], real);
    }
    return true;
}

bk_env *env_open(const bk_options *options, bool no_environment) {
    static const bk_options defaults = { 0 };
    const bk_options *o = options ? options : &defaults;
    ctx *c = ctx_new(o->threads > 0 ? o->threads : 1);
    if (!c) return NULL;
    c->limit = o->memory_limit;
    bk_env *env = mem_zalloc(c, sizeof *env);
    if (!env) {
        ctx_release(c);
        return NULL;
    }
    env->c = c;
    env->step_chunk = o->step_limit < 100 * STEP_CHUNK ? (int)(o->step_limit / 100) + 1 : STEP_CHUNK;
    env->restricted = o->restricted != 0;
    env->L = lua_newstate(env_alloc, env);
    open_args args = { env, no_environment };
    if (!env->L || !learn_record_size(env) || !copy_folders(env, o->folders)) goto fail;
    lua_pushcfunction(env->L, open_libraries);
    lua_pushlightuserdata(env->L, &args);
    if (env_call(env, 1, 0) != BK_OK) goto fail;
    env->step_limit = o->step_limit; /* from here on: the library's own start does not count */
    return env;
fail:
    bk_close(env);
    return NULL;
}

BK_API bk_env *bk_open(const bk_options *options) {
    return env_open(options, false);
}

BK_API void bk_close(bk_env *env) {
    if (!env) return;
    if (env->L) lua_close(env->L);
    for (int i = 0; i < env->folders_n; i++)
        if (env->folders[i]) mem_free(env->c, env->folders[i], strlen(env->folders[i]) + 1);
    mem_free(env->c, env->folders, sizeof *env->folders * (size_t)env->folders_n);
    mem_free(env->c, env->error, env->error_bytes);
    ctx *c = env->c;
    mem_free(c, env, sizeof *env);
    ctx_release(c);
}

BK_API lua_State *bk_lua(bk_env *env) {
    return env ? env->L : NULL;
}

/* ---- run ---- */

typedef struct run_args {
    bk_env *env;
    const char *text, *name; /* a chunk ... */
    const char *path;        /* ... or a file */
    int argc;
    char **argv;
} run_args;

static int run_protected(lua_State *L) {
    const run_args *a = lua_touserdata(L, 1);
    int rc;
    luaL_checkstack(L, a->argc + 10, "too many arguments");
    if (a->path) {
        lua_createtable(L, a->argc, 1);
        lua_pushstring(L, a->path);
        lua_rawseti(L, -2, 0);
        for (int i = 0; i < a->argc; i++) {
            lua_pushstring(L, a->argv[i]);
            lua_rawseti(L, -2, i + 1);
        }
        lua_setglobal(L, "arg");
        rc = luaL_loadfilex(L, a->path, a->env->restricted ? "t" : NULL);
    } else {
        const char *name = a->name ? a->name : a->text;
        if (a->name && a->name[0] != '@' && a->name[0] != '=') name = lua_pushfstring(L, "=%s", a->name);
        rc = luaL_loadbufferx(L, a->text, strlen(a->text), name, "t");
    }
    if (rc == LUA_ERRFILE) {
        err e = { 0 };
        err_set(&e, BK_EIO, "%s", lua_tostring(L, -1));
        env_raised(a->env, &e);
    }
    if (rc != LUA_OK) return lua_error(L);
    for (int i = 0; i < a->argc; i++) lua_pushstring(L, a->argv[i]);
    lua_call(L, a->argc, 0);
    return 0;
}

static bk_status call_with(bk_env *env, lua_CFunction fn, void *args) {
    env->error_short[0] = 0;
    if (env->error) env->error[0] = 0;
    if (!lua_checkstack(env->L, 4)) return env_fail(env, BK_ENOMEM, "out of memory: the Lua stack is full");
    lua_pushcfunction(env->L, fn);
    lua_pushlightuserdata(env->L, args);
    return env_call(env, 1, 0);
}

BK_API bk_status bk_dostring(bk_env *env, const char *chunk, const char *name) {
    if (!env) return BK_EINVAL;
    if (!chunk) return env_fail(env, BK_EINVAL, "bk_dostring: chunk: expected a text, got NULL");
    run_args a = { .env = env, .text = chunk, .name = name };
    return call_with(env, run_protected, &a);
}

BK_API bk_status bk_dofile(bk_env *env, const char *path, int argc, char **argv) {
    if (!env) return BK_EINVAL;
    if (!path) return env_fail(env, BK_EINVAL, "bk_dofile: path: expected a text, got NULL");
    if (argc < 0 || (argc > 0 && !argv))
        return env_fail(env, BK_EINVAL, "bk_dofile: argv: expected argc texts, got NULL or a negative argc");
    run_args a = { .env = env, .path = path, .argc = argc, .argv = argv };
    return call_with(env, run_protected, &a);
}

/* ---- exchange ---- */

typedef struct exchange_args {
    bk_env *env;
    const char *global;
    bk_dtype dtype;
    int ndim;
    const int64_t *shape;
    void *data;
    bk_view *view;
} exchange_args;

static int set_protected(lua_State *L) {
    const exchange_args *a = lua_touserdata(L, 1);
    tensor t;
    err e = { 0 };
    if (tensor_borrow(a->env->c, a->dtype, a->ndim, a->shape, a->data, &t, &e)) {
        err_prefix(&e, "bk_set_tensor");
        return bind_raise(L, &e);
    }
    bind_push_tensor(L, &t);
    lua_setglobal(L, a->global);
    return 0;
}

BK_API bk_status bk_set_tensor(bk_env *env, const char *global, bk_dtype dtype, int ndim, const int64_t *shape,
                               void *data) {
    if (!env) return BK_EINVAL;
    if (!global) return env_fail(env, BK_EINVAL, "bk_set_tensor: global: expected a name, got NULL");
    if ((int)dtype < BK_FLOAT64 || dtype > BK_INT64)
        return env_fail(env, BK_EINVAL, "bk_set_tensor: dtype: expected BK_FLOAT64, BK_FLOAT32 or BK_INT64");
    if (ndim < 0 || ndim > BK_MAX_DIMS || (ndim > 0 && !shape))
        return env_fail(env, BK_EINVAL, "bk_set_tensor: shape: expected 0..8 sizes, got another ndim or NULL");
    if (!data && shape_count(ndim, shape) != 0)
        return env_fail(env, BK_EINVAL, "bk_set_tensor: data: expected memory for the elements, got NULL");
    exchange_args a = { env, global, dtype, ndim, shape, data, NULL };
    return call_with(env, set_protected, &a);
}

static int get_protected(lua_State *L) {
    const exchange_args *a = lua_touserdata(L, 1);
    lua_getglobal(L, a->global);
    const tensor *t = bind_test_tensor(L, -1);
    if (!t) {
        err e = { 0 };
        err_set(&e, BK_EINVAL, "bk_get_tensor: global %s: expected a tensor, got %s", a->global, luaL_typename(L, -1));
        return bind_raise(L, &e);
    }
    bk_view *v = a->view;
    v->data = tensor_data(t);
    v->dtype = t->dtype;
    v->ndim = t->ndim;
    memcpy(v->shape, t->shape, sizeof v->shape);
    memcpy(v->strides, t->strides, sizeof v->strides);
    return 0;
}

BK_API bk_status bk_get_tensor(bk_env *env, const char *global, bk_view *view) {
    if (!env) return BK_EINVAL;
    if (!global || !view) return env_fail(env, BK_EINVAL, "bk_get_tensor: expected a name and a view, got NULL");
    memset(view, 0, sizeof *view);
    exchange_args a = { .env = env, .global = global, .view = view };
    return call_with(env, get_protected, &a);
}
