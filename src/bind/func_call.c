/* func_call.c - funcs called on tensors, concrete or traced, and what a compiled one tells of itself. */
#include "func_lua.h"
#include "args.h"

static int call_traced(lua_State *L, func *f, graph *g, int first, int n) {
    node **in = graph_alloc(g, sizeof *in * (size_t)(n ? n : 1));
    node_list out = { 0, NULL };
    err e = { 0 };
    for (int i = 0; in && i < n; i++) {
        lua_tensor *t = lua_touserdata(L, first + i);
        in[i] = t->g ? t->n : graph_const(g, &t->value);
    }
    bind_trace at = bind_enter(L);
    if (in) func_build(f, g, n, in, &out);
    bk_status status = graph_status(g, &e);
    bind_leave(L, &at, status, &e);
    luaL_checkstack(L, out.n + 4, "results");
    for (int i = 0; i < out.n; i++) bind_tensor_push_node(L, g, out.v[i]);
    return out.n;
}

/* Takes result n + 1 of an earlier call out of the table at index `kept`, or makes room for a new one; pushed. What is
 * no tensor, or one of out[0..n-1], is left aside: the table is the caller's. */
static tensor *push_result(lua_State *L, int kept, int n, tensor *const *out) {
    if (kept) {
        lua_rawgeti(L, kept, n + 1);
        lua_tensor *t = bind_tensor_test(L, -1);
        bool fits = t && !t->g;
        for (int i = 0; i < n && fits; i++) fits = out[i] != &t->value;
        if (fits) {
            lua_pushnil(L);
            lua_rawseti(L, kept, n + 1);
            return &t->value;
        }
        lua_pop(L, 1);
    }
    return &bind_tensor_push_empty(L)->value;
}

static bk_status call_once(func *f, int n_in, const tensor *in, int n_out, tensor *const *out, const bind_pour *pour,
                           err *e) {
    if (!pour) return func_call(f, n_in, in, n_out, out, e);
    const bk_status status = pour->start(pour->arg, e);
    return status ? status : func_call_poured(f, n_in, in, n_out, out, &pour->taker, e);
}

/* kept: 0, or the index of a table: see call_over. pour: NULL, or see bind_func_call_poured. */
static int call_tensors(lua_State *L, func *f, int first, int n, int kept, const bind_pour *pour, const char *fname) {
    bind_state *st = bind_state_of(L);
    graph *g = NULL;
    tensor *in = NULL, few[4];
    luaL_checkstack(L, 16, fname);
    for (int i = 0; i < n; i++) {
        const char *argument = "argument";
        if (!bind_tensor_test(L, first + i)) argument = lua_pushfstring(L, "argument %d", i + 1);
        lua_tensor *t = bind_tensor_arg(L, first + i, fname, argument);
        if (t->g && g && t->g != g) return args_error(L, fname, "the arguments belong to two different traces");
        if (t->g) g = t->g;
    }
    /* Within a trace the function may close over traced tensors: it joins the graph. */
    if (!g && st->live) g = st->live->g;
    if (g) return call_traced(L, f, g, first, n);

    enum { FEW = 8 };
    tensor *results[FEW], **out = results;
    const node *const *shapes;
    int n_out = 0;
    err e = { 0 };
    in = n <= 4 ? few : lua_newuserdatauv(L, sizeof *in * (size_t)n, 0);
    for (int i = 0; i < n; i++) in[i] = ((lua_tensor *)lua_touserdata(L, first + i))->value;
    bind_account(L, kept ? 0 : func_result_bytes(f));
    bind_trace at = bind_enter(L);
    bk_status status = func_shape(f, n, in, pour, &n_out, &shapes, &e);
    if (status == BK_ENOMEM && !st->raised) {
        bind_collect(L);
        err_clear(&e);
        status = func_shape(f, n, in, pour, &n_out, &shapes, &e);
    }
    bind_leave(L, &at, status, &e);
    luaL_checkstack(L, n_out + 8, fname);
    if (n_out > FEW) out = lua_newuserdatauv(L, sizeof *out * (size_t)n_out, 0);
    for (int i = 0; i < n_out; i++) out[i] = push_result(L, kept, i, out);
    at = bind_enter(L);
    status = call_once(f, n, in, n_out, out, pour, &e);
    if (status == BK_ENOMEM && !st->raised) {
        bind_collect(L);
        err_clear(&e);
        status = call_once(f, n, in, n_out, out, pour, &e);
    }
    bind_leave(L, &at, status, &e);
    for (int i = 0; i < n_out && kept; i++) {
        lua_pushvalue(L, i - n_out);
        lua_rawseti(L, kept, i + 1);
    }
    return n_out;
}

int bind_func_call_tensors(lua_State *L, func *f, int first, int n, const char *fname) {
    return call_tensors(L, f, first, n, 0, NULL, fname);
}

int bind_func_invoke(lua_State *L, func *f, int first, int last, const char *fname) {
    for (int i = first; i <= last; i++)
        if (lua_type(L, i) == LUA_TNUMBER) {
            bind_tensor_push_scalar(L, lua_tonumber(L, i));
            lua_replace(L, i);
        }
    return bind_func_call_tensors(L, f, first, last - first + 1, fname);
}

static int call_values(lua_State *L, int index, int first, int last, int kept, const bind_pour *pour,
                       const char *fname) {
    int n = bind_func_specialise(L, index, first, last, fname);
    return call_tensors(L, bind_test_func(L, index), first, n, kept, pour, fname);
}

int bind_func_call_values(lua_State *L, int index, int first, int last, const char *fname) {
    return call_values(L, index, first, last, 0, NULL, fname);
}

/* call_over(f, kept, ...) -> the results of f(...), which are in the table kept too. Those of an earlier call that it
 * holds, and nobody else, are written over; a call that fails leaves it empty. Within another call, whose argument one
 * of them may be, all are new. */
static int internal_call_over(lua_State *L) {
    func *f = bind_test_func(L, 1);
    luaL_argcheck(L, f, 1, "a function of tensors expected");
    luaL_checktype(L, 2, LUA_TTABLE);
    return call_values(L, 1, 3, lua_gettop(L), bind_state_of(L)->running ? 0 : 2, NULL, f->cls->name);
}

int bind_func_call_poured(lua_State *L, int index, int first, int last, int kept, const bind_pour *pour) {
    return call_values(L, index, first, last, kept, pour, bind_test_func(L, index)->cls->name);
}

/* is_field(f): whether f is known to be a field and not a loss, whatever theta's shape. */
static int internal_is_field(lua_State *L) {
    func *f = bind_test_func(L, 1);
    lua_pushboolean(L, f && func_is_field(f));
    return 1;
}

void bind_func_internal(lua_State *L) {
    static const bind_row rows[] = { { "call_over", internal_call_over, NULL },
                                     { "is_field", internal_is_field, NULL },
                                     { NULL, NULL, NULL } };
    bind_rows(L, rows);
}

/* ---- what a compiled function does ---- */

static plan *plan_of(lua_State *L, const char *fname, int *n_in) {
    if (!bind_test_func(L, 1)) args_fail(L, 1, fname, "self", "a function of tensors (bk.compile(f))");
    int n = bind_func_specialise(L, 1, 2, lua_gettop(L), fname);
    tensor *in = lua_newuserdatauv(L, sizeof *in * (size_t)(n ? n : 1), 0);
    for (int i = 0; i < n; i++) in[i] = *bind_check_tensor(L, 2 + i, fname, "argument");
    plan *p = NULL;
    err e = { 0 };
    bind_trace at = bind_enter(L);
    bk_status status = func_plan(bind_test_func(L, 1), n, in, false, &p, &e);
    bind_leave(L, &at, status, &e);
    *n_in = n;
    return p;
}

static void add_line(void *arg, const char *line) {
    luaL_Buffer *b = arg;
    luaL_addstring(b, line);
    luaL_addchar(b, '\n');
}

/* Runs the program until its steps' times mean something: ten times, or for a fifth of a second. */
static void profile_runs(lua_State *L, plan *p, int n) {
    enum { RUNS = 10 };
    const double enough = 0.2;
    int top = lua_gettop(L);
    const int steps = plan_info(p).steps;
    double seconds = 0;
    for (int i = 0; i <= RUNS && seconds < enough; i++) {
        plan_profile(p, i > 0); /* the first untimed: caches are cold, and the results' memory is new */
        bind_func_call_tensors(L, bind_test_func(L, 1), 2, n, "describe");
        lua_settop(L, top);
        lua_gc(L, LUA_GCCOLLECT); /* the next run writes its results where the caches know them */
        seconds = 0;
        for (int k = 0; k < steps; k++) seconds += plan_step_at(p, k).seconds;
    }
    plan_profile(p, false);
}

static int m_describe(lua_State *L) {
    int n;
    plan *p = plan_of(L, "describe", &n);
    profile_runs(L, p, n);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    plan_describe(p, add_line, &b);
    luaL_pushresult(&b);
    return 1;
}

static int m_stats(lua_State *L) {
    int n;
    plan_stats s = plan_info(plan_of(L, "stats", &n));
    const rewrite *built = &s.passes[0], *last = &s.passes[PLAN_PASSES - 1];
    lua_createtable(L, 0, 7);
    lua_pushinteger(L, s.nodes_built);
    lua_setfield(L, -2, "nodes_built");
    lua_pushinteger(L, last->nodes);
    lua_setfield(L, -2, "nodes");
    lua_pushinteger(L, s.steps);
    lua_setfield(L, -2, "steps");
    lua_pushnumber(L, built->flops);
    lua_setfield(L, -2, "flops_built");
    lua_pushnumber(L, last->flops);
    lua_setfield(L, -2, "flops");
    lua_pushinteger(L, (lua_Integer)s.arena_bytes);
    lua_setfield(L, -2, "arena_bytes");
    lua_createtable(L, PLAN_PASSES, 0);
    for (int i = 0; i < PLAN_PASSES; i++) {
        lua_createtable(L, 0, 3);
        lua_pushstring(L, s.passes[i].name);
        lua_setfield(L, -2, "name");
        lua_pushinteger(L, s.passes[i].nodes);
        lua_setfield(L, -2, "nodes");
        lua_pushnumber(L, s.passes[i].flops);
        lua_setfield(L, -2, "flops");
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "passes");
    return 1;
}

static const bind_row rows[] = {
    { "describe", m_describe,
      "f:describe(θ, ...) -> text\nThe compiled program for arguments of these shapes, which it runs a few times: "
      "nodes and MFlop after each pass (traced; needed: shared and reached from the results; re-associated; "
      "accumulated; lowered; fused into steps) with the arena's size; the time of one run by kernel, slowest "
      "first; every "
      "step with its result's shape (a fused pass: its elements; a copy: its bytes)." },
    { "stats", m_stats,
      "f:stats(θ, ...) -> table\nIts fields: nodes_built (by tracing), nodes (after the last pass), steps, "
      "flops_built, flops (of products and convolutions, before and after re-association), arena_bytes, passes = { { "
      "name, nodes, flops }, ... }. Compiles, runs nothing." },
    { NULL, NULL, NULL },
};

const bind_row *bind_func_method_rows(void) {
    return rows;
}
