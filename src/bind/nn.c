/* nn.c - layers and models for Lua: bk.nn. A layer is a small description, a model a refcounted list of them. */
#include "nn_lua.h"
#include "args.h"
#include "rooms.h"
#include "tensor_value.h"
#include "../base/nearest.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define BIND_MODEL "bracket.model"

/* ---- layers ---- */

static int layer_make(lua_State *L) {
    layer l = { .row = lua_touserdata(L, lua_upvalueindex(1)) };
    const int given = lua_gettop(L);
    if (!given) lua_settop(L, 1);
    const char *fname = lua_pushfstring(L, "bk.nn.%s", l.row->name);
    args_only_options(L, given, fname);
    args_read(L, 1, fname, l.row->options, l.option);
    char wrong[160];
    if (l.row->check && !l.row->check(&l, wrong, sizeof wrong)) return args_error(L, fname, "%s", wrong);
    *bind_push_layer(L) = l;
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

/* Pushes "gelu", "relu", "tanh": every activation there is. */
static const char *push_activations(lua_State *L) {
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    int n = 0;
    for (const layer_row *const *r = layer_rows; *r; r++)
        if ((*r)->activation) {
            luaL_addstring(&b, n++ ? ", \"" : "\"");
            luaL_addstring(&b, (*r)->name);
            luaL_addstring(&b, "\"");
        }
    luaL_pushresult(&b);
    return lua_tostring(L, -1);
}

static const layer_row *check_activation(lua_State *L, const char *fname, const char *name) {
    const layer_row *row = layer_find(name);
    if (!row || !row->activation) {
        const char *known = push_activations(L);
        args_error(L, fname, "activation: expected one of %s, got \"%s\"%s", known, name,
                   args_quoted_hint(L, name, known));
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

static int layer_gc(lua_State *L) {
    layer *l = luaL_checkudata(L, 1, BIND_LAYER);
    layer was = *l;
    l->own = NULL;
    l->inner = l->beside = NULL;
    layer_release(&was);
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
lua_model *bind_check_model(lua_State *L, int index, const char *fname, const char *argument) {
    lua_model *m = luaL_testudata(L, index, BIND_MODEL);
    if (!m || !m->m) args_fail(L, index, fname, argument, "a model (bk.nn.mlp or bk.nn.sequential)");
    return m;
}

/* Pushes the model of n layers, whose memory stays the caller's. */
static lua_model *model_push(lua_State *L, const char *fname, int n, const layer *layers, const layer_shape *input) {
    lua_model *m = lua_newuserdatauv(L, sizeof *m, 2);
    memset(m, 0, sizeof *m);
    luaL_setmetatable(L, BIND_MODEL);
    err e = { 0 };
    if (model_new(bind_ctx(L), fname, n, layers, input, &m->m, &e)) bind_raise(L, &e);
    return m;
}

/* The layer that the value on top is: a layer, or a model in its place. */
static layer layer_of(lua_State *L, const char *fname, const char *place) {
    const layer *l = luaL_testudata(L, -1, BIND_LAYER);
    if (l) return *l;
    const lua_model *m = luaL_testudata(L, -1, BIND_MODEL);
    if (m && m->m) return (layer){ .row = layer_row_sequential, .inner = m->m };
    bool call = lua_isfunction(L, -1);
    args_error(L, fname, "%s: expected a layer such as bk.nn.linear{3, 5}, or a model, got %s%s", place,
               args_got(L, -1), call ? " (is () missing, as in bk.nn.tanh()?)" : "");
    return (layer){ 0 };
}

/* Pushes the model of the layers in the list at 1, which it keeps. */
static lua_model *push_list(lua_State *L, const char *fname, const layer_shape *input) {
    int n = (int)args_list(L, 1, fname, "layers", true);
    layer *list = lua_newuserdatauv(L, (size_t)(n ? n : 1) * sizeof *list, 0);
    for (int i = 0; i < n; i++) {
        char place[24];
        snprintf(place, sizeof place, "layer %d", i + 1);
        lua_rawgeti(L, 1, i + 1);
        list[i] = layer_of(L, fname, place);
        lua_pop(L, 1);
    }
    lua_model *m = model_push(L, fname, n, list, input);
    lua_pushvalue(L, 1); /* the layers' functions live as Lua values as long as the model does */
    lua_setiuservalue(L, -2, 2);
    return m;
}

static const bind_option sequential_told[] = {
    { "input", "a table of sizes", "found at the first x",
      "one example's shape: sizes that do not fit are found at once" },
    { NULL, NULL, NULL, NULL },
};

static int nn_sequential(lua_State *L) {
    const char *fname = "bk.nn.sequential";
    args_table(L, 1, fname, "layers");
    int table = args_declared(L, 1, fname, sequential_told, true);
    layer_shape input = { .last = -1, .dtype = BK_FLOAT64 };
    bool told = args_field(L, table, "input");
    if (told) {
        int64_t sizes[BK_MAX_DIMS];
        int n = args_shape(L, lua_gettop(L), fname, "input", 1, false, sizes);
        if (n >= BK_MAX_DIMS)
            return args_error(L, fname, "input: expected at most %d sizes, got %d", BK_MAX_DIMS - 1, n);
        input.ndim = n + 1;
        input.size[0] = -1;
        memcpy(input.size + 1, sizes, (size_t)n * sizeof *sizes);
        const lua_Unsigned layers = lua_rawlen(L, 1);
        if (layers && lua_rawgeti(L, 1, 1) == LUA_TUSERDATA) {
            const layer *l = luaL_testudata(L, -1, BIND_LAYER);
            const lua_model *m = luaL_testudata(L, -1, BIND_MODEL);
            if (l ? l->row->takes_ids : m && m->m && model_takes_ids(m->m)) input.dtype = BK_INT64;
        }
    }
    lua_settop(L, 1);
    push_list(L, fname, told ? &input : NULL);
    return 1;
}

static const bind_option residual_told[] = {
    { "shortcut", "a layer or a model", "x itself", "what it makes of x stands in the place of x" },
    { NULL, NULL, NULL, NULL },
};

static int nn_residual(lua_State *L) {
    const char *fname = "bk.nn.residual";
    args_table(L, 1, fname, "layers");
    int table = args_declared(L, 1, fname, residual_told, true);
    lua_settop(L, 1);
    layer *l = bind_push_layer(L); /* 2 */
    l->row = layer_row_residual;
    model_retain(l->inner = push_list(L, fname, NULL)->m);
    if (args_field(L, table, "shortcut")) {
        layer beside = layer_of(L, fname, "shortcut");
        if (beside.row == layer_row_sequential)
            model_retain(l->beside = beside.inner);
        else
            model_retain(l->beside = model_push(L, fname, 1, &beside, NULL)->m);
    }
    lua_settop(L, 2);
    layer_shape any = { .ndim = -1, .last = -1, .dtype = BK_FLOAT64 }; /* the two sides fit one another */
    if (model_takes_ids(l->inner)) any.dtype = BK_INT64;
    model_push(L, fname, 1, l, &any);
    lua_settop(L, 2);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, 2, 1);
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
    model_push(L, fname, count, list, NULL);
    return 1;
}

static int model_gc(lua_State *L) {
    lua_model *m = luaL_checkudata(L, 1, BIND_MODEL);
    for (int i = 0; i < WAYS; i++) {
        func_release(m->forward[i]);
        func_release(m->accuracy[i]);
    }
    model_release(m->m);
    memset(m, 0, sizeof *m);
    return 0;
}

static const bind_option init_told[] = {
    { "seed", "a whole number", "0", "the same for the same seed" },
    { "scheme", "\"glorot\", \"he\", \"lecun\" or \"orthogonal\"", "glorot", "of the weights" },
    { "scale", "a finite number", "1", "what they are multiplied by" },
    { "dtype", "\"float64\" or \"float32\"", "float64", "of theta" },
    { NULL, NULL, NULL, NULL },
};

static int model_init_(lua_State *L) {
    const char *fname = "model:init";
    lua_model *m = bind_check_model(L, 1, fname, "model");
    int table = args_declared(L, 2, fname, init_told, false);
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

static const bind_option with_told[] = {
    { "train", "true or false", "false; in a protocol's training step true", "dropout, noise and batch_norm act" },
    { "seed", "an integer or a 0-d int64 tensor", "the step's", "of what is drawn" },
    { "buffers", "a tensor", "the step's", "(n_buffers), batch_norm's running statistics" },
    { NULL, NULL, NULL, NULL },
};

model_with bind_push_with(lua_State *L, const model *m, int index, const char *fname) {
    model_with with = { 0 };
    int table = args_declared(L, index, fname, with_told, false);
    if (args_field(L, table, "train")) {
        lua_pop(L, 1);
        with.told = true;
        with.train = args_opt_boolean(L, table, fname, "train", false);
    }
    if (args_field(L, table, "seed")) {
        with.seed = true;
        const tensor *given = bind_test_tensor(L, -1);
        if (given && (given->dtype != BK_INT64 || given->ndim > 0))
            args_fail(L, -1, fname, "seed", "an integer or a 0-d int64 tensor");
        if (!bind_tensor_test(L, -1)) {
            int64_t seed = args_integer(L, lua_gettop(L), fname, "seed", INT64_MIN, INT64_MAX);
            lua_pop(L, 1);
            *(int64_t *)tensor_data(bind_tensor_push_new(L, BK_INT64, 0, NULL, fname)) = seed;
        }
    }
    if (args_field(L, table, "buffers")) {
        with.buffers = true;
        bind_tensor_arg(L, lua_gettop(L), fname, "buffers");
        if (!m->n_buffers) args_error(L, fname, "buffers: this model has none (batch_norm's running statistics)");
    }
    return with;
}

static int way_of(const model_with *w) {
    return w->told + 2 * w->train + 4 * w->seed + 8 * w->buffers;
}

static int model_forward_(lua_State *L) {
    const char *fname = "model:forward";
    lua_model *m = bind_check_model(L, 1, fname, "model");
    bind_tensor_arg(L, 2, fname, "theta");
    bind_tensor_arg(L, 3, fname, "x");
    lua_settop(L, 4);
    model_with with = bind_push_with(L, m->m, 4, fname);
    lua_remove(L, 4);
    func **f = &m->forward[way_of(&with)];
    err e = { 0 };
    if (!*f && !(*f = model_forward(m->m, &with, &e))) return bind_raise(L, &e);
    return bind_func_invoke(L, *f, 2, lua_gettop(L), fname);
}

static int model_accuracy(lua_State *L) {
    const char *fname = "model:accuracy";
    lua_model *m = bind_check_model(L, 1, fname, "model");
    bind_tensor_arg(L, 2, fname, "theta");
    bind_tensor_arg(L, 3, fname, "x");
    bind_tensor_arg(L, 4, fname, "y");
    lua_settop(L, 5);
    model_with with = bind_push_with(L, m->m, 5, fname);
    lua_remove(L, 5);
    if (with.train) return args_error(L, fname, "train: accuracy is an evaluation");
    func **f = &m->accuracy[way_of(&with)];
    err e = { 0 };
    if (!*f) {
        func *plain = loss_accuracy(m->m, &loss_cross_entropy, &e);
        if (plain) *f = model_in_mode(m->m, plain, &with, &e);
        func_release(plain);
        if (!*f) return bind_raise(L, &e);
    }
    bind_func_invoke(L, *f, 2, lua_gettop(L), fname);
    const tensor *t = bind_test_tensor(L, -1);
    if (t) lua_pushnumber(L, tensor_get(t, 0));
    return 1;
}

/* in_mode(model, f, train): of f(args...) the function (args..., seed [, buffers]) in training, (args... [, buffers])
 * in evaluation; buffers where the model has some. */
static int internal_in_mode(lua_State *L) {
    lua_model *m = bind_check_model(L, 1, "in_mode", "model");
    model_with with = { .told = true, .train = lua_toboolean(L, 3), .buffers = m->m->n_buffers > 0 };
    with.seed = with.train;
    lua_settop(L, 2);
    func *of = bind_check_func(L, 2, "in_mode", "f");
    lua_createtable(L, 2, 0); /* 3: what it is over */
    for (int i = 1; i <= 2; i++) {
        lua_pushvalue(L, i);
        lua_rawseti(L, 3, i);
    }
    err e = { 0 };
    func *f = model_in_mode(m->m, of, &with, &e);
    if (!f) return bind_raise(L, &e);
    bind_push_func_over(L, f, 3);
    return 1;
}

/* rows(model [, passes, before, count]): from now on a training pass that is being traced takes count examples of a
 * batch, after `before` others, and draws what they draw there; count 0: the whole of it. Returns how many passes there
 * were; passes, where it is told, is what they are set to. */
static int internal_rows(lua_State *L) {
    model_mode *mode = bind_check_model(L, 1, "rows", "model")->m->mode;
    lua_settop(L, 4);
    lua_pushinteger(L, mode ? mode->passes : 0);
    if (!mode || lua_isnoneornil(L, 2)) return 1;
    mode->passes = (int)luaL_checkinteger(L, 2);
    mode->before = luaL_checkinteger(L, 3);
    mode->rows = luaL_checkinteger(L, 4);
    return 1;
}

static int model_buffers(lua_State *L) {
    static const char *const known[] = { "dtype", NULL };
    const char *fname = "model:init_buffers";
    lua_model *m = bind_check_model(L, 1, fname, "model");
    int table = args_options(L, 2, fname, known, false);
    bk_dtype dtype = args_opt_dtype(L, table, fname, BK_FLOAT64);
    if (dtype == BK_INT64) return args_error(L, fname, "dtype: expected \"float64\" or \"float32\", got \"int64\"");
    tensor t = { 0 };
    err e = { 0 };
    if (model_init_buffers(m->m, dtype, &t, &e)) return bind_raise(L, &e);
    bind_push_tensor(L, &t);
    return 1;
}

static void set_integer(lua_State *L, const char *name, int64_t v) {
    lua_pushinteger(L, v);
    lua_setfield(L, -2, name);
}

/* Parameter or buffer blocks as a list of tables. */
static void push_blocks(lua_State *L, int n, const model_block *blocks) {
    lua_createtable(L, n, 0);
    for (int i = 0; i < n; i++) {
        const model_block *b = &blocks[i];
        lua_createtable(L, 0, 9);
        lua_pushfstring(L, "%s.%s.%s", b->path, layer_name(b->of), b->name);
        lua_setfield(L, -2, "name");
        const char *const texts[] = { "path", b->path, "kind", layer_name(b->of), "part", b->name };
        for (int k = 0; k < 6; k += 2) {
            lua_pushstring(L, texts[k + 1]);
            lua_setfield(L, -2, texts[k]);
        }
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
        bind_set_torch(L, b);
        lua_rawseti(L, -2, i + 1);
    }
}

/* The lists of parameters and of buffers, made once. */
static void push_layers(lua_State *L, int index, const model *m, const char *which) {
    index = lua_absindex(L, index);
    if (lua_getiuservalue(L, index, 1) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_createtable(L, 0, 2);
        push_blocks(L, m->n_blocks, m->blocks);
        lua_setfield(L, -2, "layers");
        push_blocks(L, m->n_buffer_blocks, m->buffer_blocks);
        lua_setfield(L, -2, "buffers");
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, index, 1);
    }
    lua_getfield(L, -1, which);
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
    bind_check_model(L, 1, "model:state_dict", "model");
    return call_weights(L, "state_dict");
}

static int model_load_state_dict(lua_State *L) {
    bind_check_model(L, 1, "model:load_state_dict", "model");
    return call_weights(L, "load_state_dict");
}

static int model_tostring(lua_State *L) {
    lua_model *m = bind_check_model(L, 1, "model", "model");
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

static const bind_row nn_rows[] = {
    { "mlp", nn_mlp,
      "bk.nn.mlp{inputs, hidden..., outputs [, activation = \"tanh\"]} -> model\n"
      "A multilayer perceptron: linear layers with an activation between them, none after the last.\n\nx (batch, "
      "inputs) -> (batch, outputs).\n"
      "model.n_params, model.layers (a list of {name, layer, offset, first, size, shape} of the parameter blocks; a "
      "block is\n"
      "theta:narrow(1, first, size)), model:init, model:forward, model:accuracy." },
    { "sequential", nn_sequential,
      "bk.nn.sequential{layer, ... [, input = {sizes}]} -> model\n"
      "The layers one after the other, for example { bk.nn.conv2d{1, 8, kernel = 5}, bk.nn.tanh(), "
      "bk.nn.avgpool2d{2},\n"
      "bk.nn.flatten(), bk.nn.linear{1152, 10}, input = {1, 28, 28} }. A layer may be a model. Sizes that cannot fit "
      "are "
      "an error here, which names the layer; input, the sizes of one example, lets it see those of images too.",
      sequential_told },
    { "residual", nn_residual,
      "bk.nn.residual{layer, ... [, shortcut = layer]} -> layer\n"
      "x plus what the layers make of it, of the same shape; with a shortcut (a layer or a model) what that makes of x "
      "in x's place. Layers may be models.\n\nSource: He et al. 2016.",
      residual_told },
    { "layer", bind_own_layer,
      "bk.nn.layer{forward = f [, params = {{name, shape = {...}}, ...}, input = {...}, name = \"layer\"]} -> layer\n"
      "A layer of your own. f(p, x) -> y is a function of tensors; p holds the parameter tensors by name, which lie in "
      "theta in the order of params. A parameter's init is weight (by model:init's scheme, with fan_in = its first "
      "size, fan_out = the rest; given otherwise where they differ), normal (N(0, 1)), zeros or ones; weight by "
      "default, zeros for one dimension or none (shape = {}: one number). input gives x's dimensions, numbers or, for "
      "any size, names: "
      "input = {\"batch\", \"time\", 8}.\n"
      "A parameter's torch is its name in a PyTorch state_dict where that differs, turned that its two axes are "
      "swapped "
      "there; or torch = { {name [, first, rows, of]}, ... }: its first rows are these rows of that tensor, which "
      "has `of` rows, those of nobody 0; two parts "
      "adding "
      "up.\n"
      "p.train says whether this is training; p.random{2, 3} draws numbers of that shape from the pass's seed, uniform "
      "on "
      "[0, 1), or N(0, 1) with kind = \"normal\": the same for the same seed, each call its own.\n"
      "forward is traced (help \"tracing\"): it runs once a shape, and again when what it reads from outside has "
      "changed.\n"
      "A residual layer: bk.nn.layer{ params = {{\"w\", shape = {8, 8}}}, input = {\"batch\", 8},\n"
      "    forward = function(p, x) return x + x:matmul(p.w):tanh() end }",
      bind_own_layer_options },
    { NULL, NULL, NULL },
};

static const bind_option state_options[] = {
    { "layout", "\"torch\"", "bracket's own", "the names and shapes of the tensors" },
    { "names", "a table", "the layers' places",
      "what the file calls the layers that have tensors, a list in their order, or { conv1 = \"0\", ... }" },
    { "buffers", "a tensor", "fresh ones", "running statistics, as r.buffers has them" },
    { NULL },
};
static const bind_option weights_options[] = {
    { "dtype", "\"float64\" or \"float32\"", "float64 if any of the tensors is", "of theta" },
    { "layout", "\"torch\"", "bracket's own", "the names and shapes of the tensors" },
    { "names", "a table", "the layers' places",
      "what the file calls the layers that have tensors, a list in their order, or { conv1 = \"0\", ... }" },
    { NULL },
};

static const bind_row model_rows[] = {
    { "init", model_init_,
      "model:init{ [seed = 0, scheme = \"glorot\", scale = 1, dtype = \"float64\"]} -> theta (n_params)\n"
      "Starting values, the same for the same seed. Weights: glorot U(+-sqrt(6/(fan_in+fan_out))), he N(0, 2/fan_in),\n"
      "lecun N(0, 1/fan_in), orthogonal; all times scale. Biases 0.\n"
      "Source: Glorot & Bengio 2010; He et al. 2015; LeCun et al. 1998; Saxe et al. 2014.",
      init_told },
    { "forward", model_forward_,
      "model:forward(theta, x [, { train = false, seed = s, buffers = b }]) -> outputs [, new buffers]\n"
      "theta (n_params), x (batch, ...); works on tensors and inside traced functions. x is cast to theta's dtype.\n\n"
      "Dropout, noise and batch_norm act where train is true; what draws needs a seed (an integer or a 0-d int64 "
      "tensor) "
      "and makes the same numbers of the same theta, x and seed, so that derivatives are at fixed draws. buffers "
      "(n_buffers) are batch_norm's running statistics, listed in model.buffers; model:init_buffers() begins them, "
      "which "
      "is what evaluation uses where none are given. In training with buffers the new ones are a second result.\n"
      "In a protocol's training step all three are the step's unless told here.",
      with_told },
    { "init_buffers", model_buffers,
      "model:init_buffers{ [dtype = \"float64\"] } -> buffers (n_buffers)\n"
      "What training remembers besides theta, at its beginning: running means 0, running variances 1." },
    { "accuracy", model_accuracy,
      "model:accuracy(theta, x, y [, { buffers = b }]) -> number\n"
      "Share of the examples (of their times) whose largest output is class y: ids from 0, of the outputs' shape but "
      "the last." },
    { "state_dict", model_state_dict,
      "model:state_dict(theta [, { layout = \"torch\", names, buffers }]) -> { [\"0.weight\"] = tensor, ... }\n"
      "The parameters by name, for bk.save_safetensors: the layer's place from 0, as nn.Sequential counts, and its "
      "parameter.\n\n"
      "names is for modules that have attributes: names = { \"conv1\", \"bn1\", \"fc\" } are the layers with "
      "parameters or buffers, in their order; names = { conv1 = \"0\", bn1 = \"1\", scale = \"5.gain\" } says it "
      "of those that differ, of a layer, of one in it ([\"layer1.0\"] = \"3.0\") or of one parameter. In a list \"\" "
      "stands for a layer whose parameters are the module's own.\n\n"
      "layout \"torch\" has PyTorch's names, shapes and order of gates and heads: linear weights (out, in), "
      "weight_ih_l0, bias_hh_l0, in_proj_weight and the like; a transformer is a TransformerEncoderLayer with "
      "norm_first. Of biases that PyTorch has twice the second is 0. Without it shapes are bracket's.\n\n"
      "Errors: theta of another size; names that are too many or too few, that the model does not have, or that make "
      "two tensors one.",
      state_options },
    { "load_state_dict", model_load_state_dict,
      "model:load_state_dict(table or path.safetensors [, { layout = \"torch\", names, dtype }]) -> theta, buffers\n"
      "The parameters from a table of tensors by name, or a file of them, in the layout they are in: torch for what "
      "PyTorch's state_dict has, else what model:state_dict gives. The layout is part of the call, so that square "
      "matrices are not mistaken.\n\n"
      "names, what the file calls the layers, is as in model:state_dict.\n\n"
      "dtype: of theta, by default float64 if any of the tensors is, else float32. buffers: of layers that keep some, "
      "else nil.\n\n"
      "Errors: names that are missing, that nothing takes, or of another shape: one error lists all of them; and those "
      "of names.",
      weights_options },
    { NULL, NULL, NULL },
};

enum { N_PARAMS, LAYERS, N_BUFFERS, BUFFERS, FIELDS };
static const char *const model_fields[] = { "n_params", "layers", "n_buffers", "buffers" };

static int no_field(lua_State *L, const char *key) {
    enum { ALL = FIELDS + sizeof model_rows / sizeof *model_rows };
    const char *known[ALL];
    luaL_Buffer b;
    for (int i = 0; i < ALL; i++) known[i] = i < FIELDS ? model_fields[i] : model_rows[i - FIELDS].name;
    const char *near = name_nearest(key, known);
    if (near) return args_error(L, "model", "no field \"%s\" (did you mean %s?)", key, near);
    luaL_buffinit(L, &b);
    for (int i = 0; known[i]; i++) {
        if (i) luaL_addstring(&b, ", ");
        luaL_addstring(&b, known[i]);
    }
    luaL_pushresult(&b);
    return args_error(L, "model", "no field %s; it has %s", args_got(L, 2), lua_tostring(L, -1));
}

static int model_index(lua_State *L) {
    lua_model *m = bind_check_model(L, 1, "model", "model");
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    int field = 0;
    while (field < FIELDS && strcmp(key, model_fields[field]) != 0) field++;
    switch (field) {
    case N_PARAMS:
        lua_pushinteger(L, m->m->n_params);
        return 1;
    case N_BUFFERS:
        lua_pushinteger(L, m->m->n_buffers);
        return 1;
    case LAYERS:
    case BUFFERS:
        push_layers(L, 1, m->m, key);
        return 1;
    default:
        break;
    }
    if (strcmp(key, "modal") == 0) { /* the library's own: no list has it */
        lua_pushboolean(L, m->m->modal);
        return 1;
    }
    lua_pushvalue(L, 2);
    return lua_rawget(L, lua_upvalueindex(1)) == LUA_TNIL ? no_field(L, key) : 1;
}

static void metatable(lua_State *L, const char *name, const char *says, lua_CFunction gc, lua_CFunction tostring) {
    luaL_newmetatable(L, name);
    args_fixed(L, name + strlen("bracket."));
    bind_finalizer(L, gc, says);
    lua_pushcfunction(L, tostring);
    lua_setfield(L, -2, "__tostring");
}

static void check_row(lua_State *L, const layer_row *r) {
    const bool plain = r->activation != NULL;
    bind_row_check(L, r->doc != NULL, "layer", r->name, ".doc is missing");
    bind_row_check(L, plain || r->build || r->build_in, "layer", r->name, ".build is missing");
    bind_row_check(L, plain || !r->accepts || r->expects, "layer", r->name, ".expects is missing beside .accepts");
    bind_row_check(L, !plain || !(r->options[0].name || r->blocks || r->build || r->build_in), "layer", r->name,
                   ".activation stands beside .options, .blocks or .build; what has those is a layer");
}

void bind_nn(lua_State *L) {
    metatable(L, BIND_LAYER, "a layer: see bk.nn", layer_gc, layer_tostring);
    lua_pop(L, 1);
    metatable(L, BIND_MODEL, "a model: see bk.nn.sequential", model_gc, model_tostring);
    lua_newtable(L);
    bind_rows(L, model_rows);
    lua_pushcclosure(L, model_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);

    luaL_getsubtable(L, -1, "nn");
    bind_rows(L, nn_rows);
    lua_getfield(L, -1, "mlp");
    const char *known = lua_pushfstring(L, "one of %s", push_activations(L));
    bind_doc_option(L, -3, &(bind_option){ "activation", known, "tanh", "stands between the linear layers" });
    lua_pop(L, 3);
    for (const layer_row *const *r = layer_rows; *r; r++) {
        bind_row_name(L, -1, "layer", layer_row_names[r - layer_rows], (*r)->name);
        check_row(L, *r);
        lua_pushlightuserdata(L, (void *)*r);
        lua_pushcclosure(L, layer_make, 1);
        args_doc(L, -1, (*r)->doc, (*r)->options);
        lua_setfield(L, -2, (*r)->name);
    }
    lua_pop(L, 1);
}

/* A list of what each layer is: its name and options, what it is made of; pushed. */
static void push_parts(lua_State *L, const model *m) {
    luaL_checkstack(L, 8, "model");
    lua_createtable(L, m->n_layers, 0);
    for (int i = 0; i < m->n_layers; i++) {
        const layer *l = &m->layers[i];
        lua_Integer n = 0;
        lua_newtable(L);
        lua_pushstring(L, layer_name(l));
        lua_rawseti(L, -2, ++n);
        for (int k = 0, options = l->own ? 0 : option_count(l->row->options); k < options; k++) {
            lua_pushnumber(L, l->option[k]);
            lua_rawseti(L, -2, ++n);
        }
        for (int k = 0; k < 2; k++) {
            const model *within = k ? l->beside : l->inner;
            if (!within) continue;
            push_parts(L, within);
            lua_rawseti(L, -2, ++n);
        }
        if (l->own) bind_own_layer_parts(L, l, n);
        lua_rawseti(L, -2, i + 1);
    }
}

/* model_parts(model): what tells it from another one, for a fingerprint */
static int internal_model_parts(lua_State *L) {
    push_parts(L, bind_check_model(L, 1, "model_parts", "model")->m);
    return 1;
}

void bind_nn_internal(lua_State *L) {
    static const bind_row rows[] = { { "activation", internal_activation, NULL },
                                     { "model_parts", internal_model_parts, NULL },
                                     { "in_mode", internal_in_mode, NULL },
                                     { "rows", internal_rows, NULL },
                                     { NULL, NULL, NULL } };
    bind_rows(L, rows);
}
