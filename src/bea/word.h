/* word.h - a word: a sequence of gradient steps (t_s, h_s), first applied first, and the field whose time-1 flow it is
 * (its logarithm), order by order in the rates:
 *     Z1 = -sum h_s g_s
 *     Z2 = sum_t De_t c_t = -1/2 sum h_s^2 H_s g_s  +  1/2 sum_{i<j} W_ij [g_i, g_j]     (flatness + conflict)
 *     Z3 = sum_t De_t (A_t - 1/2 Z2 - 1/2 DE_<t E + 1/12 DE E) + 1/2 sum_t D2e_t(c_t, c_t) - 1/24 D2E(E, E)
 * with e_t = -h_t g_t, E = sum e_t, E_<t the sum before t, c_t = 1/2 (E_<t - e_t - E_>t), A_t = sum_{s<t} De_s E_<s.
 * Losses are the same task when they are the same func. */
#ifndef BEA_WORD_H
#define BEA_WORD_H

#include "../ops/ops.h"
#include "../func/func.h"

typedef struct word {
    ctx *c;
    atomic_int refs;
    int m, n;     /* steps; distinct tasks, in order of first appearance */
    func **task;  /* n losses ... */
    func **grad;  /* ... and their fields: a loss stands for its gradient */
    int *step;    /* (m) the task of each step */
    double *rate; /* (m) */
} word;

bk_status word_new(ctx *c, int m, func *const *losses, const double *rates, word **out, err *e);
void word_retain(word *w);
void word_release(word *w); /* NULL allowed */

/* W (n, n), row-major: sum_{s<s'} h_s h_s' (1[t_s=i, t_s'=j] - 1[t_s=j, t_s'=i]). */
void word_order_matrix(const word *w, double *out);

/* The discrete steps with every rate times scale: state (P elements of theta's dtype) is changed in place; work holds
 * as many. theta gives dtype and shape only. */
bk_status word_run(word *w, double scale, const tensor *theta, void *state, void *work, err *e);
/* The same, to a new tensor. */
bk_status word_step(word *w, const tensor *theta, tensor *out, err *e);

/* ---- field.c: the logarithm ---- */
typedef struct term_weights {
    double first, flatness, conflict, third; /* of Z1, Z2's two parts, Z3 */
} term_weights;

/* theta -> weighted sum of the terms. */
func *word_field(word *w, term_weights k, err *e);
/* The same with the rates (m, float64) as a second argument, so that one plan serves every scale. */
func *word_field_rates(word *w, term_weights k, err *e);

/* Fields differentiate with respect to an input of their own, which then gives way to the caller's theta: a theta
 * that is itself an expression may be simplified away inside them. */
node *bea_hole(graph *g, const node *theta);
bool bea_fill(graph *g, int n, node **outs, node *hole, node *theta);
/* (n, P): the flattened nodes, one a row; the first row of rows as theta's shape; D y . v, zeros when y is constant. */
node *bea_rows(graph *g, int n, node *const *v);
node *bea_row(graph *g, node *rows, int i, const node *like);
node *bea_jvp(graph *g, node *y, node *theta, node *v);

/* ---- verify.c: the order check ---- */
typedef struct verify_options {
    int n_scales, n_orders;
    const double *scales; /* all rates are multiplied by these */
    const int *orders;    /* 1..3: the flow of Z1 + ... + Z_order */
    double conflict;      /* strength of the conflict in Z2: 1; 0 and -1 are the controls */
    double rtol, atol;    /* of the flow */
} verify_options;

/* errors (n_orders, n_scales): distance between the flow's end and the steps' end; slopes (n_orders): least-squares
 * slope of log error against log scale, NaN when an error is 0. In float64 whatever theta's dtype. */
bk_status word_verify(word *w, const tensor *theta, const verify_options *o, double *errors, double *slopes, err *e);

#endif
