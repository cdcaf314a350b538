/* cifar.h - the binary batches of CIFAR-10 and CIFAR-100, plain or gzip: records of 1 or 2 label bytes
 * and 3 x 32 x 32 bytes. */
#ifndef DATA_CIFAR_H
#define DATA_CIFAR_H

#include "../tensor/tensor.h"

/* classes is 10 or 100. images: a new float32 tensor (n, 3, 32, 32) of 0..255; labels: int64 (n), the fine ones
 * of CIFAR-100; coarse: its 20 superclasses, int64 (n), or NULL (unused for 10). A file that is no whole number
 * of records, is empty, or holds a label out of range is BK_EIO. All are cleared on failure. */
bk_status cifar_read(ctx *c, const char *path, int classes, tensor *images, tensor *labels, tensor *coarse, err *e);

#endif
