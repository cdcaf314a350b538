/* lower.c - puts one kernel where a combination of elementwise operations has one. A product with 1 - a² or a (1 - a)
 * computes that factor again rather than read it: two operations in registers cost less than an array in memory. */
#include "lower.h"
#include "../ops/ops.h"

#include <string.h>

typedef struct lowering {
    graph *g;
    node **image; /* by place: what stands for the node */
    node **relu;  /* by place: max(node, 0), where the graph has it */
    bool *curved; /* by place: the graph has a derivative of gelu at the node */
    int *uses;    /* by place */
    int *turned;  /* by place: products that would turn the matrix for themselves */
} lowering;

/* The part of a sum or product that a kernel may swallow: nobody else reads it. */
static bool alone(const lowering *l, const node *n, const op_row *op) {
    return n->op == op && l->uses[n->place] == 1;
}

static bool is(const node *n, const op_row *op, double x) {
    return n->op == op && n->x == x;
}

/* a of 1 - a², or NULL */
static node *tanh_factor(const node *n) {
    if (!is(n, &op_offset, 1) || !is(n->in[0], &op_scale, -1) || n->in[0]->in[0]->op != &op_square) return NULL;
    return n->in[0]->in[0]->in[0];
}

/* a of a (1 - a), or NULL */
static node *sigmoid_factor(const node *n) {
    for (int k = 0; k < 2 && n->op == &op_mul; k++) {
        const node *rest = n->in[1 - k];
        if (is(rest, &op_offset, 1) && is(rest->in[0], &op_scale, -1) && rest->in[0]->in[0] == n->in[k])
            return n->in[k];
    }
    return NULL;
}

/* a of a > 0 ? 1 : 0, or what has its sign and is in memory anyway: no mask need be. NULL: not a step */
static node *step_factor(const lowering *l, const node *n) {
    if (n->op != &op_step) return NULL;
    node *relu = l->relu[n->in[0]->place];
    return relu && l->image[relu->place] ? relu : n->in[0];
}

static node *build(lowering *l, const op_row *op, double x, int n, node *const *parts) {
    node *in[3];
    for (int k = 0; k < n; k++) in[k] = l->image[parts[k]->place];
    return graph_op(l->g, op, n, in, 0, NULL, x);
}

/* Its image is still what it was. */
static bool plain(const lowering *l, const node *n) {
    return l->image[n->place]->op == n->op;
}

/* n = b (1 - a²), where a is the factor: b may be a sum. */
static node *tanh_grad(lowering *l, node *factor, node *b) {
    if (alone(l, b, &op_add) && plain(l, b))
        return build(l, &op_tanh_grad_sum, 0, 3, (node *[]){ factor, b->in[0], b->in[1] });
    return build(l, &op_tanh_grad, 0, 2, (node *[]){ factor, b });
}

/* n = a + x b (1 - c²), or NULL; where a is x times something, axpy does as well. */
static node *tanh_grad_add(lowering *l, const node *n) {
    for (int k = 0; k < 2; k++) {
        node *a = n->in[1 - k], *grad = n->in[k];
        const double x = alone(l, grad, &op_scale) ? grad->x : 1;
        if (alone(l, grad, &op_scale)) grad = grad->in[0];
        const node *low = l->image[grad->place];
        if (!alone(l, grad, &op_mul) || low->op != &op_tanh_grad || (alone(l, a, &op_scale) && plain(l, a))) continue;
        node *in[3] = { low->in[0], low->in[1], l->image[a->place] };
        return graph_op(l->g, &op_tanh_grad_add, 3, in, 0, NULL, x);
    }
    return NULL;
}

/* n = x a + (1 - x) b, a moving average, or of b²; or NULL */
static node *average(lowering *l, const node *n, bool of_square) {
    for (int k = 0; k < 2; k++) {
        const node *a = n->in[k], *b = n->in[1 - k];
        if (!alone(l, a, &op_scale) || !alone(l, b, &op_scale) || b->x != 1 - a->x) continue;
        if (!of_square) return build(l, &op_average, a->x, 2, (node *[]){ a->in[0], b->in[0] });
        if (alone(l, b->in[0], &op_square))
            return build(l, &op_average_square, a->x, 2, (node *[]){ a->in[0], b->in[0]->in[0] });
    }
    return NULL;
}

/* n = sqrt(a) b + x, or NULL */
static node *sqrt_affine(lowering *l, const node *n) {
    const node *product = n->in[0];
    for (int k = 0; k < 2 && alone(l, product, &op_mul) && plain(l, product); k++)
        if (alone(l, product->in[k], &op_sqrt))
            return build(l, &op_sqrt_affine, n->x, 2, (node *[]){ product->in[k]->in[0], product->in[1 - k] });
    return NULL;
}

/* gelu and its derivatives at one place share e^(-a²/2) and Phi(a). */
static node *gelu_part(lowering *l, const node *n) {
    static const double density = 0.39894228040143267794;
    if (!l->curved[n->in[0]->place]) return NULL;
    graph *g = l->g;
    node *a = l->image[n->in[0]->place], *e = graph_op(g, &op_gauss, 1, &a, 0, NULL, 0);
    if (n->op == &op_gelu_curve) {
        node *less = graph_op(g, &op_square_rsub, 1, &a, 0, NULL, 2);
        return graph_op(g, &op_mulscale, 2, (node *[]){ less, e }, 0, NULL, density);
    }
    node *c = graph_op(g, &op_gauss_cdf, 2, (node *[]){ a, e }, 0, NULL, 0);
    if (n->op == &op_gelu) return g_mul(g, a, c);
    return graph_op(g, &op_gelu_slope_of, 3, (node *[]){ a, e, c }, 0, NULL, 0);
}

/* Whether a product or sum of products turns operand k for itself, and so many that this is a good part of its work. */
static bool turns(const node *n, int k) {
    enum { FEW_ROWS = 64 };
    const bool sum = n->op == &op_matmul_sum;
    if ((!sum && n->op != &op_matmul) || n->ndim != 2 || k % 2 == 0) return false;
    return n->ints[sum ? 3 * (k / 2) + 1 : 1] && n->shape[0] <= FEW_ROWS;
}

/* n with those operands turned once for all products. A sum of products, for a product would take the turn back. */
static node *turn_once(lowering *l, const node *n) {
    enum { WORTH = 4 };
    graph *g = l->g;
    const double one = 1;
    node **in = graph_alloc(g, sizeof *in * (size_t)n->n_in);
    int64_t *ints = graph_alloc(g, sizeof *ints * 3 * (size_t)n->n_in / 2);
    bool any = false;
    if (!in || !ints) return NULL;
    memcpy(ints, n->ints, sizeof *ints * (size_t)n->n_ints);
    if (n->op == &op_matmul) memcpy(&ints[2], &one, sizeof one);
    for (int k = 0; k < n->n_in; k++) {
        in[k] = l->image[n->in[k]->place];
        if (!turns(n, k) || l->turned[n->in[k]->place] < WORTH) continue;
        in[k] = g_permute(g, in[k], (int64_t[]){ 1, 0 });
        ints[3 * (k / 2) + 1] = 0;
        any = true;
    }
    return any ? graph_op(g, &op_matmul_sum, n->n_in, in, 3 * n->n_in / 2, ints, 0) : NULL;
}

/* A product takes on its factor, and leaves out what a triangle of its result or of its first operand makes 0. */
static node *product_part(lowering *l, const node *n) {
    const node *m = n;
    gemm_triangle triangle = GEMM_WHOLE;
    if (m->op == &op_scale) {
        const node *of = alone(l, m->in[0], &op_reshape) ? m->in[0]->in[0] : m->in[0];
        if (alone(l, of, &op_tril) || alone(l, of, &op_matmul)) m = of;
    }
    const double factor = m == n ? 1 : n->x;
    if (m->op == &op_tril && alone(l, m->in[0], &op_matmul)) triangle = GEMM_LOWER_C, m = m->in[0];
    if (m->op != &op_matmul) return NULL;
    node *in[2] = { l->image[m->in[0]->place], l->image[m->in[1]->place] };
    if (triangle == GEMM_WHOLE && m->in[0]->op == &op_tril) {
        triangle = GEMM_LOWER_A;
        if (in[0]->op == &op_tril) in[0] = in[0]->in[0];
    }
    if ((triangle == GEMM_WHOLE && factor == 1) || (triangle != GEMM_WHOLE && !gemm_triangles())) return NULL;
    matmul_part part = matmul_part_of(m);
    part.triangle = triangle;
    part.factor = factor;
    return g_reshape(l->g, g_matmul_part(l->g, m->ndim, m->shape, 1, &part, in), n->ndim, n->shape);
}

/* What stands for n, or NULL: nothing better than itself. */
static node *pattern(lowering *l, const node *n) {
    node *better = NULL;
    if (n->op == &op_scale || n->op == &op_tril || n->op == &op_matmul) better = product_part(l, n);
    if (better) return better;
    if (n->op == &op_add && !(better = tanh_grad_add(l, n)) && !(better = average(l, n, true)))
        better = average(l, n, false);
    else if (n->op == &op_offset) better = sqrt_affine(l, n);
    else if (n->op == &op_gelu || n->op == &op_gelu_slope || n->op == &op_gelu_curve) better = gelu_part(l, n);
    else if (n->op == &op_matmul || n->op == &op_matmul_sum) better = turn_once(l, n);
    if (better) return better;
    if (n->op == &op_div && alone(l, n->in[0], &op_mul) && plain(l, n->in[0]))
        return build(l, &op_muldiv, 0, 3, (node *[]){ n->in[0]->in[0], n->in[0]->in[1], n->in[1] });
    for (int k = 0; k < 2 && (n->op == &op_mul || n->op == &op_add); k++) {
        node *a = n->in[k], *b = n->in[1 - k], *factor;
        if (n->op == &op_mul) {
            if ((factor = tanh_factor(a))) return tanh_grad(l, factor, b);
            if ((factor = step_factor(l, a))) return build(l, &op_relu_mask, 0, 2, (node *[]){ factor, b });
            if ((factor = sigmoid_factor(a))) return build(l, &op_sigmoid_grad, 0, 2, (node *[]){ factor, b });
        } else if (alone(l, a, &op_scale))
            return build(l, &op_axpy, a->x, 2, (node *[]){ a->in[0], b });
    }
    for (int k = 0; k < 2 && n->op == &op_add; k++) {
        node *a = n->in[k], *b = n->in[1 - k];
        if (alone(l, a, &op_mul) && plain(l, a))
            return build(l, &op_muladd, 0, 3, (node *[]){ a->in[0], a->in[1], b });
    }
    for (int k = 0; k < 2 && n->op == &op_mul; k++) {
        const node *b = n->in[1 - k];
        if (alone(l, b, &op_mul) && plain(l, b))
            return build(l, &op_mul3, 1, 3, (node *[]){ n->in[k], b->in[0], b->in[1] });
    }
    if (n->op == &op_scale && alone(l, n->in[0], &op_mul)) {
        const node *low = l->image[n->in[0]->place];
        if (low->op == &op_mul) return build(l, &op_mulscale, n->x, 2, n->in[0]->in);
        if (low->op == &op_mul3) return graph_op(l->g, &op_mul3, 3, low->in, 0, NULL, n->x);
    }
    if ((n->op == &op_tanh || n->op == &op_relu) && alone(l, n->in[0], &op_add) && plain(l, n->in[0]))
        return build(l, n->op == &op_tanh ? &op_tanh_sum : &op_relu_sum, 0, 2, n->in[0]->in);
    if (n->op == &op_offset && is(n->in[0], &op_scale, -1) && alone(l, n->in[0]->in[0], &op_square))
        return build(l, &op_square_rsub, n->x, 1, n->in[0]->in[0]->in);
    return NULL;
}

node *on_images(graph *g, node *n, node *const *image) {
    node **in = graph_alloc(g, sizeof *in * (size_t)(n->n_in ? n->n_in : 1));
    bool moved = false;
    if (!in) return NULL;
    for (int k = 0; k < n->n_in; k++) {
        in[k] = image[n->in[k]->place];
        moved = moved || in[k] != n->in[k];
    }
    return moved ? graph_again(g, n, in) : n;
}

bool graph_lower(graph *g, int n_out, node **outs) {
    int n;
    node **sorted = graph_sorted(g, n_out, outs, &n);
    lowering l = { g, graph_alloc(g, sizeof(node *) * (size_t)n), graph_alloc(g, sizeof(node *) * (size_t)n),
                   graph_alloc(g, (size_t)n), graph_alloc(g, sizeof(int) * (size_t)n),
                   graph_alloc(g, sizeof(int) * (size_t)n) };
    if (!sorted || !l.image || !l.relu || !l.curved || !l.uses || !l.turned) return false;
    memset(l.curved, 0, (size_t)n);
    memset(l.image, 0, sizeof(node *) * (size_t)n);
    memset(l.relu, 0, sizeof(node *) * (size_t)n);
    memset(l.uses, 0, sizeof(int) * (size_t)n);
    memset(l.turned, 0, sizeof(int) * (size_t)n);
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < sorted[i]->n_in; k++) {
            l.uses[sorted[i]->in[k]->place]++;
            l.turned[sorted[i]->in[k]->place] += turns(sorted[i], k);
        }
        if (sorted[i]->op == &op_relu) l.relu[sorted[i]->in[0]->place] = sorted[i];
        if (sorted[i]->op == &op_gelu_slope || sorted[i]->op == &op_gelu_curve)
            l.curved[sorted[i]->in[0]->place] = true;
    }
    for (int k = 0; k < n_out; k++) l.uses[outs[k]->place]++;
    for (int i = 0; i < n; i++) {
        node *m = sorted[i], *better = m->op == &op_rank_copy    ? l.image[m->in[0]->place]
                                       : m->dtype == BK_INT64 ? NULL
                                                              : pattern(&l, m);
        if (!(l.image[i] = better ? better : on_images(g, m, l.image))) return false;
    }
    for (int k = 0; k < n_out; k++) outs[k] = l.image[outs[k]->place];
    return place_products(g, n_out, outs);
}
