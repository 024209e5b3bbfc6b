"""The application's code while and after its stream ends: clean-up, context, resources.

A generator is always closed, a task that will not yield cannot spin, clean-up is
bounded, context variables are the request's own, and what ``authorize`` opened is
closed before the stream begins.
"""

from __future__ import annotations

import collections
import contextvars
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import trio

from h3py import (
    H3,
    BackpressureDetected,
    CloseReason,
    H3Event,
    SSEWriter,
    StreamContext,
    running,
)
from h3py.testing import EventReader, ManualClock
from tests.backends.ways import FLAVOURS, WAYS, Serve, Stage, settled
from tests.support.client import Client
from tests.support.wait import DEADLINE_S, wait_until

# -- the generator is closed -------------------------------------------------------


@FLAVOURS
@pytest.mark.parametrize("way", ["generator", "handler", "callback"])
def test_code_is_ended_when_its_client_is_slow(serve_app: Serve, way: str, flavour: str) -> None:
    """The client reads nothing; an hour later, on the clock in the test's hand, it is over."""
    stage = Stage(way, flavour, "flood")
    clock = ManualClock()
    server = serve_app(
        stage.app, clock=clock, stall_timeout_s=3600.0, heartbeat_s=None, write_timeout_s=86400.0
    )
    with EventReader(f"{server.url}/stream", receive_buffer_bytes=4096) as reader:
        reader.read_event()
        wait_until(lambda: stage.stream.blocked_since is not None, what="the client is behind")
        clock.advance(3599)
        assert stage.stream.close_reason is None
        clock.advance(3601)
        wait_until(lambda: stage.stream.close_reason)
        settled(server, streams=1)
    assert server.closed_streams == {CloseReason.SLOW: 1}
    wait_until(lambda: stage.reasons)
    assert stage.reasons == [CloseReason.SLOW]
    assert stage.left == 1


@pytest.mark.parametrize("way", ["generator", "handler", "callback"])
def test_a_thread_that_is_refused_for_a_slow_client_has_not_failed(
    serve_app: Serve, backend: str, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """``write_timeout_s``: what its code does not catch ends the stream, as ``slow``."""
    stage = Stage(way, "plain", "flood")
    server = serve_app(stage.app, write_timeout_s=0.0, heartbeat_s=None)
    with EventReader(f"{server.url}/stream", receive_buffer_bytes=4096) as reader:
        reader.read_event()
        settled(server, streams=1)
    assert server.closed_streams == {CloseReason.SLOW: 1}
    (error,) = stage.errors
    assert isinstance(error, GeneratorExit if way == "generator" else BackpressureDetected)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_room_that_is_missing_elsewhere_is_an_error_of_the_code(
    serve_app: Serve, backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A publisher's own refusal says nothing about this stream's client."""
    app = H3()

    @app.get("/stream")
    def stream(event: H3Event) -> Iterator[str]:
        yield "here"
        raise BackpressureDetected("the log is full")

    server = serve_app(app)
    with EventReader(f"{server.url}/stream") as reader:
        assert len(reader.read_to_end()) == 1
    settled(server, streams=1)
    assert server.closed_streams == {CloseReason.ERROR: 1}
    assert "the log is full" in caplog.text


@FLAVOURS
@WAYS
def test_code_is_ended_when_the_server_stops(backend: str, way: str, flavour: str) -> None:
    """S4: the stream ends cleanly, with its reason, whatever its code was doing."""
    stage = Stage(way, flavour, "sleep")
    with running(stage.app, backend=backend) as server:
        reader = EventReader(f"{server.url}/stream")
        reader.read_event()
        if way == "parked":
            wait_until(lambda: not server.driven)
        server.shutdown()
        wait_until(lambda: way == "parked" or stage.stream.close_reason)
        stage.go_on.set()
        reader.read_to_end()
        reader.read_eof()
        reader.close()
    assert server.closed_streams == {CloseReason.SHUTDOWN: 1}
    assert stage.reasons == [CloseReason.SHUTDOWN]
    assert stage.left == (0 if way == "parked" else 1)
    assert server.open_connections == server.open_streams == 0


@pytest.mark.parametrize("backend", ["trio"])
@pytest.mark.parametrize("may_wait", [True, False])
def test_clean_up_of_a_generator_may_wait_for_a_while(
    serve_app: Serve, may_wait: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """``aclose`` runs shielded, although the stream was cancelled; but not for ever."""
    app = H3()
    ended: list[str] = []

    @app.get("/stream")
    async def stream(event: H3Event) -> AsyncIterator[str]:
        try:
            while True:
                yield "x" * 1_000_000  # so it is suspended here when the client leaves
        finally:
            try:
                if may_wait:
                    await trio.to_thread.run_sync(lambda: None)
                else:
                    await trio.sleep_forever()
                ended.append("by itself")
            except trio.Cancelled:
                ended.append("cut")
                raise

    server = serve_app(app, cleanup_timeout_s=3600.0 if may_wait else 0.0)
    with EventReader(f"{server.url}/stream") as reader:
        reader.read_event()
    settled(server, streams=1)
    wait_until(lambda: ended)
    assert ended == ["by itself" if may_wait else "cut"]
    if not may_wait:
        wait_until(lambda: "took too long" in caplog.text)


@FLAVOURS
def test_a_generator_that_fails_in_its_clean_up_harms_nobody(
    serve_app: Serve, flavour: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = H3()

    def plain(event: H3Event) -> Iterator[str]:
        try:
            while True:
                yield "x" * 10_000
        finally:
            raise RuntimeError("this clean-up fails on purpose")

    async def task(event: H3Event) -> AsyncIterator[str]:
        try:
            while True:
                yield "x" * 10_000
        finally:
            raise RuntimeError("this clean-up fails on purpose")

    app.get("/stream")(task if flavour == "async" else plain)
    app.get("/plain")(lambda event: "plain")
    server = serve_app(app)
    with EventReader(f"{server.url}/stream") as reader:
        reader.read_event()
    settled(server, streams=1)
    assert server.closed_streams == {CloseReason.CLIENT_CLOSED: 1}
    wait_until(lambda: "on purpose" in caplog.text)
    with Client(server.addresses[0]) as client:
        assert client.get("/plain").text == "plain"


@FLAVOURS
def test_a_generator_that_starts_a_stream_itself_is_told_that_it_has_one(
    serve_app: Serve, flavour: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = H3()

    def plain(event: H3Event) -> Iterator[str]:
        event.start_sse()
        yield "never"

    async def task(event: H3Event) -> AsyncIterator[str]:
        event.start_sse()
        yield "never"

    app.get("/stream")(task if flavour == "async" else plain)
    server = serve_app(app)
    with EventReader(f"{server.url}/stream") as reader:
        assert reader.read_to_end() == []
    settled(server, streams=1)
    assert server.closed_streams == {CloseReason.ERROR: 1}
    wait_until(lambda: "SSEAlreadyStarted" in caplog.text)


@pytest.mark.parametrize("backend", ["trio"])
@pytest.mark.parametrize("way", ["handler", "generator", "callback"])
def test_a_task_that_never_waits_ends_when_its_client_leaves(serve_app: Serve, way: str) -> None:
    """It swallows every error and goes on: its sends are checkpoints, so it cannot spin."""
    app = H3()
    swallowed: list[BaseException] = []

    async def write(writer: object) -> None:
        while True:
            try:
                await writer.send_event("x" * 1000)  # type: ignore[attr-defined]
            except Exception as error:
                swallowed.append(error)

    async def handler(event: H3Event) -> None:
        async with event.start_sse() as writer:
            await write(writer)

    async def generator(event: H3Event) -> AsyncIterator[str]:
        while True:
            try:
                yield "x" * 1000
            except Exception as error:
                swallowed.append(error)

    async def callback(event: H3Event) -> None:
        event.start_sse()
        event.set_stream_callback(write)

    app.get("/stream")({"handler": handler, "generator": generator, "callback": callback}[way])
    server = serve_app(app)
    with EventReader(f"{server.url}/stream") as reader:
        reader.read_event()
    settled(server, streams=1)
    assert server.closed_streams == {CloseReason.CLIENT_CLOSED: 1}
    assert len(swallowed) <= 2, "it went on after the end"


@FLAVOURS
def test_closing_a_stream_from_elsewhere_ends_the_code_that_writes_it(
    serve_app: Serve, backend: str, flavour: str
) -> None:
    """By another thread, and on trio by another task: a handler that sleeps is not left behind."""
    stage = Stage("handler", flavour, "sleep")
    if backend == "trio":

        async def closer(event: H3Event) -> str:
            stage.stream.close()
            return "closed"

    else:

        def closer(event: H3Event) -> str:  # type: ignore[misc]
            stage.stream.close()
            return "closed"

    stage.app.get("/close")(closer)
    server = serve_app(stage.app)
    with EventReader(f"{server.url}/stream") as reader, Client(server.addresses[0]) as client:
        reader.read_event()
        assert client.get("/close").text == "closed"
        assert reader.read_to_end() == []
        wait_until(lambda: stage.left == 1, what="its code has ended")
    settled(server, streams=1)
    assert server.closed_streams == {CloseReason.HANDLER_DONE: 1}


@pytest.mark.parametrize("backend", ["trio"])
def test_a_task_of_the_handlers_own_may_close_the_stream_and_go_on(serve_app: Serve) -> None:
    """It belongs to the code that drives the stream: nothing is cancelled."""
    app = H3()
    went_on: list[str] = []

    @app.get("/stream")
    async def stream(event: H3Event) -> None:
        async with event.start_sse() as writer, trio.open_nursery() as nursery:

            async def child() -> None:
                await writer.send_event("last")
                writer.close()
                await trio.lowlevel.checkpoint()
                went_on.append("child")

            nursery.start_soon(child)
        await trio.lowlevel.checkpoint()
        went_on.append("handler")

    server = serve_app(app)
    with EventReader(f"{server.url}/stream") as reader:
        assert [event.data for event in reader.read_to_end()] == ["last"]
    settled(server, streams=1)
    wait_until(lambda: went_on == ["child", "handler"])


# -- context variables -------------------------------------------------------------

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@FLAVOURS
@pytest.mark.parametrize("setter", ["plain", "async", "generator"])
def test_context_variables_reach_all_code_of_a_request_and_no_other(
    serve_app: Serve, backend: str, flavour: str, setter: str
) -> None:
    """Set by middleware; seen in handler, generator, callback, threads and on_close."""
    if setter == "async" and backend == "threads":
        setter = "plain"
    app = H3()
    seen: dict[str, list[str]] = collections.defaultdict(list)

    def name(event: H3Event) -> None:
        if "name" in event.query:
            variable.set(event.query["name"])

    async def async_name(event: H3Event) -> None:
        name(event)

    def around(event: H3Event) -> Iterator[None]:
        name(event)
        yield
        seen["middleware after"].append(variable.get())

    app.use({"plain": name, "async": async_name, "generator": around}[setter])

    def look(where: str) -> None:
        seen[where].append(variable.get())

    async def in_thread(where: str) -> None:
        await trio.to_thread.run_sync(look, where)

    if flavour == "async":

        @app.get("/handler")
        async def handler(event: H3Event) -> str:
            look("handler")
            await in_thread("worker thread of the handler")
            return variable.get()

        @app.get("/generator")
        async def generator(event: H3Event) -> AsyncIterator[str]:
            look("generator")
            await in_thread("worker thread of the generator")
            yield variable.get()
            yield variable.get()

        @app.get("/callback")
        async def callback(event: H3Event) -> None:
            start = event.start_sse()
            start.on_close(lambda _: look("on_close"))

            async def write(writer: object) -> None:
                look("callback")
                await in_thread("worker thread of the callback")
                await writer.send_event(variable.get())  # type: ignore[attr-defined]
                writer.close()  # type: ignore[attr-defined]

            event.set_stream_callback(write)
    else:

        @app.get("/handler")
        def plain_handler(event: H3Event) -> str:
            look("handler")
            return variable.get()

        @app.get("/generator")
        def plain_generator(event: H3Event) -> Iterator[str]:
            look("generator")
            yield variable.get()
            yield variable.get()

        @app.get("/callback")
        def plain_callback(event: H3Event) -> None:
            start = event.start_sse()
            start.on_close(lambda _: look("on_close"))

            def write(context: StreamContext) -> None:
                look("callback")
                context.writer.send_event(variable.get())  # type: ignore[unused-coroutine]
                context.writer.close()

            event.set_stream_callback(write, context=True)

    server = serve_app(app)
    with Client(server.addresses[0]) as client:
        assert client.get("/handler?name=first").text == "first"
        assert client.get("/handler").text == "unset", (
            "it leaked into the connection's next request"
        )
        assert client.get("/handler?name=second").text == "second"
    for way, events in (("generator", ["third", "third"]), ("callback", ["third"])):
        with EventReader(f"{server.url}/{way}?name=third") as reader:
            assert [event.data for event in reader.read_to_end()] == events
        with EventReader(f"{server.url}/{way}") as reader:
            assert [event.data for event in reader.read_to_end()] == ["unset"] * len(events)
    settled(server, streams=4)
    wait_until(lambda: len(seen["on_close"]) == 2)
    of_handlers, of_streams = ["first", "unset", "second"], ["third", "unset"]
    expected = {
        "handler": of_handlers,
        "worker thread of the handler": of_handlers,
        "generator": of_streams,
        "worker thread of the generator": of_streams,
        "callback": of_streams,
        "worker thread of the callback": of_streams,
        "on_close": of_streams,
        "middleware after": [*of_handlers, *of_streams, *of_streams],
    }
    assert seen == {where: expected[where] for where in seen}
    assert {"handler", "generator", "callback"} <= set(seen)


# -- two steps (N12) -----------------------------------------------------------------


@FLAVOURS
@pytest.mark.parametrize("way", ["generator", "callback"])
def test_what_authorize_opened_is_closed_before_the_stream_begins(
    serve_app: Serve, way: str, flavour: str
) -> None:
    app = H3()
    order: list[str] = []

    def authorize(event: H3Event) -> Iterator[str]:
        order.append("opened")
        yield "ann"
        order.append("closed")

    async def async_authorize(event: H3Event) -> AsyncIterator[str]:
        order.append("opened")
        yield "ann"
        order.append("closed")

    def write(writer: SSEWriter) -> None:
        order.append("streams")
        writer.send_event("hello")
        writer.close()

    async def async_write(writer: object) -> None:
        order.append("streams")
        await writer.send_event("hello")  # type: ignore[attr-defined]
        writer.close()  # type: ignore[attr-defined]

    def callback(event: H3Event) -> None:
        assert event.principal == "ann"
        event.start_sse()
        event.set_stream_callback(async_write if flavour == "async" else write)

    def generator(event: H3Event) -> Iterator[str]:
        assert event.principal == "ann"
        order.append("streams")
        yield "hello"

    async def async_generator(event: H3Event) -> AsyncIterator[str]:
        assert event.principal == "ann"
        order.append("streams")
        yield "hello"

    handlers: dict[str, Callable[..., object]] = {
        "callback": callback,
        "generator": async_generator if flavour == "async" else generator,
    }
    check = async_authorize if flavour == "async" else authorize
    app.get("/stream", authorize=check)(handlers[way])
    server = serve_app(app)
    with EventReader(f"{server.url}/stream") as reader:
        assert [event.data for event in reader.read_to_end()] == ["hello"]
    assert order == ["opened", "closed", "streams"]
    settled(server, streams=1)


def test_authorize_that_refuses_starts_no_stream(serve_app: Serve) -> None:
    app = H3()

    def authorize(event: H3Event) -> bool:
        return False

    @app.get("/stream", authorize=authorize)
    def stream(event: H3Event) -> Iterator[str]:
        yield "never"

    server = serve_app(app)
    with Client(server.addresses[0]) as client:
        assert client.get("/stream").status == 403
    assert sum(server.closed_streams.values()) == 0


# -- blocking code (E7) ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["handler", "callback", "generator", "middleware"])
def test_plain_code_that_blocks_delays_no_other_request(
    serve_app: Serve, backend: str, kind: str
) -> None:
    """It waits for an Event that is set only after other requests were answered."""
    app = H3()
    others_were_answered = threading.Event()
    blocked = threading.Event()

    def block() -> None:
        blocked.set()
        assert others_were_answered.wait(DEADLINE_S)

    def callback(writer: SSEWriter) -> None:
        writer.send_event("before")
        block()
        writer.send_event("after")
        writer.close()

    def with_callback(event: H3Event) -> None:
        event.start_sse()
        event.set_stream_callback(callback)

    def handler(event: H3Event) -> None:
        with event.start_sse() as writer:
            writer.send_event("before")
            block()
            writer.send_event("after")

    def generator(event: H3Event) -> Iterator[str]:
        yield "before"
        block()
        yield "after"

    def middleware(event: H3Event) -> None:
        if event.path == "/stream":
            block()

    def unblocked(event: H3Event) -> Iterator[str]:
        yield from ("before", "after")

    if kind == "middleware":
        app.use(middleware)
    app.get("/stream")(
        {
            "handler": handler,
            "callback": with_callback,
            "generator": generator,
            "middleware": unblocked,
        }[kind]
    )
    if backend == "trio":

        @app.get("/other")
        async def other(event: H3Event) -> str:
            return "other"

    else:
        app.get("/other")(lambda event: "other")
    server = serve_app(app)
    with EventReader(f"{server.url}/stream") as reader, Client(server.addresses[0]) as client:
        assert blocked.wait(DEADLINE_S)
        for _ in range(20):
            assert client.get("/other").text == "other"
        others_were_answered.set()
        assert [event.data for event in reader.read_to_end()] == ["before", "after"]
    settled(server, streams=1)


# -- errors are logged where they belong --------------------------------------------------


def test_nothing_is_logged_as_an_error_when_all_is_well(
    serve_app: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage("generator", "plain", "three")
    server = serve_app(stage.app)
    with EventReader(f"{server.url}/stream") as reader:
        reader.read_to_end()
    settled(server, streams=1)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
