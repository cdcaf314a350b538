/* func_lua.h - what func_value.c, func_call.c, func_transforms.c and func_room.c share: kinds of func userdata and how
 * they are made, specialised to arguments that are not tensors, and called. */
#ifndef BIND_FUNC_LUA_H
#define BIND_FUNC_LUA_H

#include "func_value.h"
#include "tensor_value.h"

typedef enum func_kind {
    KIND_LUA,    /* a traced Lua function */
    KIND_NATIVE, /* from C */
    KIND_GRAD,
    KIND_VALUE_AND_GRAD,
    KIND_HVP,
    KIND_HESSIAN,
    KIND_VMAP,
    KIND_JVP,
    KIND_VJP,
    KIND_LIE,
    KIND_COMPILE,
    KINDS
} func_kind;

/* What a transform is told besides its operands. */
typedef struct func_how {
    int n;                            /* KIND_VJP: the number of arguments; KIND_VMAP: of axes given */
    signed char axes[FUNC_ARGUMENTS]; /* KIND_VMAP: see func_vmap */
    int64_t memory;                   /* KIND_COMPILE: see func_compile */
} func_how;

typedef struct lua_func {
    func *f; /* NULL until acquired */
    func_kind kind;
    func_how how;
} lua_func;

/* Pushes the transform of the func userdata at index (of those at index and second for KIND_LIE); the same one for the
 * same operands, so that compiled plans are reused. how NULL: nothing to tell. */
void bind_func_transform(lua_State *L, func_kind kind, int index, int second, const func_how *how);

/* Calls the func userdata at index on the values first..last of the stack: tensors, numbers (the first argument, and
 * every one where the function comes from C, becomes a tensor), other values that specialise a traced function.
 * Pushes the results, returns their number. */
int bind_func_call_values(lua_State *L, int index, int first, int last, const char *fname);
/* Splits the values first..last: replaces the userdata at index by its specialisation to those that are no tensors and
 * removes them from the stack; returns how many tensors are left from first on, at the top of the stack. */
int bind_func_specialise(lua_State *L, int index, int first, int last, const char *fname);
/* Calls f on the tensors first..first+n-1, concrete or traced. */
int bind_func_call_tensors(lua_State *L, func *f, int first, int n, const char *fname);

void bind_func_open_class(lua_State *L); /* the metatable, without calls and methods; pushed */
const bind_row *bind_func_transform_rows(void);
const bind_row *bind_func_method_rows(void);

#endif
