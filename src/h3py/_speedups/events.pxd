"""What the poller saw: input, hang-ups and room of parked and of watched connections.

By the pump. A parked connection's descriptor is the pump's own. A watched one is
another's, so it is only touched with ``core.lock`` held, which ``unwatch`` takes
as well: after that nothing here touches it.
"""

from h3py._speedups.core cimport Pump, PollEvent

cdef enum:
    SCRATCH_BYTES = 16 * 1024

cdef void take_events(Pump* pump, PollEvent* events, int count) noexcept nogil
