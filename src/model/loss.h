/* loss.h - losses of a model: functions of theta with their data inside, or of (theta, x, y). */
#ifndef MODEL_LOSS_H
#define MODEL_LOSS_H

#include "model.h"

typedef struct loss_row {
    const char *name;
    const char *doc; /* formula and shapes of y */
    bool class_ids;  /* y holds class ids from 0, int64 in the graph; else targets of z's shape */
    node *(*build)(graph *g, node *z, node *y); /* z: the model's outputs */
} loss_row;

extern const loss_row *const loss_rows[]; /* NULL-terminated */
const loss_row *loss_find(const char *name); /* NULL: unknown */

/* theta -> loss with x and y kept inside (cast once to each dtype of theta met). Shapes and class ids are checked
 * here, not later. x and y both NULL: the function (theta, x, y) -> loss. */
func *loss_new(model *m, const loss_row *row, const tensor *x, const tensor *y, err *e);

/* (theta, x, y) -> share of examples whose largest output is class y. */
func *loss_accuracy(model *m, err *e);

#endif
