"""Making blocks of events, and counting who is addressed: see ``publishing.pxd``.

An event becomes one HTTP chunk, written once into memory that all streams share. Its
id line has a fixed width, so that the sequence can be written into it when the log
takes the event, without formatting anything under the lock.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from libc.stddef cimport size_t
from libc.stdint cimport uint32_t
from libc.string cimport memcpy

from h3py._speedups.block cimport (
    FRAME_HEAD_MAX, FRAME_TAIL, block_borrow, block_new, frame_head_size, frame_head_write,
)
from h3py._speedups.core cimport (
    Conn, Group, ID_DIGITS, ID_LINE, NO_SLOT, Pair, Roster, conn_at, roster_items,
)
from h3py._speedups.format cimport event_size, event_write
from h3py._speedups.log cimport hex_write
from h3py._speedups.targets cimport copy_pairs

from h3py.errors import AllocationError

cdef enum:
    # ``bytes`` above this are sent by reference.
    REFERENCE_OVER = 4096


cdef Block* piece_block(Core* core, object piece) except NULL:
    """An event or bytes as a block, framed as one chunk."""
    cdef Block* block
    cdef size_t size
    cdef char* at
    if isinstance(piece, SSEEvent):
        size = <size_t> event_size(<SSEEvent> piece)
    elif PyBytes_CheckExact(piece):
        size = <size_t> PyBytes_GET_SIZE(piece)
        if size == 0:
            raise ValueError("nothing to send: an empty chunk would end the stream")
        if size > REFERENCE_OVER:
            return block_borrow(piece, True, core.account)
    else:
        raise TypeError(f"an SSEEvent or bytes can be sent, not {type(piece).__name__}")
    block = block_new(FRAME_HEAD_MAX + size + FRAME_TAIL, core.account)
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


cdef char* write_id_line(Core* core, char* at) noexcept:
    """``id: <epoch>-``, room for the sequence, and the line's end; returns the end."""
    memcpy(at, b"id: ", 4)
    hex_write(core.epoch, ID_DIGITS, at + 4)
    at[4 + ID_DIGITS] = b"-"
    at[ID_LINE - 1] = b"\n"
    return at + ID_LINE


cdef Block* page_block(Core* core, SSEEvent event, uint64_t sequence) except NULL:
    """An event of older history as one chunk, with its id."""
    cdef size_t inner = ID_LINE + <size_t> event_size(event)
    cdef Block* block = block_new(FRAME_HEAD_MAX + inner + FRAME_TAIL, core.account)
    cdef char* at
    if block == NULL:
        raise AllocationError(f"no memory for an event of {inner} bytes")
    block.events = 1
    block.head = <uint32_t> frame_head_size(inner)
    block.inner = inner
    block.tail = FRAME_TAIL
    at = frame_head_write(inner, block.data)
    hex_write(sequence, ID_DIGITS, at + ID_LINE - 1 - ID_DIGITS)
    at = event_write(event, write_id_line(core, at))
    at[0] = b"\r"
    at[1] = b"\n"
    return block


cdef Block* event_block(
    Core* core, SSEEvent event, GroupKeys keys, Pairs pairs, bint with_id, Targets** targets,
    char** digits,
) except NULL:
    """The event as one chunk with an id line to be stamped, and its targets behind it."""
    cdef size_t line = ID_LINE if with_id else 0
    cdef size_t inner = <size_t> event_size(event) + line
    cdef size_t wire = FRAME_HEAD_MAX + inner + FRAME_TAIL
    cdef size_t aligned = (wire + 7) & ~<size_t> 7
    cdef Block* block = block_new(
        aligned + sizeof(Targets) + keys.count * sizeof(Group*)
        + pairs.count * sizeof(Pair) + pairs.text_bytes, core.account)
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
        digits[0] = at + ID_LINE - 1 - ID_DIGITS
        at = write_id_line(core, at)
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


cdef uint32_t first_turn(const Conn* conn) noexcept:
    """The first of the groups being counted that the stream is in. Lock held."""
    cdef uint32_t i, turn, first = 0xFFFFFFFF
    for i in range(conn.member_count):
        turn = conn.members[i].group.turn
        if turn and turn < first and not conn.members[i].ended:
            first = turn
    return first


cdef uint32_t count_streams(Core* core, GroupKeys keys) noexcept:
    """How many streams are in at least one of the groups. Lock held.

    For one group it is a number. Of several, a stream counts in the first that it is in;
    the members of all but the largest are looked at: those in rosters, and those whose
    mail their pump has not taken.
    """
    cdef uint32_t i, largest = 0, total
    cdef Group* group
    for i in range(1, keys.count):
        if members_of(keys.groups[i]) > members_of(keys.groups[largest]):
            largest = i
    total = members_of(keys.groups[largest]) if keys.count else 0
    if keys.count < 2:
        return total
    # The largest comes first, so that it need not be looked at.
    for i in range(keys.count):
        if keys.groups[i] != NULL:
            keys.groups[i].turn = i + 2
    if keys.groups[largest] != NULL:
        keys.groups[largest].turn = 1
    for i in range(keys.count):
        group = keys.groups[i]
        if i != largest and members_of(group):
            total += count_first(core, group)
    for i in range(keys.count):
        if keys.groups[i] != NULL:
            keys.groups[i].turn = 0
    return total


cdef uint32_t count_first(Core* core, Group* group) noexcept:
    """Members of the group for whom it is the first of those being counted. Lock held."""
    cdef uint32_t k, p, count = 0
    cdef Roster* roster
    cdef Conn* conn
    for p in range(core.pump_count):
        roster = &group.rosters[p]
        for k in range(roster.count):
            conn = conn_at(core, roster_items(roster)[k].conn)
            if (not conn.members[roster_items(roster)[k].place].ended
                    and first_turn(conn) == group.turn):
                count += 1
        conn = core.pumps[p].mail_first
        while conn != NULL:
            for k in range(conn.member_count):
                if (conn.members[k].group == group and not conn.members[k].ended
                        and conn.members[k].slot == NO_SLOT and first_turn(conn) == group.turn):
                    count += 1
            conn = conn.mail_next
    return count


cdef inline uint32_t members_of(Group* group) noexcept:
    return group.members if group != NULL else 0
