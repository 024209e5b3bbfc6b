"""Chunked transfer coding (RFC 9112 section 7.1): the decoder of requests, the encoder of streams.

Rules: bytes in, bytes out. httptools does not tell where in a read a message
ended, so the framing of bodies is judged here, strictly: a chunk line is a size
of at most 16 hexadecimal digits and well-formed extensions, ended by CRLF, no
white space anywhere. Extensions are dropped and bounded in sum over the body;
trailer fields are checked, counted with the headers, and dropped: none of them
can change what the head said.

A decoder lives as long as one body, in its connection's parser.
"""

from __future__ import annotations

import re
from typing import Final

from h3py.errors import RequestError
from h3py.http.guards import TOKEN, find_line_end, find_section_end
from h3py.http.request import BodyStream

LAST_CHUNK: Final = b"0\r\n\r\n"
"""Ends a chunked stream (without trailers)."""

SIZE_DIGITS: Final = 16
"""64 bits; more digits, leading zeros included, are refused."""
EXTENSION_BYTES: Final = 4096
"""All chunk extensions of one body together; no client in use sends any."""

_QUOTED = rb'"(?:[^"\\]|\\.)*"'
_CHUNK_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,16})((?:;" + TOKEN + rb"(?:=(?:" + TOKEN + rb"|" + _QUOTED + rb"))?)*)"
)
_PLAIN_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})\r\n")
_FIELD = re.compile(TOKEN + rb":[\t\x20-\x7e\x80-\xff]*")

_SIZE, _DATA, _DATA_END, _TRAILERS, _DONE = range(5)


def encode_chunk(data: bytes) -> bytes:
    """One chunk of a stream; ``b""`` for no data, since an empty chunk would end it."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


class ChunkedDecoder:
    """Takes a chunked body apart, within limits.

    Args:
        body: Where the data goes.
        body_bytes: The greatest length of the decoded body (413).
        trailer_count: How many trailer fields may follow it (431).
        trailer_bytes: How long their section may be, line ends included (431).
    """

    __slots__ = (
        "_body", "_clean", "_extension_bytes", "_left", "_room", "_stage", "_trailer_bytes",
        "_trailer_count",
    )  # fmt: skip

    def __init__(
        self, body: BodyStream, *, body_bytes: int, trailer_count: int, trailer_bytes: int
    ) -> None:
        self._body = body
        self._room = body_bytes
        self._trailer_count = trailer_count
        self._trailer_bytes = trailer_bytes
        self._extension_bytes = EXTENSION_BYTES
        self._stage = _SIZE
        self._left = 0
        self._clean = 0

    @property
    def done(self) -> bool:
        """The whole body, trailers included, has been seen."""
        return self._stage == _DONE

    def feed(self, data: bytes, at: int) -> int:
        """Consume what can be consumed.

        Args:
            data: What was not consumed before, and what has come since.
            at: Where in it to begin.

        Returns:
            Where it stopped: behind the body when ``done``, else before what
            must be given again with more behind it.

        Raises:
            RequestError: 400 for bad framing, 413 for the body's length, 431 for trailers.
        """
        while True:
            stage = self._stage
            if stage == _SIZE:
                after = self._read_size(data, at)
            elif stage == _DATA:
                after = min(at + self._left, len(data))
                if after == at:
                    return at
                self._body.put(data[at:after])
                self._left -= after - at
                if self._left == 0:
                    self._stage = _DATA_END
            elif stage == _DATA_END:
                after = self._read_data_end(data, at)
            elif stage == _TRAILERS:
                after = self._read_trailers(data, at)
            else:
                return at
            if after < 0:
                return at
            at = after

    def _read_size(self, data: bytes, at: int) -> int:
        plain = _PLAIN_LINE.match(data, at)
        if plain is not None:
            digits, after = plain[1], plain.end()
        else:
            limit = SIZE_DIGITS + self._extension_bytes
            end = find_line_end(data, at, limit, RequestError(400, "chunk line too long"))
            if end < 0:
                return -1
            line = _CHUNK_LINE.fullmatch(data, at, end)
            if line is None:
                raise RequestError(400, "malformed chunk size")
            if len(line[2]) > self._extension_bytes:
                raise RequestError(400, "chunk line too long")
            self._extension_bytes -= len(line[2])
            digits, after = line[1], end + 2
        size = int(digits, 16)
        if size > self._room:
            raise RequestError(413, "request body too large")
        self._room -= size
        self._left = size
        self._stage = _DATA if size else _TRAILERS
        return after

    def _read_data_end(self, data: bytes, at: int) -> int:
        if data.startswith(b"\r\n", at):
            self._stage = _SIZE
            return at + 2
        if len(data) - at < 2 and b"\r\n".startswith(data[at:]):
            return -1
        raise RequestError(400, "chunk data does not end where its size says")

    def _read_trailers(self, data: bytes, at: int) -> int:
        too_large = RequestError(431, "trailer fields too large")
        if data.startswith(b"\r\n", at):
            self._stage = _DONE
            return at + 2
        # find_section_end looks two bytes back for the CRLF of the line before;
        # an empty section was dealt with above, so what stands there is no matter.
        clean = at + self._clean
        end = find_section_end(data, at, clean, self._trailer_bytes, too_large)
        if end < 0:
            self._clean = len(data) - at
            return -1
        lines = data[at : end - 2].split(b"\r\n")
        if len(lines) > self._trailer_count:
            raise RequestError(431, "too many trailer fields")
        for line in lines:
            if _FIELD.fullmatch(line) is None:
                raise RequestError(400, "malformed trailer field")
        self._stage = _DONE
        return end + 2
