/* own_layer.c - layers as Lua values, and bk.nn.layer: one made of a function in Lua, which may draw. */
#include "nn_lua.h"
#include "args.h"
#include "tensor_value.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

layer *bind_push_layer(lua_State *L) {
    layer *l = lua_newuserdatauv(L, sizeof *l, 1);
    memset(l, 0, sizeof *l);
    luaL_setmetatable(L, BIND_LAYER);
    return l;
}

static bool build_random(graph *g, const op_call *c, int n_in, node *const *in, node **out) {
    (void)n_in;
    const op_draw_at at = { (bk_dtype)c->ints[0], c->n_ints - 3, c->ints + 3, c->ints[2] };
    out[0] = c->ints[1] ? g_normal(g, in[0], at) : g_uniform(g, in[0], at);
    return out[0] != NULL;
}

/* p.random{2, 3}, {{2, 3}}, {shape = {2, 3}}, kind = "uniform" | "normal". Upvalues: the layer's seed or nil, how often
 * it has drawn, the dtype. */
static int call_random(lua_State *L) {
    static const char *const known[] = { "shape", "kind", NULL }, *const kinds[] = { "uniform", "normal", NULL };
    const char *fname = "p.random";
    lua_settop(L, 1);
    args_table(L, 1, fname, "shape");
    int table = args_options(L, 1, fname, known, true), sizes = 1;
    int kind = args_opt_choice(L, table, fname, "kind", kinds, 0);
    const bool named = args_field(L, table, "shape");
    if (named && lua_rawlen(L, 1) > 0) return args_error(L, fname, "shape: given twice, by name and by sizes");
    if (named || lua_rawgeti(L, 1, 1) == LUA_TTABLE) sizes = lua_gettop(L);
    if (!named && sizes > 1 && lua_rawlen(L, 1) > 1)
        return args_error(L, fname, "expected the sizes alone in the table, got %d values", (int)lua_rawlen(L, 1));
    lua_tensor *seed = bind_tensor_test(L, lua_upvalueindex(1));
    if (!seed)
        return args_error(L, fname,
                          "there is no seed: model:forward(theta, x, { train = true, seed = 1 }) gives one, and "
                          "so does a protocol's training step; where nothing is drawn p.train is false");
    op_call call = { .name = fname, .build = build_random, .n_out = 1 };
    int64_t shape[BK_MAX_DIMS];
    int ndim = args_shape(L, sizes, fname, "shape", 0, sizes == 1, shape);
    lua_Integer place = lua_tointeger(L, lua_upvalueindex(2));
    lua_pushinteger(L, place + 1);
    lua_replace(L, lua_upvalueindex(2));
    call.ints[0] = lua_tointeger(L, lua_upvalueindex(3)), call.ints[1] = kind, call.ints[2] = place;
    memcpy(call.ints + 3, shape, (size_t)ndim * sizeof *shape);
    call.n_ints = 3 + ndim;
    return bind_tensor_apply(L, &call, 1, &seed);
}

/* Upvalues: the user's function, the names of the parameters, whether in training. Called with the parameters, x and,
 * where there is one, the seed. */
static int call_forward(lua_State *L) {
    int n = (int)lua_rawlen(L, lua_upvalueindex(2));
    lua_settop(L, n + 2);
    const lua_tensor *x = bind_tensor_test(L, n + 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_createtable(L, 0, n + 2);
    for (int i = 1; i <= n; i++) {
        lua_rawgeti(L, lua_upvalueindex(2), i);
        lua_pushvalue(L, i);
        lua_rawset(L, -3);
    }
    lua_pushvalue(L, lua_upvalueindex(3));
    lua_setfield(L, -2, "train");
    lua_pushvalue(L, n + 2);
    lua_pushinteger(L, 0);
    lua_pushinteger(L, x && bind_tensor_dtype(x) == BK_FLOAT32 ? BK_FLOAT32 : BK_FLOAT64);
    lua_pushcclosure(L, call_random, 3);
    lua_setfield(L, -2, "random");
    lua_pushvalue(L, n + 1);
    lua_call(L, 2, 1);
    if (!lua_isuserdata(L, -1)) args_fail(L, -1, "bk.nn.layer", "forward's result", "a tensor");
    return 1;
}

/* init = a word, or the number that all of it starts as; the default of one number or a vector is 0. */
static void check_init(lua_State *L, int table, const char *fname, model_block *b) {
    static const char *const inits[] = { "weight", "zeros", "ones", "normal", NULL };
    static const block_init kinds[] = { INIT_WEIGHT, INIT_ZERO, INIT_ONE, INIT_TABLE };
    const int kind = args_field(L, table, "init") ? lua_type(L, -1) : LUA_TNIL;
    if (kind == LUA_TNUMBER) {
        b->init = INIT_CONSTANT;
        b->constant = lua_tonumber(L, -1);
    }
    if (kind != LUA_TNIL && kind != LUA_TSTRING && !(kind == LUA_TNUMBER && isfinite(b->constant)))
        args_fail(L, -1, fname, "params: init", "a finite number, \"weight\", \"zeros\", \"ones\" or \"normal\"");
    if (kind != LUA_TNIL) lua_pop(L, 1);
    if (kind != LUA_TNUMBER) b->init = kinds[args_opt_choice(L, table, fname, "init", inits, b->ndim > 1 ? 0 : 1)];
}

/* The tensor described by the table on top: { name, shape = {...}, init = ..., fan_in = ..., fan_out = ..., torch =
 * ..., turned = ... } */
static void check_block(lua_State *L, const char *fname, model_block *b, char *name, char (*torch)[TORCH_NAME]) {
    static const char *const known[] = { "shape", "init", "fan_in", "fan_out", "torch", "turned", NULL };
    if (!lua_istable(L, -1)) args_fail(L, -1, fname, "params", "tables { name, shape = {...} }");
    int table = args_options(L, lua_gettop(L), fname, known, true);
    if (args_list(L, table, fname, "params", true) > 1)
        args_error(L, fname, "params: expected tables { name, shape = {...} }, got one with %d values without a name",
                   (int)lua_rawlen(L, table));
    lua_rawgeti(L, table, 1);
    const char *given = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    if (!*given || strlen(given) >= LAYER_NAME)
        args_fail(L, -1, fname, "params: name", "a name of 1 to 31 characters in front");
    if (strcmp(given, "train") == 0 || strcmp(given, "random") == 0)
        args_error(L, fname, "params: name: train and random are taken: p.train, p.random{...}");
    strcpy(name, given);
    lua_pop(L, 1);
    int64_t shape[BK_MAX_DIMS] = { 1 };
    if (!args_field(L, table, "shape")) lua_pushnil(L);
    b->ndim = args_shape(L, lua_gettop(L), fname, "params: shape", 1, false, shape);
    lua_pop(L, 1);
    if (b->ndim > 4) args_error(L, fname, "params: shape: expected at most 4 sizes, got %d", b->ndim);
    memcpy(b->shape, shape, (size_t)b->ndim * sizeof *shape);
    b->size = shape_count(b->ndim, b->shape);
    check_init(L, table, fname, b);
    b->fan_in = args_opt_integer(L, table, fname, "fan_in", 1, INT64_MAX, shape[0]);
    b->fan_out = args_opt_integer(L, table, fname, "fan_out", 1, INT64_MAX, b->size / shape[0]);
    bind_check_torch(L, table, fname, b, torch);
}

/* {"batch", "time", 8}: names stand for any size */
static void check_input(lua_State *L, int index, const char *fname, layer_function *f) {
    args_table(L, index, fname, "input");
    f->ndim = (int)args_list(L, index, fname, "input", false);
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

const bind_option bind_own_layer_options[] = {
    { "forward", "a function", NULL, "(p, x) -> y, of tensors; p holds the parameters by name", .required = true },
    { "params", "a table", "{}", "{ {name, shape = {...}, init, fan_in, fan_out}, ... }, as in theta; help \"layer\"" },
    { "input", "a table", "any x", "the dimensions of x: numbers or, for any size, names" },
    { "name", "a string", "layer", "what messages call it" },
    { NULL, NULL, NULL, NULL },
};

int bind_own_layer(lua_State *L) {
    const char *fname = "bk.nn.layer";
    lua_settop(L, 1);
    int table = args_declared(L, 1, fname, bind_own_layer_options, false);
    if (!table) return args_fail(L, 1, fname, "layer", "a table {name = ..., params = ..., forward = ...}");
    layer *l = bind_push_layer(L); /* 2 */
    err e = { 0 };
    l->row = layer_row_function;
    if (!(l->own = layer_function_new(bind_ctx(L), &e))) return bind_raise(L, &e);
    layer_function *f = l->own;
    const char *name = args_opt_string(L, table, fname, "name", "layer");
    if (strlen(name) >= LAYER_NAME) return args_error(L, fname, "name: expected at most 31 characters, got %s", name);
    strcpy(f->name, name);
    if (args_field(L, table, "input")) check_input(L, lua_gettop(L), fname, f);
    lua_settop(L, 2);
    if (!args_field(L, table, "forward")) lua_pushnil(L);
    if (!lua_isfunction(L, 3)) return args_fail(L, 3, fname, "forward", "a function (params, x) -> y");
    lua_newtable(L); /* 4: names */
    if (args_field(L, table, "params")) {
        args_table(L, 5, fname, "params");
        f->n_blocks = (int)args_list(L, 5, fname, "params", false);
        if (f->n_blocks > LAYER_MAX_BLOCKS)
            return args_error(L, fname, "params: at most %d, got %d", LAYER_MAX_BLOCKS, f->n_blocks);
        for (int i = 0; i < f->n_blocks; i++) {
            lua_rawgeti(L, 5, i + 1);
            check_block(L, fname, &f->blocks[i], f->block_names[i], f->torch_names[i]);
            for (int k = 0; k < i; k++)
                if (strcmp(f->block_names[k], f->block_names[i]) == 0)
                    return args_error(L, fname, "params: \"%s\" stands there twice", f->block_names[i]);
            lua_pushstring(L, f->block_names[i]);
            lua_rawseti(L, 4, i + 1);
        }
        lua_settop(L, 4);
    }
    lua_createtable(L, 2, 0); /* 5: the functions as values */
    for (int train = 0; train < 2; train++) {
        lua_pushvalue(L, 3);
        lua_pushvalue(L, 4);
        lua_pushboolean(L, train);
        lua_pushcclosure(L, call_forward, 3);
        func_retain(f->forward[train] = bind_check_func(L, 6, fname, "forward"));
        lua_rawseti(L, 5, train + 1);
    }
    lua_setiuservalue(L, 2, 1);
    lua_settop(L, 2); /* while the layer lives the function is a plain value, so that cycles are collected */
    return 1;
}

void bind_own_layer_parts(lua_State *L, const layer *l, lua_Integer n) {
    const layer_function *f = l->own;
    bind_push_traced(L, f->forward[0]);
    if (lua_iscfunction(L, -1) && lua_getupvalue(L, -1, 1)) lua_remove(L, -2); /* call_forward's own */
    lua_rawseti(L, -2, ++n);
    for (int i = 0; i < f->n_blocks; i++) {
        const model_block *b = &f->blocks[i];
        lua_pushinteger(L, b->init);
        lua_rawseti(L, -2, ++n);
        lua_pushnumber(L, b->init == INIT_CONSTANT ? b->constant : (lua_Number)b->fan_in);
        lua_rawseti(L, -2, ++n);
        lua_pushinteger(L, b->fan_out);
        lua_rawseti(L, -2, ++n);
    }
}
