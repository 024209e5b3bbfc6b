"""The hub: one engine, the streams that subscribed to it, and the thread that hears from it.

A manager has one hub at a time, from its first use until its last server has ended.
The engine's pumps send; this thread takes their reports until the last one, so it
outlives everything that could still have something to tell. What a report means to
the server that carries the stream is that server's business (``take_report``); what
it means here (room for publishers, a client that was told of a loss, a stream that
memory was too short for) is the hub's.

Servers enter when a first stream of theirs is parked here. One that stops asks for
its streams to be drained; when the last one does, the hub closes: from then on
nobody subscribes or publishes (``ManagerClosed``), and when that server leaves the
pumps are joined and the thread ends.

Owner: the manager. Any thread.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from h3py._speedups.engine import Engine
from h3py.backends.readiness import Readiness
from h3py.close_reason import CloseReason
from h3py.errors import ManagerClosed
from h3py.manager.filters import Condition, Filters
from h3py.manager.info import channels_among
from h3py.manager.registry import Registry
from h3py.manager.subscription import Subscription
from h3py.options import engine_options
from h3py.sse.host import StreamState

if TYPE_CHECKING:
    from h3py._speedups.engine import Counters, Report
    from h3py._speedups.format import SSEEvent
    from h3py.manager.broker import Broker
    from h3py.manager.options import ManagerOptions
    from h3py.manager.presence import Presence
    from h3py.manager.subscription import Plan
    from h3py.sse.host import StreamHost
    from h3py.sse.stream import Stream

# How long the end waits for reports that must come, because the pumps have been joined.
END_WAIT_S = 5.0

_log = logging.getLogger("h3py.manager")


class Hub:
    """An engine with its streams; see the module.

    Attributes:
        engine: The engine.
        registry: Who is connected.
        filters: The functions that subscribers filter with.
        joining: Held while a stream joins further channels, so that their number is exact.
        closed: Nobody subscribes or publishes any more.
    """

    def __init__(self, options: ManagerOptions, broker: Broker, presence: Presence) -> None:
        self.options = options
        self.broker = broker
        self.presence = presence
        self.registry = Registry(options, presence)
        self.engine = Engine(
            heartbeat_ids=options.heartbeat_ids and broker.history,
            **engine_options(options),
            **broker.engine_options,
        )
        self.filters = Filters(self.engine.require)
        self.joining = threading.Lock()
        self.closed = False
        self._ended = False
        self._joined = False  # the pumps: nothing more will be reported
        self._victims = 0  # streams that memory was too short for, and that were told of
        self._hosts: set[StreamHost] = set()
        self._draining: set[StreamHost] = set()
        self._lock = threading.Lock()
        self._room_wanted: list[Callable[[], Any]] = []
        # Told after each turn of the hub's thread, and whether there is one just now.
        self._turn = threading.Condition()
        self._in_turn = False
        self._readiness = Readiness()
        try:
            self._readiness.watch(self.engine.report_fd)
            self.engine.start()
        except BaseException:
            self._readiness.close()
            raise
        self._thread = threading.Thread(target=self._listen, name="h3py-manager", daemon=True)
        self._thread.start()

    # -- publishing ------------------------------------------------------------------

    def publish(
        self,
        event: SSEEvent,
        users: Iterable[str],
        channels: Iterable[str],
        clients: Iterable[str],
        everyone: bool,
        key: str | None,
        metadata: dict[str, str] | None,
    ) -> int:
        """Publish one event, as the broker does; how many streams of this node it goes to."""
        said: dict[str, bool] = {}
        refused = -1
        while True:
            version, marks = self.filters.answers(metadata, said)
            taken = self.broker.publish(
                self.engine, event, users, channels, clients, everyone, key, marks, version
            )
            if taken is not None:
                return taken
            if version == refused:
                raise RuntimeError("the broker does not tell the engine the version")
            refused = version

    def wait_for_room(self, wake: Callable[[], Any]) -> bool:
        """Whether publishers have room now; if not, ``wake`` is called when it is worth a look."""
        with self._lock:
            if self.engine.ask_room():
                return True
            self._room_wanted.append(wake)
            return False

    def stop_waiting(self, wake: Callable[[], Any]) -> None:
        """Whoever asked for room has given up, or has been woken."""
        with self._lock:
            if wake in self._room_wanted:
                self._room_wanted.remove(wake)

    def _wake_publishers(self) -> None:
        with self._lock:
            waiting, self._room_wanted = self._room_wanted, []
        for wake in waiting:
            try:
                wake()
            except Exception:  # noqa: BLE001  # its loop has ended: the others are woken even so
                _log.debug("a publisher that waited for room has gone", exc_info=True)

    # -- subscribing -----------------------------------------------------------------

    def check_open(self) -> None:
        """Raise ``ManagerClosed`` once the hub closes."""
        if self.closed:
            raise ManagerClosed("the manager is closing: its server stops")

    def join_groups(
        self,
        stream: Stream,
        subscription: Subscription,
        plan: Plan,
        where: tuple[Condition | None, int],
    ) -> None:
        """The one step that makes a parked stream a subscriber.

        Args:
            stream: The parked stream.
            subscription: Its subscription.
            plan: How it is to be served.
            where: The condition on events, and the sequence after which they can be compared.

        Raises:
            ConnectionClosed: The stream is ending.
            ManagerClosed: The engine is shutting down.
            AllocationError: No memory; nothing has changed.
        """
        condition, since = where
        position, lost = self._position(plan.last_event_id, since)
        if plan.joins_at is not None and position is None and not lost and self.broker.history:
            # What came between the two was not asked about.
            position, lost = (plan.joins_at, False) if plan.joins_at >= since else (None, True)
        self.engine.subscribe(
            stream.handle,
            users=() if subscription.user_id is None else (subscription.user_id,),
            channels=plan.channels,
            client=subscription.client_id,
            position=position,
            lost=lost,
            where=condition,
            policy=plan.policy,
            notices=plan.notices,
        )

    def _position(self, last_event_id: str | None, since: int) -> tuple[int | None, bool]:
        """From where a stream is to go on; or that nothing is known of what its client saw."""
        if not last_event_id or not self.broker.history:
            return None, False
        engine = self.engine
        position = engine.position_of(last_event_id)
        if position is None or not since <= position <= engine.head:
            return None, True
        return position, False

    def channels_of(self, subscription: Subscription) -> tuple[str, ...]:
        """The channels that a stream is in."""
        found = self.engine.info(subscription._stream.handle)
        return channels_among(found.get("groups", ())) if found else ()

    # -- servers ---------------------------------------------------------------------

    def enter(self, host: StreamHost) -> None:
        """A server is about to park its first stream here.

        Raises:
            ManagerClosed: The hub is closing.
        """
        with self._lock:
            self.check_open()
            self._hosts.add(host)

    def drain(
        self, host: StreamHost, farewells: Sequence[bytes], window_s: float, deadline_s: float
    ) -> list[Stream]:
        """A server stops: its streams get a farewell and end, spread over ``window_s``.

        Returns:
            The streams that the server is to end itself, because others are served on.
        """
        with self._lock:
            self._draining.add(host)
            last = self._hosts <= self._draining
            self.closed = self.closed or last
        if not last:
            return self._streams_of(host)
        self.engine.shutdown(
            reason=CloseReason.SHUTDOWN.code,
            farewell=farewells,
            window_s=window_s,
            deadline_s=deadline_s,
        )
        self._wake_publishers()
        return []

    def leave(self, host: StreamHost) -> None:
        """A server has ended: what is left of its streams is cut. Blocks until it was told."""
        with self._lock:
            self._hosts.discard(host)
            self._draining.discard(host)
            alone = not self._hosts
            self.closed = self.closed or alone
        for stream in self._streams_of(host):
            if stream.state is not StreamState.PARKED:
                continue  # its driver ends it, and its handle is another engine's
            self.engine.close(stream.handle, CloseReason.SHUTDOWN.code, flush=False)
        if alone:
            self.end()
            return
        with self._turn:
            self._turn.wait_for(
                lambda: not self._in_turn and not self._streams_of(host), timeout=END_WAIT_S
            )

    def has_left(self, host: StreamHost) -> bool:
        """Whether a server's streams are to end, because it stops."""
        with self._lock:
            return host not in self._hosts or host in self._draining

    def _streams_of(self, host: StreamHost) -> list[Stream]:
        """The streams of a server that have begun here; others find out themselves."""
        found = (subscription._stream for subscription in self.registry.all())
        return [stream for stream in found if stream.host is host]

    def end(self) -> None:
        """End the engine and take its last reports; blocks. Not from the hub's own thread."""
        with self._lock:
            self.closed = True
            if self._ended:
                return
            self._ended = True
        self.engine.shut_down()
        self._joined = True
        self._readiness.wake()
        self._wake_publishers()
        self._thread.join(END_WAIT_S)
        self.presence.stop()

    # -- the hub's thread ------------------------------------------------------------

    def _listen(self) -> None:
        """Take the engine's reports, until it has ended and there are none left."""
        joined = False
        while not joined:
            self._readiness.wait(None)
            joined = self._joined
            with self._turn:
                self._in_turn = True
            # In a function of its own: no name here may keep a stream that has ended.
            self._take_all()
            with self._turn:
                self._in_turn = False
                self._turn.notify_all()
        self._readiness.close()

    def _take_all(self) -> None:
        while reports := self.engine.reports():
            for report in reports:
                try:
                    self._take(report)
                except Exception:  # noqa: BLE001  # one stream's; the others' must be heard
                    _log.exception("a report of the engine could not be handled")

    def _take(self, report: Report) -> None:
        if report.kind == "room":
            self._wake_publishers()
            return
        stream = report.owner
        if report.kind == "reset":
            if isinstance(stream.home, Subscription):
                self.registry.was_reset(stream.home)
            return
        if report.kind == "closed" and report.reason == CloseReason.LIMIT.code:
            self._warn_of_limit(stream, report.detail)
        stream.host.take_report(report)

    def _warn_of_limit(self, stream: Stream, counters: Counters) -> None:
        """Say which stream was closed for a limit, and for which."""
        stats = self.engine.stats()
        if stats["victims"] > self._victims:
            self._victims += 1
            most = self.options.max_memory_bytes
            why = f"it held the oldest events, and memory was at its cap of {most} bytes"
        else:
            why = "memory ran out for it, or its client sent too much"
        _log.warning(
            "stream closed: %s, limit: %s",
            stream.label,
            why,
            extra={
                "stream": stream.label,
                "close_reason": CloseReason.LIMIT.value,
                "events": counters.events,
                "memory_bytes": stats["memory_bytes"],
            },
        )
