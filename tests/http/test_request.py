"""The values: a body in pieces, and what a request is shown as."""

from __future__ import annotations

from h3py.http import HTTP_11, BodyStream, Headers, Request


def test_a_body_stream_gives_what_has_come_once() -> None:
    body = BodyStream()
    assert body.take() == b""
    assert body.pending == 0
    body.put(b"he")
    body.put(b"llo")
    assert body.pending == 5
    taken = body.take()
    assert taken == b"hello"
    assert isinstance(taken, bytes)
    assert body.pending == 0
    assert body.take() == b""
    assert not body.complete
    assert body.error is None


def test_what_was_taken_does_not_change() -> None:
    body = BodyStream()
    body.put(b"one")
    taken = body.take()
    body.put(b"two")
    assert taken == b"one"


def test_repr_of_a_request() -> None:
    request = Request("GET", "/a?b", "/a", "b", HTTP_11, Headers([]))
    assert repr(request) == "<Request GET /a?b>"
    assert request.body == b""
    assert request.keep_alive
