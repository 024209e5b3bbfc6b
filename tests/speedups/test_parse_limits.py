"""The parser's limit, its memory, and what happens when there is none."""

from __future__ import annotations

import contextlib
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from h3py._speedups.format import SSEEvent, format_event
from h3py._speedups.parse import EventParser, ReceivedEvent
from h3py.errors import EventTooLarge
from tests.speedups import reference

try:
    import _testcapi
except ImportError:  # a Python without its own test modules
    _testcapi = None

# --- the limit --------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "size"),
    [
        (b"data: 123456\n\n", 12),
        (b"data: 1\ndata: 2\n\n", 14),
        (b"event: e\nid: 1\ndata: x\n\n", 20),
        (b"id: 1\nid: 2\n\n", 10),
        (b"data\ndata\n\n", 8),
        (b": comment\n", 9),
        (b"unknown: x\n", 10),
        (b"retry: 10\n", 9),
        (b"data: 1\r\n: comment longer than the data\r\n\r\n", 37),
        (b"\xef\xbb\xbfdata: 1\n\n", 7),
        (b"no line end yet", 15),
    ],
)
def test_limit_at_it_and_one_past_it(stream: bytes, size: int) -> None:
    whole, cut = EventParser(size), EventParser(size)
    whole.feed(stream)
    for i in range(len(stream)):
        cut.feed(stream[i : i + 1])
    assert whole.error is cut.error is None

    for step in (len(stream), 1):
        parser = EventParser(max_event_bytes=size - 1)
        chunks = [stream[i : i + step] for i in range(0, len(stream), step)]
        with pytest.raises(EventTooLarge, match=f"larger than max_event_bytes, {size - 1} bytes"):
            list(map(parser.feed, chunks))


def test_each_event_has_the_whole_limit() -> None:
    assert len(EventParser(12).feed(b"data: 123456\n\nid: 12345678\n\n" * 5)) == 5


def test_lines_that_were_read_to_their_end_cost_nothing() -> None:
    parser = EventParser(max_event_bytes=10)
    for _ in range(1000):
        assert parser.feed(b": beat\nretry: 10\nother: x\n") == []
    assert parser.feed(b"data: x\n\n") == [ReceivedEvent("message", "x")]
    assert parser.comment_count == 1000


def test_after_a_too_large_event() -> None:
    parser = EventParser(max_event_bytes=20)
    good = parser.feed(b"id: 1\nretry: 7\ndata: good\n\nid: 2\n\nid: 3\ndata: " + b"x" * 30)
    assert good == [ReceivedEvent("message", "good", "1")]
    assert "20 bytes" in str(parser.error)
    for chunk in (b"", b"data: after\n\n"):
        with pytest.raises(EventTooLarge, match="the parser is finished"):
            parser.feed(chunk)
    assert (parser.last_event_id, parser.retry) == ("2", 7)


@pytest.mark.parametrize("wrong", [0, -1, 2**63, 2**100])
def test_limit_out_of_range(wrong: int) -> None:
    with pytest.raises(ValueError, match="max_event_bytes"):
        EventParser(wrong)


@pytest.mark.parametrize("wrong", [None, "1", 1.0, True])
def test_limit_of_another_type(wrong: Any) -> None:
    with pytest.raises(TypeError, match="max_event_bytes"):
        EventParser(wrong)
    with pytest.raises(TypeError, match="last_event_id"):
        EventParser(last_event_id=b"1")  # type: ignore[arg-type]  # the error is the point


# --- memory -----------------------------------------------------------------


def traced(function: Callable[[], object]) -> tuple[int, int]:
    """Bytes that are held after a call, and at its worst moment."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()


@pytest.mark.untraced  # a million lines, each of which is an event of the tracer
@pytest.mark.parametrize(
    "piece",
    [
        b"data\n",
        b"data: x\n",
        b"data: " + b"x" * 1000 + b"\n",
        b"x",
        b"id: 1\n",
        b"event: \xc3\xa9",
    ],
    ids=["empty data", "data", "long data", "no line end", "id", "name"],
)
def test_memory_is_bounded_whatever_comes(piece: bytes) -> None:
    limit = 1_000_000
    parser = EventParser(max_event_bytes=limit)
    chunk = piece * (10_000 // len(piece))

    def flood() -> None:
        while parser.error is None:
            with contextlib.suppress(EventTooLarge):
                parser.feed(chunk)

    held, worst = traced(flood)
    assert worst < 5 * limit + 100_000
    assert held < 100_000


def test_a_large_event_leaves_no_buffer_behind() -> None:
    parser = EventParser()
    chunk = b"data: " + b"x" * 100_000 + b"\n"

    def some() -> None:
        for _ in range(50):
            parser.feed(chunk[:50_000])
            parser.feed(chunk[50_000:])
        assert len(parser.feed(b"\n")[0].data) == 50 * 100_001 - 1

    held, worst = traced(some)
    assert worst > 5_000_000
    assert held < 100_000


@pytest.mark.skipif(_testcapi is None, reason="this Python has no _testcapi")
@pytest.mark.parametrize(
    "chunks",
    [
        [b"id: 7\nevent: tick\ndata: one\ndata: two\n\ndata: " + b"y" * 100, b"z\n\n"],
        [b"\xef", b"data: hidden\n\nid: \xff\nevent: \xff\ndata: \xff", b"\xff\ndata\n\n"],
    ],
)
def test_every_failing_allocation(chunks: list[bytes]) -> None:
    """Where memory runs out, ``MemoryError`` says so, and the parser knows if it is finished."""
    whole = EventParser()
    expected = [e for chunk in chunks for e in whole.feed(chunk)]
    failures = finished = 0
    for n in range(200):
        parser = EventParser()
        events: list[ReceivedEvent] = []
        failed = False
        for chunk in chunks:
            _testcapi.set_nomemory(n, n + 1)
            try:
                got = parser.feed(chunk)
            except MemoryError:
                failed = True
                break
            finally:
                _testcapi.remove_mem_hooks()
            events += got
        if not failed:
            assert events == expected
            continue
        failures += 1
        try:
            parser.feed(b"")
        except MemoryError:
            finished += 1
            continue
        # It failed before it had begun: the same chunk goes in again.
        for again in chunks[chunks.index(chunk) :]:
            events += parser.feed(again)
        assert events == expected
    assert 0 < finished <= failures < 100


@pytest.mark.skipif(_testcapi is None, reason="this Python has no _testcapi")
def test_every_failing_allocation_of_an_event() -> None:
    text = "é" * 100
    failures = 0
    for n in range(50):
        fresh = text + str(n)  # its UTF-8 is not there yet
        _testcapi.set_nomemory(n, n + 1)
        try:
            wire = format_event(SSEEvent(data=fresh, comment=fresh))
        except MemoryError:
            failures += 1
            continue
        finally:
            _testcapi.remove_mem_hooks()
        assert wire == reference.format_event(data=fresh, comment=fresh)
    assert 2 <= failures < 25
