/* describe.c - a plan as tables: what every pass left of the graph, where the time goes by kernel, the steps. */
#include "plan.h"

#include <stdio.h>
#include <string.h>

enum { KERNELS = 40, LINE = 400 };

typedef struct kernel { /* all steps of one name; a run's time is the mean over the profiled runs */
    const char *name;
    int steps;
    double flops, seconds;
} kernel;

static double mean_seconds(const plan_step *s) {
    return s->runs ? s->seconds / (double)s->runs : 0;
}

static int kernels_of(const plan *p, kernel *out) {
    int n = 0, steps = plan_info(p).steps;
    for (int i = 0; i < steps; i++) {
        plan_step s = plan_step_at(p, i);
        int k = 0;
        while (k < n && strcmp(out[k].name, s.kernel) != 0) k++;
        if (k == n) {
            if (n == KERNELS) out[k = n - 1].name = "others";
            else out[n++] = (kernel){ .name = s.kernel };
        }
        out[k].steps++;
        out[k].flops += s.flops;
        out[k].seconds += mean_seconds(&s);
    }
    for (int i = 1; i < n; i++) { /* slowest first; without times by operations */
        kernel x = out[i];
        int k = i;
        while (k && (out[k - 1].seconds < x.seconds || (out[k - 1].seconds == x.seconds && out[k - 1].flops < x.flops)))
            out[k] = out[k - 1], k--;
        out[k] = x;
    }
    return n;
}

static void describe_passes(const plan *p, void (*emit)(void *arg, const char *line), void *arg) {
    plan_stats s = plan_info(p);
    char line[LINE];
    emit(arg, "pass                    nodes          MFlop");
    snprintf(line, sizeof line, "%-18s %10d %14s", "traced", s.nodes_built, "");
    emit(arg, line);
    for (int i = 0; i < PLAN_PASSES; i++) {
        snprintf(line, sizeof line, "%-18s %10d %14.6g", s.passes[i].name, s.passes[i].nodes, 1e-6 * s.passes[i].flops);
        emit(arg, line);
    }
    snprintf(line, sizeof line, "%-18s %10d %14.6g   steps, in an arena of %.1f KiB", "fused", s.steps,
             1e-6 * s.passes[PLAN_PASSES - 1].flops, (double)s.arena_bytes / 1024);
    emit(arg, line);
}

static void describe_kernels(const plan *p, void (*emit)(void *arg, const char *line), void *arg) {
    kernel all[KERNELS];
    char line[LINE];
    int n = kernels_of(p, all);
    double seconds = 0;
    for (int i = 0; i < n; i++) seconds += all[i].seconds;
    emit(arg, "");
    emit(arg, "kernel                  steps          MFlop           us   share    GFlop/s");
    for (int i = 0; i < n; i++) {
        const kernel *k = &all[i];
        char time[60] = "";
        if (seconds > 0)
            snprintf(time, sizeof time, " %12.2f %6.1f%% %10.4g", 1e6 * k->seconds, 100 * k->seconds / seconds,
                     k->seconds > 0 ? 1e-9 * k->flops / k->seconds : 0);
        snprintf(line, sizeof line, "%-18s %10d %14.6g%s", k->name, k->steps, 1e-6 * k->flops, time);
        emit(arg, line);
    }
}

static void describe_steps(const plan *p, void (*emit)(void *arg, const char *line), void *arg) {
    int n = plan_info(p).steps;
    char line[LINE];
    emit(arg, "");
    emit(arg, "step  kernel                               result                      MFlop           us");
    for (int i = 0; i < n; i++) {
        plan_step s = plan_step_at(p, i);
        shape_buf text;
        char what[80], time[40] = "";
        if (strcmp(s.kernel, "fused") == 0)
            snprintf(what, sizeof what, "fused, %d operation%s", s.operations, s.operations == 1 ? "" : "s");
        else
            snprintf(what, sizeof what, "%s", s.kernel);
        if (s.runs) snprintf(time, sizeof time, " %12.2f", 1e6 * mean_seconds(&s));
        snprintf(line, sizeof line, "%4d  %-36s %-20s %12.6g%s", i + 1, what, shape_text(s.ndim, s.shape, &text),
                 1e-6 * s.flops, time);
        emit(arg, line);
    }
}

void plan_describe(const plan *p, void (*emit)(void *arg, const char *line), void *arg) {
    describe_passes(p, emit, arg);
    describe_kernels(p, emit, arg);
    describe_steps(p, emit, arg);
}
