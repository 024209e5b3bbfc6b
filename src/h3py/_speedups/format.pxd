"""The wire form of events, for the other compiled modules.

An ``SSEEvent`` never changes, so its wire size is known from its construction
and writing it calls nothing of Python. A caller without the GIL must hold a
reference to the event for as long as it reads it.
"""

cimport cython
from libc.stdint cimport int64_t


cdef struct Field:
    const char* text        # UTF-8, inside the object that the event holds
    Py_ssize_t size         # bytes; -1: the event has no such field
    Py_ssize_t lines        # lines it takes on the wire; 1: no line end inside


@cython.final
cdef class SSEEvent:
    cdef object data_object     # str or bytes of UTF-8, of exactly that type, or None
    cdef object event_object    # str, of exactly that type, or None; so are the next two
    cdef object id_object
    cdef object comment_object
    cdef Field data_field
    cdef Field event_field
    cdef Field id_field
    cdef Field comment_field
    cdef int64_t retry_ms       # -1: none
    cdef Py_ssize_t wire_size


cdef inline Py_ssize_t event_size(SSEEvent event) except -1 nogil:
    """Bytes of the wire form, exactly; TypeError for None, which Cython lets through."""
    if event is None:
        with gil:
            raise TypeError("an SSEEvent is needed, not None")
    return event.wire_size


cdef inline bint event_has_id(SSEEvent event) noexcept nogil:
    """Whether the event carries an id of its own (``id=""`` is one, too)."""
    return event.id_field.size >= 0


cdef char* event_write(SSEEvent event, char* out) noexcept nogil
