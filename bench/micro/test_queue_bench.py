"""What queueing and sending cost a driven stream, and whether giving up the GIL pays.

    python -m pytest bench/micro/test_queue_bench.py

``send_event`` is measured over loopback TCP to a process that reads and forgets. The
last group lets several threads drive a stream each, once with the GIL kept while
sending and once without it (``release_gil``): the figure is events per second of
all together.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from h3py._speedups.format import SSEEvent
from h3py._speedups.write_queue import WriteQueue

SIZES = {"100 B": 100, "1 KB": 1024, "4 KB": 4096, "16 KB": 16384}
READER = """
import selectors, socket, sys
listener = socket.create_server(("127.0.0.1", 0), backlog=64)
print(listener.getsockname()[1], flush=True)
waiting = selectors.DefaultSelector()
waiting.register(listener, selectors.EVENT_READ)
room = bytearray(1 << 20)
while True:
    for key, _ in waiting.select():
        if key.fileobj is listener:
            waiting.register(listener.accept()[0], selectors.EVENT_READ)
        elif not key.fileobj.recv_into(room):
            waiting.unregister(key.fileobj)
            key.fileobj.close()
"""

Connect = Callable[[], socket.socket]


@pytest.fixture(scope="module")
def connect() -> Iterator[Connect]:
    """Connections to a process that reads everything."""
    reader = subprocess.Popen([sys.executable, "-c", READER], stdout=subprocess.PIPE, text=True)
    assert reader.stdout is not None
    port = int(reader.stdout.readline())
    made: list[socket.socket] = []

    def one() -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.append(connection)
        return connection

    yield one
    for connection in made:
        connection.close()
    reader.terminate()
    reader.wait()
    reader.stdout.close()


@pytest.mark.benchmark(group="WriteQueue without a socket")
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_append_event_and_take(benchmark: Any, size: int) -> None:
    queue = WriteQueue(chunked=True, max_bytes=1 << 30)
    event = SSEEvent("x" * size)

    def round_trip() -> None:
        queue.append_event(event)
        queue.take(1 << 20)

    benchmark(round_trip)


@pytest.mark.benchmark(group="WriteQueue without a socket")
def test_append_ten_and_take(benchmark: Any) -> None:
    """Small events that wait share a block."""
    queue = WriteQueue(chunked=True)
    event = SSEEvent("x" * 100)

    def round_trip() -> None:
        for _ in range(10):
            queue.append_event(event)
        queue.take(1 << 20)

    benchmark(round_trip)


def drive(queue: WriteQueue, connection: socket.socket, event: SSEEvent, count: int) -> None:
    """Send so many events one by one; a full socket is waited for."""
    fd = connection.fileno()
    for _ in range(count):
        if not queue.send_event(fd, event):
            connection.setblocking(True)
            while not queue.send(fd):
                threading.Event().wait(0.0005)


@pytest.mark.benchmark(group="WriteQueue.send_event")
@pytest.mark.parametrize("release_gil", [False, True], ids=["keeping the GIL", "releasing it"])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_send_event(benchmark: Any, connect: Connect, size: int, release_gil: bool) -> None:
    connection = connect()
    queue = WriteQueue(chunked=True, release_gil=release_gil)
    event = SSEEvent("x" * size)
    count = 2000
    benchmark.pedantic(drive, args=(queue, connection, event, count), rounds=7, warmup_rounds=1)
    benchmark.extra_info["events_per_s"] = round(count / benchmark.stats.stats.median)


@pytest.mark.benchmark(group="threads that drive a stream each")
@pytest.mark.parametrize("release_gil", [False, True], ids=["keeping the GIL", "releasing it"])
@pytest.mark.parametrize("threads", [2, 8])
@pytest.mark.parametrize("size", [1024, 16384], ids=["1 KB", "16 KB"])
def test_threads(
    benchmark: Any, connect: Connect, size: int, threads: int, release_gil: bool
) -> None:
    event = SSEEvent("x" * size)
    pairs = [(WriteQueue(chunked=True, release_gil=release_gil), connect()) for _ in range(threads)]
    count = 4000 // threads

    def all_at_once() -> None:
        running = [
            threading.Thread(target=drive, args=(queue, connection, event, count))
            for queue, connection in pairs
        ]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()

    benchmark.pedantic(all_at_once, rounds=7, warmup_rounds=1)
    benchmark.extra_info["events_per_s"] = round(4000 / benchmark.stats.stats.median)
