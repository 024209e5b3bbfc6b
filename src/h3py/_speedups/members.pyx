"""Rosters and memberships: see ``members.pxd``."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free

from h3py._speedups.block cimport counter_add64, fault_plans, faults_use, h3py_realloc
from h3py._speedups.core cimport Member, Membership, NO_SLOT, Roster, conn_at, roster_items
from h3py._speedups.groups cimport group_release
from h3py._speedups.marks cimport PHASE_LIVE

faults_use(fault_plans())

cdef enum:
    ROSTER_FIRST = 4


cdef int roster_add(Pump* pump, Conn* conn, uint32_t place) noexcept nogil:
    """Enter a membership into its group's roster; -1 without memory. By the pump, lock held.

    Growing allocates under the lock: the membership's slot must be found by those
    who move it. It happens once for each doubling.
    """
    cdef Membership* membership = &conn.members[place]
    cdef Roster* roster = &membership.group.rosters[pump.number]
    cdef uint32_t room
    cdef Member* items
    if roster.count >= (roster.room if roster.room else 1):
        room = 2 * roster.room if roster.room else ROSTER_FIRST
        items = <Member*> h3py_realloc(roster.items if roster.room else NULL,
                                       room * sizeof(Member))
        if items == NULL:
            return -1
        if roster.room == 0:
            items[0] = roster.only
        counter_add64(&pump.core.account.bytes, (room - roster.room) * sizeof(Member))
        roster.items = items
        roster.room = room
    items = roster_items(roster)
    items[roster.count].conn = conn.index
    items[roster.count].place = place
    membership.slot = roster.count
    roster.count += 1
    return 0


cdef void roster_remove(Pump* pump, Conn* conn, uint32_t place) noexcept nogil:
    """Take a membership out of its roster: the last member takes its slot."""
    cdef Membership* membership = &conn.members[place]
    cdef Roster* roster = &membership.group.rosters[pump.number]
    cdef Member* items = roster_items(roster)
    cdef Member moved
    cdef uint32_t slot = membership.slot
    if slot == NO_SLOT:
        return
    roster.count -= 1
    moved = items[roster.count]
    if slot != roster.count:
        items[slot] = moved
        conn_at(pump.core, moved.conn).members[moved.place].slot = slot
    membership.slot = NO_SLOT
    if roster.count == 0 and roster.room:
        counter_add64(&pump.core.account.bytes, -<int64_t> (roster.room * sizeof(Member)))
        free(roster.items)
        roster.items = NULL
        roster.room = 0


cdef int memberships_settle(Pump* pump, Conn* conn) noexcept nogil:
    """Enter new memberships into their rosters; let go of those that have ended. Lock held.

    Returns -1 without memory, 1 while a membership begins or ends ahead of the
    stream's position, else 0.
    """
    cdef uint32_t i = 0, last
    cdef int waiting = 0
    cdef Membership* membership
    # A stream that knows more than its pump has walked goes on where the pump is.
    cdef uint64_t position = pump.position
    if conn.phase != PHASE_LIVE and conn.last < position:
        position = conn.last
    while i < conn.member_count:
        membership = &conn.members[i]
        if membership.ended and membership.until <= position:
            roster_remove(pump, conn, i)
            group_release(pump.core, membership.group)
            last = conn.member_count - 1
            if i != last:
                # The last membership moves: its member in the roster must know.
                move_membership(pump, conn, last, i)
            conn.member_count -= 1
            continue
        if membership.slot == NO_SLOT and roster_add(pump, conn, i) < 0:
            return -1
        if membership.ended or membership.since > position + 1:
            waiting = 1
        i += 1
    return waiting


cdef void move_membership(Pump* pump, Conn* conn, uint32_t source, uint32_t to) noexcept nogil:
    conn.members[to] = conn.members[source]
    cdef Membership* membership = &conn.members[to]
    if membership.slot != NO_SLOT:
        roster_items(&membership.group.rosters[pump.number])[membership.slot].place = to


cdef void memberships_end(Pump* pump, Conn* conn) noexcept nogil:
    """End every membership now. Lock held."""
    cdef uint32_t i
    for i in range(conn.member_count):
        if not conn.members[i].ended:
            conn.members[i].group.members -= 1
        roster_remove(pump, conn, i)
        group_release(pump.core, conn.members[i].group)
    conn.member_count = 0
