/* modified.c - multitask and continual, as functions built of the tasks' gradients. */
#include "modified.h"
#include <stdio.h>

static node *total(graph *g, int n, node *const *v) {
    node *sum = v[0];
    for (int i = 1; i < n; i++) sum = g_add(g, sum, v[i]);
    return sum;
}

/* The fields of n tasks at theta, and their losses; loss[i] NULL: task i is a field that is no loss's. */
static bool tasks_build(graph *g, const char *name, int n, func *const *task, node *theta, node **loss, node **field) {
    for (int i = 0; i < n && !graph_failed(g); i++) {
        char what[64];
        snprintf(what, sizeof what, "%s: losses[%d]", name, i + 1);
        field[i] = func_build_field(task[i], g, 1, &theta, what);
        loss[i] = func_build1(task[i], what, g, 1, &theta);
        if (loss[i] && (loss[i]->ndim != 0 || func_is_field(task[i]))) loss[i] = NULL;
    }
    return !graph_failed(g);
}

/* Refuses a task that is no loss. */
static bool all_losses(graph *g, const char *name, int n, node *const *loss, const node *theta) {
    shape_buf sb;
    for (int i = 0; i < n; i++)
        if (!loss[i]) {
            graph_fail(g, BK_EINVAL, "%s: losses[%d]: expected a loss (a 0-d tensor), got a field %s", name, i + 1,
                       shape_text(theta->ndim, theta->shape, &sb));
            return false;
        }
    return true;
}

static bool outputs(graph *g, node_list *out, int n, node *const *v, node *hole, node *theta) {
    out->n = n;
    out->v = graph_alloc(g, (size_t)n * sizeof *out->v);
    for (int i = 0; out->v && i < n; i++) out->v[i] = v[i];
    return out->v && bea_fill(g, n, out->v, hole, theta);
}

/* ---- multitask ---- */
typedef struct multitask {
    func base;
    int n;
    func **task;
    double h, share; /* share: 1, or 1/n for the mean */
    multitask_part part;
} multitask;

static bool multitask_build(func *f, graph *g, int n_in, node *const *in, node_list *out) {
    multitask *m = (multitask *)f;
    int n = m->n;
    node **loss = graph_alloc(g, (size_t)n * sizeof *loss), **grad = graph_alloc(g, (size_t)n * sizeof *grad);
    if (n_in != 1) {
        graph_fail(g, BK_EINVAL, "bk.bea.multitask: expected theta, got %d arguments", n_in);
        return false;
    }
    node *hole = bea_hole(g, in[0]);
    if (!hole || !loss || !grad || !tasks_build(g, "bk.bea.multitask", n, m->task, hole, loss, grad)) return false;
    node *joint = g_scale(g, m->share, total(g, n, grad));
    if (m->part == MULTITASK_GRAD) {
        node *v = g_add(g, joint, g_scale(g, 0.5 * m->h, bea_jvp(g, joint, hole, joint)));
        return outputs(g, out, 1, &v, hole, in[0]);
    }
    if (!all_losses(g, "bk.bea.multitask", n, loss, hole)) return false;
    node *original = g_scale(g, m->share, total(g, n, loss));
    if (m->part == MULTITASK_LOSS) {
        node *v = g_add(g, original, g_scale(g, 0.25 * m->h, g_dot(g, joint, joint)));
        return outputs(g, out, 1, &v, hole, in[0]);
    }
    node *squares = g_dot(g, grad[0], grad[0]), *cross = NULL, *sum = grad[0];
    for (int j = 1; j < n;
         j++) { /* sum_{i<j} <g_i, g_j> from n dot products, without the cancellation of |G|^2 - ... */
        node *dot = g_dot(g, sum, grad[j]);
        cross = cross ? g_add(g, cross, dot) : dot;
        squares = g_add(g, squares, g_dot(g, grad[j], grad[j]));
        sum = g_add(g, sum, grad[j]);
    }
    double s2 = m->share * m->share;
    node *v[3] = { original, g_scale(g, 0.25 * m->h * s2, squares),
                   cross ? g_scale(g, 0.5 * m->h * s2, cross) : g_zeros_like(g, original) };
    return outputs(g, out, 3, v, hole, in[0]);
}

static void multitask_destroy(func *f) {
    multitask *m = (multitask *)f;
    for (int i = 0; m->task && i < m->n; i++) func_release(m->task[i]);
    mem_free(f->c, m->task, m->task ? (size_t)m->n * sizeof *m->task : 0);
}

static const func_class multitask_class = { "bk.bea.multitask", multitask_build, multitask_destroy };

func *multitask_func(ctx *c, int n, func *const *losses, double h, bool mean, multitask_part part, err *e) {
    if (n < 1) {
        err_set(e, BK_EINVAL, "bk.bea.multitask: losses: expected at least one");
        return NULL;
    }
    multitask *m = func_new(c, &multitask_class, sizeof *m, e);
    if (!m) return NULL;
    m->h = h;
    m->share = mean ? 1.0 / n : 1.0;
    m->part = part;
    m->task = mem_alloc(c, (size_t)n * sizeof *m->task);
    if (!m->task) {
        func_release(&m->base);
        err_nomem(e, (size_t)n * sizeof *m->task);
        return NULL;
    }
    m->n = n;
    for (int i = 0; i < n; i++) func_retain(m->task[i] = losses[i]);
    return &m->base;
}

/* ---- continual ---- */

/* T */
static double continual_time(const word *w) {
    double sum = 0;
    for (int s = 0; s < w->m; s++) sum += w->rate[s];
    return sum / w->m;
}

typedef struct continual {
    func base;
    word *w;
    func *conflict; /* 1/2 sum W_ij [g_i, g_j] */
} continual;

static bool continual_build(func *f, graph *g, int n_in, node *const *in, node_list *out) {
    continual *k = (continual *)f;
    const word *w = k->w;
    int n = w->n;
    double time = continual_time(w);
    node **loss = graph_alloc(g, (size_t)n * sizeof *loss), **grad = graph_alloc(g, (size_t)n * sizeof *grad);
    if (n_in != 1) {
        graph_fail(g, BK_EINVAL, "bk.bea.continual: expected theta, got %d arguments", n_in);
        return false;
    }
    node *hole = bea_hole(g, in[0]), *original = NULL, *flatness = NULL;
    if (!hole || !loss || !grad || !tasks_build(g, "continual", n, w->task, hole, loss, grad)) return false;
    node *conflict = g_scale(g, 1 / time, func_build1(k->conflict, "conflict", g, 1, &hole));
    node *norm = g_sqrt(g, g_dot(g, conflict, conflict));
    for (int i = 0; i < n; i++)
        if (!loss[i]) return outputs(g, out, 2, (node *[]){ conflict, norm }, hole, in[0]);
    for (int s = 0; s < w->m; s++) {
        double h = w->rate[s];
        node *l = g_scale(g, h / time, loss[w->step[s]]), *a = grad[w->step[s]];
        node *q = g_scale(g, 0.25 * h * h / time, g_dot(g, a, a));
        original = original ? g_add(g, original, l) : l;
        flatness = flatness ? g_add(g, flatness, q) : q;
    }
    node **effect = graph_alloc(g, (size_t)n * sizeof *effect);
    for (int i = 0; effect && i < n; i++) effect[i] = g_dot(g, grad[i], conflict);
    if (!effect || !conflict) return false;
    node *v[5] = { conflict, norm, original, flatness, g_stack(g, n, effect) };
    return outputs(g, out, 5, v, hole, in[0]);
}

static void continual_destroy(func *f) {
    word_release(((continual *)f)->w);
    func_release(((continual *)f)->conflict);
}

static const func_class continual_class = { "bk.bea.continual", continual_build, continual_destroy };

static bk_status check_time(const word *w, err *e) {
    if (continual_time(w) > 0) return BK_OK;
    return err_set(e, BK_EINVAL, "bk.bea.continual: lr: the mean rate must be positive, got %g", continual_time(w));
}

func *continual_terms(word *w, err *e) {
    if (check_time(w, e)) return NULL;
    continual *k = func_new(w->c, &continual_class, sizeof *k, e);
    if (!k) return NULL;
    word_retain(k->w = w);
    k->conflict = word_field(w, (term_weights){ .conflict = 1 }, e);
    if (k->conflict) return &k->base;
    func_release(&k->base);
    return NULL;
}

func *continual_field(word *w, int order, err *e) {
    if (order < 1 || order > 3) {
        err_set(e, BK_EINVAL, "bk.bea.continual: order: expected 1, 2 or 3, got %d", order);
        return NULL;
    }
    if (check_time(w, e)) return NULL;
    double per = 1 / continual_time(w), second = order >= 2 ? per : 0;
    return word_field(w, (term_weights){ per, second, second, order >= 3 ? per : 0 }, e);
}
