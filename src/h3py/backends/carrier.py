"""Carrying: how a stream's connection gets from one owner to the next.

A connection belongs to its driver, then to an engine's pump (the server's own, or
that of the manager the stream is parked with), or, under TLS, to the thread for
parked streams; at its end always to the engine, which closes it gently. Each of
these steps is one method here. A step that fails has moved nothing.

The part of ``Server`` that knows descriptors. Any thread; ``_lock`` guards the
registry of driven streams and the set of hubs.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from h3py.backends.draining import Drain
from h3py.backends.tls_parking import TLSParking
from h3py.close_reason import CloseReason
from h3py.connection import ConnectionState
from h3py.errors import AllocationError, ConnectionClosed, ManagerClosed, WriteError
from h3py.sse.host import StreamHost
from h3py.wire import TLSWire

if TYPE_CHECKING:
    from h3py._speedups.engine import Engine
    from h3py._speedups.format import SSEEvent
    from h3py._speedups.write_queue import WriteQueue
    from h3py.connection import BaseConnection
    from h3py.options import ServeOptions
    from h3py.sse.host import StreamHome, StreamHub
    from h3py.sse.stream import Stream
    from h3py.wire import Wire

# How often the rest of what a driver sends is left to others, at most.
ASK_EVERY_S = 0.05
# After these the client takes nothing more: what is queued for it is dropped.
ABRUPT = frozenset({CloseReason.CLIENT_CLOSED, CloseReason.SLOW, CloseReason.TIMEOUT})


class Carrier(StreamHost):
    """What a server does with connections that carry, or carried, a stream.

    Attributes:
        engine: The fan-out engine that serves parked streams.
        driven: The streams that are driven.
        hubs: Engines of managers that streams of this server are parked in.
        stopping: The end has begun.
        tls_parking: The thread of parked streams under TLS, once there was one.
    """

    options: ServeOptions
    engine: Engine
    drain_turns: Drain

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.driven: set[Stream] = set()
        self.hubs: set[StreamHub] = set()
        self.stopping = False
        self.tls_parking: TLSParking | None = None

    def release_descriptor(self, connection: BaseConnection) -> None:
        """Take the connection's descriptor out of the backend's own waiting."""

    def connection_gone(self) -> None:
        """Count a connection's end: its descriptor is closed."""
        raise RuntimeError("a server must say how it counts")

    def close_gently(self, wire: Wire, queue: WriteQueue) -> None:
        """Let the engine send the rest, end the connection and close it.

        A close with unread input would make the kernel send a reset, and the client would
        lose the end of what it was sent; the engine reads and discards for a while first.
        """
        if wire.fd < 0:
            return
        if isinstance(wire, TLSWire):
            queue = wire.seal(queue)
        handle = self.engine.adopt(wire.fd, None, queue, chunked=False, heartbeat=False)
        wire.detach()
        self.engine.close(handle, CloseReason.HANDLER_DONE.code)

    def watch(self, stream: Stream) -> None:
        """Begin to look after a driven stream: its hang-up is seen while its handler sleeps."""
        connection = stream.connection
        assert connection is not None
        wire = connection.wire
        stream.handle = self.engine.watch(wire.fd, stream, discard=not wire.tls)
        with self._lock:
            self.driven.add(stream)
            stopping = self.stopping
        if stopping:
            # It was let in before the drain began, and the drain's look at the driven missed it.
            stream.end(CloseReason.SHUTDOWN)

    def want_writable(self, stream: Stream) -> None:
        """Have the rest of what its driver sent leave when the socket takes it.

        A driver that goes on as fast as it can would wake another thread each time, and wait for
        it: so this is heard now and then. What falls in between is the sweep's.
        """
        now = time.monotonic()
        if now - stream.asked_at >= ASK_EVERY_S:
            stream.asked_at = now
            stream.asked_count = stream.event_count
            self.watch_writable(stream)

    def watch_writable(self, stream: Stream) -> None:
        """Be told once, when the socket takes more; the rest leaves then."""
        try:
            self.engine.want_writable(stream.handle)
        except OSError:
            pass  # no memory in the kernel to wait for it: the sweep sends it, a little later

    def adopt(self, stream: Stream) -> None:
        """Move a driven stream to its engine; on failure nothing has moved."""
        connection = stream.connection
        assert connection is not None
        wire = connection.wire
        self.release_descriptor(connection)
        # Other threads may write to the stream: from here on they wait for the decision.
        connection.state = ConnectionState.CLOSING
        wire.stop_sending(connection.queue)
        try:
            if stream.home is not None:
                self._leave_for(stream.home)
                if stream.handle:
                    # Two engines must not know one descriptor: either may close it.
                    self.engine.unwatch(stream.handle)
                    stream.handle = 0
            if wire.tls:
                self.park_tls(stream)
            else:
                stream.handle = self.engine_of(stream).adopt(
                    wire.fd,
                    stream,
                    connection.queue,
                    chunked=connection.chunked,
                    handle=stream.handle,
                    **self.terms_of(stream),
                )
                wire.detach()
        except BaseException:
            connection.state = ConnectionState.STREAMING
            wire.stopped = False
            if stream.handle == 0 and stream in self.driven:
                stream.handle = self.engine.watch(wire.fd, stream, discard=not wire.tls)
            raise
        with self._lock:
            self.driven.discard(stream)

    def engine_of(self, stream: Stream) -> Engine:
        """The engine that a stream is, or will be, parked in."""
        return self.engine if stream.home is None else stream.home.engine

    def terms_of(self, stream: Stream) -> dict[str, Any]:
        """What that engine is told of it."""
        return {} if stream.home is None else stream.home.terms

    def _leave_for(self, home: StreamHome) -> None:
        with self._lock:
            if self.stopping:
                raise ManagerClosed("the server is stopping")
            if home.hub not in self.hubs:
                home.hub.enter(self)
                self.hubs.add(home.hub)

    def park_tls(self, stream: Stream) -> None:
        """Move a stream under TLS: the engine queues, one thread for all of them encrypts."""
        with self._lock:
            if self.tls_parking is None:
                self.tls_parking = TLSParking(self)
        self.tls_parking.adopt(stream)

    def retire(self, stream: Stream) -> None:
        """Let go of a driven stream that has ended: send the rest, end the body, close."""
        connection, stream.connection = stream.connection, None
        assert connection is not None
        with self._lock:
            self.driven.discard(stream)
        self.engine.unwatch(stream.handle)
        self.release_descriptor(connection)
        connection.wire.stop_sending(connection.queue)
        reason = stream.close_reason
        # Who has only ended its own side may still read what is queued.
        gently = reason not in ABRUPT or (stream.fin and reason is CloseReason.CLIENT_CLOSED)
        if gently and connection.wire.fd >= 0:
            try:
                if reason is CloseReason.SHUTDOWN:
                    self.drain_turns.part(connection)
                connection.end_stream()
                if reason is CloseReason.SHUTDOWN:
                    # The engine may have to end before it has looked at this one.
                    connection.wire.send_rest(connection.queue)
                self.close_gently(connection.wire, connection.queue)
                return
            except (ConnectionClosed, WriteError, AllocationError, OSError):
                pass  # the engine would not have it, or has ended: gently or not, it is closed
        connection.abort()
        self.connection_gone()

    def send_parked(self, stream: Stream, piece: SSEEvent | bytes) -> None:
        """Queue one piece on a parked stream."""
        self.engine_of(stream).send(stream.handle, piece)

    def close_parked(self, stream: Stream, reason: CloseReason) -> bool:
        """End a parked stream; False if it was ending already."""
        flush = reason not in ABRUPT
        return self.engine_of(stream).close(stream.handle, reason.code, flush=flush)

    def queued_parked(self, stream: Stream) -> int:
        """Unsent bytes of a parked stream."""
        return self.engine_of(stream).queued_bytes(stream.handle)
