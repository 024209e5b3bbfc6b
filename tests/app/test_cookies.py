"""Cookies: read leniently, written strictly (RFC 6265)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h3py.app.cookies import format_cookie, parse_cookies

# The grammar of RFC 6265 section 4.1.1, written from the standard.
TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
OCTETS = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '",;\\')
CLEAN: dict[str, Any] = {"path": None, "http_only": False, "same_site": None}


@pytest.mark.parametrize(
    ("lines", "cookies"),
    [
        (["a=1; b=2"], {"a": "1", "b": "2"}),
        (["a=1;b=2;"], {"a": "1", "b": "2"}),
        (["a=1", "b=2"], {"a": "1", "b": "2"}),
        (["a=first; a=second"], {"a": "first"}),
        (["a=x=y"], {"a": "x=y"}),
        (["a="], {"a": ""}),
        (['a="quoted"'], {"a": "quoted"}),
        (['a="'], {"a": '"'}),
        (["nameless; =x; a=1"], {"a": "1"}),
        (["\ta = 1 "], {"a": "1"}),
        ([""], {}),
        ([], {}),
    ],
)
def test_reading(lines: list[str], cookies: dict[str, str]) -> None:
    assert parse_cookies(lines) == cookies


@given(st.text(TOKEN, min_size=1), st.text(OCTETS))
def test_what_is_written_comes_back(name: str, value: str) -> None:
    if name.lower().startswith(("__host-", "__secure-")):
        return
    line = format_cookie(name, value, **CLEAN)
    assert parse_cookies([line]) == {name: value}


@given(st.text(), st.text(), st.text(), st.text())
def test_nothing_given_forges_an_attribute(name: str, value: str, path: str, domain: str) -> None:
    try:
        line = format_cookie(name, value, path=path, domain=domain)
    except ValueError:
        return
    assert re.fullmatch(r"[\x20-\x7e]*", line)
    assert line.split("; ") == [
        f"{name}={value}", f"Domain={domain}", f"Path={path}", "HttpOnly", "SameSite=Lax",
    ]  # fmt: skip


def test_attributes() -> None:
    expires = datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=1)))
    assert format_cookie("a", "1") == "a=1; Path=/; HttpOnly; SameSite=Lax"
    assert format_cookie("a", "1", **CLEAN) == "a=1"
    assert (
        format_cookie(
            "a", "1", expires=expires, domain="example.org", secure=True, same_site="none",
            partitioned=True,
        )
        == "a=1; Expires=Wed, 02 Jan 2030 02:04:05 GMT; Domain=example.org; Path=/; Secure; "
        "HttpOnly; SameSite=None; Partitioned"
    )  # fmt: skip
    assert format_cookie("a", "1", max_age_s=60, expires=expires, **CLEAN) == "a=1; Max-Age=60"
    assert format_cookie("a", "1", max_age_s=0, **CLEAN) == (
        "a=1; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
    )
    assert format_cookie("__Host-a", "1", secure=True).startswith("__Host-a=1; Path=/; Secure")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "not a cookie name"),
    ({"name": "a b"}, "not a cookie name"),
    ({"name": "a=b"}, "not a cookie name"),
    ({"name": "é"}, "not a cookie name"),
    ({"value": "a b"}, "must not contain ' '"),
    ({"value": "a;b"}, "must not contain ';'"),
    ({"value": 'a"b'}, "must not contain '\"'"),
    ({"value": "a\r\n"}, r"must not contain '\\r'"),
    ({"value": "é"}, "must not contain 'é'"),
    ({"value": "x" * 4096}, "over 4096 bytes"),
    ({"path": "x"}, "is not a path"),
    ({"path": "/;x"}, "is not a path"),
    ({"path": "/\n"}, "is not a path"),
    ({"domain": "a;b"}, "is not a domain"),
    ({"domain": ""}, "is not a domain"),
    ({"domain": "a..b "}, "is not a domain"),
    ({"same_site": "Lax"}, "must be 'strict', 'lax' or 'none'"),
    ({"same_site": "none"}, "needs secure=True"),
    ({"partitioned": True}, "needs secure=True"),
    ({"expires": datetime(2030, 1, 1)}, "must have a time zone"),
    ({"name": "__Secure-a"}, "needs secure=True"),
    ({"name": "__Host-a", "secure": True, "domain": "a.org"}, "needs secure=True, path='/'"),
    ({"name": "__host-a", "secure": True, "path": "/x"}, "needs secure=True, path='/'"),
]


def test_what_a_browser_would_drop_is_refused() -> None:
    for changes, message in WRONG:
        with pytest.raises(ValueError, match=message):
            format_cookie(**({"name": "a", "value": "1"} | changes))


def test_ages_are_whole_seconds() -> None:
    for wrong in (1.5, "1", True):
        with pytest.raises(TypeError, match="whole seconds"):
            format_cookie("a", "1", max_age_s=wrong)  # type: ignore[arg-type]  # on purpose


def test_the_largest_cookie() -> None:
    assert len(format_cookie("a", "x" * 4095, **CLEAN)) == 4097


def test_expires_in_utc() -> None:
    line = format_cookie("a", "1", expires=datetime(2030, 6, 1, tzinfo=UTC), **CLEAN)
    assert line == "a=1; Expires=Sat, 01 Jun 2030 00:00:00 GMT"
