"""The publisher of the benchmarks: a manager, and one thread that publishes through it.

Everything goes through the manager's public calls, as in an application: handlers return
what ``subscribe`` gives them, from any thread; the main thread publishes.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

from bench.payload import Stamper, cycle
from h3py import H3Event, SSEEvent, SSEManager, Subscription

CHANNELS = ("news", "weather")
COSTS_KEPT = 20_000
# Flat out: events between two looks at whether publishers have room and nobody lags, a tenth
# of the history by default.
BURST_EVENTS = 1000
BURST_BYTES = 6 * 1024 * 1024
LOOK_S = 0.005
DRAIN_S = 0.5

Targets = Literal["everyone", "users"]


class Board:
    """Who is here, and what is published to them.

    Args:
        manager: Everybody subscribes with it.
        size: Bytes of an event's data.
        rate: Events a second; 0: as many as are taken.
        streams: Begin when so many are there.
        events: End after so many; 0: never.
        to: ``"everyone"``, or ``"users"``: each event to one user, all of them in turn.
    """

    def __init__(
        self,
        manager: SSEManager,
        *,
        size: int,
        rate: float,
        streams: int,
        events: int = 0,
        to: Targets = "everyone",
    ) -> None:
        self.manager = manager
        self._size = size
        self._rate = rate
        self._streams = streams
        self._events = events
        self._to = to
        self._lock = threading.Lock()
        self._here = 0
        self._users: list[str] = []
        self._everyone = threading.Event()
        self._costs: list[int] = []
        self._published = 0

    def subscribe(self, event: H3Event) -> Subscription:
        """The stream of a request: a user and two channels. For the handler to return."""
        subscription = self.manager.subscribe(event, channels=CHANNELS, user_id=event.query["user"])
        with self._lock:
            self._here += 1
            if self._to == "users":
                self._users.append(event.query["user"])
            if self._here == self._streams:
                self._everyone.set()
        return subscription

    def publish_until(self, deadline: float) -> None:
        """Publish from when all are here until the time is over, or all events are out."""
        self._everyone.wait(deadline - time.monotonic())
        while time.monotonic() < deadline and self._connected() < self._streams:
            time.sleep(LOOK_S)  # the last one's stream begins when its handler has returned
        if self._events:
            self._publish_all()
        elif self._rate:
            self._publish_at_rate(deadline)
        else:
            self._publish_flat_out(deadline)
        time.sleep(max(0.0, deadline - time.monotonic()))

    def _connected(self) -> int:
        connections: int = self.manager.stats()["connections"]
        return connections

    def _publish_all(self) -> None:
        """All at once; whoever is here sees the first, so that it can come back with its id."""
        stamper = Stamper(self._size)
        # A stream is counted a moment before it is in its groups.
        while self.manager.broadcast(SSEEvent(stamper.stamped(0))) < self._streams:
            time.sleep(LOOK_S)
        self._published = 1
        for number in range(1, self._events):
            self.manager.broadcast(SSEEvent(stamper.stamped(number)))
            self._published += 1

    def _publish_at_rate(self, deadline: float) -> None:
        publish = self._to_all() if self._to == "everyone" else self._to_one()
        due = time.monotonic()
        while due < deadline:
            due += 1 / self._rate
            time.sleep(max(0.0, due - time.monotonic()))
            publish()
            self._published += 1

    def _to_all(self) -> Callable[[], None]:
        """Each call broadcasts the next event."""
        stamper = Stamper(self._size)

        def publish() -> None:
            event = SSEEvent(stamper.next())
            began = time.perf_counter_ns()
            self.manager.broadcast(event)
            self._note(began)

        return publish

    def _to_one(self) -> Callable[[], None]:
        """Each call sends to the next user; a user's own events are numbered from 0."""
        stamper, users = Stamper(self._size), self._users

        def publish() -> None:
            number, at = divmod(self._published, len(users))
            event = SSEEvent(stamper.stamped(number))
            began = time.perf_counter_ns()
            self.manager.send_to_user(users[at], event)
            self._note(began)

        return publish

    def _note(self, began: int) -> None:
        if len(self._costs) < COSTS_KEPT:
            self._costs.append(time.perf_counter_ns() - began)

    def _publish_flat_out(self, deadline: float) -> None:
        """The same events again and again, as the floor sends them; none may be lost.

        A stream whose client does not keep up reads on in the history, and loses what has
        left that: so this publisher waits for room and for those who lag, before each burst.
        """
        broadcast = self.manager.broadcast
        events = [SSEEvent(data) for data in cycle(self._size)]
        turns = max(1, min(BURST_EVENTS, BURST_BYTES // self._size) // len(events))
        while time.monotonic() < deadline:
            if not self.manager.drain(DRAIN_S, lagging=True):
                continue
            for _ in range(turns):
                for event in events:
                    broadcast(event)

    def progress(self) -> dict[str, Any]:
        """How much was published, and what a call took, in microseconds."""
        costs = self._costs or [0]
        return {
            "published": self._published,
            "calls": len(self._costs),
            "median_us": statistics.median(costs) / 1000,
        }
