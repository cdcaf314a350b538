/* tensor_ops.h - what tensors can do: the operations, from their rows, and the methods that read a tensor. */
#ifndef BIND_TENSOR_OPS_H
#define BIND_TENSOR_OPS_H

#include "tensor_value.h"

/* Every public operation, into the three tables at these absolute indices: bk.NAME, the metamethod, t:NAME. */
void bind_tensor_ops(lua_State *L, int module, int meta, int methods);
const bind_row *bind_tensor_method_rows(void); /* methods only */

#endif
