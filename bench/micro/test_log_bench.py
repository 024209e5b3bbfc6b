"""What one ``publish`` costs its caller, whatever the number of subscribers.

    python -m pytest bench/micro/test_log_bench.py

Wanted: at most 20 us with 10,000 subscribers, 5 if possible. The pump runs; its
streams have no descriptor and drop what is new, so that it works on them as it
does on any, but sends nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from h3py._speedups.engine import Engine
from h3py._speedups.format import SSEEvent
from h3py._speedups.write_queue import WriteQueue
from h3py.errors import BackpressureDetected

EVENT = SSEEvent("x" * 100)
CALLS = 100

Make = Callable[[int], Engine]


@pytest.fixture
def engine() -> Iterator[Make]:
    made: list[Engine] = []

    def with_streams(count: int) -> Engine:
        engine = Engine(max_queue_bytes=200, heartbeat_s=None, stall_timeout_s=None)
        made.append(engine)
        engine.start()
        for n in range(count):
            handle = engine.adopt(-1, None, WriteQueue(), chunked=True, indirect=True)
            engine.subscribe(
                handle, users=[f"u{n}"], channels=[f"c{n % 100}", "all"], policy="drop_new"
            )
        return engine

    yield with_streams
    for each in made:
        each.shut_down()


def measure(benchmark: Any, engine: Engine, call: Callable[[], object]) -> None:
    """The median of calls in rows of a hundred, with an empty log to begin each."""

    def calls() -> None:
        for _ in range(CALLS):
            call()

    def settle() -> None:
        while not engine.drain(1.0):
            pass

    benchmark.pedantic(calls, setup=settle, rounds=60, warmup_rounds=3)
    benchmark.extra_info["us_per_call"] = round(benchmark.stats.stats.median / CALLS * 1e6, 2)


@pytest.mark.benchmark(group="publish")
@pytest.mark.parametrize("streams", [0, 1000, 10_000])
def test_broadcast(benchmark: Any, engine: Make, streams: int) -> None:
    made = engine(streams)
    measure(benchmark, made, lambda: made.publish(EVENT, everyone=True))


@pytest.mark.benchmark(group="publish")
@pytest.mark.parametrize(
    "targets",
    [{"users": ["u7"]}, {"channels": ["c7"]}, {"clients": ["nobody"]}],
    ids=["one user", "one channel", "nobody"],
)
def test_one_target(benchmark: Any, engine: Make, targets: dict[str, list[str]]) -> None:
    made = engine(10_000)
    measure(benchmark, made, lambda: made.publish(EVENT, **targets))  # type: ignore[arg-type]


@pytest.mark.benchmark(group="publish")
@pytest.mark.parametrize("count", [10, 100])
def test_many_users(benchmark: Any, engine: Make, count: int) -> None:
    """Whoever is in several of them is counted once, so the members are looked at."""
    made = engine(10_000)
    users = [f"u{n}" for n in range(count)]
    measure(benchmark, made, lambda: made.publish(EVENT, users=users))


@pytest.mark.benchmark(group="publish")
def test_with_metadata(benchmark: Any, engine: Make) -> None:
    made = engine(0)
    metadata = {"room": "a", "kind": "news"}
    measure(benchmark, made, lambda: made.publish(EVENT, everyone=True, metadata=metadata, key="k"))


@pytest.mark.benchmark(group="publish")
def test_a_full_log_refuses(benchmark: Any) -> None:
    """The price of asking in vain: nobody walks this log."""
    engine = Engine(log_events=1, threaded=False)
    engine.publish(EVENT, everyone=True)

    def refused() -> None:
        try:
            engine.publish(EVENT, everyone=True)
        except BackpressureDetected:
            pass

    benchmark(refused)
    engine.shut_down()
