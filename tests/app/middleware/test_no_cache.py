"""No cache: on every answer, unless the handler knows better."""

from __future__ import annotations

from h3py.app import H3Event
from h3py.app.middleware import no_cache
from h3py.options import Backend
from tests.app.kit import app_with, ask


def test_nothing_is_stored(backend: Backend) -> None:
    app = app_with(no_cache())
    assert ask(app, backend=backend).header("cache-control") == "no-store"
    assert ask(app, "/nothing", backend=backend).header("cache-control") == "no-store"


def test_a_handler_knows_better() -> None:
    def handler(event: H3Event) -> None:
        event.set_header("cache-control", "max-age=60")

    assert ask(app_with(no_cache(), handler=handler)).header("cache-control") == "max-age=60"
