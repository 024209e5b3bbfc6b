/*
 * Reads one answered stream: HTTP/1.1 head, chunks, server-sent events, benchmark data.
 *
 * Fed with bytes as they come, in any portions; checks every one of them and
 * counts. Knows no socket. The bytes of an event that is not whole yet are kept
 * by the reader, so an idle or well-fed stream keeps nothing.
 */
#ifndef BENCH_READER_H
#define BENCH_READER_H

#include "event.h"
#include "histogram.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Free bytes that must lie before the data handed to reader_feed: what was kept goes there. */
enum { READER_ROOM = EVENT_MAX + 64 * 1024 };

typedef struct {
    uint64_t wire_bytes; /* all that arrived, HTTP included */
    uint64_t data_bytes; /* the events' data alone */
    uint64_t events;     /* whole and right ones, in sequence or not */
    uint64_t comments, named;
    /* Errors. Lost counts events, the others count occurrences. */
    uint64_t lost, repeated, torn, resets, refused, cut;
} Counts;

typedef struct {
    Counts counts;
    Histogram latency;
    uint64_t now;   /* when the bytes at hand were received */
    bool recording; /* whether latencies are taken */
} Tally;

typedef enum {
    READ_HEAD,
    READ_SIZE,
    READ_SIZE_LF,
    READ_CHUNK,
    READ_CHUNK_CR,
    READ_CHUNK_LF,
    READ_LAST_CR,
    READ_LAST_LF,
    READ_PLAIN, /* not chunked: events until the connection ends */
    READ_ENDED, /* the last chunk has been seen */
    READ_FAILED,
} ReaderPhase;

typedef struct {
    ReaderPhase phase;
    bool sized;    /* a digit of the chunk size has been seen */
    bool extended; /* in the extension after it */
    bool started;  /* an event has been seen: `expected` holds */
    uint32_t expected;
    uint64_t chunk_left;
    char *kept;
    size_t kept_length, kept_room;
} Reader;

void reader_start(Reader *reader);
void reader_free(Reader *reader);

/* Takes `length` bytes. `data` is overwritten, and so are READER_ROOM bytes before it. */
void reader_feed(Reader *reader, Tally *tally, char *data, size_t length);

/* The peer has closed: `cut` is counted unless that was between events, or after the last chunk. */
void reader_end(Reader *reader, Tally *tally);

uint64_t counts_errors(const Counts *counts);

#endif
