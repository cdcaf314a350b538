/* peak.c - what one core of this machine can do at most: multiply-adds of whole vectors in registers, independent of
 * each other. Prints the best of several short runs, in GFLOP/s of float32 and of float64. Built by compare.lua with
 * -march=native. */
#include <stdio.h>
#include <time.h>

#if defined(__AVX512F__)
enum { BYTES = 64, CHAINS = 24 };
#elif defined(__AVX__)
enum { BYTES = 32, CHAINS = 12 };
#else
enum { BYTES = 16, CHAINS = 12 };
#endif
enum { STEPS = 200000, RUNS = 40 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#define MEASURE(T)                                                                                                     \
    static double measure_##T(void) {                                                                                  \
        typedef T vec __attribute__((vector_size(BYTES)));                                                             \
        double best = 0;                                                                                               \
        for (int run = 0; run < RUNS; run++) {                                                                         \
            vec acc[CHAINS], x = (vec){ 0 } + (T)0.999, y = (vec){ 0 } + (T)0.001;                                     \
            for (int k = 0; k < CHAINS; k++) acc[k] = x;                                                               \
            __asm__ volatile("" : "+v"(x), "+v"(y));                                                                   \
            const double start = now();                                                                                \
            for (int i = 0; i < STEPS; i++)                                                                            \
                _Pragma("GCC unroll 24") for (int k = 0; k < CHAINS; k++) acc[k] = acc[k] * x + y;                     \
            _Pragma("GCC unroll 24") for (int k = 0; k < CHAINS; k++) __asm__ volatile("" : : "v"(acc[k]));            \
            const double rate = 2e-9 * STEPS * CHAINS * (BYTES / (double)sizeof(T)) / (now() - start);                 \
            if (rate > best) best = rate;                                                                              \
        }                                                                                                              \
        return best;                                                                                                   \
    }
MEASURE(float)
MEASURE(double)

int main(void) {
    printf("%.4g %.4g\n", measure_float(), measure_double());
    return 0;
}
