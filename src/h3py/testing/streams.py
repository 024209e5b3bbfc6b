"""``SoloStream``: a stream without a server, for tests of the code that writes to it.

What a server does for its streams (adoption, waking the driver, the end) is done
here for one of them, over any connection::

    solo = memory_stream()
    async with solo.start as writer:
        await count_to_three(writer)
    assert [event.data for event in solo.peer.read_to_end()] == ["1", "2", "3"]
    assert solo.close_reasons == [CloseReason.HANDLER_DONE]

``memory_stream`` is written from a trio task; ``thread_stream`` from a thread, whose
sends really wait (it lies over a pair of sockets).

Owner: one test. The bytes of a parked stream move when somebody sends, asks how
much is queued, or ends it; no thread does it beside them.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import trio

from h3py._speedups.format import SSEEvent
from h3py.close_reason import CloseReason
from h3py.connection import ThreadConnection
from h3py.errors import ConnectionClosed
from h3py.sse.host import Callback
from h3py.sse.stream import Stream
from h3py.sse.writer import StreamStart
from h3py.testing.clock import ManualClock
from h3py.testing.memory import MemoryConnection
from h3py.testing.pairs import Pair, socket_pair

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class SoloStream:
    """One stream, begun, and its host.

    Attributes:
        stream: The stream's state.
        start: What ``event.start_sse()`` would have returned.
        connection: What carries it.
        peer: The client's end.
        clock: What the stream takes for the time.
        scope: Cancelled when others end the stream while a task drives it: write inside it
            to be interrupted as a handler is.
        close_reasons: The notices of its end; there is one, at most.
    """

    def __init__(self, pair: Pair, *, last_event_id: str | None = None) -> None:
        self.connection, self.peer = pair
        self.clock = ManualClock()
        self.scope = trio.CancelScope()
        self.close_reasons: list[CloseReason] = []
        self._sent_parked = 0
        self._closing = False
        self._lock = threading.Lock()
        try:
            self._token: trio.lowlevel.TrioToken | None = trio.lowlevel.current_trio_token()
        except RuntimeError:
            self._token = None
        self.connection.begin_stream(HEAD, chunked=True)
        self.stream = Stream(
            self,
            self.connection,  # type: ignore[arg-type]  # one that is in memory does as well
            label="GET /",
            last_event_id=last_event_id,
        )
        self.start = StreamStart(self.stream)

    # -- what a stream asks of its host ----------------------------------------------

    def soon(self, function: Callable[..., Any], *args: Any) -> None:
        """Run it on the loop that the stream was begun on; without one, here and now."""
        if self._token is None:
            function(*args)
        else:
            self._token.run_sync_soon(functools.partial(function, *args))

    def now(self) -> float:
        """The clock's time."""
        return self.clock()

    def adopt(self, stream: Stream) -> None:
        """Park: the connection is this object's from now on."""

    def retire(self, stream: Stream) -> None:
        """A driven stream has ended: close its connection, sending what leaves at once."""
        self.connection.close()
        stream.connection = None

    def want_writable(self, stream: Stream) -> None:
        """Nothing moves here but by the test's own calls."""

    def drives(self, stream: Stream) -> bool:
        """Whether the caller is the thread that writes."""
        return threading.get_ident() == stream.thread

    def wake(self, stream: Stream) -> None:
        """Others have ended a driven stream: tell whoever drives it."""
        if isinstance(self.connection, ThreadConnection):
            if stream.close_reason in (CloseReason.CLIENT_CLOSED, CloseReason.SLOW):
                self.connection.wire.shut_down()
        elif self._token is not None:
            self._token.run_sync_soon(self.scope.cancel)

    def send_parked(self, stream: Stream, piece: SSEEvent | bytes) -> None:
        """Queue one piece, and send what leaves at once."""
        with self._lock:
            try:
                if isinstance(piece, SSEEvent):
                    self.connection.send_event(piece)
                    self._sent_parked += 1
                else:
                    self.connection.write_chunk(piece)
                    self.connection.flush()
            except ConnectionClosed:
                self._end_soon(CloseReason.CLIENT_CLOSED)
                raise

    def close_parked(self, stream: Stream, reason: CloseReason) -> bool:
        """End a parked stream; the notice comes from another thread, as the engine's does."""
        with self._lock:
            return self._end_soon(reason)

    def queued_parked(self, stream: Stream) -> int:
        """Unsent bytes, after sending what leaves at once."""
        with self._lock:
            try:
                self.connection.flush()
            except ConnectionClosed:
                self._end_soon(CloseReason.CLIENT_CLOSED)
            return self.connection.queued_bytes

    def stream_ended(self, stream: Stream) -> None:
        """The notice of the end."""
        assert stream.close_reason is not None
        self.close_reasons.append(stream.close_reason)
        for callback in stream.take_callbacks():
            self.run_callback(callback, stream.close_reason)

    def check_callback(self, callback: Callable[..., Any]) -> None:
        """Whatever a test gives is called."""

    def run_callback(self, callback: Callback, reason: CloseReason) -> None:
        """Call a callback, here and now; its exceptions are the test's to see."""
        context, function = callback
        context.run(function, reason)

    def _end_soon(self, reason: CloseReason) -> bool:
        """With the lock held."""
        if self._closing:
            return False
        self._closing = True
        threading.Thread(target=self._end, args=(reason,), name="h3py-solo-stream").start()
        return True

    def _end(self, reason: CloseReason) -> None:
        with self._lock:
            self.connection.close()
        self.stream.ended_in_engine(reason.code, self._sent_parked)


def memory_stream(
    *,
    max_queue_bytes: int = 64 * 1024,
    capacity_bytes: int = 64 * 1024,
    max_event_bytes: int = 16 * 1024 * 1024,
    last_event_id: str | None = None,
) -> SoloStream:
    """A stream in memory, to be written with ``async with``; arguments as ``MemoryConnection``."""
    connection = MemoryConnection(
        max_queue_bytes=max_queue_bytes,
        capacity_bytes=capacity_bytes,
        max_event_bytes=max_event_bytes,
    )
    return SoloStream(Pair(connection, connection.peer), last_event_id=last_event_id)


def thread_stream(
    *,
    max_queue_bytes: int = 64 * 1024,
    max_event_bytes: int = 16 * 1024 * 1024,
    write_timeout_s: float = 30.0,
    last_event_id: str | None = None,
) -> SoloStream:
    """A stream over a pair of sockets, to be written with ``with``; sends wait for the reader."""
    pair = socket_pair(
        ThreadConnection,
        max_queue_bytes=max_queue_bytes,
        max_event_bytes=max_event_bytes,
        write_timeout_s=write_timeout_s,
    )
    return SoloStream(pair, last_event_id=last_event_id)
