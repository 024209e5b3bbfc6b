"""From names that Python gives to groups and filters that the engine can match.

Called with the GIL. ``GroupKeys`` holds the names while they are looked up: the
table is searched under the lock, but a group that is missing is made outside it.
"""

cimport cython
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t

from h3py._speedups.core cimport Core, Filter, Group, Pair
from h3py._speedups.groups cimport GroupKey


cdef enum:
    # Names that a call has room for without allocating.
    FIRST_KEYS = 4


@cython.final
cdef class GroupKeys:
    cdef Core* core
    cdef GroupKey* keys             # these three: within the object, or allocated together
    cdef Group** fresh              # made for a name that was missing; NULL: none
    cdef Group** groups             # what ``find`` found, lock held
    cdef uint32_t count
    cdef uint32_t room
    cdef list names                 # keeps the text of the keys alive
    cdef GroupKey first_keys[FIRST_KEYS]
    cdef Group* first_fresh[FIRST_KEYS]
    cdef Group* first_groups[FIRST_KEYS]

    cdef int add(self, int kind, object names) except -1
    cdef int add_everyone(self) except -1
    cdef int grow(self) except -1
    cdef int find(self) noexcept nogil
    cdef void hold(self) noexcept nogil
    cdef int make(self) except -1


@cython.final
cdef class Pairs:
    cdef Pair* pairs
    cdef uint32_t count
    cdef size_t text_bytes
    cdef list texts

    cdef int add(self, str key, str value) except -1

cdef Pairs metadata_pairs(object metadata)
cdef char* copy_pairs(Pairs pairs, Pair* out, char* text) noexcept
cdef Filter* filter_new(Core* core, object where) except NULL
