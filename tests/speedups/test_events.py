"""Watched connections: a hang-up is seen while their owner sends, and nothing else is done."""

from __future__ import annotations

import socket

import pytest

from h3py._speedups.write_queue import WriteQueue
from h3py.close_reason import CloseReason
from tests.speedups.support.rig import Owner, Rig
from tests.speedups.support.running import loopback

LEFT = CloseReason.CLIENT_CLOSED.code


class Watched:
    """A connection that the test owns and the engine watches."""

    def __init__(self, rig: Rig, *, tcp: bool = False, discard: bool = True) -> None:
        self.rig = rig
        self.ours, self.client = loopback() if tcp else rig.pair()
        rig.watched += [self.ours, self.client]
        self.owner = Owner("driven")
        self.handle = rig.engine.watch(self.ours.fileno(), self.owner, discard=discard)

    def reports(self) -> list[tuple[str, int]]:
        self.rig.step(2)
        mine = [report for report in self.rig.reported if report.handle == self.handle]
        assert all(report.owner is self.owner for report in mine)
        return [(report.kind, report.reason) for report in mine]

    def discarded(self) -> bool:
        """Whether nothing of what the client sent is left to read."""
        try:
            self.ours.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        return False


@pytest.mark.parametrize("discard", [True, False])
@pytest.mark.parametrize("tcp", [True, False], ids=["tcp", "pair"])
class TestHangUp:
    def test_the_client_closes(self, discard: bool, tcp: bool) -> None:
        with Rig() as rig:
            watched = Watched(rig, tcp=tcp, discard=discard)
            assert watched.reports() == []
            watched.client.close()
            assert watched.reports() == [("hangup", LEFT)]

    def test_the_client_ends_its_side(self, discard: bool, tcp: bool) -> None:
        with Rig() as rig:
            watched = Watched(rig, tcp=tcp, discard=discard)
            watched.client.shutdown(socket.SHUT_WR)
            assert watched.reports() == [("hangup", LEFT)]
            # Told once: a level that stays is masked.
            for _ in range(5):
                assert not rig.engine.step()
            assert watched.reports() == [("hangup", LEFT)]

    def test_half_close_is_nothing_where_it_is_allowed(self, discard: bool, tcp: bool) -> None:
        with Rig(half_close="allow") as rig:
            watched = Watched(rig, tcp=tcp, discard=discard)
            watched.client.shutdown(socket.SHUT_WR)
            assert watched.reports() == []
            assert not rig.engine.step()
            watched.ours.send(b"goes on")
            assert watched.client.recv(100) == b"goes on"
            watched.client.close()
            watched.ours.shutdown(socket.SHUT_WR)
            assert watched.reports() == [("hangup", LEFT)]

    def test_input_before_the_end(self, discard: bool, tcp: bool) -> None:
        """The end is seen behind what was sent before it."""
        with Rig() as rig:
            watched = Watched(rig, tcp=tcp, discard=discard)
            watched.client.send(b"x" * 20_000)
            watched.client.shutdown(socket.SHUT_WR)
            rig.step(10)
            assert watched.reports() == [("hangup", LEFT)]

    def test_nothing_after_unwatch(self, discard: bool, tcp: bool) -> None:
        with Rig() as rig:
            watched = Watched(rig, tcp=tcp, discard=discard)
            rig.engine.unwatch(watched.handle)
            watched.client.send(b"mine")
            watched.client.shutdown(socket.SHUT_WR)
            assert watched.reports() == []
            assert watched.ours.recv(100) == b"mine"
            rig.engine.unwatch(watched.handle)

    def test_a_report_that_waits_is_taken_back(self, discard: bool, tcp: bool) -> None:
        with Rig() as rig:
            watched = Watched(rig, tcp=tcp, discard=discard)
            watched.client.close()
            rig.engine.step()
            rig.engine.unwatch(watched.handle)
            assert watched.reports() == []
            assert rig.engine.stats()["watched"] == 0
            # The record is used again, by another handle.
            other = Watched(rig, tcp=tcp, discard=discard)
            assert other.handle != watched.handle

    def test_it_may_be_watched_again(self, discard: bool, tcp: bool) -> None:
        with Rig() as rig:
            watched = Watched(rig, tcp=tcp, discard=discard)
            for _ in range(3):
                rig.engine.unwatch(watched.handle)
                watched.handle = rig.engine.watch(watched.ours.fileno(), watched.owner)
            watched.client.close()
            assert watched.reports() == [("hangup", LEFT)]


class TestInput:
    def test_it_is_discarded(self) -> None:
        with Rig() as rig:
            watched = Watched(rig)
            for _ in range(5):
                watched.client.send(b"x" * 5000)
                rig.step(5)
                assert watched.discarded()
            assert watched.reports() == []

    def test_it_is_left_alone_where_its_owner_reads(self) -> None:
        with Rig() as rig:
            watched = Watched(rig, discard=False)
            watched.client.send(b"mine")
            assert watched.reports() == []
            assert not rig.engine.step()
            assert watched.ours.recv(100) == b"mine"

    @pytest.mark.parametrize(("size", "told"), [(10_000, []), (10_001, [("hangup", 8)])])
    def test_too_much_of_it(self, size: int, told: list[tuple[str, int]]) -> None:
        with Rig(max_discard_bytes=10_000) as rig:
            watched = Watched(rig)
            watched.client.send(b"x" * size)
            rig.step(10)
            assert watched.reports() == told
            assert CloseReason.LIMIT.code == 8

    def test_what_is_discarded_counts_on_when_the_stream_is_parked(self) -> None:
        with Rig(max_discard_bytes=10_000) as rig:
            watched = Watched(rig)
            watched.client.send(b"x" * 6000)
            rig.step(5)
            rig.engine.adopt(
                watched.ours.fileno(), watched.owner, WriteQueue(), chunked=True,
                handle=watched.handle,
            )  # fmt: skip
            watched.ours.detach()
            watched.client.send(b"x" * 6000)
            rig.step(5)
            assert [(r.kind, r.reason) for r in rig.reported] == [
                ("closed", CloseReason.LIMIT.code)
            ]


class TestParking:
    def test_the_handle_is_kept_and_the_owner_may_change(self) -> None:
        with Rig() as rig:
            watched = Watched(rig)
            handle = rig.engine.adopt(
                watched.ours.fileno(), "parked", WriteQueue(chunked=True), chunked=True,
                handle=watched.handle,
            )  # fmt: skip
            watched.ours.detach()
            assert handle == watched.handle
            rig.engine.subscribe(handle)
            rig.publish("x")
            rig.step()
            assert b"data: x\n" in watched.client.recv(1000)
            watched.client.close()
            rig.step(2)
            assert [(report.kind, report.owner) for report in rig.reported] == [
                ("closed", "parked")
            ]

    @pytest.mark.parametrize("reported", [False, True])
    def test_a_hang_up_before_the_parking_is_one_after_it(self, reported: bool) -> None:
        """Whether it was told already or not: the parked stream ends, once."""
        with Rig() as rig:
            watched = Watched(rig)
            watched.client.close()
            if reported:
                assert watched.reports() == [("hangup", LEFT)]
                rig.reported.clear()
            else:
                rig.engine.step()
            rig.engine.adopt(
                watched.ours.fileno(), "parked", WriteQueue(), chunked=True, handle=watched.handle
            )
            watched.ours.detach()
            rig.step(3)
            assert [(r.kind, r.reason, r.owner) for r in rig.reported] == [
                ("closed", LEFT, "parked")
            ]

    def test_a_stream_whose_owner_will_take_its_bytes(self) -> None:
        with Rig() as rig:
            watched = Watched(rig, discard=False)
            handle = rig.engine.adopt(
                -1, "tls", WriteQueue(chunked=True), chunked=True, handle=watched.handle,
                indirect=True,
            )  # fmt: skip
            rig.step()
            watched.client.send(b"not the engine's business")
            watched.client.shutdown(socket.SHUT_WR)
            rig.step(3)
            assert rig.reported == []
            assert rig.engine.is_open(handle)
            assert watched.ours.recv(100) == b"not the engine's business"
