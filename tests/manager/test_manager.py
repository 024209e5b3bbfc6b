"""``SSEManager``: subscribing, who is there, ending, and what a manager is before, between and
after its servers."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from h3py import (
    H3,
    CloseReason,
    ConfigError,
    H3Event,
    ManagerClosed,
    SSEAlreadyStarted,
    SSEManager,
    Subscription,
)
from h3py.testing import EventReader
from tests.manager.support.site import Site, datas, told_reasons
from tests.support.client import Client
from tests.support.wait import DEADLINE_S, wait_until

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


def test_a_stream_is_of_one_manager(serve_app: Callable[..., Any]) -> None:
    manager, other = SSEManager(), SSEManager()
    app = H3()
    refused: list[Exception] = []

    @app.get("/events")
    def events(event: H3Event) -> None:
        start = event.start_sse()
        manager.subscribe(start, client_id="a")
        for again in (other, manager):
            with pytest.raises(SSEAlreadyStarted, match="parked already") as raised:
                again.subscribe(start)
            refused.append(raised.value)

    server = serve_app(app)
    with EventReader(f"{server.url}/events") as reader:
        wait_until(lambda: len(refused) == 2)
        assert manager.broadcast("to", "x") == 1
        assert other.broadcast("to", "y") == 0
        assert reader.read_event().data == "x"
    other.close()


def test_two_managers_in_one_application(serve_app: Callable[..., Any]) -> None:
    one, two = SSEManager(), SSEManager()
    app = H3()
    app.get("/one")(lambda event: one.subscribe(event, ["news"], client_id="same"))
    app.get("/two")(lambda event: two.subscribe(event, ["news"], client_id="same"))
    server = serve_app(app)
    with EventReader(f"{server.url}/one") as first, EventReader(f"{server.url}/two") as second:
        for manager, reader in ((one, first), (two, second)):
            wait_until(lambda manager=manager: manager.is_client_connected("same"))
            assert manager.send_to_channel("news", "to", "x") == 1
            assert reader.read_event().data == "x"
        server.shutdown()
        for reader in (first, second):
            reader.read_to_end()
            reader.close()
    for manager in (one, two):
        wait_until(lambda manager=manager: manager.stats()["connections"] == 0)
        with pytest.raises(ManagerClosed):
            manager.broadcast("to")


# -- life --------------------------------------------------------------------------------------


def manager_threads() -> int:
    names = ("h3py-manager", "h3py-presence")
    return sum(thread.name in names for thread in threading.enumerate())


def test_a_manager_is_served_twice_in_turn(make_site: MakeSite) -> None:
    """The second time it has a new epoch, which is told to those who come back (M9)."""
    before = manager_threads()
    site = make_site(watch_presence=True)
    first = site.open("news", client="a", user="anna")
    site.manager.send_to_channel("news", "to", "one")
    seen = first.read_event().last_event_id
    site.server.shutdown()
    first.read_to_end()
    first.close()
    site.settled()
    wait_until(lambda: manager_threads() == before)
    again = make_site(manager=site.manager)
    with pytest.raises(ManagerClosed):
        site.manager.broadcast("to")
    reader = again.open("news", client="a", user="anna", seen=seen)
    assert site.manager.send_to_channel("news", "to", "two") == 1
    reset, event = reader.read_events(2)
    assert (reset.type, event.data) == ("h3py:reset", "two")
    assert event.last_event_id[:12] != seen[:12]
    wait_until(lambda: len(site.told) == 7)
    assert [told[0] for told in site.told] == [
        *("connect", "online", "disconnect", "offline"),
        *("connect", "online", "reset"),
    ]
    assert told_reasons(site) == [CloseReason.SHUTDOWN]


def test_open_lets_publish_before_the_second_servers_first_stream(make_site: MakeSite) -> None:
    site = make_site()
    reader = site.open("news")
    site.server.shutdown()
    reader.read_to_end()
    reader.close()
    site.settled()
    again = make_site(manager=site.manager, prepare=lambda new: new.app.on_start(new.manager.open))
    assert site.manager.broadcast("to") == 0
    assert site.manager.stats()["log_events"] == 1
    again.open("news")
    site.manager.open()  # nothing, where it is open
    assert site.manager.stats()["log_events"] == 1


def test_two_servers_share_a_manager(make_site: MakeSite) -> None:
    """The one that ends takes its own streams with it, and no others."""
    site = make_site(watch_presence=True)
    other = make_site(manager=site.manager)
    leaving, staying = site.open("news", client="a"), other.open("news", client="b")
    assert site.manager.send_to_channel("news", "to", "both") == 2
    site.server.shutdown()
    assert datas(leaving.read_to_end()) == ["both"]
    leaving.close()
    wait_until(lambda: site.server.open_connections == 0)
    assert site.manager.send_to_channel("news", "to", "one") == 1
    assert datas(staying.read_events(2)) == ["both", "one"]
    other.open("news", client="a")
    other.server.shutdown()
    staying.read_to_end()
    other.close()
    wait_until(lambda: len(told_reasons(site)) == 3)
    assert told_reasons(site) == [CloseReason.SHUTDOWN] * 3
    with pytest.raises(ManagerClosed):
        site.manager.broadcast("to")


def test_closing_a_manager_that_has_streams(make_site: MakeSite) -> None:
    """They end; whoever subscribes then begins anew, and the server ends as it should."""
    site = make_site(watch_presence=True)
    reader = site.open(client="a")
    site.manager.close()
    site.manager.close()
    reader.read_eof()
    wait_until(lambda: told_reasons(site) == [CloseReason.SHUTDOWN])
    with pytest.raises(ManagerClosed, match="closing"):
        site.manager.broadcast("to")
    again = site.open(client="a")
    assert site.manager.broadcast("to", "x") == 1
    assert again.read_event().data == "x"


def test_closing_from_a_presence_callback(make_site: MakeSite) -> None:
    site = make_site()
    site.manager.on_connect(lambda who: site.manager.close())
    reader = site.open(wait=False)
    reader.read_eof()
    wait_until(lambda: site.server.open_streams == 0)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_begins_anew(site: Site) -> None:
    """It has none of the threads; what it does leaves the parent's streams alone."""
    reader = site.open("news", client="a")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            manager = site.manager
            assert manager.get_connections() == []
            assert not manager.is_client_connected("a")
            assert manager.send_to_channel("news", "to", "child") == 0
            assert manager.stats()["published"] == 1
            manager.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert site.manager.send_to_channel("news", "to", "parent") == 1
    assert reader.read_event().data == "parent"


def test_threads_subscribe_at_once_and_there_is_one_hub(site: Site) -> None:
    readers = [site.open("news", wait=False) for _ in range(30)]
    wait_until(lambda: site.manager.stats()["connections"] == 30)
    wait_until(lambda: len(site.manager.get_connections()) == 30)
    assert site.manager.send_to_channel("news", "to", "x") == 30
    for reader in readers:
        assert reader.read_event(deadline_s=DEADLINE_S).data == "x"
    assert len(site.server.hubs) == 1
