/* bracket.h - the public interface of libbracket: open an environment, run Lua
 * in it, exchange tensors with it. Everything a host needs and nothing else.
 *
 * An environment is one Lua 5.4 state with the `bracket` module loaded. It
 * belongs to one thread at a time; different environments may run in different
 * threads at once. The library never exits, aborts, prints or installs a signal
 * handler on its own: every failure is a status, explained by bk_error(). */
#ifndef BRACKET_H
#define BRACKET_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BK_VERSION "0.1.0"
#define BK_MAX_DIMS 8

#if defined(__GNUC__)
#define BK_API __attribute__((visibility("default")))
#else
#define BK_API
#endif

typedef struct bk_env bk_env;
typedef struct lua_State lua_State;

typedef enum bk_status {
    BK_OK = 0,
    BK_EINVAL,       /* an argument is wrong: type, shape, range, name */
    BK_ENOMEM,       /* out of memory, or past the environment's memory limit */
    BK_EIO,          /* a file could not be read or written, or is malformed */
    BK_EINTERRUPTED, /* bk_interrupt() */
    BK_ELIMIT,       /* the environment's step limit was reached */
    BK_ERUNTIME,     /* an error raised by the script */
    BK_EUNSUPPORTED  /* no derivative rule, or a feature this build lacks */
} bk_status;

typedef enum bk_dtype { BK_FLOAT64 = 0, BK_FLOAT32 = 1, BK_INT64 = 2 } bk_dtype;

typedef struct bk_options {
    size_t memory_limit;        /* bytes, Lua objects and tensors together; 0: none */
    uint64_t step_limit;        /* Lua VM instructions per bk_dostring/bk_dofile; 0: none */
    int restricted;             /* no io, os, package, debug, bytecode, or files outside `folders`.
                                   It limits accidents; it is no boundary against hostile code. */
    const char *const *folders; /* NULL-terminated list for restricted mode; NULL: none */
    int threads;                /* worker threads; 0: one */
} bk_options;

/* A tensor seen from the host. `strides` count elements, not bytes. */
typedef struct bk_view {
    void *data;
    bk_dtype dtype;
    int ndim;
    int64_t shape[BK_MAX_DIMS];
    int64_t strides[BK_MAX_DIMS];
} bk_view;

/* A new environment, or NULL when memory is short. options may be NULL. */
BK_API bk_env *bk_open(const bk_options *options);

/* Releases everything the environment holds. Memory given to bk_set_tensor stays the host's.
 * NULL is allowed. */
BK_API void bk_close(bk_env *env);

/* Runs a chunk of Lua source, or a file with the arguments argv[0..argc-1] in `arg` and `...`.
 * name appears in messages; NULL takes the chunk itself. */
BK_API bk_status bk_dostring(bk_env *env, const char *chunk, const char *name);
BK_API bk_status bk_dofile(bk_env *env, const char *path, int argc, char **argv);

/* The last failure with its traceback, "" when there was none. Valid until the next call. */
BK_API const char *bk_error(bk_env *env);

/* Sets a global to a tensor over the host's memory: row-major, not copied, never freed by the
 * library. The memory must outlive every use the script makes of it: until bk_close, or until
 * the global and all views of it are gone and collected. ndim 0..8. */
BK_API bk_status bk_set_tensor(bk_env *env, const char *global, bk_dtype dtype, int ndim, const int64_t *shape,
                               void *data);

/* Fills view with a global tensor's memory; valid while the script keeps the tensor. */
BK_API bk_status bk_get_tensor(bk_env *env, const char *global, bk_view *view);

/* Asks the running script or native kernel to stop; it ends with BK_EINTERRUPTED. Callable from any
 * thread and from a signal handler. Without a running script the next one is not affected. */
BK_API void bk_interrupt(bk_env *env);

/* The environment's Lua state, for hosts that register their own functions. */
BK_API lua_State *bk_lua(bk_env *env);

/* The module's loader for a Lua state of the host's own: luaL_requiref(L, "bracket", luaopen_bracket, 0). */
BK_API int luaopen_bracket(lua_State *L);

#ifdef __cplusplus
}
#endif
#endif
