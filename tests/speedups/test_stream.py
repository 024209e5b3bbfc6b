"""The life of one connection on its pump: framing, partial sends, and every way it may end."""

from __future__ import annotations

import socket

import pytest

from h3py._speedups.format import SSEEvent
from h3py._speedups.write_queue import WriteQueue
from h3py.close_reason import CloseReason
from tests.speedups.support.rig import Rig, Stream
from tests.speedups.support.running import loopback

DONE = CloseReason.HANDLER_DONE


def over_tcp(rig: Rig, **options: object) -> Stream:
    """A stream whose connection is TCP: with resets, and buffers of the system's size."""
    ours, theirs = loopback()
    stream = Stream(rig, ours, theirs, "tcp")
    stream.handle = rig.engine.adopt(
        ours.fileno(), stream.owner, WriteQueue(chunked=True), chunked=True, **options
    )  # type: ignore[arg-type]
    ours.detach()
    rig.streams.append(stream)
    rig.engine.subscribe(stream.handle, policy="catch_up")
    rig.step()
    return stream


def test_what_was_queued_before_the_adoption_leaves_first() -> None:
    queue = WriteQueue(chunked=True)
    queue.append(b"data: first\n\n")
    queue.append(b": " + b"x" * 5000 + b"\n\n")
    with Rig() as rig:
        stream = rig.adopt(queue=queue)
        assert (len(queue), queue.queued_bytes) == (0, 0)
        rig.engine.subscribe(stream.handle)
        rig.publish("second")
        rig.settle()
        assert stream.data == ["first", "second"]
        assert len(stream.wire.chunks) == 3


def test_http_1_0_has_no_chunks() -> None:
    with Rig() as rig:
        stream = rig.adopt(chunked=False)
        rig.engine.subscribe(stream.handle)
        for n in range(3):
            rig.publish(f"{n}")
        rig.engine.send(stream.handle, SSEEvent("mine"))
        rig.engine.send(stream.handle, b": " + b"x" * 5000 + b"\n\n")
        rig.engine.close(stream.handle, DONE.code)
        rig.settle()
        assert stream.data == ["0", "1", "2", "mine"]
        assert stream.eof
        assert not stream.wire.ended


def test_an_event_of_megabytes_leaves_in_pieces_and_nothing_comes_between() -> None:
    with Rig() as rig:
        streams = [rig.stream(tiny=True) for _ in range(2)]
        big = "x" * 3_000_000
        rig.publish(big)
        rig.publish("small")
        rig.settle()
        assert [stream.data for stream in streams] == [[big, "small"]] * 2


def test_a_gentle_end() -> None:
    with Rig() as rig:
        stream = rig.stream()
        rig.publish("last")
        assert rig.engine.close(stream.handle, DONE.code)
        rig.settle()
        assert stream.data == ["last"]
        assert stream.wire.ended
        assert stream.eof
        # The client has not ended its side: the connection is there until then.
        assert stream.state == "closing"
        stream.client.close()
        rig.settle(read=False)
        assert stream.closed_as is DONE


def test_an_end_without_flush() -> None:
    with Rig() as rig:
        stream = rig.stream(tiny=True)
        rig.fill(stream, "lagging")
        assert rig.engine.close(stream.handle, CloseReason.KICKED.code, flush=False)
        rig.settle()
        assert stream.closed_as is CloseReason.KICKED
        assert not stream.wire.ended
        counters = stream.reports[-1].detail
        assert counters.unsent > 0
        assert counters.events == len(stream.data) + counters.unsent + (stream.wire.torn != b"")


def test_a_client_that_takes_nothing_at_the_end_is_cut() -> None:
    with Rig(linger_s=3.0) as rig:
        stream = rig.stream(tiny=True)
        rig.fill(stream, "lagging")
        rig.engine.close(stream.handle, DONE.code)
        rig.settle(read=False)
        rig.clock.advance(2.9)
        rig.settle(read=False)
        assert stream.closed_as is None
        rig.clock.advance(0.1)
        rig.settle(read=False)
        assert stream.closed_as is DONE


def test_a_client_that_does_not_end_its_side_is_cut() -> None:
    with Rig(linger_s=3.0) as rig:
        stream = rig.stream()
        rig.engine.close(stream.handle, DONE.code)
        rig.settle()
        assert stream.wire.ended
        rig.clock.advance(2.9)
        assert stream.closed_as is None
        rig.clock.advance(0.1)
        rig.settle()
        assert stream.closed_as is DONE


def test_unread_input_costs_the_client_nothing() -> None:
    """A close with unread input would be a reset, and the client would lose the end."""
    with Rig() as rig:
        stream = over_tcp(rig)
        stream.client.send(b"y" * 30_000)
        rig.publish("x" * 50_000)
        rig.engine.close(stream.handle, DONE.code)
        rig.settle()
        stream.client.send(b"y" * 1000)
        rig.settle()
        assert [len(data) for data in stream.data] == [50_000]
        assert stream.wire.ended
        assert stream.eof
        assert not stream.lost
        stream.client.close()
        rig.settle(read=False)
        assert stream.closed_as is DONE


class TestClientLeaves:
    def test_a_fin_ends_the_stream_and_what_is_queued_is_still_sent(self) -> None:
        with Rig() as rig:
            stream = rig.stream(tiny=True)
            rig.fill(stream, "lagging")
            queued = rig.engine.info(stream.handle)
            assert queued is not None
            stream.client.shutdown(socket.SHUT_WR)
            rig.settle()
            assert stream.closed_as is CloseReason.CLIENT_CLOSED
            assert stream.wire.ended
            assert len(stream.data) == queued["events"]

    def test_the_time_for_that_is_bounded(self) -> None:
        with Rig(linger_s=2.0) as rig:
            stream = rig.stream(tiny=True)
            rig.fill(stream, "lagging")
            stream.client.shutdown(socket.SHUT_WR)
            rig.settle(read=False)
            assert stream.closed_as is None
            assert not rig.engine.step(), "a FIN that was seen does not spin"
            rig.clock.advance(2.0)
            rig.settle(read=False)
            assert stream.closed_as is CloseReason.CLIENT_CLOSED

    def test_half_close_ends_nothing_where_that_is_allowed(self) -> None:
        with Rig(half_close="allow") as rig:
            stream = rig.stream()
            stream.client.shutdown(socket.SHUT_WR)
            rig.settle()
            rig.publish("goes on")
            rig.settle()
            assert stream.data == ["goes on"]
            assert stream.state == "live"
            assert not rig.engine.step()
            stream.client.close()
            rig.settle(read=False)
            assert stream.closed_as is CloseReason.CLIENT_CLOSED

    @pytest.mark.parametrize("state", ["live", "lagging", "closing"])
    def test_a_hang_up_ends_it_at_once(self, state: str) -> None:
        with Rig() as rig:
            stream = rig.stream(tiny=True)
            if state != "live":
                rig.fill(stream, "lagging")
            if state == "closing":
                rig.engine.close(stream.handle, DONE.code)
                while stream.state != "closing":
                    stream.read(2000)
                    rig.step()
            stream.client.close()
            rig.settle(read=False)
            due = DONE if state == "closing" else CloseReason.CLIENT_CLOSED
            assert stream.closed_as is due

    def test_a_reset(self) -> None:
        with Rig() as rig:
            stream = over_tcp(rig)
            stream.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            stream.client.close()
            rig.settle(read=False)
            assert stream.closed_as is CloseReason.CLIENT_CLOSED

    def test_it_is_noticed_by_a_send_too(self) -> None:
        with Rig() as rig:
            stream = rig.stream()
            rig.publish("x")
            stream.client.close()
            rig.settle(read=False)
            assert stream.closed_as is CloseReason.CLIENT_CLOSED


class TestInput:
    def test_what_a_client_sends_is_discarded_up_to_a_limit(self) -> None:
        with Rig(max_discard_bytes=50_000) as rig:
            stream = over_tcp(rig)
            sent = 0
            while sent < 50_000:
                sent += stream.client.send(b"y" * min(10_000, 50_000 - sent))
                rig.settle()
            assert stream.closed_as is None
            stream.client.send(b"y")
            rig.settle()
            assert stream.closed_as is CloseReason.LIMIT

    def test_none_is_allowed(self) -> None:
        with Rig(max_discard_bytes=0) as rig:
            stream = rig.stream()
            stream.client.send(b"y")
            rig.settle()
            assert stream.closed_as is CloseReason.LIMIT


def test_a_descriptor_that_stays_its_owner_s() -> None:
    with Rig() as rig:
        ours, theirs = rig.pair()
        with ours, theirs:
            handle = rig.engine.adopt(
                ours.fileno(), None, WriteQueue(), chunked=False, close_fd=False
            )
            rig.step()
            rig.engine.close(handle, DONE.code, flush=False)
            rig.step(2)
            assert [report.kind for report in rig.reported] == ["closed"]
            ours.send(b"still open")
            assert theirs.recv(100) == b"still open"


def test_counters_tell_what_was_sent() -> None:
    with Rig() as rig:
        stream = rig.stream()
        for n in range(5):
            rig.publish(f"{n}")
        rig.engine.send(stream.handle, SSEEvent("mine"))
        rig.engine.send(stream.handle, b": comment\n\n")
        rig.settle()
        got = sum(len(chunk) + len(f"{len(chunk):x}") + 4 for chunk in stream.wire.chunks)
        assert (stream.info["events"], stream.info["sent_bytes"]) == (6, got)
        rig.engine.close(stream.handle, DONE.code)
        rig.settle()
        stream.client.close()
        rig.settle(read=False)
        counters = stream.reports[-1].detail
        assert (counters.events, counters.sent_bytes) == (6, got + len(b"0\r\n\r\n"))
        assert (counters.dropped, counters.unsent) == (0, 0)


def test_memory_is_back_where_it_was() -> None:
    """Everything but the slab and the pump's arrays, which stay for the next streams."""
    with Rig(log_events=1) as rig:
        rig.stream()
        rig.publish("x" * 100, channels=["none"])
        rig.step()
        for stream in rig.streams:
            rig.engine.close(stream.handle, DONE.code, flush=False)
        rig.settle()
        rig.publish("y" * 100, channels=["none"])
        rig.step()
        before = rig.engine.memory_bytes
        for turn in range(20):
            stream = rig.stream(
                tiny=True, channels=["none"], users=[f"u{turn}"], client=f"c{turn}",
                where={"k": ["v", "w"]},
            )  # fmt: skip
            for _ in range(5):
                rig.engine.send(stream.handle, b": " + b"z" * 6000 + b"\n\n") if (
                    rig.engine.queued_bytes(stream.handle) < 50_000
                ) else None
            rig.step()
            rig.engine.close(stream.handle, DONE.code, flush=turn % 2 == 0)
            stream.client.close()
            rig.settle(read=False)
        assert rig.engine.memory_bytes == before
