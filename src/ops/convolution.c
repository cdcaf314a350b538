/* convolution.c - 2-d convolution as one trilinear form seen from three sides, and pooling. */
#include "ops.h"
#include "../tensor/conv.h"
#include "../tensor/pool.h"

#include <string.h>

/* Attributes of the three: stride, pad, then the sizes of what the form cannot read off its operands:
 * conv2d none; conv2d_input height, width; conv2d_weight kh, kw. A leading axis may be on both or either
 * operand (ndim 5): one convolution per place. */
static void last(const node *n, int64_t s[4]) {
    memcpy(s, n->shape + n->ndim - 4, 4 * sizeof *s);
}

static node *conv_node(graph *g, const op_row *op, node *a, node *b, int n_ints, const int64_t *ints) {
    node *in[2] = { a, b };
    return a && b ? graph_op(g, op, 2, in, n_ints, ints, 0) : NULL;
}

static conv_shape conv_of(const op_row *op, const node *a, const node *b, const int64_t *ints) {
    conv_shape c = { .stride = ints[0], .pad = ints[1] };
    int64_t p[4], q[4];
    last(a, p);
    last(b, q);
    if (op == &op_conv2d || op == &op_conv2d_weight) {
        c.batch = p[0], c.in = p[1], c.height = p[2], c.width = p[3];
    } else {
        c.batch = p[0], c.out = p[1], c.out_height = p[2], c.out_width = p[3];
        c.height = ints[2], c.width = ints[3];
    }
    if (op == &op_conv2d || op == &op_conv2d_input) {
        c.out = q[0], c.in = q[1], c.kh = q[2], c.kw = q[3];
    } else {
        c.out = q[1], c.out_height = q[2], c.out_width = q[3];
        c.kh = ints[2], c.kw = ints[3];
    }
    if (op == &op_conv2d) {
        c.out_height = (c.height + 2 * c.pad - c.kh) / c.stride + 1;
        c.out_width = (c.width + 2 * c.pad - c.kw) / c.stride + 1;
    }
    return c;
}

static bool conv_shape_rule(graph *g, node *n) {
    const node *a = n->in[0], *b = n->in[1];
    shape_buf sa, sb;
    bool lead_fits = a->ndim != 5 || b->ndim != 5 || a->shape[0] == b->shape[0];
    if (a->ndim < 4 || b->ndim < 4 || a->ndim > 5 || b->ndim > 5 || !lead_fits || a->dtype != b->dtype ||
        a->dtype == BK_INT64)
        return graph_fail(
            g, BK_EINVAL,
            "bk.%s: expected images (batch, channel, height, width) and weights (out, in, kh, kw) of one float "
            "dtype, got %s %s and %s %s",
            op_title(n->op), dtype_name(a->dtype), shape_text(a->ndim, a->shape, &sa), dtype_name(b->dtype),
            shape_text(b->ndim, b->shape, &sb));
    if (n->ints[0] < 1 || n->ints[1] < 0)
        return graph_fail(g, BK_EINVAL, "bk.%s: expected stride >= 1 and padding >= 0, got %lld and %lld",
                          op_title(n->op), (long long)n->ints[0], (long long)n->ints[1]);
    conv_shape c = conv_of(n->op, a, b, n->ints);
    if (n->op == &op_conv2d && a->shape[a->ndim - 3] != b->shape[b->ndim - 3])
        return graph_fail(g, BK_EINVAL, "bk.conv2d: channels differ: images %s, weights %s",
                          shape_text(a->ndim, a->shape, &sa), shape_text(b->ndim, b->shape, &sb));
    if (c.kh > c.height + 2 * c.pad || c.kw > c.width + 2 * c.pad || c.kh < 1 || c.kw < 1)
        return graph_fail(g, BK_EINVAL, "bk.%s: the kernel %lldx%lld does not fit the padded image %lldx%lld",
                          op_title(n->op), (long long)c.kh, (long long)c.kw, (long long)(c.height + 2 * c.pad),
                          (long long)(c.width + 2 * c.pad));
    int64_t y[4] = { c.batch, c.out, c.out_height, c.out_width }, x[4] = { c.batch, c.in, c.height, c.width },
            w[4] = { c.out, c.in, c.kh, c.kw };
    const int64_t *s = n->op == &op_conv2d ? y : n->op == &op_conv2d_input ? x : w;
    const node *lead = a->ndim == 5 ? a : b->ndim == 5 ? b : NULL;
    if (lead) n->shape[0] = lead->shape[0];
    n->ndim = lead ? 5 : 4;
    memcpy(n->shape + n->ndim - 4, s, 4 * sizeof *s);
    return true;
}

static size_t conv_scratch_rule(const node *n, int threads) {
    conv_shape c = conv_of(n->op, n->in[0], n->in[1], n->ints);
    return conv_scratch(&c, n->dtype, threads);
}

static bk_status conv_run(ctx *ctx_, const node *n, void *out, const void *const *in, void *scratch) {
    const node *a = n->in[0], *b = n->in[1];
    conv_shape c = conv_of(n->op, a, b, n->ints);
    size_t size = dtype_size(n->dtype);
    int64_t lead = n->ndim == 5 ? n->shape[0] : 1;
    size_t step_a = a->ndim == 5 ? size * (size_t)(a->count / lead) : 0;
    size_t step_b = b->ndim == 5 ? size * (size_t)(b->count / lead) : 0;
    size_t step_o = size * (size_t)(n->count / (lead ? lead : 1));
    bk_status s = BK_OK;
    for (int64_t i = 0; i < lead && !s; i++) {
        const char *p = (const char *)in[0] + step_a * (size_t)i, *q = (const char *)in[1] + step_b * (size_t)i;
        char *o = (char *)out + step_o * (size_t)i;
        if (n->op == &op_conv2d)
            s = conv_forward(ctx_, n->dtype, &c, p, q, o, scratch);
        else if (n->op == &op_conv2d_input)
            s = conv_input(ctx_, n->dtype, &c, p, q, o, scratch);
        else
            s = conv_weight(ctx_, n->dtype, &c, p, q, o, scratch);
    }
    return s;
}

static double conv_cost(const node *n) {
    conv_shape c = conv_of(n->op, n->in[0], n->in[1], n->ints);
    double lead = n->ndim == 5 ? (double)n->shape[0] : 1;
    return 2.0 * lead * (double)(c.batch * c.out * c.out_height * c.out_width) * (double)(c.in * c.kh * c.kw);
}

static node *conv_jvp(graph *g, node *n, int k, node *t) {
    return conv_node(g, n->op, k ? n->in[0] : t, k ? t : n->in[1], n->n_ints, n->ints);
}

static node *conv_transpose(graph *g, node *n, int k, node *ct) {
    node *a = n->in[0], *b = n->in[1];
    conv_shape c = conv_of(n->op, a, b, n->ints);
    int64_t image[4] = { c.stride, c.pad, c.height, c.width }, kernel[4] = { c.stride, c.pad, c.kh, c.kw };
    if (n->op == &op_conv2d)
        return k == 0 ? conv_node(g, &op_conv2d_input, ct, b, 4, image)
                      : conv_node(g, &op_conv2d_weight, a, ct, 4, kernel);
    if (n->op == &op_conv2d_input) /* a = y, b = w, out = x */
        return k == 0 ? conv_node(g, &op_conv2d, ct, b, 2, image) : conv_node(g, &op_conv2d_weight, ct, a, 4, kernel);
    /* a = x, b = y, out = w */
    return k == 0 ? conv_node(g, &op_conv2d_input, b, ct, 4, image) : conv_node(g, &op_conv2d, a, ct, 2, image);
}

/* in[k] with one leading axis of size places, those of the new axis (size) and of the old one (lead) together: an
 * operand that lacks one of the two is repeated along it. */
static node *joined_lead(graph *g, const node *before, node *a, bool batched, int64_t size, int64_t lead) {
    int64_t both[6] = { batched ? size : 1, before->ndim == 5 ? lead : 1 }, full[6] = { size, lead },
            joined[5] = { size * lead };
    for (int i = 0; i < 4; i++) both[i + 2] = full[i + 2] = joined[i + 1] = before->shape[before->ndim - 4 + i];
    return g_reshape(g, g_broadcast(g, g_reshape(g, a, 6, both), 6, full), 5, joined);
}

/* n has a leading axis: the new one joins it. An operand without either serves every place, as before. */
static node *conv_vmap_again(graph *g, node *n, node *const *in, const bool *batched, int64_t size) {
    int64_t lead = n->shape[0], back[6] = { size };
    node *full[2];
    for (int k = 0; k < 2; k++) {
        const node *before = n->in[k];
        bool alone = !batched[k] && before->ndim == 4;
        full[k] = alone ? in[k] : joined_lead(g, before, in[k], batched[k], size, lead);
    }
    memcpy(back + 1, n->shape, 5 * sizeof *back);
    return g_reshape(g, conv_node(g, n->op, full[0], full[1], n->n_ints, n->ints), 6, back);
}

static node *conv_vmap(graph *g, node *n, node *const *in, const bool *batched, int64_t size) {
    if (n->ndim == 5) return conv_vmap_again(g, n, in, batched, size);
    if (n->op != &op_conv2d_weight && batched[0] && !batched[1]) { /* the axis joins the batch */
        const node *a = in[0];
        int64_t joined[4] = { size * a->shape[1], a->shape[2], a->shape[3], a->shape[4] };
        node *y = conv_node(g, n->op, g_reshape(g, in[0], 4, joined), in[1], n->n_ints, n->ints);
        int64_t back[5] = { size, n->shape[0], n->shape[1], n->shape[2], n->shape[3] };
        return g_reshape(g, y, 5, back);
    }
    return conv_node(g, n->op, in[0], in[1], n->n_ints, n->ints);
}

#define CONV_RULES                                                                                                     \
    .arity = 2, .kind = OP_KERNEL, .shape = conv_shape_rule, .run = conv_run, .scratch = conv_scratch_rule,            \
    .cost = conv_cost, .shared = true, .jvp = conv_jvp, .transpose = conv_transpose, .vmap = conv_vmap

/* clang-format off */
#define STRIDE(DEFAULT)                                                                                                \
    { ARG_INTEGER, "stride", DEFAULT, "places from one window to the next", .option = true, .low = 1, .high = 1 << 20 }
#define PADDING                                                                                                        \
    { ARG_INTEGER, "padding", "0", "rows and columns of zeros on every side", .option = true, .high = 1 << 20 }
/* clang-format on */

OP_BUILD(conv2d, g_conv2d(g, v[0].t, v[1].t, v[2].i, v[3].i))
const op_row op_conv2d = {
    .name = "conv2d",
    .formula = "y[b,o,i,j] = sum_{c,u,v} x[b,c,i s+u-p,j s+v-p] w[o,c,u,v]",
    CONV_RULES,
    .args = (const op_arg[]){ { ARG_TENSOR, "x", .called = "images" },
                              { ARG_TENSOR, "w", .called = "weights" },
                              STRIDE("1"),
                              PADDING,
                              { ARG_END } },
    .build = conv2d_build,
    .sample = &(op_sample){ 2, { { 4, { SAMPLE_SIZE, 2, 6, 5 }, 0 }, { 4, { 3, 2, 3, 2 }, 0 } }, 2, { 2, 1 } },
    .doc = "Cross-correlation of images x (batch, channel, height, width) with weights w (out, in, kh, kw).\n\n"
           "Where the processor has AVX-512, 3 x 3 kernels of stride 1 take the minimal filtering of Winograd 1980: an "
           "infinity or a NaN in an image may then make NaN of the pixels beside those that read it.",
};
const op_row op_conv2d_input = {
    .name = "conv2d_input",
    .serves = "conv2d",
    .formula = "the adjoint of conv2d in x, applied to (y, w)",
    CONV_RULES,
    .sample = &(op_sample){ 2, { { 4, { SAMPLE_SIZE, 3, 3, 3 }, 0 }, { 4, { 3, 2, 3, 2 }, 0 } }, 4, { 2, 1, 6, 5 } },
};
const op_row op_conv2d_weight = {
    .name = "conv2d_weight",
    .serves = "conv2d",
    .formula = "the adjoint of conv2d in w, applied to (x, y)",
    CONV_RULES,
    .sample = &(op_sample){ 2,
                            { { 4, { SAMPLE_SIZE, 2, 6, 5 }, 0 }, { 4, { SAMPLE_SIZE, 3, 3, 3 }, 0 } },
                            4,
                            { 2, 1, 3, 2 } },
};

node *g_conv2d(graph *g, node *x, node *w, int64_t stride, int64_t padding) {
    int64_t ints[2] = { stride, padding };
    return conv_node(g, &op_conv2d, x, w, 2, ints);
}

/* ---- pooling: kernel, stride, padding, and for adjoints the image's height and width; the last two axes ---- */

static pool_shape pool_of(const node *image, const int64_t *ints, int64_t height, int64_t width) {
    pool_shape p = { .planes = shape_count(image->ndim - 2, image->shape),
                     .height = height,
                     .width = width,
                     .kh = ints[0],
                     .kw = ints[0],
                     .stride = ints[1],
                     .pad = ints[2] };
    p.out_height = (height + 2 * p.pad - p.kh) / p.stride + 1;
    p.out_width = (width + 2 * p.pad - p.kw) / p.stride + 1;
    return p;
}

static bool pool_shape_rule(graph *g, node *n) {
    const node *a = n->in[0];
    shape_buf text;
    if (a->ndim < 3 || a->dtype == BK_INT64)
        return graph_fail(g, BK_EINVAL, "bk.%s: expected float images (batch, channel, height, width), got %s %s",
                          op_title(n->op), dtype_name(a->dtype), shape_text(a->ndim, a->shape, &text));
    if (n->ints[0] < 1 || n->ints[1] < 1 || n->ints[2] < 0 || n->ints[2] >= n->ints[0])
        return graph_fail(g, BK_EINVAL,
                          "bk.%s: expected kernel >= 1, stride >= 1, 0 <= padding < kernel, got %lld, %lld, %lld",
                          op_title(n->op), (long long)n->ints[0], (long long)n->ints[1], (long long)n->ints[2]);
    if (n->op == &op_avgpool2d_adjoint) {
        n->shape[n->ndim - 2] = n->ints[3];
        n->shape[n->ndim - 1] = n->ints[4];
        return true;
    }
    int64_t h = a->shape[a->ndim - 2], w = a->shape[a->ndim - 1];
    if (h + 2 * n->ints[2] < n->ints[0] || w + 2 * n->ints[2] < n->ints[0])
        return graph_fail(g, BK_EINVAL, "bk.%s: the window %lld does not fit the image %s", op_title(n->op),
                          (long long)n->ints[0], shape_text(a->ndim, a->shape, &text));
    pool_shape p = pool_of(a, n->ints, h, w);
    n->shape[n->ndim - 2] = p.out_height;
    n->shape[n->ndim - 1] = p.out_width;
    if (n->op == &op_maxpool_index) n->dtype = BK_INT64;
    return true;
}

typedef struct pool_job {
    const node *n;
    pool_shape p;
    char *out;
    const char *in;
} pool_job;

static void pool_planes(void *arg, int share, int64_t first, int64_t end) {
    (void)share;
    const pool_job *j = arg;
    const node *n = j->n, *a = n->in[0];
    pool_shape p = j->p;
    char *out = j->out + (size_t)(first * (n->count / p.planes)) * dtype_size(n->dtype);
    const char *in = j->in + (size_t)(first * (a->count / p.planes)) * dtype_size(a->dtype);
    p.planes = end - first;
    if (n->op == &op_avgpool2d) pool_average(n->dtype, &p, in, out);
    else if (n->op == &op_avgpool2d_adjoint) pool_average_adjoint(n->dtype, &p, in, out);
    else pool_argmax(a->dtype, &p, in, (int64_t *)(void *)out);
}

static bk_status pool_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    (void)scratch;
    const node *a = n->in[0], *image = n->op == &op_avgpool2d_adjoint ? n : a;
    const int64_t *plane = image->shape + image->ndim - 2;
    pool_job j = { n, pool_of(image, n->ints, plane[0], plane[1]), out, in[0] };
    const double work = (double)image->count + (double)n->count * (double)(n->ints[0] * n->ints[0]);
    return ctx_ranges(c, j.p.planes, op_shares(image->count), work, pool_planes, &j);
}

static node *pool_again(graph *g, node *n, node *in) {
    return graph_op(g, n->op, 1, &in, n->n_ints, n->ints, 0);
}
static node *pool_jvp(graph *g, node *n, int k, node *t) {
    (void)k;
    return pool_again(g, n, t);
}
static node *pool_vmap(graph *g, node *n, node *const *in, const bool *batched, int64_t size) {
    (void)batched, (void)size;
    return pool_again(g, n, in[0]);
}
static node *avgpool_transpose(graph *g, node *n, int k, node *ct) {
    (void)k;
    const node *a = n->in[0];
    int64_t ints[5] = { n->ints[0], n->ints[1], n->ints[2], a->shape[a->ndim - 2], a->shape[a->ndim - 1] };
    return graph_op(g, &op_avgpool2d_adjoint, 1, &ct, 5, ints, 0);
}
static node *avgpool_adjoint_transpose(graph *g, node *n, int k, node *ct) {
    (void)k;
    return graph_op(g, &op_avgpool2d, 1, &ct, 3, n->ints, 0);
}

static const op_arg pool_args[] = {
    { ARG_TENSOR, "x", .called = "images" },
    { ARG_INTEGER, "kernel", .low = 1, .high = 1 << 20 },
    STRIDE("kernel"),
    PADDING,
    { ARG_END },
};
OP_BUILD(avgpool2d, g_avgpool2d(g, v[0].t, v[1].i, v[2].given ? v[2].i : v[1].i, v[3].i))
const op_row op_avgpool2d = {
    .name = "avgpool2d",
    .arity = 1,
    .kind = OP_KERNEL,
    .formula = "the mean of each window, padding counted as zeros",
    .shape = pool_shape_rule,
    .run = pool_run,
    .shared = true,
    .jvp = pool_jvp,
    .transpose = avgpool_transpose,
    .vmap = pool_vmap,
    .args = pool_args,
    .build = avgpool2d_build,
    .sample = &(op_sample){ 1, { { 4, { SAMPLE_SIZE, 2, 6, 5 }, 0 } }, 3, { 2, 2, 0 } },
    .doc = "Means over kernel x kernel windows of images (batch, channel, height, width); padding counts as zeros.",
};
const op_row op_avgpool2d_adjoint = {
    .name = "avgpool2d_adjoint",
    .arity = 1,
    .kind = OP_KERNEL,
    .formula = "the adjoint of avgpool2d",
    .shape = pool_shape_rule,
    .run = pool_run,
    .shared = true,
    .jvp = pool_jvp,
    .transpose = avgpool_adjoint_transpose,
    .vmap = pool_vmap,
    .serves = "avgpool2d",
    .sample = &(op_sample){ 1, { { 4, { SAMPLE_SIZE, 2, 3, 2 }, 0 } }, 5, { 2, 2, 0, 6, 5 } },
};
const op_row op_maxpool_index = {
    .name = "maxpool_index",
    .arity = 1,
    .kind = OP_KERNEL,
    .formula = "the place, row * width + column, of each window's first maximum",
    .shape = pool_shape_rule,
    .run = pool_run,
    .shared = true,
    .jvp = op_zero_jvp,
    .transpose = op_no_transpose,
    .vmap = pool_vmap,
    .serves = "maxpool2d",
    .sample = &(op_sample){ 1, { { 4, { SAMPLE_SIZE, 2, 6, 5 }, 0 } }, 3, { 2, 2, 1 } },
};

node *g_avgpool2d(graph *g, node *x, int64_t kernel, int64_t stride, int64_t padding) {
    int64_t ints[3] = { kernel, stride, padding };
    return x ? graph_op(g, &op_avgpool2d, 1, &x, 3, ints, 0) : NULL;
}

/* Max pooling takes the winning place of every window: the derivative goes where the maximum was. */
node *g_maxpool2d(graph *g, node *x, int64_t kernel, int64_t stride, int64_t padding) {
    int64_t ints[3] = { kernel, stride, padding };
    node *index = x ? graph_op(g, &op_maxpool_index, 1, &x, 3, ints, 0) : NULL;
    if (!index) return NULL;
    const int64_t planes = shape_count(x->ndim - 2, x->shape);
    node *rows = g_reshape(g, x, 2, (int64_t[]){ planes, x->count / (planes ? planes : 1) });
    node *at = g_reshape(g, index, 2, (int64_t[]){ planes, index->count / (planes ? planes : 1) });
    return g_reshape(g, g_gather_along(g, rows, at), index->ndim, index->shape);
}
OP_BUILD(maxpool2d, g_maxpool2d(g, v[0].t, v[1].i, v[2].given ? v[2].i : v[1].i, v[3].i))
const op_row op_maxpool2d = {
    .name = "maxpool2d",
    .arity = 1,
    .kind = OP_COMPOSITE,
    .formula = "the first maximum of each window",
    .args = pool_args,
    .build = maxpool2d_build,
    .sample = &(op_sample){ 1, { { 4, { SAMPLE_SIZE, 2, 5, 6 }, 0 } }, 3, { 3, 2, 1 } },
    .doc = "Maxima over kernel x kernel windows of images (batch, channel, height, width).\n\n"
           "The derivative goes to each window's first maximum.",
};
