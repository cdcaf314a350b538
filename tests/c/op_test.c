/* op_test.c - every operation of op_rows, found through the table and not by name: elementwise ones and composites
 * need nothing here, a kernel without a recipe of its shapes fails. Each is held to finite differences of its values and of its first derivative, to the inner-product
 * identity of jvp and vjp at both orders, to its own float32 run, to vmap against a loop (and nested), and to
 * empty inputs; at its kinks, to the derivatives of the two sides. */
#include "prog.h"
#include "../../src/compile/lower.h"

enum { F = -1000 /* a free size: 3, or 0 in the empty case */, MAX_IN = 4 };

typedef struct recipe {
    const char *name;
    int n_in;
    struct {
        int ndim;
        int64_t shape[5], bound;
    } in[MAX_IN]; /* bound > 0: an int64 index below it */
    int n_ints;
    int64_t ints[10];
    double x;
    double eps, tol; /* of the finite difference; 0: 1e-5, 2e-7 */
    bool no_vmap;
    node *(*build)(graph *g, node *const *in); /* a composition instead of a row */
} recipe;

/* Kernels: shapes and attributes of a sample. */
static const recipe recipes[] = {
    { "cast", 1, { { 2, { F, 4 }, 0 } }, 1, { BK_FLOAT32 }, .eps = 0.25, .tol = 2e-6 },
    { "full", 0, { { 0, { 0 }, 0 } }, 3, { BK_FLOAT64, F, 2 }, .x = 1.25 },
    { "reshape", 1, { { 3, { F, 2, 4 }, 0 } }, 2, { 8, F }, .x = 0 },
    { "permute", 1, { { 4, { 2, F, 4, 5 }, 0 } }, 4, { 2, 0, 3, 1 }, .x = 0 },
    { "broadcast_to", 1, { { 3, { 1, 4, 1 }, 0 } }, 4, { 2, F, 4, 3 }, .x = 0 },
    { "slice", 1, { { 3, { F, 5, 6 }, 0 } }, 6, { 0, 1, 2, F, 3, 2 }, .x = 0 },
    { "pad", 1, { { 3, { F, 2, 3 }, 0 } }, 6, { 0, 1, 2, 1, 0, 3 }, .x = 0 },
    { "concat", 3, { { 3, { F, 2, 4 }, 0 }, { 3, { F, 1, 4 }, 0 }, { 3, { F, 3, 4 }, 0 } }, 1, { 1 }, .x = 0 },
    { "flip", 1, { { 3, { F, 4, 2 }, 0 } }, 1, { 1 }, .x = 0 },
    { "sum", 1, { { 4, { 4, F, 5, 2 }, 0 } }, 1, { 5 }, .x = 0 },
    { "argmax", 1, { { 3, { F, 5, 2 }, 0 } }, 1, { 1 }, .x = 0 },
    { "cumsum", 1, { { 3, { F, 5, 2 }, 0 } }, 1, { 1 }, .x = 0 },
    { "softmax", 1, { { 3, { F, 2, 5 }, 0 } }, .x = 0 },
    { "logsumexp", 1, { { 3, { F, 2, 5 }, 0 } }, .x = 0 },
    { "gather", 2, { { 3, { 5, 2, F }, 0 }, { 2, { F, 4 }, 5 } }, 1, { 0 }, .x = 0 },
    { "scatter", 2, { { 3, { F, 2, 4 }, 0 }, { 2, { F, 2 }, 5 } }, 2, { 5, 0 }, .x = 0 },
    { "take", 2, { { 3, { F, 2, 5 }, 0 }, { 2, { F, 2 }, 5 } }, .x = 0 },
    { "put", 2, { { 2, { F, 2 }, 0 }, { 2, { F, 2 }, 5 } }, 1, { 5 }, .x = 0 },
    { "matmul", 2, { { 3, { 2, 4, F }, 0 }, { 3, { 2, 5, 4 }, 0 } }, 2, { 1, 1 }, .x = 0 },
    { "matmul_sum",
      4,
      { { 2, { F, 4 }, 0 }, { 2, { 4, 5 }, 0 }, { 2, { 2, F }, 0 }, { 2, { 5, 2 }, 0 } },
      6,
      { 0, 0, 0x4000000000000000, 1, 1, (int64_t)0xBFE0000000000000 },
      .no_vmap = true }, /* 2 AB - BᵀAᵀ/2 */
    { "conv2d", 2, { { 4, { F, 2, 6, 5 }, 0 }, { 4, { 3, 2, 3, 2 }, 0 } }, 2, { 2, 1 }, .x = 0 },
    { "conv2d_input", 2, { { 4, { F, 3, 3, 3 }, 0 }, { 4, { 3, 2, 3, 2 }, 0 } }, 4, { 2, 1, 6, 5 }, .x = 0 },
    { "conv2d_weight", 2, { { 4, { F, 2, 6, 5 }, 0 }, { 4, { F, 3, 3, 3 }, 0 } }, 4, { 2, 1, 3, 2 }, .x = 0 },
    { "avgpool2d", 1, { { 4, { F, 2, 6, 5 }, 0 } }, 3, { 2, 2, 0 }, .x = 0 },
    { "avgpool2d_adjoint", 1, { { 4, { F, 2, 3, 2 }, 0 } }, 5, { 2, 2, 0, 6, 5 }, .x = 0 },
    { "maxpool_index", 1, { { 4, { F, 2, 6, 5 }, 0 } }, 3, { 2, 2, 1 }, .x = 0 },
    { NULL, .n_in = 0 },
};

static node *build_max(graph *g, node *const *in) {
    return g_reduce_max(g, in[0], 1);
}
static node *build_maxpool(graph *g, node *const *in) {
    return g_maxpool2d(g, in[0], 3, 2, 1);
}
static node *build_mixed(graph *g, node *const *in) { /* (F,4), (4): broadcasting both ways */
    node *row = g_logsumexp(g, g_mul(g, in[0], in[1]));
    node *s = g_softmax(g, g_sub(g, in[1], g_mul(g, in[0], in[0])));
    return g_div(g, g_sum(g, g_mul(g, s, in[0]), 2, false), g_offset(g, 3, g_square(g, row)));
}
static node *build_matvec(graph *g, node *const *in) {
    return g_tanh(g, g_matmul(g, in[0], in[1]));
}
static node *build_entropy(graph *g, node *const *in) { /* logits, classes */
    return g_sub(g, g_logsumexp(g, in[0]), g_take(g, in[0], in[1]));
}
static node *build_parts(graph *g, node *const *in) { /* one flat vector read as weight and bias */
    node *w = g_reshape(g, g_narrow(g, in[1], 0, 0, 8), 2, (int64_t[]){ 4, 2 }), *b = g_narrow(g, in[1], 0, 8, 2);
    return g_tanh(g, g_add(g, g_matmul(g, in[0], w), b));
}

/* Compositions that no row says. */
static const recipe composites[] = {
    { "reduce_max", 1, { { 3, { F, 4, 2 }, 0 } }, .build = build_max },
    { "maxpool2d", 1, { { 4, { F, 2, 5, 6 }, 0 } }, .build = build_maxpool },
    { "broadcasting", 2, { { 2, { F, 4 }, 0 }, { 1, { 4 }, 0 } }, .build = build_mixed },
    { "matrix and vector", 2, { { 3, { 2, F, 4 }, 0 }, { 1, { 4 }, 0 } }, .build = build_matvec },
    { "cross entropy", 2, { { 2, { F, 5 }, 0 }, { 1, { F }, 5 } }, .build = build_entropy },
    { "flat parameters", 2, { { 2, { F, 4 }, 0 }, { 1, { 10 }, 0 } }, .build = build_parts },
    { NULL, .n_in = 0 },
};

/* ---- one operation with concrete sizes ---- */

typedef struct subject {
    ctx *c;
    const op_row *row; /* NULL: a composition */
    recipe r;
    int64_t free;
    bk_dtype dtype;
    rng *random;
} subject;

static int64_t sized(const subject *s, int64_t x) {
    return x == F ? s->free : x;
}
static bool is_index(const subject *s, int k) {
    return s->r.in[k].bound > 0;
}
static bool moves(const subject *s, int k) {
    return !is_index(s, k) && !(s->row && s->row->condition && k == 0);
}

static int in_shape(const subject *s, int k, int64_t *shape) {
    for (int i = 0; i < s->r.in[k].ndim; i++) shape[i] = sized(s, s->r.in[k].shape[i]);
    return s->r.in[k].ndim;
}

static node *apply(const subject *s, graph *g, node *const *in) {
    if (s->r.build) return s->r.build(g, in);
    if (s->row->kind == OP_COMPOSITE) return s->row->build(g, in);
    int64_t ints[10];
    for (int i = 0; i < s->r.n_ints; i++) ints[i] = sized(s, s->r.ints[i]);
    return graph_op(g, s->row, s->r.n_in, in, s->r.n_ints, ints, s->r.x);
}

/* Arguments: numbers float32 can hold, so that both dtypes compute the same function. `lead` > 0: a new first axis. */
static tensor sample(const subject *s, int k, int64_t lead, const tensor *first) {
    int64_t shape[6] = { lead };
    int ndim = in_shape(s, k, shape + (lead > 0)) + (lead > 0);
    tensor t;
    err e = { 0 };
    if (tensor_new(s->c, is_index(s, k) ? BK_INT64 : s->dtype, ndim, shape, &t, &e)) exit(3);
    const op_row none = { 0 }, *row = s->row ? s->row : &none;
    double low = row->sample_low, high = row->sample_high;
    if (low == 0 && high == 0) low = -1.5, high = 1.5;
    for (int64_t i = 0, n = tensor_count(&t); i < n; i++) {
        double u = rng_uniform(s->random), x = low + (high - low) * u;
        bool flip = rng_next(s->random) & 1;
        if (row->n_kinks) x = row->kinks[i % row->n_kinks] + (0.2 + u) * (flip ? -1 : 1);
        for (int j = 0; j < row->n_kinks; j++) /* of another kink's neighbourhood */
            if (fabs(x - row->kinks[j]) < 0.1) x = row->kinks[j] + 0.15;
        if (row->kink_whole) x = (double)rng_below(s->random, 5) - 2 + 0.2 + 0.6 * u;
        if (row->condition && k == 0) x = flip;
        if (row->kink_between && k == 1 && tensor_count(first) == n)
            x = tensor_get(first, i) + (0.2 + u) * (flip ? -1 : 1);
        x = (double)(float)x;
        if (t.dtype == BK_INT64)
            ((int64_t *)tensor_data(&t))[i] = (int64_t)rng_below(s->random, (uint64_t)s->r.in[k].bound);
        else if (t.dtype == BK_FLOAT32)
            ((float *)tensor_data(&t))[i] = (float)x;
        else
            ((double *)tensor_data(&t))[i] = x;
    }
    return t;
}

static double inner(const tensor *a, const tensor *b) {
    double s = 0;
    for (int64_t i = 0, n = tensor_count(a); i < n; i++) s += tensor_get(a, i) * tensor_get(b, i);
    return s;
}

/* ---- derivatives ---- */

/* (to - from) / (2 eps), or NULL's zero */
static double slope_error(const tensor *to, const tensor *from, double eps, const tensor *slope) {
    double worst = 0, size = 1;
    for (int64_t i = 0, n = tensor_count(to); i < n; i++) {
        double fd = (tensor_get(to, i) - tensor_get(from, i)) / (2 * eps), y = slope ? tensor_get(slope, i) : 0;
        double d = fabs(fd - y);
        if (!(d <= worst)) worst = d;
        if (fabs(fd) > size) size = fabs(fd);
    }
    return worst / size;
}

static void shift(const tensor *x, double eps, const tensor *t, tensor *out) {
    err e = { 0 };
    if (tensor_new(x->store->c, x->dtype, x->ndim, x->shape, out, &e)) exit(3);
    for (int64_t i = 0, n = tensor_count(x); i < n; i++)
        ((double *)tensor_data(out))[i] = tensor_get(x, i) + eps * tensor_get(t, i);
}

static bool refuses_derivative(const subject *s) {
    return s->row && s->row->kind != OP_COMPOSITE && s->row->jvp == op_no_jvp;
}

/* Arguments: x of every input, then directions t and s of the moving ones, then the cotangent. Results: y,
 * D y.t, D (D y.t).s (t held), the adjoints of both applied to the cotangent. */
static void test_derivatives(const subject *s, const char *name, bool run) {
    prog q = { .g = ops_graph(s->c) };
    int n = s->r.n_in, n_wrt = 0, at[5] = { 0, -1, -1, -1, -1 };
    node *wrt[MAX_IN], *ts[MAX_IN], *ss[MAX_IN], *dy = NULL, *ddy = NULL, *grads[MAX_IN], *grads2[MAX_IN];
    tensor args[MAX_ARGS], res[MAX_OUT], low[MAX_OUT], high[MAX_OUT], moved[MAX_ARGS];
    int moving[MAX_IN];
    for (int k = 0; k < n; k++) {
        int64_t shape[6];
        int ndim = in_shape(s, k, shape);
        args[k] = sample(s, k, 0, args);
        q.in[k] = graph_input(q.g, args[k].dtype, ndim, shape);
        if (moves(s, k)) moving[n_wrt] = k, wrt[n_wrt++] = q.in[k];
    }
    q.n_in = n;
    node *y = q.out[q.n_out++] = apply(s, q.g, q.in);
    if (!y) {
        err e = { 0 };
        graph_status(q.g, &e);
        printf("  %s\n", e.text);
        check(false, name, "does not build", 0);
        goto done;
    }
    if (run && s->row && s->row->kind != OP_COMPOSITE)
        check(y->op == s->row, name, "the sample is not simplified away", 0);
    for (int pass = 0; pass < 2; pass++)
        for (int k = 0; k < n_wrt; k++) {
            args[q.n_in] = noise(s->c, s->dtype, s->random, wrt[k]->ndim, wrt[k]->shape);
            node *in = q.in[q.n_in++] = graph_input(q.g, wrt[k]->dtype, wrt[k]->ndim, wrt[k]->shape);
            if (pass)
                ss[k] = in;
            else
                ts[k] = in;
        }
    node *ct = NULL;
    int ct_at = q.n_in;
    if (y->dtype != BK_INT64) {
        args[q.n_in] = noise(s->c, y->dtype, s->random, y->ndim, y->shape);
        ct = q.in[q.n_in++] = graph_input(q.g, y->dtype, y->ndim, y->shape);
    }
    bool refuses = refuses_derivative(s);
    if (!refuses && ct && n_wrt) {
        bool ok = graph_jvp(q.g, 1, &y, n_wrt, wrt, ts, &dy) && graph_vjp(q.g, 1, &y, &ct, n_wrt, wrt, grads);
        if (ok && dy) {
            q.out[at[1] = q.n_out++] = dy;
            at[3] = q.n_out;
            for (int k = 0; k < n_wrt; k++) q.out[q.n_out++] = grads[k] ? grads[k] : g_zeros_like(q.g, wrt[k]);
            ok = graph_jvp(q.g, 1, &dy, n_wrt, wrt, ss, &ddy) && graph_vjp(q.g, 1, &dy, &ct, n_wrt, wrt, grads2);
            if (ok && ddy) {
                q.out[at[2] = q.n_out++] = ddy;
                at[4] = q.n_out;
                for (int k = 0; k < n_wrt; k++) q.out[q.n_out++] = grads2[k] ? grads2[k] : g_zeros_like(q.g, wrt[k]);
            }
        }
        if (s->row && s->row->kind != OP_COMPOSITE && s->row->jvp != op_zero_jvp)
            check(dy != NULL, name, "has a derivative", 0);
    }
    if (!prog_plan(&q, name, run ? "compiles with its derivatives" : "compiles on empty inputs")) goto done;
    if (!prog_run(&q, name, args, res)) goto done;
    if (!run) { /* empty: it ran, and what is left is finite */
        for (int i = 0; i < q.n_out; i++)
            for (int64_t k = 0; k < tensor_count(&res[i]); k++)
                check(isfinite(tensor_get(&res[i], k)), name, "finite on empty inputs", tensor_get(&res[i], k));
        passed++;
    } else if (!refuses && ct && n_wrt && !(s->row && strcmp(s->r.name, "stop_gradient") == 0)) {
        double eps = s->r.eps ? s->r.eps : 1e-5, tol = s->r.tol ? s->r.tol : 2e-7;
        for (int order = 1; order <= 2; order++) {
            if (order == 2 && at[1] < 0) break;
            for (int side = 0; side < 2; side++) {
                for (int i = 0; i < q.n_in; i++) {
                    moved[i] = args[i];
                    tensor_retain(&args[i]);
                }
                for (int k = 0; k < n_wrt; k++) {
                    tensor_release(&moved[moving[k]]);
                    shift(&args[moving[k]], side ? eps : -eps, &args[n + (order - 1) * n_wrt + k], &moved[moving[k]]);
                }
                if (!prog_run(&q, name, moved, side ? high : low)) exit(3);
                drop(q.n_in, moved);
            }
            int f = at[order - 1], d = at[order];
            double off = slope_error(&high[f], &low[f], eps, d >= 0 ? &res[d] : NULL);
            check(off <= tol, name,
                  order == 1 ? "derivative against differences" : "second derivative against differences", off);
            drop(q.n_out, high);
            drop(q.n_out, low);
            if (d < 0) continue;
            double left = inner(&args[ct_at], &res[d]), right = 0, size = 1;
            for (int k = 0; k < n_wrt; k++) {
                double x = inner(&res[at[order + 2] + k], &args[n + (order - 1) * n_wrt + k]);
                right += x;
                size += fabs(x);
            }
            double gap = fabs(left - right) / (size + fabs(left));
            check(gap <= (s->r.tol ? s->r.tol : 1e-12), name,
                  order == 1 ? "<ct, J t> = <Jᵀct, t>" : "the same at order 2", gap);
        }
    }
    drop(q.n_out, res);
done:
    drop(q.n_in, args);
    prog_free(&q);
}

static void test_refusal(const subject *s, const char *name) {
    graph *g = ops_graph(s->c);
    node *in[MAX_IN], *dy = NULL;
    int64_t shape[6];
    for (int k = 0; k < s->r.n_in; k++) in[k] = graph_input(g, s->dtype, in_shape(s, k, shape), shape);
    node *y = apply(s, g, in);
    err e = { 0 };
    check(y && !graph_jvp(g, 1, &y, 1, in, in, &dy) && graph_status(g, &e) == BK_EUNSUPPORTED && strstr(e.text, name),
          name, "refuses its derivative by name", 0);
    graph_free(g);
}

/* ---- float32 ---- */

static bool value(const subject *s, const char *name, const tensor *args, tensor *out) {
    prog q = { .g = ops_graph(s->c), .n_in = s->r.n_in, .n_out = 1 };
    for (int k = 0; k < q.n_in; k++) q.in[k] = graph_input(q.g, args[k].dtype, args[k].ndim, args[k].shape);
    q.out[0] = apply(s, q.g, q.in);
    bool ok = prog_plan(&q, name, "compiles") && prog_run(&q, name, args, out);
    prog_free(&q);
    return ok;
}

static void test_float32(const subject *s, const char *name) {
    subject narrow = *s;
    narrow.dtype = BK_FLOAT32;
    tensor args[MAX_IN], wide[MAX_IN], a, b;
    for (int k = 0; k < s->r.n_in; k++) {
        err e = { 0 };
        args[k] = sample(&narrow, k, 0, args);
        if (tensor_contiguous_as(&args[k], is_index(s, k) ? BK_INT64 : BK_FLOAT64, &wide[k], &e)) exit(3);
    }
    if (value(&narrow, name, args, &a) && value(s, name, wide, &b)) {
        check(a.dtype == b.dtype || a.dtype == BK_FLOAT32, name, "float32 in, float32 out", a.dtype);
        double off = distance(&a, &b);
        check(off <= 1e-5, name, "float32 agrees with float64", off);
        drop(1, &a);
        drop(1, &b);
    }
    drop(s->r.n_in, args);
    drop(s->r.n_in, wide);
}

/* ---- vmap ---- */

static tensor row_of(const tensor *t, int64_t i) {
    tensor r = *t;
    r.ndim--;
    memmove(r.shape, t->shape + 1, sizeof r.shape - sizeof r.shape[0]);
    memmove(r.strides, t->strides + 1, sizeof r.strides - sizeof r.strides[0]);
    r.offset += i * t->strides[0];
    tensor_retain(&r);
    return r;
}

/* Inputs of the mask carry an axis of `size`; every place of it is compared with the operation on that place. */
static void test_vmap(const subject *s, const char *name, unsigned mask, int64_t size) {
    prog q = { .g = ops_graph(s->c), .n_in = s->r.n_in, .n_out = 1 };
    node *from[MAX_IN], *to[MAX_IN];
    bool batched[MAX_IN];
    tensor args[MAX_IN], res, one[MAX_IN], y;
    for (int k = 0; k < q.n_in; k++) {
        int64_t shape[6];
        int ndim = in_shape(s, k, shape);
        batched[k] = mask >> k & 1;
        args[k] = sample(s, k, batched[k] ? size : 0, args);
        from[k] = graph_input(q.g, args[k].dtype, ndim, shape);
        to[k] = graph_input(q.g, args[k].dtype, args[k].ndim, args[k].shape);
        q.in[k] = to[k];
    }
    q.out[0] = apply(s, q.g, from);
    err e = { 0 };
    bool ok = graph_vmap(q.g, 1, q.out, q.n_in, from, to, batched, size);
    if (s->r.no_vmap) {
        check(!ok && graph_status(q.g, &e) == BK_EUNSUPPORTED, name, "refuses vmap", ok);
    } else if (prog_plan(&q, name, "compiles under vmap") && prog_run(&q, name, args, &res)) {
        double worst = res.shape[0] == size ? 0 : INFINITY;
        for (int64_t i = 0; i < size && worst < 1; i++) {
            for (int k = 0; k < q.n_in; k++) {
                one[k] = batched[k] ? row_of(&args[k], i) : args[k];
                if (!batched[k]) tensor_retain(&one[k]);
            }
            tensor got = row_of(&res, i);
            if (value(s, name, one, &y)) {
                double d = distance(&got, &y);
                if (!(d <= worst)) worst = d;
                drop(1, &y);
            }
            drop(1, &got);
            drop(q.n_in, one);
        }
        char what[60];
        snprintf(what, sizeof what, "vmap over inputs %#x against a loop", mask);
        check(worst <= (s->r.tol ? 1e-6 : 1e-13), name, what, worst);
        drop(1, &res);
    }
    drop(q.n_in, args);
    prog_free(&q);
}

/* vmap of vmap, the inputs of each mask carrying its axis, against one vmap over both axes as one, repeated where an
 * input lacks them. */
static void test_nested(const subject *s, const char *name, unsigned outer, unsigned inner_mask) {
    enum { A = 2, B = 3 };
    prog q = { .g = ops_graph(s->c), .n_in = s->r.n_in, .n_out = 2 };
    node *from[MAX_IN], *flat[MAX_IN], *mid[MAX_IN], *in[MAX_IN];
    bool batched[MAX_IN], by_outer[MAX_IN], by_inner[MAX_IN];
    tensor args[MAX_IN], res[2];
    for (int k = 0; k < q.n_in; k++) {
        by_outer[k] = outer >> k & 1;
        by_inner[k] = inner_mask >> k & 1;
        batched[k] = true;
        int64_t shape[8], own[8] = { by_outer[k] ? A : 1, by_inner[k] ? B : 1 }, all[8] = { A, B }, one[8] = { A * B };
        int ndim = in_shape(s, k, shape), o = by_outer[k] ? 0 : by_inner[k] ? 1 : 2, axes = by_outer[k] + by_inner[k];
        size_t bytes = sizeof *shape * (size_t)ndim;
        memcpy(own + 2, shape, bytes);
        memcpy(all + 2, shape, bytes);
        memcpy(one + 1, shape, bytes);
        args[k] = sample(s, k, axes ? own[0] * own[1] : 0, args);
        if (!by_inner[k]) own[1] = own[0], o = by_outer[k] ? 1 : 2; /* its axes, without those it lacks, from own + o */
        q.in[k] = graph_input(q.g, args[k].dtype, args[k].ndim, args[k].shape);
        from[k] = graph_input(q.g, args[k].dtype, ndim, shape);
        mid[k] = graph_input(q.g, args[k].dtype, ndim + by_inner[k], own + 2 - by_inner[k]);
        in[k] = g_reshape(q.g, q.in[k], ndim + axes, own + o);
        int64_t wide[8] = { by_outer[k] ? A : 1, by_inner[k] ? B : 1 };
        memcpy(wide + 2, shape, bytes);
        flat[k] = g_broadcast(q.g, g_reshape(q.g, q.in[k], ndim + 2, wide), ndim + 2, all);
        flat[k] = g_reshape(q.g, flat[k], ndim + 1, one);
    }
    node *y = q.out[0] = q.out[1] = apply(s, q.g, from);
    graph_vmap(q.g, 1, &q.out[0], q.n_in, from, flat, batched, A * B);
    graph_vmap(q.g, 1, &q.out[1], q.n_in, from, mid, by_inner, B);
    graph_vmap(q.g, 1, &q.out[1], q.n_in, mid, in, by_outer, A);
    char what[60];
    snprintf(what, sizeof what, "vmap over %#x of vmap over %#x", outer, inner_mask);
    if (prog_plan(&q, name, what) && prog_run(&q, name, args, res)) {
        check(q.out[1]->ndim == y->ndim + 2, name, "two new axes", q.out[1]->ndim);
        double off = distance(&res[1], &res[0]);
        check(off <= 1e-13, name, what, off);
        drop(2, res);
    }
    drop(q.n_in, args);
    prog_free(&q);
}

static void test_subject(subject s) {
    const char *name = s.r.name;
    s.free = 3;
    test_derivatives(&s, name, true);
    if (refuses_derivative(&s)) test_refusal(&s, name);
    if (s.r.n_in) test_float32(&s, name);
    for (unsigned mask = 1; mask < 1u << s.r.n_in; mask++) test_vmap(&s, name, mask, 4);
    for (unsigned outer = 1; outer < 1u << s.r.n_in && !s.r.no_vmap; outer++)
        for (unsigned inner_mask = 1; inner_mask < 1u << s.r.n_in; inner_mask++)
            test_nested(&s, name, outer, inner_mask);
    s.free = 0;
    test_derivatives(&s, name, false);
    if (s.r.n_in && !s.r.no_vmap) test_vmap(&s, name, (1u << s.r.n_in) - 1, 2);
}

/* At a kink the derivative along the first operand lies between the slopes of the two sides (a convex hull: what relu
 * makes of 0, or halves at a tie), and the second is finite. */
static void test_kinks(const subject *s, const char *name) {
    const op_row *row = s->row;
    int places = row->kink_whole ? 3 : row->kink_between ? 1 : row->n_kinks;
    for (int i = 0; i < places; i++) {
        double at = row->kink_whole ? i - 1 : row->kink_between ? 0.7 : row->kinks[i];
        int64_t shape[1] = { 3 };
        node *x, *one, *y, *dy = NULL, *ddy = NULL;
        prog q = { .g = ops_graph(s->c), .n_in = row->arity + 1 };
        tensor args[MAX_ARGS], res[MAX_OUT];
        err e = { 0 };
        for (int k = 0; k <= row->arity; k++) {
            if (tensor_new(s->c, BK_FLOAT64, 1, shape, &args[k], &e)) exit(3);
            q.in[k] = graph_input(q.g, BK_FLOAT64, 1, shape);
            for (int j = 0; j < 3; j++)
                ((double *)tensor_data(&args[k]))[j] = k == row->arity ? 1 : k == 0 ? at + 1e-6 * (j - 1) : at;
        }
        x = q.in[0], one = q.in[row->arity], y = apply(s, q.g, q.in);
        graph_jvp(q.g, 1, &y, 1, &x, &one, &dy);
        if (dy) graph_jvp(q.g, 1, &dy, 1, &x, &one, &ddy);
        q.out[q.n_out++] = y;
        q.out[q.n_out++] = dy ? dy : g_zeros_like(q.g, y);
        q.out[q.n_out++] = ddy ? ddy : g_zeros_like(q.g, y);
        if (prog_plan(&q, name, "compiles at a kink") && prog_run(&q, name, args, res)) {
            double left = tensor_get(&res[1], 0), here = tensor_get(&res[1], 1), right = tensor_get(&res[1], 2);
            check(here >= fmin(left, right) - 1e-9 && here <= fmax(left, right) + 1e-9, name,
                  "at a kink, a derivative between those of the sides", here);
            check(isfinite(tensor_get(&res[0], 1)) && isfinite(tensor_get(&res[2], 1)), name,
                  "at a kink, a finite value and second derivative", tensor_get(&res[2], 1));
            drop(q.n_out, res);
        }
        drop(q.n_in, args);
        prog_free(&q);
    }
}

static void test_rows(ctx *c, rng *random) {
    int rows = 0;
    for (int i = 0; op_rows[i]; i++, rows++) {
        const op_row *row = op_rows[i];
        const recipe *found = NULL;
        for (const recipe *r = recipes; r->name; r++)
            if (strcmp(r->name, row->name) == 0) found = r;
        bool by_elements = row->kind == OP_ELEMENTWISE || row->kind == OP_COMPOSITE;
        check(found || by_elements || row->kind == OP_LEAF, row->name, "has a recipe in tests/c/op_test.c", 0);
        check(row->doc && row->doc[0] && row->jvp && row->transpose && row->vmap, row->name, "has formula and rules",
              0);
        check(!row->lua || (row->help && row->build && strstr(row->help, row->lua)), row->name,
              "is public, with a builder and a docstring that begins with its call", 0);
        if (!found && !by_elements) continue;
        subject s = { c, row, found ? *found : (recipe){ .name = row->name, .x = row->sample_x }, 3, BK_FLOAT64, random };
        if (by_elements && !found) {
            s.r.n_in = row->arity;
            for (int k = 0; k < row->arity; k++) {
                s.r.in[k].ndim = 2;
                s.r.in[k].shape[0] = F;
                s.r.in[k].shape[1] = 7;
            }
            test_kinks(&s, row->name);
        }
        test_subject(s);
    }
    for (const recipe *r = recipes; r->name; r++) {
        bool known = false;
        for (int i = 0; op_rows[i]; i++) known = known || strcmp(r->name, op_rows[i]->name) == 0;
        if (!known) check(false, r->name, "is a recipe for no operation", 0);
    }
    for (const recipe *r = composites; r->name; r++) test_subject((subject){ c, NULL, *r, 3, BK_FLOAT64, random });
    check(rows > 40, "op_rows", "the table is there", rows);
}

/* ---- lowering: the combination becomes one operation, and keeps the bits of its parts ---- */

static node *one_minus(graph *g, node *a) {
    return g_offset(g, 1, g_scale(g, -1, a));
}
static node *low_axpy(graph *g, node *const *in) {
    return g_add(g, in[1], g_scale(g, 1.7, in[0]));
}
static node *low_muladd(graph *g, node *const *in) {
    return g_add(g, in[2], g_mul(g, in[0], in[1]));
}
static node *low_mulscale(graph *g, node *const *in) {
    return g_scale(g, 1.7, g_mul(g, in[0], in[1]));
}
static node *low_square(graph *g, node *const *in) {
    return one_minus(g, g_square(g, in[0]));
}
static node *low_tanh(graph *g, node *const *in) { /* the factor twice: computed again for each */
    node *f = one_minus(g, g_square(g, in[0]));
    return g_sub(g, g_exp(g, g_mul(g, in[1], f)), g_exp(g, g_mul(g, f, in[2])));
}
static node *low_sigmoid(graph *g, node *const *in) {
    return g_mul(g, in[1], g_mul(g, in[0], one_minus(g, in[0])));
}
static node *tanh_grad(graph *g, node *a, node *b) {
    return g_mul(g, b, one_minus(g, g_square(g, a)));
}
static node *low_tanh_sum(graph *g, node *const *in) {
    return tanh_grad(g, in[0], g_add(g, in[1], in[2]));
}
static node *low_mul3(graph *g, node *const *in) { /* the second: -2 a (b c) */
    node *p = g_exp(g, g_mul(g, in[0], g_mul(g, in[1], in[2])));
    return g_add(g, p, g_exp(g, g_scale(g, -2, g_mul(g, in[1], g_mul(g, in[0], in[2])))));
}
static node *low_tanh_add(graph *g, node *const *in) { /* c + b (1 - a²), c - b (1 - a²), -2 a b + c (1 - a²) */
    node *p = g_exp(g, g_add(g, in[2], tanh_grad(g, in[0], in[1])));
    node *q = g_exp(g, g_add(g, in[2], g_scale(g, -1, tanh_grad(g, in[0], g_exp(g, in[1])))));
    node *r = g_add(g, tanh_grad(g, in[0], in[2]), g_scale(g, -2, g_mul(g, in[0], in[1])));
    return g_mul(g, g_mul(g, p, q), g_exp(g, r));
}
static node *low_sums(graph *g, node *const *in) { /* of a sum that is read twice too, the second does not add again */
    node *s = g_add(g, in[0], in[2]);
    node *p = g_mul(g, g_tanh(g, g_add(g, in[0], in[1])), g_relu(g, g_add(g, in[1], in[2])));
    return g_add(g, p, g_exp(g, g_add(g, g_tanh(g, s), g_exp(g, s))));
}
static node *low_tanh_twice(graph *g, node *const *in) { /* what is read twice stays a node of its own */
    node *t = tanh_grad(g, in[0], in[1]);
    return g_mul(g, g_exp(g, t), g_add(g, t, in[2]));
}
static node *low_relu(graph *g, node *const *in) { /* exp: of 0 and of -0 it is the same */
    node *mask = g_step(g, in[0]);
    return g_add(g, g_exp(g, g_mul(g, mask, in[1])), g_mul(g, g_relu(g, in[0]), g_exp(g, g_mul(g, in[2], mask))));
}
static node *low_shared(graph *g, node *const *in) { /* a product that is read twice stays one */
    node *p = g_mul(g, in[0], in[1]);
    return g_mul(g, g_exp(g, p), g_add(g, p, in[2]));
}

static const struct {
    const char *op;
    int times;
    node *(*build)(graph *g, node *const *in);
} lowerings[] = {
    { "axpy", 1, low_axpy },      { "muladd", 1, low_muladd },        { "mulscale", 1, low_mulscale },
    { "tanh_grad", 2, low_tanh }, { "sigmoid_grad", 1, low_sigmoid }, { "square_rsub", 1, low_square },
    { "relu_mask", 2, low_relu }, { "step", 0, low_relu },
    { "muladd", 0, low_shared },  { "mul", 2, low_shared },
    { "tanh_sum", 1, low_sums }, { "relu_sum", 1, low_sums }, { "tanh", 1, low_sums },
    { "tanh_grad_sum", 1, low_tanh_sum },  { "mul3", 2, low_mul3 },
    { "tanh_grad_add", 3, low_tanh_add },  { "tanh_grad_add", 0, low_tanh_twice },
};

/* y's bits from its parts, each computed by a plan of its own. */
static tensor by_parts(ctx *c, node *y, const tensor *args) {
    tensor in[3] = { 0 }, out;
    prog q = { .g = ops_graph(c), .n_in = y->n_in, .n_out = 1 };
    if (y->n_in == 0) {
        prog_free(&q);
        tensor_retain(&args[y->id]);
        return args[y->id];
    }
    for (int k = 0; k < y->n_in; k++) {
        in[k] = by_parts(c, y->in[k], args);
        q.in[k] = graph_input(q.g, in[k].dtype, in[k].ndim, in[k].shape);
    }
    q.out[0] = graph_op(q.g, y->op, y->n_in, q.in, 0, NULL, y->x);
    if (!prog_plan(&q, y->op->name, "compiles alone") || !prog_run(&q, y->op->name, in, &out)) exit(3);
    drop(y->n_in, in);
    prog_free(&q);
    return out;
}

static void test_lowering(ctx *c, rng *random) {
    for (size_t i = 0; i < sizeof lowerings / sizeof *lowerings; i++)
        for (int d = 0; d < 2; d++) {
            const char *op = lowerings[i].op;
            prog q = { .g = ops_graph(c), .n_in = 3, .n_out = 1 };
            tensor args[3], got, want;
            for (int k = 0; k < 3; k++) {
                int64_t shape[1] = { 37 };
                args[k] = noise(c, d ? BK_FLOAT32 : BK_FLOAT64, random, 1, shape);
                q.in[k] = graph_input(q.g, args[k].dtype, 1, shape);
            }
            node *y = q.out[0] = lowerings[i].build(q.g, q.in);
            want = by_parts(c, y, args);
            if (!prog_plan(&q, op, "compiles") || !prog_run(&q, op, args, &got)) exit(3);
            check(memcmp(tensor_data(&got), tensor_data(&want), 37 * dtype_size(got.dtype)) == 0, op,
                  "lowered, it keeps its bits", distance(&got, &want));
            int n, times = 0;
            graph_lower(q.g, 1, q.out);
            node **sorted = graph_sorted(q.g, 1, q.out, &n);
            for (int k = 0; k < n; k++) times += strcmp(sorted[k]->op->name, op) == 0;
            check(times == lowerings[i].times, op, "stands as often as expected", times);
            drop(3, args), drop(1, &got), drop(1, &want);
            prog_free(&q);
        }
}

int main(void) {
    ctx *c = ctx_new(1);
    rng random = rng_seed(7);
    if (!c) return 3;
    test_rows(c, &random);
    test_lowering(c, &random);
    check(atomic_load(&c->refs) == 1, "context", "nothing is left holding it", atomic_load(&c->refs));
    ctx_release(c);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
