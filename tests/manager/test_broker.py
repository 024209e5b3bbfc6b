"""The broker in memory: its bounds, and what an event without history is."""

from __future__ import annotations

import threading
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from h3py import ConfigError, MemoryBroker, SSEEvent, SSEManager
from h3py._speedups.engine import Engine
from tests.support.wait import DEADLINE_S

MIB = 1024 * 1024


def test_defaults() -> None:
    broker = MemoryBroker()
    assert (broker.max_events, broker.max_bytes, broker.max_age_s) == (10_000, 64 * MIB, 3600.0)
    assert broker.history
    assert broker.one_process
    assert broker.engine_options == {
        "log_events": 10_000,
        "log_bytes": 64 * MIB,
        "log_age_s": 3600.0,
    }


def test_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        MemoryBroker().max_events = 7  # type: ignore[misc]  # that is the point


def test_bounds() -> None:
    assert MemoryBroker(max_events=1, max_bytes=1, max_age_s=0.001).history
    assert MemoryBroker(max_events=2**30).max_events == 2**30
    for wrong in (
        {"max_events": -1},
        {"max_events": 2**30 + 1},
        {"max_events": "7"},
        {"max_bytes": 0},
        {"max_bytes": 1.5},
        {"max_age_s": 0},
        {"max_age_s": -1},
        {"max_age_s": "1"},
    ):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            MemoryBroker(**wrong)  # type: ignore[arg-type]  # that is the point


def test_without_history_there_is_an_inbox_all_the_same() -> None:
    broker = MemoryBroker(max_events=0)
    assert not broker.history
    assert broker.engine_options["log_events"] >= 1000


def test_memory_for_less_than_the_history_is_refused() -> None:
    assert SSEManager(MemoryBroker(max_bytes=MIB), max_memory_bytes=MIB)
    with pytest.raises(ConfigError, match=r"max_memory_bytes must be at least .* 1048576"):
        SSEManager(MemoryBroker(max_bytes=MIB), max_memory_bytes=MIB - 1)
    with pytest.raises(ConfigError, match="max_memory_bytes"):
        SSEManager(MemoryBroker(max_events=0), max_memory_bytes=MIB)


@pytest.mark.parametrize("max_events", [0, 10])
def test_publishing_gives_ids_where_there_is_history(max_events: int) -> None:
    broker = MemoryBroker(max_events=max_events)
    engine = Engine(threaded=False, **broker.engine_options)
    event = SSEEvent("x", "tick", id="mine")
    if max_events:
        with pytest.raises(ValueError, match="id"):
            broker.publish(engine, event, everyone=True)
        event = SSEEvent("x", "tick")
    assert broker.publish(engine, event, everyone=True) == 0
    assert broker.publish(engine, event, users=["a"], channels=["b"], clients=["c"]) == 0
    assert engine.head == 2
    engine.shut_down()


def test_a_broker_that_forgets_the_version_is_found() -> None:
    class Forgetful(MemoryBroker):
        def publish(self, engine: Any, *args: Any) -> int | None:
            return super().publish(engine, *args[:7])

    manager = SSEManager(Forgetful())
    assert manager.broadcast("x") == 0
    manager._open().filters.take(len)
    with pytest.raises(RuntimeError, match="does not tell the engine the version"):
        manager.broadcast("x")
    manager.close()


def test_a_signal_handler_may_publish_while_its_thread_does() -> None:
    sent = []

    class Interrupted(MemoryBroker):
        def publish(self, engine: Any, event: SSEEvent, *args: Any) -> int | None:
            if event.data == "outer":
                manager.broadcast("x", "handler")
            sent.append(event.data)
            return super().publish(engine, event, *args)

    manager = SSEManager(Interrupted())
    manager._open().filters.take(len)
    thread = threading.Thread(target=manager.broadcast, args=("x", "outer"), daemon=True)
    thread.start()
    thread.join(DEADLINE_S)
    assert sent == ["handler", "outer"]
    assert manager._open().engine.head == 2
    manager.close()
