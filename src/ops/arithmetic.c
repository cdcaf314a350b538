/* arithmetic.c - sums, products, quotients, powers and what else is exact to one rounding an element. */
#include "op.h"

#include <math.h>

/* 1/x is exact, so that dividing is multiplying */
static bool exact_inverse(double x) {
    int exponent;
    return isnormal(x) && isnormal(1 / x) && fabs(frexp(x, &exponent)) == 0.5;
}

/* ---- sums ---- */

static node *add_simplify(graph *g, node *n) {
    node *a = n->in[0], *b = n->in[1];
    if (op_is_value(a, 0)) return b;
    if (op_is_value(b, 0)) return a;
    if (a->op == &op_full && b->op != &op_full) return g_offset(g, a->x, b);
    if (b->op == &op_full && a->op != &op_full) return g_offset(g, b->x, a);
    double x = op_is_scale(a) ? a->x : 1, y = op_is_scale(b) ? b->x : 1;
    node *p = op_is_scale(a) ? a->in[0] : a, *q = op_is_scale(b) ? b->in[0] : b;
    if (p == q && isfinite(x + y)) return g_scale(g, x + y, p);
    if (x == y && x != 1) return g_scale(g, x, g_add(g, p, q));
    node *joined = g_join_parts(g, a, b);
    if (joined || graph_failed(g)) return joined;
    if (a->id > b->id) return g_add(g, b, a);
    return op_fold(g, n);
}
static node *add_transpose(graph *g, node *n, int k, node *ct) {
    (void)g, (void)n, (void)k;
    return ct;
}
JVP(add, t)
OP_BINARY(add)
const op_row op_add = {
    ELEMENTWISE(add, 2, VEC_ADD),
    PUBLIC(add),
    .metamethod = "__add",
    .doc = "a + b",
    .help = "t:add(u), t + u -> tensor\n"
            "Elementwise sum of a tensor and a tensor or number.\n\n"
            "Shapes broadcast by NumPy's rules; dtypes promote int64 -> float32 -> float64; a number takes the tensor's "
            "dtype, but a fraction beside int64 makes float64.\n\n"
            "Errors: when the shapes do not broadcast.",
    .simplify = add_simplify,
    .jvp = add_jvp,
    .transpose = add_transpose,
};

node *g_sub(graph *g, node *a, node *b) {
    return g_add(g, a, g_neg(g, b));
}
static node *sub_build(graph *g, node *const *in) {
    return g_sub(g, in[0], in[1]);
}
const op_row op_sub = {
    COMPOSITE(sub, 2),
    .metamethod = "__sub",
    .doc = "a - b",
    .help = "t:sub(u), t - u -> tensor\nElementwise difference; broadcasts as t:add.",
};

static node *offset_simplify(graph *g, node *n) {
    node *a = n->in[0];
    if (n->x == 0) return a;
    if (a->op == &op_offset) return g_offset(g, n->x + a->x, a->in[0]);
    return op_fold(g, n);
}
JVP(offset, t)
node *g_offset(graph *g, double x, node *a) { /* x + a */
    if (a && a->dtype == BK_INT64 && !op_is_whole(x)) a = g_cast(g, a, BK_FLOAT64);
    return op_unary(g, &op_offset, a, x);
}
const op_row op_offset = {
    ELEMENTWISE(offset, 1, VEC_OFFSET),
    .doc = "x + a",
    .simplify = offset_simplify,
    .jvp = offset_jvp,
    .transpose = op_no_transpose,
    .sample_x = 0.6,
};

/* ---- products ---- */

static node *scale_simplify(graph *g, node *n) {
    node *a = n->in[0];
    if (n->x == 1) return a;
    if (n->x == 0) return g_zeros_like(g, a);
    if (a->op == &op_scale && isnormal(n->x * a->x)) return g_scale(g, n->x * a->x, a->in[0]);
    return op_fold(g, n);
}
JVP(scale, g_scale(g, n->x, t))
node *g_scale(graph *g, double x, node *a) { /* x a */
    if (a && a->dtype == BK_INT64 && !op_is_whole(x)) a = g_cast(g, a, BK_FLOAT64);
    return op_unary(g, &op_scale, a, x);
}
const op_row op_scale = {
    ELEMENTWISE(scale, 1, VEC_SCALE),
    .doc = "x a",
    .simplify = scale_simplify,
    .jvp = scale_jvp,
    .transpose = scale_jvp,
    .sample_x = 1.7,
};

node *g_neg(graph *g, node *a) {
    return g_scale(g, -1, a);
}
static node *neg_build(graph *g, node *const *in) {
    return g_neg(g, in[0]);
}
const op_row op_neg = {
    COMPOSITE(neg, 1),
    .metamethod = "__unm",
    .doc = "-a",
    .help = "t:neg(), -t -> tensor\nElementwise -a.",
};

static node *mul_simplify(graph *g, node *n) {
    for (int k = 0; k < 2; k++) {
        node *a = n->in[k], *b = n->in[1 - k];
        if (op_is_value(a, 0)) return a;
        if (a->op == &op_full && b->op != &op_full) return g_scale(g, a->x, b);
        if (op_is_scale(a)) return g_scale(g, a->x, g_mul(g, a->in[0], b));
    }
    if (n->in[0]->id > n->in[1]->id) return g_mul(g, n->in[1], n->in[0]);
    if (n->in[0] == n->in[1]) return g_square(g, n->in[0]);
    return op_fold(g, n);
}
JVP(mul, g_mul(g, t, n->in[1 - k]))
OP_BINARY(mul)
const op_row op_mul = {
    ELEMENTWISE(mul, 2, VEC_MUL),
    PUBLIC(mul),
    .metamethod = "__mul",
    .doc = "a b",
    .help = "t:mul(u), t * u -> tensor\n"
            "Elementwise product; broadcasts as t:add. The matrix product is t:matmul(u).",
    .simplify = mul_simplify,
    .jvp = mul_jvp,
    .transpose = mul_jvp,
};

static node *square_simplify(graph *g, node *n) {
    node *a = n->in[0];
    if (op_is_scale(a) && isnormal(a->x * a->x)) return g_scale(g, a->x * a->x, g_square(g, a->in[0]));
    return op_fold(g, n);
}
JVP(square, g_scale(g, 2, g_mul(g, t, a)))
OP_UNARY(square)
const op_row op_square = {
    ELEMENTWISE(square, 1, VEC_SQUARE),
    PUBLIC(square),
    .doc = "a²",
    .help = "t:square() -> tensor\nElementwise a^2.",
    .simplify = square_simplify,
    .jvp = square_jvp,
    .transpose = op_no_transpose,
};

/* ---- quotients ---- */

static node *div_simplify(graph *g, node *n) {
    node *a = n->in[0], *b = n->in[1], *f = op_fold(g, n);
    if (f) return f;
    if (op_is_value(a, 1)) return g_reciprocal(g, b);
    if (b->op == &op_full && exact_inverse(b->x)) return g_scale(g, 1 / b->x, a);
    if (op_is_scale(a)) return g_scale(g, a->x, g_div(g, a->in[0], b));
    return op_is_scale(b) && exact_inverse(b->x) ? g_scale(g, 1 / b->x, g_div(g, a, b->in[0])) : NULL;
}
static node *div_jvp(graph *g, node *n, int k, node *t) {
    if (k == 0) return g_div(g, t, n->in[1]);
    return g_neg(g, g_mul(g, t, g_div(g, g_div(g, n->in[0], n->in[1]), n->in[1])));
}
static node *div_transpose(graph *g, node *n, int k, node *ct) {
    return k == 0 ? g_div(g, ct, n->in[1]) : op_no_transpose(g, n, k, ct);
}
OP_BINARY(div)
const op_row op_div = {
    ELEMENTWISE(div, 2, VEC_DIV),
    PUBLIC(div),
    .metamethod = "__div",
    .real = true,
    .doc = "a / b",
    .help = "t:div(u), t / u -> tensor\nElementwise quotient, never whole-number division; broadcasts as t:add.",
    .simplify = div_simplify,
    .jvp = div_jvp,
    .transpose = div_transpose,
    .sample_low = 0.5,
    .sample_high = 2,
};

JVP(reciprocal, g_neg(g, g_mul(g, t, g_square(g, y))))
OP_UNARY(reciprocal)
const op_row op_reciprocal = {
    ELEMENTWISE(reciprocal, 1, VEC_RECIPROCAL),
    PUBLIC(reciprocal),
    NONLINEAR(reciprocal),
    .real = true,
    .doc = "1 / a",
    .help = "t:reciprocal() -> tensor\nElementwise 1 / a.",
    .sample_low = 0.5,
    .sample_high = 2,
};

/* ---- powers ---- */

static node *pow_simplify(graph *g, node *n) {
    node *f = op_fold(g, n);
    return f ? f : n->in[1]->op == &op_full ? g_powx(g, n->in[0], n->in[1]->x) : NULL;
}
static node *pow_jvp(graph *g, node *n, int k, node *t) {
    node *a = n->in[0], *b = n->in[1];
    if (k == 0) return g_mul(g, t, g_mul(g, b, g_pow(g, a, g_offset(g, -1, b))));
    node *zero = g_zeros_like(g, a), *safe = g_where(g, g_gt(g, a, zero), a, g_full(g, a->dtype, a->ndim, a->shape, 1));
    return g_mul(g, t, g_mul(g, n, g_log(g, safe)));
}
node *g_pow(graph *g, node *a, node *b) {
    if (a && b && op_is_value(b, 2)) return g_square(g, a); /* which int64 has too */
    return op_binary(g, &op_pow, a, b);
}
static node *pow_build(graph *g, node *const *in) {
    return g_pow(g, in[0], in[1]);
}
const op_row op_pow = {
    ELEMENTWISE(pow, 2, VEC_POW),
    PUBLIC(pow),
    .metamethod = "__pow",
    .real = true,
    .doc = "a^b",
    .help = "t:pow(u), t ^ u -> tensor\nElementwise power; broadcasts as t:add. int64 is taken as float64, but for t ^ 2.",
    .simplify = pow_simplify,
    .jvp = pow_jvp,
    .transpose = op_no_transpose,
    .sample_low = 0.5,
    .sample_high = 2,
};

static node *powx_simplify(graph *g, node *n) {
    if (n->x == 0) return g_full(g, n->dtype, n->ndim, n->shape, 1);
    if (n->x == 1) return n->in[0];
    if (n->x == 2) return g_square(g, n->in[0]);
    return op_fold(g, n);
}
JVP(powx, g_scale(g, n->x, g_mul(g, t, g_powx(g, a, n->x - 1))))
node *g_powx(graph *g, node *a, double x) { /* a^x */
    return op_unary(g, &op_powx, a, x);
}
const op_row op_powx = {
    ELEMENTWISE(powx, 1, VEC_POWX),
    .real = true,
    .doc = "a^x, x a constant",
    .simplify = powx_simplify,
    .jvp = powx_jvp,
    .transpose = op_no_transpose,
    .sample_low = 0.5,
    .sample_high = 2,
    .sample_x = 2.5,
};

JVP(sqrt, g_scale(g, 0.5, g_div(g, t, y)))
OP_UNARY(sqrt)
const op_row op_sqrt = {
    ELEMENTWISE(sqrt, 1, VEC_SQRT),
    PUBLIC(sqrt),
    NONLINEAR(sqrt),
    .real = true,
    .doc = "a^(1/2)",
    .help = "t:sqrt() -> tensor\nElementwise square root; its derivative is infinite at 0.",
    .sample_low = 0.5,
    .sample_high = 2,
};

/* ---- parts of a number ---- */

JVP(abs, g_mul(g, t, g_sign(g, a)))
OP_UNARY(abs)
const op_row op_abs = {
    ELEMENTWISE(abs, 1, VEC_ABS),
    PUBLIC(abs),
    NONLINEAR(abs),
    .doc = "|a|; derivative 0 at 0",
    .help = "t:abs() -> tensor\nElementwise absolute value; its derivative is sign(a), 0 at 0.",
    .n_kinks = 1,
};

OP_UNARY(sign)
const op_row op_sign = {
    ELEMENTWISE(sign, 1, VEC_SIGN),
    PUBLIC(sign),
    FLAT,
    .doc = "-1, 0 or 1",
    .help = "t:sign() -> tensor\nElementwise -1, 0 or 1; its derivative is 0.",
    .n_kinks = 1,
};

node *g_floor(graph *g, node *a) {
    return a && a->dtype == BK_INT64 ? a : op_unary(g, &op_floor, a, 0);
}
static node *floor_build(graph *g, node *const *in) {
    return g_floor(g, in[0]);
}
const op_row op_floor = {
    ELEMENTWISE(floor, 1, VEC_FLOOR),
    PUBLIC(floor),
    FLAT,
    .doc = "the largest integer not above a",
    .help = "t:floor() -> tensor\nElementwise largest whole number <= a; its derivative is 0.",
    .kink_whole = true,
};
