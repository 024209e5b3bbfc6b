"""The application's code while and after its stream ends.

A generator is always closed, a task that will not yield cannot spin, clean-up is
bounded, and whoever ends a stream ends the code that writes it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator

import pytest
import trio

import h3py.sse.writer
from h3py import (
    H3,
    BackpressureDetected,
    CloseReason,
    H3Event,
    running,
)
from h3py.testing import EventReader, ManualClock
from tests.backends.ways import FLAVOURS, WAYS, Serve, Stage, settled
from tests.support.client import Client
from tests.support.wait import wait_until

# -- the generator is closed -------------------------------------------------------


@FLAVOURS
@pytest.mark.parametrize("way", ["generator", "handler", "callback"])
def test_code_is_ended_when_its_client_is_slow(
    serve_app: Serve, way: str, flavour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client reads nothing; an hour later, on the clock in the test's hand, it is over."""
    # A thread that waits for room is woken, and does not only look now and then.
    monkeypatch.setattr(h3py.sse.writer, "WAIT_SLICE_S", 3600.0)
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
        # The system may take a little more for a moment: then its time begins again.
        wait_until(lambda: clock.advance(3601) and stage.stream.close_reason)
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
    wait_until(lambda: "the log is full" in caplog.text)


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
