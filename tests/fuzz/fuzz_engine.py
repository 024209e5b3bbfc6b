"""A fuzz target for the engine. Its invariant:

    Any calls in any order return, or raise what they are documented to raise; every
    adopted connection is reported closed once, at last; its client has seen whole
    chunks of whole events; and then no memory is left but the log's.

``check`` takes one case as bytes, so that any fuzzer can drive it: each deed takes the
bytes it needs. A long run by hand::

    python -m tests.fuzz.fuzz_engine --rounds 100000 --seed 7
"""

from __future__ import annotations

import argparse
import random
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any

from h3py._speedups.format import SSEEvent
from h3py._speedups.write_queue import WriteQueue
from h3py.close_reason import CLOSE_REASONS
from h3py.errors import BackpressureDetected, BufferFull, ConnectionClosed, ManagerClosed
from tests.speedups.support.rig import Rig, Stream
from tests.speedups.support.wire import Wire

REFUSALS = (BackpressureDetected, BufferFull, ConnectionClosed, ManagerClosed, ValueError)
NAMES = ("a", "b", "c")
POLICIES = ("close", "catch_up", "drop_new", "drop_oldest", "keep_latest")
SIZES = (0, 1, 30, 500, 2500, 6000)
MOST_STREAMS = 12


class Case:
    """One engine, and what the case's bytes do to it."""

    def __init__(self, data: bytes) -> None:
        self.data = iter(data)
        options = self.byte()
        self.rig = Rig(
            pumps=1 + options % 2,
            log_events=(4, 12, 64)[options // 2 % 3],
            max_queue_bytes=3000,
            heartbeat_s=(None, 5.0)[options // 6 % 2],
            stall_timeout_s=(None, 20.0)[options // 12 % 2],
            paging=bool(options // 24 % 2),
            half_close=("close", "allow")[options // 48 % 2],
            max_discard_bytes=100,
        )
        self.pumps = 1 + options % 2
        self.handles = [0, 1, 1 << 40]
        self.adopted: list[int] = []
        self.watched: dict[int, socket.socket] = {}
        self.indirect: dict[int, Wire] = {}

    def byte(self) -> int:
        """The next byte; 0 when there are none left."""
        return next(self.data, 0)

    def pick(self, what: Any) -> Any:
        found = tuple(what)
        return found[self.byte() % len(found)]

    def names(self) -> list[str]:
        bits = self.byte()
        return [name for number, name in enumerate(NAMES) if bits >> number & 1]

    def stream(self) -> Stream | None:
        return self.pick(self.rig.streams) if self.rig.streams else None

    def reason(self) -> int:
        return self.byte() % (len(CLOSE_REASONS) + 2)

    def piece(self) -> SSEEvent:
        return SSEEvent("x" * self.pick(SIZES))

    # -- the deeds ---------------------------------------------------------------------

    def adopt(self) -> None:
        if len(self.adopted) >= MOST_STREAMS:
            return
        how = self.byte()
        options: dict[str, Any] = {"policy": POLICIES[how % 5]}
        if how & 16:
            options |= {"max_age_s": 3.0, "age_reason": 1 + how % 12}
        if how & 32:
            options |= {"lease_s": 2.0}
        if how & 64:
            options |= {"heartbeat": False, "owner": None}
        stream = self.rig.adopt(tiny=bool(how & 128), **options)
        self.handles.append(stream.handle)
        self.adopted.append(stream.handle)

    def adopt_indirect(self) -> None:
        if len(self.adopted) < MOST_STREAMS:
            handle = self.rig.engine.adopt(
                -1, "owner", WriteQueue(chunked=True), chunked=True, indirect=True
            )
            self.handles.append(handle)
            self.adopted.append(handle)
            self.indirect[handle] = Wire()

    def watch(self) -> None:
        if len(self.watched) < 4:
            ours, theirs = self.rig.pair()
            self.rig.watched += [ours, theirs]
            handle = self.rig.engine.watch(ours.fileno(), "owner", discard=bool(self.byte() & 1))
            self.watched[handle] = ours
            self.handles.append(handle)

    def adopt_watched(self) -> None:
        if self.watched:
            handle = self.pick(self.watched)
            ours = self.watched[handle]
            self.rig.engine.adopt(
                ours.fileno(), "owner", WriteQueue(chunked=True), chunked=True, handle=handle,
                close_fd=False,
            )  # fmt: skip
            del self.watched[handle]
            self.adopted.append(handle)

    def unwatch(self) -> None:
        handle = self.pick(self.handles)
        self.rig.engine.unwatch(handle)
        self.watched.pop(handle, None)

    def want_writable(self) -> None:
        handle = self.pick(self.handles)
        assert self.rig.engine.want_writable(handle) == (handle in self.watched)

    def subscribe(self) -> None:
        how = self.byte()
        terms: dict[str, Any] = {"policy": POLICIES[how % 5], "notices": bool(how & 8)}
        if how & 16:
            terms["position"] = max(0, self.rig.engine.head - self.byte() % 20)
        elif how & 32:
            terms["lost"] = True
        if how & 64:
            terms["client"] = self.pick(NAMES)
        if how & 128:
            terms["where"] = {"k": [self.pick(NAMES)]}
        self.rig.engine.subscribe(self.pick(self.handles), channels=self.names(), **terms)

    def join(self) -> None:
        self.rig.engine.join(self.pick(self.handles), channels=self.names(), users=self.names())

    def leave(self) -> None:
        self.rig.engine.leave(self.pick(self.handles), channels=self.names(), users=self.names())

    def publish(self) -> None:
        how = self.byte()
        for _ in range(1 + how % 16):
            self.rig.engine.publish(
                self.piece(), everyone=bool(how & 32), channels=self.names(),
                clients=self.names(), key=self.pick((None, *NAMES)),
                metadata={"k": self.pick(NAMES)} if how & 64 else None, with_id=bool(how & 128),
            )  # fmt: skip

    def send(self) -> None:
        self.rig.engine.send(self.pick(self.handles), self.piece())

    def page(self) -> None:
        position = self.pick((None, self.rig.engine.tail - 1, self.byte()))
        events = [(n + 1, self.piece()) for n in range(self.byte() % 3)]
        self.rig.engine.page(self.pick(self.handles), events, position)

    def close(self) -> None:
        self.rig.engine.close(self.pick(self.handles), self.reason(), flush=bool(self.byte() & 1))

    def look(self) -> None:
        handle = self.pick(self.handles)
        self.rig.engine.touch(handle)
        assert self.rig.engine.queued_bytes(handle) >= 0
        info = self.rig.engine.info(handle)
        if info is not None and info["state"] != "watched":
            assert info["idle_s"] >= 0
        self.rig.engine.ask_room()
        self.rig.engine.drain(0, lagging=True)

    def take(self) -> None:
        if self.indirect:
            handle = self.pick(self.indirect)
            data = self.rig.engine.take(handle, 1 + self.byte() * 10)
            if data:
                self.indirect[handle].feed(data)

    def read(self) -> None:
        stream = self.stream()
        if stream is not None and not stream.lost:
            stream.read(1 + self.byte() * 100)

    def client_does(self) -> None:
        stream = self.stream()
        if stream is None or stream.lost:
            return
        deed = self.byte() % 3
        try:
            if deed == 0:
                stream.client.shutdown(socket.SHUT_WR)
            elif deed == 1:
                stream.client.send(b"x" * 60)
            else:
                stream.lost = True
                stream.client.close()
        except OSError:
            stream.lost = True  # it was cut

    def step(self) -> None:
        self.rig.step(1 + self.byte() % 3)

    def time_passes(self) -> None:
        self.rig.clock.advance((0.1, 1.0, 6.0, 30.0)[self.byte() % 4])

    def shut_down(self) -> None:
        if self.byte() % 4 == 0:
            words = [b"retry: %d\n\n" % n for n in range(self.byte() % 18)]
            self.rig.engine.shutdown(
                reason=self.reason(), farewell=words, window_s=2.0, deadline_s=5.0
            )

    def run(self) -> None:
        deeds: list[Callable[[], None]] = [
            self.adopt, self.adopt_indirect, self.watch, self.adopt_watched, self.unwatch,
            self.want_writable, self.subscribe, self.subscribe, self.join, self.leave,
            self.publish, self.publish, self.send, self.page, self.close, self.look, self.take,
            self.read, self.client_does, self.step, self.step, self.time_passes, self.shut_down,
        ]  # fmt: skip
        for deed in self.data:
            try:
                deeds[deed % len(deeds)]()
            except REFUSALS:
                pass

    def finish(self) -> None:
        """End what is left, and see that nothing stays."""
        for handle in tuple(self.watched):
            self.rig.engine.unwatch(handle)
        self.rig.engine.close_all(1)
        for stream in self.rig.streams:
            if not stream.lost:
                stream.read()
            stream.client.close()
        self.rig.step(3)
        self.rig.engine.shut_down()
        self.rig.take_reports()
        closed = Counter(report.handle for report in self.rig.reported if report.kind == "closed")
        assert closed == Counter(self.adopted)
        last = {report.handle: report.kind for report in self.rig.reported if report.handle}
        assert all(last[handle] == "closed" for handle in self.adopted)
        stats = self.rig.engine.stats()
        assert stats["parked"] == stats["watched"] == 0
        rest = stats["blocks"] - stats["log_events"] - self.pumps
        # Heartbeats and farewells are the engine's until it is freed.
        assert 0 <= rest <= self.pumps + 16


def check(case: bytes) -> None:
    """Do what a case says, and see that the invariant holds."""
    made = Case(case)
    with made.rig:
        made.run()
        made.finish()


def run(rounds: int, seed: int, most: int = 400) -> None:
    """So many random cases; the same ones for the same seed."""
    chance = random.Random(seed)
    for number in range(rounds):
        case = chance.randbytes(chance.randrange(most))
        try:
            check(case)
        except BaseException:
            print(f"round {number} of seed {seed}: {case!r}")  # noqa: T201  # for a run by hand
            raise


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    run(arguments.rounds, arguments.seed)
