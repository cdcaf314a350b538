/* flow.h - the flow of a field: theta' = F(theta), integrated from time 0. */
#ifndef BEA_FLOW_H
#define BEA_FLOW_H

#include "../func/func.h"

typedef enum flow_method { FLOW_DOPRI5, FLOW_RK4 } flow_method;

typedef struct flow_options {
    flow_method method;
    double time;       /* may be negative: the flow backwards */
    double rtol, atol; /* dopri5: each step's error, per element, is held below atol + rtol |theta| (RMS) */
    int64_t steps;     /* rk4: that many equal steps */
    int64_t max_steps; /* dopri5: give up after as many */
} flow_options;

typedef struct flow_stats {
    int64_t steps, rejected, evaluations;
} flow_stats;

flow_options flow_defaults(void); /* dopri5, time 1, rtol 1e-12, atol 1e-14 */

/* A field compiled for one theta and the extra arguments that follow it, to be integrated many times. The state is
 * kept in float64 whatever theta's dtype; for float32 the tolerances are raised to what its rounding allows. */
typedef struct flow flow;
bk_status flow_new(func *field, const tensor *theta, int n_extra, const tensor *extra, flow **out, err *e);
void flow_free(flow *f); /* NULL allowed */

/* From state (theta's count of doubles, overwritten) to the flow at o->time. extra[i]: row-major data of the extra
 * arguments. stats may be NULL. Fails on non-finite values, a step size that underflows, and interrupts. */
bk_status flow_run(flow *f, const flow_options *o, const void *const *extra, double *state, flow_stats *stats, err *e);

/* Both at once, to a new tensor of theta's dtype and shape. */
bk_status flow_of(func *field, const tensor *theta, const flow_options *o, tensor *out, flow_stats *stats, err *e);

#endif
