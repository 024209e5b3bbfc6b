"""One context for each request: seen by all of it, and by nothing after it.

The drivers are real: worker threads and a trio task that outlives each request,
as the task of a connection does.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Generator
from contextvars import ContextVar, copy_context
from typing import Any

import pytest
import trio
import trio.testing

from h3py.app import H3, inline
from h3py.app.context import await_in, call_in, renew, run_async, run_in, side_context
from h3py.app.event import H3Event
from h3py.options import Backend
from tests.app.kit import Talk, ask, for_backend, make_event, make_request, recorded_streams

var: ContextVar[str] = ContextVar("var", default="unset")


def add(text: str) -> None:
    var.set(f"{var.get()} {text}")


def middleware_kinds() -> dict[str, Callable[[Backend], Callable[[H3Event], Any]]]:
    def plain(event: H3Event) -> None:
        add("middleware")

    def generator(event: H3Event) -> Generator[None, Any, None]:
        add("middleware")
        yield

    return {
        "plain": lambda backend: plain,
        "inline": lambda backend: inline(lambda event: add("middleware")),
        "generator": lambda backend: generator,
        "own": lambda backend: for_backend(plain, backend),
        "own generator": lambda backend: for_backend(generator, backend),
    }


@pytest.mark.parametrize("handler", ["plain", "inline", "own"])
@pytest.mark.parametrize("middleware", middleware_kinds())
def test_variables_reach_every_piece_and_not_the_next_request(
    backend: Backend, middleware: str, handler: str
) -> None:
    def read(event: H3Event) -> str:
        add("handler")
        return var.get()

    app = H3()
    seen: list[str] = []

    @app.use
    @inline
    def first(event: H3Event) -> Generator[None, Any, None]:
        add("first")
        yield
        seen.append(var.get())

    app.use(middleware_kinds()[middleware](backend))
    if handler == "own":
        app.get("/", for_backend(read, backend))
    else:
        app.get("/", inline(read) if handler == "inline" else read)

    answers = Talk(app, backend).run([make_request(), make_request()])
    assert [answer.text for answer in answers] == ["unset first middleware handler"] * 2
    assert seen == ["unset first middleware handler"] * 2
    assert var.get() == "unset"


def test_variables_of_a_bare_handler_do_not_reach_the_next_request(backend: Backend) -> None:
    def read(event: H3Event) -> str:
        before = var.get()
        var.set("changed")
        return before

    app = H3()
    app.get("/", for_backend(read, backend))
    answers = Talk(app, backend).run([make_request(), make_request()])
    assert [answer.text for answer in answers] == ["unset", "unset"]


def test_variables_reach_what_is_streamed(backend: Backend, monkeypatch: Any) -> None:
    app = H3()

    @app.use
    def set_variable(event: H3Event) -> None:
        var.set("seen")

    @app.get("/")
    def stream(event: H3Event) -> Generator[str, None, None]:
        yield var.get()

    with recorded_streams(monkeypatch) as streams:
        ask(app, backend=backend)
    event, generator = streams[0]
    assert run_in(event, next, generator) == "seen"
    step = call_in(event, var.get)
    assert step.function(*step.args) == "seen"
    assert side_context(event).run(var.get) == "seen"


def test_variables_set_before_serving_are_seen(backend: Backend) -> None:
    app = H3()
    app.get("/", for_backend(lambda event: var.get(), backend))
    assert (
        copy_context().run(lambda: (var.set("base"), ask(app, backend=backend).text)[1]) == "base"
    )


async def in_other_context(function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    """`run_async` in a fresh copy of this task's context."""
    return await run_async(copy_context(), function, *args)


async def test_a_coroutine_keeps_its_context_over_suspensions() -> None:
    async def coroutine() -> list[str]:
        var.set("mine")
        await trio.lowlevel.checkpoint()
        first = var.get()
        var.set("mine still")
        with trio.CancelScope() as scope:
            scope.cancel()
            await trio.sleep_forever()
        return [first, var.get()]

    assert await in_other_context(coroutine) == ["mine", "mine still"]
    assert var.get() == "unset"


async def test_the_task_is_in_its_own_context_while_a_coroutine_waits() -> None:
    """A worker thread can enter the request's context while its task waits."""
    event = make_event()
    step = await_in(event, trio.to_thread.run_sync, run_in, event, var.set, "by the thread")
    await step.function(*step.args)
    assert run_in(event, var.get) == "by the thread"


async def test_tasks_and_threads_inherit_the_context() -> None:
    seen: list[str] = []

    async def child() -> None:
        seen.append(var.get())

    async def coroutine() -> None:
        var.set("parent's")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
        seen.append(await trio.to_thread.run_sync(var.get))

    await in_other_context(coroutine)
    assert seen == ["parent's", "parent's"]


async def test_what_a_thread_has_set_is_seen_by_what_it_runs_in_the_task() -> None:
    async def read() -> str:
        value = var.get()
        await trio.lowlevel.checkpoint()
        assert var.get() == value
        var.set("not for the others")
        return value

    def thread() -> str:
        var.set("thread")
        return trio.from_thread.run(read)

    async def coroutine() -> tuple[str, str]:
        var.set("request")
        await trio.lowlevel.checkpoint()
        return await trio.to_thread.run_sync(thread), var.get()

    assert await in_other_context(coroutine) == ("thread", "request")
    assert var.get() == "unset"


async def test_errors_go_in_and_out() -> None:
    async def fails() -> None:
        await trio.lowlevel.checkpoint()
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await in_other_context(fails)

    async def sees_cancellation() -> None:
        try:
            await trio.sleep_forever()
        finally:
            var.set("cleaning up")

    context = copy_context()
    with trio.CancelScope() as scope:
        scope.cancel()
        await run_async(context, sees_cancellation)
    assert scope.cancelled_caught
    assert context.run(var.get) == "cleaning up"


async def test_a_stream_of_a_generator_is_awaited_item_by_item() -> None:
    async def items() -> Any:
        var.set("first")
        yield var.get()
        await trio.lowlevel.checkpoint()
        yield var.get()

    generator = items()
    event = make_event()
    for _ in range(2):
        step = await_in(event, generator.__anext__)
        assert await step.function(*step.args) == "first"
    step = await_in(event, generator.__anext__)
    with pytest.raises(StopAsyncIteration):
        await step.function(*step.args)


async def test_any_awaitable_will_do() -> None:
    class Later:
        def __await__(self) -> Any:
            checkpoint = trio.lowlevel.checkpoint
            yield from checkpoint().__await__()
            return var.get()

    assert await in_other_context(Later) == "unset"
    with pytest.raises(TypeError, match="await"):
        await in_other_context(lambda: 1)  # type: ignore[arg-type, return-value]  # on purpose


def test_a_coroutine_that_nobody_finishes_is_closed_in_its_context() -> None:
    seen: list[str] = []

    async def coroutine() -> None:
        var.set("mine")
        try:
            await trio.lowlevel.cancel_shielded_checkpoint()
        finally:
            seen.append(var.get())

    driven = run_async(copy_context(), coroutine)
    driven.send(None)
    driven.close()
    assert seen == ["mine"]


def test_an_abandoned_thread_does_not_lock_the_request_out() -> None:
    event = make_event()
    run_in(event, var.set, "before")
    entered, leave = threading.Event(), threading.Event()

    def piece() -> None:
        entered.set()
        leave.wait()

    thread = threading.Thread(target=run_in, args=(event, piece))
    thread.start()
    try:
        entered.wait()
        with pytest.raises(RuntimeError, match="already entered"):
            run_in(event, var.get)
        renew(event)
        assert run_in(event, var.get) == "before"
    finally:
        leave.set()
        thread.join()
