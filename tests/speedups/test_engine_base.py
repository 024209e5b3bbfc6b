"""An engine's beginning and its end: options, threads, forks, and the interpreter's exit."""

from __future__ import annotations

import errno
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
from typing import Any

import pytest

from h3py._speedups.block import plan_fault
from h3py._speedups.clock import Clock
from h3py._speedups.engine import Engine
from h3py._speedups.engine_base import MAX_EPOCH
from h3py._speedups.format import SSEEvent
from h3py._speedups.write_queue import WriteQueue
from h3py.errors import AllocationError, ConnectionClosed, ManagerClosed
from tests.support.process import ROOT
from tests.support.wait import DEADLINE_S, SCALE, wait_until


def descriptors() -> int:
    """How many are open, once what is garbage is gone."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"pumps": 0},
        {"pumps": 65},
        {"log_events": 0},
        {"log_bytes": 0},
        {"log_age_s": -1},
        {"log_age_s": float("nan")},
        {"max_queue_bytes": 0},
        {"max_queue_bytes": 1 << 31},
        {"max_memory_bytes": 1},
        {"heartbeat_s": -1},
        {"heartbeat_misses": 0},
        {"stall_timeout_s": 1e10},
        {"slow_write_s": float("inf")},
        {"linger_s": -0.5},
        {"max_discard_bytes": -1},
        {"half_close": "maybe"},
        {"epoch": -1},
        {"epoch": MAX_EPOCH},
    ],
    ids=str,
)
def test_options_that_cannot_be(wrong: dict[str, Any]) -> None:
    before = descriptors()
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Engine(**wrong)
    assert descriptors() <= before


def test_an_unknown_option() -> None:
    with pytest.raises(TypeError, match="pumpz"):
        Engine(pumpz=1)  # type: ignore[call-arg]


def test_limits_are_legal_themselves() -> None:
    for options in (
        {"pumps": 64},
        {"log_events": 1, "log_bytes": 1, "max_memory_bytes": 1},
        {"max_queue_bytes": 1},
        {"max_queue_bytes": (1 << 31) - 1},
        {"heartbeat_s": None, "stall_timeout_s": None, "max_discard_bytes": 0},
        {"epoch": 0},
        {"epoch": MAX_EPOCH - 1},
    ):
        Engine(**options).shut_down()  # type: ignore[arg-type]


def test_epochs_differ() -> None:
    epochs = {Engine().epoch for _ in range(8)}
    assert len(epochs) > 1


def test_an_engine_that_never_started_leaves_nothing() -> None:
    before = descriptors()
    for _ in range(5):
        engine = Engine(pumps=3)
        engine.adopt(-1, object(), WriteQueue(), chunked=True, indirect=True)
        engine.publish(SSEEvent("x"), channels=["a"])
        del engine
    assert descriptors() <= before


def test_an_engine_that_ran_leaves_nothing() -> None:
    before = descriptors()
    threads = len(os.listdir("/proc/self/task"))
    for _ in range(5):
        engine = Engine(pumps=3)
        engine.start()
        engine.publish(SSEEvent("x"), channels=["a"])
        del engine
    assert descriptors() <= before
    wait_until(lambda: len(os.listdir("/proc/self/task")) <= threads, what="no thread left")


class TestStarting:
    def test_twice(self) -> None:
        engine = Engine()
        engine.start()
        with pytest.raises(RuntimeError, match="cannot be started"):
            engine.start()
        engine.shut_down()

    def test_after_the_end(self) -> None:
        engine = Engine()
        engine.shut_down()
        with pytest.raises(RuntimeError, match="cannot be started"):
            engine.start()

    def test_what_is_stepped(self) -> None:
        engine = Engine(threaded=False)
        with pytest.raises(RuntimeError, match="cannot be started"):
            engine.start()
        engine.step()
        engine.shut_down()
        with pytest.raises(RuntimeError, match="cannot be stepped"):
            engine.step()

    def test_what_has_threads_is_not_stepped(self) -> None:
        engine = Engine()
        with pytest.raises(RuntimeError, match="cannot be stepped"):
            engine.step()

    def test_signals_reach_no_pump(self) -> None:
        """Every thread but ours has all of them blocked."""
        engine = Engine(pumps=2)
        before = set(os.listdir("/proc/self/task"))
        engine.start()
        new = set(os.listdir("/proc/self/task")) - before
        assert len(new) == 2
        for thread in new:
            with open(f"/proc/self/task/{thread}/status") as status:
                blocked = next(line for line in status if line.startswith("SigBlk"))
            mask = int(blocked.split()[1], 16)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1):
                assert mask >> (number - 1) & 1
        engine.shut_down()

    @pytest.mark.faults
    @pytest.mark.parametrize("after", [1, 2, 3])
    def test_a_thread_that_does_not_start(self, after: int) -> None:
        """None is left running, and nothing is left open."""
        before = descriptors()
        threads = len(os.listdir("/proc/self/task"))
        engine = Engine(pumps=3)
        plan_fault("thread", after=after, error=errno.EAGAIN)
        try:
            with pytest.raises(OSError, match="unavailable") as raised:
                engine.start()
        finally:
            plan_fault("thread", after=0)
        assert raised.value.errno == errno.EAGAIN
        with pytest.raises(RuntimeError):
            engine.start()
        wait_until(lambda: len(os.listdir("/proc/self/task")) <= threads, what="no thread left")
        del engine
        gc.collect()
        assert descriptors() <= before

    @pytest.mark.faults
    def test_no_memory_for_an_engine(self) -> None:
        """Whichever allocation fails: it is said, and nothing stays."""
        before = descriptors()
        for after in range(1, 13):
            plan_fault("malloc", after=after)
            try:
                with pytest.raises(AllocationError):
                    Engine(pumps=2)
            finally:
                plan_fault("malloc", after=0)
        gc.collect()
        assert descriptors() <= before


class TestEnding:
    def test_twice_and_from_several_threads(self) -> None:
        engine = Engine(pumps=2)
        engine.start()
        threads = [threading.Thread(target=engine.shut_down) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        engine.shut_down()
        with pytest.raises(ManagerClosed):
            engine.publish(SSEEvent("x"), everyone=True)
        with pytest.raises(ConnectionClosed):
            engine.watch(0, None)
        assert engine.reports() == []
        assert engine.info(1 << 32) is None
        assert engine.stats()["parked"] == 0

    def test_after_a_shutdown_it_waits_for_the_streams(self) -> None:
        import socket

        engine = Engine()
        engine.start()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        handle = engine.adopt(ours.fileno(), None, WriteQueue(chunked=True), chunked=True)
        ours.detach()
        engine.subscribe(handle)
        engine.publish(SSEEvent("last"), everyone=True)
        engine.shutdown(reason=11, farewell=b": bye\n\n", deadline_s=DEADLINE_S * SCALE)

        def read_to_the_end() -> None:
            with theirs:
                while data := theirs.recv(4096):
                    got.append(data)

        got: list[bytes] = []
        reader = threading.Thread(target=read_to_the_end)
        reader.start()
        engine.shut_down()
        reader.join()
        assert b"".join(got).endswith(b"data: last\n\n\r\n7\r\n: bye\n\n\r\n0\r\n\r\n")
        assert [(report.kind, report.reason) for report in engine.reports()] == [("closed", 11)]

    def test_without_one_it_cuts_them(self) -> None:
        engine = Engine()
        engine.start()
        handles = [engine.adopt(-1, n, WriteQueue(), chunked=True, indirect=True) for n in range(5)]
        engine.shut_down()
        closed = engine.reports()
        assert sorted(report.handle for report in closed) == sorted(handles)
        assert {(report.kind, report.reason) for report in closed} == {("closed", 11)}

    def test_it_wakes_who_waits_for_room(self) -> None:
        engine = Engine(log_events=1)  # not started: there is never room
        engine.publish(SSEEvent("x"), everyone=True)
        found: list[bool] = []
        waiting = threading.Thread(target=lambda: found.append(engine.drain(None)))
        waiting.start()
        engine.shut_down()
        waiting.join()
        assert found == [False]


def run(code: str) -> subprocess.CompletedProcess[str]:
    """A program of its own, which must end by itself."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60 * SCALE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *sys.path[:1]])},
    )


@pytest.mark.process
class TestExit:
    def test_with_pumps_running(self) -> None:
        done = run(
            """
            from h3py._speedups.engine import Engine
            from h3py._speedups.format import SSEEvent
            engine = Engine(pumps=2)
            engine.start()
            engine.publish(SSEEvent("x"), everyone=True)
            print("end")
            """
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")

    def test_with_threads_that_publish_to_the_last(self) -> None:
        done = run(
            """
            import threading
            from h3py._speedups.engine import Engine
            from h3py._speedups.format import SSEEvent
            from h3py.errors import ManagerClosed
            engine = Engine()
            engine.start()
            began = threading.Event()
            def publish():
                try:
                    while True:
                        engine.publish(SSEEvent("x"), everyone=True)
                        began.set()
                        engine.drain(1.0)
                except ManagerClosed:
                    pass
            threading.Thread(target=publish, daemon=True).start()
            began.wait()
            print("end")
            """
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")

    def test_a_forked_child_s_engine_is_inert(self) -> None:
        done = run(
            """
            import gc, os, socket, warnings
            warnings.simplefilter("ignore", DeprecationWarning)
            from h3py._speedups.engine import Engine
            from h3py._speedups.format import SSEEvent
            from h3py._speedups.write_queue import WriteQueue
            engine = Engine()
            engine.start()
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            handle = engine.adopt(ours.detach(), None, WriteQueue(chunked=True), chunked=True)
            engine.subscribe(handle)
            child = os.fork()
            if child == 0:
                refused = 0
                for call in (
                    lambda: engine.publish(SSEEvent("x"), everyone=True),
                    lambda: engine.send(handle, b"x"),
                    lambda: engine.close(handle, 1),
                    lambda: engine.reports(),
                    lambda: engine.drain(0),
                    lambda: engine.info(handle),
                    lambda: engine.stats(),
                    lambda: engine.head,
                    lambda: engine.shut_down(),
                ):
                    try:
                        call()
                    except RuntimeError as error:
                        assert "belongs to the parent" in str(error)
                        refused += 1
                assert refused == 9, refused
                del engine, call
                gc.collect()
                # One of its own works.
                mine = Engine()
                mine.start()
                mine.shut_down()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            engine.publish(SSEEvent("still here"), everyone=True)
            assert b"still here" in theirs.recv(1000)
            engine.shut_down()
            print("end")
            """
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_an_engine_is_kept_alive_by_nobody_but_its_user() -> None:
    clock = Clock()
    engines = [Engine(clock=clock, threaded=False) for _ in range(3)]
    before = descriptors()
    engines.clear()
    assert descriptors() < before
    clock.advance(1.0)
