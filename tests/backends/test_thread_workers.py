"""The worker threads of the threads backend, apart from any connection."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator

import pytest

from h3py import HTTPError, ServeOptions
from h3py.backends.thread_workers import WorkerPool
from h3py.http import Request
from h3py.testing import ManualClock
from tests.support.wait import DEADLINE_S, wait_until


class Work:
    """Stands where a connection would: what a worker is to do, and a note that it was done."""

    def __init__(self, do: Callable[[], None] = lambda: None) -> None:
        self.do = do
        self.done = threading.Event()
        self.thread: int | None = None

    def answer_all(self, requests: list[Request]) -> None:
        self.thread = threading.get_ident()
        try:
            self.do()
        finally:
            self.done.set()


class Held(Work):
    """Work that goes on until it is let go."""

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self.let_go = threading.Event()
        self.began = threading.Event()

        def hold() -> None:
            before()
            self.began.set()
            assert self.let_go.wait(DEADLINE_S)

        super().__init__(hold)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def make_pool(clock: ManualClock) -> Iterator[Callable[..., WorkerPool]]:
    pools: list[WorkerPool] = []
    others = set(threading.enumerate())

    def make(**options: float) -> WorkerPool:
        def wake() -> None:
            pool.start_wanted()  # what the thread that reads does once it is woken

        pool = WorkerPool(ServeOptions(**options), clock, wake)  # type: ignore[arg-type]
        pools.append(pool)
        return pool

    yield make
    for pool in pools:
        pool.stop()
    wait_until(
        lambda: (
            not any(thread.name == "h3py-worker" for thread in {*threading.enumerate()} - others)
        ),
        what="the workers have ended",
    )


def test_a_worker_is_a_thread_as_any_other(make_pool: Callable[..., WorkerPool]) -> None:
    """For whoever lists threads, logs their names or waits for their end."""
    pool, seen = make_pool(), []
    work = Held(lambda: seen.append(threading.current_thread()))
    pool.submit(work, [])
    assert work.began.wait(DEADLINE_S)
    (worker,) = seen
    assert worker in threading.enumerate()
    assert (worker.name, worker.daemon, worker.is_alive()) == ("h3py-worker", True, True)
    assert repr(worker).startswith("<Thread(h3py-worker, started daemon ")
    work.let_go.set()
    pool.stop()
    worker.join(DEADLINE_S)
    assert not worker.is_alive()
    assert worker not in threading.enumerate()


def test_a_free_worker_is_used_again(make_pool: Callable[..., WorkerPool]) -> None:
    pool = make_pool(workers=4)
    assert pool.free == 4
    threads = set()
    for _ in range(20):
        work = Work()
        pool.submit(work, [])
        assert work.done.wait(DEADLINE_S)
        threads.add(work.thread)
        wait_until(lambda: pool.free == 4)
    assert len(threads) == 1


def test_as_many_at_once_as_there_are_workers_and_the_rest_in_order(
    make_pool: Callable[..., WorkerPool],
) -> None:
    pool = make_pool(workers=3)
    held = [Held() for _ in range(3)]
    for work in held:
        pool.submit(work, [])
    assert all(work.began.wait(DEADLINE_S) for work in held)
    assert pool.free == 0
    order: list[int] = []
    waiting = [Work(lambda number=number: order.append(number)) for number in range(5)]
    for work in waiting:
        pool.submit(work, [])
    held[0].let_go.set()
    assert all(work.done.wait(DEADLINE_S) for work in waiting)
    assert order == [0, 1, 2, 3, 4]
    assert {work.thread for work in waiting} == {held[0].thread}
    for work in held:
        work.let_go.set()


def test_a_worker_survives_what_it_runs(
    make_pool: Callable[..., WorkerPool], caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise LookupError("on purpose")

    pool = make_pool(workers=1)
    for work in (Work(fail), Work()):
        pool.submit(work, [])
        assert work.done.wait(DEADLINE_S)
    assert "on purpose" in caplog.text


def test_a_worker_that_streams_has_left(make_pool: Callable[..., WorkerPool]) -> None:
    """Its place is taken by another, also where requests wait already."""
    pool = make_pool(workers=1, max_sync_streams=2)
    streams = [Held(pool.leave_for_stream) for _ in range(2)]
    for stream in streams:
        pool.submit(stream, [])
    assert all(stream.began.wait(DEADLINE_S) for stream in streams)
    assert pool.free == 1
    work = Work()
    pool.submit(work, [])
    assert work.done.wait(DEADLINE_S)
    assert pool.streaming == 2
    for stream in streams:
        stream.let_go.set()
    wait_until(lambda: pool.streaming == 0)
    held = [Held(), Held()]
    for item in held:
        pool.submit(item, [])
    assert held[0].began.wait(DEADLINE_S)
    assert not held[1].began.is_set(), "one worker, whatever streamed before"
    for item in held:
        item.let_go.set()


def test_one_stream_too_many_is_refused_and_keeps_its_place(
    make_pool: Callable[..., WorkerPool],
) -> None:
    pool = make_pool(workers=2, max_sync_streams=1, retry_after_s=7)
    stream = Held(pool.leave_for_stream)
    pool.submit(stream, [])
    assert stream.began.wait(DEADLINE_S)
    told: list[HTTPError] = []

    def try_to_stream() -> None:
        try:
            pool.leave_for_stream()
        except HTTPError as error:
            told.append(error)

    refused = Work(try_to_stream)
    pool.submit(refused, [])
    assert refused.done.wait(DEADLINE_S)
    assert [(error.status, error.headers) for error in told] == [(503, {"retry-after": "7"})]
    stream.let_go.set()
    wait_until(lambda: pool.streaming == 0)
    assert pool.free == 2


def test_leaving_twice_is_leaving_once(make_pool: Callable[..., WorkerPool]) -> None:
    def leave_twice() -> None:
        pool.leave_for_stream()
        pool.leave_for_stream()

    pool = make_pool(workers=1, max_sync_streams=1)
    for _ in range(3):
        stream = Held(leave_twice)
        pool.submit(stream, [])
        assert stream.began.wait(DEADLINE_S)
        assert pool.streaming == 1
        stream.let_go.set()
        wait_until(lambda: pool.streaming == 0)
    assert pool.free == 1


def test_what_has_waited_too_long_is_given_back(
    make_pool: Callable[..., WorkerPool], clock: ManualClock
) -> None:
    pool = make_pool(workers=1, worker_wait_s=5.0)
    held = Held()
    pool.submit(held, [])
    assert held.began.wait(DEADLINE_S)
    early, late = Work(), Work()
    pool.submit(early, [])
    clock.advance(3.0)
    pool.submit(late, [])
    assert pool.overdue() == []
    clock.advance(2.0)
    assert [job.connection for job in pool.overdue()] == [early]
    assert pool.overdue() == []
    clock.advance(2.9)
    assert pool.overdue() == []
    held.let_go.set()
    assert late.done.wait(DEADLINE_S)
    assert not early.done.is_set()


def test_workers_do_not_inherit_whose_request_started_them(
    make_pool: Callable[..., WorkerPool],
) -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    seen: list[str] = []
    pool = make_pool(workers=1)

    def submit() -> None:
        variable.set("of a request")
        work = Work(lambda: seen.append(variable.get()))
        pool.submit(work, [])
        assert work.done.wait(DEADLINE_S)

    contextvars.copy_context().run(submit)
    assert seen == ["unset"]


def test_stopping_ends_idle_workers_now_and_busy_ones_later(
    make_pool: Callable[..., WorkerPool],
) -> None:
    pool = make_pool(workers=2)
    held, stream = Held(), Held(pool.leave_for_stream)
    pool.submit(held, [])
    pool.submit(stream, [])
    assert held.began.wait(DEADLINE_S)
    assert stream.began.wait(DEADLINE_S)
    pool.stop()
    held.let_go.set()
    stream.let_go.set()
