/* complete.c - candidates for Tab, from lua/bracket/repl/complete.lua, called so that nothing escapes. */
#include "app.h"

static int complete_protected(lua_State *L) { /* line -> list, replaced */
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, "bracket");
    lua_getfield(L, -1, "repl");
    lua_getfield(L, -1, "complete");
    lua_pushvalue(L, 1);
    lua_call(L, 1, 2);
    return 2;
}

static int push_line(lua_State *L) {
    lua_pushlstring(L, lua_touserdata(L, 1), (size_t)lua_tointeger(L, 2));
    return 1;
}

size_t complete_push(lua_State *L, const char *line, size_t cursor) {
    bk_env *env = env_of(L);
    lua_pushcfunction(L, push_line);
    lua_pushlightuserdata(L, (void *)(uintptr_t)line);
    lua_pushinteger(L, (lua_Integer)cursor);
    if (env_call(env, 2, 1) == BK_OK) {
        lua_pushcfunction(L, complete_protected);
        lua_insert(L, -2);
        if (env_call(env, 1, 2) == BK_OK) {
            size_t replaced = (size_t)lua_tointeger(L, -1);
            lua_pop(L, 1);
            return replaced;
        }
    }
    lua_pushnil(L);
    return 0;
}
