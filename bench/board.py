"""The publisher of the benchmarks: everything it publishes goes to every stream that joined.

Streams join from any thread; one thread publishes. It speaks to the engine
itself, as whatever manages subscriptions does.
"""

from __future__ import annotations

import statistics
import threading
import time
from typing import TYPE_CHECKING, Any

from bench.payload import Stamper, cycle
from h3py import SSEEvent

if TYPE_CHECKING:
    from h3py import StreamStart
    from h3py._speedups.engine import Engine

COSTS_KEPT = 20_000
# Flat out: events between two looks at how far the streams are, a tenth of the log by default.
BURST_EVENTS = 1000
BURST_BYTES = 6 * 1024 * 1024
PAUSE_S = 0.0005


class Board:
    """Who is here, and what is published to them."""

    engine: Engine

    def __init__(self, size: int, rate: float, streams: int) -> None:
        self._size = size
        self._rate = rate
        self._streams = streams
        self._lock = threading.Lock()
        self._handles: list[int] = []
        self._everyone = threading.Event()
        self._costs: list[int] = []

    def join(self, stream: StreamStart, user: str) -> None:
        """Park a stream and subscribe it: to broadcasts, a user and two channels."""
        stream.park()
        # The handle is for those who manage subscriptions, as this does.
        handle = stream._stream.handle
        self.engine.subscribe(
            handle, users=(user,), channels=("news", "weather"), policy="catch_up"
        )
        with self._lock:
            self._handles.append(handle)
            if len(self._handles) == self._streams:
                self._everyone.set()

    def publish_until(self, deadline: float) -> None:
        """Publish from when all are here until the time is over."""
        self._everyone.wait(deadline - time.monotonic())
        if self._rate:
            self._publish_at_rate(deadline)
        else:
            self._publish_flat_out(deadline)

    def _publish_at_rate(self, deadline: float) -> None:
        stamper = Stamper(self._size)
        due = time.monotonic()
        while due < deadline:
            due += 1 / self._rate
            time.sleep(max(0.0, due - time.monotonic()))
            event = SSEEvent(stamper.next())
            began = time.perf_counter_ns()
            self.engine.publish(event, everyone=True)
            if len(self._costs) < COSTS_KEPT:
                self._costs.append(time.perf_counter_ns() - began)

    def _publish_flat_out(self, deadline: float) -> None:
        """The same events again and again, as the floor sends them; none may be lost.

        A full log stops a publisher by itself. But a stream whose client does not keep up
        reads on in the log, and loses what has left it: so this one stays within a part of
        the log of the pump, and waits for a stream that lags.
        """
        publish = self.engine.publish
        events = [SSEEvent(data) for data in cycle(self._size)]
        turns = max(1, min(BURST_EVENTS, BURST_BYTES // self._size) // len(events))
        while time.monotonic() < deadline:
            for _ in range(turns):
                for event in events:
                    publish(event, everyone=True)
            self._wait_for_all(turns * len(events))

    def _wait_for_all(self, ahead: int) -> None:
        """Until the pump is less than ``ahead`` events behind, and no stream lags."""
        engine, handles = self.engine, self._handles
        while True:
            stats = engine.stats()
            behind = stats["published"] * len(handles) - stats["deliveries"]
            if behind <= ahead * len(handles):
                break
            time.sleep(PAUSE_S)
        for handle in handles:
            while (info := engine.info(handle)) is not None and info["state"] == "lagging":
                time.sleep(PAUSE_S)

    def cost(self) -> dict[str, Any]:
        """What a publish call took, in microseconds."""
        costs = self._costs or [0]
        return {"calls": len(self._costs), "median_us": statistics.median(costs) / 1000}
