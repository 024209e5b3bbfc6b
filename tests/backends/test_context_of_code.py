"""What surrounds a request's code: its context variables, its resources, and other requests.

Context variables are the request's own, what ``authorize`` opened is closed before
the stream begins, and plain code that blocks is in nobody's way.
"""

from __future__ import annotations

import collections
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import trio

from h3py import H3, H3Event, SSEWriter, StreamContext
from h3py.testing import EventReader
from tests.backends.ways import FLAVOURS, Serve, settled
from tests.support.client import Client
from tests.support.wait import DEADLINE_S, wait_until

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
