"""Who gets what: subscriptions, groups, pages of older history.

Every method may be called from any thread, holds the GIL and waits for nothing.
"""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport free
from libc.string cimport memcpy

from h3py._speedups.log cimport blocks_drop
from h3py._speedups.publishing cimport page_block
from h3py._speedups.block cimport (
    Block, counter_add64, fault_plans, faults_use, h3py_malloc, shown_load8,
)
from h3py._speedups.core cimport (
    Conn, Core, Filter, Group, LOST_POSITION, Membership, NO_SLOT, lock_give, lock_take,
)
from h3py._speedups.marks cimport (
    GROUP_CHANNEL, GROUP_CLIENT, GROUP_USER, KNOWN_NOTICES, KNOWN_SUBSCRIBED, MAIL_GROUPS,
    MAIL_INBOX, MAIL_PAGED, MAIL_REWIND, MAIL_SETTINGS, PHASE_PAGING, USE_PARKED,
)
from h3py._speedups.engine_streams cimport policy_code
from h3py._speedups.engine_views cimport EngineViews
from h3py._speedups.groups cimport group_release
from h3py._speedups.table cimport conn_find, conn_mail
from h3py._speedups.targets cimport GroupKeys, filter_new

from h3py.errors import AllocationError, ConnectionClosed, ManagerClosed

faults_use(fault_plans())


cdef class EngineGroups(EngineViews):
    def subscribe(
        self,
        uint64_t handle,
        *,
        users=(),
        channels=(),
        client=None,
        position=None,
        bint everyone=True,
        where=None,
        policy=None,
        bint notices=False,
        bint lost=False,
    ) -> None:
        """Join groups, and say how the stream is to be served.

        Args:
            handle: Of an adopted connection.
            users: Names; what is published to any of them comes.
            channels: Names.
            client: The name of this client. What is published to it alone comes from now on.
            position: The last sequence the client has seen: what its other groups got since
                comes first. Only with the first subscription. None: from now on.
            everyone: Whether broadcasts come.
            where: Metadata key to accepted values; an event comes when each key of ``where``
                has an accepted value in its metadata. Only with the first subscription.
            policy: For a full queue: ``"catch_up"`` reads on in the log later, ``"close"``
                ends the stream (``slow``), ``"drop_new"`` and ``"drop_oldest"`` lose events,
                ``"keep_latest"`` drops an unsent event when one with its key comes, and the
                oldest when that is not enough. None: as it is.
            notices: Tell the client of drops (``h3py:dropped``).
            lost: Nothing is known of what the client has seen, though it has seen something
                (an id of another epoch): it is told (``h3py:reset``). Instead of ``position``.

        Raises:
            ConnectionClosed: The stream is ending, or the handle is stale.
            ManagerClosed: The engine is shutting down.
            AllocationError: No memory; nothing has changed.
            ValueError: A name that is empty or above 65,535 bytes of UTF-8; an unknown
                policy; ``position`` or ``where`` in a later subscription.
        """
        cdef GroupKeys keys = GroupKeys()
        cdef Filter* made = NULL
        cdef int code = -1 if policy is None else policy_code(policy)
        cdef int64_t start = -1 if position is None else position
        if position is not None and (start < 0 or lost):
            raise ValueError(f"position must be 0 or more, and without lost, not {position}")
        keys.core = self.core
        if everyone:
            keys.add_everyone()
        keys.add(GROUP_USER, users)
        keys.add(GROUP_CHANNEL, channels)
        if client is not None:
            keys.add(GROUP_CLIENT, (client,))
        self.check()
        if where is not None:
            made = filter_new(self.core, where)
        try:
            self.enter(handle, keys, True, -2 if lost else start, &made, code, notices)
        finally:
            if made != NULL:
                counter_add64(&self.core.account.bytes, -<int64_t> made.bytes)
                free(made)

    def join(self, uint64_t handle, *, users=(), channels=()) -> None:
        """Join more groups, from now on.

        Raises:
            As ``subscribe``.
        """
        cdef GroupKeys keys = GroupKeys()
        keys.core = self.core
        keys.add(GROUP_USER, users)
        keys.add(GROUP_CHANNEL, channels)
        self.check()
        self.enter(handle, keys, False, -1, NULL, -1, False)

    cdef int enter(
        self, uint64_t handle, GroupKeys keys, bint subscribing, int64_t start, Filter** made,
        int code, bint notices,
    ) except -1:
        """New memberships, settings and position, all at once or not at all."""
        cdef Core* core = self.core
        cdef Conn* conn
        cdef Membership* array = NULL
        cdef Membership* old = NULL
        cdef uint32_t room = 0, wanted, i
        cdef bint needed
        cdef int mail = 0
        try:
            while True:
                lock_take(&core.lock)
                conn = conn_find(core, handle)
                if core.stopping or conn == NULL or conn.use != USE_PARKED or conn.reason:
                    i = core.stopping
                    lock_give(&core.lock)
                    if i:
                        raise ManagerClosed("the engine is shutting down")
                    raise ConnectionClosed("the stream is ending, or has ended")
                if conn.known & KNOWN_SUBSCRIBED and (start != -1 or made != NULL and made[0]):
                    lock_give(&core.lock)
                    raise ValueError("position and where belong to the first subscription")
                wanted = conn.member_count + keys.count
                if wanted > 0xFFFF:
                    lock_give(&core.lock)
                    raise ValueError("a stream can be in 65,535 groups at most")
                if keys.find() == 0 and (wanted <= conn.member_room or wanted <= room):
                    break
                lock_give(&core.lock)
                keys.make()
                if wanted > room:
                    free(array)
                    room = wanted
                    array = <Membership*> h3py_malloc(room * sizeof(Membership))
                    if array == NULL:
                        raise AllocationError("no memory for memberships")
            # The lock is held, and nothing below can fail.
            if wanted > conn.member_room:
                old = conn.members
                if old != NULL:
                    memcpy(array, old, conn.member_count * sizeof(Membership))
                counter_add64(&core.account.bytes,
                              <int64_t> ((room - conn.member_room) * sizeof(Membership)))
                conn.members = array
                conn.member_room = <uint16_t> room
                array = old
            keys.hold()
            for i in range(keys.count):
                if add_membership(core, conn, keys.groups[i], start):
                    mail |= MAIL_GROUPS
            if subscribing:
                mail |= take_terms(core, conn, start, made, code, notices)
            needed = conn_mail(core, conn, mail)
            lock_give(&core.lock)
            self.wake(conn, needed)
        finally:
            free(array)
        return 0

    def leave(self, uint64_t handle, *, users=(), channels=()) -> None:
        """Leave groups, from now on: what was published to them before still comes.

        Never fails for a stream that is ending, a handle that is stale or a group it is not in.
        """
        cdef Core* core = self.core
        cdef GroupKeys keys = GroupKeys()
        cdef Conn* conn
        cdef uint32_t i, j
        cdef bint needed = False
        keys.core = core
        keys.add(GROUP_USER, users)
        keys.add(GROUP_CHANNEL, channels)
        self.check()
        lock_take(&core.lock)
        conn = conn_find(core, handle)
        if conn != NULL and conn.use == USE_PARKED and conn.reason == 0:
            keys.find()
            for i in range(conn.member_count):
                for j in range(keys.count):
                    if conn.members[i].group == keys.groups[j] and not conn.members[i].ended:
                        conn.members[i].ended = True
                        conn.members[i].until = core.log.head
                        conn.members[i].group.members -= 1
            needed = conn_mail(core, conn, MAIL_GROUPS)
        lock_give(&core.lock)
        if conn != NULL:
            self.wake(conn, needed)

    def page(self, uint64_t handle, events, position) -> None:
        """Answer a ``page`` report: what the stream's groups got after the position it named.

        Args:
            handle: The stream.
            events: Pairs of sequence and event, oldest first; they leave with their ids.
            position: How far this page goes. If the log does not go on from there, another
                page will be asked for when this one has been sent. None: older history has
                lost something: the client is told (``h3py:reset``).

        Raises:
            ConnectionClosed: The stream is ending, the handle is stale, or it waits for none.
            AllocationError: No memory; nothing was taken.
        """
        cdef Core* core = self.core
        cdef Conn* conn
        cdef Block* first = NULL
        cdef Block* last = NULL
        cdef Block* block
        cdef int64_t size = 0
        cdef bint needed = False, waits = False
        cdef uint64_t end = LOST_POSITION if position is None else position
        self.check()
        try:
            for sequence, event in events:
                block = page_block(core, event, sequence)
                if last == NULL:
                    first = block
                else:
                    last.link = block
                last = block
                size += <int64_t> (block.head + block.inner + block.tail)
            lock_take(&core.lock)
            conn = conn_find(core, handle)
            if (conn != NULL and conn.use == USE_PARKED and conn.reason == 0
                    and shown_load8(&conn.phase) == PHASE_PAGING and not conn.mail & MAIL_PAGED):
                waits = True
                if last != NULL:
                    # Before whatever waits there: that was sent when the log was further on.
                    last.link = conn.inbox
                    if conn.inbox == NULL:
                        conn.inbox_last = last
                    conn.inbox = first
                    conn.inbox_bytes += size
                    first = NULL
                conn.start_at = end
                needed = conn_mail(core, conn, MAIL_PAGED | MAIL_INBOX)
            lock_give(&core.lock)
        finally:
            blocks_drop(first)
        if not waits:
            raise ConnectionClosed("the stream waits for no page, or has ended")
        self.wake(conn, needed)


cdef bint add_membership(Core* core, Conn* conn, Group* group, int64_t start) noexcept:
    """A membership from ``start`` (or now) on, with the caller's reference. Lock held.

    False: it has one already; the reference is given back.
    """
    cdef uint32_t i
    cdef Membership* membership
    for i in range(conn.member_count):
        if conn.members[i].group == group and not conn.members[i].ended:
            group_release(core, group)
            return False
    membership = &conn.members[conn.member_count]
    membership.group = group
    membership.since = core.log.head + 1
    # A client's own events are for the connection that it has: a new one brings none back.
    if start >= 0 and <uint64_t> start < core.log.head and group.kind != GROUP_CLIENT:
        membership.since = <uint64_t> start + 1
    membership.until = 0
    membership.ended = False
    membership.slot = NO_SLOT
    conn.member_count += 1
    group.members += 1
    return True


cdef int take_terms(
    Core* core, Conn* conn, int64_t start, Filter** made, int code, bint notices
) noexcept:
    """Position, filter, policy and notices of a subscription; the mail it takes. Lock held."""
    cdef Block* block
    cdef int mail = MAIL_SETTINGS
    conn.known |= KNOWN_SUBSCRIBED
    if code >= 0:
        conn.policy_wanted = <uint8_t> code
    if notices:
        conn.known |= KNOWN_NOTICES
    if made[0] != NULL:
        conn.filter = made[0]
        made[0] = NULL
    if start == -2:
        conn.start_at = LOST_POSITION
        mail |= MAIL_REWIND
    if start >= 0:
        conn.start_at = <uint64_t> start
        if conn.start_at > core.log.head:
            conn.start_at = core.log.head
        mail |= MAIL_REWIND
        # What was sent before the subscription comes before what it brings back.
        block = conn.inbox
        while block != NULL:
            if block.sequence > conn.start_at:
                block.sequence = conn.start_at
            block = <Block*> block.link
    return mail
