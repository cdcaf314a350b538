/* value.h - what readers return and are told: tensors, texts and whole numbers in tables, whose entries stand by name
 * or by place. A tree; who holds its root frees all of it. */
#ifndef DATA_VALUE_H
#define DATA_VALUE_H

#include "../tensor/tensor.h"

typedef enum value_kind { VALUE_TABLE, VALUE_TENSOR, VALUE_TEXT, VALUE_COUNT } value_kind;

typedef struct value value;
struct value {
    ctx *c;
    value_kind kind;
    char *key; /* its name in the table; NULL: it stands by place */
    tensor tensor;
    char *text;
    int64_t count;
    value *first, *last; /* of a table */
    value *next;         /* in its table */
};

/* Adds an entry (key NULL: by place) and returns it, or NULL and BK_ENOMEM in e. key and text are copied. */
value *value_add(value *table, const char *key, value_kind kind, err *e);
/* These take the tensor's reference in any case, so that the caller is done with it. */
bk_status value_add_tensor(value *table, const char *key, tensor *t, err *e);
bk_status value_add_text(value *table, const char *key, const char *text, size_t n, err *e);
bk_status value_add_count(value *table, const char *key, int64_t count, err *e);
const value *value_at(const value *table, const char *key); /* NULL: none */
void value_free(value *v);                                  /* what v holds; v itself is the caller's, and is cleared */

#endif
