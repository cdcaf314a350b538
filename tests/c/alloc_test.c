/* alloc_test.c - every public call with allocations failing: once, and from the Nth on. Each failure must end in a
 * status or a Lua error, leave nothing behind, and leave the environment usable, with the results it gave before.
 * tests/c/calls.lua holds one use of every public name. N runs over the first DENSE allocations, then over a spread
 * that grows by 1/SPREAD a step; `alloc_test all` takes every N. */
#include "check.h"
#include "src/bind/env.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DENSE = 40, SPREAD = 6, ROUNDS = 8 };
static bool every;

/* ---- the system's allocator ---- */

/* The linker hands the library's calls of these to us (--wrap): they can be made to fail below the environment, before
 * it exists and in a host's own Lua state, and blocks that are not given back show. */
static int64_t system_fail_at = -1;
static bool system_fail_on;
static atomic_llong blocks;

static bool system_admits(void) {
    if (system_fail_at < 0) return true;
    if (system_fail_at > 0) {
        system_fail_at--;
        return true;
    }
    if (!system_fail_on) system_fail_at = -1;
    return false;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
void __wrap_free(void *p);

void *__wrap_malloc(size_t size) { /* compilers make it of realloc(NULL, size) */
    void *p = system_admits() ? __real_malloc(size) : NULL;
    if (p) atomic_fetch_add(&blocks, 1);
    return p;
}

void *__wrap_calloc(size_t n, size_t size) {
    void *p = system_admits() ? __real_calloc(n, size) : NULL;
    if (p) atomic_fetch_add(&blocks, 1);
    return p;
}

void *__wrap_realloc(void *p, size_t size) {
    void *q = system_admits() ? __real_realloc(p, size) : NULL;
    if (q && !p) atomic_fetch_add(&blocks, 1);
    return q;
}

void *__wrap_aligned_alloc(size_t align, size_t size) {
    void *p = system_admits() ? __real_aligned_alloc(align, size) : NULL;
    if (p) atomic_fetch_add(&blocks, 1);
    return p;
}

void __wrap_free(void *p) {
    if (p) atomic_fetch_sub(&blocks, 1);
    __real_free(p);
}

/* ---- the public names, in an environment ---- */

static char folder[] = "/tmp/bracket-alloc-XXXXXX";

/* Globals calls, and digest(name): what a call returns, as a text that shows every number. */
static const char prepare[] =
    "calls = assert(loadfile('tests/c/calls.lua'))(FOLDER)\n"
    "local function text(v, depth)\n"
    "    if bk.is_tensor(v) then v = { v:dtype(), v:shape(), v:ndim() > 0 and v:totable() or v:item() } end\n"
    "    if type(v) == 'number' then return string.format('%.17g', v) end\n"
    "    if type(v) ~= 'table' then return type(v) end\n"
    "    if depth == 0 then return '...' end\n"
    "    local keys, parts = {}, {}\n"
    "    for k in next, v do keys[#keys + 1] = k end\n"
    "    table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)\n"
    "    for i, k in ipairs(keys) do parts[i] = tostring(k) .. '=' .. (tostring(k):find('seconds') and '' or "
    "text(v[k], depth - 1)) end\n"
    "    return '{' .. table.concat(parts, ',') .. '}'\n"
    "end\n"
    "function digest(name) return text({ calls[name]() }, 6) end\n";

static bk_env *open_prepared(void) {
    bk_env *env = bk_open(NULL);
    char chunk[100];
    snprintf(chunk, sizeof chunk, "FOLDER = '%s'", folder);
    if (!env || bk_dostring(env, chunk, NULL) || bk_dostring(env, prepare, "prepare")) {
        check(false, "the calls are loaded", env ? bk_error(env) : "no environment");
        bk_close(env);
        return NULL;
    }
    return env;
}

/* Runs chunk with allocation n failing (and all later ones when on); false when there were fewer. */
static bool run_failing(bk_env *env, const char *chunk, int64_t n, bool on, bk_status *status) {
    ctx *c = env_ctx(env);
    c->fail_on = on;
    atomic_store(&c->fail_at, n);
    *status = bk_dostring(env, chunk, "chunk");
    bool reached = atomic_load(&c->fail_at) <= 0;
    atomic_store(&c->fail_at, -1);
    c->fail_on = false;
    return reached;
}

static int64_t next_position(int64_t n) {
    return every || n < DENSE ? n + 1 : n + 1 + n / SPREAD;
}

/* Fails allocation after allocation; false and text when a call ended in anything but success or want of memory. */
static bool sweep(bk_env *env, const char *chunk, bool on, char *text, size_t size) {
    bk_status status = BK_OK;
    for (int64_t n = 0; run_failing(env, chunk, n, on, &status); n = next_position(n))
        if (status != BK_OK && status != BK_ENOMEM) {
            snprintf(text, size, "allocation %lld: status %d: %.300s", (long long)n, status, bk_error(env));
            return false;
        }
    return true;
}

static bool same_result(bk_env *env, const char *name, const char *expected, char *text, size_t size) {
    char chunk[200];
    snprintf(chunk, sizeof chunk, "result = digest('%s')", name);
    if (bk_dostring(env, chunk, "again")) {
        snprintf(text, size, "afterwards: %.300s", bk_error(env));
        return false;
    }
    lua_State *L = bk_lua(env);
    lua_getglobal(L, "result");
    bool same = strcmp(lua_tostring(L, -1), expected) == 0;
    if (!same) snprintf(text, size, "afterwards %.150s instead of %.150s", lua_tostring(L, -1), expected);
    lua_pop(L, 1);
    return same;
}

/* Memory in use may settle over some rounds (caches); a leak makes it grow in every one. Garbage of the run before is
 * collected while there is memory: Lua calls a finalizer once, and one that finds no room on Lua's stack loses what it
 * owns, which is no leak of the call. */
static bool flat(bk_env *env, const char *chunk, bool on, char *text, size_t size) {
    size_t used = SIZE_MAX, before = 0;
    for (int round = 0; round < ROUNDS; round++) {
        bk_status status;
        for (int64_t n = 0; n < 4 * DENSE && run_failing(env, chunk, n, on, &status);) {
            bk_dostring(env, "collectgarbage() collectgarbage()", NULL);
            n += 1 + n / SPREAD;
        }
        bk_dostring(env, "collectgarbage() collectgarbage()", NULL);
        before = used;
        used = atomic_load(&env_ctx(env)->used);
        if (used <= before && round > 0) return true;
    }
    snprintf(text, size, "memory grows every time: %zu to %zu bytes", before, used);
    return false;
}

static void test_name(const char *name, const char *expected, bool on) {
    char text[400] = "", chunk[200], what[200];
    long long before = atomic_load(&blocks);
    bk_env *env = open_prepared();
    if (!env) return;
    snprintf(chunk, sizeof chunk, "calls['%s']()", name);
    snprintf(what, sizeof what, "%s, %s", name, on ? "from the Nth on" : "once");
    bool ok = sweep(env, chunk, on, text, sizeof text) && same_result(env, name, expected, text, sizeof text) &&
              flat(env, chunk, on, text, sizeof text);
    bk_close(env);
    if (ok && atomic_load(&blocks) != before) {
        ok = false;
        snprintf(text, sizeof text, "%lld blocks are left after bk_close", (long long)atomic_load(&blocks) - before);
    }
    check(ok, what, text);
}

static void test_names(const char *only) {
    bk_env *list = open_prepared();
    if (!list) return;
    lua_State *L = bk_lua(list);
    lua_getglobal(L, "calls");
    for (lua_pushnil(L); lua_next(L, 1);) {
        char chunk[200];
        const char *name = lua_tostring(L, 2);
        if (!only || strcmp(only, name) == 0) {
            snprintf(chunk, sizeof chunk, "expected = digest('%s')", name);
            check(bk_dostring(list, chunk, NULL) == BK_OK, name, bk_error(list));
            lua_getglobal(L, "expected");
            const char *expected = lua_tostring(L, -1);
            test_name(name, expected ? expected : "", false);
            test_name(name, expected ? expected : "", true);
        }
        lua_settop(L, 2);
    }
    lua_settop(L, 0);
    bk_close(list);
}

/* ---- the public header's calls ---- */

static bool short_of_memory(bk_status s) {
    return s == BK_OK || s == BK_ENOMEM;
}

static bool host(void) { /* every bk_* function */
    double data[6] = { 1, 2, 3, 4, 5, 6 };
    const int64_t shape[] = { 2, 3 };
    char path[100], *arguments[] = { "a", "b" };
    bk_view view;
    const char *folders[] = { folder, NULL };
    bk_env *env = bk_open(&(bk_options){ .threads = 2, .folders = folders, .step_limit = 100000000 });
    if (!env) return true;
    snprintf(path, sizeof path, "%s/host.lua", folder);
    bk_status s[4];
    s[0] = bk_set_tensor(env, "x", BK_FLOAT64, 2, shape, data);
    s[1] = bk_dostring(env, "g = bk.grad(function(t) return (t * t):sum() end)(bk.tensor{1, 2, 3})", "chunk");
    s[2] = bk_dofile(env, path, 2, arguments);
    s[3] = bk_get_tensor(env, "g", &view);
    bk_interrupt(env);
    bool ok = short_of_memory(s[0]) && short_of_memory(s[1]) && short_of_memory(s[2]) && bk_error(env) &&
              (short_of_memory(s[3]) || (s[1] && s[3] == BK_EINVAL)) && bk_lua(env) && lua_gettop(bk_lua(env)) == 0;
    if (!ok) printf("statuses %d %d %d %d: %s\n", s[0], s[1], s[2], s[3], bk_error(env));
    bk_close(env);
    return ok;
}

static void *own_alloc(void *self, void *p, size_t old_bytes, size_t new_bytes) {
    (void)self;
    (void)old_bytes;
    if (new_bytes > 0) return realloc(p, new_bytes);
    free(p);
    return NULL;
}

static int own_main(lua_State *L) {
    luaL_openlibs(L);
    luaL_requiref(L, "bracket", luaopen_bracket, 0);
    lua_setglobal(L, "bk");
    if (luaL_dostring(L, "return bk.ones{2, 3}:matmul(bk.ones{3, 2}):sum():item()")) return lua_error(L);
    return 0;
}

static bool own_state(void) { /* luaopen_bracket in a host's own Lua state */
    lua_State *L = lua_newstate(own_alloc, NULL);
    if (!L) return true;
    lua_pushcfunction(L, own_main);
    int rc = lua_pcall(L, 0, 0, 0);
    bool ok = rc == LUA_OK || rc == LUA_ERRMEM || strstr(lua_tostring(L, -1), "memory");
    if (!ok) printf("%s\n", lua_tostring(L, -1));
    lua_close(L);
    return ok;
}

static void test_system(const char *what, bool (*use)(void), bool on) {
    char text[100] = "an unexpected status";
    bool ok = true;
    int64_t n = 0;
    for (bool reached = true; reached && ok; n = next_position(n)) {
        long long before = atomic_load(&blocks);
        system_fail_on = on;
        system_fail_at = n;
        ok = use();
        reached = system_fail_at <= 0;
        system_fail_at = -1;
        if (ok && atomic_load(&blocks) != before) {
            snprintf(text, sizeof text, "allocation %lld: %lld blocks are left", (long long)n,
                     (long long)atomic_load(&blocks) - before);
            ok = false;
        }
    }
    check(ok && n > 1, what, text);
}

/* ---- a checkpoint over an older one ---- */

/* Each allocation of the saving fails in turn, Jansson's among them: what is there is the old file or the new one,
 * whole, and the new one where the saving succeeded. */
static void test_checkpoint(void) {
    static const char save[] = "state.step = 2 bk._checkpoint.save(FOLDER .. '/c', state)";
    static const char before[] =
        "state = { step = 1, theta = bk.ones { 5 }, memory = { { name = 'x', list = { 1, 2.5 } } }, W = { { 0, 1 } } }\n"
        "bk._checkpoint.save(FOLDER .. '/c', state) collectgarbage()";
    static const char after[] = "local s, why = bk._checkpoint.load(FOLDER .. '/c') assert(s, why)\n"
                                "assert(s.step == 2 or s.step == 1 and not SAVED, s.step)";
    char text[300] = "";
    bool ok = true;
    int64_t n = 0;
    json_set_alloc_funcs(__wrap_malloc, __wrap_free);
    system_fail_on = false;
    bk_env *env = open_prepared();
    for (bool reached = true; env && reached && ok; n++) {
        ok = bk_dostring(env, before, "before") == BK_OK;
        system_fail_at = n;
        const bool saved = bk_dostring(env, save, "save") == BK_OK;
        reached = system_fail_at < 0;
        system_fail_at = -1;
        ok = ok && bk_dostring(env, saved ? "SAVED = true" : "SAVED = nil", "how") == BK_OK &&
             bk_dostring(env, after, "after") == BK_OK;
        if (!ok) snprintf(text, sizeof text, "allocation %lld: %s", (long long)n, bk_error(env));
    }
    bk_close(env);
    json_set_alloc_funcs(malloc, free);
    if (ok) snprintf(text, sizeof text, "%lld allocations", (long long)n);
    check(ok && n > 50, "a checkpoint is the old one or the new one", text);
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0); /* a crash still shows what came before it */
    every = argc > 1 && strcmp(argv[1], "all") == 0;
    if (!mkdtemp(folder)) return 1;
    char command[100], path[100];
    snprintf(path, sizeof path, "%s/host.lua", folder);
    FILE *f = fopen(path, "w");
    if (!f) return 1;
    fputs("local a, b = ... assert(a == 'a' and arg[2] == b) for k = 1, 3 do t = { t, bk.ones { k } } end", f);
    fclose(f);
    test_system("bk_* calls, an allocation of the system failing once", host, false);
    test_system("bk_* calls, the system's allocations failing from the Nth on", host, true);
    test_system("luaopen_bracket in a host's state, once", own_state, false);
    test_system("luaopen_bracket in a host's state, from the Nth on", own_state, true);
    test_checkpoint();
    test_names(argc > 1 && !every ? argv[1] : NULL);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    check(system(command) == 0, "the temporary folder is removed", folder);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
