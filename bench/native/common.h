/* What floor and client share: the clock, dying with a message, options, sockets. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

/* Prints "name: message: strerror" and exits with 1; without errno when it is 0. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* CLOCK_MONOTONIC in nanoseconds: the same for every process of the machine. */
uint64_t now_ns(void);

/* A whole number within bounds, or die naming the option. */
long number(const char *option, const char *text, long low, long high);
double decimal(const char *option, const char *text, double low, double high);

/* 127.0.0.0/8 only: a load generator has no business elsewhere. */
struct sockaddr_in loopback(const char *host, long port);

/* Non-blocking, close-on-exec, TCP_NODELAY. */
int listen_on(const struct sockaddr_in *address);
uint16_t port_of(int fd);

/* Begins a non-blocking connect from the loopback source address number `source`:
 * several of them, because one has only 28,000 ports. */
int connect_from(const struct sockaddr_in *address, unsigned source);

void epoll_set(int epoll, int operation, int fd, uint32_t events, uint64_t value);

#endif
