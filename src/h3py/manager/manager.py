"""``SSEManager``: brings each event to the right clients, users and channels.

One call is one event: formatted once, with one id and one entry in the history, and
delivered once to a stream however many of its targets were named. Every method may
be called from any thread or task, on either backend, and waits for nothing (``drain``
and ``adrain`` excepted).

The work is the hub's: this class checks what it is given and says it in the engine's
words. A manager has one hub at a time; a hub ends with its last server, and the next
server that serves the same application gets a new one, with a new epoch: clients that
come back are told (``h3py:reset``).

Owner: the application; it needs no closing where a server serves it.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from h3py.app import H3Event
from h3py.close_reason import CLOSE_REASONS, CloseReason
from h3py.errors import ManagerClosed
from h3py.manager.broker import Broker, MemoryBroker
from h3py.manager.events import check_name, check_names
from h3py.manager.filters import conditions
from h3py.manager.hub import Hub
from h3py.manager.info import ConnectionInfo, describe
from h3py.manager.options import POLICIES, ManagerOptions, Policy
from h3py.manager.presence import Presence
from h3py.manager.publisher import Publisher
from h3py.manager.subscription import Plan, Subscription
from h3py.sse import StreamStart

if TYPE_CHECKING:
    from h3py.manager.filters import Where

F = TypeVar("F", bound=Callable[..., Any])

_managers: weakref.WeakSet[SSEManager] = weakref.WeakSet()


class SSEManager(Publisher):
    """Who gets what.

    Args:
        broker: Where events go and how long they are kept; by default a `MemoryBroker`.
        **options: The fields of `ManagerOptions`.

    Raises:
        ConfigError: An option that does not exist, or a value that is not legal.
    """

    def __init__(self, broker: Broker | None = None, **options: Any) -> None:
        self.options = ManagerOptions.build(options)
        self.broker: Broker = MemoryBroker() if broker is None else broker
        self._presence = Presence()
        self._lock = threading.Lock()
        self._hub: Hub | None = None
        _managers.add(self)

    # -- subscribing -----------------------------------------------------------------

    def subscribe(
        self,
        event_or_stream: H3Event | StreamStart,
        channels: Iterable[str] = (),
        user_id: str | None = None,
        client_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        where: Where | None = None,
        policy: Policy | None = None,
        *,
        notices: bool | None = None,
        last_event_id: str | None = None,
        expires_at: float | None = None,
    ) -> Subscription:
        """Make a stream of this request, or serve one that has begun.

        Args:
            event_or_stream: The request: return what you get from the handler. Or a stream
                that was begun with ``start_sse``: it is served at once, and parked.
            channels: What it follows.
            user_id: Whose it is: what is sent to the user comes to each of their streams.
            client_id: Names this stream; by default a new random one. A client that gives its
                own takes over from its older stream, which ends with ``replaced``.
            metadata: Kept for `get_connections` and presence; not looked at.
            where: Which events come: a mapping of metadata key to accepted values, or a
                function of an event's metadata (called once per event, by the publisher).
            policy: For a full queue; by default the manager's.
            notices: Tell the client of events it missed; by default as the manager.
            last_event_id: The last event the client has seen; by default what the request
                says (the header, or ``last_event_id`` in the query).
            expires_at: Seconds since the epoch (``time.time()``) at which its credentials
                expire: the stream ends then (``auth_expired``).

        Returns:
            The subscription.

        Raises:
            ValueError, TypeError: A name that is none, too many channels, an unknown policy.
            HTTPError: 429, 409: a limit is reached (a stream that has begun; else the client
                gets that answer).
            ManagerClosed: The manager is closing.
        """
        options = self.options
        names = check_names("channel", channels, options.max_name_bytes)
        if len(names) > options.max_channels:
            raise ValueError(f"a stream can be in {options.max_channels} channels at most")
        if user_id is not None:
            check_name("user_id", user_id, options.max_name_bytes)
        if client_id is None:
            client_id = secrets.token_urlsafe(12)
        check_name("client_id", client_id, options.max_name_bytes)
        if policy is not None and policy not in POLICIES:
            raise ValueError(f"policy must be one of {', '.join(POLICIES)}, not {policy!r}")
        if where is not None and not callable(where):
            where = conditions(where)
        started, seen, principal = self._begun(event_or_stream)
        plan = Plan(
            names,
            where,
            policy or options.policy or ("catch_up" if self.broker.history else "close"),
            options.notices if notices is None else notices,
            seen if last_event_id is None else last_event_id,
            None if expires_at is None else max(0.0, expires_at - time.time()),
        )
        subscription = Subscription(
            self._open(reopen=True), client_id, user_id, metadata, principal, plan
        )
        if started is not None:
            subscription.attach(started)
        else:
            assert isinstance(event_or_stream, H3Event)
            event_or_stream.subscription = subscription
        return subscription

    def _begun(self, given: H3Event | StreamStart) -> tuple[StreamStart | None, str | None, Any]:
        """The stream if it has begun, the last event its client has seen, and who it is."""
        if isinstance(given, H3Event):
            seen = given.headers.get("last-event-id") or given.query.get("last_event_id")
            return given.stream, seen, given.principal
        if isinstance(given, StreamStart):
            return given, given.last_event_id, None
        raise TypeError(f"subscribe an event or a stream, not {type(given).__name__}")

    def join(self, client_id: str, *channels: str) -> bool:
        """Let a client's stream join channels; False: no such stream. Raises as `subscribe`."""
        found = self._find(client_id)
        if found is None:
            return False
        found.join(*channels)
        return True

    def leave(self, client_id: str, *channels: str) -> bool:
        """Let a client's stream leave channels; False: no such stream."""
        found = self._find(client_id)
        if found is None:
            return False
        found.leave(*channels)
        return True

    def ping(self, client_id: str) -> bool:
        """Renew the lease of a client's stream; False: no such stream."""
        found = self._find(client_id)
        if found is None:
            return False
        found.ping()
        return True

    # -- who is there ------------------------------------------------------------------

    def get_connections(self) -> list[ConnectionInfo]:
        """Every stream that is open, with its counts; a picture of this moment."""
        hub = self._hub
        return [] if hub is None else list(filter(None, map(describe, hub.registry.all())))

    def is_client_connected(self, client_id: str) -> bool:
        """Whether a client has an open stream here."""
        return self._find(client_id) is not None

    def is_user_online(self, user_id: str) -> bool:
        """Whether a user has an open stream here."""
        hub = self._hub
        return hub is not None and any(not found.closed for found in hub.registry.of_user(user_id))

    def disconnect_client(self, client_id: str, reason: CloseReason = CloseReason.KICKED) -> bool:
        """End a client's stream; what was sent to it before still leaves. False: none is open."""
        found = self._find(client_id)
        return found is not None and found._stream.end(reason)

    def disconnect_user(self, user_id: str, reason: CloseReason = CloseReason.KICKED) -> int:
        """End every stream of a user; how many they were."""
        hub = self._hub
        found = [] if hub is None else hub.registry.of_user(user_id)
        return sum(subscription._stream.end(reason) for subscription in found)

    def stats(self) -> dict[str, Any]:
        """Counters of the engine since it began, how many clients and users there are."""
        hub = self._hub
        if hub is None:
            return {"connections": 0, "users": 0}
        connections, users = hub.registry.counts
        found = hub.engine.stats()
        found["closed"] = {
            CLOSE_REASONS[code - 1].value: count for code, count in found["closed"].items()
        }
        return {"connections": connections, "users": users, **found}

    def on_connect(self, callback: F) -> F:
        """Have ``callback(subscription)`` called when a stream has begun.

        A plain function; all of them run in order in a thread of the manager's. Also as a
        decorator, as the ones below.
        """
        self._presence.add("connect", callback)
        return callback

    def on_disconnect(self, callback: F) -> F:
        """Have ``callback(subscription, reason)`` called when a stream has ended."""
        self._presence.add("disconnect", callback)
        return callback

    def on_user_online(self, callback: F) -> F:
        """Have ``callback(user_id)`` called when a user's first stream has begun."""
        self._presence.add("user_online", callback)
        return callback

    def on_user_offline(self, callback: F) -> F:
        """Have ``callback(user_id)`` called when a user's last stream has ended."""
        self._presence.add("user_offline", callback)
        return callback

    def on_reset(self, callback: F) -> F:
        """Have ``callback(subscription)`` called when a client was told that it lost events.

        The place to send a snapshot, with ``subscription.send_event_nowait``.
        """
        self._presence.add("reset", callback)
        return callback

    # -- the hub -------------------------------------------------------------------------

    def _find(self, client_id: str) -> Subscription | None:
        """A client's open stream."""
        hub = self._hub
        found = None if hub is None else hub.registry.client(client_id)
        return None if found is None or found.closed or not found.present else found

    def _open(self, *, reopen: bool = False) -> Hub:
        """The hub; a new one where there is none, and after a closed one where asked for."""
        hub = self._hub
        if hub is not None and not hub.closed:
            return hub
        with self._lock:
            hub = self._hub
            if hub is None or (hub.closed and reopen):
                hub = self._hub = Hub(self.options, self.broker, self._presence)
        if hub.closed:
            raise ManagerClosed("the manager is closed: its server has stopped")
        return hub

    def close(self) -> None:
        """End every stream now, and refuse what comes; for a manager without a server. Blocks."""
        with self._lock:
            hub = self._hub
        if hub is not None:
            hub.end()


def _forget_hubs() -> None:
    """A forked child has none of the threads: its managers begin anew."""
    for manager in tuple(_managers):
        manager._lock = threading.Lock()
        manager._hub = None
        manager._presence.forget_thread()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_hubs)
