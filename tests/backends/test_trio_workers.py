"""The worker slots of the trio backend, apart from any connection."""

from __future__ import annotations

import threading

import pytest
import trio

from h3py import ConnectionLost, HTTPError, ServeOptions
from h3py.backends.trio_workers import Workers, WorkerSlot
from tests.support.wait import DEADLINE_S, trio_wait_until


def make_workers(**options: float) -> Workers:
    return Workers(ServeOptions(**options), trio.lowlevel.current_trio_token())  # type: ignore[arg-type]


async def test_what_a_thread_returns_or_raises_comes_back() -> None:
    workers = make_workers()
    slot = WorkerSlot(workers)
    assert await workers.run(slot, lambda *args: (threading.get_ident(), *args), (1, 2)) != (
        threading.get_ident(), 1, 2,
    )  # fmt: skip
    with pytest.raises(ZeroDivisionError):
        await workers.run(WorkerSlot(workers), lambda: 1 // 0, ())
    assert workers.requests.borrowed_tokens == 0


async def test_one_more_than_there_are_slots_waits_for_one() -> None:
    workers = make_workers(workers=2, worker_wait_s=3600.0)
    let_go = threading.Event()
    held: list[int] = []
    done: list[int] = []

    async def hold(number: int) -> None:
        def wait() -> None:
            held.append(number)
            assert let_go.wait(DEADLINE_S)

        await workers.run(WorkerSlot(workers), wait, ())
        done.append(number)

    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(hold, number)
            await trio_wait_until(
                lambda: workers.requests.statistics().tasks_waiting == 1 and len(held) == 2
            )
            let_go.set()
    assert sorted(done) == [0, 1, 2]


async def test_waiting_too_long_is_refused() -> None:
    workers = make_workers(workers=1, worker_wait_s=0.0, retry_after_s=7)
    let_go = threading.Event()
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(workers.run, WorkerSlot(workers), let_go.wait, ())
            await trio_wait_until(lambda: workers.requests.borrowed_tokens == 1)
            with pytest.raises(HTTPError) as refused:
                await workers.run(WorkerSlot(workers), lambda: None, ())
            assert (refused.value.status, refused.value.headers) == (503, {"retry-after": "7"})
            let_go.set()
    assert workers.requests.borrowed_tokens == 0


async def test_a_thread_that_streams_frees_its_slot_and_is_counted() -> None:
    workers = make_workers(workers=1, max_sync_streams=1)
    let_go, streams = threading.Event(), threading.Event()
    slot = WorkerSlot(workers)

    def stream() -> None:
        slot.move_to_streams()
        slot.move_to_streams()
        streams.set()
        assert let_go.wait(DEADLINE_S)

    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(workers.run, slot, stream, ())
            await trio_wait_until(lambda: streams.is_set() and not workers.requests.borrowed_tokens)
            assert workers.streams == 1
            assert await workers.run(WorkerSlot(workers), lambda: "beside it", ()) == "beside it"
            second = WorkerSlot(workers)
            with pytest.raises(HTTPError) as refused:
                await workers.run(second, second.move_to_streams, ())
            assert refused.value.status == 503
            let_go.set()
    assert workers.streams == 0
    assert workers.requests.borrowed_tokens == 0


async def test_a_cancelled_task_waits_for_its_thread_unless_the_server_ends() -> None:
    """The thread may be using what the task owns."""
    workers = make_workers()
    let_go, began = threading.Event(), threading.Event()
    ended: list[str] = []

    def work() -> None:
        began.set()
        assert let_go.wait(DEADLINE_S)
        ended.append("thread")

    async def run(scope: trio.CancelScope) -> None:
        with scope:
            await workers.run(WorkerSlot(workers), work, ())
        ended.append("task")

    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()
            nursery.start_soon(run, scope)
            await trio_wait_until(began.is_set)
            scope.cancel()
            await trio.lowlevel.checkpoint()
            assert ended == []
            let_go.set()
    assert ended == ["thread", "task"]


async def test_abandoned_a_task_ends_and_its_thread_is_left_behind() -> None:
    workers = make_workers()
    let_go, began = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        assert let_go.wait(DEADLINE_S)

    async def run() -> None:
        with pytest.raises(ConnectionLost, match="the server has stopped"):
            await workers.run(WorkerSlot(workers), work, ())

    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await trio_wait_until(began.is_set)
            workers.abandon()
    assert not let_go.is_set()
    let_go.set()
    await trio_wait_until(lambda: workers.requests.borrowed_tokens == 0)
