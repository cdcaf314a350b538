/* random.c - draws as an operation: a seed, a place and sizes make the numbers, and nothing else does. So a function
 * that draws is still a function: no derivative passes through a draw, and those around it are taken at fixed draws. */
#include "../base/rng.h"
#include "ops.h"

#include <string.h>

/* draw: seed int64 (S...) -> (S..., sizes...). Attributes: dtype, kind, place, before, sizes; the scalar is the p of
 * bernoulli. Under vmap every seed has draws of its own, which one seed would have alone; where only other things are
 * batched, the draws are the same in every place. */
typedef enum draw_kind { DRAW_UNIFORM, DRAW_NORMAL, DRAW_BERNOULLI, DRAW_SEED } draw_kind;
enum { DTYPE, KIND, PLACE, BEFORE, SIZES };

static bool draw_shape(graph *g, node *n) {
    const node *seed = n->in[0];
    const int more = n->n_ints - SIZES;
    if (seed->dtype != BK_INT64 || seed->ndim + more > BK_MAX_DIMS)
        return graph_fail(g, BK_EINVAL, "bk.%s: expected an int64 seed and at most %d sizes, got %s and %d",
                          op_title(n->op), BK_MAX_DIMS - seed->ndim, dtype_name(seed->dtype), more);
    n->dtype = (bk_dtype)n->ints[DTYPE];
    if ((n->dtype == BK_INT64) != (n->ints[KIND] == DRAW_SEED))
        return graph_fail(g, BK_EINVAL, "bk.%s: dtype: expected float64 or float32, got int64", op_title(n->op));
    n->ndim = seed->ndim + more;
    memcpy(n->shape + seed->ndim, n->ints + SIZES, sizeof *n->shape * (size_t)more);
    return true;
}

typedef struct draw_job {
    const node *n;
    void *out; /* of one seed */
    uint64_t key;
} draw_job;

/* In float32 the same numbers: a normal is rounded, a uniform cut, so that it stays below 1. */
#define DRAW(type, UNIFORM)                                                                                            \
    static void draw_##type(const draw_job *j, type *out, int64_t first, int64_t end) {                                \
        const uint64_t key = j->key, k = (uint64_t)j->n->ints[BEFORE];                                                 \
        const double p = j->n->x;                                                                                      \
        switch (j->n->ints[KIND]) {                                                                                    \
        case DRAW_UNIFORM:                                                                                             \
            for (int64_t i = first; i < end; i++) out[i] = UNIFORM(rng_at(key, k + (uint64_t)i));                      \
            break;                                                                                                     \
        case DRAW_NORMAL:                                                                                              \
            for (int64_t i = first; i < end; i++) out[i] = (type)rng_normal_at(key, k + (uint64_t)i);                  \
            break;                                                                                                     \
        default:                                                                                                       \
            for (int64_t i = first; i < end; i++) out[i] = rng_unit(rng_at(key, k + (uint64_t)i)) < p;                 \
        }                                                                                                              \
    }
static inline float unit_float(uint64_t bits) {
    return (float)(bits >> 40) * 0x1p-24f;
}
DRAW(double, rng_unit)
DRAW(float, unit_float)

static void draw_range(void *arg, int share, int64_t first, int64_t end) {
    (void)share;
    const draw_job *j = arg;
    if (j->n->dtype == BK_FLOAT64)
        draw_double(j, j->out, first, end);
    else
        draw_float(j, j->out, first, end);
}

static bk_status draw_run(ctx *c, const node *n, void *out, const void *const *in, void *scratch) {
    (void)scratch;
    const int64_t *seed = in[0], seeds = n->in[0]->count, each = shape_count(n->n_ints - SIZES, n->ints + SIZES);
    for (int64_t s = 0; s < seeds; s++) {
        if (n->ints[KIND] == DRAW_SEED) {
            ((int64_t *)out)[s] = (int64_t)rng_place((uint64_t)seed[s], (uint64_t)n->ints[PLACE]);
            continue;
        }
        draw_job j = { n, (char *)out + (size_t)(s * each) * dtype_size(n->dtype),
                       rng_place((uint64_t)seed[s], (uint64_t)n->ints[PLACE]) };
        if (ctx_ranges(c, each, op_shares(each), 4 * (double)each, draw_range, &j)) return BK_EINTERRUPTED;
    }
    return BK_OK;
}

static node *draw_vmap(graph *g, node *n, node *const *in, const bool *batched, int64_t size) {
    (void)batched, (void)size;
    return graph_again(g, n, in);
}

const op_row op_draw = {
    .name = "draw",
    .arity = 1,
    .kind = OP_KERNEL,
    .formula = "the numbers of a seed and a place",
    .shape = draw_shape,
    .run = draw_run,
    .shared = true,
    .jvp = op_zero_jvp,
    .transpose = op_no_transpose,
    .vmap = draw_vmap,
    .sample = &(op_sample){ 1, { { 1, { 2 }, 1000 } }, 6, { BK_FLOAT64, DRAW_NORMAL, 3, 2, SAMPLE_SIZE, 4 }, .x = 0.5 },
};

static node *draw(graph *g, const op_row *row, draw_kind kind, node *seed, op_draw_at at, double p) {
    int64_t ints[SIZES + BK_MAX_DIMS] = { at.dtype, kind, at.place, at.before };
    if (at.ndim > BK_MAX_DIMS) return graph_fail(g, BK_EINVAL, "bk.%s: at most %d sizes", row->name, BK_MAX_DIMS);
    if (!seed) return NULL;
    if (at.ndim) memcpy(ints + SIZES, at.shape, sizeof *at.shape * (size_t)at.ndim);
    return graph_op(g, &op_draw, 1, &seed, SIZES + at.ndim, ints, p);
}

/* seed (S...) -> (S..., sizes...), uniform on [0, 1) */
node *g_uniform(graph *g, node *seed, op_draw_at at) {
    return draw(g, &op_uniform, DRAW_UNIFORM, seed, at, 0);
}
node *g_normal(graph *g, node *seed, op_draw_at at) {
    return draw(g, &op_normal, DRAW_NORMAL, seed, at, 0);
}
/* 1 with probability p, else 0 */
node *g_bernoulli(graph *g, node *seed, op_draw_at at, double p) {
    if (!(p >= 0 && p <= 1)) return graph_fail(g, BK_EINVAL, "bk.bernoulli: p: expected 0..1, got %g", p);
    return draw(g, &op_bernoulli, DRAW_BERNOULLI, seed, at, p);
}

/* seeds (S...), each a function of a seed and the place */
node *g_fold_in(graph *g, node *seed, int64_t place) {
    return draw(g, &op_fold_in, DRAW_SEED, seed, (op_draw_at){ BK_INT64, 0, NULL, place }, 0);
}

/* What a call asks for: seed, sizes, dtype, place. */
static op_draw_at asked(const op_value *v) {
    return (op_draw_at){ (bk_dtype)v[2].i, v[1].n, v[1].ints, v[3].i };
}

/* clang-format off */
#define DRAW_ARGS                                                                                                      \
    { ARG_SEED, "seed" }, { ARG_SIZES, "sizes" },                                                                   \
    { ARG_DTYPE, "dtype", "float64", "float64 or float32", .option = true },                                           \
    { ARG_INTEGER, "place", "0", "tells the draws of one seed from each other", .option = true }
#define DRAW_DOC                                                                                                       \
    "\n\nThe numbers are a function of seed (an integer, or an int64 tensor: (S...) gives (S..., sizes...)) and of "   \
    "place: the same at any number of threads, in float32 those of float64, rounded (uniform ones: cut to 24 bits, "   \
    "so that they stay below 1). No derivative passes through "                                                       \
    "them: what is made of them is differentiated at fixed draws. Under vmap each of many seeds has its own draws, "   \
    "and one seed the same in every place. Give a traced function its seed as an int64 tensor.\n\n"                    \
    "Source: SplitMix64 in counter form, Steele, Lea & Flood 2014"
#define DRAW_SAMPLE &(op_sample){ 1, { { 0, { 0 }, 1000 } }, 2, { SAMPLE_SIZE, 4 } }

OP_BUILD(uniform, g_uniform(g, v[0].t, asked(v)))
const op_row op_uniform = {
    .name = "uniform",
    .arity = 1,
    .kind = OP_COMPOSITE,
    .formula = "u[i] = hash(seed, place, i) / 2^64",
    .args = (const op_arg[]){ DRAW_ARGS, { ARG_END } },
    .build = uniform_build,
    .sample = DRAW_SAMPLE,
    .doc = "Uniform draws on [0, 1) from a seed." DRAW_DOC ".",
};

OP_BUILD(normal, g_normal(g, v[0].t, asked(v)))
const op_row op_normal = {
    .name = "normal",
    .arity = 1,
    .kind = OP_COMPOSITE,
    .formula = "z[2i], z[2i + 1] = sqrt(-2 ln(1 - u[2i])) (cos, sin)(2 pi u[2i + 1])",
    .args = (const op_arg[]){ DRAW_ARGS, { ARG_END } },
    .build = normal_build,
    .sample = DRAW_SAMPLE,
    .doc = "Draws of N(0, 1) from a seed." DRAW_DOC "; Box & Muller 1958.",
};

OP_BUILD(bernoulli, g_bernoulli(g, v[0].t, asked(v), v[4].x))
const op_row op_bernoulli = {
    .name = "bernoulli",
    .arity = 1,
    .kind = OP_COMPOSITE,
    .formula = "1 where u[i] < p, else 0",
    .args = (const op_arg[]){ DRAW_ARGS, { ARG_NUMBER, "p", "0.5", "probability of 1", .option = true }, { ARG_END } },
    .build = bernoulli_build,
    .sample = DRAW_SAMPLE,
    .doc = "Draws that are 1 with probability p, else 0, from a seed." DRAW_DOC ".",
};

OP_BUILD(fold_in, g_fold_in(g, v[0].t, v[1].i))
const op_row op_fold_in = {
    .name = "fold_in",
    .arity = 1,
    .kind = OP_COMPOSITE,
    .formula = "hash(seed, place)",
    .args = (const op_arg[]){ { ARG_SEED, "seed" }, { ARG_INTEGER, "place", .low = INT64_MIN }, { ARG_END } },
    .build = fold_in_build,
    .sample = &(op_sample){ 1, { { 1, { SAMPLE_SIZE }, 1000 } }, 1, { 5 } },
    .doc = "Another seed, int64, made of a seed and a place: two draws that must differ take bk.fold_in(seed, 1) and "
           "bk.fold_in(seed, 2).",
};
/* clang-format on */
