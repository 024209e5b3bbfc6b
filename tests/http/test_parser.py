"""Requests out of bytes: what a well-formed connection brings.

How to write a test here: feed bytes, look at the requests, ``error`` and
``phase``. Expected values come from RFC 9110 and 9112. Limits, hostile input,
bodies that are waited for and the cutting of reads have files of their own.
"""

from __future__ import annotations

import gc
import weakref

import pytest

from h3py.http import HTTP_10, HTTP_11, Phase, RequestParser
from h3py.http.parser import REQUESTS_PER_FEED
from h3py.options import Limits
from tests.http.support import CHUNKED, GET, POST, bytewise, parse, parse_one


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

    def test_a_higher_minor_version_counts_as_1_1(self) -> None:
        # RFC 9110 section 2.5; and the next request on the connection is read as well.
        requests, parser = parse(GET.replace(b"1.1", b"1.2") + GET)
        assert [r.version for r in requests] == [HTTP_11, HTTP_11]
        assert parser.error is None

    def test_empty_and_repeated_and_latin_1_fields(self) -> None:
        request = parse_one(b"GET / HTTP/1.1\r\nhoSt:\ta\r\nE:\r\nX: 1\r\nx: \xe9\r\n\r\n")
        assert request.headers["host"] == "a"
        assert request.headers["e"] == ""
        assert request.headers.get_all("X") == ["1", "é"]

    def test_no_break_space_is_part_of_a_value(self) -> None:
        # A server that strips it sees another value than the proxy before it.
        assert (
            parse_one(b"GET / HTTP/1.0\r\nX: \x85admin\xa0\r\n\r\n").headers["x"] == "\x85admin\xa0"
        )

    def test_empty_lines_before_a_request_are_ignored(self) -> None:
        assert parse_one(b"\r\n\r\n" + GET).method == "GET"

    @pytest.mark.parametrize(
        ("target", "path", "query", "host"),
        [
            ("http://b.example/p?q", "/p", "q", "b.example"),
            ("HTTPS://b.example:8443", "/", "", "b.example:8443"),
            ("http://[::1]:80?q", "/", "q", "[::1]:80"),
        ],
    )
    def test_absolute_form_replaces_the_host(
        self, target: str, path: str, query: str, host: str
    ) -> None:
        request = parse_one(f"GET {target} HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n".encode())
        assert (request.target, request.path, request.query_string) == (target, path, query)
        assert request.headers.get_all("host") == [host]
        assert request.headers["host"] == host

    def test_asterisk_form(self) -> None:
        assert parse_one(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").path == "*"
        assert parse_one(b"OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n").path == "*"


class TestBody:
    def test_a_length(self) -> None:
        assert parse_one(POST + b"Content-Length: 5\r\n\r\nhello").body == b"hello"
        assert parse_one(POST + b"Content-Length: \t5 \r\n\r\nhello").body == b"hello"

    def test_none(self) -> None:
        assert parse_one(POST + b"\r\n").body == b""
        assert parse_one(POST + b"Content-Length: 0\r\n\r\n").body == b""

    def test_chunked(self) -> None:
        request = parse_one(
            POST + b"Transfer-Encoding: Chunked\r\n\r\n"
            b'5\r\nhello\r\n00A;x="y"\r\n, chunked!\r\n0\r\nTrailer: t\r\n\r\n'
        )
        assert request.body == b"hello, chunked!"
        assert "trailer" not in request.headers

    def test_chunked_and_empty(self) -> None:
        assert parse_one(CHUNKED + b"0\r\n\r\n").body == b""

    def test_a_get_may_have_one(self) -> None:
        data = b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nGET"
        requests, parser = parse(data + GET)
        assert [r.body for r in requests] == [b"GET", b""]
        assert parser.error is None

    def test_trailers_change_nothing(self) -> None:
        trailers = b"Content-Length: 40\r\nHost: evil\r\nConnection: close\r\nX: y\r\n"
        requests, parser = parse(CHUNKED + b"1\r\nx\r\n0\r\n" + trailers + b"\r\n" + GET)
        assert [r.method for r in requests] == ["POST", "GET"]
        assert requests[0].headers.get_all("host") == ["a"]
        assert requests[0].keep_alive
        assert "x" not in requests[0].headers
        assert parser.error is None

    @pytest.mark.parametrize("upgrade", [b"websocket", b"h2c", b"TLS/1.0"])
    @pytest.mark.parametrize(
        "body",
        [
            b"Content-Length: 5\r\n\r\nhello",
            b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ],
    )
    def test_upgrade_is_ignored_and_the_body_is_still_a_body(
        self, upgrade: bytes, body: bytes
    ) -> None:
        head = POST + b"Connection: Upgrade\r\nUpgrade: " + upgrade + b"\r\n"
        requests, parser = parse(head + body + GET)
        assert [r.body for r in requests] == [b"hello", b""]
        assert parser.error is None

    def test_upgrade_without_a_body(self) -> None:
        head = b"GET /up HTTP/1.1\r\nHost: a\r\nConnection: x, Upgrade\r\nUpgrade: h2c\r\n\r\n"
        requests, parser = parse(head + head + GET)
        assert [r.path for r in requests] == ["/up", "/up", "/"]
        assert parser.error is None


class TestConnection:
    @pytest.mark.parametrize(
        ("version", "fields", "keep_alive"),
        [
            ("1.1", "", True),
            ("1.1", "Connection: keep-alive\r\n", True),
            ("1.1", "Connection: close\r\n", False),
            ("1.1", "Connection: Keep-Alive, Close\r\n", False),
            ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", False),
            ("1.1", "Connection: closed\r\n", True),
            ("1.1", "Connection: x-close , \r\n", True),
            ("1.1", "Proxy-Connection: close\r\n", True),
            ("1.0", "", False),
            ("1.0", "Connection: keep-alive\r\n", True),
            ("1.0", "Connection: foo,\tKEEP-ALIVE\r\n", True),
            ("1.0", "Connection: keep-alive, close\r\n", False),
            ("1.0", "Proxy-Connection: keep-alive\r\n", False),
        ],
    )
    def test_keep_alive(self, version: str, fields: str, keep_alive: bool) -> None:
        request = f"GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n".encode()
        requests, parser = parse(request + GET)
        assert requests[0].keep_alive is keep_alive
        assert len(requests) == (2 if keep_alive else 1)
        assert parser.error is None

    def test_requests_in_one_read_come_in_order(self) -> None:
        post = b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
        requests, parser = parse(GET + post + GET)
        assert [(r.method, r.body) for r in requests] == [
            ("GET", b""), ("POST", b"hi"), ("GET", b""),
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
        assert parser.error is None
        assert not parser.buffered
        assert parser.feed(GET) == []
        parser.feed_eof()
        assert parser.error is None

    def test_many_small_requests_are_held_back(self) -> None:
        parser = RequestParser(Limits())
        assert len(parser.feed(GET * (REQUESTS_PER_FEED + 1))) == REQUESTS_PER_FEED
        assert parser.buffered
        assert parser.phase is Phase.IDLE
        assert len(parser.feed(b"")) == 1
        assert not parser.buffered
        assert parser.feed(b"") == []

    def test_exactly_as_many_as_one_feed_returns(self) -> None:
        parser = RequestParser(Limits())
        assert len(parser.feed(GET * REQUESTS_PER_FEED)) == REQUESTS_PER_FEED
        assert not parser.buffered

    def test_the_end_of_input_waits_for_what_is_held_back(self) -> None:
        parser = RequestParser(Limits())
        parser.feed(GET * (2 * REQUESTS_PER_FEED + 1) + b"GET /")
        parser.feed_eof()
        assert len(parser.feed(b"")) == REQUESTS_PER_FEED
        assert parser.error is None
        assert len(parser.feed(b"")) == 1
        assert parser.error is not None
        assert parser.error.status == 400

    def test_a_parser_is_freed_without_the_collector(self) -> None:
        class Watched(RequestParser):
            __slots__ = ("__weakref__",)

        gc.collect()
        gc.disable()
        try:
            for data in (
                GET,
                GET[:20],
                CHUNKED + b"5\r\nhe",
                b"bad\r\n",
                POST + b"Upgrade: x\r\n\r\n",
            ):
                parser = Watched(Limits(), wants_stream=lambda request: True)
                gone = weakref.ref(parser)
                parser.feed(data)
                del parser
                assert gone() is None, data
        finally:
            gc.enable()


class TestPhase:
    def test_of_a_request(self) -> None:
        parser = RequestParser(Limits())
        phases = []
        for piece in (b"", b"\r\n", b"P", POST[1:], b"Content-Length: 2\r\n\r\n", b"h", b"i", b"G"):
            parser.feed(piece)
            phases.append(parser.phase)
        idle, head, body = Phase.IDLE, Phase.HEAD, Phase.BODY
        assert phases == [idle, idle, head, head, body, body, idle, head]

    def test_of_a_chunked_body_up_to_its_last_byte(self) -> None:
        parser = RequestParser(Limits())
        parser.feed(CHUNKED)
        for piece in bytewise(b"1\r\nx\r\n0\r\nT: t\r\n\r"):
            assert parser.feed(piece) == []
            assert parser.phase is Phase.BODY
        assert len(parser.feed(b"\n")) == 1
        assert parser.phase is Phase.IDLE


class TestEndOfInput:
    def test_between_requests_is_none_of_the_parsers_business(self) -> None:
        for data in (b"", GET, b"\r\n"):
            _, parser = parse(data)
            parser.feed_eof()
            assert parser.error is None
            assert parser.feed(GET) == []

    @pytest.mark.parametrize(
        "data",
        [b"G", GET[:-1], CHUNKED, CHUNKED + b"0\r\n", POST + b"Content-Length: 1\r\n\r\n", b"\r"],
    )
    def test_in_the_middle_of_one_is_an_error(self, data: bytes) -> None:
        requests, parser = parse(data)
        parser.feed_eof()
        assert requests == []
        assert parser.error is not None
        assert parser.error.status == 400
        assert parser.feed(GET) == []

    def test_after_an_error_changes_nothing(self) -> None:
        _, parser = parse(b"nonsense\r\n")
        error = parser.error
        parser.feed_eof()
        assert parser.error is error
