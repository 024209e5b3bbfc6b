"""Who is in a group: memberships, in the connection's record, and rosters, in the group's.

A membership is entered by whoever calls ``join``, with the log position at which it
begins; its pump puts it into the roster when it takes the mail, and takes it out
when the stream's position has reached its end. So a pump walks rosters that only
it changes. It changes them with ``core.lock`` held, since a membership's array may
be replaced by a caller, and publishers count members.

All of it is called by pumps, with the lock held.
"""

from libc.stdint cimport uint32_t

from h3py._speedups.core cimport Conn, Pump

cdef int roster_add(Pump* pump, Conn* conn, uint32_t place) noexcept nogil
cdef void roster_remove(Pump* pump, Conn* conn, uint32_t place) noexcept nogil
cdef int memberships_settle(Pump* pump, Conn* conn) noexcept nogil
cdef void memberships_end(Pump* pump, Conn* conn) noexcept nogil
