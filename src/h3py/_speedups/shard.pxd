"""A pump's shard: the arrays that its connections are in, and their queues.

Called by the pump's thread only, without the lock. Each connection is at most once
in each array, and they all have room for every connection, so that putting one into
a list cannot fail.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from h3py._speedups.block cimport Block
from h3py._speedups.core cimport Conn, Pump
from h3py._speedups.marks cimport MARK_TOUCHED

cdef int stream_enter(Pump* pump, Conn* conn) noexcept nogil
cdef int stream_push(Pump* pump, Conn* conn, Block* block) noexcept nogil
cdef void stream_offer(Pump* pump, Conn* conn) noexcept nogil
cdef bint stream_push_inbox(Pump* pump, Conn* conn, uint64_t position) noexcept nogil
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
