/* func_watch.h - what a Lua function reads from outside while it is traced, so that a change of it is noticed. */
#ifndef BIND_FUNC_WATCH_H
#define BIND_FUNC_WATCH_H

#include <lua.h>
#include <stdbool.h>

/* Pushes a list of what the function at index may read from outside: upvalues, fields of tables, globals, with their
 * values now; its own and those of the functions it can reach. At most WATCHED: what is farther is not seen. Returns
 * how many. Of its arguments that are no tensors, at 1 to n of the table at given, what they hold counts too. */
enum { WATCHED = 256 };
int bind_watch_push(lua_State *L, int index, int given, int n);
/* Whether they are all still what they were; allocates nothing, raises nothing. needs 8 places on the stack. */
bool bind_watch_holds(lua_State *L, int list, int n);
/* Leaves those out that have changed (what tracing itself sets: a counter, a cache); how many stay. */
int bind_watch_settle(lua_State *L, int list, int n);

#endif
