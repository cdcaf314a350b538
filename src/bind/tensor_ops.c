/* tensor_ops.c - elementwise operations and arithmetic on tensors as Lua sees them: one table for the methods and for
 * the functions bk.NAME. Shapes and derivatives are the graph's business (ops/ops.h); here are names, numbers mixed
 * with tensors, and docs. Floats-only functions take int64 as float64. */
#include "tensor_ops.h"
#include "args.h"
#include <math.h>
#include <string.h>

static node *as_float(graph *g, node *a) {
    return a && a->dtype == BK_INT64 ? g_cast(g, a, BK_FLOAT64) : a;
}

/* ---- one operand ---- */

int bind_ops_unary(lua_State *L, const char *name,
                   bool (*build)(graph *, const op_call *, int, node *const *, node **)) {
    op_call call = { .name = name, .build = build, .n_out = 1 };
    if (lua_type(L, 1) == LUA_TNUMBER) { /* bk.exp(2) */
        bind_tensor_push_scalar(L, lua_tonumber(L, 1));
        lua_replace(L, 1);
    }
    lua_tensor *t = bind_tensor_arg(L, 1, name, "argument 1");
    return bind_tensor_apply(L, &call, 1, &t);
}

#define UNARY(NAME, EXPRESSION)                                                                                        \
    static bool build_##NAME(graph *g, const op_call *c, int n_in, node *const *in, node **out) {                      \
        node *a = in[0];                                                                                               \
        (void)c, (void)n_in;                                                                                           \
        out[0] = EXPRESSION;                                                                                           \
        return out[0] != NULL;                                                                                         \
    }                                                                                                                  \
    static int method_##NAME(lua_State *L) {                                                                           \
        return bind_ops_unary(L, #NAME, build_##NAME);                                                                 \
    }

UNARY(exp, g_exp(g, as_float(g, a)))
UNARY(expm1, g_expm1(g, as_float(g, a)))
UNARY(log, g_log(g, as_float(g, a)))
UNARY(log1p, g_log1p(g, as_float(g, a)))
UNARY(sqrt, g_sqrt(g, as_float(g, a)))
UNARY(recip, g_recip(g, as_float(g, a)))
UNARY(sin, g_sin(g, as_float(g, a)))
UNARY(cos, g_cos(g, as_float(g, a)))
UNARY(tanh, g_tanh(g, as_float(g, a)))
UNARY(sigmoid, g_sigmoid(g, as_float(g, a)))
UNARY(softplus, g_softplus(g, as_float(g, a)))
UNARY(erf, g_erf(g, as_float(g, a)))
UNARY(gelu, g_gelu(g, as_float(g, a)))
UNARY(relu, g_relu(g, a))
UNARY(abs, g_abs(g, a))
UNARY(sign, g_sign(g, a))
UNARY(floor, a && a->dtype == BK_INT64 ? a : g_floor(g, a))
UNARY(square, g_square(g, a))
UNARY(neg, g_neg(g, a))
UNARY(stop_gradient, g_stop(g, a))

/* ---- two operands, either of which may be a number ---- */

enum { BOTH, LEFT_NUMBER, RIGHT_NUMBER };

static bool whole(double x) {
    return x == floor(x) && fabs(x) < 9e15;
}

/* The number x as a 0-d operand beside a: of a's dtype, unless a is int64 and x is not whole. */
static node *number_beside(graph *g, node *a, double x) {
    if (!a) return NULL;
    return g_full(g, a->dtype == BK_INT64 && !whole(x) ? BK_FLOAT64 : a->dtype, 0, NULL, x);
}

static node *holding(graph *g, node *a, double x) {
    return whole(x) ? a : as_float(g, a);
}

static bool is_power_of_two(double x) {
    int e;
    return isfinite(x) && fabs(frexp(x, &e)) == 0.5 && e > -1000 && e < 1000;
}

static node *pair_add(graph *g, int64_t side, node *a, node *b, double x) {
    if (side == BOTH) return g_add(g, a, b);
    node *t = side == LEFT_NUMBER ? b : a;
    return g_offset(g, x, holding(g, t, x));
}

static node *pair_sub(graph *g, int64_t side, node *a, node *b, double x) {
    if (side == BOTH) return g_sub(g, a, b);
    if (side == RIGHT_NUMBER) return g_offset(g, -x, holding(g, a, x));
    return g_offset(g, x, g_neg(g, holding(g, b, x)));
}

static node *pair_mul(graph *g, int64_t side, node *a, node *b, double x) {
    if (side == BOTH) return g_mul(g, a, b);
    node *t = side == LEFT_NUMBER ? b : a;
    return g_scale(g, x, holding(g, t, x));
}

static node *pair_div(graph *g, int64_t side, node *a, node *b, double x) {
    a = as_float(g, a);
    b = as_float(g, b);
    if (side == BOTH) return g_div(g, a, b);
    if (side == LEFT_NUMBER) return x == 1 ? g_recip(g, b) : g_div(g, number_beside(g, b, x), b);
    /* multiplying by the inverse rounds twice, except for powers of two */
    return is_power_of_two(x) ? g_scale(g, 1 / x, a) : g_div(g, a, number_beside(g, a, x));
}

static node *pair_pow(graph *g, int64_t side, node *a, node *b, double x) {
    if (side == RIGHT_NUMBER && x == 2) return g_square(g, a);
    a = as_float(g, a);
    b = as_float(g, b);
    if (side == BOTH) return g_pow(g, a, b);
    if (side == RIGHT_NUMBER) return g_powx(g, a, x);
    return g_pow(g, number_beside(g, b, x), b);
}

#define PLAIN_PAIR(NAME, BUILD)                                                                                        \
    static node *pair_##NAME(graph *g, int64_t side, node *a, node *b, double x) {                                     \
        if (side == LEFT_NUMBER) a = number_beside(g, b, x);                                                           \
        if (side == RIGHT_NUMBER) b = number_beside(g, a, x);                                                          \
        return BUILD;                                                                                                  \
    }
PLAIN_PAIR(maximum, g_max(g, a, b))
PLAIN_PAIR(minimum, g_min(g, a, b))
PLAIN_PAIR(gt, g_gt(g, a, b))
PLAIN_PAIR(ge, g_ge(g, a, b))
PLAIN_PAIR(lt, g_gt(g, b, a))
PLAIN_PAIR(le, g_ge(g, b, a))
PLAIN_PAIR(eq, g_eq(g, a, b))

typedef struct pair_op {
    const char *name;
    node *(*build)(graph *g, int64_t side, node *a, node *b, double x);
} pair_op;

static bool build_pair(graph *g, const op_call *c, int n_in, node *const *in, node **out) {
    const pair_op *p = c->what;
    node *a = c->ints[0] == LEFT_NUMBER ? NULL : in[0];
    node *b = c->ints[0] == LEFT_NUMBER ? in[0] : n_in > 1 ? in[1] : NULL;
    out[0] = p->build(g, c->ints[0], a, b, c->x);
    return out[0] != NULL;
}

static int binary(lua_State *L, const pair_op *p) {
    op_call call = { .name = p->name, .build = build_pair, .what = p, .n_out = 1, .n_ints = 1 };
    bool left = lua_type(L, 1) == LUA_TNUMBER, right = lua_type(L, 2) == LUA_TNUMBER;
    lua_tensor *in[2];
    if (left && right) {
        bind_tensor_push_scalar(L, lua_tonumber(L, 1));
        lua_replace(L, 1);
        left = false;
    }
    int n = 0;
    if (!left && !bind_tensor_test(L, 1)) args_fail(L, 1, p->name, "left operand", "a tensor or a number");
    if (!right && !bind_tensor_test(L, 2)) args_fail(L, 2, p->name, "right operand", "a tensor or a number");
    if (!left) in[n++] = bind_tensor_arg(L, 1, p->name, "left operand");
    if (!right) in[n++] = bind_tensor_arg(L, 2, p->name, "right operand");
    call.ints[0] = left ? LEFT_NUMBER : right ? RIGHT_NUMBER : BOTH;
    if (left || right) call.x = lua_tonumber(L, left ? 1 : 2);
    return bind_tensor_apply(L, &call, n, in);
}

#define BINARY(NAME)                                                                                                   \
    static int method_##NAME(lua_State *L) {                                                                           \
        static const pair_op p = { #NAME, pair_##NAME };                                                               \
        return binary(L, &p);                                                                                          \
    }
BINARY(add)
BINARY(sub)
BINARY(mul)
BINARY(div)
BINARY(pow)
BINARY(maximum)
BINARY(minimum)
BINARY(gt)
BINARY(ge)
BINARY(lt)
BINARY(le)
BINARY(eq)

/* ---- three operands ---- */

static double bits_number(int64_t bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static int64_t number_bits(double x) {
    int64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* ints: which of a, b are numbers (mask 1, 2), their bits */
static bool build_where(graph *g, const op_call *c, int n_in, node *const *in, node **out) {
    int mask = (int)c->ints[0], next = 1;
    (void)n_in;
    node *a = mask & 1 ? NULL : in[next++], *b = mask & 2 ? NULL : in[next];
    double xa = bits_number(c->ints[1]), xb = bits_number(c->ints[2]);
    if (mask == 3) {
        bk_dtype d = in[0]->dtype == BK_FLOAT32 ? BK_FLOAT32 : BK_FLOAT64;
        a = g_full(g, d, 0, NULL, xa);
        b = g_full(g, d, 0, NULL, xb);
    } else if (mask == 1) {
        a = number_beside(g, b, xa);
    } else if (mask == 2) {
        b = number_beside(g, a, xb);
    }
    out[0] = g_where(g, in[0], a, b);
    return out[0] != NULL;
}

static int method_where(lua_State *L) {
    op_call call = { .name = "where", .build = build_where, .n_out = 1, .n_ints = 3 };
    static const char *const names[] = { "a", "b" };
    lua_tensor *in[3];
    int n = 0;
    in[n++] = bind_tensor_arg(L, 1, "where", "condition");
    for (int i = 0; i < 2; i++) {
        if (lua_type(L, 2 + i) == LUA_TNUMBER) {
            call.ints[0] |= 1 << i;
            call.ints[1 + i] = number_bits(lua_tonumber(L, 2 + i));
        } else {
            if (!bind_tensor_test(L, 2 + i)) args_fail(L, 2 + i, "where", names[i], "a tensor or a number");
            in[n++] = bind_tensor_arg(L, 2 + i, "where", names[i]);
        }
    }
    return bind_tensor_apply(L, &call, n, in);
}

static bool build_clamp(graph *g, const op_call *c, int n_in, node *const *in, node **out) {
    (void)n_in;
    node *a = in[0];
    if (c->ints[0] & 1) a = g_max(g, a, number_beside(g, in[0], bits_number(c->ints[1])));
    if (c->ints[0] & 2) a = g_min(g, a, number_beside(g, in[0], bits_number(c->ints[2])));
    out[0] = a;
    return a != NULL;
}

static int method_clamp(lua_State *L) {
    op_call call = { .name = "clamp", .build = build_clamp, .n_out = 1, .n_ints = 3 };
    static const char *const names[] = { "low", "high" };
    lua_tensor *t = bind_tensor_arg(L, 1, "clamp", "tensor");
    for (int i = 0; i < 2; i++)
        if (!lua_isnoneornil(L, 2 + i)) {
            call.ints[0] |= 1 << i;
            call.ints[1 + i] = number_bits(args_number(L, 2 + i, "clamp", names[i]));
        }
    return bind_tensor_apply(L, &call, 1, &t);
}

static bool build_cast(graph *g, const op_call *c, int n_in, node *const *in, node **out) {
    (void)n_in;
    out[0] = g_cast(g, in[0], (bk_dtype)c->ints[0]);
    return out[0] != NULL;
}

static int method_to(lua_State *L) {
    op_call call = { .name = "to", .build = build_cast, .n_out = 1, .n_ints = 1 };
    lua_tensor *t = bind_tensor_arg(L, 1, "to", "tensor");
    call.ints[0] = args_dtype(L, 2, "to", "dtype");
    if ((bk_dtype)call.ints[0] == bind_tensor_dtype(t)) {
        lua_settop(L, 1);
        return 1;
    }
    return bind_tensor_apply(L, &call, 1, &t);
}

static const bind_row rows[] = {
    { "exp", method_exp, "t:exp(), bk.exp(t)\nElementwise e^x. int64 is taken as float64." },
    { "expm1", method_expm1, "t:expm1()\nElementwise e^x - 1, accurate near 0." },
    { "log", method_log, "t:log()\nElementwise natural logarithm; NaN below 0, -inf at 0." },
    { "log1p", method_log1p, "t:log1p()\nElementwise log(1 + x), accurate near 0." },
    { "sqrt", method_sqrt, "t:sqrt()\nElementwise square root; its derivative is infinite at 0." },
    { "recip", method_recip, "t:recip()\nElementwise 1 / x." },
    { "sin", method_sin, "t:sin()\nElementwise sine, x in radians." },
    { "cos", method_cos, "t:cos()\nElementwise cosine, x in radians." },
    { "tanh", method_tanh, "t:tanh()\nElementwise hyperbolic tangent; derivative 1 - tanh(x)^2." },
    { "sigmoid", method_sigmoid, "t:sigmoid()\nElementwise 1 / (1 + e^-x)." },
    { "softplus", method_softplus, "t:softplus()\nElementwise log(1 + e^x), without overflow; derivative sigmoid(x)." },
    { "relu", method_relu, "t:relu()\nElementwise max(x, 0); the derivative at 0 is 0, second derivatives are 0." },
    { "gelu", method_gelu,
      "t:gelu()\nElementwise x Phi(x) with the normal distribution function Phi, exact "
      "(Hendrycks & Gimpel 2016)." },
    { "erf", method_erf, "t:erf()\nElementwise error function 2/sqrt(pi) * integral of e^-s^2 from 0 to x." },
    { "abs", method_abs, "t:abs()\nElementwise absolute value; derivative sign(x), 0 at 0." },
    { "sign", method_sign, "t:sign()\nElementwise -1, 0 or 1; its derivative is 0." },
    { "floor", method_floor, "t:floor()\nElementwise largest whole number <= x; its derivative is 0." },
    { "square", method_square, "t:square()\nElementwise x^2." },
    { "neg", method_neg, "t:neg(), -t\nElementwise -x." },
    { "stop_gradient", method_stop_gradient,
      "bk.stop_gradient(t), t:stop_gradient()\nt itself, through which no derivative flows." },
    { "add", method_add,
      "t:add(u), t + u\nElementwise sum; u is a tensor or a number. Shapes broadcast by NumPy's rules; "
      "dtypes promote int64 -> float32 -> float64; a number takes the tensor's dtype." },
    { "sub", method_sub, "t:sub(u), t - u\nElementwise difference; broadcasts as t:add." },
    { "mul", method_mul,
      "t:mul(u), t * u\nElementwise product; broadcasts as t:add. The matrix product is t:matmul(u)." },
    { "div", method_div, "t:div(u), t / u\nElementwise quotient, never whole-number division; broadcasts as t:add." },
    { "pow", method_pow, "t:pow(u), t ^ u\nElementwise power; broadcasts as t:add." },
    { "maximum", method_maximum,
      "bk.maximum(t, u)\nElementwise larger of two, NaN if either is; broadcasts as t:add." },
    { "minimum", method_minimum,
      "bk.minimum(t, u)\nElementwise smaller of two, NaN if either is; broadcasts as t:add." },
    { "gt", method_gt, "t:gt(u)\nElementwise t > u as 1 or 0 of the operands' dtype; broadcasts as t:add." },
    { "ge", method_ge, "t:ge(u)\nElementwise t >= u as 1 or 0; broadcasts as t:add." },
    { "lt", method_lt, "t:lt(u)\nElementwise t < u as 1 or 0; broadcasts as t:add." },
    { "le", method_le, "t:le(u)\nElementwise t <= u as 1 or 0; broadcasts as t:add." },
    { "eq", method_eq,
      "t:eq(u)\nElementwise t = u as 1 or 0; broadcasts as t:add. `t == u` asks whether all are equal." },
    { "where", method_where,
      "bk.where(condition, a, b), condition:where(a, b)\nElementwise a where condition is not 0, "
      "else b; a and b are tensors or numbers, and all three broadcast." },
    { "clamp", method_clamp, "t:clamp(low, high)\nElementwise min(max(x, low), high); nil leaves a side open." },
    { "to", method_to,
      "t:to(dtype)\nThe values as \"float64\", \"float32\" or \"int64\" (towards 0). The derivative of a "
      "cast between floats is a cast; none flows through int64." },
    { NULL, NULL, NULL },
};

const bind_row *bind_tensor_op_rows(void) {
    return rows;
}

void bind_tensor_metamethods(lua_State *L) {
    static const luaL_Reg meta[] = {
        { "__add", method_add }, { "__sub", method_sub }, { "__mul", method_mul }, { "__div", method_div },
        { "__pow", method_pow }, { "__unm", method_neg }, { NULL, NULL },
    };
    luaL_setfuncs(L, meta, 0);
}
