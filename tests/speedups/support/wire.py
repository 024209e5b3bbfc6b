"""What a client sees: chunks taken apart (RFC 9112 section 7.1), and the events in them.

Written from the standards alone, strictly: a byte out of place fails the test.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_SIZE = re.compile(rb"([0-9a-f]{1,16})\r\n")


@dataclass(frozen=True)
class Received:
    """One block of an event stream (WHATWG HTML section 9.2.6): fields as they stood."""

    data: str | None = None
    event: str | None = None
    id: str | None = None
    comment: bool = False

    @property
    def sequence(self) -> int:
        """The sequence in the id."""
        assert self.id is not None
        return int(self.id.partition("-")[2], 16)


def read_block(block: bytes) -> Received:
    """The fields of one block, each line strictly ``name: value``."""
    values: dict[str, list[str]] = {}
    comment = False
    for line in block.decode().split("\n"):
        if line.startswith(":"):
            comment = True
            continue
        name, colon, value = line.partition(": ")
        assert colon, f"no field: {line!r}"
        assert name in ("data", "event", "id", "retry"), f"no field: {line!r}"
        values.setdefault(name, []).append(value)
    assert all(len(found) == 1 for name, found in values.items() if name != "data")
    first = {name: found[0] for name, found in values.items() if name != "data"}
    data = "\n".join(values["data"]) if "data" in values else None
    return Received(data, first.get("event"), first.get("id"), comment)


@dataclass
class Wire:
    """The body of one stream, as it arrives."""

    chunked: bool = True
    chunks: list[bytes] = field(default_factory=list)
    events: list[Received] = field(default_factory=list)
    ended: bool = False
    """The last chunk came."""
    head: bytes = b""
    """What came before the first chunk: only where the test sent a head."""
    _rest: bytes = b""

    def feed(self, data: bytes) -> None:
        assert not self.ended, f"bytes after the last chunk: {data[:80]!r}"
        self._rest += data
        if not self.chunked:
            self._blocks(self._rest)
            return
        while (found := _SIZE.match(self._rest)) is not None:
            size = int(found[1], 16)
            end = found.end() + size
            if len(self._rest) < end + 2:
                return
            assert self._rest[end : end + 2] == b"\r\n", "a chunk does not end with its line"
            payload = self._rest[found.end() : end]
            self._rest = self._rest[end + 2 :]
            if size == 0:
                self.ended = True
                assert self._rest == b"", f"bytes after the last chunk: {self._rest[:80]!r}"
                return
            self.chunks.append(payload)
            rest = self._take(payload)
            assert rest == b"", f"a chunk ends within an event: {rest[:80]!r}"
        assert len(self._rest) < 18 or _SIZE.match(self._rest), f"no chunk: {self._rest[:80]!r}"

    def _blocks(self, data: bytes) -> None:
        self._rest = self._take(data)

    def _take(self, data: bytes) -> bytes:
        *blocks, rest = data.split(b"\n\n")
        self.events.extend(read_block(block) for block in blocks)
        return rest

    @property
    def torn(self) -> bytes:
        """Bytes of a chunk that is not complete."""
        return self._rest

    @property
    def data(self) -> list[str]:
        """The data of all events."""
        return [event.data for event in self.events if event.data is not None]
