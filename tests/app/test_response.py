"""Responses: what each returned value becomes, and what an error says to whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from h3py.app.response import (
    add_vary,
    error_response,
    error_status,
    merge_headers,
    prefers_json,
    to_response,
)
from h3py.errors import HTTPError, RequestError
from h3py.http import Response
from tests.app.kit import make_event

TEXT = "text/plain; charset=utf-8"
BINARY = "application/octet-stream"
JSON = "application/json"


class Struct(msgspec.Struct):
    a: int


@dataclass
class Data:
    a: int


class Text(str):
    pass


class Dictionary(dict[str, int]):
    pass


@pytest.mark.parametrize(
    ("value", "content_type", "body"),
    [
        ("héllo", TEXT, "héllo".encode()),
        (Text("x"), TEXT, b"x"),
        ("", TEXT, b""),
        (b"x", BINARY, b"x"),
        (bytearray(b"x"), BINARY, b"x"),
        (memoryview(b"x"), BINARY, b"x"),
        ({"a": [1, None]}, JSON, b'{"a":[1,null]}'),
        (Dictionary(a=1), JSON, b'{"a":1}'),
        (MappingProxyType({"a": 1}), JSON, b'{"a":1}'),
        ([1, "x"], JSON, b'[1,"x"]'),
        ([], JSON, b"[]"),
        (Struct(1), JSON, b'{"a":1}'),
        (Data(1), JSON, b'{"a":1}'),
    ],
)
def test_values(value: Any, content_type: str, body: bytes) -> None:
    response = to_response(value, make_event())
    assert (response.status, response.headers, response.body) == (
        200, [("content-type", content_type)], body,
    )  # fmt: skip


def test_none_is_no_content_unless_a_status_was_set() -> None:
    response = to_response(None, make_event())
    assert (response.status, response.headers, response.body) == (204, [], b"")
    event = make_event()
    event.set_status(201)
    assert to_response(None, event).status == 201


@pytest.mark.parametrize("value", [200, 1.5, True, ("x", 201), {1}, object(), Data, Struct])
def test_other_values_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="is not a response"):
        to_response(value, make_event())


def test_json_that_cannot_be_is_an_error() -> None:
    with pytest.raises(TypeError):
        to_response({"a": object()}, make_event())


def test_a_responses_own_headers_win() -> None:
    event = make_event()
    event.set_status(500)
    event.set_header("x-one", "event's")
    event.set_header("x-two", "event's")
    event.add_header("vary", "Origin")
    event.set_cookie("a", "1", path=None, http_only=False, same_site=None)
    own = Response(201, [("X-One", "own"), ("Vary", "Accept"), ("Set-Cookie", "b=2")], b"x")
    response = to_response(own, event)
    assert response.status == 201
    assert response.headers == [
        ("X-One", "own"), ("Vary", "Accept"), ("Set-Cookie", "b=2"), ("x-two", "event's"),
        ("vary", "Origin"), ("set-cookie", "a=1"),
    ]  # fmt: skip


def test_a_response_that_is_shared_is_not_changed() -> None:
    shared = Response(200, [("a", "1")], b"x")
    event = make_event()
    event.set_header("b", "2")
    response = to_response(shared, event)
    response.headers.append(("c", "3"))
    assert shared.headers == [("a", "1")]


names = st.sampled_from(["a", "b", "vary", "set-cookie"])
fields = st.lists(st.tuples(names, st.sampled_from(["1", "2"])), max_size=6)


@given(fields, fields)
def test_merging_twice_is_merging_once(own: list[Any], added: list[Any]) -> None:
    merged = merge_headers(own, added)
    assert merge_headers(merged, added) == merged
    assert merged[: len(own)] == own
    assert {name for name, _ in merged} == {name for name, _ in [*own, *added]}


def test_vary_adds_up() -> None:
    response = Response(200, [("Vary", "Accept, origin")])
    add_vary(response, "Origin", "Cookie")
    assert response.headers == [("Vary", "Accept, origin"), ("vary", "Cookie")]
    everything = Response(200, [("vary", "*")])
    add_vary(everything, "Origin")
    assert everything.headers == [("vary", "*")]


# Errors.


@pytest.mark.parametrize(
    ("accept", "json"),
    [
        ([], False),
        (["*/*"], False),
        (["application/json"], True),
        (["application/problem+json"], True),
        (["application/json, text/plain;q=0.9"], True),
        (["application/json;q=0.8, text/html"], False),
        (["text/html", "application/json"], True),
        (["application/json;q=0"], False),
        (["application/json; q=x"], False),
        (["application/*"], False),
        (["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], False),
        (["APPLICATION/JSON ; Q=0.5"], True),
        ([",;,"], False),
    ],
)
def test_json_is_given_to_those_who_ask(accept: list[str], json: bool) -> None:
    assert prefers_json(accept) is json


def test_an_error_as_text_and_as_json() -> None:
    error = HTTPError(404, "no such user", headers={"X-Why": "gone"})
    response = error_response(error, make_event())
    assert (response.status, response.body) == (404, b"no such user")
    assert response.headers == [("x-why", "gone"), ("content-type", TEXT)]
    event = make_event(headers=[("Accept", "application/json")])
    response = error_response(error, event)
    assert response.body == b'{"status":404,"detail":"no such user"}'
    assert dict(response.headers)["content-type"] == JSON


def test_headers_that_describe_a_body_do_not_describe_the_errors() -> None:
    event = make_event()
    for name in ("Content-Type", "ETag", "Last-Modified", "Content-Encoding", "Content-Language"):
        event.set_header(name, "x")
    event.set_header("x-request-id", "7")
    response = error_response(HTTPError(400), event)
    assert response.headers == [("content-type", TEXT), ("x-request-id", "7")]


def test_unexpected_errors_show_nothing_unless_debugging() -> None:
    error = ValueError("the secret \ud800")
    response = error_response(error, make_event())
    assert (response.status, response.body) == (500, b"Internal Server Error")
    assert b"ValueError: the secret" in error_response(error, make_event(), debug=True).body


def test_a_wrong_request_ends_the_connection() -> None:
    response = error_response(RequestError(400, "broken off"), make_event())
    assert (response.status, response.body) == (400, b"broken off")
    assert ("connection", "close") in response.headers


def test_statuses_of_errors() -> None:
    assert error_status(HTTPError(418)) == 418
    assert error_status(RequestError(431, "x")) == 431
    assert error_status(KeyError()) == 500


def test_a_mapping_of_ones_own() -> None:
    class Own(Mapping[str, int]):
        def __getitem__(self, key: str) -> int:
            return {"a": 1}[key]

        def __iter__(self) -> Any:
            return iter(["a"])

        def __len__(self) -> int:
            return 1

    assert to_response(Own(), make_event()).body == b'{"a":1}'
