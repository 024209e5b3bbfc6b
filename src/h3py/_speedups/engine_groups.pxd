"""The C side of an engine's subscriptions, for the class above."""

from libc.stdint cimport int64_t, uint64_t

from h3py._speedups.core cimport Filter
from h3py._speedups.engine_views cimport EngineViews
from h3py._speedups.targets cimport GroupKeys

cdef class EngineGroups(EngineViews):
    cdef int enter(
        self, uint64_t handle, GroupKeys keys, bint subscribing, int64_t start, Filter** made,
        int code, bint notices,
    ) except -1
