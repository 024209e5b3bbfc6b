"""Conditions of subscribers on the metadata of events: ``where``.

A mapping of key to accepted values is matched in compiled code, live and in replay
alike. A callable cannot run in a pump, so it is asked once per event when that is
published, and its answer travels with the event as one more piece of metadata: a key
that only this module makes, which its subscribers' conditions look at. So it costs a
call per event and *function*, not per stream, and replay needs no second call.

A function is known from its first subscriber on, and for a while after its last (so
that a client that returns finds its answers in the history). What was published
before has no answer of its: ``since`` says from where on there is one. For that to be
exact each new function raises the version that the engine requires of publishers: an
event that was being asked about meanwhile is not taken, and asked about once more.

Owner: the hub. Any thread; publishers take no lock.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from h3py.app.functions import needs_trio
from h3py.manager.events import as_text, check_key, check_text

Accepts = Callable[[Mapping[str, str]], object]
Condition = dict[str, tuple[str, ...]]
Where = Mapping[str, "str | int | float | bool | Iterable[Any]"] | Accepts

# Functions without a subscriber that are still asked.
MAX_UNUSED = 32
_YES = "1"

_log = logging.getLogger("h3py.manager")


class _Known:
    """A function that subscribers have given, and how many of them there are."""

    __slots__ = ("condition", "function", "since", "tag", "users")

    def __init__(self, function: Accepts, tag: str) -> None:
        self.function = function
        self.tag = tag
        self.since = 0
        self.condition: Condition = {tag: (_YES,)}
        self.users = 0


def check_where(where: Where) -> Condition | Accepts:
    """A function as it is; a mapping as the engine takes it.

    Raises:
        TypeError: Neither; an async function, or one that cannot be hashed; a key that is no
            ``str``; a value that is no text, number or boolean.
        ValueError: No accepted value for a key, or one that begins with NUL; text that is not
            UTF-8.
    """
    if callable(where):
        if needs_trio(where):
            raise TypeError("where: give a plain function: the publisher calls it")
        hash(where)
        return where
    if not isinstance(where, Mapping):
        raise TypeError(f"where must be a mapping or a function, not {type(where).__name__}")
    found = {}
    for key, accepted in where.items():
        check_key("where", key)
        if isinstance(accepted, str | int | float | bytes):
            accepted = (accepted,)
        values = tuple(accepted)
        if not values:
            raise ValueError(f"where: {key!r} accepts no value, so no event would come")
        texts = tuple(as_text(key, value) for value in values)
        for text in (key, *texts):
            check_text("where", text)
        found[key] = texts
    return found


class Filters:
    """The functions that are asked about each event.

    Args:
        require: Have no event taken from here on whose publisher knows less than a version;
            tells the last sequence that was taken before.
    """

    def __init__(self, require: Callable[[int], int]) -> None:
        self._require = require
        self._lock = threading.Lock()
        self._used: dict[Accepts, _Known] = {}
        self._unused: dict[Accepts, _Known] = {}  # the longest unused first
        self._numbers = itertools.count(1)
        # The version, and who is asked: replaced together, since publishers take no lock.
        self._asked: tuple[int, tuple[_Known, ...]] = (0, ())

    def take(self, function: Accepts) -> tuple[Condition, int]:
        """A subscriber comes with a function.

        Returns:
            Its condition, and the sequence after which every event has its answer.
        """
        with self._lock:
            known = self._used.get(function) or self._unused.pop(function, None)
            if known is None:
                version = next(self._numbers)
                known = _Known(function, f"\0where:{version}")
                self._asked = (version, (*self._asked[1], known))
                known.since = self._require(version)
            self._used[function] = known
            known.users += 1
            return known.condition, known.since

    def give_back(self, function: Accepts) -> None:
        """A subscriber with this function has gone."""
        with self._lock:
            known = self._used[function]
            known.users -= 1
            if known.users:
                return
            del self._used[function]
            self._unused[function] = known
            if len(self._unused) > MAX_UNUSED:
                forgotten = self._unused.pop(next(iter(self._unused)))
                version, asked = self._asked
                self._asked = (version, tuple(each for each in asked if each is not forgotten))

    def answers(
        self, metadata: dict[str, str] | None, said: dict[str, bool]
    ) -> tuple[int, dict[str, str] | None]:
        """What each function says of an event.

        Args:
            metadata: The event's.
            said: What was said of it before, by functions that are not asked again; is added to.

        Returns:
            The version that this answers, and the metadata with the answers.
        """
        version, asked = self._asked
        if not asked:
            return version, metadata
        for known in asked:
            if known.tag not in said:
                said[known.tag] = _accepts(known.function, metadata or {})
        yes = {tag: _YES for tag, accepted in said.items() if accepted}
        return version, {**(metadata or {}), **yes} or None


def _accepts(function: Accepts, metadata: Mapping[str, str]) -> bool:
    try:
        return bool(function(metadata))
    except Exception:  # noqa: BLE001  # a subscriber's; neither the publisher's nor the others' harm
        _log.exception("a where function failed: the event does not go to its streams")
        return False
