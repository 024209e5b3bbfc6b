/* What the kernel knows of a peer: Linux's TCP_INFO, nothing elsewhere. */
#ifndef H3PY_LIVENESS_H
#define H3PY_LIVENESS_H

#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#ifdef __linux__
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#endif

#include "faults.h"

/* Milliseconds since the peer was last heard of while something of ours is unanswered: bytes
 * that were sent, or three probes of a closed window. A paused reader answers its probes,
 * which counts as hearing of it. -1: nothing is unanswered, or the system does not tell. */
static inline int64_t silence_ms(int fd) {
#ifdef H3PY_FAULTS
    if (h3py_fault_plans && h3py_fault_plans[FAULT_SILENCE].countdown)
        return h3py_fault_plans[FAULT_SILENCE].max_bytes;
#endif
#ifdef __linux__
    struct tcp_info info;
    socklen_t size = sizeof info;
    memset(&info, 0, sizeof info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
        (info.tcpi_unacked > 0 || info.tcpi_probes >= 3))
        return info.tcpi_last_ack_recv;
#endif
    (void)fd;
    return -1;
}

/* Bytes that the kernel holds for the peer, sent and unacknowledged ones included. */
static inline int64_t kernel_bytes_of(int fd) {
    int bytes = 0;
#ifdef SIOCOUTQ
    if (ioctl(fd, SIOCOUTQ, &bytes) < 0)
        return 0;
#elif defined(SO_NWRITE)
    socklen_t size = sizeof bytes;
    if (getsockopt(fd, SOL_SOCKET, SO_NWRITE, &bytes, &size) < 0)
        return 0;
#endif
    return bytes;
}

#endif
