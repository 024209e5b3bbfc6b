"""How long it takes to read a request and to write its answer.

    python -m pytest bench/micro/test_http_bench.py

Wanted: a small GET read and a small body answered within 8 us together, so that
32,000 plain GETs a second leave the rest of a core to trio and the kernel. Beside
them what else passes here, and a floor: httptools alone, with the callbacks that
any server on it needs.
"""

from __future__ import annotations

from typing import Any

import pytest
from httptools import HttpRequestParser

from h3py.http import (
    HTTP_11,
    RequestParser,
    encode_chunk,
    encode_response,
    encode_stream_head,
    http_date,
)
from h3py.options import Limits

FIELDS = b"Host: 127.0.0.1:3000\r\nUser-Agent: load/1.0\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n"
GET = b"GET /hello?x=1 HTTP/1.1\r\n" + FIELDS + b"Connection: keep-alive\r\n\r\n"
BROWSER = (
    b"GET /static/app.js HTTP/1.1\r\nHost: www.example.com\r\n"
    + b"".join(
        b"Sec-Fetch-Thing-%d: a value of some length, as browsers send\r\n" % i for i in range(14)
    )
    + b"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\r\n"
)
POST = b"POST /message HTTP/1.1\r\n" + FIELDS + b"Content-Length: 1024\r\n\r\n" + b"x" * 1024
CHUNKED = (
    b"POST /message HTTP/1.1\r\n" + FIELDS + b"Transfer-Encoding: chunked\r\n\r\n"
    + encode_chunk(b"x" * 512) * 2 + b"0\r\n\r\n"
)  # fmt: skip
READS = {
    "small GET": GET,
    "GET of a browser": BROWSER,
    "POST, 1 KB": POST,
    "chunked, 1 KB": CHUNKED,
}

DATE = http_date(784111777)
HEADERS = [("content-type", "text/plain; charset=utf-8")]
BODY = b"Hello, world!"


@pytest.mark.parametrize("data", READS.values(), ids=READS.keys())
def test_feed(benchmark: Any, data: bytes) -> None:
    parser = RequestParser(Limits())
    assert len(benchmark(parser.feed, data)) == 1


def test_feed_16_at_once(benchmark: Any) -> None:
    parser = RequestParser(Limits())
    benchmark.extra_info["requests"] = 16
    assert len(benchmark(parser.feed, GET * 16)) == 16


def test_feed_byte_by_byte(benchmark: Any) -> None:
    parser = RequestParser(Limits())
    pieces = [GET[i : i + 1] for i in range(len(GET))]

    def feed() -> int:
        return sum(len(parser.feed(piece)) for piece in pieces)

    assert benchmark(feed) == 1


def test_encode_response(benchmark: Any) -> None:
    data = benchmark(
        encode_response, 200, HEADERS, BODY, version=HTTP_11, keep_alive=True, date=DATE
    )
    assert data.endswith(BODY)


def test_encode_stream_head(benchmark: Any) -> None:
    data = benchmark(encode_stream_head, 200, [], version=HTTP_11, date=DATE)
    assert data.endswith(b"\r\n\r\n")


def test_feed_and_encode(benchmark: Any) -> None:
    parser = RequestParser(Limits())

    def answer() -> bytes:
        (request,) = parser.feed(GET)
        return encode_response(
            200, HEADERS, BODY, version=request.version, keep_alive=request.keep_alive, date=DATE
        )

    assert benchmark(answer).endswith(BODY)


def test_floor_httptools_alone(benchmark: Any) -> None:
    class Protocol:
        def __init__(self) -> None:
            self.done = 0

        def on_url(self, url: bytes) -> None:
            self.url = url

        def on_header(self, name: bytes, value: bytes) -> None:
            self.fields.append((name.lower(), value))

        def on_message_begin(self) -> None:
            self.fields: list[tuple[bytes, bytes]] = []

        def on_message_complete(self) -> None:
            self.method = parser.get_method()
            self.version = parser.get_http_version()
            self.keep_alive = parser.should_keep_alive()
            self.done += 1

    protocol = Protocol()
    parser = HttpRequestParser(protocol)
    benchmark(parser.feed_data, GET)
    assert protocol.done
    assert len(protocol.fields) == 5
