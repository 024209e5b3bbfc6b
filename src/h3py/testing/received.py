"""What a client has received: bytes in; a head, events and the end out. No I/O.

``ReceivedStream`` takes an HTTP/1.1 response to an event stream apart.
``StreamReader`` adds the reading with a deadline that every reader of this
package offers, over a single method that gives the next bytes.

Owner: one test, in one thread at a time.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from typing import Self

from h3py._speedups.parse import EventParser, ReceivedEvent
from h3py.http import BodyStream, Headers
from h3py.http.chunked import ChunkedDecoder
from h3py.testing.waiting import DEADLINE_S, Deadline

_END_OF_HEAD = b"\r\n\r\n"
_Condition = Callable[[], bool]
READ_BYTES = 64 * 1024


class ReceivedStream:
    """A response that is an event stream, as far as it has come.

    Attributes:
        status: Its status; 0 until the head is complete.
        headers: Its header fields.
        events: The events that are complete and were not taken yet.
        ended: The body has ended as it should: with its last chunk, or, where it is not
            chunked, with the connection.
        eof: The connection has ended.
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers = Headers.of(())
        self.events: deque[ReceivedEvent] = deque()
        self._raw = bytearray()
        self.ended = False
        self.eof = False
        self.parser = EventParser(max_event_bytes=sys.maxsize)
        self._head = b""
        self._held = b""
        self._body = BodyStream()
        self._chunks: ChunkedDecoder | None = None

    @property
    def raw(self) -> bytes:
        """Every byte of the body so far, without chunk framing."""
        return bytes(self._raw)

    def has_raw(self, marker: bytes) -> bool:
        """Whether ``marker`` is among the body's bytes so far."""
        return marker in self._raw

    @property
    def so_far(self) -> str:
        """What has come, for the message of a failure."""
        return f"so far: status {self.status}, {bytes(self._raw[-200:])!r}"

    def feed(self, data: bytes) -> None:
        """Take what has arrived; ``b""`` for the end of the connection.

        Raises:
            AssertionError: It is not HTTP, or bytes follow the end of the body.
        """
        if not data:
            self.eof = True
            self.ended = self.ended or (self.status != 0 and self._chunks is None)
            return
        if self.status == 0:
            self._head += data
            head, found, data = self._head.partition(_END_OF_HEAD)
            if not found:
                return
            self._take_head(head)
        if self._chunks is not None:
            data = self._dechunk(self._chunks, data)
        self._raw += data
        self.events.extend(self.parser.feed(data))

    def _take_head(self, head: bytes) -> None:
        status_line, *lines = head.decode("latin-1").split("\r\n")
        version, _, rest = status_line.partition(" ")
        assert version in ("HTTP/1.0", "HTTP/1.1"), f"not HTTP: {status_line!r}"
        self.status = int(rest[:3])
        fields = [line.partition(":") for line in lines]
        self.headers = Headers.of([(name, value.strip()) for name, _, value in fields])
        if self.headers.get("transfer-encoding") == "chunked":
            self._chunks = ChunkedDecoder(
                self._body, body_bytes=sys.maxsize, trailer_count=0, trailer_bytes=0
            )

    def _dechunk(self, chunks: ChunkedDecoder, data: bytes) -> bytes:
        self._held += data
        at = chunks.feed(self._held, 0)
        self._held = self._held[at:]
        if chunks.done:
            self.ended = True
            assert not self._held, f"bytes after the end of the body: {self._held[:80]!r}"
        return self._body.take()


def dechunked(data: bytes, *, ended: bool = False) -> bytes:
    """The payload of a chunked body that was read as it is (RFC 9112 section 7.1).

    Args:
        data: The chunks, from the first one's size on.
        ended: Whether the last chunk must be there; otherwise it must not.

    Raises:
        AssertionError: The framing is broken, or the body ends where it should not.
    """
    body = bytearray()
    at = 0
    while at < len(data):
        line_end = data.index(b"\r\n", at)
        size = int(data[at:line_end], 16)
        begin, at = line_end + 2, line_end + 2 + size
        assert data[at : at + 2] == b"\r\n", f"a chunk of {size} bytes does not end with CRLF"
        body += data[begin:at]
        at += 2
        if size == 0:
            assert ended, "the body ended"
            assert at == len(data), "bytes follow the last chunk"
            return bytes(body)
    assert not ended, "the body was cut"
    return bytes(body)


class StreamReader:
    """Reading an event stream with a deadline; subclasses say where bytes come from.

    Every method that waits takes ``deadline_s`` and raises ``AssertionError`` when it
    passes, or when the stream ends before what was asked for has come.
    """

    def __init__(self, *, deadline_s: float = DEADLINE_S) -> None:
        self.deadline_s = deadline_s
        self.received = ReceivedStream()

    def receive(self, at_most: int, left_s: float) -> bytes:
        """The next bytes, at least one; ``b""`` at the end of the connection.

        Raises:
            TimeoutError: Nothing came in ``left_s`` seconds.
            ConnectionError: The connection broke.
        """
        raise RuntimeError("a reader must say where its bytes come from")

    def close(self) -> None:
        """End the connection, as a client that leaves."""
        raise RuntimeError("a reader must say how it ends")

    def reset(self) -> None:
        """Break the connection, as a client that crashes."""
        raise RuntimeError("a reader must say how it breaks")

    def read(self, at_most: int = READ_BYTES, *, deadline_s: float | None = None) -> bytes:
        """Raw bytes, head and framing included, past all parsing; ``b""`` at the end.

        For tests of the bytes themselves; not together with ``read_event`` and its like.
        """
        deadline = self._deadline(deadline_s)
        try:
            return self.receive(at_most, deadline.left_s)
        except TimeoutError:
            raise AssertionError(f"nothing was sent within {deadline.seconds:g} s") from None

    @property
    def status(self) -> int:
        """The response's status; waits for it."""
        self._advance_until(lambda: self.received.status != 0, "the head", None)
        return self.received.status

    @property
    def headers(self) -> Headers:
        """The response's header fields; waits for them."""
        self._advance_until(lambda: self.received.status != 0, "the head", None)
        return self.received.headers

    def read_event(self, *, deadline_s: float | None = None) -> ReceivedEvent:
        """The next event."""
        return self.read_events(1, deadline_s=deadline_s)[0]

    def read_events(self, count: int, *, deadline_s: float | None = None) -> list[ReceivedEvent]:
        """The next ``count`` events."""
        events = self.received.events
        self._advance_until(lambda: len(events) >= count, f"{count} events", deadline_s)
        return [events.popleft() for _ in range(count)]

    def read_raw_until(self, marker: bytes, *, deadline_s: float | None = None) -> bytes:
        """Every byte of the body so far, once ``marker`` is in it: for comments and the like."""
        self._advance_until(lambda: self.received.has_raw(marker), f"{marker!r}", deadline_s)
        return self.received.raw

    def read_to_end(self, *, deadline_s: float | None = None) -> list[ReceivedEvent]:
        """The events that are left; the stream must end cleanly: not cut off."""
        received = self.received
        self._advance_until(lambda: received.ended, "the clean end of the stream", deadline_s)
        events = list(received.events)
        received.events.clear()
        return events

    def read_eof(self, *, deadline_s: float | None = None) -> None:
        """Wait until the connection has ended, however that came about."""
        deadline = self._deadline(deadline_s)
        while not self.received.eof:
            try:
                self.received.feed(self.receive(READ_BYTES, deadline.left_s))
            except ConnectionError:
                return
            except TimeoutError:
                raise AssertionError(f"still open after {deadline.seconds:g} s") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _deadline(self, deadline_s: float | None) -> Deadline:
        return Deadline(self.deadline_s if deadline_s is None else deadline_s)

    def _advance_until(self, condition: _Condition, what: str, deadline_s: float | None) -> None:
        deadline = self._deadline(deadline_s)
        received = self.received
        while not condition():
            if received.eof or received.ended:
                raise AssertionError(f"the stream ended before {what}; {received.so_far}")
            try:
                if deadline.passed:
                    raise TimeoutError
                data = self.receive(READ_BYTES, deadline.left_s)
            except TimeoutError:
                raise AssertionError(
                    f"not within {deadline.seconds:g} s: {what}; {received.so_far}"
                ) from None
            except ConnectionError as error:
                raise AssertionError(
                    f"the connection broke before {what}: {error}; {received.so_far}"
                ) from error
            received.feed(data)
