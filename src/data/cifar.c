/* cifar.c - reading CIFAR batches: fixed records, so the size of the file is the only header. */
#include "cifar.h"

#include "source.h"

enum { PIXELS = 3 * 32 * 32, COARSE = 20 };

static bk_status cifar_parse(ctx *c, source *s, int classes, bytes *all, tensor *images, tensor *labels, tensor *coarse,
                             err *e) {
    int64_t heads = classes == 10 ? 1 : 2, record = heads + PIXELS;
    bk_status status = source_read(s, SIZE_MAX / 4, all, e);
    if (!status && s->cut) status = source_expect_end(s, e);
    if (status) return status;
    int64_t count = (int64_t)all->count, n = count / record;
    if (n == 0 || count % record)
        return err_set(e, BK_EIO, "%s: size: expected a multiple of %lld bytes (records of CIFAR-%d), got %lld",
                       s->path, (long long)record, classes, (long long)count);
    if ((status = tensor_new(c, BK_FLOAT32, 4, (int64_t[]){ n, 3, 32, 32 }, images, e))) return status;
    if ((status = tensor_new(c, BK_INT64, 1, &n, labels, e))) return status;
    if (coarse && heads == 2 && (status = tensor_new(c, BK_INT64, 1, &n, coarse, e))) return status;
    float *pixel = tensor_data(images);
    for (int64_t i = 0; i < n; i++) {
        const unsigned char *p = all->data + i * record;
        int label = p[heads - 1];
        if (label >= classes || (heads == 2 && p[0] >= COARSE))
            return err_set(e, BK_EIO, "%s: record %lld, %s label: expected 0..%d, got %d", s->path, (long long)i + 1,
                           label >= classes ? "class" : "coarse", label >= classes ? classes - 1 : COARSE - 1,
                           label >= classes ? label : p[0]);
        ((int64_t *)tensor_data(labels))[i] = label;
        if (coarse && heads == 2) ((int64_t *)tensor_data(coarse))[i] = p[0];
        for (int k = 0; k < PIXELS; k++) *pixel++ = p[heads + k];
    }
    return BK_OK;
}

bk_status cifar_read(ctx *c, const char *path, int classes, tensor *images, tensor *labels, tensor *coarse, err *e) {
    source s;
    bytes all = { 0 };
    *images = *labels = (tensor){ 0 };
    if (coarse) *coarse = (tensor){ 0 };
    if (classes != 10 && classes != 100)
        return err_set(e, BK_EINVAL, "cifar: classes: expected 10 or 100, got %d", classes);
    bk_status status = source_open(c, path, &s, e);
    if (!status) status = cifar_parse(c, &s, classes, &all, images, labels, coarse, e);
    source_close(&s);
    bytes_free(c, &all);
    if (status) {
        tensor_release(images);
        tensor_release(labels);
        if (coarse) tensor_release(coarse);
    }
    return status;
}
