"""Every limit of a request: at the limit it passes, one past it does not.

Small limits, so that the numbers can be counted in the test; and once the
defaults, which are promised.
"""

from __future__ import annotations

from h3py.http import RequestParser
from h3py.http.chunked import EXTENSION_BYTES, SIZE_DIGITS
from h3py.http.parser import EMPTY_LINES
from h3py.options import Limits
from tests.http.support import CHUNKED, GET, POST, bytewise, feed_all, status_of


def both_ways(data: bytes, limits: Limits) -> int | None:
    """The status, which must not depend on how the bytes were cut."""
    whole = status_of(data, limits)
    parser = RequestParser(limits)
    feed_all(parser, bytewise(data))
    assert (parser.error and parser.error.status) == whole
    return whole


class TestRequestLine:
    LIMITS = Limits(request_line_bytes=30)

    def request(self, length: int) -> bytes:
        line = b"GET /" + b"a" * (length - len(b"GET / HTTP/1.1")) + b" HTTP/1.1"
        assert len(line) == length
        return line + b"\r\nHost: a\r\n\r\n"

    def test_at_the_limit(self) -> None:
        assert both_ways(self.request(30), self.LIMITS) is None

    def test_one_past_it(self) -> None:
        assert both_ways(self.request(31), self.LIMITS) == 414

    def test_without_an_end(self) -> None:
        assert both_ways(b"GET /" + b"a" * 25, self.LIMITS) is None
        assert both_ways(b"GET /" + b"a" * 26, self.LIMITS) == 414

    def test_the_end_may_still_come(self) -> None:
        assert both_ways(b"GET /" + b"a" * 25 + b"\r", self.LIMITS) is None

    def test_a_fault_within_the_limit_comes_first(self) -> None:
        assert both_ways(b"GET /\x00" + b"a" * 50, self.LIMITS) == 400
        assert both_ways(b"GET /" + b"a" * 25 + b"\x00", self.LIMITS) == 414

    def test_the_default_is_8_kib(self) -> None:
        assert both_ways(self.request(8192), Limits()) is None
        assert both_ways(self.request(8193), Limits()) == 414


class TestHeaderCount:
    LIMITS = Limits(header_count=5)

    def test_at_the_limit(self) -> None:
        assert both_ways(GET[:-2] + b"X: y\r\n" * 4 + b"\r\n", self.LIMITS) is None

    def test_one_past_it(self) -> None:
        assert both_ways(GET[:-2] + b"X: y\r\n" * 5 + b"\r\n", self.LIMITS) == 431

    def test_trailers_count(self) -> None:
        chunked = CHUNKED + b"0\r\n"
        assert both_ways(chunked + b"X: y\r\n" * 3 + b"\r\n", self.LIMITS) is None
        assert both_ways(chunked + b"X: y\r\n" * 4 + b"\r\n", self.LIMITS) == 431

    def test_the_default_is_100(self) -> None:
        assert both_ways(GET[:-2] + b"X: y\r\n" * 99 + b"\r\n", Limits()) is None
        assert both_ways(GET[:-2] + b"X: y\r\n" * 100 + b"\r\n", Limits()) == 431


class TestHeaderBytes:
    LIMITS = Limits(header_bytes=40)

    def request(self, size: int) -> bytes:
        fields = b"Host: a\r\nX: "
        fields += b"y" * (size - len(fields) - 2) + b"\r\n"
        assert len(fields) == size
        return b"GET / HTTP/1.1\r\n" + fields + b"\r\n"

    def test_at_the_limit(self) -> None:
        assert both_ways(self.request(40), self.LIMITS) is None

    def test_one_past_it(self) -> None:
        assert both_ways(self.request(41), self.LIMITS) == 431

    def test_in_one_name(self) -> None:
        head = b"GET / HTTP/1.1\r\nHost: a\r\n"
        assert both_ways(head + b"x" * 28 + b":\r\n\r\n", self.LIMITS) is None
        assert both_ways(head + b"x" * 29 + b":\r\n\r\n", self.LIMITS) == 431

    def test_without_an_end(self) -> None:
        unended = self.request(50)[: len(b"GET / HTTP/1.1\r\n") + 40]
        assert both_ways(unended, self.LIMITS) is None
        assert both_ways(unended + b"y", self.LIMITS) == 431

    def test_the_end_may_still_come(self) -> None:
        assert both_ways(self.request(40)[:-1], self.LIMITS) is None
        assert both_ways(self.request(40)[:-1] + b"x", self.LIMITS) == 431
        assert both_ways(self.request(40)[:-2] + b"x", self.LIMITS) == 431

    def test_a_fault_within_the_limit_comes_first(self) -> None:
        head = b"GET / HTTP/1.1\r\n"
        assert both_ways(head + b"X: \x00" + b"y" * 50, self.LIMITS) == 400
        assert both_ways(head + b"X: y\n" + b"y" * 50, self.LIMITS) == 400
        assert both_ways(head + b"y" * 40 + b"\x00", self.LIMITS) == 431
        assert both_ways(head + b"y" * 39 + b"\rx", self.LIMITS) == 431

    def test_trailers_count(self) -> None:
        limits = Limits(header_bytes=len(CHUNKED) - len(b"POST / HTTP/1.1\r\n\r\n") + 10)
        assert both_ways(CHUNKED + b"0\r\nX: yyyyy\r\n\r\n", limits) is None
        assert both_ways(CHUNKED + b"0\r\nX: yyyyyy\r\n\r\n", limits) == 431
        assert both_ways(CHUNKED + b"0\r\nX: yyyyyyyy", limits) == 431

    def test_no_room_for_trailers_at_all(self) -> None:
        limits = Limits(header_bytes=len(CHUNKED) - len(b"POST / HTTP/1.1\r\n\r\n"))
        assert both_ways(CHUNKED + b"0\r\n\r\n", limits) is None
        assert both_ways(CHUNKED + b"0\r\n\rX", limits) == 431
        assert both_ways(CHUNKED + b"0\r\nX:\r\n\r\n", limits) == 431

    def test_the_default_is_32_kib(self) -> None:
        assert both_ways(self.request(32768), Limits()) is None
        assert both_ways(self.request(32769), Limits()) == 431


class TestBody:
    LIMITS = Limits(body_bytes=5)

    def test_of_a_length_at_the_limit(self) -> None:
        assert both_ways(POST + b"Content-Length: 5\r\n\r\nhello", self.LIMITS) is None

    def test_of_a_length_one_past_it_before_any_of_it_came(self) -> None:
        assert both_ways(POST + b"Content-Length: 6\r\n\r\n", self.LIMITS) == 413

    def test_chunked_at_the_limit(self) -> None:
        assert both_ways(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", self.LIMITS) is None
        assert both_ways(CHUNKED + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", self.LIMITS) is None

    def test_chunked_one_past_it_before_the_data_came(self) -> None:
        assert both_ways(CHUNKED + b"6\r\n", self.LIMITS) == 413
        assert both_ways(CHUNKED + b"2\r\nhe\r\n4\r\n", self.LIMITS) == 413

    def test_none_at_all(self) -> None:
        limits = Limits(body_bytes=0)
        assert both_ways(POST + b"Content-Length: 0\r\n\r\n", limits) is None
        assert both_ways(CHUNKED + b"0\r\n\r\n", limits) is None
        assert both_ways(POST + b"Content-Length: 1\r\n\r\n", limits) == 413
        assert both_ways(CHUNKED + b"1\r\n", limits) == 413

    def test_the_default_is_1_mib(self) -> None:
        mib = b"x" * 1048576
        assert status_of(POST + b"Content-Length: 1048576\r\n\r\n" + mib) is None
        assert status_of(POST + b"Content-Length: 1048577\r\n\r\n") == 413
        assert status_of(CHUNKED + b"100000\r\n" + mib + b"\r\n0\r\n\r\n") is None
        assert status_of(CHUNKED + b"100000\r\n" + mib + b"\r\n1\r\n") == 413


class TestChunkLines:
    def test_digits(self) -> None:
        def sized(digits: int) -> bytes:
            return CHUNKED + b"0" * (digits - 1) + b"5\r\nhello\r\n0\r\n\r\n"

        assert both_ways(sized(SIZE_DIGITS), Limits()) is None
        assert both_ways(sized(SIZE_DIGITS + 1), Limits()) == 400

    def test_one_extension(self) -> None:
        at_limit = CHUNKED + b"1;" + b"a" * (EXTENSION_BYTES - 1)
        assert both_ways(at_limit + b"\r\nx\r\n0\r\n\r\n", Limits()) is None
        assert both_ways(at_limit + b"a\r\nx\r\n0\r\n\r\n", Limits()) == 400

    def test_extensions_in_sum(self) -> None:
        half = b"1;" + b"a" * (EXTENSION_BYTES // 2 - 1) + b"\r\nx\r\n"
        assert both_ways(CHUNKED + half * 2 + b"0\r\n\r\n", Limits()) is None
        assert both_ways(CHUNKED + half * 2 + b"0;a\r\n\r\n", Limits()) == 400

    def test_an_extension_without_an_end(self) -> None:
        endless = CHUNKED + b"1;" + b"a" * (SIZE_DIGITS + EXTENSION_BYTES)
        assert both_ways(endless, Limits()) == 400


def test_empty_lines_are_counted_for_each_request() -> None:
    parser = RequestParser(Limits())
    assert len(feed_all(parser, [(b"\r\n" * EMPTY_LINES + GET) * 3])) == 3
    assert parser.error is None
    assert feed_all(parser, [b"\r\n" * (EMPTY_LINES + 1) + GET]) == []
    assert parser.error is not None
    assert parser.error.status == 400
