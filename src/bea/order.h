/* order.h - what order does to a target: tournaments at a point, and brackets along the joint path. */
#ifndef BEA_ORDER_H
#define BEA_ORDER_H

#include "word.h"

/* theta -> pairs (n, n), scores (n): A_ij = <u_j, g_i> - <u_i, g_j> = <grad E, [g_i, g_j]>, u_i = H_i grad E, from n
 * gradients and n products; scores are the row sums. A_ij < 0: i before j is better for the target E.
 * drift: grad E is taken at theta - drift sum g_i instead of theta (0: at theta). */
func *tournament_func(ctx *c, int n, func *const *sources, func *target, double drift, err *e);

typedef enum path_method { PATH_HEUN, PATH_EULER } path_method;

typedef enum path_weight { PATH_UNIFORM, PATH_TENT } path_weight;

typedef struct path_options {
    double time;   /* kappa = k h: how long each task's block is */
    int64_t steps; /* of the joint path, each of time kappa/steps */
    path_method method;
    path_weight weight;
} path_options;

/* What path_bracket needs of sources and target E, functions of (theta, data...): it compiles once for all calls. */
func *path_func(ctx *c, int n, func *const *sources, func *target, err *e);

/* pairs (n, n), row-major: the predicted E(theta_ij) - E(theta_ji), i's block before j's or after,
 *     kappa^2 int_0^1 <p, [g_i, g_j]> dt,   <p, [g_i, g_j]> = <H_j p, g_i> - <H_i p, g_j>,
 * along theta' = -kappa sum g from theta, with p(1) = grad E and p' = kappa sum H p backwards. heun: second order in
 * the step, 2 gradients and 2 products of every task a step; euler: the discrete joint run and its exact adjoint, half
 * the work. Both keep the formula's accuracy, euler up to O(kappa^3/steps). tent, of two sources: 4 min(t, 1 - t) times
 * what stands in the integral. The orders are theta' = -kappa ((1 + e s) g_A + (1 - e s) g_B), s = 1 in the first half
 * and -1 in the second, at e = 1 and -1; the tent gives 2 dE/de at e = 0, so that what it leaves has three factors
 * g_A - g_B: kappa^4 <grad E, [X, [X, [g_A, g_B]]]> / 48, X = g_A - g_B, where uniform leaves
 * -kappa^4 <grad E, [g_B, [g_A, [g_A, g_B]]]> / 12. */
bk_status path_bracket(func *of, const tensor *theta, int n_data, const tensor *data, const path_options *o,
                       double *pairs, err *e);

#endif
