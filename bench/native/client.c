/*
 * The load client: one thread, one epoll, everything checked, JSON lines on stdout.
 *
 *   client streams   --port P --path '/x?user={i}' --connections N   opens streams and counts
 *   client get       --port P --path /plain --connections 64         keep-alive requests
 *   client establish --port P --path /x --connections 32             connect, first event, close
 *
 * Each prints {"phase": "open"}, {"phase": "begin"} and {"phase": "end"} when that
 * happens, so that who started it can read the server's CPU at those moments, and at
 * last one object with the figures. It exits with 1 and a message when it cannot go
 * on; errors in what the server sends are figures, not failures.
 */
#include "client.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static double own_cpu(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

void announce(const char *phase)
{
    printf("{\"phase\": \"%s\"}\n", phase);
    fflush(stdout);
}

void window_plan(Window *window, const Options *options)
{
    memset(window, 0, sizeof *window);
    window->begin_at = now_ns() + (uint64_t)(options->warmup * 1e9);
    window->end_at = window->begin_at + (uint64_t)(options->duration * 1e9);
}

bool window_moves(Window *window, uint64_t now, bool enough)
{
    if (window->state == WINDOW_WAITING && now >= window->begin_at) {
        window->state = WINDOW_OPEN;
        window->cpu_began = own_cpu();
        announce("begin");
        window->began = now_ns();
        return true;
    }
    if (window->state == WINDOW_OPEN && (enough || now >= window->end_at)) {
        window->state = WINDOW_OVER;
        window->ended = now_ns();
        window->cpu_ended = own_cpu();
        announce("end");
        return true;
    }
    return false;
}

int window_wait(const Window *window, uint64_t now)
{
    uint64_t next = window->state == WINDOW_WAITING ? window->begin_at : window->end_at;
    uint64_t left = next > now ? (next - now) / 1000000 + 1 : 0;
    return left < 100 ? (int)left : 100;
}

double window_seconds(const Window *window)
{
    return (double)(window->ended - window->began) / 1e9;
}

size_t request_text(char *out, const Options *options, unsigned long index)
{
    char target[REQUEST_MAX / 2];
    size_t length = 0;
    for (const char *at = options->path; *at != 0;) {
        if (length + 32 > sizeof target) {
            errno = 0;
            die("the path is too long");
        }
        if (strncmp(at, "{i}", 3) == 0) {
            length += (size_t)snprintf(target + length, 24, "%lu", index);
            at += 3;
        } else {
            target[length++] = *at++;
        }
    }
    return (size_t)snprintf(out, REQUEST_MAX,
                            "GET %.*s HTTP/1.1\r\nHost: %s:%u\r\nAccept: */*\r\n\r\n", (int)length,
                            target, options->host, ntohs(options->address.sin_port));
}

bool send_request(int fd, const Options *options, unsigned long index)
{
    char request[REQUEST_MAX];
    size_t length = request_text(request, options, index);
    ssize_t sent = send(fd, request, length, MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == ENOTCONN))
        return false;
    /* A reset is found again, and counted, by the read that follows. */
    if (sent != (ssize_t)length && errno != ECONNRESET && errno != EPIPE)
        die("sending a request of %zu bytes", length);
    return true;
}

int connect_error(int fd)
{
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
        die("getsockopt");
    return error;
}

void print_counts(const Counts *c)
{
    printf("\"events\": %lu, \"data_bytes\": %lu, \"wire_bytes\": %lu, \"comments\": %lu, "
           "\"named\": %lu, \"errors\": %lu, \"lost\": %lu, \"repeated\": %lu, \"torn\": %lu, "
           "\"resets\": %lu, \"refused\": %lu, \"cut\": %lu",
           c->events, c->data_bytes, c->wire_bytes, c->comments, c->named, counts_errors(c),
           c->lost, c->repeated, c->torn, c->resets, c->refused, c->cut);
}

void print_latency(const Histogram *h)
{
    printf("\"latency_ms\": {\"count\": %lu, \"p50\": %.4f, \"p99\": %.4f, \"p999\": %.4f, "
           "\"max\": %.4f}",
           h->count, histogram_at(h, 0.5) / 1e6, histogram_at(h, 0.99) / 1e6,
           histogram_at(h, 0.999) / 1e6, (double)h->largest / 1e6);
}

void print_window(const Window *window)
{
    double length = window_seconds(window);
    printf("\"seconds\": %.6f, \"client_cpu\": %.3f", length,
           length > 0 ? (window->cpu_ended - window->cpu_began) / length : 0);
}

int main(int argc, char **argv)
{
    static const struct option known[] = {
        {"host", required_argument, NULL, 'h'},     {"port", required_argument, NULL, 'p'},
        {"path", required_argument, NULL, 't'},     {"connections", required_argument, NULL, 'c'},
        {"warmup", required_argument, NULL, 'w'},   {"duration", required_argument, NULL, 'd'},
        {"events", required_argument, NULL, 'e'},   {"rate", required_argument, NULL, 'r'},
        {"body", required_argument, NULL, 'b'},     {"open-timeout", required_argument, NULL, 'o'},
        {"hold", no_argument, NULL, 'k'},           {"opening", no_argument, NULL, 'f'},
        {NULL, 0, NULL, 0},
    };
    Options options = {.host = "127.0.0.1", .path = "/", .connections = 1, .duration = 1,
                       .open_timeout = 30, .body = -1};
    long port = 0;
    errno = 0;
    if (argc < 2)
        die("which mode: streams, get or establish?");
    const char *mode = argv[1];
    argv[1] = argv[0];
    for (int c; (c = getopt_long(argc - 1, argv + 1, "", known, NULL)) != -1;) {
        switch (c) {
        case 'h': options.host = optarg; break;
        case 'p': port = number("--port", optarg, 1, 65535); break;
        case 't': options.path = optarg; break;
        case 'c': options.connections = number("--connections", optarg, 1, CONNECTIONS_MAX); break;
        case 'w': options.warmup = decimal("--warmup", optarg, 0, 600); break;
        case 'd': options.duration = decimal("--duration", optarg, 0.01, 600); break;
        case 'e': options.events = number("--events", optarg, 0, 1000000000); break;
        case 'r': options.rate = decimal("--rate", optarg, 0, 1e6); break;
        case 'b': options.body = number("--body", optarg, 0, 8192); break;
        case 'o': options.open_timeout = decimal("--open-timeout", optarg, 1, 600); break;
        case 'k': options.hold = true; break;
        case 'f': options.opening = true; break;
        default: exit(1);
        }
    }
    errno = 0;
    if (port == 0 || options.path[0] != '/')
        die("--port and a --path that begins with / are needed");
    options.address = loopback(options.host, port);
    event_init();
    /* The last resort against a server that hangs: nothing here may run for ever. */
    alarm((unsigned)(options.open_timeout + options.warmup + options.duration) + (options.hold ? 900 : 60));
    if (strcmp(mode, "streams") == 0)
        return run_streams(&options);
    if (strcmp(mode, "get") == 0)
        return run_gets(&options);
    if (strcmp(mode, "establish") == 0)
        return run_establish(&options);
    die("no such mode: %s", mode);
}
