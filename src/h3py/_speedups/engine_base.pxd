"""What an engine is before it has streams: its memory, its threads, its reports."""

from libc.stdint cimport int64_t, uint64_t

from h3py._speedups.clock cimport Clock
from h3py._speedups.core cimport Conn, Core, Pump

cdef class EngineBase:
    cdef Core* core
    cdef Clock clock
    cdef bint threaded
    cdef bint started
    cdef bint joining
    cdef bint closed
    cdef bint stepping
    cdef object __weakref__

    cdef int check(self) except -1
    cdef void wake(self, Conn* conn, bint needed) noexcept
    cdef void wake_all(self) noexcept
    cdef int end(self) except -1
    cdef int forget_watched(self) except -1
    cdef void forget(self, Conn* conn) noexcept
