/* transcendental.c - exponential, logarithm, hyperbolic and circular functions, and what is made of them. */
#include "op.h"

JVP(exp, g_mul(g, t, y))
OP_UNARY(exp)
const op_row op_exp = {
    ELEMENTWISE(exp, 1, VEC_EXP),
    PUBLIC(exp),
    NONLINEAR(exp),
    .real = true,
    .doc = "e^a",
    .help = "t:exp(), bk.exp(t) -> tensor\nElementwise e^a; int64 is taken as float64.",
};

JVP(expm1, g_mul(g, t, g_offset(g, 1, y)))
OP_UNARY(expm1)
const op_row op_expm1 = {
    ELEMENTWISE(expm1, 1, VEC_EXPM1),
    PUBLIC(expm1),
    NONLINEAR(expm1),
    .real = true,
    .doc = "e^a - 1",
    .help = "t:expm1() -> tensor\nElementwise e^a - 1, accurate near 0.",
};

JVP(log, g_div(g, t, a))
OP_UNARY(log)
const op_row op_log = {
    ELEMENTWISE(log, 1, VEC_LOG),
    PUBLIC(log),
    NONLINEAR(log),
    .real = true,
    .doc = "ln a",
    .help = "t:log() -> tensor\nElementwise natural logarithm; NaN below 0, -inf at 0.",
    .sample_low = 0.5,
    .sample_high = 2,
};

JVP(log1p, g_div(g, t, g_offset(g, 1, a)))
OP_UNARY(log1p)
const op_row op_log1p = {
    ELEMENTWISE(log1p, 1, VEC_LOG1P),
    PUBLIC(log1p),
    NONLINEAR(log1p),
    .real = true,
    .doc = "ln(1 + a)",
    .help = "t:log1p() -> tensor\nElementwise ln(1 + a), accurate near 0.",
    .sample_low = -0.5,
    .sample_high = 2,
};

JVP(sin, g_mul(g, t, g_cos(g, a)))
OP_UNARY(sin)
const op_row op_sin = {
    ELEMENTWISE(sin, 1, VEC_SIN),
    PUBLIC(sin),
    NONLINEAR(sin),
    .real = true,
    .doc = "sin a",
    .help = "t:sin() -> tensor\nElementwise sine, of radians.",
};

JVP(cos, g_neg(g, g_mul(g, t, g_sin(g, a))))
OP_UNARY(cos)
const op_row op_cos = {
    ELEMENTWISE(cos, 1, VEC_COS),
    PUBLIC(cos),
    NONLINEAR(cos),
    .real = true,
    .doc = "cos a",
    .help = "t:cos() -> tensor\nElementwise cosine, of radians.",
};

JVP(tanh, g_mul(g, t, g_offset(g, 1, g_neg(g, g_square(g, y)))))
OP_UNARY(tanh)
const op_row op_tanh = {
    ELEMENTWISE(tanh, 1, VEC_TANH),
    PUBLIC(tanh),
    NONLINEAR(tanh),
    .real = true,
    .doc = "tanh a; tanh' = 1 - tanh²",
    .help = "t:tanh(), bk.tanh(t) -> tensor\nElementwise hyperbolic tangent; its derivative is 1 - tanh(a)^2.",
};

JVP(sigmoid, g_mul(g, t, g_mul(g, y, g_offset(g, 1, g_neg(g, y)))))
OP_UNARY(sigmoid)
const op_row op_sigmoid = {
    ELEMENTWISE(sigmoid, 1, VEC_SIGMOID),
    PUBLIC(sigmoid),
    NONLINEAR(sigmoid),
    .real = true,
    .doc = "s = 1 / (1 + e^-a); s' = s (1 - s)",
    .help = "t:sigmoid() -> tensor\nElementwise s = 1 / (1 + e^-a); its derivative is s (1 - s).",
};

JVP(softplus, g_mul(g, t, g_sigmoid(g, a)))
OP_UNARY(softplus)
const op_row op_softplus = {
    ELEMENTWISE(softplus, 1, VEC_SOFTPLUS),
    PUBLIC(softplus),
    NONLINEAR(softplus),
    .real = true,
    .doc = "ln(1 + e^a); its derivative is sigmoid",
    .help = "t:softplus() -> tensor\nElementwise ln(1 + e^a), without overflow; its derivative is sigmoid(a).",
};

JVP(erf, g_scale(g, 1.1283791670955125739, g_mul(g, t, g_exp(g, g_neg(g, g_square(g, a))))))
OP_UNARY(erf)
const op_row op_erf = {
    ELEMENTWISE(erf, 1, VEC_ERF),
    PUBLIC(erf),
    NONLINEAR(erf),
    .real = true,
    .doc = "2/sqrt(pi) int_0^a e^(-t²) dt",
    .help = "t:erf() -> tensor\nElementwise error function, 2/sqrt(pi) times the integral of e^-s^2 from 0 to a.",
};

node *g_gelu(graph *g, node *a) { /* a Phi(a), exact */
    node *half = g_scale(g, 0.5, g_offset(g, 1, g_erf(g, g_scale(g, 0.70710678118654752440, a))));
    return g_mul(g, a, half);
}
static node *gelu_build(graph *g, node *const *in) {
    return g_gelu(g, in[0] && in[0]->dtype == BK_INT64 ? g_cast(g, in[0], BK_FLOAT64) : in[0]);
}
const op_row op_gelu = {
    COMPOSITE(gelu, 1),
    .doc = "a Phi(a)",
    .help = "t:gelu() -> tensor\n"
            "Elementwise a Phi(a), Phi the normal distribution function: exact, no tanh approximation.\n\n"
            "Source: Hendrycks & Gimpel 2016.",
};
