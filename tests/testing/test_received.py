"""What has been received, taken apart: heads, chunks, events, ends. No I/O."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h3py.testing import ReceivedStream, StreamReader
from h3py.testing.received import dechunked

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
WHOLE = CHUNKED + b"a\r\ndata: one\n\r\n7\r\n\ndata:\xc3\r\n3\r\n\xbc\n\n\r\n0\r\n\r\n"


def fed(*pieces: bytes) -> ReceivedStream:
    received = ReceivedStream()
    for piece in pieces:
        received.feed(piece)
    return received


def test_a_stream_from_head_to_end() -> None:
    received = fed(WHOLE)
    assert received.status == 200
    assert received.headers["content-type"] == "text/event-stream"
    assert [event.data for event in received.events] == ["one", "ü"]
    assert received.raw == "data: one\n\ndata:ü\n\n".encode()
    assert received.ended
    assert not received.eof


@given(st.lists(st.integers(0, len(WHOLE)), max_size=8))
def test_any_cuts_give_the_same(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(WHOLE)]
    pieces = [WHOLE[begin:end] for begin, end in itertools.pairwise(edges)]
    received = fed(*(piece for piece in pieces if piece))
    assert [event.data for event in received.events] == ["one", "ü"]
    assert received.ended


def test_without_chunks_the_connection_ends_the_body() -> None:
    received = fed(b"HTTP/1.0 200 OK\r\n\r\n", b"data: x\n\n")
    assert [event.data for event in received.events] == ["x"]
    assert not received.ended
    received.feed(b"")
    assert received.ended
    assert received.eof


def test_a_cut_is_no_end() -> None:
    for piece in (b"HTTP/1.1 200 OK\r\n", CHUNKED, WHOLE[:-1]):
        received = fed(piece, b"")
        assert received.eof
        assert not received.ended


@pytest.mark.parametrize("data", [b"SSH-2.0\r\n\r\n", b"HTTP/2 200\r\n\r\n", b"\r\n\r\n"])
def test_what_is_not_http_fails(data: bytes) -> None:
    with pytest.raises(AssertionError, match="not HTTP"):
        fed(data)


def test_bytes_after_the_end_fail() -> None:
    with pytest.raises(AssertionError, match="after the end of the body"):
        fed(WHOLE + b"x")


def test_framing_that_is_wrong_fails() -> None:
    with pytest.raises(Exception, match="chunk"):
        fed(CHUNKED, b"3\r\nabcd\r\n")


def test_dechunking() -> None:
    assert dechunked(b"") == b""
    assert dechunked(b"3\r\nabc\r\nA\r\n0123456789\r\n") == b"abc0123456789"
    assert dechunked(b"3\r\nabc\r\n0\r\n\r\n", ended=True) == b"abc"
    for wrong, ended in (
        (b"3\r\nabc\r\n", True),
        (b"3\r\nabc\r\n0\r\n\r\n", False),
        (b"3\r\nabcd\r\n", False),
        (b"0\r\n\r\n1\r\nx\r\n", True),
    ):
        with pytest.raises(AssertionError):
            dechunked(wrong, ended=ended)


def test_a_reader_is_made_by_saying_where_bytes_come_from() -> None:
    class Script(StreamReader):
        def __init__(self, *pieces: bytes) -> None:
            super().__init__(deadline_s=0.01)
            self.pieces = list(pieces)

        def receive(self, at_most: int, left_s: float) -> bytes:
            if not self.pieces:
                raise TimeoutError
            return self.pieces.pop(0)

    reader = Script(CHUNKED, b"9\r\ndata: x\n\n\r\n")
    assert reader.read_event().data == "x"
    with pytest.raises(AssertionError, match="clean end"):
        reader.read_to_end()
    for method in ("close", "reset"):
        with pytest.raises(RuntimeError, match="must say how"):
            getattr(reader, method)()
    with pytest.raises(RuntimeError, match="where its bytes come from"):
        StreamReader().receive(1, 1.0)
