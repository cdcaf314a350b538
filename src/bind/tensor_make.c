/* tensor_make.c - tensors from nothing and from Lua tables: bk.tensor, zeros, ones, full, eye, arange, linspace.
 * Tables are measured first and filled second, so that a ragged one is refused with the place named. */
#include "tensor_value.h"
#include "args.h"
#include <math.h>
#include <string.h>

static const bind_option dtype_told[] = {
    { "dtype", "\"float64\", \"float32\" or \"int64\"", "float64", "what its elements are" },
    { NULL, NULL, NULL, NULL },
};

/* ---- bk.tensor ---- */

typedef struct nested {
    int ndim;
    int64_t shape[BK_MAX_DIMS], at[BK_MAX_DIMS]; /* at: where the walk stands */
} nested;

static const char *place(lua_State *L, const nested *n, int depth) {
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    luaL_addstring(&b, "values");
    for (int i = 0; i < depth; i++) {
        lua_pushfstring(L, "[%I]", (LUAI_UACINT)n->at[i] + 1);
        luaL_addvalue(&b);
    }
    luaL_pushresult(&b);
    return lua_tostring(L, -1);
}

/* What stands beside the list on the top of the stack, as {1, 2, dtype = "float32"} has it, would be passed over. */
static void no_fields(lua_State *L, nested *n, int depth, const char *fname) {
    const lua_Integer count = (lua_Integer)lua_rawlen(L, -1);
    if (!args_stray(L, -1, count, true)) return;
    const int key = lua_gettop(L);
    if (lua_type(L, key) == LUA_TNUMBER)
        args_error(L, fname, "%s: expected a list without gaps, got %I entries and one at %s", place(L, n, depth),
                   (LUAI_UACINT)count, lua_tostring(L, key));
    args_error(L, fname, "%s: expected a list, got a field %s as well; options stand behind the values",
               place(L, n, depth), args_got(L, key));
}

static void fill(lua_State *L, nested *n, int depth, tensor *t, int64_t *next) {
    const char *fname = "bk.tensor";
    const tensor *part = bind_test_tensor(L, -1);
    int value = lua_gettop(L);
    if (bind_tensor_test(L, -1) && !part)
        args_error(L, fname, "%s: a traced tensor; bk.stack joins tensors", place(L, n, depth));
    if (depth == n->ndim) {
        int ok = lua_type(L, -1) == LUA_TNUMBER || (part && part->ndim == 0);
        if (!ok) args_error(L, fname, "%s: expected a number, got %s", place(L, n, depth), args_got(L, value));
        if (t->dtype == BK_INT64) {
            if (part && part->dtype != BK_INT64) lua_pushnumber(L, tensor_get(part, 0));
            bool whole = part && part->dtype == BK_INT64;
            lua_Integer v = whole ? *(const int64_t *)tensor_data(part) : lua_tointegerx(L, -1, &ok);
            lua_settop(L, value);
            if (!ok)
                args_error(L, fname, "%s: expected a whole number for int64, got %s", place(L, n, depth),
                           args_got(L, value));
            ((int64_t *)tensor_data(t))[(*next)++] = v;
        } else {
            tensor_set(t, (*next)++, part ? tensor_get(part, 0) : lua_tonumber(L, -1));
        }
        return;
    }
    if (!lua_istable(L, -1))
        args_error(L, fname, "%s: ragged: expected a table of %I, got %s", place(L, n, depth),
                   (LUAI_UACINT)n->shape[depth], args_got(L, value));
    if ((int64_t)lua_rawlen(L, -1) != n->shape[depth])
        args_error(L, fname, "%s: ragged: expected %I entries as in the first, got %I", place(L, n, depth),
                   (LUAI_UACINT)n->shape[depth], (LUAI_UACINT)lua_rawlen(L, -1));
    luaL_checkstack(L, 8, fname);
    no_fields(L, n, depth, fname);
    for (int64_t i = 0; i < n->shape[depth]; i++) {
        n->at[depth] = i;
        lua_rawgeti(L, -1, i + 1);
        fill(L, n, depth + 1, t, next);
        lua_pop(L, 1);
    }
}

static int make_tensor(lua_State *L) {
    const char *fname = "bk.tensor";
    int table = args_declared(L, 2, fname, dtype_told, false);
    const tensor *given = bind_test_tensor(L, 1);
    const bk_dtype dtype = args_opt_dtype(L, table, fname, given ? given->dtype : BK_FLOAT64);
    if (given) { /* a copy */
        tensor *copy = bind_tensor_push_new(L, dtype, given->ndim, given->shape, fname);
        err e = { 0 };
        if (tensor_copy(given, dtype, tensor_data(copy), &e)) return bind_raise(L, &e);
        return 1;
    }
    if (bind_tensor_test(L, 1)) { /* traced, and never changed: itself */
        if (table) return args_error(L, fname, "dtype: not of a traced tensor; t:to(dtype) casts it");
        lua_settop(L, 1);
        return 1;
    }
    if (!lua_istable(L, 1) && lua_type(L, 1) != LUA_TNUMBER)
        return args_fail(L, 1, fname, "values", "a (nested) table of numbers or a number");
    nested n = { 0 };
    lua_pushvalue(L, 1);
    while (lua_istable(L, -1)) { /* along the first entries */
        if (n.ndim == BK_MAX_DIMS) return args_error(L, fname, "values: nested deeper than %d", BK_MAX_DIMS);
        n.shape[n.ndim++] = (int64_t)lua_rawlen(L, -1);
        if (n.shape[n.ndim - 1] == 0) break;
        lua_rawgeti(L, -1, 1);
        lua_replace(L, -2);
    }
    lua_pop(L, 1);
    tensor *t = bind_tensor_push_new(L, dtype, n.ndim, n.shape, fname);
    int64_t next = 0;
    lua_pushvalue(L, 1);
    fill(L, &n, 0, t, &next);
    lua_pop(L, 1);
    return 1;
}

/* ---- filled ---- */

/* The shape at 1, from a table whose field dtype may stand beside the sizes, and options at `at`. */
static int shape_and_dtype(lua_State *L, const char *fname, int at, int64_t *shape, bk_dtype *dtype) {
    int inside = lua_istable(L, 1) ? args_declared(L, 1, fname, dtype_told, true) : 0;
    *dtype = args_dtype_once(L, fname, inside, args_declared(L, at, fname, dtype_told, false));
    return args_shape(L, 1, fname, "shape", 0, true, shape);
}

enum { FILL = 1 << 20 }; /* elements between two looks at the interrupt flag */

/* All x; `whole` is x as an integer, which has more digits. */
static int filled(lua_State *L, const char *fname, int options, double x, int64_t whole) {
    int64_t shape[BK_MAX_DIMS];
    bk_dtype dtype;
    int ndim = shape_and_dtype(L, fname, options, shape, &dtype);
    if (dtype == BK_INT64 && x != (double)whole) /* of what is not whole, and past 2^63, make_full has the nearest */
        return args_error(L, fname, "value: expected a whole number for int64, got %s", args_got(L, 2));
    tensor *t = bind_tensor_push_new(L, dtype, ndim, shape, fname);
    int64_t n = tensor_count(t);
    for (int64_t i = 0; i < n; i += FILL) {
        bind_poll(L, i);
        int64_t k = n - i < FILL ? n - i : FILL;
        char *to = (char *)tensor_data(t) + (size_t)i * dtype_size(dtype);
        if (dtype != BK_INT64) vec_get(VEC_FILL, dtype)(k, to, NULL, NULL, NULL, x);
        for (int64_t j = 0; dtype == BK_INT64 && j < k; j++) ((int64_t *)(void *)to)[j] = whole;
    }
    return 1;
}

static int make_zeros(lua_State *L) {
    return filled(L, "bk.zeros", 2, 0, 0);
}
static int make_ones(lua_State *L) {
    return filled(L, "bk.ones", 2, 1, 1);
}
static int make_full(lua_State *L) {
    const double x = args_number(L, 2, "bk.full", "value");
    int whole;
    const int64_t n = lua_tointegerx(L, 2, &whole);
    return filled(L, "bk.full", 3, x, whole ? n : x > 0 ? INT64_MAX : INT64_MIN);
}

static int make_eye(lua_State *L) {
    int inside = lua_istable(L, 1) ? args_declared(L, 1, "bk.eye", dtype_told, true) : 0; /* bk.eye{n, dtype = ...} */
    const bk_dtype dtype = args_dtype_once(L, "bk.eye", inside, args_declared(L, 2, "bk.eye", dtype_told, false));
    if (inside) {
        const int64_t sizes = args_list(L, 1, "bk.eye", "n", true);
        lua_rawgeti(L, 1, 2);
        lua_rawgeti(L, 1, 1);
        if (sizes > 2 || (sizes == 2 && !lua_rawequal(L, -1, -2)))
            args_error(L, "bk.eye", "n: expected one size, the matrix is square, got %I that differ",
                       (LUAI_UACINT)sizes);
        lua_replace(L, 1);
    }
    int64_t n = args_integer(L, 1, "bk.eye", "n", 0, INT32_MAX), shape[2] = { n, n };
    tensor *t = bind_tensor_push_new(L, dtype, 2, shape, "bk.eye");
    size_t row = (size_t)n * dtype_size(t->dtype);
    for (int64_t i = 0; i < n; i++) {
        bind_poll_now(L);
        memset((char *)tensor_data(t) + (size_t)i * row, 0, row);
        tensor_set(t, i * (n + 1), 1);
    }
    return 1;
}

static int make_arange(lua_State *L) {
    const char *fname = "bk.arange";
    int n_numbers = 0;
    while (n_numbers < 3 && lua_type(L, n_numbers + 1) == LUA_TNUMBER) n_numbers++;
    if (n_numbers == 0) return args_fail(L, 1, fname, "stop", "a number");
    double from = n_numbers > 1 ? lua_tonumber(L, 1) : 0;
    double stop = lua_tonumber(L, n_numbers > 1 ? 2 : 1);
    double step = n_numbers > 2 ? lua_tonumber(L, 3) : 1;
    bk_dtype dtype = args_opt_dtype(L, args_declared(L, n_numbers + 1, fname, dtype_told, false), fname, BK_FLOAT64);
    double count = ceil((stop - from) / step);
    if (step == 0 || !(count < 1e15))
        return args_error(L, fname, "step: expected a finite range, got %f to %f by %f", from, stop, step);
    if (dtype == BK_INT64 && (from != floor(from) || step != floor(step)))
        return args_error(L, fname, "int64 needs whole numbers, got %f by %f", from, step);
    if (dtype == BK_INT64 && !(fmax(fabs(from), fabs(stop)) <= 0x1p63))
        return args_error(L, fname, "int64 holds -2^63 to 2^63 - 1, got %f to %f", from, stop);
    int64_t n = count > 0 ? (int64_t)count : 0;
    bool whole = dtype == BK_INT64; /* with more digits than a float64 has */
    for (int i = 1; i <= n_numbers && whole; i++) {
        int exact;
        lua_tointegerx(L, i, &exact);
        whole = exact;
    }
    const int64_t first = whole && n_numbers > 1 ? lua_tointeger(L, 1) : 0;
    const int64_t by = whole && n_numbers > 2 ? lua_tointeger(L, 3) : 1;
    if (whole) {
        const int64_t last = lua_tointeger(L, n_numbers > 1 ? 2 : 1);
        const uint64_t range = by > 0 ? (uint64_t)last - (uint64_t)first : (uint64_t)first - (uint64_t)last;
        const uint64_t size = by > 0 ? (uint64_t)by : -(uint64_t)by;
        n = (by > 0 ? last > first : last < first) ? (int64_t)((range - 1) / size + 1) : 0;
    }
    tensor *t = bind_tensor_push_new(L, dtype, 1, &n, fname);
    for (int64_t i = 0; i < n; i++) {
        bind_poll(L, i);
        if (whole)
            ((int64_t *)tensor_data(t))[i] = (int64_t)((uint64_t)first + (uint64_t)i * (uint64_t)by);
        else
            tensor_set(t, i, from + (double)i * step);
    }
    return 1;
}

static int make_linspace(lua_State *L) {
    const char *fname = "bk.linspace";
    double a = args_number(L, 1, fname, "first"), b = args_number(L, 2, fname, "last");
    int64_t n = args_integer(L, 3, fname, "n", 0, INT64_MAX);
    bk_dtype dtype = args_opt_dtype(L, args_declared(L, 4, fname, dtype_told, false), fname, BK_FLOAT64);
    tensor *t = bind_tensor_push_new(L, dtype, 1, &n, fname);
    for (int64_t i = 0; i < n; i++) {
        bind_poll(L, i);
        const double steps = n > 1 ? (double)(n - 1) : 1, part = (double)i / steps;
        const double far = (b - a) * (double)i; /* divided last, whole numbers stay exact */
        const double x = i == n - 1 && n > 1 ? b : isfinite(far) ? a + far / steps : a * (1 - part) + b * part;
        if (dtype == BK_INT64 && x != floor(x))
            return args_error(L, fname, "int64 needs whole numbers, got %f in place %I", x, (LUAI_UACINT)i + 1);
        if (dtype == BK_INT64 && !(x >= -0x1p63 && x < 0x1p63))
            return args_error(L, fname, "int64 holds -2^63 to 2^63 - 1, got %f in place %I", x, (LUAI_UACINT)i + 1);
        tensor_set(t, i, x);
    }
    return 1;
}

static int make_is_tensor(lua_State *L) {
    lua_pushboolean(L, bind_tensor_test(L, 1) != NULL);
    return 1;
}

static const bind_row rows[] = {
    { "tensor", make_tensor,
      "bk.tensor(values [, {dtype = \"float64\"}]) -> tensor\n"
      "A tensor of the values in nested tables: {{1, 2}, {3, 4}} has shape (2,2), a number shape ().\n\n"
      "A tensor is copied, in its own dtype unless told, as t:to casts it. Tensors do not change; operations make new "
      "ones or views. An error for ragged tables names the place.",
      dtype_told },
    { "zeros", make_zeros,
      "bk.zeros({sizes} [, {dtype = \"float64\"}]) -> tensor\nAll 0.\n\nbk.zeros{2, 3, dtype = \"float32\"} and "
      "bk.zeros({2, 3}, {dtype = \"float32\"}) are the same.",
      dtype_told },
    { "ones", make_ones,
      "bk.ones({sizes} [, {dtype = \"float64\"}]) -> tensor\nAll 1.\n\nbk.ones{2, 3, dtype = \"float32\"} and "
      "bk.ones({2, 3}, {dtype = \"float32\"}) are the same.",
      dtype_told },
    { "full", make_full,
      "bk.full({sizes}, value [, {dtype = \"float64\"}]) -> tensor\nAll equal to value.\n\nAn error where an int64 "
      "is asked for and value is not whole.",
      dtype_told },
    { "eye", make_eye, "bk.eye(n [, {dtype = \"float64\"}]) -> tensor\nThe identity matrix (n,n).", dtype_told },
    { "arange", make_arange,
      "bk.arange([first,] stop [, step] [, {dtype = \"float64\"}]) -> tensor\nfirst (0), first + step, ... below "
      "stop, as in NumPy: bk.arange(3) is 0, 1, 2.",
      dtype_told },
    { "linspace", make_linspace,
      "bk.linspace(first, last, n [, {dtype = \"float64\"}]) -> tensor\nn equally spaced values, both ends "
      "included.",
      dtype_told },
    { "is_tensor", make_is_tensor, "bk.is_tensor(value) -> boolean\nWhether value is a tensor.", NULL },
    { NULL, NULL, NULL, NULL },
};

const bind_row *bind_tensor_make_rows(void) {
    return rows;
}
