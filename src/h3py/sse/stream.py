"""One stream, from its head to its one close reason.

A stream is *driven* while a handler, generator or callback writes to it: that
task or thread sends from the stream's own queue. It is *parked* once the engine
has adopted it; then every byte goes through the engine. It moves once, never
back, and it *ends* once::

    DRIVEN --park--> PARKED
       \\--finish---> ENDED <--the engine's report--/

Owner: the driver, until ``park`` or ``finish``; then the engine, which refers to
this object as the owner of its record. Any thread may ask for the end.

``Stream.end`` is the one function that ends a stream, whatever the cause: the
first cause wins. It only decides and wakes the driver; the driver, on its way
out, calls ``finish``, which lets go of the connection and tells the
application, the log and the counters, exactly once. A parked stream has no
driver: the engine decides which cause was first, and its report tells.

Low-level errors are translated here and nowhere else: ``ConnectionClosed`` to
``ConnectionLost``, ``BufferFull`` to ``BackpressureDetected``.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from h3py._speedups.format import SSEEvent, format_comment
from h3py.close_reason import CLOSE_REASONS, CloseReason
from h3py.errors import (
    BackpressureDetected,
    BufferFull,
    ConnectionClosed,
    ConnectionLost,
    SSEError,
    WriteError,
    WriterClosed,
)
from h3py.sse.host import Callback, StreamHome, StreamHost, StreamState

if TYPE_CHECKING:
    from h3py.connection import Connection

# Guards the decisions of all streams: they are rare and short, so one lock for all costs less
# than one in each. An RLock: a finalizer may close a stream while its thread is in here.
_deciding = threading.RLock()


class Stream:
    """The state of one stream; reached by users through its writers."""

    __slots__ = (
        "_callbacks", "_ended", "_space", "_told", "address", "asked_at", "asked_count",
        "blocked_since", "close_reason", "connection", "driver", "event_count", "fin",
        "handle", "home", "host", "idle_since", "label", "last_event_id", "looked_at",
        "looked_queued", "opened_at", "seen_at", "slow", "stalled_since", "state", "thread",
    )  # fmt: skip

    def __init__(
        self,
        host: StreamHost,
        connection: Connection,
        *,
        label: str = "",
        last_event_id: str | None = None,
        driver: Any = None,
    ) -> None:
        self.host = host
        # Where it is parked, if not with its host; settled before it parks.
        self.home: StreamHome | None = None
        self.connection: Connection | None = connection
        self.label = label
        # Whose place its host counts it in; the host's business.
        self.address: str | None = None
        self.last_event_id = last_event_id
        # What ``host.wake`` needs to reach the driver; the host's business.
        self.driver = driver
        self.thread = threading.get_ident()
        self.state = StreamState.DRIVEN
        self.close_reason: CloseReason | None = None
        # Its client has ended its side, and may still read what is queued.
        self.fin = False
        self.event_count = 0
        self.handle = 0
        self.opened_at = host.now()
        # Since when a send has been waiting for the client; None while it is not.
        self.blocked_since: float | None = None
        self.slow = False
        # When its driver last left a rest to the host, and how many events it had sent by then.
        self.asked_at = 0.0
        self.asked_count = 0
        # Since when the client has taken nothing of what is queued, and what was by then.
        self.stalled_since: float | None = None
        self.looked_queued = (0, 0)
        # When it was last looked at, since when it is idle, when its peer was last looked for.
        self.seen_at = self.opened_at
        self.idle_since = self.opened_at
        self.looked_at = self.opened_at
        self._callbacks: list[Callback] | None = None
        # Held while the stream lives, if anybody waits for its end. A lock, because an
        # Event takes a kilobyte.
        self._ended: threading.Lock | None = None
        self._space: list[Callable[[], Any]] | None = None
        self._told = False

    def drive(self, connection: Connection, driver: Any) -> None:
        """The calling thread takes over from the driver before it; nothing is being sent."""
        with _deciding:
            if self.state is StreamState.DRIVEN:
                self.connection = connection
                self.driver = driver
                self.thread = threading.get_ident()

    # -- sending ---------------------------------------------------------------

    def try_send(self, event: SSEEvent) -> bool:
        """Queue one event, whole, and send what leaves at once; False where there is no room.

        Raises:
            ConnectionLost, WriterClosed: The stream has ended.
            EventTooLarge: Larger than ``max_event_bytes``.
            WriteError, AllocationError: The system refused.
            WriterBusy: Another task or thread is sending.
        """
        connection = self.connection
        if connection is None or self.close_reason is not None:
            return self._try_parked(event)
        try:
            sent = connection.send_event(event)
        except BufferFull:
            return False
        except ConnectionClosed as error:
            if self._moved():
                return self._try_parked(event)
            raise self.lost(error) from error
        except WriteError:
            self.end(CloseReason.ERROR)
            raise
        self.event_count += 1
        if not sent:
            self.host.want_writable(self)
        return True

    def queue_event(self, event: SSEEvent) -> bool:
        """Queue one event without sending; False where there is no room. ``flush`` sends."""
        connection = self.connection
        if connection is None or self.close_reason is not None:
            return self._try_parked(event)
        try:
            connection.queue_event(event)
        except BufferFull:
            return False
        except ConnectionClosed as error:
            if self._moved():
                return self._try_parked(event)
            raise self.lost(error) from error
        self.event_count += 1
        return True

    def flush(self) -> bool:
        """Send what leaves at once; True when nothing is left to send here."""
        connection = self.connection
        if connection is None:
            return True
        try:
            if connection.flush():
                return True
        except ConnectionClosed as error:
            if self._moved():
                return True
            raise self.lost(error) from error
        if self.blocked_since is None:
            self.host.want_writable(self)  # nobody waits for it here
        return False

    def send_nowait(self, event: SSEEvent) -> None:
        """As ``try_send``; ``BackpressureDetected`` where there is no room."""
        if not self.try_send(event):
            raise self.behind(f"the client is behind: {self.queued_bytes} bytes are queued for it")

    def send_comment(self, text: str) -> None:
        """Send a comment, which clients ignore; never waits."""
        comment = format_comment(text)
        try:
            connection = self.connection
            if connection is not None and self.close_reason is None:
                try:
                    connection.write_chunk_nowait(comment)
                    if not connection.flush():
                        self.host.want_writable(self)
                    return
                except ConnectionClosed:
                    if not self._moved():
                        raise
            self._send_parked(comment)
        except BufferFull as error:
            raise self.behind(str(error)) from error
        except ConnectionClosed as error:
            raise self.lost(error) from error

    def look_after(self, *, heartbeat: bool) -> bool:
        """Send what the driver has left queued, or a heartbeat; for its host.

        The driver may sleep for an hour, while its client waits for the end of an event. The
        connection cannot be let go of meanwhile: that is decided under the same lock.

        Returns:
            False: more is left than the socket takes now.
        """
        try:
            with _deciding:
                connection = self.connection
                if connection is None or self.close_reason is not None or not connection.streaming:
                    return True
                if heartbeat:
                    return connection.wire.heartbeat(connection.queue)
                return connection.wire.send_rest(connection.queue)
        except (ConnectionClosed, WriteError):
            self.end(CloseReason.CLIENT_CLOSED)
            return True

    @property
    def queued_bytes(self) -> int:
        """Bytes that have not been handed to the kernel."""
        connection = self.connection
        if connection is not None:
            return connection.queued_bytes
        if self.state is StreamState.PARKED:
            return self.host.queued_parked(self)
        return 0

    def _try_parked(self, event: SSEEvent) -> bool:
        try:
            self._send_parked(event)
        except BufferFull:
            return False
        except ConnectionClosed as error:
            raise self.lost(error) from error
        self.event_count += 1
        return True

    def _send_parked(self, piece: SSEEvent | bytes) -> None:
        if self.state is not StreamState.PARKED or self.close_reason is not None:
            raise self.refusal()
        self.host.send_parked(self, piece)

    def _moved(self) -> bool:
        """Whether a send was refused because its stream has been parked meanwhile."""
        with _deciding:
            return self.state is StreamState.PARKED

    def lost(self, error: Exception) -> SSEError:
        """The connection turned out to be gone: end the stream, and say so."""
        if self.state is StreamState.DRIVEN:
            self.end(CloseReason.CLIENT_CLOSED)
        return self.refusal(str(error))

    def behind(self, told: str) -> BackpressureDetected:
        """The error for a client that is behind."""
        error = BackpressureDetected(told)
        error.stream = self
        return error

    def refusal(self, detail: str | None = None) -> SSEError:
        """Why nothing can be sent any more, as the error to raise."""
        reason = self.close_reason
        if reason is CloseReason.HANDLER_DONE:
            return WriterClosed("the stream was closed")
        told = detail or (reason.value if reason else "it is closing")
        return ConnectionLost(f"the stream has ended: {told}", reason)

    # -- ending ----------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether the stream has ended or is about to."""
        return self.close_reason is not None or self.state is StreamState.ENDED

    def end(self, reason: CloseReason) -> bool:
        """Decide that the stream ends, and why; from any thread. False if it was decided before."""
        with _deciding:
            if self.close_reason is not None or self.state is StreamState.ENDED:
                return False
            if self.state is StreamState.PARKED:
                # The engine knows of causes that have not been reported yet.
                if not self.host.close_parked(self, reason):
                    return False
                self.close_reason = reason
                return True
            self.close_reason = reason
        self._open_gate()
        self.host.wake(self)
        return True

    def finish(self, reason: CloseReason) -> None:
        """The driver lets go; ``reason`` counts only if nothing has ended the stream before.

        Also for a driver that has not come back in time: it finds the connection gone.
        """
        with _deciding:
            if self.state is not StreamState.DRIVEN:
                return
            if self.close_reason is None:
                self.close_reason = reason
            self.state = StreamState.ENDED
        self._open_gate()
        self.host.retire(self)
        self._tell()

    def close(self) -> None:
        """End the stream as its application; idempotent, from any thread.

        Its driver ends it at once, and goes on. Others ask for the end, and the driver is
        woken as for any other: a task that sleeps is cancelled.
        """
        if self.state is StreamState.DRIVEN and self.host.drives(self):
            self.finish(CloseReason.HANDLER_DONE)
        else:
            self.end(CloseReason.HANDLER_DONE)

    def park(self) -> None:
        """Move to the engine. Called by the driver; it holds nothing afterwards.

        Raises:
            ConnectionLost, WriterClosed: The stream has ended.
        """
        with _deciding:
            if self.state is StreamState.PARKED:
                return
            if self.close_reason is None and self.state is StreamState.DRIVEN:
                self.host.adopt(self)
                self.asked_count = self.event_count  # the rest is the engine's to count
                self.state = StreamState.PARKED
                self.connection = None
                self.driver = None
                return
        raise self.refusal()

    def ended_in_engine(self, code: int, sent: int) -> None:
        """The engine's report: the parked stream is closed, for the reason with this code.

        ``sent``: the events that the engine has sent, a manager's included.
        """
        with _deciding:
            if self.state is not StreamState.PARKED:
                return
            self.close_reason = CLOSE_REASONS[code - 1]
            self.event_count = self.asked_count + sent
            self.state = StreamState.ENDED
        self._open_gate()
        self._tell()

    def _open_gate(self) -> None:
        """Let everybody go who waits for the end; the end has been decided."""
        with _deciding:
            gate, self._ended = self._ended, None
        if gate is not None:
            gate.release()

    def wait(self, seconds: float | None) -> bool:
        """Block a thread until the stream ends, at most so long; True if it has ended."""
        with _deciding:
            if self.closed:
                return True
            if self._ended is None:
                self._ended = threading.Lock()
                self._ended.acquire()
            gate = self._ended
        if not gate.acquire(timeout=-1 if seconds is None else max(0.0, seconds)):
            return False
        gate.release()  # for the next who waits
        return True

    def on_close(self, callback: Callable[[CloseReason], Any]) -> None:
        """Have ``callback(reason)`` called once the stream has ended; at once if it has."""
        self.host.check_callback(callback)
        with _deciding:
            entry = (contextvars.copy_context(), callback)
            if not self._told:
                if self._callbacks is None:
                    self._callbacks = []
                self._callbacks.append(entry)
                return
        assert self.close_reason is not None
        self.host.run_callback(entry, self.close_reason)

    def on_space(self, wake: Callable[[], Any]) -> None:
        """Have ``wake()`` called once, when a parked stream has room again, or has ended.

        To be asked for before the send that may be refused: so no report is missed.
        """
        with _deciding:
            if self._space is None:
                self._space = []
            self._space.append(wake)

    def space_again(self) -> None:
        """The engine's report: there is room; whoever waits for it goes on."""
        with _deciding:
            waiting, self._space = self._space, None
        for wake in waiting or ():
            wake()

    def take_callbacks(self) -> list[Callback]:
        """The callbacks to run, given out once."""
        callbacks, self._callbacks = self._callbacks or [], None
        return callbacks

    def _tell(self) -> None:
        with _deciding:
            if self._told:
                return
            self._told = True
        self.space_again()
        if self.home is not None:
            self.home.stream_left(self)
        self.host.stream_ended(self)
