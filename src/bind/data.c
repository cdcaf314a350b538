/* data.c - bk.data's file formats: idx, csv, npy, cifar. Named data sets and tasks are Lua. */
#include "../data/cifar.h"
#include "../data/csv.h"
#include "../data/idx.h"
#include "../data/npy.h"
#include "args.h"
#include "tensor_value.h"
#include <string.h>

static int read_idx(lua_State *L) {
    const char *path = args_path(L, 1, "bk.data.idx");
    err e = { 0 };
    lua_tensor *u = bind_tensor_push_empty(L);
    if (idx_read(bind_ctx(L), path, &u->value, &e)) return bind_raise(L, &e);
    bind_account(L, 0);
    return 1;
}

static int read_npy(lua_State *L) {
    const char *path = args_path(L, 1, "bk.data.npy");
    err e = { 0 };
    lua_tensor *u = bind_tensor_push_empty(L);
    if (npy_read(bind_ctx(L), path, &u->value, &e)) return bind_raise(L, &e);
    bind_account(L, 0);
    return 1;
}

static int read_csv(lua_State *L) {
    static const char *const known[] = { "separator", "skip", NULL };
    const char *fname = "bk.data.csv", *path = args_path(L, 1, fname);
    int table = args_options(L, 2, fname, known, false);
    const char *separator = args_opt_string(L, table, fname, "separator", ",");
    if (strlen(separator) != 1) return args_error(L, fname, "separator: expected one character, got \"%s\"", separator);
    csv_options o = { separator[0], args_opt_integer(L, table, fname, "skip", 0, INT64_MAX, 0) };
    err e = { 0 };
    lua_tensor *u = bind_tensor_push_empty(L);
    if (csv_read(bind_ctx(L), path, &o, &u->value, &e)) return bind_raise(L, &e);
    bind_account(L, 0);
    return 1;
}

static int read_cifar(lua_State *L) {
    static const char *const known[] = { "classes", NULL };
    const char *fname = "bk.data.cifar", *path = args_path(L, 1, fname);
    int classes = (int)args_opt_integer(L, args_options(L, 2, fname, known, false), fname, "classes", 10, 100, 10);
    if (classes != 10 && classes != 100) return args_error(L, fname, "classes: expected 10 or 100, got %d", classes);
    err e = { 0 };
    lua_tensor *images = bind_tensor_push_empty(L), *labels = bind_tensor_push_empty(L),
               *coarse = bind_tensor_push_empty(L);
    if (cifar_read(bind_ctx(L), path, classes, &images->value, &labels->value, classes == 100 ? &coarse->value : NULL,
                   &e))
        return bind_raise(L, &e);
    bind_account(L, 0);
    if (classes == 100) return 3;
    lua_pop(L, 1);
    return 2;
}

void bind_data(lua_State *L) {
    static const bind_row rows[] = {
        { "idx", read_idx,
          "bk.data.idx(path)\nThe tensor in an IDX file (MNIST's format), plain or gzip; path.gz is "
          "read where path is missing. Bytes and integers become int64." },
        { "npy", read_npy, "bk.data.npy(path)\nThe tensor in a NumPy .npy file; as bk.load_npy." },
        { "csv", read_csv,
          "bk.data.csv(path [, {separator = \",\", skip = 0}])\nThe float64 table (rows, columns) in a "
          "text file, plain or gzip, after `skip` lines; separator \" \" is any run of blanks. Errors "
          "name line and column." },
        { "cifar", read_cifar,
          "bk.data.cifar(path [, {classes = 10 | 100}]) -> images, labels [, coarse labels]\nOne "
          "binary batch of CIFAR-10 or CIFAR-100, plain or gzip: float32 images (n,3,32,32) of "
          "0..255, int64 labels (n); CIFAR-100 also has its 20 superclasses." },
        { NULL, NULL, NULL },
    };
    lua_pushstring(L, "data");
    if (lua_rawget(L, -2) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushstring(L, "data");
        lua_pushvalue(L, -2);
        lua_rawset(L, -4);
    }
    bind_rows(L, rows);
    lua_pop(L, 1);
}
