/* loss.c - losses as functions. Data is part of the function (graph constants), so that one task is one value
 * and the compiled plan knows it. */
#include "loss.h"
#include <stdio.h>
#include <string.h>

typedef struct loss_func {
    func base;
    model *m;
    loss kind;
    bool has_data;
    tensor x[3], y[3]; /* by dtype: the data as given, and its casts once they were needed */
    bk_dtype x_dtype, y_dtype;
    model_with with;
    tensor values[2]; /* its seed and buffers */
} loss_func;

static void loss_destroy(func *f) {
    loss_func *l = (loss_func *)f;
    for (int i = 0; i < 3; i++) {
        tensor_release(&l->x[i]);
        tensor_release(&l->y[i]);
    }
    for (int i = 0; i < 2; i++) tensor_release(&l->values[i]);
    model_release(l->m);
}

/* The data in the wanted dtype, cast once. */
static const tensor *loss_data(tensor *versions, bk_dtype given, bk_dtype wanted, graph *g) {
    err e = { 0 };
    if (!versions[wanted].store && tensor_contiguous_as(&versions[given], wanted, &versions[wanted], &e)) {
        graph_fail(g, e.status, "%s", e.text);
        return NULL;
    }
    return &versions[wanted];
}

/* The model's outputs in the loss's mode: what it was told goes before what is in force. */
static node *outputs(const loss_func *l, const char *who, graph *g, node *theta, node *x) {
    const model_with *with = &l->with;
    model_mode *before = l->m->mode, mode = { .g = g };
    if (before && before->g == g) mode = *before;
    if (with->told) mode.train = with->train;
    if (with->seed) {
        mode.seed = graph_const(g, &l->values[0]);
        mode.passes = 0;
    }
    if (with->buffers) mode.buffers = graph_const(g, &l->values[with->seed]);
    model_mode_set(l->m, &mode);
    node *z = model_build(l->m, who, g, theta, x);
    model_mode_set(l->m, before);
    if (before && before->g == g) {
        if (!with->seed) before->passes = mode.passes;
        if (!with->buffers) before->buffers = mode.buffers;
    }
    return z;
}

/* y in its range: class ids of z's classes, or numbers from 0 to 1. */
static node *checked(const loss_row *row, graph *g, const node *z, node *y, const char *who) {
    if (row->class_ids) return g_labels(g, y, z->shape[z->ndim - 1], who);
    return row->probabilities ? g_labels(g, y, 0, who) : y;
}

static bool loss_build(func *f, graph *g, int n_in, node *const *in, node_list *out) {
    loss_func *l = (loss_func *)f;
    const loss_row *row = l->kind.row;
    int want = l->has_data ? 1 : 3;
    if (n_in != want) {
        graph_fail(g, BK_EINVAL, "bk.loss.%s: expected %s, got %d argument%s", row->name,
                   l->has_data ? "theta alone (its data is inside)" : "(theta, x, y)", n_in, n_in == 1 ? "" : "s");
        return false;
    }
    node *theta = in[0], *x, *y;
    if (!theta) return false;
    bk_dtype floating = theta->dtype == BK_FLOAT32 ? BK_FLOAT32 : BK_FLOAT64;
    if (l->has_data) {
        const tensor *xt = loss_data(l->x, l->x_dtype, model_takes_ids(l->m) ? BK_INT64 : floating, g);
        const tensor *yt = loss_data(l->y, l->y_dtype, row->class_ids ? BK_INT64 : floating, g);
        if (!xt || !yt) return false;
        x = graph_const(g, xt);
        y = graph_const(g, yt);
    } else {
        x = in[1];
        y = row->class_ids || !in[2] ? in[2] : g_cast(g, in[2], floating);
    }
    char who[64];
    snprintf(who, sizeof who, "bk.loss.%s", row->name);
    node *z = outputs(l, who, g, theta, x);
    if (!z || !y) return false;
    shape_buf a, b;
    if (!row->class_ids && z->ndim == y->ndim + 1 && z->shape[z->ndim - 1] == 1 &&
        shape_equal(y->ndim, z->shape, y->ndim, y->shape))
        y = g_reshape(g, y, z->ndim, z->shape); /* one output an example: y may be (batch) */
    if (row->class_ids ? z->ndim < 1 || !shape_equal(z->ndim - 1, z->shape, y->ndim, y->shape)
                       : !shape_equal(z->ndim, z->shape, y->ndim, y->shape)) {
        graph_fail(g, BK_EINVAL, "bk.loss.%s: y: expected %s%s, got %s", row->name,
                   shape_text(row->class_ids && z->ndim ? z->ndim - 1 : z->ndim, z->shape, &a),
                   row->class_ids ? " class ids" : "", shape_text(y->ndim, y->shape, &b));
        return false;
    }
    if (z->count == 0) {
        graph_fail(g, BK_EINVAL, "bk.loss.%s: x: an empty batch has no mean", row->name);
        return false;
    }
    if (!l->has_data && !(y = checked(row, g, z, y, who))) return false;
    out->n = 1;
    out->v = graph_alloc(g, sizeof(node *));
    return out->v && (out->v[0] = row->build(&l->kind, g, z, y)) != NULL;
}

static const func_class loss_class = { "loss", loss_build, loss_destroy };

/* Builds the loss once, so that wrong shapes are reported where they were given, and finds the number of classes. */
static bk_status loss_try(loss_func *l, int64_t *classes, err *e) {
    graph *g = ops_graph(l->base.c);
    if (!g) return err_nomem(e, 0);
    node *theta = graph_input(g, BK_FLOAT64, 1, &l->m->n_params);
    node_list out = { 0 };
    if (loss_build(&l->base, g, 1, &theta, &out)) {
        const tensor *xt = &l->x[model_takes_ids(l->m) ? BK_INT64 : BK_FLOAT64];
        node *z = outputs(l, l->kind.row->name, g, theta, graph_const(g, xt));
        *classes = z && z->ndim ? z->shape[z->ndim - 1] : 0;
    }
    bk_status st = graph_status(g, e);
    graph_free(g);
    return st;
}

/* The same of the data inside, at once. */
static bk_status check_labels(const loss_func *l, const tensor *y, int64_t classes, err *e) {
    const loss_row *row = l->kind.row;
    const int64_t n = row->class_ids || row->probabilities ? tensor_count(y) : 0;
    bk_status st = BK_OK;
    int64_t since = 0;
    char who[64];
    snprintf(who, sizeof who, "bk.loss.%s", row->name);
    for (int64_t i = 0; i < n && !st; i++) {
        if (ctx_stops(l->base.c, &since, 1)) return ctx_poll(l->base.c, e);
        st = op_check_label(who, row->class_ids ? classes : 0, i, tensor_get(y, i), e);
    }
    return st;
}

func *loss_new(model *m, const loss *kind, const tensor *x, const tensor *y, const model_with *with,
               const tensor *values, err *e) {
    const loss_row *row = kind->row;
    if (!x != !y) {
        err_set(e, BK_EINVAL, "bk.loss.%s: expected both x and y, or neither", row->name);
        return NULL;
    }
    loss_func *l = func_new(m->c, &loss_class, sizeof *l, e);
    if (!l) return NULL;
    l->m = m;
    model_retain(m);
    l->kind = *kind;
    l->with = *with;
    for (int i = 0; i < with->seed + with->buffers; i++) {
        l->values[i] = values[i];
        tensor_retain(&l->values[i]);
    }
    if (!x) return &l->base;
    l->has_data = true;
    l->x_dtype = x->dtype;
    l->y_dtype = y->dtype;
    int64_t classes = 0;
    shape_buf sb;
    bk_status st = BK_OK;
    if (model_takes_ids(m) && x->dtype != BK_INT64)
        st = err_set(e, BK_EINVAL, "bk.loss.%s: x: expected int64 indices, got %s %s", row->name, dtype_name(x->dtype),
                     shape_text(x->ndim, x->shape, &sb));
    if (!st) st = tensor_contiguous_as(x, x->dtype, &l->x[x->dtype], e);
    if (!st) st = tensor_contiguous_as(y, y->dtype, &l->y[y->dtype], e);
    if (!st) st = loss_try(l, &classes, e);
    if (!st) st = check_labels(l, y, classes, e);
    if (!st) return &l->base;
    func_release(&l->base);
    return NULL;
}

/* ---- accuracy ---- */

node *loss_hits_class(graph *g, node *z, node *y) {
    return g_eq(g, g_argmax(g, z, z->ndim - 1), y);
}

static bool accuracy_build(func *f, graph *g, int n_in, node *const *in, node_list *out) {
    const loss_func *l = (loss_func *)f;
    const loss_row *row = l->kind.row;
    if (n_in != 3) {
        graph_fail(g, BK_EINVAL, "model:accuracy: expected (theta, x, y), got %d argument%s", n_in,
                   n_in == 1 ? "" : "s");
        return false;
    }
    node *z = model_build(l->m, "model:accuracy", g, in[0], in[1]), *y = in[2];
    if (!z || !y) return false;
    shape_buf a, b;
    if (!row->class_ids && z->count == y->count) y = g_reshape(g, y, z->ndim, z->shape);
    int ndim = row->class_ids ? z->ndim - 1 : z->ndim;
    if (z->count == 0) return graph_fail(g, BK_EINVAL, "model:accuracy: x: an empty batch has no accuracy"), false;
    if (z->ndim < 1 || !y || !shape_equal(ndim, z->shape, y->ndim, y->shape)) {
        graph_fail(g, BK_EINVAL, "model:accuracy: y: expected %s of shape %s, got %s",
                   row->class_ids ? "class ids" : "targets", shape_text(ndim > 0 ? ndim : 0, z->shape, &a),
                   y ? shape_text(y->ndim, y->shape, &b) : "none");
        return false;
    }
    y = checked(row, g, z, y, "model:accuracy");
    out->n = 1;
    out->v = graph_alloc(g, sizeof(node *));
    return y && out->v && (out->v[0] = g_mean_all(g, g_cast(g, row->hits(g, z, y), BK_FLOAT64))) != NULL;
}

static const func_class accuracy_class = { "model:accuracy", accuracy_build, loss_destroy };

func *loss_accuracy(model *m, const loss_row *row, err *e) {
    loss_func *l = func_new(m->c, &accuracy_class, sizeof *l, e);
    if (!l) return NULL;
    l->m = m;
    l->kind.row = row;
    model_retain(m);
    return &l->base;
}
