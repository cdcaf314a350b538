/* env.c - open, close, run, exchange: the public header's functions. What stops a run is interrupt.c's; what a script
 * may touch, restrict.c's. */
#include "../base/path.h"
#include "../tensor/gemm.h"
#include "args.h"
#include "env_state.h"

#include <string.h>

/* ---- open and close ---- */

typedef struct open_args {
    bk_env *env;
    bool no_environment;
} open_args;

static int open_libraries(lua_State *L) {
    const open_args *a = lua_touserdata(L, 1);
    if (a->no_environment) {
        lua_pushboolean(L, 1);
        lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
    }
    if (a->env->restricted)
        env_open_restricted(L);
    else
        luaL_openlibs(L);
    env_open_protected(L);
    luaL_requiref(L, "bracket", luaopen_bracket, 0);
    lua_setglobal(L, "bk");
    return 0;
}

bk_env *env_open(const bk_options *options, bool no_environment, err *e) {
    static const bk_options defaults = { 0 };
    const bk_options *o = options ? options : &defaults;
    ctx *c = ctx_new(1);
    if (c && ((o->threads != 0 && ctx_set_threads(c, o->threads, e)) || gemm_room(ctx_threads(c), e))) {
        ctx_release(c);
        return NULL;
    }
    if (c) c->limit = o->memory_limit;
    bk_env *env = c ? mem_zalloc(c, sizeof *env) : NULL;
    if (!env) {
        ctx_release(c);
        err_nomem(e, sizeof *env);
        return NULL;
    }
    env->c = c;
    env->restricted = o->restricted != 0;
    env->L = lua_newstate(env_alloc, env);
    open_args args = { env, no_environment };
    if (!env->L || !env_learn_record_size(env) || (env->restricted && path_confine(c, o->folders, e))) goto fail;
    lua_pushcfunction(env->L, open_libraries);
    lua_pushlightuserdata(env->L, &args);
    const bk_status opened = env_call(env, 1, 0);
    const char *why = bk_error(env);
    if (opened != BK_OK && opened != BK_ENOMEM) err_set(e, opened, "%.*s", (int)strcspn(why, "\n"), why);
    if (opened != BK_OK) goto fail;
    env_set_step_limit(env, o->step_limit); /* from here on: the library's own start does not count */
    return env;
fail:
    bk_close(env);
    err_set(e, BK_ENOMEM, "out of memory");
    return NULL;
}

BK_API bk_env *bk_open(const bk_options *options) {
    return env_open(options, false, NULL);
}

BK_API void bk_close(bk_env *env) {
    if (!env) return;
    if (env->L) {
        env_run_finalizers(env);
        ctx_shut(env->c);
        lua_close(env->L);
    }
    mem_free(env->c, env->error, env->error_bytes);
    ctx *c = env->c;
    mem_free(c, env, sizeof *env);
    path_release(c);
    ctx_release(c);
}

BK_API lua_State *bk_lua(bk_env *env) {
    return env ? env->L : NULL;
}

/* ---- run ---- */

typedef struct run_args {
    bk_env *env;
    const char *text, *name; /* a chunk ... */
    const char *path;        /* ... or a file */
    int argc;
    char **argv;
} run_args;

static int run_protected(lua_State *L) {
    const run_args *a = lua_touserdata(L, 1);
    int rc;
    luaL_checkstack(L, a->argc + 10, "too many arguments");
    if (a->path) {
        lua_createtable(L, a->argc, 1);
        lua_pushstring(L, a->path);
        lua_rawseti(L, -2, 0);
        for (int i = 0; i < a->argc; i++) {
            lua_pushstring(L, a->argv[i]);
            lua_rawseti(L, -2, i + 1);
        }
        lua_setglobal(L, "arg");
        rc = luaL_loadfilex(L, a->path, a->env->restricted ? "t" : NULL);
    } else {
        const char *name = a->name ? a->name : a->text;
        if (a->name && a->name[0] != '@' && a->name[0] != '=') name = lua_pushfstring(L, "=%s", a->name);
        rc = luaL_loadbufferx(L, a->text, strlen(a->text), name, "t");
    }
    if (rc == LUA_ERRFILE) {
        err e = { 0 };
        err_set(&e, BK_EIO, "%s", lua_tostring(L, -1));
        env_raised(a->env, &e);
    }
    if (rc != LUA_OK) return lua_error(L);
    for (int i = 0; i < a->argc; i++) lua_pushstring(L, a->argv[i]);
    lua_call(L, a->argc, 0);
    return 0;
}

static bk_status call_with(bk_env *env, lua_CFunction fn, void *args) {
    env->error_short[0] = 0;
    if (env->error) env->error[0] = 0;
    if (!lua_checkstack(env->L, 4)) return env_fail(env, BK_ENOMEM, "out of memory: the Lua stack is full");
    lua_pushcfunction(env->L, fn);
    lua_pushlightuserdata(env->L, args);
    bk_status status = env_call(env, 1, 0);
    if (status == BK_OK && env->interrupted) /* the script caught it and came to its end in time */
        return env_fail(env, BK_EINTERRUPTED, "interrupted");
    return status;
}

BK_API bk_status bk_dostring(bk_env *env, const char *chunk, const char *name) {
    if (!env) return BK_EINVAL;
    if (!chunk) return env_fail(env, BK_EINVAL, "bk_dostring: chunk: expected a text, got NULL");
    run_args a = { .env = env, .text = chunk, .name = name };
    return call_with(env, run_protected, &a);
}

BK_API bk_status bk_dofile(bk_env *env, const char *path, int argc, char **argv) {
    if (!env) return BK_EINVAL;
    if (!path) return env_fail(env, BK_EINVAL, "bk_dofile: path: expected a text, got NULL");
    if (argc < 0 || (argc > 0 && !argv))
        return env_fail(env, BK_EINVAL, "bk_dofile: argv: expected argc texts, got NULL or a negative argc");
    run_args a = { .env = env, .path = path, .argc = argc, .argv = argv };
    return call_with(env, run_protected, &a);
}

/* ---- exchange ---- */

typedef struct exchange_args {
    bk_env *env;
    const char *global;
    bk_dtype dtype;
    int ndim;
    const int64_t *shape;
    void *data;
    bk_view *view;
} exchange_args;

static int set_protected(lua_State *L) {
    const exchange_args *a = lua_touserdata(L, 1);
    tensor t;
    err e = { 0 };
    if (tensor_borrow(a->env->c, a->dtype, a->ndim, a->shape, a->data, &t, &e)) {
        err_prefix(&e, "bk_set_tensor");
        return bind_raise(L, &e);
    }
    bind_push_tensor(L, &t);
    lua_setglobal(L, a->global);
    return 0;
}

BK_API bk_status bk_set_tensor(bk_env *env, const char *global, bk_dtype dtype, int ndim, const int64_t *shape,
                               void *data) {
    if (!env) return BK_EINVAL;
    if (!global) return env_fail(env, BK_EINVAL, "bk_set_tensor: global: expected a name, got NULL");
    err e = { 0 };
    if (!*global) err_set(&e, BK_EINVAL, "bk_set_tensor: global: expected a name, got an empty text");
    else if ((int)dtype < BK_FLOAT64 || dtype > BK_INT64)
        err_set(&e, BK_EINVAL, "bk_set_tensor: dtype: expected BK_FLOAT64, BK_FLOAT32 or BK_INT64, got %d", (int)dtype);
    else if (ndim < 0 || ndim > BK_MAX_DIMS)
        err_set(&e, BK_EINVAL, "bk_set_tensor: ndim: expected 0..%d, got %d", BK_MAX_DIMS, ndim);
    else if (ndim > 0 && !shape)
        err_set(&e, BK_EINVAL, "bk_set_tensor: shape: expected %d sizes, got NULL", ndim);
    if (e.status) return env_fail(env, e.status, e.text);
    if (!data && shape_count(ndim, shape) != 0)
        return env_fail(env, BK_EINVAL, "bk_set_tensor: data: expected memory for the elements, got NULL");
    if ((uintptr_t)data % dtype_size(dtype))
        return env_fail(env, BK_EINVAL, "bk_set_tensor: data: expected memory aligned to an element's size");
    exchange_args a = { env, global, dtype, ndim, shape, data, NULL };
    return call_with(env, set_protected, &a);
}

static int get_protected(lua_State *L) {
    const exchange_args *a = lua_touserdata(L, 1);
    lua_getglobal(L, a->global);
    const tensor *t = bind_test_tensor(L, -1);
    if (!t) {
        err e = { 0 };
        err_set(&e, BK_EINVAL, "bk_get_tensor: global %s: expected a tensor, got %s", a->global, args_got(L, -1));
        return bind_raise(L, &e);
    }
    bk_view *v = a->view;
    v->data = tensor_data(t);
    v->dtype = t->dtype;
    v->ndim = t->ndim;
    memcpy(v->shape, t->shape, sizeof v->shape);
    memcpy(v->strides, t->strides, sizeof v->strides);
    return 0;
}

BK_API bk_status bk_get_tensor(bk_env *env, const char *global, bk_view *view) {
    if (!env) return BK_EINVAL;
    if (!global || !view) return env_fail(env, BK_EINVAL, "bk_get_tensor: expected a name and a view, got NULL");
    memset(view, 0, sizeof *view);
    exchange_args a = { .env = env, .global = global, .view = view };
    return call_with(env, get_protected, &a);
}
