"""What streams once the handler has returned: generators, callbacks, nothing, subscriptions.

Without a network: the backend's side is a `SoloExchange`, whose streams stand
alone, and the steps are performed as each backend would. What clients see of it
is tested in `tests/backends`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Generator, Iterable
from typing import Any

import pytest
import trio

from h3py import (
    H3,
    CloseReason,
    H3Event,
    HTTPError,
    Response,
    StreamContext,
    ThreadConnection,
    TrioConnection,
)
from h3py.options import Backend
from h3py.sse import StreamStart
from h3py.testing import SoloStream, socket_pair
from tests.app.kit import MemoryExchange, for_backend, make_request, on_threads, on_trio

Pairs = Iterable[tuple[str, str]]


class SoloExchange(MemoryExchange):
    """Begins one stream, over a pair of sockets."""

    solo: SoloStream | None = None
    driven: int = 0

    def __init__(self, backend: Backend, **options: Any) -> None:
        super().__init__(**options)
        self.backend = backend

    def start_sse(self, status: int, headers: Pairs) -> StreamStart:
        super().start_sse(status, headers)
        # Both kinds of connection would do in a worker thread; a task needs the one of tasks.
        try:
            trio.lowlevel.current_task()
        except RuntimeError:
            pair = socket_pair(ThreadConnection, write_timeout_s=30.0)
        else:
            pair = socket_pair(TrioConnection)
        self.solo = SoloStream(pair)
        return self.solo.start

    def drive_here(self, start: StreamStart) -> None:
        self.driven += 1
        on_loop = threading_is_loop()
        solo = self.solo
        assert solo is not None
        old = solo.connection
        kind = TrioConnection if on_loop else ThreadConnection
        connection = kind(old.wire, old.queue)  # type: ignore[arg-type]
        connection.state, connection.chunked = old.state, old.chunked
        solo.connection = connection
        solo.stream.drive(connection, None)


def threading_is_loop() -> bool:
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return False
    return True


class Outcome:
    """What came of a request whose handler streams."""

    def __init__(self, response: Response | None, exchange: SoloExchange) -> None:
        self.response = response
        self.exchange = exchange

    @property
    def solo(self) -> SoloStream:
        assert self.exchange.solo is not None, "no stream was begun"
        return self.exchange.solo

    def data(self) -> list[str]:
        return [event.data for event in self.solo.peer.read_to_end()]

    @property
    def reason(self) -> CloseReason:
        (reason,) = self.solo.close_reasons
        return reason


def stream(handler: Any, backend: Backend, **options: Any) -> Outcome:
    app = H3()
    app.get("/", handler)
    prepared = app.prepare(backend)
    exchange = SoloExchange(backend, **options)
    life = prepared.respond(make_request(), exchange)
    response = on_threads(life) if backend == "threads" else trio.run(on_trio, life)
    return Outcome(response, exchange)


@pytest.fixture(autouse=True)
def sockets_are_closed(monkeypatch: pytest.MonkeyPatch) -> Any:
    made: list[SoloStream] = []
    init = SoloStream.__init__

    def remember(self: SoloStream, *args: Any, **options: Any) -> None:
        init(self, *args, **options)
        made.append(self)

    monkeypatch.setattr(SoloStream, "__init__", remember)
    yield
    for solo in made:
        solo.connection.close()
        solo.peer.close()


# -- generators ------------------------------------------------------------------


def test_a_generators_events_are_sent_as_it_yields_them(backend: Backend) -> None:
    order: list[str] = []

    def generator(event: H3Event) -> Generator[str, None, None]:
        assert event.sse_started
        for item in ("one", "two"):
            yield item
            order.append(item)

    outcome = stream(for_backend(generator, backend), backend)
    assert outcome.response is None
    assert outcome.data() == ["one", "two"]
    assert outcome.reason is CloseReason.HANDLER_DONE
    assert order == ["one", "two"]


def test_a_plain_generator_runs_on_trio_too() -> None:
    def generator(event: H3Event) -> Generator[str, None, None]:
        yield from ("one", "two")

    assert stream(generator, "trio").data() == ["one", "two"]


def test_what_cannot_be_sent_ends_the_stream_as_an_error(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    closed: list[str] = []

    def generator(event: H3Event) -> Generator[Any, None, None]:
        try:
            yield "fine"
            yield {"not": "an event"}
            yield "never"
        finally:
            closed.append("closed")

    outcome = stream(for_backend(generator, backend), backend)
    assert outcome.data() == ["fine"]
    assert outcome.reason is CloseReason.ERROR
    assert closed == ["closed"]
    assert "SSEEvent, str or bytes, not dict" in caplog.text


def test_a_generator_whose_stream_cannot_begin_never_runs(backend: Backend) -> None:
    ran: list[str] = []

    def generator(event: H3Event) -> Generator[str, None, None]:
        ran.append("ran")
        yield "never"

    refusal = HTTPError(503, "too many streams", headers={"retry-after": "5"})
    outcome = stream(for_backend(generator, backend), backend, refusal=refusal)
    assert outcome.response is not None
    assert outcome.response.status == 503
    assert ("retry-after", "5") in outcome.response.headers
    assert ran == []


def test_a_generator_is_closed_when_its_stream_is_ended_by_others(backend: Backend) -> None:
    seen: list[str] = []

    def generator(event: H3Event) -> Generator[str, None, None]:
        assert event.stream is not None
        try:
            yield "here"
            event.stream._stream.end(CloseReason.KICKED)
            yield "never arrives"
            seen.append("went on")
        finally:
            seen.append("closed")

    outcome = stream(for_backend(generator, backend), backend)
    assert outcome.data() == ["here"]
    assert outcome.reason is CloseReason.KICKED
    assert seen == ["closed"]


# -- callbacks -------------------------------------------------------------------


@pytest.mark.parametrize("context", [False, True])
def test_a_callback_runs_after_the_handler_and_may_close(backend: Backend, context: bool) -> None:
    order: list[str] = []

    def plain(given: Any) -> None:
        order.append("callback")
        writer = given.writer if context else given
        if context:
            assert isinstance(given, StreamContext)
            assert (given.event.path, given.user_data) == ("/", "data")
        writer.send_event("from the callback")
        writer.close()

    async def task(given: Any) -> None:
        order.append("callback")
        writer = given.writer if context else given
        await writer.send_event("from the callback")
        writer.close()

    def handler(event: H3Event) -> None:
        event.start_sse()
        callback = task if backend == "trio" else plain
        event.set_stream_callback(callback, context=context, user_data="data")
        order.append("handler")

    outcome = stream(handler, backend)
    assert outcome.data() == ["from the callback"]
    assert outcome.reason is CloseReason.HANDLER_DONE
    assert order == ["handler", "callback"]
    assert outcome.exchange.driven == 1, "who writes becomes the driver first"


def test_a_callback_that_returns_leaves_its_stream_parked(backend: Backend) -> None:
    def handler(event: H3Event) -> None:
        event.start_sse()
        event.set_stream_callback(lambda writer: writer.send_event("and then"))

    outcome = stream(handler, backend)
    assert outcome.solo.close_reasons == []
    outcome.solo.start.send_event_nowait("parked")
    assert [event.data for event in outcome.solo.peer.read_events(2)] == ["and then", "parked"]


def test_a_callback_that_fails_ends_its_stream(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    def callback(writer: Any) -> None:
        raise LookupError("on purpose")

    def handler(event: H3Event) -> None:
        event.start_sse()
        event.set_stream_callback(callback)

    outcome = stream(handler, backend)
    assert outcome.reason is CloseReason.ERROR
    assert "LookupError: on purpose" in caplog.text


# -- left open, and subscriptions ----------------------------------------------------


def test_a_stream_that_was_only_begun_is_parked(backend: Backend) -> None:
    outcome = stream(lambda event: event.start_sse(), backend)
    assert outcome.response is None
    assert outcome.solo.stream.state.value == "parked"
    outcome.solo.start.send_event_nowait("on it goes")
    assert outcome.solo.peer.read_event().data == "on it goes"


def test_a_handlers_error_after_the_beginning_ends_the_stream(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(event: H3Event) -> None:
        event.start_sse().send_event_nowait("before")
        raise LookupError("on purpose")

    outcome = stream(for_backend(handler, backend), backend)
    assert outcome.data() == ["before"]
    assert outcome.reason is CloseReason.ERROR
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "on purpose"


class Subscription:
    """What a manager's ``subscribe`` returns, as far as streaming knows."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.attached: list[H3Event] = []

    def __h3_attach__(self, event: H3Event) -> None:
        if self.fails:
            raise LookupError("on purpose")
        event.start_sse()
        self.attached.append(event)


def test_a_subscription_attaches_itself_and_is_parked(backend: Backend) -> None:
    subscription = Subscription()
    outcome = stream(for_backend(lambda event: subscription, backend), backend)
    assert len(subscription.attached) == 1
    assert outcome.solo.stream.state.value == "parked"


def test_a_subscription_that_fails_before_its_stream_is_a_500(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    outcome = stream(for_backend(lambda event: Subscription(fails=True), backend), backend)
    assert outcome.response is not None
    assert outcome.response.status == 500
    assert "on purpose" in caplog.text


# -- cancellation --------------------------------------------------------------------


def test_a_cancelled_generator_is_closed_and_the_cancellation_goes_on() -> None:
    closed: list[str] = []

    async def generator(event: H3Event) -> AsyncGenerator[str, None]:
        try:
            yield "here"
            await trio.sleep_forever()
        finally:
            closed.append("closed")

    app = H3()
    app.get("/", generator)
    exchange = SoloExchange("trio")

    async def main() -> None:
        with trio.CancelScope() as scope:
            life = app.prepare("trio").respond(make_request(), exchange)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(on_trio, life)
                while exchange.solo is None or not exchange.solo.stream.event_count:
                    await trio.lowlevel.checkpoint()
                scope.cancel()
        assert scope.cancelled_caught

    trio.run(main)
    assert closed == ["closed"]
    assert exchange.solo is not None
    assert exchange.solo.close_reasons == [CloseReason.HANDLER_DONE]
