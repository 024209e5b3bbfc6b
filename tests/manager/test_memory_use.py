"""Memory (M14, P3): what a parked stream takes, who loses when all of it is used, and that it
comes back."""

from __future__ import annotations

import gc
import logging
import socket
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from h3py import BackpressureDetected, CloseReason, MemoryBroker
from tests.manager.support.site import Site
from tests.support.wait import pause, wait_until

MakeSite = Callable[..., Site]

MIB = 1024 * 1024
STREAMS = 500
MOST_BYTES = 1536
"""Of a parked stream with a user id and two channels: the engine's, and Python's objects."""

OURS = str(Path(__file__).parent / "*")


@contextmanager
def bare_streams(site: Site, count: int, first: int = 0) -> Iterator[list[socket.socket]]:
    """So many open streams, each of its own user, in two channels."""
    sockets: list[socket.socket] = []
    try:
        for number in range(first, first + count):
            sock = socket.create_connection(site.server.addresses[0][:2])
            sockets.append(sock)
            target = f"/events?channels=news,room-{number % 50}&user=user-{number}"
            sock.sendall(f"GET {target} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        wait_until(lambda: len(site.manager.get_connections()) == first + count)
        yield sockets
    finally:
        for sock in sockets:
            sock.close()


def traced_bytes() -> int:
    """What Python's objects take, without the test's own: a client's socket is not the server's."""
    gc.collect()
    taken = tracemalloc.take_snapshot().filter_traces(
        [tracemalloc.Filter(False, OURS), tracemalloc.Filter(False, socket.__file__)]
    )
    return sum(statistic.size for statistic in taken.statistics("filename"))


def test_what_a_parked_stream_takes(make_site: MakeSite) -> None:
    # One worker: how many threads there are for a moment, and what they hold, is chance.
    site = make_site(serve_options={"workers": 1})
    manager = site.manager
    with bare_streams(site, STREAMS):  # tables have grown, and what is made once is made
        tracemalloc.start()
        try:
            site.subscriptions.clear()
            objects, engine = traced_bytes(), manager.stats()["memory_bytes"]
            with bare_streams(site, STREAMS, first=STREAMS):
                site.subscriptions.clear()
                objects = traced_bytes() - objects
                engine = manager.stats()["memory_bytes"] - engine
        finally:
            tracemalloc.stop()
    assert engine > 100 * STREAMS
    assert objects > 100 * STREAMS
    assert (engine + objects) / STREAMS < MOST_BYTES
    site.settled()


def test_nothing_of_it_stays(make_site: MakeSite) -> None:
    """All counters back to zero, and memory, too: again and again."""
    site = make_site(broker=MemoryBroker(max_events=10))
    manager = site.manager
    left: list[int] = []
    for _ in range(4):
        with bare_streams(site, 200):
            for number in range(30):
                site.publish(f"room-{number}", "x" * 100)
        site.settled()
        site.subscriptions.clear()
        manager.broadcast("to")
        for _ in range(10):
            site.publish("nobody", "x")
        # What is left is where events went that have been lost since: all, "nobody", 30 rooms.
        wait_until(lambda: manager.stats()["groups"] == 32)
        stats = manager.stats()
        assert (stats["parked"], stats["watched"], stats["lagging"]) == (0, 0, 0)
        assert manager.get_connections() == []
        left.append(stats["memory_bytes"])
    assert max(left[1:]) <= left[0] + 4096
    hub = manager._hub
    assert hub is not None
    assert hub.registry.all() == []


def publish(site: Site, channel: str, data: str) -> None:
    """Once there is room: at the cap of memory a publisher is refused until a victim has gone."""
    while True:
        try:
            site.manager.send_to_channel(channel, "to", data)
            return
        except BackpressureDetected:
            pause()


def test_the_slowest_lose_first_and_others_nothing(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    """Three who do not read hold on to ever older events; the one with the oldest goes first, and
    no more of them than memory needs. Who reads loses nothing, and each victim is named."""
    site = make_site(
        broker=MemoryBroker(max_events=20, max_bytes=MIB),
        max_memory_bytes=6 * MIB,
        max_queue_bytes=32 * MIB,
        policy="close",
        stall_timeout_s=None,
        watch_presence=True,
    )
    fast = [site.open("all", client=f"fast-{number}") for number in range(3)]
    number = 0

    def go_on(count: int) -> None:
        nonlocal number
        for _ in range(count):
            publish(site, "all", f"{number} " + "x" * 20_000)
            for reader in fast:
                assert reader.read_event().data.startswith(f"{number} ")
            number += 1

    for name in ("oldest", "middle", "newest"):
        site.open("all", client=name, receive_buffer_bytes=4096)
        go_on(60)
    with caplog.at_level(logging.WARNING, "h3py.manager"):
        gone: list[str] = []
        while len(gone) < 2 and number < 5_000:
            go_on(20)
            gone = [told[1] for told in site.told if told[0] == "disconnect"]
    assert gone[:2] == ["oldest", "middle"]
    assert {told[2] for told in site.told if told[0] == "disconnect"} == {CloseReason.LIMIT}
    stats = site.manager.stats()
    assert stats["memory_bytes"] <= 6 * MIB
    wait_until(lambda: site.server.closed_streams[CloseReason.LIMIT] == stats["victims"])
    told = [record for record in caplog.records if record.name == "h3py.manager"]
    assert len(told) == site.server.closed_streams[CloseReason.LIMIT]
    for record in told:
        assert record.levelno == logging.WARNING
        assert record.close_reason == "limit"  # type: ignore[attr-defined]  # an extra
        assert "memory was at its cap" in record.message
    go_on(20)


def test_below_the_cap_nobody_loses(make_site: MakeSite) -> None:
    """The same slow client, in an engine with room for what it holds on to."""
    site = make_site(
        broker=MemoryBroker(max_events=20, max_bytes=MIB),
        max_memory_bytes=64 * MIB,
        max_queue_bytes=32 * MIB,
        policy="close",
        stall_timeout_s=None,
    )
    site.open("all", client="slow", receive_buffer_bytes=4096)
    for number in range(300):
        publish(site, "all", f"{number} " + "x" * 20_000)
    assert site.manager.is_client_connected("slow")
    assert site.manager.stats()["victims"] == 0
    assert site.queued("slow") > 5 * MIB
