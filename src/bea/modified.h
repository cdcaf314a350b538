/* modified.h - modified losses and fields of the two elementary protocols: one step on all tasks together
 * (multitask), and one step on each in turn (continual). */
#ifndef BEA_MODIFIED_H
#define BEA_MODIFIED_H

#include "word.h"

/* One step of rate h on the sum (or mean: every loss divided by n first) of n losses:
 *     L~ = sum L_i + (h/4) sum |g_i|^2 + (h/2) sum_{i<j} <g_i, g_j>,     grad L~ = G + (h/2) H G. */
typedef enum multitask_part {
    MULTITASK_TERMS, /* theta -> original, flatness, conflict (0-d each) */
    MULTITASK_LOSS,  /* theta -> L~ */
    MULTITASK_GRAD   /* theta -> grad L~ by the closed form: n gradients, n products */
} multitask_part;
func *multitask_func(ctx *c, int n, func *const *losses, double h, bool mean, multitask_part part, err *e);

/* One step of rate h_i on each task in turn, the word 1 2 ... n; a round lasts T = mean of the rates (h when all are
 * h), and fields are velocities in that time:
 *     theta' = -grad L~ + conflict,   L~ = sum (h_i/T) L_i + sum h_i^2/(4T) |g_i|^2,
 *     conflict = 1/(2T) sum_{i<j} h_i h_j [g_i, g_j]. */
/* theta -> conflict (theta's shape), its norm, original, flatness, effect (n): effect_k = <g_k, conflict> is the rate
 * of change of loss k it causes. Where a task is a field that is no loss's, the first two alone. */
func *continual_terms(word *w, err *e);
/* theta -> velocity: the logarithm's terms up to order 1..3, divided by T. */
func *continual_field(word *w, int order, err *e);

#endif
