/* client establish: connect, request, first event, close, again and again. */
#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct {
    int fd;
    bool connected;
    uint64_t began;
    unsigned long number;
    Reader reader;
} Visitor;

static struct {
    const Options *options;
    int epoll;
    Visitor *visitors;
    unsigned long begun;
    uint64_t established;
    Tally tally;
    Histogram latency;
    Window window;
    char buffer[READER_ROOM + RECEIVE_BYTES];
} all;

static void begin(long index)
{
    Visitor *visitor = &all.visitors[index];
    visitor->connected = false;
    visitor->number = all.begun++;
    visitor->began = now_ns();
    visitor->fd = connect_from(&all.options->address, (unsigned)visitor->number);
    if (visitor->fd < 0)
        die("connection %lu", visitor->number);
    reader_start(&visitor->reader);
    /* Over loopback the handshake is over when connect returns, even if it says otherwise. */
    visitor->connected = send_request(visitor->fd, all.options, visitor->number);
    epoll_set(all.epoll, EPOLL_CTL_ADD, visitor->fd, visitor->connected ? EPOLLIN : EPOLLOUT,
              (uint64_t)index);
}

static void leave(long index)
{
    Visitor *visitor = &all.visitors[index];
    reader_free(&visitor->reader);
    close(visitor->fd);
    begin(index);
}

static void on_ready(long index)
{
    Visitor *visitor = &all.visitors[index];
    if (!visitor->connected) {
        errno = connect_error(visitor->fd);
        if (errno != 0)
            die("connection %lu", visitor->number);
        visitor->connected = true;
        epoll_set(all.epoll, EPOLL_CTL_MOD, visitor->fd, EPOLLIN, (uint64_t)index);
        if (!send_request(visitor->fd, all.options, visitor->number))
            die("connection %lu takes no request", visitor->number);
        return;
    }
    char *data = all.buffer + READER_ROOM;
    ssize_t length = recv(visitor->fd, data, RECEIVE_BYTES, 0);
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (length <= 0) {
        all.tally.counts.cut++;
        leave(index);
        return;
    }
    uint64_t before = all.tally.counts.events, errors = counts_errors(&all.tally.counts);
    reader_feed(&visitor->reader, &all.tally, data, (size_t)length);
    if (all.tally.counts.events > before) {
        if (all.window.state == WINDOW_OPEN) {
            all.established++;
            histogram_add(&all.latency, now_ns() - visitor->began);
        }
        leave(index);
    } else if (counts_errors(&all.tally.counts) > errors) {
        leave(index);
    }
}

int run_establish(const Options *options)
{
    struct epoll_event ready[BATCH];
    all.options = options;
    all.epoll = epoll_create1(EPOLL_CLOEXEC);
    all.visitors = calloc((size_t)options->connections, sizeof *all.visitors);
    if (all.epoll < 0 || all.visitors == NULL)
        die("starting");
    announce("open");
    window_plan(&all.window, options);
    for (long i = 0; i < options->connections; i++)
        begin(i);
    while (all.window.state != WINDOW_OVER) {
        uint64_t now = now_ns();
        bool enough = options->events > 0 && all.established >= (uint64_t)options->events;
        window_moves(&all.window, now, enough);
        int n = epoll_wait(all.epoll, ready, BATCH, window_wait(&all.window, now));
        if (n < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < n; i++)
            on_ready((long)ready[i].data.u64);
    }
    printf("{\"mode\": \"establish\", \"connections\": %ld, \"established\": %lu, ",
           options->connections, all.established);
    print_window(&all.window);
    printf(", ");
    print_counts(&all.tally.counts);
    printf(", ");
    print_latency(&all.latency);
    printf("}\n");
    return 0;
}
