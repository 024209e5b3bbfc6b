"""Middleware: the order it runs in, what its parts may answer, and what it sees of failures."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Generator
from contextvars import ContextVar
from typing import Any

import pytest
import trio
import trio.testing

from h3py.app import H3, H3Event, inline
from h3py.errors import HTTPError
from h3py.http import Response
from h3py.options import Backend
from tests.app.kit import MemoryExchange, app_with, ask, for_backend, make_request

Function = Callable[[H3Event], Any]


def surrounding(name: str, trace: list[str]) -> Function:
    def middleware(event: H3Event) -> Generator[None, Response | None, None]:
        trace.append(f"{name} in")
        event.context["trace"] = trace
        response = yield
        trace.append(f"{name} out")
        assert response is not None
        assert event.response_sent
        response.headers.append(("x-trace", name))

    return middleware


def test_middleware_runs_outside_in_and_inside_out(backend: Backend) -> None:
    trace: list[str] = []
    app = app_with(
        surrounding("plain", trace),
        inline(surrounding("inline", trace)),
        for_backend(surrounding("own", trace), backend),
        handler=lambda event: trace.append("handler"),
    )
    answer = ask(app, backend=backend)
    assert trace == [
        "plain in", "inline in", "own in", "handler", "own out", "inline out", "plain out",
    ]  # fmt: skip
    assert answer.all("x-trace") == ["own", "inline", "plain"]


@pytest.mark.parametrize("wrap", [lambda function, backend: function, for_backend])
def test_a_plain_middleware_may_answer(backend: Backend, wrap: Any) -> None:
    trace: list[str] = []

    def stop(event: H3Event) -> str:
        event.set_status(401)
        return "no"

    app = app_with(surrounding("outer", trace), wrap(stop, backend))
    answer = ask(app, backend=backend)
    assert (answer.status, answer.text) == (401, "no")
    assert trace == ["outer in", "outer out"]
    assert answer.all("x-trace") == ["outer"]


def test_a_middleware_may_record_the_answer(backend: Backend) -> None:
    app = app_with(for_backend(lambda event: event.redirect("/login"), backend))
    answer = ask(app, backend=backend)
    assert (answer.status, answer.header("location")) == (302, "/login")


def test_a_generator_may_answer_by_yielding(backend: Backend) -> None:
    seen: list[Any] = []

    def stop(event: H3Event) -> Generator[Any, Any, None]:
        response = yield {"stopped": True}
        seen.append(response.status)

    answer = ask(app_with(for_backend(stop, backend)), backend=backend)
    assert answer.json == {"stopped": True}
    assert seen == [200]


def test_a_generator_that_ends_early_goes_on_or_answers(backend: Backend) -> None:
    def go_on(event: H3Event) -> Generator[None, Any, None]:
        if event.method == "BREW":
            yield

    def answer(event: H3Event) -> Generator[None, Any, str]:
        if event.method == "BREW":
            yield
        return "answered"

    assert ask(app_with(for_backend(go_on, backend)), backend=backend).text == "fine"
    assert ask(app_with(go_on, answer), backend=backend).text == "answered"


def test_a_second_part_may_replace_the_response(backend: Backend) -> None:
    def by_return(event: H3Event) -> Generator[None, Any, Any]:
        response = yield
        return {"was": response.body.decode()}

    def by_yield(event: H3Event) -> Generator[Any, Any, None]:
        response = yield
        yield {"was": response.body.decode()}

    assert ask(app_with(by_return), backend=backend).json == {"was": "fine"}
    app = app_with(for_backend(by_yield, backend))
    assert ask(app, backend=backend).json == {"was": "fine"}


def test_giving_the_response_back_adds_nothing_twice(backend: Backend) -> None:
    def middleware(event: H3Event) -> Generator[None, Any, Any]:
        event.set_cookie("a", "1")
        event.add_header("vary", "Origin")
        response = yield
        return response

    answer = ask(app_with(middleware), backend=backend)
    assert answer.all("set-cookie") == ["a=1; Path=/; HttpOnly; SameSite=Lax"]
    assert answer.all("vary") == ["Origin"]


def test_yielding_twice_needs_a_response(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    def twice(event: H3Event) -> Generator[None, Any, None]:
        yield
        yield

    assert ask(app_with(for_backend(twice, backend)), backend=backend).status == 500
    assert "yielded twice" in caplog.text


def failing(event: H3Event) -> None:
    raise KeyError("missing")


def test_an_exception_is_raised_at_the_yield(backend: Backend) -> None:
    seen: list[str] = []

    def watch(name: str) -> Function:
        def middleware(event: H3Event) -> Generator[None, Any, None]:
            try:
                yield
            except KeyError:
                seen.append(name)
                raise

        return middleware

    handler = for_backend(failing, backend)
    app = app_with(watch("a"), for_backend(watch("b"), backend), handler=handler)
    assert ask(app, backend=backend).status == 500
    assert seen == ["b", "a"]


@pytest.mark.parametrize("how", ["return", "yield", "send"])
def test_a_middleware_may_answer_an_exception(backend: Backend, how: str) -> None:
    def rescue(event: H3Event) -> Generator[Any, Any, Any]:
        try:
            yield
        except KeyError as error:
            if how == "send":
                event.send_error(404, f"no {error}")
            elif how == "yield":
                yield Response(404, (), b"no 'missing'")
            else:
                return Response(404, (), b"no 'missing'")
        return None

    seen: list[int] = []

    def outer(event: H3Event) -> Generator[None, Any, None]:
        response = yield
        seen.append(response.status)

    handler = for_backend(failing, backend)
    middleware = rescue if how == "return" else for_backend(rescue, backend)
    answer = ask(app_with(outer, middleware, handler=handler), backend=backend)
    assert (answer.status, answer.text) == (404, "no 'missing'")
    assert seen == [404]


def test_catching_without_an_answer_is_only_looking(backend: Backend) -> None:
    def look(event: H3Event) -> Generator[None, Any, None]:
        try:
            yield
        except HTTPError:
            pass

    def handler(event: H3Event) -> None:
        raise HTTPError(418)

    app = app_with(for_backend(look, backend), handler=for_backend(handler, backend))
    assert ask(app, backend=backend).status == 418


def test_an_exception_of_a_second_part_is_seen_outside(backend: Backend) -> None:
    seen: list[str] = []

    def outer(event: H3Event) -> Generator[None, Any, None]:
        try:
            yield
        except OSError as error:
            assert not event.response_sent
            seen.append(str(error))
            raise

    def inner(event: H3Event) -> Generator[None, Any, None]:
        yield
        raise OSError("on the way out")

    app = app_with(for_backend(outer, backend), for_backend(inner, backend))
    assert ask(app, backend=backend).status == 500
    assert seen == ["on the way out"]


def test_a_middleware_may_make_one_exception_another(backend: Backend) -> None:
    def translate(event: H3Event) -> Generator[None, Any, None]:
        try:
            yield
        except KeyError:
            raise HTTPError(404) from None

    app = app_with(for_backend(translate, backend), handler=for_backend(failing, backend))
    assert ask(app, backend=backend).status == 404


@pytest.mark.parametrize("kind", ["none", "plain", "inline", "own"])
def test_an_exception_leaves_no_garbage(kind: str, backend: Backend) -> None:
    """What a request raised is gone with it, not when the collector comes by."""
    raised: list[weakref.ref[HTTPError]] = []

    def handler(event: H3Event) -> None:
        error = HTTPError(404)
        raised.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    def watch(event: H3Event) -> Generator[None, Any, None]:
        try:
            yield
        except HTTPError:
            raise

    middleware = {"none": [], "plain": [watch], "inline": [inline(watch)]}.get(
        kind, [for_backend(watch, backend)]
    )
    app = app_with(*middleware, handler=for_backend(handler, backend))
    gc.collect()
    gc.disable()
    try:
        assert ask(app, backend=backend).status == 404
        assert raised[0]() is None
    finally:
        gc.enable()


def test_setting_headers_after_the_answer_says_what_to_do(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    def late(event: H3Event) -> Generator[None, Any, None]:
        yield
        event.set_header("x-late", "1")

    assert ask(app_with(late), backend=backend).status == 500
    assert "middleware may change the Response" in caplog.text


# Cancellation.


class Interruption(BaseException):
    """Stands for what is no error: a cancellation, an interrupt."""


@pytest.mark.parametrize("kind", ["plain", "inline", "own"])
def test_middleware_cleans_up_when_the_request_is_interrupted(
    kind: str, backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []

    def watch(name: str) -> Function:
        def middleware(event: H3Event) -> Generator[None, Any, None]:
            try:
                yield
            except Interruption:
                seen.append(name)
                if name == "b":
                    raise OSError("in the clean-up") from None

        if kind == "own":
            return for_backend(middleware, backend)
        return inline(middleware) if kind == "inline" else middleware

    def handler(event: H3Event) -> None:
        raise Interruption

    app = app_with(*(watch(name) for name in "abc"), handler=for_backend(handler, backend))
    with pytest.raises(Interruption):
        ask(app, backend=backend)
    assert seen == ["c", "b", "a"]
    assert "failed in its clean-up" in caplog.text


def test_an_interruption_in_a_second_part_reaches_the_others(backend: Backend) -> None:
    seen: list[str] = []

    def outer(event: H3Event) -> Generator[None, Any, None]:
        try:
            yield
        finally:
            seen.append("outer")

    def inner(event: H3Event) -> Generator[None, Any, None]:
        yield
        raise Interruption

    with pytest.raises(Interruption):
        ask(app_with(for_backend(outer, backend), for_backend(inner, backend)), backend=backend)
    assert seen == ["outer"]


def test_middleware_is_closed_with_a_life_that_nobody_drives() -> None:
    seen: list[str] = []
    where: ContextVar[str] = ContextVar("where", default="outside the request")

    def middleware(event: H3Event) -> Generator[None, Any, None]:
        where.set("in the request")
        try:
            yield
        finally:
            seen.append(where.get())

    app = H3()
    app.use(inline(middleware))
    app.get("/", lambda event: None)
    life = app.prepare("threads").respond(make_request(), MemoryExchange())
    next(life)
    life.close()
    assert seen == ["in the request"]


def test_middleware_cleans_up_beside_a_thread_that_was_left_behind() -> None:
    """The handler still runs, in the request's context, when its request is given up."""
    seen: list[str] = []
    where: ContextVar[str] = ContextVar("where", default="outside the request")
    entered, leave = threading.Event(), threading.Event()

    def middleware(event: H3Event) -> Generator[None, Any, None]:
        where.set("in the request")
        try:
            yield
        finally:
            seen.append(where.get())

    def handler(event: H3Event) -> None:
        entered.set()
        leave.wait()

    app = app_with(inline(middleware), handler=handler)
    life = app.prepare("threads").respond(make_request(), MemoryExchange())
    step = next(life)
    thread = threading.Thread(target=step.function, args=step.args)
    thread.start()
    try:
        entered.wait()
        with pytest.raises(Interruption):
            life.throw(Interruption())
    finally:
        leave.set()
        thread.join()
    assert seen == ["in the request"]


async def test_cancelling_reaches_async_middleware() -> None:
    seen: list[str] = []
    app = H3()

    @app.use
    async def middleware(event: H3Event) -> AsyncGenerator[None, Any]:
        try:
            yield
        except trio.Cancelled:
            seen.append("cancelled")
            raise

    @app.get("/")
    async def handler(event: H3Event) -> None:
        seen.append("waiting")
        await trio.sleep_forever()

    life = app.prepare("trio").respond(make_request(), MemoryExchange())

    async def drive() -> None:
        step: Any = next(life)
        while True:
            try:
                result = await step.function(*step.args)
            except BaseException as error:
                step = life.throw(error)
            else:
                step = life.send(result)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drive)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert seen == ["waiting", "cancelled"]
