"""The C side of ``WriteQueue``; the engine takes over ``queue`` when it adopts a stream."""

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t

from h3py._speedups.block cimport Block
from h3py._speedups.format cimport SSEEvent
from h3py._speedups.queue cimport Queue

cdef class WriteQueue:
    cdef Queue queue
    cdef size_t max_bytes
    cdef size_t gather_bytes
    cdef size_t reference_over
    cdef size_t max_event_bytes
    cdef bint release_gil
    cdef bint busy                  # a send without the GIL is running
    cdef bint clear_wanted          # clear() was asked for meanwhile
    cdef Block* gathering           # the last block, if small pieces may still join it

    cdef int begin(self) except -1
    cdef int reserve(self, size_t size) except -1
    cdef char* room_for(self, size_t size, uint32_t events) except NULL
    cdef int put(self, const char* data, size_t size, bint framed) except -1
    cdef int put_object(self, object data, bint framed) except -1
    cpdef Py_ssize_t append_event(self, SSEEvent event) except -1
    cpdef bint send(self, int fd) except -1
    cpdef bint send_event(self, int fd, SSEEvent event) except -1
