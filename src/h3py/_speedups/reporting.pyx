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
    KNOWN_FIN, REASON_CLIENT_CLOSED, TOLD_CAUGHT_UP, TOLD_CLOSED, TOLD_DATA, TOLD_HANGUP,
    TOLD_LAGGING, TOLD_PAGE, TOLD_RESET, TOLD_SLOW, TOLD_SPACE, TOLD_WRITABLE, USE_FORGOTTEN,
)
from h3py._speedups.table cimport conn_give, told_return, told_take

Report = namedtuple("Report", ("kind", "handle", "owner", "reason", "detail"))
Counters = namedtuple("Counters", ("events", "sent_bytes", "dropped", "unsent"))

# In the order in which they are told, when several wait for one connection.
cdef tuple KINDS = (
    ("hangup", TOLD_HANGUP),
    ("writable", TOLD_WRITABLE),
    ("slow", TOLD_SLOW),
    ("lagging", TOLD_LAGGING),
    ("reset", TOLD_RESET),
    ("caught_up", TOLD_CAUGHT_UP),
    ("page", TOLD_PAGE),
    ("space", TOLD_SPACE),
    ("data", TOLD_DATA),
    ("closed", TOLD_CLOSED),
)


cdef struct Word:
    # What a connection's record said when it was taken out of the outbox.
    Conn* conn
    uint64_t handle
    uint64_t position
    int told
    int reason
    uint16_t resets
    bint fin


cdef list take_reports(Core* core, Py_ssize_t at_most):
    """At most so many reports, and the few more of the last connection's."""
    cdef Word word
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
        lock_take(&core.lock)
        take_word(core, &word)
        lock_give(&core.lock)
        if word.conn == NULL:
            return out
        if word.told:
            try:
                describe(core, out, &word)
            except BaseException:
                put_back(core, &word)
                raise
    bell_ring(&core.bell)
    return out


cdef void take_word(Core* core, Word* word) noexcept:
    """The first word of the outbox, if any. Lock held."""
    cdef Conn* conn = told_take(core)
    word.conn = conn
    if conn == NULL:
        return
    word.told = conn.told
    word.resets = conn.resets
    conn.told = 0
    conn.resets = 0
    if conn.use == USE_FORGOTTEN:
        conn_give(core, conn)
        word.told = 0
        return
    word.handle = conn_handle(conn)
    word.position = conn.start_at
    word.reason = conn.reason
    word.fin = conn.known & KNOWN_FIN


cdef void put_back(Core* core, const Word* word) noexcept:
    """No memory for a report: it will be told again."""
    cdef Conn* conn = word.conn
    lock_take(&core.lock)
    if conn_handle(conn) == word.handle:
        conn.told |= <uint16_t> word.told
        conn.resets += word.resets
        told_return(core, conn)
    lock_give(&core.lock)


cdef int describe(Core* core, list out, const Word* word) except -1:
    """Append the reports of one connection; a closed one gives its record back."""
    cdef Conn* conn = word.conn
    cdef PyObject* owner
    # All that is needed, before anything here can run other code.
    subject = <object> conn.owner
    cdef int64_t queued = counter_load64(&conn.visible)
    cdef list made = []
    handle = word.handle
    for kind, flag in KINDS:
        if word.told & <int> flag:
            detail = None
            if flag == TOLD_HANGUP and word.reason == REASON_CLIENT_CLOSED:
                detail = "fin" if word.fin else "error"
            elif flag == TOLD_PAGE:
                detail = word.position
            elif flag == TOLD_SPACE:
                detail = queued
            elif flag == TOLD_CLOSED:
                detail = Counters(
                    counter_load64(&conn.events), counter_load64(&conn.sent_bytes),
                    counter_load32(&conn.dropped), conn.missed)
            report = Report(kind, handle, subject, word.reason, detail)
            made += [report] * word.resets if flag == TOLD_RESET else [report]
    out.extend(made)
    if word.told & TOLD_CLOSED:
        owner = conn.owner
        conn.owner = NULL
        lock_take(&core.lock)
        conn_give(core, conn)
        lock_give(&core.lock)
        Py_DECREF(<object> owner)
    return 0
