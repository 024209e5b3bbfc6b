"""The application layer over real connections: what only a backend's own threads and tasks show."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextvars import ContextVar
from typing import Any

import pytest

from h3py import H3, H3Event, inline
from h3py.app.middleware import CORS, security_headers
from h3py.options import Backend
from tests.app.kit import for_backend
from tests.support.client import Client, Reply

var: ContextVar[str] = ContextVar("var", default="unset")
ORIGIN = "https://example.org"


def add(text: str) -> str:
    var.set(f"{var.get()} {text}")
    return var.get()


def generator(event: H3Event) -> Generator[str, None, None]:
    for number in range(2):
        yield add(str(number))


async def async_generator(event: H3Event) -> AsyncGenerator[str, None]:
    for number in range(2):
        yield add(str(number))


def callback(event: H3Event) -> None:
    def write(writer: Any) -> None:
        writer.send_event(add("callback"))
        writer.close()

    add("handler")
    event.start_sse()
    event.set_stream_callback(write)


def within(event: H3Event) -> None:
    with event.start_sse() as stream:
        stream.send_event(add("handler"))


def authorize(event: H3Event) -> Generator[str, None, None]:
    event.context["session"] = "open"
    yield "ann"
    event.context["session"] = "closed"


def two_steps(event: H3Event) -> Generator[str, None, None]:
    yield f"{event.principal}, {event.context['session']}"


def make_app(backend: Backend) -> H3:
    app = H3()
    app.use(CORS(origins=[ORIGIN]))
    app.use(security_headers())

    @app.use
    def middleware(event: H3Event) -> Generator[None, Any, None]:
        add("middleware")
        response = yield
        if response is not None:
            response.headers.append(("x-variable", var.get()))

    def read(event: H3Event) -> str:
        return add("handler")

    app.get("/own", for_backend(read, backend))
    app.get("/plain", read)
    app.get("/inline", inline(lambda event: add("handler")))
    app.get("/generator", async_generator if backend == "trio" else generator)
    app.get("/callback", callback)
    app.get("/within", within)
    app.get("/two-steps", two_steps, authorize=authorize)
    app.post("/pieces", lambda event: str(sum(map(len, event.body_stream))), stream_body=True)
    return app


@pytest.fixture
def address(serve_app: Any, backend: Backend) -> Any:
    return serve_app(make_app(backend), retry_ms=None).addresses[0]


def ask(address: Any, target: str) -> Reply:
    with Client(address) as client:
        return client.get(target, [("Origin", ORIGIN)])


def test_variables_stay_within_their_request_on_one_connection(address: Any) -> None:
    with Client(address) as client:
        for target in ("/own", "/plain", "/inline") * 2:
            reply = client.get(target)
            assert reply.text == "unset middleware handler"
            assert reply.head.get("x-variable") == "unset middleware handler"


@pytest.mark.parametrize(
    ("target", "events"),
    [
        ("/generator", "data: unset middleware 0\n\ndata: unset middleware 0 1\n\n"),
        ("/callback", "data: unset middleware handler callback\n\n"),
        ("/within", "data: unset middleware handler\n\n"),
        ("/two-steps", "data: ann, closed\n\n"),
    ],
)
def test_streams_see_the_variables_and_carry_the_headers(
    target: str, events: str, address: Any
) -> None:
    for _ in range(2):
        reply = ask(address, target)
        assert reply.text == events
        assert reply.head.get("content-type") == "text/event-stream"
        assert reply.head.get("access-control-allow-origin") == ORIGIN
        assert reply.head.get("x-content-type-options") == "nosniff"


def test_automatic_answers(address: Any) -> None:
    with Client(address) as client:
        client.request("HEAD", "/plain")
        reply = client.read_reply(head_only=True)
        assert (reply.status, reply.head.get("content-length")) == (200, "24")
        client.request("OPTIONS", "/plain")
        reply = client.read_reply()
        assert (reply.status, reply.head.get("allow")) == (204, "GET, HEAD, OPTIONS")
        client.request("POST", "/plain", body=b"")
        reply = client.read_reply()
        assert (reply.status, reply.head.get("allow")) == (405, "GET, HEAD, OPTIONS")
        assert client.get("/nothing").status == 404


def test_a_body_in_pieces(address: Any) -> None:
    with Client(address) as client:
        client.request("POST", "/pieces", body=b"x" * 300_000)
        assert client.read_reply().text == "300000"
        assert client.get("/plain").status == 200
