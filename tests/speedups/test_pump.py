"""Pumps as threads: many publishers and senders at once, and streams that come and go.

What a client may see is checked in ``support.running``, event by event.
"""

from __future__ import annotations

import random
import socket
import threading

import pytest

from h3py._speedups.format import SSEEvent
from h3py._speedups.write_queue import WriteQueue
from h3py.close_reason import CloseReason
from h3py.errors import BackpressureDetected, ConnectionClosed
from tests.speedups.support.running import Client, Running, stamped

PUBLISHERS = 3
EVENTS = 400


@pytest.mark.untraced
@pytest.mark.parametrize("pumps", [1, 2])
@pytest.mark.parametrize("tcp", [True, False], ids=["tcp", "pair"])
def test_many_publishers_and_senders(pumps: int, tcp: bool) -> None:
    """Nothing is lost, doubled, torn or out of order, and ids count on without a gap."""
    with Running(pumps=pumps, log_events=EVENTS * PUBLISHERS + 1) as running:
        clients = [running.client(tcp=tcp) for _ in range(12)]
        running.together(
            *(lambda n=n: running.publish(f"p{n}", EVENTS) for n in range(PUBLISHERS)),
            *(
                lambda n=n, client=client: running.send(client, f"s{n}", 100)
                for n, client in enumerate(clients[:3])
            ),
        )
        for n, client in enumerate(clients):
            makers = [*(f"p{p}" for p in range(PUBLISHERS)), *([f"s{n}"] if n < 3 else [])]
            for maker in makers:
                due = EVENTS if maker[0] == "p" else 100
                running.wait(lambda c=client, m=maker, d=due: c.count(m) >= d, f"all of {maker}")
            assert dict(client.seen) == {
                maker: list(range(EVENTS if maker[0] == "p" else 100)) for maker in makers
            }
            assert client.sequences == list(range(1, EVENTS * PUBLISHERS + 1))
            assert client.resets == 0


@pytest.mark.untraced
@pytest.mark.parametrize("pumps", [1, 2])
def test_a_small_log_holds_publishers_back_and_loses_nothing_live(pumps: int) -> None:
    """A publisher is faster than any pump: it is refused, and waits, and nothing is torn."""
    with Running(pumps=pumps, log_events=64) as running:
        clients = [running.client(tcp=False) for _ in range(4)]
        running.together(*(lambda n=n: running.publish(f"p{n}", EVENTS) for n in range(2)))
        running.engine.send(clients[0].handle, SSEEvent(stamped("end", 0)))
        running.wait(lambda: clients[0].count("end") == 1, "the last event")
        for client in clients:
            running.wait(lambda c=client: c.sequences and c.sequences[-1] == 2 * EVENTS, "the head")
            # A stream that lagged beyond the log was told so; what it got is in order.
            assert client.sequences == sorted(set(client.sequences))
            if not client.resets:
                assert client.sequences == list(range(1, 2 * EVENTS + 1))
            for numbers in client.seen.values():
                assert numbers == sorted(set(numbers))


@pytest.mark.untraced
def test_streams_that_come_and_go_while_events_flow() -> None:
    """Each stream sees a stretch of the log without a gap, and ends with one reason."""
    turns = 60
    with Running(pumps=2) as running:
        stop = threading.Event()

        def flow() -> None:
            number = 0
            while not stop.is_set():
                running.publish(f"run{number}", 1)
                number += 1

        ended: list[Client] = []

        def come_and_go(seed: int) -> None:
            chance = random.Random(seed)
            for _ in range(turns):
                client = running.client(tcp=False)
                if chance.random() < 0.5:
                    running.engine.join(client.handle, channels=[f"c{chance.randrange(4)}"])
                kind = chance.randrange(3)
                if kind == 0:
                    client.connection.shutdown(socket.SHUT_RDWR)
                else:
                    reason = chance.choice((CloseReason.KICKED, CloseReason.REPLACED))
                    running.engine.close(client.handle, reason.code, flush=kind == 1)
                ended.append(client)

        flowing = threading.Thread(target=flow)
        flowing.start()
        try:
            running.together(*(lambda n=n: come_and_go(n) for n in range(3)))
        finally:
            stop.set()
            flowing.join()
        for client in ended:
            running.wait(lambda c=client: "closed" in running.kinds(c.handle) or c.eof, "its end")
        for client in ended:
            if not client.eof:
                client.connection.shutdown(socket.SHUT_RDWR)
        running.wait(
            lambda: sum(report.kind == "closed" for report in running.reported) == len(ended),
            "one closed report for each stream",
        )
        for client in ended:
            found = client.sequences or [0]
            if not client.resets:
                assert found == list(range(found[0], found[-1] + 1))
            assert found == sorted(set(found))
        stats = running.engine.stats()
        assert stats["parked"] == 0
        assert stats["watched"] == 0


@pytest.mark.untraced
def test_racing_closes_have_one_winner() -> None:
    reasons = list(CloseReason)
    with Running() as running:
        for turn in range(30):
            client = running.client(tcp=False)
            won: list[CloseReason] = []

            flush = turn % 2 == 0

            def end(
                reason: CloseReason, client: Client = client, won: list = won, flush: bool = flush
            ) -> None:  # type: ignore[type-arg]
                if running.engine.close(client.handle, reason.code, flush=flush):
                    won.append(reason)

            running.together(*(lambda r=reason: end(r) for reason in reasons[:4]))
            client.connection.shutdown(socket.SHUT_RDWR)
            running.wait(lambda c=client: "closed" in running.kinds(c.handle), "its end")
            found = [report for report in running.reported if report.handle == client.handle]
            assert [report.kind for report in found] == ["closed"]
            assert [reason.code for reason in won] == [found[0].reason]
            assert found[0].owner is client


@pytest.mark.untraced
def test_a_descriptor_s_number_may_be_used_again_at_once() -> None:
    """After ``unwatch`` the pump reads nothing from that number, whoever has it now."""
    reused = 0
    with Running() as running:
        for _ in range(300):
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            handle = running.engine.watch(ours.fileno(), None)
            theirs.send(b"discarded")
            running.engine.unwatch(handle)
            number = ours.fileno()
            ours.close()
            again, peer = socket.socketpair()
            with again, peer, theirs:
                reused += number in (again.fileno(), peer.fileno())
                peer.send(b"to b")
                again.send(b"to a")
                assert again.recv(100) == b"to b"
                assert peer.recv(100) == b"to a"
    assert reused > 100, "lower numbers were free: nothing has been tried"


@pytest.mark.untraced
def test_adopting_what_is_watched_while_its_client_leaves() -> None:
    """Whoever is first: the stream is closed once, and its descriptor by one owner."""
    with Running() as running:
        handles = []
        for turn in range(100):
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            handle = running.engine.watch(ours.fileno(), f"watched {turn}")

            def adopt(ours: socket.socket = ours, handle: int = handle, turn: int = turn) -> None:
                running.engine.adopt(
                    ours.fileno(), f"parked {turn}", WriteQueue(chunked=True), chunked=True,
                    handle=handle,
                )  # fmt: skip
                ours.detach()

            running.together(adopt, theirs.close)
            handles.append(handle)
        running.wait(
            lambda: all("closed" in running.kinds(handle) for handle in handles), "all ends"
        )
        for turn, handle in enumerate(handles):
            closed = [r for r in running.reported if r.handle == handle and r.kind == "closed"]
            assert [report.owner for report in closed] == [f"parked {turn}"]
            assert closed[0].reason == CloseReason.CLIENT_CLOSED.code


@pytest.mark.untraced
def test_ending_the_engine_in_the_midst_of_it_all() -> None:
    with Running(pumps=2, log_events=64) as running:
        clients = [running.client(tcp=False) for _ in range(20)]
        for number in range(50):
            running.publish(f"p{number}", 1)
        running.engine.shut_down()
        ours, theirs = socket.socketpair()
        with ours, theirs, pytest.raises(ConnectionClosed, match="the engine has ended"):
            running.engine.watch(ours.fileno(), None)
    closed = [report.owner for report in running.reported if report.kind == "closed"]
    assert sorted(map(id, closed)) == sorted(map(id, clients))


@pytest.mark.untraced
def test_a_client_that_stalls_for_50000_events_gets_every_one() -> None:
    """The log holds them, its queue keeps to its cap, and nothing else grows."""
    count, cap, log_bytes = 50_000, 32 * 1024, 64 << 20
    with Running(
        log_events=count + 1, log_bytes=log_bytes, max_queue_bytes=cap, stall_timeout_s=None
    ) as running:
        engine = running.engine
        reader = running.client(tcp=False)
        stalled = running.client(tcp=False, read=False)
        before = engine.memory_bytes
        queued = grown = 0

        def publish_all() -> None:
            nonlocal queued, grown
            for number in range(count):
                while True:
                    try:
                        engine.publish(SSEEvent(stamped("p", number)), everyone=True)
                        break
                    except BackpressureDetected:
                        engine.drain(1.0)
                queued = max(queued, engine.queued_bytes(stalled.handle))
                grown = max(grown, engine.memory_bytes - before)

        running.together(publish_all)
        running.wait(lambda: reader.count("p") == count, "all events at the one who reads")
        assert reader.sequences == list(range(1, count + 1))
        info = engine.info(stalled.handle)
        assert info is not None
        assert info["state"] == "lagging"
        assert 0 < queued <= cap
        # What is in queues is in the log, too, but for blocks that several events share.
        assert grown <= engine.stats()["log_bytes"] + 4 * cap
        assert grown <= log_bytes
        running.read(stalled)
        running.wait(lambda: stalled.count("p") == count, "all events at the one who stalled")
        assert stalled.seen["p"] == list(range(count))
        assert stalled.sequences == list(range(1, count + 1))
        assert stalled.resets == 0
        assert engine.queued_bytes(stalled.handle) <= cap
        running.wait(lambda: "caught_up" in running.kinds(stalled.handle), "it is live again")
        assert engine.stats()["resets"] == 0
