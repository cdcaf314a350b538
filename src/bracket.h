/* bracket.h - the public interface of libbracket: open an environment, run Lua
 * in it, exchange tensors with it. Everything a host needs and nothing else.
 *
 * An environment is one Lua 5.4 state with the `bracket` module loaded, as global `bk` too. It
 * belongs to one thread at a time: no two threads may be in calls on it at once, bk_interrupt()
 * apart. Different environments share nothing and may run in different threads at once.
 *
 * Every failure is a status, explained by bk_error(); after any failure the environment can be
 * used on. A NULL environment or argument where one is needed is BK_EINVAL, never a crash. The
 * library never exits, aborts or prints, and leaves signal handlers, the locale and OpenBLAS's
 * number of threads as they are (scripts may print: that is theirs). A thread that calls it needs
 * 1 MiB of stack. */
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

/* All zero: no limits, one thread. */
typedef struct bk_options {
    size_t memory_limit;        /* bytes, Lua objects and tensors together; 0: none. Past it: BK_ENOMEM. */
    uint64_t step_limit;        /* Lua VM instructions per bk_dostring/bk_dofile, in coroutines too; 0: none.
                                   Past it: BK_ELIMIT, which nothing a script does holds off. Halves the speed of Lua;
                                   debug.sethook is an error. */
    int restricted;             /* nonzero: no io, os, package, debug, no bytecode, no __gc in Lua, require of what is
                                   loaded only, and no files outside `folders`. It limits accidents; it is no boundary
                                   against hostile code: the guide "restricted" says what is. */
    const char *const *folders; /* with restricted: a NULL-terminated list of folders whose files scripts may read
                                   and write; NULL: none. Copied. */
    int threads;                /* worker threads, the caller counted, 1..256; 0: one. Results do not depend on it. */
} bk_options;

/* A tensor seen from the host. `strides` count elements, not bytes. */
typedef struct bk_view {
    void *data;
    bk_dtype dtype;
    int ndim;
    int64_t shape[BK_MAX_DIMS];
    int64_t strides[BK_MAX_DIMS];
} bk_view;

/* A new environment, the caller's to close; NULL when memory or memory_limit does not suffice, the threads cannot be
 * had, or a limit on the address space has no room for OpenBLAS's buffers (132 MB a thread). options may be NULL for
 * all defaults, and is not needed afterwards. */
BK_API bk_env *bk_open(const bk_options *options);

/* Releases everything the environment holds; memory given to bk_set_tensor stays the host's. Not while a call on it is
 * under way, bk_interrupt() included. NULL is allowed. */
BK_API void bk_close(bk_env *env);

/* Runs a chunk of Lua source, without results: they are globals, and bk_get_tensor reads them. name appears in
 * messages; NULL takes the chunk itself. Bytecode is not accepted. BK_ERUNTIME for an error of the script or bad
 * syntax; BK_EINVAL, BK_EIO, BK_EUNSUPPORTED when the error that ended it was one the library raised with that
 * status; BK_ENOMEM, BK_ELIMIT, BK_EINTERRUPTED. */
BK_API bk_status bk_dostring(bk_env *env, const char *chunk, const char *name);

/* The same for a file, with argv[0..argc-1] as `arg[1]`... and `...`; path is `arg[0]`. argv may be NULL when argc is
 * 0. BK_EIO when the file cannot be read. A restricted environment runs it wherever it lies: the host chose it. */
BK_API bk_status bk_dofile(bk_env *env, const char *path, int argc, char **argv);

/* The last failure with its traceback; "" when the last call succeeded, and for NULL. The environment's: valid until
 * the next call on it. */
BK_API const char *bk_error(bk_env *env);

/* Sets a global to a tensor over the host's memory: row-major, not copied, never freed by the library. Writing there
 * between calls is seen by the script, and by functions it has compiled, in all that they compute from the tensor; but
 * a number that one of them read while it was traced (t:item()) stays. The memory must outlive every use the script
 * makes of it: until bk_close, or until the global and all views of it are gone and collected. ndim 0..8; shape may be
 * NULL when ndim is 0, and data when a size is 0. BK_EINVAL for a wrong dtype, shape or NULL, and for data that is not
 * aligned to an element's size; BK_ENOMEM. */
BK_API bk_status bk_set_tensor(bk_env *env, const char *global, bk_dtype dtype, int ndim, const int64_t *shape,
                               void *data);

/* Fills view with a global tensor's memory, to be read: it is the script's, may be shared with other tensors, and is
 * valid while the script keeps the tensor. BK_EINVAL, and a cleared view, when the global is not a tensor; BK_ENOMEM.
 */
BK_API bk_status bk_get_tensor(bk_env *env, const char *global, bk_view *view);

/* Asks the script that runs in bk_dostring or bk_dofile to stop: Lua code, coroutines and native kernels end within
 * some tens of milliseconds, with BK_EINTERRUPTED. Without a running script it has no effect, on the next one neither.
 * A script that catches the error gets 60 ms for its clean-up before the next one; the status tells all the same. A
 * training run ends after its step, so that it can go on: after five seconds at most, or when asked again 200 ms later.
 * Callable from any thread and from a signal handler, any number of times; the environment must stay open meanwhile.
 * The host's functions, and single calls of Lua's C library (string.rep, a costly pattern), run to their end first. */
BK_API void bk_interrupt(bk_env *env);

/* The environment's Lua state, for hosts that register their own functions; NULL for NULL. It is the environment's:
 * never lua_close it, and replace neither its allocator nor, while a script runs, its hook. What the host calls on it
 * directly is neither protected nor interruptible. */
BK_API lua_State *bk_lua(bk_env *env);

/* The module's loader for a Lua 5.4 state of the host's own: luaL_requiref(L, "bracket", luaopen_bracket, 0). Leaves
 * the module table on the stack. Raises a Lua error when memory is short. No limits and no bk_interrupt there. */
BK_API int luaopen_bracket(lua_State *L);

#ifdef __cplusplus
}
#endif
#endif
