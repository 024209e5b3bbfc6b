"""What descriptors have to tell, and what is done about it: see ``events.pxd``."""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint16_t, uint32_t, uint8_t

from h3py._speedups.block cimport fault_plans, faults_use
from h3py._speedups.core cimport (
    Conn, Core, PollEvent, WAIT_FIN, WAIT_GONE, WAIT_IN, WAIT_OUT, WAIT_WAKE_HANDLE, bell_ring,
    conn_handle, lock_give, lock_take, poller_change, poller_remove,
)
from h3py._speedups.marks cimport (
    KNOWN_FIN, KNOWN_WRITABLE, MARK_BLOCKED, MARK_FIN, PHASE_DRAINING, PHASE_GONE, PHASE_SWITCHING,
    REASON_CLIENT_CLOSED, REASON_LIMIT, REASON_TIMEOUT, TOLD_HANGUP, TOLD_WRITABLE, TRAIT_DISCARD,
    USE_PARKED, USE_WATCHED,
)
from h3py._speedups.shard cimport stream_touch
from h3py._speedups.stream cimport stream_end, stream_finish, stream_interest
from h3py._speedups.table cimport conn_find, conn_tell

faults_use(fault_plans())

cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int fd, void* data, size_t size, int flags)
    int getsockopt(int fd, int level, int name, void* value, unsigned int* size)
    int MSG_DONTWAIT
    int SOL_SOCKET
    int SO_ERROR

cdef extern from "<errno.h>" nogil:
    int ETIMEDOUT

cdef void discard_input(Pump* pump, Conn* conn) noexcept nogil:
    """Read and forget what a client sends; notes its FIN. Bounded: more is read when told again."""
    cdef ssize_t count = recv(conn.fd, pump.scratch, SCRATCH_BYTES, MSG_DONTWAIT)
    if count > 0:
        conn.discarded += <uint32_t> count
    elif count == 0:
        conn.marks |= MARK_FIN
    elif errno != EAGAIN and errno != EINTR:
        stream_finish(pump, conn, REASON_CLIENT_CLOSED)


cdef void parked_event(Pump* pump, Conn* conn, int what) noexcept nogil:
    cdef int error = 0
    cdef unsigned int size = sizeof(int)
    if what & WAIT_GONE:
        getsockopt(conn.fd, SOL_SOCKET, SO_ERROR, &error, &size)
        stream_finish(pump, conn, REASON_TIMEOUT if error == ETIMEDOUT else REASON_CLIENT_CLOSED)
        return
    if what & (WAIT_IN | WAIT_FIN) and not conn.marks & MARK_FIN:
        discard_input(pump, conn)
        if conn.phase == PHASE_GONE:
            return
        if conn.discarded > pump.core.options.max_discard:
            stream_finish(pump, conn, REASON_LIMIT)
            return
        if conn.marks & MARK_FIN:
            if conn.phase == PHASE_DRAINING:
                stream_finish(pump, conn, REASON_CLIENT_CLOSED)
                return
            if not pump.core.options.half_close:
                stream_end(pump, conn, REASON_CLIENT_CLOSED)
    if what & WAIT_OUT:
        conn.marks &= <uint16_t> ~MARK_BLOCKED
        stream_touch(pump, conn)
    else:
        stream_interest(pump, conn)


cdef bint watched_event(Pump* pump, Conn* conn, int what) noexcept nogil:
    """A driven connection, whose descriptor is another's. Lock held: ``unwatch`` takes it too.

    So ``unwatch`` returns when nothing here touches the descriptor any more. One read
    of a few KB without waiting is all that happens under the lock. Returns True when
    the bell is to be rung.
    """
    cdef ssize_t count = 1
    cdef int told = 0
    cdef bint ring = False
    if conn.known & KNOWN_WRITABLE and what & (WAIT_OUT | WAIT_GONE):
        ring = tell_writable(pump, conn)
    if conn.reason:
        return ring
    if what & WAIT_IN and conn.traits & TRAIT_DISCARD:
        count = recv(conn.fd, pump.scratch, SCRATCH_BYTES // 4, MSG_DONTWAIT)
        if count > 0:
            conn.discarded += <uint32_t> count
            if conn.discarded > pump.core.options.max_discard:
                told = REASON_LIMIT
        elif count < 0 and (errno == EAGAIN or errno == EINTR):
            count = 1
    if what & WAIT_GONE or count < 0:
        told = REASON_CLIENT_CLOSED
    elif (count == 0 or (what & WAIT_FIN and not what & WAIT_IN)) and told == 0:
        if pump.core.options.half_close:
            # Nothing more can come but the end of both sides, which is always told.
            change_watched(pump, conn, conn.interest & WAIT_OUT)
            return ring
        told = REASON_CLIENT_CLOSED
        conn.known |= KNOWN_FIN
    if told == 0:
        return ring
    conn.reason = <uint8_t> told
    # Told once: a level that is masked does not spin.
    if conn.known & KNOWN_WRITABLE:
        change_watched(pump, conn, WAIT_OUT)
    else:
        poller_remove(&pump.poller, conn.fd, conn.interest)
        conn.interest = 0
    return conn_tell(pump.core, conn, TOLD_HANGUP) or ring


cdef void change_watched(Pump* pump, Conn* conn, int interest) noexcept nogil:
    """Lock held. Changing what is registered already allocates nothing, so it cannot fail."""
    poller_change(&pump.poller, conn.fd, conn.interest, interest, conn_handle(conn))
    conn.interest = <uint8_t> interest


cdef bint tell_writable(Pump* pump, Conn* conn) noexcept nogil:
    """The one report that was asked for. Lock held."""
    conn.known &= <uint8_t> ~KNOWN_WRITABLE
    if conn.reason == 0:
        change_watched(pump, conn, conn.interest & ~WAIT_OUT)
    else:
        poller_remove(&pump.poller, conn.fd, conn.interest)
        conn.interest = 0
    return conn_tell(pump.core, conn, TOLD_WRITABLE)


cdef void take_events(Pump* pump, PollEvent* events, int count) noexcept nogil:
    cdef Core* core = pump.core
    cdef Conn* conn
    cdef int i
    cdef bint ring, parked
    for i in range(count):
        if events[i].handle == WAIT_WAKE_HANDLE:
            continue
        ring = False
        parked = False
        lock_take(&core.lock)
        conn = conn_find(core, events[i].handle)
        if conn != NULL and conn.pump == pump.number:
            if conn.use == USE_WATCHED:
                ring = watched_event(pump, conn, events[i].what)
            else:
                parked = conn.use == USE_PARKED
        lock_give(&core.lock)
        if ring:
            bell_ring(&core.bell)
        # While it is switching its mail is on the way, or it is held; the event will come again.
        if parked and conn.phase != PHASE_SWITCHING and conn.phase != PHASE_GONE:
            parked_event(pump, conn, events[i].what)
