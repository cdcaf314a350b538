/* module.c - the module table `bk`: the rooms filled by C, the files of lua/bracket loaded
 * when first named, and the docstrings of both.
 * lua/bracket/NAME.lua is bk.NAME and lua/bracket/ROOM/NAME.lua is bk.ROOM.NAME: the chunk is called with
 * bk and returns the value. With BRACKET_LUA=DIR, files there come before those in the library. */
#include "args.h"
#include "embed.h"
#include "env.h"
#include "../tensor/gemm.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define MODULE "bracket.module"
#define OVERRIDE "bracket.override" /* the folder that holds `bracket/`'s files, or absent */
#define LOADING "bracket.loading"
#define ROOMS "bracket.rooms" /* table -> room name */
static const char ctx_key = 0;

/* ---- the context ---- */

static int ctx_collect(lua_State *L) {
    ctx **box = lua_touserdata(L, 1);
    ctx_release(*box);
    *box = NULL;
    return 0;
}

/* In a host's own state the context lives in a userdata made before all others, so it is finalized last. */
static void open_ctx(lua_State *L) {
    if (env_of(L)) return;
    ctx **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, ctx_collect);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    *box = ctx_new(1);
    if (!*box) luaL_error(L, "out of memory");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &ctx_key);
}

ctx *bind_ctx(lua_State *L) {
    bk_env *env = env_of(L);
    if (env) return env_ctx(env);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &ctx_key);
    ctx **box = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return box ? *box : NULL;
}

int bind_raise(lua_State *L, const err *e) {
    bk_env *env = env_of(L);
    if (env) {
        env_raised(env, e);
        if (e->status == BK_EINTERRUPTED) env_delivered(L, env);
    }
    return luaL_error(L, "%s", e->text);
}

void bind_poll_now(lua_State *L) {
    err e = { 0 };
    if (ctx_poll(bind_ctx(L), &e)) bind_raise(L, &e);
}

/* ---- docstrings ---- */

/* Pushes the table of docstrings. Its keys are weak: a text ends with the value it explains. */
static void push_docs(lua_State *L) {
    if (luaL_getsubtable(L, LUA_REGISTRYINDEX, BIND_DOCS)) return;
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
}

void bind_doc(lua_State *L, int index, const char *doc) {
    index = lua_absindex(L, index);
    push_docs(L);
    lua_pushvalue(L, index);
    lua_pushstring(L, doc);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

void bind_rows(lua_State *L, const bind_row *rows) {
    for (; rows->name; rows++) {
        lua_pushcfunction(L, rows->fn);
        if (rows->doc) bind_doc(L, -1, rows->doc);
        lua_setfield(L, -2, rows->name);
    }
}

static int module_doc(lua_State *L) {
    if (lua_isnoneornil(L, 1)) return luaL_error(L, "bk.doc: value: expected a value, got nil");
    if (lua_type(L, 2) != LUA_TSTRING)
        return luaL_error(L, "bk.doc: text: expected a string, got %s", luaL_typename(L, 2));
    bind_doc(L, 1, lua_tostring(L, 2));
    lua_settop(L, 1);
    return 1;
}

/* ---- files ---- */

static bool plain_name(const char *s) {
    return *s && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == strlen(s);
}

static const embed_file *find_embedded(const char *path) {
    for (const embed_file *f = embed_files; f->path; f++)
        if (strcmp(f->path, path) == 0) return f;
    return NULL;
}

/* Pushes the compiled file bracket/REST and returns true, or pushes nothing. */
static bool push_chunk(lua_State *L, const char *rest) {
    if (lua_getfield(L, LUA_REGISTRYINDEX, OVERRIDE) == LUA_TSTRING) {
        const char *path = lua_pushfstring(L, "%s/%s", lua_tostring(L, -1), rest);
        int rc = luaL_loadfilex(L, path, "t");
        if (rc == LUA_OK) {
            lua_insert(L, -3);
            lua_pop(L, 2);
            return true;
        }
        if (rc != LUA_ERRFILE) lua_error(L);
        lua_pop(L, 2);
    }
    lua_pop(L, 1);
    const char *path = lua_pushfstring(L, "bracket/%s", rest);
    const embed_file *f = find_embedded(path);
    if (!f) {
        lua_pop(L, 1);
        return false;
    }
    const char *name = lua_pushfstring(L, "@%s", path);
    if (luaL_loadbufferx(L, (const char *)f->bytes, f->size, name, "t") != LUA_OK) lua_error(L);
    lua_insert(L, -3);
    lua_pop(L, 2);
    return true;
}

/* Sets names[NAME] = true for every file of the room ("" is the top) and, at the top, for every folder in folders. */
static void add_path(lua_State *L, int names, int folders, const char *room, const char *rest) {
    size_t n = strlen(room);
    if (n) {
        if (strncmp(rest, room, n) != 0 || rest[n] != '/') return;
        rest += n + 1;
    }
    const char *slash = strchr(rest, '/'), *dot = strrchr(rest, '.');
    if (slash && folders && !n) {
        lua_pushlstring(L, rest, (size_t)(slash - rest));
        lua_pushboolean(L, 1);
        lua_rawset(L, folders);
    } else if (!slash && dot && strcmp(dot, ".lua") == 0) {
        lua_pushlstring(L, rest, (size_t)(dot - rest));
        lua_pushboolean(L, 1);
        lua_rawset(L, names);
    }
}

typedef struct listing {
    const char *folder;
    DIR *dir;
} listing;

static int list_folder(lua_State *L) { /* names, listing */
    listing *l = lua_touserdata(L, 2);
    for (struct dirent *d; (d = readdir(l->dir));) {
        lua_pushstring(L, d->d_name);
        lua_rawseti(L, 1, (lua_Integer)lua_rawlen(L, 1) + 1);
    }
    return 0;
}

/* The entries of a folder as an array; an unreadable folder has none. */
static void push_folder(lua_State *L, const char *path) {
    lua_newtable(L);
    listing l = { path, opendir(path) };
    if (!l.dir) return;
    lua_pushcfunction(L, list_folder);
    lua_pushvalue(L, -2);
    lua_pushlightuserdata(L, &l);
    int rc = lua_pcall(L, 2, 0, 0);
    closedir(l.dir);
    if (rc != LUA_OK) lua_error(L);
}

static void list_room(lua_State *L, int names, int folders, const char *room) {
    for (const embed_file *f = embed_files; f->path; f++)
        add_path(L, names, folders, room, f->path + strlen("bracket/"));
    if (lua_getfield(L, LUA_REGISTRYINDEX, OVERRIDE) == LUA_TSTRING) {
        const char *base = lua_tostring(L, -1);
        push_folder(L, *room ? lua_pushfstring(L, "%s/%s", base, room) : base);
        int entries = lua_gettop(L);
        for (lua_Integer i = 1; lua_rawgeti(L, entries, i) == LUA_TSTRING; i++) {
            const char *entry = lua_tostring(L, -1);
            bool folder = plain_name(entry); /* a name without a dot */
            const char *rest = folder ? lua_pushfstring(L, "%s/", entry) : entry;
            if (*room) rest = lua_pushfstring(L, "%s/%s", room, rest);
            add_path(L, names, folders, room, rest);
            lua_settop(L, entries);
        }
    }
    lua_settop(L, folders ? folders : names);
}

/* ---- rooms: tables whose missing fields are files ---- */

static void push_path(lua_State *L, const char *room, const char *name) {
    if (*room)
        lua_pushfstring(L, "%s/%s.lua", room, name);
    else
        lua_pushfstring(L, "%s.lua", name);
}

static int room_index(lua_State *L) { /* table, key; upvalues: room, hidden rooms or nil, the table itself */
    if (lua_type(L, 2) != LUA_TSTRING || !plain_name(lua_tostring(L, 2))) return 0;
    lua_settop(L, 2);
    const char *room = lua_tostring(L, lua_upvalueindex(1)), *name = lua_tostring(L, 2);
    if (lua_istable(L, lua_upvalueindex(2))) {
        lua_pushvalue(L, 2);
        if (lua_rawget(L, lua_upvalueindex(2)) != LUA_TNIL) return 1;
        if (strcmp(name, "init") == 0) return 0;
        lua_settop(L, 2);
    }
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LOADING);
    push_path(L, room, name); /* 3 loading, 4 path */
    if (!push_chunk(L, lua_tostring(L, 4))) return 0;
    lua_pushvalue(L, 4);
    if (lua_rawget(L, 3) != LUA_TNIL)
        return luaL_error(L, "bracket/%s: loads itself: it needs its own value while loading", lua_tostring(L, 4));
    lua_pop(L, 1);
    lua_pushvalue(L, 4);
    lua_pushboolean(L, 1);
    lua_rawset(L, 3);
    lua_getfield(L, LUA_REGISTRYINDEX, MODULE);
    int rc = lua_pcall(L, 1, 1, 0);
    lua_pushvalue(L, 4);
    lua_pushnil(L);
    lua_rawset(L, 3);
    if (rc != LUA_OK) return lua_error(L);
    if (lua_isnil(L, -1)) return luaL_error(L, "bracket/%s returns no value", lua_tostring(L, 4));
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -2);
    lua_rawset(L, lua_upvalueindex(3));
    return 1;
}

static int room_pairs(lua_State *L) { /* loads every file of the room, then lists */
    lua_settop(L, 1);
    const char *room = lua_tostring(L, lua_upvalueindex(1));
    lua_newtable(L);
    list_room(L, 2, 0, room);
    lua_pushnil(L);
    while (lua_next(L, 2)) {
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        lua_gettable(L, 1);
        lua_pop(L, 1);
    }
    lua_getglobal(L, "next");
    lua_pushvalue(L, 1);
    return 2;
}

/* Makes the table on top lazy: its missing fields are the room's files. */
static void make_room(lua_State *L, const char *room, int hidden) {
    int t = lua_gettop(L);
    if (!lua_getmetatable(L, t)) lua_createtable(L, 0, 2);
    lua_pushstring(L, room);
    if (hidden)
        lua_pushvalue(L, hidden);
    else
        lua_pushnil(L);
    lua_pushvalue(L, t);
    lua_pushcclosure(L, room_index, 3);
    lua_setfield(L, -2, "__index");
    lua_pushstring(L, room);
    lua_pushcclosure(L, room_pairs, 1);
    lua_setfield(L, -2, "__pairs");
    lua_setmetatable(L, t);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, ROOMS);
    lua_pushvalue(L, t);
    lua_pushstring(L, room);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

static int internal_names(lua_State *L) { /* names(room): what its files are, in no order, loading none */
    const char *room = luaL_optstring(L, 1, "");
    lua_settop(L, 1);
    lua_newtable(L);
    list_room(L, 2, 0, room);
    lua_newtable(L);
    lua_pushnil(L);
    while (lua_next(L, 2)) {
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        lua_rawseti(L, 3, (lua_Integer)lua_rawlen(L, 3) + 1);
    }
    return 1;
}

static int internal_room(lua_State *L) { /* room(t): the name of the room that the table is, or nil */
    luaL_checkany(L, 1);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, ROOMS);
    lua_pushvalue(L, 1);
    lua_rawget(L, -2);
    return 1;
}

static int internal_folder(lua_State *L) { /* folder(path): its entries, folders with a slash behind */
    const char *path = args_path(L, 1, "folder");
    push_folder(L, path);
    int entries = lua_gettop(L);
    for (lua_Integer i = 1; lua_rawgeti(L, entries, i) == LUA_TSTRING; i++) {
        struct stat st;
        if (stat(lua_pushfstring(L, "%s/%s", path, lua_tostring(L, -1)), &st) == 0 && S_ISDIR(st.st_mode)) {
            lua_pushfstring(L, "%s/", lua_tostring(L, -2));
            lua_rawseti(L, entries, i);
        }
        lua_settop(L, entries);
    }
    lua_settop(L, entries);
    return 1;
}

static int internal_restricted(lua_State *L) {
    lua_pushboolean(L, env_restricted(L));
    return 1;
}

static int internal_check_path(lua_State *L) {
    env_check_path(L, luaL_checkstring(L, 1));
    return 0;
}

static int internal_threads(lua_State *L) { /* threads([n]): sets and returns the number of worker threads */
    ctx *c = bind_ctx(L);
    if (!lua_isnoneornil(L, 1)) {
        err e = { 0 };
        lua_Integer n = luaL_checkinteger(L, 1);
        if (ctx_set_threads(c, n < 0 || n > 1000 ? -1 : (int)n, &e)) return bind_raise(L, &e);
    }
    lua_pushinteger(L, ctx_threads(c));
    return 1;
}

static int internal_memory(lua_State *L) { /* bytes in use, and their peak */
    ctx *c = bind_ctx(L);
    lua_pushinteger(L, (lua_Integer)atomic_load(&c->used));
    lua_pushinteger(L, (lua_Integer)atomic_load(&c->peak));
    return 2;
}

static int internal_clock(lua_State *L) { /* clock(): seconds of wall time, and of this process */
    struct timespec wall, own;
    clock_gettime(CLOCK_MONOTONIC, &wall);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own);
    lua_pushnumber(L, (double)wall.tv_sec + 1e-9 * (double)wall.tv_nsec);
    lua_pushnumber(L, (double)own.tv_sec + 1e-9 * (double)own.tv_nsec);
    return 2;
}

static int internal_blas(lua_State *L) { /* blas(): OpenBLAS's core and configuration */
    lua_pushstring(L, gemm_core());
    lua_pushstring(L, gemm_config());
    return 2;
}

static void find_override(lua_State *L) {
    lua_getfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
    bool ignore = lua_toboolean(L, -1) || env_restricted(L);
    lua_pop(L, 1);
    const char *dir = ignore ? NULL : getenv("BRACKET_LUA");
    if (!dir || !*dir) return;
    const char *inner = lua_pushfstring(L, "%s/bracket", dir);
    DIR *d = opendir(inner);
    if (d) closedir(d);
    lua_pushstring(L, d ? inner : dir); /* lua/ or lua/bracket */
    lua_setfield(L, LUA_REGISTRYINDEX, OVERRIDE);
    lua_pop(L, 1);
}

static const bind_row internal_rows[] = { { "names", internal_names, NULL },
                                          { "room", internal_room, NULL },
                                          { "folder", internal_folder, NULL },
                                          { "restricted", internal_restricted, NULL },
                                          { "check_path", internal_check_path, NULL },
                                          { "threads", internal_threads, NULL },
                                          { "memory", internal_memory, NULL },
                                          { "clock", internal_clock, NULL },
                                          { "blas", internal_blas, NULL },
                                          { NULL, NULL, NULL } };

static const bind_row module_rows[] = {
    { "doc", module_doc,
      "bk.doc(value, text) -> value\n\nRecords text as the docstring of value, for help(), and returns value. The "
      "first "
      "line is the signature. A string value names a path: bk.doc(\"bk.mine.f\", text). Errors when value is nil or "
      "text is no string." },
    { NULL, NULL, NULL }
};

BK_API int luaopen_bracket(lua_State *L) {
    luaL_checkversion(L);
    lua_settop(L, 0);
    luaL_checkstack(L, 40, NULL);
    if (lua_getfield(L, LUA_REGISTRYINDEX, MODULE) == LUA_TTABLE) return 1;
    lua_settop(L, 0);
    open_ctx(L);
    find_override(L);
    lua_newtable(L); /* 1: bk */
    lua_pushliteral(L, BK_VERSION);
    lua_setfield(L, 1, "version");
    bind_rows(L, module_rows);
    bind_tensor(L);
    bind_func(L);
    bind_nn(L);
    bind_bea(L);
    bind_data(L);
    bind_optim(L);
    bind_files(L);
    lua_settop(L, 1);

    lua_newtable(L); /* 2: the rooms that pairs(bk) does not list */
    lua_newtable(L); /* 3: internal */
    bind_rows(L, internal_rows);
    bind_gather(L);
    bind_files_internal(L);
    push_docs(L);
    lua_setfield(L, 3, "docs");
    make_room(L, "internal", 0);
    lua_setfield(L, 2, "internal");
    lua_newtable(L); /* 3: repl */
    make_room(L, "repl", 0);
    lua_setfield(L, 2, "repl");
    lua_newtable(L); /* 3: command */
    make_room(L, "command", 0);
    lua_setfield(L, 2, "command");

    lua_newtable(L); /* 3: top-level files */
    lua_newtable(L); /* 4: folders */
    list_room(L, 3, 4, "");
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
        if (lua_rawget(L, 1) != LUA_TTABLE) {
            lua_settop(L, 5);
            lua_newtable(L);
            lua_pushvalue(L, 5);
            lua_pushvalue(L, 6);
            lua_rawset(L, 1);
        }
        make_room(L, room, 0);
        lua_settop(L, 5);
    }
    lua_pushvalue(L, 1);
    make_room(L, "", 2);
    lua_settop(L, 1);
    lua_pushvalue(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, MODULE);
    if (push_chunk(L, "init.lua")) {
        lua_pushvalue(L, 1);
        lua_call(L, 1, 0);
    }
    return 1;
}
