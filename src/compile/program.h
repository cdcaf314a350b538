/* program.h - what plan.c builds and replay.c runs. */
#ifndef COMPILE_PROGRAM_H
#define COMPILE_PROGRAM_H

#include "fuse.h"
#include "plan.h"

enum { FEW_OPERANDS = 64 };

typedef struct step {
    const node *n;   /* kernel: the node, copied into the plan */
    fuse_pass *pass; /* or a fused pass */
    int n_in, out;   /* places in the pointer table */
    int *in;
    int64_t room_rows; /* kernel: out is one of in, and so many rows of it are made at a time, in room; else 0 */
    int room;
    const void **many; /* room for a run's operands, if they are more than FEW_OPERANDS: it allocates nothing */
    size_t scratch, scratch_at; /* bytes at one thread, and where they are beside those of its turn's other steps */
    size_t copy_bytes; /* or a copy of in[0] to out */
    int together;      /* this and the next together-1 steps are independent and may run at once; 0: one of those */
    bool shared;       /* by itself it can keep several threads busy */
    double cost;       /* floating-point operations or their like */
    double flops, seconds;
    int64_t runs;
} step;

typedef struct place { /* of one pointer: base[slot] + offset */
    int slot;
    size_t offset;
} place;

typedef struct piece { /* of a result that is poured: elements */
    int64_t first, count;
    int made, after; /* the step that writes it; the one after which it is given */
    int64_t rows;    /* that step makes it so many rows at a time, each given at once; 0: it is given as a whole */
} piece;

typedef struct piece_list {
    bk_dtype dtype, of_loss; /* of the result; of result 0 */
    int n;
    piece *v; /* by when they are given; NULL before plan_pour */
} piece_list;

struct plan {
    ctx *c;
    graph *own; /* the plan's memory: steps and tables live in its arena */
    int n_in, n_out, n_places, n_steps, n_consts;
    place *places;
    char **pointers;
    char **bases; /* 0: arena, then constants, arguments, results */
    step *steps;
    tensor *consts;
    char *arena, *scratch; /* scratch: of a run, for so many threads */
    size_t arena_bytes, scratch_bytes;
    int threads;
    bool profile;
    const char *told_as; /* NULL, or the name under which it says how far a run is */
    bool in_place; /* this run's last step writes over an input: it is done whole */
    piece_list pieces; /* of result 1 */
    int takes; /* the slot whose pieces plan_take gets */
    plan_stats stats;
};

/* Whether n can be made some rows at a time. */
bool gives_rows(const node *n);

/* What the steps work in on so many threads: at one, one after the other in the same place. */
size_t plan_scratch(const plan *p, int threads);

/* pour.c: a run whose result is poured. pour_step does a step that is given by rows, and only that; pour_after gives
 * what is due after step i, and before the next. */
typedef struct pour_run {
    const plan_taker *taker;
    int next; /* piece */
    bool asked, gives;
    const piece *given; /* last, by rows */
} pour_run;
bool pour_step(plan *p, pour_run *x, int i);
void pour_after(plan *p, pour_run *x, int i);

enum { SLOT_ARENA = 0 };

enum { PLAN_TOGETHER = 8 }; /* the most steps of a turn */

#endif
