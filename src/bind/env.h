/* env.h - the environment behind bk_env: one Lua state, its context, and what a run
 * needs: error text, interrupts, step limit, restricted mode. The program uses the
 * functions here; hosts see bracket.h only. */
#ifndef BIND_ENV_H
#define BIND_ENV_H

#include "bind.h"

/* bk_open, plus lua(1)'s -E: environment variables are not read; and with the reason where it is NULL. */
bk_env *env_open(const bk_options *options, bool no_environment, err *e);

/* Calls the function below nargs arguments on top of bk_lua(env). On failure nothing is left on the
 * stack and bk_error() tells. Interrupts and the step limit count from the outermost call. */
bk_status env_call(bk_env *env, int nargs, int nresults);
bk_status env_fail(bk_env *env, bk_status status, const char *text); /* sets bk_error(), returns status */

bk_env *env_of(lua_State *L); /* NULL in a host's own state */
ctx *env_ctx(bk_env *env);

/* Raises, as fname, unless a restricted environment may touch this file; every binding that opens one asks. */
void env_check_path(lua_State *L, const char *fname, const char *path);
bool env_restricted(lua_State *L);

/* An interrupt reached L as an error: the flag is cleared, and a script that swallows the error is
 * given a short time for its clean-up before the next one. */
void env_delivered(lua_State *L, bk_env *env);
void env_raised(bk_env *env, const err *e); /* remembers a failure's status for bk_dostring */
bk_status env_cause(const bk_env *env, const char *text); /* the last failure's, where the text has its; or BK_OK */

#endif
