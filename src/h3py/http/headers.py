"""Header fields of a request, as a case-insensitive mapping that decodes only what is asked for.

Rules: names are ASCII and compare without case; values are text, each byte one
character (latin-1), without the white space around them (RFC 9110 section 5.5).
A name may occur on several lines: ``[]`` and ``get`` give the first, ``get_all``
every one, and iteration, ``len`` and ``items`` go line by line, in order.

Most requests are answered without a look at more than one or two fields, so
the pairs stay bytes until then. An instance belongs to its request, is never
changed after it was built, and may be read by any thread.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping
from typing import TypeVar, overload

T = TypeVar("T")


class Headers(Mapping[str, str]):
    """Case-insensitive multi-mapping of header fields (RFC 9110 section 5).

    Args:
        lines: Name and value of each field line in order, names in lower case.
        index: The first value of each name, when the caller has it already.
    """

    __slots__ = ("_index", "_lines")

    def __init__(
        self, lines: list[tuple[bytes, bytes]], index: dict[bytes, bytes] | None = None
    ) -> None:
        self._index = dict(reversed(lines)) if index is None else index
        # Where each name has one line the index says it all, and a stream that lasts for
        # days has a quarter of a kilobyte less to hold.
        self._lines = None if index is not None and len(index) == len(lines) else lines

    @property
    def _pairs(self) -> Iterable[tuple[bytes, bytes]]:
        """Name and value of each line, in order."""
        return self._index.items() if self._lines is None else self._lines

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> Headers:
        """Build from pairs of text; for tests and for transports without bytes."""
        return cls([(name.lower().encode("ascii"), text.encode("latin-1")) for name, text in pairs])

    def __getitem__(self, name: str) -> str:
        """The first value of ``name``; ``KeyError`` when it is absent."""
        try:
            return _text(self._index[_key(name)])
        except KeyError:
            raise KeyError(name) from None

    @overload
    def get(self, name: str, /) -> str | None: ...
    @overload
    def get(self, name: str, /, default: str | T) -> str | T: ...
    def get(self, name: str, /, default: object = None) -> object:
        """The first value of ``name``, or ``default``."""
        value = self._index.get(_key(name))
        return default if value is None else _text(value)

    def get_all(self, name: str) -> list[str]:
        """The values of every line of that name, in order; empty when there is none."""
        key = _key(name)
        return [_text(value) for known, value in self._pairs if known == key]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _key(name) in self._index

    def __iter__(self) -> Iterator[str]:
        """The name of each line, in lower case."""
        return (name.decode("latin-1") for name, _ in self._pairs)

    def __len__(self) -> int:
        """The number of field lines."""
        return len(self._index if self._lines is None else self._lines)

    def items(self) -> ItemsView[str, str]:
        """Name and value of each line, those of a repeated name included."""
        return _Lines(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Headers):
            return NotImplemented
        return list(self.items()) == list(other.items())

    __hash__ = None  # type: ignore[assignment]  # equal by value, as Mapping is

    def __repr__(self) -> str:
        return f"Headers({list(self.items())!r})"


class _Lines(ItemsView[str, str]):
    """The view behind ``items``; the inherited one would show the first line of a name twice."""

    __slots__ = ()
    _mapping: Headers

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for name, value in self._mapping._pairs:
            yield name.decode("latin-1"), _text(value)

    def __contains__(self, item: object) -> bool:
        return any(item == pair for pair in self)


def _key(name: str) -> bytes:
    # What is not ASCII becomes "?", which no field name can hold: absent. Encoded
    # first, since the lower case of a letter outside ASCII may be one inside.
    return name.encode("ascii", "replace").lower()


def _text(value: bytes) -> str:
    return value.decode("latin-1").strip(" \t")
