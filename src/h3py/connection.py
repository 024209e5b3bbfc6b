"""Connections: one interface to a peer, over two ways of waiting.

``Connection = TrioConnection | ThreadConnection``. Everything but waiting is
written once, below: bytes go into a ``WriteQueue``, the wire sends what the
socket takes, and a state says what is legal. ``write_chunk``, ``flush``,
``close`` and ``is_alive`` are plain calls on both. What differs is one thing:

================  =================================  ==================================
where the queue   ``TrioConnection``                 ``ThreadConnection``
has no room
================  =================================  ==================================
``write_chunk``   raises ``BufferFull``              waits, then raises ``BufferFull``
``drain``         ``await connection.drain()``       ``connection.drain(timeout_s)``
================  =================================  ==================================

The states, and what moves a connection from one to the next::

    INIT --begin_stream--> STREAMING --end_stream--> CLOSING --close--> CLOSED
      \\______________________close_____________________________________/

One task or thread drives a connection. ``close`` may be called more than once.
"""

from __future__ import annotations

import select
import time
from enum import Enum
from typing import TYPE_CHECKING, Literal

import trio

from h3py._speedups.write_queue import WriteQueue
from h3py.errors import BufferFull, ConnectionClosed, NotStreamingMode
from h3py.wire import AnyWire, PlainWire, Wire

if TYPE_CHECKING:
    import socket

    from h3py._speedups.format import SSEEvent

# The chunk that ends a chunked body (RFC 9112 section 7.1).
LAST_CHUNK = b"0\r\n\r\n"
# A thread that waits for its peer looks this often whether its stream was ended by others.
WAIT_SLICE_S = 0.25


class ConnectionState(Enum):
    """Where a connection stands; see the drawing above."""

    INIT = "init"
    STREAMING = "streaming"
    CLOSING = "closing"
    CLOSED = "closed"


# Looking a member up calls Python code, and another thread could run meanwhile.
STREAMING = ConnectionState.STREAMING


class BaseConnection:
    """What both kinds of connection share: everything but waiting."""

    __slots__ = ("buffer_bytes", "chunked", "queue", "state", "wire")

    def __init__(
        self, wire: AnyWire, queue: WriteQueue | None = None, *, buffer_bytes: int = 8 * 1024
    ) -> None:
        self.wire = wire
        self.queue = WriteQueue() if queue is None else queue
        self.buffer_bytes = buffer_bytes
        self.state = ConnectionState.INIT
        self.chunked = False

    @property
    def streaming(self) -> bool:
        """Whether the connection carries a stream now."""
        return self.state is ConnectionState.STREAMING

    @property
    def queued_bytes(self) -> int:
        """Bytes that have not been handed to the kernel."""
        return self.queue.queued_bytes

    def fileno(self) -> int:
        """The descriptor, or -1 once it was closed or given away."""
        return self.wire.fd

    def begin_stream(self, head: bytes, *, chunked: bool, send: bool = True) -> None:
        """Send the head of a streamed response now, and go to STREAMING.

        Args:
            head: The status line and headers, ready to send.
            chunked: Whether chunks are framed for HTTP/1.1 (RFC 9112 section 7.1).
            send: False only queues the head: it leaves with what comes next.

        Raises:
            ConnectionClosed: Not in INIT, or the peer has gone.
        """
        if self.state is not ConnectionState.INIT:
            raise ConnectionClosed(f"a stream cannot begin on a connection that is {self._is()}")
        if self.queue.queued_bytes:
            # An interim response that the peer has not taken yet: it goes before.
            head = self.queue.take(self.queue.queued_bytes) + head
        self.queue.chunked = chunked
        self.chunked = chunked
        self.state = ConnectionState.STREAMING
        self.queue.append_end(head)  # the limits are for events
        if send:
            self.flush()

    def write_chunk_nowait(self, data: bytes | bytearray | memoryview) -> None:
        """Queue one chunk of the stream; it leaves when the buffer fills, or on ``flush``.

        Args:
            data: ``bytes`` above ``reference_over_bytes`` are kept by reference, not copied.

        Raises:
            BufferFull: No room, even after sending what the socket takes; nothing was taken.
            ConnectionClosed, NotStreamingMode: As ``send_event``.
        """
        if self.state is not STREAMING:
            self._refuse()
        try:
            self.queue.append(data)
        except BufferFull:
            self.wire.send(self.queue)
            self.queue.append(data)
        if self.queue.queued_bytes >= self.buffer_bytes:
            self.wire.send(self.queue)

    def send_event(self, event: SSEEvent) -> bool:
        """Queue one event, whole, and send what the socket takes now.

        Returns:
            True when nothing is left in the queue.

        Raises:
            BufferFull: No room; nothing was taken.
            ConnectionClosed: The connection is closed, or the peer has gone.
            NotStreamingMode: Before ``begin_stream``.
        """
        if self.state is not STREAMING:
            self._refuse()
        return self.wire.send_event(self.queue, event)

    def queue_event(self, event: SSEEvent) -> None:
        """Queue one event, whole, without sending. Raises as ``send_event``."""
        if self.state is not STREAMING:
            self._refuse()
        self.queue.append_event(event)

    def flush(self) -> bool:
        """Send what the socket takes now, without waiting; True when nothing is left.

        Raises:
            ConnectionClosed: The connection is closed, or the peer has gone.
        """
        if self.state is ConnectionState.CLOSED:
            self._refuse()
        return self.wire.send(self.queue)

    def end_stream(self) -> None:
        """Queue the end of the body; nothing can be written after it."""
        if self.state is ConnectionState.STREAMING:
            self.state = ConnectionState.CLOSING
            if self.chunked:
                self.queue.append_end(LAST_CHUNK)

    def close(self) -> None:
        """End the stream, send what leaves without waiting, close the descriptor."""
        if self.state is ConnectionState.CLOSED:
            return
        try:
            self.end_stream()
            self.wire.send(self.queue)
        except ConnectionClosed:
            pass  # there is nobody to tell: closing goes on
        finally:
            self.abort()

    def abort(self) -> None:
        """Close the descriptor; queued bytes are dropped and their memory given back."""
        self.state = ConnectionState.CLOSED
        self.queue.clear()
        self.wire.close()

    def is_alive(self) -> bool:
        """Whether the peer is there, as far as the system knows without sending.

        False once the connection is closed, or the peer has closed or reset it.
        """
        if self.state is ConnectionState.CLOSED or self.wire.fd < 0:
            return False
        gone = select.poll()
        gone.register(self.wire.fd, select.POLLHUP | select.POLLERR | _POLLRDHUP)
        return not gone.poll(0)

    def _refuse(self) -> None:
        if self.state is ConnectionState.INIT:
            raise NotStreamingMode("begin the stream before writing chunks")
        raise ConnectionClosed(f"the connection is {self._is()}")

    def _is(self) -> str:
        return {
            ConnectionState.STREAMING: "streaming already",
            ConnectionState.CLOSING: "closing",
        }.get(self.state, "closed")


_POLLRDHUP = getattr(select, "POLLRDHUP", 0)


def _on_trio() -> bool:
    """Whether this thread is inside a trio loop."""
    try:
        trio.lowlevel.current_trio_token()
    except RuntimeError:
        return False
    return True


class TrioConnection(BaseConnection):
    """A connection that a trio task drives; its plain calls never wait."""

    __slots__ = ()

    kind: Literal["trio"] = "trio"
    wire: Wire

    def write_chunk(self, data: bytes | bytearray | memoryview) -> None:
        """``write_chunk_nowait``: on ``BufferFull``, ``await drain()`` and try again."""
        self.write_chunk_nowait(data)

    def abort(self) -> None:
        """As for all connections; whoever waits for the descriptor on the loop is told first.

        Without that it would sleep on, and the next connection with that number would
        find it occupied.
        """
        if self.wire.fd >= 0 and _on_trio():
            trio.lowlevel.notify_closing(self.wire.fd)
        super().abort()

    async def drain(self) -> None:
        """Wait until the queue is empty.

        Raises:
            ConnectionClosed: The peer has gone, or the connection was closed meanwhile.
        """
        while not self.flush():
            await self.wait_writable()

    async def wait_writable(self) -> None:
        """Wait until the socket takes bytes, or broke.

        Raises:
            ConnectionClosed: The connection was closed meanwhile.
        """
        if self.wire.fd < 0:
            raise ConnectionClosed("the connection is closed")
        try:
            await trio.lowlevel.wait_writable(self.wire.fd)
        except trio.ClosedResourceError as error:
            raise ConnectionClosed("the connection was closed while waiting") from error


class ThreadConnection(BaseConnection):
    """A connection that a thread drives: waiting is ``poll(2)`` with a deadline."""

    __slots__ = ("write_timeout_s",)

    kind: Literal["threads"] = "threads"
    wire: Wire

    def __init__(
        self,
        wire: Wire,
        queue: WriteQueue | None = None,
        *,
        buffer_bytes: int = 8 * 1024,
        write_timeout_s: float = 30.0,
    ) -> None:
        super().__init__(wire, queue, buffer_bytes=buffer_bytes)
        self.write_timeout_s = write_timeout_s

    def write_chunk(self, data: bytes | bytearray | memoryview) -> None:
        """As ``TrioConnection.write_chunk``, but waits up to ``write_timeout_s`` for room.

        Raises:
            BufferFull: There was no room in that time; nothing was taken.
        """
        try:
            self.write_chunk_nowait(data)
        except BufferFull:
            # Room for one piece may need less than an empty queue, but a socket that takes
            # any takes much: waiting for the exact byte would only cost more calls.
            self.drain(self.write_timeout_s)
            self.write_chunk_nowait(data)

    def drain(self, timeout_s: float | None = None) -> None:
        """Wait until the queue is empty.

        Raises:
            BufferFull: The peer took too little in ``timeout_s`` seconds.
            ConnectionClosed: The peer has gone, or the connection was closed meanwhile.
        """
        if self.flush():
            return
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self.wait_writable(WAIT_SLICE_S, deadline) or not self.flush():
            if self.state is ConnectionState.CLOSED or self.wire.fd < 0:
                raise ConnectionClosed("the connection was closed while waiting")
            if deadline is not None and time.monotonic() >= deadline:
                raise BufferFull(
                    f"the peer left {self.queue.queued_bytes} bytes untaken for {timeout_s:g} s"
                )

    def wait_writable(self, at_most_s: float, deadline: float | None = None) -> bool:
        """Wait until the socket takes bytes, at most so long; True if it does (or broke)."""
        if self.wire.fd < 0:
            return False
        until = time.monotonic() + at_most_s
        return wait_for(
            self.wire.fd, until if deadline is None else min(until, deadline), write=True
        )


Connection = TrioConnection | ThreadConnection


def wait_for(fd: int, deadline: float | None, *, write: bool) -> bool:
    """Block this thread until ``fd`` can be written (or read), or broke; False at the deadline.

    Args:
        fd: The descriptor.
        deadline: On ``time.monotonic()``; None waits for ever.
        write: Wait for room to write, else for something to read.
    """
    waiter = select.poll()
    waiter.register(fd, select.POLLOUT if write else select.POLLIN | _POLLRDHUP)
    left_ms = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
    return bool(waiter.poll(left_ms))


def plain(sock: socket.socket) -> PlainWire:
    """A plain wire over a connected socket, which becomes non-blocking.

    "Blocking" on the threads backend is ``poll(2)`` with a deadline: a socket that blocks
    in ``send`` could not be given one, nor be moved to the engine.
    """
    sock.setblocking(False)
    return PlainWire(sock)
