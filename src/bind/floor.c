/* floor.c - what every file of the binding stands on: the context of a Lua state, errors raised, interrupts polled,
 * weak tables, a file's text and a number's, and the one test of what a tensor is. */
#include "env.h"

#include <string.h>

static const char ctx_key = 0; /* its address is the registry key */

static int ctx_collect(lua_State *L) {
    ctx **box = lua_touserdata(L, 1);
    ctx_release(*box);
    *box = NULL;
    return 0;
}

/* In a host's own state the context lives in a userdata made before all others, so it is finalized last. */
void bind_open_ctx(lua_State *L) {
    if (env_of(L)) return;
    ctx **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, ctx_collect);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    *box = ctx_new(1);
    if (!*box) luaL_error(L, "out of memory");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &ctx_key);
}

ctx *bind_ctx(lua_State *L) {
    bk_env *env = env_of(L);
    if (env) return env_ctx(env);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &ctx_key);
    ctx **box = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return box ? *box : NULL;
}

/* Of a file no line of the library is to blame: a command's message names none. */
static int otherwise_at(bk_status status) {
    return status == BK_EIO ? 0 : 1;
}

int bind_raise(lua_State *L, const err *e) {
    bk_env *env = env_of(L);
    if (env) {
        env_raised(env, e);
        if (e->status == BK_EINTERRUPTED) env_delivered(L, env);
    }
    (e->status == BK_EINTERRUPTED ? bind_where_stopped : bind_where)(L, otherwise_at(e->status));
    lua_pushstring(L, e->text);
    lua_concat(L, 2);
    return lua_error(L);
}

int bind_raise_placed(lua_State *L, bk_status status) {
    bk_env *env = env_of(L);
    err e = { 0 };
    err_set(&e, status, "%s", lua_tostring(L, -1)); /* as much as it holds */
    if (env && !env_cause(env, e.text)) env_raised(env, &e); /* what is told on has the status of what it tells */
    return lua_error(L);
}

int bind_raise_text(lua_State *L, bk_status status) {
    bind_where(L, otherwise_at(status));
    lua_insert(L, -2);
    lua_concat(L, 2);
    return bind_raise_placed(L, status);
}

int bind_raise_file(lua_State *L, const char *path, const char *what, int why) {
    lua_pushfstring(L, "%s: %s: %s", path, what, strerror(why));
    return bind_raise_text(L, BK_EIO);
}

void bind_poll_now(lua_State *L) {
    err e = { 0 };
    if (ctx_poll(bind_ctx(L), &e)) bind_raise(L, &e);
}

void bind_finalizer(lua_State *L, lua_CFunction gc, const char *says) {
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
    lua_pushstring(L, says);
    lua_setfield(L, -2, "__metatable");
}

void bind_weak(lua_State *L, const char *mode) {
    lua_createtable(L, 0, 1);
    lua_pushstring(L, mode);
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
}

void bind_push_weak(lua_State *L, const char *name) {
    if (!luaL_getsubtable(L, LUA_REGISTRYINDEX, name)) bind_weak(L, "k");
}

void bind_add_file(luaL_Buffer *b, FILE *f) {
    for (size_t n = LUAL_BUFFERSIZE; n == LUAL_BUFFERSIZE;) {
        char *space = luaL_prepbuffer(b);
        n = fread(space, 1, LUAL_BUFFERSIZE, f);
        luaL_addsize(b, n);
    }
}

const char *bind_push_number(lua_State *L, double x) {
    if (x != x) return lua_pushstring(L, "nan");
    const char *text = lua_pushfstring(L, "%f", x); /* 14 digits */
    if (lua_tonumber(L, -1) == x) return text;
    char exact[32];
    snprintf(exact, sizeof exact, "%.17g", x);
    lua_pop(L, 1);
    return lua_pushstring(L, exact);
}

lua_tensor *bind_tensor_test(lua_State *L, int index) {
    lua_tensor *t = lua_touserdata(L, index);
    if (!t || lua_islightuserdata(L, index)) return NULL;
    t = luaL_testudata(L, index, BIND_TENSOR);
    return t && (t->value.store || t->g) ? t : NULL;
}

const tensor *bind_test_tensor(lua_State *L, int index) {
    lua_tensor *t = bind_tensor_test(L, index);
    return t && !t->g ? &t->value : NULL;
}
