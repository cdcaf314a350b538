/* tensor_ops.c - operations of tensors alone as Lua sees them, made from their rows in src/ops: bk.NAME, t:NAME, the
 * arithmetic of tensors, and their docstrings. Numbers may stand for operands. Here, too, clamp and the change of
 * dtype, whose arguments are others. */
#include "tensor_ops.h"
#include "args.h"
#include <string.h>

enum { OPERANDS = 3 };

static double bits_number(int64_t bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static int64_t number_bits(double x) {
    int64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* The number x as a 0-d operand beside a: of a's dtype, unless a is int64 and x is not whole. */
static node *number_beside(graph *g, const node *a, double x) {
    return g_full(g, a->dtype == BK_INT64 && !op_is_whole(x) ? BK_FLOAT64 : a->dtype, 0, NULL, x);
}

/* ints[0]: a mask of the operands that are numbers; ints[1 + k]: the bits of number k. */
static bool build_operands(graph *g, const op_call *c, int n_in, node *const *in, node **out) {
    const op_row *row = c->what;
    int64_t numbers = c->ints[0];
    node *v[OPERANDS] = { NULL }, *beside = in[n_in - 1];
    for (int k = 0, next = 0; k < row->arity; k++)
        if (!(numbers >> k & 1)) v[k] = in[next++];
    /* numbers alone beside a condition: as bk.tensor would make them, but in float32 beside float32 */
    node *real = row->condition && n_in == 1 && beside->dtype == BK_INT64 ? g_cast(g, beside, BK_FLOAT64) : beside;
    for (int k = 0; k < row->arity && real; k++)
        if (numbers >> k & 1) v[k] = number_beside(g, real, bits_number(c->ints[1 + k]));
    out[0] = graph_failed(g) ? NULL : row->build(g, v);
    return out[0] != NULL;
}

static int call_operands(lua_State *L) { /* upvalues: the row, "bk.NAME" */
    const op_row *row = lua_touserdata(L, lua_upvalueindex(1));
    static const char *const place[OPERANDS][OPERANDS] = { { "operand" },
                                                           { "left operand", "right operand" },
                                                           { "operand 1", "operand 2", "operand 3" } };
    const char *name = lua_tostring(L, lua_upvalueindex(2));
    op_call call = { .name = name, .build = build_operands, .what = row, .n_out = 1 };
    lua_tensor *in[OPERANDS];
    int n = 0, arity = row->arity;
    for (int k = 0; k < arity; k++) {
        bool first = k == 0 && lua_type(L, 1) == LUA_TNUMBER;
        if (first && arity > 1 && lua_type(L, 2) != LUA_TNUMBER) first = false; /* it goes beside a tensor */
        if (first) {                                                            /* bk.exp(2), bk.add(1, 2) */
            bind_tensor_push_scalar(L, lua_tonumber(L, 1));
            lua_replace(L, 1);
        }
        if (lua_type(L, k + 1) == LUA_TNUMBER) {
            call.ints[0] |= (int64_t)1 << k;
            call.ints[1 + k] = number_bits(lua_tonumber(L, k + 1));
            call.n_ints = 1 + arity;
        } else {
            if (!bind_tensor_test(L, k + 1)) args_fail(L, k + 1, name, place[arity - 1][k], "a tensor or a number");
            in[n++] = bind_tensor_arg(L, k + 1, name, place[arity - 1][k]);
        }
    }
    return bind_tensor_apply(L, &call, n, in);
}

void bind_operations(lua_State *L, int meta, int methods, int functions) {
    for (int i = 0; op_rows[i]; i++) {
        const op_row *row = op_rows[i];
        if (!row->lua) continue;
        lua_pushlightuserdata(L, (void *)row);
        lua_pushfstring(L, "bk.%s", row->lua);
        lua_pushcclosure(L, call_operands, 2);
        bind_doc(L, -1, row->help);
        lua_pushvalue(L, -1);
        lua_setfield(L, methods, row->lua);
        if (row->metamethod) {
            lua_pushvalue(L, -1);
            lua_setfield(L, meta, row->metamethod);
        }
        lua_setfield(L, functions, row->lua);
    }
}

/* ---- clamp, to ---- */

static bool build_clamp(graph *g, const op_call *c, int n_in, node *const *in, node **out) {
    (void)n_in;
    node *low = c->ints[0] & 1 ? number_beside(g, in[0], bits_number(c->ints[1])) : NULL;
    node *high = c->ints[0] & 2 ? number_beside(g, in[0], bits_number(c->ints[2])) : NULL;
    out[0] = g_clamp(g, in[0], low, high);
    return out[0] != NULL;
}

static int method_clamp(lua_State *L) {
    op_call call = { .name = "bk.clamp", .build = build_clamp, .n_out = 1, .n_ints = 3 };
    static const char *const names[] = { "low", "high" };
    lua_tensor *t = bind_tensor_arg(L, 1, "bk.clamp", "tensor");
    for (int i = 0; i < 2; i++)
        if (!lua_isnoneornil(L, 2 + i)) {
            call.ints[0] |= 1 << i;
            call.ints[1 + i] = number_bits(args_number(L, 2 + i, "bk.clamp", names[i]));
        }
    return bind_tensor_apply(L, &call, 1, &t);
}

static bool build_cast(graph *g, const op_call *c, int n_in, node *const *in, node **out) {
    (void)n_in;
    out[0] = g_cast(g, in[0], (bk_dtype)c->ints[0]);
    return out[0] != NULL;
}

static int method_to(lua_State *L) {
    op_call call = { .name = "bk.to", .build = build_cast, .n_out = 1, .n_ints = 1 };
    lua_tensor *t = bind_tensor_arg(L, 1, "bk.to", "tensor");
    call.ints[0] = args_dtype(L, 2, "bk.to", "dtype");
    if ((bk_dtype)call.ints[0] == bind_tensor_dtype(t)) {
        lua_settop(L, 1);
        return 1;
    }
    return bind_tensor_apply(L, &call, 1, &t);
}

static const bind_row rows[] = {
    { "clamp", method_clamp,
      "t:clamp(low, high) -> tensor\nElementwise min(max(a, low), high); nil leaves a side open." },
    { "to", method_to,
      "t:to(dtype) -> tensor\nThe values as \"float64\", \"float32\" or \"int64\" (towards 0).\n\n"
      "The derivative of a cast between floats is a cast; none flows through int64." },
    { NULL, NULL, NULL },
};

const bind_row *bind_tensor_op_rows(void) {
    return rows;
}
