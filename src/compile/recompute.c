/* recompute.c - computes cheap values again where they are used late, instead of keeping them while other things need
 * the memory. A copy of a node has the node's bits: only the place and the time of its buffer change. */
#include "builder.h"

#include <limits.h>

enum { DEEPEST = 4, MOST_TAKEN = 8, MOST_COPIES = 400 };

typedef struct value { /* of a node with a buffer of its own, in places of the order */
    node *n;
    int before, after; /* the widest gap between two accesses */
    int last;
    bool by_kernel; /* something else than a pass reads it after the gap */
    bool spent;     /* decided */
} value;

typedef struct recomputing {
    builder *b;
    int *pos;     /* by id: place of its unit */
    int *last;    /* by id: the last place that reads it */
    int *from;    /* by id: copies serve readers at this place and later; INT_MAX: none is made */
    bool *pinned; /* by id: a copy reads it */
    int *own;     /* by buffer: nodes in it */
    value *values;
    int n_values;
    node **image, **late; /* by id: in the new graph */
    node *taken[MOST_TAKEN]; /* by the copy in hand */
    int n_taken;
} recomputing;

static node *maker(const builder *b, node *a) { /* through aliases and absorbed views */
    while (b->group[a->id] < 0 && a->n_in) a = a->in[0];
    return a;
}

static bool in_arena(const recomputing *r, const node *n) {
    const int x = r->b->root[n->id];
    return x >= 0 && r->b->stored[n->id] && r->b->buffers[x].slot < 0 && r->own[x] == 1;
}

static size_t bytes_of(const node *n) {
    return ((size_t)n->count * dtype_size(n->dtype) + 63) / 64 * 64;
}

/* Cheap: what a pass that waits for memory computes in that time. */
static bool cheap(const node *n) {
    static const bool is[VEC_OPS] = {
        [VEC_ABS] = true,     [VEC_ADD] = true,    [VEC_AXPY] = true,        [VEC_MAXIMUM] = true, [VEC_MINIMUM] = true,
        [VEC_MUL] = true,     [VEC_MULADD] = true, [VEC_MULSCALE] = true,    [VEC_MUL3] = true,    [VEC_OFFSET] = true,
        [VEC_RELU] = true,    [VEC_SCALE] = true,  [VEC_RELU_MASK] = true,   [VEC_RELU_SUM] = true, [VEC_SQUARE] = true,
        [VEC_STEP] = true,    [VEC_SUB] = true,    [VEC_SQUARE_RSUB] = true, [VEC_WHERE] = true,   [VEC_SIGN] = true,
        [VEC_TANH_GRAD] = true, [VEC_SIGMOID_GRAD] = true,
    };
    return is_pass(n) && is[n->op->vec] && n->count > 1;
}

static bool survey(recomputing *r) {
    builder *b = r->b;
    graph *g = b->g;
    r->pos = make(g, sizeof(int), b->count);
    r->last = make(g, sizeof(int), b->count);
    r->from = make(g, sizeof(int), b->count);
    r->pinned = make(g, sizeof(bool), b->count);
    r->own = make(g, sizeof(int), b->n_buffers);
    r->values = make(g, sizeof *r->values, b->n);
    int *at = make(g, sizeof(int), b->count), *place = make(g, sizeof(int), b->n_units);
    if (!r->pos || !r->last || !r->from || !r->pinned || !r->own || !r->values || !at || !place) return false;
    for (int s = 0; s < b->n_order; s++) place[b->order[s]] = s;
    for (int i = 0; i < b->n; i++) {
        const node *n = b->sorted[i];
        r->from[n->id] = INT_MAX;
        r->pos[n->id] = r->last[n->id] = b->group[n->id] < 0 ? -1 : place[b->group[n->id]];
        if (b->group[n->id] < 0) continue;
        if (b->stored[n->id] && b->root[n->id] >= 0) r->own[b->root[n->id]]++;
    }
    for (int i = 0; i < b->n; i++) {
        node *n = b->sorted[i];
        at[n->id] = -1;
        if (!cheap(n) || n->late || b->group[n->id] < 0 || !in_arena(r, n)) continue;
        at[n->id] = r->n_values;
        const int here = r->pos[n->id];
        r->values[r->n_values++] = (value){ .n = n, .before = here, .after = here, .last = here };
    }
    for (int k = 0; k < b->n_out; k++) {
        at[maker(b, b->outs[k])->id] = -1;
        r->last[maker(b, b->outs[k])->id] = INT_MAX;
    }
    for (int s = 0; s < b->n_order; s++) { /* accesses in order */
        const unit *u = &b->units[b->order[s]];
        for (int i = 0; i < u->n; i++)
            for (int k = 0; k < u->nodes[i]->n_in; k++) {
                node *a = maker(b, u->nodes[i]->in[k]);
                if (b->group[a->id] < 0) continue;
                if (r->last[a->id] < s) r->last[a->id] = s;
                if (at[a->id] < 0) continue;
                value *v = &r->values[at[a->id]];
                if (s - v->last > v->after - v->before) {
                    v->before = v->last;
                    v->after = s;
                    v->by_kernel = false;
                }
                v->last = s;
                v->by_kernel = v->by_kernel || !is_pass(u->nodes[0]) ||
                               !shape_equal(a->ndim, a->shape, u->nodes[0]->ndim, u->nodes[0]->shape);
            }
    }
    int n = 0;
    for (int i = 0; i < r->n_values; i++) {
        const value *v = &r->values[i];
        if (at[v->n->id] == i && v->after - v->before > 8) r->values[n++] = *v;
    }
    r->n_values = n;
    return true;
}

/* Whether n can be computed again for readers from..last with what is there then, and for how many operations. */
static bool reachable(recomputing *r, node *n, int from, int last, size_t room, int depth, int *ops) {
    if (depth > DEEPEST || r->n_taken == MOST_TAKEN) return false;
    r->taken[r->n_taken++] = n;
    ++*ops;
    for (int k = 0; k < n->n_in; k++) {
        node *a = maker(r->b, n->in[k]);
        if (r->b->group[a->id] < 0) continue; /* an argument or a constant */
        if (r->from[a->id] <= from) continue; /* copied for as late readers already */
        const bool stored = r->b->stored[a->id] && r->b->root[a->id] >= 0;
        const bool there = stored && r->from[a->id] == INT_MAX &&
                           (r->last[a->id] >= last || r->b->buffers[r->b->root[a->id]].slot >= 0);
        if (there) continue;
        if (stored && r->from[a->id] == INT_MAX && (r->last[a->id] >= from || bytes_of(a) * 16 <= room)) continue;
        if (!cheap(a) || a->late || a->count != n->count || r->from[a->id] != INT_MAX) return false;
        if (!reachable(r, a, from, last, room, depth + 1, ops)) return false;
    }
    return true;
}

static void note_copy(recomputing *r, const value *v) {
    order_use *use = r->b->use;
    for (int j = 0; j < r->n_taken; j++) {
        node *n = r->taken[j];
        r->from[n->id] = v->after;
        for (int k = 0; k < n->n_in; k++) {
            node *a = maker(r->b, n->in[k]);
            bool taken = false;
            for (int i = 0; i < r->n_taken; i++) taken = taken || r->taken[i] == a;
            if (taken || r->b->group[a->id] < 0 || r->last[a->id] == INT_MAX) continue;
            r->pinned[a->id] = true;
            if (!in_arena(r, a)) continue;
            for (int s = r->last[a->id] + 1; s <= v->last; s++) use[s].live += bytes_of(a);
            if (r->last[a->id] < v->last) r->last[a->id] = v->last;
        }
    }
    for (int s = v->before + 1; s < v->after; s++) use[s].live -= bytes_of(v->n);
}

/* Picks what to copy, most bytes at the peak for the cost first, until nothing more lowers it. */
static int choose(recomputing *r) {
    const builder *b = r->b;
    int n = 0;
    while (n < MOST_COPIES) {
        int peak = 0, best = -1;
        double gain = 0;
        for (int s = 1; s < b->n_order; s++)
            if (b->use[s].live > b->use[peak].live) peak = s;
        for (int i = 0; i < r->n_values; i++) {
            value *v = &r->values[i];
            int ops = 0;
            if (v->spent || v->before >= peak || v->after <= peak) continue;
            if (r->pinned[v->n->id] || r->from[v->n->id] != INT_MAX) continue;
            r->n_taken = 0;
            if (!reachable(r, v->n, v->after, v->last, bytes_of(v->n), 0, &ops)) continue;
            const double cost = ELEMENT_COST * (double)v->n->count * (0.5 * ops + v->by_kernel);
            if (best >= 0 && (double)bytes_of(v->n) / cost <= gain) continue;
            best = i;
            gain = (double)bytes_of(v->n) / cost;
        }
        if (best < 0) break;
        value *v = &r->values[best];
        int ops = 0;
        r->n_taken = 0;
        reachable(r, v->n, v->after, v->last, bytes_of(v->n), 0, &ops);
        note_copy(r, v);
        v->spent = true;
        n++;
    }
    return n;
}

static node *late_of(recomputing *r, node *a, int at);

/* What a reader at place `at` finds for a: the copy, where it is late. */
static node *operand(recomputing *r, node *a, int at) {
    const node *m = maker(r->b, a);
    return r->from[m->id] <= at ? late_of(r, a, at) : r->image[a->id];
}

/* The copy of a, or a as it is seen of one. */
static node *late_of(recomputing *r, node *a, int at) {
    if (r->late[a->id]) return r->late[a->id];
    node *in[3] = { NULL }, **many = a->n_in <= 3 ? in : make(r->b->g, sizeof *many, a->n_in);
    const node *m = maker(r->b, a);
    for (int k = 0; k < a->n_in && many; k++)
        many[k] = a == m ? operand(r, a->in[k], r->from[a->id]) : operand(r, a->in[k], at);
    return many ? r->late[a->id] = graph_copy(r->b->g, a, many, true) : NULL;
}

static bool rebuild(recomputing *r, node **outs) {
    builder *b = r->b;
    r->image = make(b->g, sizeof *r->image, b->count);
    r->late = make(b->g, sizeof *r->late, b->count);
    if (!r->image || !r->late) return false;
    for (int i = 0; i < b->n; i++) {
        node *n = b->sorted[i], **in = make(b->g, sizeof *in, n->n_in);
        if (!in) return false;
        bool moved = false;
        for (int k = 0; k < n->n_in; k++) {
            in[k] = b->group[n->id] < 0 ? r->image[n->in[k]->id] : operand(r, n->in[k], r->pos[n->id]);
            if (!in[k]) return false;
            moved = moved || in[k] != n->in[k];
        }
        if (!(r->image[n->id] = moved ? graph_copy(b->g, n, in, n->late) : n)) return false;
    }
    for (int k = 0; k < b->n_out; k++) outs[k] = r->image[b->outs[k]->id];
    return true;
}

bool recompute(builder *b, node **outs, int *copies) {
    recomputing r = { .b = b };
    *copies = 0;
    if (!survey(&r)) return false;
    *copies = choose(&r);
    return !*copies || rebuild(&r, outs);
}
