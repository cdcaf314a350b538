/* args.c - see args.h. Messages are built on the Lua stack, so nothing is held when they are raised. */
#include "args.h"
#include "env.h"
#include "../base/nearest.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *args_got(lua_State *L, int index) {
    index = lua_absindex(L, index);
    const tensor *t = bind_test_tensor(L, index);
    if (t) {
        shape_buf buf;
        return lua_pushfstring(L, "tensor %s %s", dtype_name(t->dtype), shape_text(t->ndim, t->shape, &buf));
    }
    switch (lua_type(L, index)) {
    case LUA_TNUMBER:
        if (lua_isinteger(L, index)) return lua_pushfstring(L, "%I", lua_tointeger(L, index));
        return bind_push_number(L, lua_tonumber(L, index));
    case LUA_TSTRING: {
        size_t n;
        const char *s = lua_tolstring(L, index, &n);
        return n <= 60 ? lua_pushfstring(L, "\"%s\"", s) : lua_pushfstring(L, "a string of %I bytes", (LUAI_UACINT)n);
    }
    case LUA_TBOOLEAN:
        return lua_pushstring(L, lua_toboolean(L, index) ? "true" : "false");
    case LUA_TNONE:
        return lua_pushstring(L, "nothing");
    case LUA_TUSERDATA:
        if (luaL_getmetafield(L, index, "__name") == LUA_TSTRING) return lua_tostring(L, -1);
        break;
    default:
        break;
    }
    return lua_pushstring(L, luaL_typename(L, index));
}

int args_error(lua_State *L, const char *fname, const char *format, ...) {
    va_list ap;
    lua_pushfstring(L, "%s: ", fname);
    va_start(ap, format);
    lua_pushvfstring(L, format, ap);
    va_end(ap);
    lua_concat(L, 2);
    return bind_raise_text(L, BK_EINVAL);
}

/* Pushes " (did you mean NAME?)", or "". */
static const char *push_hint(lua_State *L, const char *name, const char *const *known) {
    return lua_pushstring(L, name_meant(name, known).text);
}

int args_hint(lua_State *L) {
    size_t n = 0;
    luaL_checktype(L, 2, LUA_TTABLE);
    const size_t most = lua_rawlen(L, 2);
    const char **known = lua_newuserdatauv(L, (most + 1) * sizeof *known, 0);
    for (size_t i = 0; i < most; i++, lua_pop(L, 1)) {
        lua_rawgeti(L, 2, (lua_Integer)i + 1);
        if (lua_type(L, -1) == LUA_TSTRING) known[n++] = lua_tostring(L, -1); /* the list keeps it */
    }
    known[n] = NULL;
    if (lua_type(L, 1) == LUA_TSTRING)
        push_hint(L, lua_tostring(L, 1), known);
    else
        lua_pushliteral(L, "");
    return 1;
}

const char *args_quoted_hint(lua_State *L, const char *name, const char *expected) {
    enum { MOST = 16, ROOM = 256 };
    char text[ROOM];
    const char *known[MOST + 1];
    int n = 0;
    snprintf(text, sizeof text, "%s", expected);
    for (char *p = strchr(text, '"'); p && n < MOST; p = strchr(p + 1, '"')) {
        char *end = strchr(p + 1, '"');
        if (!end) break;
        *end = '\0';
        known[n++] = p + 1;
        p = end;
    }
    known[n] = NULL;
    return push_hint(L, name, known);
}

int args_fail(lua_State *L, int index, const char *fname, const char *argument, const char *expected) {
    index = lua_absindex(L, index);
    const char *hint = lua_type(L, index) == LUA_TSTRING ? args_quoted_hint(L, lua_tostring(L, index), expected) : "";
    return args_error(L, fname, "%s: expected %s, got %s%s", argument, expected, args_got(L, index), hint);
}

void args_end(lua_State *L, int last, int n, bool object, const char *fname) {
    const int most = last - object;
    const bool value = last > 0 && luaL_testudata(L, last, BIND_TENSOR); /* that a call may have given, and others */
    for (int i = last + 1; i <= n; i++) {
        const int type = lua_type(L, i);
        const bool other = value && (type == LUA_TFUNCTION || type == LUA_TUSERDATA);
        if (type != LUA_TNIL && !(other && most == 1))
            args_error(L, fname, "expected at most %d argument%s, got %d, one of them %s%s", most, most == 1 ? "" : "s",
                       n - object, args_got(L, i), other ? "; of a call's results parentheses take the first" : "");
    }
}

void args_only_options(lua_State *L, int n, const char *fname) {
    if (n > 1 && !lua_istable(L, 1))
        args_error(L, fname, "expected one table, %s{...}, got %s and %s", fname, args_got(L, 1), args_got(L, 2));
    args_end(L, 1, n, false, fname);
}

double args_number(lua_State *L, int index, const char *fname, const char *argument) {
    if (lua_type(L, index) == LUA_TNUMBER) return lua_tonumber(L, index);
    const tensor *t = bind_test_tensor(L, index);
    if (t && t->ndim == 0) return tensor_get(t, 0);
    return args_fail(L, index, fname, argument, "a number");
}

int64_t args_integer(lua_State *L, int index, const char *fname, const char *argument, int64_t low, int64_t high) {
    int ok = 0;
    int64_t v = 0;
    if (lua_type(L, index) == LUA_TNUMBER) v = lua_tointegerx(L, index, &ok);
    if (ok && v >= low && v <= high) return v;
    char expected[80]; /* nothing is pushed: index may be the place of what is missing */
    if (low == INT64_MIN && high == INT64_MAX)
        snprintf(expected, sizeof expected, "an integer");
    else if (high == INT64_MAX)
        snprintf(expected, sizeof expected, "an integer >= %lld", (long long)low);
    else
        snprintf(expected, sizeof expected, "an integer from %lld to %lld", (long long)low, (long long)high);
    return args_fail(L, index, fname, argument, expected);
}

const char *args_string(lua_State *L, int index, const char *fname, const char *argument) {
    if (lua_type(L, index) != LUA_TSTRING) args_fail(L, index, fname, argument, "a string");
    return lua_tostring(L, index);
}

const char *args_path(lua_State *L, int index, const char *fname) {
    const char *path = args_string(L, index, fname, "path");
    if (strlen(path) != lua_rawlen(L, index)) args_error(L, fname, "path: contains a zero byte");
    env_check_path(L, fname, path);
    return path;
}

void args_table(lua_State *L, int index, const char *fname, const char *argument) {
    if (!lua_istable(L, index)) args_fail(L, index, fname, argument, "a table");
}

bk_dtype args_dtype(lua_State *L, int index, const char *fname, const char *argument) {
    bk_dtype d = BK_FLOAT64;
    if (lua_type(L, index) != LUA_TSTRING || !dtype_from_name(lua_tostring(L, index), &d))
        args_fail(L, index, fname, argument, "\"float64\", \"float32\" or \"int64\"");
    return d;
}

bool args_stray(lua_State *L, int index, int64_t n, bool names) {
    enum { SHORT = 4096 }; /* of a longer list only what Lua keeps behind its last entry is looked at */
    index = lua_absindex(L, index);
    if (n > SHORT) lua_pushinteger(L, n);
    else lua_pushnil(L);
    while (lua_next(L, index)) {
        lua_pop(L, 1);
        const bool place = lua_isinteger(L, -1) && lua_tointeger(L, -1) >= 1 && lua_tointeger(L, -1) <= n;
        if (!place && (names || lua_type(L, -1) == LUA_TNUMBER)) return true;
    }
    return false;
}

int64_t args_list(lua_State *L, int index, const char *fname, const char *argument, bool fields) {
    const int64_t n = (int64_t)lua_rawlen(L, index);
    if (!args_stray(L, index, n, !fields)) return n;
    if (lua_type(L, -1) == LUA_TNUMBER)
        args_error(L, fname, "%s: expected a list without gaps, got %I entries and one at %s", argument,
                   (LUAI_UACINT)n, lua_tostring(L, -1));
    return args_error(L, fname, "%s: expected a list, got a field %s as well", argument, args_got(L, -1));
}

int args_shape(lua_State *L, int index, const char *fname, const char *argument, int64_t low, bool fields,
               int64_t *shape) {
    index = lua_absindex(L, index);
    if (lua_type(L, index) == LUA_TNUMBER) {
        shape[0] = args_integer(L, index, fname, argument, low, INT64_MAX);
        return 1;
    }
    if (!lua_istable(L, index)) args_fail(L, index, fname, argument, "a table of sizes such as {2, 3}");
    const int64_t n = args_list(L, index, fname, argument, fields);
    if (n > BK_MAX_DIMS)
        args_error(L, fname, "%s: expected at most %d dimensions, got %I", argument, BK_MAX_DIMS, (LUAI_UACINT)n);
    for (int64_t i = 0; i < n; i++) {
        int ok = 0;
        if (lua_rawgeti(L, index, i + 1) == LUA_TNUMBER) shape[i] = lua_tointegerx(L, -1, &ok);
        if (!ok || shape[i] < low)
            args_error(L, fname, "%s: size %I: expected an integer >= %I, got %s", argument, (LUAI_UACINT)i + 1,
                       (LUAI_UACINT)low, args_got(L, -1));
        lua_pop(L, 1);
    }
    return (int)n;
}

int args_dim(lua_State *L, int index, const char *fname, const char *argument, int ndim) {
    int ok = 0;
    lua_Integer d = lua_type(L, index) == LUA_TNUMBER ? lua_tointegerx(L, index, &ok) : 0;
    if (ok && d < 0 && d >= -ndim) d += ndim + 1;
    if (!ok || d < 1 || d > ndim)
        args_error(L, fname, "%s: expected a dimension from 1 to %d, got %s", argument, ndim, args_got(L, index));
    return (int)d - 1;
}

int args_no_field(lua_State *L, const char *class, const char *what, int methods) {
    int n = 0;
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : NULL;
    for (lua_pushnil(L); lua_next(L, methods); lua_pop(L, 1)) n++;
    const char **known = lua_newuserdatauv(L, ((size_t)n + 1) * sizeof *known, 0);
    n = 0;
    for (lua_pushnil(L); lua_next(L, methods); lua_pop(L, 1))
        if (lua_type(L, -2) == LUA_TSTRING) known[n++] = lua_tostring(L, -2);
    known[n] = NULL;
    const char *hint = name ? push_hint(L, name, known) : "";
    if (*hint) return args_error(L, class, "%s \"%s\"%s", what, name, hint);
    return args_error(L, class, "%s %s", what, args_got(L, 2));
}

static int set_field(lua_State *L) { /* upvalue: of what */
    return args_error(L, lua_tostring(L, lua_upvalueindex(1)), "%s: no field can be set", args_got(L, 2));
}

void args_fixed(lua_State *L, const char *what) {
    lua_pushstring(L, what);
    lua_pushcclosure(L, set_field, 1);
    lua_setfield(L, -2, "__newindex");
}

static int options_unknown(lua_State *L, const char *fname, const char *const *known, int key) {
    luaL_Buffer b;
    const bool named = lua_type(L, key) == LUA_TSTRING;
    const char *got = named ? lua_tostring(L, key) : args_got(L, key);
    const char *hint = named ? push_hint(L, got, known) : "";
    luaL_buffinit(L, &b);
    luaL_addstring(&b, fname);
    luaL_addstring(&b, ": unknown option ");
    luaL_addstring(&b, got);
    luaL_addstring(&b, hint);
    luaL_addstring(&b, known[0] ? "; the options are " : "; there are no options");
    for (int i = 0; known[i]; i++) {
        if (i) luaL_addstring(&b, ", ");
        luaL_addstring(&b, known[i]);
    }
    luaL_pushresult(&b);
    return bind_raise_text(L, BK_EINVAL);
}

int args_options(lua_State *L, int index, const char *fname, const char *const *known, bool list) {
    if (lua_isnoneornil(L, index)) return 0;
    index = lua_absindex(L, index);
    if (!lua_istable(L, index)) args_fail(L, index, fname, "options", "a table");
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        bool ok = list && lua_isinteger(L, -2);
        if (lua_type(L, -2) == LUA_TSTRING) {
            const char *key = lua_tostring(L, -2);
            for (int i = 0; known[i] && !ok; i++) ok = strcmp(key, known[i]) == 0;
        }
        if (!ok) options_unknown(L, fname, known, lua_absindex(L, -2));
    }
    return index;
}

int args_declared(lua_State *L, int index, const char *fname, const bind_option *options, bool list) {
    enum { MOST = 16 };
    const char *known[MOST + 1] = { NULL };
    for (int i = 0; options[i].name && i < MOST; i++) known[i] = options[i].name;
    return args_options(L, index, fname, known, list);
}

bool args_field(lua_State *L, int table, const char *name) {
    if (!table) return false;
    lua_pushstring(L, name);
    if (lua_rawget(L, lua_absindex(L, table)) != LUA_TNIL) return true;
    lua_pop(L, 1);
    return false;
}

bool args_opt_boolean(lua_State *L, int table, const char *fname, const char *name, bool otherwise) {
    if (!args_field(L, table, name)) return otherwise;
    if (!lua_isboolean(L, -1)) args_fail(L, -1, fname, name, "true or false");
    bool v = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return v;
}

double args_opt_number(lua_State *L, int table, const char *fname, const char *name, double otherwise) {
    if (!args_field(L, table, name)) return otherwise;
    double v = args_number(L, -1, fname, name);
    lua_pop(L, 1);
    return v;
}

int64_t args_opt_integer(lua_State *L, int table, const char *fname, const char *name, int64_t low, int64_t high,
                         int64_t otherwise) {
    if (!args_field(L, table, name)) return otherwise;
    int64_t v = args_integer(L, lua_gettop(L), fname, name, low, high);
    lua_pop(L, 1);
    return v;
}

const char *args_opt_string(lua_State *L, int table, const char *fname, const char *name, const char *otherwise) {
    if (!args_field(L, table, name)) return otherwise;
    const char *s = args_string(L, -1, fname, name);
    lua_pop(L, 1);
    return s;
}

int args_opt_choice(lua_State *L, int table, const char *fname, const char *name, const char *const *choices,
                    int otherwise) {
    if (!args_field(L, table, name)) return otherwise;
    const char *s = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    for (int i = 0; s && choices[i]; i++)
        if (strcmp(s, choices[i]) == 0) {
            lua_pop(L, 1);
            return i;
        }
    luaL_Buffer b;
    int at = lua_gettop(L);
    luaL_buffinit(L, &b);
    for (int i = 0; choices[i]; i++) {
        luaL_addstring(&b, i ? (choices[i + 1] ? ", \"" : " or \"") : "\"");
        luaL_addstring(&b, choices[i]);
        luaL_addstring(&b, "\"");
    }
    luaL_pushresult(&b);
    return args_fail(L, at, fname, name, lua_tostring(L, -1));
}

bk_dtype args_opt_dtype(lua_State *L, int table, const char *fname, bk_dtype otherwise) {
    if (!args_field(L, table, "dtype")) return otherwise;
    bk_dtype d = args_dtype(L, -1, fname, "dtype");
    lua_pop(L, 1);
    return d;
}

bk_dtype args_dtype_once(lua_State *L, const char *fname, int inside, int options) {
    if (args_field(L, inside, "dtype") && args_field(L, options, "dtype"))
        args_error(L, fname, "dtype: given twice, beside the sizes and behind them");
    return args_opt_dtype(L, inside, fname, args_opt_dtype(L, options, fname, BK_FLOAT64));
}

/* ---- options of rows ---- */

static bool unbounded(const option *o) {
    return o->low == 0 && o->high == 0;
}

/* Pushes "a whole number from 1 to 4" or the like; an end that nobody reaches is named where it was passed. */
static const char *wanted(lua_State *L, const option *o, bool passed) {
    if (o->type == OPTION_FLAG) return lua_pushliteral(L, "true or false");
    if (o->type >= OPTION_TEXT) return lua_pushstring(L, o->wanted ? o->wanted : "a string");
    char text[120];
    const char *kind = o->type == OPTION_COUNT ? "a whole number" : "a finite number";
    const bool free = unbounded(o), up = o->high >= 1 << 30 && !passed;
    int n = snprintf(text, sizeof text, "%s", kind);
    if (!free && (up || o->open || o->below)) {
        n += snprintf(text + n, sizeof text - (size_t)n, " %s %.10g", o->open ? ">" : ">=", o->low);
        if (!up) snprintf(text + n, sizeof text - (size_t)n, " and < %.10g", o->high);
    } else if (!free) {
        snprintf(text + n, sizeof text - (size_t)n, " from %.10g to %.10g", o->low, o->high);
    }
    return lua_pushstring(L, text);
}

static bool within(const option *o, double x) {
    if (!isfinite(x) || (o->type == OPTION_COUNT && (x != floor(x) || fabs(x) >= 0x1p63))) return false;
    if (unbounded(o)) return true;
    return (o->open ? x > o->low : x >= o->low) && (o->open || o->below ? x < o->high : x <= o->high);
}

static double read_one(lua_State *L, int index, const char *fname, const option *o) {
    double x = 0;
    bool fits = false;
    if (o->type == OPTION_FLAG) {
        fits = lua_isboolean(L, index);
        x = lua_toboolean(L, index);
    } else if (lua_type(L, index) == LUA_TNUMBER) {
        x = lua_tonumber(L, index);
        fits = within(o, x);
    }
    if (!fits) {
        index = lua_absindex(L, index);
        args_fail(L, index, fname, o->name, wanted(L, o, x > o->high));
    }
    return x;
}

void args_read(lua_State *L, int index, const char *fname, const option *rows, double *values) {
    const char *known[OPTIONS_MAX + 1] = { NULL };
    int n = option_count(rows), places = 0;
    bool list = false;
    for (int i = 0; i < n; i++) {
        known[i] = rows[i].name;
        list = list || rows[i].by_place;
    }
    int table = args_options(L, index, fname, known, list);
    for (int i = 0; i < n; i++) {
        const option *o = &rows[i];
        int top = lua_gettop(L);
        if (o->type >= OPTION_TEXT) continue; /* read by who takes texts and tables */
        bool given = table && o->by_place && lua_rawgeti(L, table, ++places) != LUA_TNIL;
        if (given && args_field(L, table, o->name))
            args_error(L, fname, "%s: given twice, by place and by name", o->name);
        if (!given) {
            lua_settop(L, top);
            given = args_field(L, table, o->name);
        }
        if (given) {
            values[i] = read_one(L, lua_gettop(L), fname, o);
        } else if (o->required) {
            args_error(L, fname, "%s: missing; expected %s", o->name, wanted(L, o, false));
        } else {
            values[i] = o->otherwise;
            for (int j = 0; o->like && j < i; j++)
                if (strcmp(rows[j].name, o->like) == 0) values[i] = values[j];
        }
        lua_settop(L, top);
    }
    if (table && (int)lua_rawlen(L, table) > places)
        args_error(L, fname, "expected %d value%s without a name, got %d", places, places == 1 ? "" : "s",
                   (int)lua_rawlen(L, table));
}

/* What option i lacks or contradicts; NULL: nothing. */
static const char *option_fault(const option *rows, int i) {
    const option *o = &rows[i];
    if (!o->doc || !*o->doc) return ".doc is missing";
    if (o->type >= OPTION_TEXT) return NULL;
    if (unbounded(o) && (o->open || o->below)) return ".open or .below stands without .high";
    if (!unbounded(o) && o->low > o->high) return ".low is above .high, which is 0 where it is not said";
    if (o->like) {
        for (int j = 0; j < i; j++)
            if (strcmp(rows[j].name, o->like) == 0) return NULL;
        return ".like is no option before it";
    }
    return o->required || within(o, o->otherwise) ? NULL : ".otherwise, the default, is not what it may be";
}

void args_doc(lua_State *L, int index, const char *doc, const option *rows) {
    index = lua_absindex(L, index);
    bind_doc(L, index, doc);
    for (int i = 0, n = option_count(rows); i < n; i++) {
        const option *o = &rows[i];
        const char *fault = option_fault(rows, i);
        if (fault) {
            lua_pushlstring(L, doc, strcspn(doc, "({\n"));
            luaL_error(L, "%s: option %s: %s", lua_tostring(L, -1), o->name, fault);
        }
        char number[32];
        snprintf(number, sizeof number, "%g", o->otherwise);
        const char *value = o->type == OPTION_FLAG ? (o->otherwise != 0 ? "true" : "false") : number;
        bind_option said = { o->name,         wanted(L, o, false), o->like ? o->like : o->says, o->doc,
                             o->required, o->by_place };
        if (!o->required && !said.otherwise && o->type < OPTION_TEXT) said.otherwise = value;
        bind_doc_option(L, index, &said);
        lua_pop(L, 1);
    }
}
