/* Durations in nanoseconds, counted in buckets of 1.6 % width: no memory per sample, no sort. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>
#include <string.h>

enum { STEP_BITS = 6, STEPS = 1 << STEP_BITS, BUCKETS = (64 - STEP_BITS + 1) * STEPS };

typedef struct {
    uint64_t count, largest;
    uint64_t bucket[BUCKETS];
} Histogram;

static inline void histogram_clear(Histogram *h)
{
    memset(h, 0, sizeof *h);
}

static inline void histogram_add(Histogram *h, uint64_t ns)
{
    /* Below STEPS each value has a bucket; above, the six bits after the leading one choose. */
    unsigned index = (unsigned)ns;
    if (ns >= STEPS) {
        unsigned shift = 63 - (unsigned)__builtin_clzll(ns) - STEP_BITS;
        index = shift * STEPS + (unsigned)(ns >> shift);
    }
    h->bucket[index]++;
    h->count++;
    if (ns > h->largest)
        h->largest = ns;
}

/* The middle of the bucket that holds this share (0 to 1) of the samples; 0 without samples. */
static inline double histogram_at(const Histogram *h, double share)
{
    uint64_t seen = 0;
    double wanted = share * (double)h->count;
    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += h->bucket[i];
        if (h->bucket[i] != 0 && (double)seen >= wanted) {
            if (i < 2 * STEPS)
                return i;
            unsigned shift = i / STEPS - 1;
            double low = (double)((uint64_t)(i - shift * STEPS) << shift);
            return low + (double)((1ull << shift) - 1) / 2;
        }
    }
    return 0;
}

#endif
