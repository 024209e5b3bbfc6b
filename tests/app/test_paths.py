"""Paths and patterns: decoded once, segment by segment."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h3py.app.paths import (
    Segment,
    SegmentKind,
    clean_prefix,
    decode_path,
    matches_prefix,
    parse_pattern,
    parse_prefix,
    split_path,
)
from h3py.errors import ConfigError

segments = st.text(st.characters(codec="utf-8"), max_size=8)


@given(st.lists(segments, min_size=1, max_size=5))
def test_quoted_segments_come_back(parts: list[str]) -> None:
    path = "/" + "/".join(quote(part, safe="") for part in parts)
    assert split_path(path) == [part.replace("/", "%2F") for part in parts]


@given(st.text(max_size=30))
def test_any_path_is_decoded_or_refused(text: str) -> None:
    try:
        parts = split_path("/" + text)
    except ValueError:
        return
    assert len(parts) == text.count("/") + 1
    assert not any("/" in part for part in parts)


@pytest.mark.parametrize(
    ("path", "decoded"),
    [
        ("/", "/"),
        ("/a%20b", "/a b"),
        ("/caf%C3%A9", "/café"),
        ("/caf\xc3\xa9", "/café"),  # raw bytes arrive as latin-1 text
        ("/a%2Fb", "/a%2Fb"),
        ("/a%2fb", "/a%2Fb"),
        ("/a%252Fb", "/a%2Fb"),  # "%25" is a percent sign, and nothing is decoded twice
        ("/%2e%2e/x", "/../x"),
        ("//a//", "//a//"),
        ("/%00", "/\0"),
        ("/a+b", "/a+b"),
    ],
)
def test_decoding(path: str, decoded: str) -> None:
    assert decode_path(path) == decoded


@pytest.mark.parametrize(
    "path", ["/%", "/%4", "/%zz", "/a%", "/%ff", "/%C3", "/%ED%A0%80", "/\xff"]
)
def test_what_cannot_be_decoded_is_refused(path: str) -> None:
    with pytest.raises(ValueError):
        split_path(path)


def test_patterns() -> None:
    pattern = parse_pattern("/users/:id/*/files/**:path")
    assert pattern.segments == (
        Segment(SegmentKind.TEXT, "users"),
        Segment(SegmentKind.PARAM, "id"),
        Segment(SegmentKind.ANY, "*"),
        Segment(SegmentKind.TEXT, "files"),
        Segment(SegmentKind.REST, "path"),
    )
    assert pattern.names == ("id", "path")
    assert not pattern.is_exact
    assert parse_pattern("/a/b:c").is_exact
    assert parse_pattern("/**").names == ("**",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("users", "must begin with '/'"),
        ("", "must begin with '/'"),
        ("/a?b", "'\\?'"),
        ("/a#b", "'#'"),
        ("/a%20b", "'%'"),
        ("/**/a", "last segment"),
        ("/*.js", "whole segment"),
        ("/a**", "whole segment"),
        ("/:", "'' is not a parameter name"),
        ("/:a.b", "'a.b' is not a parameter name"),
        ("/**:", "'' is not a parameter name"),
        ("/:a/:a", "one parameter name twice"),
    ],
)
def test_malformed_patterns_are_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_pattern(text)


@pytest.mark.parametrize("text", ["", "/"])
def test_the_empty_prefix_is_everything(text: str) -> None:
    assert parse_prefix(text) == ()
    assert matches_prefix((), split_path("/any/thing"))


def test_a_prefix_with_a_rest_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"must not contain '\*\*'"):
        parse_prefix("/a/**")


@pytest.mark.parametrize(
    ("prefix", "path", "matches"),
    [
        ("/api", "/api", True),
        ("/api/", "/api", True),
        ("/api", "/api/", True),
        ("/api", "/api/users", True),
        ("/api", "/apix", False),
        ("/api", "/", False),
        ("/api", "/%61pi", True),
        ("/t/:tenant", "/t/x/y", True),
        ("/t/:tenant", "/t//y", False),
        ("/t/*", "/t", False),
    ],
)
def test_prefixes(prefix: str, path: str, matches: bool) -> None:
    assert matches_prefix(parse_prefix(prefix), split_path(path)) is matches


def test_prefixes_lose_their_last_slash() -> None:
    assert [clean_prefix(text) for text in ("/a/", "/a", "/", "")] == ["/a", "/a", "", ""]
