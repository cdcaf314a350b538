/* limits_test.c - what a host relies on: the step limit and an interrupt end every script, wherever Lua runs it, and
 * bk_close leaves nothing behind. A script that nothing ends uses up the program's processor time, which then ends. */
#include "check.h"
#include "src/bind/env.h"
#include "src/data/json_text.h"
#include "src/data/source.h"
#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#if defined __SANITIZE_THREAD__
enum { SANITIZED = 1, THREADS = 1 };
#elif defined __SANITIZE_ADDRESS__
enum { SANITIZED = 1, THREADS = 0 };
#else
enum { SANITIZED = 0, THREADS = 0 };
#endif

/* Processor time, so that a busy core changes nothing; emulated all takes some twenty times as long. */
static void give(int seconds) {
    if (getenv("BRACKET_EMULATED")) seconds *= 20;
    setitimer(ITIMER_PROF, &(struct itimerval){ .it_value.tv_sec = seconds }, NULL);
}

/* A thread's processor time, by its clock. */
static double processor_ms(clockid_t of) {
    struct timespec t;
    clock_gettime(of, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* From the interrupt, or from the first instruction under a step limit, to the end. */
#if defined __OPTIMIZE__ && !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
enum { MOST_MS = 100 };
#else
enum { MOST_MS = 2000 }; /* what is measured is the checking */
#endif

/* Of writing to so much fresh memory as the scripts have: one instruction of theirs may do that, and other programs may
 * keep a machine's memory busy. */
static double fill_ms(void) {
    const size_t size = 128u << 20;
    const double start = processor_ms(CLOCK_THREAD_CPUTIME_ID);
    char *volatile p = malloc(size); /* volatile: or a compiler would leave out the writing */
    if (p) memset(p, 1, size);
    free(p);
    return processor_ms(CLOCK_THREAD_CPUTIME_ID) - start;
}

/* What is late once is tried again: memory that a virtual machine never touched costs it up to ten times as much, the
 * first time. What is late by itself is so each time. */
enum { TRIES = 5 };

static bool soon(double ms) {
    return getenv("BRACKET_EMULATED") || ms < MOST_MS || ms < 2 * fill_ms();
}

static void check_soon(double ms, const char *script) {
    char what[600], text[100];
    snprintf(what, sizeof what, "soon: %.500s", script);
    snprintf(text, sizeof text, "it took %.1f ms of processor time", ms);
    if (getenv("VERBOSE")) printf("%8.1f ms: %.60s\n", ms, script);
    check(soon(ms), what, text);
}

/* ---- endless scripts ---- */

#define LOOP "function() while true do end end"

/* Each loops where Lua's hooks are off, or hides that it was stopped. */
static const char *const endless[] = {
    "while true do end",
    "xpcall(error, " LOOP ")",
    "xpcall(" LOOP ", " LOOP ")",
    "xpcall(" LOOP ", coroutine.wrap(" LOOP "))",
    "getmetatable('').__call = " LOOP " xpcall(" LOOP ", pcall)",
    "xpcall(string.rep, function() xpcall(error, " LOOP ") end)",
    "pcall(" LOOP ")",
    "coroutine.resume(coroutine.create(" LOOP "))",
    "pcall(coroutine.wrap(" LOOP "))",
    "pcall(coroutine.wrap(function() table.sort({ 3, 2, 1 }, " LOOP ") end))",
    "error(setmetatable({}, { __tostring = " LOOP " }))",
    "local co = coroutine.create(function() local x <close> = setmetatable({}, { __close = " LOOP " })\n"
    "    coroutine.yield() end) coroutine.resume(co) coroutine.close(co)",
    "pcall(coroutine.wrap(function() local x <close> = setmetatable({}, { __close = " LOOP " }) error('x') end))",
    "pcall(coroutine.wrap(function() local x <close> = setmetatable({}, { __close = " LOOP " })\n"
    "    while true do end end))",
    "pcall(coroutine.wrap(function() local x <close> = setmetatable({}, { __close = " LOOP " })\n"
    "    table.sort({ 3, 2, 1 }, " LOOP ") end))",
    "local co = coroutine.create(function() local x <close> = setmetatable({}, { __close = " LOOP " })\n"
    "    table.sort({ 3, 2, 1 }, " LOOP ") end) coroutine.resume(co) coroutine.close(co)",
    "local x <close> = setmetatable({}, { __close = " LOOP " })",
    "for _ in next, {}, nil, setmetatable({}, { __close = " LOOP " }) do end",
    "while true do coroutine.wrap(function() for i = 1, 40 do end end)() end",
    "pcall(load, " LOOP ")",
    "string.gsub('x', 'x', " LOOP ")",
    "table.sort({ 3, 2, 1 }, " LOOP ")",
    "local t = setmetatable({}, { __index = " LOOP " }) pcall(function() return t.x end)",
    "bk.grad(function(t) while true do end end)(bk.ones{3})",
};

/* The same, not to be had in a restricted environment. */
static const char *const finalized[] = {
    "setmetatable({}, { __gc = " LOOP " }) collectgarbage()",
    "local n = 0 for i = 1, 1e6 do setmetatable({}, { __gc = function() n = n + 1 while n < 9 do end end }) end\n"
    "while true do end",
    "debug.setmetatable({}, { __gc = " LOOP " }) collectgarbage()",
    "setmetatable({}, { __gc = function() pcall(" LOOP ") end }) collectgarbage()",
};

/* Loops in C, which no step limit counts: an interrupt ends them. */
static const char *const native[] = {
    "bk.flow(function(t) return -t end, bk.ones{3}, { method = 'rk4', steps = 1 << 53 })",
    "bk.flow(function(t) return t:sin() end, bk.ones{1000}, { time = 1e9, max_steps = 1 << 53 })",
    "local L = function(t) return (t ^ 4):sum() end\n"
    "bk.bea.path_bracket{ L, L, target = L, theta = bk.ones{3}, time = 1e-9, steps = 1 << 22 }",
};

static void bounded(bk_options options, const char *script) {
    options.step_limit = 200000;
    bk_env *env = bk_open(&options);
    bk_status s = BK_OK;
    double ms = INFINITY;
    for (int i = 0; i == 0 || (i < TRIES && !soon(ms)); i++) {
        const double start = processor_ms(CLOCK_THREAD_CPUTIME_ID);
        s = bk_dostring(env, script, "script");
        ms = processor_ms(CLOCK_THREAD_CPUTIME_ID) - start;
    }
    check_soon(ms, script);
    char what[600];
    snprintf(what, sizeof what, "%sthe step limit: %.500s", options.restricted ? "restricted, " : "", script);
    check(s == BK_ELIMIT && strstr(bk_error(env), "step limit of 200000"), what, bk_error(env));
    check(bk_dostring(env, "for i = 1, 1000 do end assert(pcall(bk.ones, { 3 }))", NULL) == BK_OK,
          "the environment works on", bk_error(env));
    bk_close(env);
}

typedef struct watcher {
    bk_env *env;
    atomic_bool begun;
    clockid_t clock; /* of the thread that runs the script */
    long after;      /* so many microseconds of its processor time */
    double came;     /* when the interrupt did, by that clock */
} watcher;

static atomic_bool *script_begun;

static int begun(lua_State *L) {
    (void)L;
    atomic_store(script_begun, true);
    return 0;
}

static void *interrupt_once(void *self) {
    watcher *w = self;
    while (!atomic_load(&w->begun)) usleep(100);
    const double first = processor_ms(w->clock);
    for (int k = 0; k < 20000 && (processor_ms(w->clock) - first) * 1e3 < (double)w->after; k++) usleep(100);
    w->came = processor_ms(w->clock);
    bk_interrupt(w->env);
    return NULL;
}

/* Runs the script, interrupted after so many microseconds of it, and tells how long it went on. */
static bk_status run_interrupted_once(bk_env *env, const char *script, long after, double *ms) {
    watcher w = { .env = env, .after = after };
    pthread_t thread;
    char text[1000];
    script_begun = &w.begun;
    pthread_getcpuclockid(pthread_self(), &w.clock);
    lua_register(bk_lua(env), "begun", begun);
    snprintf(text, sizeof text, "begun() %s", script);
    pthread_create(&thread, NULL, interrupt_once, &w);
    const bk_status s = bk_dostring(env, text, "script");
    const double end = processor_ms(CLOCK_THREAD_CPUTIME_ID);
    pthread_join(thread, NULL);
    *ms = end - w.came;
    return s;
}

/* The same, and looks how soon it ends. */
static bk_status run_interrupted(bk_env *env, const char *script, long after) {
    double ms = INFINITY;
    bk_status s = BK_EINTERRUPTED;
    for (int i = 0; i == 0 || (i < TRIES && s == BK_EINTERRUPTED && !soon(ms)); i++)
        s = run_interrupted_once(env, script, after, &ms);
    if (s == BK_EINTERRUPTED) check_soon(ms, script);
    return s;
}

static void interrupted(const char *script) {
    bk_env *env = bk_open(NULL);
    char text[1000];
    const bk_status s = run_interrupted(env, script, 3000);
    snprintf(text, sizeof text, "an interrupt: %.900s", script);
    check(s == BK_EINTERRUPTED, text, bk_error(env));
    check(bk_dostring(env, "for i = 1, 1000 do end assert(pcall(bk.ones, { 3 }))", NULL) == BK_OK,
          "the environment works on", bk_error(env));
    bk_close(env);
}

static void test_endless(void) {
    const bk_options none = { 0 }, restricted = { .restricted = 1 };
    for (size_t i = 0; i < sizeof endless / sizeof *endless; i++) {
        bounded(none, endless[i]);
        bounded(restricted, endless[i]);
        interrupted(endless[i]);
    }
    for (size_t i = 0; i < sizeof finalized / sizeof *finalized; i++) {
        bounded(none, finalized[i]);
        interrupted(finalized[i]);
    }
    for (size_t i = 0; i < sizeof native / sizeof *native; i++) interrupted(native[i]);
    bk_env *env = bk_open(&restricted);
    check(bk_dostring(env, finalized[0], NULL) == BK_ERUNTIME && strstr(bk_error(env), "setmetatable: restricted: "),
          "restricted: no finalizers", bk_error(env));
    check(bk_dostring(env, "local m = { __gc = true } setmetatable({}, m)", NULL) == BK_ERUNTIME,
          "restricted: nor a place for one", bk_error(env));
    bk_close(env);
}

/* ---- what is to be done whole ---- */

static bk_env *interrupting;

static int interrupt_itself(lua_State *L) {
    (void)L;
    bk_interrupt(interrupting);
    return 0;
}

/* An interrupt waits while a step holds it off, in every kind of kernel; and then comes. */
static void test_held(void) {
    static const char script[] =
        "local a, row, thin, many = bk.ones{300, 300}, bk.ones{1, 300}, bk.ones{300, 3}, bk.ones{50, 40, 40}\n"
        "local single, images = a:to('float32'), bk.ones{40, 4, 16, 16}\n"
        "bk.internal.hold(true) interrupt() done = {}\n"
        "done.own, done.single = a:matmul(a):sum():item(), single:matmul(single):sum():item()\n"
        "done.row, done.thin = row:matmul(a):sum():item(), thin:matmul(thin:transpose()):sum():item()\n"
        "done.many, done.large = many:matmul(many):sum():item(), bk.ones{2000000}:sin():sum():item() > 0\n"
        "done.conv = bk.conv2d(images, bk.ones{4, 4, 3, 3}):sum():item()\n"
        "done.inv = bk.linalg.inv(bk.eye(20):broadcast_to{9, 20, 20}):sum():item()\n"
        "bk.internal.hold(false)\n"
        "done.late = true";
    static const char held[] =
        "assert(done.own == 27e6 and done.single == 27e6 and done.row == 9e4 and done.thin == 27e4)\n"
        "assert(done.many == 50 * 64000 and done.large and done.conv == 40 * 4 * 196 * 36 and done.inv == 180)\n"
        "assert(not done.late)";
    bk_env *env = interrupting = bk_open(NULL);
    lua_register(bk_lua(env), "interrupt", interrupt_itself);
    check(bk_dostring(env, script, "held") == BK_EINTERRUPTED, "an interrupt that was held off comes", bk_error(env));
    check(bk_dostring(env, held, "held") == BK_OK, "what held it off was done whole", bk_error(env));
    bk_close(env);
}

/* ---- what is guarded is what Lua has ---- */

/* Runs in an environment and in plain Lua: both must find it true. */
static const char same_as_lua[] =
    "local order = {}\n"
    "do local m = { __gc = function(o) order[#order + 1] = o.name end }\n"
    "    for i = 1, 3 do setmetatable({ name = i }, m) end end\n"
    "collectgarbage()\n"
    "assert(table.concat(order, ' ') == '3 2 1', table.concat(order, ' '))\n"
    "local again\n"
    "setmetatable({}, { __gc = function(o) again = o end }) collectgarbage()\n"
    "assert(type(again) == 'table' and type(getmetatable(again).__gc) == 'function')\n"
    "local ok, m = xpcall(function() local x = nil; x() end, function(m) return 'seen: ' .. m end)\n"
    "assert(not ok and m:find('^seen: .*attempt to call'), m)\n"
    "ok, m = xpcall(error, function(m) return debug.getinfo(2, 'S').what .. m.x end, { x = 1 })\n"
    "assert(m == 'C1', m)\n"
    "assert(select('#', xpcall(function(...) return ... end, print, 1, nil, nil)) == 4)\n"
    "ok, m = xpcall(error, function(m) error(m) end, 'x') assert(not ok)\n"
    "ok, m = xpcall(error, function() end, 'x') assert(not ok and m == nil)\n"
    "ok, m = xpcall(error, debug.traceback, 'x') assert(m:find('^x\\nstack traceback:\\n\\t%[C%]: in function .error'), m)\n"
    "local co = coroutine.create(function() local x <close> = setmetatable({}, { __close = function(_, e)\n"
    "    order.closed = e end }) coroutine.yield(5) end)\n"
    "assert(select(2, coroutine.resume(co)) == 5 and coroutine.close(co) and coroutine.status(co) == 'dead')\n"
    "co = coroutine.create(function() local x <close> = setmetatable({}, { __close = function(_, e)\n"
    "    order.closed = e end }) error({ 7 }) end)\n"
    "assert(not coroutine.resume(co) and order.closed == nil)\n"
    "ok, m = coroutine.close(co) assert(not ok and m[1] == 7 and order.closed[1] == 7)\n"
    "local f = coroutine.wrap(function(...) local x <close> = setmetatable({}, { __close = function(_, e)\n"
    "    order.wrapped = e end }) local y = coroutine.yield(...) error('why' .. y, 0) end)\n"
    "assert(select('#', f(1, nil, nil)) == 3)\n"
    "ok, m = pcall(f, 3) assert(not ok and m:find('why3$') and order.wrapped == 'why3', m)\n"
    "ok, m = pcall(f) assert(not ok and m:find('cannot resume dead coroutine'), m)\n"
    "ok, m = pcall(coroutine.close, coroutine.running()) assert(not ok and m:find('cannot close a running'), m)\n"
    "ok, m = pcall(setmetatable, 1, {}) assert(m:find(\"bad argument #1 to 'setmetatable' %(table expected\"), m)\n"
    "ok, m = pcall(setmetatable, {}) assert(m:find(\"bad argument #2 to 'setmetatable'\"), m)\n"
    "ok, m = pcall(setmetatable, setmetatable({}, { __metatable = 1 }), {}) assert(m:find('protected'), m)\n"
    "assert(getmetatable(setmetatable(setmetatable({}, {}), nil)) == nil)\n";

static void test_same_as_lua(void) {
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    check(luaL_dostring(L, same_as_lua) == LUA_OK, "plain Lua", lua_tostring(L, -1));
    lua_close(L);
    bk_env *env = bk_open(NULL);
    check(bk_dostring(env, same_as_lua, "same") == BK_OK, "an environment as plain Lua", bk_error(env));
    bk_close(env);
}

/* ---- closing ---- */

static int told;

static int tell(lua_State *L) {
    told = told * 10 + (int)lua_tointeger(L, 1);
    return 0;
}

static void test_close(void) {
    /* what a finalizer makes is freed, whoever keeps it */
    static const char *const making[] = {
        "for i = 1, 3 do local o = setmetatable({}, { __gc = function(o) made = { o, bk.ones{1000, 1000} } end }) end\n"
        "kept = setmetatable({}, { __gc = function(o) o.made = bk.ones{1000, 1000} end })",
        "m = { __gc = true } kept = setmetatable({}, m) m.__gc = function(o) o.made = bk.ones{1000, 1000} end",
    };
    size_t before = 0;
    for (int i = 0; i < 60; i++) {
        if (i == 10) before = memory_now(RESIDENT);
        bk_env *env = bk_open(NULL);
        check(bk_dostring(env, making[i % 2], NULL) == BK_OK, making[i % 2], bk_error(env));
        bk_close(env);
    }
    char text[100];
    const size_t after = memory_now(RESIDENT);
    snprintf(text, sizeof text, "%zu to %zu bytes", before, after);
    check(after < before + (64u << 20), "bk_close frees what finalizers make", text);

    bk_env *env = bk_open(NULL);
    lua_register(bk_lua(env), "tell", tell);
    bk_dostring(env, "local m = { __gc = function(o) tell(o[1]) end }\n"
                     "kept = {} for i = 1, 4 do kept[i] = setmetatable({ i }, m) end", NULL);
    bk_close(env);
    snprintf(text, sizeof text, "order %d", told);
    check(told == 4321, "bk_close runs the finalizers, the last made first, once", text);

    env = bk_open(&(bk_options){ .step_limit = 100000 });
    check(bk_dostring(env, "kept = setmetatable({}, { __gc = " LOOP " })", NULL) == BK_OK, "kept", bk_error(env));
    bk_close(env);
    check(true, "an endless finalizer does not hold off bk_close under a step limit", "");
}

/* ---- memory ---- */

/* Each asks for more than there is, in small pieces, or of a library that allocates by itself. */
static const char *const hungry[] = {
    "local t = {} for i = 1, 1e8 do t[i] = bk.tensor(i) end",
    "local t = {} for i = 1, 1e8 do t[i] = bk.ones{3} end",
    "local t = {} for i = 1, 1e8 do t[i] = bk.ones{100 * i % 7919} end",
    "local t = {} for i = 1, 1e8 do t[i] = coroutine.create(type) coroutine.resume(t[i]) end",
    "local t = {} for i = 1, 1e8 do t[i] = coroutine.wrap(function() coroutine.yield() end) t[i]() end",
    "local t = {} for i = 1, 1e8 do t[i] = {} end",
    "local t = {} for i = 1, 1e8 do t[i] = function() return t, i end end",
    "local t = {} for i = 1, 1e8 do t[i] = tostring(i) end",
    "local t = 'x' while true do t = t .. t end",
    "local t = {} for i = 1, 1e8 do t = { t } end",
    "bk.grad(function(x) for i = 1, 1e7 do x = x:sin() + i end return x:sum() end)(bk.ones{3})",
    "bk.grad(function(x) local t = {} for i = 1, 1e7 do t[i] = x * i end return t[1]:sum() end)(bk.ones{3})",
    "local x = bk.ones{3} for i = 1, 1e8 do x = x:reshape{3} kept = { kept, x } end",
    "bk.internal.from_json(('['):rep(2000) .. (']'):rep(2000))\n"
    "bk.internal.from_json('[' .. ('[],'):rep(5000):rep(1000) .. '1]')",
    "bk.internal.from_json('[' .. ('{},'):rep(5000):rep(1000) .. '1]')",
    "bk.internal.from_json('[' .. ('1,'):rep(9000):rep(1000) .. '1]')",
    "local t = {} for i = 1, 3e5 do t[i] = {} end bk.internal.to_json(t) bk.internal.to_json({ t, t, t, t, t, t })",
    "local t = {} for i = 1, 1e5 do local a = bk.ones{600, 600} t[i] = a:matmul(a) end",
    "local t, r = {}, bk.rng(1) for i = 1, 1e5 do t[i] = { bk.linalg.svd(r:normal{300, 300}) } end",
    "local s = '[' .. ('[],'):rep(4000):rep(1000) .. '1]' s = ('<I8'):pack(#s + 6) .. '{\"a\":' .. s .. '}'\n"
    "local f = io.open(FILE, 'wb') f:write(s) f:close() s = nil bk.load_safetensors(FILE)",
};

static size_t highest(void) { /* resident bytes, at most so far */
    char line[200];
    size_t kilobytes = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %zu", &kilobytes) == 1) break;
    if (f) fclose(f);
    return kilobytes << 10;
}

/* In a process of its own: the peak is a process's. */
static void grows(const char *script) {
    const bool emulated = getenv("BRACKET_EMULATED") != NULL; /* a quarter then, or it takes half an hour */
    const size_t limit = (size_t)(emulated ? 32 : 128) << 20, most = limit + limit / 10 + (16 << 20);
    char what[400];
    int pipe_ends[2], status = 0;
    size_t told_bytes = 0;
    fflush(stdout);
    if (pipe(pipe_ends)) return;
    const pid_t child = fork();
    if (child == 0) {
        give(120);
        bk_env *env = bk_open(&(bk_options){ .memory_limit = limit });
        char name[] = "/tmp/bracket-limits-XXXXXX";
        const int fd = mkstemp(name);
        lua_pushstring(bk_lua(env), name);
        lua_setglobal(bk_lua(env), "FILE");
        const size_t before = memory_now(RESIDENT);
        const bk_status s = bk_dostring(env, script, "hungry");
        const size_t grown = highest() - before;
        const ssize_t done = write(pipe_ends[1], &grown, sizeof grown);
        if (s != BK_ENOMEM) fprintf(stderr, "%s\n", bk_error(env));
        bk_close(env);
        close(fd);
        unlink(name);
        _exit(s == BK_ENOMEM && done == sizeof grown ? 0 : 1);
    }
    close(pipe_ends[1]);
    if (read(pipe_ends[0], &told_bytes, sizeof told_bytes) != sizeof told_bytes) told_bytes = SIZE_MAX;
    close(pipe_ends[0]);
    waitpid(child, &status, 0);
    snprintf(what, sizeof what, "status %d, grew by %zu MB under a limit of %zu", status, told_bytes >> 20, limit >> 20);
    if (getenv("VERBOSE")) printf("%s: %s\n", what, script);
    if (SANITIZED || emulated) told_bytes = 0; /* their own records count */
    check(status == 0 && told_bytes <= most, script, what);
}

static void test_memory(void) {
    for (size_t i = 0; i < sizeof hungry / sizeof *hungry; i++) grows(hungry[i]);
}

/* Each is interrupted while it takes memory; the inputs of the fuzzer of chunks, again and again, while they run. */
static void test_interrupts(void) {
    static const char loop[] = "local text, n = TEXT, 0 while true do pcall(load(text)) collectgarbage('step') end";
    char name[] = "/tmp/bracket-limits-XXXXXX", command[200];
    close(mkstemp(name));
    for (size_t i = 0; i < sizeof hungry / sizeof *hungry; i++)
        for (long after = 3000; after <= 60000; after += 19000) {
            bk_env *env = bk_open(&(bk_options){ .memory_limit = 128u << 20 });
            lua_pushstring(bk_lua(env), name);
            lua_setglobal(bk_lua(env), "FILE");
            const bk_status s = run_interrupted(env, hungry[i], after);
            check(s == BK_EINTERRUPTED || s == BK_ENOMEM, hungry[i], bk_error(env));
            bk_close(env);
        }
    unlink(name);
    FILE *p = popen("ls tests/fuzz/seeds/chunk/*", "r");
    for (int n = 0; p && fgets(command, sizeof command, p); n++) {
        char text[8192];
        command[strcspn(command, "\n")] = 0;
        FILE *f = fopen(command, "rb");
        const size_t length = f ? fread(text, 1, sizeof text, f) : 0;
        if (f) fclose(f);
        bk_env *env = bk_open(&(bk_options){ .restricted = 1, .memory_limit = 128u << 20 });
        lua_pushlstring(bk_lua(env), text, length);
        lua_setglobal(bk_lua(env), "TEXT");
        check(run_interrupted(env, loop, 20000) == BK_EINTERRUPTED, command, bk_error(env));
        bk_close(env);
    }
    if (p) pclose(p);
}

/* Jansson's memory is counted before it is used: never too little. */
static size_t json_now, json_most;

static void *json_take(size_t n) {
    void *p = malloc(n);
    if (p) json_now += malloc_usable_size(p) + 8;
    if (json_now > json_most) json_most = json_now;
    return p;
}

static void json_give(void *p) {
    if (p) json_now -= malloc_usable_size(p) + 8;
    free(p);
}

static size_t random_json(char *to, int depth, unsigned *seed, size_t room) { /* 0: no room */
    static const char *const plain[] = { "1", "-2.5e3", "true", "null", "\"\"", "\"x\\\"y\"", "[]", "{}" };
    const unsigned kind = (*seed = *seed * 1103515245 + 12345) >> 16;
    if (depth == 0 || kind % 4 == 0) return (size_t)snprintf(to, room, "%s", plain[kind / 4 % 8]);
    const bool object = kind % 2;
    const int entries = (int)(kind / 8 % 40);
    size_t n = (size_t)snprintf(to, room, object ? "{" : "[");
    for (int i = 0; i < entries && n + 400 < room; i++) {
        n += (size_t)snprintf(to + n, room - n, i ? "," : "");
        if (object) n += (size_t)snprintf(to + n, room - n, "\"%0*d\":", 1 + i % 30, i);
        n += random_json(to + n, depth - 1, seed, room - n - 40);
    }
    return n + (size_t)snprintf(to + n, room - n, object ? "}" : "]");
}

static void test_json(void) {
    static char text[200000];
    unsigned seed = 1;
    ctx *c = ctx_new(1);
    char what[200] = "";
    bool ok = true;
    json_set_alloc_funcs(json_take, json_give);
    for (int i = 0; i < 400 && ok; i++) {
        size_t n = random_json(text, i % 6, &seed, sizeof text);
        if (i % 50 == 49) { /* one long text */
            n = 400u * (unsigned)i + 3;
            memset(text, 'a', n);
            text[0] = text[n - 1] = '"';
        }
        json_tree tree;
        err e = { 0 };
        json_most = json_now = 0;
        const bk_status status = json_text_read(c, text, n, JSON_DECODE_ANY, &tree, &e);
        ok = status == BK_OK && json_most <= tree.reserved;
        if (!ok) snprintf(what, sizeof what, "%zu counted, %zu used: %.100s", tree.reserved, json_most, e.text);
        json_tree_free(&tree);
        ok = ok && atomic_load(&c->used) == 0;
    }
    json_set_alloc_funcs(malloc, free);
    ctx_release(c);
    check(ok, "the memory of JSON is counted", what);
}

/* What zlib asks for is counted: as much as it asks an allocator of ours for, for the same stream. */
static size_t zlib_most, zlib_now;

static void *zlib_take(void *self, unsigned n, unsigned size) {
    (void)self;
    zlib_now += (size_t)n * size;
    if (zlib_now > zlib_most) zlib_most = zlib_now;
    return malloc((size_t)n * size);
}

static void zlib_give(void *self, void *p) {
    (void)self;
    free(p);
}

static void test_zlib(void) {
    static unsigned char plain[400000], back[400000];
    char name[] = "/tmp/bracket-limits-XXXXXX", what[200] = "";
    for (size_t i = 0; i < sizeof plain; i++) plain[i] = (unsigned char)(i * i >> 7);
    close(mkstemp(name));
    gzFile f = gzopen(name, "wb");
    check(f && gzwrite(f, plain, sizeof plain) == (int)sizeof plain && gzclose(f) == Z_OK, "a packed file", name);
    static unsigned char packed[500000];
    FILE *in = fopen(name, "rb");
    z_stream z = { .zalloc = zlib_take, .zfree = zlib_give, .next_in = packed, .next_out = back };
    z.avail_in = in ? (unsigned)fread(packed, 1, sizeof packed, in) : 0;
    z.avail_out = sizeof back / 2; /* not to its end: then it needs no window */
    if (in) fclose(in);
    check(inflateInit2(&z, 15 + 16) == Z_OK && inflate(&z, Z_NO_FLUSH) == Z_OK, "zlib by itself", z.msg ? z.msg : "");
    inflateEnd(&z);

    /* the same bytes, plain and packed */
    ctx *c = ctx_new(1);
    source s;
    err e = { 0 };
    size_t counted[2], opened = 0;
    const size_t before = atomic_load(&c->used);
    bk_status status = BK_OK;
    for (int k = 0; k < 2; k++) {
        bytes out = { 0 };
        char path[100];
        snprintf(path, sizeof path, "%s%s", name, k ? "" : ".plain");
        FILE *to = k ? NULL : fopen(path, "wb");
        if (to) check(fwrite(plain, 1, sizeof plain, to) == sizeof plain && fclose(to) == 0, "a plain file", path);
        if (!status) status = source_open(c, path, &s, &e);
        opened = atomic_load(&c->used) - before;
        if (!status) status = source_read(&s, sizeof back / 2, &out, &e);
        counted[k] = atomic_load(&c->used) - before - out.capacity;
        bytes_free(c, &out);
        source_close(&s);
        if (!k) unlink(path);
    }
    const size_t more = counted[1] - counted[0];
    const bool freed = atomic_load(&c->used) == before;
    c->limit = before + opened - 1000; /* zlib's first blocks are more than that */
    const bool refused = source_open(c, name, &s, &e) == BK_ENOMEM;
    source_close(&s);
    snprintf(what, sizeof what, "%zu asked for, %zu counted, %.100s", zlib_most, more, e.text);
    check(!status && more >= zlib_most && zlib_most > 32768 && more < zlib_most + 1000, "zlib's memory is counted", what);
    check(freed && refused, "and limited", what);
    ctx_release(c);
    unlink(name);
}

/* ---- threads ---- */

static void test_fork(void) {
    static const char script[] = "local a = bk.ones{300, 300} return a:matmul(a):sum():item()";
    bk_env *env = bk_open(&(bk_options){ .threads = 2 });
    check(bk_dostring(env, script, NULL) == BK_OK, "before a fork", bk_error(env));
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        alarm(600); /* a child that waits for a thread uses no processor time */
        bool ok = bk_dostring(env, script, NULL) == BK_OK && bk_dostring(env, "bk.threads(3)", NULL) == BK_OK &&
                  bk_dostring(env, script, NULL) == BK_OK;
        bk_close(env);
        _exit(ok ? 0 : 1);
    }
    int status = 1;
    waitpid(child, &status, 0);
    check(status == 0, "an environment of two threads works on in a forked child", "it hangs or fails");
    check(bk_dostring(env, script, NULL) == BK_OK, "after a fork", bk_error(env));
    bk_close(env);
}

/* Stacks for threads that the system has no room for. */
static void test_refused_threads(void) {
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        const struct rlimit room = { 1 << 20, 1 << 20 }; /* less than is in use: nothing more is mapped */
        ctx *c = ctx_new(1);
        err e = { 0 };
        setrlimit(RLIMIT_AS, &room);
        const bool said = ctx_set_threads(c, 64, &e) == BK_EUNSUPPORTED && strstr(e.text, "refused to start 64 threads");
        if (!said) printf("%s\n", e.text);
        fflush(stdout);
        _exit(said && ctx_threads(c) == 1 ? 0 : 1);
    }
    int status = 1;
    waitpid(child, &status, 0);
    check(status == 0, "threads that the system refuses", "another message");
}

/* OpenBLAS waits without end for buffers that the address space has no room for: none is opened there, and where one is
 * they are there, whatever the script takes. In a process of its own; kilobytes more than it has. */
static bool in_room(size_t more, const char *script, bk_status expected) {
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        alarm(600);
        give(20);
        const rlim_t most = memory_now(MAPPED) + (more << 10);
        setrlimit(RLIMIT_AS, &(struct rlimit){ most, most });
        err e = { 0 };
        bk_env *env = env_open(NULL, false, &e);
        const bool said = strstr(e.text, "has no room for OpenBLAS's buffers") != NULL;
        if (!env) _exit(!script && said ? 0 : 1);
        const bk_status s = bk_dostring(env, script ? script : "", NULL);
        if (s != expected) fprintf(stderr, "%s\n", bk_error(env));
        _exit(script && s == expected ? 0 : 1);
    }
    int status = 1;
    waitpid(child, &status, 0);
    return status == 0;
}

static void test_address_space(void) {
    check(in_room(64 << 10, NULL, BK_OK), "no room for OpenBLAS", "another message, or it hangs");
    check(in_room(1400 << 10,
                  "local t = {} pcall(function() for i = 1, 1e6 do t[i] = bk.ones{1 << 17} end end)\n"
                  "for i = 1, 60 do t[#t] = nil end collectgarbage() assert(#t > 0)\n"
                  "bk.linalg.inv(bk.eye(900)) local a = bk.ones{900, 900} a:matmul(a)",
                  BK_OK),
          "OpenBLAS keeps its room", "it hangs");
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0); /* a crash still shows what came before it */
    give(600);
    test_same_as_lua();
    test_endless();
    test_held();
    test_close();
    test_memory();
    test_interrupts();
    test_json();
    test_zlib();
    /* qemu-user and ThreadSanitizer start no thread in a forked child, and all need memory where the system refuses it. */
    if (!THREADS && !getenv("BRACKET_EMULATED")) {
        test_fork();
        if (!SANITIZED) {
            test_refused_threads();
            test_address_space();
        }
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
