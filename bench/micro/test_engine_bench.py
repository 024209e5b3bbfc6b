"""What a round of a pump costs, for one stream and one event.

    python -m pytest bench/micro/test_engine_bench.py

The engine is stepped, so that nothing else is measured. Over socket pairs the
kernel's part is in it (a Unix socket's, cheaper than TCP's); indirect streams show
the engine's part alone. ``ns_per_delivery`` is the median for one event to one
stream; "together" are 64 events that a round finds waiting.
"""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from h3py._speedups.engine import Engine
from h3py._speedups.format import SSEEvent
from h3py._speedups.write_queue import WriteQueue

STREAMS = 1000
EVENT = SSEEvent("x" * 100)


class Fan:
    """An engine with a thousand streams, over socket pairs or without descriptors."""

    def __init__(self, *, indirect: bool, policy: str = "catch_up") -> None:
        self.engine = Engine(threaded=False, heartbeat_s=None, stall_timeout_s=None)
        self.clients: list[socket.socket] = []
        self.handles: list[int] = []
        for n in range(STREAMS):
            fd = -1
            if not indirect:
                ours, theirs = socket.socketpair()
                ours.setblocking(False)
                theirs.setblocking(False)
                self.clients.append(theirs)
                fd = ours.detach()
            handle = self.engine.adopt(
                fd, None, WriteQueue(chunked=True), chunked=True, indirect=indirect
            )
            self.engine.subscribe(handle, channels=["a", f"c{n % 10}"], policy=policy)  # type: ignore[arg-type]
            self.handles.append(handle)
        while self.engine.step():
            pass

    def publish(self, count: int, **targets: Any) -> None:
        for _ in range(count):
            self.engine.publish(EVENT, **(targets or {"everyone": True}))

    def empty(self) -> None:
        """What was sent is read, or taken, and the log has been walked."""
        while self.engine.step():
            pass
        for client in self.clients:
            try:
                client.recv(1 << 18)
            except BlockingIOError:
                pass
        if not self.clients:
            for handle in self.handles:
                self.engine.take(handle, 1 << 18)
        self.engine.reports(1 << 30)

    def close(self) -> None:
        self.engine.shut_down()
        for client in self.clients:
            client.close()


@pytest.fixture(scope="module", params=["pairs", "indirect"])
def fan(request: pytest.FixtureRequest) -> Iterator[Fan]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
    made = Fan(indirect=request.param == "indirect")
    yield made
    made.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def measure(benchmark: Any, fan: Fan, events: int, deliveries: int, **targets: Any) -> None:
    def published() -> None:
        fan.empty()
        fan.publish(events, **targets)

    def rounds() -> None:
        while fan.engine.step():
            pass

    benchmark.pedantic(rounds, setup=published, rounds=25, warmup_rounds=2)
    median = benchmark.stats.stats.median
    benchmark.extra_info["ns_per_delivery"] = round(median / deliveries * 1e9, 1)


@pytest.mark.benchmark(group="rounds of 1,000 streams")
@pytest.mark.parametrize("events", [1, 64], ids=["one event", "together"])
def test_broadcast(benchmark: Any, fan: Fan, events: int) -> None:
    measure(benchmark, fan, events, events * STREAMS)


@pytest.mark.benchmark(group="rounds of 1,000 streams")
@pytest.mark.parametrize("events", [1, 64], ids=["one event", "together"])
def test_a_channel_of_a_tenth(benchmark: Any, fan: Fan, events: int) -> None:
    measure(benchmark, fan, events, events * STREAMS // 10, channels=["c3"])


@pytest.mark.benchmark(group="rounds of 1,000 streams")
def test_two_groups_at_once(benchmark: Any, fan: Fan) -> None:
    """Each stream is in both, and gets it once."""
    measure(benchmark, fan, 16, 16 * STREAMS, channels=["a"], everyone=True)


@pytest.mark.benchmark(group="one stream that returns")
def test_replay_of_ten_thousand(benchmark: Any) -> None:
    """A client that comes back to a full log; every entry is for it."""
    engine = Engine(threaded=False, heartbeat_s=None, max_queue_bytes=1 << 22)
    for _ in range(10_000):
        engine.publish(EVENT, everyone=True)
        if engine.head % 500 == 0:
            engine.step()

    def back() -> tuple[tuple[int], dict[str, Any]]:
        handle = engine.adopt(-1, None, WriteQueue(), chunked=True, indirect=True)
        engine.subscribe(handle, position=0)
        return (handle,), {}

    def replay(handle: int) -> None:
        while engine.step():
            pass
        engine.close(handle, 1, flush=False)

    benchmark.pedantic(replay, setup=back, rounds=15)
    median = benchmark.stats.stats.median
    benchmark.extra_info["ns_per_entry"] = round(median / 10_000 * 1e9, 1)
    engine.shut_down()
