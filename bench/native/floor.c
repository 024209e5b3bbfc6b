/*
 * The floor: the plainest epoll server there is, against which everything is measured.
 *
 * One send() per event and connection (or --gather events per send, as a line of
 * reference), nothing formatted while sending, no timeouts, no limits. It serves
 *
 *   GET /plain...   13 bytes, keep-alive
 *   GET /first...   a stream with one event, which then stays open
 *   GET /...        a stream that receives every event from the time it joins
 *
 * All streams read one endless sequence of events. Since all events are equally
 * long on the wire, that sequence is a ring of bytes and a stream is one number in
 * it: the next byte to send. A tick (--rate) moves the head on; a stream sends until
 * it is there. Flat out (--rate 0) there is no head: each stream sends as fast as its
 * socket takes it, in turns.
 *
 *   floor --port 0 --size 100 --rate 0 --gather 1 --streams 1000
 *
 * prints {"port": N} and begins to send when --streams of them have joined. It serves
 * until SIGTERM, or the limit of --max-seconds.
 */
#include "common.h"
#include "event.h"

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
    FLAT_EVENTS = 64,   /* the ring, flat out: small enough to stay in the cache */
    TICK_EVENTS = 1024, /* the ring, with ticks: a stream that lags further is dropped */
    BATCH = 512,
    TURNS = 64, /* flat out: sends between two looks at epoll */
    FD_MAX = 20000,
};
enum { LISTENER = FD_MAX, TIMER }; /* marks in epoll's data; below them: a descriptor */

typedef struct {
    bool open, streaming, blocked;
    unsigned char ends; /* how much of "\r\n\r\n" has been read */
    unsigned char path_length;
    char path[6];     /* "/plain", "/first" or what else follows "GET " */
    uint64_t sent_to; /* a stream: the next byte of the sequence */
} Peer;

static struct {
    long size, gather, streams, joined;
    double rate;
    int epoll, listener, timer;
    bool running;
    Peer peers[FD_MAX];
    int order[FD_MAX]; /* the streams, by descriptor */
    char *ring;
    size_t event_bytes, ring_events, ring_bytes;
    uint64_t head; /* with ticks: bytes of the sequence that are there to be sent */
} all;

static const char STREAM_HEAD[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                                  "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
static const char PLAIN[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                            "Content-Length: 13\r\n\r\nHello, world!";

/* One event as a chunk; returns its bytes. All events of a run are equally long. */
static size_t put_event(char *out, uint32_t sequence, uint32_t modulus, uint64_t time_ns)
{
    size_t size = (size_t)all.size;
    char *at = out + sprintf(out, "%zx\r\ndata: ", size + 8);
    event_write(at, size, sequence, modulus, time_ns);
    memcpy(at + size, "\n\n\r\n", 4);
    return (size_t)(at - out) + size + 4;
}

static void make_ring(void)
{
    all.ring_events = all.rate > 0 ? TICK_EVENTS : FLAT_EVENTS;
    all.ring = malloc(all.ring_events * ((size_t)all.size + 32));
    if (all.ring == NULL)
        die("no memory for the ring");
    all.event_bytes = put_event(all.ring, 0, FLAT_EVENTS, 0);
    all.ring_bytes = all.ring_events * all.event_bytes;
    for (uint32_t i = 1; all.rate <= 0 && i < all.ring_events; i++)
        put_event(all.ring + i * all.event_bytes, i, FLAT_EVENTS, 0);
}

static void drop(int fd)
{
    Peer *peer = &all.peers[fd];
    if (peer->streaming) {
        long i = 0;
        while (all.order[i] != fd)
            i++;
        all.order[i] = all.order[--all.joined];
    }
    peer->open = false;
    close(fd);
}

/* Sends up to the next boundary (an event, or --gather of them). False: no more for now. */
static bool send_some(int fd)
{
    Peer *peer = &all.peers[fd];
    size_t unit = all.event_bytes * (size_t)all.gather;
    size_t offset = (size_t)(peer->sent_to % all.ring_bytes);
    ssize_t sent = send(fd, all.ring + offset, unit - offset % unit, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
        peer->sent_to += (uint64_t)sent;
        return true;
    }
    if (errno == EAGAIN) {
        peer->blocked = true;
        epoll_set(all.epoll, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLOUT, (uint64_t)fd);
    } else {
        drop(fd);
    }
    return false;
}

static void catch_up(int fd)
{
    Peer *peer = &all.peers[fd];
    if (all.head - peer->sent_to > all.ring_bytes) {
        drop(fd);
        return;
    }
    while (peer->sent_to < all.head && send_some(fd))
        continue;
}

static void tick(uint64_t count)
{
    for (; count > 0; count--) {
        static uint32_t sequence;
        put_event(all.ring + all.head % all.ring_bytes, sequence, 0, now_ns());
        all.head += all.event_bytes;
        sequence = (sequence + 1) % SEQUENCE_WRAP;
        for (long i = all.joined; i-- > 0;) /* backwards: a drop moves the last one down */
            if (!all.peers[all.order[i]].blocked)
                catch_up(all.order[i]);
    }
}

static void run_flat(void)
{
    long turns = all.joined == 0 ? 0 : all.joined < TURNS ? TURNS / all.joined : 1;
    for (; turns > 0; turns--)
        for (long i = all.joined; i-- > 0;)
            if (!all.peers[all.order[i]].blocked)
                send_some(all.order[i]);
}

static void start_when_all_are_here(void)
{
    if (all.running || all.joined < all.streams)
        return;
    all.running = true;
    if (all.rate > 0) {
        uint64_t step = (uint64_t)(1e9 / all.rate);
        struct timespec every = {.tv_sec = (time_t)(step / 1000000000u),
                                 .tv_nsec = (long)(step % 1000000000u)};
        struct itimerspec times = {.it_value = every, .it_interval = every};
        if (timerfd_settime(all.timer, 0, &times, NULL) < 0)
            die("timerfd_settime");
    }
}

/* False when the peer was dropped. */
static bool answer(int fd)
{
    Peer *peer = &all.peers[fd];
    if (memcmp(peer->path, "/plain", 6) == 0) {
        if (send(fd, PLAIN, sizeof PLAIN - 1, MSG_NOSIGNAL) != sizeof PLAIN - 1) {
            drop(fd);
            return false;
        }
        return true;
    }
    if (peer->streaming)
        return true;
    char reply[sizeof STREAM_HEAD + EVENT_MAX + 32];
    size_t length = sizeof STREAM_HEAD - 1;
    bool first = memcmp(peer->path, "/first", 6) == 0;
    memcpy(reply, STREAM_HEAD, length);
    if (first)
        length += put_event(reply + length, 0, 0, 0);
    if (send(fd, reply, length, MSG_NOSIGNAL) != (ssize_t)length) {
        drop(fd);
        return false;
    }
    if (!first) {
        peer->streaming = true;
        peer->sent_to = all.head;
        all.order[all.joined++] = fd;
        start_when_all_are_here();
    }
    return true;
}

static void on_readable(int fd)
{
    static const char END[] = "\r\n\r\n";
    Peer *peer = &all.peers[fd];
    char bytes[4096];
    ssize_t length = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (length == 0 || (length < 0 && errno != EAGAIN)) {
        drop(fd);
        return;
    }
    for (ssize_t i = 0; i < length; i++) {
        /* The first bytes of a request are "GET /path": keep what tells the paths apart. */
        if (peer->path_length < 4 + 6) {
            if (peer->path_length >= 4)
                peer->path[peer->path_length - 4] = bytes[i];
            peer->path_length++;
        }
        peer->ends = bytes[i] == END[peer->ends] ? peer->ends + 1 : bytes[i] == '\r';
        if (peer->ends == 4) {
            peer->ends = peer->path_length = 0;
            if (!answer(fd))
                return;
        }
    }
}

static void on_connection(void)
{
    for (;;) {
        int fd = accept4(all.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EAGAIN || errno == ECONNABORTED))
            return;
        if (fd < 0 || fd >= FD_MAX)
            die("accept");
        /* TCP_NODELAY is inherited from the listener. */
        all.peers[fd] = (Peer){.open = true};
        epoll_set(all.epoll, EPOLL_CTL_ADD, fd, EPOLLIN, (uint64_t)fd);
    }
}

static void serve_ready(int wait_ms)
{
    struct epoll_event ready[BATCH];
    int n = epoll_wait(all.epoll, ready, BATCH, wait_ms);
    if (n < 0 && errno != EINTR)
        die("epoll_wait");
    for (int i = 0; i < n; i++) {
        uint64_t mark = ready[i].data.u64, expired;
        int fd = (int)mark;
        if (mark == LISTENER) {
            on_connection();
        } else if (mark == TIMER) {
            if (read(all.timer, &expired, sizeof expired) == sizeof expired)
                tick(expired);
        } else if (all.peers[fd].open) {
            if (ready[i].events & EPOLLOUT) {
                all.peers[fd].blocked = false;
                epoll_set(all.epoll, EPOLL_CTL_MOD, fd, EPOLLIN, (uint64_t)fd);
                if (all.rate > 0)
                    catch_up(fd);
            }
            if (all.peers[fd].open && (ready[i].events & ~(uint32_t)EPOLLOUT))
                on_readable(fd);
        }
    }
}

static bool any_unblocked(void)
{
    for (long i = 0; i < all.joined; i++)
        if (!all.peers[all.order[i]].blocked)
            return true;
    return false;
}

int main(int argc, char **argv)
{
    static const struct option known[] = {
        {"port", required_argument, NULL, 'p'},    {"size", required_argument, NULL, 's'},
        {"rate", required_argument, NULL, 'r'},    {"gather", required_argument, NULL, 'g'},
        {"streams", required_argument, NULL, 'n'}, {"max-seconds", required_argument, NULL, 'm'},
        {NULL, 0, NULL, 0},
    };
    long port = 0, limit = 900;
    all.size = 100;
    all.gather = all.streams = 1;
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (c) {
        case 'p': port = number("--port", optarg, 0, 65535); break;
        case 's': all.size = number("--size", optarg, EVENT_HEAD, EVENT_MAX); break;
        case 'r': all.rate = decimal("--rate", optarg, 0, 100000); break;
        case 'g': all.gather = number("--gather", optarg, 1, FLAT_EVENTS); break;
        case 'n': all.streams = number("--streams", optarg, 1, FD_MAX); break;
        case 'm': limit = number("--max-seconds", optarg, 1, 86400); break;
        default: exit(1);
        }
    }
    errno = 0;
    if (FLAT_EVENTS % all.gather != 0)
        die("--gather must divide %d", FLAT_EVENTS);
    if (all.gather > 1 && all.rate > 0)
        die("--gather is for flat out (--rate 0)");
    event_init();
    make_ring();
    struct sockaddr_in address = loopback("127.0.0.1", port);
    all.listener = listen_on(&address);
    all.epoll = epoll_create1(EPOLL_CLOEXEC);
    all.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (all.epoll < 0 || all.timer < 0)
        die("starting");
    epoll_set(all.epoll, EPOLL_CTL_ADD, all.listener, EPOLLIN, LISTENER);
    epoll_set(all.epoll, EPOLL_CTL_ADD, all.timer, EPOLLIN, TIMER);
    printf("{\"port\": %d}\n", port_of(all.listener));
    fflush(stdout);
    alarm((unsigned)limit);
    for (;;) {
        bool busy = all.running && all.rate <= 0 && any_unblocked();
        serve_ready(busy ? 0 : -1);
        if (all.running && all.rate <= 0)
            run_flat();
    }
}
