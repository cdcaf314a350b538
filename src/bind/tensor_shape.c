/* tensor_shape.c - operations on tensors that move elements (shape, order, choice by index) or contract several
 * tensors (matrix products, convolution), as Lua sees them. Of concrete tensors reshape, transpose, permute, narrow and
 * broadcast_to are views: no data moves. */
#include "tensor_ops.h"
#include "args.h"
#include <string.h>

enum { PARTS_MAX = 4096 };

/* ---- shape ---- */

static bool build_reshape(graph *g, const op_call *c, int n_in, node *const *in, node **out) {
    (void)n_in;
    out[0] = g_reshape(g, in[0], c->n_ints, c->ints);
    return out[0] != NULL;
}

int bind_ops_reshape(lua_State *L, lua_tensor *t, int ndim, const int64_t *shape, const char *name) {
    if (t->g) {
        op_call call = { .name = name, .build = build_reshape, .n_out = 1, .n_ints = ndim };
        memcpy(call.ints, shape, sizeof *shape * (size_t)ndim);
        return bind_tensor_apply(L, &call, 1, &t);
    }
    if (tensor_contiguous(&t->value)) {
        bind_tensor_push_view(L, &t->value);
    } else {
        tensor *copy = bind_tensor_push_new(L, t->value.dtype, t->value.ndim, t->value.shape, name);
        err e = { 0 };
        if (tensor_copy(&t->value, t->value.dtype, tensor_data(copy), &e)) return bind_raise(L, &e);
    }
    tensor *v = &((lua_tensor *)lua_touserdata(L, -1))->value;
    v->ndim = ndim;
    memcpy(v->shape, shape, sizeof *shape * (size_t)ndim);
    shape_strides(ndim, v->shape, v->strides);
    return 1;
}

static int method_reshape(lua_State *L) {
    lua_tensor *t = bind_tensor_arg(L, 1, "bk.reshape", "tensor");
    int64_t shape[BK_MAX_DIMS], known = 1;
    int ndim = 0, open = -1;
    if (lua_gettop(L) > 2) { /* t:reshape(2, 3) */
        lua_createtable(L, lua_gettop(L) - 1, 0);
        for (int i = lua_gettop(L) - 1; i >= 2; i--) {
            lua_pushvalue(L, i);
            lua_rawseti(L, -2, i - 1);
        }
        lua_replace(L, 2);
        lua_settop(L, 2);
    }
    ndim = args_shape(L, 2, "bk.reshape", "shape", -1, shape);
    int64_t count = shape_count(bind_tensor_ndim(t), bind_tensor_shape(t));
    for (int i = 0; i < ndim; i++) {
        if (shape[i] >= 0) {
            if (__builtin_mul_overflow(known, shape[i], &known)) known = INT64_MAX;
            continue;
        }
        if (open >= 0) return args_error(L, "bk.reshape", "only one size may be -1");
        open = i;
    }
    if (open >= 0 && known > 0 && count % known == 0) {
        shape[open] = count / known;
        known = count;
    }
    if (known != count || (open >= 0 && shape[open] < 0)) {
        shape_buf a, b;
        return args_error(L, "bk.reshape", "%s has %I elements, which do not fill %s",
                          shape_text(bind_tensor_ndim(t), bind_tensor_shape(t), &a), (LUAI_UACINT)count,
                          shape_text(ndim, shape, &b));
    }
    return bind_ops_reshape(L, t, ndim, shape, "bk.reshape");
}

static int method_flatten(lua_State *L) {
    lua_tensor *t = bind_tensor_arg(L, 1, "bk.flatten", "tensor");
    int64_t count = shape_count(bind_tensor_ndim(t), bind_tensor_shape(t));
    return bind_ops_reshape(L, t, 1, &count, "bk.flatten");
}

static int method_unsqueeze(lua_State *L) {
    lua_tensor *t = bind_tensor_arg(L, 1, "bk.unsqueeze", "tensor");
    int ndim = bind_tensor_ndim(t);
    if (ndim == BK_MAX_DIMS) return args_error(L, "bk.unsqueeze", "a tensor has at most %d dimensions", BK_MAX_DIMS);
    int axis = args_dim(L, 2, "bk.unsqueeze", "dim", ndim + 1);
    int64_t shape[BK_MAX_DIMS];
    for (int i = 0, j = 0; i <= ndim; i++) shape[i] = i == axis ? 1 : bind_tensor_shape(t)[j++];
    return bind_ops_reshape(L, t, ndim + 1, shape, "bk.unsqueeze");
}

static int method_squeeze(lua_State *L) {
    lua_tensor *t = bind_tensor_arg(L, 1, "bk.squeeze", "tensor");
    int ndim = bind_tensor_ndim(t), n = 0;
    int axis = lua_isnoneornil(L, 2) ? -1 : args_dim(L, 2, "bk.squeeze", "dim", ndim);
    int64_t shape[BK_MAX_DIMS];
    for (int i = 0; i < ndim; i++) {
        bool drop = bind_tensor_shape(t)[i] == 1 && (axis < 0 || i == axis);
        if (i == axis && !drop)
            return args_error(L, "bk.squeeze", "dimension %d has size %I, not 1", axis + 1,
                              (LUAI_UACINT)bind_tensor_shape(t)[i]);
        if (!drop) shape[n++] = bind_tensor_shape(t)[i];
    }
    return bind_ops_reshape(L, t, n, shape, "bk.squeeze");
}

static bool build_permute(graph *g, const op_call *c, int n_in, node *const *in, node **out) {
    (void)n_in;
    out[0] = g_permute(g, in[0], c->ints);
    return out[0] != NULL;
}

static int permute(lua_State *L, lua_tensor *t, const int64_t *axes, const char *name) {
    int ndim = bind_tensor_ndim(t);
    if (t->g) {
        op_call call = { .name = name, .build = build_permute, .n_out = 1, .n_ints = ndim };
        memcpy(call.ints, axes, sizeof *axes * (size_t)ndim);
        return bind_tensor_apply(L, &call, 1, &t);
    }
    tensor v = t->value;
    for (int i = 0; i < ndim; i++) {
        v.shape[i] = t->value.shape[axes[i]];
        v.strides[i] = t->value.strides[axes[i]];
    }
    bind_tensor_push_view(L, &v);
    return 1;
}

static int method_permute(lua_State *L) {
    lua_tensor *t = bind_tensor_arg(L, 1, "bk.permute", "tensor");
    int64_t axes[BK_MAX_DIMS];
    int ndim = args_shape(L, 2, "bk.permute", "dims", 1, axes);
    bool seen[BK_MAX_DIMS] = { false }, ok = ndim == bind_tensor_ndim(t);
    for (int i = 0; ok && i < ndim; i++) {
        ok = axes[i] <= ndim && !seen[axes[i] - 1];
        if (ok) seen[--axes[i]] = true;
    }
    if (!ok) return args_error(L, "bk.permute", "dims: expected each of 1..%d once", bind_tensor_ndim(t));
    return permute(L, t, axes, "bk.permute");
}

static int method_transpose(lua_State *L) {
    lua_tensor *t = bind_tensor_arg(L, 1, "bk.transpose", "tensor");
    int ndim = bind_tensor_ndim(t);
    if (ndim < 2 && lua_isnoneornil(L, 2)) {
        shape_buf b;
        return args_error(L, "bk.transpose", "expected at least 2 dimensions, got %s",
                          shape_text(ndim, bind_tensor_shape(t), &b));
    }
    int a = lua_isnoneornil(L, 2) ? ndim - 2 : args_dim(L, 2, "bk.transpose", "dim1", ndim);
    int b = lua_isnoneornil(L, 2) ? ndim - 1 : args_dim(L, 3, "bk.transpose", "dim2", ndim);
    int64_t axes[BK_MAX_DIMS];
    for (int i = 0; i < ndim; i++) axes[i] = i == a ? b : i == b ? a : i;
    return permute(L, t, axes, "bk.transpose");
}

static bool build_narrow(graph *g, const op_call *c, int n_in, node *const *in, node **out) {
    (void)n_in;
    out[0] = g_narrow(g, in[0], (int)c->ints[0], c->ints[1], c->ints[2]);
    return out[0] != NULL;
}

static int method_narrow(lua_State *L) {
    lua_tensor *t = bind_tensor_arg(L, 1, "bk.narrow", "tensor");
    int axis = args_dim(L, 2, "bk.narrow", "dim", bind_tensor_ndim(t));
    int64_t room = bind_tensor_shape(t)[axis];
    int64_t first = args_integer(L, 3, "bk.narrow", "first", 1, room + 1);
    int64_t size = args_integer(L, 4, "bk.narrow", "size", 0, room - first + 1);
    if (t->g) {
        op_call call = {
            .name = "bk.narrow", .build = build_narrow, .n_out = 1, .n_ints = 3, .ints = { axis, first - 1, size }
        };
        return bind_tensor_apply(L, &call, 1, &t);
    }
    tensor v = t->value;
    if (size) v.offset += (first - 1) * v.strides[axis];
    v.shape[axis] = size;
    bind_tensor_push_view(L, &v);
    return 1;
}

static bool build_broadcast(graph *g, const op_call *c, int n_in, node *const *in, node **out) {
    (void)n_in;
    out[0] = g_broadcast(g, in[0], c->n_ints, c->ints);
    return out[0] != NULL;
}

static int method_broadcast_to(lua_State *L) {
    lua_tensor *t = bind_tensor_arg(L, 1, "bk.broadcast_to", "tensor");
    op_call call = { .name = "bk.broadcast_to", .build = build_broadcast, .n_out = 1 };
    int ndim = args_shape(L, 2, "bk.broadcast_to", "shape", 0, call.ints), lead = ndim - bind_tensor_ndim(t);
    bool ok = lead >= 0 && shape_count(ndim, call.ints) >= 0;
    for (int i = 0; ok && i < bind_tensor_ndim(t); i++)
        ok = bind_tensor_shape(t)[i] == 1 || bind_tensor_shape(t)[i] == call.ints[lead + i];
    if (!ok) {
        shape_buf a, b;
        return args_error(L, "bk.broadcast_to", "%s does not broadcast to %s",
                          shape_text(bind_tensor_ndim(t), bind_tensor_shape(t), &a), shape_text(ndim, call.ints, &b));
    }
    call.n_ints = ndim;
    if (t->g) return bind_tensor_apply(L, &call, 1, &t);
    tensor v = t->value;
    v.ndim = ndim;
    for (int i = 0; i < ndim; i++) {
        bool same = i >= lead && t->value.shape[i - lead] == call.ints[i];
        v.shape[i] = call.ints[i];
        v.strides[i] = same ? t->value.strides[i - lead] : 0;
    }
    bind_tensor_push_view(L, &v);
    return 1;
}

static bool build_flip(graph *g, const op_call *c, int n_in, node *const *in, node **out) {
    (void)n_in;
    out[0] = g_flip(g, in[0], (int)c->ints[0]);
    return out[0] != NULL;
}

static int method_flip(lua_State *L) {
    lua_tensor *t = bind_tensor_arg(L, 1, "bk.flip", "tensor");
    op_call call = { .name = "bk.flip", .build = build_flip, .n_out = 1, .n_ints = 1 };
    call.ints[0] = args_dim(L, 2, "bk.flip", "dim", bind_tensor_ndim(t));
    return bind_tensor_apply(L, &call, 1, &t);
}

static bool build_pad(graph *g, const op_call *c, int n_in, node *const *in, node **out) {
    (void)n_in;
    out[0] = g_pad(g, in[0], c->ints, c->ints + c->n_ints / 2);
    return out[0] != NULL;
}

static int method_pad(lua_State *L) {
    lua_tensor *t = bind_tensor_arg(L, 1, "bk.pad", "tensor");
    op_call call = { .name = "bk.pad", .build = build_pad, .n_out = 1 };
    int ndim = bind_tensor_ndim(t), n = args_shape(L, 2, "bk.pad", "before", 0, call.ints);
    int64_t after[BK_MAX_DIMS];
    if (n != ndim) return args_error(L, "bk.pad", "before: expected %d sizes, got %d", ndim, n);
    int m = lua_isnoneornil(L, 3) ? ndim : args_shape(L, 3, "bk.pad", "after", 0, after);
    if (m != ndim) return args_error(L, "bk.pad", "after: expected %d sizes, got %d", ndim, m);
    memcpy(call.ints + ndim, lua_isnoneornil(L, 3) ? call.ints : after, sizeof *after * (size_t)ndim);
    call.n_ints = 2 * ndim;
    return bind_tensor_apply(L, &call, 1, &t);
}

/* ---- several tensors into one ---- */

static bool build_concat(graph *g, const op_call *c, int n_in, node *const *in, node **out) {
    out[0] = g_concat(g, (int)c->ints[0], n_in, in);
    return out[0] != NULL;
}

static bool build_stack(graph *g, const op_call *c, int n_in, node *const *in, node **out) {
    node *s = g_stack(g, n_in, in);
    if (s && c->ints[0] > 0) {
        int64_t axes[BK_MAX_DIMS];
        for (int i = 0, j = 1; i < s->ndim; i++) axes[i] = i == c->ints[0] ? 0 : j++;
        s = g_permute(g, s, axes);
    }
    out[0] = s;
    return s != NULL;
}

/* bk.concat({a, b, ...}, dim) or a:concat(b, ..., dim) */
static int join(lua_State *L, const char *name, bool stack) {
    if (!lua_istable(L, 1)) {
        int n = lua_gettop(L), parts = n > 1 && lua_type(L, n) == LUA_TNUMBER ? n - 1 : n;
        lua_createtable(L, parts, 0);
        for (int i = 1; i <= parts; i++) {
            lua_pushvalue(L, i);
            lua_rawseti(L, -2, i);
        }
        lua_replace(L, 1);
        if (parts < n) lua_replace(L, 2);
        lua_settop(L, parts < n ? 2 : 1);
    }
    lua_settop(L, 2);
    lua_Unsigned n = lua_rawlen(L, 1);
    if (n < 1 || n > PARTS_MAX)
        return args_error(L, name, "expected a list of 1 to %d tensors, got %I", PARTS_MAX, (LUAI_UACINT)n);
    lua_tensor **in = lua_newuserdatauv(L, sizeof *in * n, 0);
    lua_newtable(L);
    for (lua_Unsigned i = 0; i < n; i++) {
        lua_pushfstring(L, "part %I", (LUAI_UACINT)i + 1);
        if (lua_rawgeti(L, 1, (lua_Integer)i + 1) == LUA_TNUMBER) {
            bind_tensor_push_scalar(L, lua_tonumber(L, -1));
            lua_pushvalue(L, -1);
            lua_rawseti(L, 4, (lua_Integer)i + 1); /* keeps it */
            lua_replace(L, -2);
        }
        in[i] = bind_tensor_arg(L, -1, name, lua_tostring(L, -2));
        lua_pop(L, 2);
    }
    op_call call = { .name = name, .build = stack ? build_stack : build_concat, .n_out = 1, .n_ints = 1 };
    int ndim = bind_tensor_ndim(in[0]) + (stack ? 1 : 0);
    call.ints[0] = lua_isnil(L, 2) ? 0 : args_dim(L, 2, name, "dim", ndim);
    return bind_tensor_apply(L, &call, (int)n, in);
}

static int method_concat(lua_State *L) {
    return join(L, "bk.concat", false);
}
static int method_stack(lua_State *L) {
    return join(L, "bk.stack", true);
}

#define PAIR(NAME, EXPRESSION)                                                                                         \
    static bool build_##NAME(graph *g, const op_call *c, int n_in, node *const *in, node **out) {                      \
        (void)c, (void)n_in;                                                                                           \
        node *a = in[0], *b = in[1];                                                                                   \
        out[0] = EXPRESSION;                                                                                           \
        return out[0] != NULL;                                                                                         \
    }                                                                                                                  \
    static int method_##NAME(lua_State *L) {                                                                           \
        op_call call = { .name = "bk." #NAME, .build = build_##NAME, .n_out = 1 };                                     \
        lua_tensor *in[2] = { bind_tensor_arg(L, 1, "bk." #NAME, "argument 1"),                                        \
                              bind_tensor_arg(L, 2, "bk." #NAME, "argument 2") };                                      \
        return bind_tensor_apply(L, &call, 2, in);                                                                     \
    }

PAIR(matmul, g_matmul(g, a, b))
PAIR(dot, g_dot(g, a, b))
PAIR(outer, g_outer(g, a, b))
PAIR(gather, g_gather(g, a, b ? g_offset(g, -1, b) : NULL)) /* Lua counts from 1 */
PAIR(embedding, g_gather(g, a, b))
PAIR(take, g_take(g, a, b))

/* ---- images ---- */

static bool build_conv2d(graph *g, const op_call *c, int n_in, node *const *in, node **out) {
    (void)n_in;
    out[0] = g_conv2d(g, in[0], in[1], c->ints[0], c->ints[1]);
    return out[0] != NULL;
}

static int method_conv2d(lua_State *L) {
    static const char *const known[] = { "stride", "padding", NULL };
    op_call call = { .name = "bk.conv2d", .build = build_conv2d, .n_out = 1, .n_ints = 2 };
    lua_tensor *in[2] = { bind_tensor_arg(L, 1, "bk.conv2d", "images"), bind_tensor_arg(L, 2, "bk.conv2d", "weights") };
    int table = args_options(L, 3, "bk.conv2d", known, false);
    call.ints[0] = args_opt_integer(L, table, "bk.conv2d", "stride", 1, 1 << 20, 1);
    call.ints[1] = args_opt_integer(L, table, "bk.conv2d", "padding", 0, 1 << 20, 0);
    return bind_tensor_apply(L, &call, 2, in);
}

static bool build_avgpool2d(graph *g, const op_call *c, int n_in, node *const *in, node **out) {
    (void)n_in;
    out[0] = g_avgpool2d(g, in[0], c->ints[0], c->ints[1], c->ints[2]);
    return out[0] != NULL;
}

static bool build_maxpool2d(graph *g, const op_call *c, int n_in, node *const *in, node **out) {
    (void)n_in;
    out[0] = g_maxpool2d(g, in[0], c->ints[0], c->ints[1], c->ints[2]);
    return out[0] != NULL;
}

static int pool(lua_State *L, op_call *call) {
    static const char *const known[] = { "stride", "padding", NULL };
    lua_tensor *t = bind_tensor_arg(L, 1, call->name, "bk.images");
    call->ints[0] = args_integer(L, 2, call->name, "kernel", 1, 1 << 20);
    int table = args_options(L, 3, call->name, known, false);
    call->ints[1] = args_opt_integer(L, table, call->name, "stride", 1, 1 << 20, call->ints[0]);
    call->ints[2] = args_opt_integer(L, table, call->name, "padding", 0, 1 << 20, 0);
    return bind_tensor_apply(L, call, 1, &t);
}

static int method_avgpool2d(lua_State *L) {
    op_call call = { .name = "bk.avgpool2d", .build = build_avgpool2d, .n_out = 1, .n_ints = 3 };
    return pool(L, &call);
}

static int method_maxpool2d(lua_State *L) {
    op_call call = { .name = "bk.maxpool2d", .build = build_maxpool2d, .n_out = 1, .n_ints = 3 };
    return pool(L, &call);
}

static const bind_row rows[] = {
    { "reshape", method_reshape,
      "t:reshape{sizes}\nThe same elements, row-major, in another shape; one size may be -1. A "
      "view where t is contiguous. An error when the counts differ." },
    { "flatten", method_flatten, "t:flatten()\nThe elements as one row, row-major." },
    { "unsqueeze", method_unsqueeze, "t:unsqueeze(dim)\nA new dimension of size 1 at dim, 1..ndim + 1." },
    { "squeeze", method_squeeze, "t:squeeze([dim])\nWithout the dimensions of size 1, or without that one." },
    { "permute", method_permute, "t:permute{dims}\nDimension i of the result is t's dims[i], from 1. A view." },
    { "transpose", method_transpose,
      "t:transpose([dim1, dim2])\nTwo dimensions exchanged, the last two by default. A view." },
    { "narrow", method_narrow,
      "t:narrow(dim, first, size)\nThe size slices first, first + 1, ... along dim (all from 1). A "
      "view." },
    { "broadcast_to", method_broadcast_to,
      "t:broadcast_to{sizes}\nRepeated along dimensions of size 1 and new leading "
      "ones. A view." },
    { "flip", method_flip, "t:flip(dim)\nIn reverse order along dim." },
    { "pad", method_pad,
      "t:pad(before [, after])\nZeros around: tables of one size a dimension; after is before by default." },
    { "concat", method_concat,
      "bk.concat({a, b, ...} [, dim]), a:concat(b [, dim])\nJoined along dim, 1 by default; the "
      "other sizes agree." },
    { "stack", method_stack,
      "bk.stack({a, b, ...} [, dim])\nTensors of one shape along a new dimension dim, 1 by default." },
    { "gather", method_gather,
      "bk.gather(t, index), t:gather(index)\nRows of t (n, rest...) at index (I...), int64 values "
      "from 1: the result is (I..., rest...)." },
    { "embedding", method_embedding,
      "bk.embedding(weights, index)\nRows of weights (n, width) at index, int64 ids from 0: "
      "(index shape..., width)." },
    { "take", method_take,
      "t:take(index)\nOf t (rows..., n) the element t[r, index[r]] of each row, index (rows...) int64 "
      "from 0: the result is (rows...)." },
    { "matmul", method_matmul,
      "t:matmul(u)\nMatrix product (..., m, k) (..., k, n) -> (..., m, n); leading dimensions "
      "broadcast; 1-d operands as in NumPy." },
    { "dot", method_dot, "t:dot(u)\nSum of the products of all elements, 0-d; the shapes agree." },
    { "outer", method_outer, "t:outer(u)\n(m), (n) -> (m, n): products of all pairs." },
    { "conv2d", method_conv2d,
      "bk.conv2d(x, w [, {stride = 1, padding = 0}])\nCross-correlation of images x (batch, channel, "
      "height, width) with weights w (out, in, kh, kw)." },
    { "avgpool2d", method_avgpool2d,
      "bk.avgpool2d(x, kernel [, {stride = kernel, padding = 0}])\nMeans over kernel x kernel "
      "windows of images (batch, channel, height, width); padding counts as zeros." },
    { "maxpool2d", method_maxpool2d,
      "bk.maxpool2d(x, kernel [, {stride = kernel, padding = 0}])\nMaxima over kernel x kernel "
      "windows; the derivative goes to each window's first maximum." },
    { NULL, NULL, NULL },
};

const bind_row *bind_tensor_shape_rows(void) {
    return rows;
}
