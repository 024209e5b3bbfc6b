"""Events and their wire form: WHATWG HTML section 9.2.5, and what can never be sent."""

from __future__ import annotations

import base64
import copy
import enum
import json
import pickle
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from h3py._speedups.format import SSEEvent, format_comment, format_event
from tests.speedups import reference, strategies

FIELDS = ("data", "event", "id", "retry", "comment")


def values(event: SSEEvent) -> dict[str, Any]:
    return {name: getattr(event, name) for name in FIELDS if getattr(event, name) is not None}


def refusal(fields: dict[str, Any]) -> tuple[str, SSEEvent | None]:
    """Why there can be no such event, or the event."""
    try:
        return "", SSEEvent(**fields)
    except ValueError as error:
        return str(error), None


# --- the wire ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "wire"),
    [
        ({"data": "hello"}, b"data: hello\n\n"),
        ({"data": ""}, b"data: \n\n"),
        ({"data": " led by a space"}, b"data:  led by a space\n\n"),
        ({"data": ":"}, b"data: :\n\n"),
        ({"data": "a\nb"}, b"data: a\ndata: b\n\n"),
        ({"data": "a\rb"}, b"data: a\ndata: b\n\n"),
        ({"data": "a\r\nb"}, b"data: a\ndata: b\n\n"),
        ({"data": "a\n\rb"}, b"data: a\ndata: \ndata: b\n\n"),
        ({"data": "a\n"}, b"data: a\ndata: \n\n"),
        ({"data": "\r\n"}, b"data: \ndata: \n\n"),
        ({"data": "\r\r\n\n"}, b"data: \ndata: \ndata: \ndata: \n\n"),
        ({"data": b"bytes \xc3\xa9\nx"}, b"data: bytes \xc3\xa9\ndata: x\n\n"),
        ({"data": "a\0b"}, b"data: a\0b\n\n"),
        ({"data": "é漢😀"}, b"data: \xc3\xa9\xe6\xbc\xa2\xf0\x9f\x98\x80\n\n"),
        ({"data": "x", "event": "tick"}, b"event: tick\ndata: x\n\n"),
        ({"data": "x", "event": ""}, b"event: \ndata: x\n\n"),
        ({"data": "x", "event": " a: b"}, b"event:  a: b\ndata: x\n\n"),
        ({"id": "7"}, b"id: 7\n\n"),
        ({"id": ""}, b"id: \n\n"),
        ({"retry": 0}, b"retry: 0\n\n"),
        ({"retry": 10}, b"retry: 10\n\n"),
        ({"retry": 2**63 - 1}, b"retry: 9223372036854775807\n\n"),
        ({"comment": ""}, b": \n\n"),
        ({"comment": "one\r\ntwo"}, b": one\n: two\n\n"),
        (
            {"data": "d", "event": "e", "id": "i", "retry": 1, "comment": "c"},
            b": c\nid: i\nevent: e\nretry: 1\ndata: d\n\n",
        ),
    ],
)
def test_wire_form(fields: dict[str, Any], wire: bytes) -> None:
    assert format_event(SSEEvent(**fields)) == wire


@pytest.mark.parametrize("char", strategies.NO_LINE_ENDS)
def test_only_lf_and_cr_end_a_line(char: str) -> None:
    """``str.splitlines`` would cut at each of these; the standard does not."""
    for field in ("data", "event", "id", "comment"):
        event = SSEEvent(**{"data": "", field: f"a{char}b"})
        assert f"a{char}b\n".encode() in format_event(event)


@given(strategies.legal_fields())
def test_as_the_reference_formats(fields: dict[str, Any]) -> None:
    assert format_event(SSEEvent(**fields)) == reference.format_event(**fields)


@given(strategies.legal_fields())
def test_bytes_of_utf8_are_the_same_event(fields: dict[str, Any]) -> None:
    event = SSEEvent(**fields)
    if event.data is not None:
        same = event.replace(data=event.data.encode())
        assert same == event
        assert hash(same) == hash(event)
        assert same.data == event.data
        assert format_event(same) == format_event(event)


@pytest.mark.parametrize("text", ["", "beat", "two\nlines", "a\rb", "é\u2028"])
def test_comment(text: str) -> None:
    assert format_comment(text) == reference.format_event(comment=text)


@pytest.mark.parametrize("wrong", [None, b"bytes", 1])
def test_comment_is_text(wrong: Any) -> None:
    with pytest.raises(TypeError):
        format_comment(wrong)


@pytest.mark.parametrize("wrong", [None, "data: x\n\n", b"bytes", {"data": "x"}])
def test_only_an_event_is_formatted(wrong: Any) -> None:
    with pytest.raises(TypeError, match="SSEEvent"):
        format_event(wrong)


@pytest.mark.untraced  # millions of lines, each of which is an event of the tracer
@pytest.mark.parametrize("data", ["x" * 10_000_000, "x\r\n" * 3_000_000, "漢" * 3_000_000])
def test_ten_megabytes(data: str) -> None:
    """F7: one event, whatever its size, in memory of exactly its size."""
    wire = format_event(SSEEvent(data=data, event="big"))
    assert wire == reference.format_event(data=data, event="big")


# --- what no caller can do --------------------------------------------------


@given(
    data=st.none() | strategies.any_text | st.binary(max_size=20),
    event=st.none() | strategies.any_text,
    id=st.none() | strategies.any_text,
    retry=st.none() | st.integers(-5, 2**64),
    comment=st.none() | strategies.any_text,
)
@example(data=None, event=None, id="1\ndata: forged\n", retry=None, comment=None)
@example(data="\n\ndata: forged\n\n", event=None, id=None, retry=None, comment="\n\ndata: forged")
def test_no_value_forges_a_field_or_an_event(**fields: Any) -> None:
    """A value is refused, or it arrives as itself between two events that are untouched."""
    why, event = refusal(fields)
    if event is None:
        assert any(name in why for name in FIELDS)
        return
    before = format_event(SSEEvent(data="before", id="0", event="first"))
    after = format_event(SSEEvent(data="after"))
    read = reference.parse(before + format_event(event) + after)
    last_id = "0" if event.id is None else event.id
    expected = [("first", "before", "0")]
    if event.data is not None:
        data = reference.END_OF_LINE.sub("\n", event.data)
        expected.append((event.event or "message", data, last_id))
    assert read.events == [*expected, ("message", "after", last_id)]
    assert read.retry == event.retry
    comment = [] if event.comment is None else reference.END_OF_LINE.split(event.comment)
    assert read.comments == len(comment)


@pytest.mark.parametrize("field", ["event", "id"])
@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
@pytest.mark.parametrize("around", ["{}", "a{}", "{}b", "a{}b", "é{}", "a" * 100 + "{}"])
def test_one_line_fields_hold_no_line_end(field: str, end: str, around: str) -> None:
    with pytest.raises(ValueError, match=f"^{field} must not hold (LF|CR)"):
        SSEEvent(**{"data": "x", field: around.format(end)})


@pytest.mark.parametrize("value", ["\0", "a\0", "\0a", "é\0"])
def test_id_holds_no_nul(value: str) -> None:
    with pytest.raises(ValueError, match=r"^id must not hold U\+0000"):
        SSEEvent(id=value)


@pytest.mark.parametrize(
    "retry", [-1, -(2**70), 2**63, 2**200, True, False, 1.0, "5", b"6", [], 1j]
)
def test_retry_is_a_non_negative_integer(retry: Any) -> None:
    with pytest.raises(ValueError, match=r"^retry must"):
        SSEEvent(data="x", retry=retry)


@pytest.mark.parametrize("field", ["data", "event", "id", "comment"])
@pytest.mark.parametrize("text", strategies.SURROGATES)
def test_lone_surrogates_are_named(field: str, text: str) -> None:
    with pytest.raises(
        ValueError, match=f"^{field} holds a lone surrogate, U.{ord(text):04X}"
    ) as e:
        SSEEvent(**{"data": "", field: f"ab{text}"})
    assert "at index 2" in str(e.value)
    assert type(e.value) is ValueError


@pytest.mark.parametrize("field", ["data", "event", "id", "comment"])
@pytest.mark.parametrize(
    "value", [1, 1.5, bytearray(b"x"), memoryview(b"x"), ["x"], {"x": 1}, True]
)
def test_wrong_types_name_the_field(field: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"^{field} must be str"):
        SSEEvent(**{"data": "", field: value})


@pytest.mark.parametrize("field", ["event", "id", "comment"])
def test_only_data_may_be_bytes(field: str) -> None:
    with pytest.raises(TypeError, match=f"^{field} must be str or None, not bytes"):
        SSEEvent(**{"data": "", field: b"x"})


def test_a_name_needs_data() -> None:
    with pytest.raises(ValueError, match=r"^event needs data"):
        SSEEvent(event="x")
    with pytest.raises(ValueError, match=r"^event needs data"):
        SSEEvent(event="x", id="1", retry=5, comment="c")
    with pytest.raises(ValueError, match=r"^event needs data"):
        SSEEvent(data="x", event="e").replace(data=None)


def test_an_event_is_not_nothing() -> None:
    with pytest.raises(ValueError, match="needs data, id, retry or comment"):
        SSEEvent()
    with pytest.raises(ValueError, match="needs data, id, retry or comment"):
        SSEEvent.__new__(SSEEvent)


# --- UTF-8 ------------------------------------------------------------------


def is_utf8(raw: bytes) -> bool:
    """By CPython's decoder, which shares nothing with the check in the core."""
    try:
        raw.decode("utf-8", "strict")
    except UnicodeDecodeError:
        return False
    return True


def accepted(raw: bytes) -> bool:
    why, event = refusal({"data": raw})
    assert event is not None or why.startswith("data is not UTF-8: byte 0x")
    return event is not None


def test_every_beginning_of_a_sequence() -> None:
    tails = [
        b"",
        b"\x80",
        b"\xbf",
        b"\x80\x80",
        b"\x80\x7f",
        b"\x7f\x80",
        b"\xbf\xc0",
        b"\x80\x80\x80",
    ]
    for lead in range(0x80, 0x100):
        for second in range(0x100):
            for tail in tails:
                raw = bytes([lead, second]) + tail
                assert accepted(raw) == is_utf8(raw), raw


@given(strategies.streams, st.integers(0, 9))
def test_bytes_must_be_utf8(raw: bytes, pad: int) -> None:
    raw = b"p" * pad + raw
    assert accepted(raw) == is_utf8(raw)


def test_where_utf8_breaks_is_told() -> None:
    with pytest.raises(ValueError, match=r"^data is not UTF-8: byte 0xFF at index 12"):
        SSEEvent(data=b"twelve bytes\xff")


# --- the value --------------------------------------------------------------


def test_fields_read_back() -> None:
    event = SSEEvent("d", "e", "i", 5, "c")
    assert values(event) == {"data": "d", "event": "e", "id": "i", "retry": 5, "comment": "c"}
    assert SSEEvent(data=b"caf\xc3\xa9").data == "café"
    assert [getattr(SSEEvent(id="i"), name) for name in FIELDS] == [None, None, "i", None, None]


def test_text_of_subclasses_is_taken_as_plain() -> None:
    class Name(enum.StrEnum):
        TICK = "tick"

    class Raw(bytes):
        pass

    class Size(enum.IntEnum):
        LONG = 9

    event = SSEEvent(Raw(b"raw"), event=Name.TICK, id=Name.TICK, retry=Size.LONG)
    assert repr(event) == "SSEEvent(data='raw', event='tick', id='tick', retry=9)"
    assert {type(value) for value in values(event).values()} == {str, int}


@pytest.mark.parametrize("name", [*FIELDS, "other"])
def test_immutable(name: str) -> None:
    event = SSEEvent(data="x")
    with pytest.raises(AttributeError):
        setattr(event, name, "y")
    event.__init__(data="y")  # type: ignore[misc]  # the trick that must not work
    assert event == SSEEvent(data="x")


def test_final() -> None:
    with pytest.raises(TypeError):
        type("Sub", (SSEEvent,), {})


@given(strategies.legal_fields(), strategies.legal_fields())
def test_equal_when_the_fields_are(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert (SSEEvent(**a) == SSEEvent(**b)) == (a == b)
    again = SSEEvent(**a)
    assert again == SSEEvent(**a)
    assert hash(again) == hash(SSEEvent(**a))
    assert again != "x"
    assert (again != SSEEvent(**b)) == (a != b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ({"data": ""}, {"id": ""}),
        ({"id": ""}, {"comment": ""}),
        ({"data": "x"}, {"data": "y"}),
        ({"data": "x", "event": "a"}, {"data": "x", "event": "b"}),
        ({"id": "a"}, {"id": "b"}),
        ({"comment": "a"}, {"comment": "b"}),
        ({"data": "x", "retry": 1}, {"data": "x", "retry": 2}),
        ({"data": "a\rb"}, {"data": "a\nb"}),
    ],
)
def test_unequal_of_the_same_size(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert SSEEvent(**a) != SSEEvent(**b)


@given(strategies.legal_fields())
def test_copies_and_repr(fields: dict[str, Any]) -> None:
    event = SSEEvent(**fields)
    assert eval(repr(event)) == event
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(event, protocol)) == event
    assert copy.copy(event) == copy.deepcopy(event) == event
    assert event.replace() == event


def test_replace() -> None:
    event = SSEEvent(data=b"x", event="e", id="1", retry=5, comment="c")
    assert event.replace(data="y") == SSEEvent("y", "e", "1", 5, "c")
    assert event.replace(event=None, comment=None) == SSEEvent("x", id="1", retry=5)
    assert event.replace(id="", retry=0) == SSEEvent("x", "e", "", 0, "c")
    assert event.replace(retry=None).retry is None
    with pytest.raises(ValueError, match=r"^id must"):
        event.replace(id="a\n")
    with pytest.raises(TypeError):
        event.replace(name="z")  # type: ignore[call-arg]  # there is no such field


# --- builders ---------------------------------------------------------------


@pytest.mark.parametrize("obj", [None, 1, "a\nb\r", "\u2028", {"k": [1.5, True]}, [], "é😀"])
def test_json(obj: Any) -> None:
    event = SSEEvent.json(obj, event="e", id="1", retry=5, comment="c")
    assert json.loads(event.data or "") == obj
    assert format_event(event).count(b"data: ") == 1
    assert event == SSEEvent(event.data, "e", "1", 5, "c")


def test_json_of_what_has_none() -> None:
    with pytest.raises(TypeError, match="object"):
        SSEEvent.json(object())
    with pytest.raises(ValueError, match=r"^data holds a lone surrogate"):
        SSEEvent.json({"k": "\ud800"})
    with pytest.raises(ValueError, match=r"^id must"):
        SSEEvent.json(1, id="\n")


@given(st.binary(max_size=60))
def test_binary(raw: bytes) -> None:
    """F5: 4 characters for every 3 bytes begun, on one line."""
    event = SSEEvent.binary(raw, event="e", id="1")
    assert base64.b64decode(event.data or "", validate=True) == raw
    assert len(event.data or "") == (len(raw) + 2) // 3 * 4
    assert event.event == "e"
    assert event.id == "1"
    for like in (bytearray(raw), memoryview(raw)):
        assert SSEEvent.binary(like, "e", "1") == event


@pytest.mark.parametrize("wrong", ["text", None, 3, [1]])
def test_binary_of_what_is_not(wrong: Any) -> None:
    with pytest.raises(TypeError):
        SSEEvent.binary(wrong)


def test_nothing_is_kept() -> None:
    data = "x" * 1000 + "y"
    before = sys.getrefcount(data)
    for _ in range(100):
        format_event(SSEEvent(data=data, comment=data).replace(id="1"))
    assert sys.getrefcount(data) == before
