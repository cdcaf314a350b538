/* protect.c - protected calls, coroutines and finalizers that an interrupt and the step limit reach. Lua switches a
 * coroutine's hooks off while it runs a finalizer, and while it handles an error that a hook raised; a coroutine that
 * died of one keeps them off. Code of a script that would run there runs in a coroutine of its own, whose hooks are on,
 * or not at all. */
#include "env_state.h"

#include <stdlib.h>
#include <string.h>

#define HOOKLESS "bracket.hookless"     /* coroutines that died while their hooks were off; weak keys */
#define FINALIZERS "bracket.finalizers" /* object with a finalizer in Lua -> its number; weak keys */

/* ---- running a coroutine ---- */

static void mark_hookless(lua_State *L, lua_State *co) {
    bind_push_weak(L, HOOKLESS);
    lua_pushthread(co);
    lua_xmove(co, L, 1);
    lua_pushboolean(L, 1);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

/* co is in control until leave(). */
static void enter(bk_env *env, lua_State *co) {
    env_arm(co, env);
    env_set_running(env, co);
    if (atomic_load(&env->c->interrupted)) env_arm(co, env); /* it came before the line above, for who was */
}

static void leave(bk_env *env, lua_State *L) {
    env_set_running(env, L);
    if (env_stopped(env)) env_arm(L, env);
}

/* Resumes co with the nargs values on top of L; the number of results pushed on L, or -1 and an error. */
static int resume(lua_State *L, lua_State *co, int nargs) {
    bk_env *env = env_of(L);
    bool watched = atomic_load(&env->running) != NULL; /* not in the host's own calls */
    int n = 0;
    if (!lua_checkstack(co, nargs)) {
        lua_pushliteral(L, "too many arguments to resume");
        return -1;
    }
    lua_xmove(L, co, nargs);
    if (watched && lua_status(co) == LUA_OK) env_count_coroutine(env);
    if (watched) enter(env, co);
    int rc = lua_resume(co, L, nargs, &n);
    if (watched) leave(env, L);
    if (rc == LUA_OK || rc == LUA_YIELD) {
        if (lua_checkstack(L, n + 1)) {
            lua_xmove(co, L, n);
            return n;
        }
        lua_pop(co, n);
        lua_pushliteral(L, "too many results to resume");
        return -1;
    }
    if (watched && env_stopped(env)) mark_hookless(L, co);
    lua_xmove(co, L, 1);
    return -1;
}

/* Calls the function below nargs values on top in a coroutine of its own, in which it may not yield; as resume(). */
static int call_apart(lua_State *L, int nargs) {
    lua_State *co = lua_newthread(L);
    lua_insert(L, -(nargs + 2));
    lua_pushvalue(L, -(nargs + 1));
    lua_xmove(L, co, 1);
    const int n = resume(L, co, nargs);
    if (n < 0 || lua_status(co) != LUA_YIELD) return n;
    lua_pushliteral(L, "attempt to yield across a C-call boundary");
    return -1;
}

/* ---- coroutines ---- */

static int co_resume(lua_State *L) {
    lua_State *co = lua_tothread(L, 1);
    luaL_argexpected(L, co, 1, "coroutine");
    int n = resume(L, co, lua_gettop(L) - 1);
    lua_pushboolean(L, n >= 0);
    lua_insert(L, n >= 0 ? -(n + 1) : -2);
    return n >= 0 ? n + 1 : 2;
}

static int co_close(lua_State *L) { /* upvalue: Lua's own */
    bk_env *env = env_of(L);
    lua_State *co = lua_tothread(L, 1);
    luaL_argexpected(L, co, 1, "coroutine");
    lua_Debug ar;
    const int status = lua_status(co);
    const bool busy = co == L || (status == LUA_OK && lua_getstack(co, 0, &ar));
    lua_settop(L, 1);
    if (busy || !atomic_load(&env->running)) { /* refused; or the host's own call */
        lua_pushvalue(L, lua_upvalueindex(1));
        lua_insert(L, 1);
        lua_call(L, 1, LUA_MULTRET);
        return lua_gettop(L);
    }
    bind_push_weak(L, HOOKLESS);
    lua_pushvalue(L, 1);
    if (lua_rawget(L, -2) != LUA_TNIL) { /* what it would close stays unclosed: nothing could stop that */
        lua_pushboolean(L, 0);
        lua_pushliteral(L, "interrupted: what the coroutine holds was not closed");
        return 2;
    }
    enter(env, co);
    const int rc = lua_resetthread(co);
    leave(env, L);
    lua_pushboolean(L, rc == LUA_OK);
    if (rc == LUA_OK) return 1;
    lua_xmove(co, L, 1);
    return 2;
}

/* A wrapped function runs in a protected call of its coroutine, which turns the hooks on again before it closes
 * what the function holds. */
static int body_end(lua_State *L, int rc, lua_KContext extra) {
    (void)extra;
    return rc == LUA_OK || rc == LUA_YIELD ? lua_gettop(L) : lua_error(L);
}

static int body(lua_State *L) { /* function, arguments */
    env_await_interrupter(env_of(L));
    return body_end(L, lua_pcallk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, 0, body_end), 0);
}

static int co_wrapped(lua_State *L) { /* upvalues: the coroutine, and its function until it has begun */
    lua_State *co = lua_tothread(L, lua_upvalueindex(1));
    if (!lua_isnil(L, lua_upvalueindex(2))) {
        lua_pushvalue(L, lua_upvalueindex(2));
        lua_insert(L, 1);
        lua_pushnil(L);
        lua_replace(L, lua_upvalueindex(2));
    }
    int n = resume(L, co, lua_gettop(L));
    if (n >= 0) return n;
    if (lua_status(co) != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
        luaL_where(L, 1);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    return lua_error(L);
}

static int co_wrap(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_State *co = lua_newthread(L);
    lua_pushcfunction(co, body);
    lua_pushvalue(L, 1);
    lua_pushcclosure(L, co_wrapped, 2);
    return 1;
}

/* ---- pcall and xpcall, as in lua(1), but never while a hook is being set ---- */

static int protected_end(lua_State *L, int rc, lua_KContext extra) {
    if (rc == LUA_OK || rc == LUA_YIELD) return lua_gettop(L) - (int)extra;
    lua_pushboolean(L, 0);
    lua_pushvalue(L, -2);
    return 2;
}

static int safe_pcall(lua_State *L) { /* function, arguments */
    luaL_checkany(L, 1);
    lua_pushboolean(L, 1);
    lua_insert(L, 1);
    env_await_interrupter(env_of(L));
    return protected_end(L, lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, protected_end), 0);
}

/* A handler of errors, guarded. In Lua, for its tail call: the handler stands where it would stand by itself. */
static const char guard_text[] = "local stopped, apart, handler = ...\n"
                                 "return function(message)\n"
                                 "    if stopped() then return apart(handler, message) end\n"
                                 "    return handler(message)\n"
                                 "end";

static int handler_stopped(lua_State *L) {
    lua_pushboolean(L, env_stopped(env_of(L)));
    return 1;
}

static int handler_apart(lua_State *L) { /* handler, message: what the handler makes of it, or the message */
    lua_settop(L, 2);
    if (env_of(L)->exceeded) return 1;
    lua_pushvalue(L, 2);
    lua_insert(L, 1);
    const int n = call_apart(L, 1);
    if (n < 0) lua_settop(L, 1);
    return n == 0 ? 0 : 1;
}

static int safe_xpcall(lua_State *L) { /* function, handler, arguments; upvalue: guard_text's function */
    int n = lua_gettop(L);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    if (lua_tocfunction(L, 2) != env_of(L)->traceback || !env_of(L)->traceback) {
        lua_pushvalue(L, lua_upvalueindex(1));
        lua_pushcfunction(L, handler_stopped);
        lua_pushcfunction(L, handler_apart);
        lua_pushvalue(L, 2);
        lua_call(L, 3, 1);
        lua_replace(L, 2);
    }
    lua_pushboolean(L, 1);
    lua_pushvalue(L, 1);
    lua_rotate(L, 3, 2); /* function, handler, true, function, arguments */
    env_await_interrupter(env_of(L));
    return protected_end(L, lua_pcallk(L, n - 2, LUA_MULTRET, 2, 2, protected_end), 2);
}

/* ---- finalizers ---- */

static int collected(lua_State *L) { /* object; upvalue: its finalizer */
    bk_env *env = env_of(L);
    if (env->closing || env->exceeded) return 0;
    lua_settop(L, 1);
    bind_push_weak(L, FINALIZERS);
    lua_pushvalue(L, 1);
    lua_pushnil(L);
    lua_rawset(L, -3);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, 1);
    if (!atomic_load(&env->running))
        lua_call(L, 1, 0); /* in the host's own call */
    else if (call_apart(L, 1) < 0)
        return lua_error(L); /* which Lua makes a warning of */
    return 0;
}

/* Guards the finalizer in the metatable at 2, if it has one, and sets it for the value at 1. */
static int set_guarded(lua_State *L) {
    bk_env *env = env_of(L);
    bool finalized = false;
    lua_settop(L, 2);
    if (lua_istable(L, 2)) {
        lua_pushliteral(L, "__gc");
        const int type = lua_rawget(L, 2);
        if (type != LUA_TNIL && env->restricted) /* one put in its place afterwards would not be guarded */
            return luaL_error(L, "setmetatable: restricted: finalizers (__gc) are not to be had; __close is");
        finalized = type == LUA_TFUNCTION;
        if (finalized && lua_tocfunction(L, 3) != collected) {
            lua_pushliteral(L, "__gc");
            lua_pushvalue(L, 3);
            lua_pushcclosure(L, collected, 1);
            lua_rawset(L, 2);
        }
        lua_settop(L, 2);
    }
    lua_setmetatable(L, 1);
    if (finalized && lua_istable(L, 1)) {
        bind_push_weak(L, FINALIZERS);
        lua_pushvalue(L, 1);
        lua_pushinteger(L, ++env->finalizers);
        lua_rawset(L, -3);
    }
    lua_settop(L, 1);
    return 1;
}

static int safe_setmetatable(lua_State *L) {
    const int type = lua_type(L, 2);
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_argexpected(L, type == LUA_TNIL || type == LUA_TTABLE, 2, "nil or table");
    if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL)
        return luaL_error(L, "cannot change a protected metatable");
    return set_guarded(L);
}

static int debug_setmetatable(lua_State *L) {
    const int type = lua_type(L, 2);
    luaL_argexpected(L, type == LUA_TNIL || type == LUA_TTABLE, 2, "nil or table");
    return set_guarded(L);
}

static int compare_numbers(const void *a, const void *b) { /* the last comes first, as in lua_close */
    const lua_Integer x = *(const lua_Integer *)a, y = *(const lua_Integer *)b;
    return (x < y) - (x > y);
}

static int run_finalizers(lua_State *L) {
    bind_push_weak(L, FINALIZERS);
    const int known = lua_gettop(L);
    size_t n = 0;
    lua_newtable(L); /* number -> object */
    for (lua_pushnil(L); lua_next(L, known); n++) {
        lua_pushvalue(L, -2);
        lua_rawset(L, known + 1);
    }
    lua_Integer *numbers = lua_newuserdatauv(L, sizeof *numbers * (n + 1), 0);
    n = 0;
    for (lua_pushnil(L); lua_next(L, known + 1); lua_pop(L, 1)) numbers[n++] = lua_tointeger(L, -2);
    qsort(numbers, n, sizeof *numbers, compare_numbers);
    for (size_t i = 0; i < n; i++) {
        const int top = lua_gettop(L);
        lua_rawgeti(L, known + 1, numbers[i]);
        if (luaL_getmetafield(L, -1, "__gc") == LUA_TFUNCTION && lua_tocfunction(L, -1) == collected) {
            lua_pushvalue(L, -2);
            if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
                lua_warning(L, "error in __gc (", 1);
                lua_warning(L, lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "no text", 1);
                lua_warning(L, ")", 0);
            }
        }
        lua_settop(L, top);
    }
    return 0;
}

void env_run_finalizers(bk_env *env) {
    if (lua_checkstack(env->L, 4)) {
        lua_pushcfunction(env->L, run_finalizers);
        env_call(env, 0, 0);
    }
    env->closing = true;
}

/* ---- opening ---- */

static int safe_sethook(lua_State *L) { /* upvalue: Lua's own */
    if (env_of(L)->step_limit) return luaL_error(L, "debug.sethook: the step limit needs the hook");
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

/* Puts fn, with the function that stands there as upvalue, into the table on top. */
static void replace_field(lua_State *L, const char *name, lua_CFunction fn) {
    lua_getfield(L, -1, name);
    lua_pushcclosure(L, fn, 1);
    lua_setfield(L, -2, name);
}

void env_open_protected(lua_State *L) {
    lua_register(L, "pcall", safe_pcall);
    lua_register(L, "setmetatable", safe_setmetatable);
    if (luaL_loadbufferx(L, guard_text, strlen(guard_text), "=xpcall", "t") != LUA_OK) lua_error(L);
    lua_pushcclosure(L, safe_xpcall, 1);
    lua_setglobal(L, "xpcall");
    lua_getglobal(L, LUA_COLIBNAME);
    replace_field(L, "resume", co_resume);
    replace_field(L, "wrap", co_wrap);
    replace_field(L, "close", co_close);
    if (lua_getglobal(L, LUA_DBLIBNAME) == LUA_TTABLE) {
        lua_getfield(L, -1, "traceback");
        env_of(L)->traceback = lua_tocfunction(L, -1);
        lua_pop(L, 1);
        replace_field(L, "setmetatable", debug_setmetatable);
        replace_field(L, "sethook", safe_sethook);
    }
    lua_pop(L, 2);
}
