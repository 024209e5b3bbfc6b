"""The scan: see ``scan.pxd``."""

from libc.stddef cimport size_t
from libc.stdint cimport UINT64_MAX, uint32_t, uint64_t

from h3py._speedups.block cimport (
    Block, atomic_load64, block_drop, counter_add64, counter_load64, counter_store64,
    fault_plans, faults_use,
)
from h3py._speedups.core cimport Conn, lock_give, lock_take, lock_wake_all, monotonic_ns
from h3py._speedups.marks cimport (
    MAIL_CLOSE, MAIL_GROUPS, MARK_SLOW, ODD_CLOSE, PHASE_CLOSING, PHASE_GONE,
    PHASE_LIVE, REASON_LEASE_EXPIRED, REASON_LIMIT, REASON_SLOW, REASON_TIMEOUT,
    TOLD_SLOW, TRAIT_HEARTBEAT, TRAIT_INDIRECT,
)
from h3py._speedups.lag cimport heartbeat_block
from h3py._speedups.log cimport blocks_drop, log_expire, log_shorten
from h3py._speedups.queue cimport queue_entry
from h3py._speedups.shard cimport stream_due, stream_push
from h3py._speedups.stream cimport stream_end, stream_finish
from h3py._speedups.table cimport conn_decide, conn_mail, report

cdef extern from "liveness.h" nogil:
    int64_t silence_ms(int fd)

faults_use(fault_plans())


cdef int64_t core_now_ms(Core* core) noexcept nogil:
    """The engine's time: 1,000 at its start, so that 0 can mean "never"."""
    cdef int64_t now = atomic_load64(core.clock_ns) if core.clock_ns != NULL else monotonic_ns()
    return (now - core.started_ns) // 1000000 + 1000


cdef inline int64_t heartbeat_due(Pump* pump, const Conn* conn) noexcept nogil:
    """When an idle stream gets a heartbeat: at 90 to 100 % of the interval, its own for each."""
    cdef int64_t interval = pump.core.options.heartbeat_ms
    # Any spread will do: this one is Knuth's multiplicative hash.
    return conn.sent_at + interval - interval * ((conn.index * 2654435761u >> 16) & 0xFF) // 2560


cdef void scan(Pump* pump) noexcept nogil:
    """Look at every connection whose time has come."""
    cdef Core* core = pump.core
    cdef uint32_t now = <uint32_t> (pump.now_ms >> 6)
    cdef uint32_t i
    cdef Conn* conn
    cdef Block* gone = NULL
    cdef bint again = True
    for i in range(pump.conn_count):
        if pump.due[i] > now:
            continue
        conn = pump.conns[i]
        pump.due[i] = 0xFFFFFFFF
        if conn.phase != PHASE_GONE:
            look_at(pump, conn)
    if pump.stopping:
        end_streams(pump)
    while again and pump.number == 0:
        lock_take(&core.lock)
        again = log_expire(core, pump.now_ms, &gone)
        lock_give(&core.lock)
        blocks_drop(gone)
        gone = NULL
    lock_take(&core.lock)
    pump.scanned_ms = pump.now_ms
    if core.waiting:
        lock_wake_all(&core.lock)
    lock_give(&core.lock)


cdef void end_streams(Pump* pump) noexcept nogil:
    """During a shutdown: end the streams whose turn has come; at the deadline, cut the rest."""
    cdef Core* core = pump.core
    cdef uint32_t i
    cdef Conn* conn
    cdef int64_t turn, stop_at_ms
    lock_take(&core.lock)
    stop_at_ms = core.stop_at_ms
    lock_give(&core.lock)
    for i in range(pump.conn_count):
        conn = pump.conns[i]
        if conn.phase == PHASE_GONE:
            continue
        if pump.now_ms >= stop_at_ms:
            stream_finish(pump, conn, core.stop_reason)
            continue
        # Records are numbered in the order in which clients came: this spreads them.
        turn = core.stop_window_ms * ((conn.index * 2654435761u) >> 16 & 0xFFF) // 4096
        if conn.phase >= PHASE_CLOSING or pump.now_ms < core.stop_from_ms + turn:
            continue
        lock_take(&core.lock)
        if conn.reason == 0:
            conn_decide(core, conn, core.stop_reason)
            conn_mail(core, conn, MAIL_GROUPS | MAIL_CLOSE)
            pump.more = True
        lock_give(&core.lock)


cdef void look_at(Pump* pump, Conn* conn) noexcept nogil:
    """One connection: what is due is done, and its next time is set."""
    cdef int64_t now = pump.now_ms
    cdef int64_t silent, touched, lease
    if conn.deadline:
        if now >= conn.deadline:
            if conn.phase >= PHASE_CLOSING or conn.odd & ODD_CLOSE:
                # The reason was decided when its end began.
                stream_finish(pump, conn, conn.age_reason)
            else:
                stream_end(pump, conn, conn.age_reason)
            return
        stream_due(pump, conn, conn.deadline)
    if conn.phase >= PHASE_CLOSING:
        return
    lock_take(&pump.core.lock)
    lease = conn.lease_ms
    touched = conn.touched_at
    lock_give(&pump.core.lock)
    if lease:
        if now >= touched + lease:
            stream_end(pump, conn, REASON_LEASE_EXPIRED)
            return
        stream_due(pump, conn, touched + lease)
    if conn.blocked_at and not look_at_slow(pump, conn):
        return
    if pump.core.options.dead_after_ms and not conn.traits & TRAIT_INDIRECT:
        silent = silence_ms(conn.fd)
        if silent >= pump.core.options.dead_after_ms:
            stream_finish(pump, conn, REASON_TIMEOUT)
            return
        if silent >= 0:
            stream_due(pump, conn, now + pump.core.options.dead_after_ms - silent)
    if conn.traits & TRAIT_HEARTBEAT and pump.core.options.heartbeat_ms:
        if now >= heartbeat_due(pump, conn) and not is_idle(conn):
            # What waits in its queue does the heartbeat's work. Should it leave at once, no
            # heartbeat is due before this time.
            stream_due(pump, conn, now + pump.core.options.heartbeat_ms * 9 // 10)
            return
        if now >= heartbeat_due(pump, conn):
            beat(pump, conn)
        stream_due(pump, conn, heartbeat_due(pump, conn))


cdef bint look_at_slow(Pump* pump, Conn* conn) noexcept nogil:
    """A stream that is held up: told once per episode, closed when it stalls; False: closed."""
    cdef int64_t stall = pump.core.options.stall_ms
    cdef int64_t since = conn.blocked_at if conn.blocked_at > conn.sent_at else conn.sent_at
    if not conn.marks & MARK_SLOW:
        if pump.now_ms >= conn.blocked_at + pump.core.options.slow_ms:
            conn.marks |= MARK_SLOW
            counter_add64(&pump.core.stats.slow_episodes, 1)
            report(pump, conn, TOLD_SLOW)
        else:
            stream_due(pump, conn, conn.blocked_at + pump.core.options.slow_ms)
    if stall:
        if pump.now_ms >= since + stall:
            stream_finish(pump, conn, REASON_SLOW)
            return False
        stream_due(pump, conn, since + stall)
    return True


cdef bint is_idle(const Conn* conn) noexcept nogil:
    """Whether it has been sent everything, and there is nothing more for it."""
    return conn.phase == PHASE_LIVE and counter_load64(&conn.visible) == 0 and (
        conn.traits & TRAIT_INDIRECT or conn.queue.count == 0
    )


cdef void beat(Pump* pump, Conn* conn) noexcept nogil:
    """A comment to an idle stream: only into an empty queue, and only when it has all else."""
    cdef Block* block
    block = heartbeat_block(pump)
    if block == NULL:
        return
    counter_store64(&conn.sent_at, pump.now_ms)
    if stream_push(pump, conn, block) < 0:
        block_drop(block)
        stream_finish(pump, conn, REASON_LIMIT)
        return
    counter_add64(&pump.core.stats.heartbeats, 1)


cdef Conn* victim_of(Pump* pump, uint64_t tail) noexcept nogil:
    """Who holds on to the oldest block which the log has not got; NULL: nobody does."""
    cdef Conn* victim = NULL
    cdef Conn* conn
    cdef Block* first
    cdef uint64_t oldest = UINT64_MAX, sequence
    cdef size_t most = 0
    cdef uint32_t i
    for i in range(pump.conn_count):
        conn = pump.conns[i]
        if conn.phase == PHASE_GONE or conn.queue.count == 0 or conn.traits & TRAIT_INDIRECT:
            continue
        first = queue_entry(&conn.queue, 0)[0]
        if first == pump.heartbeat or first == pump.last_chunk or (
            first.sequence >= tail and first.events == 1
        ):
            continue
        # What was sent to it alone has no place in the log: as old as the log's oldest.
        sequence = first.sequence if first.sequence else tail
        if sequence < oldest or (sequence == oldest and conn.queue.bytes > most):
            victim = conn
            oldest = sequence
            most = conn.queue.bytes
    return victim


cdef void relieve(Pump* pump, int64_t wanted) noexcept nogil:
    """Make room for so many bytes: close who pins the oldest blocks, then shorten the log."""
    cdef Core* core = pump.core
    cdef Conn* victim
    cdef Block* gone
    cdef uint64_t tail
    while counter_load64(&core.account.bytes) + wanted > core.options.max_memory:
        gone = NULL
        lock_take(&core.lock)
        tail = core.log.tail
        lock_give(&core.lock)
        victim = victim_of(pump, tail)
        if victim != NULL:
            counter_add64(&core.stats.victims, 1)
            stream_finish(pump, victim, REASON_LIMIT)
            continue
        lock_take(&core.lock)
        log_shorten(core, &gone)
        lock_give(&core.lock)
        if gone == NULL:
            return
        blocks_drop(gone)
