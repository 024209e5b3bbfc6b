"""Streams that are behind: reading on in the log, pages, and telling of loss.

A stream that returned with a position, or whose queue was full, is a cursor into
the log. Called by its pump. ``read_on`` walks the log for one stream, filtered by
its memberships, a bounded number of entries in one hold of the lock, until it
meets the pump's position. ``resume`` decides what a stream at some position is:
live, lagging, paging, or reset.
"""

from h3py._speedups.block cimport Block
from h3py._speedups.core cimport Conn, Pump

cdef bint read_on(Pump* pump, Conn* conn) noexcept nogil
cdef bint resume(Pump* pump, Conn* conn) noexcept nogil
cdef void reset(Pump* pump, Conn* conn) noexcept nogil
cdef bint tell_missed(Pump* pump, Conn* conn) noexcept nogil
cdef void walk_lagging(Pump* pump) noexcept nogil
cdef Block* heartbeat_block(Pump* pump) noexcept nogil
