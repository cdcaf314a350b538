/* pour_test.c - a result that is poured needs no memory once giving has begun. (What is given when: tests/fuzz/graph.c;
 * an optimizer's steps: tests/lua/poured_test.lua.) */
#include "prog.h"

/* A gradient of more parts than a step has operands by default is poured with no memory to be had any more. */
enum { PARTS = 100 };
static double given[PARTS];
static bool no_memory(void *arg, double loss) {
    ctx *c = arg;
    atomic_store(&c->fail_at, 0);
    c->fail_on = true;
    return loss == PARTS;
}
static void take_given(void *arg, int64_t first, int64_t count, const void *at) {
    (void)arg;
    memcpy(given + first, at, sizeof *given * (size_t)count);
}
static void test_poured(ctx *c) {
    graph *g = ops_graph(c);
    double ones[PARTS], loss, whole[PARTS];
    const int64_t n = PARTS, one = 1;
    node *theta = graph_input(g, BK_FLOAT64, 1, &n), *parts[PARTS];
    for (int64_t i = 0; i < PARTS; i++)
        parts[i] = g_scale(g, (double)(i + 1), g_exp(g, g_slice(g, theta, &i, &one))), ones[i] = 1;
    node *out[2] = { g_sum_all(g, theta), g_concat(g, 0, PARTS, parts) };
    plan *p = NULL;
    err e = { 0 };
    const bool planned = plan_new(g, 1, &theta, 2, out, &(plan_options){ .over = true }, &p, &e) == BK_OK;
    const node like[2] = { *out[0], *out[1] };
    const plan_taker taker = { no_memory, take_given, c };
    const bool poured = planned && plan_pour(p, like) &&
                        !plan_run_poured(p, (const void *[]){ ones }, (void *[]){ &loss, whole }, &taker, &e);
    atomic_store(&c->fail_at, -1);
    c->fail_on = false;
    double worst = 0;
    for (int i = 0; i < PARTS; i++) worst = fmax(worst, fabs(given[i] - (i + 1) * exp(1)));
    check(poured && worst < 1e-12, "poured", "many parts, without memory", worst);
    plan_free(p);
    graph_free(g);
}

int main(void) {
    ctx *c = ctx_new(1);
    if (!c) return 3;
    test_poured(c);
    ctx_release(c);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
