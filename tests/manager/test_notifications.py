"""Notifications over a manager: to whom they go, what arrives, and what is refused, unsent.

Streams are real ones, on both backends. What a stream is *not* sent is seen by an event after it:
a stream's events come in their order, so what has not come before it never comes.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest

import h3py
from h3py import H3, H3Event, MemoryBroker, Notifications, SSEEvent, SSEManager
from h3py.manager.notification_kinds import KINDS, Notification, SystemHealth, UserActivity
from h3py.manager.notifications import Delivery
from tests.support.client import Client, EventStream
from tests.support.wait import wait_until

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

CALLS: dict[str, dict[str, Any]] = {
    "payment": {"payment_id": "p1", "status": "succeeded", "amount": "12.50", "currency": "EUR"},
    "user_account": {"user_id": "ada", "action": "verified"},
    "system_health": {"component": "db", "status": "down", "metrics": {"lag_s": 4.5}},
    "maintenance": {"status": "scheduled", "starts_at": NOON, "components": ["db", "mail"]},
    "video_processing": {"video_id": "v1", "status": "running", "percent": 40, "step": "audio"},
    "data_export": {"export_id": "e1", "status": "completed", "rows": 3, "url": "/exports/e1"},
    "post_update": {"post_id": "77", "action": "liked", "author_id": "ada", "title": "Events"},
    "profile_update": {"user_id": "ada", "changed": ["name", "photo"]},
    "user_activity": {"user_id": "ada", "action": "joined", "object_id": "room"},
}

Open = Callable[..., EventStream]


@pytest.fixture
def manager() -> SSEManager:
    return SSEManager()


@pytest.fixture
def notifications(manager: SSEManager) -> Notifications:
    return Notifications(manager)


@pytest.fixture
def asked() -> list[dict[str, str]]:
    """The metadata that the ``where`` function of a filtered stream was asked about."""
    return []


@pytest.fixture
def connect(
    serve_app: Callable[..., Any], manager: SSEManager, asked: list[dict[str, str]]
) -> Iterator[Open]:
    """``connect("ada", channels="news,sport", severity="error")`` opens a stream."""
    app = H3()

    def accept(given: Mapping[str, str]) -> bool:
        asked.append(dict(given))
        return True

    @app.get("/events")
    def events(event: H3Event) -> Any:
        query = event.query
        where: Any = {"severity": query["severity"].split(",")} if "severity" in query else None
        if "filtered" in query:
            where = accept
        return manager.subscribe(
            event,
            channels=query["channels"].split(",") if "channels" in query else (),
            user_id=query.get("user"),
            client_id=query.get("client"),
            where=where,
            policy="keep_latest" if "latest" in query else None,
        )

    address = serve_app(app).addresses[0]
    numbers = itertools.count()
    with ExitStack() as clients:

        def connect(receive_buffer: int | None = None, **query: str) -> EventStream:
            name = query.setdefault("client", f"client {next(numbers)}")
            asked = urlencode(query)
            client = clients.enter_context(Client(address, receive_buffer=receive_buffer))
            stream = client.open_stream(f"/events?{asked}")
            # The head leaves a moment before the stream is in its groups.
            marks = {"severity": query.get("severity", "info").split(",")[0]}
            wait_until(lambda: manager.send_to_client(name, "here", metadata=marks))
            assert stream.read_event().type == "here"
            return stream

        yield connect


def test_every_kind_has_its_call_and_arrives_as_documented(
    connect: Open, notifications: Notifications
) -> None:
    assert set(CALLS) == set(KINDS)
    stream = connect(user="ada")
    for kind, fields in CALLS.items():
        call = getattr(notifications, kind)
        assert call("user", "ada", id="n1", time=NOON, message="look", **fields) == 1
        event = stream.read_event()
        assert event.type == f"notification:{kind}"
        found = json.loads(event.data)
        plain = {"starts_at": "2026-03-01T12:00:00Z"} if kind == "maintenance" else {}
        expected = {"kind": kind, "id": "n1", "time": "2026-03-01T12:00:00Z", "message": "look"}
        assert {**found, **expected, **fields, **plain} == found
        assert found["severity"] in ("info", "success", "critical")


def test_each_target_reaches_its_own(connect: Open, notifications: Notifications) -> None:
    ada = connect(user="ada", channels="ops", client="a")
    bob = connect(user="bob", client="b")
    fields = CALLS["user_activity"]
    assert notifications.user_activity("client", "a", **{**fields, "action": "1"}) == 1
    assert notifications.user_activity("user", "ada", **{**fields, "action": "2"}) == 1
    assert notifications.user_activity("channel", "ops", **{**fields, "action": "3"}) == 1
    assert notifications.user_activity("broadcast", **{**fields, "action": "4"}) == 2
    assert [json.loads(event.data)["action"] for event in ada.read_events(4)] == list("1234")
    assert json.loads(bob.read_event().data)["action"] == "4"


def test_with_nobody_there_it_goes_nowhere(connect: Open, notifications: Notifications) -> None:
    for target in ("client", "user", "channel"):
        assert notifications.user_account(target, "nobody", user_id="x", action="created") == 0
    assert notifications.user_account("broadcast", user_id="x", action="created") == 0


def test_many_targets_are_one_event_and_a_stream_gets_it_once(
    connect: Open, notifications: Notifications
) -> None:
    both = connect(channels="news,sport")
    one = connect(channels="sport")
    other = connect(user="ada")
    fields = CALLS["system_health"]
    assert notifications.system_health("channel", ["news", "sport"], **fields) == 2
    assert notifications.system_health("user", {"ada", "bob"}, **fields) == 1
    assert notifications.system_health("broadcast", **{**fields, "component": "last"}) == 3
    first, last = both.read_events(2)
    again, _ = one.read_events(2)
    assert first.last_event_id == again.last_event_id
    assert json.loads(last.data)["component"] == "last", "it came twice"
    assert len(other.read_events(2)) == 2


def test_different_ones_in_one_call(connect: Open, notifications: Notifications) -> None:
    ada, ops = connect(user="ada"), connect(channels="ops")
    sent = notifications.send_many(
        [
            Delivery(SystemHealth(component="db", status="ok"), "channel", "ops"),
            Delivery(UserActivity(user_id="bob", action="joined"), "user", ["ada", "eve"]),
            Delivery(UserActivity(user_id="bob", action="left"), "broadcast"),
        ]
    )
    assert sent == [1, 1, 2]
    assert [event.type.partition(":")[2] for event in ada.read_events(2)] == ["user_activity"] * 2
    assert json.loads(ops.read_event().data)["status"] == "ok"


def test_of_a_batch_with_one_that_is_wrong_nothing_is_sent(
    connect: Open, notifications: Notifications
) -> None:
    stream = connect()
    good = Delivery(SystemHealth(component="first", status="ok"), "broadcast")
    with pytest.raises(ValueError, match=r"^target_id: which user"):
        notifications.send_many([good, Delivery(good.notification, "user")])
    notifications.system_health("broadcast", component="second", status="ok")
    assert json.loads(stream.read_event().data)["component"] == "second"


def test_a_batch_that_is_stopped_says_how_far_it_came(manager: SSEManager) -> None:
    class Full(SSEManager):
        calls = 0

        def broadcast(self, *args: Any, **named: Any) -> int:
            self.calls += 1
            if self.calls > 2:
                raise h3py.BackpressureDetected("full")
            return 0

    health = Delivery(SystemHealth(component="db", status="ok"), "broadcast")
    with pytest.raises(h3py.BackpressureDetected) as caught:
        Notifications(Full()).send_many([health] * 5)
    assert caught.value.__notes__ == ["2 of 5 notifications had been sent"]


def test_a_subscriber_may_choose_by_severity(connect: Open, notifications: Notifications) -> None:
    alarmed = connect(severity="error,critical")
    everyone = connect()
    for status in ("ok", "down", "degraded"):
        notifications.system_health("broadcast", component="db", status=status)
    notifications.payment("broadcast", **{**CALLS["payment"], "status": "failed"})
    found = [json.loads(event.data) for event in alarmed.read_events(2)]
    assert [(one["status"], one["severity"]) for one in found] == [
        ("down", "critical"),
        ("failed", "error"),
    ]
    assert len(everyone.read_events(4)) == 4


def test_metadata_of_the_callers_own_is_there_besides(
    connect: Open, notifications: Notifications, asked: list[dict[str, str]]
) -> None:
    stream = connect(filtered="1")
    asked.clear()
    health = SystemHealth(component="db", status="down")
    assert notifications.send(health, "broadcast", metadata={"region": "eu"}) == 1
    assert stream.read_event().type == "notification:system_health"
    assert asked == [{"kind": "system_health", "severity": "critical", "region": "eu"}]
    with pytest.raises(ValueError, match=r"^metadata: severity is"):
        notifications.send(health, "broadcast", metadata={"severity": "info"})


def test_of_progress_a_stream_that_is_behind_gets_the_newest(
    connect: Open, manager: SSEManager, notifications: Notifications
) -> None:
    stream = connect(receive_buffer=4096, latest="1", channels="jobs")
    filler = SSEEvent("x" * 30_000, event="filler")
    while manager.stats()["dropped"] < 5:  # what the system's buffers take is not behind yet
        before = taken(manager)
        manager.send_to_channel("jobs", filler)
        wait_until(lambda before=before: taken(manager) > before)
    for percent in range(101):
        for video in ("a", "b"):
            notifications.video_processing(
                "channel", "jobs", video_id=video, status="running", percent=percent
            )
    notifications.user_activity("channel", "jobs", user_id="ada", action="end")
    found: list[Any] = []
    while not found or found[-1].type != "notification:user_activity":
        found.append(stream.read_event())
    progress = [json.loads(event.data) for event in found if "video" in event.type]
    assert [(one["video_id"], one["percent"]) for one in progress][-2:] == [("a", 100), ("b", 100)]
    # One may have been on its way to the socket already.
    assert len(progress) < 10, "stale percentages were sent"


def taken(manager: SSEManager) -> int:
    """How many events the pump has queued for somebody, or dropped."""
    stats = manager.stats()
    return int(stats["deliveries"]) + int(stats["dropped"])


@pytest.mark.parametrize("kind", CALLS)
def test_any_thread_may_call(connect: Open, notifications: Notifications, kind: str) -> None:
    stream = connect(channels="all")
    call, fields = getattr(notifications, kind), CALLS[kind]
    sent: list[int] = []
    threads = [
        threading.Thread(target=lambda: sent.append(call("channel", "all", **fields)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sent == [1] * 4
    assert len({json.loads(event.data)["id"] for event in stream.read_events(4)}) == 4


def test_amounts_are_exact_whatever_they_are_given_as(
    connect: Open, notifications: Notifications
) -> None:
    stream = connect()
    given = ("0.10", Decimal("0.10"), 7, "-3.005")
    for amount in given:
        notifications.payment("broadcast", **{**CALLS["payment"], "amount": amount})
    found = [json.loads(event.data)["amount"] for event in stream.read_events(4)]
    assert found == ["0.10", "0.10", "7", "-3.005"]


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"target": "room"}, ValueError, r"^target: must be one of client, user, channel, broad"),
        ({"target": None}, ValueError, r"^target: "),
        ({"target_id": None}, ValueError, r"^target_id: which user"),
        ({"target": "broadcast"}, ValueError, r"^target_id: a broadcast has none"),
        ({"target": "client", "target_id": ["a"]}, TypeError, r"^target_id: one client"),
        ({"target_id": b"ada"}, TypeError, r"^target_id: give a list"),
        ({"amount": 1.5}, TypeError, r"^amount: a float"),
        ({"amount": True}, TypeError, r"^amount: "),
        ({"amount": "a lot"}, ValueError, r"^amount: 'a lot'"),
        ({"status": "lost"}, ValueError, r"^status: "),
        ({"currency": 978}, TypeError, r"^currency: "),
        ({"severity": "loud"}, ValueError, r"^severity: "),
        ({"message": b"raw"}, TypeError, r"^message: "),
        ({"colour": "red"}, TypeError, r"colour"),
    ],
)
def test_what_is_wrong_is_named(
    notifications: Notifications, changes: dict[str, Any], error: type[Exception], said: str
) -> None:
    given = {"target": "user", "target_id": "ada", **CALLS["payment"], **changes}
    with pytest.raises(error, match=said):
        notifications.payment(given.pop("target"), given.pop("target_id"), **given)


def test_one_name_is_not_several_of_one_letter(notifications: Notifications) -> None:
    with pytest.raises(TypeError, match=r"^changed: give a list"):
        notifications.profile_update("broadcast", user_id="ada", changed="name")
    with pytest.raises(TypeError, match=r"^components: give a list"):
        notifications.maintenance(
            "broadcast", status="started", starts_at=NOON, components="database"
        )


def test_what_is_no_notification_is_refused(notifications: Notifications) -> None:
    with pytest.raises(TypeError, match=r"^notification: a dict is none"):
        notifications.send({"kind": "payment"}, "broadcast")  # type: ignore[arg-type]  # refused
    with pytest.raises(TypeError, match="SSEManager"):
        Notifications(MemoryBroker())  # type: ignore[arg-type]  # refused
    assert issubclass(SystemHealth, Notification)


def test_nothing_anyone_says_becomes_a_field_of_the_stream(
    connect: Open, notifications: Notifications
) -> None:
    stream = connect()
    evil = "x\n\nevent: forged\rdata: y\r\nid: 1\u2028"
    notifications.user_activity("broadcast", user_id=evil, action=evil, message=evil, id=evil)
    notifications.system_health("broadcast", component="after", status="ok")
    first, second = stream.read_events(2)
    assert first.type == "notification:user_activity"
    assert json.loads(first.data)["user_id"] == evil
    assert second.type == "notification:system_health"
