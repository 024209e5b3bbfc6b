"""An engine with its threads, and clients on real connections that check every event.

Each event says who made it, its number with that maker, and a checksum of its
padding; a client sees at once what is lost, doubled, torn or out of order.
"""

from __future__ import annotations

import selectors
import socket
import threading
import zlib
from collections import defaultdict
from typing import Any

from h3py._speedups.engine import Engine
from h3py._speedups.format import SSEEvent
from h3py._speedups.reporting import Report
from h3py._speedups.write_queue import WriteQueue
from h3py.errors import BackpressureDetected, BufferFull
from tests.speedups.support.wire import Received, Wire
from tests.support.wait import DEADLINE_S, Deadline, wait_until

PAD = "0123456789abcdef" * 64


def stamped(maker: str, number: int, size: int = 40) -> str:
    """The data of an event that can be checked."""
    pad = PAD[number % 16 : number % 16 + size]
    return f"{maker} {number} {zlib.crc32(pad.encode())} {pad}"


def loopback() -> tuple[socket.socket, socket.socket]:
    """Both ends of a TCP connection; neither waits."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    for end in (ours, theirs):
        end.setblocking(False)
    ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ours, theirs


class Client:
    """The client of one stream. Read by one thread; looked at by others when that is over."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.wire = Wire()
        self.seen: dict[str, list[int]] = defaultdict(list)
        self.sequences: list[int] = []
        self.resets = 0
        self.eof = False
        self.handle = 0
        self._checked = 0

    def read(self) -> None:
        """Read what there is, and check it."""
        try:
            data = self.connection.recv(1 << 16)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self.eof = True
            return
        self.feed(data)

    def feed(self, data: bytes) -> None:
        """Check what has come."""
        self.wire.feed(data)
        events = self.wire.events
        for event in events[self._checked :]:
            self.check(event)
        self._checked = len(events)

    def check(self, event: Received) -> None:
        if event.id is not None:
            self.sequences.append(event.sequence)
        if event.event == "h3py:reset":
            self.resets += 1
            return
        if event.data is None:
            return
        maker, number, checksum, pad = event.data.split(" ")
        assert zlib.crc32(pad.encode()) == int(checksum), "a torn event"
        self.seen[maker].append(int(number))

    def count(self, maker: str) -> int:
        return len(self.seen[maker])


class Running:
    """A running engine, a thread that reads for all clients, and one that takes the reports."""

    def __init__(self, **options: Any) -> None:
        self.engine = Engine(**{"heartbeat_s": None, "stall_timeout_s": None, **options})
        self.clients: list[Client] = []
        self.reported: list[Report] = []
        self.failures: list[BaseException] = []
        self._selector = selectors.DefaultSelector()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._guarded, args=(part,))
            for part in (self._read_all, self._take_reports)
        ]

    def __enter__(self) -> Running:
        self.engine.start()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.engine.shut_down()
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.reported += self.engine.reports(1 << 30)
        for client in self.clients:
            client.connection.close()
        self._selector.close()
        if not any(raised):
            assert self.failures == []

    def _guarded(self, part: Any) -> None:
        try:
            part()
        except BaseException as failure:
            self.failures.append(failure)

    def _read_all(self) -> None:
        while not self._stop.is_set():
            for key, _ in self._selector.select(0.02):
                key.data.read()
                if key.data.eof:
                    self._selector.unregister(key.fileobj)

    def _take_reports(self) -> None:
        with selectors.DefaultSelector() as waiting:
            waiting.register(self.engine.report_fd, selectors.EVENT_READ)
            while not self._stop.is_set():
                if waiting.select(0.02):
                    self.reported += self.engine.reports()

    def client(self, *, tcp: bool = True, read: bool = True, **terms: Any) -> Client:
        """A subscribed stream over loopback (or a socket pair), read from now on, or not yet."""
        ours, theirs = loopback() if tcp else socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        client = Client(theirs)
        try:
            client.handle = self.engine.adopt(
                ours.fileno(), client, WriteQueue(chunked=True), chunked=True
            )
        except BaseException:
            ours.close()
            theirs.close()
            raise
        ours.detach()
        self.clients.append(client)
        self.engine.subscribe(client.handle, **{"policy": "catch_up", **terms})
        if read:
            self.read(client)
        return client

    def read(self, client: Client) -> None:
        """Let the reading thread read for it."""
        self._selector.register(client.connection, selectors.EVENT_READ, client)

    def publish(self, maker: str, count: int, **targets: Any) -> None:
        """Publish so many events, to everyone unless told otherwise, waiting for room."""
        for number in range(count):
            event = SSEEvent(stamped(maker, number))
            while True:
                try:
                    self.engine.publish(event, **(targets or {"everyone": True}))
                    break
                except BackpressureDetected:
                    self.engine.drain(1.0)

    def send(self, client: Client, maker: str, count: int) -> None:
        """Send so many events to one client, waiting for room in its queue."""
        for number in range(count):
            piece = SSEEvent(stamped(maker, number))
            while True:
                try:
                    self.engine.send(client.handle, piece)
                    break
                except BufferFull:
                    self.engine.drain(0.001)

    def kinds(self, handle: int) -> list[str]:
        return [report.kind for report in self.reported if report.handle == handle]

    def wait(self, condition: Any, what: str, *, deadline_s: float = DEADLINE_S) -> None:
        """Until it is so, or a thread has failed."""
        wait_until(lambda: bool(self.failures) or condition(), what=what, deadline_s=deadline_s)
        assert self.failures == []

    def together(self, *parts: Any) -> None:
        """Run functions in a thread each, all at once, to their end."""
        gate = threading.Barrier(len(parts))

        def run(part: Any) -> None:
            gate.wait()
            part()

        threads = [
            threading.Thread(target=self._guarded, args=(lambda part=part: run(part),))
            for part in parts
        ]
        for thread in threads:
            thread.start()
        deadline = Deadline(120)
        for thread in threads:
            thread.join(deadline.left_s)
            assert not thread.is_alive(), "a thread does not end"
        assert self.failures == []
