/* script.c - a harness whose promises are written in Lua: tests/fuzz/NAME.lua (-DNAME) is given the folder and returns a
 * function, which is called with each input and raises where a promise is broken. */
#include "fuzz.h"
#include <lua.h>
#include <lauxlib.h>

#define TEXT_OF(name) #name
#define TEXT(name) TEXT_OF(name)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static bk_env *env;
    if (!env) {
        char *folder[] = { (char *)(uintptr_t)fuzz_root() };
        env = bk_open(NULL);
        PROMISE(env, "bk_open");
        PROMISE(!bk_dofile(env, "tests/fuzz/" TEXT(NAME) ".lua", 1, folder), "%s", bk_error(env));
    }
    lua_State *L = bk_lua(env);
    lua_pushlstring(L, (const char *)data, n);
    lua_setglobal(L, "input");
    PROMISE(!bk_dostring(env, "one(input)", "one"), "%s", bk_error(env));
    PROMISE(lua_gettop(L) == 0, "%d values are left on the stack", lua_gettop(L));
    return 0;
}
