/* labels.c - what a loss is told of the right answers, as it came unless one is none: then an error, in the loss's
 * name. ints: CLASSES, and the name's bytes. */
#include "ops.h"

#include <stdatomic.h>
#include <string.h>

enum { CLASSES /* ids below it, as int64; 0: numbers from 0 to 1 */, WHO, WHO_WORDS = 8 };

static bool right(int64_t classes, double y) {
    return classes ? y >= 0 && y < (double)classes && y == (double)(int64_t)y : y >= 0 && y <= 1;
}

bk_status op_check_label(const char *who, int64_t classes, int64_t i, double y, err *e) {
    if (right(classes, y)) return BK_OK;
    if (!classes)
        return err_set(e, BK_EINVAL, "%s: y[%lld]: expected a number from 0 to 1, got %g", who, (long long)i + 1, y);
    return err_set(e, BK_EINVAL, "%s: y[%lld]: expected a class id in 0..%lld, got %g", who, (long long)i + 1,
                   (long long)classes - 1, y);
}

typedef struct labels_job {
    const node *n;
    const void *in;
    char *out;
    atomic_bool wrong;
} labels_job;

static void labels_range(void *arg, int share, int64_t first, int64_t end) {
    (void)share;
    labels_job *j = arg;
    const bk_dtype from = j->n->in[0]->dtype, to = j->n->dtype;
    bool fine = true;
    for (int64_t i = first; i < end; i++) fine = right(j->n->ints[CLASSES], dtype_get(from, j->in, i)) && fine;
    if (!fine) atomic_store(&j->wrong, true);
    else
        vec_cast(end - first, to, j->out + (size_t)first * dtype_size(to), from,
                 (const char *)j->in + (size_t)first * dtype_size(from));
}
static bk_status labels_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    (void)scratch;
    labels_job j = { .n = n, .in = in[0], .out = out };
    const bk_status status = ctx_ranges(c, n->count, op_shares(n->count), (double)n->count, labels_range, &j);
    return !status && atomic_load(&j.wrong) ? BK_ERUNTIME : status;
}
static bk_status labels_explain(ctx *c, const node *n, void *out, const void *const *in, void *scratch, err *e) {
    char who[sizeof(int64_t) * WHO_WORDS];
    bk_status status = BK_OK;
    int64_t since = 0;
    (void)out, (void)scratch;
    memcpy(who, n->ints + WHO, sizeof who);
    for (int64_t i = 0; i < n->count && !status; i++) {
        if (ctx_stops(c, &since, 1)) return BK_EINTERRUPTED;
        status = op_check_label(who, n->ints[CLASSES], i, dtype_get(n->in[0]->dtype, in[0], i), e);
    }
    return status;
}
static bool labels_shape(graph *g, node *n) {
    (void)g;
    if (n->ints[CLASSES]) n->dtype = BK_INT64;
    return true;
}
static node *labels_jvp(graph *g, node *n, int k, node *t) {
    (void)g, (void)k;
    return n->dtype == BK_INT64 ? NULL : t;
}
const op_row op_labels = {
    .name = "labels", .arity = 1, .kind = OP_KERNEL, .formula = "t, where a loss accepts it", .shape = labels_shape,
    .run = labels_run, .explain = labels_explain, .shared = true, .jvp = labels_jvp, .transpose = op_no_transpose,
    .vmap = op_vmap_elementwise, .sample_low = 0.1, .sample_high = 0.9,
    .sample = &(op_sample){ 1, { { 2, { SAMPLE_SIZE, 4 }, 0 } }, 1 + WHO_WORDS, { 0 } },
};

/* y as class ids below `classes` (int64), or (0) as numbers from 0 to 1; `who` says so where they are not. */
node *g_labels(graph *g, node *y, int64_t classes, const char *who) {
    int64_t ints[WHO + WHO_WORDS] = { classes };
    char text[sizeof(int64_t) * WHO_WORDS] = "";
    if (!y) return NULL;
    strncat(text, who, sizeof text - 1);
    memcpy(ints + WHO, text, sizeof text);
    return graph_op(g, &op_labels, 1, &y, WHO + WHO_WORDS, ints, 0);
}
