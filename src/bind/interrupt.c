/* interrupt.c - calls into an environment's Lua state, and what stops them: interrupts, the step limit, errors as
 * statuses. Every Lua call is protected, so nothing a script does reaches the host but a status. An interrupt is a flag
 * (polled by kernels) and a hook on the running coroutine; without one, no hook is set and Lua runs at full speed (a
 * permanent one costs a factor of 2). Code that Lua would run with its hooks off is protect.c's. */
#include "env_state.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { STEP_CHUNK = 1000, CO_CHUNK = 100, GRACE_MS = 60, GRACE_COUNT = 10 };
enum { HELD_MS = 5000, HELD_COUNT = 100, AGAIN_MS = 200 };

/* Lua calls a finalizer once, and the call itself needs a call record: were it refused for want of memory, what the
 * userdata owns would be lost for good. So records may overdraw; the Lua stack, which may not, bounds how many there
 * are. */
static void *alloc_call_record(ctx *c, size_t bytes) {
    size_t limit = c->limit;
    int64_t fail_at = atomic_exchange(&c->fail_at, -1);
    c->limit = 0;
    void *p = mem_realloc(c, NULL, 0, bytes);
    c->limit = limit;
    atomic_store(&c->fail_at, fail_at);
    return p;
}

/* Returns when no other thread is setting a hook. lua_sethook walks the call records of the coroutine and marks those
 * of Lua functions, so meanwhile the owner must not free a record, nor give its place a use that a mark would spoil:
 * the one such use is lua_pcallk's with a continuation. A read-modify-write, so that either the interrupter's own
 * comes first and is waited for, or it sees all that was done before this. */
void env_await_interrupter(bk_env *env) {
    while (atomic_fetch_add(&env->hooking, 0)) sched_yield();
}

void *env_alloc(void *self, void *p, size_t old_bytes, size_t new_bytes) {
    bk_env *env = self;
    if (p && new_bytes == 0 && old_bytes == env->record_bytes) env_await_interrupter(env);
    void *q = mem_realloc(env->c, p, p ? old_bytes : 0, new_bytes);
    if (p || new_bytes == 0) return q;
    if (env->probing) env->record_bytes = new_bytes;
    if (!q && old_bytes == 0 && new_bytes == env->record_bytes) q = alloc_call_record(env->c, new_bytes);
    return q;
}

static int probe(lua_State *L) {
    (void)L;
    return 0;
}

/* The first call in a fresh state allocates one call record and nothing else: its size is learnt from that. */
bool env_learn_record_size(bk_env *env) {
    lua_pushcfunction(env->L, probe);
    env->probing = true;
    int rc = lua_pcall(env->L, 0, 0, 0);
    env->probing = false;
    return rc == LUA_OK;
}

bk_env *env_of(lua_State *L) {
    void *self;
    return lua_getallocf(L, &self) == env_alloc ? self : NULL;
}

ctx *env_ctx(bk_env *env) {
    return env->c;
}

/* ---- errors ---- */

bk_status env_fail(bk_env *env, bk_status status, const char *text) {
    size_t bytes = strlen(text) + 1;
    if (bytes > env->error_bytes) {
        char *larger = mem_realloc(env->c, env->error, env->error_bytes, bytes);
        if (!larger) { /* the head of the text must do */
            mem_free(env->c, env->error, env->error_bytes);
            env->error_bytes = 0;
            bytes = bytes < sizeof env->error_short ? bytes : sizeof env->error_short;
            memcpy(env->error_short, text, bytes - 1);
            env->error_short[bytes - 1] = 0;
        } else
            env->error_bytes = bytes;
        env->error = larger;
    }
    if (env->error) memmove(env->error, text, bytes);
    return status;
}

BK_API const char *bk_error(bk_env *env) {
    if (!env) return "";
    return env->error ? env->error : env->error_short;
}

void env_raised(bk_env *env, const err *e) {
    env->last = *e;
}

bk_status env_cause(const bk_env *env, const char *text) {
    return env->last.status && strstr(text, env->last.text) ? env->last.status : BK_OK;
}

/* What the library's Lua raises without a place, deep below the call at fault: pushes the place of the user's line, or
 * "" where the text names one, or another raised it. */
static void push_place(lua_State *L, const char *text) {
    static const char own[] = "@bracket/";
    lua_Debug frame;
    int place = 0;
    for (int level = 2; lua_getstack(L, level, &frame); level++) {
        lua_getinfo(L, "S", &frame);
        const bool inside = strncmp(frame.source, own, strlen(own)) == 0;
        if (level == 2 && !inside) break; /* not by error() in a file of ours */
        luaL_where(L, level);
        const char *where = lua_tostring(L, -1);
        if (*where && strncmp(text, where, strlen(where)) == 0) place = -1;
        if (place == 0 && *where && !inside) place = level;
        lua_pop(L, 1);
    }
    const size_t word = strcspn(text, " \t\n"); /* "script.lua:12:", of an error that was caught and raised again */
    const bool told = word > 1 && text[word - 1] == ':' && text[word - 2] >= '0' && text[word - 2] <= '9';
    if (place > 0 && !told)
        luaL_where(L, place);
    else
        lua_pushliteral(L, "");
}

static int message_handler(lua_State *L) {
    const char *text = lua_tostring(L, 1);
    if (!text) {
        if (luaL_callmeta(L, 1, "__tostring") && lua_type(L, -1) == LUA_TSTRING) return 1;
        text = lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
    } else if (!env_of(L)->delivered) {
        push_place(L, text);
        text = lua_pushfstring(L, "%s%s", lua_tostring(L, -1), text);
    }
    luaL_traceback(L, L, text, 1);
    return 1;
}

/* ---- interrupts and the step limit ---- */

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void run_hook(lua_State *L, lua_Debug *ar);

/* The hook a coroutine needs now, given what happened in this run. One that it has already is left to count on. */
void env_arm(lua_State *L, bk_env *env) {
    const int chunk = L == env->L || env->step_chunk < CO_CHUNK ? env->step_chunk : CO_CHUNK;
    bool interrupted;
    do {
        interrupted = atomic_load(&env->c->interrupted);
        int count = interrupted || env->exceeded ? 1
                    : env->delivered             ? GRACE_COUNT
                    : env->step_limit            ? chunk
                                                 : 0;
        bool ours = lua_gethook(L) == run_hook;
        if (!count && ours)
            lua_sethook(L, NULL, 0, 0);
        else if (count && !(ours && lua_gethookmask(L) == LUA_MASKCOUNT && lua_gethookcount(L) == count))
            lua_sethook(L, run_hook, LUA_MASKCOUNT, count);
    } while (!interrupted && atomic_load(&env->c->interrupted)); /* it came meanwhile */
}

/* A coroutine's own count starts anew: what it may have run when it ends before its first hook. */
void env_count_coroutine(bk_env *env) {
    if (env->step_limit) env->steps += CO_CHUNK / 2;
}

bool env_stopped(const bk_env *env) {
    return env->delivered || env->exceeded || atomic_load(&env->c->interrupted);
}

void env_delivered(lua_State *L, bk_env *env) {
    atomic_store(&env->c->interrupted, 0);
    if (!env->delivered) env->deadline = now_ms() + GRACE_MS;
    env->delivered = true;
    env_arm(L, env);
}

/* Raises the text on top at the user's line: where the hook stopped the library's Lua tells nobody anything. */
static int raise_stopped(lua_State *L) {
    bind_where_stopped(L, -1);
    lua_insert(L, -2);
    lua_concat(L, 2);
    return lua_error(L);
}

static int raise_interrupted(lua_State *L) {
    lua_pushliteral(L, "interrupted");
    return raise_stopped(L);
}

static void run_hook(lua_State *L, lua_Debug *ar) {
    bk_env *env = env_of(L);
    if (env->c->polled) ctx_note_poll(env->c);
    if (atomic_load(&env->c->interrupted) && atomic_load(&env->c->held)) {
        if (!env->held_until) env->held_until = now_ms() + HELD_MS;
        if (now_ms() < env->held_until) {
            lua_sethook(L, run_hook, LUA_MASKCOUNT, HELD_COUNT);
            return;
        }
        atomic_store(&env->c->held, 0);
    }
    if (atomic_load(&env->c->interrupted)) {
        env_delivered(L, env);
        raise_interrupted(L);
    }
    if (env->delivered) {
        if (now_ms() < env->deadline) return;
        lua_sethook(L, run_hook, LUA_MASKCOUNT, 1);
        raise_interrupted(L);
    }
    if (env->step_limit && (env->exceeded || ar->event == LUA_HOOKCOUNT)) {
        env->steps += (uint64_t)lua_gethookcount(L);
        if (env->steps < env->step_limit) return;
        env->exceeded = true;
        lua_sethook(L, run_hook, LUA_MASKCOUNT, 1);
        lua_pushfstring(L, "step limit of %I instructions reached", (LUAI_UACINT)env->step_limit);
        raise_stopped(L);
    }
    env_arm(L, env);
}

/* Async-signal-safe: atomics, and lua_sethook, which Lua allows in a signal handler of the same thread. From another
 * thread it is a race that Lua's manual does not allow; what makes it sound is `hooking`, which keeps the owner from
 * letting go of the coroutine (env_set_running) and of its call records (env_await_interrupter) meanwhile. The fields
 * that both may write, the hook and the marks, are words that either may set last: env_arm() looks again. */
BK_API void bk_interrupt(bk_env *env) {
    if (!env) return;
    atomic_fetch_add(&env->hooking, 1);
    lua_State *L = atomic_load(&env->running);
    if (L) {
        const int64_t now = now_ms(); /* a second one waits no longer; the same may come twice, by two threads */
        if (!atomic_exchange(&env->c->interrupted, 1))
            atomic_store(&env->first, now);
        else if (now - atomic_load(&env->first) > AGAIN_MS)
            atomic_store(&env->c->held, 0);
        lua_sethook(L, run_hook, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
    }
    atomic_fetch_sub(&env->hooking, 1);
}

void env_set_running(bk_env *env, lua_State *L) {
    atomic_store(&env->running, L);
    env_await_interrupter(env);
}

bk_status env_call(bk_env *env, int nargs, int nresults) {
    lua_State *L = env->L, *previous = atomic_load(&env->running);
    int base = lua_gettop(L) - nargs; /* the function's place */
    if (!lua_checkstack(L, 10)) {
        lua_settop(L, base - 1);
        return env_fail(env, BK_ENOMEM, "out of memory: the Lua stack is full");
    }
    lua_pushcfunction(L, message_handler);
    lua_insert(L, base);
    if (env->depth++ == 0) {
        atomic_store(&env->c->interrupted, 0);
        atomic_store(&env->c->held, 0);
        env->delivered = env->exceeded = false;
        env->steps = 0;
        err_clear(&env->last);
        if (env->step_limit) env_arm(L, env);
    }
    env_set_running(env, L);
    int rc = lua_pcall(L, nargs, nresults, base);
    env_set_running(env, previous);
    const bool interrupted = env->interrupted = env->delivered, exceeded = env->exceeded;
    if (--env->depth == 0) {
        atomic_store(&env->c->interrupted, 0);
        env->delivered = env->exceeded = false;
        if (lua_gethook(L) == run_hook) lua_sethook(L, NULL, 0, 0);
    }
    lua_remove(L, base);
    if (rc == LUA_OK && !exceeded) return BK_OK;
    if (rc == LUA_OK) { /* in a protected call, a coroutine or a finalizer that was the last thing done */
        char said[100];
        snprintf(said, sizeof said, "step limit of %llu instructions reached", (unsigned long long)env->step_limit);
        lua_settop(L, base - 1);
        return env_fail(env, BK_ELIMIT, said);
    }
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "(error without a text)";
    bk_status status = BK_ERUNTIME;
    if (interrupted)
        status = BK_EINTERRUPTED;
    else if (exceeded)
        status = BK_ELIMIT;
    else if (rc == LUA_ERRMEM || strstr(text, "not enough memory"))
        status = BK_ENOMEM;
    else if (env_cause(env, text))
        status = env_cause(env, text);
    env_fail(env, status, text);
    lua_pop(L, 1);
    return status;
}

/* ---- what is to be done whole ---- */

/* hold(whole): until hold(false), which raises it, an interrupt waits; for five seconds at most, or until a second. */
static int env_hold(lua_State *L) {
    bk_env *env = env_of(L);
    if (!env) return 0;
    const bool whole = lua_toboolean(L, 1), pending = atomic_load(&env->c->interrupted);
    if (!pending || !whole) env->held_until = 0; /* what waits already waits no longer for being held again */
    if (pending && whole && !atomic_load(&env->c->held)) return 0;
    atomic_store(&env->c->held, whole);
    if (whole || !pending) return 0;
    env_delivered(L, env);
    return raise_interrupted(L);
}

void bind_interrupt_internal(lua_State *L) {
    lua_pushcfunction(L, env_hold);
    lua_setfield(L, -2, "hold");
}

/* ---- the step limit ---- */

void env_set_step_limit(bk_env *env, uint64_t limit) {
    env->step_limit = limit;
    env->step_chunk = limit < 100 * STEP_CHUNK ? (int)(limit / 100) + 1 : STEP_CHUNK;
}
