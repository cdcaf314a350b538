/* model.h - networks as lists of layers over ONE flat parameter vector, so that a gradient is one vector and
 * fields of the parameters can be added and bracketed. Layout of theta: layer after layer, weight then bias,
 * row-major. Layers know only their own sizes; the input's shape is checked when the model is built into a
 * graph. Models are immutable once made and refcounted. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "../base/option.h"
#include "../func/func.h"
#include "../ops/ops.h"

typedef struct layer_row layer_row;

typedef struct layer_function layer_function;

/* One layer: its kind, and the values of the kind's options in their order. */
typedef struct layer {
    const layer_row *row;
    layer_function *own; /* of a layer made of a function: that */
    double option[OPTIONS_MAX];
} layer;

static inline int64_t layer_size(const layer *l, int place) {
    return (int64_t)l->option[place];
}

typedef enum block_init { INIT_WEIGHT, INIT_ZERO, INIT_ONE, INIT_TABLE } block_init;

enum { TORCH_PARTS = 2 };

/* Where PyTorch's state_dict has a parameter: the block's first `rows` are rows first .. first + rows - 1, from 0, of
 * the tensor `name`. The parts add up. */
typedef struct torch_part {
    const char *name; /* NULL: no part */
    int64_t first, rows;
} torch_part;

/* One parameter tensor inside theta. */
typedef struct model_block {
    const char *name; /* "weight", "bias" */
    int layer;        /* its layer, from 0 */
    int ndim;
    int64_t shape[4];
    int64_t offset, size; /* in elements of theta */
    int64_t fan_in, fan_out;
    block_init init;
    torch_part torch[TORCH_PARTS]; /* no part: the whole is the tensor of the block's name */
    bool turned;                   /* there its two axes are swapped */
} model_block;

enum { LAYER_MAX_BLOCKS = 32, LAYER_NAME = 32, TORCH_NAME = 48 };

/* A layer made of a function: its parameter tensors and what it computes from them. Refcounted: every layer that
 * points at it, and every model of such a layer, holds a reference. */
struct layer_function {
    ctx *c;
    atomic_int refs;
    char name[LAYER_NAME];
    func *forward;              /* (params..., x) -> y; one reference */
    int ndim;                   /* of x; -1: any x */
    int64_t input[BK_MAX_DIMS]; /* its sizes, -1: any ... */
    char expects[120];          /* ... in words */
    int n_blocks;
    model_block blocks[LAYER_MAX_BLOCKS];
    char block_names[LAYER_MAX_BLOCKS][LAYER_NAME]; /* what blocks[].name point at */
    char torch_names[LAYER_MAX_BLOCKS][TORCH_PARTS][TORCH_NAME];
};
extern const layer_row *const layer_row_function; /* not in layer_rows: made by its own constructor */

layer_function *layer_function_new(ctx *c, err *e); /* cleared, one reference */
void layer_function_release(layer_function *f);     /* NULL allowed */
const char *layer_name(const layer *l);

/* A kind of layer: `const layer_row layer_NAME = {`, one file a layer or a small family. */
struct layer_row {
    const char *name;
    const char *doc; /* signature, one sentence, ... */
    option options[OPTIONS_MAX];
    /* The parameter tensors (shape, init, fans); returns how many. NULL: none. */
    int (*blocks)(const layer *l, model_block *out);
    /* Whether x is a possible input. NULL: anything. */
    bool (*accepts)(const layer *l, const node *x);
    /* The input's shape in words, "(batch, 784)". NULL with accepts NULL. */
    void (*expects)(const layer *l, char *buf, size_t bytes);
    node *(*build)(const layer *l, graph *g, node *const *params, node *x);
    node *(*activation)(graph *g, node *x); /* instead of all these: an elementwise function, which mlp can name too */
    bool takes_ids;                         /* x is int64, and is not cast to theta's dtype */
};

#include "gen/layer_rows.h"                    /* extern const layer_row layer_NAME; of every row in src/model */
extern const layer_row *const layer_rows[];    /* NULL-terminated, generated */
const layer_row *layer_find(const char *name); /* NULL: unknown */

/* For blocks: a parameter tensor of up to 4 sizes (0 ends them). */
void layer_block(model_block *b, const char *name, block_init init, int64_t s0, int64_t s1, int64_t s2, int64_t s3);
/* A bias of n after k blocks, unless `bias` is 0: returns how many blocks there are. */
int layer_bias(model_block *out, int k, double bias, int64_t n);

typedef struct model {
    ctx *c;
    atomic_int refs;
    int n_layers, n_blocks;
    layer *layers;
    model_block *blocks;
    int64_t n_params;
} model;

/* A model of copies of layers[0..n-1]; one reference. */
bk_status model_new(ctx *c, int n, const layer *layers, model **out, err *e);
void model_retain(model *m);
void model_release(model *m); /* NULL allowed */

/* Adds the outputs for theta (n_params) and x to g; who names the caller in messages. x is cast to theta's dtype,
 * unless the layer takes ids. */
node *model_build_as(const model *m, const char *who, graph *g, node *theta, node *x);
node *model_build(const model *m, graph *g, node *theta, node *x);

/* The function (theta, x) -> outputs. */
func *model_forward(model *m, err *e);

/* ---- init.c ---- */
typedef struct init_options {
    uint64_t seed;
    const char *scheme; /* NULL: "glorot" */
    double scale;       /* multiplies every random value; 1 for none */
    bk_dtype dtype;
} init_options;

/* A new theta. Every block draws from a stream of its own; values are drawn in float64 and then rounded.
 * glorot: U(+-sqrt(6/(fan_in+fan_out))); he: N(0, 2/fan_in); lecun: N(0, 1/fan_in); orthogonal: orthonormal rows
 * or columns. Biases 0, layer_norm gains 1, embeddings N(0, 1). */
bk_status model_init(const model *m, const init_options *o, tensor *out, err *e);

#endif
