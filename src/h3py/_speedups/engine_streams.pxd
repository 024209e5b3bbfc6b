"""The C side of an engine's connections, for the classes above."""

from libc.stdint cimport int64_t, uint64_t

from h3py._speedups.core cimport Conn, Core
from h3py._speedups.engine_base cimport EngineBase
from h3py._speedups.write_queue cimport WriteQueue

cdef class EngineStreams(EngineBase):
    cdef Conn* reserve(self) except NULL
    cdef void give_back(self, Conn* conn) noexcept
    cdef Conn* reserve_watched(self, uint64_t handle) except NULL
    cdef void move_queue(self, Conn* conn, WriteQueue queue, bint chunked) noexcept

cdef int policy_code(object policy) except -1
cdef int64_t milliseconds(object seconds, str name) except -1
