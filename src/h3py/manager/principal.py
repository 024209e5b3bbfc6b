"""``Principal``: who opened a stream or publishes, and what they may.

What ``authenticate`` returns to the endpoints of ``SSEManager.mount``. It is a value: made
from whatever an application knows of its users, frozen, asked by the endpoints. It says yes
or no and raises nothing; which answer a client gets is the endpoints' matter.

Forms of a grant, for channels that are followed and channels that are published to:

=====================================  ==================================================
a collection of names                  these channels
a name in it that ends in ``":*"``     every channel that begins so: ``"room:*"``, ``"room:7"``
a function of a name                   what it says; it must not wait
=====================================  ==================================================

Immutable; any thread may ask.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from h3py.app.functions import needs_trio

Grant = Collection[str] | Callable[[str], object]
"""Which channels: see the module."""

_Test = Callable[[str], object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Principal:
    """Who it is, and what they may.

    Two are equal if they are the same user: so a client that comes back with a renewed token
    takes over its own stream.

    Args:
        user_id: Whose streams these are: what is sent to the user comes to all of them. None:
            nobody's.
        name: For people: ``ConnectionInfo.name``.
        channels: Which channels may be followed; None: any.
        may_publish: Whether messages may be posted: to anybody (True), to nobody (False), or
            to certain channels and nobody else (a grant, as for ``channels``).
        may_see_stats: Whether the statistics may be seen.
        expires_at: Seconds since the epoch (``time.time()``) at which the credentials expire:
            streams end then (``auth_expired``), and nothing else is answered. None: never.
        metadata: Kept with the user's streams: ``ConnectionInfo.metadata``.

    Raises:
        TypeError, ValueError: A field that is none of these, naming it.
    """

    user_id: str | None = None
    name: str | None = field(default=None, compare=False)
    channels: Grant | None = field(default=None, compare=False)
    may_publish: bool | Grant = field(default=False, compare=False)
    may_see_stats: bool = field(default=False, compare=False)
    expires_at: float | None = field(default=None, compare=False)
    metadata: Mapping[str, Any] | None = field(default=None, compare=False)
    _follows: _Test | None = field(init=False, repr=False, compare=False)
    _publishes: _Test | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("user_id", "name"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise TypeError(f"{name} must be a str or None, not {type(value).__name__}")
        if not isinstance(self.may_see_stats, bool):
            raise TypeError(f"may_see_stats must be True or False, not {self.may_see_stats!r}")
        expires: object = self.expires_at
        if expires is not None:
            if isinstance(expires, bool) or not isinstance(expires, int | float):
                raise TypeError(f"expires_at must be a number of seconds, not {expires!r}")
            if math.isnan(expires):
                raise ValueError("expires_at must be a number of seconds, not NaN")
        if self.metadata is not None and not isinstance(self.metadata, Mapping):
            raise TypeError(f"metadata must be a mapping, not {type(self.metadata).__name__}")
        follows = None if self.channels is None else checker("channels", self.channels)
        publishes = (
            None if isinstance(self.may_publish, bool) else checker("may_publish", self.may_publish)
        )
        object.__setattr__(self, "_follows", follows)
        object.__setattr__(self, "_publishes", publishes)

    def may_follow(self, channel: str) -> bool:
        """Whether a channel may be followed."""
        return self._follows is None or bool(self._follows(channel))

    @property
    def publishes(self) -> bool:
        """Whether there is anything that may be published to."""
        return self.may_publish is True or self._publishes is not None

    def may_publish_to(self, target: str, names: Iterable[str]) -> str | None:
        """What may not be published to: the target's kind or a channel's name; None: all may.

        Args:
            target: ``"channel"``, ``"user"``, ``"client"`` or ``"broadcast"``.
            names: The channels, for a channel target.
        """
        if self.may_publish is True:
            return None
        if self._publishes is None or target != "channel":
            return target
        test = self._publishes
        return next((f"channel {name!r}" for name in names if not test(name)), None)

    def has_expired(self, now: float) -> bool:
        """Whether the credentials have expired; ``now`` in seconds since the epoch."""
        return self.expires_at is not None and self.expires_at <= now

    @property
    def details(self) -> Mapping[str, Any] | None:
        """The metadata of this principal's streams: its own, with its name."""
        if self.name is None:
            return self.metadata
        return {**(self.metadata or {}), "name": self.name}


def checker(field_name: str, grant: Grant) -> _Test:
    """A grant as a function of a name.

    Raises:
        TypeError: Neither a collection of ``str`` nor a plain function.
        ValueError: A ``*`` elsewhere than in ``":*"`` at the end: it would match nothing.
    """
    if callable(grant):
        if needs_trio(grant):
            raise TypeError(f"{field_name}: give a plain function: it is asked without waiting")
        return grant
    if isinstance(grant, str | bytes) or not isinstance(grant, Collection):
        raise TypeError(
            f"{field_name} must be a collection of channel names or a function, not {grant!r}"
        )
    exact: set[str] = set()
    prefixes: list[str] = []
    for name in grant:
        if not isinstance(name, str):
            raise TypeError(f"{field_name}: a channel's name is a str, not {name!r}")
        stem = name.removesuffix("*")
        if "*" in stem or (stem != name and not stem.endswith(":")):
            raise ValueError(
                f"{field_name}: {name!r} matches no channel: a '*' stands only in ':*' at the end"
            )
        if stem == name:
            exact.add(name)
        else:
            prefixes.append(stem)
    if not prefixes:
        return exact.__contains__
    beginnings = tuple(prefixes)

    def check(name: str) -> bool:
        return name in exact or any(
            name.startswith(beginning) and name != beginning for beginning in beginnings
        )

    return check
