/* rng.h - SplitMix64 in counter form (Steele, Lea & Flood 2014): element i of stream
 * `key` is a hash of key + i*GAMMA, so the state is two integers, a stream can be
 * saved, split and read at any place, and the numbers never depend on threads. */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stdint.h>

typedef struct rng {
    uint64_t key, counter;
} rng;

/* The hash itself: a bijection of 64 bits. */
static inline uint64_t rng_mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}
#define RNG_GAMMA 0x9E3779B97F4A7C15u

rng rng_seed(uint64_t seed);
uint64_t rng_next(rng *r);
double rng_uniform(rng *r);                 /* [0, 1), 53 bits */
double rng_normal(rng *r);                  /* N(0, 1), Box-Muller, two draws a value */
uint64_t rng_below(rng *r, uint64_t bound); /* uniform in 0..bound-1, unbiased; bound >= 1 */
rng rng_split(rng *r);                      /* an independent stream */
/* Makes a random order of 0..i out of one of 0..i-1 (Fisher-Yates); called for i = 0..n-1 it is one of 0..n-1. */
void rng_permute_next(rng *r, int64_t i, int64_t *out);

/* The same without a state: numbers of a key by their index, from 0. Streams of one seed are told apart by a place. */
uint64_t rng_place(uint64_t seed, uint64_t place); /* a key */
static inline uint64_t rng_at(uint64_t key, uint64_t i) {
    return rng_mix(key + (i + 1) * RNG_GAMMA);
}
static inline double rng_unit(uint64_t bits) { /* [0, 1), 53 bits */
    return (double)(bits >> 11) * 0x1p-53;
}
double rng_normal_at(uint64_t key, uint64_t i); /* N(0, 1); 2k and 2k + 1 are a pair of Box & Muller's */

#endif
