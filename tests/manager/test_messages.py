"""POST message: what is sent, what is refused and how that is named, and nothing forged."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from h3py import (
    BackpressureDetected,
    BrokerError,
    EventTooLarge,
    HTTPError,
    ManagerClosed,
    MemoryBroker,
    SSEError,
    WriterBusy,
)
from h3py.manager.messages import as_answer, check_text
from tests.manager.support.mounted import Mounted, only, token
from tests.support.client import Reply

Make = Callable[..., Mounted]
ORIGIN = "https://example.org"


def sent(reply: Reply) -> int:
    assert reply.status == 200, reply
    assert reply.head["content-type"] == "application/json"
    found = json.loads(reply.body)
    assert found.keys() == {"sent"}
    return int(found["sent"])


# What is sent.


def test_each_target(mounted: Mounted) -> None:
    ann = mounted.stream("ann", channels="news")
    bob = mounted.stream("bob", channels="news,room:1")
    eve = mounted.stream("eve")
    message = mounted.message
    assert sent(message(target="channel", target_id="news", event="1")) == 2
    assert sent(message(target="channel", target_id=["news", "room:1"], event="2")) == 2
    assert sent(message(target="user", target_id="eve", event="3")) == 1
    assert sent(message(target="user", target_id=["eve", "ann", "eve"], event="4")) == 2
    assert sent(message(target="client", target_id=bob.hello["client_id"], event="5")) == 1
    assert sent(message(target="client", target_id="nobody", event="x")) == 0
    assert sent(message(target="user", target_id="nobody", event="x")) == 0
    assert sent(message(target="channel", target_id=["empty"], event="x")) == 0
    assert sent(message(target="broadcast", event="6")) == 3
    assert [event.type for event in ann.read_events(4)] == ["1", "2", "4", "6"]
    assert [event.type for event in bob.read_events(4)] == ["1", "2", "5", "6"]
    assert [event.type for event in eve.read_events(3)] == ["3", "4", "6"]


@pytest.mark.parametrize(
    ("data", "arrives"),
    [
        (None, ""),
        ("", ""),
        ("text", "text"),
        ("two\nlines", "two\nlines"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("event: x\n\nid: 7", "event: x\n\nid: 7"),
        ("\u2028 🎉 \0", "\u2028 🎉 \0"),
        (7, "7"),
        (True, "true"),
        (0.5, "0.5"),
        (12345678901234567890123, "12345678901234567890123"),
        ([], "[]"),
        ({"a": ["b\n\nid: 7", None]}, '{"a":["b\\n\\nid: 7",null]}'),
    ],
)
def test_data(data: object, arrives: str, mounted: Mounted) -> None:
    stream = mounted.stream()
    assert sent(mounted.message(target="broadcast", event="x", data=data)) == 1
    assert only([stream.read_event()]) == [("x", arrives)]


def test_data_is_null_where_there_is_none(mounted: Mounted) -> None:
    stream = mounted.stream()
    mounted.message(target="broadcast", event="x")
    assert only([stream.read_event()]) == [("x", "")]


def test_metadata_is_what_subscribers_look_at(mounted: Mounted) -> None:
    app_stream = mounted.stream()
    seen: list[dict[str, Any]] = []
    publish = mounted.manager._publish

    def watch(*args: Any, **more: Any) -> int:
        seen.append({"metadata": args[4], "key": args[3]})
        return publish(*args, **more)

    mounted.manager._publish = watch  # type: ignore[method-assign]  # looked at, not replaced
    metadata = {"level": 3, "urgent": True, "area": "north\r\nid: 7", "share": 0.5}
    assert sent(mounted.message(target="broadcast", event="x", metadata=metadata, key="k")) == 1
    assert seen == [{"metadata": metadata, "key": "k"}]
    assert only([app_stream.read_event()]) == [("x", "")]
    assert b"north" not in app_stream.raw, "metadata does not leave"


# Who may.


def test_who_may_publish_to_what(mounted: Mounted) -> None:
    stream = mounted.stream("bob", channels="room:1")

    def status(who: str, target: str, target_id: Any = None) -> int:
        fields = {"target": target, "event": "x"}
        return mounted.message(
            who, **fields, **({} if target_id is None else {"target_id": target_id})
        ).status

    assert status("bob", "channel", "room:1") == 200
    assert status("bob", "channel", ["room:1", "room:2"]) == 200
    assert stream.read_event().type == "x"
    assert status("bob", "channel", "news") == 403, "to follow it is not to publish to it"
    assert status("bob", "channel", ["room:1", "news"]) == 403
    assert status("bob", "user", "bob") == 403
    assert status("bob", "client", stream.hello["client_id"]) == 403
    assert status("bob", "broadcast") == 403
    for who in ("eve", "guest"):
        assert status(who, "channel", "news") == 403
        assert status(who, "broadcast") == 403
    mounted.manager.broadcast("end")
    assert [event.type for event in stream.read_events(2)] == ["x", "end"]


def test_a_refusal_names_what_was_refused(mounted: Mounted) -> None:
    reply = mounted.message("bob", target="channel", target_id=["room:1", "ne<ws"], event="x")
    assert (reply.status, reply.text) == (
        403,
        "you may not publish to this: channel 'ne<ws'",
    )
    reply = mounted.message("bob", target="broadcast", event="x")
    assert (reply.status, reply.text) == (403, "you may not publish to this: broadcast")


def test_without_the_permission_a_body_is_not_even_read(mounted: Mounted) -> None:
    assert mounted.post("/message", b"nonsense", "eve").status == 403
    assert mounted.post("/message", b"nonsense", "nobody").status == 401


# What is no message.


GOOD = {"target": "channel", "target_id": "news", "event": "x"}
CONTROLS = ["a\r\nid: 7", "a\nb", "a\rb", "a\0b", "\x1b[2J", "\x7f", "\x85", "\t"]
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"target": "all"}, "$.target"),
    ({"target": 7}, "$.target"),
    ({"target": None}, "$.target"),
    ({"event": 7}, "$.event"),
    ({"event": None}, "$.event"),
    ({"event": ""}, "$.event"),
    ({"event": "x" * 129}, "$.event"),
    ({"event": "h3py:reset"}, "$.event"),
    ({"event": "h3py:"}, "$.event"),
    ({"target_id": 7}, "$.target_id"),
    ({"target_id": None}, "$.target_id"),
    ({"target_id": ""}, "$.target_id"),
    ({"target_id": "x" * 129}, "$.target_id"),
    ({"target_id": "é" * 65}, "$.target_id"),
    ({"target_id": []}, "$.target_id"),
    ({"target_id": ["a", 7]}, "$.target_id[1]"),
    ({"target_id": ["a", ""]}, "$.target_id[1]"),
    ({"target_id": ["a", "b", "x" * 129]}, "$.target_id[2]"),
    ({"target_id": [["a"]]}, "$.target_id[0]"),
    ({"target": "client", "target_id": ["a"]}, "$.target_id"),
    ({"target": "broadcast"}, "$.target_id"),
    ({"key": 7}, "$.key"),
    ({"key": ""}, "$.key"),
    ({"key": "x" * 129}, "$.key"),
    ({"metadata": [1]}, "$.metadata"),
    ({"metadata": "x"}, "$.metadata"),
    ({"metadata": {"a": None}}, "$.metadata[...]"),
    ({"metadata": {"a": {"b": 1}}}, "$.metadata[...]"),
    ({"metadata": {"": 1}}, "$.metadata"),
    ({"metadata": {"\0where:0": "1"}}, "$.metadata"),
    ({"metadata": {"x" * 129: 1}}, "$.metadata"),
    ({"id": "7"}, "`id`"),
    ({"user_id": "eve"}, "`user_id`"),
    *(({"event": text}, "$.event") for text in CONTROLS),
    *(({"target_id": text}, "$.target_id") for text in CONTROLS),
    *(({"target_id": ["a", text]}, "$.target_id[1]") for text in CONTROLS),
    *(({"key": text}, "$.key") for text in CONTROLS),
    *(({"metadata": {text: 1}}, "$.metadata") for text in CONTROLS),
]


@pytest.mark.parametrize(("change", "named"), WRONG)
def test_what_is_wrong_is_named(change: dict[str, Any], named: str, mounted: Mounted) -> None:
    stream = mounted.stream(channels="news")
    reply = mounted.message(**{**GOOD, **change})
    assert reply.status == 400
    assert named in reply.text
    assert "\n" not in reply.text
    assert "\r" not in reply.text
    mounted.manager.broadcast("end")
    assert stream.read_event().type == "end", "nothing was sent"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"null", "object"),
        (b"[]", "object"),
        (b'"x"', "object"),
        (b"{}", "`target`"),
        (b'{"target": "broadcast"}', "`event`"),
        (b'{"target": "user", "event": "x"}', "$.target_id"),
        (b"\xef\xbb\xbf{}", "malformed"),
        (b'{"target": "broadcast", "event": "\xff"}', "utf-8"),
        (b'{"target": "broadcast", "event": "\\ud800"}', "400"),
        (b'{"target": "broadcast", "event": "x", "data": 1e999}', "out of range"),
        (b'{"target": "broadcast", "event": "x", "data": NaN}', "malformed"),
        (b'{"target": "broadcast", "event": "x"} {}', "trailing"),
        (b'{"target": "broadcast", "event": "x", "data": ' + b"[" * 60_000, "too deeply"),
        (b"a=1&b=2", "malformed"),
    ],
)
def test_what_is_no_json(body: bytes, named: str, mounted: Mounted) -> None:
    reply = mounted.post("/message", body)
    assert reply.status == 400
    assert named in reply.text or named == "400"


def test_deep_data_is_sent_or_refused(mounted: Mounted) -> None:
    """Wherever reading, or a few frames deeper writing, meets its limit: no failure of ours."""
    stream = mounted.stream()
    with mounted.client() as client:
        statuses = []
        for depth in (10, *range(900, 1001), 30_000):
            body = b'{"target": "broadcast", "event": "x", "data": %s}' % (
                b"[" * depth + b"]" * depth
            )
            fields = [*token("ann"), ("Content-Type", "application/json")]
            client.request("POST", "/api/sse/message", fields, body)
            statuses.append(client.read_reply().status)
    assert set(statuses) == {200, 400}
    stream.read_events(statuses.count(200))


# What the manager says.


ERRORS: list[tuple[SSEError, int, str | None]] = [
    (BackpressureDetected("inner words"), 503, "9"),
    (ManagerClosed("inner words"), 503, "9"),
    (BrokerError("inner words"), 503, "9"),
    (EventTooLarge("inner words"), 413, None),
]


@pytest.mark.parametrize(("error", "status", "retry_after"), ERRORS)
def test_what_the_manager_raises(
    error: SSEError,
    status: int,
    retry_after: str | None,
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mounted = make(retry_after_s=9)

    def refuse(*args: Any, **more: Any) -> int:
        raise error

    monkeypatch.setattr(mounted.manager, "_publish", refuse)
    reply = mounted.message(target="broadcast", event="x")
    assert (reply.status, reply.head.get("retry-after")) == (status, retry_after)
    assert "inner words" not in reply.text


def test_what_is_no_answer_stays_an_error() -> None:
    error = WriterBusy("x")
    assert as_answer(error, 5) is error


def test_a_closed_manager_is_not_there(make: Make) -> None:
    mounted = make()
    assert sent(mounted.message(target="broadcast", event="x")) == 0
    mounted.manager.close()
    reply = mounted.message(target="broadcast", event="x")
    assert (reply.status, reply.head["retry-after"]) == (503, "5")


def test_an_event_too_large_for_the_manager(make: Make) -> None:
    mounted = make(broker=MemoryBroker(max_bytes=4096), max_memory_bytes=64 * 1024)
    reply = mounted.message(target="broadcast", event="x", data="x" * 40_000)
    assert reply.status == 413
    assert mounted.message(target="broadcast", event="x", data="x").status == 200


# Names.


@pytest.mark.parametrize(
    "name",
    ["a", "ä", "🎉", "a b", " ", "a:b", '"', "\\", "</script>", "\u2028", "\u202e", "\ufeff"],
)
def test_names(name: str) -> None:
    check_text("x", name, 128)


@pytest.mark.parametrize("name", ["", "\0", "\n", "\x1f", "\x7f", "\x80", "\x9f", "\ud800"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(HTTPError, match="400 x: must"):
        check_text("x", name, 128)


def test_no_line_is_forged(mounted: Mounted) -> None:
    """A whole message through every field at once, byte for byte."""
    stream = mounted.stream(channels="news")
    hello = len(stream.raw)
    evil = "x\nid: 7\nevent: h3py:reset\r\ndata: y\rretry: 0\n\n"
    fields = {"data": {evil: evil}, "metadata": {"a": evil}}
    assert sent(mounted.message(target="channel", target_id="news", event="e", **fields)) == 1
    (event,) = stream.read_events(1)
    assert (event.type, json.loads(event.data)) == ("e", {evil: evil})
    lines = stream.raw[hello:].split(b"\n")
    assert [line.partition(b":")[0] for line in lines] == [b"id", b"event", b"data", b"", b""]
