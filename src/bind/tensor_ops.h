/* tensor_ops.h - the tables of operations, split over tensor_ops.c (elementwise), tensor_shape.c and tensor_reduce.c.
 */
#ifndef BIND_TENSOR_OPS_H
#define BIND_TENSOR_OPS_H

#include "tensor.h"

/* Each is bound twice: as methods of tensors and as bk.NAME. */
const bind_row *tensor_op_rows(void);
const bind_row *tensor_shape_rows(void);
const bind_row *tensor_reduce_rows(void);
const bind_row *tensor_method_rows(void); /* methods only */
void tensor_metamethods(lua_State *L);    /* arithmetic, into the metatable on top */

/* An operation of the one tensor at stack index 1. */
int ops_unary(lua_State *L, const char *name, bool (*build)(graph *, const op_call *, int, node *const *, node **));
/* t's elements in another shape of as many, concrete or traced; pushed. */
int ops_reshape(lua_State *L, lua_tensor *t, int ndim, const int64_t *shape, const char *name);

#endif
