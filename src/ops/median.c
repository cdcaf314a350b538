/* median.c - the middle of what bk.sort puts in order, or the mean of the two middles. */
#include "ops.h"

static node *median_build(graph *g, const op_value *v, node **second) {
    node *a = op_operand(g, &op_median, v[0].t);
    const int axis = v[1].i < 0 ? 0 : (int)v[1].i;
    (void)second;
    if (a && v[1].i < 0) a = g_reshape(g, a, 1, &a->count);
    if (!a) return NULL;
    const int64_t n = a->shape[axis];
    if (n == 0) return graph_fail(g, BK_EINVAL, "bk.median: no elements");
    a = op_build(g, &op_sort, (op_value[]){ { .t = a }, { .i = axis }, { .i = false } }, NULL);
    node *last = g_sum(g, g_narrow(g, a, axis, n - 1, 1), 1u << axis, false); /* NaN stands there */
    node *middle = g_mean(g, g_narrow(g, a, axis, (n - 1) / 2, 2 - n % 2), 1u << axis, false);
    return g_where(g, g_eq(g, last, last), middle, last);
}
const op_row op_median = {
    .name = "median",
    .arity = 1,
    .kind = OP_COMPOSITE,
    .formula = "the middle of t in order, or the mean of its two middles",
    .args = op_args_along,
    .build = median_build,
    .sample = &(op_sample){ 1, { { 3, { SAMPLE_SIZE, 4, 2 }, 0 } }, 1, { 1 } },
    .sample_low = 0.1,
    .sample_high = 5, /* equal numbers are a kink */
    .doc = "The median of all elements (0-d), or of those along dim, which is dropped: the middle one in order, of an "
           "even number the mean of the two middles. NaN wins.\n\nDerivatives as in bk.sort.",
};
