"""Bytes that grow at the end, for a compiled owner with the GIL.

The owner zeroes the struct before first use, frees it at the end, and empties it
by setting ``size`` to 0. A failed ``buffer_add`` leaves it as it was.
"""

from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.string cimport memcpy

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX


cdef struct Buffer:
    char* text
    Py_ssize_t size
    Py_ssize_t room


cdef inline int buffer_add(Buffer* buffer, const char* text, Py_ssize_t size) except -1:
    """Appends ``size`` bytes, or raises MemoryError."""
    cdef Py_ssize_t room
    cdef char* grown
    if size > buffer.room - buffer.size:
        if size > PY_SSIZE_T_MAX - buffer.size:
            raise MemoryError
        room = buffer.size + size
        # Doubling keeps the copying of a line that comes in many chunks linear.
        if buffer.room <= PY_SSIZE_T_MAX // 2 and room < 2 * buffer.room:
            room = 2 * buffer.room
        grown = <char*> PyMem_Realloc(buffer.text, room)
        if grown == NULL:
            raise MemoryError
        buffer.text = grown
        buffer.room = room
    if size > 0:
        memcpy(buffer.text + buffer.size, text, size)
        buffer.size += size
    return 0


cdef inline void buffer_free(Buffer* buffer) noexcept:
    PyMem_Free(buffer.text)
    buffer.text = NULL
    buffer.size = 0
    buffer.room = 0
