"""``SSEManager``: brings each event to the right clients, users and channels.

One call is one event: formatted once, with one id and one entry in the history, and
delivered once to a stream however many of its targets were named. Every method may
be called from any thread or task, on either backend, and waits for nothing (``drain``
and ``adrain`` excepted).

The work is the hub's: this class checks what it is given and says it in the engine's
words. A manager has one hub at a time; a hub ends with its last server, and the next
server that serves the same application gets a new one, with a new epoch: clients that
come back are told (``h3py:reset``). Between the two, whoever publishes is told that the
manager has closed, so that what publishes ends with its server.

Owner: the application; it needs no closing where a server serves it. A forked child's
manager begins anew, without streams.
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
from h3py.errors import ConfigError, ConnectionLost, HTTPError, ManagerClosed, WriterClosed
from h3py.manager import mounting
from h3py.manager.broker import Broker, MemoryBroker
from h3py.manager.events import check_name, check_names
from h3py.manager.filters import check_where
from h3py.manager.hub import Hub
from h3py.manager.info import ConnectionInfo, describe
from h3py.manager.options import POLICIES, ManagerOptions, Policy
from h3py.manager.presence import Presence
from h3py.manager.publisher import Publisher
from h3py.manager.subscription import Plan, Subscription
from h3py.sse.operations import StreamOperations

if TYPE_CHECKING:
    from h3py.manager.filters import Where
    from h3py.sse.stream import Stream

F = TypeVar("F", bound=Callable[..., Any])

# Chance in a client id of ours: 88 bits are never given twice, and a longer text would take
# sixteen bytes more of each stream's memory.
CLIENT_ID_BYTES = 11

_managers: weakref.WeakSet[SSEManager] = weakref.WeakSet()


class SSEManager(Publisher):
    """Who gets what.

    Args:
        broker: Where events go and how long they are kept; by default a `MemoryBroker`.
        **options: The fields of `ManagerOptions`.

    Raises:
        ConfigError: An option that does not exist, or a value that is not legal; memory for
            less than the history.
    """

    def __init__(self, broker: Broker | None = None, **options: Any) -> None:
        self.options = ManagerOptions.build(options)
        self.broker: Broker = MemoryBroker() if broker is None else broker
        log_bytes = self.broker.engine_options.get("log_bytes", 0)
        if self.options.max_memory_bytes < log_bytes:
            raise ConfigError(
                f"max_memory_bytes must be at least the broker's max_bytes, which is {log_bytes},"
                f" not {self.options.max_memory_bytes}"
            )
        self._presence = Presence()
        self._lock = threading.Lock()
        self._hub: Hub | None = None
        _managers.add(self)

    mount = mounting.mount
    mount_webhook = mounting.mount_webhook

    # -- subscribing -----------------------------------------------------------------

    def subscribe(
        self,
        event_or_stream: H3Event | StreamOperations,
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
                function of an event's metadata. It is called once per event, by the publisher;
                replay works for a function that streams have been subscribed with before (give
                the same one each time), and begins with ``h3py:reset`` for one that is new.
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
            HTTPError: 503: the server stops. And, for a stream that has begun, 429 or 409: the
                user has too many streams, the client id is somebody else's; a request gets
                that answer when its handler has returned.
            ManagerClosed: The server stops; for a stream that has begun.
            SSEAlreadyStarted: The stream is parked already.
            ConnectionLost, WriterClosed: The stream has ended.
        """
        options = self.options
        names = check_names("channel", channels, options.max_name_bytes)
        if len(names) > options.max_channels:
            raise ValueError(f"a stream can be in {options.max_channels} channels at most")
        if user_id is not None:
            check_name("user_id", user_id, options.max_name_bytes)
        if client_id is None:
            client_id = secrets.token_urlsafe(CLIENT_ID_BYTES)
        else:
            check_name("client_id", client_id, options.max_name_bytes)
        if policy is not None and policy not in POLICIES:
            raise ValueError(f"policy must be one of {', '.join(POLICIES)}, not {policy!r}")
        if metadata is not None and not isinstance(metadata, Mapping):
            raise TypeError(f"metadata must be a mapping, not {type(metadata).__name__}")
        condition = None if where is None else check_where(where)
        started, seen, principal, stops = _begun(event_or_stream)
        plan = Plan(
            names,
            condition,
            policy or options.policy or ("catch_up" if self.broker.history else "close"),
            options.notices if notices is None else notices,
            seen if last_event_id is None else last_event_id,
            None if expires_at is None else max(0.0, expires_at - time.time()),
        )
        try:
            # A server that stops is not to open a hub that would outlive it.
            hub = self._open(reopen=not stops)
        except ManagerClosed as error:
            if started is not None:
                raise
            retry = str(options.retry_after_s)
            raise HTTPError(503, str(error), headers={"retry-after": retry}) from error
        subscription = Subscription(hub, client_id, user_id, metadata, principal, plan)
        if started is not None:
            subscription.attach(started)
        elif isinstance(event_or_stream, H3Event):
            event_or_stream.subscription = subscription
        return subscription

    def join(self, client_id: str, *channels: str) -> bool:
        """Let a client's stream join channels; False: no such stream.

        Raises:
            ValueError, TypeError: What is no channel's name, or too many.
            ManagerClosed: The manager is closing.
        """
        found = self._find(client_id)
        if found is None:
            return False
        try:
            found.join(*channels)
        except (ConnectionLost, WriterClosed):
            return False  # it has ended meanwhile
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
        """End a client's stream; what was sent to it before still leaves. False: none is open.

        Raises:
            ValueError: What is no close reason.
        """
        reason = CloseReason(reason)
        found = self._find(client_id)
        return found is not None and found._stream.end(reason)

    def disconnect_user(self, user_id: str, reason: CloseReason = CloseReason.KICKED) -> int:
        """End every stream of a user; how many they were. Raises as `disconnect_client`."""
        reason = CloseReason(reason)
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
        return None if found is None or found.closed else found

    def _open(self, *, reopen: bool = False) -> Hub:
        """The hub; a new one where there is none, and after a closed one where asked for."""
        hub = self._hub
        if hub is not None and not hub.closed:
            return hub
        with self._lock:
            hub = self._hub
            if hub is None or (hub.closed and reopen):
                hub = self._hub = Hub(self.options, self.broker, self._presence)
        hub.check_open()
        return hub

    def open(self) -> None:
        """Begin anew, where a server has stopped; nothing where the manager is open.

        The next server's first subscriber does the same. This is for what publishes before
        it: call it in an ``on_start`` hook of the application.
        """
        self._open(reopen=True)

    def close(self) -> None:
        """End every stream now, and refuse what comes; for a manager without a server. Blocks."""
        with self._lock:
            hub = self._hub
        if hub is not None:
            hub.end()


def _begun(given: H3Event | StreamOperations) -> tuple[Stream | None, str | None, Any, bool]:
    """The stream if it has begun, what its client has seen, who it is, whether its server stops."""
    if isinstance(given, H3Event):
        seen = given.headers.get("last-event-id") or given.query.get("last_event_id")
        # What carries a request in a test kit has no server.
        server = getattr(given._exchange, "server", None)
        stream = None if given.stream is None else given.stream._stream
        return stream, seen, given.principal, getattr(server, "stopping", False)
    if isinstance(given, StreamOperations):
        stream = given._stream
        return stream, given.last_event_id, None, getattr(stream.host, "stopping", False)
    raise TypeError(f"subscribe an event or a stream, not {type(given).__name__}")


def _forget_hubs() -> None:
    """A forked child has none of the threads: its managers begin anew."""
    for manager in tuple(_managers):
        # Whoever held a lock is not here.
        manager._lock = threading.Lock()
        manager._hub = None
        manager._presence.forget_thread()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_hubs)
