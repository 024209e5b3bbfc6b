"""A thousand clients in one thread: non-blocking sockets, each read by h3py's own parser.

Each follows its channels, leaves at random (a FIN, a reset, or not before its successor
has come), and returns with the id of the last event it has seen. What each has got, of
each channel, is kept for the test to compare.

Owner: the thread that calls ``run``; ``turn`` may be looked at by others.
"""

from __future__ import annotations

import random
import selectors
import socket
import struct
from collections.abc import Callable, Sequence

from h3py.testing.received import ReceivedStream
from tests.support.wait import DEADLINE_S, Deadline


class Listener:
    """One client, over all its connections.

    Attributes:
        got: The numbers it has got, by channel, in order.
        seen: The id of the last event.
        resets: How often it was told of a loss.
    """

    def __init__(self, name: str, channels: Sequence[str]) -> None:
        self.name = name
        self.channels = channels
        self.got: dict[str, list[int]] = {channel: [] for channel in channels}
        self.seen = ""
        self.resets = 0
        self.connections = 0
        self.socket: socket.socket | None = None
        self.received = ReceivedStream()

    def request(self) -> bytes:
        lines = [
            f"GET /events?channels={','.join(self.channels)}&client={self.name} HTTP/1.1",
            "host: fleet",
        ]
        if self.seen:
            lines.append(f"last-event-id: {self.seen}")
        return "\r\n".join([*lines, "", ""]).encode()

    def feed(self, data: bytes) -> None:
        """Take what came. An event's data is ``<channel> <number>``."""
        self.received.feed(data)
        assert self.received.status in (0, 200), f"{self.name}: {self.received.so_far}"
        while self.received.events:
            event = self.received.events.popleft()
            self.seen = event.last_event_id
            if event.type == "h3py:reset":
                self.resets += 1
            elif event.type == "to":
                channel, _, number = event.data.partition(" ")
                self.got[channel].append(int(number))


class Fleet:
    """The clients, and the thread's loop.

    Args:
        address: Of the server.
        listeners: The clients.
        seed: Of the choice of who leaves, and how.
    """

    def __init__(
        self, address: tuple[str, int], listeners: Sequence[Listener], *, seed: int
    ) -> None:
        self.address = address
        self.listeners = listeners
        self.turn = 0
        self.reconnects = 0
        self._random = random.Random(seed)
        self._selector = selectors.DefaultSelector()

    def connect(self, listener: Listener) -> None:
        sock = socket.create_connection(self.address, timeout=DEADLINE_S)
        sock.sendall(listener.request())
        sock.setblocking(False)
        listener.socket, listener.received = sock, ReceivedStream()
        listener.connections += 1
        self._selector.register(sock, selectors.EVENT_READ, listener)

    def leave(self, listener: Listener, *, reset: bool = False) -> None:
        sock = self._let_go(listener)
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    def return_(self, listener: Listener) -> None:
        """Leave in one of three ways, and come back."""
        self.reconnects += 1
        way = self._random.randrange(3)
        if way < 2:
            self.leave(listener, reset=way == 1)
            self.connect(listener)
        else:
            old = self._let_go(listener)
            self.connect(listener)  # takes over while the old one is open
            old.close()

    def _let_go(self, listener: Listener) -> socket.socket:
        sock = listener.socket
        assert sock is not None
        self._selector.unregister(sock)
        listener.socket = None
        return sock

    def run(self, done: Callable[[], bool], *, leaving: int = 0, deadline_s: float = 60.0) -> None:
        """Read until ``done``; so many clients leave, and return, in each turn."""
        deadline = Deadline(deadline_s)
        while not done():
            assert not deadline.passed, f"not done after {self.turn} turns"
            for key, _ in self._selector.select(0.05):
                listener: Listener = key.data
                if listener.socket is None or key.fileobj is not listener.socket:
                    continue
                self._read(listener)
            for listener in self._random.sample(self.listeners, leaving):
                if listener.seen and listener.socket is not None:
                    self.return_(listener)
            self.turn += 1

    def _read(self, listener: Listener) -> None:
        assert listener.socket is not None
        try:
            data = listener.socket.recv(64 * 1024)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        listener.feed(data)
        if not data:
            # Of two connections that it made in a hurry the server has seen the older one last.
            self.leave(listener)
            self.connect(listener)

    def close(self) -> None:
        for listener in self.listeners:
            if listener.socket is not None:
                self.leave(listener)
        self._selector.close()
