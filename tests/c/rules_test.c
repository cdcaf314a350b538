/* rules_test.c - what the derivatives of op_test.c cannot see: kernels against naive loops in every dtype,
 * simplifications against unsimplified arithmetic on random programs, the forms gradients of one flat vector
 * must take, NaN and infinities, and bad input. */
#include "prog.h"

/* ---- kernels against naive loops ---- */

typedef struct nd { /* any element by its index: the reference's only tool */
    int ndim;
    int64_t shape[5], n;
    double v[600];
} nd;

static nd nd_new(int ndim, const int64_t *shape) {
    nd a = { .ndim = ndim, .n = 1 };
    for (int i = 0; i < ndim; i++) a.n *= a.shape[i] = shape[i];
    return a;
}

static void nd_index(const nd *a, int64_t at, int64_t *index) {
    for (int i = a->ndim - 1; i >= 0; i--) index[i] = at % a->shape[i], at /= a->shape[i];
}

static int64_t nd_at(const nd *a, const int64_t *index) {
    int64_t at = 0;
    for (int i = 0; i < a->ndim; i++) at = at * a->shape[i] + index[i];
    return at;
}

static nd nd_random(int ndim, const int64_t *shape, rng *r) {
    nd a = nd_new(ndim, shape);
    for (int64_t i = 0; i < a.n; i++) a.v[i] = (double)rng_below(r, 41) - 20; /* exact in every dtype */
    return a;
}

/* Builds, runs and compares; y is what naive loops gave. */
static void same_as(ctx *c, bk_dtype dtype, const nd *a, node *(*build)(graph *g, node *x, const int64_t *ints),
                    const int64_t *ints, const nd *y, const char *name) {
    prog q = { .g = ops_graph(c), .n_in = 1, .n_out = 1 };
    tensor arg, res;
    err e = { 0 };
    if (tensor_new(c, dtype, a->ndim, a->shape, &arg, &e)) exit(3);
    vec_cast(a->n, dtype, tensor_data(&arg), BK_FLOAT64, a->v);
    q.in[0] = graph_input(q.g, dtype, a->ndim, a->shape);
    q.out[0] = build(q.g, q.in[0], ints);
    if (prog_plan(&q, name, "compiles") && prog_run(&q, name, &arg, &res)) {
        bool same = shape_equal(res.ndim, res.shape, y->ndim, y->shape);
        double worst = 0;
        for (int64_t i = 0; same && i < y->n; i++) {
            double d = fabs(tensor_get(&res, i) - y->v[i]);
            if (!(d <= worst)) worst = d;
        }
        check(same && worst <= (strcmp(name, "softmax") ? 0 : 1e-6), name, dtype_name(dtype), same ? worst : INFINITY);
        drop(1, &res);
    }
    drop(1, &arg);
    prog_free(&q);
}

static node *do_permute(graph *g, node *x, const int64_t *ints) {
    return g_permute(g, x, ints);
}
static node *do_broadcast(graph *g, node *x, const int64_t *ints) {
    return g_broadcast(g, x, (int)ints[0], ints + 1);
}
static node *do_slice(graph *g, node *x, const int64_t *ints) {
    return g_slice(g, x, ints, ints + x->ndim);
}
static node *do_pad(graph *g, node *x, const int64_t *ints) {
    return g_pad(g, x, ints, ints + x->ndim);
}
static node *do_flip(graph *g, node *x, const int64_t *ints) {
    return g_flip(g, x, (int)ints[0]);
}
static node *do_sum(graph *g, node *x, const int64_t *ints) {
    return g_sum(g, x, (unsigned)ints[0], ints[1]);
}
static node *do_cumsum(graph *g, node *x, const int64_t *ints) {
    return g_cumsum(g, x, (int)ints[0]);
}
static node *do_argmax(graph *g, node *x, const int64_t *ints) {
    return g_argmax(g, x, (int)ints[0]);
}
static node *do_max(graph *g, node *x, const int64_t *ints) {
    return g_reduce_max(g, x, (int)ints[0]);
}
static node *do_softmax(graph *g, node *x, const int64_t *ints) {
    return (void)ints, g_softmax(g, x);
}
static node *do_concat(graph *g, node *x, const int64_t *ints) {
    return g_concat(g, (int)ints[0], 3, (node *[]){ x, g_narrow(g, x, (int)ints[0], 0, 1), g_scale(g, 2, x) });
}

static void test_kernels(ctx *c, rng *random) {
    for (int round = 0; round < 40; round++)
        for (int dtype = 0; dtype < 3; dtype++) {
            int64_t shape[4], index[5], from[5];
            int nd_ = 1 + (int)rng_below(random, 4);
            for (int i = 0; i < nd_; i++) shape[i] = 1 + (int64_t)rng_below(random, 4);
            nd a = nd_random(nd_, shape, random), y;
            int axis = (int)rng_below(random, (uint64_t)nd_);

            int64_t order[4], out[5], ints[10];
            for (int64_t i = 0; i < nd_; i++) rng_permute_next(random, i, order);
            for (int i = 0; i < nd_; i++) out[i] = shape[order[i]];
            y = nd_new(nd_, out);
            for (int64_t k = 0; k < y.n; k++) {
                nd_index(&y, k, index);
                for (int i = 0; i < nd_; i++) from[order[i]] = index[i];
                y.v[k] = a.v[nd_at(&a, from)];
            }
            same_as(c, dtype, &a, do_permute, order, &y, "permute");

            ints[0] = nd_ + 1;
            ints[1] = 2;
            for (int i = 0; i < nd_; i++) ints[2 + i] = shape[i] == 1 ? 3 : shape[i];
            y = nd_new(nd_ + 1, ints + 1);
            if (y.n <= 600) {
                for (int64_t k = 0; k < y.n; k++) {
                    nd_index(&y, k, index);
                    for (int i = 0; i < nd_; i++) from[i] = shape[i] == 1 ? 0 : index[i + 1];
                    y.v[k] = a.v[nd_at(&a, from)];
                }
                same_as(c, dtype, &a, do_broadcast, ints, &y, "broadcast_to");
            }

            for (int i = 0; i < nd_; i++) {
                ints[i] = (int64_t)rng_below(random, (uint64_t)shape[i]);
                ints[nd_ + i] = 1 + (int64_t)rng_below(random, (uint64_t)(shape[i] - ints[i]));
            }
            y = nd_new(nd_, ints + nd_);
            for (int64_t k = 0; k < y.n; k++) {
                nd_index(&y, k, index);
                for (int i = 0; i < nd_; i++) index[i] += ints[i];
                y.v[k] = a.v[nd_at(&a, index)];
            }
            same_as(c, dtype, &a, do_slice, ints, &y, "slice");

            for (int i = 0; i < nd_; i++) {
                ints[i] = (int64_t)rng_below(random, 2);
                ints[nd_ + i] = (int64_t)rng_below(random, 2);
                out[i] = shape[i] + ints[i] + ints[nd_ + i];
            }
            y = nd_new(nd_, out);
            if (y.n <= 600) {
                for (int64_t k = 0; k < a.n; k++) {
                    nd_index(&a, k, index);
                    for (int i = 0; i < nd_; i++) index[i] += ints[i];
                    y.v[nd_at(&y, index)] = a.v[k];
                }
                same_as(c, dtype, &a, do_pad, ints, &y, "pad");
            }

            ints[0] = axis;
            y = a;
            for (int64_t k = 0; k < a.n; k++) {
                nd_index(&a, k, index);
                index[axis] = shape[axis] - 1 - index[axis];
                y.v[k] = a.v[nd_at(&a, index)];
            }
            same_as(c, dtype, &a, do_flip, ints, &y, "flip");

            for (int64_t k = 0; k < a.n; k++) {
                nd_index(&a, k, index);
                y.v[k] = 0;
                for (int64_t to = index[axis]; to >= 0; to--) {
                    index[axis] = to;
                    y.v[k] += a.v[nd_at(&a, index)];
                }
            }
            same_as(c, dtype, &a, do_cumsum, ints, &y, "cumsum");

            memcpy(out, shape, sizeof shape);
            out[axis] = 2 * shape[axis] + 1;
            y = nd_new(nd_, out);
            for (int64_t k = 0; k < y.n; k++) {
                nd_index(&y, k, index);
                bool twice = index[axis] > shape[axis];
                index[axis] = twice ? index[axis] - shape[axis] - 1 : index[axis] % shape[axis];
                y.v[k] = a.v[nd_at(&a, index)] * (twice ? 2 : 1);
            }
            same_as(c, dtype, &a, do_concat, ints, &y, "concat");

            ints[0] = (int64_t)rng_below(random, 1u << nd_); /* any set of axes, adjacent or not */
            for (ints[1] = 0; ints[1] < 2; ints[1]++) {
                int n = 0;
                for (int i = 0; i < nd_; i++)
                    if (!(ints[0] >> i & 1))
                        out[n++] = shape[i];
                    else if (ints[1])
                        out[n++] = 1;
                y = nd_new(n, out);
                for (int64_t k = 0; k < a.n; k++) {
                    nd_index(&a, k, index);
                    n = 0;
                    for (int i = 0; i < nd_; i++)
                        if (!(ints[0] >> i & 1))
                            from[n++] = index[i];
                        else if (ints[1])
                            from[n++] = 0;
                    y.v[nd_at(&y, from)] += a.v[k];
                }
                same_as(c, dtype, &a, do_sum, ints, &y, "sum");
            }

            ints[0] = axis;
            int n = 0;
            for (int i = 0; i < nd_; i++)
                if (i != axis) out[n++] = shape[i];
            nd best = nd_new(n, out);
            y = best;
            for (int64_t k = 0; k < y.n; k++) y.v[k] = -INFINITY;
            for (int64_t k = 0; k < a.n; k++) { /* row-major: the first maximum comes first */
                nd_index(&a, k, index);
                n = 0;
                for (int i = 0; i < nd_; i++)
                    if (i != axis) from[n++] = index[i];
                int64_t at = nd_at(&y, from);
                if (a.v[k] > y.v[at]) y.v[at] = a.v[k], best.v[at] = (double)index[axis];
            }
            same_as(c, dtype, &a, do_argmax, ints, &best, "argmax");
            same_as(c, dtype, &a, do_max, ints, &y, "reduce_max");

            if (dtype == BK_INT64) continue;
            y = a;
            int64_t cols = shape[nd_ - 1];
            for (int64_t k = 0; k < a.n; k++) {
                double total = 0;
                for (int64_t j = 0; j < cols; j++) total += exp(a.v[k / cols * cols + j] - a.v[k]);
                y.v[k] = 1 / total;
            }
            same_as(c, dtype, &a, do_softmax, ints, &y, "softmax");
        }
}

/* Large sums and transposes, where kernels work by blocks; long float32 sums keep their accuracy. */
static void test_large(ctx *c, rng *random) {
    static const struct { int64_t rows, cols; } sizes[] = { { 300, 257 }, { 1, 5000 }, { 5000, 1 }, { 33, 1030 } };
    for (int dtype = 0; dtype < 2; dtype++)
        for (int i = 0; i < 4; i++) {
            int64_t rows = sizes[i].rows, cols = sizes[i].cols;
            tensor a = noise(c, dtype, random, 2, (int64_t[]){ rows, cols }), res[4];
            prog q = { .g = ops_graph(c), .n_in = 1, .n_out = 4 };
            node *x = q.in[0] = graph_input(q.g, dtype, 2, a.shape);
            q.out[0] = g_transpose(q.g, x);
            q.out[1] = g_sum(q.g, x, 1, false);
            q.out[2] = g_sum(q.g, x, 2, false);
            q.out[3] =
                g_sum(q.g, g_permute(q.g, g_reshape(q.g, x, 3, (int64_t[]){ rows, cols, 1 }), (int64_t[]){ 1, 2, 0 }),
                      7, false);
            if (prog_plan(&q, "large", "compiles") && prog_run(&q, "large", &a, res)) {
                bool same = true;
                double worst[3] = { 0 }, total = 0, tol = dtype == BK_FLOAT32 ? 1e-6 : 1e-13;
                for (int64_t r = 0; r < rows; r++) {
                    double sum = 0, size = 0;
                    for (int64_t k = 0; k < cols; k++) {
                        double v = tensor_get(&a, r * cols + k);
                        same = same && v == tensor_get(&res[0], k * rows + r);
                        sum += v;
                        size += fabs(v);
                    }
                    total += sum;
                    worst[0] = fmax(worst[0], fabs(sum - tensor_get(&res[2], r)) / size);
                }
                for (int64_t k = 0; k < cols; k++) {
                    double sum = 0, size = 0;
                    for (int64_t r = 0; r < rows; r++) {
                        sum += tensor_get(&a, r * cols + k);
                        size += fabs(tensor_get(&a, r * cols + k));
                    }
                    worst[1] = fmax(worst[1], fabs(sum - tensor_get(&res[1], k)) / size);
                }
                worst[2] = fabs(total - tensor_get(&res[3], 0)) / (double)(rows * cols);
                check(same, "permute", "large transpose", 0);
                for (int k = 0; k < 3; k++) check(worst[k] < tol, "sum", "large sum", worst[k]);
                drop(4, res);
            }
            drop(1, &a);
            prog_free(&q);
        }
}

/* ---- simplifications: random programs against the same arithmetic done at once ---- */

enum { CELLS = 64, STEPS = 40 };
typedef struct cell {
    node *n;
    int64_t rows, cols;
    double v[CELLS];
} cell;

static cell cell_full(graph *g, int64_t rows, int64_t cols, double x) {
    cell c = { g_full(g, BK_FLOAT64, 2, (int64_t[]){ rows, cols }, x), rows, cols, { 0 } };
    for (int64_t i = 0; i < rows * cols; i++) c.v[i] = x;
    return c;
}

static node *vector(graph *g, node *a) {
    return g_reshape(g, a, 1, (int64_t[]){ -1 });
}
static node *as_row(graph *g, node *a) {
    return g_reshape(g, a, 2, (int64_t[]){ 1, -1 });
}

static void random_program(ctx *c, rng *r, int number) {
    static cell cells[STEPS + 4];
    prog q = { .g = ops_graph(c), .n_in = 3, .n_out = 1 };
    tensor args[3], res;
    int n = 0;
    err e = { 0 };
    for (; n < 3; n++) {
        cell *x = &cells[n];
        x->rows = n ? 1 : 4, x->cols = n ? 6 : 3;
        q.in[n] = x->n = graph_input(q.g, BK_FLOAT64, 2, (int64_t[]){ x->rows, x->cols });
        if (tensor_new(c, BK_FLOAT64, 2, x->n->shape, &args[n], &e)) exit(3);
        for (int64_t i = 0; i < x->rows * x->cols; i++)
            ((double *)tensor_data(&args[n]))[i] = x->v[i] = (double)rng_below(r, 9) - 4;
    }
    cells[n++] = cell_full(q.g, 1, 6, 0);
    static const double factors[] = { 0, 1, -1, 2, 0.5, -3 };
    for (int step = 0; step < STEPS; step++) {
        const cell *a = &cells[rng_below(r, (uint64_t)n)], *b = NULL;
        if (rng_next(r) & 1) a = &cells[n - 1];
        for (int tries = 0; tries < 30 && !b; tries++) {
            const cell *x = &cells[rng_below(r, (uint64_t)n)];
            if (x->rows == a->rows && x->cols == a->cols) b = x;
        }
        if (!b) b = a;
        cell y = *a;
        double x = factors[rng_below(r, 6)];
        int64_t count = a->rows * a->cols, from[2] = { 0, 0 }, size[2] = { a->rows, a->cols };
        int axis = (int)(rng_next(r) & 1);
        switch (rng_below(r, 15)) {
        case 0:
        case 1:
            if (a->rows == 1)
                y.n = as_row(q.g, g_add(q.g, vector(q.g, a->n), vector(q.g, b->n)));
            else
                y.n = g_add(q.g, a->n, b->n);
            for (int64_t i = 0; i < count; i++) y.v[i] = a->v[i] + b->v[i];
            break;
        case 2:
            y.n = g_sub(q.g, a->n, b->n);
            for (int64_t i = 0; i < count; i++) y.v[i] = a->v[i] - b->v[i];
            break;
        case 3:
            y.n = g_mul(q.g, a->n, b->n);
            for (int64_t i = 0; i < count; i++) y.v[i] = a->v[i] * b->v[i];
            break;
        case 4:
            y.n = g_scale(q.g, x, a->n);
            for (int64_t i = 0; i < count; i++) y.v[i] = x * a->v[i];
            break;
        case 5:
            y.n = g_offset(q.g, x, a->n);
            for (int64_t i = 0; i < count; i++) y.v[i] = x + a->v[i];
            break;
        case 6:
            y = cell_full(q.g, a->rows, a->cols, x);
            break;
        case 7: /* transpose */
            y.n = g_transpose(q.g, a->n);
            y.rows = a->cols, y.cols = a->rows;
            for (int64_t i = 0; i < count; i++) y.v[i % a->cols * a->rows + i / a->cols] = a->v[i];
            break;
        case 8: /* reshape to a row, or of a row to two */
            y.rows = a->rows == 1 && a->cols % 2 == 0 ? 2 : 1;
            y.cols = count / y.rows;
            y.n = g_reshape(q.g, a->n, 2, (int64_t[]){ y.rows, -1 });
            break;
        case 9:
        case 10: /* a part along one axis; nothing along the other */
            size[axis] = 1 + (int64_t)rng_below(r, (uint64_t)size[axis]);
            from[axis] = (int64_t)rng_below(r, (uint64_t)((axis ? a->cols : a->rows) - size[axis] + 1));
            if (a->rows == 1)
                y.n = as_row(q.g, g_narrow(q.g, vector(q.g, a->n), 0, from[1], size[1]));
            else
                y.n = g_slice(q.g, a->n, from, size);
            y.rows = size[0], y.cols = size[1];
            for (int64_t i = 0; i < size[0] * size[1]; i++)
                y.v[i] = a->v[(i / size[1] + from[0]) * a->cols + i % size[1] + from[1]];
            break;
        case 11:
        case 12: { /* zeros around */
            int64_t before[2] = { 0, 0 }, after[2] = { 0, 0 };
            before[axis] = (int64_t)rng_below(r, 4);
            after[axis] = (int64_t)rng_below(r, 3);
            y.rows += before[0] + after[0], y.cols += before[1] + after[1];
            if (y.rows * y.cols > CELLS) continue;
            if (a->rows == 1 && y.rows == 1)
                y.n = as_row(q.g, g_pad(q.g, vector(q.g, a->n), before + 1, after + 1));
            else
                y.n = g_pad(q.g, a->n, before, after);
            memset(y.v, 0, sizeof y.v);
            for (int64_t i = 0; i < count; i++)
                y.v[(i / a->cols + before[0]) * y.cols + i % a->cols + before[1]] = a->v[i];
            break;
        }
        case 13: /* sum, and back to the size */
            y.n = g_broadcast(q.g, g_sum(q.g, a->n, 1u << axis, true), 2, (int64_t[]){ a->rows, a->cols });
            for (int64_t i = 0; i < count; i++) {
                y.v[i] = 0;
                for (int64_t k = 0; k < count; k++)
                    if (axis ? k / a->cols == i / a->cols : k % a->cols == i % a->cols) y.v[i] += a->v[k];
            }
            break;
        default: /* side by side, and in reverse */
            if (2 * count > CELLS) continue;
            y.n = g_flip(q.g, g_concat(q.g, 1, 2, (node *[]){ a->n, b->n }), 1);
            y.cols = 2 * a->cols;
            for (int64_t i = 0; i < 2 * count; i++) {
                int64_t col = y.cols - 1 - i % y.cols, row = i / y.cols;
                y.v[i] = col < a->cols ? a->v[row * a->cols + col] : b->v[row * a->cols + col - a->cols];
            }
        }
        double top = 0;
        for (int64_t i = 0; i < y.rows * y.cols; i++) top = fmax(top, fabs(y.v[i]));
        if (top < 1e6) cells[n++] = y; /* beyond, sums in another order would round */
    }
    node *flat[STEPS + 4];
    int64_t at = 0;
    for (int i = 0; i < n; i++) flat[i] = vector(q.g, cells[i].n);
    q.out[0] = g_concat(q.g, 0, n, flat);
    char what[60];
    snprintf(what, sizeof what, "random program %d, cell", number);
    if (prog_plan(&q, "simplify", what) && prog_run(&q, "simplify", args, &res)) {
        double worst = 0;
        for (int i = 0; i < n; i++)
            for (int64_t k = 0; k < cells[i].rows * cells[i].cols; k++, at++) {
                double d = fabs(tensor_get(&res, at) - cells[i].v[k]) / (1 + fabs(cells[i].v[k]));
                if (!(d <= worst)) worst = d;
            }
        check(worst <= 1e-9 && at == tensor_count(&res), "simplify", what, worst);
        drop(1, &res);
    }
    drop(3, args);
    prog_free(&q);
}

/* Sums of scaled pieces of one vector, laid at random places of another: apart, equal, overlapping. */
static void test_pieces(ctx *c, rng *r) {
    enum { N = 12, TERMS = 5 };
    prog q = { .g = ops_graph(c), .n_in = 1, .n_out = 1 };
    tensor arg = noise(c, BK_FLOAT64, r, 1, (int64_t[]){ N }), res;
    q.in[0] = graph_input(q.g, BK_FLOAT64, 1, (int64_t[]){ N });
    node *sum = NULL;
    double want[N] = { 0 };
    static const double factors[] = { 1, 1, -1, 2 };
    int64_t grid = 1 + (int64_t)rng_below(r, 4); /* a coarse grid makes equal pieces likely */
    for (int k = 0; k < TERMS; k++) {
        int64_t size = grid * (1 + (int64_t)rng_below(r, (uint64_t)(N / grid / 2)));
        int64_t to = grid * (int64_t)rng_below(r, (uint64_t)((N - size) / grid + 1)), after = N - size - to;
        int64_t from = (int64_t)rng_below(r, (uint64_t)(N - size + 1));
        double x = factors[rng_below(r, 4)];
        node *piece = g_scale(q.g, x, g_pad(q.g, g_narrow(q.g, q.in[0], 0, from, size), &to, &after));
        sum = sum ? g_add(q.g, sum, piece) : piece;
        for (int64_t i = 0; i < size; i++) want[to + i] += x * tensor_get(&arg, from + i);
    }
    q.out[0] = sum;
    if (prog_plan(&q, "pieces", "compiles") && prog_run(&q, "pieces", &arg, &res)) {
        double worst = 0;
        for (int i = 0; i < N; i++) worst = fmax(worst, fabs(tensor_get(&res, i) - want[i]));
        check(worst < 1e-14 * 64, "pieces", "a sum of pieces", worst);
        drop(1, &res);
    }
    drop(1, &arg);
    prog_free(&q);
}

/* ---- the forms that matter ---- */


static node *four_parts(graph *g, node *theta, node *x) { /* a loss of a flat vector of four parts: two layers */
    node *p[4];
    static const int64_t first[] = { 0, 12, 16, 24 }, size[] = { 12, 4, 8, 2 };
    for (int i = 0; i < 4; i++) p[i] = g_narrow(g, theta, 0, first[i], size[i]);
    node *h = g_tanh(g, g_add(g, g_matmul(g, x, g_reshape(g, p[0], 2, (int64_t[]){ 3, 4 })), p[1]));
    node *y = g_add(g, g_matmul(g, h, g_reshape(g, p[2], 2, (int64_t[]){ 4, 2 })), p[3]);
    return g_mean_all(g, g_square(g, y));
}

/* Gradients, Hessian-vector products and brackets of one flat vector are one concatenation of parts without
 * zeros, under at most one factor. */
static bool one_concat(const node *n, int parts) {
    if (strcmp(n->op->name, "scale") == 0) n = n->in[0];
    if (n->op != &op_concat || n->n_in != parts) return false;
    for (int k = 0; k < parts; k++)
        if (n->in[k]->op == &op_full) return false;
    return true;
}

static int count_ops(graph *g, node *out, const op_row *op) {
    int n, found = 0;
    node **sorted = graph_sorted(g, 1, &out, &n);
    for (int i = 0; i < n; i++) found += sorted[i]->op == op;
    return found;
}

static void test_forms(ctx *c) {
    graph *g = ops_graph(c);
    node *theta = graph_input(g, BK_FLOAT64, 1, (int64_t[]){ 26 }), *hv[2], *grads[2];
    for (int i = 0; i < 2; i++)
        grads[i] = graph_grad(g, four_parts(g, theta, graph_input(g, BK_FLOAT64, 2, (int64_t[]){ 5, 3 })), theta, "");
    check(one_concat(grads[0], 4), "forms", "a gradient is one concatenation", 0);
    check(count_ops(g, grads[0], &op_pad) == 0, "forms", "and pads nothing", count_ops(g, grads[0], &op_pad));
    for (int i = 0; i < 2; i++)
        if (!graph_jvp(g, 1, &grads[i], 1, &theta, &grads[1 - i], &hv[i])) hv[i] = NULL;
    check(hv[0] && one_concat(hv[0], 4), "forms", "a Hessian-vector product too", 0);
    node *lie = g_sub(g, hv[1], hv[0]);
    check(lie && one_concat(lie, 4), "forms", "a bracket too", 0);
    check(lie && count_ops(g, lie, &op_pad) == 0, "forms", "and pads nothing", lie ? count_ops(g, lie, &op_pad) : -1);
    int slices = 0, n;
    node **sorted = lie ? graph_sorted(g, 1, &lie, &n) : NULL;
    for (int i = 0; sorted && i < n; i++) slices += sorted[i]->op == &op_slice && sorted[i]->in[0] != theta;
    check(slices == 0, "forms", "slices of concatenations are their parts", slices);

    node *a = graph_input(g, BK_FLOAT64, 1, (int64_t[]){ 4 }), *b = graph_input(g, BK_FLOAT64, 1, (int64_t[]){ 4 });
    node *zero = g_zeros_like(g, a);
    int64_t four = 4, one = 1;
    struct {
        const char *what;
        node *got, *want;
    } same[] = {
        { "a + 0", g_add(g, a, zero), a },
        { "a - 0", g_sub(g, a, zero), a },
        { "0 a", g_mul(g, zero, a), zero },
        { "1 a", g_mul(g, g_full(g, BK_FLOAT64, 0, NULL, 1), a), a },
        { "0 scale", g_scale(g, 0, a), zero },
        { "a + b is b + a", g_add(g, a, b), g_add(g, b, a) },
        { "a b is b a", g_mul(g, a, b), g_mul(g, b, a) },
        { "(2a) b", g_mul(g, g_scale(g, 2, a), b), g_scale(g, 2, g_mul(g, b, a)) },
        { "a - a", g_sub(g, a, a), zero },
        { "a + a", g_add(g, a, a), g_scale(g, 2, a) },
        { "scales merge", g_scale(g, 2, g_scale(g, 0.5, a)), a },
        { "reshape back", g_reshape(g, g_reshape(g, a, 2, (int64_t[]){ 2, 2 }), 1, &four), a },
        { "transpose twice", g_transpose(g, g_transpose(g, g_reshape(g, a, 2, (int64_t[]){ 2, 2 }))),
          g_reshape(g, a, 2, (int64_t[]){ 2, 2 }) },
        { "flip twice", g_flip(g, g_flip(g, a, 0), 0), a },
        { "slice of a pad", g_narrow(g, g_pad(g, a, &one, &four), 0, 1, 4), a },
        { "slice outside a pad", g_narrow(g, g_pad(g, a, &four, &one), 0, 0, 4), zero },
        { "slice of a concat", g_narrow(g, g_concat(g, 0, 2, (node *[]){ a, b }), 0, 4, 4), b },
        { "cast to its own dtype", g_cast(g, a, BK_FLOAT64), a },
        { "pads side by side", g_add(g, g_pad(g, a, &(int64_t){ 0 }, &four), g_pad(g, b, &four, &(int64_t){ 0 })),
          g_concat(g, 0, 2, (node *[]){ a, b }) },
        { "sum of a constant", g_sum_all(g, g_full(g, BK_FLOAT64, 1, &four, 0.5)), g_full(g, BK_FLOAT64, 0, NULL, 2) },
        { "exp 0", g_exp(g, zero), g_full(g, BK_FLOAT64, 1, &four, 1) },
        { "a^2", g_pow(g, a, g_full(g, BK_FLOAT64, 0, NULL, 2)), g_square(g, a) },
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        check(same[i].got && same[i].got == same[i].want, "simplify", same[i].what, 0);
    graph_free(g);
}

/* Division stays division where the reciprocal is not exact; a scale by infinity does not reach zeros. */
static node *tenth(graph *g, node *x, const int64_t *ints) {
    return (void)ints, g_div(g, x, g_full(g, x->dtype, 0, NULL, 10));
}
static node *infinite_pad(graph *g, node *x, const int64_t *ints) {
    return g_pad(g, g_scale(g, INFINITY, x), ints, ints + 1);
}

static void test_exact(ctx *c) {
    nd a = nd_new(1, (int64_t[]){ 20 }), y = a;
    for (int i = 0; i < 20; i++) a.v[i] = i, y.v[i] = i / 10.0;
    same_as(c, BK_FLOAT64, &a, tenth, NULL, &y, "a / 10");
    nd b = nd_new(1, (int64_t[]){ 1 });
    b.v[0] = 1;
    prog q = { .g = ops_graph(c), .n_in = 1, .n_out = 1 };
    tensor arg, res;
    err e = { 0 };
    if (tensor_new(c, BK_FLOAT64, 1, b.shape, &arg, &e)) exit(3);
    ((double *)tensor_data(&arg))[0] = 1;
    q.in[0] = graph_input(q.g, BK_FLOAT64, 1, b.shape);
    q.out[0] = infinite_pad(q.g, q.in[0], (int64_t[]){ 1, 1 });
    if (prog_plan(&q, "pad", "compiles") && prog_run(&q, "pad", &arg, &res)) {
        check(tensor_get(&res, 0) == 0 && isinf(tensor_get(&res, 1)), "pad", "zeros stay zeros beside infinity",
              tensor_get(&res, 0));
        drop(1, &res);
    }
    drop(1, &arg);
    prog_free(&q);
}

/* ---- NaN, infinities and bad input ---- */

static void test_special(ctx *c) {
    double in[12] = { 1, NAN, 2, -INFINITY, -INFINITY, -INFINITY, 1000, 999, 998, 3, INFINITY, 1 }, out[4];
    const void *args[] = { in };
    void *results[] = { out };
    err e = { 0 };
    graph *g = ops_graph(c);
    node *x = graph_input(g, BK_FLOAT64, 2, (int64_t[]){ 4, 3 }), *y = g_logsumexp(g, x);
    plan *p = NULL;
    check(plan_new(g, 1, &x, 1, &y, NULL, &p, &e) == BK_OK && plan_run(p, args, results, &e) == BK_OK, "logsumexp", "runs",
          0);
    check(isnan(out[0]) && out[1] == -INFINITY && fabs(out[2] - 1000.40760596444438) < 1e-9 && out[3] == INFINITY,
          "logsumexp", "NaN, -inf, large and inf rows", out[2]);
    plan_free(p);
    node *m = g_reduce_max(g, x, 1);
    check(plan_new(g, 1, &x, 1, &m, NULL, &p, &e) == BK_OK && plan_run(p, args, results, &e) == BK_OK, "max", "runs", 0);
    check(isnan(out[0]) && out[1] == -INFINITY && out[2] == 1000 && out[3] == INFINITY, "max", "NaN wins", out[0]);
    plan_free(p);
    graph_free(g);
}

typedef node *(*bad_build)(graph *g, node *a, node *i);
static node *bad_add(graph *g, node *a, node *i) {
    return (void)i, g_add(g, a, g_full(g, BK_FLOAT64, 1, (int64_t[]){ 5 }, 1));
}
static node *bad_reshape(graph *g, node *a, node *i) {
    return (void)i, g_reshape(g, a, 2, (int64_t[]){ 5, -1 });
}
static node *bad_reshape2(graph *g, node *a, node *i) {
    return (void)i, g_reshape(g, a, 1, (int64_t[]){ 7 });
}
static node *bad_permute(graph *g, node *a, node *i) {
    return (void)i, g_permute(g, a, (int64_t[]){ 0, 0 });
}
static node *bad_broadcast(graph *g, node *a, node *i) {
    return (void)i, g_broadcast(g, a, 2, (int64_t[]){ 3, 5 });
}
static node *bad_slice(graph *g, node *a, node *i) {
    return (void)i, g_narrow(g, a, 1, 2, 3);
}
static node *bad_axis(graph *g, node *a, node *i) {
    return (void)i, g_cumsum(g, a, 2);
}
static node *bad_flip(graph *g, node *a, node *i) {
    return (void)i, g_flip(g, a, -1);
}
static node *bad_concat(graph *g, node *a, node *i) {
    return (void)i, g_concat(g, 0, 2, (node *[]){ a, g_transpose(g, a) });
}
static node *bad_empty_max(graph *g, node *a, node *i) {
    return (void)i, g_reduce_max(g, g_narrow(g, a, 1, 0, 0), 1);
}
static node *bad_softmax(graph *g, node *a, node *i) {
    return (void)a, g_softmax(g, i);
}
static node *bad_gather(graph *g, node *a, node *i) {
    return (void)i, g_gather(g, a, a);
}
static node *bad_take(graph *g, node *a, node *i) {
    return g_take(g, g_transpose(g, a), i);
}
static node *bad_matmul(graph *g, node *a, node *i) {
    return (void)i, g_matmul(g, a, a);
}
static node *bad_full(graph *g, node *a, node *i) {
    return (void)a, (void)i, g_full(g, BK_FLOAT64, 9, NULL, 1);
}
static node *bad_big(graph *g, node *a, node *i) {
    return (void)a, (void)i, g_full(g, BK_FLOAT64, 3, (int64_t[]){ INT64_MAX / 2, 8, 8 }, 1);
}

static void test_bad_input(ctx *c) {
    static const struct {
        bad_build build;
        const char *name, *says;
    } bad[] = {
        { bad_add, "bk.add", "(3,4) and (5)" },
        { bad_reshape, "bk.reshape", "(3,4)" },
        { bad_reshape2, "bk.reshape", "(7)" },
        { bad_permute, "bk.permute", "1..2 once" },
        { bad_broadcast, "bk.broadcast_to", "(3,5)" },
        { bad_slice, "bk.narrow", "4" },
        { bad_axis, "bk.cumsum", "1..2" },
        { bad_flip, "bk.flip", "1..2" },
        { bad_concat, "bk.concat", "(4,3)" },
        { bad_empty_max, "bk.max", "empty" },
        { bad_softmax, "bk.softmax", "float" },
        { bad_gather, "bk.gather", "int64" },
        { bad_take, "bk.take", "(4,3)" },
        { bad_matmul, "bk.matmul", "(3,4) x (3,4)" },
        { bad_full, "bk.full", "9" },
        { bad_big, "bk.full", "shape" },
    };
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        err e = { 0 };
        graph *g = ops_graph(c);
        node *a = graph_input(g, BK_FLOAT64, 2, (int64_t[]){ 3, 4 }),
             *i = graph_input(g, BK_INT64, 1, (int64_t[]){ 3 });
        node *y = bad[k].build(g, a, i);
        bool ok = !y && graph_status(g, &e) == BK_EINVAL && strstr(e.text, bad[k].name) == e.text &&
                  strstr(e.text, bad[k].says);
        if (!ok) printf("  said: %s\n", e.text);
        check(ok, bad[k].name, "bad input is refused with a message", (double)k);
        graph_free(g);
    }
    /* indices are checked when they are used: by every reader, batched or not */
    for (int form = 0; form < 6; form++)
        for (int value = 0; value < 3; value++) {
            err e = { 0 };
            graph *g = ops_graph(c);
            node *in[2] = { graph_input(g, BK_FLOAT64, 2, (int64_t[]){ 3, 3 }),
                            graph_input(g, BK_INT64, 1, (int64_t[]){ 3 }) },
                 *y;
            if (form == 0)
                y = g_gather(g, in[0], in[1]);
            else if (form == 1)
                y = g_scatter(g, in[0], in[1], 3);
            else if (form == 2)
                y = g_take(g, in[0], in[1]);
            else { /* vmap over the rows, and over rows of indices */
                node *from[2] = { graph_input(g, BK_FLOAT64, 1, (int64_t[]){ 3 }),
                                  graph_input(g, BK_INT64, form == 3, (int64_t[]){ 3 }) };
                y = form == 5 ? g_scatter(g, from[0], g_broadcast(g, from[1], 1, (int64_t[]){ 3 }), 3)
                              : g_gather(g, from[0], from[1]);
                bool batched[2] = { true, form != 3 };
                graph_vmap(g, 1, &y, 2, from, in, batched, 3);
            }
            double rows[9] = { 0 }, out[27];
            int64_t index[3] = { 0, value == 0 ? 3 : value == 1 ? -1 : 2, 1 };
            const void *args[] = { rows, index };
            void *results[] = { out };
            plan *p = NULL;
            bool ok = plan_new(g, 2, in, 1, &y, NULL, &p, &e) == BK_OK;
            bk_status s = ok ? plan_run(p, args, results, &e) : BK_ENOMEM;
            check(value == 2 ? s == BK_OK : s == BK_EINVAL && strstr(e.text, "out of range"), "index",
                  "out of range is an error", form * 10 + value);
            plan_free(p);
            graph_free(g);
        }
}

/* Constants of the same values are one node, whoever made them; not so those that differ in shape, dtype or any
 * element, nor what the host may change. */
static void test_constants(ctx *c) {
    enum { N = 100 };
    graph *g = ops_graph(c);
    err e = { 0 };
    double host[N] = { 0 };
    tensor a, b, other, shaped, small, lent, lent_too;
    bool ok = !tensor_zeros(c, BK_FLOAT64, 1, (int64_t[]){ N }, &a, &e) &&
              !tensor_zeros(c, BK_FLOAT64, 1, (int64_t[]){ N }, &b, &e) &&
              !tensor_zeros(c, BK_FLOAT64, 1, (int64_t[]){ N }, &other, &e) &&
              !tensor_zeros(c, BK_FLOAT64, 2, (int64_t[]){ 1, N }, &shaped, &e) &&
              !tensor_zeros(c, BK_FLOAT32, 1, (int64_t[]){ N }, &small, &e) &&
              !tensor_borrow(c, BK_FLOAT64, 1, (int64_t[]){ N }, host, &lent, &e) &&
              !tensor_borrow(c, BK_FLOAT64, 1, (int64_t[]){ N }, host + 1, &lent_too, &e);
    check(ok, "constants", e.text, 0);
    for (int i = 0; i < N; i++) { /* one element apart, wherever it is */
        tensor_set(&other, i, 1);
        check(graph_const(g, &a) != graph_const(g, &other), "constants", "an element apart", i);
        tensor_set(&other, i, 0);
    }
    node *n = graph_const(g, &a);
    check(n == graph_const(g, &b), "constants", "made twice, known once", 0);
    check(n != graph_const(g, &shaped) && n != graph_const(g, &small), "constants", "other shapes and dtypes", 0);
    check(n != graph_const(g, &lent) && graph_const(g, &lent) == graph_const(g, &lent) &&
              graph_const(g, &lent) != graph_const(g, &lent_too),
          "constants", "lent memory is known by its address", 0);
    graph_free(g);
    tensor *all[] = { &a, &b, &other, &shaped, &small, &lent, &lent_too };
    for (int i = 0; i < 7; i++) tensor_release(all[i]);
}

int main(void) {
    ctx *c = ctx_new(1);
    rng random = rng_seed(7);
    if (!c) return 3;
    test_kernels(c, &random);
    test_large(c, &random);
    for (int i = 0; i < 400; i++) random_program(c, &random, i);
    for (int i = 0; i < 300; i++) test_pieces(c, &random);
    test_forms(c);
    test_constants(c);
    test_exact(c);
    test_special(c);
    test_bad_input(c);
    check(atomic_load(&c->refs) == 1, "context", "nothing is left holding it", atomic_load(&c->refs));
    ctx_release(c);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
