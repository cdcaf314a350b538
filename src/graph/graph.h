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
typedef struct op_row op_row;

enum { NODE_MAX_INTS = 3 * BK_MAX_DIMS };

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
};

typedef struct node_list {
    int n;
    node **v;
} node_list;

typedef enum op_kind { OP_LEAF, OP_ELEMENTWISE, OP_KERNEL, OP_COMPOSITE /* made of others: never a node */ } op_kind;

enum { OP_KINKS = 3 };

/* One operation. Rows are constants named op_NAME, one line `const op_row op_NAME = {` each in src/ops/;
 * the table op_rows of them all is generated (ops/ops.h). */
struct op_row {
    const char *name;
    int arity; /* -1: any number */
    op_kind kind;
    vec_op vec;      /* OP_ELEMENTWISE: its block kernel; inputs have the output's shape */
    const char *doc; /* formula */
    /* Sets n->dtype, n->ndim, n->shape from n->in, n->ints; false after graph_fail. NULL: that of input 0. */
    bool (*shape)(graph *g, node *n);
    /* OP_KERNEL: computes n into out (n->count elements) from row-major inputs. */
    bk_status (*run)(ctx *c, const node *n, void *out, const void *const *in, void *scratch);
    /* Bytes that run needs at one thread, or (shared) at any number. NULL: none. */
    size_t (*scratch)(const node *n, bool shared);
    double (*cost)(const node *n); /* floating-point operations; NULL: not counted */
    bool shared; /* run spreads a large node over the threads by itself */
    /* A cheaper equal of n (its op, inputs and attributes are set), or NULL. */
    node *(*simplify)(graph *g, node *n);
    /* The tangent of n when only input k moves, with tangent t (of its shape): linear in t.
     * op_zero_jvp: no derivative flows; op_no_jvp: refuse, naming the op. Never NULL. */
    node *(*jvp)(graph *g, node *n, int k, node *t);
    /* Where n is linear in input k: the adjoint applied to the cotangent ct (n's shape). op_no_transpose: never linear.
     */
    node *(*transpose)(graph *g, node *n, int k, node *ct);
    /* n with inputs in[], of which those with batched[k] carry a new first axis of length size; at least one does.
     * The result carries it too. */
    node *(*vmap)(graph *g, node *n, node *const *in, const bool *batched, int64_t size);

    /* What Lua sees of an operation of `arity` operands, each a tensor or a number: bk.NAME and t:NAME. Operations with
     * other arguments are bound by hand in src/bind. */
    const char *lua;        /* NULL: not public, or bound by hand */
    const char *help;       /* its docstring */
    const char *metamethod; /* "__add" ... */
    node *(*build)(graph *g, node *const *in);
    bool real;      /* a function of the reals: int64 is taken as float64 */
    bool condition; /* operand 0 chooses between the others: numbers take their dtype from those */

    /* Its generic test (tests/c/op_test.c): inputs are drawn from low..high (0, 0: -1.5..1.5), away from the kinks, where
     * the derivative has to lie between those of the two sides. */
    double sample_low, sample_high;
    double sample_x; /* the scalar attribute, where the row has one */
    int n_kinks;
    double kinks[OP_KINKS];
    bool kink_between; /* binary: the kink is where the operands are equal */
    bool kink_whole;   /* ... or at every whole number */
};

/* Floating-point operations or their like: what a thread is worth waking for, some 5 us, and what an element costs that
 * is read or written. */
#define THREAD_WORTH 5e5
#define ELEMENT_COST 16.0
int op_shares(int64_t elements); /* the threads, at least 1, that a kernel over so many elements is worth */

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

/* Leaves. The graph keeps a reference to a constant's storage. */
node *graph_input(graph *g, bk_dtype dtype, int ndim, const int64_t *shape);
node *graph_const(graph *g, const tensor *value);

/* The node `op(in...; ints, x)`: simplified, or found, or new. */
node *graph_op(graph *g, const op_row *op, int n_in, node *const *in, int n_ints, const int64_t *ints, double x);
/* The same operation as n on other inputs. */
node *graph_again(graph *g, node *n, node *const *in);

/* ---- transforms ---- */
/* Tangents of outs when wrt[i] moves with tangents[i] (NULL: it does not move); dy[k] NULL: zero. */
bool graph_jvp(graph *g, int n_out, node *const *outs, int n_wrt, node *const *wrt, node *const *tangents, node **dy);
/* Cotangents of wrt[] given those of outs[] (NULL: none): linearise, then transpose. grads[i] NULL: zero. */
bool graph_vjp(graph *g, int n_out, node *const *outs, node *const *cts, int n_wrt, node *const *wrt, node **grads);
/* d y / d wrt for a 0-d y; a zeros node where it does not depend on it. */
node *graph_grad(graph *g, node *y, node *wrt);
/* outs rebuilt with from[i] replaced by to[i] (same shape and dtype), in place. */
bool graph_substitute(graph *g, int n_out, node **outs, int n, node *const *from, node *const *to);
/* outs rebuilt over a new first axis: from[i] replaced by to[i], which carries the axis when batched[i].
 * Every out carries it after. */
bool graph_vmap(graph *g, int n_out, node **outs, int n, node *const *from, node *const *to, const bool *batched,
                int64_t size);
/* The nodes outs depend on, in order of id: every input before its users. NULL and n = 0 after failing
 * g. */
node **graph_sorted(graph *g, int n_out, node *const *outs, int *n);
/* Where n stands in sorted (the newest graph_sorted of its graph), or -1: tables beside it are as long as it is. */
int graph_place(node *const *sorted, int count, const node *n);
extern const op_row op_input, op_const;

#endif
