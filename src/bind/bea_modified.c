/* bea_modified.c - modified losses for Lua: bk.bea.multitask and bk.bea.continual. */
#include "../bea/modified.h"
#include "args.h"
#include "bea_lua.h"

#define BIND_MULTITASK "bracket.multitask"
#define BIND_CONTINUAL "bracket.continual"

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

/* f at the theta at 2; its outputs come to lie from 3 on. Their number. */
static int invoke(lua_State *L, func *f, const char *fname) {
    lua_settop(L, 2);
    int n = bind_func_invoke(L, f, 2, 2, fname);
    while (lua_gettop(L) > 2 + n) lua_remove(L, 3);
    return n;
}

static const bind_option multitask_told[] = {
    { "losses", "a table of losses", NULL, "{L1, ...}", .required = true },
    { "lr", "a finite number", NULL, "h, of the step", .required = true },
    { "reduction", "\"sum\" or \"mean\"", "sum", "of the losses; mean: L_i/n for L_i" },
    { NULL, NULL, NULL, NULL },
};

static int bea_multitask(lua_State *L) {
    static const char *const reductions[] = { "sum", "mean", NULL };
    static const char *const parts[] = { "terms", "loss", "grad" };
    const char *fname = "bk.bea.multitask";
    lua_settop(L, 1);
    args_table(L, 1, fname, "options");
    int table = args_declared(L, 1, fname, multitask_told, false), n;
    if (!args_field(L, table, "losses") || !args_field(L, table, "lr"))
        return args_error(L, fname, "expected losses = {L1, L2, ...} and lr = h");
    double h = bind_bea_finite_number(L, 3, fname, "lr");
    bool mean = args_opt_choice(L, table, fname, "reduction", reductions, 0) == 1;
    func **losses = bind_bea_check_losses(L, 2, fname, "losses", false, &n); /* 4: the funcs, 5: the list */
    lua_newuserdatauv(L, 0, 1);
    luaL_setmetatable(L, BIND_MULTITASK);
    lua_newtable(L);
    for (int p = MULTITASK_TERMS; p <= MULTITASK_GRAD; p++) {
        err e = { 0 };
        bind_bea_own_func(L, multitask_func(bind_ctx(L), n, losses, h, mean, (multitask_part)p, &e), &e, 4);
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

static const bind_option continual_told[] = {
    { "losses", "a table of losses or fields", NULL, "{L1, ...}", .required = true },
    { "lr", "a finite number or a table of them", NULL, "h of every step, or {h1, ...}", .required = true },
    { NULL, NULL, NULL, NULL },
};

static int bea_continual(lua_State *L) {
    const char *fname = "bk.bea.continual";
    lua_settop(L, 1);
    args_table(L, 1, fname, "options");
    int table = args_declared(L, 1, fname, continual_told, false), n;
    if (!args_field(L, table, "losses") || !args_field(L, table, "lr"))
        return args_error(L, fname, "expected losses = {L1, L2, ...} and lr = h or {h1, h2, ...}");
    func **losses = bind_bea_check_losses(L, 2, fname, "losses", false, &n); /* 4: the funcs, 5: the list */
    word_step_spec *steps = lua_newuserdatauv(L, (size_t)n * sizeof *steps, 0);
    if (lua_istable(L, 3) && args_list(L, 3, fname, "lr", false) != n)
        return args_error(L, fname, "lr: expected %d rates, one a loss, got %d", n, (int)lua_rawlen(L, 3));
    for (int i = 0; i < n; i++) {
        if (lua_istable(L, 3))
            lua_rawgeti(L, 3, i + 1);
        else
            lua_pushvalue(L, 3);
        steps[i] = (word_step_spec){ STEP_EULER, losses[i], bind_bea_finite_number(L, lua_gettop(L), fname, "lr") };
        lua_pop(L, 1);
    }
    lua_newuserdatauv(L, 0, 1); /* 7 */
    luaL_setmetatable(L, BIND_CONTINUAL);
    lua_newtable(L);                    /* 8 */
    bind_bea_word_make(L, n, steps, 4); /* 9 */
    err e = { 0 };
    bind_bea_own_func(L, continual_terms(bind_bea_word_of(L, 9), &e), &e, 9);
    lua_setfield(L, 8, "terms");
    lua_setfield(L, 8, "word");
    lua_setiuservalue(L, 7, 1);
    return 1;
}

static int continual_terms_(lua_State *L) {
    const char *fname = "continual:terms";
    func *f = kept_func(L, BIND_CONTINUAL, fname, "terms");
    int n = invoke(L, f, fname); /* 3 conflict, 4 norm, and of losses 5 original, 6 flatness, 7 effect */
    lua_settop(L, 7);
    lua_createtable(L, 0, 6); /* 8 */
    lua_pushvalue(L, 3);
    lua_setfield(L, 8, "conflict");
    set_value(L, 8, "conflict_norm", 4);
    if (n == 2) return 1;
    set_value(L, 8, "original", 5);
    set_value(L, 8, "flatness", 6);
    lua_pushvalue(L, 5);
    lua_pushvalue(L, 6);
    lua_arith(L, LUA_OPADD);
    to_number(L);
    lua_setfield(L, 8, "total");
    const tensor *effect = bind_test_tensor(L, 7);
    if (effect) {
        int64_t count = tensor_count(effect);
        lua_createtable(L, (int)count, 0);
        for (int64_t i = 0; i < count; i++) {
            lua_pushnumber(L, tensor_get(effect, i));
            lua_rawseti(L, -2, i + 1);
        }
    } else
        lua_pushvalue(L, 7);
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
    bind_bea_own_func(L, continual_field(bind_bea_word_of(L, 4), order, &e), &e, 4);
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

static const bind_row room_rows[] = {
    { "multitask", bea_multitask,
      "bk.bea.multitask{ losses = {L1, ...}, lr = h [, reduction = \"sum\" | \"mean\"] } -> modified loss of joint "
      "steps\n"
      "L~ = sum L_i + (h/4) sum |g_i|^2 + (h/2) sum_{i<j} <g_i, g_j>: original, flatness, conflict. mean: L_i/n for "
      "L_i.\n"
      "Methods: terms(theta), loss(), grad(theta).\n"
      "Source: Barrett & Dherin 2021; Dherin 2023.",
      multitask_told },
    { "continual", bea_continual,
      "bk.bea.continual{ losses = {L1, ...}, lr = h | {h1, ...} } -> modified field of one step a task in turn\n"
      "theta' = -grad L~ + (h/2) sum_{i<j} [g_i, g_j], L~ = sum L_i + (h/4) sum |g_i|^2; a round lasts h (with a rate "
      "a task:\n"
      "their mean T; L_i weighs h_i/T, |g_i|^2 h_i^2/(4T), [g_i, g_j] h_i h_j/(2T)). A field may stand for a loss.\n"
      "Methods: terms(theta), field(order), word().\n"
      "Source: Dherin 2023.",
      continual_told },
    { NULL, NULL, NULL },
};

static const bind_row multitask_rows[] = {
    { "terms", multitask_terms,
      "multitask:terms(theta) -> { original, flatness, conflict, total }\nThe parts of the modified loss, numbers." },
    { "loss", multitask_loss, "multitask:loss() -> loss\nThe modified loss as a function of theta." },
    { "grad", multitask_grad, "multitask:grad(theta) -> vector\nG + (h/2) H G, without third derivatives; of fields "
                               "too, whose sum is G and whose derivative H." },
    { NULL, NULL, NULL },
};

static const bind_row continual_rows[] = {
    { "terms", continual_terms_,
      "continual:terms(theta) -> { original, flatness, conflict, conflict_norm, effect, total }\n"
      "original + flatness = total = L~ (numbers); conflict the vector field at theta; effect[k] = <g_k, conflict>, "
      "the rate\n"
      "of change of loss k that it causes. Where one of the losses is a field: conflict and conflict_norm alone." },
    { "field", continual_field_,
      "continual:field([order = 2]) -> field\nVelocity per unit time, order 1..3; a round lasts h." },
    { "word", continual_word, "continual:word() -> word\nOne round as a word of steps." },
    { NULL, NULL, NULL },
};

void bind_bea_modified(lua_State *L) {
    bind_rows(L, room_rows);
    bind_bea_class(L, BIND_MULTITASK, multitask_rows);
    bind_bea_class(L, BIND_CONTINUAL, continual_rows);
    lua_pop(L, 2);
}
