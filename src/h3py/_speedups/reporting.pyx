"""Reports: what became of connections, as Python sees it.

Pumps leave bits in a connection's record and link it; here they become ``Report``
objects. The descriptor that rings is cleared before the list is taken, so nothing
that comes meanwhile can be missed. A closed connection's record is given back here,
and only here, so its report cannot be lost or come twice.
"""

from collections import namedtuple

from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF
from libc.stdint cimport int64_t, uint16_t, uint64_t

from h3py._speedups.block cimport counter_load32, counter_load64
from h3py._speedups.core cimport Conn, bell_clear, bell_ring, conn_handle, lock_give, lock_take
from h3py._speedups.marks cimport (
    TOLD_CAUGHT_UP, TOLD_CLOSED, TOLD_DATA, TOLD_HANGUP, TOLD_LAGGING, TOLD_PAGE, TOLD_SLOW,
    TOLD_SPACE, USE_FORGOTTEN,
)
from h3py._speedups.table cimport conn_give, told_return, told_take

Report = namedtuple("Report", ("kind", "handle", "owner", "reason", "detail"))
Counters = namedtuple("Counters", ("events", "sent_bytes", "dropped", "unsent"))

# In the order in which they are told, when several wait for one connection.
cdef tuple KINDS = (
    ("hangup", TOLD_HANGUP),
    ("slow", TOLD_SLOW),
    ("lagging", TOLD_LAGGING),
    ("caught_up", TOLD_CAUGHT_UP),
    ("page", TOLD_PAGE),
    ("space", TOLD_SPACE),
    ("data", TOLD_DATA),
    ("closed", TOLD_CLOSED),
)


cdef list take_reports(Core* core, Py_ssize_t at_most):
    """At most so many reports, and the few more of the last connection's."""
    cdef Conn* conn
    cdef int told
    cdef uint64_t handle
    cdef bint room
    cdef list out = []
    bell_clear(&core.bell)
    lock_take(&core.lock)
    core.rung = False
    room = core.room_told
    core.room_told = False
    lock_give(&core.lock)
    if room:
        out.append(Report("room", 0, None, 0, None))
    while len(out) < at_most:
        handle = 0
        told = 0
        lock_take(&core.lock)
        conn = told_take(core)
        if conn != NULL:
            told = conn.told
            conn.told = 0
            if conn.use == USE_FORGOTTEN:
                conn_give(core, conn)
                told = 0
            handle = conn_handle(conn)
        lock_give(&core.lock)
        if conn == NULL:
            return out
        if told:
            try:
                describe(core, out, conn, told)
            except BaseException:
                put_back(core, conn, handle, told)
                raise
    bell_ring(&core.bell)
    return out


cdef void put_back(Core* core, Conn* conn, uint64_t handle, int told) noexcept:
    """No memory for a report: it will be told again."""
    lock_take(&core.lock)
    if conn_handle(conn) == handle:
        conn.told |= <uint16_t> told
        told_return(core, conn)
    lock_give(&core.lock)


cdef int describe(Core* core, list out, Conn* conn, int told) except -1:
    """Append the reports of one connection; a closed one gives its record back."""
    cdef PyObject* owner
    # All that is needed, before anything here can run other code.
    subject = <object> conn.owner
    cdef uint64_t number = conn_handle(conn)
    cdef int reason = conn.reason
    cdef uint64_t position = conn.start_at
    cdef int64_t queued = counter_load64(&conn.visible)
    cdef list made = []
    handle = number
    for kind, flag in KINDS:
        if told & <int> flag:
            detail = None
            if flag == TOLD_PAGE:
                detail = position
            elif flag == TOLD_SPACE:
                detail = queued
            elif flag == TOLD_CLOSED:
                detail = Counters(
                    counter_load64(&conn.events), counter_load64(&conn.sent_bytes),
                    counter_load32(&conn.dropped), conn.missed)
            made.append(Report(kind, handle, subject, reason, detail))
    out.extend(made)
    if told & TOLD_CLOSED:
        owner = conn.owner
        conn.owner = NULL
        lock_take(&core.lock)
        conn_give(core, conn)
        lock_give(&core.lock)
        Py_DECREF(<object> owner)
    return 0
