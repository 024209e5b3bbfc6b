"""How long it takes to make an event and to write it.

    python -m pytest bench/micro/test_format_bench.py

Wanted: an event of 100 bytes in 200 ns (120 ns), 16 KB on one line at 3 GB/s and
in 200 lines at 1 GB/s, through ``format_event``. Beside them, what an event costs
to make, and two floors: a copy of the same bytes, and a plain Python formatter.
The loop of pytest-benchmark is in every figure, some 10 to 20 ns a call. CPython
encodes a str that is not ASCII once and keeps the bytes, so the CJK text costs its
encoding only the first time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from h3py._speedups.format import SSEEvent, format_comment, format_event

DATA = {
    "100 B": "x" * 100,
    "1 KB": "x" * 1024,
    "16 KB, one line": "x" * 16384,
    "16 KB, 200 lines": "\n".join(["x" * 81] * 200),
    "16 KB, CJK": "漢" * 5461,
    "10 MB, one line": "x" * 10_000_000,
}
SIZES = pytest.mark.parametrize("data", DATA.values(), ids=DATA.keys())
LINE_END = re.compile("\r\n|\n|\r")


def group(name: str) -> pytest.MarkDecorator:
    # Rounds so long that reading the clock is no part of the figure.
    return pytest.mark.benchmark(group=name, min_time=0.0005, max_time=0.5)


def plain_python(data: str) -> bytes:
    """What a careful formatter without compiled code does."""
    lines = [f"data: {line}\n" for line in LINE_END.split(data)]
    return "".join([*lines, "\n"]).encode()


def measure(benchmark: Any, size: int, function: Callable[..., Any], *args: Any) -> Any:
    result = benchmark(function, *args)
    seconds = benchmark.stats.stats.median
    benchmark.extra_info.update(ns=round(seconds * 1e9, 1), gb_per_s=round(size / seconds / 1e9, 2))
    return result


@group("format_event")
@SIZES
def test_format(benchmark: Any, data: str) -> None:
    wire = measure(benchmark, len(data.encode()), format_event, SSEEvent(data=data))
    assert wire == plain_python(data)


@group("format_event")
def test_format_all_fields(benchmark: Any) -> None:
    event = SSEEvent("x" * 100, event="tick", id="1234567890", retry=3000, comment="c")
    assert len(measure(benchmark, 100, format_event, event)) == 151


@group("format_event: floors")
@SIZES
def test_copy(benchmark: Any, data: str) -> None:
    view = memoryview(bytearray(data.encode()))
    assert len(measure(benchmark, len(view), bytes, view)) == len(view)


@group("format_event: floors")
@SIZES
def test_plain_python(benchmark: Any, data: str) -> None:
    assert measure(benchmark, len(data.encode()), plain_python, data)


@group("SSEEvent")
@SIZES
def test_make(benchmark: Any, data: str) -> None:
    assert measure(benchmark, len(data.encode()), SSEEvent, data).data == data


@group("SSEEvent")
@SIZES
def test_make_from_bytes(benchmark: Any, data: str) -> None:
    raw = data.encode()
    assert measure(benchmark, len(raw), SSEEvent, raw).data == data


@group("SSEEvent")
def test_make_and_format(benchmark: Any) -> None:
    def both(data: str) -> bytes:
        return format_event(SSEEvent(data, event="tick", id="1234567890"))

    assert measure(benchmark, 100, both, "x" * 100)


@group("SSEEvent")
def test_json(benchmark: Any) -> None:
    token = {"token": "hello", "index": 17, "done": False}
    assert measure(benchmark, 40, SSEEvent.json, token).data


@group("format_event")
def test_comment(benchmark: Any) -> None:
    assert measure(benchmark, 4, format_comment, "beat") == b": beat\n\n"
