/* fuse.c - runs a group of elementwise operations block by block, with what passes between them, and what is summed and
 * not kept, in temporaries that stay in the L1 cache; those of Adam's step in one loop. */
#include "fuse.h"

#include <string.h>

/* Elements after which a view repeats; its own count where it does not. */
static int64_t view_period(const fuse_view *v) {
    int64_t period = 1;
    for (int i = v->strides[0] == 0; i < v->ndim; i++) period *= v->shape[i];
    return period;
}

/* The block of at most `most` elements: how many views are laid out once for all of them. */
static int set_block(fuse_pass *p, int64_t most) {
    int64_t rows = 1;
    int once = 0;
    for (int i = 0; i < p->n_views; i++) {
        int64_t period = view_period(&p->views[i]), a = rows, b = period;
        while (b) {
            int64_t rest = a % b;
            a = b, b = rest;
        }
        p->views[i].once = period <= most && rows / a <= most / period;
        if (p->views[i].once) rows = rows / a * period;
        once += p->views[i].once;
    }
    p->block = most / rows * rows;
    return once;
}

/* Bands of that many elements, whole blocks of the size that is given. */
static int64_t band_of(int64_t count, int64_t block) {
    enum { BANDS = 8, LEAST = 1 << 16 };
    const int64_t blocks = (count + block - 1) / block, most = 1 + count / LEAST, bands = most < BANDS ? most : BANDS;
    return (blocks + bands - 1) / bands * block;
}

/* In a short block an operation begins while the one before it waits for memory, where they are several; what is summed
 * is cut in fewer parts by a longer one, and always in the same: the bits of a sum do not depend on what else its pass
 * does. */
void fuse_set_block(fuse_pass *p) {
    enum { SHORT = FUSE_BLOCK_BYTES / 4 };
    const int64_t size = (int64_t)dtype_size(p->dtype);
    if (!p->n_folds) {
        const int once = set_block(p, FUSE_BLOCK_BYTES / size);
        const bool alone = p->n_ops == 1 + p->ops[0].more;
        for (int64_t bytes = alone ? FUSE_BLOCK_BYTES : SHORT; set_block(p, bytes / size) < once; bytes *= 2) continue;
        return;
    }
    bool runs = false;
    for (int i = 0; i < p->n_folds; i++) {
        if (p->folds[i].rows) p->band = band_of(p->count, FUSE_BLOCK_BYTES / size);
        else runs = true;
    }
    p->block = (runs ? 2 * SHORT : FUSE_BLOCK_BYTES) / size;
    for (int i = 0; i < p->n_views; i++) p->views[i].once = p->block % view_period(&p->views[i]) == 0;
}

/* Where an operation's operands and its result are, in the block at hand, and how far on in the next; which of them to
 * ask for in time. */
typedef struct reach {
    _Alignas(64) char *at[4];
    uint32_t step[4];
    int n_asks;
    uint8_t asks[4];
} reach;

/* Whether an operand is another's, of its own or of an operation before it. */
static bool known(const reach *reaches, int i, int k) {
    for (int j = 0; j < 4 * i + k; j++)
        if (reaches[j / 4].at[j % 4] == reaches[i].at[k]) return true;
    return false;
}

/* Temporaries lie close: a page apart they would all want the same few places of the cache. */
static size_t temp_bytes(const fuse_pass *p) {
    return mem_aligned((size_t)p->block * dtype_size(p->dtype));
}

static size_t share_bytes(const fuse_pass *p) {
    return (size_t)p->n_temps * temp_bytes(p) + sizeof(reach) * (size_t)p->n_ops; /* both of whole cache lines */
}

/* ---- folds ---- */

fuse_fold fuse_fold_of(int ndim, const int64_t *shape, int64_t mask) {
    fuse_fold f = { .run = 1, .places = 1 };
    int d = ndim - 1;
    for (; d >= 0 && (shape[d] == 1 || mask >> d & 1); d--) f.run *= shape[d];
    f.ndim = d + 1;
    f.rows = f.run == 1;
    for (bool summed = false; d >= 0; d--) {
        f.shape[d] = shape[d];
        f.steps[d] = mask >> d & 1 ? 0 : f.places;
        summed = summed || (shape[d] > 1 && !f.steps[d]);
        f.rows = f.rows && (shape[d] == 1 || summed == !f.steps[d]);
        if (f.steps[d]) f.places *= shape[d];
    }
    return f;
}

bool fuse_fold_pays(const fuse_fold *f, int64_t count) {
    enum { RUN = 16, COUNT = 1024, ROWS = 64 };
    if (count < COUNT) return false;
    return f->rows ? f->places >= RUN && count / f->places >= ROWS : f->run >= RUN;
}

/* Blocks cut runs, in the same places for any number of threads: the part from an element on has a place. */
static int64_t part_at(const fuse_pass *p, const fuse_fold *f, int64_t element) {
    return element / p->block + element / f->run;
}

/* Doubles: of the parts, then of the result; of rows, of each band. */
static int64_t fold_doubles(const fuse_pass *p, const fuse_fold *f) {
    if (f->rows) return ((p->count + p->band - 1) / p->band * f->places + 7) / 8 * 8;
    return (part_at(p, f, p->count) + 1 + f->places + 7) / 8 * 8;
}

static double *fold_parts(const fuse_pass *p, char *folds, int which) {
    double *parts = (double *)(void *)folds;
    for (int i = 0; i < which; i++) parts += fold_doubles(p, &p->folds[i]);
    return parts;
}

/* n elements, a block that begins `into` a run: its parts. */
static void fold_block(bk_dtype dtype, int64_t run, int64_t into, double *parts, int64_t n, const char *in) {
    for (int64_t left = run - into; n > 0; left = run) {
        if (left > n) left = n;
        *parts++ = vec_sum(dtype, left, in);
        in += (size_t)left * dtype_size(dtype);
        n -= left;
    }
}

/* n elements from the first of a block on, added to their band's sums, which begin with its first block. */
static void fold_rows(const fuse_pass *p, const fuse_fold *f, int64_t first, double *bands, int64_t n, const char *in) {
    const size_t size = dtype_size(p->dtype);
    double *sums = bands + first / p->band * f->places;
    if (first % p->band == 0) memset(sums, 0, sizeof *sums * (size_t)f->places);
    for (int64_t into = first % f->places, some; n > 0; n -= some, in += (size_t)some * size, into = 0) {
        const int64_t rows = into ? 0 : n / f->places, left = f->places - into;
        some = rows ? rows * f->places : left < n ? left : n;
        vec_add_rows(p->dtype, rows ? rows : 1, f->places, rows ? f->places : some, in, sums + into);
    }
}

static void fold_rows_end(const fuse_pass *p, const fuse_fold *f, char *const *pointers, double *bands) {
    for (int64_t band = 1; band * p->band < p->count; band++)
        vec_get(VEC_ADD, BK_FLOAT64)(f->places, bands, bands, bands + band * f->places, NULL, 0);
    vec_cast(f->places, p->dtype, pointers[f->pointer], BK_FLOAT64, bands);
}

static void fold_end(const fuse_pass *p, int which, char *const *pointers, char *folds) {
    const fuse_fold *f = &p->folds[which];
    double *parts = fold_parts(p, folds, which);
    if (f->rows) {
        fold_rows_end(p, f, pointers, parts);
        return;
    }
    double *sums = parts + part_at(p, f, p->count) + 1;
    int64_t index[BK_MAX_DIMS] = { 0 }, place = 0;
    memset(sums, 0, sizeof *sums * (size_t)f->places);
    for (int64_t i = 0, at = 0, block = p->block; i < p->count; i += f->run) {
        double run = parts[at++];
        for (; block < i + f->run; block += p->block) run += parts[at++];
        if (block == i + f->run) at++, block += p->block; /* where both begin one place is left out */
        sums[place] += run;
        for (int d = f->ndim - 1; d >= 0; d--) {
            place += f->steps[d];
            if (++index[d] < f->shape[d]) break;
            place -= index[d] * f->steps[d];
            index[d] = 0;
        }
    }
    vec_cast(f->places, p->dtype, pointers[f->pointer], BK_FLOAT64, sums);
}

static int shares_of(int threads) {
    enum { MOST = 8 };
    return threads < MOST ? threads : MOST;
}

size_t fuse_scratch(const fuse_pass *p, int threads) {
    size_t bytes = (size_t)shares_of(threads) * share_bytes(p);
    for (int i = 0; i < p->n_folds; i++) bytes += sizeof(double) * (size_t)fold_doubles(p, &p->folds[i]);
    return bytes;
}

static void run_copy(size_t size, char *out, const char *in, int64_t step, int64_t n) {
    const bool small = size == 4; /* elements are moved as floats or doubles, whatever they are */
    if (step == 1) memcpy(out, in, size * (size_t)n);
    else if (step == 0)
        vec_get(VEC_FILL, small ? BK_FLOAT32 : BK_FLOAT64)(n, out, NULL, NULL, NULL,
                                                          small ? *(const float *)(const void *)in
                                                                : *(const double *)(const void *)in);
    else if (small)
        for (int64_t i = 0; i < n; i++) ((float *)(void *)out)[i] = ((const float *)(const void *)in)[i * step];
    else
        for (int64_t i = 0; i < n; i++) ((double *)(void *)out)[i] = ((const double *)(const void *)in)[i * step];
}

/* Elements first .. first+n-1 of the view, in row-major order, into out, where those of the block before still are:
 * `before` of them, no fewer than n, or none. */
static void view_load(const fuse_view *v, size_t size, const char *data, int64_t first, int64_t n, int64_t before,
                      char *out) {
    int last = v->ndim - 1;
    const int64_t into = first % v->shape[last];
    if (before && v->strides[last] == 0 && into >= before && into + n <= v->shape[last])
        return; /* the same number throughout */
    int64_t index[BK_MAX_DIMS], rest = first, at = 0;
    for (int d = last; d >= 0; d--) {
        index[d] = rest % v->shape[d];
        rest /= v->shape[d];
        at += index[d] * v->strides[d];
    }
    while (n > 0) {
        int64_t run = v->shape[last] - index[last], rows = 1;
        const char *from = data + (size_t)at * size;
        if (run > n) run = n;
        if (last > 0 && run == v->shape[last] && v->strides[last] == 1) {
            rows = v->shape[last - 1] - index[last - 1];
            if (rows > n / run) rows = n / run;
        }
        if (rows > 1) {
            const size_t bytes = size * (size_t)run;
            vec_copy_rows(rows, bytes, out, bytes, from, size * (size_t)v->strides[last - 1]);
            index[last - 1] += rows - 1;
            at += (rows - 1) * v->strides[last - 1];
        } else
            run_copy(size, out, from, v->strides[last], run);
        out += size * (size_t)(rows * run);
        n -= rows * run;
        at -= index[last] * v->strides[last];
        index[last] = 0;
        for (int d = last - 1; d >= 0; d--) {
            at += v->strides[d];
            if (++index[d] < v->shape[d]) break;
            at -= index[d] * v->strides[d];
            index[d] = 0;
        }
    }
}

/* ---- several operations at once ---- */

static bool same(fuse_source a, fuse_source b) {
    return a.kind == b.kind && a.at == b.at;
}

/* Adam's step as lower.c leaves it: moments, their root and quotient, perhaps a decay, and theta. Of so many operations
 * from the i-th on, or 0. */
enum { MOMENT, SQUARE, ROOT, QUOTIENT, DECAY };

static int adam_at(const fuse_pass *p, int i) {
    const fuse_op *op = &p->ops[i];
    const vec_op ops[] = { VEC_AVERAGE, VEC_AVERAGE_SQUARE, VEC_SQRT_AFFINE, VEC_MULDIV };
    const int left = p->n_ops - i;
    if (p->dtype == BK_INT64 || left <= DECAY) return 0;
    for (int k = 0; k < DECAY; k++)
        if (op[k].fn != vec_get(ops[k], p->dtype)) return 0;
    const bool decays = left > DECAY + 1 && op[DECAY].fn == vec_get(VEC_AXPY, p->dtype);
    const fuse_op *last = &op[DECAY + decays], *before = last - 1;
    if (last->fn != vec_get(VEC_MULADD, p->dtype)) return 0;
    const int g = same(op[SQUARE].in[1], op[MOMENT].in[1]);
    if (!same(op[SQUARE].in[1], op[MOMENT].in[g]) || !same(op[ROOT].in[0], op[SQUARE].out) ||
        !same(op[QUOTIENT].in[0], op[MOMENT].out) || !same(op[QUOTIENT].in[2], op[ROOT].out) ||
        !same(last->in[0], before->out))
        return 0;
    if (decays && (!same(op[DECAY].in[1], op[QUOTIENT].out) || !same(op[DECAY].in[0], last->in[2]))) return 0;
    const struct {
        const fuse_op *op;
        int in;
    } read[] = { { op + SQUARE, 0 }, { op + SQUARE, 1 },   { op + ROOT, 1 },
                 { last, 1 },        { op + QUOTIENT, 1 }, { last, 2 } };
    for (size_t k = 0; k < sizeof read / sizeof *read; k++) /* what it was before them all */
        for (const fuse_op *a = op; a < read[k].op; a++)
            if (same(read[k].op->in[read[k].in], a->out)) return 0;
    for (const fuse_op *a = op + ROOT; a < last; a++) { /* what is not written, nobody reads */
        if (a->out.kind != SOURCE_TEMP) return 0;
        for (const fuse_op *b = last + 1; b < p->ops + p->n_ops; b++) {
            for (int k = 0; k < 3; k++)
                if (same(b->in[k], a->out)) return 0;
            if (same(b->out, a->out)) break;
        }
    }
    return (int)(last - op) + 1;
}

void fuse_join(fuse_pass *p) {
    for (int i = 0; i < p->n_ops; i += 1 + p->ops[i].more) {
        const int many = adam_at(p, i);
        p->ops[i].more = many ? many - 1 : 0;
    }
}

static void run_adam(const fuse_pass *p, int i, const reach *r, int64_t n, bool far) {
    const fuse_op *op = &p->ops[i];
    const int last = op->more, g = same(op[SQUARE].in[1], op[MOMENT].in[1]);
    const double x = op[MOMENT].x, y = op[SQUARE].x;
    const vec_adam_step s = {
        .theta = r[last].at[2],
        .g = r[SQUARE].at[1],
        .first = r[MOMENT].at[1 - g],
        .second = r[SQUARE].at[0],
        .by_first = r[QUOTIENT].at[1],
        .by_second = r[ROOT].at[1],
        .rate = r[last].at[1],
        .new_theta = r[last].at[3],
        .new_first = r[MOMENT].at[3],
        .new_second = r[SQUARE].at[3],
        .keep = { g ? x : 1 - x, y },
        .take = { g ? 1 - x : x, 1 - y },
        .eps = op[ROOT].x,
        .decay = op[DECAY].x,
        .decays = last > DECAY,
        .far = far,
        .stumbles = vec_intel(),
    };
    vec_adam(p->dtype, n, &s);
}

bool fuse_is_slow(vec_op op) {
    static const bool is[VEC_OPS] = {
        [VEC_EXP] = true,  [VEC_EXPM1] = true,      [VEC_TANH] = true,  [VEC_TANH_SUM] = true,  [VEC_SIGMOID] = true,
        [VEC_GELU] = true, [VEC_GELU_SLOPE] = true, [VEC_GAUSS] = true, [VEC_GAUSS_CDF] = true, [VEC_GELU_CURVE] = true,
        [VEC_ERF] = true,  [VEC_ERFC] = true,       [VEC_SIN] = true,   [VEC_COS] = true,       [VEC_SOFTPLUS] = true,
    };
    return is[op];
}

/* The memory of the next block: some lines of it are asked for after each stretch of an operation that takes long,
 * since those beside it, which read and write memory, would wait. An operation alone waits while it computes: asking
 * took a tenth more there. */
enum { LINE = 64, STRETCH = 8 * LINE, MOST_AHEAD = 8 };
typedef struct ahead {
    const char *from[MOST_AHEAD]; /* the first block */
    bool written[MOST_AHEAD];
    int n, lines, line, per; /* lines of all; asked for; after a stretch */
    int64_t at;              /* elements */
} ahead;

static void look_ahead(const fuse_pass *p, const reach *reaches, size_t bytes, ahead *x) {
    enum { WORTH = 4 << 20 }; /* bytes that a pass reads and writes, of which L2 has little */
    int slow = 0;
    for (int i = 0; i < p->n_ops; i++) {
        slow += p->ops[i].slow;
        for (int k = 0; k < 4 && x->n < MOST_AHEAD; k++) {
            if (!reaches[i].step[k] || known(reaches, i, k)) continue;
            x->from[x->n] = reaches[i].at[k];
            x->written[x->n++] = k == 3;
        }
    }
    if (!slow || p->n_ops == 1 || (size_t)p->count * dtype_size(p->dtype) * (size_t)x->n < WORTH) return;
    const int stretches = slow * (int)((bytes + STRETCH - 1) / STRETCH);
    x->lines = x->n * (int)((bytes + LINE - 1) / LINE);
    x->per = (x->lines + stretches - 1) / stretches;
}

static void run_slow(const fuse_op *op, const reach *r, int64_t n, size_t size, ahead *x) {
    const int64_t stretch = STRETCH / (int64_t)size;
    for (int64_t i = 0; i < n; i += stretch) {
        const size_t at = (size_t)i * size;
        op->fn(n - i < stretch ? n - i : stretch, r->at[3] + at, r->at[0] + at, r->at[1] + at, r->at[2] + at, op->x);
        for (int k = 0; k < x->per && x->line < x->lines; k++, x->line++) {
            const int which = x->line % x->n;
            const char *line = x->from[which] + (size_t)x->at * size + (size_t)(x->line / x->n) * LINE;
            if (x->written[which]) __builtin_prefetch(line, 1);
            else __builtin_prefetch(line);
        }
    }
}

/* Elements start to end; with sums start is where a block starts. folds: what all parts leave for fold_end. */
static void run_part(const fuse_pass *p, char *const *pointers, char *scratch, char *folds, int64_t start,
                     int64_t end) {
    enum { FAR_BYTES = 1 << 20 }; /* of an operand that the L2 does not hold */
    enum { MANY = 4 };            /* operands: more than the processor by itself sees coming */
    const size_t size = dtype_size(p->dtype), temp_size = temp_bytes(p);
    const int64_t block = p->block;
    const size_t bytes = (size_t)block * size;
    const bool far = (size_t)p->count * size >= FAR_BYTES;
    int streams = 0;
    reach *reaches = (reach *)(void *)(scratch + (size_t)p->n_temps * temp_size);
    for (int i = 0; i < p->n_ops; i++) {
        reaches[i].n_asks = 0;
        for (int k = 0; k < 4; k++) {
            const fuse_source *s = k < 3 ? &p->ops[i].in[k] : &p->ops[i].out;
            const bool memory = s->kind == SOURCE_MEMORY;
            reaches[i].at[k] = memory                   ? pointers[s->at] + (size_t)start * size
                               : s->kind == SOURCE_TEMP ? scratch + (size_t)s->at * temp_size
                                                        : scratch;
            reaches[i].step[k] = memory ? (uint32_t)bytes : 0;
            if (k == 3 && !p->ops[i].fn) {
                reaches[i].at[k] = (char *)fold_parts(p, folds, p->ops[i].fold);
                reaches[i].step[k] = 0;
            } else if (far && memory && !known(reaches, i, k)) {
                streams++;
                if (k < 3) reaches[i].asks[reaches[i].n_asks++] = (uint8_t)k;
            }
        }
    }
    const bool asks = streams >= MANY && !vec_intel(); /* where they would take the place of the processor's own */
    for (int i = 0; i < p->n_fills; i++) {
        char *temp = scratch + (size_t)p->fills[i].temp * temp_size;
        int64_t n = end - start < block ? end - start : block;
        if (p->fills[i].pointer >= 0) run_copy(size, temp, pointers[p->fills[i].pointer], 0, n);
        else vec_get(VEC_FILL, p->dtype)(n, temp, NULL, NULL, NULL, p->fills[i].x);
    }
    ahead next = { 0 };
    if (far && vec_intel()) look_ahead(p, reaches, bytes, &next);
    for (int64_t first = start; first < end; first += block) {
        int64_t n = end - first < block ? end - first : block;
        for (int i = 0; i < p->n_views; i++) {
            if (first > start && p->views[i].once) continue;
            view_load(&p->views[i], size, pointers[p->views[i].pointer], first, n, first > start ? block : 0,
                      scratch + (size_t)p->views[i].temp * temp_size);
        }
        next.line = 0;
        next.at = first - start + block;
        for (int i = 0; i < p->n_ops;) {
            const fuse_op *op = &p->ops[i];
            reach *r = &reaches[i], *const beyond = r + 1 + op->more;
            if (op->more) run_adam(p, i, r, n, far);
            else if (op->slow && next.per) run_slow(op, r, n, size, &next);
            else if (op->fn) op->fn(n, r->at[3], r->at[0], r->at[1], r->at[2], op->x);
            else {
                const fuse_fold *f = &p->folds[op->fold];
                double *parts = (double *)(void *)r->at[3];
                if (f->rows) fold_rows(p, f, first, parts, n, r->at[0]);
                else fold_block(p->dtype, f->run, first % f->run, parts + part_at(p, f, first), n, r->at[0]);
            }
            for (; r < beyond; r++, i++) {
                for (int k = 0; k < 4; k++) r->at[k] += r->step[k];
                for (int k = 0; asks && !op->more && k < r->n_asks; k++)
                    for (size_t at = 0; at < bytes; at += 64) __builtin_prefetch(r->at[r->asks[k]] + at, 0, 2);
            }
        }
    }
}

typedef struct job {
    const fuse_pass *p;
    char *const *pointers;
    char *scratch, *folds;
    ctx *polled; /* between parts of a band, or NULL */
    int64_t part; /* blocks or bands, in elements */
} job;

static void run_range(void *arg, int share, int64_t first, int64_t end) {
    const job *j = arg;
    const fuse_pass *p = j->p;
    const int64_t to = end * j->part < p->count ? end * j->part : p->count;
    int64_t piece = to;
    if (j->polled) piece = (POLL_WORK / (p->n_ops + p->n_views) / p->block + 1) * p->block;
    for (int64_t at = first * j->part; at < to && !(j->polled && ctx_poll(j->polled, NULL)); at += piece)
        run_part(p, j->pointers, j->scratch + share_bytes(p) * (size_t)share, j->folds, at,
                 at + piece < to ? at + piece : to);
}

static bk_status run(ctx *c, const fuse_pass *p, char *const *pointers, char *scratch, bool shared, double work) {
    const int shares = shared ? shares_of(ctx_threads(c)) : 1;
    const int64_t part = p->band ? p->band : p->block;
    job j = { p, pointers, scratch, scratch + (size_t)shares * share_bytes(p), p->band && work > 0 ? c : NULL, part };
    const bk_status status = ctx_ranges(c, (p->count + part - 1) / part, shares, work, run_range, &j);
    if (status && work > 0) return status; /* else all of it is done */
    for (int i = 0; i < p->n_folds; i++) fold_end(p, i, pointers, j.folds);
    return status;
}

bk_status fuse_run(ctx *c, const fuse_pass *p, char *const *pointers, char *scratch, bool shared) {
    return run(c, p, pointers, scratch, shared, (double)p->count * (p->n_ops + p->n_views));
}

void fuse_run_whole(ctx *c, const fuse_pass *p, char *const *pointers, char *scratch, bool shared) {
    run(c, p, pointers, scratch, shared, 0); /* one piece a share: all is done when it looks */
}

enum { PART_BYTES = 64 << 10 };

bool fuse_has_parts(const fuse_pass *p) {
    return !p->n_folds && !p->n_views && share_bytes(p) <= PART_BYTES;
}

void fuse_run_part(const fuse_pass *p, char *const *pointers, int64_t first, int64_t count) {
    _Alignas(64) char scratch[PART_BYTES];
    run_part(p, pointers, scratch, NULL, first, first + count);
}
