/* poll_test.c - how soon native code sees an interrupt: of every long call of large.lua the longest processor time
 * between two looks at the flag, and an interrupt in some of them, at a moment. Which and when their names say: a call
 * more changes nothing for the others. Processor time, so that a busy core changes nothing. LARGE=n in the environment
 * makes the tensors n times as large; VERBOSE=1 shows each call. */
#include "check.h"
#include "src/bind/env.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#if defined __OPTIMIZE__ && !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
enum { MOST_MS = 100 };
#else
enum { MOST_MS = 1000 }; /* what is measured is the checking */
#endif
enum { CALLS = 500 };
enum { AGAIN_MS = 250 }; /* a run's step is done to its end, unless it is asked again 200 ms later: bracket.h */
/* What the system takes to give memory back counts as ours, and is now and then long: what does not come again is that. */
enum { TRIES = 3 };

static int64_t processor_time(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

typedef struct call {
    char name[60];
    double ms, gap; /* the whole; the longest between two polls */
} call;

static bk_env *env;
static call calls[CALLS];
static int n_calls;
static volatile int64_t came; /* when the interrupt did */

static void on_alarm(int signal) {
    (void)signal;
    if (!came) came = processor_time();
    bk_interrupt(env);
}

static bool load(const char *folder) {
    const long times = getenv("LARGE") ? atol(getenv("LARGE")) : 1;
    char script[300];
    snprintf(script, sizeof script,
             "large, names = assert(loadfile('tests/c/large.lua'))(%ld, '%s'), {} "
             "for k in pairs(large) do names[#names + 1] = k end table.sort(names) return #names", times << 22, folder);
    if (bk_dostring(env, script, "large")) return false;
    lua_State *L = bk_lua(env);
    lua_getglobal(L, "names");
    for (int i = 1; lua_rawgeti(L, -1, i) == LUA_TSTRING && n_calls < CALLS; i++) {
        snprintf(calls[n_calls++].name, sizeof calls->name, "%s", lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    lua_settop(L, 0);
    return n_calls > 100;
}

static bk_status run(const call *c) {
    char script[200];
    snprintf(script, sizeof script, "local r = large['%.59s']() collectgarbage() return r", c->name);
    return bk_dostring(env, script, c->name);
}

static void test_gaps(void) {
    ctx *c = env_ctx(env);
    char text[300];
    for (int i = 0, tries = TRIES; i < n_calls; i++, tries = TRIES) {
        call *at = &calls[i];
    again:;
        const int64_t start = c->polled = processor_time();
        c->unpolled = 0;
        const bk_status s = run(at);
        ctx_note_poll(c);
        at->ms = (double)(c->polled - start) / 1e6;
        at->gap = (double)c->unpolled / 1e6;
        c->polled = 0;
        if (at->gap >= MOST_MS && s == BK_OK && --tries) goto again;
        check(s == BK_OK, at->name, bk_error(env));
        snprintf(text, sizeof text, "%.1f ms of %.1f without a look at the interrupt", at->gap, at->ms);
        if (getenv("VERBOSE")) printf("%8.1f of %8.1f ms: %s\n", at->gap, at->ms, at->name);
        check(at->gap < MOST_MS, at->name, text);
    }
}

static bool in_steps(const call *c) {
    static const char *const rooms[] = { "record.", "intervention.", "order.", "protocol" };
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++)
        if (!strncmp(c->name, rooms[i], strlen(rooms[i]))) return true;
    return false;
}

static uint32_t number_of(const char *name) {
    uint32_t h = 2166136261u;
    for (; *name; name++) h = (h ^ (unsigned char)*name) * 16777619u;
    return (h ^ h >> 15) * 2654435761u >> 8;
}

static void test_interrupts(void) {
    double worst = 0;
    int interrupts = 0;
    struct sigaction act = { .sa_handler = on_alarm };
    sigaction(SIGPROF, &act, NULL);
    for (int i = 0, tries = TRIES; i < n_calls; i++, tries = TRIES) {
        const call *at = &calls[i];
        const uint32_t number = number_of(at->name);
        const double most = MOST_MS + (in_steps(at) ? AGAIN_MS : 0);
        const long us = 1000 + (long)(at->ms * 900 * (double)(number % 4096) / 4096);
        char text[300];
        if ((number >> 12 & 1) && !in_steps(at)) continue;
        interrupts++;
    again:
        came = 0;
        setitimer(ITIMER_PROF, &(struct itimerval){ { 0, AGAIN_MS * 1000 }, { us / 1000000, us % 1000000 } }, NULL);
        const bk_status s = run(at);
        const int64_t end = processor_time();
        setitimer(ITIMER_PROF, &(struct itimerval){ 0 }, NULL);
        const double late = came ? (double)(end - came) / 1e6 : 0;
        if (late >= most && --tries) goto again;
        if (late > worst) worst = late;
        snprintf(text, sizeof text, "status %d, %.1f ms after the interrupt at %ld us: %s", s, late, us, bk_error(env));
        check(s == BK_EINTERRUPTED || s == BK_OK, at->name, text);
        check(late < most, at->name, text);
    }
    if (getenv("VERBOSE")) printf("%d interrupts, the latest answered after %.1f ms\n", interrupts, worst);
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    char folder[] = "/tmp/bracket-poll-XXXXXX";
    env = bk_open(&(bk_options){ .step_limit = (uint64_t)1 << 62 }); /* with a limit Lua's own code polls */
    if (!mkdtemp(folder)) return 1;
    const bool loaded = load(folder);
    check(loaded, "large.lua", bk_error(env));
    if (!loaded) return 1;
    test_gaps();
    test_interrupts();
    bk_close(env);
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    check(system(command) == 0, "its folder", folder);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
