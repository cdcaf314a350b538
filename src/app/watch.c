/* watch.c - Ctrl-C, and messages on stderr: what the program and its session both need. */
#include "app.h"

#include <pthread.h>
#include <stdio.h>

/* for the signal handler, which has no argument of its own */
static _Atomic(bk_env *) interrupt_env;
static pthread_t main_thread;
static bool watch_once;

volatile sig_atomic_t app_interrupted;

static void on_interrupt(int signal_number) {
    app_interrupted = 1;
    bk_env *env = atomic_load(&interrupt_env);
    if (env) bk_interrupt(env);
    if (!watch_once) app_pass_on(signal_number);
}

void app_pass_on(int signal_number) {
    if (!pthread_equal(pthread_self(), main_thread)) pthread_kill(main_thread, signal_number);
}

void app_watch(bk_env *env, bool once) {
    struct sigaction ours = { .sa_handler = env ? on_interrupt : SIG_DFL };
    if (!env) line_clear(); /* whatever was going on has ended */
    main_thread = pthread_self();
    watch_once = once;
    sigemptyset(&ours.sa_mask);
    ours.sa_flags = once ? (int)SA_RESETHAND : 0; /* no SA_RESTART: a blocked read ends too */
    atomic_store(&interrupt_env, env);
    sigaction(SIGINT, &ours, NULL);
}

void app_message(const char *text) {
    line_clear();
    fprintf(stderr, "bracket: %s\n", text);
    fflush(stderr);
}
