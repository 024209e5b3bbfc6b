"""Driven streams, looked after from outside: heartbeats, the slow, the dead.

The pumps do this for parked streams. A driven stream belongs to a handler that
may sleep for an hour, so the sweep does it for them: from the backend's own
thread, a few times a second, on the injected clock.

- *left behind*: the last send did not take all, and the handler has gone to sleep:
  what is queued is sent on.
- *idle*: nothing was sent for ``heartbeat_s``: a comment is sent, if the queue is
  empty and nobody is sending.
- *slow*: a send has been waiting, or what is queued has not moved, for
  ``slow_write_s``: warned of and counted once per episode; what has not moved at
  all for ``stall_timeout_s`` ends the stream with ``slow``. A large event that a
  client takes its time for moves.
- *dead*: bytes are unacknowledged and the last acknowledgement is older than
  ``heartbeat_misses`` heartbeats: it ends with ``timeout``. A peer with a closed
  window still answers probes, so it is slow, not dead.
"""

from __future__ import annotations

import logging
import socket
import struct
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from h3py.close_reason import CloseReason

if TYPE_CHECKING:
    from h3py.backends.server import Server
    from h3py.sse.stream import Stream

# struct tcp_info of linux/tcp.h: tcpi_probes, tcpi_unacked and tcpi_last_ack_recv (milliseconds).
_TCP_INFO_BYTES = 104
_UNACKED = struct.Struct("=I")
_PROBES_AT = 3
_UNACKED_AT = 24
_LAST_ACK_AT = 56

# Slow clients named in the log each second; the rest are counted.
SLOW_LINES_PER_S = 10

_log = logging.getLogger("h3py.stream")


class SlowLog:
    """Counts slow clients and warns of each, but never of so many that the log is flooded.

    Any thread. Of what is left out in a second one line tells how much it was.

    Attributes:
        episodes: How often a client was found slow.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._since = now()
        self._said = 0
        self._left_out = 0
        self.episodes = 0

    def note(self, stream: Stream) -> None:
        """A client has become slow."""
        self.look()
        with self._lock:
            self.episodes += 1
            say = self._said < SLOW_LINES_PER_S
            self._said += say
            self._left_out += not say
        if say:
            queued = stream.queued_bytes
            _log.warning(
                "slow client: %s, %d bytes are queued for it",
                stream.label,
                queued,
                extra={"stream": stream.label, "queued_bytes": queued},
            )

    def look(self) -> None:
        """Tell what was left out, once its second is over."""
        now = self._now()
        with self._lock:
            if now - self._since < 1.0:
                return
            self._since = now
            self._said = 0
            left_out, self._left_out = self._left_out, 0
        if left_out:
            _log.warning(
                "slow clients: %d more in that second", left_out, extra={"left_out": left_out}
            )


def look_after(server: Server, stream: Stream, now: float) -> None:
    """One look at one driven stream."""
    options = server.options
    if stream.queued_bytes:
        stream.look_after(heartbeat=False)
    stalled_s = _stalled_s(stream, now)
    if options.stall_timeout_s is not None and stalled_s >= options.stall_timeout_s:
        stream.end(CloseReason.SLOW)
        return
    blocked = stream.blocked_since
    behind_s = stalled_s if blocked is None else max(stalled_s, now - blocked)
    if behind_s > 0 and behind_s >= options.slow_write_s and not stream.slow:
        stream.slow = True
        server.found_slow(stream)
    if options.heartbeat_s is None:
        return
    if now - stream.looked_at >= options.heartbeat_s:
        stream.looked_at = now
        connection = stream.connection
        silence_s = options.heartbeat_s * options.heartbeat_misses
        if connection is not None and is_dead(connection.wire.sock, silence_s):
            stream.end(CloseReason.TIMEOUT)
            return
    if now - stream.idle_since >= options.heartbeat_s:
        stream.idle_since = now
        stream.look_after(heartbeat=True)


def _stalled_s(stream: Stream, now: float) -> float:
    """For how long the client has taken nothing of what is queued for it; 0: nothing is."""
    since, stream.seen_at = stream.seen_at, now
    queued = (stream.event_count, stream.queued_bytes)
    if queued != stream.looked_queued:
        stream.idle_since = now
    if queued[1] == 0:
        stream.stalled_since = None
        if stream.blocked_since is None:
            stream.slow = False
    elif stream.stalled_since is None or queued != stream.looked_queued:
        # It moved since the last look. Where somebody waits that may be long ago; else
        # it may as well have been just now.
        blocked = stream.blocked_since
        stream.stalled_since = now if blocked is None else max(since, blocked)
    stream.looked_queued = queued
    return 0.0 if stream.stalled_since is None else now - stream.stalled_since


def is_dead(sock: socket.socket, silence_s: float) -> bool:
    """Whether a peer has left sent bytes unacknowledged for longer than ``silence_s``.

    Always False where the system does not tell (not Linux, not TCP).
    """
    if sys.platform != "linux" or sock.family == socket.AF_UNIX:
        return False
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    except OSError:
        return False  # closed meanwhile, by its owner
    unacked = _UNACKED.unpack_from(info, _UNACKED_AT)[0]
    last_ack_ms = _UNACKED.unpack_from(info, _LAST_ACK_AT)[0]
    # Probes of a closed window that nobody answers: the same as in the engine's liveness.h.
    unanswered = unacked > 0 or info[_PROBES_AT] >= 3
    return unanswered and last_ack_ms > silence_s * 1000
