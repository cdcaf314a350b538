/* elementwise.c - arithmetic, comparison, choice and conversion of single elements, and what all rows of elementwise
 * operations share. Nodes take operands of one shape and dtype; the builders broadcast and promote. */
#include "ops.h"

#include <float.h>
#include <math.h>
#include <string.h>

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
node *op_fold(graph *g, node *n) {
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
        if (in[k]->ndim >= BK_MAX_DIMS) return graph_fail(g, BK_EINVAL, "bk.vmap: bk.%s: too many dimensions",
                                                          op_title(n->op));
        memcpy(shape + 1, in[k]->shape, sizeof *shape * (size_t)in[k]->ndim);
        full[k] = g_broadcast(g, in[k], in[k]->ndim + 1, shape);
    }
    return graph_again(g, n, full);
}

/* ---- what builders share ---- */

node *op_operand(graph *g, const op_row *op, node *a) {
    return a && a->dtype == BK_INT64 && op->dtypes == OP_REALS ? g_cast(g, a, BK_FLOAT64) : a;
}

static bool is_number(const node *n) {
    return n->op == &op_full && n->ndim == 0;
}

/* What is made of weak numbers, and of constant ones beside them, is weak. */
static node *weakened(node *n, bool weak) {
    if (n && weak && n->ndim == 0 && !is_number(n)) n->weak = true;
    return n;
}

node *op_unary(graph *g, const op_row *op, node *a, double x) {
    a = op_operand(g, op, a);
    return a ? weakened(graph_op(g, op, 1, &a, 0, NULL, x), a->weak) : NULL;
}

/* A weak number beside a floating tensor that is none. */
static bool yields(const node *weak, const node *to) {
    return weak->weak && !to->weak && to->dtype != BK_INT64 && !is_number(to);
}

node *op_binary(graph *g, const op_row *op, node *a, node *b) {
    if (!a || !b) return NULL;
    int nd = a->ndim > b->ndim ? a->ndim : b->ndim;
    int64_t shape[BK_MAX_DIMS];
    for (int i = 0; i < nd; i++) {
        int ia = i - (nd - a->ndim), ib = i - (nd - b->ndim);
        int64_t x = ia < 0 ? 1 : a->shape[ia], y = ib < 0 ? 1 : b->shape[ib];
        if (x != y && x != 1 && y != 1) {
            shape_buf sa, sb;
            return graph_fail(g, BK_EINVAL, "bk.%s: shapes do not broadcast: %s and %s", op_title(op),
                              shape_text(a->ndim, a->shape, &sa), shape_text(b->ndim, b->shape, &sb));
        }
        shape[i] = x == 1 ? y : x;
    }
    bk_dtype to = a->dtype == b->dtype || yields(b, a)               ? a->dtype
                  : yields(a, b)                                     ? b->dtype
                  : a->dtype == BK_FLOAT64 || b->dtype == BK_FLOAT64 ? BK_FLOAT64
                                                                     : BK_FLOAT32;
    if (to == BK_INT64 && op->dtypes == OP_REALS) to = BK_FLOAT64;
    node *in[2] = { g_broadcast(g, g_cast(g, a, to), nd, shape), g_broadcast(g, g_cast(g, b, to), nd, shape) };
    const bool weak = (a->weak && (b->weak || is_number(b))) || (b->weak && is_number(a));
    return in[0] && in[1] ? weakened(graph_op(g, op, 2, in, 0, NULL, 0), weak) : NULL;
}

/* An integer that float64 holds exactly, with its neighbours. */
static bool whole(double x) {
    return fabs(x) <= 0x1p53 && x == floor(x);
}

node *op_number_beside(graph *g, node *a, double x) {
    if (!a) return NULL;
    return g_full(g, a->dtype == BK_INT64 && !whole(x) ? BK_FLOAT64 : a->dtype, 0, NULL, x);
}

/* ---- rules ---- */

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
    return op_fold(g, n);
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
    return op_fold(g, n);
}
static node *scale_jvp(graph *g, node *n, int k, node *t) {
    (void)k;
    return g_scale(g, n->x, t);
}

static node *offset_simplify(graph *g, node *n) {
    node *a = n->in[0];
    if (n->x == 0) return a;
    /* numbers of one sign: (t + c) - c rounds t, and would be t itself */
    if (a->op == &op_offset && signbit(n->x) == signbit(a->x)) return g_offset(g, n->x + a->x, a->in[0]);
    return op_fold(g, n);
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
    return op_fold(g, n);
}
static node *mul_jvp(graph *g, node *n, int k, node *t) {
    return g_mul(g, t, n->in[1 - k]);
}

static node *div_simplify(graph *g, node *n) {
    node *a = n->in[0], *b = n->in[1], *f = op_fold(g, n);
    if (f) return f;
    if (b->op == &op_full && exact_inverse(b->x)) return g_scale(g, 1 / b->x, a);
    if (is_scale(a)) return g_scale(g, a->x, g_div(g, a->in[0], b));
    return is_scale(b) && exact_inverse(b->x) ? g_scale(g, 1 / b->x, g_div(g, a, b->in[0])) : NULL;
}
static node *div_jvp(graph *g, node *n, int k, node *t) {
    if (k == 0) return g_div(g, t, n->in[1]);
    return g_neg(g, g_mul(g, t, g_div(g, n, n->in[1]))); /* t / b may be infinite where a is 0 */
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
    return op_fold(g, n);
}

typedef struct cast_job {
    bk_dtype from, to;
    const char *in;
    char *out;
} cast_job;

static void cast_range(void *arg, int share, int64_t first, int64_t end) {
    (void)share;
    const cast_job *j = arg;
    vec_cast(end - first, j->to, j->out + (size_t)first * dtype_size(j->to), j->from,
             j->in + (size_t)first * dtype_size(j->from));
}

static bk_status cast_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    (void)scratch;
    cast_job j = { n->in[0]->dtype, n->dtype, in[0], out };
    return ctx_ranges(c, n->count, 1, (double)n->count, cast_range, &j);
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
static node *powx_simplify(graph *g, node *n) {
    if (n->x == 0) return g_full(g, n->dtype, n->ndim, n->shape, 1);
    if (n->x == 1) return n->in[0];
    if (n->x == 2) return g_square(g, n->in[0]);
    return op_fold(g, n);
}
static node *pow_simplify(graph *g, node *n) {
    node *f = op_fold(g, n);
    return f ? f : n->in[1]->op == &op_full ? g_powx(g, n->in[0], n->in[1]->x) : NULL;
}
static node *square_simplify(graph *g, node *n) {
    node *a = n->in[0];
    if (is_scale(a) && isnormal(a->x * a->x)) return g_scale(g, a->x * a->x, g_square(g, a->in[0]));
    return op_fold(g, n);
}
static node *pow_jvp(graph *g, node *n, int k, node *t) {
    node *a = n->in[0], *b = n->in[1];
    node *one = g_full(g, a->dtype, a->ndim, a->shape, 1), *none = g_zeros_like(g, a);
    /* b a^(b-1); where b is 0, and a is 0 or so small that a^-1 is infinite, it is 0, not 0 times that */
    node *least = g_full(g, a->dtype, a->ndim, a->shape, a->dtype == BK_FLOAT32 ? FLT_MIN : DBL_MIN);
    node *small = g_gt(g, least, g_abs(g, a));
    node *less = g_where(g, g_mul(g, g_eq(g, b, none), small), one, g_offset(g, -1, b));
    if (k == 0) return g_mul(g, t, g_mul(g, b, g_pow(g, a, less)));
    node *zero = g_zeros_like(g, a), *safe = g_where(g, g_gt(g, a, zero), a, g_full(g, a->dtype, a->ndim, a->shape, 1));
    return g_mul(g, t, g_mul(g, n, g_log(g, safe)));
}
/* Ties share the derivative in halves, so that both operands are treated alike. */
static node *extreme_jvp(graph *g, node *n, int k, node *t) {
    node *mine = g_eq(g, n->in[k], n), *other = g_eq(g, n->in[1 - k], n);
    return g_mul(g, t, g_mul(g, mine, g_offset(g, 1, g_scale(g, -0.5, other))));
}

static node *powx_jvp(graph *g, node *n, int k, node *t) {
    (void)k;
    return g_scale(g, n->x, g_mul(g, t, g_powx(g, n->in[0], n->x - 1)));
}
static node *square_jvp(graph *g, node *n, int k, node *t) {
    (void)k;
    return g_scale(g, 2, g_mul(g, t, n->in[0]));
}
static node *floor_simplify(graph *g, node *n) {
    return n->dtype == BK_INT64 ? n->in[0] : op_fold(g, n);
}

/* clang-format off */

#define ELEMENTWISE(NAME, N)                                                                                           \
    .name = #NAME, .arity = N, .kind = OP_ELEMENTWISE, .vec = VEC_OF_##NAME, .vmap = op_vmap_elementwise
#define PUBLIC(ARGS) .args = op_args_##ARGS
#define NONLINEAR(JVP) .jvp = JVP, .transpose = op_no_transpose
#define BROADCASTS "Shapes broadcast as in bk.add."
#define COMPARES(WORDS)                                                                                                \
    .dtypes = OP_ANY, NONLINEAR(op_zero_jvp), .simplify = op_fold, PUBLIC(binary), .sample = &apart,                   \
    .doc = "Elementwise t " WORDS " u, as 1 or 0 of the operands' dtype. " BROADCASTS

static const op_sample apart = { .where = SAMPLE_APART }, condition = { .where = SAMPLE_CONDITION },
                       by_x = { .x = 1.7 }, off_zero = { .where = SAMPLE_OFF_ZERO },
                       off_integers = { .where = SAMPLE_OFF_INTEGERS };

const op_row op_add = {
    ELEMENTWISE(add, 2), .dtypes = OP_ANY, .formula = "t + u",
    .simplify = add_simplify, .jvp = add_jvp, .transpose = add_transpose,
    PUBLIC(binary), .meta = "__add", .sign = "t + u",
    .doc = "Elementwise sum; u is a tensor or a number.\n\nShapes broadcast by NumPy's rules; dtypes promote "
           "int64 -> float32 -> float64; a number takes the tensor's dtype.",
};
node *g_add(graph *g, node *a, node *b) {
    return op_binary(g, &op_add, a, b);
}

node *g_sub(graph *g, node *a, node *b) {
    return g_add(g, a, g_neg(g, b));
}
OP_BUILD(sub, g_sub(g, v[0].t, v[1].t))
const op_row op_sub = {
    .name = "sub", .arity = 2, .kind = OP_COMPOSITE, .formula = "t - u", .build = sub_build,
    PUBLIC(binary), .meta = "__sub", .sign = "t - u",
    .doc = "Elementwise difference. " BROADCASTS " Within one trace t - t is 0, whatever t holds.",
};

const op_row op_scale = {
    ELEMENTWISE(scale, 1), .dtypes = OP_ANY, .formula = "x t", .sample = &by_x,
    .simplify = scale_simplify, .jvp = scale_jvp, .transpose = scale_jvp,
};
node *g_scale(graph *g, double x, node *a) {
    return op_unary(g, &op_scale, a && a->dtype == BK_INT64 && !whole(x) ? g_cast(g, a, BK_FLOAT64) : a, x);
}

const op_row op_offset = {
    ELEMENTWISE(offset, 1), .dtypes = OP_ANY, .formula = "x + t", .sample = &by_x,
    .simplify = offset_simplify, .jvp = add_jvp, .transpose = op_no_transpose,
};
node *g_offset(graph *g, double x, node *a) {
    return op_unary(g, &op_offset, a && a->dtype == BK_INT64 && !whole(x) ? g_cast(g, a, BK_FLOAT64) : a, x);
}

node *g_neg(graph *g, node *a) {
    return g_scale(g, -1, a);
}
OP_BUILD(neg, g_neg(g, v[0].t))
const op_row op_neg = {
    .name = "neg", .arity = 1, .kind = OP_COMPOSITE, .formula = "-t", .build = neg_build,
    PUBLIC(unary), .meta = "__unm", .sign = "-t",
    .doc = "Elementwise -x.",
};

const op_row op_mul = {
    ELEMENTWISE(mul, 2), .dtypes = OP_ANY, .formula = "t u",
    .simplify = mul_simplify, .jvp = mul_jvp, .transpose = mul_jvp,
    PUBLIC(binary), .meta = "__mul", .sign = "t * u",
    .doc = "Elementwise product. " BROADCASTS " The matrix product is bk.matmul. The number 0 makes 0 of all, NaN and "
           "infinity too; a tensor's 0 makes NaN of these.",
};
node *g_mul(graph *g, node *a, node *b) {
    return op_binary(g, &op_mul, a, b);
}

static node *div_build(graph *g, const op_value *v, node **second) {
    node *a = v[0].t, *b = v[1].t;
    (void)second;
    return a && is_value(a, 1) && a->ndim == 0 ? g_reciprocal(g, b) : g_div(g, a, b);
}
const op_row op_div = {
    ELEMENTWISE(div, 2), .formula = "t / u",
    .simplify = div_simplify, .jvp = div_jvp, .transpose = div_transpose,
    PUBLIC(binary), .meta = "__div", .sign = "t / u", .build = div_build,
    .doc = "Elementwise quotient, never whole-number division. " BROADCASTS,
    .sample_low = 0.5, .sample_high = 2,
};
node *g_div(graph *g, node *a, node *b) {
    return op_binary(g, &op_div, a, b);
}

/* The square of integers stays one of integers. */
static node *pow_build(graph *g, const op_value *v, node **second) {
    node *a = v[0].t, *b = v[1].t;
    (void)second;
    return b && is_value(b, 2) && b->ndim == 0 ? g_square(g, a) : g_pow(g, a, b);
}
const op_row op_pow = {
    ELEMENTWISE(pow, 2), .formula = "t^u", .simplify = pow_simplify, NONLINEAR(pow_jvp),
    PUBLIC(binary), .meta = "__pow", .sign = "t ^ u", .build = pow_build,
    .doc = "Elementwise power, a float as in Lua; but the square of int64, t^2, is int64. " BROADCASTS,
    .sample_low = 0.5, .sample_high = 2,
};
node *g_pow(graph *g, node *a, node *b) {
    return op_binary(g, &op_pow, a, b);
}

static const op_sample power = { .x = 2.5 };
const op_row op_powx = {
    ELEMENTWISE(powx, 1), .formula = "t^x, x a constant", .simplify = powx_simplify, NONLINEAR(powx_jvp),
    .sample = &power, .sample_low = 0.5, .sample_high = 2,
};
node *g_powx(graph *g, node *a, double x) {
    return op_unary(g, &op_powx, a, x);
}

const op_row op_square = {
    ELEMENTWISE(square, 1), .dtypes = OP_ANY, .formula = "t^2", .simplify = square_simplify, NONLINEAR(square_jvp),
    PUBLIC(unary), .doc = "Elementwise x^2.",
};
node *g_square(graph *g, node *a) {
    return op_unary(g, &op_square, a, 0);
}

const op_row op_maximum = {
    ELEMENTWISE(maximum, 2), .dtypes = OP_ANY, .formula = "max(t, u)", .simplify = op_fold, NONLINEAR(extreme_jvp),
    PUBLIC(binary), .sample = &apart,
    .doc = "Elementwise larger of two, NaN if either is. " BROADCASTS
           "\n\nThe derivative goes to the larger, to both in halves at a tie.",
};
node *g_maximum(graph *g, node *a, node *b) {
    return op_binary(g, &op_maximum, a, b);
}

const op_row op_minimum = {
    ELEMENTWISE(minimum, 2), .dtypes = OP_ANY, .formula = "min(t, u)", .simplify = op_fold, NONLINEAR(extreme_jvp),
    PUBLIC(binary), .sample = &apart,
    .doc = "Elementwise smaller of two, NaN if either is. " BROADCASTS
           "\n\nThe derivative goes to the smaller, to both in halves at a tie.",
};
node *g_minimum(graph *g, node *a, node *b) {
    return op_binary(g, &op_minimum, a, b);
}

const op_row op_gt = { ELEMENTWISE(gt, 2), .formula = "1 where t > u, else 0", COMPARES(">") };
node *g_gt(graph *g, node *a, node *b) {
    return op_binary(g, &op_gt, a, b);
}

const op_row op_ge = { ELEMENTWISE(ge, 2), .formula = "1 where t >= u, else 0", COMPARES(">=") };
node *g_ge(graph *g, node *a, node *b) {
    return op_binary(g, &op_ge, a, b);
}

const op_row op_eq = {
    ELEMENTWISE(eq, 2), .formula = "1 where t = u, else 0",
    COMPARES("=") " `t == u` asks whether all are equal.",
};
node *g_eq(graph *g, node *a, node *b) {
    return op_binary(g, &op_eq, a, b);
}

OP_BUILD(lt, g_gt(g, v[1].t, v[0].t))
const op_row op_lt = {
    .name = "lt", .arity = 2, .kind = OP_COMPOSITE,
    .formula = "1 where t < u, else 0",
    PUBLIC(binary), .build = lt_build, .sample = &apart,
    .doc = "Elementwise t < u, as 1 or 0 of the operands' dtype. " BROADCASTS,
};

OP_BUILD(le, g_ge(g, v[1].t, v[0].t))
const op_row op_le = {
    .name = "le", .arity = 2, .kind = OP_COMPOSITE,
    .formula = "1 where t <= u, else 0",
    PUBLIC(binary), .build = le_build, .sample = &apart,
    .doc = "Elementwise t <= u, as 1 or 0 of the operands' dtype. " BROADCASTS,
};

static const op_arg where_args[] = {
    { ARG_TENSOR, "condition" }, { ARG_OPERAND, "a" }, { ARG_OPERAND, "b" }, { ARG_END },
};
OP_BUILD(where, g_where(g, v[0].t, v[1].t, v[2].t))
const op_row op_where = {
    ELEMENTWISE(where, 3), .dtypes = OP_ANY, .formula = "a where condition is not 0, else b",
    .simplify = where_simplify, .jvp = where_jvp, .transpose = where_jvp,
    .args = where_args, .build = where_build, .sample = &condition,
    .doc = "Elementwise a where condition is not 0, else b; a and b are tensors or numbers, and all three broadcast.",
};
node *g_where(graph *g, node *cond, node *a, node *b) {
    if (!cond || !a || !b) return NULL;
    node *sum = g_add(g, a, b), *all = g_add(g, sum, cond); /* for the shape and dtype they share */
    if (!all) return NULL;
    const bk_dtype to = sum->dtype, of = cond->dtype;
    /* a cast could make 0 of what is not: 0.3 as int64, 1e-50 as float32 */
    if (of != to && of != BK_INT64 && to != BK_FLOAT64)
        cond = g_sub(g, g_full(g, of, cond->ndim, cond->shape, 1), g_eq(g, cond, g_zeros_like(g, cond)));
    node *in[3] = { g_broadcast(g, g_cast(g, cond, to), all->ndim, all->shape),
                    g_broadcast(g, g_cast(g, a, to), all->ndim, all->shape),
                    g_broadcast(g, g_cast(g, b, to), all->ndim, all->shape) };
    return in[0] && in[1] && in[2] ? weakened(graph_op(g, &op_where, 3, in, 0, NULL, 0), sum->weak && all->weak) : NULL;
}

static const op_arg clamp_args[] = {
    { ARG_TENSOR, "t" }, { ARG_NUMBER, "low", .absent = "" }, { ARG_NUMBER, "high", .absent = "" }, { ARG_END },
};
static node *clamp_build(graph *g, const op_value *v, node **second) {
    node *t = v[0].t, *a = t;
    (void)second;
    if (v[1].given) a = g_maximum(g, a, op_number_beside(g, t, v[1].x));
    if (v[2].given) a = g_minimum(g, a, op_number_beside(g, t, v[2].x));
    return a;
}
const op_row op_clamp = {
    .name = "clamp", .arity = 1, .kind = OP_COMPOSITE, .formula = "min(max(t, low), high)",
    .args = clamp_args, .build = clamp_build,
    .sample = &(op_sample){ .n_in = 1, .in = { { 2, { SAMPLE_SIZE, 7 }, 0 } }, .x = 0, .where = SAMPLE_OFF_ZERO },
    .doc = "Elementwise min(max(x, low), high); nil leaves a side open.",
};

/* ---- functions that a rule decides ---- */

const op_row op_step = {
    ELEMENTWISE(step, 1), .dtypes = OP_ANY, .formula = "1 where t > 0, else 0", .simplify = op_fold,
    NONLINEAR(op_zero_jvp), .sample = &off_zero,
};
node *g_step(graph *g, node *a) {
    return op_unary(g, &op_step, a, 0);
}

const op_row op_floor = {
    ELEMENTWISE(floor, 1), .dtypes = OP_ANY, .formula = "the largest integer not above t", .simplify = floor_simplify,
    NONLINEAR(op_zero_jvp), PUBLIC(unary), .sample = &off_integers,
    .doc = "Elementwise largest whole number <= x; its derivative is 0.",
};
node *g_floor(graph *g, node *a) {
    return op_unary(g, &op_floor, a, 0);
}

OP_UNARY(relu, g_mul(g, t, g_step(g, a)),
    .dtypes = OP_ANY, .formula = "max(t, 0)", .sample = &off_zero,
    .doc = "Elementwise max(x, 0); the derivative at 0 is 0, second derivatives are 0.")

OP_UNARY(abs, g_mul(g, t, g_sign(g, a)),
    .dtypes = OP_ANY, .formula = "|t|", .sample = &off_zero,
    .doc = "Elementwise absolute value; derivative sign(x), 0 at 0.")

const op_row op_sign = {
    ELEMENTWISE(sign, 1), .dtypes = OP_ANY, .formula = "-1, 0 or 1", .simplify = op_fold, NONLINEAR(op_zero_jvp),
    PUBLIC(unary), .sample = &off_zero,
    .doc = "Elementwise -1, 0 or 1; its derivative is 0.",
};
node *g_sign(graph *g, node *a) {
    return op_unary(g, &op_sign, a, 0);
}

/* ---- the same values ---- */

const op_row op_stop_gradient = {
    .name = "stop_gradient", .arity = 1, .kind = OP_ELEMENTWISE, .vec = VEC_COPY, .vmap = op_vmap_elementwise,
    .dtypes = OP_ANY, .formula = "t, with no derivative", NONLINEAR(op_zero_jvp),
    PUBLIC(unary), .doc = "t itself, through which no derivative flows.",
};
node *g_stop_gradient(graph *g, node *a) {
    return op_unary(g, &op_stop_gradient, a, 0);
}

const op_row op_cast = {
    .name = "cast", .arity = 1, .kind = OP_KERNEL, .serves = "to", .formula = "t in another dtype",
    .shape = cast_shape, .run = cast_run, .simplify = cast_simplify, .jvp = cast_jvp,
    .transpose = cast_transpose, .vmap = op_vmap_elementwise,
    .sample = &(op_sample){ 1, { { 2, { SAMPLE_SIZE, 4 }, 0 } }, 1, { BK_FLOAT32 }, .eps = 0.25, .tol = 2e-6 },
};
node *g_cast(graph *g, node *a, bk_dtype dtype) {
    if (!a || a->dtype == dtype) return a;
    int64_t to = dtype;
    return graph_op(g, &op_cast, 1, &a, 1, &to, 0);
}

static bool to_view(tensor *t, const op_value *v) {
    return t->dtype == (bk_dtype)v[1].i;
}
OP_BUILD(to, g_cast(g, v[0].t, (bk_dtype)v[1].i))
const op_row op_to = {
    .name = "to", .arity = 1, .kind = OP_COMPOSITE, .formula = "t in another dtype",
    .args = (const op_arg[]){ { ARG_TENSOR, "t" }, { ARG_DTYPE, "dtype" }, { ARG_END } },
    .build = to_build, .view = to_view,
    .sample = &(op_sample){ 1, { { 2, { SAMPLE_SIZE, 4 }, 0 } }, 1, { BK_FLOAT32 }, .eps = 0.25, .tol = 2e-6 },
    .doc = "The values as \"float64\", \"float32\" or \"int64\" (towards 0).\n\nThe derivative of a cast between "
           "floats is a cast; none flows through int64.",
};
