/* System calls and allocation of the compiled core, with faults on demand.
 *
 * A normal build calls the system directly. A build with -DH3PY_FAULTS looks
 * at a plan first: "the n-th call of this kind fails with this errno", "sends take
 * at most so many bytes", "no peer was heard of for so many milliseconds". Tests use it to reach the branches that a
 * healthy kernel reaches once a year. The plan is process-wide and atomic.
 */
#ifndef H3PY_FAULTS_H
#define H3PY_FAULTS_H

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { FAULT_MALLOC = 0, FAULT_SEND = 1, FAULT_SILENCE = 2, FAULT_THREAD = 3, FAULT_KINDS = 4 };

typedef struct {
    int32_t countdown; /* 0: off; 1: the next call fails, then off; n: the n-th */
    int32_t error;     /* errno of a failing send, or of a thread that does not start */
    int32_t repeat;    /* fail this many calls in a row */
    int64_t max_bytes; /* 0: off; else a send takes at most this many bytes; silence: ms */
} FaultPlan;

#ifdef H3PY_FAULTS
#define H3PY_FAULTS_BUILT 1
/* The plans live in block.pyx; each module is given their address when it is imported. */
static FaultPlan *h3py_fault_plans = NULL;

static inline void faults_use(FaultPlan *plans) { h3py_fault_plans = plans; }

static inline int fault_due(int kind) {
    if (h3py_fault_plans == NULL)
        return 0;
    FaultPlan *plan = &h3py_fault_plans[kind];
    int32_t left = __atomic_load_n(&plan->countdown, __ATOMIC_ACQUIRE);
    while (left > 0) {
        int32_t next = left - 1;
        if (left == 1 && __atomic_sub_fetch(&plan->repeat, 1, __ATOMIC_ACQ_REL) > 0)
            return 1; /* stays at 1: the next call fails too */
        if (__atomic_compare_exchange_n(&plan->countdown, &left, next, 0, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE))
            return left == 1;
    }
    return 0;
}
#else
#define H3PY_FAULTS_BUILT 0
static inline void faults_use(FaultPlan *plans) { (void)plans; }
#endif

static inline void *h3py_malloc(size_t size) {
#ifdef H3PY_FAULTS
    if (fault_due(FAULT_MALLOC))
        return NULL;
#endif
    return malloc(size);
}

static inline void *h3py_calloc(size_t count, size_t size) {
#ifdef H3PY_FAULTS
    if (fault_due(FAULT_MALLOC))
        return NULL;
#endif
    return calloc(count, size);
}

static inline void *h3py_realloc(void *old, size_t size) {
#ifdef H3PY_FAULTS
    if (fault_due(FAULT_MALLOC))
        return NULL;
#endif
    return realloc(old, size);
}

/* Never blocks, never raises SIGPIPE. */
static inline ssize_t h3py_send(int fd, struct iovec *vec, int count) {
    struct msghdr message = {0};
    message.msg_iov = vec;
    message.msg_iovlen = count;
#ifdef H3PY_FAULTS
    if (fault_due(FAULT_SEND)) {
        errno = h3py_fault_plans[FAULT_SEND].error;
        return -1;
    }
    int64_t most = h3py_fault_plans ? h3py_fault_plans[FAULT_SEND].max_bytes : 0;
    if (most > 0 && count > 0) {
        if ((int64_t)vec[0].iov_len > most)
            vec[0].iov_len = (size_t)most;
        message.msg_iovlen = 1;
    }
#endif
    int flags = MSG_DONTWAIT;
#ifdef MSG_NOSIGNAL
    flags |= MSG_NOSIGNAL;
#endif
    /* One piece is the common case, and the shorter way through the kernel. */
    if (message.msg_iovlen == 1)
        return send(fd, vec[0].iov_base, vec[0].iov_len, flags);
    return sendmsg(fd, &message, flags);
}

#endif
