"""The small numbers of the engine: states, reasons, bits. No code.

Who reads and writes a mark is said as in ``core.pxd``: *lock*, *pump*, *fixed*.
"""

# The codes of h3py.close_reason.CloseReason; a test holds the two together.
cdef enum Reason:
    REASON_NONE = 0
    REASON_CLIENT_CLOSED = 1
    REASON_HANDLER_DONE = 2
    REASON_SLOW = 3
    REASON_TIMEOUT = 4
    REASON_LEASE_EXPIRED = 5
    REASON_MAX_AGE = 6
    REASON_AUTH_EXPIRED = 7
    REASON_LIMIT = 8
    REASON_KICKED = 9
    REASON_REPLACED = 10
    REASON_SHUTDOWN = 11
    REASON_ERROR = 12
    REASONS = 13

# What a record is, for everyone (lock).
cdef enum Use:
    USE_FREE = 0
    USE_RESERVED = 1        # being set up by the caller
    USE_WATCHED = 2         # its owner sends; the pump looks for a hang-up
    USE_PARKED = 3          # its pump sends
    USE_CLOSED = 4          # the descriptor is gone, the report waits
    USE_FORGOTTEN = 5       # no longer watched; still linked in the outbox

# What a parked connection is, for its pump: docs/engine.md.
cdef enum Phase:
    PHASE_SWITCHING = 0
    PHASE_LIVE = 1
    PHASE_LAGGING = 2
    PHASE_PAGING = 3
    PHASE_CLOSING = 4       # what is queued is still sent
    PHASE_DRAINING = 5      # our side has ended; what the client sends is discarded
    PHASE_GONE = 6          # closed; leaves the tables at the end of the round

cdef enum Policy:
    POLICY_CLOSE = 0
    POLICY_CATCH_UP = 1
    POLICY_DROP_NEW = 2
    POLICY_DROP_OLDEST = 3
    POLICY_KEEP_LATEST = 4

# What is asked of a pump about one connection (lock): bits, so that asking cannot fail.
cdef enum Mail:
    MAIL_ADOPTED = 1
    MAIL_GROUPS = 2         # memberships have begun or ended
    MAIL_INBOX = 4          # pieces to send
    MAIL_CLOSE = 8          # end it at ``close_at``
    MAIL_ABORT = 16         # end it now
    MAIL_SPACE = 32         # somebody waits for room
    MAIL_TAKEN = 64         # an indirect connection's owner took bytes
    MAIL_PAGED = 128        # an answer to ``page``
    MAIL_REWIND = 256       # go back to ``start_at``
    MAIL_CHANGED = 512      # a time or an option has changed
    MAIL_SETTINGS = 1024    # policy, filter, notices

# What Python is told about one connection (lock).
cdef enum Told:
    TOLD_HANGUP = 1
    TOLD_SLOW = 2
    TOLD_LAGGING = 4
    TOLD_CAUGHT_UP = 8
    TOLD_PAGE = 16
    TOLD_SPACE = 32
    TOLD_DATA = 64
    TOLD_CLOSED = 128
    TOLD_RESET = 256
    TOLD_WRITABLE = 512

# Properties of a connection (fixed, but for NOTICES: pump).
cdef enum Trait:
    TRAIT_INDIRECT = 1      # no descriptor: the owner takes the bytes
    TRAIT_CLOSE_FD = 2
    TRAIT_HEARTBEAT = 4
    TRAIT_DISCARD = 8       # watched: read and discard what the client sends
    TRAIT_NOTICES = 16      # tell the client of drops
    TRAIT_CHUNKED = 32      # the body ends with a last chunk
    TRAIT_TAIL = 64         # what is left of a response that is over: no stream

# Where a connection is and what was said of it (pump).
cdef enum Mark:
    MARK_TOUCHED = 1        # in the list of this round
    MARK_LISTED = 2         # in the list of those that lag and have room
    MARK_PENDING = 4        # in the list of those that wait for a position
    MARK_BLOCKED = 8        # waits for writability
    MARK_SLOW = 16          # in a slow episode that was told
    MARK_FIN = 32           # the client has ended its side
    MARK_SPACE = 64         # somebody waits for room
    MARK_ASKED = 128        # a page was asked for

# The same, for everyone (lock).
cdef enum Known:
    KNOWN_MAILED = 1        # linked in its pump's mailbox
    KNOWN_TOLD = 2          # linked in the outbox
    KNOWN_SUBSCRIBED = 4    # has had a subscription
    KNOWN_DATA = 8          # "data" was reported, and not all was taken
    KNOWN_NOTICES = 16      # wanted: the pump sets the trait
    KNOWN_FIN = 32          # watched: the client has ended its side, and no more
    KNOWN_WRITABLE = 64     # watched: ``writable`` is wanted, and its descriptor registered

# Why a live connection cannot be served by the short way (pump).
cdef enum Odd:
    ODD_INBOX = 1           # pieces wait for a position
    ODD_GROUPS = 2          # a membership begins or ends at a position ahead
    ODD_CLOSE = 4           # it ends at a position ahead
    ODD_WHERE = 8           # it has a filter
    ODD_EXACT = 16          # its policy takes events out of the queue one by one
    ODD_INDIRECT = 32       # its queue is shared with whoever takes the bytes
    ODD_MISSED = 64         # a notice of drops is due

cdef enum GroupKind:
    GROUP_EVERYONE = 0
    GROUP_USER = 1
    GROUP_CHANNEL = 2
    GROUP_CLIENT = 3
