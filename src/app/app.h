/* app.h - what the program's files share. */
#ifndef APP_APP_H
#define APP_APP_H

#include "../bind/env.h"
#include <signal.h>
#include <stdint.h>

/* From now on Ctrl-C interrupts env and sets app_interrupted; NULL: it ends the program. once: so does the second
 * Ctrl-C, as in lua(1). */
void app_watch(bk_env *env, bool once);
extern volatile sig_atomic_t app_interrupted;
/* For handlers: OpenBLAS's threads take signals too, and one taken there, while the main thread holds it back just
 * before it waits, would not end that wait. */
void app_pass_on(int signal_number);
void app_message(const char *text); /* "bracket: text" on stderr */

/* The interactive loop on the terminal; returns the exit status. */
int repl_run(bk_env *env, bool no_environment);

/* What ends a run after its step, and a sweep with its jobs. */
#define ENDING_SIGNALS(OF) OF(SIGINT), OF(SIGTERM), OF(SIGHUP), OF(SIGUSR1)
#define SIGNAL_NUMBER(s) s
#define SIGNAL_NAME(s) #s

/* stop.c: pushes the table of functions by which a run holds the signals that end it after its step. The one it obeyed:
 * the exit status says so. The session sets it back to 0: a later run begins. */
extern int app_stopped;
void stop_push(lua_State *L);

/* line.c: the line on a terminal that says how far long work is. line_tell is for ctx.told; line_clear takes the line
 * away; line_push pushes a function of a boolean: true: something else has the line. */
void line_tell(const char *what, int64_t done, int64_t all);
void line_clear(void);
void line_push(lua_State *L);

/* jobs.c: pushes the table of functions that start and wait for other processes. */
void jobs_push(lua_State *L);

/* database.c: pushes the function that opens a file of SQLite's. */
void database_push(lua_State *L);

/* complete.c: candidates for the word that ends at `cursor` in line, as a table of strings on top of L; the
 * bytes before the cursor that they replace. Reads tables only, never a metamethod or other user code. */
size_t complete_push(lua_State *L, const char *line, size_t cursor);

#endif
