/* tensor_value.h - what the files of the tensor binding share: the state of one lua_State, userdata in and out,
 * and the one path by which every operation runs. An operation on concrete tensors is a small compiled plan, kept by
 * operation, attributes and shapes; with a traced operand it is a node in that trace's graph. */
#ifndef BIND_TENSOR_VALUE_H
#define BIND_TENSOR_VALUE_H

#include "../ops/ops.h"
#include "../compile/plan.h"
#include "bind.h"

typedef struct bind_live { /* traces under way, the innermost first */
    graph *g;
    struct bind_live *outer;
} bind_live;

enum { EAGER_SLOTS = 128, EAGER_KEY = 48, CALL_MAX_INTS = 3 * BK_MAX_DIMS + 2, CALL_RESULTS = 3 };

typedef struct eager_slot {
    uint64_t key[EAGER_KEY];
    int n_key; /* 0: free */
    plan *p;
    int n_out;
    node out[CALL_RESULTS]; /* dtype and shape only */
} eager_slot;

typedef struct bind_state {
    ctx *c;
    lua_State *main;    /* the state's main thread */
    lua_State *running; /* between bind_enter and bind_leave: who called */
    bind_live *live;
    size_t live_bytes; /* in use after the last collection, or the least since */
    size_t live_heap;  /* Lua's part of it */
    uint64_t serial;
    int print_precision, print_width; /* tensor_print.c's; 0: the default */
    int64_t print_threshold;
    bool raised;                       /* registry field BIND_ERROR holds the error value of a traced Lua function */
    eager_slot slots[EAGER_SLOTS + 1]; /* the last: for what does not fit a key */
} bind_state;

bind_state *bind_state_of(lua_State *L);
void bind_state_new(lua_State *L);

/* One operation. build adds it to g and sets out[0..n_out-1]; ints and x are all that it may depend on besides in. */
typedef struct op_call op_call;
struct op_call {
    const char *name; /* for messages */
    bool (*build)(graph *g, const op_call *call, int n_in, node *const *in, node **out);
    const void *what; /* told apart from other calls of the same build by this address */
    int n_out;        /* 1 to CALL_RESULTS */
    int n_ints;
    int64_t ints[CALL_MAX_INTS];
    double x;
};
/* Runs it on operands (each checked by bind_tensor_arg) and pushes n_out tensors; returns n_out. */
int bind_tensor_apply(lua_State *L, const op_call *call, int n_in, lua_tensor *const *in);

/* A tensor, concrete or of a trace that is still under way; else a Lua error. */
lua_tensor *bind_tensor_arg(lua_State *L, int index, const char *fname, const char *argument);
lua_tensor *bind_tensor_test(lua_State *L, int index); /* NULL: not a tensor userdata */
/* As bind_tensor_arg, but concrete: fails with `not while tracing` on a traced one. */
lua_tensor *bind_tensor_concrete(lua_State *L, int index, const char *fname, const char *argument);
int bind_tensor_ndim(const lua_tensor *t);
const int64_t *bind_tensor_shape(const lua_tensor *t);
bk_dtype bind_tensor_dtype(const lua_tensor *t);
bool bind_tensor_live(const bind_state *st, const lua_tensor *t); /* concrete, or its trace is under way */

lua_tensor *bind_tensor_push_empty(lua_State *L); /* a userdata without a value, to acquire into */
void bind_tensor_push_node(lua_State *L, graph *g, node *n);
void bind_tensor_push_view(lua_State *L, const tensor *view); /* retains the storage */
void bind_tensor_push_scalar(lua_State *L, double x);         /* 0-d float64 */
void bind_account(lua_State *L, size_t coming); /* tells the collector about new data and plans, and bytes to come */
/* A new row-major tensor on the stack, not cleared; collects and retries once when memory is short. */
tensor *bind_tensor_push_new(lua_State *L, bk_dtype dtype, int ndim, const int64_t *shape, const char *fname);
void bind_collect(lua_State *L); /* a full collection, and blocks given back */

/* tensor_make.c */
const bind_row *bind_tensor_make_rows(void);
/* tensor_print.c */
int bind_tensor_tostring(lua_State *L);
extern const bind_option bind_print_options[];
int bind_tensor_print_options(lua_State *L);
int bind_tensor_totable(lua_State *L);
/* random.c */
void bind_rng(lua_State *L);

#endif
