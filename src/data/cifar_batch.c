/* cifar_batch.c - the binary batches of CIFAR-10 and CIFAR-100: records of 1 or 2 label bytes and 3 x 32 x 32 bytes,
 * so the size of the file is the only header. */
#include "format.h"
#include "source.h"

enum { CLASSES };
enum { PIXELS = 3 * 32 * 32, COARSE = 20 };

static bk_status cifar_parse(ctx *c, source *s, int classes, bytes *all, tensor *images, tensor *labels, tensor *coarse,
                             err *e) {
    int64_t heads = classes == 10 ? 1 : 2, record = heads + PIXELS;
    bk_status status = source_read_all(s, all, e);
    if (status) return status;
    int64_t count = (int64_t)all->count, n = count / record;
    if (n == 0 || count % record)
        return err_set(e, BK_EIO, "%s: size: expected a multiple of %lld bytes (records of CIFAR-%d), got %lld",
                       s->path, (long long)record, classes, (long long)count);
    if ((status = tensor_new(c, BK_FLOAT32, 4, (int64_t[]){ n, 3, 32, 32 }, images, e))) return status;
    if ((status = tensor_new(c, BK_INT64, 1, &n, labels, e))) return status;
    if (heads == 2 && (status = tensor_new(c, BK_INT64, 1, &n, coarse, e))) return status;
    float *pixel = tensor_data(images);
    for (int64_t i = 0; i < n; i++) {
        if (i % 1024 == 0 && ctx_poll(c, e)) return BK_EINTERRUPTED;
        const unsigned char *p = all->data + i * record;
        int label = p[heads - 1];
        if (label >= classes || (heads == 2 && p[0] >= COARSE))
            return err_set(e, BK_EIO, "%s: record %lld, %s label: expected 0..%d, got %d", s->path, (long long)i + 1,
                           label >= classes ? "class" : "coarse", label >= classes ? classes - 1 : COARSE - 1,
                           label >= classes ? label : p[0]);
        ((int64_t *)tensor_data(labels))[i] = label;
        if (heads == 2) ((int64_t *)tensor_data(coarse))[i] = p[0];
        for (int k = 0; k < PIXELS; k++) *pixel++ = p[heads + k];
    }
    return BK_OK;
}

static bk_status cifar_read(const format_call *call, value *out, err *e) {
    source s;
    bytes all = { 0 };
    tensor images = { 0 }, labels = { 0 }, coarse = { 0 };
    const int classes = (int)call->option[CLASSES];
    if (classes != 10 && classes != 100)
        return err_set(e, BK_EINVAL, "cifar_batch: classes: expected 10 or 100, got %d", classes);
    bk_status status = source_open(call->c, call->path, &s, e);
    if (!status) status = cifar_parse(call->c, &s, classes, &all, &images, &labels, &coarse, e);
    source_close(&s);
    bytes_free(call->c, &all);
    if (!status) status = value_add_tensor(out, NULL, &images, e);
    if (!status) status = value_add_tensor(out, NULL, &labels, e);
    if (!status && classes == 100) status = value_add_tensor(out, NULL, &coarse, e);
    tensor_release(&images);
    tensor_release(&labels);
    tensor_release(&coarse);
    return status;
}

const format_row format_cifar_batch = {
    .name = "cifar_batch",
    .doc = "bk.data.cifar_batch(path [, { classes = 10 | 100 }]) -> images, labels [, coarse labels]\n"
           "One binary batch of CIFAR-10 or CIFAR-100, plain or gzip; bk.data.cifar joins a folder of them.\n\n"
           "float32 images (n, 3, 32, 32) of 0..255, int64 labels (n); CIFAR-100 also has its 20 superclasses.",
    .options = { { "classes", "10 or 100", OPTION_COUNT, .otherwise = 10, .low = 10, .high = 100 } },
    .read = cifar_read,
};
