"""Who is in which room of the demo, and what was said there.

A *member* is one window of a browser. Windows share a connection, so several members
may have the same client id; a member is named by a secret of its window, and shown
to others by a number. What members say is bounded: the newest messages of each room
are kept for windows that come later.

Owner: ``h3py.demo.live``. Any thread, under a lock; nothing is called while it is held.
"""

from __future__ import annotations

import itertools
import threading
import time
import unicodedata
from collections import deque
from dataclasses import dataclass, field
from typing import Annotated, Any

from msgspec import Meta, Struct

from h3py import HTTPError

ROOMS = ("lobby", "library", "kitchen")
MAX_MEMBERS = 200
MAX_NAME = 24
MAX_TEXT = 400
KEPT_MESSAGES = 50

Id = Annotated[str, Meta(min_length=8, max_length=128)]
Name = Annotated[str, Meta(max_length=MAX_NAME)]
Text = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT)]


class Entering(Struct, forbid_unknown_fields=True):
    """What a window says when it connects, and whenever it changes its mind."""

    tab: Id
    client_id: Id
    name: Name
    channels: Annotated[list[Annotated[str, Meta(max_length=32)]], Meta(max_length=16)]


class Saying(Struct, forbid_unknown_fields=True):
    """A message: of a window, or of anybody who gives a name."""

    room: str
    text: Text
    tab: Id | None = None
    name: Name | None = None


@dataclass
class Member:
    """One window."""

    number: int
    client_id: str
    name: str
    channels: frozenset[str] = frozenset()
    away: bool = False
    """Its connection has ended; it may come back."""

    @property
    def shown(self) -> dict[str, Any]:
        """What others may know of it."""
        rooms = [room for room in ROOMS if f"room:{room}" in self.channels]
        return {"id": self.number, "name": self.name, "rooms": rooms}


@dataclass
class Room:
    """What was said lately."""

    messages: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=KEPT_MESSAGES))


class Members:
    """All of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._message_numbers = itertools.count(1)
        self._members: dict[str, Member] = {}
        self._rooms = {name: Room() for name in ROOMS}

    def enter(self, said: Entering) -> Member:
        """Add a window, or change what is known of it.

        Raises:
            HTTPError: 503, there are too many.
        """
        with self._lock:
            member = self._members.get(said.tab)
            if member is None:
                if len(self._members) >= MAX_MEMBERS and not self._forget_one_away():
                    raise HTTPError(503, "the rooms are full")
                number = next(self._numbers)
                member = self._members[said.tab] = Member(number, said.client_id, "")
            member.away = False
            member.client_id = said.client_id
            member.name = cleaned(said.name) or f"Guest {member.number}"
            member.channels = frozenset(said.channels)
            return member

    def leave(self, tab: str) -> Member | None:
        """A window has been closed."""
        with self._lock:
            return self._members.pop(tab, None)

    def lose(self, client_id: str) -> None:
        """A connection has ended: its windows are away, until they enter again."""
        with self._lock:
            for member in self._members.values():
                if member.client_id == client_id:
                    member.away = True

    def channels_of(self, client_id: str) -> set[str]:
        """What the windows of a connection follow."""
        with self._lock:
            return set().union(
                *(one.channels for one in self._here() if one.client_id == client_id)
            )

    def listening(self, channel: str) -> int:
        """How many connections follow a channel."""
        with self._lock:
            return len({one.client_id for one in self._here() if channel in one.channels})

    def shown(self) -> list[dict[str, Any]]:
        """Everybody, in the order in which they came."""
        with self._lock:
            return [member.shown for member in self._here()]

    def say(self, said: Saying) -> dict[str, Any]:
        """Keep a message, and give it as it is published.

        Raises:
            HTTPError: 400, 403: no such room, nothing said; or a window that is not there.
        """
        text = cleaned(said.text, keep="\n")
        if said.room not in self._rooms:
            raise HTTPError(400, f"room: one of {', '.join(ROOMS)}")
        if not text:
            raise HTTPError(400, "text: say something")
        with self._lock:
            member = self._members.get(said.tab) if said.tab else None
            if said.tab and member is None:
                raise HTTPError(403, "tab: enter first")
            name = member.name if member else cleaned(said.name or "") or "somebody"
            message = {
                "number": next(self._message_numbers),
                "room": said.room,
                "from": member.number if member else 0,
                "name": name,
                "text": text,
                "time": time.time(),
            }
            self._rooms[said.room].messages.append(message)
            return message

    def messages(self) -> list[dict[str, Any]]:
        """What was said lately, in all rooms, oldest first."""
        with self._lock:
            found = [one for room in self._rooms.values() for one in room.messages]
        return sorted(found, key=lambda message: message["number"])

    # -- with the lock held ----------------------------------------------------------

    def _here(self) -> list[Member]:
        return [member for member in self._members.values() if not member.away]

    def _forget_one_away(self) -> bool:
        tab = next((tab for tab, member in self._members.items() if member.away), None)
        return tab is not None and self._members.pop(tab) is not None


def cleaned(text: str, keep: str = "") -> str:
    """Text without controls, and without spaces around it.

    Left out are what has no shape of its own and changes what stands beside it: controls,
    halves of surrogate pairs, overrides of the direction of writing.
    """
    kept = (one for one in text if one in keep or unicodedata.category(one) not in ("Cc", "Cs"))
    return "".join(one for one in kept if one not in _OVERRIDES).strip()


_OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
