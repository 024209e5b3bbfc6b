"""A server of the test's own for the load client, and the bytes it sends."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DEADLINE_S = 60.0
ROOT = Path(__file__).resolve().parents[2]

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One HTTP/1.1 chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST = b"0\r\n\r\n"

Run = Callable[..., dict[str, Any]]
"""Runs the load client to its end; gives the object that it printed last."""


@contextmanager
def serving(answer: Callable[[socket.socket], None], connections: int = 1) -> Iterator[int]:
    """A server that lets ``answer`` have each of its connections in turn; gives its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(DEADLINE_S)

    def run() -> None:
        for _ in range(connections):
            connection, _address = listener.accept()
            connection.settimeout(DEADLINE_S)
            with connection:
                answer(connection)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        thread.join(DEADLINE_S)
        listener.close()


def read_request(connection: socket.socket) -> bytes:
    """The head of one request."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        got = connection.recv(1)
        assert got, "the client left in the middle of its request"
        head += got
    return head
