"""Connections: the rules all kinds share, and the one thing in which they differ, waiting.

The rules are those of ``h3py.testing.check_connection``, run against each kind
over real sockets; what follows here is what a rule for all cannot say. Nothing
is timed: a peer that reads nothing makes a connection full, and it stays full
until the test reads.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import trio
import trio.testing

from h3py import (
    BufferFull,
    ConnectionClosed,
    H3ConnectionError,
    NotStreamingMode,
    SSEEvent,
    ThreadConnection,
    TrioConnection,
)
from h3py._speedups.engine import Engine
from h3py._speedups.write_queue import WriteQueue
from h3py.connection import plain, wait_for
from h3py.http import CONTINUE
from h3py.testing import MemoryConnection, Pair, check_connection, memory_pair, socket_pair
from h3py.testing.conformance import CHECKS, HEAD
from tests.support.wait import DEADLINE_S, wait_until

KINDS: dict[str, Callable[[], Pair]] = {
    "memory": memory_pair,
    "trio-unix": partial(socket_pair, TrioConnection),
    "trio-tcp": partial(socket_pair, TrioConnection, tcp=True),
    "threads-unix": partial(socket_pair, ThreadConnection),
    "threads-tcp": partial(socket_pair, ThreadConnection, tcp=True),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_keeps_the_rules(kind: str) -> None:
    check_connection(KINDS[kind])


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_each_rule_with_a_small_queue(kind: str, check: Callable[[Pair], None]) -> None:
    """The smallest sizes the suite allows, a rule at a time, to see which one is broken."""
    make = KINDS[kind]
    pair = make(max_queue_bytes=4096, buffer_bytes=1024)  # type: ignore[call-arg]
    try:
        check(pair)
    finally:
        pair.connection.close()
        pair.peer.close()


@pytest.fixture(params=KINDS)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    made = KINDS[request.param]()
    yield made
    made.connection.close()
    made.peer.close()


def write_much(connection: TrioConnection | ThreadConnection | MemoryConnection) -> None:
    for _ in range(100_000):
        connection.write_chunk(b"x" * 1024)


def fill(connection: TrioConnection | ThreadConnection | MemoryConnection) -> None:
    with pytest.raises(BufferFull):
        write_much(connection)


def test_the_errors_are_of_one_family(pair: Pair) -> None:
    """Each derives from the builtin that plain Python would raise (C3)."""
    with pytest.raises(NotStreamingMode) as early:
        pair.connection.write_chunk(b"x")
    assert isinstance(early.value, RuntimeError)
    pair.connection.begin_stream(HEAD, chunked=True)
    with pytest.raises(BufferFull) as full:
        write_much(pair.connection)
    assert isinstance(full.value, BufferError)
    pair.connection.close()
    with pytest.raises(ConnectionClosed) as closed:
        pair.connection.flush()
    assert isinstance(closed.value, ConnectionError)
    for error in (early.value, full.value, closed.value):
        assert isinstance(error, H3ConnectionError)


def test_large_chunks_are_not_copied(pair: Pair) -> None:
    """What is queued by reference is the caller's own object: one more reference to it."""
    connection = pair.connection
    connection.begin_stream(HEAD, chunked=True)
    fill(connection)
    small, large = b"s" * 4096, b"l" * 4097
    before_small, before_large = sys.getrefcount(small), sys.getrefcount(large)
    assert connection.queue.queued_bytes > 0
    connection.queue.clear()
    connection.queue.append(small)
    connection.queue.append(large)
    assert sys.getrefcount(small) == before_small
    assert sys.getrefcount(large) == before_large + 1
    connection.close()
    assert sys.getrefcount(large) == before_large


def test_a_full_queue_makes_a_thread_wait_until_its_peer_reads() -> None:
    """Far more than queue and kernel hold: without waiting it would raise (see the rules)."""
    connection, peer = socket_pair(ThreadConnection, max_queue_bytes=4096, write_timeout_s=3600.0)
    connection.begin_stream(b"", chunked=False)
    size = 8 * 1024 * 1024

    def write() -> None:
        for _ in range(size // 1024):
            connection.write_chunk(b"x" * 1024)
        connection.drain()
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    received = 0
    while data := peer.read():
        received += len(data)
    assert received == size
    writer.join(DEADLINE_S)
    assert not writer.is_alive()
    peer.close()


def test_a_thread_waits_for_room_no_longer_than_its_timeout() -> None:
    connection, peer = socket_pair(ThreadConnection, write_timeout_s=0.0)
    connection.begin_stream(HEAD, chunked=True)
    fill(connection)
    with pytest.raises(BufferFull, match="untaken"):
        connection.drain(0.0)
    peer.close()
    connection.close()


def test_closing_ends_a_thread_that_waits_for_room() -> None:
    """It is told within a look of its wait, not at the end of its timeout."""
    connection, peer = socket_pair(ThreadConnection, write_timeout_s=3600.0)
    connection.begin_stream(HEAD, chunked=True)
    connection.write_timeout_s = 0.0
    fill(connection)
    errors: list[BaseException] = []
    waits = threading.Event()

    def drain() -> None:
        waits.set()
        try:
            connection.drain(3600.0)
        except ConnectionClosed as error:
            errors.append(error)

    waiter = threading.Thread(target=drain)
    waiter.start()
    assert waits.wait(DEADLINE_S)
    connection.wire.shut_down()
    waiter.join(DEADLINE_S)
    assert [type(error) for error in errors] == [ConnectionClosed]
    connection.close()
    peer.close()


@pytest.mark.parametrize("kind", ["memory", "trio-unix", "trio-tcp"])
async def test_closing_ends_a_task_that_waits_for_room(kind: str) -> None:
    """Closing under a waiting task wakes it: its descriptor will soon be another's number."""
    connection, peer = KINDS[kind]()
    connection.begin_stream(HEAD, chunked=True)
    fill(connection)
    errors: list[BaseException] = []

    async def drain() -> None:
        try:
            await connection.drain()  # type: ignore[misc, func-returns-value]
        except ConnectionClosed as error:
            errors.append(error)

    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain)
            await trio.testing.wait_all_tasks_blocked()
            connection.close()
    assert [type(error) for error in errors] == [ConnectionClosed]
    peer.close()


@pytest.mark.parametrize("kind", ["memory", "trio-unix", "trio-tcp"])
async def test_a_task_that_waits_for_room_lets_others_run_and_goes_on(kind: str) -> None:
    connection, peer = KINDS[kind]()
    connection.begin_stream(HEAD, chunked=True)
    fill(connection)
    drained = False

    async def drain() -> None:
        nonlocal drained
        await connection.drain()  # type: ignore[misc, func-returns-value]
        drained = True

    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain)
            await trio.testing.wait_all_tasks_blocked()
            assert not drained
            while not drained:
                await trio.to_thread.run_sync(peer.read)
                await trio.testing.wait_all_tasks_blocked()
    assert connection.queued_bytes == 0
    connection.close()
    peer.close()


def test_alive_is_known_without_sending(pair: Pair) -> None:
    connection, peer = pair
    assert connection.is_alive()
    peer.close()
    wait_until(lambda: not connection.is_alive())


def test_a_thread_waits_for_bytes_as_for_room() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert wait_for(ours.fileno(), None, write=True)
        assert not wait_for(ours.fileno(), 0.0, write=False)
        theirs.send(b"x")
        assert wait_for(ours.fileno(), None, write=False)


def test_an_event_is_taken_whole_or_not_at_all(pair: Pair) -> None:
    connection, _ = pair
    connection.begin_stream(HEAD, chunked=True)
    fill(connection)
    queued = connection.queued_bytes
    room = connection.queue.max_queued_bytes - queued
    with pytest.raises(BufferFull):
        connection.send_event(SSEEvent("x" * room))
    assert connection.queued_bytes == queued


@pytest.mark.parametrize("how", ["driven", "parked"])
def test_a_stream_begins_behind_what_is_queued_already(how: str) -> None:
    """A client that reads nothing was told "100 Continue" first, whoever sends it in the end."""
    ours, theirs = socket.socketpair()
    filled = 0
    with ours, theirs, contextlib.ExitStack() as stack:
        wire = plain(ours)
        with contextlib.suppress(BlockingIOError):
            while True:
                filled += ours.send(b"." * 4096)
        queue = WriteQueue()
        queue.append_end(CONTINUE)
        assert not wire.send(queue)
        connection = ThreadConnection(wire, queue)
        connection.begin_stream(HEAD, chunked=True, send=how == "driven")
        if how == "driven":
            assert not connection.send_event(SSEEvent("first"))
        else:
            engine = Engine()
            stack.callback(engine.shut_down)
            engine.start()
            handle = engine.adopt(wire.fd, None, queue, chunked=True)
            wire.detach()
            engine.send(handle, SSEEvent("first"))
        theirs.settimeout(DEADLINE_S)
        received = b""
        whole = b"." * filled + CONTINUE + HEAD + b"d\r\ndata: first\n\n\r\n"
        while len(received) < len(whole):
            received += theirs.recv(65536)
            if how == "driven":
                connection.flush()
        assert received == whole
