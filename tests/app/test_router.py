"""The router against a naive matcher that tries every pattern, and by example."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h3py.app.paths import parse_pattern
from h3py.app.router import ALL, Found, Refused, Router
from h3py.errors import ConfigError

# The reference knows nothing of trees: it matches each pattern by itself, as text.


@dataclass(frozen=True)
class Match:
    rank: tuple[int, ...]
    pattern: str
    params: dict[str, str]


def match_one(pattern: str, segments: list[str]) -> Match | None:
    rank: list[int] = []
    params: dict[str, str] = {}
    parts = pattern[1:].split("/")
    for position, part in enumerate(parts):
        if part.startswith("**"):
            params[part[3:] or "**"] = "/".join(segments[position:])
            return Match((*rank, 3), pattern, params)
        if position >= len(segments):
            return None
        segment = segments[position]
        if part == "*":
            rank.append(2)
        elif part.startswith(":"):
            rank.append(1)
            params[part[1:]] = segment
        elif part == segment:
            rank.append(0)
            continue
        else:
            return None
        if segment == "":
            return None
    return Match(tuple(rank), pattern, params) if len(parts) == len(segments) else None


def answers(methods: set[str], method: str) -> str | None:
    """Which registered method answers ``method``."""
    candidates = [method, "GET", ALL] if method == "HEAD" else [method, ALL]
    return next((name for name in candidates if name in methods), None)


def reference(
    routes: set[tuple[str, str]], method: str, segments: list[str]
) -> tuple[str, str, dict[str, str]] | set[str]:
    """(method, pattern, params) of what answers, or the methods to allow."""
    patterns = {pattern for _, pattern in routes}
    matches = [match for pattern in patterns if (match := match_one(pattern, segments))]
    allow: set[str] = set()
    for match in sorted(matches, key=lambda match: match.rank):
        methods = {name for name, pattern in routes if pattern == match.pattern}
        answering = answers(methods, method)
        if answering is not None:
            return answering, match.pattern, match.params
        allow |= methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
    return allow


# One name for each place, so that any set of patterns is legal together.
part = st.sampled_from(["a", "b", "", ":", "*"])
methods = st.sampled_from(["GET", "HEAD", "POST", "OPTIONS", ALL])


@st.composite
def patterns(draw: st.DrawFn) -> str:
    parts = draw(st.lists(part, min_size=1, max_size=4))
    named = [f":p{depth}" if text == ":" else text for depth, text in enumerate(parts)]
    ending = draw(st.sampled_from(["", "/**", "/**"]))
    return "/" + "/".join(named) + ending


@given(
    st.sets(st.tuples(methods, patterns()), max_size=12),
    st.lists(
        st.tuples(
            st.sampled_from(["GET", "HEAD", "POST", "OPTIONS", "PUT"]),
            st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=1, max_size=5),
        ),
        max_size=8,
    ),
)
def test_it_finds_what_the_naive_matcher_finds(
    routes: set[tuple[str, str]], requests: list[tuple[str, list[str]]]
) -> None:
    router: Router[tuple[str, str]] = Router()
    for method, pattern in routes:
        router.add(method, parse_pattern(pattern), (method, pattern))
    for method, segments in requests:
        expected = reference(routes, method, segments)
        found = router.find(method, segments)
        if isinstance(found, Refused):
            assert set(found.allow) == expected
        else:
            assert (*found.entry, found.params) == expected


def make(*routes: str) -> Router[str]:
    router: Router[str] = Router()
    for route in routes:
        method, path = route.split(" ")
        router.add(method, parse_pattern(path), route)
    return router


def find(router: Router[str], method: str, path: str) -> str | tuple[str, ...]:
    found = router.find(method, path[1:].split("/"))
    return found.entry if isinstance(found, Found) else found.allow


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/users/me", "GET /users/me"),
        ("/users/7", "GET /users/:id"),
        ("/files/x", "GET /files/*"),
        ("/files/x/y", "GET /files/**"),
        ("/files/", "GET /files/**"),
        ("/files", "GET /files/**"),
        ("/users/7/posts", "GET /users/:id/posts"),
        ("/other", "GET /**"),
        ("/", "GET /**"),
        ("/users/", "GET /**"),
    ],
)
def test_text_beats_names_beat_stars_beat_the_rest(path: str, route: str) -> None:
    router = make(
        "GET /**", "GET /files/**", "GET /files/*", "GET /users/:id", "GET /users/me",
        "GET /users/:id/posts",
    )  # fmt: skip
    assert find(router, "GET", path) == route


def test_the_walk_goes_back_where_a_branch_ends() -> None:
    router = make("GET /a/b/c", "GET /:x/b/d", "GET /*/*/e")
    assert find(router, "GET", "/a/b/d") == "GET /:x/b/d"
    assert find(router, "GET", "/a/b/e") == "GET /*/*/e"


def test_values_of_a_branch_that_failed_are_forgotten() -> None:
    router = make("GET /:a/x", "GET /*/**:rest")
    assert router.find("GET", ["1", "y", "z"]) == Found("GET /*/**:rest", {"rest": "y/z"})


def test_a_less_specific_pattern_answers_the_method_that_is_missing() -> None:
    router = make("GET /users/me", "DELETE /users/:id")
    assert find(router, "DELETE", "/users/me") == "DELETE /users/:id"
    assert find(router, "PUT", "/users/me") == ("DELETE", "GET", "HEAD", "OPTIONS")


def test_head_and_all() -> None:
    router = make("GET /a", "HEAD /a", "GET /b", "* /b", "* /c", "POST /c")
    assert find(router, "HEAD", "/a") == "HEAD /a"
    assert find(router, "HEAD", "/b") == "GET /b"
    assert find(router, "BREW", "/b") == "* /b"
    assert find(router, "HEAD", "/c") == "* /c"
    assert find(router, "POST", "/c") == "POST /c"
    assert find(router, "GET", "/d") == ()


def test_two_handlers_for_one_place_are_both_named() -> None:
    router = make("GET /a/:id")
    with pytest.raises(ConfigError, match=r"GET '/a/:id': GET /a/:id and the other"):
        router.add("GET", parse_pattern("/a/:id"), "the other")


@pytest.mark.parametrize(
    ("first", "second"),
    [("/a/:id", "/a/:name/x"), ("/a/**", "/a/**:rest"), ("/a/**:path", "/a/**:rest")],
)
def test_two_names_for_one_place_are_both_named(first: str, second: str) -> None:
    router = make(f"GET {first}")
    with pytest.raises(ConfigError) as caught:
        router.add("POST", parse_pattern(second), "x")
    assert repr(first) in str(caught.value)
    assert repr(second) in str(caught.value)


def test_add_unless_taken() -> None:
    router = make("GET /a")
    router.add_unless_taken("GET", parse_pattern("/a"), "later")
    router.add_unless_taken("POST", parse_pattern("/a"), "first")
    assert find(router, "GET", "/a") == "GET /a"
    assert find(router, "POST", "/a") == "first"
