/* tensor_print.c - a tensor as text and as nested tables. Long dimensions are shown by their ends, long rows broken. */
#include "args.h"
#include "tensor_value.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SHOWN = 3, TEXT = 32 }; /* entries at each end of a dimension longer than the threshold */
enum { PRECISION = 6, THRESHOLD = 8, WIDTH = 120 };

typedef struct form {
    int precision, width;
    int64_t threshold;
} form;

static form form_of(lua_State *L) {
    const bind_state *st = bind_state_of(L);
    return (form){ st->print_precision ? st->print_precision : PRECISION, st->print_width ? st->print_width : WIDTH,
                   st->print_threshold ? st->print_threshold : THRESHOLD };
}

const bind_option bind_print_options[] = {
    { "precision", "a whole number from 1 to 17", "6", "significant digits of a number" },
    { "threshold", "a whole number >= 6", "8", "a longer dimension is shown by three entries at each end" },
    { "width", "a whole number >= 20", "120", "columns after which a row is broken" },
    { NULL },
};

int bind_tensor_print_options(lua_State *L) {
    const char *fname = "bk.print_options";
    bind_state *st = bind_state_of(L);
    const int given = args_declared(L, 1, fname, bind_print_options, false);
    const form now = form_of(L);
    const int64_t precision = args_opt_integer(L, given, fname, "precision", 1, 17, now.precision);
    const int64_t threshold = args_opt_integer(L, given, fname, "threshold", 2 * SHOWN, INT32_MAX, now.threshold);
    const int64_t width = args_opt_integer(L, given, fname, "width", 20, INT32_MAX, now.width);
    st->print_precision = (int)precision;
    st->print_threshold = threshold;
    st->print_width = (int)width;
    lua_createtable(L, 0, 3);
    lua_pushinteger(L, precision);
    lua_setfield(L, -2, "precision");
    lua_pushinteger(L, threshold);
    lua_setfield(L, -2, "threshold");
    lua_pushinteger(L, width);
    lua_setfield(L, -2, "width");
    return 1;
}

static int element_text(const form *f, const tensor *t, int64_t at, char *text) {
    if (t->dtype == BK_INT64) return snprintf(text, TEXT, "%lld", (long long)((const int64_t *)tensor_data(t))[at]);
    double x = dtype_get(t->dtype, tensor_data(t), at);
    if (isnan(x)) return snprintf(text, TEXT, "nan");
    return snprintf(text, TEXT, "%.*g", f->precision, x);
}

static int64_t next_shown(const form *f, int64_t i, int64_t n) { /* after i: SHOWN-1 jumps to a long one's tail */
    return n > f->threshold && i == SHOWN - 1 ? n - SHOWN : i + 1;
}

static int widest(const form *f, const tensor *t, int dim, int64_t at) {
    char text[TEXT];
    if (dim == t->ndim) return element_text(f, t, at, text);
    int width = 0;
    for (int64_t i = 0; i < t->shape[dim]; i = next_shown(f, i, t->shape[dim])) {
        int w = widest(f, t, dim + 1, at + i * t->strides[dim]);
        if (w > width) width = w;
    }
    return width;
}

static void new_line(luaL_Buffer *b, int indent) {
    luaL_addchar(b, '\n');
    for (int k = 0; k < indent; k++) luaL_addchar(b, ' ');
}

/* A row of numbers; the brackets that close behind the last one stand in the same line. */
static void show_row(luaL_Buffer *b, const form *f, const tensor *t, int64_t at, int width) {
    char text[TEXT];
    const int dim = t->ndim - 1;
    int column = t->ndim;
    for (int64_t i = 0, n = t->shape[dim]; i < n;) {
        const int64_t next = next_shown(f, i, n);
        const int dots = next > i + 1 ? 4 : 0, closing = next < n ? 0 : t->ndim;
        if (i && column + width + dots + closing > f->width) {
            new_line(b, t->ndim);
            column = t->ndim;
        } else if (i) {
            luaL_addchar(b, ' ');
        }
        for (int w = element_text(f, t, at + i * t->strides[dim], text); w < width; w++) luaL_addchar(b, ' ');
        luaL_addstring(b, text);
        if (dots) luaL_addstring(b, " ...");
        column += width + dots + 1;
        i = next;
    }
}

static void show(luaL_Buffer *b, const form *f, const tensor *t, int dim, int64_t at, int width) {
    char text[TEXT];
    if (dim == t->ndim) {
        element_text(f, t, at, text);
        luaL_addstring(b, text);
        return;
    }
    luaL_addchar(b, '[');
    if (dim == t->ndim - 1) show_row(b, f, t, at, width);
    for (int64_t i = 0, n = dim == t->ndim - 1 ? 0 : t->shape[dim]; i < n;) {
        show(b, f, t, dim + 1, at + i * t->strides[dim], width);
        int64_t next = next_shown(f, i, n);
        if (next < n) {
            for (int k = dim; k < t->ndim - 2; k++) luaL_addchar(b, '\n');
            new_line(b, dim + 1);
        }
        if (next > i + 1) {
            luaL_addstring(b, "...");
            new_line(b, dim + 1);
        }
        i = next;
    }
    luaL_addchar(b, ']');
}

int bind_tensor_tostring(lua_State *L) {
    lua_tensor *t = bind_tensor_test(L, 1);
    shape_buf buf;
    luaL_Buffer b;
    if (!t) {
        lua_pushstring(L, "tensor (empty)");
        return 1;
    }
    if (t->g) {
        if (!bind_tensor_live(bind_state_of(L), t))
            lua_pushstring(L, "tensor of a trace that is over");
        else
            lua_pushfstring(L, "tensor %s %s, traced", dtype_name(t->n->dtype),
                            shape_text(t->n->ndim, t->n->shape, &buf));
        return 1;
    }
    const tensor *v = &t->value;
    const form f = form_of(L);
    luaL_buffinit(L, &b);
    luaL_addstring(&b, "tensor ");
    luaL_addstring(&b, dtype_name(v->dtype));
    luaL_addchar(&b, ' ');
    luaL_addstring(&b, shape_text(v->ndim, v->shape, &buf));
    luaL_addchar(&b, v->ndim ? '\n' : ' ');
    if (tensor_count(v))
        show(&b, &f, v, 0, 0, v->ndim ? widest(&f, v, 0, 0) : 0);
    else
        luaL_addstring(&b, "[]");
    luaL_pushresult(&b);
    return 1;
}

static void push_nested(lua_State *L, const tensor *t, int dim, int64_t at) {
    if (dim == t->ndim) {
        if (t->dtype == BK_INT64)
            lua_pushinteger(L, ((const int64_t *)tensor_data(t))[at]);
        else
            lua_pushnumber(L, dtype_get(t->dtype, tensor_data(t), at));
        return;
    }
    luaL_checkstack(L, 4, "totable");
    lua_createtable(L, t->shape[dim] < INT32_MAX ? (int)t->shape[dim] : 0, 0);
    for (int64_t i = 0; i < t->shape[dim]; i++) {
        bind_poll(L, i);
        push_nested(L, t, dim + 1, at + i * t->strides[dim]);
        lua_rawseti(L, -2, i + 1);
    }
}

int bind_tensor_totable(lua_State *L) {
    push_nested(L, bind_check_tensor(L, 1, "totable", "tensor"), 0, 0);
    return 1;
}
