"""The helper process: it counts every event, and ends when it should."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from h3py import H3, H3Event, MemoryBroker, SSEEvent, SSEManager
from h3py.demo import crowd_client
from tests.support.wait import DEADLINE_S, SCALE, Deadline, wait_until

pytestmark = pytest.mark.process

STREAMS = 40


@pytest.fixture
def manager() -> SSEManager:
    return SSEManager(MemoryBroker(max_events=0))


@pytest.fixture
def address(serve_app: Callable[..., Any], manager: SSEManager) -> Any:
    app = H3()

    @app.get("/crowd/stream")
    def stream(event: H3Event) -> Any:
        return manager.subscribe(event, channels=["crowd"])

    return serve_app(app).addresses[0]


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """``start(address, streams, seconds)`` begins a helper; it is ended by its own pid."""
    begun: list[subprocess.Popen[bytes]] = []

    def start(address: Any, streams: int = STREAMS, seconds: float = 60) -> Any:
        helper = subprocess.Popen(
            [
                *(sys.executable, "-I", crowd_client.__file__),
                *map(str, (*address[:2], streams, seconds)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        begun.append(helper)
        return helper

    yield start
    for helper in begun:
        assert helper.stdin is not None
        assert helper.stdout is not None
        helper.kill()
        helper.wait()
        helper.stdin.close()
        helper.stdout.close()


def read(helper: subprocess.Popen[bytes]) -> Any:
    assert helper.stdout is not None
    line = helper.stdout.readline()
    return json.loads(line) if line else None


def read_until_open(helper: subprocess.Popen[bytes], streams: int) -> list[Any]:
    told = [read(helper)]
    deadline = Deadline()
    while told[-1]["open"] < streams:
        assert not deadline.passed
        told.append(read(helper))
    return told


def read_until_counted(helper: subprocess.Popen[bytes], told: list[Any], events: int) -> None:
    deadline = Deadline()
    while sum(one["events"] for one in told) < events:
        assert not deadline.passed
        told.append(read(helper))


def in_their_channel(manager: SSEManager) -> bool:
    return sum("crowd" in one.channels for one in manager.get_connections()) == STREAMS


def test_every_event_is_counted_whatever_the_reads_were(
    address: Any, manager: SSEManager, start: Callable[..., Any]
) -> None:
    helper = start(address)
    told = read_until_open(helper, STREAMS)
    wait_until(lambda: in_their_channel(manager))
    for _ in range(300):
        manager.send_to_channel("crowd", SSEEvent(str(time.monotonic_ns()), event="tick"))
    read_until_counted(helper, told, 300 * STREAMS)
    # Long ones fill the reads, so that many events end at the edge of one.
    for size in range(1, 201):
        manager.send_to_channel("crowd", SSEEvent("x" * size * 7))
    read_until_counted(helper, told, 500 * STREAMS)
    assert sum(one["events"] for one in told) == 500 * STREAMS
    assert {one["failed"] for one in told} == {0}
    late = [one["p50_ms"] for one in told if one["p50_ms"] is not None]
    assert late
    assert all(0 <= ms < DEADLINE_S * SCALE * 1000 for ms in late)


def test_an_event_counts_once_wherever_it_is_cut() -> None:
    # As it is on the wire, with what goes before the first event and the chunks around each.
    wire = b"e\r\nretry: 3000\n\n\r\n" + b"1b\r\nevent: tick\ndata: 12345678\n\n\r\n" * 3
    with socket.socket() as unused:
        for first in range(len(wire)):
            for second in range(first, len(wire)):
                stream = crowd_client.Stream(unused, sampled=False)
                pieces = (wire[:first], wire[first:second], wire[second:])
                assert sum(map(stream.count, pieces)) == 3, pieces
        stream = crowd_client.Stream(unused, sampled=False)
        assert sum(stream.count(bytes([one])) for one in wire) == 3


def test_it_ends_with_its_input(address: Any, start: Callable[..., Any]) -> None:
    helper = start(address)
    read_until_open(helper, STREAMS)
    helper.stdin.close()
    assert helper.wait(Deadline().left_s) == 0


def test_it_ends_when_its_time_is_over(address: Any, start: Callable[..., Any]) -> None:
    helper = start(address, seconds=1)
    assert helper.wait(Deadline().left_s) == 0


def test_it_ends_with_its_streams(
    address: Any, manager: SSEManager, start: Callable[..., Any]
) -> None:
    helper = start(address)
    read_until_open(helper, STREAMS)
    for one in manager.get_connections():
        manager.disconnect_client(one.client_id)
    assert helper.wait(Deadline().left_s) == 0


def test_streams_that_are_refused_are_counted_and_end_it(
    serve_app: Callable[..., Any], start: Callable[..., Any]
) -> None:
    helper = start(serve_app(H3()).addresses[0], streams=3)
    assert helper.wait(Deadline().left_s) == 0
    last = None
    while (told := read(helper)) is not None:
        last = told
    assert (last["open"], last["failed"]) == (0, 3)


def test_nobody_there_ends_it(start: Callable[..., Any]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        helper = start(unused.getsockname(), streams=3)
        assert helper.wait(Deadline().left_s) == 0
    assert read(helper)["failed"] == 3
