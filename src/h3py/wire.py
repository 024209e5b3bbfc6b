"""The wire: what lies between a connection and its descriptor. Nothing, or TLS.

Both wires have the same few verbs and never wait: ``recv`` raises
``BlockingIOError`` where there is nothing to read, ``send`` returns False where
the socket takes no more. Waiting belongs to the backend.

A wire owns its socket until ``detach``; it is used by one task or thread at a
time. A stream may also be written from others: ``stop_sending`` keeps them out
before the descriptor or the queue goes into other hands.

``TLSWire`` runs an ``ssl.SSLObject`` over memory, because a wrapped socket
cannot be moved between an event loop, worker threads and the parked streams'
driver.
"""

from __future__ import annotations

import socket
import ssl
import sys
import threading
import time
from typing import TYPE_CHECKING, Protocol

from h3py._speedups.write_queue import WriteQueue
from h3py.errors import ConnectionClosed, WriteError, WriterBusy

if TYPE_CHECKING:
    from h3py._speedups.format import SSEEvent

# A comment, which every client ignores (WHATWG HTML 9.2.6).
HEARTBEAT = b":\n\n"
# What one TLS record carries (RFC 8446 section 5.1).
RECORD_BYTES = 16 * 1024
STOPPED = "the connection is in other hands"


class AnyWire(Protocol):
    """What a connection asks of whatever carries its bytes."""

    @property
    def fd(self) -> int:
        """The descriptor; -1 where there is none, or none any more."""

    def send(self, queue: WriteQueue) -> bool:
        """Send what can leave now; True when all of it has left."""

    def send_event(self, queue: WriteQueue, event: SSEEvent) -> bool:
        """Queue one event and send what can leave now."""

    def close(self) -> None:
        """End the sending, and give back what is behind it. Idempotent."""


class PlainWire:
    """A socket as it is."""

    __slots__ = ("fd", "sock", "stopped")

    tls = False

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.stopped = False

    def recv(self, at_most: int) -> bytes:
        """Bytes from the peer; ``b""`` at its end.

        Raises:
            BlockingIOError: Nothing to read now.
            ConnectionClosed: The connection broke.
        """
        try:
            return self.sock.recv(at_most)
        except BlockingIOError:
            raise
        except OSError as error:
            raise ConnectionClosed(f"the connection broke: {error.strerror}") from error

    def send(self, queue: WriteQueue) -> bool:
        """Send what the socket takes now; True when all of it has left.

        Raises:
            ConnectionClosed: The peer has gone.
            WriteError: The system refused for another reason.
        """
        if self.stopped:
            raise ConnectionClosed(STOPPED)
        return queue.send(self.fd)

    def send_event(self, queue: WriteQueue, event: SSEEvent) -> bool:
        """Queue one event and send what the socket takes now."""
        if self.stopped:
            raise ConnectionClosed(STOPPED)
        return queue.send_event(self.fd, event)

    def stop_sending(self, queue: WriteQueue) -> None:
        """Refuse every send from now on, and wait for one that another thread is in.

        No send waits for the peer, so neither does this. Between a send's look at ``stopped``
        and the queue no other thread can run.
        """
        self.stopped = True
        while True:
            try:
                queue.drop_oldest(sys.maxsize)  # nothing; refused while it is being sent
            except WriterBusy:
                time.sleep(0)
            else:
                return

    def send_rest(self, queue: WriteQueue) -> bool:
        """Send what the writer has left, unless it is sending; not the writer's to call.

        Returns:
            True when nothing is left.
        """
        return queue.send_rest(self.fd)

    def heartbeat(self, queue: WriteQueue) -> bool:
        """Send a comment, if nothing is queued and nobody is sending; not the writer's to call.

        Returns:
            As ``send_rest``.
        """
        queue.heartbeat(self.fd)
        return queue.queued_bytes == 0

    @property
    def unsent(self) -> bool:
        """Whether the wire itself holds bytes back; a plain one never does."""
        return False

    def shut_down(self) -> None:
        """End the connection under whoever waits on it; the descriptor stays."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            # Not connected any more: it has ended already, which is all that is wanted.
            return

    def shut_reading(self) -> None:
        """End the receiving side under whoever waits on it; what is to be sent still leaves."""
        try:
            self.sock.shutdown(socket.SHUT_RD)
        except OSError:
            return  # as in ``shut_down``

    def close(self) -> None:
        """Close the descriptor."""
        self.fd = -1
        self.sock.close()

    def detach(self) -> int:
        """Give the descriptor away; the caller owns it now."""
        self.fd = -1
        return self.sock.detach()


class TLSWire(PlainWire):
    """A socket under TLS, server side."""

    __slots__ = ("_incoming", "_outgoing", "_pending", "_sending", "_tls")

    tls = True

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(sock)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._pending = b""
        # The server's sweep sends too, what a driver that sleeps has left.
        self._sending = threading.Lock()

    def handshake(self) -> bool:
        """One step of the handshake; True when it is complete.

        False: wait until the socket is readable (or writable, if ``unsent``), and call again.

        Raises:
            ConnectionClosed: The peer left, or what it sent is not TLS.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                if not self._flush():
                    return False
                try:
                    data = super().recv(RECORD_BYTES)
                except BlockingIOError:
                    return False
                if not data:
                    raise ConnectionClosed("the peer left during the TLS handshake") from None
                self._incoming.write(data)
            except ssl.SSLError as error:
                self._flush()  # the alert, if there is one
                raise ConnectionClosed(f"TLS handshake failed: {error.reason}") from error
            else:
                self._flush()
                return True

    def recv(self, at_most: int) -> bytes:
        """As ``PlainWire.recv``, decrypted."""
        while True:
            try:
                return self._tls.read(at_most)
            except ssl.SSLWantReadError:
                self._flush()
                data = super().recv(at_most)
                if not data:
                    return b""
                self._incoming.write(data)
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLError as error:
                raise ConnectionClosed(f"TLS failed: {error.reason}") from error

    def send(self, queue: WriteQueue) -> bool:
        """As ``PlainWire.send``, encrypted a record at a time."""
        with self._sending:
            if self.stopped:
                raise ConnectionClosed(STOPPED)
            return self._send(queue)

    def _send(self, queue: WriteQueue) -> bool:
        while self._flush():
            if queue.queued_bytes == 0:
                return True
            self._encrypt(queue.take(RECORD_BYTES))
        return False

    def send_event(self, queue: WriteQueue, event: SSEEvent) -> bool:
        """Queue one event and send what the socket takes now."""
        with self._sending:
            if self.stopped:
                raise ConnectionClosed(STOPPED)
            queue.append_event(event)
            return self._send(queue)

    def stop_sending(self, queue: WriteQueue) -> None:
        """As ``PlainWire.stop_sending``."""
        with self._sending:
            self.stopped = True

    def send_rest(self, queue: WriteQueue) -> bool:
        """As ``PlainWire.send_rest``."""
        if not self._sending.acquire(blocking=False):
            return False
        try:
            return self._send(queue)
        finally:
            self._sending.release()

    def heartbeat(self, queue: WriteQueue) -> bool:
        """As ``PlainWire.heartbeat``."""
        if not self._sending.acquire(blocking=False):
            return False
        try:
            if queue.queued_bytes == 0 and not self.unsent:
                queue.append(HEARTBEAT)
            return self._send(queue)
        finally:
            self._sending.release()

    def send_bytes(self, data: bytes) -> bool:
        """Encrypt ``data`` and send what the socket takes now; True when all of it has left."""
        if data:
            self._encrypt(data)
        return self._flush()

    def seal(self, queue: WriteQueue) -> WriteQueue:
        """All that is left to send, encrypted, with our close_notify at its end.

        The socket can then be closed by somebody who knows nothing of TLS.
        """
        sealed = WriteQueue()
        try:
            while queue.queued_bytes:
                self._encrypt(queue.take(RECORD_BYTES))
            self.send_end()
        except (ConnectionClosed, WriteError):
            return sealed  # the peer has gone: nothing is left to send
        sealed.append_end(self._pending + self._outgoing.read())
        return sealed

    def send_end(self) -> bool:
        """Tell the peer that nothing follows (close_notify, RFC 8446 section 6.1)."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            # The peer's own close_notify has not come; ours is in the buffer, and it is ours
            # alone that tells a whole body from a cut one.
            return self._flush()
        return self._flush()

    @property
    def unsent(self) -> bool:
        """Whether encrypted bytes wait for the socket."""
        return bool(self._pending) or self._outgoing.pending > 0

    def _encrypt(self, data: bytes) -> None:
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise WriteError(f"TLS refused a write: {error.reason}") from error

    def _flush(self) -> bool:
        while True:
            if not self._pending:
                self._pending = self._outgoing.read()
                if not self._pending:
                    return True
            try:
                sent = self.sock.send(self._pending)
            except BlockingIOError:
                return False
            except OSError as error:
                raise ConnectionClosed(f"the connection broke: {error.strerror}") from error
            self._pending = self._pending[sent:]


Wire = PlainWire | TLSWire
