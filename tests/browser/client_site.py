"""A site for the tests of the browser's script: a page, the script, and a manager's endpoints.

`Site.allow` runs before every request to the endpoints: it notes what came, and lets a test hold
requests back (``with site.held():``), so that what happens while a client is away happens exactly
then.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from h3py import H3, H3Event, HTTPError, Response, SSEEvent, SSEManager
from tests.support.process import ROOT
from tests.support.wait import DEADLINE_S, SCALE, wait_until

SCRIPT: Path = ROOT / "src" / "h3py" / "manager" / "static" / "client.js"

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
        ping_s: How often the page is asked to ping; None: not at all.
        **options: Of the manager.
    """

    def __init__(self, *, ping_s: float | None = None, **options: Any) -> None:
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
        mount(self, ping_s)

    def allow(self, event: H3Event) -> None:
        """Note a request; wait while requests are held back."""
        headers, query = dict(event.headers.items()), dict(event.query.items())
        self.seen.append(Seen(event.method, event.path, headers, query))
        assert self._open.wait(DEADLINE_S * SCALE)
        if self.token is not None and headers.get("authorization") != f"Bearer {self.token}":
            raise HTTPError(401, "who are you?")

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


def mount(site: Site, ping_s: float | None) -> None:
    """The endpoints, as the manager serves them."""
    manager, app = site.manager, site.app

    @app.get("/api/sse")
    def stream(event: H3Event) -> Any:
        site.allow(event)
        channels = [name for name in event.query.get("channels", "").split(",") if name]
        return manager.subscribe(event, channels, client_id=event.query.get("client_id"))

    @app.post("/api/sse/ping")
    def ping(event: H3Event) -> None:
        site.allow(event)
        if not manager.ping(json.loads(event.body)["client_id"]):
            raise HTTPError(404, "no such client")

    @app.get("/api/sse/client.js")
    def script(event: H3Event) -> None:
        event.send_bytes(SCRIPT.read_bytes(), content_type="text/javascript")

    @manager.on_connect
    def hello(one: Any) -> None:
        told = {"client_id": one.client_id, "channels": one.channels, "ping_s": ping_s}
        one.send_event_nowait(SSEEvent.json(told, event="h3py:hello"))


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
