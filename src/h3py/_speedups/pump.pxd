"""A pump: a thread that serves a shard of the connections, or one round of it at a time.

One round: wait for descriptors; take the mail; walk what is new in the log for
live streams; let lagging ones read on; send once to every touched connection;
look at the clock; bury the gone. When publishing is slow a round carries one
event; when it is fast a round carries all that came during the last one. That
is the whole of adaptive gathering: there is no timer in it.

The thread never touches the GIL. It ends when ``core.stopped`` is set, or, during
a shutdown, when it has no connection left.
"""

from libc.stdint cimport int64_t, uint32_t

from h3py._speedups.core cimport Core, Pump

cdef int pump_init(Core* core, Pump* pump, uint32_t number) noexcept nogil
cdef void pump_free(Pump* pump) noexcept nogil
cdef bint pump_round(Pump* pump, bint wait) noexcept nogil
cdef int pump_start(Pump* pump) noexcept nogil
cdef void pump_end_all(Pump* pump) noexcept nogil
