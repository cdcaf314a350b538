/* rooms.h - tables whose missing fields are files of lua/bracket. A file whose name begins with _ is private to its
 * neighbours: it loads when named, and no list shows it. */
#ifndef BIND_ROOMS_H
#define BIND_ROOMS_H

#include "bind.h"

#define ROOM_MODULE "bracket.module" /* registry: the module table, which every file is called with */

void room_find_override(lua_State *L); /* reads BRACKET_LUA, where the environment may be read */
/* Makes the table on top lazy: its missing fields are the room's files, none of which may have the name of a field that
 * is there. hidden: stack index of a table of values that are found by name but not listed, or 0. */
void room_make(lua_State *L, const char *room, int hidden);
/* Sets names[NAME] = true for every file of the room ("" is the top) and, at the top, for every folder in folders. */
void room_list(lua_State *L, int names, int folders, const char *room);
const bind_row *room_rows(void); /* for bk.internal */

#endif
