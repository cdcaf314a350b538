/* schedule.c - the order in which units run, for little memory, and the turns of those that may run at once. */
#include "builder.h"
#include "program.h"

#include <limits.h>
#include <stdlib.h>

/* The unit that makes what is read as a. -1: none does. */
static int unit_of(const builder *b, node *a) {
    return b->group[builder_maker(b, a)->id];
}

typedef struct survey { /* of what units do, each in its turn */
    const builder *b;
    int *next;   /* free memory for lists */
    int *needed; /* by unit: the last that needs it, from 1 */
    int *read;   /* by buffer: 2 + twice the last unit that reads it; 1 more if that only writes it */
    int *last;   /* by buffer: the node of that unit which reads it last; INT_MAX: one does otherwise than as it lies */
} survey;

static void list_needs(survey *y, int u, order_task *t) {
    const unit *at = &y->b->units[u];
    t->before = y->next;
    y->needed[u] = u + 1;
    for (int i = 0; i < at->n; i++)
        for (int k = 0; k < at->nodes[i]->n_in; k++) {
            const int from = unit_of(y->b, at->nodes[i]->in[k]);
            if (from < 0 || y->needed[from] == u + 1) continue;
            y->needed[from] = u + 1;
            t->before[t->n_before++] = from;
        }
    y->next += t->n_before;
}

static void list_reads(survey *y, int u, order_task *t) {
    const builder *b = y->b;
    const unit *at = &b->units[u];
    t->reads = y->next;
    for (int i = 0; i < at->n; i++)
        for (int k = 0; k < at->nodes[i]->n_in; k++) {
            node *a = at->nodes[i]->in[k], *from = under(b, a);
            const int x = b->root[from->id];
            if (x < 0 || unit_of(b, a) == u) continue; /* within the unit */
            if (y->read[x] != 2 * u + 2) {
                y->read[x] = 2 * u + 2;
                t->reads[t->n_reads++] = x;
                y->last[x] = 0;
            }
            if (from != a || b->shift[from->id]) y->last[x] = INT_MAX;
            if (y->last[x] < i) y->last[x] = i;
        }
    y->next += t->n_reads;
}

static void list_writes(survey *y, int u, order_task *t) {
    const unit *at = &y->b->units[u];
    t->writes = y->next;
    for (int i = 0; i < at->n; i++) {
        const int x = made_in(y->b, at->nodes[i]);
        if (x < 0 || y->read[x] >= 2 * u + 2) continue;
        y->read[x] = 2 * u + 3;
        t->writes[t->n_writes++] = x;
    }
    y->next += t->n_writes;
}

/* After its reads and writes. */
static void list_places(survey *y, int u, order_task *t) {
    const builder *b = y->b;
    const unit *at = &b->units[u];
    t->over = y->next;
    for (int i = 0; i < at->n; i++)
        for (int k = 0; k < at->nodes[i]->n_in; k++) {
            if (!writes_over(b, at, at->nodes[i], k)) continue;
            const int to = made_in(b, at->nodes[i]), from = b->root[at->nodes[i]->in[k]->id];
            if (to < 0 || from < 0 || y->read[to] != 2 * u + 3 || y->read[from] != 2 * u + 2) continue;
            if (y->last[from] > i || b->shift[at->nodes[i]->id]) continue;
            const buffer *x = &b->buffers[to], *dies = &b->buffers[from];
            if (x->slot >= 0 || dies->slot >= 0 || x->bytes != dies->bytes) continue;
            t->over[2 * t->n_over] = to;
            t->over[2 * t->n_over++ + 1] = from;
        }
    y->next += 2 * t->n_over;
}

/* What every unit needs, reads and writes, for the order. */
static bool make_tasks(builder *b, order_tasks *all) {
    graph *g = b->g;
    int operands = 0;
    for (int i = 0; i < b->n; i++) operands += b->sorted[i]->n_in;
    survey y = { b, make(g, sizeof(int), 4 * (int64_t)operands + b->n), make(g, sizeof(int), b->n_units),
                 make(g, sizeof(int), b->n_buffers), make(g, sizeof(int), b->n_buffers) };
    *all = (order_tasks){ b->n_units, b->n_buffers, make(g, sizeof *all->tasks, b->n_units),
                          make(g, sizeof *all->bytes, b->n_buffers), make(g, sizeof *all->kept, b->n_buffers) };
    if (graph_failed(g)) return false;
    for (int i = 0; i < b->n_buffers; i++)
        if (b->buffers[i].slot < 0) all->bytes[i] = mem_aligned(b->buffers[i].bytes);
    for (int k = 0; k < b->n_out; k++)
        if (b->root[b->outs[k]->id] >= 0) all->kept[b->root[b->outs[k]->id]] = 1;
    for (int u = 0; u < b->n_units; u++) {
        order_task *t = &all->tasks[u];
        t->lazy = true;
        for (int i = 0; i < b->units[u].n; i++) t->lazy = t->lazy && b->units[u].nodes[i]->late;
        list_needs(&y, u, t);
        list_reads(&y, u, t);
        list_writes(&y, u, t);
        list_places(&y, u, t);
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

/* Bytes of results that the unit writes, in memory that is worked in until then. */
static size_t results_of(const builder *b, const unit *u) {
    size_t bytes = 0;
    for (int i = 0; i < u->n && !b->over; i++) {
        const int x = made_in(b, u->nodes[i]);
        if (x >= 0 && b->buffers[x].slot >= 0) bytes += node_bytes(u->nodes[i]);
    }
    return bytes;
}

typedef struct turns { /* in the making */
    builder *b;
    int *made;      /* by unit: the turn that makes it; INT32_MAX: none yet */
    int *begins;    /* by buffer: the unit that writes to it first */
    double *costs;  /* by unit */
    order_use *use; /* by place, what is in use while units run one by one: without results, ... */
    size_t *results, *all, most; /* ... which take so much, and with them; at once */
} turns;

static bool survey_turns(builder *b, turns *t) {
    graph *g = b->g;
    *t = (turns){ b, make(g, sizeof *t->made, b->n_units), make(g, sizeof *t->begins, b->n_buffers),
                  make(g, sizeof *t->costs, b->n_units), make(g, sizeof *t->use, b->n_order),
                  make(g, sizeof *t->results, b->n_order), make(g, sizeof *t->all, b->n_order), 0 };
    if (graph_failed(g)) return false;
    if (b->n_order) memcpy(t->use, b->use, sizeof *t->use * (size_t)b->n_order);
    for (int u = 0; u < b->n_units; u++) {
        t->made[u] = INT32_MAX;
        t->costs[u] = unit_cost(&b->units[u]);
    }
    size_t results = 0;
    for (int s = 0; s < b->n_order; s++) {
        results += t->results[s] = results_of(b, &b->units[b->order[s]]);
        t->all[s] = t->use[s].live + results;
        if (t->all[s] > t->most) t->most = t->all[s];
    }
    for (int s = b->n_order - 1; s >= 0; s--) {
        const unit *at = &b->units[b->order[s]];
        for (int i = 0; i < at->n; i++) {
            const int x = made_in(b, at->nodes[i]);
            if (x >= 0) t->begins[x] = b->order[s];
        }
    }
    return true;
}

/* Whether all buffers that the unit writes are there or begin with it: parts of a concatenation have one. */
static bool begun(const turns *t, int u) {
    const unit *at = &t->b->units[u];
    for (int i = 0; i < at->n; i++) {
        const int x = made_in(t->b, at->nodes[i]);
        if (x >= 0 && t->begins[x] != u && t->made[t->begins[x]] == INT32_MAX) return false;
    }
    return true;
}

/* Makes what the unit at place k writes live from place s on, unless more memory would then be in use at once than
 * units one by one need. */
static bool begin_early(turns *t, int s, int k) {
    const size_t takes = t->use[k].takes, results = t->results[k];
    for (int i = s; i < k && takes + results; i++)
        if ((takes && t->use[i].live + takes > t->b->most) || t->all[i] + takes + results > t->most) return false;
    for (int i = s; i < k; i++) {
        t->use[i].live += takes;
        t->all[i] += takes + results;
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

/* Whether all that the unit needs is made in turns before the one at hand. */
static bool ready(const turns *t, int u) {
    const unit *at = &t->b->units[u];
    for (int i = 0; i < at->n; i++)
        for (int k = 0; k < at->nodes[i]->n_in; k++) {
            const int from = unit_of(t->b, at->nodes[i]->in[k]);
            if (from >= 0 && from != u && t->made[from] >= t->b->n_turns) return false;
        }
    return true;
}

/* Whether the unit at place k joins the turn of that at place s. */
static bool joins_turn(turns *t, int s, int k) {
    const int u = t->b->order[k];
    const double first = t->costs[t->b->order[s]], own = t->costs[u];
    return own >= THREAD_WORTH && own <= 4 * first && first <= 4 * own && !overwrites(t->b, &t->b->units[u]) &&
           ready(t, u) && begun(t, u) && begin_early(t, s, k);
}

/* Units that are worth a thread and need nothing of each other are brought together into one turn. The turns
 * depend on the graph alone; a turn's units run at once when there are threads, one by one when not. */
bool take_turns(builder *b) {
    enum { AHEAD = 96 };
    turns t;
    int *order = make(b->g, sizeof *order, b->n_order), n = 0;
    b->turn = make(b->g, sizeof *b->turn, b->n_order);
    if (!survey_turns(b, &t)) return false;
    const int most = b->alone ? 1 : PLAN_TOGETHER;
    for (int s = 0; s < b->n_order; s++) {
        if (t.made[b->order[s]] != INT32_MAX) continue;
        const int ahead = t.costs[b->order[s]] >= THREAD_WORTH ? AHEAD : 1;
        for (int k = s, members = 0; k < b->n_order && k < s + ahead && members < most; k++) {
            const int u = b->order[k];
            if (t.made[u] != INT32_MAX || (k != s && !joins_turn(&t, s, k))) continue;
            t.made[u] = b->n_turns;
            order[n] = u;
            b->turn[n++] = b->n_turns;
            members++;
        }
        b->n_turns++;
    }
    b->order = order;
    return true;
}
