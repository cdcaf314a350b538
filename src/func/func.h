/* func.h - functions of tensors as values: what Lua calls a loss, a field, or grad(f). A function adds its
 * nodes to any graph (so functions nest without limit), and compiles itself, once per signature of dtypes
 * and shapes, when it is called on tensors. */
#ifndef FUNC_FUNC_H
#define FUNC_FUNC_H

#include "../graph/graph.h"
#include "../compile/plan.h"

typedef struct func func;
typedef struct plan_entry plan_entry;

enum { FUNC_ARGUMENTS = 64 }; /* the most tensors a function is called on */

typedef struct func_class {
    const char *name;
    /* Adds the function of in[] to g and fills out (out->v from graph_alloc). false: g has failed. */
    bool (*build)(func *f, graph *g, int n_in, node *const *in, node_list *out);
    void (*destroy)(func *f); /* releases what the subclass holds; not f itself. NULL: nothing */
    /* NULL, or: its one result is (in[0]'s shape, in[0]'s shape), and this adds the rows of it along directions (rows,
     * in[0]'s shape). Calls then compute a large result some rows at a time, in its own memory. */
    node *(*build_rows)(func *f, graph *g, int n_in, node *const *in, node *directions);
    bool tells; /* a call may take long, and says how far it is under the name */
    bool field; /* its value is a field's, at a 0-d θ too, where the shape does not tell it from a loss's */
} func_class;

struct func {
    const func_class *cls;
    ctx *c;
    atomic_int refs;
    size_t bytes; /* of the whole object */
    plan_entry *plans;
    size_t memory; /* of a compiled program at most, in bytes; 0: as much as it takes */
};

/* A cleared object of `bytes` whose first member is a func; one reference. */
void *func_new(ctx *c, const func_class *cls, size_t bytes, err *e);
void func_retain(func *f);
void func_release(func *f); /* NULL allowed */

bool func_build(func *f, graph *g, int n_in, node *const *in, node_list *out);
/* The single output, or NULL after failing g when there are more. */
node *func_build1(func *f, const char *who, graph *g, int n_in, node *const *in); /* who asks, for its errors */

/* Calls f on tensors. The n_out *out[i] are cleared, and get new tensors that the caller owns; or results of an earlier
 * call, which are written over where they fit and nobody else holds them. After a failure all are cleared. BK_EINVAL
 * where f has another number of results (func_shape tells). */
bk_status func_call(func *f, int n_in, const tensor *in, int n_out, tensor *const *out, err *e);
/* The same, right after func_shape (over) for these arguments: it traces nothing, whatever has changed since. Result 1,
 * beside a number as result 0, is poured into the taker (see plan_run_poured). */
bk_status func_call_poured(func *f, int n_in, const tensor *in, int n_out, tensor *const *out,
                           const plan_taker *taker, err *e);
/* The same for one result; *out need not be cleared. */
bk_status func_call1(func *f, int n_in, const tensor *in, tensor *out, err *e);
/* Bytes of the results of the last call; 0 before one. */
size_t func_result_bytes(const func *f);
/* The compiled plan for arguments of these dtypes and shapes (kept by f), for callers that own buffers; over: results
 * may lie over arguments (see plan_new). Of a class with build_rows it may be that of some rows. */
bk_status func_plan(func *f, int n_in, const tensor *like, bool over, plan **out, err *e);
/* The outputs' dtype and shape for such arguments; over: compiled so that results may lie over arguments. */
bk_status func_shape(func *f, int n_in, const tensor *like, bool over, int *n_out, const node *const **outs, err *e);

/* Transforms; each retains its operands. Derivatives are with respect to argument 0. */
func *func_grad(func *f, err *e);           /* (θ, ...) -> dL/dθ, f 0-d */
func *func_value_and_grad(func *f, err *e); /* (θ, ...) -> L, dL/dθ */
func *func_hvp(func *f, err *e);            /* (θ, v, ...) -> H v; v may carry a leading axis of several directions */
func *func_hessian(func *f, err *e);        /* (θ, ...) -> (θ.shape, θ.shape) */
func *func_jvp(func *f, err *e);            /* (args..., tangents...) -> y..., dy... */
func *func_vjp(func *f, int n_args,
               err *e); /* (n_args args..., cotangents of the outputs...) -> y..., grads of all args... */
/* Every argument carries a new axis of one size: argument i as its dimension axes[i] (from 1; below 0 from the end; 0:
 * none, the whole of it serves every place), 1 from n_axes on. The results carry it first. */
func *func_vmap(func *f, int n_axes, const signed char *axes, err *e);
/* f itself, whose programs take at most so many bytes beside arguments and results: see plan_new. Within another
 * function it is f. */
func *func_compile(func *f, size_t memory, err *e);
bool func_is_field(const func *f);        /* known to be one, whatever θ's shape: a gradient, a bracket, a word's */
func *func_field(func *f, err *e);        /* a loss stands for its gradient field; a field for itself */
func *func_lie(func *x, func *y, err *e); /* DY X - DX Y of the fields of x and y */

/* check.c: the largest relative error of f's gradient and Hessian-vector products at θ against central differences,
 * extrapolated to fourth order, along the axes or (more than 6 parameters) 6 fixed random directions. f is 0-d. */
bk_status func_check_grad(func *f, const tensor *theta, double *worst, err *e);

/* The field of f at in[0], θ, in g, of θ's dtype: the gradient of a loss (what is 0-d and no known field), else its
 * value; the other arguments are f's. what: its name in messages. */
node *func_build_field(func *f, graph *g, int n_in, node *const *in, const char *what);

#endif
