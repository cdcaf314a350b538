/* restrict.c - restricted environments: the folders a script may touch, and the libraries it has. */
#include "../base/path.h"
#include "env_state.h"

#include <fcntl.h>
#include <unistd.h>

/* ---- folders ---- */

bool env_restricted(lua_State *L) {
    bk_env *env = env_of(L);
    return env && env->restricted;
}

static int raise_named(lua_State *L, const char *fname, const err *e) {
    err named = { 0 };
    err_set(&named, e->status, "%s: %s", fname, e->text);
    return bind_raise(L, &named);
}

void env_check_path(lua_State *L, const char *fname, const char *path) {
    path_place p;
    err e = { 0 };
    bk_env *env = env_of(L);
    if (!env || !env->restricted) return;
    if (path_find(env->c, path, &p, &e)) raise_named(L, fname, &e);
    path_leave(&p);
}

/* ---- libraries ---- */

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

/* path, FILE: the file's text without a first line that begins with #, of which the line's end stays */
static int read_text(lua_State *L) {
    FILE *f = lua_touserdata(L, 2);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    int first = getc(f);
    while (first == '#' && !feof(f) && getc(f) != '\n') {}
    if (first == '#') first = '\n';
    if (first != EOF) luaL_addchar(&b, (char)first);
    bind_add_file(&b, f);
    luaL_pushresult(&b);
    return 1;
}

/* As luaL_loadfilex, of source text in a regular file of the folders; a path outside is an error. */
static int load_text(lua_State *L, const char *fname, const char *path) {
    err e = { 0 };
    const int fd = path_open(env_of(L)->c, path, O_RDONLY, &e);
    if (e.status == BK_ERUNTIME) return raise_named(L, fname, &e);
    FILE *f = fd >= 0 ? fdopen(fd, "rb") : NULL;
    if (!f) {
        if (fd >= 0) close(fd);
        lua_pushfstring(L, "cannot open %s", e.text);
        return LUA_ERRFILE;
    }
    lua_pushcfunction(L, read_text);
    lua_pushstring(L, path);
    lua_pushlightuserdata(L, f);
    const int rc = lua_pcall(L, 2, 1, 0);
    fclose(f);
    if (rc != LUA_OK) return lua_error(L);
    size_t n;
    const char *text = lua_tolstring(L, -1, &n);
    return luaL_loadbufferx(L, text, n, lua_pushfstring(L, "@%s", path), "t");
}

static int safe_loadfile(lua_State *L) {
    const char *path = luaL_checkstring(L, 1);
    bool with_env = !lua_isnone(L, 3);
    if (load_text(L, "loadfile", path) != LUA_OK) {
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
    lua_settop(L, 1);
    if (load_text(L, "dofile", path) != LUA_OK) return lua_error(L);
    const int top = lua_gettop(L) - 1;
    lua_call(L, 0, LUA_MULTRET);
    return lua_gettop(L) - top;
}

static int safe_require(lua_State *L) { /* without `package`: what is loaded, nothing else */
    const char *name = luaL_checkstring(L, 1);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    if (lua_getfield(L, -1, name) == LUA_TNIL)
        return luaL_error(L, "require: restricted: module '%s' is not available", name);
    return 1;
}

void env_open_restricted(lua_State *L) {
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
