#include "rng.h"

#include <math.h>

static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

rng rng_seed(uint64_t seed) {
    return (rng){ .key = mix(seed + 0x9E3779B97F4A7C15u), .counter = 0 };
}

uint64_t rng_next(rng *r) {
    return mix(r->key + ++r->counter * 0x9E3779B97F4A7C15u);
}

double rng_uniform(rng *r) {
    return (double)(rng_next(r) >> 11) * 0x1p-53;
}

double rng_normal(rng *r) {
    double u = 1.0 - rng_uniform(r); /* (0, 1]: the logarithm stays finite */
    double v = rng_uniform(r);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586476925 * v);
}

uint64_t rng_below(rng *r, uint64_t bound) {
    uint64_t floor = -bound % bound; /* 2^64 mod bound: draws below it would bias the low values */
    uint64_t x;
    do x = rng_next(r);
    while (x < floor);
    return x % bound;
}

rng rng_split(rng *r) {
    return (rng){ .key = mix(rng_next(r) ^ 0xD1B54A32D192ED03u), .counter = 0 };
}

void rng_permute_next(rng *r, int64_t i, int64_t *out) {
    int64_t j = (int64_t)rng_below(r, (uint64_t)i + 1);
    out[i] = out[j];
    out[j] = i;
}
