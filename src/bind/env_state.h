/* env_state.h - what is inside a bk_env, for the files it is made of: interrupt.c (calls, interrupts, limits),
 * protect.c (what Lua would run with its hooks off), restrict.c (what a restricted script may touch) and env.c (open,
 * close, run, exchange). */
#ifndef BIND_ENV_STATE_H
#define BIND_ENV_STATE_H

#include "env.h"

struct bk_env {
    ctx *c;
    lua_State *L;
    _Atomic(lua_State *) running; /* the coroutine in control; NULL: no script runs */
    atomic_int hooking;           /* bk_interrupt calls now between reading `running` and setting its hook */
    int depth;                    /* nested env_call */
    bool delivered;               /* this run's interrupt became an error */
    bool interrupted;             /* ... and so did the last one's */
    int64_t deadline;             /* end of the grace after it, ms */
    _Atomic(int64_t) first;       /* when the pending interrupt came, ms */
    int64_t held_until;           /* what is held is held no longer, ms; 0: nothing waits */
    uint64_t step_limit, steps;
    int step_chunk;
    bool exceeded;
    size_t record_bytes; /* of Lua's call records; 0: not known yet */
    bool probing;
    lua_CFunction traceback; /* Lua's own debug.traceback; NULL: there is none */
    lua_Integer finalizers;  /* how many objects were given one in Lua */
    bool closing;            /* finalizers written in Lua have been run */
    bool restricted;
    err last;       /* the last failure raised by a binding */
    char *error;    /* bk_error's text, or NULL: error_short */
    size_t error_bytes;
    char error_short[256];
};

/* interrupt.c: Lua's allocator of an environment, `self` being the bk_env; a state learns its record size once. */
void *env_alloc(void *self, void *p, size_t old_bytes, size_t new_bytes);
bool env_learn_record_size(bk_env *env);
void env_set_step_limit(bk_env *env, uint64_t limit);
void env_set_running(bk_env *env, lua_State *L); /* who is in control from here on: the one that interrupts hook */
void env_await_interrupter(bk_env *env);
void env_arm(lua_State *L, bk_env *env); /* L's hook, as this run needs it now */
void env_count_coroutine(bk_env *env);   /* a coroutine begins: to the step limit */
bool env_stopped(const bk_env *env);     /* an interrupt or the step limit ends this run */

/* protect.c: pcall, xpcall, coroutine.*, setmetatable that interrupts and limits reach */
void env_open_protected(lua_State *L);
void env_run_finalizers(bk_env *env); /* those that Lua would run in lua_close, out of reach; none is run after it */

/* restrict.c */
void env_open_restricted(lua_State *L); /* the libraries that a restricted script has */

#endif
