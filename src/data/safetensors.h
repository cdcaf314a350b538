/* safetensors.h - named tensors in one file: 8 bytes of header length (little-endian), a header in JSON, the
 * elements. */
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

typedef struct safetensors {
    ctx *c;
    int n, n_texts;
    named_tensor *tensors; /* in the order of their elements */
    named_text *texts;     /* the metadata */
} safetensors;

/* F64, F32 and I64 only; any other type is BK_EUNSUPPORTED. A malformed header, one that does not fit the elements,
 * and any byte too few or too many are BK_EIO and name the file. Ends with safetensors_free, also on failure. */
bk_status safetensors_read(ctx *c, const char *path, safetensors *out, err *e);
void safetensors_free(safetensors *s);

/* s->c is c. Names are UTF-8, not empty and not "__metadata__", no two the same, else BK_EINVAL. Tensors may have any
 * strides. The file appears whole or not at all. */
bk_status safetensors_write(ctx *c, const char *path, const safetensors *s, err *e);

#endif
