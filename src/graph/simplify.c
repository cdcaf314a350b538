/* simplify.c - re-association of matrix chains by cost, then sums of products as one accumulation.
 *
 * A gradient's weight part is AᵀD, of rank at most the batch. Where it is multiplied again, (P Aᵀ) D can
 * cost far less than P (AᵀD), unless AᵀD is needed anyway. So each inner product is tried as a unit: all
 * its products re-associated at once, kept when the whole graph then needs fewer operations. */
#include "simplify.h"
#include "build.h"

#include <string.h>

extern const op_row op_matmul, op_matmul_sum, op_add, op_scale;

double node_flops(const node *n) {
    return n->op->cost ? n->op->cost(n) : 0;
}

static double sum_flops(node *const *sorted, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += node_flops(sorted[i]);
    return sum;
}

double graph_flops(graph *g, int n_out, node *const *outs) {
    int n;
    node **sorted = graph_sorted(g, n_out, outs, &n);
    return sorted ? sum_flops(sorted, n) : 0;
}

static bool flat_product(const node *n) {
    return n->op == &op_matmul && n->ndim == 2;
}

/* op(a) op(b) with the operands in order of id, so that XYᵀ and YXᵀ are one node; transposed tells which. */
static node *canonical(graph *g, node *a, bool ta, node *b, bool tb, bool *transposed) {
    *transposed = a && b && a->id > b->id;
    return *transposed ? g_matmul_t(g, b, a, !tb, !ta) : g_matmul_t(g, a, b, ta, tb);
}

/* user = op(P) op(Q) with Q = op(B) op(C): the other way to bracket it. NULL when neither operand is q. */
static node *reassociate(graph *g, node *user, node *q) {
    bool flip;
    for (int k = 1; k >= 0; k--) {
        if (user->in[k] != q || user->in[1 - k] == q) continue;
        node *p = user->in[1 - k], *b = q->in[0], *c = q->in[1];
        bool tp = user->ints[1 - k], tb = q->ints[0], tc = q->ints[1];
        if (user->ints[k]) { /* (BC)ᵀ = CᵀBᵀ */
            node *swap = b;
            b = c, c = swap;
            bool t = !tb;
            tb = !tc, tc = t;
        }
        if (k == 1) { /* P (B C) = (P B) C */
            node *pb = canonical(g, p, tp, b, tb, &flip);
            return g_matmul_t(g, pb, c, flip, tc);
        }
        node *cp = canonical(g, c, tc, p, tp, &flip); /* (B C) P = B (C P) */
        return g_matmul_t(g, b, cp, tb, flip);
    }
    return NULL;
}

static bool reassociate_all(graph *g, int n_out, node **outs) {
    for (int pass = 0; pass < 4; pass++) {
        int n, count = graph_count(g);
        node **sorted = graph_sorted(g, n_out, outs, &n);
        node **trial = graph_alloc(g, sizeof *trial * (size_t)n_out);
        bool *tried = graph_alloc(g, (size_t)count), changed = false;
        if (!sorted || !trial || !tried) return false;
        memset(tried, 0, (size_t)count);
        double best = sum_flops(sorted, n);
        for (int i = 0; i < n; i++) {
            node *q = sorted[i];
            if (q->id >= count || !flat_product(q) || tried[q->id]) continue;
            tried[q->id] = true;
            node **from = graph_alloc(g, sizeof *from * (size_t)n), **to = graph_alloc(g, sizeof *to * (size_t)n);
            if (!from || !to) return false;
            int users = 0;
            double now = node_flops(q), then = 0;
            for (int k = i + 1; k < n; k++) {
                node *user = sorted[k];
                if (!flat_product(user) || (user->in[0] != q && user->in[1] != q)) continue;
                node *other = reassociate(g, user, q);
                if (graph_failed(g)) return false;
                if (!other) continue;
                from[users] = user, to[users++] = other;
                now += node_flops(user);
                then += node_flops(other);
                for (int j = 0; j < other->n_in; j++)
                    if (other->in[j] != q->in[0] && other->in[j] != q->in[1]) then += node_flops(other->in[j]);
            }
            /* a trial rebuilds the graph: not where even sharing a product with another unit could not pay */
            if (!users || then > 2 * now) continue;
            memcpy(trial, outs, sizeof *outs * (size_t)n_out);
            if (!graph_substitute(g, n_out, trial, users, from, to)) return false;
            double flops = graph_flops(g, n_out, trial);
            if (flops >= best * (1 - 1e-9)) continue;
            best = flops;
            changed = true;
            memcpy(outs, trial, sizeof *outs * (size_t)n_out);
            sorted = graph_sorted(g, n_out, outs, &n);
            if (!sorted) return false;
            i = -1; /* from the start: ids moved */
        }
        if (!changed) break;
    }
    return true;
}

/* ---- sums of products ---- */

typedef struct terms {
    int n_products, n_rest;
    node **product;
    double *alpha, *rest_x;
    node **rest;
} terms;

/* n as a sum, through additions and scales nobody else uses. */
static void collect(node *n, double x, bool root, const int *uses, terms *t, int depth) {
    bool own = root || uses[n->id] == 1;
    if (own && depth < 200 && n->op == &op_add) {
        collect(n->in[0], x, false, uses, t, depth + 1);
        collect(n->in[1], x, false, uses, t, depth + 1);
    } else if (own && n->op == &op_scale)
        collect(n->in[0], x * n->x, false, uses, t, depth + 1);
    else if (own && !root && flat_product(n)) {
        t->product[t->n_products] = n;
        t->alpha[t->n_products++] = x;
    } else {
        t->rest[t->n_rest] = n;
        t->rest_x[t->n_rest++] = x;
    }
}

static node *products_node(graph *g, const terms *t) {
    node **in = graph_alloc(g, sizeof *in * 2 * (size_t)t->n_products);
    int64_t *ints = graph_alloc(g, sizeof *ints * 3 * (size_t)t->n_products);
    if (!in || !ints) return NULL;
    for (int i = 0; i < t->n_products; i++) {
        node *m = t->product[i];
        in[2 * i] = m->in[0];
        in[2 * i + 1] = m->in[1];
        ints[3 * i] = m->ints[0];
        ints[3 * i + 1] = m->ints[1];
        memcpy(&ints[3 * i + 2], &t->alpha[i], sizeof(double));
    }
    return graph_op(g, &op_matmul_sum, 2 * t->n_products, in, 3 * t->n_products, ints, 0);
}

static bool accumulate_products(graph *g, int n_out, node **outs) {
    int n, count = graph_count(g);
    node **sorted = graph_sorted(g, n_out, outs, &n);
    int *uses = graph_alloc(g, sizeof *uses * (size_t)count);
    bool *inside = graph_alloc(g, (size_t)count);
    node **from = graph_alloc(g, sizeof *from * (size_t)n), **to = graph_alloc(g, sizeof *to * (size_t)n);
    terms t = { 0,
                0,
                graph_alloc(g, sizeof(node *) * (size_t)n),
                graph_alloc(g, sizeof(double) * (size_t)n),
                graph_alloc(g, sizeof(double) * (size_t)n),
                graph_alloc(g, sizeof(node *) * (size_t)n) };
    if (!sorted || !uses || !inside || !from || !to || !t.product || !t.alpha || !t.rest || !t.rest_x) return false;
    memset(uses, 0, sizeof *uses * (size_t)count);
    memset(inside, 0, (size_t)count);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < sorted[i]->n_in; k++) uses[sorted[i]->in[k]->id]++;
    for (int k = 0; k < n_out; k++) uses[outs[k]->id] += 2;
    /* a sum is rooted where an addition or scale is used by something else than one addition or scale */
    for (int i = 0; i < n; i++) {
        node *m = sorted[i];
        if (m->op != &op_add && m->op != &op_scale) continue;
        for (int k = 0; k < m->n_in; k++)
            if (uses[m->in[k]->id] == 1) inside[m->in[k]->id] = true;
    }
    int found = 0;
    for (int i = 0; i < n; i++) {
        node *m = sorted[i];
        if ((m->op != &op_add && m->op != &op_scale) || m->ndim != 2 || inside[m->id]) continue;
        t.n_products = t.n_rest = 0;
        collect(m, 1, true, uses, &t, 0);
        if (!t.n_products) continue;
        node *sum = products_node(g, &t);
        for (int k = 0; k < t.n_rest; k++) sum = g_add(g, sum, g_scale(g, t.rest_x[k], t.rest[k]));
        if (!sum) return false;
        from[found] = m;
        to[found++] = sum;
    }
    if (!found) return true;
    /* replacements name each other's old roots: substitute from the last, so that inputs are replaced first */
    for (int i = found - 1; i >= 0; i--)
        if (!graph_substitute(g, n_out, outs, 1, &from[i], &to[i])) return false;
    return true;
}

bool graph_simplify(graph *g, int n_out, node **outs) {
    return reassociate_all(g, n_out, outs) && accumulate_products(g, n_out, outs);
}
