"""The ring of unsent blocks: growing, wrapping, sending in pieces, dropping.

The queue has no Python face of its own: ``WriteQueue`` is its thinnest one. Here
every piece is a block of its own (``gather_bytes=1``), and its content is its number.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h3py._speedups.block import plan_fault
from h3py._speedups.format import SSEEvent, format_event
from h3py._speedups.write_queue import WriteQueue
from h3py.errors import ConnectionClosed, WriteError

Ends = tuple[socket.socket, socket.socket]


def blocks(count: int, *, start: int = 0) -> tuple[WriteQueue, list[bytes]]:
    """A queue of so many blocks, and their bytes."""
    queue = WriteQueue(gather_bytes=1, max_bytes=1 << 30)
    pieces = [b"%d;" % n for n in range(start, start + count)]
    for piece in pieces:
        queue.append_raw(piece)
    assert len(queue) == count
    return queue, pieces


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Both ends of a connection with little room in between."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.mark.parametrize("count", [1, 2, 8, 9, 64, 1000])
def test_a_queue_grows(count: int) -> None:
    queue, pieces = blocks(count)
    assert queue.queued_bytes == len(b"".join(pieces))
    assert queue.take(1 << 30) == b"".join(pieces)
    assert len(queue) == 0


@given(st.lists(st.integers(0, 40), max_size=30))
def test_a_ring_wraps(turns: list[int]) -> None:
    """Put some in, take some out, in turns: a plain deque does the same."""
    queue = WriteQueue(gather_bytes=1, max_bytes=1 << 30)
    model: deque[bytes] = deque()
    number = 0
    for turn in turns:
        for _ in range(turn):
            queue.append_raw(b"%06d" % number)
            model.append(b"%06d" % number)
            number += 1
        for _ in range(min(turn // 2 + 3, len(model))):
            assert queue.take(6) == model.popleft()
        assert len(queue) == len(model)
        assert queue.queued_bytes == 6 * len(model)
    assert queue.take(1 << 20) == b"".join(model)


@given(st.lists(st.integers(1, 50), min_size=1))
def test_any_part_of_a_block_may_be_taken(sizes: list[int]) -> None:
    queue, pieces = blocks(40)
    whole = b"".join(pieces)
    at = 0
    for size in sizes:
        part = queue.take(size)
        assert part == whole[at : at + size]
        at += len(part)
        assert queue.queued_bytes == len(whole) - at


@pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 3000])
def test_all_of_it_is_sent(ends: Ends, count: int) -> None:
    """One sendmsg takes 256 entries: more are more calls, and nothing is left behind."""
    ours, theirs = ends
    queue, pieces = blocks(count)
    got = b""
    while not queue.send(ours.fileno()):
        got += theirs.recv(1 << 16)
    while len(got) < len(b"".join(pieces)):
        got += theirs.recv(1 << 16)
    assert got == b"".join(pieces)
    with pytest.raises(BlockingIOError):
        theirs.recv(1)


def test_a_full_socket_takes_a_part(ends: Ends) -> None:
    ours, theirs = ends
    queue, pieces = blocks(1, start=10**8)
    queue.append_raw(b"x" * 200_000)
    assert not queue.send(ours.fileno())
    before = queue.queued_bytes
    assert 0 < before < 200_000
    assert not queue.send(ours.fileno())
    assert queue.queued_bytes == before
    got = theirs.recv(1 << 20)
    while not queue.send(ours.fileno()):
        got += theirs.recv(1 << 20)
    while len(got) < len(pieces[0]) + 200_000:
        got += theirs.recv(1 << 20)
    assert got == pieces[0] + b"x" * 200_000


def test_a_peer_that_has_gone(ends: Ends) -> None:
    ours, theirs = ends
    theirs.close()
    queue, _ = blocks(3)
    with pytest.raises(ConnectionClosed) as raised:
        queue.send(ours.fileno())
    assert isinstance(raised.value.__cause__, BrokenPipeError)
    assert len(queue) == 3


def test_what_is_no_socket_is_a_write_error() -> None:
    queue, _ = blocks(1)
    with pytest.raises(WriteError) as raised:
        queue.send(-1)
    assert isinstance(raised.value.__cause__, OSError)
    assert raised.value.__cause__.errno == errno.EBADF


def events(queue: WriteQueue, numbers: range) -> None:
    for n in numbers:
        queue.append_event(SSEEvent(f"{n}"))


def test_whole_events_are_dropped_oldest_first() -> None:
    queue = WriteQueue(gather_bytes=1)
    events(queue, range(10))
    one = len(format_event(SSEEvent("0")))
    assert queue.drop_oldest(3 * one) == 7
    assert queue.take() == b"".join(format_event(SSEEvent(f"{n}")) for n in (7, 8, 9))


def test_an_event_that_has_begun_is_never_dropped() -> None:
    queue = WriteQueue(gather_bytes=1)
    events(queue, range(3))
    begun = queue.take(1)
    assert queue.drop_oldest(0) == 2
    assert begun + queue.take() == format_event(SSEEvent("0"))


def test_bytes_without_a_boundary_are_never_dropped() -> None:
    queue = WriteQueue(gather_bytes=1)
    queue.append_raw(b"head")
    events(queue, range(2))
    queue.append_raw(b"tail")
    assert queue.drop_oldest(0) == 2
    assert queue.take() == b"headtail"


def test_dropping_stops_at_the_limit() -> None:
    queue = WriteQueue(gather_bytes=1)
    events(queue, range(4))
    assert queue.drop_oldest(queue.queued_bytes) == 0
    assert queue.drop_oldest(queue.queued_bytes - 1) == 1
    assert len(queue) == 3


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 30)), max_size=40),
    st.integers(0, 60),
    st.integers(0, 300),
)
def test_dropping_against_a_plain_list(
    pieces: list[tuple[bool, int]], sent: int, limit: int
) -> None:
    """A list of (bytes, may be dropped) does the same, wherever the ring begins."""
    queue = WriteQueue(gather_bytes=1, max_bytes=1 << 20)
    for _ in range(5):  # so that the ring does not begin at its first place
        queue.append_raw(b"xx")
    model: list[tuple[bytes, bool]] = []
    for is_event, size in pieces:
        if is_event:
            event = SSEEvent("e" * size)
            queue.append_event(event)
            model.append((format_event(event), True))
        else:
            queue.append_raw(b"r" * size)
            model.append((b"r" * size, False))
    assert queue.take(10) == b"xx" * 5
    whole = b"".join(piece for piece, _ in model)
    sent = len(queue.take(sent)) if sent else 0
    left = len(whole) - sent
    at = 0
    expected = b""
    dropped = 0
    for piece, may in model:
        begin, at = at, at + len(piece)
        if may and begin >= sent and left > limit:
            left -= len(piece)
            dropped += 1
        else:
            expected += whole[max(begin, sent) : at]
    assert queue.drop_oldest(limit) == dropped
    assert queue.queued_bytes == len(expected)
    assert queue.take(1 << 20) == expected


@pytest.mark.faults
@pytest.mark.parametrize("error", [errno.EINTR, errno.EAGAIN])
def test_sends_that_are_interrupted(ends: Ends, error: int) -> None:
    ours, theirs = ends
    queue, pieces = blocks(50)
    plan_fault("send", times=3, error=error)
    try:
        if error == errno.EAGAIN:
            assert [queue.send(ours.fileno()) for _ in range(3)] == [False] * 3
            assert queue.queued_bytes == len(b"".join(pieces))
        assert queue.send(ours.fileno())
    finally:
        plan_fault("send", after=0)
    assert theirs.recv(1 << 16) == b"".join(pieces)


@pytest.mark.faults
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_sends_that_take_a_few_bytes(ends: Ends, size: int) -> None:
    ours, theirs = ends
    queue, pieces = blocks(20)
    plan_fault("send", after=0, max_bytes=size)
    got = b""
    try:
        while not queue.send(ours.fileno()):
            got += theirs.recv(1 << 16)
    finally:
        plan_fault("send", after=0)
    got += theirs.recv(1 << 16)
    assert got == b"".join(pieces)


@pytest.mark.faults
@pytest.mark.parametrize("error", [errno.EPIPE, errno.ECONNRESET, errno.ETIMEDOUT])
def test_sends_that_lose_the_peer(ends: Ends, error: int) -> None:
    queue, _ = blocks(2)
    plan_fault("send", error=error)
    with pytest.raises(ConnectionClosed) as raised:
        queue.send(ends[0].fileno())
    assert isinstance(raised.value.__cause__, OSError)
    assert raised.value.__cause__.errno == error
    assert len(queue) == 2


@pytest.mark.faults
def test_a_ring_that_cannot_grow_takes_nothing() -> None:
    queue, pieces = blocks(8)
    try:
        plan_fault("malloc", after=2)  # the block, then the ring
        with pytest.raises(MemoryError):
            queue.append_raw(b"ninth")
    finally:
        plan_fault("malloc", after=0)
    queue.append_raw(b"tenth")
    assert queue.take() == b"".join(pieces) + b"tenth"
