/* args.h - arguments and option tables of functions called from Lua. Every failure is a Lua error that names the
 * function, the argument, what was expected and what came: `bk.rng: seed: expected an integer, got "x"`.
 * `fname` is the name users know ("bk.tensor", "tensor:sum"). Option tables: `table` is a stack index, 0 for none;
 * an absent option gives the default. */
#ifndef BIND_ARGS_H
#define BIND_ARGS_H

#include "../base/option.h"
#include "bind.h"

/* What the value at index is, for messages: `3`, `"f16"`, `tensor float64 (2,3)`, `nil`. Pushes the text. */
const char *args_got(lua_State *L, int index);
/* Raises `fname: argument: expected EXPECTED, got ...`. Never returns. */
int args_fail(lua_State *L, int index, const char *fname, const char *argument, const char *expected);
/* Raises `fname: ` and the formatted text (lua_pushfstring's formats). Never returns. */
int args_error(lua_State *L, const char *fname, const char *format, ...);

/* Of n arguments, the object before a colon one of them: raises for what comes after the last that is taken and would
 * be passed over in silence. Behind the only argument, a tensor, the further results of a call may: bk.exp(svd(a)). */
void args_end(lua_State *L, int last, int n, bool object, const char *fname);
/* The same where the only argument is a table of options: what comes without its braces is told of them. */
void args_only_options(lua_State *L, int n, const char *fname);

/* Positional arguments. */
double args_number(lua_State *L, int index, const char *fname, const char *argument);
int64_t args_integer(lua_State *L, int index, const char *fname, const char *argument, int64_t low, int64_t high);
const char *args_string(lua_State *L, int index, const char *fname, const char *argument);
/* The name of a file or folder that this environment may touch. */
const char *args_path(lua_State *L, int index, const char *fname);
void args_table(lua_State *L, int index, const char *fname, const char *argument);
bk_dtype args_dtype(lua_State *L, int index, const char *fname, const char *argument);
/* Pushes a key of the list at index that is none of 1..n: a number, with `names` anything. False: there is none. */
bool args_stray(lua_State *L, int index, int64_t n, bool names);
/* The length of the list at index: raises for what would be passed over in silence, entries behind a gap and, unless
 * the caller has read them, fields beside the entries. */
int64_t args_list(lua_State *L, int index, const char *fname, const char *argument, bool fields);
/* A table of sizes {2, 3} (or one integer): fills shape, returns ndim. Sizes are >= low; fields as in args_list. */
int args_shape(lua_State *L, int index, const char *fname, const char *argument, int64_t low, bool fields,
               int64_t *shape);
/* A dimension 1..ndim (negative: from the end) as an axis from 0. */
int args_dim(lua_State *L, int index, const char *fname, const char *argument, int ndim);

/* Checks that index holds a table or nil/none (then returns 0, else the absolute index) and that every string key
 * is among known (NULL-ended). Integer keys are allowed when list is true. */
int args_options(lua_State *L, int index, const char *fname, const char *const *known, bool list);
/* The same of a function that declares its options in its row. */
int args_declared(lua_State *L, int index, const char *fname, const bind_option *options, bool list);
/* hint(name, names) -> " (did you mean NAME?)", or "" where none is near: what messages about names end with. */
int args_hint(lua_State *L);
/* Pushes that of the words that stand in quotes in `expected`. */
const char *args_quoted_hint(lua_State *L, const char *name, const char *expected);
/* The metatable on top, of a `what`: setting a field is an error. */
void args_fixed(lua_State *L, const char *what);
/* Raises `CLASS: WHAT "key" (did you mean ...?)` for the key at index 2, which the table of methods does not have. */
int args_no_field(lua_State *L, const char *class, const char *what, int methods);
/* Pushes table[name] and returns true; or pushes nothing and returns false when there is none. */
bool args_field(lua_State *L, int table, const char *name);
bool args_opt_boolean(lua_State *L, int table, const char *fname, const char *name, bool otherwise);
double args_opt_number(lua_State *L, int table, const char *fname, const char *name, double otherwise);
int64_t args_opt_integer(lua_State *L, int table, const char *fname, const char *name, int64_t low, int64_t high,
                         int64_t otherwise);
/* The string stays valid while the table keeps it. */
const char *args_opt_string(lua_State *L, int table, const char *fname, const char *name, const char *otherwise);
/* The place of the option's string in choices (NULL-ended). */
int args_opt_choice(lua_State *L, int table, const char *fname, const char *name, const char *const *choices,
                    int otherwise);
/* The values of a row's options, from the table at stack index `index` (nil: all defaults) or its list part. */
void args_read(lua_State *L, int index, const char *fname, const option *rows, double *values);
/* Records doc, and the rows as its options, for the value at index; an error where one of them contradicts itself. */
void args_doc(lua_State *L, int index, const char *doc, const option *rows);
bk_dtype args_opt_dtype(lua_State *L, int table, const char *fname, bk_dtype otherwise); /* option "dtype" */
/* The dtype of a tensor that is made, float64 unless told: in the table of its sizes, or in that of options. */
bk_dtype args_dtype_once(lua_State *L, const char *fname, int inside, int options);

#endif
