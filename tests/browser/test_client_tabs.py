"""Tabs with one connection: who has it, what the others see, and what happens when it goes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest

from h3py import SSEEvent
from tests.browser.client_site import connected, numbers
from tests.browser.tabs import Tabs, leads, take_over
from tests.support.wait import wait_until

pytestmark = pytest.mark.browser


def test_two_tabs_share_one_connection(tabs: Tabs) -> None:
    first, second = tabs.open(), tabs.open()
    assert tabs.site.only().client_id == first.evaluate("sse.clientId")
    assert second.evaluate("sse.clientId") == first.evaluate("sse.clientId")
    assert (leads(first), leads(second)) == (True, False)
    tabs.site.send(1, 2, 3)
    assert numbers(first, 3) == numbers(second, 3) == [1, 2, 3]
    assert first.evaluate("got") == second.evaluate("got")  # types, data and ids
    assert len(tabs.site.streams()) == 1
    assert second.evaluate("sse.ping()") is True


def test_text_crosses_the_tabs_as_it_is(tabs: Tabs) -> None:
    first, second = tabs.open(), tabs.open()
    text = "one\ntwo\n\n  naïve 古池や 👩‍👩‍👧‍👦\u2028\0"
    tabs.site.manager.send_to_channel("news", "текст", text)
    for page in (first, second):
        page.wait_for_function("() => got.length === 1")
        assert page.evaluate("got[0].slice(0, 2)") == ["текст", text]


def test_two_clients_of_one_page_share_it_too(tabs: Tabs) -> None:
    page = tabs.open()
    page.evaluate("() => { window.first = sse; start(); }")
    connected(page)
    assert page.evaluate("[first.leader, sse.leader]") == [True, False]
    page.evaluate("first.close()")
    take_over(page)
    tabs.site.send(1)
    assert numbers(page, 1) == [1]
    assert tabs.site.only()


@pytest.mark.parametrize(
    "other",
    ["{ channels: ['news', 'more'] }", "{ token: 'x' }", "{ shared: false }", "{ shared: 'me' }"],
)
def test_who_asks_for_something_else_has_a_connection_of_their_own(tabs: Tabs, other: str) -> None:
    first, second = tabs.open(), tabs.open(other)
    assert leads(first)
    assert leads(second)
    assert len(tabs.site.manager.get_connections()) == 2


def test_the_order_of_channels_is_no_difference(tabs: Tabs) -> None:
    tabs.open("{ channels: ['news', 'more'] }")
    tabs.open("{ channels: ['more', 'news', 'more'] }")
    assert tabs.site.only()


def test_a_name_for_who_shares_stands_for_token_and_headers(tabs: Tabs) -> None:
    for number in (1, 2):
        tabs.open(f"{{ shared: 'user 7', token: 't{number}', headers: {{ 'X-Tab': '{number}' }} }}")
    assert tabs.site.only()


def test_a_token_is_not_shown_in_the_names_of_locks(tabs: Tabs) -> None:
    page = tabs.open("{ token: 'a secret token' }")
    locks = page.evaluate("navigator.locks.query().then(({ held }) => held.map((l) => l.name))")
    assert len(locks) == 1
    assert "secret" not in locks[0]


def close(page: Any) -> None:
    page.close()


def leave(page: Any) -> None:
    page.goto("about:blank")


def end_client(page: Any) -> None:
    page.evaluate("sse.close()")


@pytest.mark.parametrize("way", [close, leave, end_client])
def test_another_tab_takes_over_without_loss_or_double(
    tabs: Tabs, way: Callable[[Any], None]
) -> None:
    first, second, third = tabs.open(), tabs.open(), tabs.open()
    tabs.site.send(1, 2)
    for page in (first, second, third):
        numbers(page, 2)
    with tabs.away():
        way(first)
        wait_until(lambda: len(tabs.site.streams()) == 2)
        tabs.site.send(3, 4)
    take_over(second)
    tabs.site.send(5)
    for page in (second, third):
        assert numbers(page, 5) == [1, 2, 3, 4, 5]
    assert (leads(second), leads(third)) == (True, False)
    assert tabs.site.only().client_id == third.evaluate("sse.clientId")
    second.close()
    take_over(third)
    tabs.site.send(6)
    assert numbers(third, 6) == [1, 2, 3, 4, 5, 6]


def test_a_tab_that_crashes_is_replaced_too(tabs: Tabs) -> None:
    first, second = tabs.open(), tabs.open()
    client = tabs.site.only().client_id
    tabs.site.send(1)
    assert numbers(second, 1) == [1]
    crashed = []

    def next_one(page: Any) -> None:
        crashed.append(page)
        take_over(second)
        page.close()  # what asked for the crash waits for an answer

    first.on("crash", next_one)
    with contextlib.suppress(Exception):  # there is nobody to answer
        tabs.context.new_cdp_session(first).send("Page.crash")
    assert crashed == [first]
    tabs.site.send(2)
    assert numbers(second, 2) == [1, 2]
    assert tabs.site.only().client_id == client


def test_where_there_are_no_locks_each_tab_connects(tabs: Tabs) -> None:
    tabs.context.add_init_script("delete Navigator.prototype.locks")
    first, second = tabs.open(), tabs.open()
    assert len(tabs.site.manager.get_connections()) == 2
    tabs.site.send(1)
    assert numbers(first, 1) == numbers(second, 1) == [1]


def test_where_locks_are_refused_each_tab_connects(tabs: Tabs) -> None:
    tabs.context.add_init_script(
        "if (navigator.locks) navigator.locks.request = async () => {"
        " throw new DOMException('not in this frame', 'SecurityError'); }"
    )
    streams: list[Any] = []
    tabs.site.manager.on_connect(streams.append)
    first, second = tabs.open(), tabs.open()
    wait_until(lambda: len(streams) == 2)
    assert len(tabs.site.manager.get_connections()) == 2
    for stream in streams:
        stream.send_event_nowait(SSEEvent(stream.client_id))
    tabs.site.send(1)
    for page in (first, second):
        page.wait_for_function("() => got.length >= 2")
        # What went to the other's stream alone is not heard here.
        assert [data for _, data, _ in page.evaluate("got")] == [page.evaluate("sse.clientId"), "1"]


# Chromium, driven as it is here, has no back/forward cache and freezes no page: the pages are told
# that it is so, which is all that they could know of it.


def away_in_the_cache(page: Any) -> Callable[[], None]:
    say = "(type) => dispatchEvent(new PageTransitionEvent(type, { persisted: true }))"
    page.evaluate(say, "pagehide")
    return lambda: page.evaluate(say, "pageshow")


def frozen(page: Any) -> Callable[[], None]:
    say = "(type) => document.dispatchEvent(new Event(type))"
    page.evaluate(say, "freeze")
    return lambda: page.evaluate(say, "resume")


@pytest.mark.parametrize("put_away", [away_in_the_cache, frozen])
@pytest.mark.parametrize("which", ["leader", "follower"])
def test_a_tab_that_was_put_away_catches_up(
    tabs: Tabs, put_away: Callable[[Any], Callable[[], None]], which: str
) -> None:
    leader, follower = tabs.open(), tabs.open()
    tabs.site.send(1)
    numbers(leader, 1)
    numbers(follower, 1)
    sleeper, other = (leader, follower) if which == "leader" else (follower, leader)
    wake = put_away(sleeper)
    take_over(other)
    tabs.site.send(2, 3, 4)
    assert numbers(other, 4) == [1, 2, 3, 4]
    wake()
    assert numbers(sleeper, 4) == [1, 2, 3, 4]
    assert (leads(other), leads(sleeper)) == (True, False)
    tabs.site.send(5)
    assert numbers(sleeper, 5) == numbers(other, 5) == [1, 2, 3, 4, 5]
    assert tabs.site.only()  # it needs no connection of its own any more
    other.close()
    take_over(sleeper)
    tabs.site.send(6)
    assert numbers(sleeper, 6) == [1, 2, 3, 4, 5, 6]


def test_it_goes_on_while_tabs_come_and_go(tabs: Tabs) -> None:
    """Events flow all the time; each tab has every one from its first to its last, once."""
    site = tabs.site
    pages = [tabs.open() for _ in range(3)]

    def leader() -> Any:
        return wait_until(lambda: next(filter(leads, pages), None), what="a leader")

    def close_leader() -> None:
        pages.append(tabs.open())
        pages.remove(first := leader())
        first.close()

    def cut() -> None:
        for one in site.manager.get_connections():
            site.manager.disconnect_client(one.client_id)

    def follower_away() -> None:
        away_in_the_cache(next(page for page in pages if not leads(page)))()

    def leader_away() -> None:
        wake = away_in_the_cache(leader())
        leader()
        wake()

    last = 0
    for action in [close_leader, cut, follower_away, leader_away] * 3:
        burst = range(last + 1, last + 201)
        last = burst[-1]
        publisher = threading.Thread(target=site.send, args=burst)
        publisher.start()
        action()
        publisher.join()
    for page in pages:
        got = numbers(page, last)
        assert got == list(range(got[0], last + 1))
    assert len(numbers(pages[0], last)) > 600
    site.only()


def test_who_missed_nothing_needs_no_connection_to_catch_up(tabs: Tabs) -> None:
    leader, follower = tabs.open(), tabs.open()
    tabs.site.send(1)
    numbers(leader, 1)
    numbers(follower, 1)
    away_in_the_cache(follower)()
    connected(follower)
    tabs.site.send(2)
    assert numbers(follower, 2) == [1, 2]
    assert len(tabs.site.streams()) == 1


def test_all_are_told_that_the_connection_went_and_came(tabs: Tabs) -> None:
    first, second = tabs.open(), tabs.open()
    client = tabs.site.only().client_id
    with tabs.away():
        tabs.site.manager.disconnect_client(client)
        for page in (first, second):
            page.wait_for_function("() => !sse.connected")
    for page in (first, second):
        connected(page)
        assert page.evaluate("statuses") == ["open", "waiting", "connecting", "open"]


def test_who_is_refused_does_not_stand_in_the_way(tabs: Tabs, errors: list[str]) -> None:
    """The first tab's session has ended; a second one that has a new one is let in."""
    tabs.site.token = "good"
    first = tabs.open(None)
    first.evaluate("start({ shared: 'me', token: 'old' })")
    first.wait_for_function("() => sse.status === 'closed'")
    second = tabs.open("{ shared: 'me', token: 'good' }")
    assert leads(second)
    tabs.site.send(1)
    assert numbers(second, 1) == [1]
    assert first.evaluate("[sse.status, got.length]") == ["closed", 0]
    errors.clear()  # Chromium's own words on a 401
