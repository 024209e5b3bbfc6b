"""A server that stops: farewells, clean ends, turns. (More of its end: `test_shutdown`.)"""

from __future__ import annotations

import ssl
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trio

from h3py import H3, CloseReason, H3Event, ServeOptions, SSEEvent, SSEManager, running, serve_trio
from h3py.backends.draining import VARIANTS, farewell, farewells, retry_of
from h3py.sse.stream import Stream
from tests.backends.parting import BYE, PARTING, check_parted, opened
from tests.backends.ways import FLAVOURS, WAYS, Stage
from tests.support.client import Client, EventStream
from tests.support.wait import DEADLINE_S, wait_until

# -- every kind of stream ----------------------------------------------------------


@pytest.mark.parametrize("over", ["plain", "tls"])
@FLAVOURS
@WAYS
def test_every_kind_of_stream_gets_a_farewell_and_a_clean_end(
    backend: str, way: str, flavour: str, over: str, certificate: Path, trusting: ssl.SSLContext
) -> None:
    stage = Stage(way, flavour, "sleep")
    options = PARTING | ({"certificate": certificate} if over == "tls" else {})
    with running(stage.app, backend=backend, **options) as server, ExitStack() as stack:
        streams = opened(server, stack, 5, tls=trusting if over == "tls" else None)
        if way == "parked":
            wait_until(lambda: not server.driven)
        server.shutdown()
        wait_until(lambda: way == "parked" or all(item.closed for item in stage.streams))
        stage.go_on.set()
        for stream in streams:
            check_parted(stream)
            stream.client.expect_closed()
            stream.client.close()
    assert server.closed_streams == {CloseReason.SHUTDOWN: 5}
    assert stage.reasons == [CloseReason.SHUTDOWN] * 5
    assert server.open_connections == 0


@pytest.mark.parametrize("over", ["plain", "tls"])
def test_a_managers_streams_get_it_too(
    backend: str, over: str, certificate: Path, trusting: ssl.SSLContext
) -> None:
    manager = SSEManager()
    app = H3()
    app.get("/stream")(lambda event: manager.subscribe(event, channels=["news"]))
    options = PARTING | ({"certificate": certificate} if over == "tls" else {})
    with running(app, backend=backend, **options) as server, ExitStack() as stack:
        tls = trusting if over == "tls" else None
        clients = [stack.enter_context(Client(server.addresses[0], tls=tls)) for _ in range(5)]
        streams = [client.open_stream("/stream") for client in clients]
        wait_until(lambda: len(manager.get_connections()) == 5)
        manager.send_to_channel("news", "said", "before")
        server.shutdown()
        for stream in streams:
            assert stream.read_event().data == "before"
            check_parted(stream)
            stream.client.close()
    assert server.closed_streams == {CloseReason.SHUTDOWN: 5}
    assert server.open_connections == 0


def test_a_server_that_ends_beside_another_of_its_manager(backend: str) -> None:
    """Its streams part and end; those of the other go on, and are published to."""
    manager = SSEManager()
    app = H3()
    app.get("/stream")(lambda event: manager.subscribe(event, channels=["news"]))
    app2 = H3()
    app2.get("/stream")(lambda event: manager.subscribe(event, channels=["news"]))
    with running(app2, backend=backend) as stays, Client(stays.addresses[0]) as staying:
        there = staying.open_stream("/stream")
        with running(app, backend=backend, **PARTING) as goes, ExitStack() as stack:
            clients = [stack.enter_context(Client(goes.addresses[0])) for _ in range(3)]
            streams = [client.open_stream("/stream") for client in clients]
            wait_until(lambda: len(manager.get_connections()) == 4)
            goes.shutdown()
            for stream in streams:
                check_parted(stream)
                stream.client.close()
        assert goes.closed_streams == {CloseReason.SHUTDOWN: 3}
        assert manager.send_to_channel("news", "said", "after") == 1
        assert there.read_event().data == "after"


def test_what_was_sent_comes_before_it(backend: str) -> None:
    """A client that is behind gets all that was sent to it, then the farewell, then the end."""
    app = H3()
    began: list[Stream] = []

    @app.get("/stream")
    def stream(event: H3Event) -> None:
        with event.start_sse() as writer:
            began.append(writer._stream)
            writer.wait(DEADLINE_S)

    with (
        running(app, backend=backend, **PARTING) as server,
        Client(server.addresses[0], receive_buffer=4096) as client,
    ):
        events = client.open_stream("/stream")
        wait_until(lambda: began)
        sent = 0
        while began[0].try_send(SSEEvent(f"{sent} {'x' * 2000}")):
            sent += 1
        server.shutdown()
        wait_until(lambda: server.closed_streams)
        numbers = [int(event.data.split()[0]) for event in events.read_events(sent)]
        assert numbers == list(range(sent))
        check_parted(events)
    assert server.closed_streams == {CloseReason.SHUTDOWN: 1}


def test_a_stream_that_ends_by_itself_gets_none(backend: str) -> None:
    stage = Stage("handler", "plain", "three")
    with (
        running(stage.app, backend=backend, **PARTING) as server,
        Client(server.addresses[0]) as client,
    ):
        stream = client.open_stream("/stream")
        assert [event.data for event in stream.read_to_end()] == ["one", "two", "three"]
        assert b"retry" not in stream.raw


def test_http_1_0_gets_it_unframed(backend: str) -> None:
    stage = Stage("handler", "plain", "sleep")
    with (
        running(stage.app, backend=backend, **PARTING) as server,
        Client(server.addresses[0]) as client,
    ):
        client.send(b"GET /stream HTTP/1.0\r\n\r\n")
        stream = EventStream(client, client.read_head())
        assert stream.read_event().data == "here"
        server.shutdown()
        check_parted(stream)


@pytest.mark.parametrize("words", [{"farewell": None}, {"farewell_retry_ms": None}])
def test_one_of_the_two_alone(backend: str, words: dict[str, Any]) -> None:
    stage = Stage("parked", "plain", "sleep")
    with running(stage.app, backend=backend, **PARTING | words) as server, ExitStack() as stack:
        (stream,) = opened(server, stack, 1)
        wait_until(lambda: not server.driven)
        server.shutdown()
        events = stream.read_to_end()
        assert [event.data for event in events] == (
            ["come back"] if "farewell" not in words else []
        )
        assert stream.raw.count(b"retry") == ("farewell" in words)


def test_a_response_that_is_under_way_gets_none(backend: str) -> None:
    app = H3()
    let_go, held = threading.Event(), threading.Semaphore(0)

    @app.get("/hold")
    def hold(event: H3Event) -> str:
        held.release()
        assert let_go.wait(DEADLINE_S)
        return "at last"

    with running(app, backend=backend, **PARTING) as server, ExitStack() as stack:
        clients = [stack.enter_context(Client(server.addresses[0])) for _ in range(20)]
        for client in clients:
            client.request("GET", "/hold")
        for _ in clients:
            assert held.acquire(timeout=DEADLINE_S)
        server.shutdown()
        wait_until(lambda: server.stopping)
        let_go.set()
        for client in clients:
            assert client.read_reply().text == "at last"
            client.expect_eof()


@pytest.mark.parametrize("way", ["handler", "callback", "context", "generator"])
def test_code_that_never_looks_up_is_left_behind_with_a_farewell(backend: str, way: str) -> None:
    """At the deadline its client gets what every other got, and its thread is on its own."""
    stage = Stage(way, "plain", "sleep")
    deaf = threading.Event()
    stage.act = lambda writer: (writer.send_event("here"), deaf.wait(2 * DEADLINE_S))  # type: ignore[method-assign]
    with (
        running(stage.app, backend=backend, **PARTING | {"drain_timeout_s": 0.0}) as server,
        ExitStack() as stack,
    ):
        (stream,) = opened(server, stack, 1)
        server.shutdown()
        check_parted(stream)
    assert server.closed_streams == {CloseReason.SHUTDOWN: 1}
    assert server.open_connections == 0
    deaf.set()
    stage.go_on.set()
    wait_until(lambda: stage.left == 1)


@pytest.mark.parametrize("way", ["handler", "callback", "generator", "parked"])
def test_a_server_that_is_cancelled_says_why_its_streams_end(way: str) -> None:
    """Not "handler_done", though the cancellation leaves the handler's block."""
    stage = Stage(way, "async", "sleep")

    held = ExitStack()

    async def main() -> Any:
        async with trio.open_nursery() as nursery:
            server = await nursery.start(
                lambda task_status: serve_trio(stage.app, port=0, task_status=task_status)
            )
            client = held.enter_context(Client(server.addresses[0]))
            stream = await trio.to_thread.run_sync(client.open_stream, "/stream")
            assert (await trio.to_thread.run_sync(stream.read_event)).data == "here"
            nursery.cancel_scope.cancel()
        return server

    with held:
        server = trio.run(main)
    assert server.closed_streams == {CloseReason.SHUTDOWN: 1}
    assert stage.reasons == [CloseReason.SHUTDOWN]


# -- the words ---------------------------------------------------------------------


def test_a_retry_is_spread_by_a_fifth_and_by_the_window() -> None:
    assert [retry_of(5000, at) for at in (0.0, 0.5, 1.0)] == [4000, 5000, 6000]
    assert [retry_of(5000, at, 10.0) for at in (0.0, 1.0)] == [4000, 16_000]


def test_an_engine_gets_variants_spread_evenly() -> None:
    options = ServeOptions(farewell_retry_ms=16_000)  # so 12,800 to 19,200 ms, in sixteen parts
    variants = farewells(options)
    assert len(variants) == VARIANTS
    retries = sorted(int(words.split()[1]) for words in variants)
    for place, retry in enumerate(retries):
        assert 12_800 + place * 400 <= retry <= 12_800 + (place + 1) * 400


def test_the_words_are_what_the_options_say() -> None:
    assert farewell(ServeOptions(retry_ms=1000), 0.5) == b"retry: 1000\n\n"
    assert farewell(ServeOptions(retry_ms=1000, farewell_retry_ms=2000), 0.5) == b"retry: 2000\n\n"
    assert farewell(ServeOptions(retry_ms=None)) == b""
    assert farewells(ServeOptions(retry_ms=None)) == ()
    only = ServeOptions(retry_ms=None, farewell=BYE)
    assert farewells(only) == (b"event: bye\ndata: come back\n\n",)
