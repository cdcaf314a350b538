/* where.c - whose line an error names: the user's, not one of the library's own Lua. Below all else of the binding, for
 * what raises errors and what stops scripts both ask. */
#include "bind.h"

#include <string.h>

bool bind_own_frame(const lua_Debug *d) {
    return *d->what == 'C' || strncmp(d->source, "@bracket/", 9) == 0;
}

void bind_where(lua_State *L, int otherwise) {
    static const char session[] = "@bracket/repl/"; /* what called that did not write the input */
    lua_Debug d;
    for (int level = 0; lua_getstack(L, level, &d); level++) { /* 0: what a hook stopped, else a C function */
        lua_getinfo(L, "S", &d);
        if (strncmp(d.source, session, sizeof session - 1) == 0) break;
        if (!bind_own_frame(&d) || *d.what == 'm') { /* no user's call is wrong where a file of the library loads */
            luaL_where(L, level);
            return;
        }
    }
    luaL_where(L, otherwise);
}
