/* op_test.c - every operation of op_rows, found through the table and not by name, as a node and as callers call it, on
 * what its row says of samples. Each is held to finite differences of its values and of its first derivative, to the
 * inner-product identity of jvp and vjp at both orders, to one-sided differences where a rule decides, to its own float32
 * and int64 runs, to vmap against a loop (and nested), to its own view of a strided tensor, and to empty inputs. */
#include "prog.h"

enum { F = SAMPLE_SIZE, MAX_IN = SAMPLE_INPUTS, MAX_ARGUMENTS = 6 };

/* ---- what no row says: operations on one another ---- */

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

static node *build_turned(graph *g, node *const *in) { /* both operands transposed */
    return g_matmul_t(g, in[0], in[1], true, true);
}

static node *build_causal(graph *g, node *const *in) { /* scores, values: more rows than columns, and fewer */
    node *y = g_matmul(g, g_causal_softmax(g, g_matmul_t(g, in[0], in[1], false, true)), in[1]);
    return g_matmul_t(g, g_tril(g, g_add(g, g_scale(g, 3, y), g_matmul(g, in[0], in[2]))), y, true, false);
}

static const struct {
    const char *name;
    op_sample r;
    node *(*build)(graph *g, node *const *in);
} compositions[] = {
    { "broadcasting", { 2, { { 2, { F, 4 }, 0 }, { 1, { 4 }, 0 } } }, build_mixed },
    { "matrix and vector", { 2, { { 3, { 2, F, 4 }, 0 }, { 1, { 4 }, 0 } } }, build_matvec },
    { "matrices transposed", { 2, { { 3, { 2, 4, F }, 0 }, { 3, { 2, 5, 4 }, 0 } } }, build_turned },
    { "cross entropy", { 2, { { 2, { F, 5 }, 0 }, { 1, { F }, 5 } } }, build_entropy },
    { "causal", { 3, { { 3, { 2, F, 4 }, 0 }, { 3, { 2, 5, 4 }, 0 }, { 3, { 2, 4, 4 }, 0 } } }, build_causal },
    { "flat parameters", { 2, { { 2, { F, 4 }, 0 }, { 1, { 10 }, 0 } } }, build_parts },
};

/* ---- one operation with concrete sizes ---- */

typedef struct subject {
    ctx *c;
    const char *name;
    const op_row *row; /* NULL: a composition */
    bool call;         /* built as callers build it */
    node *(*build)(graph *g, node *const *in);
    op_sample r;
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
/* Callers count positions from 1. */
static int64_t first_index(const subject *s, int k) {
    return s->call ? s->row->args[k].low : 0;
}
static bool moves(const subject *s, int k) {
    return !is_index(s, k) && !(s->r.where == SAMPLE_CONDITION && k == 0);
}

static int in_shape(const subject *s, int k, int64_t *shape) {
    for (int i = 0; i < s->r.in[k].ndim; i++) shape[i] = sized(s, s->r.in[k].shape[i]);
    return s->r.in[k].ndim;
}

/* The row's arguments from its sample: tensors from in, the rest in order from ints (lists share what is left). */
static void arguments(const subject *s, node *const *in, int64_t *ints, op_value *v) {
    const op_arg *a = s->row->args;
    int lists = 0, next = 0;
    for (int k = 0; a[k].kind; k++) lists += a[k].kind == ARG_SIZES || a[k].kind == ARG_AXES;
    for (int i = 0; i < s->r.n_ints; i++) ints[i] = sized(s, s->r.ints[i]);
    for (int k = 0, t = 0; a[k].kind; k++) {
        const char *absent = a[k].absent ? a[k].absent : "0";
        v[k] = (op_value){ .given = true };
        if (a[k].kind == ARG_PARTS) {
            v[k].n = s->r.n_in;
            v[k].parts = in;
        } else if (a[k].kind <= ARG_SEED) {
            v[k].t = in ? in[t++] : NULL;
        } else if (a[k].kind == ARG_SIZES || a[k].kind == ARG_AXES) {
            v[k].n = s->r.n_ints / lists;
            v[k].ints = ints + next;
            next += v[k].n;
        } else {
            v[k].given = next < s->r.n_ints;
            v[k].x = v[k].given ? s->r.x : strtod(absent, NULL);
            v[k].i = v[k].given ? ints[next++] : a[k].kind == ARG_DIM ? -1 : strtoll(absent, NULL, 10);
        }
    }
}

/* Every float result of an operation, one after the other. */
static node *all_results(graph *g, const op_row *row, const op_value *v) {
    node *out[4] = { NULL }, *flat[4];
    int n = 0;
    out[0] = op_build(g, row, v, out + 1);
    for (int i = 0; i < row->results; i++) {
        if (!out[i]) return NULL;
        if (i == 0 || out[i]->dtype != BK_INT64) flat[n++] = g_reshape(g, out[i], 1, &out[i]->count);
    }
    return g_concat(g, 0, n, flat);
}

static node *apply(const subject *s, graph *g, node *const *in) {
    int64_t ints[36];
    if (s->build) return s->build(g, in);
    if (s->call) {
        op_value v[MAX_ARGUMENTS];
        arguments(s, in, ints, v);
        if (s->row->results > 1) return all_results(g, s->row, v);
        return op_build(g, s->row, v, NULL);
    }
    for (int i = 0; i < s->r.n_ints; i++) ints[i] = sized(s, s->r.ints[i]);
    return graph_op(g, s->row, s->r.n_in, in, s->r.n_ints, ints, s->r.x);
}

/* Adds 3, 6, ... to the diagonals of the matrices in the last two axes. */
static void add_diagonal(const subject *s, const tensor *t) {
    if (s->r.where != SAMPLE_DIAGONAL || t->dtype == BK_INT64 || t->ndim < 2) return;
    const int64_t m = t->shape[t->ndim - 2], n = t->shape[t->ndim - 1];
    for (int64_t i = 0, count = tensor_count(t); i < count; i++) {
        const int64_t row = i / n % m, column = i % n;
        if (row == column) tensor_set(t, i, tensor_get(t, i) + 3 * (double)(row + 1));
    }
}

/* Between which numbers operand k is drawn; true where a row says so. */
static bool range(const subject *s, int k, double *low, double *high) {
    *low = -1.5, *high = 1.5;
    if (!s->row) return false;
    const op_range own = s->row->sample_of[k], all = { s->row->sample_low, s->row->sample_high };
    const op_range said = own.low || own.high ? own : all;
    const bool is = said.low || said.high;
    if (is) *low = said.low, *high = said.high;
    return is;
}

/* Arguments: numbers float32 can hold, so that both dtypes compute the same function. `lead` > 0: a new first axis. */
static tensor sample(const subject *s, int k, int64_t lead, const tensor *first) {
    int64_t shape[6] = { lead };
    int ndim = in_shape(s, k, shape + (lead > 0)) + (lead > 0);
    tensor t;
    err e = { 0 };
    if (tensor_new(s->c, is_index(s, k) ? BK_INT64 : s->dtype, ndim, shape, &t, &e)) exit(3);
    double low, high;
    range(s, k, &low, &high);
    for (int64_t i = 0, n = tensor_count(&t); i < n; i++) {
        double u = rng_uniform(s->random), x = low + (high - low) * u;
        bool flip = rng_next(s->random) & 1;
        if (s->r.where == SAMPLE_OFF_ZERO) x = (0.2 + u) * (flip ? -1 : 1);
        if (s->r.where == SAMPLE_OFF_INTEGERS) x = (double)rng_below(s->random, 5) - 2 + 0.2 + 0.6 * u;
        if (s->r.where == SAMPLE_CONDITION && k == 0) x = flip;
        if (s->r.where == SAMPLE_APART && k == 1 && tensor_count(first) == n)
            x = tensor_get(first, i) + (0.2 + u) * (flip ? -1 : 1);
        x = (double)(float)x;
        if (t.dtype == BK_INT64)
            ((int64_t *)tensor_data(&t))[i] = first_index(s, k) + (int64_t)rng_below(s->random, (uint64_t)s->r.in[k].bound);
        else if (t.dtype == BK_FLOAT32)
            ((float *)tensor_data(&t))[i] = (float)x;
        else
            ((double *)tensor_data(&t))[i] = x;
    }
    add_diagonal(s, &t);
    return t;
}

/* With the field of the row that decides it, where the row has one. */
static const char *by_field(const subject *s, const char *field, const char *what) {
    static char text[200];
    if (!s->row || s->row->kind == OP_COMPOSITE) return what;
    snprintf(text, sizeof text, "%s: %s", field, what);
    return text;
}

/* Whether .run, called by itself, fills the result and nothing behind it, in both dtypes. */
static bool test_run(const subject *s, const char *name) {
    enum { GUARD = 4096, MARK = 0xA5 };
    bool fills = true, within = true;
    for (int d = 0; d < 2; d++) {
        subject typed = *s;
        typed.dtype = d ? BK_FLOAT32 : BK_FLOAT64;
        graph *g = ops_graph(s->c);
        node *in[MAX_IN];
        void *from[MAX_IN];
        tensor args[MAX_IN];
        for (int k = 0; k < s->r.n_in; k++) {
            args[k] = sample(&typed, k, 0, args);
            in[k] = graph_input(g, args[k].dtype, args[k].ndim, args[k].shape);
            const size_t bytes = (size_t)tensor_count(&args[k]) * dtype_size(args[k].dtype);
            from[k] = calloc(1, 2 * bytes + GUARD);
            memcpy(from[k], tensor_data(&args[k]), bytes);
        }
        node *y = apply(&typed, g, in);
        if (y && y->op == s->row && y->n_in == s->r.n_in) {
            const size_t size = dtype_size(y->dtype), bytes = (size_t)y->count * size;
            unsigned char *out = malloc(2 * bytes + GUARD);
            void *scratch = calloc(1, GUARD + (y->op->scratch ? y->op->scratch(y, 1) : 0));
            memset(out, MARK, 2 * bytes + GUARD);
            if (y->op->run(s->c, y, out, (const void *const *)from, scratch)) exit(3);
            for (size_t i = bytes; i < 2 * bytes + GUARD; i++) within = within && out[i] == MARK;
            for (size_t i = 0; i < bytes; i += size) {
                size_t marks = 0;
                while (marks < size && out[i + marks] == MARK) marks++;
                fills = fills && marks < size;
            }
            free(out), free(scratch);
        }
        for (int k = 0; k < s->r.n_in; k++) free(from[k]);
        drop(s->r.n_in, args);
        graph_free(g);
    }
    check(within, name, ".run writes past what .shape and the dtype say", 0);
    check(fills, name, ".run leaves numbers of the result, whose size .shape says, unwritten", 0);
    return within && fills;
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
        check(false, name, "does not build on the shapes of its .sample, (3,7) without one", 0);
        goto done;
    }
    if (run && s->row && !s->call) check(y->op == s->row, name, "the sample is not simplified away", 0);
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
    bool refuses = s->row && s->row->jvp == op_no_jvp;
    if (!refuses && ct && n_wrt) {
        bool ok = graph_jvp(q.g, 1, &y, n_wrt, wrt, ts, &dy) && graph_vjp(q.g, 1, &y, &ct, n_wrt, wrt, grads);
        bool fits = !ok || !dy || shape_equal(dy->ndim, dy->shape, y->ndim, y->shape);
        check(fits, name, by_field(s, ".jvp", "the tangent has the result's shape"), 0);
        for (int k = 0; ok && k < n_wrt && fits; k++) {
            fits = !grads[k] || shape_equal(grads[k]->ndim, grads[k]->shape, wrt[k]->ndim, wrt[k]->shape);
            check(fits, name, by_field(s, ".transpose or .shape", "the adjoint has the operand's shape"), k + 1);
        }
        if (!fits) goto done;
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
        if (s->row && s->row->jvp && s->row->jvp != op_zero_jvp) check(dy != NULL, name, "has a derivative", 0);
    }
    if (!prog_plan(&q, name, run ? "compiles with its derivatives" : "compiles on empty inputs")) goto done;
    if (!prog_run(&q, name, args, res)) goto done;
    if (!run) { /* empty: it ran, and what is left is finite */
        for (int i = 0; i < q.n_out; i++)
            for (int64_t k = 0; k < tensor_count(&res[i]); k++)
                check(isfinite(tensor_get(&res[i], k)), name, "finite on empty inputs", tensor_get(&res[i], k));
        passed++;
    } else if (!refuses && ct && n_wrt && s->row != &op_stop_gradient) {
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
            const char *what = order == 1 ? "derivative against differences" : "second derivative against differences";
            check(off <= tol, name, by_field(s, ".jvp", what), off);
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
            what = order == 1 ? "<ct, J t> = <Jᵀct, t>" : "<ct, J t> = <Jᵀct, t> at order 2";
            check(gap <= (s->r.tol ? s->r.tol : 1e-12), name, by_field(s, ".transpose", what), gap);
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
    check(y && !graph_jvp(g, 1, &y, 1, in, in, &dy) && graph_status(g, &e) == BK_EUNSUPPORTED && strstr(e.text, op_title(s->row)),
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
        check(worst <= (s->r.tol ? 1e-6 : 1e-13), name, by_field(s, ".vmap", what), worst);
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
        check(off <= 1e-13, name, by_field(s, ".vmap", what), off);
        drop(2, res);
    }
    drop(q.n_in, args);
    prog_free(&q);
}

/* ---- where a rule decides: derivatives lie between the slopes on the two sides ---- */

static void fill(const tensor *t, double x) {
    for (int64_t i = 0, n = tensor_count(t); i < n; i++) ((double *)tensor_data(t))[i] = x;
}

enum { VALUE, SLOPE, CURVE, OTHER_SLOPE, OTHER_CURVE, KINK_OUT };

/* The value; its derivative when operand `by` alone moves along t; that of this when operand `moved` does along s; and
 * both the other way round. */
typedef struct kinks {
    const subject *s;
    prog q;
    int moved, by;
    tensor args[MAX_ARGS];         /* operands, t, s */
    double first, second, crossed; /* the worst of each */
    bool finite;
} kinks;

static bool kinks_compile(kinks *k) {
    const subject *s = k->s;
    prog *q = &k->q;
    node *d[KINK_OUT - 1] = { NULL };
    *q = (prog){ .g = ops_graph(s->c), .n_in = s->r.n_in, .n_out = 1 };
    for (int i = 0; i < s->r.n_in; i++) {
        k->args[i] = sample(s, i, 0, k->args);
        q->in[i] = graph_input(q->g, k->args[i].dtype, k->args[i].ndim, k->args[i].shape);
    }
    node *y = q->out[0] = apply(s, q->g, q->in), **ts = q->in + q->n_in, **ss = ts + 1;
    for (int i = 0; i < 2; i++) {
        tensor *t = &k->args[q->n_in];
        *t = sample(s, i ? k->moved : k->by, 0, k->args);
        fill(t, 0);
        q->in[q->n_in++] = graph_input(q->g, t->dtype, t->ndim, t->shape);
    }
    node **by = q->in + k->by, **moved = q->in + k->moved;
    if (!y || y->dtype != BK_FLOAT64 || !graph_jvp(q->g, 1, &y, 1, by, ts, &d[0]) || !d[0] ||
        !graph_jvp(q->g, 1, &d[0], 1, moved, ss, &d[1]) || !graph_jvp(q->g, 1, &y, 1, moved, ss, &d[2]) || !d[2] ||
        !graph_jvp(q->g, 1, &d[2], 1, by, ts, &d[3]))
        return false;
    for (int i = 0; i < KINK_OUT - 1; i++) q->out[q->n_out++] = d[i] ? d[i] : g_zeros_like(q->g, y);
    return prog_plan(q, s->name, "compiles at a kink");
}

static void kinks_run(const kinks *k, tensor *res) {
    if (!prog_run(&k->q, k->s->name, k->args, res)) exit(3);
}

/* How far d lies outside of the slopes on the two sides; -1 where there is a jump, or no slope. */
static double outside(const tensor *low, const tensor *at, const tensor *high, int64_t i, double h, double d) {
    const double y = tensor_get(at, i), right = (tensor_get(high, i) - y) / h, left = (y - tensor_get(low, i)) / h;
    if (!(fabs(right) < 1e3 && fabs(left) < 1e3)) return -1;
    const double out = fmax(fmin(left, right) - d, d - fmax(left, right)) / (1 + fmin(fabs(left), fabs(right)));
    return isnan(d) ? INFINITY : fmax(out, 0);
}

/* Element e of what moves does; `same`: t is the same direction, else any. */
static void kinks_move(kinks *k, int64_t e, bool same) {
    const double h = 1e-6;
    tensor *t = k->args + k->s->r.n_in, *x[2] = { &k->args[k->moved], &k->args[k->by] }, kept, res[KINK_OUT];
    tensor low[2][KINK_OUT], high[2][KINK_OUT];
    fill(&t[1], 0);
    ((double *)tensor_data(&t[1]))[e] = 1;
    for (int64_t i = 0; i < tensor_count(&t[0]); i++)
        ((double *)tensor_data(&t[0]))[i] = same ? i == e : rng_normal(k->s->random);
    kinks_run(k, res);
    for (int side = 0; side < 2; side++) { /* along s, along t */
        kept = *x[side];
        shift(&kept, -h, &t[1 - side], x[side]), kinks_run(k, low[side]), drop(1, x[side]);
        shift(&kept, h, &t[1 - side], x[side]), kinks_run(k, high[side]), drop(1, x[side]);
        *x[side] = kept;
    }
    for (int64_t i = 0; i < tensor_count(&res[VALUE]); i++) {
        const double d = tensor_get(&res[SLOPE], i), dd = tensor_get(&res[CURVE], i);
        const double first = outside(&low[1][VALUE], &res[VALUE], &high[1][VALUE], i, h, d);
        if (first < 0 || outside(&low[0][VALUE], &res[VALUE], &high[0][VALUE], i, h, 0) < 0) continue;
        const double second = outside(&low[0][SLOPE], &res[SLOPE], &high[0][SLOPE], i, h, dd);
        k->finite = k->finite && isfinite(d) && isfinite(dd);
        if (same) k->first = fmax(k->first, first); /* a rule that is linear in t can be so for one number alone */
        k->second = fmax(k->second, second);
        if (second < 0 || outside(&low[1][OTHER_SLOPE], &res[OTHER_SLOPE], &high[1][OTHER_SLOPE], i, h, 0) < 0) continue;
        const double gap = fabs(dd - tensor_get(&res[OTHER_CURVE], i)) / (1 + fabs(dd));
        k->crossed = fmax(k->crossed, isnan(gap) ? INFINITY : gap);
    }
    drop(KINK_OUT, res);
    for (int side = 0; side < 2; side++) drop(KINK_OUT, low[side]), drop(KINK_OUT, high[side]);
}

/* The number is everywhere (`one` < 0), or in operand `one` at the element that moves, the first and then the last, while
 * all else is drawn. */
static void kinks_at(kinks *k, double point, int one) {
    const subject *s = k->s;
    const int64_t count = tensor_count(&k->args[k->moved]);
    const int by = k->by + 1, moved = k->moved + 1;
    char what[160], where[60];
    k->first = k->second = k->crossed = 0, k->finite = true;
    for (int64_t e = 0; e < count; e += count > 1 ? count - 1 : 1) {
        for (int i = 0; i < s->r.n_in; i++) {
            tensor_release(&k->args[i]);
            k->args[i] = sample(s, i, 0, k->args);
            if (one < 0 && moves(s, i)) fill(&k->args[i], point);
            if (i == one) ((double *)tensor_data(&k->args[i]))[e ? tensor_count(&k->args[i]) - 1 : 0] = point;
        }
        kinks_move(k, e, k->moved == k->by);
        if (k->moved == k->by) kinks_move(k, e, false);
    }
    if (one < 0) snprintf(where, sizeof where, "where all are %g", point);
    else snprintf(where, sizeof where, "where operand %d is %g", one + 1, point);
    snprintf(what, sizeof what, "derivative by operand %d between both sides' slopes %s", moved, where);
    check(k->first <= 1e-4, s->name, what, k->first);
    snprintf(what, sizeof what, "second derivative by operands %d and %d between its slopes %s", by, moved, where);
    check(k->second <= 1e-4, s->name, what, k->second);
    snprintf(what, sizeof what, "second derivative by operands %d and %d in either order %s", by, moved, where);
    check(k->crossed <= 1e-9, s->name, what, k->crossed);
    snprintf(what, sizeof what, "derivatives by operands %d and %d are finite %s", by, moved, where);
    check(k->finite, s->name, what, point);
}

static bool in_range(const subject *s, int k, double x) {
    double low, high;
    return !range(s, k, &low, &high) || (low <= x && x <= high);
}

/* Rules decide at 0, at small numbers (a tanh cut off at 1, a relu at 6), where a number they are given says, or where
 * operands are equal. One operand is there whatever its range; all are, equal, within it. */
static void test_kinks(const subject *s) {
    static const double usual[] = { 0, 0.5, 1, 2, 3, 6 };
    enum { USUAL = sizeof usual / sizeof *usual };
    double points[USUAL + MAX_ARGUMENTS];
    int64_t ints[36];
    op_value v[MAX_ARGUMENTS];
    int n = 0;
    if (s->r.eps || s->row == &op_stop_gradient) return; /* coarser than a difference; has none by intent */
    const bool of_matrices = s->row->room && strcmp(s->row->room, "linalg") == 0; /* singular where all are equal */
    for (; n < (of_matrices ? 1 : USUAL); n++) points[n] = usual[n];
    arguments(s, NULL, ints, v);
    for (const op_arg *a = s->row->args; a && a->kind != ARG_END; a++)
        if (a->kind == ARG_NUMBER) points[n++] = fabs(v[a - s->row->args].x);
    for (int pair = 0; pair < s->r.n_in * s->r.n_in; pair++) {
        kinks k = { .s = s, .moved = pair / s->r.n_in, .by = pair % s->r.n_in };
        if (!moves(s, k.moved) || !moves(s, k.by)) continue;
        const bool ok = kinks_compile(&k);
        const int before = failed; /* the first point that is wrong says enough */
        for (int i = 0; ok && i < n; i++)
            for (int sign = points[i] > 0 ? -1 : 1; sign <= 1; sign += 2)
                for (int one = -1; one < s->r.n_in; one++) {
                    const double at = sign * points[i];
                    bool there = one < 0 || moves(s, one);
                    for (int j = 0; j < s->r.n_in && (one < 0 || of_matrices); j++) there = there && in_range(s, j, at);
                    if (there && failed == before) kinks_at(&k, at, one);
                }
        drop(k.q.n_in, k.args);
        prog_free(&k.q);
    }
}

/* ---- int64: what takes whole numbers says of them what it says of the same floats ---- */

static void test_integers(const subject *s) {
    subject narrow = *s;
    tensor args[MAX_IN], wide[MAX_IN], a, b;
    err e = { 0 };
    int n = s->r.n_in;
    for (int k = 0; k < n; k++) {
        tensor t = sample(&narrow, k, 0, args);
        for (int64_t i = 0; !is_index(s, k) && i < tensor_count(&t); i++)
            ((double *)tensor_data(&t))[i] = 1 + (double)rng_below(s->random, 3);
        add_diagonal(s, &t);
        if (tensor_new(s->c, BK_INT64, t.ndim, t.shape, &args[k], &e) ||
            tensor_copy(&t, BK_INT64, tensor_data(&args[k]), &e)) exit(3);
        wide[k] = t;
    }
    graph *g = ops_graph(s->c);
    node *in[MAX_IN];
    for (int k = 0; k < n; k++) in[k] = graph_input(g, BK_INT64, args[k].ndim, args[k].shape);
    bool takes = apply(s, g, in) != NULL;
    if (!takes) check(graph_status(g, &e) == BK_EINVAL && strstr(e.text, "bk.") == e.text, s->name, "refuses int64 with a message", 0);
    graph_free(g);
    if (takes && value(s, s->name, args, &a) && value(s, s->name, wide, &b)) {
        double off = distance(&a, &b);
        check(off <= (s->r.tol ? s->r.tol : 1e-14), s->name, "int64 agrees with float64", off);
        drop(1, &a), drop(1, &b);
    }
    drop(n, args), drop(n, wide);
}

/* ---- views: of a tensor that is not in row-major order too ---- */

static void test_view(const subject *s) {
    int64_t ints[36];
    op_value v[MAX_ARGUMENTS];
    tensor row_major = sample(s, 0, 0, NULL), strided = row_major, packed, view, want;
    err e = { 0 };
    arguments(s, NULL, ints, v);
    for (int turned = 0; turned < 2; turned++) {
        view = row_major;
        if (turned) { /* the same elements with the last two axes the other way round in memory */
            int d = strided.ndim;
            if (d < 2) break;
            int64_t *size = strided.shape + d - 2, *step = strided.strides + d - 2, x = size[0];
            size[0] = size[1], size[1] = x;
            x = step[0], step[0] = step[1], step[1] = x;
            if (tensor_contiguous_as(&strided, s->dtype, &packed, &e)) exit(3);
            packed.ndim = row_major.ndim;
            view = packed; /* packed holds the turned tensor in row-major order: turned again it is strided */
            size = view.shape + d - 2, step = view.strides + d - 2;
            x = size[0], size[0] = size[1], size[1] = x;
            x = step[0], step[0] = step[1], step[1] = x;
        }
        if (s->row->view(&view, v) && value(s, s->name, &row_major, &want)) {
            check(distance(&view, &want) == 0 && shape_equal(view.ndim, view.shape, want.ndim, want.shape), s->name,
                  "the view is the value", turned);
            drop(1, &want);
        } else check(turned, s->name, "has a view of a row-major tensor", turned);
        if (turned) drop(1, &packed);
    }
    drop(1, &row_major);
}

static void test_subject(subject s) {
    const char *name = s.name;
    rng random = rng_seed(7); /* each by itself: what it draws does not depend on the others */
    s.random = &random;
    s.free = 3;
    test_derivatives(&s, name, true);
    if (s.row && s.row->jvp == op_no_jvp) test_refusal(&s, name);
    if (s.r.n_in) test_float32(&s, name);
    if (s.call) {
        test_kinks(&s);
        test_integers(&s);
        if (s.row->view && !s.r.eps) test_view(&s);
    }
    for (unsigned mask = 1; mask < 1u << s.r.n_in; mask++) test_vmap(&s, name, mask, 4);
    for (unsigned outer = 1; outer < 1u << s.r.n_in && !s.r.no_vmap; outer++)
        for (unsigned inner_mask = 1; inner_mask < 1u << s.r.n_in; inner_mask++)
            test_nested(&s, name, outer, inner_mask);
    s.free = 0;
    test_derivatives(&s, name, false);
    if (s.r.n_in && !s.r.no_vmap) test_vmap(&s, name, (1u << s.r.n_in) - 1, 2);
}

static void test_rows(ctx *c, rng *random) {
    int rows = 0;
    for (int i = 0; op_rows[i]; i++, rows++) {
        const op_row *row = op_rows[i];
        const bool node_row = row->kind != OP_COMPOSITE;
        const char *fault = op_row_fault(row, op_row_names[i]);
        check(!fault, op_row_names[i], fault ? fault : "the row", 0);
        check(row->sample || row->kind != OP_KERNEL, op_row_names[i], ".sample is missing", 0);
        if (fault || (!row->sample && row->kind == OP_KERNEL)) continue;
        subject s = { .c = c, .name = row->name, .row = row, .free = 3, .dtype = BK_FLOAT64 };
        if (row->sample) s.r = *row->sample;
        if (!s.r.n_in && row->arity > 0 && (row->kind == OP_ELEMENTWISE || !row->sample || !row->sample->n_ints)) {
            s.r.n_in = row->arity;
            for (int k = 0; k < row->arity; k++) {
                s.r.in[k].ndim = 2;
                s.r.in[k].shape[0] = F;
                s.r.in[k].shape[1] = 7;
            }
        }
        const bool all = row->arity < 0 || s.r.n_in == row->arity;
        check(all, row->name, ".sample has as many operands as .arity", s.r.n_in);
        if (!all) continue;
        s.random = random;
        if (row->kind == OP_KERNEL && !test_run(&s, row->name)) continue;
        if (node_row) test_subject(s);
        s.call = row->args != NULL;
        if (s.call) test_subject(s);
    }
    for (size_t i = 0; i < sizeof compositions / sizeof *compositions; i++)
        test_subject((subject){ .c = c, .name = compositions[i].name, .build = compositions[i].build,
                                .r = compositions[i].r, .free = 3, .dtype = BK_FLOAT64 });
    check(rows > 40, "op_rows", "the table is there", rows);
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0); /* what was said before a crash is there */
    ctx *c = ctx_new(1);
    rng random = rng_seed(7);
    if (!c) return 3;
    test_rows(c, &random);
    check(atomic_load(&c->refs) == 1, "context", "nothing is left holding it", atomic_load(&c->refs));
    ctx_release(c);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
