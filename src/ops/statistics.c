/* statistics.c - what sums and exponentials make along axes: means, variances, norms, softmax along any axis. */
#include "op.h"

#include <string.h>

static node *real(graph *g, node *a) {
    return a && a->dtype == BK_INT64 ? g_cast(g, a, BK_FLOAT64) : a;
}

static int64_t reduced(const node *a, unsigned axes) {
    int64_t n = 1;
    for (int i = 0; i < a->ndim; i++)
        if (axes >> i & 1u) n *= a->shape[i];
    return n;
}

static unsigned all_axes(const node *a) {
    return (1u << a->ndim) - 1;
}

node *g_mean(graph *g, node *a, unsigned axes, bool keep) {
    if (!(a = real(g, a))) return NULL;
    int64_t n = reduced(a, axes);
    if (n == 0) return graph_fail(g, BK_EINVAL, "mean: no elements to average");
    return g_scale(g, 1 / (double)n, g_sum(g, a, axes, keep));
}
node *g_mean_all(graph *g, node *a) {
    return a ? g_mean(g, a, all_axes(a), false) : NULL;
}

/* Divided by n - correction. */
node *g_var(graph *g, node *a, unsigned axes, bool keep, int64_t correction) {
    if (!(a = real(g, a))) return NULL;
    int64_t n = reduced(a, axes);
    if (n <= correction)
        return graph_fail(g, BK_EINVAL, "var: expected more than %lld elements to reduce, got %lld",
                          (long long)correction, (long long)n);
    node *d = g_sub(g, a, g_mean(g, a, axes, true));
    return g_scale(g, 1 / (double)(n - correction), g_sum(g, g_square(g, d), axes, keep));
}
node *g_std(graph *g, node *a, unsigned axes, bool keep, int64_t correction) {
    return g_sqrt(g, g_var(g, a, axes, keep, correction));
}
node *g_norm(graph *g, node *a, unsigned axes, bool keep) {
    return g_sqrt(g, g_sum(g, g_square(g, real(g, a)), axes, keep));
}

/* (a - mean) / sqrt(var + eps) along the last axis. */
node *g_layer_norm(graph *g, node *a, double eps) {
    if (!(a = real(g, a))) return NULL;
    if (a->ndim == 0) return graph_fail(g, BK_EINVAL, "layer_norm: expected at least 1 dimension, got ()");
    unsigned last = 1u << (a->ndim - 1);
    if (a->shape[a->ndim - 1] == 0) return graph_fail(g, BK_EINVAL, "layer_norm: no elements");
    node *d = g_sub(g, a, g_mean(g, a, last, true));
    return g_mul(g, d, g_powx(g, g_offset(g, eps, g_mean(g, g_square(g, d), last, true)), -0.5));
}

/* ---- softmax and its kin, along one axis: moved to the end and back ---- */

static node *swap_last(graph *g, node *a, int axis) {
    if (!a || axis == a->ndim - 1) return a;
    int64_t axes[BK_MAX_DIMS];
    for (int i = 0; i < a->ndim; i++) axes[i] = i;
    axes[axis] = a->ndim - 1;
    axes[a->ndim - 1] = axis;
    return g_permute(g, a, axes);
}

static node *keep_last(graph *g, node *a) { /* (...) -> (..., 1) */
    if (!a) return NULL;
    int64_t shape[BK_MAX_DIMS];
    memcpy(shape, a->shape, sizeof shape);
    shape[a->ndim] = 1;
    return g_reshape(g, a, a->ndim + 1, shape);
}

node *g_softmax_along(graph *g, node *a, int axis) {
    return swap_last(g, g_softmax(g, swap_last(g, real(g, a), axis)), axis);
}

node *g_log_softmax(graph *g, node *a, int axis) {
    a = swap_last(g, real(g, a), axis);
    return swap_last(g, g_sub(g, a, keep_last(g, g_logsumexp(g, a))), axis);
}

/* The axis is dropped. */
node *g_logsumexp_along(graph *g, node *a, int axis) {
    if (!a) return NULL;
    int last = a->ndim - 1;
    a = g_logsumexp(g, swap_last(g, real(g, a), axis));
    if (!a || axis == last) return a;
    int64_t axes[BK_MAX_DIMS]; /* the axis that was last now stands at `axis`: back to the end of what is left */
    int n = 0;
    for (int i = 0; i < a->ndim; i++)
        if (i != axis) axes[n++] = i;
    axes[n] = axis;
    return g_permute(g, a, axes);
}

/* ---- extremes ---- */

bool op_extreme(graph *g, node *a, int axis, bool low, node **value, node **index) {
    if (!a) return false;
    if (axis < 0) {
        axis = 0;
        a = g_reshape(g, a, 1, &a->count);
    }
    if (!a) return false;
    if (a->shape[axis] == 0) return graph_fail(g, BK_EINVAL, "%s: no elements", low ? "min" : "max") != NULL;
    if (low) a = g_neg(g, a);
    if (value) {
        *value = g_reduce_max(g, a, axis);
        if (low) *value = g_neg(g, *value);
    }
    if (index) *index = g_argmax(g, a, axis);
    return !graph_failed(g);
}

/* (m), (n) -> (m, n): the products of all pairs. */
node *g_outer(graph *g, node *a, node *b) {
    if (!a || !b) return NULL;
    if (a->ndim != 1 || b->ndim != 1) return graph_fail(g, BK_EINVAL, "outer: expected two 1-d tensors");
    int64_t column[2] = { a->shape[0], 1 };
    return g_mul(g, g_reshape(g, a, 2, column), b);
}

/* min(max(a, low), high); NULL leaves a side open. */
node *g_clamp(graph *g, node *a, node *low, node *high) {
    if (low) a = g_maximum(g, a, low);
    return high ? g_minimum(g, a, high) : a;
}
