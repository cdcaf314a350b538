/* layer.c - what all kinds of layers share, and layers made of a function. The kinds are in files of their own. */
#include "model.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

double block_start(const model_block *b) {
    switch (b->init) {
    case INIT_ZERO: return 0;
    case INIT_ONE: return 1;
    case INIT_CONSTANT: return b->constant;
    default: return NAN;
    }
}

void layer_block(model_block *b, const char *name, block_init init, int64_t s0, int64_t s1, int64_t s2, int64_t s3) {
    memset(b, 0, sizeof *b);
    b->name = name;
    b->init = init;
    b->ndim = s0 == 0 ? 0 : s1 == 0 ? 1 : s2 == 0 ? 2 : s3 == 0 ? 3 : 4;
    b->shape[0] = s0, b->shape[1] = s1, b->shape[2] = s2, b->shape[3] = s3;
    b->size = shape_count(b->ndim, b->shape);
}

int layer_bias(model_block *out, int k, double bias, int64_t n) {
    if (bias == 0) return k;
    layer_block(&out[k], "bias", INIT_ZERO, n, 0, 0, 0);
    return k + 1;
}

/* ---- shapes as far as they are known ---- */

bool shape_ranks(const layer_shape *x, int least, int most) {
    return x->ndim < 0 || (x->ndim >= least && x->ndim <= most);
}

bool shape_may(const layer_shape *x, int axis, int64_t n) {
    if (x->ndim < 0) return axis != -1 || x->last < 0 || x->last == n;
    int at = axis < 0 ? axis + x->ndim : axis;
    return at >= 0 && at < x->ndim && (x->size[at] < 0 || x->size[at] == n);
}

bool layer_same(const layer *l, const layer_shape *x, layer_shape *y) {
    (void)l;
    *y = *x;
    return true;
}

bool layer_draws(layer_run *r, const node *x, int k, op_draw_at *at) {
    if (!x || graph_failed(r->g)) return false;
    *at = (op_draw_at){ x->dtype, x->ndim, x->shape, r->place + k };
    if (r->rows && x->count % r->rows == 0) at->before = x->count / r->rows * r->before;
    if (!r->seed)
        graph_fail(r->g, BK_EINVAL, "%s: layer %s draws in training: expected a seed, { train = true, seed = 1 }",
                   r->who, layer_name(r->at));
    return r->seed != NULL;
}

/* ---- a layer made of a function ---- */

static int function_blocks(const layer *l, model_block *out) {
    const layer_function *f = l->own;
    memcpy(out, f->blocks, (size_t)f->n_blocks * sizeof *out);
    for (int i = 0; i < f->n_blocks; i++) out[i].name = f->block_names[i];
    return f->n_blocks;
}

static bool function_accepts(const layer *l, const layer_shape *x) {
    const layer_function *f = l->own;
    bool ok = f->ndim < 0 || shape_ranks(x, f->ndim, f->ndim);
    for (int i = 0; ok && i < f->ndim; i++)
        ok = f->input[i] < 0 || shape_may(x, i == f->ndim - 1 ? -1 : i, f->input[i]);
    return ok;
}

static void function_expects(const layer *l, char *buf, size_t bytes) {
    snprintf(buf, bytes, "%s", l->own->expects);
}

static node *function_build(const layer *l, layer_run *r, node *const *p, node **b, node *x) {
    (void)b;
    node *in[LAYER_MAX_BLOCKS + 2];
    int n = l->own->n_blocks;
    memcpy(in, p, (size_t)n * sizeof *in);
    in[n++] = x;
    if (r->seed) in[n++] = g_fold_in(r->g, r->seed, r->place); /* a seed of its own, whatever it draws */
    return func_build1(l->own->forward[r->train], "bk.nn.layer: forward", r->g, n, in);
}

static const layer_row own_row = {
    .name = "layer",
    .doc = "",
    .blocks = function_blocks,
    .accepts = function_accepts,
    .expects = function_expects,
    .build_in = function_build,
};
const layer_row *const layer_row_function = &own_row;

/* ---- layers made of layers: model.c goes through them ---- */

static const layer_row sequential_row = { .name = "sequential", .doc = "" };
const layer_row *const layer_row_sequential = &sequential_row;
static const layer_row residual_row = { .name = "residual", .doc = "" };
const layer_row *const layer_row_residual = &residual_row;

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

static void function_release(layer_function *f) {
    if (!f || atomic_fetch_sub(&f->refs, 1) != 1) return;
    ctx *c = f->c;
    func_release(f->forward[0]);
    func_release(f->forward[1]);
    mem_free(c, f, sizeof *f);
    ctx_release(c);
}

void layer_retain(const layer *l) {
    if (l->own) atomic_fetch_add(&l->own->refs, 1);
    if (l->inner) model_retain(l->inner);
    if (l->beside) model_retain(l->beside);
}

void layer_release(const layer *l) {
    function_release(l->own);
    model_release(l->inner);
    model_release(l->beside);
}

const char *layer_name(const layer *l) {
    return l->own ? l->own->name : l->row->name;
}

const layer_row *layer_find(const char *name) {
    for (const layer_row *const *r = layer_rows; *r; r++)
        if (strcmp((*r)->name, name) == 0) return *r;
    return NULL;
}
