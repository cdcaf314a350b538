/* graph.h - static graphs of tensor operations, and the transforms that turn graphs into graphs.
 *
 * A graph is an arena of immutable, hash-consed nodes: the same operation on the same inputs is the
 * same node, so work shared between a loss, its gradient and their derivatives is shared by
 * construction. Nodes never refer forward; a smaller id comes first. Shapes are static.
 *
 * Building never returns an error: the first failure is kept in the graph, and every later
 * operation, and any operation on a NULL node, returns NULL. Check graph_status() once at the end. */
#ifndef GRAPH_GRAPH_H
#define GRAPH_GRAPH_H

#include "../tensor/tensor.h"
#include "../tensor/vec.h"

typedef struct graph graph;
typedef struct node node;
typedef struct op_row op_row; /* below */

struct node {
    const op_row *op;
    int id;
    bk_dtype dtype;
    int ndim;
    int64_t shape[BK_MAX_DIMS];
    int64_t count; /* elements */
    int n_in, n_ints;
    node **in;
    const int64_t *ints; /* the op's attributes ... */
    double x;            /* ... and its scalar */
    const tensor *value; /* op_const only */
    node *chain;         /* in its hash bucket */
    int place;           /* in the last graph_sorted that found it: see graph_place */
    bool late;           /* a copy for late readers (compile/recompute.c): it runs right before them */
    bool weak;           /* a number () whose dtype yields to that of a tensor it meets: see op_binary */
};

typedef struct node_list {
    int n;
    node **v;
} node_list;

/* ---- operations ---- */

/* OP_COMPOSITE: only a public name for what build makes of other operations; no node has one. */
typedef enum op_kind { OP_LEAF, OP_ELEMENTWISE, OP_KERNEL, OP_COMPOSITE } op_kind;

/* What becomes of int64 operands of an elementwise operation: functions of the reals take them as float64. */
typedef enum op_dtypes { OP_REALS, OP_ANY } op_dtypes;

/* Arguments as a caller gives them, in order; options last, in one table. */
typedef enum op_arg_kind {
    ARG_END,
    ARG_TENSOR,
    ARG_OPERAND, /* a tensor or a number: a number becomes a 0-d tensor of the dtype of the operand beside it */
    ARG_SEED,    /* an int64 tensor or an integer, which becomes a 0-d one */
    ARG_PARTS,   /* a list of tensors */
    ARG_NUMBER,
    ARG_INTEGER,
    ARG_BOOLEAN,
    ARG_DTYPE,
    ARG_DIM,  /* of the first tensor, from 1; built from as an axis from 0, -1 when left out */
    ARG_DIMS, /* one, or a list, or all when left out; built from as a mask of axes */
    ARG_AXES, /* a list of dimensions; axes from 0 */
    ARG_SIZES /* a list of integers */
} op_arg_kind;

typedef struct op_arg {
    op_arg_kind kind;
    const char *name;
    const char *absent; /* it may be left out: its default as text ("" for what the doc explains) */
    const char *doc;    /* of an option */
    const char *called; /* its name in messages, where that is not name */
    bool option;
    int more;     /* ARG_DIM: dimensions that the result has beyond the first tensor's */
    int64_t low;  /* ARG_INTEGER, ARG_SIZES, an index among ARG_TENSOR: at least */
    int64_t high; /* ARG_INTEGER: at most; 0: no bound */
} op_arg;

/* An argument as a row is built from it. */
typedef struct op_value {
    bool given;
    node *t; /* ARG_TENSOR, ARG_OPERAND, ARG_SEED */
    node *const *parts;
    int n; /* of parts or of ints */
    const int64_t *ints;
    int64_t i; /* integer, boolean, dtype, axis or mask */
    double x;
} op_value;

/* What the generic tests call a row with: tensors of these shapes, attributes ints and x (OP_COMPOSITE, or a public
 * kernel: its other arguments, in order). */
enum { SAMPLE_SIZE = -1000 /* a free size: 3, or 0 where all are empty */, SAMPLE_INPUTS = 4 };
typedef enum op_domain { SAMPLE_RANGE, SAMPLE_OFF_ZERO, SAMPLE_APART, SAMPLE_OFF_INTEGERS, SAMPLE_CONDITION,
                         SAMPLE_DIAGONAL /* matrices with a large diagonal */ } op_domain;
typedef struct op_range {
    double low, high;
} op_range;
typedef struct op_sample {
    int n_in;
    struct {
        int ndim;
        int64_t shape[5], bound; /* bound > 0: int64 indices below it */
    } in[SAMPLE_INPUTS];
    int n_ints;
    int64_t ints[36]; /* the arguments that are no tensors, in order; a number takes a place here too and is x */
    double x;
    op_domain where;
    double eps, tol; /* of the finite difference; 0: 1e-5, 2e-7 */
    bool no_vmap;
} op_sample;

/* One operation: everything about it but its kernel. Rows are constants named op_NAME, declared in src/ops; the table
 * op_rows of them all is generated (ops/ops.h), and so are the functions and methods of those with args, their help
 * and their tests. */
struct op_row {
    const char *name;
    int arity; /* -1: any number */
    op_kind kind;
    vec_op vec; /* OP_ELEMENTWISE: its block kernel; inputs have the output's shape */
    op_dtypes dtypes;
    const char *formula;
    const char *serves; /* the public operation that messages name in its place */

    /* Sets n->dtype, n->ndim, n->shape from n->in, n->ints; false after graph_fail. NULL: that of input 0. */
    bool (*shape)(graph *g, node *n);
    /* OP_KERNEL: computes n into out (n->count elements) from row-major inputs. */
    bk_status (*run)(ctx *c, const node *n, void *out, const void *const *in, void *scratch);
    /* NULL, or, for a matrix: rows row .. row + rows - 1 of it into out, to run's bits, by this thread alone, unpolled
     * and without scratch. false, and nothing is done, where it cannot; rows = 0 asks, and reads nothing of in. */
    bool (*run_rows)(const node *n, void *out, const void *const *in, int64_t row, int64_t rows);
    /* With run_rows: whether a row of n needs of input k, as large as n, no more than the same row. NULL: of none. */
    bool (*row_by_row)(const node *n, int k);
    /* NULL, or: why run failed with BK_ERUNTIME, by running again, as a whole message in e. */
    bk_status (*explain)(ctx *c, const node *n, void *out, const void *const *in, void *scratch, err *e);
    /* Bytes that run needs on so many threads, or on fewer. NULL: none. */
    size_t (*scratch)(const node *n, int threads);
    double (*cost)(const node *n); /* floating-point operations; NULL: not counted */
    bool shared;                   /* run spreads a large node over the threads by itself */
    /* A cheaper equal of n (its op, inputs and attributes are set), or NULL. */
    node *(*simplify)(graph *g, node *n);
    /* The tangent of n when only input k moves, with tangent t (of its shape): linear in t.
     * op_zero_jvp: no derivative flows; op_no_jvp: refuse, naming the op. Never NULL. */
    node *(*jvp)(graph *g, node *n, int k, node *t);
    /* Where n is linear in input k: the adjoint applied to the cotangent ct (n's shape).
     * op_no_transpose: never linear. */
    node *(*transpose)(graph *g, node *n, int k, node *ct);
    /* n with inputs in[], of which those with batched[k] carry a new first axis of length size; at least one does.
     * The result carries it too. */
    node *(*vmap)(graph *g, node *n, node *const *in, const bool *batched, int64_t size);

    /* As callers see it: bk.NAME(...) and t:NAME(...), or, with a room, bk.ROOM.NAME(...) alone. NULL args: no caller
     * does. */
    const char *room;
    const op_arg *args;
    const char *meta; /* the metamethod that is this operation, and how it is written ("__add", "t + u") */
    const char *sign;
    const char *doc; /* one line, then paragraphs; the signature comes from args */
    /* NULL: the operation on its tensor arguments. second: what else it returns when its ARG_DIM is given. results > 1:
     * what it always returns, those after the first in `more`, NULL where nobody asks. returns: their names. */
    node *(*build)(graph *g, const op_value *v, node **more);
    const char *second;
    int results;
    const char *returns;
    /* Of a concrete tensor: the result as a view, by changing shape, strides and start of t; false: it has to be
     * computed (or refused). */
    bool (*view)(tensor *t, const op_value *v);

    /* For the generic tests. NULL sample: elementwise on (free, 7). */
    const op_sample *sample;
    double sample_low, sample_high;    /* inputs are drawn from here; 0, 0: -1.5..1.5 */
    op_range sample_of[SAMPLE_INPUTS]; /* of inputs that have a range of their own; 0, 0: that */
};

/* Floating-point operations or their like: what a thread is worth waking for, some 5 us, and what an element costs that
 * is read or written. */
#define THREAD_WORTH 5e5
#define ELEMENT_COST 16.0
int op_shares(int64_t elements); /* the threads, at least 1, that a kernel over so many elements is worth */
bk_status op_fill(ctx *c, bk_dtype dtype, int64_t n, void *out, double x); /* polled */

/* The name that messages say. */
const char *op_title(const op_row *op);

node *op_zero_jvp(graph *g, node *n, int k, node *t);
node *op_no_jvp(graph *g, node *n, int k, node *t);
node *op_no_transpose(graph *g, node *n, int k, node *ct);
node *op_vmap_none(graph *g, node *n, node *const *in, const bool *batched, int64_t size); /* refuses */

/* ---- the arena ---- */
/* What differentiation and vmap themselves ask of the operations, which are built above this room. */
typedef struct graph_basis {
    node *(*add)(graph *g, node *a, node *b);                                          /* of one shape and dtype */
    node *(*full)(graph *g, bk_dtype dtype, int ndim, const int64_t *shape, double x); /* every element x */
    node *(*broadcast)(graph *g, node *a, int ndim, const int64_t *shape);
} graph_basis;
graph *graph_new(ctx *c, const graph_basis *basis); /* NULL when memory is short; basis outlives it */
const graph_basis *graph_basis_of(const graph *g);
void graph_free(graph *g);
ctx *graph_ctx(graph *g);
uint64_t graph_id(const graph *g);              /* differs for every graph of a context's life */
void *graph_alloc(graph *g, size_t bytes);      /* lives as long as g; NULL after failing g */
bk_status graph_status(const graph *g, err *e); /* the kept failure, copied to e */
node *graph_fail(graph *g, bk_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));
bool graph_failed(const graph *g);
int graph_count(const graph *g);

/* What a graph was made from beside its inputs and may change later: what of it a plan was made of is told by the
 * generation. Refcounted by its owner and by plans. */
typedef struct graph_source {
    atomic_int refs;
    uint64_t generation;
    uint64_t (*look)(
        struct graph_source *s); /* the generation now; NULL: its owner is gone, nothing changes any more */
    void (*free)(struct graph_source *s);
    void *owner;
} graph_source;
void source_retain(graph_source *s);
void source_release(graph_source *s);           /* NULL allowed */
void graph_depends(graph *g, graph_source *s);  /* kept until the graph is freed */
graph_source **graph_sources(graph *g, int *n); /* each once; NULL after failing g, or none */

/* Leaves. The graph keeps a reference to a constant's storage. */
node *graph_input(graph *g, bk_dtype dtype, int ndim, const int64_t *shape);
node *graph_const(graph *g, const tensor *value);

/* The node `op(in...; ints, x)`: simplified, or found, or new. */
node *graph_op(graph *g, const op_row *op, int n_in, node *const *in, int n_ints, const int64_t *ints, double x);
/* The same operation as n on other inputs. */
node *graph_again(graph *g, node *n, node *const *in);

/* n on other inputs as they are, neither simplified nor shared with a node that is equal. */
node *graph_copy(graph *g, const node *n, node *const *in, bool late);

/* ---- transforms ---- */
/* Tangents of outs when wrt[i] moves with tangents[i] (NULL: it does not move); dy[k] NULL: zero. */
bool graph_jvp(graph *g, int n_out, node *const *outs, int n_wrt, node *const *wrt, node *const *tangents, node **dy);
/* Cotangents of wrt[] given those of outs[] (NULL: none): linearise, then transpose. grads[i] NULL: zero. */
bool graph_vjp(graph *g, int n_out, node *const *outs, node *const *cts, int n_wrt, node *const *wrt, node **grads);
/* d y / d wrt for a 0-d y, what `who`'s function returned; a zeros node where it does not depend on it. */
node *graph_grad(graph *g, node *y, node *wrt, const char *who);
/* outs rebuilt with from[i] replaced by to[i] (same shape and dtype), in place. */
bool graph_substitute(graph *g, int n_out, node **outs, int n, node *const *from, node *const *to);
/* outs rebuilt over a new first axis: from[i] replaced by to[i], which carries the axis when batched[i].
 * Every out carries it after. */
bool graph_vmap(graph *g, int n_out, node **outs, int n, node *const *from, node *const *to, const bool *batched,
                int64_t size);
/* The nodes outs depend on, in order of id: every input before its users. NULL and n = 0 after failing
 * g. */
node **graph_sorted(graph *g, int n_out, node *const *outs, int *n);
/* nodes[] of another graph become their copies in this one, with all they are made of; constants stay the other's. Ids
 * follow one another. false after failing one of them. */
bool graph_take(graph *g, graph *from, int n, node **nodes);
/* Where n stands in sorted (the newest graph_sorted of its graph), or -1: tables beside it are as long as it is. */
int graph_place(node *const *sorted, int count, const node *n);
extern const op_row op_input, op_const;

#endif
