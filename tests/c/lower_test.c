/* lower_test.c - combinations of operations that become one, and keep the bits of their parts; and what causal attention
 * becomes. */
#include "prog.h"
#include "../../src/compile/lower.h"
#include "../../src/tensor/gemm.h"

static node *one_minus(graph *g, node *a) {
    return g_offset(g, 1, g_scale(g, -1, a));
}
static node *low_axpy(graph *g, node *const *in) {
    return g_add(g, in[1], g_scale(g, 1.7, in[0]));
}
static node *low_muladd(graph *g, node *const *in) {
    return g_add(g, in[2], g_mul(g, in[0], in[1]));
}
static node *low_mulscale(graph *g, node *const *in) {
    return g_scale(g, 1.7, g_mul(g, in[0], in[1]));
}
static node *low_square(graph *g, node *const *in) {
    return one_minus(g, g_square(g, in[0]));
}
static node *low_tanh(graph *g, node *const *in) { /* the factor twice: computed again for each */
    node *f = one_minus(g, g_square(g, in[0]));
    return g_sub(g, g_exp(g, g_mul(g, in[1], f)), g_exp(g, g_mul(g, f, in[2])));
}
static node *low_sigmoid(graph *g, node *const *in) {
    return g_mul(g, in[1], g_mul(g, in[0], one_minus(g, in[0])));
}
static node *tanh_grad(graph *g, node *a, node *b) {
    return g_mul(g, b, one_minus(g, g_square(g, a)));
}
static node *low_tanh_sum(graph *g, node *const *in) {
    return tanh_grad(g, in[0], g_add(g, in[1], in[2]));
}
static node *low_mul3(graph *g, node *const *in) { /* the second: -2 a (b c) */
    node *p = g_exp(g, g_mul(g, in[0], g_mul(g, in[1], in[2])));
    return g_add(g, p, g_exp(g, g_scale(g, -2, g_mul(g, in[1], g_mul(g, in[0], in[2])))));
}
static node *low_tanh_add(graph *g, node *const *in) { /* c + b (1 - a²), c - b (1 - a²), -2 a b + c (1 - a²) */
    node *p = g_exp(g, g_add(g, in[2], tanh_grad(g, in[0], in[1])));
    node *q = g_exp(g, g_add(g, in[2], g_scale(g, -1, tanh_grad(g, in[0], g_exp(g, in[1])))));
    node *r = g_add(g, tanh_grad(g, in[0], in[2]), g_scale(g, -2, g_mul(g, in[0], in[1])));
    return g_mul(g, g_mul(g, p, q), g_exp(g, r));
}
static node *low_sums(graph *g, node *const *in) { /* of a sum that is read twice too, the second does not add again */
    node *s = g_add(g, in[0], in[2]);
    node *p = g_mul(g, g_tanh(g, g_add(g, in[0], in[1])), g_relu(g, g_add(g, in[1], in[2])));
    return g_add(g, p, g_exp(g, g_add(g, g_tanh(g, s), g_exp(g, s))));
}
static node *low_tanh_twice(graph *g, node *const *in) { /* what is read twice stays a node of its own */
    node *t = tanh_grad(g, in[0], in[1]);
    return g_mul(g, g_exp(g, t), g_add(g, t, in[2]));
}
static node *low_relu(graph *g, node *const *in) { /* exp: of 0 and of -0 it is the same */
    node *mask = g_step(g, in[0]);
    return g_add(g, g_exp(g, g_mul(g, mask, in[1])), g_mul(g, g_relu(g, in[0]), g_exp(g, g_mul(g, in[2], mask))));
}
static node *low_average(graph *g, node *const *in) { /* of the square, of the exponential, and what is none */
    node *p = g_exp(g, g_add(g, g_scale(g, 0.9, in[0]), g_scale(g, 1 - 0.9, g_square(g, in[1]))));
    node *q = g_exp(g, g_add(g, g_scale(g, 1 - 0.75, g_exp(g, in[1])), g_scale(g, 0.75, in[2])));
    node *r = g_exp(g, g_add(g, g_scale(g, 0.7, in[0]), g_scale(g, 0.2, g_square(g, in[2]))));
    return g_mul(g, p, g_mul(g, q, r));
}
static node *low_adam(graph *g, node *const *in) {
    node *root = g_sqrt(g, g_exp(g, in[1]));
    return g_div(g, g_mul(g, in[0], in[2]), g_offset(g, 1e-3, g_mul(g, in[2], root)));
}
static node *low_gelu(graph *g, node *const *in) { /* with its derivatives; alone it stays what it is */
    node *p = g_mul(g, g_gelu(g, in[0]), g_gelu_slope(g, in[0]));
    return g_add(g, g_mul(g, p, g_gelu_curve(g, in[0])), g_gelu(g, in[1]));
}
static node *low_shared(graph *g, node *const *in) { /* a product that is read twice stays one */
    node *p = g_mul(g, in[0], in[1]);
    return g_mul(g, g_exp(g, p), g_add(g, p, in[2]));
}

static const struct {
    const char *op;
    int times;
    node *(*build)(graph *g, node *const *in);
} lowerings[] = {
    { "axpy", 1, low_axpy },      { "muladd", 1, low_muladd },        { "mulscale", 1, low_mulscale },
    { "tanh_grad", 2, low_tanh }, { "sigmoid_grad", 1, low_sigmoid }, { "square_rsub", 1, low_square },
    { "relu_mask", 2, low_relu }, { "step", 0, low_relu },
    { "muladd", 0, low_shared },  { "mul", 2, low_shared },
    { "tanh_sum", 1, low_sums }, { "relu_sum", 1, low_sums }, { "tanh", 1, low_sums },
    { "tanh_grad_sum", 1, low_tanh_sum },  { "mul3", 2, low_mul3 },
    { "average", 1, low_average }, { "average_square", 1, low_average }, { "axpy", 1, low_average },
    { "sqrt_affine", 1, low_adam }, { "muldiv", 1, low_adam },
    { "gauss", 1, low_gelu }, { "gauss_cdf", 1, low_gelu }, { "gelu_slope_of", 1, low_gelu }, { "gelu", 1, low_gelu },
    { "tanh_grad_add", 3, low_tanh_add },  { "tanh_grad_add", 0, low_tanh_twice },
};

/* y's bits from its parts, each computed by a plan of its own. */
static tensor by_parts(ctx *c, node *y, const tensor *args) {
    tensor in[3] = { 0 }, out;
    prog q = { .g = ops_graph(c), .n_in = y->n_in, .n_out = 1 };
    if (y->n_in == 0) {
        prog_free(&q);
        tensor_retain(&args[y->id]);
        return args[y->id];
    }
    for (int k = 0; k < y->n_in; k++) {
        in[k] = by_parts(c, y->in[k], args);
        q.in[k] = graph_input(q.g, in[k].dtype, in[k].ndim, in[k].shape);
    }
    q.out[0] = graph_op(q.g, y->op, y->n_in, q.in, 0, NULL, y->x);
    if (!prog_plan(&q, y->op->name, "compiles alone") || !prog_run(&q, y->op->name, in, &out)) exit(3);
    drop(y->n_in, in);
    prog_free(&q);
    return out;
}

static void test_lowering(ctx *c, rng *random) {
    for (size_t i = 0; i < sizeof lowerings / sizeof *lowerings; i++)
        for (int d = 0; d < 2; d++) {
            const char *op = lowerings[i].op;
            prog q = { .g = ops_graph(c), .n_in = 3, .n_out = 1 };
            tensor args[3], got, want;
            for (int k = 0; k < 3; k++) {
                int64_t shape[1] = { 37 };
                args[k] = noise(c, d ? BK_FLOAT32 : BK_FLOAT64, random, 1, shape);
                q.in[k] = graph_input(q.g, args[k].dtype, 1, shape);
            }
            node *y = q.out[0] = lowerings[i].build(q.g, q.in);
            want = by_parts(c, y, args);
            if (!prog_plan(&q, op, "compiles") || !prog_run(&q, op, args, &got)) exit(3);
            check(memcmp(tensor_data(&got), tensor_data(&want), 37 * dtype_size(got.dtype)) == 0, op,
                  "lowered, it keeps its bits", distance(&got, &want));
            int n, times = 0;
            graph_lower(q.g, 1, q.out);
            node **sorted = graph_sorted(q.g, 1, q.out, &n);
            for (int k = 0; k < n; k++) times += strcmp(sorted[k]->op->name, op) == 0;
            check(times == lowerings[i].times, op, "stands as often as expected", times);
            drop(3, args), drop(1, &got), drop(1, &want);
            prog_free(&q);
        }
}

/* The products of causal attention and of its gradient leave out what is 0 and take on the factor: nothing is left of
 * triangles and scales. */
static void test_causal(ctx *c) {
    const int64_t shape[3] = { 2, 9, 4 };
    prog q = { .g = ops_graph(c), .n_in = 3, .n_out = 4 };
    graph *g = q.g;
    for (int k = 0; k < 3; k++) q.in[k] = graph_input(g, BK_FLOAT32, 3, shape);
    node *scores = g_scale(g, 0.3, g_matmul_t(g, q.in[0], q.in[1], false, true));
    q.out[0] = g_sum_all(g, g_exp(g, g_matmul(g, g_causal_softmax(g, scores), q.in[2])));
    node *one = g_full(g, BK_FLOAT32, 0, NULL, 1);
    int n = 0, parts = 0, others = 0;
    node **sorted = NULL;
    if (graph_vjp(g, 1, q.out, &one, 3, q.in, q.out + 1) && graph_lower(g, 4, q.out)) sorted = graph_sorted(g, 4, q.out, &n);
    for (int i = 0; i < n; i++) {
        parts += sorted[i]->op == &op_matmul_part;
        others += sorted[i]->op == &op_matmul || sorted[i]->op == &op_tril || sorted[i]->op == &op_scale;
    }
    check(sorted && (!gemm_triangles() || (parts == 6 && others == 0)), "causal", "products of triangles", parts);
    prog_free(&q);
}

int main(void) {
    ctx *c = ctx_new(1);
    rng random = rng_seed(7);
    if (!c) return 3;
    test_lowering(c, &random);
    test_causal(c);
    check(atomic_load(&c->refs) == 1, "context", "nothing is left holding it", atomic_load(&c->refs));
    ctx_release(c);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
