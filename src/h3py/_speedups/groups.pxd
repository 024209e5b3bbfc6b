"""Groups by name: everyone, a user, a channel, a client.

A group lives as long as a membership or an entry of the log refers to it. After
that it is kept for a while, because it knows what the log has lost of it; when
too many are kept the oldest is forgotten, and a global floor takes its place: a
group that is made anew is taken to have lost something up to there.

All of it under ``core.lock``, but for the making of a ``Group`` that is not yet
in the table. The table grows one bucket at a time, so no caller pays for a
rehash. Names are hashed by Python, with its secret.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from h3py._speedups.core cimport Core, Group

cdef struct GroupKey:
    uint64_t hash
    const char* name
    uint32_t size
    uint8_t kind

cdef int groups_init(Core* core) noexcept nogil
cdef void groups_free(Core* core) noexcept nogil
cdef Group* group_find(Core* core, const GroupKey* key) noexcept nogil
cdef Group* group_new(Core* core, const GroupKey* key) noexcept nogil
cdef void group_free(Core* core, Group* group) noexcept nogil
cdef void group_insert(Core* core, Group* group) noexcept nogil
cdef void group_hold(Core* core, Group* group) noexcept nogil
cdef void group_release(Core* core, Group* group) noexcept nogil
