/* loss.h - losses of a model: functions of theta with their data inside, or of (theta, x, y). */
#ifndef MODEL_LOSS_H
#define MODEL_LOSS_H

#include "model.h"

typedef struct loss_row loss_row;

/* A kind of loss, and the values of the kind's options in their order. */
typedef struct loss {
    const loss_row *row;
    double option[OPTIONS_MAX];
} loss;

/* A kind of loss: `const loss_row loss_NAME = {`. */
struct loss_row {
    const char *name;
    const char *doc; /* signature, one sentence, shapes of y, formula */
    option options[OPTIONS_MAX];
    bool class_ids; /* y (batch) holds class ids from 0, int64 in the graph; else targets of z's shape */
    bool probabilities; /* these are from 0 to 1 */
    node *(*build)(const loss *l, graph *g, node *z, node *y); /* z: the model's outputs, not empty */
    node *(*hits)(graph *g, node *z, node *y); /* 1 for a right answer, else 0; NULL: there is no right and wrong */
};

#include "gen/loss_rows.h"                   /* extern const loss_row loss_NAME; of every row in src/model */
extern const loss_row *const loss_rows[];    /* NULL-terminated, generated */
extern const char *const loss_row_names[]; /* NAME of each loss_NAME */

/* theta -> loss with x and y kept inside (cast once to each dtype of theta met). Shapes and class ids are checked
 * here, not later. x and y both NULL: the function (theta, x, y) -> loss. In the mode of `with`, whose seed and buffers
 * are values[] (kept). */
func *loss_new(model *m, const loss *l, const tensor *x, const tensor *y, const model_with *with, const tensor *values,
               err *e);

/* (theta, x, y) -> share of right answers, by the row's `hits`, which it has. */
func *loss_accuracy(model *m, const loss_row *row, err *e);

/* The largest output is class y's. */
node *loss_hits_class(graph *g, node *z, node *y);

#endif
