"""The shapes that the engine's modules share; no code but the smallest.

Who owns what, in one word beside each field of the structs below:

- *lock*: read and written with ``core.lock`` held, by any thread.
- *pump*: read and written by the pump thread that serves the connection, without a lock.
- *fixed*: written before others can see it.
- *atomic*: as it says.

``core.lock`` is held for a few hundred nanoseconds at a time. Nothing under it
touches Python, waits, or allocates, except where a comment says why; the GIL is
never taken by a thread that holds it (threads that hold the GIL do take it).

The whole is made by ``Engine``, and freed by it when its pumps have been joined.
"""

from cpython.object cimport PyObject
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from h3py._speedups.block cimport Account, Block, counter_add64, shown_store8
from h3py._speedups.marks cimport PHASE_LAGGING, Phase
from h3py._speedups.queue cimport Queue

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_t:
        pass

cdef extern from "threads.h" nogil:
    ctypedef struct Lock:
        pass
    int lock_new(Lock* lock)
    void lock_free(Lock* lock)
    void lock_take(Lock* lock)
    void lock_give(Lock* lock)
    void lock_wait(Lock* lock, int64_t ns)
    void lock_wake_all(Lock* lock)
    int64_t monotonic_ns()
    int thread_start(pthread_t* thread, void* (*run)(void*) noexcept nogil, void* argument)
    void thread_is_patient()

cdef extern from "poller.h" nogil:
    int WAIT_IN, WAIT_OUT, WAIT_FIN, WAIT_GONE, WAIT_ONCE, WAIT_BATCH
    uint64_t WAIT_WAKE_HANDLE
    ctypedef struct PollEvent:
        uint64_t handle
        int32_t what
    ctypedef struct Poller:
        int fd
    int poller_new(Poller* poller)
    void poller_free(Poller* poller)
    int poller_add(Poller* poller, int fd, int interest, uint64_t handle)
    int poller_change(Poller* poller, int fd, int before, int interest, uint64_t handle)
    void poller_remove(Poller* poller, int fd, int before)
    int poller_wait(Poller* poller, PollEvent* out, int64_t timeout_ms)
    void poller_wake(Poller* poller)
    ctypedef struct Bell:
        int read_fd
    int bell_new(Bell* bell)
    void bell_free(Bell* bell)
    void bell_ring(Bell* bell)
    void bell_clear(Bell* bell)

cdef enum:
    SLAB_CONNS = 256
    MAX_SLABS = 4096
    NO_SLOT = 0xFFFFFFFF
    ID_DIGITS = 12                          # hexadecimal, of the epoch and of the sequence
    ID_LINE = 4 + ID_DIGITS + 1 + ID_DIGITS + 1     # "id: <epoch>-<sequence>\n"
    ROUND_BYTES = 256 * 1024                # of one connection in one round
    MAX_FAREWELLS = 16

cdef struct Member:
    uint32_t conn           # its index
    uint32_t place          # of the membership in the connection's array

cdef struct Roster:         # the members of a group on one pump (pump, changed with the lock)
    Member* items           # room == 0: the one member is in ``only``
    Member only
    uint32_t count
    uint32_t room

cdef struct Group:
    Group* chain            # lock: of its bucket
    uint64_t hash           # fixed
    uint64_t evicted        # lock: the last sequence that the log has lost of it
    Group* idle_next        # lock: nobody refers to it; kept for ``evicted`` alone
    Group* idle_back
    int32_t refs            # lock: memberships and log entries
    uint32_t members        # lock: streams that are in it by command
    uint32_t turn           # lock: its place while streams are counted; else 0
    uint16_t size           # fixed
    uint8_t kind            # fixed
    bint idle               # lock
    char* name              # fixed: behind the struct
    Roster rosters[1]       # one for each pump

cdef struct Membership:     # lock, but ``slot``
    Group* group
    uint64_t since          # the first sequence that it covers
    uint64_t until          # the last one, once it has ended
    uint32_t slot           # pump: in the roster; NO_SLOT: not there yet
    bint ended

cdef struct Pair:           # of an event's metadata, and of a condition: text inside its owner
    uint64_t key_hash
    uint64_t value_hash
    const char* key
    const char* value
    uint32_t key_size
    uint32_t value_size

cdef struct Targets:        # fixed; lives in the block of the entry
    Group** groups
    Pair* pairs
    uint32_t group_count
    uint32_t pair_count

cdef struct Filter:         # fixed; one allocation
    Pair* pairs             # accepted pairs; those of one key stand together
    uint32_t pair_count
    uint32_t bytes

cdef struct LogEntry:
    Block* block
    Targets* targets
    int64_t at_ms

cdef struct Log:            # lock; a pump reads the entries that it has yet to walk without it
    LogEntry* ring
    uint64_t mask
    uint64_t head           # the last sequence that was taken; 0: none
    uint64_t tail           # the oldest one that is held; head + 1: none is
    uint64_t max_events
    int64_t bytes
    int64_t max_bytes
    int64_t max_age_ms
    int64_t appended        # bytes of all entries that there ever were

cdef struct Conn:           # 256 bytes
    Queue queue             # pump (indirect: lock)
    uint64_t last           # pump: live: the last one offered; else the position
    uint32_t cap            # fixed: bytes
    uint8_t odd             # pump
    uint8_t phase           # pump; seen by others
    uint8_t policy          # fixed
    uint8_t verdict         # pump: a reason to end it when this walk is over

    int64_t visible         # atomic: bytes of ``queue``, as others may see them
    int64_t sent_bytes      # pump; seen by others, as the next two are
    int64_t events          # pump: put into the queue
    uint32_t dropped        # pump
    uint32_t missed         # pump: dropped, and the client was not told
    int32_t fd              # lock
    uint8_t pump            # fixed: the number of its pump
    uint8_t interest        # pump (watched: lock)
    uint16_t traits         # fixed
    int64_t sent_at         # pump; seen by others: ms, when something last left
    int64_t blocked_at      # pump: ms; 0: the socket takes what there is
    int64_t deadline        # pump: ms; 0: none. Closing: the end of lingering; else the maximum age

    uint32_t index          # fixed
    int32_t generation      # lock
    uint8_t use             # lock
    uint8_t reason          # lock: the first one wins
    uint16_t mail           # lock
    uint16_t told           # lock
    uint16_t marks          # pump
    uint8_t known           # lock
    uint8_t policy_wanted   # lock: the pump takes it over
    uint8_t age_reason      # fixed: why it ends at its maximum age
    uint16_t resets         # lock: told to the client, and not yet to Python
    PyObject* owner         # lock
    Conn* mail_next         # lock; pump: of the list of the gone; free list
    Conn* told_next         # lock
    Block* inbox            # lock: pieces that wait, by position (``Block.sequence``)
    Block* inbox_last

    int64_t inbox_bytes     # lock
    Membership* members     # lock
    uint16_t member_count
    uint16_t member_room
    uint32_t slot           # pump: in the pump's arrays
    uint64_t close_at       # lock: the position of ``close``
    uint64_t start_at       # lock: of a rewind, or of a page's end
    Filter* filter          # fixed once subscribed
    uint32_t lease_ms       # lock; 0: none
    uint32_t discarded      # pump (watched: lock)
    int64_t touched_at      # lock: ms, the last ping

cdef struct Pump:
    Core* core              # fixed
    Poller poller           # fixed
    pthread_t thread
    bint running            # with the GIL: the thread has been started and not joined
    uint32_t number
    # lock
    Conn* mail_first
    Conn* mail_last
    bint asleep
    uint32_t load           # connections that it was given
    uint64_t walked         # the position, as publishers see it ...
    int64_t walked_bytes    # ... and the bytes of all entries up to it
    int64_t scanned_ms      # the time of its last scan
    int64_t wanted          # bytes that a publisher was refused for lack of memory
    # pump
    uint64_t position
    uint64_t stride         # entries that this round has walked
    int64_t position_bytes
    int64_t now_ms
    Conn** conns            # all of its parked connections ...
    uint32_t* due           # ... and when to look at each, in ticks of 64 ms
    Conn** touched          # to be flushed
    Conn** lagging          # with room to read on
    Conn** pending          # with something that waits for a position
    Conn* gone
    uint32_t conn_count
    uint32_t conn_room
    uint32_t touched_count
    uint32_t lagging_count
    uint32_t pending_count
    uint32_t rotation
    bint more               # this round left work that needs no event
    bint stopping           # a shutdown has begun
    Block* heartbeat
    Block* last_chunk
    char* scratch

cdef struct Options:        # fixed
    int64_t heartbeat_ms    # 0: none
    int64_t dead_after_ms
    int64_t stall_ms        # 0: never
    int64_t slow_ms
    int64_t linger_ms
    int64_t max_discard
    int64_t max_memory
    uint32_t max_queue
    bint paging
    bint heartbeat_ids
    bint half_close         # the client's FIN ends nothing

cdef struct Stats:          # atomic
    int64_t published
    int64_t deliveries
    int64_t sent_bytes
    int64_t sends
    int64_t dropped
    int64_t resets
    int64_t lags
    int64_t lagging         # now
    int64_t slow_episodes
    int64_t victims
    int64_t heartbeats
    int64_t rounds
    int64_t merged
    int64_t refused
    int64_t closed[16]

cdef struct Core:
    Lock lock
    Options options
    Log log
    Stats stats
    Account* account
    uint64_t epoch
    uint64_t version        # (lock) what publishers must know by now
    int64_t* clock_ns       # fixed: an injected clock; NULL: CLOCK_MONOTONIC
    int64_t started_ns
    # groups (lock)
    Group*** buckets        # segments of a table that grows one bucket at a time
    uint32_t bucket_count
    uint32_t bucket_level
    uint32_t group_count
    uint32_t idle_count
    uint32_t max_idle
    uint64_t evicted_floor  # of groups that were forgotten
    Group* idle_first
    Group* idle_last
    Group* everyone
    # connections (lock)
    Conn** slabs
    uint32_t slab_count
    uint32_t conn_count
    Conn* free_conns
    # reports (lock)
    Conn* told_first
    Conn* told_last
    bint rung
    bint room_wanted
    bint room_told
    Bell bell
    # the rest (lock)
    Pump* pumps
    uint32_t pump_count
    uint32_t waiting        # threads that wait for the log to move
    uint32_t open_conns     # watched and parked
    uint32_t parked
    bint stopping           # no publishing, no subscribing
    bint ending             # pumps end when they have no connection, no new ones
    bint stopped            # pumps end now
    int32_t forks           # fixed
    uint8_t stop_reason
    int64_t stop_from_ms
    int64_t stop_window_ms
    int64_t stop_at_ms
    uint32_t farewell_count
    (Block*)[MAX_FAREWELLS] farewells   # fixed once ``stopping``

# "Lost": a position that is no sequence.
cdef extern from "<stdint.h>" nogil:
    const uint64_t LOST_POSITION "UINT64_MAX"

cdef inline Conn* conn_at(Core* core, uint32_t index) noexcept nogil:
    return core.slabs[index // SLAB_CONNS] + index % SLAB_CONNS

cdef inline uint64_t conn_handle(const Conn* conn) noexcept nogil:
    return (<uint64_t> conn.generation << 32) | conn.index

cdef inline void set_phase(Pump* pump, Conn* conn, Phase phase) noexcept nogil:
    """By the connection's pump."""
    if phase == PHASE_LAGGING:
        if conn.phase != PHASE_LAGGING:
            counter_add64(&pump.core.stats.lagging, 1)
    elif conn.phase == PHASE_LAGGING:
        counter_add64(&pump.core.stats.lagging, -1)
    shown_store8(&conn.phase, <uint8_t> phase)

cdef inline Member* roster_items(Roster* roster) noexcept nogil:
    return roster.items if roster.room else &roster.only
