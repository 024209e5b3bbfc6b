"""Tabs of one profile: they share locks and channels as a user's tabs do."""

from __future__ import annotations

from typing import Any

from tests.browser.client_site import Serve, Site, connected, open_page


class Tabs:
    """A site, and tabs of it."""

    def __init__(self, serve_app: Serve, context: Any) -> None:
        self.site = Site()
        self.context = context
        self._serve = serve_app
        self._server: Any = None

    def serve(self) -> Any:
        """The server, which begins with the first tab: a test may add to the site before."""
        self._server = self._server or self._serve(self.site.app, retry_ms=1)
        return self._server

    def open(self, options: str | None = "{}") -> Any:
        """A new tab, once it is connected."""
        page = open_page(self.context, self.serve(), options)
        return page if options is None else connected(page)

    def away(self) -> Any:
        """Nobody's request is answered inside: nobody can take over yet."""
        return self.site.held()


def leads(page: Any) -> bool:
    return page.evaluate("sse.leader")


def take_over(page: Any) -> None:
    """Wait until a tab has the connection, and all it missed."""
    page.wait_for_function("() => sse.leader && sse.connected")
