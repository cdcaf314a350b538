/* transforms.c - functions made from functions: derivatives, vmap, brackets, sums. Each builds its
 * operand on placeholders, transforms, and puts the real arguments in their place: so a function that
 * closes over other nodes of the same trace is differentiated in its arguments only. */
#include "../ops/ops.h"
#include "func.h"

#include <string.h>

typedef struct func_of {
    func base;
    int n, n_coef;
    double *coef;
    func **fs;
} func_of;

static void of_destroy(func *self) {
    func_of *f = (func_of *)self;
    for (int i = 0; i < f->n; i++) func_release(f->fs[i]);
    mem_free(self->c, f->fs, sizeof *f->fs * (size_t)f->n);
    mem_free(self->c, f->coef, sizeof *f->coef * (size_t)f->n_coef);
}

static func *of_new(ctx *c, const func_class *cls, int n, int n_coef, const double *coef, func *const *fs, err *e) {
    func_of *f = func_new(c, cls, sizeof *f, e);
    if (!f) return NULL;
    f->fs = mem_alloc(c, sizeof *f->fs * (size_t)n);
    f->coef = n_coef ? mem_alloc(c, sizeof *f->coef * (size_t)n_coef) : NULL;
    if (!f->fs || (n_coef && !f->coef)) {
        err_nomem(e, sizeof *f->fs * (size_t)n);
        mem_free(c, f->fs, sizeof *f->fs * (size_t)n);
        mem_free(c, f->coef, sizeof *f->coef * (size_t)n_coef);
        f->fs = NULL;
        f->coef = NULL;
        func_release(&f->base);
        return NULL;
    }
    f->n = n;
    f->n_coef = n_coef;
    for (int i = 0; i < n; i++) {
        func_retain(fs[i]);
        f->fs[i] = fs[i];
    }
    if (n_coef) memcpy(f->coef, coef, sizeof *coef * (size_t)n_coef);
    return &f->base;
}

static func *operand(func *self) {
    return ((func_of *)self)->fs[0];
}

static node **array(graph *g, int n) {
    node **v = graph_alloc(g, sizeof *v * (size_t)(n ? n : 1));
    if (v) memset(v, 0, sizeof *v * (size_t)n);
    return v;
}

static bool one(graph *g, node *n, node_list *out) {
    out->v = array(g, 1);
    if (!out->v || !n) return false;
    out->n = 1;
    out->v[0] = n;
    return true;
}

static node *placeholder(graph *g, node *like) {
    return like ? graph_input(g, like->dtype, like->ndim, like->shape) : NULL;
}

/* f on args with argument 0 replaced by a placeholder; single 0-d or any output y. */
static node *build_at(func *f, const char *who, graph *g, node *at, int n_in, node *const *in) {
    node **args = array(g, n_in);
    if (!args) return NULL;
    if (n_in) memcpy(args, in, sizeof *args * (size_t)n_in);
    args[0] = at;
    return func_build1(f, who, g, n_in, args);
}

static bool need(graph *g, const char *name, int n_in, int least) {
    if (n_in >= least) return true;
    graph_fail(g, BK_EINVAL, "%s: expected at least %d argument%s, got %d", name, least, least == 1 ? "" : "s", n_in);
    return false;
}

static bool float_argument(graph *g, const char *name, const node *n) {
    if (n->dtype != BK_INT64) return true;
    graph_fail(g, BK_EINVAL, "%s: argument 1: expected a float tensor, got int64", name);
    return false;
}

/* ---- grad, value_and_grad ---- */

/* With its value, what else f returns comes along: new buffers, say. */
static bool grad_with_value(func *self, graph *g, int n_in, node *const *in, node_list *out, bool value) {
    const char *who = self->cls->name;
    if (!need(g, who, n_in, 1) || !float_argument(g, who, in[0])) return false;
    node *p = placeholder(g, in[0]), **args = array(g, n_in), *y = NULL;
    node_list of = { 0, NULL };
    if (!args || !p) return false;
    memcpy(args, in, sizeof *args * (size_t)n_in);
    args[0] = p;
    if (value && func_build(operand(self), g, n_in, args, &of)) y = of.v[0];
    if (!value) y = func_build1(operand(self), who, g, n_in, args);
    if (!y) return false;
    out->n = value ? of.n + 1 : 1;
    out->v = array(g, out->n);
    if (!out->v) return false;
    out->v[0] = y;
    out->v[value] = graph_grad(g, y, p, who);
    for (int i = 1; i < of.n; i++) out->v[i + 1] = of.v[i];
    return graph_substitute(g, out->n, out->v, 1, &p, &in[0]);
}

static bool grad_build(func *self, graph *g, int n_in, node *const *in, node_list *out) {
    return grad_with_value(self, g, n_in, in, out, false);
}
static bool value_grad_build(func *self, graph *g, int n_in, node *const *in, node_list *out) {
    return grad_with_value(self, g, n_in, in, out, true);
}
static const func_class grad_class = { "bk.grad", grad_build, of_destroy, .field = true };
static const func_class value_grad_class = { "bk.value_and_grad", value_grad_build, of_destroy };

func *func_grad(func *f, err *e) {
    return of_new(f->c, &grad_class, 1, 0, NULL, &f, e);
}
func *func_value_and_grad(func *f, err *e) {
    return of_new(f->c, &value_grad_class, 1, 0, NULL, &f, e);
}

/* ---- hvp, hessian: jvp of the gradient, vectorised over directions ---- */

/* H V for V (k, θ.shape): one direction's graph over a new axis. */
static node *hvp_many(graph *g, node *grad, node *p, node *directions) {
    node *v = placeholder(g, p), *hv = NULL;
    if (!graph_jvp(g, 1, &grad, 1, &p, &v, &hv)) return NULL;
    if (!hv) return g_zeros_like(g, directions);
    bool batched = true;
    return graph_vmap(g, 1, &hv, 1, &v, &directions, &batched, directions->shape[0]) ? hv : NULL;
}

static bool hvp_build(func *self, graph *g, int n_in, node *const *in, node_list *out) {
    if (!need(g, "bk.hvp", n_in, 2) || !float_argument(g, "bk.hvp", in[0])) return false;
    node *theta = in[0], *v = g_cast(g, in[1], theta->dtype), *p = placeholder(g, theta);
    node **args = array(g, n_in - 1);
    if (!args || !v) return false;
    args[0] = p;
    for (int i = 2; i < n_in; i++) args[i - 1] = in[i];
    node *grad = graph_grad(g, func_build1(operand(self), "bk.hvp", g, n_in - 1, args), p, "bk.hvp"), *hv = NULL;
    if (!grad) return false;
    if (shape_equal(v->ndim, v->shape, theta->ndim, theta->shape)) {
        if (!graph_jvp(g, 1, &grad, 1, &p, &v, &hv)) return false;
        if (!hv) hv = g_zeros_like(g, theta);
    } else if (v->ndim == theta->ndim + 1 && shape_equal(v->ndim - 1, v->shape + 1, theta->ndim, theta->shape)) {
        hv = hvp_many(g, grad, p, v);
    } else {
        shape_buf a, b;
        graph_fail(g, BK_EINVAL, "bk.hvp: v: expected θ's shape %s, or a leading axis of directions before it, got %s",
                   shape_text(theta->ndim, theta->shape, &a), shape_text(v->ndim, v->shape, &b));
        return false;
    }
    return hv && graph_substitute(g, 1, &hv, 1, &p, &theta) && one(g, hv, out);
}

/* The gradient of f at the placeholder *p. */
static node *grad_at(func *f, const char *who, graph *g, int n_in, node *const *in, node **p) {
    *p = placeholder(g, in[0]);
    return graph_grad(g, build_at(f, who, g, *p, n_in, in), *p, who);
}

static node *hessian_rows(func *self, graph *g, int n_in, node *const *in, node *directions) {
    if (!need(g, "bk.hessian", n_in, 1) || !float_argument(g, "bk.hessian", in[0])) return NULL;
    if (in[0]->ndim * 2 > BK_MAX_DIMS)
        return graph_fail(g, BK_EINVAL, "bk.hessian: θ has %d dimensions, at most %d are possible", in[0]->ndim,
                          BK_MAX_DIMS / 2);
    node *p, *grad = grad_at(operand(self), "bk.hessian", g, n_in, in, &p);
    node *h = grad && directions ? hvp_many(g, grad, p, directions) : NULL;
    return h && graph_substitute(g, 1, &h, 1, &p, &in[0]) ? h : NULL;
}

static node *identity(graph *g, const node *theta) { /* (θ's count, θ's shape) */
    int64_t square[2] = { theta->count, theta->count }, shape[BK_MAX_DIMS + 1] = { theta->count };
    tensor eye;
    err e = { 0 };
    if (tensor_zeros(graph_ctx(g), theta->dtype, 2, square, &eye, &e))
        return graph_fail(g, e.status, "bk.hessian: %s", e.text);
    for (int64_t i = 0; i < theta->count; i++) tensor_set(&eye, i * (theta->count + 1), 1);
    memcpy(shape + 1, theta->shape, sizeof *shape * (size_t)theta->ndim);
    node *y = theta->ndim < BK_MAX_DIMS ? g_reshape(g, graph_const(g, &eye), theta->ndim + 1, shape) : NULL;
    tensor_release(&eye);
    return y;
}

static bool hessian_build(func *self, graph *g, int n_in, node *const *in, node_list *out) {
    const bool any = n_in > 0 && in[0]->dtype != BK_INT64; /* else hessian_rows says what is wrong */
    node *h = hessian_rows(self, g, n_in, in, any ? identity(g, in[0]) : NULL);
    if (!h) return false;
    int64_t twice[2 * BK_MAX_DIMS];
    const int n = in[0]->ndim;
    memcpy(twice, in[0]->shape, sizeof *twice * (size_t)n);
    memcpy(twice + n, in[0]->shape, sizeof *twice * (size_t)n);
    return one(g, g_reshape(g, h, 2 * n, twice), out);
}

static const func_class hvp_class = { "bk.hvp", hvp_build, of_destroy };
static const func_class hessian_class = { "bk.hessian", hessian_build, of_destroy, hessian_rows };

func *func_hvp(func *f, err *e) {
    return of_new(f->c, &hvp_class, 1, 0, NULL, &f, e);
}
func *func_hessian(func *f, err *e) {
    return of_new(f->c, &hessian_class, 1, 0, NULL, &f, e);
}

/* ---- compile ---- */

static bool compile_build(func *self, graph *g, int n_in, node *const *in, node_list *out) {
    return func_build(operand(self), g, n_in, in, out);
}
static node *compile_rows(func *self, graph *g, int n_in, node *const *in, node *directions) {
    return operand(self)->cls->build_rows(operand(self), g, n_in, in, directions);
}
static const func_class compile_class = { "bk.compile", compile_build, of_destroy };
static const func_class compile_rows_class = { "bk.compile", compile_build, of_destroy, compile_rows };

func *func_compile(func *f, size_t memory, err *e) {
    func *y = of_new(f->c, f->cls->build_rows ? &compile_rows_class : &compile_class, 1, 0, NULL, &f, e);
    if (y) y->memory = memory;
    return y;
}

/* ---- jvp, vjp ---- */

static bool jvp_build(func *self, graph *g, int n_in, node *const *in, node_list *out) {
    int n = n_in / 2;
    if (n_in % 2 || n == 0) {
        graph_fail(g, BK_EINVAL, "bk.jvp: expected as many tangents as arguments, got %d tensors in all", n_in);
        return false;
    }
    node **p = array(g, n), **tangents = array(g, n);
    if (!p || !tangents) return false;
    for (int i = 0; i < n; i++) {
        p[i] = placeholder(g, in[i]);
        if (in[i]->dtype == BK_INT64) continue; /* an index does not move */
        tangents[i] = g_cast(g, in[n + i], in[i]->dtype);
        if (tangents[i] && !shape_equal(in[i]->ndim, in[i]->shape, tangents[i]->ndim, tangents[i]->shape)) {
            shape_buf a, b;
            graph_fail(g, BK_EINVAL, "bk.jvp: tangent %d: expected shape %s, got %s", i + 1,
                       shape_text(in[i]->ndim, in[i]->shape, &a),
                       shape_text(tangents[i]->ndim, tangents[i]->shape, &b));
        }
    }
    node_list y;
    if (!func_build(operand(self), g, n, p, &y)) return false;
    node **all = array(g, 2 * y.n);
    if (!all || !graph_jvp(g, y.n, y.v, n, p, tangents, all + y.n)) return false;
    for (int i = 0; i < y.n; i++) {
        all[i] = y.v[i];
        if (!all[y.n + i]) all[y.n + i] = g_zeros_like(g, y.v[i]);
    }
    *out = (node_list){ 2 * y.n, all };
    return graph_substitute(g, 2 * y.n, all, n, p, in);
}

static bool vjp_build(func *self, graph *g, int n_in, node *const *in, node_list *out) {
    int n = (int)((func_of *)self)->coef[0]; /* the arguments; the rest are cotangents */
    if (n > n_in) {
        graph_fail(g, BK_EINVAL, "bk.vjp: expected at least %d tensors, got %d", n, n_in);
        return false;
    }
    node **p = array(g, n);
    if (!p) return false;
    for (int i = 0; i < n; i++) p[i] = placeholder(g, in[i]);
    node_list y;
    if (!func_build(operand(self), g, n, p, &y)) return false;
    if (n_in - n != y.n) {
        graph_fail(g, BK_EINVAL, "bk.vjp: expected %d cotangent%s, got %d", y.n, y.n == 1 ? "" : "s", n_in - n);
        return false;
    }
    for (int i = 0; i < y.n; i++)
        if (!shape_equal(y.v[i]->ndim, y.v[i]->shape, in[n + i]->ndim, in[n + i]->shape)) {
            shape_buf a, b;
            graph_fail(g, BK_EINVAL, "bk.vjp: cotangent %d: expected shape %s, got %s", i + 1,
                       shape_text(y.v[i]->ndim, y.v[i]->shape, &a), shape_text(in[n + i]->ndim, in[n + i]->shape, &b));
            return false;
        }
    node **cts = array(g, y.n), **all = array(g, y.n + n);
    if (!cts || !all) return false;
    for (int i = 0; i < y.n; i++) {
        cts[i] = g_cast(g, in[n + i], y.v[i]->dtype);
        all[i] = y.v[i];
    }
    if (!graph_vjp(g, y.n, y.v, cts, n, p, all + y.n)) return false;
    for (int i = 0; i < n; i++)
        if (!all[y.n + i]) all[y.n + i] = g_zeros_like(g, p[i]);
    *out = (node_list){ y.n + n, all };
    return graph_substitute(g, out->n, all, n, p, in);
}

static const func_class jvp_class = { "bk.jvp", jvp_build, of_destroy };
static const func_class vjp_class = { "bk.vjp", vjp_build, of_destroy };

func *func_jvp(func *f, err *e) {
    return of_new(f->c, &jvp_class, 1, 0, NULL, &f, e);
}
func *func_vjp(func *f, int n_args, err *e) {
    double n = n_args;
    return of_new(f->c, &vjp_class, 1, 1, &n, &f, e);
}

/* ---- vmap ---- */

/* a with the axis first. */
static node *axis_first(graph *g, node *a, int axis) {
    int64_t axes[BK_MAX_DIMS] = { axis };
    for (int i = 0, k = 1; i < a->ndim; i++)
        if (i != axis) axes[k++] = i;
    return g_permute(g, a, axes);
}

static bool vmap_build(func *self, graph *g, int n_in, node *const *in, node_list *out) {
    const func_of *f = (func_of *)self;
    if (!need(g, "bk.vmap", n_in, 1)) return false;
    node **p = array(g, n_in), **to = array(g, n_in);
    bool *batched = graph_alloc(g, (size_t)n_in);
    int first = -1; /* the argument the size is taken from */
    if (!p || !to || !batched) return false;
    if ((int)f->coef[0] > n_in && (int)f->coef[0] < FUNC_ARGUMENTS) { /* so many: one that holds for all */
        graph_fail(g, BK_EINVAL, "bk.vmap: in_axes: expected at most %d, one an argument, got %d", n_in,
                   (int)f->coef[0]);
        return false;
    }
    for (int i = 0; i < n_in; i++) {
        int dim = i < (int)f->coef[0] ? (int)f->coef[1 + i] : 1, axis = dim < 0 ? in[i]->ndim + dim : dim - 1;
        shape_buf a, b;
        batched[i] = dim != 0;
        to[i] = in[i];
        if (!batched[i]) {
            p[i] = placeholder(g, in[i]);
            continue;
        }
        if (in[i]->ndim == 0) {
            graph_fail(g, BK_EINVAL, "bk.vmap: argument %d: expected a leading dimension to map over, got ()", i + 1);
            return false;
        }
        if (axis < 0 || axis >= in[i]->ndim) {
            graph_fail(g, BK_EINVAL, "bk.vmap: argument %d: in_axes: expected a dimension of %s, got %d", i + 1,
                       shape_text(in[i]->ndim, in[i]->shape, &a), dim);
            return false;
        }
        if (!(to[i] = axis_first(g, in[i], axis))) return false;
        if (first < 0) first = i;
        if (to[i]->shape[0] != to[first]->shape[0]) {
            graph_fail(g, BK_EINVAL,
                       "bk.vmap: argument %d: expected size %lld in dimension %d, as argument %d %s, got %s", i + 1,
                       (long long)to[first]->shape[0], axis + 1, first + 1,
                       shape_text(in[first]->ndim, in[first]->shape, &a), shape_text(in[i]->ndim, in[i]->shape, &b));
            return false;
        }
        p[i] = graph_input(g, to[i]->dtype, to[i]->ndim - 1, to[i]->shape + 1);
    }
    if (first < 0) {
        graph_fail(g, BK_EINVAL, "bk.vmap: in_axes: expected a dimension for at least one argument, got none");
        return false;
    }
    return func_build(f->fs[0], g, n_in, p, out) &&
           graph_vmap(g, out->n, out->v, n_in, p, to, batched, to[first]->shape[0]);
}
static const func_class vmap_class = { "bk.vmap", vmap_build, of_destroy };

func *func_vmap(func *f, int n_axes, const signed char *axes, err *e) {
    double coef[FUNC_ARGUMENTS + 1] = { n_axes };
    for (int i = 0; i < n_axes; i++) coef[1 + i] = axes[i];
    return of_new(f->c, &vmap_class, 1, n_axes + 1, coef, &f, e);
}

/* ---- fields ---- */

bool func_is_field(const func *f) {
    while (f->cls == &compile_class || f->cls == &compile_rows_class) f = ((const func_of *)f)->fs[0];
    return f->cls->field;
}

node *func_build_field(func *f, graph *g, int n_in, node *const *in, const char *what) {
    node *theta = in[0], **at = graph_alloc(g, sizeof *at * (size_t)n_in);
    if (!at || !theta || !float_argument(g, what, theta)) return NULL;
    memcpy(at, in, sizeof *at * (size_t)n_in);
    node *p = at[0] = placeholder(g, theta), *y = func_build1(f, what, g, n_in, at);
    if (!y) return NULL;
    if (y->ndim == 0 && !func_is_field(f))
        y = graph_grad(g, y, p, what);
    else if (!shape_equal(y->ndim, y->shape, theta->ndim, theta->shape)) {
        shape_buf a, b;
        return graph_fail(g, BK_EINVAL, "%s: expected a loss (a 0-d tensor) or a field of θ's shape %s, got %s", what,
                          shape_text(theta->ndim, theta->shape, &a), shape_text(y->ndim, y->shape, &b));
    }
    y = g_cast(g, y, theta->dtype);
    return y && graph_substitute(g, 1, &y, 1, &p, &theta) ? y : NULL;
}

/* D field(f) . v at θ = in[0] (v: nodes of θ's shape). */
static node *field_jvp(func *f, graph *g, int n_in, node *const *in, node *v, const char *what) {
    if (!v) return NULL;
    node *theta = in[0], *p = placeholder(g, theta), **at = graph_alloc(g, sizeof *at * (size_t)n_in), *t = NULL;
    if (!p || !at) return NULL;
    memcpy(at, in, sizeof *at * (size_t)n_in);
    at[0] = p;
    node *x = func_build_field(f, g, n_in, at, what);
    if (!x || !graph_jvp(g, 1, &x, 1, &p, &v, &t)) return NULL;
    if (!t) return g_zeros_like(g, theta);
    return graph_substitute(g, 1, &t, 1, &p, &theta) ? t : NULL;
}

static bool field_build(func *self, graph *g, int n_in, node *const *in, node_list *out) {
    return (n_in > 1 || need(g, "field", n_in, 1)) &&
           one(g, func_build_field(operand(self), g, n_in, in, "field"), out);
}
static bool lie_build(func *self, graph *g, int n_in, node *const *in, node_list *out) {
    if (!need(g, "bk.lie", n_in, 1)) return false;
    func *x = ((func_of *)self)->fs[0], *y = ((func_of *)self)->fs[1];
    node *yx = field_jvp(y, g, n_in, in, func_build_field(x, g, n_in, in, "bk.lie: X"), "bk.lie: Y");
    node *xy = field_jvp(x, g, n_in, in, func_build_field(y, g, n_in, in, "bk.lie: Y"), "bk.lie: X");
    return one(g, g_sub(g, yx, xy), out);
}
static const func_class field_class = { "field", field_build, of_destroy, .field = true };
static const func_class lie_class = { "bk.lie", lie_build, of_destroy, .field = true };

func *func_field(func *f, err *e) {
    return of_new(f->c, &field_class, 1, 0, NULL, &f, e);
}
func *func_lie(func *x, func *y, err *e) {
    func *both[2] = { x, y };
    return of_new(x->c, &lie_class, 2, 0, NULL, both, e);
}
