"""Connections of an engine: watched, parked, ended.

Every method may be called from any thread, holds the GIL and waits for nothing.
"""

import os

from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t, uint8_t

from h3py._speedups.block cimport Block, block_account, counter_add64, counter_store64
from h3py._speedups.core cimport (
    Conn, Core, SLAB_CONNS, WAIT_FIN, WAIT_IN, WAIT_ONCE, WAIT_OUT, conn_at, conn_handle, lock_give,
    lock_take, poller_add, poller_change, poller_remove,
)
from h3py._speedups.marks cimport (
    KNOWN_FIN, KNOWN_WRITABLE, MAIL_ABORT, MAIL_ADOPTED, MAIL_CLOSE, MAIL_GROUPS, REASONS,
    REASON_MAX_AGE, TOLD_HANGUP, TOLD_WRITABLE, TRAIT_CHUNKED, TRAIT_CLOSE_FD, TRAIT_DISCARD,
    TRAIT_HEARTBEAT, TRAIT_INDIRECT, TRAIT_TAIL, USE_PARKED, USE_RESERVED, USE_WATCHED,
)
from h3py._speedups.engine_base cimport EngineBase
from h3py._speedups.queue cimport queue_entry, queue_init
from h3py._speedups.scan cimport core_now_ms
from h3py._speedups.table cimport (
    conn_decide, conn_find, conn_give, conn_mail, conn_post, conn_take, table_grow,
)
from h3py._speedups.write_queue cimport WriteQueue

from h3py.errors import AllocationError, ConnectionClosed

cdef tuple POLICIES = ("close", "catch_up", "drop_new", "drop_oldest", "keep_latest")


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
        if watched and is_registered(conn):
            # Under the lock, as everything is that touches a watched descriptor.
            poller_remove(&core.pumps[conn.pump].poller, conn.fd, conn.interest)
        lock_give(&core.lock)
        if watched:
            self.forget(conn)

    def want_writable(self, uint64_t handle) -> bool:
        """Ask for one report ``writable``: when a watched socket takes bytes, or has ended.

        Its owner, whom the socket has refused something, sends the rest then. Also after a
        ``hangup``: whoever has only ended its side may still read. Asking again before the
        report was taken is the same request.

        Returns:
            Whether the report will come; False: the handle is stale, or of a connection that
            was adopted.

        Raises:
            OSError: The descriptor cannot be waited for.
        """
        cdef Core* core = self.core
        cdef Conn* conn
        cdef bint wanted
        cdef int error = 0
        self.check()
        # A system call under the lock, as in ``unwatch``.
        lock_take(&core.lock)
        conn = conn_find(core, handle)
        wanted = conn != NULL and conn.use == USE_WATCHED
        if wanted and not (conn.known & KNOWN_WRITABLE or conn.told & TOLD_WRITABLE):
            if conn.reason == 0:
                error = poller_change(&core.pumps[conn.pump].poller, conn.fd, conn.interest,
                                      conn.interest | WAIT_OUT, conn_handle(conn))
            else:
                error = poller_add(&core.pumps[conn.pump].poller, conn.fd, WAIT_OUT,
                                   conn_handle(conn))
            if error == 0:
                conn.interest |= <uint8_t> WAIT_OUT
                conn.known |= KNOWN_WRITABLE
        lock_give(&core.lock)
        if error:
            raise OSError(error, os.strerror(error))
        return wanted

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
        age_reason=None,
        lease_s=None,
        bint indirect=False,
        bint close_fd=True,
        bint held=False,
    ) -> int:
        """Take over a connection, with everything that is queued for it.

        On any failure the caller still owns both, unchanged.

        Args:
            fd: A non-blocking socket; -1 for an indirect connection.
            owner: What the reports name; released when ``closed`` is taken. With None, and
                without heartbeats, it is no stream but the rest of a response: no farewell.
            queue: Its unsent bytes; empty afterwards.
            chunked: HTTP/1.1 framing, and a last chunk at the end.
            handle: The watched connection that this is; it keeps its handle.
            policy: For a full queue, as in ``subscribe``.
            max_queue_bytes: Its cap; by default the engine's.
            heartbeat: Whether it gets heartbeats.
            max_age_s: It ends after this long.
            age_reason: The ``CloseReason.code`` of that end; None: ``max_age``.
            lease_s: It ends this long after the last ``touch`` (``lease_expired``).
            indirect: The owner takes the bytes with ``take`` when ``data`` is reported.
            close_fd: Whether the pump closes the descriptor at the end.
            held: Nothing leaves, and no end is seen, before `subscribe` (or whatever else is
                asked of it): a client that reads its first bytes is in its groups.

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
        cdef bint needed, at_once
        # A held one must not wake its pump for what the client does, again and again.
        cdef int interest = WAIT_IN | WAIT_FIN | (WAIT_ONCE if held else 0)
        cdef PyObject* before = NULL
        cdef int why = REASON_MAX_AGE if age_reason is None else age_reason
        if not 1 <= cap <= 0x7FFFFFFF:
            raise ValueError(f"max_queue_bytes must be 1 to {0x7FFFFFFF}, not {max_queue_bytes}")
        if not 0 < why < REASONS:
            raise ValueError(f"age_reason must be the code of a CloseReason, not {age_reason}")
        queue.begin()
        conn = self.reserve() if handle == 0 else self.reserve_watched(handle)
        Py_INCREF(owner)
        # With the lock, though these are system calls: a pump that is woken by what has
        # arrived already would else look, again and again, at a record that is not its own
        # yet, on the core that this thread needs to finish.
        lock_take(&core.lock)
        if indirect:
            fd = -1
            if handle and is_registered(conn):
                poller_remove(&core.pumps[conn.pump].poller, conn.fd, conn.interest)
        elif handle and is_registered(conn):
            error = poller_change(&core.pumps[conn.pump].poller, fd, conn.interest, interest,
                                  conn_handle(conn))
        else:
            # Registered here, so that a failure is the caller's to see.
            error = poller_add(&core.pumps[conn.pump].poller, fd, interest, conn_handle(conn))
        if error:
            if handle:
                conn.use = USE_WATCHED
            lock_give(&core.lock)
            if not handle:
                self.give_back(conn)
            Py_DECREF(owner)
            raise OSError(error, os.strerror(error))
        before = conn.owner
        conn.owner = <PyObject*> owner
        conn.fd = fd
        conn.reason = 0
        conn.told &= <uint16_t> ~(TOLD_HANGUP | TOLD_WRITABLE)
        conn.known &= <uint8_t> ~(KNOWN_FIN | KNOWN_WRITABLE)
        conn.interest = <uint8_t> interest
        conn.traits = ((TRAIT_INDIRECT if indirect else 0) | (TRAIT_CLOSE_FD if close_fd else 0)
                       | (TRAIT_HEARTBEAT if heartbeat else 0)
                       | (TRAIT_CHUNKED if chunked else 0)
                       | (TRAIT_TAIL if owner is None and not heartbeat else 0))
        conn.policy = <uint8_t> code
        conn.policy_wanted = <uint8_t> code
        conn.age_reason = <uint8_t> why
        conn.cap = <uint32_t> cap
        conn.lease_ms = <uint32_t> lease
        conn.touched_at = core_now_ms(core)
        counter_store64(&conn.sent_at, conn.touched_at)
        conn.deadline = conn.touched_at + age if age else 0
        # With nothing to send there is nothing to do at once: waking the pump for each of
        # ten thousand streams that begin would cost more than all the rest of beginning.
        at_once = queue.queue.count > 0 or indirect
        self.move_queue(conn, queue, chunked)
        conn.use = USE_PARKED
        core.parked += 1
        needed = False
        if held:
            conn.mail |= <uint16_t> MAIL_ADOPTED  # goes with the next letter
        elif at_once:
            needed = conn_mail(core, conn, MAIL_ADOPTED)
        else:
            conn_post(core, conn, MAIL_ADOPTED)
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


cdef inline bint is_registered(const Conn* conn) noexcept:
    """Whether a watched connection's descriptor is its poller's to tell of. Lock held.

    Once its hang-up was told it is not; its number may be another's by now.
    """
    return conn.reason == 0 or conn.known & KNOWN_WRITABLE


cdef bint close_conn(Core* core, Conn* conn, int reason, bint flush) noexcept:
    """Decide a stream's end. Lock held; True: wake its pump when it is released."""
    conn_decide(core, conn, reason)
    return conn_mail(core, conn, MAIL_GROUPS | (MAIL_CLOSE if flush else MAIL_ABORT))
