/* optim.c - the optimizers' common part: formulas as functions, state, one step. */
#include "optim.h"
#include "../ops/ops.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- for rows ---- */

node *optim_decayed(graph *g, const optim_in *in, double decay) {
    return decay == 0 ? in->g : g_add(g, in->g, g_scale(g, decay, in->theta));
}

node *optim_correction(graph *g, const optim_in *in, double beta) {
    return g_offset(g, 1, g_neg(g, g_pow(g, g_full(g, BK_FLOAT64, 0, NULL, beta), in->t)));
}

/* ---- the formula of a row ---- */

typedef struct formula_func {
    func base;
    const optim_row *row;
    double option[OPTIONS_MAX];
} formula_func;

static int buffers_of(const optim_row *row) {
    int n = 0;
    while (row->buffers[n]) n++;
    return n;
}

static bool formula_build(func *self, graph *g, int n_in, node *const *in, node_list *out) {
    const formula_func *f = (formula_func *)self;
    int n = buffers_of(f->row);
    if (n_in != 3 + n) {
        graph_fail(g, BK_EINVAL, "%s: expected (theta, g, t, %d buffers), got %d tensors", f->row->name, n, n_in);
        return false;
    }
    optim_in from = { f->option, in[0], in[1], in[2] };
    node **results = graph_alloc(g, sizeof *results * (1 + OPTIM_MAX_BUFFERS));
    if (!results) return false;
    memset(results, 0, sizeof *results * (1 + OPTIM_MAX_BUFFERS));
    for (int i = 0; i < n; i++) results[1 + i] = in[3 + i];
    results[0] = f->row->step(g, &from, results + 1);
    for (int i = 0; i <= n && !graph_failed(g); i++) {
        if (results[i]) continue;
        if (i)
            graph_fail(g, BK_ERUNTIME, "optimizer %s: its step leaves no state[%d]", f->row->name, i - 1);
        else
            graph_fail(g, BK_ERUNTIME, "optimizer %s: its step returned nothing; state[] has %d, those of .buffers",
                       f->row->name, n);
    }
    for (int i = n; i < OPTIM_MAX_BUFFERS && !graph_failed(g); i++)
        if (results[1 + i])
            graph_fail(g, BK_ERUNTIME, "optimizer %s: its step sets state[%d], but .buffers names %d", f->row->name, i,
                       n);
    *out = (node_list){ 1 + n, results };
    return !graph_failed(g);
}

static const func_class formula_class = { "optimizer", formula_build, NULL };

func *optim_formula(ctx *c, const optim_row *row, const double *options, err *e) {
    formula_func *f = func_new(c, &formula_class, sizeof *f, e);
    if (!f) return NULL;
    f->row = row;
    memcpy(f->option, options, sizeof f->option);
    return &f->base;
}

/* ---- quotients by numbers ---- */

/* The 0-d node that n repeats over a vector, as it was before its cast; or NULL. */
static node *number_of(node *n) {
    if (n->op != &op_broadcast_to || n->in[0]->ndim) return NULL;
    return n->in[0]->op == &op_cast ? n->in[0]->in[0] : n->in[0];
}

/* A vector over a number made of constants and the weak inputs, step count and rate, becomes a product with the
 * number's reciprocal, made once: a division an element takes as long as the rest of a step. Over a norm of the
 * gradient it stays a quotient, for such a norm may be too small to have a reciprocal. */
static bool multiply_by_reciprocals(graph *g, int n_out, node **outs) {
    int count;
    node **sorted = graph_sorted(g, n_out, outs, &count);
    node **image = sorted ? graph_alloc(g, sizeof *image * (size_t)(count + 1)) : NULL;
    bool *moves = image ? graph_alloc(g, (size_t)count + 1) : NULL; /* with theta, the gradient or the state */
    if (!moves) return false;
    for (int i = 0; i < count; i++) {
        node *n = sorted[i], **in = graph_alloc(g, sizeof *in * (size_t)(n->n_in + 1));
        if (!in) return false;
        bool changed = false;
        moves[i] = n->op == &op_input && !n->weak;
        for (int k = 0; k < n->n_in; k++) {
            int from = graph_place(sorted, count, n->in[k]);
            in[k] = image[from];
            changed = changed || in[k] != n->in[k];
            moves[i] = moves[i] || moves[from];
        }
        node *number = n->op == &op_div && !moves[graph_place(sorted, count, n->in[1])] ? number_of(in[1]) : NULL;
        if (number)
            image[i] = g_mul(g, in[0], g_cast(g, g_reciprocal(g, number), n->dtype));
        else
            image[i] = changed ? graph_again(g, n, in) : n;
        if (!image[i]) return false;
    }
    for (int i = 0; i < n_out; i++) outs[i] = image[graph_place(sorted, count, outs[i])];
    return true;
}

/* ---- theta moved by the step ---- */

typedef struct update_func {
    func base;
    func *formula;
} update_func;

static bool update_build(func *self, graph *g, int n_in, node *const *in, node_list *out) {
    node *some[3 + OPTIM_MAX_BUFFERS];
    int n = n_in - 4;
    in[2]->weak = in[3]->weak = true;
    for (int i = 0; i < 3; i++) some[i] = in[i];
    for (int i = 0; i < n; i++) some[3 + i] = in[4 + i];
    if (!func_build(((update_func *)self)->formula, g, 3 + n, some, out)) return false;
    if (out->n != 1 + n) {
        graph_fail(g, BK_EINVAL, "optimizer: expected the step and %d state tensors, got %d results", n, out->n);
        return false;
    }
    node **results = graph_alloc(g, sizeof *results * (size_t)out->n);
    if (!results) return false;
    for (int i = 0; i < out->n; i++) {
        shape_buf a, b;
        node *v = out->v[i], *like = in[0];
        if (!v) return false;
        if (v->dtype != like->dtype) v = g_cast(g, v, like->dtype);
        if (v && v->ndim == 0 && i > 0) v = g_broadcast(g, v, like->ndim, like->shape);
        if (v && !shape_equal(v->ndim, v->shape, like->ndim, like->shape)) {
            graph_fail(g, BK_EINVAL, "update's %s: expected theta's shape %s, got %s", i ? "state" : "step",
                       shape_text(like->ndim, like->shape, &a), shape_text(v->ndim, v->shape, &b));
            return false;
        }
        results[i] = v;
    }
    if (!multiply_by_reciprocals(g, out->n, results)) return false;
    results[0] = g_add(g, in[0], g_mul(g, results[0], in[3]));
    out->v = results;
    return !graph_failed(g);
}

static void update_destroy(func *self) {
    func_release(((update_func *)self)->formula);
}

static const func_class update_class = { "optimizer", update_build, update_destroy };

/* ---- optimizers ---- */

bk_status optim_new(ctx *c, const char *name, int n_buffers, func *formula, optim **out, err *e) {
    *out = NULL;
    if (!formula) return e->status;
    update_func *u = func_new(c, &update_class, sizeof *u, e);
    optim *o = u ? mem_zalloc(c, sizeof *o) : NULL;
    int64_t none[1] = { 0 };
    if (!o) {
        func_release(formula);
        if (u) func_release(&u->base);
        return err_nomem(e, sizeof *o);
    }
    u->formula = formula;
    func_retain(formula);
    o->c = c;
    ctx_retain(c);
    o->formula = formula;
    o->update = &u->base;
    o->n_buffers = n_buffers;
    o->n = -1;
    snprintf(o->name, sizeof o->name, "%s", name);
    bk_status st = tensor_new(c, BK_FLOAT64, 0, none, &o->t_now, e);
    if (!st) st = tensor_new(c, BK_FLOAT64, 0, none, &o->lr_now, e);
    if (st)
        optim_free(o);
    else
        *out = o;
    return st;
}

void optim_reset(optim *o) {
    for (int i = 0; i < OPTIM_MAX_BUFFERS; i++) {
        tensor_release(&o->buffer[i]);
        tensor_release(&o->spare[i]);
    }
    o->t = 0;
    o->n = -1;
}

void optim_free(optim *o) {
    if (!o) return;
    ctx *c = o->c;
    optim_reset(o);
    tensor_release(&o->t_now);
    tensor_release(&o->lr_now);
    func_release(o->formula);
    func_release(o->update);
    mem_free(c, o, sizeof *o);
    ctx_release(c);
}

/* The state as it is before the first step; what is there of one that was not done goes. */
static bk_status start(optim *o, int64_t n, bk_dtype dtype, err *e) {
    bk_status st = BK_OK;
    for (int i = 0; i < o->n_buffers && !st; i++) {
        tensor_release(&o->buffer[i]);
        st = tensor_zeros(o->c, dtype, 1, &n, &o->buffer[i], e);
    }
    if (st) optim_reset(o);
    return st;
}

/* The update's program for so many parameters; nothing may change the state while its formula is traced. */
static bk_status update_plan(optim *o, bk_dtype dtype, int64_t n, plan **p, err *e) {
    tensor in[4 + OPTIM_MAX_BUFFERS];
    for (int i = 0; i < 4 + o->n_buffers; i++)
        in[i] = (tensor){ .dtype = dtype, .ndim = 1, .shape = { n }, .strides = { 1 } };
    in[2] = o->t_now;
    in[3] = o->lr_now;
    o->stepping = true;
    const bk_status st = func_plan(o->update, 4 + o->n_buffers, in, true, p, e);
    o->stepping = false;
    return st;
}

/* The update's program and where its arguments and results are, for such a theta; from[0], from[1] and to[0] are the
 * caller's. */
static bk_status prepare(optim *o, const tensor *theta, double lr, optim_move *m, err *e) {
    const int64_t n = tensor_count(theta);
    *m = (optim_move){ .o = o, .n = n, .dtype = theta->dtype };
    if (m->dtype == BK_INT64) return err_set(e, BK_EINVAL, "%s: theta: expected floating point, got int64", o->name);
    if (!isfinite(lr)) return err_set(e, BK_EINVAL, "%s: lr: expected a finite number, got %g", o->name, lr);
    if (o->n >= 0 && (o->n != n || o->dtype != m->dtype))
        return err_set(e, BK_EINVAL,
                       "%s: theta: this optimizer's state is for %lld %s elements, got %lld %s (reset it, or "
                       "make another)",
                       o->name, (long long)o->n, dtype_name(o->dtype), (long long)n, dtype_name(m->dtype));
    bk_status st = update_plan(o, m->dtype, n, &m->p, e);
    if (!st && o->n < 0) st = start(o, n, m->dtype, e);
    for (int i = 0; i < o->n_buffers && !st; i++) {
        m->fresh[i] = !plan_overwrites(m->p, 4 + i, 1 + i);
        if (m->fresh[i] && o->n < 0) tensor_release(&o->spare[i]);
        if (m->fresh[i] && !o->spare[i].store) st = tensor_new(o->c, m->dtype, 1, &n, &o->spare[i], e);
    }
    if (st) return st;
    *(double *)tensor_data(&o->t_now) = (double)(o->t + 1);
    *(double *)tensor_data(&o->lr_now) = -lr;
    m->from[2] = tensor_data(&o->t_now);
    m->from[3] = tensor_data(&o->lr_now);
    for (int i = 0; i < o->n_buffers; i++) {
        m->from[4 + i] = tensor_data(&o->buffer[i]);
        m->to[1 + i] = tensor_data(m->fresh[i] ? &o->spare[i] : &o->buffer[i]);
    }
    return BK_OK;
}

void optim_end_move(const optim_move *m) {
    optim *o = m->o;
    o->t++;
    o->n = m->n;
    o->dtype = m->dtype;
    for (int i = 0; i < o->n_buffers; i++)
        if (m->fresh[i]) {
            tensor other = o->buffer[i];
            o->buffer[i] = o->spare[i];
            o->spare[i] = other;
        }
}

/* Theta is row-major, and no view, constant or gradient shares its memory, nor is it a host's. */
static bool theta_alone(const tensor *theta) {
    const storage *s = theta->store;
    return tensor_contiguous(theta) && !s->borrowed && atomic_load(&s->refs) == 1;
}

bk_status optim_step(optim *o, const tensor *theta, const tensor *g, double lr, bool ours, tensor *next, err *e) {
    optim_move m;
    tensor flat = { 0 }, gradient = { 0 };
    *next = (tensor){ 0 };
    bk_status st = prepare(o, theta, lr, &m, e);
    if (!st && ours && theta_alone(theta) && plan_overwrites(m.p, 0, 0)) {
        *next = *theta;
        tensor_retain(next);
    } else if (!st)
        st = tensor_new(o->c, theta->dtype, theta->ndim, theta->shape, next, e);
    if (!st) st = tensor_contiguous_as(theta, theta->dtype, &flat, e);
    if (!st) st = tensor_contiguous_as(g, theta->dtype, &gradient, e);
    if (!st) {
        m.from[0] = tensor_data(&flat);
        m.from[1] = tensor_data(&gradient);
        m.to[0] = tensor_data(next);
        st = plan_run(m.p, m.from, m.to, e);
    }
    tensor_release(&flat);
    tensor_release(&gradient);
    if (st) tensor_release(next);
    else optim_end_move(&m);
    return st;
}

/* ---- a step as the gradient is made ---- */

enum { GRADIENT = 1, EARLY = 1 << 2 | 1 << 3 }; /* arguments of the update: t and -lr are not read piece by piece */

bk_status optim_can_move(optim *o, const tensor *theta, bool *can, err *e) {
    plan *p;
    *can = false;
    if (theta->dtype == BK_INT64) return BK_OK;
    const bk_status st = update_plan(o, theta->dtype, tensor_count(theta), &p, e);
    *can = !st && plan_overwrites(p, 0, 0) && plan_takes(p, GRADIENT, EARLY);
    return st;
}

bk_status optim_begin_move(optim *o, const tensor *theta, double lr, optim_move *m, bool *can, err *e) {
    bk_status st = prepare(o, theta, lr, m, e); /* may trace the formula: only then it is known who holds theta */
    *can = !st && theta_alone(theta) && plan_overwrites(m->p, 0, 0) && plan_takes(m->p, GRADIENT, EARLY);
    if (!*can) return st;
    m->from[0] = m->from[1] = m->to[0] = tensor_data(theta); /* the gradient comes in pieces */
    return plan_run_early(m->p, m->from, m->to, e);
}

bool optim_moves(optim_move *m, double loss) {
    return m->moved = isfinite(loss);
}

void optim_take(const optim_move *m, int64_t first, int64_t count, const void *g) {
    plan_take(m->p, first, count, g);
}

bk_status optim_restore(optim *o, int64_t t, const tensor *buffers, const char *const *names, err *e) {
    optim fresh = { .c = o->c, .n_buffers = o->n_buffers, .n = -1 };
    if (t < 0) return err_set(e, BK_EINVAL, "%s: step: expected a whole number >= 0, got %lld", o->name, (long long)t);
    for (int i = 0; i < o->n_buffers; i++)
        if (buffers[i].ndim != 1 || buffers[i].dtype == BK_INT64 || buffers[i].dtype != buffers[0].dtype ||
            buffers[i].shape[0] != buffers[0].shape[0]) {
            shape_buf sb;
            return err_set(e, BK_EINVAL, "%s: %s: expected one floating vector of the state's size, got %s %s", o->name,
                           names[i], dtype_name(buffers[i].dtype), shape_text(buffers[i].ndim, buffers[i].shape, &sb));
        }
    if (o->n_buffers) {
        fresh.n = buffers[0].shape[0];
        fresh.dtype = buffers[0].dtype;
        bk_status st = start(&fresh, fresh.n, fresh.dtype, e);
        if (st) return st;
        for (int i = 0; i < o->n_buffers; i++) tensor_copy_to(&buffers[i], fresh.dtype, tensor_data(&fresh.buffer[i]));
    }
    optim_reset(o);
    memcpy(o->buffer, fresh.buffer, sizeof o->buffer);
    o->t = t;
    o->n = fresh.n;
    o->dtype = fresh.dtype;
    return BK_OK;
}
