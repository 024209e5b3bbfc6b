"""Requests and answers over a connection, as bytes: order, framing, keep-alive, and ends.

What makes a request good or bad is tested with the parser (`tests/http`); here,
what a server then does with its connection.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from h3py import H3, H3Event, HTTPError, Limits, Response
from tests.backends.ways import FLAVOURS, Serve, Stage, settled
from tests.support.client import Client
from tests.support.wait import DEADLINE_S, wait_until

GET = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"


def echo_app(flavour: str) -> H3:
    app = H3()

    def plain(event: H3Event) -> bytes:
        return f"{event.method} {event.path} ".encode() + event.body

    async def task(event: H3Event) -> bytes:
        return plain(event)

    app.all("/**")(task if flavour == "async" else plain)
    return app


@FLAVOURS
def test_pipelined_requests_are_answered_in_order(serve_app: Serve, flavour: str) -> None:
    server = serve_app(echo_app(flavour))
    with Client(server.addresses[0]) as client:
        client.send(b"".join(GET % number for number in range(100)))
        for number in range(100):
            assert client.read_reply().text == f"GET /{number} "


@FLAVOURS
def test_a_good_request_before_a_bad_one_is_answered(serve_app: Serve, flavour: str) -> None:
    server = serve_app(echo_app(flavour))
    with Client(server.addresses[0]) as client:
        client.send(GET % 1 + GET % 2 + b"BAD\r\n\r\n" + GET % 3)
        assert client.read_reply().text == "GET /1 "
        assert client.read_reply().text == "GET /2 "
        refused = client.read_reply()
        assert refused.status == 400
        assert refused.head["connection"] == "close"
        client.expect_eof()


@FLAVOURS
def test_bodies_of_every_framing(serve_app: Serve, flavour: str) -> None:
    server = serve_app(echo_app(flavour))
    chunked = b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with Client(server.addresses[0]) as client:
        client.request("POST", "/l", body=b"with a length")
        assert client.read_reply().body == b"POST /l with a length"
        client.send(chunked + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n" + GET % 1)
        assert client.read_reply().body == b"POST /c abcde"
        assert client.read_reply().text == "GET /1 "
        for byte in chunked + b"1\r\nx\r\n0\r\n\r\n":
            client.send(bytes([byte]))
        assert client.read_reply().body == b"POST /c x"


@FLAVOURS
def test_a_client_that_waits_for_leave_to_send(serve_app: Serve, flavour: str) -> None:
    """``Expect: 100-continue`` (RFC 9110 section 10.1.1)."""
    server = serve_app(echo_app(flavour), limits=Limits(body_bytes=10))
    head = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    with Client(server.addresses[0]) as client:
        client.send(head % 5)
        assert client.read_head().status == 100
        client.send(b"hello")
        assert client.read_reply().body == b"POST / hello"
        client.send(head % 11)
        assert client.read_reply().status == 413, "refused without having been sent"
        client.expect_eof()


@FLAVOURS
def test_head_has_the_head_of_get(serve_app: Serve, flavour: str) -> None:
    server = serve_app(echo_app(flavour))
    with Client(server.addresses[0]) as client:
        got = client.get("/x")
        client.request("HEAD", "/x")
        head = client.read_reply(head_only=True).head
        # The handler is one for all methods: only the method's name in its answer differs.
        assert int(head["content-length"]) == len(got.body) + 1
        assert head["content-type"] == got.head["content-type"]
        assert client.get("/x").body == got.body


@FLAVOURS
@pytest.mark.parametrize(
    ("request_line", "field", "stays"),
    [
        (b"GET / HTTP/1.1", b"", True),
        (b"GET / HTTP/1.1", b"Connection: close\r\n", False),
        (b"GET / HTTP/1.0", b"", False),
        (b"GET / HTTP/1.0", b"Connection: keep-alive\r\n", True),
    ],
)
def test_whether_a_connection_is_used_again(
    serve_app: Serve, flavour: str, request_line: bytes, field: bytes, stays: bool
) -> None:
    server = serve_app(echo_app(flavour))
    with Client(server.addresses[0]) as client:
        client.send(request_line + b"\r\nHost: x\r\n" + field + b"\r\n")
        assert client.read_reply().status == 200
        if stays:
            assert client.get("/").status == 200
        else:
            client.expect_eof()


@FLAVOURS
def test_an_application_may_end_the_connection(serve_app: Serve, flavour: str) -> None:
    app = H3()

    def plain(event: H3Event) -> str:
        event.set_header("Connection", "close")
        return "bye"

    async def task(event: H3Event) -> str:
        return plain(event)

    app.get("/")(task if flavour == "async" else plain)
    server = serve_app(app)
    with Client(server.addresses[0]) as client:
        client.send(GET.replace(b"/%d", b"/") * 2)
        assert client.read_reply().text == "bye"
        client.expect_eof()


@FLAVOURS
def test_an_early_answer_reaches_a_client_that_goes_on_sending(
    serve_app: Serve, flavour: str
) -> None:
    """Refused after the head: what it sends on is read and discarded, so that no reset comes."""
    server = serve_app(echo_app(flavour), limits=Limits(body_bytes=10), max_discard_bytes=1 << 20)
    with Client(server.addresses[0]) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n")
        client.send(b"x" * 500_000)
        assert client.read_reply().status == 413
        client.expect_eof()


@FLAVOURS
def test_a_response_that_cannot_be_sent_is_an_error_and_never_half_a_one(
    serve_app: Serve, flavour: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = H3()

    def plain(event: H3Event) -> Response:
        return Response(200, [("x-split", "a\r\nb: c")], b"body")

    async def task(event: H3Event) -> Response:
        return plain(event)

    app.get("/")(task if flavour == "async" else plain)
    app.get("/fine")(lambda event: "fine")
    server = serve_app(app)
    with Client(server.addresses[0]) as client:
        reply = client.get("/")
        assert reply.status == 500
        assert b"x-split" not in reply.body
        assert client.get("/fine").text == "fine"
    wait_until(lambda: "x-split" in caplog.text)


@FLAVOURS
def test_errors_of_handlers_are_the_applications_answers(serve_app: Serve, flavour: str) -> None:
    app = H3()

    def plain(event: H3Event) -> str:
        if event.path == "/teapot":
            raise HTTPError(418, "short and stout", headers={"x-spout": "here"})
        raise LookupError("secret detail")

    async def task(event: H3Event) -> str:
        return plain(event)

    app.get("/**")(task if flavour == "async" else plain)
    server = serve_app(app)
    with Client(server.addresses[0]) as client:
        reply = client.get("/teapot")
        assert (reply.status, reply.head["x-spout"]) == (418, "here")
        assert "short and stout" in reply.text
        reply = client.get("/other")
        assert reply.status == 500
        assert "secret" not in reply.text


@FLAVOURS
def test_a_large_response_arrives_whole(serve_app: Serve, flavour: str) -> None:
    """Above every cap: those are for streams."""
    data = bytes(range(256)) * (4 * 1024 * 1024 // 256)
    app = H3()

    async def task(event: H3Event) -> bytes:
        return data

    app.get("/")(task if flavour == "async" else lambda event: data)
    server = serve_app(app, max_queue_bytes=1024, max_event_bytes=1024)
    with Client(server.addresses[0]) as client:
        for _ in range(2):
            assert client.get("/").body == data


@FLAVOURS
def test_a_body_in_pieces_reaches_its_handler_as_it_comes(serve_app: Serve, flavour: str) -> None:
    app = H3()
    pieces: list[bytes] = []

    def plain(event: H3Event) -> str:
        pieces.extend(event.body_stream)
        return "all"

    async def task(event: H3Event) -> str:
        async for piece in event.body_stream:
            pieces.append(piece)  # noqa: PERF401  # each as it comes
        return "all"

    app.post("/", stream_body=True)(task if flavour == "async" else plain)
    app.get("/")(lambda event: "next")
    server = serve_app(app)
    with Client(server.addresses[0]) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\n\r\n")
        for number, piece in enumerate((b"first", b"other", b"third")):
            client.send(piece)
            wait_until(lambda number=number: b"".join(pieces).count(b"r") > number - 1)
            wait_until(lambda piece=piece: b"".join(pieces).endswith(piece))
        assert client.read_reply().text == "all"
        assert client.get("/").text == "next"


@FLAVOURS
def test_a_client_that_leaves_in_the_middle_of_its_body(serve_app: Serve, flavour: str) -> None:
    app = H3()
    errors: list[Exception] = []
    began = threading.Event()

    def plain(event: H3Event) -> str:
        began.set()
        try:
            return str(len(b"".join(event.body_stream)))
        except Exception as error:
            errors.append(error)
            raise

    async def task(event: H3Event) -> str:
        began.set()
        try:
            return str(sum([len(piece) async for piece in event.body_stream]))
        except Exception as error:
            errors.append(error)
            raise

    app.post("/", stream_body=True)(task if flavour == "async" else plain)
    server = serve_app(app)
    with Client(server.addresses[0]) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\n\r\nfirst")
        assert began.wait(DEADLINE_S)
    wait_until(lambda: errors)
    wait_until(lambda: server.open_connections == 0)


@FLAVOURS
def test_a_stream_after_requests_on_the_same_connection(serve_app: Serve, flavour: str) -> None:
    """And bytes that were pipelined behind its request are no second one."""
    stage = Stage("generator", flavour, "three")
    server = serve_app(stage.app)
    with Client(server.addresses[0]) as client:
        assert client.get("/plain").text == "plain"
        client.send(
            b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\nGET /plain HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        assert client.read_head().status == 200
        body = b"".join(client.chunks())
        assert body.endswith(b"data: three\n\n")
        client.expect_eof()
    settled(server, streams=1)


@FLAVOURS
def test_a_client_that_has_said_all_gets_its_answer(serve_app: Serve, flavour: str) -> None:
    """FIN behind the request: a half-closed connection still hears."""
    server = serve_app(echo_app(flavour))
    with Client(server.addresses[0]) as client:
        client.send(GET % 1 + GET % 2)
        client.end_sending()
        assert client.read_reply().text == "GET /1 "
        assert client.read_reply().text == "GET /2 "
        client.expect_eof()
    wait_until(lambda: server.open_connections == 0)


def test_requests_that_are_cut_are_not_run(serve_app: Serve, backend: str) -> None:
    app = H3()
    ran: list[str] = []

    @app.all("/**")
    def handler(event: H3Event) -> Iterator[str] | str:
        ran.append(event.path)
        return "ran"

    server = serve_app(app)
    half_a_body = b"POST /3 HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"
    for cut in (b"GET /1 HTTP/1.1\r\nHost: x\r\n", b"GET /2", half_a_body):
        with Client(server.addresses[0]) as client:
            client.send(cut)
            client.end_sending()
            client.expect_closed()
    wait_until(lambda: server.open_connections == 0)
    assert ran == []
