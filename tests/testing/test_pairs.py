"""Pairs: a connection in INIT, and whoever reads at its other end."""

from __future__ import annotations

import os
import socket

import pytest

from h3py import ConnectionState, ThreadConnection, TrioConnection
from h3py.testing import MemoryConnection, memory_pair, socket_pair


def test_in_memory() -> None:
    connection, peer = memory_pair(max_queue_bytes=2048, buffer_bytes=1024)
    assert isinstance(connection, MemoryConnection)
    assert connection.peer is peer
    assert connection.queue.max_queued_bytes == 2048
    assert connection.buffer_bytes == 1024
    assert connection.state is ConnectionState.INIT


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("kind", [TrioConnection, ThreadConnection])
def test_over_sockets(kind: type[TrioConnection] | type[ThreadConnection], tcp: bool) -> None:
    connection, peer = socket_pair(
        kind, max_queue_bytes=2048, buffer_bytes=1024, write_timeout_s=7.0, tcp=tcp
    )
    assert type(connection) is kind
    assert connection.queue.max_queued_bytes == 2048
    assert connection.buffer_bytes == 1024
    with socket.socket(fileno=os.dup(connection.fileno())) as ours:
        assert (ours.family == socket.AF_INET) is tcp
        assert not os.get_blocking(ours.fileno())
    if isinstance(connection, ThreadConnection):
        assert connection.write_timeout_s == 7.0
    connection.begin_stream(b"head", chunked=False)
    assert peer.read(4) == b"head"
    connection.close()
    assert peer.read() == b""
    peer.close()
