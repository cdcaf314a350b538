/* stop.c - signals that end a run after its step: bk.internal.signals = { hold, release, came, obeyed, names }. While
 * they are held they are noted, and the run asks; when it has obeyed, app_stopped tells main which one it was. One that
 * no run obeyed, since it came too late, is raised when they are released. A second Ctrl-C interrupts the step. */
#include "app.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

static const int held_signals[] = { ENDING_SIGNALS(SIGNAL_NUMBER) };
static const char *const names[] = { ENDING_SIGNALS(SIGNAL_NAME) };
enum { HELD = sizeof held_signals / sizeof *held_signals, SECOND_MS = 1000 };
static struct sigaction before[HELD];
static bool held;

static volatile sig_atomic_t first; /* the signal that came, 0: none */
static struct timespec first_time;
static _Atomic(bk_env *) held_env;
int app_stopped;

/* What is sent to a group may reach a process twice, from its starter too: only a later one is a second one. */
static void on_signal(int number) {
    static const char hint[] = "\nbracket: ends after this step; Ctrl-C again interrupts it\n";
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (!first) {
        first = number;
        first_time = now;
        if (number == SIGINT && isatty(STDERR_FILENO) && write(STDERR_FILENO, hint, sizeof hint - 1) < 0) return;
    } else if (number == SIGINT && (now.tv_sec - first_time.tv_sec) * 1000 +
                                           (now.tv_nsec - first_time.tv_nsec) / 1000000 >= SECOND_MS) {
        bk_env *env = atomic_load(&held_env);
        if (env) bk_interrupt(env);
    }
}

static int stop_hold(lua_State *L) {
    struct sigaction ours = { .sa_handler = on_signal };
    sigemptyset(&ours.sa_mask);
    if (held) return 0;
    held = true;
    first = app_stopped; /* a script that catches the error runs nothing more */
    atomic_store(&held_env, env_of(L));
    for (int i = 0; i < HELD; i++) {
        sigaction(held_signals[i], NULL, &before[i]);
        if (before[i].sa_handler != SIG_IGN) sigaction(held_signals[i], &ours, NULL); /* nohup */
    }
    return 0;
}

static int stop_release(lua_State *L) {
    (void)L;
    for (int i = 0; held && i < HELD; i++) sigaction(held_signals[i], &before[i], NULL);
    if (held && first && !app_stopped) raise(first);
    held = false;
    return 0;
}

static int stop_came(lua_State *L) { /* came(): the name of the signal, or nil */
    for (int i = 0; first && i < HELD; i++)
        if (held_signals[i] == first) {
            lua_pushstring(L, names[i]);
            return 1;
        }
    return 0;
}

static int stop_obeyed(lua_State *L) { /* obeyed(name): it may have come to another rank */
    const char *name = luaL_checkstring(L, 1);
    for (int i = 0; i < HELD; i++)
        if (strcmp(names[i], name) == 0) app_stopped = held_signals[i];
    return 0;
}

void stop_push(lua_State *L) {
    static const luaL_Reg functions[] = { { "hold", stop_hold },
                                          { "release", stop_release },
                                          { "came", stop_came },
                                          { "obeyed", stop_obeyed },
                                          { NULL, NULL } };
    luaL_newlib(L, functions);
    lua_createtable(L, HELD, 0);
    for (int i = 0; i < HELD; i++) {
        lua_pushstring(L, names[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "names");
}
