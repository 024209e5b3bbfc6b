"""Slots, mailboxes and the outbox: see ``table.pxd``."""

from libc.stdint cimport uint16_t, uint32_t, uint8_t
from libc.stdlib cimport free
from libc.string cimport memset

from h3py._speedups.block cimport Block, counter_add64, fault_plans, faults_use, h3py_calloc
from h3py._speedups.core cimport MAX_SLABS, SLAB_CONNS, bell_ring, conn_at, lock_give, lock_take
from h3py._speedups.marks cimport KNOWN_MAILED, KNOWN_TOLD, USE_FREE, USE_PARKED


faults_use(fault_plans())


cdef int table_init(Core* core) noexcept nogil:
    core.slabs = <Conn**> h3py_calloc(MAX_SLABS, sizeof(Conn*))
    return 0 if core.slabs != NULL else -1


cdef void table_free(Core* core) noexcept nogil:
    """Free the slabs; what their records held has been let go of."""
    cdef uint32_t i
    if core.slabs != NULL:
        for i in range(core.slab_count):
            free(core.slabs[i])
        free(core.slabs)
        core.slabs = NULL


cdef int table_grow(Core* core) noexcept nogil:
    """One slab more. Called without the lock; -1 without memory or beyond a million connections."""
    cdef Conn* slab = <Conn*> h3py_calloc(SLAB_CONNS, sizeof(Conn))
    cdef uint32_t i
    if slab == NULL:
        return -1
    lock_take(&core.lock)
    if core.slab_count == MAX_SLABS:
        lock_give(&core.lock)
        free(slab)
        return -1
    core.slabs[core.slab_count] = slab
    # Backwards, so that the lowest index is taken first and the table stays dense.
    for i in range(SLAB_CONNS, 0, -1):
        slab[i - 1].index = core.slab_count * SLAB_CONNS + i - 1
        slab[i - 1].generation = 1
        slab[i - 1].fd = -1
        slab[i - 1].mail_next = core.free_conns
        core.free_conns = &slab[i - 1]
    core.slab_count += 1
    counter_add64(&core.account.bytes, SLAB_CONNS * sizeof(Conn))
    lock_give(&core.lock)
    return 0


cdef Conn* conn_take(Core* core) noexcept nogil:
    """A record for the caller, zeroed but for its identity; NULL: ``table_grow`` first."""
    cdef Conn* conn = core.free_conns
    if conn != NULL:
        core.free_conns = conn.mail_next
        conn.mail_next = NULL
    return conn


cdef void conn_give(Core* core, Conn* conn) noexcept nogil:
    """Take a record back: its handle is stale from now on."""
    cdef uint32_t index = conn.index
    cdef int generation = conn.generation + 1 if conn.generation < 0x7FFFFFFF else 1
    memset(conn, 0, sizeof(Conn))
    conn.index = index
    conn.generation = generation
    conn.fd = -1
    conn.mail_next = core.free_conns
    core.free_conns = conn


cdef Conn* conn_find(Core* core, uint64_t handle) noexcept nogil:
    """The record of a handle, watched, parked or closed and not yet reported; else NULL."""
    cdef uint32_t index = <uint32_t> handle
    cdef Conn* conn
    if index >= core.slab_count * SLAB_CONNS:
        return NULL
    conn = conn_at(core, index)
    if conn.generation != <int> (handle >> 32) or conn.use == USE_FREE:
        return NULL
    return conn


cdef void conn_post(Core* core, Conn* conn, int mail) noexcept nogil:
    """Ask the connection's pump for something that may wait until it wakes: a second at most."""
    cdef Pump* pump = &core.pumps[conn.pump]
    conn.mail |= <uint16_t> mail
    if not conn.known & KNOWN_MAILED:
        conn.known |= KNOWN_MAILED
        conn.mail_next = NULL
        if pump.mail_last != NULL:
            pump.mail_last.mail_next = conn
        else:
            pump.mail_first = conn
        pump.mail_last = conn


cdef bint conn_mail(Core* core, Conn* conn, int mail) noexcept nogil:
    """Ask the connection's pump for something; True: wake it when the lock is released."""
    cdef Pump* pump = &core.pumps[conn.pump]
    conn_post(core, conn, mail)
    if pump.asleep:
        pump.asleep = False
        return True
    return False


cdef void conns_post_held(Core* core) noexcept nogil:
    """Put all that wait for a first letter into the mail. By whoever has joined the pumps."""
    cdef uint32_t i
    cdef Conn* conn
    for i in range(core.slab_count * SLAB_CONNS):
        conn = conn_at(core, i)
        if conn.use == USE_PARKED and conn.mail:
            conn_post(core, conn, 0)


cdef Conn* mail_take(Pump* pump) noexcept nogil:
    """The first connection in the pump's mailbox, taken out of it; NULL: empty."""
    cdef Conn* conn = pump.mail_first
    if conn != NULL:
        pump.mail_first = conn.mail_next
        if pump.mail_first == NULL:
            pump.mail_last = NULL
        conn.mail_next = NULL
        conn.known &= <uint8_t> ~KNOWN_MAILED
    return conn


cdef bint conn_tell(Core* core, Conn* conn, int told) noexcept nogil:
    """Put word of a connection into the outbox; True: ring the bell when the lock is released."""
    conn.told |= <uint16_t> told
    if not conn.known & KNOWN_TOLD:
        conn.known |= KNOWN_TOLD
        conn.told_next = NULL
        if core.told_last != NULL:
            core.told_last.told_next = conn
        else:
            core.told_first = conn
        core.told_last = conn
    if core.rung:
        return False
    core.rung = True
    return True


cdef Conn* told_take(Core* core) noexcept nogil:
    """The first connection in the outbox, taken out of it; NULL: empty."""
    cdef Conn* conn = core.told_first
    if conn != NULL:
        core.told_first = conn.told_next
        if core.told_first == NULL:
            core.told_last = NULL
        conn.told_next = NULL
        conn.known &= <uint8_t> ~KNOWN_TOLD
    return conn


cdef void told_return(Core* core, Conn* conn) noexcept nogil:
    """Put a connection back in front: its report could not be made."""
    if conn.known & KNOWN_TOLD:
        return
    conn.known |= KNOWN_TOLD
    conn.told_next = core.told_first
    core.told_first = conn
    if core.told_last == NULL:
        core.told_last = conn


cdef void report(Pump* pump, Conn* conn, int told) noexcept nogil:
    """``conn_tell`` by a pump that does not hold the lock."""
    cdef bint ring
    lock_take(&pump.core.lock)
    ring = conn_tell(pump.core, conn, told)
    lock_give(&pump.core.lock)
    if ring:
        bell_ring(&pump.core.bell)


cdef void inbox_add(Conn* conn, Block* block) noexcept nogil:
    """Append a piece that waits for its position (``Block.sequence``)."""
    block.link = NULL
    if conn.inbox_last != NULL:
        conn.inbox_last.link = block
    else:
        conn.inbox = block
    conn.inbox_last = block


cdef void conn_decide(Core* core, Conn* conn, int reason) noexcept nogil:
    """Decide a parked stream's end: it gets what was published so far, and nothing after."""
    cdef uint32_t i
    conn.reason = <uint8_t> reason
    conn.close_at = core.log.head
    for i in range(conn.member_count):
        if not conn.members[i].ended:
            conn.members[i].ended = True
            conn.members[i].until = core.log.head
            conn.members[i].group.members -= 1
