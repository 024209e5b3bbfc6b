"""What a request is once it has been read, and the body that is still arriving.

Rules: plain values without I/O. A ``Request`` is made by the parser and owned by
whoever handles it. A ``BodyStream`` is filled by the parser and emptied by the
handler's side; one thread at a time touches it, the one that drives the
connection. It ends ``complete``, or with an ``error`` that says why the rest
will never come.
"""

from __future__ import annotations

from typing import Final

from h3py.errors import RequestError
from h3py.http.headers import Headers

Version = tuple[int, int]
HTTP_10: Final[Version] = (1, 0)
HTTP_11: Final[Version] = (1, 1)


class BodyStream:
    """A request body in pieces. Nothing here waits: that is the backend's part.

    Attributes:
        complete: Everything has arrived (what was not taken yet is still here).
        error: Why the body ended early, or None. What arrived before can be taken.
    """

    __slots__ = ("_data", "complete", "error")

    def __init__(self) -> None:
        # One growing array, not a list of pieces: a client that sends one byte
        # at a time would else cost tens of bytes for each.
        self._data = bytearray()
        self.complete = False
        self.error: RequestError | None = None

    @property
    def pending(self) -> int:
        """Bytes that have arrived and were not taken: stop reading while there are many."""
        return len(self._data)

    def take(self) -> bytes:
        """All that has arrived since the last call; ``b""`` when there is nothing."""
        if not self._data:
            return b""
        data = bytes(self._data)
        self._data.clear()
        return data

    def put(self, piece: bytes) -> None:
        """Add what has arrived (the parser's side)."""
        self._data += piece


class Request:
    """One HTTP request, head and body.

    Attributes:
        method: In the case it was sent, ``"GET"`` (methods are case-sensitive).
        target: The request target as it was sent.
        path: Its path, neither decoded nor normalised; ``"*"`` for ``OPTIONS *``.
        query_string: What follows the first ``?``, raw; ``""`` without one.
        version: ``(1, 0)`` or ``(1, 1)``; a higher minor version counts as 1.1.
        headers: The header fields. For a target in absolute form ``host`` is
            that of the target (RFC 9112 section 3.2.2).
        body: The whole body, or a ``BodyStream`` where the application asked for it.
        keep_alive: Whether the client lets the connection be used again.
    """

    __slots__ = (
        "body", "headers", "keep_alive", "method", "path", "query_string", "target", "version",
    )  # fmt: skip

    def __init__(
        self,
        method: str,
        target: str,
        path: str,
        query_string: str,
        version: Version,
        headers: Headers,
        body: bytes | BodyStream = b"",
        keep_alive: bool = True,
    ) -> None:
        self.method = method
        self.target = target
        self.path = path
        self.query_string = query_string
        self.version = version
        self.headers = headers
        self.body = body
        self.keep_alive = keep_alive

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.target}>"
