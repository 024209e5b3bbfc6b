"""Why a stream ended: the one table.

Every stream ends with exactly one of these. The compiled engine uses a
reason's position in the enumeration as its code (``CloseReason.code``), so new
reasons go to the end.
"""

from enum import StrEnum


class CloseReason(StrEnum):
    """The close reason of a stream, told to the application, the log line and a counter."""

    CLIENT_CLOSED = "client_closed"
    """The client left, or its connection broke."""
    HANDLER_DONE = "handler_done"
    """The application ended the stream: its block, generator or ``close()``."""
    SLOW = "slow"
    """The client takes nothing and its policy, or the stall timeout, ended it."""
    TIMEOUT = "timeout"
    """The peer acknowledges nothing: it is dead."""
    LEASE_EXPIRED = "lease_expired"
    """The client sent no ping within its lease."""
    MAX_AGE = "max_age"
    """The stream reached the age at which it is renewed."""
    AUTH_EXPIRED = "auth_expired"
    """The credentials that it was opened with have expired."""
    LIMIT = "limit"
    """A limit of memory, bytes or streams."""
    KICKED = "kicked"
    """The application disconnected this client or user."""
    REPLACED = "replaced"
    """A newer stream of the same client took over."""
    SHUTDOWN = "shutdown"
    """The server stops."""
    ERROR = "error"
    """A handler, generator or callback raised."""

    @property
    def code(self) -> int:
        """The engine's number for this reason: its position, from 1."""
        return CLOSE_REASONS.index(self) + 1


CLOSE_REASONS: tuple[CloseReason, ...] = tuple(CloseReason)
