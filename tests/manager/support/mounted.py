"""A manager whose endpoints are mounted, and clients that are somebody.

Who a client is stands in its ``Authorization``: ``Bearer ann``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlencode

from h3py import H3, H3Event, MemoryBroker, Principal, ReceivedEvent, SSEManager
from tests.support.client import Client, EventStream, Reply
from tests.support.wait import wait_until

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


class Mounted:
    """A served application with a manager's endpoints at ``/api/sse``.

    Args:
        serve: The fixture ``serve_app``.
        broker: The manager's.
        app: An application that has something already.
        mount: Keywords of ``SSEManager.mount``; authenticates by token unless it says otherwise.
        serve_options: Keywords of ``serve``.
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
        **options: Any,
    ) -> None:
        self.manager = SSEManager(broker, **options)
        self.app = H3() if app is None else app
        self.manager.mount(self.app, **{"authenticate": by_token, **(mount or {})})
        self.server = serve(self.app, **(serve_options or {}))
        self.clients = ExitStack()

    def client(self) -> Client:
        """A connection; closed at the end of the test."""
        return self.clients.enter_context(Client(self.server.addresses[0]))

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

    def stream(self, who: str = "ann", fields: Pairs = (), **query: str) -> EventStream:
        """A stream whose hello has been read, as ``stream.hello``."""
        stream = self.begin(who, fields, **query)
        hello = stream.read_event()
        assert hello.type == "h3py:hello"
        stream.hello = json.loads(hello.data)  # type: ignore[attr-defined]  # the test kit's own
        return stream

    def begin(self, who: str = "ann", fields: Pairs = (), **query: str) -> EventStream:
        """A stream, as it begins, once it has joined its groups."""
        before = self.manager.stats()["connections"]
        target = "/api/sse" + (f"?{urlencode(query)}" if query else "")
        stream = self.client().open_stream(target, [*token(who), *fields])
        if "client_id" not in query:  # else it may take another one's place
            wait_until(
                lambda: len(self.manager.get_connections()) > before, what="the stream has joined"
            )
        return stream

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
