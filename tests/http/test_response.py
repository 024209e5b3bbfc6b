"""Responses and stream heads: what stands on the wire, byte for byte."""

from __future__ import annotations

import datetime
import email.utils

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h3py.errors import RequestError
from h3py.http import (
    CONTINUE,
    HTTP_10,
    HTTP_11,
    Response,
    Version,
    asks_close,
    encode_error,
    encode_response,
    encode_stream_head,
    has_body,
    http_date,
)

Fields = list[tuple[str, str]]


def encode(
    status: int = 200,
    headers: Fields | None = None,
    body: bytes = b"hello",
    *,
    version: Version = HTTP_11,
    keep_alive: bool = True,
    head_only: bool = False,
    date: bytes | None = None,
) -> tuple[bytes, Fields, bytes]:
    """Status line, fields with names in lower case, and body of the encoded response."""
    data = encode_response(
        status, headers or [], body, version=version, keep_alive=keep_alive, head_only=head_only,
        date=date,
    )  # fmt: skip
    return take_apart(data)


def take_apart(data: bytes) -> tuple[bytes, Fields, bytes]:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    fields = []
    for line in lines:
        name, _, value = line.decode("latin-1").partition(": ")
        fields.append((name.lower(), value))
    return first, fields, body


class TestResponse:
    def test_on_the_wire(self) -> None:
        data = encode_response(
            201, [("X-Y", "é")], b"hi", version=HTTP_11, keep_alive=True, date=http_date(0)
        )
        assert data == (
            b"HTTP/1.1 201 Created\r\nX-Y: \xe9\r\ncontent-length: 2\r\n"
            b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\nhi"
        )

    def test_headers_go_out_in_order_and_may_repeat(self) -> None:
        cookies = [("set-cookie", "a=1"), ("x", ""), ("set-cookie", "b=2")]
        assert encode(headers=cookies)[1][:3] == cookies

    def test_no_server_field(self) -> None:
        assert "server" not in dict(encode()[1])

    @pytest.mark.parametrize(
        ("version", "keep_alive", "connection"),
        [
            (HTTP_11, True, None),
            (HTTP_11, False, "close"),
            (HTTP_10, True, "keep-alive"),
            (HTTP_10, False, "close"),
        ],
    )
    def test_connection(self, version: Version, keep_alive: bool, connection: str | None) -> None:
        first, fields, _ = encode(version=version, keep_alive=keep_alive)
        assert first == b"HTTP/1.1 200 OK"
        assert dict(fields).get("connection") == connection

    def test_the_application_may_ask_to_close(self) -> None:
        headers = [("Connection", "Close")]
        assert asks_close(headers)
        assert [f for f in encode(headers=headers)[1] if f[0] == "connection"] == [
            ("connection", "close")
        ]

    def test_but_not_to_keep_open(self) -> None:
        headers = [("connection", "keep-alive")]
        assert not asks_close(headers)
        assert dict(encode(headers=headers, keep_alive=False)[1])["connection"] == "close"
        assert "connection" not in dict(encode(headers=headers)[1])

    @pytest.mark.parametrize(
        ("value", "expected"),
        [("close", True), ("x, CLOSE ", True), ("closed", False), ("", False)],
    )
    def test_asks_close(self, value: str, expected: bool) -> None:
        assert asks_close([("x", "close"), ("CONNECTION", value)]) is expected

    def test_a_date_of_the_application(self) -> None:
        headers = [("Date", "Fri, 13 Feb 2009 23:31:30 GMT")]
        dates = [f for f in encode(headers=headers, date=b"now")[1] if f[0] == "date"]
        assert dates == [("date", "Fri, 13 Feb 2009 23:31:30 GMT")]


class TestLength:
    @pytest.mark.parametrize("status", [200, 201, 205, 206, 301, 400, 404, 500, 599])
    def test_is_that_of_the_body(self, status: int) -> None:
        _, fields, body = encode(status)
        assert dict(fields)["content-length"] == "5"
        assert body == b"hello"
        assert has_body(status)

    def test_of_nothing(self) -> None:
        _, fields, body = encode(body=b"")
        assert dict(fields)["content-length"] == "0"
        assert body == b""

    @pytest.mark.parametrize("status", [100, 101, 103, 199, 204, 304])
    @pytest.mark.parametrize("headers", [[], [("x", "y")], [("connection", "close")]])
    def test_statuses_without_a_body(self, status: int, headers: Fields) -> None:
        # RFC 9110 sections 8.6 and 15.4.5, RFC 9112 section 6.3.
        _, fields, body = encode(status, headers)
        assert "content-length" not in dict(fields)
        assert body == b""
        assert not has_body(status)

    @pytest.mark.parametrize("status", [100, 204])
    def test_not_even_when_the_application_says_so(self, status: int) -> None:
        assert "content-length" not in dict(encode(status, [("content-length", "5")])[1])

    def test_not_modified_may_tell_what_get_would_have_sent(self) -> None:
        _, fields, body = encode(304, [("content-length", "1234")], b"")
        assert dict(fields)["content-length"] == "1234"
        assert body == b""

    def test_head(self) -> None:
        _, fields, body = encode(head_only=True)
        assert dict(fields)["content-length"] == "5"
        assert body == b""

    def test_head_may_tell_what_get_would_have_sent(self) -> None:
        _, fields, _ = encode(headers=[("Content-Length", "99")], body=b"", head_only=True)
        assert [f for f in fields if f[0] == "content-length"] == [("content-length", "99")]

    def test_the_applications_own_when_it_is_right(self) -> None:
        headers = [("Content-Length", "5"), ("content-length", "5")]
        _, fields, body = encode(headers=headers)
        assert [f for f in fields if f[0] == "content-length"] == [("content-length", "5")]
        assert body == b"hello"

    @pytest.mark.parametrize("value", ["4", "6", "-5", "+5", "5,5", "", "5x", "²", "0x5"])
    def test_the_applications_own_when_it_is_wrong(self, value: str) -> None:
        with pytest.raises(ValueError, match="content-length"):
            encode(headers=[("content-length", value)])

    def test_two_of_them(self) -> None:
        with pytest.raises(ValueError, match="given twice"):
            encode(headers=[("content-length", "5"), ("content-length", "6")])


class TestRefused:
    @pytest.mark.parametrize("name", ["Transfer-Encoding", "upgrade", "Keep-Alive"])
    def test_framing_is_not_the_applications(self, name: str) -> None:
        with pytest.raises(ValueError, match=name.lower()):
            encode(headers=[(name, "chunked")])
        with pytest.raises(ValueError, match=name.lower()):
            encode_stream_head(200, [(name, "chunked")], version=HTTP_11)

    @pytest.mark.parametrize("status", [0, 99, 600, -1])
    def test_no_status(self, status: int) -> None:
        with pytest.raises(ValueError, match="status"):
            encode(status)

    @given(
        st.lists(st.tuples(st.sampled_from(["x", "a\r\n", ""]), st.text(max_size=8)), max_size=4)
    )
    def test_no_field_forges_another(self, headers: Fields) -> None:
        for stream in (False, True):
            try:
                if stream:
                    data = encode_stream_head(200, headers, version=HTTP_11)
                else:
                    data = encode_response(200, headers, b"", version=HTTP_11, keep_alive=True)
            except ValueError:
                continue
            _, fields, body = take_apart(data)
            assert body == b""
            assert fields[: len(headers)] == headers
            assert b"\n" not in data.replace(b"\r\n", b"")


class TestStreamHead:
    def test_on_the_wire(self) -> None:
        data = encode_stream_head(200, [("x", "y")], version=HTTP_11, date=http_date(1))
        first, fields, body = take_apart(data)
        assert first == b"HTTP/1.1 200 OK"
        assert body == b""
        assert sorted(fields) == [
            ("cache-control", "no-cache"),
            ("connection", "keep-alive"),
            ("content-type", "text/event-stream"),
            ("date", "Thu, 01 Jan 1970 00:00:01 GMT"),
            ("transfer-encoding", "chunked"),
            ("x", "y"),
            ("x-accel-buffering", "no"),
        ]

    def test_http_1_0_is_not_chunked_and_closes(self) -> None:
        data = encode_stream_head(200, [("Connection", "keep-alive")], version=HTTP_10)
        _, fields, _ = take_apart(data)
        assert "transfer-encoding" not in dict(fields)
        assert [f for f in fields if f[0] == "connection"] == [("connection", "close")]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("Content-Type", "text/event-stream; charset=utf-8"),
            ("CACHE-CONTROL", "no-store"),
            ("X-Accel-Buffering", "yes"),
            ("Connection", "close"),
            ("Date", "today"),
        ],
    )
    def test_the_caller_overrides(self, name: str, value: str) -> None:
        data = encode_stream_head(200, [(name, value)], version=HTTP_11, date=b"now")
        found = [f for f in take_apart(data)[1] if f[0] == name.lower()]
        assert found == [(name.lower(), value)]

    @pytest.mark.parametrize("status", [100, 204, 304])
    def test_a_status_without_a_body(self, status: int) -> None:
        with pytest.raises(ValueError, match="no body"):
            encode_stream_head(status, [], version=HTTP_11)

    def test_it_has_no_length(self) -> None:
        with pytest.raises(ValueError, match="content-length"):
            encode_stream_head(200, [("Content-Length", "5")], version=HTTP_11)

    def test_headers_may_come_from_an_iterator(self) -> None:
        data = encode_stream_head(200, iter([("x", "y")]), version=HTTP_11)
        assert ("x", "y") in take_apart(data)[1]


def test_an_error_closes() -> None:
    data = encode_error(RequestError(431, "too many header fields"), date=b"now")
    first, fields, body = take_apart(data)
    assert first == b"HTTP/1.1 431 Request Header Fields Too Large"
    assert dict(fields) == {
        "content-type": "text/plain; charset=utf-8",
        "content-length": str(len(body)),
        "date": "now",
        "connection": "close",
    }
    assert body == b"431 too many header fields\n"


def test_continue() -> None:
    assert CONTINUE == b"HTTP/1.1 100 Continue\r\n\r\n"


class TestDate:
    @given(st.integers(0, 253402300799))
    def test_against_the_standard_library(self, seconds: int) -> None:
        assert http_date(seconds) == email.utils.formatdate(seconds, usegmt=True).encode()

    def test_the_example_of_the_rfc(self) -> None:
        moment = datetime.datetime(1994, 11, 6, 8, 49, 37, tzinfo=datetime.UTC)
        assert http_date(moment.timestamp()) == b"Sun, 06 Nov 1994 08:49:37 GMT"

    def test_is_made_once_a_second(self) -> None:
        assert http_date(5.1) is http_date(5.9)
        assert http_date(6.0) != http_date(5.9)


class TestValue:
    def test_response(self) -> None:
        response = Response(404, [("x", "y")], b"no")
        assert (response.status, response.headers, response.body) == (404, [("x", "y")], b"no")
        assert repr(response) == "<Response 404, 2 bytes>"
        assert (Response().status, Response().headers, Response().body) == (200, [], b"")

    def test_its_headers_are_its_own(self) -> None:
        headers = [("x", "y")]
        Response(200, headers).headers.append(("z", ""))
        assert headers == [("x", "y")]

    @pytest.mark.parametrize("status", [0, 100, 199, 600])
    def test_a_status_that_no_response_has(self, status: int) -> None:
        with pytest.raises(ValueError, match="status"):
            Response(status)

    @pytest.mark.parametrize("body", ["text", bytearray(b"x"), None])
    def test_a_body_that_is_not_bytes(self, body: object) -> None:
        with pytest.raises(TypeError, match="body"):
            Response(200, [], body)  # type: ignore[arg-type]  # what a program without types may do
