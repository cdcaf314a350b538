/* layer.c - what all kinds of layers share, and layers made of a function. The kinds are in files of their own. */
#include "model.h"
#include <stdio.h>
#include <string.h>

void layer_block(model_block *b, const char *name, block_init init, int64_t s0, int64_t s1, int64_t s2, int64_t s3) {
    memset(b, 0, sizeof *b);
    b->name = name;
    b->init = init;
    b->ndim = s1 == 0 ? 1 : s2 == 0 ? 2 : s3 == 0 ? 3 : 4;
    b->shape[0] = s0, b->shape[1] = s1, b->shape[2] = s2, b->shape[3] = s3;
    b->size = shape_count(b->ndim, b->shape);
}

int layer_bias(model_block *out, int k, double bias, int64_t n) {
    if (bias == 0) return k;
    layer_block(&out[k], "bias", INIT_ZERO, n, 0, 0, 0);
    return k + 1;
}

/* ---- a layer made of a function ---- */

static int function_blocks(const layer *l, model_block *out) {
    const layer_function *f = l->own;
    memcpy(out, f->blocks, (size_t)f->n_blocks * sizeof *out);
    for (int i = 0; i < f->n_blocks; i++) out[i].name = f->block_names[i];
    return f->n_blocks;
}

static bool function_accepts(const layer *l, const node *x) {
    const layer_function *f = l->own;
    bool ok = f->ndim < 0 || x->ndim == f->ndim;
    for (int i = 0; ok && i < f->ndim; i++) ok = f->input[i] < 0 || x->shape[i] == f->input[i];
    return ok;
}

static void function_expects(const layer *l, char *buf, size_t bytes) {
    snprintf(buf, bytes, "%s", l->own->expects);
}

static node *function_build(const layer *l, graph *g, node *const *p, node *x) {
    node *in[LAYER_MAX_BLOCKS + 1];
    int n = l->own->n_blocks;
    memcpy(in, p, (size_t)n * sizeof *in);
    in[n] = x;
    return func_build1(l->own->forward, g, n + 1, in);
}

static const layer_row own_row = {
    .name = "layer",
    .doc = "",
    .blocks = function_blocks,
    .accepts = function_accepts,
    .expects = function_expects,
    .build = function_build,
};
const layer_row *const layer_row_function = &own_row;

layer_function *layer_function_new(ctx *c, err *e) {
    layer_function *f = mem_zalloc(c, sizeof *f);
    if (!f) {
        err_nomem(e, sizeof *f);
        return NULL;
    }
    f->c = c;
    f->ndim = -1;
    atomic_init(&f->refs, 1);
    ctx_retain(c);
    return f;
}

void layer_function_release(layer_function *f) {
    if (!f || atomic_fetch_sub(&f->refs, 1) != 1) return;
    ctx *c = f->c;
    func_release(f->forward);
    mem_free(c, f, sizeof *f);
    ctx_release(c);
}

const char *layer_name(const layer *l) {
    return l->own ? l->own->name : l->row->name;
}

const layer_row *layer_find(const char *name) {
    for (const layer_row *const *r = layer_rows; *r; r++)
        if (strcmp((*r)->name, name) == 0) return *r;
    return NULL;
}
