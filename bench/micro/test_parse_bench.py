"""How many events, and how many bytes, the parser takes in a second.

    python -m pytest bench/micro/test_parse_bench.py

Wanted: 1.5 M events/s of 100 bytes, and 1.5 GB/s of 16 KB events. Each round feeds
about 1 MB in chunks of 64 KB, as a client reads from a socket, to one parser; the
figures are in ``extra_info``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from h3py._speedups.format import SSEEvent, format_event
from h3py._speedups.parse import EventParser

CHUNK = 64 * 1024
EVENTS = {
    "100 B": SSEEvent("x" * 100),
    "100 B, id and name": SSEEvent("x" * 100, event="tick", id="1234567890"),
    "1 KB": SSEEvent("x" * 1024),
    "16 KB, one line": SSEEvent("x" * 16384),
    "16 KB, 200 lines": SSEEvent("\n".join(["x" * 81] * 200)),
    "16 KB, CJK": SSEEvent("漢" * 5461),
}


def measure(benchmark: Any, wire: bytes, chunk: int) -> None:
    count = max(1, 1_000_000 // len(wire))
    stream = wire * count
    chunks = [stream[at : at + chunk] for at in range(0, len(stream), chunk)]
    feed: Callable[[bytes], list[Any]] = EventParser(32 * 1024 * 1024).feed

    def read() -> int:
        events = 0
        for piece in chunks:
            events += len(feed(piece))
        return events

    assert benchmark(read) == count
    seconds = benchmark.stats.stats.median
    benchmark.extra_info.update(
        events_per_s=round(count / seconds), gb_per_s=round(len(stream) / seconds / 1e9, 2)
    )


@pytest.mark.benchmark(group="EventParser.feed")
@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS.keys())
def test_parse(benchmark: Any, event: SSEEvent) -> None:
    measure(benchmark, format_event(event), CHUNK)


@pytest.mark.benchmark(group="EventParser.feed")
def test_parse_crlf(benchmark: Any) -> None:
    measure(benchmark, b"id: 1234567890\r\ndata: " + b"x" * 100 + b"\r\n\r\n", CHUNK)


@pytest.mark.benchmark(group="EventParser.feed")
def test_parse_one_event_a_chunk(benchmark: Any) -> None:
    wire = format_event(SSEEvent("x" * 100))
    measure(benchmark, wire, len(wire))


@pytest.mark.benchmark(group="EventParser.feed")
@pytest.mark.parametrize("chunk", [1448, 4096], ids=["segments", "pages"])
def test_parse_16_kb_in_small_chunks(benchmark: Any, chunk: int) -> None:
    measure(benchmark, format_event(SSEEvent("x" * 16384)), chunk)


@pytest.mark.benchmark(group="EventParser.feed")
def test_parse_10_mb_events(benchmark: Any) -> None:
    measure(benchmark, format_event(SSEEvent("x" * 10_000_000)), CHUNK)
