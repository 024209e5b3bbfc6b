"""Watched connections: what is told of a client that leaves, and of a socket that takes bytes."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest

from h3py._speedups.write_queue import WriteQueue
from h3py.close_reason import CloseReason
from tests.speedups.support.rig import Owner, Rig
from tests.speedups.support.running import loopback


class TestHangup:
    """Why a watched client is gone: whoever has only ended its side may still read."""

    @pytest.mark.parametrize("discard", [True, False])
    def test_a_fin(self, discard: bool) -> None:
        with Rig() as rig:
            ours, theirs = loopback()
            rig.watched += [ours, theirs]
            rig.engine.watch(ours.fileno(), None, discard=discard)
            if discard:
                theirs.send(b"GET")
                rig.step(2)
            theirs.shutdown(socket.SHUT_WR)
            rig.step(3)
            assert hangups(rig) == [("hangup", CloseReason.CLIENT_CLOSED.code, "fin")]
            rig.step(3)
            assert len(hangups(rig)) == 1

    @pytest.mark.parametrize("discard", [True, False])
    def test_a_reset(self, discard: bool) -> None:
        with Rig() as rig:
            ours, theirs = loopback()
            rig.watched += [ours, theirs]
            rig.engine.watch(ours.fileno(), None, discard=discard)
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            theirs.close()
            rig.step(3)
            assert hangups(rig) == [("hangup", CloseReason.CLIENT_CLOSED.code, "error")]

    def test_too_much(self) -> None:
        with Rig(max_discard_bytes=3) as rig:
            ours, theirs = loopback()
            rig.watched += [ours, theirs]
            rig.engine.watch(ours.fileno(), None)
            theirs.send(b"1234")
            rig.step(3)
            assert hangups(rig) == [("hangup", CloseReason.LIMIT.code, None)]


def hangups(rig: Rig) -> list[tuple[str, int, object]]:
    return [(report.kind, report.reason, report.detail) for report in rig.reported]


class TestWritable:
    """One report for each time it is asked for."""

    def full(self, rig: Rig, **options: Any) -> tuple[socket.socket, socket.socket, int]:
        """A watched connection whose socket takes nothing."""
        ours, theirs = rig.pair(tiny=True)
        rig.watched += [ours, theirs]
        handle = rig.engine.watch(ours.fileno(), Owner("driven"), **options)
        with pytest.raises(BlockingIOError):
            while True:
                ours.send(b"x" * 1000)
        return ours, theirs, handle

    def empty(self, theirs: socket.socket) -> None:
        with pytest.raises(BlockingIOError):
            while True:
                theirs.recv(1 << 16)

    def kinds(self, rig: Rig) -> list[str]:
        rig.step(3)
        return [report.kind for report in rig.reported]

    @pytest.mark.parametrize("discard", [True, False])
    def test_when_the_socket_takes_bytes_once_per_request(self, discard: bool) -> None:
        with Rig() as rig:
            _, theirs, handle = self.full(rig, discard=discard)
            assert self.kinds(rig) == []
            assert rig.engine.want_writable(handle)
            assert rig.engine.want_writable(handle)
            assert self.kinds(rig) == []
            self.empty(theirs)
            assert self.kinds(rig) == ["writable"]
            assert rig.reported[0].owner.name == "driven"
            # It goes on taking bytes, and nobody has asked.
            assert self.kinds(rig) == ["writable"]
            assert rig.engine.want_writable(handle)
            assert self.kinds(rig) == ["writable", "writable"]

    def test_at_once_where_there_is_room(self) -> None:
        with Rig() as rig:
            ours, theirs = rig.pair()
            rig.watched += [ours, theirs]
            handle = rig.engine.watch(ours.fileno(), None)
            rig.engine.want_writable(handle)
            assert self.kinds(rig) == ["writable"]
            # The same request until it was taken, then another.
            rig.engine.want_writable(handle)
            rig.engine.step()
            rig.engine.want_writable(handle)
            assert [report.kind for report in rig.engine.reports()] == ["writable"]
            assert self.kinds(rig) == ["writable"]
            rig.engine.want_writable(handle)
            assert self.kinds(rig) == ["writable", "writable"]

    @pytest.mark.parametrize("first", ["fin", "asked"])
    def test_after_a_fin_the_rest_can_still_be_sent(self, first: str) -> None:
        with Rig() as rig:
            ours, theirs, handle = self.full(rig)
            if first == "asked":
                rig.engine.want_writable(handle)
            theirs.shutdown(socket.SHUT_WR)
            assert self.kinds(rig) == ["hangup"]
            rig.engine.want_writable(handle)
            assert self.kinds(rig) == ["hangup"]
            self.empty(theirs)
            assert self.kinds(rig) == ["hangup", "writable"]
            ours.send(b"the rest")
            assert theirs.recv(100) == b"the rest"
            rig.engine.want_writable(handle)
            assert self.kinds(rig) == ["hangup", "writable", "writable"]
            rig.engine.unwatch(handle)

    @pytest.mark.parametrize("first", ["fin", "asked"])
    def test_with_half_open_clients_allowed(self, first: str) -> None:
        with Rig(half_close="allow") as rig:
            _, theirs, handle = self.full(rig)
            if first == "asked":
                rig.engine.want_writable(handle)
            theirs.shutdown(socket.SHUT_WR)
            assert self.kinds(rig) == []
            rig.engine.want_writable(handle)
            assert self.kinds(rig) == []
            self.empty(theirs)
            assert self.kinds(rig) == ["writable"]
            theirs.close()
            assert self.kinds(rig) == ["writable", "hangup"]

    def test_a_client_that_is_gone_answers_it_too(self) -> None:
        """Whoever waits must not wait for ever: its next send says what has happened."""
        with Rig() as rig:
            _, theirs, handle = self.full(rig)
            rig.engine.want_writable(handle)
            theirs.close()
            assert self.kinds(rig) == ["hangup", "writable"]
            rig.engine.want_writable(handle)
            assert self.kinds(rig) == ["hangup", "writable", "writable"]

    def test_unwatched_while_it_is_wanted(self) -> None:
        """After the hang-up, too: then the number may be another's at once."""
        with Rig() as rig:
            ours, theirs, handle = self.full(rig)
            theirs.shutdown(socket.SHUT_WR)
            assert self.kinds(rig) == ["hangup"]
            rig.engine.want_writable(handle)
            rig.engine.unwatch(handle)
            assert not rig.engine.want_writable(handle)
            again = rig.engine.watch(ours.fileno(), None)
            self.empty(theirs)
            assert self.kinds(rig) == ["hangup", "hangup"]
            assert rig.reported[-1].handle == again

    @pytest.mark.parametrize("asked", ["before", "after"])
    def test_adopted_while_it_is_wanted(self, asked: str) -> None:
        with Rig() as rig:
            ours, theirs, handle = self.full(rig)
            if asked == "after":
                theirs.shutdown(socket.SHUT_WR)
                assert self.kinds(rig) == ["hangup"]
            rig.engine.want_writable(handle)
            rig.engine.adopt(
                ours.fileno(), None, WriteQueue(chunked=True), chunked=True, handle=handle,
                close_fd=False,
            )  # fmt: skip
            assert not rig.engine.want_writable(handle)
            rig.engine.send(handle, b": x\n\n")
            rig.step(2)
            self.empty(theirs)
            rig.step(2)
            assert theirs.recv(100).startswith(b"5\r\n: x\n\n\r\n")
            assert "writable" not in self.kinds(rig)

    def test_what_was_told_and_not_heard_is_nothing_to_an_adopted_stream(self) -> None:
        with Rig() as rig:
            ours, theirs = rig.pair()
            rig.watched += [ours, theirs]
            handle = rig.engine.watch(ours.fileno(), None)
            rig.engine.want_writable(handle)
            theirs.shutdown(socket.SHUT_WR)
            rig.engine.step()
            rig.engine.step()
            rig.engine.adopt(
                ours.fileno(), None, WriteQueue(chunked=True), chunked=True, handle=handle,
                close_fd=False,
            )  # fmt: skip
            rig.take_reports()
            assert rig.reported == []
            rig.settle()
            assert [report.kind for report in rig.reported] == ["closed"]

    def test_handles_of_nothing_watched(self) -> None:
        with Rig() as rig:
            stream = rig.stream()
            assert not rig.engine.want_writable(stream.handle)
            assert not rig.engine.want_writable(1 << 40)
            assert rig.engine.want_writable(rig.engine.watch(stream.client.fileno(), None))

    def test_a_descriptor_that_its_owner_has_closed(self) -> None:
        """Against the rules, and told: nothing waits for a report that cannot come."""
        with Rig() as rig:
            ours, _, handle = self.full(rig)
            ours.close()
            with pytest.raises(OSError, match="Bad file"):
                rig.engine.want_writable(handle)
