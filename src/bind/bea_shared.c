/* bea_shared.c - what the files of bk.bea share: lists of losses, classes of objects. */
#include <string.h>
#include "args.h"
#include "bea_lua.h"
#include <math.h>

func **bind_bea_check_losses(lua_State *L, int index, const char *fname, const char *argument, bool fields,
                             int *n) {
    index = lua_absindex(L, index);
    if (!lua_istable(L, index)) args_fail(L, index, fname, argument, "a list of losses");
    *n = (int)args_list(L, index, fname, argument, fields);
    if (*n < 1) args_error(L, fname, "%s: expected at least one loss", argument);
    lua_createtable(L, *n, 0);
    func **list = lua_newuserdatauv(L, (size_t)*n * sizeof *list, 0);
    for (int i = 0; i < *n; i++) {
        lua_rawgeti(L, index, i + 1);
        const char *name = lua_pushfstring(L, "%s[%d]", argument, i + 1);
        lua_insert(L, -2);
        list[i] = bind_check_func(L, lua_gettop(L), fname, name);
        lua_rawseti(L, -4, i + 1);
        lua_pop(L, 1);
    }
    return list;
}

void bind_bea_own_func(lua_State *L, func *f, err *e, int over) {
    if (!f) bind_raise(L, e);
    bind_push_func_over(L, f, over);
}

double bind_bea_finite_number(lua_State *L, int index, const char *fname, const char *argument) {
    double v = args_number(L, index, fname, argument);
    if (!isfinite(v)) args_fail(L, index, fname, argument, "a finite number");
    return v;
}

void bind_bea_class(lua_State *L, const char *name, const bind_row *rows) {
    luaL_newmetatable(L, name);
    lua_newtable(L);
    bind_rows(L, rows);
    lua_setfield(L, -2, "__index");
    args_fixed(L, name + strlen("bracket."));
}
