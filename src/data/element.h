/* element.h - the numbers of files, in any size and byte order, and what they become in a tensor. */
#ifndef DATA_ELEMENT_H
#define DATA_ELEMENT_H

#include "../tensor/tensor.h"

typedef enum element_kind {
    ELEMENT_FLOAT,  /* IEEE 754: 2, 4 or 8 bytes */
    ELEMENT_BFLOAT, /* the upper 2 bytes of a float32 */
    ELEMENT_SIGNED,
    ELEMENT_UNSIGNED,
    ELEMENT_BOOL, /* 1 byte, 0 or 1 */
} element_kind;

typedef struct element {
    element_kind kind;
    int size; /* bytes */
    bool big; /* most significant byte first */
} element;

/* 8-byte floats become float64, other floats float32, whole numbers and truth values int64. */
bk_dtype element_dtype(element t);
/* n elements into `to`, of element_dtype. A value that has no int64 and a truth value other than 0 and 1 is BK_EIO;
 * `where` begins the message. */
bk_status element_decode(ctx *c, const char *where, element t, int64_t n, const unsigned char *from, void *to, err *e);

#endif
