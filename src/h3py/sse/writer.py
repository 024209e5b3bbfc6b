"""What a handler holds while it streams.

``event.start_sse()`` returns a ``StreamStart``: the operations that never wait.
Entered with ``with`` it gives an ``SSEWriter``, whose sends wait by blocking the
thread; entered with ``async with`` an ``AsyncSSEWriter``, whose sends are
awaited. The three share everything but waiting.

A ``str`` or ``bytes`` is taken as an event's data. Every event is flushed as it
is sent; ``send_events`` of a list gathers.

Leaving the block ends the stream. ``park()`` hands it to the engine instead.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import AsyncIterable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import trio

from h3py._speedups.format import SSEEvent
from h3py.close_reason import CloseReason
from h3py.errors import ConnectionClosed, WriterBusy
from h3py.sse.blame import is_slow
from h3py.sse.host import StreamState
from h3py.sse.operations import Item, StreamOperations, to_event
from h3py.sse.stream import Stream

if TYPE_CHECKING:
    from h3py.connection import ThreadConnection, TrioConnection

# A task that sends without ever having to wait yields to the others this often.
YIELD_EVERY_S = 0.001
# Whoever waits until a parked stream has been sent everything looks this often.
SPACE_SLICE_S = 0.02
# How long a thread waits for room on a parked stream before it is refused.
PARKED_WAIT_S = 30.0
# Gathered sends leave in pieces of this size.
GATHER_SEND_BYTES = 32 * 1024


class StreamStart(StreamOperations):
    """A stream that has begun: enter it to write, or leave it and it stays open."""

    __slots__ = ("_writer",)

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream)
        self._writer: SSEWriter | AsyncSSEWriter | None = None

    def __enter__(self) -> SSEWriter:
        stream = self._stream
        connection = stream.connection
        kind = None if connection is None else connection.kind
        if kind != "threads" or stream.thread != threading.get_ident():
            # Not the thread that has begun it, which alone need not ask trio where it is:
            # the answer would cost each thread memory for as long as it lives.
            if _on_trio_loop():
                raise RuntimeError(
                    "'with' would block the trio loop: use 'async with event.start_sse()'"
                )
            if kind == "trio":
                raise RuntimeError("a task has begun this stream: only a task can enter it")
        return SSEWriter(stream)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _leave(self._stream, error)

    async def __aenter__(self) -> AsyncSSEWriter:
        return AsyncSSEWriter(self._stream)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _leave(self._stream, error)


def _on_trio_loop() -> bool:
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return False
    return True


def _leave(stream: Stream, error: BaseException | None) -> None:
    """End a stream whose block was left. A lost or slow client is no error of the handler's."""
    if not isinstance(error, Exception):
        stream.finish(CloseReason.HANDLER_DONE)
    else:
        stream.finish(CloseReason.SLOW if is_slow(error, stream) else CloseReason.ERROR)


class SSEWriter(StreamOperations):
    """A stream written from a thread; sends wait by blocking it."""

    __slots__ = ()

    def send_event(self, item: Item) -> None:
        """Send one event, waiting for room if the client is behind.

        Raises:
            BackpressureDetected: No room within ``write_timeout_s``; nothing was taken.
            ConnectionLost: The client has gone.
            WriterClosed: The stream was closed.
            EventTooLarge: Larger than ``max_event_bytes``.
        """
        event = item if item.__class__ is SSEEvent else to_event(item)
        if not self._stream.try_send(event):
            self._send_waiting(event)

    def send_events(self, items: Iterable[Item]) -> None:
        """Send many events; those of a list or tuple are gathered into few writes.

        Events of any other iterable leave one by one, as they come: it may take its time.
        """
        if not isinstance(items, list | tuple):
            for item in items:
                self.send_event(item)
            return
        stream = self._stream
        for item in items:
            event = to_event(item)
            if not stream.queue_event(event):
                self._send_waiting(event)
            elif stream.queued_bytes >= GATHER_SEND_BYTES:
                stream.flush()
        stream.flush()

    def drain(self, timeout_s: float | None = None) -> None:
        """Wait until the client has been sent everything.

        Raises:
            BackpressureDetected: It was not, within ``timeout_s``.
            ConnectionLost: The client has gone.
            WriterClosed: The stream was closed.
        """
        _drain_blocking(self._stream, timeout_s)

    def wait(self, seconds: float | None = None) -> bool:
        """Sleep, but wake as soon as the stream ends.

        Returns:
            True if the stream has ended; False after ``seconds``.
        """
        return self._stream.wait(seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _leave(self._stream, error)

    def _send_waiting(self, event: SSEEvent) -> None:
        stream = self._stream
        if stream.state is not StreamState.PARKED:
            _drain_blocking(stream, None)
            stream.send_nowait(event)
            return
        while True:
            space = threading.Event()
            stream.on_space(space.set)
            if stream.try_send(event):
                return
            if not space.wait(PARKED_WAIT_S):
                stream.send_nowait(event)
                return


def _drain_blocking(stream: Stream, timeout_s: float | None) -> None:
    if stream.closed:
        raise stream.refusal()
    if stream.state is StreamState.PARKED:
        _drain_parked(stream, timeout_s)
        return
    connection: ThreadConnection | None = stream.connection  # type: ignore[assignment]
    if connection is None:
        raise stream.refusal()
    if stream.blocked_since is not None:
        raise WriterBusy("another thread is waiting to write to this stream")
    stream.blocked_since = stream.host.now()
    limit = connection.write_timeout_s if timeout_s is None else timeout_s
    deadline = time.monotonic() + limit
    try:
        while not stream.flush():
            if stream.close_reason is not None:
                raise stream.refusal()
            if time.monotonic() >= deadline:
                raise stream.behind(
                    f"the client left {stream.queued_bytes} bytes untaken for {limit:g} s"
                )
            connection.wait_writable(WAIT_SLICE_S, deadline)
    finally:
        stream.blocked_since = None
        stream.slow = False


# A thread that waits for its client looks this often whether others ended the stream.
WAIT_SLICE_S = 0.25


def _drain_parked(stream: Stream, timeout_s: float | None) -> None:
    deadline = time.monotonic() + (30.0 if timeout_s is None else timeout_s)
    while stream.queued_bytes > 0:
        if time.monotonic() >= deadline:
            raise stream.behind(f"{stream.queued_bytes} bytes are still queued")
        if stream.wait(SPACE_SLICE_S):
            raise stream.refusal()


class AsyncSSEWriter(StreamOperations):
    """A stream written from a trio task; sends are awaited."""

    __slots__ = ("_yielded_at",)

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream)
        self._yielded_at = 0.0

    async def send_event(self, item: Item) -> None:
        """Send one event, waiting for room if the client is behind.

        A checkpoint: cancellation is seen at every call, and others run at least every
        millisecond, even if no send ever has to wait.

        Raises:
            ConnectionLost: The client has gone (inside a handler the stream's cancel scope
                is cancelled first, so the handler unwinds).
            WriterClosed: The stream was closed.
            EventTooLarge: Larger than ``max_event_bytes``.
        """
        event = item if item.__class__ is SSEEvent else to_event(item)
        stream = self._stream
        if stream.close_reason is not None:
            # A handler that caught the loss and goes on must not spin: this raises
            # Cancelled where the stream's scope was cancelled.
            await trio.lowlevel.checkpoint()
            raise stream.refusal()
        if not stream.try_send(event):
            await self._send_waiting(event)
        now = time.perf_counter()
        if now - self._yielded_at > YIELD_EVERY_S:
            await trio.lowlevel.checkpoint()
            self._yielded_at = time.perf_counter()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()

    async def send_events(self, items: Iterable[Item] | AsyncIterable[Item]) -> None:
        """Send many events; those of a list or tuple are gathered into few writes.

        Events of any other iterable leave one by one, as they come: it may take its time.
        """
        if isinstance(items, AsyncIterable):
            async for item in items:
                await self.send_event(item)
            return
        if not isinstance(items, list | tuple):
            for item in items:
                await self.send_event(item)
            return
        stream = self._stream
        if stream.closed:
            await trio.lowlevel.checkpoint()  # as in send_event: swallowing the end must not spin
        for item in items:
            event = to_event(item)
            if not stream.queue_event(event):
                await self._send_waiting(event)
            elif stream.queued_bytes >= GATHER_SEND_BYTES:
                stream.flush()
                await trio.lowlevel.checkpoint_if_cancelled()
        stream.flush()
        await trio.lowlevel.checkpoint()

    async def _send_waiting(self, event: SSEEvent) -> None:
        stream = self._stream
        if stream.state is not StreamState.PARKED:
            await self.drain()
            stream.send_nowait(event)
            return
        while True:
            space = trio.Event()
            stream.on_space(functools.partial(stream.host.soon, space.set))
            if stream.try_send(event):
                return
            await space.wait()

    async def drain(self) -> None:
        """Wait until the client has been sent everything.

        Raises:
            ConnectionLost: The client has gone.
            WriterClosed: The stream was closed.
        """
        stream = self._stream
        if stream.closed:
            await trio.lowlevel.checkpoint()
            raise stream.refusal()
        if stream.state is StreamState.PARKED:
            while stream.queued_bytes > 0:
                await trio.sleep(SPACE_SLICE_S)
                if stream.closed:
                    raise stream.refusal()
            return
        connection: TrioConnection = stream.connection  # type: ignore[assignment]
        if stream.blocked_since is not None:
            raise WriterBusy("another task is waiting to write to this stream")
        stream.blocked_since = stream.host.now()
        try:
            while not stream.flush():
                try:
                    await connection.wait_writable()
                except ConnectionClosed as error:
                    raise stream.lost(error) from error
                if stream.close_reason is not None:
                    await trio.lowlevel.checkpoint()
                    raise stream.refusal()
        finally:
            stream.blocked_since = None
            stream.slow = False

    async def wait(self, seconds: float) -> bool:
        """Sleep; for symmetry with ``SSEWriter.wait``: a task is cancelled when its client goes.

        Returns:
            True if the stream has ended; False after ``seconds``.
        """
        if self._stream.closed:
            await trio.lowlevel.checkpoint()
        else:
            await trio.sleep(seconds)
        return self._stream.closed


class StreamContext(NamedTuple):
    """What a stream callback registered with ``context=True`` is given."""

    writer: SSEWriter | AsyncSSEWriter
    event: Any
    """The ``H3Event`` of the request."""
    user_data: Any
    """What was given to ``set_stream_callback``."""
