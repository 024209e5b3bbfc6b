"""``WriteQueue``: what it takes and refuses, and a plain list of bytes beside it."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from h3py._speedups.block import plan_fault
from h3py._speedups.format import SSEEvent, format_event
from h3py._speedups.write_queue import WriteQueue
from h3py.errors import AllocationError, BufferFull, EventTooLarge, WriterBusy
from tests.support.wait import wait_until

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


def chunk(data: bytes) -> bytes:
    """RFC 9112 section 7.1."""
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.parametrize("size", [1, 15, 16, 17, 255, 256, 4095, 4096, 4097, 70_000])
@pytest.mark.parametrize("chunked", [True, False])
def test_a_piece_leaves_as_it_should(size: int, chunked: bool) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    queue = WriteQueue(chunked=chunked, max_bytes=1 << 20)
    queue.append_raw(b"HEAD")
    queue.append(data)
    queue.append_end(b"0\r\n\r\n")
    expected = b"HEAD" + (chunk(data) if chunked else data) + b"0\r\n\r\n"
    assert queue.queued_bytes == len(expected)
    assert queue.take(1 << 20) == expected
    assert queue.queued_bytes == 0


@pytest.mark.parametrize("chunked", [True, False])
def test_an_event_leaves_as_it_should(chunked: bool) -> None:
    event = SSEEvent("a\nb", event="tick")
    wire = format_event(event)
    queue = WriteQueue(chunked=chunked)
    assert queue.append_event(event) == len(wire)
    assert queue.take() == (chunk(wire) if chunked else wire)


def test_nothing_is_no_piece() -> None:
    """An empty chunk would end the body."""
    queue = WriteQueue(chunked=True)
    queue.append(b"")
    queue.append(bytearray())
    queue.append_raw(b"")
    queue.append_end(b"")
    assert len(queue) == 0
    assert queue.take() == b""


def test_small_pieces_that_wait_share_a_block() -> None:
    queue = WriteQueue(chunked=True, gather_bytes=1000)
    for n in range(50):
        queue.append(b"%d" % n)
    assert len(queue) <= 3
    assert queue.take() == b"".join(chunk(b"%d" % n) for n in range(50))


def test_events_share_no_block_with_bytes() -> None:
    queue = WriteQueue(chunked=True)
    queue.append(b"first")
    queue.append_event(SSEEvent("1"))
    queue.append_event(SSEEvent("2"))
    queue.append(b"last")
    assert queue.drop_oldest(0) == 2
    assert queue.take() == chunk(b"first") + chunk(b"last")


@pytest.mark.parametrize("piece", [b"x" * 90, b"x" * 5000])
def test_the_cap_is_kept_to_whole_pieces(piece: bytes) -> None:
    queue = WriteQueue(max_bytes=len(piece) + 10)
    queue.append(b"y" * 10)
    queue.append(piece)
    queue.take(1)
    with pytest.raises(BufferFull, match=f"no room for 2 bytes: {len(piece) + 9} of"):
        queue.append(b"zz")
    queue.append(b"z")
    assert queue.take(1 << 16) == b"y" * 9 + piece + b"z"


@pytest.mark.parametrize("size", [101, 20_000])
def test_one_piece_above_the_cap_is_taken_by_an_empty_queue(size: int) -> None:
    queue = WriteQueue(max_bytes=100)
    queue.append(b"x" * size)
    with pytest.raises(BufferFull):
        queue.append(b"y")
    assert queue.take(1 << 16) == b"x" * size
    queue.append(b"y")


def test_the_end_of_a_body_needs_no_room() -> None:
    queue = WriteQueue(max_bytes=4, chunked=True)
    queue.append(b"x" * 100)
    queue.append_end(b"0\r\n\r\n")
    assert queue.take() == chunk(b"x" * 100) + b"0\r\n\r\n"


def test_a_piece_above_the_limit_of_one_event() -> None:
    queue = WriteQueue(max_event_bytes=100)
    queue.append(b"x" * 100)
    for take in (lambda: queue.append(b"x" * 101), lambda: queue.append_event(SSEEvent("x" * 99))):
        with pytest.raises(EventTooLarge, match="above the limit of 100"):
            take()
    assert queue.take() == b"x" * 100


@pytest.mark.parametrize(
    "options",
    [{"max_bytes": 0}, {"gather_bytes": 0}, {"reference_over": 0}, {"max_event_bytes": -1}],
)
def test_sizes_that_cannot_be(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        WriteQueue(**options)


def test_framing_is_decided_before_the_first_piece() -> None:
    queue = WriteQueue()
    queue.chunked = True
    assert queue.chunked
    queue.append(b"x")
    with pytest.raises(ValueError, match="while chunks are queued"):
        queue.chunked = False
    assert queue.take() == chunk(b"x")


def test_take_wants_a_number_of_bytes() -> None:
    with pytest.raises(ValueError, match="not 0"):
        WriteQueue().take(0)


@pytest.mark.parametrize("wrong", ["text", 5, None])
def test_what_is_no_bytes(wrong: Any) -> None:
    queue = WriteQueue()
    with pytest.raises(TypeError):
        queue.append(wrong)
    assert queue.queued_bytes == 0


def test_send_event_sends_at_once(ends: Ends) -> None:
    queue = WriteQueue(chunked=True)
    assert queue.send_event(ends[0].fileno(), SSEEvent("now"))
    assert ends[1].recv(100) == chunk(b"data: now\n\n")


def test_clear_tells_what_is_lost() -> None:
    queue = WriteQueue(gather_bytes=1)
    for n in range(5):
        queue.append_event(SSEEvent(f"{n}"))
    queue.take(3)
    assert queue.clear() == 4
    assert queue.take() == b""


class TestHeartbeat:
    def test_goes_into_an_empty_queue(self, ends: Ends) -> None:
        queue = WriteQueue(chunked=True)
        assert queue.heartbeat(ends[0].fileno())
        assert ends[1].recv(100) == chunk(b":\n\n")

    def test_never_into_one_with_something_in_it(self, ends: Ends) -> None:
        queue = WriteQueue(chunked=True)
        queue.append(b"x")
        assert not queue.heartbeat(ends[0].fileno())
        assert queue.take() == chunk(b"x")


class TestTwoWriters:
    """A send without the GIL has the queue to itself."""

    def test_the_second_is_refused_and_a_clear_waits(self, ends: Ends) -> None:
        ours, theirs = ends
        queue = WriteQueue(max_bytes=1 << 30, release_gil=True)
        refused = 0
        stop = threading.Event()

        def send() -> None:
            while not stop.is_set():
                try:
                    queue.append(b"x" * 100_000)
                    queue.send(ours.fileno())
                except (BufferFull, WriterBusy):
                    pass
                queue.clear()

        sender = threading.Thread(target=send)
        sender.start()

        def busy() -> bool:
            nonlocal refused
            try:
                theirs.recv(1 << 20, socket.MSG_DONTWAIT)
            except BlockingIOError:
                pass
            try:
                queue.append_raw(b"y")
            except WriterBusy:
                refused += 1
            except BufferFull:
                pass
            return refused > 0

        try:
            wait_until(busy, what="a second writer met the first in its send")
        finally:
            stop.set()
            sender.join()
        queue.clear()
        assert len(queue) == 0


class QueueMachine(RuleBasedStateMachine):
    """Against a list of (bytes, whether it may be dropped): what leaves is what went in, in order.

    How much a socket takes is the socket's to say, so the model learns it from
    ``queued_bytes``; what the peer reads must be exactly that.
    """

    faults = False

    def __init__(self) -> None:
        super().__init__()
        self.ours, self.theirs = socket.socketpair()
        for end in (self.ours, self.theirs):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        self.left = b""
        self.gone = b""
        self.received = b""
        self.number = 0
        self.cap = 3000

    @initialize(
        chunked=st.booleans(),
        release_gil=st.booleans(),
        gather=st.sampled_from([1, 100, 8192]),
        over=st.sampled_from([1, 50, 4096]),
    )
    def begin(self, chunked: bool, release_gil: bool, gather: int, over: int) -> None:
        self.chunked = chunked
        self.queue = WriteQueue(
            max_bytes=self.cap, gather_bytes=gather, reference_over=over, chunked=chunked,
            release_gil=release_gil,
        )  # fmt: skip

    def piece(self, size: int) -> bytes:
        self.number += 1
        return (b"%d-" % self.number).ljust(size, b"abcdefg"[self.number % 7 :][:1])

    def put(self, wire: bytes, put: Any) -> None:
        """``put`` queues these bytes, or there is no room for them."""
        if self.left and len(self.left) + len(wire) > self.cap:
            with pytest.raises(BufferFull):
                put()
        else:
            put()
            self.left += wire

    sizes = st.sampled_from([1, 20, 60, 120, 900, 2999, 5000])

    @rule(size=sizes, kind=st.sampled_from([bytes, bytearray, memoryview]))
    def append(self, size: int, kind: Any) -> None:
        data = self.piece(size)
        self.put(chunk(data) if self.chunked else data, lambda: self.queue.append(kind(data)))

    @rule(size=sizes)
    def append_raw(self, size: int) -> None:
        data = self.piece(size)
        self.put(data, lambda: self.queue.append_raw(data))

    @rule(size=sizes)
    def append_event(self, size: int) -> None:
        event = SSEEvent(self.piece(size))
        wire = format_event(event)
        self.put(chunk(wire) if self.chunked else wire, lambda: self.queue.append_event(event))

    @rule()
    def append_end(self) -> None:
        self.queue.append_end(b"0\r\n\r\n")
        self.left += b"0\r\n\r\n"

    @rule()
    def send(self) -> None:
        done = self.queue.send(self.ours.fileno())
        sent = len(self.left) - self.queue.queued_bytes
        assert sent >= 0
        assert done == (self.queue.queued_bytes == 0)
        self.gone += self.left[:sent]
        self.left = self.left[sent:]

    @rule(at_most=st.sampled_from([1, 10, 700, 100_000]))
    def take(self, at_most: int) -> None:
        # As if a transport without a descriptor had sent it: after all that is on its way.
        taken = self.queue.take(at_most)
        assert taken == self.left[:at_most]
        self.left = self.left[len(taken) :]
        if taken:
            self.read(1 << 20)
            assert self.received == self.gone
            self.gone += taken
            self.received += taken

    @rule(at_most=st.sampled_from([1, 300, 100_000]))
    def read(self, at_most: int) -> None:
        try:
            self.received += self.theirs.recv(at_most)
        except BlockingIOError:
            pass
        assert self.gone.startswith(self.received)

    @rule()
    def clear(self) -> None:
        self.queue.clear()
        self.left = b""

    @precondition(lambda self: self.faults)
    @rule(
        times=st.integers(1, 3),
        error=st.sampled_from([errno.EINTR, errno.EAGAIN]),
        most=st.sampled_from([0, 1, 5, 1000]),
    )
    def disturb(self, times: int, error: int, most: int) -> None:
        plan_fault("send", times=times, error=error, max_bytes=most)

    @precondition(lambda self: self.faults)
    @rule(after=st.integers(1, 2), size=sizes)
    def no_memory(self, after: int, size: int) -> None:
        data = self.piece(size)
        queued = self.queue.queued_bytes
        plan_fault("malloc", after=after)
        try:
            self.queue.append_raw(data)
        except (AllocationError, BufferFull):
            assert self.queue.queued_bytes == queued
        else:
            self.left += data
        finally:
            plan_fault("malloc", after=0)

    def teardown(self) -> None:
        if self.faults:
            plan_fault("send", after=0)
        try:
            # All that is left arrives, and nothing else.
            while not self.queue.send(self.ours.fileno()):
                self.gone += self.left[: len(self.left) - self.queue.queued_bytes]
                self.left = self.left[len(self.left) - self.queue.queued_bytes :]
                self.read(1 << 20)
            self.gone += self.left
            while self.received != self.gone:
                self.read(1 << 20)
            assert len(self.queue) == 0
        finally:
            self.ours.close()
            self.theirs.close()


TestQueueMachine = QueueMachine.TestCase


class FaultyQueueMachine(QueueMachine):
    faults = True


TestFaultyQueueMachine = pytest.mark.faults(FaultyQueueMachine.TestCase)
