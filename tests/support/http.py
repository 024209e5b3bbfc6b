"""Reading HTTP/1.1 in tests, straight from RFC 9112, with nothing of h3py's own.

A test that reads the server's bytes with the server's code would agree with its
mistakes. This is small and strict instead: what is not exactly legal fails the
test. No I/O here: bytes in, values out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_STATUS_LINE = re.compile(rb"HTTP/(1\.[01]) (\d{3}) ([^\r\n\0]*)")
# RFC 9110 section 5.1 and 5.5: a token, then visible text, spaces and obs-text.
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\x21-\x7e\x80-\xff\t ]*?)[ \t]*")


@dataclass(frozen=True)
class Head:
    """A status line and its header fields; names in lower case, in the order sent."""

    version: str
    status: int
    reason: str
    fields: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str | None:
        """The one value of a field, or None; a field sent twice fails the test."""
        values = self.get_all(name)
        assert len(values) <= 1, f"{name} was sent {len(values)} times: {values}"
        return values[0] if values else None

    def get_all(self, name: str) -> list[str]:
        return [value for known, value in self.fields if known == name.lower()]

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        assert value is not None, f"no {name} in {self}"
        return value

    @property
    def chunked(self) -> bool:
        return self.get("transfer-encoding") == "chunked"


def parse_head(raw: bytes) -> Head:
    """A response head, up to and without its empty line (RFC 9112 sections 4 and 5)."""
    first, *lines = raw.split(b"\r\n")
    found = _STATUS_LINE.fullmatch(first)
    assert found, f"not a status line: {first!r}"
    fields = []
    for line in lines:
        field = _FIELD.fullmatch(line)
        assert field, f"not a header field: {line!r}"
        fields.append((field[1].decode("ascii").lower(), field[2].decode("latin-1")))
    return Head(found[1].decode(), int(found[2]), found[3].decode("latin-1"), tuple(fields))


class ChunkedReader:
    """A chunked body, in pieces (RFC 9112 section 7.1); ``ended`` after the last chunk.

    ``chunks`` keeps each chunk apart, for tests of what was sent as one piece.
    """

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.ended = False
        self.rest = b""
        """What follows the last chunk: the beginning of the next response."""
        self._buffer = b""

    def feed(self, data: bytes) -> bytes:
        """The payload of the chunks that are complete now."""
        self._buffer += data
        begin = len(self.chunks)
        while not self.ended and self._take_chunk():
            pass
        if self.ended:
            self.rest += self._buffer
            self._buffer = b""
        return b"".join(self.chunks[begin:])

    def _take_chunk(self) -> bool:
        line, found, after = self._buffer.partition(b"\r\n")
        if not found:
            return False
        assert re.fullmatch(rb"[0-9A-Fa-f]+", line), f"not a chunk size: {line!r}"
        size = int(line, 16)
        if len(after) < size + 2:
            return False
        assert after[size : size + 2] == b"\r\n", f"chunk of {size} does not end with CRLF"
        self._buffer = after[size + 2 :]
        if size:
            self.chunks.append(after[:size])
        else:
            self.ended = True
        return True
