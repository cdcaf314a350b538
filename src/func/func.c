/* func.c - calling and caching: a function compiles once per signature and replays. */
#include "func.h"
#include "../ops/ops.h"

#include <string.h>

enum { PLANS_KEPT = 16 };

struct plan_entry {
    plan_entry *next;
    size_t bytes;
    plan *p;
    bool over; /* results may lie over arguments */
    int n_in, n_out;
    tensor *in; /* signature: dtype and shape only */
    node *outs; /* dtype and shape of the outputs */
    size_t out_bytes;
    node **out_refs;
    int64_t rows; /* the program gives so many rows of the result, along directions, its last argument; 0: all of it */
    int n_sources; /* what it was traced from, and of which generation */
    graph_source **sources;
    uint64_t *generations;
};

void *func_new(ctx *c, const func_class *cls, size_t bytes, err *e) {
    func *f = mem_zalloc(c, bytes);
    if (!f) {
        err_nomem(e, bytes);
        return NULL;
    }
    f->cls = cls;
    f->c = c;
    f->bytes = bytes;
    atomic_store(&f->refs, 1);
    ctx_retain(c);
    return f;
}

void func_retain(func *f) {
    atomic_fetch_add(&f->refs, 1);
}

static void entry_free(ctx *c, plan_entry *entry) {
    plan_free(entry->p);
    for (int i = 0; i < entry->n_sources; i++) source_release(entry->sources[i]);
    mem_free(c, entry, entry->bytes);
}

void func_release(func *f) {
    if (!f || atomic_fetch_sub(&f->refs, 1) > 1) return;
    ctx *c = f->c;
    for (plan_entry *at = f->plans, *next; at; at = next) {
        next = at->next;
        entry_free(c, at);
    }
    if (f->cls->destroy) f->cls->destroy(f);
    mem_free(c, f, f->bytes);
    ctx_release(c);
}

bool func_build(func *f, graph *g, int n_in, node *const *in, node_list *out) {
    *out = (node_list){ 0, NULL };
    if (graph_failed(g)) return false;
    if (!f->cls->build(f, g, n_in, in, out) || graph_failed(g)) {
        graph_fail(g, BK_ERUNTIME, "%s: tracing failed", f->cls->name);
        return false;
    }
    return true;
}

node *func_build1(func *f, const char *who, graph *g, int n_in, node *const *in) {
    node_list out;
    if (!func_build(f, g, n_in, in, &out)) return NULL;
    if (out.n != 1)
        return graph_fail(g, BK_EINVAL, "%s: expected a function with one result, got %d", who, out.n);
    return out.v[0];
}

/* ---- the cache ---- */

static bool entry_matches(const plan_entry *entry, int n_in, const tensor *like) {
    if (entry->n_in != n_in) return false;
    for (int i = 0; i < n_in; i++)
        if (entry->in[i].dtype != like[i].dtype ||
            !shape_equal(entry->in[i].ndim, entry->in[i].shape, like[i].ndim, like[i].shape))
            return false;
    return true;
}

enum { ROWS_WHOLE = 64 }; /* a result of at most so many rows is computed at once */

/* The program for some rows of a result whose arguments are in: as many as need no more room than the result itself,
 * directions included, so that results of any size cost at most about twice their bytes, and no more than f may take.
 * `of` is made to depend on what it was traced from. */
static bk_status rows_plan(func *f, graph *of, int n_in, const tensor *like, plan **out, int64_t *rows, err *e) {
    const int64_t all = tensor_count(&like[0]);
    const size_t row = (size_t)all * dtype_size(like[0].dtype);
    for (*rows = all / 16;; *rows /= 2) {
        graph *g = ops_graph(f->c);
        if (!g) return err_nomem(e, 0);
        node **in = graph_alloc(g, sizeof *in * (size_t)(n_in + 1)), *y = NULL;
        int64_t shape[BK_MAX_DIMS + 1] = { *rows };
        memcpy(shape + 1, like[0].shape, sizeof *shape * (size_t)like[0].ndim);
        for (int i = 0; in && i < n_in; i++) in[i] = graph_input(g, like[i].dtype, like[i].ndim, like[i].shape);
        const bool fits = like[0].ndim < BK_MAX_DIMS; /* else build_rows says so */
        if (in) in[n_in] = fits ? graph_input(g, like[0].dtype, like[0].ndim + 1, shape) : NULL;
        if (in) y = f->cls->build_rows(f, g, n_in, in, in[n_in]);
        if (!y) graph_fail(g, BK_ERUNTIME, "%s: tracing failed", f->cls->name);
        bk_status s = graph_status(g, e);
        int n_sources = 0;
        graph_source **sources = s ? NULL : graph_sources(g, &n_sources);
        for (int i = 0; i < n_sources; i++) graph_depends(of, sources[i]);
        if (!s) s = graph_status(g, e);
        if (!s) s = plan_new(g, n_in + 1, in, 1, &y, &(plan_options){ .memory = *rows == 1 ? f->memory : 0 }, out, e);
        graph_free(g);
        if (s) return s;
        const plan_stats is = plan_info(*out); /* the rows at a time are part of what the bits depend on */
        const bool small = is.alone_bytes + (size_t)*rows * row <= (size_t)all * row &&
                           (!f->memory || is.arena_bytes <= f->memory);
        if (*rows == 1 || small) return BK_OK;
        plan_free(*out);
        *out = NULL;
    }
}

static node_list twice(graph *g, const node *a) { /* a result of (a's shape, a's shape) */
    int64_t shape[2 * BK_MAX_DIMS];
    memcpy(shape, a->shape, sizeof *shape * (size_t)a->ndim);
    memcpy(shape + a->ndim, a->shape, sizeof *shape * (size_t)a->ndim);
    node_list y = { 1, graph_alloc(g, sizeof *y.v) };
    if (y.v) y.v[0] = graph_input(g, a->dtype, 2 * a->ndim, shape);
    return y;
}

/* An entry that lacks its program, of what g was traced from. */
static bk_status entry_alloc(graph *g, int n_in, const tensor *like, node_list outs, plan_entry **out, err *e) {
    int n_sources = 0;
    graph_source **sources = graph_sources(g, &n_sources);
    if (graph_status(g, e)) return graph_status(g, e);
    const size_t bytes = sizeof **out + sizeof(tensor) * (size_t)n_in +
                         (sizeof(node) + sizeof(node *)) * (size_t)outs.n +
                         (sizeof *sources + sizeof(uint64_t)) * (size_t)n_sources;
    plan_entry *entry = mem_zalloc(graph_ctx(g), bytes);
    if (!entry) return err_nomem(e, bytes);
    entry->bytes = bytes;
    entry->n_in = n_in;
    entry->n_out = outs.n;
    entry->n_sources = n_sources;
    entry->in = (tensor *)(entry + 1); /* behind it, one after the other */
    entry->outs = (node *)(entry->in + n_in);
    entry->out_refs = (node **)(entry->outs + outs.n);
    entry->sources = (graph_source **)(entry->out_refs + outs.n);
    entry->generations = (uint64_t *)(entry->sources + n_sources);
    for (int i = 0; i < n_sources; i++) {
        source_retain(entry->sources[i] = sources[i]);
        entry->generations[i] = sources[i]->generation;
    }
    for (int i = 0; i < n_in; i++) {
        entry->in[i] = like[i];
        entry->in[i].store = NULL;
    }
    for (int i = 0; i < outs.n; i++) {
        const node *o = outs.v[i];
        entry->outs[i] = *o;
        entry->out_refs[i] = &entry->outs[i];
        entry->out_bytes += (size_t)o->count * dtype_size(o->dtype);
    }
    *out = entry;
    return BK_OK;
}

static bk_status entry_new(func *f, int n_in, const tensor *like, bool over, plan_entry **out, err *e) {
    if (n_in > FUNC_ARGUMENTS)
        return err_set(e, BK_EINVAL, "a function takes at most %d tensors, got %d", FUNC_ARGUMENTS, n_in);
    graph *g = ops_graph(f->c);
    if (!g) return err_nomem(e, 0);
    node **in = graph_alloc(g, sizeof *in * (size_t)n_in);
    node_list outs = { 0, NULL };
    plan_entry *entry = NULL;
    plan *p = NULL;
    int64_t rows = 0;
    const bool by_rows = f->cls->build_rows && n_in > 0 && tensor_count(&like[0]) > ROWS_WHOLE;
    bk_status s = by_rows ? rows_plan(f, g, n_in, like, &p, &rows, e) : BK_OK;
    if (in && !s) {
        for (int i = 0; i < n_in; i++) in[i] = graph_input(g, like[i].dtype, like[i].ndim, like[i].shape);
        if (by_rows) outs = twice(g, in[0]);
        else func_build(f, g, n_in, in, &outs);
    }
    if (!s) s = entry_alloc(g, n_in, like, outs, &entry, e);
    const plan_options options = { f->memory, over };
    if (!s && !by_rows) s = plan_new(g, n_in, in, outs.n, outs.v, &options, &p, e);
    graph_free(g);
    if (s) {
        plan_free(p);
        if (entry) entry_free(f->c, entry);
        return s;
    }
    if (f->cls->tells) plan_tells(p, f->cls->name);
    entry->p = p;
    entry->rows = rows;
    entry->over = over;
    *out = entry;
    return BK_OK;
}

/* Whether what entry was traced from is as it was. */
static bool entry_fresh(const plan_entry *entry) {
    for (int i = 0; i < entry->n_sources; i++) {
        graph_source *s = entry->sources[i];
        if ((s->look ? s->look(s) : s->generation) != entry->generations[i]) return false;
    }
    return true;
}

typedef enum which { ANY, APART, OVER } which; /* of a signature's programs: whether results may lie over arguments */

static bk_status func_entry(func *f, int n_in, const tensor *like, which w, plan_entry **out, err *e) {
    int kept = 0;
    for (plan_entry **at = &f->plans; *at; at = &(*at)->next, kept++) {
        plan_entry *entry = *at;
        if (!entry_matches(entry, n_in, like) || (w != ANY && entry->over != (w == OVER))) continue;
        if (!entry_fresh(entry)) {
            *at = entry->next;
            entry_free(f->c, entry);
            break;
        }
        *at = entry->next; /* most recently used first */
        entry->next = f->plans;
        f->plans = entry;
        *out = entry;
        return BK_OK;
    }
    bk_status s = entry_new(f, n_in, like, w == OVER, out, e);
    if (s) return s;
    (*out)->next = f->plans;
    f->plans = *out;
    if (kept >= PLANS_KEPT) {
        plan_entry *last = f->plans;
        while (last->next->next) last = last->next;
        entry_free(f->c, last->next);
        last->next = NULL;
    }
    return BK_OK;
}

bk_status func_plan(func *f, int n_in, const tensor *like, bool over, plan **out, err *e) {
    plan_entry *entry;
    bk_status s = func_entry(f, n_in, like, over ? OVER : APART, &entry, e);
    if (!s) *out = entry->p;
    return s;
}

bk_status func_shape(func *f, int n_in, const tensor *like, bool over, int *n_out, const node *const **outs, err *e) {
    plan_entry *entry;
    bk_status s = func_entry(f, n_in, like, over ? OVER : ANY, &entry, e);
    if (s) return s;
    *n_out = entry->n_out;
    *outs = (const node *const *)entry->out_refs;
    return BK_OK;
}

/* ---- calling ---- */

/* The result some rows at a time, each in its place; the last rows reach back over some that are there already. */
static bk_status call_rows(func *f, const plan_entry *entry, int n_in, const tensor *in, const void **from, char *to,
                           err *e) {
    const int64_t all = tensor_count(&in[0]);
    const size_t row = (size_t)all * dtype_size(in[0].dtype);
    int64_t shape[2] = { entry->rows, all };
    tensor directions;
    bk_status s = tensor_zeros(f->c, in[0].dtype, 2, shape, &directions, e);
    if (s) return s;
    from[n_in] = tensor_data(&directions);
    for (int64_t end = 0, i; end < all && !s; end = i + entry->rows) {
        i = end + entry->rows > all ? all - entry->rows : end;
        void *out = to + (size_t)i * row;
        for (int64_t k = 0; k < entry->rows; k++) tensor_set(&directions, k * all + i + k, 1);
        s = plan_run(entry->p, from, &out, e);
        for (int64_t k = 0; k < entry->rows; k++) tensor_set(&directions, k * all + i + k, 0);
        ctx_tell(f->c, "bk.hessian", s ? all : i + entry->rows, all);
    }
    tensor_release(&directions);
    return s;
}

/* The result o may lie in t: an argument is held besides, and so is what a view or a compiled function shares. */
static bool holds(const tensor *t, const node *o) {
    const storage *s = t->store;
    return s && !s->borrowed && atomic_load(&s->refs) == 1 && t->dtype == o->dtype &&
           shape_equal(t->ndim, t->shape, o->ndim, o->shape) && tensor_contiguous(t);
}

/* taker: NULL, or what result 1 is poured into. */
static bk_status call(func *f, plan_entry *entry, int n_in, const tensor *in, int n_out, tensor *const *out,
                      const plan_taker *taker, err *e) {
    bk_status s = BK_OK;
    if (entry->n_out != n_out)
        s = err_set(e, BK_EINVAL, "%s: expected a function with %d result%s, got %d", f->cls->name, n_out,
                    n_out == 1 ? "" : "s", entry->n_out);
    if (s) {
        for (int i = 0; i < n_out; i++) tensor_release(out[i]);
        return s;
    }
    void *few[8], **to = n_out <= 8 ? few : mem_alloc(f->c, sizeof *to * (size_t)n_out);
    tensor held[FUNC_ARGUMENTS]; /* 10 KiB: cleared as far as they are used */
    const void *from[FUNC_ARGUMENTS + 1];
    for (int i = 0; i < n_in; i++) held[i] = (tensor){ 0 };
    if (!to) s = err_nomem(e, sizeof *to * (size_t)n_out);
    for (int i = 0; i < n_in && !s; i++) {
        s = tensor_contiguous_as(&in[i], in[i].dtype, &held[i], e);
        if (!s) from[i] = tensor_data(&held[i]);
    }
    for (int i = 0; i < n_out && !s; i++) {
        const node *o = &entry->outs[i];
        if (!holds(out[i], o)) {
            tensor_release(out[i]);
            s = tensor_new(f->c, o->dtype, o->ndim, o->shape, out[i], e);
        }
        if (!s) to[i] = tensor_data(out[i]);
    }
    if (!s && entry->rows) s = call_rows(f, entry, n_in, in, from, to[0], e);
    else if (!s && !taker) s = plan_run(entry->p, from, to, e);
    else if (!s && !plan_pour(entry->p, entry->outs)) s = err_nomem(e, 0);
    else if (!s) s = plan_run_poured(entry->p, from, to, taker, e);
    for (int i = 0; i < n_in; i++) tensor_release(&held[i]);
    if (to != few) mem_free(f->c, to, sizeof *to * (size_t)n_out);
    for (int i = 0; i < n_out && s; i++) tensor_release(out[i]);
    return s;
}

bk_status func_call(func *f, int n_in, const tensor *in, int n_out, tensor *const *out, err *e) {
    plan_entry *entry;
    const bk_status s = func_entry(f, n_in, in, APART, &entry, e);
    if (!s) return call(f, entry, n_in, in, n_out, out, NULL, e);
    for (int i = 0; i < n_out; i++) tensor_release(out[i]);
    return s;
}

bk_status func_call_poured(func *f, int n_in, const tensor *in, int n_out, tensor *const *out,
                           const plan_taker *taker, err *e) {
    plan_entry *const entry = f->plans; /* the last asked for */
    const bool fits = entry && entry->over && !entry->rows && entry_matches(entry, n_in, in) && entry->n_out > 1 &&
                      entry->outs[0].ndim == 0 && entry->outs[0].dtype != BK_INT64;
    if (fits) return call(f, entry, n_in, in, n_out, out, taker, e);
    for (int i = 0; i < n_out; i++) tensor_release(out[i]);
    return err_set(e, BK_EINVAL, "%s: expected a function of a number and a result to pour", f->cls->name);
}

size_t func_result_bytes(const func *f) {
    return f->plans ? f->plans->out_bytes : 0;
}

bk_status func_call1(func *f, int n_in, const tensor *in, tensor *out, err *e) {
    *out = (tensor){ 0 };
    return func_call(f, n_in, in, 1, &out, e);
}
