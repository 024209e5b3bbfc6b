"""The guards of the endpoints, one by one; over real connections: test_messages.py."""

from __future__ import annotations

from typing import Any

import pytest

from h3py import H3, H3Event, HTTPError
from h3py.manager.guards import challenged, json_only
from h3py.options import Backend
from tests.app.kit import Answer, ask

JSON = ("Content-Type", "application/json")


def through(guard: Any, backend: Backend, *headers: tuple[str, str], **request: Any) -> Answer:
    def handler(event: H3Event) -> str:
        if event.query:
            raise HTTPError(int(event.query["status"]), headers=dict(event.query.pairs()[1:]))
        return "x"

    app = H3()
    app.all("/", handler, middleware=[guard])
    target = request.pop("target", "/")
    return ask(app, target, headers=headers, backend=backend, **request)


def test_json_only(backend: Backend) -> None:
    guard = json_only(3)
    assert through(guard, backend, JSON, method="POST", body=b"123").status == 200
    assert through(guard, backend, JSON, method="POST", body=b"1234").status == 413
    assert through(guard, backend, JSON, method="POST").status == 200
    assert through(guard, backend, method="POST", body=b"123").status == 415
    assert through(guard, backend, JSON, ("Content-Encoding", "GZIP"), method="POST").status == 415


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE"])
def test_other_methods_are_the_routes_own_matter(method: str, backend: Backend) -> None:
    assert through(json_only(0), backend, method=method, body=b"123").status == 200


def test_each_401_has_a_challenge(backend: Backend) -> None:
    guard = challenged("Bearer")
    answer = through(guard, backend, target="/?status=401")
    assert (answer.status, answer.header("www-authenticate")) == (401, "Bearer")
    answer = through(guard, backend, target="/?status=401&WWW-Authenticate=Basic")
    assert (answer.status, answer.header("www-authenticate")) == (401, "Basic")
    for target in ("/", "/?status=403", "/?status=500"):
        assert through(guard, backend, target=target).header("www-authenticate") is None
