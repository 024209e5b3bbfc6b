"""Where tabs that share one connection are in the history, and how they meet."""

from __future__ import annotations

from typing import Any

import pytest

from h3py import SSEEvent
from tests.browser.client_site import connected, numbers, open_page
from tests.browser.tabs import Tabs, take_over
from tests.support.wait import wait_until

pytestmark = pytest.mark.browser


def say_late(page: Any) -> None:
    """Its channel is slow from here on: ``late`` has what was said, for when the tab has gone."""
    page.evaluate(
        """() => {
          window.late = [];
          const { postMessage } = BroadcastChannel.prototype;
          BroadcastChannel.prototype.postMessage = function (message) {
            late.push(() => postMessage.call(new BroadcastChannel(this.name), message));
          };
        }"""
    )


def test_a_tab_with_a_position_of_its_own_joins_the_others(tabs: Tabs) -> None:
    leader = tabs.open()
    tabs.site.send(1, 2, 3)
    numbers(leader, 3)
    known = leader.evaluate("got[0][2]")
    follower = tabs.open(f"{{ lastEventId: '{known}' }}")
    assert numbers(follower, 3) == [2, 3]
    tabs.site.send(4)
    assert numbers(follower, 4) == [2, 3, 4]
    assert tabs.site.only()
    assert numbers(leader, 4) == [1, 2, 3, 4]


def test_a_tab_whose_position_is_lost_is_told(tabs: Tabs) -> None:
    leader = tabs.open()
    tabs.site.send(1)
    numbers(leader, 1)
    tabs.site.manager.send_to_channel("elsewhere", "x")  # the history goes on, the leader does not
    follower = tabs.open("{ lastEventId: 'nonsense' }")
    follower.wait_for_function("() => control.some(([type]) => type === 'h3py:reset')")
    assert tabs.site.only()
    tabs.site.send(2)
    assert numbers(follower, 2) == [2]
    assert tabs.site.only()
    assert leader.evaluate("control.map(([type]) => type)") == ["h3py:hello"]


def test_a_tab_that_is_ahead_of_its_leader_waits_for_it(tabs: Tabs) -> None:
    """It needs no connection of its own once the leader is there, and hears nothing older."""
    leader = tabs.open()
    tabs.site.send(1)
    numbers(leader, 1)
    epoch, first = leader.evaluate("got[0][2]").split("-")
    ahead = f"{epoch}-{int(first, 16) + 2:012x}"
    follower = tabs.open(None)
    with tabs.away():
        tabs.site.manager.disconnect_client(tabs.site.only().client_id)
        tabs.site.send(2, 3)
        follower.evaluate(f"start({{ lastEventId: '{ahead}' }})")
        wait_until(lambda: len(tabs.site.streams()) == 3)
    assert numbers(leader, 3) == [1, 2, 3]
    connected(follower)
    tabs.site.only()
    tabs.site.send(4)
    assert numbers(follower, 4) == [4]
    assert numbers(leader, 4) == [1, 2, 3, 4]


def test_a_new_leader_is_where_its_connection_is(tabs: Tabs) -> None:
    """What the old one said last comes before the replay of the same: it is not behind for that."""
    first, second = tabs.open(), tabs.open()
    tabs.site.send(1)
    for page in (first, second):
        numbers(page, 1)
    say_late(first)
    tabs.site.send(2, 3)
    numbers(first, 3)
    with tabs.away():
        first.evaluate("sse.close()")
        wait_until(lambda: len(tabs.site.streams()) == 2)
        first.evaluate("late.forEach((say) => say())")
        assert numbers(second, 3) == [1, 2, 3]
    take_over(second)
    second.wait_for_function("() => sse.lastEventId === got[2][2]")
    known = second.evaluate("sse.lastEventId")
    third = tabs.open(f"{{ lastEventId: '{known}' }}")
    assert tabs.site.only()
    assert len(tabs.site.streams()) == 2  # the third is where the second is, and needs none
    tabs.site.send(4)
    assert numbers(second, 4) == [1, 2, 3, 4]
    assert numbers(third, 4) == [4]


def test_who_takes_over_while_it_catches_up_goes_on(tabs: Tabs) -> None:
    leader = tabs.open()
    tabs.site.send(1, 2, 3)
    numbers(leader, 3)
    known = leader.evaluate("got[0][2]")
    follower = tabs.open(None)
    with tabs.away():
        follower.evaluate(f"start({{ lastEventId: '{known}' }})")
        wait_until(lambda: len(tabs.site.streams()) == 2)
        leader.close()
        follower.wait_for_function("() => sse.leader")
        tabs.site.send(4)
    assert numbers(follower, 4) == [2, 3, 4]
    assert tabs.site.only().client_id == follower.evaluate("sse.clientId")
    assert len(tabs.site.streams()) == 2  # what it caught up with is the connection now


def test_a_position_that_moves_in_silence_is_everybodys(tabs: Tabs) -> None:
    """An id without data, as a heartbeat may have it, is no event; and it is not lost."""
    streams: list[Any] = []

    def own(event: Any) -> None:
        tabs.site.allow(event)
        streams.append(event.start_sse())
        streams[-1].park()

    tabs.site.app.get("/own", own)
    server = tabs.serve()
    first, second = (open_page(tabs.context, server, "{ to: '/own' }") for _ in range(2))
    for page in (first, second):
        page.wait_for_function("() => sse.connected")
    streams[0].send_event_nowait(SSEEvent("1", id="one"))
    streams[0].send_event_nowait(SSEEvent(id="two"))
    for page in (first, second):
        page.wait_for_function("() => sse.lastEventId === 'two'")
        assert page.evaluate("got") == [["message", "1", "one"]]
    first.close()
    wait_until(lambda: len(tabs.site.seen) == 2)
    assert tabs.site.seen[1].headers["last-event-id"] == "two"


def test_events_on_their_way_from_the_old_leader_are_not_doubled(tabs: Tabs) -> None:
    """What it said last comes after the new one was replayed the same."""
    first, second = tabs.open(), tabs.open()
    say_late(first)
    tabs.site.send(1, 2)
    numbers(first, 2)
    assert second.evaluate("got") == []
    first.evaluate("sse.close()")
    take_over(second)
    third = tabs.open()
    assert numbers(second, 2) == [1, 2]
    first.evaluate("late.forEach((say) => say())")
    tabs.site.send(3)
    assert numbers(second, 3) == [1, 2, 3]
    assert numbers(third, 3)[-1] == 3
