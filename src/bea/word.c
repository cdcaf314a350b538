/* word.c - words of steps: what they are and what they do. Their logarithm is field.c's. */
#include "word.h"
#include <math.h>
#include <string.h>

bk_status word_new(ctx *c, int m, func *const *losses, const double *rates, word **out, err *e) {
    *out = NULL;
    if (m < 1) return err_set(e, BK_EINVAL, "word: expected at least one step {loss, rate}");
    for (int s = 0; s < m; s++)
        if (!isfinite(rates[s]))
            return err_set(e, BK_EINVAL, "word: step %d: rate: expected a finite number, got %g", s + 1, rates[s]);
    word *w = mem_zalloc(c, sizeof *w);
    if (!w) return err_nomem(e, sizeof *w);
    w->c = c;
    ctx_retain(c);
    atomic_init(&w->refs, 1);
    w->m = m;
    w->task = mem_zalloc(c, (size_t)m * sizeof *w->task);
    w->grad = mem_zalloc(c, (size_t)m * sizeof *w->grad);
    w->step = mem_alloc(c, (size_t)m * sizeof *w->step);
    w->rate = mem_alloc(c, (size_t)m * sizeof *w->rate);
    bk_status st = BK_OK;
    if (!w->task || !w->grad || !w->step || !w->rate) st = err_nomem(e, (size_t)m * sizeof *w->task);
    for (int s = 0; s < m && !st; s++) {
        int i = 0;
        while (i < w->n && w->task[i] != losses[s]) i++;
        w->step[s] = i;
        w->rate[s] = rates[s];
        if (i < w->n) continue;
        if (!(w->grad[i] = func_field(losses[s], e))) st = e ? e->status : BK_ENOMEM;
        func_retain(w->task[i] = losses[s]);
        w->n++;
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
    mem_free(c, w->task, w->task ? m * sizeof *w->task : 0);
    mem_free(c, w->grad, w->grad ? m * sizeof *w->grad : 0);
    mem_free(c, w->step, w->step ? m * sizeof *w->step : 0);
    mem_free(c, w->rate, w->rate ? m * sizeof *w->rate : 0);
    mem_free(c, w, sizeof *w);
    ctx_release(c);
}

void word_order_matrix(const word *w, double *out) {
    int n = w->n;
    memset(out, 0, (size_t)n * (size_t)n * sizeof *out);
    for (int s = 0; s < w->m; s++)
        for (int r = 0; r < s; r++) {
            double area = w->rate[r] * w->rate[s];
            out[w->step[r] * n + w->step[s]] += area;
            out[w->step[s] * n + w->step[r]] -= area;
        }
}

bk_status word_run(word *w, double scale, const tensor *theta, void *state, void *work, err *e) {
    if (theta->dtype == BK_INT64) return err_set(e, BK_EINVAL, "word: theta: expected floating point, got int64");
    vec_fn axpy = vec_get(VEC_AXPY, theta->dtype);
    int64_t n = tensor_count(theta);
    for (int s = 0; s < w->m; s++) {
        plan *p;
        const void *in = state;
        void *out = work;
        bk_status st = ctx_poll(w->c, e);
        if (!st) st = func_plan(w->grad[w->step[s]], 1, theta, &p, e);
        if (!st) st = plan_run(p, &in, &out, e);
        if (st) return st;
        axpy(n, state, work, state, NULL, -scale * w->rate[s]);
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
