"""Connections of an engine: watched, parked, ended; what can be seen of one.

Every method may be called from any thread, holds the GIL and waits for nothing.
"""

import os

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from h3py._speedups.block cimport (
    Block, block_account, counter_add64, counter_load32, counter_load64, counter_store64, iovec,
    shown_load8,
)
from h3py._speedups.core cimport (
    Conn, Core, Group, KNOWN_DATA, MAIL_ABORT, MAIL_ADOPTED, MAIL_CLOSE, MAIL_GROUPS, MAIL_TAKEN,
    REASONS, SLAB_CONNS, TOLD_HANGUP, TRAIT_CHUNKED, TRAIT_CLOSE_FD, TRAIT_DISCARD,
    TRAIT_HEARTBEAT, TRAIT_INDIRECT, USE_PARKED, USE_RESERVED, USE_WATCHED, WAIT_FIN, WAIT_IN,
    conn_at, conn_handle, lock_give, lock_take, poller_add, poller_change, poller_remove,
)
from h3py._speedups.engine_base cimport EngineBase
from h3py._speedups.groups cimport group_hold, group_release
from h3py._speedups.queue cimport (
    queue_entry, queue_init, queue_sent, queue_trim, queue_vectors,
)
from h3py._speedups.scan cimport core_now_ms
from h3py._speedups.table cimport conn_find, conn_give, conn_mail, conn_take, table_grow
from h3py._speedups.write_queue cimport WriteQueue

from h3py.errors import AllocationError, ConnectionClosed

cdef extern from "liveness.h" nogil:
    int64_t kernel_bytes_of(int fd)

cdef tuple POLICIES = ("close", "catch_up", "drop_new", "drop_oldest", "keep_latest")
cdef tuple STATES = ("switching", "live", "lagging", "paging", "closing", "closing", "closing")
cdef tuple KINDS = ("everyone", "user", "channel", "client")

cdef int policy_code(object policy) except -1:
    if policy not in POLICIES:
        raise ValueError(f"policy must be one of {', '.join(POLICIES)}, not {policy!r}")
    return POLICIES.index(policy)


cdef int64_t milliseconds(object seconds, str name) except -1:
    """Seconds as milliseconds, at least one; None: 0."""
    if seconds is None:
        return 0
    cdef double value = seconds
    if not 0 <= value < 4e6:
        raise ValueError(f"{name} must be 0 to 4,000,000 seconds, not {seconds}")
    return max(1, <int64_t> (value * 1000))


cdef class EngineStreams(EngineBase):
    # -- driven streams --------------------------------------------------------------

    def watch(self, int fd, owner, *, bint discard=True) -> int:
        """Look for the hang-up of a connection whose owner goes on writing to it.

        The client's end, or an error, is reported once (``hangup``).

        Args:
            fd: A non-blocking socket; it stays the caller's.
            owner: What the reports name.
            discard: Read and forget what the client sends, up to ``max_discard_bytes``
                (``hangup`` with reason ``limit``). Else nothing is read.

        Raises:
            OSError: The descriptor cannot be waited for, or is watched already.
            AllocationError: No memory.
            ConnectionClosed: The engine has ended.
        """
        cdef Core* core = self.core
        cdef int interest = WAIT_FIN | (WAIT_IN if discard else 0)
        cdef Conn* conn = self.reserve()
        cdef int error
        lock_take(&core.lock)
        conn.fd = fd
        conn.traits = TRAIT_DISCARD if discard else 0
        conn.interest = <uint8_t> interest
        conn.owner = <PyObject*> owner
        Py_INCREF(owner)
        conn.use = USE_WATCHED
        lock_give(&core.lock)
        error = poller_add(&core.pumps[conn.pump].poller, fd, interest, conn_handle(conn))
        if error:
            self.forget(conn)
            raise OSError(error, os.strerror(error))
        return conn_handle(conn)

    def unwatch(self, uint64_t handle) -> None:
        """Stop watching: when this returns nothing touches the descriptor any more.

        Nothing happens for a handle that is stale, or of a connection that was adopted.
        """
        cdef Core* core = self.core
        cdef Conn* conn
        cdef bint watched
        self.check()
        lock_take(&core.lock)
        conn = conn_find(core, handle)
        watched = conn != NULL and conn.use == USE_WATCHED
        if watched and conn.reason == 0:
            # Under the lock, as everything is that touches a watched descriptor.
            poller_remove(&core.pumps[conn.pump].poller, conn.fd, conn.interest)
        lock_give(&core.lock)
        if watched:
            self.forget(conn)

    cdef Conn* reserve(self) except NULL:
        """A record on the pump that has the fewest; its use is RESERVED."""
        cdef Core* core = self.core
        cdef Conn* conn = NULL
        cdef uint32_t i, least = 0
        self.check()
        while conn == NULL:
            lock_take(&core.lock)
            if core.ending or core.stopped:
                lock_give(&core.lock)
                raise ConnectionClosed("the engine has ended")
            conn = conn_take(core)
            if conn != NULL:
                for i in range(core.pump_count):
                    if core.pumps[i].load < core.pumps[least].load:
                        least = i
                conn.pump = <uint8_t> least
                conn.use = USE_RESERVED
                core.pumps[least].load += 1
                core.open_conns += 1
            lock_give(&core.lock)
            if conn == NULL and table_grow(core) < 0:
                raise AllocationError("no memory for another connection")
        return conn

    cdef void give_back(self, Conn* conn) noexcept:
        lock_take(&self.core.lock)
        self.core.pumps[conn.pump].load -= 1
        self.core.open_conns -= 1
        conn_give(self.core, conn)
        lock_give(&self.core.lock)

    # -- parked streams --------------------------------------------------------------

    def adopt(
        self,
        int fd,
        owner,
        WriteQueue queue not None,
        *,
        bint chunked,
        uint64_t handle=0,
        policy="close",
        max_queue_bytes=None,
        bint heartbeat=True,
        max_age_s=None,
        lease_s=None,
        bint indirect=False,
        bint close_fd=True,
    ) -> int:
        """Take over a connection, with everything that is queued for it.

        On any failure the caller still owns both, unchanged.

        Args:
            fd: A non-blocking socket; -1 for an indirect connection.
            owner: What the reports name; released when ``closed`` is taken.
            queue: Its unsent bytes; empty afterwards.
            chunked: HTTP/1.1 framing, and a last chunk at the end.
            handle: The watched connection that this is; it keeps its handle.
            policy: For a full queue, as in ``subscribe``.
            max_queue_bytes: Its cap; by default the engine's.
            heartbeat: Whether it gets heartbeats.
            max_age_s: It ends after this long (``max_age``).
            lease_s: It ends this long after the last ``touch`` (``lease_expired``).
            indirect: The owner takes the bytes with ``take`` when ``data`` is reported.
            close_fd: Whether the pump closes the descriptor at the end.

        Returns:
            The handle.

        Raises:
            OSError: The descriptor cannot be waited for.
            WriterBusy: The queue is being sent.
            ConnectionClosed: The handle is stale, or the engine has ended.
            AllocationError: No memory.
        """
        cdef Core* core = self.core
        cdef int code = policy_code(policy)
        cdef int64_t age = milliseconds(max_age_s, "max_age_s")
        cdef int64_t lease = milliseconds(lease_s, "lease_s")
        cdef int64_t cap = core.options.max_queue if max_queue_bytes is None else max_queue_bytes
        cdef Conn* conn
        cdef int error = 0
        cdef bint needed
        cdef PyObject* before = NULL
        if not 1 <= cap <= 0x7FFFFFFF:
            raise ValueError(f"max_queue_bytes must be 1 to {0x7FFFFFFF}, not {max_queue_bytes}")
        queue.begin()
        conn = self.reserve() if handle == 0 else self.reserve_watched(handle)
        if indirect:
            fd = -1
            if handle and conn.reason == 0:
                poller_remove(&core.pumps[conn.pump].poller, conn.fd, conn.interest)
        elif handle and conn.reason == 0:
            error = poller_change(&core.pumps[conn.pump].poller, fd, conn.interest,
                                  WAIT_IN | WAIT_FIN, conn_handle(conn))
        else:
            # Registered here, so that a failure is the caller's to see.
            error = poller_add(&core.pumps[conn.pump].poller, fd, WAIT_IN | WAIT_FIN,
                               conn_handle(conn))
        if error:
            if handle:
                lock_take(&core.lock)
                conn.use = USE_WATCHED
                lock_give(&core.lock)
            else:
                self.give_back(conn)
            raise OSError(error, os.strerror(error))
        Py_INCREF(owner)
        lock_take(&core.lock)
        before = conn.owner
        conn.owner = <PyObject*> owner
        conn.fd = fd
        conn.reason = 0
        conn.told &= <uint16_t> ~TOLD_HANGUP
        conn.interest = <uint8_t> (WAIT_IN | WAIT_FIN)
        conn.traits = ((TRAIT_INDIRECT if indirect else 0) | (TRAIT_CLOSE_FD if close_fd else 0)
                       | (TRAIT_HEARTBEAT if heartbeat else 0)
                       | (TRAIT_CHUNKED if chunked else 0))
        conn.policy = <uint8_t> code
        conn.policy_wanted = <uint8_t> code
        conn.cap = <uint32_t> cap
        conn.lease_ms = <uint32_t> lease
        conn.touched_at = core_now_ms(core)
        conn.deadline = conn.touched_at + age if age else 0
        self.move_queue(conn, queue, chunked)
        conn.use = USE_PARKED
        core.parked += 1
        needed = conn_mail(core, conn, MAIL_ADOPTED)
        lock_give(&core.lock)
        self.wake(conn, needed)
        if before != NULL:
            Py_DECREF(<object> before)
        return conn_handle(conn)

    cdef Conn* reserve_watched(self, uint64_t handle) except NULL:
        """The record of a watched connection, which events of its descriptor now leave alone."""
        cdef Core* core = self.core
        cdef Conn* conn
        self.check()
        lock_take(&core.lock)
        conn = conn_find(core, handle)
        if conn != NULL and conn.use == USE_WATCHED and not (core.ending or core.stopped):
            conn.use = USE_RESERVED
        else:
            conn = NULL
        lock_give(&core.lock)
        if conn == NULL:
            raise ConnectionClosed(f"no watched connection has the handle {handle}")
        return conn

    cdef void move_queue(self, Conn* conn, WriteQueue queue, bint chunked) noexcept:
        """The blocks of a write queue become the connection's, and count as the engine's."""
        cdef uint32_t i
        conn.queue = queue.queue
        conn.queue.framed = chunked or queue.queue.framed
        queue_init(&queue.queue, queue.queue.framed)
        queue.gathering = NULL
        for i in range(conn.queue.count):
            block_account(queue_entry(&conn.queue, i)[0], self.core.account)
        counter_add64(&self.core.account.bytes, <int64_t> (conn.queue.room * sizeof(Block*)))
        counter_store64(&conn.visible, <int64_t> conn.queue.bytes)

    def close(self, uint64_t handle, int reason, *, bint flush=True) -> bool:
        """End a stream.

        Args:
            handle: Of an adopted connection.
            reason: A ``CloseReason.code``; the first one given wins.
            flush: Send first what was published and sent to it before this call, for at most
                ``linger_s``. Else it ends at once.

        Returns:
            False: it was ending or had ended already, or the handle is stale.
        """
        cdef Core* core = self.core
        cdef Conn* conn
        cdef bint needed = False, mine = False
        self.check()
        if not 0 < reason < REASONS:
            raise ValueError(f"reason must be the code of a CloseReason, not {reason}")
        lock_take(&core.lock)
        conn = conn_find(core, handle)
        if conn != NULL and conn.use == USE_PARKED:
            mine = conn.reason == 0
            if mine:
                needed = close_conn(core, conn, reason, flush)
            elif not flush:
                # Ending gently, and now it must be quick: the reason stays.
                needed = conn_mail(core, conn, MAIL_ABORT)
        lock_give(&core.lock)
        if conn != NULL:
            self.wake(conn, needed)
        return mine

    def close_all(self, int reason) -> None:
        """``close`` for every parked stream.

        Args:
            reason: A ``CloseReason.code``, for those that are not ending yet.
        """
        cdef Core* core = self.core
        cdef Conn* conn
        cdef uint32_t at = 0, stop, count
        self.check()
        if not 0 < reason < REASONS:
            raise ValueError(f"reason must be the code of a CloseReason, not {reason}")
        lock_take(&core.lock)
        count = core.slab_count * SLAB_CONNS
        lock_give(&core.lock)
        while at < count:
            # A slab in one hold of the lock.
            stop = at + SLAB_CONNS
            lock_take(&core.lock)
            while at < stop:
                conn = conn_at(core, at)
                if conn.use == USE_PARKED and conn.reason == 0:
                    close_conn(core, conn, reason, True)
                at += 1
            lock_give(&core.lock)
        self.wake_all()

    # -- indirect connections ----------------------------------------------------------

    def take(self, uint64_t handle, Py_ssize_t at_most=64 * 1024) -> bytes:
        """Unsent bytes of an indirect connection, which are the caller's to send.

        Call it after a ``data`` report until it returns nothing; then the next ``data``
        report will tell. When the stream ends, what is left is reported as data, too; the
        ``closed`` report comes when all of it was taken, or ``linger_s`` is over.

        Returns:
            At most ``at_most`` bytes; ``b""``: nothing now, or the handle is stale.

        Raises:
            ValueError: ``at_most`` below 1, or a connection that the engine sends itself.
        """
        cdef Core* core = self.core
        cdef Conn* conn
        cdef size_t wanted = 0, filled = 0
        cdef bint needed = False, indirect = True
        self.check()
        if at_most < 1:
            raise ValueError(f"at_most must be 1 or more, not {at_most}")
        lock_take(&core.lock)
        conn = conn_find(core, handle)
        if conn != NULL and conn.use == USE_PARKED:
            indirect = conn.traits & TRAIT_INDIRECT
            if indirect:
                wanted = min(conn.queue.bytes, <size_t> at_most)
        lock_give(&core.lock)
        if not indirect:
            raise ValueError("this connection is not indirect: its pump sends")
        out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t> wanted)
        lock_take(&core.lock)
        # It may have ended since.
        conn = conn_find(core, handle)
        if conn != NULL and conn.use == USE_PARKED:
            filled = copy_queue(core, conn, PyBytes_AS_STRING(out), wanted)
            if conn.queue.count == 0:
                conn.known &= <uint8_t> ~KNOWN_DATA
            if filled and conn.queue.bytes * 2 <= conn.cap:
                needed = conn_mail(core, conn, MAIL_TAKEN)
        lock_give(&core.lock)
        if filled:
            self.wake(conn, needed)
        return out if filled == wanted else out[:filled]

    # -- looking -------------------------------------------------------------------

    def queued_bytes(self, uint64_t handle) -> int:
        """Unsent bytes of a parked stream; 0 for a stale handle."""
        cdef Conn* conn
        cdef int64_t queued = 0
        self.check()
        lock_take(&self.core.lock)
        conn = conn_find(self.core, handle)
        if conn != NULL and conn.use == USE_PARKED:
            queued = counter_load64(&conn.visible) + conn.inbox_bytes
        lock_give(&self.core.lock)
        return queued

    def is_open(self, uint64_t handle) -> bool:
        """Whether the handle is of a parked stream whose end has not begun."""
        cdef Conn* conn
        cdef bint open = False
        self.check()
        lock_take(&self.core.lock)
        conn = conn_find(self.core, handle)
        if conn != NULL and conn.use == USE_PARKED:
            open = conn.reason == 0
        lock_give(&self.core.lock)
        return open

    def touch(self, uint64_t handle) -> None:
        """A ping of the client came: its lease begins anew."""
        cdef Conn* conn
        self.check()
        lock_take(&self.core.lock)
        conn = conn_find(self.core, handle)
        if conn != NULL:
            conn.touched_at = core_now_ms(self.core)
        lock_give(&self.core.lock)

    def kernel_bytes(self, uint64_t handle) -> int:
        """Bytes that the kernel holds for the peer, unacknowledged ones included; 0: stale handle."""
        cdef Conn* conn
        cdef int64_t held = 0
        self.check()
        lock_take(&self.core.lock)
        conn = conn_find(self.core, handle)
        if conn != NULL and conn.fd >= 0:
            # One call that does not wait; under the lock the descriptor cannot be closed.
            held = kernel_bytes_of(conn.fd)
        lock_give(&self.core.lock)
        return held

    def info(self, uint64_t handle):
        """What can be seen of a connection, as a dict; None for a stale handle.

        ``state`` is ``watched`` or one of docs/engine.md; ``groups`` are pairs of kind and
        name. The numbers are those of the pump's last round.
        """
        cdef Core* core = self.core
        cdef Conn* conn
        cdef int use = 0, phase = 0, policy = 0, reason = 0
        cdef int64_t queued = 0, events = 0, sent = 0, dropped = 0
        self.check()
        lock_take(&core.lock)
        conn = conn_find(core, handle)
        if conn != NULL:
            use = conn.use
            phase = shown_load8(&conn.phase)
            policy = conn.policy_wanted
            reason = conn.reason
            queued = counter_load64(&conn.visible) + conn.inbox_bytes
            events = counter_load64(&conn.events)
            sent = counter_load64(&conn.sent_bytes)
            dropped = counter_load32(&conn.dropped)
        lock_give(&core.lock)
        if use == USE_WATCHED:
            return {"state": "watched", "reason": reason}
        if use != USE_PARKED:
            return None
        return {
            "state": STATES[phase],
            "policy": POLICIES[policy],
            "reason": reason,
            "queued_bytes": queued,
            "events": events,
            "sent_bytes": sent,
            "dropped": dropped,
            "groups": self.groups_of(handle),
        }

    cdef list groups_of(self, uint64_t handle):
        """Kind and name of each group of a stream."""
        cdef Core* core = self.core
        cdef Conn* conn
        cdef Group* group
        cdef list names = []
        cdef uint32_t i = 0
        while True:
            group = NULL
            lock_take(&core.lock)
            conn = conn_find(core, handle)
            if conn != NULL and conn.use == USE_PARKED:
                while i < conn.member_count and conn.members[i].ended:
                    i += 1
                if i < conn.member_count:
                    group = conn.members[i].group
                    group_hold(core, group)
            lock_give(&core.lock)
            if group == NULL:
                return names
            # Held, so that making a str of its name needs no lock.
            names.append((KINDS[group.kind], group.name[:group.size].decode()))
            lock_take(&core.lock)
            group_release(core, group)
            lock_give(&core.lock)
            i += 1


cdef bint close_conn(Core* core, Conn* conn, int reason, bint flush) noexcept:
    """Decide a stream's end. Lock held; True: wake its pump when it is released."""
    conn.reason = <uint8_t> reason
    conn.close_at = core.log.head
    end_memberships(core, conn)
    return conn_mail(core, conn, MAIL_GROUPS | (MAIL_CLOSE if flush else MAIL_ABORT))


cdef size_t copy_queue(Core* core, Conn* conn, char* out, size_t wanted) noexcept:
    """Move bytes out of an indirect connection's queue. Lock held: its pump shares the queue."""
    cdef iovec[64] vectors
    cdef size_t filled = 0, part
    cdef uint32_t room = conn.queue.room
    cdef int i, count
    if wanted > conn.queue.bytes:
        wanted = conn.queue.bytes
    while filled < wanted:
        count = queue_vectors(&conn.queue, wanted - filled, vectors, 64)
        part = 0
        for i in range(count):
            if vectors[i].iov_len > wanted - filled - part:
                vectors[i].iov_len = wanted - filled - part
            memcpy(out + filled + part, vectors[i].iov_base, vectors[i].iov_len)
            part += vectors[i].iov_len
        queue_sent(&conn.queue, part)
        filled += part
    if conn.queue.count == 0:
        queue_trim(&conn.queue)
        counter_add64(&core.account.bytes,
                      -<int64_t> ((room - conn.queue.room) * sizeof(Block*)))
    counter_store64(&conn.visible, <int64_t> conn.queue.bytes)
    counter_store64(&conn.sent_bytes, conn.sent_bytes + <int64_t> filled)
    return filled


cdef void end_memberships(Core* core, Conn* conn) noexcept:
    """The stream gets nothing that is published after this. Lock held."""
    cdef uint32_t i
    for i in range(conn.member_count):
        if not conn.members[i].ended:
            conn.members[i].ended = True
            conn.members[i].until = core.log.head
            conn.members[i].group.members -= 1
