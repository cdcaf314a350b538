/* functions.c - functions of one variable: each is declared here, and has its kernel in tensor/kernels unless it is
 * made of others. A row says what it computes, its derivative, and where its test may look. */
#include "ops.h"

/* clang-format off */

#define POSITIVE .sample_low = 0.5, .sample_high = 2

OP_UNARY(exp, g_mul(g, t, y),
    .formula = "e^t",
    .doc = "Elementwise e^x. int64 is taken as float64, here and in all functions of the reals.")

OP_UNARY(expm1, g_mul(g, t, g_exp(g, a)),
    .formula = "e^t - 1",
    .doc = "Elementwise e^x - 1, accurate near 0.")

OP_UNARY(log, g_div(g, t, a),
    .formula = "ln t", POSITIVE,
    .doc = "Elementwise natural logarithm; NaN below 0, -inf at 0.")

OP_UNARY(log1p, g_div(g, t, g_offset(g, 1, a)),
    .formula = "ln(1 + t)", .sample_low = -0.5, .sample_high = 2,
    .doc = "Elementwise log(1 + x), accurate near 0.")

OP_UNARY(sqrt, g_scale(g, 0.5, g_div(g, t, y)),
    .formula = "t^(1/2)", POSITIVE,
    .doc = "Elementwise square root; its derivative is infinite at 0.")

OP_UNARY(reciprocal, g_neg(g, g_mul(g, t, g_square(g, y))),
    .formula = "1 / t", POSITIVE,
    .doc = "Elementwise 1 / x.")

OP_UNARY(sin, g_mul(g, t, g_cos(g, a)),
    .formula = "sin t",
    .doc = "Elementwise sine, x in radians.")

OP_UNARY(cos, g_neg(g, g_mul(g, t, g_sin(g, a))),
    .formula = "cos t",
    .doc = "Elementwise cosine, x in radians.")

OP_UNARY(tanh, g_mul(g, t, g_offset(g, 1, g_neg(g, g_square(g, y)))),
    .formula = "tanh t",
    .doc = "Elementwise hyperbolic tangent; derivative 1 - tanh(x)^2, formed from the value: 0 where that is 1 to "
           "the last bit.")

OP_UNARY(sigmoid, g_mul(g, t, g_mul(g, y, g_offset(g, 1, g_neg(g, y)))),
    .formula = "1 / (1 + e^-t)",
    .doc = "Elementwise 1 / (1 + e^-x); derivative y (1 - y), formed from the value y: 0 where that is 1 to the last "
           "bit. For losses there is bk.log_sigmoid.")

OP_UNARY(softplus, g_mul(g, t, g_sigmoid(g, a)),
    .formula = "ln(1 + e^t)",
    .doc = "Elementwise log(1 + e^x), without overflow; derivative sigmoid(x).")

OP_COMPOSED(log_sigmoid, g_neg(g, g_softplus(g, g_neg(g, a))),
    .formula = "-ln(1 + e^-t)",
    .doc = "Elementwise log of 1 / (1 + e^-x), in both tails: bk.log of bk.sigmoid would be -inf below -745.")

OP_UNARY(erf, g_scale(g, 1.1283791670955125739, g_mul(g, t, g_exp(g, g_neg(g, g_square(g, a))))),
    .formula = "2/sqrt(pi) integral of e^(-s^2) from 0 to t",
    .doc = "Elementwise error function.")

OP_UNARY(erfc, g_scale(g, -1.1283791670955125739, g_mul(g, t, g_exp(g, g_neg(g, g_square(g, a))))),
    .formula = "1 - erf t",
    .doc = "Elementwise 1 - erf(x), which keeps its digits where erf(x) is near 1: the normal distribution function is "
           "erfc(-x/sqrt(2)) / 2.")

/* The derivatives of gelu are operations of their own, so that each is one array where passes share it; compile/lower.c
 * makes what they have in common once. */
OP_UNARY(gelu, g_mul(g, t, g_gelu_slope(g, a)),
    .formula = "t Phi(t), Phi the normal distribution function",
    .doc = "Elementwise x Phi(x) with the normal distribution function Phi, exact; in both tails too.\n\n"
           "Source: Hendrycks & Gimpel 2016.")

#define DERIVATIVE(NAME, FORMULA)                                                                                      \
    .name = #NAME, .arity = 1, .kind = OP_ELEMENTWISE, .vec = VEC_OF_##NAME, .serves = "gelu", .formula = FORMULA,     \
    .simplify = op_fold, .jvp = NAME##_jvp, .transpose = op_no_transpose, .vmap = op_vmap_elementwise

static node *gelu_slope_jvp(graph *g, node *n, int k, node *t) {
    (void)k;
    return g_mul(g, t, g_gelu_curve(g, n->in[0]));
}
node *g_gelu_slope(graph *g, node *a) {
    return op_unary(g, &op_gelu_slope, a, 0);
}
const op_row op_gelu_slope = { DERIVATIVE(gelu_slope, "Phi(t) + t Phi'(t)") };

static node *gelu_curve_jvp(graph *g, node *n, int k, node *t) { /* (t^3 - 4 t) Phi' */
    (void)k;
    node *a = n->in[0], *square = g_square(g, a);
    node *density = g_scale(g, 0.39894228040143267794, g_exp(g, g_scale(g, -0.5, square)));
    return g_mul(g, t, g_mul(g, g_mul(g, a, g_offset(g, -4, square)), density));
}
node *g_gelu_curve(graph *g, node *a) {
    return op_unary(g, &op_gelu_curve, a, 0);
}
const op_row op_gelu_curve = { DERIVATIVE(gelu_curve, "(2 - t^2) Phi'(t)") };
