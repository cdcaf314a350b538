/* map.c - steps that are maps f(theta, h): their derivatives in h, and whether f is what a step has to be: the identity
 * at h = 0, and smooth in h. Both are looked at by numbers: an expression that is the identity need not look like it.
 */
#include "word.h"
#include <float.h>
#include <math.h>
#include <string.h>

typedef struct map_func {
    func base;
    func *f;
    int n;
} map_func;

node *word_build_map(func *f, graph *g, node *theta, node *h) {
    node *in[2] = { theta, h }, *y = theta && h ? func_build1(f, "map", g, 2, in) : NULL;
    shape_buf a, b;
    if (!y || shape_equal(y->ndim, y->shape, theta->ndim, theta->shape)) return y ? g_cast(g, y, theta->dtype) : NULL;
    return graph_fail(g, BK_EINVAL, "map: expected a tensor of theta's shape %s, got %s",
                      shape_text(theta->ndim, theta->shape, &a), shape_text(y->ndim, y->shape, &b));
}

static bool map_build(func *self, graph *g, int n_in, node *const *in, node_list *out) {
    const map_func *m = (map_func *)self;
    if (n_in != 2) {
        graph_fail(g, BK_EINVAL, "map: expected (theta, h), got %d argument%s", n_in, n_in == 1 ? "" : "s");
        return false;
    }
    node *leaf[2] = { bea_hole(g, in[0]), bea_hole(g, in[1]) }, *one = g_full(g, in[1]->dtype, 0, NULL, 1);
    out->n = m->n + 1;
    out->v = graph_alloc(g, (size_t)out->n * sizeof *out->v);
    if (!out->v) return false;
    out->v[0] = word_build_map(m->f, g, leaf[0], leaf[1]);
    for (int i = 0; i < m->n; i++) out->v[i + 1] = bea_jvp(g, out->v[i], leaf[1], one);
    return !graph_failed(g) && graph_substitute(g, out->n, out->v, 2, leaf, in);
}

static void map_destroy(func *self) {
    func_release(((map_func *)self)->f);
}

static const func_class map_class = { "map", map_build, map_destroy };

func *word_map_jets(func *f, int n, err *e) {
    map_func *m = func_new(f->c, &map_class, sizeof *m, e);
    if (!m) return NULL;
    func_retain(m->f = f);
    m->n = n;
    return &m->base;
}

/* ---- the check ---- */
/* f and its derivatives at h, each n numbers, in float64. */
static bk_status jets_at(word *w, func *jets, const tensor *theta, double h, double *v, err *e) {
    tensor in[2] = { *theta, { 0 } }, held[MAP_JETS + 1] = { { 0 } }, *out[MAP_JETS + 1];
    int64_t n = tensor_count(theta);
    for (int j = 0; j <= MAP_JETS; j++) out[j] = &held[j];
    bk_status st = tensor_zeros(w->c, theta->dtype, 0, NULL, &in[1], e);
    if (!st) {
        vec_cast(1, theta->dtype, tensor_data(&in[1]), BK_FLOAT64, &h);
        st = func_call(jets, 2, in, MAP_JETS + 1, out, e);
    }
    for (int j = 0; j <= MAP_JETS && !st; j++) {
        tensor_copy_to(&held[j], BK_FLOAT64, v + j * n);
        tensor_release(&held[j]);
    }
    tensor_release(&in[1]);
    return st;
}

static double largest(int64_t n, const double *a, const double *b) {
    double most = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs(b ? a[i] - b[i] : a[i]);
        if (!(d <= most)) most = d; /* a NaN stays */
        if (isnan(most)) break;
    }
    return most;
}

/* How far the quotients (f(h) - f(0)) / h of both signs are from the derivative. */
static double quotient_error(int64_t n, const double *zero, const double *const *at, const double *h,
                             const double *slope) {
    double most = 0;
    for (int side = 0; side < 2; side++)
        for (int64_t i = 0; i < n; i++) {
            double d = fabs((at[side][i] - zero[i]) / h[side] - slope[i]);
            if (!(d <= most)) most = d;
            if (isnan(most)) return INFINITY;
        }
    return most;
}

/* Differentiable j times: the derivative before it has quotients of both signs that approach it in proportion to h. */
static bk_status check_jets(word *w, int s, int order, const tensor *theta, double *v, err *e) {
    word_map *m = &w->map[w->step[s]];
    int64_t n = tensor_count(theta);
    double *start = v, *zero = v + n, *side[4], h[4], eps = theta->dtype == BK_FLOAT32 ? FLT_EPSILON : DBL_EPSILON;
    for (int i = 0; i < 4; i++) side[i] = zero + (i + 1) * (MAP_JETS + 1) * n;
    tensor_copy_to(theta, BK_FLOAT64, start);
    bk_status st = jets_at(w, m->jets, theta, 0, zero, e);
    if (st) return st;
    double size = largest(n, start, NULL), off = largest(n, zero, start);
    if (!isfinite(size) || !isfinite(off)) return BK_OK; /* outside f's domain: the steps themselves will say so */
    if (off > 1e3 * eps * (1 + size))
        return err_set(e, BK_EINVAL,
                       "map: expected the identity at h = 0, f(theta, 0) = theta, got a map that moves "
                       "theta by %g",
                       off);
    double speed = largest(n, zero + n, NULL), far = 1e-3 * (1 + size) / (1 + speed);
    if (w->rate[s] != 0 && fabs(w->rate[s]) / 16 < far) far = fabs(w->rate[s]) / 16;
    for (int i = 0; i < 4 && !st; i++) {
        h[i] = (i % 2 ? -far : far) / (i < 2 ? 1 : 16);
        st = jets_at(w, m->jets, theta, h[i], side[i], e);
    }
    for (int j = 0; j < order && !st; j++) {
        const double *f = zero + j * n, *slope = f + n;
        const double *at[4] = { side[0] + j * n, side[1] + j * n, side[2] + j * n, side[3] + j * n };
        double rounding = 1e3 * eps * (size + largest(n, f, NULL)) / h[2];
        double wide = quotient_error(n, f, at, h, slope), near = quotient_error(n, f, at + 2, h + 2, slope);
        if (!isfinite(largest(n, slope, NULL)) || !isfinite(near) || near > 0.5 * wide + rounding)
            return err_set(e, BK_EINVAL,
                           "map: expected a map differentiable in h at h = 0, got one whose %sderivative "
                           "there does not exist (%s)",
                           j == 0   ? ""
                           : j == 1 ? "second "
                                    : "third ",
                           isfinite(near) ? "left and right differ, or rounding to whole numbers" : "not finite");
    }
    return st;
}

bk_status word_check_map(word *w, int s, int order, const tensor *theta, const node *like, err *e) {
    word_map *m = &w->map[w->step[s]];
    bk_dtype dtype = theta ? theta->dtype : like->dtype;
    int64_t count = theta ? tensor_count(theta) : like->count, n = count * (1 + 5 * (MAP_JETS + 1));
    if (order > MAP_JETS) order = MAP_JETS;
    if (m->checked >= order && m->count == count && m->dtype == dtype) return BK_OK;
    tensor made = { 0 }, numbers = { 0 };
    bk_status st = tensor_new(w->c, BK_FLOAT64, 1, &n, &numbers, e);
    if (!st && !theta && !(st = tensor_new(w->c, dtype, like->ndim, like->shape, &made, e))) {
        double *v = tensor_data(&numbers);
        for (int64_t i = 0; i < count; i++)
            v[i] = 0.75 + 0.5 * sin(1.7 * (double)i); /* positive: inside most domains */
        vec_cast(count, dtype, tensor_data(&made), BK_FLOAT64, v);
    }
    if (!st) st = check_jets(w, s, order, theta ? theta : &made, tensor_data(&numbers), e);
    if (!st) m->checked = order, m->count = count, m->dtype = dtype;
    tensor_release(&made);
    tensor_release(&numbers);
    return st;
}
