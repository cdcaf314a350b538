/* nn_lua.h - what nn.c, own_layer.c and loss.c share: models as Lua values, and the mode they are told. */
#ifndef BIND_NN_LUA_H
#define BIND_NN_LUA_H

#include "../model/loss.h"
#include "func_value.h"

enum { WAYS = 16 }; /* of a model_with */

typedef struct lua_model {
    model *m;
    func *forward[WAYS], *accuracy[WAYS]; /* made when they are asked for */
} lua_model;

lua_model *bind_check_model(lua_State *L, int index, const char *fname, const char *argument);
/* The options { train, seed, buffers } at index, if any, for m: says which are given, and pushes seed and buffers. */
model_with bind_push_with(lua_State *L, const model *m, int index, const char *fname);

/* ---- own_layer.c ---- */
#define BIND_LAYER "bracket.layer"
layer *bind_push_layer(lua_State *L); /* a new one, empty */
int bind_own_layer(lua_State *L); /* bk.nn.layer{...} */
extern const bind_option bind_own_layer_options[];
/* Into the list on top, which has n entries: the function of a layer made of one, and how its parameters start. */
void bind_own_layer_parts(lua_State *L, const layer *l, lua_Integer n);

/* ---- torch.c ---- */
/* The options torch and turned of a block's table: a name, or up to two parts. */
void bind_check_torch(lua_State *L, int table, const char *fname, model_block *b, char (*names)[TORCH_NAME]);
/* Into the table on top: turned, and torch as a list of { name, first, rows } from 1. */
void bind_set_torch(lua_State *L, const model_block *b);

#endif
