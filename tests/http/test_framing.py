"""What a head says of its message; the ambiguous cases stand with the hostile ones."""

from __future__ import annotations

import pytest

from h3py.errors import RequestError
from h3py.http import HTTP_10, HTTP_11
from h3py.http.framing import (
    CHUNKED,
    body_length,
    combined,
    expects_continue,
    index_fields,
    keeps_alive,
)


def test_the_first_value_of_each_name_is_indexed() -> None:
    lines = [(b"x", b"1"), (b"host", b"a"), (b"x", b"2")]
    assert index_fields(lines) == {b"x": b"1", b"host": b"a"}


@pytest.mark.parametrize("name", [b"host", b"content-length", b"transfer-encoding"])
def test_a_second_line_of_what_there_is_one_of(name: bytes) -> None:
    with pytest.raises(RequestError, match="400"):
        index_fields([(name, b"1"), (b"x", b"y"), (name, b"1")])


def test_lists_go_over_lines() -> None:
    lines = [(b"connection", b"A"), (b"x", b"y"), (b"connection", b"b, C")]
    assert combined(lines, b"connection") == b"a,b, c"


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        ({}, 0),
        ({b"content-length": b"0"}, 0),
        ({b"content-length": b" 42\t"}, 42),
        ({b"transfer-encoding": b"chunked"}, CHUNKED),
        ({b"transfer-encoding": b"\tCHUNKED "}, CHUNKED),
    ],
)
def test_body_length(fields: dict[bytes, bytes], length: int) -> None:
    assert body_length(fields, HTTP_11) == length


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({b"transfer-encoding": b"chunked", b"content-length": b"5"}, 400),
        ({b"transfer-encoding": b"chunked, chunked"}, 400),
        ({b"transfer-encoding": b"gzip, chunked, chunked"}, 400),
        ({b"transfer-encoding": b"gzip"}, 400),
        ({b"transfer-encoding": b""}, 400),
        ({b"transfer-encoding": b",chunked"}, 400),
        ({b"transfer-encoding": b"gzip, chunked"}, 501),
        ({b"content-length": b""}, 400),
        ({b"content-length": b"+5"}, 400),
        ({b"content-length": b"5,5"}, 400),
        ({b"content-length": b"05"}, 400),
        ({b"content-length": b"\xb2"}, 400),
    ],
)
def test_no_length(fields: dict[bytes, bytes], status: int) -> None:
    # Most of these llhttp refuses before; it need not stay so.
    with pytest.raises(RequestError, match=str(status)):
        body_length(fields, HTTP_11)


def test_no_transfer_coding_in_http_1_0() -> None:
    with pytest.raises(RequestError, match="400"):
        body_length({b"transfer-encoding": b"chunked"}, HTTP_10)


def test_lengths_beyond_all_numbers() -> None:
    assert body_length({b"content-length": b"9" * 19}, HTTP_11) == 10**19 - 1
    with pytest.raises(RequestError, match="413"):
        body_length({b"content-length": b"1" + b"0" * 19}, HTTP_11)
    with pytest.raises(RequestError, match="413"):
        body_length({b"content-length": b"9" * 10_000}, HTTP_11)


@pytest.mark.parametrize(
    ("connection", "version", "expected"),
    [
        (None, HTTP_11, True),
        (None, HTTP_10, False),
        (b"close", HTTP_11, False),
        (b"upgrade,\tclose", HTTP_11, False),
        (b"disclose", HTTP_11, True),
        (b"", HTTP_11, True),
        (b"", HTTP_10, False),
        (b"x, keep-alive", HTTP_10, True),
        (b"keep-alive,close", HTTP_10, False),
    ],
)
def test_keeps_alive(connection: bytes | None, version: tuple[int, int], expected: bool) -> None:
    assert keeps_alive(connection, version) is expected


def test_expectations() -> None:
    assert not expects_continue(None, HTTP_11)
    assert expects_continue(b"100-continue", HTTP_11)
    assert expects_continue(b" 100-continue ,,100-continue", HTTP_11)
    assert not expects_continue(b"", HTTP_11)
    assert not expects_continue(b"100-continue", HTTP_10)
    assert not expects_continue(b"tea", HTTP_10)
    for other in (b"100-continued", b"200-ok", b"100-continue, tea", b"100-continue;a=b"):
        with pytest.raises(RequestError, match="417"):
            expects_continue(other, HTTP_11)
