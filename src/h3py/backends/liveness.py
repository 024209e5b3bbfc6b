"""Driven streams, looked after from outside: heartbeats, the slow, the dead.

The pumps do this for parked streams. A driven stream belongs to a handler that
may sleep for an hour, so the sweep does it for them: from the backend's own
thread, a few times a second, on the injected clock.

- *idle*: nothing was sent for ``heartbeat_s``: a comment is sent, if the queue is
  empty and nobody is sending.
- *slow*: a send has been waiting for ``slow_write_s``: warned of and counted once
  per episode; after ``stall_timeout_s`` the stream ends with ``slow``.
- *dead*: bytes are unacknowledged and the last acknowledgement is older than
  ``heartbeat_misses`` heartbeats: it ends with ``timeout``. A peer with a closed
  window still answers probes, so it is slow, not dead.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import TYPE_CHECKING

from h3py.close_reason import CloseReason
from h3py.errors import ConnectionClosed, WriteError

if TYPE_CHECKING:
    from h3py.backends.server import Server
    from h3py.sse.stream import Stream

# struct tcp_info of linux/tcp.h: tcpi_unacked and tcpi_last_ack_recv (milliseconds).
_TCP_INFO_BYTES = 104
_UNACKED = struct.Struct("=I")
_UNACKED_AT = 24
_LAST_ACK_AT = 56


def look_after(server: Server, stream: Stream, now: float) -> None:
    """One look at one driven stream."""
    options = server.options
    blocked = stream.blocked_since
    if blocked is not None:
        if options.stall_timeout_s is not None and now - blocked >= options.stall_timeout_s:
            stream.end(CloseReason.SLOW)
            return
        if now - blocked >= options.slow_write_s and not stream.slow:
            stream.slow = True
            server.found_slow(stream)
    if options.heartbeat_s is None:
        return
    if now - stream.looked_at < options.heartbeat_s:
        return
    idle = stream.event_count == stream.looked_count
    stream.looked_at = now
    stream.looked_count = stream.event_count
    connection = stream.connection
    if connection is None:
        return  # it has just ended
    if is_dead(connection.wire.sock, options.heartbeat_s * options.heartbeat_misses):
        stream.end(CloseReason.TIMEOUT)
    elif idle and connection.streaming and not connection.wire.tls:
        try:
            connection.queue.heartbeat(connection.wire.fd)
        except (ConnectionClosed, WriteError):
            stream.end(CloseReason.CLIENT_CLOSED)


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
    return bool(unacked) and last_ack_ms > silence_s * 1000
