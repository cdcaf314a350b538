/* verify.c - the order check: run the steps, flow the logarithm's terms, and see how fast the distance shrinks. */
#include "flow.h"
#include "word.h"
#include <math.h>
#include <string.h>

static double fitted_slope(int n, const double *scale, const double *error) {
    double mx = 0, my = 0, sxy = 0, sxx = 0;
    for (int i = 0; i < n; i++) {
        if (!(error[i] > 0)) return NAN;
        mx += log(fabs(scale[i])) / n;
        my += log(error[i]) / n;
    }
    for (int i = 0; i < n; i++) {
        double dx = log(fabs(scale[i])) - mx;
        sxy += dx * (log(error[i]) - my);
        sxx += dx * dx;
    }
    return sxx > 0 ? sxy / sxx : NAN;
}

static bk_status check_options(const verify_options *o, err *e) {
    for (int i = 0; i < o->n_scales; i++)
        if (!(isfinite(o->scales[i]) && o->scales[i] != 0))
            return err_set(e, BK_EINVAL, "word:verify: scales: expected finite numbers other than 0, got %g",
                           o->scales[i]);
    for (int i = 0; i < o->n_orders; i++)
        if (o->orders[i] < 1)
            return err_set(e, BK_EINVAL, "word:verify: orders: expected whole numbers >= 1, got %d", o->orders[i]);
    if (o->n_scales < 2)
        return err_set(e, BK_EINVAL, "word:verify: scales: a slope needs at least two, got %d", o->n_scales);
    for (int i = 1; i < o->n_scales; i++)
        if (fabs(o->scales[i]) != fabs(o->scales[0])) return BK_OK;
    return err_set(e, BK_EINVAL, "word:verify: scales: a slope needs sizes that differ, got all %g",
                   fabs(o->scales[0]));
}

bk_status word_verify(word *w, const tensor *theta, const verify_options *o, double *errors, double *slopes, err *e) {
    int64_t shape[2] = { 0, 0 };
    tensor start = { 0 }, scale = { 0 }, ends = { 0 }, work = { 0 };
    flow *f = NULL;
    const int all = o->n_scales * (o->n_orders + 1);
    bk_status st = check_options(o, e);
    if (!st) st = tensor_contiguous_as(theta, BK_FLOAT64, &start, e);
    int64_t n = st ? 0 : tensor_count(&start);
    shape[0] = o->n_scales, shape[1] = n;
    if (!st) st = tensor_new(w->c, BK_FLOAT64, 2, shape, &ends, e); /* where the steps end, a row a scale */
    if (!st) st = tensor_new(w->c, BK_FLOAT64, 1, &n, &work, e);
    if (!st) st = tensor_new(w->c, BK_FLOAT64, 0, NULL, &scale, e);
    for (int i = 0; i < o->n_scales && !st; i++) {
        double *end = (double *)tensor_data(&ends) + i * n;
        memcpy(end, tensor_data(&start), (size_t)n * sizeof *end);
        st = word_run(w, o->scales[i], &start, end, tensor_data(&work), e);
        ctx_tell(w->c, "word:verify", i + 1, all);
    }
    flow_options fo = flow_defaults();
    fo.rtol = o->rtol, fo.atol = o->atol;
    fo.max_steps = 1000; /* in the range of small rates a few dozen do; far outside it a flow can take for ever */
    for (int k = 0; k < o->n_orders && !st; k++) {
        int order = o->orders[k];
        term_weights weights = { 1, order >= 2, order >= 2 ? o->conflict : 0, order >= 3, 4, order >= 4 ? order : 0 };
        func *field = word_field_scaled(w, weights, e);
        st = field ? flow_new(field, &start, 1, &scale, &f, e) : e->status;
        for (int i = 0; i < o->n_scales && !st; i++) {
            double *state = tensor_data(&work), sum = 0;
            const double *end = (const double *)tensor_data(&ends) + i * n;
            memcpy(state, tensor_data(&start), (size_t)n * sizeof *state);
            const void *extra = &o->scales[i];
            st = flow_run(f, &fo, &extra, state, NULL, e);
            for (int64_t j = 0; j < n; j++) sum += (state[j] - end[j]) * (state[j] - end[j]);
            errors[k * o->n_scales + i] = sqrt(sum);
            ctx_tell(w->c, "word:verify", (k + 1) * o->n_scales + i + 1, all);
        }
        slopes[k] = fitted_slope(o->n_scales, o->scales, errors + k * o->n_scales);
        flow_free(f);
        f = NULL;
        func_release(field);
    }
    ctx_tell(w->c, "word:verify", all, all);
    tensor_release(&start);
    tensor_release(&scale);
    tensor_release(&ends);
    tensor_release(&work);
    return st;
}
