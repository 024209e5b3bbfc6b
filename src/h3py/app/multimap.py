"""`MultiMap`: a read-only mapping whose keys may have several values (queries, form fields).

Owned by the event that parsed it; immutable, so any thread may read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, TypeVar

V = TypeVar("V")


class MultiMap(Mapping[str, V], Generic[V]):
    """Keys to one or more values, in the order they were sent.

    ``map[key]`` and ``map.get(key)`` give the first value, ``get_all`` all of
    them, ``pairs`` everything as sent.
    """

    __slots__ = ("_pairs", "_values")

    def __init__(self, pairs: Iterable[tuple[str, V]] = ()) -> None:
        self._pairs = tuple(pairs)
        self._values: dict[str, list[V]] = {}
        for key, value in self._pairs:
            self._values.setdefault(key, []).append(value)

    def __getitem__(self, key: str) -> V:
        return self._values[key][0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def get_all(self, key: str) -> list[V]:
        """All values of ``key``, in the order they were sent; empty when there is none."""
        return list(self._values.get(key, ()))

    def pairs(self) -> tuple[tuple[str, V], ...]:
        """Every key with its value, in the order they were sent."""
        return self._pairs

    def __eq__(self, other: object) -> bool:
        if isinstance(other, MultiMap):
            return self._pairs == other._pairs
        return super().__eq__(other)

    __hash__ = None  # type: ignore[assignment]  # as every Mapping: values may be mutable

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self._pairs)!r})"
