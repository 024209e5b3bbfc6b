"""``Engine``: publishing, sending, ending; the whole Python surface of the compiled core.

``engine_base`` has its memory, threads and reports, ``engine_streams`` its
connections, ``engine_groups`` who gets what. Every method may be called from any
thread; none waits, but ``drain`` and ``shut_down``, which give up the GIL.
"""

cimport cython

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from h3py._speedups.block cimport (
    Block, FRAME_HEAD_MAX, FRAME_TAIL, block_borrow, block_drop, block_new, counter_add64,
    counter_load64, frame_head_size, frame_head_write,
)
from h3py._speedups.core cimport (
    Conn, Core, GROUP_CHANNEL, GROUP_CLIENT, GROUP_USER, Group, ID_DIGITS, ID_LINE, MAIL_INBOX,
    MAIL_SPACE, NO_SLOT, Pair, REASONS, Roster, Targets, USE_PARKED, conn_at, lock_give, lock_take,
    lock_wait, roster_items,
)
from h3py._speedups.engine_groups cimport EngineGroups
from h3py._speedups.format cimport SSEEvent, event_has_id, event_size, event_write
from h3py._speedups.log cimport (
    LOG_FULL, LOG_ROOM, LogRoom, blocks_drop, hex_write, log_append, log_has_room, log_make_room,
)
from h3py._speedups.scan cimport core_now_ms
from h3py._speedups.table cimport conn_find, conn_mail, inbox_add
from h3py._speedups.targets cimport GroupKeys, Pairs, copy_pairs, metadata_pairs

from h3py.errors import (
    AllocationError, BackpressureDetected, BufferFull, ConnectionClosed, ManagerClosed,
)

cdef enum:
    # ``bytes`` above this are sent by reference.
    REFERENCE_OVER = 4096


@cython.final
cdef class Engine(EngineGroups):
    """A log, a table of connections, and the pump threads that serve them.

    Args:
        pumps: Threads that send, 1 to 64.
        log_events: Entries the log holds.
        log_bytes: Bytes of them; one larger event is taken by an empty log.
        log_age_s: Older entries go.
        max_queue_bytes: Unsent bytes per stream, unless ``adopt`` says otherwise.
        max_memory_bytes: All memory of the engine; above it streams are closed (``limit``).
        heartbeat_s: A comment to streams idle for this long; None: none, and no search
            for dead peers.
        heartbeat_misses: Heartbeats without any acknowledgement: ``timeout``.
        stall_timeout_s: A socket that takes nothing for this long: ``slow``; None: never.
        slow_write_s: A queue that has not drained for this long is reported slow.
        linger_s: How long the end of a stream may take.
        max_discard_bytes: What a client may send during a stream: ``limit``.
        half_close: ``"allow"``: a client's FIN ends nothing.
        paging: Ask (report ``page``) for what is older than the log, instead of a reset.
        heartbeat_ids: Heartbeats carry the position as an id, without data.
        clock: The time, in a test's hand.
        threaded: False: no threads; ``step`` runs one round.
        epoch: First half of every id, below 2**48; by default from the time, and chance.

    Raises:
        ValueError: A value out of range.
        OSError: The system has no descriptors left.
        AllocationError: No memory.
    """

    def send(self, uint64_t handle, piece) -> None:
        """Queue one event, or raw bytes as one chunk, for one parked stream.

        It comes after everything that was published before this call, and is not kept in
        the log.

        Raises:
            BufferFull: No room now; a ``space`` report will tell. Nothing was taken.
            ConnectionClosed: The stream is ending, or the handle is stale.
            AllocationError: No memory.
        """
        cdef Core* core = self.core
        cdef Conn* conn
        cdef Block* block = self.piece_block(piece)
        cdef int64_t size = <int64_t> (block.head + block.inner + block.tail)
        cdef int64_t queued = 0
        cdef bint needed = False, room = False, open = False
        lock_take(&core.lock)
        conn = conn_find(core, handle)
        if conn != NULL and conn.use == USE_PARKED and conn.reason == 0:
            open = True
            queued = counter_load64(&conn.visible) + conn.inbox_bytes
            room = queued == 0 or queued + size <= conn.cap
            if room:
                block.sequence = core.log.head
                conn.inbox_bytes += size
                inbox_add(conn, block)
            needed = conn_mail(core, conn, MAIL_INBOX if room else MAIL_SPACE)
        lock_give(&core.lock)
        if open:
            self.wake(conn, needed)
        if not room:
            block_drop(block)
        if not open:
            raise ConnectionClosed("the stream is ending, or has ended")
        if not room:
            raise BufferFull(f"no room for {size} bytes: {queued} of {conn.cap} are queued")

    cdef Block* piece_block(self, object piece) except NULL:
        """An event or bytes as a block, framed as one chunk."""
        cdef Block* block
        cdef size_t size
        cdef char* at
        self.check()
        if isinstance(piece, SSEEvent):
            size = <size_t> event_size(<SSEEvent> piece)
        elif PyBytes_CheckExact(piece):
            size = <size_t> PyBytes_GET_SIZE(piece)
            if size == 0:
                raise ValueError("nothing to send: an empty chunk would end the stream")
            if size > REFERENCE_OVER:
                return block_borrow(piece, True, self.core.account)
        else:
            raise TypeError(f"an SSEEvent or bytes can be sent, not {type(piece).__name__}")
        block = block_new(FRAME_HEAD_MAX + size + FRAME_TAIL, self.core.account)
        if block == NULL:
            raise AllocationError(f"no memory to queue {size} bytes")
        block.head = <uint32_t> frame_head_size(size)
        block.inner = size
        block.tail = FRAME_TAIL
        at = frame_head_write(size, block.data)
        if isinstance(piece, SSEEvent):
            block.events = 1
            at = event_write(<SSEEvent> piece, at)
        else:
            memcpy(at, PyBytes_AS_STRING(piece), size)
            at += size
        at[0] = b"\r"
        at[1] = b"\n"
        return block

    # -- publishing ------------------------------------------------------------------

    def publish(
        self,
        SSEEvent event not None,
        *,
        users=(),
        channels=(),
        clients=(),
        bint everyone=False,
        key=None,
        metadata=None,
        bint with_id=True,
    ):
        """One event to everyone who is in one of the groups; never waits.

        Args:
            event: Formatted once, for all.
            users: Names.
            channels: Names.
            clients: Names.
            everyone: All subscribed streams.
            key: Streams that keep the latest replace an unsent event of the same key.
            metadata: What ``where`` filters look at: str to str.
            with_id: Write the line ``id: <epoch>-<sequence>``. The event has no id then.

        Returns:
            The sequence, and how many streams were addressed (each once, whatever it
            filters or drops).

        Raises:
            BackpressureDetected: The log is full of what pumps have yet to walk, or memory
                is at its cap: nothing was taken, ``drain`` waits for room.
            ManagerClosed: The engine is shutting down.
            ValueError: No target; an id of the event's own with ``with_id``.
            AllocationError: No memory; nothing was taken.
        """
        cdef Core* core = self.core
        cdef GroupKeys keys = GroupKeys()
        cdef Pairs pairs
        cdef Block* block
        cdef Block* gone = NULL
        cdef Targets* targets
        cdef char* digits = NULL
        cdef uint64_t sequence = 0
        cdef uint32_t addressed = 0, i, wake = 0
        cdef LogRoom room
        cdef bint stopping = False, full = False
        cdef int missing = 0
        keys.core = core
        self.check()
        if everyone:
            keys.add_everyone()
        if users:
            keys.add(GROUP_USER, users)
        if channels:
            keys.add(GROUP_CHANNEL, channels)
        if clients:
            keys.add(GROUP_CLIENT, clients)
        if keys.count == 0:
            raise ValueError("an event needs users, channels, clients or everyone")
        if with_id and event_has_id(event):
            raise ValueError("the engine gives this event its id: it must not have one of its own")
        pairs = metadata_pairs(metadata)
        block = self.event_block(event, keys, pairs, with_id, &targets, &digits)
        if key is not None:
            # 0 means no key. Two keys are one when 64 bits hashed with Python's secret agree.
            block.key = <uint64_t> hash(key) or 1
        if counter_load64(&core.account.bytes) > core.options.max_memory:
            block_drop(block)
            self.wake_all()
            raise BackpressureDetected("the engine's memory is at its cap")
        while True:
            room = LOG_FULL
            lock_take(&core.lock)
            stopping = core.stopping
            if not stopping:
                room = log_make_room(core, <int64_t> (sizeof(Block) + block.room), &gone)
                if room == LOG_ROOM:
                    missing = keys.find()
                    if missing == 0:
                        addressed = count_streams(core, keys)
                        keys.hold()
                        for i in range(keys.count):
                            targets.groups[i] = keys.groups[i]
                        sequence = log_append(core, block, targets, digits, core_now_ms(core))
                        for i in range(core.pump_count):
                            if core.pumps[i].asleep:
                                core.pumps[i].asleep = False
                                wake += 1
            lock_give(&core.lock)
            blocks_drop(gone)
            gone = NULL
            if sequence or stopping or room == LOG_FULL:
                break
            if room == LOG_ROOM:
                try:
                    keys.make()
                except BaseException:
                    block_drop(block)
                    raise
        if sequence == 0:
            block_drop(block)
            if stopping:
                raise ManagerClosed("the engine is shutting down")
            counter_add64(&core.stats.refused, 1)
            raise BackpressureDetected("the log is full of events that have yet to be sent")
        if wake:
            self.wake_all()
        counter_add64(&core.stats.published, 1)
        return sequence, addressed

    cdef Block* event_block(
        self, SSEEvent event, GroupKeys keys, Pairs pairs, bint with_id, Targets** targets,
        char** digits,
    ) except NULL:
        """The event as one chunk with an id line to be stamped, and its targets behind it."""
        cdef size_t line = ID_LINE if with_id else 0
        cdef size_t inner = <size_t> event_size(event) + line
        cdef size_t wire = FRAME_HEAD_MAX + inner + FRAME_TAIL
        cdef size_t aligned = (wire + 7) & ~<size_t> 7
        cdef Block* block = block_new(
            aligned + sizeof(Targets) + keys.count * sizeof(Group*)
            + pairs.count * sizeof(Pair) + pairs.text_bytes, self.core.account)
        cdef Targets* found
        cdef char* at
        if block == NULL:
            raise AllocationError(f"no memory for an event of {inner} bytes")
        block.events = 1
        block.head = <uint32_t> frame_head_size(inner)
        block.inner = inner
        block.tail = FRAME_TAIL
        at = frame_head_write(inner, block.data)
        if with_id:
            memcpy(at, b"id: ", 4)
            hex_write(self.core.epoch, ID_DIGITS, at + 4)
            at[4 + ID_DIGITS] = b"-"
            digits[0] = at + 4 + ID_DIGITS + 1
            at[ID_LINE - 1] = b"\n"
            at += ID_LINE
        at = event_write(event, at)
        at[0] = b"\r"
        at[1] = b"\n"
        found = <Targets*> (block.data + aligned)
        found.groups = <Group**> (found + 1)
        found.group_count = keys.count
        found.pairs = <Pair*> (found.groups + keys.count)
        found.pair_count = pairs.count
        copy_pairs(pairs, found.pairs, <char*> (found.pairs + pairs.count))
        targets[0] = found
        return block

    def drain(self, timeout_s=None) -> bool:
        """Wait, without the GIL, until the log has room for a while of publishing.

        Args:
            timeout_s: At most so long; None: as long as it takes.

        Returns:
            False: the time is up, or the engine ended.
        """
        cdef Core* core = self.core
        cdef int64_t left = -1 if timeout_s is None else <int64_t> (max(0.0, timeout_s) * 1e9)
        cdef int64_t slice_ns
        cdef bint room = False, ended = False
        self.check()
        while True:
            with nogil:
                lock_take(&core.lock)
                core.waiting += 1
                room = log_has_room(core)
                if not room and left != 0 and not core.stopped:
                    # In slices, so that a signal's handler gets its turn.
                    slice_ns = 50000000 if left < 0 or left > 50000000 else left
                    lock_wait(&core.lock, slice_ns)
                    if left > 0:
                        left -= slice_ns
                    room = log_has_room(core)
                core.waiting -= 1
                ended = core.stopped
                lock_give(&core.lock)
            if room or ended or left == 0:
                return room and not ended
            PyErr_CheckSignals()

    # -- looking -----------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The first half of every id."""
        return self.core.epoch

    @property
    def head(self) -> int:
        """The last sequence; 0 before the first."""
        lock_take(&self.core.lock)
        cdef uint64_t head = self.core.log.head
        lock_give(&self.core.lock)
        return head

    @property
    def tail(self) -> int:
        """The oldest sequence that the log holds; ``head + 1`` when it holds none."""
        lock_take(&self.core.lock)
        cdef uint64_t tail = self.core.log.tail
        lock_give(&self.core.lock)
        return tail

    @property
    def memory_bytes(self) -> int:
        """All memory of blocks, queues, groups and records."""
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


cdef bint in_one_of(const Conn* conn, Group** groups, uint32_t count) noexcept:
    """Whether the stream is in one of the groups. Lock held."""
    cdef uint32_t i, j
    for i in range(conn.member_count):
        if not conn.members[i].ended:
            for j in range(count):
                if groups[j] == conn.members[i].group:
                    return True
    return False


cdef uint32_t count_streams(Core* core, GroupKeys keys) noexcept:
    """How many streams are in at least one of the groups. Lock held.

    For one group it is a number. For several, the members of all but the first are looked
    at: those in rosters, and those whose mail their pump has not taken.
    """
    cdef uint32_t i, k, p, largest = 0
    cdef uint32_t total
    cdef Group* group
    cdef Roster* roster
    cdef Conn* conn
    for i in range(1, keys.count):
        if members_of(keys.groups[i]) > members_of(keys.groups[largest]):
            largest = i
    if keys.count > 1:
        # The largest first, so that it need not be looked at. Its key moves along.
        keys.swap(0, largest)
    total = members_of(keys.groups[0])
    for i in range(1, keys.count):
        group = keys.groups[i]
        if members_of(group) == 0:
            continue
        for p in range(core.pump_count):
            roster = &group.rosters[p]
            for k in range(roster.count):
                conn = conn_at(core, roster_items(roster)[k].conn)
                if (not conn.members[roster_items(roster)[k].place].ended
                        and not in_one_of(conn, keys.groups, i)):
                    total += 1
            conn = core.pumps[p].mail_first
            while conn != NULL:
                for k in range(conn.member_count):
                    if (conn.members[k].group == group and not conn.members[k].ended
                            and conn.members[k].slot == NO_SLOT
                            and not in_one_of(conn, keys.groups, i)):
                        total += 1
                conn = conn.mail_next
    return total


cdef inline uint32_t members_of(Group* group) noexcept:
    return group.members if group != NULL else 0
