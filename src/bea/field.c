/* field.c - the logarithm of a word as a graph. Every vector in the formulas of word.h is a combination of the n
 * tasks' gradients, or of Hessian-vector products with them; the combinations' coefficients depend on the rates alone.
 * So there are two halves: coefficients (small matrices, from the rates) and vectors (gradients and products, from
 * theta), joined by small matrix products. Work grows with min(steps, tasks^2), never with both. */
#include "word.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- pieces shared by the room ---- */
node *bea_hole(graph *g, const node *theta) {
    return theta ? graph_input(g, theta->dtype, theta->ndim, theta->shape) : NULL;
}

bool bea_fill(graph *g, int n, node **outs, node *hole, node *theta) {
    for (int i = 0; i < n; i++)
        if (!outs[i]) return false;
    return graph_substitute(g, n, outs, 1, &hole, &theta);
}

node *bea_rows(graph *g, int n, node *const *v) {
    node **flat = graph_alloc(g, (size_t)n * sizeof *flat);
    for (int i = 0; flat && i < n; i++) {
        if (!v[i]) return NULL;
        flat[i] = g_reshape(g, v[i], 1, &v[i]->count);
    }
    return flat ? g_stack(g, n, flat) : NULL;
}

/* Row i, of the shape of like. */
static node *row_at(graph *g, node *rows, int i, const node *like) {
    return g_reshape(g, g_narrow(g, rows, 0, i, 1), like->ndim, like->shape);
}

node *bea_jvp(graph *g, node *y, node *theta, node *v) {
    node *dy = NULL;
    if (!y || !v || !graph_jvp(g, 1, &y, 1, &theta, &v, &dy)) return NULL;
    return dy ? dy : g_zeros_like(g, y);
}

node *word_build_task(const word *w, int i, graph *g, node *theta) {
    char what[32];
    int s = 0;
    while (w->kind[s] == STEP_MAP || w->step[s] != i) s++;
    snprintf(what, sizeof what, "word: step %d", s + 1);
    return func_build_field(w->task[i], g, 1, &theta, what);
}

/* ---- coefficients ---- */
/* Which vectors the third order is made of: products H_i g_j and forms T_i(g_j, g_k) of pairs of tasks, or one a step.
 */
static bool pair_products(const word *w) {
    return (int64_t)w->n * w->n <= w->m - 1 + w->n;
}

static bool pair_forms(const word *w) {
    return (int64_t)w->n * w->n * (w->n + 1) / 2 <= w->m + w->n;
}

enum {
    C_E,  /* (1, n)      E */
    C_M,  /* (n, n)      Z2 = sum_i H_i (row i) */
    C_LT, /* (m, n)      E_<s            by steps */
    C_KA, /* (1, q)      sum_t De_t E_<t from the products */
    C_UA, /* (n, q)      the last products' directions from the products ... */
    C_UH, /* (n, n)      ... and from the H_i E */
    C_CC, /* (m, n)      c_t             by steps */
    C_H,  /* (m, 1)      the rates       by steps */
    C_Q,  /* (n, n, n)   weights of T_i(g_j, g_k) */
    COEFS
};

/* Exclusive running sums along the first axis. */
static node *before(graph *g, node *a) {
    return g_sub(g, g_cumsum(g, a, 0), a);
}

static node *constant(graph *g, bk_dtype dtype, const tensor *t) {
    tensor cast = { 0 };
    err e = { 0 };
    if (tensor_contiguous_as(t, dtype, &cast, &e)) return graph_fail(g, e.status, "%s", e.text);
    node *n = graph_const(g, &cast);
    tensor_release(&cast);
    return n;
}

/* (rows, cols) with a 1 at (r, at[r]) where at[r] >= 0. */
static node *selection(graph *g, bk_dtype dtype, int64_t rows, int64_t cols, const int *at, int shift) {
    tensor t = { 0 };
    err e = { 0 };
    const int64_t shape[2] = { rows, cols };
    if (tensor_zeros(graph_ctx(g), BK_FLOAT64, 2, shape, &t, &e)) return graph_fail(g, e.status, "%s", e.text);
    double *v = tensor_data(&t);
    for (int64_t r = 0; r < rows; r++) {
        int64_t col = at ? at[r] : r + shift;
        if (col >= 0 && col < cols) v[r * cols + col] = 1;
    }
    node *n = constant(g, dtype, &t);
    tensor_release(&t);
    return n;
}

static bool coefs_build(const word *w, term_weights k, graph *g, node *rates, node **c) {
    memset(c, 0, COEFS * sizeof *c);
    int64_t m = w->m, n = w->n;
    const int64_t col[2] = { m, 1 }, mn1[3] = { m, n, 1 }, m1n[3] = { m, 1, n }, mnn[2] = { m, n * n };
    const int64_t one_nn[2] = { 1, n * n }, nnn[3] = { n, n, n };
    node *minus_h = g_reshape(g, g_neg(g, rates), 2, col);
    node *ce =
        g_mul(g, selection(g, rates ? rates->dtype : BK_FLOAT64, m, n, w->step, 0), minus_h); /* e_t, a row each */
    node *e = g_sum(g, ce, 1u, true), *lt = before(g, ce);
    node *cc = g_sub(g, lt, g_scale(g, 0.5, e)); /* c_t = E_<t - E/2 */
    c[C_E] = e;
    bool plain = k.flatness == k.conflict && k.third != 0; /* the third order's products hold Z2 already */
    if ((k.flatness != 0 || k.conflict != 0) && !plain) {
        /* sum_t De_t c_t; its diagonal part -1/2 sum De_t e_t is the flatness, the rest the conflict */
        node *all = g_matmul_t(g, ce, cc, true, false), *flat = g_scale(g, -0.5, g_matmul_t(g, ce, ce, true, false));
        c[C_M] = g_add(g, g_scale(g, k.flatness, flat), g_scale(g, k.conflict, g_sub(g, all, flat)));
    }
    if (k.third != 0) {
        node *ka = NULL; /* (m, q): De_t E_<t from the products */
        if (pair_products(w)) {
            ka = g_reshape(g, g_mul(g, g_reshape(g, ce, 3, mn1), g_reshape(g, lt, 3, m1n)), 2, mnn);
        } else if (m > 1) {
            ka = g_mul(g, selection(g, rates ? rates->dtype : BK_FLOAT64, m, m - 1, NULL, -1), minus_h);
            c[C_LT] = lt;
        }
        if (ka) {
            c[C_KA] = g_sum(g, ka, 1u, true);
            c[C_UA] = g_sub(g, g_matmul_t(g, ce, before(g, ka), true, false),
                            g_scale(g, 0.5, g_matmul_t(g, e, c[C_KA], true, false)));
        }
        c[C_UH] = g_sub(g, g_scale(g, 1.0 / 3, g_matmul_t(g, e, e, true, false)),
                        g_scale(g, 0.5, g_matmul_t(g, ce, lt, true, false)));
        if (pair_forms(w)) {
            node *cc2 = g_reshape(g, g_mul(g, g_reshape(g, cc, 3, mn1), g_reshape(g, cc, 3, m1n)), 2, mnn);
            node *ee = g_reshape(g, g_matmul_t(g, e, e, true, false), 2, one_nn);
            c[C_Q] = g_reshape(g,
                               g_sub(g, g_scale(g, 0.5, g_matmul_t(g, ce, cc2, true, false)),
                                     g_scale(g, 1.0 / 24, g_matmul_t(g, e, ee, true, false))),
                               3, nnn);
        } else {
            c[C_CC] = cc;
            c[C_H] = g_neg(g, minus_h);
        }
    }
    return !graph_failed(g);
}

/* ---- vectors ---- */
/* T_i(a, b) for many a, b: the second derivative of the field is built once, with leaves for a and b. */
typedef struct form {
    node *y, *a, *b;
} form;

static form form_new(graph *g, node *field, node *theta, bool mixed) {
    form f = { .a = bea_hole(g, theta) };
    f.b = mixed ? bea_hole(g, theta) : f.a;
    f.y = bea_jvp(g, bea_jvp(g, field, theta, f.a), theta, f.b);
    return f;
}

static node *form_at(graph *g, const form *f, node *a, node *b) {
    node *y = f->y;
    if (!y || !a || !b) return NULL;
    node *from[2] = { f->a, f->b }, *to[2] = { a, b };
    return graph_substitute(g, 1, &y, f->a == f->b ? 1 : 2, from, to) ? y : NULL;
}

static node *scalar(graph *g, node *a, int64_t i) {
    return g_reshape(g, g_narrow(g, g_reshape(g, a, 1, &a->count), 0, i, 1), 0, NULL);
}

static node *plus(graph *g, node *sum, node *part) {
    return sum ? g_add(g, sum, part) : part;
}

/* Combinations of the gradients. With known coefficients and few tasks they are written out, zeros left out: a gradient
 * that stays in sight lets the planner re-associate the product with it (A_i (A_j' dZ_j) as (A_i A_j') dZ_j). */
typedef struct combination {
    const tensor *known; /* (rows, n), or ... */
    node *all;           /* ... (rows, P) */
    node *const *grad;   /* n */
    int n;
} combination;

enum { WRITTEN_OUT = 4 };

static combination combine(graph *g, const word *w, const tensor *fixed, node *const *c, int which, node *const *grad,
                           node *rows) {
    combination k = { .grad = grad, .n = w->n };
    if (fixed && w->n <= WRITTEN_OUT)
        k.known = &fixed[which];
    else
        k.all = g_matmul(g, c[which], rows);
    return k;
}

static node *combined(graph *g, const combination *k, int row, node *theta) {
    if (!k->known) return row_at(g, k->all, row, theta);
    double top = 0;
    node *sum = NULL;
    for (int i = 0; i < k->n; i++) top = fmax(top, fabs(tensor_get(k->known, (int64_t)row * k->n + i)));
    for (int i = 0; i < k->n; i++) {
        double x = tensor_get(k->known, (int64_t)row * k->n + i);
        if (fabs(x) > 1e-15 * top) /* less is rounding of a zero: the diagonal of the conflict */
            sum = plus(g, sum, g_scale(g, x, k->grad[i]));
    }
    return sum ? sum : g_zeros_like(g, theta);
}

/* 1/2 sum_t D2e_t(c_t, c_t) - 1/24 D2E(E, E); e is E */
static node *third_forms(const word *w, graph *g, node *const *c, node *const *field, node *grads, node *e,
                         node *theta) {
    int n = w->n;
    node *sum = NULL;
    if (c[C_Q]) {
        for (int i = 0; i < n; i++) {
            form same = form_new(g, field[i], theta, false), mixed = same;
            if (n > 1) mixed = form_new(g, field[i], theta, true);
            for (int j = 0; j < n; j++)
                for (int k = j; k < n; k++) {
                    node *weight = scalar(g, c[C_Q], ((int64_t)i * n + j) * n + k);
                    node *t = form_at(g, j == k ? &same : &mixed, field[j], field[k]);
                    sum = plus(g, sum, g_mul(g, j == k ? weight : g_scale(g, 2, weight), t));
                }
        }
        return sum;
    }
    node *at = g_matmul(g, c[C_CC], grads);
    form *forms = graph_alloc(g, (size_t)n * sizeof *forms);
    for (int i = 0; forms && i < n; i++) {
        forms[i] = form_new(g, field[i], theta, false);
        node *weight = g_scale(g, -1.0 / 24, scalar(g, c[C_E], i));
        sum = plus(g, sum, g_mul(g, weight, form_at(g, &forms[i], e, e)));
    }
    for (int s = 0; forms && s < w->m && !graph_failed(g); s++) {
        node *v = row_at(g, at, s, theta), *weight = g_scale(g, -0.5, scalar(g, c[C_H], s));
        sum = plus(g, sum, g_mul(g, weight, form_at(g, &forms[w->step[s]], v, v)));
    }
    return sum;
}

/* sum_i H_i (row i of directions) */
static node *products(graph *g, node *const *field, const combination *directions, node *theta) {
    node *sum = NULL;
    for (int i = 0; i < directions->n && !graph_failed(g); i++)
        sum = plus(g, sum, bea_jvp(g, field[i], theta, combined(g, directions, i, theta)));
    return sum;
}

/* fixed: the coefficients' values when they are known, else NULL. */
static node *terms_build(const word *w, term_weights k, graph *g, const tensor *fixed, node *const *c, node *theta) {
    int n = w->n;
    node **field = graph_alloc(g, (size_t)n * sizeof *field), **v = NULL, *sum = NULL;
    for (int i = 0; i < n && !graph_failed(g); i++) field[i] = word_build_task(w, i, g, theta);
    node *grads = graph_failed(g) ? NULL : bea_rows(g, n, field); /* (n, P) */
    if (!grads) return NULL;
    combination total = combine(g, w, fixed, c, C_E, field, grads);
    node *e = combined(g, &total, 0, theta);
    if (k.first != 0) sum = g_scale(g, k.first, e);
    if (c[C_M]) {
        combination second = combine(g, w, fixed, c, C_M, field, grads);
        sum = plus(g, sum, products(g, field, &second, theta));
    }
    if (k.third != 0) {
        int pairs = pair_products(w), q = pairs ? n * n : w->m - 1;
        node *base = NULL, *he; /* (q, P) H_i g_j or H_s E_<s; (n, P) H_i E */
        v = graph_alloc(g, (size_t)(q > n ? q : n) * sizeof *v);
        combination lt = { 0 };
        if (!pairs && q > 0) lt = combine(g, w, fixed, c, C_LT, field, grads);
        for (int r = 0; r < q && !graph_failed(g); r++)
            v[r] = pairs ? bea_jvp(g, field[r / n], theta, field[r % n])
                         : bea_jvp(g, field[w->step[r + 1]], theta, combined(g, &lt, r + 1, theta));
        if (q > 0 && !graph_failed(g)) base = bea_rows(g, q, v);
        if (pairs && base) {
            const int64_t nnp[3] = { n, n, theta->count }, np[2] = { n, theta->count };
            he = g_reshape(g, g_matmul(g, c[C_E], g_reshape(g, base, 3, nnp)), 2, np);
        } else {
            for (int i = 0; i < n && !graph_failed(g); i++) v[i] = bea_jvp(g, field[i], theta, e);
            he = graph_failed(g) ? NULL : bea_rows(g, n, v);
        }
        if (graph_failed(g)) return NULL;
        if (!c[C_M] && k.flatness != 0) { /* Z2 = sum De_t E_<t - 1/2 DE E */
            node *z2 = g_scale(g, -0.5, g_matmul(g, c[C_E], he));
            if (base) z2 = g_add(g, z2, g_matmul(g, c[C_KA], base));
            sum = plus(g, sum, g_scale(g, k.flatness, row_at(g, z2, 0, theta)));
        }
        node *last = g_matmul(g, c[C_UH], he);
        if (base) last = g_add(g, last, g_matmul(g, c[C_UA], base));
        combination final = { .all = last, .n = n };
        node *z3 = g_add(g, products(g, field, &final, theta), third_forms(w, g, c, field, grads, e, theta));
        sum = plus(g, sum, g_scale(g, k.third, z3));
    }
    return sum ? sum : g_zeros_like(g, theta);
}

/* ---- as functions ---- */
/* The coefficients alone: rates -> those in use. Run once when the rates are fixed. */
typedef enum field_kind { COEFS_OF_RATES, FIELD_FIXED, FIELD_SCALED } field_kind;

typedef struct field_func {
    func base;
    word *w;
    term_weights k;
    field_kind kind;
    tensor fixed[COEFS]; /* FIELD_FIXED: the coefficients */
} field_func;

static node *rates_node(const word *w, graph *g) {
    tensor t = { 0 };
    err e = { 0 };
    int64_t m = w->m;
    if (tensor_new(w->c, BK_FLOAT64, 1, &m, &t, &e)) return graph_fail(g, e.status, "%s", e.text);
    memcpy(tensor_data(&t), w->rate, (size_t)m * sizeof *w->rate);
    node *n = graph_const(g, &t);
    tensor_release(&t);
    return n;
}

/* Euler steps and terms up to the third. scale NULL: 1. */
static node *closed_form(const field_func *f, graph *g, node *scale, node *theta) {
    node *c[COEFS] = { 0 };
    if (!scale) {
        for (int i = 0; i < COEFS; i++)
            if (f->fixed[i].store) c[i] = constant(g, theta->dtype, &f->fixed[i]);
    } else if (!coefs_build(f->w, f->k, g, g_cast(g, g_mul(g, scale, rates_node(f->w, g)), theta->dtype), c))
        return NULL;
    return terms_build(f->w, f->k, g, scale ? NULL : f->fixed, c, theta);
}

static bool closed(const word *w, term_weights k) {
    return w->euler && !k.to;
}

static int highest(term_weights k) {
    return k.to ? k.to : k.third != 0 ? 3 : k.flatness != 0 || k.conflict != 0 ? 2 : 1;
}

static node *series_form(const field_func *f, graph *g, node *scale, node *theta) {
    term_weights k = f->k;
    int order = highest(k);
    node **z = graph_alloc(g, (size_t)order * sizeof *z), *conflict = NULL, *sum = NULL, *power = NULL;
    bool split = k.flatness != k.conflict;
    if (!z || !word_series(f->w, g, theta, order, z, split ? &conflict : NULL)) return NULL;
    for (int i = 1; i <= order && !graph_failed(g); i++) {
        double x = i == 1 ? k.first : i == 2 ? k.flatness : i == 3 ? k.third : i >= k.from;
        node *term = z[i - 1] && x != 0 ? g_scale(g, x, z[i - 1]) : NULL;
        if (i == 2 && conflict) {
            conflict = g_scale(g, k.conflict - k.flatness, conflict);
            term = term ? g_add(g, term, conflict) : conflict;
        }
        if (scale) power = power ? g_mul(g, power, scale) : g_cast(g, scale, theta->dtype);
        if (term) sum = plus(g, sum, scale ? g_mul(g, power, term) : term);
    }
    return graph_failed(g) ? NULL : sum ? sum : g_zeros_like(g, theta);
}

static bool field_build(func *self, graph *g, int n_in, node *const *in, node_list *out) {
    const field_func *f = (field_func *)self;
    node *theta = in[0], *c[COEFS] = { 0 };
    shape_buf sb;
    out->n = 0;
    out->v = graph_alloc(g, COEFS * sizeof *out->v);
    if (!out->v) return false;
    if (n_in != (f->kind == FIELD_SCALED ? 2 : 1)) {
        graph_fail(g, BK_EINVAL, "word: expected %s, got %d arguments",
                   f->kind == FIELD_SCALED ? "(theta, scale)" : "theta", n_in);
        return false;
    }
    if (f->kind == COEFS_OF_RATES) {
        if (!coefs_build(f->w, f->k, g, in[0], c)) return false;
        for (int i = 0; i < COEFS; i++)
            if (c[i]) out->v[out->n++] = c[i];
        return true;
    }
    if (theta->dtype == BK_INT64) {
        graph_fail(g, BK_EINVAL, "word: theta: expected floating point, got int64 %s",
                   shape_text(theta->ndim, theta->shape, &sb));
        return false;
    }
    node *hole = bea_hole(g, theta), *scale = f->kind == FIELD_SCALED ? in[1] : NULL;
    out->v[out->n++] = (closed(f->w, f->k) ? closed_form : series_form)(f, g, scale, hole);
    return out->v[0] && bea_fill(g, 1, out->v, hole, theta);
}

static void field_destroy(func *self) {
    field_func *f = (field_func *)self;
    for (int i = 0; i < COEFS; i++) tensor_release(&f->fixed[i]);
    word_release(f->w);
}

static const func_class field_class = { "word field", field_build, field_destroy, .field = true };

static field_func *field_new(word *w, term_weights k, field_kind kind, err *e) {
    field_func *f = func_new(w->c, &field_class, sizeof *f, e);
    if (!f) return NULL;
    f->w = w;
    word_retain(w);
    f->k = k;
    f->kind = kind;
    return f;
}

func *word_field_scaled(word *w, term_weights k, err *e) {
    field_func *f = field_new(w, k, FIELD_SCALED, e);
    return f ? &f->base : NULL;
}

/* The coefficients' slots are found by building them once more in the same order. */
static bk_status fix_rates(field_func *f, err *e) {
    word *w = f->w;
    int64_t m = w->m;
    tensor rates = { 0 }, *out[COEFS];
    int n_out = 0;
    node *c[COEFS];
    graph *g = ops_graph(w->c);
    if (!g) return err_nomem(e, 0);
    coefs_build(w, f->k, g, graph_input(g, BK_FLOAT64, 1, &m), c);
    bk_status st = graph_status(g, e);
    field_func *coefs = st ? NULL : field_new(w, f->k, COEFS_OF_RATES, e);
    if (!st && !coefs) st = e ? e->status : BK_ENOMEM;
    if (!st) st = tensor_new(w->c, BK_FLOAT64, 1, &m, &rates, e);
    if (!st) {
        memcpy(tensor_data(&rates), w->rate, (size_t)m * sizeof(double));
        for (int i = 0; i < COEFS; i++)
            if (c[i]) out[n_out++] = &f->fixed[i];
        st = func_call(&coefs->base, 1, &rates, n_out, out, e);
    }
    tensor_release(&rates);
    if (coefs) func_release(&coefs->base);
    graph_free(g);
    return st;
}

func *word_field(word *w, term_weights k, err *e) {
    field_func *f = field_new(w, k, FIELD_FIXED, e);
    if (f && closed(w, k) && fix_rates(f, e)) {
        func_release(&f->base);
        return NULL;
    }
    return f ? &f->base : NULL;
}
