/* The load client's modes and what they share. */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include "common.h"
#include "reader.h"

enum {
    CONNECTIONS_MAX = 15000,
    OPENING_AT_ONCE = 128, /* connects in flight: more would overflow a backlog */
    RECEIVE_BYTES = 256 * 1024,
    BATCH = 512, /* epoll events taken at once */
    REQUEST_MAX = 1024,
};

typedef struct {
    struct sockaddr_in address;
    const char *host;
    const char *path;  /* every {i} in it becomes the number of the connection */
    long connections;
    double warmup, duration, open_timeout;
    long events; /* end the window after so many; 0: by time alone */
    double rate; /* GETs per second; 0: as fast as they are answered */
    long body;   /* expected bytes of a GET's body */
    bool hold;   /* keep the streams until stdin ends */
    bool opening; /* the window begins with the first connect, not when all are answered */
} Options;

/* A window of time: begins after the warm-up, and is announced on stdout at both ends. */
typedef struct {
    enum { WINDOW_WAITING, WINDOW_OPEN, WINDOW_OVER } state;
    uint64_t begin_at, end_at; /* planned */
    uint64_t began, ended;     /* done */
    double cpu_began, cpu_ended;
} Window;

void window_plan(Window *window, const Options *options);
/* Moves the window on; true at the two moments at which the caller takes its counts. */
bool window_moves(Window *window, uint64_t now, bool enough);
double window_seconds(const Window *window);
/* Milliseconds to wait for sockets until the window has to move: at most 100. */
int window_wait(const Window *window, uint64_t now);

/* The request of connection number `index`; returns its length. */
size_t request_text(char *out, const Options *options, unsigned long index);
/* Sends a short request whole; false when the connection is not there yet. */
bool send_request(int fd, const Options *options, unsigned long index);
/* The error of a finished non-blocking connect, 0 when it succeeded. */
int connect_error(int fd);

/* One line of JSON, at once. */
void announce(const char *phase);
void print_counts(const Counts *counts);
void print_latency(const Histogram *latency);
void print_window(const Window *window);

int run_streams(const Options *options);
int run_gets(const Options *options);
int run_establish(const Options *options);

#endif
