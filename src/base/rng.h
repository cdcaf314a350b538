/* rng.h - SplitMix64 in counter form (Steele, Lea & Flood 2014): element i of stream
 * `key` is a hash of key + i*GAMMA, so the state is two integers, a stream can be
 * saved, split and read at any place, and the numbers never depend on threads. */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stdint.h>

typedef struct rng {
    uint64_t key, counter;
} rng;

rng rng_seed(uint64_t seed);
uint64_t rng_next(rng *r);
double rng_uniform(rng *r);                 /* [0, 1), 53 bits */
double rng_normal(rng *r);                  /* N(0, 1), Box-Muller, two draws a value */
uint64_t rng_below(rng *r, uint64_t bound); /* uniform in 0..bound-1, unbiased; bound >= 1 */
rng rng_split(rng *r);                      /* an independent stream */
/* Makes a random order of 0..i out of one of 0..i-1 (Fisher-Yates); called for i = 0..n-1 it is one of 0..n-1. */
void rng_permute_next(rng *r, int64_t i, int64_t *out);

#endif
