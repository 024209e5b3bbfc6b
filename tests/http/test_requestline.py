"""The request line: what httptools is never shown, and what the tables promise."""

from __future__ import annotations

import pytest
from httptools import HttpRequestParser

from h3py.errors import RequestError
from h3py.http import HTTP_10, HTTP_11
from h3py.http.requestline import METHODS, is_host, parse_request_line


def test_origin_form() -> None:
    line = parse_request_line(b"GET /a//b/../%2F?x?y HTTP/1.0")
    assert line == ("GET", "/a//b/../%2F?x?y", "/a//b/../%2F", "x?y", HTTP_10, None)


def test_bytes_that_a_uri_may_not_hold_but_browsers_send() -> None:
    assert parse_request_line(b'GET /|{}"<>\\^` HTTP/1.1')[2] == '/|{}"<>\\^`'


def test_absolute_form() -> None:
    line = parse_request_line(b"GET http://h:1/p?q HTTP/1.1")
    assert line == ("GET", "http://h:1/p?q", "/p", "q", HTTP_11, b"h:1")


def test_absolute_form_without_a_path() -> None:
    assert parse_request_line(b"OPTIONS http://h HTTP/1.1")[2] == "*"
    assert parse_request_line(b"OPTIONS http://h?q HTTP/1.1")[2] == "/"
    assert parse_request_line(b"GET http://h HTTP/1.1")[2] == "/"


@pytest.mark.parametrize("minor", range(10))
def test_minor_versions(minor: int) -> None:
    assert parse_request_line(b"GET / HTTP/1.%d" % minor)[4] == (HTTP_11 if minor else HTTP_10)


@pytest.mark.parametrize("major", [0, 2, 3, 4, 5, 6, 7, 8, 9])
def test_major_versions(major: int) -> None:
    with pytest.raises(RequestError, match="505"):
        parse_request_line(b"GET / HTTP/%d.1" % major)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_llhttp_knows_every_method_we_let_through(method: str) -> None:
    HttpRequestParser(object()).feed_data(f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert parse_request_line(f"{method} / HTTP/1.1".encode())[0] == method


def test_connect_is_not_among_them() -> None:
    # llhttp would take all that follows for the tunnel's.
    assert "CONNECT" not in METHODS


HOSTS = [
    b"a",
    b"a.example",
    b"a:80",
    b"a:",
    b"127.0.0.1:3000",
    b"[::1]",
    b"[::1]:80",
    b"a_b",
    b"a.",
]
HOSTS += [b"xn--caf-dma.fr", b"%41", b"1", b"A-B"]
NO_HOSTS = [
    b"",
    b":",
    b":80",
    b"a:b",
    b"a:80:80",
    b"u@a",
    b"a/",
    b"a?",
    b"a#",
    b"a b",
    b"a,b",
    b"[a",
]
NO_HOSTS += [
    b"[]",
    b"[::1]x",
    b"::1",
    b"a\\b",
    b"\xe9",
    b"%4",
    b"%zz",
    b"a\t",
    b"a\n",
    b"<a>",
    b'"a"',
]


@pytest.mark.parametrize("value", HOSTS)
def test_a_host(value: bytes) -> None:
    assert is_host(value)


@pytest.mark.parametrize("value", NO_HOSTS)
def test_no_host(value: bytes) -> None:
    assert not is_host(value)
