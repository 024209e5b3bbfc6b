"""``SocketReader`` and ``EventReader``: an event stream over a real socket, with deadlines.

For tests of a served application. It sends one request and reads its answer; it
does not reconnect, follow redirects or decode anything but chunks and events.

Owner: one test, in one thread at a time. It ends with ``close`` (FIN) or
``reset`` (RST).
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterable
from urllib.parse import urlsplit

from h3py.testing.received import StreamReader
from h3py.testing.waiting import DEADLINE_S, Deadline


class SocketReader(StreamReader):
    """The client's end of a connected socket."""

    def __init__(self, sock: socket.socket, *, deadline_s: float = DEADLINE_S) -> None:
        super().__init__(deadline_s=deadline_s)
        self.socket = sock

    def receive(self, at_most: int, left_s: float) -> bytes:
        """The next bytes; ``b""`` at the end of the connection.

        Raises:
            TimeoutError: Nothing came in ``left_s`` seconds.
            ConnectionError: The connection broke.
        """
        self.socket.settimeout(left_s or 1e-6)
        return self.socket.recv(at_most)

    def close(self) -> None:
        """Leave: the server sees a FIN (or a reset, where bytes were left unread)."""
        self.socket.close()

    def reset(self) -> None:
        """Leave as a client that crashed: the server sees a reset, where the socket knows one."""
        if self.socket.family != socket.AF_UNIX:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class EventReader(SocketReader):
    """One request for an event stream, and what comes back.

    ::

        with h3py.running(app) as server, EventReader(f"{server.url}/clock") as reader:
            assert reader.read_event().type == "tick"

    Args:
        url: ``http://`` or ``https://``.
        headers: Further request headers, such as ``[("last-event-id", "7")]``.
        method: The request method.
        deadline_s: For each call that waits, unless it names its own.
        ssl_context: The client side's, for ``https``.
        unix_path: Connect to this Unix socket; the URL then names only host and path.
        receive_buffer_bytes: SO_RCVBUF, set before connecting: a small one makes a slow reader.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Iterable[tuple[str, str]] = (),
        method: str = "GET",
        deadline_s: float = DEADLINE_S,
        ssl_context: ssl.SSLContext | None = None,
        unix_path: str | None = None,
        receive_buffer_bytes: int | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):
            raise ValueError(f"the url must begin with http:// or https://: {url!r}")
        host = parts.hostname or "localhost"
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        plain = socket.socket(socket.AF_UNIX if unix_path is not None else family)
        try:
            if receive_buffer_bytes is not None:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
            plain.settimeout(Deadline(deadline_s).left_s)
            secure = parts.scheme == "https"
            address = (host, parts.port or (443 if secure else 80))
            plain.connect(unix_path if unix_path is not None else address)
            if secure:
                context = ssl_context or ssl.create_default_context()
                plain = context.wrap_socket(plain, server_hostname=host)
            super().__init__(plain, deadline_s=deadline_s)
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            lines = [f"{method} {target} HTTP/1.1", f"host: {parts.netloc}"]
            lines += [f"{name}: {value}" for name, value in headers]
            self.socket.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        except BaseException:
            plain.close()
            raise
