/* tensor_ops.c - every public operation as Lua sees it, from its row: t:NAME(...) and bk.NAME(...), the metamethod, the
 * docstring. One function calls them all: it reads the arguments that the row declares. Of an operation that only looks
 * at its operand in another way, the result on a concrete tensor is a view: no data moves. */
#include "tensor_ops.h"
#include "args.h"
#include <stdlib.h>
#include <string.h>

enum { PARTS_MAX = 4096, ARGS_MAX = 6 };

/* ---- arguments as numbers, and back ----
 * ints[0]: bit k: argument k is given, bit 16 + k: it is a number where a tensor could be. Then, in order, what is no
 * tensor: an integer, the bits of a number, or a count and as many integers. */

static int64_t number_bits(double x) {
    int64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static double bits_number(int64_t bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void values_of(const op_row *row, const int64_t *ints, int n_in, node *const *in, op_value *v) {
    const int64_t *next = ints + 1;
    int from = 0;
    for (int k = 0; row->args[k].kind; k++) {
        v[k] = (op_value){ .given = ints[0] >> k & 1 };
        switch (row->args[k].kind) {
        case ARG_PARTS:
            v[k].n = n_in;
            v[k].parts = in;
            break;
        case ARG_OPERAND:
            if (ints[0] >> (16 + k) & 1) {
                v[k].x = bits_number(*next++);
                break;
            }
            /* fall through */
        case ARG_SEED:
        case ARG_TENSOR:
            v[k].t = in ? in[from++] : NULL;
            break;
        case ARG_NUMBER:
            v[k].x = bits_number(*next++);
            break;
        case ARG_SIZES:
        case ARG_AXES:
            v[k].n = (int)*next++;
            v[k].ints = next;
            next += v[k].n;
            break;
        default:
            v[k].i = *next++;
        }
    }
}

/* A number stands beside the first tensor among the operands; without one it is of the first tensor's float dtype. */
static void numbers_to_nodes(graph *g, const op_row *row, int64_t mask, node *first, op_value *v) {
    node *beside = NULL;
    for (int k = 0; row->args[k].kind && !beside; k++)
        if (row->args[k].kind == ARG_OPERAND) beside = v[k].t;
    for (int k = 0; row->args[k].kind; k++) {
        if (!(mask >> (16 + k) & 1)) continue;
        v[k].t = beside ? op_number_beside(g, beside, v[k].x)
                        : g_full(g, first->dtype == BK_FLOAT32 ? BK_FLOAT32 : BK_FLOAT64, 0, NULL, v[k].x);
    }
}

static bool build_row(graph *g, const op_call *c, int n_in, node *const *in, node **out) {
    const op_row *row = c->what;
    op_value v[ARGS_MAX];
    values_of(row, c->ints, n_in, in, v);
    if (c->ints[0] >> 16) numbers_to_nodes(g, row, c->ints[0], in[0], v);
    out[0] = op_build(g, row, v, c->n_out > 1 ? &out[1] : NULL);
    for (int i = 0; i < c->n_out; i++)
        if (!out[i]) return false;
    return true;
}

/* ---- reading them ---- */

typedef struct reader {
    lua_State *L;
    const op_row *row;
    op_call call;
    lua_tensor *few[SAMPLE_INPUTS], **in;
    int n_in, at, ndim; /* at: the next argument on the stack; ndim: of the first tensor */
} reader;

static const char *called(const op_arg *a) {
    return a->called ? a->called : a->name;
}

static void put(reader *r, int64_t x) {
    r->call.ints[r->call.n_ints++] = x;
}

static void put_tensor(reader *r, int index, const op_arg *a, const char *expected) {
    lua_tensor *t = bind_tensor_test(r->L, index);
    if (!t) args_fail(r->L, index, r->call.name, called(a), expected);
    if (t->g) bind_tensor_arg(r->L, index, r->call.name, called(a));
    if (!r->n_in) r->ndim = bind_tensor_ndim(t);
    r->in[r->n_in++] = t;
}

/* Whether the number at index is one that only int64 holds, beside operands that are all int64: it becomes a tensor. */
static bool exact_integer(reader *r, int index) {
    enum { DIGITS = 53 };
    lua_State *L = r->L;
    const int64_t x = lua_tointeger(L, index), most = (int64_t)1 << DIGITS;
    if (!lua_isinteger(L, index) || (x <= most && x >= -most)) return false;
    bool beside = false;
    for (int k = 0; r->row->args[k].kind; k++) {
        const op_arg *a = &r->row->args[k];
        const lua_tensor *t = a->kind == ARG_OPERAND ? bind_tensor_test(L, k + 1) : NULL;
        if (t) bind_tensor_arg(L, k + 1, r->call.name, called(a));
        if (t && bind_tensor_dtype(t) != BK_INT64) return false;
        beside = beside || t;
    }
    if (!beside) return false;
    *(int64_t *)tensor_data(bind_tensor_push_new(L, BK_INT64, 0, NULL, r->call.name)) = x;
    lua_replace(L, index);
    return true;
}

static void put_seed(reader *r, int index, const op_arg *a) {
    static const char expected[] = "an integer or an int64 tensor";
    lua_State *L = r->L;
    int whole = 0;
    const int64_t seed = lua_type(L, index) == LUA_TNUMBER ? lua_tointegerx(L, index, &whole) : 0;
    if (whole) {
        *(int64_t *)tensor_data(bind_tensor_push_new(L, BK_INT64, 0, NULL, r->call.name)) = seed;
        lua_replace(L, index);
    }
    put_tensor(r, index, a, expected);
    if (bind_tensor_dtype(r->in[r->n_in - 1]) != BK_INT64) args_fail(L, index, r->call.name, called(a), expected);
}

/* bk.concat({a, b, ...}, dim) or a:concat(b, ..., dim) */
static void put_parts(reader *r) {
    lua_State *L = r->L;
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
    args_end(L, 2, lua_gettop(L), false, r->call.name);
    lua_settop(L, 2);
    lua_Unsigned n = (lua_Unsigned)args_list(L, 1, r->call.name, "parts", false);
    if (n < 1 || n > PARTS_MAX)
        args_error(L, r->call.name, "expected a list of 1 to %d tensors, got %I", PARTS_MAX, (LUAI_UACINT)n);
    r->in = lua_newuserdatauv(L, sizeof *r->in * n, 0);
    lua_newtable(L);
    for (lua_Unsigned i = 0; i < n; i++) {
        lua_pushfstring(L, "part %I", (LUAI_UACINT)i + 1);
        if (lua_rawgeti(L, 1, (lua_Integer)i + 1) == LUA_TNUMBER) {
            bind_tensor_push_scalar(L, lua_tonumber(L, -1));
            lua_pushvalue(L, -1);
            lua_rawseti(L, 4, (lua_Integer)i + 1); /* keeps it */
            lua_replace(L, -2);
        }
        put_tensor(r, lua_absindex(L, -1), &(op_arg){ ARG_TENSOR, lua_tostring(L, -2) }, "a tensor");
        lua_pop(L, 2);
    }
}

static void put_sizes(reader *r, int index, const op_arg *a) {
    lua_State *L = r->L;
    int64_t sizes[BK_MAX_DIMS], low = a->kind == ARG_AXES ? 1 : a->low;
    int n = lua_gettop(L) - index + 1;
    if (n > 1 && !a[1].kind) { /* t:reshape(2, 3) */
        lua_createtable(L, n, 0);
        for (int i = 0; i < n; i++) {
            lua_pushvalue(L, index + i);
            lua_rawseti(L, -2, i + 1);
        }
        lua_replace(L, index);
        lua_settop(L, index);
    }
    n = args_shape(L, index, r->call.name, called(a), low, false, sizes);
    put(r, n);
    for (int i = 0; i < n; i++) put(r, a->kind == ARG_AXES ? sizes[i] - 1 : sizes[i]);
}

static int64_t dims_mask(reader *r, int index, const op_arg *a) {
    lua_State *L = r->L;
    int64_t mask = 0;
    if (lua_isnoneornil(L, index)) return (1 << r->ndim) - 1;
    if (!lua_istable(L, index)) return 1 << args_dim(L, index, r->call.name, called(a), r->ndim);
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
        if (lua_type(L, -2) == LUA_TSTRING)
            args_error(L, r->call.name, "%s: expected a dimension or a list of them, got options; they stand behind it",
                       called(a));
    for (lua_Integer i = 1, n = (lua_Integer)lua_rawlen(L, index); i <= n; i++, lua_pop(L, 1)) {
        lua_rawgeti(L, index, i);
        const int64_t one = (int64_t)1 << args_dim(L, -1, r->call.name, "dims", r->ndim);
        if (mask & one) args_error(L, r->call.name, "%s: expected each dimension once, got %s again", called(a),
                                   args_got(L, -1));
        mask |= one;
    }
    return mask;
}

/* The argument, which is at index; given when it is not nil. */
static void put_arg(reader *r, int index, const op_arg *a, bool given) {
    lua_State *L = r->L;
    const char *fname = r->call.name;
    switch (a->kind) {
    case ARG_DTYPE:
        put(r, given || !a->absent ? args_dtype(L, index, fname, called(a)) : BK_FLOAT64);
        break;
    case ARG_DIMS:
        put(r, dims_mask(r, index, a));
        break;
    case ARG_DIM:
        put(r, given || !a->absent ? args_dim(L, index, fname, called(a), r->ndim + a->more) : -1);
        break;
    case ARG_AXES:
    case ARG_SIZES:
        if (given || !a->absent) put_sizes(r, index, a);
        else put(r, 0);
        break;
    case ARG_NUMBER:
        put(r, number_bits(given || !a->absent ? args_number(L, index, fname, called(a)) : strtod(a->absent, NULL)));
        break;
    case ARG_BOOLEAN:
        if (given && !lua_isboolean(L, index)) args_fail(L, index, fname, called(a), "true or false");
        put(r, given && lua_toboolean(L, index));
        break;
    default:
        put(r, given || !a->absent
                   ? args_integer(L, index, fname, called(a), a->low, a->high ? a->high : INT64_MAX)
                   : strtoll(a->absent, NULL, 10));
    }
}

/* The options: a table, or the first one's value alone. */
static void put_options(reader *r, const op_arg *options, int first) {
    lua_State *L = r->L;
    const int type = lua_type(L, r->at);
    const char *known[ARGS_MAX + 1] = { NULL };
    const bool alone = type == (options->kind == ARG_BOOLEAN ? LUA_TBOOLEAN : LUA_TNUMBER);
    for (int i = 0; options[i].kind; i++) known[i] = options[i].name;
    int table = alone || type <= LUA_TNIL ? 0 : args_options(L, r->at, r->call.name, known, false);
    for (int i = 0; options[i].kind; i++) {
        bool given = alone && i == 0;
        if (given) lua_pushvalue(L, r->at);
        else given = args_field(L, table, options[i].name);
        if (given) r->call.ints[0] |= (int64_t)1 << (first + i);
        put_arg(r, lua_gettop(L), &options[i], given);
        if (given) lua_pop(L, 1);
    }
}

/* Options where a dimension could stand, which is left out: t:sort{descending = true}. */
static bool options_at(lua_State *L, int index, const op_arg *a) {
    const bool dimension = a->kind == ARG_DIM || a->kind == ARG_DIMS;
    if (!dimension || !a->absent || !a[1].option || !lua_istable(L, index)) return false;
    lua_pushnil(L);
    if (!lua_next(L, index)) return a->kind == ARG_DIM; /* of no dimension is a sum too */
    const bool named = lua_type(L, -2) == LUA_TSTRING && lua_rawlen(L, index) == 0;
    lua_pop(L, 2);
    return named;
}

/* ---- the call ---- */

/* The result as a view of the first operand, pushed; false: it has to be computed. */
static bool push_view(reader *r) {
    const lua_tensor *t = r->in[0];
    op_value v[ARGS_MAX];
    values_of(r->row, r->call.ints, 0, NULL, v);
    bind_tensor_push_view(r->L, &t->value);
    if (r->row->view(&((lua_tensor *)lua_touserdata(r->L, -1))->value, v)) return true;
    lua_pop(r->L, 1);
    if (tensor_contiguous(&t->value)) return false;
    tensor packed = t->value; /* of a copy in row-major order it may be a view */
    shape_strides(packed.ndim, packed.shape, packed.strides);
    packed.offset = 0;
    tensor view = packed;
    if (!r->row->view(&view, v)) return false;
    tensor *copy = bind_tensor_push_new(r->L, packed.dtype, packed.ndim, packed.shape, r->call.name);
    err e = { 0 };
    if (tensor_copy(&t->value, packed.dtype, tensor_data(copy), &e)) bind_raise(r->L, &e);
    view.store = copy->store;
    *copy = view;
    return true;
}

/* Upvalues: the row, and its name for messages. */
static int call_row(lua_State *L) {
    const op_row *row = lua_touserdata(L, lua_upvalueindex(1));
    reader r; /* not cleared: what is read has been put */
    r.L = L;
    r.row = row;
    r.in = r.few;
    r.at = 1;
    r.n_in = r.ndim = 0;
    r.call.ints[0] = 0;
    r.call.x = 0;
    r.call.name = lua_tostring(L, lua_upvalueindex(2));
    r.call.build = build_row;
    r.call.what = row;
    r.call.n_ints = 1;
    r.call.n_out = row->results ? row->results : 1;
    if (row->args[0].kind == ARG_OPERAND && lua_type(L, 1) == LUA_TNUMBER &&
        (row->args[1].kind != ARG_OPERAND || lua_type(L, 2) == LUA_TNUMBER)) { /* bk.exp(2) */
        bind_tensor_push_scalar(L, lua_tonumber(L, 1));
        lua_replace(L, 1);
    }
    for (int k = 0; row->args[k].kind; k++) {
        const op_arg *a = &row->args[k];
        if (a->option) {
            put_options(&r, a, k);
            r.at++;
            break;
        }
        const int index = r.at++;
        if (options_at(L, index, a)) {
            lua_pushnil(L);
            lua_insert(L, index);
        }
        if (a->kind == ARG_TENSOR) {
            put_tensor(&r, index, a, "a tensor");
        } else if (a->kind == ARG_OPERAND) {
            if (lua_type(L, index) == LUA_TNUMBER && !exact_integer(&r, index)) {
                r.call.ints[0] |= (int64_t)1 << (16 + k);
                put(&r, number_bits(lua_tonumber(L, index)));
            } else put_tensor(&r, index, a, "a tensor or a number");
        } else if (a->kind == ARG_SEED) {
            put_seed(&r, index, a);
        } else if (a->kind == ARG_PARTS) {
            put_parts(&r);
        } else {
            const bool given = !lua_isnoneornil(L, index);
            if (given) r.call.ints[0] |= (int64_t)1 << k;
            put_arg(&r, index, a, given);
            if (row->second && a->kind == ARG_DIM && given) r.call.n_out = 2;
        }
    }
    if (row->args[0].kind != ARG_PARTS) args_end(L, r.at - 1, lua_gettop(L), false, r.call.name);
    if (row->view && !r.in[0]->g && push_view(&r)) return 1;
    return bind_tensor_apply(L, &r.call, r.n_in, r.in);
}

/* ---- docstrings ---- */

static void add_args(luaL_Buffer *b, const op_arg *a, bool first) {
    bool table = false;
    for (; a->kind; a++) {
        if (a->option && !table) luaL_addstring(b, first ? "[{" : " [, {");
        else if (a->option) luaL_addstring(b, ", ");
        else if (a->absent) luaL_addstring(b, first ? "[" : " [, ");
        else if (!first) luaL_addstring(b, ", ");
        luaL_addstring(b, a->kind == ARG_PARTS ? "{t, u, ...}" : a->name);
        if (a->option) {
            luaL_addstring(b, " = ");
            luaL_addstring(b, a->absent);
        } else if (a->absent) luaL_addchar(b, ']');
        table = a->option;
        first = false;
    }
    luaL_addstring(b, table ? "}])" : ")");
}

static const char *wanted(const op_arg *a) {
    switch (a->kind) {
    case ARG_NUMBER: return "a number";
    case ARG_BOOLEAN: return "true or false";
    case ARG_DTYPE: return "\"float64\" or \"float32\"";
    default: return "a whole number";
    }
}

/* Records the options of the function on top. */
static void doc_options(lua_State *L, const op_row *row) {
    for (const op_arg *a = row->args; a->kind; a++)
        if (a->option) bind_doc_option(L, -1, &(bind_option){ a->name, wanted(a), a->absent, a->doc });
}

static void add_path(luaL_Buffer *b, const op_row *row) {
    luaL_addstring(b, "bk.");
    if (row->room) {
        luaL_addstring(b, row->room);
        luaL_addchar(b, '.');
    }
    luaL_addstring(b, row->name);
}

static void push_doc(lua_State *L, const op_row *row) {
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    if (row->args[0].kind != ARG_PARTS && !row->room) {
        luaL_addstring(&b, "t:");
        luaL_addstring(&b, row->name);
        luaL_addchar(&b, '(');
        add_args(&b, row->args + 1, true);
        luaL_addstring(&b, ", ");
    }
    add_path(&b, row);
    luaL_addchar(&b, '(');
    add_args(&b, row->args, true);
    if (row->sign) {
        luaL_addstring(&b, ", ");
        luaL_addstring(&b, row->sign);
    }
    if (row->second) {
        luaL_addstring(&b, " -> values [, ");
        luaL_addstring(&b, row->second);
        luaL_addchar(&b, ']');
    }
    if (row->returns || !row->second) {
        luaL_addstring(&b, " -> ");
        luaL_addstring(&b, row->returns ? row->returns : "tensor");
    }
    luaL_addchar(&b, '\n');
    luaL_addstring(&b, row->doc);
    luaL_addstring(&b, "\n\nFormula: ");
    luaL_addstring(&b, row->formula);
    luaL_pushresult(&b);
}

/* Stack: the metatable, the table of methods; the module table is at `module`. */
void bind_tensor_ops(lua_State *L, int module, int meta, int methods) {
    for (int i = 0; op_rows[i]; i++) {
        const op_row *row = op_rows[i];
        luaL_Buffer b;
        const char *fault = op_row_fault(row, op_row_names[i]);
        bind_row_check(L, !fault, "op", op_row_names[i], fault);
        if (!row->args) continue;
        if (row->room) luaL_getsubtable(L, module, row->room);
        else lua_pushvalue(L, module);
        bind_row_name(L, -1, "op", op_row_names[i], row->name);
        if (!row->room) bind_row_name(L, methods, "op", op_row_names[i], row->name);
        lua_pushlightuserdata(L, (void *)(uintptr_t)row);
        luaL_buffinit(L, &b);
        add_path(&b, row);
        luaL_pushresult(&b);
        lua_pushcclosure(L, call_row, 2);
        push_doc(L, row);
        bind_doc(L, -2, lua_tostring(L, -1));
        lua_pop(L, 1);
        doc_options(L, row);
        if (row->meta) {
            lua_pushvalue(L, -1);
            lua_setfield(L, meta, row->meta);
        }
        if (!row->room) {
            lua_pushvalue(L, -1);
            lua_setfield(L, methods, row->name);
        }
        lua_setfield(L, -2, row->name);
        lua_pop(L, 1);
    }
}
