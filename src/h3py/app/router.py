"""The router: from a method and decoded segments to what was registered for them.

Theory. The patterns form a tree, one level a segment. At each level text beats
``:name`` beats ``*`` beats ``**``, decided segment by segment from the left.
The walk goes back where a branch leads nowhere; since each node lies at one
depth, it visits no node twice, so the work is bounded by the patterns and not
by what a client sends.

A pattern that matches the path but not the method does not end the walk: a
less specific pattern that has the method still answers. Only when none has it
is the answer 405, with the methods of all that match. GET answers HEAD where
HEAD itself is not registered; ``ALL`` answers every method that the same
pattern does not name.

Rules. Generic in what is registered (``T``), knows no handler. Two entries for
the same method and pattern, and two different parameter names at one place,
are refused. Built once, read by any thread afterwards.
"""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from h3py.app.paths import Pattern, SegmentKind
from h3py.errors import ConfigError

T = TypeVar("T")

ALL = "*"
"""The method of an entry that answers every method."""


class Leaf(Generic[T]):
    """All that is registered for one pattern, by method."""

    __slots__ = ("entries", "names", "pattern")

    def __init__(self, pattern: Pattern) -> None:
        self.pattern = pattern
        self.names = pattern.names
        self.entries: dict[str, T] = {}

    def pick(self, method: str) -> T | None:
        """What answers ``method`` here, or None."""
        entry = self.entries.get(method)
        if entry is None and method == "HEAD":
            entry = self.entries.get("GET")
        return self.entries.get(ALL) if entry is None else entry


class Found(NamedTuple, Generic[T]):
    """An entry and the parameters that the path gives it."""

    entry: T
    params: dict[str, str]


class Refused(NamedTuple, Generic[T]):
    """The path is known (where ``leaves`` is not empty), the method is not."""

    leaves: tuple[Leaf[T], ...]

    @property
    def allow(self) -> tuple[str, ...]:
        """The methods that the path answers, sorted, for the Allow header (RFC 9110 10.2.1)."""
        methods = {"OPTIONS"} if self.leaves else set()
        for leaf in self.leaves:
            methods.update(leaf.entries)
        if "GET" in methods:
            methods.add("HEAD")
        return tuple(sorted(methods - {ALL}))


class _Node(Generic[T]):
    __slots__ = ("any", "leaf", "param", "param_name", "rest", "text")

    def __init__(self) -> None:
        self.text: dict[str, _Node[T]] = {}
        self.param: _Node[T] | None = None
        self.param_name: tuple[str, str] = ("", "")
        self.any: _Node[T] | None = None
        self.rest: Leaf[T] | None = None
        self.leaf: Leaf[T] | None = None


class Router(Generic[T]):
    """A tree of patterns."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self.leaves: list[Leaf[T]] = []
        """All patterns, in the order in which they were first added."""

    def add(self, method: str, pattern: Pattern, entry: T) -> None:
        """Register ``entry`` for a method (or `ALL`) and a pattern.

        Raises:
            ConfigError: The method and pattern are taken, or a parameter has
                another name at the same place in an earlier pattern.
        """
        leaf = self._leaf(pattern)
        taken = leaf.entries.get(method)
        if taken is not None:
            raise ConfigError(
                f"two handlers for {'every method' if method == ALL else method} "
                f"{pattern.text!r}: {taken} and {entry}"
            )
        leaf.entries[method] = entry

    def add_unless_taken(self, method: str, pattern: Pattern, entry: T) -> None:
        """Register ``entry`` where no other was; raises for parameter names only, as `add`."""
        self._leaf(pattern).entries.setdefault(method, entry)

    def find(self, method: str, segments: list[str]) -> Found[T] | Refused[T]:
        """What answers ``method`` on a path, or the patterns that match it without the method."""
        refused: list[Leaf[T]] = []
        values: list[str] = []
        leaf = _walk(self._root, segments, 0, method, values, refused)
        if leaf is None:
            return Refused(tuple(refused))
        entry = leaf.pick(method)
        assert entry is not None, "the walk ends only at a leaf that has the method"
        return Found(entry, dict(zip(leaf.names, values, strict=True)))

    def _leaf(self, pattern: Pattern) -> Leaf[T]:
        node = self._root
        for segment in pattern.segments:
            if segment.kind is SegmentKind.TEXT:
                node = node.text.setdefault(segment.text, _Node())
            elif segment.kind is SegmentKind.ANY:
                node.any = node.any or _Node()
                node = node.any
            elif segment.kind is SegmentKind.PARAM:
                node.param = node.param or _Node()
                node.param_name = _same_name(node.param_name, segment.text, pattern)
                node = node.param
            elif node.rest is None:
                return self._new_leaf_at_rest(node, pattern)
            else:
                known = node.rest.pattern
                _same_name((known.segments[-1].text, known.text), segment.text, pattern)
                return node.rest
        if node.leaf is None:
            node.leaf = Leaf(pattern)
            self.leaves.append(node.leaf)
        return node.leaf

    def _new_leaf_at_rest(self, node: _Node[T], pattern: Pattern) -> Leaf[T]:
        node.rest = Leaf(pattern)
        self.leaves.append(node.rest)
        return node.rest


def _walk(
    node: _Node[T],
    segments: list[str],
    depth: int,
    method: str,
    values: list[str],
    refused: list[Leaf[T]],
) -> Leaf[T] | None:
    """Depth first, the most specific branch first; fills ``values`` on the way to its leaf."""
    if depth == len(segments):
        leaf = node.leaf
        if leaf is not None:
            if leaf.pick(method) is not None:
                return leaf
            refused.append(leaf)
    else:
        segment = segments[depth]
        child = node.text.get(segment)
        if child is not None:
            found = _walk(child, segments, depth + 1, method, values, refused)
            if found is not None:
                return found
        if segment:
            if node.param is not None:
                values.append(segment)
                found = _walk(node.param, segments, depth + 1, method, values, refused)
                if found is not None:
                    return found
                values.pop()
            if node.any is not None:
                found = _walk(node.any, segments, depth + 1, method, values, refused)
                if found is not None:
                    return found
    leaf = node.rest
    if leaf is not None:
        if leaf.pick(method) is not None:
            values.append("/".join(segments[depth:]))
            return leaf
        refused.append(leaf)
    return None


def _same_name(known: tuple[str, str], name: str, pattern: Pattern) -> tuple[str, str]:
    """The name of a place in the tree and the pattern that gave it; refuses a second name."""
    if known[1] and known[0] != name:
        raise ConfigError(
            f"two names for one place: {known[0]!r} in {known[1]!r} "
            f"and {name!r} in {pattern.text!r}"
        )
    return known if known[1] else (name, pattern.text)
