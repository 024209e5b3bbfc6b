"""The endpoints over real connections: who gets a stream, with what, and who gets which refusal."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Generator
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest

from h3py import (
    H3,
    CloseReason,
    H3Event,
    HTTPError,
    MemoryBroker,
    Principal,
    SSEAlreadyStarted,
    SSEEvent,
    SSEManager,
    Subscription,
    inline,
)
from h3py.manager.hub import Hub
from h3py.options import Backend
from h3py.testing import ManualClock, wait_until
from tests.app.kit import for_backend
from tests.manager.support.mounted import PEOPLE, Mounted, by_token, only, token
from tests.support.client import Client

Make = Callable[..., Mounted]


# The stream.


def test_hello_comes_first_and_alone(mounted: Mounted) -> None:
    stream = mounted.stream(channels="b,a,b")
    assert stream.hello.keys() == {"client_id", "channels", "ping_s"}
    assert (stream.hello["channels"], stream.hello["ping_s"]) == (["b", "a"], None)
    assert mounted.manager.is_client_connected(stream.hello["client_id"])
    other = mounted.stream("bob")
    assert mounted.manager.broadcast("x", "y") == 2
    for either in (stream, other):
        assert only([either.read_event()]) == [("x", "y")]


@pytest.mark.parametrize("tls", [False, True])
def test_who_has_read_its_hello_is_connected(make: Make, tls: bool) -> None:
    """A page may say at once who it is, and be answered through its stream."""
    mounted = make(tls=tls)
    sys.setswitchinterval(1e-6)
    try:
        for number in range(100):
            stream = mounted.stream()
            assert mounted.manager.send_to_client(stream.hello["client_id"], "x", str(number))
            assert only([stream.read_event()]) == [("x", str(number))]
    finally:
        sys.setswitchinterval(0.005)


def test_without_hello(make: Make) -> None:
    mounted = make(mount={"hello": False})
    stream = mounted.client().open_stream("/api/sse", token("ann"))
    wait_until(mounted.manager.get_connections, what="the stream has joined")
    mounted.manager.broadcast("x", "y")
    assert only([stream.read_event()]) == [("x", "y")]


def test_hello_says_where_a_stream_begins(mounted: Mounted) -> None:
    """One that is cut off before its first event comes back to what it has missed."""
    mounted.manager.broadcast("before")
    stream = mounted.stream()
    begins = stream.parser.last_event_id
    assert begins
    stream.client.close()
    mounted.manager.broadcast("meanwhile")
    again = mounted.stream(last_event_id=begins)
    assert again.read_event().type == "meanwhile"
    # One that has seen something begins there: the hello does not move it.
    assert mounted.stream(last_event_id=begins).raw.partition(b"h3py:hello")[0].count(b"id:") == 0


def test_without_history_there_is_nothing_to_come_back_to(make: Make) -> None:
    assert make(broker=MemoryBroker(max_events=0)).stream().parser.last_event_id == ""


@pytest.mark.parametrize(("lease_s", "ping_s"), [(45.0, 3.0), (12.0, 3.0), (4.0, 1.0)])
def test_hello_says_how_often_to_ping(lease_s: float, ping_s: float, make: Make) -> None:
    assert make(lease_s=lease_s).stream().hello["ping_s"] == ping_s


def test_the_stream_is_the_principals(mounted: Mounted) -> None:
    stream = mounted.stream("ann", channels="news", user_id="bob", name="Bob", metadata="x")
    (found,) = mounted.manager.get_connections()
    assert (found.user_id, found.name, found.metadata) == ("ann", "Ann", {"name": "Ann"})
    assert (found.client_id, found.channels) == (stream.hello["client_id"], ("news",))
    assert not mounted.manager.is_user_online("bob")


def test_what_comes(mounted: Mounted) -> None:
    ann, eve = mounted.stream("ann", channels="news"), mounted.stream("eve")
    manager = mounted.manager
    assert manager.send_to_channel("news", "channel") == 1
    assert manager.send_to_user("eve", "user") == 1
    assert manager.send_to_client(ann.hello["client_id"], "client")
    assert manager.broadcast("end") == 2
    assert [event.type for event in ann.read_events(3)] == ["channel", "client", "end"]
    assert [event.type for event in eve.read_events(2)] == ["user", "end"]


def test_a_client_comes_back_with_what_it_has_seen(mounted: Mounted) -> None:
    stream = mounted.stream(channels="news")
    for number in range(4):
        mounted.manager.send_to_channel("news", "n", number)
    seen = stream.read_events(2)[1].last_event_id
    stream.client.close()
    again = mounted.stream(channels="news", last_event_id=seen)
    assert only(again.read_events(2)) == [("n", "2"), ("n", "3")]
    # The header is what a browser adds by itself, and newer than the address it began with.
    third = mounted.stream(
        "ann", [("Last-Event-ID", seen)], channels="news", last_event_id="nonsense"
    )
    assert only(third.read_events(2)) == [("n", "2"), ("n", "3")]


def test_a_loss_is_told_after_the_hello(mounted: Mounted) -> None:
    stream = mounted.stream(last_event_id="of-another-time")
    reset = stream.read_event()
    assert (reset.type, json.loads(reset.data)["missed"]) == ("h3py:reset", None)


@pytest.mark.parametrize("max_events", [0, 10])
def test_after_the_hello_nothing_is_missed(
    max_events: int, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client may publish as soon as it has read the hello, before its stream has joined."""
    join = Hub.join_groups

    def late(hub: Hub, *args: Any) -> None:
        mounted.manager.send_to_channel("news", "early")
        join(hub, *args)

    monkeypatch.setattr(Hub, "join_groups", late)
    mounted = make(broker=MemoryBroker(max_events=max_events))
    stream = mounted.stream(channels="news")
    mounted.manager.send_to_channel("news", "late")
    # Without history there is nothing that it could still come from.
    expected = ["early", "late"] if max_events else ["late"]
    assert [event.type for event in stream.read_events(len(expected))] == expected
    assert mounted.manager.stats()["resets"] == 0


def test_a_hello_larger_than_the_queue_is_sent_whole(make: Make) -> None:
    names = [f"{number:03}" + "é" * 62 for number in range(100)]
    mounted = make(max_queue_bytes=1000, serve_options={"max_queue_bytes": 1000})
    stream = mounted.client().open_stream(
        f"/api/sse?channels={','.join(map(quote, names[:20]))}", token("ann")
    )
    assert json.loads(stream.read_event().data)["channels"] == names[:20]


def test_to_a_client_of_http_1_0_the_hello_is_not_framed(mounted: Mounted) -> None:
    client = mounted.client()
    client.send(b"GET /api/sse HTTP/1.0\r\nAuthorization: Bearer ann\r\n\r\n")
    head = client.read_head()
    assert (head.status, head.chunked) == (200, False)
    retry, hello = client.read_until(b"\n\n"), client.read_until(b"\n\n")
    assert re.fullmatch(rb"retry: [0-9]+\n\n", retry)
    assert re.fullmatch(rb"id: \S+\nevent: h3py:hello\ndata: {.*}\n\n", hello)


def test_over_tls(make: Make) -> None:
    mounted = make(tls=True)
    stream = mounted.stream(channels="news")
    mounted.manager.send_to_channel("news", "x", "y")
    assert only([stream.read_event()]) == [("x", "y")]


def test_first_events_of_ones_own(serve_app: Callable[..., Any]) -> None:
    app, manager = H3(), SSEManager()
    made: list[Subscription] = []

    @app.get("/events")
    def events(event: H3Event) -> Subscription:
        subscription = manager.subscribe(event)
        subscription.begin_with("one")
        subscription.begin_with(SSEEvent("two", "named"))
        made.append(subscription)
        return subscription

    with Client(serve_app(app).addresses[0]) as client:
        stream = client.open_stream("/events")
        assert only(stream.read_events(2)) == [("message", "one"), ("named", "two")]
    with pytest.raises(SSEAlreadyStarted, match="too late"):
        made[0].begin_with("three")


# Who gets no stream.


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("HEAD", ""), ("GET", "/stats"), ("GET", "?channels=news")]
)
@pytest.mark.parametrize("who", ["", "nobody"])
def test_nobody_is_asked_who_they_are(method: str, path: str, who: str, mounted: Mounted) -> None:
    reply = mounted.get(path, who, method=method)
    assert (reply.status, reply.head.get("www-authenticate")) == (401, "Bearer")
    mounted.expect_nothing_began()


@pytest.mark.parametrize("path", ["/message", "/ping"])
def test_nobody_posts(path: str, mounted: Mounted) -> None:
    reply = mounted.post(path, {}, "nobody")
    assert (reply.status, reply.head.get("www-authenticate")) == (401, "Bearer")


def test_a_refusal_can_be_json(mounted: Mounted) -> None:
    reply = mounted.get("", "", [("Accept", "application/json")])
    assert json.loads(reply.body)["status"] == 401


@pytest.mark.parametrize(
    ("raised", "status", "challenge"),
    [
        (HTTPError(401), 401, 'Basic realm="x"'),
        (HTTPError(401, headers={"WWW-Authenticate": "Negotiate"}), 401, "Negotiate"),
        (HTTPError(403, "not today"), 403, None),
        (HTTPError(429, headers={"retry-after": "7"}), 429, None),
    ],
)
def test_what_authenticate_raises_is_the_answer(
    raised: HTTPError, status: int, challenge: str | None, make: Make
) -> None:
    def refuse(event: H3Event) -> Principal:
        raise raised

    mounted = make(mount={"authenticate": refuse, "challenge": 'Basic realm="x"'})
    reply = mounted.get()
    assert (reply.status, reply.head.get("www-authenticate")) == (status, challenge)
    mounted.expect_nothing_began()


def test_false_is_forbidden(make: Make) -> None:
    mounted = make(mount={"authenticate": lambda event: False})
    assert mounted.get().status == 403
    mounted.expect_nothing_began()


@pytest.mark.parametrize("value", ["ann", {"user_id": "ann"}, True, 0])
def test_what_is_no_principal_is_the_applications_mistake(
    value: object, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    mounted = make(mount={"authenticate": lambda event: value})
    assert mounted.get().status == 500
    assert "authenticate must return a Principal or None" in caplog.text
    mounted.expect_nothing_began()


def test_expired_credentials_are_none(make: Make) -> None:
    late = Principal(
        user_id="ann", may_publish=True, may_see_stats=True, expires_at=time.time() - 1
    )
    mounted = make(mount={"authenticate": lambda event: late})
    replies = [
        mounted.get(),
        mounted.get("/stats"),
        mounted.message(target="broadcast", event="x"),
        mounted.post("/ping", {"client_id": "x"}),
    ]
    assert [reply.status for reply in replies] == [401] * 4
    assert all(reply.head["www-authenticate"] == "Bearer" for reply in replies)
    mounted.expect_nothing_began()


def test_channels_that_are_not_open_are_named(mounted: Mounted) -> None:
    reply = mounted.get("?channels=news,room:1,secret", "bob")
    assert (reply.status, reply.text) == (403, "channels: 'secret' is not open to you")
    mounted.expect_nothing_began()
    assert mounted.stream("bob", channels="news,room:1").hello["channels"] == ["news", "room:1"]


# Who is asked, and how.


def test_each_way_to_authenticate(make: Make, backend: Backend) -> None:
    def generator(event: H3Event) -> Generator[Principal | None, None, None]:
        yield by_token(event)

    ways: list[Any] = [by_token, inline(partial(by_token)), generator]
    ways += [for_backend(by_token, backend), for_backend(generator, backend)]
    for way in ways:
        mounted = make(mount={"authenticate": way})
        mounted.stream("ann")
        assert mounted.manager.is_user_online("ann")
        assert mounted.get(who="nobody").status == 401


def test_what_authenticate_opened_is_closed_before_the_stream_begins(
    make: Make, backend: Backend
) -> None:
    happened: list[str] = []

    def session(event: H3Event) -> Generator[Principal | None, None, None]:
        happened.append("opened")
        try:
            yield by_token(event)
        finally:
            happened.append("closed")

    mounted = make(mount={"authenticate": for_backend(session, backend)})
    mounted.manager.on_connect(lambda subscription: happened.append("connected"))
    mounted.stream()
    wait_until(lambda: len(happened) == 3, what="somebody was told of the stream")
    assert happened == ["opened", "closed", "connected"]


# Limits, and clients that come again.


def test_the_streams_of_a_user(make: Make) -> None:
    mounted = make(max_streams_per_user=2, retry_after_s=9)
    mounted.stream("ann")
    mounted.stream("ann")
    reply = mounted.get()
    assert (reply.status, reply.head["retry-after"]) == (429, "9")
    mounted.stream("bob")
    mounted.stream("guest")
    assert len(mounted.manager.get_connections()) == 4


def test_a_client_takes_over_from_itself_and_from_nobody_else(mounted: Mounted) -> None:
    first = mounted.stream("ann", client_id="tab-1")
    second = mounted.stream("ann", client_id="tab-1")
    assert first.read_to_end() == []
    first.client.close()
    wait_until(
        lambda: mounted.server.closed_streams.get(CloseReason.REPLACED) == 1, what="it is told"
    )
    for who in ("bob", "guest"):
        reply = mounted.get("?client_id=tab-1", who)
        assert reply.status == 409
    mounted.manager.broadcast("x", "still here")
    assert only([second.read_event()]) == [("x", "still here")]


def test_a_renewed_token_is_the_same_client(make: Make) -> None:
    expiries = iter([time.time() + 100, time.time() + 200])
    mounted = make(
        mount={"authenticate": lambda event: Principal(user_id="ann", expires_at=next(expiries))}
    )
    first = mounted.stream(client_id="tab-1")
    mounted.stream(client_id="tab-1")
    assert first.read_to_end() == []


def test_a_stream_ends_with_its_credentials(make: Make) -> None:
    clock = ManualClock()
    short = Principal(user_id="ann", expires_at=time.time() + 3600)
    mounted = make(mount={"authenticate": lambda event: short}, clock=clock, heartbeat_s=None)
    stream = mounted.stream()
    clock.advance(3500)
    mounted.manager.broadcast("x", "still here")
    assert only([stream.read_event()]) == [("x", "still here")]
    clock.advance(101)
    assert stream.read_to_end() == []
    stream.client.close()
    wait_until(
        lambda: mounted.server.closed_streams.get(CloseReason.AUTH_EXPIRED) == 1,
        what="it ended for its credentials",
    )


def test_everybody_in_these_tests_is_somebody_else() -> None:
    assert len({person.user_id for person in PEOPLE.values()}) == len(PEOPLE)
