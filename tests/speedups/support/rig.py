"""An engine that is stepped by the test, on a clock in its hand, and the clients of its streams.

Nothing here waits or sleeps: ``settle`` runs rounds until nothing moves any more.
The engine is closed at the end, and then holds no block of any stream.
"""

from __future__ import annotations

import socket
from typing import Any

from h3py._speedups.clock import Clock
from h3py._speedups.engine import Engine
from h3py._speedups.format import SSEEvent
from h3py._speedups.reporting import Report
from h3py._speedups.write_queue import WriteQueue
from h3py.close_reason import CloseReason
from tests.speedups.support.wire import Received, Wire

TINY = 4096
"""Bytes that the system is asked to buffer; it gives a little more."""

ROUNDS = 2000
"""More rounds than anything here takes: what still moves then never ends."""


class Owner:
    """What the engine is given as a connection's owner."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<owner {self.name}>"


class Stream:
    """A parked stream and its client's end."""

    def __init__(self, rig: Rig, ours: socket.socket, theirs: socket.socket, name: str) -> None:
        self.rig = rig
        self.client = theirs
        self.owner = Owner(name)
        self.wire = Wire()
        self.eof = False
        self.lost = False
        self.handle = 0
        self.fd = ours.fileno()

    @property
    def state(self) -> str:
        """As the engine tells; ``"gone"`` for a stale handle."""
        info = self.rig.engine.info(self.handle)
        return "gone" if info is None else str(info["state"])

    @property
    def info(self) -> dict[str, Any]:
        info = self.rig.engine.info(self.handle)
        assert info is not None
        return info

    def read(self, at_most: int = 1 << 20) -> int:
        """Read what has come, at most so much; returns how much that was."""
        got = 0
        while got < at_most and not self.eof and not self.lost:
            try:
                data = self.client.recv(min(65536, at_most - got))
            except BlockingIOError:
                break
            except ConnectionError:
                self.lost = True
                break
            if not data:
                self.eof = True
                break
            got += len(data)
            self.wire.feed(data)
        return got

    @property
    def events(self) -> list[Received]:
        return self.wire.events

    @property
    def data(self) -> list[str]:
        return self.wire.data

    @property
    def reports(self) -> list[Report]:
        """What was reported of it."""
        return [report for report in self.rig.reported if report.handle == self.handle]

    @property
    def kinds(self) -> list[str]:
        return [report.kind for report in self.reports]

    @property
    def closed_as(self) -> CloseReason | None:
        """Its close reason; None while it is open."""
        found = [report for report in self.reports if report.kind == "closed"]
        assert len(found) <= 1, "a stream is reported closed once"
        return list(CloseReason)[found[0].reason - 1] if found else None


class Rig:
    """A stepped engine with everything around it."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        defaults: dict[str, Any] = {"heartbeat_s": None, "stall_timeout_s": None, "epoch": 7}
        self.engine = Engine(threaded=False, clock=self.clock, **{**defaults, **options})
        self.streams: list[Stream] = []
        self.reported: list[Report] = []
        self.watched: list[socket.socket] = []

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *raised: object) -> None:
        self.engine.shut_down()
        self.take_reports()
        for stream in self.streams:
            stream.client.close()
        for ours in self.watched:
            ours.close()

    def pair(self, *, tiny: bool = False) -> tuple[socket.socket, socket.socket]:
        """Two ends of a connection, neither of which waits."""
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
            if tiny:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, TINY)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, TINY)
        return ours, theirs

    def adopt(
        self, *, tiny: bool = False, queue: WriteQueue | None = None, **options: Any
    ) -> Stream:
        """A stream that the engine has adopted, in no group."""
        ours, theirs = self.pair(tiny=tiny)
        stream = Stream(self, ours, theirs, f"stream-{len(self.streams)}")
        chunked = options.pop("chunked", True)
        owner = options.pop("owner", stream.owner)
        stream.wire.chunked = chunked
        stream.handle = self.engine.adopt(
            ours.fileno(), owner, queue or WriteQueue(chunked=chunked), chunked=chunked, **options
        )
        ours.detach()
        self.streams.append(stream)
        return stream

    def stream(
        self, *, tiny: bool = False, adopt: dict[str, Any] | None = None, **terms: Any
    ) -> Stream:
        """A subscribed stream that is live; ``catch_up`` unless told otherwise."""
        stream = self.adopt(tiny=tiny, **(adopt or {}))
        self.engine.subscribe(stream.handle, **{"policy": "catch_up", **terms})
        self.step()
        return stream

    def publish(self, data: str, **targets: Any) -> int:
        """Publish, to everyone unless told otherwise; the sequence."""
        return self.engine.publish(SSEEvent(data), **(targets or {"everyone": True}))[0]

    def step(self, rounds: int = 1) -> None:
        for _ in range(rounds):
            self.engine.step()
            self.take_reports()

    def take_reports(self) -> list[Report]:
        reports = self.engine.reports()
        self.reported.extend(reports)
        return reports

    def settle(self, *, read: bool = True) -> None:
        """Run rounds, with every client reading or none, until nothing moves."""
        still = 0
        for _ in range(ROUNDS):
            more = self.engine.step()
            reports = self.take_reports()
            got = sum(stream.read() for stream in self.streams) if read else 0
            still = 0 if more or reports or got else still + 1
            if still == 3:
                return
        raise AssertionError("the engine does not come to rest")

    def fill(self, stream: Stream, state: str, size: int = 700) -> list[str]:
        """Publish to everyone until the stream, whose client does not read, is in a state."""
        sent = []
        while stream.state != state:
            assert len(sent) < 500, f"{stream.state} does not become {state}"
            data = f"fill-{len(sent)}-".ljust(size, "x")
            self.publish(data)
            sent.append(data)
            self.step()
        return sent
