/* data.c - readers of files for Lua: bk.data.NAME and bk.load_NAME of every row in src/data. Named data sets and tasks
 * are Lua. */
#include "../data/format.h"
#include "args.h"
#include "tensor_value.h"
#include <string.h>

enum { DEPTH = 4 }; /* of tables in options */

/* Trees of values lie in a userdata, which a Lua error frees. */
static int free_call(lua_State *L) {
    value *trees = lua_touserdata(L, 1);
    for (int i = 0; i <= OPTIONS_MAX; i++)
        if (trees[i].c) value_free(&trees[i]);
    return 0;
}

static value *push_trees(lua_State *L) {
    value *trees = lua_newuserdatauv(L, sizeof *trees * (OPTIONS_MAX + 1), 0);
    memset(trees, 0, sizeof *trees * (OPTIONS_MAX + 1));
    if (luaL_newmetatable(L, "bracket.values")) {
        lua_pushcfunction(L, free_call);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    for (int i = 0; i <= OPTIONS_MAX; i++) trees[i].c = bind_ctx(L);
    return trees;
}

/* ---- options ---- */

static const char *plain_text(lua_State *L, int index, const char *fname, const char *name) {
    const char *text = lua_tostring(L, index);
    if (strlen(text) != lua_rawlen(L, index)) args_error(L, fname, "%s: contains a zero byte", name);
    return text;
}

static void read_tree(lua_State *L, const char *fname, const option *o, value *to, int depth);

/* The value on top as an entry of `to`, under its key. */
static void read_value(lua_State *L, const char *fname, const char *key, const option *o, value *to, int depth) {
    err e = { 0 };
    bk_status status = BK_OK;
    value *table = NULL;
    if (lua_type(L, -1) == LUA_TSTRING) {
        const char *text = plain_text(L, -1, fname, o->name);
        status = value_add_text(to, key, text, strlen(text), &e);
    } else if (lua_isinteger(L, -1)) {
        status = value_add_count(to, key, lua_tointeger(L, -1), &e);
    } else if (lua_istable(L, -1) && depth < DEPTH) {
        status = (table = value_add(to, key, VALUE_TABLE, &e)) ? BK_OK : BK_ENOMEM;
    } else {
        args_fail(L, lua_gettop(L), fname, o->name, o->wanted);
    }
    if (status) bind_raise(L, &e);
    if (table) read_tree(L, fname, o, table, depth + 1);
}

/* The table on top: its list, then what has names. */
static void read_tree(lua_State *L, const char *fname, const option *o, value *to, int depth) {
    const lua_Integer n = (lua_Integer)lua_rawlen(L, -1);
    luaL_checkstack(L, 4, fname);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, -1, i);
        read_value(L, fname, NULL, o, to, depth);
        lua_pop(L, 1);
    }
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        if (lua_isinteger(L, -2) && lua_tointeger(L, -2) >= 1 && lua_tointeger(L, -2) <= n) continue;
        if (lua_type(L, -2) != LUA_TSTRING) args_fail(L, lua_gettop(L) - 1, fname, o->name, o->wanted);
        read_value(L, fname, plain_text(L, -2, fname, o->name), o, to, depth);
    }
}

static void read_options(lua_State *L, int index, const char *fname, const format_row *row, value *trees,
                         format_call *call) {
    args_read(L, index, fname, row->options, call->option);
    for (int i = 0, n = option_count(row->options); i < n && lua_istable(L, index); i++) {
        const option *o = &row->options[i];
        if (o->type < OPTION_TEXT || !args_field(L, index, o->name)) continue;
        const int type = lua_type(L, -1);
        if (type != (o->type == OPTION_TEXT ? LUA_TSTRING : LUA_TTABLE))
            args_fail(L, lua_gettop(L), fname, o->name, o->wanted ? o->wanted : "a string");
        if (type == LUA_TTABLE) {
            read_tree(L, fname, o, &trees[i], 1);
            call->given[i] = &trees[i];
        } else {
            read_value(L, fname, NULL, o, &trees[i], 1);
            call->given[i] = trees[i].first;
        }
        lua_pop(L, 1);
    }
}

/* ---- results ---- */

static void push_value(lua_State *L, value *v) {
    luaL_checkstack(L, 4, "data");
    switch (v->kind) {
    case VALUE_TENSOR:
        bind_push_tensor(L, &v->tensor);
        break;
    case VALUE_TEXT:
        lua_pushstring(L, v->text);
        break;
    case VALUE_COUNT:
        lua_pushinteger(L, v->count);
        break;
    default:
        lua_newtable(L);
        for (value *child = v->first; child; child = child->next) {
            push_value(L, child);
            if (child->key)
                lua_setfield(L, -2, child->key);
            else
                lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
        }
    }
}

static int read_file(lua_State *L) { /* upvalues: the row, its name for users */
    const format_row *row = lua_touserdata(L, lua_upvalueindex(1));
    const char *fname = lua_tostring(L, lua_upvalueindex(2));
    format_call call = { .c = bind_ctx(L), .path = args_path(L, 1, fname) };
    args_end(L, 2, lua_gettop(L), false, fname);
    lua_settop(L, 2);
    value *trees = push_trees(L), *out = &trees[OPTIONS_MAX];
    read_options(L, 2, fname, row, trees, &call);
    err e = { 0 };
    if (row->read(&call, out, &e)) {
        for (int i = 0; i <= OPTIONS_MAX; i++) value_free(&trees[i]);
        if (e.status != BK_EINTERRUPTED) err_prefix(&e, fname);
        return bind_raise(L, &e);
    }
    int n = 0;
    for (value *v = out->first; v; v = v->next, n++) push_value(L, v);
    for (int i = 0; i <= OPTIONS_MAX; i++) value_free(&trees[i]);
    bind_account(L, 0);
    return n;
}

void bind_data(lua_State *L) {
    luaL_getsubtable(L, -1, "data");
    for (const format_row *const *r = format_rows; *r; r++) {
        const format_row *row = *r;
        bind_row_name(L, -1, "format", format_row_names[r - format_rows], row->name);
        bind_row_check(L, row->doc && row->read, "format", row->name, ".doc or .read is missing");
        const char *fname = lua_pushfstring(L, row->saved ? "bk.load_%s" : "bk.data.%s", row->name);
        lua_pushlightuserdata(L, (void *)row);
        lua_pushvalue(L, -2);
        lua_pushcclosure(L, read_file, 2);
        args_doc(L, -1, row->doc, row->options);
        lua_setfield(L, row->saved ? -4 : -3, strrchr(fname, '.') + 1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}
