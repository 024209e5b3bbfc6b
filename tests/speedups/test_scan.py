"""What time does to streams; the clock is the test's."""

from __future__ import annotations

import itertools

import pytest

from h3py._speedups.block import plan_fault
from h3py._speedups.write_queue import WriteQueue
from h3py.close_reason import CloseReason
from h3py.errors import BackpressureDetected, EventTooLarge
from tests.speedups.support.rig import Rig, Stream


def beats(stream: Stream) -> int:
    stream.read()
    return sum(event.comment and event.data is None for event in stream.events)


class TestHeartbeats:
    def test_an_idle_stream_gets_one_in_its_time(self) -> None:
        with Rig(heartbeat_s=30.0) as rig:
            stream = rig.stream()
            rig.clock.advance(26.9)
            assert beats(stream) == 0
            rig.clock.advance(3.1)
            assert beats(stream) == 1
            rig.clock.advance(26.9)
            assert beats(stream) == 1
            rig.clock.advance(3.1)
            assert beats(stream) == 2
            assert stream.wire.chunks == [b":\n\n", b":\n\n"]
            assert rig.engine.stats()["heartbeats"] == 2

    def test_they_are_spread_over_a_tenth_of_the_interval(self) -> None:
        with Rig(heartbeat_s=100.0) as rig:
            streams = [rig.stream() for _ in range(200)]
            when = []
            for _ in range(110):
                rig.clock.advance(1.0)
                when.append(sum(map(beats, streams)))
            assert when[88] == 0
            assert when[100] == 200
            steps = [after - before for before, after in itertools.pairwise(when[88:101])]
            assert max(steps) < 60

    def test_one_comes_in_time_after_a_queue_that_waited_has_drained(self) -> None:
        with Rig(heartbeat_s=30.0, max_queue_bytes=1 << 20) as rig:
            stream = rig.stream(tiny=True)
            rig.publish("x" * 100_000)
            rig.step()
            rig.clock.advance(40.0)
            rig.settle()
            assert beats(stream) == 0
            rig.clock.advance(26.9)
            assert beats(stream) == 0
            rig.clock.advance(3.1)
            assert beats(stream) == 1

    def test_what_was_sent_postpones_it(self) -> None:
        with Rig(heartbeat_s=30.0) as rig:
            stream = rig.stream()
            for _ in range(10):
                rig.clock.advance(20.0)
                rig.publish("x")
                rig.step()
            assert beats(stream) == 0

    def test_a_queue_that_waits_gets_none(self) -> None:
        with Rig(heartbeat_s=30.0, max_queue_bytes=1 << 20) as rig:
            stream = rig.stream(tiny=True)
            rig.publish("x" * 100_000)
            rig.step()
            for _ in range(10):
                rig.clock.advance(30.0)
            queued = rig.engine.queued_bytes(stream.handle)
            rig.settle()
            assert beats(stream) == 0
            assert queued > 0

    def test_none_where_it_was_not_asked_for(self) -> None:
        with Rig(heartbeat_s=30.0) as rig:
            stream = rig.stream(adopt={"heartbeat": False})
            rig.clock.advance(1000.0)
            assert beats(stream) == 0

    def test_none_at_all(self) -> None:
        with Rig(heartbeat_s=None) as rig:
            stream = rig.stream()
            rig.clock.advance(1e6)
            assert beats(stream) == 0

    def test_an_indirect_stream_gets_them_too(self) -> None:
        with Rig(heartbeat_s=30.0) as rig:
            handle = rig.engine.adopt(-1, 1, WriteQueue(), chunked=True, indirect=True)
            rig.step()
            rig.clock.advance(30.0)
            assert [report.kind for report in rig.take_reports()] == ["data"]
            assert rig.engine.take(handle) == b"3\r\n:\n\n\r\n"
            rig.step()
            rig.clock.advance(30.0)
            assert rig.engine.take(handle) == b"3\r\n:\n\n\r\n"


class TestSlow:
    def blocked(self, rig: Rig) -> Stream:
        stream = rig.stream(tiny=True)
        rig.publish("x" * 100_000)
        rig.step(3)
        assert rig.engine.queued_bytes(stream.handle) > 0
        return stream

    def test_told_once_per_episode(self) -> None:
        with Rig(slow_write_s=0.1) as rig:
            stream = self.blocked(rig)
            rig.clock.advance(0.09)
            rig.step()
            assert stream.kinds == []
            for _ in range(5):
                rig.clock.advance(0.5)
                rig.step()
            assert stream.kinds == ["slow"]
            rig.settle()
            rig.publish("x" * 100_000)
            rig.step(3)
            rig.clock.advance(0.2)
            rig.step()
            assert stream.kinds == ["slow", "slow"]
            assert rig.engine.stats()["slow_episodes"] == 2

    def test_a_stall_ends_it(self) -> None:
        with Rig(stall_timeout_s=60.0) as rig:
            stream = self.blocked(rig)
            rig.clock.advance(59.9)
            rig.step()
            assert stream.closed_as is None
            rig.clock.advance(0.1)
            rig.step()
            assert stream.closed_as is CloseReason.SLOW

    def test_a_client_that_takes_a_little_now_and_then_does_not_stall(self) -> None:
        with Rig(stall_timeout_s=60.0) as rig:
            stream = self.blocked(rig)
            for _ in range(10):
                rig.clock.advance(50.0)
                assert stream.read(9000)
                rig.step(2)
            assert stream.closed_as is None
            assert stream.kinds == ["slow"]

    def test_heartbeats_that_are_due_meanwhile_put_nothing_off(self) -> None:
        with Rig(stall_timeout_s=60.0, heartbeat_s=15.0) as rig:
            stream = self.blocked(rig)
            for _ in range(59):
                rig.clock.advance(1.0)
                rig.step()
            assert stream.closed_as is None
            rig.clock.advance(1.0)
            rig.step()
            assert stream.closed_as is CloseReason.SLOW

    def test_never_where_it_is_switched_off(self) -> None:
        with Rig(stall_timeout_s=None) as rig:
            stream = self.blocked(rig)
            rig.clock.advance(1e6)
            rig.step()
            assert stream.closed_as is None

    def test_an_idle_stream_is_not_slow(self) -> None:
        with Rig(stall_timeout_s=60.0) as rig:
            stream = rig.stream()
            rig.publish("x")
            rig.step()
            rig.clock.advance(1000.0)
            assert stream.kinds == []

    def test_an_owner_that_takes_nothing(self) -> None:
        with Rig(stall_timeout_s=60.0, slow_write_s=0.1) as rig:
            handle = rig.engine.adopt(-1, "tls", WriteQueue(), chunked=True, indirect=True)
            rig.engine.subscribe(handle)
            rig.step()
            rig.publish("x")
            rig.step()
            rig.clock.advance(0.2)
            rig.step()
            assert [report.kind for report in rig.reported] == ["data", "slow"]
            while rig.engine.take(handle):
                pass
            rig.step()
            rig.clock.advance(1000.0)
            rig.step()
            assert rig.engine.is_open(handle)
            rig.publish("x")
            rig.step()
            rig.clock.advance(60.0)
            rig.step()
            assert (rig.reported[-1].kind, rig.reported[-1].reason) == (
                "closed", CloseReason.SLOW.code,
            )  # fmt: skip


@pytest.mark.faults
class TestDead:
    def silent(self, ms: int) -> None:
        """The kernel has heard nothing for so long, and something is unanswered."""
        plan_fault("silence", after=1, max_bytes=ms)

    def test_a_peer_that_answers_nothing(self) -> None:
        with Rig(heartbeat_s=30.0, heartbeat_misses=3) as rig:
            stream = rig.stream()
            try:
                self.silent(89_999)
                for _ in range(4):
                    rig.clock.advance(30.0)
                    rig.step()
                assert stream.closed_as is None
                self.silent(90_000)
                rig.clock.advance(30.0)
                rig.step()
                assert stream.closed_as is CloseReason.TIMEOUT
            finally:
                plan_fault("silence", after=0)

    def test_not_searched_for_without_heartbeats(self) -> None:
        with Rig(heartbeat_s=None) as rig:
            stream = rig.stream()
            try:
                self.silent(10**9)
                rig.clock.advance(1e5)
                rig.step()
            finally:
                plan_fault("silence", after=0)
            assert stream.closed_as is None


class TestLeaseAndAge:
    def test_a_lease_is_renewed_by_pings(self) -> None:
        with Rig() as rig:
            stream = rig.stream(adopt={"lease_s": 45.0})
            for _ in range(5):
                rig.clock.advance(44.0)
                rig.engine.touch(stream.handle)
                rig.step()
            assert stream.closed_as is None
            rig.clock.advance(44.9)
            rig.settle()
            assert stream.closed_as is None
            rig.clock.advance(0.1)
            rig.settle()
            assert stream.wire.ended
            stream.client.close()
            rig.settle(read=False)
            assert stream.closed_as is CloseReason.LEASE_EXPIRED

    def test_an_age_comes_between_80_and_100_percent(self) -> None:
        with Rig() as rig:
            streams = [rig.stream(adopt={"max_age_s": 100.0}) for _ in range(50)]
            ended = []
            for second in range(1, 102):
                rig.clock.advance(1.0)
                rig.step(2)
                for stream in streams:
                    stream.read()
                    if stream.wire.ended and stream not in ended:
                        assert 80 <= second <= 100
                        ended.append(stream)
                        stream.client.close()
            rig.settle(read=False)
            assert {stream.closed_as for stream in streams} == {CloseReason.MAX_AGE}

    def test_an_age_may_have_a_reason_of_its_own(self) -> None:
        """Credentials that expire."""
        with Rig() as rig:
            stream = rig.stream(
                adopt={"max_age_s": 5.0, "age_reason": CloseReason.AUTH_EXPIRED.code}
            )
            rig.clock.advance(4.9)
            rig.settle()
            assert stream.state == "live"
            rig.clock.advance(0.1)
            rig.settle()
            assert stream.wire.ended
            stream.client.close()
            rig.settle(read=False)
            assert stream.closed_as is CloseReason.AUTH_EXPIRED

    def test_neither_is_on_by_itself(self) -> None:
        with Rig() as rig:
            stream = rig.stream()
            rig.clock.advance(1e6)
            assert stream.closed_as is None


class TestMemory:
    def test_those_who_hold_on_to_the_oldest_blocks_go_first(self) -> None:
        cap = 2_000_000
        with Rig(
            max_memory_bytes=cap, log_bytes=200_000, log_events=50, max_queue_bytes=500_000
        ) as rig:
            old = rig.stream(tiny=True, channels=["old"], everyone=False)
            for _ in range(40):
                rig.publish("x" * 10_000, channels=["old"])
                rig.step()
            young = [rig.stream(tiny=True, channels=[f"{n}"], everyone=False) for n in range(5)]
            for n in range(5):
                for _ in range(40):
                    while True:
                        try:
                            rig.publish("y" * 10_000, channels=[f"{n}"])
                            break
                        except BackpressureDetected:
                            rig.step()
                    rig.step()
                    assert rig.engine.memory_bytes <= cap + 50_000
            assert old.closed_as is CloseReason.LIMIT
            assert young[-1].closed_as is None
            assert rig.engine.stats()["victims"] >= 1

    def test_the_log_is_shortened_when_nobody_else_holds_anything(self) -> None:
        with Rig(max_memory_bytes=1_000_000, log_bytes=1_000_000) as rig:
            stream = rig.stream()
            for _ in range(200):
                try:
                    rig.publish("x" * 10_000)
                except BackpressureDetected:
                    pass
                rig.settle()
            assert stream.closed_as is None
            assert rig.engine.memory_bytes < 1_000_000
            assert rig.engine.stats()["victims"] == 0

    def test_publishing_is_refused_while_there_is_too_much(self) -> None:
        with Rig(max_memory_bytes=300_000, log_bytes=300_000) as rig:
            rig.engine.send(rig.adopt().handle, b":" + b"x" * 400_000 + b"\n\n")
            with pytest.raises(BackpressureDetected, match="memory"):
                rig.publish("x")
            rig.settle()
            rig.publish("x")

    def test_an_event_that_would_empty_all_queues(self) -> None:
        with Rig(max_memory_bytes=300_000, log_bytes=300_000) as rig:
            with pytest.raises(EventTooLarge, match="half of max_memory_bytes"):
                rig.publish("x" * 150_000)
            assert rig.engine.stats()["blocks"] == 1
