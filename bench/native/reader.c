#include "reader.h"

#include "common.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { HEAD_MAX = 16 * 1024 };

void reader_start(Reader *reader)
{
    memset(reader, 0, sizeof *reader);
}

void reader_free(Reader *reader)
{
    free(reader->kept);
    reader_start(reader);
}

uint64_t counts_errors(const Counts *c)
{
    return c->lost + c->repeated + c->torn + c->resets + c->refused + c->cut;
}

static void keep(Reader *reader, const char *data, size_t length)
{
    if (length > reader->kept_room) {
        free(reader->kept);
        reader->kept = malloc(length);
        reader->kept_room = length;
        if (reader->kept == NULL)
            die("no memory for %zu bytes of an event", length);
    }
    if (length > 0)
        memcpy(reader->kept, data, length);
    reader->kept_length = length;
}

static bool starts_with(const char *line, size_t length, const char *prefix, size_t prefix_length)
{
    return length >= prefix_length && memcmp(line, prefix, prefix_length) == 0;
}
#define STARTS(line, length, prefix) starts_with(line, length, prefix, sizeof(prefix) - 1)

/* The value of a field line: after the colon and, where it stands, one space. */
static const char *value_of(const char *line, size_t *length)
{
    const char *value = (const char *)memchr(line, ':', *length) + 1;
    *length -= (size_t)(value - line);
    if (*length > 0 && *value == ' ') {
        value++;
        --*length;
    }
    return value;
}

static void count_event(Reader *reader, Tally *tally, const char *data, size_t length)
{
    Counts *counts = &tally->counts;
    EventHead head;
    if (!event_read(data, length, &head)) {
        counts->torn++;
        return;
    }
    counts->events++;
    counts->data_bytes += length;
    if (reader->started && head.sequence != reader->expected) {
        /* Which of the two it was is seen by the shorter way round the circle. */
        uint32_t ahead = (head.sequence + head.modulus - reader->expected) % head.modulus;
        if (ahead <= head.modulus / 2)
            counts->lost += ahead;
        else
            counts->repeated++;
    }
    reader->started = true;
    reader->expected = head.sequence + 1 == head.modulus ? 0 : head.sequence + 1;
    if (tally->recording && head.time_ns != 0)
        histogram_add(&tally->latency, (tally->now % TIME_WRAP + TIME_WRAP - head.time_ns) % TIME_WRAP);
}

/* Reads whole events; returns where the first incomplete one begins. */
static const char *read_events(Reader *reader, Tally *tally, const char *at, const char *end)
{
    const char *begin = at, *data = NULL, *line_end;
    size_t data_length = 0;
    unsigned data_lines = 0, comments = 0, unknown = 0;
    bool named = false, reset = false;
    while (at < end && (line_end = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        const char *line = at;
        size_t length = (size_t)(line_end - line);
        at = line_end + 1;
        if (length > 0 && line[length - 1] == '\r')
            length--;
        if (length > 0) {
            if (STARTS(line, length, "data:")) {
                data_lines++;
                data_length = length;
                data = value_of(line, &data_length);
            } else if (STARTS(line, length, "event:")) {
                named = true;
                reset = memmem(line, length, "h3py:", 5) != NULL;
            } else if (line[0] == ':') {
                comments++;
            } else if (!STARTS(line, length, "id:") && !STARTS(line, length, "retry:")) {
                unknown++;
            }
            continue;
        }
        tally->counts.comments += comments;
        tally->counts.named += named;
        if (unknown > 0)
            tally->counts.torn++;
        else if (reset)
            tally->counts.resets++;
        else if (data_lines == 1)
            count_event(reader, tally, data, data_length);
        else if (data_lines > 1)
            tally->counts.torn++;
        begin = at;
        data_lines = comments = unknown = 0;
        named = reset = false;
    }
    return begin;
}

/* Takes the chunk framing out, in place; returns how many bytes of the stream remain. */
static size_t unchunk(Reader *reader, char *data, size_t length)
{
    char *out = data;
    const char *in = data, *end = data + length;
    while (in < end && reader->phase != READ_FAILED) {
        if (reader->phase == READ_CHUNK) {
            size_t have = (size_t)(end - in);
            size_t take = have < reader->chunk_left ? have : (size_t)reader->chunk_left;
            memmove(out, in, take);
            out += take;
            in += take;
            reader->chunk_left -= take;
            if (reader->chunk_left == 0)
                reader->phase = READ_CHUNK_CR;
            continue;
        }
        char c = *in++;
        ReaderPhase next = READ_FAILED;
        switch (reader->phase) {
        case READ_SIZE:
            if (c == '\r' && reader->sized) {
                next = READ_SIZE_LF;
            } else if (reader->extended || (c == ';' && reader->sized)) {
                reader->extended = true;
                next = READ_SIZE;
            } else {
                int digit = c >= '0' && c <= '9'   ? c - '0'
                            : c >= 'a' && c <= 'f' ? c - 'a' + 10
                            : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                   : -1;
                if (digit >= 0 && reader->chunk_left < (1ull << 40)) {
                    reader->chunk_left = reader->chunk_left * 16 + (uint64_t)digit;
                    reader->sized = true;
                    next = READ_SIZE;
                }
            }
            break;
        case READ_SIZE_LF:
            if (c == '\n')
                next = reader->chunk_left > 0 ? READ_CHUNK : READ_LAST_CR;
            break;
        case READ_CHUNK_CR:
            if (c == '\r')
                next = READ_CHUNK_LF;
            break;
        case READ_CHUNK_LF:
            if (c == '\n') {
                reader->sized = reader->extended = false;
                next = READ_SIZE;
            }
            break;
        case READ_LAST_CR:
            if (c == '\r')
                next = READ_LAST_LF;
            break;
        case READ_LAST_LF:
            if (c == '\n')
                next = READ_ENDED;
            break;
        default: /* a byte after the end */
            break;
        }
        reader->phase = next;
    }
    return (size_t)(out - data);
}

/* Whether the head says 200 and an event stream; sets the phase that follows it. */
static bool read_head(Reader *reader, const char *head, const char *end)
{
    bool stream = false, chunked = false;
    if (!STARTS(head, (size_t)(end - head), "HTTP/1.1 200 "))
        return false;
    for (const char *line = memchr(head, '\n', (size_t)(end - head)); line != NULL && ++line < end;
         line = memchr(line, '\n', (size_t)(end - line))) {
        if (strncasecmp(line, "content-type: text/event-stream", 31) == 0)
            stream = true;
        else if (strncasecmp(line, "transfer-encoding: chunked", 26) == 0)
            chunked = true;
    }
    reader->phase = chunked ? READ_SIZE : READ_PLAIN;
    return stream;
}

void reader_feed(Reader *reader, Tally *tally, char *data, size_t length)
{
    char *end = data + length;
    tally->counts.wire_bytes += length;
    if (reader->phase == READ_FAILED)
        return; /* counted when it failed */
    if (reader->phase == READ_HEAD) {
        data -= reader->kept_length;
        if (reader->kept_length > 0)
            memcpy(data, reader->kept, reader->kept_length);
        char *blank = memmem(data, (size_t)(end - data), "\r\n\r\n", 4);
        if (blank == NULL && end - data < HEAD_MAX) {
            keep(reader, data, (size_t)(end - data));
            return;
        }
        reader->kept_length = 0;
        if (blank == NULL || !read_head(reader, data, blank + 2)) {
            tally->counts.refused++;
            reader->phase = READ_FAILED;
            return;
        }
        data = blank + 4;
        length = (size_t)(end - data);
    }
    if (reader->phase != READ_PLAIN)
        length = unchunk(reader, data, length);
    end = data + length;
    data -= reader->kept_length;
    if (reader->kept_length > 0)
        memcpy(data, reader->kept, reader->kept_length);
    const char *rest = read_events(reader, tally, data, end);
    if (end - rest > READER_ROOM)
        reader->phase = READ_FAILED;
    if (reader->phase == READ_FAILED)
        tally->counts.torn++;
    else
        keep(reader, rest, (size_t)(end - rest));
}

void reader_end(Reader *reader, Tally *tally)
{
    bool clean = reader->phase == READ_ENDED || reader->phase == READ_PLAIN;
    if (reader->phase != READ_FAILED && (!clean || reader->kept_length > 0))
        tally->counts.cut++;
    reader->phase = READ_FAILED;
}
