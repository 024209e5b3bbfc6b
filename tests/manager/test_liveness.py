"""Time (M10, M11, N2): heartbeats, leases, ages, credentials and stalls, with a clock in the hand.

What the kernel knows (bytes that nobody acknowledges) is tested below the manager, in
``tests/speedups``; here is what a manager's options make of it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from h3py import H3, CloseReason, H3Event, SSEManager, Subscription
from h3py.manager.subscription import AGE_JITTER
from h3py.testing import EventReader, ManualClock
from tests.manager.support.site import Site, told_reasons
from tests.support.wait import wait_until

MakeSite = Callable[..., Site]

HEARTBEAT = b":\n\n"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def closed_as(site: Site, reason: CloseReason, count: int = 1) -> None:
    wait_until(lambda: site.server.closed_streams == {reason: count}, what=f"{count} {reason}")


# -- heartbeats --------------------------------------------------------------------------------


def test_an_idle_stream_gets_a_comment(make_site: MakeSite, clock: ManualClock) -> None:
    """M10: every 30 s, at 90 to 100 % of it, and never as an event."""
    site = make_site(clock=clock, stall_timeout_s=None)
    reader = site.open("news")
    site.manager.broadcast("to", "first")
    reader.read_event()
    clock.advance(26)  # less than 90 %
    site.manager.broadcast("to", "between")
    reader.read_event()
    assert HEARTBEAT not in reader.received.raw
    for beats in (1, 2, 3):
        clock.advance(31)
        wait_until(lambda beats=beats: site.manager.stats()["heartbeats"] == beats)
    site.manager.broadcast("to", "end")
    assert reader.read_event().data == "end"
    assert reader.received.raw.count(HEARTBEAT) == 3


def test_a_busy_stream_gets_none(make_site: MakeSite, clock: ManualClock) -> None:
    site = make_site(clock=clock, heartbeat_s=10.0, stall_timeout_s=None)
    busy, idle = site.open("news"), site.open("quiet")
    for number in range(10):
        clock.advance(8)
        site.manager.send_to_channel("news", "to", number)
        busy.read_event()
    wait_until(lambda: site.manager.stats()["heartbeats"] >= 4)
    site.manager.broadcast("to", "end")
    for reader in (busy, idle):
        assert reader.read_event().data == "end"
    assert HEARTBEAT not in busy.received.raw
    assert idle.received.raw.count(HEARTBEAT) >= 4


def test_heartbeats_may_be_off(make_site: MakeSite, clock: ManualClock) -> None:
    site = make_site(clock=clock, heartbeat_s=None, stall_timeout_s=None)
    reader = site.open("news")
    clock.advance(100_000)
    site.manager.broadcast("to", "end")
    reader.read_event()
    assert site.manager.stats()["heartbeats"] == 0


def test_heartbeats_may_carry_the_position(make_site: MakeSite, clock: ManualClock) -> None:
    """Without data, so no event: a quiet client that comes back has missed nothing."""
    site = make_site(clock=clock, heartbeat_ids=True, stall_timeout_s=None)
    reader, busy = site.open("quiet"), site.open("busy")
    for _ in range(5):
        site.manager.send_to_channel("busy", "to", "x")
    head = busy.read_events(5)[-1].last_event_id
    clock.advance(31)
    reader.read_raw_until(b"id: " + head.encode() + b"\n\n")
    assert not reader.received.events
    site.manager.send_to_channel("quiet", "to", "y")
    assert reader.read_event().data == "y"


# -- leases --------------------------------------------------------------------------------------


def test_a_lease_ends_without_pings(make_site: MakeSite, clock: ManualClock) -> None:
    """M11: what the stream is sent does not renew it, a ping does."""
    site = make_site(clock=clock, lease_s=45.0, heartbeat_s=None, watch_presence=True)
    silent, alive = site.open("news", client="silent"), site.open("news", client="alive")
    for _ in range(4):
        clock.advance(11)
        site.manager.send_to_channel("news", "to", "x")
        assert site.manager.ping("alive")
    assert site.manager.is_client_connected("silent")
    clock.advance(2)
    silent.read_to_end()
    silent.close()
    closed_as(site, CloseReason.LEASE_EXPIRED)
    assert site.manager.is_client_connected("alive")
    assert not site.manager.ping("silent")
    wait_until(lambda: told_reasons(site) == [CloseReason.LEASE_EXPIRED])
    site.manager.broadcast("to", "still there")
    assert alive.read_events(5)[-1].data == "still there"


def test_by_default_there_is_no_lease(make_site: MakeSite, clock: ManualClock) -> None:
    site = make_site(clock=clock)
    reader = site.open("news")
    clock.advance(1_000_000)
    site.manager.broadcast("to", "x")
    assert reader.read_event().data == "x"


# -- ages ------------------------------------------------------------------------------------------


def test_streams_end_at_their_age_each_at_its_own_time(
    make_site: MakeSite, clock: ManualClock
) -> None:
    """At 80 to 100 % of it: a fleet of clients does not return at once."""
    site = make_site(clock=clock, max_age_s=1000.0, heartbeat_s=None)
    readers = [site.open() for _ in range(30)]
    clock.advance(799)
    assert len(site.manager.get_connections()) == 30
    ended: list[int] = []
    for _ in range(20):
        clock.advance(10)
        ended.append(30 - len(site.manager.get_connections()))
    clock.advance(2)
    for reader in readers:
        reader.read_to_end()
        reader.close()
    closed_as(site, CloseReason.MAX_AGE, 30)
    assert ended == sorted(ended)
    assert len(set(ended)) > 5, "they all ended together"
    assert AGE_JITTER == 0.2


def test_credentials_that_expire_end_the_stream(
    serve_app: Callable[..., Any], clock: ManualClock
) -> None:
    """``auth_expired``, whichever of age and credentials comes first."""
    manager = SSEManager(clock=clock, max_age_s=1000.0, heartbeat_s=None)
    app = H3()

    @app.get("/events")
    def events(event: H3Event) -> Subscription:
        left = float(event.query["left"])
        return manager.subscribe(event, client_id=f"{left}", expires_at=time.time() + left)

    server = serve_app(app)
    with (
        EventReader(f"{server.url}/events?left=300") as soon,
        EventReader(f"{server.url}/events?left=5000") as late,
    ):
        wait_until(lambda: len(manager.get_connections()) == 2)
        clock.advance(298)
        assert len(manager.get_connections()) == 2
        clock.advance(3)
        soon.read_to_end()
        soon.close()
        wait_until(lambda: server.closed_streams == {CloseReason.AUTH_EXPIRED: 1})
        clock.advance(700)
        late.read_to_end()
        late.close()
        wait_until(
            lambda: server.closed_streams == {CloseReason.AUTH_EXPIRED: 1, CloseReason.MAX_AGE: 1}
        )


# -- stalls ----------------------------------------------------------------------------------------


def test_a_socket_that_takes_nothing_is_closed_as_slow(
    make_site: MakeSite, clock: ManualClock
) -> None:
    """Under every policy: ``catch_up`` loses nothing, and does not wait for ever either."""
    site = make_site(clock=clock, heartbeat_s=None, stall_timeout_s=60.0, watch_presence=True)
    site.open("all", client="stuck", receive_buffer_bytes=4096)
    fast = site.open("all", client="fast")
    while site.queued("stuck") < 10_000:
        site.publish("all", "x" * 5_000)
        fast.read_event()
    clock.advance(1)
    wait_until(lambda: site.server.slow_episodes == 1)
    clock.advance(58)
    assert site.manager.is_client_connected("stuck")
    clock.advance(3)
    closed_as(site, CloseReason.SLOW)
    wait_until(lambda: told_reasons(site) == [CloseReason.SLOW])
    assert site.server.slow_episodes == 1
    site.manager.broadcast("end")
    assert fast.read_event().type == "end"


def test_a_slow_client_is_warned_of_once(
    make_site: MakeSite, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """C9."""
    site = make_site(clock=clock, heartbeat_s=None, stall_timeout_s=None)
    site.open("all", client="stuck", receive_buffer_bytes=4096)
    fast = site.open("all")
    while site.queued("stuck") < 10_000:
        site.publish("all", "x" * 5_000)
        fast.read_event()
    for _ in range(5):
        clock.advance(10)
    slow = re.compile("slow client: GET /events")
    wait_until(lambda: any(slow.match(one.getMessage()) for one in caplog.records))
    (record,) = (one for one in caplog.records if slow.match(one.getMessage()))
    assert site.server.slow_episodes == 1
    assert record.queued_bytes >= 10_000  # type: ignore[attr-defined]  # an extra
    assert site.manager.stats()["slow_episodes"] == 1
    assert site.manager.is_client_connected("stuck")
