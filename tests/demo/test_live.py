"""The shared connection, without a browser: rooms, presence, the cut and its replay, the clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from h3py import H3
from h3py.demo.live import WELCOME, Live
from tests.demo.kit import Window, post
from tests.support.client import Client

Open = Callable[..., Window]


@pytest.fixture
def live() -> Live:
    return Live()


@pytest.fixture
def address(serve_app: Callable[..., Any], live: Live) -> Any:
    app = H3()
    live.add_to(app)
    return serve_app(app).addresses[0]


@pytest.fixture
def window(address: Any) -> Iterator[Open]:
    """``window("Ada", "lobby")`` opens a window that has entered."""
    with ExitStack() as windows:

        def window(name: str, *rooms: str, **more: str) -> Window:
            made = Window(address, name, *rooms, **more)
            windows.callback(made.close)
            return made

        yield window


def names(here: Any, room: str | None = None) -> list[str]:
    return [one["name"] for one in here["members"] if room is None or room in one["rooms"]]


def test_the_greeting_names_the_client_and_its_channels(window: Open) -> None:
    ada = window("Ada", "lobby")
    assert ada.answer["you"] == {"id": 1, "name": "Ada", "rooms": ["lobby"]}
    assert [one["text"] for one in ada.answer["messages"]] == list(WELCOME)


def test_what_is_said_in_a_room_is_heard_there_and_nowhere_else(window: Open) -> None:
    ada, bob, eve = window("Ada", "lobby"), window("Bob", "lobby"), window("Eve", "kitchen")
    reply = ada.say("hello")
    assert json.loads(reply.text)["streams"] == 2
    for one in (ada, bob):
        heard = one.until("message")
        assert (heard["name"], heard["text"], heard["room"]) == ("Ada", "hello", "lobby")
    eve.say("tea?", "kitchen")
    assert eve.until("message")["text"] == "tea?"


def test_who_comes_later_sees_what_was_said(window: Open) -> None:
    ada = window("Ada", "lobby")
    ada.say("first")
    ada.say("second")
    said = [one["text"] for one in window("Bob", "lobby").answer["messages"]]
    assert said == [*WELCOME, "first", "second"]


def test_everybody_knows_who_is_in_which_room(window: Open) -> None:
    ada = window("Ada", "lobby")
    bob = window("Bob", "kitchen")
    both = ada.until("here", streams=2)
    while len(both["members"]) < 2:
        both = ada.until("here")
    assert (names(both), names(both, "lobby"), names(both, "kitchen")) == (
        ["Ada", "Bob"],
        ["Ada"],
        ["Bob"],
    )
    bob.follow("room:lobby")
    moved = ada.until("here")
    while names(moved, "lobby") != ["Ada", "Bob"]:
        moved = ada.until("here")
    assert names(moved, "kitchen") == []
    bob.close()
    gone = ada.until("here")
    while names(gone) != ["Ada"]:
        gone = ada.until("here")


def test_windows_of_one_connection_leave_one_by_one(window: Open, address: Any) -> None:
    ada = window("Ada", "lobby")
    said = {"tab": "second window", "client_id": ada.client_id, "name": "Also Ada"}
    assert post(address, "/live/enter", {**said, "channels": ["room:kitchen"]}).status == 200
    post(address, "/live/say", {"room": "kitchen", "name": "x", "text": "both rooms"})
    assert ada.until("message")["text"] == "both rooms"
    assert post(address, "/live/leave", {"tab": "second window"}).status == 204
    post(address, "/live/say", {"room": "kitchen", "name": "x", "text": "nobody hears"})
    post(address, "/live/say", {"room": "lobby", "name": "x", "text": "the next"})
    assert ada.until("message")["text"] == "the next"


def test_a_connection_that_was_cut_misses_nothing(window: Open, address: Any) -> None:
    ada, bob = window("Ada", "lobby"), window("Bob", "lobby")
    seen = ada.until("pulse")["number"]
    last = ada.last_event_id
    assert post(address, "/live/cut", {"client_id": ada.client_id}).status == 204
    ada.stream.read_to_end()
    for text in ("one", "two"):
        assert bob.say(text).status == 200
    while bob.until("pulse")["number"] < seen + 3:
        pass
    # Until the window has entered again its connection follows everything that it asked for.
    with Client(address) as again:
        fields = [("Last-Event-ID", last)]
        stream = again.open_stream("/api/sse?channels=pulse,room:lobby", fields)
        events: list[Any] = []
        while [one.type for one in events].count("pulse") < 5:
            events.append(stream.read_event())
    pulses = [json.loads(one.data)["number"] for one in events if one.type == "pulse"]
    assert pulses == list(range(seen + 1, seen + 6))
    texts = [json.loads(one.data)["text"] for one in events if one.type == "message"]
    assert texts == ["one", "two"]
    assert not [one for one in events if one.type == "h3py:reset"]


def test_the_clock_ticks_for_all_that_follow_it(window: Open) -> None:
    ada, bob = window("Ada"), window("Bob")
    first = ada.until("tick", streams=2)
    second = bob.until("tick", streams=2)
    while second["time"] < first["time"]:
        second = bob.until("tick")
    assert first == second
    bob.follow("room:lobby")  # and not the clock
    ada.until("tick", streams=1)


@pytest.mark.parametrize(
    ("target", "body", "status", "said"),
    [
        ("enter", {"tab": "t" * 8, "client_id": "c" * 8, "name": "x", "channels": []}, 204, ""),
        ("enter", {"tab": "short", "client_id": "c" * 8, "name": "x", "channels": []}, 400, "tab"),
        ("enter", {"tab": "t" * 8, "client_id": "c" * 8, "name": "x" * 25, "channels": []}, 400,
         "name"),
        ("enter", {"tab": "t" * 8, "client_id": "c" * 8, "name": "x", "channels": ["x"] * 17}, 400,
         "channels"),
        ("enter", [], 400, "object"),
        ("enter", b"{", 400, "not what was expected"),
        ("say", {"room": "attic", "text": "x"}, 400, "room"),
        ("say", {"room": "lobby", "text": "x" * 401}, 400, "text"),
        ("say", {"room": "lobby", "text": ""}, 400, "text"),
        ("say", {"room": "lobby", "text": "x", "tab": "not a window"}, 403, "tab"),
        ("cut", {"client_id": "c" * 8}, 404, "client_id"),
        ("leave", {"tab": 5}, 400, "tab"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused(
    address: Any, target: str, body: Any, status: int, said: str
) -> None:
    reply = post(address, f"/live/{target}", body)
    assert (reply.status, said in reply.text) == (status, True), reply.text


def test_a_page_of_another_site_may_do_nothing(address: Any) -> None:
    for target in ("enter", "leave", "say", "cut"):
        body = {"room": "lobby", "text": "x"}
        reply = post(address, f"/live/{target}", body, **{"Sec-Fetch-Site": "cross-site"})
        assert reply.status == 403


def test_only_its_own_channels_can_be_followed(window: Open, address: Any) -> None:
    with Client(address) as client:
        assert client.get("/api/sse?channels=secret").status == 403
        assert client.get("/api/sse/stats").status in (401, 403)
    ada = window("Ada")
    ada.follow("secret", "room:lobby")
    ada.say("x")
    assert ada.until("message")["text"] == "x"


def test_what_people_say_never_becomes_a_field(window: Open) -> None:
    evil = "x\n\nevent: forged\ndata: <script>alert(1)</script>\r\rid: 7"
    ada = window("Ada\nevent: x", "lobby")
    ada.say(evil)
    heard = ada.until("message")
    assert heard["text"] == evil.replace("\r", "")
    assert heard["name"] == "Adaevent: x"
