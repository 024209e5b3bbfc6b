"""``check_connection``: the rules that every kind of connection keeps.

Run it against a connection of your own as h3py runs it against its three::

    check_connection(lambda: memory_pair(max_queue_bytes=4096))

Rules of the suite. A connection may differ from the others in one thing alone:
how it waits. Everything else is checked here, from the outside: what is written
on one side must be what is read on the other. Nothing is timed: full means that
the peer reads nothing, gone means that the peer has closed.

Each check is given a fresh pair and closes both ends. The suite runs trio by
itself (``trio.run``), so call it from plain code.
"""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable
from typing import assert_never

import trio

from h3py._speedups.format import SSEEvent, format_event
from h3py.connection import (
    LAST_CHUNK,
    BaseConnection,
    ConnectionState,
    ThreadConnection,
    TrioConnection,
    wait_for,
)
from h3py.errors import BufferFull, ConnectionClosed, NotStreamingMode
from h3py.testing.memory import MemoryConnection
from h3py.testing.pairs import Pair
from h3py.testing.received import StreamReader, dechunked
from h3py.testing.waiting import Deadline, wait_until

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
# Writing so much into a connection whose peer reads nothing must fill any queue.
FILL_BYTES = 64 * 1024 * 1024
FILL_SETTLE_S, FILL_REFUSALS = 0.02, 3


def check_connection(make_pair: Callable[[], Pair]) -> None:
    """Run every rule against fresh connections.

    Args:
        make_pair: Makes a connection in INIT and its peer. Its queue holds at least
            4 KiB, its buffer 1 KiB.

    Raises:
        AssertionError: A rule is broken; the message names the check.
    """
    for check in CHECKS:
        pair = make_pair()
        try:
            check(pair)
        except Exception as error:
            error.add_note(f"in {check.__name__}: {inspect.getdoc(check)}")
            raise
        finally:
            pair.connection.close()
            pair.peer.close()


# -- the rules -----------------------------------------------------------------


def check_init(pair: Pair) -> None:
    """Nothing can be written before the stream begins."""
    connection = pair.connection
    assert connection.state is ConnectionState.INIT
    assert not connection.streaming
    assert connection.is_alive()
    _raises(NotStreamingMode, connection.write_chunk, b"x")
    _raises(NotStreamingMode, connection.send_event, SSEEvent("x"))
    _raises(RuntimeError, connection.write_chunk, b"x")
    assert connection.queued_bytes == 0


def check_begin(pair: Pair) -> None:
    """The head leaves at once, as it is, and a stream begins once only."""
    connection, peer = pair
    connection.begin_stream(HEAD, chunked=True)
    assert _read(peer, len(HEAD)) == HEAD
    assert connection.state is ConnectionState.STREAMING
    assert connection.streaming
    _raises(ConnectionClosed, lambda: connection.begin_stream(HEAD, chunked=True))


def check_chunks(pair: Pair) -> None:
    """Small chunks wait for a flush and leave in order, each framed; no chunk for no bytes."""
    connection, peer = _begun(pair)
    connection.write_chunk(b"one")
    connection.write_chunk(b"")
    connection.write_chunk(bytearray(b"two"))
    connection.write_chunk(memoryview(b"three"))
    assert connection.queued_bytes > 0, "small chunks are gathered"
    assert connection.flush()
    assert connection.queued_bytes == 0
    expected = b"3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n"
    assert _read(peer, len(expected)) == expected


def check_unframed(pair: Pair) -> None:
    """Without chunks bytes leave as they are, and the end of the stream adds none."""
    connection, peer = pair
    connection.begin_stream(HEAD, chunked=False)
    connection.write_chunk(b"one")
    connection.write_chunk(b"two")
    connection.send_event(SSEEvent("x"))
    connection.close()
    assert _read_to_end(peer) == HEAD + b"onetwo" + format_event(SSEEvent("x"))


def check_copies(pair: Pair) -> None:
    """What can change is copied: a chunk is what it was when it was written."""
    connection, peer = _begun(pair)
    data = bytearray(b"before")
    connection.write_chunk(data)
    data[:] = b"after!"
    connection.flush()
    assert _read(peer, 11) == b"6\r\nbefore\r\n"


def check_buffer(pair: Pair) -> None:
    """Chunks leave by themselves when ``buffer_bytes`` have gathered."""
    connection, peer = _begun(pair)
    size = connection.buffer_bytes // 4
    for _ in range(4):
        connection.write_chunk(b"x" * size)
    assert connection.queued_bytes == 0
    assert dechunked(_read(peer, 4 * (size + 4 + len(f"{size:x}")))) == b"x" * (4 * size)


def check_event_at_once(pair: Pair) -> None:
    """An event leaves without a flush, as one chunk."""
    connection, peer = _begun(pair)
    event = SSEEvent("hello", event="greeting", id="7")
    assert connection.send_event(event)
    assert connection.queued_bytes == 0
    wire = format_event(event)
    assert _read(peer, len(wire) + 6) == b"%x\r\n%b\r\n" % (len(wire), wire)


def check_full(pair: Pair) -> None:
    """A full queue refuses a chunk whole, keeps what it has, and takes more after a drain."""
    connection, peer = _begun(pair)
    taken = _fill(connection)
    queued = connection.queued_bytes
    assert 0 < queued <= connection.queue.max_queued_bytes
    _raises(BufferFull, connection.write_chunk, b"y" * 512)
    _raises(BufferFull, connection.send_event, SSEEvent("y" * 512))
    _raises(BufferError, connection.write_chunk, b"y" * 512)
    assert connection.queued_bytes == queued, "of what was refused nothing was taken"
    reading = _Reading(peer)
    _drain(connection)
    assert connection.queued_bytes == 0
    connection.write_chunk(b"z")
    _drain(connection)
    connection.close()
    assert dechunked(reading.result(), ended=True) == b"x" * taken + b"z"


def check_large_event(pair: Pair) -> None:
    """An event above the cap goes, whole, into an empty queue, and into no other."""
    connection, peer = _begun(pair)
    large = SSEEvent("l" * (4 * 1024 * 1024))
    connection.send_event(large)
    assert connection.queued_bytes > connection.queue.max_queued_bytes
    queued = connection.queued_bytes
    _raises(BufferFull, connection.send_event, large)
    _raises(BufferFull, connection.send_event, SSEEvent("small"))
    assert connection.queued_bytes == queued
    reading = _Reading(peer)
    _drain(connection)
    connection.send_event(SSEEvent("small"))
    _drain(connection)
    connection.close()
    body = dechunked(reading.result(), ended=True)
    assert body == format_event(large) + format_event(SSEEvent("small"))


def check_end(pair: Pair) -> None:
    """The end of the stream is the last chunk, once; nothing can be written after it."""
    connection, peer = _begun(pair)
    connection.write_chunk(b"x")
    connection.end_stream()
    connection.end_stream()
    assert connection.state is ConnectionState.CLOSING
    assert not connection.streaming
    _raises(ConnectionClosed, connection.write_chunk, b"x")
    _raises(ConnectionClosed, connection.send_event, SSEEvent("x"))
    _raises(ConnectionClosed, lambda: connection.begin_stream(HEAD, chunked=True))
    assert connection.flush()
    assert _read(peer, 11) == b"1\r\nx\r\n" + LAST_CHUNK
    connection.close()
    assert _read_to_end(peer) == b""


def check_end_when_full(pair: Pair) -> None:
    """A stream that is full can still end."""
    connection, peer = _begun(pair)
    taken = _fill(connection)
    connection.end_stream()
    reading = _Reading(peer)
    _drain(connection)
    connection.close()
    assert dechunked(reading.result(), ended=True) == b"x" * taken


def check_close(pair: Pair) -> None:
    """Closing sends what is queued and the last chunk, gives all back, and may be repeated."""
    connection, peer = _begun(pair)
    connection.write_chunk(b"tail")
    connection.close()
    connection.close()
    assert connection.state is ConnectionState.CLOSED
    assert connection.queued_bytes == 0
    assert connection.fileno() == -1
    assert not connection.is_alive()
    assert _read_to_end(peer) == b"4\r\ntail\r\n" + LAST_CHUNK
    _raises(ConnectionClosed, connection.write_chunk, b"x")
    _raises(ConnectionClosed, connection.send_event, SSEEvent("x"))
    _raises(ConnectionClosed, connection.flush)
    _raises(ConnectionClosed, lambda: _drain(connection))
    _raises(ConnectionError, connection.flush)


def check_close_when_full(pair: Pair) -> None:
    """Closing never waits: what the peer does not take is dropped, and its memory given back."""
    connection, _ = _begun(pair)
    _fill(connection)
    connection.close()
    assert connection.queued_bytes == 0
    assert len(connection.queue) == 0


def check_abort(pair: Pair) -> None:
    """An abort sends nothing more."""
    connection, peer = _begun(pair)
    connection.write_chunk(b"never sent")
    connection.abort()
    connection.abort()
    assert connection.state is ConnectionState.CLOSED
    assert _read_to_end(peer) == b""


def check_close_in_init(pair: Pair) -> None:
    """A connection that never streamed closes without a byte."""
    connection, peer = pair
    connection.close()
    assert connection.state is ConnectionState.CLOSED
    _raises(ConnectionClosed, connection.write_chunk, b"x")
    assert _read_to_end(peer) == b""


def check_peer_leaves(pair: Pair) -> None:
    """A peer that has closed is seen without sending, and by sending."""
    connection, peer = _begun(pair)
    assert connection.is_alive()
    peer.close()
    _gone(connection)


def check_peer_breaks(pair: Pair) -> None:
    """A reset is seen as a close is."""
    connection, peer = _begun(pair)
    peer.reset()
    _gone(connection)


def check_peer_leaves_while_full(pair: Pair) -> None:
    """Whoever waits for room learns that the peer has gone."""
    connection, peer = _begun(pair)
    _fill(connection)
    errors: list[BaseException] = []

    def write_on() -> None:
        while True:  # what a drain waits for may be little, and the system may still take it
            _drain(connection)
            _fill(connection)

    waiter = threading.Thread(target=_caught, args=(errors, write_on))
    waiter.start()
    peer.close()
    waiter.join(Deadline().left_s)
    assert not waiter.is_alive(), "the wait for room does not end when the peer leaves"
    assert [type(error) for error in errors] == [ConnectionClosed]


CHECKS: tuple[Callable[[Pair], None], ...] = (
    check_init,
    check_begin,
    check_chunks,
    check_unframed,
    check_copies,
    check_buffer,
    check_event_at_once,
    check_full,
    check_large_event,
    check_end,
    check_end_when_full,
    check_close,
    check_close_when_full,
    check_abort,
    check_close_in_init,
    check_peer_leaves,
    check_peer_breaks,
    check_peer_leaves_while_full,
)


# -- helpers -------------------------------------------------------------------


def _begun(pair: Pair) -> Pair:
    pair.connection.begin_stream(HEAD, chunked=True)
    assert _read(pair.peer, len(HEAD)) == HEAD
    return pair


def _fill(connection: BaseConnection) -> int:
    """Write until there is no room, and none is found later; returns how many bytes were taken."""
    taken = refused = 0
    piece = b"x" * 512
    while taken < FILL_BYTES:
        try:
            connection.write_chunk(piece)  # type: ignore[attr-defined]  # each kind has its own
        except BufferFull:
            if refused == FILL_REFUSALS or connection.fileno() < 0:
                return taken
            refused += 1  # the kernel may find more room later, and tell nobody of a little
            wait_for(connection.fileno(), time.monotonic() + FILL_SETTLE_S, write=True)
        else:
            taken += len(piece)
            refused = 0
    raise AssertionError("all was taken although nobody reads")


def _drain(connection: TrioConnection | ThreadConnection | MemoryConnection) -> None:
    match connection:
        case ThreadConnection():
            connection.drain(Deadline().left_s)
        case TrioConnection() | MemoryConnection():
            trio.run(_drain_on_trio, connection)
        case _:
            assert_never(connection)


async def _drain_on_trio(connection: TrioConnection | MemoryConnection) -> None:
    with trio.fail_after(Deadline().left_s):
        await connection.drain()


class _Reading:
    """Reads all that the peer is sent, in a thread, until the connection ends."""

    def __init__(self, peer: StreamReader) -> None:
        self._received = b""
        self._errors: list[BaseException] = []
        self._thread = threading.Thread(target=_caught, args=(self._errors, self._read, peer))
        self._thread.start()

    def _read(self, peer: StreamReader) -> None:
        self._received = _read_to_end(peer)

    def result(self) -> bytes:
        """All of it, once the connection has ended."""
        self._thread.join(Deadline().left_s)
        assert not self._thread.is_alive(), "the connection does not end"
        assert self._errors == [], self._errors
        return self._received


def _gone(connection: TrioConnection | ThreadConnection | MemoryConnection) -> None:
    wait_until(lambda: not connection.is_alive(), what="the peer's end is seen")

    def write_until_refused() -> None:
        for _ in range(1000):
            connection.send_event(SSEEvent("x" * 1024))

    _raises(ConnectionClosed, write_until_refused)
    connection.close()
    assert connection.state is ConnectionState.CLOSED
    assert connection.queued_bytes == 0


def _read(peer: StreamReader, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = peer.read(size - len(data))
        assert more, f"the connection ended after {data!r}"
        data += more
    return data


def _read_to_end(peer: StreamReader) -> bytes:
    data = bytearray()
    while more := peer.read():
        data += more
    return bytes(data)


def _raises(kind: type[BaseException], function: Callable[..., object], *args: object) -> None:
    try:
        function(*args)
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was not raised")


def _caught(errors: list[BaseException], function: Callable[..., object], *args: object) -> None:
    try:
        function(*args)
    except BaseException as error:  # noqa: BLE001  # brought to the thread that asks
        errors.append(error)
