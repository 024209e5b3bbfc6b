"""One parked connection on its pump: sending, and ending.

Called by the pump's thread only, without the lock. A connection's way: ``stream_enter``
-> ``stream_push`` (both in ``shard``) and ``stream_flush`` again and again ->
``stream_end`` (what is queued is still sent) or ``stream_finish`` (at once) ->
``stream_bury`` at the end of the round, which reports it closed.

``stream_end`` changes rosters, so it is never called while one is walked: a walk
leaves a *verdict* in the record, and the flush at its end carries it out.
"""

from libc.stdint cimport uint8_t

from h3py._speedups.core cimport Conn, Pump

cdef bint stream_flush(Pump* pump, Conn* conn) noexcept nogil
cdef void stream_ask_page(Pump* pump, Conn* conn) noexcept nogil
cdef void stream_room(Pump* pump, Conn* conn) noexcept nogil
cdef void stream_interest(Pump* pump, Conn* conn) noexcept nogil
cdef void stream_end(Pump* pump, Conn* conn, uint8_t reason) noexcept nogil
cdef void stream_finish(Pump* pump, Conn* conn, uint8_t reason) noexcept nogil
cdef void stream_bury(Pump* pump) noexcept nogil
