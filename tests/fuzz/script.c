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
        fuzz_silence();
        env = bk_open(NULL);
        PROMISE(env, "bk_open");
        lua_State *L = bk_lua(env);
        const int failed = luaL_loadfile(L, "tests/fuzz/" TEXT(NAME) ".lua");
        lua_pushstring(L, fuzz_root());
        PROMISE(!failed && !lua_pcall(L, 1, 1, 0), "%s", lua_tostring(L, -1));
        lua_setglobal(L, "one");
    }
    lua_State *L = bk_lua(env);
    lua_pushlstring(L, (const char *)data, n);
    lua_setglobal(L, "input");
    PROMISE(!bk_dostring(env, "one(input)", "one"), "%s", bk_error(env));
    PROMISE(lua_gettop(L) == 0, "%d values are left on the stack", lua_gettop(L));
    return 0;
}
