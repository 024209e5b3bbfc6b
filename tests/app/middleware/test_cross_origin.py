"""Requests that pages of other origins make: who may, by what the browser says."""

from __future__ import annotations

from typing import Any

import pytest

from h3py import H3
from h3py.app.middleware import CORS, refuse_cross_origin
from h3py.options import Backend
from tests.app.kit import ask

ORIGIN = "https://example.org"
SITE = "Sec-Fetch-Site"


def status(
    *headers: tuple[str, str], cors: CORS | None = None, method: str = "GET", backend: Any = "trio"
) -> int:
    app = H3()
    if cors is not None:
        app.use(cors)
    app.use(refuse_cross_origin())
    app.all("/", lambda event: "x")
    return ask(app, method=method, headers=headers, backend=backend).status


OWN = [
    [],
    [(SITE, "same-origin")],
    [(SITE, "none")],
    [(SITE, "same-origin"), ("Origin", "https://behind-a-proxy.example"), ("Host", "internal")],
    [("Origin", ORIGIN), ("Host", "example.org")],
    [("Origin", "http://localhost:8080"), ("Host", "localhost:8080")],
    [("Origin", ORIGIN), ("Host", "Example.ORG")],
]
FOREIGN = [
    [(SITE, "cross-site")],
    [(SITE, "same-site")],
    [(SITE, "")],
    [(SITE, "anything")],
    [(SITE, "cross-site"), ("Origin", ORIGIN), ("Host", "example.org")],
    [("Origin", ORIGIN), ("Host", "example.com")],
    [("Origin", ORIGIN)],
    [("Origin", "https://example.org:8443"), ("Host", "example.org")],
    [("Origin", "https://example.org.evil.example"), ("Host", "example.org")],
    [("Origin", "null"), ("Host", "example.org")],
    [("Origin", ""), ("Host", "example.org")],
    [("Origin", "example.org"), ("Host", "example.org")],
]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("headers", OWN)
def test_own_pages_and_programs_pass(
    headers: list[tuple[str, str]], method: str, backend: Backend
) -> None:
    assert status(*headers, method=method, backend=backend) == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("headers", FOREIGN)
def test_pages_of_other_origins_do_not(
    headers: list[tuple[str, str]], method: str, backend: Backend
) -> None:
    assert status(*headers, method=method, backend=backend) == 403


def test_what_cors_allows_passes(backend: Backend) -> None:
    foreign = ((SITE, "cross-site"), ("Origin", ORIGIN), ("Cookie", "a=b"))
    named = CORS(origins=[ORIGIN], credentials=True)
    assert status(*foreign, cors=named, backend=backend) == 200
    other = ((SITE, "cross-site"), ("Origin", "https://evil.example"))
    assert status(*other, cors=named, backend=backend) == 403
    assert status((SITE, "cross-site"), cors=named, backend=backend) == 403


def test_all_origins_may_without_cookies() -> None:
    """With cookies a browser would not show the answer: nothing is lost, and nothing begun."""
    foreign = ((SITE, "cross-site"), ("Origin", ORIGIN))
    assert status(*foreign, cors=CORS()) == 200
    assert status(*foreign, ("Cookie", "session=1"), cors=CORS()) == 403
    # An <img>, a link or a form of another site says no origin.
    assert status((SITE, "cross-site"), cors=CORS()) == 403
