"""What others ask of a pump, and what waits for a position in the log.

Mail is bits in the connection's record and one link; pieces to send wait in its
inbox, memberships and the end of the stream have positions. ``take_mail`` takes it
and tells the head of the log as it was when no mail was left: so whatever was asked
before an entry was published is known before that entry is walked.
``look_at_pending`` comes after each walk.
"""

from libc.stdint cimport uint64_t

from h3py._speedups.core cimport Pump

cdef uint64_t take_mail(Pump* pump) noexcept nogil
cdef void look_at_pending(Pump* pump) noexcept nogil
