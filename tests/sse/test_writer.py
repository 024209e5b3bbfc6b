"""Writers: what a handler holds. Three of them share everything but waiting.

Streams stand alone here (``SoloStream``): in memory for tasks, over a pair of
sockets for threads, whose sends really wait. A client that reads nothing is one
that is behind; nothing is timed.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import trio
import trio.testing

from h3py import (
    AsyncSSEWriter,
    BackpressureDetected,
    CloseReason,
    ConnectionLost,
    EventTooLarge,
    SSEEvent,
    SSEWriter,
    TrioConnection,
    WriterBusy,
    WriterClosed,
)
from h3py.sse.operations import StreamOperations, to_event
from h3py.testing import SoloStream, memory_stream, socket_pair, thread_stream
from tests.support.wait import DEADLINE_S, trio_wait_until, wait_until


@pytest.fixture
def threaded() -> Iterator[Callable[..., SoloStream]]:
    made: list[SoloStream] = []

    def make(**options: float) -> SoloStream:
        made.append(thread_stream(**options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for solo in made:
        solo.stream.finish(CloseReason.HANDLER_DONE)
        solo.peer.close()
        solo.connection.close()


def fill(stream: StreamOperations) -> None:
    def send_much() -> None:
        for _ in range(100_000):
            stream.send_event_nowait("x" * 1000)

    with pytest.raises(BackpressureDetected):
        send_much()


@pytest.fixture(params=["memory", "sockets"])
def tasked(request: pytest.FixtureRequest) -> Iterator[Callable[[], SoloStream]]:
    """Makes a stream for a task, with a small queue; called inside the loop."""
    made: list[SoloStream] = []

    def make() -> SoloStream:
        if request.param == "memory":
            made.append(memory_stream(max_queue_bytes=4096, capacity_bytes=4096))
        else:
            made.append(SoloStream(socket_pair(TrioConnection, max_queue_bytes=4096)))
        return made[-1]

    yield make
    for solo in made:
        solo.peer.close()
        solo.connection.abort()


LAST = "x" * 4000
"""An event for which a full queue has no room."""


def in_thread(function: Callable[[], object]) -> Callable[[], BaseException | None]:
    """Run in a thread; what is returned waits for its end and gives what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def result() -> BaseException | None:
        thread.join(DEADLINE_S)
        assert not thread.is_alive(), "it never ended"
        return raised[0] if raised else None

    return result


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


# -- the end -------------------------------------------------------------------------


def test_an_error_in_the_block_ends_the_stream_as_one(threaded: Callable[..., SoloStream]) -> None:
    solo = threaded()

    def write() -> None:
        with solo.start as writer:
            writer.send_event("before")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert solo.close_reasons == [CloseReason.ERROR]
    assert [event.data for event in solo.peer.read_to_end()] == ["before"]


async def test_an_error_in_the_block_of_a_task() -> None:
    solo = memory_stream()
    with pytest.raises(ZeroDivisionError):
        async with solo.start:
            raise ZeroDivisionError
    assert solo.close_reasons == [CloseReason.ERROR]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_leaving_the_program_is_no_error_of_the_streams(
    threaded: Callable[..., SoloStream], error: type[BaseException]
) -> None:
    solo = threaded()
    with pytest.raises(error), solo.start:
        raise error
    assert solo.close_reasons == [CloseReason.HANDLER_DONE]


def test_after_close_nothing_can_be_sent(threaded: Callable[..., SoloStream]) -> None:
    solo = threaded()
    with solo.start as writer:
        writer.close()
        writer.close()
        assert writer.closed
        for send in (
            lambda: writer.send_event("x"),
            lambda: writer.send_events(["x"]),
            lambda: writer.send_event_nowait("x"),
            writer.send_comment,
            writer.drain,
            writer.park,
        ):
            with pytest.raises(WriterClosed):
                send()
        assert writer.wait(0.0)
    assert solo.close_reasons == [CloseReason.HANDLER_DONE]


async def test_after_close_nothing_can_be_sent_by_a_task() -> None:
    solo = memory_stream()
    async with solo.start as writer:
        writer.close()
        writer.close()
        for send in (
            lambda: writer.send_event("x"),
            lambda: writer.send_events(["x"]),
            writer.drain,
        ):
            with pytest.raises(WriterClosed):
                await send()
        for send_now in (lambda: writer.send_event_nowait("x"), writer.send_comment, writer.park):
            with pytest.raises(WriterClosed):
                send_now()
        assert await writer.wait(0.0)
    assert solo.close_reasons == [CloseReason.HANDLER_DONE]


def test_a_thread_that_waits_for_room_learns_that_its_client_left(
    threaded: Callable[..., SoloStream],
) -> None:
    solo = threaded(max_queue_bytes=4096)
    fill(solo.start)

    def write() -> None:
        with solo.start as writer:
            while True:
                writer.send_event("x" * 1000)

    result = in_thread(write)
    wait_until(lambda: solo.stream.blocked_since is not None)
    solo.peer.close()
    error = result()
    assert isinstance(error, ConnectionLost)
    assert error.reason is CloseReason.CLIENT_CLOSED
    assert solo.close_reasons == [CloseReason.CLIENT_CLOSED]


@pytest.mark.parametrize("reason", [CloseReason.SHUTDOWN, CloseReason.SLOW, CloseReason.KICKED])
def test_a_thread_that_waits_for_room_learns_of_any_end(
    threaded: Callable[..., SoloStream], reason: CloseReason
) -> None:
    solo = threaded(max_queue_bytes=4096, write_timeout_s=3600.0)
    fill(solo.start)

    def write() -> None:
        with solo.start as writer:
            writer.send_event(LAST)

    result = in_thread(write)
    wait_until(lambda: solo.stream.blocked_since is not None)
    assert solo.stream.end(reason)
    error = result()
    assert isinstance(error, ConnectionLost)
    assert error.reason is reason
    assert solo.close_reasons == [reason]


async def test_a_task_that_waits_for_room_learns_that_its_client_left(
    tasked: Callable[[], SoloStream],
) -> None:
    solo = tasked()
    errors: list[ConnectionLost] = []

    async def write() -> None:
        async with solo.start as writer:
            fill(writer)
            try:
                await writer.send_event(LAST)
            except ConnectionLost as error:
                errors.append(error)

    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await trio.testing.wait_all_tasks_blocked()
            solo.peer.close()
    assert [error.reason for error in errors] == [CloseReason.CLIENT_CLOSED]
    assert solo.close_reasons == [CloseReason.CLIENT_CLOSED]


async def test_a_task_that_is_ended_by_others_is_cancelled() -> None:
    solo = memory_stream()
    cleaned_up = False
    with trio.fail_after(DEADLINE_S), solo.scope:
        async with solo.start as writer:
            try:
                await writer.send_event("one")
                await trio.to_thread.run_sync(solo.stream.end, CloseReason.KICKED)
                await trio.sleep_forever()
            finally:
                cleaned_up = True
    assert solo.scope.cancelled_caught
    assert cleaned_up
    assert solo.close_reasons == [CloseReason.KICKED]


async def test_a_task_that_swallows_its_end_cannot_spin() -> None:
    """Every send after the end is a checkpoint, so the cancellation arrives."""
    solo = memory_stream()
    tries = 0
    with trio.fail_after(DEADLINE_S), solo.scope:
        async with solo.start as writer:
            solo.peer.close()
            while True:
                try:
                    await writer.send_event("x" * 10_000)
                except ConnectionLost:
                    tries += 1
    assert solo.scope.cancelled_caught
    assert tries >= 1
    assert solo.close_reasons == [CloseReason.CLIENT_CLOSED]


async def test_closing_from_another_task_ends_a_send_that_waits(
    tasked: Callable[[], SoloStream],
) -> None:
    solo = tasked()
    errors: list[BaseException] = []

    async def send(writer: AsyncSSEWriter) -> None:
        try:
            await writer.send_event(LAST)
        except WriterClosed as error:
            errors.append(error)

    with trio.fail_after(DEADLINE_S):
        async with solo.start as writer:
            fill(writer)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send, writer)
                await trio.testing.wait_all_tasks_blocked()
                writer.close()
    assert [type(error) for error in errors] == [WriterClosed]
    assert solo.close_reasons == [CloseReason.HANDLER_DONE]


async def test_with_on_the_loop_is_refused_and_names_the_way() -> None:
    solo = memory_stream()
    with pytest.raises(RuntimeError, match="async with"):
        solo.start.__enter__()
    assert not solo.start.closed
    solo.start.close()


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
