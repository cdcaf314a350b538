/* threads.c - eight environments in eight threads at once, every other one with a worker thread of its own, all with
 * the same numbers; each is then interrupted from the main thread. */
#include "bracket.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { THREADS = 8, SIZE = 13 };

typedef struct job {
    pthread_t thread;
    int workers;
    double theta[SIZE];
    bk_status status, interrupted;
    _Atomic(bk_env *) env;
    atomic_bool spinning;
} job;

static const char script[] = "local model = bk.nn.mlp{2, 3, 1, activation = 'tanh'}\n"
                             "local r = bk.rng(1)\n"
                             "local x, y = r:normal{{16, 2}}, r:normal{{16, 1}}\n"
                             "local loss = bk.loss.mse(model, x, y)\n"
                             "theta = model:init{seed = 1}\n"
                             "local w = bk.bea.word{ {loss, 0.05}, {loss, 0.02} }\n"
                             "for round = 1, 50 do theta = w:step(theta) end\n"
                             "theta = theta:clone()\n";

static bk_status spin(job *j) {
    atomic_store(&j->spinning, true);
    return bk_dostring(atomic_load(&j->env), "local t = {} while true do t[1] = {} end", NULL);
}

static void *run(void *self) {
    job *j = self;
    bk_env *env = bk_open(&(bk_options){ .threads = j->workers });
    if (!env) return NULL;
    atomic_store(&j->env, env);
    bk_view view;
    j->status = bk_dostring(env, script, "job");
    if (j->status) fprintf(stderr, "%s\n", bk_error(env));
    if (!j->status && bk_get_tensor(env, "theta", &view) == BK_OK && view.shape[0] == SIZE)
        memcpy(j->theta, view.data, sizeof j->theta);
    else
        j->status = BK_EINVAL;
    j->interrupted = spin(j);
    atomic_store(&j->spinning, false);
    return NULL;
}

int main(void) {
    static job jobs[THREADS];
    int passed = 0, failed = 0;
    for (int i = 0; i < THREADS; i++) {
        jobs[i].workers = 1 + i % 2;
        if (pthread_create(&jobs[i].thread, NULL, run, &jobs[i])) return 1;
    }
    for (int i = 0; i < THREADS; i++) {
        while (!atomic_load(&jobs[i].spinning)) usleep(1000);
        for (int n = 0; n < 1000 && atomic_load(&jobs[i].spinning); n++) { /* one that comes too early has no effect */
            bk_interrupt(atomic_load(&jobs[i].env));
            usleep(5000);
        }
        pthread_join(jobs[i].thread, NULL);
        bk_close(atomic_load(&jobs[i].env));
        bool same = memcmp(jobs[i].theta, jobs[0].theta, sizeof jobs[0].theta) == 0 && jobs[i].theta[0] != 0;
        if (jobs[i].status == BK_OK && same && jobs[i].interrupted == BK_EINTERRUPTED)
            passed++;
        else
            failed++, printf("FAILED: thread %d: status %d, same %d, interrupted %d\n", i, jobs[i].status, same,
                             jobs[i].interrupted);
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
