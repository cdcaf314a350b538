/* random.c - bk.rng(seed): streams of random numbers. A stream is two integers (base/rng.h), so it can be saved, split
 * and resumed, and its numbers never depend on threads. */
#include "../base/rng.h"
#include "args.h"
#include "tensor_value.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define BIND_RNG "bracket.rng"

static rng *check(lua_State *L, const char *fname) {
    rng *r = luaL_testudata(L, 1, BIND_RNG);
    if (!r) args_fail(L, 1, fname, "self", "a stream of bk.rng (call with a colon)");
    return r;
}

/* Numbers drawn in a function that is being traced would be the same ever after. */
static void not_traced(lua_State *L, const char *fname) {
    if (bind_state_of(L)->live)
        args_error(
            L, fname,
            "not while tracing: the function is being turned into a graph, and the numbers drawn now would be the "
            "same at every call; draw before, and pass them as an argument");
}

static rng *drawn(lua_State *L, const char *fname) {
    rng *r = check(L, fname);
    not_traced(L, fname);
    return r;
}

/* math.random, Lua's own being its upvalue. Arguments are checked here, where the call has a name for messages. */
static int math_random(lua_State *L) {
    const int n = lua_gettop(L);
    not_traced(L, "math.random");
    for (int i = 1; i <= n; i++) luaL_checkinteger(L, i);
    const lua_Integer low = n > 1 ? lua_tointeger(L, 1) : 1, high = n ? lua_tointeger(L, n > 1 ? 2 : 1) : 1;
    luaL_argcheck(L, n > 2 || low <= high || (n == 1 && high == 0), n, "interval is empty");
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

static void guard_math_random(lua_State *L) { /* a host may have left math out */
    int top = lua_gettop(L);
    if (luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE) &&
        lua_getfield(L, -1, LUA_MATHLIBNAME) == LUA_TTABLE && lua_getfield(L, -1, "random") == LUA_TFUNCTION) {
        lua_pushcclosure(L, math_random, 1);
        lua_setfield(L, -2, "random");
    }
    lua_settop(L, top);
}

static rng *push(lua_State *L, rng value) {
    rng *r = lua_newuserdatauv(L, sizeof *r, 0);
    *r = value;
    luaL_setmetatable(L, BIND_RNG);
    return r;
}

static int make(lua_State *L) {
    lua_Integer seed = lua_isnoneornil(L, 1) ? 0 : args_integer(L, 1, "bk.rng", "seed", INT64_MIN, INT64_MAX);
    push(L, rng_seed((uint64_t)seed));
    return 1;
}

/* Of a distribution: shape, dtype, and its two numbers. */
enum { SHAPE, DTYPE, FIRST, SECOND };
static const bind_option uniform_told[] = {
    { "shape", "a table of sizes", NULL, "the sizes, where they do not stand in front" },
    { "dtype", "\"float64\" or \"float32\"", "float64", "what its elements are" },
    { "a", "a finite number", "0", "the lower end, included" },
    { "b", "a finite number", "1", "the upper end" },
    { NULL, NULL, NULL, NULL },
};
static const bind_option normal_told[] = {
    { "shape", "a table of sizes", NULL, "the sizes, where they do not stand in front" },
    { "dtype", "\"float64\" or \"float32\"", "float64", "what its elements are" },
    { "mean", "a finite number", "0", "the mean" },
    { "std", "a finite number", "1", "the standard deviation" },
    { NULL, NULL, NULL, NULL },
};

typedef struct request {
    int ndim;
    int64_t shape[BK_MAX_DIMS];
    bk_dtype dtype;
    double a, b;
} request;

/* By name in one of two tables, or by place; at = 0: not by place. */
static double parameter(lua_State *L, const char *fname, const char *name, int inside, int options, int at,
                        double otherwise) {
    const bool placed = at && !lua_isnoneornil(L, at), told = args_field(L, inside, name);
    const bool behind = args_field(L, options, name);
    if (placed && (told || behind)) args_error(L, fname, "%s: given twice, by place and by name", name);
    if (told && behind) args_error(L, fname, "%s: given twice, beside the sizes and behind them", name);
    double v = placed ? args_number(L, at, fname, name) : args_opt_number(L, inside, fname, name, otherwise);
    v = args_opt_number(L, options, fname, name, v);
    if (!isfinite(v)) args_error(L, fname, "%s: expected a finite number, got %f", name, v);
    return v;
}

/* {2, 3} (sizes), {shape = {2, 3}, a = ...}, {{2, 3}, a, b}, ({2, 3}, a, b), ({2, 3}, {a = ...}), ({2, 3}, a, b,
 * {dtype = ...}); a and b by the names given, and dtype. */
static void ask(lua_State *L, const char *fname, const bind_option *told, request *q) {
    int table = lua_istable(L, 2) ? args_declared(L, 2, fname, told, true) : 0, sizes = 2, last = 3;
    lua_settop(L, 5);
    if (table && lua_getfield(L, 2, "shape") != LUA_TNIL) { /* 6: the shape */
        if (lua_rawlen(L, 2) > 0) args_error(L, fname, "shape: given twice, by name and by sizes");
        sizes = 6;
    }
    lua_settop(L, 6);
    bool boxed = table && lua_rawgeti(L, 2, 1) == LUA_TTABLE;
    lua_settop(L, 6);
    if (boxed) {
        lua_rawgeti(L, 2, 1);
        lua_replace(L, 6);
        sizes = 6;
        lua_rawgeti(L, 2, 2); /* 7, 8: a and b */
        lua_rawgeti(L, 2, 3);
        if (lua_rawlen(L, 2) > 3)
            args_error(L, fname, "expected at most the sizes and two numbers in the table, got %d values",
                       (int)lua_rawlen(L, 2));
    }
    q->ndim = lua_isnil(L, 2) ? 0 : args_shape(L, sizes, fname, "shape", 0, sizes == 2, q->shape);
    while (last < 5 && !lua_istable(L, last)) last++;
    if (boxed && last > 3 && !lua_isnil(L, 3)) args_fail(L, 3, fname, "options", "a table");
    const int options = args_declared(L, last, fname, told + DTYPE, false);
    for (int i = last + 1; i <= 5; i++)
        if (!lua_isnil(L, i)) args_error(L, fname, "options: expected to be last, got %s behind them", args_got(L, i));
    q->dtype = args_dtype_once(L, fname, table, options);
    q->a = parameter(L, fname, told[FIRST].name, table, options, boxed ? 7 : last > 3 ? 3 : 0, q->a);
    q->b = parameter(L, fname, told[SECOND].name, table, options, boxed ? 8 : last > 4 ? 4 : 0, q->b);
    if (q->dtype == BK_INT64) args_error(L, fname, "dtype: expected \"float64\" or \"float32\", got \"int64\"");
}

static int draw(lua_State *L, const char *fname, bool normal, const bind_option *told) {
    request q = { .a = 0, .b = 1 };
    rng *r = drawn(L, fname);
    ask(L, fname, told, &q);
    if (normal && q.b < 0) args_error(L, fname, "std: expected a number >= 0, got %f", q.b);
    if (!normal && !(q.a <= q.b && isfinite(q.b - q.a)))
        args_error(L, fname, "b: expected a number >= a, by less than 1.8e308, got a = %f, b = %f", q.a, q.b);
    tensor *t = bind_tensor_push_new(L, q.dtype, q.ndim, q.shape, fname);
    int64_t n = tensor_count(t);
    void *data = tensor_data(t);
    for (int64_t i = 0; i < n; i++) {
        bind_poll(L, i);
        double x = normal ? q.a + q.b * rng_normal(r) : q.a + (q.b - q.a) * rng_uniform(r);
        if (!normal && x >= q.b) x = nextafter(q.b, q.a); /* b itself is no result, not by rounding either */
        if (q.dtype == BK_FLOAT64) {
            ((double *)data)[i] = x;
            continue;
        }
        const float y = (float)x;
        ((float *)data)[i] = !normal && y >= q.b && q.a < q.b ? nextafterf(y, -INFINITY) : y;
    }
    return 1;
}

static int m_uniform(lua_State *L) {
    return draw(L, "rng:uniform", false, uniform_told);
}
static int m_normal(lua_State *L) {
    return draw(L, "rng:normal", true, normal_told);
}

static int m_permutation(lua_State *L) {
    rng *r = drawn(L, "rng:permutation");
    int64_t n = args_integer(L, 2, "rng:permutation", "n", 0, INT64_MAX);
    tensor *t = bind_tensor_push_new(L, BK_INT64, 1, &n, "rng:permutation");
    int64_t *index = tensor_data(t);
    for (int64_t i = 0; i < n; i++) {
        bind_poll(L, i);
        rng_permute_next(r, i, index);
    }
    for (int64_t i = 0; i < n; i++) index[i]++;
    return 1;
}

static int m_integers(lua_State *L) {
    rng *r = drawn(L, "rng:integers");
    int64_t shape[BK_MAX_DIMS], n = args_integer(L, 3, "rng:integers", "n", 1, INT64_MAX);
    int ndim = args_shape(L, 2, "rng:integers", "shape", 0, false, shape);
    tensor *t = bind_tensor_push_new(L, BK_INT64, ndim, shape, "rng:integers");
    int64_t count = tensor_count(t), *data = tensor_data(t);
    for (int64_t i = 0; i < count; i++) {
        bind_poll(L, i);
        data[i] = (int64_t)rng_below(r, (uint64_t)n);
    }
    return 1;
}

static int m_split(lua_State *L) {
    rng *r = check(L, "rng:split");
    rng child = rng_split(r);
    push(L, child);
    return 1;
}

static int m_state(lua_State *L) {
    rng *r = check(L, "rng:state");
    char text[48];
    snprintf(text, sizeof text, "%016" PRIx64 ":%016" PRIx64, r->key, r->counter);
    lua_pushstring(L, text);
    return 1;
}

static int m_restore(lua_State *L) {
    rng *r = check(L, "rng:restore"), to;
    const char *text = args_string(L, 2, "rng:restore", "state");
    char end;
    if (strlen(text) != 33 || sscanf(text, "%16" SCNx64 ":%16" SCNx64 "%c", &to.key, &to.counter, &end) != 2)
        return args_fail(L, 2, "rng:restore", "state", "a string from rng:state()");
    *r = to;
    lua_settop(L, 1);
    return 1;
}

static int m_tostring(lua_State *L) {
    rng *r = check(L, "rng");
    char text[64];
    snprintf(text, sizeof text, "rng %016" PRIx64 ":%016" PRIx64, r->key, r->counter);
    lua_pushstring(L, text);
    return 1;
}

void bind_rng(lua_State *L) {
    static const bind_row methods[] = {
        { "uniform", m_uniform,
          "rng:uniform({sizes} [, a] [, b] [, {dtype = \"float64\"}]) -> tensor\nUniform on [a, b).\n\n"
          "rng:uniform{2, 3}, rng:uniform{{2, 3}, a, b}, rng:uniform({2, 3}, a, b) and "
          "rng:uniform{shape = {2, 3}, a = 0, b = 1} are the same.",
          uniform_told },
        { "normal", m_normal,
          "rng:normal({sizes} [, mean] [, std] [, {dtype = \"float64\"}]) -> tensor\nNormal, by pairs of uniform "
          "numbers.\n\nrng:normal{2, 3}, rng:normal({2, 3}, mean, std) and "
          "rng:normal{shape = {2, 3}, mean = 0, std = 1} are the same.\n\n"
          "Source: Box & Muller 1958.",
          normal_told },
        { "permutation", m_permutation,
          "rng:permutation(n) -> tensor int64 (n)\n1..n in random order: t:gather(rng:permutation(n)) shuffles the "
          "rows of t.",
          NULL },
        { "integers", m_integers, "rng:integers({sizes}, n) -> tensor int64\nUniform on 0..n-1.", NULL },
        { "split", m_split, "rng:split() -> rng\nAn independent stream; this one moves on.", NULL },
        { "state", m_state, "rng:state() -> string\nWhere the stream stands, for rng:restore.", NULL },
        { "restore", m_restore, "rng:restore(state) -> rng\nTakes the stream back to a state; returns it.", NULL },
        { NULL, NULL, NULL, NULL },
    };
    static const bind_row functions[] = {
        { "rng", make,
          "bk.rng([seed]) -> rng\nA stream of random numbers: the same seed gives the same numbers everywhere.\n\n"
          "Methods uniform, normal, permutation, integers, split, state, restore. Drawing in a function that is being "
          "traced is an error, of math.random too.\n\nSource: SplitMix64 (Steele, Lea & Flood 2014).",
          NULL },
        { NULL, NULL, NULL, NULL },
    };
    luaL_newmetatable(L, BIND_RNG);
    args_fixed(L, "rng");
    lua_newtable(L);
    bind_rows(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, m_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pop(L, 1);
    bind_rows(L, functions);
    guard_math_random(L);
}

/* mix(z): the hash of all streams, for those of Lua. */
static int internal_mix(lua_State *L) {
    lua_pushinteger(L, (lua_Integer)rng_mix((uint64_t)luaL_checkinteger(L, 1)));
    return 1;
}

void bind_rng_internal(lua_State *L) {
    static const bind_row rows[] = { { "mix", internal_mix, NULL }, { NULL, NULL, NULL } };
    bind_rows(L, rows);
}
