/* tensor_ops.h - the tables of operations, split over tensor_ops.c (elementwise), bind_tensor_shape.c and
 * tensor_reduce.c.
 */
#ifndef BIND_TENSOR_OPS_H
#define BIND_TENSOR_OPS_H

#include "tensor_value.h"

/* Each is bound twice: as methods of tensors and as bk.NAME. */
const bind_row *bind_tensor_op_rows(void);
const bind_row *bind_tensor_shape_rows(void);
const bind_row *bind_tensor_reduce_rows(void);
const bind_row *bind_tensor_method_rows(void); /* methods only */
void bind_tensor_metamethods(lua_State *L);    /* arithmetic, into the metatable on top */

/* An operation of the one tensor at stack index 1. */
int bind_ops_unary(lua_State *L, const char *name,
                   bool (*build)(graph *, const op_call *, int, node *const *, node **));
/* t's elements in another shape of as many, concrete or traced; pushed. */
int bind_ops_reshape(lua_State *L, lua_tensor *t, int ndim, const int64_t *shape, const char *name);

#endif
