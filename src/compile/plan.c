/* plan.c - lays a graph out as a program. Steps are kernel calls and fused elementwise passes; every buffer has a fixed
 * place: an argument, a result, a constant, or the arena. */
#include "builder.h"
#include "lower.h"
#include "program.h"

#include <math.h>
#include <string.h>

static void drop(plan *p) {
    for (int i = 0; i < p->n_consts; i++) tensor_release(&p->consts[i]);
    graph_free(p->own);
    p->own = NULL;
    p->n_consts = 0;
}

/* What a pass can read where its operand lies: a broadcast, or a slice with gaps of runs that are worth a copy each. */
static bool is_view(const node *n) {
    enum { RUN = 16 };
    size_t shift;
    if (n->op == &op_broadcast_to) return true;
    return n->op == &op_slice && !is_alias(n, &shift) && n->shape[n->ndim - 1] >= RUN;
}

static bool fusable(const node *from, const node *to) {
    return is_pass(from) && is_pass(to) && from->dtype == to->dtype && from->count == to->count;
}

/* n is a sum that is taken as the pass that makes its operand goes by. */
static bool folds(const node *from, const node *n) {
    if (n->op != &op_sum || !is_pass(from) || n->dtype == BK_INT64 || from->dtype != n->dtype) return false;
    const fuse_fold f = fuse_fold_of(n->in[0]->ndim, n->in[0]->shape, n->ints[0]);
    return fuse_fold_pays(&f, from->count);
}

static bool joins(const node *from, const node *to) {
    return fusable(from, to) || folds(from, to);
}

static int find(int *up, int i) {
    while (up[i] != i) i = up[i] = up[up[i]];
    return i;
}

/* Made of single numbers alone, or one of them repeated. */
static bool is_number(const node *n, const bool *number) {
    if (n->count != 1 && n->op != &op_broadcast_to) return false;
    for (int k = 0; k < n->n_in; k++)
        if (!number[n->in[k]->id]) return false;
    return n->n_in || n->count == 1;
}

/* Copies for late readers join these: their level is the highest that their readers allow; of a sum, which is to be
 * taken as its operand is made, that of the operand. */
static void raise_late(builder *b) {
    for (int i = 0; i < b->n; i++)
        if (b->sorted[i]->late) b->cap[b->sorted[i]->id] = INT32_MAX;
    for (int i = b->n - 1; i >= 0; i--) {
        const node *n = b->sorted[i];
        if (n->late && b->cap[n->id] != INT32_MAX && b->cap[n->id] > b->level[n->id]) b->level[n->id] = b->cap[n->id];
        for (int k = 0; k < n->n_in && n->op != &op_reshape; k++) {
            const node *a = reshaped(n->in[k]);
            const int most = b->level[n->id] - (joins(a, n) ? 0 : 1);
            if (a->late && most < b->cap[a->id]) b->cap[a->id] = most;
        }
    }
    for (int i = 0; i < b->n; i++) {
        const node *n = b->sorted[i], *of = n->late && n->op == &op_sum ? reshaped(n->in[0]) : NULL;
        if (of && folds(of, n)) b->level[n->id] = b->level[of->id];
    }
}

/* Units: elementwise nodes of one level, count and connection form a group, with sums of them. A node's level exceeds
 * that of every input it cannot join, so no path leaves a group and comes back. What is made of single numbers comes
 * before all else: a rate or a correction does not part the pass that uses it late. */
static bool make_units(builder *b) {
    enum { NUMBERS = -(1 << 24) };
    graph *g = b->g;
    int *up = make(g, sizeof *up, b->count);
    bool *number = make(g, sizeof *number, b->count);
    if (!up || !number) return false;
    for (int i = 0; i < b->count; i++) up[i] = i;
    for (int i = 0; i < b->n; i++) {
        node *n = b->sorted[i];
        number[n->id] = is_number(n, number);
        int level = number[n->id] ? NUMBERS : 0;
        for (int k = 0; k < n->n_in; k++) {
            node *a = reshaped(n->in[k]);
            int l = b->level[a->id] + (joins(a, n) ? 0 : 1);
            if (l > level) level = l;
        }
        b->level[n->id] = level;
    }
    raise_late(b);
    for (int i = 0; i < b->n; i++) {
        const node *n = b->sorted[i];
        for (int k = 0; k < n->n_in; k++) {
            const node *a = reshaped(n->in[k]);
            if (joins(a, n) && b->level[a->id] == b->level[n->id]) up[find(up, a->id)] = find(up, n->id);
        }
    }
    int *size = make(g, sizeof *size, b->count);
    b->units = make(g, sizeof *b->units, b->n);
    if (!size || !b->units) return false;
    for (int i = 0; i < b->count; i++) b->group[i] = -1;
    for (int i = 0; i < b->n; i++) size[find(up, b->sorted[i]->id)]++;
    for (int i = 0; i < b->n; i++) {
        node *n = b->sorted[i];
        size_t shift;
        if (n->op->kind == OP_LEAF || n->op == &op_full || is_alias(n, &shift) || b->absorbed[n->id]) continue;
        int root = find(up, n->id);
        int at = b->group[root];
        if (at < 0) {
            at = b->n_units++;
            b->group[root] = at;
            b->units[at].nodes = make(g, sizeof(node *), size[root]);
            if (!b->units[at].nodes) return false;
        }
        b->units[at].nodes[b->units[at].n++] = n;
        b->group[n->id] = at;
    }
    return true;
}

/* ---- steps ---- */

static int place_pointer(builder *b, int slot, size_t offset) {
    plan *p = b->p;
    for (int i = p->n_places - 1; i >= 0 && i > p->n_places - 64; i--)
        if (p->places[i].slot == slot && p->places[i].offset == offset) return i;
    p->places[p->n_places] = (place){ slot, offset };
    return p->n_places++;
}

static int node_pointer_at(builder *b, const node *n, int64_t element) {
    const buffer *x = &b->buffers[b->root[n->id]];
    return place_pointer(b, x->slot, x->offset + b->shift[n->id] + (size_t)element * dtype_size(n->dtype));
}
static int node_pointer(builder *b, const node *n) {
    return node_pointer_at(b, n, 0);
}

/* A kernel sees its node and its inputs' shapes after the graph is gone. */
static node *keep_node(graph *own, const node *n, bool deep) {
    node *copy = graph_alloc(own, sizeof *copy);
    int64_t *ints = make(own, sizeof *ints, n->n_ints);
    node **in = make(own, sizeof *in, n->n_in);
    if (!copy || !ints || !in) return NULL;
    *copy = *n;
    if (n->n_ints) memcpy(ints, n->ints, sizeof *ints * (size_t)n->n_ints);
    copy->ints = ints;
    copy->in = in;
    copy->value = NULL;
    copy->chain = NULL;
    for (int i = 0; deep && i < n->n_in; i++)
        if (!(in[i] = keep_node(own, n->in[i], false))) return NULL;
    return copy;
}

typedef struct temps {
    int *of;   /* by id: temp + 1 */
    int *last; /* by id: place in the group of the last use */
    int *free, n_free, n;
} temps;

static int temp_take(temps *t) {
    return t->n_free ? t->free[--t->n_free] : t->n++;
}

/* A temp of one number throughout: x, or what lies at the pointer, if that is not negative. */
static fuse_source fill_source(fuse_pass *pass, temps *t, double x, int pointer) {
    for (int i = 0; i < pass->n_fills; i++)
        if (pass->fills[i].pointer == pointer && memcmp(&pass->fills[i].x, &x, sizeof x) == 0)
            return (fuse_source){ SOURCE_TEMP, pass->fills[i].temp };
    const int at = pass->n_fills++;
    pass->fills[at].temp = t->n++;
    pass->fills[at].pointer = pointer;
    pass->fills[at].x = x;
    return (fuse_source){ SOURCE_TEMP, pass->fills[at].temp };
}

/* a is an absorbed broadcast or slice. */
static fuse_source view_source(builder *b, fuse_pass *pass, temps *t, const node *n, const node *a) {
    const node *from = a->in[0];
    int64_t strides[BK_MAX_DIMS], start = 0;
    shape_strides(from->ndim, from->shape, strides);
    for (int i = 0; a->op == &op_slice && i < a->ndim; i++) start += a->ints[i] * strides[i];
    fuse_view v = { .ndim = n->ndim, .pointer = node_pointer_at(b, from, start) };
    for (int i = 0; i < n->ndim; i++) {
        int j = i - (n->ndim - from->ndim);
        v.shape[i] = n->shape[i];
        v.strides[i] = j < 0 || (a->op == &op_broadcast_to && from->shape[j] == 1) ? 0 : strides[j];
    }
    v.ndim = shape_collapse(v.ndim, v.shape, v.strides);
    if (v.ndim == 1 && v.strides[0] == 1) return (fuse_source){ SOURCE_MEMORY, v.pointer };
    if (v.ndim == 1 && v.strides[0] == 0) return fill_source(pass, t, 0, v.pointer);
    for (int i = 0; i < pass->n_views; i++) {
        const fuse_view *w = &pass->views[i];
        if (w->pointer == v.pointer && shape_equal(w->ndim, w->shape, v.ndim, v.shape) &&
            shape_equal(w->ndim, w->strides, v.ndim, v.strides))
            return (fuse_source){ SOURCE_TEMP, w->temp };
    }
    v.temp = t->n++;
    pass->views[pass->n_views++] = v;
    return (fuse_source){ SOURCE_TEMP, v.temp };
}

static fuse_source pass_source(builder *b, fuse_pass *pass, temps *t, int unit_at, const node *n, node *a) {
    const node *from = under(b, a);
    if (from->op == &op_full) return fill_source(pass, t, from->x, -1);
    if (from != a) return view_source(b, pass, t, n, a);
    from = reshaped(a);
    if (b->group[from->id] == unit_at && !b->stored[from->id])
        return (fuse_source){ SOURCE_TEMP, t->of[from->id] - 1 };
    return (fuse_source){ SOURCE_MEMORY, node_pointer(b, a) };
}

static fuse_pass *make_pass(builder *b, int unit_at) {
    graph *own = b->p->own;
    unit *u = &b->units[unit_at];
    fuse_pass *pass = make(own, sizeof *pass, 1);
    /* what other passes left in the shared tables is not read: of and last of this unit's operands are set first */
    temps t = { b->temp_of, b->temp_last, make(b->g, sizeof(int), u->n + 1), 0, 0 };
    if (!pass || !t.free) return NULL;
    pass->dtype = u->nodes[0]->dtype;
    pass->count = u->nodes[0]->count;
    pass->ops = make(own, sizeof *pass->ops, u->n);
    int copied = 0; /* operands that become a view or a fill, at most */
    for (int i = 0; i < u->n; i++)
        for (int k = 0; k < u->nodes[i]->n_in; k++) {
            node *a = u->nodes[i]->in[k];
            t.last[reshaped(a)->id] = i;
            copied += a->op == &op_full || b->absorbed[a->id];
        }
    pass->views = make(own, sizeof *pass->views, copied);
    pass->fills = make(own, sizeof *pass->fills, copied);
    pass->folds = make(own, sizeof *pass->folds, u->n);
    if (!pass->ops || !pass->views || !pass->fills || !pass->folds) return NULL;
    for (int i = 0; i < u->n; i++) {
        node *n = u->nodes[i];
        fuse_op *op = &pass->ops[pass->n_ops++];
        op->fn = is_pass(n) ? vec_get(n->op->vec, n->dtype) : NULL;
        op->x = n->x;
        op->slow = is_pass(n) && fuse_is_slow(n->op->vec);
        if (!is_pass(n)) {
            fuse_fold *f = &pass->folds[op->fold = pass->n_folds++];
            *f = fuse_fold_of(n->in[0]->ndim, n->in[0]->shape, n->ints[0]);
            f->pointer = node_pointer(b, n);
        } else if (!op->fn) {
            graph_fail(b->g, BK_EUNSUPPORTED, "bk.%s: not defined for %s", op_title(n->op), dtype_name(n->dtype));
            return NULL;
        }
        for (int k = 0; k < n->n_in; k++) op->in[k] = pass_source(b, pass, &t, unit_at, n, n->in[k]);
        for (int k = 0; k < n->n_in; k++) { /* the result may take a dying operand's temp */
            const node *a = reshaped(n->in[k]);
            bool again = false;
            for (int j = 0; j < k; j++) again = again || reshaped(n->in[j]) == a;
            if (!again && b->group[a->id] == unit_at && !b->stored[a->id] && t.last[a->id] == i)
                t.free[t.n_free++] = t.of[a->id] - 1;
        }
        if (b->stored[n->id])
            op->out = (fuse_source){ SOURCE_MEMORY, node_pointer(b, n) };
        else {
            op->out = (fuse_source){ SOURCE_TEMP, temp_take(&t) };
            t.of[n->id] = op->out.at + 1;
        }
    }
    pass->n_temps = t.n;
    fuse_join(pass);
    fuse_set_block(pass);
    return pass;
}

static bool kernel_step(builder *b, const node *n, step *x) {
    graph *own = b->p->own;
    x->n = keep_node(own, n, true);
    x->in = make(own, sizeof *x->in, n->n_in);
    if (n->n_in > FEW_OPERANDS) x->many = make(own, sizeof *x->many, n->n_in);
    if (!x->n || !x->in || graph_failed(own)) return false;
    x->n_in = n->n_in;
    for (int k = 0; k < n->n_in; k++) x->in[k] = node_pointer(b, n->in[k]);
    x->out = node_pointer(b, n);
    if (b->room[n->id]) {
        const buffer *room = &b->buffers[b->room[n->id]];
        x->room_rows = rows_beside(n);
        x->room = place_pointer(b, room->slot, room->offset);
    }
    x->flops = node_flops(n);
    x->shared = n->op->shared;
    x->scratch = n->op->scratch ? n->op->scratch(n, 1) : 0;
    return true;
}

static bool pass_step(builder *b, int unit_at, step *x) {
    x->pass = make_pass(b, unit_at);
    if (!x->pass) return false;
    x->shared = true;
    x->scratch = fuse_scratch(x->pass, 1);
    return true;
}

/* Results that are not made where the caller wants them. */
static bool copy_steps(builder *b) {
    plan *p = b->p;
    for (int k = 0; k < b->n_out; k++) {
        const node *n = b->outs[k];
        const int slot = 1 + p->n_consts + b->n_in + k;
        const buffer *from = &b->buffers[b->root[n->id]];
        if (n->count == 0 || (from->slot == slot && from->offset + b->shift[n->id] == 0)) continue;
        step *x = &p->steps[p->n_steps++];
        x->in = make(p->own, sizeof *x->in, 1);
        if (!x->in) return false;
        x->together = 1;
        x->n_in = 1;
        x->in[0] = node_pointer(b, n);
        x->out = place_pointer(b, slot, 0);
        x->copy_bytes = node_bytes(n);
    }
    return true;
}

static bool make_steps(builder *b) {
    plan *p = b->p;
    graph *own = p->own;
    int operands = b->n_out * 2 + 2;
    for (int i = 0; i < b->n; i++) operands += b->sorted[i]->n_in + 2;
    p->places = make(own, sizeof *p->places, operands);
    p->pointers = make(own, sizeof *p->pointers, operands);
    p->bases = make(own, sizeof *p->bases, 1 + p->n_consts + b->n_in + b->n_out);
    p->steps = make(own, sizeof *p->steps, b->n_order + b->n_out);
    if (!p->places || !p->pointers || !p->bases || !p->steps) return false;
    step *lead = NULL; /* of the turn */
    int turn = -1;
    size_t taken = 0; /* scratch, by the turn's steps so far */
    for (int s = 0; s < b->n_order; s++) {
        const int at = b->order[s];
        const node *n = b->units[at].nodes[0];
        if (n->count == 0) continue;
        step *x = &p->steps[p->n_steps++];
        if (!(is_pass(n) ? pass_step(b, at, x) : kernel_step(b, n, x))) return false;
        x->cost = unit_cost(&b->units[at]);
        if (b->turn[s] != turn) {
            turn = b->turn[s];
            lead = x;
            taken = 0;
        }
        lead->together++;
        x->scratch_at = taken;
        taken += mem_aligned(x->scratch);
    }
    return copy_steps(b);
}

/* ---- the whole ---- */

/* Units, their buffers and their order. */
static bool arrange(builder *b) {
    graph *g = b->g;
    b->sorted = graph_sorted(g, b->n_out, b->outs, &b->n);
    b->count = graph_count(g);
    b->level = make(g, sizeof *b->level, b->count);
    b->cap = make(g, sizeof *b->cap, b->count);
    b->group = make(g, sizeof *b->group, b->count);
    b->stored = make(g, sizeof *b->stored, b->count);
    b->root = make(g, sizeof *b->root, b->count);
    b->shift = make(g, sizeof *b->shift, b->count);
    b->absorbed = make(g, sizeof *b->absorbed, b->count);
    b->room = make(g, sizeof *b->room, b->count);
    b->temp_of = make(g, sizeof *b->temp_of, b->count);
    b->temp_last = make(g, sizeof *b->temp_last, b->count);
    if (graph_failed(g)) return false;
    /* a broadcast or slice is read through strides by elementwise users; others need it laid out */
    for (int i = 0; i < b->n; i++) b->absorbed[b->sorted[i]->id] = is_view(b->sorted[i]);
    for (int i = 0; i < b->n; i++)
        for (int k = 0; k < b->sorted[i]->n_in; k++) {
            node *a = b->sorted[i]->in[k];
            if (!is_pass(b->sorted[i])) b->absorbed[a->id] = false;
        }
    for (int k = 0; k < b->n_out; k++) b->absorbed[b->outs[k]->id] = false;
    if (!make_units(b)) return false;
    for (int i = 0; i < b->n; i++) {
        node *n = b->sorted[i];
        if (b->group[n->id] >= 0 && !is_pass(n)) b->stored[n->id] = true;
        for (int k = 0; k < n->n_in && n->op != &op_reshape; k++) {
            node *a = n->in[k];
            if (a->op == &op_full && is_pass(n)) continue;
            if (b->absorbed[a->id]) {
                if (a->in[0]->op != &op_full) b->stored[reshaped(a->in[0])->id] = true;
                continue;
            }
            a = reshaped(a);
            if (b->group[a->id] != b->group[n->id] || b->group[n->id] < 0) b->stored[a->id] = true;
        }
    }
    for (int k = 0; k < b->n_out; k++) b->stored[reshaped(b->outs[k])->id] = true;
    return place_nodes(b) && order_units(b);
}

/* Back to the results alone. */
static bool forget(builder *b) {
    plan *p = b->p;
    drop(p);
    p->own = ops_graph(p->c);
    p->n_places = p->n_steps = 0;
    *b = (builder){ .g = b->g, .p = p, .n_in = b->n_in, .n_out = b->n_out, .inputs = b->inputs, .outs = b->outs,
                    .rank = b->rank, .alone = b->alone, .over = b->over, .by_rows = b->by_rows };
    return p->own || graph_fail(b->g, BK_ENOMEM, "out of memory: a plan");
}

static bool arrange_anew(builder *b, node **outs) {
    if (!forget(b)) return false;
    b->outs = outs;
    return arrange(b);
}

static bool lay_out(builder *b) {
    if (!take_turns(b)) return false;
    lifetimes(b);
    write_in_place(b);
    return place_buffers(b) && make_steps(b);
}

static size_t bytes_needed(const plan *p, int threads) {
    return p->arena_bytes + plan_scratch(p, threads);
}

enum { WORTH = 1 << 12 }; /* bytes that are worth planning again */

/* Of a plan that is laid out: whether a product that could be written over an operand, by rows, is a large part of what
 * it works in. */
static bool may_write_by_rows(builder *b) {
    enum { PART = 16 };
    bool may = false;
    b->by_rows = true;
    for (int i = 0; i < b->n_units && b->p->arena_bytes >= WORTH && !may; i++) {
        const node *n = b->units[i].nodes[0];
        for (int k = 0; k < n->n_in && !is_pass(n) && !may; k++)
            may = node_bytes(n) * PART >= b->p->arena_bytes && writes_over(b, &b->units[i], n, k);
    }
    b->by_rows = false;
    return may;
}

/* Plans with copies, units turn by turn or one after the other, until one needs no more than `goal` or than `memory`:
 * as few copies as do; for 0 all that lower what is in use at once. *least: of all that were laid out. False after the
 * graph has failed, or where none does: the plan is none then. */
static bool search(builder *b, node **as_built, size_t goal, size_t memory, size_t *least) {
    enum { ROUNDS = 4 };
    for (int way = 0; way < 2; way++) {
        size_t before = SIZE_MAX;
        b->alone = way;
        b->rank = NULL;
        if (!arrange_anew(b, as_built) || !lay_out(b)) return false;
        for (int round = 0; round < ROUNDS; round++) {
            const size_t needs = bytes_needed(b->p, ctx_threads(b->p->c));
            if (needs < *least) *least = needs;
            if (needs <= goal || needs <= memory) return true;
            if (needs >= before) break;
            before = needs;
            const size_t most = b->most;
            int copies = 0;
            node **outs = make(b->g, sizeof *outs, b->n_out);
            if (!outs || !arrange_anew(b, b->outs)) return false;
            const size_t aim = goal + most <= needs ? 0 : goal + most - needs;
            if (!recompute(b, true, aim, INFINITY, outs, &copies)) return false;
            if (!copies) break;
            if (!arrange_anew(b, outs) || !lay_out(b)) return false;
        }
    }
    return false;
}

/* Of a plan that is laid out: another one, with products over their operands and copies, until it fits into memory.
 * Asked for all it can, a search may end above what it finds when asked for less: so what lies below is tried by
 * halves. That does not depend on memory, and what is said to be the least can be had. */
static bool fit(builder *b, size_t memory) {
    enum { HALVINGS = 3, FAR = 4 };
    node **const as_built = b->outs;
    if (bytes_needed(b->p, ctx_threads(b->p->c)) <= memory) return true;
    if (!b->by_rows && may_write_by_rows(b)) {
        b->by_rows = true;
        if (!arrange_anew(b, as_built) || !lay_out(b)) return false;
    }
    size_t least = SIZE_MAX, unsaid = SIZE_MAX;
    bool found = search(b, as_built, memory, memory, &unsaid) || search(b, as_built, 0, memory, &least);
    size_t low = least - least / FAR, high = least;
    for (int i = 0; i < HALVINGS && !found && !graph_failed(b->g); i++) {
        const size_t between = low + (high - low) / 2;
        const bool fits = search(b, as_built, between, memory, &least);
        if (fits) high = between;
        else low = between;
        found = fits && bytes_needed(b->p, ctx_threads(b->p->c)) <= memory;
    }
    if (graph_failed(b->g)) return false;
    if (found) return true;
    graph_fail(b->g, BK_EINVAL,
               "bk.compile: memory: expected at least %zu bytes for arguments of these shapes, got %zu", least, memory);
    return false;
}

/* The plan as it is, and b's without it: another one is built. */
static plan set_aside(builder *b) {
    const plan before = *b->p;
    b->p->own = NULL;
    b->p->n_consts = 0;
    return before;
}

/* Keeps the other one, or goes back. */
static void settle(builder *b, bool keep, const builder *as_built, plan *before) {
    if (keep) {
        drop(before);
        return;
    }
    drop(b->p);
    *b->p = *before;
    *b = *as_built;
}

/* With copies for late readers if less memory is then in use at once, else as it was. much: it is worth another try. */
static bool with_copies(builder *b, bool any, double part, bool *much) {
    enum { MUCH = 64 };
    const builder as_built = *b;
    node **outs = make(b->g, sizeof *outs, b->n_out);
    int copies = 0;
    *much = false;
    if (!outs || !recompute(b, any, 0, part, outs, &copies)) return false;
    if (!copies) return true;
    plan before = set_aside(b);
    const bool ok = arrange_anew(b, outs), less = ok && b->most < as_built.most;
    *much = less && b->most < as_built.most - as_built.most / MUCH;
    b->rank = NULL;
    settle(b, less || !ok, &as_built, &before);
    return ok;
}

/* Of a plan that is arranged: copies of what is cheap, and of copies; then, in a program that is worth it, of anything.
 */
static bool copy_and_lay_out(builder *b) {
    enum { ROUNDS = 4, WORTH_ANY = 80 << 20 };
    bool much = b->most >= WORTH;
    for (int i = 0; i < ROUNDS && much; i++)
        if (!with_copies(b, false, 1. / 20, &much)) return false;
    if (b->most >= WORTH_ANY && !with_copies(b, true, 1. / 100, &much)) return false;
    return lay_out(b);
}

/* With products that are written over their operands if that saves much, else as it was: a program in which one packs
 * its other operand twice takes 1 to 5 % longer, the most where L3 is far and by two threads. The choice is that of one
 * thread: a program's size, by which rows of a Hessian are chosen, is then the same for any number. */
static bool with_rows(builder *b, node **outs) {
    enum { PART = 6, LEAST = 1 << 20 };
    const size_t all = bytes_needed(b->p, 1);
    size_t results = 0;
    for (int k = 0; k < b->n_out; k++) results += node_bytes(outs[k]);
    const builder as_built = *b;
    plan before = set_aside(b);
    b->by_rows = true;
    const bool ok = arrange_anew(b, outs) && copy_and_lay_out(b);
    const size_t saved = ok && bytes_needed(b->p, 1) < all ? all - bytes_needed(b->p, 1) : 0;
    const bool less = saved >= LEAST && saved >= (all + results) / PART;
    settle(b, less || !ok, &as_built, &before);
    return ok;
}

static bool build(builder *b, size_t memory) {
    node **outs = b->outs;
    if (!arrange(b) || !copy_and_lay_out(b)) return false;
    if (may_write_by_rows(b) && !with_rows(b, outs)) return false;
    return !memory || fit(b, memory);
}

/* Moves what is needed to a graph of its own: tables by id are then as long as what is planned, not what was traced. */
static bool take_over(builder *b, graph *from) {
    const int ends = b->n_out + b->n_in;
    graph *g = ops_graph(b->p->c);
    if (!g) return graph_fail(from, BK_ENOMEM, "out of memory: a graph");
    b->g = g;
    node **end = make(g, sizeof *end, ends);
    if (!end) return false;
    if (b->n_out) memcpy(end, b->outs, sizeof *end * (size_t)b->n_out);
    if (b->n_in) memcpy(end + b->n_out, b->inputs, sizeof *end * (size_t)b->n_in);
    b->outs = end;
    b->inputs = end + b->n_out;
    return graph_take(g, from, ends, end);
}

static bool compile(builder *b, node *const *outs, size_t memory) {
    graph *g = b->g;
    plan *p = b->p;
    b->outs = make(g, sizeof *outs, b->n_out);
    if (!b->outs) return false;
    memcpy(b->outs, outs, sizeof *outs * (size_t)b->n_out);
    p->stats.nodes_built = graph_count(g);
    if (!op_rank_order(g, b->n_out, b->outs) || !graph_simplify(g, b->n_out, b->outs, p->stats.passes)) return false;
    if (!graph_lower(g, b->n_out, b->outs) || !take_over(b, g) || !build(b, memory)) return false;
    p->stats.passes[REWRITES] = (rewrite){ "lowered", b->n, 0 };
    for (int i = 0; i < p->n_steps; i++) p->stats.passes[REWRITES].flops += p->steps[i].flops;
    p->stats.steps = p->n_steps;
    return true;
}

/* Memory for the runs, and the pointers into it and into constants. */
static bk_status make_ready(plan *p, err *e) {
    if (p->arena_bytes && !(p->arena = mem_block_alloc(p->c, p->arena_bytes))) return err_nomem(e, p->arena_bytes);
    p->scratch_bytes = plan_scratch(p, p->threads = ctx_threads(p->c));
    p->stats.alone_bytes = p->arena_bytes + plan_scratch(p, 1);
    p->bases[SLOT_ARENA] = p->arena;
    for (int i = 0; i < p->n_consts; i++) p->bases[1 + i] = tensor_data(&p->consts[i]);
    for (int i = 0; i < p->n_places; i++)
        if (p->places[i].slot <= p->n_consts) p->pointers[i] = p->bases[p->places[i].slot] + p->places[i].offset;
    return BK_OK;
}

bk_status plan_new(graph *g, int n_in, node *const *inputs, int n_out, node *const *outs, const plan_options *options,
                   plan **out, err *e) {
    *out = NULL;
    if (graph_status(g, e)) return graph_status(g, e);
    ctx *c = graph_ctx(g);
    plan *p = mem_zalloc(c, sizeof *p);
    if (!p) return err_nomem(e, sizeof *p);
    p->c = c;
    ctx_retain(c);
    p->own = ops_graph(c);
    if (!p->own) {
        plan_free(p);
        return err_nomem(e, 0);
    }
    p->n_in = n_in;
    p->n_out = n_out;
    builder b = { .g = g, .p = p, .n_in = n_in, .n_out = n_out, .inputs = inputs, .over = options && options->over };
    const bool ok = compile(&b, outs, options ? options->memory : 0);
    bk_status s = graph_status(g, e);
    if (!s) s = graph_status(b.g, e);
    if (b.g != g) graph_free(b.g);
    if (!s && p->own) s = graph_status(p->own, e);
    if (!s && !ok) s = err_set(e, BK_ERUNTIME, "plan: internal failure");
    if (!s) s = make_ready(p, e);
    if (s) {
        plan_free(p);
        return s;
    }
    *out = p;
    return BK_OK;
}

void plan_free(plan *p) {
    if (!p) return;
    ctx *c = p->c;
    drop(p);
    if (p->arena) mem_block_free(c, p->arena, p->arena_bytes);
    mem_free(c, p, sizeof *p);
    ctx_release(c);
}
