"""The queue of unsent blocks of one connection: a ring, in C, without the GIL.

A ``Queue`` is a plain struct that its owner embeds: the ``WriteQueue`` object of
a driven connection, or a connection record of the engine. It has no lock: one
thread at a time. It holds one reference to each block in it.

The ring grows by doubling. One entry fits into the struct itself, so an
ordinary send allocates nothing, and an idle queue has no memory behind it.
``offset`` is how much of the first block has been sent: that block has *begun*,
and only blocks that have not begun may be dropped, so an event is sent whole or
not at all.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from h3py._speedups.block cimport Block, iovec

cdef enum:
    # Entries of a pump's sendmsg; the kernel's bound is 1,024.
    SEND_VECTORS = 256
    # Entries of a driven stream's: few, as they are on the stack of a thread that may wait
    # for days, and a page touched once is kept.
    SEND_VECTORS_DRIVEN = 16
    # A ring that is needed at all starts with this many entries.
    RING_FIRST = 8

cdef enum SendResult:
    SEND_DONE = 0           # the queue is empty
    SEND_PARTLY = 1         # the byte bound of this call was reached
    SEND_BLOCKED = 2        # the socket takes no more now
    SEND_LOST = 3           # the peer has gone (EPIPE, ECONNRESET, ...)
    SEND_FAILED = 4         # another errno, kept in ``error``

cdef struct Queue:
    Block** ring            # NULL: at most one entry, in ``single``
    Block* single
    uint32_t head           # index of the first entry
    uint32_t count
    uint32_t room           # entries the ring has; a power of two, or 0
    bint framed             # shared blocks leave with their chunk framing
    size_t offset           # bytes of the first entry that have been sent
    size_t bytes            # unsent bytes of all entries

cdef void queue_init(Queue* queue, bint framed) noexcept nogil
cdef int queue_reserve(Queue* queue, uint32_t entries) noexcept nogil
cdef void queue_sent(Queue* queue, size_t sent) noexcept nogil
cdef SendResult queue_send(
    Queue* queue, int fd, size_t at_most, iovec* vectors, int room, int* error
) noexcept nogil
cdef int queue_vectors(Queue* queue, size_t at_most, iovec* out, int room) noexcept nogil
cdef size_t queue_droppable(Queue* queue) noexcept nogil
cdef uint32_t queue_drop_oldest(Queue* queue, size_t limit, bint shared_only) noexcept nogil
cdef uint32_t queue_drop_key(Queue* queue, uint64_t key) noexcept nogil
cdef uint32_t queue_clear(Queue* queue) noexcept nogil
cdef void queue_trim(Queue* queue) noexcept nogil

cdef inline Block** queue_entry(Queue* queue, uint32_t index) noexcept nogil:
    """Where entry ``index`` (0 is the first) is held."""
    if queue.ring == NULL:
        return &queue.single
    return &queue.ring[(queue.head + index) & (queue.room - 1)]

cdef inline size_t queue_block_size(const Queue* queue, const Block* block) noexcept nogil:
    return block.head + block.inner + block.tail if queue.framed else block.inner

cdef inline int queue_push(Queue* queue, Block* block) noexcept nogil:
    """Append a block and take over the caller's reference; -1 without memory (nothing is taken)."""
    if queue.count >= (queue.room if queue.ring != NULL else 1):
        if queue_reserve(queue, queue.count + 1) < 0:
            return -1
    queue_entry(queue, queue.count)[0] = block
    queue.count += 1
    queue.bytes += queue_block_size(queue, block)
    return 0
