/* graph.c - random programs of operations, with their derivatives: the plan (simplified, lowered, fused, laid out in one
 * arena) against a reference that computes node by node, each in memory of its own, from the graph as it was built;
 * forward against reverse mode; and, bit for bit, less memory, more threads, and a gradient given away in pieces. In
 * float64 or float32. Input: a byte an operation, then bytes for its operands. */
#include "../../src/compile/plan.h"
#include "../../src/ops/ops.h"
#include "fuzz.h"
#include <math.h>

enum { INPUTS = 4, MOST_OPS = 16, MOST_NODES = 64, MOST_ELEMENTS = 4096, LARGE = 40, OUTS = 8 };
enum { DERIVATIVES = 1, VECTOR = 2, SINGLE = 8, OVER = 16, LESS_MEMORY = 32, THREADS = 64 }; /* bits of `transforms` */

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
static bool evaluate(ctx *c, int n, node **sorted, int n_in, node *const *inputs, void *const *data, void **values) {
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
            const size_t bytes = at->op->scratch ? at->op->scratch(at, 1) : 0;
            void *scratch = room(bytes);
            const bk_status s = at->op->run(c, at, values[i], in, scratch);
            free(scratch);
            if (s) return false;
        }
    }
    return true;
}

static double value_at(const void *values, bk_dtype dtype, int64_t i) {
    return dtype == BK_FLOAT64 ? ((const double *)values)[i] : ((const float *)values)[i];
}

/* The largest number in what are floats; infinity where one is none, or too large for the differences to say much. */
static double largest(int n, node **sorted, void **values, double enough) {
    double most = 1;
    for (int i = 0; i < n; i++)
        for (int64_t j = 0; j < sorted[i]->count && sorted[i]->dtype != BK_INT64; j++) {
            const double x = fabs(value_at(values[i], sorted[i]->dtype, j));
            if (!(x <= enough)) return INFINITY;
            if (x > most) most = x;
        }
    return most;
}

/* ---- programs ---- */

static node *positive(graph *g, node *a) {
    return g_offset(g, 1, g_square(g, a));
}

static double number(unsigned *state) { /* in -1..1 */
    *state = *state * 1664525u + 1013904223u;
    return (int)(*state >> 8) / 8388608.0 - 1;
}

/* A constant of this shape: ids below n, or zeros and ones where n is 0. */
static node *constant(graph *g, bk_dtype dtype, int ndim, const int64_t *shape, int64_t n, unsigned seed) {
    tensor t = { 0 };
    err e = { 0 };
    if (tensor_new(graph_ctx(g), n ? BK_INT64 : dtype, ndim, shape, &t, &e)) abort();
    for (int64_t i = 0, count = shape_count(ndim, shape); i < count; i++) {
        const double u = (number(&seed) + 1) / 2;
        if (n) ((int64_t *)tensor_data(&t))[i] = (int64_t)(u * (double)n);
        else if (dtype == BK_FLOAT64) ((double *)tensor_data(&t))[i] = u < 0.5;
        else ((float *)tensor_data(&t))[i] = u < 0.5;
    }
    node *made = graph_const(g, &t);
    tensor_release(&t);
    return made;
}

/* The first of a's elements, again from its beginning where they are not enough, in another shape. */
static node *formed(graph *g, node *a, int ndim, const int64_t *shape) {
    const int64_t want = shape_count(ndim, shape);
    if (!a || a->count == 0 || want == 0) return NULL;
    const int64_t times = (want + a->count - 1) / a->count, all = times * a->count;
    a = g_reshape(g, a, 1, &a->count);
    if (times > 1) a = g_reshape(g, g_broadcast(g, a, 2, (int64_t[]){ times, a->count }), 1, &all);
    return g_reshape(g, want < all ? g_narrow(g, a, 0, 0, want) : a, ndim, shape);
}

/* u in a shape that goes with a's elementwise. */
static node *beside(graph *g, node *a, node *u) {
    for (int i = 1; i <= a->ndim && i <= u->ndim; i++) {
        const int64_t m = a->shape[a->ndim - i], n = u->shape[u->ndim - i];
        if (m != n && m != 1 && n != 1) return formed(g, u, a->ndim, a->shape);
    }
    return u;
}

static node *image(graph *g, node *a, unsigned x) {
    static const int64_t channels[] = { 1, 2, 3, 16 };
    const int64_t c = channels[x & 3], h = 1 + (int64_t)sqrt((double)a->count / (double)c), w = x & 128 ? h : h + 3;
    return h * w * c > 4096 ? NULL : formed(g, a, 4, (int64_t[]){ 1 + (x & 64 ? 1 : 0), c, h, w });
}

/* Operations on shapes and positions, and those with kernels of their own. */
static node *special(graph *g, unsigned what, unsigned x, node *a, node *u) {
    static const int64_t filters[] = { 1, 4, 5, 16 };
    int64_t axes[BK_MAX_DIMS], rows = 0;
    const int last = a->ndim - 1;
    node *b = NULL;
    switch (what) {
    case 0: {
        node *of = image(g, a, x);
        const int64_t k = x & 16 ? 3 : 1 + (x >> 5 & 1);
        if (!of) return NULL;
        b = formed(g, u, 4, (int64_t[]){ filters[x >> 2 & 3], of->shape[1], k, k });
        return b ? g_scale(g, 0.1, g_conv2d(g, of, b, 1 + (x >> 5 & 1), k / 2)) : NULL;
    }
    case 1:
        b = image(g, a, x);
        return b && b->shape[2] > 2 ? g_avgpool2d(g, b, 2 + (x >> 2 & 1), 1 + (x >> 3 & 1), x >> 4 & 1) : NULL;
    case 2:
        if (!a->ndim || !a->shape[0]) return NULL;
        return g_gather(g, a, constant(g, a->dtype, 2, (int64_t[]){ 2, 1 + x % 7 }, a->shape[0], x));
    case 3:
        if (!a->ndim || !a->shape[0]) return NULL;
        return g_scatter(g, a, constant(g, a->dtype, 1, a->shape, 1 + x % 9, x), 1 + x % 9);
    case 4:
        if (!a->ndim || !a->shape[last]) return NULL;
        return g_take(g, a, constant(g, a->dtype, last, a->shape, a->shape[last], x));
    case 5: return a->ndim < 4 ? g_put(g, a, constant(g, a->dtype, a->ndim, a->shape, 1 + x % 5, x), 1 + x % 5) : NULL;
    case 6:
        for (int i = 0; i <= last; i++) axes[i] = x & 16 ? last - i : (i + (int)x % a->ndim) % a->ndim;
        return a->ndim > 1 ? g_permute(g, a, axes) : NULL;
    case 7: return a->count && a->ndim ? g_log_softmax(g, a, (int)x % a->ndim) : NULL;
    case 8: return a->count && a->ndim > 1 ? g_normalized(g, a, 2, 0.1) : NULL;
    case 9: /* groups, as of a group norm */
        rows = x % 2 ? 4 : 3;
        if (!a->count || a->count % rows) return NULL;
        b = g_normalized(g, g_reshape(g, a, 2, (int64_t[]){ rows, a->count / rows }), 1, 0.1);
        return g_reshape(g, b, a->ndim, a->shape);
    case 10: return g_powx(g, positive(g, a), ((int)x - 128) / 64.0);
    case 11: return g_mul(g, a, constant(g, a->dtype, a->ndim, a->shape, 0, x));
    case 12: { /* a product of matrices, written as a sum */
        if (a->ndim != 2 || u->ndim != 2 || a->shape[1] != u->shape[1] || a->count * u->shape[0] > 65536) return NULL;
        const int64_t m = a->shape[0], n = u->shape[0], k = a->shape[1], shape[3] = { m, n, k };
        b = g_broadcast(g, g_reshape(g, a, 3, (int64_t[]){ m, 1, k }), 3, shape);
        return g_sum(g, g_mul(g, b, g_broadcast(g, g_reshape(g, u, 3, (int64_t[]){ 1, n, k }), 3, shape)), 4, false);
    }
    case 13: { /* well-conditioned */
        const int64_t n = 1 + x % 6, side[2] = { n, n };
        if (!(b = formed(g, a, 2, side)) || !(u = formed(g, u, 2, side))) return NULL;
        b = g_matmul_t(g, b, b, false, true);
        tensor t = { 0 };
        err e = { 0 };
        if (a->dtype != BK_FLOAT64 || tensor_new(graph_ctx(g), BK_FLOAT64, 2, side, &t, &e)) return NULL;
        double *eye = tensor_data(&t);
        for (int64_t i = 0; i < n * n; i++) eye[i] = i % (n + 1) == 0;
        node *one = graph_const(g, &t);
        tensor_release(&t);
        return g_solve(g, g_add(g, b, one), u);
    }
    case 14: return a->count ? g_dot(g, formed(g, a, 1, &a->count), formed(g, u, 1, &a->count)) : NULL;
    default:
        switch (x % 6) {
        case 0: return g_expm1(g, g_tanh(g, a));
        case 1: return g_log1p(g, g_square(g, a));
        case 2: return g_cos(g, a);
        case 3: return g_erfc(g, a);
        case 4: return g_log_sigmoid(g, a);
        default: return g_gelu_slope(g, a);
        }
    }
}

/* Attention over heads that lie side by side in a's elements, with another's queries. */
static node *attention(graph *g, node *a, node *u, unsigned x) {
    static const int64_t times[] = { 1, 2, 3, 5, 9, 16, 20, 33 };
    const int64_t batch = 1 + (x & 1), time = times[x >> 3 & 7], heads = 1 + (x >> 1 & 1), width = x >> 2 & 1 ? 4 : 3;
    const int64_t parts[5] = { batch, time, 3, heads, width }, one[4] = { batch, heads, time, width };
    node *own = formed(g, a, 5, parts), *in[3];
    for (int k = 0; k < 3; k++) {
        in[k] = g_permute(g, k || x & 64 ? own : formed(g, u, 5, parts), (int64_t[]){ 2, 0, 3, 1, 4 });
        in[k] = in[k] ? g_reshape(g, g_narrow(g, in[k], 0, k, 1), 4, one) : NULL;
    }
    node *scores = g_scale(g, 0.5, g_matmul_t(g, in[0], in[1], false, true));
    scores = x & 128 ? g_causal_softmax(g, scores) : scores ? g_softmax(g, scores) : NULL;
    node *y = g_permute(g, g_matmul_t(g, scores, in[2], false, false), (int64_t[]){ 0, 2, 1, 3 });
    return g_reshape(g, y, 3, (int64_t[]){ batch, time, heads * width });
}

/* The next operation on nodes that are there; smooth, so that what differs in the last bits stays close. */
static node *operation(graph *g, bytes_in *b, int n, node *const *have) {
    static const int64_t sizes[] = { 1, 2, 3, 4, 6, 9, 16, 33 };
    const unsigned what = take(b);
    node *a = have[take(b) % (unsigned)n], *u = have[take(b) % (unsigned)n];
    const unsigned x = take(b);
    const int axis = a->ndim ? (int)(x % (unsigned)a->ndim) : 0;
    int64_t shape[BK_MAX_DIMS], other[BK_MAX_DIMS];
    if (what >= 240) return special(g, what - 240, x, a, u);
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
    case 10: case 11: return g_add(g, a, beside(g, a, u));
    case 12: return g_sub(g, a, beside(g, a, u));
    case 13: case 14: return g_mul(g, a, beside(g, a, u));
    case 15: return g_div(g, a, positive(g, beside(g, a, u)));
    case 16: return g_scale(g, ((int)x - 128) / 64.0, a);
    case 17: return g_offset(g, ((int)x - 128) / 64.0, a);
    case 18: return g_neg(g, a);
    case 19: return g_square(g, g_tanh(g, a));
    case 20: return a->ndim ? g_sum(g, a, 1u << axis, x & 64) : NULL;
    case 21: return a->ndim ? g_mean(g, a, 1u << axis, x & 64) : NULL;
    case 22: return a->ndim >= 2 ? g_transpose(g, a) : NULL;
    case 23: case 24: case 25:
        if (a->ndim < 1 || u->ndim < 1) return NULL;
        if (a->ndim < 2 || u->ndim < 2)
            return a->shape[a->ndim - 1] == u->shape[u->ndim > 1 ? u->ndim - 2 : 0] ? g_matmul(g, a, u) : NULL;
        shape[0] = a->shape[a->ndim - (x & 1 ? 2 : 1)]; /* what is summed over */
        if (a->ndim == 3 && x & 16) return attention(g, a, u, take(b));
        if (a->ndim > 2) {
            memcpy(other, a->shape, sizeof *other * (size_t)a->ndim);
            other[a->ndim - 2] = x & 2 ? 1 + (x >> 2) % 3 : shape[0];
            other[a->ndim - 1] = x & 2 ? shape[0] : 1 + (x >> 2) % 3;
            u = formed(g, u, a->ndim, other);
        } else if (u->ndim > 2 || shape[0] != u->shape[u->ndim - (x & 2 ? 1 : 2)]) {
            const int64_t m = 1 + (x >> 2) % 20;
            u = formed(g, u, 2, x & 2 ? (int64_t[]){ m, shape[0] } : (int64_t[]){ shape[0], m });
        }
        if (x & 128) a = g_tril(g, a);
        u = u ? g_matmul_t(g, a, u, x & 1, x & 2) : NULL;
        return x & 64 && u ? g_tril(g, u) : u;
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
    case 30:
        if (!a->ndim) return NULL;
        memcpy(shape, a->shape, sizeof *shape * (size_t)a->ndim);
        shape[axis] = 1 + x % 5;
        return (u = formed(g, u, a->ndim, shape)) ? g_concat(g, axis, 2, (node *[]){ a, u }) : NULL;
    case 31: return a->ndim ? g_concat(g, axis, 3, (node *[]){ a, g_sin(g, a), a }) : NULL;
    case 32: return (u = formed(g, u, a->ndim, a->shape)) ? g_stack(g, 2, (node *[]){ a, u }) : NULL;
    case 33: return a->ndim ? g_flip(g, a, axis) : NULL;
    case 34:
        for (int i = 0; i < a->ndim; i++) shape[i] = x >> i & 1, other[i] = x >> (i + 2) & 1;
        return a->ndim && a->ndim < 4 ? g_pad(g, a, shape, other) : NULL;
    case 35:
        if (a->ndim >= 2 && x & 1) return x & 2 ? g_causal_softmax(g, a) : g_tril(g, a);
        return a->ndim && a->shape[a->ndim - 1] ? g_softmax(g, a) : NULL;
    case 36: return a->ndim && a->shape[a->ndim - 1] ? g_logsumexp(g, a) : NULL;
    case 37: return a->ndim ? g_cumsum(g, a, axis) : NULL;
    case 38: return a->ndim && a->shape[a->ndim - 1] > 1 ? g_layer_norm(g, a, 0.1) : NULL;
    default: return g_sum_all(g, a);
    }
}

/* sum_k <outs[k], cts[k]>, which are NULL where nothing flows */
static node *inner(graph *g, int n, node *const *a, node *const *b) {
    node *sum = NULL;
    for (int k = 0; k < n; k++)
        if (a[k] && b[k]) {
            node *part = g_sum_all(g, g_mul(g, a[k], b[k]));
            sum = sum ? g_add(g, sum, part) : part;
        }
    return sum ? sum : g_full(g, a[0] ? a[0]->dtype : BK_FLOAT64, 0, NULL, 0);
}

enum { BEHIND = 64 }; /* bytes behind a result that nobody may write */

static size_t bytes_of(const node *out) {
    return (size_t)out->count * dtype_size(out->dtype);
}

static void *result_room(const node *out) {
    char *p = room(bytes_of(out) + BEHIND);
    memset(p, 0x7f, bytes_of(out) + BEHIND);
    return p;
}

static void give_back(void *result, const node *out) {
    const char *end = (const char *)result + bytes_of(out);
    for (int i = 0; i < BEHIND; i++) PROMISE(end[i] == 0x7f, "byte %d behind a result of %zu was written", i, bytes_of(out));
    free(result);
}

/* Whether another plan, or another number of threads, gives the bits of `result`. */
static void again(plan *p, const char *how, void *const *data, int n_out, node *const *out, void *const *result) {
    void *other[OUTS + 2] = { NULL };
    err e = { 0 };
    for (int k = 0; k < n_out; k++) other[k] = result_room(out[k]);
    const bk_status ran = plan_run(p, (const void *const *)data, other, &e);
    PROMISE(!ran, "plan_run, %s: %s", how, e.text);
    for (int k = 0; k < n_out; k++) {
        PROMISE(!memcmp(other[k], result[k], bytes_of(out[k])), "result %d: other bits %s", k, how);
        give_back(other[k], out[k]);
    }
}

/* Whether results that may lie over inputs, and do, have the bits of `result`. */
static void over(graph *g, int n_in, node *const *in, void *const *data, int n_out, node *const *out, void *const *result) {
    void *from[2 * INPUTS + OUTS], *to[OUTS + 2];
    bool taken[2 * INPUTS + OUTS] = { false };
    plan *p = NULL;
    err e = { 0 };
    const bk_status planned = plan_new(g, n_in, in, n_out, out, &(plan_options){ .over = true }, &p, &e);
    PROMISE(!planned, "plan_new: %s", e.text);
    memcpy(from, data, sizeof *from * (size_t)n_in);
    for (int k = 0; k < n_out; k++) {
        to[k] = result_room(out[k]);
        for (int i = 0; i < n_in; i++)
            if (!taken[i] && in[i]->count == out[k]->count && plan_overwrites(p, i, k)) {
                memcpy(to[k], data[i], bytes_of(out[k]));
                from[i] = to[k];
                taken[i] = true;
                break;
            }
    }
    const bk_status ran = plan_run(p, (const void *const *)from, to, &e);
    PROMISE(!ran, "plan_run, over inputs: %s", e.text);
    for (int k = 0; k < n_out; k++) {
        PROMISE(!memcmp(to[k], result[k], bytes_of(out[k])), "result %d: other bits over inputs", k);
        give_back(to[k], out[k]);
    }
    plan_free(p);
}

typedef struct taking { /* of a gradient in pieces; theta is spoilt where they were taken */
    ctx *c;
    const char *expected;
    char *theta;
    unsigned char *seen;
    size_t size;
    double first;
    bool wanted;
} taking;

static bool begin(void *arg, double first) {
    taking *t = arg;
    PROMISE(first == t->first || (isnan(first) && isnan(t->first)), "a piece is asked for before result 0 is there");
    if (t->wanted) { /* from here on nothing may notice an interrupt, or need memory */
        atomic_store(&t->c->interrupted, 1);
        atomic_store(&t->c->fail_at, 0);
        t->c->fail_on = true;
    }
    return t->wanted;
}

static void take_piece(void *arg, int64_t first, int64_t count, const void *at) {
    taking *t = arg;
    PROMISE(t->wanted, "a piece was given that nobody wanted");
    PROMISE(!memcmp(t->expected + (size_t)first * t->size, at, (size_t)count * t->size), "a piece with other bits");
    for (int64_t i = first; i < first + count; i++) PROMISE(!t->seen[i]++, "element %lld was given twice", (long long)i);
    memset(t->theta + (size_t)first * t->size, 0xff, (size_t)count * t->size);
}

/* Whether the gradient, out[gradient] of in[0], comes in pieces with the bits that it has as a whole, each after theta
 * was read for the last time; and as a whole where no piece is wanted. */
static void poured(ctx *c, graph *g, int n_in, node *const *in, void *const *data, int n_out, node *const *out,
                   int number, int gradient) {
    node *of[OUTS + 2] = { out[number], out[gradient] };
    void *expected[OUTS + 2], *to[OUTS + 2], *from[2 * INPUTS + OUTS];
    plan *apart = NULL, *p = NULL;
    err e = { 0 };
    node *like = calloc((size_t)n_out, sizeof *like);
    for (int k = 0, n = 2; k < n_out; k++)
        if (k != number && k != gradient) of[n++] = out[k];
    for (int k = 0; k < n_out; k++) like[k] = *of[k];
    PROMISE(!plan_new(g, n_in, in, n_out, of, NULL, &apart, &e), "plan_new: %s", e.text);
    PROMISE(!plan_new(g, n_in, in, n_out, of, &(plan_options){ .over = true }, &p, &e), "plan_new, over: %s", e.text);
    for (int k = 0; k < n_out; k++) expected[k] = result_room(of[k]);
    PROMISE(!plan_run(apart, (const void *const *)data, expected, &e), "plan_run: %s", e.text);
    PROMISE(plan_pour(p, like), "plan_pour");
    taking t = { .c = c, .expected = expected[1], .size = dtype_size(of[1]->dtype) };
    t.first = value_at(expected[0], of[0]->dtype, 0);
    for (int wanted = 0; wanted < 2; wanted++) {
        t.wanted = wanted;
        memcpy(from, data, sizeof *from * (size_t)n_in);
        from[0] = t.theta = memcpy(result_room(in[0]), data[0], bytes_of(in[0]));
        t.seen = calloc((size_t)of[1]->count + 1, 1);
        for (int k = 0; k < n_out; k++) to[k] = result_room(of[k]);
        const plan_taker taker = { begin, take_piece, &t };
        PROMISE(!plan_run_poured(p, (const void *const *)from, to, &taker, &e), "plan_run_poured: %s", e.text);
        atomic_store(&c->interrupted, 0);
        atomic_store(&c->fail_at, -1);
        c->fail_on = false;
        for (int k = 0; k < n_out; k++) {
            const bool whole = k != 1 || !wanted;
            PROMISE(!whole || !memcmp(to[k], expected[k], bytes_of(of[k])), "result %d: other bits, poured", k);
            give_back(to[k], of[k]);
        }
        for (int64_t i = 0; i < of[1]->count && wanted; i++) PROMISE(t.seen[i], "element %lld was not given", (long long)i);
        give_back(t.theta, in[0]);
        free(t.seen);
    }
    for (int k = 0; k < n_out; k++) give_back(expected[k], of[k]);
    free(like);
    plan_free(apart);
    plan_free(p);
}

static void compare(ctx *c, graph *g, int n_in, node *const *in, int n_out, node *const *out, int identity,
                    unsigned seed, unsigned transforms) {
    const bk_dtype dtype = transforms & SINGLE ? BK_FLOAT32 : BK_FLOAT64;
    plan *p = NULL, *less = NULL;
    err e = { 0 };
    int n = 0;
    void *data[2 * INPUTS + OUTS] = { NULL }, *result[OUTS + 2] = { NULL };
    node **sorted = graph_sorted(g, n_out, out, &n);
    if (!sorted) return;
    void **values = calloc((size_t)n + 1, sizeof *values);
    for (int k = 0; k < n_in; k++) {
        data[k] = room((size_t)in[k]->count * dtype_size(dtype));
        for (int64_t i = 0; i < in[k]->count; i++) {
            const double x = number(&seed);
            if (dtype == BK_FLOAT64) ((double *)data[k])[i] = x;
            else ((float *)data[k])[i] = (float)x;
        }
    }
    const bool runs = evaluate(c, n, sorted, n_in, in, data, values);
    int place[OUTS + 2];
    for (int k = 0; k < n_out; k++) place[k] = graph_place(sorted, n, out[k]);
    const double most = runs ? largest(n, sorted, values, dtype == BK_FLOAT64 ? 1e4 : 30) : INFINITY;
    const double tolerance = (dtype == BK_FLOAT64 ? 1e-11 : 2e-4) * most * most;
    const bk_status planned = plan_new(g, n_in, in, n_out, out, NULL, &p, &e);
    PROMISE(!planned, "plan_new: %s", e.text);
    for (int k = 0; k < n_out; k++) result[k] = result_room(out[k]);
    const bk_status ran = plan_run(p, (const void *const *)data, result, &e);
    PROMISE(!ran, "plan_run: %s", e.text);
    for (int k = 0; k < n_out && most < INFINITY; k++)
        for (int64_t i = 0; i < out[k]->count; i++) {
            const double a = value_at(result[k], dtype, i), b = value_at(values[place[k]], dtype, i);
            PROMISE(fabs(a - b) <= tolerance, "result %d, element %lld: %.17g planned, %.17g by node (numbers up to %g)", k,
                    (long long)i, a, b, most);
        }
    if (identity >= 0 && most < INFINITY && dtype == BK_FLOAT64) {
        const double a = *(double *)result[identity], b = *(double *)result[identity + 1];
        PROMISE(fabs(a - b) <= 1e3 * tolerance, "forward %.17g, reverse %.17g (numbers up to %g)", a, b, most);
    }
    if (transforms & OVER) over(g, n_in, in, data, n_out, out, result);
    const int gradient = identity + 2;
    if (transforms & VECTOR && identity >= 0 && gradient < n_out) {
        poured(c, g, n_in, in, data, n_out, out, identity, gradient);
        if (transforms & THREADS && !ctx_set_threads(c, 2, &e)) {
            poured(c, g, n_in, in, data, n_out, out, identity, gradient);
            if (ctx_set_threads(c, 1, &e)) abort();
        }
    }
    const size_t memory = plan_info(p).arena_bytes * (4 + seed % 4) / 8;
    if (transforms & LESS_MEMORY && /* it fails the graph where it is not enough */
        !plan_new(g, n_in, in, n_out, out, &(plan_options){ .memory = memory }, &less, &e))
        again(less, "with less memory", data, n_out, out, result);
    again(p, "in a second run", data, n_out, out, result);
    if (transforms & THREADS && !ctx_set_threads(c, 2, &e)) {
        again(p, "on two threads", data, n_out, out, result);
        if (less) again(less, "with less memory on two threads", data, n_out, out, result);
        if (ctx_set_threads(c, 1, &e)) abort();
    }
    plan_free(p);
    plan_free(less);
    for (int k = 0; k < n_out; k++) give_back(result[k], out[k]);
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
    const unsigned transforms = n > INPUTS + 1 ? data[INPUTS + 1] : 0; /* after the inputs' bytes and the seed */
    const bk_dtype dtype = transforms & SINGLE ? BK_FLOAT32 : BK_FLOAT64;
    const int64_t most = transforms & THREADS ? MOST_ELEMENTS * LARGE : MOST_ELEMENTS;
    const int more = transforms & THREADS ? 1 : 0; /* what threads share is large */
    int64_t sizes[INPUTS][4], all = 0, first = 0;
    int ndim[INPUTS];
    for (int k = 0; k < INPUTS; k++) {
        const int64_t *s = shapes[take(&b) % 16];
        sizes[k][0] = LARGE;
        memcpy(sizes[k] + more, s + 1, sizeof *s * (size_t)s[0]);
        ndim[k] = (int)s[0] + more;
        all += shape_count(ndim[k], sizes[k]);
    }
    if (transforms & VECTOR) in[n_in++] = graph_input(g, dtype, 1, &all); /* parameters: parts of one vector */
    for (int k = 0; k < INPUTS; k++) {
        const int64_t n_own = shape_count(ndim[k], sizes[k]);
        if (transforms & VECTOR) have[count++] = g_reshape(g, g_slice(g, in[0], &first, &n_own), ndim[k], sizes[k]);
        else have[count++] = in[n_in++] = graph_input(g, dtype, ndim[k], sizes[k]);
        first += n_own;
    }
    const int parameters = n_in;
    const unsigned seed = take(&b);
    take(&b);
    for (int k = 0; k < MOST_OPS && b.left; k++) {
        node *made = operation(g, &b, count, have);
        if (graph_failed(g)) break; /* shapes that do not fit: refused */
        if (made && made->count <= most && made->dtype == dtype) have[count++] = made;
    }
    if (graph_failed(g)) goto done;
    for (int k = count - 1; k >= 0 && n_out < 1 + (int)(seed & 3); k--) out[n_out++] = have[k];
    if (transforms & DERIVATIVES) { /* and the adjoints of all of it, with forward mode beside them */
        const int roots = n_out;
        for (int k = 0; k < roots; k++) in[n_in++] = cts[k] = graph_input(g, dtype, out[k]->ndim, out[k]->shape);
        for (int k = 0; k < parameters; k++) in[n_in++] = tangents[k] = graph_input(g, dtype, in[k]->ndim, in[k]->shape);
        if (!graph_jvp(g, roots, out, parameters, in, tangents, dy) || !graph_vjp(g, roots, out, cts, parameters, in, grads)) goto done;
        identity = n_out;
        out[n_out++] = inner(g, roots, dy, cts);
        out[n_out++] = inner(g, parameters, tangents, grads);
        for (int k = 0; k < parameters && n_out < OUTS; k++)
            if (grads[k]) out[n_out++] = grads[k];
    }
    if (!graph_failed(g)) compare(c, g, n_in, in, n_out, out, identity, seed, transforms);
done:
    graph_free(g);
    PROMISE(c->used == before, "%zu bytes stay allocated", c->used - before);
    return 0;
}
