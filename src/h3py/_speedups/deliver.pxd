"""Walking the log for live streams: each entry to the members of its groups.

Called by a pump for the entries between its position and the head, which cannot
be evicted meanwhile. Consecutive entries for the same group are copied together
into one block that all its members share: a stream that is served late gets one
piece of memory, and its ``sendmsg`` one entry, for many events.

``offer`` is the one place that decides what a live stream does with an entry.
"""

from libc.stdint cimport uint64_t

from h3py._speedups.block cimport Block
from h3py._speedups.core cimport Conn, Pump, Targets

cdef uint64_t walk(Pump* pump, uint64_t head) noexcept nogil
cdef void offer(Pump* pump, Conn* conn, Block* block, Targets* targets) noexcept nogil
