/* prog.h - what the tests of operations share: counting checks, and a graph with its plan to run on tensors. */
#ifndef TESTS_PROG_H
#define TESTS_PROG_H

#include "../../src/base/rng.h"
#include "../../src/ops/ops.h"
#include "../../src/compile/plan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int passed, failed;

static inline void check(bool ok, const char *op, const char *what, double got) {
    if (ok)
        passed++;
    else {
        failed++;
        printf("FAILED %s: %s (%.3g)\n", op, what, got);
    }
}

enum { MAX_ARGS = 16, MAX_OUT = 12 };

/* Normal numbers. */
static inline tensor noise(ctx *c, bk_dtype dtype, rng *random, int ndim, const int64_t *shape) {
    tensor t;
    err e = { 0 };
    if (tensor_new(c, dtype, ndim, shape, &t, &e)) exit(3);
    for (int64_t i = 0, n = tensor_count(&t); i < n; i++) {
        double x = rng_normal(random);
        if (t.dtype == BK_FLOAT32)
            ((float *)tensor_data(&t))[i] = (float)x;
        else
            ((double *)tensor_data(&t))[i] = x;
    }
    return t;
}

/* ---- programs ---- */

typedef struct prog {
    graph *g;
    plan *p;
    int n_in, n_out;
    node *in[MAX_ARGS], *out[MAX_OUT];
} prog;

static inline bool prog_plan(prog *q, const char *name, const char *what) {
    err e = { 0 };
    bk_status s = plan_new(q->g, q->n_in, q->in, q->n_out, q->out, NULL, &q->p, &e);
    if (s) printf("  %s\n", e.text);
    check(s == BK_OK, name, what, s);
    return s == BK_OK;
}

static inline bool prog_run(const prog *q, const char *name, const tensor *args, tensor *res) {
    const void *in[MAX_ARGS];
    void *out[MAX_OUT];
    err e = { 0 };
    for (int i = 0; i < q->n_in; i++) in[i] = tensor_data(&args[i]);
    for (int i = 0; i < q->n_out; i++) {
        if (tensor_new(graph_ctx(q->g), q->out[i]->dtype, q->out[i]->ndim, q->out[i]->shape, &res[i], &e)) exit(3);
        memset(tensor_data(&res[i]), 0x55,
               (size_t)tensor_count(&res[i]) * dtype_size(res[i].dtype)); /* to be overwritten */
        out[i] = tensor_data(&res[i]);
    }
    bk_status s = plan_run(q->p, in, out, &e);
    if (s) check(false, name, e.text, s);
    return s == BK_OK;
}

static inline void prog_free(prog *q) {
    plan_free(q->p);
    graph_free(q->g);
}

static inline void drop(int n, tensor *t) {
    for (int i = 0; i < n; i++) tensor_release(&t[i]);
}

/* largest |a - b| over 1 + largest |b|; NaN where only one is */
static inline double distance(const tensor *a, const tensor *b) {
    double worst = 0, size = 1;
    if (tensor_count(a) != tensor_count(b)) return INFINITY;
    for (int64_t i = 0, n = tensor_count(a); i < n; i++) {
        double x = tensor_get(a, i), y = tensor_get(b, i), d = fabs(x - y);
        if (x == y || (isnan(x) && isnan(y))) continue;
        if (!(d <= worst)) worst = d;
        if (fabs(y) > size) size = fabs(y);
    }
    return worst / size;
}

#endif
