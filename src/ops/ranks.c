/* ranks.c - functions whose value is a sum over ranks. Outside such a function every rank has the same values, inside
 * each has its own; what goes in is copied, what comes out is summed, and each of the two is the other's adjoint. So a
 * derivative of any order of a sum over ranks is again one, and a Hessian-vector product or a bracket costs one sum. */
#include "../ranks/ranks.h"
#include "ops.h"

#include <string.h>

static node *apart(graph *g, const op_row *op, node *a) {
    return !a || ranks_size() == 1 ? a : graph_op(g, op, 1, &a, 0, NULL, 0);
}
/* The value that all ranks have, as each one's own. */
node *g_rank_copy(graph *g, node *a) {
    return apart(g, &op_rank_copy, a);
}
/* The sum of what each rank has, for all of them. */
node *g_rank_sum(graph *g, node *a) {
    return apart(g, &op_rank_sum, a);
}

bool op_rank_order(graph *g, int n_out, node **outs) {
    int n;
    node **sorted = ranks_size() > 1 ? graph_sorted(g, n_out, outs, &n) : NULL;
    node **image = sorted ? graph_alloc(g, sizeof *image * (size_t)n) : NULL, *last = NULL;
    int64_t number = 0;
    if (!image) return !graph_failed(g);
    for (int i = 0; i < n; i++) {
        node *m = sorted[i], **in = graph_alloc(g, sizeof *in * (size_t)(m->n_in + 1));
        if (!in) return false;
        bool moved = false;
        for (int k = 0; k < m->n_in; k++) {
            in[k] = image[m->in[k]->place];
            moved = moved || in[k] != m->in[k];
        }
        if (m->op == &op_rank_sum) {
            in[1] = last;
            last = image[i] = graph_op(g, m->op, last ? 2 : 1, in, 1, &number, 0);
            number++;
        } else
            image[i] = moved ? graph_again(g, m, in) : m;
        if (!image[i]) return false;
    }
    for (int k = 0; k < n_out; k++) outs[k] = image[outs[k]->place];
    return true;
}

static node *same_vmap(graph *g, node *n, node *const *in, const bool *batched, int64_t size) {
    (void)batched, (void)size;
    return graph_again(g, n, in);
}

static bk_status copy_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    (void)c, (void)scratch;
    memcpy(out, in[0], (size_t)n->count * dtype_size(n->dtype));
    return BK_OK;
}
static node *copy_jvp(graph *g, node *n, int k, node *t) {
    (void)n, (void)k;
    return g_rank_copy(g, t);
}
static node *copy_transpose(graph *g, node *n, int k, node *ct) {
    (void)n, (void)k;
    return g_rank_sum(g, ct);
}
/* It tells derivatives what to do, and no program does it: lowering leaves it out. */
const op_row op_rank_copy = {
    .name = "rank_copy",
    .arity = 1,
    .kind = OP_KERNEL,
    .formula = "t, on every rank",
    .run = copy_run,
    .jvp = copy_jvp,
    .transpose = copy_transpose,
    .vmap = same_vmap,
    .sample = &(op_sample){ 1, { { 2, { SAMPLE_SIZE, 4 }, 0 } } },
};

/* Of a second input, the sum before it, nothing is read. */
static bk_status sum_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    (void)scratch;
    return ranks_sum(c, n->dtype, n->ndim, n->shape, n->n_ints ? (int)n->ints[0] : 0, in[0], out, NULL);
}
/* What went wrong is known; nothing is run again. */
static bk_status sum_explain(ctx *c, const node *n, void *out, const void *const *in, void *scratch, err *e) {
    (void)scratch;
    return ranks_sum(c, n->dtype, n->ndim, n->shape, n->n_ints ? (int)n->ints[0] : 0, in[0], out, e);
}
static node *sum_jvp(graph *g, node *n, int k, node *t) {
    (void)n, (void)k;
    return g_rank_sum(g, t);
}
static node *sum_transpose(graph *g, node *n, int k, node *ct) {
    (void)n, (void)k;
    return g_rank_copy(g, ct);
}
const op_row op_rank_sum = {
    .name = "rank_sum",
    .serves = "mpi.sum",
    .arity = -1,
    .kind = OP_KERNEL,
    .formula = "the sum over ranks of t",
    .run = sum_run,
    .explain = sum_explain,
    .jvp = sum_jvp,
    .transpose = sum_transpose,
    .vmap = same_vmap,
    .sample = &(op_sample){ 1, { { 2, { SAMPLE_SIZE, 4 }, 0 } } },
};
