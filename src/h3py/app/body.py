"""The body of a request as an iterator, for routes that take it in pieces.

Rules. The pieces are put into the request's ``BodyStream`` by whoever reads the
connection; `BodyReader` takes them out and, when there are none, waits through
the exchange: blocking in ``for``, without blocking in ``async for``. A body
that was read before the handler ran is one piece. Each byte is given once; a
second iteration goes on where the first stopped.

Owned by the event; one thread or task at a time reads from it. It ends with the
body, or with the error that cut it short.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from h3py.backends.steps import Exchange
from h3py.errors import HTTPError
from h3py.http import BodyStream


class BodyReader:
    """The pieces of a request body: ``for piece in reader`` or ``async for piece in reader``.

    Raises:
        RequestError: The client broke off, was too slow (408), or sent too much
            (413); from the iteration.
        HTTPError: 413, past the limit that a middleware has set.
    """

    __slots__ = ("_exchange", "_stream", "_taken", "limit_bytes")

    def __init__(self, stream: BodyStream, exchange: Exchange) -> None:
        self._stream = stream
        self._exchange = exchange
        self._taken = 0
        self.limit_bytes: int | None = None
        """No more than so many bytes, besides the server's own limit."""

    def __iter__(self) -> Iterator[bytes]:
        while True:
            piece = self._take()
            if piece:
                yield piece
            elif self._ended():
                return
            else:
                self._exchange.wait_body()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            piece = self._take()
            if piece:
                yield piece
            elif self._ended():
                return
            else:
                await self._exchange.await_body()

    def read(self) -> bytes:
        """All that is left, blocking until it is here."""
        return b"".join(self)

    async def aread(self) -> bytes:
        """All that is left, for a task."""
        return b"".join([piece async for piece in self])

    def _take(self) -> bytes:
        piece = self._stream.take()
        self._taken += len(piece)
        if self.limit_bytes is not None and self._taken > self.limit_bytes:
            raise HTTPError(413, f"the body is over {self.limit_bytes} bytes")
        return piece

    def _ended(self) -> bool:
        if self._stream.error is not None:
            raise self._stream.error
        return self._stream.complete
