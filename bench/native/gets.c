/* client get: keep-alive connections with one request each in flight, or so many per second. */
#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { ANSWER_MAX = 16 * 1024, TIMER_MARK = CONNECTIONS_MAX };

typedef struct {
    int fd;
    bool connected;
    uint64_t asked; /* when the request at hand was due; 0: none */
    size_t length;
    char answer[ANSWER_MAX];
} Asker;

static struct {
    const Options *options;
    int epoll, timer;
    Asker *askers;
    long *idle, idle_count; /* connections that wait for the timer */
    long connected;
    uint64_t first_due, given; /* with a rate: request k is due at first_due + k / rate */
    uint64_t due;
    uint64_t answers, wrong, closed;
    Histogram latency;
    Window window;
} all;

static void ask(long index, uint64_t due)
{
    Asker *asker = &all.askers[index];
    asker->asked = due;
    asker->length = 0;
    if (!send_request(asker->fd, all.options, (unsigned long)index))
        die("connection %ld takes no request", index);
}

/* Hands requests that are due to idle connections. Lateness counts: it is what a user would see. */
static void ask_due(void)
{
    while (all.idle_count > 0 && all.given < all.due) {
        uint64_t due = all.first_due + (uint64_t)((double)all.given * 1e9 / all.options->rate);
        all.given++;
        ask(all.idle[--all.idle_count], due);
    }
}

static void next_request(long index)
{
    if (all.timer < 0) {
        ask(index, now_ns());
    } else {
        all.idle[all.idle_count++] = index;
        ask_due();
    }
}

/* The length of the whole answer, 0 when its head is not complete, -1 when it is not what we expect. */
static ssize_t answer_length(const Asker *asker)
{
    const char *head = asker->answer;
    const char *blank = memmem(head, asker->length, "\r\n\r\n", 4);
    if (blank == NULL)
        return asker->length == ANSWER_MAX ? -1 : 0;
    if (strncmp(head, "HTTP/1.1 200 ", 13) != 0)
        return -1;
    for (const char *line = head; line < blank;) {
        line = (const char *)memchr(line, '\n', (size_t)(blank + 2 - line)) + 1;
        if (line < blank && strncasecmp(line, "content-length:", 15) == 0) {
            long body = strtol(line + 15, NULL, 10);
            if (body < 0 || body > ANSWER_MAX / 2 || (all.options->body >= 0 && body != all.options->body))
                return -1;
            return blank + 4 - head + body;
        }
    }
    return -1;
}

static void on_ready(long index)
{
    Asker *asker = &all.askers[index];
    if (asker->fd < 0)
        return;
    if (!asker->connected) {
        errno = connect_error(asker->fd);
        if (errno != 0)
            die("connection %ld", index);
        asker->connected = true;
        all.connected++;
        epoll_set(all.epoll, EPOLL_CTL_MOD, asker->fd, EPOLLIN, (uint64_t)index);
        return; /* the first request is sent when all are connected */
    }
    ssize_t got = recv(asker->fd, asker->answer + asker->length, ANSWER_MAX - asker->length, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        all.closed++;
        close(asker->fd);
        asker->fd = -1;
        return;
    }
    asker->length += (size_t)got;
    ssize_t whole = answer_length(asker);
    if (whole == 0 || (whole > 0 && asker->length < (size_t)whole))
        return;
    if (whole < 0 || asker->length > (size_t)whole || asker->asked == 0) {
        all.wrong++;
        close(asker->fd);
        asker->fd = -1;
        return;
    }
    if (all.window.state == WINDOW_OPEN) {
        all.answers++;
        histogram_add(&all.latency, now_ns() - asker->asked);
    }
    asker->asked = 0;
    next_request(index);
}

static void turn(int wait_ms)
{
    struct epoll_event ready[BATCH];
    int n = epoll_wait(all.epoll, ready, BATCH, wait_ms);
    if (n < 0 && errno != EINTR)
        die("epoll_wait");
    for (int i = 0; i < n; i++) {
        uint64_t expired;
        if (ready[i].data.u64 != TIMER_MARK)
            on_ready((long)ready[i].data.u64);
        else if (read(all.timer, &expired, sizeof expired) == sizeof expired) {
            all.due += expired;
            ask_due();
        }
    }
}

static void start_timer(double rate)
{
    uint64_t step = (uint64_t)(1e9 / rate);
    struct itimerspec times = {
        .it_value = {.tv_sec = 0, .tv_nsec = 1},
        .it_interval = {.tv_sec = (time_t)(step / 1000000000u), .tv_nsec = (long)(step % 1000000000u)},
    };
    all.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    all.first_due = now_ns();
    if (all.timer < 0 || timerfd_settime(all.timer, 0, &times, NULL) < 0)
        die("timer");
    epoll_set(all.epoll, EPOLL_CTL_ADD, all.timer, EPOLLIN, TIMER_MARK);
}

int run_gets(const Options *options)
{
    all.options = options;
    all.timer = -1;
    all.epoll = epoll_create1(EPOLL_CLOEXEC);
    all.askers = calloc((size_t)options->connections, sizeof *all.askers);
    all.idle = calloc((size_t)options->connections, sizeof *all.idle);
    if (all.epoll < 0 || all.askers == NULL || all.idle == NULL)
        die("starting");
    for (long i = 0; i < options->connections; i++) {
        all.askers[i].fd = connect_from(&options->address, (unsigned)i);
        if (all.askers[i].fd < 0)
            die("connection %ld", i);
        epoll_set(all.epoll, EPOLL_CTL_ADD, all.askers[i].fd, EPOLLOUT, (uint64_t)i);
    }
    uint64_t deadline = now_ns() + (uint64_t)(options->open_timeout * 1e9);
    while (all.connected < options->connections) {
        turn(100);
        errno = 0;
        if (now_ns() > deadline)
            die("only %ld connections in %g s", all.connected, options->open_timeout);
    }
    announce("open");
    if (options->rate > 0)
        start_timer(options->rate);
    for (long i = 0; i < options->connections; i++)
        next_request(i);

    window_plan(&all.window, options);
    while (all.window.state != WINDOW_OVER) {
        uint64_t now = now_ns();
        bool enough = options->events > 0 && all.answers >= (uint64_t)options->events;
        bool none_left = all.closed + all.wrong == (uint64_t)options->connections;
        window_moves(&all.window, now, enough || none_left);
        if (all.window.state != WINDOW_OVER)
            turn(none_left ? 0 : window_wait(&all.window, now));
    }
    printf("{\"mode\": \"get\", \"connections\": %ld, ", options->connections);
    print_window(&all.window);
    printf(", \"requests\": %lu, \"errors\": %lu, \"wrong\": %lu, \"closed\": %lu, ", all.answers,
           all.wrong + all.closed, all.wrong, all.closed);
    print_latency(&all.latency);
    printf("}\n");
    return 0;
}
