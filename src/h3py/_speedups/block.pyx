"""Making and freeing blocks; the list of borrowed objects; what the tests may ask.

See ``block.pxd`` for what a block is and who owns it.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from h3py.errors import AllocationError

# Borrowed blocks that nobody uses any more, waiting for the GIL.
cdef void* _released = NULL

cdef FaultPlan[4] _fault_plans
cdef tuple _FAULTS = ("malloc", "send", "silence", "thread")
memset(_fault_plans, 0, sizeof(_fault_plans))
faults_use(_fault_plans)

FAULTS_BUILT = bool(H3PY_FAULTS_BUILT)
"""Whether this build can inject faults (compiled with ``-DH3PY_FAULTS``)."""


cdef FaultPlan* fault_plans() noexcept nogil:
    """What the other compiled modules hand to ``faults_use`` when they are imported."""
    return _fault_plans


def plan_fault(kind: str, *, int after=1, int times=1, int error=0, int64_t max_bytes=0):
    """Let a coming allocation or send fail; for tests, in a build with faults only.

    Args:
        kind: ``"malloc"``, ``"send"``, ``"thread"`` (starting one), or ``"silence"`` (how long
            peers have not been heard of).
        after: The call that fails first, counted from 1; 0 switches failing off.
        times: How many calls in a row fail.
        error: The errno of a failing send or thread.
        max_bytes: Sends take at most this many bytes each; 0 switches that off. Milliseconds
            of silence.

    Raises:
        RuntimeError: This build has no faults.
        ValueError: An unknown kind.
    """
    if not H3PY_FAULTS_BUILT:
        raise RuntimeError("this build has no fault hooks: compile with -DH3PY_FAULTS")
    if kind not in _FAULTS:
        raise ValueError(f"kind must be one of {', '.join(_FAULTS)}, not {kind!r}")
    cdef FaultPlan* plan = &_fault_plans[_FAULTS.index(kind)]
    atomic_store32(&plan.countdown, 0)
    atomic_store32(&plan.error, error)
    atomic_store32(&plan.repeat, times)
    atomic_store64(&plan.max_bytes, max_bytes)
    atomic_store32(&plan.countdown, after)


cdef Account* account_new() noexcept nogil:
    cdef Account* account = <Account*> h3py_malloc(sizeof(Account))
    if account != NULL:
        account.refs = 1
        account.bytes = 0
        account.blocks = 0
    return account


cdef void account_drop(Account* account) noexcept nogil:
    if account != NULL and atomic_add32(&account.refs, -1) == 0:
        free(account)


cdef void block_account(Block* block, Account* account) noexcept nogil:
    """Count a block that is not counted yet; NULL counts nowhere."""
    block.account = account
    if account != NULL:
        atomic_add32(&account.refs, 1)
        counter_add64(&account.bytes, <int64_t> (sizeof(Block) + block.room))
        counter_add64(&account.blocks, 1)


cdef Block* block_new(size_t room, Account* account) noexcept nogil:
    """An empty owned block with ``room`` bytes behind it and one reference; NULL without memory."""
    if room > <size_t> -1 - sizeof(Block):
        return NULL
    cdef Block* block = <Block*> h3py_malloc(sizeof(Block) + room)
    if block == NULL:
        return NULL
    memset(block, 0, sizeof(Block))
    block.refs = 1
    block.room = room
    block.data = <char*> (block + 1)
    block_account(block, account)
    return block


cdef Block* block_borrow(object data, bint framed, Account* account) except NULL:
    """A block that refers to a ``bytes`` object, with framing if asked for."""
    cdef Block* block = block_new(0, account)
    if block == NULL:
        raise AllocationError("no memory to queue a chunk")
    Py_INCREF(data)
    block.owner = <PyObject*> data
    block.data = PyBytes_AS_STRING(data)
    block.inner = <size_t> PyBytes_GET_SIZE(data)
    # What a borrowed block keeps alive counts as ours: it would be free without us.
    block.room = block.inner
    if account != NULL:
        counter_add64(&account.bytes, <int64_t> block.room)
    if framed:
        block.head = <uint32_t> (frame_head_write(block.inner, block.frame) - block.frame)
        block.tail = FRAME_TAIL
        block.frame[FRAME_HEAD_MAX] = b"\r"
        block.frame[FRAME_HEAD_MAX + 1] = b"\n"
    return block


cdef Block* block_copy(const Block* block, Account* account) noexcept nogil:
    """An owned block with the same bytes and framing; NULL without memory."""
    cdef size_t whole = block.head + block.inner + block.tail
    cdef Block* copy = block_new(whole, account)
    if copy == NULL:
        return NULL
    copy.events = block.events
    copy.head = block.head
    copy.tail = block.tail
    copy.inner = block.inner
    if block.owner == NULL:
        memcpy(copy.data, block.data, whole)
    else:
        memcpy(copy.data, block.frame, block.head)
        memcpy(copy.data + block.head, block.data, block.inner)
        memcpy(copy.data + block.head + block.inner, block.frame + FRAME_HEAD_MAX, block.tail)
    return copy


cdef void block_free(Block* block) noexcept nogil:
    """Called by the last ``block_drop`` only."""
    if block.account != NULL:
        counter_add64(&block.account.bytes, -<int64_t> (sizeof(Block) + block.room))
        counter_add64(&block.account.blocks, -1)
        account_drop(block.account)
        block.account = NULL
    if block.owner == NULL:
        free(block)
    else:
        atomic_push(&_released, block)


cdef bint borrowed_waiting() noexcept nogil:
    """Whether ``release_borrowed`` has something to do."""
    return not atomic_is_empty(&_released)


cpdef int release_borrowed() except -1:
    """Release the Python objects that sent blocks had borrowed; returns how many."""
    cdef Block* block = <Block*> atomic_take_all(&_released)
    cdef Block* next_block
    cdef int count = 0
    while block != NULL:
        next_block = <Block*> block.link
        Py_DECREF(<object> block.owner)
        free(block)
        block = next_block
        count += 1
    return count
