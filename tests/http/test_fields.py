"""Fields on their way out: nothing that an application passes on can forge a line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h3py.http import check_field
from h3py.http.fields import _KEPT_FIELDS, _KEPT_LENGTH, MANAGED, _lines, encode_field

# RFC 9110 sections 5.6.2 and 5.5.
TOKEN = set("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
VALUE = {chr(c) for c in (0x09, *range(0x20, 0x7F), *range(0x80, 0x100))}


@given(st.text(st.characters(max_codepoint=0x2FF), max_size=4), st.text(max_size=6))
def test_what_passes_is_what_the_standard_allows(name: str, value: str) -> None:
    legal = bool(name) and set(name) <= TOKEN and set(value) <= VALUE
    try:
        line = encode_field((name, value))
    except ValueError:
        assert not legal
    else:
        assert legal
        if line is not None:
            assert line == f"{name}: {value}\r\n".encode("latin-1")


@pytest.mark.parametrize("char", [chr(c) for c in range(256)], ids=lambda c: f"{ord(c):02x}")
def test_every_character(char: str) -> None:
    if char in TOKEN:
        check_field(char, "x")
    else:
        with pytest.raises(ValueError, match="not a header name"):
            check_field(f"a{char}b", "x")
    if char in VALUE:
        check_field("x", char)
    else:
        with pytest.raises(ValueError, match=r"header x: .* cannot stand in a value"):
            check_field("x", f"a{char}b")


@pytest.mark.parametrize("value", ["y\r\nset-cookie: a=b", "y\n", "y\r", "\x00", "y\r\n\r\n<html>"])
def test_forgeries_are_refused_each_time(value: str) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="header location"):
            encode_field(("location", value))


def test_text_outside_latin_1_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="header x-name: '漢' is not latin-1"):
        check_field("x-name", "a漢")


@pytest.mark.parametrize("pair", [(b"x", "y"), ("x", b"y"), ("x", 5), (None, "y")])
def test_what_is_not_text_is_refused(pair: tuple[object, object]) -> None:
    with pytest.raises(TypeError, match="a header is two str"):
        encode_field(pair)  # type: ignore[arg-type]  # what a program without types may do


def test_managed_names_are_left_to_the_caller_but_checked() -> None:
    for name in MANAGED:
        assert encode_field((name.title(), "x")) is None
        with pytest.raises(ValueError, match="cannot stand in a value"):
            encode_field((name, "x\r\n"))


def test_the_table_of_lines_is_bounded() -> None:
    for number in range(2 * _KEPT_FIELDS):
        encode_field(("x", str(number)))
        encode_field(("x", str(number) * _KEPT_LENGTH))
    assert len(_lines) <= _KEPT_FIELDS
    assert max(map(len, _lines.values())) <= _KEPT_LENGTH
