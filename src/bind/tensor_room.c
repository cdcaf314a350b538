/* tensor_room.c - opens the room of tensors: the userdata's metamethods, and every operation as a method and as
 * bk.NAME. */
#include "args.h"
#include "tensor_ops.h"
#include <string.h>

/* ---- metamethods of the userdata itself ---- */

static int m_gc(lua_State *L) {
    lua_tensor *t = luaL_testudata(L, 1, BIND_TENSOR);
    if (t) {
        tensor_release(&t->value);
        t->g = NULL;
    }
    return 0;
}

static int m_len(lua_State *L) {
    lua_tensor *t = bind_tensor_arg(L, 1, "#tensor", "tensor");
    if (bind_tensor_ndim(t) == 0) return args_error(L, "#tensor", "a 0-d tensor has no length");
    lua_pushinteger(L, bind_tensor_shape(t)[0]);
    return 1;
}

static bool build_row(graph *g, const op_call *c, int n_in, node *const *in, node **out) {
    (void)n_in;
    node *row = g_narrow(g, in[0], 0, c->ints[0], 1);
    if (row) out[0] = g_reshape(g, row, in[0]->ndim - 1, in[0]->shape + 1);
    return out[0] != NULL;
}

static int m_index(lua_State *L) {
    if (lua_type(L, 2) == LUA_TSTRING) {
        lua_pushvalue(L, 2);
        if (lua_rawget(L, lua_upvalueindex(1)) == LUA_TNIL)
            return args_no_field(L, "tensor", "no method or field", lua_upvalueindex(1));
        return 1;
    }
    lua_tensor *t = bind_tensor_arg(L, 1, "tensor index", "tensor");
    int ndim = bind_tensor_ndim(t), ok = 0;
    lua_Integer i = lua_type(L, 2) == LUA_TNUMBER ? lua_tointegerx(L, 2, &ok) : 0;
    if (!ok) return args_fail(L, 2, "tensor index", "index", "an integer");
    if (ndim == 0)
        return args_error(L, "tensor index", "a 0-d tensor has no elements to index; its number is t:item()");
    int64_t size = bind_tensor_shape(t)[0];
    if (i < 1 || i > size)
        return args_error(L, "tensor index", "index %I is outside 1..%I%s", (LUAI_UACINT)i, (LUAI_UACINT)size,
                          i == size + 1 ? " (ipairs does not end at a tensor's last; for i = 1, #t does)" : "");
    if (t->g) {
        op_call call = { .name = "tensor index", .build = build_row, .n_out = 1, .n_ints = 1, .ints = { i - 1 } };
        return bind_tensor_apply(L, &call, 1, &t);
    }
    tensor v = t->value;
    v.offset += (i - 1) * v.strides[0];
    v.ndim--;
    memmove(v.shape, v.shape + 1, sizeof v.shape[0] * (size_t)v.ndim);
    memmove(v.strides, v.strides + 1, sizeof v.strides[0] * (size_t)v.ndim);
    bind_tensor_push_view(L, &v);
    return 1;
}

static int m_newindex(lua_State *L) {
    return args_error(L, "tensor", "tensors do not change; make a new one (bk.where, bk.concat, bk.stack)");
}

static bool values_equal(lua_State *L, const tensor *a, const tensor *b) {
    if (!shape_equal(a->ndim, a->shape, b->ndim, b->shape)) return false;
    const int64_t n = tensor_count(a);
    const bool whole = a->dtype == BK_INT64 && b->dtype == BK_INT64;
    for (int64_t i = 0; i < n; i++) {
        bind_poll(L, i);
        if (whole ? tensor_get_int64(a, i) != tensor_get_int64(b, i) : !(tensor_get(a, i) == tensor_get(b, i)))
            return false;
    }
    return true;
}

static int m_eq(lua_State *L) {
    if (!bind_tensor_test(L, 1) || !bind_tensor_test(L, 2)) {
        lua_pushboolean(L, 0);
        return 1;
    }
    lua_tensor *a = bind_tensor_concrete(L, 1, "==", "left"), *b = bind_tensor_concrete(L, 2, "==", "right");
    lua_pushboolean(L, values_equal(L, &a->value, &b->value));
    return 1;
}

/* Makes a number of the single value at index; Lua compares integers with floats exactly. */
static void order_operand(lua_State *L, int index, const char *op) {
    if (lua_type(L, index) == LUA_TNUMBER) return;
    lua_tensor *t = bind_tensor_concrete(L, index, op, index == 1 ? "left" : "right");
    if (tensor_count(&t->value) != 1)
        args_error(L, op, "compares single values; for elementwise results use t:lt(u), t:le(u), t:gt(u), t:ge(u)");
    if (t->value.dtype == BK_INT64) lua_pushinteger(L, tensor_get_int64(&t->value, 0));
    else lua_pushnumber(L, tensor_get(&t->value, 0));
    lua_replace(L, index);
}

static int order(lua_State *L, int op, const char *sign) {
    order_operand(L, 1, sign);
    order_operand(L, 2, sign);
    lua_pushboolean(L, lua_compare(L, 1, 2, op));
    return 1;
}
static int m_lt(lua_State *L) {
    return order(L, LUA_OPLT, "<");
}
static int m_le(lua_State *L) {
    return order(L, LUA_OPLE, "<=");
}

static const bind_row print_rows[] = {
    { "print_options", bind_tensor_print_options,
      "bk.print_options([{ precision, threshold, width }]) -> options\nHow tensors print, from now on in this state. "
      "What is not named stays as it is.\n\nReturns: a table of what holds now.",
      bind_print_options },
    { NULL, NULL, NULL },
};

/* Lua's operators that tensors have not: what to write in their place. */
static const char *const missing[][3] = { { "__idiv", "//", "bk.floor(t / u)" },
                                          { "__mod", "%", "t - u * bk.floor(t / u)" },
                                          { "__concat", "..", "tostring(t)" } };
static int m_missing(lua_State *L) { /* upvalue: which */
    const char *const *row = missing[lua_tointeger(L, lua_upvalueindex(1))];
    return args_error(L, row[1], "tensors have no such operator; write %s", row[2]);
}

void bind_tensor(lua_State *L) {
    bind_state_new(L);
    luaL_newmetatable(L, BIND_TENSOR);
    static const luaL_Reg meta[] = {
        { "__len", m_len }, { "__newindex", m_newindex },           { "__eq", m_eq }, { "__lt", m_lt },
        { "__le", m_le },   { "__tostring", bind_tensor_tostring }, { NULL, NULL },
    };
    luaL_setfuncs(L, meta, 0);
    for (int i = 0; i < (int)(sizeof missing / sizeof *missing); i++) {
        lua_pushinteger(L, i);
        lua_pushcclosure(L, m_missing, 1);
        lua_setfield(L, -2, missing[i][0]);
    }
    bind_finalizer(L, m_gc, "a tensor: see bk.tensor");
    lua_newtable(L); /* methods */
    bind_tensor_ops(L, lua_gettop(L) - 2, lua_gettop(L) - 1, lua_gettop(L));
    bind_rows(L, bind_tensor_method_rows());
    lua_pushcclosure(L, m_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    bind_rows(L, bind_tensor_make_rows());
    bind_rows(L, print_rows);
    bind_rng(L);
}
