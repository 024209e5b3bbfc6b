"""Looking at an engine and its connections, and taking the bytes of indirect ones.

Every method may be called from any thread, holds the GIL and waits for nothing.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t
from libc.string cimport memcpy

from h3py._speedups.block cimport (
    Block, counter_add64, counter_load32, counter_load64, counter_store64, iovec, shown_load8,
)
from h3py._speedups.core cimport Conn, Core, Group, lock_give, lock_take
from h3py._speedups.engine_streams cimport EngineStreams
from h3py._speedups.groups cimport group_hold, group_release
from h3py._speedups.marks cimport (
    KNOWN_DATA, KNOWN_MAILED, MAIL_ADOPTED, MAIL_TAKEN, REASONS, TRAIT_INDIRECT, USE_PARKED,
    USE_WATCHED,
)
from h3py._speedups.queue cimport queue_sent, queue_trim, queue_vectors
from h3py._speedups.scan cimport core_now_ms
from h3py._speedups.table cimport conn_find, conn_mail

cdef extern from "liveness.h" nogil:
    int64_t kernel_bytes_of(int fd)

cdef tuple POLICIES = ("close", "catch_up", "drop_new", "drop_oldest", "keep_latest")
cdef tuple STATES = ("switching", "live", "lagging", "paging", "closing", "closing", "closing")
cdef tuple KINDS = ("everyone", "user", "channel", "client")


cdef class EngineViews(EngineStreams):
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
            # One that is held is not asked for its bytes before its first letter.
            if indirect and not (conn.mail & MAIL_ADOPTED and not conn.known & KNOWN_MAILED):
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
            if filled:
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
        """Bytes that the kernel holds for the peer, unacknowledged ones included; 0: stale."""
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
        name; ``idle_s`` is how long ago something last left for it, or it was touched. The
        numbers are those of the pump's last round.
        """
        cdef Core* core = self.core
        cdef Conn* conn
        cdef int use = 0, phase = 0, policy = 0, reason = 0
        cdef int64_t queued = 0, events = 0, sent = 0, dropped = 0, active = 0
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
            active = max(counter_load64(&conn.sent_at), conn.touched_at)
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
            "idle_s": <double> max(0, core_now_ms(core) - active) / 1000.0,
            "groups": self.groups_of(handle),
        }

    # -- the whole -----------------------------------------------------------------

    @property
    def head(self) -> int:
        """The last sequence; 0 before the first."""
        self.check()
        lock_take(&self.core.lock)
        cdef uint64_t head = self.core.log.head
        lock_give(&self.core.lock)
        return head

    @property
    def tail(self) -> int:
        """The oldest sequence that the log holds; ``head + 1`` when it holds none."""
        self.check()
        lock_take(&self.core.lock)
        cdef uint64_t tail = self.core.log.tail
        lock_give(&self.core.lock)
        return tail

    @property
    def memory_bytes(self) -> int:
        """All memory of blocks, queues, groups and records."""
        self.check()
        return counter_load64(&self.core.account.bytes)

    def stats(self) -> dict:
        """Counters since the start, and what there is now."""
        cdef Core* core = self.core
        cdef dict found
        self.check()
        found = {
            "published": counter_load64(&core.stats.published),
            "refused": counter_load64(&core.stats.refused),
            "deliveries": counter_load64(&core.stats.deliveries),
            "merged": counter_load64(&core.stats.merged),
            "sends": counter_load64(&core.stats.sends),
            "sent_bytes": counter_load64(&core.stats.sent_bytes),
            "dropped": counter_load64(&core.stats.dropped),
            "resets": counter_load64(&core.stats.resets),
            "lags": counter_load64(&core.stats.lags),
            "lagging": counter_load64(&core.stats.lagging),
            "slow_episodes": counter_load64(&core.stats.slow_episodes),
            "heartbeats": counter_load64(&core.stats.heartbeats),
            "victims": counter_load64(&core.stats.victims),
            "rounds": counter_load64(&core.stats.rounds),
            "memory_bytes": counter_load64(&core.account.bytes),
            "blocks": counter_load64(&core.account.blocks),
        }
        closed = {}
        for code in range(1, REASONS):
            count = counter_load64(&core.stats.closed[code])
            if count:
                closed[code] = count
        found["closed"] = closed
        lock_take(&core.lock)
        cdef uint32_t connections = core.open_conns
        cdef uint32_t parked = core.parked
        cdef uint32_t groups = core.group_count
        cdef uint64_t held = core.log.head - core.log.tail + 1
        cdef int64_t log_bytes = core.log.bytes
        lock_give(&core.lock)
        found["watched"] = connections - parked
        found["parked"] = parked
        found["groups"] = groups
        found["log_events"] = held
        found["log_bytes"] = log_bytes
        return found

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
