/* loss_regression.c - losses of targets y of the outputs' shape (or (batch) where there is one output): means over
 * batch and outputs. */
#include "loss.h"

static node *mse_build(const loss *l, graph *g, node *z, node *y) {
    (void)l;
    return g_mean_all(g, g_square(g, g_sub(g, z, y)));
}

const loss_row loss_mse = {
    .name = "mse",
    .doc = "bk.loss.mse(model [, x, y]) -> loss, a function of theta; without data, of (theta, x, y)\n"
           "Mean over batch and outputs of (z - y)^2, z = model(theta, x), y of z's shape.",
    .build = mse_build,
};

static node *l1_build(const loss *l, graph *g, node *z, node *y) {
    (void)l;
    return g_mean_all(g, g_abs(g, g_sub(g, z, y)));
}

const loss_row loss_l1 = {
    .name = "l1",
    .doc = "bk.loss.l1(model [, x, y]) -> loss, a function of theta; without data, of (theta, x, y)\n"
           "Mean over batch and outputs of |z - y|, z = model(theta, x), y of z's shape; its derivative at 0 is 0.",
    .build = l1_build,
};

enum { DELTA };

/* d^2/2 up to delta, delta (|d| - delta/2) beyond */
static node *huber_build(const loss *l, graph *g, node *z, node *y) {
    double delta = l->option[DELTA];
    node *d = g_sub(g, z, y), *size = g_abs(g, d);
    node *inside = g_scale(g, 0.5, g_square(g, d)), *outside = g_scale(g, delta, g_offset(g, -0.5 * delta, size));
    node *bound = g_full(g, z->dtype, z->ndim, z->shape, delta);
    return g_mean_all(g, g_where(g, g_gt(g, size, bound), outside, inside));
}

const loss_row loss_huber = {
    .name = "huber",
    .doc = "bk.loss.huber(model [, x, y]) -> loss, a function of theta; without data, of (theta, x, y)\n"
           "Mean over batch and outputs of d^2/2 where |d| <= delta, else delta (|d| - delta/2), d = model(theta, x) - "
           "y.\n\n"
           "Source: Huber 1964.",
    .options = { { "delta", "where the parabola ends", OPTION_NUMBER, .otherwise = 1, .high = 1e300, .open = true } },
    .build = huber_build,
};
