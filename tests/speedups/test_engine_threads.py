"""Callers from many threads while pumps run: takers, onlookers, joiners, and a shutdown in between.

What matters here is mostly what the thread sanitizer sees.
"""

from __future__ import annotations

import random
import socket
import threading

import pytest

from h3py._speedups.clock import Clock
from h3py._speedups.format import SSEEvent
from h3py._speedups.write_queue import WriteQueue
from h3py.close_reason import CloseReason
from h3py.errors import (
    BufferFull,
    ConnectionClosed,
    H3ConnectionError,
    ManagerClosed,
)
from tests.speedups.support.running import Client, Running, stamped

pytestmark = pytest.mark.untraced

EVENTS = 300


@pytest.mark.parametrize("pumps", [1, 2])
def test_indirect_streams_whose_bytes_are_taken_meanwhile(pumps: int) -> None:
    """Each taker sees its stream whole, in order, whatever the pump does at that moment."""
    with Running(pumps=pumps, log_events=EVENTS + 1, max_queue_bytes=5000) as running:
        clients = []
        for _ in range(3):
            client = Client(socket.socket())
            client.handle = running.engine.adopt(
                -1, client, WriteQueue(chunked=True), chunked=True, indirect=True
            )
            running.engine.subscribe(client.handle, policy="catch_up")
            running.clients.append(client)
            clients.append(client)

        def take(client: Client, size: int) -> None:
            while client.count("p") < EVENTS or client.count("s") < 50:
                data = running.engine.take(client.handle, size)
                client.feed(data)
                if not data:
                    running.engine.drain(0.001, lagging=True)

        running.together(
            lambda: running.publish("p", EVENTS),
            *(lambda c=c, n=n: take(c, (50, 700, 65536)[n]) for n, c in enumerate(clients)),
            *(lambda c=c: running.send(c, "s", 50) for c in clients),
        )
        for client in clients:
            assert dict(client.seen) == {"p": list(range(EVENTS)), "s": list(range(50))}
            assert client.sequences == list(range(1, EVENTS + 1))


def test_onlookers() -> None:
    """Everything that looks, while everything moves."""
    with Running(pumps=2, max_queue_bytes=3000) as running:
        clients = [running.client(tcp=False, channels=["a"]) for _ in range(6)]
        watched = [socket.socketpair() for _ in range(2)]
        handles = [client.handle for client in clients]
        handles += [running.engine.watch(ours.fileno(), None) for ours, _ in watched]
        stop = threading.Event()

        def look() -> None:
            while not stop.is_set():
                for handle in handles:
                    info = running.engine.info(handle)
                    assert info is not None
                    assert running.engine.queued_bytes(handle) >= 0
                    assert running.engine.kernel_bytes(handle) >= 0
                    running.engine.is_open(handle)
                    running.engine.touch(handle)
                stats = running.engine.stats()
                assert stats["parked"] == 6
                assert running.engine.memory_bytes > 0
                running.engine.ask_room()

        looking = threading.Thread(target=look)
        looking.start()
        try:
            running.together(
                lambda: running.publish("p", EVENTS),
                lambda: running.publish("q", EVENTS, channels=["a", "b"]),
            )
            for client in clients:
                running.wait(lambda c=client: c.count("q") >= EVENTS, "all events")
        finally:
            stop.set()
            looking.join()
            for pair in watched:
                for end in pair:
                    end.close()


def test_a_driven_queue_is_looked_at_while_it_is_sent() -> None:
    """What statistics show of a stream whose own thread is in a send without the GIL."""
    ours, theirs = socket.socketpair()
    queue = WriteQueue(release_gil=True, max_bytes=1 << 30)
    stop = threading.Event()
    most = 0

    def send() -> None:
        for _ in range(EVENTS):
            for _ in range(20):
                queue.append_raw(b"x" * 5000)
            while not queue.send(ours.fileno()):
                pass
        stop.set()

    def read() -> None:
        left = EVENTS * 100_000
        while left:
            left -= len(theirs.recv(1 << 20))

    def look() -> None:
        nonlocal most
        while not stop.is_set():
            most = max(most, queue.queued_bytes)
            assert 0 <= queue.queued_bytes <= 100_000
            assert 0 <= len(queue) <= 20

    with ours, theirs:
        ours.setblocking(False)
        threads = [threading.Thread(target=part) for part in (send, read, look)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert most > 0
    assert (queue.queued_bytes, len(queue)) == (0, 0)


def test_joining_and_leaving_from_several_threads() -> None:
    with Running(pumps=2) as running:
        clients = [running.client(tcp=False, everyone=False, channels=["all"]) for _ in range(4)]
        stop = threading.Event()

        def come_and_go(seed: int) -> None:
            chance = random.Random(seed)
            for _ in range(150):
                names = [f"c{chance.randrange(5)}" for _ in range(2)]
                client = chance.choice(clients)
                if chance.random() < 0.5:
                    running.engine.join(client.handle, channels=names)
                else:
                    running.engine.leave(client.handle, channels=names)
                running.engine.publish(
                    SSEEvent(stamped(f"r{seed}", 0)), channels=[f"c{chance.randrange(5)}", "c0"]
                )

        def flow() -> None:
            number = 0
            while not stop.is_set():
                running.publish(f"f{number}", 1, channels=["all"])
                number += 1
                running.engine.drain(0.001, lagging=True)

        flowing = threading.Thread(target=flow)
        flowing.start()
        try:
            running.together(*(lambda n=n: come_and_go(n) for n in range(3)))
        finally:
            stop.set()
            flowing.join()
        for client in clients:
            running.engine.leave(client.handle, channels=[f"c{n}" for n in range(5)])
        head = running.engine.publish(SSEEvent(stamped("end", 0)), channels=["all"])
        assert head[1] == 4
        for client in clients:
            running.wait(lambda c=client: c.count("end") == 1, "the end")
            assert client.sequences == sorted(set(client.sequences))
            info = running.engine.info(client.handle)
            assert info is not None
            assert info["groups"] == [("channel", "all")]


def test_time_that_goes_on_while_events_flow() -> None:
    clock = Clock()
    with Running(pumps=2, clock=clock, heartbeat_s=1.0, log_age_s=3.0) as running:
        clients = [running.client(tcp=False) for _ in range(4)]

        def go_on(seconds: float) -> None:
            for _ in range(40):
                clock.advance(seconds)

        running.together(
            lambda: running.publish("p", EVENTS), lambda: go_on(0.25), lambda: go_on(0.125)
        )
        for client in clients:
            running.wait(lambda c=client: c.count("p") == EVENTS or c.resets, "all events")


def test_a_shutdown_in_the_midst_of_it_all() -> None:
    """Streams come, events flow, and it ends: each stream once, and all calls return."""
    with Running(pumps=2, linger_s=0.2) as running:
        clients = [running.client(tcp=False) for _ in range(10)]
        refused: list[type[BaseException]] = []

        def publish_on() -> None:
            try:
                running.publish("p", 100_000)
            except ManagerClosed as error:
                refused.append(type(error))

        def send_on() -> None:
            while True:
                for client in clients:
                    try:
                        running.engine.send(client.handle, SSEEvent(stamped("s", 0)))
                    except BufferFull:
                        pass
                    except ConnectionClosed as error:
                        refused.append(type(error))
                        return

        def come() -> None:
            try:
                while len(running.clients) < 500:
                    running.client(tcp=False)
                refused.append(ManagerClosed)
            except (ManagerClosed, H3ConnectionError) as error:
                refused.append(type(error))

        def end() -> None:
            running.wait(lambda: all(client.sequences for client in clients), "a first event")
            running.engine.shutdown(
                reason=CloseReason.SHUTDOWN.code, farewell=b": bye\n\n", deadline_s=2.0
            )

        running.together(publish_on, send_on, come, end)
        running.engine.shut_down()
        assert len(refused) == 3
    closed = [report for report in running.reported if report.kind == "closed"]
    assert len(closed) == len({report.handle for report in closed})
    assert {report.handle for report in closed} >= {client.handle for client in clients}
    assert {report.reason for report in closed} <= {
        CloseReason.SHUTDOWN.code, CloseReason.CLIENT_CLOSED.code,
    }  # fmt: skip
