"""Accepting: what happens to connections that cannot be taken, and to those that break first."""

from __future__ import annotations

import logging
import os
import resource
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from h3py import H3
from tests.backends.ways import Serve
from tests.support.client import Client
from tests.support.wait import wait_until


@contextmanager
def no_descriptors_left() -> Iterator[None]:
    """The process can open nothing more while the block runs."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    spare: list[socket.socket] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, before[1]))
    try:
        while True:
            try:
                spare.append(socket.socket())
            except OSError:
                break
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for item in spare:
            item.close()


def test_without_descriptors_accepting_pauses_and_recovers(
    serve_app: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is lost: who connected meanwhile is served when there is room again."""
    app = H3()
    app.get("/")(lambda event: "hello")
    server = serve_app(app)
    with Client(server.addresses[0]) as other, socket.socket() as late:
        assert other.get("/").text == "hello"
        with no_descriptors_left():
            late.setblocking(False)
            late.connect_ex(server.addresses[0])
            wait_until(lambda: "cannot accept connections" in caplog.text)
            assert other.get("/").text == "hello", "the others are served meanwhile"
        late.settimeout(15)
        late.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while data := late.recv(65536):
            answer += data
        assert answer.endswith(b"hello")
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(told) == 1, "once, not at each try"
    wait_until(lambda: server.open_connections == 0)


def test_connections_that_break_before_they_are_accepted(serve_app: Serve) -> None:
    app = H3()
    app.get("/")(lambda event: "hello")
    server = serve_app(app)
    for _ in range(50):
        broken = socket.create_connection(server.addresses[0])
        broken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        broken.close()
    with Client(server.addresses[0]) as client:
        assert client.get("/").text == "hello"
    wait_until(lambda: server.open_connections == 0)


def test_more_at_once_than_are_taken_in_one_go(serve_app: Serve) -> None:
    app = H3()
    app.get("/")(lambda event: "hello")
    server = serve_app(app)
    clients = [Client(server.addresses[0]) for _ in range(200)]
    for client in clients:
        client.request("GET", "/")
    for client in clients:
        assert client.read_reply().text == "hello"
        client.close()
    wait_until(lambda: server.open_connections == 0)
