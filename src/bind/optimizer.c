/* optimizer.c - optimizers for Lua: bk.optim.NAME{...} -> an object with explicit state. Those of src/optim by their
 * rows, and bk.optim.custom of a formula in Lua. User values: the names of the state, the options as a table, the
 * formula as a func, and what makes another optimizer of this kind: the function of a row, or the table that
 * bk.optim.custom was given. */
#include "../optim/optim.h"
#include "args.h"
#include "func_value.h"
#include "tensor_value.h"
#include <stdlib.h>
#include <string.h>

#define BIND_OPTIM "bracket.optimizer"
enum { UV_NAMES = 1, UV_OPTIONS, UV_FORMULA, UV_KIND, UVS = 4 };

static optim *check_optim(lua_State *L, const char *fname) {
    optim **o = luaL_testudata(L, 1, BIND_OPTIM);
    if (!o || !*o) args_fail(L, 1, fname, "optimizer", "an optimizer (bk.optim.sgd{} ...)");
    return *o;
}

/* One whose state the call changes. */
static optim *check_idle(lua_State *L, const char *fname) {
    optim *o = check_optim(L, fname);
    if (o->stepping) args_error(L, fname, "optimizer: expected one that is not at a step, got it within its update");
    return o;
}

static optim **push_optim(lua_State *L) {
    optim **o = lua_newuserdatauv(L, sizeof *o, UVS);
    *o = NULL;
    luaL_setmetatable(L, BIND_OPTIM);
    return o;
}

static int optim_make(lua_State *L);

/* Pushes bk.optim.NAME of the row. */
static void push_maker(lua_State *L, const optim_row *row) {
    lua_pushlightuserdata(L, (void *)row);
    lua_pushcclosure(L, optim_make, 1);
}

static int optim_make(lua_State *L) {
    const optim_row *row = lua_touserdata(L, lua_upvalueindex(1));
    double values[OPTIONS_MAX] = { 0 };
    const int given = lua_gettop(L);
    if (!given) lua_settop(L, 1);
    const char *fname = lua_pushfstring(L, "bk.optim.%s", row->name);
    args_only_options(L, given, fname);
    args_read(L, 1, fname, row->options, values);
    optim **o = push_optim(L);
    int at = lua_gettop(L), n = 0;
    lua_newtable(L);
    for (; row->buffers[n]; n++) {
        lua_pushstring(L, row->buffers[n]);
        lua_rawseti(L, -2, n + 1);
    }
    lua_setiuservalue(L, at, UV_NAMES);
    lua_newtable(L);
    for (int i = 0; i < option_count(row->options); i++) {
        lua_pushnumber(L, values[i]);
        lua_setfield(L, -2, row->options[i].name);
    }
    lua_setiuservalue(L, at, UV_OPTIONS);
    push_maker(L, row);
    lua_setiuservalue(L, at, UV_KIND);
    err e = { 0 };
    if (optim_new(bind_ctx(L), row->name, n, optim_formula(bind_ctx(L), row, values, &e), o, &e))
        return bind_raise(L, &e);
    return 1;
}

/* ---- a formula in Lua ---- */

/* Upvalues: update, the names, the options. Called with theta, g, t and the state: pushes the step and the new state.
 */
static int call_update(lua_State *L) {
    int n = (int)lua_rawlen(L, lua_upvalueindex(2));
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, 2);
    lua_createtable(L, 0, n);
    for (int i = 1; i <= n; i++) {
        lua_rawgeti(L, lua_upvalueindex(2), i);
        lua_pushvalue(L, 3 + i);
        lua_rawset(L, -3);
    }
    lua_pushvalue(L, 1);
    lua_newtable(L);
    lua_pushnil(L);
    while (lua_next(L, lua_upvalueindex(3))) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -4);
    }
    lua_pushvalue(L, 3);
    lua_setfield(L, -2, "t");
    lua_call(L, 4, 2); /* g, s, theta, o */
    int step = lua_gettop(L) - 1, state = step + 1;
    if (!bind_tensor_test(L, step))
        args_fail(L, step, "bk.optim.custom", "update's first result, the step", "a tensor");
    if (n && !lua_istable(L, state))
        args_fail(L, state, "bk.optim.custom", "update's second result, the state", "a table of the names in state");
    lua_pushvalue(L, step);
    for (int i = 1; i <= n; i++) {
        lua_rawgeti(L, lua_upvalueindex(2), i);
        const char *name = lua_tostring(L, -1);
        lua_getfield(L, state, name);
        lua_remove(L, -2);
        if (!bind_tensor_test(L, -1)) {
            const char *what = lua_pushfstring(L, "update's second result: %s", name);
            lua_insert(L, -2);
            args_fail(L, lua_gettop(L), "bk.optim.custom", what, "a tensor");
        }
    }
    lua_pushnil(L);
    while (lua_istable(L, state) && lua_next(L, state)) { /* what is no name of the state would be lost in silence */
        bool known = false;
        for (int k = 1; k <= n && !known; k++) {
            lua_rawgeti(L, lua_upvalueindex(2), k);
            known = lua_rawequal(L, -1, -3);
            lua_pop(L, 1);
        }
        if (!known)
            return args_error(L, "bk.optim.custom", "update's second result: %s is not in state", args_got(L, -2));
        lua_pop(L, 1);
    }
    if (!lua_istable(L, state)) lua_pop(L, 1);
    return 1 + n;
}

static const bind_option custom_told[] = {
    { "update", "a function", NULL, "(g, s, theta, o) -> step, s: theta moves by -lr step", .required = true },
    { "state", "a table of names", "{}", "the tensors it keeps, of theta's shape, from 0" },
    { "options", "a table", "{}", "numbers, which o holds beside o.t, the step from 1" },
    { "name", "a string", "custom", "what messages call it" },
    { NULL, NULL, NULL, NULL },
};

/* Pushes the names that `state` at index lists, each once. */
static int push_names(lua_State *L, int index, const char *fname) {
    const int names = lua_gettop(L) + 1, seen = names + 1;
    args_table(L, index, fname, "state");
    const int n = (int)args_list(L, index, fname, "state", false);
    if (n > OPTIM_MAX_BUFFERS) return args_error(L, fname, "state: at most %d names, got %d", OPTIM_MAX_BUFFERS, n);
    lua_newtable(L);
    lua_newtable(L);
    for (int i = 1; i <= n; i++) {
        lua_rawgeti(L, index, i);
        if (lua_type(L, -1) != LUA_TSTRING) return args_fail(L, -1, fname, "state", "a table of names");
        const char *given = lua_tostring(L, -1);
        if (strcmp(given, "step") == 0)
            return args_error(L, fname, "state: step is the step count; expected another name");
        lua_pushvalue(L, -1);
        if (lua_rawget(L, seen) != LUA_TNIL) return args_error(L, fname, "state: \"%s\" stands there twice", given);
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        lua_pushboolean(L, true);
        lua_rawset(L, seen);
        lua_rawseti(L, names, i);
    }
    lua_settop(L, names);
    return n;
}

/* Pushes a copy of the options at index, numbers by name. */
static void push_numbers(lua_State *L, int index, const char *fname) {
    args_table(L, index, fname, "options");
    lua_newtable(L);
    const int numbers = lua_gettop(L);
    lua_pushnil(L);
    while (lua_next(L, index)) {
        if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TNUMBER)
            args_error(L, fname, "options: expected names and numbers, got %s = %s", args_got(L, numbers + 1),
                       args_got(L, numbers + 2));
        if (strcmp(lua_tostring(L, -2), "t") == 0)
            args_error(L, fname, "options: t is the step count, which update finds as o.t");
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, numbers);
    }
}

static int optim_custom(lua_State *L) {
    const char *fname = "bk.optim.custom";
    lua_settop(L, 1);
    int table = args_declared(L, 1, fname, custom_told, false);
    if (!table) return args_fail(L, 1, fname, "options", "a table { state = {...}, options = {...}, update = f }");
    const char *name = args_opt_string(L, table, fname, "name", "custom");
    if (strlen(name) >= OPTIM_NAME) return args_error(L, fname, "name: expected at most 31 characters, got %s", name);
    optim **o = push_optim(L); /* 2 */
    if (!args_field(L, table, "update") || !lua_isfunction(L, -1)) {
        if (lua_gettop(L) == 2) lua_pushnil(L);
        return args_fail(L, 3, fname, "update", "a function (g, s, theta, o) -> step, s");
    }
    if (!args_field(L, table, "state")) lua_newtable(L); /* 4 */
    const int n = push_names(L, 4, fname);
    lua_replace(L, 4);
    if (!args_field(L, table, "options")) lua_newtable(L); /* 5 */
    push_numbers(L, 5, fname);
    lua_replace(L, 5);
    lua_pushvalue(L, 4);
    lua_setiuservalue(L, 2, UV_NAMES);
    lua_pushvalue(L, 5);
    lua_setiuservalue(L, 2, UV_OPTIONS);
    lua_createtable(L, 0, 4); /* 6 */
    lua_pushvalue(L, 3);
    lua_setfield(L, 6, "update");
    lua_pushvalue(L, 4);
    lua_setfield(L, 6, "state");
    lua_pushstring(L, name);
    lua_setfield(L, 6, "name");
    lua_setiuservalue(L, 2, UV_KIND);
    lua_pushcclosure(L, call_update, 3);
    func *f = bind_check_func(L, 3, fname, "update");
    func_retain(f);
    lua_setiuservalue(L, 2, UV_FORMULA);
    err e = { 0 };
    if (optim_new(bind_ctx(L), name, n, f, o, &e)) return bind_raise(L, &e);
    return 1;
}

static int optim_gc(lua_State *L) {
    optim **o = luaL_checkudata(L, 1, BIND_OPTIM);
    optim_free(*o);
    *o = NULL;
    return 0;
}

static int step(lua_State *L, bool ours) {
    const char *fname = "optimizer:step";
    optim *o = check_idle(L, fname);
    const tensor *theta = bind_check_tensor(L, 2, fname, "theta"), *g = bind_check_tensor(L, 3, fname, "g");
    double lr = args_number(L, 4, fname, "lr");
    shape_buf a, b;
    if (g->dtype != theta->dtype || !shape_equal(g->ndim, g->shape, theta->ndim, theta->shape))
        return args_error(L, fname, "g: expected theta's %s %s, got %s %s", dtype_name(theta->dtype),
                          shape_text(theta->ndim, theta->shape, &a), dtype_name(g->dtype),
                          shape_text(g->ndim, g->shape, &b));
    tensor next = { 0 };
    err e = { 0 };
    if (!ours) bind_account(L, (size_t)tensor_count(theta) * dtype_size(theta->dtype));
    bind_trace at = bind_enter(L);
    bk_status st = optim_step(o, theta, g, lr, ours, &next, &e);
    if (st) {
        err_prefix(&e, fname);
        bind_leave(L, &at, st, &e);
    }
    bind_leave(L, &at, BK_OK, &e);
    if (next.store == theta->store) {
        tensor_release(&next);
        lua_settop(L, 2);
    } else {
        bind_push_tensor(L, &next);
    }
    return 1;
}

static int optim_step_(lua_State *L) {
    return step(L, false);
}

/* step_over(optimizer, theta, g, lr): as optimizer:step, where the caller alone holds theta: it is written over and
 * returned, where it can be. */
static int internal_step_over(lua_State *L) {
    return step(L, true);
}

/* ---- a step as the gradient is made ---- */

typedef struct pouring {
    lua_State *L;
    int lent, key; /* a table that tells under the key whether somebody else has theta now */
    optim *o;
    const tensor *theta;
    double lr;
    bool can;
    optim_move move;
} pouring;

/* What was traced may have changed the optimizer, or taken theta: then there is no step. */
static bk_status start(void *arg, err *e) {
    pouring *p = arg;
    const bk_status st = optim_begin_move(p->o, p->theta, p->lr, &p->move, &p->can, e);
    if (st) err_prefix(e, "optimizer:step");
    lua_pushvalue(p->L, p->key);
    lua_rawget(p->L, p->lent);
    p->can = p->can && !lua_toboolean(p->L, -1);
    lua_pop(p->L, 1);
    return st;
}

static bool wanted(void *arg, double loss) {
    pouring *p = arg;
    return p->can && optim_moves(&p->move, loss);
}

static void take(void *arg, int64_t first, int64_t count, const void *at) {
    optim_take(&((const pouring *)arg)->move, first, count, at);
}

/* step_poured(optimizer, kept, lr, lent, f, theta, ...) -> nil where the optimizer needs the whole gradient, and
 * nothing is done; or whether the step was done, and f's results. theta moves as f(theta, ...) -> loss, gradient, ...
 * makes the gradient, and that is nowhere as a whole (optim_begin_move). There is no step, but a whole gradient, where
 * somebody else has theta too, as lent.theta tells, or the loss is not finite. kept: as call_over's. */
static int internal_step_poured(lua_State *L) {
    enum { KEPT = 2, LR, LENT, KEY, F, THETA };
    const char *fname = "optimizer:step";
    luaL_checktype(L, KEPT, LUA_TTABLE);
    luaL_checktype(L, LENT, LUA_TTABLE);
    lua_pushliteral(L, "theta");
    lua_insert(L, KEY);
    luaL_argcheck(L, bind_test_func(L, F), F, "a function of tensors expected");
    pouring p = { .L = L, .lent = LENT, .key = KEY, .o = check_idle(L, fname) };
    p.lr = args_number(L, LR, fname, "lr");
    p.theta = bind_check_tensor(L, THETA, fname, "theta");
    err e = { 0 };
    bind_trace at = bind_enter(L);
    const bk_status st = optim_can_move(p.o, p.theta, &p.can, &e);
    if (st) err_prefix(&e, fname);
    bind_leave(L, &at, st, &e);
    if (!p.can) return 0;
    const bind_pour pour = { start, &p, { wanted, take, &p } };
    const int results = bind_func_call_poured(L, F, THETA, lua_gettop(L), KEPT, &pour);
    lua_pushboolean(L, p.move.moved);
    lua_insert(L, -1 - results);
    if (p.move.moved) optim_end_move(&p.move);
    return 1 + results;
}

/* custom_parts(optimizer): of one made of a function { update, state, name }, else nil */
static int internal_custom_parts(lua_State *L) {
    if (!luaL_testudata(L, 1, BIND_OPTIM)) return 0;
    lua_getiuservalue(L, 1, UV_KIND);
    return 1;
}

void bind_optim_internal(lua_State *L) {
    static const bind_row rows[] = { { "step_over", internal_step_over, NULL },
                                     { "custom_parts", internal_custom_parts, NULL },
                                     { "step_poured", internal_step_poured, NULL },
                                     { NULL, NULL, NULL } };
    bind_rows(L, rows);
}

/* The names of the state, at most OPTIM_MAX_BUFFERS, kept by the optimizer at index 1. */
static int names_of(lua_State *L, const char **names) {
    lua_getiuservalue(L, 1, UV_NAMES);
    int n = (int)lua_rawlen(L, -1);
    for (int i = 0; i < n; i++) {
        lua_rawgeti(L, -1, i + 1);
        names[i] = lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return n;
}

static int optim_state(lua_State *L) {
    optim *o = check_optim(L, "optimizer:state");
    const char *names[OPTIM_MAX_BUFFERS];
    int n = names_of(L, names);
    lua_newtable(L);
    lua_pushinteger(L, o->t);
    lua_setfield(L, -2, "step");
    for (int i = 0; i < n && o->n >= 0; i++) {
        tensor copy = { 0 };
        err e = { 0 };
        if (tensor_new(o->c, o->dtype, 1, &o->n, &copy, &e)) return bind_raise(L, &e);
        tensor_copy_to(&o->buffer[i], o->dtype, tensor_data(&copy));
        bind_push_tensor(L, &copy);
        lua_setfield(L, -2, names[i]);
    }
    return 1;
}

static int optim_restore_(lua_State *L) {
    const char *fname = "optimizer:restore", *known[OPTIM_MAX_BUFFERS + 2] = { "step" };
    optim *o = check_idle(L, fname);
    tensor buffers[OPTIM_MAX_BUFFERS] = { { 0 } };
    int n = names_of(L, known + 1);
    known[n + 1] = NULL;
    args_table(L, 2, fname, "state");
    for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) {
        bool is = false;
        for (int i = 0; known[i] && lua_type(L, -2) == LUA_TSTRING; i++)
            is = is || !strcmp(lua_tostring(L, -2), known[i]);
        if (!is)
            return args_error(L, fname, "state: expected what %s:state() returned, got one with %s", o->name,
                              args_got(L, -2));
    }
    int table = args_options(L, 2, fname, known, false), found = 0;
    if (!args_field(L, table, "step"))
        return args_error(L, fname, "state: step: missing; expected what %s:state() returned", o->name);
    lua_pop(L, 1);
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
        return args_error(L, fname, "state: expected the tensors of %s:state(), some are missing", o->name);
    } else {
        err e = { 0 };
        if (optim_restore(o, t, buffers, known + 1, &e)) return bind_raise(L, &e);
    }
    lua_settop(L, 1);
    return 1;
}

static int optim_reset_(lua_State *L) {
    optim_reset(check_idle(L, "optimizer:reset"));
    lua_settop(L, 1);
    return 1;
}

static int optim_formula_(lua_State *L) {
    optim *o = check_optim(L, "optimizer:formula");
    if (lua_getiuservalue(L, 1, UV_FORMULA) == LUA_TNIL) {
        func_retain(o->formula);
        bind_push_func(L, o->formula);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, 1, UV_FORMULA);
    }
    lua_newtable(L);
    lua_getiuservalue(L, 1, UV_NAMES);
    for (int i = 1; i <= (int)lua_rawlen(L, -1); i++) {
        lua_rawgeti(L, -1, i);
        lua_rawseti(L, -3, i);
    }
    lua_pop(L, 1);
    return 2;
}

/* Sets all of the table on top in the table below it, and takes it. */
static void merge(lua_State *L) {
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -5);
    }
    lua_pop(L, 1);
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int optim_with(lua_State *L) {
    const char *fname = "optimizer:with";
    check_optim(L, fname);
    lua_settop(L, 2);
    if (lua_isnil(L, 2)) {
        lua_newtable(L);
        lua_replace(L, 2);
    }
    args_table(L, 2, fname, "options");
    lua_getiuservalue(L, 1, UV_KIND); /* 3 */
    lua_getiuservalue(L, 1, UV_OPTIONS);
    lua_newtable(L); /* 5 */
    lua_pushvalue(L, 4);
    merge(L);
    bool custom = lua_istable(L, 3);
    if (custom) { /* of its own options any name would do: a slip would be lost in silence */
        int n = 0;
        for (lua_pushnil(L); lua_next(L, 4); lua_pop(L, 1)) n++;
        const char **known = lua_newuserdatauv(L, ((size_t)n + 1) * sizeof *known, 0);
        n = 0;
        for (lua_pushnil(L); lua_next(L, 4); lua_pop(L, 1)) known[n++] = lua_tostring(L, -2); /* which 4 keeps */
        qsort(known, (size_t)n, sizeof *known, by_text);
        known[n] = NULL;
        args_options(L, 2, fname, known, false);
    }
    lua_settop(L, 5);
    lua_pushvalue(L, 2);
    merge(L);
    if (custom) {
        lua_newtable(L); /* 6 */
        lua_pushvalue(L, 3);
        merge(L);
        lua_pushvalue(L, 5);
        lua_setfield(L, 6, "options");
        lua_pushcfunction(L, optim_custom);
        lua_pushvalue(L, 6);
    } else {
        lua_pushvalue(L, 3);
        lua_pushvalue(L, 5);
    }
    lua_call(L, 1, 1);
    return 1;
}

static int optim_index(lua_State *L) {
    optim *o = check_optim(L, "optimizer");
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    if (strcmp(key, "name") == 0) {
        lua_pushstring(L, o->name);
        return 1;
    }
    lua_getiuservalue(L, 1, UV_OPTIONS);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, -2) != LUA_TNIL) return 1;
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    return 1;
}

/* name{option = value, ...}, sorted: what tells two optimizers apart in a run's config. */
static int optim_tostring(lua_State *L) {
    optim *o = check_optim(L, "optimizer");
    lua_settop(L, 1);
    lua_newtable(L); /* 2 */
    lua_getiuservalue(L, 1, UV_OPTIONS);
    lua_pushnil(L);
    for (int n = 1; lua_next(L, 3); n++) {
        const char *value = lua_isinteger(L, -1) ? lua_pushfstring(L, "%I.0", (LUAI_UACINT)lua_tointeger(L, -1))
                                                 : bind_push_number(L, lua_tonumber(L, -1));
        lua_pushfstring(L, "%s = %s", lua_tostring(L, -3), value);
        lua_rawseti(L, 2, n);
        lua_pop(L, 2);
    }
    for (int i = 2; i <= (int)lua_rawlen(L, 2); i++)
        for (int k = i; k > 1; k--) {
            lua_rawgeti(L, 2, k - 1);
            lua_rawgeti(L, 2, k);
            bool sorted = !lua_compare(L, -1, -2, LUA_OPLT);
            lua_rawseti(L, 2, sorted ? k : k - 1);
            lua_rawseti(L, 2, sorted ? k - 1 : k);
            if (sorted) break;
        }
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    luaL_addstring(&b, o->name);
    luaL_addstring(&b, "{");
    for (int i = 1; i <= (int)lua_rawlen(L, 2); i++) {
        if (i > 1) luaL_addstring(&b, ", ");
        lua_rawgeti(L, 2, i);
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
      "optimizer:restore(state) -> optimizer\nSets the state that optimizer:state() returned. It holds no options: "
      "another optimizer's with tensors of the same names, as adam's for adamw, is taken as it is." },
    { "reset", optim_reset_, "optimizer:reset() -> optimizer\nForgets the state: as new." },
    { "formula", optim_formula_,
      "optimizer:formula() -> f, names\n"
      "The update as a function that can be traced and differentiated: f(theta, g, t, s1, ...) -> step, s1', ... with "
      "t the number of the step from 1 (a 0-d tensor) and the state's vectors in the order of names. theta <- theta - "
      "lr step; the optimizer's own state is not touched." },
    { "with", optim_with,
      "optimizer:with{ option = value, ... } -> optimizer\n"
      "Another optimizer of this kind, as new, with these options changed: adam:with{ weight_decay = 0 }." },
    { NULL, NULL, NULL },
};

static const bind_row optim_module_rows[] = {
    { "custom", optim_custom,
      "bk.optim.custom{ state = {\"m\"}, options = {beta = 0.9}, update = f } -> optimizer\n"
      "An optimizer of one's own: theta <- theta - lr step, with step, s = f(g, s, theta, o).\n\n"
      "f is traced once and compiled, so it is made of operations on tensors: g is the gradient, s the state by its "
      "names "
      "(vectors that start as zeros), theta the parameters, o the options and o.t, the number of the step from 1, a "
      "0-d tensor. What is made of o.t and numbers is computed in float64 and takes the dtype of the tensors it meets. "
      "It returns the step and a table of the new state. The optimizer is used, saved, restored and "
      "reset "
      "like those of bk.optim; name (\"custom\") is what it is called.\n\n"
      "A protocol takes a table too: { step = f(self, theta, g, lr) -> theta, state = f(self) -> table, "
      "restore = f(self, table), reset = f(self) }.\n\n"
      "Errors: when f returns no tensor, no table, a name that is not in state, or another shape than theta's.\n\n"
      "Example:\n"
      "  > sign = bk.optim.custom{ state = {\"m\"}, options = {beta = 0.9}, update = function(g, s, theta, o)\n"
      "  >>     local m = o.beta * s.m + (1 - o.beta) * g\n"
      "  >>     return m:sign(), { m = m }\n"
      "  >> end }\n"
      "  > sign:step(bk.tensor{1, 1}, bk.tensor{5, -3}, 0.1)\n"
      "  tensor float64 (2)\n"
      "  [0.9 1.1]",
      custom_told },
    { NULL, NULL, NULL },
};

void bind_optim(lua_State *L) {
    luaL_newmetatable(L, BIND_OPTIM);
    args_fixed(L, "optimizer");
    bind_finalizer(L, optim_gc, "an optimizer: see bk.optim");
    lua_pushcfunction(L, optim_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_newtable(L);
    bind_rows(L, optim_methods);
    lua_pushcclosure(L, optim_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);

    luaL_getsubtable(L, -1, "optim");
    for (const optim_row *const *r = optim_rows; *r; r++) {
        bind_row_name(L, -1, "optim", optim_row_names[r - optim_rows], (*r)->name);
        bind_row_check(L, (*r)->doc && (*r)->step, "optim", (*r)->name, ".doc or .step is missing");
        push_maker(L, *r);
        args_doc(L, -1, (*r)->doc, (*r)->options);
        lua_setfield(L, -2, (*r)->name);
    }
    bind_rows(L, optim_module_rows);
    lua_pop(L, 1);
}
