"""Every limit, at it and one past it. (Those of time are in `test_timeouts`.)"""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from h3py import H3, CloseReason, H3Event, Limits
from h3py.testing import EventReader
from tests.backends.ways import FLAVOURS, WAYS, Serve, Stage, settled
from tests.support.client import Client
from tests.support.wait import DEADLINE_S, wait_until


def plain_app() -> H3:
    app = H3()
    app.get("/")(lambda event: "hello")
    app.post("/")(lambda event: event.body)
    return app


# -- how many ------------------------------------------------------------------


def test_connections(serve_app: Serve) -> None:
    """At the limit all are served; one more is told when to come back, and the rest go on."""
    server = serve_app(plain_app(), max_connections=3, retry_after_s=7)
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(server.addresses[0])) for _ in range(3)]
        for client in clients:
            assert client.get("/").text == "hello"
        with Client(server.addresses[0]) as one_more:
            reply = one_more.read_reply()
            assert reply.status == 503
            assert reply.head["retry-after"] == "7"
            assert reply.head["connection"] == "close"
            one_more.expect_eof()
        for client in clients:
            assert client.get("/").text == "hello"
        clients[0].close()
        wait_until(lambda: server.open_connections == 2)
        with Client(server.addresses[0]) as again:
            assert again.get("/").text == "hello"
    wait_until(lambda: server.open_connections == 0)


def test_a_refused_client_gets_its_answer_although_it_has_sent_a_request(serve_app: Serve) -> None:
    """What it sends is read and discarded: a reset would take the answer from it."""
    server = serve_app(plain_app(), max_connections=1)
    with Client(server.addresses[0]) as client:
        assert client.get("/").text == "hello"
        for _ in range(20):
            with Client(server.addresses[0]) as one_more:
                one_more.request("GET", "/")
                assert one_more.read_reply().status == 503
                one_more.expect_eof()


@FLAVOURS
@WAYS
def test_streams(serve_app: Serve, way: str, flavour: str) -> None:
    stage = Stage(way, flavour, "sleep")
    server = serve_app(stage.app, max_streams=2, retry_after_s=7)
    with ExitStack() as stack:
        for _ in range(2):
            reader = stack.enter_context(EventReader(f"{server.url}/stream"))
            assert reader.read_event().data == "here"
        with Client(server.addresses[0]) as client:
            for _ in range(2):
                refused = client.get("/stream")
                assert refused.status == 503
                assert refused.head["retry-after"] == "7"
                assert client.get("/plain").text == "plain"
        assert server.open_streams == 2
    stage.go_on.set()
    settled(server, streams=2)
    with EventReader(f"{server.url}/stream") as reader:
        assert reader.read_event().data == "here"
    settled(server, streams=3)


@pytest.mark.parametrize("way", ["handler", "generator", "callback"])
def test_streams_that_hold_a_thread(serve_app: Serve, backend: str, way: str) -> None:
    stage = Stage(way, "plain", "sleep")
    server = serve_app(stage.app, max_sync_streams=2, retry_after_s=7)
    with ExitStack() as stack:
        for _ in range(2):
            reader = stack.enter_context(EventReader(f"{server.url}/stream"))
            assert reader.read_event().data == "here"
        with Client(server.addresses[0]) as client:
            refused = client.get("/stream")
            assert refused.status == 503
            assert refused.head["retry-after"] == "7"
            assert client.get("/plain").text == "plain"
    stage.go_on.set()
    settled(server, streams=2)
    with EventReader(f"{server.url}/stream") as reader:
        assert reader.read_event().data == "here"
    settled(server, streams=3)


def test_streams_hold_no_request_worker(serve_app: Serve) -> None:
    """One worker: as many streams as you like, and requests beside them."""
    stage = Stage("handler", "plain", "sleep")
    server = serve_app(stage.app, workers=1)
    with ExitStack() as stack:
        for _ in range(10):
            reader = stack.enter_context(EventReader(f"{server.url}/stream"))
            assert reader.read_event().data == "here"
        with Client(server.addresses[0]) as client:
            for _ in range(5):
                assert client.get("/plain").text == "plain"
    settled(server, streams=10)
    with Client(server.addresses[0]) as client:
        assert client.get("/plain").text == "plain"


class Workers:
    """Handlers that hold their worker until they are let go."""

    def __init__(self) -> None:
        self.app = H3()
        self.held = 0
        self.let_go = threading.Event()
        self._lock = threading.Lock()
        self.app.get("/hold")(self.hold)
        self.app.get("/")(lambda event: "hello")

    def hold(self, event: H3Event) -> str:
        with self._lock:
            self.held += 1
        assert self.let_go.wait(DEADLINE_S)
        return "held"


def test_workers_at_the_limit_and_one_more_waits(serve_app: Serve) -> None:
    workers = Workers()
    server = serve_app(workers.app, workers=2, worker_wait_s=3600.0)
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(server.addresses[0])) for _ in range(3)]
        for client in clients[:2]:
            client.request("GET", "/hold")
        wait_until(lambda: workers.held == 2)
        clients[2].request("GET", "/hold")
        workers.let_go.set()
        for client in clients:
            assert client.read_reply().text == "held"
    assert workers.held == 3


def test_a_request_that_no_worker_comes_for_is_refused(serve_app: Serve) -> None:
    workers = Workers()
    server = serve_app(workers.app, workers=1, worker_wait_s=0.0, retry_after_s=7)
    with Client(server.addresses[0]) as holder, Client(server.addresses[0]) as client:
        holder.request("GET", "/hold")
        wait_until(lambda: workers.held == 1)
        client.request("GET", "/")
        reply = client.read_reply()
        assert reply.status == 503
        assert reply.head["retry-after"] == "7"
        workers.let_go.set()
        assert holder.read_reply().text == "held"
        assert holder.get("/").text == "hello"


def test_all_workers_answer_at_the_same_moment(serve_app: Serve) -> None:
    app = H3()
    barrier = threading.Barrier(64)

    @app.get("/together")
    def together(event: H3Event) -> str:
        barrier.wait(DEADLINE_S)
        return "together"

    server = serve_app(app)
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(server.addresses[0])) for _ in range(64)]
        for client in clients:
            client.request("GET", "/together")
        for client in clients:
            assert client.read_reply().text == "together"


# -- how much ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "fits", "status"),
    [
        (Limits(request_line_bytes=100), b"GET /%s HTTP/1.1\r\n" % (b"x" * 86), 414),
        (Limits(body_bytes=10), b"POST / HTTP/1.1\r\nContent-Length: 10\r\n", 413),
    ],
    ids=["request line", "body"],
)
def test_what_a_request_may_cost(
    serve_app: Serve, limits: Limits, fits: bytes, status: int
) -> None:
    """The numbers themselves are tested with the parser: here, that the options reach it."""
    server = serve_app(plain_app(), limits=limits)
    body = b"0123456789" if b"POST" in fits else b""
    with Client(server.addresses[0]) as client:
        client.send(fits + b"Host: x\r\n\r\n" + body)
        assert client.read_reply().status in (200, 404)
        client.send(fits.replace(b"xx", b"xxx", 1).replace(b": 10", b": 11") + b"Host: x\r\n\r\n")
        assert client.read_reply().status == status
        client.expect_eof()


@FLAVOURS
@WAYS
def test_what_a_client_may_send_during_a_stream(serve_app: Serve, way: str, flavour: str) -> None:
    """At the limit it is discarded; one byte more ends the stream (``limit``)."""
    stage = Stage(way, flavour, "sleep")
    server = serve_app(stage.app, max_discard_bytes=1000)
    with Client(server.addresses[0]) as client:
        stream = client.open_stream("/stream")
        stream.read_event()
        if way == "parked":
            wait_until(lambda: not server.driven)
        client.send(b"x" * 1000)
        if way == "parked":
            stage.stream.send_nowait(stage.last)
            assert stream.read_event().data == "last"
        assert stage.stream.close_reason is None
        client.send(b"x")
        wait_until(lambda: stage.stream.close_reason)
        stage.go_on.set()
        client.expect_closed()
    settled(server, streams=1)
    assert server.closed_streams == {CloseReason.LIMIT: 1}


@FLAVOURS
@pytest.mark.parametrize("way", ["handler", "generator", "callback"])
def test_one_event_at_the_limit_and_one_byte_more(
    serve_app: Serve, way: str, flavour: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Too large is the application's error: the stream ends with ``error``, whole before it."""
    limit = 1000
    fits = "x" * (limit - len("data: \n\n") - len("3e8\r\n\r\n"))
    stage = Stage(way, flavour, "three", events=[fits, fits + "x", "never"])
    server = serve_app(stage.app, max_event_bytes=limit)
    with EventReader(f"{server.url}/stream") as reader:
        assert [event.data for event in reader.read_to_end()] == [fits]
    settled(server, streams=1)
    assert server.closed_streams == {CloseReason.ERROR: 1}
    wait_until(lambda: "EventTooLarge" in caplog.text)  # logged when its block has been left


@pytest.mark.untraced  # two threads share a queue, in compiled steps that a tracer would cut up
@FLAVOURS
def test_a_queue_is_never_above_its_cap(serve_app: Serve, backend: str, flavour: str) -> None:
    """C5, C6: many small events to a client that reads nothing; then it reads all of them."""
    app = H3()
    most = 0
    count = 5000

    def look(writer: object) -> None:
        nonlocal most
        most = max(most, writer.queued_bytes)  # type: ignore[attr-defined]

    def plain(event: H3Event) -> None:
        with event.start_sse() as writer:
            for number in range(count):
                writer.send_event(f"{number} {'x' * 1000}")
                look(writer)

    async def task(event: H3Event) -> None:
        async with event.start_sse() as writer:
            for number in range(count):
                await writer.send_event(f"{number} {'x' * 1000}")
                look(writer)

    app.get("/stream")(task if flavour == "async" else plain)
    # The rest must come whole, also to a reader whose lines are traced.
    server = serve_app(app, max_queue_bytes=16 * 1024, linger_s=DEADLINE_S)
    with EventReader(f"{server.url}/stream") as reader:
        wait_until(lambda: any(stream.blocked_since for stream in tuple(server.driven)))
        numbers = [int(event.data.split()[0]) for event in reader.read_to_end()]
    assert numbers == list(range(count))
    assert 0 < most <= 16 * 1024
    settled(server, streams=1)


@pytest.mark.parametrize("backend", ["trio"])
def test_requests_that_come_without_end_leave_room_for_others(serve_app: Serve) -> None:
    """A client that pipelines for ever: another one is served between its requests."""
    app = H3()

    @app.get("/")
    async def hello(event: H3Event) -> str:
        return "hello"

    server = serve_app(app)
    stop = threading.Event()

    def pipeline() -> None:
        with Client(server.addresses[0]) as client:
            while not stop.is_set():
                client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 200)
                for _ in range(200):
                    client.read_reply()

    greedy = threading.Thread(target=pipeline)
    greedy.start()
    with Client(server.addresses[0]) as client:
        for _ in range(20):
            assert client.get("/").text == "hello"
    stop.set()
    greedy.join(DEADLINE_S)
