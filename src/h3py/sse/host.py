"""What a stream is to the server that carries it, and the server to a stream.

Types alone: the states of a stream, what is called at its end, the verbs that a
host (a server, or a test kit's own) brings, and the home that a parked stream may
have elsewhere.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from h3py.close_reason import CloseReason

if TYPE_CHECKING:
    from h3py._speedups.engine import Engine
    from h3py._speedups.format import SSEEvent
    from h3py.sse.stream import Stream

# What is called once a stream has ended, and the context it was registered in.
Callback = tuple[contextvars.Context, Callable[[CloseReason], Any]]


class StreamState(Enum):
    """Who writes to a stream."""

    DRIVEN = "driven"
    PARKED = "parked"
    ENDED = "ended"


class StreamHome(Protocol):
    """Where a stream is parked, if not with the server that carries it: at a manager's engine.

    The server still owns what lies around the stream: its place among the connections and
    streams, its callbacks, the log line of its end.
    """

    @property
    def engine(self) -> Engine:
        """The engine that the stream is parked in."""

    @property
    def hub(self) -> StreamHub:
        """What owns that engine."""

    @property
    def terms(self) -> dict[str, Any]:
        """What ``Engine.adopt`` is told of this stream: policy, caps, age, lease."""

    def stream_left(self, stream: Stream) -> None:
        """The stream has ended; told once, before the server's own notice."""


class StreamHub(Protocol):
    """An engine beside the servers', which takes its own reports; to a server that fills it."""

    closed: bool
    """Its engine is ending, and ends its streams."""

    def enter(self, host: StreamHost) -> None:
        """This server is about to park its first stream there. ``ManagerClosed``."""

    def drain(
        self, host: StreamHost, farewells: Sequence[bytes], window_s: float, deadline_s: float
    ) -> Iterable[Stream]:
        """This server stops: its streams get a farewell and end, spread over ``window_s``.

        Returns:
            The streams that the server is to end itself, because others are served on.
        """

    def leave(self, host: StreamHost) -> None:
        """This server has ended: cut what is left of its streams. Blocks until it was told."""


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

    def want_writable(self, stream: Stream) -> None:
        """The socket has refused a part of what was sent: ``look_after`` it when it takes more."""

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
