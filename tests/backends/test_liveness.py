"""Looking after driven streams: what is left behind, the idle, the slow, the dead.

The looks are taken by hand here, over real sockets, on a clock in the test's
hand; whether a server takes them is tested with the servers (`test_server`).
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from h3py import (
    BackpressureDetected,
    CloseReason,
    ConnectionLost,
    ServeOptions,
    ThreadConnection,
)
from h3py.backends.liveness import SLOW_LINES_PER_S, SlowLog, is_dead, look_after
from h3py.sse.stream import Stream
from h3py.testing import ManualClock, SoloStream, socket_pair
from tests.support.wait import DEADLINE_S, wait_until


class Looks:
    """Stands where a server would: its options, and a note of who was found slow."""

    def __init__(self, **options: float | None) -> None:
        self.options = ServeOptions(**options)  # type: ignore[arg-type]
        self.slow: list[Stream] = []

    def found_slow(self, stream: Stream) -> None:
        self.slow.append(stream)

    def at(self, solo: SoloStream, seconds: float = 0.0) -> None:
        """Let time pass, and look."""
        solo.clock.advance(seconds)
        look_after(self, solo.stream, solo.clock())  # type: ignore[arg-type]


@pytest.fixture
def solo() -> Iterator[SoloStream]:
    # Not over TCP: that goes on taking a little for a while after it has refused.
    made = SoloStream(socket_pair(ThreadConnection, max_queue_bytes=65536, write_timeout_s=3600.0))
    yield made
    made.stream.finish(CloseReason.HANDLER_DONE)
    made.peer.close()


def fill(solo: SoloStream) -> None:
    def send_much() -> None:
        for _ in range(100_000):
            solo.start.send_event_nowait("x" * 10_000)

    with pytest.raises(BackpressureDetected):
        send_much()


def waiting_writer(solo: SoloStream) -> threading.Thread:
    """A driver whose send waits for the client."""

    def write() -> None:
        with contextlib.suppress(ConnectionLost), solo.start as writer:
            writer.drain()

    thread = threading.Thread(target=write)
    thread.start()
    wait_until(lambda: solo.stream.blocked_since is not None)
    return thread


def test_what_was_left_behind_is_sent(solo: SoloStream) -> None:
    looks = Looks(heartbeat_s=None)
    solo.start.send_event_nowait("x" * (8 * 1024 * 1024))
    assert solo.start.queued_bytes > 0
    reader = threading.Thread(target=solo.peer.read_event)
    reader.start()
    wait_until(lambda: (looks.at(solo), solo.start.queued_bytes == 0)[1])
    reader.join(DEADLINE_S)
    assert not reader.is_alive()


def test_a_send_that_waits_too_long_is_slow_once_per_episode(solo: SoloStream) -> None:
    looks = Looks(slow_write_s=0.1, stall_timeout_s=None, heartbeat_s=None)
    fill(solo)
    thread = waiting_writer(solo)
    looks.at(solo, 0.05)
    assert looks.slow == []
    for _ in range(5):
        looks.at(solo, 10.0)
    assert looks.slow == [solo.stream]
    solo.peer.read_events(solo.stream.event_count)
    thread.join(DEADLINE_S)
    assert looks.slow == [solo.stream]


def test_a_second_episode_is_told_again(solo: SoloStream) -> None:
    looks = Looks(slow_write_s=0.1, stall_timeout_s=None, heartbeat_s=None)
    for episode in (1, 2):
        fill(solo)
        looks.at(solo, 0.0)
        looks.at(solo, 1.0)
        looks.at(solo, 1.0)
        assert len(looks.slow) == episode
        while solo.start.queued_bytes:
            solo.peer.received.feed(solo.peer.read())
            looks.at(solo)


@pytest.mark.parametrize("waits", [True, False])
def test_a_client_that_takes_nothing_is_ended(solo: SoloStream, waits: bool) -> None:
    """Whether somebody waits for it or it was only left behind."""
    looks = Looks(stall_timeout_s=60.0, heartbeat_s=None)
    fill(solo)
    thread = waiting_writer(solo) if waits else None
    looks.at(solo)
    looks.at(solo, 59.0)
    assert not solo.stream.closed
    looks.at(solo, 1.0)
    assert solo.stream.close_reason is CloseReason.SLOW
    if thread is not None:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


def test_a_client_that_takes_a_little_is_not_ended(solo: SoloStream) -> None:
    """A large event over a thin line moves: hours may pass."""
    looks = Looks(stall_timeout_s=60.0, heartbeat_s=None)
    solo.start.send_event_nowait("x" * (16 * 1024 * 1024 - 100))
    thread = waiting_writer(solo)
    while (queued := solo.stream.queued_bytes) > 8 * 1024 * 1024:
        wait_until(lambda queued=queued: solo.peer.read() and solo.stream.queued_bytes < queued)
        looks.at(solo, 50.0)
        assert solo.stream.close_reason is None
    assert solo.clock() > 1000 + 2 * 60, "the client was given time to be too slow"
    looks.at(solo, 59.0)
    looks.at(solo, 60.0)
    assert solo.stream.close_reason is CloseReason.SLOW
    thread.join(DEADLINE_S)


def test_without_a_limit_nothing_is_ended(solo: SoloStream) -> None:
    looks = Looks(stall_timeout_s=None, heartbeat_s=None)
    fill(solo)
    for _ in range(10):
        looks.at(solo, 10_000.0)
    assert not solo.stream.closed


def test_an_idle_stream_gets_a_comment(solo: SoloStream) -> None:
    looks = Looks(heartbeat_s=30.0)
    looks.at(solo, 29.0)
    assert solo.peer.received.raw == b""
    for beats in (1, 2, 3):
        looks.at(solo, 30.0)
        wait_until(lambda beats=beats: raw_of(solo).count(b":\n\n") == beats)
        looks.at(solo, 0.1)
        solo.start.send_comment(f"after {beats}")  # what had been sent before has arrived then
        solo.peer.read_raw_until(f": after {beats}".encode())
        assert raw_of(solo).count(b":\n\n") == beats, "one heartbeat for each time"
    assert solo.stream.event_count == 0


def test_a_busy_stream_gets_none(solo: SoloStream) -> None:
    looks = Looks(heartbeat_s=30.0)
    for number in range(5):
        solo.start.send_event_nowait(str(number))
        looks.at(solo, 1.0)
        looks.at(solo, 29.0)
    solo.peer.read_events(5)
    assert b":\n\n" not in raw_of(solo)
    looks.at(solo, 1.0)
    wait_until(lambda: b":\n\n" in raw_of(solo))


def test_a_stream_that_is_behind_gets_none(solo: SoloStream) -> None:
    looks = Looks(heartbeat_s=30.0, stall_timeout_s=None)
    fill(solo)
    queued = solo.stream.queued_bytes
    for _ in range(3):
        looks.at(solo, 30.0)
        assert solo.stream.queued_bytes <= queued
    assert not solo.stream.closed


def test_a_heartbeat_finds_a_client_that_has_gone(solo: SoloStream) -> None:
    looks = Looks(heartbeat_s=30.0)
    solo.peer.reset()
    wait_until(lambda: (looks.at(solo, 30.0), solo.stream.closed)[1])
    assert solo.stream.close_reason is CloseReason.CLIENT_CLOSED


@pytest.mark.parametrize("by", ["others", "itself"])
def test_a_stream_that_has_ended_is_left_alone(solo: SoloStream, by: str) -> None:
    looks = Looks(heartbeat_s=1.0, stall_timeout_s=1.0)
    if by == "others":
        solo.stream.end(CloseReason.KICKED)
    else:
        solo.stream.close()
    reason = solo.stream.close_reason
    for _ in range(3):
        looks.at(solo, 100.0)
    assert solo.stream.close_reason is reason
    solo.stream.finish(CloseReason.HANDLER_DONE)
    looks.at(solo, 100.0)


def test_who_answers_is_not_dead() -> None:
    """A peer that reads nothing still acknowledges; what tells the dead is in `tests/network`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with (
            socket.create_connection(listener.getsockname()) as theirs,
            listener.accept()[0] as ours,
        ):
            assert not is_dead(ours, 0.0)
            ours.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    ours.send(b"x" * 65536)
            assert not is_dead(ours, 3600.0)
            assert theirs.fileno() >= 0
        assert not is_dead(ours, 0.0), "closed meanwhile: no error"
    left, right = socket.socketpair()
    with left, right:
        assert not is_dead(left, 0.0)


def test_slow_clients_are_all_counted_and_not_all_named(
    solo: SoloStream, caplog: pytest.LogCaptureFixture
) -> None:
    """Each of the first ones has its line; of the rest one line tells, when the second is over."""
    clock = ManualClock()
    log = SlowLog(clock)
    for _ in range(SLOW_LINES_PER_S):
        log.note(solo.stream)
    assert len(caplog.records) == SLOW_LINES_PER_S
    log.note(solo.stream)
    clock.advance(0.9)
    log.note(solo.stream)
    log.look()
    assert len(caplog.records) == SLOW_LINES_PER_S
    assert log.episodes == SLOW_LINES_PER_S + 2
    clock.advance(0.1)
    log.look()
    log.look()
    (told,) = caplog.records[SLOW_LINES_PER_S:]
    assert told.getMessage() == "slow clients: 2 more in that second"
    assert told.left_out == 2
    log.note(solo.stream)
    assert "slow client: " in caplog.records[-1].getMessage()
    assert len(caplog.records) == SLOW_LINES_PER_S + 2


def raw_of(solo: SoloStream) -> bytes:
    """What the client has received by now, without waiting for more."""
    try:
        while data := solo.peer.receive(65536, 0.001):
            solo.peer.received.feed(data)
    except TimeoutError:
        return solo.peer.received.raw
    return solo.peer.received.raw
