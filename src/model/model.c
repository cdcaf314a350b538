/* model.c - the list of layers: what lies where in theta and the buffers, whether the sizes fit, and the outputs as
 * nodes. A layer made of layers holds models; theirs is the recursion. */
#include "model.h"
#include <stdio.h>
#include <string.h>

/* ---- making one ---- */

/* In `out`, which has room for LAYER_MAX_BLOCKS; -1: more are counted than were described. */
static int own_blocks(const layer *l, bool buffers, model_block *out) {
    int (*list)(const layer *, model_block *) = buffers ? l->row->buffers : l->row->blocks;
    for (int i = 0; i < LAYER_MAX_BLOCKS; i++) out[i].name = NULL;
    const int n = list ? list(l, out) : 0;
    if (n > LAYER_MAX_BLOCKS || (n > 0 && !out[n - 1].name)) return -1;
    return n;
}

static int inner_count(const model *m, bool buffers) {
    return !m ? 0 : buffers ? m->n_buffer_blocks : m->n_blocks;
}

static int count_blocks(int n, const layer *layers, bool buffers) {
    model_block own[LAYER_MAX_BLOCKS];
    int count = 0;
    for (int i = 0; i < n; i++) {
        const int k = own_blocks(&layers[i], buffers, own);
        count += (k < 0 ? 0 : k) + inner_count(layers[i].inner, buffers) + inner_count(layers[i].beside, buffers);
    }
    return count;
}

/* Appends b as a block of layer i, at the end of what there is; between: what stands before its path there. */
static bk_status append(const char *who, model_block *to, const model_block *b, int i, const char *between,
                        int64_t *total, err *e) {
    *to = *b;
    if (b->size < 0 || b->size > ((int64_t)1 << 40))
        return err_set(e, BK_EINVAL, "%s: layer %d (%s) has too many parameters", who, i + 1, layer_name(b->of));
    const char *dot = *b->path ? "." : "";
    int n = snprintf(to->path, sizeof to->path, "%d%s%s%s", i + 1, between, dot, b->path);
    if (n < 0 || (size_t)n >= sizeof to->path)
        return err_set(e, BK_EINVAL, "%s: layer %d: layers are nested too deep", who, i + 1);
    to->layer = i;
    to->offset = *total;
    *total += b->size;
    return BK_OK;
}

static bk_status list_blocks(model *m, const char *who, bool buffers, err *e) {
    model_block own[LAYER_MAX_BLOCKS], *next = buffers ? m->buffer_blocks : m->blocks;
    int64_t *total = buffers ? &m->n_buffers : &m->n_params;
    bk_status st = BK_OK;
    for (int i = 0; i < m->n_layers && !st; i++) {
        const layer *l = &m->layers[i];
        int k = own_blocks(l, buffers, own);
        if (k < 0)
            return err_set(e, BK_ERUNTIME, "%s: layer %d (%s): %s returns more than it describes", who, i + 1,
                           layer_name(l), buffers ? ".buffers" : ".blocks");
        for (int j = 0; j < k && !st; j++) {
            own[j].of = l;
            own[j].path[0] = 0;
            st = append(who, next++, &own[j], i, "", total, e);
        }
        const model *in[] = { l->inner, l->beside };
        for (int s = 0; s < 2; s++)
            for (int j = 0; in[s] && j < inner_count(in[s], buffers) && !st; j++)
                st = append(who, next++, buffers ? &in[s]->buffer_blocks[j] : &in[s]->blocks[j], i,
                            s ? ".shortcut" : "", total, e);
    }
    return st;
}

/* "(?, 5)" */
static const char *known_text(const layer_shape *x, char *buf, size_t bytes) {
    int n = snprintf(buf, bytes, x->ndim < 0 ? "(..., " : "(");
    for (int i = 0; i < (x->ndim < 0 ? 1 : x->ndim) && n > 0 && (size_t)n < bytes; i++) {
        int64_t size = x->ndim < 0 ? x->last : x->size[i];
        n += size < 0 ? snprintf(buf + n, bytes - (size_t)n, "%s?", i ? ", " : "")
                      : snprintf(buf + n, bytes - (size_t)n, "%s%lld", i ? ", " : "", (long long)size);
    }
    if (n > 0 && (size_t)n < bytes) snprintf(buf + n, bytes - (size_t)n, ")");
    return buf;
}

static const layer_shape UNKNOWN = { .ndim = -1, .last = -1, .dtype = BK_FLOAT64 };

static bool layer_fits(const model *m, const char *who, int i, const layer_shape *x, layer_shape *y, err *e);

static bool list_fits(const model *m, const char *who, const layer_shape *x, layer_shape *y, err *e) {
    layer_shape in = *x;
    for (int i = 0; i < m->n_layers; i++, in = *y)
        if (!layer_fits(m, who, i, &in, y, e)) return false;
    return true;
}

/* Whether a residual layer's two sides, y and what goes around it, can have one shape. */
static bool sum_fits(const layer *l, const char *where, const layer_shape *x, layer_shape *y, err *e) {
    layer_shape around = *x, again;
    char a[120], b[120];
    if (l->beside && !list_fits(l->beside, where, x, &around, e)) return false;
    bool same = y->ndim < 0 || around.ndim < 0 || y->ndim == around.ndim;
    for (int d = 1; same && d <= y->ndim && d <= around.ndim; d++)
        same = y->size[y->ndim - d] < 0 || shape_may(&around, -d, y->size[y->ndim - d]);
    int64_t last = y->ndim < 0 ? y->last : y->ndim > 0 ? y->size[y->ndim - 1] : -1;
    if (same && last >= 0) same = shape_may(&around, -1, last);
    if (same && !l->beside && x->ndim < 0 && y->dtype == x->dtype) { /* then x has y's shape, and they take that */
        err wrong = { 0 };
        same = list_fits(l->inner, where, y, &again, &wrong);
        if (!same) return err_set(e, BK_EINVAL, "%s, which is what its layers make", wrong.text), false;
    }
    if (same) return true;
    err_set(e, BK_EINVAL, "%s: its layers make %s, to be added to %s; a shortcut can make up for that", where,
            known_text(y, a, sizeof a), known_text(&around, b, sizeof b));
    return false;
}

/* Whether the layer takes x; false: said in e. y: its result's shape, unknown where it cannot be told. */
static bool layer_fits(const model *m, const char *who, int i, const layer_shape *x, layer_shape *y, err *e) {
    const layer *l = &m->layers[i];
    char expects[120], got[120];
    *y = UNKNOWN;
    if (l->row->accepts && !l->row->accepts(l, x)) {
        l->row->expects(l, expects, sizeof expects);
        err_set(e, BK_EINVAL, "%s: layer %d (%s): expected an input of %s, got %s%s", who, i + 1, layer_name(l),
                expects, known_text(x, got, sizeof got), x->dtype == BK_INT64 ? " int64" : "");
        return false;
    }
    if (l->row->activation) return layer_same(l, x, y);
    if (l->inner) {
        char where[96];
        snprintf(where, sizeof where, "%s: layer %d (%s)", who, i + 1, layer_name(l));
        if (!list_fits(l->inner, where, x, y, e)) return false;
        return l->row != layer_row_residual || sum_fits(l, where, x, y, e);
    }
    layer_shape out;
    if (l->row->result && l->row->result(l, x, &out)) *y = out;
    return true;
}

static bool layer_takes_ids(const layer *l) {
    return l->row->takes_ids || (l->inner && model_takes_ids(l->inner));
}

bool model_takes_ids(const model *m) {
    return layer_takes_ids(&m->layers[0]);
}

static bool layer_modal(const layer *l) {
    return l->row->build_in || (l->inner && l->inner->modal) || (l->beside && l->beside->modal);
}

bk_status model_new(ctx *c, const char *who, int n, const layer *layers, const layer_shape *input, model **out,
                    err *e) {
    *out = NULL;
    if (n < 1) return err_set(e, BK_EINVAL, "%s: expected at least one layer", who);
    model *m = mem_zalloc(c, sizeof *m);
    if (!m) return err_nomem(e, sizeof *m);
    m->c = c;
    atomic_init(&m->refs, 1);
    m->n_layers = n;
    ctx_retain(c);
    m->n_blocks = count_blocks(n, layers, false);
    m->n_buffer_blocks = count_blocks(n, layers, true);
    size_t layer_bytes = (size_t)n * sizeof *layers, block_bytes = (size_t)m->n_blocks * sizeof *m->blocks,
           buffer_bytes = (size_t)m->n_buffer_blocks * sizeof *m->blocks;
    m->layers = mem_alloc(c, layer_bytes);
    m->blocks = mem_zalloc(c, block_bytes);
    m->buffer_blocks = mem_zalloc(c, buffer_bytes);
    if (m->layers) {
        memcpy(m->layers, layers, layer_bytes);
        for (int i = 0; i < n; i++) layer_retain(&layers[i]);
    }
    bk_status st = BK_OK;
    if (!m->layers || !m->blocks || !m->buffer_blocks) st = err_nomem(e, layer_bytes + block_bytes + buffer_bytes);
    if (!st) st = list_blocks(m, who, false, e);
    if (!st) st = list_blocks(m, who, true, e);
    layer_shape x = input ? *input : UNKNOWN, y;
    if (!st && !input && model_takes_ids(m)) x.dtype = BK_INT64;
    for (int i = 0; i < n; i++) m->modal = m->modal || layer_modal(&layers[i]);
    if (!st && !list_fits(m, who, &x, &y, e)) st = e->status;
    if (st) {
        model_release(m);
        return st;
    }
    *out = m;
    return BK_OK;
}

void model_retain(model *m) {
    atomic_fetch_add(&m->refs, 1);
}

void model_release(model *m) {
    if (!m || atomic_fetch_sub(&m->refs, 1) != 1) return;
    ctx *c = m->c;
    for (int i = 0; m->layers && i < m->n_layers; i++) layer_release(&m->layers[i]);
    mem_free(c, m->layers, (size_t)m->n_layers * sizeof *m->layers);
    mem_free(c, m->blocks, (size_t)m->n_blocks * sizeof *m->blocks);
    mem_free(c, m->buffer_blocks, (size_t)m->n_buffer_blocks * sizeof *m->blocks);
    mem_free(c, m, sizeof *m);
    ctx_release(c);
}

/* ---- its outputs ---- */

model_mode *model_mode_set(model *m, model_mode *mode) {
    model_mode *before = m->mode;
    m->mode = mode;
    return before;
}

/* A pass through all layers, however deep. */
typedef struct pass {
    layer_run run;
    node *theta, **buffers; /* a node a buffer block, replaced in training */
    int64_t layers;         /* so far */
} pass;

enum { DRAWS_A_LAYER = 1 << 8, DRAWS_A_PASS = 1 << 24 };

static node *build_layers(const model *m, pass *p, int64_t at, int buffers, const char *where, node *x);

static node *build_inner(const layer *l, pass *p, int64_t at, int buffers, const char *where, node *x) {
    node *y = build_layers(l->inner, p, at, buffers, where, x);
    if (l->row != layer_row_residual || !y) return y;
    node *z = !l->beside
                  ? x
                  : build_layers(l->beside, p, at + l->inner->n_params, buffers + l->inner->n_buffer_blocks, where, x);
    if (!z) return NULL;
    shape_buf a, b;
    if (!shape_equal(y->ndim, y->shape, z->ndim, z->shape))
        return graph_fail(p->run.g, BK_EINVAL,
                          "%s: its layers make %s, to be added to %s; a shortcut can make up for that", where,
                          shape_text(y->ndim, y->shape, &a), shape_text(z->ndim, z->shape, &b));
    return g_add(p->run.g, z, y);
}

static node *build_layers(const model *m, pass *p, int64_t at, int buffers, const char *where, node *x) {
    graph *g = p->run.g;
    for (int i = 0, next = 0, buffer = 0; i < m->n_layers; i++) {
        const layer *l = &m->layers[i];
        node *params[LAYER_MAX_BLOCKS] = { NULL };
        const int first = next, first_buffer = buffer;
        while (next < m->n_blocks && m->blocks[next].layer == i) next++;
        while (buffer < m->n_buffer_blocks && m->buffer_blocks[buffer].layer == i) buffer++;
        char here[160];
        snprintf(here, sizeof here, "%s: layer %d (%s)", where, i + 1, layer_name(l));
        layer_shape given = { .ndim = x->ndim, .dtype = x->dtype };
        memcpy(given.size, x->shape, sizeof *x->shape * (size_t)x->ndim);
        if (l->row->accepts && !l->row->accepts(l, &given)) {
            char expects[120];
            shape_buf sb;
            l->row->expects(l, expects, sizeof expects);
            const char *got = shape_text(x->ndim, x->shape, &sb);
            const char *type = x->dtype == p->theta->dtype ? "" : dtype_name(x->dtype);
            if (i == 0 && where == p->run.who)
                return graph_fail(g, BK_EINVAL, "%s: x: expected %s, got %s%s%s", where, expects, got, *type ? " " : "",
                                  type);
            return graph_fail(g, BK_EINVAL, "%s: expected an input of %s, got %s", here, expects, got);
        }
        if (x->dtype != p->theta->dtype && !layer_takes_ids(l)) x = g_cast(g, x, p->theta->dtype);
        if (!x) return NULL;
        p->run.at = l;
        p->run.place += DRAWS_A_LAYER;
        if (l->inner) {
            x = build_inner(l, p, at + (first < m->n_blocks ? m->blocks[first].offset : 0), buffers + first_buffer,
                            here, x);
        } else {
            for (int k = first; k < next; k++) {
                const model_block *b = &m->blocks[k];
                params[k - first] = g_reshape(g, g_narrow(g, p->theta, 0, at + b->offset, b->size), b->ndim, b->shape);
            }
            x = l->row->activation ? l->row->activation(g, x)
                : l->row->build    ? l->row->build(l, g, params, x)
                                   : l->row->build_in(l, &p->run, params, p->buffers + buffers + first_buffer, x);
        }
        if (!x && !graph_failed(g))
            graph_fail(g, BK_ERUNTIME, "%s: its build returned nothing; .blocks lists %d parameters", here,
                       next - first);
        if (!x) return NULL;
    }
    return x;
}

/* The buffers of the mode as a node a block. */
static bool split_buffers(const model *m, const char *who, graph *g, bk_dtype dtype, node *all, node **to) {
    shape_buf sb;
    if (all && (all->ndim != 1 || all->shape[0] != m->n_buffers)) {
        graph_fail(g, BK_EINVAL, "%s: buffers: expected (%lld), got %s", who, (long long)m->n_buffers,
                   shape_text(all->ndim, all->shape, &sb));
        return false;
    }
    if (all) all = g_cast(g, all, dtype);
    for (int i = 0; i < m->n_buffer_blocks; i++) {
        const model_block *b = &m->buffer_blocks[i];
        to[i] = all ? g_reshape(g, g_narrow(g, all, 0, b->offset, b->size), b->ndim, b->shape)
                    : g_full(g, dtype, b->ndim, b->shape, block_start(b));
    }
    return !graph_failed(g);
}

node *model_build(const model *m, const char *who, graph *g, node *theta, node *x) {
    shape_buf sb;
    if (!theta || !x) return NULL;
    if (theta->dtype == BK_INT64 || theta->ndim != 1 || theta->shape[0] != m->n_params)
        return graph_fail(g, BK_EINVAL, "%s: theta: expected (%lld), floating, got %s %s", who, (long long)m->n_params,
                          shape_text(theta->ndim, theta->shape, &sb), dtype_name(theta->dtype));
    model_mode none = { .g = g }, *mode = m->mode && m->mode->g == g ? m->mode : &none;
    pass p = { .run = { .g = g, .who = who, .train = mode->train, .seed = mode->seed,
                        .before = mode->before, .rows = mode->rows }, .theta = theta };
    p.run.place = (int64_t)mode->passes++ * DRAWS_A_PASS;
    if (m->n_buffer_blocks) {
        p.buffers = graph_alloc(g, sizeof *p.buffers * (size_t)m->n_buffer_blocks);
        if (!p.buffers || !split_buffers(m, who, g, theta->dtype, mode->buffers, p.buffers)) return NULL;
    }
    node *y = build_layers(m, &p, 0, 0, who, x);
    if (!y || !m->n_buffer_blocks || !mode->train || !mode->buffers) return y;
    for (int i = 0; i < m->n_buffer_blocks; i++)
        p.buffers[i] = g_reshape(g, p.buffers[i], 1, &m->buffer_blocks[i].size);
    mode->buffers = g_concat(g, 0, m->n_buffer_blocks, p.buffers);
    return mode->buffers ? y : NULL;
}

bk_status model_init_buffers(const model *m, bk_dtype dtype, tensor *out, err *e) {
    bk_status st = tensor_new(m->c, dtype, 1, &m->n_buffers, out, e);
    for (int i = 0; i < m->n_buffer_blocks && !st; i++) {
        const model_block *b = &m->buffer_blocks[i];
        void *to = (char *)tensor_data(out) + (size_t)b->offset * dtype_size(dtype);
        vec_get(VEC_FILL, dtype)(b->size, to, NULL, NULL, NULL, block_start(b));
    }
    return st;
}

/* ---- functions of a model, and of its mode ---- */

typedef struct mode_func {
    func base;
    model *m;
    func *f; /* NULL: the model's outputs */
    model_with with;
} mode_func;

/* Of a node that new buffers are made of: not an argument of another function, whose places they would be. */
static bool reaches(graph *g, node *out, int n_in, node *const *in, const model_mode *outer) {
    int count;
    node **sorted = graph_sorted(g, 1, &out, &count);
    for (int i = 0; sorted && i < count; i++) {
        if (sorted[i]->op != &op_input) continue;
        bool known = outer != NULL; /* within a trace others' arguments are around */
        for (int k = 0; k < n_in && !known; k++) known = sorted[i] == in[k];
        if (!known) return false;
    }
    return sorted != NULL;
}

static bool mode_build(func *self, graph *g, int n_in, node *const *in, node_list *out) {
    mode_func *f = (mode_func *)self;
    model *m = f->m;
    const model_with *with = &f->with;
    int n = n_in - with->seed - with->buffers;
    if (n < 0 || (!f->f && n != 2)) {
        graph_fail(g, BK_EINVAL, "model:forward: expected (theta, x), got %d argument%s", n, n == 1 ? "" : "s");
        return false;
    }
    model_mode *before = m->mode, mode = { .g = g };
    if (before && before->g == g) mode = *before;
    if (with->told) mode.train = with->train;
    if (with->seed) mode.seed = in[n], mode.passes = 0;
    if (with->buffers) mode.buffers = in[n_in - 1];
    shape_buf got;
    if (mode.seed && (mode.seed->ndim != 0 || mode.seed->dtype != BK_INT64)) {
        graph_fail(g, BK_EINVAL, "model:forward: seed: expected an integer or a 0-d int64 tensor, got %s %s",
                   dtype_name(mode.seed->dtype), shape_text(mode.seed->ndim, mode.seed->shape, &got));
        return false;
    }
    model_mode_set(m, &mode);
    bool ok;
    if (f->f) {
        ok = func_build(f->f, g, n, in, out);
    } else {
        out->v = graph_alloc(g, sizeof(node *));
        out->n = 1;
        ok = out->v && (out->v[0] = model_build(m, "model:forward", g, in[0], in[1])) != NULL;
    }
    model_mode_set(m, before);
    if (!ok) return false;
    if (before && before->g == g) {
        if (!with->seed) before->passes = mode.passes;
        if (!with->buffers) before->buffers = mode.buffers;
    }
    if (!with->buffers || !mode.train) return true;
    if (!reaches(g, mode.buffers, n_in, in, before)) {
        graph_fail(g, BK_EUNSUPPORTED,
                   "model:forward: batch_norm cannot leave its statistics from within vmap or another "
                   "transform of the model in training; pass it buffers of its own there");
        return false;
    }
    node **v = graph_alloc(g, sizeof *v * (size_t)(out->n + 1));
    if (!v) return false;
    memcpy(v, out->v, sizeof *v * (size_t)out->n);
    v[out->n++] = mode.buffers;
    out->v = v;
    return true;
}

static void mode_destroy(func *self) {
    mode_func *f = (mode_func *)self;
    func_release(f->f);
    model_release(f->m);
}

static const func_class forward_class = { "model:forward", mode_build, mode_destroy };

func *model_in_mode(model *m, func *of, const model_with *with, err *e) {
    mode_func *f = func_new(m->c, &forward_class, sizeof *f, e);
    if (!f) return NULL;
    f->m = m;
    f->f = of;
    f->with = *with;
    model_retain(m);
    if (of) func_retain(of);
    return &f->base;
}

func *model_forward(model *m, const model_with *with, err *e) {
    return model_in_mode(m, NULL, with, e);
}
