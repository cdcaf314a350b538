/* concat.c - joining and flipping; and the rule that makes one concatenation of a sum of parts: of a flat parameter
 * vector's gradient its layers', of a recurrent step's cotangent its gates'. */
#include "ops.h"

#include <math.h>
#include <string.h>

static bool concat_shape(graph *g, node *n) {
    int axis = (int)n->ints[0];
    shape_buf sa, sb;
    const node *a = n->in[0];
    if (axis < 0 || axis >= a->ndim)
        return graph_fail(g, BK_EINVAL, "bk.concat: dim: expected 1..%d, got %d", a->ndim, axis + 1);
    for (int k = 1; k < n->n_in; k++) {
        const node *b = n->in[k];
        bool ok = b->ndim == a->ndim && b->dtype == a->dtype;
        for (int i = 0; ok && i < a->ndim; i++) ok = i == axis || a->shape[i] == b->shape[i];
        if (!ok)
            return graph_fail(g, BK_EINVAL, "bk.concat: tensors differ beyond dim %d: %s %s and %s %s", axis + 1,
                              dtype_name(a->dtype), shape_text(a->ndim, a->shape, &sa), dtype_name(b->dtype),
                              shape_text(b->ndim, b->shape, &sb));
        n->shape[axis] += b->shape[axis];
    }
    return true;
}

/* A part the planner computed in its place is there already. */
static bk_status concat_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    enum { PIECE = 1 << 16 }; /* bytes copied between two looks */
    (void)scratch;
    int axis = (int)n->ints[0];
    int64_t outer = shape_count(axis, n->shape), since = 0;
    size_t whole = (size_t)(n->count / outer) * dtype_size(n->dtype), at = 0;
    for (int k = 0; k < n->n_in; k++) {
        const size_t run = (size_t)(n->in[k]->count / outer) * dtype_size(n->dtype);
        const int64_t some = run ? PIECE / (int64_t)run + 1 : outer;
        for (int64_t o = 0, rows; o < outer; o += rows) {
            char *to = (char *)out + (size_t)o * whole + at;
            const char *from = (const char *)in[k] + (size_t)o * run;
            rows = outer - o < some ? outer - o : some;
            if (rows > 1) vec_copy_rows(rows, run, to, whole, from, run);
            else if (to != from && ctx_copy(c, to, from, run)) return BK_EINTERRUPTED;
            if (ctx_stops(c, &since, rows * ((int64_t)run / 8 + 1))) return BK_EINTERRUPTED;
        }
        at += run;
    }
    return BK_OK;
}

static node *concat_simplify(graph *g, node *n) {
    if (n->n_in == 1) return n->in[0];
    node *first = n->in[0];
    bool scaled = isfinite(first->x), constant = true;
    int empty = 0;
    for (int k = 0; k < n->n_in; k++) {
        node *a = n->in[k];
        scaled = scaled && a->op == &op_scale && a->x == first->x;
        constant = constant && a->op == &op_full && a->x == first->x;
        empty += a->count == 0;
    }
    if (constant) return g_full(g, n->dtype, n->ndim, n->shape, first->x);
    node **parts = graph_alloc(g, sizeof *parts * (size_t)n->n_in);
    if (!parts) return NULL;
    if (scaled) {
        for (int k = 0; k < n->n_in; k++) parts[k] = n->in[k]->in[0];
        return g_scale(g, first->x, g_concat(g, (int)n->ints[0], n->n_in, parts));
    }
    if (empty && empty < n->n_in) {
        int m = 0;
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k]->count) parts[m++] = n->in[k];
        return g_concat(g, (int)n->ints[0], m, parts);
    }
    return NULL;
}
static node *concat_jvp(graph *g, node *n, int k, node *t) {
    int64_t before[BK_MAX_DIMS] = { 0 }, after[BK_MAX_DIMS] = { 0 };
    int axis = (int)n->ints[0];
    for (int i = 0; i < n->n_in; i++)
        if (i != k) (i < k ? before : after)[axis] += n->in[i]->shape[axis];
    return g_pad(g, t, before, after);
}
static node *concat_transpose(graph *g, node *n, int k, node *ct) {
    int axis = (int)n->ints[0];
    int64_t at = 0;
    for (int i = 0; i < k; i++) at += n->in[i]->shape[axis];
    return g_narrow(g, ct, axis, at, n->in[k]->shape[axis]);
}
static node *concat_vmap(graph *g, node *n, node *const *in, const bool *batched, int64_t size) {
    node **parts = graph_alloc(g, sizeof *parts * (size_t)n->n_in);
    if (!parts) return NULL;
    for (int k = 0; k < n->n_in; k++) {
        int64_t shape[BK_MAX_DIMS + 1] = { size };
        memcpy(shape + 1, n->in[k]->shape, sizeof *shape * (size_t)n->ndim);
        parts[k] = batched[k] ? in[k] : g_broadcast(g, in[k], n->ndim + 1, shape);
    }
    return g_concat(g, (int)n->ints[0] + 1, n->n_in, parts);
}
static const op_arg parts_args[] = { { ARG_PARTS, "parts" }, { ARG_DIM, "dim", "1" }, { ARG_END } };
OP_BUILD(concat, g_concat(g, v[1].i < 0 ? 0 : (int)v[1].i, v[0].n, v[0].parts))
const op_row op_concat = {
    .name = "concat",
    .arity = -1,
    .kind = OP_KERNEL,
    .formula = "tensors joined along an axis",
    .shape = concat_shape,
    .run = concat_run,
    .simplify = concat_simplify,
    .jvp = concat_jvp,
    .transpose = concat_transpose,
    .vmap = concat_vmap,
    .args = parts_args,
    .build = concat_build,
    .sample = &(op_sample){
        3,
        { { 3, { SAMPLE_SIZE, 2, 4 }, 0 }, { 3, { SAMPLE_SIZE, 1, 4 }, 0 }, { 3, { SAMPLE_SIZE, 3, 4 }, 0 } },
        1,
        { 1 },
    },
    .doc = "Joined along dim, 1 by default; the other sizes agree. The parts are a list, or a:concat(b, ..., dim).",
};
node *g_concat(graph *g, int axis, int n, node *const *parts) {
    if (n < 1) return graph_fail(g, BK_EINVAL, "bk.concat: expected at least one tensor, got %d", n);
    for (int i = 0; i < n; i++)
        if (!parts[i]) return NULL;
    int64_t ints = axis;
    return graph_op(g, &op_concat, n, parts, 1, &ints, 0);
}
node *g_stack(graph *g, int n, node *const *parts) { /* along a new first axis */
    node **rows = graph_alloc(g, sizeof *rows * (size_t)(n > 0 ? n : 1));
    for (int i = 0; rows && i < n; i++) {
        if (!parts[i]) return NULL;
        int64_t shape[BK_MAX_DIMS + 1] = { 1 };
        memcpy(shape + 1, parts[i]->shape, sizeof *shape * (size_t)parts[i]->ndim);
        rows[i] = g_reshape(g, parts[i], parts[i]->ndim + 1, shape);
    }
    return rows ? g_concat(g, 0, n, rows) : NULL;
}

static node *stack_build(graph *g, const op_value *v, node **second) {
    node *s = g_stack(g, v[0].n, v[0].parts);
    (void)second;
    if (!s || v[1].i <= 0) return s;
    int64_t axes[BK_MAX_DIMS];
    for (int i = 0, j = 1; i < s->ndim; i++) axes[i] = i == v[1].i ? 0 : j++;
    return g_permute(g, s, axes);
}
const op_row op_stack = {
    .name = "stack",
    .arity = -1,
    .kind = OP_COMPOSITE,
    .formula = "tensors of one shape along a new axis",
    .args = (const op_arg[]){ { ARG_PARTS, "parts" }, { ARG_DIM, "dim", "1", .more = 1 }, { ARG_END } },
    .build = stack_build,
    .sample = &(op_sample){ 2, { { 2, { SAMPLE_SIZE, 4 }, 0 }, { 2, { SAMPLE_SIZE, 4 }, 0 } }, 1, { 1 } },
    .doc = "Tensors of one shape along a new dimension dim, 1 by default. The parts are a list, or "
           "a:stack(b, ..., dim).",
};

/* ---- flip ---- */

typedef struct flip_job {
    ctx *c;
    const char *in;
    char *out;
    int64_t size, inner; /* elements */
    size_t element;
} flip_job;

#define REVERSED(T)                                                                                                    \
    static void T##_reversed(int64_t n, T *out, const T *in) {                                                         \
        for (int64_t i = 0; i < n; i++) out[i] = in[n - 1 - i];                                                        \
    }
REVERSED(uint32_t)
REVERSED(uint64_t)

static void flip_range(void *arg, int share, int64_t first, int64_t end) {
    (void)share;
    const flip_job *j = arg;
    const size_t row = (size_t)j->inner * j->element, bytes = (size_t)j->size * row;
    for (int64_t o = first; o < end; o++) {
        const char *in = j->in + (size_t)o * bytes;
        char *out = j->out + (size_t)o * bytes;
        for (int64_t i = 0, some; i < j->size; i += some) {
            some = j->inner > 1 ? 1 : j->size - i < POLL_WORK ? j->size - i : POLL_WORK;
            char *to = out + (size_t)i * row;
            const char *from = in + (size_t)(j->size - i - some) * row;
            if (j->inner > 1) {
                if (ctx_copy(j->c, to, from, row)) return;
            } else if (j->element == sizeof(uint32_t))
                uint32_t_reversed(some, (void *)to, (const void *)from);
            else
                uint64_t_reversed(some, (void *)to, (const void *)from);
            if (some == POLL_WORK && ctx_poll(j->c, NULL)) return;
        }
    }
}

static bk_status flip_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    (void)scratch;
    const int axis = (int)n->ints[0];
    const int64_t inner = shape_count(n->ndim - axis - 1, n->shape + axis + 1);
    flip_job j = { c, in[0], out, n->shape[axis], inner, dtype_size(n->dtype) };
    return ctx_ranges(c, shape_count(axis, n->shape), op_shares(n->count), (double)n->count, flip_range, &j);
}
static bool flip_shape(graph *g, node *n) {
    if (n->ints[0] >= 0 && n->ints[0] < n->ndim) return true;
    return graph_fail(g, BK_EINVAL, "bk.flip: dim: expected 1..%d, got %lld", n->ndim, (long long)n->ints[0] + 1);
}
static node *flip_simplify(graph *g, node *n) {
    node *a = n->in[0];
    if (a->op == &op_flip && a->ints[0] == n->ints[0]) return a->in[0];
    if (a->op == &op_full || n->shape[n->ints[0]] == 1) return a;
    return a->op == &op_scale && isfinite(a->x) ? g_scale(g, a->x, graph_again(g, n, a->in)) : NULL;
}
static node *flip_jvp(graph *g, node *n, int k, node *t) {
    (void)k;
    return g_flip(g, t, (int)n->ints[0]);
}
static node *flip_vmap(graph *g, node *n, node *const *in, const bool *batched, int64_t size) {
    (void)batched, (void)size;
    return g_flip(g, in[0], (int)n->ints[0] + 1);
}
OP_BUILD(flip, g_flip(g, v[0].t, (int)v[1].i))
const op_row op_flip = {
    .name = "flip",
    .arity = 1,
    .kind = OP_KERNEL,
    .formula = "an axis in reverse",
    .shape = flip_shape,
    .run = flip_run,
    .shared = true,
    .simplify = flip_simplify,
    .jvp = flip_jvp,
    .transpose = flip_jvp,
    .vmap = flip_vmap,
    .args = (const op_arg[]){ { ARG_TENSOR, "t" }, { ARG_DIM, "dim" }, { ARG_END } },
    .build = flip_build,
    .sample = &(op_sample){ 1, { { 3, { SAMPLE_SIZE, 4, 2 }, 0 } }, 1, { 1 } },
    .doc = "In reverse order along dim.",
};
node *g_flip(graph *g, node *a, int axis) {
    int64_t ints = axis;
    return a ? graph_op(g, &op_flip, 1, &a, 1, &ints, 0) : NULL;
}

/* ---- sums of tensors made of parts ---- */

typedef struct part {
    int64_t first, size; /* along the axis */
    node *n;
    double x;
} part; /* x n; n NULL: zeros */

static node *unscaled(node *v) {
    while (v->op == &op_scale) v = v->in[0];
    return v;
}

/* The axis along which v is put together of parts, or -1. */
static int axis_of_parts(node *v) {
    int axis = -1;
    v = unscaled(v);
    if (v->op == &op_concat) return (int)v->ints[0];
    for (int i = 0; v->op == &op_pad && i < v->ndim; i++) {
        if (!v->ints[i] && !v->ints[v->ndim + i]) continue;
        if (axis >= 0) return -1;
        axis = i;
    }
    return axis;
}

/* The parts of x*v along its axis that may hold more than zeros, in order: an empty one would share its place with the
 * next. -1 when a factor is infinite. */
static int parts_of(node *v, int axis, double x, part *out) {
    if (v->op == &op_scale) return isfinite(x * v->x) ? parts_of(v->in[0], axis, x * v->x, out) : -1;
    if (v->op == &op_pad) {
        out[0] = (part){ v->ints[axis], v->in[0]->shape[axis], v->in[0], x };
        return out[0].size > 0;
    }
    int n = 0;
    int64_t at = 0;
    for (int k = 0; k < v->n_in; k++) {
        node *a = v->in[k];
        if (a->count > 0 && !(a->op == &op_full && a->x == 0)) out[n++] = (part){ at, a->shape[axis], a, x };
        at += a->shape[axis];
    }
    return n;
}

static node *zeros_part(graph *g, const node *whole, int axis, int64_t size) {
    int64_t shape[BK_MAX_DIMS];
    memcpy(shape, whole->shape, sizeof *shape * (size_t)whole->ndim);
    shape[axis] = size;
    return g_full(g, whole->dtype, whole->ndim, shape, 0);
}

static node *part_node(graph *g, const part *p) {
    return g_scale(g, p->x, p->n);
}

static int parts_bound(node *v) {
    v = unscaled(v);
    return v->op == &op_concat ? v->n_in : 1;
}

/* a + b as one concatenation, where both lay disjoint or equally cut parts along one axis; else NULL. */
node *g_join_parts(graph *g, node *a, node *b) {
    if (!shape_equal(a->ndim, a->shape, b->ndim, b->shape) || a->count == 0) return NULL;
    const int axis = axis_of_parts(a);
    if (axis < 0 || axis != axis_of_parts(b)) return NULL;
    int bound_a = parts_bound(a), bound_b = parts_bound(b);
    part *pa = graph_alloc(g, sizeof *pa * (size_t)bound_a), *pb = graph_alloc(g, sizeof *pb * (size_t)bound_b);
    node **out = graph_alloc(g, sizeof *out * (size_t)(2 * (bound_a + bound_b) + 1));
    if (!pa || !pb || !out) return NULL;
    int na = parts_of(a, axis, 1, pa), nb = na < 0 ? -1 : parts_of(b, axis, 1, pb), n = 0, i = 0, j = 0;
    if (na < 0 || nb < 0) return NULL;
    for (i = 0, j = 0; i < na && j < nb;) { /* only equal or disjoint parts can be joined */
        if (pa[i].first == pb[j].first && pa[i].size == pb[j].size)
            i++, j++;
        else if (pa[i].first + pa[i].size <= pb[j].first)
            i++;
        else if (pb[j].first + pb[j].size <= pa[i].first)
            j++;
        else
            return NULL;
    }
    int64_t at = 0;
    for (i = 0, j = 0; i < na || j < nb;) {
        bool from_a = i < na && (j >= nb || pa[i].first <= pb[j].first);
        bool from_b = j < nb && (i >= na || pb[j].first <= pa[i].first);
        int64_t first = from_a ? pa[i].first : pb[j].first, size = from_a ? pa[i].size : pb[j].size;
        if (first > at) out[n++] = zeros_part(g, a, axis, first - at);
        node *sum = from_a ? part_node(g, &pa[i]) : NULL, *other = from_b ? part_node(g, &pb[j]) : NULL;
        if (sum && other) { /* in the parts' own shape, where products can be accumulated */
            node *s = sum->op == &op_scale ? sum->in[0] : sum, *o = other->op == &op_scale ? other->in[0] : other;
            double xs = sum->op == &op_scale ? sum->x : 1, xo = other->op == &op_scale ? other->x : 1;
            if (a->ndim == 1 && s->op == &op_reshape && o->op == &op_reshape &&
                shape_equal(s->in[0]->ndim, s->in[0]->shape, o->in[0]->ndim, o->in[0]->shape)) {
                int64_t flat = size;
                out[n++] = g_reshape(g, g_add(g, g_scale(g, xs, s->in[0]), g_scale(g, xo, o->in[0])), 1, &flat);
            } else
                out[n++] = g_add(g, sum, other);
        } else
            out[n++] = sum ? sum : other;
        i += from_a;
        j += from_b;
        at = first + size;
    }
    if (a->shape[axis] > at) out[n++] = zeros_part(g, a, axis, a->shape[axis] - at);
    return g_concat(g, axis, n, out);
}
