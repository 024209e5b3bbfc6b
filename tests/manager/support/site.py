"""A manager behind one route, and clients of it.

``Site.open`` returns when its client's stream is in its groups: what is published from
then on comes. What a stream is *not* sent is seen by an event after it: a stream's
events come in their order, so what has not come before it never comes.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from h3py import (
    H3,
    BackpressureDetected,
    CloseReason,
    H3Event,
    MemoryBroker,
    ReceivedEvent,
    SSEManager,
    Subscription,
)
from h3py.testing import EventReader
from tests.support.wait import DEADLINE_S, pause, wait_until

Serve = Callable[..., Any]


class Site:
    """A served application with a stream at ``/events``.

    Attributes:
        manager: The manager.
        server: What serves it.
        subscriptions: Every subscription that was made, by client id; the last one of each.
        told: What presence callbacks were told, in order, where the test asked for it.
        wheres: Conditions that a client may name.

    Args:
        prepare: Called with this before it is served: for further routes.
    """

    def __init__(
        self,
        serve: Serve,
        backend: str,
        *,
        broker: MemoryBroker | None = None,
        serve_options: Mapping[str, Any] | None = None,
        manager: SSEManager | None = None,
        watch_presence: bool = False,
        prepare: Callable[[Site], object] | None = None,
        **options: Any,
    ) -> None:
        self.manager = SSEManager(broker, **options) if manager is None else manager
        self.subscriptions: dict[str, Subscription] = {}
        self.told: list[tuple[Any, ...]] = []
        self.wheres: dict[str, Any] = {}
        self.readers: list[EventReader] = []
        self._numbers = itertools.count(1)
        if watch_presence:
            self.watch_presence()
        self.app = H3()
        if backend == "trio":

            async def events(event: H3Event) -> Subscription:
                return self.subscribe(event)

            self.app.get("/events")(events)
        else:
            self.app.get("/events")(self.subscribe)
        if prepare is not None:
            prepare(self)
        self.server = serve(self.app, **(serve_options or {}))

    def watch_presence(self) -> None:
        told, manager = self.told, self.manager
        manager.on_connect(lambda who: told.append(("connect", who.client_id)))
        manager.on_disconnect(
            lambda who, reason: told.append(("disconnect", who.client_id, reason))
        )
        manager.on_user_online(lambda user: told.append(("online", user)))
        manager.on_user_offline(lambda user: told.append(("offline", user)))
        manager.on_reset(lambda who: told.append(("reset", who.client_id)))

    def subscribe(self, event: H3Event) -> Subscription:
        """What the route's handler does."""
        query = event.query
        channels = query.get("channels")
        made = self.manager.subscribe(
            event,
            channels=channels.split(",") if channels else (),
            user_id=query.get("user"),
            client_id=query.get("client"),
            where=self.wheres.get(query.get("where", "")),
            policy=query.get("policy"),  # type: ignore[arg-type]  # a wrong one is tested, too
            notices="notices" in query or None,
            metadata=json.loads(query["metadata"]) if "metadata" in query else None,
        )
        self.subscriptions[made.client_id] = made
        return made

    def url(self, path: str = "/events", **query: str | None) -> str:
        given = {key: value for key, value in query.items() if value is not None}
        return f"{self.server.url}{path}?{urlencode(given)}"

    def open(
        self,
        channels: str = "",
        *,
        client: str | None = None,
        seen: str | None = None,
        receive_buffer_bytes: int | None = None,
        wait: bool = True,
        **query: str | None,
    ) -> EventReader:
        """A client's stream; by default once it is in its groups.

        Args:
            channels: With commas between them.
            client: Its client id; by default a new one.
            seen: Its ``Last-Event-ID``.
            receive_buffer_bytes: SO_RCVBUF: a small one makes a slow reader.
            wait: Until the manager knows it.
            **query: Further parts of the query.
        """
        client = client or f"client-{next(self._numbers)}"
        before = self.subscriptions.get(client)
        reader = EventReader(
            self.url(channels=channels or None, client=client, **query),
            headers=[] if seen is None else [("last-event-id", seen)],
            receive_buffer_bytes=receive_buffer_bytes,
        )
        self.readers.append(reader)
        if wait:
            # The new one: an older one of the same name may be there until it is replaced.
            wait_until(
                lambda: (
                    self.subscriptions.get(client) not in (None, before)
                    and self.subscriptions[client].present
                ),
                what=f"{client} is connected",
            )
            assert reader.status == 200  # so its head has left: from now on it is idle
        return reader

    def publish(self, channel: str, data: Any, **more: Any) -> int:
        """Send to a channel, waiting where there is no room; how many streams it went to."""
        while True:
            assert self.manager.drain(DEADLINE_S)
            try:
                return self.manager.send_to_channel(channel, "to", data, **more)
            except BackpressureDetected:
                pause()

    def of(self, client: str) -> Any:
        """What the manager says of a client's stream."""
        (found,) = (one for one in self.manager.get_connections() if one.client_id == client)
        return found

    def queued(self, client: str) -> int:
        """What is queued for a client; 0 where it is gone."""
        return sum(
            one.queued_bytes for one in self.manager.get_connections() if one.client_id == client
        )

    def settled(self) -> None:
        """Wait until no stream is left, anywhere."""
        wait_until(
            lambda: (
                self.manager.stats()["connections"] == 0
                and self.manager.stats()["users"] == 0
                and self.server.open_streams == 0
                and self.server.open_connections == 0
            ),
            what="everything is back to zero",
        )

    def close(self) -> None:
        for reader in self.readers:
            reader.close()


def datas(events: Iterable[ReceivedEvent]) -> list[str]:
    return [event.data for event in events]


def numbers(events: Iterable[ReceivedEvent]) -> list[int]:
    return [int(event.data) for event in events]


def told_reasons(site: Site) -> list[CloseReason]:
    return [told[2] for told in site.told if told[0] == "disconnect"]


def id_of(like: str, sequence: int) -> str:
    """The id with this sequence, of the same epoch as another one."""
    return f"{like[:12]}-{sequence:012x}"


def ended(site: Site, reader: EventReader) -> None:
    """Leave, and wait until the manager knows."""
    before = site.manager.stats()["connections"]
    reader.close()
    wait_until(lambda: site.manager.stats()["connections"] == before - 1)


def check_reset(event: ReceivedEvent, head: str) -> None:
    """Design 11: an event of its own name, JSON data, the id of the head."""
    assert event.type == "h3py:reset"
    assert json.loads(event.data) == {"reason": "evicted", "missed": None, "head": head}
    assert event.last_event_id == head
