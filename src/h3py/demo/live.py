"""What goes over the one connection that all windows of a browser share.

An `SSEManager` with its endpoints mounted; everything here is a channel of it:

==============  =================================================================
clock           the time, once a second: a stream that holds no thread and no task
pulse           a number, four times a second, so that one that is missing is seen
here            who is there (the same key each time: only the newest matters)
room:<name>     what is said in a room
notifications   ``h3py.demo.webhooks``
crowd           ``h3py.demo.crowd``
==============  =================================================================

A window says with ``POST /live/enter`` who it is and what it follows; the server lets
its connection join and leave the channels. ``POST /live/cut`` ends a connection as a
network would: the script in the page comes back with the last id it saw, and the history
replays what it missed.

Threads: the beat in one of its own, handlers in workers, presence in the manager's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from h3py import (
    H3,
    BackpressureDetected,
    CloseReason,
    H3Event,
    HTTPError,
    ManagerClosed,
    MemoryBroker,
    SSEManager,
    Subscription,
)
from h3py.app.middleware import refuse_cross_origin
from h3py.demo.members import Entering, Id, Members, Saying

PREFIX = "/api/sse"
CHANNELS = ("clock", "pulse", "here", "notifications", "crowd")
PULSES_A_SECOND = 4
# About an hour of everything the page follows.
HISTORY_EVENTS = 30_000

WELCOME = (
    "Welcome. Open this page in a second window: both share one connection.",
    "Cut the connection while somebody talks. What you missed comes when you are back.",
)


class Leaving(Struct, forbid_unknown_fields=True):
    """A window that is closed."""

    tab: Id


class Cutting(Struct, forbid_unknown_fields=True):
    """A connection that is to be cut."""

    client_id: Id


class Live:
    """The manager and what it is used for."""

    def __init__(self) -> None:
        self.manager = SSEManager(MemoryBroker(max_events=HISTORY_EVENTS))
        self.members = Members()
        self._stopped = threading.Event()
        for text in WELCOME:
            self.members.say(Saying(room="lobby", text=text, name="h3py"))

    def add_to(self, app: H3) -> dict[str, list[Callable[..., Any]]]:
        """Add the endpoints; gives the functions that the page shows."""
        manager, members, stopped = self.manager, self.members, self._stopped
        manager.mount(app, PREFIX, public_channels=(*CHANNELS, "room:*"))
        app.use("/live", refuse_cross_origin())

        @app.post("/live/enter")
        def enter(event: H3Event) -> dict[str, Any] | None:
            said = event.read_json(Entering)
            allowed = [one for one in said.channels if one in CHANNELS or one.startswith("room:")]
            said.channels = allowed
            if not manager.is_client_connected(said.client_id):
                return None  # it has gone: the window says it again
            member = members.enter(said)
            self._follow(said.client_id)
            self.tell_who_is_here()
            return {"you": member.shown, "messages": members.messages()}

        @app.post("/live/leave")
        def leave(event: H3Event) -> None:
            member = members.leave(event.read_json(Leaving).tab)
            if member is not None:
                self._follow(member.client_id)
                self.tell_who_is_here()

        @app.post("/live/say")
        def say(event: H3Event) -> dict[str, Any]:
            message = members.say(event.read_json(Saying))
            sent = manager.send_to_channel(f"room:{message['room']}", "message", message)
            return {"number": message["number"], "streams": sent}

        @app.post("/live/cut")
        def cut(event: H3Event) -> None:
            if not manager.disconnect_client(event.read_json(Cutting).client_id):
                raise HTTPError(404, "client_id: no such stream")

        @manager.on_disconnect
        def away(subscription: Subscription, reason: CloseReason) -> None:
            if not manager.is_client_connected(subscription.client_id):
                members.lose(subscription.client_id)
                self.tell_who_is_here()

        @app.background
        def beat() -> None:
            number = 0
            while not stopped.wait(1 / PULSES_A_SECOND - time.time() % (1 / PULSES_A_SECOND)):
                number += 1
                self.send("pulse", "pulse", {"number": number, "time": time.time()})
                if number % PULSES_A_SECOND == 0:
                    tick()

        def tick() -> None:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            self.send("clock", "tick", {"time": now, "streams": members.listening("clock")})

        app.on_stop(stopped.set)
        return {"clock": [tick], "chat": [say], "cut": [cut]}

    def send(self, channel: str, event: str, data: Any, *, key: str | None = None) -> None:
        """Publish what is not worth waiting for: a moment later there is another."""
        try:
            self.manager.send_to_channel(channel, event, data, key=key)
        except (BackpressureDetected, ManagerClosed):
            return

    def tell_who_is_here(self) -> None:
        """Tell all windows who is there."""
        everybody = self.members.shown()
        streams = len({one.client_id for one in self.manager.get_connections()})
        self.send("here", "here", {"members": everybody, "streams": streams}, key="here")

    def _follow(self, client_id: str) -> None:
        """Let a connection be in the channels of its windows, and in no others."""
        wanted = self.members.channels_of(client_id) | {"here"}
        found = [c for c in self.manager.get_connections() if c.client_id == client_id]
        have = {channel for one in found for channel in one.channels}
        if wanted - have:
            self.manager.join(client_id, *(wanted - have))
        if have - wanted:
            self.manager.leave(client_id, *(have - wanted))
