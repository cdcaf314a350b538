/* lock.h - the descriptor of a lock that Lua holds, for what starts processes. */
#ifndef BIND_LOCK_H
#define BIND_LOCK_H

#include <lua.h>

int bind_lock_descriptor(lua_State *L, int index); /* -1: no lock, or one that was let go of */

#endif
