"""One parked connection on its pump: queueing, sending, ending.

Called by the connection's pump thread only, without the lock. A connection's way:
``stream_enter`` -> ``stream_push`` and ``stream_flush`` again and again ->
``stream_end`` (what is queued is still sent) or ``stream_finish`` (at once) ->
``stream_bury`` at the end of the round, which reports it closed.

``stream_end`` changes rosters, so it is never called while one is walked: a walk
leaves a *verdict* in the record, and the flush at its end carries it out.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from h3py._speedups.block cimport Block
from h3py._speedups.core cimport Conn, Pump
from h3py._speedups.marks cimport MARK_TOUCHED

cdef int stream_enter(Pump* pump, Conn* conn) noexcept nogil
cdef int stream_push(Pump* pump, Conn* conn, Block* block) noexcept nogil
cdef bint stream_push_inbox(Pump* pump, Conn* conn, uint64_t position) noexcept nogil
cdef bint stream_flush(Pump* pump, Conn* conn) noexcept nogil
cdef void stream_ask_page(Pump* pump, Conn* conn) noexcept nogil
cdef void stream_room(Pump* pump, Conn* conn) noexcept nogil
cdef void stream_interest(Pump* pump, Conn* conn) noexcept nogil
cdef void stream_end(Pump* pump, Conn* conn, uint8_t reason) noexcept nogil
cdef void stream_finish(Pump* pump, Conn* conn, uint8_t reason) noexcept nogil
cdef void stream_bury(Pump* pump) noexcept nogil
cdef void stream_list(Pump* pump, Conn* conn) noexcept nogil
cdef void stream_pend(Pump* pump, Conn* conn) noexcept nogil
cdef void stream_due(Pump* pump, Conn* conn, int64_t at_ms) noexcept nogil

cdef inline uint32_t tick_of(int64_t ms) noexcept nogil:
    """The tick (64 ms) in which a time lies: whoever is looked at early is looked at again."""
    return <uint32_t> (ms >> 6) if ms < (<int64_t> 0xFFFFFFF0 << 6) else 0xFFFFFFFE

cdef inline void stream_touch(Pump* pump, Conn* conn) noexcept nogil:
    """Have it flushed at the end of the round."""
    if not conn.marks & MARK_TOUCHED:
        conn.marks |= MARK_TOUCHED
        pump.touched[pump.touched_count] = conn
        pump.touched_count += 1
