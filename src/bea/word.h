/* word.h - a word: a sequence of steps, first applied first, and the field whose time-1 flow it is (its logarithm),
 * order by order in the rates. A step is an Euler step of a field F (a loss stands for its gradient), theta - h F; the
 * exact flow of -F for time h; or any smooth map f(theta, h) with f(theta, 0) = theta. Fields are the same task when
 * they are the same func. For Euler steps, field.c: Z1 = -sum h_s F_s       Z2 = -1/2 sum h_s^2 DF_s F_s  +  1/2
 * sum_{i<j} W_ij [F_i, F_j]     (flatness + conflict) Z3 = sum_t De_t (A_t - 1/2 Z2 - 1/2 DE_<t E + 1/12 DE E) + 1/2
 * sum_t D2e_t(c_t, c_t) - 1/24 D2E(E, E) e_t = -h_t F_t, E = sum e_t, E_<t the sum before t, c_t = 1/2 (E_<t - e_t -
 * E_>t), A_t = sum_{s<t} De_s E_<s; series.c has the rest. */
#ifndef BEA_WORD_H
#define BEA_WORD_H

#include "../ops/ops.h"
#include "../func/func.h"

typedef enum step_kind { STEP_EULER, STEP_EXACT, STEP_MAP } step_kind;

typedef struct word_step_spec {
    step_kind kind;
    func *f; /* a loss or field; STEP_MAP: (theta, h) -> theta' */
    double rate;
} word_step_spec;

typedef struct word_map {
    func *f, *run, *jets; /* f as given; (theta, h) -> f of theta's dtype; the same and its derivatives in h */
    int checked;          /* so many derivatives are known to exist, for theta of this size and dtype */
    int64_t count;
    bk_dtype dtype;
} word_map;

typedef struct word {
    ctx *c;
    atomic_int refs;
    int m, n, n_maps; /* steps; distinct fields and maps, in order of first appearance */
    func **task;      /* n losses or fields ... */
    func **grad;      /* ... and the fields they stand for */
    word_map *map;    /* n_maps */
    int *step;        /* (m) the task, or the map, of each step */
    step_kind *kind;  /* (m) */
    double *rate;     /* (m) */
    bool euler;       /* all steps are */
} word;

bk_status word_new(ctx *c, int m, const word_step_spec *steps, word **out, err *e);
void word_retain(word *w);
void word_release(word *w); /* NULL allowed */

/* W (n, n), row-major: sum_{s<s'} h_s h_s' (1[t_s=i, t_s'=j] - 1[t_s=j, t_s'=i]), over the steps of fields. */
void word_order_matrix(const word *w, double *out);

/* The discrete steps with every rate times scale: state (P elements of theta's dtype) is changed in place; work holds
 * as many. theta gives dtype and shape only. */
bk_status word_run(word *w, double scale, const tensor *theta, void *state, void *work, err *e);
/* The same, to a new tensor. */
bk_status word_step(word *w, const tensor *theta, tensor *out, err *e);
/* Says in e that it was step s. */
bk_status word_failed(int s, bk_status st, err *e);

/* ---- map.c ---- */
enum { MAP_JETS = 3 };
/* (theta, h) -> f(theta, h) and its first n derivatives in h, of theta's dtype. */
func *word_map_jets(func *f, int n, err *e);
node *word_build_map(func *f, graph *g, node *theta, node *h);
/* Step s's map is the identity at h = 0, and there `order` (at most MAP_JETS) times differentiable in h, at theta;
 * theta NULL: at a made-up point like `like`. BK_EINVAL where it is not; what is not finite at h = 0 is let pass. */
bk_status word_check_map(word *w, int s, int order, const tensor *theta, const node *like, err *e);

/* ---- field.c, series.c: the logarithm ---- */
typedef struct term_weights {
    double first, flatness, conflict, third; /* of Z1, Z2's two parts, Z3 */
    int from, to;                            /* and Z_from + ... + Z_to, 4 <= from; to 0: none */
} term_weights;

/* theta -> weighted sum of the terms. */
func *word_field(word *w, term_weights k, err *e);
/* The same with a factor of all rates (0-d, float64) as a second argument, so that one plan serves every scale. */
func *word_field_scaled(word *w, term_weights k, err *e);

/* The field of task i at theta; a failure names the step it belongs to. */
node *word_build_task(const word *w, int i, graph *g, node *theta);
/* z[0..order-1]: Z_1, Z_2, ... of any word at the leaf theta, and (conflict not NULL) Z_2's conflict: half the brackets
 * of the steps' first terms. Zeros are NULL. */
bool word_series(word *w, graph *g, node *theta, int order, node **z, node **conflict);

/* Fields differentiate with respect to an input of their own, which then gives way to the caller's theta: a theta
 * that is itself an expression may be simplified away inside them. */
node *bea_hole(graph *g, const node *theta);
bool bea_fill(graph *g, int n, node **outs, node *hole, node *theta);
/* (n, P): the flattened nodes, one a row; D y . v, zeros when y is constant. */
node *bea_rows(graph *g, int n, node *const *v);
node *bea_jvp(graph *g, node *y, node *theta, node *v);

/* ---- verify.c: the order check ---- */
typedef struct verify_options {
    int n_scales, n_orders;
    const double *scales; /* all rates are multiplied by these */
    const int *orders;    /* 1, 2, ...: the flow of Z1 + ... + Z_order */
    double conflict;      /* strength of the conflict in Z2: 1; 0 and -1 are the controls */
    double rtol, atol;    /* of the flow */
} verify_options;

/* errors (n_orders, n_scales): distance between the flow's end and the steps' end; slopes (n_orders): least-squares
 * slope of log error against log scale, NaN when an error is 0. In float64 whatever theta's dtype. */
bk_status word_verify(word *w, const tensor *theta, const verify_options *o, double *errors, double *slopes, err *e);

#endif
