"""CORS: what the Fetch standard lets a browser share (section 3.2)."""

from __future__ import annotations

from typing import Any

import pytest

from h3py.app import H3, H3Event
from h3py.app.middleware import CORS
from h3py.errors import ConfigError, HTTPError
from h3py.http import Response
from h3py.options import Backend
from tests.app.kit import Answer, ask, recorded_streams

ORIGIN = "https://example.org"
OTHER = "https://evil.example"


def shared(
    backend: Backend = "threads",
    *,
    origin: str | None = ORIGIN,
    handler: Any = None,
    **options: Any,
) -> Answer:
    request = {name: options.pop(name) for name in ("method", "path") if name in options}
    headers = [*options.pop("headers_sent", ()), *([("Origin", origin)] if origin else [])]
    app = H3()
    app.use(CORS(**options))
    app.get("/", handler or (lambda event: "x"))
    path = request.pop("path", "/")
    return ask(app, path, headers=headers, backend=backend, **request)


def test_all_origins(backend: Backend) -> None:
    answer = shared(backend)
    assert answer.header("access-control-allow-origin") == "*"
    assert answer.header("access-control-allow-credentials") is None
    assert answer.header("vary") is None
    assert shared(backend, origin=None).header("access-control-allow-origin") is None


def test_named_origins(backend: Backend) -> None:
    answer = shared(backend, origins=[ORIGIN], credentials=True, expose=["X-One", "X-Two"])
    assert answer.header("access-control-allow-origin") == ORIGIN
    assert answer.header("access-control-allow-credentials") == "true"
    assert answer.header("access-control-expose-headers") == "X-One, X-Two"
    assert answer.header("vary") == "Origin"


@pytest.mark.parametrize(
    "origin", [OTHER, None, "null", f"{ORIGIN}.evil.example", "HTTPS://EXAMPLE.ORG"]
)
def test_other_origins_get_nothing_but_vary(origin: str | None) -> None:
    answer = shared(origin=origin, origins=[ORIGIN], credentials=True)
    assert (answer.status, answer.text) == (200, "x")
    assert [name for name, _ in answer.response.headers] == ["content-type", "vary"]  # type: ignore[union-attr]
    assert answer.header("vary") == "Origin"


def test_a_vary_of_the_handlers_own_is_kept() -> None:
    def by_header(event: H3Event) -> str:
        event.set_header("vary", "Accept")
        return "x"

    def by_response(event: H3Event) -> Response:
        return Response(200, [("Vary", "Accept, Origin")])

    assert shared(origins=[ORIGIN], handler=by_header).all("vary") == ["Accept", "Origin"]
    assert "Accept, Origin" in shared(origins=[ORIGIN], handler=by_response).all("vary")


def test_errors_are_shared_too(backend: Backend) -> None:
    def handler(event: H3Event) -> None:
        raise HTTPError(404)

    for answer in (shared(backend, handler=handler), shared(backend, path="/nothing")):
        assert (answer.status, answer.header("access-control-allow-origin")) == (404, "*")


def test_errors_depend_on_the_origin_for_other_origins_too() -> None:
    answer = shared(origin=OTHER, origins=[ORIGIN], path="/nothing")
    assert (answer.status, answer.header("vary")) == (404, "Origin")


def test_streams_are_shared_too(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    with recorded_streams(monkeypatch):
        answer = shared(backend, origins=[ORIGIN], handler=lambda event: event.start_sse())
    assert answer.exchange.head == (
        200,
        [
            ("vary", "Origin"),
            ("access-control-allow-origin", ORIGIN),
            ("access-control-expose-headers", "retry-after"),
        ],
    )


# Preflights.


ASKED = [("Access-Control-Request-Method", "PUT"), ("Access-Control-Request-Headers", "x-one")]


def preflight(**options: Any) -> Answer:
    return shared(method="OPTIONS", headers_sent=ASKED, **options)


def test_a_preflight_is_answered_on_any_path(backend: Backend) -> None:
    for path in ("/", "/nothing"):
        answer = preflight(backend=backend, path=path, methods=["GET", "PUT"], max_age_s=5)
        assert (answer.status, answer.body) == (204, b"")
        assert answer.header("access-control-allow-origin") == "*"
        assert answer.header("access-control-allow-methods") == "GET, PUT"
        assert answer.header("access-control-allow-headers") == (
            "authorization, content-type, last-event-id"
        )
        assert answer.header("access-control-max-age") == "5"


def test_headers_that_are_asked_for() -> None:
    answer = preflight(headers="*", origins=[ORIGIN])
    assert answer.header("access-control-allow-headers") == "x-one"
    assert sorted(answer.all("vary")) == ["Access-Control-Request-Headers", "Origin"]
    assert preflight(headers=["X-One"]).header("access-control-allow-headers") == "X-One"


def test_a_preflight_of_another_origin_allows_nothing() -> None:
    answer = preflight(origin=OTHER, origins=[ORIGIN])
    assert answer.status == 204
    assert not any(
        name.startswith("access-control")
        for name, _ in answer.response.headers  # type: ignore[union-attr]
    )
    assert answer.header("vary") == "Origin"


def test_other_options_requests_are_no_preflights() -> None:
    answer = shared(method="OPTIONS")
    assert answer.header("allow") == "GET, HEAD, OPTIONS"
    assert answer.header("access-control-allow-methods") is None
    answer = shared(method="OPTIONS", origin=None, headers_sent=ASKED)
    assert answer.header("access-control-allow-methods") is None


def test_what_is_asked_for_is_given_back_only_where_it_is_a_list_of_names() -> None:
    """A reflected header is the client's text: it must not carry anything else."""
    for asked in ("x-one, y", "a,b ,c"):
        sent = [("Access-Control-Request-Method", "PUT"), ("Access-Control-Request-Headers", asked)]
        answer = shared(method="OPTIONS", headers="*", headers_sent=sent)
        assert answer.header("access-control-allow-headers") == asked
    for asked in ("", "x one", "x;y", "<script>", "x,,y", "é"):
        sent = [("Access-Control-Request-Method", "PUT"), ("Access-Control-Request-Headers", asked)]
        answer = shared(method="OPTIONS", headers="*", headers_sent=sent)
        assert (answer.status, answer.header("access-control-allow-headers")) == (204, None)


HOSTILE = [
    "https://example.org.evil.example",
    "https://example.org@evil.example",
    "https://evil.example/https://example.org",
    "https://evil.example#https://example.org",
    "https://exampleXorg",
    "https://example.org:443",
    "https://example.org/",
    "https://example.org, https://evil.example",
    "https://example.org https://evil.example",
    "http://example.org",
    "https://EXAMPLE.org",
    "https://sub.example.org",
    "null",
    "*",
    "",
    "x" * 8000,
]


@pytest.mark.parametrize("origin", HOSTILE)
def test_look_alikes_get_nothing(origin: str) -> None:
    for method in ("GET", "OPTIONS"):
        answer = shared(
            origin=None,
            origins=[ORIGIN],
            credentials=True,
            method=method,
            headers_sent=[("Origin", origin), *ASKED],
        )
        assert answer.response is not None
        assert not [name for name, _ in answer.response.headers if name.startswith("access-")]
        assert answer.header("vary") == "Origin"


def test_two_origins_are_none() -> None:
    sent = [("Origin", ORIGIN), ("Origin", OTHER)]
    for lines in (sent, sent[::-1]):
        answer = shared(origin=None, origins=[ORIGIN], headers_sent=lines)
        assert answer.header("access-control-allow-origin") is None


def test_which_origins_are_allowed() -> None:
    named = CORS(origins=[ORIGIN, "http://localhost:8080", "http://[::1]:3000", "null"])
    for origin in (ORIGIN, "http://localhost:8080", "http://[::1]:3000", "null"):
        assert named.allows(origin)
    assert not named.allows(OTHER)
    assert CORS().allows(OTHER)


def test_mistakes_are_named() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"credentials": True}, "credentials need named origins"),
        ({"origins": ["null"], "credentials": True}, "credentials need named origins"),
        ({"origins": "https://a.org"}, "origins must be a list"),
        ({"origins": [3]}, "origins must be a list of str"),
        ({"origins": ["https://a.org/"]}, "is not an origin"),
        ({"origins": ["a.org"]}, "is not an origin"),
        ({"origins": ["*"]}, "is not an origin"),
        ({"origins": ["https://*.a.org"]}, "is not an origin"),
        ({"origins": ["https://a.org\n"]}, "is not an origin"),
        ({"origins": ["https://A.org"]}, "is not an origin"),
        ({"origins": ["https://a.org:443"]}, "leave out the default port"),
        ({"origins": ["http://a.org:80"]}, "leave out the default port"),
        ({"methods": "GET"}, "methods must be a list"),
        ({"methods": ["GET, PUT"]}, "methods"),
        ({"headers": ["a\r\nb"]}, "headers"),
        ({"expose": [""]}, "expose"),
        ({"max_age_s": -1}, "max_age_s must be a whole number"),
    ]
    for options, message in wrong:
        with pytest.raises(ConfigError, match=message):
            CORS(**options)
    CORS(["https://a.org:80", "http://a.org:443"])
