/*
 * The data of a benchmark event: what floor, client and the Python servers agree on.
 *
 *   SSSSSSSS MMMMMMMM TTTTTTTTTTTTTTTT LLLLLLLL pattern...
 *
 *   S  sequence of the event in its stream, 8 digits
 *   M  where the sequence wraps to 0, 8 digits; 00000000 means 10^8
 *   T  CLOCK_MONOTONIC in nanoseconds modulo 10^16 when it was sent; 0: not stamped
 *   L  length of the whole data in bytes
 *
 * and then L - 44 bytes of a pattern that starts at S modulo 64. Every byte of an
 * event is thus known to whoever reads its first 44: a lost, doubled, torn or
 * foreign byte is seen by one memcmp, at the speed of memory.
 * bench/payload.py is the same in Python; tests/bench holds the two together.
 */
#ifndef BENCH_EVENT_H
#define BENCH_EVENT_H

#include <stddef.h>
#include <stdint.h>

enum {
    EVENT_HEAD = 44,          /* digits and spaces before the pattern */
    EVENT_MAX = 1024 * 1024,  /* largest data, bytes */
};

#define SEQUENCE_WRAP 100000000u
#define TIME_WRAP 10000000000000000ull

typedef struct {
    uint32_t sequence;
    uint32_t modulus; /* never 0 */
    uint64_t time_ns; /* 0: not stamped */
} EventHead;

/* Must be called once before the two below. */
void event_init(void);

/* Writes `length` bytes of data (EVENT_HEAD to EVENT_MAX). `modulus` 0 means SEQUENCE_WRAP. */
void event_write(char *out, size_t length, uint32_t sequence, uint32_t modulus, uint64_t time_ns);

/* 1 and the head when these bytes are exactly one event's data; 0 when anything is wrong. */
int event_read(const char *data, size_t length, EventHead *head);

#endif
