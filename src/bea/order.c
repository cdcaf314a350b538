/* order.c - target-conditioned order effects. Both methods rest on one function: theta, p -> all gradients, all
 * products H_i p. Of a field that is no gradient it is the transpose's product: <p, DF v> = <DF' p, v>. */
#include "order.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct order_func {
    func base;
    int n;
    func **source; /* n, then the target when there is one */
    int n_funcs;
    double drift;
    func *adjoint, *end; /* of a joint path: products along it, and grad E */
} order_func;

static void order_destroy(func *f) {
    order_func *o = (order_func *)f;
    for (int i = 0; o->source && i < o->n_funcs; i++) func_release(o->source[i]);
    mem_free(f->c, o->source, o->source ? (size_t)(o->n + 1) * sizeof *o->source : 0);
    func_release(o->adjoint);
    func_release(o->end);
}

static order_func *order_new(ctx *c, const func_class *cls, int n, func *const *sources, func *target, err *e) {
    if (n < 1) {
        err_set(e, BK_EINVAL, "%s: sources: expected at least one", cls->name);
        return NULL;
    }
    order_func *o = func_new(c, cls, sizeof *o, e);
    if (!o) return NULL;
    o->n = n;
    o->source = mem_alloc(c, (size_t)(n + 1) * sizeof *o->source);
    if (!o->source) {
        func_release(&o->base);
        err_nomem(e, (size_t)(n + 1) * sizeof *o->source);
        return NULL;
    }
    for (int i = 0; i < n; i++) func_retain(o->source[o->n_funcs++] = sources[i]);
    if (target) func_retain(o->source[o->n_funcs++] = target);
    return o;
}

/* D field' p, the transpose's product at in[0], theta: for a gradient H p, by the cheaper forward derivative. */
static node *adjoint_product(func *f, graph *g, node *field, int n_in, node *const *in, node *p) {
    node *theta = in[0], *y = func_build1(f, "loss", g, n_in, in), *u = NULL;
    if (!y || !field || y->ndim == 0) return bea_jvp(g, field, theta, p);
    if (!graph_vjp(g, 1, &field, &p, 1, &theta, &u)) return NULL;
    return u ? u : g_zeros_like(g, theta);
}

/* Gradients or fields (n, P) and products H_i p, DF_i' p (n, P) at in[0], theta (a leaf); the other arguments are the
 * sources'. */
static bool gradients_products(const order_func *o, graph *g, int n_in, node *const *in, node *p, node **grads,
                               node **products) {
    int n = o->n;
    node **v = graph_alloc(g, (size_t)n * sizeof *v), **u = graph_alloc(g, (size_t)n * sizeof *u);
    for (int i = 0; v && u && i < n && !graph_failed(g); i++) {
        char what[64];
        snprintf(what, sizeof what, "%s: source %d", o->base.cls->name, i + 1);
        v[i] = func_build_field(o->source[i], g, n_in, in, what);
        if (p) u[i] = adjoint_product(o->source[i], g, v[i], n_in, in, p);
    }
    if (graph_failed(g)) return false;
    *grads = bea_rows(g, n, v);
    if (p) *products = bea_rows(g, n, u);
    return !graph_failed(g);
}

static bool order_outputs(graph *g, node_list *out, node *a, node *b, node *hole, node *theta) {
    out->n = b ? 2 : 1;
    out->v = graph_alloc(g, 2 * sizeof *out->v);
    if (!out->v) return false;
    out->v[0] = a, out->v[1] = b;
    return bea_fill(g, out->n, out->v, hole, theta);
}

/* ---- tournament ---- */
static bool tournament_build(func *f, graph *g, int n_in, node *const *in, node_list *out) {
    order_func *o = (order_func *)f;
    if (n_in != 1) {
        graph_fail(g, BK_EINVAL, "bk.bea.tournament: expected theta, got %d arguments", n_in);
        return false;
    }
    node *hole = bea_hole(g, in[0]), *p = bea_hole(g, in[0]), *grads = NULL, *u = NULL;
    if (!p || !gradients_products(o, g, 1, &hole, p, &grads, &u)) return false;
    node *at = hole;
    if (o->drift != 0)
        at = g_sub(g, hole, g_reshape(g, g_scale(g, o->drift, g_sum(g, grads, 1u, false)), hole->ndim, hole->shape));
    node *de = func_build_field(o->source[o->n], g, 1, &at, "bk.bea.tournament: target");
    if (!de || !u || !graph_substitute(g, 1, &u, 1, &p, &de)) return false;
    node *b = g_matmul_t(g, grads, u, false, true); /* <g_i, u_j> */
    node *a = g_sub(g, b, g_transpose(g, b));
    return order_outputs(g, out, a, g_sum(g, a, 2u, false), hole, in[0]);
}

static const func_class tournament_class = { "bk.bea.tournament", tournament_build, order_destroy, .tells = true };

func *tournament_func(ctx *c, int n, func *const *sources, func *target, double drift, err *e) {
    order_func *o = order_new(c, &tournament_class, n, sources, target, e);
    if (!o) return NULL;
    o->drift = drift;
    return &o->base;
}

/* ---- path ---- */
/* theta and data, with a hole for theta. */
static node **path_arguments(graph *g, node *hole, int n_data, node *const *data) {
    node **at = graph_alloc(g, sizeof *at * (size_t)(n_data + 1));
    if (!at || !hole) return NULL;
    at[0] = hole;
    memcpy(at + 1, data, sizeof *at * (size_t)n_data);
    return at;
}

/* (theta, data...) -> sum of the gradients */
static bool joint_build(func *f, graph *g, int n_in, node *const *in, node_list *out) {
    node *hole = bea_hole(g, in[0]), **at = path_arguments(g, hole, n_in - 1, in + 1), *grads = NULL;
    if (!at || !gradients_products((order_func *)f, g, n_in, at, NULL, &grads, NULL)) return false;
    return order_outputs(g, out, g_sum(g, grads, 1u, false), NULL, hole, in[0]);
}

/* (theta, p, data...) -> sum_i H_i p (P), A (n, n) with A_ij = <H_j p, g_i> - <H_i p, g_j> */
static bool adjoint_build(func *f, graph *g, int n_in, node *const *in, node_list *out) {
    node *hole = bea_hole(g, in[0]), **at = path_arguments(g, hole, n_in - 2, in + 2), *grads = NULL, *u = NULL;
    if (!at || !gradients_products((order_func *)f, g, n_in - 1, at, in[1], &grads, &u)) return false;
    node *b = g_matmul_t(g, grads, u, false, true);
    return order_outputs(g, out, g_sum(g, u, 1u, false), g_sub(g, b, g_transpose(g, b)), hole, in[0]);
}

static const func_class joint_class = { "bk.bea.path_bracket", joint_build, order_destroy };
static const func_class adjoint_class = { "bk.bea.path_bracket", adjoint_build, order_destroy };

static const char PATH[] = "bk.bea.path_bracket";

func *path_func(ctx *c, int n, func *const *sources, func *target, err *e) {
    order_func *o = order_new(c, &joint_class, n, sources, NULL, e), *adjoint;
    if (!o) return NULL;
    if ((adjoint = order_new(c, &adjoint_class, n, sources, NULL, e)) && (o->adjoint = &adjoint->base) &&
        (o->end = func_field(target, e)))
        return &o->base;
    func_release(&o->base);
    return NULL;
}

typedef struct path {
    plan *joint, *adjoint;
    const void *in[FUNC_ARGUMENTS], *in_adjoint[FUNC_ARGUMENTS]; /* theta, data; theta, p, data */
    int n;
    int64_t count;
    bk_dtype dtype;
    size_t row; /* bytes of one state */
    char *states, *k1, *k2, *tmp;
    void *pairs; /* (n, n) of dtype */
} path;

static void axpy(const path *p, void *out, double a, const void *x, const void *y) {
    vec_get(VEC_AXPY, p->dtype)(p->count, out, x, y, NULL, a);
}

static bk_status joint_run(path *p, const void *theta, void *out, err *e) {
    p->in[0] = theta;
    return plan_run(p->joint, p->in, &out, e);
}

static bk_status adjoint_run(path *p, const void *theta, const void *v, void *out, err *e) {
    void *outs[2] = { out, p->pairs };
    p->in_adjoint[0] = theta, p->in_adjoint[1] = v;
    return plan_run(p->adjoint, p->in_adjoint, outs, e);
}

static bk_status forward(path *p, ctx *c, const path_options *o, err *e) {
    double d = o->time / (double)o->steps;
    bk_status st = BK_OK;
    for (int64_t j = 0; j < o->steps && !st; j++) {
        char *now = p->states + (size_t)j * p->row, *next = now + p->row;
        ctx_tell(c, PATH, j, 2 * o->steps);
        if ((st = ctx_poll(c, e)) || (st = joint_run(p, now, p->k1, e))) return st;
        axpy(p, next, -d, p->k1, now);
        if (o->method == PATH_HEUN) {
            st = joint_run(p, next, p->k2, e);
            axpy(p, next, -0.5 * d, p->k1, now);
            axpy(p, next, -0.5 * d, p->k2, next);
        }
    }
    return st;
}

static void add_pairs(const path *p, double weight, double *pairs) {
    for (int i = 0; i < p->n * p->n; i++) pairs[i] += weight * dtype_get(p->dtype, p->pairs, i);
}

/* The tent 4 min(t, 1 - t), 0 outside 0..1, integrated up to t, and once more. */
static double tent_area(double t) {
    double left = fmax(t < 0.5 ? t : 1 - t, 0);
    return t < 0.5 ? 2 * left * left : 1 - 2 * left * left;
}
static double tent_moment(double t) {
    double left = fmax(t < 0.5 ? t : 1 - t, 0);
    return 2.0 / 3 * left * left * left + (t < 0.5 ? 0 : t - 0.5);
}

/* kappa^2 times the share of the integral that place j of the path has: heun's places are joined by lines, euler's hold
 * until the next. */
static double weight_at(const path_options *o, int64_t j) {
    double d = 1 / (double)o->steps, t = (double)j * d, square = o->time * o->time;
    if (o->weight == PATH_UNIFORM) return square * (o->method == PATH_HEUN && j % o->steps == 0 ? 0.5 * d : d);
    if (o->method == PATH_EULER) return square * (tent_area(t + d) - tent_area(t));
    return square * (tent_moment(t + d) - 2 * tent_moment(t) + tent_moment(t - d)) / d;
}

/* v: grad E at the path's end, overwritten by p going back. */
static bk_status backward(path *p, ctx *c, const path_options *o, void *v, double *pairs, err *e) {
    double d = o->time / (double)o->steps;
    const char *end = p->states + (size_t)o->steps * p->row;
    bk_status st = o->method == PATH_HEUN ? adjoint_run(p, end, v, p->k1, e) : BK_OK;
    if (!st && o->method == PATH_HEUN) add_pairs(p, weight_at(o, o->steps), pairs);
    for (int64_t j = o->steps - 1; j >= 0 && !st; j--) {
        const char *now = p->states + (size_t)j * p->row;
        ctx_tell(c, PATH, 2 * o->steps - 1 - j, 2 * o->steps);
        if ((st = ctx_poll(c, e))) return st;
        if (o->method == PATH_EULER) {
            if ((st = adjoint_run(p, now, v, p->k1, e))) return st;
            add_pairs(p, weight_at(o, j), pairs);
            axpy(p, v, -d, p->k1, v);
            continue;
        }
        axpy(p, p->tmp, -d, p->k1, v);
        if ((st = adjoint_run(p, now, p->tmp, p->k2, e))) return st;
        axpy(p, v, -0.5 * d, p->k1, v);
        axpy(p, v, -0.5 * d, p->k2, v);
        if ((st = adjoint_run(p, now, v, p->k1, e))) /* the next step's first stage, and this place's brackets */
            return st;
        add_pairs(p, weight_at(o, j), pairs);
    }
    return st;
}

bk_status path_bracket(func *f, const tensor *theta, int n_data, const tensor *data, const path_options *o,
                       double *pairs, err *e) {
    const order_func *joint = (order_func *)f;
    ctx *c = f->c;
    const int n = joint->n;
    if (!isfinite(o->time))
        return err_set(e, BK_EINVAL, "bk.bea.path_bracket: time: expected a finite number, got %g", o->time);
    if (o->steps < 1)
        return err_set(e, BK_EINVAL, "bk.bea.path_bracket: steps: expected a whole number >= 1, got %lld",
                       (long long)o->steps);
    if (o->weight == PATH_TENT && n != 2)
        return err_set(e, BK_EINVAL, "bk.bea.path_bracket: weight: expected two losses with \"tent\", got %d", n);
    if (theta->dtype == BK_INT64)
        return err_set(e, BK_EINVAL, "bk.bea.path_bracket: theta: expected floating point, got int64");
    if (n_data > FUNC_ARGUMENTS - 2)
        return err_set(e, BK_EINVAL, "bk.bea.path_bracket: data: expected at most %d tensors, got %d",
                       FUNC_ARGUMENTS - 2, n_data);
    int64_t count = tensor_count(theta), rows = o->steps + 5;
    path p = { .n = n, .count = count, .dtype = theta->dtype, .row = (size_t)count * dtype_size(theta->dtype) };
    plan *end = NULL;
    tensor like[FUNC_ARGUMENTS], held[FUNC_ARGUMENTS], mem = { 0 }, small = { 0 };
    const int64_t shape[2] = { rows, count }, nn = (int64_t)n * n;
    like[0] = like[1] = *theta;
    for (int i = 0; i < n_data; i++) like[2 + i] = data[i], held[i] = (tensor){ 0 };
    bk_status st = func_plan(joint->adjoint, n_data + 2, like, false, &p.adjoint, e); /* like + 1: without p */
    if (!st) st = func_plan(f, n_data + 1, like + 1, false, &p.joint, e);
    if (!st) st = func_plan(joint->end, n_data + 1, like + 1, false, &end, e);
    for (int i = 0; i < n_data && !st; i++) {
        st = tensor_contiguous_as(&data[i], data[i].dtype, &held[i], e);
        if (!st) p.in[1 + i] = p.in_adjoint[2 + i] = tensor_data(&held[i]);
    }
    if (!st) st = tensor_new(c, theta->dtype, 2, shape, &mem, e);
    if (!st) st = tensor_new(c, theta->dtype, 1, &nn, &small, e);
    if (!st) {
        p.states = tensor_data(&mem);
        p.k1 = p.states + (size_t)(o->steps + 1) * p.row;
        p.k2 = p.k1 + p.row, p.tmp = p.k2 + p.row;
        p.pairs = tensor_data(&small);
        void *v = p.tmp + p.row;
        memset(pairs, 0, (size_t)nn * sizeof *pairs);
        tensor_copy_to(theta, theta->dtype, p.states);
        st = forward(&p, c, o, e);
        p.in[0] = p.states + (size_t)o->steps * p.row;
        if (!st) st = plan_run(end, p.in, &v, e);
        if (!st) st = backward(&p, c, o, v, pairs, e);
    }
    ctx_tell(c, PATH, 1, 1);
    for (int i = 0; i < n_data; i++) tensor_release(&held[i]);
    tensor_release(&mem);
    tensor_release(&small);
    return st;
}
