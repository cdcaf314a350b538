/* simplify.c - re-association of matrix chains by cost, then sums of products as one accumulation.
 *
 * A gradient's weight part is AᵀD, of rank at most the batch. Where it is multiplied again, (P Aᵀ) D can
 * cost far less than P (AᵀD), unless AᵀD is needed anyway. So each inner product is tried as a unit: all
 * its products re-associated at once, kept when the whole graph then needs fewer operations. A trial counts
 * what comes into use and what goes out of it; nothing is rebuilt before the end of a pass. */
#include "simplify.h"
#include "../ops/ops.h"

#include <stdlib.h>
#include <string.h>

double node_flops(const node *n) {
    return n->op->cost ? n->op->cost(n) : 0;
}

static double sum_flops(node *const *sorted, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += node_flops(sorted[i]);
    return sum;
}

static bool flat_product(const node *n) {
    return n->op == &op_matmul && n->ndim == 2;
}

/* op(a) op(b) with the operands in order of id, so that XYᵀ and YXᵀ are one node; transposed tells which. */
static node *canonical(graph *g, node *a, bool ta, node *b, bool tb, bool *transposed) {
    *transposed = a && b && a->id > b->id;
    return *transposed ? g_matmul_t(g, b, a, !tb, !ta) : g_matmul_t(g, a, b, ta, tb);
}

/* ---- a graph with replacements ---- */

/* The graph as it will be: replacements are noted, and what lies above them is rebuilt once, at the end. Tables by id.
 * Every use counted is of a node that is not itself replaced. */
typedef struct overlay {
    graph *g;
    int room;
    int *uses; /* by the nodes in use and by the results; 0: not in use */
    node **by; /* what replaces it, or NULL */
    node **stack;
    int depth, stack_room;
    double flops; /* of the nodes in use */
} overlay;

static bool overlay_room(overlay *o) {
    int count = graph_count(o->g), room = count + count / 2 + 64;
    if (count <= o->room) return true;
    int *uses = graph_alloc(o->g, sizeof *uses * (size_t)room);
    node **by = graph_alloc(o->g, sizeof *by * (size_t)room);
    if (!uses || !by) return false;
    memset(uses, 0, sizeof *uses * (size_t)room);
    memset(by, 0, sizeof *by * (size_t)room);
    if (o->room) {
        memcpy(uses, o->uses, sizeof *uses * (size_t)o->room);
        memcpy(by, o->by, sizeof *by * (size_t)o->room);
    }
    o->uses = uses;
    o->by = by;
    o->room = room;
    return true;
}

static bool push(overlay *o, node *n) {
    if (o->depth == o->stack_room) {
        int room = o->stack_room ? 2 * o->stack_room : 256;
        node **longer = graph_alloc(o->g, sizeof *longer * (size_t)room);
        if (!longer) return false;
        if (o->depth) memcpy(longer, o->stack, sizeof *longer * (size_t)o->depth);
        o->stack = longer;
        o->stack_room = room;
    }
    o->stack[o->depth++] = n;
    return true;
}

static node *now(const overlay *o, node *n) {
    while (o->by[n->id]) n = o->by[n->id];
    return n;
}

/* So many more uses of n (fewer, below 0). What comes into use by that uses its operands, what goes out of use no
 * longer does. */
static bool use(overlay *o, node *n, int times) {
    int step = times > 0 ? 1 : -1;
    o->uses[n->id] += times;
    if (o->uses[n->id] != (times > 0 ? times : 0)) return true;
    if (!push(o, n)) return false;
    while (o->depth) {
        node *m = o->stack[--o->depth];
        o->flops += step * node_flops(m);
        for (int k = 0; k < m->n_in; k++) {
            node *a = now(o, m->in[k]);
            o->uses[a->id] += step;
            if (o->uses[a->id] == (step > 0 ? 1 : 0) && !push(o, a)) return false;
        }
    }
    return true;
}

static bool overlay_of(graph *g, int n_out, node *const *outs, int n, node *const *sorted, overlay *o) {
    *o = (overlay){ .g = g };
    if (!overlay_room(o)) return false;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < sorted[i]->n_in; k++) o->uses[sorted[i]->in[k]->id]++;
    for (int i = 0; i < n_out; i++) o->uses[outs[i]->id]++;
    o->flops = sum_flops(sorted, n);
    return true;
}

/* outs with every replacement made, in the replacements too: depth first, for they are younger than what uses them. */
static bool overlay_apply(overlay *o, int n_out, node **outs) {
    graph *g = o->g;
    node **image = graph_alloc(g, sizeof *image * (size_t)o->room); /* rebuilding names only nodes that exist now */
    if (!image) return false;
    memset(image, 0, sizeof *image * (size_t)o->room);
    for (int i = 0; i < n_out; i++) {
        node *top = now(o, outs[i]);
        if (!push(o, top)) return false;
        while (o->depth) {
            node *n = o->stack[o->depth - 1];
            int depth = o->depth;
            for (int k = 0; k < n->n_in && !image[n->id]; k++) {
                node *a = now(o, n->in[k]);
                if (!image[a->id] && !push(o, a)) return false;
            }
            if (o->depth > depth) continue;
            o->depth--;
            if (image[n->id]) continue;
            node **in = graph_alloc(g, sizeof *in * (size_t)n->n_in);
            if (!in) return false;
            bool moved = false;
            for (int k = 0; k < n->n_in; k++) {
                in[k] = image[now(o, n->in[k])->id];
                moved = moved || in[k] != n->in[k];
            }
            if (!(image[n->id] = moved ? graph_again(g, n, in) : n)) return false;
        }
        outs[i] = image[top->id];
    }
    return true;
}

/* ---- re-association ---- */

/* user = op(P) op(Q) with Q = op(B) op(C): the other way to bracket it. NULL when neither operand is q. */
static node *reassociate(const overlay *o, node *user, node *q) {
    graph *g = o->g;
    bool flip;
    for (int k = 1; k >= 0; k--) {
        if (user->in[k] != q || user->in[1 - k] == q) continue;
        node *p = now(o, user->in[1 - k]), *b = now(o, q->in[0]), *c = now(o, q->in[1]);
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

typedef struct swap {
    node *from, *to;
    int uses;
} swap;

/* The products of a graph: users[first[i]..first[i + 1] - 1] use product i. */
typedef struct products {
    int n;
    node **sorted;
    int *first;
    node **users;
    swap *made;   /* of a trial */
    node **tried; /* room for as many products */
} products;

static bool products_of(graph *g, int n_out, node *const *outs, products *t) {
    t->sorted = graph_sorted(g, n_out, outs, &t->n);
    if (!t->sorted) return false;
    const int n = t->n;
    int *first = t->first = graph_alloc(g, sizeof *first * (size_t)(n + 2));
    t->users = graph_alloc(g, sizeof *t->users * 2 * (size_t)n);
    t->made = graph_alloc(g, sizeof *t->made * 2 * (size_t)n);
    t->tried = graph_alloc(g, sizeof *t->tried * (size_t)n);
    if (!first || !t->users || !t->made || !t->tried) return false;
    memset(first, 0, sizeof *first * (size_t)(n + 2));
    for (int i = 0; i < n; i++)
        for (int k = 0; k < 2 && flat_product(t->sorted[i]); k++) first[t->sorted[i]->in[k]->place + 2]++;
    for (int i = 2; i <= n; i++) first[i] += first[i - 1];
    for (int i = 0; i < n; i++)
        for (int k = 0; k < 2 && flat_product(t->sorted[i]); k++)
            t->users[first[t->sorted[i]->in[k]->place + 1]++] = t->sorted[i];
    return true;
}

static bool candidate(const overlay *o, const node *q) {
    return flat_product(q) && o->uses[q->id] && !o->by[q->id];
}

/* Re-associates every product that uses one of qs, and takes it all back unless fewer operations are left. */
static bool try_products(overlay *o, const products *t, int n_q, node *const *qs, bool *better) {
    double before = o->flops;
    int n_made = 0;
    for (int j = 0; j < n_q; j++) {
        node *q = qs[j];
        if (!candidate(o, q)) continue;
        for (int i = t->first[q->place]; i < t->first[q->place + 1]; i++) {
            node *user = t->users[i];
            if (!o->uses[user->id] || o->by[user->id]) continue;
            node *other = reassociate(o, user, q);
            if (graph_failed(o->g) || !overlay_room(o)) return false;
            if (!other || (other = now(o, other)) == user) continue;
            swap *s = &t->made[n_made++];
            *s = (swap){ user, other, o->uses[user->id] };
            o->by[user->id] = other;
            if (!use(o, other, s->uses) || !use(o, user, -s->uses)) return false;
        }
    }
    if (o->flops < before) {
        *better = true;
        return true;
    }
    while (n_made) {
        const swap *s = &t->made[--n_made];
        o->by[s->from->id] = NULL;
        if (!use(o, s->from, s->uses) || !use(o, s->to, -s->uses)) return false;
    }
    return true;
}

/* Orders products by what they multiply: a kind is a dtype, two shapes and the transposes. */
static int compare_kinds(const void *x, const void *y) {
    const node *a = *(node *const *)x, *b = *(node *const *)y;
    int order = a->dtype != b->dtype ? (a->dtype < b->dtype ? -1 : 1) : memcmp(a->ints, b->ints, 2 * sizeof *a->ints);
    for (int k = 0; k < 2 && !order; k++) order = memcmp(a->in[k]->shape, b->in[k]->shape, 2 * sizeof *a->shape);
    return order;
}

static int compare_kinds_then_places(const void *x, const void *y) {
    const node *a = *(node *const *)x, *b = *(node *const *)y;
    int order = compare_kinds(x, y);
    return order ? order : a->place - b->place;
}

/* All products of a kind at once: what one of them alone would not pay for, they share (XYᵀ serves X and Y). */
static bool try_kinds(overlay *o, const products *t, bool *better) {
    int count = 0;
    for (int i = 0; i < t->n; i++)
        if (t->first[i + 1] > t->first[i] && candidate(o, t->sorted[i])) t->tried[count++] = t->sorted[i];
    qsort(t->tried, (size_t)count, sizeof *t->tried, compare_kinds_then_places);
    for (int i = 0, n; i < count; i += n) {
        for (n = 1; i + n < count && !compare_kinds(&t->tried[i], &t->tried[i + n]);) n++;
        if (n > 1 && !try_products(o, t, n, t->tried + i, better)) return false;
    }
    return true;
}

/* Each pass tries every product once, against what the trials before it left; where that finds nothing, all of a kind
 * at once. */
static bool reassociate_all(graph *g, int n_out, node **outs) {
    for (int pass = 0; pass < 8; pass++) {
        products t;
        overlay o;
        if (!products_of(g, n_out, outs, &t) || !overlay_of(g, n_out, outs, t.n, t.sorted, &o)) return false;
        bool better = false;
        for (int i = 0; i < t.n; i++)
            if (!try_products(&o, &t, 1, &t.sorted[i], &better)) return false;
        if (!better && !try_kinds(&o, &t, &better)) return false;
        if (!better) break;
        if (!overlay_apply(&o, n_out, outs)) return false;
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

static node *products_from(graph *g, const terms *t, int first, int count) {
    node **in = graph_alloc(g, sizeof *in * 2 * (size_t)count);
    int64_t *ints = graph_alloc(g, sizeof *ints * 3 * (size_t)count);
    if (!in || !ints) return NULL;
    for (int i = 0; i < count; i++) {
        node *m = t->product[first + i];
        in[2 * i] = m->in[0];
        in[2 * i + 1] = m->in[1];
        ints[3 * i] = m->ints[0];
        ints[3 * i + 1] = m->ints[1];
        memcpy(&ints[3 * i + 2], &t->alpha[first + i], sizeof(double));
    }
    return graph_op(g, &op_matmul_sum, 2 * count, in, 3 * count, ints, 0);
}

/* Of many products, as of a recurrent weight's gradient over time, the sum of sums: what the first ones read is let go
 * before the last are made. Each of them reads several times what it makes, so that memory is won and no time lost. */
static node *products_node(graph *g, const terms *t) {
    enum { MANY = 16, READS = 8 };
    node *sum = NULL;
    for (int first = 0, count; first < t->n_products; first += count) {
        int64_t read = 0;
        for (count = 0; first + count < t->n_products; count++) {
            const node *m = t->product[first + count];
            if (count >= MANY && read >= READS * m->count) break;
            read += m->in[0]->count + m->in[1]->count;
        }
        node *some = products_from(g, t, first, count);
        sum = sum ? g_add(g, sum, some) : some;
    }
    return sum;
}

static bool accumulate_products(graph *g, int n_out, node **outs) {
    int n, count = graph_count(g);
    node **sorted = graph_sorted(g, n_out, outs, &n);
    overlay o;
    if (!sorted || !overlay_of(g, n_out, outs, n, sorted, &o)) return false;
    bool *inside = graph_alloc(g, (size_t)count), found = false;
    terms t = { 0,
                0,
                graph_alloc(g, sizeof(node *) * (size_t)n),
                graph_alloc(g, sizeof(double) * (size_t)n),
                graph_alloc(g, sizeof(double) * (size_t)n),
                graph_alloc(g, sizeof(node *) * (size_t)n) };
    if (!inside || !t.product || !t.alpha || !t.rest || !t.rest_x) return false;
    memset(inside, 0, (size_t)count);
    /* a sum is rooted where an addition or scale is used by something else than one addition or scale */
    for (int k = 0; k < n_out; k++) o.uses[outs[k]->id]++; /* a result is a root though nothing else uses it */
    for (int i = 0; i < n; i++) {
        node *m = sorted[i];
        if (m->op != &op_add && m->op != &op_scale) continue;
        for (int k = 0; k < m->n_in; k++)
            if (o.uses[m->in[k]->id] == 1) inside[m->in[k]->id] = true;
    }
    for (int i = 0; i < n; i++) {
        node *m = sorted[i];
        if ((m->op != &op_add && m->op != &op_scale) || m->ndim != 2 || inside[m->id]) continue;
        t.n_products = t.n_rest = 0;
        collect(m, 1, true, o.uses, &t, 0);
        if (!t.n_products) continue;
        node *sum = products_node(g, &t);
        /* a term that is a result or shared may have become a sum of products itself: scaling what it was would bring
         * its product back beside that sum */
        for (int k = 0; k < t.n_rest; k++) sum = g_add(g, sum, g_scale(g, t.rest_x[k], now(&o, t.rest[k])));
        if (!sum || !overlay_room(&o)) return false;
        o.by[m->id] = sum;
        found = true;
    }
    return !found || overlay_apply(&o, n_out, outs);
}

static bool note(graph *g, int n_out, node *const *outs, const char *name, rewrite *pass) {
    int n;
    node **sorted = graph_sorted(g, n_out, outs, &n);
    if (sorted) *pass = (rewrite){ name, n, sum_flops(sorted, n) };
    return sorted != NULL;
}

bool graph_simplify(graph *g, int n_out, node **outs, rewrite passes[REWRITES]) {
    return note(g, n_out, outs, "needed", &passes[0]) && reassociate_all(g, n_out, outs) &&
           note(g, n_out, outs, "re-associated", &passes[1]) && accumulate_products(g, n_out, outs) &&
           note(g, n_out, outs, "accumulated", &passes[2]);
}
