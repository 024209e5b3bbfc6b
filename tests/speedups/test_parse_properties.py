"""The parser against the standard's own words, over any bytes and any cuts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h3py._speedups.format import SSEEvent, format_event
from h3py._speedups.parse import EventParser, ReceivedEvent
from h3py.errors import EventTooLarge
from tests.speedups import reference, strategies


def feed_all(parser: EventParser, chunks: list[bytes]) -> tuple[list[reference.Event], bool]:
    """The events of all chunks, and whether the parser then refuses more."""
    events: list[ReceivedEvent] = []
    try:
        for chunk in [*chunks, b""]:
            events += parser.feed(chunk)
    except EventTooLarge:
        assert parser.error is not None
    else:
        assert parser.error is None
    return [(e.type, e.data, e.last_event_id) for e in events], parser.error is not None


@given(strategies.chunked(), strategies.ids)
def test_any_stream_in_any_cuts_as_the_reference_reads_it(
    chunks: list[bytes], last_event_id: str
) -> None:
    parser = EventParser(last_event_id=last_event_id)
    expected = reference.parse(b"".join(chunks), last_event_id)
    assert feed_all(parser, chunks) == (expected.events, False)
    assert parser.retry == expected.retry
    assert parser.last_event_id == expected.last_event_id
    assert parser.comment_count == expected.comments


@given(strategies.chunked(), st.integers(1, 40))
def test_the_limit_falls_at_the_same_line_in_any_cuts(chunks: list[bytes], limit: int) -> None:
    stream = b"".join(chunks)
    parser = EventParser(max_event_bytes=limit)
    before = reference.before_too_large(stream, limit)
    expected = reference.parse(stream if before is None else before)
    assert feed_all(parser, chunks) == (expected.events, before is not None)
    assert parser.retry == expected.retry
    assert parser.last_event_id == expected.last_event_id
    assert parser.comment_count == expected.comments


@given(st.lists(strategies.legal_fields(), max_size=5), st.data())
def test_round_trip(events: list[dict[str, Any]], data: st.DataObject) -> None:
    """Any events in a row, cut anywhere, come back one by one."""
    wire = b"".join(format_event(SSEEvent(**fields)) for fields in events)
    parser = EventParser()
    received, refused = feed_all(parser, data.draw(strategies.chunked(st.just(wire))))
    expected, last_id, retry = [], "", None
    for fields in events:
        last_id = fields.get("id", last_id)
        retry = fields.get("retry", retry)
        if "data" in fields:
            text = fields["data"].replace("\r\n", "\n").replace("\r", "\n")
            expected.append((fields.get("event") or "message", text, last_id))
    assert received == expected
    assert not refused
    assert (parser.last_event_id, parser.retry) == (last_id, retry)


@pytest.mark.untraced  # millions of lines, each of which is an event of the tracer
@pytest.mark.parametrize("line", [b"x" * 10_000_000, b"x\r\n" * 2_000_000], ids=["one", "many"])
@pytest.mark.parametrize("step", [65536, 100_000_000])
def test_ten_megabytes(line: bytes, step: int) -> None:
    """F7: whole, in pieces or not."""
    wire = format_event(SSEEvent(data=line, id="big")) + b"data: next\n\n"
    parser = EventParser()
    events = [e for at in range(0, len(wire), step) for e in parser.feed(wire[at : at + step])]
    text = line.decode().replace("\r\n", "\n")
    assert events == [
        ReceivedEvent("message", text, "big"),
        ReceivedEvent("message", "next", "big"),
    ]
