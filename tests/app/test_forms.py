"""Forms: urlencoded and multipart, and everything that can be wrong with them."""

from __future__ import annotations

import sys
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h3py.app import forms
from h3py.app.forms import UploadedFile, parse_form, parse_urlencoded
from h3py.errors import ConfigError, HTTPError

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=XX"


def status_of(content_type: str, body: bytes) -> int:
    try:
        parse_form(content_type, body)
    except HTTPError as error:
        return error.status
    return 200


text = st.text(st.characters(codec="utf-8"), max_size=20)


@given(st.lists(st.tuples(text, text), max_size=8))
def test_urlencoded_fields_come_back(fields: list[tuple[str, str]]) -> None:
    form = parse_form(URLENCODED, urlencode(fields).encode())
    assert form.pairs() == tuple(fields)


@given(st.binary(max_size=60))
def test_any_urlencoded_body_is_a_form_or_the_clients_error(body: bytes) -> None:
    assert status_of(URLENCODED, body) in (200, 400)


def test_raw_utf8_is_taken_as_what_it_is() -> None:
    assert parse_form(f"{URLENCODED}; charset=utf-8", "é=ü".encode())["é"] == "ü"


@pytest.mark.parametrize("body", [b"a=%ff", b"a=\xff", b"%C3=1"])
def test_fields_that_are_not_utf8(body: bytes) -> None:
    with pytest.raises(HTTPError, match="400 a field is not UTF-8"):
        parse_form(URLENCODED, body)


def test_the_number_of_fields_is_bounded() -> None:
    assert len(parse_urlencoded("a=1&b=2", max_fields=2)) == 2
    with pytest.raises(HTTPError, match="400 more than 2 fields"):
        parse_urlencoded("a=1&b=2&c=3", max_fields=2)


@pytest.mark.parametrize("kind", ["", "text/plain", "application/json", "multipart/mixed"])
def test_other_bodies_are_no_forms(kind: str) -> None:
    with pytest.raises(HTTPError, match="415"):
        parse_form(kind, b"a=1")


# Multipart.


def part(headers: str, data: bytes) -> bytes:
    return b"--XX\r\n" + headers.encode() + b"\r\n\r\n" + data + b"\r\n"


def field(name: str, value: bytes = b"v") -> bytes:
    return part(f'Content-Disposition: form-data; name="{name}"', value)


END = b"--XX--\r\n"


@pytest.mark.parametrize("boundary", ["XX", '"XX"'])
def test_fields_and_files(boundary: str) -> None:
    body = b"".join(
        (
            field("a", b"1"),
            field("é", "ü\r\n".encode()),
            part(
                'content-disposition: form-data; name="file"; filename="ä.bin"\r\n'
                "Content-Type: image/png",
                b"\x00--XX\xff",
            ),
            part('Content-Disposition: form-data; name="none"; filename=""', b""),
            field("a", b"2"),
            END,
        )
    )
    form = parse_form(f"Multipart/Form-Data; boundary={boundary}", body)
    assert form.pairs() == (
        ("a", "1"),
        ("é", "ü\r\n"),
        ("file", UploadedFile("ä.bin", "image/png", b"\x00--XX\xff")),
        ("none", UploadedFile("", "application/octet-stream", b"")),
        ("a", "2"),
    )


def test_an_empty_multipart_form() -> None:
    assert len(parse_form(MULTIPART, END)) == 0


MALFORMED: list[tuple[str, bytes, str]] = [
    ("multipart/form-data", END, "no boundary"),
    ("multipart/form-data; boundary=", END, "no boundary"),
    (MULTIPART, b"", "cut short"),
    (MULTIPART, field("a"), "cut short"),
    (MULTIPART, b"nonsense", "malformed"),
    (MULTIPART, part("Content-Disposition: form-data", b"") + END, "has no name"),
    (MULTIPART, part('Content-Disposition: inline; name="a"', b"") + END, "has no name"),
    (MULTIPART, part("X: y", b"") + END, "has no name"),
    (MULTIPART, field("a", b"\xff") + END, "not UTF-8"),
    (MULTIPART, field("a") * 3 + END, "more than 2 fields"),
    (MULTIPART, part("\r\n".join(f"X{n}: y" for n in range(40)), b"") + END, "malformed|too many"),
    (f"multipart/form-data; boundary={'X' * 2000}", END, "malformed"),
]


def test_what_is_wrong_with_a_form_is_the_clients_error() -> None:
    for content_type, body, message in MALFORMED:
        with pytest.raises(HTTPError, match=message) as caught:
            parse_form(content_type, body, max_fields=2)
        assert caught.value.status == 400


@given(st.lists(st.sampled_from([b"--XX", b"\r\n", b"--", b"a", b":", field("a"), END])))
def test_any_multipart_body_is_a_form_or_the_clients_error(pieces: list[bytes]) -> None:
    assert status_of(MULTIPART, b"".join(pieces)) in (200, 400)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    forms._multipart.cache_clear()
    monkeypatch.setitem(sys.modules, "python_multipart", None)
    with pytest.raises(ConfigError, match=r"install h3py\[forms\]"):
        parse_form(MULTIPART, END)
    monkeypatch.undo()
    forms._multipart.cache_clear()
