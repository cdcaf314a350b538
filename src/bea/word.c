/* word.c - words of steps: what they are and what they do. Their logarithm is field.c's and series.c's. */
#include "flow.h"
#include "word.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static bk_status add_task(word *w, int s, func *f, err *e) {
    int i = 0;
    while (i < w->n && w->task[i] != f) i++;
    w->step[s] = i;
    if (i < w->n) return BK_OK;
    if (!(w->grad[i] = func_field(f, e))) return e ? e->status : BK_ENOMEM;
    func_retain(w->task[i] = f);
    w->n++;
    return BK_OK;
}

static bk_status add_map(word *w, int s, func *f, err *e) {
    int i = 0;
    while (i < w->n_maps && w->map[i].f != f) i++;
    w->step[s] = i;
    if (i < w->n_maps) return BK_OK;
    w->n_maps++;
    func_retain(w->map[i].f = f);
    w->map[i].run = word_map_jets(f, 0, e);
    w->map[i].jets = w->map[i].run ? word_map_jets(f, MAP_JETS, e) : NULL;
    return w->map[i].jets ? BK_OK : e ? e->status : BK_ENOMEM;
}

bk_status word_new(ctx *c, int m, const word_step_spec *steps, word **out, err *e) {
    *out = NULL;
    if (m < 1) return err_set(e, BK_EINVAL, "word: expected at least one step {F, rate}");
    for (int s = 0; s < m; s++)
        if (!isfinite(steps[s].rate))
            return err_set(e, BK_EINVAL, "word: step %d: rate: expected a finite number, got %g", s + 1, steps[s].rate);
    word *w = mem_zalloc(c, sizeof *w);
    if (!w) return err_nomem(e, sizeof *w);
    w->c = c;
    ctx_retain(c);
    atomic_init(&w->refs, 1);
    w->m = m;
    w->task = mem_zalloc(c, (size_t)m * sizeof *w->task);
    w->grad = mem_zalloc(c, (size_t)m * sizeof *w->grad);
    w->map = mem_zalloc(c, (size_t)m * sizeof *w->map);
    w->step = mem_alloc(c, (size_t)m * sizeof *w->step);
    w->kind = mem_alloc(c, (size_t)m * sizeof *w->kind);
    w->rate = mem_alloc(c, (size_t)m * sizeof *w->rate);
    w->euler = true;
    bk_status st = BK_OK;
    if (!w->task || !w->grad || !w->map || !w->step || !w->kind || !w->rate)
        st = err_nomem(e, (size_t)m * sizeof *w->map);
    for (int s = 0; s < m && !st; s++) {
        w->rate[s] = steps[s].rate;
        w->kind[s] = steps[s].kind;
        w->euler = w->euler && steps[s].kind == STEP_EULER;
        st = (steps[s].kind == STEP_MAP ? add_map : add_task)(w, s, steps[s].f, e);
    }
    if (st)
        word_release(w);
    else
        *out = w;
    return st;
}

void word_retain(word *w) {
    atomic_fetch_add(&w->refs, 1);
}

void word_release(word *w) {
    if (!w || atomic_fetch_sub(&w->refs, 1) != 1) return;
    ctx *c = w->c;
    size_t m = (size_t)w->m;
    for (int i = 0; i < w->n; i++) {
        func_release(w->task[i]);
        func_release(w->grad[i]);
    }
    for (int i = 0; i < w->n_maps; i++) {
        func_release(w->map[i].f);
        func_release(w->map[i].run);
        func_release(w->map[i].jets);
    }
    mem_free(c, w->task, w->task ? m * sizeof *w->task : 0);
    mem_free(c, w->grad, w->grad ? m * sizeof *w->grad : 0);
    mem_free(c, w->map, w->map ? m * sizeof *w->map : 0);
    mem_free(c, w->step, w->step ? m * sizeof *w->step : 0);
    mem_free(c, w->kind, w->kind ? m * sizeof *w->kind : 0);
    mem_free(c, w->rate, w->rate ? m * sizeof *w->rate : 0);
    mem_free(c, w, sizeof *w);
    ctx_release(c);
}

void word_order_matrix(const word *w, double *out) {
    int n = w->n;
    memset(out, 0, (size_t)n * (size_t)n * sizeof *out);
    for (int s = 0; s < w->m; s++)
        for (int r = 0; r < s; r++) {
            if (w->kind[r] == STEP_MAP || w->kind[s] == STEP_MAP) continue;
            double area = w->rate[r] * w->rate[s];
            out[w->step[r] * n + w->step[s]] += area;
            out[w->step[s] * n + w->step[r]] -= area;
        }
}

/* The exact flow of -F for time h, in float64 whatever theta's dtype. */
static bk_status run_flow(word *w, int s, double h, const tensor *theta, void *state, err *e) {
    tensor at = { 0 };
    flow *f = NULL;
    flow_options o = flow_defaults();
    o.time = -h;
    bk_status st = tensor_new(w->c, BK_FLOAT64, theta->ndim, theta->shape, &at, e);
    if (!st) st = flow_new(w->grad[w->step[s]], theta, 0, NULL, &f, e);
    if (!st) {
        vec_cast(tensor_count(theta), BK_FLOAT64, tensor_data(&at), theta->dtype, state);
        st = flow_run(f, &o, NULL, tensor_data(&at), NULL, e);
        vec_cast(tensor_count(theta), theta->dtype, state, BK_FLOAT64, tensor_data(&at));
    }
    flow_free(f);
    tensor_release(&at);
    return st;
}

static bk_status run_euler(word *w, int s, double h, const tensor *theta, void *state, void *work, err *e) {
    plan *p;
    const void *in = state;
    bk_status st = func_plan(w->grad[w->step[s]], 1, theta, false, &p, e);
    if (!st) st = plan_run(p, &in, &work, e);
    if (!st) vec_get(VEC_AXPY, theta->dtype)(tensor_count(theta), state, work, state, NULL, -h);
    return st;
}

static bk_status run_map(word *w, int s, double h, const tensor *theta, void *state, void *work, err *e) {
    plan *p;
    tensor both[2] = { *theta, { 0 } }, *rate = &both[1];
    bk_status st = word_check_map(w, s, 1, theta, NULL, e);
    if (!st) st = tensor_zeros(w->c, theta->dtype, 0, NULL, rate, e);
    if (!st) st = func_plan(w->map[w->step[s]].run, 2, both, false, &p, e);
    if (!st) {
        const void *in[2] = { state, tensor_data(rate) };
        vec_cast(1, theta->dtype, tensor_data(rate), BK_FLOAT64, &h);
        st = plan_run(p, in, &work, e);
    }
    if (!st) memcpy(state, work, (size_t)tensor_count(theta) * dtype_size(theta->dtype));
    tensor_release(rate);
    return st;
}

bk_status word_failed(int s, bk_status st, err *e) {
    char name[32];
    snprintf(name, sizeof name, "word: step %d", s + 1);
    return st == BK_EINVAL && e ? err_prefix(e, name) : st;
}

bk_status word_run(word *w, double scale, const tensor *theta, void *state, void *work, err *e) {
    if (theta->dtype == BK_INT64) return err_set(e, BK_EINVAL, "word: theta: expected floating point, got int64");
    for (int s = 0; s < w->m; s++) {
        double h = scale * w->rate[s];
        bk_status st = ctx_poll(w->c, e);
        if (st) return st;
        if (w->kind[s] == STEP_EXACT) st = run_flow(w, s, h, theta, state, e);
        if (w->kind[s] == STEP_EULER) st = run_euler(w, s, h, theta, state, work, e);
        if (w->kind[s] == STEP_MAP) st = run_map(w, s, h, theta, state, work, e);
        if (st) return word_failed(s, st, e);
    }
    return BK_OK;
}

bk_status word_step(word *w, const tensor *theta, tensor *out, err *e) {
    tensor work = { 0 };
    memset(out, 0, sizeof *out);
    bk_status st = tensor_new(w->c, theta->dtype, theta->ndim, theta->shape, out, e);
    if (!st) st = tensor_new(w->c, theta->dtype, theta->ndim, theta->shape, &work, e);
    if (!st) {
        tensor_copy_to(theta, theta->dtype, tensor_data(out));
        st = word_run(w, 1, theta, tensor_data(out), tensor_data(&work), e);
    }
    tensor_release(&work);
    if (st) tensor_release(out);
    return st;
}
