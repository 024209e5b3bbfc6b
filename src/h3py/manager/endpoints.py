"""The handlers of ``SSEManager.mount``: a stream, a message, a ping, statistics, the script.

Order. By the time a handler is called, the request has passed the guards (CORS, the rate
limit, the origin, the body's type and size) and ``authenticate`` has run to its end, as the
route's ``authorize``: what it opened is closed before any stream begins. The handler then
asks the `Principal`: 401 for nobody, 403 for somebody who may not. Only then it does what
was asked for.

Rules. A user id comes from the principal, never from the request. What a request names
(channels, client ids) is text of a bounded size without control characters, and comes back to
a client as JSON alone. A client id is no secret, but nobody else's either: pings for, and
streams in place of, another principal's client are refused (404, 409).

Handlers are inline: they do not wait, so on trio they run on the loop.

Owner: the routes; without state of their own. Any thread.
"""

from __future__ import annotations

import time
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from h3py._speedups.format import SSEEvent
from h3py.app import inline
from h3py.app.static import matches_etag
from h3py.errors import HTTPError
from h3py.http import Response
from h3py.manager.messages import (
    Message,
    check_text,
    check_texts,
    publish,
    read_message,
)
from h3py.manager.principal import Principal

if TYPE_CHECKING:
    from h3py.app import H3Event
    from h3py.manager.manager import SSEManager
    from h3py.manager.subscription import Subscription

HELLO = "h3py:hello"
PING_S = 3.0
"""How often a client with a lease is asked to ping; sooner where the lease is short."""

SCRIPT = Path(__file__).parent / "static" / "client.js"


class Ping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a ping says."""

    client_id: str


class Endpoints:
    """The handlers of one mount.

    Args:
        manager: Whose streams and messages these are.
        public: Who everybody is where nobody is asked; None where ``authenticate`` asks.
        hello: Begin each stream with ``h3py:hello``.
    """

    def __init__(self, manager: SSEManager, *, public: Principal | None, hello: bool) -> None:
        self._manager = manager
        self._public = public
        self._hello = hello

    @inline
    def stream(self, event: H3Event) -> Subscription:
        """GET: follow channels, and what is for the user, the client and everyone."""
        principal = self._principal(event)
        channels = self._channels(event)
        client_id = event.query.get("client_id")
        if client_id is not None:
            check_text("client_id", client_id, self._max_name_bytes)
        for name in channels:
            if not principal.may_follow(name):
                raise HTTPError(403, f"channels: {name!r} is not open to you")
        subscription = self._manager.subscribe(
            event,
            channels,
            user_id=principal.user_id,
            client_id=client_id,
            metadata=principal.details,
            expires_at=principal.expires_at,
        )
        if self._hello:
            self._greet(subscription, event)
        return subscription

    @inline
    def message(self, event: H3Event) -> dict[str, int]:
        """POST message: publish; gives how many streams it goes to."""
        principal = self._principal(event)
        if not principal.publishes:
            raise HTTPError(403, "you may not publish")
        message = read_message(event, Message, max_name_bytes=self._max_name_bytes)
        refused = principal.may_publish_to(message.target, message.names)
        if refused is not None:
            raise HTTPError(403, f"you may not publish to this: {refused}")
        return {"sent": publish(self._manager, message)}

    @inline
    def ping(self, event: H3Event) -> None:
        """POST ping: the client is there; its lease begins anew."""
        self._principal(event)
        ping = event.read_json(Ping)
        check_text("$.client_id", ping.client_id, self._max_name_bytes)
        found = self._manager._find(ping.client_id)
        # Whether there is such a client is nobody's business but its own principal's.
        if found is None or found.principal != event.principal:
            raise HTTPError(404, "there is no such client")
        found.ping()

    @inline
    def stats(self, event: H3Event) -> dict[str, Any]:
        """GET stats: the manager's counters."""
        if not self._principal(event).may_see_stats:
            raise HTTPError(403, "you may not see the statistics")
        event.set_header("cache-control", "no-store")
        return self._manager.stats()

    def _principal(self, event: H3Event) -> Principal:
        """Who asks.

        Raises:
            HTTPError: 401: nobody, or the credentials have expired. 400: a user id that
                is none; it may have come from the request.
            TypeError: What ``authenticate`` returned is no principal.
        """
        if self._public is not None:
            return self._public
        principal = event.principal
        if principal is None:
            raise HTTPError(401, "who are you?")
        if not isinstance(principal, Principal):
            raise TypeError(
                f"authenticate must return a Principal or None, not {type(principal).__name__}"
            )
        if principal.has_expired(time.time()):
            raise HTTPError(401, "your credentials have expired")
        if principal.user_id is not None:
            check_text("user_id", principal.user_id, self._max_name_bytes)
        return principal

    def _channels(self, event: H3Event) -> list[str]:
        """The channels that a stream's query names, each once.

        Raises:
            HTTPError: 400: too many, or one that is no name.
        """
        lists = [text.split(",") for text in event.query.get_all("channels") if text]
        names = list(dict.fromkeys(name for names in lists for name in names))
        most = self._manager.options.max_channels
        if len(names) > most:
            raise HTTPError(400, f"channels: at most {most}, not {len(names)}")
        check_texts("channels", names, self._max_name_bytes)
        return names

    def _greet(self, subscription: Subscription, event: H3Event) -> None:
        """Have the stream begin with what its client must know."""
        engine = subscription.hub.engine
        head = engine.head
        seen = event.headers.get("last-event-id") or event.query.get("last_event_id")
        # A client that is cut off before its first event is to come back to what it missed,
        # so it is told where it begins. One that has seen something begins there.
        begins = not seen and self._manager.broker.history
        lease_s = self._manager.options.lease_s
        told = {
            "client_id": subscription.client_id,
            "channels": list(subscription.channels),
            # Three may be lost before the lease ends.
            "ping_s": None if lease_s is None else min(PING_S, lease_s / 4),
        }
        hello = SSEEvent.json(told, event=HELLO, id=engine.event_id(head) if begins else None)
        subscription.begin_with(hello, joins_at=head)

    @property
    def _max_name_bytes(self) -> int:
        return self._manager.options.max_name_bytes


class Script:
    """The handler of the browser's script: one file of the package, read once.

    Args:
        path: Where it is.

    Raises:
        OSError: It is not there: the installation is not whole.
    """

    def __init__(self, path: Path = SCRIPT) -> None:
        self._body = path.read_bytes()
        self._etag = f'"{sha256(self._body).hexdigest()[:32]}"'

    @inline
    def __call__(self, event: H3Event) -> Response:
        """Answer with the script, or 304 where the client has it."""
        headers = [("etag", self._etag), ("cache-control", "no-cache")]
        if matches_etag(event.headers, self._etag):
            return Response(304, headers)
        headers.append(("content-type", "text/javascript; charset=utf-8"))
        return Response(200, headers, self._body)
