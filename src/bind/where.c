/* where.c - whose line an error names: the user's, not one of the library's own Lua. Below all else of the binding, for
 * what raises errors and what stops scripts both ask. */
#include "bind.h"

#include <string.h>

bool bind_own_frame(const lua_Debug *d) {
    return *d->what == 'C' || strncmp(d->source, "@bracket/", 9) == 0;
}

static int run_chunk(lua_State *L) { /* chunk, bk; upvalue: its path */
    lua_call(L, 1, 1);
    return 1;
}

void bind_push_loader(lua_State *L) {
    lua_pushcclosure(L, run_chunk, 1);
}

/* Pushes "bracket/PATH: " where that frame, of C, runs a file of the library. */
static bool push_loading(lua_State *L, lua_Debug *d) {
    lua_getinfo(L, "f", d);
    const bool runs = lua_tocfunction(L, -1) == run_chunk;
    if (runs) lua_getupvalue(L, -1, 1), lua_pushfstring(L, "bracket/%s: ", lua_tostring(L, -1)), lua_replace(L, -3);
    lua_pop(L, 1);
    return runs;
}

/* files: a file of the library that loads is to blame before who came across it. */
static void push_where(lua_State *L, int otherwise, bool files) {
    static const char session[] = "@bracket/repl/"; /* what called that did not write the input */
    lua_Debug d;
    for (int level = 0; lua_getstack(L, level, &d); level++) { /* 0: what a hook stopped, else a C function */
        lua_getinfo(L, "S", &d);
        if (strncmp(d.source, session, sizeof session - 1) == 0) break;
        if (!bind_own_frame(&d) || (files && *d.what == 'm')) {
            luaL_where(L, level);
            return;
        }
        if (files && *d.what == 'C' && push_loading(L, &d)) return; /* it returns a call, and has no frame of its own */
    }
    luaL_where(L, otherwise);
}

void bind_where(lua_State *L, int otherwise) {
    push_where(L, otherwise, true);
}

void bind_where_stopped(lua_State *L, int otherwise) {
    push_where(L, otherwise, false);
}
