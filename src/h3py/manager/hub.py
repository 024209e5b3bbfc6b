"""The hub: one engine, the streams that subscribed to it, and the thread that hears from it.

A manager has one hub at a time, from its first use until its last server has ended.
The engine's pumps send; this thread takes their reports until the last one, so it
outlives everything that could still have something to tell. What a report means to
the server that carries the stream is that server's business (``take_report``); what
it means here (room for publishers, a client that was told of a loss) is the hub's.

Servers enter when a first stream of theirs is parked here. One that stops asks for
its streams to be drained; when the last one does, the hub closes: from then on
nobody subscribes or publishes (``ManagerClosed``), and when that server leaves the
pumps are joined and the thread ends.

Owner: the manager. Any thread.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from h3py._speedups.engine import Engine
from h3py.backends.readiness import Readiness
from h3py.close_reason import CloseReason
from h3py.errors import ManagerClosed
from h3py.manager.filters import Accepts, Filters, conditions
from h3py.manager.registry import Registry

if TYPE_CHECKING:
    from h3py._speedups.engine import Report
    from h3py._speedups.format import SSEEvent
    from h3py.manager.broker import Broker
    from h3py.manager.options import ManagerOptions
    from h3py.manager.presence import Presence
    from h3py.manager.subscription import Plan, Subscription
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
        closed: Nobody subscribes or publishes any more.
    """

    def __init__(self, options: ManagerOptions, broker: Broker, presence: Presence) -> None:
        self.options = options
        self.broker = broker
        self.presence = presence
        self.registry = Registry(options, presence)
        self.filters = Filters()
        self.engine = Engine(
            pumps=options.pumps,
            max_queue_bytes=options.max_queue_bytes,
            max_memory_bytes=options.max_memory_bytes,
            heartbeat_s=options.heartbeat_s,
            heartbeat_misses=options.heartbeat_misses,
            heartbeat_ids=options.heartbeat_ids and broker.history,
            stall_timeout_s=options.stall_timeout_s,
            slow_write_s=options.slow_write_s,
            linger_s=options.linger_s,
            max_discard_bytes=options.max_discard_bytes,
            half_close=options.half_close,
            # A clock in a test's hand moves the pumps, too.
            clock=getattr(options.clock, "engine_clock", None),
            **broker.engine_options,
        )
        self.closed = False
        self._ended = False
        self._joined = False  # the pumps: nothing more will be reported
        self._hosts: set[StreamHost] = set()
        self._draining: set[StreamHost] = set()
        self._lock = threading.Lock()
        self._room_wanted: list[Callable[[], Any]] = []
        self._readiness = Readiness()
        self._readiness.watch(self.engine.report_fd)
        self.engine.start()
        self._thread = threading.Thread(target=self._listen, name="h3py-manager", daemon=True)
        self._thread.start()

    # -- publishing ------------------------------------------------------------------

    def publish(
        self,
        event: SSEEvent,
        *,
        key: str | None = None,
        metadata: dict[str, str] | None = None,
        users: Iterable[str] = (),
        channels: Iterable[str] = (),
        clients: Iterable[str] = (),
        everyone: bool = False,
    ) -> int:
        """Publish one event; how many streams of this node it goes to."""
        return self.broker.publish(
            self.engine,
            event,
            users=users,
            channels=channels,
            clients=clients,
            everyone=everyone,
            key=key,
            metadata=self.filters.mark(metadata),
        )

    def wait_for_room(self, wake: Callable[[], Any]) -> bool:
        """Whether publishers have room now; if not, ``wake`` is called when it is worth a look."""
        with self._lock:
            if self.engine.ask_room():
                return True
            self._room_wanted.append(wake)
            return False

    def _wake_publishers(self) -> None:
        with self._lock:
            waiting, self._room_wanted = self._room_wanted, []
        for wake in waiting:
            wake()

    # -- subscribing -----------------------------------------------------------------

    def check_open(self) -> None:
        """Raise ``ManagerClosed`` once the hub closes."""
        if self.closed:
            raise ManagerClosed("the manager is closing: its server stops")

    def join_groups(self, subscription: Subscription, plan: Plan) -> Accepts | None:
        """The one step that makes a parked stream a subscriber; gives its function, if any."""
        engine, where, function = self.engine, plan.where, None
        since = 0
        if callable(where):
            function = where
            where, since = self.filters.take(function, engine.head)
        elif where is not None:
            where = conditions(where)
        position, lost = self._position(plan.last_event_id, since)
        try:
            engine.subscribe(
                subscription._stream.handle,
                users=() if subscription.user_id is None else (subscription.user_id,),
                channels=plan.channels,
                client=subscription.client_id,
                position=position,
                lost=lost,
                where=where,
                policy=plan.policy,
                notices=plan.notices,
            )
        except BaseException:
            if function is not None:
                self.filters.give_back(function)
            raise
        return function

    def _position(self, last_event_id: str | None, since: int) -> tuple[int | None, bool]:
        """From where a stream is to go on; or that nothing is known of what its client saw."""
        if not last_event_id or not self.broker.history:
            return None, False
        position = self.engine.position_of(last_event_id)
        if position is None or not since <= position <= self.engine.head:
            return None, True
        return position, False

    def channels_of(self, subscription: Subscription) -> tuple[str, ...]:
        """The channels that a stream is in."""
        found = self.engine.info(subscription._stream.handle)
        groups = found.get("groups", ()) if found else ()
        return tuple(name for kind, name in groups if kind == "channel")

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
        if last:
            self.engine.shutdown(
                reason=CloseReason.SHUTDOWN.code,
                farewell=random.choice(farewells) if farewells else None,
                window_s=window_s,
                deadline_s=deadline_s,
            )
            self._wake_publishers()
            return []
        streams = (subscription._stream for subscription in self.registry.all())
        return [stream for stream in streams if stream.host is host]

    def leave(self, host: StreamHost) -> None:
        """A server has ended: what is left of its streams is cut. Blocks until it was told."""
        with self._lock:
            self._hosts.discard(host)
            self._draining.discard(host)
            alone = not self._hosts
            self.closed = self.closed or alone
        if alone:
            self.end()
            return
        for subscription in self.registry.all():
            stream = subscription._stream
            if stream.host is host:
                self.engine.close(stream.handle, CloseReason.SHUTDOWN.code, flush=False)

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
            while reports := self.engine.reports():
                for report in reports:
                    try:
                        self._take(report)
                    except Exception:  # noqa: BLE001  # one stream's; the others' must be heard
                        _log.exception("a report of the engine could not be handled")
        self._readiness.close()

    def _take(self, report: Report) -> None:
        if report.kind == "room":
            self._wake_publishers()
            return
        stream = report.owner
        if report.kind == "reset":
            self.presence.tell("reset", stream.home)
        else:
            stream.host.take_report(report)
