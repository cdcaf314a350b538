/* element.c - decoding the numbers of files. Values are put together byte by byte, so that this machine's byte order
 * plays no part; what lies in the file as it lies in memory is copied. */
#include "element.h"

#include <math.h>
#include <string.h>

enum { PIECE = 1 << 16 };

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
static const bool native_big = false;
#else
static const bool native_big = true;
#endif

bk_dtype element_dtype(element t) {
    if (t.kind == ELEMENT_FLOAT) return t.size == 8 ? BK_FLOAT64 : BK_FLOAT32;
    return t.kind == ELEMENT_BFLOAT ? BK_FLOAT32 : BK_INT64;
}

/* IEEE 754 binary16: every value has a float32. */
static float half(uint64_t bits) {
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    float size = exponent == 0    ? ldexpf((float)fraction, -24)
                 : exponent == 31 ? (fraction ? NAN : INFINITY)
                                  : ldexpf((float)(fraction + 1024), exponent - 25);
    return bits >> 15 ? -size : size;
}

static float single(uint64_t bits) {
    uint32_t low = (uint32_t)bits;
    float v;
    memcpy(&v, &low, sizeof v);
    return v;
}

static uint64_t load(element t, const unsigned char *p) {
    uint64_t v = 0;
    for (int k = 0; k < t.size; k++) v = v << 8 | p[t.big ? k : t.size - 1 - k];
    return v;
}

/* n elements; the place of the first that has no value here, or n. */
static int64_t decode(element t, int64_t n, const unsigned char *p, void *to) {
    const int shift = 64 - 8 * t.size;
    for (int64_t i = 0; i < n; i++, p += t.size) {
        const uint64_t v = load(t, p);
        if (t.kind == ELEMENT_FLOAT && t.size == 8)
            memcpy((double *)to + i, &v, sizeof v);
        else if (t.kind == ELEMENT_FLOAT)
            ((float *)to)[i] = t.size == 2 ? half(v) : single(v);
        else if (t.kind == ELEMENT_BFLOAT)
            ((float *)to)[i] = single(v << 16);
        else if (t.kind == ELEMENT_SIGNED)
            ((int64_t *)to)[i] = (int64_t)(v << shift) >> shift; /* its sign, spread */
        else if (v > (t.kind == ELEMENT_BOOL ? 1 : INT64_MAX))
            return i;
        else
            ((int64_t *)to)[i] = (int64_t)v;
    }
    return n;
}

bk_status element_decode(ctx *c, const char *where, element t, int64_t n, const unsigned char *from, void *to, err *e) {
    const int64_t wide = (int64_t)dtype_size(element_dtype(t));
    const bool plain = t.size == wide && (t.kind == ELEMENT_FLOAT || t.kind == ELEMENT_SIGNED) && t.big == native_big;
    for (int64_t first = 0; first < n; first += PIECE) {
        const int64_t count = n - first < PIECE ? n - first : PIECE;
        char *out = (char *)to + first * wide;
        if (ctx_poll(c, e)) return BK_EINTERRUPTED;
        if (plain) {
            memcpy(out, from + first * t.size, (size_t)(count * wide));
            continue;
        }
        const int64_t bad = decode(t, count, from + first * t.size, out);
        if (bad < count)
            return err_set(e, BK_EIO, "%s: element %lld: expected %s", where, (long long)(first + bad),
                           t.kind == ELEMENT_BOOL ? "0 or 1, a truth value" : "at most 2^63-1");
    }
    return BK_OK;
}
