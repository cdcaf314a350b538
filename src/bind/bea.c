/* bea.c - backward error analysis for Lua: bk.flow, and the room bk.bea with the effects of order; its words and
 * modified losses have files of their own. */
#include "../bea/flow.h"
#include "../bea/order.h"
#include "args.h"
#include "bea_lua.h"
#include "tensor_value.h"
#include <math.h>

static const bind_option flow_told[] = {
    { "time", "a finite number", "1", "how long; negative: backwards" },
    { "rtol", "a finite number >= 0", "1e-12", "relative tolerance of a step of dopri5" },
    { "atol", "a finite number >= 0", "1e-14", "absolute tolerance; not 0 with rtol" },
    { "method", "\"dopri5\" or \"rk4\"", "dopri5",
      "dopri5 adapts its steps to the tolerances, rk4 takes equal ones" },
    { "steps", "a whole number >= 1", NULL, "of rk4" },
    { "max_steps", "a whole number >= 1", "100000", "of dopri5, before it gives up" },
    { "stats", "a table", NULL, "receives the numbers of steps, rejected steps and evaluations" },
    { NULL, NULL, NULL, NULL },
};

/* ---- flows ---- */
static int bea_flow(lua_State *L) {
    static const char *const methods[] = { "dopri5", "rk4", NULL };
    const char *fname = "bk.flow";
    lua_settop(L, 3);
    func *field = bind_check_func(L, 1, fname, "field");
    const tensor *theta = bind_check_tensor(L, 2, fname, "theta");
    int table = args_declared(L, 3, fname, flow_told, false);
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
    static const char *const adaptive[] = { "rtol", "atol", "max_steps", NULL };
    for (const char *const *name = adaptive; o.method == FLOW_RK4 && *name; name++)
        if (args_field(L, table, *name))
            return args_error(L, fname, "%s: only for method \"dopri5\"; \"rk4\" takes steps equal ones", *name);
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

static const bind_option tournament_told[] = {
    { "sources", "a table of losses or fields", NULL, "{L1, ...}", .required = true },
    { "target", "a loss", NULL, "E, which is to be low in the end", .required = true },
    { "theta", "a tensor", NULL, "where", .required = true },
    { "drift", "a finite number", "0", "h: takes grad E at theta - h sum g_i (drift-matched)" },
    { NULL, NULL, NULL, NULL },
};

/* ---- order effects ---- */
static int bea_tournament(lua_State *L) {
    const char *fname = "bk.bea.tournament";
    lua_settop(L, 1);
    args_table(L, 1, fname, "options");
    int table = args_declared(L, 1, fname, tournament_told, false), n;
    if (!args_field(L, table, "sources") || !args_field(L, table, "target") || !args_field(L, table, "theta"))
        return args_error(L, fname, "expected sources = {L1, L2, ...}, target = E and theta = tensor");
    func *target = bind_check_func(L, 3, fname, "target");
    const tensor *theta = bind_check_tensor(L, 4, fname, "theta");
    double drift = args_opt_number(L, table, fname, "drift", 0);
    if (!isfinite(drift)) return args_error(L, fname, "drift: expected a finite number, got %f", drift);
    func **sources = bind_bea_check_losses(L, 2, fname, "sources", false, &n);
    int *place = lua_newuserdatauv(L, (size_t)n * sizeof *place, 0);
    double *score = lua_newuserdatauv(L, (size_t)n * sizeof *score, 0);
    tensor scores = { 0 }, *pairs = &bind_tensor_push_empty(L)->value;
    int kept = lua_gettop(L);
    err e = { 0 };
    func *f = tournament_func(bind_ctx(L), n, sources, target, drift, &e);
    if (!f) return bind_raise(L, &e);
    bind_trace at = bind_enter(L);
    bk_status st = func_call(f, 1, theta, 2, (tensor *[]){ pairs, &scores }, &e);
    if (!st) tensor_copy_to(&scores, BK_FLOAT64, score);
    tensor_release(&scores);
    func_release(f);
    bind_leave(L, &at, st, &e);
    bind_account(L, 0);
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

static const bind_option path_told[] = {
    { "sources", "a table of losses or fields", "{A, B} in the list part", "{L1, ...}: the matrix of all pairs" },
    { "target", "a loss", NULL, "E, which is to be low in the end", .required = true },
    { "theta", "a tensor", NULL, "where", .required = true },
    { "time", "a finite number > 0", NULL, "kappa = k h, of a task", .required = true },
    { "steps", "a whole number >= 1", "16", "along the joint path" },
    { "method", "\"heun\" or \"euler\"", "heun",
      "euler with steps = k is the discrete joint run itself, at half the work" },
    { "weight", "\"uniform\" or \"tent\"", "uniform", "along the path; tent: 4 min(t, 1 - t), for two losses" },
    { "data", "a list of tensors", "{}",
      "what losses and E take after theta: the same functions of other data are not compiled again" },
    { NULL, NULL, NULL, NULL },
};

/* The tensors of the list at index, as an array in Lua's memory; pushes two values that keep it and them alive. */
static const tensor *check_data(lua_State *L, int index, const char *fname, int *n) {
    if (!lua_istable(L, index)) args_fail(L, index, fname, "data", "a list of tensors");
    *n = (int)args_list(L, index, fname, "data", false);
    lua_createtable(L, *n, 0);
    tensor *list = lua_newuserdatauv(L, (size_t)(*n + 1) * sizeof *list, 0);
    for (int i = 0; i < *n; i++) {
        const char *name = lua_pushfstring(L, "data[%d]", i + 1);
        lua_rawgeti(L, index, i + 1);
        list[i] = *bind_check_tensor(L, -1, fname, name);
        lua_rawseti(L, -4, i + 1);
        lua_pop(L, 1);
    }
    return list;
}

static int bea_path_bracket(lua_State *L) {
    static const char *const methods[] = { "heun", "euler", NULL }, *const weights[] = { "uniform", "tent", NULL };
    const char *fname = "bk.bea.path_bracket";
    lua_settop(L, 1);
    args_table(L, 1, fname, "options");
    int table = args_declared(L, 1, fname, path_told, true), n;
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
        .time = bind_bea_finite_number(L, 5, fname, "time"),
        .steps = args_opt_integer(L, table, fname, "steps", 1, INT64_MAX / 2, 16),
        .method = args_opt_choice(L, table, fname, "method", methods, 0) ? PATH_EULER : PATH_HEUN,
        .weight = args_opt_choice(L, table, fname, "weight", weights, 0) ? PATH_TENT : PATH_UNIFORM,
    };
    if (!(o.time > 0)) args_fail(L, 5, fname, "time", "a finite number > 0");
    func **sources = bind_bea_check_losses(L, 2, fname, named ? "sources" : "losses", !named, &n);
    const int list = lua_gettop(L) - 1; /* of the sources */
    int n_data = 0;
    const tensor *data = args_field(L, table, "data") ? check_data(L, lua_gettop(L), fname, &n_data) : NULL;
    tensor pairs = { 0 };
    const int64_t shape[2] = { n, n };
    err e = { 0 };
    func *of = bind_func_kept(L, fname, list, 3);
    if (!of) {
        if (!(of = path_func(bind_ctx(L), n, sources, target, &e))) return bind_raise(L, &e);
        bind_push_func(L, of);
        bind_func_keep(L, fname, list, 3);
    }
    bind_trace at = bind_enter(L);
    bk_status st = tensor_new(bind_ctx(L), BK_FLOAT64, 2, shape, &pairs, &e);
    if (!st) st = path_bracket(of, theta, n_data, data, &o, tensor_data(&pairs), &e);
    if (st) tensor_release(&pairs);
    bind_leave(L, &at, st, &e);
    double ab = n > 1 ? tensor_get(&pairs, 1) : 0;
    bind_push_tensor(L, &pairs);
    if (!named) lua_pushnumber(L, ab);
    return 1;
}

/* ---- tables ---- */
static const bind_row order_rows[] = {
    { "tournament", bea_tournament,
      "bk.bea.tournament{ sources = {L1, ...}, target = E, theta = theta [, drift = 0] } -> { order, scores, pairs }\n"
      "pairs (n, n): A_ij = <grad E, [g_i, g_j]>; scores: its row sums; order: sources by ascending score, since A_ij "
      "< 0 says\n"
      "that i before j is better for E. n gradients and n Hessian-vector products.\n"
      "Source: Sweeney 2026; Rukhovich et al. 2025.",
      tournament_told },
    { "path_bracket", bea_path_bracket,
      "bk.bea.path_bracket{ A, B, target = E, theta = theta, time = kappa [, steps = 16, method, weight, data] } -> "
      "number\n"
      "Predicted E(theta_AB) - E(theta_BA) for blocks of time kappa = k h a task: kappa^2 times the integral of <p, "
      "[g_A, g_B]>\n"
      "along the joint flow theta' = -kappa (g_A + g_B), p its adjoint from grad E at the end. With sources instead of "
      "A, B: one\n"
      "joint path of all of them, and the matrix (n, n) of all pairs. weight = \"tent\" weighs the integral by "
      "4 min(t, 1 - t): the\n"
      "first derivative in how far the orders leave the joint path, exact where A and B have one constant Hessian.\n"
      "Errors, of order kappa^4: -<grad E, [g_B, [g_A, [g_A, g_B]]]> / 12, with the tent "
      "<grad E, [X, [X, [g_A, g_B]]]> / 48,\n"
      "X = g_A - g_B.",
      path_told },
    { NULL, NULL, NULL },
};

static const bind_row flow_rows[] = {
    { "flow", bea_flow,
      "bk.flow(field, theta [, { time = 1, rtol = 1e-12, atol = 1e-14, method = \"dopri5\", ... }]) -> theta'\n"
      "The flow of theta' = field(theta) for the time. The field returns a tensor of theta's shape; a loss's is "
      "function(t)\n"
      "return -bk.grad(L)(t) end.\n"
      "Errors: values that are not finite, a step size that underflows.\n"
      "Source: Dormand & Prince 1980; Hairer, Norsett & Wanner, Solving Ordinary Differential Equations I.",
      flow_told },
    { NULL, NULL, NULL },
};

void bind_bea(lua_State *L) {
    bind_rows(L, flow_rows);
    luaL_getsubtable(L, -1, "bea");
    bind_rows(L, order_rows);
    bind_bea_word(L);
    bind_bea_modified(L);
    lua_pop(L, 1);
}
