/* rows.c - tables of public functions, each of which refuses more arguments than its signature has. */
#include "args.h"

#include <limits.h>
#include <string.h>

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

/* The word for what the signature says is returned, where it is to be called in turn: "field", "loss", "function". */
static const char *returned_function(const char *doc) {
    static const char *const words[] = { "field", "loss", "function" };
    const char *end = strchr(doc, '\n'), *arrow = strstr(doc, " -> ");
    for (size_t i = 0; arrow && (!end || arrow < end) && i < sizeof words / sizeof *words; i++)
        if (strncmp(arrow + 4, words[i], strlen(words[i])) == 0) return words[i];
    return NULL;
}

/* Whether it shows two calls, bk.grad(f)(θ, ...). */
static bool called_twice(const char *doc) {
    const char *twice = strstr(doc, ")(");
    return twice && twice < doc + strcspn(doc, "\n");
}

static void check_count(lua_State *L, const char *doc) { /* upvalue 3: how many arguments there are */
    const int n = lua_gettop(L), most = (int)lua_tointeger(L, lua_upvalueindex(3));
    if (n <= most) return;
    const size_t length = strcspn(doc, "({");
    lua_pushlstring(L, doc, length);
    const char *name = lua_tostring(L, -1), *word = returned_function(doc);
    for (int i = most + 1; i <= n; i++) {
        if (most == 1 && called_twice(doc) && !lua_isnil(L, i))
            args_error(L, name, "takes one function and returns one; call the result: %s(f)(θ)", name);
        if (!word || !bind_test_tensor(L, i)) continue;
        if (strcmp(word, "function") == 0) args_error(L, name, "returns a function: %s(...)(...)", name);
        args_error(L, name, "returns a %s, of theta: %s(...)(theta)", word, name);
    }
    args_end(L, most, n, memchr(doc, ':', length) != NULL, name);
    lua_pop(L, 1);
}

/* Upvalues: the function; its doc; how many arguments it has. */
static int call_counted(lua_State *L) {
    check_count(L, lua_touserdata(L, lua_upvalueindex(2)));
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

static int lua_ended(lua_State *L, int status, lua_KContext extra) {
    (void)status, (void)extra;
    return lua_gettop(L);
}

static int call_counted_lua(lua_State *L) { /* the same of a function in Lua, and of a doc that is a string there */
    check_count(L, lua_tostring(L, lua_upvalueindex(2)));
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_callk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, lua_ended);
    return lua_gettop(L);
}

int bind_public(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    const char *doc = luaL_checkstring(L, 2);
    const int most = most_arguments(doc);
    lua_settop(L, 2);
    if (most < INT_MAX) {
        lua_pushvalue(L, 1);
        lua_pushvalue(L, 2);
        lua_pushinteger(L, most);
        lua_pushcclosure(L, call_counted_lua, 3);
        lua_replace(L, 1);
    }
    bind_doc(L, 1, doc);
    lua_settop(L, 1);
    return 1;
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
        lua_pushstring(L, rows->name);
        if (lua_rawget(L, -3) != LUA_TNIL) luaL_error(L, "%s is the name of two functions", rows->name);
        lua_pop(L, 1);
        lua_setfield(L, -2, rows->name);
    }
}

void bind_row_name(lua_State *L, int index, const char *kind, const char *name, const char *said) {
    if (!said || strcmp(said, name))
        luaL_error(L, "%s_row %s_%s: .name is not NAME of %s_NAME", kind, kind, name, kind);
    index = lua_absindex(L, index);
    lua_pushstring(L, name);
    bind_row_check(L, lua_rawget(L, index) == LUA_TNIL, kind, name, ".name is that of another function");
    lua_pop(L, 1);
}

void bind_row_check(lua_State *L, bool is, const char *kind, const char *name, const char *field) {
    if (!is) luaL_error(L, "%s_row %s_%s: %s", kind, kind, name ? name : "?", field);
}
