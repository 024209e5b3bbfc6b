"""A site for the tests of the browser's script: a page, the script, and a manager's endpoints.

`Site.allow` runs before every request to the endpoints: it notes what came, and lets a test hold
requests back (``with site.held():``), so that what happens while a client is away happens exactly
then.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from h3py import H3, H3Event, HTTPError, Principal, Response, SSEManager
from tests.support.wait import DEADLINE_S, SCALE, wait_until

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Client</title>
<link rel="icon" href="data:,">
<script type="module">
  import * as h3py from "/api/sse/client.js";
  window.got = [];      // what the application sent
  window.control = [];  // what h3py itself said
  window.statuses = [];
  window.start = ({ to = "/api/sse", ...options } = {}) => {
    window.sse = h3py.connect(to, { channels: ["news"], retryMs: 1, ...options });
    sse.onstatus = (status, why) => statuses.push(why ? [status, why.status ?? why.name] : status);
    sse.addHandler("*", ({ type, data, id }) =>
      (type.startsWith("h3py:") ? control : got).push([type, data, id]));
  };
  window.h3py = h3py;
</script></html>"""


class Seen(NamedTuple):
    """A request to the endpoints."""

    method: str
    path: str
    headers: dict[str, str]
    query: dict[str, str]


class Site:
    """What is served, and what was asked.

    Args:
        cors: Who else may use the endpoints.
        **options: Of the manager.
    """

    def __init__(self, *, cors: Any = None, **options: Any) -> None:
        self.manager = SSEManager(**options)
        self.seen: list[Seen] = []
        self.ended: list[tuple[str, str]] = []
        """Client id and reason of each stream that has ended."""
        self.token: str | None = None
        self._open = threading.Event()
        self._open.set()
        self.app = H3()
        self.app.get("/", lambda event: event.send_html(PAGE))
        self.app.get("/nothing", lambda event: Response(204))
        self.manager.on_disconnect(
            lambda one, reason: self.ended.append((one.client_id, reason.value))
        )
        self.manager.mount(self.app, authenticate=self.allow, cors=cors)

    def allow(self, event: H3Event) -> Principal:
        """Who asks. Notes the request, and waits while requests are held back."""
        headers, query = dict(event.headers.items()), dict(event.query.items())
        self.seen.append(Seen(event.method, event.path, headers, query))
        assert self._open.wait(DEADLINE_S * SCALE)
        if self.token is not None and headers.get("authorization") != f"Bearer {self.token}":
            raise HTTPError(401, "who are you?")
        return Principal()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """No request is answered inside."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    def streams(self) -> list[Seen]:
        """The requests for a stream."""
        return [one for one in tuple(self.seen) if one.path == "/api/sse"]

    def pings(self) -> int:
        """How many pings came."""
        return sum(one.path == "/api/sse/ping" for one in tuple(self.seen))

    def only(self) -> Any:
        """The connection, once there is one and no other."""

        def one() -> Any:
            found = self.manager.get_connections()
            return found[0] if len(found) == 1 else None

        return wait_until(one, what="one connection")

    def send(self, *numbers: int) -> None:
        """An event for each number, to all who follow the channel."""
        for number in numbers:
            self.manager.send_to_channel("news", "number", str(number))


Serve = Callable[..., Any]


def open_page(context: Any, server: Any, options: str | None = "{}") -> Any:
    """A new tab; it connects, unless ``options`` is None."""
    page = context.new_page()
    page.goto(server.url)
    page.wait_for_function("() => window.h3py")
    if options is not None:
        page.evaluate(f"start({options})")
    return page


def connected(page: Any) -> Any:
    """The page, once it is connected and knows its client id."""
    page.wait_for_function("() => sse.connected && sse.clientId")
    return page


def numbers(page: Any, last: int) -> list[int]:
    """The numbers that a page has got, once ``last`` is among them."""
    page.wait_for_function("last => got.some(([, data]) => data === last)", arg=str(last))
    return [int(data) for _, data, _ in page.evaluate("got")]
