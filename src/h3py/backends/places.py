"""How much a server takes in: connections, streams, streams of one address.

Everything that is counted in is counted out exactly once, by whoever ends it. Nothing
here is looked up for a limit that is off.

Owner: the server. Any thread; the lock is held for a few instructions.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from h3py.backends.listeners import connection_limit
from h3py.backends.proxies import network_of
from h3py.errors import HTTPError

if TYPE_CHECKING:
    from h3py.options import ServeOptions


class Places:
    """What is open, and what may be.

    Attributes:
        max_connections: In all (``max_connections``, or by the descriptors there are).
        max_streams: In all.
        connections: Open now, refused ones that are being told so included.
        streams: Open now.
        by_address: Streams by their client's address; empty where that is not limited.
        closed: The server stops: no stream is admitted any more.
    """

    def __init__(self, options: ServeOptions) -> None:
        self._options = options
        self._lock = threading.Lock()
        self.max_connections = connection_limit(options)
        self.max_streams = options.max_streams or self.max_connections
        self.connections = 0
        self.streams = 0
        self.by_address: dict[str, int] = {}
        self.closed = False

    def connection_opened(self) -> bool:
        """Count a connection in, until it is closed; False where that is one too many."""
        with self._lock:
            self.connections += 1
            return self.connections <= self.max_connections

    def connection_gone(self) -> None:
        """Count a connection's end: its descriptor is closed."""
        with self._lock:
            self.connections -= 1

    @property
    def by_address_limited(self) -> bool:
        """Whether ``admit_stream`` wants to know the client."""
        return self._options.max_streams_per_address is not None

    def admit_stream(self, client: tuple[str, int] | None = None) -> str | None:
        """Count a stream in.

        Args:
            client: Whose it is, where that is limited; None: nobody's address.

        Returns:
            What to give ``stream_gone`` at its end.

        Raises:
            HTTPError: 503: the server stops, or has as many streams as it may; 429: the client's
                address has.
        """
        most = self._options.max_streams_per_address
        address = None if client is None or most is None else network_of(client[0])
        with self._lock:
            if self.closed:
                raise self._refusal(503, "the server is stopping")
            if self.streams >= self.max_streams:
                raise self._refusal(503, "too many streams")
            if address is not None and most is not None:
                count = self.by_address.get(address, 0)
                if count >= most:
                    raise self._refusal(429, "too many streams from this address")
                self.by_address[address] = count + 1
            self.streams += 1
            return address

    def stream_gone(self, address: str | None) -> None:
        """Count a stream's end, or that it could not begin."""
        with self._lock:
            self.streams -= 1
            if address is None:
                return
            left = self.by_address[address] - 1
            if left:
                self.by_address[address] = left
            else:
                del self.by_address[address]

    def _refusal(self, status: int, why: str) -> HTTPError:
        return HTTPError(status, why, headers={"retry-after": str(self._options.retry_after_s)})
