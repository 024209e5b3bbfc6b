"""Graceful shutdown: what is under way is finished, streams end cleanly, the rest is cut."""

from __future__ import annotations

import logging
import threading

import pytest
import trio

from h3py import H3, CloseReason, H3Event, running
from h3py.testing import EventReader
from tests.backends.ways import FLAVOURS, WAYS, Stage
from tests.support.client import Client
from tests.support.wait import DEADLINE_S, wait_until


@FLAVOURS
def test_a_request_that_is_being_answered_is_answered(backend: str, flavour: str) -> None:
    """New connections are refused meanwhile, idle ones closed; the answer says it is the last."""
    app = H3()
    let_go, held = threading.Event(), threading.Event()

    def hold(event: H3Event) -> str:
        held.set()
        assert let_go.wait(DEADLINE_S)
        return "at last"

    async def async_hold(event: H3Event) -> str:
        held.set()
        await trio.to_thread.run_sync(let_go.wait, DEADLINE_S)
        return "at last"

    app.get("/hold")(async_hold if flavour == "async" else hold)
    app.get("/")(lambda event: "hello")
    with (
        running(app, backend=backend, drain_timeout_s=60.0) as server,
        Client(server.addresses[0]) as busy,
    ):
        with Client(server.addresses[0]) as idle, Client(server.addresses[0]) as fresh:
            assert idle.get("/").text == "hello"
            busy.request("GET", "/hold")
            assert held.wait(DEADLINE_S)
            wait_until(lambda: server.open_connections == 3)
            server.shutdown()
            idle.expect_eof()
            fresh.expect_eof()
        with pytest.raises(ConnectionError):
            Client(server.addresses[0])
        let_go.set()
        reply = busy.read_reply()
        assert reply.text == "at last"
        assert reply.head["connection"] == "close"
        busy.expect_eof()


@FLAVOURS
@WAYS
def test_streams_end_cleanly(backend: str, way: str, flavour: str) -> None:
    """With what was queued, the last chunk, and the reason ``shutdown``."""
    stage = Stage(way, flavour, "sleep")
    with running(stage.app, backend=backend, drain_timeout_s=60.0) as server:
        readers = [EventReader(f"{server.url}/stream") for _ in range(10)]
        for reader in readers:
            assert reader.read_event().data == "here"
        if way == "parked":
            wait_until(lambda: not server.driven)
            for stream in stage.streams:
                stream.send_nowait(stage.last)
        server.shutdown()
        wait_until(lambda: way == "parked" or all(item.closed for item in stage.streams))
        stage.go_on.set()
        for reader in readers:
            assert [event.data for event in reader.read_to_end()][:1] != ["after the end"]
            reader.close()
    assert server.closed_streams == {CloseReason.SHUTDOWN: 10}
    assert stage.reasons == [CloseReason.SHUTDOWN] * 10
    assert server.open_connections == 0


def test_a_stream_that_would_begin_during_the_end_is_refused(backend: str) -> None:
    app = H3()
    let_go, held = threading.Event(), threading.Event()

    @app.get("/stream")
    def late(event: H3Event) -> None:
        held.set()
        assert let_go.wait(DEADLINE_S)
        with event.start_sse() as writer:
            writer.send_event("never")

    with (
        running(app, backend=backend, drain_timeout_s=60.0) as server,
        Client(server.addresses[0]) as client,
    ):
        client.request("GET", "/stream")
        assert held.wait(DEADLINE_S)
        server.shutdown()
        wait_until(lambda: server.stopping)
        let_go.set()
        reply = client.read_reply()
        assert reply.status == 503
        assert reply.head.get("retry-after") is not None
        client.expect_eof()


@FLAVOURS
@pytest.mark.parametrize("where", ["request", "stream"])
def test_code_that_does_not_end_is_cut_at_the_deadline(
    backend: str, flavour: str, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its client's connection ends, and so does the server; its thread is left behind."""
    app = H3()
    others = set(threading.enumerate())
    let_go, held = threading.Event(), threading.Event()

    def stuck(event: H3Event) -> str:
        held.set()
        assert let_go.wait(DEADLINE_S)
        return "nobody hears this"

    async def async_stuck(event: H3Event) -> str:
        held.set()
        await trio.sleep_forever()
        return "never"

    def stuck_stream(event: H3Event) -> None:
        with event.start_sse() as writer:
            writer.send_event("here")
            stuck(event)

    async def async_stuck_stream(event: H3Event) -> None:
        async with event.start_sse() as writer:
            await writer.send_event("here")
            held.set()
            await trio.sleep_forever()

    if flavour == "async":
        app.get("/")(async_stuck_stream if where == "stream" else async_stuck)
    else:
        app.get("/")(stuck_stream if where == "stream" else stuck)
    with (
        running(app, backend=backend, drain_timeout_s=0.0) as server,
        Client(server.addresses[0]) as client,
    ):
        client.request("GET", "/")
        assert held.wait(DEADLINE_S)
        server.shutdown()
        client.expect_closed()
    assert not let_go.is_set(), "the server ended without waiting for it"
    let_go.set()
    wait_until(
        lambda: (
            not any(thread.name == "h3py-worker" for thread in {*threading.enumerate()} - others)
        )
    )
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_forced_it_ends_before_the_deadline(backend: str) -> None:
    app = H3()
    let_go, held = threading.Event(), threading.Event()

    @app.get("/")
    def stuck(event: H3Event) -> str:
        held.set()
        assert let_go.wait(2 * DEADLINE_S)
        return "nobody hears this"

    with (
        running(app, backend=backend, drain_timeout_s=3600.0) as server,
        Client(server.addresses[0]) as client,
    ):
        client.request("GET", "/")
        assert held.wait(DEADLINE_S)
        server.shutdown()
        wait_until(lambda: server.stopping)
        server.force()
        client.expect_closed()
    let_go.set()


def test_a_client_that_never_closes_its_side_does_not_hold_the_end(backend: str) -> None:
    """After our end of the connection it is read from for ``linger_s`` at most."""
    stage = Stage("handler", "plain", "three")
    with running(stage.app, backend=backend, linger_s=0.05, drain_timeout_s=3600.0) as server:
        reader = EventReader(f"{server.url}/stream")
        reader.read_to_end()
        reader.read_eof()  # and does not close
    assert server.open_connections == 0
    reader.close()
