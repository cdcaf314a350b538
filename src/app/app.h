/* app.h - what the program's files share. */
#ifndef APP_APP_H
#define APP_APP_H

#include "../bind/env.h"

/* env_call under Ctrl-C. once: a second Ctrl-C ends the program, as in lua(1). */
bk_status app_call(bk_env *env, int nargs, int nresults, bool once);
void app_message(const char *text); /* "bracket: text" on stderr */

/* The interactive loop on the terminal; returns the exit status. */
int repl_run(bk_env *env, bool no_environment);

/* complete.c: candidates for the word that ends at `cursor` in line, as a table of strings on top of L; the
 * bytes before the cursor that they replace. Reads tables only, never a metamethod or other user code. */
size_t complete_push(lua_State *L, const char *line, size_t cursor);

#endif
