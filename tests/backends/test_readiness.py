"""Readiness: each descriptor reported once, until it is armed again, from any thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from h3py.backends.readiness import BATCH, Readiness
from tests.support.wait import DEADLINE_S, Deadline


@pytest.fixture
def readiness() -> Iterator[Readiness]:
    made = Readiness()
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def waited(readiness: Readiness) -> list[int]:
    """What is reported next; at least one."""
    deadline = Deadline()
    while not (ready := readiness.wait(deadline.left_s)):
        assert not deadline.passed, "nothing was reported"
    return [fd for fd, _ in ready]


def test_reported_once_until_armed_again(
    readiness: Readiness, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    readiness.arm(ours.fileno())
    assert readiness.wait(0.0) == []
    theirs.send(b"x")
    assert waited(readiness) == [ours.fileno()]
    theirs.send(b"y")
    assert readiness.wait(0.0) == [], "it was not armed again"
    readiness.arm(ours.fileno())
    assert waited(readiness) == [ours.fileno()]


def test_armed_for_writing(readiness: Readiness, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    readiness.arm(ours.fileno())
    assert readiness.wait(0.0) == []
    readiness.arm(ours.fileno(), read=False, write=True)
    assert waited(readiness) == [ours.fileno()]


@pytest.mark.parametrize("how", ["fin", "shutdown"])
def test_a_peer_that_leaves_is_reported(
    readiness: Readiness, pair: tuple[socket.socket, socket.socket], how: str
) -> None:
    ours, theirs = pair
    readiness.arm(ours.fileno())
    theirs.close() if how == "fin" else theirs.shutdown(socket.SHUT_WR)
    assert waited(readiness) == [ours.fileno()]


def test_watched_is_reported_again_and_again(
    readiness: Readiness, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    readiness.watch(ours.fileno())
    theirs.send(b"x")
    for _ in range(3):
        assert waited(readiness) == [ours.fileno()]


def test_forgotten_is_not_reported(
    readiness: Readiness, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    readiness.arm(ours.fileno())
    theirs.send(b"x")
    readiness.forget(ours.fileno())
    readiness.forget(ours.fileno())
    assert readiness.wait(0.0) == []
    readiness.forget(123_456)


def test_a_number_that_means_another_socket_now(readiness: Readiness) -> None:
    """Closed without being forgotten, and the next socket was given its number."""
    ours, theirs = socket.socketpair()
    readiness.arm(ours.fileno())
    number = ours.fileno()
    ours.close()
    theirs.close()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert number in (ours.fileno(), theirs.fileno())
        fresh, other = (ours, theirs) if ours.fileno() == number else (theirs, ours)
        readiness.arm(fresh.fileno())
        other.send(b"x")
        assert waited(readiness) == [number]


def test_woken_from_another_thread(readiness: Readiness) -> None:
    returned: list[list[tuple[int, int]]] = []
    waiter = threading.Thread(target=lambda: returned.append(readiness.wait(None)))
    waiter.start()
    readiness.wake()
    waiter.join(DEADLINE_S)
    assert returned == [[]]
    for _ in range(100_000):
        readiness.wake()  # the pipe is full long before, and it never blocks
    assert readiness.wait(None) == []
    assert readiness.wait(0.0) == [], "one wait takes all wakes"


def test_armed_from_another_thread_while_one_waits(
    readiness: Readiness, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    theirs.send(b"x")
    threading.Thread(target=readiness.arm, args=(ours.fileno(),)).start()
    assert waited(readiness) == [ours.fileno()]


def test_many_are_reported_in_turns(readiness: Readiness) -> None:
    pairs = [socket.socketpair() for _ in range(BATCH + 10)]
    try:
        for ours, theirs in pairs:
            readiness.arm(ours.fileno())
            theirs.send(b"x")
        seen: set[int] = set()
        while len(seen) < len(pairs):
            ready = waited(readiness)
            assert len(ready) <= BATCH
            assert not seen & set(ready)
            seen |= set(ready)
    finally:
        for ours, theirs in pairs:
            ours.close()
            theirs.close()


def test_after_its_end_a_wake_is_no_error() -> None:
    readiness = Readiness()
    readiness.close()
    readiness.wake()
