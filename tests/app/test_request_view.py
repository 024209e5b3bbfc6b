"""`H3Event`, the request's side: computed when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import pytest

from h3py.app import H3, H3Event
from h3py.errors import HTTPError
from h3py.http import BodyStream
from h3py.options import Backend
from tests.app.kit import MemoryExchange, ask, make_event


def test_what_the_request_says() -> None:
    event = make_event(
        "POST",
        "/caf%C3%A9/a%2Fb?q=1&q=2&empty=&e=%C3%A9+x",
        [("Host", "example.org:81"), ("X-One", "1"), ("x-one", "2"), ("Cookie", "a=1; b=2")],
        b"body",
    )
    assert event.method == "POST"
    assert event.path == "/café/a%2Fb"
    assert event.url == "http://example.org:81/caf%C3%A9/a%2Fb?q=1&q=2&empty=&e=%C3%A9+x"
    assert event.query["q"] == "1"
    assert event.query.get_all("q") == ["1", "2"]
    assert event.query["empty"] == ""
    assert event.query["e"] == "é x"
    assert event.headers["X-ONE"] == "1"
    assert event.headers.get_all("x-one") == ["1", "2"]
    assert event.cookies == {"a": "1", "b": "2"}
    assert event.body == b"body"
    assert event.client == ("192.0.2.7", 4711)
    assert event.scheme == "http"
    assert event.params == {}
    assert event.principal is None


def test_a_request_that_says_little() -> None:
    event = make_event(exchange=MemoryExchange(client=None, scheme="https"))
    assert event.url == "https://localhost/"
    assert event.client is None
    assert event.query == {}
    assert event.cookies == {}
    assert event.body == b""


def test_what_is_computed_is_kept() -> None:
    event = make_event(target="/%61?b=c", headers=[("Cookie", "a=1")])
    assert event.query is event.query
    assert event.cookies is event.cookies
    assert event.path is event.path
    event.context["x"] = 1
    assert event.context == {"x": 1}


def test_params_come_from_the_path(backend: Backend) -> None:
    app = H3()
    app.get("/u/:name/**:rest", lambda event: dict(event.params))
    answer = ask(app, "/u/caf%C3%A9/a%20b/c%2Fd/", backend=backend)
    assert answer.json == {"name": "café", "rest": "a b/c%2Fd/"}
    app = H3()
    app.get("/f/**", lambda event: event.params["**"])
    assert ask(app, "/f/x/y", backend=backend).text == "x/y"


@pytest.mark.parametrize("query", ["a=%ff", "%C3=1"])
def test_a_query_that_is_not_utf8_is_the_clients_error(query: str) -> None:
    with pytest.raises(HTTPError) as caught:
        _ = make_event(target=f"/?{query}").query
    assert caught.value.status == 400


# JSON.


class User(msgspec.Struct):
    name: str
    age: Annotated[int, msgspec.Meta(ge=0)] = 0


@dataclass
class Point:
    x: int
    y: int


def test_json_of_a_type() -> None:
    assert make_event(body=b'{"name": "ann"}').read_json(User) == User("ann")
    assert make_event(body=b'{"x": 1, "y": 2}').read_json(Point) == Point(1, 2)
    assert make_event(body=b"[1, 2]").read_json(list[int]) == [1, 2]
    assert make_event(body=b'"x"').read_json(int | str) == "x"
    assert make_event(body=b'{"a": [null]}').read_json() == {"a": [None]}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"name": 1}', "$.name"),
        (b'{"name": "a", "age": -1}', "$.age"),
        (b"{}", "`name`"),
        (b"{", "truncated"),
        (b"", "truncated"),
        (b'{"name": "\xff"}', "utf-8"),
    ],
)
def test_json_that_is_wrong_names_the_field(body: bytes, message: str, backend: Backend) -> None:
    def handler(event: H3Event) -> str:
        return event.read_json(User).name

    app = H3()
    app.post("/", handler)
    answer = ask(app, method="POST", body=body, backend=backend)
    assert answer.status == 400
    assert message in answer.text


def test_json_that_is_nested_too_deeply_is_the_clients_error() -> None:
    for kind in (Any, list[Any]):
        with pytest.raises(HTTPError, match="400 the body is nested too deeply"):
            make_event(body=b"[" * 100_000).read_json(kind)


# Forms and bodies; their details are in test_forms.py and test_body.py.


def test_forms() -> None:
    headers = [("Content-Type", "application/x-www-form-urlencoded")]
    event = make_event("POST", headers=headers, body=b"a=1&a=2&b=")
    assert event.read_form().get_all("a") == ["1", "2"]
    with pytest.raises(HTTPError, match="more than 2 fields"):
        event.read_form(max_fields=2)
    with pytest.raises(HTTPError, match="415"):
        make_event(body=b"a=1").read_form()


def test_a_whole_body_can_be_read_in_pieces() -> None:
    assert list(make_event(body=b"abc").body_stream) == [b"abc"]
    assert list(make_event().body_stream) == []


def test_a_streamed_body_is_not_there_as_a_whole() -> None:
    event = make_event(body=BodyStream())
    with pytest.raises(RuntimeError, match="stream_body=True"):
        _ = event.body
    assert event.body_stream is event.body_stream


def test_limits_on_bodies() -> None:
    event = make_event(body=b"12345")
    event.limit_body(5)
    with pytest.raises(HTTPError, match="413 the body is over 4 bytes"):
        event.limit_body(4)

    announced: Any = [("Content-Length", "6")]
    with pytest.raises(HTTPError, match="413"):
        make_event(body=BodyStream(), headers=announced).limit_body(5)

    stream = BodyStream()
    event = make_event(body=stream)
    event.limit_body(5)
    stream.put(b"12345")
    pieces = iter(event.body_stream)
    assert next(pieces) == b"12345"
    stream.put(b"6")
    with pytest.raises(HTTPError, match="413"):
        next(pieces)
