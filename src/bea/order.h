/* order.h - what order does to a target: tournaments at a point, and brackets along the joint path. */
#ifndef BEA_ORDER_H
#define BEA_ORDER_H

#include "word.h"

/* theta -> pairs (n, n), scores (n): A_ij = <u_j, g_i> - <u_i, g_j> = <grad E, [g_i, g_j]>, u_i = H_i grad E, from n
 * gradients and n products; scores are the row sums. A_ij < 0: i before j is better for the target E.
 * drift: grad E is taken at theta - drift sum g_i instead of theta (0: at theta). */
func *tournament_func(ctx *c, int n, func *const *sources, func *target, double drift, err *e);

typedef enum path_method { PATH_HEUN, PATH_EULER } path_method;

typedef struct path_options {
    double time;   /* kappa = k h: how long each task's block is */
    int64_t steps; /* of the joint path, each of time kappa/steps */
    path_method method;
} path_options;

/* pairs (n, n), row-major: the predicted E(theta_ij) - E(theta_ji), i's block before j's or after,
 *     kappa^2 int_0^1 <p, [g_i, g_j]> dt,   <p, [g_i, g_j]> = <H_j p, g_i> - <H_i p, g_j>,
 * along theta' = -kappa sum g from theta, with p(1) = grad E and p' = kappa sum H p backwards. heun: second order in
 * the step, 2 gradients and 2 products of every task a step; euler: the discrete joint run and its exact adjoint, half
 * the work. Both keep the formula's accuracy, euler up to O(kappa^3/steps). */
bk_status path_bracket(ctx *c, int n, func *const *sources, func *target, const tensor *theta, const path_options *o,
                       double *pairs, err *e);

#endif
