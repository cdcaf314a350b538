/* restrict.c - restricted environments: the folders a script may touch, and the libraries it has. */
#include "env_state.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- folders ---- */

bool env_restricted(lua_State *L) {
    bk_env *env = env_of(L);
    return env && env->restricted;
}

bool env_set_folders(bk_env *env, const char *const *folders) {
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

void env_free_folders(bk_env *env) {
    for (int i = 0; i < env->folders_n; i++)
        if (env->folders[i]) mem_free(env->c, env->folders[i], strlen(env->folders[i]) + 1);
    mem_free(env->c, env->folders, sizeof *env->folders * (size_t)env->folders_n);
}

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
