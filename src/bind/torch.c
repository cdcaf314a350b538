/* torch.c - where PyTorch's state_dict has a parameter: as an own layer declares it, and as model.layers shows it. */
#include "args.h"
#include "nn_lua.h"
#include <string.h>

/* The table on top: { name [, first = 1, rows = all, of = first + rows - 1] }, a part of b in PyTorch's state_dict. */
static void check_torch_part(lua_State *L, const char *fname, const model_block *b, torch_part *to, char *name) {
    static const char *const known[] = { "first", "rows", "of", NULL };
    int table = args_options(L, lua_gettop(L), fname, known, true);
    const int64_t rows = b->ndim ? b->shape[0] : 1;
    const char *given = table && lua_rawgeti(L, table, 1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    if (!*given || strlen(given) >= TORCH_NAME)
        args_error(L, fname, "params: torch: expected tables { name [, first, rows, of] }, names of 1 to %d characters",
                   TORCH_NAME - 1);
    strcpy(name, given);
    to->name = name;
    to->first = args_opt_integer(L, table, fname, "first", 1, (int64_t)1 << 40, 1) - 1;
    to->rows = args_opt_integer(L, table, fname, "rows", 1, rows, rows);
    to->of = args_opt_integer(L, table, fname, "of", to->first + to->rows, (int64_t)1 << 41, to->first + to->rows);
}

void bind_check_torch(lua_State *L, int table, const char *fname, model_block *b, char (*names)[TORCH_NAME]) {
    b->turned = args_opt_boolean(L, table, fname, "turned", false);
    if (b->turned && b->ndim != 2) args_error(L, fname, "params: turned: expected 2 sizes, got %d", b->ndim);
    if (!args_field(L, table, "torch")) return;
    int top = lua_gettop(L), n = lua_istable(L, top) ? (int)lua_rawlen(L, top) : 0;
    if (n > TORCH_PARTS) args_error(L, fname, "params: torch: expected at most %d parts, got %d", TORCH_PARTS, n);
    if (!n) { /* a name alone */
        lua_createtable(L, 1, 0);
        lua_pushvalue(L, top);
        lua_rawseti(L, -2, 1);
        check_torch_part(L, fname, b, &b->torch[0], names[0]);
    }
    for (int i = 0; i < n; i++) {
        lua_rawgeti(L, top, i + 1);
        check_torch_part(L, fname, b, &b->torch[i], names[i]);
    }
    lua_settop(L, top - 1);
}

void bind_set_torch(lua_State *L, const model_block *b) {
    lua_pushboolean(L, b->turned);
    lua_setfield(L, -2, "turned");
    lua_createtable(L, 1, 0);
    for (int i = 0; i < TORCH_PARTS && b->torch[i].name; i++) {
        lua_createtable(L, 0, 4);
        lua_pushstring(L, b->torch[i].name);
        lua_setfield(L, -2, "name");
        lua_pushinteger(L, b->torch[i].first + 1);
        lua_setfield(L, -2, "first");
        lua_pushinteger(L, b->torch[i].rows);
        lua_setfield(L, -2, "rows");
        lua_pushinteger(L, b->torch[i].of);
        lua_setfield(L, -2, "of");
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "torch");
}
