/* bind.h - the rooms of the binding: each bind_NAME fills part of the module table `bk`,
 * which it finds on top of the stack and leaves there. All of them include lua.h; nothing
 * below src/bind/ does. */
#ifndef BIND_BIND_H
#define BIND_BIND_H

#include "../base/ctx.h"
#include "../tensor/tensor.h"
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>

/* An option of a public function, in words. */
typedef struct bind_option {
    const char *name;      /* NULL ends the list */
    const char *wanted;    /* "a finite number > 0" */
    const char *otherwise; /* the default; NULL: none */
    const char *doc;
    bool required, by_place;
} bind_option;

/* A public function: its docstring stands in the row. The doc's first line is the signature. */
typedef struct bind_row {
    const char *name;
    lua_CFunction fn;
    const char *doc;
    const bind_option *options; /* NULL: none */
} bind_row;

/* Sets rows (ended by a NULL name) into the table on top and records their docs: registry table
 * BIND_DOCS maps a function, table or path string ("bk.optim.sgd") to its text. */
#define BIND_DOCS "bracket.docs"
void bind_rows(lua_State *L, const bind_row *rows);
/* public(f, text) -> a function of Lua as rows have theirs of C: with the doc, and as many arguments as it says */
int bind_public(lua_State *L);
void bind_doc(lua_State *L, int index, const char *doc); /* records a doc for the value at index */

/* Tables with weak keys, since what is said of a value ends with it: its text; its options, a list of
 * { name, wanted, default, required, doc }. */
void bind_push_docs(lua_State *L);
void bind_push_options(lua_State *L);
/* Records an option of the value at index, after those it has. */
void bind_doc_option(lua_State *L, int index, const bind_option *o);
/* Raises "layer_row layer_NAME: FIELD" where a row of the program's is not what its kind has to be. */
void bind_row_check(lua_State *L, bool is, const char *kind, const char *name, const char *field);
/* The same where .name is not that of the row, or of another thing in the table at index. */
void bind_row_name(lua_State *L, int index, const char *kind, const char *name, const char *said);

void bind_open_ctx(lua_State *L);           /* makes it, in a state that has none */
ctx *bind_ctx(lua_State *L);                /* the state's context */
/* Raise an error with the position and the status, which a host is told; they never return: e; the text on top of the
 * stack; one there that begins with its position; "PATH: cannot be written: why", of which what is the middle and why
 * an errno. */
int bind_raise(lua_State *L, const err *e);
int bind_raise_text(lua_State *L, bk_status status);
int bind_raise_placed(lua_State *L, bk_status status);
int bind_raise_file(lua_State *L, const char *path, const char *what, int why);
/* Pushes "FILE:LINE: " of the nearest caller that is neither C nor the library's own Lua, or is a file of that while it
 * loads; where there is none, of the one at this level, "" at 0 in a C function, and at -1. */
void bind_where(lua_State *L, int otherwise);
void bind_where_stopped(lua_State *L, int otherwise); /* the same where nothing is wrong: no file that loads is named */
/* Of the path "ROOM/NAME.lua" on top a function that calls (chunk, bk), for bind_where to know that the file loads. */
void bind_push_loader(lua_State *L);
bool bind_own_frame(const lua_Debug *d); /* of C, or of the library's own Lua; d has "S" */

/* Sets the finalizer in the metatable on top, which getmetatable does not show but as a text: a script that called it
 * would free what is in use. */
void bind_finalizer(lua_State *L, lua_CFunction gc, const char *says);

/* Makes the table on top weak: "k", "v" or both. Pushes the registry's table of this name, made with weak keys where it
 * is missing. */
void bind_weak(lua_State *L, const char *mode);
void bind_push_weak(lua_State *L, const char *name);
/* Adds what is left of the file, for which the stack has to be as for luaL_addlstring. */
void bind_add_file(luaL_Buffer *b, FILE *f);

/* Pushes the number as Lua writes it, with as many digits as tell it from others: "nan" whatever its sign. */
const char *bind_push_number(lua_State *L, double x);

/* For loops over many elements i = 0, 1, ...: raises when an interrupt is pending, looking at every 65536th. */
void bind_poll_now(lua_State *L);
static inline void bind_poll(lua_State *L, int64_t i) {
    if ((i & 0xFFFF) == 0) bind_poll_now(L);
}

/* rooms */
void bind_tensor(lua_State *L);
void bind_func(lua_State *L);
void bind_nn(lua_State *L);
void bind_losses(lua_State *L);
void bind_bea(lua_State *L);
void bind_data(lua_State *L);
void bind_optim(lua_State *L);
void bind_files(lua_State *L);
void bind_files_internal(lua_State *L);     /* into the table bk.internal */
void bind_gather(lua_State *L);             /* likewise */
void bind_rng_internal(lua_State *L);       /* likewise */
void bind_lock_internal(lua_State *L);      /* likewise */
void bind_look_internal(lua_State *L);      /* likewise */
void bind_interrupt_internal(lua_State *L); /* likewise */
void bind_nn_internal(lua_State *L);        /* likewise */
void bind_func_internal(lua_State *L);      /* likewise */
void bind_optim_internal(lua_State *L);     /* likewise */
void bind_ranks_internal(lua_State *L);     /* likewise */

/* A tensor value in Lua: metatable BIND_TENSOR. Concrete, or a node of a graph being traced. */
#define BIND_TENSOR "bracket.tensor"
typedef struct graph graph;
typedef struct node node;
typedef struct lua_tensor {
    tensor value;   /* store != NULL: concrete */
    graph *g;       /* while tracing: the graph ... */
    node *n;        /* ... and the node */
    uint64_t trace; /* identity of the trace, so that a node kept past its trace is refused */
} lua_tensor;

/* Pushes a new userdata that owns t's reference (t is cleared). The userdata exists before t is taken,
 * so a memory error leaks nothing: on a Lua error t is still released. */
void bind_push_tensor(lua_State *L, tensor *t);
/* The concrete tensor at index (no reference taken), or a Lua error naming fname and argument. */
const tensor *bind_check_tensor(lua_State *L, int index, const char *fname, const char *argument);
const tensor *bind_test_tensor(lua_State *L, int index); /* likewise; NULL when it is not a concrete tensor */

#endif
