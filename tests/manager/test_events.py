"""What the manager's calls take, and what they refuse, before anything is sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h3py import EventParser, SSEEvent, format_event
from h3py.manager.events import (
    as_text,
    check_key,
    check_metadata,
    check_name,
    check_names,
    check_text,
    make_event,
)

TEXTS = st.text(st.characters(exclude_categories=("Cs",)))


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (None, ""),
        ("", ""),
        ("as it is", "as it is"),
        (0, "0"),
        (False, "false"),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        ([], "[]"),
    ],
)
def test_data_of_a_named_event(data: object, line: str) -> None:
    made = make_event("tick", data, None)
    assert EventParser().feed(format_event(made))[0].data == line
    assert made.event == "tick"


@pytest.mark.parametrize("data", [b"x", bytearray(b"y"), memoryview(b"z")])
def test_bytes_are_no_data(data: object) -> None:
    with pytest.raises(TypeError, match=r"SSEEvent\.binary"):
        make_event("tick", data, None)


def test_an_event_alone_stays_itself() -> None:
    event = SSEEvent("x", "tick")
    assert make_event(event, None, None) is event
    with pytest.raises(TypeError, match="alone"):
        make_event(event, "data", None)
    with pytest.raises(TypeError, match="alone"):
        make_event(event, None, "7")


@pytest.mark.parametrize("event", [None, 7, b"tick"])
def test_what_is_no_event(event: object) -> None:
    with pytest.raises(TypeError, match="a name or an SSEEvent"):
        make_event(event, None, None)  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize("name", ["a\nb", "a\rb"])
def test_names_of_events_forge_nothing(name: str) -> None:
    with pytest.raises(ValueError, match="event"):
        make_event(name, "x", None)


def test_data_that_json_cannot_express() -> None:
    with pytest.raises(TypeError):
        make_event("tick", object(), None)


@given(name=TEXTS, limit=st.integers(1, 20))
def test_a_name_is_measured_in_utf8(name: str, limit: int) -> None:
    size = len(name.encode())
    if 0 < size <= limit:
        assert check_name("channel", name, limit) == name
    else:
        with pytest.raises(ValueError, match="channel must"):
            check_name("channel", name, limit)


def test_a_name_at_the_limit_and_one_past_it() -> None:
    assert check_name("user_id", "é" * 64, 128) == "é" * 64
    with pytest.raises(ValueError, match="at most 128 bytes, not 129"):
        check_name("user_id", "é" * 64 + "x", 128)
    with pytest.raises(ValueError, match="at most 128 bytes, not 129"):
        check_name("user_id", "x" * 129, 128)


@pytest.mark.parametrize("name", [None, 7, b"news"])
def test_a_name_is_text(name: object) -> None:
    with pytest.raises(TypeError, match="channel must be a str"):
        check_name("channel", name, 128)  # type: ignore[arg-type]  # that is the point


def test_a_lone_surrogate_is_no_text() -> None:
    assert check_text("channel", "aé") == 3
    for call in (check_text, lambda kind, text: check_name(kind, text, 128)):
        with pytest.raises(ValueError, match="channel is no text"):
            call("channel", "\ud800")


def test_names_come_once_in_their_order() -> None:
    assert check_names("channel", iter(["b", "a", "b"]), 8) == ("b", "a")
    assert check_names("channel", (), 8) == ()


@pytest.mark.parametrize("names", ["text", b"bytes"])
def test_one_name_is_no_list_of_letters(names: object) -> None:
    with pytest.raises(TypeError, match="a list of names"):
        check_names("channel", names, 128)  # type: ignore[arg-type]  # that is the point


def test_metadata_is_text_by_text() -> None:
    assert check_metadata(None) is None
    assert check_metadata({}) is None
    assert check_metadata({"a": "x", "b": 7, "c": 0.5, "d": True, "e": False}) == {
        "a": "x",
        "b": "7",
        "c": "0.5",
        "d": "true",
        "e": "false",
    }


def test_what_is_no_metadata() -> None:
    with pytest.raises(TypeError, match="a mapping"):
        check_metadata([("a", "b")])  # type: ignore[arg-type]  # that is the point
    with pytest.raises(TypeError, match="keys must be str"):
        check_metadata({7: "x"})  # type: ignore[dict-item]  # that is the point
    for value in (None, b"x", ["x"], object()):
        with pytest.raises(TypeError, match="'a' must be text, a number or a boolean"):
            check_metadata({"a": value})
        with pytest.raises(TypeError, match="'a' must be text"):
            as_text("a", value)


def test_keys_that_begin_with_nul_are_the_managers() -> None:
    assert check_key("metadata", "a\0") == "a\0"
    with pytest.raises(ValueError, match="the manager's own"):
        check_metadata({"\0where:0": "1"})
