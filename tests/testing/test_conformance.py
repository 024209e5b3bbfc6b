"""The suite for connections must see what it is there to see: each broken connection fails it.

That the three kinds pass is in `tests/test_connection`. Here every rule meets a
connection that breaks it, made from the one in memory by changing one thing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import trio

from h3py import BufferFull, ConnectionState, SSEEvent
from h3py.testing import MemoryConnection, Pair, check_connection, conformance
from h3py.testing.conformance import CHECKS


def pair_of(kind: type[MemoryConnection]) -> Callable[[], Pair]:
    def make() -> Pair:
        connection = kind()
        connection.peer.deadline_s = 0.2
        return Pair(connection, connection.peer)

    return make


class WritesBeforeTheBeginning(MemoryConnection):
    def _refuse(self) -> None:
        if self.state is not ConnectionState.INIT:
            super()._refuse()


class BeginsTwice(MemoryConnection):
    def begin_stream(self, head: bytes, *, chunked: bool) -> None:
        if self.state is ConnectionState.STREAMING:
            self.state = ConnectionState.INIT
        super().begin_stream(head, chunked=chunked)


class KeepsTheHead(MemoryConnection):
    def begin_stream(self, head: bytes, *, chunked: bool) -> None:
        flush, self.__class__ = self.__class__, NeverFlushes
        super().begin_stream(head, chunked=chunked)
        self.__class__ = flush


class NeverFlushes(MemoryConnection):
    def flush(self) -> bool:
        return not self.queued_bytes


class EndsWithAnEmptyChunk(MemoryConnection):
    def write_chunk(self, data: Any) -> None:
        if len(data) == 0:
            self.queue.append_raw(b"0\r\n\r\n")
        super().write_chunk(data)


class FramesAlways(MemoryConnection):
    def begin_stream(self, head: bytes, *, chunked: bool) -> None:
        super().begin_stream(head, chunked=True)


class SendsEachChunkAtOnce(MemoryConnection):
    def write_chunk(self, data: Any) -> None:
        super().write_chunk(data)
        self.wire.send(self.queue)


class NeverSendsByItself(MemoryConnection):
    def write_chunk(self, data: Any) -> None:
        self.buffer_bytes, before = 1 << 30, self.buffer_bytes
        try:
            super().write_chunk(data)
        finally:
            self.buffer_bytes = before


class KeepsEvents(MemoryConnection):
    def send_event(self, event: SSEEvent) -> bool:
        self.queue.append_event(event)
        return True


class HasNoCap(MemoryConnection):
    def __init__(self) -> None:
        super().__init__(max_queue_bytes=1 << 40)


class TakesHalf(MemoryConnection):
    def write_chunk(self, data: Any) -> None:
        try:
            super().write_chunk(data)
        except BufferFull:
            self.queue.append_end(b"1\r\n!\r\n")
            raise


class RefusesLargeEvents(MemoryConnection):
    def send_event(self, event: SSEEvent) -> bool:
        if len(event.data or "") > 1_000_000:
            raise BufferFull("too large")
        return super().send_event(event)


class WritesAfterTheEnd(MemoryConnection):
    def _refuse(self) -> None:
        if self.state is not ConnectionState.CLOSING:
            super()._refuse()


class EndsTwice(MemoryConnection):
    def end_stream(self) -> None:
        self.queue.append_end(b"0\r\n\r\n")
        self.state = ConnectionState.CLOSING


class NeverEnds(MemoryConnection):
    def end_stream(self) -> None:
        self.state = ConnectionState.CLOSING


class CannotEndWhenFull(MemoryConnection):
    def end_stream(self) -> None:
        if self.state is ConnectionState.STREAMING:
            self.queue.append_raw(b"0\r\n\r\n")
            self.state = ConnectionState.CLOSING


class KeepsMemory(MemoryConnection):
    def abort(self) -> None:
        self.state = ConnectionState.CLOSED
        self.wire.close()


class DropsTheTail(MemoryConnection):
    def close(self) -> None:
        self.abort()


class SendsOnAbort(MemoryConnection):
    def abort(self) -> None:
        if self.state is ConnectionState.STREAMING:
            self.flush()
        super().abort()


class AliveForEver(MemoryConnection):
    def is_alive(self) -> bool:
        return True


class WaitsForEver(MemoryConnection):
    def flush(self) -> bool:
        if self.wire.peer_closed and self.state is ConnectionState.STREAMING:
            return False
        return super().flush()

    async def wait_writable(self) -> None:
        await super().wait_writable()
        if self.wire.peer_closed:
            await trio.sleep_forever()


BROKEN = [
    kind
    for _, kind in inspect.getmembers(inspect.getmodule(pair_of), inspect.isclass)
    if issubclass(kind, MemoryConnection) and kind is not MemoryConnection
]


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_what_is_broken_is_found(
    kind: type[MemoryConnection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conformance, "FILL_BYTES", 1 << 20)
    monkeypatch.setattr(conformance, "Deadline", ShortDeadline)
    with pytest.raises(Exception) as found:
        check_connection(pair_of(kind))
    assert any(note.startswith("in check_") for note in found.value.__notes__)


class ShortDeadline:
    """Deadlines that are reached on purpose need not be long."""

    left_s = 0.2


def test_each_rule_says_what_it_is() -> None:
    assert len(CHECKS) == len(set(CHECKS))
    found = {
        function
        for name, function in inspect.getmembers(conformance, inspect.isfunction)
        if name.startswith("check_") and function is not check_connection
    }
    assert found == set(CHECKS), "every rule is run"
    for check in CHECKS:
        assert inspect.getdoc(check)
