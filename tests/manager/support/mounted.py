"""A manager whose endpoints are mounted, and clients that are somebody.

Who a client is stands in its ``Authorization``: ``Bearer ann``.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlencode

import trustme

from h3py import H3, H3Event, MemoryBroker, Principal, ReceivedEvent, SSEManager
from tests.support.client import Client, EventStream, Reply
from tests.support.http import Head

Pairs = Iterable[tuple[str, str]]

PEOPLE = {
    "ann": Principal(user_id="ann", name="Ann", may_publish=True, may_see_stats=True),
    "bob": Principal(user_id="bob", channels=["news", "room:*"], may_publish=["room:*"]),
    "eve": Principal(user_id="eve", channels=["news"]),
    "guest": Principal(channels=["news"]),
}


def by_token(event: H3Event) -> Principal | None:
    """Who the Authorization names."""
    return PEOPLE.get(event.headers.get("authorization", "").removeprefix("Bearer "))


class Greeted(EventStream):
    """A stream that begins with a hello.

    Attributes:
        hello: What it says.
    """

    def __init__(self, client: Client, head: Head) -> None:
        super().__init__(client, head)
        first = self.read_event()
        assert first.type == "h3py:hello", f"no hello, but {first}"
        self.hello: dict[str, Any] = json.loads(first.data)


class Mounted:
    """A served application with a manager's endpoints at ``/api/sse``.

    Args:
        serve: The fixture ``serve_app``.
        broker: The manager's.
        app: An application that has something already.
        mount: Keywords of ``SSEManager.mount``; authenticates by token unless it says otherwise.
        serve_options: Keywords of ``serve``.
        tls: It is reached by TLS.
        **options: Keywords of the manager.
    """

    def __init__(
        self,
        serve: Callable[..., Any],
        *,
        broker: MemoryBroker | None = None,
        app: H3 | None = None,
        mount: dict[str, Any] | None = None,
        serve_options: dict[str, Any] | None = None,
        tls: bool = False,
        **options: Any,
    ) -> None:
        self.manager = SSEManager(broker, **options)
        self.app = H3() if app is None else app
        self.manager.mount(self.app, **{"authenticate": by_token, **(mount or {})})
        self._tls: ssl.SSLContext | None = None
        if tls:
            authority = trustme.CA()
            self._tls = ssl.create_default_context()
            authority.configure_trust(self._tls)
            own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("localhost").configure_cert(own)
            serve_options = {"ssl_context": own, **(serve_options or {})}
        self.server = serve(self.app, **(serve_options or {}))
        self.clients = ExitStack()

    def client(self) -> Client:
        """A connection; closed at the end of the test."""
        return self.clients.enter_context(Client(self.server.addresses[0], tls=self._tls))

    def get(
        self, path: str = "", who: str = "ann", fields: Pairs = (), *, method: str = "GET"
    ) -> Reply:
        """A request and its whole answer."""
        client = self.client()
        client.request(method, f"/api/sse{path}", [*token(who), *fields])
        return client.read_reply(head_only=method == "HEAD")

    def post(self, path: str, body: Any, who: str = "ann", fields: Pairs | None = None) -> Reply:
        """A JSON body, or bytes as they are; ``fields`` replaces the content type."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = [("Content-Type", "application/json")] if fields is None else fields
        client = self.client()
        client.request("POST", f"/api/sse{path}", [*token(who), *sent], raw)
        return client.read_reply()

    def message(self, who: str = "ann", /, **fields: Any) -> Reply:
        """POST message."""
        return self.post("/message", fields, who)

    def stream(self, who: str = "ann", fields: Pairs = (), **query: str) -> Greeted:
        """A stream whose hello has been read: it has joined its groups."""
        target = "/api/sse" + (f"?{urlencode(query)}" if query else "")
        client = self.client()
        client.request("GET", target, [*token(who), *fields])
        return Greeted(client, client.read_head())

    def expect_nothing_began(self) -> None:
        """No stream, by the manager's count and by the server's."""
        assert self.manager.get_connections() == []
        assert self.server.open_streams == 0
        assert sum(self.server.closed_streams.values()) == 0

    def close(self) -> None:
        self.clients.close()


def token(who: str) -> list[tuple[str, str]]:
    return [("Authorization", f"Bearer {who}")] if who else []


def mounting(serve_app: Callable[..., Any]) -> Iterator[Callable[..., Mounted]]:
    """For a fixture: what makes a `Mounted`, whose clients are closed at the end of the test."""
    with ExitStack() as clients:

        def make(**options: Any) -> Mounted:
            mounted = Mounted(serve_app, **options)
            clients.callback(mounted.close)
            return mounted

        yield make


def only(events: list[ReceivedEvent]) -> list[tuple[str, str]]:
    """Types and data."""
    return [(event.type, event.data) for event in events]
