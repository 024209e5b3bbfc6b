"""What a stream is to the server that carries it, and the server to a stream.

Types alone: the states of a stream, what is called at its end, and the verbs
that a host (a server, or a test kit's own) brings.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from h3py.close_reason import CloseReason

if TYPE_CHECKING:
    from h3py._speedups.format import SSEEvent
    from h3py.sse.stream import Stream

# What is called once a stream has ended, and the context it was registered in.
Callback = tuple[contextvars.Context, Callable[[CloseReason], Any]]


class StreamState(Enum):
    """Who writes to a stream."""

    DRIVEN = "driven"
    PARKED = "parked"
    ENDED = "ended"


class StreamHost(Protocol):
    """What a stream needs of the server that carries it."""

    def adopt(self, stream: Stream) -> None:
        """Move the connection to the engine; on failure nothing has moved."""

    def retire(self, stream: Stream) -> None:
        """Take the connection of a driven stream that has ended: flush, end the body, close."""

    def send_parked(self, stream: Stream, piece: SSEEvent | bytes) -> None:
        """Queue one piece on a parked stream. ``BufferFull``, ``ConnectionClosed``."""

    def close_parked(self, stream: Stream, reason: CloseReason) -> bool:
        """End a parked stream; False if it was ending already."""

    def queued_parked(self, stream: Stream) -> int:
        """Unsent bytes of a parked stream."""

    def drives(self, stream: Stream) -> bool:
        """Whether the caller drives the stream, or belongs to the code that does."""

    def wake(self, stream: Stream) -> None:
        """Make the driver of a stream that was ended by others notice it."""

    def stream_ended(self, stream: Stream) -> None:
        """The one notice of a stream's end."""

    def check_callback(self, callback: Callable[..., Any]) -> None:
        """Refuse an on_close callback that could never run here, with ``ConfigError``."""

    def run_callback(self, callback: Callback, reason: CloseReason) -> None:
        """Run an on_close callback where it may block, or be awaited."""

    def soon(self, function: Callable[..., Any], *args: Any) -> None:
        """Run a plain function on the backend's loop; where there is none, here and now."""

    def now(self) -> float:
        """Monotonic seconds."""
