/* model.c - the list of layers, and its outputs as nodes. */
#include "model.h"
#include <stdio.h>
#include <string.h>

bk_status model_new(ctx *c, int n, const layer *layers, model **out, err *e) {
    *out = NULL;
    if (n < 1) return err_set(e, BK_EINVAL, "sequential: expected at least one layer");
    model *m = mem_zalloc(c, sizeof *m);
    if (!m) return err_nomem(e, sizeof *m);
    m->c = c;
    atomic_init(&m->refs, 1);
    m->n_layers = n;
    ctx_retain(c);
    model_block own[LAYER_MAX_BLOCKS];
    for (int i = 0; i < n; i++) m->n_blocks += layers[i].row->blocks ? layers[i].row->blocks(&layers[i], own) : 0;
    size_t layer_bytes = (size_t)n * sizeof *layers, block_bytes = (size_t)m->n_blocks * sizeof *m->blocks;
    m->layers = mem_alloc(c, layer_bytes);
    m->blocks = mem_zalloc(c, block_bytes);
    if (m->layers) {
        memcpy(m->layers, layers, layer_bytes);
        for (int i = 0; i < n; i++)
            if (layers[i].own) atomic_fetch_add(&layers[i].own->refs, 1);
    }
    if (!m->layers || !m->blocks) {
        model_release(m);
        return err_nomem(e, layer_bytes + block_bytes);
    }
    for (int i = 0, next = 0; i < n; i++) {
        int k = layers[i].row->blocks ? layers[i].row->blocks(&layers[i], own) : 0;
        for (int j = 0; j < k; j++) {
            if (own[j].size < 0 || own[j].size > ((int64_t)1 << 40)) {
                model_release(m);
                return err_set(e, BK_EINVAL, "%s: layer %d has too many parameters", layer_name(&layers[i]), i + 1);
            }
            own[j].layer = i;
            own[j].offset = m->n_params;
            m->n_params += own[j].size;
            m->blocks[next++] = own[j];
        }
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
    for (int i = 0; m->layers && i < m->n_layers; i++) layer_function_release(m->layers[i].own);
    mem_free(c, m->layers, (size_t)m->n_layers * sizeof *m->layers);
    mem_free(c, m->blocks, (size_t)m->n_blocks * sizeof *m->blocks);
    mem_free(c, m, sizeof *m);
    ctx_release(c);
}

node *model_build_as(const model *m, const char *who, graph *g, node *theta, node *x) {
    shape_buf sb;
    if (!theta || !x) return NULL;
    if (theta->dtype == BK_INT64 || theta->ndim != 1 || theta->shape[0] != m->n_params)
        return graph_fail(g, BK_EINVAL, "%s: theta: expected (%lld), floating, got %s %s", who, (long long)m->n_params,
                          shape_text(theta->ndim, theta->shape, &sb), dtype_name(theta->dtype));
    int next = 0;
    for (int i = 0; i < m->n_layers; i++) {
        const layer *l = &m->layers[i];
        node *params[LAYER_MAX_BLOCKS];
        int k = 0;
        for (; next < m->n_blocks && m->blocks[next].layer == i; next++) {
            const model_block *b = &m->blocks[next];
            params[k++] = g_reshape(g, g_narrow(g, theta, 0, b->offset, b->size), b->ndim, b->shape);
        }
        if (l->row->accepts && !l->row->accepts(l, x)) {
            char expects[120];
            l->row->expects(l, expects, sizeof expects);
            const char *got = shape_text(x->ndim, x->shape, &sb);
            const char *type = x->dtype == theta->dtype ? "" : dtype_name(x->dtype);
            if (i == 0)
                return graph_fail(g, BK_EINVAL, "%s: x: expected %s, got %s%s%s", who, expects, got, *type ? " " : "",
                                  type);
            return graph_fail(g, BK_EINVAL, "%s: layer %d (%s): expected an input of %s, got %s", who, i + 1,
                              layer_name(l), expects, got);
        }
        if (x->dtype != theta->dtype && !l->row->takes_ids) x = g_cast(g, x, theta->dtype);
        x = l->row->activation ? l->row->activation(g, x) : l->row->build(l, g, params, x);
        if (!x) return NULL;
    }
    return x;
}

node *model_build(const model *m, graph *g, node *theta, node *x) {
    return model_build_as(m, "forward", g, theta, x);
}

/* ---- forward as a function ---- */
typedef struct forward_func {
    func base;
    model *m;
} forward_func;

static bool forward_build(func *f, graph *g, int n_in, node *const *in, node_list *out) {
    if (n_in != 2) {
        graph_fail(g, BK_EINVAL, "forward: expected (theta, x), got %d arguments", n_in);
        return false;
    }
    out->n = 1;
    out->v = graph_alloc(g, sizeof(node *));
    return out->v && (out->v[0] = model_build(((forward_func *)f)->m, g, in[0], in[1])) != NULL;
}

static void forward_destroy(func *f) {
    model_release(((forward_func *)f)->m);
}

static const func_class forward_class = { "forward", forward_build, forward_destroy };

func *model_forward(model *m, err *e) {
    forward_func *f = func_new(m->c, &forward_class, sizeof *f, e);
    if (!f) return NULL;
    f->m = m;
    model_retain(m);
    return &f->base;
}
