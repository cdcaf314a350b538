/* elementwise.c - operations on single elements. Rows take operands of one shape and dtype; the builders
 * broadcast and promote. */
#include "ops.h"

#include <math.h>
#include <string.h>

static node *unary(graph *g, const op_row *op, node *a, double x) {
    return a ? graph_op(g, op, 1, &a, 0, NULL, x) : NULL;
}

static bool is_value(const node *n, double x) {
    return n->op == &op_full && n->x == x;
}
/* A factor that may change places with anything linear: an infinite one would meet zeros. */
static bool is_scale(const node *n) {
    return n->op == &op_scale && isfinite(n->x);
}
/* 1/x is exact, so that dividing is multiplying */
static bool exact_inverse(double x) {
    int exponent;
    return isnormal(x) && isnormal(1 / x) && fabs(frexp(x, &exponent)) == 0.5;
}

/* All operands constant: the result is. */
static node *fold(graph *g, node *n) {
    if (n->dtype == BK_INT64) return NULL;
    double v[3] = { 0 }, out;
    for (int k = 0; k < n->n_in; k++) {
        if (n->in[k]->op != &op_full) return NULL;
        v[k] = n->in[k]->x;
    }
    vec_fn f = vec_get(n->op->vec, BK_FLOAT64);
    if (!f || !n->n_in) return NULL;
    f(1, &out, &v[0], &v[1], &v[2], n->x);
    return g_full(g, n->dtype, n->ndim, n->shape, out);
}

node *op_vmap_elementwise(graph *g, node *n, node *const *in, const bool *batched, int64_t size) {
    node *full[3];
    int64_t shape[BK_MAX_DIMS] = { size };
    for (int k = 0; k < n->n_in; k++) {
        full[k] = in[k];
        if (batched[k]) continue;
        if (in[k]->ndim >= BK_MAX_DIMS) return graph_fail(g, BK_EINVAL, "vmap: %s: too many dimensions", n->op->name);
        memcpy(shape + 1, in[k]->shape, sizeof *shape * (size_t)in[k]->ndim);
        full[k] = g_broadcast(g, in[k], in[k]->ndim + 1, shape);
    }
    return graph_again(g, n, full);
}

/* ---- linear rows ---- */

static node *add_simplify(graph *g, node *n) {
    node *a = n->in[0], *b = n->in[1];
    if (is_value(a, 0)) return b;
    if (is_value(b, 0)) return a;
    if (a->op == &op_full && b->op != &op_full) return g_offset(g, a->x, b);
    if (b->op == &op_full && a->op != &op_full) return g_offset(g, b->x, a);
    double x = is_scale(a) ? a->x : 1, y = is_scale(b) ? b->x : 1;
    node *p = is_scale(a) ? a->in[0] : a, *q = is_scale(b) ? b->in[0] : b;
    if (p == q && isfinite(x + y)) return g_scale(g, x + y, p);
    if (x == y && x != 1) return g_scale(g, x, g_add(g, p, q));
    node *joined = g_join_parts(g, a, b);
    if (joined || graph_failed(g)) return joined;
    if (a->id > b->id) return g_add(g, b, a);
    return fold(g, n);
}
static node *add_jvp(graph *g, node *n, int k, node *t) {
    (void)g, (void)n, (void)k;
    return t;
}
static node *add_transpose(graph *g, node *n, int k, node *ct) {
    (void)g, (void)n, (void)k;
    return ct;
}

static node *scale_simplify(graph *g, node *n) {
    node *a = n->in[0];
    if (n->x == 1) return a;
    if (n->x == 0) return g_zeros_like(g, a);
    if (a->op == &op_scale && isnormal(n->x * a->x)) return g_scale(g, n->x * a->x, a->in[0]);
    return fold(g, n);
}
static node *scale_jvp(graph *g, node *n, int k, node *t) {
    (void)k;
    return g_scale(g, n->x, t);
}

static node *offset_simplify(graph *g, node *n) {
    node *a = n->in[0];
    if (n->x == 0) return a;
    if (a->op == &op_offset) return g_offset(g, n->x + a->x, a->in[0]);
    return fold(g, n);
}

static node *mul_simplify(graph *g, node *n) {
    for (int k = 0; k < 2; k++) {
        node *a = n->in[k], *b = n->in[1 - k];
        if (is_value(a, 0)) return a;
        if (a->op == &op_full && b->op != &op_full) return g_scale(g, a->x, b);
        if (is_scale(a)) return g_scale(g, a->x, g_mul(g, a->in[0], b));
    }
    if (n->in[0]->id > n->in[1]->id) return g_mul(g, n->in[1], n->in[0]);
    if (n->in[0] == n->in[1]) return g_square(g, n->in[0]);
    return fold(g, n);
}
static node *mul_jvp(graph *g, node *n, int k, node *t) {
    return g_mul(g, t, n->in[1 - k]);
}

static node *div_simplify(graph *g, node *n) {
    node *a = n->in[0], *b = n->in[1], *f = fold(g, n);
    if (f) return f;
    if (b->op == &op_full && exact_inverse(b->x)) return g_scale(g, 1 / b->x, a);
    if (is_scale(a)) return g_scale(g, a->x, g_div(g, a->in[0], b));
    return is_scale(b) && exact_inverse(b->x) ? g_scale(g, 1 / b->x, g_div(g, a, b->in[0])) : NULL;
}
static node *div_jvp(graph *g, node *n, int k, node *t) {
    if (k == 0) return g_div(g, t, n->in[1]);
    return g_neg(g, g_mul(g, t, g_div(g, g_div(g, n->in[0], n->in[1]), n->in[1])));
}
static node *div_transpose(graph *g, node *n, int k, node *ct) {
    return k == 0 ? g_div(g, ct, n->in[1]) : op_no_transpose(g, n, k, ct);
}

static node *where_jvp(graph *g, node *n, int k, node *t) {
    node *zero = g_zeros_like(g, n);
    if (k == 0) return NULL;
    return k == 1 ? g_where(g, n->in[0], t, zero) : g_where(g, n->in[0], zero, t);
}
static node *where_simplify(graph *g, node *n) {
    if (n->in[1] == n->in[2]) return n->in[1];
    if (n->in[0]->op == &op_full) return n->in[n->in[0]->x != 0 ? 1 : 2];
    return fold(g, n);
}

static bk_status cast_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    (void)c, (void)scratch;
    vec_cast(n->count, n->dtype, out, n->in[0]->dtype, in[0]);
    return BK_OK;
}
static bool cast_shape(graph *g, node *n) {
    (void)g;
    n->dtype = (bk_dtype)n->ints[0];
    return true;
}
static node *cast_simplify(graph *g, node *n) {
    if (n->in[0]->op == &op_full && n->dtype != BK_INT64) return g_full(g, n->dtype, n->ndim, n->shape, n->in[0]->x);
    return NULL;
}
static node *cast_jvp(graph *g, node *n, int k, node *t) {
    (void)k;
    return g_cast(g, t, n->dtype);
}
static node *cast_transpose(graph *g, node *n, int k, node *ct) {
    return g_cast(g, ct, n->in[k]->dtype);
}

/* ---- derivatives of one variable: t f'(a), y = n ---- */
#define D(name, formula)                                                                                               \
    static node *name##_jvp(graph *g, node *n, int k, node *t) {                                                       \
        node *a = n->in[0], *y = n;                                                                                    \
        (void)g, (void)a, (void)y, (void)k;                                                                            \
        return formula;                                                                                                \
    }
D(exp, g_mul(g, t, y))
D(expm1, g_mul(g, t, g_offset(g, 1, y)))
D(log, g_div(g, t, a))
D(log1p, g_div(g, t, g_offset(g, 1, a)))
D(sqrt, g_scale(g, 0.5, g_div(g, t, y)))
D(recip, g_neg(g, g_mul(g, t, g_square(g, y))))
D(sin, g_mul(g, t, g_cos(g, a)))
D(cos, g_neg(g, g_mul(g, t, g_sin(g, a))))
D(tanh, g_mul(g, t, g_offset(g, 1, g_neg(g, g_square(g, y)))))
D(sigmoid, g_mul(g, t, g_mul(g, y, g_offset(g, 1, g_neg(g, y)))))
D(softplus, g_mul(g, t, g_sigmoid(g, a)))
D(erf, g_scale(g, 1.1283791670955125739, g_mul(g, t, g_exp(g, g_neg(g, g_square(g, a))))))
D(relu, g_mul(g, t, g_step(g, a)))
D(abs, g_mul(g, t, g_sign(g, a)))
D(square, g_scale(g, 2, g_mul(g, t, a)))
D(powx, g_scale(g, n->x, g_mul(g, t, g_powx(g, a, n->x - 1))))
D(offset, t)
static node *powx_simplify(graph *g, node *n) {
    if (n->x == 0) return g_full(g, n->dtype, n->ndim, n->shape, 1);
    if (n->x == 1) return n->in[0];
    if (n->x == 2) return g_square(g, n->in[0]);
    return fold(g, n);
}
static node *pow_simplify(graph *g, node *n) {
    node *f = fold(g, n);
    return f ? f : n->in[1]->op == &op_full ? g_powx(g, n->in[0], n->in[1]->x) : NULL;
}
static node *square_simplify(graph *g, node *n) {
    node *a = n->in[0];
    if (is_scale(a) && isnormal(a->x * a->x)) return g_scale(g, a->x * a->x, g_square(g, a->in[0]));
    return fold(g, n);
}
static node *pow_jvp(graph *g, node *n, int k, node *t) {
    node *a = n->in[0], *b = n->in[1];
    if (k == 0) return g_mul(g, t, g_mul(g, b, g_pow(g, a, g_offset(g, -1, b))));
    node *zero = g_zeros_like(g, a), *safe = g_where(g, g_gt(g, a, zero), a, g_full(g, a->dtype, a->ndim, a->shape, 1));
    return g_mul(g, t, g_mul(g, n, g_log(g, safe)));
}
/* Ties share the derivative in halves, so that both operands are treated alike. */
static node *extreme_jvp(graph *g, node *n, int k, node *t) {
    node *mine = g_eq(g, n->in[k], n), *other = g_eq(g, n->in[1 - k], n);
    return g_mul(g, t, g_mul(g, mine, g_offset(g, 1, g_scale(g, -0.5, other))));
}

#define EW(NAME, N, VEC, DOC)                                                                                          \
    .name = NAME, .arity = N, .kind = OP_ELEMENTWISE, .vec = VEC, .doc = DOC, .vmap = op_vmap_elementwise
#define NONLINEAR .transpose = op_no_transpose, .simplify = fold
#define FLAT .jvp = op_zero_jvp, .transpose = op_no_transpose, .simplify = fold

const op_row op_add = { EW("add", 2, VEC_ADD, "a + b"), .simplify = add_simplify, .jvp = add_jvp,
                        .transpose = add_transpose };
const op_row op_scale = { EW("scale", 1, VEC_SCALE, "x a"), .simplify = scale_simplify, .jvp = scale_jvp,
                          .transpose = scale_jvp };
const op_row op_offset = { EW("offset", 1, VEC_OFFSET, "x + a"), .simplify = offset_simplify, .jvp = offset_jvp,
                           .transpose = op_no_transpose };
const op_row op_mul = { EW("mul", 2, VEC_MUL, "a b"), .simplify = mul_simplify, .jvp = mul_jvp, .transpose = mul_jvp };
const op_row op_div = { EW("div", 2, VEC_DIV, "a / b"), .simplify = div_simplify, .jvp = div_jvp,
                        .transpose = div_transpose,     .sample_low = 0.5,        .sample_high = 2 };
const op_row op_pow = {
    EW("pow", 2, VEC_POW, "a^b"), .jvp = pow_jvp,    .transpose = op_no_transpose,
    .simplify = pow_simplify,     .sample_low = 0.5, .sample_high = 2,
};
const op_row op_max = { EW("maximum", 2, VEC_MAX,
                           "max(a, b); the derivative goes to the larger, to both in halves at a tie"),
                        .jvp = extreme_jvp, NONLINEAR };
const op_row op_min = { EW("minimum", 2, VEC_MIN,
                           "min(a, b); the derivative goes to the smaller, to both in halves at a tie"),
                        .jvp = extreme_jvp, NONLINEAR };
const op_row op_gt = { EW("gt", 2, VEC_GT, "1 where a > b, else 0"), FLAT };
const op_row op_ge = { EW("ge", 2, VEC_GE, "1 where a >= b, else 0"), FLAT };
const op_row op_eq = { EW("eq", 2, VEC_EQ, "1 where a = b, else 0"), FLAT };
const op_row op_where = { EW("where", 3, VEC_WHERE, "a where c is not 0, else b"), .simplify = where_simplify,
                          .jvp = where_jvp, .transpose = where_jvp };
const op_row op_exp = { EW("exp", 1, VEC_EXP, "e^a"), .jvp = exp_jvp, NONLINEAR };
const op_row op_expm1 = { EW("expm1", 1, VEC_EXPM1, "e^a - 1"), .jvp = expm1_jvp, NONLINEAR };
const op_row op_log = { EW("log", 1, VEC_LOG, "ln a"), .jvp = log_jvp, NONLINEAR, .sample_low = 0.5, .sample_high = 2 };
const op_row op_log1p = { EW("log1p", 1, VEC_LOG1P, "ln(1 + a)"), .jvp = log1p_jvp, NONLINEAR, .sample_low = -0.5,
                          .sample_high = 2 };
const op_row op_sqrt = { EW("sqrt", 1, VEC_SQRT, "a^(1/2)"), .jvp = sqrt_jvp, NONLINEAR, .sample_low = 0.5,
                         .sample_high = 2 };
const op_row op_recip = { EW("reciprocal", 1, VEC_RECIP, "1 / a"), .jvp = recip_jvp, NONLINEAR, .sample_low = 0.5,
                          .sample_high = 2 };
const op_row op_sin = { EW("sin", 1, VEC_SIN, "sin a"), .jvp = sin_jvp, NONLINEAR };
const op_row op_cos = { EW("cos", 1, VEC_COS, "cos a"), .jvp = cos_jvp, NONLINEAR };
const op_row op_tanh = { EW("tanh", 1, VEC_TANH, "tanh a; tanh' = 1 - tanh²"), .jvp = tanh_jvp, NONLINEAR };
const op_row op_sigmoid = { EW("sigmoid", 1, VEC_SIGMOID, "s = 1 / (1 + e^-a); s' = s (1 - s)"), .jvp = sigmoid_jvp,
                            NONLINEAR };
const op_row op_softplus = { EW("softplus", 1, VEC_SOFTPLUS, "ln(1 + e^a); its derivative is sigmoid"),
                             .jvp = softplus_jvp, NONLINEAR };
const op_row op_erf = { EW("erf", 1, VEC_ERF, "2/sqrt(pi) int_0^a e^(-t²) dt"), .jvp = erf_jvp, NONLINEAR };
const op_row op_relu = { EW("relu", 1, VEC_RELU, "max(a, 0); derivative 0 at 0"), .jvp = relu_jvp, NONLINEAR,
                         .sample_low = 0.2, .sample_high = 1.5 };
const op_row op_step = { EW("step", 1, VEC_STEP, "1 where a > 0, else 0"), FLAT };
const op_row op_abs = { EW("abs", 1, VEC_ABS, "|a|; derivative 0 at 0"), .jvp = abs_jvp, NONLINEAR, .sample_low = 0.2,
                        .sample_high = 1.5 };
const op_row op_sign = { EW("sign", 1, VEC_SIGN, "-1, 0 or 1"), FLAT };
const op_row op_floor = { EW("floor", 1, VEC_FLOOR, "the largest integer not above a"), FLAT };
const op_row op_square = {
    EW("square", 1, VEC_SQUARE, "a²"),
    .jvp = square_jvp,
    .transpose = op_no_transpose,
    .simplify = square_simplify,
};
const op_row op_powx = { EW("powx", 1, VEC_POWX, "a^x, x a constant"),
                         .simplify = powx_simplify,
                         .jvp = powx_jvp,
                         .transpose = op_no_transpose,
                         .sample_low = 0.5,
                         .sample_high = 2 };
const op_row op_stop = { EW("stop_gradient", 1, VEC_COPY, "a, with no derivative"), .jvp = op_zero_jvp,
                         .transpose = op_no_transpose };
const op_row op_cast = {
    .name = "cast",
    .arity = 1,
    .kind = OP_KERNEL,
    .doc = "a in another dtype",
    .shape = cast_shape,
    .run = cast_run,
    .simplify = cast_simplify,
    .jvp = cast_jvp,
    .transpose = cast_transpose,
    .vmap = op_vmap_elementwise,
};

/* ---- builders ---- */

static node *pair(graph *g, const op_row *op, node *a, node *b) {
    if (!a || !b) return NULL;
    int nd = a->ndim > b->ndim ? a->ndim : b->ndim;
    int64_t shape[BK_MAX_DIMS];
    for (int i = 0; i < nd; i++) {
        int ia = i - (nd - a->ndim), ib = i - (nd - b->ndim);
        int64_t x = ia < 0 ? 1 : a->shape[ia], y = ib < 0 ? 1 : b->shape[ib];
        if (x != y && x != 1 && y != 1) {
            shape_buf sa, sb;
            return graph_fail(g, BK_EINVAL, "%s: shapes do not broadcast: %s and %s", op->name,
                              shape_text(a->ndim, a->shape, &sa), shape_text(b->ndim, b->shape, &sb));
        }
        shape[i] = x == 1 ? y : x;
    }
    bk_dtype to = a->dtype == b->dtype                               ? a->dtype
                  : a->dtype == BK_FLOAT64 || b->dtype == BK_FLOAT64 ? BK_FLOAT64
                                                                     : BK_FLOAT32;
    if (to == BK_INT64 && (op == &op_div || op == &op_pow)) to = BK_FLOAT64;
    node *in[2] = { g_broadcast(g, g_cast(g, a, to), nd, shape), g_broadcast(g, g_cast(g, b, to), nd, shape) };
    return in[0] && in[1] ? graph_op(g, op, 2, in, 0, NULL, 0) : NULL;
}

/* Functions of the reals take integers as float64. */
static node *real(graph *g, const op_row *op, node *a, double x) {
    return a && a->dtype == BK_INT64 ? unary(g, op, g_cast(g, a, BK_FLOAT64), x) : unary(g, op, a, x);
}
static bool whole(double x) {
    return x == (double)(int64_t)x && x > -1e15 && x < 1e15;
}

node *g_add(graph *g, node *a, node *b) {
    return pair(g, &op_add, a, b);
}
node *g_sub(graph *g, node *a, node *b) {
    return g_add(g, a, g_neg(g, b));
}
node *g_mul(graph *g, node *a, node *b) {
    return pair(g, &op_mul, a, b);
}
node *g_div(graph *g, node *a, node *b) {
    return pair(g, &op_div, a, b);
}
node *g_pow(graph *g, node *a, node *b) {
    return pair(g, &op_pow, a, b);
}
node *g_max(graph *g, node *a, node *b) {
    return pair(g, &op_max, a, b);
}
node *g_min(graph *g, node *a, node *b) {
    return pair(g, &op_min, a, b);
}
node *g_gt(graph *g, node *a, node *b) {
    return pair(g, &op_gt, a, b);
}
node *g_ge(graph *g, node *a, node *b) {
    return pair(g, &op_ge, a, b);
}
node *g_eq(graph *g, node *a, node *b) {
    return pair(g, &op_eq, a, b);
}

node *g_where(graph *g, node *cond, node *a, node *b) {
    if (!cond || !a || !b) return NULL;
    node *sum = g_add(g, a, b), *all = g_add(g, sum, cond); /* for the shape and dtype they share */
    if (!all) return NULL;
    bk_dtype to = sum->dtype;
    node *in[3] = { g_broadcast(g, g_cast(g, cond, to), all->ndim, all->shape),
                    g_broadcast(g, g_cast(g, a, to), all->ndim, all->shape),
                    g_broadcast(g, g_cast(g, b, to), all->ndim, all->shape) };
    return in[0] && in[1] && in[2] ? graph_op(g, &op_where, 3, in, 0, NULL, 0) : NULL;
}

node *g_scale(graph *g, double x, node *a) {
    return a && a->dtype == BK_INT64 && !whole(x) ? real(g, &op_scale, a, x) : unary(g, &op_scale, a, x);
}
node *g_offset(graph *g, double x, node *a) {
    return a && a->dtype == BK_INT64 && !whole(x) ? real(g, &op_offset, a, x) : unary(g, &op_offset, a, x);
}
node *g_powx(graph *g, node *a, double x) {
    return real(g, &op_powx, a, x);
}
node *g_neg(graph *g, node *a) {
    return g_scale(g, -1, a);
}
#define BUILD(name)                                                                                                    \
    node *g_##name(graph *g, node *a) {                                                                                \
        return real(g, &op_##name, a, 0);                                                                              \
    }
#define BUILD_ANY(name)                                                                                                \
    node *g_##name(graph *g, node *a) {                                                                                \
        return unary(g, &op_##name, a, 0);                                                                             \
    }
BUILD(exp)
BUILD(expm1) BUILD(log) BUILD(log1p) BUILD(sqrt) BUILD(recip) BUILD(sin) BUILD(cos) BUILD(tanh) BUILD(sigmoid)
    BUILD(softplus) BUILD(erf) BUILD(floor) BUILD_ANY(relu) BUILD_ANY(step) BUILD_ANY(abs) BUILD_ANY(sign)
        BUILD_ANY(square) BUILD_ANY(stop)

            node *g_gelu(graph *g, node *a) {
    node *half = g_scale(g, 0.5, g_offset(g, 1, g_erf(g, g_scale(g, 0.70710678118654752440, a))));
    return g_mul(g, a, half);
}

node *g_cast(graph *g, node *a, bk_dtype dtype) {
    if (!a || a->dtype == dtype) return a;
    int64_t to = dtype;
    return graph_op(g, &op_cast, 1, &a, 1, &to, 0);
}
