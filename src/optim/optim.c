/* optim.c - the optimizers' common part: options, state, one step. */
#include "optim.h"
#include <math.h>
#include <string.h>

bk_status optim_new(ctx *c, const optim_row *row, const double *options, optim **out, err *e) {
    *out = NULL;
    for (int i = 0; i < OPTIM_MAX_OPTIONS && row->options[i].name; i++) {
        const optim_option *k = &row->options[i];
        if (!(options[i] >= k->low && options[i] < k->high))
            return err_set(e, BK_EINVAL, "%s: %s: expected a finite number >= %g%s, got %g", row->name, k->name, k->low,
                           k->high == 1 ? " and < 1" : "", options[i]);
    }
    optim *o = mem_zalloc(c, sizeof *o);
    if (!o) return err_nomem(e, sizeof *o);
    o->c = c;
    ctx_retain(c);
    o->row = row;
    o->n = -1;
    for (int i = 0; i < OPTIM_MAX_OPTIONS && row->options[i].name; i++) o->option[i] = options[i];
    *out = o;
    return BK_OK;
}

void optim_reset(optim *o) {
    for (int i = 0; i < OPTIM_MAX_BUFFERS; i++) tensor_release(&o->buffer[i]);
    o->t = 0;
    o->n = -1;
}

void optim_free(optim *o) {
    if (!o) return;
    ctx *c = o->c;
    optim_reset(o);
    mem_free(c, o, sizeof *o);
    ctx_release(c);
}

static bk_status start(optim *o, int64_t n, bk_dtype dtype, err *e) {
    bk_status st = BK_OK;
    for (int i = 0; o->row->buffers[i] && !st; i++) st = tensor_zeros(o->c, dtype, 1, &n, &o->buffer[i], e);
    if (st) {
        optim_reset(o);
        return st;
    }
    o->n = n;
    o->dtype = dtype;
    return BK_OK;
}

bk_status optim_step(optim *o, int64_t n, bk_dtype dtype, void *theta, const void *g, double lr, err *e) {
    const char *name = o->row->name;
    if (dtype == BK_INT64) return err_set(e, BK_EINVAL, "%s: theta: expected floating point, got int64", name);
    if (!isfinite(lr)) return err_set(e, BK_EINVAL, "%s: lr: expected a finite number, got %g", name, lr);
    if (o->n < 0) {
        bk_status st = start(o, n, dtype, e);
        if (st) return st;
    } else if (o->n != n || o->dtype != dtype) {
        return err_set(e, BK_EINVAL,
                       "%s: theta: this optimizer's state is for %lld %s elements, got %lld %s (reset it, or "
                       "make another)",
                       name, (long long)o->n, dtype_name(o->dtype), (long long)n, dtype_name(dtype));
    }
    optim_update u = { .n = n, .t = ++o->t, .lr = lr, .option = o->option, .theta = theta, .g = g };
    for (int i = 0; o->row->buffers[i]; i++) u.buffer[i] = tensor_data(&o->buffer[i]);
    (dtype == BK_FLOAT32 ? o->row->f32 : o->row->f64)(&u);
    return BK_OK;
}

bk_status optim_restore(optim *o, int64_t t, const tensor *buffers, err *e) {
    optim fresh = { .c = o->c, .row = o->row, .n = -1 };
    const char *const *names = o->row->buffers;
    if (t < 0)
        return err_set(e, BK_EINVAL, "%s: step: expected a whole number >= 0, got %lld", o->row->name, (long long)t);
    for (int i = 0; names[i]; i++)
        if (buffers[i].ndim != 1 || buffers[i].dtype == BK_INT64 || buffers[i].dtype != buffers[0].dtype ||
            buffers[i].shape[0] != buffers[0].shape[0]) {
            shape_buf sb;
            return err_set(e, BK_EINVAL, "%s: %s: expected one floating vector of the state's size, got %s %s",
                           o->row->name, names[i], dtype_name(buffers[i].dtype),
                           shape_text(buffers[i].ndim, buffers[i].shape, &sb));
        }
    if (names[0]) {
        bk_status st = start(&fresh, buffers[0].shape[0], buffers[0].dtype, e);
        if (st) return st;
        for (int i = 0; names[i]; i++) tensor_copy_to(&buffers[i], fresh.dtype, tensor_data(&fresh.buffer[i]));
    }
    optim_reset(o);
    memcpy(o->buffer, fresh.buffer, sizeof o->buffer);
    o->t = t;
    o->n = fresh.n;
    o->dtype = fresh.dtype;
    return BK_OK;
}
