"""Parked streams under TLS: one thread for all of them.

The engine cannot encrypt, so for these it queues and says when there is
something to take. This thread takes it, encrypts, sends, and reads: a
``close_notify``, a FIN or bytes that nobody asked for come through TLS too. It
holds no thread per stream and never blocks on one of them.

Owner: the server. The wires belong to this thread from ``adopt`` to the engine's
report that the stream is closed; other threads only put requests into ``_asked``
and wake it. It ends with ``stop``.
"""

from __future__ import annotations

import collections
import threading
from typing import TYPE_CHECKING

from h3py._speedups.write_queue import WriteQueue
from h3py.backends.readiness import Readiness
from h3py.close_reason import CloseReason
from h3py.errors import AllocationError, ConnectionClosed, WriteError
from h3py.wire import RECORD_BYTES, TLSWire

if TYPE_CHECKING:
    from h3py._speedups.engine import Engine
    from h3py.backends.carrier import Carrier
    from h3py.sse.stream import Stream

STOP_WAIT_S = 5.0


class ParkedTLS:
    """One parked stream under TLS."""

    __slots__ = ("discarded", "engine", "handle", "stream", "wire")

    def __init__(self, wire: TLSWire, stream: Stream, engine: Engine) -> None:
        self.wire = wire
        self.stream = stream
        self.engine = engine
        self.handle = stream.handle
        self.discarded = 0


class TLSParking:
    """The thread, and the streams it serves."""

    def __init__(self, server: Carrier) -> None:
        self._server = server
        self._readiness = Readiness()
        self._parked: dict[Stream, ParkedTLS] = {}
        self._by_fd: dict[int, ParkedTLS] = {}
        # What has happened to which stream: "new", "data", "closed"; appended by any thread.
        # "closed" comes after "new": nobody is told of a stream's end before it has parked.
        self._asked: collections.deque[tuple[str, Stream, ParkedTLS | None]] = collections.deque()
        self._adopted: set[Stream] = set()
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name="h3py-tls", daemon=True)
        self._thread.start()

    def adopt(self, stream: Stream) -> None:
        """Take over a stream's connection; called by its driver while it parks."""
        connection = stream.connection
        assert connection is not None
        wire = connection.wire
        assert isinstance(wire, TLSWire)
        engine = self._server.engine_of(stream)
        # Before its reports can come, and from any thread.
        self._adopted.add(stream)
        try:
            stream.handle = engine.adopt(
                -1, stream, connection.queue, chunked=connection.chunked, handle=stream.handle,
                indirect=True, **self._server.terms_of(stream),
            )  # fmt: skip
        except BaseException:
            self._adopted.discard(stream)
            raise
        self._ask("new", stream, ParkedTLS(wire, stream, engine))

    def wanted(self, stream: Stream) -> None:
        """Its engine has bytes for this stream."""
        self._ask("data", stream, None)

    def closed(self, stream: Stream | None) -> bool:
        """Its engine has closed this stream; False if it is none of ours."""
        if stream is None or stream not in self._adopted:
            return False
        self._adopted.discard(stream)
        self._ask("closed", stream, None)
        return True

    def stop(self) -> None:
        """End the thread; what is still open is closed."""
        self._stopping = True
        self._readiness.wake()
        if threading.current_thread() is not self._thread:
            self._thread.join(STOP_WAIT_S)

    def _ask(self, what: str, stream: Stream, parked: ParkedTLS | None) -> None:
        self._asked.append((what, stream, parked))
        self._readiness.wake()

    # -- in the thread ---------------------------------------------------------

    def _loop(self) -> None:
        while not self._stopping:
            for fd, _ in self._readiness.wait(None):
                parked = self._by_fd.get(fd)
                if parked is not None:
                    self._serve(parked)
            while self._asked:
                what, stream, new = self._asked.popleft()
                if new is not None:
                    self._parked[stream] = self._by_fd[new.wire.fd] = new
                    self._serve(new)
                elif (parked := self._parked.get(stream)) is not None:
                    if what == "closed":
                        self._end(parked)
                    else:
                        self._serve(parked)
        for parked in tuple(self._parked.values()):
            self._forget(parked)
            parked.wire.close()
            self._server.connection_gone()
        self._readiness.close()

    def _serve(self, parked: ParkedTLS) -> None:
        """Send what there is to send, read what there is to read, and say what to wait for."""
        try:
            sent = self._send(parked)
            alive = self._read(parked)
        except (ConnectionClosed, WriteError):
            sent, alive = True, False
        if not alive:
            parked.engine.close(parked.handle, CloseReason.CLIENT_CLOSED.code, flush=False)
        elif parked.discarded > self._server.options.max_discard_bytes:
            parked.engine.close(parked.handle, CloseReason.LIMIT.code, flush=False)
        else:
            self._readiness.arm(parked.wire.fd, read=True, write=not sent)

    def _send(self, parked: ParkedTLS) -> bool:
        """True when nothing is left to send."""
        while parked.wire.send_bytes(b""):
            data = parked.engine.take(parked.handle, RECORD_BYTES)
            if not data:
                return True
            parked.wire.send_bytes(data)
        return False

    def _read(self, parked: ParkedTLS) -> bool:
        """False when the peer has ended."""
        while True:
            try:
                data = parked.wire.recv(RECORD_BYTES)
            except BlockingIOError:
                return True
            if not data:
                return False
            parked.discarded += len(data)
            if parked.discarded > self._server.options.max_discard_bytes:
                return True

    def _end(self, parked: ParkedTLS) -> None:
        """The engine has let go: what it had queued has been taken; close the connection gently."""
        self._forget(parked)
        try:
            self._server.close_gently(parked.wire, WriteQueue())
        except (ConnectionClosed, WriteError, AllocationError, OSError):
            # The engine would not have it, or it broke meanwhile: gently or not, it ends.
            parked.wire.close()
            self._server.connection_gone()

    def _forget(self, parked: ParkedTLS) -> None:
        self._parked.pop(parked.stream, None)
        self._by_fd.pop(parked.wire.fd, None)
        self._readiness.forget(parked.wire.fd)
