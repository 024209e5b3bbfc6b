"""The engine against a model that is a list per stream, under random use.

The model knows what each stream is to receive, in which order: an entry of the log
for every event that addressed it, and every piece that was sent to it. What its
client reads is compared with that, entry by entry, as it arrives. Leaving something
out is legal only with a reason: a reset (and then something of its own was lost), a
policy that drops (and then it was counted), or the stream's end.
"""

from __future__ import annotations

import errno
import random
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from h3py._speedups.block import plan_fault
from h3py._speedups.format import SSEEvent
from h3py.close_reason import CloseReason
from h3py.errors import BackpressureDetected, BufferFull, ConnectionClosed
from tests.speedups.support.rig import Rig, Stream
from tests.speedups.support.wire import Received

LOG_EVENTS = 10
CAP = 3000
CHANNELS = ("a", "b", "c")
POLICIES = ("catch_up", "catch_up", "close", "drop_new", "drop_oldest", "keep_latest")
DROPPING = ("drop_new", "drop_oldest", "keep_latest")

channels = st.sets(st.sampled_from(CHANNELS), max_size=3)
mostly = st.sampled_from([True, True, True, False])
sizes = st.sampled_from([0, 10, 400, 900, 2500, 5000])


@dataclass
class Entry:
    """One piece that a stream is to receive; ``sequence`` 0: it was sent to it alone."""

    sequence: int
    data: str


@dataclass
class Modelled:
    """One stream as the model sees it."""

    stream: Stream
    policy: str
    groups: set[str]
    due: list[Entry] = field(default_factory=list)
    read: int = 0
    """How many blocks of the wire have been compared."""
    at: int = 0
    """How many entries have been received or left out."""
    left_out: int = 0
    ending: bool = False
    cut: bool = False
    """The client left, or the end was not a gentle one: the tail may be missing."""

    def compare(self) -> None:
        """Compare what came since the last time."""
        for block in self.stream.events[self.read :]:
            self.read += 1
            self.take(block)

    def take(self, block: Received) -> None:
        if block.event == "h3py:reset":
            self.take_reset(block)
            return
        if block.comment and block.data is None:
            return
        sequence = block.sequence if block.id is not None else 0
        while self.at < len(self.due) and self.policy in DROPPING:
            if self.due[self.at] == Entry(sequence, block.data or ""):
                break
            assert self.due[self.at].sequence, "a piece that was sent to one stream was dropped"
            self.left_out += 1
            self.at += 1
        assert self.at < len(self.due), f"nothing was due, but {block} came"
        assert self.due[self.at] == Entry(sequence, block.data or "")
        self.at += 1

    def take_reset(self, block: Received) -> None:
        """Everything up to the head it names counts as seen; something of it was not."""
        lost = [entry for entry in self.due[self.at :] if 0 < entry.sequence <= block.sequence]
        assert lost, f"a reset to {block.sequence}, but nothing was lost"
        self.due[self.at :] = [entry for entry in self.due[self.at :] if entry not in lost]


class EngineMachine(RuleBasedStateMachine):
    """Rules: what an application, clients and time do to an engine."""

    pumps = 1
    faults = False
    """Sends that fail or are short, and allocations that fail in a pump."""

    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig(pumps=self.pumps, log_events=LOG_EVENTS, max_queue_bytes=CAP, linger_s=5.0)
        self.streams: list[Modelled] = []
        self.history: list[tuple[int, set[str], str]] = []
        self.count = 0
        self.chance = random.Random(0)

    @initialize(seed=st.integers(0, 1 << 16))
    def seed(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def payload(self, size: int) -> str:
        self.count += 1
        return f"{self.count}-".ljust(size, "abcdefg"[self.count % 7])

    def open(self) -> list[Modelled]:
        return [model for model in self.streams if not model.ending]

    def some(self) -> Modelled:
        return self.chance.choice(self.open())

    # -- what applications do ----------------------------------------------------------

    @rule(
        policy=st.sampled_from(POLICIES), names=channels, everyone=mostly, back=st.integers(-1, 12)
    )
    def subscribe(self, policy: str, names: set[str], everyone: bool, back: int) -> None:
        if len(self.open()) >= 6:
            return
        stream = self.rig.adopt(tiny=True)
        model = Modelled(stream, policy, {*names, *(["*"] if everyone else [])})
        terms: dict[str, Any] = {}
        if back >= 0:
            position = max(0, self.rig.engine.head - back)
            terms["position"] = position
            model.due = [
                Entry(sequence, data)
                for sequence, targets, data in self.history
                if sequence > position and targets & model.groups
            ]
        self.rig.engine.subscribe(
            stream.handle, channels=names, everyone=everyone, policy=policy, **terms
        )
        self.streams.append(model)

    @rule(names=channels, everyone=mostly, size=sizes, key=st.sampled_from([None, "k", "l"]))
    def publish(self, names: set[str], everyone: bool, size: int, key: str | None) -> None:
        self.publish_one(names, everyone, size, key)

    @rule(count=st.integers(2, 2 * LOG_EVENTS), everyone=mostly, size=sizes, stepped=st.booleans())
    def publish_many(self, count: int, everyone: bool, size: int, stepped: bool) -> None:
        """So many that the log forgets, or that they leave together."""
        for _ in range(count):
            self.publish_one({"a"}, everyone, size, None)
            if stepped:
                self.rig.step()

    def publish_one(self, names: set[str], everyone: bool, size: int, key: str | None) -> None:
        if not names and not everyone:
            everyone = True
        data = self.payload(size)
        targets = {*names, *(["*"] if everyone else [])}
        try:
            sequence, addressed = self.rig.engine.publish(
                SSEEvent(data), channels=names, everyone=everyone, key=key
            )
        except BackpressureDetected:
            # Only while a pump has yet to walk the oldest entry.
            self.rig.step()
            return
        assert sequence == self.rig.engine.head
        members = [model for model in self.streams if model.groups & targets]
        # The engine may not know yet that a client has left, nor the model that a policy closed.
        known = [model for model in members if self.rig.engine.is_open(model.stream.handle)]
        assert addressed == len(known)
        for model in members:
            if not model.ending:
                model.due.append(Entry(sequence, data))
        self.history.append((sequence, targets, data))

    @precondition(lambda self: self.open())
    @rule(size=sizes)
    def send(self, size: int) -> None:
        model = self.some()
        data = self.payload(size)
        try:
            self.rig.engine.send(model.stream.handle, SSEEvent(data))
        except BufferFull:
            return
        except ConnectionClosed:
            model.ending = model.cut = True
            return
        model.due.append(Entry(0, data))

    @precondition(lambda self: self.open())
    @rule(names=channels)
    def join(self, names: set[str]) -> None:
        model = self.some()
        try:
            self.rig.engine.join(model.stream.handle, channels=names)
        except ConnectionClosed:
            model.ending = model.cut = True
            return
        model.groups |= names

    @precondition(lambda self: self.open())
    @rule(names=channels)
    def leave(self, names: set[str]) -> None:
        model = self.some()
        self.rig.engine.leave(model.stream.handle, channels=names)
        model.groups -= names

    @precondition(lambda self: self.open())
    @rule(flush=st.booleans())
    def close(self, flush: bool) -> None:
        model = self.some()
        if not self.rig.engine.close(model.stream.handle, CloseReason.KICKED.code, flush=flush):
            model.cut = True
        model.ending = True
        model.cut = model.cut or not flush

    # -- what clients and time do ------------------------------------------------------

    @precondition(lambda self: self.streams)
    @rule(at_most=st.sampled_from([1, 100, 3000, 100000]))
    def read(self, at_most: int) -> None:
        model = self.chance.choice(self.streams)
        model.stream.read(at_most)

    @precondition(lambda self: self.streams)
    @rule()
    def all_read(self) -> None:
        self.rig.settle()

    @precondition(lambda self: len(self.open()) > 3)
    @rule()
    def client_leaves(self) -> None:
        model = self.some()
        model.stream.read()
        model.stream.lost = True
        model.stream.client.close()
        model.ending = model.cut = True

    @rule(rounds=st.integers(1, 4))
    def step(self, rounds: int) -> None:
        self.rig.step(rounds)

    @rule(seconds=st.sampled_from([0.5, 3.0]))
    def time_passes(self, seconds: float) -> None:
        self.rig.clock.advance(seconds)
        for model in self.streams:
            # An end that has begun may be cut now.
            model.cut = model.cut or model.ending

    @precondition(lambda self: self.faults)
    @rule(
        times=st.integers(1, 3),
        error=st.sampled_from([errno.EINTR, errno.EAGAIN]),
        most=st.sampled_from([0, 40, 500]),
    )
    def disturbed_sends(self, times: int, error: int, most: int) -> None:
        plan_fault("send", times=times, error=error, max_bytes=most)

    @precondition(lambda self: self.faults)
    @rule(error=st.sampled_from([errno.EPIPE, errno.ECONNRESET, errno.ETIMEDOUT]))
    def a_send_loses_its_peer(self, error: int) -> None:
        plan_fault("send", error=error)
        self.some_may_end()

    @precondition(lambda self: self.faults)
    @rule(after=st.integers(1, 6))
    def no_memory_in_a_round(self, after: int) -> None:
        plan_fault("malloc", after=after)
        self.rig.engine.step()
        plan_fault("malloc", after=0)
        self.some_may_end()

    def some_may_end(self) -> None:
        """After a round in which something failed: whose stream it was has ended."""
        self.rig.step(2)
        plan_fault("send", after=0)
        for model in self.streams:
            if model.stream.closed_as is not None:
                model.ending = model.cut = True

    # -- what must hold ----------------------------------------------------------------

    @invariant()
    def received_is_what_was_due(self) -> None:
        for model in self.streams:
            model.compare()

    @invariant()
    def caps_are_kept(self) -> None:
        for model in self.open():
            info = self.rig.engine.info(model.stream.handle)
            if info is not None and info["state"] != "closing":
                # max(cap, one event) of the log, as much of what was sent to it alone, a notice.
                assert info["queued_bytes"] <= 2 * max(CAP, 5200) + 300

    def teardown(self) -> None:
        if self.faults:
            plan_fault("send", after=0)
        try:
            self.rig.settle()
            for model in self.streams:
                self.check_end(model)
            self.check_memory()
        finally:
            self.rig.__exit__()

    def check_end(self, model: Modelled) -> None:
        model.compare()
        stream = model.stream
        reason = stream.closed_as
        info = self.rig.engine.info(stream.handle)
        if reason is None and info is not None and info["state"] != "closing":
            # Still open: everything has arrived, but what its policy dropped and counted.
            rest = model.due[model.at :]
            if model.policy in DROPPING:
                assert all(entry.sequence for entry in rest)
                assert info["dropped"] == model.left_out + len(rest)
            else:
                assert rest == []
            assert info["queued_bytes"] == 0
            assert info["state"] == "live"
        elif reason is CloseReason.SLOW:
            assert model.policy == "close"
        elif not model.cut and reason is None:
            # Ended gently, and its client has not closed its side: all of it was sent.
            assert stream.wire.ended
            assert stream.eof
            assert stream.wire.torn == b""
            if model.policy not in DROPPING:
                assert model.due[model.at :] == []

    def check_memory(self) -> None:
        """Every block is accounted for: the log's, one last chunk for each pump, no other."""
        for model in self.streams:
            self.rig.engine.close(model.stream.handle, CloseReason.SHUTDOWN.code, flush=False)
        self.rig.settle()
        stats = self.rig.engine.stats()
        assert stats["parked"] == 0
        assert stats["blocks"] == stats["log_events"] + self.pumps
        kinds = [model.stream.kinds for model in self.streams]
        assert all(found.count("closed") == 1 and found[-1] == "closed" for found in kinds)
