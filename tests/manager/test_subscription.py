"""``Subscription``: from the handler's return to the end of its stream, and all between."""

from __future__ import annotations

import gc
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio

from h3py import (
    H3,
    CloseReason,
    H3Event,
    HTTPError,
    NotStreamingMode,
    SSEManager,
    Subscription,
    WriterClosed,
)
from h3py.sse.stream import Stream
from h3py.testing import EventReader
from tests.manager.support.site import Site, datas
from tests.support.client import Client
from tests.support.wait import DEADLINE_S, wait_until

MakeSite = Callable[..., Site]
Serve = Callable[..., Any]


# -- before its stream ---------------------------------------------------------------------------


def test_what_a_subscription_without_a_stream_can_do(serve_app: Serve) -> None:
    manager = SSEManager()
    app = H3()
    made: list[Subscription] = []

    @app.get("/events")
    def events(event: H3Event) -> str:
        made.append(manager.subscribe(event, ["news"], "anna", "a", {"name": "Anna"}))
        event.subscription = None  # the test's: it is not to be returned
        return "done"

    server = serve_app(app)
    with Client(server.addresses[0]) as client:
        assert client.get("/events").text == "done"
    (subscription,) = made
    assert subscription.channels == ("news",)
    assert (subscription.client_id, subscription.user_id) == ("a", "anna")
    assert subscription.metadata == {"name": "Anna"}
    assert not subscription.closed
    assert subscription.close_reason is None
    assert subscription.event_count == subscription.queued_bytes == 0
    assert "a of anna, waiting" in repr(subscription)
    calls: list[Callable[[], object]] = [
        lambda: subscription.send_event_nowait("x"),
        lambda: subscription.send_comment("x"),
        lambda: subscription.join("sport"),
        lambda: subscription.leave("news"),
        lambda: subscription.on_close(print),
        lambda: subscription.connected_at,
        subscription.ping,
        subscription.close,
    ]
    for call in calls:
        with pytest.raises(NotStreamingMode, match="return it from the handler"):
            call()
    assert manager.stats()["connections"] == 0
    manager.close()


# -- ways to begin -------------------------------------------------------------------------------


class Ways:
    """One route for each way to begin a stream."""

    def __init__(self, backend: str) -> None:
        self.manager = SSEManager()
        self.app = H3()
        self.done = threading.Event()
        names = ["returned", "started", "started_returned", "writer"]
        if backend == "trio":
            names += ["task_returned", "task_started", "task_started_in_thread", "task_writer"]
        self.names = names
        for name in names:
            self.app.get(f"/{name}")(getattr(self, name))

    def subscribe(self, given: Any) -> Subscription:
        return self.manager.subscribe(given, ["news"], "anna", "a")

    def returned(self, event: H3Event) -> Subscription:
        return self.subscribe(event)

    def started(self, event: H3Event) -> None:
        event.start_sse().send_event_nowait("mine")
        self.subscribe(event)

    def started_returned(self, event: H3Event) -> Subscription:
        start = event.start_sse()
        start.send_event_nowait("mine")
        return self.subscribe(start)

    def writer(self, event: H3Event) -> None:
        with event.start_sse() as stream:
            stream.send_event("mine")
            self.subscribe(stream)
            stream.send_event("through the engine")

    async def task_returned(self, event: H3Event) -> Subscription:
        await trio.lowlevel.checkpoint()
        return self.subscribe(event)

    async def task_started(self, event: H3Event) -> None:
        event.start_sse().send_event_nowait("mine")
        self.subscribe(event)
        await trio.lowlevel.checkpoint()

    async def task_started_in_thread(self, event: H3Event) -> None:
        start = event.start_sse()
        start.send_event_nowait("mine")
        await trio.to_thread.run_sync(self.subscribe, start)

    async def task_writer(self, event: H3Event) -> None:
        async with event.start_sse() as stream:
            await stream.send_event("mine")
            self.subscribe(stream)
            await stream.send_event("through the engine")


def test_every_way_to_begin(serve_app: Serve, backend: str) -> None:
    """Request or stream, returned or not, entered or not, in a task or a thread: it is served,
    it stays when the handler has gone, and it ends with all there was."""
    ways = Ways(backend)
    manager = ways.manager
    server = serve_app(ways.app)
    for number, name in enumerate(ways.names, 1):
        with EventReader(f"{server.url}/{name}") as reader:
            wait_until(lambda: manager.is_client_connected("a"), what=name)
            assert manager.send_to_channel("news", "to", "published") == 1
            expected = ["published"]
            if "returned" not in name or "started" in name:
                expected.insert(0, "mine")
            got = datas(reader.read_events(len(expected) + ("writer" in name)))
            if "writer" in name:  # both were sent by then, in one order or the other
                got.remove("through the engine")
            assert got == expected, name
            wait_until(lambda: not server.driven)
            assert manager.disconnect_client("a"), name
            assert reader.read_to_end() == []
        wait_until(lambda: manager.stats()["connections"] == server.open_streams == 0)
        assert server.closed_streams[CloseReason.KICKED] == number
    wait_until(lambda: server.open_connections == 0)


def test_other_versions_and_methods(site: Site) -> None:
    """HTTP/1.0 gets the events without chunks; HEAD a head, and nothing is counted or told."""
    address = site.server.addresses[0]
    with Client(address) as client:
        head = b"GET /events?channels=news&client=old HTTP/1.0\r\nhost: x\r\n\r\n"
        client.send(head)
        answer = client.read_head()
        assert not answer.chunked
        wait_until(lambda: site.manager.is_client_connected("old"))
        site.manager.send_to_channel("news", "to", "x")
        assert b"\nevent: to\ndata: x\n\n" in client.read_until(b"data: x\n\n")
        site.manager.disconnect_client("old")
        client.read_to_end()
    wait_until(lambda: len(site.told) == 2)
    with Client(address) as client:
        client.request("HEAD", "/events?client=head&user=anna")
        reply = client.read_reply(head_only=True)
        assert reply.status == 200
        assert reply.head["content-type"] == "text/event-stream"
        client.expect_eof()
    wait_until(lambda: site.server.closed_streams[CloseReason.HANDLER_DONE] == 1)
    site.settled()
    assert site.told == [
        ("connect", "old"),
        ("disconnect", "old", CloseReason.KICKED),
    ]


def test_head_of_a_stream_that_its_handler_begins(
    serve_app: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    manager = SSEManager(max_streams_per_user=1)
    app = H3()
    made: list[Subscription] = []

    @app.get("/events")
    def events(event: H3Event) -> Subscription:
        event.start_sse()
        made.append(manager.subscribe(event, ["news"], "anna"))
        return made[-1]

    server = serve_app(app)
    for _ in range(3):
        with Client(server.addresses[0]) as client:
            client.request("HEAD", "/events")
            assert client.read_reply(head_only=True).status == 200
            client.expect_eof()
    wait_until(lambda: server.open_streams == 0)
    assert manager.stats()["connections"] == 0
    assert all(one.closed and one.channels == () for one in made)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    manager.close()


def test_limits_for_a_stream_that_has_begun(serve_app: Serve) -> None:
    """Its handler gets the error, and goes on with its stream."""
    manager = SSEManager(max_streams_per_user=1)
    app = H3()

    @app.get("/events")
    def events(event: H3Event) -> None:
        with event.start_sse() as stream:
            for user, client in (("anna", "b"), ("bert", "a")):
                try:
                    manager.subscribe(stream, user_id=user, client_id=client)
                except HTTPError as refused:
                    stream.send_event(str(refused.status))
            stream.send_event("goes on")

    app.get("/first")(lambda event: manager.subscribe(event, user_id="anna", client_id="a"))
    server = serve_app(app)
    with EventReader(f"{server.url}/first"):
        wait_until(lambda: manager.is_client_connected("a"))
        with EventReader(f"{server.url}/events") as reader:
            assert datas(reader.read_to_end()) == ["429", "409", "goes on"]
        wait_until(lambda: server.closed_streams[CloseReason.HANDLER_DONE] == 1)
        assert [one.client_id for one in manager.get_connections()] == ["a"]


def test_a_function_is_given_back_however_the_stream_ends(site: Site) -> None:
    def where(metadata: object) -> bool:
        return True

    site.wheres["f"] = where
    site.open(where="f", client="a")
    hub = site.manager._hub
    assert hub is not None
    used = hub.filters._used
    assert list(used) == [where]
    with Client(site.server.addresses[0]) as client:
        assert client.get("/events?where=f&client=a&user=x").status == 409
        client.request("HEAD", "/events?where=f")
        client.read_reply(head_only=True)
    wait_until(lambda: used[where].users == 1)
    site.readers[0].close()
    wait_until(lambda: not used)


# -- while it lives --------------------------------------------------------------------------------


def test_its_own_operations(site: Site) -> None:
    reader = site.open("news", client="a", user="anna")
    subscription = site.subscriptions["a"]
    assert subscription.channels == ("news",)
    assert abs(subscription.connected_at - site.of("a").connected_at) < 1
    subscription.send_event_nowait("one")
    subscription.send_comment("a comment")
    subscription.join("sport")
    subscription.leave("news")
    site.manager.send_to_channel("news", "to", "no more")
    site.manager.send_to_channel("sport", "to", "two")
    assert datas(reader.read_events(2)) == ["one", "two"]
    assert b": a comment\n\n" in reader.received.raw
    assert subscription.channels == ("sport",)
    assert subscription.event_count == 1
    assert "a of anna, open" in repr(subscription)
    for call in (subscription.join, subscription.leave):
        with pytest.raises(TypeError, match="must be a str"):
            call(7)  # type: ignore[arg-type]  # on purpose
    reasons: list[CloseReason] = []
    subscription.on_close(reasons.append)
    subscription.close()
    reader.read_to_end()
    reader.close()
    wait_until(lambda: reasons == [CloseReason.HANDLER_DONE])
    assert subscription.closed
    assert subscription.close_reason is CloseReason.HANDLER_DONE
    assert subscription.channels == ()
    assert "handler_done" in repr(subscription)
    with pytest.raises(WriterClosed, match="the stream was closed"):
        subscription.join("news")
    subscription.leave("news")
    subscription.ping()


def test_order_of_what_is_published_and_what_is_sent_to_one(site: Site) -> None:
    """Design 4: ``broadcast(); stream.send_event()`` keeps its order."""
    reader = site.open("news", client="a")
    subscription = site.subscriptions["a"]
    for number in range(0, 300, 3):
        site.manager.broadcast("to", number)
        subscription.send_event_nowait(str(number + 1))
        site.manager.send_to_client("a", "to", number + 2)
    assert datas(reader.read_events(300)) == [str(number) for number in range(300)]


def test_joining_from_many_threads_keeps_to_the_limit(make_site: MakeSite) -> None:
    site = make_site(max_channels=20)
    site.open(client="a")
    subscription = site.subscriptions["a"]
    refused: list[int] = []
    barrier = threading.Barrier(4)

    def join(first: int) -> None:
        barrier.wait(DEADLINE_S)
        for number in range(first, first + 10):
            try:
                subscription.join(f"channel {number}")
            except ValueError:
                refused.append(number)

    threads = [threading.Thread(target=join, args=(first,)) for first in range(0, 40, 10)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that threads meet between a look and what follows from it
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_S)
    finally:
        sys.setswitchinterval(interval)
    assert len(subscription.channels) == 20
    assert len(refused) == 20


# -- its end ---------------------------------------------------------------------------------------


def test_nothing_keeps_a_stream_that_has_ended(site: Site) -> None:
    """Without the cycle collector: a subscription, its stream and the tables hold no ring."""
    gc.collect()
    before = len(alive())
    gc.disable()
    try:
        for number in range(5):
            reader = site.open("news", client=f"c{number}", user="anna")
            reader.close()
        assert len(alive()) > before
        site.settled()
        site.subscriptions.clear()
        wait_until(lambda: len(alive()) <= before, what="all are let go of")
    finally:
        gc.enable()


def alive() -> list[object]:
    """Subscriptions and streams that exist, whoever holds them."""
    return [each for each in gc.get_objects() if type(each) in (Subscription, Stream)]


def test_what_ended_before_it_could_be_served(make_site: MakeSite) -> None:
    """Clients that ask and leave at once: whatever became of them, nothing is left."""
    site = make_site(watch_presence=True)
    for number in range(100):
        reader = EventReader(site.url(user=f"user-{number % 7}", client=f"c{number}"))
        reader.reset()
    site.settled()
    connects = [told[1] for told in site.told if told[0] == "connect"]
    wait_until(lambda: sum(told[0] == "disconnect" for told in site.told) == len(connects))
    assert len(set(connects)) == len(connects)
    assert [t[0] for t in site.told].count("online") == [t[0] for t in site.told].count("offline")
