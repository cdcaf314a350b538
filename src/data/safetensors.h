/* safetensors.h - writing named tensors in one file: 8 bytes of header length (little-endian), a header in JSON, the
 * elements. The row in safetensors.c reads it. */
#ifndef DATA_SAFETENSORS_H
#define DATA_SAFETENSORS_H

#include "../tensor/tensor.h"

typedef struct named_tensor {
    char *name;
    tensor value;
} named_tensor;

typedef struct named_text {
    char *name, *value;
} named_text;

typedef struct safetensors { /* what is written; the caller's */
    ctx *c;
    int n, n_texts;
    named_tensor *tensors;
    named_text *texts; /* the metadata */
} safetensors;

/* s->c is c. Names are UTF-8, not empty and not "__metadata__", no two the same, else BK_EINVAL. Tensors may have any
 * strides. The file appears whole or not at all. */
bk_status safetensors_write(ctx *c, const char *path, const safetensors *s, err *e);

#endif
