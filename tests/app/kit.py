"""Runs the life of a request without a network, on either backend's terms.

``ask`` drives `h3py.app.lifecycle.respond` as a backend does: on ``"threads"``
every step runs in the calling thread, on ``"trio"`` plain functions run in
worker threads and coroutines in one task. `Talk` keeps the thread or the task
over several requests, as a connection does.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import trio

from h3py.app import H3
from h3py.app.event import H3Event
from h3py.app.prepared import PreparedApp
from h3py.backends.steps import Await, Step
from h3py.http import HTTP_11, BodyStream, Headers, Request, Response
from h3py.options import Backend
from h3py.sse import StreamStart

Pairs = Iterable[tuple[str, str]]


class Begun:
    """Stands for the stream that the backend began."""


@dataclass
class MemoryExchange:
    """The backend's side of one request, in memory."""

    client: tuple[str, int] | None = ("192.0.2.7", 4711)
    scheme: str = "http"
    cleanup_timeout_s: float = 5.0
    head: tuple[int, list[tuple[str, str]]] | None = None
    """Status and headers of the stream that was begun."""
    refusal: Exception | None = None
    """What ``start_sse`` raises instead."""
    arrivals: list[Callable[[], None]] = field(default_factory=list)
    """What happens, one by one, while somebody waits for the body."""

    def start_sse(self, status: int, headers: Pairs) -> StreamStart:
        if self.refusal is not None:
            raise self.refusal
        self.head = (status, list(headers))
        return cast(StreamStart, Begun())

    def drive_here(self, start: StreamStart) -> None:
        pass

    def wait_body(self) -> None:
        self.arrivals.pop(0)()

    async def await_body(self) -> None:
        await trio.lowlevel.checkpoint()
        self.arrivals.pop(0)()


@dataclass
class Answer:
    """What came of a request; ``response`` is None for a stream."""

    response: Response | None
    exchange: MemoryExchange

    @property
    def status(self) -> int:
        assert self.response is not None, "it became a stream"
        return self.response.status

    @property
    def body(self) -> bytes:
        assert self.response is not None, "it became a stream"
        return self.response.body

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    def all(self, name: str) -> list[str]:
        assert self.response is not None, "it became a stream"
        return [value for known, value in self.response.headers if known.lower() == name]

    def header(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) < 2, f"{name} is there {len(values)} times"
        return values[0] if values else None


def make_request(
    method: str = "GET",
    target: str = "/",
    headers: Pairs = (),
    body: bytes | BodyStream = b"",
) -> Request:
    path, _, query = target.partition("?")
    return Request(method, target, path, query, HTTP_11, Headers.of(headers), body)


def make_event(
    method: str = "GET",
    target: str = "/",
    headers: Pairs = (),
    body: bytes | BodyStream = b"",
    *,
    exchange: MemoryExchange | None = None,
    **options: Any,
) -> H3Event:
    """An event outside any application."""
    request = make_request(method, target, headers, body)
    return H3Event(request, exchange or MemoryExchange(), **options)


def on_threads(life: Generator[Step, Any, Response | None]) -> Response | None:
    """Perform the steps right here."""

    def perform(step: Step) -> Any:
        assert not isinstance(step, Await), "nothing can be awaited on threads"
        return step.function(*step.args)

    try:
        step = next(life)
        while True:
            try:
                result = perform(step)
            except BaseException as error:
                step = life.throw(error)
            else:
                step = life.send(result)
    except StopIteration as done:
        return cast("Response | None", done.value)


async def on_trio(life: Generator[Step, Any, Response | None]) -> Response | None:
    """Perform plain functions in worker threads, and await the rest here."""

    async def perform(step: Step) -> Any:
        if isinstance(step, Await):
            return await step.function(*step.args)
        if step.inline:
            return step.function(*step.args)
        with trio.CancelScope(shield=True):
            return await trio.to_thread.run_sync(step.function, *step.args)

    try:
        step = next(life)
        while True:
            try:
                result = await perform(step)
            except BaseException as error:
                step = life.throw(error)
            else:
                step = life.send(result)
    except StopIteration as done:
        return cast("Response | None", done.value)


class Talk:
    """Several requests, one after the other, on one connection.

    Args:
        app: The application; a prepared one is taken as it is.
        backend: Whose terms.
        debug: As the server option.
    """

    def __init__(self, app: H3 | PreparedApp, backend: Backend, *, debug: bool = False) -> None:
        self.app = app if isinstance(app, PreparedApp) else app.prepare(backend, debug=debug)
        self.backend = backend

    def run(self, requests: Iterable[Request], **exchange: Any) -> list[Answer]:
        if self.backend == "threads":
            return [self._on_threads(request, MemoryExchange(**exchange)) for request in requests]

        async def main() -> list[Answer]:
            return [
                await self._on_trio(request, MemoryExchange(**exchange)) for request in requests
            ]

        return trio.run(main)

    def _on_threads(self, request: Request, exchange: MemoryExchange) -> Answer:
        return Answer(on_threads(self.app.respond(request, exchange)), exchange)

    async def _on_trio(self, request: Request, exchange: MemoryExchange) -> Answer:
        return Answer(await on_trio(self.app.respond(request, exchange)), exchange)


def ask(
    app: H3 | PreparedApp,
    target: str = "/",
    *,
    method: str = "GET",
    headers: Pairs = (),
    body: bytes | BodyStream = b"",
    backend: Backend = "threads",
    debug: bool = False,
    **exchange: Any,
) -> Answer:
    """One request and its answer."""
    request = make_request(method, target, headers, body)
    return Talk(app, backend, debug=debug).run([request], **exchange)[0]


def for_backend(function: Callable[..., Any], backend: Backend) -> Callable[..., Any]:
    """A plain or generator function as it is on threads, and as its async form on trio.

    So one test covers both kinds; the async form suspends before it begins.
    """
    if backend == "threads":
        return function
    if inspect.isgeneratorfunction(function):

        async def async_generator(event: H3Event) -> Any:
            await trio.lowlevel.checkpoint()
            inner = function(event)
            try:
                value = next(inner)
                while True:
                    try:
                        sent = yield value
                    except BaseException as error:
                        value = inner.throw(error)
                    else:
                        value = inner.send(sent)
            except StopIteration:
                return
            finally:
                inner.close()

        return async_generator

    async def coroutine(event: H3Event) -> Any:
        await trio.lowlevel.checkpoint()
        return function(event)

    return coroutine


@contextmanager
def recorded_streams(monkeypatch: Any) -> Iterator[list[tuple[H3Event, Any]]]:
    """Record what would be streamed, instead of streaming it."""
    seen: list[tuple[H3Event, Any]] = []

    def run_stream(event: H3Event, value: Any) -> Generator[Step, Any, None]:
        seen.append((event, value))
        yield from ()

    with monkeypatch.context() as patch:
        patch.setattr("h3py.app.lifecycle.run_stream", run_stream)
        yield seen


def app_with(
    *middleware: Callable[[H3Event], Any], handler: Callable[[H3Event], Any] = lambda event: "fine"
) -> H3:
    """An application with one route at ``/``."""
    app = H3()
    for function in middleware:
        app.use(function)
    app.get("/", handler)
    return app
