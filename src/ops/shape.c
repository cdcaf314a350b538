/* shape.c - operations that move elements and compute none. All are linear; slice and pad, broadcast
 * and sum are each other's adjoints. */
#include "ops.h"

#include <math.h>
#include <string.h>

static node *make(graph *g, const op_row *op, node *a, int n, const int64_t *ints) {
    return a ? graph_op(g, op, 1, &a, n, ints, 0) : NULL;
}

/* Nearly every movement commutes with a scale (an infinite one would meet the zeros of a pad) and keeps a constant. */
static node *outward(graph *g, node *n) {
    node *a = n->in[0];
    if (a->op == &op_scale && isfinite(a->x)) return g_scale(g, a->x, graph_again(g, n, a->in));
    if (a->op == &op_full && (n->op != &op_pad || a->x == 0)) return g_full(g, n->dtype, n->ndim, n->shape, a->x);
    return NULL;
}

/* out (rows, cols) from in, whose columns lie step apart: by squares that stay in the cache. */
#define TURN(name, type)                                                                                               \
    static void name(int64_t rows, int64_t cols, int64_t step, const void *in_, void *out_) {                          \
        enum { SIDE = 16 };                                                                                            \
        const type *in = in_;                                                                                          \
        type *out = out_;                                                                                              \
        for (int64_t r0 = 0; r0 < rows; r0 += SIDE)                                                                    \
            for (int64_t c0 = 0; c0 < cols; c0 += SIDE) {                                                              \
                int64_t r1 = r0 + SIDE < rows ? r0 + SIDE : rows, c1 = c0 + SIDE < cols ? c0 + SIDE : cols;            \
                for (int64_t r = r0; r < r1; r++)                                                                      \
                    for (int64_t c = c0; c < c1; c++) out[r * cols + c] = in[c * step + r];                            \
            }                                                                                                          \
    }
TURN(turn8, int64_t)
TURN(turn4, int32_t)

/* n elements that lie step apart. */
static void gather_run(size_t size, int64_t n, int64_t step, const char *in, char *out) {
    if (step == 1) memcpy(out, in, size * (size_t)n);
    else if (size == 8)
        for (int64_t i = 0; i < n; i++) ((int64_t *)(void *)out)[i] = ((const int64_t *)(const void *)in)[i * step];
    else
        for (int64_t i = 0; i < n; i++) ((int32_t *)(void *)out)[i] = ((const int32_t *)(const void *)in)[i * step];
}

/* A copy of `runs` runs, one after the other in out; a run is of one axis, or of two that change places. */
typedef struct movement {
    ctx *c;
    size_t size;
    int outer; /* axes outside of a run: their sizes, and in's strides */
    int64_t shape[BK_MAX_DIMS], strides[BK_MAX_DIMS], runs;
    bool turn;
    int64_t rows, across, step; /* of a run: rows are adjacent in `in` where it is turned, else step apart */
    const char *in;
    char *out;
} movement;

/* Runs first..end, or of an only run these rows. */
static void move_range(void *arg, int share, int64_t first, int64_t end) {
    (void)share;
    const movement *m = arg;
    const bool only = m->runs == 1, turn = m->turn;
    const int64_t size = (int64_t)m->size, across = m->across, step = m->step, along = turn ? 1 : step;
    const int64_t from = only ? first : 0, to = only ? end : m->rows;
    int64_t index[BK_MAX_DIMS], at = 0, since = 0, piece = POLL_WORK / across / 16 * 16;
    if (piece == 0) piece = 16;
    char *out = m->out + size * across * (only ? first : first * m->rows);
    for (int64_t d = m->outer - 1, place = only ? 0 : first; d >= 0; place /= m->shape[d--])
        at += (index[d] = place % m->shape[d]) * m->strides[d];
    for (int64_t r = only ? 0 : first; r < (only ? 1 : end); r++) {
        for (int64_t i = from; i < to; i += piece) {
            const int64_t n = to - i < piece ? to - i : piece;
            const char *in = m->in + size * (at + i * along);
            if (turn) (size == 8 ? turn8 : turn4)(n, across, step, in, out);
            else gather_run((size_t)size, n, step, in, out);
            out += size * n * across;
            if (ctx_stops(m->c, &since, n * across)) return;
        }
        for (int d = m->outer - 1; d >= 0; d--) {
            at += m->strides[d];
            if (++index[d] < m->shape[d]) break;
            at -= index[d] * m->strides[d];
            index[d] = 0;
        }
    }
}

/* Copies in(index) to out over out's shape with the input's strides and start. */
static bk_status strided_copy(ctx *c, size_t size, int ndim, const int64_t *shape, const int64_t *strides,
                              const char *in, char *out) {
    movement m = { .c = c, .size = size, .across = 1, .in = in, .out = out };
    const int64_t count = shape_count(ndim, shape);
    if (count == 0) return BK_OK;
    if (ndim) {
        memcpy(m.shape, shape, sizeof *shape * (size_t)ndim);
        memcpy(m.strides, strides, sizeof *strides * (size_t)ndim);
    }
    m.outer = shape_collapse(ndim, m.shape, m.strides) - 1;
    m.rows = m.shape[m.outer];
    m.step = m.strides[m.outer];
    m.turn = m.outer > 0 && m.strides[m.outer - 1] == 1 && m.step != 1;
    if (m.turn) {
        m.across = m.rows;
        m.rows = m.shape[--m.outer];
    }
    m.runs = shape_count(m.outer, m.shape);
    return ctx_ranges(c, m.runs == 1 ? m.rows : m.runs, op_shares(count), 0, move_range, &m);
}

/* ---- full ---- */

static bool full_shape(graph *g, node *n) {
    (void)g;
    n->dtype = (bk_dtype)n->ints[0];
    n->ndim = n->n_ints - 1;
    memcpy(n->shape, n->ints + 1, sizeof *n->shape * (size_t)n->ndim);
    return true;
}
static bk_status full_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    (void)in, (void)scratch;
    return op_fill(c, n->dtype, n->count, out, n->x);
}
const op_row op_full = {
    .name = "full",
    .arity = 0,
    .kind = OP_KERNEL,
    .formula = "x everywhere",
    .shape = full_shape,
    .run = full_run,
    .jvp = op_zero_jvp,
    .transpose = op_no_transpose,
    .vmap = op_vmap_none,
    .sample = &(op_sample){ .n_ints = 3, .ints = { BK_FLOAT64, SAMPLE_SIZE, 2 }, .x = 1.25 },
};
node *g_full(graph *g, bk_dtype dtype, int ndim, const int64_t *shape, double x) {
    int64_t ints[1 + BK_MAX_DIMS] = { dtype };
    if (ndim < 0 || ndim > BK_MAX_DIMS)
        return graph_fail(g, BK_EINVAL, "bk.full: at most %d dimensions, got %d", BK_MAX_DIMS, ndim);
    if (ndim) memcpy(ints + 1, shape, sizeof *shape * (size_t)ndim);
    return graph_op(g, &op_full, 0, NULL, 1 + ndim, ints, x);
}
node *g_zeros_like(graph *g, node *a) {
    return a ? g_full(g, a->dtype, a->ndim, a->shape, 0) : NULL;
}

/* ---- reshape ---- */

static bool reshape_shape(graph *g, node *n) {
    shape_buf a, b;
    if (shape_count(n->n_ints, n->ints) != n->in[0]->count)
        return graph_fail(g, BK_EINVAL, "bk.reshape: %s has %lld elements, %s does not",
                          shape_text(n->in[0]->ndim, n->in[0]->shape, &a), (long long)n->in[0]->count,
                          shape_text(n->n_ints, n->ints, &b));
    n->ndim = n->n_ints;
    if (n->ndim) memcpy(n->shape, n->ints, sizeof *n->shape * (size_t)n->ndim);
    return true;
}
static bk_status reshape_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    (void)scratch;
    return ctx_copy(c, out, in[0], (size_t)n->count * dtype_size(n->dtype));
}
static node *reshape_simplify(graph *g, node *n) {
    node *a = n->in[0];
    if (shape_equal(a->ndim, a->shape, n->ndim, n->shape)) return a;
    if (a->op == &op_reshape) return g_reshape(g, a->in[0], n->ndim, n->shape);
    return outward(g, n);
}
static node *reshape_jvp(graph *g, node *n, int k, node *t) {
    (void)k;
    return g_reshape(g, t, n->ndim, n->shape);
}
static node *reshape_transpose(graph *g, node *n, int k, node *ct) {
    (void)k;
    return g_reshape(g, ct, n->in[0]->ndim, n->in[0]->shape);
}
static node *reshape_vmap(graph *g, node *n, node *const *in, const bool *batched, int64_t size) {
    (void)batched;
    int64_t shape[BK_MAX_DIMS + 1] = { size };
    memcpy(shape + 1, n->shape, sizeof *shape * (size_t)n->ndim);
    return g_reshape(g, in[0], n->ndim + 1, shape);
}
/* Views: a contiguous tensor's elements in another shape of as many. */
static bool view_as(tensor *t, int ndim, const int64_t *shape) {
    if (ndim > BK_MAX_DIMS || !tensor_contiguous(t)) return false;
    t->ndim = ndim;
    if (ndim) memcpy(t->shape, shape, sizeof *shape * (size_t)ndim);
    shape_strides(ndim, t->shape, t->strides);
    return true;
}
/* The sizes of a reshape, in which one may be -1: what it stands for. Returns whether count elements fill them. */
static bool filled(int64_t count, int ndim, const int64_t *shape, int64_t *full) {
    int64_t known = 1;
    int open = -1;
    for (int i = 0; i < ndim; i++) {
        full[i] = shape[i];
        if (shape[i] == -1 && open < 0) open = i;
        else if (shape[i] < 0 || __builtin_mul_overflow(known, shape[i], &known)) return false;
    }
    if (open < 0) return known == count;
    if (known == 0 || count % known) return false;
    full[open] = count / known;
    return true;
}
static bool reshape_view(tensor *t, const op_value *v) {
    int64_t full[BK_MAX_DIMS];
    return filled(tensor_count(t), v[1].n, v[1].ints, full) && view_as(t, v[1].n, full);
}
OP_BUILD(reshape, g_reshape(g, v[0].t, v[1].n, v[1].ints))
const op_row op_reshape = {
    .name = "reshape",
    .arity = 1,
    .kind = OP_KERNEL,
    .formula = "the elements in row-major order, in another shape",
    .shape = reshape_shape,
    .run = reshape_run,
    .simplify = reshape_simplify,
    .jvp = reshape_jvp,
    .transpose = reshape_transpose,
    .vmap = reshape_vmap,
    .args = (const op_arg[]){ { ARG_TENSOR, "t" }, { ARG_SIZES, "sizes", .low = -1 }, { ARG_END } },
    .build = reshape_build,
    .view = reshape_view,
    .sample = &(op_sample){ 1, { { 3, { SAMPLE_SIZE, 2, 4 }, 0 } }, 2, { 8, SAMPLE_SIZE } },
    .doc = "The same elements, row-major, in another shape; one size may be -1.\n\nA view where t is contiguous.\n\n"
           "Errors: the counts differ.",
};
node *g_reshape(graph *g, node *a, int ndim, const int64_t *shape) { /* one size may be -1 */
    if (!a) return NULL;
    int64_t full[BK_MAX_DIMS];
    shape_buf sa, sb;
    if (ndim < 0 || ndim > BK_MAX_DIMS)
        return graph_fail(g, BK_EINVAL, "bk.reshape: at most %d dimensions, got %d", BK_MAX_DIMS, ndim);
    int open = 0;
    for (int i = 0; i < ndim; i++) open += shape[i] == -1;
    if (open > 1) return graph_fail(g, BK_EINVAL, "bk.reshape: only one size may be -1");
    if (!filled(a->count, ndim, shape, full))
        return graph_fail(g, BK_EINVAL, "bk.reshape: %s has %lld elements, which do not fill %s",
                          shape_text(a->ndim, a->shape, &sa), (long long)a->count, shape_text(ndim, shape, &sb));
    return make(g, &op_reshape, a, ndim, full);
}

static bool flatten_view(tensor *t, const op_value *v) {
    int64_t count = tensor_count(t);
    (void)v;
    return view_as(t, 1, &count);
}
OP_BUILD(flatten, v[0].t ? g_reshape(g, v[0].t, 1, &v[0].t->count) : NULL)
const op_row op_flatten = {
    .name = "flatten",
    .arity = 1,
    .kind = OP_COMPOSITE,
    .formula = "the elements as one row",
    .args = (const op_arg[]){ { ARG_TENSOR, "t" }, { ARG_END } },
    .build = flatten_build,
    .view = flatten_view,
    .sample = &(op_sample){ 1, { { 3, { SAMPLE_SIZE, 2, 4 }, 0 } } },
    .doc = "The elements as one row, row-major. A view where t is contiguous.",
};

/* shape with a new axis of size 1 */
static void grown(int ndim, const int64_t *shape, int64_t axis, int64_t *out) {
    for (int i = 0, j = 0; i <= ndim; i++) out[i] = i == axis ? 1 : shape[j++];
}
static bool unsqueeze_view(tensor *t, const op_value *v) {
    int64_t shape[BK_MAX_DIMS + 1];
    grown(t->ndim, t->shape, v[1].i, shape);
    return view_as(t, t->ndim + 1, shape);
}
static node *unsqueeze_build(graph *g, const op_value *v, node **second) {
    int64_t shape[BK_MAX_DIMS + 1];
    (void)second;
    if (!v[0].t) return NULL;
    if (v[0].t->ndim == BK_MAX_DIMS)
        return graph_fail(g, BK_EINVAL, "bk.unsqueeze: a tensor has at most %d dimensions", BK_MAX_DIMS);
    grown(v[0].t->ndim, v[0].t->shape, v[1].i, shape);
    return g_reshape(g, v[0].t, v[0].t->ndim + 1, shape);
}
const op_row op_unsqueeze = {
    .name = "unsqueeze",
    .arity = 1,
    .kind = OP_COMPOSITE,
    .formula = "a new axis of size 1",
    .args = (const op_arg[]){ { ARG_TENSOR, "t" }, { ARG_DIM, "dim", .more = 1 }, { ARG_END } },
    .build = unsqueeze_build,
    .view = unsqueeze_view,
    .sample = &(op_sample){ 1, { { 3, { SAMPLE_SIZE, 2, 4 }, 0 } }, 1, { 1 } },
    .doc = "A new dimension of size 1 at dim, 1..ndim + 1. A view where t is contiguous.",
};

/* shape without the axes of size 1, or without that one; -1: it has another size */
static int shrunk(int ndim, const int64_t *shape, int64_t axis, int64_t *out) {
    int n = 0;
    for (int i = 0; i < ndim; i++) {
        bool drop = shape[i] == 1 && (axis < 0 || i == axis);
        if (i == axis && !drop) return -1;
        if (!drop) out[n++] = shape[i];
    }
    return n;
}
static bool squeeze_view(tensor *t, const op_value *v) {
    int64_t shape[BK_MAX_DIMS];
    int n = shrunk(t->ndim, t->shape, v[1].i, shape);
    return n >= 0 && view_as(t, n, shape);
}
static node *squeeze_build(graph *g, const op_value *v, node **second) {
    int64_t shape[BK_MAX_DIMS], axis = v[1].i;
    node *a = v[0].t;
    (void)second;
    if (!a) return NULL;
    int n = shrunk(a->ndim, a->shape, axis, shape);
    if (n < 0)
        return graph_fail(g, BK_EINVAL, "bk.squeeze: dimension %d has size %lld, not 1", (int)axis + 1,
                          (long long)a->shape[axis]);
    return g_reshape(g, a, n, shape);
}
const op_row op_squeeze = {
    .name = "squeeze",
    .arity = 1,
    .kind = OP_COMPOSITE,
    .formula = "without axes of size 1",
    .args = (const op_arg[]){ { ARG_TENSOR, "t" }, { ARG_DIM, "dim", .absent = "" }, { ARG_END } },
    .build = squeeze_build,
    .view = squeeze_view,
    .sample = &(op_sample){ 1, { { 4, { 2, 1, 4, 1 }, 0 } } },
    .doc = "Without the dimensions of size 1, or without that one. A view where t is contiguous.",
};

/* ---- permute ---- */

static bool permute_shape(graph *g, node *n) {
    const node *a = n->in[0];
    unsigned seen = 0;
    if (n->n_ints != a->ndim)
        return graph_fail(g, BK_EINVAL, "bk.permute: dims: expected each of 1..%d once", a->ndim);
    for (int i = 0; i < n->n_ints; i++) {
        if (n->ints[i] < 0 || n->ints[i] >= a->ndim || seen >> n->ints[i] & 1)
            return graph_fail(g, BK_EINVAL, "bk.permute: dims: expected each of 1..%d once", a->ndim);
        seen |= 1u << n->ints[i];
        n->shape[i] = a->shape[n->ints[i]];
    }
    return true;
}
static bk_status permute_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    (void)scratch;
    int64_t strides[BK_MAX_DIMS], to[BK_MAX_DIMS];
    shape_strides(n->ndim, n->in[0]->shape, strides);
    for (int i = 0; i < n->ndim; i++) to[i] = strides[n->ints[i]];
    return strided_copy(c, dtype_size(n->dtype), n->ndim, n->shape, to, in[0], out);
}
static node *permute_simplify(graph *g, node *n) {
    node *a = n->in[0];
    bool same = true;
    for (int i = 0; i < n->ndim; i++) same = same && n->ints[i] == i;
    if (same) return a;
    int before = -1;
    same = true; /* where only axes of size 1 move, no element does */
    for (int i = 0; i < n->ndim; i++) {
        if (n->shape[i] == 1) continue;
        same = same && n->ints[i] > before;
        before = (int)n->ints[i];
    }
    if (same) return g_reshape(g, a, n->ndim, n->shape);
    if (a->op == &op_permute) {
        int64_t axes[BK_MAX_DIMS];
        for (int i = 0; i < n->ndim; i++) axes[i] = a->ints[n->ints[i]];
        return g_permute(g, a->in[0], axes);
    }
    return outward(g, n);
}
static node *permute_jvp(graph *g, node *n, int k, node *t) {
    (void)k;
    return g_permute(g, t, n->ints);
}
static node *permute_transpose(graph *g, node *n, int k, node *ct) {
    (void)k;
    int64_t back[BK_MAX_DIMS];
    for (int i = 0; i < n->ndim; i++) back[n->ints[i]] = i;
    return g_permute(g, ct, back);
}
static node *permute_vmap(graph *g, node *n, node *const *in, const bool *batched, int64_t size) {
    (void)batched, (void)size;
    int64_t axes[BK_MAX_DIMS + 1] = { 0 };
    for (int i = 0; i < n->ndim; i++) axes[i + 1] = n->ints[i] + 1;
    return g_permute(g, in[0], axes);
}
static bool turned(tensor *t, const int64_t *axes) {
    tensor from = *t;
    unsigned seen = 0;
    for (int i = 0; i < t->ndim; i++) {
        if (axes[i] < 0 || axes[i] >= t->ndim || seen >> axes[i] & 1) {
            *t = from;
            return false;
        }
        seen |= 1u << axes[i];
        t->shape[i] = from.shape[axes[i]];
        t->strides[i] = from.strides[axes[i]];
    }
    return true;
}
static bool permute_view(tensor *t, const op_value *v) {
    return v[1].n == t->ndim && turned(t, v[1].ints);
}
OP_BUILD(permute, v[0].t ? make(g, &op_permute, v[0].t, v[1].n, v[1].ints) : NULL)
const op_row op_permute = {
    .name = "permute",
    .arity = 1,
    .kind = OP_KERNEL,
    .formula = "axes in another order",
    .shape = permute_shape,
    .run = permute_run,
    .shared = true,
    .simplify = permute_simplify,
    .jvp = permute_jvp,
    .transpose = permute_transpose,
    .vmap = permute_vmap,
    .args = (const op_arg[]){ { ARG_TENSOR, "t" }, { ARG_AXES, "dims" }, { ARG_END } },
    .build = permute_build,
    .view = permute_view,
    .sample = &(op_sample){ 1, { { 4, { 2, SAMPLE_SIZE, 4, 5 }, 0 } }, 4, { 2, 0, 3, 1 } },
    .doc = "Dimension i of the result is t's dims[i], from 1. A view.",
};
node *g_permute(graph *g, node *a, const int64_t *axes) { /* out axis i is a's axes[i], from 0 */
    return a ? make(g, &op_permute, a, a->ndim, axes) : NULL;
}
/* Two axes exchanged, the last two by default (first < 0). */
static void exchange(int ndim, int64_t first, int64_t second, int64_t *axes) {
    if (first < 0) first = ndim - 2, second = ndim - 1;
    for (int i = 0; i < ndim; i++) axes[i] = i == first ? second : i == second ? first : i;
}
static node *transposed(graph *g, node *a, int64_t first, int64_t second) {
    int64_t axes[BK_MAX_DIMS];
    shape_buf text;
    if (!a) return NULL;
    if (a->ndim < 2 && first < 0)
        return graph_fail(g, BK_EINVAL, "bk.transpose: expected at least 2 dimensions, got %s",
                          shape_text(a->ndim, a->shape, &text));
    if ((first < 0) != (second < 0)) return graph_fail(g, BK_EINVAL, "bk.transpose: expected two dims, or none");
    exchange(a->ndim, first, second, axes);
    return g_permute(g, a, axes);
}
node *g_transpose(graph *g, node *a) { /* the last two axes */
    return transposed(g, a, -1, -1);
}
static bool transpose_view(tensor *t, const op_value *v) {
    int64_t axes[BK_MAX_DIMS];
    if (t->ndim < 2 || (v[1].i < 0) != (v[2].i < 0)) return false;
    exchange(t->ndim, v[1].i, v[2].i, axes);
    return turned(t, axes);
}
OP_BUILD(transpose, transposed(g, v[0].t, v[1].i, v[2].i))
const op_row op_transpose = {
    .name = "transpose",
    .arity = 1,
    .kind = OP_COMPOSITE,
    .formula = "two axes exchanged",
    .args = (const op_arg[]){ { ARG_TENSOR, "t" },
                              { ARG_DIM, "dim1", .absent = "" },
                              { ARG_DIM, "dim2", .absent = "" },
                              { ARG_END } },
    .build = transpose_build,
    .view = transpose_view,
    .sample = &(op_sample){ 1, { { 3, { SAMPLE_SIZE, 2, 4 }, 0 } }, 2, { 0, 2 } },
    .doc = "Two dimensions exchanged, the last two by default. A view.",
};

/* ---- broadcast ---- */

static bool broadcast_shape(graph *g, node *n) {
    const node *a = n->in[0];
    shape_buf sa, sb;
    bool ok = n->n_ints >= a->ndim;
    for (int i = 0; ok && i < a->ndim; i++) {
        int64_t to = n->ints[n->n_ints - a->ndim + i];
        ok = a->shape[i] == to || a->shape[i] == 1;
    }
    if (!ok)
        return graph_fail(g, BK_EINVAL, "bk.broadcast_to: %s does not broadcast to %s",
                          shape_text(a->ndim, a->shape, &sa), shape_text(n->n_ints, n->ints, &sb));
    n->ndim = n->n_ints;
    memcpy(n->shape, n->ints, sizeof *n->shape * (size_t)n->ndim);
    return true;
}
static bk_status broadcast_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    (void)scratch;
    const node *a = n->in[0];
    int64_t strides[BK_MAX_DIMS], to[BK_MAX_DIMS] = { 0 };
    shape_strides(a->ndim, a->shape, strides);
    for (int i = 0; i < a->ndim; i++) to[n->ndim - a->ndim + i] = a->shape[i] == 1 ? 0 : strides[i];
    return strided_copy(c, dtype_size(n->dtype), n->ndim, n->shape, to, in[0], out);
}
static node *broadcast_simplify(graph *g, node *n) {
    node *a = n->in[0];
    if (shape_equal(a->ndim, a->shape, n->ndim, n->shape)) return a;
    if (a->op == &op_broadcast_to) return g_broadcast(g, a->in[0], n->ndim, n->shape);
    if (a->count == shape_count(n->ndim, n->shape)) return g_reshape(g, a, n->ndim, n->shape);
    return outward(g, n);
}
static node *broadcast_jvp(graph *g, node *n, int k, node *t) {
    (void)k;
    return g_broadcast(g, t, n->ndim, n->shape);
}
static node *broadcast_transpose(graph *g, node *n, int k, node *ct) {
    (void)k;
    const node *a = n->in[0];
    unsigned axes = 0;
    for (int i = 0; i < n->ndim; i++) {
        int j = i - (n->ndim - a->ndim);
        if (j < 0 || (a->shape[j] == 1 && n->shape[i] != 1)) axes |= 1u << i;
    }
    return g_reshape(g, g_sum(g, ct, axes, true), a->ndim, a->shape);
}
static node *broadcast_vmap(graph *g, node *n, node *const *in, const bool *batched, int64_t size) {
    (void)batched;
    const node *a = n->in[0];
    int64_t mid[BK_MAX_DIMS], to[BK_MAX_DIMS];
    if (n->ndim + 1 > BK_MAX_DIMS) return graph_fail(g, BK_EINVAL, "bk.vmap: broadcast_to: too many dimensions");
    mid[0] = to[0] = size;
    for (int i = 0; i < n->ndim; i++) {
        int j = i - (n->ndim - a->ndim);
        mid[i + 1] = j < 0 ? 1 : a->shape[j];
        to[i + 1] = n->shape[i];
    }
    return g_broadcast(g, g_reshape(g, in[0], n->ndim + 1, mid), n->ndim + 1, to);
}
static bool broadcast_view(tensor *t, const op_value *v) {
    const tensor from = *t;
    const int ndim = v[1].n, new = ndim - from.ndim;
    bool ok = new >= 0 && shape_count(ndim, v[1].ints) >= 0;
    for (int i = 0; ok && i < from.ndim; i++) ok = from.shape[i] == 1 || from.shape[i] == v[1].ints[new + i];
    if (!ok) return false;
    t->ndim = ndim;
    for (int i = 0; i < ndim; i++) {
        const bool same = i >= new && from.shape[i - new] == v[1].ints[i];
        t->shape[i] = v[1].ints[i];
        t->strides[i] = same ? from.strides[i - new] : 0;
    }
    return true;
}
OP_BUILD(broadcast_to, g_broadcast(g, v[0].t, v[1].n, v[1].ints))
const op_row op_broadcast_to = {
    .name = "broadcast_to",
    .arity = 1,
    .kind = OP_KERNEL,
    .formula = "repeated along axes of size 1 and new leading axes",
    .shape = broadcast_shape,
    .run = broadcast_run,
    .shared = true,
    .simplify = broadcast_simplify,
    .jvp = broadcast_jvp,
    .transpose = broadcast_transpose,
    .vmap = broadcast_vmap,
    .args = (const op_arg[]){ { ARG_TENSOR, "t" }, { ARG_SIZES, "sizes" }, { ARG_END } },
    .build = broadcast_to_build,
    .view = broadcast_view,
    .sample = &(op_sample){ 1, { { 3, { 1, 4, 1 }, 0 } }, 4, { 2, SAMPLE_SIZE, 4, 3 } },
    .doc = "Repeated along dimensions of size 1 and new leading ones. A view.",
};
node *g_broadcast(graph *g, node *a, int ndim, const int64_t *shape) {
    if (a && (ndim < 0 || ndim > BK_MAX_DIMS))
        return graph_fail(g, BK_EINVAL, "bk.broadcast_to: at most %d dimensions, got %d", BK_MAX_DIMS, ndim);
    return make(g, &op_broadcast_to, a, ndim, shape);
}

/* ---- slice (ints: starts, sizes) and pad (ints: before, after) ---- */

static bool slice_shape(graph *g, node *n) {
    const node *a = n->in[0];
    for (int i = 0; i < a->ndim; i++) {
        int64_t first = n->ints[i], size = n->ints[a->ndim + i];
        if (first < 0 || size < 0 || first > a->shape[i] - size)
            return graph_fail(g, BK_EINVAL, "bk.narrow: dimension %d has size %lld: no place for %lld from %lld", i + 1,
                              (long long)a->shape[i], (long long)size, (long long)first + 1);
        n->shape[i] = size;
    }
    return true;
}
static bk_status slice_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    (void)scratch;
    int64_t strides[BK_MAX_DIMS], at = 0;
    shape_strides(n->ndim, n->in[0]->shape, strides);
    for (int i = 0; i < n->ndim; i++) at += n->ints[i] * strides[i];
    size_t size = dtype_size(n->dtype);
    return strided_copy(c, size, n->ndim, n->shape, strides, (const char *)in[0] + size * (size_t)at, out);
}
static node *slice_simplify(graph *g, node *n) {
    node *a = n->in[0];
    int d = n->ndim;
    if (shape_equal(a->ndim, a->shape, d, n->shape)) return a;
    if (a->op == &op_slice) {
        int64_t first[BK_MAX_DIMS];
        for (int i = 0; i < d; i++) first[i] = n->ints[i] + a->ints[i];
        return g_slice(g, a->in[0], first, n->shape);
    }
    if (a->op == &op_pad) {
        int64_t first[BK_MAX_DIMS];
        bool inside = true, outside = false;
        for (int i = 0; i < d; i++) {
            first[i] = n->ints[i] - a->ints[i];
            inside = inside && first[i] >= 0 && first[i] + n->shape[i] <= a->in[0]->shape[i];
            outside = outside || first[i] >= a->in[0]->shape[i] || first[i] + n->shape[i] <= 0;
        }
        if (outside) return g_zeros_like(g, n);
        if (inside) return g_slice(g, a->in[0], first, n->shape);
    }
    if (a->op == &op_concat) {
        int axis = (int)a->ints[0];
        int64_t at = 0, first[BK_MAX_DIMS];
        memcpy(first, n->ints, sizeof *first * (size_t)d);
        for (int k = 0; k < a->n_in; k++) {
            int64_t size = a->in[k]->shape[axis];
            if (n->ints[axis] >= at && n->ints[axis] + n->shape[axis] <= at + size) {
                first[axis] -= at;
                return g_slice(g, a->in[k], first, n->shape);
            }
            at += size;
        }
    }
    return outward(g, n);
}
static node *slice_jvp(graph *g, node *n, int k, node *t) {
    (void)k;
    return g_slice(g, t, n->ints, n->shape);
}
static node *slice_transpose(graph *g, node *n, int k, node *ct) {
    (void)k;
    int64_t after[BK_MAX_DIMS];
    for (int i = 0; i < n->ndim; i++) after[i] = n->in[0]->shape[i] - n->ints[i] - n->shape[i];
    return g_pad(g, ct, n->ints, after);
}
static node *slice_vmap(graph *g, node *n, node *const *in, const bool *batched, int64_t size) {
    (void)batched;
    int64_t first[BK_MAX_DIMS] = { 0 }, sizes[BK_MAX_DIMS + 1] = { size };
    memcpy(first + 1, n->ints, sizeof *first * (size_t)n->ndim);
    memcpy(sizes + 1, n->shape, sizeof *sizes * (size_t)n->ndim);
    return g_slice(g, in[0], first, sizes);
}
const op_row op_slice = {
    .name = "slice",
    .arity = 1,
    .kind = OP_KERNEL,
    .formula = "a block of a",
    .shape = slice_shape,
    .run = slice_run,
    .shared = true,
    .simplify = slice_simplify,
    .jvp = slice_jvp,
    .transpose = slice_transpose,
    .vmap = slice_vmap,
    .serves = "narrow",
    .sample = &(op_sample){ 1, { { 3, { SAMPLE_SIZE, 5, 6 }, 0 } }, 6, { 0, 1, 2, SAMPLE_SIZE, 3, 2 } },
};
node *g_slice(graph *g, node *a, const int64_t *start, const int64_t *size) {
    if (!a) return NULL;
    int64_t ints[2 * BK_MAX_DIMS];
    memcpy(ints, start, sizeof *ints * (size_t)a->ndim);
    memcpy(ints + a->ndim, size, sizeof *ints * (size_t)a->ndim);
    return make(g, &op_slice, a, 2 * a->ndim, ints);
}
node *g_narrow(graph *g, node *a, int axis, int64_t start, int64_t size) {
    if (!a) return NULL;
    int64_t first[BK_MAX_DIMS] = { 0 }, sizes[BK_MAX_DIMS];
    if (axis < 0 || axis >= a->ndim)
        return graph_fail(g, BK_EINVAL, "bk.narrow: dim: expected 1..%d, got %d", a->ndim, axis + 1);
    memcpy(sizes, a->shape, sizeof *sizes * (size_t)a->ndim);
    first[axis] = start;
    sizes[axis] = size;
    return g_slice(g, a, first, sizes);
}

static bool narrow_view(tensor *t, const op_value *v) {
    const int64_t axis = v[1].i, first = v[2].i - 1, size = v[3].i, room = t->shape[axis];
    if (first < 0 || first > room || size < 0 || size > room - first) return false;
    if (size) t->offset += first * t->strides[axis];
    t->shape[axis] = size;
    return true;
}
static node *narrow_build(graph *g, const op_value *v, node **second) {
    node *a = v[0].t;
    (void)second;
    if (!a) return NULL;
    const int64_t first = v[2].i, size = v[3].i, room = a->shape[v[1].i];
    if (first > room + 1)
        return graph_fail(g, BK_EINVAL, "bk.narrow: first: expected an integer from 1 to %lld, got %lld",
                          (long long)room + 1, (long long)first);
    if (size > room - first + 1)
        return graph_fail(g, BK_EINVAL, "bk.narrow: size: expected an integer from 0 to %lld, got %lld",
                          (long long)(room - first + 1), (long long)size);
    return g_narrow(g, a, (int)v[1].i, first - 1, size);
}
const op_row op_narrow = {
    .name = "narrow",
    .arity = 1,
    .kind = OP_COMPOSITE,
    .formula = "slices first .. first + size - 1 along an axis",
    .args = (const op_arg[]){ { ARG_TENSOR, "t" },
                              { ARG_DIM, "dim" },
                              { ARG_INTEGER, "first", .low = 1 },
                              { ARG_INTEGER, "size" },
                              { ARG_END } },
    .build = narrow_build,
    .view = narrow_view,
    .sample = &(op_sample){ 1, { { 3, { SAMPLE_SIZE, 5, 6 }, 0 } }, 3, { 1, 2, 3 } },
    .doc = "The size slices first, first + 1, ... along dim, all from 1. A view.",
};

static bool pad_shape(graph *g, node *n) {
    for (int i = 0; i < n->ndim; i++) {
        if (n->ints[i] < 0 || n->ints[n->ndim + i] < 0) return graph_fail(g, BK_EINVAL, "bk.pad: expected sizes >= 0");
        n->shape[i] += n->ints[i] + n->ints[n->ndim + i];
    }
    return true;
}
static bk_status pad_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    (void)scratch;
    const node *a = n->in[0];
    size_t size = dtype_size(n->dtype);
    if (op_fill(c, n->dtype, n->count, out, 0)) return BK_EINTERRUPTED;
    if (a->count == 0) return BK_OK;
    int64_t strides[BK_MAX_DIMS], at = 0, index[BK_MAX_DIMS] = { 0 };
    shape_strides(n->ndim, n->shape, strides);
    for (int i = 0; i < n->ndim; i++) at += n->ints[i] * strides[i];
    int last = n->ndim - 1;
    int64_t run = last < 0 ? 1 : a->shape[last], since = 0;
    const char *from = in[0];
    for (int64_t done = 0; done < a->count; done += run) {
        if (ctx_copy(c, (char *)out + size * (size_t)at, from, size * (size_t)run)) return BK_EINTERRUPTED;
        from += size * (size_t)run;
        if (ctx_stops(c, &since, run)) return BK_EINTERRUPTED;
        for (int d = last - 1; d >= 0; d--) {
            at += strides[d];
            if (++index[d] < a->shape[d]) break;
            at -= index[d] * strides[d];
            index[d] = 0;
        }
    }
    return BK_OK;
}
static node *pad_simplify(graph *g, node *n) {
    if (shape_equal(n->in[0]->ndim, n->in[0]->shape, n->ndim, n->shape)) return n->in[0];
    return outward(g, n);
}
static node *pad_jvp(graph *g, node *n, int k, node *t) {
    (void)k;
    return g_pad(g, t, n->ints, n->ints + n->ndim);
}
static node *pad_transpose(graph *g, node *n, int k, node *ct) {
    (void)k;
    return g_slice(g, ct, n->ints, n->in[0]->shape);
}
static node *pad_vmap(graph *g, node *n, node *const *in, const bool *batched, int64_t size) {
    (void)batched, (void)size;
    int64_t before[BK_MAX_DIMS + 1] = { 0 }, after[BK_MAX_DIMS + 1] = { 0 };
    memcpy(before + 1, n->ints, sizeof *before * (size_t)n->ndim);
    memcpy(after + 1, n->ints + n->ndim, sizeof *after * (size_t)n->ndim);
    return g_pad(g, in[0], before, after);
}
static node *pad_build(graph *g, const op_value *v, node **second) {
    const op_value *before = &v[1], *after = v[2].given ? &v[2] : before;
    node *a = v[0].t;
    (void)second;
    if (!a) return NULL;
    for (int k = 0; k < 2; k++) {
        int n = k ? after->n : before->n;
        if (n != a->ndim)
            return graph_fail(g, BK_EINVAL, "bk.pad: %s: expected %d sizes, got %d", k ? "after" : "before",
                              a->ndim, n);
    }
    return g_pad(g, a, before->ints, after->ints);
}
const op_row op_pad = {
    .name = "pad",
    .arity = 1,
    .kind = OP_KERNEL,
    .formula = "a in a larger block of zeros",
    .shape = pad_shape,
    .run = pad_run,
    .simplify = pad_simplify,
    .jvp = pad_jvp,
    .transpose = pad_transpose,
    .vmap = pad_vmap,
    .args = (const op_arg[]){ { ARG_TENSOR, "t" }, { ARG_SIZES, "before" }, { ARG_SIZES, "after", "" }, { ARG_END } },
    .build = pad_build,
    .sample = &(op_sample){ 1, { { 3, { SAMPLE_SIZE, 2, 3 }, 0 } }, 6, { 0, 1, 2, 1, 0, 3 } },
    .doc = "Zeros around: tables of one size a dimension; after is before by default.",
};
node *g_pad(graph *g, node *a, const int64_t *before, const int64_t *after) {
    if (!a) return NULL;
    int64_t ints[2 * BK_MAX_DIMS];
    memcpy(ints, before, sizeof *ints * (size_t)a->ndim);
    memcpy(ints + a->ndim, after, sizeof *ints * (size_t)a->ndim);
    return make(g, &op_pad, a, 2 * a->ndim, ints);
}
