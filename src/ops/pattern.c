/* pattern.c - combinations of elementwise operations that have one kernel. Nobody builds them: compile/lower.c puts
 * them in place of what they stand for after every transform, so they have no derivatives. Each rounds as its parts do;
 * relu_mask alone is plain 0 where the product with a mask would be -0, or NaN for an infinite b. */
#include "ops.h"

/* clang-format off */

#define PATTERN(NAME, N, FORMULA)                                                                                      \
    .name = #NAME, .arity = N, .kind = OP_ELEMENTWISE, .vec = VEC_OF_##NAME, .dtypes = OP_ANY, .formula = FORMULA,     \
    .jvp = op_no_jvp, .transpose = op_no_transpose, .vmap = op_vmap_elementwise, .sample = &by_x

static const op_sample by_x = { .x = 1.7 };

const op_row op_axpy = { PATTERN(axpy, 2, "x a + b") };
const op_row op_muladd = { PATTERN(muladd, 3, "a b + c") };
const op_row op_mulscale = { PATTERN(mulscale, 2, "x (a b)") };
const op_row op_average = { PATTERN(average, 2, "x a + (1 - x) b") };
const op_row op_average_square = { PATTERN(average_square, 2, "x a + (1 - x) b^2") };
const op_row op_sqrt_affine = { PATTERN(sqrt_affine, 2, "sqrt(a) b + x") };
const op_row op_muldiv = { PATTERN(muldiv, 3, "a b / c") };
const op_row op_square_rsub = { PATTERN(square_rsub, 1, "x - a^2") };
const op_row op_mul3 = { PATTERN(mul3, 3, "x (a (b c))") };
const op_row op_tanh_sum = { PATTERN(tanh_sum, 2, "tanh(a + b)") };
const op_row op_relu_sum = { PATTERN(relu_sum, 2, "max(a + b, 0)") };
const op_row op_tanh_grad = { PATTERN(tanh_grad, 2, "b (1 - a^2), a = tanh") };
const op_row op_tanh_grad_sum = { PATTERN(tanh_grad_sum, 3, "(b + c) (1 - a^2), a = tanh") };
const op_row op_tanh_grad_add = { PATTERN(tanh_grad_add, 3, "x b (1 - a^2) + c, a = tanh") };
const op_row op_sigmoid_grad = { PATTERN(sigmoid_grad, 2, "b (a (1 - a)), a = sigmoid") };
const op_row op_gauss = { PATTERN(gauss, 1, "e^(-a^2/2)") };
const op_row op_gauss_cdf = { PATTERN(gauss_cdf, 2, "Phi(a), b = e^(-a^2/2)") };
const op_row op_gelu_slope_of = { PATTERN(gelu_slope_of, 3, "c + a b/sqrt(2 pi)") };
const op_row op_relu_mask = { PATTERN(relu_mask, 2, "b where a > 0, else 0") };
