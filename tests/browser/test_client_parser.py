"""The browser script's parser against the standard, by what the Python parser is tested with.

The tests of ``tests/speedups/test_parse.py`` are run as they stand, with ``read`` asking the page;
and random streams in random cuts are compared with the reference, which is the standard word by
word. (Comments are counted in Python alone, and a time is bounded by what a timer takes.)
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from h3py.manager.endpoints import SCRIPT
from tests.speedups import reference, strategies, test_parse

pytestmark = pytest.mark.browser

MAX_TIMER_MS = 2**31 - 1

PARSE = """(streams) => streams.map(({ chunks, lastEventId }) => {
  const parser = new EventParser(lastEventId);
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const events = chunks.flatMap((chunk) => parser.feed(bytes(chunk)));
  const told = events.map(([{ type, data, id }]) => [type, data, id]);
  return { events: told, retry: parser.retry, lastEventId: parser.lastEventId };
})"""

Parse = Callable[[list[tuple[list[bytes], str]]], list[reference.Stream]]


@pytest.fixture(scope="module")
def parse(chromium: Any) -> Iterator[Parse]:
    """Parses streams, each given as chunks and a last event id."""
    page = chromium.new_page()
    page.set_content(
        f"<script type=module>{SCRIPT.read_text()}\nwindow.EventParser = EventParser;</script>"
    )
    page.wait_for_function("() => window.EventParser")

    def parse(streams: list[tuple[list[bytes], str]]) -> list[reference.Stream]:
        given = [
            {"chunks": [base64.b64encode(chunk).decode() for chunk in chunks], "lastEventId": last}
            for chunks, last in streams
        ]
        return [
            reference.Stream(
                [tuple(event) for event in found["events"]], found["retry"], found["lastEventId"]
            )
            for found in page.evaluate(PARSE, given)
        ]

    yield parse
    page.close()


def as_in_a_browser(expected: reference.Stream) -> reference.Stream:
    """What the reference says, in the browser's terms."""
    retry = None if expected.retry is None else min(expected.retry, MAX_TIMER_MS)
    return reference.Stream(expected.events, retry, expected.last_event_id)


def cases() -> list[Any]:
    """Every test of the Python parser that reads whole streams, with each of its parameters."""
    found = []
    for name, test in vars(test_parse).items():
        if not name.startswith("test_") or not {"read", "data_of"} & {*test.__code__.co_names}:
            continue
        marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
        tables = [[arguments_of(mark.args[0], row) for row in mark.args[1]] for mark in marks]
        for number, chosen in enumerate(itertools.product(*tables)):
            arguments = {key: value for one in chosen for key, value in one.items()}
            found.append(pytest.param(test, arguments, id=f"{name[5:]}-{number}"))
    return found


def arguments_of(names: Any, row: Any) -> dict[str, Any]:
    given = names.replace(" ", "").split(",") if isinstance(names, str) else list(names)
    return dict(zip(given, row if len(given) > 1 else [row], strict=True))


@pytest.mark.parametrize(("test", "arguments"), cases())
def test_what_the_python_parser_is_tested_with(
    monkeypatch: pytest.MonkeyPatch,
    parse: Parse,
    test: Callable[..., None],
    arguments: dict[str, Any],
) -> None:
    def read(stream: bytes | str, **options: Any) -> tuple[list[reference.Event], Any]:
        stream = stream.encode() if isinstance(stream, str) else stream
        last = options.get("last_event_id", "")
        cuts = [
            [stream[at : at + size] for at in range(0, len(stream), size)]
            for size in (len(stream) or 1, 1, 2, 3)
        ]
        outcomes = parse([(chunks, last) for chunks in cuts])
        assert all(outcome == outcomes[0] for outcome in outcomes)
        outcome, told = outcomes[0], reference.parse(stream, last)
        assert outcome.retry == as_in_a_browser(told).retry
        return outcome.events, SimpleNamespace(
            retry=told.retry, last_event_id=outcome.last_event_id, comment_count=told.comments
        )

    monkeypatch.setattr(test_parse, "read", read)
    test(**arguments)


def test_they_are_most_of_its_tests() -> None:
    """That the selection above still selects."""
    tests = {case.values[0].__name__ for case in cases()}
    assert len(tests) > 20
    assert len(cases()) > 100
    assert "test_as_browsers_are_tested" in tests


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(strategies.chunked(), strategies.ids), min_size=20, max_size=40))
def test_any_stream_in_any_cuts(parse: Parse, streams: list[tuple[list[bytes], str]]) -> None:
    expected = [
        as_in_a_browser(reference.parse(b"".join(chunks), last)) for chunks, last in streams
    ]
    assert parse(streams) == expected


def test_an_event_ends_with_its_cr(parse: Parse) -> None:
    """The LF that may follow is not waited for, and is no line of its own when it comes."""
    whole = [b"data: a\r\r", b"\n", b"data: b\r\n\r", b"", b"\ndata: c\n", b"\n"]
    counts = [len(found.events) for found in parse([(whole[:n], "") for n in range(1, 7)])]
    assert counts == [1, 1, 2, 2, 2, 3]


def test_megabytes_in_one_line_and_in_many(parse: Parse) -> None:
    """Pieces of a line are not searched again and again."""
    for line, size in ((b"x" * 10_000_000, 65_536), (b"x\r\n" * 500_000, 65_536)):
        stream = reference.format_event(data=line.decode())
        chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
        [found] = parse([(chunks, "")])
        [(_, data, _)] = found.events
        assert data == line.decode().replace("\r\n", "\n")
