/* builder.h - a plan in the making: its units, their order, and the buffers they write, before these are placed. */
#ifndef COMPILE_BUILDER_H
#define COMPILE_BUILDER_H

#include "../ops/ops.h"
#include "order.h"
#include "plan.h"

#include <string.h>

typedef struct buffer { /* what a node owns, before it is placed */
    int slot;           /* -1: to be placed in the arena */
    size_t bytes, offset;
    int first, last;     /* turns between which it lives */
    int readers, reader; /* units of its last turn that read it; the last found */
    int last_read;       /* the node of that unit that reads it last */
    bool moved;          /* that unit reads it otherwise than as it lies */
    int over;            /* the buffer it is laid over, -1 none */
} buffer;

typedef struct unit { /* one step to be: a kernel node, or a group of elementwise ones */
    int n;
    node **nodes;
    bool open;
} unit;

typedef struct builder {
    graph *g;
    plan *p;
    int count, n; /* nodes of the graph; live ones */
    node **sorted;
    int *level, *cap; /* by id; of copies for late readers the highest level */
    int *group;     /* by id: index of its unit, -1 none */
    bool *stored;   /* by id: has memory of its own */
    int *root;      /* by id: the buffer it lies in */
    size_t *shift;  /* by id: bytes into it */
    bool *absorbed; /* by id: a broadcast or slice read as a view by every user */
    int *room; /* by id: of a product that is written over an operand, a buffer for some of its rows; 0: none */
    unit *units;
    int n_units;
    int *order, *turn; /* units in running order; of each place, its turn: those of one turn are independent */
    int n_order, n_turns;
    int *rank; /* NULL, or by id: place in the order of a graph that had no copies for late readers yet; those: -1 */
    bool alone; /* no turn is of more than one unit */
    bool over;  /* outputs may lie over inputs */
    bool by_rows; /* products may be written over their operands, some rows at a time */
    buffer *buffers;
    int n_buffers;
    size_t widest; /* bytes of an element, of all that is placed in the arena */
    order_use *use; /* of memory, by place in the order, units running one by one */
    size_t most;    /* ... at once */
    int n_in, n_out;
    node *const *inputs;
    node **outs;
    int *temp_of, *temp_last; /* by id, for the pass in hand: see temps */
} builder;

/* What makes what is read as a: through aliases and absorbed views. */
static inline node *builder_maker(const builder *b, node *a) {
    while (b->group[a->id] < 0 && a->n_in) a = a->in[0];
    return a;
}

/* Cleared memory of the graph; NULL after failing it. */
static inline void *make(graph *g, size_t size, int64_t n) {
    void *p = graph_alloc(g, size * (size_t)(n > 0 ? n : 1));
    if (p) memset(p, 0, size * (size_t)(n > 0 ? n : 1));
    return p;
}

static inline bool is_pass(const node *n) {
    return n->op->kind == OP_ELEMENTWISE;
}

/* A pass sees elements in their order alone: what it reads of another shape it reads as they lie. */
static inline node *reshaped(node *a) {
    while (a->op == &op_reshape) a = a->in[0];
    return a;
}

static inline size_t node_bytes(const node *n) {
    return (size_t)n->count * dtype_size(n->dtype);
}

/* The buffer that n is made in; -1: it has no memory of its own. */
static inline int made_in(const builder *b, const node *n) {
    return b->stored[n->id] ? b->root[n->id] : -1;
}

/* What a pass reads for operand a: the memory under an absorbed broadcast or slice. */
static inline node *under(const builder *b, node *a) {
    return b->absorbed[a->id] ? a->in[0] : a;
}

/* place.c. Whether a node is another's memory, so many bytes on, seen differently; which buffer, at which shift, every
 * node lies in (false after failing b->g); whether n, of unit u, may be written over its operand k, as far as they say,
 * and how many rows of it are then made at a time; and, in turns, how long buffers live, which of them lie over others
 * and where all are. */
bool is_alias(const node *n, size_t *shift);
bool place_nodes(builder *b);
int64_t rows_beside(const node *n);
bool writes_over(const builder *b, const unit *u, const node *n, int k);
void lifetimes(builder *b);
void write_in_place(builder *b);
bool place_buffers(builder *b);

/* recompute.c: outs, the results with copies of nodes for late readers, for a part of the program's time, and the rank
 * for their order: of cheap ones as the cheapest cut says; or of any, as many as bring the memory in use at once down
 * to the goal or are found (INFINITY: whatever they take; else no large products). After order_units. false after
 * failing b->g. */
bool recompute(builder *b, bool any, size_t goal, double part, node **outs, int *copies);

/* schedule.c: the running order of units, when nodes are in their buffers, and its turns. false after failing b->g. */
bool order_units(builder *b);
bool take_turns(builder *b);
double unit_cost(const unit *u);

#endif
