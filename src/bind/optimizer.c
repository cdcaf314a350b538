/* optimizer.c - optimizers for Lua: bk.optim.NAME{...} -> an object with explicit state. */
#include "../optim/optim.h"
#include "args.h"
#include <string.h>

#define BIND_OPTIM "bracket.optimizer"

static optim *check_optim(lua_State *L, const char *fname) {
    optim **o = luaL_testudata(L, 1, BIND_OPTIM);
    if (!o || !*o) args_fail(L, 1, fname, "optimizer", "an optimizer (bk.optim.sgd{} ...)");
    return *o;
}

static int optim_make(lua_State *L) {
    const optim_row *row = lua_touserdata(L, lua_upvalueindex(1));
    lua_settop(L, 1);
    const char *fname = lua_pushfstring(L, "bk.optim.%s", row->name), *known[OPTIM_MAX_OPTIONS + 1] = { NULL };
    double values[OPTIM_MAX_OPTIONS] = { 0 };
    lua_insert(L, 1);
    for (int i = 0; i < OPTIM_MAX_OPTIONS && row->options[i].name; i++) known[i] = row->options[i].name;
    int table = args_options(L, 2, fname, known, false);
    for (int i = 0; known[i]; i++) values[i] = args_opt_number(L, table, fname, known[i], row->options[i].value);
    optim **o = lua_newuserdatauv(L, sizeof *o, 0);
    *o = NULL;
    luaL_setmetatable(L, BIND_OPTIM);
    err e = { 0 };
    if (optim_new(bind_ctx(L), row, values, o, &e)) return bind_raise(L, &e);
    return 1;
}

static int optim_gc(lua_State *L) {
    optim **o = luaL_checkudata(L, 1, BIND_OPTIM);
    optim_free(*o);
    *o = NULL;
    return 0;
}

static int optim_step_(lua_State *L) {
    const char *fname = "optimizer:step";
    optim *o = check_optim(L, fname);
    const tensor *theta = bind_check_tensor(L, 2, fname, "theta"), *g = bind_check_tensor(L, 3, fname, "g");
    double lr = args_number(L, 4, fname, "lr");
    shape_buf a, b;
    if (g->dtype != theta->dtype || !shape_equal(g->ndim, g->shape, theta->ndim, theta->shape))
        return args_error(L, fname, "g: expected theta's %s %s, got %s %s", dtype_name(theta->dtype),
                          shape_text(theta->ndim, theta->shape, &a), dtype_name(g->dtype),
                          shape_text(g->ndim, g->shape, &b));
    tensor next = { 0 }, grad = { 0 };
    err e = { 0 };
    bk_status st = tensor_contiguous_as(g, g->dtype, &grad, &e);
    if (!st) st = tensor_new(bind_ctx(L), theta->dtype, theta->ndim, theta->shape, &next, &e);
    if (!st) {
        tensor_copy_to(theta, theta->dtype, tensor_data(&next));
        st = optim_step(o, tensor_count(&next), next.dtype, tensor_data(&next), tensor_data(&grad), lr, &e);
    }
    tensor_release(&grad);
    if (st) {
        tensor_release(&next);
        return bind_raise(L, &e);
    }
    bind_push_tensor(L, &next);
    return 1;
}

static int optim_state(lua_State *L) {
    optim *o = check_optim(L, "optimizer:state");
    lua_newtable(L);
    lua_pushinteger(L, o->t);
    lua_setfield(L, -2, "step");
    for (int i = 0; o->row->buffers[i] && o->n >= 0; i++) {
        tensor copy = { 0 };
        err e = { 0 };
        if (tensor_new(o->c, o->dtype, 1, &o->n, &copy, &e)) return bind_raise(L, &e);
        tensor_copy_to(&o->buffer[i], o->dtype, tensor_data(&copy));
        bind_push_tensor(L, &copy);
        lua_setfield(L, -2, o->row->buffers[i]);
    }
    return 1;
}

static int optim_restore_(lua_State *L) {
    const char *fname = "optimizer:restore", *known[OPTIM_MAX_BUFFERS + 2] = { "step" };
    optim *o = check_optim(L, fname);
    tensor buffers[OPTIM_MAX_BUFFERS] = { { 0 } };
    int n = 0;
    for (; o->row->buffers[n]; n++) known[n + 1] = o->row->buffers[n];
    known[n + 1] = NULL;
    args_table(L, 2, fname, "state");
    int table = args_options(L, 2, fname, known, false), found = 0;
    int64_t t = args_opt_integer(L, table, fname, "step", 0, INT64_MAX, 0);
    for (int i = 0; i < n; i++)
        if (args_field(L, table, known[i + 1])) {
            buffers[i] = *bind_check_tensor(L, -1, fname, known[i + 1]);
            found++;
        }
    if (found == 0 && (n == 0 || t == 0)) { /* a state saved before the first step */
        optim_reset(o);
        o->t = t;
    } else if (found < n) {
        return args_error(L, fname, "state: expected the tensors of %s:state(), some are missing", o->row->name);
    } else {
        err e = { 0 };
        if (optim_restore(o, t, buffers, &e)) return bind_raise(L, &e);
    }
    lua_settop(L, 1);
    return 1;
}

static int optim_reset_(lua_State *L) {
    optim_reset(check_optim(L, "optimizer:reset"));
    lua_settop(L, 1);
    return 1;
}

static int optim_index(lua_State *L) {
    optim *o = check_optim(L, "optimizer");
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    if (strcmp(key, "name") == 0) {
        lua_pushstring(L, o->row->name);
        return 1;
    }
    for (int i = 0; i < OPTIM_MAX_OPTIONS && o->row->options[i].name; i++)
        if (strcmp(key, o->row->options[i].name) == 0) {
            lua_pushnumber(L, o->option[i]);
            return 1;
        }
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    return 1;
}

static int optim_tostring(lua_State *L) {
    optim *o = check_optim(L, "optimizer");
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    luaL_addstring(&b, o->row->name);
    luaL_addstring(&b, "{");
    for (int i = 0; i < OPTIM_MAX_OPTIONS && o->row->options[i].name; i++) {
        lua_pushfstring(L, "%s%s = %f", i ? ", " : "", o->row->options[i].name, o->option[i]);
        luaL_addvalue(&b);
    }
    luaL_addstring(&b, "}");
    luaL_pushresult(&b);
    return 1;
}

static const bind_row optim_methods[] = {
    { "step", optim_step_,
      "optimizer:step(theta, g, lr) -> theta'\n"
      "One update from the gradient g (theta's dtype and shape). theta and g stay as they are; the state moves on." },
    { "state", optim_state,
      "optimizer:state() -> { step, NAME = tensor, ... }\nA copy of the state, for optimizer:restore." },
    { "restore", optim_restore_,
      "optimizer:restore(state) -> optimizer\nSets the state that optimizer:state() returned." },
    { "reset", optim_reset_, "optimizer:reset() -> optimizer\nForgets the state: as new." },
    { NULL, NULL, NULL },
};

void bind_optim(lua_State *L) {
    luaL_newmetatable(L, BIND_OPTIM);
    lua_pushcfunction(L, optim_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, optim_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_newtable(L);
    bind_rows(L, optim_methods);
    lua_pushcclosure(L, optim_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);

    lua_pushstring(L, "optim");
    if (lua_rawget(L, -2) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setfield(L, -3, "optim");
    }
    for (const optim_row *const *r = optim_rows; *r; r++) {
        lua_pushlightuserdata(L, (void *)*r);
        lua_pushcclosure(L, optim_make, 1);
        bind_doc(L, -1, (*r)->doc);
        lua_setfield(L, -2, (*r)->name);
    }
    lua_pop(L, 1);
}
