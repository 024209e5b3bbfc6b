"""Requests out of bytes: what a well-formed connection brings, and the limits of one request.

How to write a test here: feed bytes, look at the requests, ``error`` and
``phase``. Expected values come from RFC 9110 and 9112; hostile input has its
own file, ``test_parser_hostile.py``.
"""

from __future__ import annotations

import pytest

from h3py.http import HTTP_10, HTTP_11, BodyStream, Phase, Request, RequestParser
from h3py.http.parser import EMPTY_LINES, REQUESTS_PER_FEED
from h3py.options import Limits

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def parse(data: bytes, limits: Limits | None = None) -> tuple[list[Request], RequestParser]:
    """All requests of ``data``, those held back included."""
    parser = RequestParser(limits or Limits())
    requests = parser.feed(data)
    while parser.buffered:
        requests += parser.feed(b"")
    return requests, parser


def parse_one(data: bytes, limits: Limits | None = None) -> Request:
    requests, parser = parse(data, limits)
    assert parser.error is None
    (request,) = requests
    return request


def status_of(data: bytes, limits: Limits | None = None) -> int | None:
    """The status of the error, which must have come before any request; None without one."""
    requests, parser = parse(data, limits)
    if parser.error is None:
        return None
    assert requests == []
    return parser.error.status


class TestRequest:
    def test_a_get(self) -> None:
        request = parse_one(b"GET /a/b%20c?x=1&y=?/ HTTP/1.1\r\nHost: h:80\r\nX-Y:  z \t\r\n\r\n")
        assert request.method == "GET"
        assert request.target == "/a/b%20c?x=1&y=?/"
        assert request.path == "/a/b%20c"
        assert request.query_string == "x=1&y=?/"
        assert request.version == HTTP_11
        assert list(request.headers.items()) == [("host", "h:80"), ("x-y", "z")]
        assert request.body == b""
        assert request.keep_alive

    def test_http_1_0_needs_no_host_and_no_field_at_all(self) -> None:
        request = parse_one(b"GET / HTTP/1.0\r\n\r\n")
        assert request.version == HTTP_10
        assert len(request.headers) == 0
        assert not request.keep_alive

    def test_a_higher_minor_version_counts_as_1_1(self) -> None:
        assert parse_one(GET.replace(b"1.1", b"1.2")).version == HTTP_11

    def test_a_body_with_a_length(self) -> None:
        request = parse_one(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
        assert request.body == b"hello"

    def test_a_chunked_body(self) -> None:
        request = parse_one(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"
            b"5\r\nhello\r\n00A;x=\"y\"\r\n, chunked!\r\n0\r\nTrailer: t\r\n\r\n"
        )
        assert request.body == b"hello, chunked!"
        assert "trailer" not in request.headers

    def test_requests_in_one_read_come_in_order(self) -> None:
        post = b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
        requests, parser = parse(GET + post + GET)
        assert [(r.method, r.body) for r in requests] == [
            ("GET", b""), ("POST", b"hi"), ("GET", b"")
        ]  # fmt: skip
        assert parser.phase is Phase.IDLE

    def test_a_good_request_before_a_bad_one_is_returned(self) -> None:
        requests, parser = parse(GET + b"nonsense\r\n\r\n" + GET)
        assert [r.method for r in requests] == ["GET"]
        assert parser.error is not None
        assert parser.error.status == 400
        assert parser.feed(GET) == []

    def test_what_follows_the_last_request_is_not_read(self) -> None:
        closing = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        requests, parser = parse(closing + GET + b"nonsense\r\n\r\n")
        assert len(requests) == 1
        assert not requests[0].keep_alive
        assert parser.error is None
        assert not parser.buffered
        assert parser.feed(GET) == []
