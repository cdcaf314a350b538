/* flow.c - Dormand-Prince 5(4) with PI step control (Hairer, Norsett & Wanner, Solving ODEs I, II.4-5) and the
 * classical Runge-Kutta method. One compiled plan, buffers of its own, nothing allocated while it runs. */
#include "flow.h"
#include <float.h>
#include <math.h>
#include <string.h>

enum { STAGES = 7, MAX_EXTRA = 4, VECTORS = STAGES + 3 };

struct flow {
    ctx *c;
    func *field; /* retained: it owns the plan */
    plan *p;
    int64_t n;
    bk_dtype dtype;
    int n_extra;
    double *mem;   /* VECTORS vectors of n: the stages, the trial state, the trial result, a spare */
    float *single; /* float32 only: the field's argument and value */
};

flow_options flow_defaults(void) {
    return (flow_options){ .method = FLOW_DOPRI5, .time = 1, .rtol = 1e-12, .atol = 1e-14, .max_steps = 100000 };
}

static size_t mem_bytes(int64_t n) {
    return (size_t)n * VECTORS * sizeof(double);
}

void flow_free(flow *f) {
    if (!f) return;
    ctx *c = f->c;
    if (f->mem) mem_block_free(c, f->mem, mem_bytes(f->n));
    if (f->single) mem_block_free(c, f->single, 2 * (size_t)f->n * sizeof(float));
    func_release(f->field);
    mem_free(c, f, sizeof *f);
    ctx_release(c);
}

bk_status flow_new(func *field, const tensor *theta, int n_extra, const tensor *extra, flow **out, err *e) {
    *out = NULL;
    shape_buf a, b;
    if (n_extra > MAX_EXTRA)
        return err_set(e, BK_EINVAL, "bk.flow: at most %d extra arguments, got %d", MAX_EXTRA, n_extra);
    if (theta->dtype == BK_INT64)
        return err_set(e, BK_EINVAL, "bk.flow: theta: expected floating point, got int64 %s",
                       shape_text(theta->ndim, theta->shape, &a));
    tensor in[1 + MAX_EXTRA] = { *theta };
    for (int i = 0; i < n_extra; i++) in[i + 1] = extra[i];
    int n_out;
    const node *const *outs;
    bk_status st = func_shape(field, 1 + n_extra, in, false, &n_out, &outs, e);
    if (st) return st;
    if (n_out != 1 || outs[0]->dtype != theta->dtype ||
        !shape_equal(outs[0]->ndim, outs[0]->shape, theta->ndim, theta->shape))
        return err_set(e, BK_EINVAL, "bk.flow: the field must return one tensor of theta's shape %s %s, got %s %s%s",
                       shape_text(theta->ndim, theta->shape, &a), dtype_name(theta->dtype),
                       n_out == 1 ? shape_text(outs[0]->ndim, outs[0]->shape, &b) : "several values",
                       n_out == 1 ? dtype_name(outs[0]->dtype) : "",
                       n_out == 1 && outs[0]->ndim == 0 ? " (a loss: give its gradient field, bk.grad)" : "");
    flow *f = mem_zalloc(field->c, sizeof *f);
    if (!f) return err_nomem(e, sizeof *f);
    f->c = field->c;
    ctx_retain(f->c);
    f->field = field;
    func_retain(field);
    f->n = tensor_count(theta);
    f->dtype = theta->dtype;
    f->n_extra = n_extra;
    st = func_plan(field, 1 + n_extra, in, false, &f->p, e);
    if (!st && !(f->mem = mem_block_alloc(f->c, mem_bytes(f->n)))) st = err_nomem(e, mem_bytes(f->n));
    if (!st && f->dtype == BK_FLOAT32 && !(f->single = mem_block_alloc(f->c, 2 * (size_t)f->n * sizeof(float))))
        st = err_nomem(e, 2 * (size_t)f->n * sizeof(float));
    if (st)
        flow_free(f);
    else
        *out = f;
    return st;
}

/* What stays the same in a run. */
typedef struct run {
    flow *f;
    const void *const *extra;
    double rtol, atol, sign; /* of dopri5; sign: of the time */
    flow_stats *s;
} run;

/* k = F(y) */
static bk_status eval(const run *r, const double *y, double *k, err *e) {
    flow *f = r->f;
    const void *in[1 + MAX_EXTRA];
    void *out = k;
    in[0] = y;
    for (int i = 0; i < f->n_extra; i++) in[i + 1] = r->extra[i];
    if (f->single) {
        vec_cast(f->n, BK_FLOAT32, f->single, BK_FLOAT64, y);
        in[0] = f->single;
        out = f->single + f->n;
    }
    bk_status st = plan_run(f->p, in, &out, e);
    if (!st && f->single) vec_cast(f->n, BK_FLOAT64, k, BK_FLOAT32, f->single + f->n);
    r->s->evaluations++;
    return st;
}

/* out = y + h sum_i a_i k_i */
static void combine(int64_t n, double *out, const double *y, double h, int m, const double *a, const double *const *k) {
    double w[STAGES];
    for (int i = 0; i < m; i++) w[i] = h * a[i];
    for (int64_t j = 0; j < n; j++) {
        double v = 0;
        for (int i = 0; i < m; i++) v += w[i] * k[i][j];
        out[j] = y[j] + v;
    }
}

static bool all_finite(int64_t n, const double *y) {
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += y[i] * 0.0; /* NaN as soon as one value is not finite */
    return s == 0;
}

static bk_status not_finite(double t, err *e) {
    return err_set(e, BK_ERUNTIME,
                   "bk.flow: a non-finite value at time %g: the field leaves its domain or the flow blows up", t);
}

static const double RK[STAGES][STAGES - 1] = {
    { 0 },
    { 1.0 / 5 },
    { 3.0 / 40, 9.0 / 40 },
    { 44.0 / 45, -56.0 / 15, 32.0 / 9 },
    { 19372.0 / 6561, -25360.0 / 2187, 64448.0 / 6561, -212.0 / 729 },
    { 9017.0 / 3168, -355.0 / 33, 46732.0 / 5247, 49.0 / 176, -5103.0 / 18656 },
    { 35.0 / 384, 0, 500.0 / 1113, 125.0 / 192, -2187.0 / 6784,
      11.0 / 84 }, /* the fifth-order result: stage 7 is next step's first */
};
/* fifth minus fourth order */
static const double ERR[STAGES] = { 71.0 / 57600,      0,          -71.0 / 16695, 71.0 / 1920,
                                    -17253.0 / 339200, 22.0 / 525, -1.0 / 40 };

static double scaled_norm(const run *r, const double *v, const double *y, const double *z) {
    const int64_t n = r->f->n;
    double s = 0;
    for (int64_t i = 0; i < n; i++) {
        double scale = r->atol + r->rtol * fmax(fabs(y[i]), fabs(z[i])), q = v[i] / scale;
        s += q * q;
    }
    return sqrt(s / (double)(n ? n : 1));
}

/* Hairer's starting step: an Euler step of about 1/100 of the state's size, and a look at the second derivative; and
 * not so little of the span that the loop would refuse it. */
static bk_status first_step(const run *r, double span, const double *y, double **k, double *tmp, double *h, err *e) {
    const int64_t n = r->f->n;
    double d0 = scaled_norm(r, y, y, y), d1 = scaled_norm(r, k[0], y, y);
    double h0 = d0 < 1e-5 || d1 < 1e-5 ? 1e-6 : 0.01 * d0 / d1;
    const double one = 1;
    const double *k0 = k[0];
    combine(n, tmp, y, r->sign * h0, 1, &one, &k0);
    bk_status st = eval(r, tmp, k[1], e);
    if (st) return st;
    for (int64_t i = 0; i < n; i++) tmp[i] = k[1][i] - k[0][i];
    double d2 = scaled_norm(r, tmp, y, y) / h0, top = fmax(d1, d2);
    double h1 = top <= 1e-15 ? fmax(1e-6, h0 * 1e-3) : pow(0.01 / top, 0.2);
    *h = fmax(isfinite(h1) ? fmin(100 * h0, h1) : h0, 1e-12 * span);
    return BK_OK;
}

static bk_status run_dopri5(run *r, const flow_options *o, double *y, err *e) {
    flow *f = r->f;
    flow_stats *s = r->s;
    int64_t n = f->n;
    double *k[STAGES], *tmp = f->mem + STAGES * n, *next = f->mem + (STAGES + 1) * n, *diff = f->mem + (STAGES + 2) * n;
    for (int i = 0; i < STAGES; i++) k[i] = f->mem + i * n;
    double floor_rtol = f->dtype == BK_FLOAT32 ? 64 * (double)FLT_EPSILON : 8 * DBL_EPSILON;
    double span = fabs(o->time), dir = o->time < 0 ? -1 : 1, t = 0, h, last_err = 1e-4;
    bool rejected = false;
    r->rtol = fmax(o->rtol, floor_rtol);
    r->atol = f->dtype == BK_FLOAT32 ? fmax(o->atol, floor_rtol * 1e-2) : o->atol;
    r->sign = dir;
    bk_status st = eval(r, y, k[0], e);
    if (!st && !all_finite(n, k[0])) st = not_finite(0, e);
    if (!st) st = first_step(r, span, y, k, tmp, &h, e);
    while (!st && t < span) {
        if ((st = ctx_poll(f->c, e))) break;
        if (s->steps + s->rejected >= o->max_steps)
            return err_set(e, BK_ERUNTIME,
                           "bk.flow: %lld steps reached only time %g of %g; the field is stiff, or rtol = %g "
                           "too small (raise max_steps or rtol)",
                           (long long)o->max_steps, dir * t, o->time, r->rtol);
        if (h > span - t)
            h = span - t;
        else if (h < 16 * DBL_EPSILON * span)
            return err_set(e, BK_ERUNTIME,
                           "bk.flow: the step size underflows at time %g: the field is not smooth there, or "
                           "rtol = %g is below its rounding",
                           dir * t, r->rtol);
        for (int i = 1; i < STAGES && !st; i++) {
            combine(n, i == STAGES - 1 ? next : tmp, y, dir * h, i, RK[i], (const double *const *)k);
            st = eval(r, i == STAGES - 1 ? next : tmp, k[i], e);
        }
        if (st) break;
        memset(tmp, 0, (size_t)n * sizeof *tmp);
        combine(n, diff, tmp, h, STAGES, ERR, (const double *const *)k);
        double q = scaled_norm(r, diff, y, next);
        if (!(q <= 1)) { /* also NaN: a stage left the domain, a smaller step may not */
            h *= isfinite(q) ? fmax(0.2, 0.9 * pow(q, -0.2)) : 0.1;
            rejected = true;
            s->rejected++;
            if (!isfinite(q) && h < 1e-12 * span) st = not_finite(dir * t, e);
            continue;
        }
        double grow = q > 0 ? 0.9 * pow(q, -0.7 / 5) * pow(last_err, 0.4 / 5) : 10;
        bool done = h >= span - t;
        t = done ? span : t + h;
        s->steps++;
        memcpy(y, next, (size_t)n * sizeof *y);
        double *swap = k[0];
        k[0] = k[STAGES - 1], k[STAGES - 1] = swap;
        h *= fmin(rejected ? 1 : 10, fmax(0.2, grow));
        last_err = fmax(q, 1e-4);
        rejected = false;
    }
    return st;
}

static bk_status run_rk4(const run *r, const flow_options *o, double *y, err *e) {
    flow *f = r->f;
    flow_stats *s = r->s;
    int64_t n = f->n;
    double *k[4], *tmp = f->mem + STAGES * n, h = o->time / (double)o->steps;
    static const double at[4] = { 0, 0.5, 0.5, 1 }, weight[4] = { 1.0 / 6, 1.0 / 3, 1.0 / 3, 1.0 / 6 };
    for (int i = 0; i < 4; i++) k[i] = f->mem + i * n;
    for (; s->steps < o->steps; s->steps++) {
        bk_status st = ctx_poll(f->c, e);
        for (int i = 0; i < 4 && !st; i++) {
            const double *last = i ? k[i - 1] : y;
            combine(n, tmp, y, h, i ? 1 : 0, &at[i], &last);
            st = eval(r, tmp, k[i], e);
        }
        if (st) return st;
        combine(n, y, y, h, 4, weight, (const double *const *)k);
        if (!all_finite(n, y)) return not_finite(h * (double)(s->steps + 1), e);
    }
    return BK_OK;
}

bk_status flow_run(flow *f, const flow_options *o, const void *const *extra, double *state, flow_stats *stats, err *e) {
    flow_stats own = { 0 }, *s = stats ? stats : &own;
    memset(s, 0, sizeof *s);
    if (!isfinite(o->time)) return err_set(e, BK_EINVAL, "bk.flow: time: expected a finite number, got %g", o->time);
    if (o->method == FLOW_RK4 && o->steps < 1)
        return err_set(e, BK_EINVAL, "bk.flow: steps: rk4 needs a whole number >= 1, got %lld", (long long)o->steps);
    double both = o->rtol + o->atol;
    if (o->method == FLOW_DOPRI5 && !(o->rtol >= 0 && o->atol >= 0 && both > 0 && isfinite(both)))
        return err_set(e, BK_EINVAL, "bk.flow: rtol, atol: expected finite numbers >= 0, not both 0, got %g, %g",
                       o->rtol, o->atol);
    if (!all_finite(f->n, state)) return not_finite(0, e);
    if (o->time == 0 || f->n == 0) return BK_OK;
    run r = { .f = f, .extra = extra, .s = s };
    return o->method == FLOW_RK4 ? run_rk4(&r, o, state, e) : run_dopri5(&r, o, state, e);
}

bk_status flow_of(func *field, const tensor *theta, const flow_options *o, tensor *out, flow_stats *stats, err *e) {
    flow *f;
    tensor state = { 0 };
    memset(out, 0, sizeof *out);
    bk_status st = flow_new(field, theta, 0, NULL, &f, e);
    if (!st) st = tensor_new(field->c, BK_FLOAT64, theta->ndim, theta->shape, &state, e);
    if (!st) {
        tensor_copy_to(theta, BK_FLOAT64, tensor_data(&state));
        st = flow_run(f, o, NULL, tensor_data(&state), stats, e);
    }
    if (!st) st = tensor_contiguous_as(&state, theta->dtype, out, e);
    tensor_release(&state);
    flow_free(f);
    return st;
}
