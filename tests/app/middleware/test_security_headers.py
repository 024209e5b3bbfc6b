"""Security headers: on every answer, and the handler's own in their place."""

from __future__ import annotations

from typing import Any

import pytest

from h3py.app.middleware import security_headers
from h3py.errors import ConfigError
from h3py.options import Backend
from tests.app.kit import app_with, ask

DEFAULTS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "strict-origin-when-cross-origin",
    "cross-origin-opener-policy": "same-origin",
}


def headers_of(*, scheme: str = "http", path: str = "/", **options: Any) -> dict[str, str]:
    answer = ask(app_with(security_headers(**options)), path, scheme=scheme)
    assert answer.response is not None
    return {name: value for name, value in answer.response.headers if name != "content-type"}


def test_the_defaults(backend: Backend) -> None:
    answer = ask(app_with(security_headers()), backend=backend)
    assert {name: answer.header(name) for name in DEFAULTS} == DEFAULTS
    assert headers_of() == headers_of(path="/nothing") == DEFAULTS


def test_each_can_be_set_and_left_out() -> None:
    assert headers_of(frame_options="SAMEORIGIN")["x-frame-options"] == "SAMEORIGIN"
    assert "x-frame-options" not in headers_of(frame_options=None)
    policy = "default-src 'self'"
    given = headers_of(content_security_policy=policy, permissions_policy="camera=()")
    assert given["content-security-policy"] == policy
    assert given["permissions-policy"] == "camera=()"


def test_strict_transport_is_for_https() -> None:
    assert "strict-transport-security" not in headers_of(hsts_max_age_s=60)
    given = headers_of(scheme="https", hsts_max_age_s=60)
    assert given["strict-transport-security"] == "max-age=60"


def test_a_handlers_own_wins() -> None:
    app = app_with(
        security_headers(), handler=lambda event: event.set_header("x-frame-options", "SAMEORIGIN")
    )
    assert ask(app).header("x-frame-options") == "SAMEORIGIN"


@pytest.mark.parametrize("name", ["frame_options", "content_security_policy"])
def test_values_that_cannot_be_sent_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="security_headers"):
        security_headers(**{name: "a\r\nb"})  # type: ignore[arg-type]  # any of the texts
    with pytest.raises(ConfigError, match="hsts_max_age_s"):
        security_headers(hsts_max_age_s=-1)
