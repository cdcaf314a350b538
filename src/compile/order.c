/* order.c - finds running orders by list scheduling. Several rules make an order each, and the one that needs the
 * least memory is taken: no rule is the best one for gradients, products and brackets alike. */
#include "order.h"

#include <string.h>

typedef struct lists { /* of entry i: at[first[i]..first[i + 1] - 1] */
    int *first, *at;
} lists;

typedef struct scheduler {
    graph *g;
    const order_tasks *all;
    lists after, readers; /* tasks that need a task; tasks that read a buffer */
    int *missing;         /* by task: those it needs that have not run */
    int *unread;          /* by buffer: readers that have not run */
    bool *done, *there;   /* by task; by buffer: it holds something */
    int *shared;          /* by buffer: the task, from 1, that had it share a place */
    int *depth;           /* by task: the longest way to it */
    int *ahead;           /* tasks that may be worth running at once: a stack */
    int n_ahead;
    int *heap; /* ready tasks, the least deep first */
    int n_heap;
    size_t live, most;
    int *order, n;
    order_use *use; /* NULL, or: to be filled */
} scheduler;

static void *zeros(graph *g, size_t size, int n) {
    void *p = graph_alloc(g, size * (size_t)(n > 0 ? n : 1));
    if (p) memset(p, 0, size * (size_t)(n > 0 ? n : 1));
    return p;
}

/* Turns counts, kept one place further, to starts; at is filled by the caller through fill. */
static bool lists_start(graph *g, lists *l, int n) {
    for (int i = 0; i < n; i++) l->first[i + 1] += l->first[i];
    l->at = zeros(g, sizeof *l->at, l->first[n]);
    return l->at != NULL;
}

static bool lists_make(scheduler *s) {
    const order_tasks *all = s->all;
    int *to = zeros(s->g, sizeof *to, all->n + 1), *from = zeros(s->g, sizeof *from, all->n_buffers + 1);
    s->after.first = zeros(s->g, sizeof(int), all->n + 1);
    s->readers.first = zeros(s->g, sizeof(int), all->n_buffers + 1);
    if (!to || !from || !s->after.first || !s->readers.first) return false;
    for (int i = 0; i < all->n; i++) {
        const order_task *t = &all->tasks[i];
        for (int k = 0; k < t->n_before; k++) s->after.first[t->before[k] + 1]++;
        for (int k = 0; k < t->n_reads; k++) s->readers.first[t->reads[k] + 1]++;
    }
    if (!lists_start(s->g, &s->after, all->n) || !lists_start(s->g, &s->readers, all->n_buffers)) return false;
    memcpy(to, s->after.first, sizeof *to * (size_t)(all->n + 1));
    memcpy(from, s->readers.first, sizeof *from * (size_t)(all->n_buffers + 1));
    for (int i = 0; i < all->n; i++) {
        const order_task *t = &all->tasks[i];
        for (int k = 0; k < t->n_before; k++) s->after.at[to[t->before[k]]++] = i;
        for (int k = 0; k < t->n_reads; k++) s->readers.at[from[t->reads[k]]++] = i;
    }
    return true;
}

static void ready(scheduler *s, int task, bool heaped);

static void start(scheduler *s, int *order) {
    s->order = order;
    s->n = s->n_ahead = s->n_heap = 0;
    s->live = s->most = 0;
    for (int i = 0; i < s->all->n; i++) {
        s->missing[i] = s->all->tasks[i].n_before;
        s->done[i] = false;
    }
    for (int i = 0; i < s->all->n_buffers; i++) {
        s->unread[i] = s->readers.first[i + 1] - s->readers.first[i] + s->all->kept[i];
        s->there[i] = false;
        s->shared[i] = 0;
    }
    for (int i = 0; i < s->all->n; i++)
        if (s->all->tasks[i].lazy && !s->all->tasks[i].n_before) ready(s, i, false);
}

/* Bytes that the task takes and gives back if it runs now. */
static void change(const scheduler *s, int task, size_t *takes, size_t *gives) {
    const order_task *t = &s->all->tasks[task];
    *takes = *gives = 0;
    for (int k = 0; k < t->n_writes; k++)
        if (!s->there[t->writes[k]]) *takes += s->all->bytes[t->writes[k]];
    for (int k = 0; k < t->n_reads; k++)
        if (s->unread[t->reads[k]] == 1) *gives += s->all->bytes[t->reads[k]];
}

/* Bytes that the task writes in the places of what it reads last. */
static size_t in_place(scheduler *s, int task) {
    const order_task *t = &s->all->tasks[task];
    size_t bytes = 0;
    for (int k = 0; k < t->n_over; k++) {
        const int to = t->over[2 * k], from = t->over[2 * k + 1];
        if (s->there[to] || s->unread[from] != 1 || s->shared[to] == task + 1 || s->shared[from] == task + 1) continue;
        s->shared[to] = s->shared[from] = task + 1;
        bytes += s->all->bytes[to];
    }
    return bytes;
}

static void heap_add(scheduler *s, int task) {
    int i = s->n_heap++;
    for (; i && s->depth[s->heap[(i - 1) / 2]] > s->depth[task]; i = (i - 1) / 2) s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = task;
}

static int heap_take(scheduler *s) {
    const int top = s->heap[0], last = s->heap[--s->n_heap];
    int i = 0;
    for (int k; (k = 2 * i + 1) < s->n_heap; i = k) {
        if (k + 1 < s->n_heap && s->depth[s->heap[k + 1]] < s->depth[s->heap[k]]) k++;
        if (s->depth[s->heap[k]] >= s->depth[last]) break;
        s->heap[i] = s->heap[k];
    }
    s->heap[i] = last;
    return top;
}

/* The task has all it needs. What a lazy one makes is as good as there. */
static void ready(scheduler *s, int task, bool heaped) {
    if (!s->all->tasks[task].lazy) {
        s->ahead[s->n_ahead++] = task;
        if (heaped) heap_add(s, task);
        return;
    }
    for (int i = s->after.first[task]; i < s->after.first[task + 1]; i++)
        if (--s->missing[s->after.at[i]] == 0) ready(s, s->after.at[i], heaped);
}

static void run(scheduler *s, int task, bool heaped) {
    const order_task *t = &s->all->tasks[task];
    for (int k = 0; k < t->n_before; k++)
        if (!s->done[t->before[k]]) run(s, t->before[k], heaped); /* a lazy one */
    size_t takes, gives;
    change(s, task, &takes, &gives);
    const size_t beside = takes - in_place(s, task);
    if (s->live + beside > s->most) s->most = s->live + beside;
    if (s->use) s->use[s->n] = (order_use){ s->live + beside, takes };
    s->live += takes;
    s->done[task] = true;
    s->order[s->n++] = task;
    for (int k = 0; k < t->n_writes; k++) s->there[t->writes[k]] = true;
    for (int k = 0; k < t->n_reads; k++) {
        const int x = t->reads[k];
        if (--s->unread[x] == 0) s->live -= s->all->bytes[x];
        if (s->unread[x] != 1 || !s->all->bytes[x]) continue;
        for (int i = s->readers.first[x]; i < s->readers.first[x + 1]; i++)
            if (!s->done[s->readers.at[i]] && !s->missing[s->readers.at[i]] && !s->all->tasks[s->readers.at[i]].lazy)
                s->ahead[s->n_ahead++] = s->readers.at[i];
    }
    for (int i = s->after.first[task]; i < s->after.first[task + 1] && !t->lazy; i++)
        if (--s->missing[s->after.at[i]] == 0) ready(s, s->after.at[i], heaped);
}

/* What gives back as much as it takes, or nearly, runs as soon as it can. */
static void run_ahead(scheduler *s, size_t little, bool heaped) {
    while (s->n_ahead) {
        const int task = s->ahead[--s->n_ahead];
        size_t takes, gives;
        if (s->done[task] || s->missing[task]) continue;
        change(s, task, &takes, &gives);
        if (takes <= gives + little) run(s, task, heaped);
    }
}

/* base, but for what runs ahead. eager: what needs the result of a task runs before other tasks begin, the least deep
 * first: derivatives keep step with what they are derivatives of. */
static void schedule(scheduler *s, const int *base, int *order, size_t little, bool eager) {
    start(s, order);
    for (int i = 0; i < s->all->n; i++) {
        if (s->done[base[i]] || s->all->tasks[base[i]].lazy) continue;
        run(s, base[i], eager);
        run_ahead(s, little, eager);
        while (s->n_heap) {
            const int task = heap_take(s);
            if (!s->done[task]) run(s, task, true);
            run_ahead(s, little, true);
        }
    }
}

/* The order as it is. */
static void replay(scheduler *s, const int *order, int *out) {
    start(s, out);
    for (int i = 0; i < s->all->n; i++) {
        run(s, order[i], false);
        s->n_ahead = 0;
    }
}

/* By task, the longest way to it. */
static void depths(scheduler *s, const int *order) {
    for (int i = 0; i < s->all->n; i++)
        for (int k = 0; k < s->all->tasks[order[i]].n_before; k++) {
            const int d = s->depth[s->all->tasks[order[i]].before[k]] + 1;
            if (d > s->depth[order[i]]) s->depth[order[i]] = d;
        }
}

bool order_for_memory(graph *g, const order_tasks *all, int bases, int *const *base, int *order, order_use *use,
                      size_t *most) {
    const int n = all->n;
    scheduler s = { .g = g, .all = all };
    if (!lists_make(&s)) return false;
    s.missing = zeros(g, sizeof(int), n);
    s.unread = zeros(g, sizeof(int), all->n_buffers);
    s.done = zeros(g, sizeof(bool), n);
    s.there = zeros(g, sizeof(bool), all->n_buffers);
    s.shared = zeros(g, sizeof(int), all->n_buffers);
    s.depth = zeros(g, sizeof(int), n);
    s.ahead = zeros(g, sizeof(int), n + all->n_buffers);
    s.heap = zeros(g, sizeof(int), n);
    int *tried = zeros(g, sizeof(int), n), *best = zeros(g, sizeof(int), n);
    if (graph_failed(g)) return false;
    depths(&s, base[0]);
    *most = SIZE_MAX;
    for (int i = 0; i < bases; i++) {
        size_t as_it_is = 0;
        for (int rule = 0; rule < 3; rule++) {
            if (rule)
                schedule(&s, base[i], tried, as_it_is / 1024, rule == 2);
            else
                replay(&s, base[i], tried);
            if (!rule) as_it_is = s.most;
            if (s.most >= *most) continue;
            *most = s.most;
            int *swap = best;
            best = tried;
            tried = swap;
        }
    }
    s.use = use;
    replay(&s, best, order);
    return true;
}
