"""The verbs of registration: as call and as decorator, each for its method."""

from __future__ import annotations

from typing import Any

import pytest

from h3py.app import H3, H3Event
from h3py.errors import ConfigError
from tests.app.kit import ask

VERBS = ("get", "post", "put", "patch", "delete", "head", "options")


def method_of(event: H3Event) -> str:
    return event.method


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("as_decorator", [False, True])
def test_each_verb_registers_its_method(verb: str, as_decorator: bool) -> None:
    app = H3()
    register = getattr(app, verb)
    given_back = register("/x")(method_of) if as_decorator else register("/x", method_of)
    assert given_back is method_of
    assert ask(app, "/x", method=verb.upper()).text == verb.upper()
    other = "POST" if verb != "post" else "PUT"
    assert ask(app, "/x", method=other).status == 405


def test_all_answers_every_method_that_has_no_other_handler() -> None:
    app = H3()
    app.all("/x", method_of)
    app.on("post", "/x", lambda event: "its own")
    for method in ("GET", "HEAD", "OPTIONS", "DELETE", "PROPFIND"):
        assert ask(app, "/x", method=method).text == method
    assert ask(app, "/x", method="POST").text == "its own"


def test_on_takes_any_method() -> None:
    app = H3()
    app.on("PROPFIND", "/x")(method_of)
    app.on("*", "/y", method_of)
    assert ask(app, "/x", method="PROPFIND").text == "PROPFIND"
    assert ask(app, "/y", method="BREW").text == "BREW"
    assert ask(app, "/x", method="POST").header("allow") == "OPTIONS, PROPFIND"


MISTAKES: list[Any] = [
    (lambda app: app.get("x", method_of), "must begin with '/'"),
    (lambda app: app.get(method_of), "begins with its path"),
    (lambda app: app.on("GE T", "/", method_of), "'GE T' is not a method"),
    (lambda app: app.on(3, "/", method_of), "3 is not a method"),
    (lambda app: app.get("/", method_of, authorise=1), "unknown option 'authorise'"),
    (lambda app: app.get("/", method_of, authorize=1), "1 is not a function"),
    (lambda app: app.get("/", method_of, middleware=[1]), "1 is not a function"),
    (lambda app: app.get("/", method_of, stream_body=1), "must be True or False"),
]


def test_mistakes_are_named_where_they_are_made() -> None:
    for wrong, message in MISTAKES:
        with pytest.raises(ConfigError, match=message):
            wrong(H3())


def test_a_handler_must_be_callable() -> None:
    with pytest.raises(TypeError, match="'x' is not callable"):
        H3().get("/", "x")  # type: ignore[call-overload]  # on purpose
