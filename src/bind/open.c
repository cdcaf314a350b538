/* open.c - the roof: makes the module table `bk` of the rooms that C fills and of those that files fill. */
#include "args.h"
#include "env.h"
#include "rooms.h"
#include "../base/clock.h"
#include "../base/nearest.h"
#include "../tensor/gemm.h"

#include <time.h>
#include <string.h>

static int module_doc(lua_State *L) {
    if (lua_isnoneornil(L, 1) || (lua_type(L, 1) == LUA_TNUMBER && !lua_compare(L, 1, 1, LUA_OPEQ)))
        return args_fail(L, 1, "bk.doc", "value", "a value");
    if (lua_type(L, 2) != LUA_TSTRING)
        return args_fail(L, 2, "bk.doc", "text", "a string");
    bind_doc(L, 1, lua_tostring(L, 2));
    lua_settop(L, 1);
    return 1;
}

static int internal_check_path(lua_State *L) { /* check_path(path [, name of the function that speaks]) */
    args_path(L, 1, luaL_optstring(L, 2, "check_path"));
    return 0;
}

static int module_threads(lua_State *L) {
    ctx *c = bind_ctx(L);
    if (!lua_isnoneornil(L, 1)) {
        err e = { 0 };
        int n = (int)args_integer(L, 1, "bk.threads", "n", 1, 256);
        if (env_restricted(L) && n > ctx_threads(c))
            err_set(&e, BK_ERUNTIME, "bk.threads: restricted: this environment may use %d, asked for %d",
                    ctx_threads(c), n);
        if (e.status || gemm_room(n, &e) || ctx_set_threads(c, n, &e)) return bind_raise(L, &e);
    }
    lua_pushinteger(L, ctx_threads(c));
    return 1;
}

static int module_memory(lua_State *L) {
    ctx *c = bind_ctx(L);
    lua_pushinteger(L, (lua_Integer)atomic_load(&c->used));
    lua_pushinteger(L, (lua_Integer)atomic_load(&c->peak));
    return 2;
}

static int module_clock(lua_State *L) {
    struct timespec own;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    lua_pushnumber(L, clock_seconds());
    lua_pushnumber(L, (double)own.tv_sec + 1e-9 * (double)own.tv_nsec);
    return 2;
}

/* seconds(): the first that bk.clock tells, for what asks at every step: the system is not called for it */
static int internal_seconds(lua_State *L) {
    lua_pushnumber(L, clock_seconds());
    return 1;
}

static int internal_blas(lua_State *L) { /* blas(): OpenBLAS's core and configuration */
    lua_pushstring(L, gemm_core());
    lua_pushstring(L, gemm_config());
    return 2;
}

static int internal_nearest(lua_State *L) { /* nearest(name, names) -> the one it most likely means, or nil */
    const char *name = luaL_checkstring(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    const size_t n = lua_rawlen(L, 2);
    const char **known = lua_newuserdatauv(L, (n + 1) * sizeof *known, 0);
    for (size_t i = 0; i < n; i++, lua_pop(L, 1)) {
        lua_rawgeti(L, 2, (lua_Integer)i + 1);
        known[i] = luaL_checkstring(L, -1); /* the list keeps it */
    }
    known[n] = NULL;
    lua_pushstring(L, name_nearest(name, known));
    return 1;
}

/* raises: (message [, placed]): at the user's line, if there is one, and unless it has its place */
static int raise_message(lua_State *L, bk_status status) {
    const bool placed = lua_toboolean(L, 2);
    luaL_checkstring(L, 1);
    lua_settop(L, 1);
    if (!placed) {
        bind_where(L, 0);
        lua_insert(L, 1);
        lua_concat(L, 2);
    }
    return bind_raise_placed(L, status);
}

static int internal_refuse(lua_State *L) { /* an error about an argument */
    return raise_message(L, BK_EINVAL);
}

static int internal_misread(lua_State *L) { /* an error about a file */
    return raise_message(L, BK_EIO);
}

static int internal_tell(lua_State *L) { /* tell(what, done, all): so much of long work is done; done = all ends it */
    ctx_tell(bind_ctx(L), luaL_checkstring(L, 1), luaL_checkinteger(L, 2), luaL_checkinteger(L, 3));
    return 0;
}

static const bind_row internal_rows[] = { { "nearest", internal_nearest, NULL },
                                          { "hint", args_hint, NULL },
                                          { "check_path", internal_check_path, NULL },
                                          { "public", bind_public, NULL },
                                          { "refuse", internal_refuse, NULL },
                                          { "misread", internal_misread, NULL },
                                          { "seconds", internal_seconds, NULL },
                                          { "blas", internal_blas, NULL },
                                          { "tell", internal_tell, NULL },
                                          { NULL, NULL, NULL } };

static const bind_row module_rows[] = {
    { "threads", module_threads,
      "bk.threads([n]) -> integer\nSets, when told, and returns the number of worker threads, 1 to 256.\n\n"
      "No result depends on it, not by a bit. A restricted environment may not raise it." },
    { "memory", module_memory,
      "bk.memory() -> bytes, peak\nThe bytes that tensors, plans and Lua use now, and the most they have used." },
    { "clock", module_clock,
      "bk.clock() -> wall, process\nSeconds on a clock that never goes back, and of processor time of this process." },
    { "doc", module_doc,
      "bk.doc(value, text) -> value\n\nRecords text as the docstring of value, for help(), and returns value. The "
      "first "
      "line is the signature. A string value names a path: bk.doc(\"bk.mine.f\", text). Errors when value is nil or "
      "text is no string." },
    { NULL, NULL, NULL }
};

/* Pushes bk with what C gives it. */
static void push_module(lua_State *L) {
    lua_newtable(L);
    lua_pushliteral(L, BK_VERSION);
    lua_setfield(L, 1, "version");
    bind_rows(L, module_rows);
    bind_tensor(L);
    bind_func(L);
    bind_nn(L);
    bind_losses(L);
    bind_bea(L);
    bind_data(L);
    bind_optim(L);
    bind_files(L);
    lua_settop(L, 1);
}

static void push_internal(lua_State *L) {
    const int internal = lua_gettop(L) + 1;
    lua_newtable(L);
    bind_rows(L, internal_rows);
    bind_rows(L, room_rows());
    bind_gather(L);
    bind_files_internal(L);
    bind_rng_internal(L);
    bind_lock_internal(L);
    bind_look_internal(L);
    bind_interrupt_internal(L);
    bind_nn_internal(L);
    bind_func_internal(L);
    bind_optim_internal(L);
    bind_ranks_internal(L);
    bind_push_docs(L);
    lua_setfield(L, internal, "docs");
    bind_push_options(L);
    lua_setfield(L, internal, "options");
}

/* Pushes the rooms that pairs(bk) does not list. */
static void push_unlisted(lua_State *L) {
    static const char *const names[] = { "repl", "command", "guide", "example", "_plot", NULL };
    const int rooms = lua_gettop(L) + 1;
    lua_newtable(L);
    push_internal(L);
    lua_setfield(L, rooms, "internal");
    for (const char *const *name = names; *name; name++) {
        lua_newtable(L);
        room_make(L, *name, 0);
        lua_setfield(L, rooms, *name);
    }
}

/* bk at 1, the unlisted rooms at 2: every other folder is a room of bk, and the files of the top are its fields. */
static void make_rooms(lua_State *L) {
    lua_newtable(L); /* 3: top-level files */
    lua_newtable(L); /* 4: folders */
    room_list(L, 3, 4, "");
    lua_pushnil(L);
    while (lua_next(L, 4)) { /* 5 folder, 6 true */
        const char *room = lua_tostring(L, 5);
        lua_pushvalue(L, 5);
        bool hidden = lua_rawget(L, 2) != LUA_TNIL;
        lua_pushvalue(L, 5);
        bool file = lua_rawget(L, 3) != LUA_TNIL;
        lua_settop(L, 5);
        if (hidden || file) continue;
        lua_pushvalue(L, 5);
        const int there = lua_rawget(L, 1);
        if (there != LUA_TTABLE && there != LUA_TNIL)
            luaL_error(L, "bracket/%s/: bk.%s is there in C, which the folder would hide", room, room);
        if (there == LUA_TNIL) {
            lua_settop(L, 5);
            lua_newtable(L);
            lua_pushvalue(L, 5);
            lua_pushvalue(L, 6);
            lua_rawset(L, 1);
        }
        room_make(L, room, 0);
        lua_settop(L, 5);
    }
    lua_pushvalue(L, 1);
    room_make(L, "", 2);
}

BK_API int luaopen_bracket(lua_State *L) {
    luaL_checkversion(L);
    lua_settop(L, 0);
    luaL_checkstack(L, 40, NULL);
    if (lua_getfield(L, LUA_REGISTRYINDEX, ROOM_MODULE) == LUA_TTABLE) return 1;
    lua_settop(L, 0);
    bind_open_ctx(L);
    err e = { 0 };
    if (gemm_room(ctx_threads(bind_ctx(L)), &e)) return luaL_error(L, "bracket: %s", e.text);
    room_find_override(L);
    push_module(L);
    push_unlisted(L);
    make_rooms(L);
    lua_settop(L, 1);
    lua_pushvalue(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, ROOM_MODULE);
    return 1;
}
