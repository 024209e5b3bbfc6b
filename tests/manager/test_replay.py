"""Replay (M9, N3): what was missed comes, in order, once; a loss is told, and only a real one."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import h3py
from h3py import H3, SSEManager
from h3py.testing import EventReader
from tests.manager.support.site import Site, check_reset, datas, ended, id_of, numbers
from tests.support.wait import DEADLINE_S, wait_until

MakeSite = Callable[..., Site]
ID = re.compile(r"([0-9a-f]{12})-([0-9a-f]{12})")


# -- what comes back -----------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["header", "query", "both"])
def test_what_was_missed_comes_in_order_and_live_events_after_it(site: Site, by: str) -> None:
    """Where a browser says both, the header is the newer: the query is the page's first."""
    manager = site.manager
    reader = site.open("news", client="a", user="anna")
    manager.send_to_channel("news", "to", 0)
    manager.send_to_channel("news", "to", 1)
    first, seen = (event.last_event_id for event in reader.read_events(2))
    ended(site, reader)
    for number in range(2, 100):
        manager.send_to_channel("news", "to", number)
        manager.send_to_channel("other", "to", -1)
    manager.send_to_user("anna", "to", 100)
    manager.broadcast("to", 101)
    query = {"header": None, "query": seen, "both": first}[by]
    back = site.open(
        "news",
        client="a",
        user="anna",
        seen=None if by == "query" else seen,
        last_event_id=query,
    )
    manager.send_to_channel("news", "to", 102)
    assert numbers(back.read_events(101)) == list(range(2, 103))


def test_without_an_id_a_stream_begins_now(site: Site) -> None:
    site.manager.send_to_channel("news", "to", "before")
    for seen in (None, ""):
        reader = site.open("news", seen=seen)
        site.manager.send_to_channel("news", "to", "now")
        assert reader.read_event().data == "now"


def test_ids_are_epoch_and_sequence_one_line_for_all_events(site: Site) -> None:
    manager = site.manager
    reader = site.open("news", client="a", user="anna")
    manager.send_to_channel("news", "to")
    manager.send_to_channel("other", "to")
    manager.send_to_user("anna", "to")
    manager.send_to_client("a", "to")
    manager.broadcast("to")
    ids = [event.last_event_id for event in reader.read_events(4)]
    found = [ID.fullmatch(each) for each in ids]
    assert len({match[1] for match in found if match}) == 1
    assert [int(match[2], 16) for match in found if match] == [1, 3, 4, 5]
    assert reader.received.raw.count(b"\nid: ") + reader.received.raw.startswith(b"id: ") == 4


def test_private_events_come_back_to_the_same_user_only(site: Site) -> None:
    manager = site.manager
    anna = site.open(client="a", user="anna")
    manager.broadcast("to", "start")
    seen = anna.read_event().last_event_id
    ended(site, anna)
    manager.send_to_user("anna", "to", "for anna")
    manager.send_to_user("bert", "to", "for bert")
    manager.broadcast("to", "end")
    expected = {"anna": ["for anna", "end"], "bert": ["for bert", "end"], None: ["end"]}
    for user, data in expected.items():
        assert datas(site.open(user=user, seen=seen).read_events(len(data))) == data


def test_a_clients_own_events_never_come_to_a_new_connection(site: Site) -> None:
    """Not even to one that takes its name over, and has seen what was before."""
    manager = site.manager
    reader = site.open(client="a", user="anna")
    manager.broadcast("to", "start")
    assert manager.send_to_client("a", "to", "own")
    seen, _ = (event.last_event_id for event in reader.read_events(2))
    manager.broadcast("to", "end")
    again = site.open(client="a", user="anna", seen=seen)
    assert again.read_event().data == "end"
    other = site.open(client="b", user="anna", seen=seen)
    assert other.read_event().data == "end"


def test_a_channel_that_is_joined_later_brings_nothing_from_before(site: Site) -> None:
    manager = site.manager
    reader = site.open("news", client="a")
    manager.send_to_channel("sport", "to", "before")
    manager.join("a", "sport")
    manager.send_to_channel("sport", "to", "joined")
    assert reader.read_event().data == "joined"


def test_todays_channels_decide(site: Site) -> None:
    """Design 11: replay applies today's channels, not those of the time of the event."""
    manager = site.manager
    reader = site.open("news")
    manager.broadcast("to", "start")
    seen = reader.read_event().last_event_id
    manager.send_to_channel("news", "to", "news")
    manager.send_to_channel("sport", "to", "sport")
    manager.broadcast("end")
    assert datas(site.open("sport", seen=seen).read_events(2)) == ["sport", ""]


@pytest.mark.parametrize("kind", ["mapping", "function"])
def test_conditions_hold_live_and_in_replay(site: Site, kind: str) -> None:
    """M5."""
    manager = site.manager

    def loud(metadata: dict[str, str]) -> bool:
        return metadata.get("level") in ("warning", "error") and "silent" not in metadata

    levels = {"level": ["warning", "error"]}
    site.wheres["loud"] = levels if kind == "mapping" else loud
    reader = site.open("news", where="loud")
    everything = site.open("news")

    def publish() -> None:
        for level in ("info", "warning", "error", None):
            metadata = None if level is None else {"level": level, "more": 7}
            manager.send_to_channel("news", "to", str(level), metadata=metadata)

    manager.broadcast("to", "start", metadata={"level": "error"})
    seen = reader.read_event().last_event_id
    publish()
    assert datas(reader.read_events(2)) == ["warning", "error"]
    ended(site, reader)
    publish()
    back = site.open("news", where="loud", seen=seen)
    assert datas(back.read_events(4)) == ["warning", "error"] * 2
    publish()
    assert datas(back.read_events(2)) == ["warning", "error"]
    assert len(datas(everything.read_events(13))) == 13
    assert manager.stats()["resets"] == 0


def test_a_function_that_is_new_cannot_say_what_was_missed(site: Site) -> None:
    """It was not asked: that is told, rather than guessed."""
    reader = site.open("news")
    site.manager.send_to_channel("news", "to", 0)
    seen = reader.read_event().last_event_id
    site.manager.send_to_channel("news", "to", 1)
    reader.read_event()  # so that the pump is as far as the reset will say
    site.wheres["new"] = lambda metadata: True
    back = site.open("news", where="new", seen=seen)
    check_reset(back.read_event(), id_of(seen, 2))
    site.manager.send_to_channel("news", "to", 2)
    assert back.read_event().data == "2"


def test_an_event_that_is_asked_about_while_a_function_comes_is_asked_about_by_it_too(
    site: Site,
) -> None:
    """Else its stream would miss an event that was published after it came."""
    entered, go_on = threading.Event(), threading.Event()
    asked = []

    def slow(metadata: dict[str, str]) -> bool:
        asked.append(metadata)
        entered.set()
        return go_on.wait(DEADLINE_S)

    site.wheres["slow"] = slow
    site.wheres["new"] = lambda metadata: "a" in metadata
    first = site.open("news", where="slow")
    publisher = threading.Thread(
        target=site.manager.send_to_channel, args=("news", "to", 1), kwargs={"metadata": {"a": 1}}
    )
    publisher.start()
    assert entered.wait(DEADLINE_S)
    second = site.open("news", where="new")
    go_on.set()
    publisher.join(DEADLINE_S)
    assert [first.read_event().data, second.read_event().data] == ["1", "1"]
    assert asked == [{"a": "1"}]  # once


# -- subscribing and replaying are one step --------------------------------------------------------


@pytest.fixture(scope="module", params=["trio", "threads"])
def busy(request: pytest.FixtureRequest) -> Any:
    """A server that lives as long as the generated tests, since each begins many streams."""
    manager = SSEManager()
    app = H3()
    app.get("/events")(
        lambda event: manager.subscribe(
            event, event.query["channels"].split(","), event.query.get("user")
        )
    )
    with h3py.running(app, backend=request.param, port=0) as server:
        yield manager, server


PLANS = st.lists(
    st.tuples(st.integers(0, 40), st.sampled_from(["a", "b", "a,b", "a,c"])),
    min_size=1,
    max_size=6,
)


@settings(
    max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(plan=PLANS, burst=st.integers(1, 60))
def test_coming_back_under_publishing_misses_nothing_and_gets_nothing_twice(
    busy: Any, plan: list[tuple[int, str]], burst: int
) -> None:
    """Publishers go on while a client reads some, leaves, and returns with the last id it saw."""
    manager, server = busy
    channels = ["a", "b", "c"]
    published: dict[str, list[int]] = {channel: [] for channel in channels}
    stop = threading.Event()
    anchor = "/events?channels=a,b,c"

    def publish(channel: str) -> None:
        number = 0
        while not stop.is_set() and number < 2_000:
            for _ in range(burst):
                published[channel].append(number)
                manager.send_to_channel(channel, channel, number)
                number += 1
            manager.drain(DEADLINE_S)

    threads = [threading.Thread(target=publish, args=(channel,)) for channel in channels]
    with closing(EventReader(server.url + anchor)) as watcher:
        wait_until(manager.get_connections)
        manager.broadcast("begin")
        seen = watcher.read_event().last_event_id
    for thread in threads:
        thread.start()
    got: dict[str, list[int]] = {channel: [] for channel in channels}
    try:
        for count, _ in plan:
            # Always the same channels: each number of them must come, once, in order.
            reader = EventReader(
                f"{server.url}/events?channels=a,b", headers=[("last-event-id", seen)]
            )
            with closing(reader):
                for _ in range(count):
                    event = reader.read_event()
                    seen = event.last_event_id
                    got[event.type].append(int(event.data))
    finally:
        stop.set()
        for thread in threads:
            thread.join(DEADLINE_S)
    with closing(
        EventReader(f"{server.url}/events?channels=a,b", headers=[("last-event-id", seen)])
    ) as reader:
        wait_until(manager.get_connections)
        manager.send_to_channel("a", "end")
        while (event := reader.read_event()).type != "end":
            got[event.type].append(int(event.data))
    wait_until(lambda: manager.stats()["connections"] == 0)
    assert got["a"] == published["a"]
    assert got["b"] == published["b"]
    assert got["c"] == []


@settings(
    max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    script=st.lists(
        st.one_of(
            st.tuples(st.just("channel"), st.sampled_from("abc")),
            st.tuples(st.just("user"), st.sampled_from(["anna", "bert"])),
            st.tuples(st.just("all"), st.just("")),
        ),
        max_size=40,
    ),
    follows=st.sets(st.sampled_from("abc"), min_size=1),
    user=st.sampled_from(["anna", "bert", None]),
    data=st.data(),
)
def test_a_replay_is_what_a_list_says(
    busy: Any,
    script: list[tuple[str, str]],
    follows: set[str],
    user: str | None,
    data: st.DataObject,
) -> None:
    """From any position: exactly the events after it that name one of the stream's targets."""
    manager, server = busy
    engine = manager._open().engine
    base = engine.head
    for number, (kind, name) in enumerate(script):
        if kind == "channel":
            manager.send_to_channel(name, "to", number)
        elif kind == "user":
            manager.send_to_user(name, "to", number)
        else:
            manager.broadcast("to", number)
    position = data.draw(st.integers(0, len(script)))
    expected = [
        number
        for number, (kind, name) in enumerate(script)
        if number >= position
        and (kind == "all" or (kind == "channel" and name in follows) or name == user)
    ]
    url = f"{server.url}/events?channels={','.join(follows)}" + (f"&user={user}" if user else "")
    headers = [("last-event-id", engine.event_id(base + position))]
    with closing(EventReader(url, headers=headers)) as reader:
        assert reader.status == 200
        wait_until(manager.get_connections)
        manager.broadcast("end")
        got = reader.read_events(len(expected) + 1)
    assert numbers(got[:-1]) == expected
    assert got[-1].type == "end"
    wait_until(lambda: manager.stats()["connections"] == 0)
