"""The streams that handlers write: the same on both backends."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from h3py import H3
from h3py.demo.texts import ANSWERS, GREETINGS, VERSES
from h3py.demo.ways import add_ways, tokens_of, whole
from tests.support.client import Client, EventStream
from tests.support.wait import Deadline


@pytest.fixture
def address(serve_app: Callable[..., Any], backend: str) -> Any:
    app = H3()
    add_ways(app, backend)
    return serve_app(app).addresses[0]


def begin(client: Client, target: str, last: str | None = None) -> tuple[EventStream, Any]:
    """A stream, and what its hello says."""
    fields = [] if last is None else [("Last-Event-ID", last)]
    stream = client.open_stream(target, fields)
    hello = stream.read_event()
    assert hello.type == "hello"
    return stream, json.loads(hello.data)


def test_the_counter_counts_on_from_the_last_id(address: Any, backend: str) -> None:
    with Client(address) as client:
        stream, told = begin(client, "/counter", "41")
        assert told == {"lastEventId": "41", "backend": backend}
        assert stream.parser.retry == 1000
        events = stream.read_events(2)
    assert [(event.type, json.loads(event.data), event.last_event_id) for event in events] == [
        ("count", {"count": 42}, "42"),
        ("count", {"count": 43}, "43"),
    ]


def test_a_tab_that_was_hidden_says_it_in_the_query(address: Any) -> None:
    with Client(address) as client:
        stream, told = begin(client, "/counter?last-event-id=7")
        assert told["lastEventId"] == "7"
        assert stream.read_event().last_event_id == "8"


def test_an_id_that_is_no_number_starts_anew(address: Any) -> None:
    for last in ("x", "1e9", "-1", "99999999999999999999"):
        with Client(address) as client:
            stream, _ = begin(client, "/counter", last)
            assert stream.read_event().last_event_id == "1"


@pytest.mark.parametrize("question", range(len(ANSWERS)))
def test_tokens_make_the_answer(address: Any, question: int) -> None:
    with Client(address) as client:
        stream, _ = begin(client, f"/tokens?q={question}")
        *tokens, done = stream.read_to_end()
    assert {event.type for event in tokens} == {"token"}
    assert "".join(json.loads(event.data)["text"] for event in tokens) == ANSWERS[question]
    assert (done.type, json.loads(done.data)) == ("done", {"tokens": len(tokens)})


def test_tokens_go_on_in_the_middle(address: Any) -> None:
    expected = tokens_of(ANSWERS[0])
    with Client(address) as client:
        stream, _ = begin(client, "/tokens?q=0", str(len(expected) - 3))
        *tokens, _ = stream.read_to_end()
    assert [json.loads(event.data)["text"] for event in tokens] == expected[-3:]


def test_text_has_lines_and_scripts(address: Any) -> None:
    with Client(address) as client:
        stream, _ = begin(client, "/text", "2")
        verse, greeting = stream.read_events(2)
    assert (verse.type, verse.data) == ("verse", VERSES[1])
    assert (greeting.type, greeting.data) == ("greeting", GREETINGS[1])


@pytest.mark.parametrize("name", ["counter", "tokens", "text"])
def test_a_stream_of_one_tab_is_dropped_and_no_other(address: Any, name: str) -> None:
    with Client(address) as mine, Client(address) as theirs, Client(address) as client:
        kept, _ = begin(theirs, f"/{name}?tab=b")
        stream, _ = begin(mine, f"/{name}?tab=a")
        dropped = False
        while not dropped:  # it is known a moment after its first event
            client.request("POST", f"/drop?stream={name}&tab=a")
            assert client.read_reply().status == 204
            dropped = is_ended(stream)
        assert kept.read_event()


def is_ended(stream: EventStream) -> bool:
    """Whether the stream ends before its next second of events."""
    if not stream.ended:
        stream._advance(Deadline(), "an event, or the end")
    return stream.ended


def test_a_drop_that_names_nothing_is_refused(address: Any) -> None:
    with Client(address) as client:
        client.request("POST", "/drop?stream=counter")
        assert client.read_reply().status == 400


def test_numbers_of_clients() -> None:
    assert [whole(text) for text in ("0", "12", "", "-1", "1.5", "²", "9" * 10)] == [
        0, 12, 0, 0, 0, 0, 0,
    ]  # fmt: skip
