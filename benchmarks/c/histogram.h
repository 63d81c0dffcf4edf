/* Latencies in nanoseconds: 64 linear steps per power of two, so a quantile is right within 1.6 %. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>
#include <string.h>

struct histogram {
    uint64_t count;
    uint64_t buckets[64 * 64];
};

static inline uint32_t histogram_index(uint64_t value) {
    if (value < 64) return (uint32_t)value;
    uint32_t shift = 63 - 6 - (uint32_t)__builtin_clzll(value);
    return (shift + 1) * 64 + (uint32_t)(value >> shift & 63);
}

static inline void histogram_add(struct histogram *histogram, uint64_t value) {
    histogram->buckets[histogram_index(value)]++;
    histogram->count++;
}

static inline void histogram_clear(struct histogram *histogram) { memset(histogram, 0, sizeof *histogram); }

/* The lower edge of the bucket in which the quantile lies, in nanoseconds; 0 if nothing was recorded. */
static inline uint64_t histogram_quantile(const struct histogram *histogram, double quantile) {
    if (!histogram->count) return 0;
    uint64_t rank = (uint64_t)(quantile * (double)(histogram->count - 1)), seen = 0;
    for (uint32_t i = 0; i < 64 * 64; i++) {
        seen += histogram->buckets[i];
        if (seen > rank) return i < 64 ? i : (uint64_t)(64 + i % 64) << (i / 64 - 1);
    }
    return 0;
}

#endif
