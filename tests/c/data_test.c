/* data_test.c - file formats: what is written comes back, and every malformed file gives BK_EIO with a message
 * that names file and field, leaks nothing and crashes nothing: listed cases, every truncation, random
 * damage, every failing allocation. Files live in a temporary directory. */
#include "../../src/base/rng.h"
#include "../../src/data/npy.h"
#include "../../src/data/safetensors.h"
#include "data_files.h"

#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <jpeglib.h>
#include <png.h>

/* ---- idx ---- */

#define PUT(file, text) put(file, text, sizeof text - 1)

static void test_idx(void) {
    PUT("u1", "\0\0\x08\2\0\0\0\2\0\0\0\3\1\2\3\375\376\377");
    accepted(as_idx, "u1", BK_INT64, 2, (int64_t[]){ 2, 3 }, (double[]){ 1, 2, 3, 253, 254, 255 });
    PUT("i1", "\0\0\x09\1\0\0\0\2\177\200");
    accepted(as_idx, "i1", BK_INT64, 1, (int64_t[]){ 2 }, (double[]){ 127, -128 });
    PUT("i2", "\0\0\x0b\1\0\0\0\2\1\2\377\376");
    accepted(as_idx, "i2", BK_INT64, 1, (int64_t[]){ 2 }, (double[]){ 258, -2 });
    PUT("i4", "\0\0\x0c\1\0\0\0\2\0\1\0\0\200\0\0\0");
    accepted(as_idx, "i4", BK_INT64, 1, (int64_t[]){ 2 }, (double[]){ 65536, -2147483648.0 });
    PUT("f4", "\0\0\x0d\1\0\0\0\1\277\300\0\0");
    accepted(as_idx, "f4", BK_FLOAT32, 1, (int64_t[]){ 1 }, (double[]){ -1.5 });
    PUT("f8", "\0\0\x0e\1\0\0\0\1\100\11\41\373\124\104\55\30");
    accepted(as_idx, "f8", BK_FLOAT64, 1, (int64_t[]){ 1 }, (double[]){ 3.141592653589793 });
    PUT("none", "\0\0\x08\2\0\0\0\0\0\0\0\5");
    accepted(as_idx, "none", BK_INT64, 2, (int64_t[]){ 0, 5 }, NULL);
    put_gz("packed.gz", "\0\0\x08\1\0\0\0\2\7\10", 10);
    accepted(as_idx, "packed.gz", BK_INT64, 1, (int64_t[]){ 2 }, (double[]){ 7, 8 });
    accepted(as_idx, "packed", BK_INT64, 1, (int64_t[]){ 2 }, (double[]){ 7, 8 });
    accepted(as_idx, "u1.gz", BK_INT64, 2, (int64_t[]){ 2, 3 }, (double[]){ 1, 2, 3, 253, 254, 255 });

    refused(as_idx, "nowhere", "no such file");
    refused(as_idx, "", "directory");
    PUT("m0", "");
    refused(as_idx, "m0", "magic number");
    PUT("m1", "\0\1\x08\1\0\0\0\0");
    refused(as_idx, "m1", "magic number");
    PUT("m2", "\0\0\x0a\1\0\0\0\0");
    refused(as_idx, "m2", "element type");
    PUT("m3", "\0\0\x08\0");
    refused(as_idx, "m3", "number of dimensions");
    PUT("m4", "\0\0\x08\11\0\0\0\0");
    refused(as_idx, "m4", "number of dimensions");
    PUT("m5", "\0\0\x08\2\0\0\0\1\0\0");
    refused(as_idx, "m5", "dimension 2: the file ends in the header");
    PUT("m6", "\0\0\x08\1\0\0\0\2\1\2\3");
    refused(as_idx, "m6", "bytes follow");
    put_gz("m7.gz", "\0\0\x08\1\0\0\0\2\1\2\3", 11);
    refused(as_idx, "m7.gz", "bytes follow");
    PUT("m8", "\0\0\x08\3\377\377\377\377\377\377\377\377\377\377\377\377");
    refused(as_idx, "m8", "dimension 1: header says 4294967295x4294967295x4294967295 = more than 2^63 bytes");
    put_gz("m9.gz", "\0\0\x0e\4\0\0\0\1\377\377\377\377\377\377\377\377\377\377\377\377", 20);
    refused(as_idx, "m9.gz", "more than any file holds");
    char big[16 + 1200] = "\0\0\x08\3\0\0\47\20\0\0\0\34\0\0\0\34";
    put("t10k-images-idx3-ubyte", big, sizeof big);
    refused(as_idx, "t10k-images-idx3-ubyte",
            "dimension 1: header says 10000x28x28 = 7840000 bytes, file holds 1200");
    put_gz("t10k-images-idx3-ubyte.gz", big, sizeof big);
    refused(as_idx, "t10k-images-idx3-ubyte.gz",
            "dimension 1: header says 10000x28x28 = 7840000 bytes, file holds 1200");
    char claim[12] = "\0\0\x0e\2\177\377\377\377\0\1\0\0"; /* 2^31 x 65536 doubles from a file of 12 bytes */
    put_gz("claim.gz", claim, sizeof claim);
    size_t peak = c->used;
    atomic_store(&c->peak, peak);
    refused(as_idx, "claim.gz", "dimension 1");
    check(c->peak - peak < (4 << 20), "claim.gz", "memory was sized by the header");
    char path[5000];
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = 0;
    tensor t;
    err e = { 0 };
    check(as_idx(path, &t, &e) == BK_EINVAL, "long path", e.text);
}

static void test_packed_damage(void) { /* every cut of a gzip file, and damage in its middle and checksum */
    enum { N = 40000 };
    char *raw = malloc(8 + N), *packed = malloc(2 * N);
    memcpy(raw, "\0\0\x08\1\0\0\234\100", 8); /* 40000 */
    rng r = rng_seed(1);
    for (int i = 0; i < N; i++) raw[8 + i] = (char)rng_next(&r);
    put_gz("whole.gz", raw, 8 + N);
    size_t n = get("whole.gz", packed, 2 * N);
    tensor t;
    err e = { 0 };
    check(as_idx(in_folder("whole.gz").text, &t, &e) == BK_OK, "whole.gz", e.text);
    tensor_release(&t);
    for (size_t cut = 1; cut < n; cut += cut < 30 || n - cut < 30 ? 1 : 997) {
        put("cut.gz", packed, n - cut);
        err_clear(&e);
        bool bad = as_idx(in_folder("cut.gz").text, &t, &e) == BK_EIO && strstr(e.text, "cut.gz");
        if (cut + 20 < n && !strstr(e.text, "breaks off")) bad = false;
        check(bad && !t.store, "cut.gz", e.text);
        tensor_release(&t);
    }
    for (size_t place = n - 8; place < n; place++) { /* checksum and length */
        packed[place] ^= 1;
        put("damaged.gz", packed, n);
        refused(as_idx, "damaged.gz", "cannot be read");
        packed[place] ^= 1;
    }
    memcpy(packed + n, "more", 4);
    put("damaged.gz", packed, n + 4);
    refused(as_idx, "damaged.gz", "bytes follow after the packed stream");
    put("damaged.gz", packed, n);
    FILE *f = fopen(in_folder("damaged.gz").text, "ab");
    gzFile second = gzdopen(fileno(f), "ab");
    gzwrite(second, "x", 1);
    gzclose(second);
    refused(as_idx, "damaged.gz", "bytes follow after the end of the data");
    put_gz("two.gz", "\0\0\x08\1\0\0\0\2", 8); /* what is packed in two streams is read as one */
    second = gzopen(in_folder("two.gz").text, "ab");
    gzwrite(second, "\7\10", 2);
    gzclose(second);
    accepted(as_idx, "two.gz", BK_INT64, 1, (int64_t[]){ 2 }, (double[]){ 7, 8 });
    free(raw), free(packed);
}

static void test_irregular(void) {
    static const reader all[] = { as_idx, as_npy, as_npz, as_safetensors, as_csv, as_cifar, as_image };
    mkfifo(in_folder("pipe").text, 0600);
    symlink("/dev/zero", in_folder("device").text);
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) { /* without waiting for a writer */
        refused(all[k], "pipe", "is a pipe or a device, expected a file");
        refused(all[k], "device", "is a pipe or a device, expected a file");
    }
}

/* ---- npz: an archive put together here, by the format's description ---- */

static void le(unsigned char *to, uint64_t v, int size) {
    for (int i = 0; i < size; i++) to[i] = (unsigned char)(v >> 8 * i);
}

static size_t deflated(const void *from, size_t n, unsigned char *to, size_t room) {
    z_stream z = { 0 };
    deflateInit2(&z, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
    z.next_in = (unsigned char *)(uintptr_t)from, z.avail_in = (unsigned)n, z.next_out = to, z.avail_out = (unsigned)room;
    deflate(&z, Z_FINISH);
    deflateEnd(&z);
    return room - z.avail_out;
}

/* Local records of array a (stored) and b (deflated), then directory and end; `large` says sizes in 64 bits. */
static size_t make_npz(unsigned char *to, const void *a, size_t na, const void *b, size_t nb, bool large) {
    unsigned char packed[2048], *p = to;
    const size_t sizes[2] = { na, deflated(b, nb, packed, sizeof packed) }, whole[2] = { na, nb };
    const void *data[2] = { a, packed };
    const uint32_t sums[2] = { (uint32_t)crc32(0, a, (unsigned)na), (uint32_t)crc32(0, b, (unsigned)nb) };
    size_t places[2];
    for (int i = 0; i < 2; i++) {
        places[i] = (size_t)(p - to);
        memset(p, 0, 30);
        memcpy(p, "PK\3\4", 4);
        le(p + 26, 5, 2), le(p + 28, 4, 2); /* a name and an extra field, which has to be passed over */
        memcpy(p + 30, i ? "b.npy" : "a.npy", 5);
        memcpy(p + 35, "\1\0\0\0", 4);
        memcpy(p + 39, data[i], sizes[i]);
        p += 39 + sizes[i];
    }
    const size_t directory = (size_t)(p - to);
    for (int i = 0; i < 2; i++) {
        memset(p, 0, 46);
        memcpy(p, "PK\1\2", 4);
        le(p + 10, i ? 8 : 0, 2), le(p + 16, sums[i], 4);
        le(p + 20, large ? 0xffffffff : sizes[i], 4), le(p + 24, large ? 0xffffffff : whole[i], 4);
        le(p + 28, 5, 2), le(p + 30, large ? 28 : 0, 2), le(p + 42, large ? 0xffffffff : places[i], 4);
        memcpy(p + 46, i ? "b.npy" : "a.npy", 5);
        p += 51;
        if (large) {
            le(p, 1, 2), le(p + 2, 24, 2), le(p + 4, whole[i], 8), le(p + 12, sizes[i], 8), le(p + 20, places[i], 8);
            p += 28;
        }
    }
    if (large) {
        const size_t end = (size_t)(p - to);
        memset(p, 0, 76);
        memcpy(p, "PK\6\6", 4), le(p + 32, 2, 8), le(p + 48, directory, 8);
        memcpy(p + 56, "PK\6\7", 4), le(p + 64, end, 8);
        p += 76;
    }
    memset(p, 0, 22);
    memcpy(p, "PK\5\6", 4);
    le(p + 10, large ? 0xffff : 2, 2), le(p + 16, large ? 0xffffffff : directory, 4), le(p + 20, 2, 2);
    memcpy(p + 22, "hi", 2); /* a comment */
    return (size_t)(p - to) + 24;
}

static void test_npz(void) {
    unsigned char all[4096];
    const double v[3] = { 1.5, -2, 1e300 };
    tensor t;
    err e = { 0 };
    char a[512], b[512];
    tensor_borrow(c, BK_FLOAT64, 1, (int64_t[]){ 3 }, (void *)(uintptr_t)v, &t, &e);
    npy_write(c, in_folder("x.npy").text, &t, &e);
    const size_t na = get("x.npy", a, sizeof a);
    tensor_release(&t);
    tensor_borrow(c, BK_FLOAT64, 0, NULL, (void *)(uintptr_t)(v + 2), &t, &e);
    npy_write(c, in_folder("x.npy").text, &t, &e);
    const size_t nb = get("x.npy", b, sizeof b);
    tensor_release(&t);
    static char name_b[] = "b", name_c[] = "c";
    const value wanted = { .kind = VALUE_TEXT, .text = name_b }, none = { .kind = VALUE_TEXT, .text = name_c };
    for (int large = 0; large < 2; large++) {
        const size_t n = make_npz(all, a, na, b, nb, large);
        put(large ? "large.npz" : "a.npz", all, n);
        value out = { .c = c };
        const format_call call = { .c = c, .path = in_folder(large ? "large.npz" : "a.npz").text };
        check(format_npz.read(&call, &out, &e) == BK_OK && out.first && value_at(out.first, "a") &&
                  value_at(out.first, "b"), "npz", e.text);
        if (out.first && out.first->last) {
            equals("npz a", &value_at(out.first, "a")->tensor, BK_FLOAT64, 1, (int64_t[]){ 3 }, v);
            equals("npz b", &value_at(out.first, "b")->tensor, BK_FLOAT64, 0, NULL, v + 2);
        }
        value_free(&out);
        check(read_as(&format_npz, call.path, &(format_call){ .given = { &wanted } }, &t, &e) == BK_OK, "npz", e.text);
        equals("npz, one", &t, BK_FLOAT64, 0, NULL, v + 2);
        tensor_release(&t);
        check(read_as(&format_npz, call.path, &(format_call){ .given = { &none } }, &t, &e) == BK_EIO &&
                  strstr(e.text, "no array is named \"c\""), "npz", e.text);
        err_clear(&e);
        for (size_t cut = 1; cut < n; cut++) {
            put("cut.npz", all, n - cut);
            refused(as_npz, "cut.npz", "cut.npz");
        }
        all[39 + na - 1] ^= 1;
        put("sum.npz", all, n);
        refused(as_npz, "sum.npz", "wrong checksum");
    }
    make_npz(all, "x", 1, b, nb, false);
    put("x.npz", all, make_npz(all, "x", 1, b, nb, false));
    refused(as_npz, "x.npz", "magic string");
    PUT("no.npz", "PK\3\4 and nothing more, though it is long enough");
    refused(as_npz, "no.npz", "no directory at its end");
}

/* ---- safetensors ---- */

static void put_safetensors(const char *file, const char *header, const void *data, size_t n) {
    unsigned char all[1024] = { 0 };
    const size_t length = strlen(header);
    le(all, length, 8);
    memcpy(all + 8, header, length);
    memcpy(all + 8 + length, data, n);
    put(file, all, 8 + length + n);
}

static int64_t allocations;

static void *failing_malloc(size_t n) {
    return allocations-- == 0 ? NULL : malloc(n);
}

static void test_safetensors(void) {
    static const struct {
        const char *type, *bytes;
        size_t n;
        bk_dtype dtype;
        double v[2];
    } kinds[] = { /* halves by IEEE 754, brain floats as the upper halves of float32 */
        { "F16", "\0\x3e\0\xfc", 4, BK_FLOAT32, { 1.5, -INFINITY } },
        { "BF16", "\xc0\x3f\x80\xff", 4, BK_FLOAT32, { 1.5, -INFINITY } },
        { "F32", "\0\0\xc0\x3f\0\0\0\xc0", 8, BK_FLOAT32, { 1.5, -2 } },
        { "F64", "\0\0\0\0\0\0\xf8\x3f\0\0\0\0\0\0\0\xc0", 16, BK_FLOAT64, { 1.5, -2 } },
        { "I8", "\x80\x7f", 2, BK_INT64, { -128, 127 } },
        { "U8", "\x80\xff", 2, BK_INT64, { 128, 255 } },
        { "I16", "\0\x80\1\0", 4, BK_INT64, { -32768, 1 } },
        { "U16", "\0\x80\1\0", 4, BK_INT64, { 32768, 1 } },
        { "I32", "\0\0\0\x80\1\0\0\0", 8, BK_INT64, { -2147483648.0, 1 } },
        { "U32", "\0\0\0\x80\1\0\0\0", 8, BK_INT64, { 2147483648.0, 1 } },
        { "I64", "\xff\xff\xff\xff\xff\xff\xff\xff\2\0\0\0\0\0\0\0", 16, BK_INT64, { -1, 2 } },
        { "U64", "\3\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0", 16, BK_INT64, { 3, 2 } },
        { "BOOL", "\1\0", 2, BK_INT64, { 1, 0 } },
    };
    char header[300];
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        snprintf(header, sizeof header, "{\"x\":{\"dtype\":\"%s\",\"shape\":[2],\"data_offsets\":[0,%zu]}}",
                 kinds[k].type, kinds[k].n);
        put_safetensors("kind.safetensors", header, kinds[k].bytes, kinds[k].n);
        accepted(as_safetensors, "kind.safetensors", kinds[k].dtype, 1, (int64_t[]){ 2 }, kinds[k].v);
    }
#define BAD_HEADER(header, field) \
    (put_safetensors("bad.safetensors", header, "\0\0\0\0\0\0\0\xff", 8), refused(as_safetensors, "bad.safetensors", field))
#define F8 "\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":"
    BAD_HEADER("{\"x\":{" F8 "[null,8]}}", "data_offsets: expected whole numbers");
    BAD_HEADER("{\"x\":{" F8 "[0.0,8]}}", "data_offsets: expected whole numbers");
    BAD_HEADER("{\"x\":{" F8 "[0,\"x\"]}}", "data_offsets: expected whole numbers");
    BAD_HEADER("{\"x\":{" F8 "[0,8],\"more\":1}}", "expected dtype, shape and two data_offsets");
    BAD_HEADER(" {\"x\":{" F8 "[0,8]}}", "expected an object");
    BAD_HEADER("{\"x\":{\"dtype\":\"U64\",\"shape\":[1],\"data_offsets\":[0,8]}}", "at most 2^63-1");
    BAD_HEADER("{\"x\":{\"dtype\":\"BOOL\",\"shape\":[8],\"data_offsets\":[0,8]}}", "element 7: expected 0 or 1");
    put_gz("packed.safetensors", "\2\0\0\0\0\0\0\0{}", 10);
    refused(as_safetensors, "packed.safetensors", "packed by gzip");

    double v[3] = { 1, 2, 3 }; /* every allocation of the header's library fails in turn: the good file stays */
    tensor t;
    err e = { 0 };
    tensor_borrow(c, BK_FLOAT64, 3, (int64_t[]){ 1, 3, 1 }, v, &t, &e);
    char name[] = "a", other[] = "b", text[] = "k";
    named_tensor tensors[] = { { name, t }, { other, t } };
    named_text texts[] = { { text, text } };
    const safetensors written = { .c = c, .n = 2, .n_texts = 1, .tensors = tensors, .texts = texts };
    const name_in_folder good = in_folder("good.safetensors");
    check(safetensors_write(c, good.text, &written, &e) == BK_OK, "safetensors_write", e.text);
    char before[2048], after[2048];
    const size_t n = get("good.safetensors", before, sizeof before);
    int failures = 0;
    for (int64_t at = 0, more = 1; more && at < 500; at++) {
        json_set_alloc_funcs(failing_malloc, free);
        allocations = at;
        v[0] = 7; /* what must not be written by halves */
        err_clear(&e);
        more = safetensors_write(c, good.text, &written, &e) != BK_OK;
        json_set_alloc_funcs(malloc, free);
        failures += more != 0;
        if (!more) break;
        check(get("good.safetensors", after, sizeof after) == n && memcmp(before, after, n) == 0 && e.text[0],
              "safetensors_write", "a failure changed the file");
    }
    check(failures > 20, "safetensors_write", "no allocation was made to fail");
    accepted(as_safetensors, "good.safetensors", BK_FLOAT64, 3, (int64_t[]){ 1, 3, 1 }, v);
    tensor_release(&t);
}

/* ---- npy ---- */

static void put_npy(const char *file, const char *dictionary, const void *data, size_t n) {
    char all[600] = "\x93NUMPY\1";
    size_t length = strlen(dictionary);
    all[8] = (char)(length & 255), all[9] = (char)(length >> 8);
    memcpy(all + 10, dictionary, length);
    memcpy(all + 10 + length, data, n);
    put(file, all, 10 + length + n);
}

static void test_npy(void) {
    double v[24];
    for (int i = 0; i < 24; i++) v[i] = i * 0.5 - 3;
    static const int64_t shapes[][3] = { { 2, 3, 4 }, { 24, 0, 0 }, { 4, 6, 0 }, { 0, 3, 0 }, { 0, 0, 0 } };
    static const int ndims[] = { 3, 1, 2, 2, 0 };
    for (int k = 0; k < 5; k++)
        for (int d = 0; d < 3; d++) { /* a round trip of every dtype and rank */
            tensor f, t;
            err e = { 0 };
            tensor_borrow(c, BK_FLOAT64, ndims[k], shapes[k], v, &f, &e);
            tensor_contiguous_as(&f, (bk_dtype)d, &t, &e);
            double expected[24];
            for (int64_t i = 0; i < tensor_count(&t); i++) expected[i] = tensor_get(&t, i);
            check(npy_write(c, in_folder("round.npy").text, &t, &e) == BK_OK, "npy_write", e.text);
            accepted(as_npy, "round.npy", (bk_dtype)d, ndims[k], shapes[k], expected);
            struct stat st;
            stat(in_folder("round.npy").text, &st);
            check(((size_t)st.st_size - (size_t)tensor_count(&t) * dtype_size((bk_dtype)d)) % 64 == 0, "npy_write",
                  "the data are not aligned");
            tensor_release(&f), tensor_release(&t);
        }
    tensor t;
    err e = { 0 };
    tensor_borrow(c, BK_FLOAT64, 2, (int64_t[]){ 3, 2 }, v, &t, &e); /* a transposed view */
    t.strides[0] = 1, t.strides[1] = 3;
    npy_write(c, in_folder("view.npy").text, &t, &e);
    accepted(as_npy, "view.npy", BK_FLOAT64, 2, (int64_t[]){ 3, 2 },
             (double[]){ v[0], v[3], v[1], v[4], v[2], v[5] });
    check(npy_write(c, in_folder("no/such/place.npy").text, &t, &e) == BK_EIO, "npy_write", "into no folder");
    err_clear(&e);
    check(npy_write(c, folder, &t, &e) == BK_EIO, "npy_write", "onto a folder");
    err_clear(&e);
    atomic_store(&c->interrupted, 1);
    check(npy_write(c, in_folder("view.npy").text, &t, &e) == BK_EINTERRUPTED, "npy_write", "interrupt not seen");
    atomic_store(&c->interrupted, 0);
    accepted(as_npy, "view.npy", BK_FLOAT64, 2, (int64_t[]){ 3, 2 }, /* the old file stays whole */
             (double[]){ v[0], v[3], v[1], v[4], v[2], v[5] });
    tensor_release(&t);
    int left = 0;
    DIR *d = opendir(folder);
    for (struct dirent *entry; (entry = readdir(d));) left += strstr(entry->d_name, ".tmp-") != NULL;
    closedir(d);
    check(left == 0, "npy_write", "temporary files are left");

#define NPY(file, dictionary, data) put_npy(file, dictionary, data, sizeof data - 1)
    NPY("i4.npy", "{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }\n", "\1\0\0\0\376\377\377\377");
    accepted(as_npy, "i4.npy", BK_INT64, 1, (int64_t[]){ 2 }, (double[]){ 1, -2 });
    NPY("big.npy", "{'shape':(1L,2L),'fortran_order':False,\"descr\":\">i2\"}", "\1\0\377\377");
    accepted(as_npy, "big.npy", BK_INT64, 2, (int64_t[]){ 1, 2 }, (double[]){ 256, -1 });
    NPY("u1.npy", "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3)}", "\1\2\3\4\5\377");
    accepted(as_npy, "u1.npy", BK_INT64, 2, (int64_t[]){ 2, 3 }, (double[]){ 1, 3, 5, 2, 4, 255 });
    NPY("b1.npy", "{'descr': '|b1', 'fortran_order': False, 'shape': ()}", "\1");
    accepted(as_npy, "b1.npy", BK_INT64, 0, NULL, (double[]){ 1 });
    NPY("f4.npy", "{'descr': '>f4', 'fortran_order': False, 'shape': (1,)}", "\277\300\0\0");
    accepted(as_npy, "f4.npy", BK_FLOAT32, 1, (int64_t[]){ 1 }, (double[]){ -1.5 });
    NPY("f2.npy", "{'descr': '>f2', 'fortran_order': False, 'shape': (5,)}", "\xb8\0\x3e\0\0\1\x7b\xff\xfc\0");
    accepted(as_npy, "f2.npy", BK_FLOAT32, 1, (int64_t[]){ 5 }, (double[]){ -0.5, 1.5, 0x1p-24, 65504, -INFINITY });

#define BAD(dictionary, data, field) (NPY("bad.npy", dictionary, data), refused(as_npy, "bad.npy", field))
#define HEAD "{'descr': '<i4', 'fortran_order': False, "
    BAD(HEAD "'shape': (2,)}", "\1\0\0\0\2\0\0", "shape: header says (2) of '<i4' = 8 bytes, file holds 7");
    BAD(HEAD "'shape': (1,)}", "\1\0\0\0\2", "bytes follow");
    BAD(HEAD "'shape': (4294967296, 4294967296, 4294967296)}", "", "overflows");
    BAD(HEAD "'shape': (99999999999999999999,)}", "", "dimension 1 overflows");
    BAD(HEAD "'shape': (1,1,1,1,1,1,1,1,1)}", "\1\0\0\0", "at most 8 dimensions");
    BAD(HEAD "'shape': (-1,)}", "", "shape: expected a size");
    BAD(HEAD "'shape': 3}", "", "shape: expected a tuple");
    BAD(HEAD "'shape': (3", "", "shape");
    BAD(HEAD "'shape': (1,)} x", "\1\0\0\0", "end");
    BAD(HEAD "'shape': (1,), 'more': 1}", "\1\0\0\0", "unknown key 'more'");
    BAD(HEAD "}", "", "the key shape is missing");
    BAD("{'descr': '<i4', 'fortran_order': 0, 'shape': (1,)}", "", "fortran_order");
    BAD("{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (1,)}", "", "descr");
    BAD("{'descr': '<c8', 'fortran_order': False, 'shape': (1,)}", "", "descr");
    BAD("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", "", "descr");
    BAD("{'descr': '<f3', 'fortran_order': False, 'shape': (1,)}", "\0\0", "descr");
    BAD("{'descr': '<u8', 'fortran_order': False, 'shape': (1,)}", "\377\377\377\377\377\377\377\377", "element 0");
    BAD("[]", "", "header");
    BAD("", "", "header");
    BAD(HEAD "'shape': (2)}", "\1\0\0\0\2\0\0\0", "the end of a tuple");
    BAD(HEAD "'shape': (1,), 'descr': '<i8'}", "\1\0\0\0", "the key 'descr' is given twice");
    BAD(HEAD "'shape': (1,), 'shape': (1,)}", "\1\0\0\0", "the key 'shape' is given twice");
    BAD(HEAD "'fortran_order': True, 'shape': (1,)}", "\1\0\0\0", "given twice");
    BAD("{'descr': '|b1', 'fortran_order': False, 'shape': (3,)}", "\1\0\2", "element 2: expected 0 or 1");
    PUT("minor.npy", "\x93NUMPY\1\11\0\0");
    refused(as_npy, "minor.npy", "version: expected 1.0, 2.0 or 3.0, got 1.9");
    static const char *const integers[] = { "|i1", "|u1", "<i2", ">u2", "<i4", ">u4", "<i8", ">u8" };
    for (int k = 0; k < 8; k++) { /* -1, or the largest, of each: all bits set but for the last kind's sign */
        char dictionary[80], ones[8];
        memset(ones, 255, 8);
        if (k == 7) ones[0] = 127;
        const int size = integers[k][2] - '0';
        snprintf(dictionary, sizeof dictionary, "{'descr': '%s', 'fortran_order': False, 'shape': (1,)}", integers[k]);
        put_npy("whole.npy", dictionary, ones, (size_t)size);
        err_clear(&e);
        check(as_npy(in_folder("whole.npy").text, &t, &e) == BK_OK && t.dtype == BK_INT64, integers[k], e.text);
        const int64_t expected = integers[k][1] == 'i' ? -1 : k == 7 ? INT64_MAX : ((int64_t)1 << 8 * size) - 1;
        check(t.store && *(int64_t *)tensor_data(&t) == expected, integers[k], "value");
        tensor_release(&t);
    }
    /* the same numbers with either byte first, of every kind and size */
    static const char *const kinds[] = { "i2", "i4", "i8", "u2", "u4", "u8", "f2", "f4", "f8" };
    for (int k = 0; k < 9; k++) {
        enum { N = 5 };
        char dictionary[80], low[8 * N], high[8 * N];
        tensor other;
        const int size = kinds[k][1] - '0';
        for (int i = 0; i < N * size; i++) low[i] = (char)(37 * i + 11 * k);
        for (int i = 0; i < N; i++) low[(i + 1) * size - 1] &= 0x3f; /* none is NaN or has no int64 */
        for (int i = 0; i < N * size; i++) high[i] = low[i / size * size + size - 1 - i % size];
        for (int big = 0; big < 2; big++) {
            snprintf(dictionary, sizeof dictionary, "{'descr': '%c%s', 'fortran_order': False, 'shape': (%d,)}",
                     big ? '>' : '<', kinds[k], N);
            put_npy(big ? "high.npy" : "low.npy", dictionary, big ? high : low, (size_t)(N * size));
        }
        err_clear(&e);
        check(as_npy(in_folder("low.npy").text, &t, &e) == BK_OK, kinds[k], e.text);
        check(as_npy(in_folder("high.npy").text, &other, &e) == BK_OK, kinds[k], e.text);
        bool same = t.store && other.store && tensor_count(&t) == N && tensor_count(&other) == N;
        for (int i = 0; i < N && same; i++) same = tensor_get(&t, i) == tensor_get(&other, i) && tensor_get(&t, i) != 0;
        check(same, kinds[k], "either byte first");
        tensor_release(&t);
        tensor_release(&other);
    }
    PUT("magic.npy", "PK\3\4 not an npy file");
    refused(as_npy, "magic.npy", "magic");
    PUT("version.npy", "\x93NUMPY\11\0\0\0");
    refused(as_npy, "version.npy", "version");
    PUT("length.npy", "\x93NUMPY\2\0\377\377\377\377");
    refused(as_npy, "length.npy", "header length");
    PUT("length1.npy", "\x93NUMPY\1\0\377\0{");
    refused(as_npy, "length1.npy", "header length");
}

/* ---- csv and cifar ---- */

static void test_csv(void) {
    PUT("a.csv", "\xef\xbb\xbf" "1, 2 ,-3e2\r\n\n\"4\",0x10,.5\n  \ninf,nan,7");
    accepted(as_csv, "a.csv", BK_FLOAT64, 2, (int64_t[]){ 3, 3 },
             (double[]){ 1, 2, -300, 4, 16, 0.5, INFINITY, NAN, 7 });
    put_gz("z.csv.gz", "1\n2\n", 4);
    accepted(as_csv, "z.csv", BK_FLOAT64, 2, (int64_t[]){ 2, 1 }, (double[]){ 1, 2 });
    static const struct {
        char separator, text[40];
    } kinds[] = { { ';', "a;b\n1;2\n3;4\n" }, { ' ', "a b\n 1   2 \n3 \t4" }, { '\t', "a\tb\n1\t2\r\n3\t 4\n" } };
    for (int k = 0; k < 3; k++) {
        put("b.csv", kinds[k].text, strlen(kinds[k].text));
        tensor t;
        err e = { 0 };
        char separator[2] = { kinds[k].separator };
        const value given = { .kind = VALUE_TEXT, .text = separator };
        const format_call told = { .option = { [1] = 1 }, .given = { &given } };
        check(read_as(&format_csv, in_folder("b.csv").text, &told, &t, &e) == BK_OK, "b.csv", e.text);
        equals("b.csv", &t, BK_FLOAT64, 2, (int64_t[]){ 2, 2 }, (double[]){ 1, 2, 3, 4 });
        tensor_release(&t);
    }
    char *large = malloc(1 << 20), *p = large; /* exactly one chunk, no newline at its end: room for the terminator */
    while (p < large + (1 << 20) - 4) memcpy(p, "1,2\n", 4), p += 4;
    memcpy(p, "3,45", 4);
    put_gz("large.csv.gz", large, 1 << 20);
    tensor t;
    err e = { 0 };
    check(as_csv(in_folder("large.csv.gz").text, &t, &e) == BK_OK && t.shape[0] == 1 << 18 &&
              tensor_get(&t, tensor_count(&t) - 1) == 45, "large.csv", e.text);
    tensor_release(&t);
    free(large);
#define BAD_CSV(text, field) (PUT("bad.csv", text), refused(as_csv, "bad.csv", field))
    BAD_CSV("1,2\n3,x\n", "line 2, column 2: expected a number, got \"x\"");
    BAD_CSV("a,b\n3,4\n", "line 1, column 1: expected a number, got \"a\" (skip leaves lines of a header out)");
    BAD_CSV("1,2\n3\n", "line 2, column 2: missing, line 1 has 2 columns");
    BAD_CSV("1,2\n\n3,4,5\n", "line 3, column 3: line 1 has only 2 columns");
    BAD_CSV("1,,2\n", "line 1, column 2: expected a number, got nothing");
    BAD_CSV("1,2,\n", "line 1, column 3: expected a number, got nothing");
    BAD_CSV("1,2 3\n", "line 1, column 2");
    BAD_CSV("1,2\0\n", "line 1, column 2");
    BAD_CSV("1,\"2\n", "line 1, column 2");
    BAD_CSV("\v1\n", "line 1, column 1");
    BAD_CSV("\n \n", "no rows");
    BAD_CSV("", "no rows");
    BAD_CSV("1,1e999\n", "line 1, column 2: expected a number that a float64 can hold, got \"1e999\"");
    BAD_CSV("1,2\n3,-1e400\n", "line 2, column 2: expected a number that a float64 can hold");
    BAD_CSV("1,\"2\"x\n", "line 1, column 2: expected a separator after the closing quote");
    BAD_CSV("\xff\xfe" "1\0", "UTF-16");
    static char wrong[][2] = { ".", "e", "\n" };
    for (int k = 0; k < 3; k++) {
        err_clear(&e);
        const value given = { .kind = VALUE_TEXT, .text = wrong[k] };
        check(read_as(&format_csv, in_folder("a.csv").text, &(format_call){ .given = { &given } }, &t, &e) == BK_EINVAL,
              "csv options", e.text);
    }
}

static void test_cifar(void) {
    enum { PIXELS = 3072 };
    static unsigned char all[2 * (2 + PIXELS)];
    for (int classes = 10; classes <= 100; classes += 90) {
        int heads = classes == 10 ? 1 : 2, record = heads + PIXELS;
        for (int i = 0; i < 2 * record; i++) all[i] = (unsigned char)(i * 7);
        for (int i = 0; i < 2; i++) {
            if (heads == 2) all[i * record] = (unsigned char)(18 + i);
            all[i * record + heads - 1] = (unsigned char)(classes - 2 + i);
        }
        put("batch.bin", all, (size_t)(2 * record));
        value v = { .c = c };
        err e = { 0 };
        const format_call call = { .c = c, .path = in_folder("batch.bin").text, .option = { classes } };
        check(format_cifar_batch.read(&call, &v, &e) == BK_OK && v.first && v.first->next, "cifar", e.text);
        const tensor images = v.first->tensor, labels = v.first->next->tensor;
        double pixels[2 * PIXELS];
        for (int i = 0; i < 2 * PIXELS; i++) pixels[i] = all[i / PIXELS * record + heads + i % PIXELS];
        equals("cifar images", &images, BK_FLOAT32, 4, (int64_t[]){ 2, 3, 32, 32 }, pixels);
        equals("cifar labels", &labels, BK_INT64, 1, (int64_t[]){ 2 }, (double[]){ classes - 2, classes - 1 });
        const value *coarse = v.first->next->next;
        check((coarse != NULL) == (heads == 2), "cifar", "coarse labels");
        if (coarse) equals("cifar coarse", &coarse->tensor, BK_INT64, 1, (int64_t[]){ 2 }, (double[]){ 18, 19 });
        value_free(&v);
    }
    put("short.bin", all, sizeof all - 1);
    refused(as_cifar, "short.bin", "size: expected a multiple of 3074 bytes");
    put("none.bin", all, 0);
    refused(as_cifar, "none.bin", "size");
    all[1] = 100;
    put("label.bin", all, sizeof all);
    refused(as_cifar, "label.bin", "record 1, class label: expected 0..99, got 100");
    all[1] = 0, all[3074] = 20;
    put("coarse.bin", all, sizeof all);
    refused(as_cifar, "coarse.bin", "record 2, coarse label: expected 0..19, got 20");
    tensor t;
    err e = { 0 };
    check(read_as(&format_cifar_batch, in_folder("label.bin").text, &(format_call){ .option = { 20 } }, &t, &e) ==
              BK_EINVAL, "cifar classes", e.text);
}

/* ---- images: written by the libraries ---- */

static void put_png(const char *file, int rows, int columns, bool colour, const unsigned char *pixels) {
    png_image image = { .version = PNG_IMAGE_VERSION, .width = (png_uint_32)columns, .height = (png_uint_32)rows,
                        .format = colour ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY };
    if (!png_image_write_to_file(&image, in_folder(file).text, 0, pixels, 0, NULL)) printf("cannot write %s\n", file), exit(2);
}

static void put_jpeg(const char *file, int rows, int columns, int channels, bool progressive,
                     const unsigned char *pixels) {
    struct jpeg_compress_struct j;
    struct jpeg_error_mgr errors;
    FILE *f = fopen(in_folder(file).text, "wb");
    j.err = jpeg_std_error(&errors);
    jpeg_create_compress(&j);
    jpeg_stdio_dest(&j, f);
    j.image_width = (JDIMENSION)columns, j.image_height = (JDIMENSION)rows, j.input_components = channels;
    j.in_color_space = channels == 1 ? JCS_GRAYSCALE : channels == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_set_defaults(&j);
    jpeg_set_quality(&j, 100, TRUE);
    if (progressive) jpeg_simple_progression(&j);
    jpeg_start_compress(&j, TRUE);
    for (int row = 0; row < rows; row++) {
        JSAMPROW p = (JSAMPROW)(uintptr_t)pixels + row * columns * channels;
        jpeg_write_scanlines(&j, &p, 1);
    }
    jpeg_finish_compress(&j);
    jpeg_destroy_compress(&j);
    fclose(f);
}

static void test_images(void) {
    enum { ROWS = 13, COLUMNS = 10 };
    unsigned char pixels[ROWS * COLUMNS * 4];
    double grey[ROWS * COLUMNS], colour[3 * ROWS * COLUMNS];
    for (int i = 0; i < ROWS * COLUMNS * 4; i++) pixels[i] = (unsigned char)(i * 37 % 256);
    for (int i = 0; i < ROWS * COLUMNS; i++) grey[i] = pixels[i];
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < ROWS * COLUMNS; i++) colour[k * ROWS * COLUMNS + i] = pixels[3 * i + k];
    put_png("grey.png", ROWS, COLUMNS, false, pixels);
    accepted(as_image, "grey.png", BK_FLOAT32, 3, (int64_t[]){ 1, ROWS, COLUMNS }, grey);
    put_png("colour.png", ROWS, COLUMNS, true, pixels);
    accepted(as_image, "colour.png", BK_FLOAT32, 3, (int64_t[]){ 3, ROWS, COLUMNS }, colour);
    for (int i = 0; i < ROWS * COLUMNS; i++) /* smooth, as JPEG likes it: exact but for rounding */
        for (int k = 0; k < 3; k++) pixels[3 * i + k] = (unsigned char)(40 * k + 9 * (i / COLUMNS) + 5 * (i % COLUMNS));
    for (int progressive = 0; progressive < 2; progressive++) {
        tensor t;
        err e = { 0 };
        put_jpeg("colour.jpg", ROWS, COLUMNS, 3, progressive, pixels);
        check(as_image(in_folder("colour.jpg").text, &t, &e) == BK_OK && t.shape[0] == 3 && t.shape[1] == ROWS &&
                  t.shape[2] == COLUMNS, "colour.jpg", e.text);
        double most = 0;
        for (int k = 0; k < 3 && t.store; k++)
            for (int i = 0; i < ROWS * COLUMNS; i++)
                most = fmax(most, fabs(tensor_get(&t, k * ROWS * COLUMNS + i) - pixels[3 * i + k]));
        check(most <= 6, "colour.jpg", "pixels");
        tensor_release(&t);
    }
    put_jpeg("flat.jpg", 8, 8, 1, false, memset(pixels, 200, 64)); /* one coefficient a block, of a step of 1 */
    double flat[64];
    for (int i = 0; i < 64; i++) flat[i] = 200;
    accepted(as_image, "flat.jpg", BK_FLOAT32, 3, (int64_t[]){ 1, 8, 8 }, flat);
    put_jpeg("cmyk.jpg", 8, 8, 4, false, pixels);
    refused(as_image, "cmyk.jpg", "expected grey or RGB, got 4 colours");
    static char all[4096];
    size_t n = get("grey.png", all, sizeof all);
    memcpy(all + n, "x", 1);
    put("more.png", all, n + 1);
    refused(as_image, "more.png", "bytes follow");
    unsigned char *size = (unsigned char *)all + 16; /* of IHDR, whose sum is put right */
    static const uint32_t claims[][2] = { { 0x7fffffff, 0x7fffffff }, { 8000, 8000 }, { 1000000, 1 }, { 70000, 1000 } };
    for (int k = 0; k < 4; k++) {
        for (int i = 0; i < 8; i++) size[i] = (unsigned char)(claims[k][i / 4] >> (24 - i % 4 * 8));
        const uint32_t sum = (uint32_t)crc32(0, (unsigned char *)all + 12, 17);
        for (int i = 0; i < 4; i++) size[13 + i] = (unsigned char)(sum >> (24 - i * 8));
        put("claim.png", all, n);
        const size_t before = c->used;
        atomic_store(&c->peak, before);
        refused(as_image, "claim.png", "claim.png: ");
        check(c->peak - before < (4 << 20), "claim.png", "memory was sized by the header");
    }
    n = get("flat.jpg", all, sizeof all);
    for (size_t i = 0; i + 9 < n; i++)
        if ((unsigned char)all[i] == 0xff && (unsigned char)all[i + 1] == 0xc0) memset(all + i + 5, 0x1f, 4); /* SOF */
    put("claim.jpg", all, n);
    refused(as_image, "claim.jpg", "breaks off: 7967 x 7967 pixels");
    PUT("text.png", "not an image");
    refused(as_image, "text.png", "neither PNG nor JPEG");
}

/* Texts beside the pixels, that unpack to a thousand times their size, are passed over. */
static void test_png_texts(void) {
    enum { TEXTS = 20, LONG = 4 << 20, AT = 33 }; /* behind IHDR */
    static unsigned char zeros[LONG], text[8 << 10] = "\0\0\0\0zTXtk\0", all[TEXTS * sizeof text];
    uLongf packed = sizeof text - 15;
    if (compress(text + 11, &packed, zeros, LONG) != Z_OK) return check(false, "texts.png", "it cannot be packed");
    const uint32_t count = (uint32_t)packed + 3, sum = (uint32_t)crc32(0, text + 4, count + 4);
    for (int i = 0; i < 4; i++) {
        text[i] = (unsigned char)(count >> (24 - 8 * i));
        text[8 + count + (size_t)i] = (unsigned char)(sum >> (24 - 8 * i));
    }
    const size_t one = count + 12, n = get("grey.png", (char *)all, sizeof all);
    memmove(all + AT + TEXTS * one, all + AT, n - AT);
    for (int i = 0; i < TEXTS; i++) memcpy(all + AT + (size_t)i * one, text, one);
    put("texts.png", all, n + TEXTS * one);
    const size_t before = c->used;
    atomic_store(&c->peak, before);
    tensor t;
    err e = { 0 };
    check(as_image(in_folder("texts.png").text, &t, &e) == BK_OK && t.shape[1] == 13, "texts.png", e.text);
    tensor_release(&t);
    check(c->peak - before < LONG, "texts.png", "texts were unpacked");
}

/* ---- every reader under truncation, random damage and failing memory ---- */

static void test_hostile(void) {
    static const struct {
        const char *file;
        reader read;
        bool cuts_fail;
    } good[] = { { "u1", as_idx, true },   { "packed.gz", as_idx, true }, { "u1.npy", as_npy, true },
                 { "a.csv", as_csv, false }, { "batch.bin", as_cifar, true }, { "z.csv.gz", as_csv, true },
                 { "a.npz", as_npz, true }, { "grey.png", as_image, true }, { "colour.png", as_image, true },
                 { "colour.jpg", as_image, true }, { "flat.jpg", as_image, true }, { "good.safetensors", as_safetensors, true } };
    rng r = rng_seed(9);
    static char all[8192];
    for (size_t k = 0; k < sizeof good / sizeof *good; k++) {
        size_t n = get(good[k].file, all, sizeof all), before = c->used;
        int accepted_cuts = 0, other = 0, silent = 0;
        for (size_t cut = 1; cut <= n; cut += n > 1000 && cut > 20 && cut % 3074 != 3073 ? 101 : 1) {
            if (good[k].read == as_cifar && (n - cut) % 3074 == 0) continue;
            put("hostile", all, n - cut);
            tensor t;
            err e = { 0 };
            bk_status status = good[k].read(in_folder("hostile").text, &t, &e);
            accepted_cuts += status == BK_OK;
            other += status != BK_OK && status != BK_EIO;
            silent += status != BK_OK && (!e.text[0] || t.store);
            tensor_release(&t);
        }
        check(!accepted_cuts || !good[k].cuts_fail, good[k].file, "a cut file was accepted");
        for (int round = 0; round < 400; round++) {
            char copy[sizeof all];
            memcpy(copy, all, n);
            for (int flips = 1 + round % 4; flips > 0; flips--)
                copy[rng_below(&r, n < 80 || round % 2 ? n : 80)] = (char)rng_next(&r);
            put("hostile", copy, n);
            tensor t;
            err e = { 0 };
            bk_status status = good[k].read(in_folder("hostile").text, &t, &e);
            other += status != BK_OK && status != BK_EIO && status != BK_ENOMEM && status != BK_EUNSUPPORTED;
            silent += status != BK_OK && (!e.text[0] || t.store);
            tensor_release(&t);
        }
        check(!other, good[k].file, "a status that does not fit a malformed file");
        check(!silent, good[k].file, "a failure without a message, or with a tensor");
        for (int64_t at = 0, more = 1; more && at < 100; at++) { /* the at-th allocation fails */
            tensor t;
            err e = { 0 };
            atomic_store(&c->fail_at, at);
            bk_status status = good[k].read(in_folder(good[k].file).text, &t, &e);
            more = status != BK_OK;
            if (more) check(status == BK_ENOMEM && !t.store && e.text[0], good[k].file, e.text);
            else check(at > 1, good[k].file, "no allocation was made to fail");
            tensor_release(&t);
        }
        atomic_store(&c->fail_at, -1);
        check(c->used == before, good[k].file, "leak");
        atomic_store(&c->interrupted, 1);
        tensor t;
        err e = { 0 };
        bk_status status = good[k].read(in_folder(good[k].file).text, &t, &e);
        check(status == BK_EINTERRUPTED, good[k].file, "interrupt not seen");
        atomic_store(&c->interrupted, 0);
    }
}

static void remove_folder(void) {
    DIR *d = opendir(folder);
    for (struct dirent *entry; d && (entry = readdir(d));)
        if (entry->d_name[0] != '.') unlink(in_folder(entry->d_name).text);
    if (d) closedir(d);
    rmdir(folder);
}

int main(void) {
    c = ctx_new(1);
    if (!c || !mkdtemp(folder)) return printf("no temporary directory\n"), 2;
    test_idx();
    test_packed_damage();
    test_npy();
    test_npz();
    test_safetensors();
    test_csv();
    test_cifar();
    test_images();
    test_png_texts();
    test_irregular();
    test_hostile();
    remove_folder();
    mem_block_flush(c);
    check(c->used == 0, "end", "memory is left");
    ctx_release(c);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
