"""The server's side of HTTP/1.1, reading: bytes in, requests out.

Rules: no I/O, no clock, no lock; one thread at a time, the one that drives the
connection. A parser lives as long as its connection and ends with the first
error, with the last request of the connection, or with ``feed_eof``: after that
it takes nothing more.

The division of labour. llhttp (through httptools) reads the header fields; it is
given one complete head at a time and nothing else. Before it sees a byte, the
guards have judged what it does not: the sizes, the request line, bytes that no
head may hold. Bodies never pass through it, for httptools cannot tell where in
a read a message ended, and leaves HTTP altogether where a request asks for an
upgrade; their framing is counted here and in ``chunked``.

What is read is a function of the bytes, not of the reads that brought them, and
after an error nothing is read: no byte of a body is ever taken for a request.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from h3py.errors import RequestError
from h3py.http.chunked import ChunkedDecoder
from h3py.http.framing import (
    CHUNKED,
    Lines,
    body_length,
    combined,
    expects_continue,
    index_fields,
    keeps_alive,
)
from h3py.http.guards import count_clean_lines, find_line_end, find_section_end
from h3py.http.headers import Headers
from h3py.http.request import HTTP_11, BodyStream, Request
from h3py.http.requestline import RequestLine, is_host, parse_request_line
from h3py.options import Limits

REQUESTS_PER_FEED: Final = 16
"""How many pipelined requests one ``feed`` returns; the others are held back as bytes,
so that a read full of small requests costs neither much memory nor a long pause."""

EMPTY_LINES: Final = 4
"""Empty lines ignored before a request line (RFC 9112 section 2.2 asks for at least one)."""


class Phase(Enum):
    """What the parser waits for; each has its own timeout."""

    IDLE = "idle"
    """The first byte of a request."""
    HEAD = "head"
    """The rest of a head."""
    BODY = "body"
    """The rest of a body."""


class RequestParser:
    """Reads the requests of one connection.

    Args:
        limits: What one request may cost.
        wants_stream: Asked once for each request that has a body, when its head
            is complete: whether the body is to be handed over in pieces. What it
            raises comes out of ``feed`` and ends the parser; a ``RequestError``
            becomes ``error``.

    Attributes:
        error: What was wrong, once something was; answer with its status and
            close. Requests returned before or along with it are to be answered first.
        buffered: Further requests are held back: call ``feed(b"")`` when those
            returned have been dealt with, and read from the socket only after.
    """

    __slots__ = (
        "_body", "_chunked", "_clean", "_continue", "_empty_lines", "_ended", "_eof", "_fields",
        "_host", "_left", "_limits", "_line", "_line_end", "_llhttp", "_request", "_rest",
        "_wants_stream", "buffered", "error",
    )  # fmt: skip

    def __init__(
        self, limits: Limits, *, wants_stream: Callable[[Request], bool] | None = None
    ) -> None:
        self._limits = limits
        self._wants_stream = wants_stream
        self.error: RequestError | None = None
        self.buffered = False
        # Bytes not consumed yet: the beginning of a head or of a chunk line, or
        # requests held back.
        self._rest = b""
        self._eof = False
        self._ended = False
        # The head that is being read.
        self._fields = _Fields()
        self._llhttp: HttpRequestParser | None = None
        self._empty_lines = 0
        self._line: RequestLine | None = None
        self._line_end = 0
        self._clean = 0
        self._host: bytes | None = None  # the last one, which most often comes again
        # The request whose body is being read.
        self._request: Request | None = None
        self._body: BodyStream | None = None
        self._left = 0
        self._chunked: ChunkedDecoder | None = None
        self._continue = False

    @property
    def phase(self) -> Phase:
        """What is being waited for. ``IDLE`` also when nothing will come any more."""
        if self._body is not None:
            return Phase.BODY
        return Phase.HEAD if self._rest and not self.buffered else Phase.IDLE

    def feed(self, data: bytes) -> list[Request]:
        """Take what was received; ``b""`` to go on with what is held back.

        Args:
            data: Bytes as they came from the socket.

        Returns:
            The requests that are complete now, in order, at most
            ``REQUESTS_PER_FEED``. One whose body is streamed is returned when its
            head is complete, and none after it until its body has been read.
        """
        requests: list[Request] = []
        if self._rest:
            data = self._rest + data
            self._rest = b""
        self.buffered = False
        at = 0
        size = len(data)
        try:
            while at < size and not self._ended and not self.buffered:
                if self._body is None:
                    after = self._read_head(data, at, requests)
                else:
                    after = self._read_body(data, at, requests)
                if after < 0:
                    at = ~after
                    break
                at = after
                if len(requests) >= REQUESTS_PER_FEED and at < size:
                    self.buffered = True
                    break
        except RequestError as error:
            self._fail(error)
            return requests
        except BaseException:  # out of wants_stream
            # Its place among the bytes is lost; what comes next could be a body.
            self._stop()
            raise
        if self._ended:
            self.buffered = False
            return requests
        if at < size:
            self._rest = data[at:]
        if self._eof and not self.buffered:
            self._end_of_input()
        return requests

    def feed_eof(self) -> None:
        """The peer will send no more: an error in the middle of a request."""
        self._eof = True
        if not self._ended and not self.buffered:
            self._end_of_input()

    def fail(self, error: RequestError) -> None:
        """Give up on what is being read, for a reason that bytes do not show: 408.

        A streamed body ends with it too. An error that is there already stays.
        """
        if self.error is None:
            self._fail(error)

    def take_continue(self) -> bool:
        """Whether to send ``100 Continue`` now, before anything else; True once.

        To be asked after each ``feed``. It is for the request whose head came
        last, which is the only one that ``feed`` returned, or not complete yet.
        """
        asked, self._continue = self._continue, False
        return asked

    # Heads.

    def _read_head(self, data: bytes, at: int, requests: list[Request]) -> int:
        """Read one head; returns where it ended, or ``~at`` when more is needed."""
        line = self._line
        if line is None:
            # Most heads come whole and without a fault.
            line_end = data.find(b"\r\n", at)
            end = data.find(b"\r\n\r\n", line_end)
            limits = self._limits
            if (
                0 < line_end - at <= limits.request_line_bytes
                and 0 <= end - line_end <= limits.header_bytes
            ):
                after = end + 4
                head = data[at:after]
                count = count_clean_lines(head)
                if count:
                    line = parse_request_line(data[at:line_end])
                    held = self._finish_head(line, head, count - 2, end - line_end, requests)
                    return ~at if held else after
        return self._read_split_head(data, at, requests)

    def _read_split_head(self, data: bytes, at: int, requests: list[Request]) -> int:
        """The same for a head that comes in pieces, or is at fault: judged byte by byte."""
        limits = self._limits
        line = self._line
        if line is None:
            while data.startswith(b"\r\n", at):
                at += 2
                self._empty_lines += 1
                if self._empty_lines > EMPTY_LINES:
                    raise RequestError(400, "empty lines before a request")
            too_long = RequestError(414, "request line too long")
            line_end = find_line_end(data, at, limits.request_line_bytes, too_long)
            if line_end < 0:
                return ~at
            line = self._line = parse_request_line(data[at:line_end])
            self._line_end = line_end - at
            self._clean = self._line_end + 2
        start = at + self._line_end + 2
        too_large = RequestError(431, "header fields too large")
        end = find_section_end(data, start, at + self._clean, limits.header_bytes, too_large)
        if end < 0:
            self._clean = len(data) - at
            return ~at
        head = data[at : end + 2]
        held = self._finish_head(line, head, head.count(b"\r\n") - 2, end - start, requests)
        return ~at if held else end + 2

    def _finish_head(
        self, line: RequestLine, head: bytes, count: int, size: int, requests: list[Request]
    ) -> bool:
        """A complete head with a good request line: make the request of it.

        Returns:
            True when it is held back instead: its ``100 Continue`` must not
            overtake the answers to the requests before it.
        """
        self._line = None
        self._empty_lines = 0
        if count > self._limits.header_count:
            raise RequestError(431, "too many header fields")
        lines = self._read_fields(head)
        index = index_fields(lines)
        method, target, path, query_string, version, target_host = line

        host = index.get(b"host")
        if host is None:
            if version == HTTP_11:
                raise RequestError(400, "no host field")
        elif host != self._host:
            if not is_host(host.strip(b" \t")):
                raise RequestError(400, "malformed host field")
            self._host = host
        if target_host is not None:
            lines = [pair for pair in lines if pair[0] != b"host"]
            lines.append((b"host", target_host))
            index[b"host"] = target_host

        connection = index.get(b"connection")
        if connection is None:
            keep_alive = version == HTTP_11
        elif connection == b"keep-alive" and len(index) == len(lines):
            keep_alive = True  # what most clients send
        else:
            keep_alive = keeps_alive(combined(lines, b"connection"), version)
        waits = b"expect" in index and expects_continue(combined(lines, b"expect"), version)
        length = body_length(index, version)
        request = Request(
            method, target, path, query_string, version, Headers(lines, index), b"", keep_alive
        )
        if length == 0:
            self._deliver(request, requests)
            return False
        # llhttp now waits for a body that it will not be given.
        self._llhttp = None
        limits = self._limits
        if length > limits.body_bytes:
            raise RequestError(413, "request body too large")
        if waits and requests:
            self.buffered = True
            return True
        body = BodyStream()
        if length == CHUNKED:
            self._chunked = ChunkedDecoder(
                body,
                body_bytes=limits.body_bytes,
                trailer_count=limits.header_count - count,
                trailer_bytes=limits.header_bytes - size,
            )
        self._left = length
        self._continue = waits
        self._request = request
        self._body = body
        if self._wants_stream is not None and self._wants_stream(request):
            request.body = body
            requests.append(request)
        return False

    def _read_fields(self, head: bytes) -> Lines:
        """The field lines of a head, names in lower case."""
        llhttp = self._llhttp
        if llhttp is None:
            llhttp = self._llhttp = HttpRequestParser(self._fields)
            # Whether there is a next request is decided here, by the Connection
            # field alone; and a minor version above 1 has been let through on purpose.
            llhttp.set_dangerous_leniencies(lenient_keep_alive=True, lenient_version=True)
        try:
            llhttp.feed_data(head)
        except HttpParserUpgrade:
            # Upgrade is not offered, so it is ignored (RFC 9110 section 7.8);
            # llhttp has left HTTP, a new one will read the next head.
            self._llhttp = None
        except HttpParserError as error:
            raise RequestError(400, str(error) or "malformed head") from None
        return self._fields.take()

    # Bodies.

    def _read_body(self, data: bytes, at: int, requests: list[Request]) -> int:
        """Read on in the body; returns where it ended, or ``~at`` when more is needed."""
        body = self._body
        assert body is not None
        self._continue = False
        if self._chunked is not None:
            at = self._chunked.feed(data, at)
            done = self._chunked.done
        else:
            after = min(at + self._left, len(data))
            body.put(data[at:after])
            self._left -= after - at
            at = after
            done = self._left == 0
        if not done:
            return ~at
        body.complete = True
        request = self._request
        assert request is not None
        self._request = self._body = self._chunked = None
        if request.body is body:
            self._ended = not request.keep_alive
            # Who waits for this body looks at no request that ``feed`` returns.
            self.buffered = at < len(data)
        else:
            request.body = body.take()
            self._deliver(request, requests)
        return at

    # Ends.

    def _deliver(self, request: Request, requests: list[Request]) -> None:
        requests.append(request)
        # What follows the last request of a connection is not looked at.
        self._ended = not request.keep_alive

    def _end_of_input(self) -> None:
        if self.phase is not Phase.IDLE:
            ended = RequestError(400, "the connection ended in the middle of a request")
            self._fail(self.error or ended)
        self._ended = True

    def _fail(self, error: RequestError) -> None:
        # Without its traceback, whose frames would keep the parser alive in a cycle.
        self.error = error.with_traceback(None)
        if self._body is not None:
            self._body.error = error
        self._stop()

    def _stop(self) -> None:
        self._ended = True
        self.buffered = self._continue = False
        self._rest = b""
        self._request = self._body = self._chunked = self._line = self._llhttp = None


class _Fields:
    """Gathers the header fields of one head. Its own object, since llhttp keeps it alive."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines: Lines = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by httptools for each field line."""
        self._lines.append((name.lower(), value))

    def take(self) -> Lines:
        """The lines gathered since the last call."""
        lines, self._lines = self._lines, []
        return lines
