/* docs.c - tables of public functions, and the docstrings of what they hold. */
#include "bind.h"

void bind_push_docs(lua_State *L) {
    if (luaL_getsubtable(L, LUA_REGISTRYINDEX, BIND_DOCS)) return;
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
}

void bind_doc(lua_State *L, int index, const char *doc) {
    index = lua_absindex(L, index);
    bind_push_docs(L);
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
