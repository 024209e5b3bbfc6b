"""Taking the mail, and what waits for a position: see ``mail.pxd``."""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t

from h3py._speedups.block cimport (
    Block, block_copy, counter_load64, counter_store64, fault_plans, faults_use,
)
from h3py._speedups.core cimport (
    Conn, Core, LOST_POSITION, NO_SLOT, WAIT_ONCE, lock_give, lock_take, set_phase,
)
from h3py._speedups.marks cimport (
    KNOWN_NOTICES, MAIL_ABORT, MAIL_ADOPTED, MAIL_CHANGED, MAIL_CLOSE, MAIL_GROUPS, MAIL_INBOX,
    MAIL_PAGED, MAIL_REWIND, MAIL_SETTINGS, MAIL_SPACE, MAIL_TAKEN, MARK_ASKED, MARK_PENDING,
    MARK_SLOW, MARK_SPACE, ODD_CLOSE, ODD_EXACT, ODD_GROUPS, ODD_INBOX, ODD_INDIRECT, ODD_WHERE,
    PHASE_CLOSING, PHASE_GONE, PHASE_LIVE, PHASE_PAGING, POLICY_DROP_OLDEST, REASON_CLIENT_CLOSED,
    REASON_LIMIT, TRAIT_INDIRECT, TRAIT_NOTICES, TRAIT_TAIL,
)
from h3py._speedups.lag cimport reset, resume
from h3py._speedups.members cimport memberships_settle
from h3py._speedups.shard cimport (
    stream_due, stream_enter, stream_list, stream_offer, stream_pend, stream_push_inbox,
    stream_touch,
)
from h3py._speedups.stream cimport stream_end, stream_finish, stream_interest
from h3py._speedups.table cimport inbox_add, mail_take

faults_use(fault_plans())

cdef enum:
    # Connections whose mail is taken in one hold of the lock.
    MAIL_BATCH = 64


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
            stream_offer(pump, conn)
        set_phase(pump, conn, PHASE_LIVE)
        if not mail & MAIL_REWIND:
            conn.last = pump.position
        stream_touch(pump, conn)
        if conn.interest & WAIT_ONCE:
            stream_interest(pump, conn)
            if conn.phase == PHASE_GONE:
                return
    if mail & MAIL_ABORT:
        stream_finish(pump, conn, REASON_CLIENT_CLOSED)
        return
    if mail & MAIL_REWIND and conn.phase < PHASE_CLOSING:
        if conn.last == LOST_POSITION:
            reset(pump, conn)
        elif conn.last < pump.position:
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
        # A shutdown has a deadline of its own; else the flush is a part of lingering.
        conn.deadline = pump.now_ms + pump.core.options.linger_ms
        if pump.stopping:
            conn.deadline = pump.core.stop_at_ms
        stream_due(pump, conn, conn.deadline)
        last_words(pump, conn)
    if mail & MAIL_SPACE:
        conn.marks |= MARK_SPACE
    if mail & MAIL_TAKEN:
        counter_store64(&conn.sent_at, pump.now_ms)
        if counter_load64(&conn.visible) == 0:
            conn.blocked_at = 0
            conn.marks &= <uint16_t> ~MARK_SLOW
    if mail & (MAIL_SPACE | MAIL_TAKEN) or conn.verdict:
        stream_touch(pump, conn)
    if mail & MAIL_CHANGED:
        pump.due[conn.slot] = 0
    if conn.odd & (ODD_INBOX | ODD_GROUPS | ODD_CLOSE):
        stream_pend(pump, conn)


cdef void last_words(Pump* pump, Conn* conn) noexcept nogil:
    """A stream that a shutdown ends gets the farewell after all else, if there is memory for it.

    Which of them is the turn of its record: clients that came together get different ones.
    """
    cdef Core* core = pump.core
    cdef Block* words = NULL
    cdef uint64_t close_at
    lock_take(&core.lock)
    if (core.stopping and core.farewell_count and conn.reason == core.stop_reason
            and not conn.traits & TRAIT_TAIL):
        words = core.farewells[conn.index % core.farewell_count]
    close_at = conn.close_at
    lock_give(&core.lock)
    # They are as they were until the engine is freed.
    if words != NULL:
        words = block_copy(words, core.account)
    if words == NULL:
        return
    words.sequence = close_at
    lock_take(&core.lock)
    # The last piece: since its end was decided nothing else is taken for it.
    conn.inbox_bytes += <int64_t> (words.head + words.inner + words.tail)
    inbox_add(conn, words)
    lock_give(&core.lock)
    conn.odd |= ODD_INBOX


cdef void take_page(Pump* pump, Conn* conn) noexcept nogil:
    """A page has come: its events are in the inbox, and ``start_at`` is where it ends."""
    cdef uint64_t end
    if not stream_push_inbox(pump, conn, conn.last):
        conn.odd &= ~ODD_INBOX & 0xFF
    lock_take(&pump.core.lock)
    end = conn.start_at
    lock_give(&pump.core.lock)
    conn.marks &= <uint16_t> ~MARK_ASKED
    if end == LOST_POSITION:
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
