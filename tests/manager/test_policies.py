"""Policies (M12, N6) on real sockets: what a stream whose queue is full gets, and what it costs.

A reader that does not read, with small buffers everywhere: the system takes some 70 KB,
then the queue fills to its cap, then the policy decides. Others are read along all the
time, and must lose nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from h3py import BackpressureDetected, CloseReason, MemoryBroker, ReceivedEvent
from tests.manager.support.site import Site
from tests.support.wait import DEADLINE_S, wait_until

MakeSite = Callable[..., Site]

CAP = 16 * 1024
EVENT_BYTES = 1000
COUNT = 400
"""Events: more than the system and a queue together take."""


@pytest.fixture
def crowd(make_site: MakeSite) -> Callable[..., Crowd]:
    return lambda policy, **options: Crowd(make_site, policy, **options)


class Crowd:
    """One who does not read, and one who does."""

    def __init__(self, make_site: MakeSite, policy: str, **options: Any) -> None:
        self.site = make_site(
            max_queue_bytes=CAP,
            stall_timeout_s=None,
            heartbeat_s=None,
            serve_options={"notsent_lowat_bytes": 8 * 1024},
            **{"broker": MemoryBroker(max_events=2_000), **options},
        )
        self.slow = self.site.open(
            "all", client="slow", policy=policy, receive_buffer_bytes=4096,
            notices="" if options.get("notices") else None,
        )  # fmt: skip
        self.fast = self.site.open("all", client="fast")
        self.largest = 0

    def publish(self, count: int = COUNT, **more: Any) -> None:
        """So many events, each of which the fast one has read before the next is sent."""
        for number in range(count):
            filler = "x" * (EVENT_BYTES - len(f"{number} "))
            self.site.publish("all", f"{number} {filler}", **more)
            assert number_of(self.fast.read_event()) == number
            self.largest = max(self.largest, self.site.queued("slow"))

    @property
    def info(self) -> Any:
        return self.site.of("slow")

    def read_rest(self) -> list[ReceivedEvent]:
        """What the slow one gets when it reads on, up to a last event of its own."""
        self.site.manager.disconnect_client("slow")
        return self.slow.read_to_end()


def number_of(event: ReceivedEvent) -> int:
    assert len(event.data) == EVENT_BYTES, "never a part of an event"
    return int(event.data.split(" ")[0])


def of_numbers(events: list[ReceivedEvent]) -> list[int]:
    return [number_of(event) for event in events if event.type == "to"]


def test_catch_up_loses_nothing(crowd: Callable[..., Crowd]) -> None:
    """The default where there is history: it reads on from the log."""
    all_ = crowd(None)
    all_.publish()
    assert all_.info.policy == "catch_up"
    assert all_.info.state == "lagging"
    assert all_.largest <= CAP
    assert of_numbers(all_.slow.read_events(COUNT)) == list(range(COUNT))
    wait_until(lambda: all_.info.state == "live")
    assert all_.info.dropped == 0
    all_.site.publish("all", "1 " + "x" * (EVENT_BYTES - 2))
    assert number_of(all_.slow.read_event()) == 1
    stats = all_.site.manager.stats()
    assert (stats["lags"], stats["dropped"], stats["resets"]) == (1, 0, 0)


def test_catch_up_past_the_history_says_so(crowd: Callable[..., Crowd]) -> None:
    """What the history no longer has is a loss, and told; what comes after is all there."""
    all_ = crowd("catch_up", broker=MemoryBroker(max_events=50))
    all_.publish()
    events = all_.read_rest()
    resets = [place for place, event in enumerate(events) if event.type == "h3py:reset"]
    assert len(resets) == 1
    before = of_numbers(events[: resets[0]])
    assert before == list(range(len(before)))
    assert len(before) < COUNT
    assert of_numbers(events[resets[0] :]) == []
    assert json.loads(events[-1].data)["head"] == events[-1].last_event_id


def test_close_ends_the_stream_as_slow(crowd: Callable[..., Crowd]) -> None:
    """What the system has of it, and its queue, is all that it gets."""
    all_ = crowd("close")
    all_.publish()
    wait_until(lambda: all_.site.server.closed_streams == {CloseReason.SLOW: 1})
    assert all_.largest <= CAP
    assert not all_.site.manager.is_client_connected("slow")
    assert all_.site.manager.stats()["closed"] == {"slow": 1}


def test_close_is_the_default_without_history(crowd: Callable[..., Crowd]) -> None:
    all_ = crowd(None, broker=MemoryBroker(max_events=0))
    assert all_.info.policy == "close"


def test_drop_new_keeps_what_is_queued(crowd: Callable[..., Crowd]) -> None:
    all_ = crowd("drop_new")
    all_.publish()
    dropped = all_.info.dropped
    assert 0 < dropped < COUNT
    assert all_.largest <= CAP
    assert all_.site.manager.stats()["dropped"] == dropped
    got = of_numbers(all_.read_rest())
    assert len(got) == COUNT - dropped
    assert got == list(range(len(got)))  # the first ones: nothing was read meanwhile


def test_drop_oldest_keeps_the_newest(crowd: Callable[..., Crowd]) -> None:
    all_ = crowd("drop_oldest")
    all_.publish()
    dropped = all_.info.dropped
    assert 0 < dropped < COUNT
    assert all_.largest <= CAP
    got = of_numbers(all_.read_rest())
    assert len(got) == COUNT - dropped
    assert got == sorted(set(got))
    assert got[-1] == COUNT - 1
    # What the system had, then a gap, then the newest that the queue had room for.
    (gap,) = (place for place in range(1, len(got)) if got[place] != got[place - 1] + 1)
    newest = got[gap:]
    assert newest == list(range(COUNT - len(newest), COUNT))
    assert CAP - 2 * EVENT_BYTES <= len(newest) * EVENT_BYTES <= CAP + 2 * EVENT_BYTES


def test_keep_latest_keeps_one_of_each_key(crowd: Callable[..., Crowd]) -> None:
    """Ids keep ascending; what is sent without a key is dropped as ``drop_oldest`` does."""
    all_ = crowd("keep_latest")
    filled = 100
    all_.publish(filled, key="filler")  # the system is full, and one of these waits
    last: dict[str, str] = {}
    for number in range(60):
        key = f"key {number % 4}"
        last[key] = f"{number}"
        all_.site.publish("all", last[key], key=key)
        all_.fast.read_event()
    events = all_.read_rest()
    latest = [event.data for event in events if len(event.data) < EVENT_BYTES]
    assert latest == ["56", "57", "58", "59"]
    fillers = of_numbers([event for event in events if len(event.data) == EVENT_BYTES])
    assert fillers == sorted(set(fillers))
    assert fillers[-1] == filled - 1
    ids = [event.last_event_id for event in events]
    assert ids == sorted(set(ids))


@pytest.mark.parametrize("policy", ["drop_new", "drop_oldest"])
def test_the_client_is_told_how_many_it_missed(crowd: Callable[..., Crowd], policy: str) -> None:
    """``h3py:dropped``, once the queue has drained; every number of it adds up."""
    all_ = crowd(policy, notices=True)
    all_.publish()
    dropped = all_.info.dropped
    assert dropped
    events: list[ReceivedEvent] = []
    while not events or events[-1].type != "h3py:dropped":
        events.append(all_.slow.read_event())
    notice = json.loads(events[-1].data)
    assert notice["reason"] == "queue_full"
    assert notice["missed"] == dropped
    events += all_.read_rest()
    assert len(of_numbers(events)) == COUNT - dropped
    assert [event.type for event in events].count("h3py:dropped") == 1


def test_without_notices_nothing_is_told(crowd: Callable[..., Crowd]) -> None:
    all_ = crowd("drop_new")
    all_.publish()
    assert all_.info.dropped
    assert {event.type for event in all_.read_rest()} == {"to"}


@pytest.mark.parametrize("policy", ["catch_up", "drop_new", "drop_oldest", "keep_latest", "close"])
def test_one_that_reads_nothing_costs_the_others_nothing(make_site: MakeSite, policy: str) -> None:
    """M13, "must hold": the others have every event before the next is published, whatever
    becomes of the one; its queue keeps to its cap, and memory is flat once it is full."""
    site = make_site(
        broker=MemoryBroker(max_events=300), max_queue_bytes=CAP, stall_timeout_s=None,
        serve_options={"notsent_lowat_bytes": 8 * 1024},
    )  # fmt: skip
    site.open("all", client="stuck", policy=policy, receive_buffer_bytes=4096)
    others = [site.open("all") for _ in range(8)]
    memory: list[int] = []
    for number in range(2_000):
        site.publish("all", f"{number} " + "x" * 500)
        for other in others:
            assert other.read_event().data.startswith(f"{number} ")
        if number >= 500 and number % 50 == 0:
            memory.append(site.manager.stats()["memory_bytes"])
        assert site.queued("stuck") <= CAP
    assert max(memory) - min(memory) < 2 * CAP
    assert site.manager.is_client_connected("stuck") == (policy != "close")


def test_an_event_above_the_cap_comes_whole(make_site: MakeSite) -> None:
    """Design 11: a cap is kept to max(cap, one event)."""
    site = make_site(max_queue_bytes=1000)
    reader = site.open("all")
    for number in range(5):
        site.publish("all", f"{number}" * 200_000)
    for number in range(5):
        assert reader.read_event(deadline_s=DEADLINE_S).data == f"{number}" * 200_000


def test_what_a_handler_sends_itself_is_refused_not_dropped(crowd: Callable[..., Crowd]) -> None:
    all_ = crowd("drop_oldest")
    subscription = all_.site.subscriptions["slow"]
    sent = 0
    with pytest.raises(BackpressureDetected):
        while sent < 1000:
            subscription.send_event_nowait(f"{sent} " + "y" * (EVENT_BYTES - len(f"{sent} ")))
            sent += 1
    all_.publish(50)
    events = all_.read_rest()
    own = [number_of(event) for event in events if event.type == "message"]
    assert own == list(range(sent))
