"""What a head says about its message: how long the body is, and what comes after it.

Rules: no I/O, no state; functions of field values (RFC 9112 sections 3.2, 6
and 9, RFC 9110 section 10.1.1). Whatever could be read in two ways is refused:
two readers that disagree about where a body ends let a client smuggle a
request past one of them.
"""

from __future__ import annotations

from typing import Final

from h3py.errors import RequestError
from h3py.http.request import HTTP_11, Version

Lines = list[tuple[bytes, bytes]]

# Fields of which a second line is a contradiction, whatever it says.
_SINGLE: Final = (b"host", b"content-length", b"transfer-encoding")
# Fields that are one list over all their lines (RFC 9110 section 5.3).
_LISTS: Final = (b"connection", b"expect")

CHUNKED: Final = -1


def index_fields(lines: Lines) -> dict[bytes, bytes]:
    """The first value of each name.

    Raises:
        RequestError: 400 when there are two of what there must be one.
    """
    index = dict(lines)
    if len(index) != len(lines):
        names = [name for name, _ in lines]
        for name in _SINGLE:
            if names.count(name) > 1:
                raise RequestError(400, f"more than one {name.decode()} field")
        index = dict(reversed(lines))
    return index


def combined(lines: Lines, name: bytes) -> bytes:
    """All values of a list field as one list, in lower case."""
    return b",".join([value for known, value in lines if known == name]).lower()


def body_length(index: dict[bytes, bytes], version: Version) -> int:
    """The length of the body, 0 for none, or ``CHUNKED`` (RFC 9112 section 6.3).

    Raises:
        RequestError: 400 where the length is invalid or told twice, 501 for a
            transfer coding other than chunked.
    """
    coding = index.get(b"transfer-encoding")
    length = index.get(b"content-length")
    if coding is None:
        return 0 if length is None else _content_length(length)
    if length is not None:
        raise RequestError(400, "both content-length and transfer-encoding")
    if version != HTTP_11:
        raise RequestError(400, "transfer-encoding in HTTP/1.0")
    codings = [part.strip(b" \t") for part in coding.lower().split(b",")]
    if codings == [b"chunked"]:
        return CHUNKED
    if codings[-1] != b"chunked" or codings.count(b"chunked") > 1 or b"" in codings:
        raise RequestError(400, "invalid transfer-encoding")
    raise RequestError(501, "transfer coding not implemented")


def _content_length(value: bytes) -> int:
    digits = value.strip(b" \t")
    # On bytes, isdigit is 0 to 9 alone: no sign, no list. A leading zero is legal,
    # but there are readers that take it for octal, and no client sends it.
    if not digits.isdigit() or (digits[0] == 0x30 and len(digits) > 1):
        raise RequestError(400, "invalid content-length")
    if len(digits) > 19:  # no body is that long, and a number need not be
        raise RequestError(413, "request body too large")
    return int(digits)


def keeps_alive(connection: bytes | None, version: Version) -> bool:
    """Whether the connection may be used again (RFC 9112 section 9.3).

    Args:
        connection: The Connection field in lower case, or None.
        version: The request's version.
    """
    if connection is None:
        return version == HTTP_11
    options = [part.strip(b" \t") for part in connection.split(b",")]
    if b"close" in options:
        return False
    return version == HTTP_11 or b"keep-alive" in options


def expects_continue(expectation: bytes | None, version: Version) -> bool:
    """Whether the client waits for 100 before it sends the body (RFC 9110 section 10.1.1).

    Args:
        expectation: The Expect field in lower case, or None.
        version: The request's version; 1.0 has no expectations, they are ignored.

    Raises:
        RequestError: 417 for any expectation but ``100-continue``.
    """
    if expectation is None or version != HTTP_11:
        return False
    expectations = {part.strip(b" \t") for part in expectation.split(b",")} - {b""}
    if expectations - {b"100-continue"}:
        raise RequestError(417, "expectation not supported")
    return bool(expectations)
