/* bea_word.c - words of steps for Lua: bk.bea.word and its methods. */
#include "args.h"
#include "bea_lua.h"
#include "tensor_value.h"
#include <math.h>

#define BIND_WORD "bracket.word"

static word **word_push(lua_State *L) {
    word **w = lua_newuserdatauv(L, sizeof *w, 1);
    *w = NULL;
    luaL_setmetatable(L, BIND_WORD);
    lua_newtable(L); /* the fields made so far, and the losses */
    lua_setiuservalue(L, -2, 1);
    return w;
}

word *bind_bea_word_of(lua_State *L, int index) {
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

void bind_bea_word_make(lua_State *L, int m, const word_step_spec *steps, int keep) {
    word **w = word_push(L);
    err e = { 0 };
    if (word_new(bind_ctx(L), m, steps, w, &e)) bind_raise(L, &e);
    lua_getiuservalue(L, -1, 1);
    lua_pushvalue(L, keep);
    lua_setfield(L, -2, "losses");
    lua_pop(L, 1);
}

/* Step s of the list at 1, to *out; its function goes into the table at 2. */
static void read_step(lua_State *L, int s, word_step_spec *out) {
    static const char *const known[] = { "exact", "map", "lr", NULL };
    const char *fname = "bk.bea.word", *name = lua_pushfstring(L, "step %d", s);
    int top = lua_gettop(L);
    if (lua_rawgeti(L, 1, s) != LUA_TTABLE) args_fail(L, -1, fname, name, "{F, rate} or {map = f, lr = rate}");
    const char *sub = lua_pushfstring(L, "%s: %s", fname, name);
    args_options(L, top + 1, sub, known, true);
    bool map = args_field(L, top + 1, "map");
    int listed = (int)lua_rawlen(L, top + 1);
    if (map) {
        if (listed != 0)
            args_error(L, sub, "expected a field F in {F, rate} or a map in {map = f, lr = rate}, got both");
        if (args_field(L, top + 1, "exact"))
            args_error(L, sub, "exact: a map has no flow; only {F, rate, exact = true}");
        if (!args_field(L, top + 1, "lr")) args_error(L, sub, "lr: missing; expected the rate of the map's step");
    } else {
        if (listed != 2) args_fail(L, top + 1, fname, name, "{F, rate} or {map = f, lr = rate}");
        if (args_field(L, top + 1, "lr")) args_error(L, sub, "lr: only for a map; a field's rate is the second value");
        lua_rawgeti(L, top + 1, 1);
        lua_rawgeti(L, top + 1, 2);
    }
    out->rate = bind_bea_finite_number(L, -1, sub, map ? "lr" : "rate");
    out->kind = map ? STEP_MAP : args_opt_boolean(L, top + 1, sub, "exact", false) ? STEP_EXACT : STEP_EULER;
    lua_pop(L, 1);
    out->f = bind_check_func(L, lua_gettop(L), sub, map ? "map" : "F");
    lua_rawseti(L, 2, s);
    lua_settop(L, top - 1);
}

static int bea_word(lua_State *L) {
    const char *fname = "bk.bea.word";
    lua_settop(L, 1);
    args_table(L, 1, fname, "steps");
    int m = (int)args_list(L, 1, fname, "steps", false);
    if (m < 1) return args_error(L, fname, "steps: expected at least one {F, rate}");
    lua_createtable(L, m, 0); /* 2: keeps the functions */
    word_step_spec *steps = lua_newuserdatauv(L, (size_t)m * sizeof *steps, 0);
    for (int s = 0; s < m; s++) read_step(L, s + 1, &steps[s]);
    bind_bea_word_make(L, m, steps, 2);
    return 1;
}

/* Pushes the word's field with these weights, made once under that name. */
static int word_field_push(lua_State *L, const char *name, term_weights k) {
    word *w = bind_bea_word_of(L, 1);
    lua_getiuservalue(L, 1, 1);
    if (lua_getfield(L, -1, name) != LUA_TNIL) return 1;
    lua_pop(L, 1);
    err e = { 0 };
    bind_bea_own_func(L, word_field(w, k, &e), &e, 1);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, name);
    return 1;
}

enum { HIGHEST = 30 }; /* an order that nothing can reach; its factorial is still a number */

static int word_term(lua_State *L) {
    check_word(L, "word:term");
    int k = (int)args_integer(L, 2, "word:term", "order", 1, HIGHEST);
    return word_field_push(L, lua_pushfstring(L, "term%d", k),
                           (term_weights){ k == 1, k == 2, k == 2, k == 3, k, k > 3 ? k : 0 });
}

static int word_log(lua_State *L) {
    check_word(L, "word:log");
    int k = (int)args_integer(L, 2, "word:log", "order", 1, HIGHEST);
    return word_field_push(L, lua_pushfstring(L, "log%d", k),
                           (term_weights){ 1, k >= 2, k >= 2, k >= 3, 4, k > 3 ? k : 0 });
}

static int word_conflict(lua_State *L) {
    check_word(L, "word:conflict");
    return word_field_push(L, "conflict", (term_weights){ .conflict = 1 });
}

static int word_flatness(lua_State *L) {
    check_word(L, "word:flatness");
    return word_field_push(L, "flatness", (term_weights){ .flatness = 1 });
}

/* The steps as part of a trace: derivatives flow through them. theta at 2 gives way to theta'. */
static int word_step_traced(lua_State *L, word *w) {
    lua_settop(L, 2);
    for (int s = 0; s < w->m; s++) {
        if (w->kind[s] == STEP_EXACT)
            return args_error(L, "word:step", "step %d: an exact flow is not traced; only on tensors", s + 1);
        lua_pushvalue(L, 2);
        if (w->kind[s] == STEP_MAP) {
            lua_pushnumber(L, w->rate[s]);
            bind_func_invoke(L, w->map[w->step[s]].run, 3, 4, "word:step");
        } else {
            lua_pushvalue(L, 2);
            bind_func_invoke(L, w->grad[w->step[s]], 4, 4, "word:step"); /* 5: the field */
            lua_pushnumber(L, w->rate[s]);
            lua_arith(L, LUA_OPMUL);
            lua_replace(L, 4);
            lua_arith(L, LUA_OPSUB);
        }
        lua_replace(L, 2);
        lua_settop(L, 2);
    }
    return 1;
}

static int word_step_(lua_State *L) {
    word *w = check_word(L, "word:step");
    if (bind_tensor_arg(L, 2, "word:step", "theta")->g) return word_step_traced(L, w);
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
        static const char *const marks[] = { "", "exact ", "map " };
        lua_pushfstring(L, "%s%s%d:", s ? " " : "", marks[w->kind[s]], w->step[s] + 1);
        luaL_addvalue(&b);
        bind_push_number(L, w->rate[s]);
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
    *n = given ? (int)args_list(L, list, fname, name, false) : n_otherwise;
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

static const bind_option verify_told[] = {
    { "theta", "a tensor", NULL, "where", .required = true },
    { "scales", "a table of numbers", "{1, 1/2, 1/4}", "what the rates are multiplied by" },
    { "orders", "a table of whole numbers", "{1, 2, 3}", "which flows: of log(order)" },
    { "rtol", "a finite number >= 0", "1e-12", "of the flow" },
    { "atol", "a finite number >= 0", "1e-14", "of the flow; not 0 both" },
    { "control", "\"none\", \"no_conflict\" or \"flipped\"", "none", "leaves the conflict out or flips it" },
    { NULL, NULL, NULL, NULL },
};

static int word_verify_(lua_State *L) {
    static const char *const controls[] = { "none", "no_conflict", "flipped", NULL };
    static const double all_scales[] = { 1, 0.5, 0.25 }, all_orders[] = { 1, 2, 3 };
    const char *fname = "word:verify";
    word *w = check_word(L, fname);
    args_table(L, 2, fname, "options");
    int table = args_declared(L, 2, fname, verify_told, false);
    verify_options o = {
        .rtol = args_opt_number(L, table, fname, "rtol", 1e-12),
        .atol = args_opt_number(L, table, fname, "atol", 1e-14),
        .conflict = 1.0 - args_opt_choice(L, table, fname, "control", controls, 0),
    };
    o.scales = number_list(L, table, fname, "scales", &o.n_scales, all_scales, 3);
    double *orders = number_list(L, table, fname, "orders", &o.n_orders, all_orders, 3);
    int *whole = lua_newuserdatauv(L, (size_t)o.n_orders * sizeof *whole, 0);
    for (int i = 0; i < o.n_orders; i++) {
        whole[i] = orders[i] >= 1 && orders[i] <= HIGHEST ? (int)orders[i] : 0;
        if (whole[i] != orders[i] || !whole[i])
            return args_error(L, fname, "orders: expected whole numbers from 1 to %d, got %f", HIGHEST, orders[i]);
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

static const bind_row room_rows[] = {
    { "word", bea_word,
      "bk.bea.word{ step, step, ... } -> word\n"
      "A sequence of steps, first applied first; its logarithm Z = Z1 + Z2 + Z3 + ... is the field whose time-1 flow "
      "the\n"
      "steps are. A step is one of\n"
      "  {F, h}                theta <- theta - h F(theta): F a field, or a loss, which stands for its gradient\n"
      "  {F, h, exact = true}  the exact flow of -F for time h\n"
      "  {map = f, lr = h}     theta <- f(theta, h): a smooth map with f(theta, 0) = theta, h a 0-d tensor; a map that "
      "is\n"
      "                        not the identity at h = 0, or not differentiable in h there, is an error\n"
      "The same value F is the same task.\n"
      "Methods: term, log, conflict, flatness, step, order_matrix, verify; #word is the number of steps.\n"
      "Source: Hairer, Lubich & Wanner, Geometric Numerical Integration, ch. IX; Dherin 2023." },
    { NULL, NULL, NULL },
};

static const bind_row word_rows[] = {
    { "term", word_term,
      "word:term(k) -> field Z_k, k = 1, 2, 3, ...\n"
      "Of steps {F, h}: Z1 = -sum h_s F_s; Z2 = -1/2 sum h_s^2 DF_s F_s + 1/2 sum_{i<j} W_ij [F_i, F_j]. In general, "
      "with\n"
      "f_k the k-th Taylor coefficient of the steps in a common factor of the rates, and D_i G = DG Z_i:\n"
      "Z_k = f_k - sum_{n=2..k} 1/n! sum_{i_1+...+i_n=k} D_{i_1} ... D_{i_{n-1}} Z_{i_n}. Compiling takes about four "
      "times\n"
      "longer with each order: order 5 of three steps of a network 0.03 s, order 8 some 2 s." },
    { "log", word_log, "word:log(k) -> field Z_1 + ... + Z_k\nIts time-1 flow is the word up to O(h^(k+1))." },
    { "conflict", word_conflict,
      "word:conflict() -> field 1/2 sum_{i<j} W_ij [g_i, g_j]\nn gradients and n products. Of maps and exact flows: "
      "half "
      "the brackets of the first terms of\nall pairs of steps." },
    { "flatness", word_flatness,
      "word:flatness() -> field -1/2 sum_s h_s^2 H_s g_s\nZ2 without the conflict: the sum of the steps' own second "
      "terms." },
    { "step", word_step_,
      "word:step(theta) -> theta'\nThe steps themselves; in a traced function derivatives flow through them (not "
      "through "
      "exact flows)." },
    { "order_matrix", word_matrix,
      "word:order_matrix() -> W (n, n)\n"
      "W_ij = sum_{s<s'} h_s h_s' (1[t_s=i, t_s'=j] - 1[t_s=j, t_s'=i]) over the n distinct fields or losses in order "
      "of "
      "first\n"
      "appearance: antisymmetric, 0 for palindromes. Maps do not count." },
    { "verify", word_verify_,
      "word:verify{ theta = theta [, scales, orders, rtol, atol, control] } -> { {order, slope, errors, expected}, "
      "... }\n"
      "The order check: with all rates times each scale, the distance between the steps' end and the time-1 flow of "
      "log(order),\n"
      "for any orders, and the least-squares slope of its logarithm; expected is order + 1. control leaves the "
      "conflict out or flips "
      "it, and\n"
      "orders 2 and 3 fall back to slope 2 unless the word has none. In float64 whatever theta's dtype.",
      verify_told },
    { NULL, NULL, NULL },
};

static void set_meta(lua_State *L, const char *name, lua_CFunction fn) {
    lua_pushcfunction(L, fn);
    lua_setfield(L, -2, name);
}

void bind_bea_word(lua_State *L) {
    bind_rows(L, room_rows);
    bind_bea_class(L, BIND_WORD, word_rows);
    bind_finalizer(L, word_gc, "a word: see bk.bea.word");
    set_meta(L, "__len", word_len);
    set_meta(L, "__tostring", word_tostring);
    lua_pop(L, 1);
}
