"""``SoloStream``: code that writes to a stream, tested without a server."""

from __future__ import annotations

import threading

import pytest
import trio

from h3py import AsyncSSEWriter, CloseReason, ConnectionLost, SSEWriter, TrioConnection
from h3py.testing import SoloStream, memory_stream, socket_pair, thread_stream
from tests.support.wait import DEADLINE_S, trio_wait_until, wait_until


async def count(writer: AsyncSSEWriter) -> None:
    for number in range(3):
        await writer.send_event(str(number))


async def test_code_of_a_task() -> None:
    solo = memory_stream(last_event_id="5")
    async with solo.start as writer:
        assert writer.last_event_id == "5"
        await count(writer)
    assert [event.data for event in solo.peer.read_to_end()] == ["0", "1", "2"]
    assert solo.close_reasons == [CloseReason.HANDLER_DONE]


def test_code_of_a_thread() -> None:
    solo = thread_stream(last_event_id="5")
    with solo.start as writer:
        assert writer.last_event_id == "5"
        for number in range(3):
            writer.send_event(str(number))
    assert [event.data for event in solo.peer.read_to_end()] == ["0", "1", "2"]
    assert solo.close_reasons == [CloseReason.HANDLER_DONE]
    solo.peer.close()


async def test_what_others_end_cancels_the_code_inside_the_scope() -> None:
    solo = memory_stream()
    with trio.fail_after(DEADLINE_S), solo.scope:
        async with solo.start as writer:
            await count(writer)
            threading.Thread(target=solo.stream.end, args=(CloseReason.KICKED,)).start()
            await trio.sleep_forever()
    assert solo.scope.cancelled_caught
    assert solo.close_reasons == [CloseReason.KICKED]


async def test_over_sockets_too() -> None:
    solo = SoloStream(socket_pair(TrioConnection))
    async with solo.start as writer:
        await count(writer)
    assert len(solo.peer.read_to_end()) == 3
    solo.peer.close()


async def test_parked_it_is_written_from_anywhere() -> None:
    solo = memory_stream()
    told: list[CloseReason] = []
    solo.start.on_close(told.append)
    solo.start.park()
    await count(AsyncSSEWriter(solo.stream))
    await trio.to_thread.run_sync(SSEWriter(solo.stream).send_event, "3")
    assert [event.data for event in solo.peer.read_events(4)] == ["0", "1", "2", "3"]
    assert not solo.start.closed
    solo.peer.close()
    with pytest.raises(ConnectionLost):
        solo.start.send_event_nowait("lost")
    await trio_wait_until(lambda: solo.close_reasons)
    assert told == solo.close_reasons == [CloseReason.CLIENT_CLOSED]


def test_parked_the_end_is_told_once_whoever_asks_for_it() -> None:
    solo = thread_stream()
    solo.start.park()
    assert solo.stream.end(CloseReason.KICKED)
    assert not solo.stream.end(CloseReason.SLOW)
    wait_until(lambda: solo.close_reasons)
    assert solo.close_reasons == [CloseReason.KICKED]
    solo.peer.close()


def test_its_clock_is_in_the_tests_hand() -> None:
    solo = thread_stream()
    assert solo.stream.opened_at == solo.clock() == solo.now()
    solo.clock.advance(5)
    assert solo.now() == solo.stream.opened_at + 5
    solo.start.close()
    solo.peer.close()
