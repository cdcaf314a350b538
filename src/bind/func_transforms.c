/* func_transforms.c - grad, hvp, jvp ... as Lua sees them: functions that take a function and return one, or call
 * it. The derivatives themselves, and their check against differences, are func/func.h's. */
#include "args.h"
#include "func_lua.h"
#include <string.h>

static int transform1(lua_State *L, func_kind kind, const char *name) {
    bind_check_func(L, 1, name, "f");
    bind_func_transform(L, kind, 1, 0, NULL);
    return 1;
}

static int t_grad(lua_State *L) {
    return transform1(L, KIND_GRAD, "bk.grad");
}
static int t_value_and_grad(lua_State *L) {
    return transform1(L, KIND_VALUE_AND_GRAD, "bk.value_and_grad");
}
static int t_hvp(lua_State *L) {
    return transform1(L, KIND_HVP, "bk.hvp");
}
static int t_hessian(lua_State *L) {
    return transform1(L, KIND_HESSIAN, "bk.hessian");
}
/* The dimension at the top of the stack, which it takes: 0 for false. */
static signed char check_axis(lua_State *L) {
    bool none = lua_isboolean(L, -1) && !lua_toboolean(L, -1);
    int64_t dim = none ? 0 : lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;
    if (!none && (dim == 0 || dim < -BK_MAX_DIMS || dim > BK_MAX_DIMS))
        args_fail(L, -1, "bk.vmap", "in_axes",
                  "a dimension (1 is the first, -1 the last), or false for an argument as a whole");
    lua_pop(L, 1);
    return (signed char)dim;
}

static const bind_option vmap_told[] = {
    { "in_axes", "a table of whole numbers and false", "{1, ...}",
      "the dimension of each argument, from 1 (below 0 from the end); false: serves every place as it is" },
    { NULL, NULL, NULL, NULL },
};

static int t_vmap(lua_State *L) {
    bind_check_func(L, 1, "bk.vmap", "f");
    func_how how = { 0 };
    int table = args_declared(L, 2, "bk.vmap", vmap_told, false);
    if (table && args_field(L, table, "in_axes")) {
        bool list = lua_istable(L, -1); /* a dimension alone holds for every argument */
        int64_t n = list ? args_list(L, -1, "bk.vmap", "in_axes", false) : FUNC_ARGUMENTS;
        if (n > FUNC_ARGUMENTS) return args_error(L, "bk.vmap", "in_axes: expected at most %d entries", FUNC_ARGUMENTS);
        for (; how.n < n; how.n++) {
            if (list)
                lua_rawgeti(L, -1, how.n + 1);
            else
                lua_pushvalue(L, -1);
            how.axes[how.n] = check_axis(L);
        }
    }
    bind_func_transform(L, KIND_VMAP, 1, 0, &how);
    return 1;
}

static const bind_option compile_told[] = {
    { "memory", "bytes", "as much as it takes",
      "the most that the program works in, beside arguments and results: it computes again what does not fit" },
    { NULL, NULL, NULL, NULL },
};

static int t_compile(lua_State *L) {
    bind_check_func(L, 1, "bk.compile", "f");
    const int table = args_declared(L, 2, "bk.compile", compile_told, false);
    const func_how how = { .memory = args_opt_integer(L, table, "bk.compile", "memory", 1, INT64_MAX, 0) };
    if (how.memory) bind_func_transform(L, KIND_COMPILE, 1, 0, &how);
    else lua_settop(L, 1);
    return 1;
}

static int t_lie(lua_State *L) {
    bind_check_func(L, 1, "bk.lie", "X");
    bind_check_func(L, 2, "bk.lie", "Y");
    lua_settop(L, 2);
    bind_func_transform(L, KIND_LIE, 1, 2, NULL);
    return 1;
}

/* ---- jvp, vjp ---- */

/* What an input without a given direction gets: zeros of its shape. Pushed. */
static void push_zeros_like(lua_State *L, lua_tensor *t) {
    tensor *z = bind_tensor_push_new(L, bind_tensor_dtype(t), bind_tensor_ndim(t), bind_tensor_shape(t), "bk.jvp");
    memset(tensor_data(z), 0, (size_t)tensor_count(z) * dtype_size(z->dtype));
}

/* The arguments at first ..., with their tangents in the table at 3: a number that moves becomes a tensor; what cannot
 * move has no tangent. */
static void let_move(lua_State *L, int first, int n) {
    for (int i = 0; i < n; i++, lua_pop(L, 1)) {
        const lua_tensor *t = bind_tensor_test(L, first + i);
        if (t) bind_tensor_arg(L, first + i, "bk.jvp", "argument");
        const int tangent = lua_rawgeti(L, 3, i + 1), at = lua_gettop(L);
        const bool moves = tangent != LUA_TNIL && !(tangent == LUA_TNUMBER && lua_tonumber(L, -1) == 0);
        if (lua_type(L, first + i) == LUA_TNUMBER) {
            if (!moves && i) continue;
            bind_tensor_push_scalar(L, lua_tonumber(L, first + i));
            lua_replace(L, first + i);
        } else if (moves && (!t || bind_tensor_dtype(t) == BK_INT64)) {
            args_error(L, "bk.jvp", "tangents: argument %d, %s, does not move: expected nil or 0, got %s", i + 1,
                       args_got(L, first + i), args_got(L, at));
        }
    }
}

static int t_jvp(lua_State *L) {
    bind_check_func(L, 1, "bk.jvp", "f");
    lua_settop(L, 3); /* places for what may be missing */
    bool list = lua_istable(L, 2);
    if (!list && lua_isnil(L, 3)) return args_fail(L, 3, "bk.jvp", "tangents", "a table, one tensor an argument");
    if (!list) { /* jvp(f, θ, v) */
        lua_createtable(L, 1, 0);
        lua_pushvalue(L, 2);
        lua_rawseti(L, -2, 1);
        lua_replace(L, 2);
        lua_createtable(L, 1, 0);
        lua_pushvalue(L, 3);
        lua_rawseti(L, -2, 1);
        lua_replace(L, 3);
    }
    args_table(L, 3, "bk.jvp", "tangents");
    int n = (int)args_list(L, 2, "bk.jvp", "arguments", false), m = (int)lua_rawlen(L, 3), first = 4;
    if (n < 1 || n > 64) return args_error(L, "bk.jvp", "arguments: expected 1 to 64, got %d", n);
    if (m > n) return args_error(L, "bk.jvp", "tangents: expected at most %d, one an argument, got %d", n, m);
    if (args_stray(L, 3, n, true))
        return args_error(L, "bk.jvp", "tangents: expected %d, one an argument, got one at %s", n, args_got(L, -1));
    luaL_checkstack(L, 2 * n + 16, "bk.jvp");
    lua_pushvalue(L, 1); /* 4: specialised in place */
    first = 5;
    for (int i = 1; i <= n; i++) lua_rawgeti(L, 2, i);
    let_move(L, first, n);
    bool is_tensor[64];
    for (int i = 0; i < n; i++) is_tensor[i] = bind_tensor_test(L, first + i) != NULL;
    int n_tensors = bind_func_specialise(L, 4, first, first + n - 1, "bk.jvp");
    for (int i = 0, j = 0; i < n; i++) {
        if (!is_tensor[i]) continue;
        lua_tensor *primal = bind_tensor_arg(L, first + j++, "bk.jvp", "argument");
        lua_rawgeti(L, 3, i + 1);
        if (lua_type(L, -1) == LUA_TNUMBER && bind_tensor_ndim(primal) == 0) {
            bind_tensor_push_scalar(L, lua_tonumber(L, -1));
            lua_replace(L, -2);
        } else if (lua_isnil(L, -1) || (lua_type(L, -1) == LUA_TNUMBER && lua_tonumber(L, -1) == 0)) {
            push_zeros_like(L, primal);
            lua_replace(L, -2);
        } else {
            bind_tensor_arg(L, -1, "bk.jvp", "tangent");
        }
    }
    bind_func_transform(L, KIND_JVP, 4, 0, NULL);
    lua_replace(L, 4);
    return bind_func_call_tensors(L, bind_test_func(L, 4), first, 2 * n_tensors, "bk.jvp");
}

/* upvalues: the vjp func, the number of arguments, of outputs, then a table of the arguments and the outputs */
static int pullback(lua_State *L) {
    int n = (int)lua_tointeger(L, lua_upvalueindex(2)), n_out = (int)lua_tointeger(L, lua_upvalueindex(3));
    int given = lua_gettop(L);
    if (given > n_out) return args_error(L, "bk.vjp: pullback", "expected %d cotangents, got %d", n_out, given);
    luaL_checkstack(L, n + 2 * n_out + 16, "bk.vjp: pullback");
    for (int i = 1; i <= n; i++) lua_rawgeti(L, lua_upvalueindex(4), i);
    for (int k = 1; k <= n_out; k++) {
        lua_rawgeti(L, lua_upvalueindex(4), n + k);
        lua_tensor *y = bind_tensor_arg(L, -1, "bk.vjp: pullback", "output");
        if (k <= given && lua_type(L, k) != LUA_TNUMBER) {
            bind_tensor_arg(L, k, "bk.vjp: pullback", "cotangent");
            lua_pushvalue(L, k);
        } else if (bind_tensor_ndim(y) == 0 || k > given) {
            if (bind_tensor_ndim(y) != 0 && n_out == 1)
                return args_error(L, "bk.vjp: pullback", "cotangent: expected a tensor, got nothing");
            bind_tensor_push_scalar(L, k <= given ? lua_tonumber(L, k) : n_out == 1 ? 1 : 0);
            if (bind_tensor_ndim(y) != 0) {
                lua_pop(L, 1);
                push_zeros_like(L, y);
            }
        } else {
            return args_fail(L, k, "bk.vjp: pullback", "cotangent", "a tensor");
        }
        lua_remove(L, -2);
    }
    int first = given + 1, top = lua_gettop(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    int got = bind_func_call_tensors(L, bind_test_func(L, -1), first, n + n_out, "bk.vjp");
    (void)top;
    return got - n_out; /* the gradients follow the outputs */
}

static int t_vjp(lua_State *L) {
    bind_check_func(L, 1, "bk.vjp", "f");
    int n = bind_func_specialise(L, 1, 2, lua_gettop(L), "bk.vjp");
    if (n < 1) return args_error(L, "bk.vjp", "expected at least one tensor after the function");
    int n_out = bind_func_call_tensors(L, bind_test_func(L, 1), 2, n, "bk.vjp"), outputs = lua_gettop(L) - n_out + 1;
    luaL_checkstack(L, n_out + 8, "bk.vjp");
    lua_createtable(L, n + n_out, 0);
    for (int i = 1; i <= n; i++) {
        lua_pushvalue(L, 1 + i);
        lua_rawseti(L, -2, i);
    }
    for (int i = 1; i <= n_out; i++) {
        lua_pushvalue(L, outputs + i - 1);
        lua_rawseti(L, -2, n + i);
    }
    int values = lua_gettop(L);
    func_how how = { .n = n };
    bind_func_transform(L, KIND_VJP, 1, 0, &how);
    lua_pushinteger(L, n);
    lua_pushinteger(L, n_out);
    lua_pushvalue(L, values);
    lua_pushcclosure(L, pullback, 4);
    lua_remove(L, values);
    return n_out + 1;
}

/* ---- check_grad ---- */

static int t_check_grad(lua_State *L) {
    bind_check_func(L, 1, "bk.check_grad", "f");
    if (lua_type(L, 2) == LUA_TNUMBER) {
        bind_tensor_push_scalar(L, lua_tonumber(L, 2));
        lua_replace(L, 2);
    }
    const tensor *theta = bind_check_tensor(L, 2, "bk.check_grad", "θ");
    if (theta->dtype == BK_INT64) return args_fail(L, 2, "bk.check_grad", "θ", "a float tensor");
    lua_settop(L, 2);
    double worst = 0;
    err e = { 0 };
    bind_trace at = bind_enter(L);
    bk_status s = func_check_grad(bind_test_func(L, 1), theta, &worst, &e);
    bind_leave(L, &at, s, &e);
    lua_pushnumber(L, worst);
    return 1;
}

static const bind_row rows[] = {
    { "grad", t_grad,
      "bk.grad(f)(θ, ...) -> tensor\nThe gradient of f in its first argument, of θ's shape; f returns a 0-d tensor. "
      "f is a plain Lua "
      "function over tensors, or anything made by bk; it is traced once for each combination of shapes and dtypes and "
      "compiled. What else f reads from outside is fixed at that moment; where it is another at a later call (a local, "
      "a "
      "global, a field of a table by its name, of the functions f calls too) f is traced anew. Hand in as arguments "
      "what "
      "changes often. Further arguments may be tensors or, fixed a call, numbers and other values. Derivatives nest: "
      "bk.grad(function(θ) return bk.grad(f)(θ):norm() end). Reverse mode by linearising and transposing." },
    { "value_and_grad", t_value_and_grad,
      "bk.value_and_grad(f)(θ, ...) -> value, gradient\nBoth at the price of bk.grad. What else f "
      "returns comes after them, as it is." },
    { "hvp", t_hvp,
      "bk.hvp(f)(θ, v, ...) -> tensor\nThe Hessian-vector product H v without the Hessian (Pearlmutter 1994), forward "
      "over reverse. v has θ's shape, or a leading dimension before it for several directions at once." },
    { "hessian", t_hessian,
      "bk.hessian(f)(θ, ...) -> tensor\nAll second derivatives: shape (θ's shape, θ's shape), (P,P) for a flat "
      "θ. Some rows at a time, so that it takes less than three times the result's memory, which grows as P^2; "
      "bk.hvp needs only vectors." },
    { "vmap", t_vmap,
      "bk.vmap(f [, {in_axes = {1, ...}}])(batched, ...) -> results of f\nf over one dimension of its arguments at "
      "once; the results carry it first. A single entry of in_axes holds for all, and 1 for those not named. All "
      "mapped dimensions have one size.\n"
      "Per-example gradients of a loss L = bk.loss.mse(model): bk.vmap(bk.grad(L), {in_axes = {false, 1, 1}})(θ, x, y) "
      "with x (examples, 1, ...), y (examples, 1, ...): (examples, n_params). Nests.",
      vmap_told },
    { "jvp", t_jvp,
      "bk.jvp(f, {θ, ...}, {v, ...}) -> y, dy\nThe value and its derivative along the tangents v, of the "
      "arguments' shapes (nil or 0: that argument does not move; int64 tensors and what is no tensor or number never "
      "do). Several results: y1, y2, dy1, dy2." },
    { "vjp", t_vjp,
      "bk.vjp(f, θ, ...) -> y, pullback\nThe value and the function ct -> gradients of sum(ct * y) in every "
      "tensor argument; pullback() stands for ct = 1 where y is 0-d. It computes f again, with what f reads from "
      "outside by then." },
    { "compile", t_compile,
      "bk.compile(f [, { memory = bytes }]) -> function\nf as a func: traced and compiled at the first call for each "
      "combination of shapes, and again when what f reads from outside has changed (bk.grad). Lua runs while tracing "
      "only: prints, counters and draws do not happen again. f:describe(θ, ...) shows the program and its times, "
      "f:stats(θ, ...) its sizes.\n"
      "With memory the program works in at most so many bytes (its arena and what its kernels work in on the threads "
      "there are when it is compiled, f:stats(...).arena_bytes; not its arguments and results): values that are used "
      "late are computed again there instead of being kept, those that take the "
      "fewest operations a byte first, and only as many as it takes. The results have the same bits, at any number of "
      "threads; time grows as memory shrinks. Without it, a program computes again what is cheap, and one of 80 "
      "MiB or more what else lowers its memory, but for large products. Where memory is less than is possible, the "
      "call fails and says how many do. bk.hessian takes fewer rows at a time, as many as fit beside what those "
      "threads work in, and is rounded as these are. It holds for calls of this function: within another one, or under "
      "bk.grad, it is f.\n\n"
      "Source: Griewank & Walther 2000; chosen greedily, as in Kirisame et al. 2021.",
      compile_told },
    { "lie", t_lie,
      "bk.lie(X, Y) -> field\nThe Lie bracket [X, Y] = DY X - DX Y of two fields on θ, itself a field. A loss stands "
      "for its gradient field, so bk.lie(L1, L2)(θ) = H_2 g_1 - H_1 g_2. No Jacobian is formed. At a 0-d θ, "
      "where both have one shape, a plain function is a loss, and what bk.grad, bk.lie or a word made is a field." },
    { "check_grad", t_check_grad,
      "bk.check_grad(f, θ) -> largest relative error\nGradient and Hessian-vector products of the 0-d f against "
      "central "
      "differences extrapolated to fourth order, along the axes or, with more than 6 parameters, 6 fixed random "
      "directions. In float64 below 1e-7 where f is smooth at the step of eps^(1/5)." },
    { NULL, NULL, NULL },
};

const bind_row *bind_func_transform_rows(void) {
    return rows;
}
