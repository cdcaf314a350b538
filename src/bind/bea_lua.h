/* bea_lua.h - what the files of bk.bea share. Objects hold funcs as userdata in a user value, so the collector sees
 * everything; the C below bind/ knows nothing of Lua. */
#ifndef BIND_BEA_LUA_H
#define BIND_BEA_LUA_H

#include "../bea/word.h"
#include "func_value.h"

/* The losses of the list at index as an array in Lua's memory; pushes two values that keep it and them alive. */
func **bind_bea_check_losses(lua_State *L, int index, const char *fname, const char *argument, bool fields,
                             int *n);
double bind_bea_finite_number(lua_State *L, int index, const char *fname, const char *argument);
/* Pushes f, which keeps the value at `over` alive; raises e when there is none. */
void bind_bea_own_func(lua_State *L, func *f, err *e, int over);
/* Pushes a new metatable whose __index holds the methods. */
void bind_bea_class(lua_State *L, const char *name, const bind_row *rows);

/* Pushes the word of m steps; keep: index of the value that keeps their functions. */
void bind_bea_word_make(lua_State *L, int m, const word_step_spec *steps, int keep);
word *bind_bea_word_of(lua_State *L, int index);

/* Add to the room on top of the stack, and make its classes. */
void bind_bea_word(lua_State *L);
void bind_bea_modified(lua_State *L);

#endif
