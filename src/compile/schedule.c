/* schedule.c - the order in which units run, for little memory, and the turns of those that may run at once. */
#include "builder.h"
#include "program.h"

#include <limits.h>
#include <stdlib.h>

/* The unit that makes what is read as a. -1: none does. */
static int unit_of(const builder *b, node *a) {
    return b->group[builder_maker(b, a)->id];
}

/* What every unit needs, reads and writes, for the order. */
static bool make_tasks(builder *b, order_tasks *all) {
    graph *g = b->g;
    int operands = 0;
    for (int i = 0; i < b->n; i++) operands += b->sorted[i]->n_in;
    int *seen = make(g, sizeof *seen, b->n_units), *read = make(g, sizeof *read, b->n_buffers);
    int *last = make(g, sizeof *last, b->n_buffers); /* the node of the unit in hand that reads it last */
    int *room = make(g, sizeof *room, 4 * (int64_t)operands + b->n);
    *all = (order_tasks){ b->n_units, b->n_buffers, make(g, sizeof *all->tasks, b->n_units),
                          make(g, sizeof *all->bytes, b->n_buffers), make(g, sizeof *all->kept, b->n_buffers) };
    if (!seen || !read || !last || !room || !all->tasks || !all->bytes || !all->kept) return false;
    for (int i = 0; i < b->n_buffers; i++)
        if (b->buffers[i].slot < 0) all->bytes[i] = mem_aligned(b->buffers[i].bytes);
    for (int k = 0; k < b->n_out; k++)
        if (b->root[b->outs[k]->id] >= 0) all->kept[b->root[b->outs[k]->id]] = 1;
    for (int u = 0; u < b->n_units; u++) { /* entries of seen and read: the unit that was there last, from 1 */
        const unit *at = &b->units[u];
        order_task *t = &all->tasks[u];
        t->lazy = true;
        for (int i = 0; i < at->n; i++) t->lazy = t->lazy && at->nodes[i]->late;
        t->before = room;
        seen[u] = u + 1;
        for (int i = 0; i < at->n; i++)
            for (int k = 0; k < at->nodes[i]->n_in; k++) {
                const int from = unit_of(b, at->nodes[i]->in[k]);
                if (from < 0 || seen[from] == u + 1) continue;
                seen[from] = u + 1;
                t->before[t->n_before++] = from;
            }
        t->reads = room += t->n_before;
        for (int i = 0; i < at->n; i++)
            for (int k = 0; k < at->nodes[i]->n_in; k++) {
                node *a = at->nodes[i]->in[k], *from = under(b, a);
                const int x = b->root[from->id];
                if (x < 0 || unit_of(b, a) == u) continue; /* within the unit */
                if (read[x] != 2 * u + 2) {
                    read[x] = 2 * u + 2;
                    t->reads[t->n_reads++] = x;
                    last[x] = 0;
                }
                if (from != a || b->shift[from->id]) last[x] = INT_MAX; /* otherwise than as it lies */
                if (last[x] < i) last[x] = i;
            }
        t->writes = room += t->n_reads;
        for (int i = 0; i < at->n; i++) {
            const int x = made_in(b, at->nodes[i]);
            if (x < 0 || read[x] >= 2 * u + 2) continue;
            read[x] = 2 * u + 3;
            t->writes[t->n_writes++] = x;
        }
        t->over = room += t->n_writes;
        for (int i = 0; i < at->n; i++)
            for (int k = 0; k < at->nodes[i]->n_in; k++) {
                if (!writes_over(b, at, at->nodes[i], k)) continue;
                const int x = made_in(b, at->nodes[i]), y = b->root[at->nodes[i]->in[k]->id];
                if (x < 0 || y < 0 || read[x] != 2 * u + 3 || read[y] != 2 * u + 2 || last[y] > i) continue;
                if (b->shift[at->nodes[i]->id] || b->buffers[x].slot >= 0 || b->buffers[y].slot >= 0) continue;
                if (b->buffers[x].bytes != b->buffers[y].bytes) continue;
                t->over[2 * t->n_over] = x;
                t->over[2 * t->n_over++ + 1] = y;
            }
        room += 2 * t->n_over;
    }
    return true;
}

typedef struct ranked { /* a unit that is asked for, and how soon */
    int rank, unit;
} ranked;

static int by_rank(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    return x->rank != y->rank ? (x->rank > y->rank) - (x->rank < y->rank) : (x->unit > y->unit) - (x->unit < y->unit);
}

/* Units in an order in which every input is ready: depth first from those wanted, one after the other, so that what is
 * made is used soon. An explicit stack: traced loops can be deep. */
static int *depth_first(builder *b, const order_tasks *all, int n, const ranked *wanted) {
    int depth = 0, n_order = 0;
    int *stack = make(b->g, sizeof *stack, b->n_units + 1), *next = make(b->g, sizeof *next, b->n_units);
    int *order = make(b->g, sizeof *order, b->n_units);
    bool *open = make(b->g, sizeof *open, b->n_units);
    if (!stack || !next || !order || !open) return NULL;
    for (int k = 0; k < n; k++) {
        if (open[wanted[k].unit]) continue;
        open[wanted[k].unit] = true;
        stack[depth++] = wanted[k].unit;
        while (depth) {
            const order_task *at = &all->tasks[stack[depth - 1]];
            int *m = &next[stack[depth - 1]];
            if (*m == at->n_before) {
                order[n_order++] = stack[--depth];
                continue;
            }
            const int v = at->before[(*m)++];
            if (open[v]) continue;
            open[v] = true;
            stack[depth++] = v;
        }
    }
    b->n_order = n_order;
    return order;
}

static bool reads(const order_task *t, int x) {
    for (int k = 0; k < t->n_reads; k++)
        if (t->reads[k] == x) return true;
    return false;
}

/* Whether all that the unit needs comes before the place. */
static bool ready_at(const order_task *t, const int *places, int at) {
    for (int k = 0; k < t->n_before; k++)
        if (places[t->before[k]] >= at) return false;
    return true;
}

/* Who reads what a product may be written over comes before it, if it can. */
static bool readers_first(builder *b, const order_tasks *all, int *order) {
    int *places = make(b->g, sizeof *places, b->n_units);
    if (!places) return false;
    for (int s = 0; s < b->n_order; s++) places[order[s]] = s;
    for (int s = 0; s < b->n_order; s++) {
        const order_task *t = &all->tasks[order[s]];
        if (is_pass(b->units[order[s]].nodes[0]) || !t->n_over) continue;
        for (int k = s + 1; k < b->n_order; k++) {
            const int u = order[k];
            if (!reads(&all->tasks[u], t->over[1]) || !ready_at(&all->tasks[u], places, s)) continue;
            memmove(order + s + 1, order + s, sizeof *order * (size_t)(k - s));
            order[s] = u;
            for (int i = s; i <= k; i++) places[order[i]] = i;
            s++;
        }
    }
    return true;
}

/* From the results down; and, where there is a rank, by it. */
bool order_units(builder *b) {
    order_tasks all;
    int n = 0, bases = 0, *base[2];
    bool *is_out = make(b->g, sizeof *is_out, b->count);
    ranked *wanted = make(b->g, sizeof *wanted, b->n);
    b->order = make(b->g, sizeof *b->order, b->n_units);
    b->use = make(b->g, sizeof *b->use, b->n_units);
    if (!is_out || !wanted || !b->order || !b->use || !make_tasks(b, &all)) return false;
    for (int k = 0; k < b->n_out; k++) is_out[b->outs[k]->id] = true;
    for (int k = 0; k < b->n; k++)
        if (is_out[b->sorted[k]->id] && unit_of(b, b->sorted[k]) >= 0) wanted[n++].unit = unit_of(b, b->sorted[k]);
    if (!(base[bases++] = depth_first(b, &all, n, wanted))) return false;
    n = 0;
    for (int u = 0; u < b->n_units && b->rank; u++) {
        ranked x = { -1, u };
        for (int i = 0; i < b->units[u].n; i++) {
            const int rank = b->rank[b->units[u].nodes[i]->id];
            if (rank > x.rank) x.rank = rank;
        }
        if (x.rank >= 0) wanted[n++] = x;
    }
    if (n) qsort(wanted, (size_t)n, sizeof *wanted, by_rank);
    if (n && !(base[bases++] = depth_first(b, &all, n, wanted))) return false;
    for (int i = 0; i < bases && b->by_rows; i++)
        if (!readers_first(b, &all, base[i])) return false;
    return order_for_memory(b->g, &all, bases, base, b->order, b->use, &b->most);
}

/* What a unit costs, in floating-point operations or their like: those of products, and ELEMENT_COST for every element
 * that an operation writes, or that a kernel which is no product reads, where it reads more (a sum). */
double unit_cost(const unit *u) {
    const node *only = u->nodes[0];
    if (only->op == &op_concat) return 0; /* its parts are mostly made in their place */
    double cost = node_flops(only);
    int64_t most = 0;
    for (int k = 0; k < only->n_in && u->n == 1 && cost == 0; k++)
        if (only->in[k]->count > most) most = only->in[k]->count;
    for (int i = 0; i < u->n; i++) {
        const int64_t writes = u->nodes[i]->count;
        cost += ELEMENT_COST * (double)(writes > most ? writes : most);
    }
    return cost;
}

/* Whether all buffers that the unit writes are there or begin with it: parts of a concatenation have one. */
static bool begun(const builder *b, const unit *u, int at, const int *begins, const int *made) {
    for (int i = 0; i < u->n; i++) {
        const int x = made_in(b, u->nodes[i]);
        if (x >= 0 && begins[x] != at && made[begins[x]] == INT32_MAX) return false;
    }
    return true;
}

/* Bytes of results that the unit writes, in memory that is worked in until then. */
static size_t results_of(const builder *b, const unit *u) {
    size_t bytes = 0;
    for (int i = 0; i < u->n && !b->over; i++) {
        const int x = made_in(b, u->nodes[i]);
        if (x >= 0 && b->buffers[x].slot >= 0) bytes += node_bytes(u->nodes[i]);
    }
    return bytes;
}

typedef struct crowd { /* by place, what is in use while units run one by one: without results, and with them */
    order_use *use;
    size_t *results, *all, most;
} crowd;

/* Makes what the unit at place k writes live from place s on, unless more memory would then be in use at once than
 * units one by one need. */
static bool begin_early(const builder *b, crowd *c, int s, int k) {
    const size_t takes = c->use[k].takes, results = c->results[k];
    for (int i = s; i < k && takes + results; i++)
        if ((takes && c->use[i].live + takes > b->most) || c->all[i] + takes + results > c->most) return false;
    for (int i = s; i < k; i++) {
        c->use[i].live += takes;
        c->all[i] += takes + results;
    }
    return true;
}

/* It may be written over an operand if nobody reads that beside it. */
static bool overwrites(const builder *b, const unit *u) {
    const node *n = u->nodes[0];
    for (int k = 0; k < n->n_in && !is_pass(n); k++)
        if (writes_over(b, u, n, k)) return true;
    return false;
}

/* Units that are worth a thread and need nothing of each other are brought together into one turn. The turns
 * depend on the graph alone; a turn's units run at once when there are threads, one by one when not. */
bool take_turns(builder *b) {
    enum { AHEAD = 96 };
    int *made = make(b->g, sizeof *made, b->n_units), *order = make(b->g, sizeof *order, b->n_order);
    double *costs = make(b->g, sizeof *costs, b->n_units);
    crowd c = { make(b->g, sizeof *c.use, b->n_order), make(b->g, sizeof *c.results, b->n_order),
                make(b->g, sizeof *c.all, b->n_order), 0 };
    int *begins = make(b->g, sizeof *begins, b->n_buffers); /* the unit that writes to it first */
    b->turn = make(b->g, sizeof *b->turn, b->n_order);
    if (!made || !order || !costs || !c.use || !c.results || !c.all || !begins || !b->turn) return false;
    if (b->n_order) memcpy(c.use, b->use, sizeof *c.use * (size_t)b->n_order);
    const int most = b->alone ? 1 : PLAN_TOGETHER;
    size_t results = 0;
    for (int i = 0; i < b->n_units; i++) {
        made[i] = INT32_MAX; /* the turn that makes it */
        costs[i] = unit_cost(&b->units[i]);
    }
    for (int s = 0; s < b->n_order; s++) {
        results += c.results[s] = results_of(b, &b->units[b->order[s]]);
        c.all[s] = c.use[s].live + results;
        if (c.all[s] > c.most) c.most = c.all[s];
    }
    for (int s = b->n_order - 1; s >= 0; s--) {
        const unit *at = &b->units[b->order[s]];
        for (int i = 0; i < at->n; i++) {
            const int x = made_in(b, at->nodes[i]);
            if (x >= 0) begins[x] = b->order[s];
        }
    }
    int n = 0;
    for (int s = 0; s < b->n_order; s++) {
        int first = b->order[s], members = 0;
        if (made[first] != INT32_MAX) continue;
        double cost = costs[first];
        int ahead = cost >= THREAD_WORTH ? AHEAD : 1;
        for (int k = s; k < b->n_order && k < s + ahead && members < most; k++) {
            int u = b->order[k];
            const unit *at = &b->units[u];
            if (made[u] != INT32_MAX) continue;
            double own = costs[u];
            bool ready = k == s || (own >= THREAD_WORTH && own <= 4 * cost && cost <= 4 * own && !overwrites(b, at));
            for (int i = 0; i < at->n && ready && k != s; i++)
                for (int m = 0; m < at->nodes[i]->n_in && ready; m++) {
                    node *a = at->nodes[i]->in[m];
                    int from = unit_of(b, a);
                    ready = from < 0 || from == u || made[from] < b->n_turns;
                }
            if (!ready || (k != s && !(begun(b, at, u, begins, made) && begin_early(b, &c, s, k)))) continue;
            made[u] = b->n_turns;
            order[n] = u;
            b->turn[n++] = b->n_turns;
            members++;
        }
        b->n_turns++;
    }
    b->order = order;
    return true;
}
