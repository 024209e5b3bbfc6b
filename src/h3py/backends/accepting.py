"""Accepting: from a listener to wires, within the limits.

Never waits and never fails a server: a connection above the limit is told so and
closed, and where descriptors run out accepting pauses, for a moment that grows,
until some have been closed.
"""

from __future__ import annotations

import errno
import logging
import time
from typing import TYPE_CHECKING, Any

from h3py._speedups.write_queue import WriteQueue
from h3py.backends.listeners import prepare_accepted
from h3py.errors import AllocationError, ConnectionClosed
from h3py.http import HTTP_11, encode_response, http_date
from h3py.wire import PlainWire, TLSWire, Wire

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Iterator

    from h3py.backends.server import Server

# Connections taken in one go, before others get their turn.
BATCH = 64
# The pause after running out of descriptors doubles between these.
PAUSE_FIRST_S = 0.05
PAUSE_MOST_S = 1.0
# The kernel has no room for another socket: not this connection's fault.
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_log = logging.getLogger("h3py.server")


class Acceptor:
    """Takes connections from listeners; ``pause_s`` says how long to leave them alone."""

    def __init__(self, server: Server, context: ssl.SSLContext | None) -> None:
        self._server = server
        self._context = context
        self.pause_s = 0.0

    def accept(self, listener: socket.socket) -> Iterator[tuple[Wire, Any]]:
        """The connections that wait, at most ``BATCH``, each with its peer's address."""
        for _ in range(BATCH):
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                self.pause_s = 0.0
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._back_off(error)
                    return
                continue  # this connection broke while it waited; the next may not have
            self.pause_s = 0.0
            try:
                prepare_accepted(sock, self._server.options)
            except OSError:
                sock.close()  # it broke before we could look at it
                continue
            if not self._server.connection_opened():
                self._refuse(sock)
                continue
            if self._context is not None:
                yield TLSWire(sock, self._context), address
            else:
                yield PlainWire(sock), address

    def _back_off(self, error: OSError) -> None:
        if not self.pause_s:
            _log.error("cannot accept connections: %s; trying again", error.strerror)
        self.pause_s = min(max(PAUSE_FIRST_S, self.pause_s * 2), PAUSE_MOST_S)

    def _refuse(self, sock: socket.socket) -> None:
        """Answer 503 and close gently: the request that comes unread must not reset the answer."""
        queue = WriteQueue()
        if self._context is None:
            queue.append_raw(
                encode_response(
                    503,
                    [("retry-after", str(self._server.options.retry_after_s))],
                    b"too many connections\n",
                    version=HTTP_11,
                    keep_alive=False,
                    date=http_date(time.time()),
                )
            )
        try:
            self._server.close_gently(PlainWire(sock), queue)
        except (AllocationError, ConnectionClosed, OSError):
            sock.close()  # there is not even room for a gentle end
            self._server.connection_gone()
