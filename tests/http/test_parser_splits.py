"""What is read is a function of the bytes, not of the reads that brought them.

Any byte string, whole and cut anywhere: the same requests and the same error.
The strings are made of pieces that matter to a parser, so that most of them get
past the request line, and mutated, so that most of them are wrong somewhere;
the limits are small, so that they are met.
"""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from h3py.http import RequestParser
from h3py.options import Limits
from tests.http.support import CHUNKED, GET, POST, bytewise, cut, feed_all, outcome

SMALL = Limits(request_line_bytes=40, header_count=5, header_bytes=90, body_bytes=20)

LINES = [
    b"GET / HTTP/1.1\r\n",
    b"POST /p?q HTTP/1.1\r\n",
    b"GET / HTTP/1.0\r\n",
    b"OPTIONS * HTTP/1.1\r\n",
    b"GET http://b/ HTTP/1.1\r\n",
    b"GET /" + b"a" * 26 + b" HTTP/1.1\r\n",
    b"GET /" + b"a" * 27 + b" HTTP/1.1\r\n",
    b"BREW / HTTP/1.1\r\n",
    b"GET / HTTP/2.0\r\n",
    b"GET /\r\n",
]
FIELDS = [
    b"Host: a\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 21\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Connection: upgrade\r\nUpgrade: h2c\r\n",
    b"Expect: 100-continue\r\n",
    b"Expect: tea\r\n",
    b"X: " + b"y" * 20 + b"\r\n",
    b"X : y\r\n",
    b"X:\r\n y\r\n",
    b"X: y\n",
    b"\xff: y\r\n",
    b"X: \xff\r\n",
]
BODIES = [
    b"hello",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"0\r\nT: t\r\n\r\n",
    b"a;x=y\r\n0123456789\r\n",
    b"15\r\n",
    b"0;" + b"e" * 30 + b"\r\n\r\n",
    b"00005\r\n",
]
NOISE = [b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\x00", b" ", b"\t", b":", b"\xff", b"x", b"0", b""]

heads = st.builds(
    lambda line, host, fields: line + host + b"".join(fields) + b"\r\n",
    st.sampled_from(LINES),
    st.sampled_from([FIELDS[0], FIELDS[0], FIELDS[0], b""]),
    st.lists(st.sampled_from(FIELDS), max_size=4),
)
pieces = st.one_of(
    heads,
    st.builds(lambda head, body: head + body, heads, st.sampled_from(BODIES)),
    st.sampled_from([GET, POST + b"Content-Length: 5\r\n\r\nhello", CHUNKED, *BODIES]),
    st.sampled_from(NOISE),
    st.binary(max_size=8),
)


@st.composite
def wires(draw: st.DrawFn) -> bytes:
    """The bytes of a connection, good and bad."""
    data = bytearray(b"".join(draw(st.lists(pieces, min_size=1, max_size=5))))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 2))] = draw(st.sampled_from(NOISE))
    return bytes(data)


CUTS = st.lists(st.integers(0, 1000), max_size=12)


def check(data: bytes, cuts: list[int], limits: Limits, *, stream: bool, eof: bool) -> None:
    results = []
    for parts in ([data], cut(data, cuts), bytewise(data)):
        parser = RequestParser(limits, wants_stream=lambda request: stream)
        requests = feed_all(parser, parts)
        if eof:
            parser.feed_eof()
        results.append(outcome(parser, requests))
    assert results[1] == results[0]
    assert results[2] == results[0]
    if results[0]["error"] is not None:
        assert results[0]["error"][0] in {400, 413, 414, 417, 431, 501, 505}


@given(data=wires(), cuts=CUTS, stream=st.booleans(), eof=st.booleans())
@example(b"GET / HTTP/1.1\r\nX: y\nX", [], False, False)
@example(GET * 40 + b"x", [7], False, True)
@example(CHUNKED + b"5\r\nhello\r\n0\r\n" + b"T: t\r\n\r\n" + GET, [], True, False)
@example(b"GET / HTTP/1.1\r\n" + b"y" * 88 + b"\r\nX", [], False, False)
@example(b"GET /" + b"a" * 35 + b"\rX", [], False, False)
def test_within_small_limits(data: bytes, cuts: list[int], stream: bool, eof: bool) -> None:
    check(data, cuts, SMALL, stream=stream, eof=eof)


@given(data=wires(), cuts=CUTS, stream=st.booleans(), eof=st.booleans())
def test_within_the_defaults(data: bytes, cuts: list[int], stream: bool, eof: bool) -> None:
    check(data, cuts, Limits(), stream=stream, eof=eof)


@given(data=st.binary(max_size=200), cuts=CUTS)
def test_of_any_bytes(data: bytes, cuts: list[int]) -> None:
    check(data, cuts, SMALL, stream=False, eof=True)
