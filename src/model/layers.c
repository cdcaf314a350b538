/* layers.c - the kinds of layers: parameters, accepted inputs, outputs. A new kind is one row here. */
#include "model.h"
#include <stdio.h>
#include <string.h>

static void block_set(model_block *b, const char *name, block_init init, int ndim, int64_t s0, int64_t s1, int64_t s2,
                      int64_t s3) {
    memset(b, 0, sizeof *b);
    b->name = name;
    b->init = init;
    b->ndim = ndim;
    b->shape[0] = s0, b->shape[1] = s1, b->shape[2] = s2, b->shape[3] = s3;
    b->size = shape_count(ndim, b->shape);
}

/* The bias after a weight, unless the layer has none. */
static int with_bias(const layer *l, model_block *out) {
    if (l->no_bias) return 1;
    block_set(&out[1], "bias", INIT_ZERO, 1, l->out, 0, 0, 0);
    return 2;
}

/* ---- linear: y = x W + b ---- */
static int linear_blocks(const layer *l, model_block *out) {
    block_set(&out[0], "weight", INIT_WEIGHT, 2, l->in, l->out, 0, 0);
    out[0].fan_in = l->in, out[0].fan_out = l->out;
    return with_bias(l, out);
}

static bool last_is_in(const layer *l, const node *x) {
    return x->ndim >= 1 && x->shape[x->ndim - 1] == l->in;
}

static void expects_features(const layer *l, char *buf, size_t bytes) {
    snprintf(buf, bytes, "(batch, %lld)", (long long)l->in);
}

static node *linear_build(const layer *l, graph *g, node *const *p, node *x) {
    node *y = g_matmul(g, x, p[0]);
    return l->no_bias ? y : g_add(g, y, p[1]);
}

static const layer_row row_linear = {
    .name = "linear",
    .doc = "bk.nn.linear{in, out [, bias = true]} -> layer\n"
           "y = x W + b for x (batch, in), W (in, out), b (out).",
    .blocks = linear_blocks,
    .accepts = last_is_in,
    .expects = expects_features,
    .build = linear_build,
    .sizes = "iob",
};

/* ---- conv2d: cross-correlation ---- */
static int conv_blocks(const layer *l, model_block *out) {
    block_set(&out[0], "weight", INIT_WEIGHT, 4, l->out, l->in, l->kernel, l->kernel);
    out[0].fan_in = l->in * l->kernel * l->kernel, out[0].fan_out = l->out * l->kernel * l->kernel;
    return with_bias(l, out);
}

static bool fits_window(const layer *l, const node *x) {
    return x->ndim == 4 && x->shape[2] + 2 * l->pad >= l->kernel && x->shape[3] + 2 * l->pad >= l->kernel;
}

static bool conv_accepts(const layer *l, const node *x) {
    return fits_window(l, x) && x->shape[1] == l->in;
}

/* Images the window fits in, padded; pooling takes any number of channels. */
static void expects_images(const layer *l, char *buf, size_t bytes) {
    long long least = l->kernel > 2 * l->pad ? (long long)(l->kernel - 2 * l->pad) : 0;
    int n =
        l->in ? snprintf(buf, bytes, "(batch, %lld, ", (long long)l->in) : snprintf(buf, bytes, "(batch, channels, ");
    snprintf(buf + n, bytes - (size_t)n, "height >= %lld, width >= %lld)", least, least);
}

static node *conv_build(const layer *l, graph *g, node *const *p, node *x) {
    node *y = g_conv2d(g, x, p[0], l->stride, l->pad);
    const int64_t shape[4] = { 1, l->out, 1, 1 };
    return l->no_bias ? y : g_add(g, y, g_reshape(g, p[1], 4, shape));
}

static const layer_row row_conv2d = {
    .name = "conv2d",
    .doc = "bk.nn.conv2d{in, out, kernel = k [, stride = 1, padding = 0, bias = true]} -> layer\n"
           "Cross-correlation of images (batch, in, height, width) with W (out, in, k, k), plus a bias per channel.",
    .blocks = conv_blocks,
    .accepts = conv_accepts,
    .expects = expects_images,
    .build = conv_build,
    .sizes = "ioKSPb",
};

/* ---- pooling and shape ---- */
#define POOLING(NAME, DOC)                                                                                             \
    static node *NAME##_build(const layer *l, graph *g, node *const *p, node *x) {                                     \
        (void)p;                                                                                                       \
        return g_##NAME(g, x, l->kernel, l->stride, l->pad);                                                           \
    }                                                                                                                  \
    static const layer_row row_##NAME = {                                                                              \
        .name = #NAME,                                                                                                 \
        .doc = "bk.nn." #NAME "{kernel [, stride = kernel, padding = 0]} -> layer\n" DOC,                              \
        .accepts = fits_window,                                                                                        \
        .expects = expects_images,                                                                                     \
        .build = NAME##_build,                                                                                         \
        .sizes = "kSP",                                                                                                \
    }

POOLING(avgpool2d, "Mean over each kernel x kernel window of images (batch, channels, height, width).");
POOLING(maxpool2d, "Maximum over each kernel x kernel window; the derivative goes to the first maximum.");

static bool has_batch(const layer *l, const node *x) {
    (void)l;
    return x->ndim >= 1;
}

static void expects_batch(const layer *l, char *buf, size_t bytes) {
    (void)l;
    snprintf(buf, bytes, "(batch, ...)");
}

static node *flatten_build(const layer *l, graph *g, node *const *p, node *x) {
    (void)l, (void)p;
    const int64_t shape[2] = { x->shape[0], shape_count(x->ndim - 1, x->shape + 1) };
    return g_reshape(g, x, 2, shape);
}

static const layer_row row_flatten = {
    .name = "flatten",
    .doc = "bk.nn.flatten() -> layer\n(batch, ...) to (batch, features), row-major.",
    .accepts = has_batch,
    .expects = expects_batch,
    .build = flatten_build,
    .sizes = "",
};

/* ---- layer_norm: over the last axis ---- */
static int norm_blocks(const layer *l, model_block *out) {
    block_set(&out[0], "weight", INIT_ONE, 1, l->in, 0, 0, 0);
    block_set(&out[1], "bias", INIT_ZERO, 1, l->in, 0, 0, 0);
    return 2;
}

static node *norm_build(const layer *l, graph *g, node *const *p, node *x) {
    return g_add(g, g_mul(g, g_layer_norm(g, x, l->eps), p[0]), p[1]);
}

static const layer_row row_layer_norm = {
    .name = "layer_norm",
    .doc = "bk.nn.layer_norm{features [, eps = 1e-5]} -> layer\n"
           "(x - mean)/sqrt(var + eps) * weight + bias along the last axis (var: divided by features).",
    .blocks = norm_blocks,
    .accepts = last_is_in,
    .expects = expects_features,
    .build = norm_build,
    .sizes = "ie",
};

/* ---- embedding: rows of a table ---- */
static int embedding_blocks(const layer *l, model_block *out) {
    block_set(&out[0], "weight", INIT_TABLE, 2, l->in, l->out, 0, 0);
    out[0].fan_in = l->in, out[0].fan_out = l->out;
    return 1;
}

static bool is_int64(const layer *l, const node *x) {
    (void)l;
    return x->dtype == BK_INT64;
}

static void expects_index(const layer *l, char *buf, size_t bytes) {
    snprintf(buf, bytes, "int64 indices 0..%lld", (long long)l->in - 1);
}

static node *embedding_build(const layer *l, graph *g, node *const *p, node *x) {
    (void)l;
    return g_gather(g, p[0], x);
}

static const layer_row row_embedding = {
    .name = "embedding",
    .doc = "bk.nn.embedding{rows, width} -> layer\n"
           "int64 indices (batch, ...), from 0, to the rows of a table: (batch, ..., width).",
    .blocks = embedding_blocks,
    .accepts = is_int64,
    .expects = expects_index,
    .build = embedding_build,
    .sizes = "io",
};

/* ---- activations ---- */
#define ACTIVATION(NAME, EXPR, DOC)                                                                                    \
    static node *NAME##_build(const layer *l, graph *g, node *const *p, node *x) {                                     \
        (void)l, (void)p, (void)g;                                                                                     \
        return EXPR;                                                                                                   \
    }                                                                                                                  \
    static const layer_row row_##NAME = {                                                                              \
        .name = #NAME,                                                                                                 \
        .doc = "bk.nn." #NAME "() -> layer\n" DOC,                                                                     \
        .build = NAME##_build,                                                                                         \
        .sizes = "",                                                                                                   \
    }

ACTIVATION(tanh, g_tanh(g, x), "tanh(x), elementwise.");
ACTIVATION(relu, g_relu(g, x), "max(x, 0), elementwise; derivative 0 at 0.");
ACTIVATION(gelu, g_gelu(g, x), "x Phi(x), Phi the normal distribution function (exact, no tanh approximation).");
ACTIVATION(softplus, g_softplus(g, x), "log(1 + exp(x)), elementwise.");
ACTIVATION(sigmoid, g_sigmoid(g, x), "1/(1 + exp(-x)), elementwise.");
ACTIVATION(identity, x, "x itself.");

/* ---- a layer made of a function ---- */
static int function_blocks(const layer *l, model_block *out) {
    const layer_function *f = l->own;
    memcpy(out, f->blocks, (size_t)f->n_blocks * sizeof *out);
    for (int i = 0; i < f->n_blocks; i++) out[i].name = f->block_names[i];
    return f->n_blocks;
}

static bool function_accepts(const layer *l, const node *x) {
    const layer_function *f = l->own;
    bool ok = f->ndim < 0 || x->ndim == f->ndim;
    for (int i = 0; ok && i < f->ndim; i++) ok = f->input[i] < 0 || x->shape[i] == f->input[i];
    return ok;
}

static void function_expects(const layer *l, char *buf, size_t bytes) {
    snprintf(buf, bytes, "%s", l->own->expects);
}

static node *function_build(const layer *l, graph *g, node *const *p, node *x) {
    node *in[LAYER_MAX_BLOCKS + 1];
    int n = l->own->n_blocks;
    memcpy(in, p, (size_t)n * sizeof *in);
    in[n] = x;
    return func_build1(l->own->forward, g, n + 1, in);
}

const layer_row layer_row_function = {
    .name = "layer",
    .doc = "",
    .blocks = function_blocks,
    .accepts = function_accepts,
    .expects = function_expects,
    .build = function_build,
    .sizes = "",
};

layer_function *layer_function_new(ctx *c, err *e) {
    layer_function *f = mem_zalloc(c, sizeof *f);
    if (!f) {
        err_nomem(e, sizeof *f);
        return NULL;
    }
    f->c = c;
    f->ndim = -1;
    atomic_init(&f->refs, 1);
    ctx_retain(c);
    return f;
}

void layer_function_release(layer_function *f) {
    if (!f || atomic_fetch_sub(&f->refs, 1) != 1) return;
    ctx *c = f->c;
    func_release(f->forward);
    mem_free(c, f, sizeof *f);
    ctx_release(c);
}

const char *layer_name(const layer *l) {
    return l->own ? l->own->name : l->row->name;
}

const layer_row *const layer_rows[] = {
    &row_linear, &row_conv2d, &row_avgpool2d, &row_maxpool2d, &row_flatten, &row_layer_norm, &row_embedding,
    &row_tanh,   &row_relu,   &row_gelu,      &row_softplus,  &row_sigmoid, &row_identity,   NULL,
};

const layer_row *layer_find(const char *name) {
    for (const layer_row *const *r = layer_rows; *r; r++)
        if (strcmp((*r)->name, name) == 0) return *r;
    return NULL;
}

bk_status layer_check(const layer *l, err *e) {
    static const struct {
        char key;
        const char *name;
        int64_t least;
    } sizes[] = {
        { 'i', "size 1", 1 }, { 'o', "size 2", 1 }, { 'k', "kernel", 1 }, { 's', "stride", 1 }, { 'p', "padding", 0 },
    };
    const int64_t value[] = { l->in, l->out, l->kernel, l->stride, l->pad };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char upper = (char)(sizes[i].key - 'a' + 'A'); /* lower case: given by place, upper case: by name only */
        if (!strchr(l->row->sizes, sizes[i].key) && !strchr(l->row->sizes, upper)) continue;
        if (value[i] < sizes[i].least || value[i] > (int64_t)1 << 31)
            return err_set(e, BK_EINVAL, "%s: %s: expected a whole number >= %lld, got %lld", l->row->name,
                           sizes[i].name, (long long)sizes[i].least, (long long)value[i]);
    }
    if (strchr(l->row->sizes, 'e') && !(l->eps > 0))
        return err_set(e, BK_EINVAL, "%s: eps: expected a positive number, got %g", l->row->name, l->eps);
    return BK_OK;
}
