/* client streams: opens N streams, then counts and times what they receive. */
#include "client.h"

#include <errno.h>
#include <linux/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct {
    int fd; /* -1: closed */
    bool connected, answered;
    Reader reader;
} Stream;

static struct {
    const Options *options;
    int epoll;
    Stream *streams;
    long begun, connecting, answered, ended;
    Tally tally;
    Counts at_begin, at_end;
    char buffer[READER_ROOM + RECEIVE_BYTES];
} all;

enum { STDIN_MARK = CONNECTIONS_MAX };

static void begin_connects(void)
{
    while (all.begun < all.options->connections && all.connecting < OPENING_AT_ONCE) {
        Stream *stream = &all.streams[all.begun];
        stream->fd = connect_from(&all.options->address, (unsigned)all.begun);
        if (stream->fd < 0)
            die("connection %ld", all.begun);
        reader_start(&stream->reader);
        epoll_set(all.epoll, EPOLL_CTL_ADD, stream->fd, EPOLLOUT, (uint64_t)all.begun);
        all.begun++;
        all.connecting++;
    }
}

static void end_stream(Stream *stream)
{
    reader_end(&stream->reader, &all.tally);
    reader_free(&stream->reader);
    close(stream->fd);
    stream->fd = -1;
    all.ended++;
    if (!stream->answered) {
        stream->answered = true;
        all.answered++;
        all.connecting--;
    }
}

static void on_ready(long index)
{
    Stream *stream = &all.streams[index];
    if (stream->fd < 0)
        return;
    if (!stream->connected) {
        errno = connect_error(stream->fd);
        if (errno != 0)
            die("connection %ld", index);
        stream->connected = true;
        epoll_set(all.epoll, EPOLL_CTL_MOD, stream->fd, EPOLLIN, (uint64_t)index);
        if (!send_request(stream->fd, all.options, (unsigned long)index))
            die("connection %ld takes no request", index);
        return;
    }
    char *data = all.buffer + READER_ROOM;
    ssize_t length = recv(stream->fd, data, RECEIVE_BYTES, 0);
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (length <= 0) {
        end_stream(stream);
        return;
    }
    all.tally.now = now_ns();
    reader_feed(&stream->reader, &all.tally, data, (size_t)length);
    if (!stream->answered && stream->reader.phase != READ_HEAD) {
        stream->answered = true;
        all.answered++;
        all.connecting--;
    }
}

/* Waits once and serves what is ready; false when stdin has ended. */
static bool turn(int wait_ms)
{
    struct epoll_event ready[BATCH];
    bool go_on = true;
    int n = epoll_wait(all.epoll, ready, BATCH, wait_ms);
    if (n < 0 && errno != EINTR)
        die("epoll_wait");
    for (int i = 0; i < n; i++) {
        char byte;
        if (ready[i].data.u64 != STDIN_MARK)
            on_ready((long)ready[i].data.u64);
        else if (read(STDIN_FILENO, &byte, 1) <= 0)
            go_on = false;
    }
    return go_on;
}

/* What the kernel received in packets with data, over the lives of all streams: the wire. */
static uint64_t data_segments(void)
{
    uint64_t segments = 0;
    for (long i = 0; i < all.begun; i++) {
        struct tcp_info info;
        socklen_t length = sizeof info;
        memset(&info, 0, sizeof info);
        if (all.streams[i].fd >= 0 &&
            getsockopt(all.streams[i].fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0)
            segments += info.tcpi_data_segs_in;
    }
    return segments;
}

static Counts difference(const Counts *late, const Counts *early)
{
    /* Errors are of the whole run: one before the window spoils it as well. */
    Counts counts = *late;
    counts.wire_bytes -= early->wire_bytes;
    counts.data_bytes -= early->data_bytes;
    counts.events -= early->events;
    counts.comments -= early->comments;
    return counts;
}

/* Moves the window on, and takes the counts at its two ends; true at its end. */
static bool move_window(Window *window, uint64_t now)
{
    const Options *options = all.options;
    bool enough = options->events > 0 &&
                  all.tally.counts.events - all.at_begin.events >= (uint64_t)options->events;
    bool all_gone = all.ended == options->connections && options->warmup == 0;
    if (!window_moves(window, now, enough || all_gone))
        return false;
    if (window->state == WINDOW_OPEN) {
        all.at_begin = all.tally.counts;
        all.tally.recording = true;
        return false;
    }
    all.tally.recording = false;
    all.at_end = all.tally.counts;
    return true;
}

int run_streams(const Options *options)
{
    Window window;
    uint64_t segments = 0;
    all.options = options;
    all.epoll = epoll_create1(EPOLL_CLOEXEC);
    all.streams = calloc((size_t)options->connections, sizeof *all.streams);
    if (all.epoll < 0 || all.streams == NULL)
        die("starting");
    uint64_t start = now_ns(), deadline = start + (uint64_t)(options->open_timeout * 1e9);
    if (options->opening) {
        window_plan(&window, options);
        move_window(&window, now_ns());
    }
    while (all.answered < options->connections) {
        begin_connects();
        turn(100);
        if (now_ns() > deadline) {
            errno = 0;
            die("%ld of %ld streams were answered in %g s", all.answered, options->connections,
                options->open_timeout);
        }
    }
    double open_s = (double)(now_ns() - start) / 1e9;
    announce("open");

    if (options->hold)
        epoll_set(all.epoll, EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN, STDIN_MARK);
    if (!options->opening)
        window_plan(&window, options);
    for (bool go_on = true; go_on;) {
        uint64_t now = now_ns();
        if (move_window(&window, now))
            segments = data_segments();
        if (window.state == WINDOW_OVER && !options->hold)
            break;
        go_on = turn(window.state == WINDOW_OVER ? 100 : window_wait(&window, now));
    }
    if (window.state != WINDOW_OVER) /* stdin ended during it */
        all.at_end = all.tally.counts;
    Counts counts = difference(&all.at_end, &all.at_begin);
    printf("{\"mode\": \"streams\", \"streams\": %ld, \"open_s\": %.6f, \"ended\": %ld, ",
           options->connections, open_s, all.ended);
    print_window(&window);
    printf(", ");
    print_counts(&counts);
    printf(", \"life\": {\"events\": %lu, \"data_bytes\": %lu, \"wire_bytes\": %lu, "
           "\"comments\": %lu, \"segments\": %lu}, ",
           all.at_end.events, all.at_end.data_bytes, all.at_end.wire_bytes, all.at_end.comments,
           segments);
    print_latency(&all.tally.latency);
    printf("}\n");
    return 0;
}
