"""Growing, sending and dropping: what a ``Queue`` does beyond appending.

See ``queue.pxd`` for the struct and its rules.
"""

from libc.errno cimport (
    EAGAIN, ECONNABORTED, ECONNRESET, EINTR, ENOTCONN, EPIPE, ESHUTDOWN, ETIMEDOUT, errno,
)
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from h3py._speedups.block cimport (
    Block, block_drop, block_iov, counter_store32, fault_plans, faults_use, h3py_malloc, h3py_send,
    iovec, shown_store_size,
)

faults_use(fault_plans())


cdef void queue_init(Queue* queue, bint framed) noexcept nogil:
    """An empty queue; ``framed``: shared blocks leave as HTTP chunks."""
    memset(queue, 0, sizeof(Queue))
    queue.framed = framed


cdef int queue_reserve(Queue* queue, uint32_t entries) noexcept nogil:
    """Room for so many entries in all; -1 without memory, and then nothing has changed."""
    cdef uint32_t room = queue.room if queue.ring != NULL else RING_FIRST
    cdef uint32_t first
    cdef Block** ring
    if entries <= (queue.room if queue.ring != NULL else 1):
        return 0
    while room < entries:
        if room > <uint32_t> 1 << 30:
            return -1
        room *= 2
    ring = <Block**> h3py_malloc(room * sizeof(Block*))
    if ring == NULL:
        return -1
    if queue.ring == NULL:
        ring[0] = queue.single
    else:
        first = queue.room - queue.head
        if first > queue.count:
            first = queue.count
        memcpy(ring, queue.ring + queue.head, first * sizeof(Block*))
        memcpy(ring + first, queue.ring, (queue.count - first) * sizeof(Block*))
        free(queue.ring)
    queue.ring = ring
    queue.room = room
    queue.head = 0
    return 0


cdef inline void _advance(Queue* queue) noexcept nogil:
    counter_store32(&queue.count, queue.count - 1)
    if queue.ring != NULL:
        queue.head = (queue.head + 1) & (queue.room - 1)


cdef void queue_sent(Queue* queue, size_t sent) noexcept nogil:
    """Account for ``sent`` bytes that left from the front; drops what was sent whole.

    The one thing that a driven queue does without the GIL: others may look at its sizes.
    """
    cdef Block* block
    cdef size_t left
    shown_store_size(&queue.bytes, queue.bytes - sent)
    sent += queue.offset
    while queue.count > 0:
        block = queue_entry(queue, 0)[0]
        left = queue_block_size(queue, block)
        if sent < left:
            break
        sent -= left
        _advance(queue)
        block_drop(block)
    queue.offset = sent


cdef int queue_vectors(Queue* queue, size_t at_most, iovec* out, int room) noexcept nogil:
    """The first ``at_most`` unsent bytes as at most ``room`` entries (3 or more); how many.

    The bound is kept to the next block: a block that has been started is offered whole.
    """
    cdef int filled = 0
    cdef uint32_t index = 0
    cdef size_t skip = queue.offset
    cdef size_t taken = 0
    cdef Block* block
    while index < queue.count and filled + 3 <= room and taken < at_most:
        block = queue_entry(queue, index)[0]
        taken += queue_block_size(queue, block) - skip
        filled += block_iov(block, queue.framed, skip, out + filled)
        skip = 0
        index += 1
    return filled


cdef SendResult queue_send(
    Queue* queue, int fd, size_t at_most, iovec* vectors, int room, int* error
) noexcept nogil:
    """Send from the front until empty, blocked, failed, or ``at_most`` bytes have left.

    ``vectors`` is the caller's room for one sendmsg, at least 3 entries.
    """
    cdef size_t taken = 0
    cdef ssize_t sent
    cdef int count, i
    cdef size_t offered
    while queue.count > 0:
        if taken >= at_most:
            return SEND_PARTLY
        count = queue_vectors(queue, at_most - taken, vectors, room)
        offered = 0
        for i in range(count):
            offered += vectors[i].iov_len
        sent = h3py_send(fd, vectors, count)
        if sent < 0:
            if errno == EINTR:
                continue
            if errno == EAGAIN:  # EWOULDBLOCK is the same number wherever we run
                return SEND_BLOCKED
            error[0] = errno
            if (errno == EPIPE or errno == ECONNRESET or errno == ENOTCONN or errno == ESHUTDOWN
                    or errno == ECONNABORTED or errno == ETIMEDOUT):
                return SEND_LOST
            return SEND_FAILED
        queue_sent(queue, <size_t> sent)
        taken += <size_t> sent
        if <size_t> sent < offered:
            # The socket took a part, so it is full. Whoever waits for writability does so
            # level-triggered: asking for an EAGAIN first would only cost a call.
            return SEND_BLOCKED
    return SEND_DONE


cdef size_t queue_droppable(Queue* queue) noexcept nogil:
    """Bytes that ``queue_drop_oldest`` with ``shared_only`` could drop."""
    cdef uint32_t index
    cdef size_t bytes = 0
    cdef Block* block
    for index in range(1 if queue.offset > 0 else 0, queue.count):
        block = queue_entry(queue, index)[0]
        if block.events > 0 and block.sequence:
            bytes += queue_block_size(queue, block)
    return bytes


cdef uint32_t queue_drop_oldest(Queue* queue, size_t limit, bint shared_only) noexcept nogil:
    """Drop whole events that have not begun, oldest first, until at most ``limit`` bytes are left.

    Returns how many events went. A begun block, and bytes without a boundary, stay; with
    ``shared_only`` so does what does not come from the log: it was promised to this stream.
    """
    cdef uint32_t kept = 0, index = 0, dropped = 0
    cdef Block* block
    while index < queue.count:
        block = queue_entry(queue, index)[0]
        if (queue.bytes > limit and block.events > 0 and (block.sequence or not shared_only)
                and not (index == 0 and queue.offset > 0)):
            dropped += block.events
            queue.bytes -= queue_block_size(queue, block)
            block_drop(block)
        else:
            queue_entry(queue, kept)[0] = block
            kept += 1
        index += 1
    queue.count = kept
    return dropped


cdef uint32_t queue_drop_key(Queue* queue, uint64_t key) noexcept nogil:
    """Drop the events of one key that have not begun; returns how many went."""
    cdef uint32_t kept = 0, index = 0, dropped = 0
    cdef Block* block
    while index < queue.count:
        block = queue_entry(queue, index)[0]
        if block.key == key and block.events > 0 and not (index == 0 and queue.offset > 0):
            dropped += block.events
            queue.bytes -= queue_block_size(queue, block)
            block_drop(block)
        else:
            if kept != index:
                queue_entry(queue, kept)[0] = block
            kept += 1
        index += 1
    queue.count = kept
    return dropped


cdef uint32_t queue_clear(Queue* queue) noexcept nogil:
    """Drop everything and the ring; returns how many whole events had not begun."""
    cdef uint32_t index, events = 0
    cdef Block* block
    for index in range(queue.count):
        block = queue_entry(queue, index)[0]
        if index > 0 or queue.offset == 0:
            events += block.events
        block_drop(block)
    queue.count = 0
    queue.bytes = 0
    queue.offset = 0
    queue_trim(queue)
    return events


cdef void queue_trim(Queue* queue) noexcept nogil:
    """Give the ring back if nothing is queued."""
    if queue.count == 0 and queue.ring != NULL:
        free(queue.ring)
        queue.ring = NULL
        queue.room = 0
        queue.head = 0
