"""Streaming for long: nothing is lost, nothing grows.

A manager publishes; some clients stay, some leave in the middle of the stream and come back with
their last id, one reads nothing at all. Each of those who read checks that it gets every number
once and in order. The publisher goes at their pace, so the run is as fast as they are.

In the suite it is short. ``make soak`` lets it go on for ``H3PY_SOAK_S`` seconds, 60 by default;
`make soak SECONDS=3600` is an hour.
"""

from __future__ import annotations

import gc
import os
import random
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from h3py import H3, EventParser, H3Event, ReceivedEvent, SSEManager, Subscription
from tests.backends.ways import Serve
from tests.support.wait import DEADLINE_S, Deadline, wait_until

SOAK_S = float(os.environ.get("H3PY_SOAK_S") or "60")
BURST = 200
SHORT_BURSTS = 10
PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 1024 * 1024
LAST = "the end"


class Reader:
    """One connection's events, of which nothing is kept."""

    def __init__(self, address: tuple[str, int], last_id: str) -> None:
        self.socket = socket.create_connection(address, timeout=DEADLINE_S)
        fields = f"Last-Event-ID: {last_id}\r\n" if last_id else ""
        self.socket.sendall(f"GET /numbers HTTP/1.1\r\nHost: x\r\n{fields}\r\n".encode())
        self._stream = self.socket.makefile("rb")
        while self._stream.readline() != b"\r\n":
            continue
        self._parser = EventParser()
        self._events: deque[ReceivedEvent] = deque()

    def read_event(self) -> ReceivedEvent:
        while not self._events:
            size = int(self._stream.readline(), 16)
            assert size, "the stream has ended"
            self._events.extend(self._parser.feed(self._stream.read(size)))
            assert self._stream.read(2) == b"\r\n"
        return self._events.popleft()

    def close(self, *, reset: bool) -> None:
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._stream.close()
        self.socket.close()


class Follower:
    """A client that checks what it gets, in a thread of its own.

    Args:
        address: The server's.
        stays: Otherwise it leaves now and then, and comes back.
        seed: Of the chance of when and how.
    """

    def __init__(self, address: tuple[str, int], *, stays: bool, seed: int) -> None:
        self.address = address
        self.seen = 0
        self.returns = 0
        self.wrong: str | None = None
        self._stays = stays
        self._chance = random.Random(seed)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        last_id: str | None = ""
        try:
            while last_id is not None:
                last_id = self._follow(last_id)
                self.returns += 1
        except Exception as error:
            self.wrong = f"after {self.seen}: {error!r}"

    def _follow(self, last_id: str) -> str | None:
        """One connection; the id to come back with, or None at the end."""
        leaves_after = self._chance.randrange(1, 2 * BURST)
        reader = Reader(self.address, last_id)
        try:
            while self._stays or leaves_after > 0:
                event = reader.read_event()
                assert event.type == "number", event
                if event.data == LAST:
                    return None
                assert int(event.data.partition(" ")[0]) == self.seen + 1, event
                self.seen += 1
                last_id = event.last_event_id
                leaves_after -= 1
        finally:
            reader.close(reset=self._chance.random() < 0.5)
        return last_id


class Idle:
    """A client that reads nothing; when its stream has been ended, another one."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._socket = self._open()
        self.ended = 0

    def _open(self) -> socket.socket:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(self._address)
        client.sendall(b"GET /numbers?user=idle HTTP/1.1\r\nHost: x\r\n\r\n")
        return client

    def look(self, manager: SSEManager) -> None:
        """Come back, if the stream is over."""
        if not manager.is_user_online("idle"):
            self.close()
            self._socket = self._open()
            self.ended += 1
            wait_until(lambda: manager.is_user_online("idle"))

    def close(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()


def bursts(seconds: float | None) -> Iterator[int]:
    """How many bursts there are: a few, or as many as there is time for."""
    number = 0
    until = Deadline(seconds) if seconds else None
    while number < SHORT_BURSTS if until is None else not until.passed:
        number += 1
        yield number


def all_have(followers: list[Follower], number: int) -> bool:
    return all(each.seen == number or each.wrong for each in followers)


def resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


@pytest.mark.parametrize("seconds", [None, pytest.param(SOAK_S, marks=pytest.mark.soak)])
def test_streaming_for_long_loses_nothing_and_grows_by_nothing(
    serve_app: Serve, seconds: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")  # the log of an hour is memory, too
    manager = SSEManager(stall_timeout_s=2.0, max_queue_bytes=16 * 1024)
    app = H3()

    @app.get("/numbers")
    def numbers(event: H3Event) -> Subscription:
        return manager.subscribe(event, channels=["numbers"], user_id=event.query.get("user"))

    server = serve_app(app)
    address = server.addresses[0]
    idle = Idle(address)
    followers = [Follower(address, stays=number < 4, seed=number) for number in range(8)]
    wait_until(lambda: len(manager.get_connections()) == len(followers) + 1)
    published = 0
    settled: dict[str, Any] = {}
    began = time.monotonic()
    for _ in bursts(seconds):
        for _ in range(BURST):
            published += 1
            manager.send_to_channel("numbers", "number", f"{published} {'x' * 200}")
        wait_until(partial(all_have, followers, published), what="every client has every number")
        assert [each.wrong for each in followers if each.wrong] == []
        idle.look(manager)
        full = manager.stats()["log_events"] >= manager.broker.max_events
        if not settled and full and time.monotonic() - began > (seconds or 0) / 5:
            settled = {"resident": resident(), "memory": manager.stats()["memory_bytes"]}
    assert [each.wrong for each in followers if each.wrong] == []
    assert settled or not seconds, "too short to tell whether something grows"
    if settled:
        assert resident() - settled["resident"] < 8 * MIB
        assert manager.stats()["memory_bytes"] - settled["memory"] < 4 * MIB
    manager.send_to_channel("numbers", "number", LAST)
    for each in followers:
        each.thread.join(Deadline().left_s)
    assert [each.wrong for each in followers if each.wrong] == []
    assert all(each.seen == published for each in followers)
    assert all(each.returns > 1 for each in followers[4:])
    idle.close()
    wait_until(lambda: server.open_streams == 0 and server.open_connections == 0)
    stats = manager.stats()
    assert (stats["connections"], stats["users"]) == (0, 0)
