"""Appending, evicting and matching: see ``log.pxd``."""

from libc.stdint cimport uint32_t
from libc.stdlib cimport free
from libc.string cimport memcmp

from h3py._speedups.block cimport Block, block_drop, fault_plans, faults_use, h3py_calloc
from h3py._speedups.core cimport Group, ID_DIGITS, Membership, Pair
from h3py._speedups.groups cimport group_release

faults_use(fault_plans())

cdef enum:
    # Entries that go in one hold of the lock.
    EVICT_BATCH = 64


cdef int log_init(
    Core* core, int64_t max_events, int64_t max_bytes, int64_t max_age_ms
) noexcept nogil:
    """The ring, as large as it may become (the system hands out its pages when they are used)."""
    cdef uint64_t room = 1
    while room < <uint64_t> max_events:
        room *= 2
    core.log.ring = <LogEntry*> h3py_calloc(room, sizeof(LogEntry))
    if core.log.ring == NULL:
        return -1
    core.log.mask = room - 1
    core.log.tail = 1
    core.log.max_events = <uint64_t> max_events
    core.log.max_bytes = max_bytes
    core.log.max_age_ms = max_age_ms
    return 0


cdef void log_free(Core* core) noexcept nogil:
    cdef Block* gone = NULL
    if core.log.ring == NULL:
        return
    while core.log.tail <= core.log.head:
        evict(core, &gone)
    blocks_drop(gone)
    free(core.log.ring)
    core.log.ring = NULL


cdef void blocks_drop(Block* gone) noexcept nogil:
    """Drop what the log has let go of; without the lock, since freeing may take a while."""
    cdef Block* next_block
    while gone != NULL:
        next_block = <Block*> gone.link
        block_drop(gone)
        gone = next_block


cdef void evict(Core* core, Block** gone) noexcept nogil:
    """Let the oldest entry go. Lock held."""
    cdef LogEntry* entry = log_entry(&core.log, core.log.tail)
    cdef uint32_t i
    cdef Group* group
    for i in range(entry.targets.group_count):
        group = entry.targets.groups[i]
        group.evicted = core.log.tail
        group_release(core, group)
    core.log.bytes -= entry_bytes(entry.block)
    entry.block.link = gone[0]
    gone[0] = entry.block
    entry.block = NULL
    core.log.tail += 1


cdef uint64_t log_walked(Core* core) noexcept nogil:
    """The position that every pump has reached. Lock held."""
    cdef uint64_t walked = core.log.head
    cdef uint32_t i
    for i in range(core.pump_count):
        if core.pumps[i].walked < walked:
            walked = core.pumps[i].walked
    return walked


cdef int64_t unwalked_bytes(Core* core) noexcept nogil:
    """Bytes of the entries that some pump has yet to walk. Lock held."""
    cdef int64_t walked = core.log.appended
    cdef uint32_t i
    for i in range(core.pump_count):
        if core.pumps[i].walked_bytes < walked:
            walked = core.pumps[i].walked_bytes
    return core.log.appended - walked


cdef inline bint fits(Core* core, int64_t size) noexcept nogil:
    """Whether an entry needs nothing to go for it. Lock held."""
    return core.log.tail > core.log.head or (
        core.log.head - core.log.tail + 1 < core.log.max_events
        and core.log.bytes + size <= core.log.max_bytes
    )


cdef LogRoom log_make_room(Core* core, int64_t size, Block** gone) noexcept nogil:
    """Let entries go until one of ``size`` bytes fits, some at a time. Lock held.

    Nothing goes for an entry that will be refused even so.
    """
    cdef uint64_t unwalked
    cdef int64_t bytes
    cdef int count = 0
    if fits(core, size):
        return LOG_ROOM
    unwalked = core.log.head - log_walked(core)
    if unwalked:
        bytes = unwalked_bytes(core)
        if (2 * unwalked > core.log.max_events or 2 * bytes > core.log.max_bytes
                or bytes + size > core.log.max_bytes):
            return LOG_FULL
    while not fits(core, size):
        if count == EVICT_BATCH:
            return LOG_AGAIN
        evict(core, gone)
        count += 1
    return LOG_ROOM


cdef bint log_has_room(Core* core) noexcept nogil:
    """Whether publishing can go on for a quarter of the log. Lock held."""
    cdef int64_t most = <int64_t> core.log.max_events
    cdef int64_t held = <int64_t> (core.log.head - core.log.tail + 1)
    cdef int64_t unwalked = <int64_t> (core.log.head - log_walked(core))
    if unwalked == 0:
        return True
    # What is free is taken whatever waits; what has been walked goes while less than half waits.
    return max(most - held, most // 2 - unwalked) >= (most + 3) // 4 and max(
        core.log.max_bytes - core.log.bytes, core.log.max_bytes // 2 - unwalked_bytes(core)
    ) >= core.log.max_bytes // 4


cdef uint64_t log_append(
    Core* core, Block* block, Targets* targets, char* digits, int64_t now_ms
) noexcept nogil:
    """Give the block the next sequence, stamp it, and append it. Lock held; there is room.

    Takes over one reference to the block and one to each group.
    """
    cdef LogEntry* entry
    core.log.head += 1
    block.sequence = core.log.head
    if digits != NULL:
        hex_write(core.log.head, ID_DIGITS, digits)
    entry = log_entry(&core.log, core.log.head)
    entry.block = block
    entry.targets = targets
    entry.at_ms = now_ms
    core.log.bytes += entry_bytes(block)
    core.log.appended += entry_bytes(block)
    return core.log.head


cdef bint log_expire(Core* core, int64_t now_ms, Block** gone) noexcept nogil:
    """Let entries go that are too old; True: call again. Lock held."""
    cdef uint64_t walked = log_walked(core)
    cdef int count = 0
    while core.log.tail <= walked:
        if now_ms - log_entry(&core.log, core.log.tail).at_ms <= core.log.max_age_ms:
            return False
        if count == EVICT_BATCH:
            return True
        evict(core, gone)
        count += 1
    return False


cdef void log_shorten(Core* core, Block** gone) noexcept nogil:
    """Let some of the oldest entries go, to save memory. Lock held."""
    cdef uint64_t walked = log_walked(core)
    cdef int count = 0
    while core.log.tail <= walked and count < EVICT_BATCH:
        evict(core, gone)
        count += 1


cdef void hex_write(uint64_t value, int digits, char* out) noexcept nogil:
    """Fixed-width hexadecimal digits, leading zeros included."""
    while digits > 0:
        digits -= 1
        out[digits] = b"0123456789abcdef"[value & 15]
        value >>= 4


cdef bint entry_is_for(const Conn* conn, const Targets* targets, uint64_t sequence) noexcept nogil:
    """Whether a membership of the stream covers the entry. Lock held."""
    cdef uint32_t i, j
    cdef const Membership* membership
    for i in range(conn.member_count):
        membership = &conn.members[i]
        if sequence < membership.since or (membership.ended and sequence > membership.until):
            continue
        for j in range(targets.group_count):
            if targets.groups[j] == membership.group:
                return True
    return False


cdef bint lost_after(const Conn* conn, uint64_t position) noexcept nogil:
    """Whether the log has lost something of the stream's own groups after it. Lock held."""
    cdef uint32_t i
    cdef const Membership* membership
    cdef uint64_t evicted
    for i in range(conn.member_count):
        membership = &conn.members[i]
        evicted = membership.group.evicted
        # What was lost before it joined, or after it left, it would not have got.
        if evicted > position and evicted >= membership.since and (
            not membership.ended or membership.until > position
        ):
            return True
    return False


cdef inline bint pair_matches(const Pair* wanted, const Pair* given) noexcept nogil:
    return (wanted.key_hash == given.key_hash and wanted.value_hash == given.value_hash
            and wanted.key_size == given.key_size and wanted.value_size == given.value_size
            and memcmp(wanted.key, given.key, wanted.key_size) == 0
            and memcmp(wanted.value, given.value, wanted.value_size) == 0)


cdef bint filter_accepts(const Filter* where, const Targets* targets) noexcept nogil:
    """Whether each key of the filter has one of its accepted values in the event's metadata."""
    cdef uint32_t i = 0, j, start
    cdef bint found
    while i < where.pair_count:
        start = i
        found = False
        # Pairs of one key share the pointer to its text.
        while i < where.pair_count and where.pairs[i].key == where.pairs[start].key:
            if not found:
                for j in range(targets.pair_count):
                    if pair_matches(&where.pairs[i], &targets.pairs[j]):
                        found = True
                        break
            i += 1
        if not found:
            return False
    return True
