/* env_test.c - the environment under pressure: open and close, limits, restricted mode, interrupts, and what the
 * library leaves alone. Failing allocations are alloc_test's. */
#include "src/bind/env.h"
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int passed, failed;

static void check(bool ok, const char *what, const char *detail) {
    if (ok) passed++;
    else {
        failed++;
        printf("FAILED: %s: %s\n", what, detail);
    }
}

/* ---- open and close ---- */

static size_t resident(void) {
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f) return 0;
    if (fscanf(f, "%*d %ld", &pages) != 1) pages = 0;
    fclose(f);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void test_open_close(int cycles) {
    char text[100];
    size_t before = 0;
    for (int i = 0; i < cycles; i++) {
        if (i == cycles / 10) before = resident();
        bk_env *env = bk_open(NULL);
        if (!env) {
            check(false, "bk_open", "NULL");
            return;
        }
        if (i % 100 == 0 && bk_dostring(env, "t = bk.ones{100} t = (t * t):sum()", NULL)) check(false, "use", bk_error(env));
        bk_close(env);
    }
    malloc_trim(0);
    size_t after = resident();
    snprintf(text, sizeof text, "%zu to %zu bytes", before, after);
#ifdef __SANITIZE_ADDRESS__
    before = after; /* it keeps freed memory aside; its own leak check stands in */
#endif
    check(after < before + (2u << 20), "memory is flat over open and close", text);
}

/* ---- limits ---- */

static void test_open_failing(void) { /* through the limit: the context is not there before bk_open */
    bool bad = false, opened = false;
    for (size_t limit = 100; limit < (16u << 20) && !bad && !opened; limit += limit / 50 + 64) {
        bk_env *env = bk_open(&(bk_options){ .memory_limit = limit });
        opened = env != NULL;
        bk_close(env);
    }
    check(opened, "bk_open under a memory limit gives NULL until it suffices", "it never did");
}

static void test_limits(void) {
    bk_env *env = bk_open(&(bk_options){ .memory_limit = 32u << 20 });
    bk_status s = bk_dostring(env, "local t = {} for i = 1, 1e9 do t[i] = {i} end", NULL);
    check(s == BK_ENOMEM, "Lua objects meet the memory limit", bk_error(env));
    s = bk_dostring(env, "local t = bk.zeros{3000, 3000}", NULL);
    check(s == BK_ENOMEM, "tensors meet the memory limit", bk_error(env));
    check(bk_dostring(env, "assert(bk.ones{4}:sum():item() == 4)", NULL) == BK_OK, "the environment works on", bk_error(env));
    bk_close(env);

    env = bk_open(&(bk_options){ .step_limit = 1000000 });
    check(bk_dostring(env, "for i = 1, 1000 do end", NULL) == BK_OK, "a short script is under the step limit", bk_error(env));
    check(bk_dostring(env, "while true do end", NULL) == BK_ELIMIT, "the step limit ends a loop", bk_error(env));
    check(bk_dostring(env, "while true do pcall(function() while true do end end) end", NULL) == BK_ELIMIT,
          "pcall does not hold it off", bk_error(env));
    check(bk_dostring(env, "coroutine.wrap(function() while true do end end)()", NULL) == BK_ELIMIT,
          "nor a coroutine", bk_error(env));
    check(bk_dostring(env, "for i = 1, 1000 do end", NULL) == BK_OK, "the next run counts from 0", bk_error(env));
    bk_close(env);
}

/* ---- restricted mode ---- */

static void test_restricted(void) {
    char dir[] = "/tmp/bracket-test-XXXXXX", chunk[400];
    if (!mkdtemp(dir)) return;
    const char *folders[] = { dir, NULL };
    bk_env *env = bk_open(&(bk_options){ .restricted = 1, .folders = folders });
    check(env != NULL, "bk_open restricted", "NULL");
    bk_status s = bk_dostring(env, "assert(not io and not os and not package and not debug) assert(require 'bracket' == bk)", NULL);
    check(s == BK_OK, "no io, os, package, debug", bk_error(env));
    s = bk_dostring(env, "assert(not string.dump) assert(not load('\\27Lua', 'x', 'b'))", NULL);
    check(s == BK_OK, "no bytecode", bk_error(env));
    s = bk_dostring(env, "require 'socket'", NULL);
    check(s == BK_ERUNTIME && strstr(bk_error(env), "restricted"), "require names the restriction", bk_error(env));
    snprintf(chunk, sizeof chunk, "bk.ones{3}:save('%s/a.npy') assert(bk.load_npy('%s/a.npy'):sum():item() == 3)", dir, dir);
    check(bk_dostring(env, chunk, NULL) == BK_OK, "files in a given folder may be used", bk_error(env));
    snprintf(chunk, sizeof chunk, "bk.ones{3}:save('%s/../bracket-outside.npy')", dir);
    check(bk_dostring(env, chunk, NULL) != BK_OK && strstr(bk_error(env), "restricted"), "writing outside is refused", bk_error(env));
    check(bk_dostring(env, "bk.load_npy('/etc/passwd')", NULL) != BK_OK && strstr(bk_error(env), "restricted"),
          "reading outside is refused", bk_error(env));
    check(bk_dostring(env, "bk.data.idx('/etc/passwd')", NULL) != BK_OK && strstr(bk_error(env), "restricted"),
          "by the data readers too", bk_error(env));
    check(bk_dostring(env, "bk.data.csv('/etc/passwd')", NULL) != BK_OK && strstr(bk_error(env), "restricted"),
          "by the csv reader too", bk_error(env));
    check(bk_dostring(env, "bk.data.mnist('/etc')", NULL) != BK_OK && strstr(bk_error(env), "restricted"),
          "by bk.data.mnist too", bk_error(env));
    check(bk_dostring(env, "bk.plot{ { y = { 1, 2 } } }", NULL) != BK_OK && strstr(bk_error(env), "plot: needs io and os"),
          "a plot says what it needs", bk_error(env));
    s = bk_dostring(env, "local d = bk.data.glyphs{ n = 20, size = 8 } bk.protocol{ model = bk.nn.mlp{ 64, 3, 10 }, lr = 0.1,"
                         "tasks = bk.tasks.permuted{ data = d, n = 2 }, steps = 3, batch = 5 }:run{ progress = true }", NULL);
    check(s == BK_OK, "a protocol runs", bk_error(env));
    bk_close(env);
    snprintf(chunk, sizeof chunk, "%s/a.npy", dir);
    unlink(chunk);
    rmdir(dir);
}

/* ---- interrupts ---- */

static void *interrupt_soon(void *env) {
    usleep(30000);
    bk_interrupt(env);
    return NULL;
}

static void test_interrupt(const char *chunk) {
    bk_env *env = bk_open(NULL);
    pthread_t thread;
    bk_interrupt(env); /* without a running script: no effect */
    check(bk_dostring(env, "x = 1", NULL) == BK_OK, "an interrupt before a script is forgotten", bk_error(env));
    pthread_create(&thread, NULL, interrupt_soon, env);
    bk_status s = bk_dostring(env, chunk, NULL);
    pthread_join(thread, NULL);
    check(s == BK_EINTERRUPTED, chunk, bk_error(env));
    check(bk_dostring(env, "assert(x == 1 and bk.ones{3}:sum():item() == 3)", NULL) == BK_OK, "the environment works on", bk_error(env));
    bk_close(env);
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0); /* a crash still shows what came before it */
    test_open_close(argc > 1 ? atoi(argv[1]) : 10000);
    test_open_failing();
    test_limits();
    test_restricted();
    test_interrupt("while true do end");
    test_interrupt("coroutine.wrap(function() while true do end end)()");
    test_interrupt("while true do pcall(function() while true do end end) end");
    test_interrupt("local a = bk.ones{2000, 2000} while true do local b = a:matmul(a) end");
    bk_env *env = bk_open(NULL);
    check(bk_dostring(env, "bk.ones{2, 3}:matmul(bk.ones{4, 2})", NULL) == BK_EINVAL, "a binding's status comes out", bk_error(env));
    check(bk_dofile(env, "/nonexistent/file.lua", 0, NULL) == BK_EIO, "a missing file is BK_EIO", bk_error(env));
    check(bk_dostring(env, NULL, NULL) == BK_EINVAL && bk_dostring(env, "x = ", NULL) == BK_ERUNTIME, "NULL and bad syntax", "");
    check(lua_gettop(bk_lua(env)) == 0, "nothing is left on the stack", "");
    bk_close(env);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
