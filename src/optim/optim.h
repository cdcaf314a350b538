/* optim.h - optimizers as formulas: a row builds the step and the new state as graph nodes, so an update is one
 * compiled pass here and can be differentiated elsewhere. theta <- theta - lr step. One optimizer a file, each a row
 * `const optim_row optim_NAME = {`. Formulas and defaults are PyTorch's unless the row says otherwise. */
#ifndef OPTIM_OPTIM_H
#define OPTIM_OPTIM_H

#include "../base/option.h"
#include "../func/func.h"

enum { OPTIM_MAX_BUFFERS = 8, OPTIM_NAME = 32 };

/* What a formula sees: theta and g (n), t () the number of this step from 1: float64, and so is what is made of
 * it and numbers, until it meets a tensor. */
typedef struct optim_in {
    const double *option; /* in the row's order */
    node *theta, *g, *t;
} optim_in;

typedef struct optim_row {
    const char *name, *doc;
    option options[OPTIONS_MAX];
    const char *buffers[OPTIM_MAX_BUFFERS + 1]; /* names of the state's vectors, NULL-ended; they start as zeros */
    /* The step; state[] holds the buffers and gets the new ones. */
    node *(*step)(graph *g, const optim_in *in, node **state);
} optim_row;

#include "gen/optim_rows.h"                 /* extern const optim_row optim_NAME; of every row in src/optim */
extern const optim_row *const optim_rows[]; /* NULL-terminated, generated */
extern const char *const optim_row_names[]; /* NAME of each optim_NAME */

/* For rows: g + decay theta; 1 - beta^t (). */
node *optim_decayed(graph *g, const optim_in *in, double decay);
node *optim_correction(graph *g, const optim_in *in, double beta);

node *optim_adam_step(graph *g, const optim_in *in, node *d, node **state); /* adam.c: of the gradient d */

/* (theta, g, t, state...) -> step, state...: the formula as a function. */
func *optim_formula(ctx *c, const optim_row *row, const double *options, err *e);

typedef struct optim {
    ctx *c;
    char name[OPTIM_NAME];
    int n_buffers;
    func *formula, *update; /* update: (theta, g, t, -lr, state...) -> theta, state... */
    int64_t t, n;           /* steps done; elements, -1 before the first */
    bk_dtype dtype;
    bool stepping;          /* its formula is being traced: nothing may change the state meanwhile */
    tensor buffer[OPTIM_MAX_BUFFERS], spare[OPTIM_MAX_BUFFERS]; /* in theta's dtype; spare: where no update in place */
    tensor t_now, lr_now;                                       /* () float64 */
} optim;

/* An optimizer of a formula, whose reference it takes (released on failure too). The name has less than OPTIM_NAME
 * bytes. */
bk_status optim_new(ctx *c, const char *name, int n_buffers, func *formula, optim **out, err *e);
void optim_free(optim *o);  /* NULL allowed */
void optim_reset(optim *o); /* as new */

/* next = theta - lr step; theta and g (of theta's dtype and shape, 1-d) are not changed. ours: the caller alone holds
 * theta, and next lies over it where it can. */
bk_status optim_step(optim *o, const tensor *theta, const tensor *g, double lr, bool ours, tensor *next, err *e);

/* A step that moves theta and the state by a gradient as it is made, to the bits of optim_step. can: false where only
 * the whole gradient will do. begin: false where theta is held by others too; else nothing may be traced or done with
 * the optimizer until the end. Of a call of (theta, ...) -> loss, gradient, ... with the gradient poured
 * (plan_run_poured), moves and take are what its taker does: nothing moves where the loss is not finite. end: after a
 * call in which it moved. */
typedef struct optim_move {
    optim *o;
    plan *p;
    const void *from[4 + OPTIM_MAX_BUFFERS];
    void *to[1 + OPTIM_MAX_BUFFERS];
    bool fresh[OPTIM_MAX_BUFFERS], moved;
    int64_t n;
    bk_dtype dtype;
} optim_move;
bk_status optim_can_move(optim *o, const tensor *theta, bool *can, err *e);
bk_status optim_begin_move(optim *o, const tensor *theta, double lr, optim_move *m, bool *can, err *e);
bool optim_moves(optim_move *m, double loss);
void optim_take(const optim_move *m, int64_t first, int64_t count, const void *g);
void optim_end_move(const optim_move *m);

/* Sets step count and buffers (all of one size and dtype, as many as the optimizer has); values are copied. names: of
 * the buffers, for messages. */
bk_status optim_restore(optim *o, int64_t t, const tensor *buffers, const char *const *names, err *e);

#endif
