"""Looking at connections; taking the bytes of indirect ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h3py._speedups.format import SSEEvent
from h3py._speedups.write_queue import WriteQueue
from h3py.close_reason import CloseReason
from h3py.errors import BufferFull
from tests.speedups.support.rig import Rig
from tests.speedups.support.running import loopback
from tests.speedups.support.wire import Wire


def indirect(rig: Rig, **options: object) -> int:
    handle = rig.engine.adopt(
        -1, "tls", WriteQueue(chunked=True), chunked=True, indirect=True, **options
    )  # type: ignore[arg-type]
    rig.engine.subscribe(handle, policy="catch_up")
    rig.step()
    return handle


class TestTake:
    def test_data_is_reported_until_all_was_taken(self) -> None:
        with Rig() as rig:
            handle = indirect(rig)
            for n in range(3):
                rig.publish(f"{n}")
                rig.step()
            assert [report.kind for report in rig.reported] == ["data"]
            wire = Wire()
            wire.feed(rig.engine.take(handle, 50))
            rig.publish("3")
            rig.step()
            assert len(rig.reported) == 1
            while data := rig.engine.take(handle, 50):
                wire.feed(data)
            assert wire.data == ["0", "1", "2", "3"]
            rig.publish("4")
            rig.step()
            assert [report.kind for report in rig.reported] == ["data", "data"]

    @given(st.lists(st.integers(1, 9000), min_size=1, max_size=20))
    def test_any_pieces(self, sizes: list[int]) -> None:
        with Rig() as rig:
            handle = indirect(rig)
            wire = Wire()
            for n, size in enumerate(sizes):
                rig.publish(f"{n}-".ljust(size, "x"))
                rig.engine.send(handle, b": " + b"y" * (size // 2) + b"\n\n")
                rig.step()
                taken = rig.engine.take(handle, size)
                assert len(taken) <= size
                wire.feed(taken)
            for _ in range(200):
                wire.feed(rig.engine.take(handle))
                rig.step()
            assert wire.data == [f"{n}-".ljust(size, "x") for n, size in enumerate(sizes)]
            assert rig.engine.queued_bytes(handle) == 0

    def test_it_lags_and_catches_up_like_any_other(self) -> None:
        with Rig(max_queue_bytes=2000) as rig:
            handle = indirect(rig)
            for n in range(50):
                rig.publish(f"{n}-".ljust(300, "x"))
                rig.step()
            info = rig.engine.info(handle)
            assert info is not None
            assert info["state"] == "lagging"
            assert info["queued_bytes"] <= 2000
            wire = Wire()
            for _ in range(200):
                wire.feed(rig.engine.take(handle, 700))
                rig.step()
            assert len(wire.data) == 50
            kinds = [report.kind for report in rig.reported if report.kind != "data"]
            assert kinds == ["lagging", "caught_up"]

    def test_its_end_comes_when_all_was_taken(self) -> None:
        with Rig() as rig:
            handle = indirect(rig)
            rig.publish("last")
            rig.engine.close(handle, CloseReason.KICKED.code)
            rig.step(3)
            assert [report.kind for report in rig.reported] == ["data"]
            wire = Wire()
            while data := rig.engine.take(handle, 10):
                wire.feed(data)
                assert rig.reported[-1].kind == "data"
            assert wire.ended
            rig.step(2)
            assert rig.reported[-1].kind == "closed"
            assert rig.reported[-1].reason == CloseReason.KICKED.code
            assert rig.engine.take(handle) == b""

    def test_or_when_nobody_takes_it(self) -> None:
        with Rig(linger_s=2.0) as rig:
            handle = indirect(rig)
            rig.publish("last")
            rig.engine.close(handle, CloseReason.KICKED.code)
            rig.step()
            rig.clock.advance(2.0)
            rig.step(2)
            assert rig.reported[-1].kind == "closed"
            assert rig.reported[-1].detail.unsent == 1

    def test_a_refused_send_is_told_of_room(self) -> None:
        with Rig(max_queue_bytes=1000) as rig:
            handle = indirect(rig)
            with pytest.raises(BufferFull):
                while True:
                    rig.engine.send(handle, SSEEvent("x" * 200))
                    rig.step()
            rig.reported.clear()
            while rig.engine.take(handle, 100):
                rig.step()
            assert [report.kind for report in rig.reported] == ["space"]

    def test_what_the_engine_sends_itself_is_not_taken(self) -> None:
        with Rig() as rig:
            stream = rig.stream()
            with pytest.raises(ValueError, match="not indirect"):
                rig.engine.take(stream.handle)
            with pytest.raises(ValueError, match="not 0"):
                rig.engine.take(stream.handle, 0)


class TestLooking:
    def test_a_watched_connection(self) -> None:
        with Rig() as rig:
            ours, theirs = rig.pair()
            rig.watched += [ours, theirs]
            handle = rig.engine.watch(ours.fileno(), None)
            assert rig.engine.info(handle) == {"state": "watched", "reason": 0}
            assert not rig.engine.is_open(handle)
            assert rig.engine.queued_bytes(handle) == 0

    def test_a_parked_one(self) -> None:
        with Rig(max_queue_bytes=2000) as rig:
            stream = rig.adopt(tiny=True)
            assert stream.state == "switching"
            rig.engine.subscribe(
                stream.handle, channels=["a"], users=["u"], client="c", policy="drop_new"
            )
            rig.step()
            info = stream.info
            assert info["state"] == "live"
            assert info["policy"] == "drop_new"
            assert sorted(info["groups"]) == [
                ("channel", "a"), ("client", "c"), ("everyone", ""), ("user", "u"),
            ]  # fmt: skip
            for _ in range(50):
                rig.publish("x" * 300)
                rig.step()
            info = stream.info
            assert info["queued_bytes"] == rig.engine.queued_bytes(stream.handle) > 0
            assert info["events"] + info["dropped"] == 50
            assert info["sent_bytes"] > 0
            rig.engine.close(stream.handle, 9)
            assert (stream.info["reason"], stream.info["groups"]) == (9, [])

    def test_for_how_long_nothing_has_happened(self) -> None:
        with Rig(heartbeat_s=100.0) as rig:
            stream = rig.adopt()
            rig.clock.advance(2.0)
            assert stream.info["idle_s"] == 2.0
            rig.engine.subscribe(stream.handle, policy="catch_up")
            rig.step()
            rig.clock.advance(3.0)
            assert stream.info["idle_s"] == 5.0
            rig.engine.touch(stream.handle)
            assert stream.info["idle_s"] == 0.0
            rig.clock.advance(1.5)
            assert stream.info["idle_s"] == 1.5
            rig.publish("x")
            rig.step()
            assert stream.info["idle_s"] == 0.0
            rig.clock.advance(50.25)
            rig.publish("not for it", channels=["other"])
            rig.step()
            assert stream.info["idle_s"] == 50.25
            rig.clock.advance(50.0)
            assert stream.info["idle_s"] == 0.0  # a heartbeat

    def test_a_stream_that_takes_nothing_is_idle(self) -> None:
        with Rig(heartbeat_s=10.0) as rig:
            stream = rig.stream(tiny=True)
            rig.fill(stream, "lagging")
            rig.clock.advance(35.0)
            rig.publish("x")
            rig.step()
            assert stream.info["idle_s"] == 35.0

    def test_what_waits_for_the_pump_counts(self) -> None:
        with Rig() as rig:
            stream = rig.stream()
            rig.engine.send(stream.handle, b": x\n\n")
            assert rig.engine.queued_bytes(stream.handle) == len(b"5\r\n: x\n\n\r\n")
            rig.step()
            assert rig.engine.queued_bytes(stream.handle) == 0

    def test_bytes_in_the_kernel(self) -> None:
        """On a TCP connection whose client does not read."""
        with Rig() as rig:
            ours, theirs = loopback()
            rig.watched += [ours, theirs]
            handle = rig.engine.watch(ours.fileno(), None)
            assert rig.engine.kernel_bytes(handle) == 0
            sent = 0
            try:
                while True:
                    sent += ours.send(b"x" * 65536)
            except BlockingIOError:
                pass
            assert 0 < rig.engine.kernel_bytes(handle) <= sent

    def test_statistics(self) -> None:
        with Rig() as rig:
            streams = [rig.stream(channels=["a"]) for _ in range(3)]
            for _ in range(4):
                rig.publish("x")
            rig.publish("y", channels=["a"])
            rig.settle()
            rig.engine.close(streams[0].handle, 9, flush=False)
            rig.settle()
            stats = rig.engine.stats()
            expected = {
                "published": 5, "refused": 0, "deliveries": 15, "parked": 2, "watched": 0,
                "groups": 2, "log_events": 5, "closed": {9: 1}, "dropped": 0, "victims": 0,
            }  # fmt: skip
            assert {name: stats[name] for name in expected} == expected
            assert stats["memory_bytes"] == rig.engine.memory_bytes
            assert stats["sent_bytes"] == sum(
                len(chunk) + len(f"{len(chunk):x}") + 4
                for stream in streams
                for chunk in stream.wire.chunks
            )
