"""The life of a request: handlers, errors, and where a stream begins."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import pytest
import trio

from h3py.app import H3, H3Event, inline
from h3py.errors import HTTPError, RequestError
from h3py.http import Response
from h3py.options import Backend
from tests.app.kit import (
    Answer,
    Begun,
    MemoryExchange,
    app_with,
    ask,
    for_backend,
    make_request,
    recorded_streams,
)

Function = Callable[[H3Event], Any]


def serve_one(handler: Function, backend: Backend, **options: Any) -> Answer:
    app = H3()
    app.get("/", handler)
    return ask(app, backend=backend, **options)


@pytest.mark.parametrize("kind", ["plain", "inline", "own"])
def test_every_kind_of_handler_answers(backend: Backend, kind: str) -> None:
    def handler(event: H3Event) -> dict[str, str]:
        event.set_status(201)
        return {"method": event.method}

    made = inline(handler) if kind == "inline" else handler
    answer = serve_one(for_backend(made, backend) if kind == "own" else made, backend)
    assert (answer.status, answer.json) == (201, {"method": "GET"})


def test_a_recorded_response_is_the_answer(backend: Backend) -> None:
    answer = serve_one(for_backend(lambda event: event.send_text("hi"), backend), backend)
    assert (answer.status, answer.text) == (200, "hi")


def test_recording_and_returning_is_an_error(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(event: H3Event) -> str:
        event.send_text("one")
        return "two"

    assert serve_one(for_backend(handler, backend), backend).status == 500
    assert "sent a response and returned builtins.str besides" in caplog.text


async def test_a_plain_function_may_return_a_coroutine() -> None:
    async def coroutine(event: H3Event) -> str:
        await trio.lowlevel.checkpoint()
        return "awaited"

    app = H3()

    def plain(event: H3Event) -> Any:
        return coroutine(event)

    app.get("/", plain)
    life = app.prepare("trio").respond(make_request(), MemoryExchange())
    step = next(life)
    step = life.send(step.function(*step.args))
    with pytest.raises(StopIteration) as stopped:
        life.send(await step.function(*step.args))
    assert stopped.value.value.body == b"awaited"


# Errors.


def test_http_errors_give_their_status(backend: Backend) -> None:
    def handler(event: H3Event) -> None:
        raise HTTPError(409, "taken", headers={"X-Why": "because"})

    answer = serve_one(for_backend(handler, backend), backend)
    assert (answer.status, answer.text) == (409, "taken")
    assert answer.header("x-why") == "because"


def test_the_clients_errors_end_the_connection(backend: Backend) -> None:
    def handler(event: H3Event) -> None:
        raise RequestError(408, "the body took too long")

    answer = serve_one(for_backend(handler, backend), backend)
    assert (answer.status, answer.text) == (408, "the body took too long")
    assert answer.header("connection") == "close"


def test_other_errors_are_logged_and_hidden(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(event: H3Event) -> None:
        raise ValueError("the secret")

    answer = serve_one(for_backend(handler, backend), backend)
    assert (answer.status, answer.text) == (500, "Internal Server Error")
    (record,) = caplog.records
    assert record.name == "h3py.app"
    assert record.levelno == logging.ERROR
    assert "GET / failed in GET / (" in record.message
    assert record.exc_info is not None
    assert "the secret" in str(record.exc_info[1])
    assert (record.__dict__["method"], record.__dict__["path"]) == ("GET", "/")


def test_debug_shows_them(backend: Backend) -> None:
    def handler(event: H3Event) -> None:
        raise ValueError("the secret")

    answer = serve_one(for_backend(handler, backend), backend, debug=True)
    assert answer.status == 500
    assert answer.text.endswith("ValueError: the secret\n")


def test_what_the_failed_handler_had_set_is_dropped(backend: Backend) -> None:
    app = H3()

    @app.use
    @inline
    def middleware(event: H3Event) -> None:
        event.set_header("x-middleware", "1")

    def handler(event: H3Event) -> None:
        event.set_status(201)
        event.set_header("cache-control", "max-age=60")
        event.set_cookie("session", "x")
        event.send_text("half done")
        raise HTTPError(400)

    app.get("/", for_backend(handler, backend))
    answer = ask(app, backend=backend)
    assert (answer.status, answer.text) == (400, "Bad Request")
    assert answer.header("x-middleware") == "1"
    assert answer.header("cache-control") is None
    assert answer.header("set-cookie") is None


def test_headers_of_an_error_that_cannot_be_sent(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(event: H3Event) -> None:
        raise HTTPError(400, headers={"x": "a\r\nb"})

    assert serve_one(for_backend(handler, backend), backend).status == 500
    assert "cannot be sent" in caplog.text


def test_headers_of_a_response_that_cannot_be_sent(backend: Backend) -> None:
    def handler(event: H3Event) -> Response:
        return Response(200, [("x", "a\r\nset-cookie: forged")])

    assert serve_one(for_backend(handler, backend), backend).status == 500


# Streams.


def items(event: H3Event) -> Generator[str, None, None]:
    yield "one"


async def async_items(event: H3Event) -> AsyncGenerator[str, None]:
    yield "one"


def begin(event: H3Event) -> None:
    event.start_sse()


class Subscription:
    def __h3_attach__(self, event: H3Event) -> None: ...


@pytest.mark.parametrize("chained", [False, True], ids=["bare", "middleware"])
@pytest.mark.parametrize("kind", ["generator", "async", "begun", "start", "attach", "both"])
def test_what_streams_is_handed_on(
    kind: str, chained: bool, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "async" and backend == "threads":
        return  # refused at start, see test_prepared.py
    seen: list[Any] = []

    def middleware(event: H3Event) -> Generator[None, Any, None]:
        seen.append((yield))

    subscription = Subscription()

    def begin_and_subscribe(event: H3Event) -> Subscription:
        begin(event)
        return subscription

    handlers: dict[str, Function] = {
        "generator": items,
        "async": async_items,
        "begun": for_backend(begin, backend),
        "start": for_backend(lambda event: event.start_sse(), backend),
        "attach": for_backend(lambda event: subscription, backend),
        "both": for_backend(begin_and_subscribe, backend),
    }
    app = app_with(*([middleware] if chained else []), handler=handlers[kind])
    with recorded_streams(monkeypatch) as streams:
        answer = ask(app, backend=backend)
    assert answer.response is None
    ((event, value),) = streams
    assert event.error is None
    assert seen == ([None] if chained else [])
    if kind in ("generator", "async"):
        assert value.__name__ == handlers[kind].__name__
        assert not event.sse_started
    elif kind in ("attach", "both"):
        assert value is subscription
        assert event.sse_started == (kind == "both")
    else:
        assert value is None
        assert isinstance(event.stream, Begun)


@pytest.mark.parametrize("chained", [False, True], ids=["bare", "middleware"])
def test_what_a_handler_raises_after_its_stream_began_is_the_streams(
    chained: bool, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def middleware(event: H3Event) -> Generator[None, Any, None]:
        try:
            yield
        except KeyError:
            assert event.sse_started
            seen.append("seen")
            raise

    def handler(event: H3Event) -> None:
        event.start_sse()
        raise KeyError("later")

    app = app_with(*([middleware] if chained else []), handler=for_backend(handler, backend))
    with recorded_streams(monkeypatch) as streams:
        assert ask(app, backend=backend).response is None
    ((event, value),) = streams
    assert value is None
    assert isinstance(event.error, KeyError)
    assert seen == ["seen"] * chained


def test_a_value_beside_a_begun_stream_is_an_error(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def handler(event: H3Event) -> str:
        event.start_sse()
        return "and text"

    with recorded_streams(monkeypatch) as streams:
        serve_one(for_backend(handler, backend), backend)
    ((event, _),) = streams
    assert "returned builtins.str besides" in str(event.error)


def test_a_response_cannot_replace_a_begun_stream(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def middleware(event: H3Event) -> Generator[None, Any, str]:
        yield
        return "instead"

    with recorded_streams(monkeypatch) as streams:
        ask(app_with(middleware, handler=begin), backend=backend)
    assert "the stream has begun" in str(streams[0][0].error)
    with recorded_streams(monkeypatch) as streams:
        answer = ask(app_with(middleware, handler=items), backend=backend)
    assert (answer.text, streams) == ("instead", [])


def test_a_stream_that_cannot_begin_is_answered(backend: Backend) -> None:
    refusal = HTTPError(503, "too many streams", headers={"retry-after": "5"})
    for handler in (items, for_backend(begin, backend)):
        answer = serve_one(handler, backend, refusal=refusal)
        assert (answer.status, answer.text) == (503, "too many streams")
        assert answer.header("retry-after") == "5"
