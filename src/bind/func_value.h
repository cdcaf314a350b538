/* func_value.h - functions of tensors as Lua values: a userdata around one `func`, made from a plain Lua function,
 * from a transform of one, or from C (losses, fields). Invariant: a func made of a Lua function keeps that
 * function alive as long as the func lives, in Lua or in C, without making uncollectable cycles of its own.
 *
 * Below bind/ a func is called without a lua_State, yet a func made of a Lua function needs one: every C function
 * that calls func_call, func_plan, func_shape or func_build (directly or through src/bea, src/optim) brackets
 * that with bind_enter and bind_leave:
 *
 *     bind_trace at = bind_enter(L);             no Lua error may be raised from here ...
 *     bk_status s = func_call1(f, 1, theta, &out, &e);
 *     bind_leave(L, &at, s, &e);                 ... to here; returns when s is BK_OK, else raises */
#ifndef BIND_FUNC_VALUE_H
#define BIND_FUNC_VALUE_H

#include "../func/func.h"
#include "bind.h"

#define BIND_FUNC "bracket.func"

/* The func at index: a func userdata, a plain Lua function, or a value with __call. A function is wrapped (once per
 * function) and the stack slot `index` is replaced by the func userdata. No reference is taken: valid while that
 * userdata is kept; func_retain to keep it longer. Anything else is a Lua error naming fname and argument. */
func *bind_check_func(lua_State *L, int index, const char *fname, const char *argument);
func *bind_test_func(lua_State *L, int index); /* NULL when it is not a func userdata */

/* Pushes the Lua function that f was made of; nil where it was made of none. */
void bind_push_traced(lua_State *L, const func *f);

/* Pushes a func userdata that takes the reference f (released on a Lua error). NULL: out of memory is raised. */
void bind_push_func(lua_State *L, func *f);
/* The same, and it keeps the Lua value at `index` alive: operands, data, the object it belongs to. */
void bind_push_func_over(lua_State *L, func *f, int index);

/* What is made of the funcs in the list at `funcs` (userdata) and the one at `last`, once for each such choice under a
 * name: bind_func_kept pushes it and returns its func, or pushes nothing and returns NULL; then bind_func_keep keeps
 * the func userdata on top, which stays. It lives as long as all of them do. */
func *bind_func_kept(lua_State *L, const char *name, int funcs, int last);
void bind_func_keep(lua_State *L, const char *name, int funcs, int last);

typedef struct bind_trace {
    lua_State *before;
} bind_trace;
bind_trace bind_enter(lua_State *L);
/* Ends what bind_enter began. status != BK_OK raises e, or the error value of the Lua function it came from. */
void bind_leave(lua_State *L, const bind_trace *at, bk_status status, const err *e);

/* The arguments first..last of a call as tensors or nodes, and the call: pushes f's outputs, returns their number.
 * Traced tensors add f to their graph. Numbers become 0-d float64 tensors. For funcs whose arguments are all tensors.
 */
int bind_func_invoke(lua_State *L, func *f, int first, int last, const char *fname);

/* A call whose second result, of (theta, ...) -> a number, a vector, ..., is poured (plan_run_poured). start: right
 * before it, when all is traced; from then to the end no Lua runs, but where memory is short: then it begins anew. */
typedef struct bind_pour {
    bk_status (*start)(void *arg, err *e);
    void *arg;
    plan_taker taker;
} bind_pour;
/* Calls the func userdata at index so on the values first..last, its results over those in the table at index `kept`.
 * Pushes the results, returns their number. */
int bind_func_call_poured(lua_State *L, int index, int first, int last, int kept, const bind_pour *pour);

#endif
