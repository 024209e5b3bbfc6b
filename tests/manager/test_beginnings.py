"""The moment in which a stream becomes a subscriber, and what may go wrong in it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from h3py import H3, CloseReason, H3Event, SSEEvent, SSEManager, Subscription
from h3py.manager.subscription import Plan
from h3py.testing import EventReader
from tests.manager.support.site import Site, datas
from tests.support.client import Client
from tests.support.wait import wait_until

Serve = Callable[..., Any]


@pytest.mark.parametrize("where", [None, {"a": "b"}, lambda metadata: True])
def test_what_comes_between_its_first_event_and_its_stream(serve_app: Serve, where: Any) -> None:
    """It comes; or, where a new function was not asked about it, its loss is told."""
    app, manager = H3(), SSEManager()

    @app.get("/events")
    def events(event: H3Event) -> Subscription:
        made = manager.subscribe(event, client_id="a", where=where)
        made.begin_with(SSEEvent("hello"), joins_at=made.hub.engine.head)
        manager.broadcast("between", metadata={"a": "b"})
        return made

    server = serve_app(app)
    with EventReader(f"{server.url}/events") as reader:
        assert reader.read_event().data == "hello"
        assert reader.read_event().type == ("h3py:reset" if callable(where) else "between")
        manager.broadcast("after", metadata={"a": "b"})
        assert reader.read_event().type == "after"


def test_what_fails_while_it_begins_ends_its_stream(
    serve_app: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, manager = H3(), SSEManager()

    def fail(new: Subscription) -> None:
        raise LookupError("on purpose")

    @app.get("/events")
    def events(event: H3Event) -> Subscription:
        made = manager.subscribe(event, client_id="a")
        monkeypatch.setattr(made.hub.registry, "take_over", fail)
        return made

    server = serve_app(app)
    with Client(server.addresses[0]) as client:
        client.open_stream("/events").read_to_end()
    wait_until(lambda: server.closed_streams[CloseReason.ERROR] == 1)
    assert manager.stats()["connections"] == 0


def test_one_client_three_times_where_the_second_cannot_begin() -> None:
    manager = SSEManager()
    manager.open()
    hub = manager._open()

    def where(metadata: object) -> bool:
        return True

    first, second, third = (
        Subscription(hub, "a", "anna", None, None, Plan((), where, "close", False, None, None))
        for _ in range(3)
    )
    for one in (first, second, third):
        hub.registry.reserve(one)
    second._ask_where()
    second._give_up()
    assert where not in hub.filters._used
    third._give_up()
    first._give_up()
    assert hub.registry.counts == (0, 0)
    manager.close()


def test_what_was_sent_is_known_at_its_end(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """What came through the manager, what came through the stream, and nothing that did not."""
    reader = site.open("news", client="a")
    site.manager.broadcast("to", "one")
    site.manager.send_to_channel("other", "to", "nothing")
    site.subscriptions["a"].send_event_nowait("two")
    site.manager.send_to_channel("news", "to", "three")
    assert datas(reader.read_events(3)) == ["one", "two", "three"]
    with caplog.at_level(logging.INFO, "h3py.stream"):
        site.manager.disconnect_client("a")
        reader.read_to_end()
        reader.close()
        wait_until(lambda: "stream ended" in caplog.text)
    assert " kicked, 3 events, " in caplog.text
    assert site.subscriptions["a"].event_count == 3


def test_what_was_sent_before_it_was_subscribed_counts(
    serve_app: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    app, manager = H3(), SSEManager()

    @app.get("/events")
    def events(event: H3Event) -> None:
        stream = event.start_sse()
        stream.send_event_nowait("one")
        stream.send_event_nowait("two")
        manager.subscribe(stream, client_id="a")

    server = serve_app(app)
    with (
        caplog.at_level(logging.INFO, "h3py.stream"),
        EventReader(f"{server.url}/events") as reader,
    ):
        wait_until(lambda: manager.is_client_connected("a"))
        manager.broadcast("three")
        assert len(reader.read_events(3)) == 3
        manager.disconnect_client("a")
        reader.read_to_end()
        wait_until(lambda: " kicked, 3 events, " in caplog.text)
