"""``Engine``: publishing, sending, ending; the whole Python surface of the compiled core.

``engine_base`` has its memory, threads and reports, ``engine_streams`` its
connections, ``engine_groups`` who gets what. Every method may be called from any
thread; none waits, but ``drain`` and ``shut_down``, which give up the GIL.
"""

cimport cython

from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t

from h3py._speedups.block cimport Block, block_drop, counter_add64, counter_load64
from h3py._speedups.core cimport (
    Conn, Core, ID_DIGITS, MAX_FAREWELLS, Targets, lock_give, lock_take, lock_wait, monotonic_ns,
)
from h3py._speedups.marks cimport (
    GROUP_CHANNEL, GROUP_CLIENT, GROUP_USER, MAIL_INBOX, MAIL_SPACE, REASONS, USE_PARKED,
)
from h3py._speedups.engine_groups cimport EngineGroups
from h3py._speedups.engine_streams cimport milliseconds
from h3py._speedups.format cimport SSEEvent, event_has_id
from h3py._speedups.log cimport (
    LOG_FULL, LOG_ROOM, LogRoom, blocks_drop, log_append, log_has_room, log_make_room,
)
from h3py._speedups.publishing cimport count_streams, event_block, piece_block
from h3py._speedups.scan cimport core_now_ms
from h3py._speedups.table cimport conn_find, conn_mail, inbox_add
from h3py._speedups.targets cimport GroupKeys, Pairs, metadata_pairs

from h3py._speedups.reporting import Counters, Report
from h3py.errors import (
    BackpressureDetected, BufferFull, ConnectionClosed, EventTooLarge, ManagerClosed,
)

__all__ = ["Counters", "Engine", "Report"]


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
        self.check()
        cdef Block* block = piece_block(core, piece)
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

    # -- publishing ------------------------------------------------------------------

    def publish(
        self,
        SSEEvent event not None,
        users=(),
        channels=(),
        clients=(),
        bint everyone=False,
        key=None,
        metadata=None,
        bint with_id=True,
        uint64_t version=0,
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
            version: What the caller knows, see `require`.

        Returns:
            The sequence, and how many streams were addressed (each once, whatever it
            filters or drops). None: a higher version was required; nothing was taken.

        Raises:
            BackpressureDetected: The log is full, half of it of what pumps have yet to walk,
                or memory is at its cap: nothing was taken, ``drain`` waits for room.
            ManagerClosed: The engine is shutting down.
            EventTooLarge: Above half of ``max_memory_bytes``.
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
        cdef bint stopping = False, outdated = False
        cdef int missing = 0
        cdef int64_t size
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
        block = event_block(core, event, keys, pairs, with_id, &targets, &digits)
        if <int64_t> (sizeof(Block) + block.room) > core.options.max_memory // 2:
            block_drop(block)
            raise EventTooLarge("an event above half of max_memory_bytes would empty all queues")
        if key is not None:
            # 0 means no key. Two keys are one when 64 bits hashed with Python's secret agree.
            block.key = <uint64_t> hash(key) or 1
        if counter_load64(&core.account.bytes) > core.options.max_memory:
            # With this event. The pumps close who holds on to the oldest ones.
            size = <int64_t> (sizeof(Block) + block.room)
            block_drop(block)
            lock_take(&core.lock)
            for i in range(core.pump_count):
                if core.pumps[i].wanted < size:
                    core.pumps[i].wanted = size
            lock_give(&core.lock)
            self.wake_all()
            raise BackpressureDetected("the engine's memory is at its cap")
        while True:
            room = LOG_FULL
            lock_take(&core.lock)
            stopping = core.stopping
            outdated = version < core.version
            if not stopping and not outdated:
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
            if sequence or stopping or outdated or room == LOG_FULL:
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
            if outdated:
                return None
            counter_add64(&core.stats.refused, 1)
            raise BackpressureDetected("the log is full of events that have yet to be sent")
        if wake:
            self.wake_all()
        counter_add64(&core.stats.published, 1)
        return sequence, addressed

    def require(self, uint64_t version) -> int:
        """From here on no event is taken whose publisher gives a lower version.

        Returns:
            The last sequence that was taken before.
        """
        cdef uint64_t head
        self.check()
        lock_take(&self.core.lock)
        if version > self.core.version:
            self.core.version = version
        head = self.core.log.head
        lock_give(&self.core.lock)
        return head

    def drain(self, timeout_s=None, *, bint lagging=False) -> bool:
        """Wait, without the GIL, until the log has room for a while of publishing.

        Args:
            timeout_s: At most so long; None: as long as it takes.
            lagging: Wait also until no stream lags: a publisher that must not outrun any
                client goes at the pace of the slowest.

        Returns:
            False: the time is up, or the engine ended.
        """
        cdef Core* core = self.core
        # A year is long enough for "as long as it takes", and no sum can overflow.
        cdef double seconds = 3e7 if timeout_s is None else min(max(0.0, timeout_s), 3e7)
        cdef int64_t until = monotonic_ns() + <int64_t> (seconds * 1e9)
        cdef int64_t left = 1
        cdef bint room = False, ended = False
        self.check()
        while True:
            with nogil:
                lock_take(&core.lock)
                room = may_go_on(core, lagging)
                left = until - monotonic_ns()
                if not room and left > 0 and not core.stopped:
                    # In slices, so that a signal's handler gets its turn.
                    core.waiting += 1
                    lock_wait(&core.lock, 50000000 if left > 50000000 else left)
                    core.waiting -= 1
                    room = may_go_on(core, lagging)
                ended = core.stopped
                lock_give(&core.lock)
            if room or ended or left <= 0:
                return room and not ended
            PyErr_CheckSignals()

    def ask_room(self) -> bool:
        """Whether the log has room now, as ``drain``; if not, a ``room`` report will tell, once."""
        cdef Core* core = self.core
        cdef bint room
        self.check()
        lock_take(&core.lock)
        room = log_has_room(core)
        if not room:
            core.room_wanted = True
        lock_give(&core.lock)
        return room

    def shutdown(self, *, int reason, farewell=None, window_s=0.0, deadline_s=10.0) -> None:
        """Begin to end: no more publishing and subscribing, every parked stream is closed.

        Each stream gets what was published to it before its turn, then ``farewell``, then
        its end. Returns at once; ``shut_down`` waits.

        Args:
            reason: A ``CloseReason.code``.
            farewell: Bytes that every stream gets last, such as an event with ``retry``; or up
                to 16 of them, of which each stream gets one, so that not all come back at once.
                A connection that is only being closed gets none: see ``adopt``.
            window_s: The ends are spread over this time, in no particular order.
            deadline_s: What has not ended by then is cut. Called again, this can only come
                nearer; the rest stays as it was.

        Raises:
            ValueError: A reason that is none, a time out of range, a farewell without bytes or
                more than 16.
            AllocationError: No memory; nothing has begun.
        """
        cdef Core* core = self.core
        cdef (Block*)[MAX_FAREWELLS] words
        cdef uint32_t count = 0, i
        cdef int64_t window, deadline, now
        self.check()
        if not 0 < reason < REASONS:
            raise ValueError(f"reason must be the code of a CloseReason, not {reason}")
        window = milliseconds(window_s, "window_s")
        deadline = milliseconds(deadline_s, "deadline_s")
        if farewell is None:
            farewell = ()
        elif isinstance(farewell, (bytes, bytearray, memoryview)):
            farewell = (farewell,)
        farewell = [bytes(one) for one in farewell]
        if len(farewell) > MAX_FAREWELLS:
            raise ValueError(f"farewell may be {MAX_FAREWELLS} at most, not {len(farewell)}")
        try:
            for one in farewell:
                words[count] = piece_block(core, one)
                count += 1
        except BaseException:
            for i in range(count):
                block_drop(words[i])
            raise
        now = core_now_ms(core)
        lock_take(&core.lock)
        if not core.stopping:
            core.stopping = True
            core.stop_reason = <uint8_t> reason
            core.stop_from_ms = now
            core.stop_window_ms = window if window_s else 0
            core.stop_at_ms = now + deadline
            core.farewell_count = count
            for i in range(count):
                core.farewells[i] = words[i]
            count = 0
        elif now + deadline < core.stop_at_ms:
            core.stop_at_ms = now + deadline
        lock_give(&core.lock)
        for i in range(count):
            block_drop(words[i])
        self.wake_all()

    # -- looking -----------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The first half of every id."""
        return self.core.epoch

    def event_id(self, uint64_t sequence) -> str:
        """The id that the event of this sequence has on the wire."""
        return f"{self.core.epoch:012x}-{sequence:012x}"

    def position_of(self, str event_id not None):
        """The sequence in an id; None for one that this engine has not given."""
        epoch, _, digits = event_id.partition("-")
        if len(event_id) != 2 * ID_DIGITS + 1 or len(digits) != ID_DIGITS:
            return None
        try:
            if bytes.fromhex(epoch) != (<object> self.core.epoch).to_bytes(ID_DIGITS // 2, "big"):
                return None
            sequence = int.from_bytes(bytes.fromhex(digits), "big")
        except ValueError:
            return None
        # As it was given, and not in another spelling: fromhex passes over white space.
        return sequence if self.event_id(sequence) == event_id else None


cdef inline bint may_go_on(Core* core, bint lagging) noexcept nogil:
    """Whether a publisher may go on. Lock held."""
    return log_has_room(core) and (not lagging or counter_load64(&core.stats.lagging) == 0)
