"""Connections come and go, clean and broken ones mixed: afterwards nothing is left of them.

What is counted: descriptors, threads, tasks, the engine's blocks and memory, the
server's own tables, Python's objects; with ``--soak``, five times as many
connections, and the process's memory.
"""

from __future__ import annotations

import gc
import os
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from h3py import H3, H3Event, running
from tests.backends.ways import Serve
from tests.support.wait import DEADLINE_S, wait_until

CYCLES = 2_000
SOAK_CYCLES = 10_000
# Workers are kept for a while, and which of them is free first is chance.
SPARE_THREADS = 4
PAGE = os.sysconf("SC_PAGE_SIZE")


def application(backend: str) -> H3:
    app = H3()
    app.get("/")(lambda event: "hello")
    app.post("/")(lambda event: event.body)

    @app.get("/parked")
    def parked(event: H3Event) -> None:
        event.start_sse().send_event_nowait("here")

    @app.get("/generator")
    def generator(event: H3Event) -> Iterator[str]:
        yield from ("one", "two", "three")

    @app.get("/endless")
    def endless(event: H3Event) -> Iterator[str]:
        while True:
            yield "x" * 5000

    @app.get("/sleeps")
    def sleeps(event: H3Event) -> None:
        with event.start_sse() as writer:
            writer.on_close(lambda reason: None)
            writer.send_event("here")
            writer.wait(DEADLINE_S)

    @app.get("/fails")
    def fails(event: H3Event) -> str:
        raise LookupError("on purpose")

    if backend == "trio":

        @app.get("/task")
        async def task(event: H3Event) -> str:
            return "hello"

        @app.get("/task-sleeps")
        async def task_sleeps(event: H3Event) -> None:
            async with event.start_sse() as writer:
                await writer.send_event("here")
                await trio.sleep_forever()

    return app


def plans(backend: str) -> list[tuple[bytes, bytes]]:
    """What a client sends, and what it waits for before it leaves."""

    def get(path: str) -> bytes:
        return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()

    found = [
        (b"", b""),
        (b"GET / HT", b""),
        (get("/"), b"hello"),
        (get("/") * 3, b"hello"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab", b""),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde", b"abcde"),
        (b"nonsense\r\n\r\n", b"400"),
        (get("/parked"), b"here"),
        (get("/parked"), b""),
        (get("/generator"), b"three"),
        (get("/endless"), b"xxxx"),
        (get("/sleeps"), b"here"),
        (get("/nowhere"), b"404"),
    ]
    if backend == "trio":
        found += [(get("/task"), b"hello"), (get("/task-sleeps"), b"here")]
    return found


def live_through(address: tuple[str, int], plan: tuple[bytes, bytes], how: str) -> None:
    """One connection, from its beginning to its end."""
    data, marker = plan
    with socket.create_connection(address, timeout=DEADLINE_S) as client:
        client.sendall(data)
        received = b""
        while marker not in received:
            more = client.recv(65536)
            assert more, f"{data!r} was answered with {received!r}"
            received += more
        if how == "rst":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif how == "half":
            client.shutdown(socket.SHUT_WR)


class Count:
    """What there is now."""

    def __init__(self, server: Any, token: trio.lowlevel.TrioToken | None) -> None:
        gc.collect()
        self.descriptors = len(os.listdir("/proc/self/fd"))
        self.threads = len(os.listdir("/proc/self/task"))
        self.tasks = on_loop(token, lambda: trio.lowlevel.current_statistics().tasks_living)
        stats = server.engine.stats()
        self.engine = {
            name: stats[name] for name in ("blocks", "memory_bytes", "watched", "parked")
        }
        self.objects = len(gc.get_objects())
        self.resident = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def on_loop(token: trio.lowlevel.TrioToken | None, ask: Callable[[], int]) -> int:
    if token is None:
        return 0
    answered = threading.Event()
    answer: list[int] = []

    def run() -> None:
        answer.append(ask())
        answered.set()

    token.run_sync_soon(run)
    assert answered.wait(DEADLINE_S)
    return answer[0]


@pytest.mark.parametrize("cycles", [CYCLES, pytest.param(SOAK_CYCLES, marks=pytest.mark.soak)])
def test_nothing_is_left_of_connections_that_have_ended(
    serve_app: Serve, backend: str, cycles: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")  # the log of what fails on purpose is memory, too
    server = serve_app(application(backend), linger_s=0.5)
    token = getattr(server, "token", None)
    chance = random.Random(7)
    todo = plans(backend)

    def live(count: int) -> None:
        for number in range(count):
            plan = todo[number % len(todo)]
            live_through(server.addresses[0], plan, chance.choice(["fin", "rst", "half"]))
        wait_until(
            lambda: (
                server.open_connections == 0
                and server.open_streams == 0
                and not server.driven
                and not server.conversations
            ),
            what="all have ended",
        )

    live(20 * len(todo))  # threads have started, caches are full
    before = Count(server, token)
    live(cycles)
    after = wait_until(lambda: settled_count(server, token, before), what="all is given back")
    assert after.engine["watched"] == after.engine["parked"] == 0
    assert after.objects - before.objects < cycles // 10, "Python objects are left behind"
    assert sum(server.closed_streams.values()) > cycles // 4
    if cycles == SOAK_CYCLES:
        assert after.resident - before.resident < 8 * 1024 * 1024


def settled_count(
    server: Any, token: trio.lowlevel.TrioToken | None, before: Count
) -> Count | None:
    now = Count(server, token)
    same = (
        # What tests before this one left to be collected may go meanwhile.
        now.descriptors <= before.descriptors
        and now.tasks == before.tasks
        and now.engine == before.engine
        and now.threads <= before.threads + SPARE_THREADS
    )
    return now if same else None


def test_a_server_that_has_ended_leaves_nothing(backend: str) -> None:
    """Served and ended ten times: descriptors and threads are those of before."""

    def serve_once() -> None:
        with running(application(backend), backend=backend, linger_s=0.5) as server:
            for plan in plans(backend):
                live_through(server.addresses[0], plan, "fin")

    serve_once()
    descriptors = len(os.listdir("/proc/self/fd"))
    threads = len(os.listdir("/proc/self/task"))
    for _ in range(10):
        serve_once()
    wait_until(lambda: len(os.listdir("/proc/self/task")) <= threads + SPARE_THREADS)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= descriptors
