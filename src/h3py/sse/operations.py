"""What can be done with a stream without waiting: the part that all its faces share.

Plain calls, safe from any thread. A ``str`` or ``bytes`` is taken as an event's
data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from h3py._speedups.format import SSEEvent

if TYPE_CHECKING:
    from h3py.close_reason import CloseReason
    from h3py.sse.stream import Stream

Item = SSEEvent | str | bytes


def to_event(item: Item) -> SSEEvent:
    """An event as it is; text or bytes as an event's data."""
    if isinstance(item, SSEEvent):
        return item
    if isinstance(item, str | bytes):
        return SSEEvent(item)
    raise TypeError(f"send an SSEEvent, str or bytes, not {type(item).__name__}")


class StreamOperations:
    """What can be done with a stream without waiting; safe from any thread."""

    __slots__ = ("_stream",)

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def send_event_nowait(self, item: Item) -> None:
        """Send one event now, or not at all.

        Raises:
            BackpressureDetected: The client is behind and its queue has no room.
            ConnectionLost: The client has gone.
            WriterClosed: The stream was closed.
            EventTooLarge: Larger than ``max_event_bytes``.
        """
        self._stream.send_nowait(to_event(item))

    def send_comment(self, text: str = "") -> None:
        """Send a comment: bytes on the wire that no client shows (WHATWG HTML 9.2.6).

        Raises:
            As ``send_event_nowait``.
        """
        self._stream.send_comment(text)

    def close(self) -> None:
        """End the stream: what is queued is still sent. Idempotent."""
        self._stream.close()

    def park(self) -> None:
        """Hand the stream to the engine: it stays open and holds no task and no thread.

        Raises:
            ConnectionLost, WriterClosed: The stream has ended.
        """
        self._stream.park()

    def on_close(self, callback: Callable[[CloseReason], Any]) -> None:
        """Have ``callback(reason)`` called once, when the stream has ended.

        Plain functions run in a thread of their own, ``async def`` ones on the trio loop.

        Raises:
            ConfigError: An ``async def`` function on the threads backend.
        """
        self._stream.on_close(callback)

    @property
    def closed(self) -> bool:
        """Whether the stream has ended, whoever ended it."""
        return self._stream.closed

    @property
    def close_reason(self) -> CloseReason | None:
        """Why it ended; None while it is open."""
        return self._stream.close_reason

    @property
    def event_count(self) -> int:
        """Events sent through this stream's own calls; once it has ended, all that were sent."""
        return self._stream.event_count

    @property
    def last_event_id(self) -> str | None:
        """The id of the last event the client had seen when it connected."""
        return self._stream.last_event_id

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait for the client."""
        return self._stream.queued_bytes

    def __repr__(self) -> str:
        stream = self._stream
        state = stream.close_reason or stream.state.value
        return f"<{type(self).__name__} {stream.label} {state}, {stream.event_count} events>"
