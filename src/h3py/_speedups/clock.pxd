"""The C side of ``Clock``: one number that pumps read."""

cimport cython
from libc.stdint cimport int64_t


@cython.final
cdef class Clock:
    cdef int64_t now_ns             # atomic
    cdef object engines             # a WeakSet
    cdef object __weakref__
