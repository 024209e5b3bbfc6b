"""The round, what the poller says, what the mail asks: see ``pump.pxd``."""

from libc.stdint cimport uint16_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from h3py._speedups.block cimport (
    block_drop, block_new, counter_add64, counter_load64, fault_plans, faults_use, h3py_malloc,
)
from h3py._speedups.core cimport (
    Conn, PollEvent, bell_ring, lock_give, lock_take, lock_wake_all, poller_free, poller_new,
    poller_wait, thread_is_patient, thread_start,
)
from h3py._speedups.marks cimport MARK_TOUCHED, ODD_MISSED, PHASE_LIVE, REASON_SHUTDOWN
from h3py._speedups.deliver cimport walk
from h3py._speedups.events cimport SCRATCH_BYTES, take_events
from h3py._speedups.lag cimport tell_missed, walk_lagging
from h3py._speedups.log cimport log_has_room
from h3py._speedups.mail cimport look_at_pending, take_mail
from h3py._speedups.scan cimport core_now_ms, relieve, scan
from h3py._speedups.stream cimport stream_bury, stream_finish, stream_flush

faults_use(fault_plans())

cdef enum:
    SCAN_MS = 1000
    # During a shutdown, whose turns are spread over a window.
    SCAN_STOP_MS = 50


cdef int pump_init(Core* core, Pump* pump, uint32_t number) noexcept nogil:
    """A pump without a thread; an errno, or -1 without memory."""
    memset(pump, 0, sizeof(Pump))
    pump.core = core
    pump.number = number
    pump.poller.fd = -1
    pump.scratch = <char*> h3py_malloc(SCRATCH_BYTES)
    pump.last_chunk = block_new(5, core.account)
    if pump.scratch == NULL or pump.last_chunk == NULL:
        return -1
    memcpy(pump.last_chunk.data, b"0\r\n\r\n", 5)
    pump.last_chunk.inner = 5
    pump.now_ms = core_now_ms(core)
    pump.scanned_ms = pump.now_ms
    return poller_new(&pump.poller)


cdef void pump_free(Pump* pump) noexcept nogil:
    """Free what a pump holds; its thread has been joined, its connections are gone."""
    poller_free(&pump.poller)
    if pump.last_chunk != NULL:
        block_drop(pump.last_chunk)
    if pump.heartbeat != NULL:
        block_drop(pump.heartbeat)
    free(pump.scratch)
    free(pump.conns)
    free(pump.due)
    free(pump.touched)
    free(pump.lagging)
    free(pump.pending)


cdef void flush_touched(Pump* pump) noexcept nogil:
    cdef uint32_t i, kept = 0
    cdef Conn* conn
    for i in range(pump.touched_count):
        conn = pump.touched[i]
        if stream_flush(pump, conn) or (
            conn.odd & ODD_MISSED and conn.phase == PHASE_LIVE and tell_missed(pump, conn)
        ):
            pump.touched[kept] = conn
            kept += 1
        else:
            conn.marks &= <uint16_t> ~MARK_TOUCHED
    pump.touched_count = kept
    if kept:
        pump.more = True


cdef bint pump_round(Pump* pump, bint wait) noexcept nogil:
    """One round; False: the pump is to end. ``wait``: sleep first, if there is nothing to do."""
    cdef Core* core = pump.core
    cdef PollEvent[256] events
    cdef int64_t timeout = 0, wanted
    cdef uint64_t head
    cdef int count
    cdef bint stopped, ring = False
    lock_take(&core.lock)
    stopped = core.stopped or (
        core.ending and pump.conn_count == 0 and pump.mail_first == NULL and pump.gone == NULL)
    if core.stop_at_ms != 0 and not pump.stopping:
        pump.stopping = True
        pump.scanned_ms = 0  # the first turns come now, also where an injected clock stands still
    wanted = pump.wanted
    pump.wanted = 0
    if (pump.mail_first == NULL and core.log.head == pump.position and not pump.more
            and wanted == 0):
        if wait and not stopped:
            pump.asleep = True
            timeout = scan_in(pump)
    lock_give(&core.lock)
    if stopped:
        return False
    count = poller_wait(&pump.poller, events, timeout)
    pump.more = False
    pump.now_ms = core_now_ms(core)
    counter_add64(&core.stats.rounds, 1)
    take_events(pump, events, count)
    head = take_mail(pump)
    pump.stride = pump.position
    if head > pump.position:
        pump.position = walk(pump, head)
    pump.stride = pump.position - pump.stride
    walk_lagging(pump)
    if pump.pending_count:
        look_at_pending(pump)
    if scan_in(pump) == 0:
        scan(pump)
    flush_touched(pump)
    if counter_load64(&core.account.bytes) + wanted > core.options.max_memory:
        relieve(pump, wanted)
    stream_bury(pump)
    lock_take(&core.lock)
    pump.walked = pump.position
    pump.walked_bytes = pump.position_bytes
    if (core.waiting or core.room_wanted) and log_has_room(core):
        # Whoever waits for streams to catch up, too, looks for itself.
        lock_wake_all(&core.lock)
        if core.room_wanted:
            core.room_wanted = False
            core.room_told = True
            ring = not core.rung
            core.rung = True
    if core.log.head != pump.position or pump.mail_first != NULL:
        pump.more = True
    lock_give(&core.lock)
    if ring:
        bell_ring(&core.bell)
    return True


cdef int64_t scan_in(Pump* pump) noexcept nogil:
    """Milliseconds until the next scan; -1: when the injected clock moves."""
    cdef int64_t now = core_now_ms(pump.core)
    if pump.core.clock_ns != NULL:
        return 0 if now != pump.scanned_ms else -1
    cdef int64_t due = pump.scanned_ms + (SCAN_STOP_MS if pump.stopping else SCAN_MS)
    return due - now if due > now else 0


cdef void pump_end_all(Pump* pump) noexcept nogil:
    """Close every connection at once, and report them; by whoever has joined the pump."""
    cdef uint32_t i
    take_mail(pump)
    for i in range(pump.conn_count):
        stream_finish(pump, pump.conns[i], REASON_SHUTDOWN)
    while pump.gone != NULL:
        take_mail(pump)
        stream_bury(pump)


cdef void* run(void* argument) noexcept nogil:
    cdef Pump* pump = <Pump*> argument
    thread_is_patient()
    while pump_round(pump, True):
        pass
    return NULL


cdef int pump_start(Pump* pump) noexcept nogil:
    """Start the pump's thread; an errno when the system refuses."""
    return thread_start(&pump.thread, run, pump)
