"""Handles: stale ones find nothing, whatever has become of their record."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from h3py._speedups.engine import Engine
from h3py._speedups.format import SSEEvent
from h3py._speedups.write_queue import WriteQueue
from h3py.close_reason import CloseReason
from h3py.errors import ConnectionClosed
from tests.speedups.support.rig import Rig

SLAB = 256


def gone(rig: Rig) -> int:
    """The handle of a stream that has ended, and was reported."""
    stream = rig.stream()
    rig.engine.close(stream.handle, CloseReason.KICKED.code, flush=False)
    rig.settle()
    assert stream.closed_as is CloseReason.KICKED
    return stream.handle


STALE: dict[str, Callable[[Engine, int], object]] = {
    "unwatch": lambda engine, handle: engine.unwatch(handle),
    "leave": lambda engine, handle: engine.leave(handle, channels=["a"]),
    "touch": lambda engine, handle: engine.touch(handle),
    "close": lambda engine, handle: engine.close(handle, 1) is False or pytest.fail("closed"),
    "queued_bytes": lambda engine, handle: engine.queued_bytes(handle) == 0,
    "kernel_bytes": lambda engine, handle: engine.kernel_bytes(handle) == 0,
    "is_open": lambda engine, handle: not engine.is_open(handle) or pytest.fail("open"),
    "info": lambda engine, handle: engine.info(handle) is None or pytest.fail("known"),
    "take": lambda engine, handle: engine.take(handle) == b"" or pytest.fail("bytes"),
}
REFUSED: dict[str, Callable[[Engine, int], object]] = {
    "send": lambda engine, handle: engine.send(handle, SSEEvent("x")),
    "subscribe": lambda engine, handle: engine.subscribe(handle),
    "join": lambda engine, handle: engine.join(handle, channels=["a"]),
    "page": lambda engine, handle: engine.page(handle, [], None),
    "adopt": lambda engine, handle: engine.adopt(
        -1, None, WriteQueue(), chunked=True, handle=handle
    ),
}


@pytest.mark.parametrize("reused", [False, True])
@pytest.mark.parametrize("name", STALE)
def test_a_stale_handle_is_no_error(name: str, reused: bool) -> None:
    with Rig() as rig:
        handle = gone(rig)
        other = rig.stream() if reused else None
        STALE[name](rig.engine, handle)
        if other is not None:
            assert other.handle != handle
            assert other.handle & 0xFFFFFFFF == handle & 0xFFFFFFFF
            rig.publish("untouched")
            rig.settle()
            assert other.data == ["untouched"]


@pytest.mark.parametrize("reused", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_a_stale_handle_is_a_closed_connection(name: str, reused: bool) -> None:
    with Rig() as rig:
        handle = gone(rig)
        other = rig.stream() if reused else None
        with pytest.raises(ConnectionClosed):
            REFUSED[name](rig.engine, handle)
        if other is not None:
            rig.publish("untouched")
            rig.settle()
            assert other.data == ["untouched"]


@pytest.mark.parametrize("handle", [0, 1, 0xFFFFFFFF, 1 << 32, 0xFFFFFFFF_FFFFFFFF])
def test_a_handle_that_never_was(handle: int) -> None:
    with Rig() as rig:
        assert rig.engine.info(handle) is None
        rig.stream()
        assert rig.engine.info(handle) is None or handle == 1 << 32
        with pytest.raises(ConnectionClosed):
            rig.engine.send(handle | 5, SSEEvent("x"))


def test_a_record_takes_a_new_generation_each_time() -> None:
    with Rig() as rig:
        handles = [gone(rig) for _ in range(20)]
        assert len(set(handles)) == 20
        assert len({handle & 0xFFFFFFFF for handle in handles}) == 1


def test_a_table_grows_by_slabs() -> None:
    with Rig() as rig:
        memory = rig.engine.memory_bytes
        handles = [
            rig.engine.adopt(-1, n, WriteQueue(), chunked=True, indirect=True)
            for n in range(2 * SLAB + 1)
        ]
        assert sorted(handle & 0xFFFFFFFF for handle in handles) == list(range(2 * SLAB + 1))
        rig.step()
        assert rig.engine.stats()["parked"] == 2 * SLAB + 1
        for handle in handles:
            rig.engine.close(handle, CloseReason.KICKED.code, flush=False)
        rig.step()
        closed = [report.owner for report in rig.engine.reports()]
        assert sorted(report.owner for report in rig.reported) + sorted(closed) == sorted(
            range(2 * SLAB + 1)
        )
        # The slabs stay for the next ones, and the pump's arrays.
        again = rig.engine.memory_bytes
        assert again > memory
        for n in range(2 * SLAB):
            rig.engine.adopt(-1, n, WriteQueue(), chunked=True, indirect=True)
        rig.step()
        assert rig.engine.memory_bytes == again
