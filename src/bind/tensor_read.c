/* tensor_read.c - the methods that read a tensor: shape, dtype, item, totable, save ... */
#include "tensor_ops.h"
#include "../data/npy.h"
#include "args.h"
#include <string.h>

static int m_shape(lua_State *L) {
    lua_tensor *t = bind_tensor_arg(L, 1, "tensor:shape", "tensor");
    int ndim = bind_tensor_ndim(t);
    lua_createtable(L, ndim, 0);
    for (int i = 0; i < ndim; i++) {
        lua_pushinteger(L, bind_tensor_shape(t)[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

static int m_size(lua_State *L) {
    lua_tensor *t = bind_tensor_arg(L, 1, "tensor:size", "tensor");
    if (lua_isnoneornil(L, 2)) return m_shape(L);
    lua_pushinteger(L, bind_tensor_shape(t)[args_dim(L, 2, "tensor:size", "dim", bind_tensor_ndim(t))]);
    return 1;
}

static int m_dtype(lua_State *L) {
    lua_pushstring(L, dtype_name(bind_tensor_dtype(bind_tensor_arg(L, 1, "tensor:dtype", "tensor"))));
    return 1;
}

static int m_ndim(lua_State *L) {
    lua_pushinteger(L, bind_tensor_ndim(bind_tensor_arg(L, 1, "tensor:ndim", "tensor")));
    return 1;
}

static int m_count(lua_State *L) {
    lua_tensor *t = bind_tensor_arg(L, 1, "tensor:count", "tensor");
    lua_pushinteger(L, shape_count(bind_tensor_ndim(t), bind_tensor_shape(t)));
    return 1;
}

static int m_item(lua_State *L) {
    const tensor *t = bind_check_tensor(L, 1, "tensor:item", "tensor");
    shape_buf b;
    if (tensor_count(t) != 1)
        return args_error(L, "tensor:item", "expected a tensor of one element, got %s",
                          shape_text(t->ndim, t->shape, &b));
    if (t->dtype == BK_INT64)
        lua_pushinteger(L, *(const int64_t *)tensor_data(t));
    else
        lua_pushnumber(L, tensor_get(t, 0));
    return 1;
}

static int m_clone(lua_State *L) {
    lua_tensor *t = bind_tensor_arg(L, 1, "tensor:clone", "tensor");
    if (t->g) {
        lua_settop(L, 1);
        return 1;
    }
    tensor *copy = bind_tensor_push_new(L, t->value.dtype, t->value.ndim, t->value.shape, "tensor:clone");
    err e = { 0 };
    if (tensor_copy(&t->value, t->value.dtype, tensor_data(copy), &e)) return bind_raise(L, &e);
    return 1;
}

static int m_save(lua_State *L) {
    const tensor *t = bind_check_tensor(L, 1, "tensor:save", "tensor");
    const char *path = args_path(L, 2, "tensor:save");
    err e = { 0 };
    if (npy_write(bind_ctx(L), path, t, &e)) {
        err named = { 0 };
        err_set(&named, e.status, "tensor:save: %s", e.text);
        return bind_raise(L, &named);
    }
    lua_settop(L, 1);
    return 1;
}

static const bind_row methods[] = {
    { "shape", m_shape, "t:shape() -> list of integers\nThe sizes as a table, {} for 0-d." },
    { "size", m_size, "t:size([dim]) -> integer or list\nOne size, or all of them as t:shape()." },
    { "dtype", m_dtype, "t:dtype() -> string\n\"float64\", \"float32\" or \"int64\"." },
    { "ndim", m_ndim, "t:ndim() -> integer\nThe number of dimensions." },
    { "count", m_count, "t:count() -> integer\nThe number of elements." },
    { "item", m_item,
      "t:item() -> number\nThe one element as a Lua number; an integer for int64.\nErrors: while tracing." },
    { "totable", bind_tensor_totable,
      "t:totable() -> table\nNested tables of Lua numbers; the number itself for 0-d.\nErrors: while tracing." },
    { "clone", m_clone, "t:clone() -> tensor\nA copy with its own memory." },
    { "save", m_save,
      "t:save(path) -> tensor\nWrites NumPy's .npy format and returns t; the file appears whole or not at all." },
    { NULL, NULL, NULL },
};

const bind_row *bind_tensor_method_rows(void) {
    return methods;
}
