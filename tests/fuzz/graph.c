/* graph.c - random programs of operations, with their derivatives: the plan (simplified, lowered, fused, laid out in one
 * arena) against a reference that computes node by node, each in memory of its own, from the graph as it was built; and
 * forward against reverse mode. Input: a byte an operation, then bytes for its operands. */
#include "../../src/compile/plan.h"
#include "../../src/ops/ops.h"
#include "fuzz.h"
#include <math.h>

enum { INPUTS = 4, MOST_OPS = 16, MOST_NODES = 64, MOST_ELEMENTS = 4096, OUTS = 8 };

typedef struct bytes_in {
    const uint8_t *at;
    size_t left;
} bytes_in;

static unsigned take(bytes_in *b) {
    if (!b->left) return 0;
    b->left--;
    return *b->at++;
}

/* ---- the reference ---- */

static void *room(size_t bytes) {
    void *p = aligned_alloc(64, (bytes + 64) / 64 * 64);
    if (!p) abort();
    return p;
}

/* Every node's value, in order; `values` by place in sorted. False where a kernel refuses. */
static bool evaluate(ctx *c, int n, node **sorted, int n_in, node *const *inputs, double *const *data, void **values) {
    for (int i = 0; i < n; i++) {
        node *at = sorted[i];
        const size_t size = dtype_size(at->dtype);
        values[i] = room((size_t)at->count * size);
        const void *in[64] = { NULL };
        if (at->n_in > 64) return false;
        for (int k = 0; k < at->n_in; k++) in[k] = values[graph_place(sorted, n, at->in[k])];
        if (at->op == &op_input) {
            for (int k = 0; k < n_in; k++)
                if (inputs[k] == at) memcpy(values[i], data[k], (size_t)at->count * size);
        } else if (at->op == &op_const) {
            tensor whole = { 0 };
            err e = { 0 };
            if (tensor_contiguous_as(at->value, at->dtype, &whole, &e)) return false;
            memcpy(values[i], tensor_data(&whole), (size_t)at->count * size);
            tensor_release(&whole);
        } else if (at->op == &op_reshape) {
            memcpy(values[i], in[0], (size_t)at->count * size);
        } else if (at->op->kind == OP_ELEMENTWISE) {
            vec_get(at->op->vec, at->dtype)(at->count, values[i], in[0], in[1], in[2], at->x);
        } else {
            const size_t bytes = at->op->scratch ? at->op->scratch(at, false) : 0;
            void *scratch = room(bytes);
            const bk_status s = at->op->run(c, at, values[i], in, scratch);
            free(scratch);
            if (s) return false;
        }
    }
    return true;
}

/* The largest number in float64 values; infinity where one is none. */
static double largest(int n, node **sorted, void **values) {
    double most = 1;
    for (int i = 0; i < n; i++)
        for (int64_t j = 0; j < sorted[i]->count && sorted[i]->dtype == BK_FLOAT64; j++) {
            const double x = fabs(((double *)values[i])[j]);
            if (!(x <= 1e4)) return INFINITY;
            if (x > most) most = x;
        }
    return most;
}

/* ---- programs ---- */

static node *positive(graph *g, node *a) {
    return g_offset(g, 1, g_square(g, a));
}

/* The next operation on nodes that are there; smooth, so that what differs in the last bits stays close. */
static node *operation(graph *g, bytes_in *b, int n, node *const *have) {
    static const int64_t sizes[] = { 1, 2, 3, 4, 6, 9, 16, 33 };
    const unsigned what = take(b);
    node *a = have[take(b) % (unsigned)n], *u = have[take(b) % (unsigned)n];
    const unsigned x = take(b);
    const int axis = a->ndim ? (int)(x % (unsigned)a->ndim) : 0;
    int64_t shape[BK_MAX_DIMS], other[BK_MAX_DIMS];
    switch (what % 40) {
    case 0: return g_tanh(g, a);
    case 1: return g_sin(g, a);
    case 2: return g_exp(g, g_tanh(g, a));
    case 3: return g_softplus(g, a);
    case 4: return g_sigmoid(g, a);
    case 5: return g_gelu(g, a);
    case 6: return g_erf(g, a);
    case 7: return g_log(g, positive(g, a));
    case 8: return g_sqrt(g, positive(g, a));
    case 9: return g_reciprocal(g, positive(g, a));
    case 10: case 11: return g_add(g, a, u);
    case 12: return g_sub(g, a, u);
    case 13: case 14: return g_mul(g, a, u);
    case 15: return g_div(g, a, positive(g, u));
    case 16: return g_scale(g, ((int)x - 128) / 64.0, a);
    case 17: return g_offset(g, ((int)x - 128) / 64.0, a);
    case 18: return g_neg(g, a);
    case 19: return g_square(g, g_tanh(g, a));
    case 20: return a->ndim ? g_sum(g, a, 1u << axis, x & 64) : NULL;
    case 21: return a->ndim ? g_mean(g, a, 1u << axis, x & 64) : NULL;
    case 22: return a->ndim >= 2 ? g_transpose(g, a) : NULL;
    case 23: case 24: case 25:
        if (a->ndim < 1 || u->ndim < 1) return NULL;
        if (a->ndim >= 2 && u->ndim >= 2) return g_matmul_t(g, a, u, x & 1, x & 2);
        return g_matmul(g, a, u);
    case 26: return g_reshape(g, a, 1, &a->count);
    case 27:
        shape[0] = sizes[x % 8], shape[1] = shape[0] && a->count % shape[0] == 0 ? a->count / shape[0] : 0;
        return shape[1] * shape[0] == a->count ? g_reshape(g, a, 2, shape) : NULL;
    case 28:
        if (a->ndim >= 3) return NULL;
        shape[0] = sizes[x % 5];
        memcpy(shape + 1, a->shape, sizeof *shape * (size_t)a->ndim);
        return g_broadcast(g, a, a->ndim + 1, shape);
    case 29:
        if (!a->ndim || a->shape[axis] < 2) return NULL;
        return g_narrow(g, a, axis, x % (a->shape[axis] - 1), 1 + x % (a->shape[axis] - x % (a->shape[axis] - 1)));
    case 30: return a->ndim && a->ndim == u->ndim ? g_concat(g, axis, 2, (node *[]){ a, u }) : NULL;
    case 31: return a->ndim ? g_concat(g, axis, 3, (node *[]){ a, g_sin(g, a), a }) : NULL;
    case 32: return g_stack(g, 2, (node *[]){ a, u });
    case 33: return a->ndim ? g_flip(g, a, axis) : NULL;
    case 34:
        for (int i = 0; i < a->ndim; i++) shape[i] = x >> i & 1, other[i] = x >> (i + 2) & 1;
        return a->ndim && a->ndim < 4 ? g_pad(g, a, shape, other) : NULL;
    case 35: return a->ndim && a->shape[a->ndim - 1] ? g_softmax(g, a) : NULL;
    case 36: return a->ndim && a->shape[a->ndim - 1] ? g_logsumexp(g, a) : NULL;
    case 37: return a->ndim ? g_cumsum(g, a, axis) : NULL;
    case 38: return a->ndim && a->shape[a->ndim - 1] > 1 ? g_layer_norm(g, a, 0.1) : NULL;
    default: return g_sum_all(g, a);
    }
}

/* sum_k <outs[k], cts[k]>, which are NULL where nothing flows */
static node *inner(graph *g, int n, node *const *a, node *const *b) {
    node *sum = g_full(g, BK_FLOAT64, 0, NULL, 0);
    for (int k = 0; k < n; k++)
        if (a[k] && b[k]) sum = g_add(g, sum, g_sum_all(g, g_mul(g, a[k], b[k])));
    return sum;
}

static double number(unsigned *state) { /* in -1..1 */
    *state = *state * 1664525u + 1013904223u;
    return (int)(*state >> 8) / 8388608.0 - 1;
}

static void compare(ctx *c, graph *g, int n_in, node *const *in, int n_out, node *const *out, int identity, unsigned seed) {
    plan *p = NULL;
    err e = { 0 };
    int n = 0;
    double *data[2 * INPUTS + OUTS] = { NULL };
    void *result[OUTS + 2] = { NULL };
    node **sorted = graph_sorted(g, n_out, out, &n);
    if (!sorted) return;
    void **values = calloc((size_t)n + 1, sizeof *values);
    for (int k = 0; k < n_in; k++) {
        data[k] = room((size_t)in[k]->count * sizeof(double));
        for (int64_t i = 0; i < in[k]->count; i++) data[k][i] = number(&seed);
    }
    const bool runs = evaluate(c, n, sorted, n_in, in, data, values);
    int place[OUTS + 2];
    for (int k = 0; k < n_out; k++) place[k] = graph_place(sorted, n, out[k]);
    const double most = runs ? largest(n, sorted, values) : INFINITY, tolerance = 1e-11 * most * most;
    const bk_status planned = plan_new(g, n_in, in, n_out, out, 0, false, &p, &e);
    PROMISE(!planned, "plan_new: %s", e.text);
    for (int k = 0; k < n_out; k++) {
        result[k] = room((size_t)out[k]->count * sizeof(double));
        memset(result[k], 0x7f, (size_t)out[k]->count * sizeof(double));
    }
    const bk_status ran = plan_run(p, (const void *const *)data, result, &e);
    PROMISE(!ran, "plan_run: %s", e.text);
    for (int k = 0; k < n_out && most < INFINITY; k++)
        for (int64_t i = 0; i < out[k]->count; i++) {
            const double a = ((double *)result[k])[i], b = ((double *)values[place[k]])[i];
            PROMISE(fabs(a - b) <= tolerance, "result %d, element %lld: %.17g planned, %.17g by node (numbers up to %g)", k,
                    (long long)i, a, b, most);
        }
    if (identity >= 0 && most < INFINITY) {
        const double a = *(double *)result[identity], b = *(double *)result[identity + 1];
        PROMISE(fabs(a - b) <= 1e3 * tolerance, "forward %.17g, reverse %.17g (numbers up to %g)", a, b, most);
    }
    plan_free(p);
    for (int k = 0; k < n_out; k++) free(result[k]);
    for (int k = 0; k < n_in; k++) free(data[k]);
    for (int i = 0; i < n; i++) free(values[i]);
    free(values);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static ctx *c;
    static const int64_t shapes[][3] = { /* the last of more elements than a pass has in a block */
        { 0 }, { 1, 3 }, { 2, 3, 4 }, { 2, 4, 4 }, { 1, 16 }, { 2, 1, 3 }, { 2, 5, 16 }, { 2, 33, 2 },
        { 1, 9 }, { 2, 9, 1 }, { 2, 9, 114 }, { 1, 114 }, { 2, 17, 65 }, { 2, 17, 1 }, { 1, 700 }, { 2, 3, 257 } };
    if (!c && !(c = ctx_new(1))) abort();
    const size_t before = c->used;
    bytes_in b = { data, n };
    graph *g = ops_graph(c);
    if (!g) abort();
    node *have[MOST_NODES], *in[2 * INPUTS + OUTS], *tangents[INPUTS], *out[OUTS + 2], *cts[OUTS], *dy[OUTS], *grads[INPUTS];
    int count = 0, n_in = 0, n_out = 0, identity = -1;
    for (; n_in < INPUTS; n_in++) {
        const int64_t *s = shapes[take(&b) % 16];
        have[count++] = in[n_in] = graph_input(g, BK_FLOAT64, (int)s[0], s + 1);
    }
    const unsigned seed = take(&b), transforms = take(&b);
    for (int k = 0; k < MOST_OPS && b.left; k++) {
        node *made = operation(g, &b, count, have);
        if (graph_failed(g)) break; /* shapes that do not fit: refused */
        if (made && made->count <= MOST_ELEMENTS && made->dtype == BK_FLOAT64) have[count++] = made;
    }
    if (graph_failed(g)) goto done;
    for (int k = count - 1; k >= 0 && n_out < 1 + (int)(seed & 3); k--) out[n_out++] = have[k];
    if (transforms & 1) { /* and the adjoints of all of it, with forward mode beside them */
        const int roots = n_out;
        for (int k = 0; k < roots; k++) in[n_in++] = cts[k] = graph_input(g, BK_FLOAT64, out[k]->ndim, out[k]->shape);
        for (int k = 0; k < INPUTS; k++) in[n_in++] = tangents[k] = graph_input(g, BK_FLOAT64, in[k]->ndim, in[k]->shape);
        if (!graph_jvp(g, roots, out, INPUTS, in, tangents, dy) || !graph_vjp(g, roots, out, cts, INPUTS, in, grads)) goto done;
        identity = n_out;
        out[n_out++] = inner(g, roots, dy, cts);
        out[n_out++] = inner(g, INPUTS, tangents, grads);
        for (int k = 0; k < INPUTS && n_out < OUTS; k++)
            if (grads[k]) out[n_out++] = grads[k];
    }
    if (!graph_failed(g)) compare(c, g, n_in, in, n_out, out, identity, seed);
done:
    graph_free(g);
    PROMISE(c->used == before, "%zu bytes stay allocated", c->used - before);
    return 0;
}
