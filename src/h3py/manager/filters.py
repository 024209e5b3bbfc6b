"""Conditions of subscribers on the metadata of events: ``where``.

A mapping of key to accepted values is matched in compiled code, live and in replay
alike. A callable cannot run in a pump, so it is asked once per event when that is
published, and its answer travels with the event as one more piece of metadata:
a key that only this module makes, which its subscribers' conditions look at. So it costs a call
per event and *function*, not per stream, and replay needs no second call.

A function is known from its first subscriber on, and for a while after its last (so
that a client that returns finds its answers in the history). What was published
before has no answer of its: ``since`` says from where on there is one.

Owner: the hub. Any thread, under a lock; functions are called outside it.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from h3py.manager.events import as_text

Accepts = Callable[[Mapping[str, str]], object]
Where = Mapping[str, "str | int | float | bool | Iterable[Any]"] | Accepts

# Functions without a subscriber that are still asked.
MAX_UNUSED = 32
_YES = "1"

_log = logging.getLogger("h3py.manager")


class _Known:
    """A function that subscribers have given, and how many of them there are."""

    __slots__ = ("since", "tag", "users")

    def __init__(self, tag: str, since: int) -> None:
        self.tag = tag
        self.since = since
        self.users = 0


def conditions(where: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """A mapping as the engine takes it.

    Raises:
        TypeError: A key that is no ``str``; a value that is no text, number or boolean.
        ValueError: No accepted value for a key.
    """
    found = {}
    for key, accepted in where.items():
        if not isinstance(key, str):
            raise TypeError(f"where: keys must be str, not {key!r}")
        single = isinstance(accepted, str | int | float)
        values = (accepted,) if single else tuple(accepted)
        if not values:
            raise ValueError(f"where: {key!r} accepts no value, so no event would come")
        found[key] = tuple(as_text(key, value) for value in values)
    return found


class Filters:
    """The functions that are asked about each event."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Accepts, _Known] = {}  # the longest unused first
        self._numbers = itertools.count()

    def take(self, function: Accepts, head: int) -> tuple[dict[str, tuple[str, ...]], int]:
        """A subscriber comes with a function: its condition, and since when it is answered."""
        with self._lock:
            known = self._known.pop(function, None)
            if known is None:
                known = _Known(f"\0where:{next(self._numbers)}", head)
            self._known[function] = known
            known.users += 1
            self._forget_unused()
            return {known.tag: (_YES,)}, known.since

    def give_back(self, function: Accepts) -> None:
        """A subscriber with this function has gone."""
        with self._lock:
            known = self._known.pop(function)
            known.users -= 1
            self._known[function] = known
            self._forget_unused()

    def _forget_unused(self) -> None:
        unused = [function for function, known in self._known.items() if not known.users]
        for function in unused[:-MAX_UNUSED]:
            del self._known[function]

    def mark(self, metadata: dict[str, str] | None) -> dict[str, str] | None:
        """An event's metadata, with what each function says of it."""
        if not self._known:
            return metadata
        with self._lock:
            asked = [(function, known.tag) for function, known in self._known.items()]
        given = metadata or {}
        answers = {tag: _YES for function, tag in asked if _accepts(function, given)}
        return {**given, **answers} or None


def _accepts(function: Accepts, metadata: Mapping[str, str]) -> bool:
    try:
        return bool(function(metadata))
    except Exception:  # noqa: BLE001  # a subscriber's; neither the publisher's nor the others' harm
        _log.exception("a where function failed: the event does not go to its streams")
        return False
