/* layer_mode.c - layers that train otherwise than they evaluate: dropout, noise, batch normalisation. */
#include "model.h"
#include <stdio.h>

/* ---- dropout and noise ---- */

static node *dropout_build(const layer *l, layer_run *r, node *const *params, node **b, node *x) {
    (void)params, (void)b;
    const double p = l->option[0];
    op_draw_at at;
    if (!r->train || p == 0) return x;
    if (p == 1) return g_zeros_like(r->g, x);
    if (!layer_draws(r, x, 0, &at)) return NULL;
    return g_mul(r->g, x, g_scale(r->g, 1 / (1 - p), g_bernoulli(r->g, r->seed, at, 1 - p)));
}

const layer_row layer_dropout = {
    .name = "dropout",
    .doc = "bk.nn.dropout{p} -> layer\n"
           "In training each element of x is 0 with probability p, else x/(1 - p), by draws from the step's seed; in "
           "evaluation x itself.\n\nSource: Srivastava et al. 2014.",
    .options = { { "p", "probability of 0", OPTION_NUMBER, .by_place = true, .otherwise = 0.5, .high = 1 } },
    .result = layer_same,
    .build_in = dropout_build,
};

static node *noise_build(const layer *l, layer_run *r, node *const *params, node **b, node *x) {
    (void)params, (void)b;
    op_draw_at at;
    if (!r->train || l->option[0] == 0) return x;
    if (!layer_draws(r, x, 0, &at)) return NULL;
    return g_add(r->g, x, g_scale(r->g, l->option[0], g_normal(r->g, r->seed, at)));
}

const layer_row layer_noise = {
    .name = "noise",
    .doc = "bk.nn.noise{std} -> layer\n"
           "In training x plus draws of N(0, std^2) from the step's seed; in evaluation x itself.",
    .options = { { "std", "standard deviation", OPTION_NUMBER, .required = true, .by_place = true, .high = 1e300 } },
    .result = layer_same,
    .build_in = noise_build,
};

/* ---- norms over channels: axis 1 of (batch, channels, ...) ---- */

static node *per_channel(graph *g, node *v, const node *x) { /* (channels) -> (1, channels, 1, ...) */
    int64_t shape[BK_MAX_DIMS];
    for (int i = 0; i < x->ndim; i++) shape[i] = i == 1 ? x->shape[1] : 1;
    return g_reshape(g, v, x->ndim, shape);
}

static node *affine(graph *g, node *const *p, node *y) {
    return y ? g_add(g, g_mul(g, y, per_channel(g, p[0], y)), per_channel(g, p[1], y)) : NULL;
}

static bool channels_accept(const layer_shape *x, int64_t channels) {
    return shape_ranks(x, 2, BK_MAX_DIMS) && (x->ndim < 0 || shape_may(x, 1, channels));
}

static void channels_expect(int64_t channels, char *buf, size_t bytes) {
    snprintf(buf, bytes, "(batch, %lld, ...)", (long long)channels);
}

static int affine_blocks(int64_t channels, model_block *out) {
    layer_block(&out[0], "weight", INIT_ONE, channels, 0, 0, 0);
    return layer_bias(out, 1, 1, channels);
}

enum { CHANNELS, EPS, MOMENTUM };

static int batch_blocks(const layer *l, model_block *out) {
    return affine_blocks(layer_size(l, CHANNELS), out);
}

static int batch_buffers(const layer *l, model_block *out) {
    layer_block(&out[0], "running_mean", INIT_ZERO, layer_size(l, CHANNELS), 0, 0, 0);
    layer_block(&out[1], "running_var", INIT_ONE, layer_size(l, CHANNELS), 0, 0, 0);
    return 2;
}

static bool batch_accepts(const layer *l, const layer_shape *x) {
    return channels_accept(x, layer_size(l, CHANNELS));
}

static void batch_expects(const layer *l, char *buf, size_t bytes) {
    channels_expect(layer_size(l, CHANNELS), buf, bytes);
}

/* old + momentum (new - old) */
static node *moved(graph *g, node *old, double momentum, node *new) {
    return g_add(g, g_scale(g, 1 - momentum, old), g_scale(g, momentum, new));
}

static node *batch_build(const layer *l, layer_run *r, node *const *p, node **b, node *x) {
    graph *g = r->g;
    node *mean = per_channel(g, b[0], x), *var = per_channel(g, b[1], x);
    if (r->train) {
        const int64_t channels = x->shape[1], n = channels ? x->count / channels : 0;
        const unsigned others = ((1u << x->ndim) - 1) & ~2u;
        shape_buf sb;
        if (n < 2)
            return graph_fail(g, BK_EINVAL,
                              "%s: batch_norm: expected at least two values a channel in training, got %s", r->who,
                              shape_text(x->ndim, x->shape, &sb));
        mean = g_scale(g, 1.0 / (double)n, g_sum(g, x, others, true));
        node *d = g_sub(g, x, mean);
        var = g_scale(g, 1.0 / (double)n, g_sum(g, g_square(g, d), others, true));
        if (!var) return NULL;
        node *unbiased = g_scale(g, (double)n / (double)(n - 1), var);
        b[0] = moved(g, b[0], l->option[MOMENTUM], g_reshape(g, mean, 1, &channels));
        b[1] = moved(g, b[1], l->option[MOMENTUM], g_reshape(g, unbiased, 1, &channels));
    }
    node *y = g_div(g, g_sub(g, x, mean), g_sqrt(g, g_offset(g, l->option[EPS], var)));
    return affine(g, p, y);
}

const layer_row layer_batch_norm = {
    .name = "batch_norm",
    .doc = "bk.nn.batch_norm{channels} -> layer\n"
           "(x - mean)/sqrt(var + eps) * weight + bias for each channel of x (batch, channels, ...): in training with "
           "the batch's mean and variance (divided by the count), in evaluation with the running ones. A training step "
           "moves the buffers running_mean and running_var (which begin at 0 and 1) by momentum towards the batch's "
           "(the variance divided by the count less 1).\n\nSource: Ioffe & Szegedy 2015.",
    .options = { { "channels", "size of x's second axis", OPTION_COUNT, .required = true, .by_place = true, .low = 1,
                   .high = 1 << 30 },
                 { "eps", "added to the variance", OPTION_NUMBER, .otherwise = 1e-5, .high = 1e300, .open = true },
                 { "momentum", "weight of the new statistics", OPTION_NUMBER, .otherwise = 0.1, .high = 1 } },
    .blocks = batch_blocks,
    .buffers = batch_buffers,
    .accepts = batch_accepts,
    .expects = batch_expects,
    .result = layer_same,
    .build_in = batch_build,
};

/* ---- group_norm: no statistics to keep ---- */

enum { GROUPS, OF, GROUP_EPS };

static int group_blocks(const layer *l, model_block *out) {
    return affine_blocks(layer_size(l, OF), out);
}

static bool group_check(const layer *l, char *buf, size_t bytes) {
    const long long groups = layer_size(l, GROUPS), channels = layer_size(l, OF);
    snprintf(buf, bytes, "groups: expected a number that divides the %lld channels, got %lld", channels, groups);
    return channels % groups == 0;
}

static bool group_accepts(const layer *l, const layer_shape *x) {
    return channels_accept(x, layer_size(l, OF));
}

static void group_expects(const layer *l, char *buf, size_t bytes) {
    channels_expect(layer_size(l, OF), buf, bytes);
}

static node *group_build(const layer *l, graph *g, node *const *p, node *x) {
    /* one shape throughout: then sums over pixels are shared, and what is the same for all of a channel is left out of
     * them */
    const int64_t groups = layer_size(l, GROUPS), channels = layer_size(l, OF) / groups;
    const int64_t apart[4] = { x->shape[0], groups, channels, shape_count(x->ndim - 2, x->shape + 2) };
    const int64_t by_channel[3] = { groups, channels, 1 };
    node *y = g_normalized(g, g_reshape(g, x, 4, apart), 2, l->option[GROUP_EPS]);
    y = g_mul(g, y, g_reshape(g, p[0], 3, by_channel));
    return g_reshape(g, g_add(g, y, g_reshape(g, p[1], 3, by_channel)), x->ndim, x->shape);
}

const layer_row layer_group_norm = {
    .name = "group_norm",
    .doc = "bk.nn.group_norm{groups, channels} -> layer\n"
           "(x - mean)/sqrt(var + eps) for each example and group of neighbouring channels of x (batch, channels, "
           "...), times weight plus bias for each channel; the same in training and in evaluation.\n\n"
           "Source: Wu & He 2018.",
    .options = { { "groups", "how many; divides channels", OPTION_COUNT, .required = true, .by_place = true, .low = 1,
                   .high = 1 << 30 },
                 { "channels", "size of x's second axis", OPTION_COUNT, .required = true, .by_place = true, .low = 1,
                   .high = 1 << 30 },
                 { "eps", "added to the variance", OPTION_NUMBER, .otherwise = 1e-5, .high = 1e300, .open = true } },
    .blocks = group_blocks,
    .check = group_check,
    .accepts = group_accepts,
    .expects = group_expects,
    .result = layer_same,
    .build = group_build,
};
