"""Chunked coding: the decoder in any pieces, and the encoder that it undoes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h3py.errors import RequestError
from h3py.http import LAST_CHUNK, BodyStream, encode_chunk
from h3py.http.chunked import ChunkedDecoder


def decoder(body: BodyStream, *, body_bytes: int = 1000) -> ChunkedDecoder:
    return ChunkedDecoder(body, body_bytes=body_bytes, trailer_count=5, trailer_bytes=100)


def decode(data: bytes) -> tuple[bytes, bool, int]:
    """What the body is, whether it is complete, and how many bytes were consumed."""
    body = BodyStream()
    chunked = decoder(body)
    at = chunked.feed(data, 0)
    return body.take(), chunked.done, at


def test_encode() -> None:
    assert encode_chunk(b"hello, world!") == b"d\r\nhello, world!\r\n"
    assert encode_chunk(b"x" * 256) == b"100\r\n" + b"x" * 256 + b"\r\n"
    assert LAST_CHUNK == b"0\r\n\r\n"


def test_no_data_is_no_chunk() -> None:
    # An empty chunk would be the last one.
    assert encode_chunk(b"") == b""


@given(st.lists(st.binary(max_size=40), max_size=6), st.binary(max_size=5))
def test_the_decoder_undoes_the_encoder(pieces: list[bytes], after: bytes) -> None:
    data = b"".join(map(encode_chunk, pieces)) + LAST_CHUNK
    assert decode(data + after) == (b"".join(pieces), True, len(data))


def test_the_size_may_be_written_in_any_case_and_with_zeros() -> None:
    assert decode(b"0A\r\n0123456789\r\n00000000000000a\r\n0123456789\r\n000\r\n\r\n")[:2] == (
        b"0123456789" * 2,
        True,
    )


@pytest.mark.parametrize(
    "extension",
    [b";a", b";a=b", b';a="b"', b';a=""', b';a="b;c\\"d\\\\"', b";a;b=c;d", b";a=b;e"],
)
def test_extensions_are_dropped(extension: bytes) -> None:
    assert decode(b"2" + extension + b"\r\nhi\r\n0" + extension + b"\r\n\r\n")[:2] == (b"hi", True)


def test_trailers_are_dropped() -> None:
    data = b"2\r\nhi\r\n0\r\nA: b\r\nC:\r\nD: \t\xe9\r\n\r\n"
    assert decode(data + b"GET") == (b"hi", True, len(data))


def test_it_stops_before_what_it_must_be_given_again() -> None:
    assert decode(b"2\r\nhi\r\n5;a") == (b"hi", False, 7)
    assert decode(b"2\r\nhi\r") == (b"hi", False, 5)
    assert decode(b"2\r\nh") == (b"h", False, 4)
    assert decode(b"0\r\nA: b\r\n") == (b"", False, 3)


def test_when_done_it_takes_nothing() -> None:
    body = BodyStream()
    chunked = decoder(body)
    assert chunked.feed(LAST_CHUNK, 0) == 5
    assert chunked.feed(b"5\r\nhello\r\n", 0) == 0
    assert body.take() == b""


def test_data_before_a_fault_is_there() -> None:
    body = BodyStream()
    with pytest.raises(RequestError, match="400"):
        decoder(body).feed(b"2\r\nhi\r\nx\r\n", 0)
    assert body.take() == b"hi"


@pytest.mark.parametrize("after", [b"X", b"\n", b"\rX"])
def test_more_data_than_the_size_is_seen_at_once(after: bytes) -> None:
    with pytest.raises(RequestError, match="400"):
        decoder(BodyStream()).feed(b"2\r\nhi" + after, 0)


def test_a_size_is_refused_before_its_data_comes() -> None:
    with pytest.raises(RequestError, match="413"):
        decoder(BodyStream(), body_bytes=4).feed(b"5\r\n", 0)
    with pytest.raises(RequestError, match="413"):
        decoder(BodyStream(), body_bytes=4).feed(b"3\r\nabc\r\n2\r\n", 0)
