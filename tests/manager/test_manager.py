"""``SSEManager``: subscribing, who is there, ending, and what a manager is before, between and
after its servers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from h3py import (
    H3,
    CloseReason,
    ConfigError,
    H3Event,
    SSEManager,
    Subscription,
)
from h3py.testing import EventReader
from tests.manager.support.site import Site, datas, told_reasons
from tests.support.client import Client
from tests.support.wait import wait_until

MakeSite = Callable[..., Site]


# -- subscribing -------------------------------------------------------------------------------


def test_every_stream_has_its_own_client_id(make_site: MakeSite) -> None:
    """M1."""
    site = make_site()
    for _ in range(20):
        site.readers.append(EventReader(site.url()))
    wait_until(lambda: len(site.manager.get_connections()) == 20)
    names = {one.client_id for one in site.manager.get_connections()}
    assert len(names) == 20
    assert all(len(name) == 15 for name in names)
    assert set(site.subscriptions) == names


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        ({"channels": "news"}, TypeError, "a list of names"),
        ({"channels": [""]}, ValueError, "channel must not be empty"),
        ({"channels": [7]}, TypeError, "channel must be a str"),
        ({"channels": ["a", "b", "c", "d"]}, ValueError, "3 channels at most"),
        ({"channels": ["x" * 9]}, ValueError, "at most 8 bytes, not 9"),
        ({"user_id": "x" * 9}, ValueError, "user_id must be at most 8 bytes"),
        ({"user_id": ""}, ValueError, "user_id must not be empty"),
        ({"client_id": "x" * 9}, ValueError, "client_id must be at most 8 bytes"),
        ({"client_id": 7}, TypeError, "client_id must be a str"),
        ({"policy": "lose"}, ValueError, "policy must be one of"),
        ({"metadata": "x"}, TypeError, "metadata must be a mapping"),
        ({"where": "x"}, TypeError, "where must be a mapping or a function"),
        ({"where": {"a": []}}, ValueError, "accepts no value"),
    ],
    ids=range(13),
)
def test_what_cannot_be_subscribed(
    serve_app: Callable[..., Any], given: dict[str, Any], error: type[Exception], told: str
) -> None:
    manager = SSEManager(max_channels=3, max_name_bytes=8)
    app = H3()
    raised: list[Exception] = []

    @app.get("/events")
    def events(event: H3Event) -> str:
        try:
            manager.subscribe(event, **given)
        except Exception as wrong:
            raised.append(wrong)
        assert event.subscription is None
        return "refused"

    server = serve_app(app)
    with Client(server.addresses[0]) as client:
        assert client.get("/events").text == "refused"
    with pytest.raises(error, match=told):
        raise raised[0]
    assert manager.get_connections() == []
    manager.close()


def test_limits_of_names_and_channels_at_the_limit(make_site: MakeSite) -> None:
    site = make_site(max_channels=3, max_name_bytes=8)
    site.open("a,b,x2345678", client="c2345678", user="u2345678")
    (found,) = site.manager.get_connections()
    assert set(found.channels) == {"a", "b", "x2345678"}


def test_only_an_event_or_a_stream_can_be_subscribed() -> None:
    manager = SSEManager()
    with pytest.raises(TypeError, match="subscribe an event or a stream, not str"):
        manager.subscribe("x")  # type: ignore[arg-type]  # on purpose


def test_streams_per_user_at_the_limit_and_one_past_it(make_site: MakeSite) -> None:
    """M14: 429 with Retry-After, before any stream begins."""
    site = make_site(max_streams_per_user=2, retry_after_s=7)
    first = site.open(user="anna", client="a")
    site.open(user="anna", client="b")
    with Client(site.server.addresses[0]) as client:
        reply = client.get("/events?user=anna&client=c")
        assert reply.status == 429
        assert reply.head["retry-after"] == "7"
        assert "text/event-stream" not in reply.head["content-type"]
        assert client.get("/events?user=anna&client=c").status == 429  # the connection goes on
    site.open(user="bert")
    site.open(user="anna", client="b")  # one's own stream is taken over, not added
    first.close()
    wait_until(lambda: not site.manager.is_client_connected("a"))
    site.open(user="anna", client="c")


def test_a_client_id_is_taken_over_by_the_same_user_only(site: Site) -> None:
    old = site.open("news", client="phone", user="anna")
    with Client(site.server.addresses[0]) as client:
        for query in ("client=phone&user=bert", "client=phone"):
            assert client.get(f"/events?{query}").status == 409
    assert site.manager.send_to_client("phone", "to", "old") is True
    new = site.open("sport", client="phone", user="anna")
    assert site.manager.send_to_client("phone", "to", "new") is True
    assert datas(old.read_to_end()) == ["old"]
    old.close()
    assert new.read_event().data == "new"
    assert len(site.manager.get_connections()) <= 2
    wait_until(lambda: len(site.told) == 4)
    assert site.told == [
        ("connect", "phone"),
        ("online", "anna"),
        ("connect", "phone"),
        ("disconnect", "phone", CloseReason.REPLACED),
    ]
    assert site.server.closed_streams == {CloseReason.REPLACED: 1}


def test_a_returning_client_keeps_its_place_again_and_again(site: Site) -> None:
    for number in range(10):
        site.open("news", client="phone", user="anna", seen=None)
        assert site.manager.send_to_channel("news", "to", number) >= 1
        assert site.readers[-1].read_event().data == str(number)
    for reader in site.readers[:-1]:
        reader.read_to_end()
        reader.close()
    wait_until(lambda: site.manager.stats()["connections"] == 1)
    site.readers[-1].close()
    site.settled()
    wait_until(lambda: len(told_reasons(site)) == 10)
    assert told_reasons(site) == [CloseReason.REPLACED] * 9 + [CloseReason.CLIENT_CLOSED]
    assert [told for told in site.told if told[0] in ("online", "offline")] == [
        ("online", "anna"),
        ("offline", "anna"),
    ]


def test_expired_credentials_end_a_stream(serve_app: Callable[..., Any]) -> None:
    manager = SSEManager()
    app = H3()
    app.get("/past")(lambda event: manager.subscribe(event, expires_at=time.time() - 5))
    app.get("/far")(lambda event: manager.subscribe(event, client_id="far", expires_at=4e12))
    server = serve_app(app)
    with EventReader(f"{server.url}/past") as past, EventReader(f"{server.url}/far") as far:
        past.read_to_end()
        past.close()
        wait_until(lambda: server.closed_streams == {CloseReason.AUTH_EXPIRED: 1})
        wait_until(lambda: manager.is_client_connected("far"))
        manager.broadcast("to", "still there")
        assert far.read_event().data == "still there"


# -- who is there ------------------------------------------------------------------------------


def test_who_is_connected(site: Site) -> None:
    """M3: from the moment a stream can be reached until its end."""
    manager = site.manager
    assert manager.get_connections() == []
    assert not manager.is_client_connected("a")
    assert not manager.is_user_online("anna")
    a, b = site.open(client="a", user="anna"), site.open(client="b", user="anna")
    assert manager.is_client_connected("a")
    assert manager.is_user_online("anna")
    assert not manager.is_user_online("bert")
    a.close()
    wait_until(lambda: not manager.is_client_connected("a"))
    assert manager.is_user_online("anna")
    b.close()
    wait_until(lambda: not manager.is_user_online("anna"))
    site.settled()
    wait_until(lambda: len(site.told) == 6)
    gone = CloseReason.CLIENT_CLOSED
    assert site.told == [
        ("connect", "a"),
        ("online", "anna"),
        ("connect", "b"),
        ("disconnect", "a", gone),
        ("disconnect", "b", gone),
        ("offline", "anna"),
    ]


def test_disconnecting(site: Site) -> None:
    """What was sent before still leaves; the reason is told; a second time finds nobody."""
    manager = site.manager
    a, b = site.open(client="a", user="anna"), site.open(client="b", user="anna")
    c = site.open(client="c", user="anna")
    manager.broadcast("to", "last words")
    assert manager.disconnect_client("a") is True
    assert manager.disconnect_client("a") is False
    assert not manager.is_client_connected("a")
    assert manager.send_to_client("a", "to") is False
    assert manager.disconnect_client("x") is False
    assert manager.disconnect_user("anna", CloseReason.AUTH_EXPIRED) == 2
    assert manager.disconnect_user("anna") == 0
    assert manager.disconnect_user("x") == 0
    for call in (manager.disconnect_client, manager.disconnect_user):
        with pytest.raises(ValueError, match="is not a valid CloseReason"):
            call("a", "bored")  # type: ignore[arg-type]  # on purpose
    for reader in (a, b, c):
        assert datas(reader.read_to_end()) == ["last words"]
        reader.close()
    wait_until(lambda: len(told_reasons(site)) == 3)
    kicked, expired = CloseReason.KICKED, CloseReason.AUTH_EXPIRED
    assert sorted(told_reasons(site), key=str) == sorted([kicked, expired, expired], key=str)


def test_joining_and_leaving_a_live_stream(make_site: MakeSite) -> None:
    site = make_site(max_channels=3)
    manager, reader = site.manager, site.open("news", client="a")
    assert manager.send_to_channel("sport", "to", "before") == 0
    assert manager.join("a", "sport", "chess") is True
    assert manager.send_to_channel("sport", "to", "joined") == 1
    assert manager.join("a", "sport") is True  # at the limit; it is in there already
    with pytest.raises(ValueError, match="3 channels at most"):
        manager.join("a", "one past it")
    assert manager.leave("a", "sport", "never joined") is True
    assert manager.send_to_channel("sport", "to", "left") == 0
    assert manager.join("a", "one less") is True
    assert manager.join("x", "sport") is False
    assert manager.leave("x", "sport") is False
    assert set(site.of("a").channels) == {"news", "chess", "one less"}
    for call in (manager.join, manager.leave):
        with pytest.raises(ValueError, match="must not be empty"):
            call("a", "")
    manager.broadcast("end")
    assert [event.data for event in reader.read_events(2)] == ["joined", ""]
    manager.disconnect_client("a")
    assert manager.join("a", "news") is False


def test_pings_of_who_is_there(site: Site) -> None:
    site.open(client="a")
    assert site.manager.ping("a") is True
    assert site.manager.ping("x") is False


def test_statistics(site: Site) -> None:
    manager = site.manager
    fresh = SSEManager()
    assert fresh.stats() == {"connections": 0, "users": 0}
    reader = site.open("news", client="a", user="anna")
    site.open("news")
    manager.send_to_channel("news", "to", "x")
    reader.read_event()
    wait_until(lambda: manager.stats()["deliveries"] == 2)
    stats = manager.stats()
    assert (stats["connections"], stats["users"], stats["published"]) == (2, 1, 1)
    assert stats["closed"] == {}
    reader.close()
    wait_until(lambda: manager.stats()["closed"] == {"client_closed": 1})


# -- presence ----------------------------------------------------------------------------------


def test_a_presence_callback_can_reach_the_stream(make_site: MakeSite) -> None:
    """By the time it is told of a stream, the stream is in all its groups."""
    manager = SSEManager()
    results: list[object] = []

    @manager.on_connect
    def welcome(who: Subscription) -> None:
        who.send_event_nowait("direct")
        results.append(manager.send_to_client(who.client_id, "to", "by name"))
        results.append(manager.send_to_channel("news", "to", "by channel"))
        results.append(manager.is_user_online("anna"))
        who.join("more")
        results.append(manager.send_to_channel("more", "to", "joined"))

    site = make_site(manager=manager)
    reader = site.open("news", user="anna")
    assert datas(reader.read_events(4)) == ["direct", "by name", "by channel", "joined"]
    assert results == [True, 1, True, 1]


def test_presence_callbacks_are_plain_functions() -> None:
    manager = SSEManager()

    async def later(who: object) -> None:
        raise AssertionError(who)

    for register in (
        manager.on_connect,
        manager.on_disconnect,
        manager.on_user_online,
        manager.on_user_offline,
        manager.on_reset,
    ):
        with pytest.raises(ConfigError, match="plain function"):
            register(later)
        assert register(print) is print


# -- handlers ----------------------------------------------------------------------------------


def test_a_subscription_that_is_not_returned_is_a_mistake(
    serve_app: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    manager, other = SSEManager(), SSEManager()
    app = H3()

    @app.get("/forgotten")
    def forgotten(event: H3Event) -> str:
        manager.subscribe(event, channels=["news"], user_id="anna")
        return "hello"

    @app.get("/two")
    def two(event: H3Event) -> Subscription:
        first = manager.subscribe(event)
        other.subscribe(event)
        return first

    server = serve_app(app)
    with Client(server.addresses[0]) as client:
        for path in ("/forgotten", "/two"):
            assert client.get(path).status == 500
    errors = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert len(errors) == 2
    assert all("made a subscription and did not return it" in str(error) for error in errors)
    for each in (manager, other):
        assert each.stats()["connections"] == 0
        each.close()
