"""Events as the engine writes them, byte by byte, and pieces for one stream."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from h3py._speedups.format import SSEEvent, format_event
from h3py.errors import ConnectionClosed
from tests.speedups import strategies
from tests.speedups.support.rig import Rig, Stream

events = strategies.legal_fields().map(lambda fields: SSEEvent(**fields))
ID = b"id: 000000000007-%012x\n"


def received(stream: Stream) -> bytes:
    """Everything the client got, as it came."""
    data = b""
    while True:
        try:
            data += stream.client.recv(1 << 20)
        except BlockingIOError:
            return data


def chunk(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


@given(events)
def test_an_event_is_one_chunk_with_the_id_first(event: SSEEvent) -> None:
    with Rig() as rig:
        stream = rig.stream()
        if event.id is not None:
            with pytest.raises(ValueError, match="must not have one of its own"):
                rig.engine.publish(event, everyone=True)
            rig.engine.publish(event, everyone=True, with_id=False)
            rig.step()
            assert received(stream) == chunk(format_event(event))
            return
        rig.engine.publish(event, everyone=True)
        rig.step()
        assert received(stream) == chunk(ID % 1 + format_event(event))


@given(events)
def test_what_is_sent_to_one_stream_is_as_it_is(event: SSEEvent) -> None:
    with Rig() as rig:
        stream = rig.stream()
        rig.engine.send(stream.handle, event)
        rig.step()
        assert received(stream) == chunk(format_event(event))


@pytest.mark.parametrize("size", [3, 15, 16, 255, 256, 4095, 4096, 4097, 30_000])
@pytest.mark.parametrize("chunked", [True, False])
def test_bytes_are_one_chunk(size: int, chunked: bool) -> None:
    """Above 4 KiB they are sent by reference."""
    piece = b":".ljust(size - 2, b"x") + b"\n\n"
    with Rig() as rig:
        stream = rig.adopt(chunked=chunked)
        rig.engine.send(stream.handle, piece)
        rig.step(3)
        assert received(stream) == (chunk(piece) if chunked else piece)


@pytest.mark.parametrize("wrong", ["text", bytearray(b"x"), None, 5])
def test_what_cannot_be_sent(wrong: Any) -> None:
    with Rig() as rig:
        stream = rig.stream()
        with pytest.raises(TypeError, match="SSEEvent or bytes"):
            rig.engine.send(stream.handle, wrong)
        assert rig.engine.queued_bytes(stream.handle) == 0


def test_nothing_cannot_be_sent() -> None:
    with Rig() as rig:
        stream = rig.stream()
        with pytest.raises(ValueError, match="empty chunk would end the stream"):
            rig.engine.send(stream.handle, b"")


@pytest.mark.parametrize("wrong", ["text", b"bytes", None])
def test_what_cannot_be_published(wrong: Any) -> None:
    with Rig() as rig:
        with pytest.raises(TypeError):
            rig.engine.publish(wrong, everyone=True)
        assert rig.engine.head == 0


def test_ids_are_stamped_one_by_one() -> None:
    with Rig() as rig:
        stream = rig.stream()
        for n in range(20):
            rig.engine.publish(SSEEvent("x"), everyone=True, with_id=n % 5 != 0)
        rig.settle()
        found = [event.sequence if event.id else None for event in stream.events]
        assert found == [None if n % 5 == 0 else n + 1 for n in range(20)]


@pytest.mark.parametrize("size", [100_000, 2_000_000])
def test_large_events(size: int) -> None:
    with Rig() as rig:
        streams = [rig.stream(), rig.stream(tiny=True)]
        text = "0123456789" * (size // 10)
        rig.publish(text)
        rig.settle()
        assert [stream.data for stream in streams] == [[text], [text]]


def test_a_refused_piece_leaves_nothing_behind() -> None:
    with Rig() as rig:
        before = rig.engine.memory_bytes
        for piece in (SSEEvent("x"), b": " + b"x" * 5000 + b"\n\n"):
            with pytest.raises(ConnectionClosed):
                rig.engine.send(12345, piece)
        assert rig.engine.stats()["blocks"] == 1
        rig.engine.reports()
        assert rig.engine.memory_bytes == before


def test_who_knows_less_than_is_required_publishes_nothing() -> None:
    with Rig() as rig:
        stream = rig.stream()
        rig.publish("before")
        assert rig.engine.require(7) == 1
        before = rig.engine.stats()
        assert rig.engine.publish(SSEEvent("x"), everyone=True) is None
        assert rig.engine.publish(SSEEvent("x"), everyone=True, version=6) is None
        rig.step()
        after = rig.engine.stats()
        for name in ("published", "refused", "memory_bytes"):
            assert after[name] == before[name]
        assert rig.engine.publish(SSEEvent("at"), everyone=True, version=7) == (2, 1)
        # What has been required is not taken back.
        assert rig.engine.require(3) == 2
        assert rig.engine.publish(SSEEvent("x"), everyone=True, version=6) is None
        assert rig.engine.publish(SSEEvent("above"), everyone=True, version=8) == (3, 1)
        rig.step()
        data = received(stream)
        assert [data.count(word) for word in (b"before", b"at\n", b"above", b"x\n")] == [1, 1, 1, 0]
