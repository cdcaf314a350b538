/* tensor_ops.h - the operations of tensors: those of their rows (tensor_ops.c), and those bound by hand in tensor_ops.c,
 * tensor_shape.c and tensor_reduce.c. */
#ifndef BIND_TENSOR_OPS_H
#define BIND_TENSOR_OPS_H

#include "tensor_value.h"

/* Each is bound twice: as methods of tensors and as bk.NAME. */
const bind_row *bind_tensor_op_rows(void);
const bind_row *bind_tensor_shape_rows(void);
const bind_row *bind_tensor_reduce_rows(void);
const bind_row *bind_tensor_method_rows(void); /* methods only */
/* The operations that src/ops declares, into the tables at these places of the stack: their arithmetic into the
 * metatable, all of them as methods and as functions. */
void bind_operations(lua_State *L, int meta, int methods, int functions);
/* t's elements in another shape of as many, concrete or traced; pushed. */
int bind_ops_reshape(lua_State *L, lua_tensor *t, int ndim, const int64_t *shape, const char *name);

#endif
