"""The server: what both backends share, and the host of every stream.

Owner of the engine, the counters, the limits and the registry of driven
streams. It waits for nothing and knows neither trio nor threads: what the two
do differently (waking a driver, running a callback, taking a descriptor out of
the loop) is in a handful of hooks that a backend overrides.

Threads: the engine's reports, ``sweep`` and the accept loop come from the
backend's own thread; streams begin and end in any. ``_lock`` guards the
counters and the registry.

What becomes of a stream's connection is ``carrier.py``, how all of them end ``draining.py``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from h3py._speedups.engine import Engine, Report
from h3py._speedups.write_queue import WriteQueue
from h3py.backends.callbacks import CallbackThread, is_async
from h3py.backends.carrier import ABRUPT, Carrier
from h3py.backends.draining import Drain
from h3py.backends.listeners import url_of
from h3py.backends.liveness import SlowLog, look_after
from h3py.backends.places import Places
from h3py.close_reason import CloseReason
from h3py.errors import ConfigError
from h3py.options import engine_options
from h3py.sse.host import Callback, StreamState

if TYPE_CHECKING:
    import socket

    from h3py.backends.conversation import Conversation
    from h3py.backends.steps import Application
    from h3py.options import ServeOptions
    from h3py.sse.stream import Stream

_log = logging.getLogger("h3py.stream")


class Server(Carrier):
    """A running server, as the code around it sees it.

    Attributes:
        addresses: The ``getsockname()`` of each listener.
        url: The first of them as a URL, without a trailing slash.
        engine: The fan-out engine that serves parked streams.
        closed_streams: How many streams ended, by close reason.
        places: What is open, and how much may be.
    """

    def __init__(self, app: Application, options: ServeOptions) -> None:
        super().__init__()
        self.app = app
        self.options = options
        self.now: Callable[[], float] = options.clock or time.monotonic
        self.engine = Engine(
            log_events=options.log_events,
            log_bytes=options.log_bytes,
            log_age_s=options.log_age_s,
            **engine_options(options),
        )
        self.listeners: list[socket.socket] = []
        self.addresses: list[Any] = []
        self.url = ""
        self.conversations: set[Conversation] = set()
        self.places = Places(options)
        self.closed_streams: Counter[CloseReason] = Counter()
        self.slow_log = SlowLog(self.now)
        self.forced = False
        self.drain_turns = Drain(self)
        self.callback_thread = CallbackThread("h3py-callbacks", _log, "an on_close callback failed")

    # -- hooks of the backends -------------------------------------------------

    def drives(self, stream: Stream) -> bool:
        """Whether the caller drives the stream, or belongs to the code that does."""
        return threading.get_ident() == stream.thread

    def wake(self, stream: Stream) -> None:
        """Make the driver of a stream that others ended notice it."""
        self.wake_thread(stream)

    def wake_driver(self, driver: Any) -> None:
        """Make a driver whose stream has ended at its very beginning notice it, if it can be."""

    def wake_thread(self, stream: Stream) -> None:
        """Wake a thread that drives a stream.

        A clean end needs no more than the stream's close reason, which a waiting thread
        looks at several times a second, and so does a client that has only ended its own side.
        A lost or hostile client is cut off, so that a send ends at once.
        """
        connection = stream.connection
        if connection is not None and stream.close_reason in ABRUPT and not stream.fin:
            connection.wire.shut_down()

    def soon(self, function: Callable[..., Any], *args: Any) -> None:
        """Run a plain function on the backend's loop; where there is none, here and now."""
        function(*args)

    def check_callback(self, callback: Callable[..., Any]) -> None:
        """Refuse an on_close callback that must be awaited where nothing can."""
        if is_async(callback):
            raise ConfigError("on_close: an async callback needs the trio backend")

    def run_callback(self, callback: Callback, reason: CloseReason) -> None:
        """Run an on_close callback where it may block."""
        context, function = callback
        self.callback_thread.run([lambda given: context.run(function, given)], reason)

    def shutdown(self) -> None:
        """Begin a graceful shutdown; returns at once. From any thread, and more than once."""
        raise RuntimeError("a backend must say how it is told to stop")

    def force(self) -> None:
        """End now: do not wait for the drain's deadline. From any thread."""
        self.forced = True
        self.shutdown()

    # -- beginning and ending ----------------------------------------------------

    def start_engine(self) -> None:
        """Start the pumps."""
        self.engine.start()

    def begin_drain(self) -> None:
        """Ask everything to end, each stream in its turn; called again: all that is left, now."""
        with self._lock:
            again, self.stopping = self.stopping, True
            self.places.closed = True
        self.drain_turns.begin(again=again)

    def end_engine(self) -> None:
        """Join the pumps; what is still open is cut. Blocks; ``take_last_reports`` follows."""
        if self.tls_parking is not None:
            self.tls_parking.stop()
        self.engine.shut_down()
        for hub in tuple(self.hubs):
            self.hubs.discard(hub)
            hub.leave(self)

    # -- connections -----------------------------------------------------------

    def listening(self, listeners: list[socket.socket], *, tls: bool) -> None:
        """Note where the server is reached."""
        self.listeners = listeners
        self.addresses = [listener.getsockname() for listener in listeners]
        self.url = url_of(listeners[0], tls=tls)

    def connection_opened(self) -> bool:
        """Count a connection in, until it is closed; False where that is one too many."""
        return self.places.connection_opened()

    def connection_gone(self) -> None:
        """Count a connection's end: its descriptor is closed."""
        self.places.connection_gone()

    @property
    def open_connections(self) -> int:
        """How many connections are open."""
        return self.places.connections

    @property
    def max_connections(self) -> int:
        """How many connections may be."""
        return self.places.max_connections

    def new_queue(self, *, blocking: bool) -> WriteQueue:
        """The write queue of a connection; ``blocking``: a thread drives it."""
        options = self.options
        return WriteQueue(
            max_bytes=options.max_queue_bytes,
            gather_bytes=options.buffer_bytes,
            reference_over=options.reference_over_bytes,
            max_event_bytes=options.max_event_bytes,
            release_gil=blocking,
        )

    # -- streams ---------------------------------------------------------------

    @property
    def open_streams(self) -> int:
        """How many streams are open."""
        return self.places.streams

    @property
    def max_streams(self) -> int:
        """How many streams may be."""
        return self.places.max_streams

    @property
    def slow_episodes(self) -> int:
        """How often a client was found slow."""
        return self.slow_log.episodes

    def stream_ended(self, stream: Stream) -> None:
        """The one notice of a stream's end: counters, the log, the application's callbacks."""
        reason = stream.close_reason
        assert reason is not None
        with self._lock:
            self.closed_streams[reason] += 1
        _log.info(
            "stream ended: %s %s, %d events, %.3f s",
            stream.label,
            reason.value,
            stream.event_count,
            self.now() - stream.opened_at,
            extra={
                "stream": stream.label,
                "close_reason": reason.value,
                "events": stream.event_count,
            },
        )
        for callback in stream.take_callbacks():
            self.run_callback(callback, reason)
        # Last of all: whoever sees that no stream is open may end what tells of their end.
        self.places.stream_gone(stream.address)

    @property
    def draining(self) -> bool:
        """Whether something is still open that the end of the server should wait for."""
        return (self.open_connections > 0 or self.open_streams > 0) and not self.forced

    # -- what comes from the engine, and from time -------------------------------

    def take_reports(self) -> bool:
        """Handle what the engine has to tell; False: nothing.

        Called when ``engine.report_fd`` is readable; a turn is bounded.
        """
        reports = self.engine.reports()
        for report in reports:
            self.take_report(report)
        return bool(reports)

    def take_report(self, report: Report) -> None:
        """Handle what an engine tells of one of this server's connections; from any thread."""
        stream = report.owner
        if report.kind == "data":
            assert self.tls_parking is not None
            self.tls_parking.wanted(stream)
        elif report.kind == "closed":
            # A descriptor without a stream is one that only waited to be closed gently.
            if stream is not None:
                counters = report.detail
                stream.ended_in_engine(report.reason, counters.events - counters.unsent)
            if self.tls_parking is None or not self.tls_parking.closed(stream):
                self.connection_gone()
        elif report.kind == "hangup":
            if stream.state is StreamState.DRIVEN:
                stream.fin = report.detail == "fin"
                stream.end(_reason(report.reason))
        elif report.kind == "writable":
            if stream.blocked_since is None and not stream.look_after(heartbeat=False):
                if stream.event_count == stream.asked_count:
                    self.watch_writable(stream)  # its driver has stopped: only this sends it
                else:
                    self.want_writable(stream)
        elif report.kind == "space":
            stream.space_again()
        elif report.kind == "slow" and stream is not None:
            self.found_slow(stream)

    def take_last_reports(self) -> None:
        """Handle all that is left to tell: the pumps have ended."""
        while self.take_reports():
            continue

    def found_slow(self, stream: Stream) -> None:
        """Count and warn of a slow client, once per episode."""
        self.slow_log.note(stream)

    def sweep(self) -> None:
        """What time brings: late requests, slow and dead clients of driven streams."""
        now = self.now()
        for conversation in tuple(self.conversations):
            if conversation.deadline is not None and now >= conversation.deadline:
                conversation.expire()
        with self._lock:
            driven = tuple(self.driven)
        for stream in driven:
            look_after(self, stream, now)
        self.slow_log.look()


def _reason(code: int) -> CloseReason:
    return CloseReason.LIMIT if code == CloseReason.LIMIT.code else CloseReason.CLIENT_CLOSED
