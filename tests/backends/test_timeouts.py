"""Every timeout, on a clock in the test's hand.

A server looks at its clock a few times a second: after ``advance`` the tests wait
for what should happen, and for nothing else.
"""

from __future__ import annotations

import fcntl
import sys
import termios
import threading

from h3py import H3, H3Event
from h3py.backends.conversation import Conversation
from h3py.http import Request
from h3py.testing import ManualClock
from tests.backends.ways import FLAVOURS, Serve
from tests.support.client import Client
from tests.support.wait import DEADLINE_S, wait_until


def plain_app() -> H3:
    app = H3()
    app.get("/")(lambda event: "hello")
    app.post("/")(lambda event: event.body)
    return app


def test_a_head_that_takes_too_long(serve_app: Serve) -> None:
    clock = ManualClock()
    server = serve_app(plain_app(), clock=clock, header_timeout_s=100.0)
    with Client(server.addresses[0]) as client, Client(server.addresses[0]) as other:
        assert client.get("/").text == "hello"
        client.send(b"GET / HTTP/1.1\r\nHost")
        wait_until(lambda: phases(server) == ["HEAD", "IDLE"])
        clock.advance(99.0)
        client.send(b": x\r\n")  # bytes that trickle in do not move the deadline
        wait_until(lambda: all_read(client, server))
        assert other.get("/").text == "hello"
        clock.advance(1.0)
        assert client.read_reply().status == 408
        client.expect_eof()
        assert other.get("/").text == "hello"


def test_a_client_that_says_nothing_at_all(serve_app: Serve) -> None:
    """It is closed without a word: there is no request to answer (RFC 9110 section 15.5.9)."""
    clock = ManualClock()
    server = serve_app(plain_app(), clock=clock, header_timeout_s=100.0)
    with Client(server.addresses[0]) as client:
        wait_until(lambda: server.conversations)
        clock.advance(100.0)
        client.expect_eof()


def test_a_body_that_takes_too_long(serve_app: Serve) -> None:
    clock = ManualClock()
    server = serve_app(plain_app(), clock=clock, body_timeout_s=100.0)
    with Client(server.addresses[0]) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
        wait_until(lambda: phases(server) == ["BODY"])
        clock.advance(99.0)
        client.send(b"of")
        wait_until(lambda: all_read(client, server))
        clock.advance(1.0)
        assert client.read_reply().status == 408
        client.expect_eof()


@FLAVOURS
def test_a_streamed_body_that_takes_too_long(serve_app: Serve, flavour: str) -> None:
    """The handler that reads it is told; the client is, too, where nothing was answered."""
    app = H3()
    clock = ManualClock()

    def plain(event: H3Event) -> str:
        return str(sum(len(piece) for piece in event.body_stream))

    async def task(event: H3Event) -> str:
        return str(sum([len(piece) async for piece in event.body_stream]))

    app.post("/", stream_body=True)(task if flavour == "async" else plain)
    server = serve_app(app, clock=clock, body_timeout_s=100.0)
    with Client(server.addresses[0]) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
        # The body's deadline, not that of the head before it.
        wait_until(lambda: [c for c in server.conversations if c.deadline == clock() + 100.0])
        clock.advance(60.0)
        client.send(b"6789")
        wait_until(lambda: [c for c in server.conversations if c.body_left_s == 40.0])
        client.send(b"0")
        assert client.read_reply().text == "10"
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
        wait_until(lambda: phases(server) == ["BODY"])
        # The body's deadline, not that of the head before it.
        wait_until(lambda: [c for c in server.conversations if c.deadline == clock() + 100.0])
        clock.advance(60.0)
        client.send(b"of")
        wait_until(lambda: [c for c in server.conversations if c.deadline == clock() + 40.0])
        clock.advance(40.0)
        assert client.read_reply().status == 408
        client.expect_eof()


def test_a_thread_that_reads_a_body_is_not_interfered_with(serve_app: Serve) -> None:
    """Its time runs out while it feeds the parser: nobody else touches the parser meanwhile."""
    app = H3()
    clock = ManualClock()
    errors: list[object] = []

    @app.post("/", stream_body=True)
    def total(event: H3Event) -> str:
        return str(sum(len(piece) for piece in event.body_stream))

    class Parser:
        """Lets the time run out in the middle of a ``feed``."""

        def __init__(self, conversation: Conversation) -> None:
            self.conversation = conversation
            self.parser = conversation.parser

        def feed(self, data: bytes) -> list[Request]:
            if data == b"later":
                clock.advance(100.0)
                wait_until(lambda: self.conversation.expired, what="the sweep finds it late")
                errors.append(self.parser.error)
            return self.parser.feed(data)

        def __getattr__(self, name: str) -> object:
            return getattr(self.parser, name)

    server = serve_app(app, clock=clock, body_timeout_s=100.0)
    with Client(server.addresses[0]) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
        wait_until(lambda: [c for c in server.conversations if c.deadline == clock() + 100.0])
        (conversation,) = server.conversations
        conversation.parser = Parser(conversation)  # type: ignore[assignment]  # stands between
        client.send(b"later")
        assert client.read_reply().text == "10", "it came in time, if only just"
        client.expect_closed()
    assert errors == [None]


def test_silence_between_requests(serve_app: Serve) -> None:
    clock = ManualClock()
    server = serve_app(plain_app(), clock=clock, keep_alive_timeout_s=100.0, header_timeout_s=50.0)
    with Client(server.addresses[0]) as client:
        for _ in range(3):
            assert client.get("/").text == "hello"
            wait_until(lambda: phases(server) == ["IDLE"])
            clock.advance(99.0)
        assert client.get("/").text == "hello"
        wait_until(lambda: phases(server) == ["IDLE"])
        clock.advance(100.0)
        client.expect_eof()
    wait_until(lambda: server.open_connections == 0)


def test_a_handler_may_take_its_time(serve_app: Serve) -> None:
    """None of the deadlines is about the application's own code."""
    clock = ManualClock()
    app = H3()
    let_go, began = threading.Event(), threading.Event()

    @app.get("/")
    def slow(event: H3Event) -> str:
        began.set()
        assert let_go.wait(DEADLINE_S)
        return "at last"

    server = serve_app(app, clock=clock)
    with Client(server.addresses[0]) as client:
        client.request("GET", "/")
        assert began.wait(DEADLINE_S)
        clock.advance(100_000.0)
        server_looked(server, clock)
        let_go.set()
        assert client.read_reply().text == "at last"


def test_a_client_that_takes_nothing_of_a_response(serve_app: Serve, backend: str) -> None:
    """``write_timeout_s``: it is closed, and its handler's worker is free again."""
    app = H3()
    app.get("/")(lambda event: b"x" * (32 * 1024 * 1024))
    clock = ManualClock()
    options = {"clock": clock, "write_timeout_s": 100.0} if backend == "trio" else {}
    server = serve_app(app, **({"write_timeout_s": 0.0} | options))
    with Client(server.addresses[0], receive_buffer=4096) as client:
        client.request("GET", "/")
        assert client.read_head().status == 200
        if backend == "trio":
            wait_until(lambda: [c.deadline for c in server.conversations if c.deadline])
            clock.advance(100.0)
        wait_until(lambda: server.open_connections == 0)
        client.expect_closed()


def all_read(client: Client, server: object) -> bool:
    """Whether what the client has sent has arrived, and the server has read all of it."""
    if pending(client.socket.fileno(), termios.TIOCOUTQ):
        return False
    conversations = tuple(server.conversations)  # type: ignore[attr-defined]
    return not any(pending(item.wire.fd, termios.FIONREAD) for item in conversations)


def pending(fd: int, question: int) -> int:
    """Bytes not acknowledged by the peer (TIOCOUTQ), or not read here (FIONREAD)."""
    return int.from_bytes(fcntl.ioctl(fd, question, b"\0" * 4), sys.byteorder)


def phases(server: object) -> list[str]:
    """What each connection waits for, as far as its deadline has been set."""
    return sorted(
        conversation.phase.name
        for conversation in server.conversations  # type: ignore[attr-defined]
        if conversation.deadline is not None
    )


def server_looked(server: object, clock: ManualClock) -> None:
    """The server has looked at its clock: another connection that was late is closed by then."""
    with Client(server.addresses[0]) as late:  # type: ignore[attr-defined]
        wait_until(lambda: phases(server))
        clock.advance(100_000.0)
        late.expect_eof()
