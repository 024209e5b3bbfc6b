"""Headers: case, repeated names, and text out of bytes."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from h3py.http import Headers

LINES = [(b"host", b"a"), (b"x", b" 1 \t"), (b"accept", b"\xe9"), (b"x", b"2")]


@pytest.fixture
def headers() -> Headers:
    return Headers(LINES)


def test_names_compare_without_case(headers: Headers) -> None:
    assert headers["HOST"] == headers["host"] == headers.get("Host") == "a"
    assert "hOsT" in headers
    assert headers.get_all("X") == ["1", "2"]


def test_the_first_line_of_a_name_counts(headers: Headers) -> None:
    assert headers["x"] == "1"
    assert headers.get("x") == "1"
    assert dict(headers)["x"] == "1"


def test_values_are_latin_1_without_white_space_around(headers: Headers) -> None:
    assert headers["accept"] == "é"
    assert headers["x"] == "1"


def test_white_space_is_space_and_tab_alone() -> None:
    assert Headers([(b"x", b"\xa0y\x85")])["x"] == "\xa0y\x85"


@pytest.mark.parametrize("name", ["cookie", "ho", "hosts", "", "höst", "\u212a", "?", "host "])
def test_what_is_absent(headers: Headers, name: str) -> None:
    assert name not in headers
    assert headers.get(name) is None
    assert headers.get(name, "none") == "none"
    assert headers.get_all(name) == []
    with pytest.raises(KeyError):
        headers[name]


def test_a_name_of_another_type_is_absent(headers: Headers) -> None:
    names: list[object] = [b"host", 1, None]
    assert not any(name in headers for name in names)


def test_a_letter_whose_lower_case_is_ascii_is_another_letter() -> None:
    assert "\u212a".lower() == "k"  # the Kelvin sign
    assert "\u212a" not in Headers([(b"k", b"v")])


def test_it_goes_line_by_line(headers: Headers) -> None:
    assert len(headers) == 4
    assert list(headers) == ["host", "x", "accept", "x"]
    assert list(headers.keys()) == list(headers)
    assert list(headers.items()) == [("host", "a"), ("x", "1"), ("accept", "é"), ("x", "2")]
    assert ("x", "2") in headers.items()
    assert ("x", "3") not in headers.items()
    assert len(headers.items()) == 4


def test_it_is_a_mapping(headers: Headers) -> None:
    assert isinstance(headers, Mapping)
    assert bool(headers)
    assert not Headers([])


def test_of_text() -> None:
    headers = Headers.of([("Host", "a"), ("X-É".replace("É", "e"), "é")])
    assert headers["x-e"] == "é"
    assert headers == Headers([(b"host", b"a"), (b"x-e", b"\xe9")])


def test_equality_is_by_line() -> None:
    one = Headers.of([("a", "1"), ("b", "2")])
    assert one == Headers.of([("A", " 1 "), ("B", "2")])
    assert one != Headers.of([("b", "2"), ("a", "1")])
    assert one != [("a", "1"), ("b", "2")]
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


def test_repr_shows_the_lines(headers: Headers) -> None:
    assert "('x', '2')" in repr(headers)
