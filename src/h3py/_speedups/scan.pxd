"""What time does to streams: heartbeats, slow and dead peers, leases, ages, lingering.

Once a second each pump looks through a compact array of ticks, one for each of
its connections; only a connection whose tick has come is looked at itself, and
then its next tick is set. Times only grow later in between, so there is no timer
to move when a stream sends.

A peer is *dead* when the kernel has bytes it has not acknowledged and has heard
nothing of it for the time of some heartbeats. A reader with a closed window who
still answers the kernel's probes is *slow*: that is the stall timeout's business.
"""

from libc.stdint cimport int64_t

from h3py._speedups.core cimport Core, Pump

cdef int64_t core_now_ms(Core* core) noexcept nogil
cdef void scan(Pump* pump) noexcept nogil
cdef void relieve(Pump* pump, int64_t wanted) noexcept nogil
