"""``MemoryConnection``: a connection without a socket, for tests.

It has the verbs of ``TrioConnection`` and everything that the real ones have but
the descriptor: queue, cap, framing, states. What it sends goes into a *pipe* of
bounded size, which the test reads at the other end (``connection.peer``). A full
pipe is a client that takes nothing; reading makes room.

Threads: the pipe has a lock of its own, so that a test may read in one thread
what a task or thread writes; the connection itself belongs to its driver, as
every connection does.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Literal

import trio

from h3py._speedups.write_queue import WriteQueue
from h3py.connection import BaseConnection, ConnectionState
from h3py.errors import ConnectionClosed
from h3py.testing.received import StreamReader
from h3py.testing.waiting import DEADLINE_S

if TYPE_CHECKING:
    from h3py._speedups.format import SSEEvent

PIPE_BYTES = 64 * 1024


class MemoryWire:
    """The pipe: takes the place of a socket under a connection."""

    tls = False
    fd = -1
    """There is no descriptor."""

    def __init__(self, capacity_bytes: int = PIPE_BYTES) -> None:
        if capacity_bytes < 1:
            raise ValueError(f"a pipe holds 1 or more bytes, not {capacity_bytes}")
        self.capacity_bytes = capacity_bytes
        self.changed = threading.Condition()
        self.closed = False
        self.peer_closed = False
        self._data = bytearray()
        self._waiting: list[tuple[trio.lowlevel.TrioToken, trio.Event]] = []

    # -- the connection's end ----------------------------------------------------

    def send(self, queue: WriteQueue) -> bool:
        """Move what the pipe has room for; True when the queue is empty.

        Raises:
            ConnectionClosed: The peer has closed.
        """
        with self.changed:
            if queue.queued_bytes == 0:
                return True
            if self.peer_closed or self.closed:
                raise ConnectionClosed("the peer closed the connection")
            room = self.capacity_bytes - len(self._data)
            if room > 0:
                self._data += queue.take(room)
                self.changed.notify_all()
            return queue.queued_bytes == 0

    def send_event(self, queue: WriteQueue, event: SSEEvent) -> bool:
        """Queue one event and move what the pipe has room for."""
        queue.append_event(event)
        return self.send(queue)

    def send_rest(self, queue: WriteQueue) -> bool:
        """What a server does for a writer that sleeps; True when nothing is left."""
        return self.send(queue)

    def writable(self) -> bool:
        """Whether a send would do something: take bytes, or raise."""
        return self.peer_closed or self.closed or len(self._data) < self.capacity_bytes

    async def wait_writable(self) -> None:
        """Wait until a send would do something."""
        room = trio.Event()
        with self.changed:
            if not self.writable():
                self._waiting.append((trio.lowlevel.current_trio_token(), room))
            else:
                room.set()
        await room.wait()

    def shut_down(self) -> None:
        """End both ways, whoever waits."""
        with self.changed:
            self.closed = self.peer_closed = True
            self._wake()

    def close(self) -> None:
        """End the sending side: the peer reads what is in the pipe, then the end."""
        with self.changed:
            self.closed = True
            self._wake()

    # -- the peer's end ------------------------------------------------------------

    def receive(self, at_most: int, left_s: float) -> bytes:
        """Take bytes out of the pipe, waiting for the first; ``b""`` at the end.

        Raises:
            TimeoutError: Nothing came in ``left_s`` seconds.
        """
        with self.changed:
            if not self.changed.wait_for(lambda: self._data or self.closed, left_s):
                raise TimeoutError("nothing was sent in time")
            data = bytes(self._data[:at_most])
            del self._data[:at_most]
            self._wake()
            return data

    def close_peer(self) -> None:
        """The peer leaves."""
        with self.changed:
            self.peer_closed = True
            self._wake()

    def _wake(self) -> None:
        """With the lock held."""
        self.changed.notify_all()
        waiting, self._waiting = self._waiting, []
        for token, room in waiting:
            try:
                token.run_sync_soon(room.set)
            except trio.RunFinishedError:
                continue  # its loop has ended, and whoever waited with it


class MemoryPeer(StreamReader):
    """The other end of a ``MemoryConnection``: what a client would see.

    ``read_event`` and its like wait by blocking. On the trio loop read what has been sent
    already, or read in a thread (``trio.to_thread.run_sync(peer.read_event)``).
    """

    def __init__(self, wire: MemoryWire, *, deadline_s: float = DEADLINE_S) -> None:
        super().__init__(deadline_s=deadline_s)
        self._wire = wire

    def receive(self, at_most: int, left_s: float) -> bytes:
        """The next bytes; ``b""`` once the connection was closed.

        Raises:
            TimeoutError: Nothing came in ``left_s`` seconds.
        """
        return self._wire.receive(at_most, left_s)

    def close(self) -> None:
        """Leave: the connection's next send raises ``ConnectionClosed``."""
        self._wire.close_peer()

    def reset(self) -> None:
        """Leave as a client that crashed; in memory the same as ``close``."""
        self._wire.close_peer()


class MemoryConnection(BaseConnection):
    """A connection whose peer is the test.

    Args:
        max_queue_bytes: The cap of the write queue; a single larger event is taken by an
            empty one.
        capacity_bytes: What the pipe holds before the client "takes nothing".
        buffer_bytes: Small writes are gathered up to this size.
        max_event_bytes: One event (``EventTooLarge``).
        deadline_s: For each call of ``peer`` that waits.
    """

    __slots__ = ("peer",)

    kind: Literal["memory"] = "memory"
    wire: MemoryWire

    def __init__(
        self,
        *,
        max_queue_bytes: int = 64 * 1024,
        capacity_bytes: int = PIPE_BYTES,
        buffer_bytes: int = 8 * 1024,
        max_event_bytes: int = 16 * 1024 * 1024,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        wire = MemoryWire(capacity_bytes)
        queue = WriteQueue(
            max_bytes=max_queue_bytes, gather_bytes=buffer_bytes, max_event_bytes=max_event_bytes
        )
        super().__init__(wire, queue, buffer_bytes=buffer_bytes)
        self.peer = MemoryPeer(wire, deadline_s=deadline_s)

    def write_chunk(self, data: bytes | bytearray | memoryview) -> None:
        """``write_chunk_nowait``: on ``BufferFull``, ``await drain()`` and try again."""
        self.write_chunk_nowait(data)

    async def drain(self) -> None:
        """Wait until the queue is empty.

        Raises:
            ConnectionClosed: The peer has gone, or the connection was closed meanwhile.
        """
        while not self.flush():
            await self.wait_writable()

    async def wait_writable(self) -> None:
        """Wait until the pipe has room, or broke.

        Raises:
            ConnectionClosed: The connection is closed.
        """
        if self.state is ConnectionState.CLOSED:
            raise ConnectionClosed("the connection is closed")
        await self.wire.wait_writable()

    def is_alive(self) -> bool:
        """Whether connection and peer are both there."""
        return self.state is not ConnectionState.CLOSED and not self.wire.peer_closed
