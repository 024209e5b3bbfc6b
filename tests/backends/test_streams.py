"""Streams as a client sees them: the three ways to write one, and the one that nobody writes.

Each test runs for every flavour of code on each backend that can run it.
"""

from __future__ import annotations

import logging
import threading

import pytest
import trio

from h3py import (
    H3,
    CloseReason,
    ConfigError,
    H3Event,
    NotStreamingMode,
    ResponseAlreadySent,
    SSEAlreadyStarted,
    SSEEvent,
    SSEWriter,
    WriterClosed,
    running,
)
from h3py.testing import EventReader
from tests.backends.ways import DRIVEN_WAYS, FLAVOURS, WAYS, Serve, Stage, settled
from tests.support.client import Client
from tests.support.wait import DEADLINE_S, wait_until


def data_of(events: list[object]) -> list[str]:
    return [event.data for event in events]  # type: ignore[attr-defined]


@FLAVOURS
@WAYS
def test_every_way_to_stream(serve_app: Serve, way: str, flavour: str) -> None:
    stage = Stage(way, flavour, "three")
    server = serve_app(stage.app)
    with EventReader(f"{server.url}/stream") as reader:
        assert reader.status == 200
        assert data_of(reader.read_events(3)) == ["one", "two", "three"]
        wait_until(lambda: stage.stream.event_count == 3)
        if way == "parked":
            stage.stream.close()
        assert reader.read_to_end() == []
        reader.read_eof()
    settled(server, streams=1)
    assert server.closed_streams == {CloseReason.HANDLER_DONE: 1}
    wait_until(lambda: stage.reasons)
    assert stage.reasons == [CloseReason.HANDLER_DONE]
    assert stage.left == (0 if way == "parked" else 1)
    assert stage.errors == []


@FLAVOURS
@WAYS
def test_the_head_says_what_it_is(serve_app: Serve, way: str, flavour: str) -> None:
    """E4; and each header once: the strict reader of the tests looks."""
    stage = Stage(way, flavour, "sleep")
    server = serve_app(stage.app)
    with Client(server.addresses[0]) as client, client.open_stream("/stream") as stream:
        head = stream.head
        assert head["content-type"] == "text/event-stream"
        assert head["cache-control"] == "no-cache"
        assert head["connection"] == "keep-alive"
        assert head["x-accel-buffering"] == "no"
        assert head.chunked
        assert head.get("content-length") is None
        assert stream.read_event().data == "here"
    stage.go_on.set()


@FLAVOURS
def test_the_head_leaves_before_the_first_event(serve_app: Serve, flavour: str) -> None:
    """At once, that is: the handler sends nothing until the client has the head."""
    app = H3()
    client_has_the_head = threading.Event()

    def plain(event: H3Event) -> None:
        event.set_header("x-mine", "yes")
        with event.start_sse() as writer:
            assert client_has_the_head.wait(DEADLINE_S)
            writer.send_event("now")

    async def task(event: H3Event) -> None:
        event.set_header("x-mine", "yes")
        async with event.start_sse() as writer:
            assert await trio.to_thread.run_sync(client_has_the_head.wait, DEADLINE_S)
            await writer.send_event("now")

    app.get("/stream")(task if flavour == "async" else plain)
    server = serve_app(app)
    with EventReader(f"{server.url}/stream") as reader:
        assert reader.headers["x-mine"] == "yes"
        client_has_the_head.set()
        assert reader.read_event().data == "now"


def test_the_stream_begins_with_retry(serve_app: Serve) -> None:
    """Spread around the option, so that clients do not all return at once."""
    server = serve_app(Stage("handler", "plain", "three").app, retry_ms=10_000)
    with EventReader(f"{server.url}/stream") as reader:
        reader.read_to_end()
        assert 8_000 <= (reader.received.parser.retry or 0) <= 12_000


def test_without_retry_none_is_sent(serve_app: Serve) -> None:
    server = serve_app(Stage("handler", "plain", "three").app, retry_ms=None)
    with EventReader(f"{server.url}/stream") as reader:
        reader.read_to_end()
        assert reader.received.parser.retry is None
        assert reader.received.raw == b"data: one\n\ndata: two\n\ndata: three\n\n"


@FLAVOURS
@WAYS
def test_head_of_a_stream_is_its_head_alone(serve_app: Serve, way: str, flavour: str) -> None:
    stage = Stage(way, flavour, "three")
    server = serve_app(stage.app)
    with Client(server.addresses[0]) as client:
        client.request("HEAD", "/stream")
        head = client.read_head()
        assert head.status == 200
        assert head["content-type"] == "text/event-stream"
        client.expect_eof()
    settled(server, streams=1)


@FLAVOURS
@WAYS
def test_a_stream_to_an_http_1_0_client(serve_app: Serve, way: str, flavour: str) -> None:
    """Not chunked, and ended by the connection (RFC 9112 section 6.3)."""
    stage = Stage(way, flavour, "three")
    server = serve_app(stage.app, retry_ms=None)
    with Client(server.addresses[0]) as client:
        client.send(b"GET /stream HTTP/1.0\r\nHost: x\r\n\r\n")
        head = client.read_head()
        assert head.get("transfer-encoding") is None
        assert head["connection"] == "close"
        expected = b"data: one\n\ndata: two\n\ndata: three\n\n"
        assert client.read_exactly(len(expected)) == expected
        if way == "parked":
            stage.stream.close()
        client.expect_eof()
    settled(server, streams=1)


@FLAVOURS
@DRIVEN_WAYS
def test_a_failure_ends_its_own_stream_alone(
    serve_app: Serve, way: str, flavour: str, caplog: pytest.LogCaptureFixture
) -> None:
    """E6: what was sent arrives, the end is clean, the error is logged, the server goes on."""
    stage = Stage(way, flavour, "fail")
    other = H3()
    other.mount("/a", stage.app)
    server = serve_app(other)
    with Client(server.addresses[0]) as bystander:
        bystander.get("/a/plain")
        with EventReader(f"{server.url}/a/stream") as reader:
            assert data_of(reader.read_to_end()) == ["here"]
            reader.read_eof()
        assert bystander.get("/a/plain").text == "plain"
    settled(server, streams=1)
    assert server.closed_streams == {CloseReason.ERROR: 1}
    wait_until(lambda: stage.reasons)
    assert stage.reasons == [CloseReason.ERROR]
    failed = wait_until(
        lambda: [record for record in caplog.records if record.levelno == logging.ERROR]
    )
    assert len(failed) == 1
    assert failed[0].exc_info is not None
    assert "on purpose" in str(failed[0].exc_info[1])


@FLAVOURS
def test_a_handler_that_fails_after_starting_ends_its_stream(
    serve_app: Serve, flavour: str, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage("parked", flavour, "fail")
    server = serve_app(stage.app)
    with EventReader(f"{server.url}/stream") as reader:
        assert data_of(reader.read_to_end()) == ["here"]
    settled(server, streams=1)
    assert server.closed_streams == {CloseReason.ERROR: 1}
    wait_until(lambda: "on purpose" in caplog.text)


@FLAVOURS
def test_a_callback_that_returns_leaves_its_stream_open(serve_app: Serve, flavour: str) -> None:
    """C8: only ``close()``, the peer, a limit or shutdown ends it; others write to it on."""
    app = H3()
    starts: list[SSEWriter] = []

    def callback(writer: SSEWriter) -> None:
        writer.send_event("from the callback")
        starts.append(writer)

    async def async_callback(writer: SSEWriter) -> None:
        await writer.send_event("from the callback")
        starts.append(writer)

    @app.get("/stream")
    def stream(event: H3Event) -> None:
        event.start_sse()
        event.set_stream_callback(async_callback if flavour == "async" else callback)

    server = serve_app(app)
    with EventReader(f"{server.url}/stream") as reader:
        assert reader.read_event().data == "from the callback"
        wait_until(lambda: not server.driven, what="the stream is parked")
        for number in range(3):
            starts[0].send_event_nowait(str(number))
            assert reader.read_event().data == str(number)
        starts[0].send_comment("still here")
        reader.read_raw_until(b": still here\n\n")
        assert server.open_streams == 1
        starts[0].close()
        assert reader.read_to_end() == []
    settled(server, streams=1)


@FLAVOURS
def test_a_parked_stream_is_written_from_another_thread(serve_app: Serve, flavour: str) -> None:
    """The order of one thread's calls is the order on the wire, from the driven part on."""
    stage = Stage("parked", flavour, "three")
    server = serve_app(stage.app)
    with EventReader(f"{server.url}/stream") as reader:
        reader.read_events(3)
        writer = SSEWriter(stage.stream)
        wait_until(lambda: not server.driven)

        def write() -> None:
            for number in range(500):
                writer.send_event(SSEEvent(str(number), id=str(number)))
            writer.close()

        thread = threading.Thread(target=write)
        thread.start()
        assert data_of(reader.read_to_end()) == [str(number) for number in range(500)]
        thread.join(DEADLINE_S)
        with pytest.raises(WriterClosed):
            writer.send_event("late")
    settled(server, streams=1)


@FLAVOURS
def test_a_stream_parks_by_itself_in_the_middle(serve_app: Serve, flavour: str) -> None:
    """``park()`` inside the block: leaving it then ends nothing."""
    app = H3()
    writers: list[SSEWriter] = []

    def plain(event: H3Event) -> None:
        with event.start_sse() as writer:
            writer.send_event("driven")
            writer.park()
            writer.send_event("parked")
            writers.append(writer)

    async def task(event: H3Event) -> None:
        async with event.start_sse() as writer:
            await writer.send_event("driven")
            writer.park()
            await writer.send_event("parked")
            writers.append(writer)  # type: ignore[arg-type]

    app.get("/stream")(task if flavour == "async" else plain)
    server = serve_app(app)
    with EventReader(f"{server.url}/stream") as reader:
        assert data_of(reader.read_events(2)) == ["driven", "parked"]
        wait_until(lambda: writers)
        writers[0].send_event_nowait("and on")
        assert reader.read_event().data == "and on"
        writers[0].close()
        assert reader.read_to_end() == []
    settled(server, streams=1)


@FLAVOURS
@DRIVEN_WAYS
def test_the_last_event_id_is_at_hand(serve_app: Serve, way: str, flavour: str) -> None:
    stage = Stage(way, flavour, "three")
    server = serve_app(stage.app)
    with EventReader(f"{server.url}/stream", headers=[("Last-Event-ID", "42")]) as reader:
        reader.read_to_end()
    assert stage.stream.last_event_id == "42"


def test_what_a_stream_forbids(serve_app: Serve, backend: str) -> None:
    """Bad use is told at the place, and loses nothing of the stream (E4)."""
    app = H3()
    told: list[str] = []

    @app.get("/stream")
    def stream(event: H3Event) -> None:
        with pytest.raises(NotStreamingMode, match="start_sse"):
            event.set_stream_callback(print)
        assert not event.sse_started
        with event.start_sse() as writer:
            assert event.sse_started
            for misuse in (
                event.start_sse,
                lambda: event.send_text("x"),
                lambda: event.send_json({}),
                lambda: event.set_status(201),
                lambda: event.set_header("a", "b"),
            ):
                with pytest.raises(SSEAlreadyStarted) as error:
                    misuse()
                told.append(str(error.value))
            writer.send_event("all is well")

    @app.get("/answered")
    def answered(event: H3Event) -> None:
        event.send_text("first")
        assert event.response_sent
        with pytest.raises(ResponseAlreadySent):
            event.start_sse()

    server = serve_app(app)
    with EventReader(f"{server.url}/stream") as reader:
        assert data_of(reader.read_to_end()) == ["all is well"]
    with Client(server.addresses[0]) as client:
        assert client.get("/answered").text == "first"
    assert len(told) == 5
    assert all("\n" not in line for line in told)


def test_with_on_the_loop_is_refused(serve_app: Serve, backend: str) -> None:
    """On trio a plain ``with`` in a task would block the loop; in a worker thread it is fine."""
    app = H3()
    told: list[str] = []

    async def on_loop(event: H3Event) -> None:
        start = event.start_sse()
        try:
            start.__enter__()
        except RuntimeError as error:
            told.append(str(error))
        async with start as writer:
            await writer.send_event("then so")

    def in_thread(event: H3Event) -> None:
        with event.start_sse() as writer:
            writer.send_event("then so")

    app.get("/stream")(on_loop if backend == "trio" else in_thread)
    server = serve_app(app)
    with EventReader(f"{server.url}/stream") as reader:
        assert data_of(reader.read_to_end()) == ["then so"]
    assert ["async with" in line for line in told] == ([True] if backend == "trio" else [])


def test_async_code_on_threads_is_refused_at_the_start() -> None:
    app = H3()

    @app.get("/ticks")
    async def ticks(event: H3Event) -> None: ...

    with pytest.raises(ConfigError, match="/ticks"), running(app, backend="threads"):
        pytest.fail("it was served")


@FLAVOURS
@DRIVEN_WAYS
def test_ten_megabytes_arrive_whole(serve_app: Serve, way: str, flavour: str) -> None:
    """F7 and C7: an event far above the queue's cap, with its neighbours beside it."""
    text = "0123456789abcdef" * (10 * 1024 * 1024 // 16)
    events = ["before", text, "after"]
    stage = Stage(way, flavour, "three", events=events)
    server = serve_app(stage.app)
    with EventReader(f"{server.url}/stream") as reader:
        assert data_of(reader.read_to_end()) == events
    settled(server, streams=1)


@FLAVOURS
def test_what_is_left_queued_is_sent_on_while_the_handler_sleeps(
    serve_app: Serve, flavour: str
) -> None:
    """The socket did not take all of the last event; the client gets it all the same."""
    app = H3()
    sent = threading.Event()
    text = "x" * (4 * 1024 * 1024)

    def plain(event: H3Event) -> None:
        with event.start_sse() as writer:
            writer.send_event_nowait(text)
            sent.set()
            writer.wait(DEADLINE_S)

    async def task(event: H3Event) -> None:
        async with event.start_sse() as writer:
            writer.send_event_nowait(text)
            sent.set()
            await trio.sleep_forever()

    app.get("/stream")(task if flavour == "async" else plain)
    server = serve_app(app)
    with EventReader(f"{server.url}/stream") as reader:
        assert sent.wait(DEADLINE_S)
        assert reader.read_event().data == text
    settled(server, streams=1)
