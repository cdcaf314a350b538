/* layer_image.c - layers over images (batch, channel, height, width): convolution and pooling. */
#include "model.h"
#include <stdio.h>

/* Images that a window of `kernel` fits in, padded. channels 0: any. */
static bool fits(const layer_shape *x, int64_t channels, int64_t kernel, int64_t padding) {
    if (!shape_ranks(x, 4, 4)) return false;
    if (x->ndim < 0) return true;
    for (int i = 2; i < 4; i++)
        if (x->size[i] >= 0 && x->size[i] + 2 * padding < kernel) return false;
    return channels == 0 || shape_may(x, 1, channels);
}

/* Images of a size that is known if x's is. */
static bool windows(const layer_shape *x, int64_t channels, int64_t kernel, int64_t stride, int64_t padding,
                    layer_shape *y) {
    *y = (layer_shape){ .ndim = 4, .size = { -1, channels, -1, -1 }, .last = -1, .dtype = x->dtype };
    if (x->ndim != 4) return true;
    y->size[0] = x->size[0];
    if (!channels) y->size[1] = x->size[1];
    for (int i = 2; i < 4; i++)
        if (x->size[i] >= 0) y->size[i] = (x->size[i] + 2 * padding - kernel) / stride + 1;
    return true;
}

static void expects_images(int64_t channels, int64_t kernel, int64_t padding, char *buf, size_t bytes) {
    long long least = kernel > 2 * padding ? (long long)(kernel - 2 * padding) : 0;
    int n = channels ? snprintf(buf, bytes, "(batch, %lld, ", (long long)channels)
                     : snprintf(buf, bytes, "(batch, channels, ");
    snprintf(buf + n, bytes - (size_t)n, "height >= %lld, width >= %lld)", least, least);
}

/* ---- convolution: cross-correlation ---- */

enum { IN, OUT, KERNEL, STRIDE, PADDING, BIAS };

static int conv_blocks(const layer *l, model_block *out) {
    int64_t in = layer_size(l, IN), n = layer_size(l, OUT), k = layer_size(l, KERNEL);
    layer_block(&out[0], "weight", INIT_WEIGHT, n, in, k, k);
    out[0].fan_in = in * k * k, out[0].fan_out = n * k * k;
    return layer_bias(out, 1, l->option[BIAS], n);
}

static bool conv_accepts(const layer *l, const layer_shape *x) {
    return fits(x, layer_size(l, IN), layer_size(l, KERNEL), layer_size(l, PADDING));
}

static bool conv_result(const layer *l, const layer_shape *x, layer_shape *y) {
    return windows(x, layer_size(l, OUT), layer_size(l, KERNEL), layer_size(l, STRIDE), layer_size(l, PADDING), y);
}

static void conv_expects(const layer *l, char *buf, size_t bytes) {
    expects_images(layer_size(l, IN), layer_size(l, KERNEL), layer_size(l, PADDING), buf, bytes);
}

static node *conv_build(const layer *l, graph *g, node *const *p, node *x) {
    node *y = g_conv2d(g, x, p[0], layer_size(l, STRIDE), layer_size(l, PADDING));
    const int64_t shape[4] = { 1, layer_size(l, OUT), 1, 1 };
    return l->option[BIAS] == 0 ? y : g_add(g, y, g_reshape(g, p[1], 4, shape));
}

const layer_row layer_conv2d = {
    .name = "conv2d",
    .doc = "bk.nn.conv2d{in, out, kernel = k} -> layer\n"
           "Cross-correlation of images (batch, in, height, width) with W (out, in, k, k), plus a bias per channel.",
    .options = { { "in", "channels of x", OPTION_COUNT, .required = true, .by_place = true, .low = 1, .high = 1 << 30 },
                 { "out", "channels of y", OPTION_COUNT, .required = true, .by_place = true, .low = 1,
                   .high = 1 << 30 },
                 { "kernel", "side of the window", OPTION_COUNT, .required = true, .low = 1, .high = 1 << 30 },
                 { "stride", "places from window to window", OPTION_COUNT, .otherwise = 1, .low = 1, .high = 1 << 30 },
                 { "padding", "zeros around the image", OPTION_COUNT, .high = 1 << 30 },
                 { "bias", "whether there is a bias", OPTION_FLAG, .otherwise = 1 } },
    .blocks = conv_blocks,
    .accepts = conv_accepts,
    .expects = conv_expects,
    .result = conv_result,
    .build = conv_build,
};

/* ---- pooling ---- */

enum { WINDOW, STEP, AROUND };

static bool pool_check(const layer *l, char *buf, size_t bytes) {
    if (layer_size(l, AROUND) < layer_size(l, WINDOW)) return true;
    snprintf(buf, bytes, "padding: expected less than kernel, %lld, got %lld", (long long)layer_size(l, WINDOW),
             (long long)layer_size(l, AROUND));
    return false;
}

static bool pool_accepts(const layer *l, const layer_shape *x) {
    return fits(x, 0, layer_size(l, WINDOW), layer_size(l, AROUND));
}

static bool pool_result(const layer *l, const layer_shape *x, layer_shape *y) {
    windows(x, 0, layer_size(l, WINDOW), layer_size(l, STEP), layer_size(l, AROUND), y);
    if (x->ndim != 4) y->size[1] = -1;
    return true;
}

static void pool_expects(const layer *l, char *buf, size_t bytes) {
    expects_images(0, layer_size(l, WINDOW), layer_size(l, AROUND), buf, bytes);
}

static node *avgpool_build(const layer *l, graph *g, node *const *p, node *x) {
    (void)p;
    return g_avgpool2d(g, x, layer_size(l, WINDOW), layer_size(l, STEP), layer_size(l, AROUND));
}

static node *maxpool_build(const layer *l, graph *g, node *const *p, node *x) {
    (void)p;
    return g_maxpool2d(g, x, layer_size(l, WINDOW), layer_size(l, STEP), layer_size(l, AROUND));
}

/* clang-format off */
#define POOL_OPTIONS { \
    { "kernel", "side of the window", OPTION_COUNT, .required = true, .by_place = true, .low = 1, .high = 1 << 30 }, \
    { "stride", "places from window to window", OPTION_COUNT, .like = "kernel", .low = 1, .high = 1 << 30 }, \
    { "padding", "places around the image", OPTION_COUNT, .high = 1 << 30 } }
/* clang-format on */

const layer_row layer_avgpool2d = {
    .name = "avgpool2d",
    .doc = "bk.nn.avgpool2d{kernel} -> layer\n"
           "Mean over each kernel x kernel window of images (batch, channels, height, width); padding counts as zeros.",
    .options = POOL_OPTIONS,
    .check = pool_check,
    .accepts = pool_accepts,
    .expects = pool_expects,
    .result = pool_result,
    .build = avgpool_build,
};

const layer_row layer_maxpool2d = {
    .name = "maxpool2d",
    .doc = "bk.nn.maxpool2d{kernel} -> layer\n"
           "Maximum over each kernel x kernel window; the derivative goes to the first maximum.",
    .options = POOL_OPTIONS,
    .check = pool_check,
    .accepts = pool_accepts,
    .expects = pool_expects,
    .result = pool_result,
    .build = maxpool_build,
};
