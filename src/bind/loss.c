/* loss.c - bk.loss: values that make a model's loss when called, or another of their kind when told options. */
#include "args.h"
#include "nn_lua.h"
#include <string.h>

#define BIND_LOSS "bracket.loss"

static loss *push_loss(lua_State *L) {
    loss *l = lua_newuserdatauv(L, sizeof *l, 0);
    memset(l, 0, sizeof *l);
    luaL_setmetatable(L, BIND_LOSS);
    return l;
}

static int loss_call(lua_State *L) { /* loss, model [, x, y [, mode]]; or loss, options */
    const loss *l = luaL_checkudata(L, 1, BIND_LOSS);
    const int given = lua_gettop(L);
    const char *fname = lua_pushfstring(L, "bk.loss.%s", l->row->name);
    args_end(L, lua_istable(L, 2) ? 2 : 5, given, true, fname);
    lua_insert(L, 1);
    lua_settop(L, 6);
    if (lua_istable(L, 3)) {
        loss told = { .row = l->row };
        args_read(L, 3, fname, l->row->options, told.option);
        *push_loss(L) = told;
        return 1;
    }
    lua_model *m = bind_check_model(L, 3, fname, "model");
    const tensor *x = lua_isnil(L, 4) ? NULL : bind_check_tensor(L, 4, fname, "x");
    const tensor *y = lua_isnil(L, 5) ? NULL : bind_check_tensor(L, 5, fname, "y");
    for (int i = 0; lua_istable(L, 6) && i < option_count(l->row->options); i++) {
        const char *name = l->row->options[i].name;
        if (lua_getfield(L, 6, name) != LUA_TNIL)
            return args_error(L, fname, "%s: an option of the loss itself, expected in %s{ %s = ... }(model, x, y)",
                              name, fname, name);
        lua_pop(L, 1);
    }
    err e = { 0 };
    model_with with = bind_push_with(L, m->m, 6, fname);
    tensor values[2] = { 0 };
    for (int i = 0, n = lua_gettop(L) - 6; i < n; i++)
        values[i] = *bind_check_tensor(L, 7 + i, fname, "seed or buffers");
    func *f = loss_new(m->m, l, x, y, &with, values, &e);
    if (!f) return bind_raise(L, &e);
    bind_push_func(L, f);
    return 1;
}

static int loss_accuracy_(lua_State *L) {
    const loss *l = luaL_testudata(L, 1, BIND_LOSS);
    if (!l) args_fail(L, 1, "loss:accuracy", "self", "a loss of bk.loss (call with a colon)");
    lua_model *m = bind_check_model(L, 2, "loss:accuracy", "model");
    if (!l->row->hits) {
        lua_pushnil(L);
        return 1;
    }
    err e = { 0 };
    func *f = loss_accuracy(m->m, l->row, &e);
    if (!f) return bind_raise(L, &e);
    bind_push_func(L, f);
    return 1;
}

static int loss_index(lua_State *L) { /* upvalue: methods */
    const loss *l = luaL_checkudata(L, 1, BIND_LOSS);
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    if (strcmp(key, "name") == 0) return lua_pushstring(L, l->row->name), 1;
    if (strcmp(key, "class_ids") == 0) return lua_pushboolean(L, l->row->class_ids), 1;
    for (int i = 0; i < option_count(l->row->options); i++)
        if (strcmp(key, l->row->options[i].name) == 0) return lua_pushnumber(L, l->option[i]), 1;
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) == LUA_TNIL)
        return args_error(L, "bk.loss", "no field %s; it has name, class_ids, accuracy and its options",
                          args_got(L, 2));
    return 1;
}

static int loss_tostring(lua_State *L) {
    const loss *l = luaL_checkudata(L, 1, BIND_LOSS);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    lua_pushfstring(L, "bk.loss.%s", l->row->name);
    luaL_addvalue(&b);
    for (int i = 0, n = option_count(l->row->options); i < n; i++) {
        lua_pushfstring(L, "%s%s = ", i ? ", " : "{ ", l->row->options[i].name);
        luaL_addvalue(&b);
        bind_push_number(L, l->option[i]);
        luaL_addvalue(&b);
    }
    luaL_addstring(&b, l->row->options[0].name ? " }" : "{}");
    luaL_pushresult(&b);
    return 1;
}

static const bind_row loss_methods[] = {
    { "accuracy", loss_accuracy_,
      "loss:accuracy(model) -> function (theta, x, y) -> share of right answers, or nil\n"
      "What counts as right beside this loss: the largest output, the sign of a binary output; nil for targets." },
    { NULL, NULL, NULL },
};

static int is_loss(lua_State *L) {
    lua_pushboolean(L, luaL_testudata(L, 1, BIND_LOSS) != NULL);
    return 1;
}

static const bind_row module_rows[] = {
    { "is_loss", is_loss,
      "bk.is_loss(value) -> boolean\nWhether value is one of bk.loss, or made from one by options." },
    { NULL, NULL, NULL },
};

void bind_losses(lua_State *L) {
    luaL_newmetatable(L, BIND_LOSS);
    args_fixed(L, "bk.loss");
    lua_pushcfunction(L, loss_call);
    lua_setfield(L, -2, "__call");
    lua_pushcfunction(L, loss_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_newtable(L);
    bind_rows(L, loss_methods);
    lua_pushcclosure(L, loss_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    bind_rows(L, module_rows);
    luaL_getsubtable(L, -1, "loss");
    for (const loss_row *const *r = loss_rows; *r; r++) {
        bind_row_name(L, -1, "loss", loss_row_names[r - loss_rows], (*r)->name);
        bind_row_check(L, (*r)->doc && (*r)->build, "loss", (*r)->name, ".doc or .build is missing");
        loss *l = push_loss(L);
        l->row = *r;
        for (int i = 0; i < option_count((*r)->options); i++) l->option[i] = (*r)->options[i].otherwise;
        args_doc(L, -1, (*r)->doc, (*r)->options);
        lua_setfield(L, -2, (*r)->name);
    }
    lua_pop(L, 1);
}
