/* bea.c - backward error analysis for Lua: bk.flow and bk.bea. Objects hold funcs as userdata in a user value, so the
 * collector sees everything; the C below knows nothing of Lua. */
#include "../bea/flow.h"
#include "../bea/modified.h"
#include "../bea/order.h"
#include "args.h"
#include "func.h"
#include "tensor.h"
#include <math.h>
#include <string.h>

#define BIND_WORD "bracket.word"
#define BIND_MULTITASK "bracket.multitask"
#define BIND_CONTINUAL "bracket.continual"

/* ---- shared ---- */
/* The losses of the list at index as an array in Lua's memory; pushes two values that keep it and them alive. */
static func **check_losses(lua_State *L, int index, const char *fname, const char *argument, int *n) {
    index = lua_absindex(L, index);
    if (!lua_istable(L, index)) args_fail(L, index, fname, argument, "a list of losses");
    *n = (int)lua_rawlen(L, index);
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

static word **word_push(lua_State *L) {
    word **w = lua_newuserdatauv(L, sizeof *w, 1);
    *w = NULL;
    luaL_setmetatable(L, BIND_WORD);
    lua_newtable(L); /* the fields made so far, and the losses */
    lua_setiuservalue(L, -2, 1);
    return w;
}

static word *word_of(lua_State *L, int index) {
    return *(word **)luaL_checkudata(L, index, BIND_WORD);
}

static word *check_word(lua_State *L, const char *fname) {
    word **w = luaL_testudata(L, 1, BIND_WORD);
    if (!w || !*w) args_fail(L, 1, fname, "word", "a word (bk.bea.word{...})");
    return *w;
}

static int word_gc(lua_State *L) {
    word **w = luaL_checkudata(L, 1, BIND_WORD);
    word_release(*w);
    *w = NULL;
    return 0;
}

/* Pushes the word of m steps; keep: index of the value that keeps the losses. */
static void word_make(lua_State *L, int m, func *const *losses, const double *rates, int keep) {
    word **w = word_push(L);
    err e = { 0 };
    if (word_new(bind_ctx(L), m, losses, rates, w, &e)) bind_raise(L, &e);
    lua_getiuservalue(L, -1, 1);
    lua_pushvalue(L, keep);
    lua_setfield(L, -2, "losses");
    lua_pop(L, 1);
}

static void own_func(lua_State *L, func *f, err *e, int over) {
    if (!f) bind_raise(L, e);
    bind_push_func_over(L, f, over);
}

static double finite_number(lua_State *L, int index, const char *fname, const char *argument) {
    double v = args_number(L, index, fname, argument);
    if (!isfinite(v)) args_fail(L, index, fname, argument, "a finite number");
    return v;
}

/* ---- words ---- */
static int bea_word(lua_State *L) {
    const char *fname = "bk.bea.word";
    lua_settop(L, 1);
    args_table(L, 1, fname, "steps");
    int m = (int)lua_rawlen(L, 1);
    if (m < 1) return args_error(L, fname, "steps: expected at least one {loss, rate}");
    lua_createtable(L, m, 0); /* 2: keeps the losses */
    func **losses = lua_newuserdatauv(L, (size_t)m * sizeof *losses, 0);
    double *rates = lua_newuserdatauv(L, (size_t)m * sizeof *rates, 0);
    for (int s = 0; s < m; s++) {
        const char *name = lua_pushfstring(L, "step %d", s + 1);
        if (lua_rawgeti(L, 1, s + 1) != LUA_TTABLE || lua_rawlen(L, -1) != 2)
            return args_fail(L, -1, fname, name, "{loss, rate}");
        lua_rawgeti(L, 6, 2);
        rates[s] = finite_number(L, 7, fname, lua_pushfstring(L, "%s: rate", name));
        lua_pop(L, 2);
        lua_rawgeti(L, -1, 1);
        name = lua_pushfstring(L, "%s: loss", name);
        lua_insert(L, -2);
        losses[s] = bind_check_func(L, lua_gettop(L), fname, name);
        lua_rawseti(L, 2, s + 1);
        lua_settop(L, 4);
    }
    word_make(L, m, losses, rates, 2);
    return 1;
}

/* Pushes the word's field with these weights, made once under that name. */
static int word_field_push(lua_State *L, const char *name, term_weights k) {
    word *w = word_of(L, 1);
    lua_getiuservalue(L, 1, 1);
    if (lua_getfield(L, -1, name) != LUA_TNIL) return 1;
    lua_pop(L, 1);
    err e = { 0 };
    own_func(L, word_field(w, k, &e), &e, 1);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, name);
    return 1;
}

static int word_term(lua_State *L) {
    static const char *const names[] = { "term1", "term2", "term3" };
    check_word(L, "word:term");
    int k = (int)args_integer(L, 2, "word:term", "order", 1, 3);
    return word_field_push(L, names[k - 1], (term_weights){ k == 1, k == 2, k == 2, k == 3 });
}

static int word_log(lua_State *L) {
    static const char *const names[] = { "term1", "log2", "log3" };
    check_word(L, "word:log");
    int k = (int)args_integer(L, 2, "word:log", "order", 1, 3);
    return word_field_push(L, names[k - 1], (term_weights){ 1, k >= 2, k >= 2, k >= 3 });
}

static int word_conflict(lua_State *L) {
    check_word(L, "word:conflict");
    return word_field_push(L, "conflict", (term_weights){ .conflict = 1 });
}

static int word_flatness(lua_State *L) {
    check_word(L, "word:flatness");
    return word_field_push(L, "flatness", (term_weights){ .flatness = 1 });
}

static int word_step_(lua_State *L) {
    word *w = check_word(L, "word:step");
    const tensor *theta = bind_check_tensor(L, 2, "word:step", "theta");
    tensor out = { 0 };
    err e = { 0 };
    bind_trace at = bind_enter(L);
    bk_status st = word_step(w, theta, &out, &e);
    bind_leave(L, &at, st, &e);
    bind_push_tensor(L, &out);
    return 1;
}

static int word_matrix(lua_State *L) {
    word *w = check_word(L, "word:order_matrix");
    const int64_t shape[2] = { w->n, w->n };
    tensor out = { 0 };
    err e = { 0 };
    if (tensor_new(w->c, BK_FLOAT64, 2, shape, &out, &e)) return bind_raise(L, &e);
    word_order_matrix(w, tensor_data(&out));
    bind_push_tensor(L, &out);
    return 1;
}

static int word_len(lua_State *L) {
    lua_pushinteger(L, check_word(L, "word")->m);
    return 1;
}

static int word_tostring(lua_State *L) {
    word *w = check_word(L, "word");
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    luaL_addstring(&b, "word(");
    for (int s = 0; s < w->m && s < 40; s++) {
        lua_pushfstring(L, "%s%d:%f", s ? " " : "", w->step[s] + 1, w->rate[s]);
        luaL_addvalue(&b);
    }
    luaL_addstring(&b, w->m > 40 ? " ...)" : ")");
    luaL_pushresult(&b);
    return 1;
}

/* The option `name` as an array of numbers in Lua's memory, pushed; otherwise: the default list. */
static double *number_list(lua_State *L, int table, const char *fname, const char *name, int *n,
                           const double *otherwise, int n_otherwise) {
    bool given = args_field(L, table, name);
    int list = lua_gettop(L);
    if (given) args_table(L, list, fname, name);
    *n = given ? (int)lua_rawlen(L, list) : n_otherwise;
    if (*n < 1) args_error(L, fname, "%s: expected at least one number", name);
    double *v = lua_newuserdatauv(L, (size_t)*n * sizeof *v, 0);
    for (int i = 0; i < *n; i++) {
        if (given) {
            lua_rawgeti(L, list, i + 1);
            v[i] = args_number(L, lua_gettop(L), fname, name);
            lua_pop(L, 1);
        } else
            v[i] = otherwise[i];
    }
    return v;
}

static int word_verify_(lua_State *L) {
    static const char *const known[] = { "theta", "scales", "orders", "rtol", "atol", "control", NULL };
    static const char *const controls[] = { "none", "no_conflict", "flipped", NULL };
    static const double all_scales[] = { 1, 0.5, 0.25 }, all_orders[] = { 1, 2, 3 };
    const char *fname = "word:verify";
    word *w = check_word(L, fname);
    args_table(L, 2, fname, "options");
    int table = args_options(L, 2, fname, known, false);
    verify_options o = {
        .rtol = args_opt_number(L, table, fname, "rtol", 1e-12),
        .atol = args_opt_number(L, table, fname, "atol", 1e-14),
        .conflict = 1.0 - args_opt_choice(L, table, fname, "control", controls, 0),
    };
    o.scales = number_list(L, table, fname, "scales", &o.n_scales, all_scales, 3);
    double *orders = number_list(L, table, fname, "orders", &o.n_orders, all_orders, 3);
    int *whole = lua_newuserdatauv(L, (size_t)o.n_orders * sizeof *whole, 0);
    for (int i = 0; i < o.n_orders; i++) {
        whole[i] = orders[i] == 1 ? 1 : orders[i] == 2 ? 2 : orders[i] == 3 ? 3 : 0;
        if (!whole[i]) return args_error(L, fname, "orders: expected 1, 2 or 3, got %f", orders[i]);
    }
    o.orders = whole;
    double *errors = lua_newuserdatauv(L, (size_t)(o.n_orders * o.n_scales) * sizeof *errors, 0);
    double *slopes = lua_newuserdatauv(L, (size_t)o.n_orders * sizeof *slopes, 0);
    if (!args_field(L, table, "theta"))
        return args_error(L, fname, "theta: missing; expected the tensor to start from");
    const tensor *theta = bind_check_tensor(L, -1, fname, "theta");
    err e = { 0 };
    bind_trace at = bind_enter(L);
    bk_status st = word_verify(w, theta, &o, errors, slopes, &e);
    bind_leave(L, &at, st, &e);
    lua_createtable(L, o.n_orders, 0);
    for (int k = 0; k < o.n_orders; k++) {
        lua_createtable(L, 0, 4);
        lua_pushinteger(L, whole[k]);
        lua_setfield(L, -2, "order");
        lua_pushinteger(L, whole[k] + 1);
        lua_setfield(L, -2, "expected");
        lua_pushnumber(L, slopes[k]);
        lua_setfield(L, -2, "slope");
        lua_createtable(L, o.n_scales, 0);
        for (int i = 0; i < o.n_scales; i++) {
            lua_pushnumber(L, errors[k * o.n_scales + i]);
            lua_rawseti(L, -2, i + 1);
        }
        lua_setfield(L, -2, "errors");
        lua_rawseti(L, -2, k + 1);
    }
    return 1;
}

/* ---- flows ---- */
static int bea_flow(lua_State *L) {
    static const char *const known[] = { "time", "rtol", "atol", "method", "steps", "max_steps", "stats", NULL };
    static const char *const methods[] = { "dopri5", "rk4", NULL };
    const char *fname = "bk.flow";
    lua_settop(L, 3);
    func *field = bind_check_func(L, 1, fname, "field");
    const tensor *theta = bind_check_tensor(L, 2, fname, "theta");
    int table = args_options(L, 3, fname, known, false);
    flow_options o = flow_defaults();
    o.time = args_opt_number(L, table, fname, "time", o.time);
    o.rtol = args_opt_number(L, table, fname, "rtol", o.rtol);
    o.atol = args_opt_number(L, table, fname, "atol", o.atol);
    o.method = args_opt_choice(L, table, fname, "method", methods, 0) ? FLOW_RK4 : FLOW_DOPRI5;
    o.steps = args_opt_integer(L, table, fname, "steps", 1, INT64_MAX, 0);
    o.max_steps = args_opt_integer(L, table, fname, "max_steps", 1, INT64_MAX, o.max_steps);
    if (o.method == FLOW_RK4 && !o.steps)
        return args_error(L, fname, "steps: missing; method \"rk4\" takes that many equal steps");
    if (o.method == FLOW_DOPRI5 && o.steps)
        return args_error(L, fname,
                          "steps: only for method \"rk4\"; \"dopri5\" chooses its own (max_steps limits them)");
    if (args_field(L, table, "stats")) args_table(L, 4, fname, "stats");
    tensor out = { 0 };
    flow_stats s = { 0 };
    err e = { 0 };
    bind_trace at = bind_enter(L);
    bk_status st = flow_of(field, theta, &o, &out, &s, &e);
    bind_leave(L, &at, st, &e);
    lua_settop(L, 4);
    bind_push_tensor(L, &out);
    if (lua_istable(L, 4)) {
        lua_pushinteger(L, s.steps);
        lua_setfield(L, 4, "steps");
        lua_pushinteger(L, s.rejected);
        lua_setfield(L, 4, "rejected");
        lua_pushinteger(L, s.evaluations);
        lua_setfield(L, 4, "evaluations");
    }
    return 1;
}

/* ---- multitask and continual ---- */
/* A concrete 0-d tensor on top becomes a number. */
static void to_number(lua_State *L) {
    const tensor *t = bind_test_tensor(L, -1);
    if (!t || t->ndim != 0) return;
    lua_pushnumber(L, tensor_get(t, 0));
    lua_replace(L, -2);
}

/* Sets field name of the table at `into` to the value at index, a number where it is one. */
static void set_value(lua_State *L, int into, const char *name, int index) {
    lua_pushvalue(L, index);
    to_number(L);
    lua_setfield(L, into, name);
}

/* The func kept under name in the object at 1. */
static func *kept_func(lua_State *L, const char *type, const char *fname, const char *name) {
    if (!luaL_testudata(L, 1, type)) args_fail(L, 1, fname, "self", "the object (call with a colon)");
    lua_getiuservalue(L, 1, 1);
    lua_getfield(L, -1, name);
    func *f = bind_test_func(L, -1);
    lua_pop(L, 2); /* the object keeps it */
    return f;
}

/* f at the theta at 2; its outputs come to lie from 3 on. */
static void invoke(lua_State *L, func *f, const char *fname) {
    lua_settop(L, 2);
    int n = bind_func_invoke(L, f, 2, 2, fname);
    while (lua_gettop(L) > 2 + n) lua_remove(L, 3);
}

static int bea_multitask(lua_State *L) {
    static const char *const known[] = { "losses", "lr", "reduction", NULL }, *const reductions[] = { "sum", "mean",
                                                                                                      NULL };
    static const char *const parts[] = { "terms", "loss", "grad" };
    const char *fname = "bk.bea.multitask";
    lua_settop(L, 1);
    args_table(L, 1, fname, "options");
    int table = args_options(L, 1, fname, known, false), n;
    if (!args_field(L, table, "losses") || !args_field(L, table, "lr"))
        return args_error(L, fname, "expected losses = {L1, L2, ...} and lr = h");
    double h = finite_number(L, 3, fname, "lr");
    bool mean = args_opt_choice(L, table, fname, "reduction", reductions, 0) == 1;
    func **losses = check_losses(L, 2, fname, "losses", &n); /* 4: the funcs, 5: the list */
    lua_newuserdatauv(L, 0, 1);
    luaL_setmetatable(L, BIND_MULTITASK);
    lua_newtable(L);
    for (int p = MULTITASK_TERMS; p <= MULTITASK_GRAD; p++) {
        err e = { 0 };
        own_func(L, multitask_func(bind_ctx(L), n, losses, h, mean, (multitask_part)p, &e), &e, 4);
        lua_setfield(L, -2, parts[p]);
    }
    lua_setiuservalue(L, -2, 1);
    return 1;
}

static int multitask_terms(lua_State *L) {
    const char *fname = "multitask:terms";
    func *f = kept_func(L, BIND_MULTITASK, fname, "terms");
    invoke(L, f, fname); /* 3, 4, 5 */
    lua_pushvalue(L, 3);
    lua_pushvalue(L, 4);
    lua_arith(L, LUA_OPADD);
    lua_pushvalue(L, 5);
    lua_arith(L, LUA_OPADD); /* 6 */
    lua_createtable(L, 0, 4);
    set_value(L, 7, "original", 3);
    set_value(L, 7, "flatness", 4);
    set_value(L, 7, "conflict", 5);
    set_value(L, 7, "total", 6);
    return 1;
}

static int multitask_loss(lua_State *L) {
    kept_func(L, BIND_MULTITASK, "multitask:loss", "loss");
    lua_getiuservalue(L, 1, 1);
    lua_getfield(L, -1, "loss");
    return 1;
}

static int multitask_grad(lua_State *L) {
    func *f = kept_func(L, BIND_MULTITASK, "multitask:grad", "grad");
    lua_settop(L, 2);
    return bind_func_invoke(L, f, 2, 2, "multitask:grad");
}

static int bea_continual(lua_State *L) {
    static const char *const known[] = { "losses", "lr", NULL };
    const char *fname = "bk.bea.continual";
    lua_settop(L, 1);
    args_table(L, 1, fname, "options");
    int table = args_options(L, 1, fname, known, false), n;
    if (!args_field(L, table, "losses") || !args_field(L, table, "lr"))
        return args_error(L, fname, "expected losses = {L1, L2, ...} and lr = h or {h1, h2, ...}");
    func **losses = check_losses(L, 2, fname, "losses", &n); /* 4: the funcs, 5: the list */
    double *rates = lua_newuserdatauv(L, (size_t)n * sizeof *rates, 0);
    if (lua_istable(L, 3) && (int)lua_rawlen(L, 3) != n)
        return args_error(L, fname, "lr: expected %d rates, one a loss, got %d", n, (int)lua_rawlen(L, 3));
    for (int i = 0; i < n; i++) {
        if (lua_istable(L, 3))
            lua_rawgeti(L, 3, i + 1);
        else
            lua_pushvalue(L, 3);
        rates[i] = finite_number(L, lua_gettop(L), fname, "lr");
        lua_pop(L, 1);
    }
    lua_newuserdatauv(L, 0, 1); /* 7 */
    luaL_setmetatable(L, BIND_CONTINUAL);
    lua_newtable(L);                   /* 8 */
    word_make(L, n, losses, rates, 4); /* 9 */
    err e = { 0 };
    own_func(L, continual_terms(word_of(L, 9), &e), &e, 9);
    lua_setfield(L, 8, "terms");
    lua_setfield(L, 8, "word");
    lua_setiuservalue(L, 7, 1);
    return 1;
}

static int continual_terms_(lua_State *L) {
    const char *fname = "continual:terms";
    func *f = kept_func(L, BIND_CONTINUAL, fname, "terms");
    invoke(L, f, fname);      /* 3 original, 4 flatness, 5 conflict, 6 effect, 7 norm */
    lua_createtable(L, 0, 6); /* 8 */
    set_value(L, 8, "original", 3);
    set_value(L, 8, "flatness", 4);
    set_value(L, 8, "conflict_norm", 7);
    lua_pushvalue(L, 5);
    lua_setfield(L, 8, "conflict");
    lua_pushvalue(L, 3);
    lua_pushvalue(L, 4);
    lua_arith(L, LUA_OPADD);
    to_number(L);
    lua_setfield(L, 8, "total");
    const tensor *effect = bind_test_tensor(L, 6);
    if (effect) {
        int64_t n = tensor_count(effect);
        lua_createtable(L, (int)n, 0);
        for (int64_t i = 0; i < n; i++) {
            lua_pushnumber(L, tensor_get(effect, i));
            lua_rawseti(L, -2, i + 1);
        }
    } else
        lua_pushvalue(L, 6);
    lua_setfield(L, 8, "effect");
    return 1;
}

static int continual_field_(lua_State *L) {
    static const char *const names[] = { "field1", "field2", "field3" };
    const char *fname = "continual:field";
    kept_func(L, BIND_CONTINUAL, fname, "terms");
    int order = lua_isnoneornil(L, 2) ? 2 : (int)args_integer(L, 2, fname, "order", 1, 3);
    lua_settop(L, 1);
    lua_getiuservalue(L, 1, 1); /* 2 */
    if (lua_getfield(L, 2, names[order - 1]) != LUA_TNIL) return 1;
    lua_getfield(L, 2, "word"); /* 4 */
    err e = { 0 };
    own_func(L, continual_field(word_of(L, 4), order, &e), &e, 4);
    lua_pushvalue(L, -1);
    lua_setfield(L, 2, names[order - 1]);
    return 1;
}

static int continual_word(lua_State *L) {
    kept_func(L, BIND_CONTINUAL, "continual:word", "terms");
    lua_getiuservalue(L, 1, 1);
    lua_getfield(L, -1, "word");
    return 1;
}

/* ---- order effects ---- */
/* Upvalues: the words AB and BA, the predicted field. */
static int order_gap_at(lua_State *L) {
    const char *fname = "order_gap";
    word *ab = word_of(L, lua_upvalueindex(1)), *ba = word_of(L, lua_upvalueindex(2));
    lua_settop(L, 1);
    const tensor *theta = bind_check_tensor(L, 1, fname, "theta");
    tensor *gap = &tensor_push_empty(L)->value, *predicted = &tensor_push_empty(L)->value, other = { 0 };
    err e = { 0 };
    bind_trace at = bind_enter(L);
    bk_status st = word_step(ab, theta, gap, &e);
    if (!st) st = word_step(ba, theta, &other, &e);
    if (!st) {
        void *v = tensor_data(gap);
        vec_get(VEC_SUB, gap->dtype)(tensor_count(gap), v, v, tensor_data(&other), NULL, 0);
        st = func_call1(bind_test_func(L, lua_upvalueindex(3)), 1, theta, predicted, &e);
    }
    tensor_release(&other);
    bind_leave(L, &at, st, &e);
    tensor_account(L, gap);
    tensor_account(L, predicted);
    lua_createtable(L, 0, 2);
    lua_pushvalue(L, 2);
    lua_setfield(L, -2, "measured");
    lua_pushvalue(L, 3);
    lua_setfield(L, -2, "predicted");
    return 1;
}

static int bea_order_gap(lua_State *L) {
    static const char *const known[] = { "lr", NULL };
    const char *fname = "bk.bea.order_gap";
    lua_settop(L, 3);
    func *a = bind_check_func(L, 1, fname, "A"), *b = bind_check_func(L, 2, fname, "B");
    args_table(L, 3, fname, "options");
    int table = args_options(L, 3, fname, known, false);
    if (!args_field(L, table, "lr")) /* 4 */
        return args_error(L, fname, "lr: missing; expected a rate, or {rate of A, rate of B}");
    double rate[2], back[2];
    for (int i = 0; i < 2; i++) {
        if (lua_istable(L, 4))
            lua_rawgeti(L, 4, i + 1);
        else
            lua_pushvalue(L, 4);
        rate[i] = back[1 - i] = finite_number(L, lua_gettop(L), fname, "lr");
        lua_pop(L, 1);
    }
    func *const forth[2] = { a, b }, *const reverse[2] = { b, a };
    lua_createtable(L, 2, 0); /* 5 */
    lua_pushvalue(L, 1);
    lua_rawseti(L, 5, 1);
    lua_pushvalue(L, 2);
    lua_rawseti(L, 5, 2);
    word_make(L, 2, forth, rate, 5);
    word_make(L, 2, reverse, back, 5);
    err e = { 0 };
    func *lie = func_lie(a, b, &e), *predicted = NULL;
    double area = rate[0] * rate[1];
    if (lie) predicted = func_sum(bind_ctx(L), 1, &area, &lie, &e);
    func_release(lie);
    own_func(L, predicted, &e, 5);
    lua_pushcclosure(L, order_gap_at, 3);
    return 1;
}

static int bea_tournament(lua_State *L) {
    static const char *const known[] = { "sources", "target", "theta", "drift", NULL };
    const char *fname = "bk.bea.tournament";
    lua_settop(L, 1);
    args_table(L, 1, fname, "options");
    int table = args_options(L, 1, fname, known, false), n;
    if (!args_field(L, table, "sources") || !args_field(L, table, "target") || !args_field(L, table, "theta"))
        return args_error(L, fname, "expected sources = {L1, L2, ...}, target = E and theta = tensor");
    func *target = bind_check_func(L, 3, fname, "target");
    const tensor *theta = bind_check_tensor(L, 4, fname, "theta");
    double drift = args_opt_number(L, table, fname, "drift", 0);
    func **sources = check_losses(L, 2, fname, "sources", &n);
    int *place = lua_newuserdatauv(L, (size_t)n * sizeof *place, 0), n_out = 0;
    double *score = lua_newuserdatauv(L, (size_t)n * sizeof *score, 0);
    tensor *out = NULL, *pairs = &tensor_push_empty(L)->value;
    int kept = lua_gettop(L);
    err e = { 0 };
    func *f = tournament_func(bind_ctx(L), n, sources, target, drift, &e);
    if (!f) return bind_raise(L, &e);
    bind_trace at = bind_enter(L);
    bk_status st = func_call(f, 1, theta, &n_out, &out, &e);
    if (!st) {
        *pairs = out[0];
        tensor_copy_to(&out[1], BK_FLOAT64, score);
        tensor_release(&out[1]);
        mem_free(bind_ctx(L), out, (size_t)n_out * sizeof *out);
    }
    func_release(f);
    bind_leave(L, &at, st, &e);
    tensor_account(L, pairs);
    lua_createtable(L, 0, 3);
    int result = lua_gettop(L);
    lua_pushvalue(L, kept);
    lua_setfield(L, result, "pairs");
    lua_createtable(L, n, 0);
    for (int i = 0; i < n; i++) { /* insertion sort: lowest score first, ties keep the given order */
        int k = i;
        for (; k > 0 && score[place[k - 1]] > score[i]; k--) place[k] = place[k - 1];
        place[k] = i;
        lua_pushnumber(L, score[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, result, "scores");
    lua_createtable(L, n, 0);
    for (int i = 0; i < n; i++) {
        lua_pushinteger(L, place[i] + 1);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, result, "order");
    lua_settop(L, result);
    return 1;
}

static int bea_path_bracket(lua_State *L) {
    static const char *const known[] = { "sources", "target", "theta", "time", "steps", "method", NULL };
    static const char *const methods[] = { "heun", "euler", NULL };
    const char *fname = "bk.bea.path_bracket";
    lua_settop(L, 1);
    args_table(L, 1, fname, "options");
    int table = args_options(L, 1, fname, known, true), n;
    bool named = args_field(L, table, "sources"); /* 2 */
    if (!named) lua_pushvalue(L, 1);
    if (named ? lua_rawlen(L, 1) != 0 : lua_rawlen(L, 1) != 2)
        return args_error(L, fname, "expected two losses A, B, or sources = {...}, got %d losses in the list%s",
                          (int)lua_rawlen(L, 1), named ? " besides sources" : "");
    if (!args_field(L, table, "target") || !args_field(L, table, "theta") || !args_field(L, table, "time"))
        return args_error(L, fname, "expected target = E, theta = tensor and time = kappa");
    func *target = bind_check_func(L, 3, fname, "target");
    const tensor *theta = bind_check_tensor(L, 4, fname, "theta");
    path_options o = {
        .time = finite_number(L, 5, fname, "time"),
        .steps = args_opt_integer(L, table, fname, "steps", 1, INT64_MAX / 2, 16),
        .method = args_opt_choice(L, table, fname, "method", methods, 0) ? PATH_EULER : PATH_HEUN,
    };
    func **sources = check_losses(L, 2, fname, named ? "sources" : "losses", &n);
    tensor pairs = { 0 };
    const int64_t shape[2] = { n, n };
    err e = { 0 };
    bind_trace at = bind_enter(L);
    bk_status st = tensor_new(bind_ctx(L), BK_FLOAT64, 2, shape, &pairs, &e);
    if (!st) st = path_bracket(bind_ctx(L), n, sources, target, theta, &o, tensor_data(&pairs), &e);
    if (st) tensor_release(&pairs);
    bind_leave(L, &at, st, &e);
    double ab = n > 1 ? tensor_get(&pairs, 1) : 0;
    bind_push_tensor(L, &pairs);
    if (!named) lua_pushnumber(L, ab);
    return 1;
}

/* ---- tables ---- */
static const bind_row room_rows[] = {
    { "word", bea_word,
      "bk.bea.word{ {loss, rate}, ... } -> word\n"
      "A sequence of gradient steps theta <- theta - rate grad loss, first applied first. The same loss value is the "
      "same\n"
      "task. Its logarithm Z = Z1 + Z2 + Z3 + ... is the field whose time-1 flow the steps are.\n"
      "Methods: term, log, conflict, flatness, step, order_matrix, verify; #word is the number of steps.\n"
      "Source: Hairer, Lubich & Wanner, Geometric Numerical Integration, ch. IX; Dherin 2023." },
    { "multitask", bea_multitask,
      "bk.bea.multitask{ losses = {L1, ...}, lr = h [, reduction = \"sum\" | \"mean\"] } -> modified loss of joint "
      "steps\n"
      "L~ = sum L_i + (h/4) sum |g_i|^2 + (h/2) sum_{i<j} <g_i, g_j>: original, flatness, conflict. mean: L_i/n for "
      "L_i.\n"
      "Methods: terms(theta), loss(), grad(theta).\n"
      "Source: Barrett & Dherin 2021; Dherin 2023." },
    { "continual", bea_continual,
      "bk.bea.continual{ losses = {L1, ...}, lr = h | {h1, ...} } -> modified field of one step a task in turn\n"
      "theta' = -grad L~ + (h/2) sum_{i<j} [g_i, g_j], L~ = sum L_i + (h/4) sum |g_i|^2; a round lasts h (with a rate "
      "a task:\n"
      "their mean T; L_i weighs h_i/T, |g_i|^2 h_i^2/(4T), [g_i, g_j] h_i h_j/(2T)).\n"
      "Methods: terms(theta), field(order), word().\n"
      "Source: Dherin 2023." },
    { "order_gap", bea_order_gap,
      "bk.bea.order_gap(A, B, {lr = h | {hA, hB}}) -> function(theta) -> { measured, predicted }\n"
      "measured: theta_AB - theta_BA, one step on each loss in both orders; predicted: hA hB [g_A, g_B]. Vectors of "
      "theta's shape." },
    { "tournament", bea_tournament,
      "bk.bea.tournament{ sources = {L1, ...}, target = E, theta = theta [, drift = 0] } -> { order, scores, pairs }\n"
      "pairs (n, n): A_ij = <grad E, [g_i, g_j]>; scores: its row sums; order: sources by ascending score, since A_ij "
      "< 0 says\n"
      "that i before j is better for E. n gradients and n Hessian-vector products. drift = h takes grad E at\n"
      "theta - h sum g_i (drift-matched).\n"
      "Source: Sweeney 2026; Rukhovich et al. 2025." },
    { "path_bracket", bea_path_bracket,
      "bk.bea.path_bracket{ A, B, target = E, theta = theta, time = kappa [, steps = 16, method = \"heun\" | "
      "\"euler\"] } -> number\n"
      "Predicted E(theta_AB) - E(theta_BA) for blocks of time kappa = k h a task: kappa^2 times the integral of <p, "
      "[g_A, g_B]>\n"
      "along the joint flow theta' = -kappa (g_A + g_B), p its adjoint from grad E at the end. With sources = {...} "
      "instead\n"
      "of A, B: one joint path of all of them, and the matrix (n, n) of all pairs. euler with steps = k is the "
      "discrete joint\n"
      "run itself, at half the work." },
    { NULL, NULL, NULL },
};

static const bind_row word_rows[] = {
    { "term", word_term,
      "word:term(k) -> field Z_k, k = 1, 2, 3\n"
      "Z1 = -sum h_s g_s; Z2 = -1/2 sum h_s^2 H_s g_s + 1/2 sum_{i<j} W_ij [g_i, g_j]; Z3 by "
      "Baker-Campbell-Hausdorff." },
    { "log", word_log,
      "word:log(k) -> field Z_1 + ... + Z_k, k = 1, 2, 3\nIts time-1 flow is the word up to O(h^(k+1))." },
    { "conflict", word_conflict,
      "word:conflict() -> field 1/2 sum_{i<j} W_ij [g_i, g_j]\nn gradients and n products." },
    { "flatness", word_flatness, "word:flatness() -> field -1/2 sum_s h_s^2 H_s g_s" },
    { "step", word_step_, "word:step(theta) -> theta'\nThe discrete gradient steps." },
    { "order_matrix", word_matrix,
      "word:order_matrix() -> W (n, n)\n"
      "W_ij = sum_{s<s'} h_s h_s' (1[t_s=i, t_s'=j] - 1[t_s=j, t_s'=i]) over the n distinct losses in order of first\n"
      "appearance: antisymmetric, 0 for palindromes." },
    { "verify", word_verify_,
      "word:verify{ theta = theta [, scales = {1, 1/2, 1/4}, orders = {1, 2, 3}, rtol = 1e-12, atol = 1e-14,\n"
      "             control = \"none\" | \"no_conflict\" | \"flipped\"] } -> { {order, slope, errors, expected}, ... "
      "}\n"
      "The order check: with all rates times each scale, the distance between the steps' end and the time-1 flow of "
      "log(order),\n"
      "and the least-squares slope of its logarithm; expected is order + 1. control leaves the conflict out or flips "
      "it, and\n"
      "orders 2 and 3 fall back to slope 2 unless the word has none. In float64 whatever theta's dtype." },
    { NULL, NULL, NULL },
};

static const bind_row multitask_rows[] = {
    { "terms", multitask_terms,
      "multitask:terms(theta) -> { original, flatness, conflict, total }\nThe parts of the modified loss, numbers." },
    { "loss", multitask_loss, "multitask:loss() -> loss\nThe modified loss as a function of theta." },
    { "grad", multitask_grad, "multitask:grad(theta) -> vector\nG + (h/2) H G, without third derivatives." },
    { NULL, NULL, NULL },
};

static const bind_row continual_rows[] = {
    { "terms", continual_terms_,
      "continual:terms(theta) -> { original, flatness, conflict, conflict_norm, effect, total }\n"
      "original + flatness = total = L~ (numbers); conflict the vector field at theta; effect[k] = <g_k, conflict>, "
      "the rate\n"
      "of change of loss k that it causes." },
    { "field", continual_field_,
      "continual:field([order = 2]) -> field\nVelocity per unit time, order 1..3; a round lasts h." },
    { "word", continual_word, "continual:word() -> word\nOne round as a word of steps." },
    { NULL, NULL, NULL },
};

static const bind_row flow_rows[] = {
    { "flow", bea_flow,
      "bk.flow(field, theta [, {time = 1, rtol = 1e-12, atol = 1e-14, method = \"dopri5\" | \"rk4\", steps,\n"
      "                         max_steps = 100000, stats}]) -> theta'\n"
      "The flow of theta' = field(theta) for the time (negative: backwards). dopri5 adapts its steps to the "
      "tolerances,\n"
      "rk4 takes `steps` equal ones. The field returns a tensor of theta's shape; a loss's is function(t) return\n"
      "-bk.grad(L)(t) end. A table given as stats receives the numbers of steps, rejected steps and evaluations.\n"
      "Errors: values that are not finite, a step size that underflows.\n"
      "Source: Dormand & Prince 1980; Hairer, Norsett & Wanner, Solving Ordinary Differential Equations I." },
    { NULL, NULL, NULL },
};

static void class_new(lua_State *L, const char *name, const bind_row *rows) {
    luaL_newmetatable(L, name);
    lua_newtable(L);
    bind_rows(L, rows);
    lua_setfield(L, -2, "__index");
}

static void set_meta(lua_State *L, const char *name, lua_CFunction fn) {
    lua_pushcfunction(L, fn);
    lua_setfield(L, -2, name);
}

void bind_bea(lua_State *L) {
    class_new(L, BIND_WORD, word_rows);
    set_meta(L, "__gc", word_gc);
    set_meta(L, "__len", word_len);
    set_meta(L, "__tostring", word_tostring);
    lua_pop(L, 1);
    class_new(L, BIND_MULTITASK, multitask_rows);
    class_new(L, BIND_CONTINUAL, continual_rows);
    lua_pop(L, 2);
    bind_rows(L, flow_rows);
    lua_pushstring(L, "bea");
    if (lua_rawget(L, -2) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setfield(L, -3, "bea");
    }
    bind_rows(L, room_rows);
    lua_pop(L, 1);
}
