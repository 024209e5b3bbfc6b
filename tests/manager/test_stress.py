"""Much at once: a thousand streams that come and go, and one that sleeps through 50,000 events.

How much is scaled down where everything runs slower (``H3PY_DEADLINE_SCALE``), so that a
sanitizer's run ends, too.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from h3py import BackpressureDetected, CloseReason, MemoryBroker, SSEManager
from tests.manager.support.fleet import Fleet, Listener
from tests.manager.support.site import Site
from tests.support.wait import DEADLINE_S, SCALE, pause, wait_until

MakeSite = Callable[..., Site]

SLOWER = max(1, int(SCALE))
STREAMS = 1_000 // SLOWER
CHANNELS = 50
PUBLISHERS = 4
EVENTS = 100 // SLOWER
"""Of each channel."""

MIB = 1024 * 1024
PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """What the process takes; 0 where the system has no /proc to ask."""
    place = Path("/proc/self/statm")
    return int(place.read_text().split()[1]) * PAGE if place.exists() else 0


def send(manager: SSEManager, channel: str, data: str) -> None:
    while True:
        try:
            manager.send_to_channel(channel, "to", data)
            return
        except BackpressureDetected:
            assert manager.drain(DEADLINE_S)


def test_every_client_sees_every_event_of_its_channels_once_and_in_order(
    make_site: MakeSite,
) -> None:
    """ "Must hold": 50 channels, publishers in four threads, clients that come and go."""
    site = make_site(broker=MemoryBroker(max_events=2 * CHANNELS * EVENTS))
    names = [f"channel-{number}" for number in range(CHANNELS)]
    pairs = itertools.cycle(itertools.combinations(names, 2))
    listeners = [Listener(f"listener-{n}", next(pairs)) for n in range(STREAMS)]
    fleet = Fleet(site.server.addresses[0][:2], listeners, seed=STREAMS)
    with closing(fleet):
        for listener in listeners:
            fleet.connect(listener)
        wait_until(lambda: len(site.manager.get_connections()) == STREAMS)
        site.manager.broadcast("start")
        fleet.run(lambda: all(listener.seen for listener in listeners))

        def publish(mine: list[str]) -> None:
            for number in range(EVENTS):
                turn = fleet.turn
                for name in mine:
                    send(site.manager, name, f"{name} {number}")
                while fleet.turn == turn and fleet.turn >= 0:  # so that clients leave in between
                    pause()

        threads = [
            threading.Thread(target=publish, args=(names[first::PUBLISHERS],), daemon=True)
            for first in range(PUBLISHERS)
        ]
        for thread in threads:
            thread.start()
        try:
            fleet.run(lambda: not any(thread.is_alive() for thread in threads), leaving=5)
        finally:
            fleet.turn = -(10**9)  # whatever happened, the publishers do not wait for more turns
        fleet.run(lambda: all(complete(listener) for listener in listeners))
        expected = list(range(EVENTS))
        for listener in listeners:
            assert all(got == expected for got in listener.got.values()), listener.name
            assert listener.resets == 0
        assert fleet.reconnects > EVENTS
        assert site.manager.stats()["resets"] == 0
    site.settled()
    assert set(site.server.closed_streams) <= {CloseReason.CLIENT_CLOSED, CloseReason.REPLACED}


def complete(listener: Listener) -> bool:
    return all(len(got) >= EVENTS for got in listener.got.values())


def test_a_client_that_stalls_for_50_000_events_gets_every_one(make_site: MakeSite) -> None:
    """ "Must hold": ``catch_up``, a log that holds them; queue and memory stay at their caps."""
    count, cap = 50_000 // SLOWER, 32 * 1024
    broker = MemoryBroker(max_events=count + 1_000, max_bytes=32 * MIB)
    site = make_site(broker=broker, max_queue_bytes=cap, stall_timeout_s=None, heartbeat_s=None)
    stalled = site.open("all", client="stalled", receive_buffer_bytes=4096)
    before = resident_bytes()
    largest = 0
    for number in range(count):
        send(site.manager, "all", f"{number}")
        if number % 500 == 0:
            largest = max(largest, site.queued("stalled"))
            assert site.manager.stats()["memory_bytes"] < broker.max_bytes + 2 * MIB
    assert site.of("stalled").state == "lagging"
    assert 0 < largest <= cap
    if SCALE == 1:  # a sanitizer keeps for a while what was freed
        assert resident_bytes() - before < broker.max_bytes + 16 * MIB
    events = stalled.read_events(count, deadline_s=60.0)
    assert [int(event.data) for event in events] == list(range(count))
    ids = [event.last_event_id for event in events]
    assert ids == sorted(set(ids))
    wait_until(lambda: site.of("stalled").state == "live")
    assert site.of("stalled").dropped == 0
    send(site.manager, "all", "live")
    assert stalled.read_event().data == "live"


def test_many_publishers_in_every_kind_of_thread_make_one_order(site: Site) -> None:
    """All clients see all events in one and the same order, and each publisher's in its own."""
    readers = [site.open("all") for _ in range(5)]
    each = 1_000 // SLOWER

    def publish(name: int) -> None:
        for number in range(each):
            send(site.manager, "all", f"{name} {number}")

    threads = [threading.Thread(target=publish, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    orders: list[list[Any]] = [reader.read_events(8 * each) for reader in readers]
    for thread in threads:
        thread.join(DEADLINE_S)
    assert all(order == orders[0] for order in orders)
    for name in range(8):
        own = [event.data for event in orders[0] if event.data.startswith(f"{name} ")]
        assert own == [f"{name} {number}" for number in range(each)]
