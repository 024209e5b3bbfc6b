"""The server's side of HTTP/1.1, writing: responses and stream heads to bytes.

Rules: no I/O, no clock (the caller brings the date); functions of their
arguments, for any thread. Framing is decided here alone: a content-length or
transfer-encoding that contradicts the body is refused, so a response can no
more be split than it can be cut short. Responses are HTTP/1.1 whatever the
request's version was (RFC 9110 section 6.2); the version decides what may be
in them. No Server field is sent.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from h3py.errors import RequestError, status_phrase
from h3py.http.fields import Field, encode_field
from h3py.http.request import HTTP_11, Version

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
"""What a client waits for that sent ``Expect: 100-continue``."""

_STATUS_LINES: Final = {
    status: f"HTTP/1.1 {status} {status_phrase(status)}\r\n".encode() for status in range(100, 600)
}
_STREAM_DEFAULTS: Final = (
    ("content-type", b"content-type: text/event-stream\r\n"),
    ("cache-control", b"cache-control: no-cache\r\n"),
    ("x-accel-buffering", b"x-accel-buffering: no\r\n"),
)
_CLOSE: Final = b"connection: close\r\n"
_KEEP_ALIVE: Final = b"connection: keep-alive\r\n"

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip
_last_date: tuple[int, bytes] = (-1, b"")


class Response:
    """An answer that is not a stream.

    Args:
        status: 200 to 599.
        headers: Pairs of text; checked when they are encoded (``check_field`` does it earlier).
        body: The whole body.

    Raises:
        TypeError: The body is not bytes.
        ValueError: The status is out of range.
    """

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int = 200, headers: Iterable[Field] = (), body: bytes = b"") -> None:
        if not 200 <= status <= 599:
            raise ValueError(f"a response's status is 200 to 599, not {status}")
        if not isinstance(body, bytes):
            raise TypeError(f"a response's body is bytes, not {type(body).__name__}")
        self.status = status
        self.headers = list(headers)
        self.body = body

    def __repr__(self) -> str:
        return f"<Response {self.status}, {len(self.body)} bytes>"


def http_date(seconds: float) -> bytes:
    """A time as a Date field has it (RFC 9110 section 5.6.7); made once a second.

    Args:
        seconds: Since the epoch, as ``time.time()`` gives them.
    """
    global _last_date
    whole = int(seconds)
    second, text = _last_date  # one tuple: another thread replaces both or none
    if second == whole:
        return text
    now = time.gmtime(whole)
    text = (
        f"{_DAYS[now.tm_wday]}, {now.tm_mday:02} {_MONTHS[now.tm_mon - 1]} {now.tm_year:04}"
        f" {now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02} GMT"
    ).encode()
    _last_date = (whole, text)
    return text


def has_body(status: int) -> bool:
    """Whether a response of that status has a body at all (RFC 9110 section 6.4.1)."""
    return status >= 200 and status != 204 and status != 304


def asks_close(headers: Iterable[Field]) -> bool:
    """Whether a response's own Connection field ends the connection; the backend then closes."""
    for name, value in headers:
        # Ten letters, and few other names have as many: this is asked of every response.
        if len(name) == 10 and name.lower() == "connection":
            options = [option.strip() for option in value.lower().split(",")]
            if "close" in options:
                return True
    return False


def encode_response(
    status: int,
    headers: Sequence[Field],
    body: bytes,
    *,
    version: Version,
    keep_alive: bool,
    head_only: bool = False,
    date: bytes | None = None,
) -> bytes:
    """A whole response.

    Args:
        status: The status code, 100 to 599.
        headers: Pairs of text. Content-Length need not be among them; Date, if
            it is, replaces ``date``, and Connection can only say ``close``
            (``asks_close`` tells the backend to do so).
        body: Its bytes; left out where the status has no body, and for ``head_only``.
        version: The request's version.
        keep_alive: Whether the connection is used again.
        head_only: No body, but the length it would have: the answer to HEAD, or
            the head before a body that is sent apart.
        date: The value of the Date field (``http_date``), or None for none.

    Raises:
        TypeError: A header that is not text.
        ValueError: A status out of range; a header that cannot be sent: CR, LF or
            NUL, text outside latin-1, a content-length that is not the body's,
            transfer-encoding, keep-alive, upgrade.
    """
    parts = [_status_line(status)]
    managed: dict[str, str] | None = None
    for field in headers:
        line = encode_field(field)
        if line is None:
            managed = _manage(managed, field)
        else:
            parts.append(line)
    length: int | None = len(body)
    if managed is not None:
        length, keep_alive, date = _overrule(
            managed, status, len(body), head_only, keep_alive, date
        )
    if status < 200 or status == 204 or status == 304:
        head_only = True
        if managed is None or status != 304:
            length = None
    if length is not None:
        parts.append(b"content-length: %d\r\n" % length)
    if date is not None:
        parts.append(b"date: %b\r\n" % date)
    if not keep_alive:
        parts.append(_CLOSE)
    elif version != HTTP_11:
        parts.append(_KEEP_ALIVE)
    parts.append(b"\r\n")
    if not head_only:
        parts.append(body)
    return b"".join(parts)


def encode_stream_head(
    status: int, headers: Iterable[Field], *, version: Version, date: bytes | None = None
) -> bytes:
    """The head of an event stream; on HTTP/1.1 what follows is chunked (``encode_chunk``).

    To an HTTP/1.0 client the stream is not chunked and ends with the connection.

    Args:
        status: The status code, of a kind that has a body.
        headers: Pairs of text; they replace the stream's own of the same name
            (content-type, cache-control, x-accel-buffering, connection).
        version: The request's version.
        date: The value of the Date field, or None for none.

    Raises:
        TypeError: A header that is not text.
        ValueError: A header that cannot be sent (see ``encode_response``; here any
            content-length), or a status without a body.
    """
    if not has_body(status):
        raise ValueError(f"a stream cannot have status {status}, which has no body")
    given = list(headers)
    if not given and date is not None:
        # What most streams begin with; the rest may hold cookies, and is not kept.
        return _plain_stream_head(status, version) % date
    return _stream_head(status, given, version, date)


@lru_cache(maxsize=16)
def _plain_stream_head(status: int, version: Version) -> bytes:
    """The head of a stream without headers of its own; ``%b`` is for the date."""
    return _stream_head(status, (), version, b"%b")


def _stream_head(
    status: int, headers: Iterable[Field], version: Version, date: bytes | None
) -> bytes:
    parts = [_status_line(status)]
    managed: dict[str, str] | None = None
    given = set()
    for field in headers:
        line = encode_field(field)
        given.add(field[0].lower())
        if line is None:
            managed = _manage(managed, field)
        else:
            parts.append(line)
    parts += [line for name, line in _STREAM_DEFAULTS if name not in given]
    connection = "keep-alive"
    if managed is not None:
        if "content-length" in managed:
            raise ValueError("header content-length: a stream has no length")
        connection = managed.get("connection", connection)
        if "date" in managed:
            date = managed["date"].encode("latin-1")
    if date is not None:
        parts.append(b"date: %b\r\n" % date)
    if version == HTTP_11:
        parts.append(f"connection: {connection}\r\n".encode("latin-1"))
        parts.append(b"transfer-encoding: chunked\r\n\r\n")
    else:
        parts.append(b"connection: close\r\n\r\n")
    return b"".join(parts)


def encode_error(error: RequestError, *, date: bytes | None = None) -> bytes:
    """The answer to a request that was wrong; the connection is to be closed after it."""
    body = f"{error}\n".encode()
    headers = (("content-type", "text/plain; charset=utf-8"),)
    return encode_response(
        error.status, headers, body, version=HTTP_11, keep_alive=False, date=date
    )


def _status_line(status: int) -> bytes:
    try:
        return _STATUS_LINES[status]
    except KeyError:
        raise ValueError(f"a status is 100 to 599, not {status!r}") from None


def _manage(managed: dict[str, str] | None, field: Field) -> dict[str, str]:
    """Note a field that has a say in framing; refuse those that are the server's alone."""
    name, value = field[0].lower(), field[1]
    if name in ("transfer-encoding", "upgrade", "keep-alive"):
        raise ValueError(f"header {name}: decided by the server, not by a response")
    managed = managed or {}
    if name == "connection":
        value = f"{managed[name]}, {value}" if name in managed else value
    elif managed.get(name, value) != value:
        raise ValueError(f"header {name}: given twice, {managed[name]!r} and {value!r}")
    managed[name] = value
    return managed


def _overrule(
    managed: dict[str, str],
    status: int,
    size: int,
    head_only: bool,
    keep_alive: bool,
    date: bytes | None,
) -> tuple[int | None, bool, bytes | None]:
    """What the application's own framing fields change: length, keep-alive, date."""
    length: int | None = size
    if "content-length" in managed:
        text = managed["content-length"].strip()
        if not (text.isascii() and text.isdigit()):
            raise ValueError(f"header content-length: {text!r} is not a number")
        length = int(text)
        free = head_only or status == 304  # then it tells what GET would have sent
        if has_body(status) and length != size and not free:
            raise ValueError(f"header content-length: {length}, but the body has {size} bytes")
    elif status == 304:
        length = None
    if "connection" in managed:
        keep_alive = keep_alive and not asks_close([("connection", managed["connection"])])
    if "date" in managed:
        date = managed["date"].encode("latin-1")
    return length, keep_alive, date
