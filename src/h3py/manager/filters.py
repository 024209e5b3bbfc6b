"""Conditions of subscribers on the metadata of events: ``where``.

A mapping of key to accepted values is matched in compiled code, live and in replay
alike. A callable cannot run in a pump, so it is asked once per event when that is
published, and its answer travels with the event as one more piece of metadata: a key
that only this module makes, which its subscribers' conditions look at. So it costs a
call per event and *function*, not per stream, and replay needs no second call.

A function is known from its first subscriber on, and for a while after its last (so
that a client that returns finds its answers in the history). What was published
before has no answer of its: ``since`` says from where on there is one. For that to be
exact an event is published under the lock, once every function that is known by then
has been asked; the functions themselves are called outside it.

Owner: the hub. Any thread. The lock is reentrant, since a signal handler may publish.
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

    def __init__(self, function: Accepts, tag: str, since: int) -> None:
        self.function = function
        self.tag = tag
        self.since = since
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

    Attributes:
        asked: They.
        lock: Held while they change, and while an event is published that all of them have
            been asked about.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._used: dict[Accepts, _Known] = {}
        self._unused: dict[Accepts, _Known] = {}  # the longest unused first
        self.asked: tuple[_Known, ...] = ()
        self._numbers = itertools.count()

    def take(self, function: Accepts, head: Callable[[], int]) -> tuple[Condition, int]:
        """A subscriber comes with a function.

        Args:
            function: The function.
            head: Tells the last sequence that was published.

        Returns:
            Its condition, and the sequence after which every event has its answer.
        """
        with self.lock:
            known = self._used.get(function) or self._unused.pop(function, None)
            if known is None:
                known = _Known(function, f"\0where:{next(self._numbers)}", head())
                self.asked = (*self.asked, known)
            self._used[function] = known
            known.users += 1
            return known.condition, known.since

    def give_back(self, function: Accepts) -> None:
        """A subscriber with this function has gone."""
        with self.lock:
            known = self._used[function]
            known.users -= 1
            if known.users:
                return
            del self._used[function]
            self._unused[function] = known
            if len(self._unused) > MAX_UNUSED:
                forgotten = self._unused.pop(next(iter(self._unused)))
                self.asked = tuple(each for each in self.asked if each is not forgotten)

    def publish(
        self, metadata: dict[str, str] | None, send: Callable[[dict[str, str] | None], int]
    ) -> int:
        """Call ``send`` with an event's metadata, and with what each function says of it."""
        said: dict[str, bool] = {}
        asked = self.asked
        while True:
            for known in asked:
                if known.tag not in said:
                    said[known.tag] = _accepts(known.function, metadata or {})
            with self.lock:
                if asked is self.asked:
                    if said:
                        yes = {tag: _YES for tag, accepted in said.items() if accepted}
                        metadata = {**(metadata or {}), **yes} or None
                    return send(metadata)
                asked = self.asked


def _accepts(function: Accepts, metadata: Mapping[str, str]) -> bool:
    try:
        return bool(function(metadata))
    except Exception:  # noqa: BLE001  # a subscriber's; neither the publisher's nor the others' harm
        _log.exception("a where function failed: the event does not go to its streams")
        return False
