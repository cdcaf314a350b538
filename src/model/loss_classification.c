/* loss_classification.c - losses of classes, from logits z = model(theta, x): y holds class ids, or what a teacher
 * says. */
#include "loss.h"

enum { SMOOTHING };

/* logsumexp z - z[y]; smoothed: (1 - s) of it and s times its mean over all classes */
static node *cross_entropy_build(const loss *l, graph *g, node *z, node *y) {
    double s = l->option[SMOOTHING];
    node *total = g_logsumexp(g, z), *right = g_take(g, z, y);
    if (s == 0) return g_mean_all(g, g_sub(g, total, right));
    node *mean = g_mean(g, z, 1u << (z->ndim - 1), false);
    node *wanted = g_add(g, g_scale(g, 1 - s, right), g_scale(g, s, mean));
    return g_mean_all(g, g_sub(g, total, wanted));
}

const loss_row loss_cross_entropy = {
    .name = "cross_entropy",
    .doc = "bk.loss.cross_entropy(model [, x, y]) -> loss, a function of theta; without data, of (theta, x, y)\n"
           "Mean of -log softmax(z)[y] over batch and time, z = model(theta, x) (batch, classes) or (batch, time, "
           "classes), y class ids from 0, of z's shape but the last.\n\n"
           "Formula: with label_smoothing s the target is (1 - s) onehot(y) + s / classes.",
    .options = { { "label_smoothing", "weight of the uniform target", OPTION_NUMBER, .high = 1 } },
    .class_ids = true,
    .build = cross_entropy_build,
    .hits = loss_hits_class,
};

/* softplus(z) - z y */
static node *binary_build(const loss *l, graph *g, node *z, node *y) {
    (void)l;
    return g_mean_all(g, g_sub(g, g_softplus(g, z), g_mul(g, z, y)));
}

static node *binary_hits(graph *g, node *z, node *y) {
    y = g_cast(g, y, z->dtype);
    node *half = g_full(g, z->dtype, z->ndim, z->shape, 0.5), *zero = g_zeros_like(g, z);
    return g_eq(g, g_gt(g, z, zero), g_gt(g, y, half));
}

const loss_row loss_binary_cross_entropy = {
    .name = "binary_cross_entropy",
    .doc = "bk.loss.binary_cross_entropy(model [, x, y]) -> loss, a function of theta; without data, of (theta, x, y)\n"
           "Mean over batch and outputs of -y log sigmoid(z) - (1 - y) log(1 - sigmoid(z)), z = model(theta, x), y in "
           "0..1 of z's shape, or (batch) beside one output.",
    .probabilities = true,
    .build = binary_build,
    .hits = binary_hits,
};

enum { MARGIN };

/* The class itself gives max(0, margin): taken off again. */
static node *hinge_build(const loss *l, graph *g, node *z, node *y) {
    double margin = l->option[MARGIN];
    int64_t shape[BK_MAX_DIMS], classes = z->shape[z->ndim - 1];
    for (int i = 0; i < z->ndim; i++) shape[i] = i < z->ndim - 1 ? z->shape[i] : 1;
    node *right = g_reshape(g, g_take(g, z, y), z->ndim, shape);
    node *over = g_relu(g, g_offset(g, margin, g_sub(g, z, right)));
    node *sum = g_offset(g, -margin, g_sum(g, over, 1u << (z->ndim - 1), false));
    return g_scale(g, 1 / (double)classes, g_mean_all(g, sum));
}

const loss_row loss_hinge = {
    .name = "hinge",
    .doc = "bk.loss.hinge(model [, x, y]) -> loss, a function of theta; without data, of (theta, x, y)\n"
           "Mean over the batch of sum_{j != y} max(0, margin - z[y] + z[j]) / classes, z = model(theta, x) (batch, "
           "classes), y (batch) class ids from 0.\n\n"
           "Source: Weston & Watkins 1999; the division by the classes is PyTorch's (MultiMarginLoss).",
    .options = { { "margin", "by which the right class should lead", OPTION_NUMBER, .otherwise = 1, .high = 1e300 } },
    .class_ids = true,
    .build = hinge_build,
    .hits = loss_hits_class,
};

enum { TEMPERATURE };

/* T^2 mean KL(softmax(y/T) || softmax(z/T)) */
static node *kl_build(const loss *l, graph *g, node *z, node *y) {
    double t = l->option[TEMPERATURE];
    int last = z->ndim - 1;
    if (last < 0) return graph_fail(g, BK_EINVAL, "bk.loss.kl_divergence: expected outputs (batch, classes), got ()");
    node *log_z = g_log_softmax(g, g_scale(g, 1 / t, z), last), *teacher = g_scale(g, 1 / t, y);
    node *log_y = g_log_softmax(g, teacher, last), *p = g_softmax(g, teacher);
    node *each = g_sum(g, g_mul(g, p, g_sub(g, log_y, log_z)), 1u << last, false);
    return g_scale(g, t * t, g_mean_all(g, each));
}

static node *kl_hits(graph *g, node *z, node *y) {
    return g_eq(g, g_argmax(g, z, z->ndim - 1), g_argmax(g, g_cast(g, y, z->dtype), z->ndim - 1));
}

const loss_row loss_kl_divergence = {
    .name = "kl_divergence",
    .doc = "bk.loss.kl_divergence(model [, x, y]) -> loss, a function of theta; without data, of (theta, x, y)\n"
           "Mean over the batch of T^2 KL(softmax(y/T) || softmax(z/T)), z = model(theta, x) and y, a teacher's "
           "logits, both "
           "(batch, classes): distillation.\n\n"
           "Source: Hinton, Vinyals & Dean 2015.",
    .options = { { "temperature", "T", OPTION_NUMBER, .otherwise = 1, .high = 1e300, .open = true } },
    .build = kl_build,
    .hits = kl_hits,
};
