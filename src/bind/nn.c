/* nn.c - models and losses for Lua: bk.nn, bk.loss. A layer is a small description, a model a refcounted list of
 * them, a loss a func. */
#include "../model/loss.h"
#include "args.h"
#include "func_value.h"
#include "rooms.h"
#include "tensor_value.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define BIND_LAYER "bracket.layer"
#define BIND_MODEL "bracket.model"

typedef struct lua_model {
    model *m;
    func *forward, *accuracy;
} lua_model;

/* Pushes bk[name], made when it is missing; bk is on top. */
static void push_room(lua_State *L, const char *name) {
    lua_pushstring(L, name);
    if (lua_rawget(L, -2) == LUA_TTABLE) return;
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushstring(L, name);
    lua_pushvalue(L, -2);
    lua_rawset(L, -4);
}

/* ---- layers ---- */
/* Pushes an empty layer. */
static layer *push_layer(lua_State *L) {
    layer *l = lua_newuserdatauv(L, sizeof *l, 1);
    memset(l, 0, sizeof *l);
    luaL_setmetatable(L, BIND_LAYER);
    return l;
}

static int layer_make(lua_State *L) {
    layer l = { .row = lua_touserdata(L, lua_upvalueindex(1)) };
    lua_settop(L, 1);
    const char *fname = lua_pushfstring(L, "bk.nn.%s", l.row->name);
    args_read(L, 1, fname, l.row->options, l.option);
    *push_layer(L) = l;
    return 1;
}

/* ---- activations, for layers written in Lua ---- */

static bool build_activation(graph *g, const op_call *c, int n_in, node *const *in, node **out) {
    (void)n_in;
    const layer_row *row = c->what;
    node *x = in[0]->dtype == BK_INT64 ? g_cast(g, in[0], BK_FLOAT64) : in[0];
    out[0] = x ? row->activation(g, x) : NULL;
    return out[0] != NULL;
}

static int call_activation(lua_State *L) { /* upvalue: the row */
    const layer_row *row = lua_touserdata(L, lua_upvalueindex(1));
    op_call call = { .name = row->name, .build = build_activation, .what = row, .n_out = 1 };
    lua_tensor *x = bind_tensor_arg(L, 1, row->name, "x");
    return bind_tensor_apply(L, &call, 1, &x);
}

/* Pushes "gelu, relu, tanh": every activation there is. */
static const char *push_activations(lua_State *L) {
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    int n = 0;
    for (const layer_row *const *r = layer_rows; *r; r++)
        if ((*r)->activation) {
            luaL_addstring(&b, n++ ? ", " : "");
            luaL_addstring(&b, (*r)->name);
        }
    luaL_pushresult(&b);
    return lua_tostring(L, -1);
}

static const layer_row *check_activation(lua_State *L, const char *fname, const char *name) {
    const layer_row *row = layer_find(name);
    if (!row || !row->activation) {
        const char *known = push_activations(L);
        args_error(L, fname, "activation: expected one of %s, got \"%s\"", known, name);
    }
    return row;
}

/* activation(fname, name): the function of a tensor, or an error that begins with fname. */
static int internal_activation(lua_State *L) {
    const layer_row *row = check_activation(L, luaL_checkstring(L, 1), luaL_checkstring(L, 2));
    lua_pushlightuserdata(L, (void *)row);
    lua_pushcclosure(L, call_activation, 1);
    return 1;
}

/* ---- a layer made of a Lua function ---- */

/* Upvalues: the user's function, the names of the parameters. Called with the parameters and x. */
static int call_forward(lua_State *L) {
    int n = (int)lua_rawlen(L, lua_upvalueindex(2));
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_createtable(L, 0, n);
    for (int i = 1; i <= n; i++) {
        lua_rawgeti(L, lua_upvalueindex(2), i);
        lua_pushvalue(L, i);
        lua_rawset(L, -3);
    }
    lua_pushvalue(L, n + 1);
    lua_call(L, 2, 1);
    if (!lua_isuserdata(L, -1)) args_fail(L, -1, "bk.nn.layer", "forward's result", "a tensor");
    return 1;
}

/* The table on top: { name [, first = 1, rows = all] }, a part of b in PyTorch's state_dict. */
static void check_torch_part(lua_State *L, const char *fname, const model_block *b, torch_part *to, char *name) {
    static const char *const known[] = { "first", "rows", NULL };
    int table = args_options(L, lua_gettop(L), fname, known, true);
    const char *given = table && lua_rawgeti(L, table, 1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    if (!*given || strlen(given) >= TORCH_NAME)
        args_error(L, fname, "params: torch: expected tables { name [, first, rows] }, names of 1 to %d characters",
                   TORCH_NAME - 1);
    strcpy(name, given);
    to->name = name;
    to->first = args_opt_integer(L, table, fname, "first", 1, (int64_t)1 << 40, 1) - 1;
    to->rows = args_opt_integer(L, table, fname, "rows", 1, b->shape[0], b->shape[0]);
}

/* The options torch and turned of a block's table: a name, or up to two parts. */
static void check_torch(lua_State *L, int table, const char *fname, model_block *b, char (*names)[TORCH_NAME]) {
    b->turned = args_opt_boolean(L, table, fname, "turned", false);
    if (b->turned && b->ndim != 2) args_error(L, fname, "params: turned: expected 2 sizes, got %d", b->ndim);
    if (!args_field(L, table, "torch")) return;
    int top = lua_gettop(L), n = lua_istable(L, top) ? (int)lua_rawlen(L, top) : 0;
    if (n > TORCH_PARTS) args_error(L, fname, "params: torch: expected at most %d parts, got %d", TORCH_PARTS, n);
    if (!n) { /* a name alone */
        lua_createtable(L, 1, 0);
        lua_pushvalue(L, top);
        lua_rawseti(L, -2, 1);
        check_torch_part(L, fname, b, &b->torch[0], names[0]);
    }
    for (int i = 0; i < n; i++) {
        lua_rawgeti(L, top, i + 1);
        check_torch_part(L, fname, b, &b->torch[i], names[i]);
    }
    lua_settop(L, top - 1);
}

/* The tensor described by the table on top: { name, shape = {...}, init = ..., fan_in = ..., fan_out = ..., torch =
 * ..., turned = ... } */
static void check_block(lua_State *L, const char *fname, model_block *b, char *name, char (*torch)[TORCH_NAME]) {
    static const char *const known[] = { "shape", "init", "fan_in", "fan_out", "torch", "turned", NULL };
    static const char *const inits[] = { "weight", "zeros", "ones", "normal", NULL };
    static const block_init kinds[] = { INIT_WEIGHT, INIT_ZERO, INIT_ONE, INIT_TABLE };
    int table = args_options(L, lua_gettop(L), fname, known, true);
    if (!table) args_fail(L, -1, fname, "params", "tables { name, shape = {...} }");
    lua_rawgeti(L, table, 1);
    const char *given = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    if (!*given || strlen(given) >= LAYER_NAME)
        args_fail(L, -1, fname, "params: name", "a name of 1 to 31 characters in front");
    strcpy(name, given);
    lua_pop(L, 1);
    int64_t shape[BK_MAX_DIMS];
    if (!args_field(L, table, "shape")) lua_pushnil(L);
    b->ndim = args_shape(L, lua_gettop(L), fname, "params: shape", 1, shape);
    lua_pop(L, 1);
    if (b->ndim < 1 || b->ndim > 4) args_error(L, fname, "params: shape: expected 1 to 4 sizes, got %d", b->ndim);
    memcpy(b->shape, shape, (size_t)b->ndim * sizeof *shape);
    b->size = shape_count(b->ndim, b->shape);
    b->init = kinds[args_opt_choice(L, table, fname, "init", inits, b->ndim > 1 ? 0 : 1)];
    b->fan_in = args_opt_integer(L, table, fname, "fan_in", 1, INT64_MAX, shape[0]);
    b->fan_out = args_opt_integer(L, table, fname, "fan_out", 1, INT64_MAX, b->size / shape[0]);
    check_torch(L, table, fname, b, torch);
}

/* {"batch", "time", 8}: names stand for any size */
static void check_input(lua_State *L, int index, const char *fname, layer_function *f) {
    args_table(L, index, fname, "input");
    f->ndim = (int)lua_rawlen(L, index);
    if (f->ndim > BK_MAX_DIMS) args_error(L, fname, "input: at most %d dimensions, got %d", BK_MAX_DIMS, f->ndim);
    lua_pushstring(L, "(");
    for (int i = 0; i < f->ndim; i++) {
        lua_rawgeti(L, index, i + 1);
        bool name = lua_type(L, -1) == LUA_TSTRING;
        f->input[i] = name ? -1 : args_integer(L, lua_gettop(L), fname, "input", 0, (int64_t)1 << 40);
        if (i) {
            lua_pushstring(L, ", ");
            lua_insert(L, -2);
        }
        lua_concat(L, i ? 3 : 2);
    }
    lua_pushstring(L, ")");
    lua_concat(L, 2);
    snprintf(f->expects, sizeof f->expects, "%s", lua_tostring(L, -1));
    lua_pop(L, 1);
}

static int nn_layer(lua_State *L) {
    static const char *const known[] = { "name", "params", "input", "forward", NULL };
    const char *fname = "bk.nn.layer";
    lua_settop(L, 1);
    int table = args_options(L, 1, fname, known, false);
    if (!table) return args_fail(L, 1, fname, "layer", "a table {name = ..., params = ..., forward = ...}");
    layer *l = push_layer(L); /* 2 */
    err e = { 0 };
    l->row = layer_row_function;
    if (!(l->own = layer_function_new(bind_ctx(L), &e))) return bind_raise(L, &e);
    layer_function *f = l->own;
    const char *name = args_opt_string(L, table, fname, "name", "layer");
    if (strlen(name) >= LAYER_NAME) return args_error(L, fname, "name: expected at most 31 characters, got %s", name);
    strcpy(f->name, name);
    if (args_field(L, table, "input")) check_input(L, lua_gettop(L), fname, f);
    lua_settop(L, 2);
    if (!args_field(L, table, "forward") || !lua_isfunction(L, -1))
        return args_fail(L, -1, fname, "forward", "a function (params, x) -> y");
    lua_newtable(L); /* 4: names */
    if (args_field(L, table, "params")) {
        args_table(L, 5, fname, "params");
        f->n_blocks = (int)lua_rawlen(L, 5);
        if (f->n_blocks > LAYER_MAX_BLOCKS)
            return args_error(L, fname, "params: at most %d, got %d", LAYER_MAX_BLOCKS, f->n_blocks);
        for (int i = 0; i < f->n_blocks; i++) {
            lua_rawgeti(L, 5, i + 1);
            check_block(L, fname, &f->blocks[i], f->block_names[i], f->torch_names[i]);
            lua_pushstring(L, f->block_names[i]);
            lua_rawseti(L, 4, i + 1);
        }
        lua_settop(L, 4);
    }
    lua_pushcclosure(L, call_forward, 2); /* 3 */
    func_retain(f->forward = bind_check_func(L, 3, fname, "forward"));
    lua_setiuservalue(L, 2, 1); /* while the layer lives the function is a plain value, so that cycles are collected */
    return 1;
}

static int layer_gc(lua_State *L) {
    layer *l = luaL_checkudata(L, 1, BIND_LAYER);
    layer_function_release(l->own);
    l->own = NULL;
    return 0;
}

static int layer_tostring(lua_State *L) {
    const layer *l = luaL_checkudata(L, 1, BIND_LAYER);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    luaL_addstring(&b, layer_name(l));
    int n = option_count(l->row->options), shown = 0;
    for (int i = 0; i < n; i++) {
        const option *o = &l->row->options[i];
        if (o->type != OPTION_COUNT) continue;
        lua_pushfstring(L, "%s%s%s%I", shown++ ? ", " : "{", o->by_place ? "" : o->name, o->by_place ? "" : " = ",
                        (LUAI_UACINT)layer_size(l, i));
        luaL_addvalue(&b);
    }
    luaL_addstring(&b, shown ? "}" : n ? "{}" : "()");
    luaL_pushresult(&b);
    return 1;
}

/* ---- models ---- */
static lua_model *check_model(lua_State *L, int index, const char *fname, const char *argument) {
    lua_model *m = luaL_testudata(L, index, BIND_MODEL);
    if (!m || !m->m) args_fail(L, index, fname, argument, "a model (bk.nn.mlp or bk.nn.sequential)");
    return m;
}

/* Pushes the model of n layers, whose memory stays the caller's. */
static int model_push(lua_State *L, int n, const layer *layers) {
    lua_model *m = lua_newuserdatauv(L, sizeof *m, 2);
    memset(m, 0, sizeof *m);
    luaL_setmetatable(L, BIND_MODEL);
    err e = { 0 };
    if (model_new(bind_ctx(L), n, layers, &m->m, &e) || !(m->forward = model_forward(m->m, &e)) ||
        !(m->accuracy = loss_accuracy(m->m, &loss_cross_entropy, &e)))
        return bind_raise(L, &e);
    return 1;
}

static int nn_sequential(lua_State *L) {
    static const char *const none[] = { NULL };
    const char *fname = "bk.nn.sequential";
    args_table(L, 1, fname, "layers");
    args_options(L, 1, fname, none, true);
    int n = (int)lua_rawlen(L, 1);
    layer *list = lua_newuserdatauv(L, (size_t)(n ? n : 1) * sizeof *list, 0);
    for (int i = 0; i < n; i++) {
        lua_rawgeti(L, 1, i + 1);
        const layer *l = luaL_testudata(L, -1, BIND_LAYER);
        if (!l) {
            bool call = lua_isfunction(L, -1);
            return args_error(L, fname, "layer %d: expected a layer such as bk.nn.linear{3, 5}, got %s%s", i + 1,
                              args_got(L, -1), call ? " (is () missing, as in bk.nn.tanh()?)" : "");
        }
        list[i] = *l;
        lua_pop(L, 1);
    }
    model_push(L, n, list);
    lua_pushvalue(L, 1); /* the layers' functions live as Lua values as long as the model does */
    lua_setiuservalue(L, -2, 2);
    return 1;
}

static int nn_mlp(lua_State *L) {
    static const char *const known[] = { "activation", NULL };
    const char *fname = "bk.nn.mlp";
    args_table(L, 1, fname, "sizes");
    int table = args_options(L, 1, fname, known, true), n = (int)lua_rawlen(L, table);
    const layer_row *act = check_activation(L, fname, args_opt_string(L, table, fname, "activation", "tanh"));
    if (n < 2) return args_error(L, fname, "expected at least two sizes, {inputs, ..., outputs}, got %d", n);
    int count = 2 * n - 3;
    layer *list = lua_newuserdatauv(L, (size_t)count * sizeof *list, 0);
    memset(list, 0, (size_t)count * sizeof *list);
    for (int i = 0; i < n; i++) {
        lua_rawgeti(L, table, i + 1);
        int64_t size = args_integer(L, lua_gettop(L), fname, "size", 1, (int64_t)1 << 31);
        lua_pop(L, 1);
        if (i > 0) list[2 * (i - 1)].option[1] = (double)size;
        if (i < n - 1) {
            list[2 * i].row = &layer_linear;
            list[2 * i].option[0] = (double)size;
            list[2 * i].option[2] = 1; /* a bias */
        }
        if (i > 0 && i < n - 1) list[2 * i - 1].row = act;
    }
    return model_push(L, count, list);
}

static int model_gc(lua_State *L) {
    lua_model *m = luaL_checkudata(L, 1, BIND_MODEL);
    func_release(m->forward);
    func_release(m->accuracy);
    model_release(m->m);
    memset(m, 0, sizeof *m);
    return 0;
}

static int model_init_(lua_State *L) {
    static const char *const known[] = { "seed", "scheme", "scale", "dtype", NULL };
    const char *fname = "model:init";
    lua_model *m = check_model(L, 1, fname, "model");
    int table = args_options(L, 2, fname, known, false);
    init_options o = {
        .seed = (uint64_t)args_opt_integer(L, table, fname, "seed", INT64_MIN, INT64_MAX, 0),
        .scheme = args_opt_string(L, table, fname, "scheme", "glorot"),
        .scale = args_opt_number(L, table, fname, "scale", 1),
        .dtype = args_opt_dtype(L, table, fname, BK_FLOAT64),
    };
    if (!isfinite(o.scale)) return args_error(L, fname, "scale: expected a finite number, got %f", o.scale);
    tensor theta;
    err e = { 0 };
    if (model_init(m->m, &o, &theta, &e)) return bind_raise(L, &e);
    bind_push_tensor(L, &theta);
    return 1;
}

static int model_forward_(lua_State *L) {
    lua_model *m = check_model(L, 1, "model:forward", "model");
    lua_settop(L, 3);
    return bind_func_invoke(L, m->forward, 2, 3, "model:forward");
}

static int model_accuracy(lua_State *L) {
    lua_model *m = check_model(L, 1, "model:accuracy", "model");
    lua_settop(L, 4);
    bind_func_invoke(L, m->accuracy, 2, 4, "model:accuracy");
    const tensor *t = bind_test_tensor(L, -1);
    if (t) lua_pushnumber(L, tensor_get(t, 0));
    return 1;
}

static void set_integer(lua_State *L, const char *name, int64_t v) {
    lua_pushinteger(L, v);
    lua_setfield(L, -2, name);
}

/* Into the table on top: turned, and torch as a list of { name, first, rows } from 1. */
static void set_torch(lua_State *L, const model_block *b) {
    lua_pushboolean(L, b->turned);
    lua_setfield(L, -2, "turned");
    lua_createtable(L, 1, 0);
    for (int i = 0; i < TORCH_PARTS && b->torch[i].name; i++) {
        lua_createtable(L, 0, 3);
        lua_pushstring(L, b->torch[i].name);
        lua_setfield(L, -2, "name");
        set_integer(L, "first", b->torch[i].first + 1);
        set_integer(L, "rows", b->torch[i].rows);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "torch");
}

/* The parameter blocks as a list of tables, made once. */
static void push_layers(lua_State *L, int index, const model *m) {
    index = lua_absindex(L, index);
    if (lua_getiuservalue(L, index, 1) == LUA_TTABLE) return;
    lua_pop(L, 1);
    lua_createtable(L, m->n_blocks, 0);
    for (int i = 0; i < m->n_blocks; i++) {
        const model_block *b = &m->blocks[i];
        lua_createtable(L, 0, 6);
        lua_pushfstring(L, "%d.%s.%s", b->layer + 1, layer_name(&m->layers[b->layer]), b->name);
        lua_setfield(L, -2, "name");
        set_integer(L, "layer", b->layer + 1);
        set_integer(L, "offset", b->offset);
        set_integer(L, "first", b->offset + 1);
        set_integer(L, "size", b->size);
        lua_createtable(L, b->ndim, 0);
        for (int d = 0; d < b->ndim; d++) {
            lua_pushinteger(L, b->shape[d]);
            lua_rawseti(L, -2, d + 1);
        }
        lua_setfield(L, -2, "shape");
        set_torch(L, b);
        lua_rawseti(L, -2, i + 1);
    }
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, index, 1);
}

static int model_index(lua_State *L) {
    lua_model *m = check_model(L, 1, "model", "model");
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    if (strcmp(key, "n_params") == 0)
        lua_pushinteger(L, m->m->n_params);
    else if (strcmp(key, "layers") == 0)
        push_layers(L, 1, m->m);
    else {
        lua_pushvalue(L, 2);
        if (lua_rawget(L, lua_upvalueindex(1)) == LUA_TNIL)
            return args_error(L, "model",
                              "no field %s; it has n_params, layers, init, forward, accuracy, "
                              "state_dict, load_state_dict",
                              args_got(L, 2));
    }
    return 1;
}

/* model:NAME(...) is NAME(model, ...) of lua/bracket/nn/_weights.lua. */
static int call_weights(lua_State *L, const char *name) {
    lua_getfield(L, LUA_REGISTRYINDEX, ROOM_MODULE);
    lua_getfield(L, -1, "nn");
    lua_getfield(L, -1, "_weights");
    lua_getfield(L, -1, name);
    lua_insert(L, 1);
    lua_pop(L, 3);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

static int model_state_dict(lua_State *L) {
    check_model(L, 1, "model:state_dict", "model");
    return call_weights(L, "state_dict");
}

static int model_load_state_dict(lua_State *L) {
    check_model(L, 1, "model:load_state_dict", "model");
    return call_weights(L, "load_state_dict");
}

static int model_tostring(lua_State *L) {
    lua_model *m = check_model(L, 1, "model", "model");
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    luaL_addstring(&b, "model(");
    for (int i = 0; i < m->m->n_layers; i++) {
        const layer *l = &m->m->layers[i];
        if (i) luaL_addstring(&b, " > ");
        luaL_addstring(&b, layer_name(l));
        if (l->row->options[0].by_place && l->row->options[1].by_place) {
            lua_pushfstring(L, " %I-%I", (LUAI_UACINT)layer_size(l, 0), (LUAI_UACINT)layer_size(l, 1));
            luaL_addvalue(&b);
        }
    }
    lua_pushfstring(L, "; %I parameters)", (LUAI_UACINT)m->m->n_params);
    luaL_addvalue(&b);
    luaL_pushresult(&b);
    return 1;
}

/* ---- losses: values that make a model's loss when called, or another of their kind when told options ---- */

#define BIND_LOSS "bracket.loss"

static loss *push_loss(lua_State *L) {
    loss *l = lua_newuserdatauv(L, sizeof *l, 0);
    memset(l, 0, sizeof *l);
    luaL_setmetatable(L, BIND_LOSS);
    return l;
}

static int loss_call(lua_State *L) { /* loss, model [, x, y]; or loss, options */
    const loss *l = luaL_checkudata(L, 1, BIND_LOSS);
    const char *fname = lua_pushfstring(L, "bk.loss.%s", l->row->name);
    lua_insert(L, 1);
    lua_settop(L, 5);
    if (lua_istable(L, 3)) {
        loss told = { .row = l->row };
        args_read(L, 3, fname, l->row->options, told.option);
        *push_loss(L) = told;
        return 1;
    }
    lua_model *m = check_model(L, 3, fname, "model");
    const tensor *x = lua_isnil(L, 4) ? NULL : bind_check_tensor(L, 4, fname, "x");
    const tensor *y = lua_isnil(L, 5) ? NULL : bind_check_tensor(L, 5, fname, "y");
    err e = { 0 };
    func *f = loss_new(m->m, l, x, y, &e);
    if (!f) return bind_raise(L, &e);
    bind_push_func(L, f);
    return 1;
}

static int loss_accuracy_(lua_State *L) {
    const loss *l = luaL_checkudata(L, 1, BIND_LOSS);
    lua_model *m = check_model(L, 2, "loss:accuracy", "model");
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
        return args_error(L, "loss", "no field %s; it has name, class_ids, accuracy and its options", args_got(L, 2));
    return 1;
}

static int loss_tostring(lua_State *L) {
    const loss *l = luaL_checkudata(L, 1, BIND_LOSS);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    lua_pushfstring(L, "bk.loss.%s", l->row->name);
    luaL_addvalue(&b);
    for (int i = 0, n = option_count(l->row->options); i < n; i++) {
        lua_pushfstring(L, "%s%s = %f", i ? ", " : "{ ", l->row->options[i].name, l->option[i]);
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

static void open_losses(lua_State *L) {
    luaL_newmetatable(L, BIND_LOSS);
    lua_pushcfunction(L, loss_call);
    lua_setfield(L, -2, "__call");
    lua_pushcfunction(L, loss_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_newtable(L);
    bind_rows(L, loss_methods);
    lua_pushcclosure(L, loss_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    push_room(L, "loss");
    for (const loss_row *const *r = loss_rows; *r; r++) {
        loss *l = push_loss(L);
        l->row = *r;
        for (int i = 0; i < option_count((*r)->options); i++) l->option[i] = (*r)->options[i].otherwise;
        args_doc(L, -1, (*r)->doc, (*r)->options);
        lua_setfield(L, -2, (*r)->name);
    }
    lua_pop(L, 1);
}

static int is_loss(lua_State *L) {
    lua_pushboolean(L, luaL_testudata(L, 1, BIND_LOSS) != NULL);
    return 1;
}

static const bind_row nn_module_rows[] = {
    { "is_loss", is_loss,
      "bk.is_loss(value) -> boolean\nWhether value is one of bk.loss, or made from one by options." },
    { NULL, NULL, NULL },
};

static const bind_row nn_rows[] = {
    { "mlp", nn_mlp,
      "bk.nn.mlp{inputs, hidden..., outputs [, activation = \"tanh\"]} -> model\n"
      "A multilayer perceptron: linear layers with an activation between them, none after the last.\n\nx (batch, "
      "inputs) -> (batch, outputs).\n"
      "model.n_params, model.layers (a list of {name, layer, offset, first, size, shape} of the parameter blocks; a "
      "block is\n"
      "theta:narrow(1, first, size)), model:init, model:forward, model:accuracy." },
    { "sequential", nn_sequential,
      "bk.nn.sequential{layer, ...} -> model\n"
      "The layers one after the other, for example { bk.nn.conv2d{1, 8, kernel = 5}, bk.nn.tanh(), "
      "bk.nn.avgpool2d{2},\n"
      "bk.nn.flatten(), bk.nn.linear{1152, 10} }." },
    { "layer", nn_layer,
      "bk.nn.layer{forward = f [, params = {{name, shape = {...}}, ...}, input = {...}, name = \"layer\"]} -> layer\n"
      "A layer of your own. f(p, x) -> y is a function of tensors; p holds the parameter tensors by name, which lie in "
      "theta in the order of params. A parameter's init is weight (by model:init's scheme, with fan_in = its first "
      "size, fan_out = the rest; given otherwise where they differ), normal (N(0, 1)), zeros or ones; weight by "
      "default, zeros for one dimension. input gives x's dimensions, numbers or, for any size, names: "
      "input = {\"batch\", \"time\", 8}.\n"
      "A parameter's torch is its name in a PyTorch state_dict where that differs, turned that its two axes are "
      "swapped "
      "there; or torch = { {name [, first, rows]}, ... }: its first rows are these rows of that tensor, two parts "
      "adding "
      "up.\n"
      "A residual layer: bk.nn.layer{ params = {{\"w\", shape = {8, 8}}}, input = {\"batch\", 8},\n"
      "    forward = function(p, x) return x + x:matmul(p.w):tanh() end }" },
    { NULL, NULL, NULL },
};

static const bind_option weights_options[] = {
    { "dtype", "\"float64\" or \"float32\"", "float64 if any of the tensors is", "of theta" },
    { "layout", "\"torch\"", "bracket's own", "the names and shapes of the tensors" },
    { NULL },
};

static const bind_row model_rows[] = {
    { "init", model_init_,
      "model:init{ [seed = 0, scheme = \"glorot\", scale = 1, dtype = \"float64\"]} -> theta (n_params)\n"
      "Starting values, the same for the same seed. Weights: glorot U(+-sqrt(6/(fan_in+fan_out))), he N(0, 2/fan_in),\n"
      "lecun N(0, 1/fan_in), orthogonal; all times scale. Biases 0.\n"
      "Source: Glorot & Bengio 2010; He et al. 2015; LeCun et al. 1998; Saxe et al. 2014." },
    { "forward", model_forward_,
      "model:forward(theta, x) -> outputs\n"
      "theta (n_params), x (batch, ...); works on tensors and inside traced functions. x is cast to theta's dtype." },
    { "accuracy", model_accuracy,
      "model:accuracy(theta, x, y) -> number\n"
      "Share of the examples whose largest output is class y (batch), ids from 0." },
    { "state_dict", model_state_dict,
      "model:state_dict(theta [, { layout = \"torch\" }]) -> { [\"0.weight\"] = tensor, ... }\n"
      "The parameters by name, for bk.save_safetensors: the layer's place from 0, as nn.Sequential counts, and its "
      "parameter.\n\n"
      "layout \"torch\" has PyTorch's names, shapes and order of gates and heads: linear weights (out, in), "
      "weight_ih_l0, bias_hh_l0, in_proj_weight and the like; a transformer is a TransformerEncoderLayer with "
      "norm_first. Of biases that PyTorch has twice the second is 0. Without it shapes are bracket's.\n\n"
      "Errors: theta of another size.",
      weights_options + 1 },
    { "load_state_dict", model_load_state_dict,
      "model:load_state_dict(table or path.safetensors [, { layout = \"torch\", dtype }]) -> theta, buffers\n"
      "The parameters from a table of tensors by name, or a file of them, in the layout they are in: torch for what "
      "PyTorch's state_dict has, else what model:state_dict gives. The layout is part of the call, so that square "
      "matrices are not mistaken.\n\n"
      "dtype: of theta, by default float64 if any of the tensors is, else float32. buffers: of layers that keep some, "
      "else nil.\n\n"
      "Errors: names that are missing, that nothing takes, or of another shape: one error lists all of them.",
      weights_options },
    { NULL, NULL, NULL },
};

static void metatable(lua_State *L, const char *name, lua_CFunction gc, lua_CFunction tostring) {
    luaL_newmetatable(L, name);
    if (gc) {
        lua_pushcfunction(L, gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_pushcfunction(L, tostring);
    lua_setfield(L, -2, "__tostring");
}

void bind_nn(lua_State *L) {
    metatable(L, BIND_LAYER, layer_gc, layer_tostring);
    lua_pop(L, 1);
    metatable(L, BIND_MODEL, model_gc, model_tostring);
    lua_newtable(L);
    bind_rows(L, model_rows);
    lua_pushcclosure(L, model_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);

    bind_rows(L, nn_module_rows);
    push_room(L, "nn");
    bind_rows(L, nn_rows);
    lua_getfield(L, -1, "mlp");
    const char *known = lua_pushfstring(L, "one of %s", push_activations(L));
    bind_doc_option(L, -3, &(bind_option){ "activation", known, "tanh", "stands between the linear layers" });
    lua_pop(L, 3);
    for (const layer_row *const *r = layer_rows; *r; r++) {
        lua_pushlightuserdata(L, (void *)*r);
        lua_pushcclosure(L, layer_make, 1);
        args_doc(L, -1, (*r)->doc, (*r)->options);
        lua_setfield(L, -2, (*r)->name);
    }
    lua_pop(L, 1);
    open_losses(L);
}

void bind_nn_internal(lua_State *L) {
    static const bind_row rows[] = { { "activation", internal_activation, NULL }, { NULL, NULL, NULL } };
    bind_rows(L, rows);
}
