"""Writers: what a handler holds. Three of them share everything but waiting.

Streams stand alone here (``SoloStream``): in memory for tasks, over a pair of
sockets for threads, whose sends really wait. A client that reads nothing is one
that is behind; nothing is timed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
import trio
import trio.testing

from h3py import (
    AsyncSSEWriter,
    BackpressureDetected,
    CloseReason,
    EventTooLarge,
    SSEEvent,
    SSEWriter,
    WriterBusy,
    WriterClosed,
)
from h3py.sse.operations import to_event
from h3py.testing import SoloStream, memory_stream
from tests.sse.support import LAST, fill, in_thread
from tests.support.wait import DEADLINE_S, trio_wait_until, wait_until

# -- what is sent ----------------------------------------------------------------


def test_text_and_bytes_are_data() -> None:
    assert to_event("text") == SSEEvent("text")
    assert to_event("ü".encode()) == SSEEvent("ü")
    event = SSEEvent("x", event="y")
    assert to_event(event) is event
    with pytest.raises(TypeError, match="SSEEvent, str or bytes, not dict"):
        to_event({})  # type: ignore[arg-type]


def test_a_thread_writes(threaded: Callable[..., SoloStream]) -> None:
    solo = threaded(last_event_id=None)
    with solo.start as writer:
        assert isinstance(writer, SSEWriter)
        writer.send_event("one")
        writer.send_event(b"two")
        writer.send_event(SSEEvent("three", id="3"))
        writer.send_comment("c")
        writer.send_event_nowait("four")
        assert writer.event_count == 4
        assert not writer.closed
    assert writer.closed
    assert writer.close_reason is CloseReason.HANDLER_DONE
    assert [event.data for event in solo.peer.read_to_end()] == ["one", "two", "three", "four"]
    assert b": c\n\n" in solo.peer.received.raw
    assert solo.close_reasons == [CloseReason.HANDLER_DONE]


async def test_a_task_writes() -> None:
    solo = memory_stream(last_event_id="7")
    async with solo.start as writer:
        assert isinstance(writer, AsyncSSEWriter)
        await writer.send_event("one")
        await writer.send_event(b"two")
        await writer.send_event(SSEEvent("three", id="3"))
        writer.send_comment("c")
        writer.send_event_nowait("four")
        assert (writer.event_count, writer.last_event_id) == (4, "7")
    assert writer.close_reason is CloseReason.HANDLER_DONE
    assert [event.data for event in solo.peer.read_to_end()] == ["one", "two", "three", "four"]
    assert b": c\n\n" in solo.peer.received.raw
    assert solo.close_reasons == [CloseReason.HANDLER_DONE]


EVENTS = [SSEEvent(str(number) * 100) for number in range(1000)]
DATA = [str(number) * 100 for number in range(1000)]


@pytest.mark.parametrize("collection", [list, tuple, iter], ids=["list", "tuple", "iterator"])
def test_a_thread_sends_many(
    threaded: Callable[..., SoloStream], collection: Callable[[list[SSEEvent]], list[SSEEvent]]
) -> None:
    """More than queue and kernel hold together: the sends wait for the reader."""
    solo = threaded(max_queue_bytes=4096)

    def write() -> None:
        with solo.start as writer:
            writer.send_events(collection(EVENTS))

    result = in_thread(write)
    assert [event.data for event in solo.peer.read_to_end()] == DATA
    assert result() is None
    assert solo.stream.event_count == len(EVENTS)


@pytest.mark.parametrize("collection", ["list", "tuple", "iterator", "async"])
async def test_a_task_sends_many(collection: str) -> None:
    solo = memory_stream(max_queue_bytes=4096, capacity_bytes=4096)

    async def one_by_one() -> AsyncIterator[SSEEvent]:
        for event in EVENTS:
            yield event

    async def write() -> None:
        many = {
            "list": EVENTS, "tuple": tuple(EVENTS), "iterator": iter(EVENTS), "async": one_by_one()
        }  # fmt: skip
        for name, unused in many.items():
            if name != collection and hasattr(unused, "aclose"):
                await unused.aclose()
        async with solo.start as writer:
            await writer.send_events(many[collection])
            await writer.drain()

    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            received = await trio.to_thread.run_sync(solo.peer.read_to_end)
    assert [event.data for event in received] == DATA


# -- waiting for room --------------------------------------------------------------


def test_a_thread_waits_for_a_client_that_is_behind(
    threaded: Callable[..., SoloStream],
) -> None:
    solo = threaded(max_queue_bytes=4096)
    fill(solo.start)
    sent = solo.stream.event_count
    writer = SSEWriter(solo.stream)
    result = in_thread(lambda: writer.send_event(LAST))
    wait_until(lambda: solo.stream.blocked_since is not None)
    assert solo.stream.event_count == sent
    solo.peer.read_events(sent)
    assert result() is None
    assert solo.stream.blocked_since is None
    assert solo.stream.event_count == sent + 1
    writer.drain()
    assert solo.peer.read_event().data == LAST


async def test_a_task_waits_for_a_client_that_is_behind(
    tasked: Callable[[], SoloStream],
) -> None:
    solo = tasked()
    writer = await solo.start.__aenter__()
    fill(writer)
    sent = writer.event_count

    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.send_event, LAST)
            await trio.testing.wait_all_tasks_blocked()
            assert writer.event_count == sent
            assert solo.stream.blocked_since == solo.clock()
            await trio.to_thread.run_sync(solo.peer.read_events, sent)
    assert solo.stream.blocked_since is None
    assert writer.event_count == sent + 1
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.drain)
            last = await trio.to_thread.run_sync(solo.peer.read_event)
    assert last.data == LAST


def test_a_thread_is_refused_when_its_timeout_has_passed(
    threaded: Callable[..., SoloStream],
) -> None:
    solo = threaded(max_queue_bytes=4096, write_timeout_s=0.0)
    fill(solo.start)
    count = solo.stream.event_count
    with solo.start as writer:
        with pytest.raises(BackpressureDetected, match="untaken"):
            writer.send_event(LAST)
        with pytest.raises(BackpressureDetected):
            writer.drain(0.0)
        assert writer.event_count == count
        assert not writer.closed


def test_a_second_thread_that_would_wait_too_is_told_so(
    threaded: Callable[..., SoloStream],
) -> None:
    """Whole events of two threads may follow each other; two that wait are one too many."""
    solo = threaded(max_queue_bytes=4096)
    fill(solo.start)
    writer = SSEWriter(solo.stream)
    result = in_thread(writer.drain)
    wait_until(lambda: solo.stream.blocked_since is not None)
    with pytest.raises(WriterBusy) as busy:
        writer.send_event(LAST)
    assert isinstance(busy.value, RuntimeError)
    with pytest.raises(WriterBusy):
        writer.drain()
    solo.peer.read_events(solo.stream.event_count)
    assert result() is None
    writer.send_event("and on")
    assert solo.peer.read_event().data == "and on"


async def test_a_second_task_that_would_wait_too_is_told_so(
    tasked: Callable[[], SoloStream],
) -> None:
    solo = tasked()
    async with solo.start as writer:
        fill(writer)
        with trio.fail_after(DEADLINE_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(writer.drain)
                await trio.testing.wait_all_tasks_blocked()
                with pytest.raises(WriterBusy):
                    await writer.send_event(LAST)
                await trio.to_thread.run_sync(solo.peer.read_events, writer.event_count)
        await writer.send_event("and on")
        assert solo.peer.read_event().data == "and on"


def test_an_event_is_sent_once_whatever_waited(threaded: Callable[..., SoloStream]) -> None:
    """An event of 10 MB, whole, through a queue of 64 KiB, with nothing inside it (C7, F7)."""
    solo = threaded()
    text = "0123456789abcdef" * (10 * 1024 * 1024 // 16)

    def write() -> None:
        with solo.start as writer:
            writer.send_event("before")
            writer.send_event(text)
            writer.send_event("after")
            writer.drain()

    result = in_thread(write)
    assert [event.data for event in solo.peer.read_to_end()] == ["before", text, "after"]
    assert result() is None


async def test_a_large_event_from_a_task() -> None:
    solo = memory_stream()
    text = "0123456789abcdef" * (10 * 1024 * 1024 // 16)

    async def write() -> None:
        async with solo.start as writer:
            await writer.send_event("before")
            await writer.send_event(text)
            await writer.send_event("after")
            await writer.drain()

    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            events = await trio.to_thread.run_sync(solo.peer.read_to_end)
    assert [event.data for event in events] == ["before", text, "after"]


def test_too_large_is_too_large_on_every_way(threaded: Callable[..., SoloStream]) -> None:
    solo = threaded(max_event_bytes=1000)
    with solo.start as writer:
        for send in (
            writer.send_event,
            writer.send_event_nowait,
            lambda x: writer.send_events([x]),
        ):
            with pytest.raises(EventTooLarge):
                send("x" * 1000)
        writer.send_event("fits")
    assert [event.data for event in solo.peer.read_to_end()] == ["fits"]


# -- the loop's other tasks ------------------------------------------------------------


async def test_a_task_that_never_waits_lets_others_run() -> None:
    """A client that takes everything: the sends still yield, so that this ends at all."""
    solo = memory_stream(capacity_bytes=1 << 30)
    other_ran = False

    async def other() -> None:
        nonlocal other_ran
        other_ran = True

    with trio.fail_after(DEADLINE_S):
        async with solo.start as writer, trio.open_nursery() as nursery:
            nursery.start_soon(other)
            while not other_ran:
                await writer.send_event("x")


async def test_each_send_sees_a_cancellation() -> None:
    solo = memory_stream(capacity_bytes=1 << 30)
    with trio.CancelScope() as scope:
        async with solo.start as writer:
            await writer.send_event("one")
            scope.cancel()
            await writer.send_event("two")
            pytest.fail("the send went on although it was cancelled")
    assert scope.cancelled_caught
    assert [event.data for event in solo.peer.read_to_end()] == ["one", "two"]


# -- parked --------------------------------------------------------------------------


async def test_a_parked_stream_is_written_by_tasks_and_threads() -> None:
    solo = memory_stream(max_queue_bytes=4096, capacity_bytes=4096)
    writer = AsyncSSEWriter(solo.stream)
    await writer.send_event("driven")
    solo.start.park()
    solo.start.park()
    await writer.send_event("by a task")
    await trio.to_thread.run_sync(SSEWriter(solo.stream).send_event, "by a thread")
    await trio.to_thread.run_sync(solo.start.send_event_nowait, "without waiting")
    assert [event.data for event in solo.peer.read_events(4)] == [
        "driven", "by a task", "by a thread", "without waiting",
    ]  # fmt: skip
    await writer.drain()
    writer.close()
    await trio_wait_until(lambda: solo.close_reasons)
    assert solo.close_reasons == [CloseReason.HANDLER_DONE]
    for send in (lambda: writer.send_event("late"), writer.drain):
        with pytest.raises(WriterClosed):
            await send()


# -- looking -------------------------------------------------------------------------


def test_a_writer_tells_what_it_is(threaded: Callable[..., SoloStream]) -> None:
    solo = threaded()
    assert repr(solo.start) == "<StreamStart GET / driven, 0 events>"
    with solo.start as writer:
        writer.send_event("x")
        assert repr(writer) == "<SSEWriter GET / driven, 1 events>"
    assert repr(writer) == "<SSEWriter GET / handler_done, 1 events>"


def test_a_thread_sleeps_until_its_client_is_gone(threaded: Callable[..., SoloStream]) -> None:
    solo = threaded()
    with solo.start as writer:
        assert not writer.wait(0.0)
        slept: list[bool] = []
        result = in_thread(lambda: slept.append(writer.wait(3600.0)))
        solo.stream.end(CloseReason.CLIENT_CLOSED)
        assert result() is None
        assert slept == [True]
