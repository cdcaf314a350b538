/* fuse.c - runs a group of elementwise operations block by block, with what passes between them
 * in temporaries that stay in the L1 cache. */
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

/* In a short block an operation begins while the one before it waits for memory. */
void fuse_set_block(fuse_pass *p) {
    enum { SHORT = FUSE_BLOCK_BYTES / 4 };
    const int64_t size = (int64_t)dtype_size(p->dtype);
    const int once = set_block(p, FUSE_BLOCK_BYTES / size);
    if (set_block(p, SHORT / size) < once) set_block(p, FUSE_BLOCK_BYTES / size);
}

/* Where an operation's operands and its result are, in the block at hand, and how far on in the next. */
typedef struct reach {
    char *at[4];
    size_t step[4];
} reach;

/* Temporaries lie close: a page apart they would all want the same few places of the cache. */
static size_t temp_bytes(const fuse_pass *p) {
    return ((size_t)p->block * dtype_size(p->dtype) + 63) / 64 * 64;
}

size_t fuse_scratch(const fuse_pass *p) {
    return (size_t)p->n_temps * temp_bytes(p) + sizeof(reach) * (size_t)p->n_ops; /* both of whole cache lines */
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

/* Elements first .. first+n-1 of the view, in row-major order, into out. */
static void view_load(const fuse_view *v, size_t size, const char *data, int64_t first, int64_t n, char *out) {
    int last = v->ndim - 1;
    int64_t index[BK_MAX_DIMS], rest = first, at = 0;
    for (int d = last; d >= 0; d--) {
        index[d] = rest % v->shape[d];
        rest /= v->shape[d];
        at += index[d] * v->strides[d];
    }
    while (n > 0) {
        int64_t run = v->shape[last] - index[last];
        if (run > n) run = n;
        run_copy(size, out, data + (size_t)at * size, v->strides[last], run);
        out += size * (size_t)run;
        n -= run;
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

/* Elements start to end; start is where a block starts. */
static void run_part(const fuse_pass *p, char *const *pointers, char *scratch, int64_t start, int64_t end) {
    const size_t size = dtype_size(p->dtype), temp_size = temp_bytes(p);
    const int64_t block = p->block;
    reach *reaches = (reach *)(void *)(scratch + (size_t)p->n_temps * temp_size);
    for (int i = 0; i < p->n_ops; i++)
        for (int k = 0; k < 4; k++) {
            const fuse_source *s = k < 3 ? &p->ops[i].in[k] : &p->ops[i].out;
            const bool memory = s->kind == SOURCE_MEMORY;
            reaches[i].at[k] = memory                   ? pointers[s->at] + (size_t)start * size
                               : s->kind == SOURCE_TEMP ? scratch + (size_t)s->at * temp_size
                                                        : scratch;
            reaches[i].step[k] = memory ? (size_t)block * size : 0;
        }
    for (int i = 0; i < p->n_fills; i++) {
        char *temp = scratch + (size_t)p->fills[i].temp * temp_size;
        int64_t n = end - start < block ? end - start : block;
        if (p->fills[i].pointer >= 0) run_copy(size, temp, pointers[p->fills[i].pointer], 0, n);
        else vec_get(VEC_FILL, p->dtype)(n, temp, NULL, NULL, NULL, p->fills[i].x);
    }
    for (int64_t first = start; first < end; first += block) {
        int64_t n = end - first < block ? end - first : block;
        for (int i = 0; i < p->n_views; i++) {
            if (first > start && p->views[i].once) continue;
            view_load(&p->views[i], size, pointers[p->views[i].pointer], first, n,
                      scratch + (size_t)p->views[i].temp * temp_size);
        }
        for (int i = 0; i < p->n_ops; i++) {
            reach *r = &reaches[i];
            p->ops[i].fn(n, r->at[3], r->at[0], r->at[1], r->at[2], p->ops[i].x);
            for (int k = 0; k < 4; k++) r->at[k] += r->step[k];
        }
    }
}

typedef struct job {
    const fuse_pass *p;
    char *const *pointers;
    char *scratch;
} job;

static void run_range(void *arg, int share, int64_t first, int64_t end) {
    const job *j = arg;
    const int64_t to = end * j->p->block;
    run_part(j->p, j->pointers, j->scratch + fuse_scratch(j->p) * (size_t)share, first * j->p->block,
             to < j->p->count ? to : j->p->count);
}

static bk_status run(ctx *c, const fuse_pass *p, char *const *pointers, char *scratch, bool shared, double work) {
    job j = { p, pointers, scratch };
    return ctx_ranges(c, (p->count + p->block - 1) / p->block, shared ? FUSE_SHARES : 1, work, run_range, &j);
}

bk_status fuse_run(ctx *c, const fuse_pass *p, char *const *pointers, char *scratch, bool shared) {
    return run(c, p, pointers, scratch, shared, (double)p->count * (p->n_ops + p->n_views));
}

void fuse_run_whole(ctx *c, const fuse_pass *p, char *const *pointers, char *scratch, bool shared) {
    run(c, p, pointers, scratch, shared, 0); /* one piece a share: all is done when it looks */
}
