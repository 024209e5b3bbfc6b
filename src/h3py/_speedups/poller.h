/* Waiting for descriptors: epoll, or kqueue where there is no epoll.
 *
 * A registration carries a handle (index and generation), never a pointer: an event
 * may come for a connection that has ended meanwhile. Everything is level-triggered,
 * but WAIT_ONCE, which is off after its first event. Any thread may register and
 * wake; one thread waits.
 */
#ifndef H3PY_POLLER_H
#define H3PY_POLLER_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

enum {
    WAIT_IN = 1,
    WAIT_OUT = 2,
    WAIT_FIN = 4,   /* the peer has ended its side */
    WAIT_GONE = 8,  /* both sides are down, or an error: always reported */
    WAIT_ONCE = 16, /* interest only */
    WAIT_BATCH = 256
};

/* No connection has this handle: its generation is 0. */
#define WAIT_WAKE_HANDLE 0u

typedef struct {
    uint64_t handle;
    int32_t what;
} PollEvent;

#ifdef __linux__
#include <sys/epoll.h>
#include <sys/eventfd.h>

typedef struct {
    int fd;
    int wake_fd;
} Poller;

static inline int poller_new(Poller *poller) {
    struct epoll_event event = {0};
    poller->fd = epoll_create1(EPOLL_CLOEXEC);
    poller->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    /* Edge-triggered, so that it needs no reading: every write is an edge. */
    event.events = EPOLLIN | EPOLLET;
    event.data.u64 = WAIT_WAKE_HANDLE;
    if (poller->fd >= 0 && poller->wake_fd >= 0 &&
        epoll_ctl(poller->fd, EPOLL_CTL_ADD, poller->wake_fd, &event) == 0)
        return 0;
    int error = errno;
    if (poller->fd >= 0)
        close(poller->fd);
    if (poller->wake_fd >= 0)
        close(poller->wake_fd);
    poller->fd = poller->wake_fd = -1;
    return error;
}

static inline void poller_free(Poller *poller) {
    if (poller->fd >= 0) {
        close(poller->fd);
        close(poller->wake_fd);
    }
    poller->fd = poller->wake_fd = -1;
}

static inline int poller_control(Poller *poller, int operation, int fd, int interest,
                                 uint64_t handle) {
    struct epoll_event event = {0};
    event.events = ((interest & WAIT_IN) ? EPOLLIN : 0) | ((interest & WAIT_OUT) ? EPOLLOUT : 0) |
                   ((interest & WAIT_FIN) ? EPOLLRDHUP : 0) |
                   ((interest & WAIT_ONCE) ? EPOLLONESHOT : 0);
    event.data.u64 = handle;
    return epoll_ctl(poller->fd, operation, fd, &event) == 0 ? 0 : errno;
}

static inline int poller_add(Poller *poller, int fd, int interest, uint64_t handle) {
    return poller_control(poller, EPOLL_CTL_ADD, fd, interest, handle);
}
static inline int poller_change(Poller *poller, int fd, int before, int interest,
                                uint64_t handle) {
    (void)before;
    return poller_control(poller, EPOLL_CTL_MOD, fd, interest, handle);
}
static inline void poller_remove(Poller *poller, int fd, int before) {
    (void)before;
    poller_control(poller, EPOLL_CTL_DEL, fd, 0, 0);
}

static inline int poller_wait(Poller *poller, PollEvent *out, int64_t timeout_ms) {
    struct epoll_event events[WAIT_BATCH];
    int i, count;
    if (timeout_ms > 3600000)
        timeout_ms = 3600000;
    count = epoll_wait(poller->fd, events, WAIT_BATCH, (int)timeout_ms);
    for (i = 0; i < count; i++) {
        uint32_t seen = events[i].events;
        out[i].handle = events[i].data.u64;
        out[i].what = ((seen & EPOLLIN) ? WAIT_IN : 0) | ((seen & EPOLLOUT) ? WAIT_OUT : 0) |
                      ((seen & EPOLLRDHUP) ? WAIT_FIN : 0) |
                      ((seen & (EPOLLHUP | EPOLLERR)) ? WAIT_GONE : 0);
    }
    return count < 0 ? 0 : count;
}

static inline void poller_wake(Poller *poller) {
    uint64_t one = 1;
    if (poller->fd < 0)
        return;
    ssize_t ignored = write(poller->wake_fd, &one, sizeof one);
    (void)ignored; /* EAGAIN: a wake-up is waiting already */
}

#else
#include <sys/event.h>
#include <sys/socket.h>
#include <sys/time.h>

typedef struct {
    int fd;
    int wake_fd;
} Poller;

static inline int poller_filter(Poller *poller, int fd, int16_t filter, uint16_t flags,
                                uint64_t handle) {
    struct kevent change;
    EV_SET(&change, (uintptr_t)fd, filter, flags, 0, 0, (void *)(uintptr_t)handle);
    return kevent(poller->fd, &change, 1, NULL, 0, NULL) < 0 ? errno : 0;
}

static inline int poller_new(Poller *poller) {
    poller->fd = kqueue();
    poller->wake_fd = -1;
    if (poller->fd < 0)
        return errno;
    fcntl(poller->fd, F_SETFD, FD_CLOEXEC);
    struct kevent change;
    EV_SET(&change, 0, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, (void *)0);
    if (kevent(poller->fd, &change, 1, NULL, 0, NULL) == 0)
        return 0;
    int error = errno;
    close(poller->fd);
    poller->fd = -1;
    return error;
}

static inline void poller_free(Poller *poller) {
    if (poller->fd >= 0)
        close(poller->fd);
    poller->fd = -1;
}

static inline int poller_change(Poller *poller, int fd, int before, int interest,
                                uint64_t handle) {
    int reading = WAIT_IN | WAIT_FIN;
    uint16_t once = (interest & WAIT_ONCE) ? EV_ONESHOT : 0;
    int error = 0;
    /* Without input of interest the read filter still tells of the peer's end: EV_CLEAR
     * keeps it from being told again and again. */
    if (interest & reading)
        error = poller_filter(poller, fd, EVFILT_READ, EV_ADD | EV_CLEAR | once, handle);
    else if (before & reading)
        poller_filter(poller, fd, EVFILT_READ, EV_DELETE, handle);
    if (error)
        return error;
    if (interest & WAIT_OUT)
        error = poller_filter(poller, fd, EVFILT_WRITE, EV_ADD | once, handle);
    else if (before & WAIT_OUT)
        poller_filter(poller, fd, EVFILT_WRITE, EV_DELETE, handle);
    return error;
}
static inline int poller_add(Poller *poller, int fd, int interest, uint64_t handle) {
#ifdef SO_NOSIGPIPE
    int on = 1; /* here a send cannot ask for it by a flag */
    setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
    return poller_change(poller, fd, 0, interest, handle);
}
static inline void poller_remove(Poller *poller, int fd, int before) {
    poller_change(poller, fd, before, 0, 0);
}

static inline int poller_wait(Poller *poller, PollEvent *out, int64_t timeout_ms) {
    struct kevent events[WAIT_BATCH];
    struct timespec timeout = {(time_t)(timeout_ms / 1000), (long)(timeout_ms % 1000) * 1000000};
    int i, count;
    count = kevent(poller->fd, NULL, 0, events, WAIT_BATCH, timeout_ms < 0 ? NULL : &timeout);
    for (i = 0; i < count; i++) {
        int what = 0;
        if (events[i].filter == EVFILT_READ) {
            what |= events[i].data > 0 ? WAIT_IN : 0;
            if (events[i].flags & EV_EOF)
                what |= WAIT_FIN | (events[i].fflags ? WAIT_GONE : 0);
        } else if (events[i].filter == EVFILT_WRITE) {
            what |= (events[i].flags & EV_EOF) ? WAIT_GONE : WAIT_OUT;
        }
        out[i].handle = (uint64_t)(uintptr_t)events[i].udata;
        out[i].what = what;
    }
    return count < 0 ? 0 : count;
}

static inline void poller_wake(Poller *poller) {
    struct kevent change;
    if (poller->fd < 0)
        return;
    EV_SET(&change, 0, EVFILT_USER, 0, NOTE_TRIGGER, 0, (void *)0);
    kevent(poller->fd, &change, 1, NULL, 0, NULL);
}
#endif

/* A descriptor that is readable while it has been rung: an eventfd, or a pipe. */
typedef struct {
    int read_fd;
    int write_fd;
} Bell;

static inline int bell_new(Bell *bell) {
#ifdef __linux__
    bell->read_fd = bell->write_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return bell->read_fd < 0 ? errno : 0;
#else
    int ends[2];
    if (pipe(ends) < 0) {
        bell->read_fd = bell->write_fd = -1;
        return errno;
    }
    for (int i = 0; i < 2; i++) {
        fcntl(ends[i], F_SETFD, FD_CLOEXEC);
        fcntl(ends[i], F_SETFL, O_NONBLOCK);
    }
    bell->read_fd = ends[0];
    bell->write_fd = ends[1];
    return 0;
#endif
}

static inline void bell_free(Bell *bell) {
    if (bell->write_fd >= 0 && bell->write_fd != bell->read_fd)
        close(bell->write_fd);
    if (bell->read_fd >= 0)
        close(bell->read_fd);
    bell->read_fd = bell->write_fd = -1;
}

static inline void bell_ring(Bell *bell) {
    uint64_t one = 1;
    ssize_t ignored = write(bell->write_fd, &one, sizeof one);
    (void)ignored; /* full: it rings already */
}

static inline void bell_clear(Bell *bell) {
    uint64_t seen[32];
    while (read(bell->read_fd, seen, sizeof seen) == (ssize_t)sizeof seen) {
    }
}

#endif
