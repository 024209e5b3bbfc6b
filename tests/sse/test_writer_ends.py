"""Writers at the end: leaving the block, errors, clients that left, ends by others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
import trio.testing

from h3py import (
    AsyncSSEWriter,
    CloseReason,
    ConnectionLost,
    WriterClosed,
)
from h3py.testing import SoloStream, memory_stream
from tests.sse.support import LAST, fill, in_thread
from tests.support.wait import DEADLINE_S, wait_until

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
