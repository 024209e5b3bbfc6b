"""Connections in memory: what is sent is read at the other end, with a deadline."""

from __future__ import annotations

import threading

import pytest
import trio
import trio.testing

from h3py import BufferFull, ConnectionClosed, SSEEvent
from h3py.testing import MemoryConnection
from tests.support.wait import DEADLINE_S

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.fixture
def connection() -> MemoryConnection:
    made = MemoryConnection(max_queue_bytes=4096, capacity_bytes=4096, deadline_s=DEADLINE_S)
    made.begin_stream(HEAD, chunked=True)
    return made


def test_events_are_read_as_a_client_reads_them(connection: MemoryConnection) -> None:
    connection.send_event(SSEEvent("one", event="kind", id="1"))
    connection.send_event(SSEEvent("two\nlines"))
    first, second = connection.peer.read_events(2)
    assert (first.type, first.data, first.last_event_id) == ("kind", "one", "1")
    assert second.data == "two\nlines"
    assert connection.peer.status == 200
    assert connection.peer.headers["Transfer-Encoding"] == "chunked"
    connection.close()
    assert connection.peer.read_to_end() == []


def test_a_test_that_waits_in_vain_fails_with_what_there_is(connection: MemoryConnection) -> None:
    connection.send_event(SSEEvent("only one"))
    with pytest.raises(AssertionError, match=r"not within .*: 2 events; so far: .*only one"):
        connection.peer.read_events(2, deadline_s=0.01)
    assert connection.peer.read_event().data == "only one", "nothing was lost by trying"


def test_a_stream_that_is_cut_has_not_ended(connection: MemoryConnection) -> None:
    connection.send_event(SSEEvent("one"))
    connection.abort()
    with pytest.raises(AssertionError, match="ended before the clean end"):
        connection.peer.read_to_end()


def test_a_pipe_has_a_size(connection: MemoryConnection) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        MemoryConnection(capacity_bytes=0)
    while True:
        try:
            connection.write_chunk(b"x" * 1000)
        except BufferFull:
            break
    taken = 0
    while connection.queued_bytes:
        taken += len(connection.peer.read(512))
        connection.flush()
    assert taken > 0


def test_a_thread_that_reads_waits_for_what_comes(connection: MemoryConnection) -> None:
    seen: list[str] = []
    reader = threading.Thread(
        target=lambda: seen.extend(event.data for event in connection.peer.read_events(3))
    )
    reader.start()
    for number in range(3):
        connection.send_event(SSEEvent(str(number)))
    reader.join(DEADLINE_S)
    assert seen == ["0", "1", "2"]


async def test_a_task_that_waits_for_room_is_woken_by_a_reading_thread(
    connection: MemoryConnection,
) -> None:
    connection.send_event(SSEEvent("x" * 100_000))
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.drain)
            await trio.testing.wait_all_tasks_blocked()
            event = await trio.to_thread.run_sync(connection.peer.read_event)
    assert len(event.data) == 100_000
    await connection.wait_writable()
    connection.close()
    with pytest.raises(ConnectionClosed):
        await connection.wait_writable()


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_peer_that_leaves_is_told_at_the_next_send(
    connection: MemoryConnection, how: str
) -> None:
    assert connection.is_alive()
    getattr(connection.peer, how)()
    assert not connection.is_alive()
    with pytest.raises(ConnectionClosed):
        connection.send_event(SSEEvent("x"))


def test_raw_bytes_can_be_read_too() -> None:
    connection = MemoryConnection(deadline_s=0.01)
    connection.begin_stream(HEAD, chunked=True)
    connection.write_chunk(b"data")
    assert connection.peer.read() == HEAD
    connection.flush()
    assert connection.peer.read(3) == b"4\r\n"
    connection.close()
    assert connection.peer.read() == b"data\r\n0\r\n\r\n"
    assert connection.peer.read() == b""
    with pytest.raises(AssertionError, match="nothing was sent within"):
        MemoryConnection(deadline_s=0.01).peer.read()
