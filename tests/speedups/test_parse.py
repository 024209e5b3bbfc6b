"""The parser, sentence by sentence of WHATWG HTML sections 9.2.5 and 9.2.6.

Every stream here is read whole, and again a byte at a time: the cuts may never
matter. What random streams may do is in ``test_parse_properties``.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from h3py._speedups.parse import EventParser, ReceivedEvent

Events = list[tuple[str, str, str]]


def read(stream: bytes | str, **options: Any) -> tuple[Events, EventParser]:
    """What the stream gives, however it is cut."""
    if isinstance(stream, str):
        stream = stream.encode()
    outcomes = []
    for size in (len(stream) or 1, 1, 2, 3):
        parser = EventParser(**options)
        chunks = [stream[i : i + size] for i in range(0, len(stream), size)]
        events = [event for chunk in chunks for event in parser.feed(chunk)]
        seen = [(event.type, event.data, event.last_event_id) for event in events]
        outcomes.append((seen, parser.retry, parser.last_event_id, parser.comment_count, parser))
    assert all(outcome[:4] == outcomes[0][:4] for outcome in outcomes)
    return outcomes[0][0], outcomes[0][4]


def data_of(stream: bytes | str) -> list[str]:
    events, _ = read(stream)
    assert all(event[0] == "message" for event in events)
    return [event[1] for event in events]


# --- the examples of the standard -------------------------------------------


def test_example_of_three_lines() -> None:
    assert read("data: YHOO\ndata: +2\ndata: 10\n\n")[0] == [("message", "YHOO\n+2\n10", "")]


def test_example_of_four_blocks() -> None:
    stream = (
        ": test stream\n\n"
        "data: first event\nid: 1\n\n"
        "data:second event\nid\n\n"
        "data:  third event\n\n"
    )
    events, parser = read(stream)
    assert events == [
        ("message", "first event", "1"),
        ("message", "second event", ""),
        ("message", " third event", ""),
    ]
    assert parser.comment_count == 1


def test_example_of_empty_data() -> None:
    assert data_of("data\n\ndata\ndata\n\ndata:") == ["", "\n"]


def test_example_of_the_space() -> None:
    assert data_of("data:test\n\ndata: test\n\n") == ["test", "test"]


# --- the cases that browsers are tested with (web-platform-tests, eventsource/) ----


LONG = "x" * 2048
FIELDS = (
    "data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\r"
    "data:\r\n data:32\ndata:4\n\n"
)


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ("\ufeffdata:1\n\n\ufeffdata:2\n\ndata:3\n\n", ["1", "3"]),
        ("\ufeff\ufeffdata:1\n\ndata:2\n\ndata:3\n\n", ["2", "3"]),
        (
            f"data:1\r:\0\n:\r\ndata:2\n:{LONG}\rdata:3\n:data:fail\r:{LONG}\ndata:4\n\n",
            ["1\n2\n3\n4"],
        ),
        ("data:test1\n\nid:test\ndata:test2", ["test1"]),
        ("data:\n\ndata\ndata\n\ndata:test\n\n", ["", "\n", "test"]),
        (FIELDS, ["\0\n 2\n1\n3\n\n4"]),
        ("data:test\n data\ndata\nfoobar:x\nsometext\n:comment\ndata:test\n\n", ["test\n\ntest"]),
        ("data:\ttest\rdata: \ndata:test\n\n", ["\ttest\n\ntest"]),
        ("data:test\r\ndata\ndata:test\r\n\r", ["test\n\ntest"]),
        ("data:\0\n\n\n\n", ["\0"]),
        ("event: \ndata:data\n\n", ["data"]),
        ("retry\ndata:test\n\n", ["test"]),
        ("data:ok…\n\n", ["ok…"]),
        ("data:msg\ndata:msg\n\n:\n\nfalse:msg\n\ndata\n\ndata:end\n\n", ["msg\nmsg", "", "end"]),
    ],
    ids=[
        "bom", "two boms", "comments", "before the final empty line", "data", "field parsing",
        "unknown fields", "leading space", "newlines", "null character", "empty event",
        "empty retry", "utf-8", "event-data",
    ],
)  # fmt: skip
def test_as_browsers_are_tested(stream: str, expected: list[str]) -> None:
    assert data_of(stream) == expected


# --- what common clients get wrong ------------------------------------------


def test_the_first_event_after_a_bom_arrives() -> None:
    assert data_of(b"\xef\xbb\xbfdata: x\n\n") == ["x"]
    assert read("\ufeff: c\n")[1].comment_count == 1
    assert data_of("\ufeff\n\ndata: x\n\n") == ["x"]


@pytest.mark.parametrize("part", [b"\xef", b"\xef\xbb", b"\xef\xbb\xbe", b"\xbb\xbf", b"\xef\xbf"])
def test_part_of_a_bom_is_none(part: bytes) -> None:
    assert data_of(part + b"data: hidden\n\ndata: x\n\n") == ["x"]
    assert data_of(part + b"\ndata: x\n\n") == ["x"]
    assert data_of(part) == []


@pytest.mark.parametrize("where", ["data: {}x", "data: x{}", "data:{} x"])
def test_a_bom_elsewhere_is_text(where: str) -> None:
    line = where.format("\ufeff")
    assert data_of(f"{line}\n\n") == [line.removeprefix("data:").removeprefix(" ")]


@pytest.mark.parametrize(
    "value",
    [
        "+5",
        "-5",
        "5.0",
        "5s",
        "1e3",
        "1_000",
        "0x10",
        "",
        " 5",
        "5 ",
        "\t5",
        "٥",
        "５",
        "²",
        "5\0",
        "null",
    ],
)
def test_retry_is_ascii_digits(value: str) -> None:
    assert read(f"retry: 3000\nretry: {value}\n\n")[1].retry == 3000
    assert read(f"retry: {value}\n\n")[1].retry is None


@pytest.mark.parametrize(
    ("line", "retry"),
    [
        ("retry:5", 5),
        ("retry: 0", 0),
        ("retry: 000007", 7),
        ("retry: 3000", 3000),
        ("retry: 9223372036854775806", 2**63 - 2),
        ("retry: 9223372036854775807", 2**63 - 1),
        ("retry: 9223372036854775808", 2**63 - 1),
        ("retry: 18446744073709551617", 2**63 - 1),
        ("retry: " + "9" * 10_000, 2**63 - 1),
        ("retry: " + "0" * 10_000 + "12", 12),
    ],
)
def test_retry(line: str, retry: int) -> None:
    assert read(f"{line}\n")[1].retry == retry


def test_retry_acts_at_its_line_end() -> None:
    parser = EventParser()
    parser.feed(b"retry: 50")
    assert parser.retry is None
    parser.feed(b"0\n")
    assert parser.retry == 500
    parser.feed(b"retry: 1\rdata: not yet dispatched\n")
    assert parser.retry == 1


@pytest.mark.parametrize(
    "stream",
    [
        "", "\n", "\r\n\r\n\r\n", "\n" * 50, ":\n\n", ": ping\n\n: ping\n\n", "event: x\n\n",
        "id: 1\n\n", "retry: 5\n\n", "event: x\nid: 1\nretry: 5\n\n", "unknown: x\n\n", "x\n\n",
        "data2: x\n\n", "dat: x\n\n", "Data: x\n\n", "DATA: x\n\n", " data: x\n\n", "data : x\n\n",
        "\tdata: x\n\n", "data\0: x\n\n",
        "data: x", "data: x\n", "data: x\r", "data: x\r\n", "data: x\n: c\n",
    ],
)  # fmt: skip
def test_no_phantom_events(stream: str) -> None:
    assert data_of(stream) == []


def test_a_name_without_data_is_not_kept_for_the_next_event() -> None:
    assert read("event: gone\n\ndata: x\n\n")[0] == [("message", "x", "")]
    assert read("event: e\ndata: x\n\ndata: y\n\n")[0] == [("e", "x", ""), ("message", "y", "")]


def test_the_last_name_counts() -> None:
    assert read("event: a\nevent: b\ndata: x\n\n")[0] == [("b", "x", "")]
    assert read("event: a\nevent\ndata: x\n\n")[0] == [("message", "x", "")]
    assert read("event: a\nevent:\ndata: x\n\n")[0] == [("message", "x", "")]


def test_names_of_all_sizes_that_follow_each_other() -> None:
    names = ["tick", "tock", "tic", "ticks", "tick", "é", "e" * 64, "e" * 65, "e" * 64, "é"]
    stream = "".join(f"event: {name}\ndata\n\n" for name in names)
    assert [event[0] for event in read(stream)[0]] == names


def test_ids_persist() -> None:
    stream = "id: 1\ndata: a\n\ndata: b\n\nevent: e\ndata: c\nid: 2\n\n: c\n\ndata: d\n\n"
    assert [event[2] for event in read(stream)[0]] == ["1", "1", "2", "2"]


def test_an_empty_id_resets() -> None:
    for line in ("id", "id:", "id: "):
        events, parser = read(f"id: 1\ndata: a\n\n{line}\ndata: b\n\ndata: c\n\n")
        assert [event[2] for event in events] == ["1", "", ""]
        assert parser.last_event_id == ""


def test_an_id_without_data_counts() -> None:
    events, parser = read("id: 5\n\ndata: x\n\nid: 6\n\n")
    assert events == [("message", "x", "5")]
    assert parser.last_event_id == "6"


@pytest.mark.parametrize("value", ["\0", "a\0", "\0a", "a\0b"])
def test_an_id_with_nul_is_ignored(value: str) -> None:
    assert read(f"id: 1\nid: {value}\ndata: x\n\n")[0] == [("message", "x", "1")]


def test_the_id_of_an_event_that_did_not_end_is_not_one_to_go_on_from() -> None:
    for rest in ("id: 2", "id: 2\n", "id: 2\ndata: lost\n"):
        assert read(f"id: 1\ndata: x\n\n{rest}")[1].last_event_id == "1"


def test_an_id_from_before_the_stream() -> None:
    assert EventParser(last_event_id="9").last_event_id == "9"
    events, parser = read("data: x\n\nid: 10\ndata: y\n\n", last_event_id="9")
    assert [event[2] for event in events] == ["9", "10"]
    assert read("id\n\n", last_event_id="9")[1].last_event_id == ""
    assert parser.last_event_id == "10"


@pytest.mark.parametrize(
    "char", ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
)
def test_only_lf_and_cr_end_a_line(char: str) -> None:
    """``str.splitlines`` would cut at each of these."""
    text = f"a{char}b{char}data: c{char}{char}"
    stream = f"event: {text}\nid: {text}\ndata: {text}\n\n"
    assert read(stream)[0] == [(text, text, text)]


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_every_line_end(end: str) -> None:
    stream = f"event: e{end}data: a{end}data: b{end}id: 1{end}{end}: c{end}data: d{end}{end}"
    assert read(stream)[0] == [("e", "a\nb", "1"), ("message", "d", "1")]


def test_cr_ends_an_event_at_once() -> None:
    """The LF that may follow is not waited for, and is no line of its own when it comes."""
    parser = EventParser()
    assert len(parser.feed(b"data: a\r\r")) == 1
    assert parser.feed(b"\n") == []
    assert parser.feed(b"data: b\r\n\r") == [ReceivedEvent("message", "b")]
    assert parser.feed(b"") == []
    assert parser.feed(b"\ndata: c\n") == []
    assert parser.feed(b"\n") == [ReceivedEvent("message", "c")]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\xff", "\ufffd"),
        (b"\xc0\x80", "\ufffd\ufffd"),
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
        (b"\xe6\xbc", "\ufffd"),
        (b"\xf0\x9f\x98x", "\ufffdx"),
        (b"\xf4\x90\x80\x80", "\ufffd\ufffd\ufffd\ufffd"),
        ("é漢😀".encode(), "é漢😀"),
    ],
)
def test_broken_utf8_is_replaced_as_browsers_do(raw: bytes, text: str) -> None:
    stream = b"event: %s\nid: %s\ndata: %s\n\n" % (raw, raw, raw)
    assert read(stream)[0] == [(text, text, text)]


# --- what goes in and what comes out ----------------------------------------


def test_any_bytes_like_chunk() -> None:
    parser = EventParser()
    assert parser.feed(bytearray(b"data: a")) == []
    assert parser.feed(memoryview(b"..b\n.")[2:4]) == []
    assert parser.feed(memoryview(bytearray(b"\n"))) == [ReceivedEvent("message", "ab")]
    for wrong in ("data: x\n\n", None, 5):
        with pytest.raises(TypeError):
            parser.feed(wrong)  # type: ignore[arg-type]  # the error is the point
    with pytest.raises(BufferError):
        parser.feed(memoryview(b"data: x\n\n")[::2])
    assert parser.feed(b"data: still fine\n\n") == [ReceivedEvent("message", "still fine")]


def test_a_chunk_is_not_kept() -> None:
    parser = EventParser()
    chunk = bytearray(b"id: 1\nevent: name\ndata: first\nevent")
    parser.feed(chunk)
    chunk[:] = b"\0" * len(chunk)
    chunk.clear()
    assert parser.feed(b": other\n\n") == [ReceivedEvent("other", "first", "1")]


def test_received_event_is_a_value() -> None:
    event = ReceivedEvent("type", "data", "id")
    assert event == ReceivedEvent(type="type", data="data", last_event_id="id")
    assert hash(event) == hash(ReceivedEvent("type", "data", "id"))
    assert ReceivedEvent("t", "d").last_event_id == ""
    others = [("x", "data", "id"), ("type", "x", "id"), ("type", "data", "x")]
    assert all(event != ReceivedEvent(*other) for other in others)
    assert event != ("type", "data", "id")
    assert eval(repr(event)) == event
    assert copy.deepcopy(event) == pickle.loads(pickle.dumps(event)) == event
    with pytest.raises(AttributeError):
        event.data = "y"  # type: ignore[misc]  # the error is the point
    with pytest.raises(TypeError, match="cannot be changed"):
        event.__init__("a", "b")  # type: ignore[misc]  # the error is the point
    for wrong in (("t", None), (1, "d"), ("t", b"d"), ("t", "d", None), ("t",)):
        with pytest.raises(TypeError):
            ReceivedEvent(*wrong)  # type: ignore[arg-type]  # the error is the point
