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
typedef struct model model;

/* One layer: its kind, and the values of the kind's options in their order. */
typedef struct layer {
    const layer_row *row;
    layer_function *own;   /* of a layer made of a function: that */
    model *inner, *beside; /* of a layer made of layers: those, and what goes around them (NULL: x itself) */
    double option[OPTIONS_MAX];
} layer;

void layer_retain(const layer *l);
void layer_release(const layer *l); /* what it points at */

static inline int64_t layer_size(const layer *l, int place) {
    return (int64_t)l->option[place];
}

/* By the scheme of model:init; 0; 1; the block's `constant`; standard normal. */
typedef enum block_init { INIT_WEIGHT, INIT_ZERO, INIT_ONE, INIT_CONSTANT, INIT_TABLE } block_init;

enum { TORCH_PARTS = 2 };

/* Where PyTorch's state_dict has a parameter: the block's first `rows` are rows first .. first + rows - 1, from 0, of
 * the tensor `name`, which has `of` rows or more: those that no block has are 0. The parts add up. */
typedef struct torch_part {
    const char *name; /* NULL: no part */
    int64_t first, rows, of;
} torch_part;

enum { LAYER_PATH = 48 };

/* One parameter tensor inside theta, or one buffer inside the buffers. */
typedef struct model_block {
    const char *name;      /* "weight", "bias" */
    const layer *of;       /* the layer it belongs to, however deep ... */
    char path[LAYER_PATH]; /* ... and its place, "3.1": the first layer of the third, from 1 */
    int layer;             /* its layer in the outermost list, from 0 */
    int ndim;
    int64_t shape[4];
    int64_t offset, size; /* in elements of theta */
    int64_t fan_in, fan_out;
    block_init init;
    double constant;
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
    func *forward[2];           /* (params..., x [, seed]) -> y, in evaluation and in training; a reference each */
    int ndim;                   /* of x; -1: any x */
    int64_t input[BK_MAX_DIMS]; /* its sizes, -1: any ... */
    char expects[120];          /* ... in words */
    int n_blocks;
    model_block blocks[LAYER_MAX_BLOCKS];
    char block_names[LAYER_MAX_BLOCKS][LAYER_NAME]; /* what blocks[].name point at */
    char torch_names[LAYER_MAX_BLOCKS][TORCH_PARTS][TORCH_NAME];
};
/* Not in layer_rows, each made by its own constructor: of a function; of `inner`; x (or `beside` of it) + inner. */
extern const layer_row *const layer_row_function, *const layer_row_sequential, *const layer_row_residual;

layer_function *layer_function_new(ctx *c, err *e); /* cleared, one reference */
const char *layer_name(const layer *l);

/* An input's shape as far as it is known when a model is made: -1 is an unknown size, ndim -1 an unknown number of
 * them, of which `last` may be known. */
typedef struct layer_shape {
    int ndim;
    int64_t size[BK_MAX_DIMS], last;
    bk_dtype dtype;
} layer_shape;
bool shape_may(const layer_shape *x, int axis, int64_t n);             /* axis may be n long; below 0 from the end */
bool shape_ranks(const layer_shape *x, int least, int most);           /* it may have so many axes */
bool layer_same(const layer *l, const layer_shape *x, layer_shape *y); /* a `result`: y has x's shape */

/* One pass through a model: what its layers may use besides their parameters and x. */
typedef struct layer_run {
    graph *g;
    const char *who; /* the caller, for messages */
    bool train;
    node *seed;      /* int64; NULL: nothing may draw */
    int64_t place;   /* of the draws of the layer being built */
    int64_t before, rows; /* as in the mode */
    const layer *at; /* that layer, for messages */
} layer_run;
/* Where the layer's draw number k of x's shape stands; NULL seed: fails, naming the layer. */
bool layer_draws(layer_run *r, const node *x, int k, op_draw_at *at);

/* A kind of layer: `const layer_row layer_NAME = {`, one file a layer or a small family. */
struct layer_row {
    const char *name;
    const char *doc; /* signature, one sentence, ... */
    option options[OPTIONS_MAX];
    /* The parameter tensors (shape, init, fans); returns how many. NULL: none. */
    int (*blocks)(const layer *l, model_block *out);
    /* What training remembers, likewise: lies in the buffers, not in theta. */
    int (*buffers)(const layer *l, model_block *out);
    /* Says in buf what is wrong with the options together. NULL: nothing can be. */
    bool (*check)(const layer *l, char *buf, size_t bytes);
    /* Whether x is a possible input. NULL: anything. */
    bool (*accepts)(const layer *l, const layer_shape *x);
    /* The result's shape for an x it accepts; false: unknown, as with NULL. Of an activation it is x's. */
    bool (*result)(const layer *l, const layer_shape *x, layer_shape *y);
    /* The input's shape in words, "(batch, 784)". NULL with accepts NULL. */
    void (*expects)(const layer *l, char *buf, size_t bytes);
    node *(*build)(const layer *l, graph *g, node *const *params, node *x);
    /* Instead, of a layer that draws, trains otherwise than it evaluates, or has buffers: these are replaced in b by
     * what a training step leaves. */
    node *(*build_in)(const layer *l, layer_run *r, node *const *params, node **b, node *x);
    node *(*activation)(graph *g, node *x); /* instead of all these: an elementwise function, which mlp can name too */
    bool takes_ids;                         /* x is int64, and is not cast to theta's dtype */
};

#include "gen/layer_rows.h"                    /* extern const layer_row layer_NAME; of every row in src/model */
extern const layer_row *const layer_rows[];    /* NULL-terminated, generated */
extern const char *const layer_row_names[]; /* NAME of each layer_NAME */
const layer_row *layer_find(const char *name); /* NULL: unknown */

/* For blocks: a parameter tensor of up to 4 sizes (0 ends them; none: 0-d). */
double block_start(const model_block *b); /* what all of it starts as; nan where it is drawn */
void layer_block(model_block *b, const char *name, block_init init, int64_t s0, int64_t s1, int64_t s2, int64_t s3);
/* A bias of n after k blocks, unless `bias` is 0: returns how many blocks there are. */
int layer_bias(model_block *out, int k, double bias, int64_t n);

/* How a model is evaluated. In force while a function is traced into g (model_mode_set), else evaluation with fresh
 * buffers. */
typedef struct model_mode {
    graph *g;
    bool train;
    node *seed;    /* NULL: none */
    node *buffers; /* (n_buffers), or NULL: fresh ones; each pass in training leaves new ones here */
    int passes;    /* so far: each draws for itself */
    int64_t before, rows; /* rows > 0: x is that many examples of a batch, after `before` others: it draws as they do */
} model_mode;

struct model {
    ctx *c;
    atomic_int refs;
    int n_layers, n_blocks, n_buffer_blocks;
    layer *layers;
    model_block *blocks, *buffer_blocks; /* of all layers, however deep, in order */
    int64_t n_params, n_buffers;
    bool modal; /* some layer draws or has buffers, or may */
    model_mode *mode;
};

/* A model of copies of layers[0..n-1]; one reference. Sizes that cannot fit one another are an error that names the
 * layer; input (NULL: unknown) is the shape of x. */
bk_status model_new(ctx *c, const char *who, int n, const layer *layers, const layer_shape *input, model **out, err *e);
void model_retain(model *m);
void model_release(model *m);         /* NULL allowed */
bool model_takes_ids(const model *m); /* x is int64 ids */

/* Puts mode in force (NULL: none) and returns the one before. */
model_mode *model_mode_set(model *m, model_mode *mode);

/* Adds the outputs for theta (n_params) and x to g; who names the caller in messages. x is cast to theta's dtype,
 * unless the layer takes ids. */
node *model_build(const model *m, const char *who, graph *g, node *theta, node *x);

/* What a function is called with after its own arguments. */
typedef struct model_with {
    bool told, train;   /* told: train is said, else it is that of the mode in force */
    bool seed, buffers; /* these follow as arguments, in this order */
} model_with;

/* The function (theta, x, [seed], [buffers]) -> outputs, and new buffers where they are given in training. */
func *model_forward(model *m, const model_with *with, err *e);
/* Of f(args...) the function (args..., [seed], [buffers]), with m in that mode while f is traced; new buffers follow
 * its results where they are given in training. */
func *model_in_mode(model *m, func *f, const model_with *with, err *e);

/* Fresh buffers (n_buffers). */
bk_status model_init_buffers(const model *m, bk_dtype dtype, tensor *out, err *e);

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
