"""A pump's arrays, and putting things into queues: see ``shard.pxd``."""

from libc.stddef cimport size_t

from h3py._speedups.block cimport (
    block_drop, counter_add64, counter_store64, fault_plans, faults_use, h3py_realloc,
)
from h3py._speedups.core cimport Core, bell_ring, lock_give, lock_take
from h3py._speedups.marks cimport (
    KNOWN_DATA, MARK_LISTED, MARK_PENDING, ODD_INDIRECT, REASON_LIMIT, TOLD_DATA,
)
from h3py._speedups.queue cimport queue_push
from h3py._speedups.table cimport conn_tell

faults_use(fault_plans())

cdef int grow(Pump* pump) noexcept nogil:
    """Room for more connections in all of the pump's arrays; -1 without memory."""
    cdef uint32_t room = pump.conn_room * 2 if pump.conn_room else 64
    cdef size_t each = 4 * sizeof(Conn*) + sizeof(uint32_t)
    cdef void* at
    cdef int i
    cdef Conn*** arrays[4]
    arrays[0] = &pump.conns
    arrays[1] = &pump.touched
    arrays[2] = &pump.lagging
    arrays[3] = &pump.pending
    for i in range(4):
        at = h3py_realloc(arrays[i][0], room * sizeof(Conn*))
        if at == NULL:
            return -1
        arrays[i][0] = <Conn**> at
    at = h3py_realloc(pump.due, room * sizeof(uint32_t))
    if at == NULL:
        return -1
    pump.due = <uint32_t*> at
    counter_add64(&pump.core.account.bytes, <int64_t> ((room - pump.conn_room) * each))
    pump.conn_room = room
    return 0


cdef int stream_enter(Pump* pump, Conn* conn) noexcept nogil:
    """Take a connection into the pump's arrays; -1 without memory."""
    if pump.conn_count == pump.conn_room and grow(pump) < 0:
        return -1
    conn.slot = pump.conn_count
    pump.conns[conn.slot] = conn
    pump.due[conn.slot] = 0
    pump.conn_count += 1
    return 0


cdef void stream_due(Pump* pump, Conn* conn, int64_t at_ms) noexcept nogil:
    """Look at the connection at that time, if not before."""
    cdef uint32_t tick = tick_of(at_ms)
    if tick < pump.due[conn.slot]:
        pump.due[conn.slot] = tick


cdef bint tell_data(Core* core, Conn* conn) noexcept nogil:
    """Tell the owner of an indirect connection to take what is queued, once. Lock held."""
    if conn.known & KNOWN_DATA:
        return False
    conn.known |= KNOWN_DATA
    return conn_tell(core, conn, TOLD_DATA)


cdef int stream_push(Pump* pump, Conn* conn, Block* block) noexcept nogil:
    """Queue a block and take over one reference to it; -1 without memory, and nothing is taken."""
    cdef uint32_t room
    cdef int result
    cdef bint ring = False
    cdef Core* core = pump.core
    # Once it is queued the owner of an indirect connection may take it, and free it.
    cdef uint32_t events = block.events
    if not conn.odd & ODD_INDIRECT:
        room = conn.queue.room
        result = queue_push(&conn.queue, block)
        room = conn.queue.room - room
    else:
        lock_take(&core.lock)
        room = conn.queue.room
        result = queue_push(&conn.queue, block)
        room = conn.queue.room - room
        if result == 0:
            counter_store64(&conn.visible, <int64_t> conn.queue.bytes)
            ring = tell_data(core, conn)
        lock_give(&core.lock)
        if conn.blocked_at == 0:
            # Its owner is to take it soon: what it leaves is slow, or stalls, like a full socket.
            conn.blocked_at = pump.now_ms
            stream_due(pump, conn, pump.now_ms + core.options.slow_ms)
        if ring:
            bell_ring(&core.bell)
    if result < 0:
        return -1
    if room:
        counter_add64(&core.account.bytes, <int64_t> (room * sizeof(Block*)))
    counter_store64(&conn.events, conn.events + events)
    stream_touch(pump, conn)
    return 0


cdef void stream_offer(Pump* pump, Conn* conn) noexcept nogil:
    """Tell the owner of an indirect connection of what came with it."""
    cdef Core* core = pump.core
    cdef bint ring = False
    lock_take(&core.lock)
    if conn.queue.count:
        ring = tell_data(core, conn)
    lock_give(&core.lock)
    if ring:
        bell_ring(&core.bell)


cdef bint stream_push_inbox(Pump* pump, Conn* conn, uint64_t position) noexcept nogil:
    """Queue the pieces that were to come after ``position`` or before; True: others wait."""
    cdef Core* core = pump.core
    cdef Block* first
    cdef Block* last = NULL
    cdef Block* block
    cdef bint waiting
    lock_take(&core.lock)
    first = conn.inbox
    block = first
    while block != NULL and block.sequence <= position:
        conn.inbox_bytes -= <int64_t> (block.head + block.inner + block.tail)
        # Until the flush others see these bytes here, so that none is ever unseen.
        counter_add64(&conn.visible, <int64_t> (block.head + block.inner + block.tail))
        last = block
        block = <Block*> block.link
    conn.inbox = block
    if block == NULL:
        conn.inbox_last = NULL
    waiting = block != NULL
    lock_give(&core.lock)
    if last == NULL:
        return waiting
    last.link = NULL
    while first != NULL:
        block = first
        first = <Block*> first.link
        block.link = NULL
        block.sequence = 0
        if conn.verdict or stream_push(pump, conn, block) < 0:
            block_drop(block)
            conn.verdict = REASON_LIMIT
            stream_touch(pump, conn)
    return waiting


cdef void stream_list(Pump* pump, Conn* conn) noexcept nogil:
    """Have it read on in the log, in this round or the next."""
    if not conn.marks & MARK_LISTED:
        conn.marks |= MARK_LISTED
        pump.lagging[pump.lagging_count] = conn
        pump.lagging_count += 1


cdef void stream_pend(Pump* pump, Conn* conn) noexcept nogil:
    """Look at it after each walk: something waits for a position."""
    if not conn.marks & MARK_PENDING:
        conn.marks |= MARK_PENDING
        pump.pending[pump.pending_count] = conn
        pump.pending_count += 1
