"""The ``send_*`` calls: one event, to clients, users, channels or everyone.

Each call checks what it is given, makes one event of it and hands that to the hub, in
the engine's words. Nothing here has state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from h3py.manager.events import check_metadata, check_name, check_names, make_event

if TYPE_CHECKING:
    from h3py._speedups.format import SSEEvent
    from h3py.manager.broker import Broker
    from h3py.manager.hub import Hub
    from h3py.manager.options import ManagerOptions


class Publisher(ABC):
    """What publishes; `SSEManager` adds who receives."""

    options: ManagerOptions
    broker: Broker

    @abstractmethod
    def _open(self, *, reopen: bool = False) -> Hub:
        """The hub, made if there is none yet; ``reopen``: also after one that has closed.

        Raises:
            ManagerClosed: The manager's last server has stopped.
        """

    @abstractmethod
    def is_client_connected(self, client_id: str) -> bool:
        """Whether a client has an open stream here."""

    def send_to_client(
        self,
        client_id: str,
        event: str | SSEEvent,
        data: Any = None,
        *,
        id: str | None = None,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> bool:
        """Send to one client's stream; False: it is not connected, and nothing is kept for it.

        Args and errors as `broadcast`.
        """
        name = self._name("client_id", client_id)
        # What is for nobody would only push out what is kept for others.
        known = not self.broker.one_process or self.is_client_connected(name)
        names = (name,) if known else ()
        return self._publish(event, data, id, key, metadata, clients=names) > 0

    def send_to_user(
        self,
        user_id: str,
        event: str | SSEEvent,
        data: Any = None,
        *,
        id: str | None = None,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> int:
        """Send to every stream of a user. Args, result and errors as `broadcast`."""
        name = self._name("user_id", user_id)
        return self._publish(event, data, id, key, metadata, users=(name,))

    def send_to_users(
        self,
        user_ids: Iterable[str],
        event: str | SSEEvent,
        data: Any = None,
        *,
        id: str | None = None,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> int:
        """Send one event to every stream of several users. Else as `broadcast`."""
        names = check_names("user_id", user_ids, self.options.max_name_bytes)
        return self._publish(event, data, id, key, metadata, users=names)

    def send_to_channel(
        self,
        channel: str,
        event: str | SSEEvent,
        data: Any = None,
        *,
        id: str | None = None,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> int:
        """Send to every stream in a channel. Args, result and errors as `broadcast`."""
        name = self._name("channel", channel)
        return self._publish(event, data, id, key, metadata, channels=(name,))

    def send_to_channels(
        self,
        channels: Iterable[str],
        event: str | SSEEvent,
        data: Any = None,
        *,
        id: str | None = None,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> int:
        """Send one event to every stream in any of several channels. Else as `broadcast`."""
        names = check_names("channel", channels, self.options.max_name_bytes)
        return self._publish(event, data, id, key, metadata, channels=names)

    def broadcast(
        self,
        event: str | SSEEvent,
        data: Any = None,
        *,
        id: str | None = None,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> int:
        """Send to every stream.

        Args:
            event: A name, or an `SSEEvent` alone.
            data: With a name: None is an empty ``data`` line, text goes as it is, anything
                else becomes JSON.
            id: With a name, and without history only: the event's id.
            key: Streams with ``keep_latest`` replace an unsent event of the same key.
            metadata: What subscribers' ``where`` looks at: text, numbers or booleans.

        Returns:
            How many streams of this process it goes to; each counts once.

        Raises:
            BackpressureDetected: Publishers are ahead of what can be sent, or memory is at
                its cap: nothing was taken. `drain` waits.
            ManagerClosed: The manager is closing, or has been closed.
            EventTooLarge: Above half of ``max_memory_bytes``.
            TypeError: Bytes as data, or data that JSON cannot express.
            ValueError: A field that cannot be sent; an id where there is history.
        """
        return self._publish(event, data, id, key, metadata, (), (), (), True)

    def _publish(
        self,
        event: str | SSEEvent,
        data: Any,
        event_id: str | None,
        key: str | None,
        metadata: Mapping[str, Any] | None,
        users: Iterable[str] = (),
        channels: Iterable[str] = (),
        clients: Iterable[str] = (),
        everyone: bool = False,
    ) -> int:
        made = make_event(event, data, event_id)
        if made.id is not None and self.broker.history:
            raise ValueError(
                "events get their ids from the history; for ids of your own give the manager"
                " MemoryBroker(max_events=0)"
            )
        marks = check_metadata(metadata)
        if key is not None and not isinstance(key, str):
            raise TypeError(f"key must be a str, not {type(key).__name__}")
        hub = self._open()
        if not (everyone or users or channels or clients):
            return 0
        return hub.publish(made, users, channels, clients, everyone, key, marks)

    def _name(self, kind: str, name: str) -> str:
        return check_name(kind, name, self.options.max_name_bytes)

    def drain(self, timeout_s: float | None = None, *, lagging: bool = False) -> bool:
        """Block until publishers have room; False: the time is up, or the manager closed.

        Args:
            timeout_s: At most so long; None: as long as it takes.
            lagging: Wait also until no stream is behind: a publisher that must not outrun
                any client goes at the pace of the slowest.

        Raises:
            ManagerClosed: It had closed before.
        """
        return self._open().engine.drain(timeout_s, lagging=lagging)

    async def adrain(self) -> bool:
        """Wait, as a task, until publishers have room; False: the manager closed.

        Raises:
            ManagerClosed: It had closed before.
        """
        hub = self._open()
        token = trio.lowlevel.current_trio_token()
        while not hub.closed:
            room = trio.Event()
            wake = partial(token.run_sync_soon, room.set, idempotent=True)
            try:
                if hub.wait_for_room(wake):
                    await trio.lowlevel.checkpoint()
                    return True
                if not hub.closed:
                    await room.wait()
            finally:
                hub.stop_waiting(wake)
        await trio.lowlevel.checkpoint()
        return False
