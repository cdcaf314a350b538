/* tensor_print.c - a tensor as text and as nested tables. Long dimensions are shown by their ends. */
#include "args.h"
#include "tensor_value.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SHOWN = 3, WHOLE = 8, TEXT = 32 }; /* a dimension longer than WHOLE shows SHOWN entries at each end */

/* Storage read in place: element at offset `at` (in elements from the first). */
static double element(const tensor *t, int64_t at) {
    const void *data = tensor_data(t);
    switch (t->dtype) {
    case BK_FLOAT64:
        return ((const double *)data)[at];
    case BK_FLOAT32:
        return (double)((const float *)data)[at];
    default:
        return (double)((const int64_t *)data)[at];
    }
}

static int element_text(const tensor *t, int64_t at, char *text) {
    if (t->dtype == BK_INT64) return snprintf(text, TEXT, "%lld", (long long)((const int64_t *)tensor_data(t))[at]);
    double x = element(t, at);
    if (isnan(x)) return snprintf(text, TEXT, "nan");
    return snprintf(text, TEXT, "%.6g", x);
}

static int64_t next_shown(int64_t i, int64_t n) { /* after i: SHOWN-1 jumps to the tail of a long dimension */
    return n > WHOLE && i == SHOWN - 1 ? n - SHOWN : i + 1;
}

static int widest(const tensor *t, int dim, int64_t at) {
    char text[TEXT];
    if (dim == t->ndim) return element_text(t, at, text);
    int width = 0;
    for (int64_t i = 0; i < t->shape[dim]; i = next_shown(i, t->shape[dim])) {
        int w = widest(t, dim + 1, at + i * t->strides[dim]);
        if (w > width) width = w;
    }
    return width;
}

static void show(luaL_Buffer *b, const tensor *t, int dim, int64_t at, int width) {
    char text[TEXT];
    if (dim == t->ndim) {
        int w = element_text(t, at, text);
        for (; w < width; w++) luaL_addchar(b, ' ');
        luaL_addstring(b, text);
        return;
    }
    bool row = dim == t->ndim - 1;
    luaL_addchar(b, '[');
    for (int64_t i = 0, n = t->shape[dim]; i < n;) {
        show(b, t, dim + 1, at + i * t->strides[dim], width);
        int64_t next = next_shown(i, n);
        if (next < n && !row) {
            for (int k = dim; k < t->ndim - 1; k++) luaL_addchar(b, '\n');
            for (int k = 0; k <= dim; k++) luaL_addchar(b, ' ');
        } else if (next < n) {
            luaL_addchar(b, ' ');
        }
        if (next > i + 1) {
            luaL_addstring(b, "...");
            if (row)
                luaL_addchar(b, ' ');
            else {
                luaL_addchar(b, '\n');
                for (int k = 0; k <= dim; k++) luaL_addchar(b, ' ');
            }
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
    luaL_buffinit(L, &b);
    luaL_addstring(&b, "tensor ");
    luaL_addstring(&b, dtype_name(v->dtype));
    luaL_addchar(&b, ' ');
    luaL_addstring(&b, shape_text(v->ndim, v->shape, &buf));
    luaL_addchar(&b, v->ndim ? '\n' : ' ');
    if (tensor_count(v))
        show(&b, v, 0, 0, v->ndim ? widest(v, 0, 0) : 0);
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
            lua_pushnumber(L, element(t, at));
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
