"""Blocks: counted pieces of output that many queues may share.

A block holds the bytes of one event, framed as an HTTP chunk, or bytes without
a boundary. An *owned* block carries its bytes behind the struct, framing
included, in one piece of memory. A *borrowed* block refers to an immutable
``bytes`` object and keeps only the framing itself.

``refs`` is atomic: any thread may take and drop references. The last drop of an
owned block frees it at once; the last drop of a borrowed one puts it on a list,
because a Python object is released only with the GIL. ``release_borrowed``
empties that list.

An ``Account`` adds up the memory of blocks as it physically is: each block once,
however many queues hold it. It lives until its last block and its maker let go.
"""

from cpython.object cimport PyObject
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void* iov_base
        size_t iov_len

cdef extern from "atomics.h" nogil:
    int32_t atomic_add32(int32_t* at, int32_t n)
    int32_t atomic_load32(const int32_t* at)
    void atomic_store32(int32_t* at, int32_t value)
    int32_t atomic_or32(int32_t* at, int32_t bits)
    int32_t atomic_exchange32(int32_t* at, int32_t value)
    int atomic_replace32(int32_t* at, int32_t expected, int32_t value)
    int64_t atomic_add64(int64_t* at, int64_t n)
    int64_t atomic_load64(const int64_t* at)
    void atomic_store64(int64_t* at, int64_t value)
    int64_t counter_add64(int64_t* at, int64_t n)
    int64_t counter_load64(const int64_t* at)
    void counter_store64(int64_t* at, int64_t value)
    void counter_store32(uint32_t* at, uint32_t value)
    uint32_t counter_load32(const uint32_t* at)
    void shown_store_size(size_t* at, size_t value)
    size_t shown_load_size(const size_t* at)
    void shown_store8(uint8_t* at, uint8_t value)
    uint8_t shown_load8(const uint8_t* at)
    void atomic_push(void** head, void* node)
    void* atomic_take_all(void** head)
    int atomic_is_empty(void** head)

cdef extern from "faults.h" nogil:
    int H3PY_FAULTS_BUILT
    int FAULT_MALLOC
    int FAULT_SEND
    int FAULT_KINDS
    ctypedef struct FaultPlan:
        int32_t countdown
        int32_t error
        int32_t repeat
        int64_t max_bytes
    void faults_use(FaultPlan* plans)
    void* h3py_malloc(size_t size)
    void* h3py_calloc(size_t count, size_t size)
    void* h3py_realloc(void* old, size_t size)
    ssize_t h3py_send(int fd, iovec* vec, int count)

cdef FaultPlan* fault_plans() noexcept nogil

# The most framing around a chunk's bytes: 16 hex digits and two line ends.
cdef enum:
    FRAME_HEAD_MAX = 18
    FRAME_TAIL = 2

cdef struct Account:
    int32_t refs
    int64_t bytes           # of all blocks that live
    int64_t blocks

cdef struct Block:
    void* link              # of the list of borrowed blocks to release
    int32_t refs
    uint32_t events         # whole events inside; 0: bytes without a boundary
    uint32_t head           # framing before the inner bytes, in bytes
    uint32_t tail           # framing after them
    size_t inner            # bytes between the framing
    size_t room             # owned: bytes allocated behind the struct
    uint64_t sequence       # position in the log; 0: not from the log
    uint64_t key            # of keep-latest; 0: none
    Account* account
    PyObject* owner         # borrowed: the bytes object; owned: NULL
    char* data              # owned: framing and inner bytes; borrowed: inner bytes
    char frame[FRAME_HEAD_MAX + FRAME_TAIL]   # borrowed: head, then CRLF

cdef Account* account_new() noexcept nogil
cdef void account_drop(Account* account) noexcept nogil

cdef void block_account(Block* block, Account* account) noexcept nogil
cdef Block* block_new(size_t room, Account* account) noexcept nogil
cdef Block* block_copy(const Block* block, Account* account) noexcept nogil
cdef Block* block_borrow(object data, bint framed, Account* account) except NULL
cdef void block_free(Block* block) noexcept nogil
cdef bint borrowed_waiting() noexcept nogil
cpdef int release_borrowed() except -1

cdef inline Block* block_ref(Block* block) noexcept nogil:
    atomic_add32(&block.refs, 1)
    return block

cdef inline void block_drop(Block* block) noexcept nogil:
    if atomic_add32(&block.refs, -1) == 0:
        block_free(block)

cdef inline size_t block_size(const Block* block, bint framed) noexcept nogil:
    """Bytes that a queue sends of it: with its chunk framing, or the inner part alone."""
    return block.head + block.inner + block.tail if framed else block.inner

cdef inline int block_iov(
    Block* block, bint framed, size_t skip, iovec* out
) noexcept nogil:
    """The bytes of a block from ``skip`` on, as at most three entries; returns how many."""
    cdef char* start[3]
    cdef size_t length[3]
    cdef int i, filled = 0, parts = 1
    if block.owner == NULL:
        start[0] = block.data + (0 if framed else block.head)
        length[0] = block_size(block, framed)
    elif not framed:
        start[0] = block.data
        length[0] = block.inner
    else:
        parts = 3
        start[0] = block.frame
        length[0] = block.head
        start[1] = block.data
        length[1] = block.inner
        start[2] = block.frame + FRAME_HEAD_MAX
        length[2] = block.tail
    for i in range(parts):
        if skip >= length[i]:
            skip -= length[i]
            continue
        out[filled].iov_base = start[i] + skip
        out[filled].iov_len = length[i] - skip
        skip = 0
        filled += 1
    return filled

cdef inline int frame_head_size(size_t inner) noexcept nogil:
    """Bytes of a chunk's size line, hex digits and CRLF (RFC 9112 section 7.1)."""
    cdef int digits = 1
    while inner > 15:
        inner >>= 4
        digits += 1
    return digits + 2

cdef inline char* frame_head_write(size_t inner, char* out) noexcept nogil:
    """Writes a chunk's size line; returns the end of it."""
    cdef int size = frame_head_size(inner)
    cdef int at = size - 3
    out[size - 2] = b"\r"
    out[size - 1] = b"\n"
    while at >= 0:
        out[at] = b"0123456789abcdef"[inner & 15]
        inner >>= 4
        at -= 1
    return out + size
