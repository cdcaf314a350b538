/* tensor_reduce.c - operations on tensors that reduce or normalise along dimensions, and the methods that read a
 * tensor (shape, item, totable, save ...), as Lua sees them. Dimensions count from 1 (negative: from the end). */
#include "tensor_ops.h"
#include "../data/npy.h"
#include "args.h"
#include <string.h>

/* ints[0]: mask of the axes, ints[1]: keep them with size 1, ints[2]: variance's correction */
enum { R_SUM, R_MEAN, R_VAR, R_STD, R_NORM };

static bool build_reduce(graph *g, const op_call *c, int n_in, node *const *in, node **out) {
    unsigned axes = (unsigned)c->ints[0];
    bool keep = c->ints[1] != 0;
    int kind = (int)c->ints[3];
    node *a = in[0];
    (void)n_in;
    out[0] = kind == R_SUM    ? g_sum(g, a, axes, keep)
             : kind == R_MEAN ? g_mean(g, a, axes, keep)
             : kind == R_VAR  ? g_var(g, a, axes, keep, c->ints[2])
             : kind == R_STD  ? g_std(g, a, axes, keep, c->ints[2])
                              : g_norm(g, a, axes, keep);
    return out[0] != NULL;
}

static int reduce(lua_State *L, const char *name, int kind) {
    static const char *const known[] = { "keep", "correction", NULL };
    op_call call = { .name = name, .build = build_reduce, .n_out = 1, .n_ints = 4 };
    lua_tensor *t = bind_tensor_arg(L, 1, name, "bk.tensor");
    int ndim = bind_tensor_ndim(t);
    call.ints[3] = kind;
    if (lua_isnoneornil(L, 2)) {
        call.ints[0] = (1 << ndim) - 1;
    } else if (lua_istable(L, 2)) {
        for (lua_Integer i = 1, n = (lua_Integer)lua_rawlen(L, 2); i <= n; i++, lua_pop(L, 1)) {
            lua_rawgeti(L, 2, i);
            call.ints[0] |= 1 << args_dim(L, -1, name, "dims", ndim);
        }
    } else {
        call.ints[0] = 1 << args_dim(L, 2, name, "dim", ndim);
    }
    if (lua_isboolean(L, 3)) {
        call.ints[1] = lua_toboolean(L, 3);
    } else {
        int table = args_options(L, 3, name, known, false);
        call.ints[1] = args_opt_boolean(L, table, name, "keep", false);
        call.ints[2] = args_opt_integer(L, table, name, "correction", 0, 1 << 20, 0);
    }
    return bind_tensor_apply(L, &call, 1, &t);
}

static int method_sum(lua_State *L) {
    return reduce(L, "bk.sum", R_SUM);
}
static int method_mean(lua_State *L) {
    return reduce(L, "bk.mean", R_MEAN);
}
static int method_var(lua_State *L) {
    return reduce(L, "bk.var", R_VAR);
}
static int method_std(lua_State *L) {
    return reduce(L, "bk.std", R_STD);
}
static int method_norm(lua_State *L) {
    return reduce(L, "bk.norm", R_NORM);
}

/* ---- extremes: ints[0] the axis or -1 for all; ints[1] minimum; ints[2] indices only ---- */

static bool build_extreme(graph *g, const op_call *c, int n_in, node *const *in, node **out) {
    (void)n_in;
    int axis = (int)c->ints[0];
    bool low = c->ints[1] != 0;
    if (c->ints[2]) return op_extreme(g, in[0], axis, low, NULL, &out[0]);
    return op_extreme(g, in[0], axis, low, &out[0], c->n_out == 2 ? &out[1] : NULL);
}

static int extreme(lua_State *L, const char *name, bool low, bool indices) {
    op_call call = { .name = name, .build = build_extreme, .n_out = 1, .n_ints = 4, .ints = { -1, low, indices } };
    lua_tensor *t = bind_tensor_arg(L, 1, name, "bk.tensor");
    if (!lua_isnoneornil(L, 2)) {
        call.ints[0] = args_dim(L, 2, name, "dim", bind_tensor_ndim(t));
        call.n_out = indices ? 1 : 2;
    }
    call.ints[3] = call.n_out;
    return bind_tensor_apply(L, &call, 1, &t);
}

static int method_max(lua_State *L) {
    return extreme(L, "bk.max", false, false);
}
static int method_min(lua_State *L) {
    return extreme(L, "bk.min", true, false);
}
static int method_argmax(lua_State *L) {
    return extreme(L, "bk.argmax", false, true);
}
static int method_argmin(lua_State *L) {
    return extreme(L, "bk.argmin", true, true);
}

static bool build_cumsum(graph *g, const op_call *c, int n_in, node *const *in, node **out) {
    (void)n_in;
    out[0] = g_cumsum(g, in[0], (int)c->ints[0]);
    return out[0] != NULL;
}

static int method_cumsum(lua_State *L) {
    op_call call = { .name = "bk.cumsum", .build = build_cumsum, .n_out = 1, .n_ints = 1 };
    lua_tensor *t = bind_tensor_arg(L, 1, "bk.cumsum", "tensor");
    if (lua_isnoneornil(L, 2) && bind_tensor_ndim(t) == 1)
        call.ints[0] = 0;
    else
        call.ints[0] = args_dim(L, 2, "bk.cumsum", "dim", bind_tensor_ndim(t));
    return bind_tensor_apply(L, &call, 1, &t);
}

/* ---- along one dimension ---- */

#define ALONG(NAME, BUILD)                                                                                             \
    static bool build_##NAME(graph *g, const op_call *c, int n_in, node *const *in, node **out) {                      \
        (void)n_in;                                                                                                    \
        out[0] = BUILD(g, in[0], (int)c->ints[0]);                                                                     \
        return out[0] != NULL;                                                                                         \
    }
ALONG(softmax, g_softmax_along)
ALONG(log_softmax, g_log_softmax)
ALONG(logsumexp, g_logsumexp_along)

static int along(lua_State *L, const char *name, bool (*build)(graph *, const op_call *, int, node *const *, node **)) {
    op_call call = { .name = name, .build = build, .n_out = 1, .n_ints = 1 };
    lua_tensor *t = bind_tensor_arg(L, 1, name, "bk.tensor");
    int ndim = bind_tensor_ndim(t);
    if (ndim == 0) return args_error(L, name, "expected at least 1 dimension, got ()");
    call.ints[0] = lua_isnoneornil(L, 2) ? ndim - 1 : args_dim(L, 2, name, "dim", ndim);
    return bind_tensor_apply(L, &call, 1, &t);
}

static int method_softmax(lua_State *L) {
    return along(L, "bk.softmax", build_softmax);
}
static int method_log_softmax(lua_State *L) {
    return along(L, "bk.log_softmax", build_log_softmax);
}
static int method_logsumexp(lua_State *L) {
    return along(L, "bk.logsumexp", build_logsumexp);
}

static bool build_layer_norm(graph *g, const op_call *c, int n_in, node *const *in, node **out) {
    (void)n_in;
    out[0] = g_layer_norm(g, in[0], c->x);
    return out[0] != NULL;
}

static int method_layer_norm(lua_State *L) {
    static const char *const known[] = { "eps", NULL };
    op_call call = { .name = "bk.layer_norm", .build = build_layer_norm, .n_out = 1, .x = 1e-5 };
    lua_tensor *t = bind_tensor_arg(L, 1, "bk.layer_norm", "tensor");
    if (bind_tensor_ndim(t) == 0) return args_error(L, "bk.layer_norm", "expected at least 1 dimension, got ()");
    if (lua_type(L, 2) == LUA_TNUMBER)
        call.x = lua_tonumber(L, 2);
    else
        call.x = args_opt_number(L, args_options(L, 2, "layer_norm", known, false), "bk.layer_norm", "eps", 1e-5);
    return bind_tensor_apply(L, &call, 1, &t);
}

static const bind_row rows[] = {
    { "sum", method_sum,
      "t:sum([dim [, {keep = false}]])\nSum of all elements (0-d), along dim, or along a table of dims; "
      "keep leaves the dimension with size 1. The order of summation is fixed." },
    { "mean", method_mean, "t:mean([dim [, {keep = false}]])\nArithmetic mean, as t:sum." },
    { "var", method_var,
      "t:var([dim [, {keep = false, correction = 0}]])\nMean squared deviation from the mean, divided by "
      "n - correction; as t:sum." },
    { "std", method_std, "t:std([dim [, {keep = false, correction = 0}]])\nSquare root of t:var." },
    { "norm", method_norm,
      "t:norm([dim [, {keep = false}]])\nEuclidean norm, the root of the sum of squares; as t:sum. Its "
      "derivative at 0 is not finite." },
    { "max", method_max,
      "t:max(), t:max(dim) -> values, indices\nThe largest element, or those along dim with their places "
      "(int64, from 0, the first). NaN wins; the derivative goes to the first maximum." },
    { "min", method_min, "t:min(), t:min(dim) -> values, indices\nThe smallest element; as t:max." },
    { "argmax", method_argmax,
      "t:argmax([dim])\nThe place of the first maximum along dim, or among all elements in "
      "row-major order: int64, from 0, as class ids are." },
    { "argmin", method_argmin, "t:argmin([dim])\nThe place of the first minimum, as t:argmax." },
    { "cumsum", method_cumsum, "t:cumsum(dim)\nRunning sums along dim; of a 1-d tensor dim may be left out." },
    { "softmax", method_softmax, "t:softmax([dim])\ne^x / sum e^x along dim, the last by default; without overflow." },
    { "log_softmax", method_log_softmax, "t:log_softmax([dim])\nx - log sum e^x along dim, the last by default." },
    { "logsumexp", method_logsumexp,
      "t:logsumexp([dim])\nlog sum e^x along dim, the last by default, which is dropped." },
    { "layer_norm", method_layer_norm,
      "t:layer_norm([{eps = 1e-5}])\n(x - mean) / sqrt(var + eps) along the last dimension "
      "(Ba, Kiros & Hinton 2016)." },
    { NULL, NULL, NULL },
};

const bind_row *bind_tensor_reduce_rows(void) {
    return rows;
}

/* ---- methods that read a tensor ---- */

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
    if (npy_write(bind_ctx(L), path, t, &e)) return bind_raise(L, &e);
    lua_settop(L, 1);
    return 1;
}

static const bind_row methods[] = {
    { "shape", m_shape, "t:shape()\nThe sizes as a table, {} for 0-d." },
    { "size", m_size, "t:size([dim])\nOne size, or all of them as t:shape()." },
    { "dtype", m_dtype, "t:dtype()\n\"float64\", \"float32\" or \"int64\"." },
    { "ndim", m_ndim, "t:ndim()\nThe number of dimensions." },
    { "count", m_count, "t:count()\nThe number of elements." },
    { "item", m_item, "t:item()\nThe one element as a Lua number; an integer for int64. An error while tracing." },
    { "totable", bind_tensor_totable,
      "t:totable()\nNested tables of Lua numbers; the number itself for 0-d. An error while "
      "tracing." },
    { "clone", m_clone, "t:clone()\nA copy with its own memory." },
    { "save", m_save, "t:save(path)\nWrites NumPy's .npy format and returns t; the file appears whole or not at all." },
    { NULL, NULL, NULL },
};

const bind_row *bind_tensor_method_rows(void) {
    return methods;
}
