"""Who is in which room, and what was said: bounds, and what is not shown to others."""

from __future__ import annotations

import msgspec
import pytest

from h3py import HTTPError
from h3py.demo.members import (
    KEPT_MESSAGES,
    MAX_MEMBERS,
    MAX_NAME,
    MAX_TEXT,
    Entering,
    Members,
    Saying,
    cleaned,
)


def entering(tab: str, name: str = "Ada", client_id: str = "client-1", *rooms: str) -> Entering:
    channels = [f"room:{room}" for room in rooms]
    return Entering(tab=tab, client_id=client_id, name=name, channels=channels)


@pytest.fixture
def members() -> Members:
    return Members()


def test_a_window_is_shown_by_number_and_name_and_never_by_its_secret(members: Members) -> None:
    members.enter(entering("secret-a", "Ada", "client-1", "lobby", "kitchen"))
    members.enter(entering("secret-b", "", "client-1"))
    assert members.shown() == [
        {"id": 1, "name": "Ada", "rooms": ["lobby", "kitchen"]},
        {"id": 2, "name": "Guest 2", "rooms": []},
    ]


def test_entering_again_changes_what_is_known(members: Members) -> None:
    first = members.enter(entering("secret-a", "Ada", "client-1", "lobby"))
    again = members.enter(entering("secret-a", "Grace", "client-2"))
    assert first.number == again.number
    assert members.shown() == [{"id": 1, "name": "Grace", "rooms": []}]
    assert members.channels_of("client-1") == set()


def test_a_connection_follows_what_any_of_its_windows_follows(members: Members) -> None:
    members.enter(entering("secret-a", "Ada", "client-1", "lobby"))
    members.enter(entering("secret-b", "Bob", "client-1", "kitchen"))
    members.enter(entering("secret-c", "Eve", "client-2", "kitchen"))
    assert members.channels_of("client-1") == {"room:lobby", "room:kitchen"}
    assert members.listening("room:kitchen") == 2
    assert members.listening("room:lobby") == 1
    assert members.leave("secret-b") is not None
    assert members.channels_of("client-1") == {"room:lobby"}
    assert members.leave("secret-b") is None


def test_windows_of_a_lost_connection_are_away_until_they_come_back(members: Members) -> None:
    members.enter(entering("secret-a", "Ada", "client-1", "lobby"))
    members.enter(entering("secret-b", "Bob", "client-2", "lobby"))
    members.lose("client-1")
    assert [one["name"] for one in members.shown()] == ["Bob"]
    assert members.channels_of("client-1") == set()
    members.enter(entering("secret-a", "Ada", "client-1", "lobby"))
    assert [one["id"] for one in members.shown()] == [1, 2]


def test_there_is_room_for_so_many_and_those_away_make_room(members: Members) -> None:
    for number in range(MAX_MEMBERS):
        members.enter(entering(f"secret-{number}", "x", f"client-{number}"))
    with pytest.raises(HTTPError) as caught:
        members.enter(entering("one-more", "x", "client-x"))
    assert caught.value.status == 503
    members.enter(entering("secret-7", "changed", "client-7"))
    members.lose("client-3")
    members.enter(entering("one-more", "x", "client-x"))
    assert len(members.shown()) == MAX_MEMBERS


def test_the_newest_messages_of_each_room_are_kept(members: Members) -> None:
    members.say(Saying(room="kitchen", text="tea?", name="Eve"))
    for number in range(KEPT_MESSAGES + 1):
        members.say(Saying(room="lobby", text=str(number), name="Ada"))
    kept = members.messages()
    assert len(kept) == KEPT_MESSAGES + 1
    assert [one["text"] for one in kept][:2] == ["tea?", "1"]
    assert [one["number"] for one in kept] == sorted(one["number"] for one in kept)


def test_a_message_has_the_name_of_its_window(members: Members) -> None:
    members.enter(entering("secret-a", "Ada", "client-1", "lobby"))
    said = members.say(Saying(room="lobby", text="hello", tab="secret-a", name="Bob"))
    assert (said["name"], said["from"]) == ("Ada", 1)
    assert "secret-a" not in str(said)
    assert members.say(Saying(room="lobby", text="x", name="curl"))["from"] == 0
    assert members.say(Saying(room="lobby", text="x"))["name"] == "somebody"


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (Saying(room="attic", text="x"), 400),
        (Saying(room="lobby", text=" \t\x00 "), 400),
        (Saying(room="lobby", text="x", tab="unknown-tab"), 403),
    ],
)
def test_what_may_not_be_said(members: Members, said: Saying, status: int) -> None:
    with pytest.raises(HTTPError) as caught:
        members.say(said)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("name", "text", "legal"),
    [
        ("x" * MAX_NAME, "x" * MAX_TEXT, True),
        ("x" * (MAX_NAME + 1), "x", False),
        ("x", "x" * (MAX_TEXT + 1), False),
        ("x", "", False),
    ],
)
def test_names_and_messages_are_bounded(name: str, text: str, legal: bool) -> None:
    raw = msgspec.json.encode({"room": "lobby", "name": name, "text": text})
    if legal:
        assert msgspec.json.decode(raw, type=Saying).text == text
    else:
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(raw, type=Saying)


def test_text_is_cleaned_of_what_has_no_shape() -> None:
    assert cleaned("  a\x00b\x1b[31m\u202ec\ud800 ") == "ab[31mc"
    assert cleaned("two\nlines", keep="\n") == "two\nlines"
    assert cleaned("two\nlines") == "twolines"
    assert cleaned("👩‍👩‍👧‍👦 नमस्ते שלום") == "👩‍👩‍👧‍👦 नमस्ते שלום"
