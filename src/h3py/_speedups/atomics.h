/* Atomic operations for the compiled core, named by what they order.
 *
 * Cython has no atomics of its own. These are the compiler's, which the thread
 * sanitizer understands (it does not understand fences, so none are used).
 */
#ifndef H3PY_ATOMICS_H
#define H3PY_ATOMICS_H

#include <stddef.h>
#include <stdint.h>

static inline int32_t atomic_add32(int32_t *at, int32_t n) {
    return __atomic_add_fetch(at, n, __ATOMIC_ACQ_REL);
}
static inline int32_t atomic_load32(const int32_t *at) {
    return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}
static inline void atomic_store32(int32_t *at, int32_t value) {
    __atomic_store_n(at, value, __ATOMIC_RELEASE);
}
/* Sets bits and returns what was there before. */
static inline int32_t atomic_or32(int32_t *at, int32_t bits) {
    return __atomic_fetch_or(at, bits, __ATOMIC_ACQ_REL);
}
static inline int32_t atomic_exchange32(int32_t *at, int32_t value) {
    return __atomic_exchange_n(at, value, __ATOMIC_ACQ_REL);
}
static inline int atomic_replace32(int32_t *at, int32_t expected, int32_t value) {
    return __atomic_compare_exchange_n(at, &expected, value, 0, __ATOMIC_ACQ_REL,
                                       __ATOMIC_ACQUIRE);
}
static inline int64_t atomic_add64(int64_t *at, int64_t n) {
    return __atomic_add_fetch(at, n, __ATOMIC_ACQ_REL);
}
static inline int64_t atomic_load64(const int64_t *at) {
    return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}
static inline void atomic_store64(int64_t *at, int64_t value) {
    __atomic_store_n(at, value, __ATOMIC_RELEASE);
}
/* Counters that order nothing. */
static inline int64_t counter_add64(int64_t *at, int64_t n) {
    return __atomic_add_fetch(at, n, __ATOMIC_RELAXED);
}
static inline int64_t counter_load64(const int64_t *at) {
    return __atomic_load_n(at, __ATOMIC_RELAXED);
}
static inline void counter_store64(int64_t *at, int64_t value) {
    __atomic_store_n(at, value, __ATOMIC_RELAXED);
}
static inline void counter_store32(uint32_t *at, uint32_t value) {
    __atomic_store_n(at, value, __ATOMIC_RELAXED);
}
static inline uint32_t counter_load32(const uint32_t *at) {
    return __atomic_load_n(at, __ATOMIC_RELAXED);
}
/* A size, and a byte, that one thread writes and others may look at. */
static inline void shown_store_size(size_t *at, size_t value) {
    __atomic_store_n(at, value, __ATOMIC_RELAXED);
}
static inline size_t shown_load_size(const size_t *at) {
    return __atomic_load_n(at, __ATOMIC_RELAXED);
}
static inline void shown_store8(uint8_t *at, uint8_t value) {
    __atomic_store_n(at, value, __ATOMIC_RELAXED);
}
static inline uint8_t shown_load8(const uint8_t *at) {
    return __atomic_load_n(at, __ATOMIC_RELAXED);
}
/* A stack of nodes whose first field is the link; pushed by any thread,
 * taken whole by one: no node is ever popped alone, so there is no ABA. */
static inline void atomic_push(void **head, void *node) {
    void *seen = __atomic_load_n(head, __ATOMIC_RELAXED);
    do {
        *(void **)node = seen;
    } while (!__atomic_compare_exchange_n(head, &seen, node, 1, __ATOMIC_RELEASE,
                                          __ATOMIC_RELAXED));
}
static inline void *atomic_take_all(void **head) {
    return __atomic_exchange_n(head, (void *)0, __ATOMIC_ACQUIRE);
}
static inline int atomic_is_empty(void **head) {
    return __atomic_load_n(head, __ATOMIC_ACQUIRE) == (void *)0;
}

#endif
