/* docs.c - docstrings of public values, and their options. */
#include "bind.h"

void bind_push_docs(lua_State *L) { bind_push_weak(L, BIND_DOCS); }
void bind_push_options(lua_State *L) { bind_push_weak(L, "bracket.options"); }

void bind_doc(lua_State *L, int index, const char *doc) {
    index = lua_absindex(L, index);
    bind_push_docs(L);
    lua_pushvalue(L, index);
    lua_pushstring(L, doc);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

static void set_text(lua_State *L, const char *field, const char *text) {
    lua_pushstring(L, text);
    lua_setfield(L, -2, field);
}

void bind_doc_option(lua_State *L, int index, const bind_option *o) {
    index = lua_absindex(L, index);
    bind_push_options(L);
    lua_pushvalue(L, index);
    if (lua_rawget(L, -2) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, index);
        lua_pushvalue(L, -2);
        lua_rawset(L, -4);
    }
    lua_createtable(L, 0, 6);
    set_text(L, "name", o->name);
    set_text(L, "wanted", o->wanted);
    set_text(L, "default", o->otherwise);
    set_text(L, "doc", o->doc);
    lua_pushboolean(L, o->required);
    lua_setfield(L, -2, "required");
    lua_pushboolean(L, o->by_place);
    lua_setfield(L, -2, "by_place");
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    lua_pop(L, 2);
}
