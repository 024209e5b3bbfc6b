"""Shutdown: every stream ends once, with what was published before, and with last words."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from h3py._speedups.block import plan_fault
from h3py._speedups.format import SSEEvent
from h3py._speedups.write_queue import WriteQueue
from h3py.close_reason import CloseReason
from h3py.errors import AllocationError, ConnectionClosed, ManagerClosed
from tests.speedups.support.rig import Rig, Stream
from tests.speedups.support.wire import Wire

SHUTDOWN = CloseReason.SHUTDOWN


def test_every_stream_is_told_and_ended() -> None:
    with Rig() as rig:
        streams = [rig.stream() for _ in range(5)]
        rig.publish("last")
        rig.engine.shutdown(
            reason=CloseReason.SHUTDOWN.code, farewell=b"retry: 10\n\n", deadline_s=10.0
        )
        rig.clock.advance(0.05)
        rig.settle()
        for stream in streams:
            assert stream.wire.ended
            assert stream.data == ["last"]
            assert stream.wire.chunks[-1] == b"retry: 10\n\n"
            stream.client.close()
        rig.settle(read=False)
        assert {stream.closed_as for stream in streams} == {CloseReason.SHUTDOWN}


def test_ends_are_spread_over_the_window() -> None:
    with Rig() as rig:
        streams = [rig.stream() for _ in range(100)]
        rig.engine.shutdown(reason=11, window_s=10.0, deadline_s=20.0)
        ended = []
        for _ in range(11):
            rig.clock.advance(1.0)
            rig.settle()
            ended.append(sum(stream.wire.ended for stream in streams))
        steps = [after - before for before, after in zip([0, *ended], ended, strict=False)]
        assert ended[-1] == 100
        assert max(steps) <= 40
        assert sum(step > 0 for step in steps) >= 6


def test_what_has_not_ended_by_the_deadline_is_cut() -> None:
    with Rig(linger_s=2.0) as rig:
        stream = rig.stream(tiny=True)
        rig.fill(stream, "lagging")
        rig.engine.shutdown(reason=11, deadline_s=5.0)
        for _ in range(4):
            rig.clock.advance(1.2)
            rig.settle(read=False)
        assert stream.closed_as is None
        rig.clock.advance(0.2)
        rig.settle(read=False)
        assert stream.closed_as is CloseReason.SHUTDOWN


def test_a_lagging_stream_gets_what_there_is() -> None:
    with Rig() as rig:
        stream = rig.stream(tiny=True)
        sent = rig.fill(stream, "lagging")
        rig.engine.shutdown(reason=11, farewell=b": bye\n\n", deadline_s=60.0)
        rig.clock.advance(0.05)
        rig.settle()
        assert stream.data == sent
        assert stream.wire.ended
        assert stream.wire.chunks[-1] == b": bye\n\n"


def test_beginning_it_twice_changes_nothing() -> None:
    with Rig() as rig:
        stream = rig.stream()
        rig.engine.shutdown(reason=CloseReason.KICKED.code, farewell=b": one\n\n")
        rig.engine.shutdown(reason=CloseReason.SHUTDOWN.code, farewell=b": two\n\n")
        rig.clock.advance(0.05)
        rig.settle()
        assert stream.wire.chunks == [b": one\n\n"]
        stream.client.close()
        rig.settle(read=False)
        assert stream.closed_as is CloseReason.KICKED


def test_begun_again_only_its_deadline_can_come_nearer() -> None:
    with Rig(linger_s=600.0) as rig:
        stream = rig.stream(tiny=True)
        rig.fill(stream, "lagging")
        rig.engine.shutdown(reason=11, deadline_s=100.0)
        rig.engine.shutdown(reason=11, deadline_s=200.0)
        rig.engine.shutdown(reason=11, deadline_s=5.0)
        for _ in range(4):
            rig.clock.advance(1.2)
            rig.settle(read=False)
        assert stream.closed_as is None
        rig.clock.advance(0.2)
        rig.settle(read=False)
        assert stream.closed_as is CloseReason.SHUTDOWN


def test_without_a_window_no_time_has_to_pass() -> None:
    with Rig() as rig:
        stream = rig.stream()
        rig.settle()
        rig.engine.shutdown(reason=11, farewell=b": bye\n\n")
        rig.settle()
        assert stream.wire.chunks == [b": bye\n\n"]
        assert stream.wire.ended


def test_an_indirect_stream_is_told_too() -> None:
    with Rig() as rig:
        handle = rig.engine.adopt(-1, 1, WriteQueue(), chunked=True, indirect=True)
        rig.engine.send(handle, SSEEvent("x"))
        rig.engine.shutdown(reason=11, farewell=b": bye\n\n")
        rig.step()
        rig.clock.advance(0.05)
        rig.step(3)
        wire = Wire()
        while taken := rig.engine.take(handle):
            wire.feed(taken)
        assert wire.ended
        assert wire.data == ["x"]
        assert wire.chunks[-1] == b": bye\n\n"
        rig.step(3)
        assert rig.reported[-1].kind == "closed"


WORDS = [f"retry: {n}\n\n".encode() for n in range(16)]


class TestFarewells:
    def told(self, rig: Rig, farewell: Any, count: int = 64) -> Counter[bytes]:
        """What so many streams got as their last words."""
        streams = [rig.stream() for _ in range(count)]
        rig.engine.shutdown(reason=SHUTDOWN.code, farewell=farewell)
        rig.clock.advance(0.05)
        rig.settle()
        assert all(stream.wire.ended for stream in streams)
        return Counter(chunk for stream in streams for chunk in stream.wire.chunks)

    def test_each_stream_gets_one_of_them(self) -> None:
        with Rig(pumps=2) as rig:
            told = self.told(rig, WORDS)
            # Even by far: what they say is when to come back.
            assert told == Counter(dict.fromkeys(WORDS, 4))

    @pytest.mark.parametrize("farewell", [None, (), []])
    def test_or_none_where_there_are_none(self, farewell: Any) -> None:
        with Rig() as rig:
            assert self.told(rig, farewell, 3) == Counter()

    @pytest.mark.parametrize("farewell", [WORDS[3], bytearray(WORDS[3]), memoryview(WORDS[3])])
    def test_one_may_stand_alone(self, farewell: Any) -> None:
        with Rig() as rig:
            assert self.told(rig, farewell, 3) == Counter({WORDS[3]: 3})

    def test_one_more_than_16_and_what_cannot_be_one(self) -> None:
        with Rig() as rig:
            stream = rig.stream()
            for wrong, error in (
                ([*WORDS, b": x\n\n"], ValueError),
                ([b": x\n\n", b""], ValueError),
                (b"", ValueError),
                ("retry: 1\n\n", TypeError),
                ([b": x\n\n", None], TypeError),
            ):
                with pytest.raises(error):
                    rig.engine.shutdown(reason=SHUTDOWN.code, farewell=wrong)  # type: ignore[arg-type]
            rig.clock.advance(1.0)
            rig.publish("it goes on")
            rig.settle()
            assert stream.data == ["it goes on"]
            # One last chunk, one entry of the log: nothing was left behind.
            assert rig.engine.stats()["blocks"] == 2

    def test_large_ones_are_copied_for_each_stream(self) -> None:
        with Rig() as rig:
            words = b":" + b"x" * 10_000 + b"\n\n"
            assert self.told(rig, [words], 5) == Counter({words: 5})

    def test_whoever_closes_for_the_same_reason_does_not_take_them_away(self) -> None:
        """A server that ends its streams one by one while the engine ends them all."""
        with Rig() as rig:
            ended, kicked = rig.stream(), rig.stream()
            rig.engine.shutdown(reason=SHUTDOWN.code, farewell=b": bye\n\n", window_s=5.0)
            assert rig.engine.close(ended.handle, SHUTDOWN.code)
            assert rig.engine.close(kicked.handle, CloseReason.KICKED.code)
            rig.settle()
            assert ended.wire.chunks == [b": bye\n\n"]
            assert ended.wire.ended
            assert kicked.wire.chunks == []
            assert kicked.wire.ended

    @pytest.mark.faults
    def test_no_memory(self) -> None:
        """Here: nothing has begun. In the pump: the stream ends without them."""
        with Rig() as rig:
            stream = rig.stream()
            try:
                plan_fault("malloc", after=2)
                with pytest.raises(AllocationError):
                    rig.engine.shutdown(reason=SHUTDOWN.code, farewell=WORDS)
                rig.clock.advance(1.0)
                rig.settle()
                assert stream.state == "live"
                assert rig.engine.stats()["blocks"] == 1
                rig.engine.shutdown(reason=SHUTDOWN.code, farewell=WORDS)
                plan_fault("malloc", after=1)
                rig.clock.advance(0.05)
                rig.settle()
            finally:
                plan_fault("malloc", after=0)
            assert stream.wire.chunks == []
            assert stream.wire.ended


def test_whoever_waits_for_a_page_ends_at_once() -> None:
    with Rig(paging=True, log_events=8) as rig:
        for n in range(20):
            rig.publish(f"{n}")
            rig.step()
        stream = rig.adopt()
        rig.engine.subscribe(stream.handle, position=1)
        rig.settle()
        assert stream.state == "paging"
        rig.engine.shutdown(reason=SHUTDOWN.code, farewell=b": bye\n\n")
        rig.clock.advance(0.05)
        rig.settle()
        assert stream.wire.ended
        assert stream.wire.chunks == []


class TestTails:
    """What is left of a response that is over: closed gently, and no stream."""

    def tail(self, rig: Rig) -> Stream:
        queue = WriteQueue()
        queue.append_raw(b"the rest\n\n")
        stream = rig.adopt(chunked=False, queue=queue, heartbeat=False, owner=None)
        stream.wire.chunked = False
        return stream

    def rest_of(self, stream: Stream) -> bytes:
        return stream.client.recv(1000)

    @pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
    def test_it_gets_no_farewell(self, late: bool) -> None:
        with Rig() as rig:
            rig.stream()
            if late:
                rig.engine.shutdown(reason=SHUTDOWN.code, farewell=b": bye\n\n")
            stream = self.tail(rig)
            if not late:
                rig.step()
                rig.engine.shutdown(reason=SHUTDOWN.code, farewell=b": bye\n\n")
            # The engine ends it before whoever handed it over says that it is done.
            rig.clock.advance(0.05)
            rig.settle(read=False)
            rig.engine.close(stream.handle, CloseReason.HANDLER_DONE.code)
            rig.settle(read=False)
            assert self.rest_of(stream) == b"the rest\n\n"
            stream.client.close()
            rig.settle(read=False)
            assert stream.kinds == ["closed"]

    def test_what_is_a_stream_gets_it_without_heartbeats_too(self) -> None:
        with Rig() as rig:
            stream = rig.stream(adopt={"heartbeat": False})
            rig.engine.shutdown(reason=SHUTDOWN.code, farewell=b": bye\n\n")
            rig.clock.advance(0.05)
            rig.settle()
            assert stream.wire.chunks == [b": bye\n\n"]


class TestLate:
    """Streams that are adopted once the end has begun."""

    @pytest.mark.parametrize("pumps", [1, 2])
    def test_they_are_told_and_ended_once(self, pumps: int) -> None:
        with Rig(pumps=pumps) as rig:
            rig.engine.shutdown(
                reason=SHUTDOWN.code, farewell=b": bye\n\n", window_s=5.0, deadline_s=20.0
            )
            rig.clock.advance(0.05)
            late = [rig.adopt() for _ in range(6)]
            with pytest.raises(ManagerClosed):
                rig.engine.subscribe(late[0].handle, channels=["a"])
            rig.step()
            late += [rig.adopt() for _ in range(6)]
            for _ in range(110):
                rig.clock.advance(0.05)
                rig.settle()
            for stream in late:
                assert stream.wire.chunks == [b": bye\n\n"]
                assert stream.wire.ended
                stream.client.close()
            rig.settle(read=False)
            assert [stream.kinds for stream in late] == [["closed"]] * 12
            assert {stream.closed_as for stream in late} == {SHUTDOWN}

    def test_after_the_deadline_they_are_cut(self) -> None:
        with Rig() as rig:
            rig.engine.shutdown(reason=SHUTDOWN.code, farewell=b": bye\n\n", deadline_s=5.0)
            rig.clock.advance(6.0)
            late = rig.adopt()
            rig.step()
            rig.clock.advance(0.05)
            rig.step(3)
            assert late.closed_as is SHUTDOWN
            assert late.kinds == ["closed"]

    def test_an_engine_that_has_ended_refuses_them(self) -> None:
        rig = Rig()
        with rig:
            rig.engine.shutdown(reason=SHUTDOWN.code)
            rig.engine.shut_down()
            ours, theirs = rig.pair()
            rig.watched += [ours, theirs]
            with pytest.raises(ConnectionClosed):
                rig.engine.adopt(ours.fileno(), None, WriteQueue(), chunked=True)
            ours.send(b"mine")
            assert theirs.recv(10) == b"mine"
