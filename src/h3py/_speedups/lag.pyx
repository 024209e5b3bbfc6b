"""Reading on, and the notices ``h3py:reset`` and ``h3py:dropped``: see ``lag.pxd``."""

from libc.stddef cimport size_t
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy

from h3py._speedups.block cimport (
    FRAME_HEAD_MAX, FRAME_TAIL, block_drop, block_new, block_ref, counter_add64, counter_load64,
    fault_plans, faults_use, frame_head_size, frame_head_write,
)
from h3py._speedups.core cimport (
    Core, ID_DIGITS, LogEntry, bell_ring, lock_give, lock_take, set_phase,
)
from h3py._speedups.marks cimport (
    MARK_LISTED, ODD_INBOX, ODD_INDIRECT, ODD_MISSED, ODD_WHERE, PHASE_LAGGING, PHASE_LIVE,
    PHASE_PAGING, REASON_LIMIT, TOLD_CAUGHT_UP, TOLD_RESET,
)
from h3py._speedups.log cimport entry_is_for, filter_accepts, hex_write, log_entry, lost_after
from h3py._speedups.queue cimport queue_block_size
from h3py._speedups.shard cimport stream_push, stream_push_inbox, stream_touch
from h3py._speedups.stream cimport stream_ask_page
from h3py._speedups.table cimport conn_tell, report

faults_use(fault_plans())

cdef enum:
    # In one hold of the lock: entries looked at, and blocks taken from them.
    LOOK_ENTRIES = 256
    TAKE_BLOCKS = 128


cdef bint has_drained(const Conn* conn) noexcept nogil:
    """Whether the queue has drained to half."""
    # Only its pump looks into a queue; but an indirect one is shared.
    if conn.odd & ODD_INDIRECT:
        return counter_load64(&conn.visible) * 2 <= conn.cap
    return conn.queue.bytes * 2 <= conn.cap


cdef void go_live(Pump* pump, Conn* conn) noexcept nogil:
    set_phase(pump, conn, PHASE_LIVE)
    conn.last = pump.position
    report(pump, conn, TOLD_CAUGHT_UP)


cdef bint resume(Pump* pump, Conn* conn) noexcept nogil:
    """What a stream at position ``last`` is from now on; True: it has the log to read."""
    cdef Core* core = pump.core
    cdef uint64_t tail
    cdef bint lost = False
    lock_take(&core.lock)
    tail = core.log.tail
    if conn.last + 1 < tail:
        lost = lost_after(conn, conn.last)
    lock_give(&core.lock)
    if lost:
        if not core.options.paging:
            reset(pump, conn)
            return False
        set_phase(pump, conn, PHASE_PAGING)
        if has_drained(conn):
            stream_ask_page(pump, conn)
        return False
    if conn.last + 1 < tail:
        # What has gone was not for this stream.
        conn.last = tail - 1
    if conn.last >= pump.position:
        go_live(pump, conn)
        return False
    set_phase(pump, conn, PHASE_LAGGING)
    return True


cdef void reset(Pump* pump, Conn* conn) noexcept nogil:
    """Tell the client that something of its own was lost, and go on with what comes."""
    cdef Block* notice = reset_notice(pump)
    cdef bint ring
    counter_add64(&pump.core.stats.resets, 1)
    if notice == NULL or stream_push(pump, conn, notice) < 0:
        if notice != NULL:
            block_drop(notice)
        conn.verdict = REASON_LIMIT
        stream_touch(pump, conn)
        return
    lock_take(&pump.core.lock)
    if conn.resets < 0xFF:
        conn.resets += 1
    ring = conn_tell(pump.core, conn, TOLD_RESET)
    lock_give(&pump.core.lock)
    if ring:
        bell_ring(&pump.core.bell)
    go_live(pump, conn)


cdef bint read_on(Pump* pump, Conn* conn) noexcept nogil:
    """Queue what the log has for a lagging stream, as far as its room goes.

    Returns True if there is more to do in the next round without waiting.
    """
    cdef Core* core = pump.core
    cdef (Block*)[TAKE_BLOCKS] found
    cdef LogEntry* entry
    cdef uint64_t at = conn.last
    cdef size_t size, bytes
    cdef int count = 0, i
    cdef uint32_t looked = 0
    cdef bint full = False, due = False, first
    lock_take(&core.lock)
    if conn.last + 1 < core.log.tail:
        lock_give(&core.lock)
        return resume(pump, conn)
    bytes = conn.queue.bytes
    first = conn.queue.count == 0
    while at < pump.position and count < TAKE_BLOCKS and looked < LOOK_ENTRIES:
        if conn.inbox != NULL and conn.inbox.sequence <= at:
            due = True
            break
        entry = log_entry(&core.log, at + 1)
        if entry_is_for(conn, entry.targets, at + 1) and (
            not conn.odd & ODD_WHERE or filter_accepts(conn.filter, entry.targets)
        ):
            size = queue_block_size(&conn.queue, entry.block)
            if not first and bytes + size > conn.cap:
                full = True
                break
            found[count] = block_ref(entry.block)
            count += 1
            bytes += size
            first = False
        at += 1
        looked += 1
    lock_give(&core.lock)
    conn.last = at
    for i in range(count):
        if conn.verdict or stream_push(pump, conn, found[i]) < 0:
            block_drop(found[i])
            conn.verdict = REASON_LIMIT
            stream_touch(pump, conn)
    counter_add64(&core.stats.deliveries, count)
    if conn.verdict:
        return False
    if due and not stream_push_inbox(pump, conn, at):
        conn.odd &= ~ODD_INBOX & 0xFF
    if conn.last >= pump.position:
        go_live(pump, conn)
        return False
    return not full


cdef void walk_lagging(Pump* pump) noexcept nogil:
    """Reading on for every lagging stream that has room; the first one rotates.

    Each may take twice what this round has walked, so whoever takes what it gets meets the
    pump, however fast publishing is.
    """
    cdef uint32_t steps = 1 + <uint32_t> (2 * pump.stride) // TAKE_BLOCKS
    cdef uint32_t count = pump.lagging_count
    cdef uint32_t _, i, at, left, kept = 0
    cdef Conn* conn
    if count == 0:
        return
    at = pump.rotation % count
    for _ in range(count):
        conn = pump.lagging[at]
        left = steps
        while left:
            if conn.phase != PHASE_LAGGING or conn.verdict or not read_on(pump, conn):
                conn.marks &= <uint16_t> ~MARK_LISTED
                break
            left -= 1
        at += 1
        if at == count:
            at = 0
    for i in range(pump.lagging_count):
        conn = pump.lagging[i]
        if conn.marks & MARK_LISTED:
            pump.lagging[kept] = conn
            kept += 1
    pump.lagging_count = kept
    if kept:
        pump.more = True


cdef Block* notice_block(Pump* pump, const char* text, size_t size) noexcept nogil:
    cdef Block* block = block_new(FRAME_HEAD_MAX + size + FRAME_TAIL, pump.core.account)
    cdef char* at
    if block == NULL:
        return NULL
    block.head = <uint32_t> frame_head_size(size)
    block.inner = size
    block.tail = FRAME_TAIL
    # Not counted among events: it may not be dropped, and is not the application's.
    at = frame_head_write(size, block.data)
    memcpy(at, text, size)
    at[size] = b"\r"
    at[size + 1] = b"\n"
    return block


cdef size_t write_id(Pump* pump, char* out) noexcept nogil:
    """``<epoch>-<sequence>`` of the pump's position; returns its size."""
    hex_write(pump.core.epoch, ID_DIGITS, out)
    out[ID_DIGITS] = b"-"
    hex_write(pump.position, ID_DIGITS, out + ID_DIGITS + 1)
    out[2 * ID_DIGITS + 1] = 0
    return 2 * ID_DIGITS + 1


cdef Block* reset_notice(Pump* pump) noexcept nogil:
    """``h3py:reset``, with the id of the head, so that the next reconnect is not another one."""
    cdef char[40] head
    cdef char[256] text
    write_id(pump, head)
    cdef int size = snprintf(
        text, sizeof(text),
        b"id: %s\nevent: h3py:reset\n"
        b'data: {"reason":"evicted","missed":null,"head":"%s"}\n\n', head, head)
    return notice_block(pump, text, <size_t> size)


cdef Block* dropped_notice(Pump* pump, Conn* conn) noexcept nogil:
    """``h3py:dropped``: how many events its full queue has cost the stream since the last one."""
    cdef char[40] head
    cdef char[256] text
    write_id(pump, head)
    cdef int size = snprintf(
        text, sizeof(text),
        b"event: h3py:dropped\n"
        b'data: {"reason":"queue_full","missed":%u,"head":"%s"}\n\n',
        <unsigned int> conn.missed, head)
    return notice_block(pump, text, <size_t> size)


cdef bint tell_missed(Pump* pump, Conn* conn) noexcept nogil:
    """Tell the client of drops, once its queue has drained to half; True: a notice was queued.

    Not before: while it is full every notice would be followed by another.
    """
    cdef Block* notice
    if not has_drained(conn):
        return False
    notice = dropped_notice(pump, conn)
    if notice == NULL:
        return False
    if stream_push(pump, conn, notice) < 0:
        block_drop(notice)
        return False
    conn.missed = 0
    conn.odd &= ~ODD_MISSED & 0xFF
    return True


cdef Block* heartbeat_block(Pump* pump) noexcept nogil:
    """A comment that all idle streams share, one reference for the caller; NULL without memory.

    With ids it also tells the position, without data: the client's last event id moves
    and nothing is dispatched (WHATWG HTML section 9.2.6).
    """
    cdef char[64] text
    cdef int size
    cdef bint ids = pump.core.options.heartbeat_ids
    if pump.heartbeat == NULL or (ids and pump.heartbeat.sequence != pump.position):
        if pump.heartbeat != NULL:
            block_drop(pump.heartbeat)
        memcpy(text, b":\nid: ", 6)
        size = 1
        if ids:
            size = 6 + <int> write_id(pump, text + 6)
        memcpy(text + size, b"\n\n", 2)
        pump.heartbeat = notice_block(pump, text, <size_t> size + 2)
        if pump.heartbeat == NULL:
            return NULL
        pump.heartbeat.sequence = pump.position
    return block_ref(pump.heartbeat)
