"""What is told of a connection from outside."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import FrozenInstanceError

import pytest

from h3py import ConnectionInfo
from h3py.manager.info import describe
from h3py.testing import ManualClock
from tests.manager.support.site import Site
from tests.support.wait import wait_until

MakeSite = Callable[..., Site]


def test_all_there_is_to_know(site: Site) -> None:
    """M3: user, name, channels, metadata, since when, last activity, counts."""
    before = time.time()
    reader = site.open(
        "news,sport", client="a", user="anna", metadata='{"name": "Anna", "age": 7}',
        policy="drop_new",
    )  # fmt: skip
    site.manager.send_to_channel("news", "to", "x" * 1000)
    reader.read_event()
    wait_until(lambda: site.of("a").sent_bytes > 1000)
    info = site.of("a")
    assert isinstance(info, ConnectionInfo)
    assert (info.client_id, info.user_id, info.name) == ("a", "anna", "Anna")
    assert set(info.channels) == {"news", "sport"}
    assert info.metadata == {"name": "Anna", "age": 7}
    assert before - 0.01 <= info.connected_at <= info.last_activity_at + 0.01
    assert info.last_activity_at <= time.time() + 0.01
    assert (info.state, info.policy) == ("live", "drop_new")
    assert (info.events, info.queued_bytes, info.dropped) == (1, 0, 0)
    with pytest.raises(FrozenInstanceError):
        info.events = 7  # type: ignore[misc]  # that is the point


def test_what_was_not_given(site: Site) -> None:
    site.open(client="a")
    info = site.of("a")
    assert (info.user_id, info.name, info.channels, info.metadata) == (None, None, (), {})
    assert info.policy == "catch_up"


def test_activity_is_what_was_sent_or_a_ping(make_site: MakeSite) -> None:
    clock = ManualClock()
    site = make_site(clock=clock, heartbeat_s=None, stall_timeout_s=None)
    reader = site.open("news", client="a")

    def idle_s() -> float:
        return time.time() - float(site.of("a").last_activity_at)

    clock.advance(100)
    assert 99 < idle_s() < 101
    assert site.manager.ping("a")
    assert idle_s() < 1
    clock.advance(50)
    assert 49 < idle_s() < 51
    site.manager.send_to_channel("news", "to", "x")
    reader.read_event()
    wait_until(lambda: idle_s() < 1)


def test_one_that_has_ended_is_not_described(site: Site) -> None:
    reader = site.open(client="a")
    subscription = site.subscriptions["a"]
    assert describe(subscription) is not None
    reader.close()
    wait_until(lambda: describe(subscription) is None)
    assert site.manager.get_connections() == []
