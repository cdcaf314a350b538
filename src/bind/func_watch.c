/* func_watch.c - what a function may read from outside: its upvalues; the globals its code names; of the tables it can
 * reach the fields whose names are constants of its code, their first places and where lists end; and the same of the
 * functions it can reach, with the tables it may hand to them. The code is read from lua_dump's bytes (Lua 5.4); of
 * other bytes nothing is known, and only upvalues are seen. A list holds, one after another: where (a function or a
 * table), which (upvalue number or key), the value. */
#include "func_watch.h"
#include "bind.h"
#include <lauxlib.h>
#include <stdint.h>
#include <string.h>

enum { CONSTANTS = 256, DEPTH = 6, PLACES = 16, OP_GETUPVAL_54 = 9, OP_GETTABUP_54 = 11 };

/* ---- the code's constants ---- */

typedef struct bytes {
    char *to;
    size_t n;
} bytes;

static int write_bytes(lua_State *L, const void *p, size_t n, void *self) {
    (void)L;
    bytes *b = self;
    if (b->to) memcpy(b->to + b->n, p, n);
    b->n += n;
    return 0;
}

typedef struct reader {
    lua_State *L;
    const unsigned char *at, *end;
    int names, direct, whole; /* tables: name -> true; upvalue number, name, ...; upvalue number -> true */
    bool bad;
} reader;

static const unsigned char *take(reader *r, size_t n) {
    if (r->bad || (size_t)(r->end - r->at) < n) {
        r->bad = true;
        return NULL;
    }
    r->at += n;
    return r->at - n;
}

static unsigned take_byte(reader *r) {
    const unsigned char *p = take(r, 1);
    return p ? *p : 0;
}

static size_t take_size(reader *r) {
    size_t n = 0;
    for (int i = 0; i < 10 && !r->bad; i++) {
        unsigned b = take_byte(r);
        n = n << 7 | (b & 0x7F);
        if (b & 0x80) return n;
    }
    r->bad = true;
    return 0;
}

static const unsigned char *take_text(reader *r, size_t *length) {
    size_t n = take_size(r);
    *length = n ? n - 1 : 0;
    return n > 1 ? take(r, n - 1) : NULL;
}

typedef struct text {
    const unsigned char *at;
    size_t length;
} text;

static void push_text(lua_State *L, const text *t) {
    lua_pushlstring(L, (const char *)t->at, t->length);
}

static void append(lua_State *L, int list) { /* the value on top */
    lua_rawseti(L, list, (lua_Integer)lua_rawlen(L, list) + 1);
}

/* The debug part, which a stripped dump has empty. */
static void skip_debug(reader *r) {
    text t;
    take(r, take_size(r));
    for (size_t n = take_size(r); n > 0 && !r->bad; n--) take_size(r), take_size(r);
    for (size_t n = take_size(r); n > 0 && !r->bad; n--) take_text(r, &t.length), take_size(r), take_size(r);
    for (size_t n = take_size(r); n > 0 && !r->bad; n--) take_text(r, &t.length);
}

/* One function and those within it. outer: of the upvalues around it the numbers in the outermost one, 0: a local. */
static void read_function(reader *r, const unsigned char *outer, int depth) {
    text constant[CONSTANTS] = { { NULL, 0 } }, t;
    unsigned char mine[256] = { 0 };
    if (depth > 32) r->bad = true;
    take_text(r, &t.length);
    take_size(r), take_size(r);
    take(r, 3);
    const size_t n_code = take_size(r);
    const unsigned char *code = n_code < SIZE_MAX / 4 ? take(r, 4 * n_code) : NULL;
    const size_t n_constants = take_size(r);
    for (size_t i = 0; i < n_constants && !r->bad; i++) {
        const unsigned kind = take_byte(r);
        if (kind == 0x03 || kind == 0x13) take(r, 8); /* a number */
        if (kind != 0x04 && kind != 0x14) continue;
        if (!(t.at = take_text(r, &t.length))) continue;
        if (i < CONSTANTS) constant[i] = t;
        push_text(r->L, &t);
        lua_pushboolean(r->L, 1);
        lua_rawset(r->L, r->names);
    }
    const size_t n_upvalues = take_size(r);
    for (size_t i = 0; i < n_upvalues && !r->bad; i++) {
        const unsigned in_stack = take_byte(r), index = take_byte(r);
        take_byte(r);
        if (i < sizeof mine) mine[i] = !outer ? (unsigned char)(i + 1) : in_stack ? 0 : outer[index];
    }
    for (size_t i = 0; code && i < n_code && !r->bad; i++) {
        uint32_t word;
        memcpy(&word, code + 4 * i, sizeof word);
        const unsigned upvalue = word >> 16 & 0xFF, name = word >> 24 & 0xFF;
        if ((word & 0x7F) == OP_GETUPVAL_54 && mine[upvalue]) {
            lua_pushboolean(r->L, 1);
            lua_rawseti(r->L, r->whole, mine[upvalue]);
        }
        if ((word & 0x7F) != OP_GETTABUP_54 || !mine[upvalue] || !constant[name].at) continue;
        lua_pushinteger(r->L, mine[upvalue]);
        append(r->L, r->direct);
        push_text(r->L, &constant[name]);
        append(r->L, r->direct);
    }
    for (size_t n = take_size(r); n > 0 && !r->bad; n--) read_function(r, mine, depth + 1);
    skip_debug(r);
}

/* Pushes the names and the direct reads of the function at index, and which upvalues it reads as they are. */
static void push_code(lua_State *L, int index) {
    bytes b = { NULL, 0 };
    for (int i = 0; i < 3; i++) lua_newtable(L);
    const int top = lua_gettop(L);
    reader r = { .L = L, .names = top - 2, .direct = top - 1, .whole = top };
    lua_pushvalue(L, index);
    if (lua_dump(L, write_bytes, &b, 1) == 0) {
        const size_t n = b.n;
        char *dump = lua_newuserdatauv(L, n + 1, 0);
        b = (bytes){ dump, 0 };
        lua_pushvalue(L, -2);
        lua_dump(L, write_bytes, &b, 1);
        lua_pop(L, 1);
        /* version 5.4, format 0, and sizes of an instruction, an integer and a number */
        const unsigned char *h = (const unsigned char *)dump;
        if (n > 32 && h[4] == 0x54 && h[5] == 0 && h[12] == 4 && h[13] == 8 && h[14] == 8) {
            r.at = h + 32; /* after the number of upvalues */
            r.end = h + n;
            read_function(&r, NULL, 0);
        }
    }
    lua_settop(L, top);
}

/* ---- the list ---- */

typedef struct watch {
    lua_State *L;
    int list, seen, n; /* seen: modules; functions, with the names of their code and of what they may call */
    int most;          /* entries there may be */
    int called;        /* the names of what the function in hand may call; 0: there is none */
} watch;

/* Appends where (at index), the key on top and the value below it: both are popped. */
static void add(watch *w, int where) {
    lua_State *L = w->L;
    if (w->n < w->most) {
        const lua_Integer at = 3 * (lua_Integer)w->n++;
        lua_pushvalue(L, where);
        lua_rawseti(L, w->list, at + 1);
        lua_rawseti(L, w->list, at + 2);
        lua_rawseti(L, w->list, at + 3);
    } else
        lua_pop(L, 2);
}

/* Whether the value at index is in the set, a table; it is from now on. */
static bool met(lua_State *L, int set, int index) {
    lua_pushvalue(L, index);
    const bool known = lua_rawget(L, set) != LUA_TNIL;
    lua_pop(L, 1);
    if (known) return true;
    lua_pushvalue(L, index);
    lua_pushboolean(L, 1);
    lua_rawset(L, set);
    return false;
}

static void look_function(watch *w, int index, int depth);
static void look_table(watch *w, int index, int names, int depth);

/* What lies behind the value on top, which is popped. */
static void look(watch *w, int names, int depth) {
    lua_State *L = w->L;
    const int index = lua_gettop(L);
    if (depth < DEPTH && lua_isfunction(L, index)) look_function(w, index, depth + 1);
    if (depth < DEPTH && lua_istable(L, index)) look_table(w, index, names, depth + 1);
    lua_settop(L, index - 1);
}

/* The field of the table at index whose key is on top, popped; `nil` ones count when asked for. */
static void look_field(watch *w, int index, int names, int depth, bool nil) {
    lua_State *L = w->L;
    lua_pushvalue(L, -1);
    lua_rawget(L, index); /* key, value */
    if (lua_isnil(L, -1) && !nil) {
        lua_pop(L, 2);
        return;
    }
    lua_pushvalue(L, -1);
    lua_pushvalue(L, -3); /* key, value, value, key */
    add(w, index);
    lua_remove(L, -2);
    look(w, names, depth);
}

static void look_table(watch *w, int index, int names, int depth) {
    lua_State *L = w->L;
    luaL_checkstack(L, 16, "tracing");
    lua_pushvalue(L, index); /* a module is not looked at, another table once with these names */
    const bool module = lua_rawget(L, w->seen) != LUA_TNIL;
    lua_rawgeti(L, names, 1);
    const bool again = module || met(L, lua_gettop(L), index);
    lua_pop(L, 2);
    if (again) return;
    const int top = lua_gettop(L);
    lua_pushnil(L);
    while (w->n < w->most && lua_next(L, names)) {
        lua_pop(L, 1);
        if (lua_type(L, -1) != LUA_TSTRING) continue;
        lua_pushvalue(L, -1);
        look_field(w, index, names, depth, false);
    }
    lua_settop(L, top);
    const lua_Integer n = (lua_Integer)lua_rawlen(L, index);
    for (lua_Integer i = 1; i <= n && i <= PLACES; i++) {
        lua_pushinteger(L, i);
        look_field(w, index, names, depth, false);
    }
    if (n > PLACES) { /* where it ends: the last place, and the one behind it */
        lua_pushinteger(L, n);
        look_field(w, index, names, depth, false);
    }
    lua_pushnil(L);
    const bool list = n > 0 || !lua_next(L, index);
    lua_settop(L, top);
    if (list) {
        lua_pushinteger(L, n + 1);
        look_field(w, index, names, depth, true);
    }
    if (lua_getmetatable(L, index)) {
        lua_pushliteral(L, "__call");
        lua_rawget(L, -2);
        look(w, names, depth);
        lua_pushliteral(L, "__index");
        lua_rawget(L, -2);
        look(w, names, depth);
        lua_settop(L, top);
    }
}

/* The fields of the table at index, which is the upvalue, that the code reads in it; absent: those alone that are not
 * there, since look_table sees the others. */
static void look_direct(watch *w, int index, int upvalue, int direct, int names, int depth, bool absent) {
    lua_State *L = w->L;
    lua_pushvalue(L, index);
    const bool module = lua_rawget(L, w->seen) != LUA_TNIL;
    lua_pop(L, 1);
    if (module) return;
    for (lua_Integer k = 1, n = (lua_Integer)lua_rawlen(L, direct); k < n; k += 2) {
        lua_rawgeti(L, direct, k);
        const bool here = lua_tointeger(L, -1) == upvalue;
        lua_pop(L, 1);
        if (!here) continue;
        lua_rawgeti(L, direct, k + 1);
        lua_pushvalue(L, -1);
        const bool there = lua_rawget(L, index) != LUA_TNIL;
        lua_pop(L, 1);
        if (there && absent) lua_pop(L, 1);
        else look_field(w, index, names, depth, true);
    }
}

/* Adds the names in the table at index to `to`, but those in `but` (0: to all). */
static void add_names(lua_State *L, int index, int to, int but) {
    lua_pushnil(L);
    while (lua_next(L, index)) {
        lua_pop(L, 1);
        if (lua_type(L, -1) != LUA_TSTRING) continue;
        bool left_out = false;
        if (but) {
            lua_pushvalue(L, -1);
            left_out = lua_rawget(L, but) != LUA_TNIL;
            lua_pop(L, 1);
        }
        if (left_out) continue;
        lua_pushvalue(L, -1);
        lua_pushboolean(L, 1);
        lua_rawset(L, to);
    }
}

/* The tables that the function at index may hand to what it calls, or a callable table there: upvalues that it reads as
 * they are, and what it reads directly of others. */
static void look_handed(watch *w, int index, int direct, int whole, int more, int depth) {
    lua_State *L = w->L;
    const int top = lua_gettop(L);
    if (lua_istable(L, index)) {
        lua_pushvalue(L, index);
        look(w, more, depth);
    }
    for (int i = 1; lua_isfunction(L, index) && lua_getupvalue(L, index, i); i++) {
        if (lua_istable(L, -1) && lua_rawgeti(L, whole, i) != LUA_TNIL) {
            lua_settop(L, top + 1);
            look(w, more, depth);
        }
        lua_settop(L, top);
    }
    for (lua_Integer k = 1, n = (lua_Integer)lua_rawlen(L, direct); k < n; k += 2) {
        lua_rawgeti(L, direct, k);
        if (lua_getupvalue(L, index, (int)lua_tointeger(L, top + 1)) && lua_istable(L, top + 2)) {
            lua_rawgeti(L, direct, k + 1);
            if (lua_rawget(L, top + 2) == LUA_TTABLE) look(w, more, depth);
        }
        lua_settop(L, top);
    }
}

/* Of those tables the fields by the names that the called functions have, and by those of what is found so, which
 * become names too. Half of the entries at most are for them: the function's own come first. */
static void look_arguments(watch *w, int index, int names, int direct, int whole, int called, int depth) {
    lua_State *L = w->L;
    const int top = lua_gettop(L), more = top + 1, most = w->most;
    if (w->most > WATCHED / 2) w->most = WATCHED / 2;
    for (int round = 0; round < DEPTH && w->n < w->most; round++) {
        lua_newtable(L);
        add_names(L, called, more, names);
        lua_pushnil(L);
        if (!lua_next(L, more)) break;
        lua_settop(L, more);
        add_names(L, more, names, 0);
        lua_newtable(L);
        lua_rawseti(L, more, 1);
        look_handed(w, index, direct, whole, more, depth);
        lua_settop(L, top);
    }
    w->most = most;
    lua_settop(L, top);
}

static void look_function(watch *w, int index, int depth) {
    lua_State *L = w->L;
    luaL_checkstack(L, 20, "tracing");
    const int top = lua_gettop(L), caller = w->called;
    if (met(L, w->seen, index)) {
        lua_pushvalue(L, index);
        if (lua_rawget(L, w->seen) == LUA_TTABLE && caller) add_names(L, top + 1, caller, 0);
        lua_settop(L, top);
        return;
    }
    lua_Debug d;
    lua_pushvalue(L, index);
    lua_getinfo(L, ">S", &d);
    /* of the program's own functions only those they were given */
    const bool own = bind_own_frame(&d);
    if (own)
        for (int i = 0; i < 3; i++) lua_newtable(L);
    else
        push_code(L, index);
    const int names = top + 1, direct = top + 2, whole = top + 3;
    lua_newtable(L); /* [1]: the tables looked at with these names */
    lua_rawseti(L, names, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    lua_newtable(L);
    const int globals = top + 4, called = w->called = top + 5;
    for (int i = 1; w->n < w->most && lua_getupvalue(L, index, i); i++) {
        if (own) {
            if (lua_isfunction(L, -1)) look(w, names, depth);
            lua_settop(L, called);
            continue;
        }
        if (lua_rawequal(L, -1, globals)) {
            look_direct(w, globals, i, direct, names, depth, false);
        } else {
            lua_pushvalue(L, -1);
            lua_pushinteger(L, i);
            add(w, index);
            if (lua_istable(L, -1)) look_direct(w, lua_gettop(L), i, direct, names, depth, true);
            look(w, names, depth);
        }
        lua_settop(L, called);
    }
    look_arguments(w, index, names, direct, whole, called, depth);
    w->called = caller;
    if (caller) add_names(L, names, caller, 0);
    lua_pushvalue(L, index);
    lua_pushvalue(L, names);
    lua_rawset(L, w->seen);
    lua_settop(L, top);
}

/* What the arguments hold that are no tensors, those at 1 to n of the table at given, for the code of these names. */
static void look_given(watch *w, int names, int given, int n) {
    lua_State *L = w->L;
    lua_newtable(L);
    lua_rawseti(L, names, 1);
    for (int i = 1; i <= n; i++) {
        lua_rawgeti(L, given, i);
        look(w, names, 0);
    }
}

int bind_watch_push(lua_State *L, int index, int given, int n) {
    static const char *const not_looked_at[] = { "bracket", "math",  "string",    "table", "io",
                                                 "os",      "debug", "coroutine", "utf8",  "package" };
    index = lua_absindex(L, index);
    luaL_checkstack(L, 24, "tracing");
    lua_newtable(L);
    lua_newtable(L);
    watch w = { L, lua_gettop(L) - 1, lua_gettop(L), 0, WATCHED, 0 };
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    for (size_t i = 0; i < sizeof not_looked_at / sizeof *not_looked_at; i++)
        if (lua_getfield(L, -1, not_looked_at[i]) == LUA_TTABLE) {
            met(L, w.seen, lua_gettop(L));
            lua_pop(L, 1);
        } else
            lua_pop(L, 1);
    lua_pop(L, 1);
    int names;
    if (lua_istable(L, index)) {
        for (int i = 0; i < 4; i++) lua_newtable(L);
        names = lua_gettop(L) - 1;
        lua_rawseti(L, names, 1); /* as in look_function */
        lua_newtable(L);
        w.called = names - 1;
        lua_pushvalue(L, index);
        look(&w, names, 0);
        look_arguments(&w, index, names, names + 1, names + 1, w.called, 0);
    } else {
        lua_pushvalue(L, index);
        look(&w, w.seen, 0);
        lua_pushvalue(L, index);
        lua_rawget(L, w.seen);
        names = lua_gettop(L);
    }
    if (lua_istable(L, names)) look_given(&w, names, given, n);
    lua_settop(L, w.list);
    return w.n;
}

/* Whether entry i of the list is what it was. */
static bool holds(lua_State *L, int list, int i) {
    const int top = lua_gettop(L);
    lua_rawgeti(L, list, 3 * (lua_Integer)i + 1);
    lua_rawgeti(L, list, 3 * (lua_Integer)i + 2);
    if (lua_isfunction(L, top + 1)) {
        if (!lua_getupvalue(L, top + 1, (int)lua_tointeger(L, top + 2))) lua_pushnil(L);
    } else
        lua_rawget(L, top + 1);
    lua_rawgeti(L, list, 3 * (lua_Integer)i + 3);
    const int a = lua_gettop(L) - 1, b = a + 1;
    bool same = lua_rawequal(L, a, b) && lua_isinteger(L, a) == lua_isinteger(L, b);
    if (!same && lua_type(L, a) == LUA_TNUMBER && lua_type(L, b) == LUA_TNUMBER) {
        const double x = lua_tonumber(L, a), y = lua_tonumber(L, b);
        same = x != x && y != y;
    }
    lua_settop(L, top);
    return same;
}

bool bind_watch_holds(lua_State *L, int list, int n) {
    for (int i = 0; i < n; i++)
        if (!holds(L, list, i)) return false;
    return true;
}

int bind_watch_settle(lua_State *L, int list, int n) {
    int kept = 0;
    for (int i = 0; i < n; i++) {
        if (!holds(L, list, i)) continue;
        for (int k = 1; k <= 3 && kept != i; k++) {
            lua_rawgeti(L, list, 3 * (lua_Integer)i + k);
            lua_rawseti(L, list, 3 * (lua_Integer)kept + k);
        }
        kept++;
    }
    return kept;
}
