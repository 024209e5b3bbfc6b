"""Blocks: what they keep alive, and for how long; the fault plans of a test build.

Blocks have no Python face of their own, so they are seen through what holds them.
"""

from __future__ import annotations

import gc
import sys
import threading

import pytest

from h3py._speedups.block import FAULTS_BUILT, plan_fault, release_borrowed
from h3py._speedups.write_queue import WriteQueue
from tests.speedups.support.rig import Rig

BIG = 5000
"""Above what is copied."""


def references(thing: object) -> int:
    return sys.getrefcount(thing) - 2


def test_a_large_piece_is_borrowed_and_let_go_of() -> None:
    piece = bytes(bytearray(b"x" * BIG))
    before = references(piece)
    queue = WriteQueue()
    queue.append(piece)
    assert references(piece) == before + 1
    assert queue.take(BIG) == piece
    assert references(piece) == before


def test_a_small_piece_is_copied() -> None:
    piece = bytes(bytearray(b"x" * 4096))
    before = references(piece)
    queue = WriteQueue()
    queue.append(piece)
    assert references(piece) == before


@pytest.mark.parametrize("make", [bytearray, memoryview])
def test_what_may_change_is_copied(make: type) -> None:
    source = bytearray(b"x" * BIG)
    queue = WriteQueue()
    queue.append(make(source))
    source[:] = b"y" * BIG
    assert queue.take(BIG) == b"x" * BIG


def test_a_queue_that_dies_lets_go() -> None:
    piece = bytes(bytearray(b"x" * BIG))
    before = references(piece)
    queue = WriteQueue()
    queue.append(piece)
    del queue
    gc.collect()
    assert references(piece) == before


def test_a_pump_lets_go_of_what_python_owns_only_by_reports() -> None:
    piece = bytes(bytearray(b": " + b"x" * BIG + b"\n\n"))
    before = references(piece)
    with Rig() as rig:
        stream = rig.stream()
        rig.engine.send(stream.handle, piece)
        assert references(piece) == before + 1
        rig.engine.step()
        assert stream.read() == len(piece) + len(f"{len(piece):x}") + 4
        # Sent, in the pump, which may not touch the object.
        assert references(piece) == before + 1
        rig.engine.reports()
        assert references(piece) == before


def test_release_borrowed_counts_and_is_idle_when_there_is_nothing() -> None:
    release_borrowed()
    assert release_borrowed() == 0


def test_objects_are_released_by_whoever_comes_first() -> None:
    """Threads that end queues at the same time release each object once."""

    pieces = [bytes(bytearray(b"x" * (BIG + n))) for n in range(64)]
    before = [references(piece) for piece in pieces]
    go = threading.Barrier(4)

    def fill_and_drop(mine: list[bytes]) -> None:
        go.wait()
        for _ in range(50):
            queue = WriteQueue()
            for piece in mine:
                queue.append_raw(piece) if queue.queued_bytes < 40000 else queue.clear()
            queue.clear()

    threads = [threading.Thread(target=fill_and_drop, args=(pieces[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    release_borrowed()
    assert [references(piece) for piece in pieces] == before


def test_a_build_without_hooks_says_so() -> None:
    if FAULTS_BUILT:
        plan_fault("malloc", after=0)
    else:
        with pytest.raises(RuntimeError, match="H3PY_FAULTS"):
            plan_fault("malloc")


@pytest.mark.faults
def test_an_unknown_kind_of_fault() -> None:
    with pytest.raises(ValueError, match="'disk'"):
        plan_fault("disk")


@pytest.mark.faults
def test_a_planned_fault_comes_once_and_in_its_turn() -> None:
    queue = WriteQueue(gather_bytes=1)
    try:
        plan_fault("malloc", after=2)
        queue.append(b"one")
        with pytest.raises(MemoryError):
            queue.append(b"two" * 100)
        queue.append(b"three")
    finally:
        plan_fault("malloc", after=0)
    assert queue.take() == b"onethree"
