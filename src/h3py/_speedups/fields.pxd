"""The fields of an event stream's lines (WHATWG HTML section 9.2.6), in plain memory.

Inline C, no Python, no allocation; a ``Span`` belongs to whoever owns the line.
"""

from libc.stdint cimport INT64_MAX, int64_t
from libc.string cimport memcmp


cdef struct Span:
    const char* text        # NULL: none
    Py_ssize_t size


cdef inline bint names(
    const char* line, Py_ssize_t size, const char* name, Py_ssize_t name_size
) noexcept nogil:
    """Whether the field name of the line, up to its first colon, is ``name``."""
    if size < name_size or memcmp(line, name, name_size) != 0:
        return False
    return size == name_size or line[name_size] == b":"


cdef inline Span value_of(const char* line, Py_ssize_t size, Py_ssize_t name_size) noexcept nogil:
    """What follows the colon, less one space; nothing for a line that is a name alone."""
    cdef Span value
    cdef Py_ssize_t at = name_size
    if at < size:
        at += 1
        if at < size and line[at] == b" ":
            at += 1
    value.text = line + at
    value.size = size - at
    return value


cdef inline int64_t retry_of(Span value) noexcept nogil:
    """The reconnection time; -1 unless all is ASCII digits, of which there must be one."""
    cdef Py_ssize_t i
    cdef int64_t retry = 0
    cdef int digit
    if value.size == 0:
        return -1
    for i in range(value.size):
        digit = <int> value.text[i] - c"0"
        if digit < 0 or digit > 9:
            return -1
        if retry > (INT64_MAX - digit) // 10:
            # More than fits: the longest time there is comes closest to what was
            # asked for. The rest must still be digits.
            retry = INT64_MAX
        else:
            retry = retry * 10 + digit
    return retry
