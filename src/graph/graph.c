/* graph.c - the arena, hash-consing, and substitution. */
#include "graph.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES = 1 << 16, CHUNK_ALIGN = 16 };

typedef struct chunk {
    struct chunk *next;
    size_t bytes, used;
} chunk;

typedef struct held {
    struct held *next;
    tensor value;
} held;

typedef struct depends {
    struct depends *next;
    graph_source *source;
} depends;

struct graph {
    ctx *c;
    depends *depends;
    const graph_basis *basis;
    uint64_t id;
    chunk *chunks;
    held *held; /* constants: references to give back */
    node **table;
    int buckets, count, walks;
    err failure;
};

graph *graph_new(ctx *c, const graph_basis *basis) {
    static _Atomic uint64_t serial; /* identities only: no graph reads another's */
    graph *g = mem_zalloc(c, sizeof *g);
    if (!g) return NULL;
    g->c = c;
    g->basis = basis;
    g->id = atomic_fetch_add(&serial, 1) + 1;
    g->buckets = 256;
    g->table = mem_zalloc(c, sizeof *g->table * (size_t)g->buckets);
    if (!g->table) {
        mem_free(c, g, sizeof *g);
        return NULL;
    }
    ctx_retain(c);
    return g;
}

void graph_free(graph *g) {
    if (!g) return;
    ctx *c = g->c;
    for (depends *d = g->depends; d; d = d->next) source_release(d->source);
    for (held *h = g->held; h; h = h->next) tensor_release(&h->value);
    for (chunk *k = g->chunks, *next; k; k = next) {
        next = k->next;
        mem_free(c, k, k->bytes);
    }
    mem_free(c, g->table, sizeof *g->table * (size_t)g->buckets);
    mem_free(c, g, sizeof *g);
    ctx_release(c);
}

ctx *graph_ctx(graph *g) {
    return g->c;
}
const graph_basis *graph_basis_of(const graph *g) {
    return g->basis;
}
uint64_t graph_id(const graph *g) {
    return g->id;
}
bool graph_failed(const graph *g) {
    return g->failure.status != BK_OK;
}
int graph_count(const graph *g) {
    return g->count;
}

bk_status graph_status(const graph *g, err *e) {
    if (!g->failure.status) return BK_OK;
    return err_set(e, g->failure.status, "%s", g->failure.text);
}

node *graph_fail(graph *g, bk_status status, const char *format, ...) {
    if (g->failure.status) return NULL;
    va_list args;
    va_start(args, format);
    vsnprintf(g->failure.text, sizeof g->failure.text, format, args);
    va_end(args);
    g->failure.status = status;
    return NULL;
}

void *graph_alloc(graph *g, size_t bytes) { /* all that makes graphs and plans passes here, and so is interrupted */
    if (ctx_poll(g->c, NULL)) return graph_fail(g, BK_EINTERRUPTED, "interrupted");
    bytes = (bytes + CHUNK_ALIGN - 1) / CHUNK_ALIGN * CHUNK_ALIGN;
    chunk *k = g->chunks;
    if (!k || k->bytes - k->used < bytes) {
        size_t size = sizeof *k + CHUNK_ALIGN + bytes;
        if (size < CHUNK_BYTES) size = CHUNK_BYTES;
        k = mem_alloc(g->c, size);
        if (!k) return graph_fail(g, BK_ENOMEM, "out of memory: %zu bytes asked for", size);
        *k = (chunk){ g->chunks, size, (sizeof *k + CHUNK_ALIGN - 1) / CHUNK_ALIGN * CHUNK_ALIGN };
        g->chunks = k;
    }
    void *p = (char *)k + k->used;
    k->used += bytes;
    return p;
}

/* ---- what it depends on ---- */

void source_retain(graph_source *s) {
    atomic_fetch_add(&s->refs, 1);
}

void source_release(graph_source *s) {
    if (s && atomic_fetch_sub(&s->refs, 1) == 1) s->free(s);
}

void graph_depends(graph *g, graph_source *s) {
    for (const depends *d = g->depends; d; d = d->next)
        if (d->source == s) return;
    depends *d = graph_alloc(g, sizeof *d);
    if (!d) return;
    *d = (depends){ g->depends, s };
    source_retain(s);
    g->depends = d;
}

graph_source **graph_sources(graph *g, int *n) {
    *n = 0;
    for (const depends *d = g->depends; d; d = d->next) ++*n;
    graph_source **list = *n ? graph_alloc(g, sizeof *list * (size_t)*n) : NULL;
    int i = 0;
    for (const depends *d = g->depends; d && list; d = d->next) list[i++] = d->source;
    if (!list) *n = 0;
    return list;
}

/* ---- hash-consing ---- */

static uint64_t mix(uint64_t h, uint64_t v) {
    h = (h ^ v) * 0x9E3779B97F4A7C15u;
    return h ^ (h >> 29);
}

/* A constant is known by its values, so that those made anew in every trace (a mask, a first state) are one node, and
 * what is computed from them is shared. Borrowed memory, which its host may change, is known by its address. */
static bool by_value(const tensor *t) {
    return !t->store->borrowed && tensor_contiguous(t);
}

static size_t value_bytes(const tensor *t) {
    return (size_t)tensor_count(t) * dtype_size(t->dtype);
}

/* Of some of the elements, the last among them. */
static uint64_t mix_values(uint64_t h, const tensor *t) {
    enum { SAMPLES = 32 };
    const size_t size = dtype_size(t->dtype), n = value_bytes(t) / size, step = n / SAMPLES + 1;
    const char *data = tensor_data(t);
    for (size_t i = 0; i < n; i += step) {
        uint64_t bits = 0;
        memcpy(&bits, data + (n - 1 - i) * size, size);
        h = mix(h, bits);
    }
    return h;
}

static bool same_values(const tensor *a, const tensor *b) {
    if (tensor_data(a) == tensor_data(b)) return true;
    return by_value(a) && by_value(b) && !memcmp(tensor_data(a), tensor_data(b), value_bytes(a));
}

static uint64_t node_hash(const node *n) {
    uint64_t h = mix((uint64_t)(uintptr_t)n->op, n->dtype), bits;
    memcpy(&bits, &n->x, sizeof bits);
    h = mix(h, bits);
    for (int i = 0; i < n->n_in; i++) h = mix(h, (uint64_t)n->in[i]->id);
    for (int i = 0; i < n->n_ints; i++) h = mix(h, (uint64_t)n->ints[i]);
    for (int i = 0; i < n->ndim; i++) h = mix(h, (uint64_t)n->shape[i]);
    if (n->value) h = by_value(n->value) ? mix_values(h, n->value) : mix(h, (uint64_t)(uintptr_t)tensor_data(n->value));
    return h;
}

static bool node_same(const node *a, const node *b) {
    if (a->op != b->op || a->dtype != b->dtype || a->n_in != b->n_in || a->n_ints != b->n_ints) return false;
    if (memcmp(&a->x, &b->x, sizeof a->x) || !shape_equal(a->ndim, a->shape, b->ndim, b->shape)) return false;
    if (a->n_in && memcmp(a->in, b->in, sizeof *a->in * (size_t)a->n_in)) return false;
    if (a->n_ints && memcmp(a->ints, b->ints, sizeof *a->ints * (size_t)a->n_ints)) return false;
    if (!a->value != !b->value) return false;
    return !a->value || (!memcmp(a->value->strides, b->value->strides, sizeof *a->shape * (size_t)a->ndim) &&
                         same_values(a->value, b->value));
}

static bool table_grow(graph *g) {
    int buckets = g->buckets * 4;
    node **table = mem_zalloc(g->c, sizeof *table * (size_t)buckets);
    if (!table) return graph_fail(g, BK_ENOMEM, "out of memory: a table of %d nodes", buckets);
    for (int i = 0; i < g->buckets; i++)
        for (node *n = g->table[i], *next; n; n = next) {
            next = n->chain;
            node **at = &table[node_hash(n) & (uint64_t)(buckets - 1)];
            n->chain = *at;
            *at = n;
        }
    mem_free(g->c, g->table, sizeof *table * (size_t)g->buckets);
    g->table = table;
    g->buckets = buckets;
    return true;
}

/* The stored node equal to the provisional one, made when there is none. unique: never shared. */
static node *node_store(graph *g, const node *probe, bool unique) {
    node *alone = NULL, **at = unique ? &alone : &g->table[node_hash(probe) & (uint64_t)(g->buckets - 1)];
    for (node *n = *at; n; n = n->chain)
        if (node_same(n, probe)) return n;
    if (!unique && g->count >= g->buckets * 2) {
        if (!table_grow(g)) return NULL;
        at = &g->table[node_hash(probe) & (uint64_t)(g->buckets - 1)];
    }
    node *n = graph_alloc(g, sizeof *n);
    node **in = graph_alloc(g, sizeof *in * (size_t)probe->n_in);
    int64_t *ints = graph_alloc(g, sizeof *ints * (size_t)probe->n_ints);
    if (!n || !in || !ints) return NULL;
    *n = *probe;
    if (probe->n_in) memcpy(in, probe->in, sizeof *in * (size_t)probe->n_in);
    if (probe->n_ints) memcpy(ints, probe->ints, sizeof *ints * (size_t)probe->n_ints);
    n->in = in;
    n->ints = ints;
    n->id = g->count++;
    n->place = -1;
    n->chain = *at;
    *at = n;
    return n;
}

node *graph_copy(graph *g, const node *n, node *const *in, bool late) {
    node probe = *n;
    probe.in = (node **)in;
    probe.late = late;
    return node_store(g, &probe, true);
}

/* ---- leaves ---- */

static bool leaf_shape(graph *g, node *n) {
    (void)g, (void)n;
    return true;
}
static node *leaf_vmap(graph *g, node *n, node *const *in, const bool *batched, int64_t size) {
    (void)g, (void)in, (void)batched, (void)size;
    return n;
}

const op_row op_input = {
    .name = "input",
    .arity = 0,
    .kind = OP_LEAF,
    .formula = "an argument of the traced function",
    .shape = leaf_shape,
    .jvp = op_zero_jvp,
    .transpose = op_no_transpose,
    .vmap = leaf_vmap,
};

const op_row op_const = {
    .name = "const",
    .arity = 0,
    .kind = OP_LEAF,
    .formula = "a tensor known when the function is traced",
    .shape = leaf_shape,
    .jvp = op_zero_jvp,
    .transpose = op_no_transpose,
    .vmap = leaf_vmap,
};

static bool probe_shape(graph *g, node *p, bk_dtype dtype, int ndim, const int64_t *shape) {
    int64_t count = shape_count(ndim, shape);
    if (ndim < 0 || ndim > BK_MAX_DIMS || count < 0)
        return graph_fail(g, BK_EINVAL, "not a shape a tensor can have (%d dimensions)", ndim);
    p->dtype = dtype;
    p->ndim = ndim;
    if (ndim) memcpy(p->shape, shape, sizeof *shape * (size_t)ndim);
    p->count = count;
    return true;
}

node *graph_input(graph *g, bk_dtype dtype, int ndim, const int64_t *shape) {
    node probe = { .op = &op_input };
    if (graph_failed(g) || !probe_shape(g, &probe, dtype, ndim, shape)) return NULL;
    return node_store(g, &probe, true);
}

node *graph_const(graph *g, const tensor *value) {
    node probe = { .op = &op_const, .value = value };
    if (graph_failed(g) || !probe_shape(g, &probe, value->dtype, value->ndim, value->shape)) return NULL;
    node *n = node_store(g, &probe, false);
    if (n && n->value == value) { /* new: hold the value */
        held *h = graph_alloc(g, sizeof *h);
        if (!h) return NULL;
        *h = (held){ g->held, *value };
        tensor_retain(value);
        g->held = h;
        n->value = &h->value;
    }
    return n;
}

/* ---- operations ---- */

const char *op_title(const op_row *op) {
    return op->serves ? op->serves : op->name;
}

node *graph_op(graph *g, const op_row *op, int n_in, node *const *in, int n_ints, const int64_t *ints, double x) {
    if (graph_failed(g)) return NULL;
    for (int i = 0; i < n_in; i++)
        if (!in[i]) return graph_fail(g, BK_ERUNTIME, "bk.%s: operand %d is missing", op_title(op), i + 1);
    if (op->arity >= 0 && op->arity != n_in)
        return graph_fail(g, BK_EINVAL, "bk.%s: expected %d operands, got %d", op_title(op), op->arity, n_in);
    node probe = { .op = op, .n_in = n_in, .in = (node **)in, .n_ints = n_ints, .ints = ints, .x = x };
    if (op->kind == OP_ELEMENTWISE)
        for (int i = 1; i < n_in; i++)
            if (in[i]->dtype != in[0]->dtype || !shape_equal(in[i]->ndim, in[i]->shape, in[0]->ndim, in[0]->shape)) {
                shape_buf a, b;
                return graph_fail(g, BK_EINVAL, "bk.%s: operands differ: %s %s and %s %s", op_title(op),
                                  dtype_name(in[0]->dtype), shape_text(in[0]->ndim, in[0]->shape, &a),
                                  dtype_name(in[i]->dtype), shape_text(in[i]->ndim, in[i]->shape, &b));
            }
    if (n_in) {
        probe.dtype = in[0]->dtype;
        probe.ndim = in[0]->ndim;
        memcpy(probe.shape, in[0]->shape, sizeof probe.shape);
    }
    if (op->shape && !op->shape(g, &probe)) return NULL;
    probe.count = shape_count(probe.ndim, probe.shape);
    if (probe.count < 0) {
        shape_buf text;
        return graph_fail(g, BK_EINVAL, "bk.%s: the result's shape %s is impossible", op_title(op),
                          shape_text(probe.ndim, probe.shape, &text));
    }
    if (op->simplify) {
        node *simpler = op->simplify(g, &probe);
        if (simpler || graph_failed(g)) return simpler;
    }
    return node_store(g, &probe, false);
}

node *graph_again(graph *g, node *n, node *const *in) {
    if (n->op->kind == OP_LEAF || graph_failed(g)) return graph_failed(g) ? NULL : n;
    return graph_op(g, n->op, n->n_in, in, n->n_ints, n->ints, n->x);
}

/* ---- walks ---- */

int graph_place(node *const *sorted, int count, const node *n) {
    return n->place >= 0 && n->place < count && sorted[n->place] == n ? n->place : -1;
}

static int by_id(const void *a, const void *b) {
    int x = (*(node *const *)a)->id, y = (*(node *const *)b)->id;
    return (x > y) - (x < y);
}

/* Appends a node met for the first time in this walk. */
static bool walk_add(graph *g, node ***list, int *room, int *found, int mark, node *n) {
    if (n->place == mark) return true;
    if (*found == *room) {
        size_t bytes = sizeof **list * (size_t)*room;
        node **longer = mem_realloc(g->c, *list, bytes, 2 * bytes);
        if (!longer) return graph_fail(g, BK_ENOMEM, "out of memory: %zu bytes asked for", 2 * bytes);
        *list = longer;
        *room *= 2;
    }
    n->place = mark;
    (*list)[(*found)++] = n;
    return true;
}

/* The list in the order of ids. Most of all nodes are put in their places, few are compared. */
static bool sort_nodes(graph *g, int n, node **list) {
    if (n < g->count / 4) {
        qsort(list, (size_t)n, sizeof *list, by_id);
        return true;
    }
    const size_t bytes = sizeof *list * (size_t)g->count;
    node **at = mem_zalloc(g->c, bytes);
    if (!at) return graph_fail(g, BK_ENOMEM, "out of memory: %zu bytes asked for", bytes);
    for (int i = 0; i < n; i++) at[list[i]->id] = list[i];
    for (int i = 0, id = 0; i < n; id++)
        if (at[id]) list[i++] = at[id];
    mem_free(g->c, at, bytes);
    return true;
}

/* The walk costs what it finds, not what the graph holds: transforming a part of a large trace stays cheap. */
node **graph_sorted(graph *g, int n_out, node *const *outs, int *n) {
    int room = 256, found = 0, mark = -1 - ++g->walks; /* below 0: met in this walk */
    *n = 0;
    node **list = mem_alloc(g->c, sizeof *list * (size_t)room), **sorted = NULL;
    bool ok = list || graph_fail(g, BK_ENOMEM, "out of memory: a walk of the graph");
    for (int i = 0; i < n_out && ok; i++) ok = !outs[i] || walk_add(g, &list, &room, &found, mark, outs[i]);
    for (int i = 0; i < found && ok; i++)
        for (int k = 0; k < list[i]->n_in && ok; k++) ok = walk_add(g, &list, &room, &found, mark, list[i]->in[k]);
    if (ok) sorted = graph_alloc(g, sizeof *sorted * (size_t)(found ? found : 1));
    if (sorted) {
        memcpy(sorted, list, sizeof *sorted * (size_t)found);
        if (!sort_nodes(g, found, sorted)) sorted = NULL;
        for (int i = 0; sorted && i < found; i++) sorted[i]->place = i;
        *n = sorted ? found : 0;
    }
    mem_free(g->c, list, sizeof *list * (size_t)room);
    return sorted;
}

bool graph_take(graph *g, graph *from, int n, node **nodes) {
    int count, most = 0;
    node **sorted = graph_sorted(from, n, nodes, &count);
    for (int i = 0; i < count; i++)
        if (sorted[i]->n_in > most) most = sorted[i]->n_in;
    node **image = graph_alloc(g, sizeof *image * (size_t)(count + 1));
    node **in = graph_alloc(g, sizeof *in * (size_t)(most + 1));
    for (int i = 0; i < count && !graph_failed(g); i++) {
        for (int k = 0; k < sorted[i]->n_in; k++) in[k] = image[sorted[i]->in[k]->place];
        image[i] = graph_copy(g, sorted[i], in, sorted[i]->late);
    }
    if (graph_failed(from) || graph_failed(g)) return false;
    for (int i = 0; i < n; i++) nodes[i] = image[nodes[i]->place];
    return true;
}

bool graph_substitute(graph *g, int n_out, node **outs, int n, node *const *from, node *const *to) {
    if (graph_failed(g)) return false;
    int count;
    node **sorted = graph_sorted(g, n_out, outs, &count);
    if (!sorted) return false;
    node **image = graph_alloc(g, sizeof *image * (size_t)(count ? count : 1));
    if (!image) return false;
    memset(image, 0, sizeof *image * (size_t)count);
    for (int i = 0; i < n; i++) {
        int at = graph_place(sorted, count, from[i]);
        if (at >= 0) image[at] = to[i];
    }
    for (int i = 0; i < count; i++) {
        node *m = sorted[i];
        if (image[i]) continue;
        node **in = graph_alloc(g, sizeof *in * (size_t)m->n_in);
        if (!in) return false;
        bool moved = false;
        for (int k = 0; k < m->n_in; k++) {
            in[k] = image[m->in[k]->place];
            moved = moved || in[k] != m->in[k];
        }
        image[i] = moved ? graph_again(g, m, in) : m;
        if (!image[i]) return false;
    }
    for (int i = 0; i < n_out; i++)
        if (outs[i]) outs[i] = image[outs[i]->place];
    return true;
}

int op_shares(int64_t elements) {
    const double shares = ELEMENT_COST / THREAD_WORTH * (double)elements;
    return shares < 1 ? 1 : shares < INT32_MAX ? (int)shares : INT32_MAX;
}

typedef struct fill_job {
    bk_dtype dtype;
    char *out;
    double x;
} fill_job;

static void fill_range(void *arg, int share, int64_t first, int64_t end) {
    (void)share;
    const fill_job *j = arg;
    char *out = j->out + (size_t)first * dtype_size(j->dtype);
    vec_get(VEC_FILL, j->dtype)(end - first, out, NULL, NULL, NULL, j->x);
}

bk_status op_fill(ctx *c, bk_dtype dtype, int64_t n, void *out, double x) {
    fill_job j = { dtype, out, x };
    return ctx_ranges(c, n, 1, (double)n, fill_range, &j);
}
