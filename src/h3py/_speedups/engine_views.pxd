"""The C side of looking at connections, for the class above."""

from libc.stdint cimport uint64_t

from h3py._speedups.engine_streams cimport EngineStreams

cdef class EngineViews(EngineStreams):
    cdef list groups_of(self, uint64_t handle)
