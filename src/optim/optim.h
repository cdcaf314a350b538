/* optim.h - optimizers: updates of theta from a gradient, elementwise, with explicit state that can be saved, restored
 * and reset. One optimizer a file, each a row `const optim_row optim_NAME`. Formulas and defaults are PyTorch's unless
 * the row says otherwise. */
#ifndef OPTIM_OPTIM_H
#define OPTIM_OPTIM_H

#include "../tensor/tensor.h"

enum { OPTIM_MAX_OPTIONS = 6, OPTIM_MAX_BUFFERS = 3 };

typedef struct optim_option {
    const char *name; /* NULL ends the list */
    double value;     /* the default */
    double low, high; /* allowed: low <= value, and value < high */
} optim_option;

/* What an update sees. Buffers start as zeros. */
typedef struct optim_update {
    int64_t n, t; /* elements; the number of this step, from 1 */
    double lr;
    const double *option; /* in the row's order */
    void *theta;
    const void *g;
    void *buffer[OPTIM_MAX_BUFFERS];
} optim_update;

typedef struct optim_row {
    const char *name, *doc;
    optim_option options[OPTIM_MAX_OPTIONS];
    const char *buffers[OPTIM_MAX_BUFFERS + 1]; /* names, NULL-ended */
    void (*f64)(const optim_update *u);
    void (*f32)(const optim_update *u);
} optim_row;

#include "gen/optim_rows.h" /* extern const optim_row optim_NAME; of every row in src/optim */

extern const optim_row *const optim_rows[]; /* NULL-terminated, generated */

typedef struct optim {
    ctx *c;
    const optim_row *row;
    double option[OPTIM_MAX_OPTIONS];
    int64_t t, n; /* steps done; elements, -1 before the first */
    bk_dtype dtype;
    tensor buffer[OPTIM_MAX_BUFFERS]; /* in theta's dtype */
} optim;

bk_status optim_new(ctx *c, const optim_row *row, const double *options, optim **out, err *e);
void optim_free(optim *o);  /* NULL allowed */
void optim_reset(optim *o); /* as new */

/* One step in place on theta (n elements of dtype); g is not changed. Allocates at the first step only. */
bk_status optim_step(optim *o, int64_t n, bk_dtype dtype, void *theta, const void *g, double lr, err *e);

/* Sets step count and buffers (all of one size and dtype, as many as the row names); values are copied. */
bk_status optim_restore(optim *o, int64_t t, const tensor *buffers, err *e);

/* Both kernels of an optimizer from one loop body: T is the type, i the element, u the update; th, g, b0..b2 point to
 * theta, the gradient and the buffers, lr and what `setup` declares are of type T. */
#define OPTIM_KERNEL(FUNCTION, T, SQRT, SETUP, BODY)                                                                   \
    static void FUNCTION(const optim_update *u) {                                                                      \
        T *restrict th = u->theta, *restrict b0 = u->buffer[0], *restrict b1 = u->buffer[1];                           \
        const T *restrict g = u->g;                                                                                    \
        const T lr = (T)u->lr;                                                                                         \
        (void)b0, (void)b1;                                                                                            \
        SETUP                                                                                                          \
        for (int64_t i = 0; i < u->n; i++) {                                                                           \
            BODY                                                                                                       \
        }                                                                                                              \
    }
#define OPT(T, k) ((T)u->option[k])

#endif
