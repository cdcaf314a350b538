/* vec_test.c - the elementwise kernels: error bounds in ulp against long double, special values,
 * independence of place, in-place use, no byte outside the block, sums, conversions; then all of it
 * again at the lower levels (BRACKET_VEC) in child processes. */
#include "../../src/tensor/vec.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int passed, failed;

static void check(bool ok, const char *what, const char *name, double got, double limit) {
    if (ok) {
        passed++;
        return;
    }
    failed++;
    printf("FAIL %s: %s: got %.17g, expected %.17g\n", what, name, got, limit);
}

static uint64_t seed = 12345;
static double uniform(void) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 11) * 0x1p-53;
}

static bool same_double(double a, double b) {
    return memcmp(&a, &b, sizeof a) == 0 || (a != a && b != b);
}

/* ---- error bounds ---- */

static long double softplus_ref(long double x) {
    return fmaxl(x, 0) + log1pl(expl(-fabsl(x)));
}
static long double sigmoid_ref(long double x) {
    return x < 0 ? expl(x) / (1 + expl(x)) : 1 / (1 + expl(-x));
}
static long double phi_ref(long double x) { /* the normal distribution function */
    return 0.5L * erfcl(-x * 0.707106781186547524400844362105L);
}
static long double gauss_ref(long double x) {
    return expl(-0.5L * x * x);
}
static long double gelu_ref(long double x) {
    return isinf(x) && x < 0 ? NAN : x * phi_ref(x);
}
static long double recip_ref(long double x) {
    return 1 / x;
}

typedef struct function {
    const char *name;
    vec_op op;
    long double (*ref)(long double);
    double low, high;    /* dense sampling here, besides all magnitudes */
    double bound[2];     /* ulp, float64 and float32: none of 8 million numbers was further off, at any level */
} function;

static const function functions[] = {
    { "exp", VEC_EXP, expl, -20, 20, { 1.05, 1.0 } },
    { "expm1", VEC_EXPM1, expm1l, -3, 3, { 2.1, 1.5 } },
    { "log", VEC_LOG, logl, 0.3, 3, { 0.95, 0.95 } },
    { "log1p", VEC_LOG1P, log1pl, -0.9, 2, { 1.4, 1.5 } },
    { "tanh", VEC_TANH, tanhl, -5, 5, { 2.8, 2.7 } },
    { "sigmoid", VEC_SIGMOID, sigmoid_ref, -10, 10, { 2.5, 2.5 } },
    { "softplus", VEC_SOFTPLUS, softplus_ref, -10, 10, { 3.0, 3.0 } },
    { "sqrt", VEC_SQRT, sqrtl, 0, 4, { 0.501, 0.501 } },
    { "reciprocal", VEC_RECIPROCAL, recip_ref, -4, 4, { 0.501, 0.501 } },
    { "sin", VEC_SIN, sinl, -10, 10, { 1.0, 1.0 } },
    { "cos", VEC_COS, cosl, -10, 10, { 1.0, 1.0 } },
    { "erf", VEC_ERF, erfl, -6, 6, { 1.4, 1.3 } },
    { "erfc", VEC_ERFC, erfcl, -3, 28, { 7, 5 } },
    { "gauss", VEC_GAUSS, gauss_ref, -5, 5, { 2.2, 2.2 } },
    { "gelu", VEC_GELU, gelu_ref, -5, 5, { 20, 9 } }, /* where Phi is denormal; else 4.7 */
    { "floor", VEC_FLOOR, floorl, -10, 10, { 0, 0 } },
};

enum { CHUNK = 4096 };

/* |got - ref| in units of the last place of ref; infinity where one of the two is special and they differ. */
static double ulps(double got, long double ref, bool single) {
    double near = single ? (double)(float)ref : (double)ref;
    if (near != near || got != got) return (near != near) == (got != got) ? 0 : INFINITY;
    if (isinf(near) || isinf(got)) {
        long double top = single ? (long double)3.4028234663852886e38 : (long double)1.7976931348623157e308;
        if (isinf(near) && isinf(got)) return near == got ? 0 : INFINITY;
        return fabsl(ref) >= top * (1 - 0x1p-22L * !!single - 0x1p-50L) ? 1 : INFINITY;
    }
    if (near == 0 && got == 0) return signbit(near) != signbit(got) && ref == 0 ? INFINITY : 0;
    int e;
    frexpl(ref, &e);
    int least = single ? -149 : -1074, unit = e - (single ? 24 : 53);
    return (double)(fabsl((long double)got - ref) / ldexpl(1, unit < least ? least : unit));
}

static double at(const void *p, int64_t i, bool single) {
    return single ? (double)((const float *)p)[i] : ((const double *)p)[i];
}

static void put(void *p, int64_t i, double v, bool single) {
    if (single) ((float *)p)[i] = (float)v;
    else ((double *)p)[i] = v;
}

static double any_magnitude(bool single, int64_t i) {
    if (single) {
        uint32_t u = (uint32_t)i * 2654435761u; /* odd: visits every pattern in turn */
        float f;
        memcpy(&f, &u, 4);
        return (double)f;
    }
    uint64_t u = (uint64_t)i * 0x9E3779B97F4A7C15u;
    double d;
    memcpy(&d, &u, 8);
    return d;
}

static const double specials[] = {
    0.0, -0.0, 1, -1, 0.5, -0.5, 2, -2, INFINITY, -INFINITY, NAN, 0x1p-1074, -0x1p-1074, 0x1p-1022, -0x1p-1022,
    0x1p-149, -0x1p-149, 0x1p-126, 0x1p-130, -0x1p-130, 0x1p-60, -0x1p-60, 0x1p-26, -0x1p-26, 0x1p-54, -0x1p-54,
    709.78, 709.79, 710.5, -708.3, -708.5, -744.4, -745.1, -745.2, -746, -750, -800, 1e4, -1e4, 88.72, 88.73,
    89.5, -87.3, -87.4, -100, -103.9, -104, -110, 1e30, -1e30, 1e300, -1e300, 1.7976931348623157e308,
    -1.7976931348623157e308, 3.4028234663852886e38, 0.34657359, -0.34657359, 1.03972077, 36.7, 37.5, -36.7,
    17.3, 19.1, -19.1, 0.70710678118654752, 1.4142135623730951, 0.99999999999999989, 1.0000000000000002,
    0.99999994, 1.0000001, -0.99999999999999989, -0.99999994, 4503599627370496.5, 8388608.5, 8388607.5,
};

static void test_bounds(void) {
    static double in[CHUNK], out[CHUNK];
    for (size_t f = 0; f < sizeof functions / sizeof *functions; f++)
        for (int single = 0; single < 2; single++) {
            const function *fn = &functions[f];
            vec_fn kernel = vec_get(fn->op, single ? BK_FLOAT32 : BK_FLOAT64);
            double worst = 0, where = 0;
            seed = 12345; /* a row sees the same numbers whatever stands before it */
            for (int64_t chunk = 0; chunk < 100; chunk++) {
                for (int64_t i = 0; i < CHUNK; i++) {
                    double v = chunk % 2 ? any_magnitude(single, chunk * CHUNK + i)
                                         : fn->low + (fn->high - fn->low) * uniform();
                    if (chunk % 10 == 0) v = (uniform() - 0.5) * (single ? 220 : 1500);
                    if (chunk == 99 && i < (int64_t)(sizeof specials / sizeof *specials)) v = specials[i];
                    put(in, i, v, single);
                }
                kernel(CHUNK, out, in, NULL, NULL, 0);
                for (int64_t i = 0; i < CHUNK; i++) {
                    double x = at(in, i, single), u = ulps(at(out, i, single), fn->ref((long double)x), single);
                    if (u > worst) worst = u, where = x;
                }
            }
            printf("%-9s %s: %.3f ulp at %.17g\n", fn->name, single ? "float32" : "float64", worst, where);
            char text[80];
            snprintf(text, sizeof text, "%s %s at %.17g", fn->name, single ? "float32" : "float64", where);
            check(worst <= fn->bound[single], "ulp", text, worst, fn->bound[single]);
        }
}

/* ---- arithmetic against plain C ---- */

#define REFERENCE(T, name)                                                                    \
    static T name(vec_op op, T a, T b, T c, T x) {                                            \
        switch (op) {                                                                         \
        case VEC_COPY: return a;                                                              \
        case VEC_FILL: return x;                                                              \
        case VEC_ADD: return a + b;                                                           \
        case VEC_SUB: return a - b;                                                           \
        case VEC_MUL: return a * b;                                                           \
        case VEC_MAXIMUM: return a != a || a > b ? a : b;                                         \
        case VEC_MINIMUM: return a != a || a < b ? a : b;                                         \
        case VEC_SCALE: return x * a;                                                         \
        case VEC_OFFSET: return a + x;                                                        \
        case VEC_AXPY: { volatile T p = x * a; return p + b; }                                \
        case VEC_MULADD: { volatile T p = a * b; return p + c; }                              \
        case VEC_MULSCALE: { volatile T p = a * b; return x * p; }                            \
        case VEC_SQUARE: return a * a;                                                        \
        case VEC_SQUARE_RSUB: { volatile T p = a * a; return x - p; }                         \
        case VEC_ABS: return a <= 0 ? 0 - a : a;                                              \
        case VEC_SIGN: return a > 0 ? 1 : a < 0 ? -1 : a;                                     \
        case VEC_GT: return a > b;                                                            \
        case VEC_GE: return a >= b;                                                           \
        case VEC_EQ: return a == b;                                                           \
        case VEC_WHERE: return a != 0 ? b : c;                                                \
        case VEC_RELU: return a <= 0 ? 0 : a;                                                 \
        case VEC_RELU_MASK: return a > 0 ? b : 0;                                             \
        case VEC_STEP: return a > 0;                                                          \
        case VEC_DIV: return a / b;                                                           \
        case VEC_TANH_GRAD: { volatile T q = a * a; return b * (1 - q); }                     \
        case VEC_TANH_GRAD_SUM: { volatile T q = a * a, s = b + c; return s * (1 - q); }      \
        case VEC_TANH_GRAD_ADD: { volatile T q = a * a, r = b * (1 - q), s = x * r; return s + c; } \
        case VEC_RELU_SUM: { volatile T s = a + b; return s <= 0 ? 0 : s; }                   \
        case VEC_MUL3: { volatile T q = b * c, r = a * q; return x * r; }                     \
        case VEC_SIGMOID_GRAD: { volatile T q = a * (1 - a); return b * q; }                  \
        default: return 0;                                                                    \
        }                                                                                     \
    }
REFERENCE(double, ref_f64)
REFERENCE(float, ref_f32)
REFERENCE(int64_t, ref_i64)

static const vec_op exact_ops[] = {
    VEC_COPY, VEC_FILL, VEC_ADD, VEC_SUB, VEC_MUL, VEC_MAXIMUM, VEC_MINIMUM, VEC_SCALE, VEC_OFFSET, VEC_AXPY,
    VEC_MULADD, VEC_MULSCALE, VEC_SQUARE, VEC_SQUARE_RSUB, VEC_ABS, VEC_SIGN, VEC_GT, VEC_GE, VEC_EQ, VEC_WHERE, VEC_RELU, VEC_RELU_MASK,
    VEC_STEP, VEC_DIV, VEC_TANH_GRAD, VEC_TANH_GRAD_SUM, VEC_TANH_GRAD_ADD, VEC_MUL3, VEC_RELU_SUM, VEC_SIGMOID_GRAD
};

static void test_exact(void) {
    enum { N = 203 };
    double a[N], b[N], c[N], out[N];
    float fa[N], fb[N], fc[N], fout[N];
    int64_t ia[N], ib[N], ic[N], iout[N];
    const int count = (int)(sizeof specials / sizeof *specials);
    for (int i = 0; i < N; i++) {
        a[i] = i < count ? specials[i] : floor(9 * uniform()) - 4;
        b[i] = i % 3 ? floor(9 * uniform()) - 4 : specials[(i * 7) % count];
        c[i] = uniform() - 0.5;
        fa[i] = (float)a[i], fb[i] = (float)b[i], fc[i] = (float)c[i];
        ia[i] = (int64_t)(9 * uniform()) - 4 + (i % 5 == 0 ? (int64_t)1 << 31 : 0);
        ib[i] = (int64_t)(9 * uniform()) - 4;
        ic[i] = (int64_t)(1000 * uniform()) - 500;
    }
    for (size_t o = 0; o < sizeof exact_ops / sizeof *exact_ops; o++) {
        vec_op op = exact_ops[o];
        char name[32];
        snprintf(name, sizeof name, "op %d", (int)op);
        int bad[3] = { 0 };
        vec_get(op, BK_FLOAT64)(N, out, a, b, c, 0.7);
        vec_get(op, BK_FLOAT32)(N, fout, fa, fb, fc, 0.7);
        vec_fn ints = vec_get(op, BK_INT64);
        if (ints) ints(N, iout, ia, ib, ic, 3.0);
        for (int i = 0; i < N; i++) {
            double r = ref_f64(op, a[i], b[i], c[i], 0.7);
            float s = ref_f32(op, fa[i], fb[i], fc[i], 0.7f);
            bad[0] += !(r == out[i] || (r != r && out[i] != out[i]));
            bad[1] += !(s == fout[i] || (s != s && fout[i] != fout[i]));
            if (ints) bad[2] += iout[i] != ref_i64(op, ia[i], ib[i], ic[i], 3);
        }
        check(bad[0] == 0, "float64 values", name, bad[0], 0);
        check(bad[1] == 0, "float32 values", name, bad[1], 0);
        check(bad[2] == 0, "int64 values", name, bad[2], 0);
    }
    double zero = -0.0, r = 1;
    vec_get(VEC_FILL, BK_FLOAT64)(1, &r, NULL, NULL, NULL, -0.0);
    check(same_double(r, zero), "fill", "-0", r, zero);
    vec_get(VEC_ABS, BK_FLOAT64)(1, &r, &zero, NULL, NULL, 0);
    check(same_double(r, 0.0), "abs", "-0", r, 0);
    int64_t least = INT64_MIN, got = 0;
    vec_get(VEC_ABS, BK_INT64)(1, &got, &least, NULL, NULL, 0);
    check(got == INT64_MIN, "abs", "the least int64 wraps", (double)got, (double)INT64_MIN);
    vec_get(VEC_FILL, BK_INT64)(1, &got, NULL, NULL, NULL, NAN);
    check(got == 0, "fill", "NaN as int64", (double)got, 0);
}

static void test_powers(void) {
    enum { N = 200 };
    double a[N], b[N], out[N];
    float fa[N], fb[N], fout[N];
    const double xs[] = { -8, -7, -3, -2, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9, 2.2, INFINITY, NAN };
    for (int i = 0; i < N; i++) {
        a[i] = i < 8 ? (const double[]){ 0, -0.0, 1, -1, INFINITY, -INFINITY, NAN, 3 }[i] : 6 * uniform() - 3;
        b[i] = 4 * uniform() - 2;
        fa[i] = (float)a[i], fb[i] = (float)b[i];
    }
    for (size_t k = 0; k < sizeof xs / sizeof *xs; k++) {
        double worst = 0;
        vec_get(VEC_POWX, BK_FLOAT64)(N, out, a, NULL, NULL, xs[k]);
        vec_get(VEC_POWX, BK_FLOAT32)(N, fout, fa, NULL, NULL, xs[k]);
        for (int i = 0; i < N; i++) {
            worst = fmax(worst, ulps(out[i], powl((long double)a[i], (long double)xs[k]), false));
            worst = fmax(worst, ulps((double)fout[i], powl((long double)fa[i], (long double)(float)xs[k]), true));
        }
        check(worst <= 8, "ulp", "powx", worst, 8); /* seven products and a quotient */
    }
    double worst = 0;
    vec_get(VEC_POW, BK_FLOAT64)(N, out, a, b, NULL, 0);
    vec_get(VEC_POW, BK_FLOAT32)(N, fout, fa, fb, NULL, 0);
    for (int i = 0; i < N; i++) {
        worst = fmax(worst, ulps(out[i], powl((long double)a[i], (long double)b[i]), false));
        worst = fmax(worst, ulps((double)fout[i], powl((long double)fa[i], (long double)fb[i]), true));
    }
    check(worst <= 1, "ulp", "pow", worst, 1);
}

/* In units of the last place of the largest of the operands and the result: the result cancels around 0. */
static void test_logaddexp(void) {
    enum { N = 4000 };
    static double a[N], b[N], out[N];
    static float fa[N], fb[N], fout[N];
    const double odd[] = { 0, 1, -1, 1e300, -1e300, INFINITY, -INFINITY, NAN };
    for (int i = 0; i < N; i++) {
        a[i] = i < 64 ? odd[i / 8] : 40 * uniform() - 20;
        b[i] = i < 64 ? odd[i % 8] : a[i] + (i % 2 ? 120 : 4) * (uniform() - 0.5);
        fa[i] = (float)a[i], fb[i] = (float)b[i];
    }
    vec_get(VEC_LOGADDEXP, BK_FLOAT64)(N, out, a, b, NULL, 0);
    vec_get(VEC_LOGADDEXP, BK_FLOAT32)(N, fout, fa, fb, NULL, 0);
    for (int single = 0; single < 2; single++) {
        double worst = 0;
        for (int i = 0; i < N; i++) {
            const long double x = single ? fa[i] : a[i], y = single ? fb[i] : b[i], top = fmaxl(x, y);
            const long double ref = x != x || y != y ? (long double)NAN
                                    : isinf(top)     ? top
                                                     : top + logl(expl(x - top) + expl(y - top));
            const double got = single ? (double)fout[i] : out[i];
            if (!isfinite(ref) || !isfinite(got)) {
                if (!(got == (double)ref || (got != got && ref != ref))) worst = INFINITY;
                continue;
            }
            const long double most = fmaxl(1, fmaxl(fmaxl(fabsl(x), fabsl(y)), fabsl(ref)));
            worst = fmax(worst, (double)(fabsl((long double)got - ref) / most) * (single ? 0x1p24 : 0x1p53));
        }
        check(worst <= 3, "ulp", single ? "logaddexp, float32" : "logaddexp, float64", worst, 3);
    }
}

/* ---- place, aliasing, bounds, for every op and dtype ---- */

static const struct {
    const char *name;
    bool real; /* floats only */
} kernels[VEC_OPS] = {
#define VEC_ROW(name, NAME, operands) [VEC_##NAME] = { #name, false },
#define VEC_ROW_REAL(name, NAME, operands) [VEC_##NAME] = { #name, true },
#include "gen/vec_rows.h"
#undef VEC_ROW
#undef VEC_ROW_REAL
};

static void test_places(void) {
    enum { MAX = 80, GUARD = 64 };
    static unsigned char buf[4][MAX * 8 + 2 * GUARD], expected[MAX * 8];
    for (int op = VEC_NONE + 1; op < VEC_OPS; op++)
        for (int d = 0; d < 3; d++) {
            vec_fn f = vec_get((vec_op)op, (bk_dtype)d);
            char name[32];
            snprintf(name, sizeof name, "%s dtype %d", kernels[op].name, d);
            check((f != NULL) == (d < 2 || !kernels[op].real), "vec_get", name, f != NULL, 0);
            if (!f) continue;
            size_t size = d == BK_FLOAT32 ? 4 : 8;
            int bad = 0;
            for (int64_t n = 0; n <= MAX; n++)
                for (int alias = 0; alias < 4; alias++) {
                    unsigned char *p[4];
                    for (int j = 0; j < 4; j++) {
                        memset(buf[j], 0xA5, sizeof buf[j]);
                        p[j] = buf[j] + GUARD + size * (size_t)((n + j) % 5);
                        for (int64_t i = 0; i < n && j < 3; i++) {
                            double v = 4 * uniform() - (op == VEC_LOG ? 0 : 2);
                            if (d == BK_INT64) ((int64_t *)(void *)p[j])[i] = (int64_t)v;
                            else put(p[j], i, v, d == BK_FLOAT32);
                        }
                    }
                    for (int64_t i = 0; i < n; i++)
                        f(1, expected + (size_t)i * size, p[0] + (size_t)i * size, p[1] + (size_t)i * size,
                          p[2] + (size_t)i * size, 3);
                    unsigned char *out = p[alias ? alias - 1 : 3];
                    f(n, out, p[0], p[1], p[2], 3);
                    bad += memcmp(out, expected, (size_t)n * size) != 0;
                    unsigned char *whole = buf[alias ? alias - 1 : 3];
                    for (unsigned char *q = whole; q < whole + sizeof buf[0]; q++)
                        bad += (q < out || q >= out + (size_t)n * size) && *q != 0xA5;
                }
            check(bad == 0, "places", name, bad, 0);
        }
    check(!vec_get(VEC_OPS, BK_FLOAT64) && !vec_get((vec_op)-1, BK_FLOAT64), "vec_get", "op out of range", 0, 0);
    check(!vec_get(VEC_ADD, (bk_dtype)7), "vec_get", "dtype out of range", 0, 0);
}

/* ---- sums and conversions ---- */

static uint64_t hash_bytes(uint64_t h, const void *p, size_t n) {
    for (size_t i = 0; i < n; i++) h = (h ^ ((const unsigned char *)p)[i]) * 0x100000001B3u;
    return h;
}

static void test_max(void) {
    enum { N = 70 };
    double a[N];
    float f[N];
    int bad = 0;
    for (int n = 0; n <= N; n++)
        for (int kind = 0; kind < 5; kind++) { /* plain; a NaN; an infinity; all the least; the largest last */
            double most = -INFINITY;
            for (int i = 0; i < n; i++) a[i] = kind == 3 ? -INFINITY : 100 * uniform() - 70;
            if (n && kind == 1) a[(n * 7) % n] = NAN, a[(n * 3) / 4] = NAN;
            if (n && kind == 2) a[n / 2] = INFINITY;
            if (n && kind == 4) a[n - 1] = 99;
            for (int i = 0; i < n; i++) {
                f[i] = (float)a[i], a[i] = (double)f[i];
                most = most != most || most > a[i] ? most : a[i];
            }
            const double got = vec_max(BK_FLOAT64, n, a), single = vec_max(BK_FLOAT32, n, f);
            bad += !(got == most || (got != got && most != most)) || !(single == most || (single != single && most != most));
            int64_t first = 0;
            while (first < n && !(a[first] == most || a[first] != a[first])) first++;
            if (n) bad += vec_argmax(BK_FLOAT64, n, a) != first || vec_argmax(BK_FLOAT32, n, f) != first;
        }
    check(bad == 0, "vec_max", "all lengths to 70", bad, 0);
}

/* Returns a hash of results that must be the same at every level. */
static uint64_t test_sums(void) {
    enum { N = 70001 };
    double *a = malloc(N * 8), *b = malloc(N * 8);
    float *fa = malloc((N + 1) * 4), *fb = malloc(N * 4);
    int64_t *ia = malloc(N * 8);
    uint64_t h = 0xCBF29CE484222325u;
    seed = 99;
    for (int i = 0; i < N; i++) {
        a[i] = uniform() - 0.3, b[i] = uniform() - 0.5;
        fa[i] = (float)a[i], fb[i] = (float)b[i];
        ia[i] = (int64_t)(1e6 * a[i]);
    }
    const int64_t lengths[] = { 0, 1, 2, 15, 16, 17, 100, 1023, 1024, 1025, 2048, 3000, 5 * 1024, 65536, N };
    for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
        int64_t n = lengths[k], is = 0, iss = 0;
        long double s = 0, t = 0, fs = 0, ft = 0, mag = 0;
        for (int64_t i = 0; i < n; i++) {
            s += a[i], t += (long double)a[i] * b[i], mag += fabsl(a[i]);
            fs += fa[i], ft += (long double)fa[i] * fb[i];
            is += ia[i], iss += ia[i] * ia[i];
        }
        double got[] = { vec_sum(BK_FLOAT64, n, a), vec_dot(BK_FLOAT64, n, a, b), vec_sum(BK_FLOAT32, n, fa),
                         vec_dot(BK_FLOAT32, n, fa, fb), vec_sum(BK_INT64, n, ia), vec_dot(BK_INT64, n, ia, ia) };
        double ref[] = { (double)s, (double)t, (double)fs, (double)ft, (double)is, (double)iss };
        for (int j = 0; j < 6; j++) {
            double tolerance = j < 4 ? (double)mag * 0x1p-51 : 0;
            check(fabs(got[j] - ref[j]) <= tolerance, "sum", "against long double", got[j], ref[j]);
        }
        h = hash_bytes(h, got, sizeof got);
        float *shifted = malloc((size_t)(n + 3) * 4);
        memcpy(shifted + 3, fa, (size_t)n * 4);
        double moved = vec_sum(BK_FLOAT32, n, shifted + 3);
        check(same_double(moved, got[2]), "sum", "alignment does not matter", moved, got[2]);
        free(shifted);
    }
    float *f = malloc(N * 4);
    double *d = malloc(N * 8);
    int64_t *i64 = malloc(N * 8);
    int bad = 0;
    for (int64_t n = 0; n < 100; n += 7) {
        for (int64_t i = 0; i < N; i++) f[i] = -1, d[i] = -1, i64[i] = -1;
        vec_cast(n, BK_FLOAT32, f, BK_FLOAT64, a);
        vec_cast(n, BK_FLOAT64, d, BK_FLOAT32, fa);
        vec_cast(n, BK_INT64, i64, BK_FLOAT64, b);
        for (int64_t i = 0; i < 101; i++) {
            bad += f[i] != (i < n ? (float)a[i] : -1);
            bad += d[i] != (i < n ? (double)fa[i] : -1);
            bad += i64[i] != (i < n ? (int64_t)b[i] : -1);
        }
    }
    check(bad == 0, "cast", "values and bounds", bad, 0);
    vec_cast(N, BK_FLOAT64, d, BK_INT64, ia);
    vec_cast(N, BK_FLOAT32, f, BK_INT64, ia);
    for (int i = 0; i < N; i++) bad += d[i] != (double)ia[i] || f[i] != (float)ia[i];
    check(bad == 0, "cast", "from int64", bad, 0);
    const double odd[] = { 1e300, -1e300, NAN, INFINITY, 2.9, -2.9 };
    const int64_t want[] = { INT64_MAX, INT64_MIN, 0, INT64_MAX, 2, -2 };
    vec_cast(6, BK_INT64, i64, BK_FLOAT64, odd);
    check(memcmp(i64, want, sizeof want) == 0, "cast", "saturates", (double)i64[0], (double)want[0]);
    vec_cast(6, BK_FLOAT32, f, BK_FLOAT64, odd);
    check(isinf(f[0]) && f[1] == -INFINITY && f[2] != f[2], "cast", "float32 overflow", (double)f[0], INFINITY);
    free(a), free(b), free(fa), free(fb), free(ia), free(f), free(d), free(i64);
    return h;
}

/* vec_mix against a word at a time, of words that lie anywhere */
static void test_mix(void) {
    enum { MOST = 9 };
    static unsigned char bytes[MOST * VEC_MIX_LANES * 8 + 1];
    int bad = 0;
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)(i * 167 + i / 13);
    for (int blocks = 0; blocks <= MOST; blocks++) {
        uint64_t got[VEC_MIX_LANES], want[VEC_MIX_LANES];
        for (int j = 0; j < VEC_MIX_LANES; j++) got[j] = want[j] = UINT64_C(0xcbf29ce484222325) * (uint64_t)(j + 1);
        vec_mix(blocks, bytes + 1, got);
        for (int k = 0; k < blocks * VEC_MIX_LANES; k++) {
            uint64_t word, *h = &want[k % VEC_MIX_LANES];
            memcpy(&word, bytes + 1 + 8 * k, 8);
            *h = (*h ^ word) * VEC_MIX_FACTOR;
            *h ^= *h >> 32;
        }
        bad += memcmp(got, want, sizeof got) != 0;
    }
    check(bad == 0, "vec_mix", "0 to 9 blocks", bad, 0);
}

/* The rows of vec_softmax have the bits of its parts, infinities and NaN among them, and nothing else is written; whether
 * each sees all of itself, or one more than the row before. */
static void test_softmax(void) {
    static const int64_t sizes[] = { 0, 1, 2, 3, 7, 10, 16, 17, 19, 63, 64, 100, 1024 };
    enum { ROWS = 5, MOST = 1024 };
    static double a[ROWS * MOST + 1], got[ROWS * MOST + 1], row[MOST];
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
        for (int way = 0; way < 16; way++) {
            const bool single = way & 1, scaled = way & 2;
            const int64_t n = sizes[k], seen = way < 4 || !n ? n : way < 8 ? 1 : way < 12 ? n / 2 + 1 : n > 2 ? n - 2 : 1;
            const bk_dtype dtype = single ? BK_FLOAT32 : BK_FLOAT64;
            const size_t size = single ? 4 : 8;
            double tops[ROWS], sums[ROWS];
            for (int64_t i = 0; i < ROWS * n; i++) put(a, i, 40 * (uniform() - 0.5), single);
            if (n > 1) put(a, n, -INFINITY, single), put(a, 2 * n + 1, INFINITY, single), put(a, 3 * n, NAN, single);
            for (int64_t i = 4 * n; i < 5 * n; i++) put(a, i, -INFINITY, single);
            put(got, ROWS * n, 42, single);
            vec_softmax(dtype, ROWS, n, seen, got, a, scaled, tops, sums);
            int64_t other = 0;
            for (int64_t r = 0; r < ROWS; r++) {
                const char *from = (const char *)a + (size_t)(r * n) * size;
                const int64_t m = seen + r < n ? seen + r : n;
                const double top = vec_max(dtype, m, from);
                vec_get(VEC_OFFSET, dtype)(m, row, from, NULL, NULL, isinf(top) ? 0 : -top);
                vec_get(VEC_EXP, dtype)(m, row, row, NULL, NULL, 0);
                const double sum = vec_sum(dtype, m, row);
                if (scaled) vec_get(VEC_SCALE, dtype)(m, row, row, NULL, NULL, 1 / sum);
                other += !same_double(tops[r], top) || !same_double(sums[r], sum);
                for (int64_t i = 0; i < n; i++)
                    other += i < m ? !same_double(at(got, r * n + i, single), at(row, i, single))
                                   : at(got, r * n + i, single) != 0 && !isnan(sum);
            }
            check(other == 0, "softmax", "the bits of its parts", (double)other, 0);
            check(at(got, ROWS * n, single) == 42, "softmax", "writes its rows alone", at(got, ROWS * n, single), 42);
        }
}

/* The same of vec_softmax_slope, into new memory and over either operand. */
static void test_softmax_slope(void) {
    static const int64_t sizes[] = { 0, 1, 2, 3, 7, 10, 16, 17, 19, 63, 64, 100, 1024 };
    enum { ROWS = 19, MOST = 1024 };
    static double s[ROWS * MOST + 1], t[ROWS * MOST + 1], out[ROWS * MOST + 1], row[MOST];
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
        for (int way = 0; way < 12; way++) {
            const bool single = way & 1, causal = way & 2;
            const int64_t n = sizes[k], seen = causal && n ? 1 : n;
            const bk_dtype dtype = single ? BK_FLOAT32 : BK_FLOAT64;
            double *got = way < 4 ? out : way < 8 ? s : t;
            static double want[ROWS * MOST];
            for (int64_t r = 0; r < ROWS; r++)
                for (int64_t i = 0; i < n; i++) {
                    put(s, r * n + i, i < seen + r ? uniform() : 0, single);
                    put(t, r * n + i, i < seen + r ? uniform() - 0.5 : 0, single);
                }
            const size_t size = single ? 4 : 8;
            for (int64_t r = 0; r < ROWS && n; r++) {
                const size_t from = (size_t)(r * n) * size;
                const int64_t m = seen + r < n ? seen + r : n;
                const double sum = vec_dot(dtype, m, (char *)s + from, (char *)t + from);
                for (int64_t i = 0; i < m; i++) put(row, i, sum, single);
                memset((char *)want + from, 0, (size_t)n * size);
                vec_get(VEC_SUB, dtype)(m, (char *)want + from, (char *)t + from, row, NULL, 0);
                vec_get(VEC_MUL, dtype)(m, (char *)want + from, (char *)s + from, (char *)want + from, NULL, 0);
            }
            put(got, ROWS * n, 42, single);
            vec_softmax_slope(dtype, ROWS, n, seen, got, s, t);
            int64_t other = 0;
            for (int64_t i = 0; i < ROWS * n; i++) other += at(got, i, single) != at(want, i, single);
            check(other == 0, "softmax_slope", "the bits of its parts", (double)other, 0);
            check(at(got, ROWS * n, single) == 42, "softmax_slope", "writes its rows alone", at(got, ROWS * n, single), 42);
        }
}

/* vec_normalize and vec_normalize_slope against long double, in place too; nothing else is written. In halves of an ulp
 * of 1: a mean from 3 to 4 is off by 2 for its quotient and by what its sum lost, 2 in rows of two numbers and some 6 in
 * rows of a thousand, which the scale takes times 10 there and times 3.5 here: 40 and 28; scale and product add 5, of
 * numbers to 1.7. Seen at any level: 27, the scales 2.2, the slopes, of numbers that are not moved away from 0, 7.4. */
static void test_normalize(void) {
    static const int64_t sizes[] = { 1, 2, 3, 7, 15, 16, 17, 31, 33, 128, 1000, 1024 };
    enum { ROWS = 19, MOST = 1024 };
    static double a[ROWS * MOST + 1], t[ROWS * MOST + 1], scale[ROWS + 1], y[ROWS * MOST + 1], slope[ROWS * MOST + 1];
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
        for (int way = 0; way < 4; way++) {
            const bool single = way & 1, over = way & 2;
            const int64_t n = sizes[k], size = ROWS * n;
            const bk_dtype dtype = single ? BK_FLOAT32 : BK_FLOAT64;
            const double unit = single ? 0x1p-24 : 0x1p-53;
            double *to = over ? a : y, *moved = over ? t : slope, worst = 0, far = 0;
            static long double want[ROWS * MOST], by[ROWS];
            for (int64_t i = 0; i < size; i++) put(a, i, 3 + uniform(), single), put(t, i, uniform(), single);
            for (int64_t r = 0; r < ROWS; r++) {
                long double mean = 0, var = 0;
                for (int64_t i = 0; i < n; i++) mean += at(a, r * n + i, single) / (long double)n;
                for (int64_t i = 0; i < n; i++) var += powl(at(a, r * n + i, single) - mean, 2) / (long double)n;
                by[r] = 1 / sqrtl(var + 0.01L);
                for (int64_t i = 0; i < n; i++) want[r * n + i] = (at(a, r * n + i, single) - mean) * by[r];
            }
            put(y, size, 42, single), put(slope, size, 42, single), put(scale, ROWS, 42, single);
            put(a, size, 42, single), put(t, size, 42, single);
            vec_normalize(dtype, ROWS, n, 0.01, NULL, scale, a);
            vec_normalize(dtype, ROWS, n, 0.01, to, NULL, a);
            for (int64_t r = 0; r < ROWS; r++) far = fmax(far, fabs((double)(at(scale, r, single) / by[r] - 1)) / unit);
            for (int64_t i = 0; i < size; i++) worst = fmax(worst, fabs((double)(at(to, i, single) - want[i])) / unit);
            check(far <= 3, "normalize", "scales", far, 3);
            check(worst <= 45, "normalize", "rows, of which the mean is 3 to 4", worst, 45);
            for (int64_t r = 0; r < ROWS; r++) {
                long double mean = 0, along = 0;
                for (int64_t i = r * n; i < r * n + n; i++) {
                    mean += at(t, i, single) / (long double)n;
                    along += (long double)at(t, i, single) * at(to, i, single) / (long double)n;
                }
                for (int64_t i = r * n; i < r * n + n; i++)
                    want[i] = at(scale, r, single) * (at(t, i, single) - mean - at(to, i, single) * along);
            }
            vec_normalize_slope(dtype, ROWS, n, moved, to, scale, t);
            worst = 0;
            for (int64_t i = 0; i < size; i++) worst = fmax(worst, fabs((double)(at(moved, i, single) - want[i])) / unit);
            check(worst <= 15, "normalize_slope", "rows", worst, 15);
            const double behind = at(to, size, single) + at(moved, size, single) + at(scale, ROWS, single);
            check(behind == 3 * 42, "normalize", "writes its rows alone", behind, 3 * 42);
        }
}

/* Against its parts, into new memory and over its operands; what lies behind is not touched. */
static void test_adam(void) {
    static const int64_t sizes[] = { 0, 1, 2, 3, 5, 8, 15, 16, 17, 31, 64, 100, 257 };
    enum { MOST = 257, OPERANDS = 7, THETA = 0, G, FIRST, SECOND, BY_FIRST, BY_SECOND, RATE };
    static double in[OPERANDS][MOST + 1], want[3][MOST], got[3][MOST + 1];
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
        for (int way = 0; way < 32; way++) {
            const bool single = way & 1, decays = way & 2, over = way & 4, stumbles = way & 8, far = way & 16;
            const bk_dtype dtype = single ? BK_FLOAT32 : BK_FLOAT64;
            const int64_t n = sizes[k];
            const double keep = 0.9, keep_square = 0.999, eps = 1e-30, decay = 0.01;
            for (int j = 0; j < OPERANDS; j++)
                for (int64_t i = 0; i <= n; i++) put(in[j], i, uniform() - (j == SECOND || j >= BY_FIRST ? 0 : 0.5), single);
            if (n > 4) put(in[G], 0, INFINITY, single), put(in[SECOND], 1, NAN, single), put(in[THETA], 2, -0.0, single);
            if (n > 4) put(in[G], 3, 0, single), put(in[FIRST], 3, 0, single), put(in[SECOND], 3, 0, single);
            /* Moments that fade: in some vectors a step is lost in theta, in others one of its parts is extreme. */
            for (int64_t i = 16; i < n; i += i % 16 < 7 ? 1 : 3) {
                put(in[FIRST], i, ldexp(uniform() - 0.5, (single ? -114 : -1010) - (int)i % 16 * 2), single);
                put(in[G], i, 0, single);
                if (i / 16 % 5 == 1) put(in[THETA], i, ldexp(1 + uniform(), single ? -115 : -1011), single);
                if (i / 16 % 5 == 2) put(in[SECOND], i, 0, single);
                if (i / 16 % 5 == 3) put(in[BY_FIRST], i, 1e35, single);
                if (i / 16 % 5 == 4) put(in[RATE], i, 1e35, single);
            }
            double *theta = want[0], *first = want[1], *second = want[2], q[MOST];
            vec_get(VEC_AVERAGE, dtype)(n, first, in[FIRST], in[G], NULL, keep);
            vec_get(VEC_AVERAGE_SQUARE, dtype)(n, second, in[SECOND], in[G], NULL, keep_square);
            vec_get(VEC_SQRT_AFFINE, dtype)(n, q, second, in[BY_SECOND], NULL, eps);
            vec_get(VEC_MULDIV, dtype)(n, q, first, in[BY_FIRST], q, 0);
            if (decays) vec_get(VEC_AXPY, dtype)(n, q, in[THETA], q, NULL, decay);
            vec_get(VEC_MULADD, dtype)(n, theta, q, in[RATE], in[THETA], 0);
            double *out[3] = { over ? in[THETA] : got[0], over ? in[FIRST] : got[1], over ? in[SECOND] : got[2] };
            for (int j = 0; j < 3; j++) put(out[j], n, 42, single);
            vec_adam(dtype, n, &(vec_adam_step){
                                   .theta = in[THETA], .g = in[G], .first = in[FIRST], .second = in[SECOND],
                                   .by_first = in[BY_FIRST], .by_second = in[BY_SECOND], .rate = in[RATE],
                                   .new_theta = out[0], .new_first = out[1], .new_second = out[2],
                                   .keep = { keep, keep_square }, .take = { 1 - keep, 1 - keep_square },
                                   .eps = eps, .decay = decay, .decays = decays, .far = far, .stumbles = stumbles });
            int64_t other = 0;
            for (int j = 0; j < 3; j++)
                for (int64_t i = 0; i < n; i++) other += !same_double(at(out[j], i, single), at(want[j], i, single));
            check(other == 0, "adam", "the bits of its parts", (double)other, 0);
            for (int j = 0; j < 3; j++)
                check(at(out[j], n, single) == 42, "adam", "writes its results alone", at(out[j], n, single), 42);
        }
}

/* Rows of every length, close to one another or apart, and none of what lies between them. */
static void test_copy_rows(void) {
    enum { ROWS = 5, LONGEST = 1100, APART = 1200 };
    static char from[ROWS * APART + 1], to[ROWS * APART + 1];
    for (size_t i = 0; i < sizeof from; i++) from[i] = (char)(i * 7 % 125);
    for (size_t bytes = 0; bytes <= LONGEST; bytes += bytes < 200 ? 1 : 37)
        for (int way = 0; way < 4; way++) {
            const size_t stride_a = way & 1 ? APART : bytes, stride_out = way & 2 ? APART : bytes;
            size_t wrong = 0;
            memset(to, -1, sizeof to);
            vec_copy_rows(ROWS, bytes, to + 1, stride_out, from + 1, stride_a);
            for (size_t r = 0; r < ROWS; r++)
                for (size_t i = 0; i < bytes; i++)
                    wrong += to[1 + r * stride_out + i] != from[1 + r * stride_a + i], to[1 + r * stride_out + i] = -1;
            for (size_t i = 0; i < sizeof to; i++) wrong += to[i] != -1;
            check(wrong == 0, "copy_rows", "copies rows alone", (double)bytes, 0);
        }
}

int main(int argc, char **argv) {
    static void (*const tests[])(void) = { test_bounds, test_exact, test_powers, test_logaddexp, test_places, test_max, test_mix,
                                           test_softmax, test_softmax_slope, test_normalize, test_adam, test_copy_rows };
    printf("level %s\n", vec_level());
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        seed = 12345; /* a test sees the same numbers whatever stands before it */
        tests[i]();
    }
    uint64_t h = test_sums();
    printf("hash %016llx\n", (unsigned long long)h);
    const char *lower[] = { "avx2", "portable" };
    for (int i = 0; i < 2 && argc == 1; i++) {
        char command[4200], line[200], want[40];
        const char *emulator = getenv("BRACKET_EMULATED") ? getenv("BRACKET_EMULATED") : "";
        if (strlen(argv[0]) + strlen(emulator) > 4000) break;
        snprintf(command, sizeof command, "BRACKET_VEC=%s %s '%s' child", lower[i], emulator, argv[0]);
        snprintf(want, sizeof want, "hash %016llx\n", (unsigned long long)h);
        fflush(stdout);
        FILE *f = popen(command, "r");
        bool same = false;
        while (f && fgets(line, sizeof line, f)) {
            same |= strcmp(line, want) == 0;
            if (strncmp(line, "FAIL", 4) == 0 || strncmp(line, "level", 5) == 0) fputs(line, stdout);
        }
        int status = f ? pclose(f) : -1;
        check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child", lower[i], status, 0);
        check(same, "sums are the same bits at level", lower[i], 0, 1);
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed ? 1 : 0;
}
