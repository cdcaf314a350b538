/* docs.c - tables of public functions, and the docstrings of what they hold. */
#include "args.h"

#include <limits.h>
#include <string.h>

static void push_weak(lua_State *L, const char *name) {
    if (luaL_getsubtable(L, LUA_REGISTRYINDEX, name)) return;
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
}

void bind_push_docs(lua_State *L) { push_weak(L, BIND_DOCS); }
void bind_push_options(lua_State *L) { push_weak(L, "bracket.options"); }

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

/* How many arguments the signature on the doc's first line has, with the object before a colon; INT_MAX where it goes
 * on: `bk.full({sizes}, value [, {dtype}]) -> tensor` has three. */
static int most_arguments(const char *doc) {
    int n = 0, depth = 0;
    const char *p = doc;
    for (; *p && !strchr("({\n", *p); p++) n += *p == ':';
    if (*p == '{') return n + 1;
    if (*p != '(') return INT_MAX;
    for (p++; *p && *p != '\n' && (depth || *p != ')'); p++) {
        if (*p == '(' || *p == '{') depth++;
        else if (*p == ')' || *p == '}') depth--;
        else if (depth) continue;
        else if (strncmp(p, "...", 3) == 0) return INT_MAX;
        else if (*p == ',') n++;
    }
    return n + (p[-1] != '(');
}

/* Upvalues: the function; its doc; how many arguments it has. */
static int call_counted(lua_State *L) {
    const int n = lua_gettop(L), most = (int)lua_tointeger(L, lua_upvalueindex(3));
    if (n > most) {
        const char *doc = lua_touserdata(L, lua_upvalueindex(2));
        const size_t name = strcspn(doc, "({");
        lua_pushlstring(L, doc, name);
        args_end(L, most, n, memchr(doc, ':', name) != NULL, lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

void bind_rows(lua_State *L, const bind_row *rows) {
    for (; rows->name; rows++) {
        const int most = rows->doc ? most_arguments(rows->doc) : INT_MAX;
        lua_pushcfunction(L, rows->fn);
        if (most < INT_MAX) {
            lua_pushlightuserdata(L, (void *)(uintptr_t)rows->doc);
            lua_pushinteger(L, most);
            lua_pushcclosure(L, call_counted, 3);
        }
        if (rows->doc) bind_doc(L, -1, rows->doc);
        for (const bind_option *o = rows->options; o && o->name; o++) bind_doc_option(L, -1, o);
        lua_setfield(L, -2, rows->name);
    }
}
