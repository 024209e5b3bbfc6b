"""What must not be held, lost or taken down: threads, tasks, counts, at the edges of a stream."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator

import pytest
import trio

from h3py import H3, AsyncSSEWriter, CloseReason, H3Event, ServeOptions
from h3py.serving import serve_trio
from tests.backends.ways import Serve, settled
from tests.support.client import Client
from tests.support.wait import DEADLINE_S, wait_until

on_trio = pytest.mark.parametrize("backend", ["trio"])
on_threads = pytest.mark.parametrize("backend", ["threads"])


@on_trio
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_callback_does_not_wait_for_a_stream_that_has_ended(
    serve_app: Serve, backend: str, method: str
) -> None:
    """The client left before the callback's task could be told, or wanted the head alone."""
    app = H3()
    waiting: list[AsyncSSEWriter] = []
    handled = threading.Event()

    async def callback(writer: AsyncSSEWriter) -> None:
        waiting.append(writer)
        await trio.sleep_forever()

    @app.get("/stream")
    def stream(event: H3Event) -> None:
        start = event.start_sse()
        event.set_stream_callback(callback)
        wait_until(lambda: start.closed)
        handled.set()

    server = serve_app(app)
    with Client(server.addresses[0]) as client:
        client.request(method, "/stream")
        client.read_head()
    assert handled.wait(DEADLINE_S)
    settled(server, streams=1)
    assert waiting == []


@on_trio
def test_a_head_request_does_not_keep_its_handler(serve_app: Serve, backend: str) -> None:
    app = H3()
    left = threading.Event()

    @app.get("/stream")
    async def stream(event: H3Event) -> None:
        try:
            async with event.start_sse():
                await trio.sleep_forever()
        finally:
            left.set()

    server = serve_app(app)
    with Client(server.addresses[0]) as client:
        client.request("HEAD", "/stream")
        client.read_head()
        client.expect_eof()
    assert left.wait(DEADLINE_S)
    settled(server, streams=1)


@on_trio
def test_a_stream_that_cannot_begin_is_not_counted(serve_app: Serve, backend: str) -> None:
    app = H3()

    @app.get("/stream")
    async def stream(event: H3Event) -> None:
        await trio.to_thread.run_sync(event.start_sse)

    server = serve_app(app, max_streams=1)
    with Client(server.addresses[0]) as client:
        assert [client.get("/stream").status for _ in range(3)] == [500] * 3
    assert server.open_streams == 0


@on_threads
def test_a_worker_survives_what_a_handler_raises(serve_app: Serve, backend: str) -> None:
    app = H3()

    @app.get("/exit")
    def leave(event: H3Event) -> None:
        raise SystemExit(1)

    @app.get("/plain")
    def plain(event: H3Event) -> str:
        return "plain"

    server = serve_app(app, workers=1)
    with Client(server.addresses[0]) as client:
        client.request("GET", "/exit")
        client.expect_closed()
    with Client(server.addresses[0]) as client:
        assert client.get("/plain").text == "plain"


@on_threads
def test_a_thread_that_cannot_be_started_costs_requests_not_the_server(
    serve_app: Serve, backend: str
) -> None:
    app = H3()
    app.get("/plain")(lambda event: "plain")
    server = serve_app(app, workers=1, worker_wait_s=0)
    size = threading.stack_size(1 << 46)  # more than there are addresses
    try:
        with Client(server.addresses[0]) as client:
            assert client.get("/plain").status == 503
    finally:
        threading.stack_size(size)
    assert server.workers.free == 1


def test_code_that_outlives_the_drain_is_told_of_all_the_same(
    serve_app: Serve, backend: str
) -> None:
    """N1: one reason, to the callbacks and the counters, before the server has ended."""
    app = H3()
    reasons: list[CloseReason] = []
    told_by_the_stop: list[list[CloseReason]] = []
    go_on, done = threading.Event(), threading.Event()

    @app.get("/stream")
    def stream(event: H3Event) -> None:
        with event.start_sse() as writer:
            writer.on_close(reasons.append)
            writer.send_event("here")
            go_on.wait(DEADLINE_S)
        done.set()

    @app.on_stop
    def stop() -> None:
        told_by_the_stop.append([*reasons])

    server = serve_app(app, drain_timeout_s=0)
    with Client(server.addresses[0]) as client:
        client.open_stream("/stream").read_event()
        server.shutdown()
        client.expect_closed()
        wait_until(lambda: told_by_the_stop)
    assert told_by_the_stop == [[CloseReason.SHUTDOWN]]
    assert server.closed_streams == {CloseReason.SHUTDOWN: 1}
    assert server.open_streams == 0
    go_on.set()
    assert done.wait(DEADLINE_S)
    wait_until(lambda: server.open_connections == 0)
    assert reasons == [CloseReason.SHUTDOWN]


def test_cancelling_a_server_does_not_wait_for_its_threads() -> None:
    app = H3()
    go_on = threading.Event()

    @app.get("/stream")
    def stream(event: H3Event) -> None:
        with event.start_sse() as writer:
            writer.send_event("here")
            go_on.wait(DEADLINE_S)

    def connect(address: tuple[str, int]) -> Client:
        client = Client(address)
        client.open_stream("/stream").read_event()
        return client

    async def main() -> None:
        with trio.fail_after(DEADLINE_S - 5):
            async with trio.open_nursery() as nursery:
                server = await nursery.start(serve_trio, app, ServeOptions(port=0))
                client = await trio.to_thread.run_sync(connect, server.addresses[0])
                nursery.cancel_scope.cancel()
        client.close()
        assert server.closed_streams == {CloseReason.SHUTDOWN: 1}

    try:
        trio.run(main)
    finally:
        go_on.set()


@on_trio
def test_no_query_in_the_log_of_a_slow_clean_up(
    serve_app: Serve, backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = H3()

    @app.get("/stream")
    async def stream(event: H3Event) -> AsyncIterator[str]:
        try:
            yield "here"
            yield 1  # type: ignore[misc]  # no event: it fails while the generator waits here
        finally:
            await trio.sleep_forever()

    server = serve_app(app, cleanup_timeout_s=0)
    with Client(server.addresses[0]) as client:
        client.open_stream("/stream?token=hunter2").read_to_end()
    settled(server, streams=1)
    wait_until(lambda: "clean-up took too long" in caplog.text)
    assert "hunter2" not in caplog.text


def test_limits_of_events_are_not_those_of_heads(serve_app: Serve, backend: str) -> None:
    app = H3()
    app.post("/plain")(lambda event: "plain")

    @app.get("/stream")
    def stream(event: H3Event) -> None:
        with event.start_sse() as writer:
            writer.send_event("x")

    server = serve_app(app, max_event_bytes=20)
    with Client(server.addresses[0]) as client:
        assert [event.data for event in client.open_stream("/stream").read_to_end()] == ["x"]
    with Client(server.addresses[0]) as client:
        client.request("POST", "/plain", [("Expect", "100-continue"), ("Content-Length", "1")])
        assert client.read_head().status == 100
        client.send(b"x")
        assert client.read_reply().text == "plain"
