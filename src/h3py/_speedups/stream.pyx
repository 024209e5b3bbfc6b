"""Sending, and the ways to end: see ``stream.pxd``."""

from libc.errno cimport EHOSTUNREACH, ENETUNREACH, ETIMEDOUT
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint16_t, uint32_t
from libc.stdlib cimport free

from h3py._speedups.table cimport conn_tell
from h3py._speedups.shard cimport stream_due, stream_list, stream_push, stream_touch
from h3py._speedups.block cimport (
    Block, block_drop, block_ref, counter_add64, counter_load64, counter_store32, counter_store64,
    fault_plans, faults_use, iovec,
)
from h3py._speedups.core cimport (
    Core, Membership, NO_SLOT, ROUND_BYTES, WAIT_FIN, WAIT_IN, WAIT_OUT, bell_ring, conn_handle,
    lock_give, lock_take, poller_change, poller_remove, set_phase,
)
from h3py._speedups.marks cimport (
    KNOWN_MAILED, MARK_ASKED, MARK_BLOCKED, MARK_FIN, MARK_SLOW, MARK_SPACE, ODD_CLOSE,
    ODD_INDIRECT, PHASE_CLOSING, PHASE_DRAINING, PHASE_GONE, PHASE_LAGGING, PHASE_PAGING,
    REASON_CLIENT_CLOSED, REASON_LIMIT, REASON_TIMEOUT, TOLD_CLOSED, TOLD_PAGE, TOLD_SPACE,
    TRAIT_CHUNKED, TRAIT_CLOSE_FD, TRAIT_INDIRECT, USE_CLOSED,
)
from h3py._speedups.members cimport memberships_end
from h3py._speedups.queue cimport (
    SEND_BLOCKED, SEND_DONE, SEND_PARTLY, SEND_VECTORS, SendResult, queue_clear, queue_send,
    queue_trim,
)

faults_use(fault_plans())

cdef extern from "<sys/socket.h>" nogil:
    int shutdown(int fd, int how)
    int SHUT_WR

cdef extern from "<unistd.h>" nogil:
    int close(int fd)


cdef void stream_interest(Pump* pump, Conn* conn) noexcept nogil:
    """Tell the poller what to wait for, if that has changed."""
    cdef uint8_t wanted = 0
    if conn.fd < 0:
        return
    if not conn.marks & MARK_FIN:
        # A FIN that was seen is masked: it would be reported for ever.
        wanted = <uint8_t> (WAIT_IN | WAIT_FIN)
    if conn.marks & MARK_BLOCKED:
        wanted |= <uint8_t> WAIT_OUT
    if wanted == conn.interest:
        return
    if poller_change(&pump.poller, conn.fd, conn.interest, wanted, conn_handle(conn)) != 0:
        stream_finish(pump, conn, REASON_LIMIT)
        return
    conn.interest = wanted


cdef void end_our_side(Pump* pump, Conn* conn) noexcept nogil:
    """Everything was sent: FIN, then read what the client still sends, to its end.

    A close with unread input would make the kernel send a reset, and the client
    would lose the end of what it was sent.
    """
    shutdown(conn.fd, SHUT_WR)
    if conn.marks & MARK_FIN:
        stream_finish(pump, conn, REASON_CLIENT_CLOSED)
    else:
        set_phase(pump, conn, PHASE_DRAINING)
        if conn.deadline > pump.now_ms + pump.core.options.linger_ms:
            conn.deadline = pump.now_ms + pump.core.options.linger_ms
        stream_due(pump, conn, conn.deadline)


cdef void stream_ask_page(Pump* pump, Conn* conn) noexcept nogil:
    """Ask for a page of older history, once for each."""
    cdef bint ring
    if conn.marks & MARK_ASKED:
        return
    conn.marks |= MARK_ASKED
    lock_take(&pump.core.lock)
    conn.start_at = conn.last
    ring = conn_tell(pump.core, conn, TOLD_PAGE)
    lock_give(&pump.core.lock)
    if ring:
        bell_ring(&pump.core.bell)


cdef void stream_room(Pump* pump, Conn* conn) noexcept nogil:
    """The queue has drained to half or below: go on with whatever waited for that."""
    cdef bint ring = False
    if conn.phase == PHASE_LAGGING:
        stream_list(pump, conn)
        pump.more = True
    elif conn.phase == PHASE_PAGING:
        stream_ask_page(pump, conn)
    elif conn.phase == PHASE_CLOSING and counter_load64(&conn.visible) == 0:
        if conn.traits & TRAIT_INDIRECT:
            stream_finish(pump, conn, REASON_CLIENT_CLOSED)
        else:
            end_our_side(pump, conn)
        return
    if conn.marks & MARK_SPACE:
        lock_take(&pump.core.lock)
        if counter_load64(&conn.visible) + conn.inbox_bytes <= conn.cap // 2:
            conn.marks &= <uint16_t> ~MARK_SPACE
            ring = conn_tell(pump.core, conn, TOLD_SPACE)
        lock_give(&pump.core.lock)
        if ring:
            bell_ring(&pump.core.bell)


cdef bint stream_flush(Pump* pump, Conn* conn) noexcept nogil:
    """Send what is queued, bounded for the round; True: there is more, and the socket takes it."""
    cdef size_t before
    cdef SendResult result
    cdef int error = 0
    cdef uint32_t room
    if conn.verdict:
        stream_finish(pump, conn, conn.verdict)
    if conn.phase == PHASE_GONE:
        return False
    if conn.traits & TRAIT_INDIRECT:
        if counter_load64(&conn.visible) * 2 <= conn.cap:
            stream_room(pump, conn)
        return False
    if conn.marks & MARK_BLOCKED:
        counter_store64(&conn.visible, <int64_t> conn.queue.bytes)
        if conn.marks & MARK_SPACE and conn.queue.bytes * 2 <= conn.cap:
            stream_room(pump, conn)
        return False
    before = conn.queue.bytes
    room = conn.queue.room
    result = queue_send(
        &conn.queue, conn.fd, ROUND_BYTES, <iovec*> pump.scratch, SEND_VECTORS, &error)
    counter_store64(&conn.visible, <int64_t> conn.queue.bytes)
    if conn.queue.bytes < before:
        counter_store64(&conn.sent_bytes, conn.sent_bytes + <int64_t> (before - conn.queue.bytes))
        counter_store64(&conn.sent_at, pump.now_ms)
        counter_add64(&pump.core.stats.sent_bytes, <int64_t> (before - conn.queue.bytes))
        counter_add64(&pump.core.stats.sends, 1)
    if result == SEND_DONE:
        conn.blocked_at = 0
        conn.marks &= <uint16_t> ~MARK_SLOW
        if room:
            queue_trim(&conn.queue)
            counter_add64(&pump.core.account.bytes, -<int64_t> (room * sizeof(Block*)))
    elif result == SEND_BLOCKED:
        conn.marks |= MARK_BLOCKED
        if conn.blocked_at == 0:
            conn.blocked_at = pump.now_ms
            stream_due(pump, conn, pump.now_ms + pump.core.options.slow_ms)
    elif result != SEND_PARTLY:
        if error == ETIMEDOUT or error == EHOSTUNREACH or error == ENETUNREACH:
            stream_finish(pump, conn, REASON_TIMEOUT)
        else:
            stream_finish(pump, conn, REASON_CLIENT_CLOSED)
        return False
    stream_interest(pump, conn)
    if conn.phase != PHASE_GONE and conn.queue.bytes * 2 <= conn.cap:
        stream_room(pump, conn)
    return result == SEND_PARTLY and conn.phase != PHASE_GONE


cdef void let_go(Pump* pump, Conn* conn, uint8_t reason) noexcept nogil:
    """What both ways of ending begin with: the reason, the memberships, the inbox."""
    cdef Core* core = pump.core
    cdef Block* waiting
    cdef Block* block
    lock_take(&core.lock)
    if conn.reason == 0:
        conn.reason = reason
    memberships_end(pump, conn)
    waiting = conn.inbox
    conn.inbox = NULL
    conn.inbox_last = NULL
    conn.inbox_bytes = 0
    lock_give(&core.lock)
    while waiting != NULL:
        block = waiting
        waiting = <Block*> waiting.link
        counter_store32(&conn.dropped, conn.dropped + block.events)
        block_drop(block)
    conn.odd &= ODD_INDIRECT


cdef void stream_end(Pump* pump, Conn* conn, uint8_t reason) noexcept nogil:
    """Begin the end of a stream: send what is queued, end the body, then our side.

    Not while a roster is walked. A stream that is ending already only keeps on.
    """
    cdef bint closing
    if conn.phase >= PHASE_CLOSING:
        return
    closing = conn.odd & ODD_CLOSE  # then its deadline has been set
    let_go(pump, conn, reason)
    set_phase(pump, conn, PHASE_CLOSING)
    if not closing:
        conn.deadline = pump.now_ms + pump.core.options.linger_ms
        if pump.stopping and conn.deadline > pump.core.stop_at_ms:
            conn.deadline = pump.core.stop_at_ms
    stream_due(pump, conn, conn.deadline)
    if conn.traits & TRAIT_CHUNKED and stream_push(pump, conn, block_ref(pump.last_chunk)) < 0:
        block_drop(pump.last_chunk)
        stream_finish(pump, conn, REASON_LIMIT)
        return
    stream_touch(pump, conn)


cdef void stream_finish(Pump* pump, Conn* conn, uint8_t reason) noexcept nogil:
    """End a stream at once: unregister, close, drop the queue. Not while a roster is walked."""
    cdef Core* core = pump.core
    cdef int fd
    cdef uint32_t room
    if conn.phase == PHASE_GONE:
        return
    let_go(pump, conn, reason)
    if not conn.traits & TRAIT_INDIRECT:
        poller_remove(&pump.poller, conn.fd, conn.interest)
        # Others look at the descriptor under the lock, so it is gone for them before it is closed.
        lock_take(&core.lock)
        fd = conn.fd
        conn.fd = -1
        lock_give(&core.lock)
        if conn.traits & TRAIT_CLOSE_FD:
            close(fd)
    lock_take(&core.lock)
    room = conn.queue.room
    conn.missed = queue_clear(&conn.queue)
    lock_give(&core.lock)
    if room:
        counter_add64(&core.account.bytes, -<int64_t> (room * sizeof(Block*)))
    counter_store64(&conn.visible, 0)
    conn.verdict = 0
    set_phase(pump, conn, PHASE_GONE)
    # Its queue is empty for good; its one place links the gone.
    conn.queue.single = <Block*> pump.gone
    pump.gone = conn


cdef void remove_gone(Conn** items, uint32_t* count) noexcept nogil:
    cdef uint32_t i, kept = 0
    for i in range(count[0]):
        if items[i].phase != PHASE_GONE:
            items[kept] = items[i]
            kept += 1
    count[0] = kept


cdef void stream_bury(Pump* pump) noexcept nogil:
    """Take the gone out of every array, and report them. Called at the end of a round."""
    cdef Core* core = pump.core
    cdef Conn* conn = pump.gone
    cdef Conn* next_conn
    cdef Conn* moved
    cdef bint ring
    if conn == NULL:
        return
    remove_gone(pump.touched, &pump.touched_count)
    remove_gone(pump.lagging, &pump.lagging_count)
    remove_gone(pump.pending, &pump.pending_count)
    pump.gone = NULL
    while conn != NULL:
        next_conn = <Conn*> conn.queue.single
        lock_take(&core.lock)
        ring = False
        if conn.known & KNOWN_MAILED:
            # Mail is on its way to it: it is buried when that has been taken.
            conn.queue.single = <Block*> pump.gone
            pump.gone = conn
            pump.more = True
        else:
            if conn.slot != NO_SLOT:
                pump.conn_count -= 1
                moved = pump.conns[pump.conn_count]
                pump.conns[conn.slot] = moved
                pump.due[conn.slot] = pump.due[pump.conn_count]
                moved.slot = conn.slot
            conn.queue.single = NULL
            counter_add64(&core.stats.closed[conn.reason], 1)
            free(conn.members)
            counter_add64(&core.account.bytes,
                          -<int64_t> (conn.member_room * sizeof(Membership)))
            conn.members = NULL
            conn.member_room = 0
            if conn.filter != NULL:
                counter_add64(&core.account.bytes, -<int64_t> conn.filter.bytes)
                free(conn.filter)
                conn.filter = NULL
            conn.use = USE_CLOSED
            core.parked -= 1
            core.open_conns -= 1
            pump.load -= 1
            ring = conn_tell(core, conn, TOLD_CLOSED)
        lock_give(&core.lock)
        if ring:
            bell_ring(&core.bell)
        conn = next_conn
