"""Prepared applications: what one request finds, and what a backend is refused."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h3py.app import H3, H3Event, inline
from h3py.app.paths import matches_prefix, parse_prefix, split_path
from h3py.errors import ConfigError
from h3py.options import Backend
from tests.app.kit import ask, make_request


def mark(name: str) -> Any:
    @inline
    def middleware(event: H3Event) -> None:
        event.context.setdefault("marks", []).append(name)

    return middleware


@inline
def answer_marks(event: H3Event) -> list[str]:
    marks: list[str] = event.context.get("marks", [])
    return marks


# Prefixes and the chain of middleware.


PREFIXES = ["", "/a", "/b", "/a/b", "/:x", "/a/*", "/*/b"]
PATTERNS = [
    "/", "/a", "/a/", "/a/b", "/b/a", "/:p", "/a/:p", "/:p/b", "/*", "/**", "/a/**", "/:p/**",
]  # fmt: skip
PATHS = ["/" + "/".join(parts) for n in (1, 2, 3) for parts in product(["a", "b", ""], repeat=n)]
prefixes = st.sampled_from(PREFIXES)
patterns = st.sampled_from(PATTERNS)
paths = st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=1, max_size=3).map(
    lambda parts: "/" + "/".join(parts)
)


@given(st.lists(prefixes, max_size=5), st.sets(patterns, min_size=1), st.lists(paths, max_size=6))
def test_a_request_goes_through_the_middleware_of_its_path(
    scopes: list[str], routes: set[str], requests: list[str]
) -> None:
    """However a route was reached, its chain is what its path alone says."""
    app = H3()
    for number, prefix in enumerate(scopes):
        app.use(prefix or "/", mark(str(number)))
    for pattern in routes:
        app.get(pattern, answer_marks, middleware=[mark("own")])
    prepared = app.prepare("threads")
    for path in requests:
        chain = prepared.find("GET", path).chain
        expected = [
            number
            for number, prefix in enumerate(scopes)
            if matches_prefix(parse_prefix(prefix), split_path(path))
        ]
        answer = ask(prepared, path)
        if answer.status == 200:
            assert answer.json == [*(str(number) for number in expected), "own"]
        assert len(chain) == len(expected) + (answer.status == 200)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_no_pattern_reaches_around_a_prefix(prefix: str) -> None:
    """Every pattern and path there is: the middleware runs exactly where the path says so."""
    for pattern in PATTERNS:
        app = H3()
        app.use(prefix or "/", mark("seen"))
        app.get(pattern, answer_marks)
        prepared = app.prepare("threads")
        for path in PATHS:
            answer = ask(prepared, path)
            expected = matches_prefix(parse_prefix(prefix), split_path(path))
            assert answer.status == 404 or (answer.json == ["seen"]) == expected, (pattern, path)


def test_an_encoded_path_does_not_pass_its_middleware_by() -> None:
    app = H3()
    app.use("/admin", inline(lambda event: "refused"))
    app.get("/admin", lambda event: "secret")
    app.get("/:page", lambda event: "page")
    for path in ("/admin", "/%61dmin", "/adm%69n"):
        assert ask(app, path).text == "refused"
    assert ask(app, "/other").text == "page"


# What no route answers.


def test_middleware_sees_what_no_route_answers(backend: Backend) -> None:
    seen: list[tuple[str, str]] = []
    app = H3()
    app.use(inline(lambda event: seen.append((event.method, event.path))))
    app.post("/a", lambda event: None)
    statuses = [
        ask(app, path, method=method, backend=backend).status
        for method, path in (("GET", "/b"), ("GET", "/a"), ("OPTIONS", "/a"), ("GET", "/%ff"))
    ]
    assert statuses == [404, 405, 204, 400]
    assert seen == [("GET", "/b"), ("GET", "/a"), ("OPTIONS", "/a"), ("GET", "/%ff")]


def test_405_and_options_say_what_is_allowed() -> None:
    app = H3()
    app.get("/a", lambda event: None)
    app.put("/:x", lambda event: None)
    refused = ask(app, "/a", method="POST")
    assert (refused.status, refused.header("allow")) == (405, "GET, HEAD, OPTIONS, PUT")
    options = ask(app, "/a", method="OPTIONS")
    assert (options.status, options.body) == (204, b"")
    assert options.header("allow") == "GET, HEAD, OPTIONS, PUT"
    everything = ask(app, "*", method="OPTIONS")
    assert everything.header("allow") == "GET, HEAD, OPTIONS, PUT"
    assert ask(app, "*").status == 404


def test_head_is_answered_with_what_get_gives() -> None:
    app = H3()
    app.get("/a", lambda event: "body")
    assert ask(app, "/a", method="HEAD").body == b"body"  # left out when it is encoded


def test_what_routes_of_a_path_share_is_run_for_its_automatic_answers() -> None:
    seen: list[str] = []
    app = H3()
    group = app.group("/g", middleware=[inline(lambda event: seen.append("group"))])
    group.get("/x", lambda event: None, middleware=[inline(lambda event: seen.append("get"))])
    group.put("/x", lambda event: None)
    ask(app, "/g/x", method="OPTIONS")
    assert seen == ["group"]


# Bodies.


def test_routes_choose_how_they_take_the_body() -> None:
    app = H3()
    app.post("/stream/:name", lambda event: None, stream_body=True)
    app.post("/whole", lambda event: None)
    prepared = app.prepare("threads")
    assert prepared.wants_stream(make_request("POST", "/stream/x?q=1"))
    for method, path in (("GET", "/stream/x"), ("POST", "/whole"), ("POST", "/no"), ("POST", "/%")):
        assert not prepared.wants_stream(make_request(method, path))


# Backends.


async def async_function(event: H3Event) -> None: ...
async def async_hook() -> None: ...
async def another(event: H3Event) -> None: ...


def async_parts(app: H3, where: str) -> str:
    """Put an async function somewhere; gives what the error should name."""
    name = f"{__name__}.async_function"
    fine = inline(lambda event: None)
    if where == "handler":
        app.get("/x/:id", async_function)
        return f"route GET /x/:id ({name})"
    if where == "authorize":
        app.post("/x", fine, authorize=async_function)
        return f"authorize {name} of route POST /x"
    if where == "middleware":
        app.use("/x", async_function)
        return f"middleware {name}"
    if where == "route":
        app.all("/x", fine, middleware=[async_function])
        return f"middleware {name} of route ALL /x"
    if where == "group":
        app.group("/g", middleware=[async_function]).get("/x", fine)
        return f"middleware {name} of route GET /g/x"
    if where == "mounted":
        inner = H3()
        inner.get("/x", async_function)
        app.mount("/sub", inner)
        return f"route GET /sub/x ({name})"
    getattr(app, where)(async_hook)
    return f"{where} {__name__}.async_hook"


@pytest.mark.parametrize(
    "where",
    [
        "handler", "authorize", "middleware", "route", "group", "mounted",
        "on_start", "on_stop", "background",
    ],
)  # fmt: skip
def test_what_is_async_is_refused_on_threads_by_name(where: str) -> None:
    app = H3()
    message = async_parts(app, where)
    for act in (app.check, app.prepare):
        with pytest.raises(ConfigError) as caught:
            act("threads")
        assert message in str(caught.value)
    app.check("trio")
    assert app.prepare("trio").can_await


def test_all_of_it_is_named_at_once() -> None:
    app = H3()
    app.get("/a", async_function)
    app.get("/b", async_function)
    with pytest.raises(ConfigError, match=r"GET /a .*; route GET /b "):
        app.check("threads")


def test_conflicts_are_found_before_serving() -> None:
    app = H3()
    app.get("/a", async_function)
    inner = H3()
    inner.get("/a", another)
    app.mount("/", inner)
    with pytest.raises(
        ConfigError, match=r"GET '/a': GET /a \(.*function\) and GET /a \(.*another"
    ):
        app.check("trio")
