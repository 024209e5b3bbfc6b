"""Publishing: whom an event goes to, how often, with which id; from anywhere, at any time."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest
import trio

from h3py import (
    BackpressureDetected,
    EventTooLarge,
    H3Event,
    ManagerClosed,
    MemoryBroker,
    SSEEvent,
    SSEManager,
)
from tests.manager.support.site import Site, datas
from tests.support.client import Client
from tests.support.wait import DEADLINE_S, wait_until

ID = re.compile(r"[0-9a-f]{12}-[0-9a-f]{12}")
MakeSite = Callable[..., Site]


def test_each_kind_of_target(site: Site) -> None:
    """M2: what it returns is how many streams it goes to; who is not named gets nothing."""
    manager = site.manager
    anna = site.open("news,sport", client="a", user="anna")
    phone = site.open("sport", client="p", user="anna")
    bert = site.open("news", client="b", user="bert")
    nobody = site.open(client="n")
    assert manager.send_to_client("b", "to", "client") is True
    assert manager.send_to_user("anna", "to", "user") == 2
    assert manager.send_to_users(["anna", "bert", "carl"], "to", "users") == 3
    assert manager.send_to_channel("news", "to", "channel") == 2
    assert manager.send_to_channels(["news", "sport", "void"], "to", "channels") == 3
    assert manager.broadcast("to", "all") == 4
    assert datas(anna.read_events(5)) == ["user", "users", "channel", "channels", "all"]
    assert datas(phone.read_events(4)) == ["user", "users", "channels", "all"]
    assert datas(bert.read_events(5)) == ["client", "users", "channel", "channels", "all"]
    assert datas(nobody.read_events(1)) == ["all"]


def test_nobody_is_no_error(site: Site) -> None:
    manager = site.manager
    site.open("news", client="a", user="anna")
    assert manager.send_to_client("x", "to") is False
    assert manager.send_to_user("x", "to") == 0
    assert manager.send_to_users(["x", "y"], "to") == 0
    assert manager.send_to_users([], "to") == 0
    assert manager.send_to_channel("x", "to") == 0
    assert manager.send_to_channels([], "to") == 0


def test_one_call_is_one_event_with_one_id_and_comes_once(site: Site) -> None:
    """M2: a stream that is addressed in four ways gets it once; all get the same bytes."""
    a = site.open("one,two,three", client="a", user="anna")
    b = site.open("three", client="b", user="bert")
    assert site.manager.send_to_channels(["one", "two", "three"], "to", "x") == 2
    assert site.manager.broadcast("end") == 2
    first, second = a.read_events(2), b.read_events(2)
    assert first == second
    assert [event.type for event in first] == ["to", "end"]
    ids = [event.last_event_id for event in first]
    assert all(ID.fullmatch(each) for each in ids)
    epoch, sequence = ids[0].split("-")
    assert ids[1] == f"{epoch}-{int(sequence, 16) + 1:012x}"
    assert site.manager.stats()["published"] == 2


def test_an_event_is_formatted_once(site: Site) -> None:
    """N5: streams share one block of memory; what is queued for many costs what one costs."""
    readers = [site.open("news") for _ in range(20)]
    before = site.manager.stats()["blocks"]
    site.manager.send_to_channel("news", "to", "x" * 1000)
    assert site.manager.stats()["blocks"] <= before + 2  # it, and what a pump has merged
    for reader in readers:
        assert reader.read_event().data == "x" * 1000


def test_data_as_the_design_says(site: Site) -> None:
    """Design 11: None is an empty line, text goes as it is, all else is JSON."""
    reader = site.open()
    for data in (None, "text\nof two lines", {"a": [1, "é"]}, 7, True):
        site.manager.broadcast("to", data)
    site.manager.broadcast(SSEEvent("alone"))
    expected = ["", "text\nof two lines", '{"a":[1,"é"]}', "7", "true", "alone"]
    events = reader.read_events(6)
    assert datas(events) == expected
    assert [event.type for event in events] == ["to"] * 5 + ["message"]


def test_what_is_refused_is_not_sent(site: Site) -> None:
    manager, reader = site.manager, site.open("news")
    refused: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (TypeError, "SSEEvent.binary", lambda: manager.broadcast("to", b"x")),
        (TypeError, "a name or an SSEEvent", lambda: manager.broadcast(7)),  # type: ignore[arg-type]  # on purpose
        (ValueError, "ids from the history", lambda: manager.broadcast("to", id="7")),
        (ValueError, "ids from the history", lambda: manager.broadcast(SSEEvent("x", id="7"))),
        (ValueError, "event", lambda: manager.broadcast("a\nb")),
        (TypeError, "key must be a str", lambda: manager.broadcast("to", key=7)),  # type: ignore[arg-type]  # on purpose
        (TypeError, "metadata", lambda: manager.broadcast("to", metadata={"a": None})),
        (ValueError, "metadata", lambda: manager.broadcast("to", metadata={"\0a": "b"})),
        (ValueError, "surrogates", lambda: manager.broadcast("to", metadata={"a": "\ud800"})),
        (ValueError, "channel must not be empty", lambda: manager.send_to_channel("", "to")),
        (ValueError, "at most 128 bytes", lambda: manager.send_to_user("x" * 129, "to")),
        (TypeError, "user_id", lambda: manager.send_to_user(7, "to")),  # type: ignore[arg-type]  # on purpose
        (ValueError, "client_id", lambda: manager.send_to_client("\ud800", "to")),
        (TypeError, "a list", lambda: manager.send_to_users("anna", "to")),
        (TypeError, "a list", lambda: manager.send_to_channels("news", "to")),
    ]
    for error, told, call in refused:
        with pytest.raises(error, match=told):
            call()
    manager.broadcast("end")
    assert reader.read_event().type == "end"


def test_names_at_the_limit_and_one_past_it(make_site: MakeSite) -> None:
    site = make_site(max_name_bytes=4)
    site.open("abcd", user="efgh", client="ijkl")
    manager = site.manager
    assert manager.send_to_channel("abcd", "to") == manager.send_to_user("efgh", "to") == 1
    assert manager.send_to_client("ijkl", "to")
    for call in (manager.send_to_channel, manager.send_to_user, manager.send_to_client):
        with pytest.raises(ValueError, match="at most 4 bytes, not 5"):
            call("abcde", "to")


def test_nothing_is_kept_for_a_client_that_is_not_there(site: Site) -> None:
    """It would only push out what is kept for others, and never reach anybody."""
    reader = site.open("news", client="a")
    assert site.manager.send_to_client("gone", "to") is False
    assert site.manager.stats()["log_events"] == 0
    assert site.manager.send_to_channel("nobody's", "to") == 0
    assert site.manager.stats()["log_events"] == 1
    site.manager.broadcast("end")
    assert reader.read_event().type == "end"


def test_ids_of_ones_own_without_history(make_site: MakeSite) -> None:
    site = make_site(broker=MemoryBroker(max_events=0))
    reader = site.open(seen="whatever")
    site.manager.broadcast("to", "x", id="mine")
    site.manager.broadcast(SSEEvent("y", id="mine too"))
    site.manager.broadcast("to", "z")
    ids = [event.last_event_id for event in reader.read_events(3)]
    assert ids == ["mine", "mine too", "mine too"]


def test_an_event_above_half_of_the_memory(make_site: MakeSite) -> None:
    mib = 1024 * 1024
    site = make_site(broker=MemoryBroker(max_bytes=mib), max_memory_bytes=4 * mib)
    reader = site.open()
    with pytest.raises(EventTooLarge):
        site.manager.broadcast("to", "x" * (2 * mib))
    site.manager.broadcast("to", "x" * (2 * mib - 1000))
    assert len(reader.read_event().data) == 2 * mib - 1000


def test_publishing_from_anywhere(make_site: MakeSite, backend: str) -> None:
    """A handler (a task on trio), a worker or foreign thread, a presence callback."""
    manager = SSEManager()
    seen: list[str] = []

    def publish(where: str) -> None:
        seen.append(where)
        assert manager.send_to_channel("news", "to", where) == 1

    def plain(event: H3Event) -> str:
        publish("worker")
        return "done"

    async def task(event: H3Event) -> str:
        publish("task")
        await trio.to_thread.run_sync(publish, "thread of the task's")
        return "done"

    def routes(site: Site) -> None:
        site.app.get("/publish")(task if backend == "trio" else plain)
        site.app.get("/plain")(plain)

    site = make_site(manager=manager, prepare=routes)
    manager.on_connect(lambda who: who.client_id == "second" and publish("callback"))
    reader = site.open("news", client="first")
    for path in ("/publish", "/plain"):
        with Client(site.server.addresses[0]) as client:
            assert client.get(path).text == "done"
    thread = threading.Thread(target=publish, args=("foreign",))
    thread.start()
    thread.join(DEADLINE_S)
    site.open(client="second")
    wait_until(lambda: "callback" in seen)
    assert datas(reader.read_events(len(seen))) == seen


def test_before_any_server_there_is_nobody() -> None:
    manager = SSEManager()
    try:
        assert manager.broadcast("to", "x") == 0
        assert manager.send_to_user("anna", "to") == 0
        assert manager.send_to_client("a", "to") is False
        assert manager.drain(0)
    finally:
        manager.close()


def test_what_was_published_before_the_server_is_history(make_site: MakeSite) -> None:
    manager = SSEManager()
    manager.send_to_channel("news", "to", "early")
    site = make_site(manager=manager)
    site.open("news")
    manager.send_to_channel("news", "to", "now")
    seen = site.readers[0].read_event().last_event_id
    epoch, _, sequence = seen.partition("-")
    assert sequence == "000000000002"
    again = site.open("news", seen=f"{epoch}-000000000000")
    assert datas(again.read_events(2)) == ["early", "now"]


def test_after_its_last_server_a_manager_is_closed(site: Site) -> None:
    manager = site.manager
    site.open("news", client="a")
    site.server.shutdown()
    calls: list[Callable[[], object]] = [
        lambda: manager.broadcast("to"),
        lambda: manager.send_to_channel("news", "to"),
        lambda: manager.send_to_channels([], "to"),
        lambda: manager.send_to_user("anna", "to"),
        lambda: manager.send_to_users(["anna"], "to"),
        lambda: manager.send_to_client("a", "to"),
        lambda: manager.drain(0),
    ]

    def closed(call: Callable[[], object]) -> bool:
        with pytest.raises(ManagerClosed, match=r"closing|shutting down|stop"):
            call()
        return True

    wait_until(lambda: manager._hub is not None and manager._hub.closed)
    assert all(closed(call) for call in calls)
    site.close()
    site.settled()
    assert all(closed(call) for call in calls)
    with pytest.raises(ManagerClosed):
        trio.run(manager.adrain)


def test_during_a_shutdown_publishing_works_or_says_that_it_does_not(make_site: MakeSite) -> None:
    """No other error, and whatever was taken has come when the stream ends."""
    site = make_site()
    reader = site.open()
    sent: list[int] = []
    errors: list[BaseException] = []
    begun = threading.Event()

    def publish() -> None:
        try:
            for number in range(1_000_000):
                with suppress(BackpressureDetected):
                    if site.manager.broadcast("to", number):
                        sent.append(number)
                begun.set()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=publish)
    thread.start()
    assert begun.wait(DEADLINE_S)
    site.server.shutdown()
    thread.join(DEADLINE_S)
    assert [type(error) for error in errors] == [ManagerClosed]
    got = [int(event.data) for event in reader.read_to_end()]
    assert got == sent[: len(got)]


def test_drain_has_room(site: Site) -> None:
    site.open()
    for number in range(100):
        site.manager.broadcast("to", number)
    assert site.manager.drain(DEADLINE_S)
    assert site.manager.drain(DEADLINE_S, lagging=True)

    async def wait() -> bool:
        with trio.fail_after(DEADLINE_S):
            return await site.manager.adrain()

    assert trio.run(wait)


def test_a_publisher_that_waits_loses_nothing(make_site: MakeSite) -> None:
    """A log of 64 events, 20,000 of them as fast as they can be made, with drain where refused."""
    site = make_site(broker=MemoryBroker(max_events=64), max_queue_bytes=1024 * 1024)
    reader = site.open()
    received: list[str] = []
    reading = threading.Thread(target=lambda: received.extend(datas(reader.read_events(20_000))))
    reading.start()
    refused = 0
    for number in range(20_000):
        while True:
            try:
                site.manager.broadcast("to", number)
                break
            except BackpressureDetected:
                refused += 1
                assert site.manager.drain(DEADLINE_S, lagging=True)
        if number % 32 == 0:
            assert site.manager.drain(DEADLINE_S, lagging=True)
    reading.join(DEADLINE_S)
    assert received == [str(number) for number in range(20_000)]
    assert site.manager.stats()["refused"] == refused
    assert site.manager.stats()["resets"] == 0


def test_a_task_that_waits_for_room_gets_it(make_site: MakeSite) -> None:
    site = make_site(broker=MemoryBroker(max_events=8), max_queue_bytes=1024 * 1024)
    site.open()
    refused = 0

    async def publish() -> None:
        nonlocal refused
        with trio.fail_after(DEADLINE_S):
            for number in range(20_000):
                while True:
                    try:
                        site.manager.broadcast("to", number)
                        break
                    except BackpressureDetected:
                        refused += 1
                        assert await site.manager.adrain()

    trio.run(publish)
    assert site.manager.stats()["published"] == 20_000
    assert site.manager.stats()["refused"] == refused
