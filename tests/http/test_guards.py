"""The judgements on bytes: where a line or a section ends, and at which byte it cannot any more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h3py.errors import RequestError
from h3py.http.guards import count_clean_lines, find_line_end, find_section_end

TOO_LONG = RequestError(414, "too long")

# What a header section may hold, byte by byte, from RFC 9110 section 5.5: HTAB,
# SP, VCHAR, obs-text; line ends aside.
FIELD_BYTES = {0x09, 0x20, *range(0x21, 0x7F), *range(0x80, 0x100)}


def line_end(data: bytes, limit: int = 10) -> int:
    return find_line_end(b"??" + data, 2, limit, TOO_LONG) - 2


def section_end(data: bytes, limit: int = 20, clean: int = 0) -> int:
    return find_section_end(b"\r\n" + data, 2, 2 + clean, limit, TOO_LONG) - 2


class TestLines:
    def test_where_it_ends(self) -> None:
        assert line_end(b"abc\r\ndef\r\n") == 3
        assert line_end(b"\r\n") == 0

    @pytest.mark.parametrize("data", [b"", b"abc", b"abc\r", b"a" * 10, b"a" * 10 + b"\r"])
    def test_it_may_still_end(self, data: bytes) -> None:
        assert line_end(data) == -3

    @pytest.mark.parametrize("data", [b"a" * 11, b"a" * 10 + b"\n", b"a" * 10 + b"\ra"])
    def test_it_cannot_end_within_the_limit(self, data: bytes) -> None:
        with pytest.raises(RequestError, match="414"):
            line_end(data)

    @pytest.mark.parametrize("byte", sorted(set(range(256)) - set(range(0x20, 0x7F)) - {0x0D}))
    def test_a_byte_it_cannot_hold(self, byte: int) -> None:
        with pytest.raises(RequestError, match="400"):
            line_end(b"abc" + bytes([byte]))

    @pytest.mark.parametrize("byte", range(0x20, 0x7F))
    def test_a_byte_it_can_hold(self, byte: int) -> None:
        assert line_end(bytes([byte]) + b"\r\n") == 1

    def test_a_cr_that_nothing_good_follows(self) -> None:
        with pytest.raises(RequestError, match="400"):
            line_end(b"abc\rd")


class TestSections:
    def test_where_it_ends(self) -> None:
        assert section_end(b"\r\nX") == 0
        assert section_end(b"a: b\r\n\r\nX") == 6
        assert section_end(b"a" * 18 + b"\r\n\r\nX") == 20

    @pytest.mark.parametrize(
        "data", [b"", b"\r", b"a: b\r\n\r", b"a" * 20, b"a" * 18 + b"\r\n", b"a" * 18 + b"\r\n\r"]
    )
    def test_it_may_still_end(self, data: bytes) -> None:
        assert section_end(data) == -3

    @pytest.mark.parametrize(
        "data",
        [
            b"a" * 21,
            b"a" * 19 + b"\r\n\r\n",
            b"a" * 18 + b"\r\na",
            b"a" * 18 + b"\r\n\ra",
            b"a" * 20 + b"\r",
            b"a" * 20 + b"\x00",
        ],
    )
    def test_it_cannot_end_within_the_limit(self, data: bytes) -> None:
        with pytest.raises(RequestError, match="414"):
            section_end(data)

    @pytest.mark.parametrize("byte", sorted(set(range(256)) - FIELD_BYTES))
    def test_a_byte_it_cannot_hold(self, byte: int) -> None:
        with pytest.raises(RequestError, match="400"):
            section_end(b"a: " + bytes([byte]) + b"b")

    @pytest.mark.parametrize("data", [b"\n", b"a\n", b"a: b\r\n\n", b"\ra", b"a\r\r\n"])
    def test_a_line_end_that_is_none(self, data: bytes) -> None:
        with pytest.raises(RequestError, match="400"):
            section_end(data)

    @given(st.binary(max_size=40).map(lambda b: b.replace(b"\x01", b"\r\n")))
    def test_what_was_judged_before_need_not_be_judged_again(self, data: bytes) -> None:
        def verdict(steps: bool) -> tuple[int, object]:
            clean = 0
            for size in range(len(data) + 1) if steps else [len(data)]:
                try:
                    end = section_end(data[:size], clean=clean)
                except RequestError as error:
                    return size, error.status
                if end >= 0:
                    return size, end
                clean = size
            return len(data), None

        assert verdict(steps=True)[1] == verdict(steps=False)[1]


class TestCleanLines:
    def test_counts_lines(self) -> None:
        assert count_clean_lines(b"a\r\nb\t\xff\r\n\r\n") == 3
        assert count_clean_lines(b"a\r\n" * 1000) == 1000

    @pytest.mark.parametrize("byte", sorted(set(range(256)) - FIELD_BYTES))
    def test_0_for_any_byte_that_is_none_of_its(self, byte: int) -> None:
        assert count_clean_lines(b"a" + bytes([byte]) + b"b\r\n") == 0

    @pytest.mark.parametrize(
        "data", [b"\r\r\n\n", b"\n\r", b"a\rb\nc", b"\r\n\r", b"a\r\nb\rc\nd\r\n"]
    )
    def test_0_for_line_ends_that_are_none(self, data: bytes) -> None:
        assert count_clean_lines(data) == 0

    @given(st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"a", b"\t", b"\x00"])).map(b"".join))
    def test_against_the_definition(self, data: bytes) -> None:
        left = data.replace(b"\r\n", b"")
        clean = all(byte in FIELD_BYTES for byte in left)
        assert count_clean_lines(data) == (data.count(b"\r\n") if clean else 0)
