"""Streams that other threads write to, while their driver parks or ends them."""

from __future__ import annotations

import contextlib
import threading

from h3py import H3, BackpressureDetected, CloseReason, H3Event, SSEError, StreamStart
from tests.backends.ways import Serve, settled
from tests.support.client import Client
from tests.support.wait import DEADLINE_S, wait_until

STREAMS = 25
# Above what is sent in one go, so that a send gives others the time to come between.
TEXT = "x" * 20_000


class Publisher:
    """Threads that write to the newest stream, as fast as they can."""

    def __init__(self) -> None:
        self.start: StreamStart | None = None
        self.wrote = threading.Event()
        self._rest = threading.Event()  # never set: a writer that has nothing to do leaves room
        self.errors: list[SSEError] = []
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._write) for _ in range(2)]

    def __enter__(self) -> Publisher:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join(DEADLINE_S)

    def begin(self, start: StreamStart) -> None:
        """Returns while the stream is being written to."""
        self.wrote.clear()
        self.start = start
        assert self.wrote.wait(DEADLINE_S)

    def _write(self) -> None:
        while not self._done.is_set():
            start = self.start
            if start is None or start.closed:
                self._rest.wait(0.01)
                continue
            try:
                start.send_event_nowait(TEXT)
            except BackpressureDetected:
                self._rest.wait(0.001)
            except SSEError as error:
                self.errors.append(error)
            self.wrote.set()


def read_all(client: Client) -> None:
    """Take what there is, so that the writers find room."""
    client.socket.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while client.socket.recv(1 << 20):
            continue


def test_a_stream_parks_while_others_write_to_it(serve_app: Serve, backend: str) -> None:
    """None is lost, ended or cut, and no writer is told of an end."""
    app = H3()

    with Publisher() as publisher, contextlib.ExitStack() as clients:

        @app.get("/stream")
        def stream(event: H3Event) -> None:
            publisher.begin(event.start_sse())

        server = serve_app(app)
        for number in range(STREAMS):
            client = clients.enter_context(Client(server.addresses[0]))
            client.request("GET", "/stream")
            read_all(client)
            wait_until(
                lambda number=number: (
                    server.open_streams + server.closed_streams.total() == number + 1
                    and not server.driven
                )
            )
        publisher.start = None
        assert server.closed_streams == {}
        assert server.open_streams == STREAMS
        ended = [error for error in publisher.errors if type(error).__name__ != "WriterBusy"]
        assert ended == []
    settled(server, streams=STREAMS)
    assert server.closed_streams == {CloseReason.CLIENT_CLOSED: STREAMS}


def test_a_stream_ends_while_others_write_to_it(serve_app: Serve, backend: str) -> None:
    """Its end is told and counted, its connection closed, and the body ends where it should."""
    app = H3()

    with Publisher() as publisher:

        @app.get("/stream")
        def stream(event: H3Event) -> None:
            with event.start_sse() as writer:
                publisher.begin(writer)  # type: ignore[arg-type]  # has the same call

        server = serve_app(app, retry_ms=None)
        for _ in range(STREAMS):
            with Client(server.addresses[0]) as client, client.open_stream("/stream") as opened:
                events = opened.read_to_end()
                assert {event.data for event in events} == {TEXT}
                client.expect_eof()
        publisher.start = None
    settled(server, streams=STREAMS)
    assert server.closed_streams == {CloseReason.HANDLER_DONE: STREAMS}
