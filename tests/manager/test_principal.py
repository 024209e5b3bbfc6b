"""Who may do what: every form of a grant, and what is no grant."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from h3py.manager.principal import Principal


def test_by_default_one_may_follow_everything_and_do_nothing_else() -> None:
    nobody = Principal()
    assert nobody.may_follow("any")
    assert not nobody.publishes
    assert not nobody.may_see_stats
    assert nobody.may_publish_to("broadcast", []) == "broadcast"
    assert not nobody.has_expired(1e18)


def test_names() -> None:
    some = Principal(channels=["news", "sport"])
    assert [some.may_follow(name) for name in ("news", "sport", "News", "news ", "")] == [
        *(True, True),
        *(False, False, False),
    ]
    assert not Principal(channels=()).may_follow("news"), "nothing is not anything"


def test_prefixes() -> None:
    rooms = Principal(channels={"lobby", "room:*", "a:b:*"})
    for name in ("lobby", "room:1", "room:1:2", "a:b:c", "room: ", "room:**"):
        assert rooms.may_follow(name), name
    for name in ("room:", "room", "rooms:1", "xroom:1", "a:c", "a:b", "Room:1", "*", "lobby:1"):
        assert not rooms.may_follow(name), name


def test_a_prefix_of_one_may_be_a_name_of_another() -> None:
    both = Principal(channels=["a:*", "a:b:*"])
    assert both.may_follow("a:b:")
    assert not both.may_follow("a:")


def test_a_function() -> None:
    short = Principal(channels=lambda name: len(name) < 4 and "yes")
    assert short.may_follow("abc") is True
    assert short.may_follow("abcd") is False


def test_publishing() -> None:
    everywhere = Principal(may_publish=True)
    rooms = Principal(may_publish=["room:*"])
    for target in ("channel", "user", "client", "broadcast"):
        assert everywhere.may_publish_to(target, ["room:1"]) is None
    assert everywhere.publishes
    assert rooms.publishes
    assert rooms.may_publish_to("channel", ["room:1", "room:2"]) is None
    assert rooms.may_publish_to("channel", ["room:1", "lobby"]) == "channel 'lobby'"
    for target in ("user", "client", "broadcast"):
        assert rooms.may_publish_to(target, []) == target
    chosen = Principal(may_publish=lambda name: name == "a")
    assert chosen.may_publish_to("channel", ["a"]) is None
    assert chosen.may_publish_to("channel", ["a", "b"]) == "channel 'b'"


def test_a_name_in_a_refusal_cannot_begin_a_line() -> None:
    assert Principal(may_publish=()).may_publish_to("channel", ["a\r\nb"]) == r"channel 'a\r\nb'"


def test_expiry() -> None:
    until = Principal(expires_at=100)
    assert not until.has_expired(99.999)
    assert until.has_expired(100.0)
    assert until.has_expired(101.0)


def test_details() -> None:
    assert Principal(metadata={"a": 1}).details == {"a": 1}
    assert Principal().details is None
    assert Principal(name="Ann").details == {"name": "Ann"}
    assert Principal(name="Ann", metadata={"name": "x", "a": 1}).details == {"name": "Ann", "a": 1}


def test_the_same_user_is_the_same_principal() -> None:
    """A renewed token has another time, and other rights: the streams are still theirs."""
    old = Principal(user_id="ann", expires_at=1.0, channels=["a"], metadata={"a": []})
    new = Principal(user_id="ann", expires_at=2.0, may_publish=True)
    assert old == new
    assert hash(old) == hash(new)
    assert old != Principal(user_id="bob", expires_at=1.0, channels=["a"])
    assert old != Principal(expires_at=1.0, channels=["a"])


def test_it_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Principal().user_id = "x"  # type: ignore[misc]
    names = ["a"]
    fixed = Principal(channels=names)
    names.append("b")
    assert not fixed.may_follow("b")


def test_it_shows_no_more_than_it_was_given() -> None:
    assert "_follows" not in repr(Principal(user_id="ann"))


async def of_a_task(name: str) -> bool:
    return True


def test_mistakes_are_named() -> None:
    wrong: list[tuple[type[Exception], dict[str, Any], str]] = [
        (TypeError, {"user_id": 3}, "user_id must be a str"),
        (TypeError, {"user_id": b"x"}, "user_id must be a str"),
        (TypeError, {"name": 3}, "name must be a str"),
        (TypeError, {"channels": "news"}, "channels must be a collection"),
        (TypeError, {"channels": iter(["a"])}, "channels must be a collection"),
        (TypeError, {"channels": [1]}, "channels: a channel's name is a str"),
        (TypeError, {"channels": of_a_task}, "channels: give a plain function"),
        (TypeError, {"may_publish": "news"}, "may_publish must be a collection"),
        (TypeError, {"may_publish": None}, "may_publish must be a collection"),
        (TypeError, {"may_publish": 1}, "may_publish must be a collection"),
        (ValueError, {"channels": ["*"]}, "matches no channel"),
        (ValueError, {"channels": ["room*"]}, "matches no channel"),
        (ValueError, {"channels": ["*:room"]}, "matches no channel"),
        (ValueError, {"may_publish": ["room:**"]}, "may_publish: 'room:.*' matches no channel"),
        (TypeError, {"may_see_stats": 1}, "may_see_stats must be True or False"),
        (TypeError, {"expires_at": "soon"}, "expires_at must be a number"),
        (TypeError, {"expires_at": True}, "expires_at must be a number"),
        (ValueError, {"expires_at": float("nan")}, "expires_at must be a number"),
        (TypeError, {"metadata": [1]}, "metadata must be a mapping"),
    ]
    for kind, options, message in wrong:
        with pytest.raises(kind, match=message):
            Principal(**options)
