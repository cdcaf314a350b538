/* series.c - the logarithm of any word to any order. With all rates times a common scale c, the word's end is a curve
 * in c; its Taylor coefficients f_k at theta are carried from step to step, and the field whose time-1 flow has the
 * same ones follows order by order (Hairer, Lubich & Wanner, ch. IX.1): Z_k = f_k - sum_{n=2..k} 1/n!
 * sum_{i_1+...+i_n=k} D_{i_1} ... D_{i_{n-1}} Z_{i_n},    D_i G = DG Z_i. Derivatives along curves are jets: the
 * derivation that moves theta by a_1, a_1 by 2 a_2, a_2 by 3 a_3 ..., divided by 1, 2, 3 ..., turns a function into its
 * Taylor coefficients along theta + c a_1 + c^2 a_2 + ...; nodes that appear twice are shared. A coefficient that is
 * zero is NULL. */
#include "word.h"
#include <string.h>

static node *plus(graph *g, node *a, node *b) {
    return !a ? b : !b ? a : g_add(g, a, b);
}

static node *times(graph *g, double x, node *a) {
    return a ? g_scale(g, x, a) : NULL;
}

static node **nodes(graph *g, int n) {
    node **v = graph_alloc(g, (size_t)n * sizeof *v);
    if (v) memset(v, 0, (size_t)n * sizeof *v);
    return v;
}

/* Derivative of y along v; NULL when y does not depend on theta. */
static node *along(graph *g, node *y, node *theta, node *v) {
    node *dy = NULL;
    if (y && v) graph_jvp(g, 1, &y, 1, &theta, &v, &dy);
    return dy;
}

/* leaf[0] = theta, leaf[1..order]: a_1, a_2, ...; shared by all steps. */
typedef struct series {
    const word *w;
    graph *g;
    int order;
    node **leaf;
    node ***jets; /* by task: field's coefficients 0..order-1 in terms of the leaves */
    node **field; /* by task, at theta */
} series;

/* b[0..n]: the coefficients of y along the leaves; clock (NULL: none) moves at speed `rate` beside them. */
static bool expand(const series *s, node *y, int n, node *clock, double rate, node **b) {
    graph *g = s->g;
    node **wrt = nodes(g, n + 1), **tangent = nodes(g, n + 1), *speed = NULL;
    if (!wrt || !tangent) return false;
    if (clock) speed = g_full(g, clock->dtype, 0, NULL, rate);
    b[0] = y;
    for (int j = 0; j < n; j++) {
        int moving = j + 1 < s->order + 1 ? j + 1 : s->order;
        b[j + 1] = NULL;
        if (!b[j]) continue;
        for (int i = 0; i < moving; i++) {
            wrt[i] = s->leaf[i];
            tangent[i] = g_scale(g, i + 1, s->leaf[i + 1]);
        }
        if (clock) wrt[moving] = clock, tangent[moving] = speed;
        if (!graph_jvp(g, 1, &b[j], moving + (clock != NULL), wrt, tangent, &b[j + 1])) return false;
        b[j + 1] = times(g, 1.0 / (j + 1), b[j + 1]);
    }
    return !graph_failed(g);
}

/* The n + 1 coefficients b in place: leaves become the curve a. */
static bool place(const series *s, int n, node **b, node *const *a) {
    graph *g = s->g;
    node **from = nodes(g, s->order), **to = nodes(g, s->order), **full = nodes(g, n + 1);
    int k = 0;
    if (!from || !to || !full) return false;
    for (int i = 1; i <= s->order; i++) {
        from[i - 1] = s->leaf[i];
        to[i - 1] = a[i] ? a[i] : g_zeros_like(g, s->leaf[0]);
    }
    for (int i = 0; i <= n; i++)
        if (b[i]) full[k++] = b[i];
    if (graph_failed(g) || !graph_substitute(g, k, full, s->order, from, to)) return false;
    k = 0;
    for (int i = 0; i <= n; i++)
        if (b[i]) b[i] = full[k++];
    return true;
}

static bool at_rest(const series *s, node *const *a) {
    for (int i = 1; i <= s->order; i++)
        if (a[i]) return false;
    return true;
}

/* theta - h F: the k-th coefficient gains -h times the field's (k-1)-th. */
static bool euler_step(series *s, int task, double h, node **a) {
    int n = s->order - 1;
    node **b = nodes(s->g, n + 1);
    if (!b) return false;
    b[0] = s->field[task];
    if (!at_rest(s, a)) {
        if (!s->jets[task] && (!(s->jets[task] = nodes(s->g, n + 1)) || !expand(s, b[0], n, NULL, 0, s->jets[task])))
            return false;
        memcpy(b, s->jets[task], (size_t)(n + 1) * sizeof *b);
        if (!place(s, n, b, a)) return false;
    }
    for (int k = 1; k <= s->order; k++) a[k] = plus(s->g, a[k], times(s->g, -h, b[k - 1]));
    return true;
}

/* The flow of -F: sum_n (-h c)^n / n! L^n theta, L G = DG F; each power along the curve. */
static bool exact_step(series *s, int task, double h, node **a) {
    node *power = s->field[task], **sum = nodes(s->g, s->order + 1), **b = nodes(s->g, s->order + 1);
    double weight = 1;
    bool rest = at_rest(s, a);
    if (!sum || !b) return false;
    for (int n = 1; n <= s->order && power; n++) {
        int rest_order = s->order - n;
        weight *= -h / n;
        memset(b, 0, (size_t)(s->order + 1) * sizeof *b);
        b[0] = power;
        if (!rest && (!expand(s, power, rest_order, NULL, 0, b) || !place(s, rest_order, b, a))) return false;
        for (int k = n; k <= s->order; k++) sum[k] = plus(s->g, sum[k], times(s->g, weight, b[k - n]));
        power = along(s->g, power, s->leaf[0], s->field[task]);
    }
    for (int k = 1; k <= s->order; k++) a[k] = plus(s->g, a[k], sum[k]);
    return true;
}

static bool map_step(series *s, func *f, double h, node **a) {
    graph *g = s->g;
    node *clock = graph_input(g, s->leaf[0]->dtype, 0, NULL), *y = word_build_map(f, g, s->leaf[0], clock);
    node **b = nodes(g, s->order + 1), *zero = clock ? g_zeros_like(g, clock) : NULL;
    if (!y || !b || !expand(s, y, s->order, clock, h, b)) return false;
    for (int k = 0; k <= s->order; k++)
        if (b[k] && !graph_substitute(g, 1, &b[k], 1, &clock, &zero)) return false;
    if (!place(s, s->order, b, a)) return false;
    memcpy(a + 1, b + 1, (size_t)s->order * sizeof *a); /* b[0] is theta: word_check_map */
    return true;
}

/* a[1..order] -> z[0..order-1]. sum[n][m] = sum over i_1 + ... + i_n = m of D_{i_1} ... D_{i_{n-1}} Z_{i_n}. */
static bool logarithm(graph *g, node *theta, int order, node *const *a, node **z) {
    int rows = order + 1;
    node **sum = nodes(g, rows * rows);
    if (!sum) return false;
    for (int m = 1; m <= order && !graph_failed(g); m++) {
        node *rest = a[m];
        double factorial = 1;
        for (int n = 2; n <= m; n++) {
            node *total = NULL;
            for (int i = 1; i <= m - n + 1; i++)
                total = plus(g, total, along(g, sum[(n - 1) * rows + m - i], theta, z[i - 1]));
            sum[n * rows + m] = total;
            factorial *= n;
            rest = plus(g, rest, times(g, -1 / factorial, total));
        }
        z[m - 1] = sum[rows + m] = rest;
    }
    return !graph_failed(g);
}

/* The first term of a step is rate times a vector of its task or map: half the brackets of those of all pairs of steps.
 */
static bool conflict_build(const word *w, graph *g, node *theta, node *const *vector, node **out) {
    int kinds = w->n + w->n_maps;
    double *before = graph_alloc(g, (size_t)kinds * sizeof *before), *weight;
    if (!before || !(weight = graph_alloc(g, (size_t)kinds * (size_t)kinds * sizeof *weight))) return false;
    memset(before, 0, (size_t)kinds * sizeof *before);
    memset(weight, 0, (size_t)kinds * (size_t)kinds * sizeof *weight);
    for (int s = 0; s < w->m; s++) {
        bool map = w->kind[s] == STEP_MAP;
        int j = map ? w->n + w->step[s] : w->step[s];
        double h = map ? w->rate[s] : -w->rate[s];
        for (int i = 0; i < kinds; i++) {
            weight[j * kinds + i] += h * before[i]; /* D j . i */
            weight[i * kinds + j] -= h * before[i];
        }
        before[j] += h;
    }
    *out = NULL;
    for (int j = 0; j < kinds; j++) {
        node *direction = NULL;
        for (int i = 0; i < kinds; i++)
            if (i != j && weight[j * kinds + i] != 0)
                direction = plus(g, direction, times(g, 0.5 * weight[j * kinds + i], vector[i]));
        *out = plus(g, *out, along(g, vector[j], theta, direction));
    }
    return !graph_failed(g);
}

static bool checked(word *w, graph *g, const node *theta, int order) {
    for (int s = 0; s < w->m; s++) {
        err e = { 0 };
        if (w->kind[s] != STEP_MAP || !word_check_map(w, s, order, NULL, theta, &e)) continue;
        word_failed(s, e.status, &e);
        graph_fail(g, e.status, "%s", e.text);
        return false;
    }
    return true;
}

bool word_series(word *w, graph *g, node *theta, int order, node **z, node **conflict) {
    series s = { .w = w, .g = g, .order = order, .leaf = nodes(g, order + 1), .field = nodes(g, w->n + w->n_maps) };
    node **a = nodes(g, order + 1);
    s.jets = graph_alloc(g, (size_t)w->m * sizeof *s.jets);
    if (!s.leaf || !s.field || !a || !s.jets || !checked(w, g, theta, order)) return false;
    memset(s.jets, 0, (size_t)w->m * sizeof *s.jets);
    s.leaf[0] = theta;
    for (int i = 1; i <= order; i++) s.leaf[i] = bea_hole(g, theta);
    for (int i = 0; i < w->n && !graph_failed(g); i++) s.field[i] = word_build_task(w, i, g, theta);
    for (int i = 0; i < w->m && !graph_failed(g); i++) {
        bool ok = w->kind[i] == STEP_MAP     ? map_step(&s, w->map[w->step[i]].f, w->rate[i], a)
                  : w->kind[i] == STEP_EXACT ? exact_step(&s, w->step[i], w->rate[i], a)
                                             : euler_step(&s, w->step[i], w->rate[i], a);
        if (!ok) return false;
    }
    if (graph_failed(g) || !logarithm(g, theta, order, a, z)) return false;
    if (!conflict) return true;
    for (int i = 0; i < w->n_maps && !graph_failed(g); i++) { /* a map's first term, per unit of its rate */
        node *clock = graph_input(g, theta->dtype, 0, NULL), *y = word_build_map(w->map[i].f, g, theta, clock);
        node *zero = clock ? g_zeros_like(g, clock) : NULL,
             *v = y ? along(g, y, clock, g_full(g, theta->dtype, 0, NULL, 1)) : NULL;
        if (v && !graph_substitute(g, 1, &v, 1, &clock, &zero)) return false;
        s.field[w->n + i] = v;
    }
    return conflict_build(w, g, theta, s.field, conflict);
}
