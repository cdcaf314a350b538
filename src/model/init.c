/* init.c - starting values of theta. */
#include "../base/nearest.h"
#include "../base/rng.h"
#include "model.h"
#include <math.h>
#include <string.h>

static void fill_normal(rng *r, int64_t n, double std, double *out) {
    for (int64_t i = 0; i < n; i++) out[i] = std * rng_normal(r);
}

static void fill_glorot(rng *r, const model_block *b, double *out) {
    double a = sqrt(6.0 / (double)(b->fan_in + b->fan_out));
    for (int64_t i = 0; i < b->size; i++) out[i] = a * (2.0 * rng_uniform(r) - 1.0);
}

/* The short side's vectors are made orthonormal: Gram-Schmidt twice, since once loses digits when they are
 * nearly dependent. work holds b->size doubles, short vectors one after the other. false: interrupted. */
static bool fill_orthogonal(ctx *c, rng *r, const model_block *b, double *out, double *work) {
    int64_t since = 0;
    int64_t rows = b->ndim ? b->shape[0] : 1, cols = b->size / rows;
    int64_t k = rows < cols ? rows : cols, n = rows < cols ? cols : rows;
    for (int64_t i = 0; i < k; i++) {
        double *v = work + i * n, norm = 0;
        while (!(norm > 1e-8)) {
            fill_normal(r, n, 1.0, v);
            for (int pass = 0; pass < 2; pass++)
                for (int64_t j = 0; j < i; j++) {
                    const double *u = work + j * n;
                    double dot = vec_dot(BK_FLOAT64, n, u, v);
                    for (int64_t t = 0; t < n; t++) v[t] -= dot * u[t];
                    if (ctx_stops(c, &since, n)) return false;
                }
            norm = sqrt(vec_dot(BK_FLOAT64, n, v, v));
        }
        for (int64_t t = 0; t < n; t++) v[t] /= norm;
        for (int64_t t = 0; t < n; t++) out[rows < cols ? i * cols + t : t * cols + i] = v[t];
    }
    return true;
}

typedef enum scheme { GLOROT, HE, LECUN, ORTHOGONAL, SCHEMES } scheme;
static const char *const scheme_names[SCHEMES + 1] = { "glorot", "he", "lecun", "orthogonal", NULL };

bk_status model_init(const model *m, const init_options *o, tensor *out, err *e) {
    memset(out, 0, sizeof *out);
    int s = 0;
    while (o->scheme && s < SCHEMES && strcmp(o->scheme, scheme_names[s]) != 0) s++;
    if (s == SCHEMES)
        return err_set(e, BK_EINVAL, "model:init: scheme: expected glorot, he, lecun or orthogonal, got %s%s",
                       o->scheme, name_meant(o->scheme, scheme_names).text);
    if (o->dtype != BK_FLOAT64 && o->dtype != BK_FLOAT32)
        return err_set(e, BK_EINVAL, "model:init: dtype: expected float64 or float32, got %s", dtype_name(o->dtype));
    tensor full = { 0 };
    bk_status st = tensor_zeros(m->c, BK_FLOAT64, 1, &m->n_params, &full, e);
    if (st) return st;
    double *theta = tensor_data(&full);
    rng root = rng_seed(o->seed);
    for (int i = 0; i < m->n_blocks && !st; i++) {
        const model_block *b = &m->blocks[i];
        double *v = theta + b->offset;
        rng r = rng_split(&root); /* drawn for every block: a changed layer leaves the others' values alone */
        const double start = block_start(b);
        if (!isnan(start)) {
            for (int64_t k = 0; k < b->size; k++) v[k] = start;
            continue;
        }
        if (b->init == INIT_TABLE) {
            fill_normal(&r, b->size, 1.0, v);
        } else if (s == GLOROT) {
            fill_glorot(&r, b, v);
        } else if (s == ORTHOGONAL) {
            size_t bytes = (size_t)b->size * sizeof(double);
            double *work = mem_alloc(m->c, bytes);
            if (!work) st = err_nomem(e, bytes);
            else if (!fill_orthogonal(m->c, &r, b, v, work)) st = ctx_poll(m->c, e);
            mem_free(m->c, work, work ? bytes : 0);
        } else {
            fill_normal(&r, b->size, sqrt((s == HE ? 2.0 : 1.0) / (double)b->fan_in), v);
        }
        for (int64_t k = 0; k < b->size; k++) v[k] *= o->scale;
        if (!st) st = ctx_poll(m->c, e);
    }
    if (!st) st = tensor_contiguous_as(&full, o->dtype, out, e);
    tensor_release(&full);
    return st;
}
