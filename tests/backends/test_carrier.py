"""Connections between owners: what is left to send, who has only ended its side, failed moves."""

from __future__ import annotations

import ssl
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trio

from h3py import (
    H3,
    CloseReason,
    ConnectionClosed,
    H3Event,
    ManagerClosed,
    SSEManager,
    SSEWriter,
    running,
)
from h3py._speedups.engine import Engine
from h3py.backends import thread_backend, trio_backend
from h3py.sse.stream import Stream
from h3py.testing import ManualClock
from tests.backends.ways import FLAVOURS, Serve, Stage, settled
from tests.support.client import Client
from tests.support.wait import DEADLINE_S, wait_until

BIG = "x" * 1_000_000
"""An event that no socket's buffers take at once, from a sender that does not wait."""


def big_app(flavour: str, streams: list[Stream]) -> H3:
    """One large event that is not waited for, and then nothing for ever."""
    app = H3()

    def plain(event: H3Event) -> None:
        with event.start_sse() as writer:
            streams.append(writer._stream)
            writer.send_event_nowait(BIG)
            writer.wait(2 * DEADLINE_S)

    async def task(event: H3Event) -> None:
        async with event.start_sse() as writer:
            streams.append(writer._stream)
            writer.send_event_nowait(BIG)
            await trio.sleep_forever()

    app.get("/stream")(task if flavour == "async" else plain)
    return app


# -- what is left --------------------------------------------------------------------


@pytest.mark.parametrize("over", ["plain", "tls"])
@FLAVOURS
def test_what_a_driver_left_leaves_as_soon_as_the_client_reads(
    serve_app: Serve, flavour: str, over: str, monkeypatch: pytest.MonkeyPatch,
    certificate: Path, trusting: ssl.SSLContext,
) -> None:  # fmt: skip
    """The driver sleeps; nobody waits for the sweep, which does not come here."""
    monkeypatch.setattr(trio_backend, "SWEEP_S", 3600.0)
    monkeypatch.setattr(thread_backend, "SWEEP_S", 3600.0)
    streams: list[Stream] = []
    options: dict[str, Any] = {"certificate": certificate} if over == "tls" else {}
    server = serve_app(big_app(flavour, streams), **options)
    tls = trusting if over == "tls" else None
    with Client(server.addresses[0], tls=tls, receive_buffer=4096) as client:
        stream = client.open_stream("/stream")
        wait_until(lambda: streams and streams[0].event_count)
        assert streams[0].queued_bytes > 0
        assert stream.read_event().data == BIG
        assert not streams[0].closed
    settled(server, streams=1)


# -- a client that has only ended its side -------------------------------------------


@FLAVOURS
def test_a_client_that_ends_its_side_still_gets_what_is_queued(
    serve_app: Serve, flavour: str
) -> None:
    streams: list[Stream] = []
    server = serve_app(big_app(flavour, streams), linger_s=3600.0)
    with Client(server.addresses[0], receive_buffer=4096) as client:
        stream = client.open_stream("/stream")
        wait_until(lambda: streams and streams[0].event_count)
        client.end_sending()
        wait_until(lambda: server.closed_streams)
        assert streams[0].close_reason is CloseReason.CLIENT_CLOSED
        assert [event.data for event in stream.read_to_end()] == [BIG]
        client.expect_eof()
    settled(server, streams=1)


@FLAVOURS
def test_but_not_for_longer_than_the_linger_time(serve_app: Serve, flavour: str) -> None:
    streams: list[Stream] = []
    clock = ManualClock()
    server = serve_app(big_app(flavour, streams), linger_s=60.0, clock=clock, heartbeat_s=None)
    with Client(server.addresses[0], receive_buffer=4096) as client:
        client.open_stream("/stream")
        wait_until(lambda: streams and streams[0].event_count)
        client.end_sending()
        wait_until(lambda: server.closed_streams)
        clock.advance(59.0)
        assert server.open_connections == 1
        wait_until(lambda: clock.advance(1.0) and server.open_connections == 0)
        client.expect_closed()
    settled(server, streams=1)
    assert server.closed_streams == {CloseReason.CLIENT_CLOSED: 1}


@FLAVOURS
def test_of_one_that_resets_nothing_lingers(serve_app: Serve, flavour: str) -> None:
    streams: list[Stream] = []
    server = serve_app(big_app(flavour, streams), linger_s=3600.0)
    with Client(server.addresses[0], receive_buffer=4096) as client:
        client.open_stream("/stream")
        wait_until(lambda: streams and streams[0].event_count)
        client.reset()
    settled(server, streams=1)
    assert server.closed_streams == {CloseReason.CLIENT_CLOSED: 1}


# -- moves that fail -----------------------------------------------------------------


class Home:
    """A home elsewhere: an engine that has ended, or a hub that takes nobody any more."""

    def __init__(self, *, hub_is_open: bool) -> None:
        self.engine = Engine()
        self.hub = self
        self.closed = not hub_is_open
        self.terms: dict[str, Any] = {}
        self.left: list[Stream] = []
        self.visitors: list[object] = []
        if hub_is_open:
            self.engine.shut_down()

    def enter(self, host: object) -> None:
        if self.closed:
            raise ManagerClosed("closed")
        self.visitors.append(host)

    def drain(self, host: object, *_: object) -> list[Stream]:
        return []

    def leave(self, host: object) -> None:
        self.visitors.remove(host)

    def stream_left(self, stream: Stream) -> None:
        self.left.append(stream)


@pytest.mark.parametrize("over", ["plain", "tls"])
@pytest.mark.parametrize(
    ("hub_is_open", "error"), [(False, ManagerClosed), (True, ConnectionClosed)]
)
@FLAVOURS
def test_a_stream_that_cannot_move_stays_with_its_driver(
    backend: str, flavour: str, over: str, hub_is_open: bool, error: type[Exception],
    certificate: Path, trusting: ssl.SSLContext,
) -> None:  # fmt: skip
    """It can be written to on, and its client is looked after on."""
    home = Home(hub_is_open=hub_is_open)
    app = H3()
    streams: list[Stream] = []

    def refused(start: Any) -> None:
        stream = start._stream
        stream.home = home
        with pytest.raises(error):
            start.park()
        assert stream in stream.host.driven
        assert stream.handle != 0
        streams.append(stream)

    def plain(event: H3Event) -> None:
        with event.start_sse() as writer:
            refused(writer)
            writer.send_event("still here")
            assert writer.wait(DEADLINE_S)

    async def task(event: H3Event) -> None:
        async with event.start_sse() as writer:
            refused(writer)
            await writer.send_event("still here")
            await trio.sleep_forever()

    app.get("/stream")(task if flavour == "async" else plain)
    options: dict[str, Any] = {"certificate": certificate} if over == "tls" else {}
    with running(app, backend=backend, **options) as server:
        with Client(server.addresses[0], tls=trusting if over == "tls" else None) as client:
            assert client.open_stream("/stream").read_event().data == "still here"
            assert streams[0].close_reason is None
        settled(server, streams=1)
        assert server.closed_streams == {CloseReason.CLIENT_CLOSED: 1}
        assert home.left == streams, "the home that it never reached is told of its end"
        assert home.visitors == ([server] if hub_is_open else [])
    assert home.visitors == [], "whoever entered has left"


# -- parked elsewhere ----------------------------------------------------------------


@pytest.mark.parametrize("how", ["returned", "begun before"])
def test_a_stream_under_tls_that_a_manager_serves(
    backend: str, how: str, certificate: Path, trusting: ssl.SSLContext
) -> None:
    """It is published to, its client's bytes are discarded, its end is seen by all."""
    manager = SSEManager()
    app = H3()
    reasons: list[CloseReason] = []

    @app.get("/stream")
    def stream(event: H3Event) -> Any:
        if how == "begun before":
            start = event.start_sse()
            start.send_event_nowait("first")
            subscription = manager.subscribe(start, channels=["news"])
            subscription.on_close(reasons.append)
            return None
        return manager.subscribe(event, channels=["news"])

    with running(app, backend=backend, certificate=certificate) as server:
        with ExitStack() as stack:
            clients = [
                stack.enter_context(Client(server.addresses[0], tls=trusting)) for _ in range(5)
            ]
            streams = [client.open_stream("/stream") for client in clients]
            wait_until(lambda: len(manager.get_connections()) == 5)
            names = [thread.name for thread in threading.enumerate()]
            assert names.count("h3py-tls") == 1
            for number in range(100):
                assert manager.send_to_channel("news", "number", str(number)) == 5
            for item in streams:
                item.client.send(b"unasked")
                if how == "begun before":
                    assert item.read_event().data == "first"
                data = [event.data for event in item.read_events(100)]
                assert data == [str(number) for number in range(100)]
            assert server.open_streams == 5
        settled(server, streams=5)
        assert server.closed_streams == {CloseReason.CLIENT_CLOSED: 5}
        wait_until(lambda: not manager.get_connections())
        if how == "begun before":
            wait_until(lambda: reasons == [CloseReason.CLIENT_CLOSED] * 5)


@pytest.mark.parametrize("home", ["server", "manager"])
def test_under_tls_streams_that_end_as_they_park(
    backend: str, home: str, certificate: Path, trusting: ssl.SSLContext
) -> None:
    """Their end may be known before the thread that encrypts for them has looked at them."""
    manager = SSEManager()
    app = H3()

    @app.get("/stream")
    def stream(event: H3Event) -> None:
        start = event.start_sse()
        start.send_event_nowait("here")
        if home == "manager":
            manager.subscribe(start).close()
        else:
            start.park()
            start.close()

    with running(app, backend=backend, certificate=certificate) as server:
        for number in range(30):
            with Client(server.addresses[0], tls=trusting) as client:
                events = client.open_stream("/stream").read_to_end()
                assert [event.data for event in events][:1] == ["here"]
            settled(server, streams=number + 1)
    assert server.closed_streams == {CloseReason.HANDLER_DONE: 30}
    assert server.open_connections == 0


# -- after leave to send was given ---------------------------------------------------

ASKING = (
    b"POST /%s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
)  # fmt: skip


@pytest.mark.parametrize("how", ["driven", "subscribed"])
@FLAVOURS
def test_a_stream_after_100_continue(serve_app: Serve, flavour: str, how: str) -> None:
    """First the leave to send, then the head, then the events (RFC 9110 section 10.1.1)."""
    manager = SSEManager()
    app = H3()

    def subscribed(event: H3Event) -> Any:
        return manager.subscribe(event)

    def plain(event: H3Event) -> None:
        body = b"".join(event.body_stream)
        with event.start_sse() as writer:
            writer.send_event(body)

    async def task(event: H3Event) -> None:
        body = b"".join([piece async for piece in event.body_stream])
        async with event.start_sse() as writer:
            await writer.send_event(body)

    async def asubscribed(event: H3Event) -> Any:
        return subscribed(event)

    app.post("/driven", stream_body=True)(task if flavour == "async" else plain)
    app.post("/subscribed", stream_body=True)(asubscribed if flavour == "async" else subscribed)
    server = serve_app(app)
    with Client(server.addresses[0]) as client:
        client.send(ASKING % how.encode())
        assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        if how == "driven":
            client.send(b"body")
        assert client.read_head().status == 200
        if how == "driven":
            assert b"data: body\n\n" in b"".join(client.chunks())
        else:
            wait_until(manager.get_connections)
            manager.broadcast("said", "hello")
            assert b"data: hello\n" in client.read_until(b"hello\n")


def test_a_writer_of_a_thread_is_not_parked_twice(serve_app: Serve) -> None:
    """Parking is once: a second call changes nothing, and the stream is the engine's."""
    stage = Stage("parked", "plain", "three")
    server = serve_app(stage.app)
    with Client(server.addresses[0]) as client:
        stream = client.open_stream("/stream")
        stream.read_events(3)
        wait_until(lambda: not server.driven)
        handle = stage.stream.handle
        SSEWriter(stage.stream).park()
        assert stage.stream.handle == handle
        stage.stream.send_nowait(stage.last)
        assert stream.read_event().data == "last"
    settled(server, streams=1)
