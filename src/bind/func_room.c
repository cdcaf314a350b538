/* func_room.c - opens the room of functions: calls, methods, and the transforms bk.grad, bk.hvp ... */
#include "args.h"
#include "func_lua.h"

static int m_call(lua_State *L) {
    func *f = bind_test_func(L, 1);
    if (!f) return args_fail(L, 1, "call", "function", "a func");
    return bind_func_call_values(L, 1, 2, lua_gettop(L), f->cls->name);
}

void bind_func(lua_State *L) {
    bind_func_open_class(L);
    lua_pushcfunction(L, m_call);
    lua_setfield(L, -2, "__call");
    lua_newtable(L);
    bind_rows(L, bind_func_method_rows());
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    bind_rows(L, bind_func_transform_rows());
}
