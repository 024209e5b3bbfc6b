"""The log: one bounded ring of entries, inbox and history of all streams at once.

Owner: the engine. Publishers append under ``core.lock``; the oldest entries go
when the bounds of count, bytes or age are reached, but never one that a pump has
yet to walk. So a pump reads the entries between its position and the head that
it was told without a lock; whoever reads older ones holds it.

Half of the bounds, of count and of bytes, is for what has been walked: a publisher
that outruns the pumps is refused before its entries push out what streams that are a
little behind have yet to read.

The log holds one reference to each entry's block and to each of its groups. An
entry that goes leaves its sequence in its groups: that is how a stream learns
whether it lost something.
"""

from libc.stdint cimport int64_t, uint64_t

from h3py._speedups.block cimport Block
from h3py._speedups.core cimport Conn, Core, Filter, Log, LogEntry, Targets

cdef enum LogRoom:
    LOG_ROOM = 0
    LOG_AGAIN = 1           # some entries went; more must
    LOG_FULL = 2            # too much has yet to be walked

cdef int log_init(
    Core* core, int64_t max_events, int64_t max_bytes, int64_t max_age_ms
) noexcept nogil
cdef void log_free(Core* core) noexcept nogil
cdef uint64_t log_walked(Core* core) noexcept nogil
cdef LogRoom log_make_room(Core* core, int64_t size, Block** gone) noexcept nogil
cdef bint log_has_room(Core* core) noexcept nogil
cdef uint64_t log_append(
    Core* core, Block* block, Targets* targets, char* digits, int64_t now_ms
) noexcept nogil
cdef bint log_expire(Core* core, int64_t now_ms, Block** gone) noexcept nogil
cdef void log_shorten(Core* core, Block** gone) noexcept nogil
cdef void blocks_drop(Block* gone) noexcept nogil
cdef bint entry_is_for(const Conn* conn, const Targets* targets, uint64_t sequence) noexcept nogil
cdef bint lost_after(const Conn* conn, uint64_t position) noexcept nogil
cdef bint filter_accepts(const Filter* where, const Targets* targets) noexcept nogil
cdef void hex_write(uint64_t value, int digits, char* out) noexcept nogil

cdef inline int64_t entry_bytes(const Block* block) noexcept nogil:
    """What an entry counts in the log."""
    return <int64_t> (sizeof(Block) + block.room)

cdef inline LogEntry* log_entry(Log* log, uint64_t sequence) noexcept nogil:
    return &log.ring[sequence & log.mask]
