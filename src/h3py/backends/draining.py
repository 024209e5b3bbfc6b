"""The end of a server's streams: a farewell, then a clean end, each in its turn.

A server that stops asks everything to end. Every open stream gets a farewell: when
to come back (``retry``, jittered, so that clients which lost their streams together
do not return together) and, where the options name one, an event. Then its body
ends. The turns are spread over ``drain_window_s``:

- parked streams: the engine that serves them spreads them itself;
- driven streams, and those parked with a manager that other servers use on: here.

The farewell of a driven stream is written when its driver lets go of it, behind
whatever the driver has sent, so that no event is torn; a driver that does not let go
is left behind at the deadline.

Owner: the server. Used by its own thread alone: ``begin`` when it stops (again: at the
deadline, where all that is left ends at once), ``look`` many times a second meanwhile.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from h3py._speedups.format import SSEEvent, format_event
from h3py.close_reason import CloseReason
from h3py.errors import AllocationError, H3Error
from h3py.http import encode_chunk
from h3py.sse.host import StreamState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from h3py.backends.server import Server
    from h3py.connection import BaseConnection
    from h3py.options import ServeOptions
    from h3py.sse.stream import Stream

# Clients that lost their streams together are not to come back together.
RETRY_JITTER = 0.2
# Of how many farewells the engine gives one to each parked stream.
VARIANTS = 16


def retry_of(retry_ms: int, at: float, window_s: float = 0.0) -> int:
    """A ``retry`` at a place of its jitter.

    Args:
        retry_ms: The time to spread, in milliseconds.
        at: The place, from 0 (soonest) to 1.
        window_s: How long others will go on losing their streams: who was early comes back
            among them, so the spread is as much wider.
    """
    soonest = retry_ms * (1 - RETRY_JITTER)
    latest = retry_ms * (1 + RETRY_JITTER) + window_s * 1000
    return round(soonest + at * (latest - soonest))


def farewell(options: ServeOptions, at: float | None = None) -> bytes:
    """The last words for one stream, unframed; ``b""``: there are none.

    Args:
        options: The server's.
        at: The place of its ``retry`` in the jitter; by default any.
    """
    words = b""
    retry_ms = options.retry_ms if options.farewell_retry_ms is None else options.farewell_retry_ms
    if retry_ms is not None:
        place = random.random() if at is None else at
        words = format_event(SSEEvent(retry=retry_of(retry_ms, place, options.drain_window_s)))
    if options.farewell is not None:
        words += format_event(options.farewell)
    return words


def farewells(options: ServeOptions) -> tuple[bytes, ...]:
    """Different farewells for an engine to choose from, evenly spread; ``()``: there are none."""
    spread = {farewell(options, (place + random.random()) / VARIANTS) for place in range(VARIANTS)}
    return tuple(words for words in sorted(spread) if words)


class Drain:
    """Whose turn it is to end, in a server that stops.

    Attributes:
        begun: All have been asked, or have been given a turn.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self.begun = False
        # The latest first: turns are taken from the end.
        self._turns: list[tuple[float, Stream]] = []

    def begin(self, *, again: bool) -> None:
        """Ask everything to end; ``again``: now, whatever turns were given."""
        server, options = self._server, self._server.options
        with server._lock:
            driven = tuple(server.driven)
        for conversation in tuple(server.conversations):
            conversation.stop()
        if again:
            waiting = [stream for _, stream in self._turns]
            left = [*waiting, *self._end_parked((), 0.0, 0.0)]
            window_s = 0.0
        else:
            window_s = 0.0 if server.forced else options.drain_window_s
            left = self._end_parked(farewells(options), window_s, options.drain_timeout_s)
        self._give_turns((*left, *driven), window_s)
        self.begun = True
        self.look()

    def _end_parked(
        self, words: Sequence[bytes], window_s: float, deadline_s: float
    ) -> list[Stream]:
        """Tell the engines; returns the parked streams that are to be ended from here."""
        server = self._server
        try:
            server.engine.shutdown(
                reason=CloseReason.SHUTDOWN.code,
                farewell=words,
                window_s=window_s,
                deadline_s=deadline_s,
            )
            left: list[Stream] = []
            for hub in tuple(server.hubs):
                left += hub.drain(server, words, window_s, deadline_s)
        except AllocationError:
            if not words:
                raise
            return self._end_parked((), window_s, deadline_s)  # no memory for last words
        return left

    def _give_turns(self, streams: Iterable[Stream], window_s: float) -> None:
        """Spread the ends of these streams evenly over the window, in no particular order."""
        order = list(dict.fromkeys(streams))
        random.shuffle(order)
        now = self._server.now()
        step_s = window_s / len(order) if order else 0.0
        self._turns = [(now + place * step_s, stream) for place, stream in enumerate(order)]
        self._turns.reverse()

    def look(self) -> None:
        """End the streams whose turn has come."""
        now = self._server.now()
        while self._turns and self._turns[-1][0] <= now:
            self._end(self._turns.pop()[1])

    def _end(self, stream: Stream) -> None:
        if stream.state is StreamState.PARKED:
            if stream.home is None or stream.home.hub.closed:
                return  # its engine is ending, and ends it in time
            words = farewell(self._server.options)
            if words and stream.close_reason is None:
                try:
                    self._server.send_parked(stream, words)
                except H3Error:
                    pass  # no room, or no stream any more: it ends without
        stream.end(CloseReason.SHUTDOWN)

    def part(self, connection: BaseConnection) -> None:
        """Queue the farewell of a driven stream whose driver has let go of it.

        Raises:
            AllocationError: No memory.
        """
        words = farewell(self._server.options) if connection.streaming else b""
        if words:
            connection.queue.append_end(encode_chunk(words) if connection.chunked else words)
