/* order.h - running orders: which task comes next, so that little memory is in use at once. Knows no operations. */
#ifndef COMPILE_ORDER_H
#define COMPILE_ORDER_H

#include "../graph/graph.h"

typedef struct order_task { /* each list names a thing once */
    int n_before, n_reads, n_writes, n_over;
    int *before;         /* the tasks it needs */
    int *reads, *writes; /* buffers */
    bool lazy;           /* it runs right before the first task that needs it */
    int *over;           /* pairs: a buffer that it writes, and one whose place this may take, where it is read last */
} order_task;

typedef struct order_tasks {
    int n, n_buffers;
    order_task *tasks;
    size_t *bytes; /* of every buffer; 0: its place is found elsewhere */
    int *kept;     /* by buffer: readers besides the tasks: it lives to the end */
} order_tasks;

typedef struct order_use { /* of memory, by the task at a place of the order */
    size_t live; /* bytes in use while it runs */
    size_t takes; /* those it is the first to write */
} order_use;

/* Sets order[0..n-1] to one that needs no more memory at once than any of the bases, at least one, in which every task
 * comes after those it needs; use[i] is of its i-th task, *most the largest of use[].live. false after failing g. */
bool order_for_memory(graph *g, const order_tasks *all, int bases, int *const *base, int *order, order_use *use,
                      size_t *most);

#endif
