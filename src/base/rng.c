/* rng.c - draws from a stream one by one, or at any place. */
#include "rng.h"

#include <math.h>

rng rng_seed(uint64_t seed) {
    return (rng){ .key = rng_mix(seed + RNG_GAMMA), .counter = 0 };
}

uint64_t rng_next(rng *r) {
    return rng_mix(r->key + ++r->counter * RNG_GAMMA);
}

double rng_uniform(rng *r) {
    return rng_unit(rng_next(r));
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
    return (rng){ .key = rng_mix(rng_next(r) ^ 0xD1B54A32D192ED03u), .counter = 0 };
}

void rng_permute_next(rng *r, int64_t i, int64_t *out) {
    int64_t j = (int64_t)rng_below(r, (uint64_t)i + 1);
    out[i] = out[j];
    out[j] = i;
}

uint64_t rng_place(uint64_t seed, uint64_t place) {
    return rng_mix(rng_mix(seed + RNG_GAMMA) ^ rng_mix(place + 0xD1B54A32D192ED03u));
}

double rng_normal_at(uint64_t key, uint64_t i) {
    const uint64_t pair = i & ~(uint64_t)1;
    const double radius = sqrt(-2.0 * log(1.0 - rng_unit(rng_at(key, pair)))); /* of (0, 1] */
    const double turn = 6.283185307179586476925 * rng_unit(rng_at(key, pair + 1));
    return radius * (i & 1 ? sin(turn) : cos(turn));
}
