"""The table of connections: records that never move, mail for pumps, word for Python.

Records come from slabs that are freed with the engine only. A handle is the
index and the generation of a record; a record that is given back takes the next
generation, so an old handle finds nothing.

What is asked of a pump, and what Python is told, are bits in the record and one
link each: neither can fail, and neither can be lost.

Everything here is called with ``core.lock`` held, unless it says otherwise.
"""

from libc.stdint cimport uint64_t

from h3py._speedups.block cimport Block
from h3py._speedups.core cimport Conn, Core, Pump

cdef int table_init(Core* core) noexcept nogil
cdef void table_free(Core* core) noexcept nogil
cdef int table_grow(Core* core) noexcept nogil
cdef Conn* conn_take(Core* core) noexcept nogil
cdef void conn_give(Core* core, Conn* conn) noexcept nogil
cdef Conn* conn_find(Core* core, uint64_t handle) noexcept nogil
cdef void conn_post(Core* core, Conn* conn, int mail) noexcept nogil
cdef bint conn_mail(Core* core, Conn* conn, int mail) noexcept nogil
cdef void conns_post_held(Core* core) noexcept nogil
cdef Conn* mail_take(Pump* pump) noexcept nogil
cdef bint conn_tell(Core* core, Conn* conn, int told) noexcept nogil
cdef Conn* told_take(Core* core) noexcept nogil
cdef void told_return(Core* core, Conn* conn) noexcept nogil
cdef void report(Pump* pump, Conn* conn, int told) noexcept nogil
cdef void inbox_add(Conn* conn, Block* block) noexcept nogil
cdef void conn_decide(Core* core, Conn* conn, int reason) noexcept nogil
