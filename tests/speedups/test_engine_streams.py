"""Watching, adopting and closing: what fails leaves everything as it was."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
from typing import Any

import pytest

from h3py._speedups.block import plan_fault
from h3py._speedups.engine import Engine
from h3py._speedups.format import SSEEvent, format_event
from h3py._speedups.write_queue import WriteQueue
from h3py.close_reason import CloseReason
from h3py.errors import AllocationError, ConnectionClosed, ManagerClosed, WriterBusy
from tests.speedups.support.rig import Owner, Rig, Stream
from tests.speedups.support.running import Running


def queue_of(data: bytes) -> WriteQueue:
    queue = WriteQueue(chunked=True)
    queue.append_raw(data)
    return queue


class TestWatching:
    def test_a_descriptor_that_cannot_be_waited_for(self, tmp_path: Any) -> None:
        with Rig() as rig, open(tmp_path / "file", "wb") as file:
            with pytest.raises(OSError, match="not permitted") as raised:
                rig.engine.watch(file.fileno(), None)
            assert raised.value.errno == errno.EPERM
            with pytest.raises(OSError, match="Bad file") as raised:
                rig.engine.watch(-1, None)
            assert raised.value.errno == errno.EBADF
            assert rig.engine.stats()["watched"] == 0

    def test_a_descriptor_that_is_watched_already(self) -> None:
        with Rig() as rig:
            ours, theirs = rig.pair()
            rig.watched += [ours, theirs]
            rig.engine.watch(ours.fileno(), None)
            with pytest.raises(FileExistsError):
                rig.engine.watch(ours.fileno(), None)
            assert rig.engine.stats()["watched"] == 1

    def test_watched_connections_are_spread_over_the_pumps(self) -> None:
        with Rig(pumps=3) as rig:
            for _ in range(9):
                ours, theirs = rig.pair()
                rig.watched += [ours, theirs]
                rig.engine.watch(ours.fileno(), None)
                rig.adopt()
            assert rig.engine.stats()["watched"] == 9
            rig.step()
            assert rig.engine.stats()["parked"] == 9

    def test_ending_the_engine_leaves_descriptors_alone(self) -> None:
        rig = Rig()
        ours, theirs = rig.pair()
        with ours, theirs:
            handle = rig.engine.watch(ours.fileno(), Owner("mine"))
            rig.engine.shut_down()
            assert rig.engine.info(handle) is None
            rig.engine.unwatch(handle)
            ours.send(b"mine")
            assert theirs.recv(10) == b"mine"
        assert rig.engine.reports() == []


class TestHeld:
    """Adopted, but for its subscription."""

    def adopt(self, rig: Rig) -> Stream:
        hello = format_event(SSEEvent("hello"))
        return rig.adopt(queue=queue_of(b"%x\r\n%b\r\n" % (len(hello), hello)), held=True)

    def test_nothing_leaves_before_its_subscription(self) -> None:
        with Rig() as rig:
            other = rig.stream()
            stream = self.adopt(rig)
            rig.publish("not yet")
            rig.step(3)
            assert (stream.read(), stream.state) == (0, "switching")
            rig.engine.subscribe(stream.handle, client="a", position=1)
            assert rig.publish("now", clients=["a"]) == 2
            rig.step(2)
            stream.read()
            assert stream.data == ["hello", "now"]
            other.read()
            assert other.data == ["not yet"]

    def test_what_is_sent_to_it_lets_it_go(self) -> None:
        with Rig() as rig:
            stream = self.adopt(rig)
            rig.engine.send(stream.handle, SSEEvent("one"))
            rig.step(2)
            stream.read()
            assert stream.data == ["hello", "one"]

    def test_an_indirect_one_has_nothing_to_take_before_its_subscription(self) -> None:
        with Rig() as rig:
            handle = rig.engine.adopt(
                -1, "owner", queue_of(b"hello"), chunked=True, indirect=True, held=True
            )
            assert rig.engine.take(handle, 100) == b""
            rig.step(2)
            assert rig.reported == []
            assert rig.engine.take(handle, 100) == b""
            rig.engine.subscribe(handle, client="a")
            assert rig.engine.take(handle, 100) == b"hello"
            rig.publish("x" * 50, clients=["a"])
            rig.step(2)
            assert [report.kind for report in rig.reported] == ["data"]
            assert b"x" * 50 in rig.engine.take(handle, 1000)
            rig.engine.close(handle, CloseReason.KICKED.code)

    def test_an_indirect_one_s_owner_is_told_once_it_may_take(self) -> None:
        with Rig() as rig:
            handle = rig.engine.adopt(
                -1, "owner", queue_of(b"hello"), chunked=True, indirect=True, held=True
            )
            rig.engine.subscribe(handle, client="a")
            rig.step(2)
            assert [report.kind for report in rig.reported] == ["data"]
            assert rig.engine.take(handle, 100) == b"hello"

    @pytest.mark.parametrize("does", ["sends", "ends", "leaves"])
    def test_what_its_client_does_keeps_no_pump_busy(self, does: str) -> None:
        ours, theirs = socket.socketpair()
        with Running() as running, theirs:
            other = running.client(tcp=False)
            ours.setblocking(False)
            handle = running.engine.adopt(
                ours.detach(), "owner", queue_of(b"x"), chunked=True, held=True
            )
            if does == "sends":
                theirs.send(b"x")
            elif does == "ends":
                theirs.shutdown(socket.SHUT_WR)
            else:
                theirs.close()
            before = running.engine.stats()["rounds"]
            for number in range(1, 301):
                running.publish("p", 1)
                running.wait(lambda n=number: other.count("p") >= n, "the event")
            rounds = running.engine.stats()["rounds"] - before
            assert rounds < 3000
            running.engine.subscribe(handle, client="a")
            if does == "sends":
                assert theirs.recv(10) == b"x"
                running.engine.close(handle, CloseReason.KICKED.code, flush=False)
            running.wait(lambda: "closed" in running.kinds(handle), "its end")

    def test_a_client_that_leaves_meanwhile(self) -> None:
        with Rig() as rig:
            stream = self.adopt(rig)
            stream.client.close()
            rig.step(3)
            assert stream.kinds == []
            rig.engine.subscribe(stream.handle, client="a")
            rig.step(3)
            assert stream.closed_as is CloseReason.CLIENT_CLOSED

    @pytest.mark.parametrize("flush", [True, False])
    def test_closed_meanwhile(self, flush: bool) -> None:
        with Rig() as rig:
            stream = self.adopt(rig)
            assert rig.engine.close(stream.handle, CloseReason.KICKED.code, flush=flush)
            rig.step(2)
            stream.read()
            stream.client.shutdown(socket.SHUT_WR)
            rig.step(2)
            assert stream.closed_as is CloseReason.KICKED
            assert stream.data == (["hello"] if flush else [])
            with pytest.raises(ConnectionClosed):
                rig.engine.subscribe(stream.handle, client="a")

    @pytest.mark.parametrize("threaded", [True, False])
    @pytest.mark.parametrize("gently", [True, False])
    def test_the_engine_ends_meanwhile(self, threaded: bool, gently: bool) -> None:
        """Whoever would have subscribed it finds that it is over."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        engine = Engine(threaded=threaded)
        if threaded:
            engine.start()
        handle = engine.adopt(ours.detach(), "owner", queue_of(b"x"), chunked=True, held=True)
        if gently:
            engine.shutdown(reason=CloseReason.SHUTDOWN.code, deadline_s=0.0)
            with pytest.raises(ManagerClosed):
                engine.subscribe(handle, client="a")
        engine.shut_down()
        with pytest.raises(ManagerClosed):
            engine.subscribe(handle, client="a")
        (report,) = engine.reports()
        assert (report.kind, report.reason) == ("closed", CloseReason.SHUTDOWN.code)
        assert engine.stats()["parked"] == 0
        with theirs, contextlib.suppress(ConnectionResetError):
            while theirs.recv(1000):
                pass


class TestAdopting:
    def test_a_descriptor_that_cannot_be_waited_for(self, tmp_path: Any) -> None:
        with Rig() as rig, open(tmp_path / "file", "wb") as file:
            memory = rig.engine.memory_bytes
            for fd, number in ((file.fileno(), errno.EPERM), (-1, errno.EBADF)):
                queue = queue_of(b"kept")
                with pytest.raises(OSError, match=os.strerror(number)) as raised:
                    rig.engine.adopt(fd, None, queue, chunked=True)
                assert raised.value.errno == number
                assert queue.take() == b"kept"
            assert rig.engine.stats()["parked"] == 0
            assert rig.engine.reports() == []
            rig.adopt()
            assert rig.engine.memory_bytes - memory < 100_000

    def test_what_is_watched_stays_watched(self) -> None:
        """A failure in the midst: here the descriptor is another one than was watched."""
        with Rig() as rig:
            ours, theirs = rig.pair()
            other, peer = rig.pair()
            rig.watched += [ours, theirs, other, peer]
            owner = Owner("driven")
            handle = rig.engine.watch(ours.fileno(), owner)
            queue = queue_of(b"kept")
            with pytest.raises(FileNotFoundError):
                rig.engine.adopt(other.fileno(), "parked", queue, chunked=True, handle=handle)
            assert queue.take() == b"kept"
            theirs.close()
            rig.step(2)
            assert [(report.kind, report.owner) for report in rig.reported] == [("hangup", owner)]

    def test_a_queue_that_is_being_sent(self) -> None:
        ours, theirs = socket.socketpair()
        with Rig(), ours, theirs:
            ours.setblocking(False)
            queue = WriteQueue(release_gil=True, max_bytes=1 << 30)
            stop = threading.Event()

            def send() -> None:
                while not stop.is_set():
                    try:
                        queue.append_raw(b"x" * 200_000)
                        queue.send(ours.fileno())
                        theirs.recv(1 << 20)
                    except WriterBusy:
                        pass

            theirs.setblocking(True)
            sender = threading.Thread(target=send)
            sender.start()
            met = 0
            try:
                while met < 3:
                    try:
                        queue.drop_oldest(1 << 30)
                    except WriterBusy:
                        met += 1
            finally:
                stop.set()
                sender.join()

    def test_options_that_cannot_be(self) -> None:
        with Rig() as rig:
            ours, theirs = rig.pair()
            rig.watched += [ours, theirs]
            queue = queue_of(b"kept")
            for wrong, message in (
                ({"policy": "wait"}, "policy must be one of"),
                ({"max_queue_bytes": 0}, "max_queue_bytes"),
                ({"max_queue_bytes": 1 << 31}, "max_queue_bytes"),
                ({"max_age_s": -1.0}, "max_age_s"),
                ({"lease_s": 1e7}, "lease_s"),
                ({"age_reason": 0}, "age_reason"),
                ({"age_reason": 13}, "age_reason"),
            ):
                with pytest.raises(ValueError, match=message):
                    rig.engine.adopt(ours.fileno(), None, queue, chunked=True, **wrong)  # type: ignore[arg-type]
            with pytest.raises(TypeError):
                rig.engine.adopt(ours.fileno(), None, None, chunked=True)  # type: ignore[arg-type]
            with pytest.raises(TypeError):
                rig.engine.adopt(ours.fileno(), None, queue)  # type: ignore[call-arg]
            assert queue.take() == b"kept"
            assert rig.engine.stats()["parked"] == 0

    def test_a_stale_handle(self) -> None:
        with Rig() as rig:
            ours, theirs = rig.pair()
            rig.watched += [ours, theirs]
            handle = rig.engine.watch(ours.fileno(), None)
            rig.engine.unwatch(handle)
            queue = queue_of(b"kept")
            with pytest.raises(ConnectionClosed, match="no watched connection"):
                rig.engine.adopt(ours.fileno(), None, queue, chunked=True, handle=handle)
            assert queue.take() == b"kept"
            theirs.send(b"mine")
            assert ours.recv(10) == b"mine"

    def test_what_is_parked_is_not_adopted_again(self) -> None:
        with Rig() as rig:
            stream = rig.stream()
            with pytest.raises(ConnectionClosed):
                rig.engine.adopt(-1, None, WriteQueue(), chunked=True, handle=stream.handle)
            rig.publish("x")
            rig.settle()
            assert stream.data == ["x"]

    @pytest.mark.faults
    def test_no_memory(self) -> None:
        """Failing in the pump: the stream ends, with its reason. Failing here: nothing moved."""
        with Rig() as rig:
            ours, theirs = rig.pair()
            rig.watched += [ours, theirs]
            queue = queue_of(b"kept")
            try:
                plan_fault("malloc", after=1)
                with pytest.raises(AllocationError, match="another connection"):
                    rig.engine.adopt(ours.fileno(), None, queue, chunked=True)
                assert queue.take() == b"kept"
                rig.engine.unwatch(rig.engine.watch(ours.fileno(), None))
                plan_fault("malloc", after=1)
                stream = rig.adopt()
                rig.step(2)
                assert stream.closed_as is CloseReason.LIMIT
            finally:
                plan_fault("malloc", after=0)
            again = rig.stream()
            rig.publish("x")
            rig.settle()
            assert again.data == ["x"]
            with pytest.raises(AllocationError):
                plan_fault("malloc", after=1)
                rig.engine.send(again.handle, b"x")
            plan_fault("malloc", after=0)


class TestClosing:
    def test_the_first_reason_wins(self) -> None:
        with Rig() as rig:
            stream = rig.stream()
            assert rig.engine.close(stream.handle, CloseReason.AUTH_EXPIRED.code)
            assert not rig.engine.close(stream.handle, CloseReason.KICKED.code)
            stream.client.close()
            rig.settle(read=False)
            assert not rig.engine.close(stream.handle, CloseReason.KICKED.code)
            assert stream.closed_as is CloseReason.AUTH_EXPIRED

    def test_what_is_watched_is_not_closed(self) -> None:
        with Rig() as rig:
            ours, theirs = rig.pair()
            rig.watched += [ours, theirs]
            handle = rig.engine.watch(ours.fileno(), None)
            assert not rig.engine.close(handle, 1)
            ours.send(b"mine")
            assert theirs.recv(10) == b"mine"

    def test_all_at_once(self) -> None:
        with Rig(pumps=2) as rig:
            streams = [rig.stream() for _ in range(20)]
            rig.engine.close(streams[0].handle, CloseReason.KICKED.code)
            rig.publish("last")
            rig.engine.close_all(CloseReason.SHUTDOWN.code)
            rig.settle()
            for stream in streams:
                assert stream.wire.ended
                stream.client.close()
            rig.settle(read=False)
            assert streams[0].closed_as is CloseReason.KICKED
            assert streams[0].data == []
            assert {stream.closed_as for stream in streams[1:]} == {CloseReason.SHUTDOWN}
            assert all(stream.data == ["last"] for stream in streams[1:])
            # The engine goes on.
            assert rig.stream().state == "live"
