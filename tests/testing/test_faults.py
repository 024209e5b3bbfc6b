"""Faults on demand: only where the core was built for them, and taken back afterwards."""

from __future__ import annotations

import errno
import socket

import pytest

from h3py import AllocationError, ConnectionClosed, ThreadConnection, WriteError
from h3py._speedups import block
from h3py._speedups.write_queue import WriteQueue
from h3py.testing import check_connection, fault, faults_built, socket_pair


def test_it_is_known_whether_they_are_there() -> None:
    assert faults_built() is block.FAULTS_BUILT
    if not faults_built():
        with pytest.raises(RuntimeError, match="no fault hooks"), fault("malloc"):
            pytest.fail("a plan was made")


@pytest.mark.faults
def test_an_allocation_fails_once_and_the_next_does_not() -> None:
    queue = WriteQueue()
    with fault("malloc"):
        with pytest.raises(AllocationError):
            queue.append(b"x")
        queue.append(b"x")
    assert queue.queued_bytes == 1


@pytest.mark.faults
@pytest.mark.parametrize(
    ("error", "raised"), [(errno.EPIPE, ConnectionClosed), (errno.EIO, WriteError)]
)
def test_a_send_fails_as_it_is_told(error: int, raised: type[Exception]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        queue = WriteQueue()
        queue.append(b"x")
        with fault("send", error=error), pytest.raises(raised):
            queue.send(ours.fileno())


@pytest.mark.faults
@pytest.mark.parametrize("after", range(1, 8))
def test_the_rules_hold_with_interrupted_sends(after: int) -> None:
    """Whichever send it is: EINTR is nobody's business but the core's."""
    with fault("send", after=after, times=2, error=errno.EINTR):
        check_connection(lambda: socket_pair(ThreadConnection))


@pytest.mark.faults
@pytest.mark.parametrize("plan", [{"after": 0, "max_bytes": 7}, {"after": 3, "times": 5}])
def test_short_and_refused_sends_lose_nothing(plan: dict[str, int]) -> None:
    connection, peer = socket_pair(ThreadConnection)
    with fault("send", error=errno.EAGAIN, **plan):  # type: ignore[arg-type]
        connection.begin_stream(b"", chunked=False)
        for number in range(100):
            connection.write_chunk(b"%d," % number)
            connection.drain()
        connection.close()
    received = b""
    while data := peer.read():
        received += data
    assert received == b"".join(b"%d," % number for number in range(100))
    peer.close()


@pytest.mark.faults
def test_the_plan_ends_with_its_block() -> None:
    with fault("malloc", after=100):
        pass
    queue = WriteQueue()
    for _ in range(200):
        queue.append(b"x" * 10_000)
        queue.clear()
