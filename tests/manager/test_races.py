"""Ends that race with each other, and with beginnings: one close reason, one presence event, and
all counters back to zero."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from h3py import BackpressureDetected, CloseReason, H3Error, ManagerClosed, MemoryBroker
from h3py.testing import EventReader, ManualClock
from tests.manager.support.site import Site
from tests.support.wait import DEADLINE_S, pause, wait_until

MakeSite = Callable[..., Site]

STREAMS = 60
POSSIBLE = {
    CloseReason.CLIENT_CLOSED,
    CloseReason.KICKED,
    CloseReason.LEASE_EXPIRED,
    CloseReason.SLOW,
    CloseReason.HANDLER_DONE,
    CloseReason.SHUTDOWN,
    CloseReason.REPLACED,
    CloseReason.LIMIT,
}


class Ends:
    """What each stream's own callbacks were told."""

    def __init__(self) -> None:
        self.told: dict[int, list[CloseReason]] = {}

    def watch(self, number: int, on_close: Callable[[Callable[[CloseReason], None]], None]) -> None:
        reasons = self.told[number] = []
        on_close(reasons.append)


def in_threads(*functions: Callable[[], object]) -> None:
    """Run them at once, and wait for all; what one raises is raised here."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(len(functions))

    def run(function: Callable[[], object]) -> None:
        barrier.wait(DEADLINE_S)
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
    for error in errors:
        raise error


def check_all_is_over(site: Site, begun: int) -> Counter[CloseReason]:
    """Everything is at zero, and each stream has been told of once."""
    site.settled()
    connects = Counter(told[1] for told in site.told if told[0] == "connect")
    wait_until(
        lambda: sum(told[0] == "disconnect" for told in site.told) == sum(connects.values()),
        what="each stream that came is told to have gone",
    )
    manager = site.manager
    assert Counter(told[1] for told in site.told if told[0] == "disconnect") == connects
    assert sum(site.server.closed_streams.values()) == begun
    stats = manager.stats()
    assert (stats["connections"], stats["users"], stats["parked"], stats["lagging"]) == (0, 0, 0, 0)
    assert manager.get_connections() == []
    check_presence_is_in_order(site)
    reasons = Counter(told[2] for told in site.told if told[0] == "disconnect")
    assert set(reasons) <= POSSIBLE, reasons
    return reasons


def check_presence_is_in_order(site: Site) -> None:
    """A user is online exactly while there are streams of theirs."""
    open_streams: Counter[str] = Counter()
    online: set[str] = set()
    for told in site.told:
        kind, name = told[0], told[1]
        if kind == "connect":
            open_streams[name] += 1
        elif kind == "disconnect":
            open_streams[name] -= 1
            assert open_streams[name] >= 0, f"{name} went before it came"
        elif kind == "online":
            assert name not in online
            online.add(name)
        elif kind == "offline":
            online.remove(name)
    assert not online
    assert not +open_streams


def test_all_ends_at_once(make_site: MakeSite) -> None:
    """Disconnect, policy, lease, application, client and, last of all, shutdown: one wins."""
    clock = ManualClock()
    site = make_site(
        broker=MemoryBroker(max_events=100), clock=clock, lease_s=30.0, heartbeat_s=None,
        max_queue_bytes=4096, policy="close", watch_presence=True, stall_timeout_s=None,
        linger_s=0.05,
    )  # fmt: skip
    manager, ends = site.manager, Ends()
    readers = [
        site.open("all", client=f"c{n}", user=f"user-{n % 10}", receive_buffer_bytes=4096)
        for n in range(STREAMS)
    ]
    for number in range(STREAMS):
        ends.watch(number, site.subscriptions[f"c{number}"].on_close)
    choice = random.Random(STREAMS)
    orders = [choice.sample(range(STREAMS), STREAMS) for _ in range(4)]

    def kick() -> None:
        for number in orders[0]:
            manager.disconnect_client(f"c{number}")

    def finish() -> None:
        for number in orders[1]:
            site.subscriptions[f"c{number}"].close()

    def leave() -> None:
        for number in orders[2]:
            if number % 2:
                readers[number].reset()
            else:
                readers[number].close()

    def kick_users() -> None:
        for number in orders[3]:
            manager.disconnect_user(f"user-{number % 10}", CloseReason.KICKED)

    def flood() -> None:
        for _ in range(200):
            with suppress(BackpressureDetected, ManagerClosed):
                manager.broadcast("to", "x" * 2_000)

    def expire() -> None:
        for _ in range(10):
            clock.advance(4)

    def stop() -> None:
        while manager.stats()["connections"] > STREAMS // 2:
            pause()
        site.server.shutdown()

    in_threads(kick, finish, leave, kick_users, flood, expire, stop)
    site.close()
    reasons = check_all_is_over(site, STREAMS)
    assert sum(reasons.values()) == STREAMS
    wait_until(lambda: all(ends.told.values()))
    assert all(len(told) == 1 for told in ends.told.values())
    assert Counter(told[0] for told in ends.told.values()) == reasons
    assert reasons == site.server.closed_streams


def test_the_limit_races_with_other_ends(make_site: MakeSite) -> None:
    """What clients send, at the limit of it, while they are kicked and leave."""
    site = make_site(max_discard_bytes=100, watch_presence=True, linger_s=0.05)
    readers = [site.open(client=f"c{n}", user="anna") for n in range(STREAMS)]

    def send() -> None:
        for reader in readers:
            with suppress(OSError):
                reader.socket.sendall(b"x" * 101)

    def kick() -> None:
        for number in range(STREAMS - 1, -1, -1):
            site.manager.disconnect_client(f"c{number}")

    def leave() -> None:
        for reader in readers[::3]:
            reader.close()

    in_threads(send, kick, leave)
    site.close()
    reasons = check_all_is_over(site, STREAMS)
    assert sum(reasons.values()) == STREAMS


def test_clients_take_over_from_themselves_while_they_are_kicked(make_site: MakeSite) -> None:
    """Few names, many connections of each at once: the tables follow."""
    site = make_site(watch_presence=True, max_streams_per_user=3, linger_s=0.05)
    begun: list[EventReader] = []
    statuses: Counter[int] = Counter()

    def come(first: int) -> Callable[[], None]:
        def run() -> None:
            for number in range(40):
                name = f"c{(first + number) % 5}"
                reader = EventReader(site.url(channels="news", client=name, user="anna"))
                begun.append(reader)
                statuses[reader.status] += 1
                if number % 3 == 0:
                    reader.close()

        return run

    def kick() -> None:
        number = 0
        while sum(statuses.values()) < 150:
            number += 1
            site.manager.disconnect_client(f"c{number % 5}")
            with suppress(H3Error):
                site.manager.send_to_client(f"c{number % 5}", "to")
                site.manager.join(f"c{number % 5}", "more")

    in_threads(*(come(first) for first in range(5)), kick)
    assert set(statuses) <= {200, 429}
    assert len(site.manager.get_connections()) <= 5
    for reader in begun:
        reader.close()
    check_all_is_over(site, statuses[200])
    hub = site.manager._hub
    assert hub is not None
    registry = hub.registry
    assert not registry._replaced
    assert not registry._takes_over


def test_closing_the_manager_while_all_is_in_use(make_site: MakeSite) -> None:
    """Whoever uses it then gets an answer, or is told that it has closed."""
    for _ in range(5):
        site = make_site(watch_presence=True)
        manager = site.manager
        for number in range(10):
            site.open("news", client=f"c{number}", user="anna")
        closed: list[ManagerClosed] = []

        def use(site: Site = site, closed: list[ManagerClosed] = closed) -> None:
            manager = site.manager
            try:
                for number in range(100_000):
                    name = f"c{number % 10}"
                    with suppress(BackpressureDetected):
                        manager.send_to_channel("news", "to", number)
                    manager.send_to_client(name, "to", number)
                    manager.is_user_online("anna")
                    manager.get_connections()
                    manager.join(name, "more")
                    manager.leave(name, "more")
                    manager.ping(name)
                    manager.drain(1)
            except ManagerClosed as error:
                closed.append(error)

        in_threads(use, use, manager.close)
        assert len(closed) == 2
        site.close()
        check_all_is_over(site, 10)


def test_a_publisher_in_every_callback(make_site: MakeSite) -> None:
    """Presence callbacks that publish, join and disconnect while streams come and go."""
    site = make_site()
    manager = site.manager
    manager.on_connect(lambda who: manager.broadcast("came", who.client_id))
    manager.on_disconnect(lambda who, reason: publish_quietly(site, who.client_id))
    manager.on_user_online(lambda user: manager.send_to_user(user, "hello"))
    manager.on_connect(lambda who: who.user_id == "x" and manager.disconnect_client(who.client_id))
    site.watch_presence()
    for number in range(40):
        reader = site.open(
            "news", client=f"c{number}", user="x" if number % 4 == 0 else "y", wait=False
        )
        if number % 4:
            event = reader.read_event()
            assert event.type in ("came", "went", "hello")
            reader.close()
        else:
            reader.read_to_end()
            reader.close()
    site.settled()
    wait_until(lambda: sum(told[0] == "disconnect" for told in site.told) == 40)
    check_presence_is_in_order(site)


def publish_quietly(site: Site, name: str) -> None:
    with suppress(ManagerClosed):
        site.manager.broadcast("went", name)
