"""The live walk, and the policies: see ``deliver.pxd``."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcpy

from h3py._speedups.block cimport (
    FRAME_HEAD_MAX, FRAME_TAIL, atomic_add32, block_drop, block_new, block_ref, counter_add64,
    counter_store32, fault_plans, faults_use, frame_head_size, frame_head_write,
)
from h3py._speedups.core cimport (
    Group, LogEntry, Member, Roster, conn_at, lock_give, lock_take, roster_items, set_phase,
)
from h3py._speedups.marks cimport (
    ODD_CLOSE, ODD_GROUPS, ODD_INBOX, ODD_INDIRECT, ODD_MISSED, ODD_WHERE, PHASE_LAGGING,
    PHASE_LIVE, POLICY_CATCH_UP, POLICY_CLOSE, POLICY_DROP_OLDEST, POLICY_KEEP_LATEST,
    REASON_LIMIT, REASON_SLOW, TOLD_LAGGING, TRAIT_NOTICES,
)
from h3py._speedups.lag cimport tell_missed
from h3py._speedups.log cimport entry_bytes, entry_is_for, filter_accepts, log_entry
from h3py._speedups.queue cimport (
    queue_block_size, queue_drop_key, queue_drop_oldest, queue_droppable,
)
from h3py._speedups.shard cimport stream_push, stream_push_inbox, stream_touch
from h3py._speedups.table cimport report

faults_use(fault_plans())

cdef enum:
    # What one walk takes, at most: more gains nothing (a sendmsg of this size spends its time
    # copying), and half of a queue at its default cap can always be taken by an empty one.
    WALK_BYTES = 32 * 1024
    WALK_ENTRIES = 512


cdef inline bint has_room(const Conn* conn, size_t size) noexcept nogil:
    """A stream's cap is kept to max(cap, one event)."""
    return conn.queue.count == 0 or conn.queue.bytes + size <= conn.cap


cdef uint64_t walk(Pump* pump, uint64_t head) noexcept nogil:
    """Offer a bounded number of entries up to ``head`` to the live streams; the new position."""
    cdef uint64_t first = pump.position + 1
    cdef uint64_t last = pump.position
    cdef uint64_t end
    cdef size_t bytes = 0, most = pump.core.options.max_queue // 2
    cdef Block* block
    if most > WALK_BYTES:
        most = WALK_BYTES
    while last < head and last - pump.position < WALK_ENTRIES and bytes < most:
        last += 1
        block = log_entry(&pump.core.log, last).block
        pump.position_bytes += entry_bytes(block)
        bytes += block.head + block.inner + block.tail
    pump.rotation += 1
    while first <= last:
        end = run_end(pump, first, last)
        deliver(pump, first, end)
        first = end + 1
    return last


cdef uint64_t run_end(Pump* pump, uint64_t first, uint64_t last) noexcept nogil:
    """The last of the entries from ``first`` on that may share a block."""
    cdef LogEntry* entry = log_entry(&pump.core.log, first)
    cdef LogEntry* other
    cdef Group* group
    if entry.targets.group_count != 1 or entry.targets.pair_count or entry.block.key:
        return first
    group = entry.targets.groups[0]
    while first < last:
        other = log_entry(&pump.core.log, first + 1)
        if (other.targets.group_count != 1 or other.targets.groups[0] != group
                or other.targets.pair_count or other.block.key):
            break
        first += 1
    return first


cdef Block* merge(Pump* pump, uint64_t first, uint64_t last) noexcept nogil:
    """The entries as one block, in one chunk; NULL without memory."""
    cdef size_t inner = 0
    cdef uint64_t sequence
    cdef Block* block
    cdef Block* merged
    cdef char* at
    for sequence in range(first, last + 1):
        inner += log_entry(&pump.core.log, sequence).block.inner
    merged = block_new(FRAME_HEAD_MAX + inner + FRAME_TAIL, pump.core.account)
    if merged == NULL:
        return NULL
    merged.head = <uint32_t> frame_head_size(inner)
    merged.inner = inner
    merged.tail = FRAME_TAIL
    merged.sequence = first
    at = frame_head_write(inner, merged.data)
    for sequence in range(first, last + 1):
        block = log_entry(&pump.core.log, sequence).block
        memcpy(at, block.data + block.head, block.inner)
        at += block.inner
        merged.events += block.events
    at[0] = b"\r"
    at[1] = b"\n"
    counter_add64(&pump.core.stats.merged, <int64_t> (last - first + 1))
    return merged


cdef void deliver(Pump* pump, uint64_t first, uint64_t last) noexcept nogil:
    """Offer entries of one group, or one entry, to their members."""
    cdef LogEntry* entry = log_entry(&pump.core.log, first)
    cdef Targets* targets = entry.targets
    cdef Block* merged = NULL
    cdef Block* block = entry.block
    cdef Roster* roster
    cdef Member* items
    cdef Conn* conn
    cdef uint32_t _, g, at, taken
    cdef uint64_t sequence
    for g in range(targets.group_count):
        roster = &targets.groups[g].rosters[pump.number]
        if roster.count == 0:
            continue
        items = roster_items(roster)
        if last > first:
            merged = merge(pump, first, last)
            if merged != NULL:
                block = merged
        # One addition for all members; those that take none are given back below.
        atomic_add32(&block.refs, <int> roster.count)
        taken = 0
        at = pump.rotation % roster.count
        for _ in range(roster.count):
            conn = conn_at(pump.core, items[at].conn)
            at += 1
            if at == roster.count:
                at = 0
            if conn.phase != PHASE_LIVE or conn.last >= last:
                continue
            # Several events in one block are kept to the cap; one may be larger.
            if conn.odd == 0 and (
                has_room(conn, queue_block_size(&conn.queue, block)) if first == last
                else merged != NULL
                and conn.queue.bytes + queue_block_size(&conn.queue, block) <= conn.cap
            ):
                if stream_push(pump, conn, block) == 0:
                    taken += 1
                    conn.last = last
                    continue
                conn.verdict = REASON_LIMIT
                stream_touch(pump, conn)
                continue
            for sequence in range(first, last + 1):
                if conn.phase == PHASE_LIVE and conn.last < sequence and not conn.verdict:
                    entry = log_entry(&pump.core.log, sequence)
                    offer(pump, conn, entry.block, entry.targets)
        counter_add64(&pump.core.stats.deliveries, <int64_t> (taken * (last - first + 1)))
        if taken < roster.count:
            atomic_add32(&block.refs, -<int> (roster.count - taken))
        if merged != NULL:
            block_drop(merged)
            merged = NULL


cdef bint odd_entry(Pump* pump, Conn* conn, Block* block, Targets* targets) noexcept nogil:
    """What is out of the ordinary before an entry is queued; False: it is not for this stream."""
    cdef bint wanted = True
    if conn.odd & ODD_INBOX and not stream_push_inbox(pump, conn, block.sequence - 1):
        conn.odd &= ~ODD_INBOX & 0xFF
    if conn.odd & (ODD_GROUPS | ODD_CLOSE):
        lock_take(&pump.core.lock)
        wanted = entry_is_for(conn, targets, block.sequence)
        lock_give(&pump.core.lock)
    if wanted and conn.odd & ODD_WHERE:
        wanted = filter_accepts(conn.filter, targets)
    if wanted and conn.odd & ODD_MISSED:
        tell_missed(pump, conn)
    return wanted and not conn.verdict


cdef void offer(Pump* pump, Conn* conn, Block* block, Targets* targets) noexcept nogil:
    """One entry to one live stream: queued, or what its policy says."""
    cdef size_t size
    cdef uint32_t dropped = 0, replaced
    cdef bint shared = conn.odd & ODD_INDIRECT
    if conn.odd and not odd_entry(pump, conn, block, targets):
        return
    size = queue_block_size(&conn.queue, block)
    if shared:
        lock_take(&pump.core.lock)
    if conn.policy == POLICY_KEEP_LATEST and block.key:
        # Replaced, not lost: counted, but no reason for a notice.
        replaced = queue_drop_key(&conn.queue, block.key)
        counter_store32(&conn.dropped, conn.dropped + replaced)
        counter_add64(&pump.core.stats.dropped, replaced)
    if not has_room(conn, size):
        # Nothing old goes for a new event that would find no room even so.
        if conn.policy >= POLICY_DROP_OLDEST and (
            size + conn.queue.bytes - queue_droppable(&conn.queue) <= conn.cap
        ):
            dropped = queue_drop_oldest(&conn.queue, conn.cap - size, True)
        if not has_room(conn, size):
            if shared:
                lock_give(&pump.core.lock)
            no_room(pump, conn, block)
            return
    if shared:
        lock_give(&pump.core.lock)
    if dropped:
        count_drops(pump, conn, dropped)
    conn.last = block.sequence
    if stream_push(pump, conn, block_ref(block)) < 0:
        block_drop(block)
        conn.verdict = REASON_LIMIT
        stream_touch(pump, conn)
        return
    counter_add64(&pump.core.stats.deliveries, 1)


cdef void no_room(Pump* pump, Conn* conn, Block* block) noexcept nogil:
    if conn.policy == POLICY_CATCH_UP:
        # It reads on in the log, from here, when its socket has drained.
        set_phase(pump, conn, PHASE_LAGGING)
        conn.last = block.sequence - 1
        counter_add64(&pump.core.stats.lags, 1)
        report(pump, conn, TOLD_LAGGING)
    elif conn.policy == POLICY_CLOSE:
        conn.verdict = REASON_SLOW
        stream_touch(pump, conn)
    else:
        conn.last = block.sequence
        count_drops(pump, conn, block.events)


cdef void count_drops(Pump* pump, Conn* conn, uint32_t dropped) noexcept nogil:
    counter_store32(&conn.dropped, conn.dropped + dropped)
    conn.missed += dropped
    counter_add64(&pump.core.stats.dropped, dropped)
    if conn.traits & TRAIT_NOTICES:
        conn.odd |= ODD_MISSED
