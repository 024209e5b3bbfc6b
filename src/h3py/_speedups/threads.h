/* Threads, the engine's lock and clocks: what Cython has no words for.
 *
 * A Lock is a mutex and one condition. Its holders do a few hundred nanoseconds of
 * work, so it is a plain mutex; waiting on the condition is for callers who asked
 * to wait. Threads are started with every signal blocked: signals belong to the
 * interpreter's main thread.
 */
#ifndef H3PY_THREADS_H
#define H3PY_THREADS_H

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <time.h>
#ifdef __linux__
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "faults.h"

typedef struct {
    pthread_mutex_t mutex;
    pthread_cond_t moved;
} Lock;

static inline int lock_new(Lock *lock) {
    pthread_condattr_t attributes;
    int error = pthread_mutex_init(&lock->mutex, NULL);
    if (error)
        return error;
    pthread_condattr_init(&attributes);
#ifndef __APPLE__
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
#endif
    error = pthread_cond_init(&lock->moved, &attributes);
    pthread_condattr_destroy(&attributes);
    if (error)
        pthread_mutex_destroy(&lock->mutex);
    return error;
}

static inline void lock_free(Lock *lock) {
    pthread_cond_destroy(&lock->moved);
    pthread_mutex_destroy(&lock->mutex);
}

#if defined(CYTHON_TRACE_NOGIL) && CYTHON_TRACE_NOGIL
/* Where lines are traced, a pump takes the GIL for each of its lines, under the lock too. So
 * whoever waits for the lock there lets go of the GIL meanwhile. */
static inline void lock_take(Lock *lock) {
    if (pthread_mutex_trylock(&lock->mutex) == 0)
        return;
    PyThreadState *state = PyGILState_Check() ? PyEval_SaveThread() : NULL;
    pthread_mutex_lock(&lock->mutex);
    if (state != NULL)
        PyEval_RestoreThread(state);
}
#else
static inline void lock_take(Lock *lock) { pthread_mutex_lock(&lock->mutex); }
#endif
static inline void lock_give(Lock *lock) { pthread_mutex_unlock(&lock->mutex); }
static inline void lock_wake_all(Lock *lock) { pthread_cond_broadcast(&lock->moved); }

static inline int64_t monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Waits for a wake-up, at most so long; the lock is held before and after. */
static inline void lock_wait(Lock *lock, int64_t ns) {
    struct timespec until;
#ifdef __APPLE__
    until.tv_sec = ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    pthread_cond_timedwait_relative_np(&lock->moved, &lock->mutex, &until);
#else
    ns += monotonic_ns();
    until.tv_sec = ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    pthread_cond_timedwait(&lock->moved, &lock->mutex, &until);
#endif
}

static inline int thread_start(pthread_t *thread, void *(*run)(void *), void *argument) {
    sigset_t all, before;
    int error;
#ifdef H3PY_FAULTS
    if (fault_due(FAULT_THREAD))
        return h3py_fault_plans[FAULT_THREAD].error;
#endif
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(thread, NULL, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

/* Tells the scheduler that this thread has much to do and no hurry: a burst to ten thousand
 * sockets is 50 ms of sending. Whoever wakes up for less on the same core (a server's loop, for
 * a request) then goes first, instead of when the clock next ticks, up to 4 ms later; the share
 * of the core stays what it was. Linux 6.12 and later; for others it is nothing. Where system
 * calls are filtered, as in most containers, it is left, since a filter may end the process for
 * one that it does not expect. */
static inline void thread_is_patient(void) {
#if defined(__linux__) && defined(SYS_sched_setattr)
    struct {  /* sched_setattr(2), in its first version */
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } attributes;
    if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != 0)
        return;
    memset(&attributes, 0, sizeof attributes);
    if (syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0
        || attributes.policy != SCHED_OTHER)
        return;
    attributes.size = sizeof attributes;
    attributes.runtime = 100 * 1000 * 1000;  /* ns of a slice: the most there is */
    syscall(SYS_sched_setattr, 0, &attributes, 0);
#endif
}

/* How often this process is a forked child: an engine made before is not its own. */
__attribute__((unused)) static int32_t h3py_forks = 0;
__attribute__((unused)) static void h3py_forked(void) { h3py_forks++; }

#endif
