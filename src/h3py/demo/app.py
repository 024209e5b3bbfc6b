"""The application behind the demo page.

=======================  =========================================================
``h3py.demo.ways``       streams that handlers write, in three ways
``h3py.demo.live``       one manager: channels, presence, a chat, what a cut costs
``h3py.demo.hooks``      notifications that come in through a webhook
``h3py.demo.crowd``      a thousand streams to a helper process
=======================  =========================================================

Everything is plain ``def`` code, so that the same application serves on both backends.
"""

from __future__ import annotations

from h3py import H3, H3Event, HTTPError, Response
from h3py.app.middleware import security_headers
from h3py.demo.crowd import Crowd
from h3py.demo.hooks import add_hooks
from h3py.demo.live import Live
from h3py.demo.page import ASSETS, POLICY, read, render
from h3py.demo.ways import add_ways


def make_app(backend: str, crowd: Crowd | None = None) -> H3:
    """The application.

    Args:
        backend: The name of the backend that will serve it, for the page to show.
        crowd: The thousand streams; they need to be told where the server listens
            (`Crowd.serve_at`).
    """
    app = H3()
    app.use(security_headers(content_security_policy=POLICY, referrer_policy="no-referrer"))
    live = Live()
    code = add_ways(app, backend)
    code |= live.add_to(app)
    code |= add_hooks(app, live)
    code |= (crowd or Crowd()).add_to(app, live)
    page = render(backend, code)

    @app.get("/")
    def index(event: H3Event) -> None:
        event.set_header("cache-control", "no-cache")
        event.send_html(page)

    @app.get("/:asset")
    def asset(event: H3Event) -> Response:
        name = event.params["asset"]
        if name not in ASSETS:
            raise HTTPError(404)
        headers = [("content-type", ASSETS[name]), ("cache-control", "no-cache")]
        return Response(200, headers, read(name).encode())

    return app
