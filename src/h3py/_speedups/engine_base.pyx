"""An engine's memory, threads and reports; ``engine.Engine`` adds streams and publishing.

Owner: whoever made it; ``close`` ends it, and so does losing the last reference or the
interpreter's exit. Methods may be called from any thread. Pump threads touch ``core``
alone, never this object.

After a fork the child's engine is inert: every method raises, and its memory and
descriptors are left alone, since the pumps did not come along.
"""

import atexit
import os
import time
from weakref import WeakSet

from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF
from libc.stdint cimport int32_t, uint32_t
from libc.stdlib cimport free

from h3py._speedups.block cimport (
    account_drop, account_new, atomic_load64, block_drop, fault_plans, faults_use, h3py_calloc,
    release_borrowed,
)
from h3py._speedups.core cimport (
    SLAB_CONNS, bell_free, bell_new, conn_at, lock_free, lock_give, lock_new, lock_take, lock_wait,
    monotonic_ns, poller_wake,
)
from h3py._speedups.marks cimport KNOWN_TOLD, USE_FORGOTTEN, USE_WATCHED
from h3py._speedups.groups cimport groups_free, groups_init
from h3py._speedups.log cimport log_free, log_init
from h3py._speedups.pump cimport pump_end_all, pump_free, pump_init, pump_round, pump_start
from h3py._speedups.reporting cimport take_reports
from h3py._speedups.scan cimport core_now_ms
from h3py._speedups.table cimport conn_give, conns_post_held, table_free, table_init

from h3py.errors import AllocationError

faults_use(fault_plans())

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_t:
        pass
    int pthread_join(pthread_t thread, void** result)
    int pthread_atfork(void (*prepare)() noexcept, void (*parent)() noexcept,
                       void (*child)() noexcept)

cdef extern from "threads.h" nogil:
    int32_t h3py_forks
    void h3py_forked() noexcept

pthread_atfork(NULL, NULL, h3py_forked)

MAX_EPOCH = 16 ** 12
_engines = WeakSet()


@atexit.register
def _close_all() -> None:
    """At the interpreter's exit: no pump may outlive it."""
    for engine in list(_engines):
        engine._stop()


cdef int64_t _ms(object seconds, str name) except -1:
    """Seconds as milliseconds, at least one; None: 0."""
    if seconds is None:
        return 0
    cdef double value = seconds
    if not 0 <= value < 1e9:
        raise ValueError(f"{name} must be 0 or more seconds, not {seconds}")
    return max(1, <int64_t> (value * 1000))


cdef class EngineBase:
    def __cinit__(
        self,
        *,
        Py_ssize_t pumps=1,
        Py_ssize_t log_events=10_000,
        Py_ssize_t log_bytes=64 << 20,
        log_age_s=3600.0,
        Py_ssize_t max_queue_bytes=64 * 1024,
        Py_ssize_t max_memory_bytes=256 << 20,
        heartbeat_s=30.0,
        Py_ssize_t heartbeat_misses=3,
        stall_timeout_s=60.0,
        slow_write_s=0.1,
        linger_s=2.0,
        Py_ssize_t max_discard_bytes=64 * 1024,
        str half_close="close",
        bint paging=False,
        bint heartbeat_ids=False,
        Clock clock=None,
        bint threaded=True,
        epoch=None,
    ):
        cdef uint32_t number
        cdef int error
        if not 1 <= pumps <= 64:
            raise ValueError(f"pumps must be 1 to 64, not {pumps}")
        if not 1 <= log_events <= 1 << 30:
            raise ValueError(f"log_events must be 1 to {1 << 30}, not {log_events}")
        if log_bytes < 1 or max_discard_bytes < 0 or heartbeat_misses < 1:
            raise ValueError("log_bytes and heartbeat_misses must be 1 or more, "
                             "max_discard_bytes 0 or more")
        if not 1 <= max_queue_bytes <= 0x7FFFFFFF:
            raise ValueError(f"max_queue_bytes must be 1 to {0x7FFFFFFF}, not {max_queue_bytes}")
        if max_memory_bytes < log_bytes:
            raise ValueError("max_memory_bytes must be at least log_bytes")
        if half_close not in ("close", "allow"):
            raise ValueError(f"half_close must be 'close' or 'allow', not {half_close!r}")
        if epoch is None:
            # Seconds, and enough chance to tell two starts within a second apart.
            epoch = ((int(time.time()) & 0xFFFFFFFF) << 16) | int.from_bytes(os.urandom(2), "big")
        if not 0 <= epoch < MAX_EPOCH:
            raise ValueError(f"epoch must be 0 to {MAX_EPOCH - 1}, not {epoch}")
        self.core = <Core*> h3py_calloc(1, sizeof(Core))
        if self.core == NULL or lock_new(&self.core.lock) != 0:
            free(self.core)
            self.core = NULL
            raise AllocationError("no memory for the engine")
        core = self.core
        core.bell.read_fd = -1
        core.forks = h3py_forks
        core.epoch = epoch
        core.max_idle = 8192
        core.options.heartbeat_ms = _ms(heartbeat_s, "heartbeat_s")
        core.options.dead_after_ms = core.options.heartbeat_ms * heartbeat_misses
        core.options.stall_ms = _ms(stall_timeout_s, "stall_timeout_s")
        core.options.slow_ms = _ms(slow_write_s, "slow_write_s")
        core.options.linger_ms = _ms(linger_s, "linger_s")
        core.options.max_discard = max_discard_bytes
        core.options.max_memory = max_memory_bytes
        core.options.max_queue = <uint32_t> max_queue_bytes
        core.options.paging = paging
        core.options.heartbeat_ids = heartbeat_ids
        core.options.half_close = half_close == "allow"
        self.clock = clock
        self.threaded = threaded
        if clock is not None:
            core.clock_ns = &clock.now_ns
            core.started_ns = atomic_load64(core.clock_ns)
        else:
            core.started_ns = monotonic_ns()
        core.account = account_new()
        core.pumps = <Pump*> h3py_calloc(pumps, sizeof(Pump))
        if core.account == NULL or core.pumps == NULL or table_init(core) < 0:
            raise AllocationError("no memory for the engine")
        for number in range(<uint32_t> pumps):
            core.pumps[number].poller.fd = -1
        core.pump_count = <uint32_t> pumps
        if groups_init(core) < 0 or log_init(
                core, log_events, log_bytes, _ms(log_age_s, "log_age_s")) < 0:
            raise AllocationError("no memory for the engine")
        error = bell_new(&core.bell)
        for number in range(core.pump_count):
            if error == 0:
                error = pump_init(core, &core.pumps[number], number)
        if error > 0:
            raise OSError(error, os.strerror(error))
        if error < 0:
            raise AllocationError("no memory for the engine")
        if clock is not None:
            clock.engines.add(self)
        _engines.add(self)

    def __dealloc__(self):
        cdef Core* core = self.core
        cdef Conn* conn
        cdef uint32_t i
        if core == NULL or core.forks != h3py_forks:
            # A child's engine: its memory stays, its descriptors are the parent's.
            return
        self.end()
        if core.slabs != NULL:
            for i in range(core.slab_count * SLAB_CONNS):
                conn = conn_at(core, i)
                if conn.owner != NULL:
                    Py_DECREF(<object> conn.owner)
                    conn.owner = NULL
        if core.log.ring != NULL:
            log_free(core)
        if core.pumps != NULL:
            for i in range(core.pump_count):
                pump_free(&core.pumps[i])
            groups_free(core)
            free(core.pumps)
        table_free(core)
        for i in range(core.farewell_count):
            block_drop(core.farewells[i])
        bell_free(&core.bell)
        account_drop(core.account)
        lock_free(&core.lock)
        free(core)
        self.core = NULL
        release_borrowed()

    # -- threads -------------------------------------------------------------------

    cdef int check(self) except -1:
        """Raises in a forked child: the pumps did not come along."""
        if self.core.forks != h3py_forks:
            raise RuntimeError("this engine belongs to the parent process: make one after fork()")
        return 0

    cdef void wake(self, Conn* conn, bint needed) noexcept:
        """Wake a connection's pump. With the GIL, so the descriptor is not closed meanwhile."""
        if needed and not self.closed:
            poller_wake(&self.core.pumps[conn.pump].poller)

    cdef void wake_all(self) noexcept:
        cdef uint32_t i
        if not self.closed:
            for i in range(self.core.pump_count):
                poller_wake(&self.core.pumps[i].poller)

    def start(self) -> None:
        """Start the pump threads, with all signals blocked in them.

        Raises:
            RuntimeError: Started already, closed, or made with ``threaded=False``.
            OSError: The system refuses a thread; none is left running.
        """
        cdef uint32_t i
        cdef int error
        self.check()
        if self.started or self.closed or not self.threaded:
            raise RuntimeError("this engine cannot be started: it runs, has ended, or is stepped")
        self.started = True
        for i in range(self.core.pump_count):
            error = pump_start(&self.core.pumps[i])
            if error:
                self.end()
                raise OSError(error, os.strerror(error))
            lock_take(&self.core.lock)
            self.core.pumps[i].running = True
            lock_give(&self.core.lock)

    def step(self) -> bool:
        """One round of every pump in this thread, for an engine made with ``threaded=False``.

        Returns:
            Whether a pump has more to do without waiting for anything.

        Raises:
            RuntimeError: The engine has threads, or has ended, or is being stepped.
        """
        cdef uint32_t i
        cdef bint more = False
        self.check()
        if self.threaded or self.closed or self.stepping:
            raise RuntimeError("this engine cannot be stepped: it has threads, or has ended")
        self.stepping = True
        with nogil:
            for i in range(self.core.pump_count):
                pump_round(&self.core.pumps[i], False)
                more = more or self.core.pumps[i].more
        self.stepping = False
        return more

    def _scan_now(self) -> None:
        """Called by ``Clock.advance``: every pump looks at the time before this returns."""
        cdef uint32_t i
        cdef bint behind = True
        cdef Core* core = self.core
        self.check()
        if self.closed:
            return
        if not self.started:
            if not self.threaded:
                self.step()
            return
        with nogil:
            lock_take(&core.lock)
            core.waiting += 1
            while behind and not core.stopped:
                behind = False
                for i in range(core.pump_count):
                    if core.pumps[i].running and core.pumps[i].scanned_ms < core_now_ms(core):
                        behind = True
                        poller_wake(&core.pumps[i].poller)
                if behind:
                    lock_wait(&core.lock, 100000000)
            core.waiting -= 1
            lock_give(&core.lock)

    cdef int end(self) except -1:
        """Stop the threads, wait for them without the GIL, close what is left."""
        cdef Core* core = self.core
        cdef uint32_t i
        while self.joining and not self.closed:
            # Another thread is at it.
            with nogil:
                lock_take(&core.lock)
                lock_wait(&core.lock, 10000000)
                lock_give(&core.lock)
        if self.closed:
            return 0
        self.joining = True
        lock_take(&core.lock)
        # After ``shutdown`` the pumps end by themselves, at its deadline at the latest; but an
        # injected clock may stand still.
        core.ending = True
        core.stopped = core.stop_at_ms == 0 or core.clock_ns != NULL
        core.stopping = True
        lock_give(&core.lock)
        self.wake_all()
        for i in range(core.pump_count):
            if core.pumps[i].running:
                with nogil:
                    pthread_join(core.pumps[i].thread, NULL)
                lock_take(&core.lock)
                core.pumps[i].running = False
                lock_give(&core.lock)
        self.closed = True
        conns_post_held(core)
        for i in range(core.pump_count):
            if core.pumps[i].core != NULL:
                pump_end_all(&core.pumps[i])
        self.forget_watched()
        return 0

    def _stop(self) -> None:
        """At the interpreter's exit."""
        if self.core.forks == h3py_forks:
            self.end()

    def shut_down(self) -> None:
        """End the engine: join the pumps (without the GIL), close what they still serve.

        After ``shutdown`` this waits until every stream has ended, or for its deadline.
        ``reports`` answers until it is empty. Calling it again does nothing.
        """
        self.check()
        self.end()

    cdef int forget_watched(self) except -1:
        """Handles of watched connections go stale, and their owners are let go of."""
        cdef Core* core = self.core
        cdef uint32_t i
        cdef Conn* conn
        owners = []
        for i in range(core.slab_count * SLAB_CONNS):
            conn = conn_at(core, i)
            if conn.use == USE_WATCHED:
                owners.append(<object> conn.owner)
                self.forget(conn)
        return 0

    cdef void forget(self, Conn* conn) noexcept:
        """Let go of a watched connection's record; the caller holds a reference to its owner."""
        cdef Core* core = self.core
        cdef PyObject* owner = conn.owner
        lock_take(&core.lock)
        core.open_conns -= 1
        core.pumps[conn.pump].load -= 1
        conn.owner = NULL
        if conn.known & KNOWN_TOLD:
            conn.use = USE_FORGOTTEN
            conn.generation = conn.generation + 1 if conn.generation < 0x7FFFFFFF else 1
        else:
            conn_give(core, conn)
        lock_give(&core.lock)
        Py_DECREF(<object> owner)

    # -- what Python is told ---------------------------------------------------------

    @property
    def report_fd(self) -> int:
        """Readable while reports wait."""
        self.check()
        return self.core.bell.read_fd

    def reports(self, Py_ssize_t at_most=1024) -> list:
        """Take what the pumps have to tell, oldest first: see ``reporting.Report``.

        One thread at a time. The owner of a connection is let go of when its closed
        report is taken here. When more than ``at_most`` wait, ``report_fd`` stays readable.
        """
        self.check()
        release_borrowed()
        return take_reports(self.core, at_most)
