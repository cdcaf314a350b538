/* check.c - derivatives of a function against differences of its values. */
#include "../base/rng.h"
#include "func.h"

#include <float.h>
#include <math.h>
#include <string.h>

typedef struct checker {
    ctx *c;
    func *f, *grad, *hvp;
    const tensor *theta;
    double worst;
} checker;

/* out = theta + s v, a fresh tensor */
static bk_status moved(checker *k, const tensor *v, double s, tensor *out, err *e) {
    bk_status st = tensor_new(k->c, k->theta->dtype, k->theta->ndim, k->theta->shape, out, e);
    if (st) return st;
    for (int64_t i = 0, n = tensor_count(out); i < n; i++)
        tensor_set(out, i, tensor_get(k->theta, i) + s * tensor_get(v, i));
    return BK_OK;
}

/* slope = d f(theta + s v)/ds at 0 by central differences at h and h/2, extrapolated: error O(h^4) */
static bk_status slope(checker *k, func *f, const tensor *v, double h, double *out, int64_t n, err *e) {
    static const double weights[4] = { 4.0 / 3, -4.0 / 3, -1.0 / 6, 1.0 / 6 }, steps[4] = { 0.5, -0.5, 1, -1 };
    memset(out, 0, sizeof *out * (size_t)n);
    for (int i = 0; i < 4; i++) {
        tensor at = { 0 }, y = { 0 };
        bk_status st = moved(k, v, steps[i] * h, &at, e);
        if (!st) st = func_call1(f, 1, &at, &y, e);
        for (int64_t j = 0; !st && j < n; j++) out[j] += weights[i] / h * tensor_get(&y, j);
        tensor_release(&at);
        tensor_release(&y);
        if (st) return st;
    }
    return BK_OK;
}

static double largest(int64_t n, const double *v) {
    double m = 0;
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(v[i]) <= m)) m = fabs(v[i]);
    return m;
}

/* |exact - measured| over the larger of the two; floor keeps the rounding of exact zeros from counting */
static void compare(checker *k, int64_t n, const double *exact, const double *measured, double floor_) {
    double scale = fmax(fmax(largest(n, exact), largest(n, measured)), floor_), worst = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs(exact[i] - measured[i]);
        if (!(d <= worst)) worst = d;
    }
    double r = worst == 0 ? 0 : worst / scale;
    if (!(r <= k->worst)) k->worst = isnan(k->worst) ? k->worst : r;
}

static bk_status run(checker *k, err *e) {
    int64_t n = tensor_count(k->theta), directions = n < 6 ? n : 6;
    double eps = k->theta->dtype == BK_FLOAT32 ? FLT_EPSILON : DBL_EPSILON, size = 1e-3;
    for (int64_t i = 0; i < n; i++) size = fmax(size, fabs(tensor_get(k->theta, i)));
    double *room = mem_alloc(k->c, sizeof *room * (size_t)(2 * n + 2 * directions + 2));
    if (!room) return err_nomem(e, sizeof *room * (size_t)n);
    double *exact = room, *measured = room + n, *first = room + 2 * n, *first_measured = first + directions;
    tensor v = { 0 }, g = { 0 }, hv = { 0 }, y = { 0 };
    rng r = rng_seed(1);
    bk_status s = func_call1(k->f, 1, k->theta, &y, e);
    if (!s && y.ndim != 0) {
        shape_buf b;
        s = err_set(e, BK_EINVAL, "bk.check_grad: f must return a 0-d tensor, got %s", shape_text(y.ndim, y.shape, &b));
    }
    if (!s) s = func_call1(k->grad, 1, k->theta, &g, e);
    for (int64_t d = 0; !s && d < directions; d++) {
        s = tensor_new(k->c, k->theta->dtype, k->theta->ndim, k->theta->shape, &v, e);
        double norm = 0;
        for (int64_t i = 0; !s && i < n; i++) { /* few parameters: the axes; many: random directions of length 1 */
            double x = n <= directions ? (i == d ? 1.0 : 0.0) : rng_normal(&r);
            norm += x * x;
            tensor_set(&v, i, x);
        }
        for (int64_t i = 0; !s && i < n; i++) tensor_set(&v, i, tensor_get(&v, i) / sqrt(norm));
        /* eps^(1/5): where the h^4 of the formula meets the eps/h of rounding */
        double h = pow(eps, 0.2) * fmax(size, 0.1);
        first[d] = 0;
        for (int64_t i = 0; !s && i < n; i++) first[d] += tensor_get(&g, i) * tensor_get(&v, i);
        if (!s) s = slope(k, k->f, &v, h, &first_measured[d], 1, e);
        tensor both[2] = { *k->theta, v };
        if (!s) s = func_call1(k->hvp, 2, both, &hv, e);
        if (!s) s = slope(k, k->grad, &v, h, measured, n, e);
        if (!s) {
            double g_size = 0;
            for (int64_t i = 0; i < n; i++) {
                exact[i] = tensor_get(&hv, i);
                g_size = fmax(g_size, fabs(tensor_get(&g, i)));
            }
            compare(k, n, exact, measured, 1e-4 * g_size + DBL_MIN);
        }
        tensor_release(&hv);
        tensor_release(&v);
    }
    if (!s) compare(k, directions, first, first_measured, 1e-4 * fabs(tensor_get(&y, 0)) + DBL_MIN);
    tensor_release(&y);
    tensor_release(&g);
    mem_free(k->c, room, sizeof *room * (size_t)(2 * n + 2 * directions + 2));
    return s;
}

bk_status func_check_grad(func *f, const tensor *theta, double *worst, err *e) {
    checker k = { f->c, f, func_grad(f, e), NULL, theta, 0 };
    bk_status s = k.grad && (k.hvp = func_hvp(f, e)) ? run(&k, e) : BK_ENOMEM;
    func_release(k.grad);
    func_release(k.hvp);
    *worst = k.worst;
    return s;
}
