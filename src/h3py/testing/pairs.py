"""A connection and its peer: what ``check_connection`` is given, and others may use.

Owner: one test, in one thread at a time; it closes both ends.
"""

from __future__ import annotations

import socket
from typing import NamedTuple

from h3py._speedups.write_queue import WriteQueue
from h3py.connection import ThreadConnection, TrioConnection, plain
from h3py.testing.memory import MemoryConnection
from h3py.testing.reader import SocketReader
from h3py.testing.received import StreamReader


class Pair(NamedTuple):
    """A fresh connection in INIT, and its peer."""

    connection: TrioConnection | ThreadConnection | MemoryConnection
    peer: StreamReader


def memory_pair(*, max_queue_bytes: int = 64 * 1024, buffer_bytes: int = 8 * 1024) -> Pair:
    """A ``MemoryConnection`` and its peer."""
    connection = MemoryConnection(max_queue_bytes=max_queue_bytes, buffer_bytes=buffer_bytes)
    return Pair(connection, connection.peer)


def socket_pair(
    kind: type[TrioConnection] | type[ThreadConnection],
    *,
    max_queue_bytes: int = 64 * 1024,
    buffer_bytes: int = 8 * 1024,
    max_event_bytes: int = 16 * 1024 * 1024,
    write_timeout_s: float = 0.0,
    tcp: bool = False,
) -> Pair:
    """A connection of one of the real kinds, over a connected pair of sockets.

    Args:
        kind: ``TrioConnection`` or ``ThreadConnection``.
        max_queue_bytes: The cap of the write queue.
        buffer_bytes: Small writes are gathered up to this size.
        max_event_bytes: One event.
        write_timeout_s: How long a ``ThreadConnection`` waits for room. 0: not at all, so
            that a full queue shows as it does elsewhere.
        tcp: Over loopback instead of a Unix socket pair.
    """
    ours, theirs = _tcp_pair() if tcp else socket.socketpair()
    queue = WriteQueue(
        max_bytes=max_queue_bytes, gather_bytes=buffer_bytes, max_event_bytes=max_event_bytes
    )
    connection: TrioConnection | ThreadConnection
    if kind is ThreadConnection:
        connection = ThreadConnection(
            plain(ours), queue, buffer_bytes=buffer_bytes, write_timeout_s=write_timeout_s
        )
    else:
        connection = TrioConnection(plain(ours), queue, buffer_bytes=buffer_bytes)
    return Pair(connection, SocketReader(theirs))


def _tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    return ours, theirs
