"""The round, what the poller says, what the mail asks: see ``pump.pxd``."""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from h3py._speedups.block cimport (
    Block, block_drop, block_new, block_ref, counter_add64, counter_load64, fault_plans,
    faults_use, h3py_malloc,
)
from h3py._speedups.core cimport (
    Conn, MAIL_ABORT, MAIL_ADOPTED, MAIL_CHANGED, MAIL_CLOSE, MAIL_GROUPS, MAIL_INBOX, MAIL_PAGED,
    MAIL_REWIND, MAIL_SETTINGS, MAIL_SPACE, MAIL_TAKEN, MARK_ASKED, MARK_BLOCKED, MARK_FIN, MARK_PENDING,
    MARK_SPACE, MARK_TOUCHED, NO_SLOT, ODD_CLOSE, ODD_EXACT, ODD_GROUPS, ODD_INBOX, ODD_INDIRECT,
    ODD_WHERE, PHASE_CLOSING, PHASE_DRAINING, PHASE_GONE, PHASE_LAGGING, PHASE_LIVE, PHASE_PAGING,
    PHASE_SWITCHING, POLICY_DROP_OLDEST, WAIT_BATCH, WAIT_FIN, WAIT_GONE, WAIT_IN, WAIT_OUT,
    WAIT_WAKE_HANDLE, PollEvent, REASON_CLIENT_CLOSED, REASON_LIMIT, REASON_SHUTDOWN,
    REASON_TIMEOUT, TOLD_HANGUP, TRAIT_DISCARD, TRAIT_INDIRECT, TRAIT_NOTICES, KNOWN_NOTICES,
    USE_PARKED, USE_WATCHED, bell_ring, conn_handle, lock_give, lock_take, lock_wake_all,
    poller_change, poller_free, poller_new, poller_remove, poller_wait, set_phase,
    thread_start,
)
from h3py._speedups.deliver cimport walk
from h3py._speedups.lag cimport reset, resume, walk_lagging
from h3py._speedups.log cimport log_has_room
from h3py._speedups.scan cimport core_now_ms, relieve, scan
from h3py._speedups.stream cimport (
    memberships_settle, stream_bury, stream_end, stream_enter, stream_finish, stream_flush,
    stream_due, stream_interest, stream_list, stream_pend, stream_push_inbox, stream_touch,
)
from h3py._speedups.table cimport conn_find, conn_tell, mail_take

faults_use(fault_plans())

cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int fd, void* data, size_t size, int flags)
    int getsockopt(int fd, int level, int name, void* value, unsigned int* size)
    int MSG_DONTWAIT
    int SOL_SOCKET
    int SO_ERROR

cdef extern from "<errno.h>" nogil:
    int ETIMEDOUT

cdef enum:
    SCRATCH = 16 * 1024
    SCAN_MS = 1000
    # Connections whose mail is taken in one hold of the lock.
    MAIL_BATCH = 64


cdef int pump_init(Core* core, Pump* pump, uint32_t number) noexcept nogil:
    """A pump without a thread; an errno, or -1 without memory."""
    memset(pump, 0, sizeof(Pump))
    pump.core = core
    pump.number = number
    pump.poller.fd = -1
    pump.scratch = <char*> h3py_malloc(SCRATCH)
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


cdef void discard_input(Pump* pump, Conn* conn) noexcept nogil:
    """Read and forget what a client sends; notes its FIN. Bounded: more is read when told again."""
    cdef ssize_t count = recv(conn.fd, pump.scratch, SCRATCH, MSG_DONTWAIT)
    if count > 0:
        conn.discarded += <uint32_t> count
    elif count == 0:
        conn.marks |= MARK_FIN
    elif errno != EAGAIN and errno != EINTR:
        stream_finish(pump, conn, REASON_CLIENT_CLOSED)


cdef void parked_event(Pump* pump, Conn* conn, int what) noexcept nogil:
    cdef int error = 0
    cdef unsigned int size = sizeof(int)
    if what & WAIT_GONE:
        getsockopt(conn.fd, SOL_SOCKET, SO_ERROR, &error, &size)
        stream_finish(pump, conn, REASON_TIMEOUT if error == ETIMEDOUT else REASON_CLIENT_CLOSED)
        return
    if what & (WAIT_IN | WAIT_FIN) and not conn.marks & MARK_FIN:
        discard_input(pump, conn)
        if conn.phase == PHASE_GONE:
            return
        if conn.discarded > pump.core.options.max_discard:
            stream_finish(pump, conn, REASON_LIMIT)
            return
        if conn.marks & MARK_FIN:
            if conn.phase == PHASE_DRAINING:
                stream_finish(pump, conn, REASON_CLIENT_CLOSED)
                return
            if not pump.core.options.half_close:
                stream_end(pump, conn, REASON_CLIENT_CLOSED)
    if what & WAIT_OUT:
        conn.marks &= <uint16_t> ~MARK_BLOCKED
        stream_touch(pump, conn)
    else:
        stream_interest(pump, conn)


cdef bint watched_event(Pump* pump, Conn* conn, int what) noexcept nogil:
    """A driven connection, whose descriptor is another's: with the lock, which ``unwatch`` takes too.

    So ``unwatch`` returns when nothing here touches the descriptor any more. One read
    of a few KB without waiting is all that happens under the lock. Returns True when
    the bell is to be rung.
    """
    cdef ssize_t count = 1
    cdef int told = 0
    if what & WAIT_IN and conn.traits & TRAIT_DISCARD:
        count = recv(conn.fd, pump.scratch, SCRATCH // 4, MSG_DONTWAIT)
        if count > 0:
            conn.discarded += <uint32_t> count
            if conn.discarded > pump.core.options.max_discard:
                told = REASON_LIMIT
        elif count < 0 and (errno == EAGAIN or errno == EINTR):
            count = 1
    if what & WAIT_GONE or count < 0:
        told = REASON_CLIENT_CLOSED
    elif (count == 0 or (what & WAIT_FIN and not what & WAIT_IN)) and told == 0:
        if pump.core.options.half_close:
            # Nothing more can come but the end of both sides, which is always told.
            conn.interest = 0
            poller_change(&pump.poller, conn.fd, WAIT_IN | WAIT_FIN, 0, conn_handle(conn))
            return False
        told = REASON_CLIENT_CLOSED
    if told == 0:
        return False
    # Told once: a level that is masked does not spin.
    poller_remove(&pump.poller, conn.fd, conn.interest)
    conn.interest = 0
    conn.reason = <uint8_t> told
    return conn_tell(pump.core, conn, TOLD_HANGUP)


cdef void take_events(Pump* pump, PollEvent* events, int count) noexcept nogil:
    cdef Core* core = pump.core
    cdef Conn* conn
    cdef int i
    cdef bint ring, parked
    for i in range(count):
        if events[i].handle == WAIT_WAKE_HANDLE:
            continue
        ring = False
        parked = False
        lock_take(&core.lock)
        conn = conn_find(core, events[i].handle)
        if conn != NULL and conn.pump == pump.number:
            if conn.use == USE_WATCHED:
                ring = watched_event(pump, conn, events[i].what)
            else:
                parked = conn.use == USE_PARKED
        lock_give(&core.lock)
        if ring:
            bell_ring(&core.bell)
        # While it is switching its mail is on the way, and the event will come again.
        if parked and conn.phase != PHASE_SWITCHING and conn.phase != PHASE_GONE:
            parked_event(pump, conn, events[i].what)


cdef uint64_t take_mail(Pump* pump) noexcept nogil:
    """Do what the mail asks; returns the head of the log as it was when none was left."""
    cdef Core* core = pump.core
    cdef (Conn*)[MAIL_BATCH] conns
    cdef int[MAIL_BATCH] mails
    cdef uint64_t head
    cdef int count, i
    while True:
        count = 0
        lock_take(&core.lock)
        pump.asleep = False
        while count < MAIL_BATCH:
            conns[count] = mail_take(pump)
            if conns[count] == NULL:
                break
            mails[count] = conns[count].mail
            conns[count].mail = 0
            # In the same hold: publishers count the members of several groups by their rosters.
            take_settings(pump, conns[count], mails[count])
            count += 1
        head = core.log.head
        lock_give(&core.lock)
        for i in range(count):
            if conns[i].phase != PHASE_GONE:
                take_letter(pump, conns[i], mails[i])
        if count < MAIL_BATCH:
            return head


cdef void take_settings(Pump* pump, Conn* conn, int mail) noexcept nogil:
    """What a pump takes over from the part of the record that the lock guards. Lock held."""
    cdef int waiting
    if conn.phase == PHASE_GONE:
        return
    if mail & MAIL_ADOPTED:
        conn.slot = NO_SLOT
        if conn.policy >= POLICY_DROP_OLDEST:
            conn.odd |= ODD_EXACT
    if mail & MAIL_REWIND:
        conn.last = conn.start_at
    if mail & MAIL_SETTINGS:
        conn.policy = conn.policy_wanted
        if conn.known & KNOWN_NOTICES:
            conn.traits |= TRAIT_NOTICES
        if conn.filter != NULL:
            conn.odd |= ODD_WHERE
        if conn.policy >= POLICY_DROP_OLDEST:
            conn.odd |= ODD_EXACT
    if mail & MAIL_GROUPS:
        waiting = memberships_settle(pump, conn)
        if waiting < 0:
            conn.verdict = REASON_LIMIT
        elif waiting:
            conn.odd |= ODD_GROUPS


cdef void take_letter(Pump* pump, Conn* conn, int mail) noexcept nogil:
    """What the mail asks of one connection."""
    if mail & MAIL_ADOPTED:
        if stream_enter(pump, conn) < 0:
            stream_finish(pump, conn, REASON_LIMIT)
            return
        if conn.traits & TRAIT_INDIRECT:
            conn.odd |= ODD_INDIRECT
        set_phase(conn, PHASE_LIVE)
        if not mail & MAIL_REWIND:
            conn.last = pump.position
        stream_touch(pump, conn)
    if mail & MAIL_ABORT:
        stream_finish(pump, conn, REASON_CLIENT_CLOSED)
        return
    if mail & MAIL_REWIND and conn.phase < PHASE_CLOSING:
        if conn.last < pump.position:
            if resume(pump, conn):
                stream_list(pump, conn)
        else:
            conn.last = pump.position
    if mail & MAIL_PAGED and conn.phase == PHASE_PAGING:
        take_page(pump, conn)
    if mail & MAIL_INBOX:
        conn.odd |= ODD_INBOX
    if mail & MAIL_CLOSE and conn.phase < PHASE_CLOSING:
        conn.odd |= ODD_CLOSE
        conn.deadline = pump.now_ms + pump.core.options.linger_ms
        stream_due(pump, conn, conn.deadline)
    if mail & MAIL_SPACE:
        conn.marks |= MARK_SPACE
    if mail & (MAIL_SPACE | MAIL_TAKEN) or conn.verdict:
        stream_touch(pump, conn)
    if mail & MAIL_CHANGED:
        pump.due[conn.slot] = 0
    if conn.odd & (ODD_INBOX | ODD_GROUPS | ODD_CLOSE):
        stream_pend(pump, conn)


cdef void take_page(Pump* pump, Conn* conn) noexcept nogil:
    """A page has come: its events are in the inbox, and ``start_at`` is where it ends."""
    cdef uint64_t end
    if not stream_push_inbox(pump, conn, conn.last):
        conn.odd &= ~ODD_INBOX & 0xFF
    lock_take(&pump.core.lock)
    end = conn.start_at
    lock_give(&pump.core.lock)
    conn.marks &= <uint16_t> ~MARK_ASKED
    if end == <uint64_t> -1:
        reset(pump, conn)
        return
    conn.last = end
    if resume(pump, conn):
        stream_list(pump, conn)


cdef void look_at_pending(Pump* pump) noexcept nogil:
    """After the walk: whoever waited for a position that has been reached."""
    cdef Core* core = pump.core
    cdef uint32_t i, kept = 0
    cdef uint32_t count = pump.pending_count
    cdef Conn* conn
    cdef uint64_t position, close_at
    cdef int waiting
    for i in range(count):
        conn = pump.pending[i]
        if conn.phase < PHASE_CLOSING:
            position = pump.position if conn.phase == PHASE_LIVE else conn.last
            if conn.odd & ODD_INBOX and not stream_push_inbox(pump, conn, position):
                conn.odd &= ~ODD_INBOX & 0xFF
            lock_take(&core.lock)
            waiting = memberships_settle(pump, conn) if conn.odd & ODD_GROUPS else 0
            close_at = conn.close_at
            lock_give(&core.lock)
            if waiting == 0:
                conn.odd &= ~ODD_GROUPS & 0xFF
            elif waiting < 0:
                conn.verdict = REASON_LIMIT
                stream_touch(pump, conn)
            if conn.odd & ODD_CLOSE and (position >= close_at or conn.phase == PHASE_PAGING):
                # The reason was decided by whoever asked.
                stream_end(pump, conn, REASON_CLIENT_CLOSED)
        if conn.phase < PHASE_CLOSING and conn.odd & (ODD_INBOX | ODD_GROUPS | ODD_CLOSE):
            pump.pending[kept] = conn
            kept += 1
        else:
            conn.marks &= <uint16_t> ~MARK_PENDING
    pump.pending_count = kept


cdef void flush_touched(Pump* pump) noexcept nogil:
    cdef uint32_t i, kept = 0
    cdef Conn* conn
    for i in range(pump.touched_count):
        conn = pump.touched[i]
        if stream_flush(pump, conn):
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
    cdef int64_t timeout = 0
    cdef uint64_t head
    cdef int count
    cdef bint stopped
    lock_take(&core.lock)
    stopped = core.stopped or (core.ending and pump.load == 0)
    if pump.mail_first == NULL and core.log.head == pump.position and not pump.more:
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
    if head > pump.position:
        pump.position = walk(pump, head)
    walk_lagging(pump)
    if pump.pending_count:
        look_at_pending(pump)
    flush_touched(pump)
    if scan_in(pump) == 0:
        scan(pump)
    if counter_load64(&core.account.bytes) > core.options.max_memory:
        relieve(pump)
    stream_bury(pump)
    lock_take(&core.lock)
    pump.walked = pump.position
    if core.waiting and log_has_room(core):
        lock_wake_all(&core.lock)
    lock_give(&core.lock)
    return True


cdef int64_t scan_in(Pump* pump) noexcept nogil:
    """Milliseconds until the next scan; -1: when the injected clock moves."""
    cdef int64_t now = core_now_ms(pump.core)
    if pump.core.clock_ns != NULL:
        return 0 if now != pump.scanned_ms else -1
    if now >= pump.scanned_ms + SCAN_MS:
        return 0
    return pump.scanned_ms + SCAN_MS - now


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
    while pump_round(pump, True):
        pass
    return NULL


cdef int pump_start(Pump* pump) noexcept nogil:
    """Start the pump's thread; an errno when the system refuses."""
    return thread_start(&pump.thread, run, pump)
